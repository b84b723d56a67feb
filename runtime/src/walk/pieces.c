/* pieces.c - see pieces.h. */
#include "pieces.h"

#include "crew.h"

struct rsr_pieces rsr_pieces_begin(struct rsr_crew *crew, uint32_t worker, uint32_t n_tiles,
                                   uint32_t least) {
    return (struct rsr_pieces){.crew = crew,
                               .worker = worker,
                               .n_tiles = n_tiles,
                               .least = least,
                               .call = ++crew->workers[worker].n_shared_calls};
}

bool rsr_pieces_next(struct rsr_pieces *p, uint32_t *begin, uint32_t *end) {
    const uint32_t n_workers = p->crew->n_workers;
    for (; p->n_finished < n_workers; p->n_finished++) {
        const uint32_t owner = (p->worker + p->n_finished) % n_workers;
        struct rsr_tile_share *tiles = &p->crew->workers[owner].tiles;
        rsr_share_begin(tiles, p->call, rsr_share_of(p->n_tiles, owner, n_workers),
                        rsr_share_of(p->n_tiles, owner + 1, n_workers));
        if (rsr_share_take(tiles, p->call, p->least, p->n_finished == 0, begin, end))
            return true;
    }
    return false;
}
