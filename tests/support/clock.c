/* Preloaded into a process: its wall clock differs from the machine's by the seconds in the file CLOCK_OFFSET, and its
   monotonic clock runs CLOCK_SPEED times as fast, in its first CLOCK_FAST_SECONDS if that is set. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long offset(void) {
    const char *path = getenv("CLOCK_OFFSET");
    FILE *file = path ? fopen(path, "r") : NULL;
    long seconds = 0;
    if (file) {
        if (fscanf(file, "%ld", &seconds) != 1)
            seconds = 0;
        fclose(file);
    }
    return seconds;
}

static void speed_up(struct timespec *now) {
    static struct timespec start;
    const char *speed = getenv("CLOCK_SPEED");
    if (!speed)
        return;
    if (!start.tv_sec)
        start = *now;
    long long passed = (now->tv_sec - start.tv_sec) * 1000000000LL + now->tv_nsec - start.tv_nsec;
    const char *seconds = getenv("CLOCK_FAST_SECONDS");
    long long fast = seconds ? atoll(seconds) * 1000000000LL : passed;
    passed = start.tv_nsec + passed + (passed < fast ? passed : fast) * (atoll(speed) - 1);
    now->tv_sec = start.tv_sec + passed / 1000000000LL;
    now->tv_nsec = passed % 1000000000LL;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && clock == CLOCK_REALTIME)
        now->tv_sec += offset();
    if (!failed && clock == CLOCK_MONOTONIC)
        speed_up(now);
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec real;
    int failed = clock_gettime(CLOCK_REALTIME, &real);
    now->tv_sec = real.tv_sec;
    now->tv_usec = real.tv_nsec / 1000;
    return failed;
}

time_t time(time_t *result) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result)
        *result = now.tv_sec;
    return now.tv_sec;
}
