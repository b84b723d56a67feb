/* generate.c - prompt in, text out: one prefill, then one evaluation for each token. With drafts,
 * one evaluation takes a token and guesses of the tokens after it; its rows have the bits of one
 * evaluation per token.
 *
 * Text reaches the callback as complete characters: text that later tokens may still change is held
 * back. So all pieces together are the text that the tokens add to rsr_detokenize of the sequence.
 */
#include <stdlib.h>
#include <string.h>

#include "sample/logprobs.h"
#include "sample/sample.h"
#include "speculate/speculation.h"
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
    uint32_t context, max_batch, page_tokens;
    uint32_t next; /* the token after the evaluated ones */
    uint32_t row;  /* number of the row that `next` was picked from: the drafts before it */
    uint32_t picked[1 + RSR_MAX_DRAFTS];
    struct rsr_text_stream detokenizer; /* used if the model has a tokenizer */
    struct rsr_stop_strings stop;
    struct rsr_bytes text; /* for the callback */
    struct rsr_speculation speculation;
    bool redo;        /* a step with drafts ended early: the next one has none */
    uint64_t step_ns; /* time of a step without callbacks */
    /* if tokens are picked here: a row, as the caller leaves it, then a copy of the row as it was
     * [2][vocab]; with drafts [2 + speculate][vocab] */
    float *logits;
    /* if wanted, n_logprobs for each token: for those picked from rows; or for the next token, then
     * for the prompt's tokens except the first */
    rsr_logprob *logprobs;
    uint32_t n_logprobs;
    rsr_generate_result result;
};

/* Where log-probabilities of a row's token go; NULL: they are not wanted. */
static rsr_logprob *logprobs_of(const struct generation *g, size_t row) {
    return g->logprobs != NULL ? g->logprobs + row * g->n_logprobs : NULL;
}

static rsr_status no_memory(rsr_error *err) {
    return rsr_fail(err, RSR_ERR_MEMORY, "no memory to generate text");
}

/* ---- Steps ----------------------------------------------------------------------------------- */

/* Tokens that are evaluated together. A next token is picked for each of the last n_rows. */
struct step {
    const uint32_t *tokens;
    size_t n;
    uint32_t n_rows;
    bool of_prompt; /* log-probabilities of the tokens themselves are wanted, too */
};

/* Whether tokens are picked here, from logits, and not by the engine: a caller may change logits,
 * or change which tokens are allowed as soon as it is told of a token. */
static bool picks_here(const struct generation *g, uint32_t n_rows) {
    return g->options.logits != NULL || (n_rows > 1 && g->sampling.allowed != NULL);
}

static void ask_logprobs(const struct generation *g, const struct step *step, rsr_logprobs *asked,
                         rsr_batch *batch) {
    const uint32_t n_top = g->n_logprobs - 1;
    const size_t first = step->n - step->n_rows;
    batch->logprobs = asked;
    for (size_t i = 0; step->of_prompt && i + 1 < step->n; i++)
        asked[batch->n_logprobs++] =
            (rsr_logprobs){i, step->tokens[i + 1], n_top, logprobs_of(g, i + 1)};
    for (size_t i = 0; i < step->n_rows && !picks_here(g, step->n_rows); i++)
        asked[batch->n_logprobs++] =
            (rsr_logprobs){first + i, UINT32_MAX, n_top, logprobs_of(g, i)};
}

static void ask_rows(struct generation *g, const struct step *step, rsr_batch_entry *entries,
                     rsr_pick *picks, rsr_batch *batch) {
    const bool here = picks_here(g, step->n_rows);
    const size_t first = step->n - step->n_rows;
    for (size_t i = 0; i < step->n_rows; i++) {
        entries[first + i].want_logits = here;
        picks[i] = (rsr_pick){.entry = first + i, .sampling = &g->sampling};
    }
    if (here) {
        batch->logits = g->logits;
        batch->logits_capacity = (size_t)step->n_rows * g->model->module->hyper.vocab;
    } else {
        batch->picks = picks;
        batch->n_picks = step->n_rows;
        batch->picked = g->picked;
    }
}

