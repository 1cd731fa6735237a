/* Every exported function with NULL, zero, absurd sizes, wrong struct sizes, unknown flags, non-zero
 * tails and handles of the wrong kind: a code, never a signal. Each group runs in a child of its own,
 * which notes the line it is at, so that a crash is found at once. */
#include "test.h"

static volatile int *line_at;
static pawl_store *store, *batch;
static pawl_scope scope;
static pawl_view *credentials, *slots, *damages, *orphans, *accounts;
static uint8_t account_id[PAWL_ACCOUNT_ID_SIZE];

/* Answers a misuse, whichever. */
#define REFUSED(call) \
    do { \
        *line_at = __LINE__; \
        pawl_status status_ = (call); \
        CHECK_SAYING(PAWL_STATUS_PRIMARY(status_) == PAWL_MISUSE, "line %d: %s answers %s", __LINE__, #call, \
                     pawl_status_name(status_)); \
    } while (0)
#define REFUSED_AS(want, call) \
    do { \
        *line_at = __LINE__; \
        ANSWERS(want, call); \
    } while (0)
/* A size that no object can have is a MISUSE_SIZE, whatever it is the size of. */
#define REFUSED_FOR_SIZE(size, want, call) \
    do { \
        *line_at = __LINE__; \
        pawl_status status_ = (call); \
        if (status_ != PAWL_MISUSE_SIZE || (size) <= SIZE_MAX / 2) ANSWERS(want, status_); \
    } while (0)
#define DONE(call) \
    do { \
        *line_at = __LINE__; \
        OK(call); \
    } while (0)
#define CALL(call) \
    do { \
        *line_at = __LINE__; \
        call; \
    } while (0)

static const size_t absurd[] = {257, 1025, SIZE_MAX, SIZE_MAX - 1, SIZE_MAX / 2, SIZE_MAX / 2 + 1};
#define ABSURD_COUNT (sizeof absurd / sizeof *absurd)
static const int64_t times[] = {INT64_MIN, INT64_MIN + 1, -1, 0, 1, INT64_MAX - 1, INT64_MAX};
#define TIME_COUNT (sizeof times / sizeof *times)

/* Each struct with every size it must not have, and with a tail. `call` uses `object`. */
#define STRUCT_SIZES(type, original, call) \
    do { \
        struct { \
            type object; \
            uint8_t tail[64]; \
        } wide; \
        memset(&wide, 0, sizeof wide); \
        type *object = &wide.object; \
        const uint32_t wrong[] = {0, 1, 4, (uint32_t)sizeof(type) - 1, UINT32_MAX, UINT32_MAX / 2 + 1}; \
        for (size_t i_ = 0; i_ < sizeof wrong / sizeof *wrong; i_++) { \
            *object = (original); \
            object->struct_size = wrong[i_]; \
            REFUSED_AS(PAWL_MISUSE_STRUCT, call); \
        } \
        *object = (original); \
        object->struct_size = (uint32_t)(sizeof(type) + 64); \
        wide.tail[63] = 1; \
        REFUSED_AS(PAWL_MISUSE_STRUCT, call); \
    } while (0)
/* A struct that is filled in; of a longer one the unknown tail is cleared. */
#define OUTPUT_SIZES(type, want, call) \
    do { \
        struct { \
            type object; \
            uint8_t tail[64]; \
        } wide; \
        type *object = &wide.object; \
        const uint32_t wrong[] = {0, 1, 4, (uint32_t)sizeof(type) - 1, UINT32_MAX, UINT32_MAX / 2 + 1}; \
        for (size_t i_ = 0; i_ < sizeof wrong / sizeof *wrong; i_++) { \
            memset(&wide, 0, sizeof wide); \
            object->struct_size = wrong[i_]; \
            REFUSED_AS(PAWL_MISUSE_STRUCT, call); \
        } \
        memset(&wide, 0xAA, sizeof wide); \
        object->struct_size = (uint32_t)(sizeof(type) + 32); \
        REFUSED_AS(want, call); \
        CHECK(object->struct_size == sizeof(type) + 32); \
        for (size_t i_ = 0; i_ < 64; i_++) CHECK(wide.tail[i_] == (i_ < 32 ? 0 : 0xAA)); \
    } while (0)
/* A longer struct of a newer header, whose tail is zero, is fine. */
#define STRUCT_GROWN(type, original, call) \
    do { \
        struct { \
            type object; \
            uint8_t tail[64]; \
        } wide; \
        memset(&wide, 0, sizeof wide); \
        type *object = &wide.object; \
        *object = (original); \
        object->struct_size = (uint32_t)(sizeof(type) + 64); \
        DONE(call); \
    } while (0)

/* ---------------------------------------------------------------- functions without a store */

static void pure(void *unused) {
    (void)unused;
    CALL(CHECK(pawl_abi_version() == PAWL_ABI_VERSION));
    const pawl_status numbers[] = {0, 1, -1, 255, 256, 0x7FFFFFFF, INT32_MIN, 0x0D01, 0xFF00, 0x7FFF0000};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        CALL(CHECK(pawl_status_name(numbers[i]) != NULL && *pawl_status_name(numbers[i]) != 0));
        CALL(CHECK(pawl_status_text(numbers[i]) != NULL && *pawl_status_text(numbers[i]) != 0));
    }
    for (pawl_status number = 0; number < 0x20000; number++) {
        CALL(CHECK(pawl_status_name(number) != NULL && pawl_status_text(number) != NULL));
    }
    CHECK(strcmp(pawl_status_name(PAWL_STATE_BATCH), "PAWL_STATE_BATCH") == 0);
    CHECK(strcmp(pawl_status_name(PAWL_OK), "PAWL_OK") == 0);
    CALL(pawl_store_close(NULL));
    CALL(pawl_view_close(NULL));
    CALL(pawl_batch_rollback(NULL));
    CALL(CHECK(pawl_view_count(NULL) == 0));
}

static void recovery_keys(void *unused) {
    (void)unused;
    char text[PAWL_RECOVERY_SIZE_MAX];
    size_t size = 7;
    REFUSED(pawl_recovery_key_generate(0, text, sizeof text, &size));
    REFUSED_AS(PAWL_MISUSE_FLAGS, pawl_recovery_key_generate(3, text, sizeof text, &size));
    REFUSED(pawl_recovery_key_generate(UINT32_MAX, text, sizeof text, &size));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_recovery_key_generate(PAWL_RECOVERY_STORE, text, sizeof text, NULL));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_recovery_key_generate(PAWL_RECOVERY_STORE, NULL, 128, &size));
    REFUSED(pawl_recovery_key_generate(PAWL_RECOVERY_STORE, NULL, SIZE_MAX, &size));
    DONE(pawl_recovery_key_generate(PAWL_RECOVERY_BACKUP, text, sizeof text, &size));
    CHECK(size < PAWL_RECOVERY_SIZE_MAX && text[size] == 0 && strlen(text) == size);
    for (size_t room = 0; room <= size; room += size / 4) {
        size_t needed = 0;
        memset(text, 'x', sizeof text);
        REFUSED_AS(PAWL_BUFFER,
                   pawl_recovery_key_generate(PAWL_RECOVERY_BACKUP, room == 0 ? NULL : text, room, &needed));
        CHECK(needed > room && needed <= PAWL_RECOVERY_SIZE_MAX);
        CHECK(text[room] == 'x');
    }
    /* A size that is honest about nothing but being large enough. */
    DONE(pawl_recovery_key_generate(PAWL_RECOVERY_STORE, text, SIZE_MAX / 2, &size));
}

static void opening(void *unused) {
    (void)unused;
    pawl_key key = raw_key();
    pawl_store_options good = PAWL_INIT(pawl_store_options);
    good.flags = PAWL_STORE_MEMORY | PAWL_STORE_CREATE;
    good.key = &key;
    pawl_store *out = (pawl_store *)&key; /* a refusal has to clear it */
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_store_open(NULL, &out));
    CHECK(out == NULL);
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_store_open(&good, NULL));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_store_open(NULL, NULL));
    STRUCT_SIZES(pawl_store_options, good, pawl_store_open(object, &out));
    STRUCT_GROWN(pawl_store_options, good, pawl_store_open(object, &out));
    CALL(pawl_store_close(out));

    pawl_store_options bad = good;
    const uint32_t flags[] = {8, 16, UINT32_MAX, 0x80000000u, PAWL_STORE_EXCLUSIVE};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        bad.flags = flags[i];
        bad.path = "/nonexistent/x";
        bad.path_size = 14;
        REFUSED_AS(PAWL_MISUSE_FLAGS, pawl_store_open(&bad, &out));
    }
    bad = good;
    bad.path = "/tmp/x";
    bad.path_size = 6;
    REFUSED(pawl_store_open(&bad, &out)); /* a path and MEMORY */
    bad = good;
    bad.flags = PAWL_STORE_CREATE;
    REFUSED(pawl_store_open(&bad, &out)); /* no place at all */
    for (size_t i = 0; i < ABSURD_COUNT; i++) {
        bad.path = "/tmp/x";
        bad.path_size = absurd[i] < 4097 ? 4097 + i : absurd[i];
        static char long_path[8192];
        memset(long_path, 'x', sizeof long_path);
        if (absurd[i] < 4097) bad.path = long_path;
        REFUSED_FOR_SIZE(absurd[i], PAWL_MISUSE_PATH, pawl_store_open(&bad, &out));
        bad.path = NULL;
        REFUSED(pawl_store_open(&bad, &out));
    }
    bad.path = "/tmp/a\0b";
    bad.path_size = 8;
    REFUSED_AS(PAWL_MISUSE_PATH, pawl_store_open(&bad, &out));
    bad = good;
    bad.busy_timeout_ns = -2;
    REFUSED(pawl_store_open(&bad, &out));
    bad.busy_timeout_ns = INT64_MIN;
    REFUSED(pawl_store_open(&bad, &out));
    bad.busy_timeout_ns = INT64_MAX;
    DONE(pawl_store_open(&bad, &out));
    CALL(pawl_store_close(out));
}

static pawl_status open_key(const pawl_key *key) {
    pawl_store_options options = PAWL_INIT(pawl_store_options);
    options.flags = PAWL_STORE_MEMORY | PAWL_STORE_CREATE;
    options.key = key;
    pawl_store *out = NULL;
    pawl_status status = pawl_store_open(&options, &out);
    CHECK((out != NULL) == (status == PAWL_OK));
    pawl_store_close(out);
    return status;
}

static void keys(void *unused) {
    (void)unused;
    pawl_key good = raw_key();
    REFUSED_AS(PAWL_MISUSE_NULL, open_key(NULL));
    STRUCT_SIZES(pawl_key, good, open_key(object));
    STRUCT_GROWN(pawl_key, good, open_key(object));
    pawl_key bad = good;
    const uint32_t kinds[] = {0, 4, UINT32_MAX};
    for (size_t i = 0; i < 3; i++) {
        bad.kind = kinds[i];
        REFUSED_AS(PAWL_MISUSE_FLAGS, open_key(&bad));
    }
    bad = good;
    bad.reserved = 1;
    REFUSED(open_key(&bad));
    for (uint32_t kind = PAWL_KEY_RAW; kind <= PAWL_KEY_RECOVERY; kind++) {
        bad = good;
        bad.kind = kind;
        bad.secret = NULL;
        REFUSED_AS(PAWL_MISUSE_NULL, open_key(&bad));
        bad.secret_size = SIZE_MAX;
        REFUSED(open_key(&bad));
        bad.secret_size = 0;
        REFUSED(open_key(&bad));
        bad.secret = test_key;
        REFUSED(open_key(&bad));
        for (size_t i = 1; i < ABSURD_COUNT; i++) {
            static char large[2048];
            bad.secret = large;
            bad.secret_size = absurd[i];
            REFUSED(open_key(&bad));
        }
    }
    bad = good;
    bad.secret_size = 31;
    REFUSED_AS(PAWL_MISUSE_KEY, open_key(&bad));
    bad.secret_size = 33;
    REFUSED_AS(PAWL_MISUSE_KEY, open_key(&bad));

    bad = passphrase_key("x");
    const uint64_t sizes[] = {1, PAWL_HASHING_MEMORY_MIN - 1, (uint64_t)PAWL_HASHING_MEMORY_MAX + 1, UINT64_MAX,
                              (uint64_t)INT64_MAX, (uint64_t)INT64_MAX + 1};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        bad.memory_size = sizes[i];
        REFUSED_AS(PAWL_MISUSE_HASHING, open_key(&bad));
    }
    bad = passphrase_key("x");
    const uint32_t passes[] = {1, 2, 11, UINT32_MAX};
    for (size_t i = 0; i < 4; i++) {
        bad.passes = passes[i];
        REFUSED_AS(PAWL_MISUSE_HASHING, open_key(&bad));
    }
    bad.passes = PAWL_HASHING_PASSES_MIN;
    DONE(open_key(&bad));

    bad = good;
    bad.kind = PAWL_KEY_RECOVERY;
    const char *texts[] = {"x", "pawlstore1", "pawlstore1qqqq", "\xFF\xFF\xFF", "1", "pawlstore 1 1 1 1 1 1", ""};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        bad.secret = texts[i];
        bad.secret_size = strlen(texts[i]);
        REFUSED(open_key(&bad));
    }
    bad.secret = "a\0b";
    bad.secret_size = 3;
    REFUSED_AS(PAWL_MISUSE_RECOVERY, open_key(&bad));
}

static pawl_status no_visit(void) { return PAWL_OK; }

static pawl_status open_tables(const pawl_clock *clock, const pawl_storage *storage, const pawl_vault *vault) {
    pawl_key key = raw_key();
    pawl_store_options options = PAWL_INIT(pawl_store_options);
    options.flags = storage == NULL ? PAWL_STORE_MEMORY | PAWL_STORE_CREATE : PAWL_STORE_CREATE;
    options.key = &key;
    options.clock = clock;
    options.storage = storage;
    options.vault = vault;
    pawl_store *out = NULL;
    pawl_status status = pawl_store_open(&options, &out);
    pawl_store_close(out);
    return status;
}

static void tables(void *unused) {
    (void)unused;
    int64_t now = 1;
    pawl_clock clock = PAWL_INIT(pawl_clock);
    REFUSED_AS(PAWL_MISUSE_NULL, open_tables(&clock, NULL, NULL)); /* no function */
    clock.now_ns = test_time;
    clock.context = &now;
    STRUCT_SIZES(pawl_clock, clock, open_tables(object, NULL, NULL));
    STRUCT_GROWN(pawl_clock, clock, open_tables(object, NULL, NULL));
    clock.flags = 1;
    REFUSED_AS(PAWL_MISUSE_FLAGS, open_tables(&clock, NULL, NULL));

    /* Tables whose functions are there but never run, each entry missing in turn. */
    typedef void (*function)(void);
    function any = (function)no_visit;
    pawl_storage storage = PAWL_INIT(pawl_storage);
    function *entries = (function *)(void *)&storage.begin;
    for (int i = 0; i < 7; i++) entries[i] = any;
    STRUCT_SIZES(pawl_storage, storage, open_tables(NULL, object, NULL));
    for (int i = 0; i < 7; i++) {
        entries[i] = NULL;
        REFUSED_AS(PAWL_MISUSE_NULL, open_tables(NULL, &storage, NULL));
        entries[i] = any;
    }
    storage.flags = 1;
    REFUSED_AS(PAWL_MISUSE_FLAGS, open_tables(NULL, &storage, NULL));

    pawl_vault vault = PAWL_INIT(pawl_vault);
    entries = (function *)(void *)&vault.set;
    for (int i = 0; i < 4; i++) entries[i] = any;
    STRUCT_SIZES(pawl_vault, vault, open_tables(NULL, NULL, object));
    for (int i = 0; i < 3; i++) { /* `next` is optional */
        entries[i] = NULL;
        REFUSED_AS(PAWL_MISUSE_NULL, open_tables(NULL, NULL, &vault));
        entries[i] = any;
    }
    vault.lease_ns = -1;
    REFUSED(open_tables(NULL, NULL, &vault));
    vault.lease_ns = INT64_MIN;
    REFUSED(open_tables(NULL, NULL, &vault));
    vault.lease_ns = 0;
    vault.flags = 0x80000000u;
    REFUSED_AS(PAWL_MISUSE_FLAGS, open_tables(NULL, NULL, &vault));
}

/* ---------------------------------------------------------------- functions of a store */

