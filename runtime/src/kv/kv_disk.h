/* kv_disk.h - keys and values in a file without a name, which is mapped to memory.
 *
 * The caller divides the file among its pages and asks for the disk's blocks of a page before it
 * writes there: a write to a mapped file whose disk is full would end the process.
 *
 * Two memories hold parts of the file: the system's cache, which gives way to other needs, and
 * what is mapped, which counts as the process's own. The latter is bounded. Before rows are used
 * they are wanted: the system then begins to read what it does not have, so that many reads are
 * under way together, and the file counts what becomes mapped. If that is more than most_near,
 * all of it is unmapped; it stays in the system's cache.
 *
 * Counting is by system pages and blocks of 16 of them (64 KiB on x86-64), because a fault also
 * maps the pages around it that are cached, up to 64 KiB. Rows that are used without being wanted,
 * such as those of pages that are being filled, are not counted.
 *
 * All functions but create, map and destroy may be called by many threads.
 */
#ifndef RSR_KV_DISK_H
#define RSR_KV_DISK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "runtime.h"

struct rsr_kv_disk {
    int fd;
    char *memory;
    uint64_t bytes;       /* that are mapped */
    uint64_t unit;        /* bytes of a system page */
    uint64_t most_near;   /* bytes */
    uint64_t first_block; /* number of the first block by its address */
    uint64_t n_blocks;
    _Atomic uint16_t *near;  /* [n_blocks]: a bit for each unit that was wanted */
    _Atomic uint64_t n_near; /* blocks with a bit */
    atomic_bool trims;       /* a thread unmaps */
};

/* Makes a file in the folder, with mode 0600, and removes its name. *free_bytes: how large it may
 * become. On failure there is nothing to destroy. */
RSR_NODISCARD rsr_status rsr_kv_disk_create(struct rsr_kv_disk *disk, const char *folder,
                                            uint64_t *free_bytes, rsr_error *err);
/* Maps the file's first `bytes` in place of what is mapped at `memory`. Both are multiples of a
 * system page. False: no memory. */
RSR_NODISCARD bool rsr_kv_disk_map(struct rsr_kv_disk *disk, char *memory, uint64_t bytes,
                                   uint64_t most_near);
/* Closes the file. Its mapping is the caller's to unmap. */
void rsr_kv_disk_destroy(struct rsr_kv_disk *disk);

/* Takes blocks of the disk for a part of the file, which then holds zeros where it never had
 * blocks. Returns 0, or why there are none, as errno. */
int rsr_kv_disk_take(struct rsr_kv_disk *disk, uint64_t at, uint64_t bytes);
/* Gives the blocks of a part of the file back, except for ends that share a system page with other
 * parts. False: the file system cannot, and only memory was given back. */
bool rsr_kv_disk_give(struct rsr_kv_disk *disk, uint64_t at, uint64_t bytes);

/* Wants bytes that will be read soon. */
void rsr_kv_disk_want(struct rsr_kv_disk *disk, const void *at, uint64_t bytes);

#endif
