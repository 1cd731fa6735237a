/* Crash sweep: for every operation, every callback of a host's storage and vault is made to fail in
 * turn: once, from then on (the machine went away), or after having acted (the answer got lost). Whatever
 * the call then answers, everything is as before or as after, never between; and once reconcile has had
 * its two looks, no intent is left and the vault holds nothing that no record points to. */
#include "setups.h"

static pawl_scope ours, theirs;
static char large_a[5000], large_b[6000];

/* ---------------------------------------------------------------- what there is, as text */

typedef struct text {
    char bytes[8192];
    size_t size;
} text;

static void say(text *t, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(t->bytes + t->size, sizeof t->bytes - t->size, format, arguments);
    va_end(arguments);
    t->size += (size_t)size;
    NEED(t->size < sizeof t->bytes);
}

static uint32_t sum(const uint8_t *bytes, size_t size) {
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < size; i++) hash = (hash ^ bytes[i]) * 16777619u;
    return hash;
}

static void say_rows(text *t, pawl_view *view) {
    for (size_t i = 0; i < pawl_view_count(view); i++) {
        pawl_credential c = PAWL_INIT(pawl_credential);
        MUST(pawl_view_credential(view, i, &c));
        say(t, "%.*s version %llu flags %u label %.*s expires %lld purge %lld secret %zu", (int)c.name_size, c.name,
            (unsigned long long)c.version, (unsigned)c.flags, (int)c.label_size, c.label, (long long)c.expires_ns,
            (long long)c.purge_ns, c.secret_size);
        if (c.secret != NULL) say(t, " %08x", sum(c.secret, c.secret_size));
        say(t, "\n");
    }
    pawl_view_close(view);
}

/* Names in the order of their creation here: the store's own order means nothing. */
static void describe(setup *s, text *t) {
    static const char *names[] = {"small", "large", "new", "second", "third", "expiring"};
    const pawl_scope *scopes[] = {&ours, &theirs};
    t->size = 0;
    t->bytes[0] = 0;
    for (int i = 0; i < 2; i++) {
        say(t, "scope %d: %zu\n", i, list_count(s->store, scopes[i]));
        for (size_t j = 0; j < sizeof names / sizeof *names; j++) {
            pawl_view *view = NULL;
            pawl_status status = pawl_credential_get(s->store, scopes[i], names[j], strlen(names[j]), &view);
            if (status == PAWL_OK) say_rows(t, view);
            else if (!ANSWERS(PAWL_NOT_FOUND, status)) say(t, "%s!\n", names[j]);
            MUST(pawl_credential_deleted(s->store, scopes[i], names[j], strlen(names[j]), &view));
            say_rows(t, view);
        }
    }
}

static size_t secrets_in(const text *t) { /* rows, current and deleted */
    size_t count = 0;
    for (const char *at = t->bytes; (at = strstr(at, " version ")) != NULL; at++) count++;
    return count;
}

/* ---------------------------------------------------------------- operations */

static pawl_status put_labelled(pawl_store *store, const char *name, const char *secret, size_t size,
                                const char *label) {
    pawl_put_options options = PAWL_INIT(pawl_put_options);
    options.flags = PAWL_PUT_SET_LABEL;
    options.label = label;
    options.label_size = strlen(label);
    return pawl_credential_put(store, &ours, name, strlen(name), secret, size, &options, NULL);
}

static pawl_status op_create(setup *s) { return put_labelled(s->store, "new", "fresh", 5, "n"); }
static pawl_status op_create_large(setup *s) { return put_labelled(s->store, "new", large_b, sizeof large_b, "n"); }
static pawl_status op_update(setup *s) { return put_labelled(s->store, "small", "changed", 7, "c"); }
static pawl_status op_grow(setup *s) { return put_labelled(s->store, "small", large_b, sizeof large_b, "g"); }
static pawl_status op_shrink(setup *s) { return put_labelled(s->store, "large", "tiny", 4, "t"); }
static pawl_status op_delete(setup *s) { return pawl_credential_delete(s->store, &ours, "small", 5, 0); }
static pawl_status op_delete_large(setup *s) { return pawl_credential_delete(s->store, &ours, "large", 5, 0); }
static pawl_status op_set_aside(setup *s) { return pawl_credential_delete(s->store, &ours, "large", 5, 60 * SECOND); }
static pawl_status op_restore(setup *s) { return pawl_credential_restore(s->store, &ours, "third", 5, 0); }
static pawl_status op_delete_all(setup *s) { return pawl_credential_delete_all(s->store, &ours, 0, NULL); }
static pawl_status op_delete_user(setup *s) {
    pawl_scope user = scope_of("user", "");
    return pawl_credential_delete_all(s->store, &user, PAWL_DELETE_ALL_PROJECTS, NULL);
}

