/* The cost of list and delete_all follows the scope: with 100,000 credentials of others present, a small
 * scope costs the same storage operations, one for one, as in a store that holds nothing else. */
#include "test.h"

#define FOREIGN 100000
#define OWN 10

static pawl_scope ours, sibling;

typedef struct cost {
    uint64_t transactions, commits, reads, scanned, writes;
} cost;

static cost cost_between(pawl_store *store, const pawl_stats *before) {
    pawl_stats after = PAWL_INIT(pawl_stats);
    MUST(pawl_store_stats(store, &after));
    return (cost){after.transactions - before->transactions, after.commits - before->commits,
                  after.reads - before->reads, after.scanned - before->scanned, after.writes - before->writes};
}

static void fill(pawl_store *store, const pawl_scope *scope, int count) {
    pawl_store *batch = NULL;
    MUST(pawl_batch_begin(store, &batch));
    for (int i = 0; i < count; i++) {
        char name[16];
        snprintf(name, sizeof name, "name-%d", i);
        MUST(put(batch, scope, name, "a secret"));
    }
    MUST(pawl_batch_commit(batch));
}

enum { LIST, PAGE, DELETE_ALL, DELETE_USER, EMPTY_LIST, EMPTY_DELETE_ALL, CALLS };
static const char *call_names[] = {"list", "page", "delete_all", "delete_all of every project", "list of an empty scope",
                                   "delete_all of an empty scope"};

static void measure(pawl_store *store, cost costs[CALLS]) {
    char large[5000];
    memset(large, 'x', sizeof large);
    pawl_scope user = scope_of("small user", "");
    for (int call = 0; call < CALLS; call++) {
        MUST(pawl_credential_delete_all(store, &user, PAWL_DELETE_ALL_PROJECTS, NULL));
        if (call < EMPTY_LIST) {
            fill(store, &ours, OWN);
            fill(store, &sibling, OWN);
            MUST(pawl_credential_put(store, &ours, "large", 5, large, sizeof large, NULL, NULL));
            MUST(put(store, &ours, "aside", "x"));
            MUST(pawl_credential_delete(store, &ours, "aside", 5, 3600 * SECOND));
        }
        pawl_stats before = PAWL_INIT(pawl_stats);
        pawl_view *view = NULL;
        uint64_t count = 0;
        char first[64] = ""; /* of this store's order, which is another in every store */
        if (call == PAGE) {
            pawl_credential c = PAWL_INIT(pawl_credential);
            MUST(pawl_credential_list(store, &ours, NULL, 0, 1, &view));
            MUST(pawl_view_credential(view, 0, &c));
            snprintf(first, sizeof first, "%.*s", (int)c.name_size, (const char *)c.name);
            pawl_view_close(view);
        }
        MUST(pawl_store_stats(store, &before));
        switch (call) {
        case LIST: CHECK(list_count(store, &ours) == OWN + 1); break;
        case PAGE:
            MUST(pawl_credential_list(store, &ours, first, strlen(first), 2, &view));
            CHECK(pawl_view_count(view) == 2);
            pawl_view_close(view);
            break;
        case DELETE_ALL:
            MUST(pawl_credential_delete_all(store, &ours, 0, &count));
            CHECK(count == OWN + 1);
            break;
        case DELETE_USER:
            MUST(pawl_credential_delete_all(store, &user, PAWL_DELETE_ALL_PROJECTS, &count));
            CHECK(count == 2 * OWN + 1);
            break;
        case EMPTY_LIST: CHECK(list_count(store, &ours) == 0); break;
        default: MUST(pawl_credential_delete_all(store, &ours, 0, NULL)); break;
        }
        costs[call] = cost_between(store, &before);
    }
}

static void cost_follows_the_scope(void) {
    cost empty[CALLS], full[CALLS];
    pawl_store *store = open_file(fresh_path());
    measure(store, empty);
    pawl_store_close(store);
    store = open_file(fresh_path());
    /* Of other users, and some of a user whose name is almost the same. */
    pawl_scope others[] = {scope_of("foreign", "project"), scope_of("small use", "project"),
                           scope_of("small users", "project"), scope_of("foreign", "")};
    for (int i = 0; i < 4; i++) fill(store, others + i, FOREIGN / 4);
    measure(store, full);
    for (int i = 0; i < 4; i++) {
        int32_t has = 0;
        MUST(pawl_credential_has(store, others + i, "name-0", 6, &has));
        CHECK(has == 1);
    }
    pawl_store_close(store);
    for (int call = 0; call < CALLS; call++) {
        printf("  %s: %llu read, %llu scanned, %llu written; among %d others %llu, %llu, %llu\n", call_names[call],
               (unsigned long long)empty[call].reads, (unsigned long long)empty[call].scanned,
               (unsigned long long)empty[call].writes, FOREIGN, (unsigned long long)full[call].reads,
               (unsigned long long)full[call].scanned, (unsigned long long)full[call].writes);
        CHECK(memcmp(empty + call, full + call, sizeof(cost)) == 0);
    }
    CHECK(empty[LIST].scanned + empty[LIST].reads >= OWN && empty[DELETE_ALL].writes >= OWN);
}

int main(void) {
    ours = scope_of("small user", "project");
    sibling = scope_of("small user", "another project");
    RUN(cost_follows_the_scope);
    FINISH;
}
