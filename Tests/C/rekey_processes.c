/* Rekeying between two processes, each with a store of its own, over a link that loses, repeats and reorders: whoever
 * begins, however far apart, and whoever is killed meanwhile, both come to the same epoch, say so to all who wait, and
 * then read each other, in order. PAWL_ROUNDS and PAWL_KILLS say how often, PAWL_SEED by which dice. */
#include "session_pair.h"

#include <poll.h>
#include <sys/socket.h>

#define MILLISECOND INT64_C(1000000)
#define PATIENCE (30 * SECOND) /* a round takes 8 repetitions that long */
#define AT_ONCE SECOND         /* on a busy machine */
#define PAYLOADS 3             /* each way after each round */
#define WAITERS 4              /* a thread and another process at each side */
#define HELD 8

/* What the conductor says, and what the processes tell. Of two: 0 is alice, 1 is bob. */
static struct shared {
    volatile int over;
    volatile int is_bad;         /* the link is */
    volatile int round, talk;    /* the last that was called for */
    volatile uint32_t wanted;    /* whom to wait for in this round */
    volatile int64_t asks_at[2]; /* 0: not in this round */
    volatile int closes;         /* alice does */

    volatile uint32_t promised[2], epoch[2], target[2], told[2];
    volatile int64_t reached_at[2];
    volatile int said[2], heard[2];

    volatile int waits[WAITERS], waited[WAITERS]; /* for which round */
    volatile pawl_status answer[WAITERS];
    volatile int64_t woken_at[WAITERS];

    volatile long crossed, retried, lost, missed, repeated, replayed;
} *shared;

static side sides[2];
static int links[2];
static pid_t children[4];
static uint64_t dice;

/* ---------------------------------------------------------------- a link */

/* Frames that this process delivers later. */
static struct held {
    int64_t at;
    frame f;
} held[HELD];

static void deliver(int who, const frame *f) {
    NEED(send(links[who], f->bytes, f->size, 0) == (ssize_t)f->size);
}

static void release(int who) {
    for (int i = 0; i < HELD; i++) {
        if (held[i].at == 0 || held[i].at > monotonic_ns()) continue;
        deliver(who, &held[i].f);
        held[i].at = 0;
    }
}

static void hold(const frame *f) {
    for (int i = 0; i < HELD; i++) {
        if (held[i].at != 0) continue;
        held[i].f = *f;
        held[i].at = monotonic_ns() + (int64_t)(chance(&dice) % 20) * MILLISECOND;
        return;
    }
    __sync_fetch_and_add(&shared->lost, 1);
}

/* Of sixteen frames one is lost, one comes twice, and two come after those that follow. */
static void over_the_link(int who, const void *bytes, size_t size) {
    frame f = {.size = size};
    NEED(size <= sizeof f.bytes);
    memcpy(f.bytes, bytes, size);
    switch (shared->is_bad ? chance(&dice) % 16 : 15) {
    case 0: __sync_fetch_and_add(&shared->lost, 1); return;
    case 1:
        __sync_fetch_and_add(&shared->repeated, 1);
        deliver(who, &f);
        hold(&f);
        return;
    case 2:
    case 3: hold(&f); return;
    default: deliver(who, &f);
    }
}

/* ---------------------------------------------------------------- a side's process */

static void count_step(void *context, const pawl_step *step) {
    (void)context;
    if (step->event == PAWL_STEP_LEADS) __sync_fetch_and_add(&shared->crossed, 1);
    if (step->event == PAWL_STEP_RETRIED) __sync_fetch_and_add(&shared->retried, 1);
}

static void say(int who, const char *text) {
    MUST(pawl_session_send(sides[who].store, sides[who].session, text, strlen(text), NULL));
}

static void send_what_is_due(int who) {
    size_t ran = 0, count = 0;
    do {
        pawl_view *view = NULL;
        MUST(pawl_store_run_due(sides[who].store, 100, &ran, NULL));
        MUST(pawl_outbox_take(sides[who].store, 100, 100 * MILLISECOND, &view));
        count = pawl_view_count(view);
        for (size_t row = 0; row < count; row++) {
            pawl_item item = PAWL_INIT(pawl_item);
            MUST(pawl_view_item(view, row, &item));
            if (item.kind == PAWL_ITEM_FRAME) {
                over_the_link(who, item.body, item.body_size);
            } else if (item.what == PAWL_EVENT_EPOCH) {
                shared->told[who] = (uint32_t)item.count;
            } else if (item.what == PAWL_EVENT_LOST) {
                __sync_fetch_and_add(&shared->missed, (long)item.count);
            } else {
                CHECK_SAYING(item.what == PAWL_EVENT_SESSION_CLOSED && shared->closes, "event %u", item.what);
            }
            MUST(pawl_outbox_ack(sides[who].store, &item.seq, 1));
        }
        pawl_view_close(view);
    } while (ran + count > 0);
}

