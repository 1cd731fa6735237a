/* Accounts on every kind of store, and the safety numbers of their identities, which a second
 * implementation on bare libsodium has to agree with. */
#include "setups.h"
#include <sodium.h>
#include <sqlite3.h>

#define ID PAWL_ACCOUNT_ID_SIZE
#define KEY PAWL_IDENTITY_KEY_SIZE
#define ACCOUNT_KIND 0x30 /* the first byte of its record's key; the id follows */

static const uint8_t no_id[ID];

static pawl_status create(pawl_store *store, const char *name, uint8_t id[ID]) {
    return pawl_account_create(store, name, strlen(name), id);
}

typedef struct row {
    pawl_view *view;
    pawl_account account;
} row;

static pawl_status get(row *r, pawl_store *store, const uint8_t id[ID]) {
    r->view = (pawl_view *)r; /* a refusal has to clear it */
    r->account = (pawl_account)PAWL_INIT(pawl_account);
    pawl_status status = pawl_account_get(store, id, &r->view);
    if (status == PAWL_OK) {
        CHECK(pawl_view_count(r->view) == 1);
        MUST(pawl_view_account(r->view, 0, &r->account));
        CHECK(memcmp(r->account.id, id, ID) == 0 && r->account.flags == 0);
    } else {
        CHECK(r->view == NULL);
    }
    return status;
}

static pawl_status there(pawl_store *store, const uint8_t id[ID]) {
    row r;
    pawl_status status = get(&r, store, id);
    pawl_view_close(r.view);
    return status;
}

static int same_account(const pawl_account *a, const pawl_account *b) {
    return memcmp(a->id, b->id, ID) == 0 && memcmp(a->signing_key, b->signing_key, KEY) == 0 &&
           memcmp(a->agreement_key, b->agreement_key, KEY) == 0 && a->created_ns == b->created_ns &&
           a->name_size == b->name_size && memcmp(a->name, b->name, a->name_size) == 0;
}

/* The ids of all accounts there are, in the order of the list. */
#define ROOM 64
typedef struct roll {
    size_t count;
    uint8_t ids[ROOM][ID];
} roll;

static void call_roll(pawl_store *store, roll *r) {
    pawl_view *view = NULL;
    memset(r, 0, sizeof *r);
    MUST(pawl_account_list(store, NULL, 10000, &view));
    r->count = pawl_view_count(view);
    NEED(r->count <= ROOM);
    for (size_t i = 0; i < r->count; i++) {
        pawl_account account = PAWL_INIT(pawl_account);
        MUST(pawl_view_account(view, i, &account));
        memcpy(r->ids[i], account.id, ID);
        CHECK(i == 0 || memcmp(r->ids[i - 1], r->ids[i], ID) < 0);
    }
    pawl_view_close(view);
}

static int on_roll(const roll *r, const uint8_t id[ID]) {
    for (size_t i = 0; i < r->count; i++) {
        if (memcmp(r->ids[i], id, ID) == 0) return 1;
    }
    return 0;
}

static size_t account_count(pawl_store *store) {
    static roll r;
    call_roll(store, &r);
    return r.count;
}

/* ---------------------------------------------------------------- create, get, list, delete */

static void create_and_get(setup *s) {
    uint8_t ids[2][ID];
    row first, second, again;
    MUST(create(s->store, "Alice", ids[0]));
    s->now += SECOND;
    MUST(create(s->store, "Alice", ids[1])); /* names need not differ */
    MUST(get(&first, s->store, ids[0]));
    MUST(get(&second, s->store, ids[1]));
    CHECK(second.account.created_ns == s->now && first.account.created_ns == s->now - SECOND);
    CHECK(first.account.name_size == 5 && memcmp(first.account.name, "Alice", 5) == 0);
    const uint8_t *keys[] = {no_id, first.account.signing_key, first.account.agreement_key,
                             second.account.signing_key, second.account.agreement_key};
    for (int i = 1; i < 5; i++) {
        for (int j = 0; j < i; j++) CHECK(memcmp(keys[i], keys[j], ID) != 0);
    }
    CHECK(memcmp(ids[0], ids[1], ID) != 0 && memcmp(ids[0], no_id, ID) != 0);
    CHECK(crypto_core_ed25519_is_valid_point(first.account.signing_key));
    CHECK(s->vault->count == 0);

    setup_reopen(s);
    MUST(get(&again, s->store, ids[0]));
    CHECK(same_account(&first.account, &again.account));
    pawl_view_close(again.view);
    CHECK(damage_count(s->store) == 0 && account_count(s->store) == 2);

    /* A view does not change when the account goes, or the store. */
    MUST(pawl_account_delete(s->store, ids[0]));
    pawl_store_close(s->store);
    pawl_account kept = PAWL_INIT(pawl_account);
    MUST(pawl_view_account(first.view, 0, &kept));
    CHECK(same_account(&first.account, &kept));
    setup_open(s);
    pawl_view_close(first.view);
    pawl_view_close(second.view);
}

