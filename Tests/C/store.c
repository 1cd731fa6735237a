/* What the header says of stores: opening, keys and slots, files that are none of ours, copies, close
 * and re-entry, and what happens when the file cannot be written. */
#include "setups.h"
#include <sqlite3.h>
#include <sys/syscall.h>

static pawl_scope scope;

/* Everything in a file, for a file that no store of this process has open. */
static uint8_t *file_bytes(const char *path, size_t *size) {
    FILE *f = fopen(path, "rb");
    NEED(f != NULL);
    uint8_t *bytes = malloc(1 << 20);
    NEED(bytes != NULL);
    *size = fread(bytes, 1, 1 << 20, f);
    fclose(f);
    return bytes;
}

static void write_file(const char *path, const void *bytes, size_t size) {
    FILE *f = fopen(path, "wb");
    NEED(f != NULL && fwrite(bytes, 1, size, f) == size);
    fclose(f);
}

/* Opening answers `want` and leaves the file byte for byte as it was, and nothing beside it. */
#define UNTOUCHED(want, path) test_untouched(__LINE__, (want), (path))
static void test_untouched(int line, int want, const char *path) {
    size_t before_size, after_size;
    uint8_t *before = file_bytes(path, &before_size);
    const uint32_t flags[] = {0, PAWL_STORE_CREATE};
    for (int i = 0; i < 2; i++) {
        pawl_key key = raw_key();
        pawl_store *store = NULL;
        test_answers(__FILE__, line, "open", open_with(path, flags[i], &key, &store), want);
        CHECK(store == NULL);
        pawl_store_close(store);
    }
    uint8_t *after = file_bytes(path, &after_size);
    CHECK_SAYING(before_size == after_size && memcmp(before, after, before_size) == 0, "line %d: changed", line);
    const char *beside[] = {"-wal", "-shm", "-journal"};
    for (int i = 0; i < 3; i++) {
        char name[600];
        snprintf(name, sizeof name, "%s%s", path, beside[i]);
        CHECK_SAYING(access(name, F_OK) != 0, "line %d: %s is there", line, beside[i]);
    }
    free(before);
    free(after);
}

static void sql(const char *path, const char *statement) {
    sqlite3 *db = NULL;
    NEED(sqlite3_open(path, &db) == SQLITE_OK);
    char *error = NULL;
    if (sqlite3_exec(db, statement, NULL, NULL, &error) != SQLITE_OK) test_fault(__FILE__, __LINE__, "%s", error);
    sqlite3_free(error);
    sqlite3_close(db);
}

/* ---------------------------------------------------------------- opening */

static void create_and_open(void) {
    const char *path = fresh_path();
    pawl_key key = raw_key();
    pawl_store *store = NULL, *second = NULL;
    ANSWERS(PAWL_NOT_FOUND, open_with(path, 0, &key, &store));
    CHECK(access(path, F_OK) != 0);
    umask(0);
    MUST(open_with(path, PAWL_STORE_CREATE | PAWL_STORE_EXCLUSIVE, &key, &store));
    struct stat s;
    CHECK(stat(path, &s) == 0 && (s.st_mode & 0777) == 0600);
    ANSWERS(PAWL_EXISTS, open_with(path, PAWL_STORE_CREATE | PAWL_STORE_EXCLUSIVE, &key, &second));
    MUST(put(store, &scope, "n", "secret"));
    MUST(open_with(path, 0, &key, &second)); /* two handles of one process on one file */
    HOLDS(second, &scope, "n", "secret");
    MUST(put(second, &scope, "n", "changed"));
    HOLDS(store, &scope, "n", "changed");
    pawl_store_close(store);
    HOLDS(second, &scope, "n", "changed");
    pawl_store_close(second);
    MUST(open_with(path, PAWL_STORE_CREATE, &key, &store));
    HOLDS(store, &scope, "n", "changed");
    CHECK(damage_count(store) == 0);
    pawl_store_close(store);
    char nowhere[600];
    snprintf(nowhere, sizeof nowhere, "%s/there/is/no/folder", test_folder);
    ANSWERS(PAWL_STORE_CANNOT_OPEN, open_with(nowhere, PAWL_STORE_CREATE, &key, &store));
    ANSWERS(PAWL_STORE_CANNOT_OPEN, open_with(test_folder, PAWL_STORE_CREATE, &key, &store));
}