static pawl_status op_batch(setup *s) {
    pawl_store *batch = NULL;
    pawl_status status = pawl_batch_begin(s->store, &batch);
    if (status != PAWL_OK) return status;
    if ((status = put_labelled(batch, "new", "fresh", 5, "n")) == PAWL_OK &&
        (status = put_labelled(batch, "large", "less", 4, "l")) == PAWL_OK &&
        (status = pawl_credential_delete(batch, &ours, "small", 5, 0)) == PAWL_OK) {
        return pawl_batch_commit(batch);
    }
    pawl_batch_rollback(batch);
    return status;
}

static const struct operation {
    const char *name;
    pawl_status (*run)(setup *);
    int needs_no_vault;
} operations[] = {
    {"create", op_create, 0}, {"create large", op_create_large, 0}, {"update", op_update, 0}, {"grow", op_grow, 0},
    {"shrink", op_shrink, 0}, {"delete", op_delete, 0}, {"delete large", op_delete_large, 0},
    {"set aside", op_set_aside, 0}, {"restore", op_restore, 0}, {"delete_all", op_delete_all, 0},
    {"delete_all of the user", op_delete_user, 0}, {"batch", op_batch, 1},
};
#define OPERATIONS (sizeof operations / sizeof *operations)

/* ---------------------------------------------------------------- the sweep */

/* What every trial starts from: made once, then cloned. */
static setup base;

static void make_base(size_t kind) {
    setup_start(&base, kind);
    MUST(put_labelled(base.store, "small", "secret", 6, "s"));
    MUST(put_labelled(base.store, "large", large_a, sizeof large_a, "l"));
    MUST(put(base.store, &ours, "second", "another"));
    MUST(put(base.store, &ours, "third", "set aside"));
    MUST(pawl_credential_delete(base.store, &ours, "third", 5, 3600 * SECOND));
    MUST(put(base.store, &theirs, "small", "of somebody else"));
    pawl_store_close(base.store);
    base.store = NULL;
}

static void start_trial(setup *s) {
    memset(s, 0, sizeof *s);
    s->engine = base.engine;
    s->has_vault = base.has_vault;
    s->now = base.now + SECOND;
    host_storage_clone(&base.storage, &s->storage, &s->faults);
    s->vault = host_vault_clone(base.vault, &s->faults);
    setup_open(s);
}

/* Two looks with more than lease and grace between; then nothing unfinished may be left. */
static void settle(setup *s) {
    pawl_view *view = NULL;
    if (!s->has_vault) return;
    for (int look = 0; look < 4; look++) {
        MUST(pawl_credential_reconcile(s->store, NULL, &view));
        pawl_view_close(view);
        s->now += 200 * SECOND;
    }
    MUST(pawl_credential_orphans(s->store, NULL, 100, &view));
    CHECK_SAYING(pawl_view_count(view) == 0, "%zu unfinished writes are left", pawl_view_count(view));
    pawl_view_close(view);
    MUST(pawl_credential_reconcile(s->store, NULL, &view));
    CHECK_SAYING(pawl_view_count(view) == 0, "reconcile still finds %zu", pawl_view_count(view));
    pawl_view_close(view);
}

static struct {
    long trials, refused, done, unknown, unfinished;
} counts;

