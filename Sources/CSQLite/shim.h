/* SQLite, and what Swift cannot import of it: functions with variable arguments and tables of pointers. */
#ifndef PAWL_CSQLITE_H
#define PAWL_CSQLITE_H

#include <sqlite3.h>

static inline int sqlite_configure(sqlite3 *db, int option, int value) {
    return sqlite3_db_config(db, option, value, (int *)0);
}

/* The first bytes of the open file, without a lock and through SQLite's own descriptor: opening and
 * closing the file beside SQLite would drop the locks of this process. */
static inline int sqlite_read_header(sqlite3 *db, void *header, int size) {
    sqlite3_file *file = 0;
    int result = sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    if (result != SQLITE_OK) return result;
    if (!file || !file->pMethods) return SQLITE_CANTOPEN;
    return file->pMethods->xRead(file, header, size, 0);
}

#endif