static void prepare(void) {
    store = open_file(test_path("arguments.pawl"));
    scope = scope_of("user", "project");
    MUST(put(store, &scope, "name", "secret"));
    MUST(pawl_credential_get(store, &scope, "name", 4, &credentials));
    MUST(pawl_slot_list(store, &slots));
    MUST(pawl_store_verify(store, &damages));
    MUST(pawl_credential_orphans(store, NULL, 10, &orphans));
    MUST(pawl_account_create(store, "account", 7, account_id));
    MUST(pawl_account_get(store, account_id, &accounts));
}

/* Nothing that was refused has changed anything, and the store still works. */
static void finish(void) {
    CALL(HOLDS(store, &scope, "name", "secret"));
    CALL(CHECK(list_count(store, &scope) == 1));
    CALL(CHECK(damage_count(store) == 0));
    pawl_view *view = NULL;
    DONE(pawl_account_list(store, NULL, 10, &view));
    CHECK(pawl_view_count(view) == 1);
    CALL(pawl_view_close(view));
    DONE(pawl_account_delete(store, account_id)); /* the next group makes its own */
    CALL(pawl_view_close(accounts));
    CALL(pawl_view_close(credentials));
    CALL(pawl_view_close(slots));
    CALL(pawl_view_close(damages));
    CALL(pawl_view_close(orphans));
    CALL(pawl_store_close(store));
}

static void store_calls(void *unused) {
    (void)unused;
    prepare();
    const char *path = test_path("copy.pawl");
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_store_copy(NULL, path, strlen(path)));
    REFUSED(pawl_store_copy(store, NULL, 0));
    REFUSED(pawl_store_copy(store, NULL, 5));
    REFUSED_AS(PAWL_MISUSE_PATH, pawl_store_copy(store, path, 0));
    REFUSED_AS(PAWL_MISUSE_PATH, pawl_store_copy(store, "a\0b", 3));
    for (size_t i = 2; i < ABSURD_COUNT; i++) {
        REFUSED_FOR_SIZE(absurd[i], PAWL_MISUSE_PATH, pawl_store_copy(store, path, absurd[i]));
        REFUSED(pawl_store_copy(store, NULL, absurd[i]));
    }
    pawl_view *view = credentials;
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_store_verify(NULL, &view));
    CHECK(view == NULL);
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_store_verify(store, NULL));
    pawl_stats stats = PAWL_INIT(pawl_stats);
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_store_stats(NULL, &stats));
    stats = (pawl_stats)PAWL_INIT(pawl_stats);
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_store_stats(store, NULL));
    OUTPUT_SIZES(pawl_stats, PAWL_OK, pawl_store_stats(store, object));
    finish();
}

static void archive_calls(void *unused) {
    (void)unused;
    prepare();
    pawl_scope scope = scope_of("user", "");
    pawl_key key = raw_key();
    pawl_stream *stream = NULL;
    pawl_archive_report report = PAWL_INIT(pawl_archive_report);
    uint8_t bytes[1000];
    size_t size = 7;
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_export_begin(NULL, &scope, 0, &key, &stream));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_export_begin(store, &scope, 0, NULL, &stream));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_export_begin(store, &scope, 0, &key, NULL));
    STRUCT_SIZES(pawl_scope, scope, pawl_export_begin(store, object, 0, &key, &stream));
    STRUCT_SIZES(pawl_key, key, pawl_export_begin(store, &scope, 0, object, &stream));
    STRUCT_SIZES(pawl_key, key, pawl_import_begin(store, object, &stream));
    const uint32_t flags[] = {2, 4, 0x80000000u, UINT32_MAX};
    for (size_t i = 0; i < 4; i++) REFUSED_AS(PAWL_MISUSE_FLAGS, pawl_export_begin(store, &scope, flags[i], &key, &stream));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_import_begin(NULL, &key, &stream));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_import_begin(store, NULL, &stream));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_import_begin(store, &key, NULL));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_stream_read(NULL, bytes, sizeof bytes, &size));
    CHECK(size == 0);
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_stream_write(NULL, bytes, 1));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_stream_finish(NULL));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_stream_report(NULL, &report));
    CALL(pawl_stream_close(NULL));
    MUST(pawl_export_begin(store, NULL, 0, &key, &stream));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_stream_report(stream, NULL));
    OUTPUT_SIZES(pawl_archive_report, PAWL_OK, pawl_stream_report(stream, object));
    size = 7;
    REFUSED_AS(PAWL_MISUSE_SIZE, pawl_stream_read(stream, bytes, 0, &size));
    CHECK(size == 0);
    REFUSED_AS(PAWL_MISUSE_SIZE, pawl_stream_read(stream, bytes, SIZE_MAX, &size));
    CALL(pawl_stream_close(stream));
    MUST(pawl_export_begin(store, NULL, 0, &key, &stream));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_stream_read(stream, NULL, 1, &size));
    CALL(pawl_stream_close(stream));
    MUST(pawl_export_begin(store, NULL, 0, &key, &stream));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_stream_read(stream, bytes, sizeof bytes, NULL));
    CALL(pawl_stream_close(stream));
    MUST(pawl_import_begin(store, &key, &stream));
    MUST(pawl_stream_write(stream, NULL, 0));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_stream_write(stream, NULL, 1));
    CALL(pawl_stream_close(stream));
    MUST(pawl_import_begin(store, &key, &stream));
    REFUSED_AS(PAWL_MISUSE_SIZE, pawl_stream_write(stream, bytes, SIZE_MAX));
    CALL(pawl_stream_close(stream));
    finish();
}

static void slot_calls(void *unused) {
    (void)unused;
    prepare();
    pawl_key key = raw_key();
    pawl_view *view = NULL;
    uint32_t number = 99;
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_slot_list(NULL, &view));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_slot_list(store, NULL));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_slot_add(NULL, &key, &number));
    CHECK(number == 0);
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_slot_add(store, NULL, &number));
    STRUCT_SIZES(pawl_key, key, pawl_slot_add(store, object, &number));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_slot_change(NULL, 0, &key));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_slot_change(store, 0, NULL));
    STRUCT_SIZES(pawl_key, key, pawl_slot_change(store, 0, object));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_slot_remove(NULL, 0));
    const uint32_t numbers[] = {1, 15, 16, 255, 256, INT32_MAX, 0x80000000u, UINT32_MAX};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        REFUSED_AS(PAWL_NOT_FOUND, pawl_slot_remove(store, numbers[i]));
        REFUSED_AS(PAWL_NOT_FOUND, pawl_slot_change(store, numbers[i], &key));
    }
    key.kind = PAWL_KEY_PASSPHRASE;
    key.memory_size = 1;
    REFUSED_AS(PAWL_MISUSE_HASHING, pawl_slot_add(store, &key, &number));
    REFUSED_AS(PAWL_MISUSE_HASHING, pawl_slot_change(store, 0, &key));
    finish();
}

static void view_calls(void *unused) {
    (void)unused;
    prepare();
    pawl_credential credential = PAWL_INIT(pawl_credential);
    pawl_slot slot = PAWL_INIT(pawl_slot);
    pawl_damage damage = PAWL_INIT(pawl_damage);
    pawl_orphan orphan = PAWL_INIT(pawl_orphan);
    pawl_attribute attribute = {0};
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_view_credential(NULL, 0, &credential));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_view_credential(credentials, 0, NULL));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_view_slot(NULL, 0, &slot));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_view_slot(slots, 0, NULL));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_view_damage(NULL, 0, &damage));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_view_damage(damages, 0, NULL));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_view_orphan(NULL, 0, &orphan));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_view_orphan(orphans, 0, NULL));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_view_attribute(NULL, 0, 0, &attribute));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_view_attribute(credentials, 0, 0, NULL));
    credential = (pawl_credential)PAWL_INIT(pawl_credential);
    slot = (pawl_slot)PAWL_INIT(pawl_slot);
    damage = (pawl_damage)PAWL_INIT(pawl_damage);
    orphan = (pawl_orphan)PAWL_INIT(pawl_orphan);
    OUTPUT_SIZES(pawl_credential, PAWL_OK, pawl_view_credential(credentials, 0, object));
    OUTPUT_SIZES(pawl_slot, PAWL_OK, pawl_view_slot(slots, 0, object));
    OUTPUT_SIZES(pawl_damage, PAWL_MISUSE_ROW, pawl_view_damage(damages, 0, object));
    OUTPUT_SIZES(pawl_orphan, PAWL_MISUSE_ROW, pawl_view_orphan(orphans, 0, object));
    const size_t rows[] = {1, 2, 10000, SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 2 + 1, SIZE_MAX / 64, SIZE_MAX / 16};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        REFUSED_AS(PAWL_MISUSE_ROW, pawl_view_credential(credentials, rows[i], &credential));
        REFUSED_AS(PAWL_MISUSE_ROW, pawl_view_slot(slots, rows[i], &slot));
        REFUSED_AS(PAWL_MISUSE_ROW, pawl_view_damage(damages, rows[i], &damage));
        REFUSED_AS(PAWL_MISUSE_ROW, pawl_view_orphan(orphans, rows[i], &orphan));
        REFUSED_AS(PAWL_MISUSE_ROW, pawl_view_attribute(credentials, rows[i], 0, &attribute));
        REFUSED_AS(PAWL_MISUSE_ROW, pawl_view_attribute(credentials, 0, rows[i], &attribute));
    }
    /* Rows of another type. */
    REFUSED_AS(PAWL_MISUSE_ROW, pawl_view_credential(slots, 0, &credential));
    REFUSED_AS(PAWL_MISUSE_ROW, pawl_view_slot(credentials, 0, &slot));
    REFUSED_AS(PAWL_MISUSE_ROW, pawl_view_damage(credentials, 0, &damage));
    REFUSED_AS(PAWL_MISUSE_ROW, pawl_view_orphan(slots, 0, &orphan));
    REFUSED_AS(PAWL_MISUSE_ROW, pawl_view_attribute(slots, 0, 0, &attribute));
    CHECK(credential.secret == NULL && credential.name == NULL && credential.version == 0);
    finish();
}

static void batch_calls(void *unused) {
    (void)unused;
    prepare();
    pawl_store *out = store;
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_batch_begin(NULL, &out));
    CHECK(out == NULL);
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_batch_begin(store, NULL));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_batch_commit(NULL));
    REFUSED_AS(PAWL_MISUSE_HANDLE, pawl_batch_commit(store)); /* a store where a batch is needed */
    CALL(pawl_batch_rollback(store));                         /* ... which is then left alone */

    DONE(pawl_batch_begin(store, &batch));
    pawl_key key = raw_key();
    pawl_view *view = NULL;
    uint32_t number = 0;
    const char *path = test_path("from-batch.pawl");
    REFUSED_AS(PAWL_STATE_BATCH, pawl_batch_begin(batch, &out));
    REFUSED_AS(PAWL_STATE_BATCH, pawl_slot_list(batch, &view));
    REFUSED_AS(PAWL_STATE_BATCH, pawl_slot_add(batch, &key, &number));
    REFUSED_AS(PAWL_STATE_BATCH, pawl_slot_change(batch, 0, &key));
    REFUSED_AS(PAWL_STATE_BATCH, pawl_slot_remove(batch, 0));
    REFUSED_AS(PAWL_STATE_BATCH, pawl_store_copy(batch, path, strlen(path)));
    *line_at = __LINE__;
    pawl_status status = pawl_credential_reconcile(batch, NULL, &view);
    CHECK(status == PAWL_STATE_BATCH || status == PAWL_STATE_NO_VAULT);
    DONE(put(batch, &scope, "in batch", "1"));
    CALL(pawl_store_close(batch)); /* ends a batch like a rollback */
    CALL(LACKS(store, &scope, "in batch"));
    finish();
}

static void scopes_and_names(void *unused) {
    (void)unused;
    prepare();
    pawl_view *view = credentials;
    int32_t has = 7;
    uint64_t count = 7;
    static char large[70000];
    memset(large, 'a', sizeof large);

    /* Every call that takes a scope. The calls differ, the rules are the same. */
#define EACH(want, store_, scope_, name_, size_) EACH_SIZED(0, want, store_, scope_, name_, size_)
#define EACH_SCOPE(want, store_, scope_) EACH_SCOPE_SIZED(0, want, store_, scope_)
#define EACH_SIZED(odd, want, store_, scope_, name_, size_) \
    do { \
        REFUSED_FOR_SIZE(odd, want, pawl_credential_put(store_, scope_, name_, size_, "s", 1, NULL, NULL)); \
        REFUSED_FOR_SIZE(odd, want, pawl_credential_get(store_, scope_, name_, size_, &view)); \
        REFUSED_FOR_SIZE(odd, want, pawl_credential_metadata(store_, scope_, name_, size_, &view)); \
        REFUSED_FOR_SIZE(odd, want, pawl_credential_has(store_, scope_, name_, size_, &has)); \
        REFUSED_FOR_SIZE(odd, want, pawl_credential_deleted(store_, scope_, name_, size_, &view)); \
        REFUSED_FOR_SIZE(odd, want, pawl_credential_delete(store_, scope_, name_, size_, 0)); \
        REFUSED_FOR_SIZE(odd, want, pawl_credential_restore(store_, scope_, name_, size_, 0)); \
    } while (0)
#define EACH_SCOPE_SIZED(odd, want, store_, scope_) \
    do { \
        EACH_SIZED(odd, want, store_, scope_, "name", 4); \
        REFUSED_FOR_SIZE(odd, want, pawl_credential_list(store_, scope_, NULL, 0, 10, &view)); \
        REFUSED_FOR_SIZE(odd, want, pawl_credential_delete_all(store_, scope_, 0, &count)); \
    } while (0)

    EACH_SCOPE(PAWL_MISUSE_NULL, NULL, &scope);
    CHECK(view == NULL && has == 0 && count == 0);
    EACH_SCOPE(PAWL_MISUSE_NULL, store, NULL);
    STRUCT_SIZES(pawl_scope, scope, pawl_credential_has(store, object, "name", 4, &has));
    STRUCT_SIZES(pawl_scope, scope, pawl_credential_delete_all(store, object, 0, &count));
    STRUCT_GROWN(pawl_scope, scope, pawl_credential_has(store, object, "name", 4, &has));

    pawl_scope bad = scope;
    bad.flags = 1;
    EACH_SCOPE(PAWL_MISUSE_FLAGS, store, &bad);
    bad = scope;
    bad.user = NULL;
    EACH_SCOPE(PAWL_MISUSE_NULL, store, &bad);
    bad.user_size = 0;
    EACH_SCOPE(PAWL_MISUSE_USER, store, &bad);
    bad = scope;
    bad.project = NULL;
    EACH_SCOPE(PAWL_MISUSE_NULL, store, &bad);
    for (size_t i = 0; i < ABSURD_COUNT; i++) {
        bad = scope;
        bad.user = large;
        bad.user_size = absurd[i];
        EACH_SCOPE_SIZED(absurd[i], PAWL_MISUSE_USER, store, &bad);
        bad = scope;
        bad.project = large;
        bad.project_size = absurd[i];
        EACH_SCOPE_SIZED(absurd[i], PAWL_MISUSE_PROJECT, store, &bad);
        EACH_SIZED(absurd[i], PAWL_MISUSE_NAME, store, &scope, large, absurd[i]);
        REFUSED_FOR_SIZE(absurd[i], PAWL_MISUSE_NAME,
                         pawl_credential_list(store, &scope, large, absurd[i], 10, &view));
    }
    const char *ill[] = {"a\0b", "\xC0\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\x80", "a\xC3", "\xF8\x88\x80\x80\x80"};
    const size_t sizes[] = {3, 2, 3, 4, 1, 2, 5};
    for (size_t i = 0; i < sizeof ill / sizeof *ill; i++) {
        bad = scope;
        bad.user = ill[i];
        bad.user_size = sizes[i];
        EACH_SCOPE(PAWL_MISUSE_USER, store, &bad);
        bad = scope;
        bad.project = ill[i];
        bad.project_size = sizes[i];
        EACH_SCOPE(PAWL_MISUSE_PROJECT, store, &bad);
        EACH(PAWL_MISUSE_NAME, store, &scope, ill[i], sizes[i]);
        REFUSED_AS(PAWL_MISUSE_NAME, pawl_credential_list(store, &scope, ill[i], sizes[i], 10, &view));
    }
    EACH(PAWL_MISUSE_NULL, store, &scope, NULL, 4);
    EACH(PAWL_MISUSE_NAME, store, &scope, NULL, 0);
    EACH(PAWL_MISUSE_NAME, store, &scope, "name", 0);
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_credential_list(store, &scope, NULL, 4, 10, &view));

    /* The limits themselves are fine. */
    bad = scope;
    bad.user = large;
    bad.user_size = 256;
    bad.project = large;
    bad.project_size = 256;
    DONE(pawl_credential_put(store, &bad, large, 256, "s", 1, NULL, NULL));
    DONE(pawl_credential_delete(store, &bad, large, 256, 0));
    finish();
}

