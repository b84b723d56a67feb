/* head_sketch.h - answers picks without reading all of the head.
 *
 * rsr_head_slots_begin() prepares a slot for every pick of the chunk. In the head's operation the
 * workers call rsr_head_sketch_run(): for a pick with a sketch it finds the rows that may be
 * chosen, with their exact logits; for a short allowed set it reads the set's rows.
 * rsr_head_slots_answer() hands these rows out. Any other pick gets all logits.
 */
#ifndef RSR_HEAD_SKETCH_H
#define RSR_HEAD_SKETCH_H

#include <stdatomic.h>

#include "engine/picks.h"
#include "sketch/sketch.h"

struct rsr_crew;

/* Upper bounds of the logits of a block: offset[p] + unit t. */
struct rsr_head_frame {
    double offset[RSR_SKETCH_MAX_PLANES], unit;
};

/* A pick with a sketch, or a LISTED one. The `value` of a row is first an upper bound of its score,
 * then its logit. */
struct rsr_head_scan {
    struct rsr_head_pick *asked;
    atomic_bool excluded;  /* the bounds may not hold: all logits instead */
    atomic_bool undecided; /* NUCLEUS: the bounds do not decide which row is chosen: all logits
                              instead */
    bool late;             /* only another rank found that the bounds may not hold */
    uint32_t n_gathered;   /* with several ranks: rows of all of them, in `listed` */
    bool draws;            /* scores have noise: DRAW, and NUCLEUS at first */
    uint32_t n_wanted;     /* number of best rows; TOP: top_k */
    uint64_t noise_key;    /* where it draws */
    double threshold;      /* no row with a lower score is chosen */
    struct rsr_sketch_query query;

    /* In the slot: */
    float *t;               /* of all rows: sketch.h */
    float *estimates;       /* of all rows: sums of products; if it draws, estimates of scores */
    float *all;             /* all logits, if they are computed; before that, if it draws, bounds of
                               scores */
    float *keys;            /* t; if it draws, the bounds in `all`; NaN: the row is listed or not
                               allowed */
    float *block_bounds;    /* of the best score of each block */
    float *block_estimates; /* the best of each block */
    struct rsr_head_frame *frames; /* of blocks */
    struct rsr_head_row *best;     /* room for n_wanted rows */
    uint32_t *n_listed;            /* for each worker, RSR_HEAD_COUNT_STRIDE apart */
    struct rsr_head_row *listed;   /* a worker's rows begin at the number of its first row */
    void *query_memory;
};

#define RSR_HEAD_COUNT_STRIDE 16u /* workers write to cache lines of their own */

struct rsr_head_slots {
    const struct rsr_sketch_kernel *kernel;
    struct rsr_sketch_shape shape; /* dim 0: the head has no sketch */
    char *memory;                  /* slots, one for each pick, as many as were ever needed */
    uint64_t slot_bytes, memory_bytes;
    /* Order of the slots: picks that need all logits and have no room for them in the batch, then
     * picks with a sketch, then LISTED ones. */
    uint32_t n_all, n_sketched, n_listed;
    uint32_t all_tokens[RSR_MAX_PICKS];
    struct rsr_head_scan scans[RSR_MAX_PICKS]; /* [n_sketched + n_listed] */
};

/* Called once for a crew, when its workers are known. */
void rsr_head_slots_create(struct rsr_crew *crew);
void rsr_head_slots_destroy(struct rsr_head_slots *slots); /* zeros are fine */

/* Prepares slots for engine->picks. */
RSR_NODISCARD rsr_status rsr_head_slots_begin(struct rsr_crew *crew, struct rsr_picks *picks,
                                              rsr_error *err);
/* A worker's share of the head's operation, for picks that do not need all logits. x: rows of the
 * chunk's tokens. */
void rsr_head_sketch_run(struct rsr_crew *crew, uint32_t worker, uint32_t op_index, const char *x,
                         size_t row_bytes);
void rsr_head_slots_answer(struct rsr_crew *crew);

/* Called by one worker when all have read the rows that may be chosen: finds the row that a NUCLEUS
 * pick chooses, or sets `undecided`. head_nucleus.c */
void rsr_head_nucleus_find(struct rsr_crew *crew, struct rsr_head_scan *scan);
/* Moves the rows that the workers have read next to each other; returns their number.
 * head_slots.c */
uint32_t rsr_head_gather(const struct rsr_crew *crew, const struct rsr_head_scan *scan);
/* An upper bound, as a float, of the logits of a block by the first plane, if no t in it is larger;
 * without noise. head_sketch.c */
float rsr_head_bound(const struct rsr_head_scan *scan, uint32_t block, float t);

/* Number of blocks of earlier workers. A worker has the blocks whose number modulo n_workers is its
 * own. */
static inline uint32_t rsr_head_blocks_before(uint32_t n_blocks, uint32_t worker,
                                              uint32_t n_workers) {
    const uint32_t whole = n_blocks / n_workers, rest = n_blocks % n_workers;
    return worker * whole + (worker < rest ? worker : rest);
}

#endif
