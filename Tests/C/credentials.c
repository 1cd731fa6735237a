/* What the header says of credentials, scopes, versions, expiry and batches, on every engine and with
 * secrets in the store or in a host's vault. */
#include "setups.h"

#define MINUTE (60 * SECOND)

/* One row, opened and closed by the pair. */
typedef struct row {
    pawl_view *view;
    pawl_credential c;
} row;

static pawl_status row_get(row *r, pawl_store *store, const pawl_scope *scope, const char *name, int secret) {
    r->view = NULL;
    r->c = (pawl_credential)PAWL_INIT(pawl_credential);
    pawl_status status = secret ? pawl_credential_get(store, scope, name, strlen(name), &r->view)
                                : pawl_credential_metadata(store, scope, name, strlen(name), &r->view);
    if (status != PAWL_OK) return status;
    CHECK(pawl_view_count(r->view) == 1);
    return pawl_view_credential(r->view, 0, &r->c);
}

static int is(const void *bytes, size_t size, const char *text) {
    return size == strlen(text) && memcmp(bytes, text, size) == 0;
}

static uint64_t version_of(pawl_store *store, const pawl_scope *scope, const char *name) {
    row r;
    MUST(row_get(&r, store, scope, name, 0));
    pawl_view_close(r.view);
    return r.c.version;
}

static pawl_status put_with(pawl_store *store, const pawl_scope *scope, const char *name, const char *secret,
                            const pawl_put_options *options) {
    return pawl_credential_put(store, scope, name, strlen(name), secret, strlen(secret), options, NULL);
}

static pawl_status restore(pawl_store *store, const pawl_scope *scope, const char *name, uint64_t version) {
    return pawl_credential_restore(store, scope, name, strlen(name), version);
}

static int32_t has(pawl_store *store, const pawl_scope *scope, const char *name) {
    int32_t answer = -1;
    MUST(pawl_credential_has(store, scope, name, strlen(name), &answer));
    return answer;
}

/* ---------------------------------------------------------------- put and get */

static void put_and_get(setup *s) {
    pawl_scope scope = scope_of("user", "project");
    const pawl_attribute attributes[] = {{"environment", 11, "production", 10}, {"empty", 5, NULL, 0},
                                         {"\xC3\xA9", 2, "\xE2\x82\xAC", 3}};
    pawl_put_options options = PAWL_INIT(pawl_put_options);
    options.flags = PAWL_PUT_SET_LABEL | PAWL_PUT_SET_PROVIDER | PAWL_PUT_SET_ATTRIBUTES | PAWL_PUT_SET_EXPIRY;
    options.label = "a label";
    options.label_size = 7;
    options.provider = "github";
    options.provider_size = 6;
    options.attributes = attributes;
    options.attribute_count = 3;
    options.expires_ns = s->now + MINUTE;
    int64_t created = s->now;
    uint64_t version = 0;
    MUST(pawl_credential_put(s->store, &scope, "token", 5, "se\0cret", 7, &options, &version));
    CHECK(version > 0);
    CHECK(has(s->store, &scope, "token") == 1);
    CHECK(has(s->store, &scope, "Token") == 0);
    for (int pass = 0; pass < 2; pass++) {
        row r;
        MUST(row_get(&r, s->store, &scope, "token", 1));
        CHECK(r.c.secret_size == 7 && memcmp(r.c.secret, "se\0cret", 7) == 0);
        CHECK(r.c.version == version && r.c.created_ns == created && r.c.updated_ns == created);
        CHECK(r.c.expires_ns == created + MINUTE && r.c.purge_ns == PAWL_NEVER);
        CHECK(is(r.c.name, r.c.name_size, "token"));
        CHECK(is(r.c.label, r.c.label_size, "a label"));
        CHECK(is(r.c.provider, r.c.provider_size, "github"));
        CHECK(r.c.flags == (s->has_vault ? PAWL_CREDENTIAL_IN_VAULT : 0u));
        CHECK(r.c.attribute_count == 3);
        size_t seen = 0;
        for (size_t i = 0; i < r.c.attribute_count; i++) {
            pawl_attribute a;
            MUST(pawl_view_attribute(r.view, 0, i, &a));
            for (size_t j = 0; j < 3; j++) {
                if (a.key_size != attributes[j].key_size || memcmp(a.key, attributes[j].key, a.key_size) != 0)
                    continue;
                seen |= (size_t)1 << j;
                CHECK(a.value_size == attributes[j].value_size);
                CHECK(a.value_size == 0 || memcmp(a.value, attributes[j].value, a.value_size) == 0);
            }
        }
        CHECK(seen == 7);
        pawl_view_close(r.view);
        long asked = s->vault->gets;
        MUST(row_get(&r, s->store, &scope, "token", 0));
        CHECK(r.c.secret == NULL && r.c.secret_size == 7 && r.c.version == version);
        pawl_view_close(r.view);
        CHECK(s->vault->gets == asked);
        setup_reopen(s);
    }
}