static void names(setup *s) {
    char text[300];
    const size_t sizes[] = {1, 2, 254, 255};
    uint8_t id[ID];
    memset(text, 'n', sizeof text);
    for (size_t i = 0; i < 4; i++) {
        row r;
        MUST(pawl_account_create(s->store, text, sizes[i], id));
        MUST(get(&r, s->store, id));
        CHECK(r.account.name_size == sizes[i] && memcmp(r.account.name, text, sizes[i]) == 0);
        pawl_view_close(r.view);
    }
    const char *well[] = {"\xC3\xA9", "e\xCC\x81", "\xF0\x9F\x90\xBE", "\xEF\xBB\xBF", " ", "\n", "a/b\\c", "%s"};
    for (size_t i = 0; i < sizeof well / sizeof *well; i++) {
        row r;
        MUST(create(s->store, well[i], id));
        MUST(get(&r, s->store, id));
        CHECK(r.account.name_size == strlen(well[i]) && memcmp(r.account.name, well[i], strlen(well[i])) == 0);
        pawl_view_close(r.view);
    }
    size_t count = account_count(s->store);
    CHECK(count == 4 + sizeof well / sizeof *well);

    const struct {
        const char *name;
        size_t size;
    } ill[] = {{"", 0}, {NULL, 0}, {text, 256}, {text, 300}, {"\0", 1}, {"a\0b", 3}, {"a\0", 2}, {"\x80", 1},
               {"a\xC3", 2}, {"\xC0\xAF", 2}, {"\xE0\x80\xAF", 3}, {"\xED\xA0\x80", 3}, {"\xF4\x90\x80\x80", 4},
               {"\xF8\x88\x80\x80\x80", 5}, {"\xFF", 1}};
    for (size_t i = 0; i < sizeof ill / sizeof *ill; i++) {
        memset(id, 0xAA, sizeof id);
        ANSWERS(PAWL_MISUSE_ACCOUNT, pawl_account_create(s->store, ill[i].name, ill[i].size, id));
        CHECK(memcmp(id, no_id, ID) == 0);
    }
    CHECK(account_count(s->store) == count);
}

static void unknown_ids(setup *s) {
    uint8_t id[ID], near[ID];
    MUST(create(s->store, "Alice", id));
    ANSWERS(PAWL_NOT_FOUND, there(s->store, no_id));
    ANSWERS(PAWL_NOT_FOUND, pawl_account_delete(s->store, no_id));
    for (int bit = 0; bit < 8 * ID; bit++) {
        memcpy(near, id, ID);
        near[bit / 8] ^= (uint8_t)(1 << bit % 8);
        ANSWERS(PAWL_NOT_FOUND, there(s->store, near));
        ANSWERS(PAWL_NOT_FOUND, pawl_account_delete(s->store, near));
    }
    OK(there(s->store, id));
    MUST(pawl_account_delete(s->store, id));
    ANSWERS(PAWL_NOT_FOUND, there(s->store, id));
    ANSWERS(PAWL_NOT_FOUND, pawl_account_delete(s->store, id));
    setup_reopen(s);
    ANSWERS(PAWL_NOT_FOUND, there(s->store, id));
    CHECK(account_count(s->store) == 0 && damage_count(s->store) == 0);
}

static void list_in_pages(setup *s) {
    enum { COUNT = 30 };
    uint8_t ids[COUNT][ID], last[ID];
    pawl_view *view = NULL;
    pawl_scope scope = scope_of("user", "");
    if (!s->has_vault) MUST(put(s->store, &scope, "a credential", "is no account"));
    MUST(pawl_account_list(s->store, NULL, 1, &view));
    CHECK(pawl_view_count(view) == 0);
    pawl_view_close(view);
    for (int i = 0; i < COUNT; i++) MUST(create(s->store, "somebody", ids[i]));
    const size_t limits[] = {1, 7, COUNT - 1, COUNT, COUNT + 1, 10000};
    for (size_t l = 0; l < sizeof limits / sizeof *limits; l++) {
        int seen[COUNT] = {0};
        uint8_t after[ID] = {0};
        size_t total = 0, count = limits[l];
        for (size_t pages = 0; count == limits[l]; pages++) {
            NEED(pages <= COUNT);
            MUST(pawl_account_list(s->store, pages == 0 ? NULL : after, limits[l], &view));
            count = pawl_view_count(view);
            CHECK(count <= limits[l]);
            for (size_t i = 0; i < count; i++) {
                pawl_account account = PAWL_INIT(pawl_account);
                MUST(pawl_view_account(view, i, &account));
                CHECK(total + i == 0 || memcmp(after, account.id, ID) < 0);
                memcpy(after, account.id, ID);
                for (int j = 0; j < COUNT; j++) seen[j] += memcmp(ids[j], account.id, ID) == 0;
                CHECK(account.name_size == 8 && memcmp(account.name, "somebody", 8) == 0);
            }
            pawl_view_close(view);
            total += count;
        }
        CHECK(total == COUNT);
        for (int i = 0; i < COUNT; i++) CHECK(seen[i] == 1);
        memcpy(last, after, ID);
    }

    /* A cursor need not be an account any more, nor ever have been one. */
    static roll before, rest;
    call_roll(s->store, &before);
    MUST(pawl_account_delete(s->store, before.ids[9]));
    MUST(pawl_account_list(s->store, before.ids[9], 10000, &view));
    rest.count = pawl_view_count(view);
    CHECK(rest.count == COUNT - 10);
    pawl_account account = PAWL_INIT(pawl_account);
    MUST(pawl_view_account(view, 0, &account));
    CHECK(memcmp(account.id, before.ids[10], ID) == 0);
    pawl_view_close(view);
    uint8_t edge[ID];
    memset(edge, 0xFF, sizeof edge);
    const uint8_t *cursors[] = {no_id, last, edge};
    const size_t after_them[] = {COUNT - 1, 0, 0};
    for (int i = 0; i < 3; i++) {
        MUST(pawl_account_list(s->store, cursors[i], 10000, &view));
        CHECK(pawl_view_count(view) == after_them[i]);
        pawl_view_close(view);
    }
}

