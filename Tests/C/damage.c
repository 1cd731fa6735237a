/* Damage done to a file behind the store's back, by SQLite, while nobody has it open: a damaged record is
 * CORRUPT and costs that record alone; nothing crashes, and nothing is ever another record's secret. */
#include "test.h"
#include <sqlite3.h>

#define CREDENTIALS 6
static pawl_scope scope;
static char original[512], victim[512];

static const char *name_of(int i) {
    static const char *names[CREDENTIALS] = {"small-a", "small-b", "empty", "large-a", "large-b", "deleted"};
    return names[i];
}

static size_t secret_of(int i, uint8_t *out) { /* at most 10000 bytes */
    size_t size = i == 2 ? 0 : i == 3 || i == 4 ? 9000 : 40;
    memset(out, 'a' + i, size);
    return size;
}

static void write_original(void) {
    snprintf(original, sizeof original, "%s", test_path("original.pawl"));
    snprintf(victim, sizeof victim, "%s", test_path("victim.pawl"));
    pawl_store *store = open_file(original);
    uint8_t secret[10000];
    for (int i = 0; i < CREDENTIALS; i++) {
        size_t size = secret_of(i, secret);
        MUST(pawl_credential_put(store, &scope, name_of(i), strlen(name_of(i)), secret, size, NULL, NULL));
    }
    MUST(pawl_credential_delete(store, &scope, "deleted", 7, 3600 * SECOND));
    pawl_store_close(store);
    sqlite3 *db = NULL;
    NEED(sqlite3_open(original, &db) == SQLITE_OK);
    NEED(sqlite3_exec(db, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL) == SQLITE_OK);
    sqlite3_close(db);
}

static void copy_bytes(const char *from, const char *to) {
    static uint8_t bytes[1 << 20];
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    NEED(in != NULL && out != NULL);
    size_t size = fread(bytes, 1, sizeof bytes, in);
    NEED(size < sizeof bytes && fwrite(bytes, 1, size, out) == size);
    fclose(in);
    fclose(out);
}

/* SQL: flipped(blob, at, bit). */
static void flipped(sqlite3_context *context, int count, sqlite3_value **values) {
    (void)count;
    int size = sqlite3_value_bytes(values[0]);
    uint8_t *bytes = sqlite3_malloc(size);
    NEED(bytes != NULL);
    memcpy(bytes, sqlite3_value_blob(values[0]), (size_t)size);
    bytes[sqlite3_value_int(values[1])] ^= (uint8_t)sqlite3_value_int(values[2]);
    sqlite3_result_blob(context, bytes, size, sqlite3_free);
}

/* A new victim with the change made. NULL: none. */
static void damage(const char *format, ...) {
    char statement[512], beside[600];
    const char *endings[] = {"-wal", "-shm"};
    for (int i = 0; i < 2; i++) {
        snprintf(beside, sizeof beside, "%s%s", victim, endings[i]);
        unlink(beside);
    }
    copy_bytes(original, victim);
    if (format == NULL) return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(statement, sizeof statement, format, arguments);
    va_end(arguments);
    sqlite3 *db = NULL;
    NEED(sqlite3_open(victim, &db) == SQLITE_OK);
    sqlite3_create_function(db, "flipped", 3, SQLITE_UTF8, NULL, flipped, NULL, NULL);
    char *error = NULL;
    if (sqlite3_exec(db, statement, NULL, NULL, &error) != SQLITE_OK) {
        test_fault(__FILE__, __LINE__, "%s: %s", statement, error);
    }
    CHECK(sqlite3_changes(db) > 0);
    sqlite3_close(db);
}

