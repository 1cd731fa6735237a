/* session_bench: sessions against the least work that libsodium itself needs for the same, as `name,metric,value`
 * lines. The floor of a message is one chain step and one XChaCha20-Poly1305; of a set-up the agreements,
 * key pairs and signatures of X3DH. Neither stores anything, Pawl's calls all do. */
#include "bench.h"
#include <sodium.h>

#define MESSAGES 200000
#define WINDOW 256
#define BLOCK 1000
#define SETUPS 384
#define QUOTA 192 /* fewer than one account lets wait unconfirmed */
#define GROUP 16
#define MANY 100000
#define SIZE 64

static pawl_store *alice_store, *bob_store;
static uint8_t alice[16], bob[16], alice_side[16], bob_side[16];
static uint8_t message[SIZE], frame[SIZE + PAWL_FRAME_OVERHEAD_MAX], out[SIZE + PAWL_FRAME_OVERHEAD_MAX];

static size_t receive(pawl_store *store, const uint8_t account[16], const uint8_t *bytes, size_t size,
                      uint8_t session[16]) {
    pawl_frame one = PAWL_INIT(pawl_frame);
    one.bytes = bytes;
    one.size = size;
    pawl_received received = PAWL_INIT(pawl_received);
    size_t length = 0;
    must(pawl_account_receive(store, account, &one, out, sizeof out, &length, &received), "receive");
    if (session != NULL) memcpy(session, received.session, 16);
    return length;
}

/* A key package with one-time keys: row 0, then the keys. */
static pawl_view *publish(uint32_t keys) {
    pawl_package_options options = PAWL_INIT(pawl_package_options);
    options.one_time_count = keys;
    pawl_view *rows = NULL;
    must(pawl_package_create(bob_store, bob, &options, &rows), "package");
    return rows;
}

static void start(pawl_store *store, pawl_view *rows, size_t key, uint8_t session[16]) {
    uint8_t bytes[2 * PAWL_PACKAGE_SIZE_MAX];
    size_t size = 0;
    for (int part = 0; part < 2; part++) {
        pawl_package row = PAWL_INIT(pawl_package);
        must(pawl_view_package(rows, part == 0 ? 0 : key, &row), "package row");
        memcpy(bytes + size, row.bytes, row.bytes_size);
        size += row.bytes_size;
    }
    pawl_start_options options = PAWL_INIT(pawl_start_options);
    options.peer_name = "bob";
    options.peer_name_size = 3;
    options.package = bytes;
    options.package_size = size;
    must(pawl_session_start(store, alice, &options, session), "start");
}

/* A store whose log has the size that it keeps: a commit that makes the log grow takes the disk nearly twice as long. */
static pawl_store *open_used(const char *name) {
    static const uint8_t secret[60000];
    pawl_store *store = open_here(name);
    pawl_scope scope = PAWL_INIT(pawl_scope);
    scope.user = "user";
    scope.user_size = 4;
    for (int i = 0; i < 100; i++)
        must(pawl_credential_put(store, &scope, "x", 1, secret, sizeof secret, NULL, NULL), "put");
    return store;
}

/* Two stores, and a session that both sides have confirmed. */
static void open_both(void) {
    alice_store = open_used("alice.pawl");
    bob_store = open_used("bob.pawl");
    must(pawl_account_create(alice_store, "alice", 5, alice), "account");
    must(pawl_account_create(bob_store, "bob", 3, bob), "account");
    pawl_view *rows = publish(1);
    start(alice_store, rows, 1, alice_side);
    pawl_view_close(rows);
    size_t size = 0;
    for (int turn = 0; turn < 2; turn++) {
        must(pawl_session_encrypt(alice_store, alice_side, message, SIZE, frame, sizeof frame, &size), "encrypt");
        receive(bob_store, bob, frame, size, bob_side);
        must(pawl_session_encrypt(bob_store, bob_side, message, SIZE, frame, sizeof frame, &size), "encrypt");
        receive(alice_store, alice, frame, size, NULL);
    }
}

