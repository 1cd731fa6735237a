/* A vault of a host: ids and values in a sorted array in shared memory of fixed size, so that several
 * processes may use it too. It fails on demand. */
#ifndef PAWL_TEST_HOST_VAULT_H
#define PAWL_TEST_HOST_VAULT_H

#include "host_storage.h"

#define VAULT_ROOM 512
#define VAULT_VALUE_MAX 70000

typedef struct host_item {
    uint8_t id[PAWL_VAULT_ID_SIZE];
    size_t size;
    uint8_t value[VAULT_VALUE_MAX];
} host_item;

typedef struct host_vault {
    pthread_mutex_t lock; /* shared between processes */
    size_t count;
    long sets, gets, removes, nexts;
    int refuse_all; /* answers HOST_CODE + 1 to everything */
    host_item items[VAULT_ROOM];
    /* Not shared: of this process. */
    faults *faults;
    void (*inside)(void *context); /* runs inside every callback, if set */
    void *inside_context;
} host_vault;

static UNUSED host_vault *host_vault_new(faults *f) {
    host_vault *v = shared_memory(sizeof *v);
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&v->lock, &attributes);
    pthread_mutexattr_destroy(&attributes);
    v->faults = f;
    return v;
}

static UNUSED void host_vault_free(host_vault *v) { munmap(v, sizeof *v); }

static UNUSED host_vault *host_vault_clone(const host_vault *from, faults *f) {
    host_vault *v = host_vault_new(f);
    v->count = from->count;
    memcpy(v->items, from->items, from->count * sizeof *v->items);
    return v;
}

/* The place of the first item that is not below the id. */
static size_t vault_find(const host_vault *v, const uint8_t *id, int *found) {
    size_t at = 0;
    while (at < v->count && memcmp(v->items[at].id, id, PAWL_VAULT_ID_SIZE) < 0) at++;
    *found = at < v->count && memcmp(v->items[at].id, id, PAWL_VAULT_ID_SIZE) == 0;
    return at;
}

/* Locks, and answers whether this call is to fail. */
static int vault_enter(host_vault *v) {
    if (v->inside != NULL) v->inside(v->inside_context);
    int strikes = faults_strike(v->faults) || v->refuse_all;
    pthread_mutex_lock(&v->lock);
    return strikes;
}

static pawl_status vault_leave(host_vault *v, int strikes, pawl_status status) {
    pthread_mutex_unlock(&v->lock);
    return !strikes ? status : v->refuse_all ? HOST_CODE + 1 : v->faults->answer;
}

static pawl_status vault_set(void *context, const uint8_t *id, const uint8_t *value, size_t size) {
    host_vault *v = context;
    int strikes = vault_enter(v);
    v->sets++;
    if (!strikes || v->faults->after) {
        int found;
        size_t at = vault_find(v, id, &found);
        CHECK(size <= VAULT_VALUE_MAX);
        if (!found) {
            if (v->count == VAULT_ROOM) abort();
            memmove(v->items + at + 1, v->items + at, (v->count++ - at) * sizeof *v->items);
            memcpy(v->items[at].id, id, PAWL_VAULT_ID_SIZE);
        }
        v->items[at].size = size;
        memcpy(v->items[at].value, value, size);
    }
    return vault_leave(v, strikes, PAWL_OK);
}

static pawl_status vault_get(void *context, const uint8_t *id, uint8_t *out, size_t out_size, size_t *out_len) {
    host_vault *v = context;
    int strikes = vault_enter(v), found;
    v->gets++;
    size_t at = vault_find(v, id, &found);
    if (!strikes && found) {
        *out_len = v->items[at].size;
        if (out_size >= *out_len) memcpy(out, v->items[at].value, *out_len);
    }
    return vault_leave(v, strikes, found ? PAWL_OK : PAWL_VAULT_ABSENT);
}

static pawl_status vault_remove(void *context, const uint8_t *id) {
    host_vault *v = context;
    int strikes = vault_enter(v), found;
    v->removes++;
    size_t at = vault_find(v, id, &found);
    if (found && (!strikes || v->faults->after)) {
        memmove(v->items + at, v->items + at + 1, (--v->count - at) * sizeof *v->items);
    }
    return vault_leave(v, strikes, PAWL_OK);
}

static pawl_status vault_next(void *context, const uint8_t *after, uint8_t *id) {
    host_vault *v = context;
    int strikes = vault_enter(v), found = 0;
    v->nexts++;
    size_t at = after == NULL ? 0 : vault_find(v, after, &found);
    if (found) at++;
    pawl_status status = at < v->count ? PAWL_OK : PAWL_VAULT_ABSENT;
    if (!strikes && status == PAWL_OK) memcpy(id, v->items[at].id, PAWL_VAULT_ID_SIZE);
    return vault_leave(v, strikes, status);
}

static UNUSED pawl_vault host_vault_table(host_vault *v) {
    pawl_vault table = PAWL_INIT(pawl_vault);
    table.context = v;
    table.set = vault_set;
    table.get = vault_get;
    table.remove = vault_remove;
    table.next = vault_next;
    return table;
}

#endif
