/* speculation.h - the drafts of a text that is being generated, and whether they pay. */
#ifndef RSR_SPECULATION_H
#define RSR_SPECULATION_H

#include "drafts.h"
#include "gate.h"

struct rsr_speculation {
    struct rsr_drafts drafts;
    struct rsr_gate gate;
};

/* At most so many drafts a step, in a text of at most `most_tokens` that begins with these. */
RSR_NODISCARD rsr_status rsr_speculation_begin(struct rsr_speculation *speculation, uint32_t most,
                                               const uint32_t *tokens, uint32_t n_tokens,
                                               uint32_t most_tokens, rsr_error *err);
void rsr_speculation_end(struct rsr_speculation *speculation); /* zeros are fine */

/* The text has another token. */
void rsr_speculation_push(struct rsr_speculation *speculation, uint32_t token);
/* Drafts for the next step, which can have `most` of those; how many they are. */
uint32_t rsr_speculation_draft(const struct rsr_speculation *speculation, uint32_t most,
                               uint32_t drafts[RSR_MAX_DRAFTS]);
/* A step with so many drafts gave so many tokens. */
void rsr_speculation_took(struct rsr_speculation *speculation, uint32_t n_drafts, uint32_t n_tokens,
                          uint64_t ns);

#endif
