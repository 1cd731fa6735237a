/* Messages: sizes, order, loss, repetition, damage, keeping, batches; peers and their keys; what happens to a session
 * as time passes. Where an honest peer would not do, one made from Protocol.md writes the frames. */
#include "sessions.h"

static pair p;         /* callbacks point into it */
static size_t engine; /* of the cases that run on each: KIND_* */

/* ---------------------------------------------------------------- sizes and buffers */

static void sizes(void) {
    static const size_t all[] = {0, 1, 64, 1024, 65536, PAWL_MESSAGE_SIZE_MAX};
    pair_meet(&p, engine);
    size_t room = PAWL_MESSAGE_SIZE_MAX + PAWL_FRAME_OVERHEAD_MAX;
    uint8_t *text = malloc(room), *frame = malloc(room), *out = malloc(room);
    NEED(text != NULL && frame != NULL && out != NULL);
    randombytes_buf(text, room);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        size_t size = all[i], frame_size = 0, out_size = 0;
        MUST(pawl_session_encrypt(store_of(&p.alice), p.at_alice, text, size, frame, room, &frame_size));
        CHECK_SAYING(frame_size - size <= 72, "%zu bytes make %zu", size, frame_size);
        if (size >= 64) CHECK(memmem(frame, frame_size, text, 16) == NULL);
        pawl_frame f = PAWL_INIT(pawl_frame);
        f.bytes = frame;
        f.size = frame_size;
        pawl_received received = PAWL_INIT(pawl_received);
        MUST(pawl_account_receive(store_of(&p.bob), p.bob.account, &f, out, frame_size, &out_size, &received));
        CHECK(out_size == size && memcmp(out, text, size) == 0);
        CHECK(received.flags == 0); /* 0 bytes are a message too */
    }
    /* The largest message in the largest frame, through the outbox. */
    uint64_t ticket = 0;
    MUST(pawl_session_send(store_of(&p.alice), p.at_alice, text, PAWL_MESSAGE_SIZE_MAX, &ticket));
    pawl_view *view = NULL;
    pawl_item item = PAWL_INIT(pawl_item);
    MUST(pawl_outbox_take(store_of(&p.alice), 1, 0, &view));
    MUST(pawl_view_item(view, 0, &item));
    CHECK(item.seq == ticket && item.kind == PAWL_ITEM_FRAME);
    CHECK(memcmp(item.session, p.at_alice, 16) == 0 && item.peer_name_size == 3);
    pawl_frame f = PAWL_INIT(pawl_frame);
    f.bytes = item.body;
    f.size = item.body_size;
    size_t out_size = 0;
    pawl_received received = PAWL_INIT(pawl_received);
    MUST(pawl_account_receive(store_of(&p.bob), p.bob.account, &f, out, room, &out_size, &received));
    CHECK(out_size == PAWL_MESSAGE_SIZE_MAX && memcmp(out, text, out_size) == 0);
    pawl_view_close(view);

    uint32_t sent = session_row(&p.alice, p.at_alice).sent;
    size_t frame_size = 7;
    ANSWERS(PAWL_LIMIT_MESSAGE, pawl_session_encrypt(store_of(&p.alice), p.at_alice, text, PAWL_MESSAGE_SIZE_MAX + 1,
                                                     frame, room, &frame_size));
    CHECK(frame_size == 0 && frame[0] == 0 && frame[room - 1] == 0);
    ANSWERS(PAWL_LIMIT_MESSAGE,
            pawl_session_send(store_of(&p.alice), p.at_alice, text, PAWL_MESSAGE_SIZE_MAX + 1, &ticket));
    CHECK(ticket == 0 && session_row(&p.alice, p.at_alice).sent == sent);
    free(text);
    free(frame);
    free(out);
    pair_end(&p);
}

static void buffers(void) {
    pair_meet(&p, KIND_MEMORY);
    uint8_t out[64 + PAWL_FRAME_OVERHEAD_MAX];
    const uint8_t text[64] = "a text of sixty-four bytes, most of which are zero";
    const size_t needed = sizeof out;
    size_t size = 7;
    /* Encrypting needs room for the longest frame there could be, and says so before it uses anything up. */
    const size_t rooms[] = {0, 1, 134, needed - 1};
    for (size_t i = 0; i < 4; i++) {
        memset(out, 0xAA, sizeof out);
        ANSWERS(PAWL_BUFFER, pawl_session_encrypt(store_of(&p.alice), p.at_alice, text, 64,
                                                  rooms[i] == 0 ? NULL : out, rooms[i], &size));
        CHECK(size == needed && is_zero(out, rooms[i]) && out[rooms[i]] == 0xAA);
    }
    blob frame = {.size = 0};
    MUST(pawl_session_encrypt(store_of(&p.alice), p.at_alice, text, 64, out, needed, &size));
    add(&frame, out, size);
    CHECK(frame.size == 134);
    CHECK(number_at(frame.bytes + 14, 4) == 2); /* none of the refused took an index */

    /* Receiving needs room for the frame, and the frame can be received afterwards. */
    pawl_frame f = PAWL_INIT(pawl_frame);
    f.bytes = frame.bytes;
    f.size = frame.size;
    pawl_received received = PAWL_INIT(pawl_received);
    const size_t small[] = {0, 1, 64, frame.size - 1};
    for (size_t i = 0; i < 4; i++) {
        memset(out, 0xAA, sizeof out);
        memset((uint8_t *)&received + 4, 0xAA, sizeof received - 4);
        ANSWERS(PAWL_BUFFER, pawl_account_receive(store_of(&p.bob), p.bob.account, &f, small[i] == 0 ? NULL : out,
                                                  small[i], &size, &received));
        CHECK(size == frame.size && is_zero(out, small[i]) && out[small[i]] == 0xAA);
        CHECK(is_zero((uint8_t *)&received + 4, sizeof received - 4));
    }
    memset(out, 0xAA, sizeof out);
    MUST(pawl_account_receive(store_of(&p.bob), p.bob.account, &f, out, frame.size, &size, &received));
    CHECK(size == 64 && memcmp(out, text, 64) == 0 && received.index == 2 && received.epoch == 0);
    CHECK(out[frame.size] == 0xAA);

    /* What is refused leaves nothing. */
    memset(out, 0xAA, sizeof out);
    memset((uint8_t *)&received + 4, 0xAA, sizeof received - 4);
    ANSWERS(PAWL_REPLAY,
            pawl_account_receive(store_of(&p.bob), p.bob.account, &f, out, frame.size, &size, &received));
    CHECK(size == 0 && is_zero(out, frame.size) && is_zero((uint8_t *)&received + 4, sizeof received - 4));
    id16 none = {0};
    memset(out, 0xAA, sizeof out);
    ANSWERS(PAWL_NOT_FOUND, pawl_session_encrypt(store_of(&p.alice), none, text, 64, out, needed, &size));
    CHECK(size == 0 && is_zero(out, needed));
    uint64_t ticket = 7;
    ANSWERS(PAWL_NOT_FOUND, pawl_session_send(store_of(&p.alice), none, text, 64, &ticket));
    CHECK(ticket == 0);
    ANSWERS(PAWL_NOT_FOUND, pawl_account_receive(store_of(&p.bob), none, &f, out, frame.size, &size, &received));
    pair_end(&p);
}

/* ---------------------------------------------------------------- order and loss */

/* `count` frames of alice's that say their number. */
static blob *numbered(size_t count) {
    blob *frames = malloc(count * sizeof *frames);
    NEED(frames != NULL);
    for (size_t i = 0; i < count; i++) {
        char text[32];
        snprintf(text, sizeof text, "%zu", i);
        frames[i] = say(&p.alice, p.at_alice, text);
    }
    return frames;
}

static void hears_number(const blob *frames, size_t i) {
    char text[32];
    snprintf(text, sizeof text, "%zu", i);
    heard got = HEARS(&p.bob, &frames[i], text);
    CHECK(got.received.index == 2 + i && got.received.flags == 0);
}

static void any_order(void) {
    int order[6] = {0, 1, 2, 3, 4, 5};
    pair_meet(&p, KIND_MEMORY);
    for (int done = 0; !done;) {
        blob *frames = malloc(6 * sizeof *frames);
        NEED(frames != NULL);
        uint32_t first = 0;
        for (int i = 0; i < 6; i++) {
            frames[i] = say(&p.alice, p.at_alice, i % 2 == 0 ? "even" : "odd");
            if (i == 0) first = (uint32_t)number_at(frames[0].bytes + 14, 4);
        }
        for (int i = 0; i < 6; i++) {
            heard got = HEARS(&p.bob, &frames[order[i]], order[i] % 2 == 0 ? "even" : "odd");
            CHECK(got.received.index == first + (uint32_t)order[i]);
        }
        for (int i = 0; i < 6; i++) ANSWERS(PAWL_REPLAY, hear(&p.bob, &frames[i], NULL));
        free(frames);
        /* The next permutation. */
        int at = 4, with = 5;
        while (at >= 0 && order[at] > order[at + 1]) at--;
        if (at < 0) {
            done = 1;
            break;
        }
        while (order[with] < order[at]) with--;
        int swap = order[at];
        order[at] = order[with];
        order[with] = swap;
        for (int low = at + 1, high = 5; low < high; low++, high--) {
            swap = order[low];
            order[low] = order[high];
            order[high] = swap;
        }
    }
    pawl_session row = session_row(&p.bob, p.at_bob);
    CHECK(row.received == 2 + 720 * 6 && row.skipped == 0 && row.flags == PAWL_SESSION_CONFIRMED);
    NO_ITEMS(&p.bob);
    pair_end(&p);
}

static void reversed(void) {
    pair_meet(&p, engine);
    blob *frames = numbered(1000);
    for (size_t i = 1000; i-- > 0;) {
        hears_number(frames, i);
        CHECK(session_row(&p.bob, p.at_bob).skipped == i);
    }
    for (size_t i = 0; i < 1000; i += 111) ANSWERS(PAWL_REPLAY, hear(&p.bob, &frames[i], NULL));
    free(frames);
    NO_ITEMS(&p.bob);
    CHECK(damage_count(store_of(&p.bob)) == 0);
    pair_end(&p);
}

/* Every third never comes, and the others are not held up; in both directions at once. */
static void lost_ones(void) {
    pair_meet(&p, KIND_MEMORY);
    blob *frames = numbered(300);
    for (size_t i = 0; i < 300; i++) {
        if (i % 3 == 1) continue;
        hears_number(frames, i);
        blob back = say(&p.bob, p.at_bob, "back");
        if (i % 5 != 0) HEARS(&p.alice, &back, "back");
    }
    CHECK(session_row(&p.bob, p.at_bob).skipped == 100);
    CHECK(session_row(&p.alice, p.at_alice).skipped == 40);
    free(frames);
    pair_end(&p);
}

static void a_gap_of_2048(void) {
    pair_meet(&p, KIND_MEMORY);
    blob *frames = numbered(2049);
    hears_number(frames, 2048);
    CHECK(session_row(&p.bob, p.at_bob).skipped == 2048);
    NO_ITEMS(&p.bob);
    hears_number(frames, 0);
    hears_number(frames, 2047);
    CHECK(session_row(&p.bob, p.at_bob).skipped == 2046);
    free(frames);
    pair_end(&p);
}

