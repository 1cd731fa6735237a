/* SIGKILL at any moment of an account whose packages rotate: at each write and sync of a rotation, and at random.
 * Whatever the child was doing, the store opens, the newest package that was answered for has its private half, at most
 * one is staged and is asked for again with the same bytes, and every other private half has a day on which it goes.
 * PAWL_KILLS says how often at random. */
#include "session_pair.h"
#include "storage_kill.h"

#include <sqlite3.h>

#define DAY (24 * 3600 * SECOND)
#define PACKAGES 2000

typedef uint8_t id16[16];

/* A package as the host got it to publish. */
typedef struct published {
    id16 id;
    int is_answered;
    size_t size;
    uint8_t bytes[PAWL_PACKAGE_SIZE_MAX];
} published;

static struct shared {
    int64_t time;
    volatile int count;       /* of packages, counted when they are complete */
    volatile int newest;      /* that was answered for; -1: none */
    volatile int answering;   /* that was being answered for when the child died; -1: none */
    volatile long rotations, readbacks;
    published all[PACKAGES];
} *shared;

static id16 account;

/* ---------------------------------------------------------------- the child */

static pawl_store *open_at(const char *path) {
    pawl_clock clock = PAWL_INIT(pawl_clock);
    clock.context = &shared->time;
    clock.now_ns = test_time;
    return open_with_clock(path, &clock);
}

/* Without rings of another process nobody waits, so these come one after another. */
static void note(const pawl_package *package) {
    int i = 0;
    while (i < shared->count && memcmp(shared->all[i].id, package->id, sizeof package->id) != 0) i++;
    published *p = shared->all + i;
    if (i < shared->count) {
        CHECK_SAYING(p->size == package->bytes_size && memcmp(p->bytes, package->bytes, p->size) == 0,
                     "other bytes than before are to be published");
    } else {
        NEED(i < PACKAGES);
        memcpy(p->id, package->id, sizeof p->id);
        p->size = package->bytes_size;
        p->is_answered = 0;
        memcpy(p->bytes, package->bytes, p->size);
        __sync_synchronize();
        shared->count++;
    }
    shared->answering = i;
}

/* Does what the library asks for. `only_look`: publishing is not answered for. */
static int serve(pawl_store *store, int only_look) {
    pawl_view *items = NULL;
    MUST(pawl_outbox_take(store, 10, 1, &items)); /* a lease that a dead child does not hold on to */
    int count = (int)pawl_view_count(items);
    for (int row = 0; row < count; row++) {
        pawl_item item = PAWL_INIT(pawl_item);
        pawl_package package = PAWL_INIT(pawl_package);
        MUST(pawl_view_item(items, (size_t)row, &item));
        if (item.kind != PAWL_ITEM_REQUEST) {
            MUST(pawl_outbox_ack(store, &item.seq, 1));
            continue;
        }
        if (item.what == PAWL_REQUEST_READ_BACK) {
            int newest = shared->newest;
            MUST(pawl_outbox_answer(store, item.seq, newest < 0 ? NULL : shared->all[newest].bytes,
                                    newest < 0 ? 0 : shared->all[newest].size));
            shared->readbacks++;
            continue;
        }
        if (item.what == PAWL_REQUEST_PUBLISH) {
            MUST(pawl_view_item_package(items, (size_t)row, 0, &package));
            note(&package);
        }
        if (only_look) continue;
        MUST(pawl_outbox_answer(store, item.seq, NULL, 0));
        if (item.what != PAWL_REQUEST_PUBLISH) continue;
        shared->all[shared->answering].is_answered = 1;
        shared->newest = shared->answering;
        shared->answering = -1;
        shared->rotations++;
    }
    pawl_view_close(items);
    return count;
}

/* The next deadline comes, and what is due is done. */
static void live_on(pawl_store *store) {
    int64_t next = 0;
    size_t ran = 0;
    MUST(pawl_store_next_deadline(store, &next));
    if (next > shared->time) shared->time = next;
    MUST(pawl_store_run_due(store, 3, &ran, NULL));
    while (serve(store, 0) > 0) {}
    if (test_faults > 0) _exit(1);
}

/* ---------------------------------------------------------------- the parent */

