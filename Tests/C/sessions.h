/* Two stores, two accounts, what passes between them. The clocks are set by hand. */
#ifndef PAWL_TEST_SESSIONS_H
#define PAWL_TEST_SESSIONS_H

#include "setups.h"
#include "wire_peer.h"

#define HOUR (3600 * SECOND)
#define DAY (24 * HOUR)
#define MILLISECOND INT64_C(1000000)

enum { KIND_SQLITE = 0, KIND_MEMORY = 2, KIND_HOST = 4 }; /* of setup_kinds */

typedef uint8_t id16[16];

static UNUSED int is_zero(const void *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if (((const uint8_t *)bytes)[i] != 0) return 0;
    }
    return 1;
}

/* An account in a store. */
typedef struct side {
    setup *in;
    const char *name;
    id16 account;
} side;

typedef struct pair {
    setup a, b;
    side alice, bob; /* alice starts */
    id16 at_alice, at_bob;
} pair;

static UNUSED pawl_store *store_of(const side *who) { return who->in->store; }

static UNUSED void side_new(side *who, setup *in, const char *name) {
    who->in = in;
    who->name = name;
    MUST(pawl_account_create(in->store, name, strlen(name), who->account));
}

/* A package and, if `one_time`, the first of two one-time keys. */
static UNUSED blob package_of(const side *who, int one_time) {
    return bundle_of_account(store_of(who), who->account, one_time ? 2 : 0);
}

static UNUSED pawl_status start_named(const side *from, const char *peer, const blob *bundle, id16 session) {
    return start_with(store_of(from), from->account, peer, bundle, session);
}

static UNUSED pawl_status start(const side *from, const side *to, const blob *bundle, id16 session) {
    return start_named(from, to->name, bundle, session);
}

/* ---------------------------------------------------------------- frames */

static UNUSED pawl_status try_say(pawl_store *store, const id16 session, const char *text, blob *frame) {
    return pawl_session_encrypt(store, session, text, strlen(text), frame->bytes, sizeof frame->bytes, &frame->size);
}

static UNUSED blob say(const side *who, const id16 session, const char *text) {
    blob frame;
    MUST(try_say(store_of(who), session, text, &frame));
    return frame;
}

typedef struct heard {
    char text[8192];
    size_t size;
    pawl_received received;
} heard;

static UNUSED pawl_status hear_with(pawl_store *store, const side *who, const blob *frame, uint32_t flags, heard *out) {
    heard unused;
    if (out == NULL) out = &unused;
    memset(out, 0xAA, sizeof *out);
    out->received = (pawl_received)PAWL_INIT(pawl_received);
    pawl_frame f = PAWL_INIT(pawl_frame);
    f.flags = flags;
    f.bytes = frame->bytes;
    f.size = frame->size;
    return pawl_account_receive(store, who->account, &f, (uint8_t *)out->text, sizeof out->text, &out->size,
                                &out->received);
}

static UNUSED pawl_status hear(const side *who, const blob *frame, heard *out) {
    return hear_with(store_of(who), who, frame, 0, out);
}

#define HEARS(who, frame, want) test_hears(__FILE__, __LINE__, (who), (frame), (want))
static UNUSED heard test_hears(const char *file, int line, const side *who, const blob *frame, const char *want) {
    heard out;
    pawl_status status = hear(who, frame, &out);
    if (status != PAWL_OK) {
        test_fault(file, line, "%s hears nothing: %s", who->name, pawl_status_name(status));
    } else if (out.size != strlen(want) || memcmp(out.text, want, out.size) != 0) {
        test_fault(file, line, "%s hears another text than %s", who->name, want);
    }
    return out;
}

/* ---------------------------------------------------------------- rows */

static UNUSED pawl_session session_row(const side *who, const id16 session) {
    pawl_view *view = NULL;
    pawl_session row = PAWL_INIT(pawl_session);
    MUST(pawl_session_get(store_of(who), session, &view));
    MUST(pawl_view_session(view, 0, &row));
    row.peer_name = NULL; /* ends with the view */
    pawl_view_close(view);
    return row;
}

static UNUSED int has_session(const side *who, const id16 session) {
    pawl_view *view = NULL;
    pawl_status status = pawl_session_get(store_of(who), session, &view);
    pawl_view_close(view);
    CHECK(status == PAWL_OK || status == PAWL_NOT_FOUND);
    return status == PAWL_OK;
}

static UNUSED size_t session_count(const side *who, const char *peer) {
    pawl_view *view = NULL;
    MUST(pawl_session_list(store_of(who), who->account, peer, strlen(peer), &view));
    size_t count = pawl_view_count(view);
    pawl_view_close(view);
    return count;
}

static UNUSED pawl_status try_peer(const side *who, const char *name, pawl_peer *peer) {
    pawl_view *view = NULL;
    *peer = (pawl_peer)PAWL_INIT(pawl_peer);
    pawl_status status = pawl_peer_get(store_of(who), who->account, name, strlen(name), &view);
    if (status != PAWL_OK) return status;
    MUST(pawl_view_peer(view, 0, peer));
    peer->name = NULL;
    pawl_view_close(view);
    return PAWL_OK;
}

static UNUSED pawl_peer peer_row(const side *who, const char *name) {
    pawl_peer peer;
    MUST(try_peer(who, name, &peer));
    return peer;
}

static UNUSED pawl_identity identity_of(const side *who) {
    pawl_view *view = NULL;
    pawl_account account = PAWL_INIT(pawl_account);
    MUST(pawl_account_get(store_of(who), who->account, &view));
    MUST(pawl_view_account(view, 0, &account));
    pawl_identity identity = PAWL_INIT(pawl_identity);
    memcpy(identity.signing_key, account.signing_key, 32);
    memcpy(identity.agreement_key, account.agreement_key, 32);
    identity.name = who->name;
    identity.name_size = strlen(who->name);
    pawl_view_close(view);
    return identity;
}