static void receive_what_came(int who) {
    frame f;
    char text[FRAME_ROOM], want[FRAME_ROOM];
    for (;;) {
        ssize_t size = recv(links[who], f.bytes, sizeof f.bytes, MSG_DONTWAIT);
        if (size < 0) return;
        f.size = (size_t)size;
        pawl_status status = receive(&sides[who], &f, 0, text, NULL);
        if (status == PAWL_REPLAY) {
            __sync_fetch_and_add(&shared->replayed, 1);
        } else if (OK(status) && text[0] != 0 && strcmp(text, "meanwhile") != 0) {
            snprintf(want, sizeof want, "payload %d", ++shared->heard[who]);
            CHECK_SAYING(strcmp(text, want) == 0, "\"%s\" instead of \"%s\"", text, want);
        }
    }
}

static void look(int who) {
    pawl_view *view = NULL;
    pawl_session row = PAWL_INIT(pawl_session);
    pawl_status status = pawl_session_get(sides[who].store, sides[who].session, &view);
    if (status == PAWL_NOT_FOUND && shared->closes) return;
    MUST(status);
    MUST(pawl_view_session(view, 0, &row));
    pawl_view_close(view);
    if (shared->epoch[who] < shared->wanted && row.epoch >= shared->wanted) shared->reached_at[who] = monotonic_ns();
    shared->epoch[who] = row.epoch;
    shared->target[who] = row.target;
}

/* Each round it is asked once, also of one who was killed before he answered. */
static void obey(int who) {
    int64_t at = shared->asks_at[who];
    if (at != 0 && at <= monotonic_ns()) {
        uint32_t epoch = 0;
        say(who, "meanwhile");
        MUST(pawl_session_rekey(sides[who].store, sides[who].session, 0, &epoch));
        shared->promised[who] = epoch;
        shared->asks_at[who] = 0;
    }
    while (shared->said[who] < shared->talk) {
        char text[32];
        snprintf(text, sizeof text, "payload %d", shared->said[who] + 1);
        say(who, text);
        shared->said[who]++;
    }
    if (shared->closes == 1 && who == 0) {
        MUST(pawl_session_close(sides[who].store, sides[who].session));
        shared->closes = 2;
    }
}

/* In each round, until it has the epoch that is wanted; and once more, for what has happened. */
static void wait_for_rounds(pawl_store *store, int slot) {
    while (!shared->over) {
        int round = shared->round;
        if (shared->waited[slot] == round) {
            pause_ns(MILLISECOND / 5);
            continue;
        }
        const uint8_t *id = sides[slot % 2].session;
        uint32_t reached = 0, again = 0, wanted = shared->wanted;
        shared->waits[slot] = round;
        pawl_status status = pawl_session_wait(store, id, wanted, 2 * PATIENCE, &reached);
        shared->woken_at[slot] = monotonic_ns();
        shared->answer[slot] = status;
        if (status == PAWL_OK) {
            CHECK_SAYING(reached >= wanted, "epoch %u instead of %u", reached, wanted);
            OK(pawl_session_wait(store, id, wanted, 0, &again));
            CHECK(again >= reached);
            ANSWERS(PAWL_BUSY_WAITING, pawl_session_wait(store, id, wanted + 1000, 0, NULL));
        }
        __sync_synchronize();
        shared->waited[slot] = round;
    }
}

static void *wait_beside(void *context) {
    int who = *(int *)context;
    wait_for_rounds(sides[who].store, who);
    return NULL;
}

static void as_side(void *context) {
    int who = *(int *)context;
    pthread_t waiter;
    pawl_trace trace = PAWL_INIT(pawl_trace);
    trace.step = count_step;
    dice ^= (uint64_t)getpid() << 20; /* who is born again does not do the same again */
    side_open(&sides[who]);
    MUST(pawl_store_trace(sides[who].store, &trace));
    int32_t fd = -1;
    MUST(pawl_store_fd(sides[who].store, &fd));
    NEED(pthread_create(&waiter, NULL, wait_beside, context) == 0);
    while (!shared->over && test_faults == 0) {
        obey(who);
        send_what_is_due(who);
        release(who);
        receive_what_came(who);
        look(who);
        struct pollfd at[2] = {{fd, POLLIN, 0}, {links[who], POLLIN, 0}};
        poll(at, 2, 1);
    }
    if (test_faults > 0) _exit(1);
    pthread_join(waiter, NULL);
    side_close(&sides[who]);
}

