/* A hostile server, and a hostile account that has the backup's secret, by libFuzzer. Each input is a row of acts: what a
 * host may want, requests answered as they should be, answers with bytes changed or made up, items and manifests with true
 * seals around any content.
 *
 * Nothing crashes; every status is one that the header names for the call; an event about the key comes once for an
 * activation, right behind the status that names it, and says what the store says; no store is damaged by it; and once the
 * server behaves, what was wanted comes true. */
#include "fuzz.h"

#include "../backup_server.h"
#include "../wire_peer.h"

static int64_t now_ns;
static int64_t read_now(UNUSED void *context) { return now_ns; }
static pawl_clock the_clock;

static pawl_store *store;
static uint8_t ada[16];
static backup_server *server;
static const uint8_t secrets[4][32] = {{1}, {2}, {3}, {4}}; /* the last one is nobody's until all heals */

/* What the host was told last; the version whose key it was told of, zeros once it is not active any more. */
static pawl_backup last_status;
static uint8_t cached[32];
static int is_key_due;
/* The server gave a version another number, which makes another version of it: its key may be announced again. */
static int is_renamed;

static pawl_scope the_scope(void) {
    pawl_scope scope = PAWL_INIT(pawl_scope);
    scope.user = "ada";
    scope.user_size = 3;
    return scope;
}

/* ---------------------------------------------------------------- what a hostile account can make */

static void version_hash(uint8_t hash[32], const kept_version *version) {
    blob body = {.size = 0};
    add_field(&body, version->body, version->body_size);
    derive(hash, 32, NULL, "pawl/1 backup version", &body);
}

static void derive_place(uint8_t place[16], const uint8_t *secret, const uint8_t name[25]) {
    uint8_t key[32];
    blob named = {.size = 0};
    add_field(&named, name, 25);
    derive(key, 32, secret, "pawl/1 backup place", NULL);
    derive(place, 16, key, "pawl/1 backup place", &named);
}

static size_t seal(uint8_t *out, const uint8_t *text, size_t size, const uint8_t *key, const uint8_t *with, size_t with_size) {
    memset(out, 0x55, 24);
    unsigned long long length;
    crypto_aead_xchacha20poly1305_ietf_encrypt(out + 24, &length, text, size, with, with_size, NULL, out, key);
    return 24 + (size_t)length;
}

/* An item with any name, writer, number and content, sealed as the secret's owner does. */
static size_t forge_item(input *in, const kept_version *version, const uint8_t *secret, uint8_t place[16], uint8_t *out) {
    uint8_t hash[32], key[32], facts[49] = {0}, header[6] = {1}, with[32 + 49 + 6];
    version_hash(hash, version);
    facts[0] = take_byte(in) % 4;
    for (int i = 1; i < 25; i += 5) facts[i] = take_byte(in);
    memcpy(facts + 25, ada, 16);
    if (take_byte(in) & 1) facts[25] ^= take_byte(in);
    facts[41] = take_byte(in);
    if (take_byte(in) & 1) memset(facts + 42, 0xFF, 7);
    for (int i = 1; i < 6; i++) header[i] = take_byte(in) & (i == 4 ? 0x7F : 0xFF);
    header[5] = 1 + header[5] % 2;
    derive_place(place, secret, facts);
    memcpy(out, header, 6);
    memcpy(with, hash, 32);
    memcpy(with + 32, place, 16);
    memcpy(with + 48, header, 6);
    derive(key, 32, secret, "pawl/1 backup name", NULL);
    size_t size = 6 + seal(out + 6, facts, sizeof facts, key, with, 54);
    memcpy(with + 32, facts, 49);
    memcpy(with + 81, header, 6);
    blob inside = {.size = 0};
    add_field(&inside, with, sizeof with);
    derive(key, 32, secret, "pawl/1 backup item", &inside);
    input content = take_part(in);
    if (content.size > 2048) content.size = 2048;
    return size + seal(out + size, content.bytes, content.size, key, with, sizeof with);
}

