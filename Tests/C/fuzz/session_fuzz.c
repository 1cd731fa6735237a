/* A hostile peer and a hostile network, by libFuzzer. Each input is an act against Bob's store in memory: raw bytes
 * as a frame, a package or an answer; a true frame or package with bytes changed; and, from an initiator and a
 * publisher who know all keys that are theirs, packages, welcomes and frames with true seals around any content.
 *
 * Nothing crashes; every status is one that the header names for the call; a frame that was changed is never
 * accepted; an index is accepted once, with the text that was sealed; what was refused does not keep the true
 * frame from being read. */
#include "fuzz.h"
#include "../wire_peer.h"

static int64_t now_ns;

#define FRAME_MAX 20000

/* ---------------------------------------------------------------- a session of the hostile peer's */

#define KNOWN_INDICES 32768 /* a true seal costs as many steps as its index */

static wire_peer mallory, publisher;
static uint8_t accepted[KNOWN_INDICES / 8];

static int is_accepted(uint32_t index) { return index < KNOWN_INDICES && (accepted[index / 8] & 1 << index % 8) != 0; }

/* ---------------------------------------------------------------- the world */

static pawl_store *alice_store, *bob_store;
static uint8_t alice[16], bob[16], alice_session[16];
static blob package, bundle; /* Bob's; the bundle has a one-time key */
static blob published;       /* the publisher's */
static uint64_t request;
static uint8_t requesting[16]; /* the session that waits for it */
static int runs;

static pawl_store *open_memory(pawl_clock *clock) {
    pawl_key key = raw_key();
    pawl_store_options options = PAWL_INIT(pawl_store_options);
    options.flags = PAWL_STORE_CREATE | PAWL_STORE_MEMORY;
    options.key = &key;
    options.clock = clock;
    pawl_store *store = NULL;
    MUST(pawl_store_open(&options, &store));
    return store;
}

static uint8_t out[FRAME_MAX], frame[FRAME_MAX];

static pawl_status receive(const uint8_t *bytes, size_t size, uint32_t flags, size_t *out_size,
                           pawl_received *received) {
    pawl_frame in = PAWL_INIT(pawl_frame);
    in.flags = flags;
    in.bytes = bytes;
    in.size = size;
    *received = (pawl_received)PAWL_INIT(pawl_received);
    pawl_status status = pawl_account_receive(bob_store, bob, &in, out, sizeof out, out_size, received);
    switch (PAWL_STATUS_REASON(status)) {
    case PAWL_OK: break;
    case PAWL_AUTH: case PAWL_NOT_FOUND: case PAWL_REPLAY: case PAWL_DESYNCHRONIZED: case PAWL_VERSION: case PAWL_TIME:
    case PAWL_STATE_SUITE: case PAWL_STATE_SELF: case PAWL_LIMIT_SESSIONS: case PAWL_LIMIT_INDEX:
        NEED(*out_size == 0);
        break;
    default: must(__LINE__, "pawl_account_receive", status);
    }
    return status;
}

static pawl_status start(const blob *from, uint8_t session[16]) {
    pawl_status status = start_with(bob_store, bob, publisher.name, from, session);
    switch (PAWL_STATUS_REASON(status)) {
    case PAWL_OK: case PAWL_AUTH: case PAWL_VERSION: case PAWL_MISUSE_PACKAGE: case PAWL_TIME: case PAWL_STATE_SUITE:
    case PAWL_STATE_SELF: case PAWL_LIMIT_SESSIONS: break;
    default: must(__LINE__, "pawl_session_start", status);
    }
    return status;
}

static int64_t now_ms(void) { return now_ns / 1000000; }

static blob publish(uint32_t one_time_id) {
    package_plan plan = {.not_before = now_ms() - 1000, .not_after = now_ms() + INT64_C(7000000000)};
    plan.one_time_id = one_time_id;
    return forge_package(&publisher, &plan);
}

static void make_request(void) {
    uint8_t session[16];
    MUST(start(&published, session));
    now_ns += INT64_C(86400000000000);
    MUST(pawl_store_run_due(bob_store, 1000, NULL, NULL));
    pawl_view *view = NULL;
    MUST(pawl_outbox_take(bob_store, 1000, 1, &view));
    for (size_t row = 0; row < pawl_view_count(view); row++) {
        pawl_item item = PAWL_INIT(pawl_item);
        MUST(pawl_view_item(view, row, &item));
        if (item.kind == PAWL_ITEM_REQUEST) {
            request = item.seq;
            memcpy(requesting, item.session, 16);
        }
    }
    pawl_view_close(view);
    NEED(request != 0);
}

