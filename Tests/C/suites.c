/* The two suites. The Makefile builds this twice: against the library as it is, and against one over a stand-in for
 * X-Wing (Tests/Kem), which also meets the first, as a peer or as its own older self: OLD_PAWL is this program, linked
 * to that. make test-pq builds it a third time, over a libsodium that has X-Wing. */
#include "sessions.h"

#ifndef OLD_PAWL
#define OLD_PAWL "/proc/self/exe"
#endif

#define KEM_PUBLIC 1216
#define KEM_CIPHERTEXT 1120

static int has_xwing;

static pawl_status set_min(const side *who, uint32_t suite) {
    return pawl_account_set_min_suite(store_of(who), who->account, suite);
}

static pawl_status allow(const side *who, const char *peer, uint32_t suite) {
    return pawl_peer_allow_suite(store_of(who), who->account, peer, strlen(peer), suite);
}

static uint32_t best(void) { return has_xwing ? PAWL_SUITE_XWING : PAWL_SUITE_X25519; }
static size_t kem(size_t size) { return has_xwing ? size : 0; }

/* ---------------------------------------------------------------- the older library, in a process of its own */

#define REFUSED_SUITE 2

static blob read_blob(const char *path) {
    blob out = {.size = 0};
    FILE *file = fopen(path, "rb");
    NEED(file != NULL);
    out.size = fread(out.bytes, 1, sizeof out.bytes, file);
    fclose(file);
    return out;
}

static void write_blob(const char *path, const blob *in) {
    FILE *file = fopen(path, "wb");
    NEED(file != NULL && fwrite(in->bytes, 1, in->size, file) == in->size);
    fclose(file);
}

/* OLD_PAWL VERB STORE NAME IN OUT: as the one account, called NAME, of a store. package: writes a package. start: starts
 * a session from a package of "bob"; hear: hears a frame. Both then write a frame. */
static int old_self(char **words) {
    static setup s;
    s.engine = ENGINE_SQLITE;
    s.now = INT64_C(1700000000) * SECOND;
    snprintf(s.path, sizeof s.path, "%s", words[1]);
    setup_open(&s);
    side me = {&s, words[2], {0}};
    pawl_view *view = NULL;
    pawl_account account = PAWL_INIT(pawl_account);
    MUST(pawl_account_list(s.store, NULL, 1, &view));
    MUST(pawl_view_account(view, 0, &account));
    memcpy(me.account, account.id, 16);
    pawl_view_close(view);

    blob out = {.size = 0};
    if (strcmp(words[0], "package") == 0) {
        out = package_of(&me, 1);
    } else {
        blob in = read_blob(words[3]);
        id16 session;
        if (strcmp(words[0], "start") == 0) {
            pawl_status status = start_named(&me, "bob", &in, session);
            if (status == PAWL_STATE_SUITE) return REFUSED_SUITE;
            MUST(status);
        } else {
            memcpy(session, HEARS(&me, &in, "new to old").received.session, 16);
        }
        out = say(&me, session, "old to new");
    }
    write_blob(words[4], &out);
    pawl_store_close(s.store);
    return test_faults > 0;
}

/* Runs the older library on a store; what it wrote is in `out`. */
static int old(const char *verb, const side *who, const blob *in, blob *out) {
    char from[600], to[600];
    snprintf(from, sizeof from, "%s.in", who->in->path);
    snprintf(to, sizeof to, "%s.out", who->in->path);
    if (in != NULL) write_blob(from, in);
    fflush(NULL);
    pid_t child = fork();
    NEED(child >= 0);
    if (child == 0) {
        execl(OLD_PAWL, OLD_PAWL, verb, who->in->path, who->name, from, to, (char *)NULL);
        _exit(127);
    }
    int status = 0;
    NEED(waitpid(child, &status, 0) == child && WIFEXITED(status));
    if (WEXITSTATUS(status) == 0) *out = read_blob(to);
    return WEXITSTATUS(status);
}

