/* sample.h - choosing the next token from logits. */
#ifndef RSR_SAMPLE_H
#define RSR_SAMPLE_H

#include "runtime.h"

/* rsr_sample with checked arguments. */
RSR_NODISCARD rsr_status rsr_sample_token(uint32_t vocab, const rsr_sampling *sampling,
                                          const float *logits, const uint32_t *history,
                                          size_t n_history, uint32_t *token, rsr_error *err);

/* Whether the options are in range. */
RSR_NODISCARD rsr_status rsr_check_sampling(const rsr_sampling *sampling, uint32_t vocab,
                                            rsr_error *err);
/* Number of tokens that may be picked. */
uint32_t rsr_count_allowed(const rsr_sampling *sampling, uint32_t vocab);
/* Whether the logit of a token is a number or -infinity, which rules the token out. */
RSR_NODISCARD rsr_status rsr_check_logit(uint32_t token, float logit, rsr_error *err);
/* Fails because no token is left. */
rsr_status rsr_fail_ruled_out(rsr_error *err);

/* A token that may be drawn. */
struct rsr_candidate {
    double logit; /* divided by the temperature */
    uint32_t token;
};

/* Larger logit first, then lower id: a total order. */
static inline bool rsr_comes_before(const struct rsr_candidate *a, const struct rsr_candidate *b) {
    return a->logit != b->logit ? a->logit > b->logit : a->token < b->token;
}

/* Whether the options draw from some of the tokens alone. */
static inline bool rsr_has_filters(const rsr_sampling *sampling) {
    return sampling->top_k > 0 || sampling->top_p < 1 || sampling->min_p > 0;
}

/* Filters and draws, temperature > 0, n > 0. Candidates are changed; kept has room for n. */
uint32_t rsr_sample_from(struct rsr_candidate *candidates, size_t n, struct rsr_candidate *kept,
                         const rsr_sampling *sampling, uint64_t position);

/* Natural logarithm and exponential, computed in one fixed order, so that every host gets the same
 * bits; within 2 ulp of the true value. rsr_log: x > 0 and finite. rsr_exp_negative: x <= 0; 0
 * below -708. */
double rsr_log(double x);
double rsr_exp_negative(double x);

/* Uniform noise in (0, 1), equal on all hosts: the key stands for the position, the other argument
 * is the token. */
uint64_t rsr_noise_key(uint64_t seed, uint64_t sequence_id, uint64_t position);
double rsr_noise(uint64_t key, uint32_t token);

/* The Gumbel noise that a draw adds to a candidate's logit. */
double rsr_gumbel(uint64_t key, uint32_t token);
/* An upper bound of rsr_gumbel, without logarithms. */
double rsr_gumbel_bound(uint64_t key, uint32_t token);

#endif
