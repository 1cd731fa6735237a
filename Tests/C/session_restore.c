/* A store that was put back to an old copy, or lives on as two: no key is ever used with the same nonce twice, the
 * peer says so at the first message that collides, and a reset mends both directions. The peers' failing programs
 * (rollback_test, race_test: one saved state, used twice) are here with the same steps. */
#include "session_pair.h"

/* A second life of `original`, from what it has committed now. */
static void copy_of(const side *original, side *copy) {
    *copy = *original;
    snprintf(copy->path, sizeof copy->path, "%s", fresh_path());
    MUST(pawl_store_copy(original->store, copy->path, strlen(copy->path)));
    side_open(copy);
}

/* The copy's first message has the original's index if nothing was reserved when the copy was made. */
static void rest(side *s) {
    side_close(s);
    side_open(s);
}

static int same_nonce(const frame *a, const frame *b) {
    return memcmp(frame_nonce(a->bytes), frame_nonce(b->bytes), 24) == 0;
}

typedef struct tally {
    size_t events, desynchronized, others;
    uint8_t session[PAWL_SESSION_ID_SIZE];
} tally;

static void count_event(void *context, const pawl_item *item) {
    tally *t = context;
    if (item->kind != PAWL_ITEM_EVENT) return;
    t->events++;
    if (item->what == PAWL_EVENT_DESYNCHRONIZED) {
        t->desynchronized++;
        memcpy(t->session, item->session, sizeof t->session);
        CHECK(item->peer_name_size == 5 && memcmp(item->peer_name, "alice", 5) == 0);
    } else {
        t->others++;
    }
}

static uint32_t flags_of(side *s) {
    pawl_view *view = NULL;
    pawl_session session = PAWL_INIT(pawl_session);
    MUST(pawl_session_get(s->store, s->session, &view));
    MUST(pawl_view_session(view, 0, &session));
    uint32_t flags = session.flags;
    pawl_view_close(view);
    return flags;
}

/* `from` resets its session with a fresh package of `to`; then both read each other again. */
static void reset_mends(side *from, side *to) {
    uint8_t bundle[2 * PAWL_PACKAGE_SIZE_MAX], old[PAWL_SESSION_ID_SIZE];
    size_t size = bundle_of(to, 1, bundle);
    memcpy(old, from->session, sizeof old);
    MUST(pawl_session_reset(from->store, old, bundle, size, from->session));
    CHECK(memcmp(old, from->session, sizeof old) != 0);
    frame f;
    ANSWERS(PAWL_STATE_RECEIVE_ONLY, pawl_session_encrypt(from->store, old, "x", 1, f.bytes, sizeof f.bytes, &f.size));
    for (int i = 0; i < 3; i++) {
        PASSES(from, to, "after the reset");
        PASSES(to, from, "and back");
    }
    CHECK((flags_of(from) & (PAWL_SESSION_DESYNCHRONIZED | PAWL_SESSION_RECEIVE_ONLY)) == 0);
    CHECK((flags_of(to) & (PAWL_SESSION_DESYNCHRONIZED | PAWL_SESSION_RECEIVE_ONLY)) == 0);
    /* The peer of the session that was replaced learns of it by the new one. */
    uint8_t same_half[8];
    memcpy(same_half, to->session, 8);
    CHECK(memcmp(same_half, from->session, 8) == 0);
}

#define MESSAGES 40

/* Both lives speak; the original is heard first. `resets`: who mends it. */
static void restored_and_told(int bob_resets) {
    side alice, bob, back;
    pair_make(&alice, &bob);
    rest(&alice);
    copy_of(&alice, &back);
    frame *first = malloc(MESSAGES * sizeof *first), *second = malloc(MESSAGES * sizeof *second);
    char text[FRAME_ROOM];
    for (int i = 0; i < MESSAGES; i++) {
        snprintf(text, sizeof text, "original %d", i);
        MUST(encrypt(&alice, text, first + i));
    }
    side_close(&alice);
    for (int i = 0; i < MESSAGES; i++) {
        snprintf(text, sizeof text, "restored %d", i);
        MUST(encrypt(&back, text, second + i));
    }
    int collisions = 0;
    for (int i = 0; i < MESSAGES; i++) {
        for (int j = 0; j < MESSAGES; j++) {
            collisions += frame_index(first[i].bytes) == frame_index(second[j].bytes);
            CHECK(!same_nonce(first + i, second + j));
            CHECK(j <= i || (!same_nonce(first + i, first + j) && !same_nonce(second + i, second + j)));
        }
    }
    CHECK(collisions == MESSAGES); /* or this test would show nothing */

    tally before = {0}, told = {0}, later = {0};
    drain(bob.store, count_event, &before);
    CHECK(before.events == 0);
    for (int i = 0; i < MESSAGES; i++) {
        MUST(receive(&bob, first + i, 0, text, NULL));
        CHECK(strncmp(text, "original", 8) == 0);
    }
    ANSWERS(PAWL_REPLAY, receive(&bob, first, 0, text, NULL)); /* a repeated frame is another matter */
    ANSWERS(PAWL_DESYNCHRONIZED, receive(&bob, second, 0, text, NULL));
    CHECK(text[0] == 0);
    drain(bob.store, count_event, &told);
    CHECK(told.events == 1 && told.desynchronized == 1);
    CHECK(memcmp(told.session, bob.session, sizeof told.session) == 0);
    CHECK(flags_of(&bob) & PAWL_SESSION_DESYNCHRONIZED);
    for (int i = 0; i < MESSAGES; i++) ANSWERS(PAWL_DESYNCHRONIZED, receive(&bob, second + i, 0, text, NULL));
    rest(&bob);
    ANSWERS(PAWL_DESYNCHRONIZED, receive(&bob, second, 0, text, NULL));
    ANSWERS(PAWL_REPLAY, receive(&bob, first, 0, text, NULL));
    drain(bob.store, count_event, &later);
    CHECK(later.events == 0);

    if (bob_resets) reset_mends(&bob, &back);
    else reset_mends(&back, &bob);
    side_close(&back);
    side_close(&bob);
    free(first);
    free(second);
}