static void update_keeps_what_no_flag_names(setup *s) {
    pawl_scope scope = scope_of("user", "");
    const pawl_attribute attribute = {"k", 1, "v", 1};
    pawl_put_options options = PAWL_INIT(pawl_put_options);
    options.flags = PAWL_PUT_SET_LABEL | PAWL_PUT_SET_PROVIDER | PAWL_PUT_SET_ATTRIBUTES | PAWL_PUT_SET_EXPIRY;
    options.label = options.provider = "x";
    options.label_size = options.provider_size = 1;
    options.attributes = &attribute;
    options.attribute_count = 1;
    options.expires_ns = s->now + MINUTE;
    int64_t created = s->now;
    MUST(put_with(s->store, &scope, "n", "one", &options));
    s->now += SECOND;
    row r;
    MUST(put(s->store, &scope, "n", "two"));
    MUST(row_get(&r, s->store, &scope, "n", 1));
    CHECK(is(r.c.secret, r.c.secret_size, "two") && is(r.c.label, r.c.label_size, "x"));
    CHECK(is(r.c.provider, r.c.provider_size, "x") && r.c.attribute_count == 1);
    CHECK(r.c.expires_ns == created + MINUTE && r.c.created_ns == created && r.c.updated_ns == created + SECOND);
    pawl_view_close(r.view);

    pawl_put_options clear = PAWL_INIT(pawl_put_options);
    clear.flags = PAWL_PUT_SET_LABEL | PAWL_PUT_SET_ATTRIBUTES | PAWL_PUT_CLEAR_EXPIRY;
    MUST(put_with(s->store, &scope, "n", "three", &clear));
    MUST(row_get(&r, s->store, &scope, "n", 1));
    CHECK(r.c.label_size == 0 && r.c.attribute_count == 0 && r.c.expires_ns == PAWL_NEVER);
    CHECK(is(r.c.provider, r.c.provider_size, "x"));
    pawl_view_close(r.view);
}

static void conditions(setup *s) {
    pawl_scope scope = scope_of("user", "p");
    pawl_put_options create = PAWL_INIT(pawl_put_options), swap = PAWL_INIT(pawl_put_options);
    create.flags = PAWL_PUT_CREATE_ONLY;
    swap.flags = PAWL_PUT_IF_VERSION;
    swap.if_version = 1;
    ANSWERS(PAWL_NOT_FOUND, put_with(s->store, &scope, "n", "x", &swap));
    MUST(put_with(s->store, &scope, "n", "one", &create));
    ANSWERS(PAWL_EXISTS, put_with(s->store, &scope, "n", "x", &create));
    uint64_t first = version_of(s->store, &scope, "n");
    swap.if_version = first;
    MUST(put_with(s->store, &scope, "n", "two", &swap));
    ANSWERS(PAWL_STATE_CONFLICT, put_with(s->store, &scope, "n", "x", &swap));
    swap.if_version = first + 1000;
    ANSWERS(PAWL_STATE_CONFLICT, put_with(s->store, &scope, "n", "x", &swap));
    HOLDS(s->store, &scope, "n", "two");
    MUST(delete_now(s->store, &scope, "n"));
    ANSWERS(PAWL_NOT_FOUND, delete_now(s->store, &scope, "n"));
    CHECK(s->has_vault == 0 || s->vault->count == 0);
}

