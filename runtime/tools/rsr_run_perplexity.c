/* rsr_run_perplexity.c - rsr-run --perplexity: how well the model predicts a text.
 *
 * The whole file is tokenised without special tokens and cut into groups of context - 1 tokens.
 * Each group is scored separately, after the beginning-of-text token, in an empty cache. Every
 * token of the text counts once; the beginning-of-text token is never predicted.
 */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rsr_run.h"

#define CHUNK_TOKENS 64u /* at a time */

struct scoring {
    struct run_session *session;
    uint32_t *tokens;
    size_t n_tokens, n_bytes, n_windows;
    double nats; /* of all tokens scored */
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

/* Positions [from, to) of a window: position i holds group[i - 1], or BOS, and predicts
 * group[i]. */
static bool score_chunk(struct scoring *s, const uint32_t *group, uint32_t from, uint32_t to) {
    rsr_batch_entry entries[CHUNK_TOKENS];
    rsr_logprobs asked[CHUNK_TOKENS];
    rsr_logprob results[CHUNK_TOKENS];
    for (uint32_t i = from; i < to; i++) {
        entries[i - from] =
            (rsr_batch_entry){.sequence = s->session->sequence,
                              .position = i,
                              .token = i == 0 ? s->session->info.bos_token : group[i - 1]};
        asked[i - from] =
            (rsr_logprobs){.entry = i - from, .token = group[i], .results = &results[i - from]};
    }
    rsr_batch batch = RSR_BATCH_INIT;
    batch.entries = entries;
    batch.logprobs = asked;
    batch.n_entries = batch.n_logprobs = to - from;
    rsr_error err = RSR_ERROR_INIT;
    if (rsr_eval(s->session->engine, &batch, &err) != RSR_OK) {
        run_fail("%s", err.message);
        return false;
    }
    for (uint32_t i = 0; i < to - from; i++) {
        if (!isfinite(results[i].logprob)) {
            run_fail("the logit of token %" PRIu32 " is minus infinity", results[i].token);
            return false;
        }
        s->nats -= results[i].logprob;
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
    /* It may be infinite even if the nats are finite, and JSON has no infinity. */
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
        return run_fail("%s has no beginning-of-text token, after which windows are scored",
                        session->options->model);
    int code = 1;
    if (tokenize(&s) && score(&s) && !run_interrupted())
        code = print_result(&s);
    free(s.tokens);
    return code;
}
