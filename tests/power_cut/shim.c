/* Loaded before the C library into a broker (LD_PRELOAD): keeps a journal of what the broker does to the files below one
 * directory, so that after a SIGKILL the test can make of that directory what a power cut may have left of it. What the
 * journal says and how it is used is in power_cut/disk.rs.
 *
 * Every call is made by syscall(2), so that nothing here depends on the library that it stands before. A line is one
 * write(2) to a file opened with O_APPEND: lines of several threads do not mix. A line is written after what it tells of
 * (but for D), so that the journal never knows of more than there is.
 *
 * QUORATE_POWER_CUT_DIR      the directory, absolute and without symbolic links
 * QUORATE_POWER_CUT_JOURNAL  the journal, outside of it
 * QUORATE_POWER_CUT_GRAVES   a directory on the same file system: before a name goes, its file gets a link there that is
 *                            called by its inode, so that the number is not used again and the bytes can be found
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LINE_BYTES (2 * PATH_MAX + 128)

static const char *directory;
static size_t directory_bytes;
static const char *graves;
static int journal = -1;
static atomic_ulong directory_syncs;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("QUORATE_POWER_CUT_JOURNAL");
    directory = getenv("QUORATE_POWER_CUT_DIR");
    graves = getenv("QUORATE_POWER_CUT_GRAVES");
    if (!path || !directory || !graves) {
        abort();
    }
    directory_bytes = strlen(directory);
    journal = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (journal < 0) {
        abort();
    }
}

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...) {
    char line[LINE_BYTES];
    int saved = errno;
    va_list arguments;
    va_start(arguments, format);
    int bytes = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (bytes <= 0 || (size_t)bytes >= sizeof line || syscall(SYS_write, journal, line, (size_t)bytes) != bytes) {
        abort(); /* A journal with a gap would lie. */
    }
    errno = saved;
}

/* Whether a path is the directory or below it. */
static int is_inside(const char *path) {
    return strncmp(path, directory, directory_bytes) == 0
        && (path[directory_bytes] == '/' || path[directory_bytes] == '\0');
}

/* The path of an open file as it is called now. */
static int path_of(int fd, char path[PATH_MAX]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long bytes = syscall(SYS_readlinkat, AT_FDCWD, link, path, (size_t)PATH_MAX - 1);
    if (bytes <= 0) {
        return 0;
    }
    path[bytes] = '\0';
    return is_inside(path);
}

/* The absolute path of a name, which need not exist. Only names relative to an open directory need work. */
static int resolve(int at, const char *name, char path[PATH_MAX]) {
    if (name[0] == '/') {
        return snprintf(path, PATH_MAX, "%s", name) < PATH_MAX && is_inside(path);
    }
    char base[PATH_MAX];
    if (at == AT_FDCWD) {
        if (syscall(SYS_getcwd, base, sizeof base) <= 0 || !is_inside(base)) {
            return 0;
        }
    } else if (!path_of(at, base)) {
        return 0;
    }
    return snprintf(path, PATH_MAX, "%s/%s", base, name) < PATH_MAX;
}

static int status_of(int fd, struct stat *status) {
    return fstat(fd, status) == 0;
}

