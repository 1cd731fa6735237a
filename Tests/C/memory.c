/* After close the image of the process holds no secret: not the credential's, not the raw key, not the
 * passphrase or recovery key. The test keeps what it looks for masked, and wipes its own copies. While a
 * view is open its secret must be found, or the search would prove nothing. */
#include "test.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

#define MASK 0x5A
#define NEEDLE_SIZE 48
#define WINDOW 12

/* Something that must not be found: random, and kept masked. */
typedef struct needle {
    const char *what;
    size_t size;
    uint8_t masked[NEEDLE_SIZE];
} needle;

static uint8_t *page; /* the only place where the test ever has one in the clear */
#define PAGE 65536
static uint8_t *buffer;
#define BUFFER (1 << 20)

static void wipe(void *memory, size_t size) {
    volatile uint8_t *byte = memory;
    while (size-- > 0) *byte++ = 0;
}

static void draw(needle *n, const char *what, size_t size) {
    n->what = what;
    n->size = size;
    FILE *f = fopen("/dev/urandom", "rb");
    NEED(f != NULL && setvbuf(f, NULL, _IONBF, 0) == 0 && fread(n->masked, 1, size, f) == size);
    fclose(f);
    /* Letters, so that it is a passphrase as well. */
    for (size_t i = 0; i < size; i++) n->masked[i] = (uint8_t)(('a' + n->masked[i] % 26) ^ MASK);
}

static const uint8_t *reveal(const needle *n) {
    for (size_t i = 0; i < n->size; i++) page[i] = n->masked[i] ^ MASK;
    return page;
}

/* How often a piece of the needle lies in these bytes: its start, its middle, or its end. */
static int count_in(const uint8_t *bytes, size_t size, const needle *n) {
    int found = 0;
    const size_t starts[] = {0, (n->size - WINDOW) / 2, n->size - WINDOW};
    for (int s = 0; s < 3; s++) {
        const uint8_t *piece = n->masked + starts[s];
        uint8_t first = piece[0] ^ MASK;
        for (const uint8_t *at = bytes; size >= WINDOW && at <= bytes + size - WINDOW; at++) {
            at = memchr(at, first, (size_t)(bytes + size - WINDOW + 1 - at));
            if (at == NULL) break;
            size_t same = 1;
            while (same < WINDOW && at[same] == (piece[same] ^ MASK)) same++;
            found += same == WINDOW;
        }
    }
    return found;
}

/* Everything this process could read of itself, the test's own page too. */
static int found_in_memory(const needle *n, size_t *searched) {
    int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    int maps_file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    NEED(memory >= 0 && maps_file >= 0);
    static char maps[1 << 18];
    size_t used = 0;
    for (ssize_t got; (got = read(maps_file, maps + used, sizeof maps - 1 - used)) > 0;) used += (size_t)got;
    maps[used] = 0;
    close(maps_file);
    int found = 0;
    *searched = 0;
    for (char *line = maps; line != NULL && *line != 0; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
        unsigned long from, to;
        char rights[5] = "";
        if (sscanf(line, "%lx-%lx %4s", &from, &to, rights) != 3) continue;
        char *end = strchr(line, '\n'), *special = strstr(line, "[v");
        if (special != NULL && special < end) continue; /* the kernel's */
        if (from == (unsigned long)buffer) {            /* not what this very search just read */
            CHECK(to == (unsigned long)(buffer + BUFFER));
            continue;
        }
        /* Pages overlap by a needle, so that none hides on a border. */
        for (unsigned long at = from; at < to; at += BUFFER - NEEDLE_SIZE) {
            size_t want = to - at < BUFFER ? to - at : BUFFER;
            ssize_t got = pread(memory, buffer, want, (off_t)at);
            if (got <= 0) continue; /* a guard page */
            *searched += (size_t)got;
            found += count_in(buffer, (size_t)got, n);
        }
    }
    wipe(buffer, BUFFER);
    close(memory);
    return found;
}

static needle key_needle, secret_needle, large_needle, passphrase_needle, wrong_needle;
static pawl_scope scope;

