/* Nothing happens while nothing is due: many accounts whose packages rotate, a process asleep in each of the library's
 * ways, and not one wake-up, read or write. And in virtual time: in 90 days the schedule runs exactly what the options
 * imply, at every deadline something, and in between nothing. */
#include "test.h"

#include <dirent.h>
#include <poll.h>

#define DAY (24 * 3600 * SECOND)

/* What the library draws for an account is not what is measured here. */
enum { POOL = 4, FLOOR = 2 };

static pawl_rotation_options small_pool(void) {
    pawl_rotation_options options = PAWL_INIT(pawl_rotation_options);
    options.one_time_count = POOL;
    options.one_time_floor = FLOOR;
    return options;
}

typedef uint8_t id16[16];

static void add_accounts(pawl_store *store, id16 *ids, size_t count) {
    pawl_rotation_options options = small_pool();
    pawl_store *batch = NULL;
    MUST(pawl_batch_begin(store, &batch));
    for (size_t i = 0; i < count; i++) {
        MUST(pawl_account_create(batch, "ada", 3, ids[i]));
        MUST(pawl_rotation_begin(batch, ids[i], &options));
    }
    MUST(pawl_batch_commit(batch));
}

/* ---------------------------------------------------------------- a host that does what it is asked */

typedef struct server {
    size_t published, replenished, read_back, others;
} server;

/* Takes and answers all that can be taken, and answers how much that was. */
static size_t serve(pawl_store *store, server *s) {
    size_t all = 0;
    for (size_t count = 1; count > 0; all += count) {
        pawl_view *items = NULL;
        pawl_store *batch = NULL;
        MUST(pawl_outbox_take(store, 1000, 0, &items));
        count = pawl_view_count(items);
        if (count > 0) MUST(pawl_batch_begin(store, &batch));
        for (size_t row = 0; row < count; row++) {
            pawl_item item = PAWL_INIT(pawl_item);
            MUST(pawl_view_item(items, row, &item));
            if (item.kind == PAWL_ITEM_REQUEST && item.what == PAWL_REQUEST_READ_BACK) {
                /* The server has what was published last. */
                pawl_view *packages = NULL;
                MUST(pawl_package_list(batch, item.account, &packages));
                for (size_t i = 0; i < pawl_view_count(packages); i++) {
                    pawl_package package = PAWL_INIT(pawl_package);
                    MUST(pawl_view_package(packages, i, &package));
                    if (package.state != PAWL_PACKAGE_CURRENT) continue;
                    MUST(pawl_outbox_answer(batch, item.seq, package.bytes, package.bytes_size));
                    s->read_back++;
                }
                pawl_view_close(packages);
            } else if (item.kind == PAWL_ITEM_REQUEST) {
                MUST(pawl_outbox_answer(batch, item.seq, NULL, 0));
                s->published += item.what == PAWL_REQUEST_PUBLISH;
                s->replenished += item.what == PAWL_REQUEST_PUBLISH_KEYS;
            } else {
                MUST(pawl_outbox_ack(batch, &item.seq, 1));
                s->others++;
            }
        }
        if (count > 0) MUST(pawl_batch_commit(batch));
        pawl_view_close(items);
    }
    return all;
}

static size_t run_all(pawl_store *store) {
    size_t all = 0, ran = 1000;
    while (ran == 1000) {
        MUST(pawl_store_run_due(store, 1000, &ran, NULL));
        all += ran;
        NEED(all < 50000); /* it spins */
    }
    return all;
}

/* ---------------------------------------------------------------- asleep */

static char path[512];

static int wait_for(int fd, int64_t ns) {
    struct pollfd at = {fd, POLLIN, 0};
    return poll(&at, 1, (int)(ns / 1000000));
}

/* How often threads of this process other than the one that asks went to sleep, which they do once after each
 * wake-up. */
static unsigned long sleeps_of_others(size_t *threads) {
    char name[300], line[256];
    unsigned long all = 0, one = 0;
    *threads = 0;
    DIR *tasks = opendir("/proc/self/task");
    NEED(tasks != NULL);
    for (struct dirent *task; (task = readdir(tasks)) != NULL;) {
        if (task->d_name[0] == '.' || atoi(task->d_name) == getpid()) continue;
        snprintf(name, sizeof name, "/proc/self/task/%s/status", task->d_name);
        FILE *status = fopen(name, "r");
        if (status == NULL) continue; /* it has just ended */
        while (fgets(line, sizeof line, status) != NULL) {
            if (sscanf(line, "voluntary_ctxt_switches: %lu", &one) == 1) all += one;
        }
        fclose(status);
        ++*threads;
    }
    closedir(tasks);
    return all;
}

static void count_call(void *context) { __sync_fetch_and_add((int *)context, 1); }

