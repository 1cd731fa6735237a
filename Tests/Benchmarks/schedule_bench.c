/* schedule_bench: what it costs to ask for the next deadline, and to run the one job that is due, with more and more
 * jobs stored that are not (PAWL_BENCH_QUICK: at most 100,000); and what a job takes in the file, with the credential
 * that it is about. */
#include "bench.h"

#define AT_ONCE 10000
#define ROUNDS MAX_RUNS
#define FAR INT64_C(4000000000000000000)

static const long sizes[] = {1000, 100000, 1000000};
#define SIZES (sizeof sizes / sizeof *sizes)

static pawl_store *store;
static pawl_scope scope = PAWL_INIT(pawl_scope);

static void put_until(pawl_store *at, long number, int64_t expires_ns) {
    char name[32];
    int size = snprintf(name, sizeof name, "%08ld", number);
    pawl_put_options options = PAWL_INIT(pawl_put_options);
    options.flags = PAWL_PUT_SET_EXPIRY;
    options.expires_ns = expires_ns;
    must(pawl_credential_put(at, &scope, name, (size_t)size, "x", 1, &options, NULL), "put");
}

/* Jobs in no order, so that they lie all over the file. */
static void fill(long from, long to) {
    for (long i = from; i < to; i += AT_ONCE) {
        pawl_store *batch = NULL;
        must(pawl_batch_begin(store, &batch), "begin");
        for (long j = i; j < i + AT_ONCE && j < to; j++) put_until(batch, j, FAR + j * 7919 % 1000003);
        must(pawl_batch_commit(batch), "commit");
    }
}

int main(void) {
    char name[64], path[512];
    struct stat file;
    double next[ROUNDS], run[ROUNDS], costs[2][SIZES];
    size_t count = getenv("PAWL_BENCH_QUICK") == NULL ? SIZES : SIZES - 1;
    begin_bench();
    file_in("schedule.pawl", path);
    scope.user = "ada";
    scope.user_size = 3;
    store = open_here("schedule.pawl");
    for (size_t s = 0; s < count; s++) {
        fill(s == 0 ? 0 : sizes[s - 1], sizes[s]);
        for (int i = 0; i < ROUNDS; i++) {
            int64_t deadline = 0;
            size_t ran = 0;
            double start = now();
            must(pawl_store_next_deadline(store, &deadline), "next");
            next[i] = now() - start;
            struct timespec t;
            clock_gettime(CLOCK_REALTIME, &t);
            put_until(store, sizes[SIZES - 1] + i, (int64_t)t.tv_sec * 1000000000 + t.tv_nsec + 1000000);
            nanosleep(&(struct timespec){0, 2000000}, NULL);
            start = now();
            must(pawl_store_run_due(store, 1, &ran, NULL), "run");
            run[i] = now() - start;
            if (ran != 1) stop("run", "nothing was due");
        }
        costs[0][s] = median(next, ROUNDS) * 1e6;
        costs[1][s] = median(run, ROUNDS) * 1e6;
        snprintf(name, sizeof name, "schedule_%ld_jobs", sizes[s]);
        emit(name, "next_deadline_us", costs[0][s]);
        emit(name, "run_due_one_us", costs[1][s]);
        if (stat(path, &file) != 0) stop("stat", path);
        emit(name, "stored_bytes_each", (double)file.st_size / (double)sizes[s]);
        emit(name, "resident_bytes", resident());
    }
    emit("schedule", "next_deadline_growth", costs[0][count - 1] / costs[0][0]);
    emit("schedule", "run_due_one_growth", costs[1][count - 1] / costs[1][0]);
    pawl_store_close(store);
    remove_file("schedule.pawl");
    rmdir(folder);
    return 0;
}
