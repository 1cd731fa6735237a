/* Threads and processes on one file: 4 processes of 8 threads mix put, get and update on the same names, and
 * every read checks the secret against the metadata of the same row. Then fairness among writers. */
#include "test.h"

#define PROCESSES 4
#define THREADS 8
#define NAMES 6

static pawl_scope scope;
static char path[512];

/* What a torn read would show: the secret says which write it is from, and so do label and attribute. */
static void describe_write(uint64_t write, char label[40], uint8_t *secret, size_t *size) {
    snprintf(label, 40, "%016llx", (unsigned long long)write);
    uint64_t state = write | 1;
    *size = 8 + chance(&state) % (chance(&state) % 8 == 0 ? 6000 : 100); /* in the row, or beside it */
    for (size_t i = 0; i < *size; i++) secret[i] = (uint8_t)chance(&state);
}

static pawl_status write_one(pawl_store *store, const char *name, uint64_t write, uint64_t *version) {
    char label[40];
    uint8_t secret[6200];
    size_t size;
    describe_write(write, label, secret, &size);
    pawl_attribute attribute = {"write", 5, label, strlen(label)};
    pawl_put_options options = PAWL_INIT(pawl_put_options);
    options.flags = PAWL_PUT_SET_LABEL | PAWL_PUT_SET_ATTRIBUTES;
    options.label = label;
    options.label_size = strlen(label);
    options.attributes = &attribute;
    options.attribute_count = 1;
    return pawl_credential_put(store, &scope, name, strlen(name), secret, size, &options, version);
}

/* 1 if the row is of one write; its version in any case. */
static int is_whole(pawl_view *view, uint64_t *version) {
    pawl_credential c = PAWL_INIT(pawl_credential);
    pawl_attribute attribute = {0};
    MUST(pawl_view_credential(view, 0, &c));
    *version = c.version;
    if (c.attribute_count != 1 || c.label_size != 16) return 0;
    MUST(pawl_view_attribute(view, 0, 0, &attribute));
    char text[17] = "", label[40];
    memcpy(text, c.label, 16);
    uint8_t secret[6200];
    size_t size;
    describe_write(strtoull(text, NULL, 16), label, secret, &size);
    return attribute.value_size == 16 && memcmp(attribute.value, text, 16) == 0 && c.secret_size == size &&
           memcmp(c.secret, secret, size) == 0;
}

static struct counts {
    long reads, puts, torn, backwards, conflicts, swaps;
    volatile int stop;
} *counts;

typedef struct worker {
    pawl_store *store;
    uint64_t seed;
} worker;

static void *work(void *context) {
    worker *w = context;
    uint64_t seen[NAMES] = {0};
    while (!counts->stop) {
        int which = (int)(chance(&w->seed) % NAMES);
        char name[8];
        snprintf(name, sizeof name, "n%d", which);
        unsigned dice = (unsigned)(chance(&w->seed) % 10);
        uint64_t version = 0;
        pawl_view *view = NULL;
        pawl_status status;
        if (dice < 6) { /* a read; versions never go back for one reader */
            status = pawl_credential_get(w->store, &scope, name, strlen(name), &view);
            if (!OK(status)) break;
            if (!is_whole(view, &version)) __sync_fetch_and_add(&counts->torn, 1);
            pawl_view_close(view);
            if (version < seen[which]) __sync_fetch_and_add(&counts->backwards, 1);
            seen[which] = version;
            __sync_fetch_and_add(&counts->reads, 1);
        } else if (dice < 8) {
            if (!OK(write_one(w->store, name, chance(&w->seed), &version))) break;
            if (version <= seen[which]) __sync_fetch_and_add(&counts->backwards, 1);
            seen[which] = version;
            __sync_fetch_and_add(&counts->puts, 1);
        } else { /* compare and swap: one of those who read the same version wins */
            pawl_credential c = PAWL_INIT(pawl_credential);
            if (!OK(pawl_credential_metadata(w->store, &scope, name, strlen(name), &view))) break;
            MUST(pawl_view_credential(view, 0, &c));
            pawl_put_options options = PAWL_INIT(pawl_put_options);
            options.flags = PAWL_PUT_IF_VERSION | PAWL_PUT_SET_LABEL | PAWL_PUT_SET_ATTRIBUTES;
            options.if_version = c.version;
            char label[40];
            uint8_t secret[6200];
            size_t size;
            describe_write(chance(&w->seed), label, secret, &size);
            pawl_attribute attribute = {"write", 5, label, strlen(label)};
            options.label = label;
            options.label_size = strlen(label);
            options.attributes = &attribute;
            options.attribute_count = 1;
            status = pawl_credential_put(w->store, &scope, name, strlen(name), secret, size, &options, &version);
            pawl_view_close(view);
            if (status == PAWL_STATE_CONFLICT) __sync_fetch_and_add(&counts->conflicts, 1);
            else if (OK(status)) __sync_fetch_and_add(&counts->swaps, 1);
        }
    }
    return NULL;
}

