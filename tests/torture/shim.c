/* Stands between a process and the C library (LD_PRELOAD) for the files of one folder.

   Inert until told otherwise, by the exported functions (see shim.py, which has the words for them):

     shim_watch     which folder, and where to write the trace of what is done in it
     shim_arm       the n-th operation of some kinds fails, is cut short, or ends the process
     shim_disarm    let everything through again
     shim_seen      operations of a kind since shim_arm

   What it cannot see: raw system calls, writes through a shared map (SQLite's -shm file, which is not
   durable anyway), the C library's own stdio. Who uses a trace compares it with the real files.

     cc -O2 -shared -fPIC -o shim.so shim.c -ldl -lpthread */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* As in shim.py. */
enum kind { OPEN, CREATE, READ, WRITE, TRUNCATE, SYNC, RENAME, LINK, UNLINK, MKDIR, RMDIR, LOCK, MAP, STAT, ALLOCATE, KINDS };
enum action { FAIL = 1, SHORT, KILL_BEFORE, KILL_HALFWAY, KILL_AFTER };

struct record { uint32_t kind, file; uint64_t offset; uint32_t path, data; };
struct entry { uint32_t file; int appends; char *path; };

#define MOST_FILES 65536
static struct entry table[MOST_FILES];
static char folder[PATH_MAX];
static size_t folder_length;
static int trace = -1;
static uint32_t files;
/* Held over an operation and its record, so that the trace has the order in which things happened. */
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;

static unsigned armed;
static long first;
static enum action action;
static int failure, for_ever;
static long matched, hits, seen[KINDS];

#define REAL(result, name, ...) \
    static result (*real)(__VA_ARGS__); \
    if (!real) real = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

/* --- paths -------------------------------------------------------------------------------------- */

/* The absolute path of `path`, if it lies in the watched folder. */
static const char *inside(int at, const char *path, char *room) {
    if (!folder_length || !path) return NULL;
    if (path[0] != '/') {
        char link[64];
        ssize_t length;
        if (at == AT_FDCWD) {
            if (!getcwd(room, PATH_MAX)) return NULL;
            length = strlen(room);
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", at);
            if ((length = readlink(link, room, PATH_MAX - 1)) < 0) return NULL;
        }
        if (length + strlen(path) + 2 > PATH_MAX) return NULL;
        room[length] = '/';
        strcpy(room + length + 1, path);
    } else {
        if (strlen(path) >= PATH_MAX) return NULL;
        strcpy(room, path);
    }
    size_t length = strlen(room);
    while (length > 1 && room[length - 1] == '/') room[--length] = 0;
    if (strncmp(room, folder, folder_length) || (room[folder_length] && room[folder_length] != '/')) return NULL;
    return room;
}

static struct entry *of(int file) {
    return file >= 0 && file < MOST_FILES && table[file].path ? &table[file] : NULL;
}

static void forget(int file) {
    if (file < 0 || file >= MOST_FILES || !table[file].path) return;
    char *path = table[file].path;
    table[file].path = NULL;
    free(path);
}

static void remember(int file, uint32_t number, const char *path, int appends) {
    forget(file);
    if (file < 0 || file >= MOST_FILES) return;
    table[file].file = number;
    table[file].appends = appends;
    table[file].path = strdup(path);
}

/* --- the trace ---------------------------------------------------------------------------------- */

static void note(enum kind kind, uint32_t file, uint64_t offset, const char *path, const void *data, size_t size) {
    static ssize_t (*really_write)(int, const struct iovec *, int);
    if (trace < 0) return;
    if (!really_write) really_write = (ssize_t (*)(int, const struct iovec *, int))dlsym(RTLD_NEXT, "writev");
    struct record record = {kind, file, offset, path ? strlen(path) : 0, size};
    struct iovec parts[3] = {{&record, sizeof record}, {(void *)path, record.path}, {(void *)data, size}};
    if (really_write(trace, parts, 3) != (ssize_t)(sizeof record + record.path + size)) abort();
}

static void begin(void) { if (trace >= 0) pthread_mutex_lock(&order); }
static void end(void) { int error = errno; if (trace >= 0) pthread_mutex_unlock(&order); errno = error; }