static void memory_stores_are_apart(void) {
    pawl_key key = raw_key();
    pawl_store *a = NULL, *b = NULL;
    MUST(open_with("", PAWL_STORE_CREATE | PAWL_STORE_MEMORY, &key, &a));
    MUST(open_with("", PAWL_STORE_MEMORY, &key, &b));
    MUST(put(a, &scope, "n", "1"));
    LACKS(b, &scope, "n");
    pawl_store_close(a);
    pawl_store_close(b);
}

static void wrong_keys(void) {
    const char *path = fresh_path();
    pawl_store_close(open_file(path));
    uint8_t other[32];
    memcpy(other, test_key, 32);
    other[31] ^= 1;
    pawl_key key = raw_key();
    key.secret = other;
    pawl_store *store = NULL;
    ANSWERS(PAWL_AUTH, open_with(path, PAWL_STORE_CREATE, &key, &store));
    key = passphrase_key("a passphrase");
    ANSWERS(PAWL_AUTH, open_with(path, 0, &key, &store));
    char recovery[PAWL_RECOVERY_SIZE_MAX];
    size_t size;
    MUST(pawl_recovery_key_generate(PAWL_RECOVERY_STORE, recovery, sizeof recovery, &size));
    key.kind = PAWL_KEY_RECOVERY;
    key.secret = recovery;
    key.secret_size = size;
    ANSWERS(PAWL_AUTH, open_with(path, 0, &key, &store));
    CHECK(store == NULL);
}

static void not_ours(void) {
    const char *path = fresh_path();
    write_file(path, "this is a text, and long enough to be mistaken for something else: it is not.\n", 77);
    UNTOUCHED(PAWL_CORRUPT_NOT_PAWL, path);
    path = fresh_path();
    sql(path, "CREATE TABLE t(x); INSERT INTO t VALUES(1)");
    UNTOUCHED(PAWL_CORRUPT_NOT_PAWL, path);
    path = fresh_path();
    sql(path, "PRAGMA journal_mode=WAL; CREATE TABLE kv(k BLOB PRIMARY KEY, v BLOB NOT NULL)");
    UNTOUCHED(PAWL_CORRUPT_NOT_PAWL, path);
}

static void other_schemas(void) {
    const char *changes[] = {"CREATE TABLE extra(x)", "CREATE TRIGGER t AFTER INSERT ON kv BEGIN DELETE FROM kv; END",
                             "PRAGMA application_id=1", "DROP TABLE kv", "PRAGMA user_version=0"};
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        const char *path = fresh_path();
        pawl_store_close(open_file(path));
        sql(path, changes[i]);
        sql(path, "PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode=DELETE");
        UNTOUCHED(PAWL_CORRUPT_NOT_PAWL, path);
    }
}

static void newer_format(void) {
    const char *path = fresh_path();
    pawl_store_close(open_file(path));
    sql(path, "PRAGMA user_version=2; PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode=DELETE");
    UNTOUCHED(PAWL_VERSION, path);
    path = fresh_path();
    pawl_store_close(open_file(path));
    sql(path, "PRAGMA user_version=2147483647; CREATE TABLE newer(x);"
              "PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode=DELETE");
    UNTOUCHED(PAWL_VERSION, path);
}

static void links_are_not_followed(void) {
    const char *path = fresh_path(), *link_path = fresh_path(), *dangling = fresh_path();
    pawl_store_close(open_file(path));
    NEED(symlink(path, link_path) == 0 && symlink("/nonexistent/x", dangling) == 0);
    pawl_key key = raw_key();
    pawl_store *store = NULL;
    ANSWERS(PAWL_STORE_CANNOT_OPEN, open_with(link_path, 0, &key, &store));
    ANSWERS(PAWL_STORE_CANNOT_OPEN, open_with(link_path, PAWL_STORE_CREATE, &key, &store));
    ANSWERS(PAWL_STORE_CANNOT_OPEN, open_with(dangling, PAWL_STORE_CREATE, &key, &store));
    CHECK(store == NULL);
}

/* ---------------------------------------------------------------- slots */

static size_t slot_numbers(pawl_store *store, uint32_t *numbers, uint32_t *kinds) {
    pawl_view *view = NULL;
    MUST(pawl_slot_list(store, &view));
    size_t count = pawl_view_count(view);
    for (size_t i = 0; i < count && i < 16; i++) {
        pawl_slot slot = PAWL_INIT(pawl_slot);
        MUST(pawl_view_slot(view, i, &slot));
        numbers[i] = slot.number;
        kinds[i] = slot.kind;
        CHECK((slot.kind == PAWL_KEY_PASSPHRASE) == (slot.passes != 0));
        CHECK((slot.kind == PAWL_KEY_PASSPHRASE) == (slot.memory_size != 0));
        CHECK(slot.created_ns > INT64_C(1600000000) * SECOND);
    }
    pawl_view_close(view);
    return count;
}

