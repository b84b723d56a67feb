/* head_sketch.h - answers picks without reading all of the head.
 *
 * rsr_head_slots_begin() makes a slot ready for every pick of the chunk; the workers run the head's
 * operation, in which rsr_head_sketch_run() finds for every pick with a sketch the rows that may be
 * chosen, with their exact logits, or reads those of a short allowed set; rsr_head_slots_answer()
 * hands them out. Any other pick gets all logits instead.
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

/* A pick with a sketch, or LISTED. The `value` of a row is an upper bound of its score, then its
 * logit. */
struct rsr_head_scan {
    struct rsr_head_pick *asked;
    atomic_bool excluded;  /* the bounds may not hold: all logits instead */
    atomic_bool undecided; /* NUCLEUS: they do not say which row is chosen: all logits instead */
    bool draws;            /* scores have noise: DRAW, and NUCLEUS at first */
    uint32_t n_wanted;     /* of the best rows; TOP: top_k */
    uint64_t noise_key;    /* where it draws */
    double threshold;      /* no row whose score is below is chosen */
    struct rsr_sketch_query query;

    /* In the slot: */
    float *t;         /* of all rows: sketch.h */
    float *estimates; /* of all rows: sums of products, or where it draws, of scores */
    float *all;       /* logits, if all are computed; before, where it draws, bounds of scores */
    float *keys;      /* t, or where it draws those bounds; NaN: a row is listed, or not allowed */
    float *block_bounds;           /* of the best score of each block */
    float *block_estimates;        /* the best of each block */
    struct rsr_head_frame *frames; /* of blocks */
    struct rsr_head_row *best;     /* room for n_wanted rows */
    uint32_t *n_listed;            /* of workers, RSR_HEAD_COUNT_STRIDE apart */
    struct rsr_head_row *listed;   /* of workers, each from the number of its first row on */
    void *query_memory;
};

#define RSR_HEAD_COUNT_STRIDE 16u /* workers write to cache lines of their own */

struct rsr_head_slots {
    const struct rsr_sketch_kernel *kernel;
    struct rsr_sketch_shape shape; /* dim 0: the head has no sketch */
    char *memory;                  /* slots, one a pick, as many as were ever needed */
    uint64_t slot_bytes, memory_bytes;
    /* Slots first of picks that need all logits and have no place in the batch for them, then of
     * those with a sketch, then of LISTED ones. */
    uint32_t n_all, n_sketched, n_listed;
    uint32_t all_tokens[RSR_MAX_PICKS];
    struct rsr_head_scan scans[RSR_MAX_PICKS]; /* [n_sketched + n_listed] */
};

/* Once a crew, whose workers are known. */
void rsr_head_slots_create(struct rsr_crew *crew);
void rsr_head_slots_destroy(struct rsr_head_slots *slots); /* zeros are fine */

/* Slots for engine->picks. */
RSR_NODISCARD rsr_status rsr_head_slots_begin(struct rsr_crew *crew, struct rsr_picks *picks,
                                              rsr_error *err);
/* A share of the head's operation, of picks that do not need all logits: x are rows of the chunk's
 * tokens. */
void rsr_head_sketch_run(struct rsr_crew *crew, uint32_t worker, const char *x, size_t row_bytes);
void rsr_head_slots_answer(struct rsr_crew *crew);

/* One worker, when all have read what may be chosen: finds the row that a NUCLEUS pick chooses, or
 * that the bounds do not say. head_nucleus.c */
void rsr_head_nucleus_find(struct rsr_crew *crew, struct rsr_head_scan *scan);
/* Moves the rows that each worker read together; returns how many. head_slots.c */
uint32_t rsr_head_gather(const struct rsr_crew *crew, const struct rsr_head_scan *scan);
/* A float that is at least any logit of the block by the first plane, if no t is larger; without
 * noise. head_sketch.c */
float rsr_head_bound(const struct rsr_head_scan *scan, uint32_t block, float t);

/* Rows of the worker's blocks, which are those whose number is the worker's, modulo the workers. */
static inline uint32_t rsr_head_blocks_before(uint32_t n_blocks, uint32_t worker,
                                              uint32_t n_workers) {
    const uint32_t whole = n_blocks / n_workers, rest = n_blocks % n_workers;
    return worker * whole + (worker < rest ? worker : rest);
}

#endif
