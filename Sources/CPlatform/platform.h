/* What the core needs of the operating system, as plain C that both Swift builds can import. */
#ifndef PAWL_PLATFORM_H
#define PAWL_PLATFORM_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
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

/* Sleeps until it is woken or the time is over; sometimes less. */
static inline void platform_condition_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, int64_t ns) {
    struct timespec t;
    if (clock_gettime(CLOCK_REALTIME, &t) != 0) return;
    ns += t.tv_nsec;
    t.tv_sec += (time_t)(ns / 1000000000);
    t.tv_nsec = (long)(ns % 1000000000);
    pthread_cond_timedwait(condition, mutex, &t);
}

/* A thread that no signal of the host is delivered to. */
typedef struct platform_thread {
    pthread_t id;
} platform_thread;

typedef struct platform_start {
    void (*body)(void *context);
    void *context;
} platform_start;

static inline void *platform_thread_main(void *memory) {
    platform_start start = *(platform_start *)memory;
    free(memory);
    start.body(start.context);
    return NULL;
}

/* 0, or the number of an error. */
static inline int platform_thread_start(platform_thread *thread, void (*body)(void *context), void *context) {
    platform_start *start = malloc(sizeof *start);
    if (start == NULL) return ENOMEM;
    start->body = body;
    start->context = context;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&thread->id, NULL, platform_thread_main, start);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) free(start);
    return error;
}

static inline platform_thread platform_thread_self(void) {
    platform_thread thread = {pthread_self()};
    return thread;
}
static inline int platform_thread_is_self(platform_thread thread) { return pthread_equal(thread.id, pthread_self()); }
static inline void platform_thread_join(platform_thread thread) { pthread_join(thread.id, NULL); }
static inline void platform_thread_detach(platform_thread thread) { pthread_detach(thread.id); }

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