static void passphrase(void) {
    const char *path = fresh_path();
    pawl_key key = passphrase_key("correct horse"), next = passphrase_key("battery staple");
    pawl_store *store = NULL;
    MUST(open_with(path, PAWL_STORE_CREATE, &key, &store));
    MUST(put(store, &scope, "n", "secret"));
    uint32_t numbers[16], kinds[16];
    CHECK(slot_numbers(store, numbers, kinds) == 1 && kinds[0] == PAWL_KEY_PASSPHRASE);
    MUST(pawl_slot_change(store, numbers[0], &next));
    HOLDS(store, &scope, "n", "secret");
    pawl_store_close(store);
    ANSWERS(PAWL_AUTH, open_with(path, 0, &key, &store));
    MUST(open_with(path, 0, &next, &store));
    HOLDS(store, &scope, "n", "secret");
    pawl_store_close(store);
    key = passphrase_key("battery staple "); /* one byte more */
    ANSWERS(PAWL_AUTH, open_with(path, 0, &key, &store));
    /* The cost is the slot's, not the caller's. */
    next.memory_size = PAWL_HASHING_MEMORY_DEFAULT;
    next.passes = 5;
    MUST(open_with(path, 0, &next, &store));
    pawl_store_close(store);
}

static void recovery(void) {
    const char *path = fresh_path();
    char text[PAWL_RECOVERY_SIZE_MAX], typed[PAWL_RECOVERY_SIZE_MAX * 2];
    size_t size;
    MUST(pawl_recovery_key_generate(PAWL_RECOVERY_STORE, text, sizeof text, &size));
    CHECK(strncmp(text, "pawl", 4) == 0 && strchr(text, ' ') == text + 4);
    for (size_t i = 0; i < size; i++) CHECK((text[i] >= 'a' && text[i] <= 'z') || (text[i] >= '0' && text[i] <= '9') || text[i] == ' ');
    pawl_key key = PAWL_INIT(pawl_key);
    key.kind = PAWL_KEY_RECOVERY;
    key.secret = text;
    key.secret_size = size;
    pawl_store *store = open_file(path);
    uint32_t number = 99;
    MUST(pawl_slot_add(store, &key, &number));
    CHECK(number == 1);
    pawl_store_close(store);
    MUST(open_with(path, 0, &key, &store));
    pawl_store_close(store);

    /* Typed back: upper case, hyphens, no spaces, other spaces. */
    key.secret = typed;
    for (int way = 0; way < 4; way++) {
        size_t out = 0;
        for (size_t i = 0; i < size; i++) {
            char c = text[i];
            if (way == 0 && c >= 'a' && c <= 'z') c = (char)(c - 'a' + 'A');
            if (way == 1 && c == ' ') c = '-';
            if (way == 2 && c == ' ') continue;
            typed[out++] = c;
            if (way == 3) typed[out++] = ' ';
        }
        key.secret_size = out;
        if (OK(open_with(path, 0, &key, &store))) pawl_store_close(store);
    }
    /* Every single wrong letter is a typing error. */
    for (size_t i = 12; i < size; i++) {
        if (text[i] == ' ') continue;
        memcpy(typed, text, size);
        typed[i] = typed[i] == 'q' ? 'p' : 'q';
        key.secret_size = size;
        ANSWERS(PAWL_MISUSE_RECOVERY, open_with(path, 0, &key, &store));
    }
    memcpy(typed, text, size);
    typed[size - 1] = (char)(typed[size - 1] >= 'a' ? typed[size - 1] - 'a' + 'A' : 'Q'); /* mixed case */
    ANSWERS(PAWL_MISUSE_RECOVERY, open_with(path, 0, &key, &store));
    MUST(pawl_recovery_key_generate(PAWL_RECOVERY_BACKUP, typed, sizeof typed, &key.secret_size));
    ANSWERS(PAWL_MISUSE_RECOVERY_PREFIX, open_with(path, 0, &key, &store));
}

