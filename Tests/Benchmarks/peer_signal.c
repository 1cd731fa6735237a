/* peer_signal: libsignal-protocol-c. It brings Curve25519 alone; the host gives it HMAC-SHA-256, SHA-512 and
 * AES-256-CBC, here OpenSSL's, and a store. Each call reads the session's record from the store and writes it back:
 * into memory, and with `durable` into SQLite too. Records are not encrypted. */
#define OPENSSL_SUPPRESS_DEPRECATED /* the plain hash functions: with those of OpenSSL 3 it makes half as many */
#include "kept.h"
#include "peers.h"
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <signal/key_helper.h>
#include <signal/protocol.h>
#include <signal/session_builder.h>
#include <signal/session_cipher.h>
#include <signal/session_pre_key.h>
#include <signal/signal_protocol.h>

static signal_context *context;

static int ok(int result, const char *what) {
    if (result < 0) stop(what, "failed");
    return result;
}

/* ---------------------------------------------------------------- what it asks of its host: cryptography */

static int give_random(uint8_t *out, size_t size, void *user) {
    (void)user;
    return RAND_bytes(out, (int)size) == 1 ? 0 : -1;
}

typedef struct {
    SHA256_CTX inner, outer;
} hmac;

static int hmac_begin(void **made, const uint8_t *key, size_t size, void *user) {
    (void)user;
    uint8_t block[64] = {0};
    hmac *h = malloc(sizeof *h);
    if (size > sizeof block) {
        SHA256(key, size, block);
    } else {
        memcpy(block, key, size);
    }
    for (int i = 0; i < 64; i++) block[i] ^= 0x36;
    SHA256_Init(&h->inner);
    SHA256_Update(&h->inner, block, sizeof block);
    for (int i = 0; i < 64; i++) block[i] ^= 0x36 ^ 0x5c;
    SHA256_Init(&h->outer);
    SHA256_Update(&h->outer, block, sizeof block);
    *made = h;
    return 0;
}

static int hmac_add(void *made, const uint8_t *bytes, size_t size, void *user) {
    (void)user;
    return SHA256_Update(&((hmac *)made)->inner, bytes, size) == 1 ? 0 : -1;
}

static int hmac_end(void *made, signal_buffer **out, void *user) {
    (void)user;
    hmac *h = made;
    uint8_t digest[32];
    SHA256_Final(digest, &h->inner);
    SHA256_Update(&h->outer, digest, sizeof digest);
    SHA256_Final(digest, &h->outer);
    *out = signal_buffer_create(digest, sizeof digest);
    return 0;
}

static void drop_hash(void *made, void *user) {
    (void)user;
    free(made);
}

static int hash_begin(void **made, void *user) {
    (void)user;
    SHA512_Init(*made = malloc(sizeof(SHA512_CTX)));
    return 0;
}

static int hash_add(void *made, const uint8_t *bytes, size_t size, void *user) {
    (void)user;
    return SHA512_Update(made, bytes, size) == 1 ? 0 : -1;
}

static int hash_end(void *made, signal_buffer **out, void *user) {
    (void)user;
    uint8_t digest[64];
    SHA512_Final(digest, made);
    SHA512_Init(made);
    *out = signal_buffer_create(digest, sizeof digest);
    return 0;
}

static int cipher(int encrypts, signal_buffer **out, const uint8_t *key, const uint8_t *iv, const uint8_t *in,
                  size_t size) {
    static EVP_CIPHER_CTX *ctx;
    static EVP_CIPHER *aes;
    static uint8_t room[65536 + 64];
    int length = 0, rest = 0;
    if (ctx == NULL) {
        ctx = EVP_CIPHER_CTX_new();
        aes = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    }
    if (size > 65536 + 16 || EVP_CipherInit_ex(ctx, aes, NULL, key, iv, encrypts) != 1 ||
        EVP_CipherUpdate(ctx, room, &length, in, (int)size) != 1 || EVP_CipherFinal_ex(ctx, room + length, &rest) != 1)
        return -1;
    *out = signal_buffer_create(room, (size_t)(length + rest));
    return 0;
}