static void world_end(void) {
    pawl_view *damages = NULL;
    MUST(pawl_store_verify(bob_store, &damages));
    NEED(pawl_view_count(damages) == 0);
    pawl_view_close(damages);
    pawl_store_close(alice_store);
    pawl_store_close(bob_store);
}

static void world_begin(void) {
    static pawl_clock clock = PAWL_INIT(pawl_clock);
    clock.now_ns = test_time;
    clock.context = &now_ns;
    random_calls = 0;
    runs = 0;
    request = 0;
    now_ns = INT64_C(1700000000000000000);
    alice_store = open_memory(&clock);
    bob_store = open_memory(&clock);
    MUST(pawl_account_create(alice_store, "alice", 5, alice));
    MUST(pawl_account_create(bob_store, "bob", 3, bob));
    wire_peer_new(&mallory, "mallory");
    wire_peer_new(&publisher, "publisher");
    bundle = bundle_of_account(bob_store, bob, 1);
    package = bundle;
    package.size = parse_package(&bundle).size;
    MUST(start_with(alice_store, alice, "bob", &package, alice_session));
    size_t size, out_size;
    pawl_received received;
    MUST(pawl_session_encrypt(alice_store, alice_session, "hello", 5, frame, sizeof frame, &size));
    MUST(receive(frame, size, 0, &out_size, &received));
    /* Confirmed on both sides, so that no deadline ends it. */
    MUST(pawl_session_encrypt(bob_store, received.session, "hi", 2, frame, sizeof frame, &size));
    pawl_frame reply = PAWL_INIT(pawl_frame);
    reply.bytes = frame;
    reply.size = size;
    MUST(pawl_account_receive(alice_store, alice, &reply, out, sizeof out, &out_size, &received));
    MUST(pawl_session_encrypt(alice_store, alice_session, "", 0, frame, sizeof frame, &size));
    MUST(receive(frame, size, 0, &out_size, &received));

    published = publish(0);
    wire_start(&mallory, &package, &(start_plan){.created = now_ms()});
    blob hi = forge_text(&mallory, &(frame_plan){.with_welcome = 1, .lane = 1}, "hi");
    MUST(receive(hi.bytes, hi.size, 0, &out_size, &received));
    memset(accepted, 0, sizeof accepted);
    accepted[0] = 1;
    make_request();
}

/* ---------------------------------------------------------------- acts */

/* What a text says: the application data, or -1 for none, -2 for no right form. */
static int application(int has_parts, const uint8_t *bytes, size_t size, size_t *at) {
    *at = 0;
    if (!has_parts) return (int)size;
    while (*at < size) {
        if (bytes[(*at)++] == 0) return (int)(size - *at);
        if (size - *at < 2) return -2;
        size_t part = (size_t)bytes[*at] | (size_t)bytes[*at + 1] << 8;
        if (size - *at - 2 < part) return -2;
        *at += 2 + part;
    }
    return -1;
}

static void check_text(int has_parts, input text, size_t out_size, const pawl_received *received) {
    size_t at;
    int size = application(has_parts, text.bytes, text.size, &at);
    NEED(size != -2);
    NEED((size == -1) == ((received->flags & PAWL_RECEIVED_EMPTY) != 0));
    NEED(out_size == (size < 0 ? 0 : (size_t)size));
    NEED(out_size == 0 || memcmp(out, text.bytes + at, out_size) == 0);
}

static void raw_frame(input in) {
    size_t out_size;
    pawl_received received;
    uint32_t flags = take_byte(&in) & PAWL_RECEIVE_KEEP;
    /* A true one, of a seed, has used up what other acts count on: a new world. */
    if (receive(in.bytes, in.size, flags, &out_size, &received) == PAWL_OK) runs = 1 << 30;
}

static void changed_frame(input in) {
    size_t size, changed_size, out_size;
    pawl_received received;
    static uint8_t changed[8192];
    uint8_t text[64];
    size_t text_size = take_byte(&in) % sizeof text;
    random_buf(text, text_size);
    MUST(pawl_session_encrypt(alice_store, alice_session, text, text_size, frame, sizeof frame, &size));
    memcpy(changed, frame, size);
    changed_size = size;
    if (change(&in, changed, &changed_size, sizeof changed)) {
        NEED(receive(changed, changed_size, take_byte(&in) & PAWL_RECEIVE_KEEP, &out_size, &received) != PAWL_OK);
    }
    MUST(receive(frame, size, 0, &out_size, &received));
    NEED(out_size == text_size && memcmp(out, text, text_size) == 0);
    NEED(receive(frame, size, 0, &out_size, &received) == PAWL_REPLAY);
}

