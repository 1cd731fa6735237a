/* NOT X-Wing, and not safe: a stand-in with X-Wing's sizes and names, so that Pawl's code around a KEM can be tested
 * where libsodium has none. Public key and ciphertext are an X25519 key, over and over; every byte of both goes into the
 * secret. test_suite2.py has the same one. A libsodium that has X-Wing is left as it is. */
#include_next <sodium.h>
#include <string.h>

#ifndef crypto_kem_PUBLICKEYBYTES
#define crypto_kem_PUBLICKEYBYTES 1216U
#define crypto_kem_CIPHERTEXTBYTES 1120U
#define crypto_kem_SECRETKEYBYTES 32U
#define crypto_kem_SHAREDSECRETBYTES 32U

static inline int stand_in_public(unsigned char *out, size_t size, const unsigned char *secret_key) {
    if (crypto_scalarmult_base(out, secret_key) != 0) return -1;
    for (size_t at = 32; at < size; at += 32) memcpy(out + at, out, 32);
    return 0;
}

static inline int stand_in_secret(unsigned char *out, const unsigned char *mine, const unsigned char *theirs,
                                  const unsigned char *ciphertext, const unsigned char *public_key) {
    unsigned char shared[32], both[crypto_kem_CIPHERTEXTBYTES + crypto_kem_PUBLICKEYBYTES];
    if (crypto_scalarmult(shared, mine, theirs) != 0) return -1;
    memcpy(both, ciphertext, crypto_kem_CIPHERTEXTBYTES);
    memcpy(both + crypto_kem_CIPHERTEXTBYTES, public_key, crypto_kem_PUBLICKEYBYTES);
    return crypto_generichash(out, crypto_kem_SHAREDSECRETBYTES, both, sizeof both, shared, sizeof shared);
}

static inline int crypto_kem_keypair(unsigned char *public_key, unsigned char *secret_key) {
    randombytes_buf(secret_key, crypto_kem_SECRETKEYBYTES);
    return stand_in_public(public_key, crypto_kem_PUBLICKEYBYTES, secret_key);
}

static inline int crypto_kem_enc(unsigned char *ciphertext, unsigned char *secret, const unsigned char *public_key) {
    unsigned char ephemeral[32];
    randombytes_buf(ephemeral, sizeof ephemeral);
    if (stand_in_public(ciphertext, crypto_kem_CIPHERTEXTBYTES, ephemeral) != 0) return -1;
    return stand_in_secret(secret, ephemeral, public_key, ciphertext, public_key);
}

static inline int crypto_kem_dec(unsigned char *secret, const unsigned char *ciphertext,
                                 const unsigned char *secret_key) {
    unsigned char public_key[crypto_kem_PUBLICKEYBYTES];
    if (stand_in_public(public_key, sizeof public_key, secret_key) != 0) return -1;
    return stand_in_secret(secret, secret_key, ciphertext, ciphertext, public_key);
}
#endif