static void versions_only_grow(setup *s) {
    pawl_scope scope = scope_of("user", "p"), other = scope_of("other", "");
    uint64_t last = 0;
    for (int i = 0; i < 20; i++) {
        const char *names[] = {"a", "b", "c"};
        const char *name = names[i % 3];
        uint64_t version = 0;
        MUST(pawl_credential_put(s->store, i % 5 == 0 ? &other : &scope, name, 1, "x", 1, NULL, &version));
        CHECK(version > last);
        last = version;
        if (i % 4 == 0) MUST(delete_now(s->store, i % 5 == 0 ? &other : &scope, name));
        if (i % 7 == 0) MUST(pawl_credential_delete_all(s->store, &scope, 0, NULL));
        if (i % 6 == 0) setup_reopen(s);
        s->now -= MINUTE; /* time has no part in it */
    }
}

static void sizes(setup *s) {
    pawl_scope scope = scope_of("user", "p");
    size_t list[] = {0, 1, 4095, 4096, 4097, 60000, 2, 65536, PAWL_SECRET_SIZE_MAX};
    uint8_t *bytes = malloc(PAWL_SECRET_SIZE_MAX);
    NEED(bytes != NULL);
    uint64_t seed = 88172645463325252u;
    for (size_t i = 0; i < PAWL_SECRET_SIZE_MAX; i++) bytes[i] = (uint8_t)chance(&seed);
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        if (s->has_vault && list[i] > 65536) continue; /* this test's vault is smaller */
        MUST(pawl_credential_put(s->store, &scope, "n", 1, bytes + i % 7, list[i] < 8 ? list[i] : list[i] - i % 7,
                                 NULL, NULL));
        row r;
        MUST(row_get(&r, s->store, &scope, "n", 1));
        CHECK(r.c.secret_size == (list[i] < 8 ? list[i] : list[i] - i % 7));
        CHECK(r.c.secret_size == 0 || memcmp(r.c.secret, bytes + i % 7, r.c.secret_size) == 0);
        pawl_view_close(r.view);
    }
    CHECK(damage_count(s->store) == 0);
    CHECK(!s->has_vault || s->vault->count == 1);
    free(bytes);
}

static void names_of_any_kind(setup *s) {
    pawl_scope scope = scope_of("user", "p");
    const char *names[] = {" ", "a b", "../../etc/passwd", "\xF0\x9F\x94\x91", "e\xCC\x81", "\xC3\xA9", "a", "A",
                           "a ", "%s%n", "'; DROP TABLE kv; --", "\x01\x7F", "\xEF\xBF\xBF", "\xF4\x8F\xBF\xBF"};
    const size_t count = sizeof names / sizeof *names;
    for (size_t i = 0; i < count; i++) MUST(put(s->store, &scope, names[i], names[count - 1 - i]));
    for (size_t i = 0; i < count; i++) HOLDS(s->store, &scope, names[i], names[count - 1 - i]);
    CHECK(list_count(s->store, &scope) == count);
}

/* ---------------------------------------------------------------- time */

static void expiry(setup *s) {
    pawl_scope scope = scope_of("user", "p");
    pawl_put_options options = PAWL_INIT(pawl_put_options);
    options.flags = PAWL_PUT_SET_EXPIRY;
    options.expires_ns = s->now;
    ANSWERS(PAWL_TIME, put_with(s->store, &scope, "n", "x", &options));
    options.expires_ns = s->now - 1;
    ANSWERS(PAWL_TIME, put_with(s->store, &scope, "n", "x", &options));
    LACKS(s->store, &scope, "n");
    int64_t end = options.expires_ns = s->now + MINUTE;
    const char *names[] = {"get", "has", "metadata", "list", "delete", "put"};
    for (int i = 0; i < 6; i++) MUST(put_with(s->store, &scope, names[i], "x", &options));
    MUST(put(s->store, &scope, "stays", "x"));
    s->now = end - 1;
    CHECK(list_count(s->store, &scope) == 7);
    for (int i = 0; i < 6; i++) HOLDS(s->store, &scope, names[i], "x");
    s->now = end;
    row r;
    LACKS(s->store, &scope, "get");
    CHECK(has(s->store, &scope, "has") == 0);
    ANSWERS(PAWL_NOT_FOUND, row_get(&r, s->store, &scope, "metadata", 0));
    CHECK(list_count(s->store, &scope) == 1);
    ANSWERS(PAWL_NOT_FOUND, delete_now(s->store, &scope, "delete"));
    pawl_put_options create = PAWL_INIT(pawl_put_options);
    create.flags = PAWL_PUT_CREATE_ONLY;
    MUST(put_with(s->store, &scope, "put", "new", &create)); /* an expired one counts as absent, */
    MUST(row_get(&r, s->store, &scope, "put", 1));
    CHECK(r.c.expires_ns == PAWL_NEVER && r.c.created_ns == end); /* its expiry too */
    pawl_view_close(r.view);
    s->now = end - MINUTE; /* a step back brings none of them back */
    for (int i = 0; i < 5; i++) LACKS(s->store, &scope, names[i]);
    setup_reopen(s);
    for (int i = 0; i < 5; i++) CHECK(has(s->store, &scope, names[i]) == 0);
    HOLDS(s->store, &scope, "put", "new");
    HOLDS(s->store, &scope, "stays", "x");
    CHECK(list_count(s->store, &scope) == 2);
    CHECK(damage_count(s->store) == 0);
}

