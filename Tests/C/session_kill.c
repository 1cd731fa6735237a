/* SIGKILL at any moment of two accounts that talk. A child encrypts, sends, receives and sets sessions up, and writes
 * down in shared memory what it got; the parent kills it, opens both stores again and delivers what is left: no
 * index was used for two frames, what was sent is in the outbox, what was kept comes back, every message that left
 * arrives once, and a one-time key is used up exactly if its session is there. PAWL_KILLS says how often. */
#include "session_pair.h"

#define ENTRIES 3000
#define TEXTS 4000
#define ROOM 2048
#define START_MAX 3 /* sessions that one child starts; a peer may have 8 */

enum { FRESH, TRIED, RECEIVED };

/* A frame that left a store. */
typedef struct entry {
    int from; /* 0: alice, 1: bob */
    volatile int state;
    volatile int keeps; /* set before it is tried */
    int text;           /* what it said, once it was received */
    size_t size;
    uint8_t bytes[ROOM];
    uint8_t session[PAWL_SESSION_ID_SIZE]; /* the receiver's, once it was received */
    uint32_t index;
} entry;

enum { UNKNOWN, ENCRYPTED, SENT };

static struct shared {
    volatile int entries, texts; /* counted when they are complete */
    entry all[ENTRIES];
    volatile int fate[TEXTS];
    volatile int arrived[TEXTS];
    uint8_t session[PAWL_SESSION_ID_SIZE]; /* alice's newest */
    volatile int is_joined;                /* bob has it */
    uint8_t package[PAWL_PACKAGE_ID_SIZE]; /* it was started from */
    volatile int starts;
    volatile long calls;
} *shared;

static side sides[2];

static void bob_session(uint8_t id[PAWL_SESSION_ID_SIZE]) {
    memcpy(id, shared->session, PAWL_SESSION_ID_SIZE);
    id[PAWL_SESSION_ID_SIZE - 1] |= 1;
}

static void open_both(void) {
    for (int i = 0; i < 2; i++) side_open(sides + i);
}
static void close_both(void) {
    for (int i = 0; i < 2; i++) side_close(sides + i);
}

/* ---------------------------------------------------------------- the child */

static void enter(int from, const void *bytes, size_t size) {
    NEED(shared->entries < ENTRIES && size <= ROOM);
    entry *e = shared->all + shared->entries;
    memset(e, 0, sizeof *e);
    e->from = from;
    e->size = size;
    e->text = -1;
    memcpy(e->bytes, bytes, size);
    __sync_synchronize();
    shared->entries++;
}

/* A session that another has taken the place of is left to the next call. */
static void speak(int from, int sends) {
    uint8_t id[PAWL_SESSION_ID_SIZE], bytes[FRAME_ROOM];
    memcpy(id, shared->session, sizeof id);
    if (from == 1) bob_session(id);
    if (from == 1 && !shared->is_joined) return;
    if (shared->texts == TEXTS || shared->entries == ENTRIES) return;
    int number = shared->texts++;
    char text[32];
    size_t size = 0, text_size = (size_t)snprintf(text, sizeof text, "text %d", number);
    pawl_store *store = sides[from].store;
    pawl_status status = sends ? pawl_session_send(store, id, text, text_size, NULL)
                               : pawl_session_encrypt(store, id, text, text_size, bytes, sizeof bytes, &size);
    if (status == PAWL_STATE_RECEIVE_ONLY) return;
    MUST(status);
    if (!sends) enter(from, bytes, size);
    shared->fate[number] = sends ? SENT : ENCRYPTED;
}

static void collect(int from) {
    pawl_view *view = NULL;
    if (shared->entries > ENTRIES - 10) return;
    MUST(pawl_outbox_take(sides[from].store, 5, 1, &view)); /* a lease that a dead child does not hold on to */
    for (size_t row = 0; row < pawl_view_count(view); row++) {
        pawl_item item = PAWL_INIT(pawl_item);
        MUST(pawl_view_item(view, row, &item));
        if (item.kind == PAWL_ITEM_FRAME) enter(from, item.body, item.body_size);
        MUST(pawl_outbox_ack(sides[from].store, &item.seq, 1));
    }
    pawl_view_close(view);
}

