/* What a host does for a library that stores nothing: after each call a side's whole session as one row of SQLite, in
 * one durable commit, with the settings that Pawl has. */
#ifndef PAWL_KEPT_H
#define PAWL_KEPT_H

#include "bench.h"
#include <sqlite3.h>

static sqlite3 *kept[2];
static sqlite3_stmt *keep_one[2];

static void open_kept(void) {
    for (int side = 0; side < 2; side++) {
        char path[512];
        file_in(side == 0 ? "alice.sqlite" : "bob.sqlite", path);
        if (sqlite3_open(path, &kept[side]) != SQLITE_OK ||
            sqlite3_exec(kept[side], "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                         "CREATE TABLE session(id INTEGER PRIMARY KEY, state BLOB NOT NULL)", NULL, NULL, NULL) ||
            sqlite3_prepare_v2(kept[side], "INSERT OR REPLACE INTO session(id, state) VALUES(1, ?)", -1,
                               &keep_one[side], NULL) != SQLITE_OK)
            stop("kept", sqlite3_errmsg(kept[side]));
    }
}

/* Nothing if it is not open. */
static void keep(int side, const void *state, size_t size) {
    if (kept[side] == NULL) return;
    sqlite3_bind_blob(keep_one[side], 1, state, (int)size, SQLITE_STATIC);
    if (sqlite3_step(keep_one[side]) != SQLITE_DONE) stop("kept", sqlite3_errmsg(kept[side]));
    sqlite3_reset(keep_one[side]);
}

static void close_kept(void) {
    for (int side = 0; side < 2; side++) {
        sqlite3_finalize(keep_one[side]);
        sqlite3_close(kept[side]);
        kept[side] = NULL;
        keep_one[side] = NULL;
        remove_file(side == 0 ? "alice.sqlite" : "bob.sqlite");
    }
}

#endif
