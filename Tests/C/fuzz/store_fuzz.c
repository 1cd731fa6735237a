/* Hostile files and rows, by libFuzzer. A store that has something of everything is made once. Each input changes it and
 * then uses all of it: bytes of the file and of the log beside it, with right checksums if wanted; rows that are cut, moved,
 * put in or taken away; and, by someone who has a key of the store, rows with true seals around any content, at any place.
 *
 * Nothing crashes or hangs; every status is one that the header names; and without a key no secret is ever another one. */
#include "fuzz.h"

#include "../backup_server.h"
#include "../host_storage.h"
#include "../wire_peer.h"

#include <sqlite3.h>

#define BEGIN INT64_C(1700000000000000000)
#define HOUR (3600 * SECOND)

static int64_t now_ns;
static pawl_clock the_clock;
static faults no_faults;

static uint8_t ada[16], bob[16], ada_session[16], bob_session[16], old_session[16];
static blob frames[8]; /* on their way when the store was made; for Bob */
static size_t frame_count;
static blob bundle; /* Bob's, with a one-time key */
static backup_server *server;

static const uint8_t raw[32] = {7}, backup_secret[32] = {9};

/* ---------------------------------------------------------------- a store that has something of everything */

static pawl_scope the_scope(void) { return scope_of("ada", "home"); }

/* A vault that keeps what it is to remove, and has nothing. When all is full behind it, an intent stays. */
static int is_full;
static pawl_status vault_set(UNUSED void *c, UNUSED const uint8_t *id, UNUSED const uint8_t *v, UNUSED size_t n) {
    if (is_full) faults_arm(&no_faults, 1, 1, 0, PAWL_STORE_FULL);
    return PAWL_OK;
}
static pawl_status vault_get(UNUSED void *c, UNUSED const uint8_t *id, UNUSED uint8_t *o, UNUSED size_t n, UNUSED size_t *l) {
    return PAWL_VAULT_ABSENT;
}
static pawl_status vault_remove(UNUSED void *context, UNUSED const uint8_t *id) { return 5; }

static void fill_vault(pawl_store *store) {
    pawl_scope scope = the_scope();
    for (int i = 0; i < 3; i++) (void)put(store, &scope, "in-vault", "value");
    for (int i = 0; i < 12; i++) { /* until its job is a dead letter */
        now_ns += 2 * HOUR;
        MUST(pawl_store_run_due(store, 100, NULL, NULL));
    }
    is_full = 1;
    (void)put(store, &scope, "intended", "value");
    is_full = 0;
    faults_arm(&no_faults, 0, 0, 0, PAWL_OK);
}

static void deliver(pawl_store *store, const uint8_t *account, const void *bytes, size_t size, uint8_t *session) {
    static uint8_t out[1 << 16];
    pawl_frame frame = PAWL_INIT(pawl_frame);
    frame.bytes = bytes;
    frame.size = size;
    size_t out_size;
    pawl_received received = PAWL_INIT(pawl_received);
    MUST(pawl_account_receive(store, account, &frame, out, sizeof out, &out_size, &received));
    if (session != NULL) memcpy(session, received.session, 16);
}

static blob message(pawl_store *store, const uint8_t *session, const char *text) {
    blob frame;
    MUST(pawl_session_encrypt(store, session, text, strlen(text), frame.bytes, sizeof frame.bytes, &frame.size));
    return frame;
}

static void passes(pawl_store *store, const uint8_t *session, const uint8_t *account, uint8_t *theirs) {
    blob frame = message(store, session, "text");
    deliver(store, account, frame.bytes, frame.size, theirs);
}

/* Serves the outbox; `page`: a backup's requests alone, with a restore that takes its time. */
static void pump(pawl_store *store, int turns, int page) {
    server->page = page ? 1 : 100;
    for (; turns > 0; turns--) {
        pawl_view *items = NULL;
        MUST(pawl_store_run_due(store, 100, NULL, NULL));
        MUST(pawl_outbox_take(store, 100, 0, &items));
        for (size_t row = 0; row < pawl_view_count(items); row++) {
            pawl_item item = PAWL_INIT(pawl_item);
            MUST(pawl_view_item(items, row, &item));
            pawl_backup_reply reply;
            if (item.kind == PAWL_ITEM_REQUEST && item.what >= PAWL_REQUEST_BACKUP_VERSION) {
                MUST(server_carry_out(server, items, row, &reply));
                MUST(pawl_backup_answer(store, item.seq, &reply));
                continue;
            }
            if (page) continue;
            if (item.kind == PAWL_ITEM_FRAME)
                deliver(store, memcmp(item.account, ada, 16) == 0 ? bob : ada, item.body, item.body_size, NULL);
            if (item.kind == PAWL_ITEM_REQUEST && item.what != PAWL_REQUEST_READ_BACK) {
                MUST(pawl_outbox_answer(store, item.seq, NULL, 0));
            } else {
                MUST(pawl_outbox_ack(store, &item.seq, 1));
            }
        }
        pawl_view_close(items);
    }
}

