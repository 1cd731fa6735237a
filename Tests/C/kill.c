/* SIGKILL at any moment. A child writes a known sequence and tells through shared memory what it is about
 * to do and what was acknowledged; the parent kills it, opens the store again, and everything
 * acknowledged is there, what was under way is there wholly or not at all, and every secret is the one
 * that belongs to its metadata. PAWL_KILLS says how often (60, in the long run 1000). */
#include "folder_vault.h"

#define NAMES 8
#define SECRET_MAX 9000

static pawl_scope scope;

/* What the parent knows, in shared memory. */
typedef struct progress {
    volatile long begun, acknowledged;
} progress;
static progress *shared;
static folder_vault vault;

static const char *name_of(int i) {
    static const char *names[NAMES] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    return names[i];
}

/* The secret that step wrote under this name: its size and its bytes follow from both. */
static size_t secret_of(int name, long step, uint8_t *out) {
    uint64_t state = (uint64_t)step * 0x9E3779B97F4A7C15u + (uint64_t)name + 1;
    size_t size = chance(&state) % (chance(&state) % 4 == 0 ? SECRET_MAX : 200);
    for (size_t i = 0; i < size; i++) out[i] = (uint8_t)chance(&state);
    return size;
}

static pawl_status write_one(pawl_store *store, int name, long step) {
    static uint8_t secret[SECRET_MAX];
    size_t size = secret_of(name, step, secret);
    char label[32];
    snprintf(label, sizeof label, "%ld", step);
    pawl_put_options options = PAWL_INIT(pawl_put_options);
    options.flags = PAWL_PUT_SET_LABEL;
    options.label = label;
    options.label_size = strlen(label);
    return pawl_credential_put(store, &scope, name_of(name), 1, secret, size, &options, NULL);
}

/* What a step does, and to which names. Both sides ask this. */
enum { STEP_PUT, STEP_DELETE, STEP_SET_ASIDE, STEP_BATCH, STEP_DELETE_ALL };
static int step_kind(long step, int *name, int has_vault) {
    uint64_t state = (uint64_t)step * 0xD1342543DE82EF95u + 99;
    *name = (int)(chance(&state) % NAMES);
    unsigned dice = (unsigned)(chance(&state) % 40);
    if (dice == 0) return STEP_DELETE_ALL;
    if (dice < 8) return STEP_DELETE;
    if (dice < 10) return STEP_SET_ASIDE;
    if (dice < 16 && !has_vault) return STEP_BATCH;
    return STEP_PUT;
}

static void step_apply(long step, long held[NAMES], int has_vault) {
    int name;
    switch (step_kind(step, &name, has_vault)) {
    case STEP_PUT: held[name] = step; break;
    case STEP_DELETE:
    case STEP_SET_ASIDE: held[name] = 0; break;
    case STEP_BATCH:
        for (int i = 0; i < 3; i++) held[(name + i) % NAMES] = step;
        break;
    case STEP_DELETE_ALL: memset(held, 0, NAMES * sizeof *held); break;
    }
}

static pawl_status step_do(pawl_store *store, long step, int has_vault) {
    int name;
    pawl_status status;
    switch (step_kind(step, &name, has_vault)) {
    case STEP_PUT: return write_one(store, name, step);
    case STEP_DELETE: status = pawl_credential_delete(store, &scope, name_of(name), 1, 0); break;
    case STEP_SET_ASIDE: status = pawl_credential_delete(store, &scope, name_of(name), 1, SECOND / 50); break;
    case STEP_BATCH: {
        pawl_store *batch = NULL;
        status = pawl_batch_begin(store, &batch);
        if (status != PAWL_OK) return status;
        for (int i = 0; i < 3 && status == PAWL_OK; i++) status = write_one(batch, (name + i) % NAMES, step);
        if (status == PAWL_OK) return pawl_batch_commit(batch);
        pawl_batch_rollback(batch);
        return status;
    }
    default: return pawl_credential_delete_all(store, &scope, 0, NULL);
    }
    return status == PAWL_NOT_FOUND ? PAWL_OK : status;
}

