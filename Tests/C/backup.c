/* Backups: what comes back when a store is lost, what is told and when, what a server cannot do unnoticed. */
#include "backup_device.h"

#define STORE(d) store_of(&(d)->who)
#define ACCOUNT(d) ((d)->who.account)
#define ROOM (64 << 20)

static backup_server *small_server(void) { return server_new(1 << 12, ROOM); }

/* Entries of a version: kind 1 and 2 items, 3 manifests, 4 pages of listings; 0 all. */
static kept_entry **find_entry(backup_server *server, int kind, size_t number) {
    kept_version *version = server_current(server);
    for (size_t i = 0; version != NULL && i < server->slots; i++) {
        kept_entry *entry = version->slots[i];
        if (entry != NULL && entry->size > 6 && (kind == 0 || entry->bytes[5] == kind) && number-- == 0)
            return version->slots + i;
    }
    return NULL;
}

static size_t count_entries(backup_server *server, int kind) {
    size_t count = 0;
    while (find_entry(server, kind, count) != NULL) count++;
    return count;
}

/* ---------------------------------------------------------------- lost and found */

static void a_lost_store_comes_back(setup *s) {
    size_t kind = 0;
    while (strcmp(setup_kinds[kind].name, s->name) != 0) kind++;
    backup_server *server = small_server();
    device *old = device_new(server, kind, "ada"), *peer = device_new(server, kind, "bob");
    pawl_scope scope = scope_of("ada", "home"), other = scope_of("ada", "work");
    MUST(pawl_history_enable(STORE(old), ACCOUNT(old), 1));
    MUST(put(STORE(old), &scope, "before", "1"));
    MUST(put(STORE(old), &other, "not included", "x"));
    if (s->has_vault) {
        ANSWERS(PAWL_STATE_BATCH, pawl_backup_include(STORE(old), ACCOUNT(old), &scope, 0));
        device_end(old);
        device_end(peer);
        server_end(server);
        return;
    }
    create_backup(old);
    /* The version is there before its key is said to be. */
    CHECK(told_of(old, 0, PAWL_EVENT_BACKUP_KEY_CACHED, 1) == 1);
    CHECK(told_of(old, 0, PAWL_EVENT_BACKUP_REFUSED, UINT64_MAX) == 0);
    include(old, &scope);
    ANSWERS(PAWL_EXISTS, pawl_backup_include(STORE(old), ACCOUNT(old), &scope, 0));
    MUST(put(STORE(old), &scope, "after", "2"));
    device_settle(old);
    MUST(put(STORE(old), &scope, "later", "3"));
    MUST(put(STORE(old), &scope, "before", "1 again"));
    MUST(put(STORE(old), &scope, "deleted", "4"));
    device_settle(old);
    MUST(delete_now(STORE(old), &scope, "deleted"));

    id16 session;
    blob bundle = package_of(&peer->who, 1), frames[4];
    MUST(start(&old->who, &peer->who, &bundle, session));
    frames[0] = say(&old->who, session, "hello");
    id16 at_peer;
    memcpy(at_peer, HEARS(&peer->who, &frames[0], "hello").received.session, 16);
    frames[1] = say(&peer->who, at_peer, "hello yourself");
    HEARS(&old->who, &frames[1], "hello yourself");
    frames[2] = say(&old->who, session, "how are you");
    device_settle(old);
    CHECK(backup_of(old).pending == 0);
    CHECK_SAYING(count_entries(server, 1) > 0 && count_entries(server, 3) == 1, "no items, or no manifest");
    size_t open = count_entries(server, 1);
    MUST(pawl_session_close(STORE(old), session));
    device_settle(old);
    CHECK_SAYING(count_entries(server, 1) == open + 2, "a live chain key left the store, or a dead one did not");

    char text[PAWL_RECOVERY_SIZE_MAX];
    recovery_key_of(old, text);
    device_end(old);

    device *fresh = device_new(server, kind, "ada");
    ANSWERS(PAWL_NOT_FOUND, pawl_backup_get(STORE(fresh), ACCOUNT(fresh), &(pawl_backup)PAWL_INIT(pawl_backup)));
    pawl_backup end = restore_with(fresh, text, &scope);
    /* That it is deleted is known already. */
    CHECK(end.imported == 5 && end.known == 1 && end.improved == 0);
    CHECK(end.undecryptable == 0 && end.malformed == 0 && end.findings == 0);
    CHECK(end.writers == 1 && end.as_of_ns == fresh->in.now);
    HOLDS(STORE(fresh), &scope, "before", "1 again");
    HOLDS(STORE(fresh), &scope, "after", "2");
    HOLDS(STORE(fresh), &scope, "later", "3");
    LACKS(STORE(fresh), &scope, "deleted");
    LACKS(STORE(fresh), &other, "not included");
    for (int i = 0; i < 3; i++) {
        const char *texts[] = {"hello", "hello yourself", "how are you"};
        char out[8192] = "";
        size_t size = 0;
        pawl_history_message message = PAWL_INIT(pawl_history_message);
        OK(pawl_history_decrypt(STORE(fresh), ACCOUNT(fresh), frames[i].bytes, frames[i].size, (uint8_t *)out,
                                sizeof out, &size, &message));
        CHECK(size == strlen(texts[i]) && memcmp(out, texts[i], size) == 0);
        CHECK(message.direction == (i == 1 ? PAWL_HISTORY_RECEIVED : PAWL_HISTORY_SENT));
    }
    pawl_view *view = NULL;
    MUST(pawl_history_list(STORE(fresh), ACCOUNT(fresh), NULL, 10, &view));
    CHECK(pawl_view_count(view) == 2);
    for (size_t i = 0; i < pawl_view_count(view); i++) {
        pawl_history row = PAWL_INIT(pawl_history);
        MUST(pawl_view_history(view, i, &row));
        CHECK(row.flags == (PAWL_HISTORY_CLOSED | PAWL_HISTORY_IMPORTED));
    }
    pawl_view_close(view);
    CHECK(damage_count(STORE(fresh)) == 0);
    /* A second time everything is known. */
    MUST(pawl_backup_restore(STORE(fresh), ACCOUNT(fresh), 0));
    device_settle(fresh);
    end = last_told(fresh, PAWL_EVENT_BACKUP_RESTORED)->backup;
    CHECK(end.imported == 0 && end.improved == 0 && end.known == 6 && end.findings == 0);
    /* What was restored is backed up from here, too. */
    MUST(put(STORE(fresh), &scope, "later", "3 again"));
    device_settle(fresh);
    device *third = device_new(server, kind, "ada");
    third->in.now = fresh->in.now + SECOND;
    end = restore_with(third, text, &scope);
    CHECK(end.writers == 2 && end.findings == 0);
    HOLDS(STORE(third), &scope, "later", "3 again");
    device_end(third);
    device_end(fresh);
    device_end(peer);
    server_end(server);
}

/* ---------------------------------------------------------------- versions */