/* A manifest with any count, counter and root, or a page of a listing. */
static size_t forge_manifest(input *in, const kept_version *version, const uint8_t *secret, uint8_t place[16], uint8_t *out) {
    uint8_t key[32], hash[32], name[25] = {0xFF};
    uint8_t is_page = take_byte(in) & 1, number = take_byte(in) % 4;
    name[0] = is_page ? 0xFE : 0xFF;
    memcpy(name + 1, ada, 16);
    if (take_byte(in) & 1) name[1] ^= take_byte(in);
    name[17] = is_page ? number : 0;
    derive_place(place, secret, name);
    memset(out, 0, 6);
    out[0] = 1;
    out[1] = take_byte(in);
    out[5] = is_page ? 4 : 3;
    size_t size = 6;
    if (is_page) {
        memcpy(out + size, name + 1, 24);
        size += 24;
    } else {
        out[size++] = 1;
        memcpy(out + size, name + 1, 16);
        size += 16;
    }
    input rest = take_part(in);
    if (rest.size > 2048) rest.size = 2048;
    memcpy(out + size, rest.bytes, rest.size);
    size += rest.size;
    if (is_page) return size;
    version_hash(hash, version);
    derive(key, 32, secret, "pawl/1 backup manifest", NULL);
    blob parts = {.size = 0};
    add_field(&parts, hash, 32);
    add_field(&parts, out + 6, size - 6);
    derive(out + size, 32, key, "pawl/1 backup writer", &parts);
    return size + 32;
}

/* ---------------------------------------------------------------- the world */

static void check_command(pawl_status status) {
    switch (PAWL_STATUS_REASON(status)) {
    case PAWL_OK: case PAWL_STATE_BACKUP: case PAWL_NOT_FOUND: case PAWL_EXISTS: case PAWL_CORRUPT: break;
    case PAWL_MISUSE_KEY: break; /* the secret in use */
    default: must(__LINE__, "a command", status);
    }
}

static void note_event(const pawl_view *items, size_t row, const pawl_item *item) {
    if (item->what < PAWL_EVENT_BACKUP_STATUS || item->what > PAWL_EVENT_BACKUP_FINDING) return;
    pawl_backup told = PAWL_INIT(pawl_backup), now = PAWL_INIT(pawl_backup);
    if (item->what == PAWL_EVENT_BACKUP_KEY_CACHED) {
        NEED(is_key_due || is_renamed);
    } else {
        NEED(!is_key_due);
    }
    is_key_due = 0;
    if (item->what == PAWL_EVENT_BACKUP_FINDING) {
        NEED(item->body_size == 16 && item->count >= 1 && item->count <= PAWL_FINDING_MALFORMED);
        return;
    }
    MUST(pawl_view_item_backup(items, row, &told));
    MUST(pawl_backup_get(store, ada, &now));
    NEED(now.revision >= told.revision);
    if (told.generation != 0) {
        NEED(memcmp(told.hash, told.server_hash, 32) == 0 && memcmp(told.hash, told.key_hash, 32) == 0);
        NEED((told.flags & PAWL_BACKUP_ON) && told.download == PAWL_DOWNLOAD_READY);
    }
    if (now.revision == told.revision) NEED(memcmp(told.hash, now.hash, 32) == 0 && told.phase == now.phase);
    if (item->what == PAWL_EVENT_BACKUP_KEY_CACHED) {
        NEED(told.generation == item->count && told.revision == last_status.revision);
        NEED(memcmp(told.hash, last_status.hash, 32) == 0);
        memcpy(cached, told.hash, 32);
    }
    if (item->what == PAWL_EVENT_BACKUP_STATUS) {
        last_status = told;
        is_key_due = told.generation != 0 && memcmp(told.hash, cached, 32) != 0;
        memset(cached, 0, told.generation == 0 ? 32 : 0);
    }
}

static input *fuzzed; /* NULL: the server behaves */

/* What becomes of an answer: the result, bytes, entries, how many. */
static void answer_badly(backup_server *to, const pawl_backup_request *request, pawl_backup_reply *reply) {
    static uint8_t version[256], body[512], wire[3][8192];
    if (fuzzed == NULL) return;
    uint8_t how = take_byte(fuzzed);
    if (how & 1) reply->result = take_byte(fuzzed) % 6;
    if (how & 2) reply->until_ns = (int64_t)((uint64_t)take_word(fuzzed) << 31 | take_word(fuzzed) >> 1);
    if (how & 4) reply->count = (uint64_t)take_word(fuzzed) << 32;
    if (how & 8) {
        size_t size = reply->version_size < sizeof version ? reply->version_size : 0;
        if (size > 0) memcpy(version, reply->version, size);
        (void)change(fuzzed, version, &size, sizeof version);
        is_renamed = 1;
        reply->version = version;
        reply->version_size = size;
    }
    if (how & 16) {
        size_t size = reply->body_size < 256 ? reply->body_size : 0;
        if (size > 0) memcpy(body, reply->body, size);
        (void)change(fuzzed, body, &size, sizeof body);
        reply->body = body;
        reply->body_size = size;
    }
    if (!(how & 96) || (request->what != PAWL_REQUEST_BACKUP_PAGE && request->what != PAWL_REQUEST_BACKUP_ITEM)) return;
    const kept_version *shown = server_version(to, request->version, request->version_size);
    if (shown == NULL) return;
    for (size_t i = 0; i < 3; i++) {
        pawl_backup_entry *entry = to->entries + i;
        uint8_t what = take_byte(fuzzed);
        if (i >= reply->entry_count) *entry = (pawl_backup_entry)PAWL_INIT(pawl_backup_entry);
        size_t size = entry->bytes_size < 4096 ? entry->bytes_size : 0;
        if (size > 0) memcpy(wire[i], entry->bytes, size);
        switch (what % 5) {
        case 0: continue;
        case 1: (void)change(fuzzed, wire[i], &size, sizeof wire[i]); break;
        case 2: size = forge_item(fuzzed, shown, secrets[what / 5 % 3], entry->place, wire[i]); break;
        case 3: size = forge_manifest(fuzzed, shown, secrets[what / 5 % 3], entry->place, wire[i]); break;
        default: entry->place[0] ^= what; break;
        }
        entry->bytes = wire[i];
        entry->bytes_size = size;
        if (i >= reply->entry_count) reply->entry_count = i + 1;
    }
    reply->entries = to->entries;
}

