/* Tests/Vectors/session-1.json, which another program made, in a store that another program wrote:
 * Tests/Fixtures/session-1.pawl holds both sides' secrets, rekeying-1.pawl both sides in the middle of a rekey.
 * session-2.json and session-2.pawl: the same of suite 2, where libsodium has X-Wing. Run from the top folder. */
#include "sessions.h"

#include <sodium.h>
#include <sqlite3.h>

#define VECTORS(suite) "Tests/Vectors/session-" suite ".json"
#define FIXTURE(suite) "Tests/Fixtures/session-" suite
#define OF_1 FIXTURE("1") ".pawl"
#define OF_2 FIXTURE("2") ".pawl"
#define REKEYING "Tests/Fixtures/rekeying-1"

#ifdef crypto_kem_PUBLICKEYBYTES
#define HAS_XWING 1
#else
#define HAS_XWING 0
#endif

/* ---------------------------------------------------------------- what the files say */

static sqlite3 *documents; /* a table `vectors` and one `fixture`, of one row each */

static void load_table(const char *table, const char *path) {
    static char text[1 << 17];
    FILE *f = fopen(path, "rb");
    NEED(f != NULL);
    size_t size = fread(text, 1, sizeof text, f);
    NEED(size > 0 && size < sizeof text);
    fclose(f);
    char statement[128];
    snprintf(statement, sizeof statement, "CREATE TABLE %s(document TEXT)", table);
    NEED(sqlite3_exec(documents, statement, NULL, NULL, NULL) == SQLITE_OK);
    snprintf(statement, sizeof statement, "INSERT INTO %s VALUES(?)", table);
    sqlite3_stmt *insert = NULL;
    NEED(sqlite3_prepare_v2(documents, statement, -1, &insert, NULL) == SQLITE_OK);
    NEED(sqlite3_bind_text(insert, 1, text, (int)size, SQLITE_STATIC) == SQLITE_OK);
    NEED(sqlite3_step(insert) == SQLITE_DONE);
    sqlite3_finalize(insert);
}

static void load(const char *vectors, const char *fixture) {
    NEED(sqlite3_open(":memory:", &documents) == SQLITE_OK);
    load_table("vectors", vectors);
    load_table("fixture", fixture);
}

/* `path`: of a session in the vectors, or NULL. */
static sqlite3_stmt *ask(const char *query, const char *path) {
    sqlite3_stmt *rows = NULL;
    NEED(sqlite3_prepare_v2(documents, query, -1, &rows, NULL) == SQLITE_OK);
    if (path != NULL) NEED(sqlite3_bind_text(rows, 1, path, -1, SQLITE_STATIC) == SQLITE_OK);
    return rows;
}

static const char *text_at(sqlite3_stmt *rows, int column) {
    return (const char *)sqlite3_column_text(rows, column);
}

static blob bytes_at(sqlite3_stmt *rows, int column) {
    const char *text = text_at(rows, column);
    NEED(text != NULL);
    blob out = {.size = 0};
    for (unsigned octet; sscanf(text + 2 * out.size, "%2x", &octet) == 1;) add(&out, &(uint8_t){(uint8_t)octet}, 1);
    NEED(2 * out.size == strlen(text));
    return out;
}

/* ---------------------------------------------------------------- the store */

static setup held;
static char peer_name[256];
static side initiator = {&held, "ada", {0}}, responder = {&held, peer_name, {0}};

static void copy_file(const char *from, const char *to) {
    static char content[1 << 16];
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    NEED(in != NULL && out != NULL);
    size_t size = fread(content, 1, sizeof content, in);
    NEED(size > 0 && size < sizeof content && fwrite(content, 1, size, out) == size);
    NEED(fclose(in) == 0 && fclose(out) == 0);
}

