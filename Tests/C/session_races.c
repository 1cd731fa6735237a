/* Two processes, and threads, send on one session at once: no index is used twice, and the peer reads every
 * message, in any order. */
#include "session_pair.h"

#define WORKERS 4
#define SMALL 200 /* room for a frame of these short messages */

typedef struct small_frame {
    size_t size;
    uint8_t bytes[SMALL];
} small_frame;

static side alice, bob;
static volatile int *go;

/* Where each worker leaves its frames. */
static small_frame *frames[WORKERS];
static volatile long *counts;

typedef struct worker {
    int number;
    long messages;
    pawl_store *store; /* NULL: it opens its own */
} worker;

static int text_of(char *text, size_t room, int worker, long number) {
    return snprintf(text, room, "message %ld of worker %d", number, worker);
}

static void save(const void *bytes, size_t size, int worker) {
    NEED(size <= SMALL);
    small_frame *f = &frames[worker][counts[worker]];
    memcpy(f->bytes, bytes, size);
    f->size = size;
    counts[worker]++;
}

/* Nine of ten are encrypted, the tenth is sent. */
static void speak(worker *w) {
    char text[64];
    uint8_t bytes[FRAME_ROOM];
    while (!*go) {}
    for (long number = 0; number < w->messages; number++) {
        size_t size = (size_t)text_of(text, sizeof text, w->number, number), frame_size = 0;
        if (number % 10 == 9) {
            MUST(pawl_session_send(w->store, alice.session, text, size, NULL));
        } else {
            MUST(pawl_session_encrypt(w->store, alice.session, text, size, bytes, sizeof bytes, &frame_size));
            save(bytes, frame_size, w->number);
        }
    }
}

static void as_process(void *context) {
    worker *w = context;
    w->store = open_with_clock(alice.path, NULL);
    speak(w);
    pawl_store_close(w->store);
}

static void *as_thread(void *context) {
    speak(context);
    return NULL;
}

static void prepare(void) {
    pair_make(&alice, &bob);
    side_close(&alice); /* before forking: a child must not inherit it */
    side_close(&bob);
    for (int i = 0; i < WORKERS; i++) counts[i] = 0;
    *go = 0;
}

static void save_item(void *context, const pawl_item *item) {
    CHECK(item->kind == PAWL_ITEM_FRAME);
    save(item->body, item->body_size, *(int *)context);
}

static int by_index(const void *a, const void *b) {
    uint32_t x = frame_index((*(const small_frame *const *)a)->bytes);
    uint32_t y = frame_index((*(const small_frame *const *)b)->bytes);
    return (x > y) - (x < y);
}

