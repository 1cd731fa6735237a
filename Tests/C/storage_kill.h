/* Ends this process with SIGKILL at a counted operation of its storage: these stand before the C library's for SQLite, too. */
#ifndef PAWL_TEST_STORAGE_KILL_H
#define PAWL_TEST_STORAGE_KILL_H

#include "test.h"

#include <sys/syscall.h>

/* In memory that parent and child share. */
static struct {
    volatile long operations; /* that wrote to a file, since `countdown` was set */
    volatile long countdown;  /* the operation that is the last; 0: none is */
} *storage;

static void count_operation(void) {
    if (storage == NULL || storage->countdown == 0) return;
    if (++storage->operations == storage->countdown) kill(getpid(), SIGKILL);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t at);
ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t at) {
    count_operation();
    return syscall(SYS_pwrite64, fd, bytes, size, at);
}
int fdatasync(int fd) {
    count_operation();
    return (int)syscall(SYS_fdatasync, fd);
}
int ftruncate64(int fd, off64_t size) {
    count_operation();
    return (int)syscall(SYS_ftruncate, fd, size);
}

#endif