/* What a delivery gave. `before` is the frame's state when it was tried. */
static void note(entry *e, const pawl_delivery *d, int before) {
    int number = -1;
    char text[ROOM + 1] = "";
    if (e->bytes[1] >= 3) { /* that a session is closed, which the other side may have done itself */
        CHECK(d->status == PAWL_OK || d->status == PAWL_REPLAY || d->status == PAWL_NOT_FOUND);
        e->state = RECEIVED;
        e->keeps = 0;
        return;
    }
    switch (d->status) {
    case PAWL_OK:
        memcpy(text, d->out, d->out_len);
        NEED(sscanf(text, "text %d", &number) == 1 && number >= 0 && number < TEXTS);
        if (d->received_flags & PAWL_RECEIVED_AGAIN) {
            CHECK(before == RECEIVED ? e->text == number : e->keeps);
        } else {
            CHECK_SAYING(before != RECEIVED, "\"%s\" was accepted twice", text);
            CHECK_SAYING(shared->arrived[number] == 0, "\"%s\" came in two frames", text);
        }
        if (before != RECEIVED) shared->arrived[number]++;
        e->text = number;
        e->index = d->index;
        memcpy(e->session, d->session, sizeof e->session);
        if (memcmp(d->session, shared->session, 15) == 0 && e->from == 0) shared->is_joined = 1;
        __sync_synchronize();
        e->state = RECEIVED;
        break;
    case PAWL_REPLAY: /* read and not kept, or its text went down with a child */
        CHECK_SAYING(before != FRESH && !e->keeps, "index %u is a replay, and was %s", frame_index(e->bytes),
                     e->keeps ? "to be kept" : "never received");
        break;
    default: test_fault(__FILE__, __LINE__, "a frame is refused: %s", pawl_status_name(d->status));
    }
}

/* An item that was taken and not acknowledged is handed out again: the same bytes in two entries. */
static entry *twin_of(entry *e) {
    for (entry *other = shared->all; other < e; other++) {
        if (other->size != e->size || other->from != e->from) continue;
        if (memcmp(other->bytes, e->bytes, e->size) == 0) return other;
    }
    return NULL;
}

static void deliver(entry **which, int count, int many) {
    static uint8_t out[8][ROOM];
    pawl_delivery d[8];
    int before[8], to = 1 - which[0]->from;
    for (int i = 0; i < count; i++) {
        d[i] = (pawl_delivery)PAWL_INIT(pawl_delivery);
        d[i].flags = which[i]->keeps ? PAWL_RECEIVE_KEEP : 0;
        d[i].frame = which[i]->bytes;
        d[i].frame_size = which[i]->size;
        d[i].out = out[i];
        d[i].out_size = ROOM;
        before[i] = which[i]->state;
        if (before[i] == FRESH) which[i]->state = TRIED;
    }
    if (many) {
        MUST(pawl_account_receive_many(sides[to].store, sides[to].account, d, (size_t)count));
    } else {
        pawl_frame in = PAWL_INIT(pawl_frame);
        pawl_received received = PAWL_INIT(pawl_received);
        in.flags = d->flags;
        in.bytes = d->frame;
        in.size = d->frame_size;
        d->status = pawl_account_receive(sides[to].store, sides[to].account, &in, d->out, ROOM, &d->out_len, &received);
        d->received_flags = received.flags;
        d->index = received.index;
        memcpy(d->session, received.session, sizeof d->session);
    }
    for (int i = 0; i < count; i++) note(which[i], d + i, before[i]);
}

static void hear(uint64_t *seed, int many) {
    entry *which[8];
    int count = 0, entries = shared->entries, first = entries > 0 ? (int)(chance(seed) % (uint64_t)entries) : 0;
    for (int i = 0; i < entries && count < (many ? 8 : 1); i++) {
        entry *e = shared->all + (first + i) % entries;
        if (e->state != FRESH || (count > 0 && e->from != which[0]->from) || twin_of(e) != NULL) continue;
        e->keeps = chance(seed) % 2 == 0;
        which[count++] = e;
    }
    if (count > 0) deliver(which, count, many);
}

static void start(void) {
    uint8_t bundle[2 * PAWL_PACKAGE_SIZE_MAX];
    if (shared->starts == START_MAX) return;
    side alice = sides[0];
    size_t size = bundle_of(sides + 1, 1, bundle);
    shared->starts++;
    MUST(start_with(&alice, sides + 1, bundle, size));
    shared->is_joined = 0;
    __sync_synchronize();
    memcpy(shared->package, bundle + 2, sizeof shared->package);
    memcpy(shared->session, alice.session, sizeof shared->session);
}