/* Deleted versions of a name as text: their versions, oldest first. */
static size_t deleted(pawl_store *store, const pawl_scope *scope, const char *name, uint64_t *versions,
                      int64_t *purges, size_t room) {
    pawl_view *view = NULL;
    MUST(pawl_credential_deleted(store, scope, name, strlen(name), &view));
    size_t count = pawl_view_count(view);
    for (size_t i = 0; i < count && i < room; i++) {
        pawl_credential c = PAWL_INIT(pawl_credential);
        MUST(pawl_view_credential(view, i, &c));
        CHECK(c.flags & PAWL_CREDENTIAL_DELETED);
        CHECK(c.secret == NULL && is(c.name, c.name_size, name));
        versions[i] = c.version;
        purges[i] = c.purge_ns;
    }
    pawl_view_close(view);
    return count;
}

static void delete_and_restore(setup *s) {
    pawl_scope scope = scope_of("user", "p");
    const char *secrets[] = {"one", "two", "three"};
    uint64_t put_versions[3], versions[4];
    int64_t purges[4], start = s->now;
    for (int i = 0; i < 3; i++) {
        MUST(pawl_credential_put(s->store, &scope, "n", 1, secrets[i], strlen(secrets[i]), NULL, put_versions + i));
        MUST(pawl_credential_delete(s->store, &scope, "n", 1, (i + 1) * MINUTE));
        LACKS(s->store, &scope, "n");
        CHECK(list_count(s->store, &scope) == 0);
    }
    ANSWERS(PAWL_NOT_FOUND, pawl_credential_delete(s->store, &scope, "n", 1, MINUTE));
    CHECK(deleted(s->store, &scope, "n", versions, purges, 4) == 3);
    for (int i = 0; i < 3; i++) CHECK(versions[i] == put_versions[i] && purges[i] == start + (i + 1) * MINUTE);
    CHECK(deleted(s->store, &scope, "m", versions, purges, 4) == 0);
    setup_reopen(s);

    MUST(restore(s->store, &scope, "n", 0)); /* the newest */
    HOLDS(s->store, &scope, "n", "three");
    ANSWERS(PAWL_EXISTS, restore(s->store, &scope, "n", put_versions[0]));
    CHECK(deleted(s->store, &scope, "n", versions, purges, 4) == 2);
    MUST(delete_now(s->store, &scope, "n"));
    ANSWERS(PAWL_NOT_FOUND, restore(s->store, &scope, "n", put_versions[2]));
    MUST(restore(s->store, &scope, "n", put_versions[0]));
    HOLDS(s->store, &scope, "n", "one");
    uint64_t later = 0;
    MUST(pawl_credential_put(s->store, &scope, "n", 1, "four", 4, NULL, &later));
    CHECK(later > put_versions[2]);
    MUST(delete_now(s->store, &scope, "n"));

    s->now = start + 2 * MINUTE - 1;
    CHECK(deleted(s->store, &scope, "n", versions, purges, 4) == 1 && versions[0] == put_versions[1]);
    s->now = start + 2 * MINUTE;
    CHECK(deleted(s->store, &scope, "n", versions, purges, 4) == 0);
    ANSWERS(PAWL_NOT_FOUND, restore(s->store, &scope, "n", put_versions[1]));
    ANSWERS(PAWL_NOT_FOUND, restore(s->store, &scope, "n", 0));
    s->now = start;
    ANSWERS(PAWL_NOT_FOUND, restore(s->store, &scope, "n", 0)); /* purged by the call that met it */
    CHECK(!s->has_vault || s->vault->count == 0);
    CHECK(damage_count(s->store) == 0);
}

