/* logprobs.c - the softmax's normaliser in one float order, and the likeliest tokens. */
#include <math.h>

#include "logprobs.h"
#include "ops/ops.h"
#include "sample.h"

#define LANES 16u
#define PART 1024u /* tokens at a time, on the stack; a multiple of LANES */

/* The sum of e^(logit - largest). */
static double sum_weights(const struct rsr_ops *ops, const float *logits, uint32_t vocab,
                          float largest) {
    double sums[LANES] = {0};
    float w[PART];
    for (uint32_t first = 0; first < vocab; first += PART) {
        const uint32_t n = vocab - first < PART ? vocab - first : PART;
        for (uint32_t i = 0; i < PART; i++)
            w[i] = i < n ? logits[first + i] - largest : -INFINITY;
        ops->exp(w, w, PART);
        for (uint32_t i = 0; i < PART; i += LANES)
            for (uint32_t j = 0; j < LANES; j++)
                sums[j] += (double)w[i + j];
    }
    for (uint32_t half = LANES / 2; half > 0; half /= 2)
        for (uint32_t j = 0; j < half; j++)
            sums[j] += sums[j + half];
    return sums[0];
}

static uint32_t rank_of(const float *logits, uint32_t vocab, uint32_t token) {
    uint32_t rank = 0;
    for (uint32_t i = 0; i < vocab; i++)
        rank += logits[i] > logits[token] || (logits[i] == logits[token] && i < token);
    return rank;
}

/* Finds the n likeliest tokens, in order. */
static void find_top(const float *logits, uint32_t vocab, rsr_logprob *top, uint32_t n) {
    uint32_t n_found = 0;
    for (uint32_t i = 0; i < vocab; i++) {
        if (n_found == n && !(n > 0 && logits[i] > logits[top[n - 1].token]))
            continue;
        uint32_t at = n_found < n ? n_found++ : n - 1;
        for (; at > 0 && logits[i] > logits[top[at - 1].token]; at--)
            top[at].token = top[at - 1].token;
        top[at].token = i;
    }
    for (uint32_t i = 0; i < n; i++)
        top[i].rank = i;
}

rsr_status rsr_find_logprobs(const struct rsr_ops *ops, const float *logits, uint32_t vocab,
                             uint32_t token, uint32_t n_top, rsr_logprob *results, rsr_error *err) {
    rsr_status status = RSR_OK;
    float largest = -INFINITY;
    for (uint32_t i = 0; i < vocab && status == RSR_OK; i++) {
        status = rsr_check_logit(i, logits[i], err);
        largest = logits[i] > largest ? logits[i] : largest;
    }
    if (status != RSR_OK)
        return status;
    if (largest == -INFINITY)
        return rsr_fail_ruled_out(err);
    const double log_sum = rsr_log(sum_weights(ops, logits, vocab, largest));
    find_top(logits, vocab, results + 1, n_top);
    results[0].token = token;
    results[0].rank = rank_of(logits, vocab, token);
    for (uint32_t i = 0; i <= n_top; i++)
        results[i].logprob = (double)logits[results[i].token] - (double)largest - log_sum;
    return RSR_OK;
}