static void start_runner(pawl_store *store, int *told) {
    pawl_runner runner = PAWL_INIT(pawl_runner);
    runner.context = told;
    runner.items_ready = count_call;
    MUST(pawl_store_start_runner(store, &runner));
}

static int *wakes;

static void *wait_on_descriptor(void *context) {
    if (wait_for(*(int *)context, 3600 * SECOND) != 0) __sync_fetch_and_add(wakes, 1);
    return NULL;
}

/* One store with a runner and a second one with a thread that waits on its descriptor. */
typedef struct sleeper {
    pawl_store *store, *other;
    int fd, told;
    pthread_t waiter;
} sleeper;

static void go_to_sleep(sleeper *s) {
    s->store = open_file(path);
    s->other = open_file(path);
    MUST(pawl_store_fd(s->other, &s->fd));
    CHECK(wait_for(s->fd, 0) == 0);
    start_runner(s->store, &s->told);
    NEED(pthread_create(&s->waiter, NULL, wait_on_descriptor, &s->fd) == 0);
    pause_ns(SECOND / 2);
}

static void fill(size_t count) {
    id16 *ids = calloc(count, sizeof *ids);
    server s = {0, 0, 0, 0};
    NEED(ids != NULL);
    snprintf(path, sizeof path, "%s", fresh_path());
    pawl_store *store = open_file(path);
    add_accounts(store, ids, count);
    CHECK(run_all(store) == count);
    CHECK(serve(store, &s) == count);
    CHECK(run_all(store) == 0 && s.published == count);
    pawl_store_close(store);
    free(ids);
}

static void idling_costs_nothing(void) {
    size_t accounts = 5000, threads = 0, still = 0;
    int64_t time = test_number("PAWL_IDLE", 3, 60) * SECOND;
    sleeper s = {NULL, NULL, -1, 0, 0};
    fill(accounts);
    wakes = calloc(1, sizeof *wakes);
    go_to_sleep(&s);
    pawl_stats before[2] = {PAWL_INIT(pawl_stats), PAWL_INIT(pawl_stats)}, after[2];
    memcpy(after, before, sizeof after);
    OK(pawl_store_stats(s.store, before));
    OK(pawl_store_stats(s.other, before + 1));
    unsigned long sleeps = sleeps_of_others(&threads);
    pause_ns(time);
    unsigned long more = sleeps_of_others(&still) - sleeps;
    OK(pawl_store_stats(s.store, after));
    OK(pawl_store_stats(s.other, after + 1));
    CHECK(before[0].transactions > 0 && threads == 2 && still == 2);
    CHECK_SAYING(memcmp(before, after, sizeof before) == 0, "the store was used");
    CHECK_SAYING(more == 0 && *wakes == 0 && s.told == 0, "%lu wake-ups", more);
    printf("  %zu accounts, %d s: %lu wake-ups, %llu reads, %llu writes\n", accounts, (int)(time / SECOND), more,
           (unsigned long long)(after[0].reads + after[0].scanned + after[1].reads + after[1].scanned -
                                before[0].reads - before[0].scanned - before[1].reads - before[1].scanned),
           (unsigned long long)(after[0].writes + after[1].writes - before[0].writes - before[1].writes));
    /* They would have told. */
    OK(pawl_store_nudge(s.other));
    pthread_join(s.waiter, NULL);
    CHECK(*wakes == 1);
    sleeps = sleeps_of_others(&still);
    OK(pawl_store_nudge(s.store));
    pause_ns(SECOND / 2);
    CHECK(sleeps_of_others(&still) > sleeps && still == 1);
    pawl_store_close(s.other);
    pawl_store_close(s.store);
    free(wakes);
}

/* The same as the system sees it: calls that three threads made between two moments. */
static void sleep_for_ever(void *context) {
    int *ends = context, byte = 0;
    sleeper s = {NULL, NULL, -1, 0, 0};
    wakes = &byte;
    go_to_sleep(&s);
    NEED(write(ends[1], "", 1) == 1);
    pause();
}

