/* pieces.h - items of an operation that all workers of a job compute together: each takes pieces of
 * its own share, then of those of workers that are late (tile_share.h). */
#ifndef RSR_PIECES_H
#define RSR_PIECES_H

#include <stdbool.h>
#include <stdint.h>

struct rsr_crew;

/* One worker's walk over them. */
struct rsr_pieces {
    struct rsr_crew *crew;
    uint32_t worker, n, least, call;
    uint32_t n_joined;   /* items are shared out so many at a time: a share counts no more */
    uint32_t n_finished; /* shares in which nothing is left */
    bool is_own;         /* the worker has its share to itself */
};

/* Of n items, a part of a worker's share that is so many times smaller; at least one. */
uint32_t rsr_pieces_part(const struct rsr_crew *crew, uint32_t n, uint32_t n_parts);

/* n items in pieces of half of what is left of a share, but of at least `least`; all workers must
 * come here, in the same order. */
struct rsr_pieces rsr_pieces_begin(struct rsr_crew *crew, uint32_t worker, uint32_t n,
                                   uint32_t least);
/* The worker's share as one piece: for items that take less time than sharing them out. */
struct rsr_pieces rsr_pieces_own(struct rsr_crew *crew, uint32_t worker, uint32_t n);
/* Items [*begin, *end) are the caller's to compute. False: none is left. */
bool rsr_pieces_next(struct rsr_pieces *pieces, uint32_t *begin, uint32_t *end);

#endif
