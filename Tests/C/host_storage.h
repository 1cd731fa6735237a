/* A storage engine of a host: a sorted array in memory. Records never change and are counted, so a
 * transaction's snapshot is a copy of the array of pointers. It fails on demand. */
#ifndef PAWL_TEST_HOST_STORAGE_H
#define PAWL_TEST_HOST_STORAGE_H

#include "test.h"

/* Says which callback fails: shared by a storage and a vault, so that a sweep meets both in order. */
typedef struct faults {
    long calls;    /* since arming */
    long fail_at;  /* the number of the call that fails; 0: none */
    int from_then; /* all after it fail too, like a machine that went away */
    int after;     /* the call acts and then fails */
    int hits;
    pawl_status answer;
} faults;

#define HOST_CODE 77

static UNUSED void faults_arm(faults *f, long fail_at, int from_then, int after, pawl_status answer) {
    faults armed = {0, fail_at, from_then, after, 0, answer};
    *f = armed;
}

/* Whether this call fails. Threads that share one are not told apart. */
static UNUSED int faults_strike(faults *f) {
    long call = __sync_add_and_fetch(&f->calls, 1);
    int strikes = f->fail_at > 0 && (call == f->fail_at || (f->from_then && call > f->fail_at));
    if (strikes) __sync_fetch_and_add(&f->hits, 1);
    return strikes;
}

typedef struct host_record {
    long references;
    size_t key_size, value_size;
    uint8_t *key, *value;
} host_record;

typedef struct host_array {
    host_record **records;
    size_t count, room;
} host_array;

typedef struct host_storage {
    pthread_mutex_t lock; /* of committed and writing */
    host_array committed;
    int writing;
    faults *faults; /* never NULL */
    void (*inside)(void *context); /* runs inside every `get`, if set */
    void *inside_context;
    long transactions_open;
} host_storage;

typedef struct host_transaction {
    int writes;
    host_array seen;
} host_transaction;

static int host_compare(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size) {
    int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
    return order != 0 ? order : (a_size > b_size) - (a_size < b_size);
}

static void host_release(host_record *r) {
    if (__sync_sub_and_fetch(&r->references, 1) > 0) return;
    free(r->key);
    free(r->value);
    free(r);
}

static void host_drop(host_array *a) {
    for (size_t i = 0; i < a->count; i++) host_release(a->records[i]);
    free(a->records);
    memset(a, 0, sizeof *a);
}

static host_array host_snapshot(const host_array *a) {
    host_array copy = {malloc((a->count + 1) * sizeof *a->records), a->count, a->count + 1};
    if (copy.records == NULL) abort();
    for (size_t i = 0; i < a->count; i++) {
        copy.records[i] = a->records[i];
        __sync_fetch_and_add(&copy.records[i]->references, 1);
    }
    return copy;
}

/* The place of the first record that is not below the key. */
static size_t host_find(const host_array *a, const uint8_t *key, size_t key_size, int *found) {
    size_t low = 0, high = a->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        host_record *r = a->records[middle];
        if (host_compare(r->key, r->key_size, key, key_size) < 0) low = middle + 1;
        else high = middle;
    }
    *found = low < a->count &&
             host_compare(a->records[low]->key, a->records[low]->key_size, key, key_size) == 0;
    return low;
}

static pawl_status host_begin(void *context, uint32_t mode, void **transaction) {
    host_storage *h = context;
    if (faults_strike(h->faults)) return h->faults->answer;
    pawl_status status = PAWL_OK;
    pthread_mutex_lock(&h->lock);
    if (mode == PAWL_TRANSACTION_WRITE && h->writing) {
        status = PAWL_BUSY;
    } else {
        host_transaction *t = calloc(1, sizeof *t);
        if (t == NULL) abort();
        t->writes = mode == PAWL_TRANSACTION_WRITE;
        t->seen = host_snapshot(&h->committed);
        if (t->writes) h->writing = 1;
        h->transactions_open++;
        *transaction = t;
    }
    pthread_mutex_unlock(&h->lock);
    return status;
}

static pawl_status host_get(void *context, void *transaction, const uint8_t *key, size_t key_size,
                            pawl_visit visit, void *visitor) {
    host_storage *h = context;
    host_transaction *t = transaction;
    if (h->inside != NULL) h->inside(h->inside_context);
    if (faults_strike(h->faults)) return h->faults->answer;
    int found;
    size_t at = host_find(&t->seen, key, key_size, &found);
    if (!found) return PAWL_OK;
    host_record *r = t->seen.records[at];
    return visit(visitor, r->key, r->key_size, r->value, r->value_size);
}