#define ABSENT(n) check_needle(__LINE__, (n), 0)
#define PRESENT(n) check_needle(__LINE__, (n), 1)
static void check_needle(int line, const needle *n, int wanted) {
    size_t searched = 0;
    wipe(page, PAGE);
    int found = found_in_memory(n, &searched);
    CHECK(searched > 1 << 20);
    CHECK_SAYING((found > 0) == wanted, "line %d: %s is %s memory (%d)", line, n->what,
                 found > 0 ? "in" : "not in", found);
}

static pawl_store *open_with_needle(const char *path, const needle *n, uint32_t kind) {
    pawl_key key = PAWL_INIT(pawl_key);
    key.kind = kind;
    key.secret = reveal(n);
    key.secret_size = n->size;
    if (kind == PAWL_KEY_PASSPHRASE) {
        key.memory_size = PAWL_HASHING_MEMORY_MIN;
        key.passes = PAWL_HASHING_PASSES_MIN;
    }
    pawl_store *store = NULL;
    MUST(open_with(path, PAWL_STORE_CREATE, &key, &store));
    wipe(page, PAGE);
    return store;
}

/* A secret of 9000 bytes that is the needle again and again: it has a row of its own. */
static void put_large(pawl_store *store, const char *name) {
    reveal(&large_needle);
    for (size_t i = large_needle.size; i < 9000; i++) page[i] = page[i - large_needle.size];
    MUST(pawl_credential_put(store, &scope, name, strlen(name), page, 9000, NULL, NULL));
    wipe(page, PAGE);
}

static void use(pawl_store *store) {
    pawl_put_options options = PAWL_INIT(pawl_put_options);
    MUST(pawl_credential_put(store, &scope, "small", 5, reveal(&secret_needle), secret_needle.size, &options, NULL));
    wipe(page, PAGE);
    put_large(store, "large");
    pawl_view *small = NULL, *large = NULL, *list = NULL;
    MUST(pawl_credential_get(store, &scope, "small", 5, &small));
    MUST(pawl_credential_get(store, &scope, "large", 5, &large));
    MUST(pawl_credential_list(store, &scope, NULL, 0, 10, &list));
    PRESENT(&secret_needle);
    PRESENT(&large_needle);
    pawl_view_close(list);
    pawl_view_close(small);
    ABSENT(&secret_needle); /* a closed view is wiped at once */
    PRESENT(&large_needle);
    pawl_view_close(large);
    ABSENT(&large_needle);

    pawl_store *batch = NULL;
    MUST(pawl_batch_begin(store, &batch));
    put_large(batch, "in batch");
    MUST(pawl_credential_put(batch, &scope, "small", 5, reveal(&secret_needle), secret_needle.size, NULL, NULL));
    wipe(page, PAGE);
    MUST(pawl_batch_commit(batch));
    MUST(pawl_credential_delete(store, &scope, "large", 5, 60 * SECOND));
    MUST(pawl_credential_restore(store, &scope, "large", 5, 0));
    CHECK(damage_count(store) == 0);
    ABSENT(&secret_needle);
    ABSENT(&large_needle);
}

static void control(void) {
    size_t searched;
    ABSENT(&secret_needle);
    reveal(&secret_needle);
    CHECK(found_in_memory(&secret_needle, &searched) > 0);
    ABSENT(&secret_needle);
}

static void file_with_raw_key(void) {
    const char *path = fresh_path();
    pawl_store *store = open_with_needle(path, &key_needle, PAWL_KEY_RAW);
    use(store);
    pawl_store_close(store);
    ABSENT(&key_needle);
    ABSENT(&secret_needle);
    ABSENT(&large_needle);
    store = open_with_needle(path, &key_needle, PAWL_KEY_RAW); /* opening is not creating */
    pawl_store_close(store);
    ABSENT(&key_needle);
}

