/* sweep.c - see sweep.h. */
#include "base/sweep.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"

#define OWNER ".owner"
#define ATTEMPTS 8

/* ---- owning ---------------------------------------------------------------------------------- */

/* False: before the file was locked, another process took it for one of a dead process. */
static bool lock_own(int fd, const char *path) {
    struct stat here, there;
    (void)flock(fd, LOCK_EX);
    return fstat(fd, &here) == 0 && stat(path, &there) == 0 && here.st_ino == there.st_ino &&
           here.st_dev == there.st_dev;
}

/* mkostemp() changes the end of the name. */
static void restore_pattern(char *name) {
    memset(name + strlen(name) - 6, 'X', 6);
}

int rsrc_make_owned_file(char *name) {
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        const int fd = mkostemp(name, O_CLOEXEC);
        if (fd < 0 || lock_own(fd, name))
            return fd;
        close(fd);
        restore_pattern(name);
    }
    errno = EAGAIN;
    return -1;
}

static int open_owner(const char *dir, int flags) {
    const int at = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    const int fd =
        at < 0 ? -1 : openat(at, OWNER, flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
    const int error = errno;
    if (at >= 0)
        close(at);
    errno = error;
    return fd;
}

int rsrc_make_owned_dir(char *name) {
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    int fd = -1;
    for (int attempt = 0; attempt < ATTEMPTS && fd < 0 && mkdtemp(name) != NULL; attempt++) {
        fd = open_owner(name, O_WRONLY | O_CREAT | O_EXCL);
        if (fd >= 0 && lock_own(fd, rsrc_arena_printf(&arena, "%s/%s", name, OWNER))) {
            dprintf(fd, "%ld\n", (long)getpid());
            break;
        }
        const int error = errno;
        if (fd < 0)
            rmdir(name);
        else
            close(fd);
        fd = -1;
        restore_pattern(name);
        errno = error;
    }
    rsrc_arena_free(&arena);
    return fd;
}

/* ---- removing -------------------------------------------------------------------------------- */

/* This does not use readdir(), which allocates: a compilation that ran out of memory cleans up,
 * too. */
static void remove_entries(int dir) {
    _Alignas(struct dirent64) char entries[4096];
    ssize_t n;
    while ((n = getdents64(dir, entries, sizeof(entries))) > 0) {
        const struct dirent64 *entry;
        for (ssize_t at = 0; at < n; at += entry->d_reclen) {
            entry = (const void *)(entries + at);
            if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
                strcmp(entry->d_name, OWNER) != 0)
                unlinkat(dir, entry->d_name, 0);
        }
    }
}

/* Removal is tried several times: a child that has just been killed may still finish creating a
 * file, and file descriptors may be short for a moment. */
void rsrc_remove_flat_dir(const char *path) {
    for (int attempt = 0; attempt < 20; attempt++) {
        const int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir < 0 && errno == ENOENT)
            return;
        if (dir >= 0) {
            remove_entries(dir);
            unlinkat(dir, OWNER, 0);
            close(dir);
        }
        if (rmdir(path) == 0)
            return;
        usleep(1000);
    }
}

static void remove_if_dead(const char *path) {
    struct stat info;
    if (lstat(path, &info) != 0 || info.st_uid != geteuid() ||
        !(S_ISREG(info.st_mode) || S_ISDIR(info.st_mode)))
        return;
    const bool is_dir = S_ISDIR(info.st_mode);
    const int fd = is_dir ? open_owner(path, O_RDONLY)
                          : open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        if (is_dir)
            rsrc_remove_flat_dir(path);
        else
            unlink(path);
    }
    close(fd);
}

/* Whether the name is <base>.tmp-rsrc-XXXXXX; an empty base stands for any. */
static bool is_temporary(const char *name, const char *base) {
    const size_t n = strlen(name), n_end = strlen(RSRC_TEMPORARY) + 6, n_base = strlen(base);
    return n >= n_end && strncmp(name + n - n_end, RSRC_TEMPORARY, strlen(RSRC_TEMPORARY)) == 0 &&
           (n_base == 0 || (n - n_end == n_base && strncmp(name, base, n_base) == 0));
}

void rsrc_sweep(const char *path) {
    const char *slash = strrchr(path, '/');
    const char *base = slash == NULL ? path : slash + 1;
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    const char *parent =
        base == path ? "./" : rsrc_arena_strndup(&arena, path, (size_t)(base - path));
    DIR *dir = opendir(parent);
    const struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL)
        if (is_temporary(entry->d_name, base))
            remove_if_dead(rsrc_arena_printf(&arena, "%s%s", parent, entry->d_name));
    if (dir != NULL)
        closedir(dir);
    rsrc_arena_free(&arena);
}