static void a_reset_replaces_the_version(void) {
    backup_server *server = small_server();
    device *d = device_new(server, KIND_SQLITE, "ada");
    pawl_scope scope = scope_of("ada", "");
    char first[PAWL_RECOVERY_SIZE_MAX], second[PAWL_RECOVERY_SIZE_MAX];
    create_backup(d);
    include(d, &scope);
    for (int i = 0; i < 300; i++) {
        char name[16];
        snprintf(name, sizeof name, "name %d", i);
        MUST(put(STORE(d), &scope, name, name));
    }
    device_settle(d);
    recovery_key_of(d, first);
    size_t entries = server_current(server)->count;
    MUST(pawl_backup_reset(STORE(d), ACCOUNT(d), NULL, 0));
    /* The old version is there until the new one is filled. */
    int is_filled = 0;
    for (int i = 0; i < 1000 && run_due(&d->who) + device_serve(d) > 0; i++) {
        if (server->count < 2) continue;
        if (server->versions[1].count >= entries) is_filled = 1;
        CHECK_SAYING(!server->versions[0].is_deleted || is_filled, "deleted before the next one is filled");
    }
    CHECK(server->count == 2 && server->versions[0].is_deleted && server->versions[1].count >= 301);
    recovery_key_of(d, second);
    CHECK(strcmp(first, second) != 0);
    pawl_backup now = backup_of(d);
    CHECK(now.generation == 2 && now.key_generation == 2 && now.server_generation == 2 && now.pending == 0);
    CHECK(told_of(d, 0, PAWL_EVENT_BACKUP_KEY_CACHED, UINT64_MAX) == 2);

    device *other = device_new(server, KIND_SQLITE, "ada");
    MUST(recover(other, first));
    device_settle(other);
    CHECK(told_of(other, 0, PAWL_EVENT_BACKUP_REFUSED, PAWL_REFUSED_WRONG_KEY) == 1);
    CHECK(backup_of(other).download == PAWL_DOWNLOAD_KEY_MISSING && backup_of(other).generation == 0);
    pawl_backup end = restore_with(other, second, &scope);
    CHECK(end.imported == 300 && end.findings == 0);
    HOLDS(STORE(other), &scope, "name 299", "name 299");

    /* A reset by one account: the other one's uploads go to no old version, and it asks for the new secret. */
    MUST(pawl_backup_reset(STORE(other), ACCOUNT(other), NULL, 0));
    device_settle(other);
    MUST(put(STORE(d), &scope, "new", "new"));
    device_settle(d);
    now = backup_of(d);
    CHECK(now.generation == 0 && now.server_generation == 3 && now.key_generation == 2);
    CHECK((now.flags & PAWL_BACKUP_ON) && now.download == PAWL_DOWNLOAD_KEY_MISSING && now.pending > 0);
    char third[PAWL_RECOVERY_SIZE_MAX];
    recovery_key_of(other, third);
    MUST(recover(d, third));
    device_settle(d);
    CHECK(backup_of(d).pending == 0 && backup_of(d).generation == 3);
    device_end(other);
    device_end(d);
    server_end(server);
}

static void it_is_turned_off_and_deleted(void) {
    backup_server *server = small_server();
    device *d = device_new(server, KIND_SQLITE, "ada");
    pawl_scope scope = scope_of("ada", "");
    char text[PAWL_RECOVERY_SIZE_MAX];
    size_t size = 0;
    ANSWERS(PAWL_STATE_BACKUP, pawl_backup_recovery_key(STORE(d), ACCOUNT(d), text, sizeof text, &size));
    create_backup(d);
    include(d, &scope);
    MUST(put(STORE(d), &scope, "a", "1"));
    device_settle(d);
    size_t entries = server_current(server)->count;
    MUST(pawl_backup_disable(STORE(d), ACCOUNT(d)));
    device_settle(d);
    pawl_backup now = backup_of(d);
    CHECK(!(now.flags & PAWL_BACKUP_ON) && now.download == PAWL_DOWNLOAD_OFF && now.generation == 0);
    CHECK(now.key_generation == 1);
    MUST(put(STORE(d), &scope, "b", "2"));
    device_settle(d);
    CHECK(server_current(server)->count == entries);
    MUST(pawl_backup_enable(STORE(d), ACCOUNT(d)));
    device_settle(d);
    CHECK(backup_of(d).download == PAWL_DOWNLOAD_READY && backup_of(d).pending == 0);
    CHECK(server_current(server)->count == entries + 1);
    MUST(pawl_backup_delete(STORE(d), ACCOUNT(d)));
    device_settle(d);
    now = backup_of(d);
    CHECK(server_current(server) == NULL && now.key_generation == 0 && !(now.flags & PAWL_BACKUP_ON));
    ANSWERS(PAWL_STATE_BACKUP, pawl_backup_recovery_key(STORE(d), ACCOUNT(d), text, sizeof text, &size));
    /* An account that goes takes what it asked for along. */
    MUST(pawl_backup_create(STORE(d), ACCOUNT(d), NULL, 0));
    MUST(pawl_account_delete(STORE(d), ACCOUNT(d)));
    taken item;
    while (take(&d->who, &item)) {
        CHECK_SAYING(item.item.kind == PAWL_ITEM_EVENT, "a request of an account that is gone");
        ack(&d->who, &item);
    }
    ANSWERS(PAWL_NOT_FOUND, pawl_backup_get(STORE(d), ACCOUNT(d), &now));
    device_end(d);
    server_end(server);
}

static void the_recovery_key_is_put_away_first(void) {
    backup_server *server = small_server();
    device *d = device_new(server, KIND_SQLITE, "ada");
    MUST(pawl_backup_create(STORE(d), ACCOUNT(d), NULL, PAWL_BACKUP_ESCROW));
    server->refused = PAWL_REQUEST_BACKUP_ESCROW;
    server->refuse_with = PAWL_REPLY_FAILED;
    server->refusals = 1;
    device_settle(d);
    pawl_backup now = backup_of(d);
    CHECK(now.phase == PAWL_BACKUP_WAITING && now.retry_ns > d->in.now && now.retry_ns < PAWL_NEVER);
    CHECK(server->count == 0 && now.generation == 0 && (now.flags & PAWL_BACKUP_ON));
    d->in.now = now.retry_ns;
    device_settle(d);
    CHECK(backup_of(d).generation == 1 && server->asked[PAWL_REQUEST_BACKUP_ESCROW] == 2);
    char text[PAWL_RECOVERY_SIZE_MAX];
    recovery_key_of(d, text);
    CHECK(strcmp(text, server->escrow) == 0);
    device_end(d);
    server_end(server);
}