static int cipher_encrypt(signal_buffer **out, int kind, const uint8_t *key, size_t key_size, const uint8_t *iv,
                          size_t iv_size, const uint8_t *in, size_t size, void *user) {
    (void)user, (void)iv_size;
    return kind == SG_CIPHER_AES_CBC_PKCS5 && key_size == 32 ? cipher(1, out, key, iv, in, size) : -1;
}

static int cipher_decrypt(signal_buffer **out, int kind, const uint8_t *key, size_t key_size, const uint8_t *iv,
                          size_t iv_size, const uint8_t *in, size_t size, void *user) {
    (void)user, (void)iv_size;
    return kind == SG_CIPHER_AES_CBC_PKCS5 && key_size == 32 ? cipher(0, out, key, iv, in, size) : -1;
}

static pthread_mutex_t mutex;

static void lock(void *user) {
    (void)user;
    pthread_mutex_lock(&mutex);
}

static void unlock(void *user) {
    (void)user;
    pthread_mutex_unlock(&mutex);
}

/* ---------------------------------------------------------------- what it asks of its host: a store */

typedef struct {
    uint8_t *record;
    size_t record_size;
    signal_buffer *pre_keys[BLOCK_MAX], *signed_pre_key, *public_key, *private_key;
    ratchet_identity_key_pair *identity;
    session_signed_pre_key *signed_pair;
    signal_protocol_store_context *store;
    signal_protocol_address peer;
    session_cipher *cipher;
} user;

static user users[2];
static session_pre_key *one_time[BLOCK_MAX];

static int record_load(signal_buffer **record, signal_buffer **more, const signal_protocol_address *peer, void *of) {
    (void)more, (void)peer;
    user *u = of;
    if (u->record == NULL) return 0;
    *record = signal_buffer_create(u->record, u->record_size);
    return 1;
}

static int record_store(const signal_protocol_address *peer, uint8_t *record, size_t size, uint8_t *more,
                        size_t more_size, void *of) {
    (void)peer, (void)more, (void)more_size;
    user *u = of;
    u->record = realloc(u->record, size);
    memcpy(u->record, record, size);
    u->record_size = size;
    keep(u == &users[1], record, size);
    return 0;
}

static int record_is_there(const signal_protocol_address *peer, void *of) {
    (void)peer;
    return ((user *)of)->record != NULL;
}

static int pre_key_load(signal_buffer **record, uint32_t id, void *of) {
    signal_buffer *found = id < BLOCK_MAX ? ((user *)of)->pre_keys[id] : NULL;
    if (found == NULL) return SG_ERR_INVALID_KEY_ID;
    *record = signal_buffer_copy(found);
    return SG_SUCCESS;
}

static int pre_key_is_there(uint32_t id, void *of) { return id < BLOCK_MAX && ((user *)of)->pre_keys[id] != NULL; }

static int pre_key_remove(uint32_t id, void *of) {
    if (!pre_key_is_there(id, of)) return SG_ERR_INVALID_KEY_ID;
    signal_buffer_free(((user *)of)->pre_keys[id]);
    ((user *)of)->pre_keys[id] = NULL;
    return 0;
}

static int signed_load(signal_buffer **record, uint32_t id, void *of) {
    (void)id;
    *record = signal_buffer_copy(((user *)of)->signed_pre_key);
    return SG_SUCCESS;
}

static int identity_load(signal_buffer **public_key, signal_buffer **private_key, void *of) {
    *public_key = signal_buffer_copy(((user *)of)->public_key);
    *private_key = signal_buffer_copy(((user *)of)->private_key);
    return 0;
}

static int registration(void *of, uint32_t *id) {
    (void)of;
    *id = 1;
    return 0;
}

static int identity_save(const signal_protocol_address *peer, uint8_t *key, size_t size, void *of) {
    (void)peer, (void)key, (void)size, (void)of;
    return 0;
}

