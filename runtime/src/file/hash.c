/* hash.c - two 64-bit lanes over 16-byte words, multiply and fold (the construction of wyhash and
 * MUM hashes): several bytes per cycle, good dispersion, no protection against an adversary. */
#include "rsr_hash.h"

#include <string.h>

static const uint64_t KEY[4] = {UINT64_C(0xa0761d6478bd642f), UINT64_C(0xe7037ed1a0b428db),
                                UINT64_C(0x8ebc6af09c88c6e3), UINT64_C(0x589965cc75374cc3)};

__extension__ typedef unsigned __int128 u128;

static uint64_t fold(uint64_t a, uint64_t b) {
    const u128 product = (u128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static void absorb(struct rsr_hash *hash, const uint8_t bytes[16]) {
    uint64_t a, b;
    memcpy(&a, bytes, 8);
    memcpy(&b, bytes + 8, 8);
    hash->lane[0] = fold(a ^ KEY[0] ^ hash->lane[0], b ^ KEY[1]) + hash->lane[1];
    hash->lane[1] = fold(b ^ KEY[2] ^ hash->lane[1], a ^ KEY[3]) ^ hash->lane[0];
}

void rsr_hash_init(struct rsr_hash *hash) {
    *hash = (struct rsr_hash){.lane = {KEY[3], KEY[0]}};
}

void rsr_hash_update(struct rsr_hash *hash, const void *bytes, size_t n_bytes) {
    const uint8_t *p = bytes;
    hash->size_bytes += n_bytes;
    if (hash->n_tail != 0) {
        size_t take = 16 - hash->n_tail;
        if (take > n_bytes)
            take = n_bytes;
        memcpy(hash->tail + hash->n_tail, p, take);
        hash->n_tail += (uint32_t)take;
        p += take;
        n_bytes -= take;
        if (hash->n_tail < 16)
            return;
        absorb(hash, hash->tail);
        hash->n_tail = 0;
    }
    for (; n_bytes >= 16; p += 16, n_bytes -= 16)
        absorb(hash, p);
    if (n_bytes != 0)
        memcpy(hash->tail, p, n_bytes);
    hash->n_tail = (uint32_t)n_bytes;
}

void rsr_hash_final(const struct rsr_hash *hash, uint8_t out[16]) {
    struct rsr_hash last = *hash;
    memset(last.tail + last.n_tail, 0, 16 - last.n_tail);
    absorb(&last, last.tail);
    uint8_t length[16] = {0};
    memcpy(length, &last.size_bytes, sizeof(last.size_bytes));
    absorb(&last, length);
    absorb(&last, length);
    memcpy(out, last.lane, 16);
}

void rsr_hash_record(const void *record, size_t n_bytes, size_t at, uint8_t out[16]) {
    static const uint8_t zeros[16];
    const uint8_t *bytes = record;
    const size_t end = at + sizeof(zeros);
    struct rsr_hash state;
    rsr_hash_init(&state);
    rsr_hash_update(&state, bytes, at);
    rsr_hash_update(&state, zeros, sizeof(zeros));
    rsr_hash_update(&state, bytes + end, n_bytes - end);
    rsr_hash_final(&state, out);
}
