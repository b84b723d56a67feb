/* picks.h - picks and log-probabilities of a batch. They are prepared before a chunk runs, the
 * backend supplies the logits that they need, and then tokens and log-probabilities are found. */
#ifndef RSR_PICKS_H
#define RSR_PICKS_H

#include "sample/edits.h"
#include "sample/sample.h"

struct rsr_engine;

#define RSR_MAX_PICKS 128u   /* of a chunk */
#define RSR_MAX_LOGPROBS 64u /* of them; all logits are kept for each */

/* Bounds gain nothing if top_k, or the number of tokens whose logits are raised, exceeds 1/8 of the
 * vocabulary: such a pick asks for all logits. A larger allowed set is not read row by row. */
#define RSR_HEAD_TOP_PART 8u

/* Which logits a pick needs. */
enum rsr_pick_mode {
    RSR_PICK_ALL,     /* all logits */
    RSR_PICK_BEST,    /* the largest one */
    RSR_PICK_TOP,     /* those that top_k, or without it min_p, may keep */
    RSR_PICK_DRAW,    /* the largest sum of logit and noise */
    RSR_PICK_NUCLEUS, /* the largest such sum among those that top_p and min_p keep; or all
                         logits */
    RSR_PICK_LISTED   /* all allowed ones, which are few */
};

/* A row of the head and its logit, as the edits leave it. */
struct rsr_head_row {
    uint32_t row;
    float value;
};

struct rsr_head_pick {
    uint32_t *picked;             /* receives the token; NULL: none is picked */
    const rsr_logprobs *logprobs; /* those of the same entry (mode is then ALL), or NULL */
    rsr_sampling sampling;
    enum rsr_pick_mode mode;
    uint32_t token;          /* of the chunk */
    const uint32_t *history; /* the sequence's tokens up to and including this one */
    uint32_t n_history;      /* their number, which is the position of the picked token */
    const struct rsr_edits *edits;

    /* The answer, in memory of the backend until its next chunk. It has one of two forms. Either
     * `logits` are all logits as the head gives them; this is right for every mode, the only form
     * for ALL, and set beforehand if the batch wants logits. Or `logits` is NULL, and `rows` are
     * allowed rows that certainly include those that the options choose from (NUCLEUS: the chosen
     * one). */
    const float *logits;
    const struct rsr_head_row *rows;
    uint32_t n_rows;
    bool read_all; /* the backend read all of the head for them */
};

struct rsr_picks {
    uint32_t n;
    struct rsr_head_pick picks[RSR_MAX_PICKS];
    struct rsr_edits edits[RSR_MAX_PICKS]; /* of each pick; their memory is reused by the next
                                              chunk */
};

void rsr_picks_free(struct rsr_picks *picks);

/* What a batch asks for at the entries of a chunk. */
struct rsr_asked {
    const rsr_pick *picks;
    uint32_t *picked;
    uint32_t n_picks;
    const rsr_logprobs *logprobs;
    uint32_t n_logprobs;
};

/* Prepares the picks of engine->chunk, whose first entry is the batch's entry `first`. */
RSR_NODISCARD rsr_status rsr_picks_begin(struct rsr_engine *engine, const struct rsr_asked *asked,
                                         size_t first, rsr_error *err);
/* Finds the token and the log-probabilities of pick i, after the head. */
RSR_NODISCARD rsr_status rsr_pick_finish(const struct rsr_engine *engine, uint32_t i,
                                         rsr_error *err);
/* Adds them to the profile, with the engine's lock held. */
void rsr_picks_count(struct rsr_engine *engine);

#endif
