/* rsr_hash.h - 128-bit content hash (not cryptographic): sections of modules, model identity, cache
 * keys, kernel keys. Modules keep it: it never changes. */
#ifndef RSR_HASH_H
#define RSR_HASH_H

#include <stddef.h>
#include <stdint.h>

struct rsr_hash {
    uint64_t lane[2];
    uint64_t size_bytes;
    uint8_t tail[16];
    uint32_t n_tail;
};

void rsr_hash_init(struct rsr_hash *hash);
void rsr_hash_update(struct rsr_hash *hash, const void *bytes, size_t n_bytes);
void rsr_hash_final(const struct rsr_hash *hash, uint8_t out[16]);
/* Of a record with zeros in place of its own hash, which begins at byte `at`. */
void rsr_hash_record(const void *record, size_t n_bytes, size_t at, uint8_t out[16]);

#endif
