/* rekey_bench: rounds of rekeying against the key encapsulation that they consist of: two key pairs and two agreements
 * of X25519, or, where libsodium has X-Wing, one of each of its three calls. Both sides on one thread, each with a store
 * in memory; what they say goes through the outboxes. */
#include "floor.h"
#include "pair.h"

#define ROUNDS 2000
#define MESSAGES 2000
#define MANY 1000000
#define SIZE 64

static const uint8_t message[SIZE];

static void rekey_often(int rounds) {
    for (int i = 0; i < rounds; i++)
        if (rekey(i % 2) != (uint32_t)i + 1) stop("rekey", "a round did not end");
    for (int i = 0; i < 2; i++)
        must(pawl_session_wait(stores[i], sessions[i], (uint32_t)rounds, 0, NULL), "the last round");
}

#ifdef crypto_kem_PUBLICKEYBYTES
#define METRIC "rekey_rounds_xwing_per_s"
#define PERFECT "perfect_messages_xwing_per_s"
#else
#define METRIC "rekey_rounds_x25519_per_s"
#define PERFECT "perfect_messages_per_s"
#endif

static double floor_rounds(void) {
    double begun = now();
    for (int i = 0; i < ROUNDS; i++) floor_round();
    return ROUNDS / (now() - begun);
}

static double pawl_rounds(void) {
    open_pair(0);
    double begun = now();
    rekey_often(ROUNDS);
    double rate = ROUNDS / (now() - begun);
    close_pair();
    return rate;
}

/* Each message under an epoch of its own, which is a round for each; what it takes rides on the messages. */
static double perfect_messages(void) {
    open_pair(0);
    pawl_rekey_limits limits = PAWL_INIT(pawl_rekey_limits);
    limits.flags = PAWL_LIMITS_PERFECT;
    must(pawl_session_set_limits(stores[0], sessions[0], &limits), "limits");
    double begun = now();
    for (int i = 0; i < MESSAGES; i += 50) {
        for (int j = 0; j < 50; j++) must(pawl_session_send(stores[0], sessions[0], message, SIZE, NULL), "send");
        for (int arrived = 0; arrived < 50; deliver(1)) arrived += deliver(0);
    }
    double rate = MESSAGES / (now() - begun);
    close_pair();
    return rate;
}

/* By how much the process grows from the 10,000th round to the last. */
static double growth(void) {
    open_pair(0);
    double before = 0;
    for (int i = 0; i < MANY; i++) {
        if (i == 10000) before = resident();
        rekey(i % 2);
    }
    double bytes = resident() - before;
    close_pair();
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
