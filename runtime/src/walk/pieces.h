/* pieces.h - tiles that all workers of a crew compute together: each takes pieces of its own
 * share, then of those of workers that are late (tile_share.h). */
#ifndef RSR_PIECES_H
#define RSR_PIECES_H

#include <stdbool.h>
#include <stdint.h>

struct rsr_crew;

/* One worker's walk over them. */
struct rsr_pieces {
    struct rsr_crew *crew;
    uint32_t worker, n_tiles, least, call;
    uint32_t n_finished; /* shares in which nothing is left */
};

/* At most RSR_SHARE_MAX_TILES, in pieces of half of what is left but at least `least`; all workers
 * must come here, in the same order. */
struct rsr_pieces rsr_pieces_begin(struct rsr_crew *crew, uint32_t worker, uint32_t n_tiles,
                                   uint32_t least);
/* Tiles [*begin, *end) are the caller's to compute. False: none is left. */
bool rsr_pieces_next(struct rsr_pieces *pieces, uint32_t *begin, uint32_t *end);

#endif