static int number_from_sql(const char *statement) {
    sqlite3 *db = NULL;
    sqlite3_stmt *s = NULL;
    NEED(sqlite3_open(original, &db) == SQLITE_OK);
    NEED(sqlite3_prepare_v2(db, statement, -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW);
    int number = sqlite3_column_int(s, 0);
    sqlite3_finalize(s);
    sqlite3_close(db);
    return number;
}

/* How a victim turned out. */
typedef struct outcome {
    pawl_status open;
    int readable, refused; /* credentials, of those that are not deleted */
    pawl_status refusal;   /* the last */
    int damages;
} outcome;

static int is_damage(pawl_status status) {
    return PAWL_STATUS_PRIMARY(status) == PAWL_CORRUPT || PAWL_STATUS_PRIMARY(status) == PAWL_VERSION;
}

static outcome examine(void) {
    outcome o = {0};
    pawl_key key = raw_key();
    pawl_store *store = NULL;
    o.open = open_with(victim, 0, &key, &store);
    if (o.open != PAWL_OK) {
        CHECK(store == NULL);
        return o;
    }
    uint8_t secret[10000];
    for (int i = 0; i < CREDENTIALS - 1; i++) {
        pawl_view *view = NULL;
        pawl_status status = pawl_credential_get(store, &scope, name_of(i), strlen(name_of(i)), &view);
        if (status == PAWL_OK) {
            pawl_credential c = PAWL_INIT(pawl_credential);
            MUST(pawl_view_credential(view, 0, &c));
            size_t size = secret_of(i, secret);
            CHECK(c.secret_size == size && (size == 0 || memcmp(c.secret, secret, size) == 0));
            CHECK(c.name_size == strlen(name_of(i)) && memcmp(c.name, name_of(i), c.name_size) == 0);
            o.readable++;
        } else {
            CHECK(view == NULL);
            o.refused++;
            o.refusal = status;
        }
        pawl_view_close(view);
    }
    pawl_view *view = NULL;
    MUST(pawl_store_verify(store, &view));
    o.damages = (int)pawl_view_count(view);
    for (int i = 0; i < o.damages; i++) {
        pawl_damage d = PAWL_INIT(pawl_damage);
        MUST(pawl_view_damage(view, (size_t)i, &d));
        CHECK(is_damage(d.status) && d.key != NULL && d.key_size > 0);
    }
    pawl_view_close(view);

    /* Listing leaves out what is damaged, and whatever else is called answers; nothing is made worse. */
    MUST(pawl_credential_list(store, &scope, NULL, 0, 100, &view));
    CHECK((int)pawl_view_count(view) >= o.readable);
    pawl_view_close(view);
    if (pawl_credential_deleted(store, &scope, "deleted", 7, &view) == PAWL_OK) pawl_view_close(view);
    if (pawl_slot_list(store, &view) == PAWL_OK) pawl_view_close(view);
    (void)put(store, &scope, "another", "x");
    (void)pawl_credential_restore(store, &scope, "deleted", 7, 0);
    pawl_store_close(store);
    return o;
}

static void undamaged(void) {
    damage(NULL);
    outcome o = examine();
    CHECK(o.open == PAWL_OK && o.readable == CREDENTIALS - 1 && o.damages == 0);
}

/* Every record in turn: the store says so, or refuses to open and says why. */
static void check_one_record(const char *what, int row, outcome o, int *opened, int *refused) {
    if (o.open != PAWL_OK) {
        CHECK_SAYING(is_damage(o.open) || o.open == PAWL_AUTH, "%s of row %d: open answers %s", what, row,
                     pawl_status_name(o.open));
        (*refused)++;
        return;
    }
    (*opened)++;
    CHECK_SAYING(o.damages >= 1, "%s of row %d: verify finds nothing", what, row);
    CHECK_SAYING(o.refused <= 1, "%s of row %d: cost %d credentials", what, row, o.refused);
    CHECK_SAYING(o.refused == 0 || is_damage(o.refusal), "%s of row %d: get answers %s", what, row,
                 pawl_status_name(o.refusal));
}

static void each_record_flipped(void) {
    int rows = number_from_sql("SELECT max(rowid) FROM kv"), opened = 0, refused = 0, lost = 0;
    CHECK(rows >= CREDENTIALS + 2);
    uint64_t seed = 4711;
    for (int row = 1; row <= rows; row++) {
        char statement[128];
        snprintf(statement, sizeof statement, "SELECT coalesce(max(length(v)), 0) FROM kv WHERE rowid = %d", row);
        int size = number_from_sql(statement);
        if (size == 0) continue;
        for (int i = 0; i < 8; i++) {
            /* The first bytes, the last, and some between. */
            int at = i < 3 ? i : i < 5 ? size - (i - 2) : (int)(chance(&seed) % (uint64_t)size);
            if (at < 0 || at >= size) continue;
            /* The header is row 1; its revision, the last 8 bytes, only orders changes of slots. */
            if (row == 1 && at >= size - 8) continue;
            int bit = 1 << (chance(&seed) % 8);
            damage("UPDATE kv SET v = flipped(v, %d, %d) WHERE rowid = %d", at, bit, row);
            outcome o = examine();
            lost += o.refused;
            char what[64];
            snprintf(what, sizeof what, "a flip of bit %d in byte %d of %d", bit, at, size);
            check_one_record(what, row, o, &opened, &refused);
        }
    }
    CHECK(opened > 0 && refused > 0 && lost > 0);
}

static void each_record_cut(void) {
    int rows = number_from_sql("SELECT max(rowid) FROM kv"), opened = 0, refused = 0;
    const int sizes[] = {0, 1, 2, 16, 24, 39, 40, 41};
    for (int row = 1; row <= rows; row++) {
        char statement[128];
        snprintf(statement, sizeof statement, "SELECT coalesce(max(length(v)), 0) FROM kv WHERE rowid = %d", row);
        int full = number_from_sql(statement);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            if (full <= sizes[i]) continue;
            damage("UPDATE kv SET v = substr(v, 1, %d) WHERE rowid = %d", sizes[i], row);
            check_one_record("a cut", row, examine(), &opened, &refused);
        }
        if (full == 0) continue;
        damage("UPDATE kv SET v = CAST(v || x'00' AS BLOB) WHERE rowid = %d", row);
        check_one_record("a longer value", row, examine(), &opened, &refused);
    }
    CHECK(opened > 0 && refused > 0);
}

