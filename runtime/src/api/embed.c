/* embed.c - rsr_embed: a vector for the tokens of each text.
 *
 * Texts are packed into batches, so that short ones are evaluated together. Only the last text of a
 * batch may continue in the next one.
 *
 * Order of the float operations: all are in double and round to nearest; only the states are
 * floats. A mean adds tokens in ascending order and divides once. The length is the square root of
 * the squares, added in ascending order. An element is divided by the length and rounded once. So
 * the vector depends on its tokens alone.
 */
#include <fenv.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ops/ops.h"
#include "runtime.h"

/* As torch.nn.functional.normalize does. */
#define MIN_LENGTH 1e-12

/* Texts in one batch, at most; each takes at least one page. */
#define MAX_TEXTS 64u

/* Texts [first, end) of a batch. `done` tokens of the first were evaluated before. */
struct part {
    size_t first, end, done;
    uint32_t n_tokens;
};

struct embedding {
    rsr_engine *engine;
    const rsr_model *model;
    enum rsr_pooling pooling;
    bool divides; /* by the length */
    rsr_embed_options options;
    const uint32_t *const *tokens;
    const size_t *n_tokens;
    size_t n_texts;
    float *out;
    uint32_t most_tokens; /* of a batch */
    uint32_t hidden;
    rsr_sequence *sequences[MAX_TEXTS]; /* of the texts of a batch */
    rsr_batch_entry *entries;           /* [most_tokens] */
    float *states;                      /* [most_tokens][hidden] */
    double *sums;                       /* [hidden] of the text that is not done */
};

static const char *const pooling_names[RSR_POOLING_COUNT] = {
    [RSR_POOLING_LAST] = "last", [RSR_POOLING_FIRST] = "first", [RSR_POOLING_MEAN] = "mean"};

const char *rsr_pooling_name(uint32_t pooling) {
    return pooling_names[pooling];
}

/* Attention looks back only: later tokens do not change the first one's state. */
static size_t needed_tokens(const struct embedding *e, size_t text) {
    return e->pooling == RSR_POOLING_FIRST ? 1 : e->n_tokens[text];
}

static bool is_wanted(const struct embedding *e, size_t text, size_t token) {
    return e->pooling == RSR_POOLING_MEAN || token + 1 == needed_tokens(e, text);
}

/* ---- Batches --------------------------------------------------------------------------------- */

/* As many texts, from `first` on, as a batch and the free pages hold, but at least one. */
static struct part next_part(const struct embedding *e, size_t first, size_t done) {
    struct part part = {.first = first, .end = first, .done = done};
    rsr_engine_info info = RSR_ENGINE_INFO_INIT;
    uint32_t n_pages = 0;
    if (rsr_api_engine_get_info(e->engine, &info) != RSR_OK)
        info.kv_tokens_free = 0;
    while (part.end < e->n_texts && part.end - first < MAX_TEXTS &&
           part.n_tokens < e->most_tokens) {
        const size_t left = needed_tokens(e, part.end) - (part.end == first ? done : 0);
        const uint32_t room = e->most_tokens - part.n_tokens;
        n_pages += (uint32_t)(e->n_tokens[part.end] / RSR_PAGE_TOKENS) + 1;
        if (part.end > first && n_pages > info.kv_tokens_free / RSR_PAGE_TOKENS)
            break;
        part.n_tokens += left < room ? (uint32_t)left : room;
        part.end++;
    }
    return part;
}

/* Makes the sequences that are missing, and the entries. */
static rsr_status fill_entries(struct embedding *e, const struct part *part, rsr_error *err) {
    uint32_t n = 0;
    for (size_t text = part->first; text < part->end; text++) {
        rsr_sequence **sequence = &e->sequences[text - part->first];
        const rsr_status status =
            *sequence != NULL ? RSR_OK : rsr_api_sequence_create(e->engine, sequence, err);
        if (status != RSR_OK)
            return status;
        for (size_t token = text == part->first ? part->done : 0;
             token < needed_tokens(e, text) && n < part->n_tokens; token++)
            e->entries[n++] = (rsr_batch_entry){*sequence, (uint32_t)token, e->tokens[text][token],
                                                is_wanted(e, text, token)};
    }
    return RSR_OK;
}

static void finish(struct embedding *e, size_t text) {
    const double n = e->pooling == RSR_POOLING_MEAN ? (double)e->n_tokens[text] : 1.0;
    double squares = 0.0, length = 1.0;
    for (uint32_t d = 0; d < e->hidden; d++) {
        e->sums[d] = e->sums[d] / n;
        squares = squares + e->sums[d] * e->sums[d];
    }
    if (e->divides)
        length = sqrt(squares) > MIN_LENGTH ? sqrt(squares) : MIN_LENGTH;
    for (uint32_t d = 0; d < e->hidden; d++)
        e->out[text * e->hidden + d] = (float)(e->sums[d] / length);
    memset(e->sums, 0, e->hidden * sizeof(*e->sums));
}

/* Adds the wanted states to the sums, text by text. Returns how many texts are done; *done receives
 * the evaluated tokens of the next one. */
static size_t take_states(struct embedding *e, const struct part *part, size_t *done) {
    const float *states = e->states;
    size_t text = part->first, token = part->done;
    for (uint32_t i = 0; i < part->n_tokens; i++) {
        for (uint32_t d = 0; e->entries[i].want_logits && d < e->hidden; d++)
            e->sums[d] += (double)*states++;
        if (++token < needed_tokens(e, text))
            continue;
        finish(e, text++);
        token = 0;
    }
    *done = token;
    return text - part->first;
}