static void close_both(void) {
    pawl_store_close(alice_store);
    pawl_store_close(bob_store);
    remove_file("alice.pawl");
    remove_file("bob.pawl");
}

/* ---------------------------------------------------------------- messages */

static double floor_encrypt(void) {
    uint8_t chain[64] = {7}, nonce[24] = {0}, header[30] = {0}, text[SIZE + 16];
    double begun = now();
    for (int i = 0; i < MESSAGES; i++) {
        crypto_kdf_derive_from_key(chain, 64, 1, "pawlchn1", chain);
        crypto_aead_xchacha20poly1305_ietf_encrypt(text, NULL, message, SIZE, header, sizeof header, NULL, nonce,
                                                   chain + 32);
    }
    return MESSAGES / (now() - begun);
}

static double pawl_encrypt(void) {
    open_both();
    size_t size = 0;
    for (int i = 0; i < 4096; i++)
        must(pawl_session_encrypt(alice_store, alice_side, message, SIZE, frame, sizeof frame, &size), "encrypt");
    double begun = now();
    for (int i = 0; i < MESSAGES; i++)
        must(pawl_session_encrypt(alice_store, alice_side, message, SIZE, frame, sizeof frame, &size), "encrypt");
    double rate = MESSAGES / (now() - begun);
    close_both();
    return rate;
}

static double floor_decrypt(void) {
    enum { COUNT = 20 * WINDOW * 4 };
    static uint8_t texts[COUNT][SIZE + 16], plain[SIZE];
    uint8_t chain[64] = {7}, nonce[24] = {0}, header[30] = {0};
    for (int i = 0; i < COUNT; i++) {
        crypto_kdf_derive_from_key(chain, 64, 1, "pawlchn1", chain);
        crypto_aead_xchacha20poly1305_ietf_encrypt(texts[i], NULL, message, SIZE, header, sizeof header, NULL, nonce,
                                                   chain + 32);
    }
    memset(chain, 0, sizeof chain);
    chain[0] = 7;
    double begun = now();
    for (int i = 0; i < COUNT; i++) {
        crypto_kdf_derive_from_key(chain, 64, 1, "pawlchn1", chain);
        if (crypto_aead_xchacha20poly1305_ietf_decrypt(plain, NULL, NULL, texts[i], SIZE + 16, header, sizeof header,
                                                       nonce, chain + 32) != 0)
            stop("floor", "does not decrypt");
    }
    return COUNT / (now() - begun);
}

/* Frames of Bob's, in the order given by `turn`, received by `window` at once (1: one by one). */
enum { FRAMES = 20 * WINDOW * 4 };
static uint8_t frames[FRAMES][256], outs[FRAMES][256];
static pawl_delivery deliveries[FRAMES];

static double receive_frames(int count, int window, int (*turn)(int)) {
    open_both();
    for (int i = 0; i < count; i++) {
        size_t size = 0;
        must(pawl_session_encrypt(bob_store, bob_side, message, SIZE, frame, sizeof frame, &size), "encrypt");
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
            if (receive(alice_store, alice, frames[i], deliveries[i].frame_size, NULL) != SIZE) stop("receive", "size");
        } else {
            must(pawl_account_receive_many(alice_store, alice, deliveries + i, (size_t)window), "receive_many");
        }
    }
    double rate = count / (now() - begun);
    for (int i = 0; window > 1 && i < count; i++) must(deliveries[i].status, "delivery");
    close_both();
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
    uint8_t sign_public[32], sign_secret[64], signature[64], text[SIZE + 16], nonce[24] = {0};
    uint8_t identity[2][32], secret[2][32], ephemeral[32], ephemeral_secret[32], agreements[128], root[64];
    crypto_sign_keypair(sign_public, sign_secret);
    for (int i = 0; i < 2; i++) crypto_box_keypair(identity[i], secret[i]);
    crypto_sign_detached(signature, NULL, identity[0], 32, sign_secret);
    double begun = now();
    for (int i = 0; i < SETUPS; i++) {
        /* The package's signature and the one-time key's. */
        for (int part = 0; part < 2; part++)
            if (crypto_sign_verify_detached(signature, identity[0], 32, sign_public) != 0) stop("floor", "verify");
        crypto_box_keypair(ephemeral, ephemeral_secret);
        for (int side = 0; side < 2; side++) {
            for (int part = 0; part < 4; part++)
                if (crypto_scalarmult(agreements + 32 * part, secret[side], identity[1 - side]) != 0) stop("floor", "dh");
            crypto_generichash(root, 64, agreements, sizeof agreements, NULL, 0);
            if (side == 0)
                crypto_aead_xchacha20poly1305_ietf_encrypt(text, NULL, message, SIZE, NULL, 0, NULL, nonce, root);
            else if (crypto_aead_xchacha20poly1305_ietf_decrypt(out, NULL, NULL, text, sizeof text, NULL, 0, nonce,
                                                                root) == 0)
                continue; /* The two sides have other keys here, so it does not open; the work is the same. */
        }
    }
    return SETUPS / (now() - begun);
}

