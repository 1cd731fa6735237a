/* backup_bench: a restore of 100,000 credentials and what it needs of memory, a reset of a backup of a million, and how
 * sending and a restore fare beside each other, as `name,metric,value` lines. The server is in memory, which is not counted.
 * PAWL_BENCH_ITEMS and PAWL_BENCH_RESET say how many in place of 100,000 and 1,000,000.
 * backup_bench growth: what an item costs among 1,000 and more, up to those of a reset. */
#include "../C/backup_server.h"
#include "pair.h"
#include <pthread.h>

#define SIZE 64
#define SENDS 2000
#define BATCH 1000

static long items = 100000, reset_items = 1000000;
static backup_server *server;
static uint8_t secret[PAWL_BACKUP_SECRET_SIZE] = {7}, message[SIZE];
static volatile int is_over;

static pawl_scope scope_here(void) {
    pawl_scope scope = PAWL_INIT(pawl_scope);
    scope.user = "user";
    scope.user_size = 4;
    return scope;
}

static pawl_key secret_key(void) {
    pawl_key key = PAWL_INIT(pawl_key);
    key.kind = PAWL_KEY_RAW;
    key.secret = secret;
    key.secret_size = sizeof secret;
    return key;
}

/* All that is due and all that follows from it. True once something was told. */
static int serve(pawl_store *store, uint32_t until) {
    int is_told = 0;
    for (size_t ran = 1, count = 1; ran + count > 0 && !is_told;) {
        pawl_view *view = NULL;
        uint64_t done[100];
        size_t done_count = 0;
        must(pawl_store_run_due(store, 1000, &ran, NULL), "run_due");
        must(pawl_outbox_take(store, 100, 0, &view), "take");
        count = pawl_view_count(view);
        for (size_t row = 0; row < count; row++) {
            pawl_item item = PAWL_INIT(pawl_item);
            must(pawl_view_item(view, row, &item), "item");
            if (item.kind == PAWL_ITEM_REQUEST && item.what >= PAWL_REQUEST_BACKUP_VERSION) {
                pawl_backup_reply reply;
                must(server_carry_out(server, view, row, &reply), "carry out");
                must(pawl_backup_answer(store, item.seq, &reply), "answer");
                continue;
            }
            is_told |= item.kind == PAWL_ITEM_EVENT && item.what == until;
            done[done_count++] = item.seq;
        }
        must(pawl_outbox_ack(store, done, done_count), "ack");
        pawl_view_close(view);
    }
    return is_told;
}

static void fill(pawl_store *store, long count) {
    pawl_scope scope = scope_here();
    for (long i = 0; i < count; i += BATCH) {
        pawl_store *batch = NULL;
        must(pawl_batch_begin(store, &batch), "begin");
        for (long j = i; j < i + BATCH && j < count; j++) {
            char name[32];
            int size = snprintf(name, sizeof name, "secret/%08ld", j);
            must(pawl_credential_put(batch, &scope, name, (size_t)size, message, SIZE, NULL, NULL), "put");
        }
        must(pawl_batch_commit(batch), "commit");
    }
}

static pawl_backup state_of(pawl_store *store, const uint8_t *account) {
    pawl_backup backup = PAWL_INIT(pawl_backup);
    must(pawl_backup_get(store, account, &backup), "get");
    return backup;
}

/* An account whose backup has so many credentials, acknowledged, and the seconds that they took to upload. */
static pawl_store *backed_up(const char *name, long count, uint8_t account[PAWL_ACCOUNT_ID_SIZE], double *took) {
    pawl_store *store = open_here(name);
    pawl_scope scope = scope_here();
    pawl_key key = secret_key();
    must(pawl_account_create(store, "ada", 3, account), "account");
    must(pawl_backup_create(store, account, &key, 0), "create");
    must(pawl_backup_include(store, account, &scope, 0), "include");
    serve(store, 0);
    fill(store, count);
    double begun = now();
    serve(store, 0);
    *took = now() - begun;
    pawl_backup backup = state_of(store, account);
    if (backup.pending > 0 || backup.acknowledged != (uint64_t)count) stop("fill", "not acknowledged");
    return store;
}