/* Ends the sequences of n texts that are done and moves the next text's sequence to the front. */
static void end_texts(struct embedding *e, size_t n) {
    for (size_t i = 0; i < n; i++)
        rsr_api_sequence_destroy(e->sequences[i]);
    memmove(e->sequences, e->sequences + n, (MAX_TEXTS - n) * sizeof(e->sequences[0]));
    memset(e->sequences + MAX_TEXTS - n, 0, n * sizeof(e->sequences[0]));
}

static rsr_status embed_texts(struct embedding *e, rsr_error *err) {
    rsr_status status = RSR_OK;
    for (size_t first = 0, done = 0; status == RSR_OK && first < e->n_texts;) {
        const struct part part = next_part(e, first, done);
        rsr_batch batch = RSR_BATCH_INIT;
        batch.entries = e->entries;
        batch.n_entries = part.n_tokens;
        batch.logits = e->states;
        batch.logits_capacity = (size_t)e->most_tokens * e->hidden;
        batch.want_states = true;
        batch.cancel = e->options.cancel;
        status = fill_entries(e, &part, err);
        if (status == RSR_OK)
            status = rsr_api_eval(e->engine, &batch, err);
        if (status != RSR_OK)
            break;
        const size_t n = take_states(e, &part, &done);
        end_texts(e, n);
        first += n;
    }
    end_texts(e, MAX_TEXTS);
    return status;
}

/* ---- Entry ----------------------------------------------------------------------------------- */

static rsr_status choose_pooling(struct embedding *e, rsr_error *err) {
    const struct rsr_hyper *hyper = &e->model->module->hyper;
    const char *wanted = e->options.pooling;
    e->pooling = (enum rsr_pooling)hyper->pooling;
    e->divides = !e->options.keep_length && (wanted != NULL || hyper->normalized != 0);
    if (wanted == NULL && e->pooling == RSR_POOLING_NONE)
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "this is a language model: it gives logits; say which of its hidden states "
                        "an embedding is: pooling last, first or mean");
    if (wanted == NULL)
        return RSR_OK;
    for (uint32_t i = 0; i < RSR_POOLING_COUNT; i++)
        if (pooling_names[i] != NULL && strcmp(pooling_names[i], wanted) == 0) {
            e->pooling = (enum rsr_pooling)i;
            return RSR_OK;
        }
    return rsr_fail(err, RSR_ERR_ARGUMENT, "pooling %.40s is unknown; there are last, first, mean",
                    wanted);
}

static rsr_status check_texts(const struct embedding *e, uint32_t context, size_t capacity,
                              rsr_error *err) {
    if (capacity / e->hidden < e->n_texts)
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "%zu embeddings have %u floats each; there is room for %zu", e->n_texts,
                        e->hidden, capacity);
    for (size_t i = 0; i < e->n_texts; i++) {
        if (e->n_tokens[i] == 0 || e->tokens[i] == NULL)
            return rsr_fail(err, RSR_ERR_ARGUMENT, "text %zu has no tokens, and so no embedding",
                            i);
        if (e->n_tokens[i] > context)
            return rsr_fail(err, RSR_ERR_FULL, "text %zu has %zu tokens; the context holds %u", i,
                            e->n_tokens[i], context);
    }
    return RSR_OK;
}

static rsr_status allocate(struct embedding *e, rsr_error *err) {
    e->entries = calloc(e->most_tokens, sizeof(*e->entries));
    e->states = calloc(e->most_tokens, e->hidden * sizeof(*e->states));
    e->sums = calloc(e->hidden, sizeof(*e->sums));
    return e->entries != NULL && e->states != NULL && e->sums != NULL
               ? RSR_OK
               : rsr_fail(err, RSR_ERR_MEMORY, "no memory for an embedding");
}

rsr_status rsr_api_embed(rsr_engine *engine, const uint32_t *const *tokens, const size_t *n_tokens,
                         size_t n_texts, const rsr_embed_options *options, float *embeddings,
                         size_t capacity, rsr_error *err) {
    if (engine == NULL || (n_texts > 0 && (embeddings == NULL || tokens == NULL || !n_tokens)))
        return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_embed: a pointer is NULL");
    const rsr_model *model = rsr_engine_model(engine);
    struct embedding e = {.engine = engine,
                          .model = model,
                          .options = RSR_EMBED_OPTIONS_INIT,
                          .tokens = tokens,
                          .n_tokens = n_tokens,
                          .n_texts = n_texts,
                          .out = embeddings,
                          .hidden = model->module->hyper.hidden};
    rsr_engine_info info = RSR_ENGINE_INFO_INIT;
    rsr_status status = rsr_check_owner(model->owner_pid, err);
    if (status == RSR_OK)
        status = rsr_api_engine_get_info(engine, &info);
    e.most_tokens = info.max_batch;
    if (status == RSR_OK)
        status = rsr_read_options(&e.options, sizeof(e.options), options, err);
    if (status == RSR_OK)
        status = choose_pooling(&e, err);
    if (status == RSR_OK)
        status = check_texts(&e, info.context, capacity, err);
    if (status == RSR_OK)
        status = allocate(&e, err);
    fenv_t callers;
    fegetenv(&callers);
    fesetenv(FE_DFL_ENV);
    if (status == RSR_OK)
        status = embed_texts(&e, err);
    fesetenv(&callers);
    free(e.entries);
    free(e.states);
    free(e.sums);
    return status;
}
