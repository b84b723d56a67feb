/* cache.h - machine code of earlier compilations, with a hash of its source as the key:
 * --cache-dir.
 *
 * An entry is one file, named by the hash of everything that decides its contents: the text that a
 * compiler or an assembler read, its options, and the identity of whatever made it. It appears by
 * rename, so compilations that share a directory see whole entries. An entry has a hash of its
 * bytes; if the hash does not match, the entry is not used and is replaced. The directory is
 * trusted like the compiler itself: hashes find damage, not malice. The directory's size is
 * bounded: the least recently used entries are removed.
 *
 * The cache keeps code, not packed weights. Measured on 210 M weights: the passes from decode to
 * lower take 4.5 ns a weight, and reading packed weights back would take 1. Making code takes two
 * thirds of all time, and code is a hundredth of the bytes.
 */
#ifndef RSRC_CACHE_CACHE_H
#define RSRC_CACHE_CACHE_H

#include <pthread.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "rsr_hash.h"
#include "diag.h"

/* Limit for all entries of a directory together, enforced when a compilation that added some
 * ends. */
#define RSRC_CACHE_MAX_BYTES (UINT64_C(1) << 30)

struct rsrc_cache {
    const char *dir; /* NULL: no cache; every other function then does nothing */
    bool read_only;
    uint8_t maker[16]; /* this program and the libraries it runs with */
    pthread_mutex_t lock;
    uint32_t n_stored;
};

struct rsrc_cache_key {
    uint8_t bytes[16];
};

/* Makes the directory unless read_only. Borrows `dir`. */
RSRC_NODISCARD enum rsrc_status rsrc_cache_open(struct rsrc_diag *diag, const char *dir,
                                                bool read_only, struct rsrc_cache *out);
/* Removes entries until the directory is within its limit. */
void rsrc_cache_close(struct rsrc_cache *cache, uint64_t max_bytes);

/* A key begins with the kind of its entry and with the program that makes it, so that code of
 * another program is never taken. */
void rsrc_cache_key_begin(const struct rsrc_cache *cache, const char *kind, struct rsr_hash *hash);
/* Adds a text with its length, so that two texts cannot be mistaken for two others. */
void rsrc_cache_key_text(struct rsr_hash *hash, const void *text, size_t n_bytes);
/* Adds a tool: its path, size and time of change. */
void rsrc_cache_key_program(struct rsr_hash *hash, const char *path);
struct rsrc_cache_key rsrc_cache_key_end(const struct rsr_hash *hash);

/* Appends the entry to `out`; false: there is none. Damage is reported as a remark ("cache"). Any
 * thread. */
bool rsrc_cache_get(struct rsrc_cache *cache, struct rsrc_diag *diag,
                    const struct rsrc_cache_key *key, struct rsrc_buffer *out);
/* Stores an entry. If that fails, a remark says so and the compilation goes on. Any thread. */
void rsrc_cache_put(struct rsrc_cache *cache, struct rsrc_diag *diag,
                    const struct rsrc_cache_key *key, const void *bytes, size_t n_bytes);

#endif
