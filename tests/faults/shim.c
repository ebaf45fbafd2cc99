/* What a fault does to a process that is started with this library in LD_PRELOAD.
 *
 * The file that FAULTS_CONTROL names holds five numbers of 64 bits, shared with the test: how far the wall clock is off in
 * microseconds, for how many microseconds each sync is held up (asked again and again, so that it can be let go), at which
 * sync the process kills itself (0: none), whether it does so behind that sync, and how many syncs there were.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct control {
    _Atomic int64_t wall_off_us;
    _Atomic int64_t sync_held_us;
    _Atomic int64_t kill_at_sync;
    _Atomic int64_t kill_behind;
    _Atomic int64_t syncs;
};

static struct control none;
static struct control *control = &none;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAULTS_CONTROL");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd >= 0) {
        void *mapped = mmap(NULL, sizeof none, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (mapped != MAP_FAILED)
            control = mapped;
        close(fd);
    }
}

static void shift(struct timespec *at) {
    int64_t off_us = atomic_load(&control->wall_off_us);
    int64_t nanos = at->tv_nsec + off_us % 1000000 * 1000;
    at->tv_sec += off_us / 1000000 + (nanos >= 1000000000) - (nanos < 0);
    at->tv_nsec = nanos < 0 ? nanos + 1000000000 : nanos % 1000000000;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    static int (*_Atomic real)(clockid_t, struct timespec *);
    int (*ask)(clockid_t, struct timespec *) = atomic_load(&real);
    if (!ask) {
        ask = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
        atomic_store(&real, ask);
    }
    int failed = ask(clock, at);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        shift(at);
    return failed;
}

int gettimeofday(struct timeval *at, void *zone) {
    struct timespec precise;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &precise);
    at->tv_sec = precise.tv_sec;
    at->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (at)
        *at = precise.tv_sec;
    return precise.tv_sec;
}

static void kill_here(int64_t sync, int is_behind) {
    if (sync == atomic_load(&control->kill_at_sync) && is_behind == !!atomic_load(&control->kill_behind)) {
        kill(getpid(), SIGKILL);
        for (;;)
            pause();
    }
}

static int sync_by(long call, int fd) {
    const struct timespec step = {0, 2000000};
    int64_t sync = atomic_fetch_add(&control->syncs, 1) + 1;
    kill_here(sync, 0);
    for (int64_t held_us = 0; held_us < atomic_load(&control->sync_held_us); held_us += 2000)
        nanosleep(&step, NULL);
    int failed = (int)syscall(call, fd);
    kill_here(sync, 1);
    return failed;
}

int fsync(int fd) {
    return sync_by(SYS_fsync, fd);
}

int fdatasync(int fd) {
    return sync_by(SYS_fdatasync, fd);
}
