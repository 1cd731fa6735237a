/* A peer made from Protocol.md alone, over libsodium: packages and frames that no honest Pawl would write, right in
 * everything but the one thing that a test is about. Suite 1 only. */
#ifndef PAWL_TEST_WIRE_PEER_H
#define PAWL_TEST_WIRE_PEER_H

#include "test.h"

#include <sodium.h>

#define HEADER_SIZE 54
#define WELCOME_AT 56 /* behind its length */

/* 2^255 - 19 + 9: another encoding of the base point, with which every agreement is the other's public key. */
static const uint8_t non_canonical_nine[32] = {
    0xF6, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
    0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F};
static const uint8_t nine[32] = {9};

/* ---------------------------------------------------------------- bytes and derivations */

typedef struct blob {
    uint8_t bytes[8192];
    size_t size;
} blob;

static UNUSED void add(blob *to, const void *bytes, size_t size) {
    NEED(size <= sizeof to->bytes - to->size);
    if (size > 0) memcpy(to->bytes + to->size, bytes, size);
    to->size += size;
}
static UNUSED void add_number(blob *to, uint64_t number, size_t size) {
    uint8_t bytes[8];
    for (size_t i = 0; i < size; i++) bytes[i] = (uint8_t)(number >> (8 * i));
    add(to, bytes, size);
}
/* A name or a suite list: its length and its bytes. */
static UNUSED void add_short(blob *to, const void *bytes, size_t size) {
    add_number(to, size, 1);
    add(to, bytes, size);
}
static UNUSED void add_field(blob *to, const void *bytes, size_t size) {
    add_number(to, size, 4);
    add(to, bytes, size);
}
static UNUSED uint64_t number_at(const uint8_t *bytes, size_t size) {
    uint64_t number = 0;
    for (size_t i = size; i-- > 0;) number = number << 8 | bytes[i];
    return number;
}

/* KDF, or H without a key: over fields that are there already, behind the label. */
static UNUSED void derive(uint8_t *out, size_t out_size, const uint8_t *key, const char *label, const blob *fields) {
    blob all = {.size = 0};
    add_field(&all, label, strlen(label));
    if (fields != NULL) add(&all, fields->bytes, fields->size);
    NEED(crypto_generichash(out, out_size, all.bytes, all.size, key, key == NULL ? 0 : 32) == 0);
}

/* ---------------------------------------------------------------- packages */

/* A new package of an account's, and the first of its one-time keys. */
static UNUSED blob bundle_of_account(pawl_store *store, const uint8_t account[16], uint32_t one_time_count) {
    pawl_package_options options = PAWL_INIT(pawl_package_options);
    options.one_time_count = one_time_count;
    pawl_view *view = NULL;
    MUST(pawl_package_create(store, account, &options, &view));
    blob bundle = {.size = 0};
    for (size_t row = 0; row < (one_time_count > 0 ? 2u : 1u); row++) {
        pawl_package package = PAWL_INIT(pawl_package);
        MUST(pawl_view_package(view, row, &package));
        add(&bundle, package.bytes, package.bytes_size);
    }
    pawl_view_close(view);
    return bundle;
}

static UNUSED pawl_status start_with(pawl_store *store, const uint8_t account[16], const char *peer, const blob *bundle,
                                     uint8_t session[16]) {
    pawl_start_options options = PAWL_INIT(pawl_start_options);
    options.peer_name = peer;
    options.peer_name_size = strlen(peer);
    options.package = bundle->bytes;
    options.package_size = bundle->size;
    return pawl_session_start(store, account, &options, session);
}

typedef struct parsed_package {
    uint8_t id[16], signing[32], agreement[32], init[32], one_time[32], hash[32];
    size_t size;          /* without a one-time key */
    uint32_t one_time_id; /* 0: none */
    char name[256];
    size_t name_size;
} parsed_package;