static void restore_keeps_metadata(setup *s) {
    pawl_scope scope = scope_of("user", "p");
    pawl_put_options options = PAWL_INIT(pawl_put_options);
    options.flags = PAWL_PUT_SET_LABEL;
    options.label = "label";
    options.label_size = 5;
    int64_t created = s->now;
    MUST(put_with(s->store, &scope, "n", "secret", &options));
    s->now += SECOND;
    MUST(pawl_credential_delete(s->store, &scope, "n", 1, MINUTE));
    MUST(restore(s->store, &scope, "n", 0));
    row r;
    MUST(row_get(&r, s->store, &scope, "n", 1));
    CHECK(is(r.c.label, r.c.label_size, "label") && is(r.c.secret, r.c.secret_size, "secret"));
    CHECK(r.c.created_ns == created && r.c.purge_ns == PAWL_NEVER && !(r.c.flags & PAWL_CREDENTIAL_DELETED));
    pawl_view_close(r.view);
}

/* ---------------------------------------------------------------- scopes, lists, delete_all */

static void scopes_are_apart(setup *s) {
    const char *pairs[][2] = {{"ab", "c"}, {"a", "bc"}, {"abc", ""}, {"ab", ""}, {"ab", "d"}, {"AB", "c"}};
    pawl_scope scopes[6];
    for (int i = 0; i < 6; i++) {
        char secret[8];
        snprintf(secret, sizeof secret, "%d", i);
        scopes[i] = scope_of(pairs[i][0], pairs[i][1]);
        for (int j = i; j < 6; j++) {
            pawl_scope later = scope_of(pairs[j][0], pairs[j][1]);
            LACKS(s->store, &later, "n");
        }
        MUST(put(s->store, scopes + i, "n", secret));
    }
    for (int i = 0; i < 6; i++) {
        char secret[8];
        snprintf(secret, sizeof secret, "%d", i);
        HOLDS(s->store, scopes + i, "n", secret);
        CHECK(list_count(s->store, scopes + i) == 1);
    }
    uint64_t count = 9;
    MUST(pawl_credential_delete_all(s->store, scopes + 3, 0, &count)); /* user "ab", the empty project alone */
    CHECK(count == 1);
    LACKS(s->store, scopes + 3, "n");
    HOLDS(s->store, scopes + 0, "n", "0");
    MUST(put(s->store, scopes + 3, "n", "3"));
    MUST(pawl_credential_delete_all(s->store, scopes + 3, PAWL_DELETE_ALL_PROJECTS, &count));
    CHECK(count == 3);
    for (int i = 0; i < 6; i++) CHECK(has(s->store, scopes + i, "n") == (i == 1 || i == 2 || i == 5));
    CHECK(!s->has_vault || s->vault->count == 3);
}

static void list_in_pages(setup *s) {
    enum { COUNT = 50 };
    pawl_scope scope = scope_of("user", "p"), other = scope_of("user", "q");
    for (int i = 0; i < COUNT; i++) {
        char name[16];
        snprintf(name, sizeof name, "name-%d", i);
        MUST(put(s->store, &scope, name, "12345"));
        MUST(put(s->store, &other, name, "other"));
    }
    for (size_t limit = 1; limit <= COUNT + 1; limit += limit < 8 ? 3 : 22) {
        int seen[COUNT] = {0};
        char after[64] = "";
        for (;;) {
            pawl_view *view = NULL;
            MUST(pawl_credential_list(s->store, &scope, after, strlen(after), limit, &view));
            size_t count = pawl_view_count(view);
            CHECK(count <= limit);
            for (size_t i = 0; i < count; i++) {
                pawl_credential c = PAWL_INIT(pawl_credential);
                MUST(pawl_view_credential(view, i, &c));
                CHECK(c.secret == NULL && c.secret_size == 5);
                snprintf(after, sizeof after, "%.*s", (int)c.name_size, (const char *)c.name);
                int number = -1;
                CHECK(sscanf(after, "name-%d", &number) == 1);
                if (number >= 0 && number < COUNT) seen[number]++;
            }
            pawl_view_close(view);
            if (count < limit) break;
            if (limit == 4) MUST(delete_now(s->store, &scope, after)); /* the cursor need not exist */
        }
        for (int i = 0; i < COUNT; i++) CHECK(seen[i] == 1);
        if (limit == 4) {
            for (int i = 0; i < COUNT; i++) {
                char name[16];
                snprintf(name, sizeof name, "name-%d", i);
                MUST(put(s->store, &scope, name, "12345"));
            }
        }
    }
}

