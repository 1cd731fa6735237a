/* The outbox: frames leave in order, at least once, to one taker at a time, whoever dies; and the descriptor says when
 * there is something to take. */
#include "test.h"

#include <poll.h>
#include <sys/syscall.h>

/* In place of libc's: what waits for the disk is counted. */
static int syncs;
int fsync(int fd) { return syncs++, (int)syscall(SYS_fsync, fd); }
int fdatasync(int fd) { return syncs++, (int)syscall(SYS_fdatasync, fd); }

#define MILLISECOND INT64_C(1000000)

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * SECOND + t.tv_nsec;
}

static int wait_for(int fd, int64_t ns) {
    struct pollfd at = {fd, POLLIN, 0};
    struct timespec t = {(time_t)(ns / SECOND), (long)(ns % SECOND)};
    return ppoll(&at, 1, &t, NULL);
}

static int is_readable(int fd) { return wait_for(fd, 0); }

/* ---------------------------------------------------------------- sessions to send in */

enum { LANES = 6 };

typedef struct setting {
    uint8_t ada[PAWL_ACCOUNT_ID_SIZE];
    uint8_t peers[LANES][PAWL_ACCOUNT_ID_SIZE];
    uint8_t sessions[LANES][PAWL_SESSION_ID_SIZE];
} setting;

static void start_session(pawl_store *store, setting *s, int lane) {
    char name[16];
    snprintf(name, sizeof name, "peer %d", lane);
    pawl_package_options wanted = PAWL_INIT(pawl_package_options);
    pawl_view *packages = NULL;
    pawl_package package = PAWL_INIT(pawl_package);
    MUST(pawl_account_create(store, name, strlen(name), s->peers[lane]));
    MUST(pawl_package_create(store, s->peers[lane], &wanted, &packages));
    MUST(pawl_view_package(packages, 0, &package));
    pawl_start_options start = PAWL_INIT(pawl_start_options);
    start.peer_name = name;
    start.peer_name_size = strlen(name);
    start.package = package.bytes;
    start.package_size = package.bytes_size;
    MUST(pawl_session_start(store, s->ada, &start, s->sessions[lane]));
    pawl_view_close(packages);
}

static void meet(pawl_store *store, setting *s) {
    MUST(pawl_account_create(store, "ada", 3, s->ada));
    for (int lane = 0; lane < LANES; lane++) start_session(store, s, lane);
}

static uint64_t say(pawl_store *store, const uint8_t *session, const char *text) {
    uint64_t ticket = 0;
    MUST(pawl_session_send(store, session, text, strlen(text), &ticket));
    return ticket;
}

static size_t take(pawl_store *store, size_t limit, int64_t lease_ns, pawl_item *items) {
    pawl_view *view = NULL;
    MUST(pawl_outbox_take(store, limit, lease_ns, &view));
    size_t count = pawl_view_count(view);
    CHECK(count <= limit);
    for (size_t i = 0; items != NULL && i < count; i++) {
        items[i].struct_size = sizeof items[i];
        MUST(pawl_view_item(view, i, &items[i]));
    }
    pawl_view_close(view);
    return count;
}

static int64_t deadline_of(pawl_store *store) {
    int64_t deadline = 0;
    MUST(pawl_store_next_deadline(store, &deadline));
    return deadline;
}

/* ---------------------------------------------------------------- one process */

