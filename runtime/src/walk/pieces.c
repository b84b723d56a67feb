/* pieces.c - see pieces.h. */
#include "pieces.h"

#include "crew.h"

uint32_t rsr_pieces_part(const struct rsr_crew *crew, uint32_t n, uint32_t n_parts) {
    return n / crew->n_workers / n_parts + 1;
}

struct rsr_pieces rsr_pieces_own(struct rsr_crew *crew, uint32_t worker, uint32_t n) {
    return (struct rsr_pieces){.crew = crew, .worker = worker, .n = n, .is_own = true};
}

struct rsr_pieces rsr_pieces_begin(struct rsr_crew *crew, uint32_t worker, uint32_t n,
                                   uint32_t least) {
    struct rsr_pieces pieces = rsr_pieces_own(crew, worker, n);
    if (crew->n_workers == 1)
        return pieces;
    pieces.is_own = false;
    pieces.n_joined = n / RSR_SHARE_MAX_TILES + 1;
    pieces.least = (least - 1) / pieces.n_joined + 1;
    pieces.call = ++crew->workers[worker].n_shared_calls;
    return pieces;
}

static bool take_own(struct rsr_pieces *p, uint32_t *begin, uint32_t *end) {
    *begin = rsr_share_of(p->n, p->worker, p->crew->n_workers);
    *end = rsr_share_of(p->n, p->worker + 1, p->crew->n_workers);
    return p->n_finished++ == 0 && *begin < *end;
}

bool rsr_pieces_next(struct rsr_pieces *p, uint32_t *begin, uint32_t *end) {
    if (p->is_own)
        return take_own(p, begin, end);
    const uint32_t n_workers = p->crew->n_workers;
    const uint32_t n = p->n / p->n_joined + (p->n % p->n_joined != 0);
    for (; p->n_finished < n_workers; p->n_finished++) {
        const uint32_t owner = (p->worker + p->n_finished) % n_workers;
        struct rsr_tile_share *tiles = &p->crew->workers[owner].tiles;
        rsr_share_begin(tiles, p->call, rsr_share_of(n, owner, n_workers),
                        rsr_share_of(n, owner + 1, n_workers));
        if (rsr_share_take(tiles, p->call, p->least, p->n_finished == 0, begin, end)) {
            *begin *= p->n_joined;
            *end = *end == n ? p->n : *end * p->n_joined;
            return true;
        }
    }
    return false;
}
