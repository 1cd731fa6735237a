/* sessions_bench: what a session costs among more and more, from 1 to 100,000 (10,000 with PAWL_BENCH_QUICK): its
 * start, the first message after the store was opened, which reads the session and reserves indices, the next message,
 * and what the session takes in the file and, when it was used, in memory. */
#include "pair.h"
#include <sys/mman.h>

#define SIZE 64
#define AT_ONCE 1000
#define USED 10000

static const size_t counts[] = {1, 10, 100, 1000, 10000, 100000};

/* What the processes share. */
static struct shared {
    uint8_t account[16], many[100000][16];
    double first, next, memory;
} *shared;
static size_t from, to;

static void open_alice(void) {
    stores[0] = open_here(files[0]);
    memcpy(accounts[0], shared->account, 16);
}

static double create(void) {
    stores[0] = open_here(files[0]);
    must(pawl_account_create(stores[0], names[0], strlen(names[0]), shared->account), "account");
    pawl_store_close(stores[0]);
    return 0;
}

/* Sessions to peers of their own; answers the seconds of a start, without those of making peer and package. */
static double add(void) {
    double took = 0, begun;
    pawl_store *batch = NULL;
    open_alice();
    for (size_t i = from; i < to; i += AT_ONCE) {
        begun = now();
        must(pawl_batch_begin(stores[0], &batch), "batch");
        took += now() - begun;
        stores[1] = open_here(NULL);
        for (size_t j = i; j < i + AT_ONCE && j < to; j++) {
            char name[32];
            int length = snprintf(name, sizeof name, "bob-%zu", j);
            must(pawl_account_create(stores[1], name, (size_t)length, accounts[1]), "account");
            pawl_view *rows = publish(0);
            begun = now();
            start(batch, accounts[0], name, rows, 0, shared->many[j]);
            took += now() - begun;
            pawl_view_close(rows);
        }
        pawl_store_close(stores[1]);
        begun = now();
        must(pawl_batch_commit(batch), "commit");
        took += now() - begun;
    }
    pawl_store_close(stores[0]);
    return took / (double)(to - from);
}

/* Seconds of a message in each of the sessions, USED at most, which lie all over the file. */
static double use(void) {
    static const uint8_t message[SIZE];
    uint8_t frame[SIZE + PAWL_FRAME_OVERHEAD_MAX];
    size_t used = to < USED ? to : USED;
    double begun = now();
    for (size_t i = 0; i < used; i++) {
        memcpy(sessions[0], shared->many[i * (to / used)], 16);
        encrypt(0, message, SIZE, frame);
    }
    return (now() - begun) / (double)used;
}

static double measure(void) {
    open_alice();
    double before = resident();
    shared->first = use();
    shared->memory = (resident() - before) / (double)(to < USED ? to : USED);
    shared->next = use();
    pawl_store_close(stores[0]);
    return 0;
}

int main(void) {
    char metric[64], path[512];
    struct stat file;
    begin_bench();
    file_in(files[0], path);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) stop("mmap", "no more");
    apart(create);
    if (stat(path, &file) != 0) stop("stat", path);
    double empty = (double)file.st_size;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++, from = to) {
        if (counts[i] > 10000 && getenv("PAWL_BENCH_QUICK") != NULL) break;
        to = counts[i];
        double values[] = {apart(add) * 1e6, apart(measure), 0, 0, 0};
        if (stat(path, &file) != 0) stop("stat", path);
        values[1] = shared->first * 1e6;
        values[2] = shared->next * 1e6;
        values[3] = ((double)file.st_size - empty) / (double)to;
        values[4] = shared->memory;
        const char *what[] = {"start_us", "first_message_us", "next_message_us", "stored_bytes", "memory_bytes"};
        for (size_t j = 0; j < sizeof what / sizeof *what; j++) {
            snprintf(metric, sizeof metric, "session_%s_among_%zu", what[j], to);
            emit("pawl", metric, values[j]);
        }
    }
    remove_file(files[0]);
    rmdir(folder);
    return 0;
}
