/* generate.c - prompt in, text out: one prefill, then one evaluation a token.
 *
 * Text reaches the callback as complete characters: what later tokens may still change is held
 * back, so that all pieces together are what the tokens add to rsr_detokenize of the sequence
 * before them.
 */
#include <stdlib.h>
#include <string.h>

#include "sample/logprobs.h"
#include "sample/sample.h"
#include "stop_strings.h"
#include "tokenizer/detokenize.h"
#include "tokenizer/text.h"

struct generation {
    rsr_engine *engine;
    rsr_sequence *sequence;
    const rsr_model *model;
    rsr_generate_options options;
    rsr_sampling sampling;
    rsr_generate_fn *callback;
    void *user;
    uint32_t context;
    uint32_t next;                      /* the token behind what is evaluated */
    struct rsr_text_stream detokenizer; /* of a model with a tokenizer */
    struct rsr_stop_strings stop;
    struct rsr_bytes text; /* for the callback */
    float *logits; /* where the caller sees them: as it leaves them, and before [2][vocab] */
    rsr_logprob
        *logprobs; /* where they are wanted: of the next token, then of prompt tokens but for the
                              first, n_logprobs each */
    uint32_t n_logprobs;
    rsr_generate_result result;
};

static rsr_status no_memory(rsr_error *err) {
    return rsr_fail(err, RSR_ERR_MEMORY, "no memory to generate text");
}

/* ---- Prompt ---------------------------------------------------------------------------------- */

/* Log-probabilities of tokens[1..n), or none, and of the next token. */
static void ask_logprobs(struct generation *g, const uint32_t *tokens, size_t n, bool of_prompt,
                         rsr_logprobs *asked, rsr_batch *batch) {
    batch->logprobs = asked;
    for (size_t i = 0; of_prompt && i + 1 < n; i++)
        asked[batch->n_logprobs++] = (rsr_logprobs){i, tokens[i + 1], g->n_logprobs - 1,
                                                    g->logprobs + (i + 1) * g->n_logprobs};
    if (g->logits == NULL)
        asked[batch->n_logprobs++] =
            (rsr_logprobs){n - 1, UINT32_MAX, g->n_logprobs - 1, g->logprobs};
}

/* Picks from logits that the caller may change. */
static rsr_status pick_from_logits(struct generation *g, rsr_error *err) {
    const uint32_t vocab = g->model->module->hyper.vocab;
    const uint32_t *history = rsr_api_sequence_tokens(g->sequence);
    const uint32_t n = rsr_api_sequence_length(g->sequence);
    memcpy(g->logits + vocab, g->logits, vocab * sizeof(*g->logits));
    if (!g->options.logits(g->options.logits_user, history, n, g->logits, vocab))
        return RSR_ERR_STOPPED;
    const rsr_status status =
        rsr_sample_token(vocab, &g->sampling, g->logits, history, n, &g->next, err);
    if (status != RSR_OK || g->logprobs == NULL)
        return status;
    return rsr_find_logprobs(g->model->ops, g->logits + vocab, vocab, g->next, g->n_logprobs - 1,
                             g->logprobs, err);
}

/* Evaluates the entries of tokens that are appended, and picks the next one. */
static rsr_status evaluate_entries(struct generation *g, rsr_batch_entry *entries, size_t n,
                                   rsr_batch *batch, rsr_error *err) {
    const rsr_pick pick = {.entry = n - 1, .sampling = &g->sampling};
    batch->entries = entries;
    batch->n_entries = n;
    batch->cancel = g->options.cancel;
    batch->progress = g->options.progress;
    batch->progress_user = g->options.progress_user;
    if (g->logits != NULL) {
        entries[n - 1].want_logits = true;
        batch->logits = g->logits;
        batch->logits_capacity = g->model->module->hyper.vocab;
    } else {
        batch->picks = &pick;
        batch->n_picks = 1;
        batch->picked = &g->next;
    }
    rsr_error failure = RSR_ERROR_INIT;
    rsr_status status = rsr_api_eval(g->engine, batch, &failure);
    if (status == RSR_OK && g->logits != NULL)
        status = pick_from_logits(g, &failure);
    /* To be stopped is no failure of a generation, and leaves err alone. */
    return status == RSR_OK || status == RSR_ERR_STOPPED
               ? status
               : rsr_fail(err, status, "%s", failure.message);
}