/* Opens a copy of a fixture, at the time of the vectors. */
static void hold(const char *fixture) {
    sqlite3_stmt *rows = ask("SELECT json_extract(f.document, '$.key'), json_extract(f.document, '$.initiator'),"
                             " json_extract(f.document, '$.responder'), json_extract(v.document, '$.responder.name'),"
                             " json_extract(v.document, '$.now') FROM fixture f, vectors v", NULL);
    NEED(sqlite3_step(rows) == SQLITE_ROW);
    blob secret = bytes_at(rows, 0);
    memcpy(initiator.account, bytes_at(rows, 1).bytes, 16);
    memcpy(responder.account, bytes_at(rows, 2).bytes, 16);
    snprintf(peer_name, sizeof peer_name, "%s", text_at(rows, 3));
    held.now = sqlite3_column_int64(rows, 4) * MILLISECOND;
    sqlite3_finalize(rows);

    const char *path = fresh_path();
    copy_file(fixture, path);
    pawl_key key = raw_key_of(secret.bytes);
    pawl_clock clock = PAWL_INIT(pawl_clock);
    clock.now_ns = test_time;
    clock.context = &held.now;
    pawl_store_options options = PAWL_INIT(pawl_store_options);
    options.path = path;
    options.path_size = strlen(path);
    options.key = &key;
    options.clock = &clock;
    MUST(pawl_store_open(&options, &held.store));
    CHECK(damage_count(held.store) == 0);
}

static void let_go(void) {
    pawl_store_close(held.store);
    held.store = NULL;
}

#define ANSWERS_NAMED(want, status, why) test_answers_named(__FILE__, __LINE__, (want), (status), (why))
static int test_answers_named(const char *file, int line, const char *want, pawl_status status, const char *why) {
    const char *name = pawl_status_name(PAWL_STATUS_REASON(status)) + strlen("PAWL_");
    if (strcmp(name, want) == 0) return 1;
    test_fault(file, line, "%s: %s, expected %s", why, name, want);
    return 0;
}

static id16 ids[2]; /* the initiator's and the responder's, of the session at hand */

static void read_ids(const char *session) {
    sqlite3_stmt *rows = ask("SELECT value FROM vectors, json_each(document, ?1 || '.ids')", session);
    for (int i = 0; i < 2; i++) {
        NEED(sqlite3_step(rows) == SQLITE_ROW);
        memcpy(ids[i], bytes_at(rows, 0).bytes, 16);
    }
    sqlite3_finalize(rows);
}

/* ---------------------------------------------------------------- cases */

/* The stored initiator's first message begins as that of the vectors does, and its peer reads it. */
static void messages(const char *fixture, uint32_t suite, const char *session) {
    hold(fixture);
    read_ids(session);
    sqlite3_stmt *rows = ask("SELECT json_extract(document, ?1 || '.frames[0].bytes'),"
                             " json_extract(document, ?1 || '.welcome') FROM vectors", session);
    NEED(sqlite3_step(rows) == SQLITE_ROW);
    blob wanted = bytes_at(rows, 0), welcome = bytes_at(rows, 1);
    sqlite3_finalize(rows);
    pawl_session row = session_row(&initiator, ids[0]);
    CHECK(row.flags == PAWL_SESSION_INITIATOR && row.suite == suite && row.created_ns == held.now);
    CHECK(row.sent == 0 && row.received == 0 && row.skipped == 0 && row.epoch == 0);
    CHECK(!has_session(&responder, ids[1]));
    blob frame = say(&initiator, ids[0], "hello");
    CHECK(memcmp(frame.bytes, wanted.bytes, 22) == 0);
    CHECK(memcmp(frame.bytes + WELCOME_AT, welcome.bytes, welcome.size) == 0);
    heard got = HEARS(&responder, &frame, "hello");
    CHECK(got.received.flags == PAWL_RECEIVED_NEW_SESSION && memcmp(got.received.session, ids[1], 16) == 0);
    blob answer = say(&responder, ids[1], "answer");
    HEARS(&initiator, &answer, "answer");
    CHECK(session_row(&initiator, ids[0]).flags == (PAWL_SESSION_INITIATOR | PAWL_SESSION_CONFIRMED));
    let_go();
}

