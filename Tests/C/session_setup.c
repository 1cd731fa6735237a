/* How sessions begin: packages and welcomes, right and wrong in every part, quotas and times; and two who start at
 * once, in every order. */
#include "sessions.h"

static pair p; /* callbacks point into it */
static wire_peer forger;

/* ---------------------------------------------------------------- the matrix */

/* With a one-time key or without, the first message lost, repeated, or repeated after the session was closed. */
static void first_messages(void) {
    for (int one_time = 0; one_time < 2; one_time++) {
        for (int loses_first = 0; loses_first < 2; loses_first++) {
            pair_start(&p, KIND_SQLITE);
            pair_open(&p, one_time);
            CHECK(session_row(&p.alice, p.at_alice).flags == PAWL_SESSION_INITIATOR);
            blob first = say(&p.alice, p.at_alice, "first"), second = say(&p.alice, p.at_alice, "second");
            const blob *opening = loses_first ? &second : &first;
            heard got = HEARS(&p.bob, opening, loses_first ? "second" : "first");
            CHECK(got.received.flags == PAWL_RECEIVED_NEW_SESSION);
            CHECK(got.received.index == (uint32_t)loses_first && memcmp(got.received.session, p.at_bob, 16) == 0);
            pawl_session row = session_row(&p.bob, p.at_bob);
            CHECK(row.flags == 0 && row.suite == PAWL_SUITE_X25519 && row.received == 1u + (uint32_t)loses_first);
            CHECK(row.skipped == (uint32_t)loses_first && memcmp(row.account, p.bob.account, 16) == 0);
            pawl_identity alice = identity_of(&p.alice);
            CHECK(memcmp(row.peer_signing_key, alice.signing_key, 32) == 0);
            CHECK(one_time_left(&p.bob) == (one_time ? 1u : 0u));
            ANSWERS(PAWL_REPLAY, hear(&p.bob, opening, NULL));
            setup_reopen(&p.b);
            ANSWERS(PAWL_REPLAY, hear(&p.bob, opening, NULL));
            HEARS(&p.bob, loses_first ? &first : &second, loses_first ? "first" : "second");
            CHECK(session_count(&p.bob, "alice") == 1);
            /* The peer confirms; then there is no welcome any more. */
            blob answer = say(&p.bob, p.at_bob, "answer");
            CHECK(answer.bytes[1] == 1);
            HEARS(&p.alice, &answer, "answer");
            blob third = say(&p.alice, p.at_alice, "third");
            CHECK(third.bytes[1] == 1 && number_at(third.bytes + 14, 4) == 2);
            HEARS(&p.bob, &third, "third");
            CHECK(session_row(&p.bob, p.at_bob).flags == PAWL_SESSION_CONFIRMED);
            OK(pawl_session_close(store_of(&p.bob), p.at_bob));
            ANSWERS(PAWL_REPLAY, hear(&p.bob, &first, NULL));
            ANSWERS(PAWL_REPLAY, hear(&p.bob, &second, NULL));
            ANSWERS(PAWL_NOT_FOUND, hear(&p.bob, &third, NULL));
            CHECK(session_count(&p.bob, "alice") == 0);
            /* That it is closed, and once more to one who did not hear it; not for each frame. */
            SAYS(&p.bob, p.at_bob, NULL);
            SAYS(&p.bob, p.at_bob, NULL);
            NO_ITEMS(&p.bob);
            CHECK(damage_count(store_of(&p.bob)) == 0);
            pair_end(&p);
        }
    }
}

static void used_and_deleted_keys(void) {
    pair_start(&p, KIND_SQLITE);
    blob bundle = package_of(&p.bob, 1), bare = bundle;
    bare.size -= 118; /* without the one-time key */
    id16 sessions[4];
    for (int i = 0; i < 4; i++) MUST(start(&p.alice, &p.bob, i < 2 ? &bundle : &bare, sessions[i]));
    blob frames[4];
    for (int i = 0; i < 4; i++) frames[i] = say(&p.alice, sessions[i], "x");
    HEARS(&p.bob, &frames[0], "x");
    ANSWERS(PAWL_NOT_FOUND, hear(&p.bob, &frames[1], NULL)); /* the same one-time key */
    ANSWERS(PAWL_NOT_FOUND, hear(&p.bob, &frames[1], NULL));
    HEARS(&p.bob, &frames[2], "x"); /* the package itself serves many */
    CHECK(session_count(&p.bob, "alice") == 2);
    parsed_package parsed = parse_package(&bundle);
    OK(pawl_package_delete(store_of(&p.bob), p.bob.account, parsed.id));
    ANSWERS(PAWL_NOT_FOUND, pawl_package_delete(store_of(&p.bob), p.bob.account, parsed.id));
    ANSWERS(PAWL_NOT_FOUND, hear(&p.bob, &frames[3], NULL));
    /* Neither do the sessions that it began need it. */
    ANSWERS(PAWL_NOT_FOUND, hear(&p.bob, &frames[0], NULL));
    id16 at_bob;
    memcpy(at_bob, sessions[0], 16);
    at_bob[15] |= 1;
    CHECK(has_session(&p.bob, at_bob));
    pair_end(&p);
}