/* Appends tokens to the sequence and picks the next one. */
static rsr_status evaluate(struct generation *g, const uint32_t *tokens, size_t n, bool of_prompt,
                           rsr_error *err) {
    const uint32_t length = rsr_api_sequence_length(g->sequence);
    if (n > g->context - length)
        return rsr_fail(err, RSR_ERR_FULL,
                        "the prompt has %zu tokens; a context of %u has room for %u", n, g->context,
                        g->context - length);
    rsr_batch_entry *entries = calloc(n, sizeof(*entries));
    rsr_logprobs *asked = calloc(of_prompt ? n : 1, sizeof(*asked));
    rsr_status status = entries && asked ? RSR_OK : no_memory(err);
    for (size_t i = 0; i < n && status == RSR_OK; i++)
        entries[i] = (rsr_batch_entry){
            .sequence = g->sequence, .position = length + (uint32_t)i, .token = tokens[i]};
    rsr_batch batch = RSR_BATCH_INIT;
    if (status == RSR_OK && g->logprobs != NULL)
        ask_logprobs(g, tokens, n, of_prompt, asked, &batch);
    if (status == RSR_OK)
        status = evaluate_entries(g, entries, n, &batch, err);
    free(asked);
    free(entries);
    return status;
}

/* Room for log-probabilities, and logits, of a prompt of n tokens. */
static rsr_status reserve_logits(struct generation *g, size_t n, rsr_error *err) {
    const size_t vocab = g->model->module->hyper.vocab;
    if (g->options.logprobs) {
        g->n_logprobs = 1 + g->options.n_top_logprobs;
        g->logprobs = calloc(g->options.prompt_token ? n : 1, g->n_logprobs * sizeof(rsr_logprob));
    }
    if (g->options.logits)
        g->logits = calloc(2 * vocab, sizeof(*g->logits));
    return (g->options.logprobs && !g->logprobs) || (g->options.logits && !g->logits)
               ? no_memory(err)
               : RSR_OK;
}

/* Tells the caller of the prompt's tokens. */
static rsr_status deliver_prompt(const struct generation *g, const uint32_t *tokens, size_t n) {
    for (size_t i = 0; i < n && g->options.prompt_token; i++) {
        const bool has_logprobs = g->logprobs != NULL && i > 0;
        const rsr_generated token = {
            .size_bytes = sizeof(token),
            .token = tokens[i],
            .text = "",
            .logprobs = has_logprobs ? g->logprobs + i * g->n_logprobs : NULL,
            .n_logprobs = has_logprobs ? g->n_logprobs : 0,
        };
        if (!g->options.prompt_token(g->user, &token))
            return RSR_ERR_STOPPED;
    }
    return RSR_OK;
}

static rsr_status prefill_tokens(struct generation *g, const uint32_t *tokens, size_t n,
                                 rsr_error *err) {
    if (n == 0)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "the prompt has no tokens to continue from");
    if (g->sampling.generated_from == 0)
        g->sampling.generated_from = rsr_api_sequence_length(g->sequence) + (uint32_t)n;
    rsr_status status = reserve_logits(g, n, err);
    uint64_t begin = rsr_now_ns();
    if (status == RSR_OK)
        status = evaluate(g, tokens, n, g->options.prompt_token != NULL, err);
    g->result.prefill_ns = rsr_now_ns() - begin;
    g->result.prompt_tokens = status == RSR_OK ? (uint32_t)n : 0;
    return status == RSR_OK ? deliver_prompt(g, tokens, n) : status;
}

