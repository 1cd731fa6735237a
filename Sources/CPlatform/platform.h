/* What the core needs of the operating system, as plain C that both Swift builds can import. */
#ifndef PAWL_PLATFORM_H
#define PAWL_PLATFORM_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static inline int64_t platform_now_ns(clockid_t clock) {
    struct timespec t;
    if (clock_gettime(clock, &t) != 0) return 0;
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
static inline int64_t platform_realtime_ns(void) { return platform_now_ns(CLOCK_REALTIME); }
static inline int64_t platform_monotonic_ns(void) { return platform_now_ns(CLOCK_MONOTONIC); }

static inline void platform_sleep_ns(int64_t ns) {
    struct timespec t = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    if (ns > 0) nanosleep(&t, NULL);
}

static inline int platform_errno(void) { return errno; }

/* A new file that only its owner can read; never an existing one, never through a link. */
static inline int platform_create_private(const char *path) {
    return open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

static inline int platform_sync_folder(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return -1;
    int result = fsync(fd);
    close(fd);
    return result;
}

/* 1 if something has this name (a dangling link too), 0 if nothing has, -1 if that cannot be told. */
static inline int platform_name_exists(const char *path) {
    struct stat s;
    if (lstat(path, &s) == 0) return 1;
    return errno == ENOENT ? 0 : -1;
}

/* 1 for an ordinary file, 2 for anything else (a link too), 0 if nothing has this name, else -1. */
static inline int platform_file_kind(const char *path) {
    struct stat s;
    if (lstat(path, &s) == 0) return S_ISREG(s.st_mode) ? 1 : 2;
    return errno == ENOENT ? 0 : -1;
}

/* 1 if this process may read a file and not write it. */
static inline int platform_is_read_only(const char *path) {
    return access(path, R_OK) == 0 && access(path, W_OK) != 0;
}

/* The size of what has this name, 0 if nothing has. */
static inline int64_t platform_file_size(const char *path) {
    struct stat s;
    return lstat(path, &s) == 0 ? (int64_t)s.st_size : 0;
}

#endif