static pawl_store *open_here(const char *path, int has_vault) {
    pawl_key key = raw_key();
    pawl_vault table = folder_vault_table(&vault);
    table.lease_ns = 1; /* whoever is killed here is dead for good */
    pawl_store_options options = PAWL_INIT(pawl_store_options);
    options.flags = PAWL_STORE_CREATE;
    options.path = path;
    options.path_size = strlen(path);
    options.key = &key;
    options.vault = has_vault ? &table : NULL;
    pawl_store *store = NULL;
    MUST(pawl_store_open(&options, &store));
    return store;
}

static void write_until_killed(const char *path, int has_vault) {
    pawl_store *store = open_here(path, has_vault);
    for (;;) {
        long step = shared->acknowledged + 1;
        shared->begun = step;
        pawl_status status = step_do(store, step, has_vault);
        if (!OK(status)) _exit(1);
        shared->acknowledged = step;
    }
}

/* The step that wrote what is there now, or 0; a secret that is not that step's is torn. */
static long step_found(pawl_store *store, int name, int *in_store) {
    static uint8_t secret[SECRET_MAX];
    pawl_view *view = NULL;
    pawl_status status = pawl_credential_get(store, &scope, name_of(name), 1, &view);
    if (status == PAWL_NOT_FOUND || !OK(status)) return 0;
    pawl_credential c = PAWL_INIT(pawl_credential);
    MUST(pawl_view_credential(view, 0, &c));
    char label[32] = "";
    snprintf(label, sizeof label, "%.*s", (int)c.label_size, (const char *)c.label);
    long step = atol(label);
    size_t size = secret_of(name, step, secret);
    CHECK_SAYING(c.secret_size == size && memcmp(c.secret, secret, size) == 0, "the secret of %s is not step %ld's",
                 name_of(name), step);
    pawl_view_close(view);
    ++*in_store;
    return step;
}

static struct {
    long kills, between, under_way, in_effect, steps;
} counts;

/* Compares what is there with what was acknowledged, and goes on from what is there. */
static void look(const char *path, int has_vault) {
    pawl_store *store = open_here(path, has_vault);
    long before[NAMES] = {0}, after[NAMES], found[NAMES]; /* the step each name was last written in */
    for (long step = 1; step <= shared->acknowledged; step++) step_apply(step, before, has_vault);
    memcpy(after, before, sizeof after);
    int under_way = shared->begun > shared->acknowledged;
    if (under_way) step_apply(shared->begun, after, has_vault);
    int present = 0;
    for (int i = 0; i < NAMES; i++) found[i] = step_found(store, i, &present);
    int is_before = memcmp(found, before, sizeof found) == 0, is_after = memcmp(found, after, sizeof found) == 0;
    CHECK_SAYING(is_before || is_after, "after %ld acknowledged of %ld begun steps the store holds neither",
                 shared->acknowledged, shared->begun);
    CHECK(list_count(store, &scope) == (size_t)present);
    CHECK(damage_count(store) == 0);
    counts.between += !under_way;
    counts.under_way += under_way;
    counts.in_effect += under_way && !is_before && is_after;
    /* What took effect without being acknowledged has happened: the next child goes on after it. */
    if (under_way && is_after) shared->acknowledged = shared->begun;
    shared->begun = shared->acknowledged;
    if (has_vault) {
        pawl_reconcile_options options = PAWL_INIT(pawl_reconcile_options);
        options.grace_ns = -1;
        pawl_view *view = NULL;
        pause_ns(SECOND / 40); /* what was set aside can be purged */
        for (int i = 0; i < 2; i++) {
            MUST(pawl_credential_reconcile(store, &options, &view));
            pawl_view_close(view);
        }
        MUST(pawl_credential_orphans(store, NULL, 100, &view));
        CHECK(pawl_view_count(view) == 0);
        pawl_view_close(view);
        size_t aside = 0;
        for (int i = 0; i < NAMES; i++) {
            MUST(pawl_credential_deleted(store, &scope, name_of(i), 1, &view));
            aside += pawl_view_count(view);
            pawl_view_close(view);
        }
        CHECK_SAYING(folder_vault_count(&vault) == (size_t)present + aside, "%zu in the vault for %d + %zu records",
                     folder_vault_count(&vault), present, aside);
    }
    pawl_store_close(store);
}

