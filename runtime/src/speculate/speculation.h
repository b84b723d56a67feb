/* speculation.h - the drafts of a text that is being generated, and their gate. */
#ifndef RSR_SPECULATION_H
#define RSR_SPECULATION_H

#include "drafts.h"
#include "gate.h"

struct rsr_speculation {
    struct rsr_drafts drafts;
    struct rsr_gate gate;
};

/* Begins a text with these tokens: at most `most` drafts per step, at most `most_tokens` tokens. */
RSR_NODISCARD rsr_status rsr_speculation_begin(struct rsr_speculation *speculation, uint32_t most,
                                               const uint32_t *tokens, uint32_t n_tokens,
                                               uint32_t most_tokens, rsr_error *err);
void rsr_speculation_end(struct rsr_speculation *speculation); /* zeros are fine */

/* Appends a token to the text. */
void rsr_speculation_push(struct rsr_speculation *speculation, uint32_t token);
/* Makes drafts for the next step, at most `most`. Returns their number. */
uint32_t rsr_speculation_draft(const struct rsr_speculation *speculation, uint32_t most,
                               uint32_t drafts[RSR_MAX_DRAFTS]);
/* Takes the time of a step with n_drafts drafts that gave n_tokens tokens. */
void rsr_speculation_took(struct rsr_speculation *speculation, uint32_t n_drafts, uint32_t n_tokens,
                          uint64_t ns);

#endif
