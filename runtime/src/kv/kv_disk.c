/* kv_disk.c - see kv_disk.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "kv_disk.h"

#define BLOCK_UNITS 16u

/* ---- Life ---- */

/* A file that never has a name; where the file system has no such files, one whose name is removed
 * at once. Returns its descriptor, or -1 with errno. */
static int make_file(const char *folder) {
    char path[4200];
    int fd = open(folder, O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
        return fd;
    if ((size_t)snprintf(path, sizeof(path), "%s/.rsr-kv-XXXXXX", folder) >= sizeof(path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        unlink(path);
    return fd;
}

static uint64_t limit_of_files(void) {
    struct rlimit limit;
    return getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY ? limit.rlim_cur
                                                                                   : INT64_MAX;
}

/* How many bytes the file may have: what an ordinary user finds free on the disk, and the
 * process's limit. */
static uint64_t find_free(int fd) {
    struct statvfs disk;
    uint64_t bytes = INT64_MAX;
    const uint64_t limit = limit_of_files();
    if (fstatvfs(fd, &disk) == 0 &&
        __builtin_mul_overflow((uint64_t)disk.f_bavail, (uint64_t)disk.f_frsize, &bytes))
        bytes = INT64_MAX;
    return bytes < limit ? bytes : limit;
}

rsr_status rsr_kv_disk_create(struct rsr_kv_disk *disk, const char *folder, uint64_t *free_bytes,
                              rsr_error *err) {
    const int fd = make_file(folder);
    if (fd < 0)
        return rsr_fail(err, RSR_ERR_FILE,
                        "no file for keys and values can be made in kv_dir '%s': %s", folder,
                        strerror(errno));
    *disk = (struct rsr_kv_disk){.fd = fd, .unit = (uint64_t)sysconf(_SC_PAGESIZE)};
    *free_bytes = find_free(fd);
    return RSR_OK;
}

bool rsr_kv_disk_map(struct rsr_kv_disk *disk, char *memory, uint64_t bytes, uint64_t most_near) {
    const uint64_t block = disk->unit * BLOCK_UNITS, begin = (uintptr_t)memory;
    disk->first_block = begin / block;
    disk->n_blocks = (begin + bytes + block - 1) / block - disk->first_block;
    disk->near = calloc(disk->n_blocks, sizeof(*disk->near));
    disk->most_near = most_near;
    if (disk->near == NULL || mmap(memory, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
                                   disk->fd, 0) == MAP_FAILED)
        return false;
    /* Neighbours of a row that is read are no more likely to be read than others. */
    madvise(memory, bytes, MADV_RANDOM);
    disk->memory = memory;
    disk->bytes = bytes;
    return true;
}

void rsr_kv_disk_destroy(struct rsr_kv_disk *disk) {
    close(disk->fd);
    free((void *)disk->near);
}

/* ---- Blocks ---- */

int rsr_kv_disk_take(struct rsr_kv_disk *disk, uint64_t at, uint64_t bytes) {
    if (at + bytes > limit_of_files()) /* the call below would send SIGXFSZ */
        return EFBIG;
    int error;
    do {
        error = posix_fallocate(disk->fd, (off_t)at, (off_t)bytes);
    } while (error == EINTR);
    return error;
}

bool rsr_kv_disk_give(struct rsr_kv_disk *disk, uint64_t at, uint64_t bytes) {
    const uint64_t begin = (at + disk->unit - 1) / disk->unit * disk->unit;
    const uint64_t end = (at + bytes) / disk->unit * disk->unit;
    if (begin >= end)
        return false;
    int failed;
    do
        failed = fallocate(disk->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)begin,
                           (off_t)(end - begin));
    while (failed != 0 && errno == EINTR);
    if (failed == 0)
        return true;
    madvise(disk->memory + begin, end - begin, MADV_DONTNEED);
    return false;
}

/* ---- What is mapped ---- */

/* What other threads wanted and have not used yet is mapped afterwards without a count. */
static void trim(struct rsr_kv_disk *disk) {
    if (atomic_exchange(&disk->trims, true))
        return;
    atomic_store(&disk->n_near, 0);
    for (uint64_t i = 0; i < disk->n_blocks; i++)
        if (atomic_load_explicit(&disk->near[i], memory_order_relaxed) != 0)
            atomic_store_explicit(&disk->near[i], 0, memory_order_relaxed);
    madvise(disk->memory, disk->bytes, MADV_DONTNEED); /* a shared mapping loses nothing */
    atomic_store(&disk->trims, false);
}

/* Units by their addresses. */
static void fetch(const struct rsr_kv_disk *disk, uint64_t begin, uint64_t end) {
    if (begin < end)
        madvise((void *)(uintptr_t)(begin * disk->unit), (end - begin) * disk->unit, MADV_WILLNEED);
}

void rsr_kv_disk_want(struct rsr_kv_disk *disk, const void *at, uint64_t bytes) {
    if (atomic_load_explicit(&disk->n_near, memory_order_relaxed) * BLOCK_UNITS * disk->unit >
        disk->most_near)
        trim(disk);
    const uint64_t first = (uintptr_t)at / disk->unit;
    const uint64_t end = ((uintptr_t)at + bytes + disk->unit - 1) / disk->unit;
    uint64_t fetched = first, n_blocks = 0; /* units before `fetched` are near or asked for */
    for (uint64_t unit = first; unit < end; unit++) {
        _Atomic uint16_t *word = &disk->near[unit / BLOCK_UNITS - disk->first_block];
        const uint16_t bit = (uint16_t)(1u << unit % BLOCK_UNITS);
        uint16_t before = atomic_load_explicit(word, memory_order_relaxed);
        if ((before & bit) == 0)
            before = atomic_fetch_or_explicit(word, bit, memory_order_relaxed);
        if ((before & bit) != 0) {
            fetch(disk, fetched, unit);
            fetched = unit + 1;
        }
        n_blocks += before == 0;
    }
    fetch(disk, fetched, end);
    if (n_blocks != 0)
        atomic_fetch_add_explicit(&disk->n_near, n_blocks, memory_order_relaxed);
}