static void what_an_item_says(void) {
    pawl_store *store = open_file(fresh_path());
    setting s;
    meet(store, &s);
    int64_t before = now_ns();
    uint64_t first = say(store, s.sessions[0], "hello"), second = say(store, s.sessions[0], "world");
    CHECK(first > 0 && second > first);
    pawl_view *view = NULL, *session = NULL;
    MUST(pawl_outbox_take(store, 10, 5 * SECOND, &view));
    CHECK(pawl_view_count(view) == 2);
    pawl_item item = PAWL_INIT(pawl_item);
    OK(pawl_view_item(view, 0, &item));
    CHECK(item.kind == PAWL_ITEM_FRAME && item.what == 0 && item.count == 0 && item.attempts == 0);
    CHECK(item.seq == first);
    CHECK(memcmp(item.account, s.ada, sizeof s.ada) == 0);
    CHECK(memcmp(item.session, s.sessions[0], sizeof s.sessions[0]) == 0);
    CHECK(item.created_ns >= before && item.created_ns <= now_ns());
    CHECK(item.lease_ns >= before + 5 * SECOND && item.lease_ns <= now_ns() + 5 * SECOND);
    CHECK(item.peer_name_size == 6 && memcmp(item.peer_name, "peer 0", 6) == 0);
    pawl_session row = PAWL_INIT(pawl_session);
    MUST(pawl_session_get(store, s.sessions[0], &session));
    MUST(pawl_view_session(session, 0, &row));
    CHECK(memcmp(item.peer_signing_key, row.peer_signing_key, PAWL_IDENTITY_KEY_SIZE) == 0);
    CHECK(memcmp(item.peer_agreement_key, row.peer_agreement_key, PAWL_IDENTITY_KEY_SIZE) == 0);
    pawl_view_close(session);

    /* The body is the frame, and the view outlives the item. */
    OK(pawl_outbox_ack(store, &first, 1));
    uint8_t text[4096];
    size_t size = 0;
    pawl_frame frame = PAWL_INIT(pawl_frame);
    frame.bytes = item.body;
    frame.size = item.body_size;
    pawl_received received = PAWL_INIT(pawl_received);
    OK(pawl_account_receive(store, s.peers[0], &frame, text, sizeof text, &size, &received));
    CHECK(size == 5 && memcmp(text, "hello", 5) == 0);
    OK(pawl_view_item(view, 1, &item));
    CHECK(item.seq == second);
    ANSWERS(PAWL_MISUSE_ROW, pawl_view_item(view, 2, &item));
    ANSWERS(PAWL_MISUSE_NULL, pawl_view_item(NULL, 0, &item));
    ANSWERS(PAWL_MISUSE_NULL, pawl_view_item(view, 0, NULL));
    item.struct_size--;
    ANSWERS(PAWL_MISUSE_STRUCT, pawl_view_item(view, 0, &item));
    pawl_account account = PAWL_INIT(pawl_account);
    ANSWERS(PAWL_MISUSE_ROW, pawl_view_account(view, 0, &account));
    pawl_view_close(view);
    CHECK(damage_count(store) == 0);
    pawl_store_close(store);
}

static void refusals(void) {
    pawl_store *store = open_file(fresh_path()), *batch = NULL;
    pawl_view *view = NULL;
    setting s;
    meet(store, &s);
    uint64_t seq = say(store, s.sessions[0], "x"), none = seq + 1, both[] = {seq, none};
    ANSWERS(PAWL_MISUSE_NULL, pawl_outbox_take(store, 1, 0, NULL));
    ANSWERS(PAWL_MISUSE_NULL, pawl_outbox_take(NULL, 1, 0, &view));
    ANSWERS(PAWL_MISUSE_SIZE, pawl_outbox_take(store, 0, 0, &view));
    ANSWERS(PAWL_MISUSE_SIZE, pawl_outbox_take(store, 10001, 0, &view));
    ANSWERS(PAWL_MISUSE_TIME, pawl_outbox_take(store, 1, -1, &view));
    ANSWERS(PAWL_MISUSE_TIME, pawl_outbox_take(store, 1, 86400 * SECOND + 1, &view));
    ANSWERS(PAWL_MISUSE_NULL, pawl_outbox_ack(store, NULL, 1));
    ANSWERS(PAWL_MISUSE_SIZE, pawl_outbox_ack(store, &seq, 10001));
    OK(pawl_outbox_ack(store, NULL, 0));
    ANSWERS(PAWL_NOT_FOUND, pawl_outbox_ack(store, both, 2));
    ANSWERS(PAWL_NOT_FOUND, pawl_outbox_fail(store, none, 0));
    ANSWERS(PAWL_MISUSE_TIME, pawl_outbox_fail(store, seq, -1));
    ANSWERS(PAWL_NOT_FOUND, pawl_outbox_answer(store, 0, NULL, 0));
    ANSWERS(PAWL_MISUSE_FLAGS, pawl_outbox_answer(store, seq, NULL, 0));
    ANSWERS(PAWL_MISUSE_NULL, pawl_outbox_answer(store, seq, NULL, 1));
    CHECK(view == NULL);
    MUST(pawl_batch_begin(store, &batch));
    ANSWERS(PAWL_STATE_BATCH, pawl_outbox_take(batch, 1, 0, &view));
    OK(pawl_outbox_fail(batch, seq, 3600 * SECOND));
    pawl_batch_rollback(batch);
    CHECK(take(store, 10000, 86400 * SECOND, NULL) == 1);
    CHECK(take(store, 10, 0, NULL) == 0);
    OK(pawl_outbox_ack(store, &seq, 1));
    OK(pawl_outbox_ack(store, &seq, 1));
    OK(pawl_outbox_fail(store, seq, 0));
    OK(pawl_outbox_answer(store, seq, NULL, 0));
    pawl_store_close(store);
}