/* ---------------------------------------------------------------- where things stand */

/* Of a first frame of the session that alice starts with bob. */
static const uint8_t *welcome_of(const blob *frame) { return frame->bytes + WELCOME_AT; }
enum { LIST_AT = 1 + 32 + 32 + 1 + 5 + 1 + 3 }; /* behind suite, keys, "alice", "bob" */
static size_t list_size(const blob *frame) { return 1 + (size_t)welcome_of(frame)[LIST_AT]; }
static size_t ciphertext_at(const blob *frame) { return WELCOME_AT + LIST_AT + list_size(frame) + 16 + 4 + 32; }

/* ---------------------------------------------------------------- tests */

static pair p;

static void sizes_of_packages(void) {
    pair_start(&p, KIND_MEMORY);
    blob alone = package_of(&p.bob, 0), both = package_of(&p.bob, 1);
    size_t package = 2 + 16 + 64 + 1 + 3 + 1 + (has_xwing ? 2 : 1) + 16 + 32 + kem(KEM_PUBLIC) + 64;
    CHECK(alone.size == package);
    CHECK(both.size == package + 2 + 16 + 4 + 32 + kem(KEM_PUBLIC) + 64);
    const uint8_t *list = alone.bytes + 2 + 16 + 64 + 1 + 3;
    CHECK(has_xwing ? memcmp(list, "\2\1\2", 3) == 0 : memcmp(list, "\1\1", 2) == 0);
    if (has_xwing) { /* each has a KEM key of its own */
        const uint8_t *init = list + 3 + 16 + 32, *one_time = both.bytes + package + 2 + 16 + 4 + 32;
        CHECK(memcmp(init, one_time, 32) != 0);
        CHECK(!is_zero(init, KEM_PUBLIC) && !is_zero(one_time, KEM_PUBLIC));
    }
    CHECK(PAWL_PACKAGE_SIZE_MAX >= package + 255);
    pair_end(&p);
}

static void strongest_is_chosen(int one_time) {
    pair_start(&p, KIND_SQLITE);
    pair_open(&p, one_time);
    blob first = say(&p.alice, p.at_alice, "first"), second = say(&p.alice, p.at_alice, "again");
    CHECK(session_row(&p.alice, p.at_alice).suite == best());
    CHECK(welcome_of(&first)[0] == best());
    CHECK(first.size == ciphertext_at(&first) + kem(KEM_CIPHERTEXT) + 8 + 5 + 16);
    heard got = HEARS(&p.bob, &first, "first");
    CHECK(got.received.flags == PAWL_RECEIVED_NEW_SESSION && memcmp(got.received.session, p.at_bob, 16) == 0);
    HEARS(&p.bob, &second, "again");
    setup_reopen(&p.a);
    setup_reopen(&p.b);
    CHECK(session_row(&p.bob, p.at_bob).suite == best());
    CHECK(peer_row(&p.alice, "bob").suite == best());
    CHECK(peer_row(&p.bob, "alice").suite == best());
    blob answer = say(&p.bob, p.at_bob, "answer");
    HEARS(&p.alice, &answer, "answer");
    blob last = say(&p.alice, p.at_alice, "last");
    CHECK(last.size == HEADER_SIZE + 4 + 16);
    HEARS(&p.bob, &last, "last");
    if (one_time) CHECK(one_time_left(&p.bob) == 1);
    ANSWERS(PAWL_REPLAY, hear(&p.bob, &second, NULL));
    pair_end(&p);
}
static void strongest_with_one_time_key(void) { strongest_is_chosen(1); }
static void strongest_without_one_time_key(void) { strongest_is_chosen(0); }