static void a_gap_of_2049(void) {
    pair_meet(&p, KIND_MEMORY);
    blob *frames = numbered(2050);
    hears_number(frames, 2049);
    CHECK(session_row(&p.bob, p.at_bob).skipped == 2048);
    TELLS(&p.bob, PAWL_EVENT_LOST, p.at_bob, 1);
    NO_ITEMS(&p.bob);
    ANSWERS(PAWL_REPLAY, hear(&p.bob, &frames[0], NULL)); /* the oldest went */
    hears_number(frames, 1);
    NO_ITEMS(&p.bob);
    free(frames);
    pair_end(&p);
}

static void above_8192_in_all(void) {
    pair_meet(&p, KIND_MEMORY);
    /* Five gaps of 2,000, so that 10,000 keys would be kept. */
    blob *frames = numbered(5 * 2001);
    for (size_t gap = 0; gap < 4; gap++) hears_number(frames, gap * 2001 + 2000);
    CHECK(session_row(&p.bob, p.at_bob).skipped == 8000);
    NO_ITEMS(&p.bob);
    hears_number(frames, 4 * 2001 + 2000);
    CHECK(session_row(&p.bob, p.at_bob).skipped == 8192);
    TELLS(&p.bob, PAWL_EVENT_LOST, p.at_bob, 1808);
    NO_ITEMS(&p.bob);
    ANSWERS(PAWL_REPLAY, hear(&p.bob, &frames[0], NULL));
    ANSWERS(PAWL_REPLAY, hear(&p.bob, &frames[1807], NULL));
    hears_number(frames, 1808);
    hears_number(frames, 10003);
    CHECK(session_row(&p.bob, p.at_bob).skipped == 8190);
    CHECK(damage_count(store_of(&p.bob)) == 0);
    free(frames);
    pair_end(&p);
}

/* By an own sender, which encrypts them all. */
static void a_million(void) {
    if (!test_is_long()) {
        test_skip("a gap of 2^20 from an own sender: set PAWL_LONG");
        return;
    }
    pair_meet(&p, KIND_SQLITE);
    blob first = say(&p.alice, p.at_alice, "2"), frame;
    for (uint32_t i = 3; i < 2 + (1u << 20); i++) MUST(try_say(store_of(&p.alice), p.at_alice, "x", &frame));
    blob at_limit = say(&p.alice, p.at_alice, "at the limit"), beyond = say(&p.alice, p.at_alice, "beyond");
    CHECK(number_at(at_limit.bytes + 14, 4) == 2 + (1u << 20));
    ANSWERS(PAWL_DESYNCHRONIZED, hear(&p.bob, &beyond, NULL));
    TELLS(&p.bob, PAWL_EVENT_DESYNCHRONIZED, p.at_bob, 0);
    HEARS(&p.bob, &at_limit, "at the limit");
    TELLS(&p.bob, PAWL_EVENT_LOST, p.at_bob, (1u << 20) - 2048);
    HEARS(&p.bob, &beyond, "beyond");
    ANSWERS(PAWL_REPLAY, hear(&p.bob, &first, NULL));
    pair_end(&p);
}

/* ---------------------------------------------------------------- repetition and damage */

/* A session that a peer made from Protocol.md started with bob, and confirmed. */
static void meet_wire_peer(wire_peer *peer, id16 at_bob) {
    pair_start(&p, KIND_MEMORY);
    wire_peer_new(peer, "forger");
    blob bundle = package_of(&p.bob, 1);
    const start_plan honest = {.created = p.b.now / MILLISECOND};
    wire_start(peer, &bundle, &honest);
    const frame_plan welcome = {.with_welcome = 1}, plain = {.index = 1};
    blob frame = forge_text(peer, &welcome, "hello");
    heard got = HEARS(&p.bob, &frame, "hello");
    CHECK(got.received.flags == PAWL_RECEIVED_NEW_SESSION);
    memcpy(at_bob, got.received.session, 16);
    frame = say(&p.bob, at_bob, "answer"); /* without which a peer cannot know that bob has the session */
    frame = forge_text(peer, &plain, "again");
    HEARS(&p.bob, &frame, "again");
    CHECK(session_row(&p.bob, at_bob).flags == PAWL_SESSION_CONFIRMED);
}

static void duplicates(void) {
    pair_start(&p, KIND_MEMORY);
    pair_open(&p, 1);
    blob fresh = say(&p.alice, p.at_alice, "fresh"), second = say(&p.alice, p.at_alice, "second");
    HEARS(&p.bob, &fresh, "fresh");
    ANSWERS(PAWL_REPLAY, hear(&p.bob, &fresh, NULL)); /* with its welcome */
    heard got = HEARS(&p.bob, &second, "second");     /* a welcome that is known is no new session */
    CHECK(got.received.flags == 0);
    ANSWERS(PAWL_REPLAY, hear(&p.bob, &second, NULL));
    blob answer = say(&p.bob, p.at_bob, "answer");
    HEARS(&p.alice, &answer, "answer");
    ANSWERS(PAWL_REPLAY, hear(&p.alice, &answer, NULL));
    blob a = say(&p.alice, p.at_alice, "a"), b = say(&p.alice, p.at_alice, "b");
    CHECK(a.bytes[1] == 1);
    HEARS(&p.bob, &b, "b");
    HEARS(&p.bob, &a, "a"); /* late */
    ANSWERS(PAWL_REPLAY, hear(&p.bob, &a, NULL));
    ANSWERS(PAWL_REPLAY, hear(&p.bob, &b, NULL));
    /* A repeated frame that is damaged as well is not from the peer. */
    a.bytes[HEADER_SIZE - 1] ^= 1;
    ANSWERS(PAWL_AUTH, hear(&p.bob, &a, NULL));
    NO_ITEMS(&p.bob);
    /* Nobody's, and somebody else's. */
    ANSWERS(PAWL_AUTH, hear(&p.bob, &answer, NULL)); /* reflected: the sender has this session, and the filter tells */
    ANSWERS(PAWL_NOT_FOUND, hear(&p.alice, &fresh, NULL)); /* reflected with its welcome: alice has no such package */
    side carol;
    side_new(&carol, &p.b, "carol");
    ANSWERS(PAWL_NOT_FOUND, hear(&carol, &b, NULL));
    pair_end(&p);
}

/* The table of Protocol.md, "Messages", row by row. */
static void answers_to_what_the_filter_lets_through(void) {
    wire_peer peer;
    id16 at_bob;
    meet_wire_peer(&peer, at_bob);
    pawl_session before = session_row(&p.bob, at_bob);
    const struct {
        frame_plan plan;
        pawl_status answer;
    } rows[] = {
        {{.index = 2, .wrong_filter = 1}, PAWL_AUTH},
        {{.index = 2, .epoch = 1, .wrong_filter = 1}, PAWL_AUTH},
        {{.index = UINT32_MAX, .wrong_filter = 1}, PAWL_AUTH},
        {{.index = 1u << 31}, PAWL_LIMIT_INDEX},
        {{.index = UINT32_MAX}, PAWL_LIMIT_INDEX},
        {{.index = 1u << 31, .epoch = 1}, PAWL_LIMIT_INDEX},
        {{.index = 0}, PAWL_REPLAY},
        {{.index = 1}, PAWL_REPLAY},
        {{.index = 0, .wrong_key = 1}, PAWL_REPLAY},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        blob frame = forge_text(&peer, &rows[i].plan, "x");
        CHECK_SAYING(hear(&p.bob, &frame, NULL) == rows[i].answer, "row %zu answers otherwise", i);
        pawl_session after = session_row(&p.bob, at_bob);
        CHECK(memcmp(&before, &after, sizeof before) == 0);
    }
    NO_ITEMS(&p.bob);
    const struct {
        frame_plan plan;
        const char *text;
        size_t size;
    } parted[] = {
        {{.index = 2, .epoch = 1}, "x", 1},
        {{.index = 2, .epoch = UINT32_MAX}, "x", 1},
        {{.index = 2 + (1u << 20) + 1}, "x", 1},
        {{.index = (1u << 31) - 1}, "x", 1},
        {{.index = 2, .wrong_key = 1}, "x", 1},
        {{.index = 5, .wrong_key = 1}, "x", 1},
        {{.index = 2, .has_parts = 1}, "\1", 1},           /* a control part without a length */
        {{.index = 2, .has_parts = 1}, "\1\5\0abcd", 7},   /* ... cut off */
        {{.index = 9, .has_parts = 1}, "\7\0\0\1\1\0", 6}, /* ... the second of two */
        {{.index = 0, .lane = 77}, "x", 1},  /* used before, in another lane: a peer that was put back */
        {{.index = 1, .lane = 77}, "x", 1},
    };
    for (size_t i = 0; i < sizeof parted / sizeof *parted; i++) {
        blob frame = forge_frame(&peer, &parted[i].plan, parted[i].text, parted[i].size);
        CHECK_SAYING(hear(&p.bob, &frame, NULL) == PAWL_DESYNCHRONIZED, "parted %zu answers otherwise", i);
        if (i == 0) TELLS(&p.bob, PAWL_EVENT_DESYNCHRONIZED, at_bob, 0);
        NO_ITEMS(&p.bob); /* told once */
        pawl_session after = session_row(&p.bob, at_bob);
        CHECK(after.flags == (before.flags | PAWL_SESSION_DESYNCHRONIZED));
        after.flags = before.flags;
        CHECK(memcmp(&before, &after, sizeof before) == 0);
    }
    /* A session that was refused goes on. prev_len is not looked at in epoch 0; unknown control parts are skipped. */
    const frame_plan good = {.index = 2, .previous_length = 12345, .has_parts = 1};
    blob frame = forge_frame(&peer, &good, "\7\0\0\377\3\0abc\0text", 14);
    HEARS(&p.bob, &frame, "text");
    const frame_plan empty = {.index = 3, .has_parts = 1}, controls = {.index = 4, .has_parts = 1};
    const frame_plan nothing = {.index = 5}, alone = {.index = 6, .has_parts = 1}, like_parts = {.index = 7};
    heard got;
    frame = forge_frame(&peer, &empty, "", 0);
    OK(hear(&p.bob, &frame, &got));
    CHECK(got.received.flags == PAWL_RECEIVED_EMPTY && got.size == 0);
    frame = forge_frame(&peer, &controls, "\7\0\0", 3);
    OK(hear(&p.bob, &frame, &got));
    CHECK(got.received.flags == PAWL_RECEIVED_EMPTY && got.size == 0);
    frame = forge_text(&peer, &nothing, "");
    OK(hear(&p.bob, &frame, &got));
    CHECK(got.received.flags == 0 && got.size == 0);
    /* A list of data alone is read; data alone is never read as a list. */
    frame = forge_frame(&peer, &alone, "\0alone", 6);
    HEARS(&p.bob, &frame, "alone");
    frame = forge_text(&peer, &like_parts, "\1\5");
    HEARS(&p.bob, &frame, "\1\5");
    /* The largest gap. */
    const frame_plan far = {.index = 8 + (1u << 20)};
    frame = forge_text(&peer, &far, "far");
    HEARS(&p.bob, &frame, "far");
    TELLS(&p.bob, PAWL_EVENT_LOST, at_bob, (1u << 20) - 2048);
    const frame_plan late = {.index = 8 + (1u << 20) - 2048}, later = {.index = 8 + (1u << 20) - 2049};
    frame = forge_text(&peer, &late, "late");
    HEARS(&p.bob, &frame, "late");
    frame = forge_text(&peer, &later, "later");
    ANSWERS(PAWL_REPLAY, hear(&p.bob, &frame, NULL));
    /* A late frame that is damaged keeps its key. */
    const frame_plan bad = {.index = (1u << 20), .wrong_key = 1}, true_one = {.index = 1u << 20};
    frame = forge_text(&peer, &bad, "x");
    ANSWERS(PAWL_DESYNCHRONIZED, hear(&p.bob, &frame, NULL));
    frame = forge_text(&peer, &true_one, "true");
    HEARS(&p.bob, &frame, "true");
    NO_ITEMS(&p.bob);
    pair_end(&p);
}