static void batches(setup *s) {
    uint8_t old[ID], added[ID], brief[ID];
    pawl_store *batch = NULL;
    MUST(create(s->store, "old", old));
    for (int commits = 0; commits < 2; commits++) {
        MUST(pawl_batch_begin(s->store, &batch));
        MUST(create(batch, "added", added));
        MUST(create(batch, "brief", brief));
        MUST(pawl_account_delete(batch, brief));
        MUST(pawl_account_delete(batch, old));
        ANSWERS(PAWL_NOT_FOUND, pawl_account_delete(batch, old)); /* a refusal costs itself alone */
        ANSWERS(PAWL_MISUSE_ACCOUNT, pawl_account_create(batch, "", 0, brief));
        /* It sees its own writes, which nobody else does. */
        OK(there(batch, added));
        ANSWERS(PAWL_NOT_FOUND, there(batch, old));
        CHECK(account_count(batch) == 1);
        OK(there(s->store, old));
        ANSWERS(PAWL_NOT_FOUND, there(s->store, added));
        CHECK(account_count(s->store) == 1);
        if (commits) MUST(pawl_batch_commit(batch));
        else pawl_batch_rollback(batch);
        setup_reopen(s);
        ANSWERS(commits ? PAWL_NOT_FOUND : PAWL_OK, there(s->store, old));
        ANSWERS(commits ? PAWL_OK : PAWL_NOT_FOUND, there(s->store, added));
        CHECK(account_count(s->store) == 1 && damage_count(s->store) == 0);
    }
    if (s->has_vault) return;
    /* With a credential, all or nothing. */
    pawl_scope scope = scope_of("user", "");
    MUST(pawl_batch_begin(s->store, &batch));
    MUST(put(batch, &scope, "n", "secret"));
    MUST(create(batch, "gone", brief));
    pawl_batch_rollback(batch);
    LACKS(s->store, &scope, "n");
    ANSWERS(PAWL_NOT_FOUND, there(s->store, brief));
}

/* Erasing a user's credentials is about credentials. */
static void delete_all_leaves_accounts(setup *s) {
    uint8_t id[ID];
    pawl_scope scope = scope_of("user", "");
    MUST(create(s->store, "user", id));
    MUST(put(s->store, &scope, "n", "secret"));
    uint64_t count = 0;
    MUST(pawl_credential_delete_all(s->store, &scope, PAWL_DELETE_ALL_PROJECTS, &count));
    CHECK(count == 1);
    OK(there(s->store, id));
}

/* ---------------------------------------------------------------- what is stored */

static size_t times_found(const uint8_t *bytes, size_t size, const void *piece, size_t piece_size) {
    size_t count = 0;
    for (const uint8_t *at = bytes; at != NULL; count++) {
        at = memmem(at, size - (size_t)(at - bytes), piece, piece_size);
        if (at == NULL) break;
        at++;
    }
    return count;
}

/* All that the storage engine holds: a closed file and what lies beside it, or a host's records. */
static uint8_t stored[4 << 20];
static size_t gather(setup *s) {
    size_t size = 0;
    const char *endings[] = {"", "-wal", "-shm"};
    for (int i = 0; s->engine == ENGINE_SQLITE && i < 3; i++) {
        char path[600];
        snprintf(path, sizeof path, "%s%s", s->path, endings[i]);
        FILE *f = fopen(path, "rb");
        NEED(f != NULL || i > 0);
        if (f == NULL) continue;
        size += fread(stored + size, 1, sizeof stored - size, f);
        fclose(f);
    }
    for (size_t i = 0; s->engine == ENGINE_HOST && i < s->storage.committed.count; i++) {
        const host_record *r = s->storage.committed.records[i];
        NEED(r->key_size + r->value_size <= sizeof stored - size);
        memcpy(stored + size, r->key, r->key_size);
        memcpy(stored + size + r->key_size, r->value, r->value_size);
        size += r->key_size + r->value_size;
    }
    NEED(size < sizeof stored);
    return size;
}

/* Neither name nor public keys are in the file; the random id is, so the search can find something. */
static void nothing_in_the_clear(setup *s) {
    uint8_t id[ID];
    row r;
    MUST(create(s->store, "a name that nobody else has", id));
    MUST(get(&r, s->store, id));
    pawl_store_close(s->store);
    s->store = NULL;
    size_t size = gather(s);
    CHECK(times_found(stored, size, id, ID) > 0);
    CHECK(times_found(stored, size, r.account.name, r.account.name_size) == 0);
    CHECK(times_found(stored, size, "nobody", 6) == 0);
    for (size_t at = 0; at + 8 <= KEY; at += 8) {
        CHECK(times_found(stored, size, r.account.signing_key + at, 8) == 0);
        CHECK(times_found(stored, size, r.account.agreement_key + at, 8) == 0);
    }
    pawl_view_close(r.view);
    setup_open(s);
    OK(there(s->store, id));
}

