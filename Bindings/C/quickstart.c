/* Stores a credential, reads it back, deletes it: a whole program to start from.
 *
 *     cc quickstart.c $(pkg-config --cflags --libs pawl) && ./a.out
 */
#include <pawl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(pawl_status status, const char *what) {
    if (status == PAWL_OK) return;
    fprintf(stderr, "%s: %s: %s\n", what, pawl_status_name(status), pawl_status_text(status));
    exit(1);
}

int main(void) {
    /* A store in memory, so that the example leaves nothing behind. For a file drop MEMORY and set
     * `path` and `path_size`. The key is 32 random bytes that you keep, or a passphrase. */
    char recovery[PAWL_RECOVERY_SIZE_MAX];
    size_t recovery_size = 0;
    check(pawl_recovery_key_generate(PAWL_RECOVERY_STORE, recovery, sizeof recovery, &recovery_size),
          "recovery key");
    pawl_key key = PAWL_INIT(pawl_key);
    key.kind = PAWL_KEY_RECOVERY;
    key.secret = recovery;
    key.secret_size = recovery_size;

    pawl_store_options options = PAWL_INIT(pawl_store_options);
    options.flags = PAWL_STORE_CREATE | PAWL_STORE_MEMORY;
    options.key = &key;
    pawl_store *store = NULL;
    check(pawl_store_open(&options, &store), "open");
    memset(recovery, 0, sizeof recovery);

    /* A scope says whose credential it is. No scope sees another's. */
    pawl_scope scope = PAWL_INIT(pawl_scope);
    scope.user = "alice";
    scope.user_size = 5;
    scope.project = "website";
    scope.project_size = 7;

    const char *name = "API_KEY";
    const char *secret = "not a real secret";
    uint64_t version = 0;
    check(pawl_credential_put(store, &scope, name, strlen(name), secret, strlen(secret), NULL, &version),
          "put");

    /* A view owns what its rows point to, and is wiped when it is closed. */
    pawl_view *view = NULL;
    check(pawl_credential_get(store, &scope, name, strlen(name), &view), "get");
    pawl_credential credential = PAWL_INIT(pawl_credential);
    check(pawl_view_credential(view, 0, &credential), "row");
    int same = credential.secret_size == strlen(secret) && credential.version == version &&
               memcmp(credential.secret, secret, credential.secret_size) == 0;
    printf("%.*s: %zu bytes, version %llu, %s\n", (int)credential.name_size, credential.name,
           credential.secret_size, (unsigned long long)credential.version,
           same ? "as it was stored" : "NOT as it was stored");
    pawl_view_close(view);

    check(pawl_credential_delete(store, &scope, name, strlen(name), 0), "delete");
    if (pawl_credential_get(store, &scope, name, strlen(name), &view) != PAWL_NOT_FOUND) return 1;

    pawl_store_close(store);
    return same ? 0 : 1;
}
