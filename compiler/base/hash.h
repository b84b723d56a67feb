/* hash.h - 128-bit content hash (not cryptographic): model identity, cache keys, kernel keys. */
#ifndef RSRC_BASE_HASH_H
#define RSRC_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

struct rsrc_hash {
    uint64_t lane[2];
    uint64_t size_bytes;
    uint8_t tail[16];
    uint32_t n_tail;
};

void rsrc_hash_init(struct rsrc_hash *hash);
void rsrc_hash_update(struct rsrc_hash *hash, const void *bytes, size_t n_bytes);
void rsrc_hash_final(const struct rsrc_hash *hash, uint8_t out[16]);

#endif
