/* credentials_X ROWS: how every store of secrets is measured, with ROWS of 256 bytes, as `name,metric,value` lines. A
 * put replaces one of them and is on disk when it returns; a get reads one; both take them in no order. A list reads
 * every name. Work is repeated for PAWL_BENCH_SECONDS (0.2), and for half as long before. */
#ifndef PAWL_CREDENTIALS_H
#define PAWL_CREDENTIALS_H

#include "bench.h"

#define AT_ONCE 10000

static const struct keeper {
    const char *name, *file;
    void (*open)(void);
    void (*close)(void);
    void (*begin)(void); /* a transaction for all puts until commit */
    void (*commit)(void);
    void (*put)(const char *name, int length, const uint8_t *secret);
    void (*get)(const char *name, int length, uint8_t *secret);
    long (*list)(void);
    long (*delete_all)(void);
} keeper;

static uint8_t value[256], got[256];
static long row_count;

static long chance(void) {
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (long)(state % (uint64_t)row_count);
}

static void put(long i) {
    char name[32];
    keeper.put(name, snprintf(name, sizeof name, "secret/%08ld", i), value);
}

static void put_one(void) { put(chance()); }

static void get_one(void) {
    char name[32];
    memset(got, 0, sizeof got);
    keeper.get(name, snprintf(name, sizeof name, "secret/%08ld", chance()), got);
    if (memcmp(got, value, sizeof value) != 0) stop(name, "another secret");
}

static void list_all(void) {
    if (keeper.list() != row_count) stop("list", "another count");
}

static void open_get_close(void) {
    keeper.open();
    get_one();
    keeper.close();
}

/* How often in a second. */
static double rate(void (*work)(void)) {
    const char *wanted = getenv("PAWL_BENCH_SECONDS");
    double seconds = wanted != NULL ? atof(wanted) : 0.2, took = 0, cold = seconds / 2;
    long count = 0;
    while (took < seconds) {
        double begun = now();
        work();
        double passed = now() - begun;
        if (cold > 0) {
            cold -= passed;
        } else {
            took += passed;
            count++;
        }
    }
    return (double)count / took;
}

static void say(const char *what, double number) {
    char metric[64];
    snprintf(metric, sizeof metric, "%s_among_%ld", what, row_count);
    emit(keeper.name, metric, number);
}

static int run(int count, char **arguments) {
    char path[512];
    struct stat file;
    if (count != 2 || (row_count = atol(arguments[1])) < 1) stop("usage", "credentials_X ROWS");
    begin_bench();
    for (size_t i = 0; i < sizeof value; i++) value[i] = (uint8_t)(i * 37);
    double begun = now();
    keeper.open();
    for (long i = 0; i < row_count; i += AT_ONCE) {
        keeper.begin();
        for (long j = i; j < i + AT_ONCE && j < row_count; j++) put(j);
        keeper.commit();
    }
    keeper.close();
    say("fill_rows_per_s", (double)row_count / (now() - begun));
    file_in(keeper.file, path);
    if (stat(path, &file) != 0) stop("stat", path);
    say("stored_bytes", (double)file.st_size / (double)row_count);
    say("open_get_close_us", 1e6 / rate(open_get_close));
    keeper.open();
    say("get_per_s", rate(get_one));
    say("resident_bytes", resident());
    say("put_per_s", rate(put_one));
    say("list_rows_per_s", (double)row_count * rate(list_all));
    begun = now();
    if (keeper.delete_all() != row_count) stop("delete_all", "another count");
    say("delete_all_rows_per_s", (double)row_count / (now() - begun));
    keeper.close();
    remove_file(keeper.file);
    rmdir(folder);
    return 0;
}

#endif
