/* A user's device: an account in a store, the server that it backs up to, and all that was told of it. */
#ifndef PAWL_TEST_BACKUP_DEVICE_H
#define PAWL_TEST_BACKUP_DEVICE_H

#include "backup_server.h"
#include "sessions.h"

#define TOLD_ROOM 512

typedef struct told {
    uint32_t what;
    uint64_t count;
    pawl_backup backup; /* zeros of a finding */
} told;

typedef struct device {
    setup in;
    side who;
    backup_server *server;
    told told[TOLD_ROOM];
    size_t count;
    uint64_t revision; /* that was told last */
} device;

static UNUSED device *device_new(backup_server *server, size_t kind, const char *name) {
    device *d = calloc(1, sizeof *d);
    NEED(d != NULL);
    d->server = server;
    setup_start(&d->in, kind);
    side_new(&d->who, &d->in, name);
    return d;
}

static UNUSED void device_end(device *d) {
    setup_end(&d->in);
    free(d);
}

static UNUSED pawl_backup backup_of(const device *d) {
    pawl_backup backup = PAWL_INIT(pawl_backup);
    MUST(pawl_backup_get(store_of(&d->who), d->who.account, &backup));
    return backup;
}

/* What a revision stands for; what is to be uploaded, and what was restored and need not be, is not in it. */
static UNUSED int same_state(const pawl_backup *a, const pawl_backup *b) {
    const uint32_t flags = PAWL_BACKUP_ON | PAWL_BACKUP_OLDER | PAWL_BACKUP_SERVER_KNOWN;
    return a->revision == b->revision && (a->flags & flags) == (b->flags & flags) && a->phase == b->phase &&
           a->download == b->download && a->generation == b->generation &&
           a->server_generation == b->server_generation && a->key_generation == b->key_generation &&
           memcmp(a->hash, b->hash, 3 * PAWL_BACKUP_HASH_SIZE) == 0 && a->server_items == b->server_items &&
           a->retry_ns == b->retry_ns;
}

/* An event never lies: asked when it is told, the store says the same, or something newer. */
static UNUSED void device_hear(device *d, const pawl_view *items, size_t row, const pawl_item *item) {
    told *t = d->told + d->count;
    NEED(d->count < TOLD_ROOM);
    *t = (told){.what = item->what, .count = item->count, .backup = PAWL_INIT(pawl_backup)};
    CHECK(memcmp(item->account, d->who.account, 16) == 0);
    if (item->what == PAWL_EVENT_BACKUP_FINDING) {
        ANSWERS(PAWL_MISUSE_ROW, pawl_view_item_backup(items, row, &t->backup));
        d->count++;
        return;
    }
    MUST(pawl_view_item_backup(items, row, &t->backup));
    const pawl_backup now = backup_of(d);
    CHECK(now.revision >= t->backup.revision);
    if (now.revision == t->backup.revision) CHECK(same_state(&now, &t->backup));
    if (item->what == PAWL_EVENT_BACKUP_STATUS) {
        CHECK(t->backup.revision > d->revision);
        d->revision = t->backup.revision;
    } else {
        CHECK_SAYING(t->backup.revision == d->revision, "an event runs ahead of its status, or behind it");
    }
    if (item->what == PAWL_EVENT_BACKUP_KEY_CACHED) {
        const pawl_backup *b = &t->backup;
        CHECK(d->count > 0 && t[-1].what == PAWL_EVENT_BACKUP_STATUS);
        CHECK(b->generation > 0 && b->generation == b->server_generation && b->generation == b->key_generation);
        CHECK(memcmp(b->hash, b->server_hash, 32) == 0 && memcmp(b->hash, b->key_hash, 32) == 0);
        CHECK((b->flags & PAWL_BACKUP_ON) && b->download == PAWL_DOWNLOAD_READY && t->count == b->generation);
    }
    d->count++;
}

static UNUSED int is_backup_request(const pawl_item *item) {
    return item->kind == PAWL_ITEM_REQUEST && item->what >= PAWL_REQUEST_BACKUP_VERSION &&
           item->what <= PAWL_REQUEST_BACKUP_SECRET;
}