/* Evaluates the entries of appended tokens. */
static rsr_status evaluate_entries(struct generation *g, const struct step *step,
                                   rsr_batch_entry *entries, rsr_batch *batch, rsr_error *err) {
    rsr_pick picks[1 + RSR_MAX_DRAFTS];
    batch->entries = entries;
    batch->n_entries = step->n;
    batch->cancel = g->options.cancel;
    if (step->n_rows == 1) { /* drafts are no prompt */
        batch->progress = g->options.progress;
        batch->progress_user = g->options.progress_user;
    }
    ask_rows(g, step, entries, picks, batch);
    rsr_error failure = RSR_ERROR_INIT;
    const uint64_t begin = rsr_now_ns();
    const rsr_status status = rsr_api_eval(g->engine, batch, &failure);
    g->step_ns += rsr_now_ns() - begin;
    /* A stopped generation has not failed: err does not change. */
    return status == RSR_OK || status == RSR_ERR_STOPPED
               ? status
               : rsr_fail(err, status, "%s", failure.message);
}

/* Appends tokens to the sequence. */
static rsr_status evaluate(struct generation *g, const struct step *step, rsr_error *err) {
    const uint32_t length = rsr_api_sequence_length(g->sequence);
    const size_t n = step->n;
    if (n > g->context - length)
        return rsr_fail(err, RSR_ERR_FULL,
                        "the prompt has %zu tokens; a context of %u has room for %u", n, g->context,
                        g->context - length);
    rsr_batch_entry *entries = calloc(n, sizeof(*entries));
    rsr_logprobs *asked = calloc(step->of_prompt ? n : step->n_rows, sizeof(*asked));
    rsr_status status = entries && asked ? RSR_OK : no_memory(err);
    for (size_t i = 0; i < n && status == RSR_OK; i++)
        entries[i] = (rsr_batch_entry){
            .sequence = g->sequence, .position = length + (uint32_t)i, .token = step->tokens[i]};
    rsr_batch batch = RSR_BATCH_INIT;
    if (status == RSR_OK && g->logprobs != NULL)
        ask_logprobs(g, step, asked, &batch);
    if (status == RSR_OK)
        status = evaluate_entries(g, step, entries, &batch, err);
    free(asked);
    free(entries);
    return status;
}

/* Picks a token from logits. The sequence is as long as it would be without drafts. */
static rsr_status pick_from_logits(struct generation *g, float *logits, rsr_error *err) {
    const uint32_t vocab = g->model->module->hyper.vocab;
    const uint32_t *history = rsr_api_sequence_tokens(g->sequence);
    const uint32_t n = rsr_api_sequence_length(g->sequence);
    float *before = logits;
    if (g->options.logits != NULL) {
        before = g->logits + (size_t)(1 + g->options.speculate) * vocab;
        memcpy(before, logits, vocab * sizeof(*logits));
        if (!g->options.logits(g->options.logits_user, history, n, logits, vocab))
            return RSR_ERR_STOPPED;
    }
    const uint64_t begin = rsr_now_ns();
    rsr_status status = rsr_sample_token(vocab, &g->sampling, logits, history, n, &g->next, err);
    if (status == RSR_OK && g->logprobs != NULL)
        status = rsr_find_logprobs(g->model->ops, before, vocab, g->next, g->n_logprobs - 1,
                                   logprobs_of(g, g->row), err);
    g->step_ns += rsr_now_ns() - begin;
    return status;
}

/* Picks the token after a row of the last evaluation. */
static rsr_status pick_row(struct generation *g, uint32_t row, uint32_t n_rows, rsr_error *err) {
    g->row = row;
    if (picks_here(g, n_rows))
        return pick_from_logits(g, g->logits + (size_t)row * g->model->module->hyper.vocab, err);
    g->next = g->picked[row];
    return RSR_OK;
}

/* ---- Prompt ---------------------------------------------------------------------------------- */

