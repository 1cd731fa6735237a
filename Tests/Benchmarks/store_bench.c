/* store_bench LIBRARY LOAD_BENCH: Pawl against bare SQLite doing the same work, as `name,metric,value` lines.
 *
 * Every measurement runs in a process and on a file of its own; the two sides take turns, and what is
 * printed is the median of PAWL_BENCH_RUNS (7) turns and of the ratios of each turn. The files lie in
 * TMPDIR (/tmp); on a memory file system a commit costs nothing and the ratios say little.
 */
#include <pawl.h>
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PUTS 3000
#define ROWS 100000
#define GETS 30000
#define MAX_RUNS 99

static char folder[256];
static const uint8_t key_bytes[32] = "thirty-two bytes for a raw key!";
static uint8_t value[256];

static void stop(const char *what, const char *why) {
    fprintf(stderr, "store_bench: %s: %s\n", what, why);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static uint64_t state = 88172645463325252u;
static uint64_t chance(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static int name_of(long i, char name[32]) { return snprintf(name, 32, "secret/%08ld", i); }

static void file_in(const char *name, char path[512]) { snprintf(path, 512, "%s/%s", folder, name); }

static void remove_file(const char *name) {
    const char *endings[] = {"", "-wal", "-shm", "-journal"};
    char path[512], full[600];
    file_in(name, path);
    for (int i = 0; i < 4; i++) {
        snprintf(full, sizeof full, "%s%s", path, endings[i]);
        unlink(full);
    }
}

/* ---------------------------------------------------------------- bare SQLite: the same table and settings */

static sqlite3 *db;
static sqlite3_stmt *insert, *find;

static void sql(const char *statement) {
    if (sqlite3_exec(db, statement, NULL, NULL, NULL) != SQLITE_OK) stop(statement, sqlite3_errmsg(db));
}

static void sqlite_open(const char *name) {
    char path[512];
    file_in(name, path);
    if (sqlite3_open(path, &db) != SQLITE_OK) stop("open", sqlite3_errmsg(db));
    sql("PRAGMA journal_mode=WAL");
    sql("PRAGMA synchronous=FULL");
    sql("CREATE TABLE IF NOT EXISTS kv(k BLOB PRIMARY KEY, v BLOB NOT NULL)");
    if (sqlite3_prepare_v2(db, "INSERT OR REPLACE INTO kv(k, v) VALUES(?, ?)", -1, &insert, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(db, "SELECT v FROM kv WHERE k = ?", -1, &find, NULL) != SQLITE_OK) {
        stop("prepare", sqlite3_errmsg(db));
    }
}

static void sqlite_close(void) {
    sqlite3_finalize(insert);
    sqlite3_finalize(find);
    sqlite3_close(db);
}

static void sqlite_put(long i) {
    char name[32];
    sqlite3_bind_blob(insert, 1, name, name_of(i, name), SQLITE_STATIC);
    sqlite3_bind_blob(insert, 2, value, sizeof value, SQLITE_STATIC);
    if (sqlite3_step(insert) != SQLITE_DONE) stop("insert", sqlite3_errmsg(db));
    sqlite3_reset(insert);
}

static void sqlite_get(long i) {
    char name[32];
    uint8_t copy[256];
    sqlite3_bind_blob(find, 1, name, name_of(i, name), SQLITE_STATIC);
    if (sqlite3_step(find) != SQLITE_ROW || sqlite3_column_bytes(find, 0) != sizeof copy) stop("select", name);
    memcpy(copy, sqlite3_column_blob(find, 0), sizeof copy);
    if (memcmp(copy, value, sizeof copy) != 0) stop("select", "another value");
    sqlite3_reset(find);
}

static double sqlite_puts(void) {
    remove_file("puts.sqlite");
    sqlite_open("puts.sqlite");
    double start = now();
    for (long i = 0; i < PUTS; i++) sqlite_put(i);
    double rate = PUTS / (now() - start);
    sqlite_close();
    return rate;
}

static double sqlite_fill(void) {
    sqlite_open("gets.sqlite");
    sql("BEGIN");
    for (long i = 0; i < ROWS; i++) sqlite_put(i);
    sql("COMMIT");
    sqlite_close();
    return 1;
}

static double sqlite_gets(void) {
    sqlite_open("gets.sqlite");
    for (long i = 0; i < GETS / 10; i++) sqlite_get((long)(chance() % ROWS));
    double start = now();
    for (long i = 0; i < GETS; i++) sqlite_get((long)(chance() % ROWS));
    double rate = GETS / (now() - start);
    sqlite_close();
    return rate;
}

/* ---------------------------------------------------------------- Pawl */

static pawl_store *store;
static pawl_scope scope;

static void must(pawl_status status, const char *what) {
    if (status != PAWL_OK) stop(what, pawl_status_text(status));
}

static void pawl_here(const char *name) {
    char path[512];
    file_in(name, path);
    pawl_key key = PAWL_INIT(pawl_key);
    key.kind = PAWL_KEY_RAW;
    key.secret = key_bytes;
    key.secret_size = sizeof key_bytes;
    pawl_store_options options = PAWL_INIT(pawl_store_options);
    options.flags = PAWL_STORE_CREATE;
    options.path = path;
    options.path_size = strlen(path);
    options.key = &key;
    must(pawl_store_open(&options, &store), "open");
    scope = (pawl_scope)PAWL_INIT(pawl_scope);
    scope.user = "user";
    scope.user_size = 4;
}

static void pawl_put(pawl_store *into, long i) {
    char name[32];
    size_t size = (size_t)name_of(i, name);
    must(pawl_credential_put(into, &scope, name, size, value, sizeof value, NULL, NULL), "put");
}

static void pawl_get(long i) {
    char name[32];
    size_t size = (size_t)name_of(i, name);
    pawl_view *view = NULL;
    must(pawl_credential_get(store, &scope, name, size, &view), "get");
    pawl_credential row = PAWL_INIT(pawl_credential);
    must(pawl_view_credential(view, 0, &row), "row");
    if (row.secret_size != sizeof value || memcmp(row.secret, value, sizeof value) != 0) stop("get", "another value");
    pawl_view_close(view);
}

static double pawl_puts(void) {
    remove_file("puts.pawl");
    pawl_here("puts.pawl");
    double start = now();
    for (long i = 0; i < PUTS; i++) pawl_put(store, i);
    double rate = PUTS / (now() - start);
    pawl_store_close(store);
    return rate;
}

static double pawl_fill(void) {
    pawl_here("gets.pawl");
    pawl_store *batch = NULL;
    must(pawl_batch_begin(store, &batch), "begin");
    for (long i = 0; i < ROWS; i++) pawl_put(batch, i);
    must(pawl_batch_commit(batch), "commit");
    pawl_store_close(store);
    return 1;
}

static double pawl_gets(void) {
    pawl_here("gets.pawl");
    for (long i = 0; i < GETS / 10; i++) pawl_get((long)(chance() % ROWS));
    double start = now();
    for (long i = 0; i < GETS; i++) pawl_get((long)(chance() % ROWS));
    double rate = GETS / (now() - start);
    pawl_store_close(store);
    return rate;
}

/* ---------------------------------------------------------------- turns */

/* Runs a measurement in a process of its own. */
static double apart(double (*measure)(void)) {
    int ends[2];
    double result = 0;
    fflush(NULL);
    if (pipe(ends) != 0) stop("pipe", "no more");
    pid_t child = fork();
    if (child < 0) stop("fork", "no more");
    if (child == 0) {
        state ^= (uint64_t)getpid() << 20;
        result = measure();
        _exit(write(ends[1], &result, sizeof result) == sizeof result ? 0 : 1);
    }
    int status = 0;
    close(ends[1]);
    ssize_t got = read(ends[0], &result, sizeof result);
    close(ends[0]);
    if (waitpid(child, &status, 0) != child || status != 0 || got != sizeof result) stop("a measurement", "failed");
    return result;
}

/* Milliseconds that load_bench measured, in a process that is not linked to Pawl. */
static const char *library, *load_program;
static double fresh_process(void) {
    char command[1200], text[64] = "", path[512];
    file_in("gets.pawl", path);
    snprintf(command, sizeof command, "'%s' '%s' '%s'", load_program, library, path);
    FILE *f = popen(command, "r");
    if (f == NULL || fgets(text, sizeof text, f) == NULL || pclose(f) != 0) stop("load_bench", "failed");
    return atof(text);
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *values, int count) {
    double sorted[MAX_RUNS];
    memcpy(sorted, values, (size_t)count * sizeof *values);
    qsort(sorted, (size_t)count, sizeof *sorted, by_size);
    return count % 2 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

static void emit(const char *name, const char *metric, double number) {
    printf("%s,%s,%.6g\n", name, metric, number);
    fflush(stdout);
}

static int runs = 7;

static void versus(const char *metric, double (*ours)(void), double (*theirs)(void)) {
    double a[MAX_RUNS], b[MAX_RUNS], ratios[MAX_RUNS];
    for (int i = 0; i < runs; i++) {
        /* Whoever goes first in one turn goes second in the next. */
        if (i % 2 == 0) a[i] = apart(ours);
        b[i] = apart(theirs);
        if (i % 2 == 1) a[i] = apart(ours);
        ratios[i] = a[i] / b[i];
    }
    char ratio[64];
    snprintf(ratio, sizeof ratio, "%s_ratio", metric);
    emit("sqlite", metric, median(b, runs));
    emit("pawl", metric, median(a, runs));
    emit("pawl/sqlite", ratio, median(ratios, runs));
}

int main(int argc, char **argv) {
    if (argc != 3) stop("usage", "store_bench LIBRARY LOAD_BENCH");
    library = argv[1];
    load_program = argv[2];
    const char *wanted = getenv("PAWL_BENCH_RUNS"), *top = getenv("TMPDIR");
    if (wanted != NULL && atoi(wanted) > 0 && atoi(wanted) <= MAX_RUNS) runs = atoi(wanted);
    snprintf(folder, sizeof folder, "%s/pawl-bench-XXXXXX", top != NULL ? top : "/tmp");
    if (mkdtemp(folder) == NULL) stop("mkdtemp", folder);
    for (size_t i = 0; i < sizeof value; i++) value[i] = (uint8_t)(i * 37);

    versus("put_256_per_s", pawl_puts, sqlite_puts);
    apart(sqlite_fill);
    apart(pawl_fill);
    versus("get_256_among_100k_per_s", pawl_gets, sqlite_gets);

    double times[MAX_RUNS];
    for (int i = 0; i < runs; i++) times[i] = fresh_process();
    emit("pawl", "load_open_get_close_ms", median(times, runs));
    struct stat s;
    if (stat(library, &s) == 0) emit("pawl", "library_bytes", (double)s.st_size);

    const char *files[] = {"puts.pawl", "puts.sqlite", "gets.pawl", "gets.sqlite"};
    for (int i = 0; i < 4; i++) remove_file(files[i]);
    rmdir(folder);
    return 0;
}
