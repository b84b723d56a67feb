/* mapped_file.c - mapped input files; output files that appear whole or not at all.
 *
 * Temporaries are registered in one process-wide table, because whatever ends the process (an
 * error, running out of memory, a signal, a fatal error inside a library) must find and remove
 * them.
 */
#include "base/mapped_file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/sweep.h"

#define MAX_TEMPORARIES 256
#define MAX_SHOWN_TARGET 256

static struct {
    pthread_mutex_t mutex;
    char *path[MAX_TEMPORARIES]; /* owned; NULL: free slot */
    int lock[MAX_TEMPORARIES];   /* descriptor of a directory; -1: a file, whose writer holds its
                                    descriptor */
} temporaries = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* With the lock held. */
static int register_temporary(const char *path, int lock) {
    for (int i = 0; i < MAX_TEMPORARIES; i++) {
        if (temporaries.path[i] == NULL) {
            temporaries.path[i] = strdup(path);
            temporaries.lock[i] = lock;
            return temporaries.path[i] == NULL ? -1 : i;
        }
    }
    return -1;
}

static void release_temporary(int slot) {
    if (slot < 0)
        return;
    pthread_mutex_lock(&temporaries.mutex);
    free(temporaries.path[slot]);
    temporaries.path[slot] = NULL;
    pthread_mutex_unlock(&temporaries.mutex);
}

static void remove_all(void) {
    for (int i = 0; i < MAX_TEMPORARIES; i++) {
        if (temporaries.path[i] == NULL)
            continue;
        if (temporaries.lock[i] >= 0) {
            rsrc_remove_flat_dir(temporaries.path[i]);
            close(temporaries.lock[i]);
        } else {
            unlink(temporaries.path[i]);
        }
        free(temporaries.path[i]);
        temporaries.path[i] = NULL;
    }
}

void rsrc_remove_temporaries(void) {
    pthread_mutex_lock(&temporaries.mutex);
    remove_all();
    pthread_mutex_unlock(&temporaries.mutex);
}

void rsrc_remove_temporaries_and_block(void) {
    pthread_mutex_lock(&temporaries.mutex);
    remove_all();
}

bool rsrc_file_is_there(const char *path) {
    struct stat info;
    return lstat(path, &info) == 0 || errno != ENOENT;
}

enum rsrc_status rsrc_cannot_open(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                  const char *path, const char *help) {
    const int error = errno;
    const struct rsrc_place place = {.file = path};
    char target[MAX_SHOWN_TARGET];
    const ssize_t n = readlink(path, target, sizeof(target));
    if (n < 0)
        return rsrc_refuse(diag, "file-unreadable", &place, help, "cannot open: %s",
                           strerror(error));
    struct rsrc_buffer quoted = {0};
    rsrc_buffer_put_terminal(&quoted, rsrc_arena_strndup(arena, target, (size_t)n));
    rsrc_error(diag, "file-unreadable", &place,
               "fetch the file again: a cache may have removed what the link leads to",
               "cannot open the '%s' that it links to: %s", quoted.data, strerror(error));
    rsrc_buffer_free(&quoted);
    return RSRC_FAILED;
}

enum rsrc_status rsrc_map_file(struct rsrc_diag *diag, struct rsrc_arena *arena, const char *path,
                               struct rsrc_mapping *out) {
    const struct rsrc_place place = {.file = path};
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return rsrc_cannot_open(diag, arena, path, NULL);
    enum rsrc_status status = RSRC_FAILED;
    struct stat info;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        rsrc_error(diag, "file-unreadable", &place, NULL, "is not a regular file");
        goto cleanup;
    }
    struct rsrc_mapping mapping = {
        .path = rsrc_arena_strdup(arena, path), .size_bytes = (uint64_t)info.st_size, .info = info};
    if (mapping.size_bytes != 0) {
        void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            rsrc_error(diag, "file-unreadable", &place, NULL, "cannot map: %s", strerror(errno));
            goto cleanup;
        }
        mapping.data = data;
    }
    *out = mapping;
    status = RSRC_OK;
cleanup:
    close(fd);
    return status;
}

void rsrc_unmap_file(struct rsrc_mapping *mapping) {
    if (mapping->data != NULL)
        munmap((void *)(uintptr_t)mapping->data, mapping->size_bytes);
    mapping->data = NULL;
    mapping->size_bytes = 0;
}

void rsrc_release_pages(const void *bytes, uint64_t size_bytes) {
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t begin = (uintptr_t)bytes & ~(page - 1);
    if (size_bytes != 0)
        (void)madvise((void *)begin, (size_t)((uintptr_t)bytes + size_bytes - begin),
                      MADV_DONTNEED);
}

