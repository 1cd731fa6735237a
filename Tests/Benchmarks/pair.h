/* Two sides of a session, on one thread: a store for each, on disk or in memory, and an account in it. */
#ifndef PAWL_PAIR_H
#define PAWL_PAIR_H

#include "bench.h"

static pawl_store *stores[2];
static uint8_t accounts[2][16], sessions[2][16];
static const char *const names[2] = {"alice", "bob"}, *const files[2] = {"alice.pawl", "bob.pawl"};

static inline size_t receive(int side, const uint8_t *bytes, size_t size, uint8_t *out, uint8_t session[16]) {
    pawl_frame frame = PAWL_INIT(pawl_frame);
    frame.bytes = bytes;
    frame.size = size;
    pawl_received received = PAWL_INIT(pawl_received);
    size_t length = 0;
    must(pawl_account_receive(stores[side], accounts[side], &frame, out, size, &length, &received), "receive");
    if (session != NULL) memcpy(session, received.session, 16);
    return length;
}

/* `out` has room for size + PAWL_FRAME_OVERHEAD_MAX. */
static inline size_t encrypt(int side, const uint8_t *text, size_t size, uint8_t *out) {
    size_t length = 0;
    must(pawl_session_encrypt(stores[side], sessions[side], text, size, out, size + PAWL_FRAME_OVERHEAD_MAX, &length),
         "encrypt");
    return length;
}

/* Bob's key package with one-time keys: row 0, then the keys. */
static inline pawl_view *publish(uint32_t keys) {
    pawl_package_options options = PAWL_INIT(pawl_package_options);
    options.one_time_count = keys;
    pawl_view *rows = NULL;
    must(pawl_package_create(stores[1], accounts[1], &options, &rows), "package");
    return rows;
}

/* With the one-time key in row `key`; 0: without. */
static inline void start(pawl_store *store, const uint8_t account[16], const char *peer, pawl_view *rows, size_t key,
                  uint8_t session[16]) {
    uint8_t bytes[2 * PAWL_PACKAGE_SIZE_MAX];
    size_t size = 0;
    for (int part = 0; part < (key == 0 ? 1 : 2); part++) {
        pawl_package row = PAWL_INIT(pawl_package);
        must(pawl_view_package(rows, part == 0 ? 0 : key, &row), "package row");
        memcpy(bytes + size, row.bytes, row.bytes_size);
        size += row.bytes_size;
    }
    pawl_start_options options = PAWL_INIT(pawl_start_options);
    options.peer_name = peer;
    options.peer_name_size = strlen(peer);
    options.package = bytes;
    options.package_size = size;
    must(pawl_session_start(store, account, &options, session), "start");
}

/* A store whose log has the size that it keeps: a commit that makes it grow takes the disk nearly twice as long. */
static inline pawl_store *open_used(const char *name) {
    static const uint8_t secret[60000];
    pawl_store *store = open_here(name);
    pawl_scope scope = PAWL_INIT(pawl_scope);
    scope.user = "user";
    scope.user_size = 4;
    for (int i = 0; i < 100; i++)
        must(pawl_credential_put(store, &scope, "x", 1, secret, sizeof secret, NULL, NULL), "put");
    return store;
}

/* Two stores, and a session that both sides have confirmed. */
static inline void open_pair(int on_disk) {
    uint8_t text[64] = {0}, frame[sizeof text + PAWL_FRAME_OVERHEAD_MAX], out[sizeof frame];
    for (int side = 0; side < 2; side++) {
        stores[side] = on_disk ? open_used(files[side]) : open_here(NULL);
        must(pawl_account_create(stores[side], names[side], strlen(names[side]), accounts[side]), "account");
    }
    pawl_view *rows = publish(1);
    start(stores[0], accounts[0], names[1], rows, 1, sessions[0]);
    pawl_view_close(rows);
    for (int turn = 0; turn < 4; turn++) {
        int side = turn % 2;
        size_t size = encrypt(side, text, sizeof text, frame);
        receive(1 - side, frame, size, out, sessions[1 - side]);
    }
}

static inline void close_pair(void) {
    for (int side = 0; side < 2; side++) {
        pawl_store_close(stores[side]);
        remove_file(files[side]);
    }
}

