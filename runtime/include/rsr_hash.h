/* rsr_hash.h - 128-bit content hash (not cryptographic): sections of modules, model identity, cache
 * keys, kernel keys. Modules store such hashes, so the function never changes. */
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
/* Hashes a record that contains its own hash at byte `at`; zeros take the place of that hash. */
void rsr_hash_record(const void *record, size_t n_bytes, size_t at, uint8_t out[16]);

#define RSR_HASH_TEXT_BYTES 33
/* Writes 32 lower-case hexadecimal digits and a NUL. */
static inline void rsr_hash_text(const uint8_t hash[16], char text[RSR_HASH_TEXT_BYTES]) {
    for (int i = 0; i < 32; i++)
        text[i] = "0123456789abcdef"[hash[i / 2] >> (i % 2 == 0 ? 4 : 0) & 15];
    text[32] = '\0';
}

#endif