static void readable_while_something_can_be_taken(void) {
    const char *path = fresh_path();
    pawl_store *store = open_file(path), *other = open_file(path), *batch = NULL;
    setting s;
    meet(store, &s);
    int fd = 0;
    MUST(pawl_store_fd(store, &fd));
    CHECK(!is_readable(fd));
    uint64_t a1 = say(store, s.sessions[0], "a1");
    CHECK(is_readable(fd));
    CHECK(deadline_of(store) <= now_ns());
    CHECK(is_readable(fd));
    uint64_t a2 = say(store, s.sessions[0], "a2");
    CHECK(take(store, 1, 0, NULL) == 1);
    CHECK(!is_readable(fd)); /* the lane waits for its first */
    OK(pawl_outbox_ack(store, &a1, 1));
    CHECK(is_readable(fd));
    CHECK(take(store, 1, 0, NULL) == 1);
    int64_t failed = now_ns();
    OK(pawl_outbox_fail(store, a2, 0));
    int64_t retry = deadline_of(store);
    CHECK(retry >= failed + SECOND && retry <= now_ns() + 2 * SECOND);
    OK(pawl_outbox_fail(store, a2, 50 * MILLISECOND));
    CHECK(wait_for(fd, 5 * SECOND) == 1);
    OK(pawl_outbox_ack(store, &a2, 1));
    CHECK(!is_readable(fd));

    /* From another handle, and from a batch when it commits. */
    uint64_t b1 = say(other, s.sessions[1], "b1");
    CHECK(is_readable(fd));
    CHECK(take(other, 1, 0, NULL) == 1);
    CHECK(take(store, 1, 0, NULL) == 0);
    CHECK(!is_readable(fd));
    MUST(pawl_batch_begin(store, &batch));
    uint64_t c1 = say(batch, s.sessions[2], "c1");
    CHECK(!is_readable(fd));
    OK(pawl_batch_commit(batch));
    CHECK(is_readable(fd));
    MUST(pawl_batch_begin(store, &batch));
    OK(pawl_outbox_ack(batch, &c1, 1));
    OK(pawl_outbox_ack(batch, &b1, 1));
    OK(pawl_batch_commit(batch));
    CHECK(!is_readable(fd));
    pawl_store_close(other);
    pawl_store_close(store);
}

/* Nothing wakes and nothing is asked for until the lease ends, and then not too early. */
static void a_lease_is_quiet(void) {
    pawl_store *store = open_file(fresh_path());
    setting s;
    meet(store, &s);
    int fd = 0;
    MUST(pawl_store_fd(store, &fd));
    say(store, s.sessions[0], "a1");
    say(store, s.sessions[0], "a2");
    pawl_item items[3];
    CHECK(take(store, 1, 2 * SECOND, items) == 1);
    pawl_stats before = PAWL_INIT(pawl_stats), after = PAWL_INIT(pawl_stats);
    OK(pawl_store_stats(store, &before));
    for (int i = 0; i < 4; i++) CHECK(wait_for(fd, 100 * MILLISECOND) == 0);
    OK(pawl_store_stats(store, &after));
    CHECK(memcmp(&before, &after, sizeof before) == 0);
    CHECK(wait_for(fd, 5 * SECOND) == 1);
    CHECK(now_ns() >= items[0].lease_ns);
    CHECK(take(store, 3, 0, items) == 2);
    CHECK(items[0].attempts == 1 && items[1].attempts == 0);
    pawl_store_close(store);
}