/* A welcome for somebody else, and one that claims another name: the set-up is right in all but that. */
static void wrong_names(void) {
    pair_start(&p, KIND_MEMORY);
    blob bundle = package_of(&p.bob, 1);
    id16 session;
    ANSWERS(PAWL_AUTH, start_named(&p.alice, "carol", &bundle, session));
    ANSWERS(PAWL_AUTH, start_named(&p.alice, "bo", &bundle, session));
    ANSWERS(PAWL_AUTH, start_named(&p.alice, "bobb", &bundle, session));
    CHECK(session_count(&p.alice, "carol") == 0 && session_count(&p.alice, "bob") == 0);
    wire_peer_new(&forger, "forger");
    const start_plan plan = {.responder_name = "carol", .created = p.b.now / MILLISECOND};
    wire_start(&forger, &bundle, &plan);
    const frame_plan first = {.with_welcome = 1};
    blob frame = forge_text(&forger, &first, "x");
    ANSWERS(PAWL_AUTH, hear(&p.bob, &frame, NULL));
    side carol; /* in the same store: not her package */
    side_new(&carol, &p.b, "carol");
    ANSWERS(PAWL_NOT_FOUND, hear(&carol, &frame, NULL));
    CHECK(one_time_left(&p.bob) == 2);
    pair_end(&p);
}

/* A welcome that is right for one package and names another. */
static void another_package(void) {
    pair_start(&p, KIND_MEMORY);
    blob first = package_of(&p.bob, 0), second = package_of(&p.bob, 0);
    id16 session;
    MUST(start(&p.alice, &p.bob, &first, session));
    blob frame = say(&p.alice, session, "x"), downgraded = frame;
    parsed_package other = parse_package(&second), own = parse_package(&first);
    uint8_t *at = memmem(downgraded.bytes, downgraded.size, own.id, 16);
    NEED(at != NULL);
    memcpy(at, other.id, 16);
    ANSWERS(PAWL_AUTH, hear(&p.bob, &downgraded, NULL));
    /* A one-time key of the other package. */
    blob mixed = first, keyed = package_of(&p.bob, 1);
    add(&mixed, keyed.bytes + keyed.size - 118, 118);
    ANSWERS(PAWL_AUTH, start(&p.alice, &p.bob, &mixed, session));
    HEARS(&p.bob, &frame, "x");
    pair_end(&p);
}

/* ---------------------------------------------------------------- packages of others */

