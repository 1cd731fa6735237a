/* The floor: the least work that libsodium itself needs for what Pawl does, and nothing of what it is needed for: no
 * frames, no state, no storage. Of a message one chain step and one XChaCha20-Poly1305; of a round of rekeying the
 * key encapsulation; of a set-up the agreements, key pairs and signatures of X3DH. */
#ifndef PAWL_FLOOR_H
#define PAWL_FLOOR_H

#include "bench.h"
#include <sodium.h>

static const uint8_t floor_nonce[24], floor_header[30];

/* Answers the size of the ciphertext. */
static inline size_t floor_encrypt_one(uint8_t chain[64], const uint8_t *text, size_t size, uint8_t *out) {
    crypto_kdf_derive_from_key(chain, 64, 1, "pawlchn1", chain);
    crypto_aead_xchacha20poly1305_ietf_encrypt(out, NULL, text, size, floor_header, sizeof floor_header, NULL,
                                               floor_nonce, chain + 32);
    return size + 16;
}

static inline size_t floor_decrypt_one(uint8_t chain[64], const uint8_t *text, size_t size, uint8_t *out) {
    crypto_kdf_derive_from_key(chain, 64, 1, "pawlchn1", chain);
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(out, NULL, NULL, text, size, floor_header, sizeof floor_header,
                                                   floor_nonce, chain + 32) != 0)
        stop("floor", "does not decrypt");
    return size - 16;
}

#ifdef crypto_kem_PUBLICKEYBYTES
static inline void floor_round(void) {
    static uint8_t offered[crypto_kem_PUBLICKEYBYTES], secret[crypto_kem_SECRETKEYBYTES];
    static uint8_t ciphertext[crypto_kem_CIPHERTEXTBYTES], shared[2][crypto_kem_SHAREDSECRETBYTES];
    if (crypto_kem_keypair(offered, secret) != 0 || crypto_kem_enc(ciphertext, shared[0], offered) != 0 ||
        crypto_kem_dec(shared[1], ciphertext, secret) != 0 || memcmp(shared[0], shared[1], sizeof *shared) != 0)
        stop("floor", "encapsulation");
}
#else
static inline void floor_round(void) {
    uint8_t offered[32], offered_secret[32], ephemeral[32], secret[32], shared[2][32];
    crypto_box_keypair(offered, offered_secret);
    crypto_box_keypair(ephemeral, secret);
    if (crypto_scalarmult(shared[0], secret, offered) != 0 ||
        crypto_scalarmult(shared[1], offered_secret, ephemeral) != 0)
        stop("floor", "agreement");
}
#endif

/* Both sides, and a first message of 64 bytes. */
static inline void floor_set_up(void) {
    static uint8_t sign_public[32], sign_secret[64], signature[64], identity[2][32], secret[2][32];
    static int is_ready;
    uint8_t ephemeral[32], ephemeral_secret[32], agreements[128], root[64], text[80], out[64] = {0};
    if (!is_ready++) {
        crypto_sign_keypair(sign_public, sign_secret);
        for (int i = 0; i < 2; i++) crypto_box_keypair(identity[i], secret[i]);
        crypto_sign_detached(signature, NULL, identity[0], 32, sign_secret);
    }
    /* The package's signature and the one-time key's. */
    for (int part = 0; part < 2; part++)
        if (crypto_sign_verify_detached(signature, identity[0], 32, sign_public) != 0) stop("floor", "verify");
    crypto_box_keypair(ephemeral, ephemeral_secret);
    for (int side = 0; side < 2; side++) {
        for (int part = 0; part < 4; part++)
            if (crypto_scalarmult(agreements + 32 * part, secret[side], identity[1 - side]) != 0) stop("floor", "dh");
        crypto_generichash(root, 64, agreements, sizeof agreements, NULL, 0);
        if (side == 0) {
            crypto_aead_xchacha20poly1305_ietf_encrypt(text, NULL, out, sizeof out, NULL, 0, NULL, floor_nonce, root);
        } else if (crypto_aead_xchacha20poly1305_ietf_decrypt(out, NULL, NULL, text, sizeof text, NULL, 0, floor_nonce,
                                                              root) != 0) {
            stop("floor", "the first message");
        }
    }
}

#endif