static void any_package(input in, int how) {
    blob from = {.size = 0};
    uint8_t session[16];
    int is_true = 1;
    if (how == 0) {
        add(&from, in.bytes, in.size > sizeof from.bytes ? sizeof from.bytes : in.size);
    } else {
        from = take_byte(&in) % 2 == 0 ? publish(take_word(&in)) : published;
        is_true = !change(&in, from.bytes, &from.size, sizeof from.bytes);
    }
    if (start(&from, session) != PAWL_OK) return;
    NEED(is_true);
    MUST(pawl_session_close(bob_store, session));
}

/* A package that is truly signed, whatever it says. */
static void signed_package(input in) {
    wire_peer who = publisher;
    input name = take_part(&in), list = take_part(&in);
    uint8_t session[16], init[32], how = take_byte(&in);
    package_plan plan = {.suites = NULL};
    if (how & 1) {
        who.name_size = name.size % 256;
        memcpy(who.name, name.bytes, who.name_size);
    }
    if (how & 2) {
        plan.suites = list.bytes;
        plan.suite_count = list.size % 256;
    }
    for (size_t i = 0; (how & 4) && i < 32; i++) init[i] = take_byte(&in);
    if (how & 4) plan.init_key = init;
    if (how & 8) plan.identity_key = mallory.agreement;
    if (how & 16) plan.one_time_id = take_word(&in);
    if (how & 32) plan.one_time_key = (how & 64) ? plan.init_key : mallory.agreement;
    plan.not_before = now_ms() + (int32_t)take_word(&in);
    plan.not_after = plan.not_before + (int64_t)take_word(&in) * ((how & 128) ? INT64_C(0x100000001) : 4);
    blob from = forge_package(&who, &plan);
    if (start(&from, session) != PAWL_OK) return;
    NEED(who.name_size == publisher.name_size && memcmp(who.name, publisher.name, who.name_size) == 0);
    NEED(plan.not_before <= now_ms() && now_ms() <= plan.not_after);
    NEED(plan.not_after - plan.not_before <= INT64_C(90) * 86400000 + 3600000);
    MUST(pawl_session_close(bob_store, session));
}

/* So that no input costs a second: indices whose keys are near, or beyond all limits. */
static uint32_t affordable(uint32_t index) { return index < 1u << 22 ? index % KNOWN_INDICES : index; }

/* A welcome whose sender knows all its keys, around any first message. */
static void hostile_welcome(input in) {
    wire_peer who = mallory;
    start_plan plan = {.created = now_ms()};
    frame_plan framed = {.with_welcome = 1};
    uint8_t how = take_byte(&in);
    framed.has_parts = how & 128;
    if (how & 1) plan.suite = take_byte(&in);
    if (how & 2) {
        input list = take_part(&in);
        plan.suites = list.bytes;
        plan.suite_count = list.size % 64;
    }
    if (how & 4) plan.created += (int64_t)(int32_t)take_word(&in) << (take_byte(&in) % 31);
    wire_start(&who, (how & 8) ? &bundle : &package, &plan);
    /* All is agreed on but when it was created, which is the sender's to say. */
    blob agreed = who.welcome;
    agreed.size -= 8;
    if (how & 16) change(&in, who.welcome.bytes, &who.welcome.size, 1024);
    int is_changed = who.welcome.size != agreed.size + 8 || memcmp(agreed.bytes, who.welcome.bytes, agreed.size) != 0;
    framed.lane = 1 + (uint64_t)take_byte(&in);
    if (how & 32) framed.epoch = take_byte(&in);
    if (how & 64) framed.index = affordable(take_word(&in) >> (take_byte(&in) % 32));
    input text = {in.bytes, in.size > 4096 ? 4096 : in.size};
    blob forged = forge_frame(&who, &framed, text.bytes, text.size);
    size_t out_size;
    pawl_received received;
    if (receive(forged.bytes, forged.size, 0, &out_size, &received) != PAWL_OK) return;
    NEED(!is_changed && framed.epoch == 0 && framed.index <= 1 << 20 && plan.suite <= 1);
    NEED(received.flags & PAWL_RECEIVED_NEW_SESSION);
    uint8_t session[16];
    memcpy(session, who.session, 16);
    session[15] |= 1;
    NEED(memcmp(received.session, session, 16) == 0);
    check_text(framed.has_parts, text, out_size, &received);
    NEED(receive(forged.bytes, forged.size, 0, &out_size, &received) == PAWL_REPLAY);
    MUST(pawl_session_close(bob_store, session));
    NEED(receive(forged.bytes, forged.size, 0, &out_size, &received) == PAWL_REPLAY);
    if (how & 8) runs = 1 << 30; /* the one-time key is used up: a new world */
}