static void deliver(sqlite3_stmt *row) {
    int to_initiator = strcmp(text_at(row, 0), "initiator") == 0;
    const side *who = to_initiator ? &initiator : &responder;
    const uint8_t *id = ids[!to_initiator];
    char why[64];
    snprintf(why, sizeof why, "frame %s to the %s", text_at(row, 6), text_at(row, 0));
    blob frame = bytes_at(row, 5);
    heard got;
    int is_new = !has_session(who, id);
    if (ANSWERS_NAMED(text_at(row, 1), hear(who, &frame, &got), why) && strcmp(text_at(row, 1), "OK") == 0) {
        int is_empty = sqlite3_column_type(row, 2) == SQLITE_NULL;
        blob text = {.size = 0};
        if (!is_empty) text = bytes_at(row, 2);
        CHECK_SAYING(got.size == text.size && memcmp(got.text, text.bytes, text.size) == 0, "%s: another text", why);
        CHECK_SAYING(got.received.flags == ((is_empty ? PAWL_RECEIVED_EMPTY : 0u) |
                                            (is_new ? PAWL_RECEIVED_NEW_SESSION : 0u)), "%s: flags", why);
        CHECK_SAYING(got.received.index == (uint32_t)sqlite3_column_int64(row, 7), "%s: index", why);
        CHECK_SAYING(got.received.epoch == (uint32_t)sqlite3_column_int64(row, 8), "%s: epoch", why);
        CHECK_SAYING(memcmp(got.received.session, id, 16) == 0, "%s: session", why);
    }
    pawl_session stands = session_row(who, id);
    CHECK_SAYING(stands.epoch == (uint32_t)sqlite3_column_int64(row, 9), "%s: in epoch %u", why, stands.epoch);
    CHECK_SAYING(stands.received == (uint32_t)sqlite3_column_int64(row, 3), "%s: next is %u", why, stands.received);
    CHECK_SAYING(stands.skipped == (uint32_t)sqlite3_column_int64(row, 4), "%s: %u skipped", why, stands.skipped);
}

/* Of `to` those alone that its held side can take, or, NULL, all. */
static void deliveries(const char *fixture, const char *session, const char *to, int least) {
    hold(fixture);
    read_ids(session);
    sqlite3_stmt *rows =
        ask("SELECT json_extract(d.value, '$.to'), json_extract(d.value, '$.status'), json_extract(d.value, '$.text'),"
            " json_extract(d.value, '$.next'), json_array_length(d.value, '$.skipped'),"
            " json_extract(f.value, '$.bytes'), f.key, json_extract(f.value, '$.index'),"
            " json_extract(f.value, '$.epoch'), json_extract(d.value, '$.epoch')"
            " FROM vectors, json_each(document, ?1 || '.deliveries') d, json_each(document, ?1 || '.frames') f"
            " WHERE f.key = json_extract(d.value, '$.frame') AND (?2 IS NULL OR json_extract(d.value, '$.to') = ?2"
            " AND d.key >= json_extract(document, ?1 || '.held.' || ?2 || '[0]')"
            " AND d.key < json_extract(document, ?1 || '.held.' || ?2 || '[1]')) ORDER BY d.key", session);
    NEED(sqlite3_bind_text(rows, 2, to, -1, SQLITE_STATIC) == SQLITE_OK);
    int count = 0;
    for (; sqlite3_step(rows) == SQLITE_ROW; count++) deliver(rows);
    sqlite3_finalize(rows);
    CHECK(count >= least);
    CHECK(damage_count(held.store) == 0);
    let_go();
}

