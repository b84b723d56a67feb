/* sample.c - greedy choice, filters and exact sampling.
 *
 * rsr_sampling in rsr.h states the order in which options apply; edits.h has those before the
 * temperature. From the tokens that the filters leave, one is drawn by Gumbel-max: the token whose
 * logit plus Gumbel noise is largest is a draw from the softmax. The noise of a token is a hash of
 * (seed, sequence, position, token), so a draw does not depend on batch, threads or what was drawn
 * before. All sums are taken in one documented order, in double.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "edits.h"
#include "sample.h"

/* ---- Checks ---------------------------------------------------------------------------------- */

#define LARGEST_CHANGE 1e6f /* of a logit by a bias or a penalty; with it no sum overflows */

static rsr_status check_penalty(const char *name, float penalty, rsr_error *err) {
    if (fabsf(penalty) <= LARGEST_CHANGE)
        return RSR_OK;
    return rsr_fail(err, RSR_ERR_ARGUMENT, "%s %g is not between -1e6 and 1e6", name,
                    (double)penalty);
}

static rsr_status check_biases(const rsr_sampling *s, uint32_t vocab, rsr_error *err) {
    if (s->n_logit_bias > 0 && s->logit_bias == NULL)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "logit_bias is NULL, but n_logit_bias is %zu",
                        s->n_logit_bias);
    for (size_t i = 0; i < s->n_logit_bias; i++) {
        const rsr_logit_bias *b = &s->logit_bias[i];
        if (b->token >= vocab)
            return rsr_fail(err, RSR_ERR_ARGUMENT,
                            "logit_bias: token %u is outside the vocabulary of %u", b->token,
                            vocab);
        if (!(fabsf(b->bias) <= LARGEST_CHANGE) && b->bias != -INFINITY)
            return rsr_fail(err, RSR_ERR_ARGUMENT,
                            "logit_bias: %g of token %u is neither between -1e6 and 1e6 nor "
                            "-infinity",
                            (double)b->bias, b->token);
    }
    return RSR_OK;
}

/* By shifts: the builtin may call libgcc, and modules must not need another library. */
static uint32_t count_bits(uint32_t word) {
    word -= word >> 1 & 0x55555555u;
    word = (word & 0x33333333u) + (word >> 2 & 0x33333333u);
    return ((word + (word >> 4)) & 0x0f0f0f0fu) * 0x01010101u >> 24;
}

uint32_t rsr_count_allowed(const rsr_sampling *s, uint32_t vocab) {
    if (s->allowed == NULL)
        return vocab;
    uint32_t n = 0;
    for (uint32_t i = 0; i < vocab / 32; i++)
        n += count_bits(s->allowed[i]);
    if (vocab % 32 != 0)
        n += count_bits(s->allowed[vocab / 32] << (32 - vocab % 32));
    return n;
}

static rsr_status check_allowed(const rsr_sampling *s, uint32_t vocab, rsr_error *err) {
    const uint32_t n_words = s->allowed != NULL ? (vocab + 31) / 32 : 0;
    if (s->allowed_words != n_words)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "allowed_words is %u; it is %u %s", s->allowed_words,
                        n_words,
                        s->allowed != NULL ? "with this vocabulary" : "where allowed is NULL");
    if (rsr_count_allowed(s, vocab) == 0)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "allowed has no token");
    return RSR_OK;
}

rsr_status rsr_check_sampling(const rsr_sampling *s, uint32_t vocab, rsr_error *err) {
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
    rsr_status status = check_penalty("presence_penalty", s->presence_penalty, err);
    if (status == RSR_OK)
        status = check_penalty("frequency_penalty", s->frequency_penalty, err);
    if (status == RSR_OK)
        status = check_biases(s, vocab, err);
    return status == RSR_OK ? check_allowed(s, vocab, err) : status;
}

rsr_status rsr_check_logit(uint32_t token, float logit, rsr_error *err) {
    if (!isnan(logit) && logit != INFINITY)
        return RSR_OK;
    return rsr_fail(err, RSR_ERR_NUMERIC, "the logit of token %u is %s", token,
                    isnan(logit) ? "not a number" : "infinite");
}

