/* sample.c - greedy choice, filters and exact sampling.
 *
 * Order, as in Hugging Face generate: repetition penalty, temperature, top-k, top-p, min-p. Then
 * Gumbel-max: the token whose logit plus Gumbel noise is largest is a draw from the softmax of what
 * is left. The noise of a token is a hash of (seed, sequence, position, token), so a draw does not
 * depend on batch, threads or what was drawn before. All sums are taken in one documented order, in
 * double.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sample.h"

/* Larger logit first, then lower id: a total order. */
static bool comes_before(const struct rsr_candidate *a, const struct rsr_candidate *b) {
    return a->logit != b->logit ? a->logit > b->logit : a->token < b->token;
}

rsr_status rsr_check_sampling(const rsr_sampling *s, rsr_error *err) {
    if (!(s->temperature >= 0) || !isfinite(s->temperature))
        return rsr_fail(err, RSR_ERR_ARGUMENT, "temperature %g is not 0 or more",
                        (double)s->temperature);
    if (!(s->top_p > 0 && s->top_p <= 1))
        return rsr_fail(err, RSR_ERR_ARGUMENT, "top_p %g is not in (0, 1]", (double)s->top_p);
    if (!(s->min_p >= 0 && s->min_p <= 1))
        return rsr_fail(err, RSR_ERR_ARGUMENT, "min_p %g is not in [0, 1]", (double)s->min_p);
    if (!(s->repeat_penalty > 0) || !isfinite(s->repeat_penalty))
        return rsr_fail(err, RSR_ERR_ARGUMENT, "repeat_penalty %g is not above 0",
                        (double)s->repeat_penalty);
    return RSR_OK;
}

/* -infinity is a token that the caller ruled out. */
static rsr_status check_logits(const float *logits, uint32_t vocab, rsr_error *err) {
    bool any = false;
    for (uint32_t i = 0; i < vocab; i++) {
        if (isnan(logits[i]) || logits[i] == INFINITY)
            return rsr_fail(err, RSR_ERR_NUMERIC, "the logit of token %u is %s", i,
                            isnan(logits[i]) ? "not a number" : "infinite");
        any = any || logits[i] != -INFINITY;
    }
    return any ? RSR_OK : rsr_fail(err, RSR_ERR_NUMERIC, "every logit is minus infinity");
}

/* Positive logits are divided and negative ones multiplied; a token that occurs twice counts
 * once. */
static rsr_status penalize(float *out, const float *logits, uint32_t vocab, const rsr_sampling *s,
                           const uint32_t *history, size_t n_history, rsr_error *err) {
    size_t n = n_history < s->repeat_window ? n_history : s->repeat_window;
    for (size_t i = n_history - n; i < n_history; i++) {
        uint32_t token = history[i];
        if (token >= vocab)
            return rsr_fail(err, RSR_ERR_ARGUMENT, "token %u is outside the vocabulary of %u",
                            token, vocab);
        out[token] = rsr_penalized(logits[token], s);
    }
    return RSR_OK;
}

static uint32_t greedy(const float *logits, uint32_t vocab) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < vocab; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

/* ---- Filters --------------------------------------------------------------------------------- */

static void sift_down(struct rsr_candidate *heap, size_t n, size_t i) {
    struct rsr_candidate moved = heap[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && comes_before(&heap[child + 1], &heap[child]))
            child++;
        if (!comes_before(&heap[child], &moved))
            break;
        heap[i] = heap[child];
    }
    heap[i] = moved;
}

/* The candidates as a heap from which the best come out one after another: sorting all of a
 * vocabulary to keep a few of it would cost more than the rest of the sampler. */
struct best_first {
    struct rsr_candidate *heap;
    size_t n;
};

static struct rsr_candidate take_best(struct best_first *queue) {
    struct rsr_candidate best = queue->heap[0];
    queue->heap[0] = queue->heap[--queue->n];
    if (queue->n > 0)
        sift_down(queue->heap, queue->n, 0);
    return best;
}

/* Keeps what top-k, top-p and min-p leave, best first, and returns how many. Ties at the k-th place
 * stay. Top-p keeps a token while those before it hold less than top_p of the total. */