/* A send is on the disk when it returns. What would merely be repeated does not wait for that. */
static void only_promises_wait_for_the_disk(void) {
    pawl_store *store = open_file(fresh_path());
    setting s;
    meet(store, &s);
    for (int round = 0; round < 3; round++) {
        int before = syncs;
        uint64_t seq = say(store, s.sessions[0], "a");
        CHECK(syncs > before);
        before = syncs;
        CHECK(take(store, 1, 0, NULL) == 1);
        OK(pawl_outbox_fail(store, seq, 1));
        OK(pawl_outbox_ack(store, &seq, 1));
        CHECK(syncs == before);
    }
    pawl_store_close(store);
}

/* ---------------------------------------------------------------- requests */

static void a_request_stays_until_it_is_answered(void) {
    int64_t time = 1000000 * SECOND;
    pawl_clock clock = PAWL_INIT(pawl_clock);
    clock.context = &time;
    clock.now_ns = test_time;
    pawl_key key = raw_key();
    pawl_store_options options = PAWL_INIT(pawl_store_options);
    options.flags = PAWL_STORE_MEMORY;
    options.key = &key;
    options.clock = &clock;
    pawl_store *store = NULL;
    MUST(pawl_store_open(&options, &store));
    setting s;
    meet(store, &s);
    /* Nobody answers a set-up. */
    time += 86400 * SECOND;
    size_t ran = 0;
    OK(pawl_store_run_due(store, 100, &ran, NULL));
    CHECK(ran >= LANES);
    pawl_item items[100];
    size_t count = take(store, 100, 0, items);
    uint64_t request = 0;
    uint32_t requests = 0, events = 0;
    for (size_t i = 0; i < count; i++) {
        CHECK(memcmp(items[i].account, s.ada, sizeof s.ada) == 0);
        if (items[i].kind == PAWL_ITEM_REQUEST) {
            CHECK(items[i].what == PAWL_REQUEST_PACKAGE && items[i].body_size == 0);
            if (requests++ == 0) request = items[i].seq;
        } else {
            CHECK(items[i].kind == PAWL_ITEM_EVENT && items[i].what == PAWL_EVENT_SETUP_EXPIRED);
            events++;
        }
    }
    CHECK(requests == LANES && events == LANES);
    ANSWERS(PAWL_MISUSE_PACKAGE, pawl_outbox_answer(store, request, "\1\1 not a package", 16));
    OK(pawl_outbox_fail(store, request, SECOND));
    time += SECOND;
    CHECK(take(store, 100, 0, items) == 1 && items[0].seq == request && items[0].attempts == 1);

    pawl_package_options wanted = PAWL_INIT(pawl_package_options);
    pawl_view *packages = NULL;
    pawl_package package = PAWL_INIT(pawl_package);
    int peer = 0;
    pawl_view *again = NULL;
    time += 30 * SECOND;
    MUST(pawl_outbox_take(store, 100, 0, &again));
    for (size_t i = 0; i < pawl_view_count(again); i++) {
        pawl_item item = PAWL_INIT(pawl_item);
        MUST(pawl_view_item(again, i, &item));
        if (item.seq == request) peer = ((const char *)item.peer_name)[5] - '0';
    }
    pawl_view_close(again);
    MUST(pawl_package_create(store, s.peers[peer], &wanted, &packages));
    MUST(pawl_view_package(packages, 0, &package));
    OK(pawl_outbox_answer(store, request, package.bytes, package.bytes_size));
    OK(pawl_outbox_answer(store, request, package.bytes, package.bytes_size)); /* settled */
    pawl_view_close(packages);
    time += 86400 * SECOND;
    count = take(store, 100, 0, items);
    for (size_t i = 0; i < count; i++) CHECK(items[i].seq != request);
    CHECK(damage_count(store) == 0);
    pawl_store_close(store);
}

/* ---------------------------------------------------------------- several processes */