/* Every index once, every message once, at a peer that gets them in no order. */
static void check_all(int workers, long messages) {
    long total = workers * messages, found = 0;
    const small_frame **all = malloc((size_t)total * sizeof *all);
    uint8_t *seen = calloc((size_t)total, 1);
    side_open(&alice);
    int last = 0; /* takes what the outbox holds */
    drain(alice.store, save_item, &last);
    side_close(&alice);
    for (int i = 0; i < workers; i++) {
        for (long j = 0; j < counts[i]; j++) {
            NEED(found < total);
            all[found++] = &frames[i][j];
        }
    }
    CHECK_SAYING(found == total, "%ld frames for %ld messages", found, total);
    qsort(all, (size_t)found, sizeof *all, by_index);
    long twice = 0;
    for (long i = 1; i < found; i++) twice += by_index(&all[i - 1], &all[i]) == 0;
    CHECK_SAYING(twice == 0, "%ld indices were used twice", twice);
    uint32_t first = frame_index(all[0]->bytes), end = frame_index(all[found - 1]->bytes) + 1;

    /* In disorder, but by less than what a peer keeps keys for. */
    uint64_t seed = (uint64_t)monotonic_ns() | 1;
    for (long i = 0; i < found; i++) {
        long block = i / 1000 * 1000, size = found - block < 1000 ? found - block : 1000;
        long j = block + (long)(chance(&seed) % (uint64_t)size);
        const small_frame *f = all[i];
        all[i] = all[j];
        all[j] = f;
    }
    side_open(&bob);
    static pawl_delivery batch[500];
    static uint8_t out[500][SMALL];
    long refused = 0, wrong = 0;
    for (long at = 0; at < found;) {
        long size = found - at < 500 ? found - at : 500;
        for (long i = 0; i < size; i++) {
            batch[i] = (pawl_delivery)PAWL_INIT(pawl_delivery);
            batch[i].frame = all[at + i]->bytes;
            batch[i].frame_size = all[at + i]->size;
            batch[i].out = out[i];
            batch[i].out_size = SMALL;
        }
        MUST(pawl_account_receive_many(bob.store, bob.account, batch, (size_t)size));
        for (long i = 0; i < size; i++) {
            int who = -1;
            long number = -1;
            char text[SMALL + 1] = "";
            memcpy(text, out[i], batch[i].out_len);
            if (batch[i].status != PAWL_OK) {
                if (refused++ == 0) fprintf(stderr, "  index %u: %s\n", frame_index(all[at + i]->bytes),
                                            pawl_status_name(batch[i].status));
            } else if (sscanf(text, "message %ld of worker %d", &number, &who) != 2 || who < 0 || who >= workers ||
                       number < 0 || number >= messages || seen[who * messages + number]++) {
                wrong++;
            }
        }
        at += size;
    }
    CHECK_SAYING(refused == 0 && wrong == 0, "%ld refused, %ld wrong", refused, wrong);
    CHECK(damage_count(bob.store) == 0);
    side_close(&bob);
    printf("  %ld messages in indices %u-%u\n", total, first, end - 1);
    free(all);
    free(seen);
}

static long per_worker(void) { return test_number("PAWL_MESSAGES", 2000, 10000); }

static void two_processes(void) {
    prepare();
    worker workers[2];
    pid_t children[2];
    for (int i = 0; i < 2; i++) {
        workers[i] = (worker){i, per_worker(), NULL};
        children[i] = child_start(as_process, workers + i);
    }
    *go = 1;
    for (int i = 0; i < 2; i++) CHILD_ENDS_WELL(children[i]);
    check_all(2, per_worker());
}

/* Two threads share a handle, two more another one of the same file. */
static void threads(void) {
    prepare();
    pawl_store *stores[2] = {open_with_clock(alice.path, NULL), open_with_clock(alice.path, NULL)};
    worker workers[WORKERS];
    pthread_t running[WORKERS];
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = (worker){i, per_worker() / 2, stores[i / 2]};
        NEED(pthread_create(running + i, NULL, as_thread, workers + i) == 0);
    }
    *go = 1;
    for (int i = 0; i < WORKERS; i++) pthread_join(running[i], NULL);
    for (int i = 0; i < 2; i++) pawl_store_close(stores[i]);
    check_all(WORKERS, per_worker() / 2);
}

/* One thread sends on a handle and another receives on it. */
static void *send_to_nobody(void *context) {
    side *s = context;
    frame f;
    char text[FRAME_ROOM];
    for (int i = 0; i < 300; i++) {
        snprintf(text, sizeof text, "to nobody %d", i);
        MUST(encrypt(s, text, &f));
        MUST(pawl_session_send(s->store, s->session, text, strlen(text), NULL));
    }
    return NULL;
}

static void sending_while_receiving(void) {
    pair_make(&alice, &bob);
    pthread_t running;
    NEED(pthread_create(&running, NULL, send_to_nobody, &alice) == 0);
    for (int i = 0; i < 300; i++) PASSES(&bob, &alice, "while it sends");
    pthread_join(running, NULL);
    PASSES(&alice, &bob, "and after it");
    side_close(&alice);
    side_close(&bob);
}

int main(void) {
    test_path("");
    go = shared_memory(sizeof *go);
    counts = shared_memory(WORKERS * sizeof *counts);
    size_t most = (size_t)per_worker() * 2 + 1; /* the first takes the outbox's, too */
    for (int i = 0; i < WORKERS; i++) frames[i] = shared_memory(most * sizeof **frames);
    RUN(two_processes);
    RUN(threads);
    RUN(sending_while_receiving);
    FINISH;
}