bool rsrc_next_piece(struct rsrc_pieces *pieces) {
    if (pieces->is_mapped)
        rsrc_release_pages(pieces->bytes, pieces->n_bytes);
    if (pieces->n_bytes != 0) /* without bytes there may be no address to add to, either */
        pieces->bytes += pieces->n_bytes;
    pieces->left -= pieces->n_bytes;
    pieces->n_bytes = pieces->left < RSRC_PIECE_BYTES ? (size_t)pieces->left : RSRC_PIECE_BYTES;
    return pieces->n_bytes != 0;
}

enum rsrc_status rsrc_check_unchanged(struct rsrc_diag *diag, const struct rsrc_mapping *mapping) {
    const struct stat *then = &mapping->info;
    struct stat now;
    if (stat(mapping->path, &now) != 0 || now.st_dev != then->st_dev ||
        now.st_ino != then->st_ino ||
        (now.st_size == then->st_size && now.st_mtim.tv_sec == then->st_mtim.tv_sec &&
         now.st_mtim.tv_nsec == then->st_mtim.tv_nsec))
        return RSRC_OK;
    return rsrc_refuse(diag, "file-changed", &(struct rsrc_place){.file = mapping->path},
                       "wait until it is complete and run again",
                       "was changed while it was being read");
}

/* /dev/stdout and similar paths are links to open files: a rename would replace the link. */
static bool is_link_to_open_file(const char *path) {
    struct stat info;
    return (strncmp(path, "/dev/", 5) == 0 || strncmp(path, "/proc/", 6) == 0) &&
           lstat(path, &info) == 0 && S_ISLNK(info.st_mode);
}

enum rsrc_status rsrc_output_check(struct rsrc_diag *diag, const char *path) {
    const struct rsrc_place place = {.file = path};
    struct stat info;
    if ((stat(path, &info) != 0 || S_ISREG(info.st_mode)) && !is_link_to_open_file(path))
        return RSRC_OK;
    return rsrc_refuse(diag, "output-unwritable", &place,
                       "name a file; where text is written, - is standard output", "%s",
                       S_ISDIR(info.st_mode) ? "is a directory" : "is not a regular file");
}

enum rsrc_status rsrc_output_open(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                  const char *path, struct rsrc_output *out) {
    return rsrc_output_open_by(diag, arena, "-o", path, out);
}

enum rsrc_status rsrc_output_open_by(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                     const char *option, const char *path,
                                     struct rsrc_output *out) {
    const struct rsrc_place place = {.file = path};
    if (rsrc_output_check(diag, path) != RSRC_OK)
        return RSRC_FAILED;
    char *temporary = rsrc_arena_printf(arena, "%s" RSRC_TEMPORARY "XXXXXX", path);
    /* Signals and other threads that clean up see making and registering the file as one step. */
    pthread_mutex_lock(&temporaries.mutex);
    const int fd = rsrc_make_owned_file(temporary);
    const int error = errno;
    const int slot = fd < 0 ? -1 : register_temporary(temporary, -1);
    pthread_mutex_unlock(&temporaries.mutex);
    if (fd < 0)
        return rsrc_refuse(diag, "output-unwritable", &place,
                           rsrc_arena_printf(arena, "choose another place with %s", option),
                           "cannot create: %s", strerror(error));
    /* mkostemp makes private files; a library should have the permissions of any other output. */
    const mode_t mask = umask(0);
    umask(mask);
    (void)fchmod(fd, 0666 & ~mask);
    *out = (struct rsrc_output){
        .path = rsrc_arena_strdup(arena, path), .temporary = temporary, .fd = fd, .slot = slot};
    return RSRC_OK;
}

enum rsrc_status rsrc_output_write(struct rsrc_diag *diag, struct rsrc_output *out,
                                   const void *bytes, uint64_t size_bytes) {
    const uint8_t *p = bytes;
    while (size_bytes != 0) {
        const size_t chunk = size_bytes < (1u << 30) ? (size_t)size_bytes : (1u << 30);
        const ssize_t n = write(out->fd, p, chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return rsrc_refuse(diag, "output-write-failed", &(struct rsrc_place){.file = out->path},
                               "free some space or raise the limit", "cannot write: %s",
                               strerror(n < 0 ? errno : ENOSPC));
        p += n;
        size_bytes -= (uint64_t)n;
    }
    return RSRC_OK;
}

static enum rsrc_status cannot_finish(struct rsrc_diag *diag, const char *path) {
    return rsrc_refuse(diag, "output-write-failed", &(struct rsrc_place){.file = path}, NULL,
                       "cannot finish: %s", strerror(errno));
}

enum rsrc_status rsrc_output_commit(struct rsrc_diag *diag, struct rsrc_output *out) {
    /* The lock is held until the name is gone: another process may remove a file that has no
     * lock. */
    const int fd = out->fd, lock = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    out->fd = -1;
    const bool named = close(fd) == 0 && rename(out->temporary, out->path) == 0;
    const int error = errno;
    if (lock >= 0)
        close(lock);
    errno = error;
    if (!named) {
        (void)cannot_finish(diag, out->path);
        rsrc_output_abandon(out);
        return RSRC_FAILED;
    }
    release_temporary(out->slot);
    out->slot = -1;
    return RSRC_OK;
}

/* Some file systems cannot sync, which is no error. */
static bool sync_descriptor(int fd) {
    return fsync(fd) == 0 || errno == EINVAL || errno == ENOTSUP || errno == EROFS;
}

static bool sync_path(const char *path) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (fd < 0)
        return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    const bool synced = sync_descriptor(fd);
    const int error = errno;
    close(fd);
    errno = error;
    return synced;
}

