/* After fork(): the child's inherited handles answer PAWL_CLOSED_FORKED and can be closed, the parent loses
 * nothing, and the child may open a handle of its own. A child that hangs is ended by its alarm. */
#include "session_pair.h"
#include "setups.h"

#include <dirent.h>

static pawl_scope scope;

static struct inherited {
    pawl_store *store, *batch;
    pawl_view *view;
    pawl_stream *stream;
    const char *path;
} inherited;

#define FORKED(call) ANSWERS(PAWL_CLOSED_FORKED, call)

static void refuse_everything(pawl_store *handle) {
    pawl_key key = raw_key();
    pawl_view *view = NULL;
    pawl_store *batch = NULL;
    pawl_stats stats = PAWL_INIT(pawl_stats);
    int32_t has;
    uint32_t number;
    const char *copy = "/tmp/never-written-by-pawl";
    FORKED(put(handle, &scope, "child", "x"));
    FORKED(get_is(handle, &scope, "n", NULL, NULL));
    FORKED(pawl_credential_metadata(handle, &scope, "n", 1, &view));
    FORKED(pawl_credential_has(handle, &scope, "n", 1, &has));
    FORKED(pawl_credential_list(handle, &scope, NULL, 0, 10, &view));
    FORKED(pawl_credential_deleted(handle, &scope, "n", 1, &view));
    FORKED(delete_now(handle, &scope, "n"));
    FORKED(pawl_credential_restore(handle, &scope, "n", 1, 0));
    FORKED(pawl_credential_delete_all(handle, &scope, 0, NULL));
    FORKED(pawl_credential_orphans(handle, NULL, 10, &view));
    FORKED(pawl_credential_reconcile(handle, NULL, &view));
    FORKED(pawl_batch_begin(handle, &batch));
    FORKED(pawl_slot_list(handle, &view));
    FORKED(pawl_slot_add(handle, &key, &number));
    FORKED(pawl_slot_change(handle, 0, &key));
    FORKED(pawl_slot_remove(handle, 0));
    FORKED(pawl_store_copy(handle, copy, strlen(copy)));
    FORKED(pawl_store_verify(handle, &view));
    FORKED(pawl_store_stats(handle, &stats));
    CHECK(view == NULL && batch == NULL);
}

static void refuse_stream(pawl_stream *stream) {
    char out[1];
    size_t size = 0;
    pawl_archive_report report = PAWL_INIT(pawl_archive_report);
    FORKED(pawl_stream_read(stream, out, sizeof out, &size));
    FORKED(pawl_stream_write(stream, out, sizeof out));
    FORKED(pawl_stream_finish(stream));
    FORKED(pawl_stream_report(stream, &report));
    pawl_stream_close(stream);
}

static void as_a_child(void *commits) {
    alarm(20);
    refuse_everything(inherited.store);
    refuse_everything(inherited.batch);
    refuse_stream(inherited.stream);
    if (commits != NULL) {
        FORKED(pawl_batch_commit(inherited.batch));
        pawl_store_close(inherited.store);
    } else {
        pawl_store_close(inherited.store);
        pawl_batch_rollback(inherited.batch);
    }
    pawl_view_close(inherited.view);
}

static void child_is_refused(setup *s) {
    if (s->has_vault) return; /* a batch cannot put there; the rest is the same code */
    pawl_key key = raw_key();
    MUST(put(s->store, &scope, "n", "old"));
    for (int commits = 0; commits < 2; commits++) {
        inherited = (struct inherited){.store = s->store};
        MUST(pawl_export_begin(s->store, NULL, 0, &key, &inherited.stream));
        MUST(pawl_credential_get(s->store, &scope, "n", 1, &inherited.view));
        MUST(pawl_batch_begin(s->store, &inherited.batch));
        MUST(put(inherited.batch, &scope, "before", "in batch"));
        IN_CHILD(as_a_child, commits ? &inherited : NULL);
        MUST(put(inherited.batch, &scope, "after", "in batch")); /* the parent's batch is still its own */
        LACKS(s->store, &scope, "after");
        MUST(pawl_batch_commit(inherited.batch));
        HOLDS(s->store, &scope, "before", "in batch");
        HOLDS(s->store, &scope, "after", "in batch");
        LACKS(s->store, &scope, "child");
        pawl_view_close(inherited.view);
        pawl_stream_close(inherited.stream);
        setup_reopen(s);
        HOLDS(s->store, &scope, "after", "in batch");
        MUST(pawl_credential_delete_all(s->store, &scope, 0, NULL));
        MUST(put(s->store, &scope, "n", "old"));
    }
    CHECK(damage_count(s->store) == 0);
}

