/* peer_floor: what no library on libsodium can be faster than. It keeps nothing: on disk it is what it is in memory. */
#include "floor.h"
#include "peers.h"

static uint8_t chains[2][64];

static void open_floor(int on_disk) {
    (void)on_disk;
    memset(chains, 7, sizeof chains);
}

static void close_floor(void) {}

static size_t encrypt_floor(int side, const uint8_t *plain, size_t size, uint8_t *message) {
    return floor_encrypt_one(chains[side], plain, size, message);
}

static size_t decrypt_floor(int side, const uint8_t *message, size_t size, uint8_t *plain) {
    return floor_decrypt_one(chains[side], message, size, plain);
}

/* A key pair and an agreement there, an agreement here, two chain steps each, and the message. */
static void turn(int side) {
    static uint8_t keys[2][2][32];
    uint8_t shared[64], chain[64];
    static int is_ready;
    if (!is_ready++) crypto_box_keypair(keys[1][0], keys[1][1]);
    crypto_box_keypair(keys[side][0], keys[side][1]);
    for (int at = 0; at < 2; at++) {
        int of = at == 0 ? side : 1 - side;
        if (crypto_scalarmult(shared, keys[of][1], keys[1 - of][0]) != 0) stop("floor", "agreement");
        crypto_generichash(chain, 64, shared, 32, NULL, 0);
        if (at == 0) {
            floor_encrypt_one(chain, text, SMALL, messages[0]);
        } else {
            floor_decrypt_one(chain, messages[0], SMALL + 16, text_out);
        }
    }
}

static void publish_nothing(size_t count) { (void)count; }

static void set_up_floor(size_t i) {
    (void)i;
    floor_set_up();
}

static void rekey_block(void) {
    for (size_t i = 0; i < this_row->block; i++) floor_round();
}

static const row others[] = {
    {"receive_many_64_durable_per_s", 256, SMALL, 1, encrypt_block, decrypt_block},
    {"receive_many_65536_durable_per_s", 256, 65536, 1, encrypt_block, decrypt_block},
    {"rekey_rounds_per_s", 32, SMALL, 0, NULL, rekey_block},
    {"setup_durable_per_s", 48, SMALL, 1, NULL, set_up_block},
    {0},
};

static const struct library library = {
    .name = "floor",
    .open = open_floor,
    .close = close_floor,
    .keeps = 1,
    .encrypt = encrypt_floor,
    .decrypt = decrypt_floor,
    .turn = turn,
    .publish = publish_nothing,
    .set_up = set_up_floor,
    .others = others,
};

int main(int count, char **wanted) {
    if (sodium_init() < 0) stop("libsodium", "does not start");
    return run(count - 1, wanted + 1);
}
