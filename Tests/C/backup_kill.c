/* SIGKILL at any moment of an account that backs up: at each write and sync of its store, and at random. Whatever the child was
 * doing, the store opens; what is wanted is still wanted; it goes on by itself; and whatever a put acknowledged is in what a fresh
 * store gets back with the recovery key, once the backup says that nothing is pending. PAWL_KILLS says how often at random. */
#include "backup_device.h"
#include "storage_kill.h"

#define NAMES 40

static struct shared {
    int64_t time;
    volatile int values[NAMES]; /* what a put acknowledged; -1: deleted, 0: never there */
    volatile int name, value;   /* of the put that is under way; name -1: none */
    volatile long puts, resets, restores;
} *shared;

static backup_server *server;
static id16 account;

/* ---------------------------------------------------------------- the child */

/* On a file that was there before, at the shared time. */
static device *device_at(const char *path) {
    device *d = calloc(1, sizeof *d);
    NEED(d != NULL);
    d->server = server;
    d->in.name = "ada";
    d->in.now = shared->time;
    snprintf(d->in.path, sizeof d->in.path, "%s", path);
    setup_open(&d->in);
    d->who.in = &d->in;
    d->who.name = "ada";
    memcpy(d->who.account, account, sizeof account);
    return d;
}

static void close_device(device *d) {
    pawl_store_close(d->in.store);
    free(d);
}

/* All that is due; events are not remembered. */
static void serve_all(device *d) {
    for (int i = 0; i < 10000; i++) {
        size_t ran = run_due(&d->who);
        pawl_view *items = NULL;
        MUST(pawl_outbox_take(d->in.store, 100, 1, &items)); /* a lease that a dead child does not hold on to */
        size_t count = pawl_view_count(items);
        for (size_t row = 0; row < count; row++) {
            pawl_item item = PAWL_INIT(pawl_item);
            MUST(pawl_view_item(items, row, &item));
            pawl_backup_reply reply;
            if (!is_backup_request(&item)) {
                MUST(pawl_outbox_ack(d->in.store, &item.seq, 1));
                continue;
            }
            MUST(server_carry_out(server, items, row, &reply));
            MUST(pawl_backup_answer(d->in.store, item.seq, &reply));
        }
        pawl_view_close(items);
        d->in.now = shared->time += 2;
        if (ran + count == 0) return;
    }
    test_fault(__FILE__, __LINE__, "no rest");
}

static void write_one(device *d, uint64_t *seed) {
    pawl_scope scope = scope_of("ada", "");
    char name[16], text[32];
    int number = (int)(chance(seed) % NAMES), value = (int)(shared->puts + 1);
    if (chance(seed) % 8 == 0) value = -1;
    snprintf(name, sizeof name, "name %d", number);
    snprintf(text, sizeof text, "value %d", value);
    shared->value = value;
    __sync_synchronize();
    shared->name = number;
    if (value > 0) MUST(put(d->in.store, &scope, name, text));
    else if (shared->values[number] > 0) MUST(delete_now(d->in.store, &scope, name));
    else shared->value = shared->values[number];
    shared->values[number] = shared->value;
    shared->name = -1;
    shared->puts++;
}

/* Some writes, uploads, a reset, a restore of what is here, again and again. */
static void live(device *d, uint64_t *seed) {
    for (int i = 0; i < 3; i++) write_one(d, seed);
    d->in.now = shared->time += 60 * SECOND;
    serve_all(d);
    uint64_t what = chance(seed) % 8;
    if (what == 0) {
        MUST(pawl_backup_reset(d->in.store, account, NULL, PAWL_BACKUP_ESCROW));
        shared->resets++;
    }
    if (what == 1) {
        MUST(pawl_backup_restore(d->in.store, account, 0));
        shared->restores++;
    }
    if (what == 2) MUST(pawl_backup_enable(d->in.store, account));
    write_one(d, seed);
    serve_all(d);
    if (test_faults > 0) _exit(1);
}

/* ---------------------------------------------------------------- the parent */

static void expects(pawl_store *store, const char *where) {
    pawl_scope scope = scope_of("ada", "");
    for (int i = 0; i < NAMES; i++) {
        char name[16], text[32], other[32];
        int same = 0, also = 0;
        snprintf(name, sizeof name, "name %d", i);
        snprintf(text, sizeof text, "value %d", shared->values[i]);
        snprintf(other, sizeof other, "value %d", shared->value);
        pawl_status status = get_is(store, &scope, name, text, &same);
        if (status == PAWL_OK && !same) (void)get_is(store, &scope, name, other, &also);
        int is_under_way = shared->name == i;
        int is_right = status == PAWL_OK ? same || (is_under_way && also)
                                         : status == PAWL_NOT_FOUND &&
                                               (shared->values[i] <= 0 || (is_under_way && shared->value < 0));
        CHECK_SAYING(is_right, "%s: %s should be %d: %s", where, name, shared->values[i], pawl_status_name(status));
    }
}

/* What became of the put that was under way. */
static void look_up(pawl_store *store) {
    int number = shared->name;
    if (number < 0) return;
    pawl_scope scope = scope_of("ada", "");
    char name[16], text[32];
    int same = 0;
    snprintf(name, sizeof name, "name %d", number);
    snprintf(text, sizeof text, "value %d", shared->value);
    pawl_status status = get_is(store, &scope, name, text, &same);
    if (status == PAWL_OK ? same : shared->value < 0) shared->values[number] = shared->value;
    shared->name = -1;
}