/* Sixteen lanes are remembered. */
static void lanes(void) {
    wire_peer peer;
    id16 at_bob;
    meet_wire_peer(&peer, at_bob); /* indices 0 and 1, the first lane */
    for (uint32_t lane = 2; lane <= 16; lane++) {
        const frame_plan plan = {.index = lane, .lane = lane};
        blob frame = forge_text(&peer, &plan, "x");
        HEARS(&p.bob, &frame, "x");
    }
    const frame_plan same = {.index = 9, .lane = 9}, unknown = {.index = 9, .lane = 99};
    const frame_plan one_more = {.index = 17, .lane = 17}, forgotten = {.index = 1, .lane = 99};
    blob frame = forge_text(&peer, &same, "x");
    ANSWERS(PAWL_REPLAY, hear(&p.bob, &frame, NULL));
    NO_ITEMS(&p.bob);
    frame = forge_text(&peer, &one_more, "x");
    HEARS(&p.bob, &frame, "x");
    frame = forge_text(&peer, &forgotten, "x");
    ANSWERS(PAWL_REPLAY, hear(&p.bob, &frame, NULL));
    NO_ITEMS(&p.bob);
    frame = forge_text(&peer, &unknown, "x");
    ANSWERS(PAWL_DESYNCHRONIZED, hear(&p.bob, &frame, NULL));
    TELLS(&p.bob, PAWL_EVENT_DESYNCHRONIZED, at_bob, 0);
    pair_end(&p);
}

/* The range of one lane lies around those of all others, as when two processes take turns: what a forgotten lane sent
 * and sends again is not taken for a peer that was put back. */
static void a_forgotten_lane_within_another(void) {
    wire_peer peer;
    id16 at_bob;
    meet_wire_peer(&peer, at_bob);
    const frame_plan around = {.index = 40};
    blob frame = forge_text(&peer, &around, "x");
    HEARS(&p.bob, &frame, "x");
    blob again = frame;
    for (uint32_t lane = 2; lane <= 17; lane++) {
        const frame_plan plan = {.index = lane, .lane = lane};
        frame = forge_text(&peer, &plan, "x");
        HEARS(&p.bob, &frame, "x");
        if (lane == 2) again = frame;
    }
    ANSWERS(PAWL_REPLAY, hear(&p.bob, &again, NULL));
    CHECK(!(session_row(&p.bob, at_bob).flags & PAWL_SESSION_DESYNCHRONIZED));
    NO_ITEMS(&p.bob);
    pair_end(&p);
}

/* What a frame answers when this byte is another; `is_known`: the receiver has its session. */
static pawl_status answer_to_flip(const blob *frame, size_t at, uint8_t flip, int is_known) {
    if (at == 0) return flip == 0x80 ? PAWL_VERSION : PAWL_AUTH;
    int has_welcome = frame->bytes[1] == 2;
    if (at == 1 && flip == 1 && has_welcome && !is_known) return PAWL_NOT_FOUND; /* parts, and no welcome */
    if (at < HEADER_SIZE) return at >= 2 && at < 10 && !has_welcome ? PAWL_NOT_FOUND : PAWL_AUTH;
    if (!has_welcome) return PAWL_DESYNCHRONIZED;
    /* alice's welcome to bob: suite, keys, names, list, package, one-time key, ephemeral, created. */
    enum { NAME = WELCOME_AT + 65, OTHER = NAME + 6, LIST = OTHER + 4, PACKAGE = LIST + 2, KEY = PACKAGE + 16,
           EPHEMERAL = KEY + 4, CREATED = EPHEMERAL + 32 };
    if (at >= PACKAGE && at < KEY) return PAWL_NOT_FOUND;
    int no_key = at == KEY && flip == 1; /* the first one-time key's number becomes 0, which is none */
    if (!is_known) return at >= KEY && at < EPHEMERAL && !no_key ? PAWL_NOT_FOUND : PAWL_AUTH;
    /* Known are package and ephemeral key; those of another have used up the one-time key. */
    if (at >= EPHEMERAL && at < CREATED) return PAWL_NOT_FOUND;
    int is_form = at <= WELCOME_AT || at == NAME || at == OTHER || at == LIST;
    int is_text = (at > NAME && at < OTHER) || (at > OTHER && at < LIST);
    return is_form || (is_text && flip == 0x80) ? PAWL_AUTH : PAWL_DESYNCHRONIZED;
}

static void damage_frame(const blob *frame, int is_known, const char *text) {
    pawl_session before;
    memset(&before, 0, sizeof before);
    if (is_known) before = session_row(&p.bob, p.at_bob);
    int told = 0;
    for (size_t round = 0; round < 3; round++) {
        for (size_t at = 0; at < frame->size; at++) {
            blob damaged = *frame;
            pawl_status want;
            if (round < 2) {
                uint8_t flip = round == 0 ? 0x01 : 0x80;
                damaged.bytes[at] ^= flip;
                want = answer_to_flip(frame, at, flip, is_known);
            } else {
                damaged.size = at;
                size_t least = frame->size - strlen(text);
                want = at >= least && is_known ? PAWL_DESYNCHRONIZED : PAWL_AUTH;
            }
            heard out;
            pawl_status got = hear(&p.bob, &damaged, &out);
            CHECK_SAYING(got == want, "byte %zu, round %zu: %s, expected %s", at, round, pawl_status_name(got),
                         pawl_status_name(want));
            CHECK(out.size == 0 && is_zero(out.text, damaged.size));
            if (!is_known) {
                CHECK(!has_session(&p.bob, p.at_bob));
                continue;
            }
            if (got == PAWL_DESYNCHRONIZED && !told++) TELLS(&p.bob, PAWL_EVENT_DESYNCHRONIZED, p.at_bob, 0);
            pawl_session after = session_row(&p.bob, p.at_bob);
            if (told) {
                CHECK(after.flags & PAWL_SESSION_DESYNCHRONIZED);
                after.flags = before.flags;
            }
            CHECK_SAYING(memcmp(&before, &after, sizeof before) == 0, "byte %zu changes the session", at);
        }
    }
    NO_ITEMS(&p.bob);
    if (!is_known) CHECK(one_time_left(&p.bob) == 2 && session_count(&p.bob, "alice") == 0);
    HEARS(&p.bob, frame, text);
}

static void every_byte_of_a_fresh_welcome(void) {
    pair_start(&p, KIND_MEMORY);
    pair_open(&p, 1);
    blob frame = say(&p.alice, p.at_alice, "hello");
    damage_frame(&frame, 0, "hello");
    CHECK(one_time_left(&p.bob) == 1);
    pair_end(&p);
}

static void every_byte_of_a_known_welcome(void) {
    pair_start(&p, KIND_MEMORY);
    pair_open(&p, 1);
    blob first = say(&p.alice, p.at_alice, "first"), second = say(&p.alice, p.at_alice, "second");
    HEARS(&p.bob, &first, "first");
    CHECK(second.bytes[1] == 2);
    damage_frame(&second, 1, "second");
    pair_end(&p);
}

static void every_byte_of_a_message(void) {
    pair_meet(&p, KIND_MEMORY);
    blob frame = say(&p.alice, p.at_alice, "a message");
    CHECK(frame.bytes[1] == 1);
    damage_frame(&frame, 1, "a message");
    pair_end(&p);
}

/* One whose key lies in a row of its own. */
static void every_byte_of_a_late_message(void) {
    pair_meet(&p, KIND_MEMORY);
    blob late = say(&p.alice, p.at_alice, "late"), next = say(&p.alice, p.at_alice, "next");
    HEARS(&p.bob, &next, "next");
    damage_frame(&late, 1, "late");
    pair_end(&p);
}

static void an_empty_message(void) {
    pair_meet(&p, KIND_MEMORY);
    blob frame = say(&p.alice, p.at_alice, "");
    damage_frame(&frame, 1, "");
    pair_end(&p);
}

/* ---------------------------------------------------------------- keeping */

static pawl_view *kept(const side *who, const id16 session, size_t limit, size_t count) {
    pawl_view *view = NULL;
    MUST(pawl_session_kept(store_of(who), session, limit, &view));
    CHECK_SAYING(pawl_view_count(view) == count, "%zu are kept", pawl_view_count(view));
    return view;
}

static int is_kept(const pawl_view *view, size_t row, uint32_t index, const char *text) {
    pawl_kept message = PAWL_INIT(pawl_kept);
    MUST(pawl_view_kept(view, row, &message));
    return message.epoch == 0 && message.index == index && message.plaintext_size == strlen(text) &&
           memcmp(message.plaintext, text, message.plaintext_size) == 0;
}