static void the_peer_resets(void) { restored_and_told(1); }
static void the_restored_one_resets(void) { restored_and_told(0); }

/* Where the copy is ahead of what the original ever used, nothing collides and nothing is to be said. */
static void what_does_not_collide_is_read(void) {
    side alice, bob, back;
    frame f;
    char text[FRAME_ROOM];
    pair_make(&alice, &bob);
    MUST(encrypt(&alice, "reserved", &f)); /* the copy begins behind the reservation */
    copy_of(&alice, &back);
    side_close(&alice);
    MUST(receive(&bob, &f, 0, text, NULL));
    PASSES(&back, &bob, "from the copy");
    PASSES(&bob, &back, "to the copy");
    tally told = {0};
    drain(bob.store, count_event, &told);
    CHECK(told.events == 0);
    side_close(&back);
    side_close(&bob);
}

/* The original was open when the copy was made, so the copy is ahead; when the original comes to what the copy has
 * used, the peer says so, though it knows the lanes of both. */
static void an_open_original_meets_its_copy(void) {
    side alice, bob, back;
    frame copied, f, first;
    char text[FRAME_ROOM];
    pair_make(&alice, &bob);
    MUST(encrypt(&alice, "reserved", &first));
    copy_of(&alice, &back);
    MUST(receive(&bob, &first, 0, text, NULL));
    MUST(encrypt(&back, "from the copy", &copied));
    MUST(receive(&bob, &copied, 0, text, NULL));
    tally told = {0}, again = {0};
    do {
        MUST(encrypt(&alice, "from the original", &f));
        if (frame_index(f.bytes) == frame_index(copied.bytes)) break;
        MUST(receive(&bob, &f, 0, text, NULL));
    } while (frame_index(f.bytes) < frame_index(copied.bytes));
    CHECK(frame_index(f.bytes) == frame_index(copied.bytes) && !same_nonce(&f, &copied));
    drain(bob.store, count_event, &told);
    CHECK(told.events == 0);
    ANSWERS(PAWL_DESYNCHRONIZED, receive(&bob, &f, 0, text, NULL));
    ANSWERS(PAWL_REPLAY, receive(&bob, &copied, 0, text, NULL)); /* these were read */
    ANSWERS(PAWL_REPLAY, receive(&bob, &first, 0, text, NULL));
    drain(bob.store, count_event, &again);
    CHECK(again.events == 1 && again.desynchronized == 1);
    reset_mends(&bob, &alice);
    side_close(&alice);
    side_close(&back);
    side_close(&bob);
}

/* Both go on, by turns, each opened anew before every message. Whatever collides is refused, never read as
 * something else, and the peer is told. */
static void two_lives_by_turns(void) {
    side alice, bob, back;
    frame f[2];
    char text[FRAME_ROOM], want[64];
    pair_make(&alice, &bob);
    rest(&alice);
    copy_of(&alice, &back);
    int read = 0, refused = 0;
    for (int i = 0; i < 12; i++) {
        side *lives[] = {&alice, &back};
        for (int j = 0; j < 2; j++) {
            rest(lives[j]);
            snprintf(want, sizeof want, "%d of life %d", i, j);
            MUST(encrypt(lives[j], want, f + j));
            pawl_status status = receive(&bob, f + j, 0, text, NULL);
            if (status == PAWL_OK) CHECK(strcmp(text, want) == 0);
            else CHECK(status == PAWL_DESYNCHRONIZED);
            read += status == PAWL_OK;
            refused += status != PAWL_OK;
        }
        CHECK(frame_index(f[0].bytes) == frame_index(f[1].bytes) && !same_nonce(f, f + 1));
    }
    CHECK(read == 12 && refused == 12);
    tally told = {0};
    drain(bob.store, count_event, &told);
    CHECK(told.events == 1 && told.desynchronized == 1);
    reset_mends(&bob, &alice);
    side_close(&alice);
    side_close(&back);
    side_close(&bob);
}