static void forged_packages(void) {
    pair_start(&p, KIND_MEMORY);
    int64_t now = p.a.now / MILLISECOND, day = 86400000, hour = 3600000;
    wire_peer_new(&forger, "bob");
    static const uint8_t both[] = {1, 2}, more[] = {1, 7, 250}, none[] = {2}, zero[] = {0, 1}, unsorted[] = {2, 1},
                         twice[] = {1, 1}, unknown[] = {9};
    const struct {
        const char *what;
        package_plan plan;
        pawl_status answer;
    } rows[] = {
        {"good", {.not_before = now - hour, .not_after = now + day}, PAWL_OK},
        {"good with a one-time key", {.not_before = now - hour, .not_after = now + day, .one_time_id = 1}, PAWL_OK},
        {"unknown suites beside", {.not_before = now, .not_after = now + day, .suites = more, .suite_count = 3},
         PAWL_OK},
        {"suite 0 beside", {.not_before = now, .not_after = now + day, .suites = zero, .suite_count = 2}, PAWL_OK},
        {"suites 1 and 2", {.not_before = now, .not_after = now + day, .suites = both, .suite_count = 2}, PAWL_OK},
        {"suites 1 and 2 with a key",
         {.not_before = now, .not_after = now + day, .suites = both, .suite_count = 2, .one_time_id = 5}, PAWL_OK},
        {"no suite that we know", {.not_before = now, .not_after = now + day, .suites = unknown, .suite_count = 1},
         PAWL_STATE_SUITE},
#ifndef crypto_kem_PUBLICKEYBYTES
        {"suite 2 alone", {.not_before = now, .not_after = now + day, .suites = none, .suite_count = 1},
         PAWL_STATE_SUITE},
#endif
        {"no suites", {.not_before = now, .not_after = now + day, .suites = none, .suite_count = 0},
         PAWL_MISUSE_PACKAGE},
        {"suites not ascending", {.not_before = now, .not_after = now + day, .suites = unsorted, .suite_count = 2},
         PAWL_MISUSE_PACKAGE},
        {"a suite twice", {.not_before = now, .not_after = now + day, .suites = twice, .suite_count = 2},
         PAWL_MISUSE_PACKAGE},
        {"identity key not canonical",
         {.not_before = now, .not_after = now + day, .identity_key = non_canonical_nine}, PAWL_AUTH},
        {"init key not canonical", {.not_before = now, .not_after = now + day, .init_key = non_canonical_nine},
         PAWL_AUTH},
        {"one-time key not canonical",
         {.not_before = now, .not_after = now + day, .one_time_key = non_canonical_nine, .one_time_id = 1}, PAWL_AUTH},
        {"one-time key 0", {.not_before = now, .not_after = now + day, .one_time_key = nine}, PAWL_MISUSE_PACKAGE},
        {"a one-time key of another", {.not_before = now, .not_after = now + day, .one_time_id = 1, .other_package = 1},
         PAWL_AUTH},
        {"ends now", {.not_before = now - day, .not_after = now}, PAWL_OK},
        {"ended", {.not_before = now - day, .not_after = now - 1}, PAWL_TIME},
        {"begins now", {.not_before = now, .not_after = now + day}, PAWL_OK},
        {"not yet valid", {.not_before = now + 1, .not_after = now + day}, PAWL_TIME},
        {"90 days and an hour", {.not_before = now, .not_after = now + 90 * day + hour}, PAWL_OK},
        {"longer", {.not_before = now, .not_after = now + 90 * day + hour + 1}, PAWL_TIME},
        /* The key is refused before the time. */
        {"ended, and an identity key not canonical",
         {.not_before = now - day, .not_after = now - 1, .identity_key = non_canonical_nine}, PAWL_AUTH},
        {"ended, and an init key not canonical",
         {.not_before = now - day, .not_after = now - 1, .init_key = non_canonical_nine}, PAWL_AUTH},
        {"ended, and a one-time key not canonical",
         {.not_before = now - day, .not_after = now - 1, .one_time_key = non_canonical_nine, .one_time_id = 1},
         PAWL_AUTH},
        {"for ever", {.not_before = INT64_MIN, .not_after = INT64_MAX}, PAWL_TIME},
        {"ends before it begins", {.not_before = now + 1, .not_after = now - 1}, PAWL_TIME},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        blob package = forge_package(&forger, &rows[i].plan);
        id16 session;
        pawl_status got = start(&p.alice, &p.bob, &package, session);
        CHECK_SAYING(got == rows[i].answer, "%s: %s", rows[i].what, pawl_status_name(got));
        CHECK(is_zero(session, 16) == (got != PAWL_OK));
        CHECK(session_count(&p.alice, "bob") == (got == PAWL_OK));
        if (got == PAWL_OK) OK(pawl_session_close(store_of(&p.alice), session));
    }
    /* Nothing that is refused here leaves a peer behind. */
    side carol;
    side_new(&carol, &p.a, "carol");
    const package_plan late = {.not_before = now - day, .not_after = now - 1};
    blob package = forge_package(&forger, &late);
    id16 session;
    ANSWERS(PAWL_TIME, start(&carol, &p.bob, &package, session));
    pawl_peer peer;
    ANSWERS(PAWL_NOT_FOUND, try_peer(&carol, "bob", &peer));
    pair_end(&p);
}

/* All-zero agreements: keys of small order. */
static void keys_of_small_order(void) {
    pair_start(&p, KIND_MEMORY);
    static const uint8_t zero[32], one[32] = {1};
    int64_t now = p.a.now / MILLISECOND, day = 86400000;
    wire_peer_new(&forger, "bob");
    const uint8_t *keys[] = {zero, one};
    id16 session;
    for (int i = 0; i < 2; i++) {
        const package_plan plans[] = {
            {.not_before = now, .not_after = now + day, .identity_key = keys[i]},
            {.not_before = now, .not_after = now + day, .init_key = keys[i]},
            {.not_before = now, .not_after = now + day, .one_time_key = keys[i], .one_time_id = 1},
        };
        for (int j = 0; j < 3; j++) {
            blob package = forge_package(&forger, &plans[j]);
            ANSWERS(PAWL_AUTH, start(&p.alice, &p.bob, &package, session));
        }
    }
    pair_end(&p);
}

/* Every byte of a package and its one-time key, flipped, and every length. */
static void damaged_packages(void) {
    pair_start(&p, KIND_MEMORY);
    blob bundle = package_of(&p.bob, 1), damaged;
    size_t package_size = bundle.size - 118;
    id16 session;
    for (int high = 0; high < 2; high++) {
        for (size_t at = 0; at < bundle.size; at++) {
            damaged = bundle;
            damaged.bytes[at] ^= high ? 0x80 : 1;
            pawl_status got = start(&p.alice, &p.bob, &damaged, session);
            int is_version = at == 0 || at == package_size;
            CHECK_SAYING(is_version && high ? got == PAWL_VERSION : got == PAWL_AUTH || got == PAWL_MISUSE_PACKAGE,
                         "byte %zu: %s", at, pawl_status_name(got));
            /* Without the one-time key, whose signature covers the package, too. */
            damaged.size = package_size;
            if (at < package_size) CHECK(start(&p.alice, &p.bob, &damaged, session) == got);
        }
    }
    for (size_t size = 0; size < bundle.size; size++) {
        if (size == package_size) continue;
        damaged = bundle;
        damaged.size = size;
        pawl_status got = start(&p.alice, &p.bob, &damaged, session);
        CHECK_SAYING(got == PAWL_MISUSE_PACKAGE, "%zu bytes: %s", size, pawl_status_name(got));
    }
    damaged = bundle;
    add(&damaged, bundle.bytes + package_size, 118); /* two one-time keys */
    ANSWERS(PAWL_MISUSE_PACKAGE, start(&p.alice, &p.bob, &damaged, session));
    damaged = bundle;
    add(&damaged, "", 1);
    ANSWERS(PAWL_MISUSE_PACKAGE, start(&p.alice, &p.bob, &damaged, session));
    CHECK(session_count(&p.alice, "bob") == 0);
    OK(start(&p.alice, &p.bob, &bundle, session));
    pair_end(&p);
}

