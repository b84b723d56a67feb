/* cache.h - machine code of earlier compilations, found by what it was made from: --cache-dir.
 *
 * An entry is one file, named by the hash of everything that decides its contents: the text that a
 * compiler or an assembler read, its options, and the identity of whatever made it. It appears by
 * rename, so compilations that share a directory see whole entries; it carries the hash of its
 * bytes, and one that does not match is not used and is replaced. The directory is trusted as the
 * compiler itself is: hashes find damage, not malice. Its size is bounded: the entries used longest
 * ago go.
 *
 * Measured on 210 M weights: decoding to lowering takes 4.5 ns a weight, where reading its packed
 * result back would take 1; code takes two thirds of all time and is a hundredth of the bytes. So
 * code is kept.
 */
#ifndef RSRC_CACHE_CACHE_H
#define RSRC_CACHE_CACHE_H

#include <pthread.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "rsr_hash.h"
#include "diag.h"

/* All entries of a directory together, once a compilation that added some has ended. */
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
/* Removes what is too much. */
void rsrc_cache_close(struct rsrc_cache *cache, uint64_t max_bytes);

/* A key begins with the kind of its entry and, so that no other program's code is taken, who makes
 * it. */
void rsrc_cache_key_begin(const struct rsrc_cache *cache, const char *kind, struct rsr_hash *hash);
/* With its length, so that two texts never read as two others. */
void rsrc_cache_key_text(struct rsr_hash *hash, const void *text, size_t n_bytes);
/* A tool by its path, size and time of change. */
void rsrc_cache_key_program(struct rsr_hash *hash, const char *path);
struct rsrc_cache_key rsrc_cache_key_end(const struct rsr_hash *hash);

/* Appends the entry to `out`, or false. Damage is told as a remark ("cache"). Any thread. */
bool rsrc_cache_get(struct rsrc_cache *cache, struct rsrc_diag *diag,
                    const struct rsrc_cache_key *key, struct rsrc_buffer *out);
/* What cannot be stored is told as a remark; the compilation goes on. Any thread. */
void rsrc_cache_put(struct rsrc_cache *cache, struct rsrc_diag *diag,
                    const struct rsrc_cache_key *key, const void *bytes, size_t n_bytes);

#endif