static void ciphertext_is_altered(int one_time) {
    pair_start(&p, KIND_MEMORY);
    pair_open(&p, one_time);
    blob first = say(&p.alice, p.at_alice, "first");
    size_t at = ciphertext_at(&first);
    for (size_t i = 0; i < KEM_CIPHERTEXT; i += i % 32 == 31 ? 96 : 31) {
        blob altered = first;
        altered.bytes[at + i] ^= 1;
        ANSWERS(PAWL_AUTH, hear(&p.bob, &altered, NULL));
    }
    CHECK(session_count(&p.bob, "alice") == 0);
    if (one_time) CHECK(one_time_left(&p.bob) == 2);
    HEARS(&p.bob, &first, "first");
    pair_end(&p);
}
static void ciphertext_to_a_one_time_key_is_altered(void) { ciphertext_is_altered(1); }
static void ciphertext_to_an_init_key_is_altered(void) { ciphertext_is_altered(0); }

static void kem_key_of_a_package_is_altered(void) {
    pair_start(&p, KIND_MEMORY);
    blob bundle = package_of(&p.bob, 1), altered = bundle;
    id16 session;
    size_t package = (bundle.size - 2 - 16 - 4 - 32 - KEM_PUBLIC - 64);
    altered.bytes[package - 64 - 1] ^= 1; /* the last of the init key */
    ANSWERS(PAWL_AUTH, start(&p.alice, &p.bob, &altered, session));
    altered = bundle;
    altered.bytes[bundle.size - 64 - 1] ^= 1; /* the last of the one-time key */
    ANSWERS(PAWL_AUTH, start(&p.alice, &p.bob, &altered, session));
    MUST(start(&p.alice, &p.bob, &bundle, session));
    pair_end(&p);
}

/* One number more, another or one less: each gives another transcript, or is no answer to the package. */
static void list_is_altered(void) {
    pair_start(&p, KIND_MEMORY);
    pair_open(&p, 1);
    blob first = say(&p.alice, p.at_alice, "first");
    size_t list = WELCOME_AT + LIST_AT, size = list_size(&first);

    blob more = {.size = 0}; /* a number that nobody knows */
    add(&more, first.bytes, list);
    add_number(&more, size, 1);
    add(&more, first.bytes + list + 1, size - 1);
    add_number(&more, 9, 1);
    add(&more, first.bytes + list + size, first.size - list - size);
    more.bytes[54]++;
    CHECK(more.bytes[54] != 0);
    ANSWERS(PAWL_AUTH, hear(&p.bob, &more, NULL));

    blob other = first;
    other.bytes[list + size - 1] = 9; /* in place of the suite that was taken */
    ANSWERS(PAWL_AUTH, hear(&p.bob, &other, NULL));

    if (has_xwing) { /* a message in suite 1 that says what an older alice would have said */
        blob less = {.size = 0};
        add(&less, first.bytes, WELCOME_AT);
        add_number(&less, PAWL_SUITE_X25519, 1);
        add(&less, welcome_of(&first) + 1, LIST_AT - 1);
        add(&less, "\1\1", 2);
        add(&less, first.bytes + list + size, 16 + 4 + 32);
        size_t behind = ciphertext_at(&first) + KEM_CIPHERTEXT;
        add(&less, first.bytes + behind, first.size - behind);
        size_t welcome = (size_t)number_at(first.bytes + 54, 2) - 1 - KEM_CIPHERTEXT;
        less.bytes[54] = (uint8_t)welcome;
        less.bytes[55] = (uint8_t)(welcome >> 8);
        ANSWERS(PAWL_AUTH, hear(&p.bob, &less, NULL));
    }
    CHECK(session_count(&p.bob, "alice") == 0 && one_time_left(&p.bob) == 2);
    HEARS(&p.bob, &first, "first");
    pair_end(&p);
}

