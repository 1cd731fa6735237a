/* A frame that cannot be the peer's costs one hash: no key is derived for it and its text is not looked at. Counted in
 * libsodium, whose functions are met here on their way from Pawl. */
#include "sessions.h"
#include <dlfcn.h>
#include <sodium.h>

static int hashes, steps, texts;
static const uint8_t *frame_start, *frame_end;

typedef int (*hash_function)(unsigned char *, const unsigned char *, unsigned long long, const unsigned char *);
typedef int (*step_function)(unsigned char *, size_t, uint64_t, const char *, const unsigned char *);
typedef int (*open_function)(unsigned char *, unsigned long long *, unsigned char *, const unsigned char *,
                             unsigned long long, const unsigned char *, unsigned long long, const unsigned char *,
                             const unsigned char *);

/* ISO C has no other way from an object pointer to a function. */
static void find(const char *name, void *function, size_t size) {
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL) abort();
    memcpy(function, &found, size);
}

int crypto_shorthash(unsigned char *out, const unsigned char *in, unsigned long long size, const unsigned char *key) {
    hash_function next;
    find("crypto_shorthash", &next, sizeof next);
    /* Rows of the store are stamped with it, too. */
    if (in >= frame_start && in < frame_end) hashes++;
    return next(out, in, size, key);
}

int crypto_kdf_derive_from_key(unsigned char *out, size_t size, uint64_t id, const char context[8],
                               const unsigned char key[32]) {
    step_function next;
    find("crypto_kdf_derive_from_key", &next, sizeof next);
    steps++;
    return next(out, size, id, context, key);
}

int crypto_aead_xchacha20poly1305_ietf_decrypt(unsigned char *m, unsigned long long *m_size, unsigned char *nsec,
                                               const unsigned char *c, unsigned long long c_size,
                                               const unsigned char *ad, unsigned long long ad_size,
                                               const unsigned char *npub, const unsigned char *k) {
    open_function next;
    find("crypto_aead_xchacha20poly1305_ietf_decrypt", &next, sizeof next);
    if (c >= frame_start && c < frame_end) texts++;
    return next(m, m_size, nsec, c, c_size, ad, ad_size, npub, k);
}

static pawl_status hear_counted(const side *who, const blob *frame) {
    hashes = steps = texts = 0;
    frame_start = (const uint8_t *)frame->bytes;
    frame_end = frame_start + frame->size;
    return hear(who, frame, NULL);
}

static void a_wrong_filter_costs_one_hash(void) {
    pair p;
    pair_meet(&p, KIND_SQLITE);
    blob frame = say(&p.alice, p.at_alice, "to be counted");
    for (size_t place = 10; place < 54; place++) {
        frame.bytes[place] ^= 1;
        ANSWERS(PAWL_AUTH, hear_counted(&p.bob, &frame));
        CHECK(hashes == 1 && steps == 0 && texts == 0);
        frame.bytes[place] ^= 1;
    }
    /* The counters count: a true frame costs a hash, a step and its text. */
    OK(hear_counted(&p.bob, &frame));
    CHECK(hashes == 1 && steps == 1 && texts == 1);
    pair_end(&p);
}

int main(void) {
    RUN(a_wrong_filter_costs_one_hash);
    FINISH;
}
