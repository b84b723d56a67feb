/* rsr_run_perplexity.c - rsr-run --perplexity: how well the model predicts a text.
 *
 * The whole file is tokenised without special tokens and cut into groups of context - 1 tokens.
 * Each group is scored alone, behind the beginning-of-text token, in an empty cache; every token of
 * the text counts once and the beginning-of-text token is never predicted.
 */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rsr_run.h"

#define CHUNK_TOKENS 64u /* logits are kept for so many positions at a time */

struct scoring {
    struct run_session *session;
    uint32_t *tokens;
    size_t n_tokens, n_bytes, n_windows;
    float *logits; /* [CHUNK_TOKENS][vocab] */
    double nats;   /* of all tokens scored */
};

static bool tokenize(struct scoring *s) {
    struct run_text text = {0};
    rsr_error err = RSR_ERROR_INIT;
    const rsr_model *model = s->session->model;
    if (!run_read_file(s->session->options->text_file, RUN_MAX_TEXT_BYTES, &text))
        return false;
    size_t n = 0;
    rsr_status status = rsr_tokenize(model, text.data, text.size, 0, NULL, 0, &n, &err);
    if (status == RSR_ERR_FULL) {
        s->tokens = run_alloc(n, sizeof(*s->tokens));
        status = rsr_tokenize(model, text.data, text.size, 0, s->tokens, n, &s->n_tokens, &err);
    }
    s->n_bytes = text.size;
    free(text.data);
    if (status != RSR_OK)
        run_fail("%s", err.message);
    else if (s->n_tokens == 0)
        run_fail("%s is empty", s->session->options->text_file);
    return status == RSR_OK && s->n_tokens > 0;
}

/* -log p(token), the softmax in double. */
static double negative_log_likelihood(const float *logits, uint32_t vocab, uint32_t token) {
    double largest = -INFINITY, total = 0;
    for (uint32_t i = 0; i < vocab; i++)
        largest = fmax(largest, (double)logits[i]);
    for (uint32_t i = 0; i < vocab; i++)
        total += exp((double)logits[i] - largest);
    return log(total) + largest - (double)logits[token];
}

/* Positions [from, to) of a window: position i holds group[i - 1], or BOS, and predicts
 * group[i]. */
static bool score_chunk(struct scoring *s, const uint32_t *group, uint32_t from, uint32_t to) {
    rsr_batch_entry entries[CHUNK_TOKENS];
    uint32_t vocab = s->session->info.vocab;
    for (uint32_t i = from; i < to; i++)
        entries[i - from] =
            (rsr_batch_entry){.sequence = s->session->sequence,
                              .position = i,
                              .token = i == 0 ? s->session->info.bos_token : group[i - 1],
                              .want_logits = true};
    rsr_batch batch = RSR_BATCH_INIT;
    batch.entries = entries;
    batch.n_entries = to - from;
    batch.logits = s->logits;
    batch.logits_capacity = (size_t)CHUNK_TOKENS * vocab;
    rsr_error err = RSR_ERROR_INIT;
    if (rsr_eval(s->session->engine, &batch, &err) != RSR_OK) {
        run_fail("%s", err.message);
        return false;
    }
    for (uint32_t i = from; i < to; i++) {
        if (group[i] >= vocab) {
            run_fail("token %u of the text is outside the model's vocabulary", group[i]);
            return false;
        }
        const float *logits = s->logits + (size_t)(i - from) * vocab;
        const double nats = negative_log_likelihood(logits, vocab, group[i]);
        if (!isfinite(nats)) {
            run_fail("the logits of token %" PRIu32 " are not finite", group[i]);
            return false;
        }
        s->nats += nats;
    }
    return true;
}

static bool score_window(struct scoring *s, const uint32_t *group, uint32_t n) {
    rsr_error err = RSR_ERROR_INIT;
    if (rsr_sequence_truncate(s->session->sequence, 0, &err) != RSR_OK) {
        run_fail("%s", err.message);
        return false;
    }
    s->n_windows++;
    for (uint32_t from = 0; from < n && !run_interrupted(); from += CHUNK_TOKENS)
        if (!score_chunk(s, group, from, n - from < CHUNK_TOKENS ? n : from + CHUNK_TOKENS))
            return false;
    return true;
}

static bool score(struct scoring *s) {
    uint32_t group = s->session->engine_info.context - 1;
    for (size_t at = 0; at < s->n_tokens && !run_interrupted(); at += group) {
        size_t n = s->n_tokens - at < group ? s->n_tokens - at : group;
        if (!score_window(s, s->tokens + at, (uint32_t)n))
            return false;
    }
    return true;
}

static int print_result(const struct scoring *s) {
    double per_token = s->nats / (double)s->n_tokens;
    double bits = s->nats / log(2) / (double)s->n_bytes;
    uint32_t context = s->session->engine_info.context;
    if (!s->session->options->json) {
        printf("tokens        %zu\nbytes         %zu\nwindows       %zu of %u tokens\n"
               "nats/token    %.6f\nperplexity    %.4f\nbits/byte     %.6f\n",
               s->n_tokens, s->n_bytes, s->n_windows, context, per_token, exp(per_token), bits);
        return 0;
    }
    /* Of finite nats it may still be infinite, which JSON cannot hold. */
    json_t *perplexity = isfinite(exp(per_token)) ? json_real(exp(per_token)) : json_null();
    json_t *root = json_pack(
        "{s:I, s:I, s:I, s:I, s:f, s:o, s:f}", "tokens", (json_int_t)s->n_tokens, "bytes",
        (json_int_t)s->n_bytes, "windows", (json_int_t)s->n_windows, "context", (json_int_t)context,
        "nats_per_token", per_token, "perplexity", perplexity, "bits_per_byte", bits);
    return run_put_json(root, JSON_REAL_PRECISION(10));
}

int run_perplexity(struct run_session *session) {
    struct scoring s = {.session = session};
    if (session->info.bos_token == UINT32_MAX)
        return run_fail("%s has no beginning-of-text token, behind which windows are scored",
                        session->options->model);
    s.logits = run_alloc((size_t)CHUNK_TOKENS * session->info.vocab, sizeof(*s.logits));
    int code = 1;
    if (tokenize(&s) && score(&s) && !run_interrupted())
        code = print_result(&s);
    free(s.tokens);
    free(s.logits);
    return code;
}