/* Frames of the session of the hostile peer: any index, epoch, lane and text, truly sealed. */
static void hostile_frames(input in) {
    for (int count = take_byte(&in) % 16; count >= 0 && in.size > 0; count--) {
        uint8_t how = take_byte(&in);
        frame_plan framed = {.with_welcome = how & 1, .has_parts = how & 128};
        framed.lane = 1 + (uint64_t)take_byte(&in) % 20;
        framed.index = take_byte(&in);
        if (how & 2) framed.index = framed.index << 8 | take_byte(&in);
        if (how & 4) framed.index = take_word(&in);
        framed.index = affordable(framed.index);
        if (how & 8) framed.epoch = take_byte(&in);
        if (how & 16) framed.previous_length = take_word(&in);
        input text = take_part(&in);
        if (text.size > 4096) text.size = 4096;
        blob forged = forge_frame(&mallory, &framed, text.bytes, text.size);
        /* Behind the filter. */
        if (how & 32) forged.bytes[HEADER_SIZE + take_byte(&in) % (forged.size - HEADER_SIZE)] ^= 1;
        size_t out_size, at;
        pawl_received received;
        uint32_t flags = (how & 64) ? PAWL_RECEIVE_KEEP : 0;
        pawl_status status = receive(forged.bytes, forged.size, flags, &out_size, &received);
        if (status == PAWL_OK) {
            NEED(!(how & 32) && framed.epoch == 0 && framed.index < KNOWN_INDICES);
            NEED(!is_accepted(framed.index)); /* each has a nonce of its own, and is no repetition */
            NEED(received.index == framed.index && received.epoch == 0);
            accepted[framed.index / 8] |= (uint8_t)(1 << framed.index % 8);
            check_text(framed.has_parts, text, out_size, &received);
        } else {
            NEED((how & 32) || framed.epoch != 0 ||
                 application(framed.has_parts, text.bytes, text.size, &at) == -2 ||
                 status == PAWL_REPLAY || status == PAWL_DESYNCHRONIZED || status == PAWL_LIMIT_INDEX ||
                 status == PAWL_NOT_FOUND /* its time was over */);
        }
    }
}

/* Whether the session that asked for a package still needs one. */
static int is_waiting(void) {
    pawl_view *view = NULL;
    pawl_status status = pawl_session_get(bob_store, requesting, &view);
    if (status == PAWL_NOT_FOUND) return 0;
    pawl_session row = PAWL_INIT(pawl_session);
    MUST(status);
    MUST(pawl_view_session(view, 0, &row));
    pawl_view_close(view);
    return !(row.flags & PAWL_SESSION_CONFIRMED);
}

static void answer(input in) {
    static uint8_t bytes[8192];
    size_t size;
    uint8_t how = take_byte(&in);
    if (how & 1) {
        memcpy(bytes, published.bytes, size = published.size);
        if (!change(&in, bytes, &size, sizeof bytes)) return;
    } else {
        memcpy(bytes, in.bytes, size = in.size < sizeof bytes ? in.size : sizeof bytes);
    }
    int waits = is_waiting();
    pawl_status status = pawl_outbox_answer(bob_store, request, bytes, size);
    switch (PAWL_STATUS_REASON(status)) {
    case PAWL_OK:
        /* Whatever comes too late is taken. */
        NEED(!waits || (!(how & 1) && size == published.size && memcmp(bytes, published.bytes, size) == 0));
        runs = 1 << 30; /* the request is settled: a new world */
        break;
    case PAWL_AUTH: case PAWL_VERSION: case PAWL_MISUSE_PACKAGE: case PAWL_TIME: break;
    default: fprintf(stderr, "pawl_outbox_answer answers %s\n", pawl_status_name(status)); abort();
    }
}