/* Two values swapped: both are CORRUPT where they now are, whatever they are. */
static void each_pair_swapped(void) {
    int rows = number_from_sql("SELECT max(rowid) FROM kv"), both = 0;
    for (int a = 1; a <= rows; a++) {
        for (int b = a + 1; b <= rows; b++) {
            char statement[128];
            snprintf(statement, sizeof statement, "SELECT count(*) FROM kv WHERE rowid IN (%d, %d)", a, b);
            if (number_from_sql(statement) != 2) continue;
            damage("CREATE TEMP TABLE two AS SELECT rowid AS r, v FROM kv WHERE rowid IN (%d, %d);"
                   "UPDATE kv SET v = (SELECT v FROM two WHERE r <> kv.rowid) WHERE rowid IN (%d, %d)",
                   a, b, a, b);
            outcome o = examine();
            if (o.open != PAWL_OK) {
                CHECK_SAYING(is_damage(o.open) || o.open == PAWL_AUTH, "rows %d and %d: open answers %s", a, b,
                             pawl_status_name(o.open));
                continue;
            }
            CHECK_SAYING(o.damages >= 2, "rows %d and %d: verify finds %d", a, b, o.damages);
            CHECK_SAYING(o.refused <= 2, "rows %d and %d: cost %d credentials", a, b, o.refused);
            CHECK(o.refused == 0 || is_damage(o.refusal));
            both += o.refused == 2 && PAWL_STATUS_PRIMARY(o.refusal) == PAWL_CORRUPT;
        }
    }
    CHECK(both > 0);
}