static void start(pawl_store *store, uint8_t session[16]) {
    bundle = bundle_of_account(store, bob, 2);
    MUST(start_with(store, ada, "bob", &bundle, session));
}

static void fill(pawl_store *store) {
    static uint8_t large[9000];
    pawl_scope scope = the_scope();
    const pawl_attribute attribute = {"key", 3, "value", 5};
    pawl_put_options options = PAWL_INIT(pawl_put_options);
    options.flags = PAWL_PUT_SET_EXPIRY | PAWL_PUT_SET_LABEL | PAWL_PUT_SET_ATTRIBUTES;
    options.expires_ns = now_ns + 30 * 24 * HOUR;
    options.label = "label";
    options.label_size = 5;
    options.attributes = &attribute;
    options.attribute_count = 1;
    MUST(put(store, &scope, "small", "secret of small"));
    memset(large, 'L', sizeof large);
    MUST(pawl_credential_put(store, &scope, "large", 5, large, sizeof large, NULL, NULL));
    MUST(pawl_credential_put(store, &scope, "expires", 7, "secret of expires", 17, &options, NULL));
    MUST(put(store, &scope, "deleted", "secret of deleted"));
    MUST(pawl_credential_delete(store, &scope, "deleted", 7, 30 * 24 * HOUR));

    pawl_key key = raw_key_of(backup_secret);
    MUST(pawl_account_create(store, "ada", 3, ada));
    MUST(pawl_account_create(store, "bob", 3, bob));
    MUST(pawl_history_enable(store, ada, 1));
    MUST(pawl_backup_include(store, ada, &scope, 0));
    MUST(pawl_backup_create(store, ada, &key, 0));
    pump(store, 12, 0);

    start(store, old_session);
    passes(store, old_session, bob, bob_session);
    MUST(pawl_session_close(store, old_session));
    start(store, ada_session);
    passes(store, ada_session, bob, bob_session);
    passes(store, bob_session, ada, NULL);
    passes(store, ada_session, bob, NULL);
    frame_count = 0;
    frames[frame_count++] = message(store, ada_session, "late");
    passes(store, ada_session, bob, NULL);
    uint32_t epoch;
    MUST(pawl_session_rekey(store, ada_session, 0, &epoch));
    pump(store, 6, 0);
    frames[frame_count++] = message(store, ada_session, "in epoch 1");
    blob kept = message(store, ada_session, "kept");
    pawl_frame frame = PAWL_INIT(pawl_frame);
    frame.flags = PAWL_RECEIVE_KEEP;
    frame.bytes = kept.bytes;
    frame.size = kept.size;
    uint8_t out[8192];
    size_t size;
    pawl_received received = PAWL_INIT(pawl_received);
    MUST(pawl_account_receive(store, bob, &frame, out, sizeof out, &size, &received));
    frames[frame_count++] = kept;
    pawl_rekey_limits limits = PAWL_INIT(pawl_rekey_limits);
    limits.flags = PAWL_LIMITS_PERFECT;
    limits.interval_ns = HOUR;
    MUST(pawl_session_set_limits(store, bob_session, &limits));
    for (int i = 0; i < 3; i++) MUST(pawl_session_send(store, bob_session, "queued", 6, NULL));
    MUST(pawl_session_send(store, ada_session, "sent", 4, NULL));

    pawl_rotation_options rotation = PAWL_INIT(pawl_rotation_options);
    rotation.one_time_count = 2;
    rotation.one_time_floor = 1;
    MUST(pawl_rotation_begin(store, ada, &rotation));
    MUST(pawl_store_run_due(store, 100, NULL, NULL));
    MUST(put(store, &scope, "small", "secret of small"));
    pawl_view *items = NULL;
    MUST(pawl_outbox_take(store, 2, HOUR, &items));
    pawl_item item = PAWL_INIT(pawl_item);
    MUST(pawl_view_item(items, 1, &item));
    MUST(pawl_outbox_fail(store, item.seq, HOUR));
    pawl_view_close(items);
    MUST(pawl_backup_restore(store, ada, 0));
    pump(store, 6, 1);
}

