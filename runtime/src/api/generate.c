/* generate.c - prompt in, text out: one prefill, then one evaluation a token.
 *
 * Text reaches the callback as complete characters: what later tokens may still change is held
 * back, so that all pieces together are what the tokens add to rsr_detokenize of the sequence
 * before them.
 */
#include <stdlib.h>

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
    rsr_generate_result result;
};

static rsr_status no_memory(rsr_error *err) {
    return rsr_fail(err, RSR_ERR_MEMORY, "no memory to generate text");
}

/* ---- Prompt ---------------------------------------------------------------------------------- */

/* Appends tokens to the sequence and picks the next one. */
static rsr_status evaluate(struct generation *g, const uint32_t *tokens, size_t n, rsr_error *err) {
    const uint32_t length = rsr_api_sequence_length(g->sequence);
    if (n > g->context - length)
        return rsr_fail(err, RSR_ERR_FULL,
                        "the prompt has %zu tokens; a context of %u has room for %u", n, g->context,
                        g->context - length);
    rsr_batch_entry *entries = calloc(n, sizeof(*entries));
    if (!entries)
        return no_memory(err);
    for (size_t i = 0; i < n; i++)
        entries[i] = (rsr_batch_entry){
            .sequence = g->sequence, .position = length + (uint32_t)i, .token = tokens[i]};
    const rsr_pick pick = {.entry = n - 1, .sampling = &g->sampling};
    rsr_batch batch = {.size_bytes = sizeof(batch),
                       .entries = entries,
                       .n_entries = n,
                       .picks = &pick,
                       .n_picks = 1,
                       .picked = &g->next,
                       .cancel = g->options.cancel,
                       .progress = g->options.progress,
                       .progress_user = g->options.progress_user};
    rsr_error failure = RSR_ERROR_INIT;
    const rsr_status status = rsr_api_eval(g->engine, &batch, &failure);
    free(entries);
    /* To be stopped is no failure of a generation, and leaves err alone. */
    return status == RSR_OK || status == RSR_ERR_STOPPED
               ? status
               : rsr_fail(err, status, "%s", failure.message);
}

static rsr_status prefill_tokens(struct generation *g, const uint32_t *tokens, size_t n,
                                 rsr_error *err) {
    if (n == 0)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "the prompt has no tokens to continue from");
    uint64_t begin = rsr_now_ns();
    rsr_status status = evaluate(g, tokens, n, err);
    g->result.prefill_ns = rsr_now_ns() - begin;
    g->result.prompt_tokens = status == RSR_OK ? (uint32_t)n : 0;
    return status;
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
                               .text_bytes = g->text.size};
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
        status = evaluate(g, &token, 1, err);
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
    return check_stop_strings(g, err);
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
    return status;
}
