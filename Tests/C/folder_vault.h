/* A host's vault as a folder, one file for each id, written aside and renamed: it keeps its word even when
 * the process is killed, and any number of processes may use it. */
#ifndef PAWL_TEST_FOLDER_VAULT_H
#define PAWL_TEST_FOLDER_VAULT_H

#include "test.h"
#include <dirent.h>

typedef struct folder_vault {
    char folder[256];
} folder_vault;

static void folder_path(const folder_vault *v, const uint8_t *id, const char *ending, char out[400]) {
    int at = snprintf(out, 400, "%s/", v->folder);
    for (int i = 0; i < PAWL_VAULT_ID_SIZE; i++) at += snprintf(out + at, 400 - (size_t)at, "%02x", id[i]);
    snprintf(out + at, 400 - (size_t)at, "%s", ending);
}

static pawl_status folder_set(void *context, const uint8_t *id, const uint8_t *value, size_t size) {
    char path[400], aside[400], ending[48];
    snprintf(ending, sizeof ending, ".%d-%lx", (int)getpid(), (unsigned long)pthread_self());
    folder_path(context, id, "", path);
    folder_path(context, id, ending, aside);
    int fd = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return 1;
    int whole = write(fd, value, size) == (ssize_t)size;
    close(fd);
    return whole && rename(aside, path) == 0 ? PAWL_OK : 2;
}

static pawl_status folder_get(void *context, const uint8_t *id, uint8_t *out, size_t out_size, size_t *out_len) {
    char path[400];
    folder_path(context, id, "", path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno == ENOENT ? PAWL_VAULT_ABSENT : 3;
    struct stat s;
    pawl_status status = fstat(fd, &s) == 0 ? PAWL_OK : 4;
    *out_len = status == PAWL_OK ? (size_t)s.st_size : 0;
    if (status == PAWL_OK && out_size >= *out_len && read(fd, out, *out_len) != (ssize_t)*out_len) status = 5;
    close(fd);
    return status;
}

static pawl_status folder_remove(void *context, const uint8_t *id) {
    char path[400];
    folder_path(context, id, "", path);
    return unlink(path) == 0 || errno == ENOENT ? PAWL_OK : 6;
}

/* The lowest id above `after`; also counts all there are. */
static pawl_status folder_look(const folder_vault *v, const uint8_t *after, uint8_t *lowest, size_t *count) {
    DIR *folder = opendir(v->folder);
    if (folder == NULL) return 7;
    int found = 0;
    *count = 0;
    for (struct dirent *e; (e = readdir(folder)) != NULL;) {
        uint8_t id[PAWL_VAULT_ID_SIZE];
        if (strlen(e->d_name) != 2 * PAWL_VAULT_ID_SIZE) continue; /* one that is being written aside */
        for (int i = 0; i < PAWL_VAULT_ID_SIZE; i++) {
            unsigned byte = 0;
            sscanf(e->d_name + 2 * i, "%2x", &byte);
            id[i] = (uint8_t)byte;
        }
        ++*count;
        if (after != NULL && memcmp(id, after, sizeof id) <= 0) continue;
        if (found && memcmp(id, lowest, sizeof id) >= 0) continue;
        found = 1;
        memcpy(lowest, id, sizeof id);
    }
    closedir(folder);
    return found ? PAWL_OK : PAWL_VAULT_ABSENT;
}

static pawl_status folder_next(void *context, const uint8_t *after, uint8_t *id) {
    size_t count;
    return folder_look(context, after, id, &count);
}

static UNUSED size_t folder_vault_count(const folder_vault *v) {
    uint8_t id[PAWL_VAULT_ID_SIZE];
    size_t count = 0;
    folder_look(v, NULL, id, &count);
    return count;
}

static UNUSED void folder_vault_start(folder_vault *v, const char *name) {
    snprintf(v->folder, sizeof v->folder, "%.200s", test_path(name));
    NEED(mkdir(v->folder, 0700) == 0);
}

static UNUSED pawl_vault folder_vault_table(folder_vault *v) {
    pawl_vault table = PAWL_INIT(pawl_vault);
    table.context = v;
    table.set = folder_set;
    table.get = folder_get;
    table.remove = folder_remove;
    table.next = folder_next;
    return table;
}

#endif