static void keeping(void) {
    pair_meet(&p, engine);
    blob *frames = numbered(5);
    heard got;
    const size_t order[] = {1, 0, 4, 2};
    for (size_t i = 0; i < 4; i++) {
        OK(hear_with(store_of(&p.bob), &p.bob, &frames[order[i]], PAWL_RECEIVE_KEEP, &got));
        CHECK(got.received.flags == 0);
    }
    setup_reopen(&p.b);
    for (uint32_t keep = 0; keep < 2; keep++) { /* with the flag or without, kept is kept */
        for (size_t i = 0; i < 4; i++) {
            OK(hear_with(store_of(&p.bob), &p.bob, &frames[order[i]], keep, &got));
            CHECK(got.received.flags == PAWL_RECEIVED_AGAIN && got.received.index == 2 + order[i]);
            CHECK(got.size == 1 && got.text[0] == (char)('0' + order[i]));
            CHECK(memcmp(got.received.session, p.at_bob, 16) == 0);
        }
    }
    pawl_view *view = kept(&p.bob, p.at_bob, 100, 4);
    CHECK(is_kept(view, 0, 2, "0") && is_kept(view, 1, 3, "1") && is_kept(view, 2, 4, "2") && is_kept(view, 3, 6, "4"));
    pawl_view_close(view);
    view = kept(&p.bob, p.at_bob, 2, 2);
    CHECK(is_kept(view, 0, 2, "0") && is_kept(view, 1, 3, "1"));
    pawl_view_close(view);
    pawl_view_close(kept(&p.alice, p.at_alice, 100, 0));

    /* Another frame with this index is not it. */
    blob other = frames[0];
    other.bytes[other.size - 1] ^= 1;
    ANSWERS(PAWL_REPLAY, hear(&p.bob, &other, NULL));
    OK(pawl_session_forget(store_of(&p.bob), p.at_bob, 0, 2));
    OK(pawl_session_forget(store_of(&p.bob), p.at_bob, 0, 2));
    OK(pawl_session_forget(store_of(&p.bob), p.at_bob, 7, 2));
    ANSWERS(PAWL_REPLAY, hear_with(store_of(&p.bob), &p.bob, &frames[0], PAWL_RECEIVE_KEEP, NULL));
    OK(hear(&p.bob, &frames[1], &got));
    CHECK(got.received.flags == PAWL_RECEIVED_AGAIN);
    setup_reopen(&p.b);
    ANSWERS(PAWL_REPLAY, hear(&p.bob, &frames[0], NULL));
    pawl_view_close(kept(&p.bob, p.at_bob, 100, 3));
    hears_number(frames, 3); /* without KEEP */
    ANSWERS(PAWL_REPLAY, hear(&p.bob, &frames[3], NULL));
    pawl_view_close(kept(&p.bob, p.at_bob, 100, 3));
    /* Closing erases what is kept. */
    OK(pawl_session_close(store_of(&p.bob), p.at_bob));
    pawl_view_close(kept(&p.bob, p.at_bob, 100, 0));
    ANSWERS(PAWL_NOT_FOUND, hear(&p.bob, &frames[1], NULL));
    CHECK(damage_count(store_of(&p.bob)) == 0);
    free(frames);
    pair_end(&p);
}

/* Of a frame the host's part is kept, so of one without application data nothing. */
static void keeping_what_is_for_the_host(void) {
    wire_peer peer;
    id16 at_bob;
    meet_wire_peer(&peer, at_bob);
    const struct {
        frame_plan plan;
        const char *text;
        size_t size;
        const char *kept; /* NULL: nothing */
    } rows[] = {
        {{.index = 2}, "\1\5", 2, "\1\5"},
        {{.index = 3, .has_parts = 1}, "\7\0\0\0text", 8, "text"},
        {{.index = 4}, "", 0, ""},
        {{.index = 5, .has_parts = 1}, "\7\0\0\0", 4, ""},
        {{.index = 6, .has_parts = 1}, "\7\0\0", 3, NULL},
        {{.index = 7, .has_parts = 1}, "", 0, NULL},
    };
    for (size_t i = 0; i < 6; i++) {
        blob frame = forge_frame(&peer, &rows[i].plan, rows[i].text, rows[i].size);
        heard got;
        OK(hear_with(store_of(&p.bob), &p.bob, &frame, PAWL_RECEIVE_KEEP, &got));
        CHECK(got.received.flags == (rows[i].kept != NULL ? 0 : PAWL_RECEIVED_EMPTY));
        pawl_status again = hear(&p.bob, &frame, &got);
        if (rows[i].kept == NULL) {
            ANSWERS(PAWL_REPLAY, again);
            continue;
        }
        OK(again);
        CHECK(got.received.flags == PAWL_RECEIVED_AGAIN && got.size == strlen(rows[i].kept));
        CHECK(memcmp(got.text, rows[i].kept, got.size) == 0);
    }
    pawl_view *view = kept(&p.bob, at_bob, 10, 4);
    for (size_t i = 0; i < 4; i++) CHECK(is_kept(view, i, rows[i].plan.index, rows[i].kept));
    pawl_view_close(view);
    pair_end(&p);
}

/* Also what set the session up. */
static void keeping_a_first_message(void) {
    pair_start(&p, KIND_SQLITE);
    pair_open(&p, 1);
    blob first = say(&p.alice, p.at_alice, "first");
    heard got;
    OK(hear_with(store_of(&p.bob), &p.bob, &first, PAWL_RECEIVE_KEEP, &got));
    CHECK(got.received.flags == PAWL_RECEIVED_NEW_SESSION);
    setup_reopen(&p.b);
    OK(hear_with(store_of(&p.bob), &p.bob, &first, PAWL_RECEIVE_KEEP, &got));
    CHECK(got.received.flags == PAWL_RECEIVED_AGAIN && got.size == 5 && memcmp(got.text, "first", 5) == 0);
    OK(pawl_session_forget(store_of(&p.bob), p.at_bob, 0, 0));
    ANSWERS(PAWL_REPLAY, hear_with(store_of(&p.bob), &p.bob, &first, PAWL_RECEIVE_KEEP, &got));
    pair_end(&p);
}

/* ---------------------------------------------------------------- many at once */

static pawl_delivery delivery_of(const blob *frame, uint8_t *out, size_t out_size, uint32_t flags) {
    pawl_delivery d = PAWL_INIT(pawl_delivery);
    d.flags = flags;
    d.frame = frame->bytes;
    d.frame_size = frame->size;
    d.out = out;
    d.out_size = out_size;
    d.out_len = 99;
    d.status = -1;
    d.received_flags = 99;
    memset(d.session, 0xAA, 16);
    d.epoch = d.index = 99;
    return d;
}

static pawl_status receive_many(const side *who, pawl_delivery *d, size_t count) {
    return pawl_account_receive_many(store_of(who), who->account, d, count);
}

/* Two known sessions (one that bob started, one that carol did), a fresh one twice over, and all that can go wrong. */
static void many_at_once(void) {
    pair_meet(&p, engine);
    side carol, dave;
    side_new(&carol, &p.a, "carol");
    side_new(&dave, &p.a, "dave");
    blob bundle = package_of(&carol, 0);
    id16 to_carol, at_dave;
    MUST(start(&p.bob, &carol, &bundle, to_carol)); /* bob is the initiator here */
    blob hello = say(&p.bob, to_carol, "hello");
    heard got = HEARS(&carol, &hello, "hello");
    blob from_carol = say(&carol, got.received.session, "from carol");
    blob bobs = package_of(&p.bob, 0);
    MUST(start(&dave, &p.bob, &bobs, at_dave));
    blob *frames = numbered(4);
    blob dave0 = say(&dave, at_dave, "dave 0"), dave1 = say(&dave, at_dave, "dave 1");
    blob damaged = frames[3], garbage = {.size = 3}, newer = frames[3];
    damaged.bytes[damaged.size - 1] ^= 1;
    newer.bytes[0] = 2;
    memcpy(garbage.bytes, "\1\1\1", 3);
    enum { ROWS = 14 };
    uint8_t outs[ROWS][512];
    memset(outs, 0xAA, sizeof outs);
    const struct {
        const blob *frame;
        size_t room;
        uint32_t flags;
        pawl_status status;
        const char *text;
        uint32_t received;
    } rows[ROWS] = {
        {&frames[1], 512, 0, PAWL_OK, "1", 0},
        {&frames[1], 512, 0, PAWL_REPLAY, NULL, 0},
        {&dave1, 512, PAWL_RECEIVE_KEEP, PAWL_OK, "dave 1", PAWL_RECEIVED_NEW_SESSION},
        {&frames[0], 512, 0, PAWL_OK, "0", 0},
        {&frames[0], 512, 0, PAWL_REPLAY, NULL, 0},
        {&from_carol, 512, 0, PAWL_OK, "from carol", 0},
        {&dave0, 512, 0, PAWL_OK, "dave 0", 0},
        {&dave1, 512, 0, PAWL_OK, "dave 1", PAWL_RECEIVED_AGAIN},
        {&damaged, 512, 0, PAWL_DESYNCHRONIZED, NULL, 0},
        {&frames[3], 512, 0, PAWL_OK, "3", 0}, /* behind a damaged one, and before its time */
        {&garbage, 512, 0, PAWL_AUTH, NULL, 0},
        {&newer, 512, 0, PAWL_VERSION, NULL, 0},
        {&frames[2], 20, 0, PAWL_BUFFER, NULL, 0},
        {&frames[2], 512, 2, PAWL_MISUSE_FLAGS, NULL, 0},
    };
    pawl_delivery d[ROWS];
    for (size_t i = 0; i < ROWS; i++) d[i] = delivery_of(rows[i].frame, outs[i], rows[i].room, rows[i].flags);
    OK(receive_many(&p.bob, d, ROWS));
    for (size_t i = 0; i < ROWS; i++) {
        CHECK_SAYING(d[i].status == rows[i].status, "row %zu: %s", i, pawl_status_name(d[i].status));
        CHECK_SAYING(d[i].received_flags == rows[i].received, "row %zu: flags %u", i, d[i].received_flags);
        if (rows[i].text != NULL) {
            size_t size = strlen(rows[i].text);
            CHECK(d[i].out_len == size && memcmp(outs[i], rows[i].text, size) == 0);
            CHECK(!is_zero(d[i].session, 16));
        } else {
            CHECK(d[i].out_len == (rows[i].status == PAWL_BUFFER ? rows[i].frame->size : 0));
            CHECK_SAYING(is_zero(outs[i], rows[i].room) && d[i].index == 0 && d[i].epoch == 0 &&
                             is_zero(d[i].session, 16), "row %zu leaves something", i);
        }
    }
    CHECK(d[0].index == 3 && d[3].index == 2 && d[9].index == 5 && memcmp(d[0].session, p.at_bob, 16) == 0);
    CHECK(memcmp(d[5].session, to_carol, 16) == 0 && d[2].index == 1 && d[6].index == 0);
    TELLS(&p.bob, PAWL_EVENT_DESYNCHRONIZED, p.at_bob, 0);
    /* All of it was committed. */
    setup_reopen(&p.b);
    for (size_t i = 0; i < 2; i++) ANSWERS(PAWL_REPLAY, hear(&p.bob, &frames[i], NULL));
    hears_number(frames, 2);
    ANSWERS(PAWL_REPLAY, hear(&p.bob, &dave0, NULL));
    OK(hear(&p.bob, &dave1, &got));
    CHECK(got.received.flags == PAWL_RECEIVED_AGAIN);
    CHECK(session_row(&p.bob, p.at_bob).skipped == 0 && session_row(&p.bob, p.at_bob).received == 6);
    CHECK(session_row(&p.bob, to_carol).flags == (PAWL_SESSION_INITIATOR | PAWL_SESSION_CONFIRMED));
    CHECK(damage_count(store_of(&p.bob)) == 0);
    free(frames);
    pair_end(&p);
}