static void outputs_and_limits(void *unused) {
    (void)unused;
    prepare();
    pawl_view *view = NULL;
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_credential_get(store, &scope, "name", 4, NULL));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_credential_metadata(store, &scope, "name", 4, NULL));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_credential_has(store, &scope, "name", 4, NULL));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_credential_deleted(store, &scope, "name", 4, NULL));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_credential_list(store, &scope, NULL, 0, 10, NULL));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_credential_orphans(store, NULL, 10, NULL));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_credential_orphans(NULL, NULL, 10, &view));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_credential_reconcile(NULL, NULL, &view));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_credential_reconcile(store, NULL, NULL));
    REFUSED_AS(PAWL_STATE_NO_VAULT, pawl_credential_reconcile(store, NULL, &view));
    const size_t limits[] = {0, 10001, SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 2 + 1};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        REFUSED_AS(PAWL_MISUSE_SIZE, pawl_credential_list(store, &scope, NULL, 0, limits[i], &view));
        REFUSED_AS(PAWL_MISUSE_SIZE, pawl_credential_orphans(store, NULL, limits[i], &view));
    }
    const uint32_t flags[] = {2, 4, 0x80000000u, UINT32_MAX};
    uint64_t count = 0;
    for (size_t i = 0; i < 4; i++) {
        REFUSED_AS(PAWL_MISUSE_FLAGS, pawl_credential_delete_all(store, &scope, flags[i], &count));
        pawl_reconcile_options options = PAWL_INIT(pawl_reconcile_options);
        options.flags = flags[i];
        REFUSED_AS(PAWL_MISUSE_FLAGS, pawl_credential_reconcile(store, &options, &view));
    }
    /* Every project, and one of them: a contradiction. */
    REFUSED(pawl_credential_delete_all(store, &scope, PAWL_DELETE_ALL_PROJECTS, &count));
    pawl_reconcile_options reconcile = PAWL_INIT(pawl_reconcile_options);
    STRUCT_SIZES(pawl_reconcile_options, reconcile, pawl_credential_reconcile(store, object, &view));
    reconcile.grace_ns = -2;
    REFUSED_AS(PAWL_MISUSE_TIME, pawl_credential_reconcile(store, &reconcile, &view));
    reconcile.grace_ns = INT64_MIN;
    REFUSED_AS(PAWL_MISUSE_TIME, pawl_credential_reconcile(store, &reconcile, &view));
    REFUSED_AS(PAWL_MISUSE_TIME, pawl_credential_delete(store, &scope, "name", 4, -1));
    REFUSED_AS(PAWL_MISUSE_TIME, pawl_credential_delete(store, &scope, "name", 4, INT64_MIN));
    const uint64_t versions[] = {1, UINT64_MAX, (uint64_t)INT64_MAX + 1};
    for (size_t i = 0; i < 3; i++) {
        /* There is a current one, or none to restore; which is looked at first is not promised. */
        pawl_status status;
        CALL(status = pawl_credential_restore(store, &scope, "name", 4, versions[i]));
        CHECK(status == PAWL_EXISTS || status == PAWL_NOT_FOUND);
        REFUSED_AS(PAWL_NOT_FOUND, pawl_credential_restore(store, &scope, "none", 4, versions[i]));
    }
    uint8_t id[PAWL_VAULT_ID_SIZE];
    memset(id, 0xFF, sizeof id);
    DONE(pawl_credential_orphans(store, id, 10000, &view));
    CALL(pawl_view_close(view));

    /* A deletion that lasts until the end of time does not overflow. */
    DONE(put(store, &scope, "kept", "s"));
    DONE(pawl_credential_delete(store, &scope, "kept", 4, INT64_MAX));
    DONE(pawl_credential_restore(store, &scope, "kept", 4, 0));
    DONE(delete_now(store, &scope, "kept"));
    finish();
}

static void put_options(void *unused) {
    (void)unused;
    prepare();
    uint64_t version = 9;
    pawl_put_options good = PAWL_INIT(pawl_put_options);
#define PUT(options_) pawl_credential_put(store, &scope, "put", 3, "s", 1, options_, &version)
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_credential_put(store, &scope, "put", 3, NULL, 1, NULL, &version));
    CHECK(version == 0);
    for (size_t i = 2; i < ABSURD_COUNT; i++) {
        REFUSED_FOR_SIZE(absurd[i], PAWL_LIMIT_SECRET,
                         pawl_credential_put(store, &scope, "put", 3, "s", absurd[i], NULL, &version));
        REFUSED(pawl_credential_put(store, &scope, "put", 3, NULL, absurd[i], NULL, &version));
    }
    uint8_t *large = calloc(1, PAWL_SECRET_SIZE_MAX + 1);
    NEED(large != NULL);
    REFUSED_AS(PAWL_LIMIT_SECRET,
               pawl_credential_put(store, &scope, "put", 3, large, PAWL_SECRET_SIZE_MAX + 1, NULL, NULL));
    STRUCT_SIZES(pawl_put_options, good, PUT(object));
    STRUCT_GROWN(pawl_put_options, good, PUT(object));
    DONE(delete_now(store, &scope, "put"));

    pawl_put_options bad = good;
    const uint32_t flags[] = {128, 256, 0x80000000u, UINT32_MAX, PAWL_PUT_SET_EXPIRY | PAWL_PUT_CLEAR_EXPIRY,
                              PAWL_PUT_CREATE_ONLY | PAWL_PUT_IF_VERSION};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        bad.flags = flags[i];
        bad.expires_ns = INT64_MAX - 1;
        REFUSED_AS(PAWL_MISUSE_FLAGS, PUT(&bad));
    }
    for (size_t i = 0; i < TIME_COUNT; i++) {
        bad = good;
        bad.flags = PAWL_PUT_SET_EXPIRY;
        bad.expires_ns = times[i];
        pawl_status status;
        CALL(status = PUT(&bad));
        CHECK_SAYING(times[i] > 1 ? PAWL_STATUS_PRIMARY(status) <= PAWL_MISUSE : status == PAWL_TIME,
                     "expiry %lld answers %s", (long long)times[i], pawl_status_name(status));
        if (status == PAWL_OK) CALL(delete_now(store, &scope, "put"));
    }
    const uint64_t versions[] = {0, 1, UINT64_MAX, (uint64_t)INT64_MAX + 1};
    for (size_t i = 0; i < 4; i++) {
        bad = good;
        bad.flags = PAWL_PUT_IF_VERSION;
        bad.if_version = versions[i];
        REFUSED_AS(PAWL_NOT_FOUND, PUT(&bad));
    }

    static char text[70000];
    memset(text, 'a', sizeof text);
    for (int which = 0; which < 2; which++) {
        bad = good;
        bad.flags = which == 0 ? PAWL_PUT_SET_LABEL : PAWL_PUT_SET_PROVIDER;
        const void **field = which == 0 ? &bad.label : &bad.provider;
        size_t *size = which == 0 ? &bad.label_size : &bad.provider_size;
        *field = NULL;
        *size = 3;
        REFUSED_AS(PAWL_MISUSE_NULL, PUT(&bad));
        *field = text;
        for (size_t i = 0; i < ABSURD_COUNT; i++) {
            *size = absurd[i];
            REFUSED_FOR_SIZE(absurd[i], PAWL_MISUSE_LABEL, PUT(&bad));
        }
        *field = "a\0b";
        *size = 3;
        REFUSED_AS(PAWL_MISUSE_LABEL, PUT(&bad));
        *field = "\xFF";
        *size = 1;
        REFUSED_AS(PAWL_MISUSE_LABEL, PUT(&bad));
        *field = text;
        *size = 256;
        DONE(PUT(&bad));
        DONE(delete_now(store, &scope, "put"));
    }

    pawl_attribute attributes[65];
    char keys_[65][8];
    for (int i = 0; i < 65; i++) {
        snprintf(keys_[i], sizeof keys_[i], "k%d", i);
        attributes[i] = (pawl_attribute){keys_[i], strlen(keys_[i]), "v", 1};
    }
    bad = good;
    bad.flags = PAWL_PUT_SET_ATTRIBUTES;
    bad.attributes = NULL;
    bad.attribute_count = 1;
    REFUSED_AS(PAWL_MISUSE_NULL, PUT(&bad));
    bad.attributes = attributes;
    const size_t counts[] = {65, SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 2 + 1, SIZE_MAX / 32 + 1};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        bad.attribute_count = counts[i];
        REFUSED_FOR_SIZE(counts[i], PAWL_LIMIT_ATTRIBUTES, PUT(&bad));
    }
    bad.attribute_count = 2;
    attributes[1] = attributes[0];
    REFUSED_AS(PAWL_MISUSE_ATTRIBUTE, PUT(&bad)); /* keys must be distinct */
    const pawl_attribute wrong[] = {
        {"k", 0, "v", 1},          {text, 129, "v", 1},         {"k", 1, text, 513},
        {text, SIZE_MAX, "v", 1},  {"k", 1, text, SIZE_MAX},    {text, SIZE_MAX / 2 + 1, "v", 1},
        {"k", 1, text, SIZE_MAX / 2 + 1}, {"a\0b", 3, "v", 1}, {"k", 1, "a\0b", 3},
        {"\xC0\x80", 2, "v", 1},   {"k", 1, "\xFF", 1},         {NULL, 0, "v", 1},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        attributes[1] = wrong[i];
        REFUSED_FOR_SIZE(wrong[i].key_size | wrong[i].value_size, PAWL_MISUSE_ATTRIBUTE, PUT(&bad));
    }
    attributes[1] = (pawl_attribute){NULL, 3, "v", 1};
    REFUSED_AS(PAWL_MISUSE_NULL, PUT(&bad));
    attributes[1] = (pawl_attribute){"k", 1, NULL, 3};
    REFUSED_AS(PAWL_MISUSE_NULL, PUT(&bad));
    attributes[1] = (pawl_attribute){text, 128, text, 512};
    bad.attribute_count = 64;
    DONE(PUT(&bad)); /* all limits at once */
    DONE(delete_now(store, &scope, "put"));

    DONE(pawl_credential_put(store, &scope, "put", 3, large, PAWL_SECRET_SIZE_MAX, NULL, NULL));
    DONE(delete_now(store, &scope, "put"));
    DONE(pawl_credential_put(store, &scope, "put", 3, NULL, 0, NULL, NULL));
    DONE(delete_now(store, &scope, "put"));
    free(large);
    finish();
}

static void account_calls(void *unused) {
    (void)unused;
    prepare();
    uint8_t id[PAWL_ACCOUNT_ID_SIZE];
    const uint8_t none[PAWL_ACCOUNT_ID_SIZE] = {0};
    static char large[70000];
    memset(large, 'a', sizeof large);
    memset(id, 0xAA, sizeof id);
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_account_create(NULL, "name", 4, id));
    CHECK(memcmp(id, none, sizeof id) == 0);
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_account_create(store, "name", 4, NULL));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_account_create(store, NULL, 4, id));
    REFUSED_AS(PAWL_MISUSE_ACCOUNT, pawl_account_create(store, NULL, 0, id));
    REFUSED_AS(PAWL_MISUSE_ACCOUNT, pawl_account_create(store, "name", 0, id));
    REFUSED_AS(PAWL_MISUSE_ACCOUNT, pawl_account_create(store, large, 256, id));
    for (size_t i = 0; i < ABSURD_COUNT; i++) {
        memset(id, 0xAA, sizeof id);
        REFUSED_FOR_SIZE(absurd[i], PAWL_MISUSE_ACCOUNT, pawl_account_create(store, large, absurd[i], id));
        CHECK(memcmp(id, none, sizeof id) == 0);
        REFUSED(pawl_account_create(store, NULL, absurd[i], id));
    }
    pawl_view *view = credentials;
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_account_get(NULL, account_id, &view));
    CHECK(view == NULL);
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_account_get(store, NULL, &view));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_account_get(store, account_id, NULL));
    view = credentials;
    REFUSED_AS(PAWL_NOT_FOUND, pawl_account_get(store, none, &view));
    CHECK(view == NULL);
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_account_delete(NULL, account_id));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_account_delete(store, NULL));
    REFUSED_AS(PAWL_NOT_FOUND, pawl_account_delete(store, none));

    view = credentials;
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_account_list(NULL, NULL, 10, &view));
    CHECK(view == NULL);
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_account_list(store, NULL, 10, NULL));
    const size_t limits[] = {0, 10001, SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 2 + 1};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        REFUSED_AS(PAWL_MISUSE_SIZE, pawl_account_list(store, NULL, limits[i], &view));
        REFUSED_AS(PAWL_MISUSE_SIZE, pawl_account_list(store, account_id, limits[i], &view));
    }

    pawl_account account = PAWL_INIT(pawl_account);
    pawl_credential credential = PAWL_INIT(pawl_credential);
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_view_account(NULL, 0, &account));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_view_account(accounts, 0, NULL));
    account = (pawl_account)PAWL_INIT(pawl_account);
    OUTPUT_SIZES(pawl_account, PAWL_OK, pawl_view_account(accounts, 0, object));
    const size_t rows[] = {1, 2, 10000, SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 2 + 1, SIZE_MAX / 64, SIZE_MAX / 16};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        REFUSED_AS(PAWL_MISUSE_ROW, pawl_view_account(accounts, rows[i], &account));
    }
    pawl_view *others[] = {credentials, slots, damages, orphans};
    for (int i = 0; i < 4; i++) REFUSED_AS(PAWL_MISUSE_ROW, pawl_view_account(others[i], 0, &account));
    CHECK(account.name == NULL && memcmp(account.id, none, sizeof none) == 0);
    REFUSED_AS(PAWL_MISUSE_ROW, pawl_view_credential(accounts, 0, &credential));

    DONE(pawl_batch_begin(store, &batch));
    REFUSED_AS(PAWL_MISUSE_ACCOUNT, pawl_account_create(batch, "", 0, id));
    REFUSED_AS(PAWL_MISUSE_SIZE, pawl_account_list(batch, NULL, 0, &view));
    DONE(pawl_account_create(batch, large, 255, id));
    DONE(pawl_account_delete(batch, account_id));
    CALL(pawl_batch_rollback(batch));
    finish();
}

