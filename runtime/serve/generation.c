/* generation.c - see generation.h.
 *
 * The text of a choice is what rsr_generate() gives for the prompt, sampling and seed.
 */
#include <stdlib.h>
#include <string.h>

#include "generation.h"
#include "replies.h"

/* ---- Batches --------------------------------------------------------------------------------- */

bool serve_batch_create(struct serve_batch *b, size_t capacity) {
    *b = (struct serve_batch){
        .entries = calloc(capacity, sizeof(*b->entries)),
        .statuses = calloc(capacity, sizeof(*b->statuses)),
        .picks = calloc(capacity, sizeof(*b->picks)),
        .picked = calloc(capacity, sizeof(*b->picked)),
        .logprobs = calloc(capacity, sizeof(*b->logprobs)),
        .owners = calloc(capacity, sizeof(struct serve_generation *)),
        .capacity = capacity,
    };
    if (b->entries && b->statuses && b->picks && b->picked && b->logprobs && b->owners)
        return true;
    serve_batch_free(b);
    return false;
}

void serve_batch_free(struct serve_batch *b) {
    free(b->entries);
    free(b->statuses);
    free(b->picks);
    free(b->picked);
    free(b->logprobs);
    free(b->owners);
}

void serve_batch_clear(struct serve_batch *b) {
    b->batch = (rsr_batch)RSR_BATCH_INIT;
    b->batch.entries = b->entries;
    b->batch.statuses = b->statuses;
    b->batch.picks = b->picks;
    b->batch.picked = b->picked;
    b->batch.logprobs = b->logprobs;
}

static void add_logprobs(struct serve_batch *b, size_t entry, uint32_t token, uint32_t n_top,
                         rsr_logprob *results) {
    b->logprobs[b->batch.n_logprobs++] =
        (rsr_logprobs){.entry = entry, .token = token, .n_top = n_top, .results = results};
}

/* ---- Begin and end --------------------------------------------------------------------------- */

static bool fail(struct serve_error *error, const rsr_error *err) {
    return serve_fail(error, 500, NULL, NULL, "%s", err->message);
}

static bool no_memory(struct serve_error *error) {
    return serve_fail(error, 500, NULL, NULL, "the server has no memory for the request");
}

static uint32_t top_logprobs(const struct serve_generation *g) {
    return g->job->n_top_logprobs;
}

/* Sets which tokens may follow. False: none may, or there is an error. */
static bool allow(struct serve_generation *g, struct serve_error *error) {
    rsr_error err = RSR_ERROR_INIT;
    const rsr_status status =
        rsr_constrained_allow(g->constrained, g->allowed, g->sampling.allowed_words, &err);
    if (status == RSR_OK || (status == RSR_ERR_TEXT && rsr_constrained_is_complete(g->constrained)))
        return status == RSR_OK;
    return fail(error, &err);
}

static bool begin_constraint(struct serve_generation *g, struct serve_error *error) {
    rsr_error err = RSR_ERROR_INIT;
    if (g->job->constraint == NULL)
        return true;
    g->sampling.allowed_words = (g->job->model->info.vocab + 31) / 32;
    g->allowed = calloc(g->sampling.allowed_words, sizeof(*g->allowed));
    g->sampling.allowed = g->allowed;
    if (g->allowed == NULL)
        return no_memory(error);
    if (rsr_constrained_create(g->job->constraint, &g->constrained, &err) != RSR_OK)
        return fail(error, &err);
    if (allow(g, error))
        return true;
    return error->status != 0
               ? false
               : serve_fail(error, 500, NULL, NULL, "the constraint allows no token to begin with");
}

static bool create_detokenizer(struct serve_generation *g, uint32_t flags,
                               struct serve_error *error) {
    rsr_error err = RSR_ERROR_INIT;
    return rsr_detokenizer_create(g->job->model->model, RSR_DETOKENIZE_SKIP_SPECIAL | flags,
                                  &g->detokenizer, &err) == RSR_OK ||
           fail(error, &err);
}

/* The answer's text continues the prompt's text. The detokenizer needs only the front of the
 * prompt: until the prompt has text, a space may be one that tokenizers put before every text. */
static bool begin_text(struct serve_generation *g, struct serve_error *error) {
    rsr_error err = RSR_ERROR_INIT;
    const char *text;
    size_t n = 0;
    if (!create_detokenizer(g, 0, error))
        return false;
    for (size_t i = 0; i < g->prompt->n_tokens && n == 0; i++)
        if (rsr_detokenizer_push(g->detokenizer, g->prompt->tokens[i], &text, &n, &err) != RSR_OK)
            return fail(error, &err);
    if (n == 0)
        return true;
    rsr_detokenizer_destroy(g->detokenizer);
    g->detokenizer = NULL;
    return create_detokenizer(g, RSR_DETOKENIZE_CONTINUES, error);
}