static void one_process(void *context) {
    pawl_store *store = open_file(path);
    worker workers[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (worker){store, (uint64_t)(*(int *)context * THREADS + i + 1) * 0x9E3779B97F4A7C15u};
        NEED(pthread_create(threads + i, NULL, work, workers + i) == 0);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    pawl_store_close(store);
}

static void no_torn_reads(void) {
    snprintf(path, sizeof path, "%s", fresh_path());
    memset(counts, 0, sizeof *counts);
    pawl_store *store = open_file(path);
    for (int i = 0; i < NAMES; i++) {
        char name[8];
        snprintf(name, sizeof name, "n%d", i);
        MUST(write_one(store, name, (uint64_t)i + 1, NULL));
    }
    pawl_store_close(store); /* before forking: a child must not inherit it */
    pid_t children[PROCESSES];
    int numbers[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        numbers[i] = i;
        children[i] = child_start(one_process, numbers + i);
    }
    pause_ns((test_is_long() ? 20 : 3) * SECOND);
    counts->stop = 1;
    for (int i = 0; i < PROCESSES; i++) CHILD_ENDS_WELL(children[i]);
    printf("  %d processes of %d threads: %ld reads, %ld puts, %ld swaps, %ld conflicts; %ld torn, %ld backwards\n",
           PROCESSES, THREADS, counts->reads, counts->puts, counts->swaps, counts->conflicts, counts->torn,
           counts->backwards);
    CHECK(counts->torn == 0 && counts->backwards == 0);
    CHECK(counts->reads > 1000 && counts->puts > 100 && counts->swaps > 0 && counts->conflicts > 0);
    store = open_file(path);
    CHECK(list_count(store, &scope) == NAMES);
    CHECK(damage_count(store) == 0);
    pawl_store_close(store);
}

/* ---------------------------------------------------------------- fairness */

static struct share {
    long commits[PROCESSES];
    int64_t longest[PROCESSES];
    volatile int ready, go, stop;
} *share;

static void write_as_fast_as_it_can(void *context) {
    int me = *(int *)context;
    pawl_store *store = open_file(path);
    char name[8];
    snprintf(name, sizeof name, "w%d", me);
    __sync_fetch_and_add(&share->ready, 1);
    while (!share->go) pause_ns(100000);
    while (!share->stop) {
        int64_t start = monotonic_ns();
        if (!OK(put(store, &scope, name, "secret"))) break;
        int64_t took = monotonic_ns() - start;
        if (took > share->longest[me]) share->longest[me] = took;
        share->commits[me]++;
    }
    pawl_store_close(store);
}

static void writers_share(void) {
    snprintf(path, sizeof path, "%s", fresh_path());
    memset(share, 0, sizeof *share);
    pawl_store_close(open_file(path));
    pid_t children[PROCESSES];
    int numbers[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        numbers[i] = i;
        children[i] = child_start(write_as_fast_as_it_can, numbers + i);
    }
    while (share->ready < PROCESSES) pause_ns(1000000);
    share->go = 1;
    pause_ns(3 * SECOND);
    share->stop = 1;
    for (int i = 0; i < PROCESSES; i++) CHILD_ENDS_WELL(children[i]);
    long total = 0;
    for (int i = 0; i < PROCESSES; i++) total += share->commits[i];
    for (int i = 0; i < PROCESSES; i++) {
        printf("  writer %d: %ld commits (%.0f %%), longest wait %.0f ms\n", i, share->commits[i],
               100.0 * (double)share->commits[i] / (double)(total > 0 ? total : 1), (double)share->longest[i] / 1e6);
        CHECK(share->commits[i] * 10 >= total);
        CHECK(share->longest[i] <= SECOND);
    }
    CHECK(total > 100);
}

/* ---------------------------------------------------------------- create together */

static void create_or_open(void *unused) {
    (void)unused;
    while (!share->go) {}
    pawl_store *store = open_file(path);
    char name[16];
    snprintf(name, sizeof name, "%d", (int)getpid());
    MUST(put(store, &scope, name, "x"));
    pawl_store_close(store);
}

static void many_create_one_store(void) {
    for (int round = 0; round < 20; round++) {
        snprintf(path, sizeof path, "%s", fresh_path());
        memset(share, 0, sizeof *share);
        pid_t children[PROCESSES];
        for (int i = 0; i < PROCESSES; i++) children[i] = child_start(create_or_open, NULL);
        share->go = 1;
        for (int i = 0; i < PROCESSES; i++) CHILD_ENDS_WELL(children[i]);
        pawl_store *store = open_file(path);
        CHECK(list_count(store, &scope) == PROCESSES);
        CHECK(damage_count(store) == 0);
        pawl_store_close(store);
    }
}

int main(void) {
    scope = scope_of("user", "project");
    test_path("");
    counts = shared_memory(sizeof *counts);
    share = shared_memory(sizeof *share);
    RUN(no_torn_reads);
    RUN(writers_share);
    RUN(many_create_one_store);
    FINISH;
}