/* Of an SQLite file that no store has open: the sealed record, or 0 bytes. */
static size_t sealed_record(setup *s, const uint8_t id[ID], uint8_t *out, size_t room) {
    sqlite3 *db = NULL;
    sqlite3_stmt *query = NULL;
    uint8_t key[1 + ID] = {ACCOUNT_KIND};
    memcpy(key + 1, id, ID);
    NEED(sqlite3_open(s->path, &db) == SQLITE_OK);
    NEED(sqlite3_prepare_v2(db, "SELECT v FROM kv WHERE k = ?", -1, &query, NULL) == SQLITE_OK);
    sqlite3_bind_blob(query, 1, key, sizeof key, SQLITE_STATIC);
    size_t size = 0;
    if (sqlite3_step(query) == SQLITE_ROW) {
        size = (size_t)sqlite3_column_bytes(query, 0);
        NEED(size <= room);
        memcpy(out, sqlite3_column_blob(query, 0), size);
    }
    sqlite3_finalize(query);
    sqlite3_close(db);
    return size;
}

/* Not even sealed: a deleted account leaves no piece of its record in the file. */
static void delete_erases(setup *s) {
    uint8_t ids[3][ID], record[1024], other[1024];
    for (int i = 0; i < 3; i++) MUST(create(s->store, "somebody", ids[i]));
    pawl_store_close(s->store);
    size_t record_size = sealed_record(s, ids[1], record, sizeof record);
    size_t other_size = sealed_record(s, ids[0], other, sizeof other);
    NEED(record_size > 64 && other_size > 64);
    CHECK(times_found(stored, gather(s), record, record_size) == 1);
    setup_open(s);
    MUST(pawl_account_delete(s->store, ids[1]));
    pawl_store_close(s->store);
    s->store = NULL;
    size_t size = gather(s);
    for (size_t at = 0; at + 16 <= record_size; at++) CHECK(times_found(stored, size, record + at, 16) == 0);
    CHECK(times_found(stored, size, ids[1], ID) == 0);
    CHECK(times_found(stored, size, other, other_size) == 1);
    setup_open(s);
    CHECK(account_count(s->store) == 2);
}

/* ---------------------------------------------------------------- damage */

static host_record *record_of(setup *s, const uint8_t id[ID]) {
    uint8_t key[1 + ID] = {ACCOUNT_KIND};
    memcpy(key + 1, id, ID);
    int found;
    size_t at = host_find(&s->storage.committed, key, sizeof key, &found);
    NEED(found);
    return s->storage.committed.records[at];
}

/* The accounts that are damaged are these, for every call; the others are well. */
static void expect_damaged(setup *s, uint8_t ids[3][ID], const int damaged[3], const char *what, size_t at) {
    static roll r;
    call_roll(s->store, &r);
    size_t count = 0;
    for (int i = 0; i < 3; i++) {
        pawl_status status = there(s->store, ids[i]);
        CHECK_SAYING(PAWL_STATUS_PRIMARY(status) == (damaged[i] ? PAWL_CORRUPT : PAWL_OK),
                     "%s at %zu: get of %d answers %s", what, at, i, pawl_status_name(status));
        CHECK_SAYING(on_roll(&r, ids[i]) == !damaged[i], "%s at %zu: list errs about %d", what, at, i);
        count += damaged[i] != 0;
    }
    pawl_view *view = NULL;
    MUST(pawl_store_verify(s->store, &view));
    CHECK_SAYING(pawl_view_count(view) == count, "%s at %zu: verify names %zu", what, at, pawl_view_count(view));
    for (size_t i = 0; i < pawl_view_count(view); i++) {
        pawl_damage d = PAWL_INIT(pawl_damage);
        MUST(pawl_view_damage(view, i, &d));
        CHECK(PAWL_STATUS_PRIMARY(d.status) == PAWL_CORRUPT);
        int named = 0;
        for (int j = 0; j < 3; j++) {
            named |= damaged[j] && d.key_size == 1 + ID && d.key[0] == ACCOUNT_KIND &&
                     memcmp(d.key + 1, ids[j], ID) == 0;
        }
        CHECK_SAYING(named, "%s at %zu: verify names another record", what, at);
    }
    pawl_view_close(view);
}