/* Start, first message, accepted, for `count` initiators: each by calls of its own, which are three commits. */
static void set_up_singly(uint8_t (*accounts)[16], pawl_view *rows, size_t first, size_t count) {
    for (size_t i = first; i < first + count; i++) {
        uint8_t session[16], theirs[16];
        size_t size = 0;
        memcpy(alice, accounts[i], 16);
        start(alice_store, rows, i + 1, session);
        must(pawl_session_encrypt(alice_store, session, message, SIZE, frame, sizeof frame, &size), "encrypt");
        receive(bob_store, bob, frame, size, theirs);
    }
}

/* The same as a host does that has many at a time: one batch starts and sends, the outbox hands the frames out and
 * is told that they are delivered, one call receives. Two durable commits for all of them. */
static void set_up_together(uint8_t (*accounts)[16], pawl_view *rows, size_t first, size_t count) {
    static uint8_t plain[GROUP][512];
    uint64_t seqs[GROUP];
    pawl_delivery arrived[GROUP];
    pawl_store *batch = NULL;
    pawl_view *items = NULL;
    must(pawl_batch_begin(alice_store, &batch), "batch");
    for (size_t i = first; i < first + count; i++) {
        uint8_t session[16];
        memcpy(alice, accounts[i], 16);
        start(batch, rows, i + 1, session);
        must(pawl_session_send(batch, session, message, SIZE, NULL), "send");
    }
    must(pawl_batch_commit(batch), "commit");
    must(pawl_outbox_take(alice_store, count, 0, &items), "take");
    if (pawl_view_count(items) != count) stop("take", "count");
    for (size_t i = 0; i < count; i++) {
        pawl_item item = PAWL_INIT(pawl_item);
        must(pawl_view_item(items, i, &item), "item");
        seqs[i] = item.seq;
        arrived[i] = (pawl_delivery)PAWL_INIT(pawl_delivery);
        arrived[i].frame = item.body;
        arrived[i].frame_size = item.body_size;
        arrived[i].out = plain[i];
        arrived[i].out_size = sizeof plain[i];
    }
    must(pawl_account_receive_many(bob_store, bob, arrived, count), "receive_many");
    for (size_t i = 0; i < count; i++) must(arrived[i].status, "delivery");
    must(pawl_outbox_ack(alice_store, seqs, count), "ack");
    pawl_view_close(items);
}

/* Initiators and one-time keys are made before. */
static double setups(size_t group, void (*set_up)(uint8_t (*)[16], pawl_view *, size_t, size_t)) {
    static uint8_t accounts[QUOTA][16];
    double took = 0;
    for (int round = 0; round < SETUPS / QUOTA; round++) {
        open_both();
        pawl_view *rows = publish(QUOTA);
        pawl_store *batch = NULL;
        must(pawl_batch_begin(alice_store, &batch), "batch");
        for (int i = 0; i < QUOTA; i++) {
            char name[32];
            size_t length = (size_t)snprintf(name, sizeof name, "alice-%d", i);
            must(pawl_account_create(batch, name, length, accounts[i]), "account");
        }
        must(pawl_batch_commit(batch), "commit");
        double begun = now();
        for (size_t i = 0; i < QUOTA; i += group) set_up(accounts, rows, i, group);
        took += now() - begun;
        pawl_view_close(rows);
        close_both();
    }
    return SETUPS / took;
}