/* --- faults ------------------------------------------------------------------------------------- */

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* What is to happen to this operation: 0 for nothing. */
static enum action meets(enum kind kind) {
    __atomic_add_fetch(&seen[kind], 1, __ATOMIC_RELAXED);
    if (!(armed & (1u << kind))) return 0;
    long number = __atomic_add_fetch(&matched, 1, __ATOMIC_SEQ_CST);
    if (number != first && !(for_ever && number > first)) return 0;
    __atomic_add_fetch(&hits, 1, __ATOMIC_SEQ_CST);
    if (action == KILL_BEFORE) die();
    return action == SHORT && number > first ? FAIL : action; /* a disk that fills up in the middle of a write */
}

/* Halfway is only something for writes: elsewhere it is after. */
static void over(enum action met) {
    if (met == KILL_AFTER || met == KILL_HALFWAY) die();
}

#define MEET(kind, value) \
    enum action met = meets(kind); \
    if (met == FAIL || (met == SHORT && (kind) != WRITE)) { errno = failure; return value; }

/* --- opening and closing ------------------------------------------------------------------------ */

static int exists(int at, const char *path) {
    return !faccessat(at, path, F_OK, AT_SYMLINK_NOFOLLOW);
}

static void opened(int file, const char *path, int flags, int existed) {
    uint32_t number = __atomic_add_fetch(&files, 1, __ATOMIC_RELAXED);
    note(existed ? OPEN : CREATE, number, 0, path, NULL, 0);
    if (existed && (flags & O_TRUNC)) note(TRUNCATE, number, 0, NULL, NULL, 0);
    remember(file, number, path, flags & O_APPEND);
}

#define OPENED(at, call) \
    mode_t mode = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); } \
    char room[PATH_MAX]; \
    const char *watched = inside(at, path, room); \
    if (!watched) { int file = call; if (file >= 0) forget(file); return file; } \
    int existed = !(flags & O_CREAT) || exists(at, path); \
    MEET(existed ? OPEN : CREATE, -1) \
    begin(); \
    int file = call; \
    if (file >= 0) opened(file, watched, flags, existed); \
    end(); \
    over(met); \
    return file;

int open(const char *path, int flags, ...) { REAL(int, open, const char *, int, ...); OPENED(AT_FDCWD, real(path, flags, mode)) }
int open64(const char *path, int flags, ...) { REAL(int, open64, const char *, int, ...); OPENED(AT_FDCWD, real(path, flags, mode)) }
int openat(int at, const char *path, int flags, ...) { REAL(int, openat, int, const char *, int, ...); OPENED(at, real(at, path, flags, mode)) }
int openat64(int at, const char *path, int flags, ...) { REAL(int, openat64, int, const char *, int, ...); OPENED(at, real(at, path, flags, mode)) }

#define OPENED_STREAM(call) \
    char room[PATH_MAX]; \
    const char *watched = inside(AT_FDCWD, path, room); \
    if (!watched) { FILE *stream = call; if (stream) forget(fileno(stream)); return stream; } \
    int flags = mode[0] == 'w' ? O_TRUNC : mode[0] == 'a' ? O_APPEND : 0; \
    int existed = mode[0] == 'r' || exists(AT_FDCWD, path); \
    MEET(existed ? OPEN : CREATE, NULL) \
    begin(); \
    FILE *stream = call; \
    if (stream) opened(fileno(stream), watched, flags, existed); \
    end(); \
    over(met); \
    return stream;

/* libstdc++ opens with these, and then calls read and write. */
FILE *fopen(const char *path, const char *mode) { REAL(FILE *, fopen, const char *, const char *); OPENED_STREAM(real(path, mode)) }
FILE *fopen64(const char *path, const char *mode) { REAL(FILE *, fopen64, const char *, const char *); OPENED_STREAM(real(path, mode)) }

DIR *opendir(const char *path) {
    REAL(DIR *, opendir, const char *);
    char room[PATH_MAX];
    if (inside(AT_FDCWD, path, room)) { MEET(OPEN, NULL) over(met); }
    return real(path);
}

int close(int file) { REAL(int, close, int); forget(file); return real(file); }
int fclose(FILE *stream) { REAL(int, fclose, FILE *); if (stream) forget(fileno(stream)); return real(stream); }

static int copied(int from, int to) {
    if (to < 0 || from == to) return to;
    if (of(from)) remember(to, table[from].file, table[from].path, table[from].appends); else forget(to);
    return to;
}
int dup(int file) { REAL(int, dup, int); return copied(file, real(file)); }
int dup2(int file, int to) { REAL(int, dup2, int, int); return copied(file, real(file, to)); }
int dup3(int file, int to, int flags) { REAL(int, dup3, int, int, int); return copied(file, real(file, to, flags)); }