/* A record that is damaged, cut, longer, or another's is CORRUPT, and costs that account alone. */
static void damaged_records(setup *s) {
    uint8_t ids[3][ID];
    const int none[3] = {0, 0, 0}, second[3] = {0, 1, 0}, first_two[3] = {1, 1, 0};
    for (int i = 0; i < 3; i++) MUST(create(s->store, "somebody", ids[i]));
    host_record *r = record_of(s, ids[1]), *other = record_of(s, ids[0]);
    expect_damaged(s, ids, none, "nothing", 0);
    for (size_t at = 0; at < r->value_size; at++) {
        uint8_t bit = (uint8_t)(1 << at % 8);
        r->value[at] ^= bit;
        expect_damaged(s, ids, second, "a flip", at);
        r->value[at] ^= bit;
    }
    size_t full = r->value_size;
    for (size_t size = 0; size < full; size += size < 48 ? 1 : 13) {
        r->value_size = size;
        expect_damaged(s, ids, second, "a cut", size);
    }
    r->value[full] = 0;
    r->value_size = full + 1; /* host_put leaves room for one more */
    expect_damaged(s, ids, second, "a longer record", full);
    r->value_size = full;
    expect_damaged(s, ids, none, "what was restored", 0);

    uint8_t *value = r->value;
    NEED(other->value_size == full); /* equal names, equal sizes */
    r->value = other->value;
    other->value = value;
    expect_damaged(s, ids, first_two, "a swap", 0);

    /* A record that cannot be read can still be erased. */
    MUST(pawl_account_delete(s->store, ids[0]));
    MUST(pawl_account_delete(s->store, ids[1]));
    ANSWERS(PAWL_NOT_FOUND, there(s->store, ids[0]));
    OK(there(s->store, ids[2]));
    CHECK(damage_count(s->store) == 0 && account_count(s->store) == 1);
}

/* The same in a file, and a page of the list that ends among damaged records does not end the list. */
static void damaged_file(setup *s) {
    uint8_t ids[3][ID], record[1024];
    static roll r;
    for (int i = 0; i < 3; i++) MUST(create(s->store, "somebody", ids[i]));
    call_roll(s->store, &r);
    memcpy(ids, r.ids, sizeof ids);
    pawl_store_close(s->store);
    size_t size = sealed_record(s, ids[1], record, sizeof record);
    NEED(size > 0);
    record[size / 2] ^= 1;
    sqlite3 *db = NULL;
    sqlite3_stmt *update = NULL;
    uint8_t key[1 + ID] = {ACCOUNT_KIND};
    memcpy(key + 1, ids[1], ID);
    NEED(sqlite3_open(s->path, &db) == SQLITE_OK);
    NEED(sqlite3_prepare_v2(db, "UPDATE kv SET v = ? WHERE k = ?", -1, &update, NULL) == SQLITE_OK);
    sqlite3_bind_blob(update, 1, record, (int)size, SQLITE_STATIC);
    sqlite3_bind_blob(update, 2, key, sizeof key, SQLITE_STATIC);
    NEED(sqlite3_step(update) == SQLITE_DONE && sqlite3_changes(db) == 1);
    sqlite3_finalize(update);
    sqlite3_close(db);
    setup_open(s);
    expect_damaged(s, ids, (const int[3]){0, 1, 0}, "a flip", size / 2);
    pawl_view *view = NULL;
    MUST(pawl_account_list(s->store, ids[0], 1, &view));
    pawl_account account = PAWL_INIT(pawl_account);
    if (OK(pawl_view_account(view, 0, &account))) CHECK(memcmp(account.id, ids[2], ID) == 0);
    pawl_view_close(view);
}

/* ---------------------------------------------------------------- crashes */

/* Every callback of a host's storage is made to fail in turn. Whatever the call answers, all accounts are as
 * before or as after, and which of the two the answer says. */
static uint8_t victim[ID];

static pawl_status op_create(pawl_store *store, uint8_t id[ID]) { return create(store, "new", id); }
static pawl_status op_delete(pawl_store *store, uint8_t id[ID]) {
    (void)id;
    return pawl_account_delete(store, victim);
}
static pawl_status op_batch(pawl_store *store, uint8_t id[ID]) {
    pawl_store *batch = NULL;
    pawl_status status = pawl_batch_begin(store, &batch);
    if (status != PAWL_OK) return status;
    if ((status = create(batch, "new", id)) == PAWL_OK &&
        (status = pawl_account_delete(batch, victim)) == PAWL_OK) {
        return pawl_batch_commit(batch);
    }
    pawl_batch_rollback(batch);
    return status;
}

static const struct operation {
    const char *name;
    pawl_status (*run)(pawl_store *store, uint8_t id[ID]);
    int adds, removes;
} operations[] = {{"create", op_create, 1, 0}, {"delete", op_delete, 0, 1}, {"batch", op_batch, 1, 1}};

static const struct fault_mode {
    const char *name;
    int from_then, after;
    pawl_status answer;
} modes[] = {
    {"fails", 0, 0, HOST_CODE},
    {"and all after it fail", 1, 0, HOST_CODE},
    {"acts and fails", 0, 1, HOST_CODE},
    {"is full", 0, 0, PAWL_STORE_FULL},
};

/* Whether the accounts are the old ones, with the operation's changes or without. */
static int is_as(const roll *now, const roll *old, const struct operation *o, int done) {
    size_t kept = 0;
    for (size_t i = 0; i < old->count; i++) {
        int is_victim = memcmp(old->ids[i], victim, ID) == 0, should = !(done && o->removes && is_victim);
        if (on_roll(now, old->ids[i]) != should) return 0;
        kept += (size_t)should;
    }
    return now->count == kept + (size_t)(done && o->adds);
}

