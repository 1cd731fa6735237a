/* credentials_pawl: names and secrets sealed, with versions, times and labels. */
#include "credentials.h"

static pawl_store *store, *batch;
static pawl_scope scope;

static void open_pawl(void) {
    store = open_here(keeper.file);
    scope = (pawl_scope)PAWL_INIT(pawl_scope);
    scope.user = "user";
    scope.user_size = 4;
}

static void close_pawl(void) { pawl_store_close(store); }

static void begin(void) { must(pawl_batch_begin(store, &batch), "begin"); }

static void commit(void) {
    must(pawl_batch_commit(batch), "commit");
    batch = NULL;
}

static void put_pawl(const char *name, int length, const uint8_t *secret) {
    pawl_store *into = batch != NULL ? batch : store;
    must(pawl_credential_put(into, &scope, name, (size_t)length, secret, sizeof value, NULL, NULL), "put");
}

static void get_pawl(const char *name, int length, uint8_t *secret) {
    pawl_view *view = NULL;
    pawl_credential row = PAWL_INIT(pawl_credential);
    must(pawl_credential_get(store, &scope, name, (size_t)length, &view), "get");
    must(pawl_view_credential(view, 0, &row), "row");
    memcpy(secret, row.secret, row.secret_size);
    pawl_view_close(view);
}

static long list(void) {
    char after[256];
    size_t after_size = 0, got_rows = 0, limit = 1000;
    long found = 0;
    do {
        pawl_view *view = NULL;
        must(pawl_credential_list(store, &scope, after, after_size, limit, &view), "list");
        got_rows = pawl_view_count(view);
        for (size_t i = 0; i < got_rows; i++) {
            pawl_credential row = PAWL_INIT(pawl_credential);
            must(pawl_view_credential(view, i, &row), "row");
            memcpy(after, row.name, row.name_size);
            after_size = row.name_size;
        }
        found += (long)got_rows;
        pawl_view_close(view);
    } while (got_rows == limit);
    return found;
}

static long delete_all(void) {
    uint64_t gone = 0;
    must(pawl_credential_delete_all(store, &scope, 0, &gone), "delete_all");
    return (long)gone;
}

static const struct keeper keeper = {
    .name = "pawl",
    .file = "credentials.pawl",
    .open = open_pawl,
    .close = close_pawl,
    .begin = begin,
    .commit = commit,
    .put = put_pawl,
    .get = get_pawl,
    .list = list,
    .delete_all = delete_all,
};

int main(int count, char **arguments) { return run(count, arguments); }