static void keys_of_the_host(void) {
    backup_server *server = small_server();
    device *d = device_new(server, KIND_SQLITE, "ada");
    char text[PAWL_RECOVERY_SIZE_MAX], again[PAWL_RECOVERY_SIZE_MAX];
    size_t size = 0;
    MUST(pawl_recovery_key_generate(PAWL_RECOVERY_BACKUP, text, sizeof text, &size));
    pawl_key key = backup_key(text), words = passphrase_key("correct horse"), raw = raw_key();
    ANSWERS(PAWL_MISUSE_KEY, pawl_backup_create(STORE(d), ACCOUNT(d), &words, 0));
    ANSWERS(PAWL_MISUSE_KEY, pawl_backup_recover(STORE(d), ACCOUNT(d), &words));
    MUST(pawl_backup_create(STORE(d), ACCOUNT(d), &key, 0));
    device_settle(d);
    recovery_key_of(d, again);
    CHECK(strcmp(text, again) == 0);
    MUST(pawl_backup_reset(STORE(d), ACCOUNT(d), &raw, 0));
    device_settle(d);
    recovery_key_of(d, again);
    CHECK(strcmp(text, again) != 0);
    device *other = device_new(server, KIND_SQLITE, "ada");
    MUST(pawl_backup_recover(STORE(other), ACCOUNT(other), &raw));
    device_settle(other);
    CHECK(backup_of(other).generation == 2);
    text[size - 1] = text[size - 1] == 'q' ? 'p' : 'q';
    ANSWERS(PAWL_MISUSE_RECOVERY, recover(other, text));
    MUST(pawl_recovery_key_generate(PAWL_RECOVERY_STORE, text, sizeof text, &size));
    ANSWERS(PAWL_MISUSE_RECOVERY_PREFIX, recover(other, text));
    device_end(other);
    device_end(d);
    server_end(server);
}

/* ---------------------------------------------------------------- wrapped keys */

static void a_recovery_key_is_wrapped(void) {
    char text[PAWL_RECOVERY_SIZE_MAX], again[PAWL_RECOVERY_SIZE_MAX];
    uint8_t wrapped[PAWL_RECOVERY_WRAPPED_SIZE_MAX], bad[PAWL_RECOVERY_WRAPPED_SIZE_MAX];
    size_t text_size = 0, size = 0, again_size = 0;
    MUST(pawl_recovery_key_generate(PAWL_RECOVERY_BACKUP, text, sizeof text, &text_size));
    pawl_key keys[] = {raw_key(), passphrase_key("correct horse")}, wrong = passphrase_key("correct horses");
    for (int i = 0; i < 2; i++) {
        MUST(pawl_recovery_wrap(text, text_size, &keys[i], wrapped, sizeof wrapped, &size));
        CHECK(size > 32 && size <= sizeof wrapped);
        MUST(pawl_recovery_unwrap(wrapped, size, &keys[i], again, sizeof again, &again_size));
        CHECK(again_size == text_size && strcmp(text, again) == 0);
        ANSWERS(PAWL_AUTH, pawl_recovery_unwrap(wrapped, size, &keys[!i], again, sizeof again, &again_size));
        CHECK(again_size == 0 && is_zero(again, sizeof again));
    }
    ANSWERS(PAWL_AUTH, pawl_recovery_unwrap(wrapped, size, &wrong, again, sizeof again, &again_size));
    /* Every byte of it counts. */
    pawl_key raw = raw_key();
    MUST(pawl_recovery_wrap(text, text_size, &raw, wrapped, sizeof wrapped, &size));
    for (size_t at = 0; at < size; at++) {
        memcpy(bad, wrapped, size);
        bad[at] ^= 1;
        pawl_status status = pawl_recovery_unwrap(bad, size, &raw, again, sizeof again, &again_size);
        CHECK_SAYING(status != PAWL_OK && PAWL_STATUS_PRIMARY(status) != PAWL_INTERNAL, "byte %zu: %s", at,
                     pawl_status_name(status));
    }
    for (size_t cut = 0; cut < size; cut++) {
        pawl_status status = pawl_recovery_unwrap(wrapped, cut, &raw, again, sizeof again, &again_size);
        CHECK_SAYING(PAWL_STATUS_PRIMARY(status) == PAWL_CORRUPT, "%zu bytes: %s", cut, pawl_status_name(status));
    }
    ANSWERS(PAWL_BUFFER, pawl_recovery_wrap(text, text_size, &raw, bad, size - 1, &again_size));
    CHECK(again_size == size);
    ANSWERS(PAWL_BUFFER, pawl_recovery_unwrap(wrapped, size, &raw, again, text_size, &again_size));
    CHECK(again_size == text_size + 1);
    MUST(pawl_recovery_unwrap(wrapped, size, &raw, again, text_size + 1, &again_size));
    text[text_size - 1] = text[text_size - 1] == 'q' ? 'p' : 'q';
    ANSWERS(PAWL_MISUSE_RECOVERY, pawl_recovery_wrap(text, text_size, &raw, wrapped, sizeof wrapped, &size));
    keys[1].memory_size = 1;
    MUST(pawl_recovery_key_generate(PAWL_RECOVERY_BACKUP, text, sizeof text, &text_size));
    ANSWERS(PAWL_MISUSE_HASHING, pawl_recovery_wrap(text, text_size, &keys[1], wrapped, sizeof wrapped, &size));
    MUST(pawl_recovery_key_generate(PAWL_RECOVERY_STORE, text, sizeof text, &text_size));
    ANSWERS(PAWL_MISUSE_RECOVERY_PREFIX, pawl_recovery_wrap(text, text_size, &raw, wrapped, sizeof wrapped, &size));
}

/* ---------------------------------------------------------------- refusals */

