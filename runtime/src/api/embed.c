/* embed.c - rsr_embed: one vector for the tokens of a text, by a model whose module says how its
 * hidden states are pooled.
 *
 * Order, in double but for the states themselves: a mean adds tokens in ascending order and divides
 * once; the length is the root of the squares added in ascending order; an element is divided by it
 * and rounded once, all to nearest. So the vector depends on its tokens alone.
 */
#include <fenv.h>
#include <math.h>
#include <stdlib.h>

#include "runtime.h"

/* Tokens of one call of rsr_eval; a mean keeps the states of so many. */
#define CHUNK_TOKENS 64u

/* As torch.nn.functional.normalize does. */
#define MIN_LENGTH 1e-12

struct embedding {
    rsr_engine *engine;
    rsr_sequence *sequence;
    const struct rsr_hyper *hyper;
    const uint32_t *tokens;
    size_t n_tokens;
    float *states; /* [CHUNK_TOKENS][hidden] */
    double *sums;  /* [hidden] */
};

static bool is_wanted(const struct embedding *e, size_t token) {
    switch ((enum rsr_pooling)e->hyper->pooling) {
    case RSR_POOLING_LAST:
        return token + 1 == e->n_tokens;
    case RSR_POOLING_FIRST:
        return token == 0;
    case RSR_POOLING_MEAN:
        return true;
    case RSR_POOLING_NONE:
    case RSR_POOLING_COUNT:
        break;
    }
    return false;
}

/* Tokens [begin, begin + n); their wanted states join the sums. */
static rsr_status eval_chunk(struct embedding *e, size_t begin, uint32_t n, rsr_error *err) {
    rsr_batch_entry entries[CHUNK_TOKENS];
    uint32_t n_wanted = 0;
    for (uint32_t i = 0; i < n; i++) {
        entries[i] = (rsr_batch_entry){.sequence = e->sequence,
                                       .position = (uint32_t)(begin + i),
                                       .token = e->tokens[begin + i],
                                       .want_logits = is_wanted(e, begin + i)};
        n_wanted += entries[i].want_logits;
    }
    rsr_batch batch = RSR_BATCH_INIT;
    batch.entries = entries;
    batch.n_entries = n;
    batch.logits = e->states;
    batch.logits_capacity = (size_t)CHUNK_TOKENS * e->hyper->hidden;
    const rsr_status status = rsr_api_eval(e->engine, &batch, err);
    for (uint32_t i = 0; status == RSR_OK && i < n_wanted; i++)
        for (uint32_t d = 0; d < e->hyper->hidden; d++)
            e->sums[d] += (double)e->states[(size_t)i * e->hyper->hidden + d];
    return status;
}

static rsr_status eval_tokens(struct embedding *e, rsr_error *err) {
    /* Attention looks back only: nothing behind the first token changes it. */
    const size_t n_needed = e->hyper->pooling == RSR_POOLING_FIRST ? 1 : e->n_tokens;
    rsr_status status = RSR_OK;
    for (size_t begin = 0; status == RSR_OK && begin < n_needed; begin += CHUNK_TOKENS) {
        const size_t left = n_needed - begin;
        status = eval_chunk(e, begin, left < CHUNK_TOKENS ? (uint32_t)left : CHUNK_TOKENS, err);
    }
    return status;
}

static void finish(const struct embedding *e, float *out) {
    const double n = e->hyper->pooling == RSR_POOLING_MEAN ? (double)e->n_tokens : 1.0;
    double squares = 0.0, length = 1.0;
    for (uint32_t d = 0; d < e->hyper->hidden; d++) {
        e->sums[d] = e->sums[d] / n;
        squares = squares + e->sums[d] * e->sums[d];
    }
    if (e->hyper->normalized != 0)
        length = sqrt(squares) > MIN_LENGTH ? sqrt(squares) : MIN_LENGTH;
    for (uint32_t d = 0; d < e->hyper->hidden; d++)
        out[d] = (float)(e->sums[d] / length);
}

rsr_status rsr_api_embed(rsr_engine *engine, const uint32_t *tokens, size_t n_tokens,
                         float *embedding, size_t capacity, rsr_error *err) {
    if (engine == NULL || embedding == NULL || (tokens == NULL && n_tokens > 0))
        return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_embed: a pointer is NULL");
    rsr_status status = rsr_check_owner(rsr_engine_model(engine)->owner_pid, err);
    if (status != RSR_OK)
        return status;
    struct embedding e = {.engine = engine,
                          .hyper = &rsr_engine_model(engine)->module->hyper,
                          .tokens = tokens,
                          .n_tokens = n_tokens};
    if (e.hyper->pooling == RSR_POOLING_NONE)
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "this is a language model: it gives logits, not embeddings");
    if (n_tokens == 0)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "a text without tokens has no embedding");
    if (capacity < e.hyper->hidden)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "an embedding has %u floats; there is room for %zu",
                        e.hyper->hidden, capacity);
    e.states = malloc((size_t)CHUNK_TOKENS * e.hyper->hidden * sizeof(*e.states));
    e.sums = calloc(e.hyper->hidden, sizeof(*e.sums));
    status = e.states != NULL && e.sums != NULL
                 ? rsr_api_sequence_create(engine, &e.sequence, err)
                 : rsr_fail(err, RSR_ERR_MEMORY, "no memory for an embedding");
    fenv_t callers;
    fegetenv(&callers);
    fesetenv(FE_DFL_ENV);
    if (status == RSR_OK)
        status = eval_tokens(&e, err);
    if (status == RSR_OK)
        finish(&e, embedding);
    fesetenv(&callers);
    rsr_api_sequence_destroy(e.sequence);
    free(e.states);
    free(e.sums);
    return status;
}