static void look(const char *path) {
    device *d = device_at(path);
    CHECK(damage_count(d->in.store) == 0);
    expects(d->in.store, "here");
    look_up(d->in.store);
    pawl_backup backup = PAWL_INIT(pawl_backup);
    pawl_status status = pawl_backup_get(d->in.store, account, &backup);
    CHECK(status == PAWL_OK && (backup.flags & PAWL_BACKUP_ON));
    /* It finds its way by itself, at the latest when what failed is tried again. */
    for (int i = 0; i < 20; i++) {
        serve_all(d);
        MUST(pawl_backup_get(d->in.store, account, &backup));
        if (backup.download == PAWL_DOWNLOAD_READY && backup.pending == 0 && backup.phase == PAWL_BACKUP_IDLE &&
            !(backup.flags & PAWL_BACKUP_RESTORING))
            break;
        d->in.now = shared->time += 3600 * SECOND;
    }
    CHECK_SAYING(backup.download == PAWL_DOWNLOAD_READY && backup.pending == 0 && backup.phase == PAWL_BACKUP_IDLE,
                 "download %u, phase %u, %llu pending", backup.download, backup.phase,
                 (unsigned long long)backup.pending);
    expects(d->in.store, "here, later");
    char text[PAWL_RECOVERY_SIZE_MAX];
    recovery_key_of(d, text);
    CHECK_SAYING(strcmp(text, server->escrow) == 0, "the key of the active version was not put away");
    device *fresh = device_new(server, KIND_MEMORY, "ada");
    fresh->in.now = shared->time;
    pawl_scope scope = scope_of("ada", "");
    pawl_backup end = restore_with(fresh, text, &scope);
    CHECK_SAYING(end.findings == 0 && end.undecryptable == 0 && end.malformed == 0, "%llu findings, %llu writers",
                 (unsigned long long)end.findings, (unsigned long long)end.writers);
    expects(fresh->in.store, "restored");
    device_end(fresh);
    close_device(d);
}

static const char *begin(void) {
    static char path[512];
    if (server != NULL) server_end(server);
    server = server_new(1 << 11, (size_t)1 << 30);
    server->page = 7;
    memset(shared, 0, sizeof *shared);
    shared->time = INT64_C(1700000000) * SECOND;
    shared->name = -1;
    snprintf(path, sizeof path, "%s", fresh_path());
    pawl_scope scope = scope_of("ada", "");
    device *d = device_at(path);
    MUST(pawl_account_create(d->in.store, "ada", 3, account));
    MUST(pawl_backup_include(d->in.store, account, &scope, 0));
    MUST(pawl_backup_create(d->in.store, account, NULL, PAWL_BACKUP_ESCROW));
    close_device(d);
    return path;
}

static int dies(pid_t child) {
    int status = 0;
    NEED(waitpid(child, &status, 0) == child);
    if (WIFEXITED(status)) CHECK(WEXITSTATUS(status) == 0);
    else CHECK(WTERMSIG(status) == SIGKILL);
    return WIFSIGNALED(status);
}

/* One of each: writes, a first version, the next one, a restore. */
static void live_once(void *path) {
    device *d = device_at(path);
    uint64_t seed = 99;
    for (int i = 0; i < 4; i++) write_one(d, &seed);
    serve_all(d);
    for (int i = 0; i < 4; i++) write_one(d, &seed);
    MUST(pawl_backup_reset(d->in.store, account, NULL, PAWL_BACKUP_ESCROW));
    serve_all(d);
    MUST(pawl_backup_restore(d->in.store, account, 0));
    serve_all(d);
    close_device(d);
}

static void killed_at_every_operation(void) {
    long rounds = 0, step = test_number("PAWL_STEP", 7, 1);
    int died = 1;
    for (long at = 1; died && test_faults == 0; at += step) {
        const char *path = begin();
        storage->operations = 0;
        storage->countdown = at;
        died = dies(child_start(live_once, (void *)path));
        storage->countdown = 0;
        look(path);
        rounds++;
    }
    printf("  killed at %ld of %ld operations\n", rounds - 1, storage->operations);
    CHECK(storage->operations > 50);
}

static void live_until_killed(void *path) {
    device *d = device_at(path);
    uint64_t seed = (uint64_t)shared->time * 2654435761u | 1;
    for (;;) live(d, &seed);
}

static void killed_at_random(void) {
    int kills = test_number("PAWL_KILLS", 20, 500), versions = 0;
    uint64_t seed = (uint64_t)time(NULL) * 2654435761u | 1;
    const char *path = NULL;
    long puts = 0, resets = 0, restores = 0;
    printf("  seed %llu\n", (unsigned long long)seed);
    for (int i = 0; i < kills && test_faults == 0; i++) {
        if (i % 20 == 0) path = begin();
        pid_t child = child_start(live_until_killed, (void *)path);
        pause_ns((int64_t)(chance(&seed) % 60000000)); /* opening included */
        kill(child, SIGKILL);
        CHECK(dies(child));
        look(path);
        versions = server->count;
        if (i % 20 < 19 && i + 1 < kills) continue;
        puts += shared->puts;
        resets += shared->resets;
        restores += shared->restores;
    }
    printf("  %d kills, %ld writes, %ld resets (%d versions), %ld restores\n", kills, puts, resets, versions, restores);
    CHECK(puts > kills);
}

int main(void) {
    test_path("");
    shared = shared_memory(sizeof *shared);
    storage = shared_memory(sizeof *storage);
    RUN(killed_at_every_operation);
    RUN(killed_at_random);
    FINISH;
}