static void suite_numbers(void) {
    pair_start(&p, KIND_MEMORY);
    static const uint32_t wrong[] = {0, 3, UINT32_MAX};
    for (size_t i = 0; i < 3; i++) {
        ANSWERS(PAWL_MISUSE_FLAGS, set_min(&p.bob, wrong[i]));
        ANSWERS(PAWL_MISUSE_FLAGS, allow(&p.bob, "alice", wrong[i]));
    }
    ANSWERS(PAWL_NOT_FOUND, allow(&p.bob, "alice", PAWL_SUITE_X25519));
    OK(set_min(&p.bob, PAWL_SUITE_X25519));
    ANSWERS(has_xwing ? PAWL_OK : PAWL_STATE_SUITE, set_min(&p.bob, PAWL_SUITE_XWING));
    if (!has_xwing) { /* and the refusal has changed nothing */
        pair_open(&p, 1);
        blob first = say(&p.alice, p.at_alice, "first");
        HEARS(&p.bob, &first, "first");
    }
    pair_end(&p);
}

/* Both ways, with a peer whose library has suite 1 alone. */
static void old_peer(void) {
    pair_start(&p, KIND_SQLITE);
    blob bundle, frame, answer;
    id16 session;
    CHECK(old("package", &p.bob, NULL, &bundle) == 0);
    CHECK(bundle.size == 200 + 118);
    MUST(start(&p.alice, &p.bob, &bundle, session));
    CHECK(session_row(&p.alice, session).suite == PAWL_SUITE_X25519);
    frame = say(&p.alice, session, "new to old");
    CHECK(welcome_of(&frame)[0] == PAWL_SUITE_X25519 && list_size(&frame) == (has_xwing ? 3 : 2));
    CHECK(old("hear", &p.bob, &frame, &answer) == 0);
    HEARS(&p.alice, &answer, "old to new");
    CHECK(session_row(&p.alice, session).flags & PAWL_SESSION_CONFIRMED);
    pair_end(&p);

    pair_start(&p, KIND_SQLITE);
    for (int one_time = 0; one_time < 2; one_time++) {
        bundle = package_of(&p.bob, one_time);
        CHECK(old("start", &p.alice, &bundle, &frame) == 0);
        heard got = HEARS(&p.bob, &frame, "old to new");
        CHECK(session_row(&p.bob, got.received.session).suite == PAWL_SUITE_X25519);
        blob back = say(&p.bob, got.received.session, "new to old");
        CHECK(old("hear", &p.alice, &back, &answer) == 0);
        HEARS(&p.bob, &answer, "old to new");
    }
    pair_end(&p);
}

/* Bob goes back to a library without suite 2, after alice has seen him with it, and she to one, after he has. */
static void peer_went_back(void) {
    pair_start(&p, KIND_SQLITE);
    pair_open(&p, 0);
    blob first = say(&p.alice, p.at_alice, "first"), bundle, frame;
    HEARS(&p.bob, &first, "first");
    id16 session;
    CHECK(old("package", &p.bob, NULL, &bundle) == 0);
    ANSWERS(PAWL_STATE_SUITE, start(&p.alice, &p.bob, &bundle, session));
    CHECK(is_zero(session, 16) && session_count(&p.alice, "bob") == 1);
    OK(allow(&p.alice, "bob", PAWL_SUITE_X25519));
    OK(start(&p.alice, &p.bob, &bundle, session));
    CHECK(session_row(&p.alice, session).suite == PAWL_SUITE_X25519);

    bundle = package_of(&p.bob, 1);
    MUST(allow(&p.alice, "bob", PAWL_SUITE_X25519)); /* alice's older self keeps the same rule for bob */
    CHECK(old("start", &p.alice, &bundle, &frame) == 0);
    ANSWERS(PAWL_STATE_SUITE, hear(&p.bob, &frame, NULL));
    CHECK(session_count(&p.bob, "alice") == 1);
    OK(allow(&p.bob, "alice", PAWL_SUITE_X25519));
    heard got = HEARS(&p.bob, &frame, "old to new");
    CHECK(got.received.flags == PAWL_RECEIVED_NEW_SESSION);
    CHECK(session_row(&p.bob, got.received.session).suite == PAWL_SUITE_X25519);

    /* Up again: from then on the rule holds as before. */
    bundle = package_of(&p.bob, 1);
    MUST(start(&p.alice, &p.bob, &bundle, session));
    CHECK(session_row(&p.alice, session).suite == PAWL_SUITE_XWING);
    CHECK(peer_row(&p.alice, "bob").suite == PAWL_SUITE_XWING);
    CHECK(old("package", &p.bob, NULL, &bundle) == 0);
    ANSWERS(PAWL_STATE_SUITE, start(&p.alice, &p.bob, &bundle, session));
    pair_end(&p);
}

