/* picks.c - the picks of a chunk: what each needs to know of the head, where that is kept, and the
 * choice once it is known. head_sketch.c says how the rows are found. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine.h"
#include "head_sketch.h"
#include "host/cpu.h"

/* Top-k of a larger part of the vocabulary gains nothing from bounds. */
#define LARGEST_PART 8u

/* ---- Memory ---- */

/* A slot, in bytes: a pick's arrays. Most of a slot is not touched, so it is mapped and not
 * filled. */
struct slot_layout {
    uint64_t all, t, estimates, block_bounds, block_estimates, frames, penalized, best, n_listed,
        listed, query, bytes;
};

static uint64_t take(uint64_t *bytes, uint64_t n, uint64_t element) {
    const uint64_t at = *bytes;
    *bytes = (at + n * element + 63) & ~UINT64_C(63);
    return at;
}

/* Without a sketch a slot holds logits alone. */
static struct slot_layout slot_layout_of(const struct rsr_engine *engine) {
    const uint32_t rows = engine->model->module->hyper.vocab;
    const uint64_t n_blocks = rsr_sketch_blocks_of(rows);
    const uint64_t padded = n_blocks * RSR_SKETCH_VECTORS;
    struct slot_layout s = {0};
    s.all = take(&s.bytes, padded, sizeof(float));
    if (engine->picks.shape.dim == 0)
        return s;
    s.t = take(&s.bytes, padded, sizeof(float));
    s.estimates = take(&s.bytes, padded, sizeof(float));
    s.block_estimates = take(&s.bytes, n_blocks, sizeof(float));
    s.block_bounds = take(&s.bytes, n_blocks, sizeof(float));
    s.frames = take(&s.bytes, n_blocks, sizeof(struct rsr_head_frame));
    s.penalized = take(&s.bytes, n_blocks, sizeof(uint64_t));
    s.best = take(&s.bytes, rows / LARGEST_PART + 1, sizeof(struct rsr_head_row));
    s.n_listed =
        take(&s.bytes, (uint64_t)engine->n_threads * RSR_HEAD_COUNT_STRIDE, sizeof(uint32_t));
    s.listed = take(&s.bytes, padded, sizeof(struct rsr_head_row));
    s.query = take(&s.bytes, rsr_sketch_query_bytes(&engine->picks.shape), 1);
    return s;
}

rsr_status rsr_picks_create(struct rsr_engine *engine, rsr_error *err) {
    const struct rsr_target *target = engine->model->target;
    struct rsr_picks *picks = &engine->picks;
    if (target->head_sketch.blocks != NULL) {
        picks->shape = rsr_sketch_flat_shape(target->head.cols, target->head_sketch.n_planes);
        picks->kernel = rsr_sketch_kernel_for(rsr_cpu_features());
    }
    picks->slot_bytes = slot_layout_of(engine).bytes;
    picks->picks = calloc(RSR_MAX_PICKS, sizeof(*picks->picks));
    return picks->picks != NULL ? RSR_OK
                                : rsr_fail(err, RSR_ERR_MEMORY, "no memory for an engine's picks");
}

static void unmap(struct rsr_picks *picks) {
    if (picks->memory != NULL)
        munmap(picks->memory, (size_t)picks->memory_bytes);
    picks->memory = NULL;
    picks->memory_bytes = 0;
}

void rsr_picks_destroy(struct rsr_engine *engine) {
    unmap(&engine->picks);
    free(engine->picks.picks);
}

static rsr_status reserve_slots(struct rsr_picks *picks, uint32_t n, rsr_error *err) {
    const uint64_t bytes = n * picks->slot_bytes;
    if (bytes <= picks->memory_bytes)
        return RSR_OK;
    unmap(picks);
    void *memory =
        mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory to pick %u tokens", n);
    picks->memory = memory;
    picks->memory_bytes = bytes;
    return RSR_OK;
}

