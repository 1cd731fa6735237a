/* What the benchmarks share: each measurement in a process and on files of its own, two sides that take turns, medians
 * over PAWL_BENCH_RUNS (7) turns, and `name,metric,value` lines. The files lie in TMPDIR (/tmp); on a memory file
 * system a commit costs nothing and the ratios say little. */
#ifndef PAWL_BENCH_H
#define PAWL_BENCH_H

#include <pawl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_RUNS 99

static char folder[256];
static const uint8_t key_bytes[32] = "thirty-two bytes for a raw key!";
static int runs = 7;

static void stop(const char *what, const char *why) {
    fprintf(stderr, "bench: %s: %s\n", what, why);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void file_in(const char *name, char path[512]) { snprintf(path, 512, "%s/%s", folder, name); }

static inline void remove_file(const char *name) {
    const char *endings[] = {"", "-wal", "-shm", "-journal", "-bell"};
    char path[512], full[600];
    file_in(name, path);
    for (int i = 0; i < 5; i++) {
        snprintf(full, sizeof full, "%s%s", path, endings[i]);
        unlink(full);
    }
}

/* Runs a measurement in a process of its own. */
static inline double apart(double (*measure)(void)) {
    int ends[2];
    double result = 0;
    fflush(NULL);
    if (pipe(ends) != 0) stop("pipe", "no more");
    pid_t child = fork();
    if (child < 0) stop("fork", "no more");
    if (child == 0) {
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

static inline int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static inline double median(const double *values, int count) {
    double sorted[MAX_RUNS];
    memcpy(sorted, values, (size_t)count * sizeof *values);
    qsort(sorted, (size_t)count, sizeof *sorted, by_size);
    return count % 2 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

static inline double resident(void) {
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f == NULL || fscanf(f, "%*d %ld", &pages) != 1) stop("statm", "cannot be read");
    fclose(f);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static void emit(const char *name, const char *metric, double number) {
    printf("%s,%s,%.6g\n", name, metric, number);
    fflush(stdout);
}

/* Ours against `peer`, and the median of the ratios of each turn. */
static inline void versus(const char *peer, const char *metric, double (*ours)(void), double (*theirs)(void)) {
    double a[MAX_RUNS], b[MAX_RUNS], ratios[MAX_RUNS];
    for (int i = 0; i < runs; i++) {
        /* Whoever goes first in one turn goes second in the next. */
        if (i % 2 == 0) a[i] = apart(ours);
        b[i] = apart(theirs);
        if (i % 2 == 1) a[i] = apart(ours);
        ratios[i] = a[i] / b[i];
    }
    char ratio[96], names[96];
    snprintf(ratio, sizeof ratio, "%s_ratio", metric);
    snprintf(names, sizeof names, "pawl/%s", peer);
    emit(peer, metric, median(b, runs));
    emit("pawl", metric, median(a, runs));
    emit(names, ratio, median(ratios, runs));
}

/* Reads PAWL_BENCH_RUNS and makes the folder. */
static void begin_bench(void) {
    const char *wanted = getenv("PAWL_BENCH_RUNS"), *top = getenv("TMPDIR");
    if (wanted != NULL && atoi(wanted) > 0 && atoi(wanted) <= MAX_RUNS) runs = atoi(wanted);
    snprintf(folder, sizeof folder, "%s/pawl-bench-XXXXXX", top != NULL ? top : "/tmp");
    if (mkdtemp(folder) == NULL) stop("mkdtemp", folder);
}

static inline void must(pawl_status status, const char *what) {
    if (status != PAWL_OK) stop(what, pawl_status_name(status));
}

/* NULL: in memory. */
static inline pawl_store *open_here(const char *name) {
    char path[512] = "";
    if (name != NULL) file_in(name, path);
    pawl_key key = PAWL_INIT(pawl_key);
    key.kind = PAWL_KEY_RAW;
    key.secret = key_bytes;
    key.secret_size = sizeof key_bytes;
    pawl_store_options options = PAWL_INIT(pawl_store_options);
    options.flags = name != NULL ? PAWL_STORE_CREATE : PAWL_STORE_MEMORY;
    options.path = path;
    options.path_size = strlen(path);
    options.key = &key;
    pawl_store *store = NULL;
    must(pawl_store_open(&options, &store), "open");
    return store;
}

#endif