static void least_suite(void) {
    pair_start(&p, KIND_SQLITE);
    blob bundle, frame, before = package_of(&p.bob, 0);
    id16 session;
    CHECK(old("start", &p.alice, &before, &frame) == 0); /* in suite 1 */
    MUST(set_min(&p.bob, PAWL_SUITE_XWING));
    ANSWERS(PAWL_STATE_SUITE, hear(&p.bob, &frame, NULL));
    CHECK(session_count(&p.bob, "alice") == 0);

    bundle = package_of(&p.bob, 1); /* one that suite 1 alone cannot use */
    CHECK(memcmp(bundle.bytes + 2 + 16 + 64 + 1 + 3, "\1\2", 2) == 0);
    CHECK(old("start", &p.alice, &bundle, &frame) == REFUSED_SUITE);
    MUST(start(&p.alice, &p.bob, &bundle, session));
    CHECK(session_row(&p.alice, session).suite == PAWL_SUITE_XWING);
    frame = say(&p.alice, session, "first");
    HEARS(&p.bob, &frame, "first");

    MUST(set_min(&p.alice, PAWL_SUITE_XWING));
    OK(allow(&p.alice, "bob", PAWL_SUITE_X25519)); /* what the peer may does not weaken what the account must */
    MUST(set_min(&p.bob, PAWL_SUITE_X25519));
    CHECK(old("package", &p.bob, NULL, &bundle) == 0);
    ANSWERS(PAWL_STATE_SUITE, start(&p.alice, &p.bob, &bundle, session));
    bundle = package_of(&p.bob, 0);
    MUST(start(&p.alice, &p.bob, &bundle, session));
    frame = say(&p.alice, session, "second");
    CHECK(list_size(&frame) == 2 && welcome_of(&frame)[LIST_AT + 1] == PAWL_SUITE_XWING);
    HEARS(&p.bob, &frame, "second");

    OK(set_min(&p.bob, PAWL_SUITE_X25519));
    pair_end(&p);
}

/* A store that wants suite 2, opened by a library that has it not: no session, and no weaker one instead. */
static void least_suite_is_not_there(void) {
    pair_start(&p, KIND_SQLITE);
    MUST(set_min(&p.alice, PAWL_SUITE_XWING));
    blob bundle = package_of(&p.bob, 1), frame;
    CHECK(old("start", &p.alice, &bundle, &frame) == REFUSED_SUITE);
    pair_end(&p);
}

int main(int argc, char **argv) {
    if (argc == 6) return old_self(argv + 1);
    pair_start(&p, KIND_MEMORY);
    has_xwing = set_min(&p.bob, PAWL_SUITE_XWING) == PAWL_OK;
    pair_end(&p);
    printf(has_xwing ? "suites 1 and 2\n"
                     : "suite 1 alone: what needs suite 2 is tested by build/kem/suites and make test-pq\n");
    RUN(sizes_of_packages);
    RUN(strongest_with_one_time_key);
    RUN(strongest_without_one_time_key);
    RUN(list_is_altered);
    RUN(suite_numbers);
    RUN(old_peer);
    if (has_xwing) {
        RUN(ciphertext_to_a_one_time_key_is_altered);
        RUN(ciphertext_to_an_init_key_is_altered);
        RUN(kem_key_of_a_package_is_altered);
        RUN(peer_went_back);
        RUN(least_suite);
        RUN(least_suite_is_not_there);
    }
    FINISH;
}