static void set_slot(const struct slot_layout *at, char *slot, struct rsr_head_pick *pick) {
    pick->all = (float *)(void *)(slot + at->all);
    pick->t = (float *)(void *)(slot + at->t);
    pick->keys = pick->mode == RSR_PICK_DRAW ? pick->all : pick->t;
    pick->estimates = (float *)(void *)(slot + at->estimates);
    pick->block_estimates = (float *)(void *)(slot + at->block_estimates);
    pick->block_bounds = (float *)(void *)(slot + at->block_bounds);
    pick->frames = (struct rsr_head_frame *)(void *)(slot + at->frames);
    pick->penalized = (uint64_t *)(void *)(slot + at->penalized);
    pick->best = (struct rsr_head_row *)(void *)(slot + at->best);
    pick->n_listed = (uint32_t *)(void *)(slot + at->n_listed);
    pick->listed = (struct rsr_head_row *)(void *)(slot + at->listed);
    pick->query_memory = slot + at->query;
}

/* ---- Before the head ---- */

static enum rsr_pick_mode mode_of(const struct rsr_engine *engine, const rsr_sampling *s,
                                  bool wants_logits) {
    const uint32_t vocab = engine->model->module->hyper.vocab;
    const bool penalizes = s->repeat_penalty != 1.0f && s->repeat_window > 0;
    if (engine->picks.shape.dim == 0 || wants_logits || (penalizes && s->repeat_penalty < 1.0f))
        return RSR_PICK_ALL;
    if (s->temperature == 0.0f)
        return RSR_PICK_BEST;
    if (s->top_p < 1.0f || s->top_k > vocab / LARGEST_PART)
        return RSR_PICK_ALL;
    return s->top_k > 0 || s->min_p > 0.0f ? RSR_PICK_TOP : RSR_PICK_DRAW;
}

/* The logits of the chunk's token, which wants them. */
static const float *wanted_logits(const struct rsr_engine *engine, uint32_t token) {
    const struct rsr_chunk *chunk = &engine->chunk;
    uint32_t i = 0;
    while (chunk->wanted[i] != token)
        i++;
    return chunk->outputs + (size_t)i * engine->model->module->hyper.vocab;
}

static void mark_penalized(const struct rsr_engine *engine, struct rsr_head_pick *pick) {
    const rsr_sampling *s = &pick->sampling;
    const uint32_t vocab = engine->model->module->hyper.vocab;
    memset(pick->penalized, 0, ((size_t)vocab + 63) / 64 * sizeof(uint64_t));
    if (s->repeat_penalty == 1.0f)
        return;
    const uint32_t n = pick->n_history < s->repeat_window ? pick->n_history : s->repeat_window;
    for (uint32_t i = pick->n_history - n; i < pick->n_history; i++)
        pick->penalized[pick->history[i] / 64] |= UINT64_C(1) << pick->history[i] % 64;
}

static void set_sketched(struct rsr_engine *engine, const struct slot_layout *at,
                         struct rsr_head_pick *pick) {
    struct rsr_picks *picks = &engine->picks;
    const uint32_t slot = picks->n_all + picks->n_sketched;
    set_slot(at, picks->memory + slot * picks->slot_bytes, pick);
    mark_penalized(engine, pick);
    const rsr_sampling *s = &pick->sampling;
    pick->n_wanted = pick->mode == RSR_PICK_TOP && s->top_k > 0 ? s->top_k : 1;
    pick->noise_key = rsr_noise_key(s->seed, s->sequence_id, pick->n_history);
    picks->sketched[picks->n_sketched++] = pick;
}

static void set_all(struct rsr_engine *engine, struct rsr_head_pick *pick) {
    struct rsr_picks *picks = &engine->picks;
    if (engine->chunk.entries[pick->token].want_logits) {
        pick->logits = wanted_logits(engine, pick->token);
        return;
    }
    pick->logits = (const float *)(const void *)(picks->memory + picks->n_all * picks->slot_bytes);
    picks->all_tokens[picks->n_all++] = pick->token;
}

