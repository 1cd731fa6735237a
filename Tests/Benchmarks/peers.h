/* peer_X METRIC...: how every library of sessions is measured, those of others and Pawl alike, as `name,metric,value`
 * lines; without a metric, the names of those that there are. A block of work is repeated for PAWL_BENCH_SECONDS (0.2),
 * and for half as long before, to warm up. */
#ifndef PAWL_PEERS_H
#define PAWL_PEERS_H

#include "bench.h"

#define SMALL 64
#define BLOCK_MAX 1000
#define OVERHEAD_MAX PAWL_FRAME_OVERHEAD_MAX

typedef struct {
    const char *metric;
    size_t block, size; /* how much at once, and the bytes of a message */
    int on_disk;        /* what a call changed is on disk when it returns */
    void (*before)(void), (*timed)(void);
} row;

/* What a library does. Side 0 began the session. Whatever it cannot do is NULL. */
static const struct library {
    const char *name;
    void (*open)(int on_disk); /* two sides, and a session that both have confirmed */
    void (*close)(void);
    int keeps;       /* on disk, if asked to */
    size_t late_max; /* messages that may be overtaken */
    size_t (*encrypt)(int side, const uint8_t *text, size_t size, uint8_t *message);
    size_t (*decrypt)(int side, const uint8_t *message, size_t size, uint8_t *text);
    void (*turn)(int side); /* a message of SMALL bytes, under a key made for it alone, said and heard */
    void (*publish)(size_t count); /* one-time keys */
    void (*set_up)(size_t i);      /* from a one-time key to the first message of SMALL bytes, heard */
    double (*stored)(void);        /* bytes of a side's session, as it is stored */
    double (*memory)(void);        /* bytes of a side's session in use */
    const row *others;
} library;

static const row *this_row;
static uint8_t *messages[BLOCK_MAX], *text, *text_out;
static size_t message_sizes[BLOCK_MAX];

static void encrypt_block(void) {
    for (size_t i = 0; i < this_row->block; i++)
        message_sizes[i] = library.encrypt(0, text, this_row->size, messages[i]);
}

static void decrypt_one(size_t i) {
    if (library.decrypt(1, messages[i], message_sizes[i], text_out) != this_row->size) stop("decrypt", "another size");
}

static void decrypt_block(void) {
    for (size_t i = 0; i < this_row->block; i++) decrypt_one(i);
}

static void decrypt_backwards(void) {
    for (size_t i = this_row->block; i-- > 0;) decrypt_one(i);
}

static void turn_block(void) {
    for (size_t i = 0; i < this_row->block; i++) library.turn((int)(i % 2));
}

static void publish_block(void) { library.publish(this_row->block); }

static void set_up_block(void) {
    for (size_t i = 0; i < this_row->block; i++) library.set_up(i);
}

static const row rows[] = {
    {"encrypt_64_per_s", 256, SMALL, 0, NULL, encrypt_block},
    {"encrypt_64_durable_per_s", 256, SMALL, 1, NULL, encrypt_block},
    {"encrypt_1024_per_s", 256, 1024, 0, NULL, encrypt_block},
    {"encrypt_65536_per_s", 16, 65536, 0, NULL, encrypt_block},
    {"encrypt_65536_durable_per_s", 16, 65536, 1, NULL, encrypt_block},
    {"decrypt_64_per_s", 256, SMALL, 0, encrypt_block, decrypt_block},
    {"decrypt_64_durable_per_s", 64, SMALL, 1, encrypt_block, decrypt_block},
    {"decrypt_1024_per_s", 256, 1024, 0, encrypt_block, decrypt_block},
    {"decrypt_65536_per_s", 16, 65536, 0, encrypt_block, decrypt_block},
    {"late_32_per_s", 32, SMALL, 0, encrypt_block, decrypt_backwards},
    {"late_1000_per_s", 1000, SMALL, 0, encrypt_block, decrypt_backwards},
    {"turn_64_per_s", 32, SMALL, 0, NULL, turn_block},
    {"setup_per_s", 48, SMALL, 0, publish_block, set_up_block},
    {0},
};

static int is_there(const row *of) {
    if (of->on_disk && !library.keeps) return 0;
    if (of->timed == turn_block) return library.turn != NULL;
    if (of->timed == set_up_block) return library.set_up != NULL;
    return of->timed != decrypt_backwards || of->block <= library.late_max;
}

static void measure(const row *of) {
    const char *wanted = getenv("PAWL_BENCH_SECONDS");
    double seconds = wanted != NULL ? atof(wanted) : 0.2, took = 0, cold = seconds / 2, count = 0;
    this_row = of;
    library.open(of->on_disk);
    while (took < seconds) {
        if (of->before != NULL) of->before();
        double begun = now();
        of->timed();
        double passed = now() - begun;
        if (cold > 0) {
            cold -= passed;
        } else {
            took += passed;
            count += (double)of->block;
        }
    }
    library.close();
    emit(library.name, of->metric, count / took);
}

static double overhead(void) {
    library.open(0);
    double bytes = (double)library.encrypt(0, text, SMALL, messages[0]) - SMALL;
    library.close();
    return bytes;
}

/* Every row that there is, or those named. */
static int run(int count, char **wanted) {
    const row *tables[] = {rows, library.others};
    begin_bench();
    size_t room = 65536 * 3 / 2 + OVERHEAD_MAX;
    text = calloc(1, room);
    text_out = calloc(1, room);
    for (size_t i = 0; i < BLOCK_MAX; i++) messages[i] = malloc(i < 256 ? room : SMALL * 2 + OVERHEAD_MAX);
    memset(text, 'x', 65536);
    for (int table = 0; table < 2; table++) {
        for (const row *of = tables[table]; of != NULL && of->metric != NULL; of++) {
            if (!is_there(of)) continue;
            if (count == 0) puts(of->metric);
            for (int i = 0; i < count; i++)
                if (strcmp(wanted[i], of->metric) == 0) measure(of);
        }
    }
    const struct {
        const char *metric;
        double (*value)(void);
    } sizes[] = {{"overhead_64_bytes", overhead},
                 {"session_stored_bytes", library.stored},
                 {"session_memory_bytes", library.memory}};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        if (sizes[s].value == NULL) continue;
        if (count == 0) puts(sizes[s].metric);
        for (int i = 0; i < count; i++)
            if (strcmp(wanted[i], sizes[s].metric) == 0) emit(library.name, sizes[s].metric, sizes[s].value());
    }
    rmdir(folder);
    return 0;
}

#endif