/* ---------------------------------------------------------------- where it is made and opened */

static host_storage rows; /* the store as rows */
/* And as a file: with its log, and with the log brought in. */
static uint8_t *file, *wal, *whole;
static size_t file_size, wal_size, whole_size;
static char file_path[512];
static uint8_t values_key[32];

static pawl_status open_at(const char *path, host_storage *host, int with_vault, uint32_t flags, pawl_store **store) {
    static pawl_storage table;
    static pawl_vault vault = PAWL_INIT(pawl_vault);
    vault.set = vault_set;
    vault.get = vault_get;
    vault.remove = vault_remove;
    pawl_key key = raw_key_of(raw);
    pawl_store_options options = PAWL_INIT(pawl_store_options);
    options.flags = flags;
    options.path = path;
    options.path_size = path == NULL ? 0 : strlen(path);
    options.key = &key;
    options.clock = &the_clock;
    options.busy_timeout_ns = -1;
    if (host != NULL) table = host_storage_table(host);
    if (host != NULL) options.storage = &table;
    if (with_vault) options.vault = &vault;
    return pawl_store_open(&options, store);
}

static void make(const char *path, host_storage *host) {
    pawl_store *store = NULL;
    now_ns = BEGIN;
    random_calls = 0;
    server = server_new(256, 4 << 20);
    MUST(open_at(path, host, 1, PAWL_STORE_CREATE, &store));
    fill_vault(store);
    pawl_store_close(store);
    MUST(open_at(path, host, 0, 0, &store));
    fill(store);
    /* A child dies with its log as it is. */
    if (path != NULL) raise(SIGKILL);
    pawl_store_close(store);
}

static uint8_t *read_all(const char *path, size_t *size) {
    struct stat s;
    FILE *in = fopen(path, "rb");
    NEED(in != NULL && stat(path, &s) == 0);
    uint8_t *bytes = malloc((size_t)s.st_size + 1);
    NEED(bytes != NULL && (*size = fread(bytes, 1, (size_t)s.st_size, in)) == (size_t)s.st_size);
    fclose(in);
    return bytes;
}

static char *beside(const char *suffix) {
    static char path[600];
    snprintf(path, sizeof path, "%s%s", file_path, suffix);
    return path;
}