rsr_status rsr_picks_begin(struct rsr_engine *engine, const rsr_pick *given, uint32_t n,
                           size_t first, rsr_error *err) {
    struct rsr_picks *picks = &engine->picks;
    picks->n_picks = picks->n_all = picks->n_sketched = 0;
    if (n == 0)
        return RSR_OK;
    rsr_status status = reserve_slots(picks, n, err);
    if (status != RSR_OK)
        return status;
    const struct slot_layout at = slot_layout_of(engine);
    for (uint32_t i = 0; i < n; i++) {
        struct rsr_head_pick *pick = &picks->picks[i];
        pick->token = (uint32_t)(given[i].entry - first);
        const rsr_batch_entry *entry = &engine->chunk.entries[pick->token];
        pick->history = entry->sequence->tokens;
        pick->n_history = entry->position + 1;
        pick->sampling = (rsr_sampling)RSR_SAMPLING_INIT;
        status = rsr_read_options(&pick->sampling, sizeof(pick->sampling), given[i].sampling, err);
        if (status != RSR_OK)
            return status;
        pick->mode = mode_of(engine, &pick->sampling, entry->want_logits);
        atomic_store(&pick->excluded, false);
        if (pick->mode == RSR_PICK_ALL)
            set_all(engine, pick);
    }
    for (uint32_t i = 0; i < n; i++)
        if (picks->picks[i].mode != RSR_PICK_ALL)
            set_sketched(engine, &at, &picks->picks[i]);
    picks->n_picks = n;
    return RSR_OK;
}

/* ---- Behind the head ---- */

/* All rows that were read, of all workers. */
static uint32_t gather(const struct rsr_engine *engine, const struct rsr_head_pick *pick,
                       struct rsr_head_row *rows) {
    const uint32_t n_blocks = rsr_sketch_blocks_of(engine->model->module->hyper.vocab);
    uint32_t n = 0;
    for (uint32_t w = 0; w < engine->n_threads; w++) {
        const uint32_t first = rsr_head_blocks_before(n_blocks, w, engine->n_threads);
        const uint32_t n_listed = pick->n_listed[(size_t)w * RSR_HEAD_COUNT_STRIDE];
        if (rows != NULL)
            memcpy(rows + n, pick->listed + (size_t)first * RSR_SKETCH_VECTORS,
                   n_listed * sizeof(*rows));
        n += n_listed;
    }
    return n;
}

static uint32_t best_of(const struct rsr_head_row *rows, uint32_t n) {
    struct rsr_head_row best = rows[0];
    for (uint32_t i = 1; i < n; i++)
        if (rows[i].value > best.value || (rows[i].value == best.value && rows[i].row < best.row))
            best = rows[i];
    return best.row;
}

static uint32_t draw_from(const struct rsr_head_pick *pick, const struct rsr_head_row *rows,
                          uint32_t n, struct rsr_candidate *candidates) {
    uint32_t n_candidates = 0;
    for (uint32_t i = 0; i < n; i++)
        if (rows[i].value != -INFINITY)
            candidates[n_candidates++] = (struct rsr_candidate){
                (double)rows[i].value / (double)pick->sampling.temperature, rows[i].row};
    return rsr_sample_from(candidates, n_candidates, candidates + n, &pick->sampling,
                           pick->n_history);
}

static rsr_status choose(const struct rsr_engine *engine, const struct rsr_head_pick *pick,
                         uint32_t *token, rsr_error *err) {
    const uint32_t n = gather(engine, pick, NULL);
    struct rsr_head_row *rows = malloc(n * sizeof(*rows));
    struct rsr_candidate *candidates = malloc(2 * (size_t)n * sizeof(*candidates));
    rsr_status status = RSR_OK;
    if (rows == NULL || candidates == NULL) {
        status = rsr_fail(err, RSR_ERR_MEMORY, "no memory to choose from %u tokens", n);
    } else {
        gather(engine, pick, rows);
        *token =
            pick->mode == RSR_PICK_BEST ? best_of(rows, n) : draw_from(pick, rows, n, candidates);
    }
    free(rows);
    free(candidates);
    return status;
}

rsr_status rsr_picks_finish(struct rsr_engine *engine, uint32_t *picked, rsr_error *err) {
    const struct rsr_picks *picks = &engine->picks;
    for (uint32_t i = 0; i < picks->n_picks; i++) {
        struct rsr_head_pick *pick = &picks->picks[i];
        const bool all = pick->mode == RSR_PICK_ALL || atomic_load(&pick->excluded);
        const rsr_status status =
            all ? rsr_sample_token(engine->model->module->hyper.vocab, &pick->sampling,
                                   pick->mode == RSR_PICK_ALL ? pick->logits : pick->all,
                                   pick->history, pick->n_history, &picked[i], err)
                : choose(engine, pick, &picked[i], err);
        if (status != RSR_OK)
            return status;
        engine->workers[0].head.full += all;
        engine->workers[0].head.sketched += !all;
    }
    return RSR_OK;
}
