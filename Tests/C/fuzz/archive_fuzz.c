/* Hostile archives, wrapped recovery keys and recovery keys as text, by libFuzzer: any bytes, true ones with bytes changed,
 * and, by who has the key, true seals around any entries in any chunks.
 *
 * Nothing crashes; every status is one that the header names; an archive that was changed is refused; and one that is refused
 * has brought nothing. */
#include "fuzz.h"

#include "../wire_peer.h"

#define HEAD 45
#define HEADER 101
#define CHUNK 65536
#define SEALED (CHUNK + 17)

static pawl_store *store;
static const uint8_t raw[32] = {7};
static pawl_key key;
static uint8_t *archive; /* a true one, of two chunks */
static size_t archive_size;
static blob wrapped;
static char text[PAWL_RECOVERY_SIZE_MAX]; /* what is wrapped */

static uint64_t version(void) {
    pawl_scope scope = scope_of("ada", "");
    uint64_t now = 0;
    MUST(pawl_credential_put(store, &scope, "version", 7, NULL, 0, NULL, &now));
    return now;
}

/* Whether it was taken. A refusal brings nothing, so no version was given. */
static int import(const uint8_t *bytes, size_t size, size_t step) {
    pawl_stream *stream = NULL;
    pawl_archive_report report = PAWL_INIT(pawl_archive_report);
    uint64_t before = version();
    MUST(pawl_import_begin(store, &key, &stream));
    pawl_status status = PAWL_OK;
    for (size_t at = 0; at < size && status == PAWL_OK; at += step)
        status = pawl_stream_write(stream, bytes + at, size - at < step ? size - at : step);
    if (status == PAWL_OK) status = pawl_stream_finish(stream);
    MUST(pawl_stream_report(stream, &report));
    pawl_stream_close(stream);
    switch (PAWL_STATUS_REASON(status)) {
    case PAWL_OK:
        NEED(report.credentials + report.unreadable >= report.imported + report.improved + report.kept + report.expired);
        break;
    case PAWL_AUTH: case PAWL_CORRUPT: case PAWL_CORRUPT_NOT_PAWL: case PAWL_VERSION: case PAWL_LIMIT_SECRET:
        NEED(version() == before + 1);
        break;
    default: must(__LINE__, "an import", status);
    }
    return status == PAWL_OK;
}

static size_t step_of(input *in) { return 1 + (size_t)take_byte(in) * 257; }

static void changed_archive(input *in) {
    uint8_t *bytes = malloc(archive_size);
    NEED(bytes != NULL);
    memcpy(bytes, archive, archive_size);
    size_t size = archive_size, step = step_of(in);
    for (int count = take_byte(in) % 8; count > 0; count--) {
        size_t at = take_word(in) % (take_byte(in) % 2 ? archive_size : 160);
        bytes[at] ^= take_byte(in);
    }
    if (take_byte(in) % 4 == 1) size = take_word(in) % (archive_size + 1);
    int is_changed = size != archive_size || memcmp(bytes, archive, archive_size) != 0;
    NEED(import(bytes, size, step) == !is_changed);
    free(bytes);
}

/* Who has the key: chunks of any size and tag, with any bytes in them. */
static void forged_archive(input *in) {
    static uint8_t bytes[HEADER + 3 * (SEALED + 64)], plain[CHUNK + 64];
    uint8_t derived[64];
    size_t size = HEADER;
    memcpy(bytes, archive, HEAD);
    if (take_byte(in) % 8 == 1) bytes[7 + take_byte(in) % (HEAD - 7)] = take_byte(in);
    blob head = {.size = 0};
    add_field(&head, bytes, HEAD);
    derive(derived, 64, raw, "pawl/1 archive", &head);
    memcpy(bytes + HEAD, derived + 32, 32);
    crypto_secretstream_xchacha20poly1305_state state;
    crypto_secretstream_xchacha20poly1305_init_push(&state, bytes + HEAD + 32, derived);
    int count = take_byte(in) % 3;
    for (int i = 0; i <= count; i++) {
        input part = take_part(in);
        uint8_t how = take_byte(in);
        size_t plain_size = how & 1 ? part.size : CHUNK - 8 + how / 8 % 16;
        memset(plain, how, sizeof plain);
        memcpy(plain, part.bytes, part.size < plain_size ? part.size : plain_size);
        uint8_t tag = i == count ? 3 : 0;
        if (how & 2) tag = how >> 2 & 3;
        crypto_secretstream_xchacha20poly1305_push(&state, bytes + size, NULL, plain, plain_size, bytes, HEADER, tag);
        size += plain_size + 17;
    }
    (void)import(bytes, size, step_of(in));
}