static rsr_status check_logits(const float *logits, uint32_t vocab, rsr_error *err) {
    rsr_status status = RSR_OK;
    for (uint32_t i = 0; i < vocab && status == RSR_OK; i++)
        status = rsr_check_logit(i, logits[i], err);
    return status;
}

rsr_status rsr_fail_ruled_out(rsr_error *err) {
    return rsr_fail(err, RSR_ERR_NUMERIC,
                    "every token is ruled out: each logit is minus infinity, or becomes it");
}

/* ---- Greedy ---------------------------------------------------------------------------------- */

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
        if (child + 1 < n && rsr_comes_before(&heap[child + 1], &heap[child]))
            child++;
        if (!rsr_comes_before(&heap[child], &moved))
            break;
        heap[i] = heap[child];
    }
    heap[i] = moved;
}

/* The candidates as a heap that gives the best ones in order. Sorting a whole vocabulary to keep a
 * few tokens would take longer than the rest of the sampler. */
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

/* Keeps the tokens that top_k, top_p and min_p leave, best first, and returns how many. Tokens that
 * tie with the k-th stay. top_p keeps a token if those before it hold less than top_p of the
 * total. */
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
        if (rsr_comes_before(&noisy, &best))
            best = noisy;
    }
    return best.token;
}

uint32_t rsr_sample_from(struct rsr_candidate *candidates, size_t n, struct rsr_candidate *kept,
                         const rsr_sampling *s, uint64_t position) {
    const bool filters = rsr_has_filters(s);
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
    if (n > 0)
        *token = rsr_sample_from(candidates, n, candidates + vocab, s, position);
    free(candidates);
    return n > 0 ? RSR_OK : rsr_fail_ruled_out(err);
}

/* ---- All logits ------------------------------------------------------------------------------ */

static rsr_status choose(const float *logits, uint32_t vocab, const rsr_sampling *s,
                         size_t n_history, uint32_t *token, rsr_error *err) {
    if (s->temperature > 0)
        return sample_candidates(logits, vocab, s, n_history, token, err);
    const uint32_t best = greedy(logits, vocab);
    if (logits[best] == -INFINITY)
        return rsr_fail_ruled_out(err);
    *token = best;
    return RSR_OK;
}

static void edit_logits(const struct rsr_edits *edits, uint32_t vocab, const float *logits,
                        float *edited) {
    const rsr_sampling *s = edits->sampling;
    memcpy(edited, logits, vocab * sizeof(*edited));
    for (uint32_t i = 0; i < rsr_edits_places(edits); i++) {
        const struct rsr_edit *edit = &edits->places[i];
        if (edit->token != RSR_NO_EDIT)
            edited[edit->token] = rsr_edited(edit, s, logits[edit->token]);
    }
    for (uint32_t i = 0; i < vocab; i++)
        if (!rsr_is_allowed(s->allowed, i))
            edited[i] = -INFINITY;
}

/* Chooses from the logits after the edits. */
static rsr_status choose_edited(const struct rsr_edits *edits, const float *logits, uint32_t vocab,
                                size_t n_history, uint32_t *token, rsr_error *err) {
    if (edits->bits == 0 && edits->sampling->allowed == NULL)
        return choose(logits, vocab, edits->sampling, n_history, token, err);
    float *edited = malloc(vocab * sizeof(*edited));
    if (!edited)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory to sample from %u tokens", vocab);
    edit_logits(edits, vocab, logits, edited);
    const rsr_status status = choose(edited, vocab, edits->sampling, n_history, token, err);
    free(edited);
    return status;
}

rsr_status rsr_sample_token(uint32_t vocab, const rsr_sampling *s, const float *logits,
                            const uint32_t *history, size_t n_history, uint32_t *token,
                            rsr_error *err) {
    struct rsr_edits edits = {0};
    rsr_status status = rsr_check_sampling(s, vocab, err);
    if (status == RSR_OK)
        status = check_logits(logits, vocab, err);
    if (status == RSR_OK)
        status = rsr_edits_set(&edits, vocab, s, history, n_history, err);
    if (status == RSR_OK)
        status = choose_edited(&edits, logits, vocab, n_history, token, err);
    rsr_edits_free(&edits);
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