/* Both functions and both sides keep the same rules. */
static void safety_numbers(void *unused) {
    (void)unused;
    char text[PAWL_SAFETY_NUMBER_SIZE];
    uint8_t code[PAWL_SAFETY_CODE_SIZE];
    size_t size = 7;
    static char large[2048];
    memset(large, 'a', sizeof large);
    pawl_identity good = PAWL_INIT(pawl_identity);
    memcpy(good.signing_key, test_key, sizeof good.signing_key);
    good.name = "name";
    good.name_size = 4;
#define NUMBER(a_, b_) pawl_safety_number(a_, b_, text, sizeof text, &size)
#define CODE(a_, b_) pawl_safety_code(a_, b_, code, sizeof code, &size)
#define BOTH(odd, want, side_) \
    do { \
        size = 7; \
        REFUSED_FOR_SIZE(odd, want, NUMBER(side_, &good)); \
        CHECK(size == 0); \
        REFUSED_FOR_SIZE(odd, want, NUMBER(&good, side_)); \
        REFUSED_FOR_SIZE(odd, want, NUMBER(side_, side_)); \
        size = 7; \
        REFUSED_FOR_SIZE(odd, want, CODE(side_, &good)); \
        CHECK(size == 0); \
        REFUSED_FOR_SIZE(odd, want, CODE(&good, side_)); \
        REFUSED_FOR_SIZE(odd, want, CODE(side_, side_)); \
    } while (0)
    DONE(NUMBER(&good, &good));
    DONE(CODE(&good, &good));
    BOTH(0, PAWL_MISUSE_NULL, NULL);
    STRUCT_SIZES(pawl_identity, good, NUMBER(object, &good));
    STRUCT_SIZES(pawl_identity, good, NUMBER(&good, object));
    STRUCT_SIZES(pawl_identity, good, CODE(object, &good));
    STRUCT_SIZES(pawl_identity, good, CODE(&good, object));
    STRUCT_GROWN(pawl_identity, good, NUMBER(object, &good));
    STRUCT_GROWN(pawl_identity, good, CODE(&good, object));
    pawl_identity bad = good;
    const uint32_t flags[] = {1, 2, 0x80000000u, UINT32_MAX};
    for (size_t i = 0; i < 4; i++) {
        bad.flags = flags[i];
        BOTH(0, PAWL_MISUSE_FLAGS, &bad);
    }
    bad = good;
    bad.name = NULL;
    BOTH(0, PAWL_MISUSE_NULL, &bad);
    bad.name_size = 0;
    BOTH(0, PAWL_MISUSE_ACCOUNT, &bad);
    bad.name = "name";
    BOTH(0, PAWL_MISUSE_ACCOUNT, &bad);
    bad.name = large;
    bad.name_size = 256;
    BOTH(0, PAWL_MISUSE_ACCOUNT, &bad);
    for (size_t i = 0; i < ABSURD_COUNT; i++) {
        bad.name_size = absurd[i];
        BOTH(absurd[i], PAWL_MISUSE_ACCOUNT, &bad);
    }
    const char *ill[] = {"a\0b", "\xC0\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\x80", "a\xC3"};
    const size_t sizes[] = {3, 2, 3, 4, 1, 2};
    for (size_t i = 0; i < sizeof ill / sizeof *ill; i++) {
        bad.name = ill[i];
        bad.name_size = sizes[i];
        BOTH(0, PAWL_MISUSE_ACCOUNT, &bad);
    }
    bad.name = large;
    bad.name_size = 255;
    DONE(NUMBER(&bad, &good));
    DONE(CODE(&good, &bad));

    /* Where the answer goes. */
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_safety_number(&good, &good, text, sizeof text, NULL));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_safety_code(&good, &good, code, sizeof code, NULL));
    const size_t rooms[] = {PAWL_SAFETY_NUMBER_SIZE, 1000, SIZE_MAX / 2};
    for (size_t i = 0; i < 3; i++) {
        REFUSED_AS(PAWL_MISUSE_NULL, pawl_safety_number(&good, &good, NULL, rooms[i], &size));
        REFUSED_AS(PAWL_MISUSE_NULL, pawl_safety_code(&good, &good, NULL, rooms[i], &size));
    }
    const size_t impossible[] = {SIZE_MAX / 2 + 1, SIZE_MAX - 1, SIZE_MAX};
    for (size_t i = 0; i < 3; i++) {
        REFUSED(pawl_safety_number(&good, &good, text, impossible[i], &size));
        REFUSED(pawl_safety_code(&good, &good, code, impossible[i], &size));
        REFUSED(pawl_safety_number(&good, &good, NULL, impossible[i], &size));
        REFUSED(pawl_safety_code(&good, &good, NULL, impossible[i], &size));
        CHECK(size == 0);
    }
    /* A size that is honest about nothing but being large enough. */
    DONE(pawl_safety_number(&good, &good, text, SIZE_MAX / 2, &size));
    DONE(pawl_safety_code(&good, &good, code, SIZE_MAX / 2, &size));
}

/* Options that no flag names are not looked at: the caller may leave anything there. */
static void unnamed_options(void *unused) {
    (void)unused;
    prepare();
    pawl_put_options options = PAWL_INIT(pawl_put_options);
    options.if_version = UINT64_MAX;
    options.expires_ns = INT64_MIN;
    DONE(pawl_credential_put(store, &scope, "name", 4, "secret", 6, &options, NULL));
    finish();
}

/* ---------------------------------------------------------------- packages, peers, sessions, messages */

static pawl_view *packages, *peers, *sessions, *items, *kept;
static uint8_t peer_account[PAWL_ACCOUNT_ID_SIZE], session_id[PAWL_SESSION_ID_SIZE], at_peer[PAWL_SESSION_ID_SIZE];
static uint8_t bundle[PAWL_PACKAGE_SIZE_MAX];
static size_t bundle_size;
static const uint8_t no_id[16];

/* Two accounts of one store, a session between them, and a view of each kind. */
static void prepare_session(void) {
    prepare();
    MUST(pawl_account_create(store, "peer", 4, peer_account));
    MUST(pawl_package_create(store, peer_account, NULL, &packages));
    pawl_package package = PAWL_INIT(pawl_package);
    MUST(pawl_view_package(packages, 0, &package));
    NEED(package.bytes_size <= sizeof bundle);
    memcpy(bundle, package.bytes, bundle_size = package.bytes_size);
    pawl_start_options options = PAWL_INIT(pawl_start_options);
    options.peer_name = "peer";
    options.peer_name_size = 4;
    options.package = bundle;
    options.package_size = bundle_size;
    MUST(pawl_session_start(store, account_id, &options, session_id));
    memcpy(at_peer, session_id, 16);
    at_peer[15] |= 1;
    MUST(pawl_session_send(store, session_id, "hello", 5, NULL));
    MUST(pawl_outbox_take(store, 10, 0, &items));
    pawl_item item = PAWL_INIT(pawl_item);
    MUST(pawl_view_item(items, 0, &item));
    uint8_t out[2048];
    size_t size = 0;
    pawl_frame frame = PAWL_INIT(pawl_frame);
    frame.flags = PAWL_RECEIVE_KEEP;
    frame.bytes = item.body;
    frame.size = item.body_size;
    pawl_received received = PAWL_INIT(pawl_received);
    MUST(pawl_account_receive(store, peer_account, &frame, out, sizeof out, &size, &received));
    MUST(pawl_outbox_ack(store, &item.seq, 1));
    MUST(pawl_session_kept(store, at_peer, 10, &kept));
    MUST(pawl_peer_get(store, account_id, "peer", 4, &peers));
    MUST(pawl_session_get(store, session_id, &sessions));
}

static void finish_session(void) {
    pawl_view *view = NULL;
    DONE(pawl_session_list(store, account_id, "peer", 4, &view));
    CHECK(pawl_view_count(view) == 1);
    CALL(pawl_view_close(view));
    DONE(pawl_package_list(store, peer_account, &view));
    CHECK(pawl_view_count(view) == 1);
    CALL(pawl_view_close(view));
    DONE(pawl_outbox_take(store, 10, 0, &view));
    CHECK(pawl_view_count(view) == 0);
    CALL(pawl_view_close(view));
    DONE(pawl_account_delete(store, peer_account));
    CALL(pawl_view_close(packages));
    CALL(pawl_view_close(peers));
    CALL(pawl_view_close(sessions));
    CALL(pawl_view_close(items));
    CALL(pawl_view_close(kept));
    finish();
}

static const size_t bad_limits[] = {0, 10001, SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 2 + 1};
#define BAD_LIMITS (sizeof bad_limits / sizeof *bad_limits)
static const size_t bad_rows[] = {1, 2, 10000, SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 2 + 1, SIZE_MAX / 64, SIZE_MAX / 16};
static const char *const ill_names[] = {"a\0b", "\xC0\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\x80", "a\xC3"};
static const size_t ill_sizes[] = {3, 2, 3, 4, 1, 2};

/* A call that takes a name `name_` of `size_` bytes, with all that is none. */
#define ACCOUNT_NAMES(call) \
    do { \
        static char many_[70000]; \
        memset(many_, 'a', sizeof many_); \
        const char *name_ = NULL; \
        size_t size_ = 4; \
        REFUSED_AS(PAWL_MISUSE_NULL, call); \
        size_ = 0; \
        REFUSED_AS(PAWL_MISUSE_ACCOUNT, call); \
        name_ = "name"; \
        REFUSED_AS(PAWL_MISUSE_ACCOUNT, call); \
        name_ = many_; \
        size_ = 256; \
        REFUSED_AS(PAWL_MISUSE_ACCOUNT, call); \
        for (size_t i_ = 0; i_ < ABSURD_COUNT; i_++) { \
            name_ = many_; \
            size_ = absurd[i_]; \
            REFUSED_FOR_SIZE(absurd[i_], PAWL_MISUSE_ACCOUNT, call); \
            name_ = NULL; \
            REFUSED(call); \
        } \
        for (size_t i_ = 0; i_ < sizeof ill_sizes / sizeof *ill_sizes; i_++) { \
            name_ = ill_names[i_]; \
            size_ = ill_sizes[i_]; \
            REFUSED_AS(PAWL_MISUSE_ACCOUNT, call); \
        } \
    } while (0)

/* A call that gives a view through `view_`: a place for it is needed, and nothing old stays there. */
#define GIVES_VIEW(want, call) \
    do { \
        pawl_view *place_ = credentials, **view_ = &place_; \
        REFUSED_AS(want, call); \
        CHECK(place_ == NULL); \
    } while (0)
#define NEEDS_PLACE(call) \
    do { \
        pawl_view **view_ = NULL; \
        REFUSED_AS(PAWL_MISUSE_NULL, call); \
    } while (0)

/* A row of a view of its own kind, and of all others. */
#define ROWS(type, function, own) \
    do { \
        type row_ = PAWL_INIT(type); \
        REFUSED_AS(PAWL_MISUSE_NULL, function(NULL, 0, &row_)); \
        REFUSED_AS(PAWL_MISUSE_NULL, function(own, 0, NULL)); \
        row_ = (type)PAWL_INIT(type); \
        for (size_t i_ = 0; i_ < sizeof bad_rows / sizeof *bad_rows; i_++) { \
            REFUSED_AS(PAWL_MISUSE_ROW, function(own, bad_rows[i_], &row_)); \
        } \
        pawl_view *all_[] = {packages, peers, sessions, items, kept, accounts, credentials, slots}; \
        for (size_t i_ = 0; i_ < sizeof all_ / sizeof *all_; i_++) { \
            if (all_[i_] != own) REFUSED_AS(PAWL_MISUSE_ROW, function(all_[i_], 0, &row_)); \
        } \
        const uint8_t *bytes_ = (const uint8_t *)&row_; \
        for (size_t i_ = 4; i_ < sizeof row_; i_++) CHECK(bytes_[i_] == 0); \
        OUTPUT_SIZES(type, PAWL_OK, function(own, 0, object)); \
    } while (0)

static void session_rows(void *unused) {
    (void)unused;
    prepare_session();
    ROWS(pawl_package, pawl_view_package, packages);
    ROWS(pawl_peer, pawl_view_peer, peers);
    ROWS(pawl_session, pawl_view_session, sessions);
    ROWS(pawl_item, pawl_view_item, items);
    ROWS(pawl_kept, pawl_view_kept, kept);
    finish_session();
}

static void package_calls(void *unused) {
    (void)unused;
    prepare_session();
    pawl_package_options good = PAWL_INIT(pawl_package_options);
    pawl_view *view = NULL;
    uint8_t package_id[PAWL_PACKAGE_ID_SIZE];
    GIVES_VIEW(PAWL_MISUSE_NULL, pawl_package_create(NULL, account_id, &good, view_));
    GIVES_VIEW(PAWL_MISUSE_NULL, pawl_package_create(store, NULL, &good, view_));
    GIVES_VIEW(PAWL_NOT_FOUND, pawl_package_create(store, no_id, &good, view_));
    NEEDS_PLACE(pawl_package_create(store, account_id, &good, view_));
    STRUCT_SIZES(pawl_package_options, good, pawl_package_create(store, account_id, object, &view));
    pawl_package_options bad = good;
    const uint32_t flags[] = {1, 2, 0x80000000u, UINT32_MAX};
    for (size_t i = 0; i < 4; i++) {
        bad.flags = flags[i];
        GIVES_VIEW(PAWL_MISUSE_FLAGS, pawl_package_create(store, account_id, &bad, view_));
    }
    bad = good;
    bad.reserved = 1;
    GIVES_VIEW(PAWL_MISUSE_STRUCT, pawl_package_create(store, account_id, &bad, view_));
    const uint32_t counts[] = {501, 65536, INT32_MAX, 0x80000000u, UINT32_MAX};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        bad = good;
        bad.one_time_count = counts[i];
        GIVES_VIEW(PAWL_MISUSE_SIZE, pawl_package_create(store, account_id, &bad, view_));
    }
    const int64_t lifetimes[] = {-1, INT64_MIN, INT64_MIN + 1, PAWL_PACKAGE_LIFETIME_DEFAULT + 1, INT64_MAX};
    for (size_t i = 0; i < sizeof lifetimes / sizeof *lifetimes; i++) {
        bad = good;
        bad.lifetime_ns = lifetimes[i];
        GIVES_VIEW(PAWL_MISUSE_TIME, pawl_package_create(store, account_id, &bad, view_));
    }
    STRUCT_GROWN(pawl_package_options, good, pawl_package_create(store, account_id, object, &view));
    pawl_package package = PAWL_INIT(pawl_package);
    DONE(pawl_view_package(view, 0, &package));
    memcpy(package_id, package.id, sizeof package_id);
    CALL(pawl_view_close(view));

    GIVES_VIEW(PAWL_MISUSE_NULL, pawl_package_list(NULL, account_id, view_));
    GIVES_VIEW(PAWL_MISUSE_NULL, pawl_package_list(store, NULL, view_));
    GIVES_VIEW(PAWL_NOT_FOUND, pawl_package_list(store, no_id, view_));
    NEEDS_PLACE(pawl_package_list(store, account_id, view_));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_package_delete(NULL, account_id, package_id));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_package_delete(store, NULL, package_id));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_package_delete(store, account_id, NULL));
    REFUSED_AS(PAWL_NOT_FOUND, pawl_package_delete(store, no_id, package_id));
    REFUSED_AS(PAWL_NOT_FOUND, pawl_package_delete(store, account_id, no_id));
    REFUSED_AS(PAWL_NOT_FOUND, pawl_package_delete(store, peer_account, package_id)); /* somebody else's */
    DONE(pawl_package_delete(store, account_id, package_id));

    REFUSED_AS(PAWL_MISUSE_NULL, pawl_account_set_min_suite(NULL, account_id, PAWL_SUITE_X25519));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_account_set_min_suite(store, NULL, PAWL_SUITE_X25519));
    REFUSED_AS(PAWL_NOT_FOUND, pawl_account_set_min_suite(store, no_id, PAWL_SUITE_X25519));
    const uint32_t suites[] = {0, 3, 255, 256, 257, 0x80000001u, UINT32_MAX};
    for (size_t i = 0; i < sizeof suites / sizeof *suites; i++) {
        REFUSED_AS(PAWL_MISUSE_FLAGS, pawl_account_set_min_suite(store, account_id, suites[i]));
        REFUSED_AS(PAWL_MISUSE_FLAGS, pawl_peer_allow_suite(store, account_id, "peer", 4, suites[i]));
    }
    finish_session();
}

/* In the shape of the other functions that give rows. */
static pawl_status published(const pawl_view *view, size_t row, pawl_package *package) {
    return pawl_view_item_package(view, row, 0, package);
}

