/* tile_share.h - the tiles of one kernel call, shared out among workers that help each other.
 *
 * Every worker has a share, a range of tiles, and takes pieces from its front. A worker whose share
 * is used up takes pieces from the back of another share. So a worker that loses its CPU delays a
 * call by one piece, not by its whole share. No result depends on which worker computes a tile.
 *
 * Calls are numbered, and all workers count them in the same way. The first worker that needs a
 * share begins it, its owner or a helper. A worker continues with the next call only when every
 * piece of this call is taken. Then a share may be overwritten, even if its owner still computes
 * pieces that it took before.
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
    _Atomic uint64_t state; /* 0: belongs to call 0 and has no tiles */
};

/* The beginning of a worker's part of n; the last part ends at n. */
static inline uint32_t rsr_share_of(uint64_t n, uint32_t worker, uint32_t n_workers) {
    return (uint32_t)(n * worker / n_workers);
}

static inline uint64_t rsr_share_pack(uint32_t call, uint32_t front, uint32_t back) {
    return (uint64_t)call << (2 * RSR_SHARE_TILE_BITS) | (uint64_t)front << RSR_SHARE_TILE_BITS |
           back;
}

/* How many calls `b` is after `a`; negative if it is before. Two workers are never half of all
 * numbers apart. */
static inline int32_t rsr_share_calls_between(uint32_t a, uint32_t b) {
    const int spare = 32 - RSR_SHARE_CALL_BITS;
    return (int32_t)((b - a) << spare) >> spare;
}

static inline uint32_t rsr_share_call_of(uint64_t state) {
    return (uint32_t)(state >> (2 * RSR_SHARE_TILE_BITS));
}

/* Sets the share to tiles [begin, end) of `call`, unless it already belongs to this or a later
 * call. */
static inline void rsr_share_begin(struct rsr_tile_share *share, uint32_t call, uint32_t begin,
                                   uint32_t end) {
    uint64_t old = atomic_load_explicit(&share->state, memory_order_acquire);
    while (rsr_share_calls_between(rsr_share_call_of(old), call) > 0 &&
           !atomic_compare_exchange_weak_explicit(&share->state, &old,
                                                  rsr_share_pack(call, begin, end),
                                                  memory_order_acq_rel, memory_order_acquire))
        ;
}

/* Takes half of the share's remaining tiles of `call`, but at least n if there are as many. The
 * owner takes them from the front, others from the back. False: none is left. */
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