static void make_file(void) {
    snprintf(file_path, sizeof file_path, "%s", test_path("fuzzed.pawl"));
    pid_t child = fork();
    if (child == 0) make(file_path, NULL);
    int status;
    NEED(child > 0 && waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    file = read_all(file_path, &file_size);
    wal = read_all(beside("-wal"), &wal_size);
    sqlite3 *db = NULL;
    NEED(sqlite3_open(file_path, &db) == SQLITE_OK);
    NEED(sqlite3_exec(db, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL) == SQLITE_OK);
    sqlite3_close(db);
    whole = read_all(file_path, &whole_size);
    NEED(wal_size > 1 << 15 && whole_size > 1 << 15);
}

/* The master key out of slot 0, and from it what values are sealed with (StorageFormat.md). */
static void find_values_key(void) {
    int found;
    size_t at = host_find(&rows.committed, (const uint8_t *)"\2\0", 2, &found);
    NEED(found && rows.committed.records[at]->value_size == 159);
    const uint8_t *slot = rows.committed.records[at]->value;
    blob head = {.size = 0};
    uint8_t wrapping[64], master[32];
    add_field(&head, slot, 55);
    derive(wrapping, 64, raw, "pawl/1 slot", &head);
    NEED(crypto_aead_xchacha20poly1305_ietf_decrypt(master, NULL, NULL, slot + 111, 48, slot, 87, slot + 87, wrapping) == 0);
    derive(values_key, 32, master, "pawl/1 values", NULL);
}

/* ---------------------------------------------------------------- what is done with it */

static int is_forged; /* by someone who has a key */

static int is_allowed(pawl_status status) {
    if (status == PAWL_OK) return 1;
    switch (PAWL_STATUS_PRIMARY(status)) {
    case PAWL_NOT_FOUND: case PAWL_EXISTS: case PAWL_AUTH: case PAWL_REPLAY: case PAWL_LIMIT: case PAWL_VERSION:
    case PAWL_CORRUPT: case PAWL_STORE: case PAWL_DESYNCHRONIZED: case PAWL_STATE: case PAWL_TIME: case PAWL_BUSY: return 1;
    case PAWL_CLOSED: return PAWL_STATUS_REASON(status) == PAWL_CLOSED_SESSION;
    default: return 0;
    }
}
#define TRY(call) attempt(__LINE__, #call, (call))
static int attempt(int line, const char *call, pawl_status status) {
    if (!is_allowed(status)) must(line, call, status);
    return status == PAWL_OK;
}

static void look_at_secrets(pawl_store *store) {
    static const char *names[] = {"small", "large", "expires", "deleted", "in-vault"};
    pawl_scope scope = the_scope();
    char want[64];
    for (size_t i = 0; i < 5; i++) {
        pawl_view *view = NULL;
        pawl_credential row = PAWL_INIT(pawl_credential);
        if (TRY(pawl_credential_get(store, &scope, names[i], strlen(names[i]), &view)) &&
            TRY(pawl_view_credential(view, 0, &row)) && !is_forged) {
            snprintf(want, sizeof want, "secret of %s", names[i]);
            if (i == 1) {
                NEED(row.secret_size == 9000);
                for (size_t at = 0; at < 9000; at++) NEED(row.secret[at] == 'L');
            } else {
                NEED(row.secret_size == strlen(want) && memcmp(row.secret, want, row.secret_size) == 0);
            }
        }
        pawl_view_close(view);
        view = NULL;
        (void)TRY(pawl_credential_deleted(store, &scope, names[i], strlen(names[i]), &view));
        pawl_view_close(view);
    }
}

/* Each list, and each row that it has. */
static void look_at_lists(pawl_store *store) {
    pawl_view *view = NULL;
    pawl_scope scope = the_scope();
#define EACH(type, call, reader) \
    do { \
        view = NULL; \
        (void)TRY(call); \
        for (size_t row_ = 0; row_ < pawl_view_count(view); row_++) { \
            type one_ = PAWL_INIT(type); \
            MUST(reader(view, row_, &one_)); \
        } \
        pawl_view_close(view); \
    } while (0)
    EACH(pawl_damage, pawl_store_verify(store, &view), pawl_view_damage);
    EACH(pawl_slot, pawl_slot_list(store, &view), pawl_view_slot);
    EACH(pawl_credential, pawl_credential_list(store, &scope, NULL, 0, 100, &view), pawl_view_credential);
    EACH(pawl_orphan, pawl_credential_orphans(store, NULL, 100, &view), pawl_view_orphan);
    EACH(pawl_account, pawl_account_list(store, NULL, 100, &view), pawl_view_account);
    EACH(pawl_job, pawl_store_jobs(store, 0, NULL, 100, &view), pawl_view_job);
    const uint8_t *accounts[] = {ada, bob}, *sessions[] = {ada_session, bob_session, old_session};
    for (size_t i = 0; i < 2; i++) {
        EACH(pawl_package, pawl_package_list(store, accounts[i], &view), pawl_view_package);
        EACH(pawl_peer, pawl_peer_list(store, accounts[i], NULL, 0, 100, &view), pawl_view_peer);
        EACH(pawl_session, pawl_session_list(store, accounts[i], i ? "ada" : "bob", 3, &view), pawl_view_session);
        EACH(pawl_history, pawl_history_list(store, accounts[i], NULL, 100, &view), pawl_view_history);
        pawl_rotation rotation = PAWL_INIT(pawl_rotation);
        (void)TRY(pawl_rotation_get(store, accounts[i], &rotation));
        pawl_backup backup = PAWL_INIT(pawl_backup);
        (void)TRY(pawl_backup_get(store, accounts[i], &backup));
    }
    for (size_t i = 0; i < 3; i++) EACH(pawl_kept, pawl_session_kept(store, sessions[i], 100, &view), pawl_view_kept);
    /* What was set aside is tried again. */
    view = NULL;
    (void)TRY(pawl_store_jobs(store, PAWL_JOBS_DEAD, NULL, 100, &view));
    for (size_t row = 0; row < pawl_view_count(view); row++) {
        pawl_job job = PAWL_INIT(pawl_job);
        MUST(pawl_view_job(view, row, &job));
        (void)TRY(pawl_job_revive(store, job.kind, job.subject));
    }
    pawl_view_close(view);
}

static void answer(pawl_store *store, const pawl_view *items, size_t row, const pawl_item *item) {
    if (item->what > PAWL_REQUEST_BACKUP_SECRET) {
        (void)TRY(pawl_outbox_ack(store, &item->seq, 1)); /* a newer Pawl's */
        return;
    }
    if (item->what < PAWL_REQUEST_BACKUP_VERSION || item->what > PAWL_REQUEST_BACKUP_SECRET) {
        pawl_package package = PAWL_INIT(pawl_package);
        for (size_t i = 0; i < 1000 && pawl_view_item_package(items, row, i, &package) == PAWL_OK; i++) {}
        pawl_status status = pawl_outbox_answer(store, item->seq, bundle.bytes, item->what == PAWL_REQUEST_PUBLISH ? 0 : bundle.size);
        if (status != PAWL_MISUSE_PACKAGE) (void)TRY(status);
        return;
    }
    pawl_backup_reply reply;
    if (!TRY(server_carry_out(server, items, row, &reply))) {
        reply = (pawl_backup_reply)PAWL_INIT(pawl_backup_reply);
        reply.result = PAWL_REPLY_FAILED;
    }
    (void)TRY(pawl_backup_answer(store, item->seq, &reply));
}

static uint8_t out[1 << 20];
static void receive(pawl_store *store, const uint8_t *account, const void *bytes, size_t size) {
    pawl_frame frame = PAWL_INIT(pawl_frame);
    frame.bytes = bytes;
    frame.size = size;
    size_t out_size;
    pawl_received received = PAWL_INIT(pawl_received);
    if (size <= sizeof out) (void)TRY(pawl_account_receive(store, account, &frame, out, sizeof out, &out_size, &received));
}

static void serve(pawl_store *store) {
    for (int turn = 0; turn < 6; turn++) {
        int64_t next;
        (void)TRY(pawl_store_run_due(store, 50, NULL, &next));
        pawl_view *items = NULL;
        if (!TRY(pawl_outbox_take(store, 50, 0, &items))) return;
        for (size_t row = 0; row < pawl_view_count(items); row++) {
            pawl_item item = PAWL_INIT(pawl_item);
            MUST(pawl_view_item(items, row, &item));
            pawl_backup told = PAWL_INIT(pawl_backup);
            if (item.kind == PAWL_ITEM_FRAME) receive(store, memcmp(item.account, ada, 16) == 0 ? bob : ada, item.body, item.body_size);
            if (item.kind == PAWL_ITEM_EVENT && item.what >= PAWL_EVENT_BACKUP_STATUS && item.what < PAWL_EVENT_BACKUP_FINDING)
                (void)TRY(pawl_view_item_backup(items, row, &told));
            if (item.kind == PAWL_ITEM_REQUEST) answer(store, items, row, &item);
            if (turn == 2) (void)TRY(pawl_outbox_fail(store, item.seq, 0));
            else (void)TRY(pawl_outbox_ack(store, &item.seq, 1));
        }
        pawl_view_close(items);
    }
}

static void speak(pawl_store *store) {
    const uint8_t *sessions[] = {ada_session, bob_session};
    for (size_t i = 0; i < frame_count; i++) {
        receive(store, bob, frames[i].bytes, frames[i].size);
        size_t size;
        pawl_history_message message = PAWL_INIT(pawl_history_message);
        (void)TRY(pawl_history_decrypt(store, ada, frames[i].bytes, frames[i].size, out, sizeof out, &size, &message));
    }
    for (size_t i = 0; i < 2; i++) {
        size_t size = 0;
        uint32_t epoch;
        if (TRY(pawl_session_encrypt(store, sessions[i], "text", 4, out + 8192, 8192, &size)))
            receive(store, i ? ada : bob, memmove(out + 32768, out + 8192, size), size);
        (void)TRY(pawl_session_send(store, sessions[i], "text", 4, NULL));
        (void)TRY(pawl_session_rekey(store, sessions[i], 0, &epoch));
    }
}

static void use(pawl_store *store, uint8_t how) {
    pawl_scope scope = the_scope();
    look_at_secrets(store);
    look_at_lists(store);
    if (how & 1) speak(store);
    serve(store);
    if (how & 2) {
        now_ns += how & 4 ? 40 * 24 * HOUR : how & 8 ? -40 * 24 * HOUR : 2 * HOUR;
        serve(store);
    }
    if (how & 16) {
        pawl_key key = raw_key_of(raw);
        pawl_stream *stream = NULL;
        size_t size = 1;
        (void)TRY(pawl_export_begin(store, NULL, 0, &key, &stream));
        while (size > 0 && TRY(pawl_stream_read(stream, out, sizeof out, &size))) {}
        pawl_stream_close(stream);
    }
    if (how & 32) {
        (void)TRY(put(store, &scope, "small", "secret of small"));
        (void)TRY(pawl_credential_restore(store, &scope, "deleted", 7, 0));
        (void)TRY(pawl_session_close(store, ada_session));
        (void)TRY(pawl_backup_restore(store, ada, 0));
        serve(store);
        look_at_secrets(store);
    }
    if (how & 64) {
        (void)TRY(pawl_credential_delete_all(store, &scope, 0, NULL));
        (void)TRY(pawl_account_delete(store, ada));
        (void)TRY(pawl_account_delete(store, bob));
        serve(store);
    }
}

/* ---------------------------------------------------------------- rows */

static host_record *record(host_array *all, input *in) {
    size_t at = (size_t)take_byte(in) << 8;
    at |= take_byte(in);
    return all->records[at % all->count];
}

/* Bytes here and there, or eight alike: what numbers are made of. */
static void meddle(input *in, uint8_t *bytes, size_t *size, size_t room) {
    (void)change(in, bytes, size, room);
    uint8_t fill = take_byte(in);
    if (*size > 0 && fill % 4 != 0) {
        size_t at = (((size_t)take_byte(in) << 8) | take_byte(in)) % *size;
        static const uint8_t with[] = {0, 0x00, 0x7F, 0xFF};
        memset(bytes + at, with[fill % 4], *size - at < 8 ? *size - at : 8);
    }
}

static void change_row(host_array *all, input *in, host_storage *to) {
    static uint8_t key[8192], place[256], value[16384], sealed[16384 + 64];
    uint8_t how = take_byte(in);
    const host_record *from = record(all, in);
    size_t key_size = from->key_size, size = from->value_size;
    if (size > 8192) size = 8192;
    memcpy(key, from->key, key_size);
    memcpy(value, from->value, size);
    place[0] = 1;
    memcpy(place + 1, key, key_size);
    int opens = size > 41 && crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, NULL, NULL, value + 25, size - 25, place,
                                                                        1 + key_size, value + 1, values_key) == 0;
    void *transaction;
    NEED(host_begin(to, PAWL_TRANSACTION_WRITE, &transaction) == PAWL_OK);
    if (how & 1) NEED(host_remove(to, transaction, key, key_size) == PAWL_OK);
    if (how & 2) { /* another place */
        size_t room = key_size;
        meddle(in, key + 1, &room, 80);
        if (how & 4) key[0] = take_byte(in);
        key_size = room < 80 ? room + 1 : 81;
        memcpy(place + 1, key, key_size);
    }
    if ((how & 8) && opens) {
        is_forged = 1;
        size -= 41;
        memcpy(value, sealed, size);
        if (how & 16) {
            meddle(in, value, &size, 8000);
        } else {
            input part = take_part(in);
            if (part.size > 8000) part.size = 8000;
            memcpy(value, part.bytes, size = part.size);
        }
        sealed[0] = 1;
        random_buf(sealed + 1, 24);
        unsigned long long length;
        crypto_aead_xchacha20poly1305_ietf_encrypt(sealed + 25, &length, value, size, place, 1 + key_size, NULL, sealed + 1,
                                                   values_key);
        size = 25 + (size_t)length;
        memcpy(value, sealed, size);
    } else if (how & 32) {
        meddle(in, value, &size, 8192);
    } else if (how & 64) {
        const host_record *other = record(all, in);
        size = other->value_size < 8192 ? other->value_size : 8192;
        memcpy(value, other->value, size);
    }
    if (how & 128) size = how & 1 ? 0 : 1, value[0] = 1; /* a mark, or nothing */
    if (!(how & 1) || (how & 0xFE)) NEED(host_put(to, transaction, key, key_size, value, size) == PAWL_OK);
    NEED(host_commit(to, transaction) == PAWL_OK);
}