static void as_waiter(void *context) {
    int slot = *(int *)context;
    pawl_store *store = open_with_clock(sides[slot % 2].path, NULL);
    wait_for_rounds(store, slot);
    pawl_store_close(store);
}

/* ---------------------------------------------------------------- the conductor */

static int numbers[WAITERS] = {0, 1, 2, 3};

static void begin(void) {
    int ends[2];
    memset(shared, 0, sizeof *shared);
    pair_make(&sides[0], &sides[1]);
    for (int i = 0; i < 2; i++) side_close(&sides[i]);
    NEED(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) == 0);
    for (int i = 0; i < 2; i++) links[i] = ends[i];
    for (int i = 0; i < WAITERS; i++) children[i] = child_start(i < 2 ? as_side : as_waiter, &numbers[i]);
}

/* Waits for what the others do; ends the case if one of them is gone, or it takes too long. */
#define AWAIT(condition) \
    do { \
        int64_t end = monotonic_ns() + PATIENCE; \
        while (!(condition)) await(monotonic_ns() < end, #condition, __LINE__); \
    } while (0)
static void await(int in_time, const char *what, int line) {
    for (int i = 0; i < WAITERS; i++) {
        siginfo_t ended = {.si_pid = 0};
        NEED(waitid(P_PID, (id_t)children[i], &ended, WEXITED | WNOHANG | WNOWAIT) == 0);
        if (ended.si_pid != 0) in_time = 0;
    }
    pause_ns(MILLISECOND / 5);
    if (in_time) return;
    test_fault(__FILE__, line, "never in round %d: %s", shared->round, what);
    for (int i = 0; i < 2; i++) {
        fprintf(stderr, "  %s: epoch %u, under way %u, promised %u, told %u, heard %d; waited for %d and %d\n",
                sides[i].name, shared->epoch[i], shared->target[i], shared->promised[i], shared->told[i],
                shared->heard[i], shared->waited[i], shared->waited[i + 2]);
    }
    for (int i = 0; i < WAITERS; i++) {
        kill(children[i], SIGKILL);
        waitpid(children[i], NULL, 0);
    }
    test_give_up();
}

static int is_quiet(int who) {
    return shared->asks_at[who] == 0 && shared->target[who] == 0 && shared->epoch[who] >= shared->wanted &&
           shared->epoch[who] >= shared->promised[who] && shared->told[who] >= shared->promised[who];
}

static int all_waited(const volatile int *rounds) {
    for (int i = 0; i < WAITERS; i++) {
        if (rounds[i] != shared->round) return 0;
    }
    return 1;
}

/* Calls for a round and a wait for it. */
static void call(uint32_t wanted) {
    shared->wanted = wanted;
    __sync_synchronize();
    shared->round++;
    AWAIT(all_waited(shared->waits));
}

/* Alice asks after these many nanoseconds and bob after those; negative: not. */
static void start_round(int64_t alice, int64_t bob) {
    CHECK(shared->epoch[0] == shared->epoch[1]);
    call(shared->epoch[0] + 1);
    shared->is_bad = 1;
    int64_t now = monotonic_ns();
    if (alice >= 0) shared->asks_at[0] = now + alice;
    if (bob >= 0) shared->asks_at[1] = now + bob;
}

static void end_round(int is_whole) {
    AWAIT(is_quiet(0) && is_quiet(1) && shared->epoch[0] == shared->epoch[1]);
    /* Who is killed between a commit and its ring leaves the ring to the next who sends. */
    if (is_whole) AWAIT(all_waited(shared->waited));
    shared->is_bad = 0;
    shared->talk += PAYLOADS;
    AWAIT(shared->heard[0] == shared->talk && shared->heard[1] == shared->talk);
    AWAIT(all_waited(shared->waited));
    for (int i = 0; i < WAITERS; i++) {
        OK(shared->answer[i]);
        int64_t late = shared->woken_at[i] - shared->reached_at[i % 2];
        CHECK_SAYING(!is_whole || late < AT_ONCE, "waiter %d comes %.3f s late", i, (double)late / 1e9);
    }
}

static void end_all(void) {
    shared->over = 1;
    for (int i = 0; i < WAITERS; i++) CHILD_ENDS_WELL(children[i]);
    for (int i = 0; i < 2; i++) close(links[i]);
}

/* What the files say when all have gone. */
static void check_files(const char *what, int64_t since) {
    uint32_t epochs[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        pawl_view *view = NULL;
        pawl_session row = PAWL_INIT(pawl_session);
        side_open(&sides[i]);
        MUST(pawl_session_get(sides[i].store, sides[i].session, &view));
        MUST(pawl_view_session(view, 0, &row));
        pawl_view_close(view);
        epochs[i] = row.epoch;
        CHECK(row.target == 0);
        CHECK(damage_count(sides[i].store) == 0);
    }
    CHECK_SAYING(epochs[0] == epochs[1], "epochs %u and %u", epochs[0], epochs[1]);
    PASSES(&sides[0], &sides[1], "at the end");
    PASSES(&sides[1], &sides[0], "at the end");
    for (int i = 0; i < 2; i++) side_close(&sides[i]);
    printf("  %d %s in %.1f s: %u epochs, %ld crossed, %ld retries, %ld frames lost, %ld came twice\n", shared->round,
           what, (double)(monotonic_ns() - since) / 1e9, epochs[0], shared->crossed, shared->retried, shared->lost,
           shared->repeated);
}

/* Nothing was refused that had not come before, and no more is missed than was lost. */
static void check_link(void) {
    CHECK_SAYING(shared->replayed <= shared->repeated, "%ld replays, %ld repeated", shared->replayed, shared->repeated);
    CHECK_SAYING(shared->missed <= shared->lost, "%ld missed, %ld lost", shared->missed, shared->lost);
}

/* ---------------------------------------------------------------- cases */

static int64_t jitter(void) { return (int64_t)(chance(&dice) % (uint64_t)MILLISECOND); }

static void both_at_once(void) {
    static const int64_t lags[5] = {0, 1, 10, 100, 500}, shares[5] = {30, 30, 25, 10, 5}; /* of a hundred */
    int rounds = test_number("PAWL_ROUNDS", 20, 100);
    int64_t since = monotonic_ns();
    begin();
    for (int i = 0; i < rounds; i++) {
        int64_t lag = 0;
        for (int64_t at = 0, j = 0; j < 5 && at * rounds <= i * INT64_C(100); at += shares[j++]) lag = lags[j];
        int64_t late = lag * MILLISECOND + jitter();
        if (chance(&dice) % 2 == 0) start_round(0, late);
        else start_round(late, 0);
        end_round(1);
    }
    end_all();
    CHECK(shared->crossed > 0);
    CHECK(shared->lost > 0 && shared->repeated > 0);
    check_link();
    check_files("rounds", since);
}

static void one_at_a_time(void) {
    int rounds = test_number("PAWL_ROUNDS", 20, 100) / 2;
    int64_t since = monotonic_ns();
    begin();
    for (int i = 0; i < rounds; i++) {
        if (i % 2 == 0) start_round(jitter(), -1);
        else start_round(-1, jitter());
        end_round(1);
        CHECK_SAYING(shared->epoch[0] == (uint32_t)i + 1, "epoch %u after %d rounds", shared->epoch[0], i + 1);
    }
    end_all();
    CHECK(shared->crossed == 0);
    check_link();
    check_files("rounds", since);
}

static void killed_between(void) {
    int kills = test_number("PAWL_KILLS", 20, 200);
    int64_t since = monotonic_ns();
    long amid = 0;
    begin();
    for (int i = 0; i < kills; i++) {
        int who = (int)(chance(&dice) % 2), status = 0;
        start_round(jitter(), i % 3 == 0 ? -1 : jitter());
        pause_ns((int64_t)(chance(&dice) % 10) * MILLISECOND + jitter());
        kill(children[who], SIGKILL);
        NEED(waitpid(children[who], &status, 0) == children[who]);
        amid += shared->epoch[0] != shared->wanted || shared->epoch[1] != shared->wanted;
        children[who] = child_start(as_side, &numbers[who]);
        CHECK(WIFSIGNALED(status)); /* and had found no fault */
        end_round(0);
    }
    end_all();
    CHECK_SAYING(amid * 3 > kills, "only %ld of %d kills came amid a round", amid, kills);
    check_files("kills", since);
    printf("  %ld came amid a round\n", amid);
}

static void closing_wakes(void) {
    begin();
    call(1000);
    shared->closes = 1;
    AWAIT(all_waited(shared->waited));
    for (int i = 0; i < WAITERS; i++) ANSWERS(PAWL_CLOSED_SESSION, shared->answer[i]);
    end_all();
}

int main(void) {
    test_path("");
    shared = shared_memory(sizeof *shared);
    int seed = test_number("PAWL_SEED", (int)time(NULL), (int)time(NULL));
    dice = (uint64_t)seed * 2654435761u | 1;
    printf("  seed %d\n", seed);
    RUN(both_at_once);
    RUN(one_at_a_time);
    RUN(killed_between);
    RUN(closing_wakes);
    FINISH;
}