/* What happened, in an order that all agree on. An ack is noted before it is asked for, a hand-out after it is known. */
enum { HANDED, SETTLED };
typedef struct note {
    uint64_t seq;
    int32_t lane;
    int32_t what;
    int32_t who;
    int32_t batch; /* which take */
    int64_t lease_ns;
} note;

static struct {
    char path[512];
    setting s;
    volatile int done;
    long counter;
    note notes[200000];
} *drain;

static void jot(note n) {
    long place = __sync_fetch_and_add(&drain->counter, 1);
    if (place < (long)(sizeof drain->notes / sizeof drain->notes[0])) drain->notes[place] = n;
}

static int lane_of(const pawl_item *item) {
    for (int lane = 0; lane < LANES; lane++) {
        if (memcmp(item->session, drain->s.sessions[lane], PAWL_SESSION_ID_SIZE) == 0) return lane;
    }
    return -1;
}

/* The next job, which empties the log, comes a minute after the sessions began: this is about items. */
static int has_work(pawl_store *store) { return deadline_of(store) < now_ns() + 30 * SECOND; }

/* Takes, "delivers", settles; now and then an item fails, or is forgotten until its lease ends. */
static void drain_some(int who, int64_t lease_ns, int forgets) {
    pawl_store *store = open_file(drain->path);
    int fd = 0, batch = 0;
    MUST(pawl_store_fd(store, &fd));
    uint64_t seed = (uint64_t)now_ns() ^ (uint64_t)(who + 1) * 0x9E3779B97F4A7C15u;
    while (!drain->done || has_work(store)) {
        if (wait_for(fd, 200 * MILLISECOND) != 1) continue;
        MUST(pawl_store_run_due(store, 100, NULL, NULL));
        pawl_item items[16];
        size_t count = take(store, 1 + chance(&seed) % 16, lease_ns, items);
        batch++;
        for (size_t i = 0; i < count; i++) {
            jot((note){items[i].seq, lane_of(&items[i]), HANDED, who, batch, items[i].lease_ns});
        }
        for (size_t i = 0; i < count; i++) {
            switch (chance(&seed) % (forgets ? 20 : 10)) {
            case 0:
                MUST(pawl_outbox_fail(store, items[i].seq, (int64_t)(1 + chance(&seed) % 5) * MILLISECOND));
                break;
            case 11: break; /* forgotten */
            default:
                jot((note){items[i].seq, lane_of(&items[i]), SETTLED, who, batch, 0});
                MUST(pawl_outbox_ack(store, &items[i].seq, 1));
            }
        }
    }
    pawl_store_close(store);
}

static void drain_with_patience(void *who) { drain_some(*(int *)who, 60 * SECOND, 0); }
static void drain_forgetfully(void *who) { drain_some(*(int *)who, 20 * MILLISECOND, 1); }

static void produce(void *count) {
    pawl_store *store = open_file(drain->path), *batch = NULL;
    int left = *(int *)count;
    uint64_t seed = (uint64_t)now_ns() | 1;
    while (left > 0) {
        int group = 1 + (int)(chance(&seed) % 8);
        MUST(pawl_batch_begin(store, &batch));
        for (; group > 0 && left > 0; group--, left--) say(batch, drain->s.sessions[chance(&seed) % LANES], "message");
        OK(pawl_batch_commit(batch));
        if (chance(&seed) % 4 == 0) pause_ns((int64_t)(chance(&seed) % (5 * MILLISECOND)));
    }
    drain->done = 1;
    pawl_store_close(store);
}

static void prepare_drain(void) {
    drain = shared_memory(sizeof *drain);
    snprintf(drain->path, sizeof drain->path, "%s", fresh_path());
    pawl_store *store = open_file(drain->path);
    meet(store, &drain->s);
    pawl_store_close(store);
}

/* Every number from 1 to `count` was handed out and settled, and none of a lane was handed out first while one before
 * it was not even being settled. */