/* Hands over what a side has to say, and answers how many messages arrived. */
static inline int deliver(int from) {
    int arrived = 0;
    uint64_t done[100];
    pawl_view *items = NULL;
    must(pawl_outbox_take(stores[from], 100, 0, &items), "take");
    for (size_t row = 0; row < pawl_view_count(items); row++) {
        static uint8_t out[8192];
        pawl_item item = PAWL_INIT(pawl_item);
        must(pawl_view_item(items, row, &item), "item");
        if (item.kind == PAWL_ITEM_FRAME) {
            if (item.body_size > sizeof out) stop("deliver", "too long");
            arrived += receive(1 - from, item.body, item.body_size, out, sessions[1 - from]) > 0;
        }
        done[row] = item.seq;
    }
    must(pawl_outbox_ack(stores[from], done, pawl_view_count(items)), "ack");
    pawl_view_close(items);
    return arrived;
}

/* `side` asks, and the other answers; both have the epoch when it has said that it has it. */
static inline uint32_t rekey(int side) {
    uint32_t target = 0;
    must(pawl_session_rekey(stores[side], sessions[side], 0, &target), "rekey");
    deliver(side);
    deliver(1 - side);
    deliver(side);
    return target;
}

/* ---------------------------------------------------------------- set-ups */

#define QUOTA 192 /* fewer than one account lets wait unconfirmed */
#define GROUP 16

static uint8_t initiators[QUOTA][16];

/* What is made before: accounts that will each begin a session with Bob, and his one-time keys, from row 1 on. */
static inline pawl_view *initiators_of(size_t count) {
    pawl_store *batch = NULL;
    must(pawl_batch_begin(stores[0], &batch), "batch");
    for (size_t i = 0; i < count; i++) {
        char name[32];
        int length = snprintf(name, sizeof name, "alice-%zu", i);
        must(pawl_account_create(batch, name, (size_t)length, initiators[i]), "account");
    }
    must(pawl_batch_commit(batch), "commit");
    return publish((uint32_t)count);
}

/* Start, first message, accepted: three calls, which are three commits. */
static inline void set_up(pawl_view *rows, size_t i) {
    static const uint8_t text[64];
    uint8_t session[16], frame[sizeof text + PAWL_FRAME_OVERHEAD_MAX], out[sizeof frame];
    size_t size = 0;
    start(stores[0], initiators[i], names[1], rows, i + 1, session);
    must(pawl_session_encrypt(stores[0], session, text, sizeof text, frame, sizeof frame, &size), "encrypt");
    receive(1, frame, size, out, NULL);
}

/* The same as a host does that has many at a time: one batch starts and sends, the outbox hands the frames out and
 * is told that they are delivered, one call receives. Two durable commits for all of them. */
static inline void set_up_together(pawl_view *rows, size_t first, size_t count) {
    static const uint8_t text[64];
    static uint8_t plain[GROUP][512];
    uint64_t seqs[GROUP];
    pawl_delivery arrived[GROUP];
    pawl_store *batch = NULL;
    pawl_view *items = NULL;
    must(pawl_batch_begin(stores[0], &batch), "batch");
    for (size_t i = first; i < first + count; i++) {
        uint8_t session[16];
        start(batch, initiators[i], names[1], rows, i + 1, session);
        must(pawl_session_send(batch, session, text, sizeof text, NULL), "send");
    }
    must(pawl_batch_commit(batch), "commit");
    must(pawl_outbox_take(stores[0], count, 0, &items), "take");
    if (pawl_view_count(items) != count) stop("take", "count");
    for (size_t i = 0; i < count; i++) {
        pawl_item item = PAWL_INIT(pawl_item);
        must(pawl_view_item(items, i, &item), "item");
        seqs[i] = item.seq;
        arrived[i] = (pawl_delivery)PAWL_INIT(pawl_delivery);
        arrived[i].frame = item.body;
        arrived[i].frame_size = item.body_size;
        arrived[i].out = plain[i];
        arrived[i].out_size = sizeof plain[i];
    }
    must(pawl_account_receive_many(stores[1], accounts[1], arrived, count), "receive_many");
    for (size_t i = 0; i < count; i++) must(arrived[i].status, "delivery");
    must(pawl_outbox_ack(stores[0], seqs, count), "ack");
    pawl_view_close(items);
}

#endif