/* Private halves of one-time keys, by the ids in their rows. */
static void no_keys_without_a_package(const char *path) {
    sqlite3 *db = NULL;
    sqlite3_stmt *find = NULL;
    NEED(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK);
    NEED(sqlite3_prepare_v2(db,
                            "SELECT count(*) FROM kv AS o WHERE substr(o.k, 1, 1) = x'33' AND NOT EXISTS "
                            "(SELECT 1 FROM kv AS p WHERE p.k = CAST(x'32' || substr(o.k, 2, 32) AS BLOB))",
                            -1, &find, NULL) == SQLITE_OK);
    NEED(sqlite3_step(find) == SQLITE_ROW);
    CHECK_SAYING(sqlite3_column_int(find, 0) == 0, "%d one-time keys of no package", sqlite3_column_int(find, 0));
    sqlite3_finalize(find);
    sqlite3_close(db);
}

static int has_job(pawl_store *store, const uint8_t *subject, int64_t due) {
    pawl_view *jobs = NULL;
    int found = 0;
    MUST(pawl_store_jobs(store, 0, NULL, 1000, &jobs));
    for (size_t i = 0; i < pawl_view_count(jobs); i++) {
        pawl_job job = PAWL_INIT(pawl_job);
        MUST(pawl_view_job(jobs, i, &job));
        found |= job.kind == PAWL_JOB_DELETE_PACKAGE && job.due_ns == due && memcmp(job.subject, subject, 16) == 0;
    }
    pawl_view_close(jobs);
    return found;
}

/* Somebody who fetched the newest package starts a session, and is heard. */
static void can_be_reached(pawl_store *store, const published *newest) {
    side alice = {.name = "alice"}, bob = {.name = "bob", .store = store};
    frame f;
    char text[FRAME_ROOM];
    pawl_clock clock = PAWL_INIT(pawl_clock);
    pawl_key key = raw_key();
    pawl_store_options options = PAWL_INIT(pawl_store_options);
    clock.context = &shared->time;
    clock.now_ns = test_time;
    options.flags = PAWL_STORE_MEMORY;
    options.key = &key;
    options.clock = &clock;
    MUST(pawl_store_open(&options, &alice.store));
    MUST(pawl_account_create(alice.store, "alice", 5, alice.account));
    memcpy(bob.account, account, sizeof account);
    MUST(start_with(&alice, &bob, newest->bytes, newest->size));
    MUST(encrypt(&alice, "hello", &f));
    pawl_received received = PAWL_INIT(pawl_received);
    OK(receive(&bob, &f, 0, text, &received));
    CHECK(strcmp(text, "hello") == 0);
    OK(pawl_session_close(store, received.session));
    pawl_store_close(alice.store);
}

static void look(const char *path) {
    no_keys_without_a_package(path);
    pawl_store *store = open_at(path);
    pawl_view *view = NULL;
    const published *staged = NULL;
    id16 staged_id = {0};
    int counts[4] = {0, 0, 0, 0}, has_newest = shared->newest < 0, has_answering = 0;
    pawl_rotation rotation = PAWL_INIT(pawl_rotation);
    MUST(pawl_rotation_get(store, account, &rotation));
    MUST(pawl_package_list(store, account, &view));
    for (size_t row = 0; row < pawl_view_count(view); row++) {
        pawl_package package = PAWL_INIT(pawl_package);
        MUST(pawl_view_package(view, row, &package));
        NEED(package.state <= PAWL_PACKAGE_SUPERSEDED);
        counts[package.state]++;
        if (package.state == PAWL_PACKAGE_SUPERSEDED) {
            CHECK(package.remove_ns < PAWL_NEVER && has_job(store, package.id, package.remove_ns));
        } else {
            CHECK(package.remove_ns == PAWL_NEVER);
        }
        if (package.state == PAWL_PACKAGE_STAGED) memcpy(staged_id, package.id, sizeof staged_id);
        for (int i = 0; i < shared->count; i++) {
            if (memcmp(shared->all[i].id, package.id, sizeof package.id) != 0) continue;
            if (package.state == PAWL_PACKAGE_STAGED) staged = shared->all + i;
            if (i == shared->newest) has_newest = package.state != PAWL_PACKAGE_STAGED;
            if (i == shared->answering) has_answering = package.state == PAWL_PACKAGE_CURRENT;
        }
    }
    pawl_view_close(view);
    CHECK_SAYING(counts[PAWL_PACKAGE_OWN] == 0, "a private half that nobody finds");
    CHECK(counts[PAWL_PACKAGE_STAGED] <= 1 && counts[PAWL_PACKAGE_CURRENT] <= 1);
    CHECK(counts[PAWL_PACKAGE_CURRENT] == 1 || shared->newest < 0);
    CHECK(counts[PAWL_PACKAGE_SUPERSEDED] == (int)rotation.superseded);
    CHECK_SAYING(has_newest, "the newest package that was answered for is gone");
    CHECK(damage_count(store) == 0);
    /* The answer of the child that died counts, or it does not. */
    if (has_answering) shared->newest = shared->answering;
    shared->answering = -1;
    if (shared->newest >= 0) can_be_reached(store, shared->all + shared->newest);
    if (counts[PAWL_PACKAGE_STAGED] == 1) {
        shared->time += 2; /* the leases of the child are over */
        while (serve(store, 1) > 0 && shared->answering < 0) shared->time += 2;
        NEED(shared->answering >= 0);
        CHECK(memcmp(shared->all[shared->answering].id, staged_id, sizeof staged_id) == 0);
        CHECK(staged == NULL || staged == shared->all + shared->answering);
        shared->answering = -1;
    }
    pawl_store_close(store);
}

