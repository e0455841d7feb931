/* A library for LD_PRELOAD that makes the disk fail, or kills the process, at a chosen operation below one folder, and
 * that moves the clock of the machine for the process. It does nothing until `torture_arm` or `torture_clock` is called.
 *
 * Operations are counted by kind. At the chosen one, `action` is 0 for SIGKILL, else the value for errno. A write that is
 * chosen first writes half of its bytes. With `sticky`, all later operations of the chosen kinds fail as well.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum kind { OPEN, WRITE, SYNC, TRUNCATE, RENAME, UNLINK, LINK, MKDIR, CHMOD, READ, KINDS };

static struct {
    int armed, action, sticky, fired;
    unsigned kinds;
    long remaining, counts[KINDS];
    char root[PATH_MAX];
} state = {.fired = -1};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static volatile long long *offset; /* nanoseconds, in a file that other processes write */

#define REAL(result, name, ...) \
    static result (*real)(__VA_ARGS__); \
    if (!real) real = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

void torture_arm(const char *root, long at, int action, int sticky, unsigned kinds) {
    snprintf(state.root, sizeof state.root, "%s", root);
    memset(state.counts, 0, sizeof state.counts);
    state.remaining = at, state.action = action, state.sticky = sticky, state.kinds = kinds, state.fired = -1;
    state.armed = 1;
}

void torture_disarm(void) { state.armed = 0; }

int torture_fired(void) { return state.fired; }

void torture_counts(long *counts) { memcpy(counts, state.counts, sizeof state.counts); }

int torture_clock(const char *path) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    void *mapped = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
    if (file >= 0) close(file);
    if (mapped == MAP_FAILED) return -1;
    offset = mapped;
    return 0;
}

static int below(const char *path) {
    size_t length = strlen(state.root);
    return !strncmp(path, state.root, length) && (path[length] == '/' || !path[length]);
}

static int folder_below(int folder, const char *path) {
    char name[64], whole[2 * PATH_MAX];
    if (path[0] == '/') return below(path);
    if (folder == AT_FDCWD) {
        if (!getcwd(whole, PATH_MAX)) return 0;
    } else {
        snprintf(name, sizeof name, "/proc/self/fd/%d", folder);
        ssize_t length = readlink(name, whole, PATH_MAX - 1);
        if (length < 0) return 0;
        whole[length] = 0;
    }
    strcat(whole, "/");
    strncat(whole, path, PATH_MAX - 1);
    return below(whole);
}

static int file_below(int file) {
    char name[64], path[PATH_MAX];
    snprintf(name, sizeof name, "/proc/self/fd/%d", file);
    ssize_t length = readlink(name, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return below(path);
}

/* Count an operation. Return 0 if it may proceed, 1 if it is the chosen one, 2 if a later one fails as well. */
static int strike(enum kind kind) {
    int result = 0;
    pthread_mutex_lock(&lock);
    if (state.armed) {
        state.counts[kind]++;
        if (state.kinds >> kind & 1) {
            if (state.fired < 0 && state.remaining-- == 0) state.fired = kind, result = 1;
            else if (state.fired >= 0 && state.sticky) result = 2;
        }
    }
    pthread_mutex_unlock(&lock);
    return result;
}

static int fail(void) {
    if (!state.action) kill(getpid(), SIGKILL), pause();
    errno = state.action;
    return -1;
}

#define CHECK(is_below, kind) \
    if (state.armed && (is_below) && strike(kind)) return fail()

static int open_kind(int flags) { return flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC) ? OPEN : READ; }

#define OPEN_WITH(name, folder, path, declared, ...) \
    int name declared { \
        mode_t mode = 0; \
        if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE) { \
            va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); \
        } \
        CHECK(folder_below(folder, path), open_kind(flags)); \
        __VA_ARGS__ \
    }
OPEN_WITH(open, AT_FDCWD, path, (const char *path, int flags, ...), REAL(int, "open", const char *, int, ...); return real(path, flags, mode);)
OPEN_WITH(open64, AT_FDCWD, path, (const char *path, int flags, ...), REAL(int, "open64", const char *, int, ...); return real(path, flags, mode);)
OPEN_WITH(openat, folder, path, (int folder, const char *path, int flags, ...), REAL(int, "openat", int, const char *, int, ...); return real(folder, path, flags, mode);)
OPEN_WITH(openat64, folder, path, (int folder, const char *path, int flags, ...), REAL(int, "openat64", int, const char *, int, ...); return real(folder, path, flags, mode);)

static FILE *open_stream(const char *name, const char *path, const char *mode) {
    FILE *(*real)(const char *, const char *) = (FILE *(*)(const char *, const char *))dlsym(RTLD_NEXT, name);
    if (state.armed && folder_below(AT_FDCWD, path) && strike(mode[0] == 'r' && !strchr(mode, '+') ? READ : OPEN)) {
        fail();
        return NULL;
    }
    return real(path, mode);
}
FILE *fopen(const char *path, const char *mode) { return open_stream("fopen", path, mode); }
FILE *fopen64(const char *path, const char *mode) { return open_stream("fopen64", path, mode); }

/* The chosen write stores half of its bytes: then the process dies, or it learns the short count and fails at the next. */
#define WRITE_WITH(name, declared, size, whole, half) \
    ssize_t name declared { \
        if (state.armed && file_below(file)) { \
            int struck = strike(WRITE); \
            if (struck == 1 && (size) > 1) { \
                ssize_t written = half; \
                if (state.action && state.sticky) return written; \
                return written < 0 ? written : fail(); \
            } \
            if (struck) return fail(); \
        } \
        return whole; \
    }