static void with_a_handle_of_its_own(void *may_open) {
    alarm(20);
    if (inherited.store != NULL) FORKED(put(inherited.store, &scope, "child", "x"));
    pawl_key key = raw_key();
    pawl_store *own = NULL;
    ANSWERS(may_open != NULL ? PAWL_OK : PAWL_CLOSED_FORKED, open_with(inherited.path, 1, &key, &own));
    if (may_open != NULL) MUST(put(own, &scope, "child", "own handle"));
    pawl_store_close(own);
    pawl_store_close(inherited.store);
}

/* A file counts as open from the moment that somebody begins to open it; in the first test, that is also the first thing
 * that the library does in this process. */
static pawl_key slow_key(void) {
    pawl_key key = passphrase_key("slow");
    key.passes = PAWL_HASHING_PASSES_MAX;
    return key;
}

static void create_slowly(void *path) {
    pawl_key key = slow_key();
    pawl_store *store = NULL;
    MUST(open_with(path, PAWL_STORE_CREATE, &key, &store));
    pawl_store_close(store);
}

static void *open_slowly(void *path) {
    pawl_key key = slow_key();
    pawl_store *store = NULL;
    OK(open_with(path, 0, &key, &store));
    pawl_store_close(store);
    return NULL;
}

static int has_open(const char *path) {
    int found = 0;
    DIR *folder = opendir("/proc/self/fd");
    NEED(folder != NULL);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        char link[300], target[512] = "";
        snprintf(link, sizeof link, "/proc/self/fd/%s", entry->d_name);
        ssize_t size = readlink(link, target, sizeof target - 1);
        found |= size > 0 && strcmp(target, path) == 0;
    }
    closedir(folder);
    return found;
}

static void a_fork_while_a_store_is_opened(void) {
    char path[512];
    snprintf(path, sizeof path, "%s", fresh_path());
    IN_CHILD(create_slowly, path);
    pthread_t thread;
    NEED(pthread_create(&thread, NULL, open_slowly, path) == 0);
    for (int64_t end = monotonic_ns() + 20 * SECOND; !has_open(path); pause_ns(SECOND / 10000)) {
        NEED(monotonic_ns() < end);
    }
    inherited = (struct inherited){.path = path};
    IN_CHILD(with_a_handle_of_its_own, NULL);
    pthread_join(thread, NULL);
}

/* SQLite's locks do not survive a fork: only a child that inherits no open file may open one. */
static void child_opens_its_own(void) {
    char path[512];
    snprintf(path, sizeof path, "%s", fresh_path());
    pawl_store *store = open_file(path);
    MUST(put(store, &scope, "parent", "before"));
    inherited = (struct inherited){.store = store, .path = path};
    IN_CHILD(with_a_handle_of_its_own, NULL);
    LACKS(store, &scope, "child");
    MUST(put(store, &scope, "parent", "after"));
    pawl_store_close(store);
    inherited.store = NULL;
    /* What could not be opened is not open. */
    pawl_key key = raw_key_of((const uint8_t *)"another key of thirty-two bytes");
    store = NULL;
    ANSWERS(PAWL_AUTH, open_with(path, 0, &key, &store));
    ANSWERS(PAWL_NOT_FOUND, open_with("/tmp/never-written-by-pawl", 0, &key, &store));
    IN_CHILD(with_a_handle_of_its_own, path);
    store = open_file(path);
    HOLDS(store, &scope, "parent", "after");
    HOLDS(store, &scope, "child", "own handle");
    CHECK(damage_count(store) == 0);
    pawl_store_close(store);
}

/* Forking while other threads are in the middle of calls: the child must not wait for locks that only they
 * could let go, and the parent's acknowledged writes stay. */
static volatile int stop;
static long acknowledged[4];

