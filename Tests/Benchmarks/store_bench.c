/* store_bench LIBRARY LOAD_BENCH: Pawl against bare SQLite doing the same work, as `name,metric,value` lines.
 */
#include "bench.h"
#include <sqlite3.h>

#define PUTS 3000
#define ROWS 100000
#define GETS 30000


static uint8_t value[256];

static uint64_t state = 88172645463325252u;
static uint64_t chance(void) {
    static int is_seeded;
    if (!is_seeded++) state ^= (uint64_t)getpid() << 20;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static int name_of(long i, char name[32]) { return snprintf(name, 32, "secret/%08ld", i); }

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

static void pawl_here(const char *name) {
    store = open_here(name);
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

int main(int argc, char **argv) {
    if (argc != 3) stop("usage", "store_bench LIBRARY LOAD_BENCH");
    library = argv[1];
    load_program = argv[2];
    begin_bench();
    for (size_t i = 0; i < sizeof value; i++) value[i] = (uint8_t)(i * 37);

    versus("sqlite", "put_256_per_s", pawl_puts, sqlite_puts);
    apart(sqlite_fill);
    apart(pawl_fill);
    versus("sqlite", "get_256_among_100k_per_s", pawl_gets, sqlite_gets);

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