static void file_with_passphrase(void) {
    const char *path = fresh_path();
    pawl_store *store = open_with_needle(path, &passphrase_needle, PAWL_KEY_PASSPHRASE);
    use(store);
    pawl_key key = raw_key();
    key.secret = reveal(&key_needle);
    uint32_t number;
    MUST(pawl_slot_add(store, &key, &number));
    wipe(page, PAGE);
    pawl_store_close(store);
    ABSENT(&passphrase_needle);
    ABSENT(&key_needle);
    ABSENT(&secret_needle);
    ABSENT(&large_needle);
}

static void in_memory(void) {
    pawl_key key = raw_key();
    key.secret = reveal(&key_needle);
    pawl_store_options options = PAWL_INIT(pawl_store_options);
    options.flags = PAWL_STORE_CREATE | PAWL_STORE_MEMORY;
    options.key = &key;
    pawl_store *store = NULL;
    MUST(pawl_store_open(&options, &store));
    wipe(page, PAGE);
    use(store);
    pawl_store_close(store);
    ABSENT(&key_needle);
    ABSENT(&secret_needle);
    ABSENT(&large_needle);
}

/* A refused call leaves nothing behind either. */
static void refusals(void) {
    const char *path = fresh_path();
    pawl_store *store = open_with_needle(path, &key_needle, PAWL_KEY_RAW);
    pawl_put_options options = PAWL_INIT(pawl_put_options);
    options.flags = PAWL_PUT_IF_VERSION;
    options.if_version = 1;
    ANSWERS(PAWL_NOT_FOUND, pawl_credential_put(store, &scope, "n", 1, reveal(&secret_needle), secret_needle.size,
                                                &options, NULL));
    wipe(page, PAGE);
    pawl_store_close(store);
    pawl_key wrong = raw_key();
    wrong.secret = reveal(&wrong_needle);
    ANSWERS(PAWL_AUTH, open_with(path, 0, &wrong, &store));
    wipe(page, PAGE);
    ABSENT(&secret_needle);
    ABSENT(&wrong_needle);
    ABSENT(&key_needle);
}

/* What is refused for its arguments leaves nothing behind. */
static void refusals_cost_nothing(void) {
#ifdef __GLIBC__
    pawl_clock clock = PAWL_INIT(pawl_clock);
    pawl_key key = raw_key(), typed = raw_key();
    typed.kind = PAWL_KEY_RECOVERY;
    pawl_store_options options = PAWL_INIT(pawl_store_options);
    options.flags = PAWL_STORE_CREATE | PAWL_STORE_MEMORY;
    options.key = &key;
    pawl_store *store = NULL, *none = NULL;
    MUST(pawl_store_open(&options, &store));
    options.clock = &clock;
    pawl_trace trace = PAWL_INIT(pawl_trace);
    pawl_stream *stream = NULL;
    size_t before = 0;
    for (int round = 0; round < 1010; round++) {
        if (round == 10) before = mallinfo2().uordblks;
        ANSWERS(PAWL_MISUSE_NULL, pawl_store_open(&options, &none));
        ANSWERS(PAWL_MISUSE_NULL, pawl_store_trace(store, &trace));
        ANSWERS(PAWL_MISUSE_RECOVERY, pawl_export_begin(store, NULL, 0, &typed, &stream));
    }
    size_t after = mallinfo2().uordblks;
    CHECK_SAYING(after < before + 8192, "1,000 refusals cost %zu bytes", after - before);
    pawl_store_close(store);
#endif
}

int main(void) {
    setvbuf(stdout, NULL, _IONBF, 0);
    page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    buffer = mmap(NULL, BUFFER, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0); /* a mapping of its own */
    NEED(page != MAP_FAILED && buffer != MAP_FAILED);
    scope = scope_of("user", "project");
    test_path("");
    draw(&key_needle, "the raw key", 32);
    draw(&secret_needle, "the small secret", NEEDLE_SIZE);
    draw(&large_needle, "the large secret", NEEDLE_SIZE);
    draw(&passphrase_needle, "the passphrase", NEEDLE_SIZE);
    draw(&wrong_needle, "the wrong key", 32);
    RUN(control);
    RUN(file_with_raw_key);
    RUN(file_with_passphrase);
    RUN(in_memory);
    RUN(refusals);
    RUN(refusals_cost_nothing);
    FINISH;
}