#define REFUSES(d, why) \
    do { \
        size_t from_ = (d)->count; \
        device_settle(d); \
        CHECK_SAYING(told_of((d), from_, PAWL_EVENT_BACKUP_REFUSED, (why)) == 1, "%s: not refused as %s", \
                     (d)->who.name, #why); \
    } while (0)

static void undelete(backup_server *server, const pawl_backup_request *request, pawl_backup_reply *reply) {
    (void)reply;
    if (request->what != PAWL_REQUEST_BACKUP_DELETE) return;
    for (int i = 0; i < server->count; i++) server->versions[i].is_deleted = 0;
}

/* A version that nobody made, of a generation. */
static void invent(backup_server *server, uint64_t generation) {
    uint8_t body[106] = {1, 1};
    for (int i = 0; i < 8; i++) body[2 + i] = (uint8_t)(generation >> (8 * i));
    for (size_t i = 10; i < sizeof body; i++) body[i] = (uint8_t)i;
    server_create(server, body, sizeof body);
}

static void each_refusal_is_told(void) {
    backup_server *server = small_server();
    device *d = device_new(server, KIND_SQLITE, "ada");
    pawl_scope scope = scope_of("ada", "");
    char text[PAWL_RECOVERY_SIZE_MAX];
    size_t size = 0;
    MUST(pawl_backup_ask(STORE(d), ACCOUNT(d)));
    REFUSES(d, PAWL_REFUSED_OFF);
    MUST(pawl_backup_restore(STORE(d), ACCOUNT(d), 0));
    REFUSES(d, PAWL_REFUSED_NOT_READY);
    ANSWERS(PAWL_STATE_BACKUP, pawl_backup_fetch_credential(STORE(d), ACCOUNT(d), &scope, "a", 1));
    ANSWERS(PAWL_STATE_BACKUP, pawl_backup_fetch_history(STORE(d), ACCOUNT(d), d->who.account, 0));
    MUST(pawl_recovery_key_generate(PAWL_RECOVERY_BACKUP, text, sizeof text, &size));
    MUST(recover(d, text));
    REFUSES(d, PAWL_REFUSED_NO_BACKUP);
    create_backup(d);
    MUST(recover(d, text));
    REFUSES(d, PAWL_REFUSED_WRONG_KEY);
    CHECK(backup_of(d).generation == 1);
    MUST(pawl_backup_create(STORE(d), ACCOUNT(d), NULL, 0));
    REFUSES(d, PAWL_REFUSED_EXISTS);
    MUST(pawl_backup_fetch_credential(STORE(d), ACCOUNT(d), &scope, "nowhere", 7));
    REFUSES(d, PAWL_REFUSED_MISSING);
    /* It is not asked for again for a while, which grows. */
    long asked = server->asked[PAWL_REQUEST_BACKUP_ITEM];
    MUST(pawl_backup_fetch_credential(STORE(d), ACCOUNT(d), &scope, "nowhere", 7));
    REFUSES(d, PAWL_REFUSED_MISSING);
    CHECK(server->asked[PAWL_REQUEST_BACKUP_ITEM] == asked);
    d->in.now += DAY;
    MUST(pawl_backup_fetch_credential(STORE(d), ACCOUNT(d), &scope, "nowhere", 7));
    REFUSES(d, PAWL_REFUSED_MISSING);
    CHECK(server->asked[PAWL_REQUEST_BACKUP_ITEM] == asked + 1);
    /* Of one thing there is one request; of all there are 16 at a time. */
    for (int i = 0; i < 17; i++) {
        char name[16];
        snprintf(name, sizeof name, "fetch %d", i);
        for (int turn = 0; turn < 2 - (i == 16); turn++)
            MUST(pawl_backup_fetch_credential(STORE(d), ACCOUNT(d), &scope, name, strlen(name)));
    }
    asked = server->asked[PAWL_REQUEST_BACKUP_ITEM];
    REFUSES(d, PAWL_REFUSED_TOO_MANY);
    CHECK(server->asked[PAWL_REQUEST_BACKUP_ITEM] == asked + 16);

    /* The server goes back to a version that was replaced. */
    recovery_key_of(d, text);
    MUST(pawl_backup_reset(STORE(d), ACCOUNT(d), NULL, 0));
    device_settle(d);
    CHECK(server->versions[0].is_deleted);
    server->versions[0].is_deleted = 0;
    server->versions[1].is_deleted = 1;
    MUST(pawl_backup_enable(STORE(d), ACCOUNT(d)));
    device_settle(d);
    CHECK(backup_of(d).download == PAWL_DOWNLOAD_ROLLED_BACK && backup_of(d).generation == 0);
    MUST(recover(d, text));
    REFUSES(d, PAWL_REFUSED_ROLLED_BACK);
    pawl_backup now = backup_of(d);
    CHECK((now.flags & PAWL_BACKUP_OLDER) && now.generation == 0 && now.server_generation == 1);
    MUST(pawl_backup_restore(STORE(d), ACCOUNT(d), 0));
    REFUSES(d, PAWL_REFUSED_NOT_READY);
    size_t before = d->count;
    MUST(pawl_backup_restore(STORE(d), ACCOUNT(d), PAWL_RESTORE_ACCEPT_OLDER));
    device_settle(d);
    CHECK(told_of(d, before, PAWL_EVENT_BACKUP_RESTORED, UINT64_MAX) == 1);

    /* Generations that somebody invented end. */
    invent(server, (UINT64_C(1) << 62) - 1);
    MUST(pawl_backup_reset(STORE(d), ACCOUNT(d), NULL, 0));
    device_settle(d);
    CHECK(backup_of(d).generation == UINT64_C(1) << 62);
    MUST(pawl_backup_reset(STORE(d), ACCOUNT(d), NULL, 0));
    REFUSES(d, PAWL_REFUSED_GENERATION);

    server->meddle = undelete;
    MUST(pawl_backup_delete(STORE(d), ACCOUNT(d)));
    REFUSES(d, PAWL_REFUSED_ENDLESS);
    device_end(d);
    server_end(server);
}

/* ---------------------------------------------------------------- failing servers */

static void failure_changes_nothing_of_what_is_wanted(void) {
    const uint32_t kinds[] = {PAWL_REQUEST_BACKUP_VERSION, PAWL_REQUEST_BACKUP_CREATE, PAWL_REQUEST_BACKUP_PUT};
    const uint32_t results[] = {PAWL_REPLY_FAILED, PAWL_REPLY_RATE_LIMITED, PAWL_REPLY_NO_ITEM,
                                PAWL_REPLY_WRONG_VERSION};
    for (size_t kind = 0; kind < 3; kind++) {
        for (size_t result = 0; result < 4; result++) {
            backup_server *server = small_server();
            device *d = device_new(server, KIND_SQLITE, "ada");
            pawl_scope scope = scope_of("ada", "");
            MUST(pawl_backup_create(STORE(d), ACCOUNT(d), NULL, 0));
            include(d, &scope);
            MUST(put(STORE(d), &scope, "a", "1"));
            server->refused = kinds[kind];
            server->refuse_with = results[result];
            server->refuse_until = results[result] == PAWL_REPLY_RATE_LIMITED ? d->in.now + 1234 * SECOND : 0;
            server->refusals = 3;
            int64_t waited = 0;
            for (int i = 0; i < 4; i++) {
                device_settle(d);
                pawl_backup now = backup_of(d);
                CHECK(now.flags & PAWL_BACKUP_ON);
                if (server->refusals == 0 && now.pending == 0 && now.generation > 0) break;
                CHECK(now.retry_ns > d->in.now && now.retry_ns < d->in.now + 25 * HOUR);
                waited += now.retry_ns - d->in.now;
                d->in.now = now.retry_ns;
            }
            CHECK_SAYING(waited >= (server->refuse_until != 0 ? 1234 * SECOND : 0), "it did not wait");
            device_settle(d);
            CHECK_SAYING(backup_of(d).pending == 0 && backup_of(d).generation >= 1, "kind %u, result %u",
                         kinds[kind], results[result]);
            CHECK(count_entries(server, 1) == 1);
            device_end(d);
            server_end(server);
        }
    }
}

/* What an answer says is looked at before it is believed. */
static void senseless(backup_server *server, const pawl_backup_request *request, pawl_backup_reply *reply) {
    static uint8_t bytes[300];
    (void)server;
    memset(bytes, 7, sizeof bytes);
    if (server->refusals-- <= 0) {
        server->meddle = NULL;
        return;
    }
    switch (request->what) {
    case PAWL_REQUEST_BACKUP_VERSION:
        reply->body = bytes;
        break;
    case PAWL_REQUEST_BACKUP_CREATE:
        reply->version_size = 0;
        reply->version = NULL;
        break;
    case PAWL_REQUEST_BACKUP_PAGE:
        reply->body = bytes;
        reply->body_size = 65;
        break;
    default: break;
    }
}

static void senseless_answers_count_as_failures(void) {
    backup_server *server = small_server();
    device *d = device_new(server, KIND_SQLITE, "ada");
    create_backup(d);
    const int calls = 3;
    for (int call = 0; call < calls; call++) {
        server->refused = 99; /* nothing is refused */
        server->refusals = 1;
        server->meddle = senseless;
        if (call == 0) MUST(pawl_backup_enable(STORE(d), ACCOUNT(d)));
        if (call == 1) MUST(pawl_backup_restore(STORE(d), ACCOUNT(d), 0));
        if (call == 2) {
            server->refusals = 2;
            MUST(pawl_backup_reset(STORE(d), ACCOUNT(d), NULL, 0));
        }
        for (int i = 0; i < 4; i++) {
            device_settle(d);
            int64_t next = 0;
            MUST(pawl_store_next_deadline(STORE(d), &next));
            if (next < PAWL_NEVER && next > d->in.now) d->in.now = next;
        }
        device_settle(d);
        CHECK_SAYING(backup_of(d).download == PAWL_DOWNLOAD_READY && backup_of(d).phase == PAWL_BACKUP_IDLE, "call %d",
                     call);
        CHECK(server->meddle == NULL || server->refusals <= 0);
        server->meddle = NULL;
    }
    CHECK(told_of(d, 0, PAWL_EVENT_BACKUP_RESTORED, UINT64_MAX) == 1);
    device_end(d);
    server_end(server);
}

/* ---------------------------------------------------------------- restoring */

static void a_restore_is_stopped_and_goes_on(void) {
    backup_server *server = small_server();
    device *d = device_new(server, KIND_SQLITE, "ada");
    pawl_scope scope = scope_of("ada", "");
    char text[PAWL_RECOVERY_SIZE_MAX], name[32];
    create_backup(d);
    include(d, &scope);
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "name %d", i);
        MUST(put(STORE(d), &scope, name, name));
    }
    device_settle(d);
    recovery_key_of(d, text);
    server->page = 7;
    device *other = device_new(server, KIND_SQLITE, "ada");
    MUST(recover(other, text));
    include(other, &scope);
    device_settle(other);
    MUST(pawl_backup_restore(STORE(other), ACCOUNT(other), 0));
    uint64_t last = 0;
    for (int page = 1; page <= 10; page++) {
        while (told_of(other, 0, PAWL_EVENT_BACKUP_RESTORING, UINT64_MAX) < (size_t)page)
            NEED(run_due(&other->who) + device_serve(other) > 0);
        pawl_backup now = last_told(other, PAWL_EVENT_BACKUP_RESTORING)->backup;
        CHECK(now.imported >= last && now.imported <= (uint64_t)page * 7);
        last = now.imported;
    }
    /* One thing in front of all others, while it is under way. */
    MUST(pawl_backup_fetch_credential(STORE(other), ACCOUNT(other), &scope, "name 199", 8));
    MUST(pawl_backup_stop_restore(STORE(other), ACCOUNT(other)));
    device_settle(other);
    HOLDS(STORE(other), &scope, "name 199", "name 199");
    pawl_backup now = backup_of(other);
    CHECK((now.flags & PAWL_BACKUP_RESTORING) && (now.flags & PAWL_BACKUP_STOPPED));
    CHECK(told_of(other, 0, PAWL_EVENT_BACKUP_RESTORED, UINT64_MAX) == 0);
    size_t here = list_count(STORE(other), &scope);
    CHECK(here > 10 && here < 200);
    long pages = server->asked[PAWL_REQUEST_BACKUP_PAGE];
    setup_reopen(&other->in);
    MUST(pawl_backup_restore(STORE(other), ACCOUNT(other), 0));
    device_settle(other);
    CHECK(list_count(STORE(other), &scope) == 200);
    now = last_told(other, PAWL_EVENT_BACKUP_RESTORED)->backup;
    CHECK(now.findings == 0 && now.imported + now.known + now.improved == 200);
    CHECK(server->asked[PAWL_REQUEST_BACKUP_PAGE] - pages < 40);
    CHECK(!(backup_of(other).flags & PAWL_BACKUP_RESTORING));
    device_end(other);
    device_end(d);
    server_end(server);
}

