/* Counts the system calls that change files below given folders, and strikes at a chosen one.
 *
 * Preloaded (LD_PRELOAD) into real processes. The control file (FAULTLINE, or faultline_attach) is shared by all
 * of a run's processes, so that one counter runs through parent and children. A point is one call that makes,
 * writes, syncs, renames, removes or locks a file. What happens at the chosen points is the strike: the process
 * dies by SIGKILL before the call, or after half of its bytes; or the call fails with an errno, or writes half.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { FOLDERS = 4, FOLDER = 1024, LINES = 1 << 17, LINE = 128 };
enum strike { PASS, KILL, TEAR, FAIL, SHORT, KILL_ALL, STOP, STARTER, BOTH };

/* The head is read and written by Python's struct: "<QQQQiiII" and the folders; keep them in step. */
struct control {
    uint64_t count;      /* points passed so far */
    uint64_t from, to;   /* struck: from <= point <= to, counted from 1 */
    uint64_t struck;     /* how often */
    int32_t strike, error;
    uint32_t kinds;      /* bits of enum kind that are points */
    uint32_t told;       /* whether points are named in lines */
    char folders[FOLDERS][FOLDER];
    char lines[LINES][LINE];
    int64_t ahead;       /* seconds by which the clock on the wall is ahead */
    int64_t starter;     /* the process that was started first, where it has told */
};

enum kind { WRITE = 1, SYNC = 2, CREATE = 4, RENAME = 8, REMOVE = 16, LINK = 32, FOLDERS_MADE = 64, SIZE = 128,
            MODE = 256, LOCK = 512, READ = 1024, OPEN_ONLY = 2048, POSIX_LOCK = 4096 };

static struct control *control;

/* What was done to files is written down, with its bytes, where a file of the control's name and ".trace" stands. */
enum done_to { WROTE = 1, SYNCED, MADE, RENAMED, UNLINKED, FOLDER_MADE, FOLDER_REMOVED, CUT, LINKED };
struct done_head { uint32_t what, path, other, spare; uint64_t at, size; };
static int trace = -1;

#define REAL(name, type)                                                                                           \
    static __typeof__(type) real;                                                                                             \
    if (!real) real = (__typeof__(type))dlsym(RTLD_NEXT, name)

int faultline_attach(const char *path) {
    int fd = (int)open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return -1;
    void *shared = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (shared == MAP_FAILED) return -1;
    control = shared;
    char room[PATH_MAX];
    snprintf(room, sizeof room, "%s.trace", path);
    trace = (int)open(room, O_WRONLY | O_APPEND | O_CLOEXEC);
    return 0;
}

/* By the process that the others come from: STARTER and BOTH mean it. */
void faultline_starts(void) {
    if (control) control->starter = getpid();
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAULTLINE");
    if (path && *path) faultline_attach(path);
}

static const char *watched(const char *path) {
    if (!control || !path) return NULL;
    char whole[PATH_MAX];
    const char *seen = path;
    if (path[0] != '/') {
        if (!getcwd(whole, sizeof whole)) return NULL;
        size_t used = strlen(whole);
        snprintf(whole + used, sizeof whole - used, "/%s", path);
        seen = whole;
    }
    for (int each = 0; each < FOLDERS; each++) {
        const char *folder = control->folders[each];
        size_t length = strnlen(folder, FOLDER);
        if (length && !strncmp(seen, folder, length) && (seen[length] == '/' || !seen[length])) {
            /* The path itself outlives this frame, its copy does not. */
            return path[0] == '/' ? path + length : path;
        }
    }
    return NULL;
}

static const char *of_descriptor(int fd, char *room) {
    if (!control) return NULL;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, room, PATH_MAX - 1);
    if (length <= 0 || room[0] != '/') return NULL; /* a pipe, a socket */
    room[length] = 0;
    return watched(room);
}

static const char *at_folder(int dirfd, const char *path, char *room) {
    if (!control || !path) return NULL;
    if (path[0] == '/' || dirfd == AT_FDCWD) return watched(path);
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", dirfd);
    ssize_t length = readlink(link, room, PATH_MAX - 1);
    if (length <= 0) return NULL;
    snprintf(room + length, PATH_MAX - length, "/%s", path);
    return watched(room);
}