static double pawl_setup(void) { return setups(GROUP, set_up_together); }
static double pawl_setup_single(void) { return setups(1, set_up_singly); }

/* ---------------------------------------------------------------- sizes */

static double overhead(void) {
    size_t size = 0;
    open_both();
    must(pawl_session_encrypt(alice_store, alice_side, message, SIZE, frame, sizeof frame, &size), "encrypt");
    close_both();
    return (double)(size - SIZE);
}

/* Sessions to as many peers, from one store: what a session takes in the file, and the process when it has sent a
 * message in each. */
static double many_bytes[2];
static void many_sessions(void) {
    alice_store = open_here("alice.pawl");
    bob_store = open_here("bob.pawl");
    must(pawl_account_create(alice_store, "alice", 5, alice), "account");
    uint8_t (*sessions)[16] = malloc(MANY * sizeof *sessions);
    char path[512];
    struct stat before, after;
    file_in("alice.pawl", path);
    stat(path, &before);
    pawl_store *batch = NULL;
    for (int i = 0; i < MANY; i++) {
        char name[32];
        size_t length = (size_t)snprintf(name, sizeof name, "bob-%d", i);
        if (i % 1000 == 0) must(pawl_batch_begin(bob_store, &batch), "batch");
        must(pawl_account_create(batch, name, length, bob), "account");
        pawl_view *rows = NULL;
        must(pawl_package_create(batch, bob, NULL, &rows), "package");
        pawl_package row = PAWL_INIT(pawl_package);
        must(pawl_view_package(rows, 0, &row), "package row");
        pawl_start_options options = PAWL_INIT(pawl_start_options);
        options.peer_name = name;
        options.peer_name_size = length;
        options.package = row.bytes;
        options.package_size = row.bytes_size;
        must(pawl_session_start(alice_store, alice, &options, sessions[i]), "start");
        pawl_view_close(rows);
        if (i % 1000 == 999) must(pawl_batch_commit(batch), "commit");
    }
    pawl_store_close(bob_store);
    pawl_store_close(alice_store);
    stat(path, &after);
    many_bytes[0] = (double)(after.st_size - before.st_size) / MANY;
    alice_store = open_here("alice.pawl");
    for (int i = 0; i < MANY; i++) {
        size_t size = 0;
        must(pawl_session_encrypt(alice_store, sessions[i], message, SIZE, frame, sizeof frame, &size), "encrypt");
    }
    many_bytes[1] = resident();
    pawl_store_close(alice_store);
    free(sessions);
}

static double many_stored(void) {
    many_sessions();
    char path[512];
    file_in("many.txt", path);
    FILE *f = fopen(path, "w");
    if (f == NULL || fprintf(f, "%f", many_bytes[1]) < 1 || fclose(f) != 0) stop("many.txt", "cannot be written");
    return many_bytes[0];
}

static double many_resident(void) {
    char path[512];
    double bytes = 0;
    file_in("many.txt", path);
    FILE *f = fopen(path, "r");
    if (f == NULL || fscanf(f, "%lf", &bytes) != 1 || fclose(f) != 0) stop("many.txt", "cannot be read");
    unlink(path);
    return bytes;
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
    if (getenv("PAWL_BENCH_QUICK") == NULL) {
        emit("pawl", "session_stored_bytes", apart(many_stored));
        emit("pawl", "resident_after_100000_sessions_bytes", many_resident());
        remove_file("alice.pawl");
        remove_file("bob.pawl");
    }
    rmdir(folder);
    return 0;
}
