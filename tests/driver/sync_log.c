/* sync_log.c - preloaded before libc: logs syncs and renames in order to $SYNC_LOG, with names
 * without folders. A file whose name contains $SYNC_FAILS cannot be synced, and a folder whose name
 * contains $READDIR_FAILS cannot be read the first time. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *base(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

static void say(const char *what, const char *path) {
    FILE *log = fopen(getenv("SYNC_LOG"), "a");
    fprintf(log, "%s %s\n", what, base(path));
    fclose(log);
}

/* Finds the path of an open file. Returns whether its name contains the variable's text. */
static int fails(int fd, const char *variable, char path[PATH_MAX]) {
    char link[64];
    const char *part = getenv(variable);
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    const ssize_t n = readlink(link, path, PATH_MAX - 1);
    path[n < 0 ? 0 : n] = '\0';
    return part != NULL && strstr(base(path), part) != NULL;
}

static void find_next(const char *name, void *function) {
    void *symbol = dlsym(RTLD_NEXT, name);
    memcpy(function, &symbol, sizeof(symbol));
}

int fsync(int fd) {
    char path[PATH_MAX];
    const int it_fails = fails(fd, "SYNC_FAILS", path);
    say("sync", path);
    errno = EIO;
    return it_fails ? -1 : 0;
}

struct dirent *readdir(DIR *dir) {
    static int n_failed;
    char path[PATH_MAX];
    struct dirent *(*next)(DIR *);
    find_next("readdir", &next);
    if (n_failed != 0 || !fails(dirfd(dir), "READDIR_FAILS", path))
        return next(dir);
    n_failed++;
    errno = EIO;
    return NULL;
}

int rename(const char *from, const char *to) {
    int (*next)(const char *, const char *);
    find_next("rename", &next);
    say("rename", to);
    return next(from, to);
}