static void what_is_newer_here_stays(void) {
    backup_server *server = small_server();
    device *a = device_new(server, KIND_SQLITE, "ada"), *b = device_new(server, KIND_SQLITE, "ada");
    pawl_scope scope = scope_of("ada", ""), other = scope_of("ada", "elsewhere");
    char text[PAWL_RECOVERY_SIZE_MAX];
    create_backup(a);
    include(a, &scope);
    recovery_key_of(a, text);
    MUST(put(STORE(a), &scope, "newer there", "there"));
    MUST(put(STORE(b), &scope, "newer there", "here"));
    MUST(put(STORE(b), &other, "another", "x"));
    a->in.now += 120 * SECOND;
    b->in.now += 240 * SECOND;
    MUST(put(STORE(a), &scope, "newer there", "there again"));
    MUST(put(STORE(a), &scope, "newer here", "there"));
    MUST(put(STORE(b), &scope, "newer here", "here"));
    device_settle(a);
    pawl_backup end = restore_with(b, text, &scope);
    CHECK(end.improved == 1 && end.known == 1 && end.imported == 0 && end.findings == 0);
    HOLDS(STORE(b), &scope, "newer there", "there again");
    HOLDS(STORE(b), &scope, "newer here", "here");
    device_end(a);
    device_end(b);
    server_end(server);
}

/* What was deleted here is not brought back by what the server had before; from an older version it is. */
static void what_is_deleted_stays_deleted(void) {
    backup_server *server = small_server();
    device *d = device_new(server, KIND_SQLITE, "ada");
    pawl_scope scope = scope_of("ada", "");
    create_backup(d);
    include(d, &scope);
    MUST(put(STORE(d), &scope, "a", "1"));
    device_settle(d);
    MUST(delete_now(STORE(d), &scope, "a"));
    server->refused = PAWL_REQUEST_BACKUP_PUT;
    server->refuse_with = PAWL_REPLY_FAILED;
    server->refusals = 1;
    MUST(pawl_backup_restore(STORE(d), ACCOUNT(d), 0));
    device_settle(d);
    CHECK(last_told(d, PAWL_EVENT_BACKUP_RESTORED)->backup.known == 1);
    LACKS(STORE(d), &scope, "a");
    d->in.now += HOUR;
    device_settle(d);
    MUST(pawl_backup_restore(STORE(d), ACCOUNT(d), 0));
    device_settle(d);
    LACKS(STORE(d), &scope, "a");
    CHECK(told_of(d, 0, PAWL_EVENT_BACKUP_FINDING, UINT64_MAX) == 0);
    /* Whoever writes it again later has it again. */
    d->in.now += HOUR;
    MUST(put(STORE(d), &scope, "a", "2"));
    device_settle(d);
    char text[PAWL_RECOVERY_SIZE_MAX];
    recovery_key_of(d, text);
    device *other = device_new(server, KIND_SQLITE, "ada");
    other->in.now = d->in.now;
    CHECK(restore_with(other, text, &scope).imported == 1);
    HOLDS(STORE(other), &scope, "a", "2");
    device_end(other);
    device_end(d);
    server_end(server);
}