static void traced(enum done_to what, const char *path, const char *other, uint64_t at, const void *from, size_t size) {
    static ssize_t (*real)(int, const struct iovec *, int);
    if (!real) real = (ssize_t (*)(int, const struct iovec *, int))dlsym(RTLD_NEXT, "writev");
    struct done_head head = {what, (uint32_t)strlen(path), (uint32_t)strlen(other), 0, at, size};
    struct iovec parts[] = {{&head, sizeof head}, {(void *)path, head.path}, {(void *)other, head.other},
                            {(void *)from, from ? size : 0}};
    if (real(trace, parts, 4) < 0) abort();
}

static void traced_descriptor(enum done_to what, int fd, uint64_t at, const void *from, size_t size) {
    int kept = errno;
    char room[PATH_MAX + 64];
    if (of_descriptor(fd, room)) traced(what, room, "", at, from, size);
    errno = kept;
}

/* The bytes are read back: they did not pass through this process. Never a database that is open, which would lose its locks. */
static void traced_copied(int to, ssize_t size) {
    int kept = errno;
    char room[PATH_MAX + 64];
    off_t end = lseek(to, 0, SEEK_CUR);
    int fd = of_descriptor(to, room) ? (int)open(room, O_RDONLY | O_CLOEXEC) : -1;
    void *bytes = fd < 0 ? MAP_FAILED : mmap(NULL, (size_t)end, PROT_READ, MAP_PRIVATE, fd, 0);
    if (fd >= 0) close(fd);
    if (bytes != MAP_FAILED) {
        traced(WROTE, room, "", (uint64_t)(end - size), (char *)bytes + end - size, (size_t)size);
        munmap(bytes, (size_t)end);
    }
    errno = kept;
}