static long sweep_one(setup *base, const struct operation *o, const struct fault_mode *mode, long k,
                      const roll *old, long *unknown) {
    static roll now;
    setup s;
    uint8_t id[ID] = {0};
    memset(&s, 0, sizeof s);
    s.engine = base->engine;
    s.has_vault = base->has_vault;
    s.now = base->now;
    host_storage_clone(&base->storage, &s.storage, &s.faults);
    s.vault = host_vault_clone(base->vault, &s.faults);
    setup_open(&s);
    faults_arm(&s.faults, k, mode->from_then, mode->after, mode->answer);
    pawl_status status = o->run(s.store, id), reason = PAWL_STATUS_REASON(status);
    long calls = s.faults.calls;
    CHECK((s.faults.hits > 0) == (k > 0));
    faults_arm(&s.faults, 0, 0, 0, 0);
    *unknown += reason == PAWL_STORE_INDETERMINATE;
    CHECK_SAYING(k == 0 ? status == PAWL_OK
                        : reason == PAWL_STORE_HOST || reason == PAWL_STORE_FULL ||
                              (reason == PAWL_STORE_INDETERMINATE && mode->after),
                 "%s, call %ld %s: answered %s", o->name, k, mode->name, pawl_status_name(status));
    CHECK(PAWL_STATUS_CODE(status) == (reason == PAWL_STORE_HOST ? HOST_CODE : 0));
    for (int pass = 0; pass < 2; pass++) { /* at once, and to a new process */
        call_roll(s.store, &now);
        int before = is_as(&now, old, o, 0), after = is_as(&now, old, o, 1);
        CHECK_SAYING(status == PAWL_OK ? after : reason == PAWL_STORE_INDETERMINATE ? before || after : before,
                     "%s, call %ld %s: answered %s, pass %d, but %zu accounts", o->name, k, mode->name,
                     pawl_status_name(status), pass, now.count);
        for (size_t i = 0; i < now.count; i++) OK(there(s.store, now.ids[i]));
        if (status == PAWL_OK && o->adds) CHECK(on_roll(&now, id));
        if (status != PAWL_OK && o->run == op_create) CHECK(memcmp(id, no_id, ID) == 0);
        CHECK(damage_count(s.store) == 0);
        setup_reopen(&s);
    }
    setup_end(&s);
    return calls;
}

static void failing_storage(setup *s) {
    static roll old;
    long trials = 0, unknown = 0;
    for (int i = 0; i < 3; i++) MUST(create(s->store, "somebody", victim));
    call_roll(s->store, &old);
    CHECK(old.count == 3);
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        long calls = sweep_one(s, operations + i, modes, 0, &old, &unknown);
        CHECK(calls >= 3); /* begin, the write, commit */
        for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
            for (long k = 1; k <= calls; k++, trials++) {
                sweep_one(s, operations + i, modes + m, k, &old, &unknown);
            }
        }
    }
    printf("  %s: %ld trials, %ld unknown\n", s->name, trials, unknown);
    CHECK(unknown == (long)(sizeof operations / sizeof *operations)); /* each one's commit that acts and fails */
}

/* Reading says that it failed, and how. */
static void failing_reads(setup *s) {
    uint8_t id[ID];
    pawl_view *view = NULL;
    MUST(create(s->store, "somebody", id));
    for (int list = 0; list < 2; list++) {
        faults_arm(&s->faults, 0, 0, 0, 0);
        if (list) MUST(pawl_account_list(s->store, NULL, 10, &view));
        else MUST(pawl_account_get(s->store, id, &view));
        pawl_view_close(view);
        long calls = s->faults.calls;
        CHECK(calls >= 2);
        int refused = 0;
        for (long k = 1; k <= calls; k++) {
            faults_arm(&s->faults, k, 0, 0, HOST_CODE);
            view = (pawl_view *)s;
            pawl_status status = list ? pawl_account_list(s->store, NULL, 10, &view)
                                      : pawl_account_get(s->store, id, &view);
            faults_arm(&s->faults, 0, 0, 0, 0);
            if (status != PAWL_OK) {
                refused++;
                ANSWERS(PAWL_STORE_HOST, status);
                CHECK(view == NULL && PAWL_STATUS_CODE(status) == HOST_CODE);
            } else {
                CHECK(pawl_view_count(view) == 1);
                pawl_view_close(view);
            }
        }
        CHECK(refused >= 2);
    }
    OK(there(s->store, id));
}

/* ---------------------------------------------------------------- safety numbers */

#define NUMBER_LENGTH (PAWL_SAFETY_NUMBER_SIZE - 1)

static pawl_identity identity_of(const pawl_account *account) {
    pawl_identity identity = PAWL_INIT(pawl_identity);
    memcpy(identity.signing_key, account->signing_key, KEY);
    memcpy(identity.agreement_key, account->agreement_key, KEY);
    identity.name = account->name;
    identity.name_size = account->name_size;
    return identity;
}

/* Keys need not be points to be compared. */
static pawl_identity some_identity(uint64_t seed, const char *name, size_t name_size) {
    pawl_identity identity = PAWL_INIT(pawl_identity);
    for (int i = 0; i < KEY; i++) {
        identity.signing_key[i] = (uint8_t)chance(&seed);
        identity.agreement_key[i] = (uint8_t)chance(&seed);
    }
    identity.name = name;
    identity.name_size = name_size;
    return identity;
}

static void number_of(const pawl_identity *a, const pawl_identity *b, char text[PAWL_SAFETY_NUMBER_SIZE]) {
    size_t size = 0;
    MUST(pawl_safety_number(a, b, text, PAWL_SAFETY_NUMBER_SIZE, &size));
    CHECK(size == NUMBER_LENGTH && text[size] == 0 && strlen(text) == size);
}