/* Microseconds for an item that is uploaded to the server. */
static double make_server(void) {
    uint8_t account[PAWL_ACCOUNT_ID_SIZE];
    double took = 0;
    pawl_store *store = backed_up("writer.pawl", items, account, &took);
    pawl_store_close(store);
    remove_file("writer.pawl");
    return took * 1e6 / (double)items;
}

/* ---------------------------------------------------------------- restoring */

/* Without what is shared with other processes: the server. */
static double resident_own(void) {
    long size = 0;
    char line[256];
    FILE *f = fopen("/proc/self/status", "r");
    if (f == NULL) stop("status", "cannot be read");
    while (fgets(line, sizeof line, f) != NULL && sscanf(line, "RssAnon: %ld", &size) != 1) {}
    fclose(f);
    return (double)size * 1024;
}

static double most;

static void note_memory(backup_server *of, const pawl_backup_request *request, pawl_backup_reply *reply) {
    (void)of, (void)request, (void)reply;
    double size = resident_own();
    if (size > most) most = size;
}

static void begin_restore(pawl_store *store, uint8_t account[PAWL_ACCOUNT_ID_SIZE]) {
    pawl_key key = secret_key();
    pawl_scope scope = scope_here();
    must(pawl_account_create(store, "ada", 3, account), "account");
    must(pawl_backup_include(store, account, &scope, 0), "include");
    must(pawl_backup_recover(store, account, &key), "recover");
    serve(store, 0);
    must(pawl_backup_restore(store, account, 0), "restore");
}

static double restore(int wants_memory) {
    uint8_t account[PAWL_ACCOUNT_ID_SIZE];
    remove_file("restored.pawl");
    pawl_store *store = open_here("restored.pawl");
    server->meddle = wants_memory ? note_memory : NULL;
    begin_restore(store, account);
    double begun = now();
    if (!serve(store, PAWL_EVENT_BACKUP_RESTORED)) stop("restore", "is not over");
    double rate = (double)items / (now() - begun);
    pawl_scope scope = scope_here();
    char name[32];
    int32_t has = 0;
    int size = snprintf(name, sizeof name, "secret/%08ld", items - 1);
    must(pawl_credential_has(store, &scope, name, (size_t)size, &has), "has");
    if (!has) stop("restore", "something is missing");
    pawl_store_close(store);
    return wants_memory ? most : rate;
}

static double restore_rate(void) { return restore(0); }
static double restore_memory(void) { return restore(1) / 1048576; }

/* ---------------------------------------------------------------- a reset */

static double fill_for_reset(void) {
    uint8_t account[PAWL_ACCOUNT_ID_SIZE];
    double took = 0;
    pawl_store *store = backed_up("reset.pawl", reset_items, account, &took);
    FILE *f = NULL;
    char path[512];
    file_in("account", path);
    if ((f = fopen(path, "w")) == NULL || fwrite(account, 1, 16, f) != 16) stop("account", "cannot be kept");
    fclose(f);
    pawl_store_close(store);
    return 1;
}

/* Milliseconds, until the next version is said to be active and the first of what it is filled with is out. */
static double reset_ms(void) {
    uint8_t account[PAWL_ACCOUNT_ID_SIZE];
    char path[512];
    file_in("account", path);
    FILE *f = fopen(path, "r");
    if (f == NULL || fread(account, 1, 16, f) != 16) stop("account", "is gone");
    fclose(f);
    pawl_store *store = open_here("reset.pawl");
    uint64_t before = state_of(store, account).generation;
    double begun = now();
    must(pawl_backup_reset(store, account, NULL, 0), "reset");
    if (!serve(store, PAWL_EVENT_BACKUP_KEY_CACHED)) stop("reset", "made no version");
    double took = now() - begun;
    if (state_of(store, account).generation <= before) stop("reset", "made no version that is active");
    pawl_store_close(store);
    return took * 1000;
}

/* ---------------------------------------------------------------- sending beside it */

static double times[SENDS];