static void check_trial(setup *s, const struct operation *o, long k, const char *mode, pawl_status status,
                        const text *before, const text *after) {
    static text found;
    for (int pass = 0; pass < 3; pass++) { /* at once, to a new process, and after reconcile */
        describe(s, &found);
        int is_old = strcmp(found.bytes, before->bytes) == 0, is_new = strcmp(found.bytes, after->bytes) == 0;
        int right = status == PAWL_OK ? is_new
                    : PAWL_STATUS_REASON(status) == PAWL_STORE_INDETERMINATE ? is_old || is_new
                                                                            : is_old;
        CHECK_SAYING(right, "%s, call %ld %s: answered %s, pass %d, but there is\n%sbefore there was\n%safter\n%s",
                     o->name, k, mode, pawl_status_name(status), pass, found.bytes, before->bytes, after->bytes);
        CHECK(damage_count(s->store) == 0);
        if (pass == 0) {
            pawl_view *view = NULL;
            MUST(pawl_credential_orphans(s->store, NULL, 100, &view));
            for (size_t i = 0; i < pawl_view_count(view); i++) {
                pawl_orphan orphan = PAWL_INIT(pawl_orphan);
                MUST(pawl_view_orphan(view, i, &orphan));
                CHECK(orphan.kind == PAWL_ORPHAN_INTENT || orphan.kind == PAWL_ORPHAN_RECORDED);
                CHECK(orphan.recorded_ns == s->now && orphan.user_size == ours.user_size);
                counts.unfinished++;
            }
            pawl_view_close(view);
            setup_reopen(s);
        }
        if (pass == 1) {
            int64_t now = s->now;
            settle(s);
            s->now = now;
        }
    }
    if (s->has_vault) {
        CHECK_SAYING(s->vault->count == secrets_in(&found), "%s, call %ld %s: %zu in the vault for %zu records",
                     o->name, k, mode, s->vault->count, secrets_in(&found));
    }
    CHECK(s->storage.transactions_open == 0);
}

static const struct fault_mode {
    const char *name;
    int from_then, after;
    pawl_status answer;
} modes[] = {
    {"fails", 0, 0, HOST_CODE},
    {"and all after it fail", 1, 0, HOST_CODE},
    {"acts and fails", 0, 1, HOST_CODE},
    {"acts, and all after it act and fail", 1, 1, HOST_CODE},
    {"is full", 0, 0, PAWL_STORE_FULL},
};

static void sweep(size_t kind) {
    static text before, after;
    memset(&counts, 0, sizeof counts);
    make_base(kind);
    for (size_t i = 0; i < OPERATIONS; i++) {
        const struct operation *o = operations + i;
        if (o->needs_no_vault && base.has_vault) continue;
        setup s;
        start_trial(&s);
        describe(&s, &before);
        faults_arm(&s.faults, 0, 0, 0, 0);
        MUST(o->run(&s));
        long calls = s.faults.calls;
        describe(&s, &after);
        setup_end(&s);
        CHECK(calls > 0 && strcmp(before.bytes, after.bytes) != 0);
        for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
            for (long k = 1; k <= calls; k++) {
                start_trial(&s);
                faults_arm(&s.faults, k, modes[m].from_then, modes[m].after, modes[m].answer);
                pawl_status status = o->run(&s);
                CHECK(s.faults.hits > 0);
                faults_arm(&s.faults, 0, 0, 0, 0);
                pawl_status reason = PAWL_STATUS_REASON(status);
                counts.unknown += reason == PAWL_STORE_INDETERMINATE;
                check_trial(&s, o, k, modes[m].name, status, &before, &after);
                setup_end(&s);
                counts.trials++;
                counts.done += status == PAWL_OK;
                counts.refused += status != PAWL_OK;
                CHECK_SAYING(status == PAWL_OK || reason == PAWL_STORE_HOST || reason == PAWL_STORE_VAULT ||
                                 reason == PAWL_STORE_FULL || (reason == PAWL_STORE_INDETERMINATE && modes[m].after),
                             "%s, call %ld %s: answered %s", o->name, k, modes[m].name, pawl_status_name(status));
            }
        }
    }
    printf("  %s: %ld trials, %ld refused (%ld unknown), %ld done all the same, %ld unfinished writes met\n",
           setup_kinds[kind].name, counts.trials, counts.refused, counts.unknown, counts.done, counts.unfinished);
    CHECK(counts.refused > 0 && counts.unknown > 0);
    if (base.has_vault) CHECK(counts.done > 0 && counts.unfinished > 0);
    host_storage_end(&base.storage);
    host_vault_free(base.vault);
}

static void storage_sweep(void) { sweep(4); }
static void storage_and_vault_sweep(void) { sweep(5); }