static UNUSED parsed_package parse_package(const blob *bundle) {
    parsed_package p;
    memset(&p, 0, sizeof p);
    const uint8_t *at = bundle->bytes;
    memcpy(p.id, at + 2, 16);
    memcpy(p.signing, at + 18, 32);
    memcpy(p.agreement, at + 50, 32);
    p.name_size = at[82];
    memcpy(p.name, at + 83, p.name_size);
    at += 83 + p.name_size;
    at += 1 + at[0] + 16;
    memcpy(p.init, at, 32);
    at += 32 + 64;
    p.size = (size_t)(at - bundle->bytes);
    blob fields = {.size = 0};
    add_field(&fields, bundle->bytes, p.size);
    derive(p.hash, 32, NULL, "pawl/1 package hash", &fields);
    if (at < bundle->bytes + bundle->size) {
        p.one_time_id = (uint32_t)number_at(at + 18, 4);
        memcpy(p.one_time, at + 22, 32);
    }
    return p;
}

typedef struct wire_peer {
    uint8_t signing[32], signing_secret[64], agreement[32], agreement_secret[32];
    char name[256];
    size_t name_size;
    /* Of the session it started: */
    uint8_t session[16], chains[64], filters[32];
    blob welcome;
    uint8_t chain[32]; /* at chain_index, of its own messages */
    uint32_t chain_index;
    uint64_t lane;
} wire_peer;

static UNUSED void wire_peer_new(wire_peer *peer, const char *name) {
    NEED(sodium_init() >= 0);
    memset(peer, 0, sizeof *peer);
    crypto_sign_keypair(peer->signing, peer->signing_secret);
    crypto_box_keypair(peer->agreement, peer->agreement_secret);
    peer->name_size = strlen(name);
    memcpy(peer->name, name, peer->name_size);
    randombytes_buf(&peer->lane, sizeof peer->lane);
}

static UNUSED void sign(const wire_peer *peer, const char *label, const uint8_t *prefix, blob *signed_) {
    blob all = {.size = 0};
    add(&all, label, strlen(label));
    if (prefix != NULL) add(&all, prefix, 32);
    add(&all, signed_->bytes, signed_->size);
    uint8_t signature[64];
    crypto_sign_detached(signature, NULL, all.bytes, all.size, peer->signing_secret);
    add(signed_, signature, 64);
}

/* What a package says; NULL and 0 are what an honest peer would write. */
typedef struct package_plan {
    const uint8_t *identity_key, *init_key, *one_time_key;
    const uint8_t *suites;
    size_t suite_count;
    int64_t not_before, not_after; /* milliseconds */
    uint32_t one_time_id;          /* 0: no one-time key */
    int other_package;             /* the one-time key names another */
} package_plan;

static UNUSED blob forge_package(const wire_peer *peer, const package_plan *plan) {
    blob package = {.size = 0};
    uint8_t id[16], drawn[32], secret[32];
    static const uint8_t suites[] = {1};
    randombytes_buf(id, sizeof id);
    crypto_box_keypair(drawn, secret);
    add(&package, "\1\1", 2);
    add(&package, id, 16);
    add(&package, peer->signing, 32);
    add(&package, plan->identity_key != NULL ? plan->identity_key : peer->agreement, 32);
    add_short(&package, peer->name, peer->name_size);
    const uint8_t *list = plan->suites != NULL ? plan->suites : suites;
    size_t count = plan->suites != NULL ? plan->suite_count : 1;
    add_short(&package, list, count);
    add_number(&package, (uint64_t)plan->not_before, 8);
    add_number(&package, (uint64_t)plan->not_after, 8);
    add(&package, plan->init_key != NULL ? plan->init_key : drawn, 32);
    int has_kem = memchr(list, 2, count) != NULL;
    static const uint8_t kem[1216] = {1};
    if (has_kem) add(&package, kem, sizeof kem);
    sign(peer, "pawl/1 package", NULL, &package);
    if (plan->one_time_id == 0 && plan->one_time_key == NULL) return package;
    blob fields = {.size = 0}, key = {.size = 0};
    uint8_t hash[32];
    add_field(&fields, package.bytes, package.size);
    derive(hash, 32, NULL, "pawl/1 package hash", &fields);
    add(&key, "\1\2", 2);
    if (plan->other_package) id[0] ^= 1;
    add(&key, id, 16);
    add_number(&key, plan->one_time_id, 4);
    crypto_box_keypair(drawn, secret);
    add(&key, plan->one_time_key != NULL ? plan->one_time_key : drawn, 32);
    if (has_kem) add(&key, kem, sizeof kem);
    sign(peer, "pawl/1 one-time key", hash, &key);
    add(&package, key.bytes, key.size);
    return package;
}

