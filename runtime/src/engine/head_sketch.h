/* head_sketch.h - the tokens that a batch wants picked, and choosing them without reading all of
 * the head.
 *
 * rsr_picks_begin() makes the picks of a chunk ready; the workers run the head's operation, in
 * which rsr_head_sketch_run() finds for every pick with a sketch the rows that may be chosen, with
 * their exact logits; rsr_picks_finish() chooses. A pick without a sketch gets all logits instead.
 */
#ifndef RSR_HEAD_SKETCH_H
#define RSR_HEAD_SKETCH_H

#include <stdatomic.h>

#include "rsr.h"
#include "sample/sample.h"
#include "sketch/sketch.h"

struct rsr_engine;

#define RSR_MAX_PICKS 128u /* of a chunk */

/* What a pick needs to know. */
enum rsr_pick_mode {
    RSR_PICK_ALL,  /* all logits */
    RSR_PICK_BEST, /* the largest one */
    RSR_PICK_TOP,  /* those that top-k and min-p may keep */
    RSR_PICK_DRAW  /* the largest sum of logit and noise */
};

/* A row of the head: `value` is an upper bound of its score, then its logit. */
struct rsr_head_row {
    uint32_t row;
    float value;
};

/* Upper bounds of the logits of a block: offset[p] + unit t. */
struct rsr_head_frame {
    double offset[RSR_SKETCH_MAX_PLANES], unit;
};

struct rsr_head_pick {
    rsr_sampling sampling;
    enum rsr_pick_mode mode;
    uint32_t token;          /* of the chunk */
    const uint32_t *history; /* the sequence's tokens up to and including this one, */
    uint32_t n_history;      /* so many: the position that is picked for */
    const float *logits;     /* ALL: where they will be */
    atomic_bool excluded;    /* the bounds may not hold: all logits instead */
    uint32_t n_wanted;       /* of the best rows; TOP: top_k */
    uint64_t noise_key;      /* DRAW */
    double threshold;        /* no row whose score is below is chosen */
    struct rsr_sketch_query query;

    /* In the slot: */
    float *t;         /* of all rows: sketch.h */
    float *estimates; /* of all rows' scores, as the first plane has them */
    float *all;       /* logits, if the pick is excluded; else, DRAW: bounds of all rows' scores */
    float *keys;      /* t, or DRAW those bounds; NaN once a row is listed */
    float *block_bounds;           /* of the best score of each block */
    float *block_estimates;        /* the best of each block */
    struct rsr_head_frame *frames; /* of blocks */
    uint64_t *penalized;           /* a bit a row */
    struct rsr_head_row *best;     /* room for n_wanted rows */
    uint32_t *n_listed;            /* of workers, RSR_HEAD_COUNT_STRIDE apart */
    struct rsr_head_row *listed;   /* of workers, each from the number of its first row on */
    void *query_memory;
};

#define RSR_HEAD_COUNT_STRIDE 16u /* workers write to cache lines of their own */

/* An engine's. */
struct rsr_picks {
    const struct rsr_sketch_kernel *kernel;
    struct rsr_sketch_shape shape; /* dim 0: the head has no sketch */
    struct rsr_head_pick *picks;   /* [RSR_MAX_PICKS] */
    char *memory;                  /* slots, one a pick, as many as were ever needed */
    uint64_t slot_bytes, memory_bytes;
    uint32_t n_picks;
    /* Slots first of those that need all logits and have no place in the batch for them, then of
     * those with a sketch. */
    uint32_t n_all, n_sketched;
    uint32_t all_tokens[RSR_MAX_PICKS];
    struct rsr_head_pick *sketched[RSR_MAX_PICKS];
};

/* Once an engine. */
RSR_NODISCARD rsr_status rsr_picks_create(struct rsr_engine *engine, rsr_error *err);
void rsr_picks_destroy(struct rsr_engine *engine);

/* Picks of engine->chunk, whose first entry is the batch's entry `first`. */
RSR_NODISCARD rsr_status rsr_picks_begin(struct rsr_engine *engine, const rsr_pick *picks,
                                         uint32_t n_picks, size_t first, rsr_error *err);
/* A share of the head's operation: x are rows of the chunk's tokens. */
void rsr_head_sketch_run(struct rsr_engine *engine, uint32_t worker, const char *x,
                         size_t row_bytes);
RSR_NODISCARD rsr_status rsr_picks_finish(struct rsr_engine *engine, uint32_t *picked,
                                          rsr_error *err);

/* Rows of the worker's blocks, which are those whose number is the worker's, modulo the workers. */
static inline uint32_t rsr_head_blocks_before(uint32_t n_blocks, uint32_t worker,
                                              uint32_t n_workers) {
    const uint32_t whole = n_blocks / n_workers, rest = n_blocks % n_workers;
    return worker * whole + (worker < rest ? worker : rest);
}

#endif
