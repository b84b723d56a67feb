/* picks.h - the tokens that a batch wants picked, and the log-probabilities: asked for before a
 * chunk runs, answered by the backend, found in the answers afterwards. */
#ifndef RSR_PICKS_H
#define RSR_PICKS_H

#include "sample/edits.h"
#include "sample/sample.h"

struct rsr_engine;

#define RSR_MAX_PICKS 128u   /* of a chunk */
#define RSR_MAX_LOGPROBS 64u /* of them; all logits are kept for each */

/* Top-k of a larger part of the vocabulary asks for all logits, and so do logits of more tokens
 * that penalties and biases raise: bounds gain nothing there. An allowed set of a larger part is
 * not read row by row. */
#define RSR_HEAD_TOP_PART 8u

/* What a pick needs to know. */
enum rsr_pick_mode {
    RSR_PICK_ALL,     /* all logits */
    RSR_PICK_BEST,    /* the largest one */
    RSR_PICK_TOP,     /* those that top-k, or without it min-p, may keep */
    RSR_PICK_DRAW,    /* the largest sum of logit and noise */
    RSR_PICK_NUCLEUS, /* the largest sum of those that top-p and min-p keep; or all logits */
    RSR_PICK_LISTED   /* all allowed ones, which are few */
};

/* A row of the head and its logit, as the edits leave it. */
struct rsr_head_row {
    uint32_t row;
    float value;
};

struct rsr_head_pick {
    uint32_t *picked;             /* where the token goes; NULL: none is picked */
    const rsr_logprobs *logprobs; /* asked for the same entry, of mode ALL; or NULL */
    rsr_sampling sampling;
    enum rsr_pick_mode mode;
    uint32_t token;          /* of the chunk */
    const uint32_t *history; /* the sequence's tokens up to and including this one, */
    uint32_t n_history;      /* so many: the position that is picked for */
    const struct rsr_edits *edits;

    /* The answer, in memory of the backend until its next chunk. Either all logits as the head
     * gives them: always a right answer, the only one to ALL, and there already where the batch
     * wants them. Or, with logits NULL, allowed rows that are sure to hold what the options choose
     * from (NUCLEUS: the one that they choose). */
    const float *logits;
    const struct rsr_head_row *rows;
    uint32_t n_rows;
};

struct rsr_picks {
    uint32_t n;
    struct rsr_head_pick picks[RSR_MAX_PICKS];
    struct rsr_edits edits[RSR_MAX_PICKS]; /* theirs; the memory is kept from chunk to chunk */
};

void rsr_picks_free(struct rsr_picks *picks);

/* What a batch asks for after the entries of a chunk. */
struct rsr_asked {
    const rsr_pick *picks;
    uint32_t *picked;
    uint32_t n_picks;
    const rsr_logprobs *logprobs;
    uint32_t n_logprobs;
};

/* Picks of engine->chunk, whose first entry is the batch's entry `first`. */
RSR_NODISCARD rsr_status rsr_picks_begin(struct rsr_engine *engine, const struct rsr_asked *asked,
                                         size_t first, rsr_error *err);
/* The token and the log-probabilities of pick i, after the head. */
RSR_NODISCARD rsr_status rsr_pick_finish(const struct rsr_engine *engine, uint32_t i,
                                         rsr_error *err);
/* Adds them to the profile, with the engine's lock held. */
void rsr_picks_count(struct rsr_engine *engine);

#endif