static bool begin_logprobs(struct serve_generation *g, struct serve_error *error) {
    const size_t row = 1 + top_logprobs(g);
    if (g->job->logprobs)
        g->logprobs = calloc(row, sizeof(*g->logprobs));
    if (g->job->prompt_logprobs)
        g->choice->prompt_logprobs = calloc(g->prompt->n_tokens * row, sizeof(rsr_logprob));
    return (g->job->logprobs && g->logprobs == NULL) ||
                   (g->job->prompt_logprobs && g->choice->prompt_logprobs == NULL)
               ? no_memory(error)
               : true;
}

bool serve_generation_begin(struct serve_generation *g, struct serve_job *job, size_t index,
                            rsr_sequence *sequence, struct serve_error *error) {
    serve_job_keep(job);
    *g = (struct serve_generation){
        .job = job,
        .choice = &job->choices[index],
        .prompt = &job->prompts[index / job->n_choices],
        .sequence = sequence,
        .n_evaluated = rsr_sequence_length(sequence),
        .stop = {.strings = (const char *const *)job->stop, .n = job->n_stop},
        .sampling = job->sampling,
        .begun_ns = serve_now_ns(),
    };
    g->sampling.sequence_id = index % job->n_choices;
    g->sampling.generated_from = (uint32_t)g->prompt->n_tokens;
    g->sampling.logit_bias = job->logit_bias;
    return begin_logprobs(g, error) && (job->max_tokens == 0 || begin_text(g, error)) &&
           begin_constraint(g, error);
}

void serve_generation_end(struct serve_generation *g, enum serve_finish finish) {
    struct serve_job *job = g->job;
    if (job->model->cache != NULL)
        (void)!rsr_prefix_cache_put(job->model->cache, g->sequence, NULL); /* or is not kept */
    rsr_sequence_destroy(g->sequence);
    rsr_detokenizer_destroy(g->detokenizer);
    rsr_constrained_destroy(g->constrained);
    rsr_bytes_free(&g->stop.held);
    rsr_bytes_free(&g->piece);
    free(g->allowed);
    free(g->logprobs);
    pthread_mutex_lock(&job->lock);
    if (g->choice->finish == SERVE_GOES_ON)
        g->choice->finish = finish;
    job->n_unfinished--;
    job->is_done = job->n_unfinished == 0;
    serve_job_wake(job);
    pthread_mutex_unlock(&job->lock);
    *g = (struct serve_generation){0};
    serve_job_release(job);
}

/* ---- Steps ----------------------------------------------------------------------------------- */

bool serve_generation_decodes(const struct serve_generation *g) {
    return g->n_evaluated >= g->prompt->n_tokens;
}

/* Token `position` of the prompt, or the last generated one after the prompt's end. */
static uint32_t token_at(const struct serve_generation *g, size_t position) {
    return position < g->prompt->n_tokens ? g->prompt->tokens[position] : g->next;
}

size_t serve_generation_add(struct serve_generation *g, struct serve_batch *b, size_t n_tokens) {
    const size_t n_prompt = g->prompt->n_tokens, row = 1 + top_logprobs(g);
    size_t n = serve_generation_decodes(g) ? 1 : n_prompt - g->n_evaluated;
    if (n > n_tokens)
        n = n_tokens;
    for (size_t i = 0; i < n; i++) {
        const size_t entry = b->batch.n_entries++, position = g->n_evaluated + i;
        b->owners[entry] = g;
        b->entries[entry] = (rsr_batch_entry){.sequence = g->sequence,
                                              .position = (uint32_t)position,
                                              .token = token_at(g, position)};
        if (g->job->prompt_logprobs && position + 1 < n_prompt) {
            add_logprobs(b, entry, g->prompt->tokens[position + 1], top_logprobs(g),
                         g->choice->prompt_logprobs + (position + 1) * row);
        } else if (position + 1 >= n_prompt && g->job->max_tokens > 0) {
            b->picks[b->batch.n_picks++] = (rsr_pick){.entry = entry, .sampling = &g->sampling};
            if (g->logprobs != NULL)
                add_logprobs(b, entry, UINT32_MAX, top_logprobs(g), g->logprobs);
        }
    }
    return n;
}