static void talk_until_killed(uint64_t seed) {
    open_both();
    for (;;) {
        unsigned dice = (unsigned)(chance(&seed) % 64);
        int who = (int)(chance(&seed) % 2);
        if (dice < 20) speak(who, 0);
        else if (dice < 28) speak(who, 1);
        else if (dice < 36) collect(who);
        else if (dice < 52) hear(&seed, 0);
        else if (dice < 62) hear(&seed, 1);
        else start();
        if (test_faults > 0) _exit(1);
        shared->calls++;
    }
}

/* ---------------------------------------------------------------- the parent */

/* Every frame ever seen: who sent it, in which session and with which index. */
#define SEEN (1 << 20)
static struct seen {
    int is_taken, from;
    uint8_t half[8], nonce[24];
    uint32_t index;
} *seen;

static int is_first_of_its_index(const entry *e) {
    uint64_t hash = 0;
    memcpy(&hash, e->bytes + 2, 8);
    hash = (hash ^ (frame_index(e->bytes) * 2654435761u) ^ (uint64_t)e->from) * 0x9E3779B97F4A7C15u;
    for (uint64_t at = hash >> 44;; at = (at + 1) % SEEN) {
        struct seen *s = seen + at;
        if (!s->is_taken) {
            s->is_taken = 1;
            s->from = e->from;
            s->index = frame_index(e->bytes);
            memcpy(s->half, e->bytes + 2, 8);
            memcpy(s->nonce, frame_nonce(e->bytes), 24);
            return 1;
        }
        if (s->from == e->from && s->index == frame_index(e->bytes) && memcmp(s->half, e->bytes + 2, 8) == 0) {
            return memcmp(s->nonce, frame_nonce(e->bytes), 24) == 0;
        }
    }
}

static struct {
    long kills, calls, frames, again, lost, starts, kept;
} counts;

static int has_session(side *s, const uint8_t id[PAWL_SESSION_ID_SIZE]) {
    pawl_view *view = NULL;
    pawl_status status = pawl_session_get(s->store, id, &view);
    pawl_view_close(view);
    if (status != PAWL_NOT_FOUND) OK(status);
    return status == PAWL_OK;
}

/* The one-time key of the newest session is gone exactly if bob has the session; packages of others are deleted. */
static void check_packages(int deletes) {
    pawl_view *view = NULL;
    uint8_t id[PAWL_SESSION_ID_SIZE];
    bob_session(id);
    MUST(pawl_package_list(sides[1].store, sides[1].account, &view));
    for (size_t row = 0; row < pawl_view_count(view); row++) {
        pawl_package package = PAWL_INIT(pawl_package);
        MUST(pawl_view_package(view, row, &package));
        if (memcmp(package.id, shared->package, sizeof package.id) == 0) {
            CHECK((package.one_time_count == 0) == has_session(sides + 1, id));
        } else if (deletes) {
            MUST(pawl_package_delete(sides[1].store, sides[1].account, package.id));
        }
    }
    pawl_view_close(view);
}

static int is_kept(side *s, const entry *e) {
    pawl_view *view = NULL;
    int found = 0;
    char want[32];
    size_t size = (size_t)snprintf(want, sizeof want, "text %d", e->text);
    MUST(pawl_session_kept(s->store, e->session, 10000, &view));
    for (size_t row = 0; row < pawl_view_count(view) && !found; row++) {
        pawl_kept kept = PAWL_INIT(pawl_kept);
        MUST(pawl_view_kept(view, row, &kept));
        found = kept.index == e->index && kept.plaintext_size == size && memcmp(kept.plaintext, want, size) == 0;
    }
    pawl_view_close(view);
    return found;
}

static void close_others(void) {
    uint8_t newest[2][PAWL_SESSION_ID_SIZE];
    memcpy(newest[0], shared->session, sizeof newest[0]);
    bob_session(newest[1]);
    for (int i = 0; i < 2; i++) {
        pawl_view *view = NULL;
        const char *peer = sides[1 - i].name;
        MUST(pawl_session_list(sides[i].store, sides[i].account, peer, strlen(peer), &view));
        for (size_t row = 0; row < pawl_view_count(view); row++) {
            pawl_session session = PAWL_INIT(pawl_session);
            MUST(pawl_view_session(view, row, &session));
            if (memcmp(session.id, newest[i], sizeof session.id) == 0) continue;
            MUST(pawl_session_close(sides[i].store, session.id));
        }
        pawl_view_close(view);
    }
}