static rsr_status prefill_text(struct generation *g, const char *prompt, size_t prompt_bytes,
                               rsr_error *err) {
    uint32_t flags = g->options.tokenize_flags;
    if (rsr_api_sequence_length(g->sequence) > 0)
        flags &= ~(uint32_t)RSR_TOKENIZE_ADD_SPECIAL;
    uint32_t *tokens = NULL;
    size_t n = 0;
    rsr_status status = rsr_tokenize_all(g->model, prompt, prompt_bytes, flags, &tokens, &n, err);
    if (status == RSR_OK)
        status = prefill_tokens(g, tokens, n, err);
    free(tokens);
    return status;
}

/* ---- Tokens ---------------------------------------------------------------------------------- */

static bool is_stop(const struct generation *g, uint32_t token) {
    if (g->options.ignore_stop)
        return false;
    const struct rsr_module *module = g->model->module;
    for (uint32_t i = 0; i < module->n_stop_tokens; i++)
        if (module->stop_tokens[i] == token)
            return true;
    for (uint32_t i = 0; i < g->options.n_stop_tokens; i++)
        if (g->options.stop_tokens[i] == token)
            return true;
    return false;
}

/* The text that is certain with this token, or all of it if it is the last one; up to a stop
 * string, if *found_stop. */
static rsr_status take_text(struct generation *g, uint32_t token, bool stop, bool last,
                            bool *found_stop, rsr_error *err) {
    rsr_status status = RSR_OK;
    g->text.size = 0;
    if (!g->model->text)
        return RSR_OK;
    if (!stop)
        status = rsr_text_stream_push(&g->detokenizer, token, &g->text, err);
    if (status == RSR_OK && last)
        status = rsr_text_stream_finish(&g->detokenizer, &g->text, err);
    if (status == RSR_OK)
        status = rsr_stop_strings_pass(&g->stop, &g->text, last, found_stop, err);
    return status;
}

/* Hands one token to the caller. False: the callback wants to stop. */
static bool deliver(struct generation *g, uint32_t token) {
    rsr_generated generated = {.size_bytes = sizeof(generated),
                               .token = token,
                               .text = g->text.data ? g->text.data : "",
                               .text_bytes = g->text.size,
                               .logprobs = g->logprobs,
                               .n_logprobs = g->n_logprobs};
    return !g->callback || g->callback(g->user, &generated);
}

/* Takes and delivers the token that was picked last; *goes_on: another one is to be picked, else
 * the result says why not. */
static rsr_status take_token(struct generation *g, bool *goes_on, rsr_error *err) {
    rsr_generate_result *r = &g->result;
    const uint32_t token = g->next;
    r->tokens++;
    const bool stop = is_stop(g, token), full = rsr_api_sequence_length(g->sequence) == g->context,
               last = stop || full || r->tokens == g->options.max_tokens;
    bool found_stop = false;
    const rsr_status status = take_text(g, token, stop, last, &found_stop, err);
    if (status != RSR_OK)
        return status;
    const bool wanted = deliver(g, token);
    r->stop_reason = stop         ? RSR_STOP_TOKEN
                     : found_stop ? RSR_STOP_STRING
                     : !wanted    ? RSR_STOP_CALLBACK
                     : full       ? RSR_STOP_CONTEXT
                                  : RSR_STOP_LENGTH;
    *goes_on = wanted && !last && !found_stop;
    return RSR_OK;
}

static rsr_status decode(struct generation *g, rsr_error *err) {
    rsr_generate_result *r = &g->result;
    uint64_t begin = rsr_now_ns();
    if (g->model->text) {
        rsr_status status =
            rsr_text_stream_continue(&g->detokenizer, rsr_api_sequence_tokens(g->sequence),
                                     rsr_api_sequence_length(g->sequence), err);
        if (status != RSR_OK)
            return status;
    }
    bool goes_on = true;
    rsr_status status = take_token(g, &goes_on, err);
    while (status == RSR_OK && goes_on) {
        const uint32_t token = g->next;
        status = evaluate(g, &token, 1, false, err);
        if (status == RSR_OK)
            status = take_token(g, &goes_on, err);
    }
    r->decode_ns = rsr_now_ns() - begin;
    return status;
}

/* ---- Entry ----------------------------------------------------------------------------------- */