static void rotation_calls(void *unused) {
    (void)unused;
    prepare_session();
    pawl_rotation rotation = PAWL_INIT(pawl_rotation);
    REFUSED_AS(PAWL_NOT_FOUND, pawl_rotation_now(store, account_id)); /* none begun */
    REFUSED_AS(PAWL_NOT_FOUND, pawl_rotation_report(store, account_id, 1));
    REFUSED_AS(PAWL_NOT_FOUND, pawl_rotation_get(store, account_id, &rotation));

    pawl_rotation_options good = PAWL_INIT(pawl_rotation_options);
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_rotation_begin(NULL, account_id, &good));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_rotation_begin(store, NULL, &good));
    REFUSED_AS(PAWL_NOT_FOUND, pawl_rotation_begin(store, no_id, &good));
    REFUSED_AS(PAWL_NOT_FOUND, pawl_rotation_begin(store, no_id, NULL));
    STRUCT_SIZES(pawl_rotation_options, good, pawl_rotation_begin(store, account_id, object));
    pawl_rotation_options bad = good;
    const uint32_t flags[] = {2, 3, 0x80000000u, UINT32_MAX};
    for (size_t i = 0; i < 4; i++) {
        bad.flags = flags[i];
        REFUSED_AS(PAWL_MISUSE_FLAGS, pawl_rotation_begin(store, account_id, &bad));
    }
    bad.flags = PAWL_ROTATION_NO_KEYS; /* and keys */
    bad.one_time_count = 1;
    REFUSED_AS(PAWL_MISUSE_FLAGS, pawl_rotation_begin(store, account_id, &bad));
    bad.one_time_count = 0;
    bad.one_time_floor = 1;
    REFUSED_AS(PAWL_MISUSE_FLAGS, pawl_rotation_begin(store, account_id, &bad));
    const uint32_t counts[] = {501, 65536, INT32_MAX, 0x80000000u, UINT32_MAX};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        bad = good;
        bad.one_time_count = counts[i];
        REFUSED_AS(PAWL_MISUSE_SIZE, pawl_rotation_begin(store, account_id, &bad));
    }
    const int64_t spans[] = {-1, INT64_MIN, INT64_MIN + 1, PAWL_PACKAGE_LIFETIME_DEFAULT + 1, INT64_MAX};
    for (size_t i = 0; i < sizeof spans / sizeof *spans; i++) {
        int64_t *const fields[] = {&bad.rotate_ns,        &bad.lifetime_ns,      &bad.keep_ns,
                                   &bad.welcome_delay_ns, &bad.welcome_pause_ns, &bad.readback_ns};
        for (size_t k = 0; k < sizeof fields / sizeof *fields; k++) {
            bad = good;
            *fields[k] = spans[i];
            REFUSED_AS(PAWL_MISUSE_TIME, pawl_rotation_begin(store, account_id, &bad));
        }
    }
    REFUSED_AS(PAWL_NOT_FOUND, pawl_rotation_get(store, account_id, &rotation)); /* none of these began it */
    STRUCT_GROWN(pawl_rotation_options, good, pawl_rotation_begin(store, account_id, object));
    bad = good;
    bad.one_time_count = 500;
    bad.one_time_floor = UINT32_MAX; /* not above the count */
    DONE(pawl_rotation_begin(store, account_id, &bad));
    bad.one_time_count = 2;
    DONE(pawl_rotation_begin(store, account_id, &bad));

    REFUSED_AS(PAWL_MISUSE_NULL, pawl_rotation_now(NULL, account_id));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_rotation_now(store, NULL));
    REFUSED_AS(PAWL_NOT_FOUND, pawl_rotation_now(store, no_id));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_rotation_report(NULL, account_id, 0));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_rotation_report(store, NULL, 0));
    REFUSED_AS(PAWL_NOT_FOUND, pawl_rotation_report(store, no_id, 0));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_rotation_get(NULL, account_id, &rotation));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_rotation_get(store, NULL, &rotation));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_rotation_get(store, account_id, NULL));
    memset(&rotation, 0xAA, sizeof rotation);
    rotation.struct_size = sizeof rotation;
    REFUSED_AS(PAWL_NOT_FOUND, pawl_rotation_get(store, no_id, &rotation));
    const uint8_t *bytes = (const uint8_t *)&rotation;
    for (size_t i = 4; i < sizeof rotation; i++) CHECK(bytes[i] == 0);
    OUTPUT_SIZES(pawl_rotation, PAWL_OK, pawl_rotation_get(store, account_id, object));

    /* What is to be published. */
    DONE(pawl_store_run_due(store, 10, NULL, NULL));
    pawl_view *own = items, *asked = NULL;
    DONE(pawl_outbox_take(store, 10, 0, &asked));
    pawl_item item = PAWL_INIT(pawl_item);
    DONE(pawl_view_item(asked, 0, &item));
    CHECK(item.what == PAWL_REQUEST_PUBLISH && item.count == 2);
    items = asked;
    ROWS(pawl_package, published, items);
    items = own;
    pawl_package package = PAWL_INIT(pawl_package);
    for (size_t i = 0; i < 3; i++) {
        DONE(pawl_view_item_package(asked, 0, i, &package));
        CHECK(package.kind == (i == 0 ? PAWL_PACKAGE : PAWL_PACKAGE_ONE_TIME) && package.key_id == i);
        CHECK(package.bytes_size > 0 && package.state == PAWL_PACKAGE_STAGED);
        CHECK(package.one_time_count == (i == 0 ? 2 : 0));
    }
    const size_t behind[] = {3, 4, 10000, SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 2 + 1, SIZE_MAX / 64, SIZE_MAX / 16};
    for (size_t i = 0; i < sizeof behind / sizeof *behind; i++) {
        REFUSED_AS(PAWL_MISUSE_ROW, pawl_view_item_package(asked, 0, behind[i], &package));
        REFUSED_AS(PAWL_MISUSE_ROW, pawl_view_item_package(asked, behind[i], 0, &package));
        REFUSED_AS(PAWL_MISUSE_ROW, pawl_view_item_package(items, 0, behind[i], &package));
    }
    REFUSED_AS(PAWL_MISUSE_ROW, pawl_view_item_package(items, 0, 0, &package)); /* a frame */
    REFUSED_AS(PAWL_MISUSE_SIZE, pawl_outbox_answer(store, item.seq, "x", 1));
    DONE(pawl_rotation_report(store, account_id, UINT32_MAX)); /* nothing is published yet */
    DONE(pawl_rotation_get(store, account_id, &rotation));
    CHECK(rotation.one_time_count == 0);
    DONE(pawl_outbox_answer(store, item.seq, NULL, 0));
    GIVES_VIEW(PAWL_STATE_ROTATION, pawl_package_create(store, account_id, NULL, view_));
    DONE(pawl_view_item_package(asked, 0, 0, &package));
    REFUSED_AS(PAWL_STATE_ROTATION, pawl_package_delete(store, account_id, package.id));
    DONE(pawl_rotation_report(store, account_id, UINT32_MAX));
    DONE(pawl_rotation_get(store, account_id, &rotation));
    CHECK(rotation.one_time_count == UINT32_MAX);
    CALL(pawl_view_close(asked));
    finish_session();
}

static void peer_calls(void *unused) {
    (void)unused;
    pawl_view *view = NULL;
    prepare_session();
    GIVES_VIEW(PAWL_MISUSE_NULL, pawl_peer_get(NULL, account_id, "peer", 4, view_));
    GIVES_VIEW(PAWL_MISUSE_NULL, pawl_peer_get(store, NULL, "peer", 4, view_));
    GIVES_VIEW(PAWL_NOT_FOUND, pawl_peer_get(store, no_id, "peer", 4, view_));
    GIVES_VIEW(PAWL_NOT_FOUND, pawl_peer_get(store, account_id, "pee", 3, view_));
    NEEDS_PLACE(pawl_peer_get(store, account_id, "peer", 4, view_));
    ACCOUNT_NAMES(pawl_peer_get(store, account_id, name_, size_, &view));

    GIVES_VIEW(PAWL_MISUSE_NULL, pawl_peer_list(NULL, account_id, NULL, 0, 10, view_));
    GIVES_VIEW(PAWL_MISUSE_NULL, pawl_peer_list(store, NULL, NULL, 0, 10, view_));
    GIVES_VIEW(PAWL_NOT_FOUND, pawl_peer_list(store, no_id, NULL, 0, 10, view_));
    NEEDS_PLACE(pawl_peer_list(store, account_id, NULL, 0, 10, view_));
    for (size_t i = 0; i < BAD_LIMITS; i++) {
        GIVES_VIEW(PAWL_MISUSE_SIZE, pawl_peer_list(store, account_id, NULL, 0, bad_limits[i], view_));
    }
    static char large[70000];
    memset(large, 'a', sizeof large);
    GIVES_VIEW(PAWL_MISUSE_NULL, pawl_peer_list(store, account_id, NULL, 4, 10, view_));
    for (size_t i = 0; i < ABSURD_COUNT; i++) {
        view = credentials;
        REFUSED_FOR_SIZE(absurd[i], PAWL_MISUSE_ACCOUNT,
                         pawl_peer_list(store, account_id, large, absurd[i], 10, &view));
        CHECK(view == NULL);
    }
    for (size_t i = 0; i < sizeof ill_sizes / sizeof *ill_sizes; i++) {
        GIVES_VIEW(PAWL_MISUSE_ACCOUNT, pawl_peer_list(store, account_id, ill_names[i], ill_sizes[i], 10, view_));
    }

    pawl_peer peer = PAWL_INIT(pawl_peer);
    DONE(pawl_view_peer(peers, 0, &peer));
    pawl_identity good = PAWL_INIT(pawl_identity);
    memcpy(good.signing_key, peer.signing_key, sizeof good.signing_key);
    memcpy(good.agreement_key, peer.agreement_key, sizeof good.agreement_key);
    good.name = "peer";
    good.name_size = 4;
#define TRUST(identity_, trust_) pawl_peer_trust(store, account_id, identity_, trust_)
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_peer_trust(NULL, account_id, &good, 0));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_peer_trust(store, NULL, &good, 0));
    REFUSED_AS(PAWL_NOT_FOUND, pawl_peer_trust(store, no_id, &good, 0));
    REFUSED_AS(PAWL_MISUSE_NULL, TRUST(NULL, 0));
    STRUCT_SIZES(pawl_identity, good, TRUST(object, 0));
    STRUCT_GROWN(pawl_identity, good, TRUST(object, 0));
    const uint32_t levels[] = {2, 255, 256, 257, 0x80000000u, UINT32_MAX};
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        REFUSED_AS(PAWL_MISUSE_FLAGS, TRUST(&good, levels[i]));
    }
    pawl_identity bad = good;
    bad.flags = 1;
    REFUSED_AS(PAWL_MISUSE_FLAGS, TRUST(&bad, 0));
    bad = good;
    memset(bad.agreement_key, 0xFF, sizeof bad.agreement_key);
    REFUSED_AS(PAWL_AUTH, TRUST(&bad, 0));
    bad = good;
    ACCOUNT_NAMES((bad.name = name_, bad.name_size = size_, TRUST(&bad, 0)));

    REFUSED_AS(PAWL_MISUSE_NULL, pawl_peer_allow_suite(NULL, account_id, "peer", 4, PAWL_SUITE_X25519));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_peer_allow_suite(store, NULL, "peer", 4, PAWL_SUITE_X25519));
    REFUSED_AS(PAWL_NOT_FOUND, pawl_peer_allow_suite(store, no_id, "peer", 4, PAWL_SUITE_X25519));
    REFUSED_AS(PAWL_NOT_FOUND, pawl_peer_allow_suite(store, account_id, "nobody", 6, PAWL_SUITE_X25519));
    ACCOUNT_NAMES(pawl_peer_allow_suite(store, account_id, name_, size_, PAWL_SUITE_X25519));
    finish_session();
}

static void session_calls(void *unused) {
    (void)unused;
    prepare_session();
    pawl_view *view = NULL;
    uint8_t id[PAWL_SESSION_ID_SIZE];
    pawl_start_options good = PAWL_INIT(pawl_start_options);
    good.peer_name = "peer";
    good.peer_name_size = 4;
    good.package = bundle;
    good.package_size = bundle_size;
#define START(options_) pawl_session_start(store, account_id, options_, id)
    memset(id, 0xAA, sizeof id);
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_session_start(NULL, account_id, &good, id));
    CHECK(memcmp(id, no_id, 16) == 0);
    memset(id, 0xAA, sizeof id);
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_session_start(store, NULL, &good, id));
    CHECK(memcmp(id, no_id, 16) == 0);
    REFUSED_AS(PAWL_MISUSE_NULL, START(NULL));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_session_start(store, account_id, &good, NULL));
    REFUSED_AS(PAWL_NOT_FOUND, pawl_session_start(store, no_id, &good, id));
    STRUCT_SIZES(pawl_start_options, good, START(object));
    pawl_start_options bad = good;
    const uint32_t flags[] = {1, 2, 0x80000000u, UINT32_MAX};
    for (size_t i = 0; i < 4; i++) {
        bad.flags = flags[i];
        REFUSED_AS(PAWL_MISUSE_FLAGS, START(&bad));
    }
    bad = good;
    ACCOUNT_NAMES((bad.peer_name = name_, bad.peer_name_size = size_, START(&bad)));
    static uint8_t junk[70000];
    memset(junk, 1, sizeof junk);
    const size_t sizes[] = {0, 1, 2, 3, 100, 4096, 4097, 8192, 8193, 65536, 70000};
    bad = good;
    bad.package = NULL;
    REFUSED_AS(PAWL_MISUSE_NULL, START(&bad));
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        bad.package = junk;
        bad.package_size = sizes[i];
        REFUSED_AS(PAWL_MISUSE_PACKAGE, START(&bad));
        REFUSED_AS(PAWL_MISUSE_PACKAGE, pawl_session_reset(store, session_id, junk, sizes[i], id));
    }
    const size_t impossible[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX / 2 + 1};
    for (size_t i = 0; i < 3; i++) {
        bad.package = bundle;
        bad.package_size = impossible[i];
        REFUSED_AS(PAWL_MISUSE_SIZE, START(&bad));
        REFUSED_AS(PAWL_MISUSE_SIZE, pawl_session_reset(store, session_id, bundle, impossible[i], id));
        bad.package = NULL;
        REFUSED(START(&bad));
    }
    memset(id, 0xAA, sizeof id);
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_session_reset(NULL, session_id, bundle, bundle_size, id));
    CHECK(memcmp(id, no_id, 16) == 0);
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_session_reset(store, NULL, bundle, bundle_size, id));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_session_reset(store, session_id, NULL, bundle_size, id));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_session_reset(store, session_id, bundle, bundle_size, NULL));
    REFUSED_AS(PAWL_NOT_FOUND, pawl_session_reset(store, no_id, bundle, bundle_size, id));

    REFUSED_AS(PAWL_MISUSE_NULL, pawl_session_close(NULL, session_id));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_session_close(store, NULL));
    REFUSED_AS(PAWL_NOT_FOUND, pawl_session_close(store, no_id));
    GIVES_VIEW(PAWL_MISUSE_NULL, pawl_session_get(NULL, session_id, view_));
    GIVES_VIEW(PAWL_MISUSE_NULL, pawl_session_get(store, NULL, view_));
    GIVES_VIEW(PAWL_NOT_FOUND, pawl_session_get(store, no_id, view_));
    NEEDS_PLACE(pawl_session_get(store, session_id, view_));
    GIVES_VIEW(PAWL_MISUSE_NULL, pawl_session_list(NULL, account_id, "peer", 4, view_));
    GIVES_VIEW(PAWL_MISUSE_NULL, pawl_session_list(store, NULL, "peer", 4, view_));
    GIVES_VIEW(PAWL_NOT_FOUND, pawl_session_list(store, no_id, "peer", 4, view_));
    NEEDS_PLACE(pawl_session_list(store, account_id, "peer", 4, view_));
    ACCOUNT_NAMES(pawl_session_list(store, account_id, name_, size_, &view));
    finish_session();
}

static void no_step(void *context, const pawl_step *step) {
    (void)context, (void)step;
}

static void rekey_calls(void *unused) {
    (void)unused;
    prepare_session();
    uint32_t epoch = 7;
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_session_rekey(NULL, session_id, 0, &epoch));
    CHECK(epoch == 0);
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_session_rekey(store, NULL, 0, &epoch));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_session_rekey(store, session_id, 0, NULL));
    epoch = 7;
    REFUSED_AS(PAWL_NOT_FOUND, pawl_session_rekey(store, no_id, 0, &epoch));
    CHECK(epoch == 0);
    const uint32_t flags[] = {2, 3, 4, 0x80000000u, UINT32_MAX};
    for (size_t i = 0; i < 5; i++) {
        epoch = 7;
        REFUSED_AS(PAWL_MISUSE_FLAGS, pawl_session_rekey(store, session_id, flags[i], &epoch));
        CHECK(epoch == 0);
    }

    epoch = 7;
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_session_wait(NULL, session_id, 0, 0, &epoch));
    CHECK(epoch == 0);
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_session_wait(store, NULL, 0, 0, &epoch));
    REFUSED_AS(PAWL_CLOSED_SESSION, pawl_session_wait(store, no_id, 0, 0, &epoch));
    for (size_t i = 0; i < TIME_COUNT; i++) {
        epoch = 7;
        if (times[i] < 0) {
            REFUSED_AS(PAWL_MISUSE_TIME, pawl_session_wait(store, session_id, 0, times[i], &epoch));
            REFUSED_AS(PAWL_MISUSE_TIME, pawl_session_wait(store, session_id, UINT32_MAX, times[i], NULL));
        } else {
            DONE(pawl_session_wait(store, session_id, 0, times[i], &epoch)); /* it has happened */
            DONE(pawl_session_wait(store, session_id, 0, times[i], NULL));
        }
        CHECK(epoch == 0);
    }
    const uint32_t epochs[] = {1, 2, INT32_MAX, UINT32_MAX};
    for (size_t i = 0; i < 4; i++) {
        epoch = 7;
        REFUSED_AS(PAWL_BUSY_WAITING, pawl_session_wait(store, session_id, epochs[i], (int64_t)i, &epoch));
        CHECK(epoch == 0);
        REFUSED_AS(PAWL_BUSY_WAITING, pawl_session_wait(store, session_id, epochs[i], 0, NULL));
    }

    pawl_rekey_limits good = PAWL_INIT(pawl_rekey_limits);