static void delete_all_takes_everything(setup *s) {
    pawl_scope scope = scope_of("user", "p"), other = scope_of("user2", "p");
    char large[5000];
    memset(large, 'x', sizeof large);
    for (int i = 0; i < 30; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        MUST(pawl_credential_put(s->store, &scope, name, strlen(name), large, i % 2 == 0 ? 5 : sizeof large, NULL,
                                 NULL));
        if (i % 3 == 0) MUST(pawl_credential_delete(s->store, &scope, name, strlen(name), MINUTE));
    }
    MUST(put(s->store, &other, "n", "stays"));
    uint64_t count = 0;
    MUST(pawl_credential_delete_all(s->store, &scope, 0, &count));
    CHECK(count == 20);
    CHECK(list_count(s->store, &scope) == 0);
    uint64_t versions[1];
    int64_t purges[1];
    CHECK(deleted(s->store, &scope, "0", versions, purges, 1) == 0);
    ANSWERS(PAWL_NOT_FOUND, restore(s->store, &scope, "0", 0));
    HOLDS(s->store, &other, "n", "stays");
    CHECK(!s->has_vault || s->vault->count == 1);
    MUST(pawl_credential_delete_all(s->store, &scope, 0, &count));
    CHECK(count == 0);
    CHECK(damage_count(s->store) == 0);
}

/* ---------------------------------------------------------------- batches and views */

static void batches(setup *s) {
    pawl_scope scope = scope_of("user", "p");
    pawl_store *batch = NULL;
    MUST(put(s->store, &scope, "old", "1"));
    MUST(pawl_batch_begin(s->store, &batch));
    if (s->has_vault) {
        /* What a vault holds cannot join a transaction; what needs no vault can be asked. */
        ANSWERS(PAWL_STATE_BATCH, put(batch, &scope, "new", "2"));
        ANSWERS(PAWL_STATE_BATCH, get_is(batch, &scope, "old", NULL, NULL));
        ANSWERS(PAWL_STATE_BATCH, delete_now(batch, &scope, "old"));
        CHECK(has(batch, &scope, "old") == 1 && list_count(batch, &scope) == 1);
        pawl_batch_rollback(batch);
        HOLDS(s->store, &scope, "old", "1");
        return;
    }
    MUST(put(batch, &scope, "new", "2"));
    MUST(put(batch, &scope, "old", "3"));
    HOLDS(batch, &scope, "new", "2"); /* sees its own writes, */
    HOLDS(batch, &scope, "old", "3");
    HOLDS(s->store, &scope, "old", "1"); /* which nobody else does */
    LACKS(s->store, &scope, "new");
    pawl_put_options create = PAWL_INIT(pawl_put_options);
    create.flags = PAWL_PUT_CREATE_ONLY;
    ANSWERS(PAWL_EXISTS, put_with(batch, &scope, "old", "x", &create)); /* a refusal costs itself alone */
    ANSWERS(PAWL_NOT_FOUND, delete_now(batch, &scope, "none"));
    MUST(pawl_batch_commit(batch));
    HOLDS(s->store, &scope, "new", "2");
    HOLDS(s->store, &scope, "old", "3");

    MUST(pawl_batch_begin(s->store, &batch));
    MUST(delete_now(batch, &scope, "new"));
    uint64_t count = 0;
    MUST(pawl_credential_delete_all(batch, &scope, 0, &count));
    CHECK(count == 1 && list_count(batch, &scope) == 0);
    pawl_batch_rollback(batch);
    CHECK(list_count(s->store, &scope) == 2);

    uint64_t rolled_back = 0, next = 0;
    MUST(pawl_batch_begin(s->store, &batch));
    MUST(pawl_credential_put(batch, &scope, "x", 1, "x", 1, NULL, &rolled_back));
    pawl_batch_rollback(batch);
    MUST(pawl_credential_put(s->store, &scope, "x", 1, "y", 1, NULL, &next));
    HOLDS(s->store, &scope, "x", "y");
    setup_reopen(s);
    HOLDS(s->store, &scope, "x", "y");
    HOLDS(s->store, &scope, "old", "3");
}

