/* What sessions erase is gone for who has the master key, too: a minute later neither the file nor the log beside it
 * holds the sealed bytes of any row that was removed or replaced. Children read the files: a process that has a
 * store open must not open its file by itself. */
#include "session_pair.h"
#include <sqlite3.h>

#define ROWS_MAX 1500
#define VALUE_MAX 4096
#define CHUNK 32

typedef struct row {
    size_t key_size, size;
    uint8_t key[96], value[VALUE_MAX];
} row;

typedef struct rows {
    char path[512];
    int count;
    row all[ROWS_MAX];
} rows;

static rows *before, *after; /* shared with the children */
static int64_t now_ns;
static pawl_clock test_clock;
static side alice, bob;

static void side_begin(side *s, const char *name) {
    memset(s, 0, sizeof *s);
    s->name = name;
    snprintf(s->path, sizeof s->path, "%s", fresh_path());
    s->store = open_with_clock(s->path, &test_clock);
    MUST(pawl_account_create(s->store, name, strlen(name), s->account));
}

static void begin(void) {
    now_ns = INT64_C(1700000000) * SECOND;
    side_begin(&alice, "alice");
    side_begin(&bob, "bob");
}

static void finish(void) {
    side_close(&alice);
    side_close(&bob);
}

/* ---------------------------------------------------------------- what is in the files */

static uint8_t *whole_file(const char *path, const char *suffix, size_t *size) {
    char full[600];
    snprintf(full, sizeof full, "%s%s", path, suffix);
    *size = 0;
    int fd = open(full, O_RDONLY);
    if (fd < 0) return NULL;
    struct stat s;
    NEED(fstat(fd, &s) == 0);
    uint8_t *bytes = malloc((size_t)s.st_size + 1);
    NEED(bytes != NULL && read(fd, bytes, (size_t)s.st_size) == (ssize_t)s.st_size);
    close(fd);
    *size = (size_t)s.st_size;
    return bytes;
}

