/* delete_all racing puts, from threads and from processes, with the secrets in the store and in a host's
 * vault: what was acknowledged before a delete_all began is gone after it, a put that was overtaken says so
 * and never shows up, and after a last delete_all with no put about nothing is left, in the vault either. */
#include "host_vault.h"

#define WRITERS 4
#define NAMES 4

static pawl_scope scope;
static char path[512];
static host_vault *vault;
static faults no_faults;
static int has_vault;

static struct shared {
    volatile long done[WRITERS]; /* the highest number of an acknowledged put */
    volatile long withdrawn, puts, seen_withdrawn;
    volatile int stop;
} *shared;

static pawl_store *open_here(void) {
    pawl_key key = raw_key();
    pawl_vault table = host_vault_table(vault);
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

/* A vault takes its time, so that a delete_all finds writes in flight. */
static void take_time(void *unused) {
    (void)unused;
    pause_ns(200000);
}

/* The number of the put that wrote what is there, or 0. */
static long number_of(const pawl_credential *c) {
    char label[32] = "";
    snprintf(label, sizeof label, "%.*s", (int)c->label_size, (const char *)c->label);
    return atol(label);
}

static void write_on(pawl_store *store, int writer) {
    for (long number = 1; !shared->stop; number++) {
        char name[16], label[32], secret[5200];
        snprintf(name, sizeof name, "%d-%ld", writer, number % NAMES);
        snprintf(label, sizeof label, "%ld", number);
        memset(secret, 'a' + writer, sizeof secret);
        pawl_put_options options = PAWL_INIT(pawl_put_options);
        options.flags = PAWL_PUT_SET_LABEL;
        options.label = label;
        options.label_size = strlen(label);
        pawl_status status = pawl_credential_put(store, &scope, name, strlen(name), secret,
                                                 number % 5 == 0 ? sizeof secret : 40, &options, NULL);
        if (status == PAWL_OK) {
            shared->done[writer] = number;
            __sync_fetch_and_add(&shared->puts, 1);
            continue;
        }
        if (!ANSWERS(PAWL_STATE_WITHDRAWN, status)) return;
        __sync_fetch_and_add(&shared->withdrawn, 1);
        pawl_view *view = NULL;
        if (pawl_credential_metadata(store, &scope, name, strlen(name), &view) != PAWL_OK) continue;
        pawl_credential c = PAWL_INIT(pawl_credential);
        MUST(pawl_view_credential(view, 0, &c));
        if (number_of(&c) == number) __sync_fetch_and_add(&shared->seen_withdrawn, 1);
        pawl_view_close(view);
    }
}

typedef struct writer {
    pawl_store *store;
    int number;
} writer;

static void *as_thread(void *context) {
    writer *w = context;
    write_on(w->store, w->number);
    return NULL;
}

static void as_process(void *context) {
    writer *w = context;
    pawl_store *store = open_here();
    write_on(store, w->number);
    pawl_store_close(store);
}

static long check_deletions(pawl_store *store, int rounds) {
    long deleted = 0;
    for (int round = 0; round < rounds; round++) {
        long done[WRITERS];
        uint64_t count = 0;
        pause_ns(3000000);
        for (int i = 0; i < WRITERS; i++) done[i] = shared->done[i];
        if (!OK(pawl_credential_delete_all(store, &scope, 0, &count))) break;
        deleted += (long)count;
        pawl_view *view = NULL;
        MUST(pawl_credential_list(store, &scope, NULL, 0, 1000, &view));
        for (size_t i = 0; i < pawl_view_count(view); i++) {
            pawl_credential c = PAWL_INIT(pawl_credential);
            MUST(pawl_view_credential(view, i, &c));
            int who = c.name[0] - '0';
            CHECK_SAYING(number_of(&c) > done[who], "put %ld of writer %d is back; %ld was acknowledged before",
                         number_of(&c), who, done[who]);
        }
        pawl_view_close(view);
    }
    return deleted;
}

static void race(int processes, int with_vault) {
    memset(shared, 0, sizeof *shared);
    has_vault = with_vault;
    snprintf(path, sizeof path, "%s", fresh_path());
    vault = host_vault_new(&no_faults);
    vault->inside = take_time;
    pawl_store *store = NULL;
    writer writers[WRITERS];
    pid_t children[WRITERS];
    pthread_t threads[WRITERS];
    pawl_store_close(open_here());
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (writer){NULL, i};
        if (processes) children[i] = child_start(as_process, writers + i);
    }
    store = open_here();
    for (int i = 0; i < WRITERS && !processes; i++) {
        writers[i].store = store;
        NEED(pthread_create(threads + i, NULL, as_thread, writers + i) == 0);
    }
    while (shared->puts < 20) pause_ns(1000000);
    long deleted = check_deletions(store, test_is_long() ? 1000 : 30);
    shared->stop = 1;
    for (int i = 0; i < WRITERS; i++) {
        if (processes) CHILD_ENDS_WELL(children[i]);
        else pthread_join(threads[i], NULL);
    }
    MUST(pawl_credential_delete_all(store, &scope, 0, NULL));
    CHECK(list_count(store, &scope) == 0);
    pawl_view *view = NULL;
    MUST(pawl_credential_orphans(store, NULL, 1000, &view));
    CHECK_SAYING(pawl_view_count(view) == 0, "%zu unfinished writes", pawl_view_count(view));
    pawl_view_close(view);
    CHECK_SAYING(vault->count == 0, "%zu left in the vault", vault->count);
    CHECK(damage_count(store) == 0);
    pawl_store_close(store);
    printf("  %s, %s: %ld puts, %ld deleted, %ld withdrawn\n", processes ? "processes" : "threads",
           with_vault ? "host's vault" : "in the store", shared->puts, deleted, shared->withdrawn);
    CHECK(shared->puts > 0 && deleted > 0 && shared->seen_withdrawn == 0);
    CHECK(with_vault == (shared->withdrawn > 0));
    host_vault_free(vault);
}

static void threads_in_the_store(void) { race(0, 0); }
static void threads_with_a_vault(void) { race(0, 1); }
static void processes_in_the_store(void) { race(1, 0); }
static void processes_with_a_vault(void) { race(1, 1); }

int main(void) {
    scope = scope_of("user", "project");
    test_path("");
    shared = shared_memory(sizeof *shared);
    RUN(threads_in_the_store);
    RUN(threads_with_a_vault);
    RUN(processes_in_the_store);
    RUN(processes_with_a_vault);
    FINISH;
}