static void rows_of_deliveries(void) {
    pair_meet(&p, KIND_MEMORY);
    blob frame = say(&p.alice, p.at_alice, "x");
    uint8_t out[512];
    OK(receive_many(&p.bob, NULL, 0));
    ANSWERS(PAWL_MISUSE_NULL, receive_many(&p.bob, NULL, 1));
    ANSWERS(PAWL_MISUSE_SIZE, receive_many(&p.bob, NULL, 10001));
    /* No such account: nothing was received, and every row says so. */
    pawl_delivery two[2] = {delivery_of(&frame, out, sizeof out, 0), delivery_of(&frame, out, sizeof out, 0)};
    id16 none = {0};
    pawl_status status = pawl_account_receive_many(store_of(&p.bob), none, two, 2);
    CHECK(status == PAWL_OK || status == PAWL_NOT_FOUND);
    CHECK(two[0].status == PAWL_NOT_FOUND && two[1].status == PAWL_NOT_FOUND && two[0].out_len == 0);
    /* Sizes that differ, or that are none. */
    const uint32_t wrong[] = {0, 8, sizeof(pawl_delivery) - 8, sizeof(pawl_delivery) + 1, UINT32_MAX, 1u << 31};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        two[0].struct_size = wrong[i];
        two[1].struct_size = sizeof(pawl_delivery);
        ANSWERS(PAWL_MISUSE_STRUCT, receive_many(&p.bob, two, 2));
        two[0].struct_size = sizeof(pawl_delivery);
        two[1].struct_size = wrong[i];
        ANSWERS(PAWL_MISUSE_STRUCT, receive_many(&p.bob, two, 2));
    }
    /* A newer header's longer rows, their tails zero. */
    struct {
        pawl_delivery delivery;
        uint64_t tail[2];
    } longer[2];
    memset(longer, 0, sizeof longer);
    blob second = say(&p.alice, p.at_alice, "y");
    longer[0].delivery = delivery_of(&frame, out, sizeof out, 0);
    longer[1].delivery = delivery_of(&second, out, sizeof out, 0);
    longer[0].delivery.struct_size = longer[1].delivery.struct_size = sizeof longer[0];
    longer[1].tail[1] = 1;
    ANSWERS(PAWL_MISUSE_STRUCT, pawl_account_receive_many(store_of(&p.bob), p.bob.account, &longer[0].delivery, 2));
    longer[1].tail[1] = 0;
    OK(pawl_account_receive_many(store_of(&p.bob), p.bob.account, &longer[0].delivery, 2));
    CHECK(longer[0].delivery.status == PAWL_OK && longer[1].delivery.status == PAWL_OK && out[0] == 'y');
    pair_end(&p);
}

/* ---------------------------------------------------------------- batches */

static void batches(void) {
    pair_meet(&p, engine);
    setup_reopen(&p.a); /* without a reservation */
    pawl_store *batch = NULL;
    blob frame;
    if (p.a.engine != ENGINE_MEMORY) {
        MUST(pawl_batch_begin(store_of(&p.alice), &batch));
        ANSWERS(PAWL_STATE_RESERVATION, try_say(batch, p.at_alice, "x", &frame));
        pawl_batch_rollback(batch);
    }
    blob before = say(&p.alice, p.at_alice, "before");
    uint32_t index = (uint32_t)number_at(before.bytes + 14, 4), sent = session_row(&p.alice, p.at_alice).sent;
    MUST(pawl_batch_begin(store_of(&p.alice), &batch));
    MUST(try_say(batch, p.at_alice, "inside", &frame));
    CHECK(number_at(frame.bytes + 14, 4) == index + 1);
    uint64_t ticket = 0;
    OK(pawl_session_send(batch, p.at_alice, "sent", 4, &ticket));
    pawl_batch_rollback(batch);
    NO_ITEMS(&p.alice);
    CHECK(session_row(&p.alice, p.at_alice).sent == sent);
    /* What a batch encrypted has left; it is not encrypted again. */
    blob after = say(&p.alice, p.at_alice, "after");
    CHECK(number_at(after.bytes + 14, 4) == index + 2);
    HEARS(&p.bob, &before, "before");
    HEARS(&p.bob, &after, "after");
    HEARS(&p.bob, &frame, "inside");

    MUST(pawl_batch_begin(store_of(&p.alice), &batch));
    OK(pawl_session_send(batch, p.at_alice, "one", 3, NULL));
    OK(pawl_session_send(batch, p.at_alice, "two", 3, &ticket));
    OK(pawl_batch_commit(batch));
    const char *texts[] = {"one", "two"};
    for (int i = 0; i < 2; i++) {
        taken item;
        NEED(take(&p.alice, &item));
        HEARS(&p.bob, &item.body, texts[i]);
        if (i == 1) CHECK(item.item.seq == ticket);
        ack(&p.alice, &item);
    }
    NO_ITEMS(&p.alice);

    /* Received in a batch that is rolled back: not received. */
    frame = say(&p.alice, p.at_alice, "batched");
    heard got;
    pawl_session row = session_row(&p.bob, p.at_bob);
    MUST(pawl_batch_begin(store_of(&p.bob), &batch));
    OK(hear_with(batch, &p.bob, &frame, PAWL_RECEIVE_KEEP, &got));
    CHECK(got.size == 7 && memcmp(got.text, "batched", 7) == 0 && got.received.flags == 0);
    OK(hear_with(batch, &p.bob, &frame, 0, &got));
    CHECK(got.received.flags == PAWL_RECEIVED_AGAIN);
    pawl_batch_rollback(batch);
    pawl_session same = session_row(&p.bob, p.at_bob);
    CHECK(memcmp(&row, &same, sizeof row) == 0);
    pawl_view_close(kept(&p.bob, p.at_bob, 10, 0));
    MUST(pawl_batch_begin(store_of(&p.bob), &batch));
    OK(hear_with(batch, &p.bob, &frame, 0, &got));
    OK(pawl_batch_commit(batch));
    ANSWERS(PAWL_REPLAY, hear(&p.bob, &frame, NULL));
    pair_end(&p);
}

/* A session that a batch set up, and one that it started. */
static void setting_up_in_a_batch(void) {
    pair_start(&p, engine);
    blob bundle = package_of(&p.bob, 1);
    pawl_store *batch = NULL;
    pawl_start_options options = PAWL_INIT(pawl_start_options);
    options.peer_name = "bob";
    options.peer_name_size = 3;
    options.package = bundle.bytes;
    options.package_size = bundle.size;
    for (int commits = 0; commits < 2; commits++) {
        MUST(pawl_batch_begin(store_of(&p.alice), &batch));
        OK(pawl_session_start(batch, p.alice.account, &options, p.at_alice));
        OK(pawl_session_send(batch, p.at_alice, "hello", 5, NULL));
        if (commits) OK(pawl_batch_commit(batch));
        else pawl_batch_rollback(batch);
        CHECK(has_session(&p.alice, p.at_alice) == commits);
    }
    taken item;
    NEED(take(&p.alice, &item));
    memcpy(p.at_bob, p.at_alice, 16);
    p.at_bob[15] |= 1;
    for (int commits = 0; commits < 2; commits++) {
        heard got;
        MUST(pawl_batch_begin(store_of(&p.bob), &batch));
        OK(hear_with(batch, &p.bob, &item.body, 0, &got));
        CHECK(got.received.flags == PAWL_RECEIVED_NEW_SESSION);
        OK(pawl_session_send(batch, p.at_bob, "answer", 6, NULL));
        if (commits) OK(pawl_batch_commit(batch));
        else pawl_batch_rollback(batch);
        CHECK(has_session(&p.bob, p.at_bob) == commits && one_time_left(&p.bob) == 2u - (uint32_t)commits);
    }
    NEED(take(&p.bob, &item));
    HEARS(&p.alice, &item.body, "answer");
    pair_end(&p);
}

/* ---------------------------------------------------------------- peers */

static pawl_status trust(const side *who, const pawl_identity *identity, uint32_t level) {
    return pawl_peer_trust(store_of(who), who->account, identity, level);
}

/* bob lost everything and makes himself anew. */
static void renew(side *who, blob *bundle) {
    side_new(who, who->in, who->name);
    *bundle = package_of(who, 0);
}

static void an_unverified_peer_changes(void) {
    pair_meet(&p, KIND_SQLITE);
    pawl_identity before = identity_of(&p.bob);
    pawl_peer peer = peer_row(&p.alice, "bob");
    CHECK(peer.flags == PAWL_PEER_HAS_SESSION && peer.trust == PAWL_TRUST_UNVERIFIED && peer.suite == 1);
    CHECK(memcmp(peer.signing_key, before.signing_key, 32) == 0 && memcmp(peer.session, p.at_alice, 16) == 0);
    CHECK(peer.changed_ns == p.a.now);
    blob bundle;
    side former = p.bob;
    renew(&p.bob, &bundle);
    pawl_identity after = identity_of(&p.bob);
    p.a.now += SECOND;
    id16 fresh;
    MUST(start(&p.alice, &p.bob, &bundle, fresh));
    TELLS(&p.alice, PAWL_EVENT_IDENTITY_CHANGED, fresh, 0);
    peer = peer_row(&p.alice, "bob");
    CHECK(peer.flags == PAWL_PEER_HAS_SESSION && memcmp(peer.session, fresh, 16) == 0 && peer.changed_ns == p.a.now);
    CHECK(memcmp(peer.signing_key, after.signing_key, 32) == 0 &&
          memcmp(peer.agreement_key, after.agreement_key, 32) == 0 && is_zero(peer.new_signing_key, 64));
    /* What went to the former identity is over, what comes from it is not. */
    blob frame;
    ANSWERS(PAWL_STATE_RECEIVE_ONLY, pawl_session_send(store_of(&p.alice), p.at_alice, "x", 1, NULL));
    setup_reopen(&p.a);
    ANSWERS(PAWL_STATE_RECEIVE_ONLY, try_say(store_of(&p.alice), p.at_alice, "x", &frame));
    frame = say(&former, p.at_bob, "from before");
    HEARS(&p.alice, &frame, "from before");
    CHECK(memcmp(peer_row(&p.alice, "bob").session, fresh, 16) == 0);
    frame = say(&p.alice, fresh, "hello");
    HEARS(&p.bob, &frame, "hello");
    NO_ITEMS(&p.alice);
    NO_ITEMS(&p.bob);
    pair_end(&p);
}