/* --- reading and writing ------------------------------------------------------------------------ */

#define READING(call) if (of(file)) { MEET(READ, -1) over(met); } return call;
ssize_t read(int file, void *to, size_t size) { REAL(ssize_t, read, int, void *, size_t); READING(real(file, to, size)) }
ssize_t pread(int file, void *to, size_t size, off_t at) { REAL(ssize_t, pread, int, void *, size_t, off_t); READING(real(file, to, size, at)) }
ssize_t pread64(int file, void *to, size_t size, off64_t at) { REAL(ssize_t, pread64, int, void *, size_t, off64_t); READING(real(file, to, size, at)) }
ssize_t readv(int file, const struct iovec *to, int count) { REAL(ssize_t, readv, int, const struct iovec *, int); READING(real(file, to, count)) }

/* Write at `at`, or where the file stands if it is negative. */
static ssize_t put(int file, const void *data, size_t size, off64_t at) {
    static ssize_t (*real_write)(int, const void *, size_t);
    static ssize_t (*real_pwrite)(int, const void *, size_t, off64_t);
    if (!real_write) real_write = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    if (!real_pwrite) real_pwrite = (ssize_t (*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
    struct entry *entry = of(file);
    if (!entry) return at < 0 ? real_write(file, data, size) : real_pwrite(file, data, size, at);
    MEET(WRITE, -1)
    if ((met == SHORT || met == KILL_HALFWAY) && size > 1) size /= 2;
    begin();
    off64_t begins = at;
    struct stat64 status;
    if (trace >= 0 && at < 0) begins = entry->appends && !fstat64(file, &status) ? status.st_size : lseek64(file, 0, SEEK_CUR);
    ssize_t written = at < 0 ? real_write(file, data, size) : real_pwrite(file, data, size, at);
    if (written > 0) note(WRITE, entry->file, begins, NULL, data, written);
    end();
    over(met);
    return written;
}

static ssize_t put_many(int file, const struct iovec *parts, int count, off64_t at) {
    size_t size = 0, done = 0;
    for (int part = 0; part < count; part++) size += parts[part].iov_len;
    char *all = malloc(size ? size : 1);
    if (!all) { errno = ENOMEM; return -1; }
    for (int part = 0; part < count; done += parts[part++].iov_len) memcpy(all + done, parts[part].iov_base, parts[part].iov_len);
    ssize_t written = put(file, all, size, at);
    int error = errno;
    free(all);
    errno = error;
    return written;
}

ssize_t write(int file, const void *data, size_t size) { return put(file, data, size, -1); }
ssize_t pwrite(int file, const void *data, size_t size, off_t at) { return put(file, data, size, at); }
ssize_t pwrite64(int file, const void *data, size_t size, off64_t at) { return put(file, data, size, at); }
ssize_t writev(int file, const struct iovec *parts, int count) {
    REAL(ssize_t, writev, int, const struct iovec *, int);
    return of(file) ? put_many(file, parts, count, -1) : real(file, parts, count);
}
ssize_t pwritev(int file, const struct iovec *parts, int count, off_t at) {
    REAL(ssize_t, pwritev, int, const struct iovec *, int, off_t);
    return of(file) ? put_many(file, parts, count, at) : real(file, parts, count, at);
}

/* What the kernel would copy by itself goes through `put`, where it is seen. */
ssize_t sendfile64(int to, int from, off64_t *at, size_t size) {
    REAL(ssize_t, sendfile64, int, int, off64_t *, size_t);
    if (!of(to)) return real(to, from, at, size);
    char block[65536];
    if (size > sizeof block) size = sizeof block;
    ssize_t got = at ? pread64(from, block, size, *at) : read(from, block, size);
    if (got <= 0) return got;
    ssize_t written = put(to, block, got, -1);
    if (written > 0 && at) *at += written;
    return written;
}
ssize_t sendfile(int to, int from, off_t *at, size_t size) { return sendfile64(to, from, (off64_t *)at, size); }
ssize_t copy_file_range(int from, off64_t *at, int to, off64_t *where, size_t size, unsigned flags) {
    REAL(ssize_t, copy_file_range, int, off64_t *, int, off64_t *, size_t, unsigned);
    if (!of(to)) return real(from, at, to, where, size, flags);
    errno = ENOSYS;
    return -1;
}

#define CUT(call) \
    struct entry *entry = of(file); \
    if (!entry) return call; \
    MEET(TRUNCATE, -1) \
    begin(); \
    int result = call; \
    if (!result) note(TRUNCATE, entry->file, size, NULL, NULL, 0); \
    end(); \
    over(met); \
    return result;
int ftruncate(int file, off_t size) { REAL(int, ftruncate, int, off_t); CUT(real(file, size)) }
int ftruncate64(int file, off64_t size) { REAL(int, ftruncate64, int, off64_t); CUT(real(file, size)) }

#define SYNCED(call) \
    struct entry *entry = of(file); \
    if (!entry) return call; \
    MEET(SYNC, -1) \
    begin(); \
    int result = call; \
    if (!result) note(SYNC, entry->file, 0, NULL, NULL, 0); \
    end(); \
    over(met); \
    return result;
int fsync(int file) { REAL(int, fsync, int); SYNCED(real(file)) }
int fdatasync(int file) { REAL(int, fdatasync, int); SYNCED(real(file)) }

/* --- names -------------------------------------------------------------------------------------- */

#define NAMED(kind, at, call) \
    char room[PATH_MAX]; \
    const char *watched = inside(at, path, room); \
    if (!watched) return call; \
    MEET(kind, -1) \
    begin(); \
    int result = call; \
    if (!result) note(kind, 0, 0, watched, NULL, 0); \
    end(); \
    over(met); \
    return result;
int unlink(const char *path) { REAL(int, unlink, const char *); NAMED(UNLINK, AT_FDCWD, real(path)) }
int unlinkat(int at, const char *path, int flags) {
    REAL(int, unlinkat, int, const char *, int);
    enum kind removing = flags & AT_REMOVEDIR ? RMDIR : UNLINK;
    NAMED(removing, at, real(at, path, flags))
}
int mkdir(const char *path, mode_t mode) { REAL(int, mkdir, const char *, mode_t); NAMED(MKDIR, AT_FDCWD, real(path, mode)) }
int mkdirat(int at, const char *path, mode_t mode) { REAL(int, mkdirat, int, const char *, mode_t); NAMED(MKDIR, at, real(at, path, mode)) }
int rmdir(const char *path) { REAL(int, rmdir, const char *); NAMED(RMDIR, AT_FDCWD, real(path)) }

#define NAMED_TWICE(kind, from_at, to_at, call) \
    char room[PATH_MAX], room_of_new[PATH_MAX]; \
    const char *watched = inside(from_at, from, room), *renamed = inside(to_at, to, room_of_new); \
    if (!watched || !renamed) return call; \
    MEET(kind, -1) \
    begin(); \
    int result = call; \
    if (!result) note(kind, 0, 0, watched, renamed, strlen(renamed)); \
    end(); \
    over(met); \
    return result;
int rename(const char *from, const char *to) { REAL(int, rename, const char *, const char *); NAMED_TWICE(RENAME, AT_FDCWD, AT_FDCWD, real(from, to)) }
int renameat(int a, const char *from, int b, const char *to) { REAL(int, renameat, int, const char *, int, const char *); NAMED_TWICE(RENAME, a, b, real(a, from, b, to)) }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) { REAL(int, renameat2, int, const char *, int, const char *, unsigned); NAMED_TWICE(RENAME, a, b, real(a, from, b, to, flags)) }
int link(const char *from, const char *to) { REAL(int, link, const char *, const char *); NAMED_TWICE(LINK, AT_FDCWD, AT_FDCWD, real(from, to)) }
int linkat(int a, const char *from, int b, const char *to, int flags) { REAL(int, linkat, int, const char *, int, const char *, int); NAMED_TWICE(LINK, a, b, real(a, from, b, to, flags)) }

#define ASKED(at, call) \
    char room[PATH_MAX]; \
    if (inside(at, path, room)) { MEET(STAT, -1) over(met); } \
    return call;
int stat64(const char *path, struct stat64 *to) { REAL(int, stat64, const char *, struct stat64 *); ASKED(AT_FDCWD, real(path, to)) }
int lstat64(const char *path, struct stat64 *to) { REAL(int, lstat64, const char *, struct stat64 *); ASKED(AT_FDCWD, real(path, to)) }
int fstatat64(int at, const char *path, struct stat64 *to, int flags) { REAL(int, fstatat64, int, const char *, struct stat64 *, int); ASKED(at, real(at, path, to, flags)) }
int fstat64(int file, struct stat64 *to) { REAL(int, fstat64, int, struct stat64 *); if (of(file)) { MEET(STAT, -1) over(met); } return real(file, to); }

/* --- locks and maps ----------------------------------------------------------------------------- */

int flock(int file, int operation) {
    REAL(int, flock, int, int);
    if (of(file) && !(operation & LOCK_UN)) { MEET(LOCK, -1) over(met); }
    return real(file, operation);
}

#define CONTROLLED(call) \
    va_list rest; \
    va_start(rest, command); \
    void *argument = va_arg(rest, void *); \
    va_end(rest); \
    if (command == F_DUPFD || command == F_DUPFD_CLOEXEC) return copied(file, call); \
    int takes = (command == F_SETLK || command == F_SETLKW) && ((struct flock *)argument)->l_type != F_UNLCK; \
    if (takes && of(file)) { MEET(LOCK, -1) over(met); } \
    return call;
int fcntl(int file, int command, ...) { REAL(int, fcntl, int, int, ...); CONTROLLED(real(file, command, argument)) }
int fcntl64(int file, int command, ...) { REAL(int, fcntl64, int, int, ...); CONTROLLED(real(file, command, argument)) }

void *mmap64(void *where, size_t size, int protection, int flags, int file, off64_t at) {
    REAL(void *, mmap64, void *, size_t, int, int, int, off64_t);
    if (of(file)) { MEET(MAP, MAP_FAILED) over(met); }
    return real(where, size, protection, flags, file, at);
}

/* --- memory ------------------------------------------------------------------------------------- */

/* Whose requests may be refused: SQLite, the extension of hnswlib, and operator new (libstdc++). */
static const char *refusable[] = {"libsqlite3", "_sqlite3", "hnswlib", "libstdc++"};
static struct { uintptr_t from, to; } code[16];
static int codes;

static int note_code(struct dl_phdr_info *library, size_t size, void *nothing) {
    (void)size; (void)nothing;
    for (size_t name = 0; name < sizeof refusable / sizeof *refusable; name++) {
        if (!strstr(library->dlpi_name, refusable[name])) continue;
        for (int part = 0; part < library->dlpi_phnum && codes < 16; part++) {
            const ElfW(Phdr) *header = &library->dlpi_phdr[part];
            if (header->p_type != PT_LOAD || !(header->p_flags & PF_X)) continue;
            code[codes].from = library->dlpi_addr + header->p_vaddr;
            code[codes++].to = library->dlpi_addr + header->p_vaddr + header->p_memsz;
        }
    }
    return 0;
}

static int refused(void *caller) {
    for (int part = 0; part < codes; part++)
        if ((uintptr_t)caller >= code[part].from && (uintptr_t)caller < code[part].to) return meets(ALLOCATE) == FAIL;
    return 0;
}

/* dlsym allocates itself: glibc's other names for these are the way around it. */
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
#define ASKING(call) \
    if (__builtin_expect(armed & (1u << ALLOCATE), 0) && refused(__builtin_return_address(0))) { errno = ENOMEM; return NULL; } \
    return call;
void *malloc(size_t size) { ASKING(__libc_malloc(size)) }
void *calloc(size_t count, size_t size) { ASKING(__libc_calloc(count, size)) }
void *realloc(void *old, size_t size) { ASKING(__libc_realloc(old, size)) }

/* --- for shim.py -------------------------------------------------------------------------------- */

int shim_watch(const char *path, const char *trace_path) {
    folder_length = 0;
    if (trace >= 0) close(trace);
    trace = trace_path ? open(trace_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    if (trace_path && trace < 0) return errno;
    for (int file = 0; file < MOST_FILES; file++) forget(file);
    snprintf(folder, sizeof folder, "%s", path);
    folder_length = strlen(folder);
    return 0;
}

void shim_arm(unsigned kinds, long at, int what, int error, int repeated) {
    armed = 0;
    codes = 0;
    dl_iterate_phdr(note_code, NULL);
    matched = hits = 0;
    memset(seen, 0, sizeof seen);
    first = at;
    action = what;
    failure = error;
    for_ever = repeated;
    armed = kinds;
}

long shim_disarm(void) {
    armed = 0;
    return hits;
}

long shim_seen(int kind) { return seen[kind]; }
long shim_hits(void) { return hits; }