#define LIMITS(limits_) pawl_session_set_limits(store, session_id, limits_)
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_session_set_limits(NULL, session_id, &good));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_session_set_limits(store, NULL, &good));
    REFUSED_AS(PAWL_MISUSE_NULL, LIMITS(NULL));
    REFUSED_AS(PAWL_NOT_FOUND, pawl_session_set_limits(store, no_id, &good));
    STRUCT_SIZES(pawl_rekey_limits, good, LIMITS(object));
    STRUCT_GROWN(pawl_rekey_limits, good, LIMITS(object));
    pawl_rekey_limits bad = good;
    for (size_t i = 0; i < 5; i++) {
        bad.flags = flags[i];
        REFUSED_AS(PAWL_MISUSE_FLAGS, LIMITS(&bad));
    }
    bad = good;
    const uint32_t queues[] = {PAWL_QUEUE_MAX + 1, 0x80000000u, UINT32_MAX};
    for (size_t i = 0; i < 3; i++) {
        bad.queue = queues[i];
        REFUSED_AS(PAWL_MISUSE_SIZE, LIMITS(&bad));
    }
    bad = good;
    for (size_t i = 0; i < TIME_COUNT && times[i] < 0; i++) {
        bad.interval_ns = times[i];
        REFUSED_AS(PAWL_MISUSE_TIME, LIMITS(&bad));
    }
    bad = good;
    bad.messages = UINT32_MAX;
    bad.queue = PAWL_QUEUE_MAX;
    bad.bytes = UINT64_MAX;
    bad.interval_ns = INT64_MAX; /* does not overflow */
    DONE(LIMITS(&bad));
    bad.flags = PAWL_LIMITS_PERFECT;
    DONE(LIMITS(&bad));
    DONE(LIMITS(&good));

    pawl_trace trace = PAWL_INIT(pawl_trace);
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_store_trace(NULL, &trace));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_store_trace(NULL, NULL));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_store_trace(store, &trace)); /* nobody to tell */
    trace.step = no_step;
    STRUCT_SIZES(pawl_trace, trace, pawl_store_trace(store, object));
    STRUCT_GROWN(pawl_trace, trace, pawl_store_trace(store, object));
    for (size_t i = 0; i < 5; i++) {
        pawl_trace odd = trace;
        odd.flags = flags[i];
        REFUSED_AS(PAWL_MISUSE_FLAGS, pawl_store_trace(store, &odd));
    }
    DONE(pawl_store_trace(store, NULL));
    DONE(pawl_store_trace(store, NULL));

    DONE(pawl_batch_begin(store, &batch));
    REFUSED_AS(PAWL_STATE_BATCH, pawl_session_wait(batch, session_id, 0, 0, &epoch));
    DONE(pawl_session_rekey(batch, session_id, PAWL_REKEY_FRESH, &epoch));
    CHECK(epoch == 1);
    DONE(pawl_session_set_limits(batch, session_id, &good));
    CALL(pawl_batch_rollback(batch));
    REFUSED_AS(PAWL_BUSY_WAITING, pawl_session_wait(store, session_id, 1, 1, NULL));
    finish_session();
}

static void message_calls(void *unused) {
    (void)unused;
    prepare_session();
    static uint8_t out[8192];
    size_t size = 7;
    uint64_t ticket = 7;
#define ENCRYPT(text_, text_size_, out_, out_size_) \
    pawl_session_encrypt(store, session_id, text_, text_size_, out_, out_size_, &size)
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_session_encrypt(NULL, session_id, "x", 1, out, sizeof out, &size));
    CHECK(size == 0);
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_session_encrypt(store, NULL, "x", 1, out, sizeof out, &size));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_session_encrypt(store, session_id, "x", 1, out, sizeof out, NULL));
    REFUSED_AS(PAWL_MISUSE_NULL, ENCRYPT(NULL, 1, out, sizeof out));
    REFUSED_AS(PAWL_MISUSE_NULL, ENCRYPT("x", 1, NULL, sizeof out));
    REFUSED_AS(PAWL_NOT_FOUND, pawl_session_encrypt(store, no_id, "x", 1, out, sizeof out, &size));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_session_send(NULL, session_id, "x", 1, &ticket));
    CHECK(ticket == 0);
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_session_send(store, NULL, "x", 1, &ticket));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_session_send(store, session_id, NULL, 1, &ticket));
    REFUSED_AS(PAWL_NOT_FOUND, pawl_session_send(store, no_id, "x", 1, &ticket));
    const size_t impossible[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX / 2 + 1, SIZE_MAX / 2, PAWL_MESSAGE_SIZE_MAX + 1};
    for (size_t i = 0; i < sizeof impossible / sizeof *impossible; i++) {
        size_t huge = impossible[i];
        REFUSED_FOR_SIZE(huge, PAWL_LIMIT_MESSAGE, ENCRYPT("x", huge, out, sizeof out));
        REFUSED_FOR_SIZE(huge, PAWL_LIMIT_MESSAGE, pawl_session_send(store, session_id, "x", huge, &ticket));
        REFUSED(ENCRYPT(NULL, huge, out, sizeof out));
        if (huge > SIZE_MAX / 2) REFUSED_AS(PAWL_MISUSE_SIZE, ENCRYPT("x", 1, NULL, huge));
    }
    DONE(ENCRYPT("x", 1, out, SIZE_MAX / 2)); /* honest about nothing but being large enough */
    DONE(ENCRYPT(NULL, 0, out, sizeof out));

    pawl_frame good = PAWL_INIT(pawl_frame);
    static uint8_t frame[8192];
    memcpy(frame, out, size);
    good.bytes = frame;
    good.size = size;
    pawl_received received = PAWL_INIT(pawl_received);
#define RECEIVE(frame_) pawl_account_receive(store, peer_account, frame_, out, sizeof out, &size, &received)
    REFUSED_AS(PAWL_MISUSE_NULL,
               pawl_account_receive(NULL, peer_account, &good, out, sizeof out, &size, &received));
    CHECK(size == 0);
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_account_receive(store, NULL, &good, out, sizeof out, &size, &received));
    REFUSED_AS(PAWL_MISUSE_NULL, RECEIVE(NULL));
    REFUSED_AS(PAWL_MISUSE_NULL,
               pawl_account_receive(store, peer_account, &good, NULL, sizeof out, &size, &received));
    REFUSED_AS(PAWL_MISUSE_NULL,
               pawl_account_receive(store, peer_account, &good, out, sizeof out, NULL, &received));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_account_receive(store, peer_account, &good, out, sizeof out, &size, NULL));
    REFUSED_AS(PAWL_MISUSE_SIZE,
               pawl_account_receive(store, peer_account, &good, out, SIZE_MAX, &size, &received));
    REFUSED_AS(PAWL_NOT_FOUND, pawl_account_receive(store, no_id, &good, out, sizeof out, &size, &received));
    STRUCT_SIZES(pawl_frame, good, RECEIVE(object));
    pawl_frame bad = good;
    const uint32_t flags[] = {2, 4, 0x80000000u, UINT32_MAX};
    for (size_t i = 0; i < 4; i++) {
        bad.flags = flags[i];
        REFUSED_AS(PAWL_MISUSE_FLAGS, RECEIVE(&bad));
    }
    bad = good;
    bad.bytes = NULL;
    REFUSED_AS(PAWL_MISUSE_NULL, RECEIVE(&bad));
    bad.size = 0;
    REFUSED_AS(PAWL_AUTH, RECEIVE(&bad)); /* no bytes are no frame */
    REFUSED_AS(PAWL_AUTH, pawl_account_receive(store, peer_account, &bad, out, 1, &size, &received));
    bad.bytes = frame;
    for (size_t i = 0; i < 3; i++) {
        bad.size = impossible[i];
        REFUSED_AS(PAWL_MISUSE_SIZE, RECEIVE(&bad));
    }
    bad.size = SIZE_MAX / 2;
    REFUSED_AS(PAWL_BUFFER, RECEIVE(&bad));
    OUTPUT_SIZES(pawl_received, PAWL_AUTH, (bad.size = 3, pawl_account_receive(store, peer_account, &bad, out,
                                                                              sizeof out, &size, object)));
    STRUCT_GROWN(pawl_frame, good, RECEIVE(object));

    pawl_delivery delivery = PAWL_INIT(pawl_delivery);
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_account_receive_many(NULL, peer_account, &delivery, 1));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_account_receive_many(store, NULL, &delivery, 1));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_account_receive_many(store, peer_account, NULL, 1));
    const size_t counts[] = {10001, SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 2 + 1, SIZE_MAX / 64};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        REFUSED_AS(PAWL_MISUSE_SIZE, pawl_account_receive_many(store, peer_account, &delivery, counts[i]));
        REFUSED_AS(PAWL_MISUSE_SIZE, pawl_account_receive_many(store, peer_account, NULL, counts[i]));
    }
    STRUCT_SIZES(pawl_delivery, delivery, pawl_account_receive_many(store, peer_account, object, 1));
    /* What is wrong with one row is said in that row. */
    const struct {
        const void *frame;
        size_t frame_size;
        uint8_t *out;
        size_t out_size;
        uint32_t flags;
        pawl_status status;
    } rows[] = {
        {NULL, 0, NULL, 0, 0, PAWL_AUTH},
        {NULL, 5, out, 8192, 0, PAWL_MISUSE_NULL},
        {NULL, SIZE_MAX, out, 8192, 0, PAWL_MISUSE_SIZE},
        {frame, SIZE_MAX / 2 + 1, out, 8192, 0, PAWL_MISUSE_SIZE},
        {frame, SIZE_MAX / 2, out, 8192, 0, PAWL_BUFFER},
        {frame, 100, NULL, 8192, 0, PAWL_MISUSE_NULL},
        {frame, 100, NULL, 0, 0, PAWL_BUFFER},
        {frame, 100, out, SIZE_MAX, 0, PAWL_MISUSE_SIZE},
        {frame, 100, out, 8192, 2, PAWL_MISUSE_FLAGS},
        {frame, 3, out, 8192, 0, PAWL_AUTH},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        delivery = (pawl_delivery)PAWL_INIT(pawl_delivery);
        delivery.frame = rows[i].frame;
        delivery.frame_size = rows[i].frame_size;
        delivery.out = rows[i].out;
        delivery.out_size = rows[i].out_size;
        delivery.flags = rows[i].flags;
        DONE(pawl_account_receive_many(store, peer_account, &delivery, 1));
        CHECK_SAYING(delivery.status == rows[i].status, "row %zu answers %s", i, pawl_status_name(delivery.status));
    }
    DONE(pawl_account_receive_many(store, peer_account, NULL, 0));

    GIVES_VIEW(PAWL_MISUSE_NULL, pawl_session_kept(NULL, at_peer, 10, view_));
    GIVES_VIEW(PAWL_MISUSE_NULL, pawl_session_kept(store, NULL, 10, view_));
    NEEDS_PLACE(pawl_session_kept(store, at_peer, 10, view_));
    for (size_t i = 0; i < BAD_LIMITS; i++) {
        GIVES_VIEW(PAWL_MISUSE_SIZE, pawl_session_kept(store, at_peer, bad_limits[i], view_));
    }
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_session_forget(NULL, at_peer, 0, 0));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_session_forget(store, NULL, 0, 0));
    DONE(pawl_session_forget(store, at_peer, UINT32_MAX, UINT32_MAX));
    DONE(pawl_session_forget(store, no_id, 0, 0));
    finish_session();
}

static void history_calls(void *unused) {
    (void)unused;
    prepare_session();
    uint32_t on = 99;
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_history_enable(NULL, account_id, 1));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_history_enable(store, NULL, 1));
    REFUSED_AS(PAWL_NOT_FOUND, pawl_history_enable(store, no_id, 1));
    REFUSED_AS(PAWL_NOT_FOUND, pawl_history_enable(store, no_id, 0));
    const uint32_t others[] = {2, 256, 0x80000000u, UINT32_MAX};
    for (size_t i = 0; i < 4; i++) REFUSED_AS(PAWL_MISUSE_FLAGS, pawl_history_enable(store, account_id, others[i]));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_history_enabled(NULL, account_id, &on));
    CHECK(on == 0);
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_history_enabled(store, NULL, &on));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_history_enabled(store, account_id, NULL));
    REFUSED_AS(PAWL_NOT_FOUND, pawl_history_enabled(store, no_id, &on));
    DONE(pawl_history_enable(store, account_id, 1));
    DONE(pawl_history_enabled(store, account_id, &on));
    CHECK(on == 1);

    /* A session that begins now, and a frame of it. */
    pawl_start_options options = PAWL_INIT(pawl_start_options);
    options.peer_name = "peer";
    options.peer_name_size = 4;
    options.package = bundle;
    options.package_size = bundle_size;
    MUST(pawl_session_start(store, account_id, &options, session_id));
    static uint8_t frame[8192], out[8192];
    size_t frame_size = 0, size = 99;
    MUST(pawl_session_encrypt(store, session_id, "hello", 5, frame, sizeof frame, &frame_size));

    pawl_view *history = NULL;
    GIVES_VIEW(PAWL_MISUSE_NULL, pawl_history_list(NULL, account_id, NULL, 10, view_));
    GIVES_VIEW(PAWL_MISUSE_NULL, pawl_history_list(store, NULL, NULL, 10, view_));
    GIVES_VIEW(PAWL_NOT_FOUND, pawl_history_list(store, no_id, NULL, 10, view_));
    NEEDS_PLACE(pawl_history_list(store, account_id, NULL, 10, view_));
    for (size_t i = 0; i < BAD_LIMITS; i++) {
        GIVES_VIEW(PAWL_MISUSE_SIZE, pawl_history_list(store, account_id, NULL, bad_limits[i], view_));
    }
    pawl_history place = PAWL_INIT(pawl_history);
    place.direction = PAWL_HISTORY_RECEIVED;
    STRUCT_SIZES(pawl_history, place, pawl_history_list(store, account_id, object, 10, &history));
    STRUCT_GROWN(pawl_history, place, pawl_history_list(store, account_id, object, 10, &history));
    CALL(pawl_view_close(history));
    const uint32_t directions[] = {0, 3, 257, UINT32_MAX};
    for (size_t i = 0; i < 4; i++) {
        place.direction = directions[i];
        GIVES_VIEW(PAWL_MISUSE_FLAGS, pawl_history_list(store, account_id, &place, 10, view_));
    }
    DONE(pawl_history_list(store, account_id, NULL, 10, &history));
    CHECK(pawl_view_count(history) == 2);
    CALL(pawl_view_close(history));
    DONE(pawl_history_list(store, account_id, NULL, 1, &history));
    ROWS(pawl_history, pawl_view_history, history);
    CALL(pawl_view_close(history));

    pawl_history_message message = PAWL_INIT(pawl_history_message);