static void a_verified_peer_changes(void) {
    pair_meet(&p, KIND_SQLITE);
    pawl_identity before = identity_of(&p.bob), own = identity_of(&p.alice);
    OK(trust(&p.alice, &before, PAWL_TRUST_VERIFIED));
    CHECK(peer_row(&p.alice, "bob").trust == PAWL_TRUST_VERIFIED);
    blob alices = package_of(&p.alice, 1), bundle, frame;
    renew(&p.bob, &bundle);
    pawl_identity after = identity_of(&p.bob);
    id16 session, at_bob;
    /* Towards him: nothing, but what was seen can be shown and accepted. */
    id16 none = {0};
    ANSWERS(PAWL_STATE_IDENTITY, start(&p.alice, &p.bob, &bundle, session));
    CHECK(is_zero(session, 16) && session_count(&p.alice, "bob") == 1);
    CHECK(memcmp(peer_row(&p.alice, "bob").new_signing_key, after.signing_key, 32) == 0);
    TELLS(&p.alice, PAWL_EVENT_IDENTITY_CHANGED, none, 0);
    ANSWERS(PAWL_STATE_IDENTITY, start(&p.alice, &p.bob, &bundle, session));
    /* From him: read, flagged, not answered. */
    MUST(start(&p.bob, &p.alice, &alices, at_bob));
    blob first = say(&p.bob, at_bob, "it is me"), second = say(&p.bob, at_bob, "really");
    heard got = HEARS(&p.alice, &first, "it is me");
    CHECK(got.received.flags == (PAWL_RECEIVED_NEW_SESSION | PAWL_RECEIVED_UNACCEPTED));
    memcpy(session, got.received.session, 16);
    got = HEARS(&p.alice, &second, "really");
    CHECK(got.received.flags == PAWL_RECEIVED_UNACCEPTED);
    NO_ITEMS(&p.alice); /* told once */
    pawl_peer peer = peer_row(&p.alice, "bob");
    CHECK(peer.flags == (PAWL_PEER_HAS_SESSION | PAWL_PEER_CHANGED) && peer.trust == PAWL_TRUST_VERIFIED);
    CHECK(memcmp(peer.session, p.at_alice, 16) == 0 && memcmp(peer.signing_key, before.signing_key, 32) == 0);
    CHECK(memcmp(peer.new_signing_key, after.signing_key, 32) == 0 &&
          memcmp(peer.new_agreement_key, after.agreement_key, 32) == 0);
    ANSWERS(PAWL_STATE_IDENTITY, try_say(store_of(&p.alice), session, "x", &frame));
    ANSWERS(PAWL_STATE_IDENTITY, pawl_session_send(store_of(&p.alice), session, "x", 1, NULL));
    id16 other;
    ANSWERS(PAWL_STATE_IDENTITY, start(&p.alice, &p.bob, &bundle, other));
    setup_reopen(&p.a);
    ANSWERS(PAWL_STATE_IDENTITY, try_say(store_of(&p.alice), session, "x", &frame));
    frame = say(&p.alice, p.at_alice, "to the former"); /* the old session is as it was */
    /* Accepted. */
    OK(trust(&p.alice, &after, PAWL_TRUST_VERIFIED));
    peer = peer_row(&p.alice, "bob");
    CHECK(peer.flags == PAWL_PEER_HAS_SESSION && memcmp(peer.session, session, 16) == 0);
    CHECK(memcmp(peer.signing_key, after.signing_key, 32) == 0 && is_zero(peer.new_signing_key, 64));
    CHECK(peer.trust == PAWL_TRUST_VERIFIED);
    ANSWERS(PAWL_STATE_RECEIVE_ONLY, try_say(store_of(&p.alice), p.at_alice, "x", &frame));
    frame = say(&p.alice, session, "welcome back");
    HEARS(&p.bob, &frame, "welcome back");
    blob third = say(&p.bob, at_bob, "thanks");
    got = HEARS(&p.alice, &third, "thanks");
    CHECK(got.received.flags == 0);
    /* An identity that the host saw first. */
    OK(trust(&p.bob, &own, PAWL_TRUST_VERIFIED));
    side carol;
    side_new(&carol, &p.b, "carol");
    pawl_identity hers = identity_of(&carol);
    ANSWERS(PAWL_NOT_FOUND, try_peer(&p.alice, "carol", &peer));
    OK(trust(&p.alice, &hers, PAWL_TRUST_VERIFIED));
    CHECK(peer_row(&p.alice, "carol").flags == 0 && peer_row(&p.alice, "carol").trust == PAWL_TRUST_VERIFIED);
    blob false_one;
    renew(&carol, &false_one);
    ANSWERS(PAWL_STATE_IDENTITY, start(&p.alice, &carol, &false_one, other));
    TELLS(&p.alice, PAWL_EVENT_IDENTITY_CHANGED, none, 0);
    OK(trust(&p.alice, &hers, PAWL_TRUST_UNVERIFIED));
    OK(start(&p.alice, &carol, &false_one, other));
    TELLS(&p.alice, PAWL_EVENT_IDENTITY_CHANGED, other, 0);
    CHECK(damage_count(store_of(&p.alice)) == 0);
    pair_end(&p);
}

/* A verified peer's third identity: the second's sessions cannot be sent in any more, whoever is accepted then. */
static void a_verified_peer_changes_twice(void) {
    pair_meet(&p, KIND_MEMORY);
    pawl_identity first = identity_of(&p.bob);
    OK(trust(&p.alice, &first, PAWL_TRUST_VERIFIED));
    blob alices = package_of(&p.alice, 0), unused, frame;
    id16 sessions[2], at_bob;
    pawl_identity last = first;
    for (int i = 0; i < 2; i++) {
        renew(&p.bob, &unused);
        MUST(start(&p.bob, &p.alice, &alices, at_bob));
        frame = say(&p.bob, at_bob, "me");
        heard got = HEARS(&p.alice, &frame, "me");
        memcpy(sessions[i], got.received.session, 16);
        TELLS(&p.alice, PAWL_EVENT_IDENTITY_CHANGED, sessions[i], 0);
        last = identity_of(&p.bob);
    }
    ANSWERS(PAWL_STATE_RECEIVE_ONLY, try_say(store_of(&p.alice), sessions[0], "x", &frame));
    ANSWERS(PAWL_STATE_IDENTITY, try_say(store_of(&p.alice), sessions[1], "x", &frame));
    OK(trust(&p.alice, &last, PAWL_TRUST_VERIFIED));
    ANSWERS(PAWL_STATE_RECEIVE_ONLY, try_say(store_of(&p.alice), sessions[0], "x", &frame));
    frame = say(&p.alice, sessions[1], "you");
    HEARS(&p.bob, &frame, "you");
    pair_end(&p);
}

static void lists_of_peers(void) {
    pair_start(&p, KIND_SQLITE);
    char names[5][8];
    int seen[5] = {0};
    for (int i = 0; i < 5; i++) {
        snprintf(names[i], sizeof names[i], "peer %d", i);
        wire_peer peer;
        wire_peer_new(&peer, names[i]);
        pawl_identity identity = PAWL_INIT(pawl_identity);
        memcpy(identity.signing_key, peer.signing, 32);
        memcpy(identity.agreement_key, peer.agreement, 32);
        identity.name = names[i];
        identity.name_size = 6;
        OK(trust(&p.alice, &identity, (uint32_t)i % 2));
        /* A key that is not canonical is none. */
        memcpy(identity.agreement_key, non_canonical_nine, 32);
        ANSWERS(PAWL_AUTH, trust(&p.alice, &identity, 0));
    }
    char after[8] = "";
    size_t after_size = 0, total = 0;
    for (;;) {
        pawl_view *view = NULL;
        MUST(pawl_peer_list(store_of(&p.alice), p.alice.account, after, after_size, 2, &view));
        size_t count = pawl_view_count(view);
        for (size_t row = 0; row < count; row++) {
            pawl_peer peer = PAWL_INIT(pawl_peer);
            MUST(pawl_view_peer(view, row, &peer));
            NEED(peer.name_size == 6);
            int number = peer.name[5] - '0';
            CHECK(peer.trust == (uint32_t)number % 2 && memcmp(peer.name, names[number], 6) == 0 && !seen[number]++);
            memcpy(after, peer.name, after_size = 6);
        }
        pawl_view_close(view);
        total += count;
        if (count < 2) break;
    }
    CHECK(total == 5);
    CHECK(session_count(&p.alice, "peer 1") == 0 && session_count(&p.alice, "nobody") == 0);
    ANSWERS(PAWL_NOT_FOUND,
            pawl_peer_allow_suite(store_of(&p.alice), p.alice.account, "nobody", 6, PAWL_SUITE_X25519));
    pawl_view *view = NULL;
    MUST(pawl_peer_list(store_of(&p.bob), p.bob.account, NULL, 0, 10, &view));
    CHECK(pawl_view_count(view) == 0);
    pawl_view_close(view);
    pair_end(&p);
}

/* A suite weaker than this peer used before is refused in either direction until the host allows it. */
static void weaker_suites(void) {
    pair_start(&p, KIND_MEMORY);
    pawl_identity bob = identity_of(&p.bob), alice = identity_of(&p.alice);
    OK(trust(&p.alice, &bob, 0));
    OK(trust(&p.bob, &alice, 0));
    blob bundle = package_of(&p.bob, 1);
    const uint32_t strong = PAWL_SUITE_XWING, weak = PAWL_SUITE_X25519;
    OK(pawl_peer_allow_suite(store_of(&p.alice), p.alice.account, "bob", 3, strong));
    CHECK(peer_row(&p.alice, "bob").suite == strong);
    ANSWERS(PAWL_STATE_SUITE, start(&p.alice, &p.bob, &bundle, p.at_alice));
    OK(pawl_peer_allow_suite(store_of(&p.alice), p.alice.account, "bob", 3, weak));
    OK(start(&p.alice, &p.bob, &bundle, p.at_alice));
    CHECK(session_row(&p.alice, p.at_alice).suite == weak);
    blob frame = say(&p.alice, p.at_alice, "hello");
    OK(pawl_peer_allow_suite(store_of(&p.bob), p.bob.account, "alice", 5, strong));
    ANSWERS(PAWL_STATE_SUITE, hear(&p.bob, &frame, NULL));
    CHECK(one_time_left(&p.bob) == 2);
    OK(pawl_peer_allow_suite(store_of(&p.bob), p.bob.account, "alice", 5, weak));
    HEARS(&p.bob, &frame, "hello");
    OK(pawl_account_set_min_suite(store_of(&p.bob), p.bob.account, weak));
    ANSWERS(PAWL_MISUSE_FLAGS, pawl_account_set_min_suite(store_of(&p.bob), p.bob.account, 3));
    ANSWERS(PAWL_MISUSE_FLAGS, pawl_account_set_min_suite(store_of(&p.bob), p.bob.account, 0));
#ifndef crypto_kem_PUBLICKEYBYTES
    /* What this library cannot do cannot be asked of others. */
    ANSWERS(PAWL_STATE_SUITE, pawl_account_set_min_suite(store_of(&p.bob), p.bob.account, strong));
#endif
    pair_end(&p);
}

static void safety_numbers_agree(void) {
    pair_meet(&p, KIND_MEMORY);
    pawl_identity own[2] = {identity_of(&p.alice), identity_of(&p.bob)}, seen[2];
    const pawl_peer peers[2] = {peer_row(&p.bob, "alice"), peer_row(&p.alice, "bob")};
    const char *names[2] = {"alice", "bob"};
    char numbers[2][PAWL_SAFETY_NUMBER_SIZE];
    for (int i = 0; i < 2; i++) {
        seen[i] = (pawl_identity)PAWL_INIT(pawl_identity);
        memcpy(seen[i].signing_key, peers[i].signing_key, 32);
        memcpy(seen[i].agreement_key, peers[i].agreement_key, 32);
        seen[i].name = names[i];
        seen[i].name_size = strlen(names[i]);
    }
    size_t size = 0;
    MUST(pawl_safety_number(&own[0], &seen[1], numbers[0], sizeof numbers[0], &size)); /* what alice reads out */
    MUST(pawl_safety_number(&own[1], &seen[0], numbers[1], sizeof numbers[1], &size));
    CHECK(strcmp(numbers[0], numbers[1]) == 0);
    pair_end(&p);
}