static size_t filter(struct rsr_candidate *candidates, size_t n, const rsr_sampling *s,
                     struct rsr_candidate *kept) {
    struct best_first queue = {candidates, n};
    for (size_t i = n / 2; i-- > 0;)
        sift_down(candidates, n, i);
    double top = candidates[0].logit, total = 0;
    size_t n_kept = 0;
    if (s->top_k > 0) {
        while (queue.n > 0 && (n_kept < s->top_k || queue.heap[0].logit == kept[n_kept - 1].logit))
            kept[n_kept++] = take_best(&queue);
        memcpy(candidates, kept, n_kept * sizeof(*kept)); /* sorted, hence a heap */
        queue.n = n_kept;
    }
    if (s->top_p < 1)
        for (size_t i = 0; i < queue.n; i++)
            total += rsr_exp_negative(queue.heap[i].logit - top);
    double mass = 0;
    for (n_kept = 0; queue.n > 0; n_kept++) {
        double weight = rsr_exp_negative(queue.heap[0].logit - top);
        if (n_kept > 0 &&
            (weight < (double)s->min_p || (s->top_p < 1 && mass >= (double)s->top_p * total)))
            break;
        mass += weight;
        kept[n_kept] = take_best(&queue);
    }
    return n_kept;
}

/* ---- The draw -------------------------------------------------------------------------------- */

static uint32_t draw(const struct rsr_candidate *candidates, size_t n, const rsr_sampling *s,
                     uint64_t position) {
    const uint64_t key = rsr_noise_key(s->seed, s->sequence_id, position);
    struct rsr_candidate best = {-INFINITY, UINT32_MAX};
    for (size_t i = 0; i < n; i++) {
        struct rsr_candidate noisy = {candidates[i].logit + rsr_gumbel(key, candidates[i].token),
                                      candidates[i].token};
        if (comes_before(&noisy, &best))
            best = noisy;
    }
    return best.token;
}

uint32_t rsr_sample_from(struct rsr_candidate *candidates, size_t n, struct rsr_candidate *kept,
                         const rsr_sampling *s, uint64_t position) {
    const bool filters = s->top_k > 0 || s->top_p < 1 || s->min_p > 0;
    const size_t n_kept = filters ? filter(candidates, n, s, kept) : n;
    return draw(filters ? kept : candidates, n_kept, s, position);
}

static rsr_status sample_candidates(const float *logits, uint32_t vocab, const rsr_sampling *s,
                                    uint64_t position, uint32_t *token, rsr_error *err) {
    struct rsr_candidate *candidates = calloc(2 * (size_t)vocab, sizeof(*candidates));
    if (!candidates)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory to sample from %u tokens", vocab);
    size_t n = 0;
    for (uint32_t i = 0; i < vocab; i++)
        if (logits[i] != -INFINITY)
            candidates[n++] = (struct rsr_candidate){(double)logits[i] / (double)s->temperature, i};
    *token = rsr_sample_from(candidates, n, candidates + vocab, s, position);
    free(candidates);
    return RSR_OK;
}

rsr_status rsr_sample_token(uint32_t vocab, const rsr_sampling *s, const float *logits,
                            const uint32_t *history, size_t n_history, uint32_t *token,
                            rsr_error *err) {
    rsr_status status = rsr_check_sampling(s, err);
    if (status == RSR_OK)
        status = check_logits(logits, vocab, err);
    if (status != RSR_OK)
        return status;
    float *penalized = NULL;
    if (s->repeat_penalty != 1 && s->repeat_window > 0 && n_history > 0) {
        penalized = malloc(vocab * sizeof(*penalized));
        if (!penalized)
            return rsr_fail(err, RSR_ERR_MEMORY, "no memory to sample from %u tokens", vocab);
        memcpy(penalized, logits, vocab * sizeof(*penalized));
        status = penalize(penalized, logits, vocab, s, history, n_history, err);
        logits = penalized;
    }
    if (status == RSR_OK && s->temperature > 0)
        status = sample_candidates(logits, vocab, s, n_history, token, err);
    else if (status == RSR_OK)
        *token = greedy(logits, vocab);
    free(penalized);
    return status;
}

rsr_status rsr_api_sample(const rsr_model *model, const rsr_sampling *sampling, const float *logits,
                          const uint32_t *history, size_t n_history, uint32_t *token,
                          rsr_error *err) {
    if (!logits || !token || (!history && n_history > 0))
        return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_sample: a parameter is NULL");
    rsr_sampling options = RSR_SAMPLING_INIT;
    rsr_status status = rsr_check_owner(model->owner_pid, err);
    if (status == RSR_OK)
        status = rsr_read_options(&options, sizeof(options), sampling, err);
    if (status != RSR_OK)
        return status;
    return rsr_sample_token(model->module->hyper.vocab, &options, logits, history, n_history, token,
                            err);
}
