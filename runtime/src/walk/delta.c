/* delta.c - the gated delta rule of one sequence and value head: convolution, unit queries and
 * keys, the recurrence, the norm of its results and their gate. The arithmetic is ops/'s. */
#include <math.h>
#include <string.h>

#include "crew.h"

#define TILE 16u /* tokens that pass through the recurrence together */

/* Queries, keys and values: the parts of a row of qkv that a head convolves. */
#define PARTS 3

struct head {
    const struct rsr_crew *crew;
    const struct rsr_delta_call *call;
    const struct rsr_hyper *hyper;
    const struct rsr_ops *ops;
    uint32_t number; /* of the value head */
    char *state;     /* written */
    const char *from;
    size_t channels;                          /* of a row of qkv */
    size_t first[PARTS];                      /* channel at which each part begins */
    uint32_t n[PARTS];                        /* channels of each part */
    const float *past[RSR_DELTA_PAST][PARTS]; /* of the tokens before the next one, oldest first */
    /* A tile, in scratch. */
    float *x[PARTS];
    size_t x_floats[PARTS]; /* from token to token */
    float *out, *decay, *beta;
    uint32_t tokens[TILE], n_tokens;
};

static uint64_t pad16(uint64_t n) {
    return (n + 15) / 16 * 16;
}

uint64_t rsr_delta_scratch_bytes(const struct rsr_hyper *hyper) {
    const uint64_t key = pad16(TILE * (uint64_t)hyper->delta_key_dim),
                   value = TILE * pad16(hyper->delta_value_dim);
    return (2 * key + 2 * value + 2 * TILE) * sizeof(float);
}

static const float *row_at(const struct rsr_step_rows *rows, uint32_t token) {
    return (const float *)(const void *)(rows->memory + token * rows->row_bytes);
}

/* The rows of qkv in a head's part of a state. */
static float *kept_rows(const char *state, const struct rsr_state_memory *states) {
    return (float *)(uintptr_t)(state + states->matrix_bytes);
}

/* Points to the rows that the state keeps. A sequence without a state starts with zeros. */
static void begin_state(struct head *h, const struct rsr_state_run *run) {
    const struct rsr_state_memory *states = &h->crew->states;
    h->state = rsr_state_memory_head(states, run->to, h->call->layer, h->number);
    if (run->from == RSR_NO_PAGE)
        memset(h->state, 0, states->head_bytes);
    h->from = run->from == RSR_NO_PAGE
                  ? h->state
                  : rsr_state_memory_head(states, run->from, h->call->layer, h->number);
    const float *kept = kept_rows(h->from, states);
    for (int part = 0; part < PARTS; part++)
        for (uint32_t i = 0; i < RSR_DELTA_PAST; i++, kept += h->n[part])
            h->past[i][part] = kept;
}

/* Where a row is taken from the same state, it stood later there than it is put now, or where it
 * is put. */
static void end_state(struct head *h) {
    float *kept = kept_rows(h->state, &h->crew->states);
    for (int part = 0; part < PARTS; part++)
        for (uint32_t i = 0; i < RSR_DELTA_PAST; i++, kept += h->n[part])
            memmove(kept, h->past[i][part], h->n[part] * sizeof(float));
}

/* Takes the head's part of a token into the tile. */
static void take_token(struct head *h, uint32_t token) {
    const struct rsr_delta *weights = h->call->weights;
    const float *row = row_at(&h->call->qkv, token);
    const uint32_t t = h->n_tokens++;
    for (int part = 0; part < PARTS; part++) {
        const float *rows[RSR_DELTA_TAPS];
        for (uint32_t i = 0; i < RSR_DELTA_PAST; i++)
            rows[i] = h->past[i][part];
        rows[RSR_DELTA_PAST] = row + h->first[part];
        h->ops->convolve(h->x[part] + t * h->x_floats[part], rows, weights->taps + h->first[part],
                         h->channels, h->n[part]);
        for (uint32_t i = 0; i < RSR_DELTA_PAST; i++)
            h->past[i][part] = rows[i + 1];
    }
    float *q = h->x[0] + t * h->x_floats[0], *k = h->x[1] + t * h->x_floats[1];
    h->ops->unit(q, q, 1.0f / sqrtf((float)h->n[0]), h->n[0]);
    h->ops->unit(k, k, 1.0f, h->n[1]);
    h->ops->delta_gates(&h->decay[t], &h->beta[t], row_at(&h->call->decay, token)[h->number],
                        row_at(&h->call->beta, token)[h->number], weights->rate[h->number],
                        weights->shift[h->number]);
    h->tokens[t] = token;
}

