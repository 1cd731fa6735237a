/* History: what an account said and heard opens again, after its sessions are gone and its store was closed, and for
 * nobody who did not ask for it. */
#include "session_pair.h"

#define STORED_MAX 400

/* What a host has stored: frames, who sent them, and what they said; NULL: nothing. */
typedef struct stored {
    int from;
    char *text;
    frame f;
} stored;

static stored *all;
static int count;
static int64_t now_ns;
static pawl_clock test_clock;
static side sides[2];

static void side_begin(int who, const char *name, uint32_t keeps) {
    side *s = sides + who;
    memset(s, 0, sizeof *s);
    s->name = name;
    snprintf(s->path, sizeof s->path, "%s", fresh_path());
    s->store = open_with_clock(s->path, &test_clock);
    MUST(pawl_account_create(s->store, name, strlen(name), s->account));
    if (keeps) MUST(pawl_history_enable(s->store, s->account, 1));
}

static void begin(uint32_t keeps) {
    now_ns = INT64_C(1700000000) * SECOND;
    count = 0;
    side_begin(0, "alice", keeps);
    side_begin(1, "bob", keeps);
}

static void end(void) {
    for (int who = 0; who < 2; who++) side_close(sides + who);
    while (count > 0) free(all[--count].text);
}

/* ---------------------------------------------------------------- a conversation */

static int drainer;

static void carry(void *unused, const pawl_item *item) {
    (void)unused;
    if (item->kind != PAWL_ITEM_FRAME) return;
    NEED(count < STORED_MAX && item->body_size <= sizeof all->f.bytes);
    stored *s = all + count++;
    s->from = drainer;
    s->text = NULL;
    s->f.size = item->body_size;
    memcpy(s->f.bytes, item->body, item->body_size);
    char text[FRAME_ROOM];
    pawl_received received = PAWL_INIT(pawl_received);
    MUST(receive(sides + !drainer, &s->f, 0, text, &received));
    if (received.flags & PAWL_RECEIVED_NEW_SESSION) memcpy(sides[!drainer].session, received.session, 16);
    if (!(received.flags & PAWL_RECEIVED_EMPTY)) NEED((s->text = strdup(text)) != NULL);
}

static void deliver(void) {
    size_t some;
    do {
        some = 0;
        for (drainer = 0; drainer < 2; drainer++) some += drain(sides[drainer].store, carry, NULL);
    } while (some > 0);
}

static void say(int who, const char *text) {
    MUST(pawl_session_send(sides[who].store, sides[who].session, text, strlen(text), NULL));
}

/* Both ways in `epochs` epochs; frames of the first alone carry a welcome. */
static void talk(int epochs, int is_perfect) {
    uint8_t bundle[2 * PAWL_PACKAGE_SIZE_MAX];
    MUST(start_with(sides, sides + 1, bundle, bundle_of(sides + 1, 1, bundle)));
    say(0, "hello");
    deliver();
    pawl_rekey_limits limits = PAWL_INIT(pawl_rekey_limits);
    limits.flags = is_perfect ? PAWL_LIMITS_PERFECT : 0;
    for (int who = 0; who < 2; who++) {
        MUST(pawl_session_set_limits(sides[who].store, sides[who].session, &limits));
    }
    for (int number = 0; number < epochs; number++) {
        uint32_t epoch;
        if (!is_perfect) {
            MUST(pawl_session_rekey(sides[number % 2].store, sides[number % 2].session, 0, &epoch));
            deliver();
        }
        char text[64];
        for (int i = 0; i < 6; i++) {
            snprintf(text, sizeof text, "%s, %d of %d", sides[i % 2].name, i, number);
            say(i % 2, text);
        }
        deliver();
    }
}

/* ---------------------------------------------------------------- reading */

static pawl_status open_again(const side *s, const void *bytes, size_t size, char text[FRAME_ROOM],
                              pawl_history_message *message) {
    size_t length = 0;
    pawl_status status = pawl_history_decrypt(s->store, s->account, bytes, size, (uint8_t *)text, FRAME_ROOM - 1,
                                              &length, message);
    text[length] = 0;
    return status;
}

/* Whether all that was stored opens at a side as what it was. */
#define ALL_OPENS(who) all_opens(__LINE__, (who))
static void all_opens(int line, int who) {
    for (int i = 0; i < count; i++) {
        char text[FRAME_ROOM];
        pawl_history_message message = PAWL_INIT(pawl_history_message);
        pawl_status status = open_again(sides + who, all[i].f.bytes, all[i].f.size, text, &message);
        int is_right = status == PAWL_OK && strcmp(text, all[i].text == NULL ? "" : all[i].text) == 0 &&
                       !(message.flags & PAWL_HISTORY_EMPTY) == (all[i].text != NULL) &&
                       message.index == frame_index(all[i].f.bytes) &&
                       message.direction == (all[i].from == who ? PAWL_HISTORY_SENT : PAWL_HISTORY_RECEIVED) &&
                       memcmp(message.session, sides[who].session, 16) == 0 &&
                       strcmp((const char *)message.peer_name, sides[!who].name) == 0;
        CHECK_SAYING(is_right, "line %d: frame %d at %s: %s, \"%s\"", line, i, sides[who].name,
                     pawl_status_name(status), text);
    }
}

#define NOTHING_OPENS(who) nothing_opens(__LINE__, (who))
static void nothing_opens(int line, int who) {
    for (int i = 0; i < count; i++) {
        char text[FRAME_ROOM];
        pawl_history_message message = PAWL_INIT(pawl_history_message);
        pawl_status status = open_again(sides + who, all[i].f.bytes, all[i].f.size, text, &message);
        CHECK_SAYING(status == PAWL_NOT_FOUND, "line %d: frame %d: %s", line, i, pawl_status_name(status));
    }
}