static void hostile_rows(input *in, uint8_t how) {
    host_storage host;
    host_storage_clone(&rows, &host, &no_faults);
    for (int count = take_byte(in) % 4; count >= 0; count--) change_row(&rows.committed, in, &host);
    pawl_store *store = NULL;
    if (TRY(open_at(NULL, &host, how & 128, 0, &store))) use(store, how);
    pawl_store_close(store);
    NEED(host.transactions_open == 0);
    host_storage_end(&host);
}

/* ---------------------------------------------------------------- files */

static void write_all(const char *path, const uint8_t *bytes, size_t size) {
    FILE *to = fopen(path, "wb");
    NEED(to != NULL && fwrite(bytes, 1, size, to) == size && fclose(to) == 0);
}

/* SQLite's file format, section 4.2. */
static uint32_t big(const uint8_t *b) { return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3]; }
static void set_big(uint8_t *b, uint32_t n) {
    for (int i = 0; i < 4; i++) b[i] = (uint8_t)(n >> (24 - 8 * i));
}
static void sum(const uint8_t *log, const uint8_t *bytes, size_t size, uint32_t s[2]) {
    for (size_t i = 0; i + 8 <= size; i += 8) {
        for (size_t half = 0; half < 2; half++) {
            const uint8_t *at = bytes + i + 4 * half;
            uint32_t word = log[3] & 1 ? big(at) : (uint32_t)number_at(at, 4);
            s[half] += word + s[1 - half];
        }
    }
}
static void mend_sums(uint8_t *log, size_t size) {
    if (size < 32) return;
    uint32_t s[2] = {0, 0}, page = big(log + 8);
    sum(log, log, 24, s);
    set_big(log + 24, s[0]);
    set_big(log + 28, s[1]);
    if (page < 512 || page > 65536) return;
    for (uint8_t *at = log + 32; at + 24 + page <= log + size; at += 24 + page) {
        memcpy(at + 8, log + 16, 8);
        sum(log, at, 8, s);
        sum(log, at + 24, page, s);
        set_big(at + 16, s[0]);
        set_big(at + 20, s[1]);
    }
}

