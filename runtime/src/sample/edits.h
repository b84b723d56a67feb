/* edits.h - what the options of sampling make of the logits of single tokens, before the
 * temperature: an allowed set, biases and penalties. */
#ifndef RSR_EDITS_H
#define RSR_EDITS_H

#include <math.h>

#include "runtime.h"

/* What is done to the logit of a token. */
struct rsr_edit {
    uint32_t token;     /* RSR_NO_EDIT: the place is empty */
    uint32_t generated; /* times, where a penalty asks for them */
    float bias;
    bool repeated; /* in the window of a repeat penalty */
};
#define RSR_NO_EDIT UINT32_MAX

/* A hash table of the tokens that anything is done to. */
struct rsr_edits {
    const rsr_sampling *sampling;
    struct rsr_edit *places; /* [1 << bits], where there are any */
    uint32_t bits;           /* 0: nothing is done to any token */
    uint32_t n_raised;       /* tokens whose logits may grow */
    size_t capacity;         /* places that there is memory for */
};

/* What the options, which are in range, do to tokens after the history. Memory is used again;
 * zeros are empty edits. The sampling outlives them. */
RSR_NODISCARD rsr_status rsr_edits_set(struct rsr_edits *edits, uint32_t vocab,
                                       const rsr_sampling *sampling, const uint32_t *history,
                                       size_t n_history, rsr_error *err);
void rsr_edits_free(struct rsr_edits *edits);

/* NULL: nothing is done to the token. */
const struct rsr_edit *rsr_edit_of(const struct rsr_edits *edits, uint32_t token);

static inline uint32_t rsr_edits_places(const struct rsr_edits *edits) {
    return edits->bits == 0 ? 0 : UINT32_C(1) << edits->bits;
}

static inline bool rsr_is_allowed(const uint32_t *allowed, uint32_t token) {
    return allowed == NULL || (allowed[token / 32] >> token % 32 & 1) != 0;
}

/* THEOREM. With repeat_penalty >= 1 and an edit for which this is false, rsr_edited() is at most
 * the logit: each of its operations adds no more than 0, or takes the number away from 0 below 0 or
 * towards 0 above it; and rounding is monotonic, so what is at most a float before it is rounded
 * still is afterwards. */
static inline bool rsr_edit_raises(const struct rsr_edit *edit, const rsr_sampling *s) {
    return edit->bias > 0 ||
           (edit->generated > 0 && (s->presence_penalty < 0 || s->frequency_penalty < 0));
}

/* The token's logit as the options leave it, but for `allowed`. */
static inline float rsr_edited(const struct rsr_edit *edit, const rsr_sampling *s, float logit) {
    logit += edit->bias;
    if (edit->repeated)
        logit = logit < 0 ? logit * s->repeat_penalty : logit / s->repeat_penalty;
    if (edit->generated > 0) {
        logit -= s->frequency_penalty * (float)edit->generated;
        logit -= s->presence_penalty;
    }
    return logit;
}

#endif
