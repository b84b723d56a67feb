/* edits.h - changes of single tokens' logits by the options of sampling, before the temperature: an
 * allowed set, biases and penalties. */
#ifndef RSR_EDITS_H
#define RSR_EDITS_H

#include <math.h>

#include "runtime.h"

/* The change of a token's logit. */
struct rsr_edit {
    uint32_t token;     /* RSR_NO_EDIT: the place is empty */
    uint32_t generated; /* how many times, if a penalty needs it */
    float bias;
    bool repeated; /* in the window of the repeat penalty */
};
#define RSR_NO_EDIT UINT32_MAX

/* A hash table of the tokens whose logits change. */
struct rsr_edits {
    const rsr_sampling *sampling;
    struct rsr_edit *places; /* [1 << bits], unless bits is 0 */
    uint32_t bits;           /* 0: no logit changes */
    uint32_t n_raised;       /* tokens whose logits may grow */
    size_t capacity;         /* places that there is memory for */
};

/* Sets the edits for options, which must be in range, and a history. Reuses the memory of `edits`;
 * zeros are empty edits. The sampling must outlive the edits. */
RSR_NODISCARD rsr_status rsr_edits_set(struct rsr_edits *edits, uint32_t vocab,
                                       const rsr_sampling *sampling, const uint32_t *history,
                                       size_t n_history, rsr_error *err);
void rsr_edits_free(struct rsr_edits *edits);

/* The edit of a token; NULL: its logit does not change. */
const struct rsr_edit *rsr_edit_of(const struct rsr_edits *edits, uint32_t token);

static inline uint32_t rsr_edits_places(const struct rsr_edits *edits) {
    return edits->bits == 0 ? 0 : UINT32_C(1) << edits->bits;
}

static inline bool rsr_is_allowed(const uint32_t *allowed, uint32_t token) {
    return allowed == NULL || (allowed[token / 32] >> token % 32 & 1) != 0;
}

/* THEOREM. If repeat_penalty >= 1 and this is false for an edit, rsr_edited() is at most the logit.
 * Each of its operations adds at most 0, or multiplies a negative number by the penalty, or divides
 * a positive one by it: none makes the number larger. Rounding is monotonic, so a result that is at
 * most a float before rounding is so afterwards, too. */
static inline bool rsr_edit_raises(const struct rsr_edit *edit, const rsr_sampling *s) {
    return edit->bias > 0 ||
           (edit->generated > 0 && (s->presence_penalty < 0 || s->frequency_penalty < 0));
}

/* The token's logit after the options, except `allowed`. */
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