/* Bytes anywhere, not only where a page is full of them. */
static void scribble(input *in, uint8_t *bytes, size_t *size) {
    for (int count = take_byte(in) % 16; count > 0; count--) {
        size_t at = take_word(in) & 0xFFFFFF, run = take_byte(in);
        if (run & 1) at = at % 64 * 4096 + at / 64 % 4096; /* any byte of any page */
        for (run = run >> 1 & 7; *size > 0 && run < 8; run++) bytes[(at + run) % *size] = take_byte(in);
    }
    uint8_t how = take_byte(in);
    if (how % 8 == 1) *size = take_word(in) % (*size + 1);
    if (how % 8 == 2) *size = *size / 4096 * 4096;
}

static void run_sql(input *in) {
    static const char *changes[] = {
        "UPDATE kv SET v = CAST(v AS TEXT) WHERE rowid = %u",
        "UPDATE kv SET k = CAST(k AS TEXT) WHERE rowid = %u",
        "UPDATE kv SET v = %u",
        "INSERT INTO kv VALUES(%u, x'01')",
        "INSERT INTO kv VALUES(x'', zeroblob(%u))",
        "UPDATE kv SET v = zeroblob(20000000) WHERE rowid = %u",
        "PRAGMA writable_schema=1; UPDATE sqlite_master SET rootpage = %u WHERE type = 'index'",
        "PRAGMA auto_vacuum=2; VACUUM; PRAGMA user_version=1; PRAGMA page_size=%u",
        "PRAGMA journal_mode=DELETE; PRAGMA user_version=1; DELETE FROM kv WHERE rowid = %u",
        "CREATE TRIGGER t AFTER INSERT ON kv BEGIN DELETE FROM kv WHERE rowid < %u; END",
    };
    char text[256];
    uint8_t which = take_byte(in);
    snprintf(text, sizeof text, changes[which % (sizeof changes / sizeof *changes)], 1 + (unsigned)take_byte(in));
    sqlite3 *db = NULL;
    if (sqlite3_open(file_path, &db) == SQLITE_OK) (void)sqlite3_exec(db, text, NULL, NULL, NULL);
    sqlite3_close(db);
}