static void *keep_putting(void *context) {
    long *last = context;
    char name[16];
    snprintf(name, sizeof name, "t%d", (int)(last - acknowledged));
    for (long i = 1; !stop; i++) {
        char secret[24];
        snprintf(secret, sizeof secret, "%ld", i);
        if (!OK(put(inherited.store, &scope, name, secret))) break;
        *last = i;
    }
    return NULL;
}

static void quick_child(void *unused) {
    (void)unused;
    alarm(20);
    FORKED(put(inherited.store, &scope, "child", "x"));
    FORKED(get_is(inherited.store, &scope, "t0", NULL, NULL));
    pawl_store_close(inherited.store);
}

static void fork_under_load(void) {
    char path[512];
    snprintf(path, sizeof path, "%s", fresh_path());
    inherited = (struct inherited){.store = open_file(path)};
    memset(acknowledged, 0, sizeof acknowledged);
    stop = 0;
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) NEED(pthread_create(threads + i, NULL, keep_putting, acknowledged + i) == 0);
    for (int i = 0; i < (test_is_long() ? 500 : 50); i++) IN_CHILD(quick_child, NULL);
    stop = 1;
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < 4; i++) {
            char name[16], secret[24];
            snprintf(name, sizeof name, "t%d", i);
            snprintf(secret, sizeof secret, "%ld", acknowledged[i]);
            CHECK(acknowledged[i] > 0);
            HOLDS(inherited.store, &scope, name, secret);
        }
        CHECK(damage_count(inherited.store) == 0);
        pawl_store_close(inherited.store);
        if (pass == 0) inherited.store = open_file(path);
    }
}

/* The same for the locks of keys that are kept in memory. */
static side alice, bob;
static frame kept;

static void *keep_encrypting(void *context) {
    long *last = context;
    for (frame f; !stop; ++*last) {
        if (!OK(encrypt(&bob, "x", &f))) break;
    }
    return NULL;
}

static void *keep_reading_history(void *context) {
    long *last = context;
    uint8_t text[FRAME_ROOM];
    size_t size = 0;
    for (; !stop; ++*last) {
        pawl_history_message message = PAWL_INIT(pawl_history_message);
        if (!OK(pawl_history_decrypt(bob.store, bob.account, kept.bytes, kept.size, text, sizeof text, &size, &message))) {
            break;
        }
    }
    return NULL;
}

static void fork_under_messages(void) {
    side_make(&alice, "alice");
    side_make(&bob, "bob");
    MUST(pawl_history_enable(bob.store, bob.account, 1));
    pair_join(&alice, &bob);
    char text[FRAME_ROOM];
    MUST(encrypt(&alice, "kept", &kept));
    MUST(receive(&bob, &kept, 0, text, NULL));
    inherited = (struct inherited){.store = bob.store};
    memset(acknowledged, 0, sizeof acknowledged);
    stop = 0;
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        void *(*body)(void *) = i < 3 ? keep_encrypting : keep_reading_history;
        NEED(pthread_create(threads + i, NULL, body, acknowledged + i) == 0);
    }
    for (int i = 0; i < (test_is_long() ? 1000 : 200) && test_faults == 0; i++) IN_CHILD(quick_child, NULL);
    stop = 1;
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        CHECK(acknowledged[i] > 0);
    }
    PASSES(&alice, &bob, "after all");
    side_close(&alice);
    side_close(&bob);
}

/* A program that opens its first store in a child, and in the parent as well. */
static void open_one(void *path) {
    pawl_store *store = open_file(path);
    MUST(put(store, &scope, "n", "x"));
    pawl_store_close(store);
}

static void stores_opened_after_the_fork(void) {
    char path[512];
    for (int i = 0; i < 5; i++) {
        snprintf(path, sizeof path, "%s", fresh_path());
        IN_CHILD(open_one, path);
        pawl_store *store = open_file(path);
        HOLDS(store, &scope, "n", "x");
        pawl_store_close(store);
        open_one(path);
    }
}

int main(void) {
    scope = scope_of("user", "project");
    test_path("");
    RUN(a_fork_while_a_store_is_opened);
    RUN_EACH(child_is_refused);
    RUN(child_opens_its_own);
    RUN(fork_under_load);
    RUN(fork_under_messages);
    RUN(stores_opened_after_the_fork);
    FINISH;
}