/* A record that was removed: a lost secret is said to be lost; a lost slot is not made again. */
static void each_record_removed(void) {
    int rows = number_from_sql("SELECT max(rowid) FROM kv"), lost_secret = 0, lost_slots = 0, gone = 0;
    for (int row = 1; row <= rows; row++) {
        char statement[128];
        snprintf(statement, sizeof statement, "SELECT count(*) FROM kv WHERE rowid = %d", row);
        if (number_from_sql(statement) == 0) continue;
        damage("DELETE FROM kv WHERE rowid = %d", row);
        outcome o = examine();
        if (o.open != PAWL_OK) {
            CHECK_SAYING(PAWL_STATUS_PRIMARY(o.open) == PAWL_CORRUPT, "row %d removed: open answers %s", row,
                         pawl_status_name(o.open));
            lost_slots += o.open == PAWL_CORRUPT_KEY_LOST;
            outcome again = examine();
            CHECK(again.open == o.open);
            continue;
        }
        CHECK(o.refused <= 1);
        if (o.refused == 1 && o.refusal == PAWL_CORRUPT_KEY_LOST) lost_secret++;
        else if (o.refused == 1 && o.refusal == PAWL_NOT_FOUND) gone++;
        else CHECK(o.refused == 0);
    }
    CHECK_SAYING(lost_secret == 2 && lost_slots >= 1 && gone >= 3, "%d secrets lost, %d slot records, %d gone",
                 lost_secret, lost_slots, gone);
}

/* All records gone, the file itself well-formed. */
static void emptied(void) {
    damage("DELETE FROM kv");
    CHECK(examine().open == PAWL_CORRUPT_KEY_LOST);
    pawl_key key = raw_key();
    pawl_store *store = NULL;
    ANSWERS(PAWL_CORRUPT_KEY_LOST, open_with(victim, PAWL_STORE_CREATE, &key, &store));
}

/* Bytes of the file itself, flipped anywhere. SQLite has no checksums, so some flips go unseen by it; no
 * crash, and no wrong secret, are what is asked. */
static void bytes_of_the_file(void) {
    uint64_t seed = 20240607;
    static uint8_t bytes[1 << 20];
    int rounds = test_number("PAWL_FLIPS", 150, 2000), noticed = 0;
    for (int round = 0; round < rounds; round++) {
        damage(NULL);
        FILE *f = fopen(victim, "r+b");
        NEED(f != NULL);
        size_t size = fread(bytes, 1, sizeof bytes, f);
        size_t at = round < 100 ? (size_t)round : chance(&seed) % size;
        bytes[at] ^= (uint8_t)(1 << chance(&seed) % 8);
        NEED(fseek(f, (long)at, SEEK_SET) == 0 && fwrite(bytes + at, 1, 1, f) == 1);
        fclose(f);
        pawl_key key = raw_key();
        pawl_store *store = NULL;
        pawl_status status = open_with(victim, 0, &key, &store);
        int damaged = status != PAWL_OK;
        if (status == PAWL_OK) {
            uint8_t secret[10000];
            for (int i = 0; i < CREDENTIALS - 1; i++) {
                pawl_view *view = NULL;
                status = pawl_credential_get(store, &scope, name_of(i), strlen(name_of(i)), &view);
                if (status == PAWL_OK) {
                    pawl_credential c = PAWL_INIT(pawl_credential);
                    MUST(pawl_view_credential(view, 0, &c));
                    size_t secret_size = secret_of(i, secret);
                    CHECK(c.secret_size == secret_size && memcmp(c.secret, secret, secret_size) == 0);
                }
                damaged |= status != PAWL_OK;
                pawl_view_close(view);
            }
            pawl_view *view = NULL;
            if (pawl_store_verify(store, &view) != PAWL_OK || pawl_view_count(view) > 0) damaged = 1;
            pawl_view_close(view);
            pawl_store_close(store);
        }
        noticed += damaged;
    }
    CHECK(noticed > 0);
}

int main(void) {
    scope = scope_of("user", "project");
    test_path("");
    RUN(write_original);
    RUN(undamaged);
    RUN(each_record_flipped);
    RUN(each_record_cut);
    RUN(each_pair_swapped);
    RUN(each_record_removed);
    RUN(emptied);
    RUN(bytes_of_the_file);
    FINISH;
}
