/* session_bench: sessions against the least work that libsodium itself needs for the same, as `name,metric,value`
 * lines. The floor stores nothing, Pawl's calls all do. */
#include "floor.h"
#include "pair.h"

#define MESSAGES 200000
#define WINDOW 256
#define BLOCK 1000
#define SETUPS 384
#define SIZE 64

static uint8_t message[SIZE], frame[SIZE + PAWL_FRAME_OVERHEAD_MAX], out[SIZE + PAWL_FRAME_OVERHEAD_MAX];

/* ---------------------------------------------------------------- messages */

static double floor_encrypt(void) {
    uint8_t chain[64] = {7};
    double begun = now();
    for (int i = 0; i < MESSAGES; i++) floor_encrypt_one(chain, message, SIZE, frame);
    return MESSAGES / (now() - begun);
}

static double pawl_encrypt(void) {
    open_pair(1);
    for (int i = 0; i < 4096; i++) encrypt(0, message, SIZE, frame);
    double begun = now();
    for (int i = 0; i < MESSAGES; i++) encrypt(0, message, SIZE, frame);
    double rate = MESSAGES / (now() - begun);
    close_pair();
    return rate;
}

static double floor_decrypt(void) {
    enum { COUNT = 20 * WINDOW * 4 };
    static uint8_t texts[COUNT][SIZE + 16];
    uint8_t chain[64] = {7};
    for (int i = 0; i < COUNT; i++) floor_encrypt_one(chain, message, SIZE, texts[i]);
    memset(chain, 0, sizeof chain);
    chain[0] = 7;
    double begun = now();
    for (int i = 0; i < COUNT; i++) floor_decrypt_one(chain, texts[i], SIZE + 16, out);
    return COUNT / (now() - begun);
}

/* Frames of Bob's, in the order given by `turn`, received by `window` at once (1: one by one). */
enum { FRAMES = 20 * WINDOW * 4 };
static uint8_t frames[FRAMES][256], outs[FRAMES][256];
static pawl_delivery deliveries[FRAMES];

static double receive_frames(int count, int window, int (*turn)(int)) {
    open_pair(1);
    for (int i = 0; i < count; i++) {
        size_t size = encrypt(1, message, SIZE, frame);
        int place = turn(i);
        memcpy(frames[place], frame, size);
        pawl_delivery delivery = PAWL_INIT(pawl_delivery);
        delivery.frame = frames[place];
        delivery.frame_size = size;
        delivery.out = outs[place];
        delivery.out_size = sizeof outs[place];
        deliveries[place] = delivery;
    }
    /* A host receives into buffers that it has used before. */
    memset(outs, 1, sizeof outs);
    double begun = now();
    for (int i = 0; i < count; i += window) {
        if (window == 1) {
            if (receive(0, frames[i], deliveries[i].frame_size, out, NULL) != SIZE) stop("receive", "size");
        } else {
            must(pawl_account_receive_many(stores[0], accounts[0], deliveries + i, (size_t)window), "receive_many");
        }
    }
    double rate = count / (now() - begun);
    for (int i = 0; window > 1 && i < count; i++) must(deliveries[i].status, "delivery");
    close_pair();
    return rate;
}

static int in_order(int i) { return i; }
/* Blocks of 1,000, the last first. */
static int reversed(int i) { return i / BLOCK * BLOCK + (BLOCK - 1 - i % BLOCK); }

static double pawl_receive_many(void) { return receive_frames(FRAMES, WINDOW, in_order); }
static double receive_in_order(void) { return receive_frames(4 * BLOCK, 1, in_order); }
static double receive_reversed(void) { return receive_frames(4 * BLOCK, 1, reversed); }
static double many_in_order(void) { return receive_frames(4 * BLOCK, 250, in_order); }
static double many_reversed(void) { return receive_frames(4 * BLOCK, 250, reversed); }

/* ---------------------------------------------------------------- set-ups */

static double floor_setup(void) {
    double begun = now();
    for (int i = 0; i < SETUPS; i++) floor_set_up();
    return SETUPS / (now() - begun);
}

static double setups(size_t group) {
    double took = 0;
    for (int round = 0; round < SETUPS / QUOTA; round++) {
        open_pair(1);
        pawl_view *rows = initiators_of(QUOTA);
        double begun = now();
        for (size_t i = 0; i < QUOTA; i += group) {
            if (group == 1) {
                set_up(rows, i);
            } else {
                set_up_together(rows, i, group);
            }
        }
        took += now() - begun;
        pawl_view_close(rows);
        close_pair();
    }
    return SETUPS / took;
}

static double pawl_setup(void) { return setups(GROUP); }
static double pawl_setup_single(void) { return setups(1); }

/* ---------------------------------------------------------------- sizes */

static double overhead(void) {
    open_pair(1);
    size_t size = encrypt(0, message, SIZE, frame);
    close_pair();
    return (double)(size - SIZE);
}

int main(void) {
    if (sodium_init() < 0) stop("libsodium", "does not start");
    begin_bench();
    versus("floor", "encrypt_64_durable_per_s", pawl_encrypt, floor_encrypt);
    versus("floor", "receive_many_256_per_s", pawl_receive_many, floor_decrypt);
    versus("in_order", "receive_reversed_1000_per_s", receive_reversed, receive_in_order);
    versus("in_order", "receive_many_250_reversed_1000_per_s", many_reversed, many_in_order);
    versus("floor", "setup_per_s", pawl_setup, floor_setup);
    versus("floor", "setup_single_per_s", pawl_setup_single, floor_setup);
    emit("pawl", "overhead_64_bytes", apart(overhead));
    rmdir(folder);
    return 0;
}
