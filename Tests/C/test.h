/* The harness of the C tests: cases, checks, folders, children, and shorthands for the API. Every
 * program ends with FINISH, which prints "N passed, N failed"; a case passes if none of its checks
 * failed. Case functions fork freely: a failed check in a child makes its parent's case fail. */
#ifndef PAWL_TEST_H
#define PAWL_TEST_H

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pawl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

/* ---------------------------------------------------------------- cases and checks */

static int test_faults; /* failed checks in this process, all threads */
static int test_passed, test_failed, test_skipped;
static const char *test_case = "";

static UNUSED void test_fault(const char *file, int line, const char *format, ...) {
    __sync_fetch_and_add(&test_faults, 1);
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fprintf(stderr, "%s:%d: %s: %s\n", file, line, test_case, text);
}

#define CHECK(condition) \
    do { \
        if (!(condition)) test_fault(__FILE__, __LINE__, "not so: %s", #condition); \
    } while (0)
#define CHECK_SAYING(condition, ...) \
    do { \
        if (!(condition)) test_fault(__FILE__, __LINE__, __VA_ARGS__); \
    } while (0)

/* The call answers exactly this status; whatever number an engine gave is left aside. */
static UNUSED int test_answers(const char *file, int line, const char *call, pawl_status got, int want) {
    if (PAWL_STATUS_REASON(got) == want) return 1;
    test_fault(file, line, "%s answers %s (%#x), expected %s", call, pawl_status_name(got), (unsigned)got,
               pawl_status_name(want));
    return 0;
}
#define ANSWERS(want, call) test_answers(__FILE__, __LINE__, #call, (call), (want))
#define OK(call) ANSWERS(PAWL_OK, call)

/* For what a test cannot go on without. */
#define MUST(call) \
    do { \
        if (!OK(call)) test_give_up(); \
    } while (0)
#define NEED(condition) \
    do { \
        if (!(condition)) { \
            test_fault(__FILE__, __LINE__, "not so: %s (errno %d)", #condition, errno); \
            test_give_up(); \
        } \
    } while (0)

/* Ends the case, or the child; a thread of its own cannot be unwound, so it ends the program. */
static jmp_buf test_way_out;
static pid_t test_main_process;
static pthread_t test_main_thread;
static UNUSED void test_give_up(void) {
    fflush(NULL);
    if (getpid() != test_main_process) _exit(1);
    if (pthread_equal(pthread_self(), test_main_thread)) longjmp(test_way_out, 1);
    printf("gave up in a thread of: %s\n%d passed, %d failed\n", test_case, test_passed, test_failed + 1);
    exit(1);
}

#define RUN(function) test_run(#function, function)
static UNUSED void test_run(const char *name, void (*function)(void)) {
    const char *only = getenv("PAWL_ONLY");
    if (only != NULL && strcmp(only, name) != 0) return;
    test_main_process = getpid();
    test_main_thread = pthread_self();
    test_case = name;
    test_faults = 0;
    fflush(NULL);
    if (setjmp(test_way_out) == 0) function();
    if (test_faults == 0) {
        test_passed++;
    } else {
        test_failed++;
        printf("FAILED: %s\n", name);
    }
}

static UNUSED void test_skip(const char *why) {
    test_skipped++;
    printf("skipped: %s: %s\n", test_case, why);
}

static UNUSED int test_finish(void) {
    printf("%d passed, %d failed\n", test_passed, test_failed);
    return test_failed > 0 || test_passed == 0;
}
#define FINISH return test_finish()

static UNUSED int test_is_long(void) { return getenv("PAWL_LONG") != NULL; }
static UNUSED int test_number(const char *variable, int usual, int in_long_run) {
    const char *text = getenv(variable);
    return text != NULL ? atoi(text) : test_is_long() ? in_long_run : usual;
}

/* ---------------------------------------------------------------- time, chance, folders */

static UNUSED int64_t monotonic_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static UNUSED void pause_ns(int64_t ns) {
    struct timespec t = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    nanosleep(&t, NULL);
}

#define SECOND INT64_C(1000000000)

static UNUSED uint64_t chance(uint64_t *state) { /* xorshift64 */
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* A clock that tests set by hand; shared with children if it lies in shared memory. */
static UNUSED int64_t test_time(void *context) { return __atomic_load_n((int64_t *)context, __ATOMIC_SEQ_CST); }

static UNUSED void *shared_memory(size_t size) {
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) abort();
    return memory;
}

static char test_folder[256];
static pid_t test_folder_owner;

static int test_remove_one(const char *path, const struct stat *s, int type, struct FTW *at) {
    (void)s, (void)type, (void)at;
    return remove(path);
}
static void test_remove_folder(void) {
    if (test_folder_owner == getpid()) nftw(test_folder, test_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* A path in this program's own folder, which goes away with it. At most 8 at a time. */
static UNUSED const char *test_path(const char *name) {
    static char paths[8][512];
    static unsigned next;
    if (test_folder[0] == 0) {
        const char *top = getenv("TMPDIR");
        snprintf(test_folder, sizeof test_folder, "%s/pawl-test-XXXXXX", top != NULL ? top : "/tmp");
        if (mkdtemp(test_folder) == NULL) abort();
        test_folder_owner = getpid();
        atexit(test_remove_folder);
    }
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", test_folder, name);
    return path;
}

/* A path no call gave before. */
static UNUSED const char *fresh_path(void) {
    static int count;
    char name[64];
    snprintf(name, sizeof name, "%d-%d.pawl", (int)getpid(), count++);
    return test_path(name);
}

/* ---------------------------------------------------------------- children */

/* Starts a child that runs `function` and tells by its exit whether a check failed. */
static UNUSED pid_t child_start(void (*function)(void *), void *context) {
    fflush(NULL);
    pid_t child = fork();
    if (child < 0) abort();
    if (child > 0) return child;
    test_faults = 0;
    function(context);
    fflush(NULL);
    _exit(test_faults > 0);
}

#define CHILD_ENDS_WELL(child) test_child_ends(__FILE__, __LINE__, (child))
static UNUSED void test_child_ends(const char *file, int line, pid_t child) {
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    if (WIFSIGNALED(status)) test_fault(file, line, "a child died of signal %d", WTERMSIG(status));
    if (WIFEXITED(status) && WEXITSTATUS(status) != 0) {
        test_fault(file, line, "a child failed (%d)", WEXITSTATUS(status));
    }
}
#define IN_CHILD(function, context) CHILD_ENDS_WELL(child_start((function), (context)))

/* ---------------------------------------------------------------- shorthands */

static const uint8_t test_key[32] = "a raw key of thirty-two bytes!!";

static UNUSED pawl_key raw_key_of(const uint8_t secret[32]) {
    pawl_key key = PAWL_INIT(pawl_key);
    key.kind = PAWL_KEY_RAW;
    key.secret = secret;
    key.secret_size = 32;
    return key;
}
static UNUSED pawl_key raw_key(void) { return raw_key_of(test_key); }

/* With the least work that is allowed. */
static UNUSED pawl_key passphrase_key(const char *passphrase) {
    pawl_key key = PAWL_INIT(pawl_key);
    key.kind = PAWL_KEY_PASSPHRASE;
    key.secret = passphrase;
    key.secret_size = strlen(passphrase);
    key.memory_size = PAWL_HASHING_MEMORY_MIN;
    key.passes = PAWL_HASHING_PASSES_MIN;
    return key;
}

static UNUSED pawl_status open_with(const char *path, uint32_t flags, const pawl_key *key, pawl_store **store) {
    pawl_store_options options = PAWL_INIT(pawl_store_options);
    options.flags = flags;
    options.path = path;
    options.path_size = strlen(path);
    options.key = key;
    return pawl_store_open(&options, store);
}

static UNUSED pawl_store *open_file(const char *path) {
    pawl_key key = raw_key();
    pawl_store *store = NULL;
    MUST(open_with(path, PAWL_STORE_CREATE, &key, &store));
    return store;
}

static UNUSED pawl_scope scope_of(const char *user, const char *project) {
    pawl_scope scope = PAWL_INIT(pawl_scope);
    scope.user = user;
    scope.user_size = strlen(user);
    scope.project = project;
    scope.project_size = strlen(project);
    return scope;
}

static UNUSED pawl_status put(pawl_store *store, const pawl_scope *scope, const char *name, const char *secret) {
    return pawl_credential_put(store, scope, name, strlen(name), secret, strlen(secret), NULL, NULL);
}

static UNUSED pawl_status delete_now(pawl_store *store, const pawl_scope *scope, const char *name) {
    return pawl_credential_delete(store, scope, name, strlen(name), 0);
}

/* What `get` answers, and whether the secret is this one (NULL: whatever it is). */
static UNUSED pawl_status get_is(pawl_store *store, const pawl_scope *scope, const char *name,
                                 const char *secret, int *same) {
    pawl_view *view = NULL;
    pawl_status status = pawl_credential_get(store, scope, name, strlen(name), &view);
    if (status == PAWL_OK) {
        pawl_credential c = PAWL_INIT(pawl_credential);
        status = pawl_view_credential(view, 0, &c);
        if (same != NULL && secret != NULL) {
            *same = c.secret_size == strlen(secret) && memcmp(c.secret, secret, c.secret_size) == 0;
        }
    } else if (view != NULL) {
        test_fault(__FILE__, __LINE__, "a refused get left a view");
    }
    pawl_view_close(view);
    return status;
}

#define HOLDS(store, scope, name, secret) \
    test_holds(__FILE__, __LINE__, (store), (scope), (name), (secret))
static UNUSED void test_holds(const char *file, int line, pawl_store *store, const pawl_scope *scope,
                              const char *name, const char *secret) {
    int same = 0;
    pawl_status status = get_is(store, scope, name, secret, &same);
    if (status != PAWL_OK) {
        test_fault(file, line, "get of %s answers %s", name, pawl_status_name(status));
    } else if (!same) {
        test_fault(file, line, "get of %s gives another secret", name);
    }
}

#define LACKS(store, scope, name) \
    test_answers(__FILE__, __LINE__, "get of " #name, get_is((store), (scope), (name), NULL, NULL), PAWL_NOT_FOUND)

static UNUSED size_t list_count(pawl_store *store, const pawl_scope *scope) {
    pawl_view *view = NULL;
    MUST(pawl_credential_list(store, scope, NULL, 0, 10000, &view));
    size_t count = pawl_view_count(view);
    pawl_view_close(view);
    return count;
}

static UNUSED size_t damage_count(pawl_store *store) {
    pawl_view *view = NULL;
    MUST(pawl_store_verify(store, &view));
    size_t count = pawl_view_count(view);
    pawl_view_close(view);
    return count;
}

#endif