static void first_message(void) { messages(OF_1, PAWL_SUITE_X25519, "$.sessions[0]"); }
static void first_message_without_one_time_key(void) { messages(OF_1, PAWL_SUITE_X25519, "$.sessions[1]"); }
static void long_session(void) { deliveries(OF_1, "$.sessions[0]", NULL, 18); }
static void short_session(void) { deliveries(OF_1, "$.sessions[1]", NULL, 3); }
static void first_message_in_suite_2(void) { messages(OF_2, PAWL_SUITE_XWING, "$.sessions[0]"); }
static void first_message_in_suite_2_without_one_time_key(void) { messages(OF_2, PAWL_SUITE_XWING, "$.sessions[1]"); }
static void session_in_suite_2(void) { deliveries(OF_2, "$.sessions[0]", NULL, 3); }
static void session_in_suite_2_without_one_time_key(void) { deliveries(OF_2, "$.sessions[1]", NULL, 3); }
static void answer_of_epoch_1(void) { deliveries(REKEYING ".pawl", "$.rekeying", "initiator", 6); }
static void finish_of_epoch_2(void) { deliveries(REKEYING ".pawl", "$.rekeying", "responder", 9); }

static void refused_frames(void) {
    hold(OF_1);
    sqlite3_stmt *rows = ask("SELECT json_extract(value, '$.status'), json_extract(value, '$.bytes'),"
                             " json_extract(value, '$.why')"
                             " FROM vectors, json_each(document, '$.refused_frames')", NULL);
    int count = 0;
    for (; sqlite3_step(rows) == SQLITE_ROW; count++) {
        blob frame = bytes_at(rows, 1);
        ANSWERS_NAMED(text_at(rows, 0), hear(&responder, &frame, NULL), text_at(rows, 2));
    }
    sqlite3_finalize(rows);
    CHECK(count >= 13);
    pawl_view *peers = NULL;
    MUST(pawl_peer_list(held.store, responder.account, NULL, 0, 10, &peers));
    CHECK(pawl_view_count(peers) == 0);
    pawl_view_close(peers);
    CHECK(one_time_left(&responder) == 2);
    let_go();
}

static void refused_packages(void) {
    hold(OF_1);
    id16 session;
    sqlite3_stmt *rows = ask("SELECT json_extract(value, '$.status'), json_extract(value, '$.bytes'),"
                             " json_extract(value, '$.why')"
                             " FROM vectors, json_each(document, '$.refused_packages')", NULL);
    int count = 0;
    for (; sqlite3_step(rows) == SQLITE_ROW; count++) {
        blob package = bytes_at(rows, 1);
        ANSWERS_NAMED(text_at(rows, 0), start(&initiator, &responder, &package, session), text_at(rows, 2));
    }
    sqlite3_finalize(rows);
    CHECK(count >= 22);
    CHECK(session_count(&initiator, peer_name) == 2);
    NO_ITEMS(&initiator);

    rows = ask("SELECT json_extract(document, '$.package.bytes') || json_extract(document, '$.one_time_keys[0].bytes')"
               " FROM vectors", NULL);
    NEED(sqlite3_step(rows) == SQLITE_ROW);
    blob package = bytes_at(rows, 0);
    sqlite3_finalize(rows);
    OK(start(&initiator, &responder, &package, session));
    blob frame = say(&initiator, session, "with the other one-time key");
    HEARS(&responder, &frame, "with the other one-time key");
    CHECK(one_time_left(&responder) == 1);
    let_go();
}

int main(void) {
    load(VECTORS("1"), FIXTURE("1") ".json");
    RUN(first_message);
    RUN(first_message_without_one_time_key);
    RUN(long_session);
    RUN(short_session);
    RUN(answer_of_epoch_1);
    RUN(finish_of_epoch_2);
    RUN(refused_frames);
    RUN(refused_packages);
    sqlite3_close(documents);
    if (HAS_XWING) {
        load(VECTORS("2"), FIXTURE("2") ".json");
        RUN(first_message_in_suite_2);
        RUN(first_message_in_suite_2_without_one_time_key);
        RUN(session_in_suite_2);
        RUN(session_in_suite_2_without_one_time_key);
        sqlite3_close(documents);
    } else {
        puts("skipped: suite 2, which this libsodium has not; make test-pq runs it");
    }
    FINISH;
}
