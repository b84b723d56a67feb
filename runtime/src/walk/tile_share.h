/* tile_share.h - the tiles of one kernel call, shared out among workers that help each other.
 *
 * Every worker has a share: a range of tiles, of which it takes pieces from the front. Whoever has
 * none left takes pieces from the back of another's. A worker that the system keeps waiting so
 * delays a call by a piece, not by its whole share. Which worker computes a tile changes no result.
 *
 * Calls are numbered, and all workers count them alike. A share begins with whoever needs it first,
 * its owner or a helper. A worker goes on to the next call only when every piece of this one is
 * taken: what a share holds may then be overwritten, though its owner still computes pieces that it
 * took before.
 */
#ifndef RSR_TILE_SHARE_H
#define RSR_TILE_SHARE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* call number, front, back */
#define RSR_SHARE_TILE_BITS 22
#define RSR_SHARE_MAX_TILES ((UINT32_C(1) << RSR_SHARE_TILE_BITS) - 1)
#define RSR_SHARE_CALL_BITS (64 - 2 * RSR_SHARE_TILE_BITS)

struct rsr_tile_share {
    _Atomic uint64_t state; /* 0: of call 0, with no tiles */
};

/* Where the worker's part of n begins; that of the last ends at n. */
static inline uint32_t rsr_share_of(uint64_t n, uint32_t worker, uint32_t n_workers) {
    return (uint32_t)(n * worker / n_workers);
}

static inline uint64_t rsr_share_pack(uint32_t call, uint32_t front, uint32_t back) {
    return (uint64_t)call << (2 * RSR_SHARE_TILE_BITS) | (uint64_t)front << RSR_SHARE_TILE_BITS |
           back;
}

/* Calls from `a` on to `b`; below 0 if b was before a. Workers are never half of all numbers
 * apart. */
static inline int32_t rsr_share_calls_between(uint32_t a, uint32_t b) {
    const int spare = 32 - RSR_SHARE_CALL_BITS;
    return (int32_t)((b - a) << spare) >> spare;
}

static inline uint32_t rsr_share_call_of(uint64_t state) {
    return (uint32_t)(state >> (2 * RSR_SHARE_TILE_BITS));
}

/* Makes the share that of tiles [begin, end) of `call`, unless it is of this or of a later call. */
static inline void rsr_share_begin(struct rsr_tile_share *share, uint32_t call, uint32_t begin,
                                   uint32_t end) {
    uint64_t old = atomic_load_explicit(&share->state, memory_order_acquire);
    while (rsr_share_calls_between(rsr_share_call_of(old), call) > 0 &&
           !atomic_compare_exchange_weak_explicit(&share->state, &old,
                                                  rsr_share_pack(call, begin, end),
                                                  memory_order_acq_rel, memory_order_acquire))
        ;
}

/* Takes half of what is left of `call`, but at least n tiles if there are as many, for the owner
 * from the front, else from the back. False: none is left. */
static inline bool rsr_share_take(struct rsr_tile_share *share, uint32_t call, uint32_t n,
                                  bool is_owner, uint32_t *begin, uint32_t *end) {
    uint64_t old = atomic_load_explicit(&share->state, memory_order_acquire);
    for (;;) {
        const uint32_t front = (uint32_t)(old >> RSR_SHARE_TILE_BITS) & RSR_SHARE_MAX_TILES;
        const uint32_t back = (uint32_t)old & RSR_SHARE_MAX_TILES;
        if (rsr_share_calls_between(rsr_share_call_of(old), call) != 0 || front == back)
            return false;
        const uint32_t n_left = back - front, half = (n_left + 1) / 2;
        const uint32_t wanted = half > n ? half : n, taken = n_left < wanted ? n_left : wanted;
        *begin = is_owner ? front : back - taken;
        *end = *begin + taken;
        const uint64_t left = is_owner ? rsr_share_pack(rsr_share_call_of(old), *end, back)
                                       : rsr_share_pack(rsr_share_call_of(old), front, *begin);
        if (atomic_compare_exchange_weak_explicit(&share->state, &old, left, memory_order_acq_rel,
                                                  memory_order_acquire))
            return true;
    }
}

#endif