#define OPEN(frame_, size_, out_, room_) \
    pawl_history_decrypt(store, account_id, frame_, size_, out_, room_, &size, &message)
    REFUSED_AS(PAWL_MISUSE_NULL,
               pawl_history_decrypt(NULL, account_id, frame, frame_size, out, sizeof out, &size, &message));
    CHECK(size == 0);
    REFUSED_AS(PAWL_MISUSE_NULL,
               pawl_history_decrypt(store, NULL, frame, frame_size, out, sizeof out, &size, &message));
    REFUSED_AS(PAWL_NOT_FOUND,
               pawl_history_decrypt(store, no_id, frame, frame_size, out, sizeof out, &size, &message));
    REFUSED_AS(PAWL_NOT_FOUND,
               pawl_history_decrypt(store, peer_account, frame, frame_size, out, sizeof out, &size, &message));
    REFUSED_AS(PAWL_MISUSE_NULL, OPEN(NULL, frame_size, out, sizeof out));
    REFUSED_AS(PAWL_MISUSE_NULL, OPEN(frame, frame_size, NULL, sizeof out));
    REFUSED_AS(PAWL_MISUSE_NULL,
               pawl_history_decrypt(store, account_id, frame, frame_size, out, sizeof out, NULL, &message));
    REFUSED_AS(PAWL_MISUSE_NULL,
               pawl_history_decrypt(store, account_id, frame, frame_size, out, sizeof out, &size, NULL));
    REFUSED_AS(PAWL_BUFFER, OPEN(frame, frame_size, out, frame_size - 1));
    CHECK(size == frame_size);
    REFUSED_AS(PAWL_MISUSE_SIZE, OPEN(frame, frame_size, out, SIZE_MAX));
    const size_t impossible[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX / 2 + 1};
    for (size_t i = 0; i < 3; i++) REFUSED_AS(PAWL_MISUSE_SIZE, OPEN(frame, impossible[i], out, sizeof out));
    REFUSED_AS(PAWL_AUTH, OPEN(NULL, 0, out, sizeof out)); /* no bytes are no frame */
    REFUSED_AS(PAWL_AUTH, OPEN(frame, 3, out, sizeof out));
    memset(out, 0xAA, sizeof out);
    memset(&message, 0xAA, sizeof message);
    message.struct_size = (uint32_t)sizeof message;
    frame[frame_size - 1] ^= 1;
    REFUSED_AS(PAWL_AUTH, OPEN(frame, frame_size, out, sizeof out));
    for (size_t i = 0; i < sizeof out; i++) CHECK(out[i] == 0);
    for (size_t i = 4; i < sizeof message; i++) CHECK(((uint8_t *)&message)[i] == 0);
    frame[frame_size - 1] ^= 1;
    OUTPUT_SIZES(pawl_history_message, PAWL_OK,
                 pawl_history_decrypt(store, account_id, frame, frame_size, out, sizeof out, &size, object));
    DONE(OPEN(frame, frame_size, out, frame_size));
    CHECK(size == 5 && memcmp(out, "hello", 5) == 0);
    CHECK(memcmp(message.session, session_id, 16) == 0 && message.direction == PAWL_HISTORY_SENT);
    CHECK(message.peer_name_size == 4 && strcmp((const char *)message.peer_name, "peer") == 0);

    DONE(pawl_batch_begin(store, &batch));
    DONE(pawl_history_enable(batch, account_id, 0));
    REFUSED_AS(PAWL_NOT_FOUND,
               pawl_history_decrypt(batch, account_id, frame, frame_size, out, sizeof out, &size, &message));
    CALL(pawl_batch_rollback(batch));
    DONE(OPEN(frame, frame_size, out, sizeof out));
    /* As it was before. */
    MUST(pawl_session_close(store, session_id));
    MUST(pawl_outbox_take(store, 10, 0, &history));
    pawl_item item = PAWL_INIT(pawl_item);
    MUST(pawl_view_item(history, 0, &item));
    MUST(pawl_outbox_ack(store, &item.seq, 1));
    pawl_view_close(history);
    finish_session();
}

/* The item that waits, which is a backup's request or an event of it. */
static pawl_view *take_backup(uint32_t kind, size_t *row, pawl_item *item) {
    pawl_view *view = NULL;
    MUST(pawl_outbox_take(store, 100, 1, &view));
    for (*row = 0; *row < pawl_view_count(view); ++*row) {
        *item = (pawl_item)PAWL_INIT(pawl_item);
        MUST(pawl_view_item(view, *row, item));
        if (item->kind == kind && item->what >= PAWL_REQUEST_BACKUP_VERSION) return view;
    }
    pawl_view_close(view);
    test_give_up();
    return NULL;
}

static void settle_backup(pawl_item *item, const pawl_backup_reply *reply) {
    size_t row = 0;
    pawl_view *view = take_backup(PAWL_ITEM_REQUEST, &row, item);
    DONE(pawl_backup_answer(store, item->seq, reply));
    CALL(pawl_view_close(view));
}

static void backup_calls(void *unused) {
    (void)unused;
    prepare_session();
    uint8_t secret[PAWL_BACKUP_SECRET_SIZE] = {1}, share[PAWL_BACKUP_SHARE_SIZE];
    char text[PAWL_RECOVERY_SIZE_MAX];
    size_t size = 7;
    pawl_key key = raw_key_of(secret), words = passphrase_key("words");
    pawl_backup backup = PAWL_INIT(pawl_backup);
    const uint32_t flags[] = {2, 4, 0x80000000u, UINT32_MAX};

#define NEEDS_ACCOUNT() \
    do { \
        REFUSED_AS(PAWL_MISUSE_NULL, ACCOUNT_CALL(NULL, account_id)); \
        REFUSED_AS(PAWL_MISUSE_NULL, ACCOUNT_CALL(store, NULL)); \
        REFUSED_AS(PAWL_NOT_FOUND, ACCOUNT_CALL(store, no_id)); \
    } while (0)
#define ACCOUNT_CALL(store_, account_) pawl_backup_create(store_, account_, NULL, 0)
    NEEDS_ACCOUNT();
#undef ACCOUNT_CALL
#define ACCOUNT_CALL(store_, account_) pawl_backup_reset(store_, account_, &key, PAWL_BACKUP_ESCROW)
    NEEDS_ACCOUNT();
#undef ACCOUNT_CALL
#define ACCOUNT_CALL(store_, account_) pawl_backup_enable(store_, account_)
    NEEDS_ACCOUNT();
#undef ACCOUNT_CALL
#define ACCOUNT_CALL(store_, account_) pawl_backup_disable(store_, account_)
    NEEDS_ACCOUNT();
#undef ACCOUNT_CALL
#define ACCOUNT_CALL(store_, account_) pawl_backup_delete(store_, account_)
    NEEDS_ACCOUNT();
#undef ACCOUNT_CALL
#define ACCOUNT_CALL(store_, account_) pawl_backup_recover(store_, account_, &key)
    NEEDS_ACCOUNT();
#undef ACCOUNT_CALL
#define ACCOUNT_CALL(store_, account_) pawl_backup_recovery_key(store_, account_, text, sizeof text, &size)
    NEEDS_ACCOUNT();
    CHECK(size == 0);
#undef ACCOUNT_CALL
#define ACCOUNT_CALL(store_, account_) pawl_backup_include(store_, account_, &scope, 0)
    NEEDS_ACCOUNT();
#undef ACCOUNT_CALL
#define ACCOUNT_CALL(store_, account_) pawl_backup_exclude(store_, account_, &scope, 0)
    NEEDS_ACCOUNT();
#undef ACCOUNT_CALL
#define ACCOUNT_CALL(store_, account_) pawl_backup_get(store_, account_, &backup)
    NEEDS_ACCOUNT();
#undef ACCOUNT_CALL
#define ACCOUNT_CALL(store_, account_) pawl_backup_restore(store_, account_, 0)
    NEEDS_ACCOUNT();
#undef ACCOUNT_CALL
#define ACCOUNT_CALL(store_, account_) pawl_backup_stop_restore(store_, account_)
    NEEDS_ACCOUNT();
#undef ACCOUNT_CALL
#define ACCOUNT_CALL(store_, account_) pawl_backup_fetch_credential(store_, account_, &scope, "a", 1)
    NEEDS_ACCOUNT();
#undef ACCOUNT_CALL
#define ACCOUNT_CALL(store_, account_) pawl_backup_fetch_history(store_, account_, session_id, 0)
    NEEDS_ACCOUNT();
#undef ACCOUNT_CALL
#define ACCOUNT_CALL(store_, account_) pawl_backup_ask(store_, account_)
    NEEDS_ACCOUNT();
#undef ACCOUNT_CALL
    REFUSED_AS(PAWL_NOT_FOUND, pawl_backup_get(store, account_id, &backup));

    for (size_t i = 0; i < 4; i++) {
        REFUSED_AS(PAWL_MISUSE_FLAGS, pawl_backup_create(store, account_id, NULL, flags[i]));
        REFUSED_AS(PAWL_MISUSE_FLAGS, pawl_backup_reset(store, account_id, NULL, flags[i]));
        REFUSED_AS(PAWL_MISUSE_FLAGS, pawl_backup_include(store, account_id, &scope, flags[i]));
        REFUSED_AS(PAWL_MISUSE_FLAGS, pawl_backup_exclude(store, account_id, &scope, flags[i]));
        REFUSED_AS(PAWL_MISUSE_FLAGS, pawl_backup_restore(store, account_id, flags[i]));
    }
    STRUCT_SIZES(pawl_key, key, pawl_backup_create(store, account_id, object, 0));
    STRUCT_SIZES(pawl_key, key, pawl_backup_reset(store, account_id, object, 0));
    STRUCT_SIZES(pawl_key, key, pawl_backup_recover(store, account_id, object));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_backup_recover(store, account_id, NULL));
    REFUSED_AS(PAWL_MISUSE_KEY, pawl_backup_create(store, account_id, &words, 0));
    REFUSED_AS(PAWL_MISUSE_KEY, pawl_backup_reset(store, account_id, &words, 0));
    REFUSED_AS(PAWL_MISUSE_KEY, pawl_backup_recover(store, account_id, &words));
    for (size_t i = 0; i < ABSURD_COUNT; i++) {
        static uint8_t many[1025];
        pawl_key bad = key;
        bad.secret = many;
        bad.secret_size = absurd[i];
        REFUSED(pawl_backup_create(store, account_id, &bad, 0));
        REFUSED(pawl_backup_recover(store, account_id, &bad));
        bad.kind = PAWL_KEY_RECOVERY;
        REFUSED(pawl_backup_reset(store, account_id, &bad, 0));
        REFUSED(pawl_backup_fetch_credential(store, account_id, &scope, many, absurd[i]));
    }
    REFUSED_AS(PAWL_NOT_FOUND, pawl_backup_get(store, account_id, &backup)); /* nothing of that was done */
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_backup_include(store, account_id, NULL, 0));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_backup_exclude(store, account_id, NULL, 0));
    STRUCT_SIZES(pawl_scope, scope, pawl_backup_include(store, account_id, object, 0));
    STRUCT_SIZES(pawl_scope, scope, pawl_backup_exclude(store, account_id, object, 0));
    STRUCT_SIZES(pawl_scope, scope, pawl_backup_fetch_credential(store, account_id, object, "a", 1));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_backup_fetch_credential(store, account_id, NULL, "a", 1));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_backup_fetch_history(store, account_id, NULL, 0));
    REFUSED_AS(PAWL_STATE_BACKUP, pawl_backup_fetch_history(store, account_id, session_id, UINT32_MAX));
    REFUSED_AS(PAWL_STATE_BACKUP, pawl_backup_recovery_key(store, account_id, text, sizeof text, &size));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_backup_get(store, account_id, NULL));

    REFUSED_AS(PAWL_MISUSE_NULL, pawl_backup_share(NULL, session_id, 1, share));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_backup_share(store, NULL, 1, share));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_backup_share(store, session_id, 1, NULL));
    REFUSED_AS(PAWL_NOT_FOUND, pawl_backup_share(store, no_id, 1, share));
    REFUSED_AS(PAWL_STATE_IDENTITY, pawl_backup_share(store, session_id, UINT64_MAX, share));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_backup_receive(NULL, session_id, share, sizeof share));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_backup_receive(store, NULL, share, sizeof share));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_backup_receive(store, session_id, NULL, 49));
    memset(share, 1, sizeof share);
    REFUSED_AS(PAWL_NOT_FOUND, pawl_backup_receive(store, no_id, share, sizeof share));
    REFUSED_AS(PAWL_CORRUPT, pawl_backup_receive(store, session_id, share, sizeof share - 1));
    REFUSED_AS(PAWL_CORRUPT, pawl_backup_receive(store, session_id, NULL, 0));
    REFUSED_AS(PAWL_MISUSE_SIZE, pawl_backup_receive(store, session_id, share, SIZE_MAX));

    /* What a request and an event carry. */
    DONE(pawl_backup_create(store, account_id, &key, PAWL_BACKUP_ESCROW));
    OUTPUT_SIZES(pawl_backup, PAWL_OK, pawl_backup_get(store, account_id, object));
    pawl_item item;
    size_t row = 0;
    pawl_view *view = take_backup(PAWL_ITEM_EVENT, &row, &item);
    OUTPUT_SIZES(pawl_backup, PAWL_OK, pawl_view_item_backup(view, row, object));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_view_item_backup(NULL, row, &backup));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_view_item_backup(view, row, NULL));
    const size_t rows[] = {100, SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 2 + 1};
    pawl_backup_request request = PAWL_INIT(pawl_backup_request);
    pawl_backup_entry entry = PAWL_INIT(pawl_backup_entry);
    REFUSED_AS(PAWL_MISUSE_ROW, pawl_view_item_backup_request(view, row, &request));
    REFUSED_AS(PAWL_MISUSE_ROW, pawl_view_item_backup_entry(view, row, 0, &entry));
    for (size_t i = 0; i < 4; i++) {
        REFUSED_AS(PAWL_MISUSE_ROW, pawl_view_item_backup(view, rows[i], &backup));
        REFUSED_AS(PAWL_MISUSE_ROW, pawl_view_item_backup_request(view, rows[i], &request));
        REFUSED_AS(PAWL_MISUSE_ROW, pawl_view_item_backup_entry(view, rows[i], 0, &entry));
    }
    pawl_view *others[] = {packages, peers, sessions, items, kept, accounts, credentials, slots};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        REFUSED_AS(PAWL_MISUSE_ROW, pawl_view_item_backup(others[i], 0, &backup));
        REFUSED_AS(PAWL_MISUSE_ROW, pawl_view_item_backup_request(others[i], 0, &request));
        REFUSED_AS(PAWL_MISUSE_ROW, pawl_view_item_backup_entry(others[i], 0, 0, &entry));
    }
    uint64_t told = item.seq;
    CALL(pawl_view_close(view));
    pawl_backup_reply none = PAWL_INIT(pawl_backup_reply), reply = none, bad;
    none.result = PAWL_REPLY_NO_VERSION;
    REFUSED_AS(PAWL_MISUSE_FLAGS, pawl_backup_answer(store, told, &none)); /* an event is no request */
    pause_ns(2);
    view = take_backup(PAWL_ITEM_REQUEST, &row, &item);
    OUTPUT_SIZES(pawl_backup_request, PAWL_OK, pawl_view_item_backup_request(view, row, object));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_view_item_backup_request(NULL, row, &request));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_view_item_backup_request(view, row, NULL));
    REFUSED_AS(PAWL_MISUSE_ROW, pawl_view_item_backup(view, row, &backup));
    for (size_t i = 0; i < 4; i++)
        REFUSED_AS(PAWL_MISUSE_ROW, pawl_view_item_backup_entry(view, row, i < 1 ? 0 : rows[i], &entry));
    CALL(pawl_view_close(view));
    uint64_t seq = item.seq;
    REFUSED_AS(PAWL_MISUSE_FLAGS, pawl_outbox_answer(store, seq, NULL, 0));

    /* Answers. */
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_backup_answer(NULL, seq, &none));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_backup_answer(store, seq, NULL));
    const uint64_t numbers[] = {0, 1000000, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX};
    for (size_t i = 0; i < 5; i++) REFUSED_AS(PAWL_NOT_FOUND, pawl_backup_answer(store, numbers[i], &none));
    STRUCT_SIZES(pawl_backup_reply, none, pawl_backup_answer(store, seq, object));
    const uint32_t results[] = {6, 7, 0x80000000u, UINT32_MAX};
    for (size_t i = 0; i < 4; i++) {
        bad = none;
        bad.result = results[i];
        REFUSED_AS(PAWL_MISUSE_FLAGS, pawl_backup_answer(store, seq, &bad));
    }
    entry.bytes = secret;
    entry.bytes_size = sizeof secret;
    const size_t counts[] = {10001, SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 2 + 1, SIZE_MAX / 48 + 1};
    for (size_t i = 0; i < 5; i++) {
        bad = none;
        bad.entries = &entry;
        bad.entry_count = counts[i];
        REFUSED_AS(PAWL_MISUSE_SIZE, pawl_backup_answer(store, seq, &bad));
        if (i == 0) continue;
        bad = none;
        bad.version = secret;
        bad.version_size = counts[i];
        if (counts[i] > SIZE_MAX / 2) REFUSED_AS(PAWL_MISUSE_SIZE, pawl_backup_answer(store, seq, &bad));
        bad = none;
        bad.body = secret;
        bad.body_size = counts[i];
        if (counts[i] > SIZE_MAX / 2) REFUSED_AS(PAWL_MISUSE_SIZE, pawl_backup_answer(store, seq, &bad));
    }
    bad = none;
    bad.entry_count = 1;
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_backup_answer(store, seq, &bad));
    bad = none;
    bad.version_size = 1;
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_backup_answer(store, seq, &bad));
    bad = none;
    bad.body_size = 1;
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_backup_answer(store, seq, &bad));
    bad = none;
    bad.entries = &entry;
    bad.entry_count = 1;
    STRUCT_SIZES(pawl_backup_entry, entry, (bad.entries = object, pawl_backup_answer(store, seq, &bad)));
    entry.flags = 1;
    bad.entries = &entry;
    REFUSED_AS(PAWL_MISUSE_FLAGS, pawl_backup_answer(store, seq, &bad));
    entry.flags = 0;
    entry.bytes = NULL;
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_backup_answer(store, seq, &bad));
    entry.bytes = secret;
    entry.bytes_size = SIZE_MAX;
    REFUSED_AS(PAWL_MISUSE_SIZE, pawl_backup_answer(store, seq, &bad));
    entry.bytes_size = sizeof secret;
    for (size_t i = 0; i < TIME_COUNT; i++) {
        bad = none;
        bad.until_ns = times[i];
        REFUSED_AS(times[i] < 0 ? PAWL_MISUSE_TIME : PAWL_OK, pawl_backup_answer(store, seq, &bad)); /* one counts */
    }
    pause_ns(2);
    settle_backup(&item, &reply);
    CHECK(item.what == PAWL_REQUEST_BACKUP_ESCROW);
    pause_ns(2);
    settle_backup(&item, &none); /* there is still none */
    pause_ns(2);
    reply.version = "1";
    reply.version_size = 1;
    settle_backup(&item, &reply);
    CHECK(item.what == PAWL_REQUEST_BACKUP_CREATE);
    DONE(pawl_backup_get(store, account_id, &backup));
    CHECK(backup.generation == 1 && backup.download == PAWL_DOWNLOAD_READY);

    /* What is written out. */
    size = 7;
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_backup_recovery_key(store, account_id, text, sizeof text, NULL));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_backup_recovery_key(store, account_id, NULL, sizeof text, &size));
    REFUSED_AS(PAWL_MISUSE_SIZE, pawl_backup_recovery_key(store, account_id, NULL, SIZE_MAX, &size));
    REFUSED_AS(PAWL_BUFFER, pawl_backup_recovery_key(store, account_id, NULL, 0, &size));
    CHECK(size > 32 && size <= sizeof text);
    REFUSED_AS(PAWL_BUFFER, pawl_backup_recovery_key(store, account_id, text, size - 1, &size));
    DONE(pawl_backup_recovery_key(store, account_id, text, size, &size));
    REFUSED_AS(PAWL_MISUSE_NAME, pawl_backup_fetch_credential(store, account_id, &scope, "", 0));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_backup_fetch_credential(store, account_id, &scope, NULL, 1));
    REFUSED_AS(PAWL_MISUSE_NAME, pawl_backup_fetch_credential(store, account_id, &scope, "\xff", 1));
    uint32_t first = 7, order = 7;
    REFUSED_AS(PAWL_CORRUPT, pawl_backup_entry_rank(secret, 5, &first, &order));
    CHECK(first == 0 && order == 0);
    REFUSED_AS(PAWL_CORRUPT, pawl_backup_entry_rank(NULL, 0, &first, &order));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_backup_entry_rank(NULL, 1, &first, &order));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_backup_entry_rank(secret, sizeof secret, NULL, &order));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_backup_entry_rank(secret, sizeof secret, &first, NULL));
    REFUSED_AS(PAWL_MISUSE_SIZE, pawl_backup_entry_rank(secret, SIZE_MAX, &first, &order));
    DONE(pawl_backup_entry_rank(secret, sizeof secret, &first, &order));
    CHECK(first == 0 && order < 0x80000000u);

    uint8_t wrapped[PAWL_RECOVERY_WRAPPED_SIZE_MAX];
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_recovery_wrap(NULL, 1, &key, wrapped, sizeof wrapped, &size));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_recovery_wrap(text, strlen(text), NULL, wrapped, sizeof wrapped, &size));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_recovery_wrap(text, strlen(text), &key, NULL, sizeof wrapped, &size));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_recovery_wrap(text, strlen(text), &key, wrapped, sizeof wrapped, NULL));
    REFUSED_AS(PAWL_MISUSE_RECOVERY, pawl_recovery_wrap(NULL, 0, &key, wrapped, sizeof wrapped, &size));
    REFUSED(pawl_recovery_wrap(text, SIZE_MAX, &key, wrapped, sizeof wrapped, &size));
    REFUSED_AS(PAWL_MISUSE_SIZE, pawl_recovery_wrap(text, strlen(text), &key, wrapped, SIZE_MAX, &size));
    STRUCT_SIZES(pawl_key, key, pawl_recovery_wrap(text, strlen(text), object, wrapped, sizeof wrapped, &size));
    REFUSED_AS(PAWL_BUFFER, pawl_recovery_wrap(text, strlen(text), &key, NULL, 0, &size));
    CHECK(size > 0 && size <= sizeof wrapped);
    DONE(pawl_recovery_wrap(text, strlen(text), &key, wrapped, size, &size));
    size_t wrapped_size = size;
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_recovery_unwrap(NULL, 1, &key, text, sizeof text, &size));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_recovery_unwrap(wrapped, wrapped_size, NULL, text, sizeof text, &size));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_recovery_unwrap(wrapped, wrapped_size, &key, NULL, sizeof text, &size));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_recovery_unwrap(wrapped, wrapped_size, &key, text, sizeof text, NULL));
    REFUSED_AS(PAWL_CORRUPT, pawl_recovery_unwrap(NULL, 0, &key, text, sizeof text, &size));
    REFUSED_AS(PAWL_CORRUPT_NOT_PAWL, pawl_recovery_unwrap(share, 16, &key, text, sizeof text, &size));
    REFUSED_AS(PAWL_MISUSE_SIZE, pawl_recovery_unwrap(wrapped, SIZE_MAX, &key, text, sizeof text, &size));
    REFUSED_AS(PAWL_MISUSE_SIZE, pawl_recovery_unwrap(wrapped, wrapped_size, &key, text, SIZE_MAX, &size));
    STRUCT_SIZES(pawl_key, key, pawl_recovery_unwrap(wrapped, wrapped_size, object, text, sizeof text, &size));
    REFUSED_AS(PAWL_BUFFER, pawl_recovery_unwrap(wrapped, wrapped_size, &key, NULL, 0, &size));
    DONE(pawl_recovery_unwrap(wrapped, wrapped_size, &key, text, size, &size));

    DONE(pawl_backup_disable(store, account_id));
    size_t count = 1;
    while (count > 0) {
        pause_ns(2);
        MUST(pawl_outbox_take(store, 100, 1, &view));
        count = pawl_view_count(view);
        for (row = 0; row < count; row++) {
            MUST(pawl_view_item(view, row, &item));
            MUST(pawl_outbox_ack(store, &item.seq, 1));
        }
        pawl_view_close(view);
    }
    finish_session();
}