static void slots_come_and_go(void) {
    const char *path = fresh_path();
    pawl_store *store = open_file(path), *other = open_file(path);
    MUST(put(store, &scope, "n", "secret"));
    ANSWERS(PAWL_STATE_LAST_SLOT, pawl_slot_remove(store, 0));
    uint8_t secrets[16][32] = {{0}};
    uint32_t numbers[16], kinds[16];
    pawl_key key = raw_key();
    for (uint8_t i = 1; i < 16; i++) {
        secrets[i][0] = i;
        key.secret = secrets[i];
        uint32_t number = 99;
        MUST(pawl_slot_add(i % 2 == 0 ? store : other, &key, &number));
        CHECK(number == i);
    }
    uint32_t number = 99;
    ANSWERS(PAWL_LIMIT_SLOTS, pawl_slot_add(store, &key, &number));
    CHECK(number == 0);
    CHECK(slot_numbers(other, numbers, kinds) == 16);
    MUST(pawl_slot_remove(other, 0));
    MUST(pawl_slot_remove(store, 7));
    ANSWERS(PAWL_NOT_FOUND, pawl_slot_remove(other, 7));
    ANSWERS(PAWL_NOT_FOUND, pawl_slot_change(store, 0, &key));
    CHECK(slot_numbers(store, numbers, kinds) == 14 && numbers[0] == 1 && numbers[13] == 15);
    HOLDS(store, &scope, "n", "secret");
    pawl_store_close(store);
    pawl_store_close(other);
    key = raw_key();
    ANSWERS(PAWL_AUTH, open_with(path, 0, &key, &store));
    key.secret = secrets[7];
    ANSWERS(PAWL_AUTH, open_with(path, 0, &key, &store));
    for (int i = 1; i < 16; i += 6) {
        key.secret = secrets[i];
        if (i == 7) continue;
        MUST(open_with(path, 0, &key, &store));
        HOLDS(store, &scope, "n", "secret");
        pawl_store_close(store);
    }
    /* A free number is given again; a change takes effect for everybody. */
    key.secret = secrets[1];
    MUST(open_with(path, 0, &key, &store));
    key = raw_key();
    MUST(pawl_slot_add(store, &key, &number));
    CHECK(number == 0);
    secrets[0][5] = 5;
    key.secret = secrets[0];
    MUST(pawl_slot_change(store, 1, &key));
    pawl_store_close(store);
    MUST(open_with(path, 0, &key, &store));
    CHECK(damage_count(store) == 0);
    pawl_store_close(store);
    key.secret = secrets[1];
    ANSWERS(PAWL_AUTH, open_with(path, 0, &key, &store));
}

/* ---------------------------------------------------------------- copy and verify */

static void *keep_writing(void *context) {
    pawl_store *store = ((void **)context)[0];
    int *stop = ((void **)context)[1];
    for (int i = 0; !__atomic_load_n(stop, __ATOMIC_SEQ_CST); i++) {
        /* Both names change in one commit, or neither does. */
        char secret[16];
        snprintf(secret, sizeof secret, "%d", i);
        pawl_store *batch = NULL;
        if (!OK(pawl_batch_begin(store, &batch))) break;
        OK(put(batch, &scope, "left", secret));
        OK(put(batch, &scope, "right", secret));
        OK(pawl_batch_commit(batch));
    }
    return NULL;
}