static void oneself(void) {
    pair_start(&p, KIND_MEMORY);
    blob bundle = package_of(&p.alice, 0);
    id16 session;
    ANSWERS(PAWL_STATE_SELF, start(&p.alice, &p.alice, &bundle, session));
    /* Inbound: somebody shows bob his own keys. */
    blob bobs = package_of(&p.bob, 1);
    pawl_identity bob = identity_of(&p.bob);
    wire_peer_new(&forger, "bob");
    const start_plan plan = {.created = p.b.now / MILLISECOND};
    memcpy(forger.signing, bob.signing_key, 32);
    memcpy(forger.agreement, bob.agreement_key, 32);
    wire_start(&forger, &bobs, &plan);
    const frame_plan first = {.with_welcome = 1};
    blob frame = forge_text(&forger, &first, "x");
    ANSWERS(PAWL_STATE_SELF, hear(&p.bob, &frame, NULL));
    CHECK(one_time_left(&p.bob) == 2);
    /* Another account of the same name is somebody else. */
    side other;
    side_new(&other, &p.a, "alice");
    bundle = package_of(&other, 0);
    OK(start(&p.alice, &other, &bundle, session));
    pair_end(&p);
}

/* ---------------------------------------------------------------- welcomes of others */

/* Each right in all but one thing; none changes anything, and the one-time key stays usable. */
static void forged_welcomes(void) {
    pair_start(&p, KIND_MEMORY);
    blob bundle = package_of(&p.bob, 1);
    static const uint8_t stripped[] = {7}, strongest[] = {2}, both[] = {1, 2};
    static const uint8_t elsewhere[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    int64_t now = p.b.now / MILLISECOND;
    const struct {
        const char *what;
        start_plan start;
        frame_plan frame;
        pawl_status answer;
    } rows[] = {
        {"another session in the header", {.created = now}, {.with_welcome = 1, .session = elsewhere}, PAWL_AUTH},
        {"a wrong filter", {.created = now}, {.with_welcome = 1, .wrong_filter = 1}, PAWL_AUTH},
        {"a wrong key", {.created = now}, {.with_welcome = 1, .wrong_key = 1}, PAWL_AUTH},
        {"epoch 1", {.created = now}, {.with_welcome = 1, .epoch = 1}, PAWL_AUTH},
        {"index 2^20 + 1", {.created = now}, {.with_welcome = 1, .index = (1u << 20) + 1}, PAWL_AUTH},
        {"index 2^31", {.created = now}, {.with_welcome = 1, .index = 1u << 31}, PAWL_AUTH},
        {"a list without the suite", {.created = now, .suites = stripped, .suite_count = 1}, {.with_welcome = 1},
         PAWL_AUTH},
        {"a suite that the package has not", {.created = now, .suites = strongest, .suite_count = 1},
         {.with_welcome = 1}, PAWL_AUTH},
        {"suite 3", {.created = now, .suite = 3}, {.with_welcome = 1}, PAWL_AUTH},
        {"an ephemeral key that is not canonical", {.created = now, .ephemeral = non_canonical_nine},
         {.with_welcome = 1}, PAWL_AUTH},
        {"another name", {.created = now, .responder_name = "Bob"}, {.with_welcome = 1}, PAWL_AUTH},
        {"another name in the welcome alone", {.created = now, .welcome_name = "Bob"}, {.with_welcome = 1}, PAWL_AUTH},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        wire_peer_new(&forger, "forger");
        wire_start(&forger, &bundle, &rows[i].start);
        blob frame = forge_text(&forger, &rows[i].frame, "x");
        pawl_status got = hear(&p.bob, &frame, NULL);
        CHECK_SAYING(got == rows[i].answer, "%s: %s", rows[i].what, pawl_status_name(got));
        CHECK(one_time_left(&p.bob) == 2 && session_count(&p.bob, "forger") == 0);
        pawl_peer peer;
        ANSWERS(PAWL_NOT_FOUND, try_peer(&p.bob, "forger", &peer));
    }
    wire_peer_new(&forger, "forger");
    /* Neither were those refused because this peer can do nothing right: */
    const start_plan good = {.created = now, .suites = both, .suite_count = 2, .ephemeral = nine};
    wire_start(&forger, &bundle, &good);
    const frame_plan far = {.with_welcome = 1, .index = 1u << 20};
    blob frame = forge_text(&forger, &far, "far");
    heard got = HEARS(&p.bob, &frame, "far");
    CHECK(got.received.flags == PAWL_RECEIVED_NEW_SESSION && one_time_left(&p.bob) == 1);
    TELLS(&p.bob, PAWL_EVENT_LOST, got.received.session, (1u << 20) - 2048);
    NO_ITEMS(&p.bob);
    pair_end(&p);
}

/* ---------------------------------------------------------------- times of packages */

static void package_times(void) {
    pair_start(&p, KIND_SQLITE);
    pawl_package_options options = PAWL_INIT(pawl_package_options);
    options.lifetime_ns = DAY;
    pawl_view *view = NULL;
    MUST(pawl_package_create(store_of(&p.bob), p.bob.account, &options, &view));
    pawl_package package = PAWL_INIT(pawl_package);
    MUST(pawl_view_package(view, 0, &package));
    int64_t begin = p.b.now;
    CHECK(package.not_before_ns == begin - HOUR && package.not_after_ns == begin + DAY);
    blob bundle = {.size = 0};
    add(&bundle, package.bytes, package.bytes_size);
    pawl_view_close(view);

    id16 early, late, later;
    p.a.now = begin - HOUR - 1;
    ANSWERS(PAWL_TIME, start(&p.alice, &p.bob, &bundle, early));
    p.a.now = begin - HOUR;
    OK(start(&p.alice, &p.bob, &bundle, early));
    p.a.now = begin + DAY;
    OK(start(&p.alice, &p.bob, &bundle, late));
    OK(start(&p.alice, &p.bob, &bundle, later));
    /* The first message, too, must leave in time; those behind it may follow later. */
    blob in_time = say(&p.alice, late, "in time"), frame;
    p.a.now = begin + DAY + MILLISECOND;
    ANSWERS(PAWL_TIME, start(&p.alice, &p.bob, &bundle, early));
    ANSWERS(PAWL_TIME, try_say(store_of(&p.alice), later, "x", &frame));
    ANSWERS(PAWL_TIME, pawl_session_send(store_of(&p.alice), later, "x", 1, NULL));
    CHECK(session_row(&p.alice, later).sent == 0);
    blob second = say(&p.alice, late, "second");
    OK(pawl_session_send(store_of(&p.alice), late, "third", 5, NULL));
    /* An hour more for those under way. */
    p.b.now = begin + DAY + HOUR + MILLISECOND;
    ANSWERS(PAWL_TIME, hear(&p.bob, &in_time, NULL));
    p.b.now = begin + DAY + HOUR;
    HEARS(&p.bob, &in_time, "in time");
    p.b.now = begin + 3 * DAY;
    HEARS(&p.bob, &second, "second"); /* known by then */
    pair_end(&p);
}

static void lists_of_packages(void) {
    pair_start(&p, KIND_SQLITE);
    pawl_package_options options = PAWL_INIT(pawl_package_options);
    pawl_view *view = NULL;
    for (uint32_t i = 0; i < 16; i++) {
        options.one_time_count = i == 3 ? 500 : i;
        options.lifetime_ns = i == 0 ? 0 : DAY;
        MUST(pawl_package_create(store_of(&p.bob), p.bob.account, &options, &view));
        CHECK(pawl_view_count(view) == 1 + options.one_time_count);
        for (size_t row = 0; row < pawl_view_count(view); row++) {
            pawl_package package = PAWL_INIT(pawl_package);
            MUST(pawl_view_package(view, row, &package));
            CHECK(package.kind == (row == 0 ? PAWL_PACKAGE : PAWL_PACKAGE_ONE_TIME) && package.key_id == row);
            CHECK(package.one_time_count == (row == 0 ? options.one_time_count : 0));
            CHECK(package.not_after_ns == p.b.now + (i == 0 ? PAWL_PACKAGE_LIFETIME_DEFAULT : DAY));
            CHECK(package.bytes_size <= PAWL_PACKAGE_SIZE_MAX);
        }
        pawl_view_close(view);
        p.b.now += SECOND;
    }
    ANSWERS(PAWL_LIMIT_PACKAGES, pawl_package_create(store_of(&p.bob), p.bob.account, NULL, &view));
    CHECK(view == NULL);
    setup_reopen(&p.b);
    MUST(pawl_package_list(store_of(&p.bob), p.bob.account, &view));
    CHECK(pawl_view_count(view) == 16);
    pawl_package package = PAWL_INIT(pawl_package);
    for (uint32_t i = 0; i < 16; i++) {
        MUST(pawl_view_package(view, i, &package));
        CHECK(package.kind == PAWL_PACKAGE && package.one_time_count == (i == 3 ? 500 : i));
    }
    OK(pawl_package_delete(store_of(&p.bob), p.bob.account, package.id));
    pawl_view_close(view);
    OK(pawl_package_create(store_of(&p.bob), p.bob.account, NULL, &view));
    pawl_view_close(view);
    CHECK(damage_count(store_of(&p.bob)) == 0);
    pair_end(&p);
}

/* ---------------------------------------------------------------- quotas */

/* A session that a new peer of this name begins, or not. */
static pawl_status knock(const blob *bundle, id16 at_bob) {
    const start_plan plan = {.created = p.b.now / MILLISECOND};
    wire_start(&forger, bundle, &plan);
    const frame_plan first = {.with_welcome = 1};
    blob frame = forge_text(&forger, &first, "knock");
    heard got;
    pawl_status status = hear(&p.bob, &frame, &got);
    if (at_bob != NULL && status == PAWL_OK) memcpy(at_bob, got.received.session, 16);
    return status;
}

static void eight_sessions_of_an_identity(void) {
    pair_start(&p, KIND_MEMORY);
    blob bundle = package_of(&p.bob, 0), keyed = package_of(&p.bob, 1);
    wire_peer_new(&forger, "forger");
    id16 first, session;
    for (int i = 0; i < 8; i++) OK(knock(&bundle, i == 0 ? first : session));
    ANSWERS(PAWL_LIMIT_SESSIONS, knock(&bundle, NULL));
    CHECK(session_count(&p.bob, "forger") == 8);
    OK(pawl_session_close(store_of(&p.bob), first));
    OK(knock(&bundle, NULL));
    ANSWERS(PAWL_LIMIT_SESSIONS, knock(&keyed, NULL)); /* which keeps its one-time key */
    pawl_view *view = NULL;
    MUST(pawl_package_list(store_of(&p.bob), p.bob.account, &view));
    uint32_t left = 0;
    for (size_t row = 0; row < 2; row++) {
        pawl_package package = PAWL_INIT(pawl_package);
        MUST(pawl_view_package(view, row, &package));
        left += package.one_time_count;
    }
    CHECK(left == 2);
    pawl_view_close(view);
    /* One's own starts count as well. */
    blob alices = package_of(&p.alice, 0);
    for (int i = 0; i < 8; i++) OK(start(&p.bob, &p.alice, &alices, session));
    ANSWERS(PAWL_LIMIT_SESSIONS, start(&p.bob, &p.alice, &alices, session));
    pair_end(&p);
}

static void unconfirmed_sessions_of_an_account(void) {
    pair_start(&p, KIND_MEMORY);
    blob bundle = package_of(&p.bob, 0);
    char name[16];
    id16 sessions[256];
    wire_peer second = {.name_size = 0};
    for (int i = 0; i < 256; i++) {
        snprintf(name, sizeof name, "peer %d", i);
        wire_peer_new(&forger, name);
        OK(knock(&bundle, sessions[i]));
        if (i == 1) second = forger;
    }
    wire_peer_new(&forger, "one too many");
    ANSWERS(PAWL_LIMIT_SESSIONS, knock(&bundle, NULL));
    pawl_peer peer;
    ANSWERS(PAWL_NOT_FOUND, try_peer(&p.bob, "one too many", &peer));
    /* Room is made by closing one, by confirming one, and by the end of one that nobody confirmed. */
    OK(pawl_session_close(store_of(&p.bob), sessions[0]));
    OK(knock(&bundle, NULL));
    wire_peer_new(&forger, "one more");
    ANSWERS(PAWL_LIMIT_SESSIONS, knock(&bundle, NULL));
    /* Who leaves the welcome out before there was an answer confirms nothing. */
    const frame_plan plain = {.index = 1}, answered = {.index = 2};
    blob frame = forge_text(&second, &plain, "too early");
    HEARS(&p.bob, &frame, "too early");
    CHECK(!(session_row(&p.bob, sessions[1]).flags & PAWL_SESSION_CONFIRMED));
    ANSWERS(PAWL_LIMIT_SESSIONS, knock(&bundle, NULL));
    frame = say(&p.bob, sessions[1], "answer");
    frame = forge_text(&second, &answered, "confirmed");
    HEARS(&p.bob, &frame, "confirmed");
    OK(knock(&bundle, NULL));
    wire_peer_new(&forger, "and one more");
    ANSWERS(PAWL_LIMIT_SESSIONS, knock(&bundle, NULL));
    /* A confirmed one that is closed was not counted any more. */
    OK(pawl_session_close(store_of(&p.bob), sessions[1]));
    ANSWERS(PAWL_LIMIT_SESSIONS, knock(&bundle, NULL));
    p.b.now += 7 * DAY;
    run_due(&p.bob);
    OK(knock(&bundle, NULL));
    CHECK(damage_count(store_of(&p.bob)) == 0);
    pair_end(&p);
}

/* ---------------------------------------------------------------- glare */

enum { START_A, START_B, A_FIRST, A_SECOND, B_FIRST, B_SECOND, EVENTS };
static const char *const said[EVENTS] = {"", "", "a first", "a second", "b first", "b second"};
static int glare_runs, glare_in_one_store, glare_follows;
static int glare_seen[2]; /* runs in which the session of alice's start had the lower id, and the higher */

/* What one says now: in the session that its store says is the one to send in. */
static int speak(const side *who, const char *peer, const char *text, blob *frame) {
    pawl_peer row = peer_row(who, peer);
    if (!(row.flags & PAWL_PEER_HAS_SESSION)) return 0;
    pawl_status status = try_say(store_of(who), row.session, text, frame);
    CHECK_SAYING(status == PAWL_OK, "%s cannot speak: %s", who->name, pawl_status_name(status));
    return status == PAWL_OK;
}

static void glare_run(const int *order, int count) {
    int before = test_faults;
    setup_start(&p.a, KIND_MEMORY);
    side_new(&p.alice, &p.a, "alice");
    if (glare_in_one_store) {
        side_new(&p.bob, &p.a, "bob");
    } else {
        setup_start(&p.b, KIND_MEMORY);
        side_new(&p.bob, &p.b, "bob");
    }
    const side *sides[2] = {&p.alice, &p.bob};
    blob packages[2] = {package_of(&p.alice, 0), package_of(&p.bob, 0)}, frames[EVENTS];
    id16 sessions[2];
    for (int i = 0; i < count; i++) {
        int event = order[i];
        p.a.now += MILLISECOND;
        p.b.now = p.a.now;
        if (event <= START_B) {
            const side *who = sides[event], *other = sides[1 - event];
            MUST(start(who, other, &packages[1 - event], sessions[event]));
            MUST(try_say(store_of(who), sessions[event], said[A_FIRST + 2 * event], &frames[A_FIRST + 2 * event]));
            MUST(try_say(store_of(who), sessions[event], said[A_SECOND + 2 * event], &frames[A_SECOND + 2 * event]));
        } else {
            int from = event >= B_FIRST;
            /* The second may be said only when it is its turn, in whatever session is then the one to send in. */
            if (glare_follows && (event == A_SECOND || event == B_SECOND)) {
                if (!speak(sides[from], sides[1 - from]->name, said[event], &frames[event])) continue;
            }
            HEARS(sides[1 - from], &frames[event], said[event]);
        }
    }
    /* The network behaves from now on. */
    blob frame;
    for (int round = 0; round < 3; round++) {
        for (int turn = 0; turn < 2; turn++) {
            int from = (turn + round) % 2;
            CHECK(speak(sides[from], sides[1 - from]->name, "on we go", &frame));
            HEARS(sides[1 - from], &frame, "on we go");
            if (round == 2) CHECK(frame.bytes[1] == 1); /* both know of each other by then */
        }
    }
    for (int i = 0; i < 2; i++) {
        pawl_peer row = peer_row(sides[i], sides[1 - i]->name);
        pawl_session session = session_row(sides[i], row.session);
        CHECK((session.flags & PAWL_SESSION_CONFIRMED) && !(session.flags & PAWL_SESSION_RECEIVE_ONLY));
    }
    /* Crossing: both speak before either hears. */
    blob crossing[2];
    for (int i = 0; i < 2; i++) CHECK(speak(sides[i], sides[1 - i]->name, "crossing", &crossing[i]));
    for (int i = 0; i < 2; i++) HEARS(sides[1 - i], &crossing[i], "crossing");
    glare_seen[memcmp(sessions[0], sessions[1], 16) > 0]++;
    if (test_faults > before) {
        fprintf(stderr, "  after:");
        for (int i = 0; i < count; i++) fprintf(stderr, " %d", order[i]);
        fprintf(stderr, "\n");
    }
    setup_end(&p.a);
    if (!glare_in_one_store) setup_end(&p.b);
}

/* Every order of two starts and every selection of the frames, each behind its start. */
static void glare_orders(int *order, int count, unsigned used, unsigned wanted) {
    if (used == wanted) {
        glare_runs++;
        /* Who of two sends is the lower id's: both ways, each of which comes up every other time. */
        memset(glare_seen, 0, sizeof glare_seen);
        for (int i = 0; i < 64 && (glare_seen[0] == 0 || glare_seen[1] == 0); i++) glare_run(order, count);
        CHECK(glare_seen[0] > 0 && glare_seen[1] > 0);
        return;
    }
    for (int event = 0; event < EVENTS; event++) {
        if (!(wanted >> event & 1) || (used >> event & 1)) continue;
        if (event >= A_FIRST && !(used >> (event >= B_FIRST) & 1)) continue;
        order[count] = event;
        glare_orders(order, count + 1, used | 1u << event, wanted);
    }
}

static void every_glare(int in_one_store, int follows) {
    int order[EVENTS];
    glare_in_one_store = in_one_store;
    glare_follows = follows;
    glare_runs = 0;
    for (unsigned frames = 0; frames < 16; frames++) glare_orders(order, 0, 0, 3 | frames << 2);
    CHECK_SAYING(glare_runs == 214, "%d orders", glare_runs);
}

static void glare(void) { every_glare(0, 0); }
static void glare_with_answers_between(void) { every_glare(0, 1); }
static void glare_in_one_file(void) { every_glare(1, 0); }
static void glare_in_one_file_with_answers_between(void) { every_glare(1, 1); }

/* A welcome of that identity that is older than one accepted before does not take over. */
static void an_older_welcome(void) {
    pair_start(&p, KIND_MEMORY);
    blob bundle = package_of(&p.bob, 0);
    id16 older, newer;
    MUST(start(&p.alice, &p.bob, &bundle, older));
    set_time(&p, p.a.now + MILLISECOND);
    MUST(start(&p.alice, &p.bob, &bundle, newer));
    blob late = say(&p.alice, older, "late"), first = say(&p.alice, newer, "first");
    heard newest = HEARS(&p.bob, &first, "first");
    heard got = HEARS(&p.bob, &late, "late");
    CHECK(session_row(&p.bob, got.received.session).flags == PAWL_SESSION_RECEIVE_ONLY);
    CHECK(memcmp(peer_row(&p.bob, "alice").session, newest.received.session, 16) == 0);
    blob frame = say(&p.bob, newest.received.session, "answer");
    HEARS(&p.alice, &frame, "answer");
    pair_end(&p);
}

/* An initiator's clock was ahead by a year and is put right: what it starts then still counts as newer. */
static void a_clock_that_was_ahead(void) {
    pair_start(&p, KIND_MEMORY);
    pawl_package_options options = PAWL_INIT(pawl_package_options);
    int64_t now = p.a.now;
    p.a.now = now + 30 * DAY; /* as far as a package lets it */
    pawl_view *view = NULL;
    MUST(pawl_package_create(store_of(&p.bob), p.bob.account, &options, &view));
    pawl_package package = PAWL_INIT(pawl_package);
    MUST(pawl_view_package(view, 0, &package));
    blob bundle = {.size = 0};
    add(&bundle, package.bytes, package.bytes_size);
    pawl_view_close(view);
    id16 session;
    MUST(start(&p.alice, &p.bob, &bundle, session));
    blob frame = say(&p.alice, session, "from the future");
    HEARS(&p.bob, &frame, "from the future");
    OK(pawl_session_close(store_of(&p.alice), session));
    set_time(&p, now + SECOND);
    MUST(start(&p.alice, &p.bob, &bundle, session));
    frame = say(&p.alice, session, "from now");
    heard got = HEARS(&p.bob, &frame, "from now");
    CHECK(memcmp(peer_row(&p.bob, "alice").session, got.received.session, 16) == 0);
    frame = say(&p.bob, got.received.session, "answer");
    HEARS(&p.alice, &frame, "answer");
    pair_end(&p);
}

/* Both accounts in one store: the two sides of a session are two rows. */
static void one_store(void) {
    setup_start(&p.a, KIND_SQLITE);
    side_new(&p.alice, &p.a, "alice");
    side_new(&p.bob, &p.a, "bob");
    pair_open(&p, 1);
    blob frame = say(&p.alice, p.at_alice, "hello");
    HEARS(&p.bob, &frame, "hello");
    CHECK(has_session(&p.alice, p.at_alice) && has_session(&p.bob, p.at_bob));
    ANSWERS(PAWL_NOT_FOUND, hear(&p.alice, &frame, NULL));
    uint64_t tickets[2];
    OK(pawl_session_send(p.a.store, p.at_bob, "answer", 6, &tickets[0]));
    taken item;
    NEED(take(&p.bob, &item));
    CHECK(memcmp(item.item.account, p.bob.account, 16) == 0 && memcmp(item.item.session, p.at_bob, 16) == 0);
    HEARS(&p.alice, &item.body, "answer");
    ack(&p.bob, &item);
    ANSWERS(PAWL_AUTH, hear(&p.bob, &item.body, NULL)); /* reflected */
    OK(pawl_session_close(p.a.store, p.at_alice));
    CHECK(!has_session(&p.alice, p.at_alice) && has_session(&p.bob, p.at_bob));
    OK(pawl_account_delete(p.a.store, p.alice.account));
    CHECK(has_session(&p.bob, p.at_bob));
    CHECK(damage_count(p.a.store) == 0);
    setup_end(&p.a);
}

int main(void) {
    NEED(sodium_init() >= 0);
    RUN(first_messages);
    RUN(used_and_deleted_keys);
    RUN(wrong_names);
    RUN(another_package);
    RUN(forged_packages);
    RUN(keys_of_small_order);
    RUN(damaged_packages);
    RUN(oneself);
    RUN(forged_welcomes);
    RUN(package_times);
    RUN(lists_of_packages);
    RUN(eight_sessions_of_an_identity);
    RUN(unconfirmed_sessions_of_an_account);
    RUN(an_older_welcome);
    RUN(a_clock_that_was_ahead);
    RUN(one_store);
    RUN(glare);
    RUN(glare_with_answers_between);
    RUN(glare_in_one_file);
    RUN(glare_in_one_file_with_answers_between);
    FINISH;
}