static void wait_a_while(input in) {
    if (take_byte(&in) == 0xFF) now_ns += (int64_t)take_byte(&in) * 3600 * 1000000000;
    MUST(pawl_store_run_due(bob_store, 1000, NULL, NULL));
    pawl_view *view = NULL;
    MUST(pawl_outbox_take(bob_store, 1000, 1, &view));
    for (size_t row = 0; row < pawl_view_count(view); row++) {
        pawl_item item = PAWL_INIT(pawl_item);
        MUST(pawl_view_item(view, row, &item));
        if (item.seq != request) MUST(pawl_outbox_ack(bob_store, &item.seq, 1));
    }
    pawl_view_close(view);
}

/* ---------------------------------------------------------------- seeds */

/* One input at least for each act, with true bytes where it takes some. */
static void write_seeds(const char *folder) {
    static uint8_t bytes[9000];
    static const uint8_t parts[] = "\1\2\0\7\7\0text behind a part";
    size_t size;
    MUST(pawl_session_encrypt(alice_store, alice_session, parts, sizeof parts - 1, bytes + 1, sizeof bytes - 1, &size));
    bytes[0] = 0;
    seed(folder, 0, "frame", bytes, size + 1);
    blob forged = forge_frame(&mallory, &(frame_plan){.with_welcome = 1, .has_parts = 1, .index = 3}, parts,
                              sizeof parts - 1);
    memcpy(bytes + 1, forged.bytes, forged.size);
    seed(folder, 0, "welcome", bytes, forged.size + 1);
    seed(folder, 1, "flip", (const uint8_t *)"\10\1\0\56\1\0\0\0", 8);
    seed(folder, 1, "cut", (const uint8_t *)"\10\0\1\3", 4);
    seed(folder, 2, "package", published.bytes, published.size);
    seed(folder, 2, "bundle", bundle.bytes, bundle.size);
    seed(folder, 3, "one-time", (const uint8_t *)"\0\0\0\0\1\0\0\0", 8);
    seed(folder, 3, "flip", (const uint8_t *)"\1\1\0\122\1\0\0", 7);
    seed(folder, 4, "good", (const uint8_t *)"\0\0\0\0\0\0\0\0\0\100\0\0\0", 13);
    seed(folder, 4, "suites", (const uint8_t *)"\0\0\0\3\1\2\3\2\0\0\0\0\100\0\0\0", 16);
    seed(folder, 4, "one-time", (const uint8_t *)"\0\0\0\0\20\0\0\0\1\0\0\0\0\100\0\0\0", 17);
    seed(folder, 5, "good", (const uint8_t *)"\0\1text", 6);
    seed(folder, 5, "parts", (const uint8_t *)"\200\1\0text", 7);
    seed(folder, 5, "one-time", (const uint8_t *)"\10\1text", 6);
    seed(folder, 5, "index", (const uint8_t *)"\100\1\0\0\1\0\0text", 11);
    seed(folder, 6, "late", (const uint8_t *)"\3\0\1\5\0\1a\0\1\3\0\1b\0\1\3\0\1b", 19);
    seed(folder, 6, "parts", (const uint8_t *)"\0\301\1\7\0\7\1\2\0xy\0z", 13);
    bytes[0] = 0;
    memcpy(bytes + 1, published.bytes, published.size);
    seed(folder, 8, "package", bytes, published.size + 1);
    seed(folder, 8, "flip", (const uint8_t *)"\1\1\0\122\1\0\0", 7);
    seed(folder, 9, "hours", (const uint8_t *)"\377\30", 2);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    randombytes_set_implementation(&random_source);
    NEED(sodium_init() >= 0);
    world_begin();
    const char *folder = corpus(*argc, *argv);
    if (folder != NULL) write_seeds(folder);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    if (runs >= 300) { /* so that no store grows without end, and what is found can be found again */
        world_end();
        world_begin();
    }
    runs++;
    input in = {bytes, size};
    switch (take_byte(&in) % 10) {
    case 0: raw_frame(in); break;
    case 1: changed_frame(in); break;
    case 2: any_package(in, 0); break;
    case 3: any_package(in, 1); break;
    case 4: signed_package(in); break;
    case 5: hostile_welcome(in); break;
    case 6: case 7: hostile_frames(in); break;
    case 8: answer(in); break;
    default: wait_a_while(in);
    }
    return 0;
}
