/* pieces.h - items of an operation that all workers of a job compute together: each takes pieces of
 * its own share, then of the shares of late workers (tile_share.h). */
#ifndef RSR_PIECES_H
#define RSR_PIECES_H

#include <stdbool.h>
#include <stdint.h>

struct rsr_crew;

/* One worker's walk over the items. */
struct rsr_pieces {
    struct rsr_crew *crew;
    uint32_t worker, n, least, call;
    uint32_t n_joined;   /* items are shared out in groups of this many, because a share cannot
                            count further */
    uint32_t n_finished; /* number of shares that are used up */
    bool is_own;         /* no other worker takes from the worker's share */
};

/* The n_parts-th part of a worker's share of n items; at least one item. */
uint32_t rsr_pieces_part(const struct rsr_crew *crew, uint32_t n, uint32_t n_parts);

/* Begins n items. A piece is half of what is left of a share, but at least `least` items. All
 * workers must call this, in the same order. */
struct rsr_pieces rsr_pieces_begin(struct rsr_crew *crew, uint32_t worker, uint32_t n,
                                   uint32_t least);
/* Begins items that take less time than sharing them out: the worker's share is one piece. */
struct rsr_pieces rsr_pieces_own(struct rsr_crew *crew, uint32_t worker, uint32_t n);
/* Takes the next piece: the caller computes items [*begin, *end). False: none is left. */
bool rsr_pieces_next(struct rsr_pieces *pieces, uint32_t *begin, uint32_t *end);

#endif