static void copies(void) {
    const char *path = fresh_path();
    pawl_store *store = open_file(path), *copy = NULL;
    MUST(put(store, &scope, "left", "0"));
    MUST(put(store, &scope, "right", "0"));
    MUST(put(store, &scope, "still", "here"));
    int stop = 0;
    void *context[] = {store, &stop};
    pthread_t writer;
    NEED(pthread_create(&writer, NULL, keep_writing, context) == 0);
    pawl_key key = raw_key();
    for (int i = 0; i < 10; i++) {
        const char *to = fresh_path();
        MUST(pawl_store_copy(store, to, strlen(to)));
        struct stat s;
        CHECK(stat(to, &s) == 0 && (s.st_mode & 0777) == 0600);
        ANSWERS(PAWL_EXISTS, pawl_store_copy(store, to, strlen(to)));
        MUST(open_with(to, 0, &key, &copy));
        HOLDS(copy, &scope, "still", "here");
        char left[16] = "";
        pawl_view *view = NULL;
        MUST(pawl_credential_get(copy, &scope, "left", 4, &view));
        pawl_credential c = PAWL_INIT(pawl_credential);
        MUST(pawl_view_credential(view, 0, &c));
        snprintf(left, sizeof left, "%.*s", (int)c.secret_size, (const char *)c.secret);
        pawl_view_close(view);
        HOLDS(copy, &scope, "right", left);
        CHECK(damage_count(copy) == 0);
        MUST(put(copy, &scope, "still", "changed"));
        pawl_store_close(copy);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
    pthread_join(writer, NULL);
    HOLDS(store, &scope, "still", "here");
    ANSWERS(PAWL_EXISTS, pawl_store_copy(store, path, strlen(path)));
    char nowhere[600];
    snprintf(nowhere, sizeof nowhere, "%s/no/folder", test_folder);
    ANSWERS(PAWL_STORE_CANNOT_OPEN, pawl_store_copy(store, nowhere, strlen(nowhere)));
    const char *dangling = fresh_path();
    NEED(symlink("/nonexistent/x", dangling) == 0);
    ANSWERS(PAWL_EXISTS, pawl_store_copy(store, dangling, strlen(dangling)));
    pawl_store_close(store);
}

/* A store in memory, or at a host, can be copied to a file too. */
static void copies_of_other_engines(setup *s) {
    if (s->has_vault) return;
    MUST(put(s->store, &scope, "n", "secret"));
    char large[9000];
    memset(large, 'x', sizeof large);
    MUST(pawl_credential_put(s->store, &scope, "large", 5, large, sizeof large, NULL, NULL));
    const char *to = fresh_path();
    MUST(pawl_store_copy(s->store, to, strlen(to)));
    pawl_key key = raw_key();
    pawl_store *copy = NULL;
    MUST(open_with(to, 0, &key, &copy));
    HOLDS(copy, &scope, "n", "secret");
    CHECK(list_count(copy, &scope) == 2 && damage_count(copy) == 0);
    pawl_store_close(copy);
}

/* ---------------------------------------------------------------- waiting, closing, re-entry */

static void busy(void) {
    const char *path = fresh_path();
    pawl_store *store = open_file(path), *waiting = NULL, *hasty = NULL, *batch = NULL;
    pawl_key key = raw_key();
    pawl_store_options options = PAWL_INIT(pawl_store_options);
    options.path = path;
    options.path_size = strlen(path);
    options.key = &key;
    options.busy_timeout_ns = SECOND / 10;
    MUST(pawl_store_open(&options, &waiting));
    options.busy_timeout_ns = -1;
    MUST(pawl_store_open(&options, &hasty));
    MUST(put(store, &scope, "n", "old"));
    MUST(pawl_batch_begin(store, &batch));
    MUST(put(batch, &scope, "n", "new"));
    int64_t start = monotonic_ns();
    ANSWERS(PAWL_BUSY, put(waiting, &scope, "n", "x"));
    int64_t waited = monotonic_ns() - start;
    CHECK_SAYING(waited >= SECOND / 10 && waited < 3 * SECOND, "waited %lld ms", (long long)(waited / 1000000));
    start = monotonic_ns();
    ANSWERS(PAWL_BUSY, put(hasty, &scope, "n", "x"));
    CHECK(monotonic_ns() - start < SECOND / 10);
    HOLDS(waiting, &scope, "n", "old"); /* readers do not wait */
    MUST(pawl_batch_commit(batch));
    HOLDS(hasty, &scope, "n", "new");
    MUST(put(hasty, &scope, "n", "x"));
    pawl_store_close(store);
    pawl_store_close(waiting);
    pawl_store_close(hasty);
}

static void close_with_a_batch_open(setup *s) {
    pawl_store *batch = NULL;
    int32_t has;
    MUST(put(s->store, &scope, "n", "old"));
    MUST(pawl_batch_begin(s->store, &batch));
    if (!s->has_vault) MUST(put(batch, &scope, "n", "new"));
    pawl_store_close(s->store);
    ANSWERS(PAWL_CLOSED, pawl_credential_has(batch, &scope, "n", 1, &has));
    ANSWERS(PAWL_CLOSED, pawl_batch_commit(batch));
    if (s->engine == ENGINE_MEMORY) {
        setup_open(s);
        return;
    }
    setup_open(s);
    HOLDS(s->store, &scope, "n", "old");
    MUST(pawl_batch_begin(s->store, &batch));
    pawl_store_close(s->store);
    pawl_batch_rollback(batch);
    setup_open(s);
    HOLDS(s->store, &scope, "n", "old");
}

typedef struct caller {
    pawl_store *store;
    int done, closed;
    volatile pid_t thread; /* known just before the call */
} caller;

/* Close while others are calling: a call in flight ends well or answers CLOSED. The handle is freed, so
 * the test must know that they are inside; here a vault callback holds them. */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_moved = PTHREAD_COND_INITIALIZER;
static int gate_inside, gate_open;

static void wait_at_gate(void *unused) {
    (void)unused;
    pthread_mutex_lock(&gate);
    gate_inside++;
    pthread_cond_broadcast(&gate_moved);
    while (!gate_open) pthread_cond_wait(&gate_moved, &gate);
    pthread_mutex_unlock(&gate);
}

static void *one_put(void *context) {
    caller *c = context;
    c->thread = (pid_t)syscall(SYS_gettid);
    pawl_status status = put(c->store, &scope, "gated", "secret");
    c->closed = PAWL_STATUS_PRIMARY(status) == PAWL_CLOSED;
    c->done = status == PAWL_OK;
    return NULL;
}

static void *close_it(void *context) {
    pawl_store_close(context);
    return NULL;
}

static void close_waits_for_calls_in_flight(setup *s) {
    if (!s->has_vault) return;
    gate_inside = gate_open = 0;
    s->vault->inside = wait_at_gate;
    caller callers[4] = {{0}};
    pthread_t threads[4], closer;
    for (int i = 0; i < 4; i++) {
        callers[i].store = s->store;
        NEED(pthread_create(threads + i, NULL, one_put, callers + i) == 0);
    }
    pthread_mutex_lock(&gate);
    while (gate_inside < 4) pthread_cond_wait(&gate_moved, &gate);
    pthread_mutex_unlock(&gate);
    NEED(pthread_create(&closer, NULL, close_it, s->store) == 0);
    pause_ns(SECOND / 20); /* so that close most likely waits; either order is right */
    pthread_mutex_lock(&gate);
    gate_open = 1;
    pthread_cond_broadcast(&gate_moved);
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    pthread_join(closer, NULL);
    int done = 0;
    for (int i = 0; i < 4; i++) {
        CHECK(callers[i].done + callers[i].closed == 1);
        done += callers[i].done;
    }
    s->vault->inside = NULL;
    setup_open(s);
    if (s->engine != ENGINE_MEMORY) CHECK((get_is(s->store, &scope, "gated", NULL, NULL) == PAWL_OK) == (done > 0));
}

/* Whether a thread that was about to make a call now sleeps inside it. */
static int sleeps(pid_t thread) {
    char path[64], text[256] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)thread);
    FILE *f = fopen(path, "r");
    if (f == NULL) return 0;
    size_t size = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[size] = 0;
    const char *state = strrchr(text, ')');
    return state != NULL && state[1] == ' ' && state[2] == 'S';
}