/* ---------------------------------------------------------------- set-up */

typedef struct start_plan {
    const uint8_t *ephemeral; /* `nine` or `non_canonical_nine`; NULL: drawn */
    const char *responder_name; /* in welcome and transcript */
    const char *welcome_name;   /* in the welcome alone */
    const uint8_t *suites;
    size_t suite_count;
    uint8_t suite;
    int64_t created; /* milliseconds */
} start_plan;

static UNUSED void agree(uint8_t out[32], const uint8_t *secret, const uint8_t *public_key) {
    NEED(crypto_scalarmult(out, secret, public_key) == 0);
}

/* Starts a session from a package, as an initiator. */
static UNUSED void wire_start(wire_peer *peer, const blob *bundle, const start_plan *plan) {
    parsed_package p = parse_package(bundle);
    static const uint8_t own_suites[] = {1};
    const uint8_t *suites = plan->suites != NULL ? plan->suites : own_suites;
    size_t suite_count = plan->suites != NULL ? plan->suite_count : 1;
    uint8_t suite = plan->suite != 0 ? plan->suite : 1, one = 1;
    const char *name = plan->responder_name != NULL ? plan->responder_name : p.name;
    uint8_t ephemeral[32], secret[32], dh[4][32];
    crypto_box_keypair(ephemeral, secret);
    agree(dh[0], peer->agreement_secret, p.init);
    if (plan->ephemeral != NULL) {
        memcpy(ephemeral, plan->ephemeral, 32);
        memcpy(dh[1], p.agreement, 32);
        memcpy(dh[2], p.init, 32);
        memcpy(dh[3], p.one_time, 32);
    } else {
        agree(dh[1], secret, p.agreement);
        agree(dh[2], secret, p.init);
        if (p.one_time_id != 0) agree(dh[3], secret, p.one_time);
    }
    uint8_t number[4], list[64], transcript[32], e[32], root[32];
    for (int i = 0; i < 4; i++) number[i] = (uint8_t)(p.one_time_id >> (8 * i));
    list[0] = (uint8_t)suite_count;
    memcpy(list + 1, suites, suite_count);
    size_t has_key = p.one_time_id != 0 ? 1 : 0;

    blob fields = {.size = 0};
    add_field(&fields, &one, 1);
    add_field(&fields, peer->signing, 32);
    add_field(&fields, peer->agreement, 32);
    add_field(&fields, peer->name, peer->name_size);
    add_field(&fields, p.signing, 32);
    add_field(&fields, p.agreement, 32);
    add_field(&fields, name, strlen(name));
    add_field(&fields, p.hash, 32);
    add_field(&fields, ephemeral, 32);
    add_field(&fields, NULL, 0);
    add_field(&fields, number, 4 * has_key);
    add_field(&fields, p.one_time, 32 * has_key);
    add_field(&fields, &suite, 1);
    add_field(&fields, list, 1 + suite_count);
    derive(transcript, 32, NULL, "pawl/1 transcript", &fields);
    fields.size = 0;
    for (int i = 0; i < 3; i++) add_field(&fields, dh[i], 32);
    add_field(&fields, dh[3], 32 * has_key);
    add_field(&fields, NULL, 0);
    derive(e, 32, transcript, "pawl/1 set-up", &fields);
    derive(root, 32, e, "pawl/1 root", NULL);
    derive(peer->chains, 64, e, "pawl/1 chains", NULL);
    derive(peer->filters, 32, root, "pawl/1 filters", NULL);
    uint8_t id[32];
    derive(id, 32, root, "pawl/1 session id", NULL);
    memcpy(peer->session, id, 16);
    peer->session[15] &= 0xFE;
    memcpy(peer->chain, peer->chains, 32);
    peer->chain_index = 0;

    blob *welcome = &peer->welcome;
    welcome->size = 0;
    add_number(welcome, suite, 1);
    add(welcome, peer->signing, 32);
    add(welcome, peer->agreement, 32);
    add_short(welcome, peer->name, peer->name_size);
    const char *shown = plan->welcome_name != NULL ? plan->welcome_name : name;
    add_short(welcome, shown, strlen(shown));
    add_short(welcome, suites, suite_count);
    add(welcome, p.id, 16);
    add_number(welcome, p.one_time_id, 4);
    add(welcome, ephemeral, 32);
    add_number(welcome, (uint64_t)plan->created, 8);
}