/* Makes room for log-probabilities and logits of a prompt of n tokens. */
static rsr_status reserve_logits(struct generation *g, size_t n, rsr_error *err) {
    const size_t vocab = g->model->module->hyper.vocab, n_rows = 1 + g->options.speculate;
    const size_t n_told = g->options.prompt_token && n > n_rows ? n : n_rows;
    const bool reads = picks_here(g, (uint32_t)n_rows);
    if (g->options.logprobs) {
        g->n_logprobs = 1 + g->options.n_top_logprobs;
        g->logprobs = calloc(n_told, g->n_logprobs * sizeof(rsr_logprob));
    }
    if (reads)
        g->logits = calloc((n_rows + 1) * vocab, sizeof(*g->logits));
    return (g->options.logprobs && !g->logprobs) || (reads && !g->logits) ? no_memory(err) : RSR_OK;
}

/* Reports the prompt's tokens to the caller. */
static rsr_status deliver_prompt(const struct generation *g, const uint32_t *tokens, size_t n) {
    for (size_t i = 0; i < n && g->options.prompt_token; i++) {
        const bool has_logprobs = g->logprobs != NULL && i > 0;
        const rsr_generated token = {
            .size_bytes = sizeof(token),
            .token = tokens[i],
            .text = "",
            .logprobs = has_logprobs ? logprobs_of(g, i) : NULL,
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
    const struct step step = {tokens, n, 1, g->options.prompt_token != NULL};
    if (status == RSR_OK)
        status = evaluate(g, &step, err);
    if (status == RSR_OK)
        status = pick_row(g, 0, 1, err);
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

/* Takes the text that is certain after this token, or all held text if the token is the last one.
 * If *found_stop, the text ends before a stop string. */
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

/* Gives one token to the callback. False: the callback wants to stop. */
static bool deliver(struct generation *g, uint32_t token) {
    rsr_generated generated = {.size_bytes = sizeof(generated),
                               .token = token,
                               .text = g->text.data ? g->text.data : "",
                               .text_bytes = g->text.size,
                               .logprobs = logprobs_of(g, g->row),
                               .n_logprobs = g->n_logprobs};
    return !g->callback || g->callback(g->user, &generated);
}

/* Takes and delivers the token that was picked last. *goes_on: another one is to be picked;
 * otherwise the result says why not. */
static rsr_status take_token(struct generation *g, bool *goes_on, rsr_error *err) {
    rsr_generate_result *r = &g->result;
    const uint32_t token = g->next;
    r->tokens++;
    if (g->options.speculate > 0)
        rsr_speculation_push(&g->speculation, token);
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

/* ---- Decode ---------------------------------------------------------------------------------- */

/* How many drafts the next step can have. The limits are the tokens still wanted, the room in the
 * context and in a batch, and the page of the next token: so drafts take no memory from other
 * sequences. */
static uint32_t most_drafts(const struct generation *g) {
    const uint32_t length = rsr_api_sequence_length(g->sequence);
    const uint32_t mosts[] = {g->options.max_tokens - g->result.tokens - 1, g->context - length - 1,
                              g->max_batch - 1, g->page_tokens - 1 - length % g->page_tokens};
    uint32_t most = g->options.speculate;
    for (uint32_t i = 0; i < sizeof(mosts) / sizeof(mosts[0]); i++)
        most = mosts[i] < most ? mosts[i] : most;
    return most;
}

/* Takes tokens after the rows, as long as each token equals the draft that the next row was
 * computed from. In callbacks and at the end, the sequence holds what it would hold without
 * drafts. */
static rsr_status take_rows(struct generation *g, const struct step *step, bool *goes_on,
                            rsr_error *err) {
    const uint32_t length = rsr_api_sequence_length(g->sequence) - (uint32_t)step->n;
    const bool redoes = step->n_rows > 1 && g->options.logits == NULL;
    for (uint32_t row = 0;; row++) {
        rsr_sequence_show(g->sequence, length + 1 + row);
        rsr_status status = pick_row(g, row, step->n_rows, redoes ? NULL : err);
        if (status != RSR_OK && redoes) {
            g->redo = true;
            return rsr_api_sequence_truncate(g->sequence, length + row, err);
        }
        if (status == RSR_OK)
            status = take_token(g, goes_on, err);
        if (status != RSR_OK || !*goes_on || row + 1 == step->n_rows ||
            g->next != step->tokens[row + 1])
            return status;
        g->result.accepted++;
        if (rsr_is_cancelled(g->options.cancel)) {
            g->redo = true;
            return RSR_OK;
        }
    }
}

/* Evaluates the next token and drafts after it. If a step with drafts fails, a step without drafts
 * follows, and only its failure counts. */
static rsr_status decode_step(struct generation *g, bool *goes_on, rsr_error *err) {
    uint32_t tokens[1 + RSR_MAX_DRAFTS] = {g->next};
    const uint32_t most = g->redo ? 0 : most_drafts(g), n_before = g->result.tokens;
    const uint32_t n_drafts =
        most > 0 ? rsr_speculation_draft(&g->speculation, most, tokens + 1) : 0;
    const struct step step = {tokens, 1 + n_drafts, 1 + n_drafts, false};
    g->redo = false;
    g->step_ns = 0;
    rsr_status status = evaluate(g, &step, n_drafts > 0 ? NULL : err);
    g->result.drafted += n_drafts;
    if (status == RSR_OK) {
        status = take_rows(g, &step, goes_on, err);
    } else if (n_drafts > 0 && status != RSR_ERR_STOPPED) {
        g->redo = true;
        status = RSR_OK;
    }
    if (g->options.speculate > 0)
        rsr_speculation_took(&g->speculation, n_drafts, g->result.tokens - n_before, g->step_ns);
    return status;
}

static rsr_status begin_speculation(struct generation *g, rsr_error *err) {
    const uint32_t length = rsr_api_sequence_length(g->sequence), left = g->context - length;
    const uint32_t n_new = g->options.max_tokens < left ? g->options.max_tokens : left;
    return g->options.speculate == 0 ? RSR_OK
                                     : rsr_speculation_begin(&g->speculation, g->options.speculate,
                                                             rsr_api_sequence_tokens(g->sequence),
                                                             length, length + n_new + 1, err);
}

static rsr_status decode(struct generation *g, rsr_error *err) {
    rsr_generate_result *r = &g->result;
    uint64_t begin = rsr_now_ns();
    rsr_status status = begin_speculation(g, err);
    if (status == RSR_OK && g->model->text)
        status = rsr_text_stream_continue(&g->detokenizer, rsr_api_sequence_tokens(g->sequence),
                                          rsr_api_sequence_length(g->sequence), err);
    bool goes_on = true;
    if (status == RSR_OK)
        status = take_token(g, &goes_on, err);
    while (status == RSR_OK && goes_on)
        status = decode_step(g, &goes_on, err);
    r->decode_ns = rsr_now_ns() - begin;
    r->saved_ns = (int64_t)g->speculation.gate.saved_ns;
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

static rsr_status check_speculate(const struct generation *g, rsr_error *err) {
    if (g->options.speculate > RSR_MAX_DRAFTS)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_generate: speculate %u is more than %d",
                        g->options.speculate, RSR_MAX_DRAFTS);
    if (g->options.speculate > 0 && rsr_engine_has_probe(g->engine))
        return rsr_fail(
            err, RSR_ERR_ARGUMENT,
            "rsr_generate: speculate is not 0, and the engine's probe would see drafts");
    return RSR_OK;
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
    g->max_batch = info.max_batch;
    g->page_tokens = info.kv_page_tokens;
    g->model = rsr_engine_model(g->engine);
    if (g->model->module->hyper.pooling != RSR_POOLING_NONE)
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "this is an embedding model: it continues no text, rsr_embed() embeds it");
    if (g->model->text)
        rsr_text_stream_begin(&g->detokenizer, g->model, true, false);
    g->stop.strings = g->options.stop_strings;
    g->stop.n = g->options.n_stop_strings;
    status = check_speculate(g, err);
    if (status == RSR_OK)
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
    rsr_speculation_end(&g.speculation);
    rsr_text_stream_free(&g.detokenizer);
    rsr_bytes_free(&g.stop.held);
    rsr_bytes_free(&g.text);
    free(g.logprobs);
    free(g.logits);
    return status;
}