/* Scopes: what is included from when on, and what leaves. */
static void what_is_included(void) {
    backup_server *server = small_server();
    device *d = device_new(server, KIND_SQLITE, "ada");
    pawl_scope home = scope_of("ada", "home"), work = scope_of("ada", "work"), user = scope_of("ada", "");
    pawl_scope bob = scope_of("bob", "home");
    create_backup(d);
    MUST(put(STORE(d), &home, "a", "1"));
    MUST(put(STORE(d), &work, "a", "1"));
    MUST(put(STORE(d), &bob, "a", "1"));
    device_settle(d);
    CHECK(count_entries(server, 1) == 0);
    include(d, &home);
    device_settle(d);
    CHECK(count_entries(server, 1) == 1);
    ANSWERS(PAWL_MISUSE_PROJECT,
            pawl_backup_include(STORE(d), ACCOUNT(d), &home, PAWL_BACKUP_ALL_PROJECTS));
    MUST(pawl_backup_include(STORE(d), ACCOUNT(d), &user, PAWL_BACKUP_ALL_PROJECTS));
    device_settle(d);
    CHECK(count_entries(server, 1) == 2);
    ANSWERS(PAWL_NOT_FOUND, pawl_backup_exclude(STORE(d), ACCOUNT(d), &user, 0));
    ANSWERS(PAWL_NOT_FOUND, pawl_backup_exclude(STORE(d), ACCOUNT(d), &bob, 0));
    MUST(pawl_backup_exclude(STORE(d), ACCOUNT(d), &user, PAWL_BACKUP_ALL_PROJECTS));
    MUST(pawl_backup_exclude(STORE(d), ACCOUNT(d), &home, 0));
    ANSWERS(PAWL_NOT_FOUND, pawl_backup_exclude(STORE(d), ACCOUNT(d), &home, 0));
    MUST(put(STORE(d), &home, "b", "2"));
    device_settle(d);
    CHECK(count_entries(server, 1) == 2);
    /* What was in it leaves with the next version. */
    MUST(pawl_backup_reset(STORE(d), ACCOUNT(d), NULL, 0));
    device_settle(d);
    CHECK_SAYING(count_entries(server, 1) == 0, "what is excluded went into the next version");
    device_end(d);
    server_end(server);
}

/* ---------------------------------------------------------------- batches, and answers that come twice */

static int32_t is_closing(void *asked) {
    ++*(int *)asked;
    return 1;
}

static void batches_and_answers(void) {
    backup_server *server = small_server();
    device *d = device_new(server, KIND_SQLITE, "ada");
    pawl_scope scope = scope_of("ada", "");
    pawl_store *batch = NULL;
    MUST(pawl_batch_begin(STORE(d), &batch));
    MUST(pawl_backup_create(batch, ACCOUNT(d), NULL, 0));
    pawl_batch_rollback(batch);
    NO_ITEMS(&d->who);
    MUST(pawl_batch_begin(STORE(d), &batch));
    MUST(pawl_backup_create(batch, ACCOUNT(d), NULL, 0));
    MUST(pawl_backup_include(batch, ACCOUNT(d), &scope, 0));
    MUST(put(batch, &scope, "a", "1"));
    MUST(pawl_batch_commit(batch));

    pawl_view *items = NULL;
    pawl_item item = PAWL_INIT(pawl_item);
    pawl_backup_reply reply;
    MUST(pawl_outbox_take(STORE(d), 100, 0, &items));
    size_t row = 0;
    do MUST(pawl_view_item(items, row, &item));
    while (!is_backup_request(&item) && ++row);
    MUST(server_carry_out(server, items, row, &reply));
    pawl_view_close(items);
    ANSWERS(PAWL_MISUSE_FLAGS, pawl_outbox_answer(STORE(d), item.seq, NULL, 0));
    ANSWERS(PAWL_NOT_FOUND, pawl_backup_answer(STORE(d), item.seq + 1000, &reply));
    pawl_backup_reply bad = reply;
    bad.result = PAWL_REPLY_FAILED + 1;
    ANSWERS(PAWL_MISUSE_FLAGS, pawl_backup_answer(STORE(d), item.seq, &bad));
    for (int i = 0; i < 3; i++) OK(pawl_backup_answer(STORE(d), item.seq, &reply));
    d->in.now += 60 * SECOND; /* what else was lent */
    device_settle(d);
    CHECK(server->count == 1 && count_entries(server, 1) == 1);

    /* What has entries cannot be kept in one transaction of somebody else. */
    MUST(pawl_backup_fetch_credential(STORE(d), ACCOUNT(d), &scope, "a", 1));
    MUST(pawl_outbox_take(STORE(d), 100, 0, &items));
    row = 0;
    do MUST(pawl_view_item(items, row, &item));
    while (!is_backup_request(&item) && ++row);
    MUST(server_carry_out(server, items, row, &reply));
    pawl_view_close(items);
    CHECK(reply.entry_count == 1);
    MUST(pawl_batch_begin(STORE(d), &batch));
    ANSWERS(PAWL_STATE_BATCH, pawl_backup_answer(batch, item.seq, &reply));
    pawl_batch_rollback(batch);
    /* Who is about to close the store is not kept waiting. */
    int asked = 0;
    reply.is_closing = is_closing;
    reply.context = &asked;
    ANSWERS(PAWL_CLOSED, pawl_backup_answer(STORE(d), item.seq, &reply));
    CHECK(asked == 1);
    reply.is_closing = NULL;
    OK(pawl_backup_answer(STORE(d), item.seq, &reply));
    d->in.now += 60 * SECOND;
    device_settle(d);
    /* A request that is given up comes again. */
    MUST(put(STORE(d), &scope, "a", "2"));
    run_due(&d->who);
    MUST(pawl_outbox_take(STORE(d), 100, 0, &items));
    for (row = 0; row < pawl_view_count(items); row++) {
        MUST(pawl_view_item(items, row, &item));
        MUST(pawl_outbox_ack(STORE(d), &item.seq, 1));
    }
    pawl_view_close(items);
    CHECK(backup_of(d).pending == 1);
    d->in.now += HOUR;
    d->revision = backup_of(d).revision > 0 ? backup_of(d).revision - 1 : 0;
    device_settle(d);
    CHECK(backup_of(d).pending == 0);
    device_end(d);
    server_end(server);
}

/* ---------------------------------------------------------------- from one own account to another */

static void trust(const device *d, const device *other) {
    pawl_identity identity = identity_of(&other->who);
    MUST(pawl_peer_trust(STORE(d), ACCOUNT(d), &identity, PAWL_TRUST_VERIFIED));
}