/* ---------------------------------------------------------------- frames */

typedef struct frame_plan {
    uint32_t epoch, index, previous_length;
    int with_welcome;
    int has_parts; /* the text is a list of parts */
    const uint8_t *session;     /* NULL: its own */
    int wrong_filter;
    int wrong_key;
    uint64_t lane;              /* 0: its own */
} frame_plan;

static UNUSED void step(uint8_t chain[32], uint8_t message_key[32]) {
    uint8_t out[64];
    crypto_kdf_derive_from_key(out, 64, 1, "pawlchn1", chain);
    memcpy(chain, out, 32);
    memcpy(message_key, out + 32, 32);
}

/* `text` is sealed as it is: application data, or control parts, then a 0 byte and the application data. */
static UNUSED blob forge_frame(wire_peer *peer, const frame_plan *plan, const void *text, size_t text_size) {
    blob frame = {.size = 0}, associated = {.size = 0};
    uint64_t lane = plan->lane != 0 ? plan->lane : peer->lane;
    uint8_t nonce[24], filter[8], key[32];
    randombytes_buf(nonce, sizeof nonce);
    memcpy(nonce, &lane, 8);
    add_number(&frame, 1, 1);
    add_number(&frame, (plan->has_parts ? 3 : 1) + (plan->with_welcome ? 1 : 0), 1);
    add(&frame, plan->session != NULL ? plan->session : peer->session, 8);
    add_number(&frame, plan->epoch, 4);
    add_number(&frame, plan->index, 4);
    add_number(&frame, plan->previous_length, 4);
    add(&associated, frame.bytes, frame.size);
    add(&frame, nonce, 24);
    crypto_shorthash(filter, frame.bytes, frame.size, peer->filters);
    if (plan->wrong_filter) filter[0] ^= 1;
    add(&frame, filter, 8);
    add(&associated, filter, 8);
    if (plan->with_welcome) {
        size_t before = frame.size;
        add_number(&frame, peer->welcome.size, 2);
        add(&frame, peer->welcome.bytes, peer->welcome.size);
        add(&associated, frame.bytes + before, frame.size - before);
    }
    if (plan->index < peer->chain_index) {
        memcpy(peer->chain, peer->chains, 32);
        peer->chain_index = 0;
    }
    uint8_t chain[32];
    /* An index beyond all limits is refused before its key matters. */
    while (peer->chain_index < plan->index && plan->index < 1u << 22) {
        step(peer->chain, key);
        peer->chain_index++;
    }
    memcpy(chain, peer->chain, 32);
    step(chain, key);
    if (plan->wrong_key) key[0] ^= 1;
    NEED(frame.size + text_size + 16 <= sizeof frame.bytes);
    crypto_aead_xchacha20poly1305_ietf_encrypt(frame.bytes + frame.size, NULL, text, text_size, associated.bytes,
                                               associated.size, NULL, nonce, key);
    frame.size += text_size + 16;
    return frame;
}

/* A frame with nothing but application data in it. */
static UNUSED blob forge_text(wire_peer *peer, const frame_plan *plan, const char *text) {
    return forge_frame(peer, plan, text, strlen(text));
}

#endif