static int identity_is_trusted(const signal_protocol_address *peer, uint8_t *key, size_t size, void *of) {
    (void)peer, (void)key, (void)size, (void)of;
    return 1;
}

static void make_user(int side) {
    user *u = &users[side];
    memset(u, 0, sizeof *u);
    ok(signal_protocol_key_helper_generate_identity_key_pair(&u->identity, context), "identity");
    ok(ec_public_key_serialize(&u->public_key, ratchet_identity_key_pair_get_public(u->identity)), "identity");
    ok(ec_private_key_serialize(&u->private_key, ratchet_identity_key_pair_get_private(u->identity)), "identity");
    ok(signal_protocol_key_helper_generate_signed_pre_key(&u->signed_pair, u->identity, 1, 0, context), "signed key");
    ok(session_signed_pre_key_serialize(&u->signed_pre_key, u->signed_pair), "signed key");
    signal_protocol_session_store sessions = {.load_session_func = record_load,
                                              .store_session_func = record_store,
                                              .contains_session_func = record_is_there,
                                              .user_data = u};
    signal_protocol_pre_key_store pre_keys = {.load_pre_key = pre_key_load,
                                              .contains_pre_key = pre_key_is_there,
                                              .remove_pre_key = pre_key_remove,
                                              .user_data = u};
    signal_protocol_signed_pre_key_store signed_keys = {.load_signed_pre_key = signed_load, .user_data = u};
    signal_protocol_identity_key_store identities = {.get_identity_key_pair = identity_load,
                                                     .get_local_registration_id = registration,
                                                     .save_identity = identity_save,
                                                     .is_trusted_identity = identity_is_trusted,
                                                     .user_data = u};
    ok(signal_protocol_store_context_create(&u->store, context), "store");
    ok(signal_protocol_store_context_set_session_store(u->store, &sessions), "store");
    ok(signal_protocol_store_context_set_pre_key_store(u->store, &pre_keys), "store");
    ok(signal_protocol_store_context_set_signed_pre_key_store(u->store, &signed_keys), "store");
    ok(signal_protocol_store_context_set_identity_key_store(u->store, &identities), "store");
    u->peer = (signal_protocol_address){side == 0 ? "bob" : "alice", side == 0 ? 3 : 5, 1};
    ok(session_cipher_create(&u->cipher, u->store, &u->peer, context), "cipher");
}

/* ---------------------------------------------------------------- messages */

static size_t encrypt(int side, const uint8_t *plain, size_t size, uint8_t *out) {
    ciphertext_message *message = NULL;
    ok(session_cipher_encrypt(users[side].cipher, plain, size, &message), "encrypt");
    signal_buffer *bytes = ciphertext_message_get_serialized(message);
    size_t length = signal_buffer_len(bytes);
    memcpy(out, signal_buffer_data(bytes), length);
    SIGNAL_UNREF(message);
    return length;
}

static size_t take(signal_buffer *plain, uint8_t *out) {
    size_t length = signal_buffer_len(plain);
    memcpy(out, signal_buffer_data(plain), length);
    signal_buffer_free(plain);
    return length;
}

static size_t decrypt(int side, const uint8_t *bytes, size_t size, uint8_t *out) {
    signal_message *message = NULL;
    signal_buffer *plain = NULL;
    ok(signal_message_deserialize(&message, bytes, size, context), "message");
    ok(session_cipher_decrypt_signal_message(users[side].cipher, message, NULL, &plain), "decrypt");
    SIGNAL_UNREF(message);
    return take(plain, out);
}

static void turn(int side) {
    if (decrypt(1 - side, messages[0], encrypt(side, text, SMALL, messages[0]), text_out) != SMALL)
        stop("turn", "another size");
}