static void outbox_calls(void *unused) {
    (void)unused;
    prepare_session();
    GIVES_VIEW(PAWL_MISUSE_NULL, pawl_outbox_take(NULL, 10, 0, view_));
    NEEDS_PLACE(pawl_outbox_take(store, 10, 0, view_));
    for (size_t i = 0; i < BAD_LIMITS; i++) {
        GIVES_VIEW(PAWL_MISUSE_SIZE, pawl_outbox_take(store, bad_limits[i], 0, view_));
    }
    const int64_t leases[] = {-1, INT64_MIN, INT64_C(86400000000000) + 1, INT64_MAX};
    for (size_t i = 0; i < sizeof leases / sizeof *leases; i++) {
        GIVES_VIEW(PAWL_MISUSE_TIME, pawl_outbox_take(store, 10, leases[i], view_));
    }
    uint64_t seq = 0;
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_outbox_ack(NULL, &seq, 1));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_outbox_ack(store, NULL, 1));
    const size_t counts[] = {10001, SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 2 + 1, SIZE_MAX / 8 + 1};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        REFUSED_AS(PAWL_MISUSE_SIZE, pawl_outbox_ack(store, &seq, counts[i]));
        REFUSED_AS(PAWL_MISUSE_SIZE, pawl_outbox_ack(store, NULL, counts[i]));
    }
    DONE(pawl_outbox_ack(store, NULL, 0));
    const uint64_t numbers[] = {0, 1000000, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX - 1, UINT64_MAX};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        REFUSED_AS(PAWL_NOT_FOUND, pawl_outbox_ack(store, &numbers[i], 1));
        REFUSED_AS(PAWL_NOT_FOUND, pawl_outbox_fail(store, numbers[i], 0));
        REFUSED_AS(PAWL_NOT_FOUND, pawl_outbox_answer(store, numbers[i], "x", 1));
    }
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_outbox_fail(NULL, 1, 0));
    DONE(pawl_session_send(store, session_id, "x", 1, &seq));
    REFUSED_AS(PAWL_MISUSE_TIME, pawl_outbox_fail(store, seq, -1));
    REFUSED_AS(PAWL_MISUSE_TIME, pawl_outbox_fail(store, seq, INT64_MIN));
    DONE(pawl_outbox_fail(store, seq, INT64_MAX)); /* does not overflow */
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_outbox_answer(NULL, seq, "x", 1));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_outbox_answer(store, seq, NULL, 1));
    REFUSED_AS(PAWL_MISUSE_SIZE, pawl_outbox_answer(store, seq, "x", SIZE_MAX));
    REFUSED_AS(PAWL_MISUSE_FLAGS, pawl_outbox_answer(store, seq, "x", 1)); /* a frame is no request */
    DONE(pawl_outbox_ack(store, &seq, 1));

    DONE(pawl_batch_begin(store, &batch));
    GIVES_VIEW(PAWL_STATE_BATCH, pawl_outbox_take(batch, 10, 0, view_));
    DONE(pawl_outbox_ack(batch, NULL, 0));
    CALL(pawl_batch_rollback(batch));
    finish_session();
}

static void schedule_calls(void *unused) {
    (void)unused;
    prepare_session();
    int32_t fd = 7;
    int64_t deadline = 7;
    size_t ran = 7;
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_store_fd(NULL, &fd));
    CHECK(fd == 0);
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_store_fd(store, NULL));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_store_next_deadline(NULL, &deadline));
    CHECK(deadline == 0);
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_store_next_deadline(store, NULL));
    deadline = 7;
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_store_run_due(NULL, 10, &ran, &deadline));
    CHECK(ran == 0 && deadline == 0);
    for (size_t i = 0; i < BAD_LIMITS; i++) {
        REFUSED_AS(PAWL_MISUSE_SIZE, pawl_store_run_due(store, bad_limits[i], &ran, &deadline));
        REFUSED_AS(PAWL_MISUSE_SIZE, pawl_store_run_due(store, bad_limits[i], NULL, NULL));
    }
    DONE(pawl_store_run_due(store, 10000, NULL, NULL));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_store_nudge(NULL));
    DONE(pawl_store_nudge(store));
    DONE(pawl_batch_begin(store, &batch));
    REFUSED_AS(PAWL_STATE_BATCH, pawl_store_fd(batch, &fd));
    REFUSED_AS(PAWL_STATE_BATCH, pawl_store_run_due(batch, 10, &ran, &deadline));
    DONE(pawl_store_next_deadline(batch, &deadline));
    CALL(pawl_batch_rollback(batch));
    finish_session();
}

static void job_calls(void *unused) {
    (void)unused;
    prepare_session();
    pawl_runner runner = PAWL_INIT(pawl_runner);
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_store_start_runner(NULL, &runner));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_store_start_runner(store, NULL));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_store_stop_runner(NULL));
    STRUCT_SIZES(pawl_runner, runner, pawl_store_start_runner(store, object));
    runner.flags = 1;
    REFUSED_AS(PAWL_MISUSE_FLAGS, pawl_store_start_runner(store, &runner));
    runner.flags = 0;
    STRUCT_GROWN(pawl_runner, runner, pawl_store_start_runner(store, object));
    DONE(pawl_store_stop_runner(store));
    pawl_view *jobs = NULL;
    GIVES_VIEW(PAWL_MISUSE_NULL, pawl_store_jobs(NULL, 0, NULL, 10, view_));
    NEEDS_PLACE(pawl_store_jobs(store, 0, NULL, 10, view_));
    for (size_t i = 0; i < BAD_LIMITS; i++) {
        GIVES_VIEW(PAWL_MISUSE_SIZE, pawl_store_jobs(store, 0, NULL, bad_limits[i], view_));
        GIVES_VIEW(PAWL_MISUSE_SIZE, pawl_store_jobs(store, PAWL_JOBS_DEAD, NULL, bad_limits[i], view_));
    }
    const uint32_t flags[] = {2, 0x80000000u, UINT32_MAX};
    for (size_t i = 0; i < 3; i++) GIVES_VIEW(PAWL_MISUSE_FLAGS, pawl_store_jobs(store, flags[i], NULL, 10, view_));
    pawl_job good = PAWL_INIT(pawl_job);
    good.kind = PAWL_JOB_SETUP_DEADLINE;
    STRUCT_SIZES(pawl_job, good, pawl_store_jobs(store, 0, object, 10, &jobs));
    STRUCT_GROWN(pawl_job, good, pawl_store_jobs(store, 0, object, 10, &jobs));
    CALL(pawl_view_close(jobs));
    DONE(pawl_store_jobs(store, 0, NULL, 1, &jobs));
    CHECK(pawl_view_count(jobs) == 1); /* of the session */
    ROWS(pawl_job, pawl_view_job, jobs);
    CALL(pawl_view_close(jobs));
    const uint32_t kinds[] = {0, 200, 255, 256, 257, UINT32_MAX};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        pawl_job bad = good;
        bad.kind = kinds[i];
        GIVES_VIEW(PAWL_MISUSE_FLAGS, pawl_store_jobs(store, 0, &bad, 10, view_));
        REFUSED_AS(PAWL_MISUSE_FLAGS, pawl_job_revive(store, kinds[i], session_id));
    }
    for (size_t i = 0; i < TIME_COUNT; i++) {
        good.due_ns = times[i];
        DONE(pawl_store_jobs(store, 0, &good, 10, &jobs));
        CALL(pawl_view_close(jobs));
        DONE(pawl_store_jobs(store, PAWL_JOBS_DEAD, &good, 10, &jobs));
        CHECK(pawl_view_count(jobs) == 0);
        CALL(pawl_view_close(jobs));
    }
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_job_revive(NULL, good.kind, session_id));
    REFUSED_AS(PAWL_MISUSE_NULL, pawl_job_revive(store, good.kind, NULL));
    REFUSED_AS(PAWL_NOT_FOUND, pawl_job_revive(store, good.kind, session_id)); /* planned, but no dead letter */
    DONE(pawl_batch_begin(store, &batch));
    DONE(pawl_store_jobs(batch, 0, NULL, 10, &jobs));
    CALL(pawl_view_close(jobs));
    REFUSED_AS(PAWL_NOT_FOUND, pawl_job_revive(batch, good.kind, session_id));
    CALL(pawl_batch_rollback(batch));
    finish_session();
}

static void in_child(void (*group)(void *)) {
    *line_at = 0;
    int before = test_faults;
    IN_CHILD(group, NULL);
    if (test_faults > before) fprintf(stderr, "  the last call was at line %d\n", *line_at);
}

#define GROUP(name) \
    static void name##_group(void) { in_child(name); }
GROUP(pure)
GROUP(recovery_keys)
GROUP(opening)
GROUP(keys)
GROUP(tables)
GROUP(store_calls)
GROUP(slot_calls)
GROUP(view_calls)
GROUP(archive_calls)
GROUP(batch_calls)
GROUP(scopes_and_names)
GROUP(outputs_and_limits)
GROUP(put_options)
GROUP(unnamed_options)
GROUP(account_calls)
GROUP(safety_numbers)
GROUP(session_rows)
GROUP(package_calls)
GROUP(rotation_calls)
GROUP(peer_calls)
GROUP(session_calls)
GROUP(rekey_calls)
GROUP(message_calls)
GROUP(history_calls)
GROUP(backup_calls)
GROUP(outbox_calls)
GROUP(schedule_calls)
GROUP(job_calls)

int main(void) {
    line_at = shared_memory(sizeof(int));
    test_path(""); /* the folder belongs to this process, not to a child */
    RUN(pure_group);
    RUN(recovery_keys_group);
    RUN(opening_group);
    RUN(keys_group);
    RUN(tables_group);
    RUN(store_calls_group);
    RUN(slot_calls_group);
    RUN(view_calls_group);
    RUN(archive_calls_group);
    RUN(batch_calls_group);
    RUN(scopes_and_names_group);
    RUN(outputs_and_limits_group);
    RUN(put_options_group);
    RUN(unnamed_options_group);
    RUN(account_calls_group);
    RUN(safety_numbers_group);
    RUN(session_rows_group);
    RUN(package_calls_group);
    RUN(rotation_calls_group);
    RUN(peer_calls_group);
    RUN(session_calls_group);
    RUN(rekey_calls_group);
    RUN(message_calls_group);
    RUN(history_calls_group);
    RUN(backup_calls_group);
    RUN(outbox_calls_group);
    RUN(schedule_calls_group);
    RUN(job_calls_group);
    FINISH;
}