/* Those who wait for another handle's batch are woken and refused long before their timeout. */
static void close_wakes_waiters(void) {
    const char *path = fresh_path();
    pawl_store *store = open_file(path), *other = open_file(path), *batch = NULL;
    MUST(pawl_batch_begin(other, &batch));
    MUST(put(batch, &scope, "n", "committed"));
    enum { THREADS = 4 };
    caller callers[THREADS] = {{0}};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        callers[i].store = store;
        NEED(pthread_create(threads + i, NULL, one_put, callers + i) == 0);
        while (callers[i].thread == 0 || !sleeps(callers[i].thread)) pause_ns(1000000);
    }
    int64_t start = monotonic_ns();
    pawl_store_close(store);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        CHECK(callers[i].closed);
    }
    CHECK(monotonic_ns() - start < 2 * SECOND);
    MUST(pawl_batch_commit(batch));
    HOLDS(other, &scope, "n", "committed");
    LACKS(other, &scope, "gated");
    pawl_store_close(other);
}

/* What a callback got when it called in, and whether it is to close. */
static struct {
    pawl_store *store;
    pawl_status put, get, begin, slots;
    int calls, closes;
} inside;

static void call_in(void *unused) {
    (void)unused;
    if (inside.store == NULL) return;
    inside.calls++;
    pawl_store *batch = NULL;
    pawl_view *view = NULL;
    inside.put = put(inside.store, &scope, "inside", "x");
    inside.get = get_is(inside.store, &scope, "n", NULL, NULL);
    inside.begin = pawl_batch_begin(inside.store, &batch);
    inside.slots = pawl_slot_list(inside.store, &view);
    pawl_batch_rollback(batch);
    pawl_view_close(view);
    if (inside.closes) {
        inside.closes = 0;
        pawl_store_close(inside.store);
    }
}

static int64_t time_that_calls_in(void *context) {
    call_in(NULL);
    return test_time(context);
}

static void check_inside(void) {
    CHECK(inside.calls > 0);
    ANSWERS(PAWL_BUSY_REENTERED, inside.put);
    ANSWERS(PAWL_BUSY_REENTERED, inside.get);
    ANSWERS(PAWL_BUSY_REENTERED, inside.begin);
    ANSWERS(PAWL_BUSY_REENTERED, inside.slots);
}