/* Takes what there is and deals with it; answers how much it was. */
static size_t turn(size_t limit) {
    size_t ran = 0;
    MUST(pawl_store_run_due(store, 100, &ran, NULL));
    pawl_view *items = NULL;
    MUST(pawl_outbox_take(store, limit, 1000, &items));
    size_t count = pawl_view_count(items);
    for (size_t row = 0; row < count; row++) {
        pawl_item item = PAWL_INIT(pawl_item);
        MUST(pawl_view_item(items, row, &item));
        if (item.kind != PAWL_ITEM_REQUEST) {
            note_event(items, row, &item);
            MUST(pawl_outbox_ack(store, &item.seq, 1));
            continue;
        }
        uint8_t how = fuzzed == NULL ? 0 : take_byte(fuzzed) % 16;
        if (how == 1) {
            MUST(pawl_outbox_ack(store, &item.seq, 1));
        } else if (how == 2) {
            MUST(pawl_outbox_fail(store, item.seq, 1));
        } else {
            pawl_backup_reply reply;
            MUST(server_carry_out(server, items, row, &reply));
            MUST(pawl_backup_answer(store, item.seq, &reply));
            if (how == 3) MUST(pawl_backup_answer(store, item.seq, &reply));
        }
    }
    pawl_view_close(items);
    return ran + count;
}

static void world_begin(void) {
    now_ns = INT64_C(1700000000000000000);
    random_calls = 0;
    is_key_due = is_renamed = 0;
    memset(cached, 0, sizeof cached);
    the_clock = (pawl_clock)PAWL_INIT(pawl_clock);
    the_clock.now_ns = read_now;
    static const uint8_t raw[32] = {7};
    pawl_key key = raw_key_of(raw);
    pawl_store_options options = PAWL_INIT(pawl_store_options);
    options.flags = PAWL_STORE_CREATE | PAWL_STORE_MEMORY;
    options.key = &key;
    options.clock = &the_clock;
    MUST(pawl_store_open(&options, &store));
    MUST(pawl_account_create(store, "ada", 3, ada));
    server = server_new(1024, 64 << 20);
    server->page = 3;
    server->meddle = answer_badly;
    pawl_scope scope = the_scope();
    MUST(pawl_backup_include(store, ada, &scope, PAWL_BACKUP_ALL_PROJECTS));
    MUST(pawl_credential_put(store, &scope, "a", 1, "1", 1, NULL, NULL));
    key = raw_key_of(secrets[0]);
    MUST(pawl_backup_create(store, ada, &key, 0));
    while (turn(100) > 0) {}
}

static void world_end(void) {
    pawl_view *damages = NULL;
    MUST(pawl_store_verify(store, &damages));
    NEED(pawl_view_count(damages) == 0);
    pawl_view_close(damages);
    pawl_store_close(store);
    server_end(server);
}

/* From here on the server behaves: with its secret given, what it has becomes active, and all is uploaded. */
static void heal(void) {
    fuzzed = NULL;
    pawl_key key = raw_key_of(secrets[3]);
    MUST(pawl_backup_disable(store, ada));
    pawl_backup now = PAWL_INIT(pawl_backup);
    MUST(pawl_backup_reset(store, ada, &key, 0));
    for (int round = 0; round < 8; round++) {
        int turns = 0;
        while (turn(100) > 0) NEED(++turns < 3000);
        MUST(pawl_backup_get(store, ada, &now));
        if (now.generation != 0 && now.pending == 0) return;
        now_ns += INT64_C(90000) * 1000000000;
    }
    /* No higher generation is left to who was shown the last one. */
    NEED(now.key_generation >= UINT64_C(1) << 61);
}

