/* One descriptor that a host can wait on: readable when a time has come, when this process says so, or when another
 * process rings the bell, a file beside the store. */
#ifndef PAWL_WAKE_H
#define PAWL_WAKE_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <poll.h>
#ifdef __linux__
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/timerfd.h>
#endif

/* -1 for what is not there. */
typedef struct platform_waker {
    int all; /* what the host sees: the others in one */
    int timer;
    int event;
    int bell;
} platform_waker;

static inline void platform_waker_close(platform_waker *waker) {
    int *const each[] = {&waker->all, &waker->timer, &waker->event, &waker->bell};
    for (int i = 0; i < 4; i++) {
        if (*each[i] >= 0) close(*each[i]);
        *each[i] = -1;
    }
}

/* A bell to ring, if somebody made one: who listens to none made none. */
static inline int platform_bell_open(const char *path) {
    return open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
}

static inline void platform_bell_ring(int bell) {
    const uint64_t one = 1;
    /* What is written means nothing, so a full disk or a short write loses no more than this ring; and the
     * bell has its 8 bytes from the first ring on. */
    ssize_t written = pwrite(bell, &one, sizeof one, 0);
    (void)written;
}

/* Sleeps until it is readable, or the time is over; sometimes less. A time below 0 never is. */
static inline void platform_waker_wait(const platform_waker *waker, int64_t time_ns) {
    struct pollfd one = {.fd = waker->all, .events = POLLIN, .revents = 0};
    int64_t milliseconds = time_ns / 1000000 + 1;
    (void)poll(&one, 1, time_ns < 0 ? -1 : milliseconds > 3600000 ? 3600000 : (int)milliseconds);
}

#ifdef __linux__

static inline int platform_waker_add(const platform_waker *waker, int fd) {
    struct epoll_event event = {.events = EPOLLIN};
    event.data.fd = fd;
    return fd < 0 ? -1 : epoll_ctl(waker->all, EPOLL_CTL_ADD, fd, &event);
}

static inline int platform_waker_listen(platform_waker *waker, const char *bell) {
    int fd = open(bell, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
    if (fd < 0) return -1;
    close(fd);
    waker->bell = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (platform_waker_add(waker, waker->bell) != 0) return -1;
    return inotify_add_watch(waker->bell, bell, IN_MODIFY | IN_DONT_FOLLOW) < 0 ? -1 : 0;
}

/* 0, or the number of an error, with nothing left open. `bell` may be NULL. */
static inline int platform_waker_open(platform_waker *waker, const char *bell, int with_timer) {
    waker->timer = waker->event = waker->bell = -1;
    waker->all = epoll_create1(EPOLL_CLOEXEC);
    int good = waker->all >= 0;
    if (good) {
        waker->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        good = platform_waker_add(waker, waker->event) == 0;
    }
    if (good && with_timer) {
        waker->timer = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
        good = platform_waker_add(waker, waker->timer) == 0;
    }
    if (good && bell != NULL) good = platform_waker_listen(waker, bell) == 0;
    if (good) return 0;
    int error = errno;
    platform_waker_close(waker);
    return error;
}

static inline void platform_waker_signal(const platform_waker *waker) {
    const uint64_t one = 1;
    /* It fails when the counter is full, and then it is readable anyway. */
    ssize_t written = write(waker->event, &one, sizeof one);
    (void)written;
}

/* Makes it unreadable until the next signal, ring or time. A timer whose clock was set says ECANCELED, once. */
static inline void platform_waker_drain(const platform_waker *waker) {
    uint64_t count;
    char rings[512] __attribute__((aligned(8)));
    ssize_t size = read(waker->event, &count, sizeof count);
    if (waker->timer >= 0) size = read(waker->timer, &count, sizeof count);
    if (waker->bell >= 0) {
        do size = read(waker->bell, rings, sizeof rings);
        while (size > 0);
    }
}

/* Readable from this time on, which must be above 0, and when the clock is set. 0, or -1 if it was set just now:
 * then the time to wait for must be thought over. */
static inline int platform_waker_arm(const platform_waker *waker, int64_t due_ns) {
    struct itimerspec at;
    memset(&at, 0, sizeof at);
    at.it_value.tv_sec = (time_t)(due_ns / 1000000000);
    at.it_value.tv_nsec = (long)(due_ns % 1000000000);
    return timerfd_settime(waker->timer, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &at, NULL);
}

/* Without flags: a timer that watches for the clock being set would go on to do so. */
static inline void platform_waker_disarm(const platform_waker *waker) {
    struct itimerspec never;
    memset(&never, 0, sizeof never);
    if (waker->timer >= 0) timerfd_settime(waker->timer, 0, &never, NULL);
}

#else

static inline int platform_waker_open(platform_waker *waker, const char *bell, int with_timer) {
    (void)bell;
    (void)with_timer;
    waker->all = waker->timer = waker->event = waker->bell = -1;
    return ENOSYS;
}
static inline void platform_waker_signal(const platform_waker *waker) { (void)waker; }
static inline void platform_waker_drain(const platform_waker *waker) { (void)waker; }
static inline int platform_waker_arm(const platform_waker *waker, int64_t due_ns) {
    (void)waker;
    (void)due_ns;
    return 0;
}
static inline void platform_waker_disarm(const platform_waker *waker) { (void)waker; }

#endif
#endif