enum rsrc_status rsrc_sync(struct rsrc_diag *diag, const char *path) {
    return sync_path(path) ? RSRC_OK : cannot_finish(diag, path);
}

static enum rsrc_status sync_parent(struct rsrc_diag *diag, const char *path) {
    const char *slash = strrchr(path, '/');
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    const char *dir = slash == NULL   ? "."
                      : slash == path ? "/"
                                      : rsrc_arena_strndup(&arena, path, (size_t)(slash - path));
    const enum rsrc_status status = rsrc_sync(diag, dir);
    rsrc_arena_free(&arena);
    return status;
}

enum rsrc_status rsrc_publish(struct rsrc_diag *diag, const char *from, const char *to) {
    if (!sync_path(from) || rename(from, to) != 0)
        return cannot_finish(diag, to);
    return sync_parent(diag, to);
}

enum rsrc_status rsrc_output_publish(struct rsrc_diag *diag, struct rsrc_output *out) {
    if (!sync_descriptor(out->fd)) {
        (void)cannot_finish(diag, out->path);
        rsrc_output_abandon(out);
        return RSRC_FAILED;
    }
    return rsrc_output_commit(diag, out) == RSRC_OK ? sync_parent(diag, out->path) : RSRC_FAILED;
}

void rsrc_output_abandon(struct rsrc_output *out) {
    if (out->fd >= 0)
        close(out->fd);
    out->fd = -1;
    if (out->temporary != NULL)
        unlink(out->temporary);
    release_temporary(out->slot);
    out->slot = -1;
}

enum rsrc_status rsrc_write_file(struct rsrc_diag *diag, const char *dir, const char *name,
                                 const void *bytes, size_t size_bytes) {
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    struct rsrc_output file;
    enum rsrc_status status =
        rsrc_output_open(diag, &arena, rsrc_arena_printf(&arena, "%s/%s", dir, name), &file);
    if (status == RSRC_OK) {
        status = rsrc_output_write(diag, &file, bytes, size_bytes);
        if (status == RSRC_OK)
            status = rsrc_output_commit(diag, &file);
        else
            rsrc_output_abandon(&file);
    }
    rsrc_arena_free(&arena);
    return status;
}

static enum rsrc_status make_dir(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                 const char *beside, const char *what_to_do, const char **path) {
    char *name = rsrc_arena_printf(arena, "%s" RSRC_TEMPORARY "XXXXXX", beside);
    rsrc_sweep(beside);
    pthread_mutex_lock(&temporaries.mutex);
    const int lock = rsrc_make_owned_dir(name);
    const int error = errno;
    if (lock >= 0)
        (void)register_temporary(name, lock);
    pthread_mutex_unlock(&temporaries.mutex);
    if (lock < 0)
        return rsrc_refuse(diag, "output-unwritable", &(struct rsrc_place){.file = beside},
                           what_to_do, "cannot create: %s", strerror(error));
    *path = name;
    return RSRC_OK;
}

enum rsrc_status rsrc_temporary_dir(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                    const char *beside, const char **path) {
    return make_dir(diag, arena, beside, "choose another place with -o", path);
}

const char *rsrc_scratch_path(struct rsrc_arena *arena, const char *name) {
    const char *base = getenv("TMPDIR");
    return rsrc_arena_printf(arena, "%s/%s", base != NULL && base[0] == '/' ? base : "/tmp", name);
}

enum rsrc_status rsrc_scratch_dir(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                  const char *stem, const char **path) {
    return make_dir(diag, arena, rsrc_scratch_path(arena, stem), "name another directory in TMPDIR",
                    path);
}

int rsrc_lacks_room(const char *dir, uint64_t n_bytes) {
    const int fd = open(dir, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0)
        return 0;
    const int error = n_bytes == 0 || fallocate(fd, 0, 0, (off_t)n_bytes) == 0 ? 0 : errno;
    close(fd);
    return error == ENOSPC || error == EDQUOT || error == EFBIG ? error : 0;
}

enum rsrc_status rsrc_stdout_failed(struct rsrc_diag *diag) {
    return rsrc_refuse(diag, "output-write-failed", NULL, NULL, "cannot write to stdout: %s",
                       strerror(errno));
}

enum rsrc_status rsrc_stdout_finish(struct rsrc_diag *diag) {
    return fflush(stdout) == 0 ? RSRC_OK : rsrc_stdout_failed(diag);
}
