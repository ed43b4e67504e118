// Preloaded into a program of a fault test: writing to its disk fails with the first number in a file, which the program
// maps, unless it is zero.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct control {
    volatile int64_t disk_error;
};

static const struct control none;
static const struct control *control = &none;

__attribute__((constructor)) static void map_control(void) {
    const char *path = getenv("DISK_ERROR");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof(struct control), PROT_READ, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED) control = mapped;
    close(file);
}

// Sockets and pipes have no disk.
static int disk_fails(int file) {
    int error = (int)control->disk_error;
    struct stat status;
    if (!error || fstat(file, &status) != 0 || !S_ISREG(status.st_mode)) return 0;
    errno = error;
    return 1;
}

// A file system that is read-only opens no file for writing and creates none; a full one does.
static int is_read_only(const char *path, int flags) {
    struct stat status;
    int writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT);
    if (control->disk_error != EROFS || !writes) return 0;
    if (stat(path, &status) == 0 ? !S_ISREG(status.st_mode) : !(flags & O_CREAT)) return 0;
    errno = EROFS;
    return 1;
}

int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    return is_read_only(path, flags) ? -1 : (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_LARGEFILE, mode);
}

int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    return open64(path, flags, mode);
}

ssize_t write(int file, const void *bytes, size_t length) {
    return disk_fails(file) ? -1 : syscall(SYS_write, file, bytes, length);
}

ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t offset) {
    return disk_fails(file) ? -1 : syscall(SYS_pwrite64, file, bytes, length, offset);
}

ssize_t pwrite(int file, const void *bytes, size_t length, off_t offset) {
    return pwrite64(file, bytes, length, offset);
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    return disk_fails(file) ? -1 : syscall(SYS_writev, file, parts, count);
}