static void kill_loop(const char *file, int has_vault, int kills) {
    char path[512];
    snprintf(path, sizeof path, "%s", test_path(file));
    memset(shared, 0, sizeof *shared);
    memset(&counts, 0, sizeof counts);
    uint64_t seed = (uint64_t)time(NULL) * 2654435761u + (uint64_t)has_vault;
    printf("  seed %llu\n", (unsigned long long)seed);
    for (int i = 0; i < kills; i++) {
        fflush(NULL);
        pid_t child = fork();
        NEED(child >= 0);
        if (child == 0) {
            write_until_killed(path, has_vault);
            _exit(1);
        }
        /* While it opens, or in one of the steps that come then, however long they take here. */
        long to = shared->acknowledged + (long)(chance(&seed) % 10);
        for (int64_t end = monotonic_ns() + 60 * SECOND; shared->begun < to && monotonic_ns() < end;) pause_ns(SECOND / 10000);
        pause_ns((int64_t)(chance(&seed) % 2000000));
        kill(child, SIGKILL);
        int status = 0;
        NEED(waitpid(child, &status, 0) == child);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        counts.kills++;
        look(path, has_vault);
    }
    counts.steps = shared->acknowledged;
    printf("  %ld kills, %ld with a step under way (%ld of them had taken effect), %ld steps\n", counts.kills,
           counts.under_way, counts.in_effect, counts.steps);
    CHECK(counts.steps > kills && counts.under_way > 0);
}

static int kills_wanted(void) { return test_number("PAWL_KILLS", 60, 1000); }

static void killed_while_writing(void) { kill_loop("killed.pawl", 0, kills_wanted()); }
static void killed_with_a_vault(void) { kill_loop("killed-vault.pawl", 1, kills_wanted() / 2); }

/* A file is created whole or not at all. */
static void killed_while_creating(void) {
    uint64_t seed = (uint64_t)time(NULL) + 17;
    int there = 0, absent = 0, rounds = kills_wanted() / 2;
    int64_t begin = monotonic_ns();
    pawl_store_close(open_file(fresh_path()));
    int64_t time_taken = monotonic_ns() - begin;
    for (int i = 0; i < rounds; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s", fresh_path());
        fflush(NULL);
        pid_t child = fork();
        NEED(child >= 0);
        if (child == 0) {
            pawl_store *store = open_file(path);
            (void)store;
            shared->begun = i;
            for (;;) pause();
        }
        /* At once, when it is there, and in between. */
        for (int64_t end = begin + 60 * SECOND; i == 1 && shared->begun != i && monotonic_ns() < end;) pause_ns(SECOND / 10000);
        if (i > 1) pause_ns((int64_t)(chance(&seed) % (uint64_t)(2 * time_taken)));
        kill(child, SIGKILL);
        NEED(waitpid(child, NULL, 0) == child);
        pawl_key key = raw_key();
        pawl_store *store = NULL;
        pawl_status status = open_with(path, 0, &key, &store);
        if (status == PAWL_OK) there++;
        else if (ANSWERS(PAWL_NOT_FOUND, status)) absent++;
        pawl_store_close(store);
        store = open_file(path);
        MUST(put(store, &scope, "n", "secret"));
        HOLDS(store, &scope, "n", "secret");
        CHECK(damage_count(store) == 0);
        pawl_store_close(store);
    }
    printf("  %d killed: %d stores there, %d not\n", rounds, there, absent);
    CHECK(there > 0 && absent > 0);
}

int main(void) {
    scope = scope_of("user", "project");
    test_path("");
    shared = shared_memory(sizeof *shared);
    test_main_process = getpid();
    test_case = "preparation";
    folder_vault_start(&vault, "vault");
    RUN(killed_while_writing);
    RUN(killed_with_a_vault);
    RUN(killed_while_creating);
    FINISH;
}
