/* logprobs.h - log-probabilities from logits, in the float order that rsr.h documents. */
#ifndef RSR_LOGPROBS_H
#define RSR_LOGPROBS_H

#include "runtime.h"

/* Writes the log-probability of the token and those of the n_top <= vocab likeliest tokens to
 * results[1 + n_top]. */
RSR_NODISCARD rsr_status rsr_find_logprobs(const struct rsr_ops *ops, const float *logits,
                                           uint32_t vocab, uint32_t token, uint32_t n_top,
                                           rsr_logprob *results, rsr_error *err);

#endif