static void an_own_account_is_asked(void) {
    backup_server *server = small_server();
    device *a = device_new(server, KIND_SQLITE, "phone"), *b = device_new(server, KIND_SQLITE, "tablet");
    pawl_scope scope = scope_of("ada", "");
    id16 at_a, at_b;
    blob bundle = package_of(&b->who, 1);
    MUST(start(&a->who, &b->who, &bundle, at_a));
    blob frame = say(&a->who, at_a, "hello");
    memcpy(at_b, HEARS(&b->who, &frame, "hello").received.session, 16);
    frame = say(&b->who, at_b, "hello");
    HEARS(&a->who, &frame, "hello");

    uint8_t share[PAWL_BACKUP_SHARE_SIZE], other[PAWL_BACKUP_SHARE_SIZE];
    MUST(pawl_backup_enable(STORE(b), ACCOUNT(b)));
    device_settle(b);
    MUST(pawl_backup_ask(STORE(b), ACCOUNT(b)));
    device_settle(b);
    uint64_t number = server->secret_request;
    CHECK(server->asked[PAWL_REQUEST_BACKUP_SECRET] == 1 && number > 0);
    ANSWERS(PAWL_STATE_IDENTITY, pawl_backup_share(STORE(a), at_a, number, share));
    trust(a, b);
    ANSWERS(PAWL_STATE_BACKUP, pawl_backup_share(STORE(a), at_a, number, share));
    create_backup(a);
    include(a, &scope);
    MUST(put(STORE(a), &scope, "a", "1"));
    device_settle(a);
    OK(pawl_backup_share(STORE(a), at_a, number, share));
    OK(pawl_backup_share(STORE(a), at_a, number + 1, other));
    const id16 nobody = {1};
    ANSWERS(PAWL_NOT_FOUND, pawl_backup_share(STORE(a), nobody, number, other));
    OK(pawl_backup_share(STORE(a), at_a, number + 1, other));

    /* Nobody is verified, or nobody asked. */
    OK(pawl_backup_receive(STORE(b), at_b, share, sizeof share));
    REFUSES(b, PAWL_REFUSED_UNASKED);
    trust(b, a);
    OK(pawl_backup_receive(STORE(b), at_b, other, sizeof other));
    REFUSES(b, PAWL_REFUSED_UNASKED);
    ANSWERS(PAWL_CORRUPT, pawl_backup_receive(STORE(b), at_b, share, sizeof share - 1));
    ANSWERS(PAWL_NOT_FOUND, pawl_backup_receive(STORE(b), nobody, share, sizeof share));
    CHECK(backup_of(b).key_generation == 0);
    /* The last server's answer was that there is none. It is asked again. */
    OK(pawl_backup_receive(STORE(b), at_b, share, sizeof share));
    device_settle(b);
    CHECK(backup_of(b).generation == 1 && backup_of(b).download == PAWL_DOWNLOAD_READY);
    CHECK(told_of(b, 0, PAWL_EVENT_BACKUP_KEY_CACHED, 1) == 1);
    MUST(pawl_backup_restore(STORE(b), ACCOUNT(b), 0));
    device_settle(b);
    /* Whoever has the secret does not reach scopes that were not included here. */
    LACKS(STORE(b), &scope, "a");
    CHECK(last_told(b, PAWL_EVENT_BACKUP_RESTORED)->backup.foreign == 1);
    include(b, &scope);
    MUST(pawl_backup_restore(STORE(b), ACCOUNT(b), 0));
    device_settle(b);
    HOLDS(STORE(b), &scope, "a", "1");
    CHECK(last_told(b, PAWL_EVENT_BACKUP_RESTORED)->backup.foreign == 0);
    char texts[2][PAWL_RECOVERY_SIZE_MAX];
    recovery_key_of(a, texts[0]);
    recovery_key_of(b, texts[1]);
    CHECK(strcmp(texts[0], texts[1]) == 0);

    /* The secret of a version that was replaced meanwhile is none. */
    MUST(pawl_backup_reset(STORE(a), ACCOUNT(a), NULL, 0));
    device_settle(a);
    MUST(pawl_backup_enable(STORE(b), ACCOUNT(b)));
    MUST(pawl_backup_ask(STORE(b), ACCOUNT(b)));
    device_settle(b);
    MUST(pawl_backup_share(STORE(a), at_a, server->secret_request, share));
    MUST(pawl_backup_reset(STORE(a), ACCOUNT(a), NULL, 0));
    device_settle(a);
    OK(pawl_backup_receive(STORE(b), at_b, share, sizeof share));
    REFUSES(b, PAWL_REFUSED_WRONG_KEY);
    CHECK(backup_of(b).generation == 0);
    device_end(a);
    device_end(b);
    server_end(server);
}

/* ---------------------------------------------------------------- what a server cannot do unnoticed */

typedef struct kept_copy {
    uint8_t place[PAWL_BACKUP_PLACE_SIZE];
    size_t size;
    uint8_t bytes[16384];
} kept_copy;

static void keep_entry(kept_copy *copy, const kept_entry *entry) {
    NEED(entry->size <= sizeof copy->bytes);
    memcpy(copy->place, entry->place, sizeof copy->place);
    copy->size = entry->size;
    memcpy(copy->bytes, entry->bytes, entry->size);
}

static void put_back(backup_server *server, const kept_copy *copy) {
    server_set(server, server_current(server), copy->place, copy->bytes, copy->size);
}

/* What a second restore finds. */
static size_t findings_of(device *d, uint64_t finding) {
    size_t from = d->count;
    MUST(pawl_backup_restore(STORE(d), ACCOUNT(d), 0));
    device_settle(d);
    size_t found = told_of(d, from, PAWL_EVENT_BACKUP_FINDING, UINT64_MAX);
    CHECK(found == last_told(d, PAWL_EVENT_BACKUP_RESTORED)->backup.findings || found == 16);
    return finding == 0 ? found : told_of(d, from, PAWL_EVENT_BACKUP_FINDING, finding);
}