static void publish(size_t count) {
    signal_protocol_key_helper_pre_key_list_node *list = NULL;
    ok(signal_protocol_key_helper_generate_pre_keys(&list, 1, (unsigned)count, context), "one-time keys");
    size_t i = 0;
    for (signal_protocol_key_helper_pre_key_list_node *node = list; node != NULL && i < count;
         node = signal_protocol_key_helper_key_list_next(node), i++) {
        if (one_time[i] != NULL) SIGNAL_UNREF(one_time[i]);
        one_time[i] = signal_protocol_key_helper_key_list_element(node);
        SIGNAL_REF(one_time[i]);
        ok(session_pre_key_serialize(&users[1].pre_keys[session_pre_key_get_id(one_time[i])], one_time[i]), "key");
    }
    signal_protocol_key_helper_key_list_free(list);
    if (i != count) stop("one-time keys", "too few");
}

static void set_up(size_t i) {
    session_pre_key_bundle *bundle = NULL;
    session_builder *builder = NULL;
    pre_key_signal_message *message = NULL;
    signal_buffer *plain = NULL;
    user *alice = &users[0], *bob = &users[1];
    for (int side = 0; side < 2; side++) {
        free(users[side].record);
        users[side].record = NULL;
    }
    ok(session_pre_key_bundle_create(&bundle, 1, 1, session_pre_key_get_id(one_time[i]),
                                     ec_key_pair_get_public(session_pre_key_get_key_pair(one_time[i])), 1,
                                     ec_key_pair_get_public(session_signed_pre_key_get_key_pair(bob->signed_pair)),
                                     session_signed_pre_key_get_signature(bob->signed_pair),
                                     session_signed_pre_key_get_signature_len(bob->signed_pair),
                                     ratchet_identity_key_pair_get_public(bob->identity)),
       "bundle");
    ok(session_builder_create(&builder, alice->store, &alice->peer, context), "builder");
    ok(session_builder_process_pre_key_bundle(builder, bundle), "builder");
    session_builder_free(builder);
    SIGNAL_UNREF(bundle);
    size_t size = encrypt(0, text, SMALL, messages[0]);
    ok(pre_key_signal_message_deserialize(&message, messages[0], size, context), "first message");
    ok(session_cipher_decrypt_pre_key_signal_message(bob->cipher, message, NULL, &plain), "first message");
    SIGNAL_UNREF(message);
    if (take(plain, text_out) != SMALL) stop("set-up", "another size");
}

static void open_signal(int on_disk) {
    for (int side = 0; side < 2; side++) make_user(side);
    publish(1);
    set_up(0);
    turn(1);
    turn(0);
    if (on_disk) open_kept();
}

/* What a user holds is not given back: one row is measured in a process. */
static void close_signal(void) { close_kept(); }

static double stored(void) {
    open_signal(0);
    return (double)users[0].record_size;
}

static const struct library library = {
    .name = "libsignal-protocol-c",
    .open = open_signal,
    .close = close_signal,
    .keeps = 1,
    .late_max = BLOCK_MAX,
    .encrypt = encrypt,
    .decrypt = decrypt,
    .turn = turn,
    .publish = publish,
    .set_up = set_up,
    .stored = stored,
};

int main(int count, char **wanted) {
    signal_crypto_provider provider = {.random_func = give_random,
                                       .hmac_sha256_init_func = hmac_begin,
                                       .hmac_sha256_update_func = hmac_add,
                                       .hmac_sha256_final_func = hmac_end,
                                       .hmac_sha256_cleanup_func = drop_hash,
                                       .sha512_digest_init_func = hash_begin,
                                       .sha512_digest_update_func = hash_add,
                                       .sha512_digest_final_func = hash_end,
                                       .sha512_digest_cleanup_func = drop_hash,
                                       .encrypt_func = cipher_encrypt,
                                       .decrypt_func = cipher_decrypt};
    pthread_mutexattr_t recursive;
    pthread_mutexattr_init(&recursive);
    pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&mutex, &recursive);
    ok(signal_context_create(&context, NULL), "context");
    ok(signal_context_set_crypto_provider(context, &provider), "provider");
    ok(signal_context_set_locking_functions(context, lock, unlock), "lock");
    return run(count - 1, wanted + 1);
}
