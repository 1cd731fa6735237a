/* rekey_bench: rounds of rekeying against the key encapsulation that they consist of: two key pairs and two agreements of
 * X25519, or, where libsodium has X-Wing, one of each of its three calls. Both sides on one thread, each with a store in memory; what they say goes through the outboxes. */
#include "bench.h"
#include <sodium.h>

#define ROUNDS 2000
#define MESSAGES 2000
#define MANY 1000000
#define SIZE 64

static pawl_store *stores[2];
static uint8_t accounts[2][16], sessions[2][16];
static uint8_t message[SIZE], out[SIZE + PAWL_FRAME_OVERHEAD_MAX];

/* Hands over what a side has to say, and answers how many messages arrived. */
static int deliver(int from) {
    int arrived = 0;
    uint64_t done[100];
    pawl_view *items = NULL;
    must(pawl_outbox_take(stores[from], 100, 0, &items), "take");
    for (size_t row = 0; row < pawl_view_count(items); row++) {
        pawl_item item = PAWL_INIT(pawl_item);
        must(pawl_view_item(items, row, &item), "item");
        if (item.kind == PAWL_ITEM_FRAME) {
            pawl_frame frame = PAWL_INIT(pawl_frame);
            frame.bytes = item.body;
            frame.size = item.body_size;
            pawl_received received = PAWL_INIT(pawl_received);
            size_t size = 0;
            must(pawl_account_receive(stores[1 - from], accounts[1 - from], &frame, out, sizeof out, &size, &received),
                 "receive");
            arrived += size == SIZE;
            memcpy(sessions[1 - from], received.session, 16);
        }
        done[row] = item.seq;
    }
    must(pawl_outbox_ack(stores[from], done, pawl_view_count(items)), "ack");
    pawl_view_close(items);
    return arrived;
}

static void open_both(void) {
    pawl_view *rows = NULL;
    for (int i = 0; i < 2; i++) {
        stores[i] = open_here(NULL);
        must(pawl_account_create(stores[i], i == 0 ? "alice" : "bob", i == 0 ? 5 : 3, accounts[i]), "account");
    }
    must(pawl_package_create(stores[1], accounts[1], NULL, &rows), "package");
    pawl_package row = PAWL_INIT(pawl_package);
    must(pawl_view_package(rows, 0, &row), "row");
    pawl_start_options start = PAWL_INIT(pawl_start_options);
    start.peer_name = "bob";
    start.peer_name_size = 3;
    start.package = row.bytes;
    start.package_size = row.bytes_size;
    must(pawl_session_start(stores[0], accounts[0], &start, sessions[0]), "start");
    pawl_view_close(rows);
    for (int i = 0; i < 2; i++) {
        must(pawl_session_send(stores[i], sessions[i], message, SIZE, NULL), "send");
        if (deliver(i) != 1) stop("set-up", "nothing arrived");
    }
}

static void close_both(void) {
    for (int i = 0; i < 2; i++) pawl_store_close(stores[i]);
}

/* `side` asks, and the other answers; both have the epoch when it has said that it has it. */
static uint32_t rekey(int side) {
    uint32_t target = 0;
    must(pawl_session_rekey(stores[side], sessions[side], 0, &target), "rekey");
    deliver(side);
    deliver(1 - side);
    deliver(side);
    return target;
}

static void rekey_often(int rounds) {
    for (int i = 0; i < rounds; i++)
        if (rekey(i % 2) != (uint32_t)i + 1) stop("rekey", "a round did not end");
    for (int i = 0; i < 2; i++)
        must(pawl_session_wait(stores[i], sessions[i], (uint32_t)rounds, 0, NULL), "the last round");
}

#ifdef crypto_kem_PUBLICKEYBYTES
#define METRIC "rekey_rounds_xwing_per_s"
#define PERFECT "perfect_messages_xwing_per_s"
static double floor_rounds(void) {
    static uint8_t offered[crypto_kem_PUBLICKEYBYTES], secret[crypto_kem_SECRETKEYBYTES];
    static uint8_t ciphertext[crypto_kem_CIPHERTEXTBYTES], shared[2][crypto_kem_SHAREDSECRETBYTES];
    double begun = now();
    for (int i = 0; i < ROUNDS; i++)
        if (crypto_kem_keypair(offered, secret) != 0 || crypto_kem_enc(ciphertext, shared[0], offered) != 0 ||
            crypto_kem_dec(shared[1], ciphertext, secret) != 0 || memcmp(shared[0], shared[1], sizeof *shared) != 0)
            stop("floor", "encapsulation");
    return ROUNDS / (now() - begun);
}
#else
#define METRIC "rekey_rounds_x25519_per_s"
#define PERFECT "perfect_messages_per_s"
static double floor_rounds(void) {
    uint8_t offered[32], offered_secret[32], ephemeral[32], secret[32], shared[2][32];
    double begun = now();
    for (int i = 0; i < ROUNDS; i++) {
        crypto_box_keypair(offered, offered_secret);
        crypto_box_keypair(ephemeral, secret);
        if (crypto_scalarmult(shared[0], secret, offered) != 0 ||
            crypto_scalarmult(shared[1], offered_secret, ephemeral) != 0)
            stop("floor", "agreement");
    }
    return ROUNDS / (now() - begun);
}
#endif

static double pawl_rounds(void) {
    open_both();
    double begun = now();
    rekey_often(ROUNDS);
    double rate = ROUNDS / (now() - begun);
    close_both();
    return rate;
}

/* Each message under an epoch of its own, which is a round for each; what it takes rides on the messages. */
static double perfect_messages(void) {
    open_both();
    pawl_rekey_limits limits = PAWL_INIT(pawl_rekey_limits);
    limits.flags = PAWL_LIMITS_PERFECT;
    must(pawl_session_set_limits(stores[0], sessions[0], &limits), "limits");
    double begun = now();
    for (int i = 0; i < MESSAGES; i += 50) {
        for (int j = 0; j < 50; j++) must(pawl_session_send(stores[0], sessions[0], message, SIZE, NULL), "send");
        for (int arrived = 0; arrived < 50; deliver(1)) arrived += deliver(0);
    }
    double rate = MESSAGES / (now() - begun);
    close_both();
    return rate;
}

/* By how much the process grows from the 10,000th round to the last. */
static double growth(void) {
    open_both();
    double before = 0;
    for (int i = 0; i < MANY; i++) {
        if (i == 10000) before = resident();
        rekey(i % 2);
    }
    double bytes = resident() - before;
    close_both();
    return bytes;
}

int main(void) {
    if (sodium_init() < 0) stop("libsodium", "does not start");
    begin_bench();
    versus("floor", METRIC, pawl_rounds, floor_rounds);
    versus("floor", PERFECT, perfect_messages, floor_rounds);
    if (getenv("PAWL_BENCH_QUICK") == NULL) emit("pawl", "growth_over_1000000_rounds_bytes", apart(growth));
    rmdir(folder);
    return 0;
}