static void what_a_server_does_is_found(void) {
    static kept_copy item, manifest, page, other, spare;
    backup_server *server = small_server();
    device *d = device_new(server, KIND_SQLITE, "ada"), *reader = device_new(server, KIND_SQLITE, "ada");
    pawl_scope scope = scope_of("ada", "");
    char text[PAWL_RECOVERY_SIZE_MAX];
    create_backup(d);
    include(d, &scope);
    MUST(put(STORE(d), &scope, "a", "1"));
    device_settle(d);
    NEED(count_entries(server, 1) == 1 && count_entries(server, 3) == 1 && count_entries(server, 4) == 1);
    keep_entry(&item, *find_entry(server, 1, 0));
    keep_entry(&manifest, *find_entry(server, 3, 0));
    keep_entry(&page, *find_entry(server, 4, 0));
    d->in.now += 600 * SECOND;
    reader->in.now += 1200 * SECOND;
    MUST(put(STORE(d), &scope, "a", "2"));
    MUST(put(STORE(d), &scope, "b", "1"));
    device_settle(d);
    NEED(count_entries(server, 1) == 2 && count_entries(server, 3) == 1 && count_entries(server, 4) == 1);
    recovery_key_of(d, text);
    pawl_backup end = restore_with(reader, text, &scope);
    CHECK(end.findings == 0 && end.as_of_ns == d->in.now);

    kept_version *version = server_current(server);
    kept_entry **at = server_slot(server, version, item.place), *was = *at;
    /* An older state of one item, and nothing at all. */
    put_back(server, &item);
    CHECK(findings_of(reader, PAWL_FINDING_OLDER) == 1);
    *at = NULL;
    CHECK(findings_of(reader, PAWL_FINDING_OMITTED) > 0);
    /* Another item's bytes, and other bytes. */
    for (size_t i = 0; i < 2; i++) {
        if (memcmp((*find_entry(server, 1, i))->place, item.place, 16) == 0) continue;
        keep_entry(&other, *find_entry(server, 1, i));
        break;
    }
    memcpy(spare.place, item.place, 16);
    spare.size = other.size;
    memcpy(spare.bytes, other.bytes, other.size);
    put_back(server, &spare);
    CHECK(findings_of(reader, PAWL_FINDING_UNDECRYPTABLE) == 1);
    CHECK(last_told(reader, PAWL_EVENT_BACKUP_RESTORED)->backup.undecryptable == 1);
    spare.size = 3;
    put_back(server, &spare);
    CHECK(findings_of(reader, PAWL_FINDING_MALFORMED) == 1);
    CHECK(last_told(reader, PAWL_EVENT_BACKUP_RESTORED)->backup.malformed == 1);
    *at = was;
    /* The same item at a place where nothing belongs. */
    memcpy(spare.place, "somewhere else!!", 16);
    spare.size = item.size;
    memcpy(spare.bytes, item.bytes, item.size);
    put_back(server, &spare);
    CHECK(findings_of(reader, PAWL_FINDING_UNDECRYPTABLE) == 1);
    *server_slot(server, version, spare.place) = NULL;
    CHECK(findings_of(reader, 0) == 0);

    /* A manifest that is older than one that was seen, and none. */
    kept_entry **shown = find_entry(server, 3, 0), *newest = *shown;
    put_back(server, &manifest);
    CHECK(findings_of(reader, PAWL_FINDING_ROLLED_BACK) == 1);
    *shown = NULL;
    CHECK(findings_of(reader, PAWL_FINDING_WITHHELD) == 1);
    *shown = newest;
    /* A listing that its manifest does not bind. */
    kept_entry **listing = find_entry(server, 4, 0), *listed = *listing;
    put_back(server, &page);
    CHECK(findings_of(reader, PAWL_FINDING_LISTING) == 1);
    *listing = listed;
    CHECK(findings_of(reader, 0) == 0);
    /* Everything as it was at an earlier time: who saw more says so, who comes for the first time is told as of when. */
    put_back(server, &item);
    put_back(server, &manifest);
    put_back(server, &page);
    *server_slot(server, version, other.place) = NULL;
    CHECK(findings_of(reader, PAWL_FINDING_ROLLED_BACK) == 1);
    device *first = device_new(server, KIND_SQLITE, "ada");
    end = restore_with(first, text, &scope);
    CHECK(end.findings == 0 && end.as_of_ns == d->in.now - 600 * SECOND && end.writers == 1);
    HOLDS(STORE(reader), &scope, "a", "2");
    HOLDS(STORE(first), &scope, "a", "1");
    device_end(first);
    device_end(reader);
    device_end(d);
    server_end(server);
}

/* A store that was put back to an old copy gives the same numbers to other things. */
static void a_copy_that_goes_on_is_found(void) {
    backup_server *server = small_server();
    device *d = device_new(server, KIND_SQLITE, "ada"), *reader = device_new(server, KIND_SQLITE, "ada");
    pawl_scope scope = scope_of("ada", "");
    char text[PAWL_RECOVERY_SIZE_MAX], path[512];
    create_backup(d);
    include(d, &scope);
    MUST(put(STORE(d), &scope, "a", "1"));
    device_settle(d);
    recovery_key_of(d, text);
    snprintf(path, sizeof path, "%s", fresh_path());
    MUST(pawl_store_copy(STORE(d), path, strlen(path)));
    MUST(put(STORE(d), &scope, "b", "1"));
    device_settle(d);
    CHECK(restore_with(reader, text, &scope).findings == 0);
    pawl_store_close(d->in.store);
    memcpy(d->in.path, path, sizeof path);
    setup_open(&d->in);
    d->revision = 0;
    /* As the copy has it, so that it can be put back to what only it knows. */
    kept_version *version = server_current(server);
    for (size_t i = 0; i < server->slots; i++) version->slots[i] = NULL;
    version->count = 0;
    MUST(put(STORE(d), &scope, "c", "1"));
    device_settle(d);
    CHECK(findings_of(reader, PAWL_FINDING_FORKED) == 1);
    device_end(reader);
    device_end(d);
    server_end(server);
}

/* Each byte of each entry changed, one after another: never a crash, always found, and nothing wrong is kept. */
static void each_byte_counts(void) {
    backup_server *server = small_server();
    device *d = device_new(server, KIND_MEMORY, "ada"), *reader = device_new(server, KIND_MEMORY, "ada");
    pawl_scope scope = scope_of("ada", "");
    char text[PAWL_RECOVERY_SIZE_MAX];
    create_backup(d);
    include(d, &scope);
    MUST(put(STORE(d), &scope, "a", "1"));
    device_settle(d);
    recovery_key_of(d, text);
    CHECK(restore_with(reader, text, &scope).findings == 0);
    size_t step = test_is_long() ? 1 : 5, wrong = 0;
    for (size_t number = 0; number < count_entries(server, 0); number++) {
        kept_entry *entry = *find_entry(server, 0, number);
        for (size_t at = 0; at < entry->size; at += step) {
            entry->bytes[at] ^= 1;
            reader->count = 0;
            /* The first index of a manifest or a page is for the server alone. */
            int is_free = at >= 1 && at < 5 && entry->bytes[5] >= 3;
            size_t found = findings_of(reader, 0);
            if (found == 0 && !is_free && wrong++ == 0)
                CHECK_SAYING(0, "kind %d, byte %zu of %zu: nothing found", entry->bytes[5], at, entry->size);
            entry->bytes[at] ^= 1;
        }
    }
    CHECK(wrong == 0);
    HOLDS(STORE(reader), &scope, "a", "1");
    CHECK(list_count(STORE(reader), &scope) == 1);
    CHECK(findings_of(reader, 0) == 0);
    device_end(reader);
    device_end(d);
    server_end(server);
}

int main(void) {
    RUN_EACH(a_lost_store_comes_back);
    RUN(a_reset_replaces_the_version);
    RUN(it_is_turned_off_and_deleted);
    RUN(the_recovery_key_is_put_away_first);
    RUN(keys_of_the_host);
    RUN(a_recovery_key_is_wrapped);
    RUN(each_refusal_is_told);
    RUN(failure_changes_nothing_of_what_is_wanted);
    RUN(senseless_answers_count_as_failures);
    RUN(a_restore_is_stopped_and_goes_on);
    RUN(what_is_newer_here_stays);
    RUN(what_is_deleted_stays_deleted);
    RUN(what_is_included);
    RUN(batches_and_answers);
    RUN(an_own_account_is_asked);
    RUN(what_a_server_does_is_found);
    RUN(a_copy_that_goes_on_is_found);
    RUN(each_byte_counts);
    FINISH;
}