/* Every row, out of copies of file and log. */
static void read_rows(void *context) {
    rows *r = context;
    char copy[600];
    snprintf(copy, sizeof copy, "%s-copy", r->path);
    for (int i = 0; i < 2; i++) {
        const char *suffix = i == 0 ? "" : "-wal";
        char to[700];
        snprintf(to, sizeof to, "%s%s", copy, suffix);
        size_t size;
        uint8_t *bytes = whole_file(r->path, suffix, &size);
        int fd = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        NEED(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
        close(fd);
        free(bytes);
    }
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    NEED(sqlite3_open(copy, &db) == SQLITE_OK);
    NEED(sqlite3_prepare_v2(db, "SELECT k, v FROM kv", -1, &statement, NULL) == SQLITE_OK);
    r->count = 0;
    while (sqlite3_step(statement) == SQLITE_ROW) {
        NEED(r->count < ROWS_MAX);
        row *to = r->all + r->count++;
        to->key_size = (size_t)sqlite3_column_bytes(statement, 0);
        to->size = (size_t)sqlite3_column_bytes(statement, 1);
        NEED(to->key_size <= sizeof to->key && to->size <= VALUE_MAX);
        memcpy(to->key, sqlite3_column_blob(statement, 0), to->key_size);
        memcpy(to->value, sqlite3_column_blob(statement, 1), to->size);
    }
    sqlite3_finalize(statement);
    sqlite3_close(db);
    unlink(copy);
}

static void remember(const side *s, rows *r) {
    snprintf(r->path, sizeof r->path, "%s", s->path);
    IN_CHILD(read_rows, r);
    NEED(r->count > 0);
}

/* Leaves in `before` what is not there any more. */
static void keep_erased(void) {
    int count = 0;
    for (int i = 0; i < before->count; i++) {
        int there = 0;
        for (int j = 0; j < after->count && !there; j++) {
            there = before->all[i].size == after->all[j].size &&
                    memcmp(before->all[i].value, after->all[j].value, before->all[i].size) == 0;
        }
        if (!there) before->all[count++] = before->all[i];
    }
    before->count = count;
}

static struct search {
    int values; /* of which some piece was found */
    int pieces[256]; /* by the kind of their row, its first byte */
} *found;

static void search_files(void *unused) {
    (void)unused;
    memset(found, 0, sizeof *found);
    size_t sizes[2];
    uint8_t *bytes[2] = {whole_file(before->path, "", sizes), whole_file(before->path, "-wal", sizes + 1)};
    for (int i = 0; i < before->count; i++) {
        const row *r = before->all + i;
        int is_found = 0;
        for (size_t at = 0; at + CHUNK <= r->size; at += CHUNK) {
            for (int file = 0; file < 2; file++) {
                if (bytes[file] == NULL || memmem(bytes[file], sizes[file], r->value + at, CHUNK) == NULL) continue;
                found->pieces[r->key[0]]++;
                is_found = 1;
            }
        }
        found->values += is_found;
    }
    free(bytes[0]);
    free(bytes[1]);
}

static int erased_of(uint8_t kind) {
    int count = 0;
    for (int i = 0; i < before->count; i++) count += before->all[i].key[0] == kind;
    return count;
}

static void run_all(side *s) {
    size_t ran = 0;
    do MUST(pawl_store_run_due(s->store, 100, &ran, NULL));
    while (ran == 100);
}

/* After `remember(s, before)` and the call: rows of these kinds went, and a minute later their bytes did. */
#define ERASED(s, ...) \
    do { \
        const int kinds[] = {__VA_ARGS__}; \
        erased(__LINE__, (s), kinds, sizeof kinds / sizeof *kinds); \
    } while (0)
static void erased(int line, side *s, const int *kinds, size_t kind_count) {
    remember(s, after);
    keep_erased();
    for (size_t i = 0; i < kind_count; i++) {
        CHECK_SAYING(erased_of((uint8_t)kinds[i]) > 0, "line %d: no row of kind %#x went", line, (unsigned)kinds[i]);
    }
    IN_CHILD(search_files, NULL);
    CHECK_SAYING(found->values > 0, "line %d: nothing lingers, so this would show nothing", line);
    now_ns += 60 * SECOND;
    run_all(s);
    for (int closed = 0; closed < 2; closed++) {
        IN_CHILD(search_files, NULL);
        CHECK_SAYING(found->values == 0, "line %d: %d of %d erased values are still in the files%s", line,
                     found->values, before->count, closed ? " after closing" : "");
        for (int kind = 0; kind < 256 && found->values > 0; kind++) {
            if (found->pieces[kind]) printf("  kind %#x: %d pieces\n", (unsigned)kind, found->pieces[kind]);
        }
        if (closed == 0) side_close(s);
    }
    s->store = open_with_clock(s->path, &test_clock);
}

/* The rows that hold keys, by the first byte of their keys in the storage engine (StorageFormat.md). */
enum { ROW_PACKAGE = 0x32, ROW_ONE_TIME = 0x33, ROW_HISTORY = 0x37, ROW_SESSION = 0x38, ROW_SKIPPED = 0x39, ROW_KEPT = 0x3A };

/* ---------------------------------------------------------------- cases */

static void a_one_time_key(void) {
    begin();
    uint8_t bundle[2 * PAWL_PACKAGE_SIZE_MAX];
    MUST(start_with(&alice, &bob, bundle, bundle_of(&bob, 1, bundle)));
    remember(&bob, before);
    PASSES(&alice, &bob, "hello");
    ERASED(&bob, ROW_ONE_TIME);
    finish();
}

static void the_chain_behind_a_message(void) {
    begin();
    pair_join(&alice, &bob);
    remember(&bob, before);
    PASSES(&alice, &bob, "in order");
    ERASED(&bob, ROW_SESSION);
    finish();
}

static void the_chain_behind_a_reservation(void) {
    begin();
    pair_join(&alice, &bob);
    side_close(&alice);
    alice.store = open_with_clock(alice.path, &test_clock);
    remember(&alice, before);
    PASSES(&alice, &bob, "reserves");
    ERASED(&alice, ROW_SESSION);
    finish();
}

#define LATE 400

/* Rows that move from page to page as the tree grows and shrinks leave nothing behind on their way. */
static void keys_of_late_messages(void) {
    begin();
    pair_join(&alice, &bob);
    static frame frames[LATE + 1];
    char text[FRAME_ROOM];
    for (int i = 0; i <= LATE; i++) MUST(encrypt(&alice, "late", frames + i));
    MUST(receive(&bob, frames + LATE, 0, text, NULL));
    remember(&bob, before);
    uint64_t seed = (uint64_t)monotonic_ns() | 1;
    for (int i = 0; i < LATE; i++) {
        int j = (int)(chance(&seed) % (uint64_t)(LATE - i));
        MUST(receive(&bob, frames + j, 0, text, NULL));
        frames[j] = frames[LATE - 1 - i];
    }
    ERASED(&bob, ROW_SKIPPED, ROW_SESSION);
    CHECK(erased_of(ROW_SKIPPED) == LATE);
    finish();
}

static void keys_whose_time_is_over(void) {
    begin();
    pair_join(&alice, &bob);
    frame late, next;
    char text[FRAME_ROOM];
    MUST(encrypt(&alice, "late", &late));
    MUST(encrypt(&alice, "next", &next));
    MUST(receive(&bob, &next, 0, text, NULL));
    now_ns += 60 * SECOND;
    run_all(&bob); /* the log is empty again */
    remember(&bob, before);
    now_ns += 7 * 86400 * SECOND - 61 * SECOND;
    run_all(&bob);
    remember(&bob, after);
    CHECK(after->count == before->count); /* a second too early */
    now_ns += SECOND;
    run_all(&bob);
    ERASED(&bob, ROW_SKIPPED);
    ANSWERS(PAWL_REPLAY, receive(&bob, &late, 0, text, NULL));
    finish();
}

static void a_kept_message(void) {
    begin();
    pair_join(&alice, &bob);
    frame f;
    char text[FRAME_ROOM];
    pawl_received received = PAWL_INIT(pawl_received);
    MUST(encrypt(&alice, "kept, and then forgotten", &f));
    MUST(receive(&bob, &f, PAWL_RECEIVE_KEEP, text, &received));
    remember(&bob, before);
    MUST(pawl_session_forget(bob.store, bob.session, received.epoch, received.index));
    ERASED(&bob, ROW_KEPT);
    finish();
}

static void a_closed_session(void) {
    begin();
    pair_join(&alice, &bob);
    frame f[3];
    char text[FRAME_ROOM];
    for (int i = 0; i < 3; i++) MUST(encrypt(&alice, "some kept, some late", f + i));
    MUST(receive(&bob, f + 2, PAWL_RECEIVE_KEEP, text, NULL));
    remember(&bob, before);
    MUST(pawl_session_close(bob.store, bob.session));
    ERASED(&bob, ROW_SESSION, ROW_SKIPPED, ROW_KEPT);
    finish();
}

static void a_session_that_ended(void) {
    begin();
    pair_join(&alice, &bob);
    side old = bob;
    uint8_t bundle[2 * PAWL_PACKAGE_SIZE_MAX];
    now_ns += 61 * SECOND;
    MUST(start_with(&alice, &bob, bundle, bundle_of(&bob, 0, bundle)));
    PASSES(&alice, &bob, "the old one is receive-only now");
    PASSES(&bob, &alice, "indeed");
    now_ns += 60 * SECOND;
    run_all(&bob);
    remember(&bob, before);
    now_ns += 7 * 86400 * SECOND;
    run_all(&bob);
    ERASED(&bob, ROW_SESSION);
    pawl_view *view = NULL;
    ANSWERS(PAWL_NOT_FOUND, pawl_session_get(bob.store, old.session, &view));
    finish();
}

static void a_deleted_package(void) {
    begin();
    pawl_package_options options = PAWL_INIT(pawl_package_options);
    options.one_time_count = 100;
    pawl_view *view = NULL;
    pawl_package package = PAWL_INIT(pawl_package);
    MUST(pawl_package_create(bob.store, bob.account, &options, &view));
    MUST(pawl_view_package(view, 0, &package));
    pair_join(&alice, &bob); /* rows between */
    remember(&bob, before);
    MUST(pawl_package_delete(bob.store, bob.account, package.id));
    pawl_view_close(view);
    ERASED(&bob, ROW_PACKAGE, ROW_ONE_TIME);
    CHECK(erased_of(ROW_ONE_TIME) == 100);
    finish();
}

static void a_history_that_is_not_wanted(void) {
    begin();
    MUST(pawl_history_enable(bob.store, bob.account, 1));
    pair_join(&alice, &bob);
    now_ns += 60 * SECOND;
    run_all(&bob); /* the log is empty again */
    remember(&bob, before);
    MUST(pawl_history_enable(bob.store, bob.account, 0));
    ERASED(&bob, ROW_HISTORY);
    CHECK(erased_of(ROW_HISTORY) == 2);
    PASSES(&alice, &bob, "the session goes on");
    finish();
}

int main(void) {
    test_path("");
    before = shared_memory(sizeof *before);
    after = shared_memory(sizeof *after);
    found = shared_memory(sizeof *found);
    test_clock = (pawl_clock)PAWL_INIT(pawl_clock);
    test_clock.now_ns = test_time;
    test_clock.context = &now_ns;
    RUN(a_one_time_key);
    RUN(the_chain_behind_a_message);
    RUN(the_chain_behind_a_reservation);
    RUN(keys_of_late_messages);
    RUN(keys_whose_time_is_over);
    RUN(a_kept_message);
    RUN(a_closed_session);
    RUN(a_session_that_ended);
    RUN(a_deleted_package);
    RUN(a_history_that_is_not_wanted);
    FINISH;
}