static void idling_makes_no_calls(void) {
    if (!test_is_long()) return;
    if (system("command -v strace >/dev/null") != 0) {
        test_skip("there is no strace");
        return;
    }
    int ends[2], status = 0;
    char byte, line[256], file[512], number[16];
    snprintf(file, sizeof file, "%s", test_path("calls"));
    fill(5000);
    NEED(pipe(ends) == 0);
    pid_t child = child_start(sleep_for_ever, ends);
    NEED(read(ends[0], &byte, 1) == 1);
    snprintf(number, sizeof number, "%d", (int)child);
    pid_t strace = fork();
    NEED(strace >= 0);
    if (strace == 0) {
        execlp("strace", "strace", "-f", "-C", "-qq", "-o", file, "-p", number, (char *)NULL);
        _exit(127);
    }
    pause_ns(test_number("PAWL_IDLE", 3, 60) * SECOND);
    kill(strace, SIGINT);
    waitpid(strace, &status, 0);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    FILE *calls = fopen(file, "r");
    NEED(calls != NULL);
    /* The call in which each of the threads sleeps, and none that returned. */
    int asleep = 0, others = 0;
    while (fgets(line, sizeof line, calls) != NULL) {
        if (strstr(line, "unfinished") != NULL || strstr(line, "detached") != NULL) asleep++;
        else others++;
        if (others > 0 && others < 20) fprintf(stderr, "%s", line);
    }
    fclose(calls);
    CHECK_SAYING(asleep == 3 && others == 0, "%d threads sleep, %d lines say more", asleep, others);
}

/* ---------------------------------------------------------------- ninety days */

/* What one account does by itself, told from its options and from the time that was drawn for its first rotation. */
typedef struct life {
    id16 id;
    int64_t first; /* rotation */
} life;

typedef struct world {
    int64_t now, start, end;
    int handles;
    pawl_store *stores[2]; /* of one file; a single one is in memory, which needs no disk and empties no log */
    life *lives;
    size_t accounts;
} world;

static void world_open(world *w, size_t accounts, int handles) {
    pawl_key key = raw_key();
    pawl_clock clock = PAWL_INIT(pawl_clock);
    pawl_store_options options = PAWL_INIT(pawl_store_options);
    memset(w, 0, sizeof *w);
    w->start = w->now = INT64_C(1700000000) * SECOND;
    w->end = w->start + 90 * DAY;
    w->accounts = accounts;
    w->handles = handles;
    w->lives = calloc(accounts, sizeof *w->lives);
    NEED(w->lives != NULL);
    clock.context = &w->now;
    clock.now_ns = test_time;
    snprintf(path, sizeof path, "%s", fresh_path());
    options.flags = handles == 1 ? PAWL_STORE_MEMORY : PAWL_STORE_CREATE;
    options.path = path;
    options.path_size = handles == 1 ? 0 : strlen(path);
    options.key = &key;
    options.clock = &clock;
    for (int i = 0; i < handles; i++) MUST(pawl_store_open(&options, w->stores + i));
}

static void world_close(world *w) {
    for (int i = 0; i < w->handles; i++) pawl_store_close(w->stores[i]);
    free(w->lives);
}

/* Begins, and notes what was drawn. */
static size_t world_begin(world *w, server *s) {
    id16 *ids = calloc(w->accounts, sizeof *ids);
    size_t ran = 0;
    NEED(ids != NULL);
    add_accounts(w->stores[0], ids, w->accounts);
    ran = run_all(w->stores[0]);
    serve(w->stores[0], s);
    for (size_t i = 0; i < w->accounts; i++) {
        pawl_rotation rotation = PAWL_INIT(pawl_rotation);
        MUST(pawl_rotation_get(w->stores[0], ids[i], &rotation));
        memcpy(w->lives[i].id, ids[i], sizeof *ids);
        w->lives[i].first = rotation.rotate_ns;
        CHECK(rotation.rotate_ns > w->start + 24 * DAY && rotation.rotate_ns <= w->start + 30 * DAY);
    }
    free(ids);
    return ran;
}

/* On these days the server says that there is one key left. */
static const int64_t thirsty[] = {5, 20, 41, 77};
#define THIRSTY (sizeof thirsty / sizeof *thirsty)

typedef struct sums {
    size_t rotations, deletions, replenishments, readbacks, checkpoints;
} sums;

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* From the options alone: a rotation each 30 days from the time that was drawn, a deletion 14 days after each but the
 * first, a readback each week, more keys whenever there is one left; and what was erased leaves the log a minute later,
 * together with all that was erased in that minute. */
static sums implied(const world *w) {
    sums all = {0, 0, w->accounts * THIRSTY, 0, 0};
    int64_t *erased = calloc(w->accounts, 4 * sizeof *erased), cleaned = 0;
    NEED(erased != NULL);
    for (size_t i = 0; i < w->accounts; i++) {
        all.rotations++;
        for (int64_t at = w->lives[i].first; at <= w->end; at += 30 * DAY) {
            all.rotations++;
            if (at + 14 * DAY <= w->end) erased[all.deletions++] = at + 14 * DAY;
        }
        for (int64_t at = w->start + 7 * DAY; at <= w->end; at += 7 * DAY) all.readbacks++;
    }
    qsort(erased, all.deletions, sizeof *erased, ascending);
    for (size_t i = 0; i < all.deletions; i++) {
        if (erased[i] < cleaned || w->handles == 1) continue;
        cleaned = erased[i] + 60 * SECOND;
        all.checkpoints += cleaned <= w->end;
    }
    free(erased);
    return all;
}