static void callbacks_may_not_call_in(setup *s) {
    memset(&inside, 0, sizeof inside);
    MUST(put(s->store, &scope, "n", "old"));
    inside.store = s->store;
    s->vault->inside = call_in;
    s->storage.inside = call_in;
    MUST(put(s->store, &scope, "n", "new"));
    HOLDS(s->store, &scope, "n", "new");
    inside.store = NULL;
    if (s->has_vault || s->engine == ENGINE_HOST) check_inside();
    LACKS(s->store, &scope, "inside");
}

static void clock_may_not_call_in(void) {
    memset(&inside, 0, sizeof inside);
    int64_t now = INT64_C(1700000000) * SECOND;
    pawl_clock clock = PAWL_INIT(pawl_clock);
    clock.context = &now;
    clock.now_ns = time_that_calls_in;
    pawl_key key = raw_key();
    pawl_store_options options = PAWL_INIT(pawl_store_options);
    const char *path = fresh_path();
    options.flags = PAWL_STORE_CREATE;
    options.path = path;
    options.path_size = strlen(path);
    options.key = &key;
    options.clock = &clock;
    pawl_store *store = NULL;
    MUST(pawl_store_open(&options, &store));
    inside.store = store;
    MUST(put(store, &scope, "n", "x"));
    check_inside();

    /* From another store's callback it is an ordinary call. */
    pawl_store *other = open_file(fresh_path());
    inside.store = other;
    MUST(put(store, &scope, "n", "y"));
    OK(inside.put);
    inside.store = NULL;
    HOLDS(other, &scope, "inside", "x");
    pawl_store_close(other);
    pawl_store_close(store);
}

static void close_from_a_callback(setup *s) {
    if (!s->has_vault && s->engine != ENGINE_HOST) return;
    memset(&inside, 0, sizeof inside);
    MUST(put(s->store, &scope, "n", "old"));
    inside.store = s->store;
    inside.closes = 1;
    s->vault->inside = s->storage.inside = call_in;
    pawl_status status = put(s->store, &scope, "n", "new"); /* the handle is gone when this returns */
    CHECK(inside.calls > 0);
    inside.store = NULL;
    s->vault->inside = s->storage.inside = NULL;
    CHECK(status == PAWL_OK || PAWL_STATUS_PRIMARY(status) == PAWL_CLOSED);
    CHECK(s->storage.transactions_open == 0);
    setup_open(s);
    if (s->engine != ENGINE_MEMORY) HOLDS(s->store, &scope, "n", status == PAWL_OK ? "new" : "old");
}

static void host_says_busy(setup *s) {
    if (s->engine != ENGINE_HOST) return;
    MUST(put(s->store, &scope, "n", "old"));
    void *transaction = NULL;
    MUST(host_begin(&s->storage, PAWL_TRANSACTION_WRITE, &transaction));
    ANSWERS(PAWL_BUSY, put(s->store, &scope, "n", "new"));
    HOLDS(s->store, &scope, "n", "old");
    host_rollback(&s->storage, transaction);
    MUST(put(s->store, &scope, "n", "new"));
}

/* ---------------------------------------------------------------- files that cannot be written */