/* A commit whose outcome is unknown is reported as that, whether or not it happened. */
static void unknown_commits(void) {
    static text before, after;
    make_base(4);
    for (size_t i = 0; i < OPERATIONS; i++) {
        setup s;
        start_trial(&s);
        describe(&s, &before);
        faults_arm(&s.faults, 0, 0, 0, 0);
        MUST(operations[i].run(&s));
        long calls = s.faults.calls;
        describe(&s, &after);
        setup_end(&s);
        for (int acts = 0; acts < 2; acts++) {
            start_trial(&s);
            faults_arm(&s.faults, calls, 0, acts, PAWL_STORE_INDETERMINATE); /* the last call is the commit */
            pawl_status status = operations[i].run(&s);
            faults_arm(&s.faults, 0, 0, 0, 0);
            ANSWERS(PAWL_STORE_INDETERMINATE, status);
            static text found;
            describe(&s, &found);
            CHECK_SAYING(strcmp(found.bytes, acts ? after.bytes : before.bytes) == 0, "%s: %s", operations[i].name,
                         found.bytes);
            setup_end(&s);
        }
    }
    host_storage_end(&base.storage);
    host_vault_free(base.vault);
}

/* Every callback of reconcile fails in turn, with unfinished writes of both kinds about: it never removes
 * what a record points to, and the next ones settle the rest. */
static void reconcile_sweep(void) {
    static text before, found;
    make_base(5);
    setup s;
    /* An intent whose writer died after set, and an id that was to be removed. */
    start_trial(&s);
    faults_arm(&s.faults, 0, 0, 0, 0);
    MUST(op_create(&s));
    long create_calls = s.faults.calls;
    setup_end(&s);
    int met = 0;
    for (int step = 0; step < 3; step++) { /* first look, second look, dry run of the second */
        for (long k = 1;; k++) {
            start_trial(&s);
            describe(&s, &before);
            faults_arm(&s.faults, create_calls / 2 + 1, 1, 0, HOST_CODE);
            (void)op_create(&s); /* the machine goes away in the middle */
            faults_arm(&s.faults, 0, 0, 0, 0);
            s.vault->refuse_all = 0;
            setup_reopen(&s);
            describe(&s, &found);
            CHECK(strcmp(found.bytes, before.bytes) == 0);
            int64_t now = s.now;
            pawl_view *view = NULL;
            s.now += 200 * SECOND;
            if (step > 0) {
                MUST(pawl_credential_reconcile(s.store, NULL, &view));
                met += pawl_view_count(view) > 0;
                pawl_view_close(view);
                s.now += 200 * SECOND;
            }
            pawl_reconcile_options options = PAWL_INIT(pawl_reconcile_options);
            if (step == 2) options.flags = PAWL_RECONCILE_DRY_RUN;
            size_t in_vault = s.vault->count;
            faults_arm(&s.faults, k, 0, 0, HOST_CODE);
            pawl_status status = pawl_credential_reconcile(s.store, &options, &view);
            int hits = s.faults.hits;
            faults_arm(&s.faults, 0, 0, 0, 0);
            pawl_view_close(view);
            if (step == 2) CHECK(s.vault->count == in_vault);
            CHECK(hits > 0 || status == PAWL_OK);
            s.now = now;
            describe(&s, &found);
            CHECK(strcmp(found.bytes, before.bytes) == 0);
            s.now += 1000 * SECOND;
            settle(&s);
            s.now = now;
            describe(&s, &found);
            CHECK(strcmp(found.bytes, before.bytes) == 0);
            CHECK(s.vault->count == secrets_in(&before));
            setup_end(&s);
            if (hits == 0) break;
        }
    }
    CHECK(met > 0);
    host_storage_end(&base.storage);
    host_vault_free(base.vault);
}