static void a_quarter(size_t accounts, int handles) {
    world w;
    server s = {0, 0, 0, 0};
    size_t looks = 0, empty = 0, deadlines = 0, dry = 0, packages = 0;
    world_open(&w, accounts, handles);
    size_t ran = world_begin(&w, &s);
    for (size_t turn = 0;; turn++) {
        int64_t next = 0, refill = dry < THIRSTY ? w.start + thirsty[dry] * DAY + 12345 : PAWL_NEVER;
        MUST(pawl_store_next_deadline(w.stores[turn % (size_t)handles], &next));
        if (next > w.end && refill > w.end) break;
        if (refill < next) {
            pawl_store *batch = NULL;
            w.now = refill;
            MUST(pawl_batch_begin(w.stores[0], &batch));
            for (size_t i = 0; i < accounts; i++) MUST(pawl_rotation_report(batch, w.lives[i].id, 1));
            MUST(pawl_batch_commit(batch));
            dry++;
            continue;
        }
        NEED(next >= w.now && ran < 1000 * accounts);
        w.now = next;
        deadlines++;
        /* All wake, one after the other. */
        for (int i = 0; i < handles; i++) {
            pawl_store *store = w.stores[(turn + (size_t)i) % (size_t)handles];
            size_t found = run_all(store), taken = serve(store, &s);
            looks++;
            ran += found;
            empty += found == 0 && taken == 0;
        }
    }
    sums want = implied(&w);
    for (size_t i = 0; i < accounts; i++) {
        pawl_view *view = NULL;
        MUST(pawl_package_list(w.stores[0], w.lives[i].id, &view));
        packages += pawl_view_count(view);
        pawl_view_close(view);
    }
    size_t deletions = s.published - packages;
    CHECK_SAYING(s.published == want.rotations, "%zu rotations, %zu are due", s.published, want.rotations);
    CHECK_SAYING(deletions == want.deletions, "%zu deletions, %zu are due", deletions, want.deletions);
    CHECK_SAYING(s.replenished == want.replenishments, "%zu replenishments, %zu are due", s.replenished,
                 want.replenishments);
    CHECK_SAYING(s.read_back == want.readbacks, "%zu readbacks, %zu are due", s.read_back, want.readbacks);
    CHECK(s.others == 0);
    size_t useful = s.published + deletions + s.replenished + s.read_back + want.checkpoints;
    CHECK_SAYING(ran == useful, "%zu jobs ran, %zu were of use", ran, useful);
    CHECK_SAYING(empty <= deadlines * (size_t)(handles - 1), "%zu empty looks at %zu deadlines", empty, deadlines);
    printf("  %zu accounts, 90 days, %d handle%s: %zu rotations, %zu deletions, %zu replenishments, %zu readbacks, %zu "
           "empty looks at %zu deadlines\n",
           accounts, handles, handles == 1 ? "" : "s", s.published, deletions, s.replenished, s.read_back, empty,
           deadlines);
    world_close(&w);
}

static void ninety_days(void) { a_quarter((size_t)test_number("PAWL_ACCOUNTS", 50, 5000), 1); }
static void ninety_days_of_two(void) { a_quarter((size_t)test_number("PAWL_ACCOUNTS", 50, 500), 2); }

/* What the same would cost a host that looks every five seconds instead: an hour of it. */
static void a_poll_would_cost(void) {
    world w;
    server s = {0, 0, 0, 0};
    pawl_stats before = PAWL_INIT(pawl_stats), after = PAWL_INIT(pawl_stats);
    size_t empty = 0;
    world_open(&w, (size_t)test_number("PAWL_ACCOUNTS", 50, 5000), 1);
    world_begin(&w, &s);
    OK(pawl_store_stats(w.stores[0], &before));
    for (int64_t end = w.now + 3600 * SECOND; w.now < end; w.now += 5 * SECOND) {
        size_t found = run_all(w.stores[0]);
        empty += found + serve(w.stores[0], &s) == 0;
    }
    OK(pawl_store_stats(w.stores[0], &after));
    printf("  for comparison, a poll every 5 s: %.2f queries per second, %zu empty runs per day\n",
           (double)(after.transactions + after.reads + after.scanned - before.transactions - before.reads -
                    before.scanned) / 3600,
           24 * empty);
    CHECK(empty == 720 && after.writes == before.writes);
    world_close(&w);
}

int main(void) {
    RUN(idling_costs_nothing);
    RUN(idling_makes_no_calls);
    RUN(ninety_days);
    RUN(ninety_days_of_two);
    RUN(a_poll_would_cost);
    FINISH;
}