static pawl_status host_remove(void *context, void *transaction, const uint8_t *key, size_t key_size) {
    host_storage *h = context;
    host_transaction *t = transaction;
    CHECK(t->writes);
    if (faults_strike(h->faults)) return h->faults->answer;
    int found;
    size_t at = host_find(&t->seen, key, key_size, &found);
    if (!found) return PAWL_OK;
    host_release(t->seen.records[at]);
    memmove(t->seen.records + at, t->seen.records + at + 1, (--t->seen.count - at) * sizeof *t->seen.records);
    return PAWL_OK;
}

static pawl_status host_put(void *context, void *transaction, const uint8_t *key, size_t key_size,
                            const uint8_t *value, size_t value_size) {
    host_storage *h = context;
    host_transaction *t = transaction;
    CHECK(t->writes);
    CHECK(key_size >= 1 && key_size <= 81);
    CHECK(value_size <= PAWL_SECRET_SIZE_MAX + 8192);
    if (faults_strike(h->faults)) return h->faults->answer;
    host_record *r = calloc(1, sizeof *r);
    if (r == NULL) abort();
    *r = (host_record){1, key_size, value_size, malloc(key_size), malloc(value_size + 1)};
    if (r->key == NULL || r->value == NULL) abort();
    memcpy(r->key, key, key_size);
    if (value_size > 0) memcpy(r->value, value, value_size);
    int found;
    size_t at = host_find(&t->seen, key, key_size, &found);
    if (found) {
        host_release(t->seen.records[at]);
    } else {
        if (t->seen.count == t->seen.room) {
            t->seen.room = t->seen.room * 2 + 1;
            t->seen.records = realloc(t->seen.records, t->seen.room * sizeof *t->seen.records);
            if (t->seen.records == NULL) abort();
        }
        memmove(t->seen.records + at + 1, t->seen.records + at,
                (t->seen.count++ - at) * sizeof *t->seen.records);
    }
    t->seen.records[at] = r;
    return PAWL_OK;
}

static pawl_status host_scan(void *context, void *transaction, const uint8_t *from, size_t from_size,
                             const uint8_t *to, size_t to_size, size_t limit, pawl_visit visit,
                             void *visitor) {
    host_storage *h = context;
    host_transaction *t = transaction;
    if (faults_strike(h->faults)) return h->faults->answer;
    int found;
    for (size_t at = host_find(&t->seen, from, from_size, &found); at < t->seen.count && limit > 0; at++, limit--) {
        host_record *r = t->seen.records[at];
        if (host_compare(r->key, r->key_size, to, to_size) >= 0) break;
        pawl_status status = visit(visitor, r->key, r->key_size, r->value, r->value_size);
        if (status != PAWL_OK) return status;
    }
    return PAWL_OK;
}

static void host_end(host_storage *h, host_transaction *t, int keep) {
    pthread_mutex_lock(&h->lock);
    if (keep && t->writes) {
        host_array old = h->committed;
        h->committed = t->seen;
        t->seen = old;
    }
    if (t->writes) h->writing = 0;
    h->transactions_open--;
    pthread_mutex_unlock(&h->lock);
    host_drop(&t->seen);
    free(t);
}

static pawl_status host_commit(void *context, void *transaction) {
    host_storage *h = context;
    int strikes = faults_strike(h->faults);
    host_end(h, transaction, !strikes || h->faults->after);
    /* A commit that acted may not say that it failed, only that it does not know. */
    return !strikes ? PAWL_OK : h->faults->after ? PAWL_STORE_INDETERMINATE : h->faults->answer;
}

static void host_rollback(void *context, void *transaction) { host_end(context, transaction, 0); }

static UNUSED void host_storage_start(host_storage *h, faults *f) {
    memset(h, 0, sizeof *h);
    pthread_mutex_init(&h->lock, NULL);
    h->faults = f;
}

static UNUSED void host_storage_end(host_storage *h) {
    CHECK(h->transactions_open == 0);
    host_drop(&h->committed);
    pthread_mutex_destroy(&h->lock);
}

/* A copy of what is committed. */
static UNUSED void host_storage_clone(const host_storage *from, host_storage *to, faults *f) {
    host_storage_start(to, f);
    to->committed = host_snapshot(&from->committed);
}

static UNUSED pawl_storage host_storage_table(host_storage *h) {
    pawl_storage table = PAWL_INIT(pawl_storage);
    table.context = h;
    table.begin = host_begin;
    table.get = host_get;
    table.put = host_put;
    table.remove = host_remove;
    table.scan = host_scan;
    table.commit = host_commit;
    table.rollback = host_rollback;
    return table;
}

#endif