/* A credential's record as StorageFormat.md has it, one entry in one chunk, any field any length. */
static void forged_credential(input *in) {
    blob record = {.size = 0}, entry = {.size = 0};
    uint8_t bytes[HEADER + 8300], derived[64], how = take_byte(in);
    add_number(&record, 1 + (how & 1 ? take_byte(in) : 0), 1);
    add_number(&record, how & 2 ? take_byte(in) : 0, 1);
    for (int i = 0; i < 5; i++) {
        uint64_t number = i == 3 || i == 4 ? INT64_MAX : 1;
        if (how & 4) number = (uint64_t)take_word(in) << 32 | take_byte(in);
        add_number(&record, number, 8);
    }
    for (int i = 0; i < 6; i++) {
        static const char *usual[] = {"ada", "", "name", "label", "provider", ""};
        input part = {(const uint8_t *)usual[i], strlen(usual[i])};
        if (take_byte(in) % 4 == 1) part = take_part(in);
        if (part.size > 600) part.size = 600;
        add_number(&record, part.size + (how & 8 ? take_byte(in) : 0), i == 5 ? 4 : 2);
        add(&record, part.bytes, part.size);
    }
    input secret = take_part(in);
    if (secret.size > 2000) secret.size = 2000;
    add_number(&record, secret.size + (how & 16 ? take_byte(in) : 0), 4);
    add(&record, secret.bytes, secret.size);
    add_number(&entry, how & 32 ? take_byte(in) : 1, 1);
    add_number(&entry, record.size + (how & 64 ? take_word(in) % 64 : 0), 4);
    add(&entry, record.bytes, record.size);
    memcpy(bytes, archive, HEADER);
    blob head = {.size = 0};
    add_field(&head, bytes, HEAD);
    derive(derived, 64, raw, "pawl/1 archive", &head);
    crypto_secretstream_xchacha20poly1305_state state;
    crypto_secretstream_xchacha20poly1305_init_push(&state, bytes + HEAD + 32, derived);
    crypto_secretstream_xchacha20poly1305_push(&state, bytes + HEADER, NULL, entry.bytes, entry.size, bytes, HEADER, 3);
    (void)import(bytes, HEADER + entry.size + 17, 100);
}

static void unwrap(const uint8_t *bytes, size_t size, int is_true, int is_forged) {
    char got[PAWL_RECOVERY_SIZE_MAX];
    size_t got_size = 0;
    pawl_status status = pawl_recovery_unwrap(bytes, size, &key, got, sizeof got, &got_size);
    switch (PAWL_STATUS_REASON(status)) {
    case PAWL_OK:
        NEED(is_true || is_forged);
        NEED(!is_true || (got_size == strlen(text) && memcmp(got, text, got_size) == 0));
        break;
    case PAWL_AUTH: case PAWL_CORRUPT: case PAWL_CORRUPT_NOT_PAWL: case PAWL_VERSION: NEED(!is_true); break;
    default: must(__LINE__, "pawl_recovery_unwrap", status);
    }
}

static void changed_wrapping(input *in) {
    blob bytes = wrapped;
    int is_true = !change(in, bytes.bytes, &bytes.size, PAWL_RECOVERY_WRAPPED_SIZE_MAX);
    unwrap(bytes.bytes, bytes.size, is_true, 0);
}

static void forged_wrapping(input *in) {
    uint8_t bytes[HEADER + 300], derived[64];
    memcpy(bytes, wrapped.bytes, HEADER);
    blob head = {.size = 0};
    add_field(&head, bytes, HEAD);
    derive(derived, 64, raw, "pawl/1 archive", &head);
    crypto_secretstream_xchacha20poly1305_state state;
    crypto_secretstream_xchacha20poly1305_init_push(&state, bytes + HEAD + 32, derived);
    uint8_t tag = take_byte(in) % 4;
    input part = take_part(in);
    if (part.size > 256) part.size = 256;
    crypto_secretstream_xchacha20poly1305_push(&state, bytes + HEADER, NULL, part.bytes, part.size, bytes, HEADER, tag);
    unwrap(bytes, HEADER + part.size + 17, 0, 1);
}

/* A recovery key as somebody typed it. */
static void typed(input *in) {
    char typing[512];
    size_t size = strlen(text), got_size;
    uint8_t wrapping[PAWL_RECOVERY_WRAPPED_SIZE_MAX];
    memcpy(typing, text, size);
    if (take_byte(in) % 2) (void)change(in, (uint8_t *)typing, &size, sizeof typing);
    else if (in->size < sizeof typing) memcpy(typing, in->bytes, size = in->size);
    pawl_status status = pawl_recovery_wrap(typing, size, &key, wrapping, sizeof wrapping, &got_size);
    switch (PAWL_STATUS_REASON(status)) {
    case PAWL_OK: unwrap(wrapping, got_size, 0, 1); break;
    case PAWL_MISUSE_RECOVERY: case PAWL_MISUSE_RECOVERY_PREFIX: break;
    default: must(__LINE__, "pawl_recovery_wrap", status);
    }
}