static void hostile_file(input *in, uint8_t how) {
    static const char *others[] = {"-wal", "-shm", "-journal", "-bell"};
    uint8_t *bytes = malloc(whole_size), *log = malloc(wal_size), what = take_byte(in);
    NEED(bytes != NULL && log != NULL && file_size <= whole_size);
    size_t size = what & 8 ? whole_size : file_size, log_size = wal_size;
    memcpy(bytes, what & 8 ? whole : file, size);
    memcpy(log, wal, wal_size);
    for (size_t i = 0; i < 4; i++) unlink(beside(others[i]));
    if (what & 1) scribble(in, bytes, &size);
    if (what & 2) scribble(in, log, &log_size);
    if (what & 4) mend_sums(log, log_size);
    write_all(file_path, bytes, size);
    if (!(what & 8)) write_all(beside("-wal"), log, log_size);
    if (what & 16) run_sql(in);
    if (what & 32) {
        input part = take_part(in);
        write_all(beside(others[what >> 6]), part.bytes, part.size);
    }
    free(bytes);
    free(log);
    pawl_store *store = NULL;
    pawl_view *view = NULL;
    if (TRY(open_at(file_path, NULL, how & 128, 0, &store))) use(store, how);
    pawl_store_close(store);
    store = NULL;
    if (TRY(open_at(file_path, NULL, 0, 0, &store))) (void)TRY(pawl_store_verify(store, &view));
    pawl_view_close(view);
    pawl_store_close(store);
}