static const char *whole(int dirfd, const char *path, char *room) {
    if (path[0] == '/') return path;
    char link[64];
    if (dirfd == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
    else snprintf(link, sizeof link, "/proc/self/fd/%d", dirfd);
    ssize_t length = readlink(link, room, PATH_MAX - 1);
    if (length <= 0) return path;
    snprintf(room + length, PATH_MAX, "/%s", path);
    return room;
}

static void traced_path(enum done_to what, int dirfd, const char *path, int otherfd, const char *other, uint64_t at) {
    int kept = errno;
    char one[PATH_MAX * 2 + 64], two[PATH_MAX * 2 + 64];
    traced(what, whole(dirfd, path, one), other ? whole(otherfd, other, two) : "", at, NULL, 0);
    errno = kept;
}

/* What is to happen at this call. KILL does not return. */
static enum strike point(enum kind kind, const char *call, const char *path) {
    if (!control || !path || !(control->kinds & kind)) return PASS;
    uint64_t mine = __atomic_add_fetch(&control->count, 1, __ATOMIC_SEQ_CST);
    if (control->told && mine <= LINES) snprintf(control->lines[mine - 1], LINE, "%s %s", call, path);
    if (mine < control->from || mine > control->to || control->strike == PASS) return PASS;
    __atomic_add_fetch(&control->struck, 1, __ATOMIC_SEQ_CST);
    if (control->strike == KILL) kill(getpid(), SIGKILL);
    if (control->strike == KILL_ALL) kill(0, SIGKILL);
    if (control->strike == STARTER || control->strike == BOTH) {
        if (control->starter) kill((pid_t)control->starter, SIGKILL);
        if (control->strike == BOTH) kill(getpid(), SIGKILL);
        return PASS;
    }
    if (control->strike == STOP) {
        kill(getpid(), SIGSTOP);
        return PASS;
    }
    return (enum strike)control->strike;
}

/* For calls that move no bytes: whether the call fails now, with errno set. */
static int fails(enum kind kind, const char *call, const char *path) {
    switch (point(kind, call, path)) {
    case PASS: case SHORT: return 0;
    case TEAR: kill(getpid(), SIGKILL); return 1;
    default: errno = control->error; return 1;
    }
}

/* For calls that write bytes: how many of them to write, or -1 with errno set; `dies` when it is to die after them. */
static ssize_t bytes(const char *call, int fd, size_t size, int *dies) {
    char room[PATH_MAX + 64];
    *dies = 0;
    if (!control) return (ssize_t)size;
    switch (point(WRITE, call, of_descriptor(fd, room))) {
    case TEAR: *dies = 1; return (ssize_t)(size / 2);
    case SHORT: return (ssize_t)(size > 1 ? size / 2 : size);
    case FAIL: errno = control->error; return -1;
    default: return (ssize_t)size;
    }
}

static ssize_t done(ssize_t answer, int dies) {
    if (dies) kill(getpid(), SIGKILL);
    return answer;
}

ssize_t write(int fd, const void *from, size_t size) {
    REAL("write", ssize_t (*)(int, const void *, size_t));
    int dies;
    ssize_t part = bytes("write", fd, size, &dies);
    if (part < 0) return -1;
    ssize_t wrote = real(fd, from, (size_t)part);
    if (trace >= 0 && wrote > 0) traced_descriptor(WROTE, fd, (uint64_t)(lseek(fd, 0, SEEK_CUR) - wrote), from, (size_t)wrote);
    return done(wrote, dies);
}

#define PWRITE(name, offset)                                                                                       \
    ssize_t name(int fd, const void *from, size_t size, offset where) {                                            \
        REAL(#name, ssize_t (*)(int, const void *, size_t, offset));                                               \
        int dies;                                                                                                  \
        ssize_t part = bytes("pwrite", fd, size, &dies);                                                           \
        if (part < 0) return -1;                                                                                   \
        ssize_t wrote = real(fd, from, (size_t)part, where);                                                       \
        if (trace >= 0 && wrote > 0) traced_descriptor(WROTE, fd, (uint64_t)where, from, (size_t)wrote);           \
        return done(wrote, dies);                                                                                  \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t writev(int fd, const struct iovec *from, int parts) {
    REAL("writev", ssize_t (*)(int, const struct iovec *, int));
    char room[PATH_MAX + 64];
    return control && fails(WRITE, "writev", of_descriptor(fd, room)) ? -1 : real(fd, from, parts);
}

#define SENDFILE(name, offset)                                                                                     \
    ssize_t name(int to, int from, offset *where, size_t size) {                                                   \
        REAL(#name, ssize_t (*)(int, int, offset *, size_t));                                                      \
        int dies;                                                                                                  \
        ssize_t part = bytes("sendfile", to, size, &dies);                                                         \
        if (part < 0) return -1;                                                                                   \
        ssize_t wrote = real(to, from, where, (size_t)part);                                                       \
        if (trace >= 0 && wrote > 0) traced_copied(to, wrote);                                                     \
        return done(wrote, dies);                                                                                  \
    }
SENDFILE(sendfile, off_t)
SENDFILE(sendfile64, off64_t)

ssize_t copy_file_range(int from, off64_t *at, int to, off64_t *where, size_t size, unsigned flags) {
    REAL("copy_file_range", ssize_t (*)(int, off64_t *, int, off64_t *, size_t, unsigned));
    int dies;
    ssize_t part = bytes("copy_file_range", to, size, &dies);
    if (part < 0) return -1;
    ssize_t wrote = real(from, at, to, where, (size_t)part, flags);
    if (trace >= 0 && wrote > 0 && !where) traced_copied(to, wrote);
    return done(wrote, dies);
}

#define OF_DESCRIPTOR(name, kind, type, parameters, arguments)                                                     \
    type name parameters {                                                                                         \
        REAL(#name, type (*) parameters);                                                                          \
        char room[PATH_MAX + 64];                                                                                  \
        if (control && fails(kind, #name, of_descriptor(fd, room))) return -1;                                     \
        type answer = real arguments;                                                                              \
        if (trace >= 0 && answer == 0) TRACED_##kind;                                                              \
        return answer;                                                                                             \
    }
#define TRACED_SYNC traced_descriptor(SYNCED, fd, 0, NULL, 0)
#define TRACED_SIZE traced_size(fd)
#define TRACED_MODE (void)0
#define TRACED_LOCK (void)0

static void traced_size(int fd) {
    struct stat found;
    if (!fstat(fd, &found)) traced_descriptor(CUT, fd, (uint64_t)found.st_size, NULL, 0);
}

OF_DESCRIPTOR(fsync, SYNC, int, (int fd), (fd))
OF_DESCRIPTOR(fdatasync, SYNC, int, (int fd), (fd))
OF_DESCRIPTOR(ftruncate, SIZE, int, (int fd, off_t size), (fd, size))
OF_DESCRIPTOR(ftruncate64, SIZE, int, (int fd, off64_t size), (fd, size))
OF_DESCRIPTOR(fallocate, SIZE, int, (int fd, int how, off_t from, off_t size), (fd, how, from, size))
OF_DESCRIPTOR(fallocate64, SIZE, int, (int fd, int how, off64_t from, off64_t size), (fd, how, from, size))
OF_DESCRIPTOR(fchmod, MODE, int, (int fd, mode_t mode), (fd, mode))

/* Letting go of a lock is a point, and cannot fail. */
int flock(int fd, int how) {
    REAL("flock", int (*)(int, int));
    char room[PATH_MAX + 64];
    int failed = control && fails(LOCK, "flock", of_descriptor(fd, room));
    return failed && !(how & LOCK_UN) ? -1 : real(fd, how);
}

#define READS(name, parameters, arguments)                                                                         \
    ssize_t name parameters {                                                                                      \
        REAL(#name, ssize_t (*) parameters);                                                                       \
        char room[PATH_MAX + 64];                                                                                  \
        if (control && (control->kinds & READ) && fails(READ, #name, of_descriptor(fd, room))) return -1;           \
        return real arguments;                                                                                     \
    }
READS(read, (int fd, void *to, size_t size), (fd, to, size))
READS(pread, (int fd, void *to, size_t size, off_t where), (fd, to, size, where))
READS(pread64, (int fd, void *to, size_t size, off64_t where), (fd, to, size, where))

#define OF_PATH(name, kind, parameters, arguments, written_down)                                                   \
    int name parameters {                                                                                          \
        REAL(#name, int (*) parameters);                                                                           \
        if (control && fails(kind, #name, watched(path))) return -1;                                               \
        int answer = real arguments;                                                                               \
        if (trace >= 0 && answer == 0) written_down;                                                               \
        return answer;                                                                                             \
    }
#define HERE(what, path, other, at) traced_path(what, AT_FDCWD, path, AT_FDCWD, other, at)
OF_PATH(unlink, REMOVE, (const char *path), (path), HERE(UNLINKED, path, NULL, 0))
OF_PATH(rmdir, REMOVE, (const char *path), (path), HERE(FOLDER_REMOVED, path, NULL, 0))
OF_PATH(mkdir, FOLDERS_MADE, (const char *path, mode_t mode), (path, mode), HERE(FOLDER_MADE, path, NULL, 0))
OF_PATH(chmod, MODE, (const char *path, mode_t mode), (path, mode), (void)0)
OF_PATH(truncate, SIZE, (const char *path, off_t size), (path, size), HERE(CUT, path, NULL, (uint64_t)size))
OF_PATH(rename, RENAME, (const char *path, const char *to), (path, to), HERE(RENAMED, path, to, 0))
OF_PATH(link, LINK, (const char *path, const char *to), (path, to), HERE(LINKED, path, to, 0))

int symlink(const char *to, const char *path) {
    REAL("symlink", int (*)(const char *, const char *));
    return control && fails(LINK, "symlink", watched(path)) ? -1 : real(to, path);
}

#define AT_FOLDER(name, kind, parameters, arguments, written_down)                                                 \
    int name parameters {                                                                                          \
        REAL(#name, int (*) parameters);                                                                           \
        char room[PATH_MAX * 2 + 64];                                                                              \
        if (control && fails(kind, #name, at_folder(dirfd, path, room))) return -1;                                \
        int answer = real arguments;                                                                               \
        if (trace >= 0 && answer == 0) written_down;                                                               \
        return answer;                                                                                             \
    }
AT_FOLDER(unlinkat, REMOVE, (int dirfd, const char *path, int how), (dirfd, path, how),
          traced_path(how & AT_REMOVEDIR ? FOLDER_REMOVED : UNLINKED, dirfd, path, 0, NULL, 0))
AT_FOLDER(mkdirat, FOLDERS_MADE, (int dirfd, const char *path, mode_t mode), (dirfd, path, mode),
          traced_path(FOLDER_MADE, dirfd, path, 0, NULL, 0))
AT_FOLDER(fchmodat, MODE, (int dirfd, const char *path, mode_t mode, int how), (dirfd, path, mode, how), (void)0)
AT_FOLDER(renameat, RENAME, (int dirfd, const char *path, int todir, const char *to), (dirfd, path, todir, to),
          traced_path(RENAMED, dirfd, path, todir, to, 0))
AT_FOLDER(renameat2, RENAME, (int dirfd, const char *path, int todir, const char *to, unsigned how),
          (dirfd, path, todir, to, how), traced_path(RENAMED, dirfd, path, todir, to, 0))

/* By the new name: the old one may be /proc/self/fd/N. */
int linkat(int dirfd, const char *path, int todir, const char *to, int how) {
    REAL("linkat", int (*)(int, const char *, int, const char *, int));
    char room[PATH_MAX * 2 + 64];
    if (control && fails(LINK, "linkat", at_folder(todir, to, room))) return -1;
    int answer = real(dirfd, path, todir, to, how);
    if (trace >= 0 && answer == 0) traced_path(how & AT_SYMLINK_FOLLOW ? MADE : LINKED, dirfd, path, todir, to, 0);
    return answer;
}

static void traced_open(int dirfd, const char *path, int how, int missing) {
    if (missing) traced_path(MADE, dirfd, path, 0, NULL, 0);
    else if ((how & O_TRUNC) && (how & O_ACCMODE) != O_RDONLY) traced_path(CUT, dirfd, path, 0, NULL, 0);
}

/* Opens that may make a file are points of CREATE; the others change nothing, and only run out of descriptors. */
#define OPENED(how) ((how) & O_CREAT ? CREATE : OPEN_ONLY)
#define OPEN(name)                                                                                                 \
    int name(const char *path, int how, ...) {                                                                     \
        REAL(#name, int (*)(const char *, int, ...));                                                              \
        va_list more;                                                                                              \
        va_start(more, how);                                                                                       \
        mode_t mode = how & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;                                    \
        va_end(more);                                                                                              \
        if (control && (control->kinds & OPENED(how)) && fails(OPENED(how), #name, watched(path))) return -1;                          \
        int missing = trace >= 0 && (how & O_CREAT) && faccessat(AT_FDCWD, path, F_OK, 0);                         \
        int opened = real(path, how, mode);                                                                        \
        if (trace >= 0 && opened >= 0) traced_open(AT_FDCWD, path, how, missing);                                  \
        return opened;                                                                                             \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                                               \
    int name(int dirfd, const char *path, int how, ...) {                                                          \
        REAL(#name, int (*)(int, const char *, int, ...));                                                         \
        char room[PATH_MAX * 2 + 64];                                                                              \
        va_list more;                                                                                              \
        va_start(more, how);                                                                                       \
        mode_t mode = how & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;                                    \
        va_end(more);                                                                                              \
        if (control && (control->kinds & OPENED(how)) && fails(OPENED(how), #name, at_folder(dirfd, path, room))) return -1;           \
        int missing = trace >= 0 && (how & O_CREAT) && faccessat(dirfd, path, F_OK, 0);                            \
        int opened = real(dirfd, path, how, mode);                                                                 \
        if (trace >= 0 && opened >= 0) traced_open(dirfd, path, how, missing);                                     \
        return opened;                                                                                             \
    }
OPENAT(openat)
OPENAT(openat64)

/* SQLite's locks. Nothing else of fcntl is a point. */
#define FCNTL(name)                                                                                                \
    int name(int fd, int what, ...) {                                                                              \
        REAL(#name, int (*)(int, int, ...));                                                                       \
        char room[PATH_MAX + 64];                                                                                  \
        va_list more;                                                                                              \
        va_start(more, what);                                                                                      \
        void *with = va_arg(more, void *);                                                                         \
        va_end(more);                                                                                              \
        int locks = what == F_SETLK || what == F_SETLKW || what == F_OFD_SETLK || what == F_OFD_SETLKW;            \
        if (control && locks && (control->kinds & POSIX_LOCK) && ((struct flock *)with)->l_type != F_UNLCK &&      \
            fails(POSIX_LOCK, #name, of_descriptor(fd, room)))                                                     \
            return -1;                                                                                             \
        return real(fd, what, with);                                                                               \
    }
FCNTL(fcntl)
FCNTL(fcntl64)

/* The clock on the wall; the monotonic one is left alone, as a jump leaves it. */
int clock_gettime(clockid_t which, struct timespec *now) {
    REAL("clock_gettime", int (*)(clockid_t, struct timespec *));
    int failed = real(which, now);
    if (!failed && control && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) now->tv_sec += control->ahead;
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    REAL("gettimeofday", int (*)(struct timeval *, void *));
    int failed = real(now, zone);
    if (!failed && control && now) now->tv_sec += control->ahead;
    return failed;
}

time_t time(time_t *now) {
    REAL("time", time_t (*)(time_t *));
    time_t found = real(NULL) + (control ? control->ahead : 0);
    if (now) *now = found;
    return found;
}