static void begin(const char *path) {
    shared->time = INT64_C(1700000000) * SECOND;
    shared->count = 0;
    shared->newest = shared->answering = -1;
    storage->countdown = 0;
    pawl_store *store = open_at(path);
    pawl_rotation_options options = PAWL_INIT(pawl_rotation_options);
    options.one_time_count = 2;
    options.one_time_floor = 1;
    MUST(pawl_account_create(store, "bob", 3, account));
    MUST(pawl_rotation_begin(store, account, &options));
    pawl_store_close(store);
}

static int dies(pid_t child) {
    int status = 0;
    NEED(waitpid(child, &status, 0) == child);
    if (WIFEXITED(status)) CHECK(WEXITSTATUS(status) == 0);
    else CHECK(WTERMSIG(status) == SIGKILL);
    return WIFSIGNALED(status);
}

/* Two packages are published, and the first one of them erased. */
static void live_two_months(void *path) {
    pawl_store *store = open_at(path);
    while (shared->time < INT64_C(1700000000) * SECOND + 48 * DAY) live_on(store);
    pawl_store_close(store);
}

static void killed_at_every_operation(void) {
    long last = 1, rounds = 0;
    for (long at = 1; last > 0 && test_faults == 0; at++) {
        static char path[512];
        snprintf(path, sizeof path, "%s", fresh_path());
        begin(path);
        storage->operations = 0;
        storage->countdown = at;
        last = dies(child_start(live_two_months, path));
        storage->countdown = 0;
        look(path);
        rounds++;
    }
    printf("  killed at %ld of %ld operations\n", rounds - 1, storage->operations);
    CHECK(storage->operations > 50 && shared->rotations > rounds && shared->newest >= 0);
}

static void live_until_killed(void *path) {
    pawl_store *store = open_at(path);
    for (;;) live_on(store);
}

static void killed_at_random(void) {
    int kills = test_number("PAWL_KILLS", 30, 1000);
    uint64_t seed = (uint64_t)time(NULL) * 2654435761u | 1;
    static char path[512];
    printf("  seed %llu\n", (unsigned long long)seed);
    shared->rotations = shared->readbacks = 0;
    int i = 0;
    for (; i < kills && test_faults == 0; i++) {
        /* A child lives for years: another store before there is no more time. */
        if (i % 100 == 0) {
            snprintf(path, sizeof path, "%s", fresh_path());
            begin(path);
        }
        pid_t child = child_start(live_until_killed, path);
        pause_ns((int64_t)(chance(&seed) % 60000000)); /* opening included */
        kill(child, SIGKILL);
        CHECK(dies(child));
        look(path);
    }
    printf("  %d kills, %ld rotations, %ld readbacks\n", i, shared->rotations, shared->readbacks);
    CHECK(shared->rotations > kills / 10);
}

int main(void) {
    test_path("");
    shared = shared_memory(sizeof *shared);
    storage = shared_memory(sizeof *storage);
    RUN(killed_at_every_operation);
    RUN(killed_at_random);
    FINISH;
}