static void fill_until_full(void *context) {
    const char *path = context;
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit = {1 << 20, 1 << 20};
    pawl_store *store = open_file(path);
    MUST(put(store, &scope, "first", "stays"));
    NEED(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    char *large = calloc(1, 200000);
    NEED(large != NULL);
    int done = 0;
    pawl_status status = PAWL_OK;
    for (int i = 0; i < 100 && status == PAWL_OK; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        memset(large, 'a' + i % 26, 200000);
        status = pawl_credential_put(store, &scope, name, strlen(name), large, 200000, NULL, NULL);
        done += status == PAWL_OK;
    }
    CHECK_SAYING(PAWL_STATUS_PRIMARY(status) == PAWL_STORE && PAWL_STATUS_CODE(status) != 0,
                 "a full disk answers %s (%#x)", pawl_status_name(status), (unsigned)status);
    CHECK(done > 0);
    HOLDS(store, &scope, "first", "stays");
    CHECK(list_count(store, &scope) == (size_t)done + 1);
    pawl_store_close(store);
    free(large);
}

static void full_file(void) {
    char path[512];
    snprintf(path, sizeof path, "%s", fresh_path());
    IN_CHILD(fill_until_full, path);
    pawl_store *store = open_file(path);
    HOLDS(store, &scope, "first", "stays");
    CHECK(damage_count(store) == 0);
    MUST(put(store, &scope, "after", "room again"));
    pawl_store_close(store);
}

/* A real full disk, where mounting one is allowed: only there is the error ENOSPC. */
static void fill_the_disk(void *context) {
    const char *folder = context;
    char path[600];
    snprintf(path, sizeof path, "%s/x.pawl", folder);
    pawl_store *store = open_file(path);
    MUST(put(store, &scope, "first", "stays"));
    char *large = calloc(1, 100000);
    NEED(large != NULL);
    pawl_status status = PAWL_OK;
    int done = 0;
    for (int i = 0; i < 100 && status == PAWL_OK; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        status = pawl_credential_put(store, &scope, name, strlen(name), large, 100000, NULL, NULL);
        done += status == PAWL_OK;
    }
    ANSWERS(PAWL_STORE_FULL, status);
    HOLDS(store, &scope, "first", "stays");
    CHECK(list_count(store, &scope) == (size_t)done + 1);
    pawl_store_close(store);
    store = open_file(path);
    CHECK(list_count(store, &scope) == (size_t)done + 1 && damage_count(store) == 0);
    pawl_store_close(store);
    free(large);
}

static void full_disk(void) {
    char folder[512], command[1100];
    snprintf(folder, sizeof folder, "%s", test_path("small-disk"));
    NEED(mkdir(folder, 0700) == 0);
    snprintf(command, sizeof command, "mount -t tmpfs -o size=1m tmpfs '%s' 2>/dev/null", folder);
    if (geteuid() != 0 || system(command) != 0) {
        test_skip("a small file system cannot be mounted here");
        return;
    }
    IN_CHILD(fill_the_disk, folder);
    snprintf(command, sizeof command, "umount '%s'", folder);
    CHECK(system(command) == 0);
}

static void use_read_only(void *context) {
    const char *path = context;
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) abort();
    pawl_key key = raw_key();
    pawl_store *store = NULL;
    pawl_status status = open_with(path, 0, &key, &store);
    if (status == PAWL_OK) {
        HOLDS(store, &scope, "n", "secret");
        ANSWERS(PAWL_STORE_READ_ONLY, put(store, &scope, "n", "changed"));
        HOLDS(store, &scope, "n", "secret");
        pawl_store_close(store);
    } else {
        ANSWERS(PAWL_STORE_READ_ONLY, status);
    }
}

static void read_only_file(void) {
    char folder[512], path[600];
    snprintf(folder, sizeof folder, "%s", test_path("read-only"));
    snprintf(path, sizeof path, "%s/x.pawl", folder);
    NEED(mkdir(folder, 0755) == 0 && chmod(test_folder, 0755) == 0);
    pawl_store *store = open_file(path);
    MUST(put(store, &scope, "n", "secret"));
    pawl_store_close(store);
    for (int writable_folder = 0; writable_folder < 2; writable_folder++) {
        NEED(chmod(path, 0444) == 0 && chmod(folder, writable_folder ? 0777 : 0555) == 0);
        IN_CHILD(use_read_only, path);
    }
    NEED(chmod(path, 0600) == 0 && chmod(folder, 0755) == 0);
    store = open_file(path);
    HOLDS(store, &scope, "n", "secret");
    CHECK(damage_count(store) == 0);
    pawl_store_close(store);
}

static void no_permission(void *context) {
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) abort();
    pawl_key key = raw_key();
    pawl_store *store = NULL;
    ANSWERS(PAWL_STORE_CANNOT_OPEN, open_with(context, PAWL_STORE_CREATE, &key, &store));
}

static void unreadable_file(void) {
    char path[512];
    snprintf(path, sizeof path, "%s", fresh_path());
    pawl_store_close(open_file(path));
    NEED(chmod(path, 0) == 0 && chmod(test_folder, 0755) == 0);
    IN_CHILD(no_permission, path);
}

int main(void) {
    scope = scope_of("user", "project");
    test_path("");
    RUN(create_and_open);
    RUN(memory_stores_are_apart);
    RUN(wrong_keys);
    RUN(not_ours);
    RUN(other_schemas);
    RUN(newer_format);
    RUN(links_are_not_followed);
    RUN(full_file);
    RUN(full_disk);
    RUN(read_only_file);
    RUN(unreadable_file);
    RUN(passphrase);
    RUN(recovery);
    RUN(slots_come_and_go);
    RUN(copies);
    RUN_EACH(copies_of_other_engines);
    RUN(busy);
    RUN_EACH(close_with_a_batch_open);
    RUN_EACH(close_waits_for_calls_in_flight);
    RUN(close_wakes_waiters);
    RUN_EACH(callbacks_may_not_call_in);
    RUN(clock_may_not_call_in);
    RUN_EACH(close_from_a_callback);
    RUN_EACH(host_says_busy);
    FINISH;
}