static rsr_status check_stop_strings(const struct generation *g, rsr_error *err) {
    const uint32_t n = g->options.n_stop_strings;
    if (n > 0 && !g->options.stop_strings)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_generate: stop_strings is NULL");
    for (uint32_t i = 0; i < n; i++)
        if (!g->options.stop_strings[i] || g->options.stop_strings[i][0] == '\0')
            return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_generate: stop string %u is %s", i,
                            g->options.stop_strings[i] ? "empty" : "NULL");
    return n > 0 ? rsr_check_tokenizer(g->model, err) : RSR_OK;
}

static rsr_status check_top_logprobs(const struct generation *g, rsr_error *err) {
    const uint32_t vocab = g->model->module->hyper.vocab, n = g->options.n_top_logprobs;
    const uint32_t most = vocab < RSR_MAX_TOP_LOGPROBS ? vocab : RSR_MAX_TOP_LOGPROBS;
    if (!g->options.logprobs || n <= most)
        return RSR_OK;
    return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_generate: n_top_logprobs %u is more than %u", n,
                    most);
}

static rsr_status set_up(struct generation *g, const rsr_generate_options *options,
                         rsr_error *err) {
    g->options = (rsr_generate_options)RSR_GENERATE_OPTIONS_INIT;
    g->sampling = (rsr_sampling)RSR_SAMPLING_INIT;
    rsr_status status = rsr_read_options(&g->options, sizeof(g->options), options, err);
    if (status == RSR_OK)
        status = rsr_read_options(&g->sampling, sizeof(g->sampling), g->options.sampling, err);
    if (status != RSR_OK)
        return status;
    if (g->options.max_tokens == 0)
        g->options.max_tokens = 128;
    if (!g->options.stop_tokens && g->options.n_stop_tokens > 0)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_generate: stop_tokens is NULL");
    rsr_engine_info info = RSR_ENGINE_INFO_INIT;
    status = rsr_api_engine_get_info(g->engine, &info);
    if (status != RSR_OK)
        return rsr_fail(err, status, "rsr_generate: the engine is of another process");
    g->context = info.context;
    g->model = rsr_engine_model(g->engine);
    if (g->model->module->hyper.pooling != RSR_POOLING_NONE)
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "this is an embedding model: it continues no text, rsr_embed() embeds it");
    if (g->model->text)
        rsr_text_stream_begin(&g->detokenizer, g->model, true, false);
    g->stop.strings = g->options.stop_strings;
    g->stop.n = g->options.n_stop_strings;
    status = check_top_logprobs(g, err);
    return status == RSR_OK ? check_stop_strings(g, err) : status;
}

rsr_status rsr_api_generate(rsr_engine *engine, rsr_sequence *sequence, const char *prompt,
                            size_t prompt_bytes, const rsr_generate_options *options,
                            rsr_generate_fn *callback, void *user, rsr_generate_result *result,
                            rsr_error *err) {
    if (!engine || !sequence || (!prompt && prompt_bytes > 0))
        return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_generate: a parameter is NULL");
    struct generation g = {
        .engine = engine, .sequence = sequence, .callback = callback, .user = user};
    rsr_status status = result ? rsr_check_info(result, err) : RSR_OK;
    if (status == RSR_OK)
        status = set_up(&g, options, err);
    if (status == RSR_OK)
        status = g.options.prompt_tokens
                     ? prefill_tokens(&g, g.options.prompt_tokens, g.options.n_prompt_tokens, err)
                     : prefill_text(&g, prompt, prompt_bytes, err);
    if (status == RSR_OK)
        status = decode(&g, err);
    if (status == RSR_ERR_STOPPED) {
        g.result.stop_reason =
            rsr_is_cancelled(g.options.cancel) ? RSR_STOP_CANCELLED : RSR_STOP_CALLBACK;
        status = RSR_OK;
    }
    if (status == RSR_OK && result)
        status = rsr_write_info(result, &g.result, sizeof(g.result), err);
    rsr_text_stream_free(&g.detokenizer);
    rsr_bytes_free(&g.stop.held);
    rsr_bytes_free(&g.text);
    free(g.logprobs);
    free(g.logits);
    return status;
}