static bool is_stop(const rsr_model_info *info, uint32_t token) {
    for (uint32_t i = 0; i < info->n_stop_tokens; i++)
        if (info->stop_tokens[i] == token)
            return true;
    return false;
}

/* Puts the text that is certain after this token, or all held text if the token is the last one,
 * into g->piece. */
static bool take_text(struct serve_generation *g, uint32_t token, bool stop, bool last,
                      bool *found_stop, struct serve_error *error) {
    rsr_error err = RSR_ERROR_INIT;
    const char *text = "";
    size_t n = 0;
    g->piece.size = 0;
    if (!stop && rsr_detokenizer_push(g->detokenizer, token, &text, &n, &err) != RSR_OK)
        return fail(error, &err);
    if (!rsr_bytes_append(&g->piece, text, n))
        return no_memory(error);
    if (last && rsr_detokenizer_finish(g->detokenizer, &text, &n, &err) != RSR_OK)
        return fail(error, &err);
    if (last && !rsr_bytes_append(&g->piece, text, n))
        return no_memory(error);
    if (rsr_stop_strings_pass(&g->stop, &g->piece, last, found_stop, &err) != RSR_OK)
        return fail(error, &err);
    return true;
}

static bool grow(struct serve_choice *c, size_t row) {
    const size_t capacity = c->capacity < 32 ? 32 : 2 * c->capacity;
    struct serve_token *tokens = realloc(c->tokens, capacity * sizeof(*tokens));
    if (tokens == NULL)
        return false;
    c->tokens = tokens;
    if (row > 0) {
        rsr_logprob *logprobs = realloc(c->logprobs, capacity * row * sizeof(*logprobs));
        if (logprobs == NULL)
            return false;
        c->logprobs = logprobs;
    }
    c->capacity = capacity;
    return true;
}

/* Notifies waiters of the job. The end of a choice is reported by serve_generation_end(). */
static bool publish(struct serve_generation *g, uint32_t token, enum serve_finish finish,
                    struct serve_error *error) {
    struct serve_choice *c = g->choice;
    const size_t row = g->logprobs != NULL ? 1 + top_logprobs(g) : 0;
    pthread_mutex_lock(&g->job->lock);
    bool ok = c->n_tokens < c->capacity || grow(c, row);
    ok = ok && rsr_bytes_append(&c->text, g->piece.data, g->piece.size);
    if (ok) {
        c->tokens[c->n_tokens] =
            (struct serve_token){.token = token, .text_end = (uint32_t)c->text.size};
        if (row > 0)
            memcpy(c->logprobs + c->n_tokens * row, g->logprobs, row * sizeof(*g->logprobs));
        c->n_tokens++;
        c->finish = finish;
        serve_job_wake(g->job);
    }
    pthread_mutex_unlock(&g->job->lock);
    return ok || no_memory(error);
}

/* Whether the constrained text continues after the token. */
static bool advance(struct serve_generation *g, uint32_t token, struct serve_error *error) {
    rsr_error err = RSR_ERROR_INIT;
    if (rsr_constrained_advance(g->constrained, token, &err) != RSR_OK)
        return fail(error, &err);
    return allow(g, error);
}

static bool take_token(struct serve_generation *g, uint32_t token, struct serve_error *error) {
    const bool stop = is_stop(&g->job->model->info, token);
    const bool closed = !stop && g->constrained != NULL && !advance(g, token, error);
    const bool full = g->choice->n_tokens + 1 == g->job->max_tokens;
    bool found_stop = false;
    if (error->status != 0 ||
        !take_text(g, token, stop, stop || closed || full, &found_stop, error))
        return false;
    const enum serve_finish finish = stop || found_stop || closed ? SERVE_STOP
                                     : full                       ? SERVE_LENGTH
                                                                  : SERVE_GOES_ON;
    g->next = token;
    return publish(g, token, finish, error) && finish == SERVE_GOES_ON;
}

bool serve_generation_take(struct serve_generation *g, size_t n_entries, const uint32_t *picked,
                           struct serve_error *error) {
    const bool was_prompt = !serve_generation_decodes(g);
    g->n_evaluated += (uint32_t)n_entries;
    /* A recurrent model goes on where a batch ended: other prompts may share parts of this one. */
    const bool is_whole = serve_generation_decodes(g);
    if (was_prompt && (is_whole || g->job->model->engine_info.n_states != 0) &&
        g->job->model->cache != NULL)
        (void)!rsr_prefix_cache_put(g->job->model->cache, g->sequence, NULL); /* or is not kept */
    if (picked != NULL)
        return take_token(g, *picked, error);
    return g->job->max_tokens > 0 || !serve_generation_decodes(g);
}
