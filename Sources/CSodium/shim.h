#include <sodium.h>

/* Memory for buffers that libsodium wipes. Builtins, because <stdlib.h> and <string.h> belong to CPlatform. */
static inline void *buffer_allocate(size_t size) { return __builtin_malloc(size); }
static inline void buffer_free(void *memory) { __builtin_free(memory); }
static inline int buffer_is_same(const void *a, const void *b, size_t size) { return __builtin_memcmp(a, b, size) == 0; }

/* X-Wing, where libsodium has it (1.0.22). Elsewhere nothing succeeds. */
#ifdef crypto_kem_PUBLICKEYBYTES
#if crypto_kem_PUBLICKEYBYTES != 1216 || crypto_kem_CIPHERTEXTBYTES != 1120 || crypto_kem_SECRETKEYBYTES != 32 || \
    crypto_kem_SHAREDSECRETBYTES != 32
#error "crypto_kem is not X-Wing"
#endif
static inline int xwing_is_available(void) { return 1; }
static inline int xwing_keypair(unsigned char *public_key, unsigned char *secret_key) {
    return crypto_kem_keypair(public_key, secret_key);
}
static inline int xwing_encapsulate(unsigned char *ciphertext, unsigned char *secret, const unsigned char *public_key) {
    return crypto_kem_enc(ciphertext, secret, public_key);
}
static inline int xwing_decapsulate(unsigned char *secret, const unsigned char *ciphertext,
                                    const unsigned char *secret_key) {
    return crypto_kem_dec(secret, ciphertext, secret_key);
}
#else
static inline int xwing_is_available(void) { return 0; }
static inline int xwing_keypair(unsigned char *public_key, unsigned char *secret_key) {
    (void)public_key, (void)secret_key;
    return -1;
}
static inline int xwing_encapsulate(unsigned char *ciphertext, unsigned char *secret, const unsigned char *public_key) {
    (void)ciphertext, (void)secret, (void)public_key;
    return -1;
}
static inline int xwing_decapsulate(unsigned char *secret, const unsigned char *ciphertext,
                                    const unsigned char *secret_key) {
    (void)secret, (void)ciphertext, (void)secret_key;
    return -1;
}
#endif
