// Preloaded into a program of a fault test: makes its disk full, while the first number in a file, which the program maps,
// is not zero.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct control {
    volatile int64_t disk_is_full;
};

static const struct control none;
static const struct control *control = &none;

__attribute__((constructor)) static void map_control(void) {
    const char *path = getenv("FULL_DISK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof(struct control), PROT_READ, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED) control = mapped;
    close(file);
}

// Sockets and pipes have no disk.
static int disk_is_full(int file) {
    struct stat status;
    if (!control->disk_is_full || fstat(file, &status) != 0 || !S_ISREG(status.st_mode)) return 0;
    errno = ENOSPC;
    return 1;
}

ssize_t write(int file, const void *bytes, size_t length) {
    return disk_is_full(file) ? -1 : syscall(SYS_write, file, bytes, length);
}

ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t offset) {
    return disk_is_full(file) ? -1 : syscall(SYS_pwrite64, file, bytes, length, offset);
}

ssize_t pwrite(int file, const void *bytes, size_t length, off_t offset) {
    return pwrite64(file, bytes, length, offset);
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    return disk_is_full(file) ? -1 : syscall(SYS_writev, file, parts, count);
}
