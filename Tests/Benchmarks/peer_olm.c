/* peer_olm: libolm, whose ratchet has X25519, HMAC-SHA-256 and AES-256-CBC. Messages are base64, and their
 * authenticator has 8 bytes. Its pickles are encrypted; with `durable` each call ends with one in SQLite. */
#include "kept.h"
#include "peers.h"
#include <olm/olm.h>
#include <sys/random.h>

#define ID 43 /* bytes of a key in base64 */

static OlmAccount *olm_accounts[2];
static OlmSession *olm_sessions[2];
static char ids[2][ID + 1], one_time[BLOCK_MAX][ID + 1];
static uint8_t copied[1 << 18]; /* libolm destroys what it decrypts */
static const char pickle_key[] = "0123456789abcdef0123456789abcdef";

static uint8_t *chance(size_t size) {
    static uint8_t bytes[BLOCK_MAX * 64];
    for (size_t i = 0; i < size; i += 256)
        if (getrandom(bytes + i, 256, 0) != 256) stop("getrandom", "too few");
    return bytes;
}

static size_t of_account(int side, size_t result) {
    if (result == olm_error()) stop("account", olm_account_last_error(olm_accounts[side]));
    return result;
}

static size_t of_session(OlmSession *session, size_t result) {
    if (result == olm_error()) stop("session", olm_session_last_error(session));
    return result;
}

static OlmSession *new_session(void) { return olm_session(malloc(olm_session_size())); }

static void drop(OlmSession *session) {
    olm_clear_session(session);
    free(session);
}

static size_t encrypt_in(OlmSession *session, const uint8_t *plain, size_t size, uint8_t *message) {
    size_t length = olm_encrypt_message_length(session, size), random = olm_encrypt_random_length(session);
    return of_session(session, olm_encrypt(session, plain, size, chance(random), random, message, length));
}

static size_t decrypt_in(OlmSession *session, size_t type, const uint8_t *message, size_t size, uint8_t *plain) {
    memcpy(copied, message, size);
    size_t room = of_session(session, olm_decrypt_max_plaintext_length(session, type, copied, size));
    memcpy(copied, message, size);
    return of_session(session, olm_decrypt(session, type, copied, size, plain, room));
}

static size_t pickle(OlmSession *session, uint8_t *out) {
    size_t length = olm_pickle_session_length(session);
    return of_session(session, olm_pickle_session(session, pickle_key, sizeof pickle_key - 1, out, length));
}

static void keep_side(int side) {
    static uint8_t pickled[1 << 16];
    if (kept[side] != NULL) keep(side, pickled, pickle(olm_sessions[side], pickled));
}

static void publish(size_t count) {
    size_t length = olm_account_generate_one_time_keys_random_length(olm_accounts[1], count);
    of_account(1, olm_account_generate_one_time_keys(olm_accounts[1], count, chance(length), length));
    length = olm_account_one_time_keys_length(olm_accounts[1]);
    char *json = calloc(1, length + 1), *at = json;
    of_account(1, olm_account_one_time_keys(olm_accounts[1], json, length));
    if ((at = strstr(json, "\"curve25519\":{")) != NULL) at += 14;
    for (size_t i = 0; i < count; i++) {
        if (at == NULL || (at = strstr(at, "\":\"")) == NULL) stop("one-time keys", "too few");
        memcpy(one_time[i], at + 3, ID);
        at += ID + 3;
    }
    free(json);
    of_account(1, olm_account_mark_keys_as_published(olm_accounts[1]));
}

static void set_up_pair(OlmSession *pair[2], size_t i) {
    uint8_t message[1024], plain[256];
    size_t length = olm_create_outbound_session_random_length(pair[0]);
    of_session(pair[0], olm_create_outbound_session(pair[0], olm_accounts[0], ids[1], ID, one_time[i], ID,
                                                    chance(length), length));
    length = encrypt_in(pair[0], text, SMALL, message);
    memcpy(copied, message, length);
    of_session(pair[1], olm_create_inbound_session_from(pair[1], olm_accounts[1], ids[0], ID, copied, length));
    if (decrypt_in(pair[1], OLM_MESSAGE_TYPE_PRE_KEY, message, length, plain) != SMALL) stop("set-up", "another size");
    of_account(1, olm_remove_one_time_keys(olm_accounts[1], pair[1]));
}

static void set_up(size_t i) {
    OlmSession *pair[2] = {new_session(), new_session()};
    set_up_pair(pair, i);
    drop(pair[0]);
    drop(pair[1]);
}

static size_t encrypt(int side, const uint8_t *plain, size_t size, uint8_t *message) {
    size_t length = encrypt_in(olm_sessions[side], plain, size, message);
    keep_side(side);
    return length;
}

static size_t decrypt(int side, const uint8_t *message, size_t size, uint8_t *plain) {
    size_t length = decrypt_in(olm_sessions[side], OLM_MESSAGE_TYPE_MESSAGE, message, size, plain);
    keep_side(side);
    return length;
}

static void turn(int side) {
    if (decrypt(1 - side, messages[0], encrypt(side, text, SMALL, messages[0]), text_out) != SMALL)
        stop("turn", "another size");
}

static void open_olm(int on_disk) {
    for (int side = 0; side < 2; side++) {
        olm_accounts[side] = olm_account(malloc(olm_account_size()));
        size_t length = olm_create_account_random_length(olm_accounts[side]);
        of_account(side, olm_create_account(olm_accounts[side], chance(length), length));
        char json[512] = "";
        of_account(side, olm_account_identity_keys(olm_accounts[side], json,
                                                   olm_account_identity_keys_length(olm_accounts[side])));
        char *key = strstr(json, "\"curve25519\":\"");
        if (key == NULL) stop("identity keys", json);
        memcpy(ids[side], key + 14, ID);
        olm_sessions[side] = new_session();
    }
    publish(1);
    set_up_pair(olm_sessions, 0);
    turn(1);
    turn(0);
    if (on_disk) open_kept();
}

static void close_olm(void) {
    for (int side = 0; side < 2; side++) {
        drop(olm_sessions[side]);
        olm_clear_account(olm_accounts[side]);
        free(olm_accounts[side]);
    }
    close_kept();
}

static double stored(void) {
    static uint8_t pickled[1 << 16];
    open_olm(0);
    double bytes = (double)pickle(olm_sessions[0], pickled);
    close_olm();
    return bytes;
}

static double memory(void) {
    enum { COUNT = 5000 };
    static uint8_t pickled[1 << 16], again[1 << 16];
    static OlmSession *many[COUNT];
    open_olm(0);
    size_t length = pickle(olm_sessions[0], pickled);
    double before = resident();
    for (int i = 0; i < COUNT; i++) {
        memcpy(again, pickled, length);
        many[i] = new_session();
        of_session(many[i], olm_unpickle_session(many[i], pickle_key, sizeof pickle_key - 1, again, length));
    }
    double bytes = (resident() - before) / COUNT;
    for (int i = 0; i < COUNT; i++) drop(many[i]);
    close_olm();
    return bytes;
}

static const struct library library = {
    .name = "libolm",
    .open = open_olm,
    .close = close_olm,
    .keeps = 1,
    .late_max = 32,
    .encrypt = encrypt,
    .decrypt = decrypt,
    .turn = turn,
    .publish = publish,
    .set_up = set_up,
    .stored = stored,
    .memory = memory,
};

int main(int count, char **wanted) { return run(count - 1, wanted + 1); }