/* One-time keys left of an account's oldest package. */
static UNUSED uint32_t one_time_left(const side *who) {
    pawl_view *view = NULL;
    pawl_package package = PAWL_INIT(pawl_package);
    MUST(pawl_package_list(store_of(who), who->account, &view));
    MUST(pawl_view_package(view, 0, &package));
    pawl_view_close(view);
    return package.one_time_count;
}

/* ---------------------------------------------------------------- outbox */

typedef struct taken {
    pawl_item item;
    blob body;
    char peer[256];
} taken;

/* Takes the next item and does not settle it. False if there is none. */
static UNUSED int take(const side *who, taken *out) {
    pawl_view *view = NULL;
    out->item = (pawl_item)PAWL_INIT(pawl_item);
    out->body.size = 0;
    MUST(pawl_outbox_take(store_of(who), 1, 0, &view));
    int some = pawl_view_count(view) == 1;
    if (some) {
        MUST(pawl_view_item(view, 0, &out->item));
        add(&out->body, out->item.body, out->item.body_size);
        memset(out->peer, 0, sizeof out->peer);
        memcpy(out->peer, out->item.peer_name, out->item.peer_name_size);
    }
    pawl_view_close(view);
    return some;
}

static UNUSED void ack(const side *who, const taken *item) { MUST(pawl_outbox_ack(store_of(who), &item->item.seq, 1)); }

#define NO_ITEMS(who) test_no_items(__FILE__, __LINE__, (who))
static UNUSED void test_no_items(const char *file, int line, const side *who) {
    taken item;
    if (!take(who, &item)) return;
    test_fault(file, line, "%s has an item of kind %u, what %u", who->name, item.item.kind, item.item.what);
    ack(who, &item);
}

/* The next item is a frame without a message, of this session; it is settled. */
#define SAYS(who, session, frame) test_says(__FILE__, __LINE__, (who), (session), (frame))
static UNUSED void test_says(const char *file, int line, const side *who, const uint8_t *session, blob *frame) {
    taken item;
    int some = take(who, &item);
    if (!some || item.item.kind != PAWL_ITEM_FRAME || memcmp(item.item.session, session, 15) != 0 ||
        item.body.size < 2 || item.body.bytes[1] < 3)
        test_fault(file, line, "%s has nothing to say in this session", who->name);
    if (some) ack(who, &item);
    if (frame != NULL) *frame = item.body;
}

/* The next item is this event of this session; it is settled. */
#define TELLS(who, event, session, number) test_tells(__FILE__, __LINE__, (who), (event), (session), (number))
static UNUSED void test_tells(const char *file, int line, const side *who, uint32_t event, const uint8_t *session,
                              uint64_t count) {
    taken item;
    if (!take(who, &item)) {
        test_fault(file, line, "%s has no item", who->name);
        return;
    }
    if (item.item.kind != PAWL_ITEM_EVENT || item.item.what != event || item.item.count != count ||
        memcmp(item.item.session, session, 16) != 0 || memcmp(item.item.account, who->account, 16) != 0) {
        test_fault(file, line, "%s is told kind %u, what %u, count %llu", who->name, item.item.kind, item.item.what,
                   (unsigned long long)item.item.count);
    }
    ack(who, &item);
}

/* ---------------------------------------------------------------- time */

static UNUSED void set_time(pair *p, int64_t now) {
    p->a.now = now;
    p->b.now = now;
}

static UNUSED size_t run_due(const side *who) {
    size_t ran = 0;
    MUST(pawl_store_run_due(store_of(who), 1000, &ran, NULL));
    return ran;
}

/* ---------------------------------------------------------------- pairs */

/* Two stores with an account each. */
static UNUSED void pair_start(pair *p, size_t kind) {
    setup_start(&p->a, kind);
    setup_start(&p->b, kind);
    side_new(&p->alice, &p->a, "alice");
    side_new(&p->bob, &p->b, "bob");
}

static UNUSED void pair_end(pair *p) {
    setup_end(&p->a);
    setup_end(&p->b);
}

/* A session from alice to bob that nobody has answered yet. */
static UNUSED void pair_open(pair *p, int one_time) {
    blob bundle = package_of(&p->bob, one_time);
    MUST(start(&p->alice, &p->bob, &bundle, p->at_alice));
    memcpy(p->at_bob, p->at_alice, 16);
    p->at_bob[15] |= 1;
}

/* The same, confirmed on both sides. Uses index 0 of either direction, and index 1 of alice's. */
static UNUSED void pair_meet(pair *p, size_t kind) {
    pair_start(p, kind);
    pair_open(p, 1);
    blob first = say(&p->alice, p->at_alice, "first");
    heard got = HEARS(&p->bob, &first, "first");
    CHECK(got.received.flags == PAWL_RECEIVED_NEW_SESSION);
    CHECK(memcmp(got.received.session, p->at_bob, 16) == 0);
    blob answer = say(&p->bob, p->at_bob, "answer");
    HEARS(&p->alice, &answer, "answer");
    blob last = say(&p->alice, p->at_alice, "last");
    HEARS(&p->bob, &last, "last");
    CHECK(session_row(&p->alice, p->at_alice).flags == (PAWL_SESSION_INITIATOR | PAWL_SESSION_CONFIRMED));
    CHECK(session_row(&p->bob, p->at_bob).flags == PAWL_SESSION_CONFIRMED);
}

#endif
