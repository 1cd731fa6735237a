/* What fuzzers share: checks that end the process, the same keys each time, and what an input says. */
#ifndef PAWL_TEST_FUZZ_H
#define PAWL_TEST_FUZZ_H

#include "../test.h"

#include <sodium.h>

/* libFuzzer keeps an input that aborts. */
#undef NEED
#undef MUST
#define NEED(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            abort(); \
        } \
    } while (0)
#define MUST(call) must(__LINE__, #call, (call))
static void must(int line, const char *call, pawl_status status) {
    if (status == PAWL_OK) return;
    fprintf(stderr, "%s:%d: %s answers %s\n", __FILE__, line, call, pawl_status_name(status));
    abort();
}

/* ---------------------------------------------------------------- the same keys each time */

static uint64_t random_calls;
static void random_buf(void *const out, const size_t size) {
    static const uint8_t key[32] = {1};
    uint8_t nonce[8];
    memcpy(nonce, &random_calls, sizeof nonce);
    random_calls++;
    if (size > 0) crypto_stream_chacha20(out, size, nonce, key);
}
static uint32_t random_word(void) {
    uint32_t word;
    random_buf(&word, sizeof word);
    return word;
}
static const char *random_name(void) { return "fuzz"; }
static randombytes_implementation random_source = {random_name, random_word, NULL, NULL, random_buf, NULL};

/* ---------------------------------------------------------------- what an input says */

typedef struct input {
    const uint8_t *bytes;
    size_t size;
} input;

static uint8_t take_byte(input *in) {
    if (in->size == 0) return 0;
    in->size--;
    return *in->bytes++;
}
static UNUSED uint32_t take_word(input *in) {
    uint32_t word = 0;
    for (int i = 0; i < 4; i++) word = word << 8 | take_byte(in);
    return word;
}
/* A length and so many bytes, or what is left. */
static UNUSED input take_part(input *in) {
    size_t size = (size_t)take_byte(in) << 8;
    size |= take_byte(in);
    if (size > in->size) size = in->size;
    input part = {in->bytes, size};
    in->bytes += size;
    in->size -= size;
    return part;
}
/* Changes bytes, and the length; answers whether anything is different. */
static int change(input *in, uint8_t *bytes, size_t *size, size_t room) {
    static uint8_t before[8192];
    size_t size_before = *size;
    NEED(size_before <= sizeof before);
    memcpy(before, bytes, size_before);
    for (int count = take_byte(in) % 8; count > 0; count--) {
        size_t at = (size_t)take_byte(in) << 8;
        at |= take_byte(in);
        uint8_t with = take_byte(in);
        if (*size > 0) bytes[at % *size] ^= with;
    }
    uint8_t how = take_byte(in);
    size_t by = take_byte(in);
    if (how % 8 == 1 && by <= *size) *size -= by;
    if (how % 8 == 2 && *size + by <= room) {
        memset(bytes + *size, how, by);
        *size += by;
    }
    return *size != size_before || memcmp(before, bytes, size_before) != 0;
}

/* ---------------------------------------------------------------- seeds */

static UNUSED void seed(const char *folder, uint8_t act, const char *name, const uint8_t *bytes, size_t size) {
    char path[1024];
    snprintf(path, sizeof path, "%s/seed-%d-%s", folder, act, name);
    FILE *file = fopen(path, "wb");
    NEED(file != NULL && fwrite(&act, 1, 1, file) == 1 && fwrite(bytes, 1, size, file) == size && fclose(file) == 0);
}

/* Where the corpus is: the first argument that is no option; NULL if there is none. */
static UNUSED const char *corpus(int count, char **arguments) {
    for (int i = 1; i < count; i++) {
        struct stat s;
        if (arguments[i][0] != '-' && stat(arguments[i], &s) == 0 && S_ISDIR(s.st_mode)) return arguments[i];
    }
    return NULL;
}

#endif