static void code_of(const pawl_identity *a, const pawl_identity *b, uint8_t code[PAWL_SAFETY_CODE_SIZE]) {
    size_t size = 0;
    MUST(pawl_safety_code(a, b, code, PAWL_SAFETY_CODE_SIZE, &size));
    CHECK(size == PAWL_SAFETY_CODE_SIZE && code[0] == 1);
}

static void hash_field(crypto_generichash_state *state, const void *bytes, size_t size) {
    uint8_t prefix[4];
    for (int i = 0; i < 4; i++) prefix[i] = (uint8_t)(size >> 8 * i);
    crypto_generichash_update(state, prefix, sizeof prefix);
    crypto_generichash_update(state, bytes, size);
}

/* The fingerprint of a side as it is specified, from nothing but BLAKE2b. */
static void fingerprint(const pawl_identity *side, uint8_t out[64]) {
    static const char label[] = "pawl/1 safety number";
    size_t size = 0;
    for (int round = 0; round < 5200; round++) {
        crypto_generichash_state state;
        crypto_generichash_init(&state, NULL, 0, 64);
        hash_field(&state, label, sizeof label - 1);
        hash_field(&state, "\x01", 1);
        hash_field(&state, out, size);
        hash_field(&state, side->signing_key, KEY);
        hash_field(&state, side->agreement_key, KEY);
        hash_field(&state, side->name, side->name_size);
        crypto_generichash_final(&state, out, size = 64);
    }
}

static void as_specified(void) {
    char long_name[255], number[PAWL_SAFETY_NUMBER_SIZE];
    memset(long_name, 'z', sizeof long_name);
    const struct {
        const char *name;
        size_t size;
    } names_[] = {{"Alice", 5}, {"Bob", 3}, {"a", 1}, {long_name, 255}, {"\xC3\x89ve", 4}, {"Alice", 5}};
    int orders[2] = {0, 0};
    for (uint64_t i = 0; i < 6; i++) {
        for (uint64_t j = i; j < 6; j++) {
            pawl_identity a = some_identity(i + 1, names_[i].name, names_[i].size);
            pawl_identity b = some_identity(j + 1, names_[j].name, names_[j].size);
            uint8_t sides[2][64], code[PAWL_SAFETY_CODE_SIZE], expected_code[PAWL_SAFETY_CODE_SIZE] = {1};
            fingerprint(&a, sides[0]);
            fingerprint(&b, sides[1]);
            int low = memcmp(sides[0], sides[1], 64) > 0;
            orders[low]++;
            memcpy(expected_code + 1, sides[low], 32);
            memcpy(expected_code + 33, sides[!low], 32);
            char expected[PAWL_SAFETY_NUMBER_SIZE + 1] = "";
            for (int group = 0; group < 12; group++) {
                const uint8_t *at = sides[group < 6 ? low : !low] + group % 6 * 5;
                uint64_t value = 0;
                for (int byte = 0; byte < 5; byte++) value = value * 256 + at[byte];
                sprintf(expected + strlen(expected), "%05u ", (unsigned)(value % 100000));
            }
            expected[NUMBER_LENGTH] = 0;
            code_of(&a, &b, code);
            CHECK(memcmp(code, expected_code, sizeof code) == 0);
            number_of(&a, &b, number);
            CHECK_SAYING(strcmp(number, expected) == 0, "%s, expected %s", number, expected);
        }
    }
    CHECK(orders[0] > 0 && orders[1] > 0);
}

/* Twelve groups of five digits, single spaces between them. */
static void well_formed(void) {
    char number[PAWL_SAFETY_NUMBER_SIZE];
    for (uint64_t seed = 1; seed <= 20; seed++) {
        pawl_identity a = some_identity(seed, "Alice", 5), b = some_identity(seed + 100, "Bob", 3);
        number_of(&a, &b, number);
        for (size_t i = 0; i < NUMBER_LENGTH; i++) {
            CHECK_SAYING(i % 6 == 5 ? number[i] == ' ' : number[i] >= '0' && number[i] <= '9', "%s", number);
        }
    }
}

/* Both people see the same, each from the own account and what the other sent. */
static void symmetric(setup *s) {
    row a, b;
    uint8_t ids[2][ID], codes[2][PAWL_SAFETY_CODE_SIZE];
    char numbers[2][PAWL_SAFETY_NUMBER_SIZE];
    MUST(create(s->store, "Alice", ids[0]));
    MUST(create(s->store, "Bob", ids[1]));
    MUST(get(&a, s->store, ids[0]));
    MUST(get(&b, s->store, ids[1]));
    pawl_identity alice = identity_of(&a.account), bob = identity_of(&b.account);
    number_of(&alice, &bob, numbers[0]);
    number_of(&bob, &alice, numbers[1]);
    CHECK(strcmp(numbers[0], numbers[1]) == 0);
    code_of(&alice, &bob, codes[0]);
    code_of(&bob, &alice, codes[1]);
    CHECK(memcmp(codes[0], codes[1], sizeof codes[0]) == 0);
    pawl_view_close(a.view);
    pawl_view_close(b.view);
}