static ssize_t real_write(int file, const void *bytes, size_t n) { REAL(ssize_t, "write", int, const void *, size_t); return real(file, bytes, n); }
static ssize_t real_pwrite(int file, const void *bytes, size_t n, off64_t at) { REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t); return real(file, bytes, n, at); }
static ssize_t real_writev(int file, const struct iovec *parts, int n) { REAL(ssize_t, "writev", int, const struct iovec *, int); return real(file, parts, n); }
static ssize_t real_sendfile(int file, int from, off64_t *at, size_t n) { REAL(ssize_t, "sendfile64", int, int, off64_t *, size_t); return real(file, from, at, n); }
WRITE_WITH(write, (int file, const void *bytes, size_t n), n, real_write(file, bytes, n), real_write(file, bytes, n / 2))
WRITE_WITH(pwrite, (int file, const void *bytes, size_t n, off_t at), n, real_pwrite(file, bytes, n, at), real_pwrite(file, bytes, n / 2, at))
WRITE_WITH(pwrite64, (int file, const void *bytes, size_t n, off64_t at), n, real_pwrite(file, bytes, n, at), real_pwrite(file, bytes, n / 2, at))
WRITE_WITH(writev, (int file, const struct iovec *parts, int n), n, real_writev(file, parts, n), real_write(file, parts[0].iov_base, parts[0].iov_len / 2))
WRITE_WITH(sendfile, (int file, int from, off_t *at, size_t n), n, real_sendfile(file, from, at, n), real_sendfile(file, from, at, n / 2))
WRITE_WITH(sendfile64, (int file, int from, off64_t *at, size_t n), n, real_sendfile(file, from, at, n), real_sendfile(file, from, at, n / 2))

#define SIMPLE(result, name, kind, is_below, parameters, types, arguments) \
    result name parameters { \
        CHECK(is_below, kind); \
        static result (*real) types; \
        if (!real) real = (result (*) types)dlsym(RTLD_NEXT, #name); \
        return real arguments; \
    }
SIMPLE(ssize_t, read, READ, file_below(file), (int file, void *bytes, size_t n), (int, void *, size_t), (file, bytes, n))
SIMPLE(ssize_t, pread, READ, file_below(file), (int file, void *bytes, size_t n, off_t at), (int, void *, size_t, off_t), (file, bytes, n, at))
SIMPLE(ssize_t, pread64, READ, file_below(file), (int file, void *bytes, size_t n, off64_t at), (int, void *, size_t, off64_t), (file, bytes, n, at))
SIMPLE(int, fsync, SYNC, file_below(file), (int file), (int), (file))
SIMPLE(int, fdatasync, SYNC, file_below(file), (int file), (int), (file))
SIMPLE(int, ftruncate, TRUNCATE, file_below(file), (int file, off_t n), (int, off_t), (file, n))
SIMPLE(int, ftruncate64, TRUNCATE, file_below(file), (int file, off64_t n), (int, off64_t), (file, n))
SIMPLE(int, fallocate, TRUNCATE, file_below(file), (int file, int mode, off_t at, off_t n), (int, int, off_t, off_t), (file, mode, at, n))
SIMPLE(int, fchmod, CHMOD, file_below(file), (int file, mode_t mode), (int, mode_t), (file, mode))
SIMPLE(int, chmod, CHMOD, folder_below(AT_FDCWD, path), (const char *path, mode_t mode), (const char *, mode_t), (path, mode))
SIMPLE(int, rename, RENAME, folder_below(AT_FDCWD, to), (const char *from, const char *to), (const char *, const char *), (from, to))
SIMPLE(int, renameat, RENAME, folder_below(b, to), (int a, const char *from, int b, const char *to), (int, const char *, int, const char *), (a, from, b, to))
SIMPLE(int, link, LINK, folder_below(AT_FDCWD, to), (const char *from, const char *to), (const char *, const char *), (from, to))
SIMPLE(int, linkat, LINK, folder_below(b, to), (int a, const char *from, int b, const char *to, int flags), (int, const char *, int, const char *, int), (a, from, b, to, flags))
SIMPLE(int, unlink, UNLINK, folder_below(AT_FDCWD, path), (const char *path), (const char *), (path))
SIMPLE(int, unlinkat, UNLINK, folder_below(folder, path), (int folder, const char *path, int flags), (int, const char *, int), (folder, path, flags))
SIMPLE(int, rmdir, UNLINK, folder_below(AT_FDCWD, path), (const char *path), (const char *), (path))
SIMPLE(int, mkdir, MKDIR, folder_below(AT_FDCWD, path), (const char *path, mode_t mode), (const char *, mode_t), (path, mode))
SIMPLE(int, mkdirat, MKDIR, folder_below(folder, path), (int folder, const char *path, mode_t mode), (int, const char *, mode_t), (folder, path, mode))

/* The clock of the machine. The monotonic clocks are left as they are. */
int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(int, "clock_gettime", clockid_t, struct timespec *);
    int result = real(clock, now);
    if (!result && offset && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        long long sum = now->tv_sec * 1000000000LL + now->tv_nsec + *offset;
        now->tv_sec = sum / 1000000000LL, now->tv_nsec = sum % 1000000000LL;
    }
    return result;
}

int gettimeofday(struct timeval *now, void *zone) {
    (void)zone;
    struct timespec exact;
    int result = clock_gettime(CLOCK_REALTIME, &exact);
    if (!result) now->tv_sec = exact.tv_sec, now->tv_usec = exact.tv_nsec / 1000;
    return result;
}

time_t time(time_t *now) {
    struct timespec exact;
    if (clock_gettime(CLOCK_REALTIME, &exact)) return -1;
    if (now) *now = exact.tv_sec;
    return exact.tv_sec;
}