static void look(void) {
    open_both();
    check_packages(0);
    for (int i = 0; i < 2; i++) {
        pawl_view *view = NULL;
        do { /* what is left in the outbox */
            pawl_view_close(view);
            MUST(pawl_outbox_take(sides[i].store, 100, 1, &view));
            for (size_t row = 0; row < pawl_view_count(view); row++) {
                pawl_item item = PAWL_INIT(pawl_item);
                MUST(pawl_view_item(view, row, &item));
                CHECK_SAYING(item.kind == PAWL_ITEM_FRAME, "event %u", item.what);
                if (item.kind == PAWL_ITEM_FRAME) enter(i, item.body, item.body_size);
                MUST(pawl_outbox_ack(sides[i].store, &item.seq, 1));
            }
        } while (pawl_view_count(view) > 0);
        pawl_view_close(view);
    }
    for (int i = 0; i < shared->entries; i++) {
        entry *e = shared->all + i, *twin = twin_of(e);
        CHECK_SAYING(is_first_of_its_index(e), "index %u was used for two frames", frame_index(e->bytes));
        if (twin != NULL) { /* stands for it */
            CHECK(e->state == FRESH);
            e->state = twin->state;
            e->keeps = twin->keeps;
            e->text = twin->text;
            continue;
        }
        if (e->state == RECEIVED && e->keeps) {
            CHECK_SAYING(is_kept(sides + 1 - e->from, e), "\"text %d\" was kept and is gone", e->text);
            counts.kept++;
        }
        int before = e->state;
        deliver(&e, 1, 0);
        counts.again += before != FRESH && e->state == RECEIVED;
        counts.lost += e->state == TRIED;
        deliver(&e, 1, 0); /* never twice */
        if (e->state == RECEIVED && e->keeps) {
            side *to = sides + 1 - e->from;
            MUST(pawl_session_forget(to->store, e->session, 0, e->index));
            e->keeps = 0;
            deliver(&e, 1, 0);
        }
    }
    int unknown = 0;
    for (int i = 0; i < shared->entries; i++) unknown += shared->all[i].state == TRIED;
    int missing = 0;
    for (int i = 0; i < shared->texts; i++) {
        CHECK_SAYING(shared->arrived[i] <= 1, "\"text %d\" arrived %d times", i, shared->arrived[i]);
        missing += shared->fate[i] != UNKNOWN && shared->arrived[i] == 0;
    }
    /* Received without KEEP when the child died: at most the frames of that one call. */
    CHECK_SAYING(missing <= unknown, "%d messages that left never arrived, %d may be", missing, unknown);
    CHECK(unknown <= 8);
    close_others();
    check_packages(1);
    uint8_t id[PAWL_SESSION_ID_SIZE];
    bob_session(id);
    shared->is_joined = has_session(sides + 1, id);
    for (int i = 0; i < 2; i++) CHECK(damage_count(sides[i].store) == 0);
    close_both();
    counts.frames += shared->entries;
    counts.calls += shared->calls;
    counts.starts += shared->starts;
    shared->entries = shared->texts = shared->starts = 0;
    shared->calls = 0;
    memset((void *)shared->fate, 0, sizeof shared->fate);
    memset((void *)shared->arrived, 0, sizeof shared->arrived);
}

static void killed_while_talking(void) {
    int kills = test_number("PAWL_KILLS", 30, 1000);
    uint64_t seed = (uint64_t)time(NULL) * 2654435761u | 1;
    printf("  seed %llu\n", (unsigned long long)seed);
    for (int i = 0; i < 2; i++) side_make(sides + i, i == 0 ? "alice" : "bob");
    start();
    close_both();
    for (int i = 0; i < kills && test_faults == 0; i++) {
        fflush(NULL);
        pid_t child = fork();
        NEED(child >= 0);
        if (child == 0) {
            test_faults = 0;
            talk_until_killed(seed);
            _exit(1);
        }
        pause_ns((int64_t)(chance(&seed) % 200000000)); /* opening included */
        kill(child, SIGKILL);
        int status = 0;
        NEED(waitpid(child, &status, 0) == child);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        counts.kills++;
        look();
    }
    printf("  %ld kills, %ld calls, %ld frames, %ld sessions; %ld kept, %ld read again, %ld lost with a child\n",
           counts.kills, counts.calls, counts.frames, counts.starts, counts.kept, counts.again, counts.lost);
    CHECK(counts.frames > kills && counts.starts > kills / 10 && counts.kept > 0);
}

int main(void) {
    test_path("");
    shared = shared_memory(sizeof *shared);
    seen = calloc(SEEN, sizeof *seen);
    RUN(killed_while_talking);
    free(seen);
    FINISH;
}
