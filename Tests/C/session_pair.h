/* Two stores, two accounts, one session, and the frames that pass between them: what the tests of crashes,
 * races, restores and erasure share. */
#ifndef PAWL_TEST_SESSION_PAIR_H
#define PAWL_TEST_SESSION_PAIR_H

#include "test.h"

#define FRAME_ROOM 5000 /* for messages of up to 900 bytes */

typedef struct side {
    const char *name;
    char path[512];
    pawl_store *store; /* NULL: closed */
    uint8_t account[PAWL_ACCOUNT_ID_SIZE];
    uint8_t session[PAWL_SESSION_ID_SIZE];
} side;

typedef struct frame {
    size_t size;
    uint8_t bytes[FRAME_ROOM];
} frame;

/* ---------------------------------------------------------------- the clear part of a frame (Protocol.md) */

static UNUSED uint32_t frame_index(const void *bytes) {
    const uint8_t *b = bytes;
    return (uint32_t)b[14] | (uint32_t)b[15] << 8 | (uint32_t)b[16] << 16 | (uint32_t)b[17] << 24;
}
static UNUSED const uint8_t *frame_nonce(const void *bytes) { return (const uint8_t *)bytes + 22; }

/* ---------------------------------------------------------------- stores */

static UNUSED pawl_store *open_with_clock(const char *path, pawl_clock *clock) {
    pawl_key key = raw_key();
    pawl_store_options options = PAWL_INIT(pawl_store_options);
    options.flags = PAWL_STORE_CREATE;
    options.path = path;
    options.path_size = strlen(path);
    options.key = &key;
    options.clock = clock;
    options.busy_timeout_ns = 60 * SECOND; /* many writers on a slow disk are no failure */
    pawl_store *store = NULL;
    MUST(pawl_store_open(&options, &store));
    return store;
}

static UNUSED void side_open(side *s) { s->store = open_with_clock(s->path, NULL); }

static UNUSED void side_close(side *s) {
    pawl_store_close(s->store);
    s->store = NULL;
}

/* ---------------------------------------------------------------- packages and sessions */

/* A new package, with a one-time key if there is to be one; answers the size. */
static UNUSED size_t bundle_of(side *s, int one_time, uint8_t bundle[2 * PAWL_PACKAGE_SIZE_MAX]) {
    pawl_package_options options = PAWL_INIT(pawl_package_options);
    options.one_time_count = one_time ? 1 : 0;
    pawl_view *view = NULL;
    MUST(pawl_package_create(s->store, s->account, &options, &view));
    size_t size = 0;
    for (size_t row = 0; row < pawl_view_count(view); row++) {
        pawl_package package = PAWL_INIT(pawl_package);
        MUST(pawl_view_package(view, row, &package));
        memcpy(bundle + size, package.bytes, package.bytes_size);
        size += package.bytes_size;
    }
    pawl_view_close(view);
    return size;
}

static UNUSED pawl_status start_with(side *from, side *to, const uint8_t *bundle, size_t size) {
    pawl_start_options options = PAWL_INIT(pawl_start_options);
    options.peer_name = to->name;
    options.peer_name_size = strlen(to->name);
    options.package = bundle;
    options.package_size = size;
    return pawl_session_start(from->store, from->account, &options, from->session);
}

/* ---------------------------------------------------------------- messages */

static UNUSED pawl_status encrypt(side *s, const char *text, frame *f) {
    return pawl_session_encrypt(s->store, s->session, text, strlen(text), f->bytes, sizeof f->bytes, &f->size);
}

static UNUSED pawl_status receive(side *s, const frame *f, uint32_t flags, char text[FRAME_ROOM],
                                  pawl_received *received) {
    pawl_frame in = PAWL_INIT(pawl_frame);
    in.flags = flags;
    in.bytes = f->bytes;
    in.size = f->size;
    pawl_received unused = PAWL_INIT(pawl_received);
    if (received == NULL) received = &unused;
    size_t size = 0;
    pawl_status status =
        pawl_account_receive(s->store, s->account, &in, (uint8_t *)text, FRAME_ROOM - 1, &size, received);
    text[size] = 0;
    return status;
}

/* A message from one side arrives at the other, as it was. */
#define PASSES(from, to, text) passes(__FILE__, __LINE__, (from), (to), (text))
static UNUSED void passes(const char *file, int line, side *from, side *to, const char *text) {
    frame f;
    char got[FRAME_ROOM];
    pawl_received received = PAWL_INIT(pawl_received);
    pawl_status status = encrypt(from, text, &f);
    if (status == PAWL_OK) status = receive(to, &f, 0, got, &received);
    if (status != PAWL_OK) {
        test_fault(file, line, "\"%s\" from %s: %s", text, from->name, pawl_status_name(status));
    } else if (strcmp(got, text) != 0) {
        test_fault(file, line, "\"%s\" from %s arrives as \"%s\"", text, from->name, got);
    }
    if (received.flags & PAWL_RECEIVED_NEW_SESSION) memcpy(to->session, received.session, sizeof to->session);
}

static UNUSED void side_make(side *s, const char *name) {
    memset(s, 0, sizeof *s);
    s->name = name;
    snprintf(s->path, sizeof s->path, "%s", fresh_path());
    side_open(s);
    MUST(pawl_account_create(s->store, name, strlen(name), s->account));
}

/* `a` starts a session with `b`; both know that the other has it. */
static UNUSED void pair_join(side *a, side *b) {
    uint8_t bundle[2 * PAWL_PACKAGE_SIZE_MAX];
    MUST(start_with(a, b, bundle, bundle_of(b, 1, bundle)));
    PASSES(a, b, "hello");
    PASSES(b, a, "hi");
    PASSES(a, b, "first on this chain");
}

static UNUSED void pair_make(side *a, side *b) {
    side_make(a, "alice");
    side_make(b, "bob");
    pair_join(a, b);
}

/* Takes and acknowledges all that is in the outbox; `visit` sees each item. */
static UNUSED size_t drain(pawl_store *store, void (*visit)(void *, const pawl_item *), void *context) {
    size_t all = 0;
    for (;;) {
        pawl_view *view = NULL;
        MUST(pawl_outbox_take(store, 1000, 0, &view));
        size_t count = pawl_view_count(view);
        for (size_t row = 0; row < count; row++) {
            pawl_item item = PAWL_INIT(pawl_item);
            MUST(pawl_view_item(view, row, &item));
            if (visit != NULL) visit(context, &item);
            MUST(pawl_outbox_ack(store, &item.seq, 1));
        }
        pawl_view_close(view);
        if (count == 0) return all;
        all += count;
    }
}

#endif
