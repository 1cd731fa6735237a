/* load_bench LIBRARY STORE: the milliseconds that a fresh process needs to load the library, open the store
 * that store_bench filled, get one credential, and close. Not linked to Pawl, libsodium or SQLite. */
#include <dlfcn.h>
#include <pawl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *library;

/* A function of the library, stored where its pointer is. */
static void load(const char *name, void *pointer) {
    void *found = dlsym(library, name);
    if (found == NULL) exit(2);
    memcpy(pointer, &found, sizeof found);
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    double start = now();
    library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        fprintf(stderr, "load_bench: %s\n", dlerror());
        return 2;
    }
    pawl_status (*open)(const pawl_store_options *, pawl_store **);
    pawl_status (*get)(pawl_store *, const pawl_scope *, const void *, size_t, pawl_view **);
    void (*view_close)(pawl_view *);
    void (*close)(pawl_store *);
    load("pawl_store_open", &open);
    load("pawl_credential_get", &get);
    load("pawl_view_close", &view_close);
    load("pawl_store_close", &close);

    pawl_key key = PAWL_INIT(pawl_key);
    key.kind = PAWL_KEY_RAW;
    key.secret = "thirty-two bytes for a raw key!";
    key.secret_size = 32;
    pawl_store_options options = PAWL_INIT(pawl_store_options);
    options.path = argv[2];
    options.path_size = strlen(argv[2]);
    options.key = &key;
    pawl_scope scope = PAWL_INIT(pawl_scope);
    scope.user = "user";
    scope.user_size = 4;
    pawl_store *store = NULL;
    pawl_view *view = NULL;
    if (open(&options, &store) != PAWL_OK) return 3;
    if (get(store, &scope, "secret/00000007", 15, &view) != PAWL_OK) return 4;
    view_close(view);
    close(store);
    printf("%.3f\n", (now() - start) * 1e3);
    return 0;
}