/* Keeps the file behind a name that is about to go. */
static void bury(int at, const char *name) {
    struct stat status;
    char grave[PATH_MAX];
    int saved = errno;
    if (fstatat(at, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(status.st_mode)) {
        snprintf(grave, sizeof grave, "%s/%ju", graves, (uintmax_t)status.st_ino);
        /* It may have one already, under another name. */
        if (syscall(SYS_linkat, at, name, AT_FDCWD, grave, 0) != 0 && errno != EEXIST) {
            abort();
        }
    }
    errno = saved;
}

static int open_at(int at, const char *name, int flags, mode_t mode) {
    char path[PATH_MAX];
    struct stat status;
    int inside = resolve(at, name, path);
    int existed = inside && fstatat(at, name, &status, 0) == 0;
    int fd = (int)syscall(SYS_openat, at, name, flags, mode);
    if (fd >= 0 && inside && !existed && (flags & O_CREAT) && status_of(fd, &status)) {
        note("C %ju %s\n", (uintmax_t)status.st_ino, path);
    } else if (fd >= 0 && existed && (flags & O_TRUNC) && status_of(fd, &status)) {
        note("T %ju 0\n", (uintmax_t)status.st_ino);
    }
    return fd;
}

static mode_t mode_of(int flags, va_list arguments) {
    return (flags & (O_CREAT | O_TMPFILE)) ? va_arg(arguments, mode_t) : 0;
}

#define OPENER(name)                                        \
    int name(const char *path, int flags, ...) {            \
        va_list arguments;                                  \
        va_start(arguments, flags);                         \
        mode_t mode = mode_of(flags, arguments);            \
        va_end(arguments);                                  \
        return open_at(AT_FDCWD, path, flags, mode);        \
    }
OPENER(open)
OPENER(open64)

#define OPENER_AT(name)                                     \
    int name(int at, const char *path, int flags, ...) {    \
        va_list arguments;                                  \
        va_start(arguments, flags);                         \
        mode_t mode = mode_of(flags, arguments);            \
        va_end(arguments);                                  \
        return open_at(at, path, flags, mode);              \
    }
OPENER_AT(openat)
OPENER_AT(openat64)

int creat(const char *path, mode_t mode) {
    return open_at(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode);
}

int creat64(const char *path, mode_t mode) {
    return creat(path, mode);
}

/* A directory: its names as they were before the call. A file: its length as it was before the call. */
static int sync_by(long call, int fd) {
    char path[PATH_MAX];
    struct stat status;
    int inside = path_of(fd, path) && status_of(fd, &status);
    if (!inside) {
        return (int)syscall(call, fd);
    }
    unsigned long number = atomic_fetch_add(&directory_syncs, 1);
    if (S_ISDIR(status.st_mode)) {
        note("D %lu %s\n", number, path);
    }
    int outcome = (int)syscall(call, fd);
    if (outcome == 0 && S_ISDIR(status.st_mode)) {
        note("d %lu\n", number);
    } else if (outcome == 0) {
        note("S %ju %ju\n", (uintmax_t)status.st_ino, (uintmax_t)status.st_size);
    }
    return outcome;
}

int fsync(int fd) {
    return sync_by(SYS_fsync, fd);
}

int fdatasync(int fd) {
    return sync_by(SYS_fdatasync, fd);
}

/* It promises nothing: neither length nor what the disk itself still holds back. It is passed on and not noted. */
int sync_file_range(int fd, off64_t offset, off64_t bytes, unsigned int flags) {
    return (int)syscall(SYS_sync_file_range, fd, offset, bytes, flags);
}

int ftruncate(int fd, off_t length) {
    char path[PATH_MAX];
    struct stat status;
    int inside = path_of(fd, path) && status_of(fd, &status);
    int outcome = (int)syscall(SYS_ftruncate, fd, length);
    if (outcome == 0 && inside) {
        note("T %ju %jd\n", (uintmax_t)status.st_ino, (intmax_t)length);
    }
    return outcome;
}

int ftruncate64(int fd, off64_t length) {
    return ftruncate(fd, length);
}

/* A write over bytes that are there already is not modelled; the test wants to know if there are any. */
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
    char path[PATH_MAX];
    struct stat status;
    if (path_of(fd, path) && status_of(fd, &status) && offset < status.st_size) {
        note("O %ju %jd %s\n", (uintmax_t)status.st_ino, (intmax_t)offset, path);
    }
    return syscall(SYS_pwrite64, fd, bytes, count, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) {
    return pwrite(fd, bytes, count, offset);
}

static int rename_at(int from_at, const char *from, int to_at, const char *to, unsigned int flags) {
    char from_path[PATH_MAX], to_path[PATH_MAX];
    int is_from = resolve(from_at, from, from_path), is_to = resolve(to_at, to, to_path);
    if (is_to) {
        bury(to_at, to);
    }
    int outcome = (int)syscall(SYS_renameat2, from_at, from, to_at, to, flags);
    if (outcome == 0 && is_from && is_to) {
        note("R %s\t%s\n", from_path, to_path);
    } else if (outcome == 0 && (is_from || is_to)) {
        abort(); /* Into the directory or out of it: not modelled. */
    }
    return outcome;
}

int rename(const char *from, const char *to) {
    return rename_at(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int renameat(int from_at, const char *from, int to_at, const char *to) {
    return rename_at(from_at, from, to_at, to, 0);
}

int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned int flags) {
    return rename_at(from_at, from, to_at, to, flags);
}

static int unlink_at(int at, const char *name, int flags) {
    char path[PATH_MAX];
    int inside = resolve(at, name, path);
    if (inside && !(flags & AT_REMOVEDIR)) {
        bury(at, name);
    }
    int outcome = (int)syscall(SYS_unlinkat, at, name, flags);
    if (outcome == 0 && inside && !(flags & AT_REMOVEDIR)) {
        note("U %s\n", path);
    }
    return outcome;
}

int unlink(const char *name) {
    return unlink_at(AT_FDCWD, name, 0);
}

int unlinkat(int at, const char *name, int flags) {
    return unlink_at(at, name, flags);
}

int link(const char *from, const char *to) {
    char path[PATH_MAX];
    struct stat status;
    int outcome = (int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
    if (outcome == 0 && resolve(AT_FDCWD, to, path) && fstatat(AT_FDCWD, to, &status, 0) == 0) {
        note("C %ju %s\n", (uintmax_t)status.st_ino, path);
    }
    return outcome;
}