static uint32_t epoch_of(int who) {
    pawl_view *view = NULL;
    pawl_session session = PAWL_INIT(pawl_session);
    MUST(pawl_session_get(sides[who].store, sides[who].session, &view));
    MUST(pawl_view_session(view, 0, &session));
    pawl_view_close(view);
    return session.epoch;
}

/* ---------------------------------------------------------------- cases */

static void everything_opens(int is_perfect) {
    begin(1);
    talk(5, is_perfect);
    CHECK(epoch_of(0) >= 5 && epoch_of(0) == epoch_of(1));
    CHECK(count > 30);
    for (int who = 0; who < 2; who++) ALL_OPENS(who);
    for (int who = 0; who < 2; who++) MUST(pawl_session_close(sides[who].store, sides[who].session));
    now_ns += 30 * 86400 * SECOND;
    for (int who = 0; who < 2; who++) {
        side *s = sides + who;
        size_t ran;
        do MUST(pawl_store_run_due(s->store, 100, &ran, NULL));
        while (ran == 100);
        pawl_view *view = NULL;
        ANSWERS(PAWL_NOT_FOUND, pawl_session_get(s->store, s->session, &view));
        side_close(s);
        s->store = open_with_clock(s->path, &test_clock);
        ALL_OPENS(who);
        CHECK(damage_count(s->store) == 0);
    }
    end();
}

static void best_effort(void) { everything_opens(0); }
static void perfect(void) { everything_opens(1); }

static void off_is_off(void) {
    begin(0);
    talk(3, 0);
    for (int who = 0; who < 2; who++) NOTHING_OPENS(who);
    MUST(pawl_history_enable(sides[0].store, sides[0].account, 1));
    NOTHING_OPENS(0); /* not of what was before */
    end();
    begin(1);
    talk(3, 0);
    ALL_OPENS(0);
    MUST(pawl_history_enable(sides[0].store, sides[0].account, 0));
    NOTHING_OPENS(0);
    ALL_OPENS(1);
    end();
}

static void tampered(void) {
    begin(1);
    talk(2, 0);
    for (int i = 0; i < count; i += 3) {
        for (size_t at = 0; at < all[i].f.size; at++) {
            frame f = all[i].f;
            f.bytes[at] ^= 0x10;
            char text[FRAME_ROOM];
            pawl_history_message message = PAWL_INIT(pawl_history_message);
            pawl_status status = open_again(sides + 1, f.bytes, f.size, text, &message);
            CHECK_SAYING(status == PAWL_AUTH || status == PAWL_NOT_FOUND || status == PAWL_VERSION,
                         "frame %d, byte %zu: %s", i, at, pawl_status_name(status));
        }
    }
    ALL_OPENS(1);
    end();
}

static void it_is_listed(void) {
    begin(1);
    talk(3, 0);
    pawl_view *view = NULL;
    pawl_history row = PAWL_INIT(pawl_history), *after = NULL;
    for (uint32_t number = 0;; number++) {
        MUST(pawl_history_list(sides[1].store, sides[1].account, after, 1, &view));
        if (pawl_view_count(view) == 0) {
            CHECK(number == 8);
            break;
        }
        row = (pawl_history)PAWL_INIT(pawl_history);
        MUST(pawl_view_history(view, 0, &row));
        CHECK(row.epoch == number / 2 && row.direction == 1 + number % 2 && row.first == 0);
        /* What is received of epoch 2 is closed as Bob has heard Alice in 3; what is sent is not sure to be heard. */
        int is_closed = row.epoch < 2 || (row.epoch == 2 && row.direction == PAWL_HISTORY_RECEIVED);
        CHECK(row.flags == (is_closed ? PAWL_HISTORY_CLOSED : 0));
        CHECK((row.end == UINT32_MAX) == (row.epoch == 3) && row.created_ns == now_ns);
        CHECK(row.peer_name_size == 5 && memcmp(row.peer_name, "alice", 5) == 0);
        CHECK(memcmp(row.session, sides[1].session, 16) == 0);
        pawl_view_close(view);
        after = &row;
    }
    pawl_view_close(view);
    end();
}

/* The way to a message is long once. */
static void a_long_epoch(void) {
    begin(1);
    talk(0, 0);
    enum { MANY = 3000 };
    frame *f = calloc(MANY, sizeof *f);
    NEED(f != NULL);
    for (int i = 0; i < MANY; i++) MUST(encrypt(sides, "again and again", f + i));
    char text[FRAME_ROOM];
    pawl_history_message message = PAWL_INIT(pawl_history_message);
    int64_t start = monotonic_ns();
    for (int i = 0; i < MANY; i++) OK(open_again(sides, f[i].bytes, f[i].size, text, &message));
    int64_t forth = monotonic_ns() - start;
    start = monotonic_ns();
    for (int i = MANY; i-- > 0;) OK(open_again(sides, f[i].bytes, f[i].size, text, &message));
    int64_t back = monotonic_ns() - start;
    printf("  %d messages: %lld ms in their order, %lld ms backwards\n", MANY, (long long)(forth / 1000000),
           (long long)(back / 1000000));
    CHECK(forth * 2 < back);
    free(f);
    end();
}

int main(void) {
    test_path("");
    NEED((all = calloc(STORED_MAX, sizeof *all)) != NULL);
    test_clock = (pawl_clock)PAWL_INIT(pawl_clock);
    test_clock.now_ns = test_time;
    test_clock.context = &now_ns;
    RUN(best_effort);
    RUN(perfect);
    RUN(off_is_off);
    RUN(tampered);
    RUN(it_is_listed);
    RUN(a_long_epoch);
    FINISH;
}