/* A receiver that was put back reads again what it had read, for it cannot know; a sender that it answers cannot
 * tell, and both go on. */
static void a_receiver_put_back(void) {
    side alice, bob, back;
    frame f[5];
    char text[FRAME_ROOM];
    pair_make(&alice, &bob);
    copy_of(&bob, &back);
    for (int i = 0; i < 5; i++) {
        MUST(encrypt(&alice, "once", f + i));
        MUST(receive(&bob, f + i, 0, text, NULL));
    }
    side_close(&bob);
    PASSES(&alice, &back, "after five that it never saw");
    for (int i = 0; i < 5; i++) MUST(receive(&back, f + i, 0, text, NULL));
    for (int i = 0; i < 5; i++) ANSWERS(PAWL_REPLAY, receive(&back, f + i, 0, text, NULL));
    PASSES(&back, &alice, "and back");
    side_close(&alice);
    side_close(&back);
}

/* ---------------------------------------------------------------- the peers' programs */

/* rollback_test.py: a saved state, a message, the saved state again, another message. */
static void rollback_test(void) {
    side a, b, a2;
    frame m1, m2;
    char text[FRAME_ROOM];
    pair_make(&a, &b); /* hello, hi, first on this chain */
    rest(&a);
    copy_of(&a, &a2);
    MUST(encrypt(&a, "attack at dawn!!", &m1));
    MUST(encrypt(&a2, "retreat at dusk!", &m2));
    CHECK(frame_index(m1.bytes) == frame_index(m2.bytes)); /* one message key ... */
    CHECK(!same_nonce(&m1, &m2));                          /* ... and two nonces */
    MUST(receive(&b, &m1, 0, text, NULL));
    CHECK(strcmp(text, "attack at dawn!!") == 0);
    ANSWERS(PAWL_DESYNCHRONIZED, receive(&b, &m2, 0, text, NULL));
    tally told = {0};
    drain(b.store, count_event, &told);
    CHECK(told.desynchronized == 1);
    side_close(&a);
    side_close(&a2);
    side_close(&b);
}

#define WORKERS 2
static side racing;
static uint32_t *indices[WORKERS];

/* Load, encrypt, store: as programs do that keep a pickled session in a database. */
static void load_encrypt_store(void *context) {
    const int *parameters = context;
    for (int i = 0; i < parameters[1]; i++) {
        side mine = racing;
        frame f;
        side_open(&mine);
        MUST(encrypt(&mine, "0123456789abcdef", &f));
        side_close(&mine);
        indices[parameters[0]][i] = frame_index(f.bytes);
    }
}

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* race_test.py: two processes on one saved state. */
static void race_test(void) {
    int n = test_number("PAWL_RACES", 200, 500);
    side b;
    pair_make(&racing, &b);
    side_close(&racing); /* before forking: a child must not inherit it */
    side_close(&b);
    pid_t children[WORKERS];
    int parameters[WORKERS][2];
    for (int i = 0; i < WORKERS; i++) {
        indices[i] = shared_memory((size_t)n * sizeof **indices);
        parameters[i][0] = i;
        parameters[i][1] = n;
        children[i] = child_start(load_encrypt_store, parameters[i]);
    }
    for (int i = 0; i < WORKERS; i++) CHILD_ENDS_WELL(children[i]);
    uint32_t *all = malloc(WORKERS * (size_t)n * sizeof *all);
    for (int i = 0; i < WORKERS; i++) memcpy(all + i * n, indices[i], (size_t)n * sizeof *all);
    qsort(all, WORKERS * (size_t)n, sizeof *all, by_value);
    int twice = 0;
    for (int i = 1; i < WORKERS * n; i++) twice += all[i] == all[i - 1];
    CHECK_SAYING(twice == 0, "%d of %d messages reused a message key", twice, WORKERS * n);
    printf("  %d messages in indices %u-%u\n", WORKERS * n, all[0], all[WORKERS * n - 1]);
    free(all);
}

int main(void) {
    test_path("");
    RUN(the_peer_resets);
    RUN(the_restored_one_resets);
    RUN(what_does_not_collide_is_read);
    RUN(an_open_original_meets_its_copy);
    RUN(two_lives_by_turns);
    RUN(a_receiver_put_back);
    RUN(rollback_test);
    RUN(race_test);
    FINISH;
}
