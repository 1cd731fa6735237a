/* The stores that the same tests run on: SQLite, memory and a host's storage, each with the secrets in
 * the store and in a host's vault. The clock is set by hand. */
#ifndef PAWL_TEST_SETUPS_H
#define PAWL_TEST_SETUPS_H

#include "host_vault.h"

enum { ENGINE_SQLITE, ENGINE_MEMORY, ENGINE_HOST };

typedef struct setup {
    const char *name;
    int engine;
    int has_vault;
    char path[512];
    host_storage storage;
    host_vault *vault;
    faults faults;
    int64_t now;
    pawl_store *store;
} setup;

static const struct {
    const char *name;
    int engine, has_vault;
} setup_kinds[] = {
    {"sqlite", ENGINE_SQLITE, 0}, {"sqlite+vault", ENGINE_SQLITE, 1}, {"memory", ENGINE_MEMORY, 0},
    {"memory+vault", ENGINE_MEMORY, 1}, {"host", ENGINE_HOST, 0}, {"host+vault", ENGINE_HOST, 1},
};
#define SETUP_KINDS (sizeof setup_kinds / sizeof *setup_kinds)

static UNUSED pawl_status setup_try_open(setup *s) {
    pawl_key key = raw_key();
    pawl_clock clock = PAWL_INIT(pawl_clock);
    clock.now_ns = test_time;
    clock.context = &s->now;
    pawl_storage storage = host_storage_table(&s->storage);
    pawl_vault vault = PAWL_INIT(pawl_vault);
    pawl_store_options options = PAWL_INIT(pawl_store_options);
    options.flags = PAWL_STORE_CREATE;
    options.key = &key;
    options.clock = &clock;
    options.busy_timeout_ns = s->engine == ENGINE_HOST ? -1 : 0;
    if (s->engine == ENGINE_SQLITE) {
        options.path = s->path;
        options.path_size = strlen(s->path);
    }
    if (s->engine == ENGINE_MEMORY) options.flags |= PAWL_STORE_MEMORY;
    if (s->engine == ENGINE_HOST) options.storage = &storage;
    if (s->has_vault) {
        vault = host_vault_table(s->vault);
        options.vault = &vault;
    }
    return pawl_store_open(&options, &s->store);
}

static UNUSED void setup_open(setup *s) { MUST(setup_try_open(s)); }

/* The setup's memory must not move: callbacks point into it. */
static UNUSED void setup_start(setup *s, size_t kind) {
    memset(s, 0, sizeof *s);
    s->name = setup_kinds[kind].name;
    s->engine = setup_kinds[kind].engine;
    s->has_vault = setup_kinds[kind].has_vault;
    snprintf(s->path, sizeof s->path, "%s", fresh_path());
    s->now = INT64_C(1700000000) * SECOND;
    host_storage_start(&s->storage, &s->faults);
    s->vault = host_vault_new(&s->faults);
    setup_open(s);
}

/* Closes and opens again, as a new process would; a store in memory stays as it is. */
static UNUSED void setup_reopen(setup *s) {
    if (s->engine == ENGINE_MEMORY) return;
    pawl_store_close(s->store);
    setup_open(s);
}

static UNUSED void setup_end(setup *s) {
    pawl_store_close(s->store);
    s->store = NULL;
    host_storage_end(&s->storage);
    host_vault_free(s->vault);
}

/* Runs a case on every setup, or on those with one engine. */
#define RUN_EACH(function) run_each(#function, function, -1)
#define RUN_ON(engine, function) run_each(#function, function, (engine))
static setup current;
static void (*current_function)(setup *);
static void run_current(void) {
    setup_start(&current, (size_t)current.now);
    current_function(&current);
    setup_end(&current);
}
static UNUSED void run_each(const char *name, void (*function)(setup *), int engine) {
    for (size_t kind = 0; kind < SETUP_KINDS; kind++) {
        if (engine >= 0 && setup_kinds[kind].engine != engine) continue;
        static char names[64][96];
        static int used;
        char *full = names[used++ % 64];
        snprintf(full, sizeof names[0], "%s (%s)", name, setup_kinds[kind].name);
        current.now = (int64_t)kind;
        current_function = function;
        test_run(full, run_current);
    }
}

#endif
