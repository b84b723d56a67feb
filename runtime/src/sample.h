/* sample.h - choosing the next token from logits. */
#ifndef RSR_SAMPLE_H
#define RSR_SAMPLE_H

#include "runtime.h"

/* rsr_sample for a token at `position` of which only the last n_history tokens before it are known. */
RSR_NODISCARD rsr_status rsr_sample_at(uint32_t vocab, const rsr_sampling *sampling,
                                       const float *logits, const uint32_t *history,
                                       size_t n_history, uint64_t position, uint32_t *token,
                                       rsr_error *err);

/* Natural logarithm and exponential from additions and multiplications in one fixed order, so that
 * every host computes the same bits; within 2 ulp of the true value. x > 0 and finite for the first,
 * x <= 0 for the second, which is 0 below -708. */
double rsr_log(double x);
double rsr_exp_negative(double x);

/* A uniform number in (0, 1), the same for the same arguments everywhere. */
double rsr_noise(uint64_t seed, uint64_t sequence_id, uint64_t position, uint32_t token);

#endif