/* ---------------------------------------------------------------- time */

static void late_keys_end_after_seven_days(void) {
    pair_meet(&p, engine);
    blob *frames = numbered(6);
    int64_t begin = p.b.now;
    hears_number(frames, 3);
    p.b.now = begin + HOUR;
    hears_number(frames, 5);
    p.b.now = begin + 7 * DAY - 1;
    CHECK(run_due(&p.bob) <= 1); /* the checkpoint, not the keys */
    CHECK(session_row(&p.bob, p.at_bob).skipped == 4);
    hears_number(frames, 0);
    p.b.now = begin + 7 * DAY; /* exactly, and before the job ran */
    ANSWERS(PAWL_REPLAY, hear(&p.bob, &frames[1], NULL));
    int64_t deadline = 0;
    OK(pawl_store_next_deadline(store_of(&p.bob), &deadline));
    CHECK(deadline <= p.b.now);
    run_due(&p.bob);
    CHECK(session_row(&p.bob, p.at_bob).skipped == 1);
    ANSWERS(PAWL_REPLAY, hear(&p.bob, &frames[2], NULL));
    p.b.now = begin + 7 * DAY + HOUR - 1;
    run_due(&p.bob);
    CHECK(session_row(&p.bob, p.at_bob).skipped == 1);
    p.b.now++;
    run_due(&p.bob);
    CHECK(session_row(&p.bob, p.at_bob).skipped == 0);
    ANSWERS(PAWL_REPLAY, hear(&p.bob, &frames[4], NULL));
    CHECK(damage_count(store_of(&p.bob)) == 0);
    free(frames);
    pair_end(&p);
}

/* A session that was answered waits for nothing. */
static void nothing_is_planned(void) {
    pair_meet(&p, KIND_SQLITE);
    set_time(&p, p.a.now + 61 * SECOND); /* the checkpoints */
    const side *sides[] = {&p.alice, &p.bob};
    for (int i = 0; i < 2; i++) {
        CHECK(run_due(sides[i]) == 1);
        int64_t deadline = 0;
        OK(pawl_store_next_deadline(store_of(sides[i]), &deadline));
        CHECK(deadline == PAWL_NEVER);
    }
    pair_end(&p);
}

static void late_keys_used_in_time(void) {
    pair_meet(&p, KIND_MEMORY);
    blob *frames = numbered(3);
    hears_number(frames, 2);
    hears_number(frames, 0);
    hears_number(frames, 1);
    p.b.now += 61 * SECOND;
    CHECK(run_due(&p.bob) <= 1);
    int64_t deadline = 0;
    OK(pawl_store_next_deadline(store_of(&p.bob), &deadline));
    CHECK(deadline == PAWL_NEVER); /* no key, no deadline */
    free(frames);
    pair_end(&p);
}

static void a_set_up_without_an_answer(void) {
    pair_start(&p, engine);
    int64_t begin = p.a.now;
    pair_open(&p, 1);
    blob lost = say(&p.alice, p.at_alice, "lost");
    CHECK(lost.bytes[1] == 2);
    set_time(&p, begin + DAY - 1);
    run_due(&p.alice);
    NO_ITEMS(&p.alice);
    set_time(&p, begin + DAY);
    CHECK(run_due(&p.alice) >= 1);
    taken item, request = {.peer = ""};
    int told = 0, asked = 0;
    for (int i = 0; i < 2; i++) { /* of two lanes */
        NEED(take(&p.alice, &item));
        CHECK(memcmp(item.item.session, p.at_alice, 16) == 0 && strcmp(item.peer, "bob") == 0);
        if (item.item.kind == PAWL_ITEM_EVENT) {
            told += item.item.what == PAWL_EVENT_SETUP_EXPIRED;
            ANSWERS(PAWL_MISUSE_FLAGS, pawl_outbox_answer(store_of(&p.alice), item.item.seq, "x", 1));
            ack(&p.alice, &item);
        } else {
            asked += item.item.kind == PAWL_ITEM_REQUEST && item.item.what == PAWL_REQUEST_PACKAGE;
            request = item;
        }
    }
    CHECK(told == 1 && asked == 1);
    pawl_identity bob = identity_of(&p.bob);
    CHECK(memcmp(request.item.peer_signing_key, bob.signing_key, 32) == 0);
    /* Wrong answers leave the request. */
    uint64_t seq = request.item.seq;
    side carol;
    side_new(&carol, &p.b, "carol");
    blob hers = package_of(&carol, 0), fresh = package_of(&p.bob, 1);
    ANSWERS(PAWL_AUTH, pawl_outbox_answer(store_of(&p.alice), seq, hers.bytes, hers.size));
    ANSWERS(PAWL_MISUSE_PACKAGE, pawl_outbox_answer(store_of(&p.alice), seq, "", 0));
    ANSWERS(PAWL_MISUSE_PACKAGE, pawl_outbox_answer(store_of(&p.alice), seq, fresh.bytes, fresh.size - 1));
    fresh.bytes[fresh.size - 1] ^= 1;
    ANSWERS(PAWL_AUTH, pawl_outbox_answer(store_of(&p.alice), seq, fresh.bytes, fresh.size));
    fresh.bytes[fresh.size - 1] ^= 1;
    ANSWERS(PAWL_NOT_FOUND, pawl_outbox_answer(store_of(&p.alice), seq + 100, fresh.bytes, fresh.size));
    CHECK(session_count(&p.alice, "bob") == 1);
    OK(pawl_outbox_answer(store_of(&p.alice), seq, fresh.bytes, fresh.size));
    OK(pawl_outbox_answer(store_of(&p.alice), seq, fresh.bytes, fresh.size)); /* settled already: nothing happens */
    CHECK(session_count(&p.alice, "bob") == 2);
    /* A new session, whose welcome is on its way. */
    id16 session;
    memcpy(session, peer_row(&p.alice, "bob").session, 16);
    CHECK(memcmp(session, p.at_alice, 16) != 0);
    CHECK(session_row(&p.alice, p.at_alice).flags & PAWL_SESSION_RECEIVE_ONLY);
    ANSWERS(PAWL_STATE_RECEIVE_ONLY, pawl_session_send(store_of(&p.alice), p.at_alice, "x", 1, NULL));
    NEED(take(&p.alice, &item));
    CHECK(item.item.kind == PAWL_ITEM_FRAME && memcmp(item.item.session, session, 16) == 0);
    heard got;
    OK(hear(&p.bob, &item.body, &got));
    CHECK(got.received.flags == (PAWL_RECEIVED_EMPTY | PAWL_RECEIVED_NEW_SESSION) && got.size == 0);
    ack(&p.alice, &item);
    NO_ITEMS(&p.alice);
    blob answer = say(&p.bob, got.received.session, "here");
    HEARS(&p.alice, &answer, "here");
    set_time(&p, begin + 2 * DAY + HOUR);
    run_due(&p.alice);
    NO_ITEMS(&p.alice); /* answered: no deadline any more */
    /* The first try never reached anybody, and ends. */
    set_time(&p, begin + 8 * DAY);
    run_due(&p.alice);
    TELLS(&p.alice, PAWL_EVENT_SESSION_ENDED, p.at_alice, 0);
    CHECK(!has_session(&p.alice, p.at_alice) && has_session(&p.alice, session));
    NO_ITEMS(&p.alice);
    CHECK(damage_count(store_of(&p.alice)) == 0);
    pair_end(&p);
}

/* An answer that comes in time takes the request's reason away. */
static void a_set_up_answered_late(void) {
    pair_start(&p, KIND_MEMORY);
    pair_open(&p, 1);
    blob hello = say(&p.alice, p.at_alice, "hello");
    HEARS(&p.bob, &hello, "hello");
    blob answer = say(&p.bob, p.at_bob, "answer");
    set_time(&p, p.a.now + DAY);
    run_due(&p.alice);
    HEARS(&p.alice, &answer, "answer");
    TELLS(&p.alice, PAWL_EVENT_SETUP_EXPIRED, p.at_alice, 0);
    taken request;
    NEED(take(&p.alice, &request));
    CHECK(request.item.kind == PAWL_ITEM_REQUEST);
    blob fresh = package_of(&p.bob, 0);
    OK(pawl_outbox_answer(store_of(&p.alice), request.item.seq, fresh.bytes, fresh.size));
    CHECK(session_count(&p.alice, "bob") == 1);
    NO_ITEMS(&p.alice);
    blob frame = say(&p.alice, p.at_alice, "on we go");
    HEARS(&p.bob, &frame, "on we go");
    pair_end(&p);
}

static void ends_after_seven_days(void) {
    pair_meet(&p, engine);
    int64_t begin = p.a.now;
    CHECK(session_row(&p.bob, p.at_bob).ends_ns == PAWL_NEVER);
    /* Another of alice's takes its place at bob, and at alice when he answers. */
    blob bundle = package_of(&p.bob, 0);
    id16 second;
    set_time(&p, begin + HOUR);
    MUST(start(&p.alice, &p.bob, &bundle, second));
    blob hello = say(&p.alice, second, "second"), late = say(&p.alice, p.at_alice, "late");
    blob much_later = say(&p.alice, p.at_alice, "much later");
    heard got = HEARS(&p.bob, &hello, "second");
    pawl_session row = session_row(&p.bob, p.at_bob);
    CHECK(row.flags == (PAWL_SESSION_CONFIRMED | PAWL_SESSION_RECEIVE_ONLY) && row.ends_ns == begin + HOUR + 7 * DAY);
    CHECK(memcmp(peer_row(&p.bob, "alice").session, got.received.session, 16) == 0);
    CHECK(session_row(&p.bob, got.received.session).ends_ns == begin + HOUR + 7 * DAY); /* unconfirmed */
    ANSWERS(PAWL_STATE_RECEIVE_ONLY, pawl_session_send(store_of(&p.bob), p.at_bob, "x", 1, NULL));
    HEARS(&p.bob, &late, "late"); /* it can still be read in, and stays receive-only */
    CHECK(session_row(&p.bob, p.at_bob).ends_ns == begin + HOUR + 7 * DAY);
    blob answer = say(&p.bob, got.received.session, "answer");
    HEARS(&p.alice, &answer, "answer");
    blob confirm = say(&p.alice, second, "confirm");
    HEARS(&p.bob, &confirm, "confirm");
    CHECK(session_row(&p.bob, got.received.session).ends_ns == PAWL_NEVER);

    set_time(&p, begin + HOUR + 7 * DAY - 1);
    run_due(&p.bob);
    NO_ITEMS(&p.bob);
    CHECK(has_session(&p.bob, p.at_bob));
    set_time(&p, begin + HOUR + 7 * DAY);
    run_due(&p.bob);
    TELLS(&p.bob, PAWL_EVENT_SESSION_ENDED, p.at_bob, 0);
    NO_ITEMS(&p.bob);
    CHECK(!has_session(&p.bob, p.at_bob) && session_count(&p.bob, "alice") == 1);
    ANSWERS(PAWL_NOT_FOUND, hear(&p.bob, &much_later, NULL));
    CHECK(damage_count(store_of(&p.bob)) == 0);
    pair_end(&p);
}