/* Another code and number for every bit of every key, for the keys exchanged, and for every byte of a name. */
static void changes_with_everything(void) {
    enum { ROUNDS = 4 * 8 * KEY + 8 };
    static uint8_t codes[ROUNDS][PAWL_SAFETY_CODE_SIZE];
    static char numbers[ROUNDS][PAWL_SAFETY_NUMBER_SIZE];
    pawl_identity sides[2] = {some_identity(11, "Alice", 5), some_identity(12, "Bob", 3)};
    /* The name and the keys must not run into one another either. */
    const char *other_names[] = {"Alicf", "alice", "Alic", "Alicee", "Alice ", "\xC3\x81lice"};
    int count = 0;
    for (int side = 0; side < 2; side++) {
        for (int bit = 0; bit < 2 * 8 * KEY; bit++) {
            pawl_identity changed[2] = {sides[0], sides[1]};
            uint8_t *key = bit < 8 * KEY ? changed[side].signing_key : changed[side].agreement_key;
            key[bit / 8 % KEY] ^= (uint8_t)(1 << bit % 8);
            code_of(changed, changed + 1, codes[count]);
            if (bit % 16 == 5) number_of(changed, changed + 1, numbers[count]);
            count++;
        }
    }
    for (int i = 0; i < 6; i++, count++) {
        pawl_identity changed = sides[0];
        changed.name = other_names[i];
        changed.name_size = strlen(other_names[i]);
        code_of(&changed, sides + 1, codes[count]);
        number_of(&changed, sides + 1, numbers[count]);
    }
    pawl_identity exchanged = sides[0];
    memcpy(exchanged.signing_key, sides[0].agreement_key, KEY);
    memcpy(exchanged.agreement_key, sides[0].signing_key, KEY);
    code_of(&exchanged, sides + 1, codes[count]);
    number_of(&exchanged, sides + 1, numbers[count++]);
    code_of(sides, sides + 1, codes[count]);
    number_of(sides, sides + 1, numbers[count++]);
    CHECK(count == ROUNDS);
    for (int i = 0; i < count; i++) {
        for (int j = 0; j < i; j++) {
            CHECK_SAYING(memcmp(codes[i], codes[j], sizeof codes[i]) != 0, "codes %d and %d are equal", i, j);
            CHECK_SAYING(numbers[i][0] == 0 || strcmp(numbers[i], numbers[j]) != 0, "numbers %d and %d are equal",
                         i, j);
        }
    }
}

static void room_for_the_answer(void) {
    pawl_identity a = some_identity(1, "Alice", 5), b = some_identity(2, "Bob", 3);
    char text[PAWL_SAFETY_NUMBER_SIZE + 8];
    uint8_t code[PAWL_SAFETY_CODE_SIZE + 8];
    const size_t less[] = {0, 1, PAWL_SAFETY_CODE_SIZE - 1, PAWL_SAFETY_NUMBER_SIZE - 1};
    for (int i = 0; i < 4; i++) {
        size_t length = 7;
        memset(text, 'x', sizeof text);
        ANSWERS(PAWL_BUFFER, pawl_safety_number(&a, &b, less[i] == 0 ? NULL : text, less[i], &length));
        CHECK(length == PAWL_SAFETY_NUMBER_SIZE && text[less[i]] == 'x');
        if (i == 3) continue;
        length = 7;
        memset(code, 'x', sizeof code);
        ANSWERS(PAWL_BUFFER, pawl_safety_code(&a, &b, less[i] == 0 ? NULL : code, less[i], &length));
        CHECK(length == PAWL_SAFETY_CODE_SIZE && code[less[i]] == 'x');
    }
    for (size_t more = 0; more < 8; more += 7) {
        size_t length = 7;
        memset(text, 'x', sizeof text);
        MUST(pawl_safety_number(&a, &b, text, PAWL_SAFETY_NUMBER_SIZE + more, &length));
        CHECK(length == NUMBER_LENGTH && text[length] == 0 && text[length + 1] == 'x');
        memset(code, 'x', sizeof code);
        MUST(pawl_safety_code(&a, &b, code, PAWL_SAFETY_CODE_SIZE + more, &length));
        CHECK(length == PAWL_SAFETY_CODE_SIZE && code[length] == 'x');
    }
}

int main(void) {
    if (sodium_init() < 0) return 1;
    test_path("");
    RUN_EACH(create_and_get);
    RUN_EACH(names);
    RUN_EACH(unknown_ids);
    RUN_EACH(list_in_pages);
    RUN_EACH(batches);
    RUN_EACH(delete_all_leaves_accounts);
    RUN_ON(ENGINE_SQLITE, nothing_in_the_clear);
    RUN_ON(ENGINE_HOST, nothing_in_the_clear);
    RUN_ON(ENGINE_SQLITE, delete_erases);
    RUN_ON(ENGINE_HOST, damaged_records);
    RUN_ON(ENGINE_SQLITE, damaged_file);
    RUN_ON(ENGINE_HOST, failing_storage);
    RUN_ON(ENGINE_HOST, failing_reads);
    RUN_EACH(symmetric);
    RUN(as_specified);
    RUN(well_formed);
    RUN(changes_with_everything);
    RUN(room_for_the_answer);
    FINISH;
}
