/*
 * Preloaded into a server that callgrind makes slow: its clocks become as slow, so that what it does by the clock weighs
 * what it weighs at full speed. The file named by PACE holds one int, which may change: how many times as slow.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

static const volatile int *wanted;
static int pace = 1;
static long long real_base[2], shown_base[2]; /* CLOCK_REALTIME, CLOCK_MONOTONIC */
static int (*real_epoll_wait)(int, struct epoll_event *, int, int);
static int (*real_poll)(struct pollfd *, nfds_t, int);
static long (*real_syscall)(long, ...);

static long long real(clockid_t clock)
{
    struct timespec t;
    real_syscall(SYS_clock_gettime, clock, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static long long shown(int which)
{
    return shown_base[which] + (real(which) - real_base[which]) / pace;
}

static void adjust(void)
{
    int next = *wanted;
    if (next == pace)
        return;
    for (int which = 0; which < 2; which++) {
        long long now = shown(which);
        real_base[which] = real(which);
        shown_base[which] = now;
    }
    pace = next;
}

__attribute__((constructor)) static void begin(void)
{
    real_epoll_wait = dlsym(RTLD_NEXT, "epoll_wait");
    real_poll = dlsym(RTLD_NEXT, "poll");
    real_syscall = dlsym(RTLD_NEXT, "syscall");
    const char *path = getenv("PACE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *page = mmap(NULL, sizeof(int), PROT_READ, MAP_SHARED, file, 0);
    static const int one = 1;
    wanted = page == MAP_FAILED ? &one : page;
    for (int which = 0; which < 2; which++)
        real_base[which] = shown_base[which] = real(which);
}

int clock_gettime(clockid_t clock, struct timespec *t)
{
    int which = clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE || clock == CLOCK_BOOTTIME;
    if (!which && clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)
        return real_syscall(SYS_clock_gettime, clock, t);
    adjust();
    long long now = shown(which);
    t->tv_sec = now / SECOND;
    t->tv_nsec = now % SECOND;
    return 0;
}

int epoll_wait(int epoll, struct epoll_event *events, int most, int timeout)
{
    return real_epoll_wait(epoll, events, most, timeout > 0 ? timeout * pace : timeout);
}

int poll(struct pollfd *files, nfds_t count, int timeout)
{
    return real_poll(files, count, timeout > 0 ? timeout * pace : timeout);
}

static struct timespec longer(const struct timespec *t)
{
    long long time = (t->tv_sec * SECOND + t->tv_nsec) * pace;
    return (struct timespec){time / SECOND, time % SECOND};
}

int nanosleep(const struct timespec *t, struct timespec *left)
{
    struct timespec time = longer(t);
    return real_syscall(SYS_nanosleep, &time, left);
}

/* Rust's standard library and parking_lot wait for locks by this. */
long syscall(long number, ...)
{
    long a[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    struct timespec time;
    if (number == SYS_futex && a[3]) {
        int order = a[1] & FUTEX_CMD_MASK;
        if (order == FUTEX_WAIT) {
            time = longer((void *)a[3]);
            a[3] = (long)&time;
        } else if (order == FUTEX_WAIT_BITSET) {
            int which = !(a[1] & FUTEX_CLOCK_REALTIME);
            const struct timespec *until = (void *)a[3];
            long long then = until->tv_sec * SECOND + until->tv_nsec;
            then = real_base[which] + (then - shown_base[which]) * pace;
            time = (struct timespec){then / SECOND, then % SECOND};
            a[3] = (long)&time;
        }
    }
    return real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