/* The 99th percentile of sends, one in a millisecond, in microseconds. */
static double sends_p99(void) {
    const struct timespec pause = {0, 1000000};
    int count = 0;
    while (count < SENDS && !is_over) {
        nanosleep(&pause, NULL);
        double begun = now();
        must(pawl_session_send(stores[0], sessions[0], message, SIZE, NULL), "send");
        times[count++] = (now() - begun) * 1e6;
    }
    if (count < 300) stop("sending", "the restore was over first: more PAWL_BENCH_ITEMS");
    qsort(times, (size_t)count, sizeof *times, by_size);
    return times[count * 99 / 100];
}

static void *restore_beside(void *unused) {
    (void)unused;
    serve(stores[0], 0);
    is_over = 1;
    return NULL;
}

static double idle_p99(void) {
    open_pair(1);
    double p99 = sends_p99();
    close_pair();
    return p99;
}

static double restored_per_s;

static double beside_p99(void) {
    uint8_t account[PAWL_ACCOUNT_ID_SIZE];
    pthread_t thread;
    open_pair(1);
    server->page = 50;
    begin_restore(stores[0], account);
    double begun = now();
    if (pthread_create(&thread, NULL, restore_beside, NULL) != 0) stop("thread", "no more");
    double p99 = sends_p99();
    restored_per_s = (double)state_of(stores[0], account).imported / (now() - begun);
    must(pawl_backup_stop_restore(stores[0], account), "stop");
    pthread_join(thread, NULL);
    close_pair();
    return p99;
}

static double restored_beside(void) {
    beside_p99();
    return restored_per_s;
}

/* ---------------------------------------------------------------- growth */

static void measure_growth(void) {
    for (items = 1000; items <= reset_items; items *= 10) {
        char name[32], path[512];
        struct stat file;
        snprintf(name, sizeof name, "backup_%ld_items", items);
        server = server_new((size_t)1 << 21, (size_t)8 << 30);
        server->page = 1000;
        emit(name, "upload_us", apart(make_server));
        emit(name, "restore_us", 1e6 / apart(restore_rate));
        file_in("restored.pawl", path);
        if (stat(path, &file) != 0) stop("restored.pawl", "is gone");
        emit(name, "stored_bytes_each", (double)file.st_size / (double)items);
        emit(name, "resident_bytes_each", apart(restore_memory) * 1048576 / (double)items);
        server_end(server);
        remove_file("restored.pawl");
    }
}

int main(int count, char **arguments) {
    const char *wanted = getenv("PAWL_BENCH_ITEMS"), *reset = getenv("PAWL_BENCH_RESET");
    if (wanted != NULL && atol(wanted) > 0) items = atol(wanted);
    if (reset != NULL && atol(reset) > 0) reset_items = atol(reset);
    begin_bench();
    if (count > 1 && strcmp(arguments[1], "growth") == 0) {
        measure_growth();
        rmdir(folder);
        return 0;
    }
    double values[MAX_RUNS];
    server = server_new((size_t)1 << 21, (size_t)8 << 30);
    server->page = 1000;
    apart(make_server);
    for (int i = 0; i < runs; i++) values[i] = apart(restore_rate);
    emit("pawl", "backup_restore_items_per_s", median(values, runs));
    emit("pawl", "backup_restore_resident_mib", apart(restore_memory));
    double idle[MAX_RUNS], ratios[MAX_RUNS];
    for (int i = 0; i < runs; i++) {
        idle[i] = apart(idle_p99);
        values[i] = apart(beside_p99);
        ratios[i] = values[i] / idle[i];
    }
    emit("pawl", "send_idle_p99_us", median(idle, runs));
    emit("pawl", "send_beside_restore_p99_us", median(values, runs));
    emit("pawl", "send_beside_restore_p99_ratio", median(ratios, runs));
    emit("pawl", "backup_restore_beside_sending_items_per_s", apart(restored_beside));
    server_end(server);

    server = server_new((size_t)1 << 21, (size_t)8 << 30);
    apart(fill_for_reset);
    for (int i = 0; i < runs; i++) values[i] = apart(reset_ms);
    emit("pawl", "backup_reset_ms", median(values, runs));
    const char *left[] = {"writer.pawl", "restored.pawl", "reset.pawl", "account"};
    for (int i = 0; i < 4; i++) remove_file(left[i]);
    rmdir(folder);
    return 0;
}