/* ---------------------------------------------------------------- the world, and seeds */

static void world_begin(void) {
    pawl_store_options options = PAWL_INIT(pawl_store_options);
    options.flags = PAWL_STORE_CREATE | PAWL_STORE_MEMORY;
    options.key = &key;
    MUST(pawl_store_open(&options, &store));
}

static void make_archive(void) {
    static uint8_t large[66000];
    pawl_scope scope = scope_of("ada", "");
    const pawl_attribute attribute = {"key", 3, "value", 5};
    pawl_put_options with = PAWL_INIT(pawl_put_options);
    with.flags = PAWL_PUT_SET_ATTRIBUTES;
    with.attributes = &attribute;
    with.attribute_count = 1;
    MUST(pawl_credential_put(store, &scope, "small", 5, "secret", 6, &with, NULL));
    MUST(pawl_credential_put(store, &scope, "large", 5, large, sizeof large, NULL, NULL));
    pawl_stream *stream = NULL;
    NEED((archive = malloc(2 * SEALED)) != NULL);
    MUST(pawl_export_begin(store, NULL, 0, &key, &stream));
    MUST(pawl_stream_read(stream, archive, 2 * SEALED, &archive_size));
    NEED(archive_size > SEALED + HEADER && archive_size < 2 * SEALED);
    pawl_stream_close(stream);
    size_t size;
    MUST(pawl_recovery_key_generate(PAWL_RECOVERY_BACKUP, text, sizeof text, &size));
    MUST(pawl_recovery_wrap(text, size, &key, wrapped.bytes, PAWL_RECOVERY_WRAPPED_SIZE_MAX, &wrapped.size));
}

static void write_seeds(const char *folder) {
    seed(folder, 0, "archive", archive, 3000);
    seed(folder, 1, "flip", (const uint8_t *)"\5\1\0\0\0\200\0\1\0", 9);
    seed(folder, 1, "cut", (const uint8_t *)"\5\0\1\0\0\20\0", 7);
    seed(folder, 1, "whole", (const uint8_t *)"\5\0\0", 3);
    seed(folder, 2, "entries", (const uint8_t *)"\0\0\0\14\2\1\0\0\0x\3\2\0\0\0yz\1\7", 20);
    seed(folder, 2, "chunks", (const uint8_t *)"\0\2\0\5\2\1\0\0\0\100\0\5\2\1\0\0\0\1\7", 20);
    seed(folder, 3, "credential", (const uint8_t *)"\0\0\0\0\0\0\0\0\6secret", 15);
    seed(folder, 3, "numbers", (const uint8_t *)"\4\177\0\0\0\0\177\0\0\0\0\377\0\0\0\0\177\0\0\0\0\177\0\0\0\0\0\0\0\0\0\0\0\1x", 35);
    seed(folder, 4, "flip", (const uint8_t *)"\1\0\56\1\0\0", 6);
    seed(folder, 5, "entry", (const uint8_t *)"\3\0\45\2\40\0\0\0abcdefghijklmnopqrstuvwxyzabcdef", 40);
    seed(folder, 5, "short", (const uint8_t *)"\3\0\45\2\3\0\0\0abcdefghijklmnopqrstuvwxyzabcdef", 40);
    seed(folder, 6, "text", (const uint8_t *)"\1\0\0\0", 4);
    seed(folder, 7, "wrapped", wrapped.bytes, wrapped.size);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    randombytes_set_implementation(&random_source);
    NEED(sodium_init() >= 0);
    key = raw_key_of(raw);
    world_begin();
    make_archive();
    pawl_store_close(store);
    const char *folder = corpus(*argc, *argv);
    if (folder != NULL) write_seeds(folder);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    input in = {bytes, size};
    random_calls = 1 << 20;
    world_begin();
    switch (take_byte(&in) % 8) {
    case 0: {
        size_t step = step_of(&in);
        (void)import(in.bytes, in.size, step);
        break;
    }
    case 1: changed_archive(&in); break;
    case 2: forged_archive(&in); break;
    case 3: forged_credential(&in); break;
    case 4: changed_wrapping(&in); break;
    case 5: forged_wrapping(&in); break;
    case 6: typed(&in); break;
    default: unwrap(in.bytes, in.size, in.size == wrapped.size && memcmp(in.bytes, wrapped.bytes, in.size) == 0, 0); break;
    }
    pawl_view *damages = NULL;
    MUST(pawl_store_verify(store, &damages));
    NEED(pawl_view_count(damages) == 0);
    pawl_view_close(damages);
    pawl_store_close(store);
    return 0;
}