/* What reconcile says, does, and leaves alone. */
static void reconcile_by_the_book(void) {
    make_base(1);
    setup s;
    memset(&s, 0, sizeof s);
    s.engine = ENGINE_SQLITE;
    s.has_vault = 1;
    s.now = base.now;
    snprintf(s.path, sizeof s.path, "%s", base.path);
    s.vault = host_vault_clone(base.vault, &s.faults);
    setup_open(&s);

    /* The vault takes the value, and then refuses everything: an intent or orphan is recorded. */
    faults_arm(&s.faults, 1, 1, 1, HOST_CODE);
    s.faults.after = 0;
    size_t in_vault = s.vault->count;
    ANSWERS(PAWL_STORE_VAULT, op_create(&s));
    faults_arm(&s.faults, 0, 0, 0, 0);
    LACKS(s.store, &ours, "new");

    /* Deleting while the vault refuses works; what it leaves is recorded with the cause. */
    s.vault->refuse_all = 1;
    MUST(op_delete(&s));
    s.vault->refuse_all = 0;
    LACKS(s.store, &ours, "small");
    CHECK(s.vault->count == in_vault);
    pawl_view *view = NULL;
    MUST(pawl_credential_orphans(s.store, NULL, 100, &view));
    int recorded = 0;
    for (size_t i = 0; i < pawl_view_count(view); i++) {
        pawl_orphan o = PAWL_INIT(pawl_orphan);
        MUST(pawl_view_orphan(view, i, &o));
        CHECK(o.outcome == PAWL_OUTCOME_NONE && o.sighted_ns == PAWL_NEVER);
        if (o.kind == PAWL_ORPHAN_RECORDED && o.name_size == 5) {
            recorded++;
            CHECK(memcmp(o.name, "small", 5) == 0 && o.cause_remove == HOST_CODE + 1 && o.attempts >= 1);
        }
    }
    CHECK(recorded == 1);
    pawl_view_close(view);

    /* Something in the vault that nobody knows is reported and never touched. */
    uint8_t stranger[PAWL_VAULT_ID_SIZE];
    memset(stranger, 0x77, sizeof stranger);
    MUST(vault_set(s.vault, stranger, (const uint8_t *)"x", 1));
    int strange = 0, waiting = 0, would = 0, removed = 0;
    for (int look = 0; look < 6; look++) {
        pawl_reconcile_options options = PAWL_INIT(pawl_reconcile_options);
        if (look == 2) options.flags = PAWL_RECONCILE_DRY_RUN; /* look 0 is too early for anything */
        size_t before = s.vault->count;
        MUST(pawl_credential_reconcile(s.store, &options, &view));
        for (size_t i = 0; i < pawl_view_count(view); i++) {
            pawl_orphan o = PAWL_INIT(pawl_orphan);
            MUST(pawl_view_orphan(view, i, &o));
            if (o.kind == PAWL_ORPHAN_UNATTRIBUTED) {
                strange++;
                CHECK(memcmp(o.vault_id, stranger, sizeof stranger) == 0);
                CHECK(o.outcome != PAWL_OUTCOME_REMOVED && o.outcome != PAWL_OUTCOME_WOULD_REMOVE);
                continue;
            }
            waiting += o.outcome == PAWL_OUTCOME_WAITING;
            would += o.outcome == PAWL_OUTCOME_WOULD_REMOVE;
            removed += o.outcome == PAWL_OUTCOME_REMOVED;
            CHECK((o.outcome == PAWL_OUTCOME_WOULD_REMOVE) <= (look == 2));
        }
        pawl_view_close(view);
        if (look < 3) CHECK(s.vault->count == before);
        s.now += look == 0 ? 30 * SECOND : 70 * SECOND;
    }
    CHECK_SAYING(strange > 0 && waiting > 0 && would > 0 && removed > 0, "%d strange, %d waiting, %d would, %d removed",
                 strange, waiting, would, removed);
    int found = 0;
    vault_find(s.vault, stranger, &found);
    CHECK(found);
    CHECK(s.vault->count == 5); /* large, second, third, theirs, and the stranger */
    pawl_store_close(s.store);
    host_vault_free(s.vault);
    host_storage_end(&base.storage);
    host_vault_free(base.vault);
}

int main(void) {
    ours = scope_of("user", "project");
    theirs = scope_of("somebody", "project");
    memset(large_a, 'a', sizeof large_a);
    memset(large_b, 'b', sizeof large_b);
    test_path("");
    RUN(storage_sweep);
    RUN(storage_and_vault_sweep);
    RUN(unknown_commits);
    RUN(reconcile_sweep);
    RUN(reconcile_by_the_book);
    FINISH;
}