static UNUSED int is_backup_event(const pawl_item *item) {
    return item->kind == PAWL_ITEM_EVENT && item->what >= PAWL_EVENT_BACKUP_STATUS &&
           item->what <= PAWL_EVENT_BACKUP_FINDING;
}

/* Hears what can be taken, then carries it out. */
static UNUSED size_t device_serve(device *d) {
    pawl_store *store = store_of(&d->who);
    pawl_view *items = NULL;
    MUST(pawl_outbox_take(store, 100, 0, &items));
    size_t count = pawl_view_count(items);
    for (int turn = 0; turn < 2; turn++) {
        for (size_t row = 0; row < count; row++) {
            pawl_item item = PAWL_INIT(pawl_item);
            MUST(pawl_view_item(items, row, &item));
            if (is_backup_request(&item) != turn) continue;
            if (is_backup_event(&item)) device_hear(d, items, row, &item);
            if (turn == 0 || item.what == PAWL_REQUEST_BACKUP_SECRET) {
                if (turn == 1) {
                    d->server->asked[item.what & 15]++;
                    d->server->secret_request = item.count;
                }
                MUST(pawl_outbox_ack(store, &item.seq, 1));
                continue;
            }
            pawl_backup_reply reply;
            MUST(server_carry_out(d->server, items, row, &reply));
            MUST(pawl_backup_answer(store, item.seq, &reply));
        }
    }
    pawl_view_close(items);
    return count;
}

/* All that is due and all that follows from it. */
static UNUSED void device_settle(device *d) {
    for (int i = 0; i < 10000; i++) {
        if (run_due(&d->who) + device_serve(d) == 0) return;
    }
    test_fault(__FILE__, __LINE__, "%s finds no rest", d->who.name);
}

/* How often something was told since `from`; `count` UINT64_MAX: whatever it counts. */
static UNUSED size_t told_of(const device *d, size_t from, uint32_t what, uint64_t count) {
    size_t times = 0;
    for (size_t i = from; i < d->count; i++)
        times += d->told[i].what == what && (count == UINT64_MAX || d->told[i].count == count);
    return times;
}

static UNUSED const told *last_told(const device *d, uint32_t what) {
    for (size_t i = d->count; i-- > 0;) {
        if (d->told[i].what == what) return d->told + i;
    }
    test_fault(__FILE__, __LINE__, "%s was never told %u", d->who.name, what);
    test_give_up();
    return NULL;
}

static UNUSED pawl_key backup_key(const char *text) {
    pawl_key key = PAWL_INIT(pawl_key);
    key.kind = PAWL_KEY_RECOVERY;
    key.secret = text;
    key.secret_size = strlen(text);
    return key;
}

static UNUSED void recovery_key_of(const device *d, char text[PAWL_RECOVERY_SIZE_MAX]) {
    size_t size = 0;
    MUST(pawl_backup_recovery_key(store_of(&d->who), d->who.account, text, PAWL_RECOVERY_SIZE_MAX, &size));
    CHECK(strlen(text) == size);
}

static UNUSED pawl_status recover(device *d, const char *text) {
    pawl_key key = backup_key(text);
    return pawl_backup_recover(store_of(&d->who), d->who.account, &key);
}

static UNUSED void create_backup(device *d) {
    MUST(pawl_backup_create(store_of(&d->who), d->who.account, NULL, 0));
    device_settle(d);
    CHECK(backup_of(d).download == PAWL_DOWNLOAD_READY);
}

static UNUSED void include(device *d, const pawl_scope *scope) {
    MUST(pawl_backup_include(store_of(&d->who), d->who.account, scope, 0));
}

/* Recovers by a key and fetches everything, credentials of `scope` among it. Gives what was told at its end. */
static UNUSED pawl_backup restore_with(device *d, const char *text, const pawl_scope *scope) {
    MUST(recover(d, text));
    pawl_status status = pawl_backup_include(store_of(&d->who), d->who.account, scope, 0);
    CHECK(status == PAWL_OK || status == PAWL_EXISTS);
    device_settle(d);
    MUST(pawl_backup_restore(store_of(&d->who), d->who.account, 0));
    device_settle(d);
    return last_told(d, PAWL_EVENT_BACKUP_RESTORED)->backup;
}

#endif