static void views_do_not_change(setup *s) {
    pawl_scope scope = scope_of("user", "p");
    MUST(put(s->store, &scope, "n", "before"));
    row r;
    MUST(row_get(&r, s->store, &scope, "n", 1));
    MUST(put(s->store, &scope, "n", "after!"));
    MUST(delete_now(s->store, &scope, "n"));
    pawl_store_close(s->store);
    pawl_credential c = PAWL_INIT(pawl_credential);
    MUST(pawl_view_credential(r.view, 0, &c));
    CHECK(is(c.secret, c.secret_size, "before"));
    pawl_view_close(r.view);
    setup_open(s);
}

static void statistics(setup *s) {
    pawl_scope scope = scope_of("user", "p");
    pawl_stats before = PAWL_INIT(pawl_stats), after = PAWL_INIT(pawl_stats);
    MUST(pawl_store_stats(s->store, &before));
    MUST(put(s->store, &scope, "n", "x"));
    MUST(pawl_store_stats(s->store, &after));
    CHECK(after.commits >= before.commits + 1 && after.transactions > before.transactions);
    CHECK(after.writes > before.writes);
    CHECK((after.vault_calls > before.vault_calls) == s->has_vault);
    before = after;
    HOLDS(s->store, &scope, "n", "x");
    MUST(pawl_store_stats(s->store, &after));
    CHECK(after.reads > before.reads && after.writes == before.writes && after.commits == before.commits);
    before = after;
    CHECK(list_count(s->store, &scope) == 1);
    MUST(pawl_store_stats(s->store, &after));
    CHECK(after.scanned > before.scanned);
}

/* Without its vault a store still says what it has, but not the secrets. */
static void without_its_vault(setup *s) {
    if (!s->has_vault || s->engine == ENGINE_MEMORY) return;
    pawl_scope scope = scope_of("user", "p");
    MUST(put(s->store, &scope, "n", "in vault"));
    pawl_store_close(s->store);
    s->has_vault = 0;
    setup_open(s);
    CHECK(has(s->store, &scope, "n") == 1);
    ANSWERS(PAWL_STATE_NO_VAULT, get_is(s->store, &scope, "n", NULL, NULL));
    MUST(put(s->store, &scope, "m", "in store"));
    pawl_store_close(s->store);
    s->has_vault = 1;
    setup_open(s);
    HOLDS(s->store, &scope, "n", "in vault");
    HOLDS(s->store, &scope, "m", "in store");
    /* What a vault lost, or another put there, is said and costs that record only. */
    CHECK(s->vault->count == 1);
    s->vault->items[0].value[s->vault->items[0].size / 2] ^= 1;
    ANSWERS(PAWL_CORRUPT, get_is(s->store, &scope, "n", NULL, NULL));
    s->vault->items[0].value[s->vault->items[0].size / 2] ^= 1;
    s->vault->refuse_all = 1;
    pawl_status status = get_is(s->store, &scope, "n", NULL, NULL);
    ANSWERS(PAWL_STORE_VAULT, status);
    CHECK(PAWL_STATUS_CODE(status) == HOST_CODE + 1);
    s->vault->refuse_all = 0;
    s->vault->count = 0;
    ANSWERS(PAWL_CORRUPT_KEY_LOST, get_is(s->store, &scope, "n", NULL, NULL));
    CHECK(has(s->store, &scope, "n") == 1);
    HOLDS(s->store, &scope, "m", "in store");
}

int main(void) {
    RUN_EACH(put_and_get);
    RUN_EACH(update_keeps_what_no_flag_names);
    RUN_EACH(conditions);
    RUN_EACH(versions_only_grow);
    RUN_EACH(sizes);
    RUN_EACH(names_of_any_kind);
    RUN_EACH(expiry);
    RUN_EACH(delete_and_restore);
    RUN_EACH(restore_keeps_metadata);
    RUN_EACH(scopes_are_apart);
    RUN_EACH(list_in_pages);
    RUN_EACH(delete_all_takes_everything);
    RUN_EACH(batches);
    RUN_EACH(views_do_not_change);
    RUN_EACH(statistics);
    RUN_EACH(without_its_vault);
    FINISH;
}