static void finish_tile(struct head *h) {
    const struct rsr_delta *weights = h->call->weights;
    const uint32_t value_dim = h->n[2], value_cols = h->crew->states.value_cols;
    const struct rsr_delta_tokens tokens = {.n = h->n_tokens,
                                            .key_dim = h->n[0],
                                            .value_cols = value_cols,
                                            .q = h->x[0],
                                            .k = h->x[1],
                                            .v = h->x[2],
                                            .out = h->out,
                                            .decay = h->decay,
                                            .beta = h->beta};
    h->ops->delta[h->crew->states.type](h->state, h->from, &tokens);
    h->from = h->state;
    for (uint32_t t = 0; t < h->n_tokens; t++) {
        const struct rsr_step_rows *rows = &h->call->out;
        float *x = h->out + (size_t)t * value_cols;
        float *dst = (float *)(void *)(rows->memory + h->tokens[t] * rows->row_bytes) +
                     h->number * (size_t)value_dim;
        if (!h->ops->norm(x, x, weights->norm, weights->norm_eps, value_dim))
            rsr_report_not_finite(h->crew, h->tokens[t], h->call->op_index);
        h->ops->act_mul(dst, row_at(&h->call->z, h->tokens[t]) + h->number * (size_t)value_dim, x,
                        value_dim, RSR_ACTIVATION_SILU);
    }
    h->n_tokens = 0;
}

static void cut_scratch(struct head *h, char *scratch) {
    float *at = (float *)(void *)scratch;
    const size_t value_cols = h->crew->states.value_cols;
    for (int part = 0; part < PARTS; part++) {
        h->x[part] = at;
        h->x_floats[part] = part == 2 ? value_cols : h->n[part];
        at += pad16(TILE * h->x_floats[part]);
    }
    memset(h->x[2], 0, TILE * value_cols * sizeof(float)); /* the padding of values */
    h->out = at;
    h->decay = at + TILE * value_cols;
    h->beta = h->decay + TILE;
}

void rsr_delta_run(struct rsr_crew *crew, const struct rsr_delta_call *call, uint32_t unit) {
    const struct rsr_hyper *hyper = &crew->model->module->hyper;
    const struct rsr_chunk *chunk = crew->chunk;
    const struct rsr_state_run *run = &chunk->state_runs[unit / hyper->delta_value_heads];
    const uint32_t number = unit % hyper->delta_value_heads;
    const uint32_t key_head = number / (hyper->delta_value_heads / hyper->delta_key_heads);
    const size_t keys = (size_t)hyper->delta_key_heads * hyper->delta_key_dim;
    struct head h = {
        .crew = crew,
        .call = call,
        .hyper = hyper,
        .ops = crew->model->ops,
        .number = number,
        .channels = 2 * keys + (size_t)hyper->delta_value_heads * hyper->delta_value_dim,
        .first = {(size_t)key_head * hyper->delta_key_dim,
                  keys + (size_t)key_head * hyper->delta_key_dim,
                  2 * keys + (size_t)number * hyper->delta_value_dim},
        .n = {hyper->delta_key_dim, hyper->delta_key_dim, hyper->delta_value_dim},
    };
    cut_scratch(&h, crew->workers[call->worker].scratch);
    begin_state(&h, run);
    for (uint32_t t = run->first_token; t != UINT32_MAX; t = chunk->next_tokens[t]) {
        take_token(&h, t);
        if (h.n_tokens == TILE)
            finish_tile(&h);
    }
    if (h.n_tokens > 0)
        finish_tile(&h);
    end_state(&h);
}