/* ---------------------------------------------------------------- acts */

static void act(input *in) {
    uint8_t what = take_byte(in);
    pawl_scope scope = the_scope();
    char name = (char)('a' + take_byte(in) % 5);
    pawl_key key = raw_key_of(secrets[what / 16 % 3]);
    uint8_t session[16] = {9}, share[PAWL_BACKUP_SHARE_SIZE] = {1};
    switch (what % 16) {
    case 0: {
        input secret = take_part(in);
        MUST(pawl_credential_put(store, &scope, &name, 1, secret.bytes, secret.size, NULL, NULL));
        break;
    }
    case 1: check_command(pawl_credential_delete(store, &scope, &name, 1, 0)); break;
    case 2: check_command(pawl_backup_create(store, ada, &key, what & 128 ? PAWL_BACKUP_ESCROW : 0)); break;
    case 3: check_command(pawl_backup_reset(store, ada, &key, what & 128 ? PAWL_BACKUP_ESCROW : 0)); break;
    case 4: check_command(pawl_backup_enable(store, ada)); break;
    case 5: check_command(pawl_backup_disable(store, ada)); break;
    case 6: check_command(pawl_backup_delete(store, ada)); break;
    case 7: check_command(pawl_backup_recover(store, ada, &key)); break;
    case 8: case 9:
        check_command(pawl_backup_restore(store, ada, what & 128 ? PAWL_RESTORE_ACCEPT_OLDER : 0));
        break;
    case 10: check_command(pawl_backup_stop_restore(store, ada)); break;
    case 11: check_command(pawl_backup_fetch_credential(store, ada, &scope, &name, 1)); break;
    case 12: check_command(pawl_backup_fetch_history(store, ada, session, what)); break;
    case 13:
        check_command(pawl_backup_ask(store, ada));
        check_command(pawl_backup_receive(store, session, share, sizeof share));
        break;
    case 14: now_ns += (int64_t)take_byte(in) * 1000000000 * (what & 128 ? 3600 : 1); break;
    default: (void)turn(1 + what / 16); break;
    }
    if (what & 64) (void)turn(1);
}

static void write_seeds(const char *folder) {
    seed(folder, 0, "put", (const uint8_t *)"\0\0\3abc\17\0\0\0\0\0", 12);
    seed(folder, 72, "restore", (const uint8_t *)"\0\0\0\17\0\0\0\17\0\0\0\17\0\0\0\17\0\0\0", 19);
    seed(folder, 72, "flip", (const uint8_t *)"\0\0\140\1\1\0\56\1\0\0\0\0\0\17\0\0\0\17\0\0", 20);
    seed(folder, 72, "item", (const uint8_t *)"\0\0\140\2\1\1\2\3\4\5\6\7\0\0\0\0\1\1\1\0\5\1\1\1\1\1\0\0\17\0\0\0", 32);
    seed(folder, 72, "history", (const uint8_t *)"\0\0\140\2\2\1\2\3\4\5\6\7\0\0\0\0\1\1\1\0\5\2\1\1\1\1\0\0\17\0\0\0", 32);
    seed(folder, 72, "manifest", (const uint8_t *)"\0\0\140\3\0\0\0\1\0\60\1\1\1\1\1\1\1\1\1\1\0\0\17\0\0\0", 26);
    seed(folder, 72, "page", (const uint8_t *)"\0\0\140\3\1\0\0\1\0\60\1\1\1\1\1\1\1\1\1\1\0\0\17\0\0\0", 26);
    seed(folder, 67, "reset", (const uint8_t *)"\0\0\0\17\0\0\0\17\0\0\0\17\0\0\0", 15);
    seed(folder, 70, "delete", (const uint8_t *)"\0\0\0\17\0\0\0\17\0\0\0\17\0\0\0", 15);
    seed(folder, 75, "fetch", (const uint8_t *)"\0\0\0\17\0\0\0", 7);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    randombytes_set_implementation(&random_source);
    NEED(sodium_init() >= 0);
    const char *folder = corpus(*argc, *argv);
    if (folder != NULL) write_seeds(folder);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    input in = {bytes, size};
    world_begin();
    fuzzed = &in;
    for (int acts = 0; acts < 40 && in.size > 0; acts++) act(&in);
    heal();
    world_end();
    return 0;
}