/* ---------------------------------------------------------------- seeds */

static void write_seeds(const char *folder) {
    seed(folder, 0, "whole", (const uint8_t *)"\377\0", 2);
    seed(folder, 0, "page", (const uint8_t *)"\63\11\2\0\1\40\20\17\125\0\1\60\40\17\0\0", 16);
    seed(folder, 0, "log", (const uint8_t *)"\177\6\2\0\1\40\20\17\125\0\1\60\40\17\0\0", 16);
    seed(folder, 0, "journal", (const uint8_t *)"\177\250\0\20\331\325\5\371\40\241\143\327\0\0\0\0", 16);
    for (uint8_t i = 0; i < 10; i++) {
        uint8_t sql[4] = {0x7F, 24, i, 5};
        char name[16];
        snprintf(name, sizeof name, "sql-%d", i);
        seed(folder, 0, name, sql, sizeof sql);
    }
    uint8_t longest[600]; /* no input is longer than the longest seed, at first */
    random_buf(longest, sizeof longest);
    seed(folder, 0, "long", longest, sizeof longest);
    seed(folder, 1, "long", longest, sizeof longest);
    /* Each row, sealed again with some numbers at their ends. */
    for (size_t row = 0; row < rows.committed.count; row++) {
        uint8_t text[] = {0x77, 0, 24, (uint8_t)(row >> 8), (uint8_t)row, 1, 0, 9, 1, 0, 0, 3, 0, 5};
        char name[32];
        snprintf(name, sizeof name, "row-%zu", row);
        seed(folder, 1, name, text, sizeof text);
        /* A credential with the value of another one. */
        for (size_t other = 0; other < rows.committed.count; other++) {
            if (rows.committed.records[row]->key[0] >> 4 != 2 || rows.committed.records[other]->key[0] >> 4 != 2) continue;
            uint8_t swap[] = {0, 0, 64, 0, (uint8_t)row, 0, (uint8_t)other};
            snprintf(name, sizeof name, "swap-%zu-%zu", row, other);
            seed(folder, 1, name, swap, sizeof swap);
        }
    }
}

static backup_server *fresh; /* the server as it was */

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)setenv("TMPDIR", "/dev/shm", 0);
    randombytes_set_implementation(&random_source);
    NEED(sodium_init() >= 0);
    the_clock = (pawl_clock)PAWL_INIT(pawl_clock);
    the_clock.now_ns = test_time;
    the_clock.context = &now_ns;
    make_file();
    host_storage_start(&rows, &no_faults);
    make(NULL, &rows);
    find_values_key();
    fresh = malloc(offsetof(backup_server, cursor) + server->used);
    NEED(fresh != NULL);
    memcpy(fresh, server, offsetof(backup_server, cursor));
    memcpy((uint8_t *)fresh + offsetof(backup_server, cursor), server->memory, server->used);
    const char *folder = corpus(*argc, *argv);
    if (folder != NULL) write_seeds(folder);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    input in = {bytes, size};
    memset(server->memory + fresh->used, 0, server->used - fresh->used); /* new versions take it as empty */
    memcpy(server, fresh, offsetof(backup_server, cursor));
    memcpy(server->memory, (uint8_t *)fresh + offsetof(backup_server, cursor), server->used);
    random_calls = 1 << 20;
    now_ns = BEGIN + 2 * 24 * HOUR;
    is_forged = 0;
    uint8_t which = take_byte(&in), how = take_byte(&in);
    if (which % 4 == 0) hostile_file(&in, how);
    else hostile_rows(&in, how);
    return 0;
}