/* What is confirmed when another has taken its place already still ends. */
static void confirmed_too_late(void) {
    pair_start(&p, KIND_MEMORY);
    pair_open(&p, 1);
    blob hello = say(&p.alice, p.at_alice, "hello");
    HEARS(&p.bob, &hello, "hello");
    blob answer = say(&p.bob, p.at_bob, "answer");
    HEARS(&p.alice, &answer, "answer");
    blob confirm = say(&p.alice, p.at_alice, "confirm"), bundle = package_of(&p.bob, 0);
    CHECK(confirm.bytes[1] == 1);
    id16 second;
    set_time(&p, p.a.now + HOUR);
    MUST(start(&p.alice, &p.bob, &bundle, second));
    hello = say(&p.alice, second, "second");
    HEARS(&p.bob, &hello, "second");
    int64_t end = p.b.now + 7 * DAY;
    CHECK(session_row(&p.bob, p.at_bob).ends_ns == end);
    HEARS(&p.bob, &confirm, "confirm");
    pawl_session row = session_row(&p.bob, p.at_bob);
    CHECK(row.flags == (PAWL_SESSION_CONFIRMED | PAWL_SESSION_RECEIVE_ONLY) && row.ends_ns == end);
    pair_end(&p);
}

static void an_inbound_session_that_nobody_confirms(void) {
    pair_start(&p, KIND_MEMORY);
    pair_open(&p, 1);
    blob hello = say(&p.alice, p.at_alice, "hello");
    HEARS(&p.bob, &hello, "hello");
    int64_t end = p.b.now + 7 * DAY;
    CHECK(session_row(&p.bob, p.at_bob).ends_ns == end);
    p.b.now = end - 1;
    run_due(&p.bob);
    CHECK(has_session(&p.bob, p.at_bob));
    p.b.now = end;
    run_due(&p.bob);
    TELLS(&p.bob, PAWL_EVENT_SESSION_ENDED, p.at_bob, 0);
    CHECK(!has_session(&p.bob, p.at_bob));
    ANSWERS(PAWL_REPLAY, hear(&p.bob, &hello, NULL)); /* what it was set up with is not forgotten */
    CHECK(!(peer_row(&p.bob, "alice").flags & PAWL_PEER_HAS_SESSION));
    pair_end(&p);
}

static pawl_status reset(const side *who, const id16 session, const blob *bundle, id16 fresh) {
    return pawl_session_reset(store_of(who), session, bundle->bytes, bundle->size, fresh);
}

static void resets(void) {
    pair_meet(&p, engine);
    blob bad = say(&p.bob, p.at_bob, "x");
    bad.bytes[bad.size - 1] ^= 1;
    ANSWERS(PAWL_DESYNCHRONIZED, hear(&p.alice, &bad, NULL));
    TELLS(&p.alice, PAWL_EVENT_DESYNCHRONIZED, p.at_alice, 0);
    side carol;
    side_new(&carol, &p.b, "carol");
    blob hers = package_of(&carol, 0), first = package_of(&p.bob, 1), second = package_of(&p.bob, 1);
    id16 fresh, again, none = {0};
    ANSWERS(PAWL_AUTH, reset(&p.alice, p.at_alice, &hers, fresh));
    CHECK(is_zero(fresh, 16));
    ANSWERS(PAWL_NOT_FOUND, reset(&p.alice, none, &first, fresh));
    OK(reset(&p.alice, p.at_alice, &first, fresh)); /* what failed did not count */
    pawl_session row = session_row(&p.alice, p.at_alice);
    CHECK((row.flags & (PAWL_SESSION_RECEIVE_ONLY | PAWL_SESSION_DESYNCHRONIZED)) ==
          (PAWL_SESSION_RECEIVE_ONLY | PAWL_SESSION_DESYNCHRONIZED));
    CHECK(row.ends_ns == p.a.now + 7 * DAY);
    CHECK(memcmp(peer_row(&p.alice, "bob").session, fresh, 16) == 0);
    ANSWERS(PAWL_BUSY_RATE, reset(&p.alice, fresh, &second, again));
    ANSWERS(PAWL_BUSY_RATE, reset(&p.alice, p.at_alice, &second, again));
    blob frame;
    ANSWERS(PAWL_STATE_RECEIVE_ONLY, try_say(store_of(&p.alice), p.at_alice, "x", &frame));
    /* Both directions go on in the new one; what was under way in the old one still arrives. */
    blob before = say(&p.bob, p.at_bob, "before");
    frame = say(&p.alice, fresh, "fresh");
    heard got = HEARS(&p.bob, &frame, "fresh");
    CHECK(got.received.flags == PAWL_RECEIVED_NEW_SESSION);
    CHECK(session_row(&p.bob, p.at_bob).flags & PAWL_SESSION_RECEIVE_ONLY);
    HEARS(&p.alice, &before, "before");
    frame = say(&p.bob, peer_row(&p.bob, "alice").session, "answer");
    HEARS(&p.alice, &frame, "answer");
    setup_reopen(&p.a);
    p.a.now += 60 * SECOND - 1;
    ANSWERS(PAWL_BUSY_RATE, reset(&p.alice, fresh, &second, again));
    p.a.now++;
    OK(reset(&p.alice, fresh, &second, fresh)); /* the new id where the old one was */
    CHECK(has_session(&p.alice, fresh) && session_count(&p.alice, "bob") == 3);
    CHECK(damage_count(store_of(&p.alice)) == 0);
    pair_end(&p);
}

/* With a session go its deadlines: its set-up's, its end's and its late keys'; and in a week that it says so. */
static void closing_leaves_nothing_planned(void) {
    pair_start(&p, KIND_MEMORY);
    pair_open(&p, 1);
    blob first = say(&p.alice, p.at_alice, "first"), second = say(&p.alice, p.at_alice, "second");
    HEARS(&p.bob, &second, "second");
    HEARS(&p.bob, &first, "first");
    blob third = say(&p.alice, p.at_alice, "third"), fourth = say(&p.alice, p.at_alice, "fourth");
    HEARS(&p.bob, &fourth, "fourth");
    CHECK(third.size > 0 && session_row(&p.bob, p.at_bob).skipped == 1);
    OK(pawl_session_close(store_of(&p.alice), p.at_alice));
    OK(pawl_session_close(store_of(&p.bob), p.at_bob));
    SAYS(&p.alice, p.at_alice, NULL);
    SAYS(&p.bob, p.at_bob, NULL);
    const int64_t week = p.a.now + 7 * 24 * 3600 * SECOND;
    set_time(&p, p.a.now + 61 * SECOND); /* the checkpoints */
    const side *sides[] = {&p.alice, &p.bob};
    for (int i = 0; i < 2; i++) {
        CHECK(run_due(sides[i]) <= 1);
        int64_t deadline = 0;
        OK(pawl_store_next_deadline(store_of(sides[i]), &deadline));
        CHECK(deadline == week);
    }
    set_time(&p, week);
    for (int i = 0; i < 2; i++) {
        CHECK(run_due(sides[i]) == 1);
        set_time(&p, p.a.now + 61 * SECOND);
        CHECK(run_due(sides[i]) <= 1);
        int64_t deadline = 0;
        OK(pawl_store_next_deadline(store_of(sides[i]), &deadline));
        CHECK(deadline == PAWL_NEVER);
    }
    pair_end(&p);
}

static void closing(void) {
    pair_meet(&p, KIND_SQLITE);
    uint64_t ticket = 0;
    OK(pawl_session_send(store_of(&p.alice), p.at_alice, "sent", 4, &ticket));
    blob frame = say(&p.alice, p.at_alice, "said"), back = say(&p.bob, p.at_bob, "back");
    OK(pawl_session_close(store_of(&p.alice), p.at_alice));
    ANSWERS(PAWL_NOT_FOUND, pawl_session_close(store_of(&p.alice), p.at_alice));
    ANSWERS(PAWL_NOT_FOUND, try_say(store_of(&p.alice), p.at_alice, "x", &frame));
    ANSWERS(PAWL_NOT_FOUND, pawl_session_send(store_of(&p.alice), p.at_alice, "x", 1, NULL));
    ANSWERS(PAWL_NOT_FOUND, hear(&p.alice, &back, NULL));
    taken item;
    NEED(take(&p.alice, &item)); /* frames in the outbox stay */
    CHECK(item.item.seq == ticket);
    HEARS(&p.bob, &item.body, "sent");
    pawl_peer peer = peer_row(&p.alice, "bob");
    CHECK(peer.flags == 0 && is_zero(peer.session, 16) && session_count(&p.alice, "bob") == 0);
    CHECK(damage_count(store_of(&p.alice)) == 0);
    pair_end(&p);
}

/* Runs a case on SQLite, in memory and on a host's storage. */
#define EACH_ENGINE(function) each_engine(#function, function)
static void each_engine(const char *name, void (*function)(void)) {
    for (engine = 0; engine < SETUP_KINDS; engine += 2) {
        static char full[96];
        snprintf(full, sizeof full, "%s (%s)", name, setup_kinds[engine].name);
        test_run(full, function);
    }
}

int main(void) {
    NEED(sodium_init() >= 0);
    EACH_ENGINE(sizes);
    RUN(buffers);
    RUN(any_order);
    EACH_ENGINE(reversed);
    RUN(lost_ones);
    RUN(a_gap_of_2048);
    RUN(a_gap_of_2049);
    RUN(above_8192_in_all);
    RUN(a_million);
    RUN(duplicates);
    RUN(answers_to_what_the_filter_lets_through);
    RUN(lanes);
    RUN(a_forgotten_lane_within_another);
    RUN(every_byte_of_a_fresh_welcome);
    RUN(every_byte_of_a_known_welcome);
    RUN(every_byte_of_a_message);
    RUN(every_byte_of_a_late_message);
    RUN(an_empty_message);
    EACH_ENGINE(keeping);
    RUN(keeping_what_is_for_the_host);
    RUN(keeping_a_first_message);
    EACH_ENGINE(many_at_once);
    RUN(rows_of_deliveries);
    EACH_ENGINE(batches);
    EACH_ENGINE(setting_up_in_a_batch);
    RUN(an_unverified_peer_changes);
    RUN(a_verified_peer_changes);
    RUN(a_verified_peer_changes_twice);
    RUN(lists_of_peers);
    RUN(weaker_suites);
    RUN(safety_numbers_agree);
    EACH_ENGINE(late_keys_end_after_seven_days);
    RUN(nothing_is_planned);
    RUN(late_keys_used_in_time);
    EACH_ENGINE(a_set_up_without_an_answer);
    RUN(a_set_up_answered_late);
    EACH_ENGINE(ends_after_seven_days);
    RUN(confirmed_too_late);
    RUN(an_inbound_session_that_nobody_confirms);
    EACH_ENGINE(resets);
    RUN(closing);
    RUN(closing_leaves_nothing_planned);
    FINISH;
}
