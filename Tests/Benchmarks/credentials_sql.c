/* credentials_sqlite, credentials_sealed (SEALED) and credentials_sqlcipher (CIPHER): a table of names and secrets,
 * with the settings that Pawl has: bare; each secret under XChaCha20-Poly1305, which is the least that seals it, its
 * name in the open; or every page under AES-256, in pages of 4 KiB, as SQLCipher has had them since version 4. */
#include "credentials.h"
#ifdef CIPHER
#define SQLITE_HAS_CODEC
#include <sqlcipher/sqlite3.h>
#else
#include <sqlite3.h>
#endif
#ifdef SEALED
#include <sodium.h>
#endif

static sqlite3 *db;
static sqlite3_stmt *insert, *find;

static void sql(const char *statement) {
    if (sqlite3_exec(db, statement, NULL, NULL, NULL) != SQLITE_OK) stop(statement, sqlite3_errmsg(db));
}

static sqlite3_stmt *prepared(const char *statement) {
    sqlite3_stmt *made = NULL;
    if (sqlite3_prepare_v2(db, statement, -1, &made, NULL) != SQLITE_OK) stop(statement, sqlite3_errmsg(db));
    return made;
}

static void open_sql(void) {
    char path[512];
    file_in(keeper.file, path);
    if (sqlite3_open(path, &db) != SQLITE_OK) stop("open", sqlite3_errmsg(db));
#ifdef CIPHER
    if (sqlite3_key(db, "x'7468697274792d74776f20627974657320666f722061207261772d6b65792121'", 67) != SQLITE_OK)
        stop("key", sqlite3_errmsg(db));
    sql("PRAGMA cipher_page_size = 4096");
#endif
    sql("PRAGMA journal_mode=WAL");
    sql("PRAGMA synchronous=FULL");
    sql("CREATE TABLE IF NOT EXISTS secret(user TEXT, name TEXT, value BLOB NOT NULL, PRIMARY KEY(user, name))"
        " WITHOUT ROWID");
    insert = prepared("INSERT OR REPLACE INTO secret(user, name, value) VALUES('user', ?, ?)");
    find = prepared("SELECT value FROM secret WHERE user = 'user' AND name = ?");
}

static void close_sql(void) {
    sqlite3_finalize(insert);
    sqlite3_finalize(find);
    sqlite3_close(db);
}

static void begin(void) { sql("BEGIN IMMEDIATE"); }
static void commit(void) { sql("COMMIT"); }

#ifdef SEALED
static const uint8_t *sealing = key_bytes;
#endif

static void put_sql(const char *name, int length, const uint8_t *secret) {
#ifdef SEALED
    static uint8_t sealed[24 + sizeof value + 16];
    randombytes_buf(sealed, 24);
    crypto_aead_xchacha20poly1305_ietf_encrypt(sealed + 24, NULL, secret, sizeof value, (const uint8_t *)name,
                                               (size_t)length, NULL, sealed, sealing);
    sqlite3_bind_blob(insert, 2, sealed, sizeof sealed, SQLITE_STATIC);
#else
    sqlite3_bind_blob(insert, 2, secret, sizeof value, SQLITE_STATIC);
#endif
    sqlite3_bind_text(insert, 1, name, length, SQLITE_STATIC);
    if (sqlite3_step(insert) != SQLITE_DONE) stop("insert", sqlite3_errmsg(db));
    sqlite3_reset(insert);
}

static void get_sql(const char *name, int length, uint8_t *secret) {
    sqlite3_bind_text(find, 1, name, length, SQLITE_STATIC);
    if (sqlite3_step(find) != SQLITE_ROW) stop("select", name);
    const uint8_t *stored = sqlite3_column_blob(find, 0);
#ifdef SEALED
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(secret, NULL, NULL, stored + 24, sizeof value + 16,
                                                   (const uint8_t *)name, (size_t)length, stored, sealing) != 0)
        stop("select", "does not open");
#else
    memcpy(secret, stored, sizeof value);
#endif
    sqlite3_reset(find);
}

static long list(void) {
    long found = 0;
    static char name[64];
    sqlite3_stmt *names = prepared("SELECT name FROM secret WHERE user = 'user'");
    while (sqlite3_step(names) == SQLITE_ROW) {
        memcpy(name, sqlite3_column_text(names, 0), (size_t)sqlite3_column_bytes(names, 0));
        found++;
    }
    sqlite3_finalize(names);
    return found;
}

static long delete_all(void) {
    sql("DELETE FROM secret WHERE user = 'user'");
    return sqlite3_changes(db);
}

static const struct keeper keeper = {
#if defined CIPHER
    .name = "sqlcipher",
#elif defined SEALED
    .name = "sqlite-sealed",
#else
    .name = "sqlite",
#endif
    .file = "credentials.sqlite",
    .open = open_sql,
    .close = close_sql,
    .begin = begin,
    .commit = commit,
    .put = put_sql,
    .get = get_sql,
    .list = list,
    .delete_all = delete_all,
};

int main(int count, char **arguments) { return run(count, arguments); }
