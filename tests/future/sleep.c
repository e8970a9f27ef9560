/* Loaded before libfaketime 0.9.10, which moves the wall clock and leaves the monotonic one alone, but still "corrects" the end
   of a sleep that is given in monotonic time: Python's time.sleep then fails with EINVAL. Here the kernel gets it as it is. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *wanted, struct timespec *left) {
    return syscall(SYS_clock_nanosleep, clock, flags, wanted, left) == 0 ? 0 : errno;
}