static void look_at_notes(uint64_t count, int is_strict) {
    char *settled = calloc(count + 2, 1), *handed = calloc(count + 2, 1);
    int64_t *lanes = calloc(count + 2, sizeof *lanes);
    uint64_t again = 0, overtaken = 0;
    CHECK(drain->counter <= (long)(sizeof drain->notes / sizeof drain->notes[0]));
    for (long i = 0; i < drain->counter; i++) {
        const note *n = &drain->notes[i];
        if (n->seq == 0 && !is_strict) continue; /* whoever was to write it was killed */
        NEED(n->seq >= 1 && n->seq <= count && n->lane >= 0);
        lanes[n->seq] = n->lane + 1;
    }
    for (long i = 0; i < drain->counter; i++) {
        const note *n = &drain->notes[i];
        if (n->seq == 0) continue;
        if (n->what == SETTLED) {
            settled[n->seq] = 1;
            continue;
        }
        again += handed[n->seq] != 0;
        if (!handed[n->seq]) {
            for (uint64_t before = 1; before < n->seq; before++) {
                if (lanes[before] != n->lane + 1 || settled[before]) continue;
                /* Not settled: then it was handed out in the same take, or failed, or its lease is over. */
                int is_together = 0;
                for (long j = 0; j < drain->counter && !is_together; j++) {
                    const note *m = &drain->notes[j];
                    is_together = m->what == HANDED && m->seq == before && m->who == n->who && m->batch == n->batch;
                }
                overtaken += !is_together;
            }
        }
        handed[n->seq] = 1;
    }
    uint64_t lost = 0;
    for (uint64_t seq = 1; seq <= count; seq++) lost += !settled[seq];
    CHECK_SAYING(lost == 0, "%llu lost", (unsigned long long)lost);
    CHECK_SAYING(overtaken == 0, "%llu overtaken", (unsigned long long)overtaken);
    printf("  %llu items in %d lanes, handed out again %llu times\n", (unsigned long long)count, LANES,
           (unsigned long long)again);
    CHECK(is_strict || again > 0);
    free(settled);
    free(handed);
    free(lanes);
}

static void drain_with(void (*drainer)(void *), int is_strict) {
    enum { PROCESSES = 4 };
    int count = test_number("PAWL_ITEMS", 600, 5000);
    prepare_drain();
    int who[PROCESSES];
    pid_t children[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        who[i] = i;
        children[i] = child_start(drainer, &who[i]);
    }
    IN_CHILD(produce, &count);
    for (int i = 0; i < PROCESSES; i++) CHILD_ENDS_WELL(children[i]);
    look_at_notes((uint64_t)count, is_strict);
    pawl_store *store = open_file(drain->path);
    CHECK(take(store, 10, 0, NULL) == 0);
    CHECK(damage_count(store) == 0);
    pawl_store_close(store);
}

static void four_processes_drain_one_outbox(void) { drain_with(drain_with_patience, 1); }
static void four_forgetful_processes_lose_nothing(void) { drain_with(drain_forgetfully, 0); }

/* Takers that are killed: what they held comes back when their leases end. */
static void killed_takers_lose_nothing(void) {
    int count = test_number("PAWL_ITEMS", 300, 2000), who = 0;
    prepare_drain();
    pid_t producer = child_start(produce, &count);
    uint64_t seed = (uint64_t)now_ns() | 1;
    int kills = test_number("PAWL_KILLS", 20, 200);
    for (int i = 0; i < kills; i++) {
        who = i;
        pid_t child = child_start(drain_forgetfully, &who);
        pause_ns((int64_t)(5 + chance(&seed) % 30) * MILLISECOND);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    CHILD_ENDS_WELL(producer);
    who = kills;
    IN_CHILD(drain_forgetfully, &who);
    look_at_notes((uint64_t)count, 0);
    pawl_store *store = open_file(drain->path);
    CHECK(take(store, 10, 0, NULL) == 0);
    CHECK(damage_count(store) == 0);
    pawl_store_close(store);
}

int main(void) {
    RUN(what_an_item_says);
    RUN(refusals);
    RUN(readable_while_something_can_be_taken);
    RUN(a_lease_is_quiet);
    RUN(only_promises_wait_for_the_disk);
    RUN(a_request_stays_until_it_is_answered);
    RUN(four_processes_drain_one_outbox);
    RUN(four_forgetful_processes_lose_nothing);
    RUN(killed_takers_lose_nothing);
    FINISH;
}
