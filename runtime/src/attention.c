/* attention.c - dense attention over KV pages: which worker does what, and which page comes when. The
 * arithmetic of one (query head, page) is ops/ops_attend.c.
 *
 * The unit of work is (run, KV head): up to RSR_RUN_TOKENS consecutive tokens of a sequence and all
 * query heads of the group go over a page before the next page is touched. Units are dealt out
 * round-robin; a unit's result does not depend on who computes it or on what else is in the run.
 */
#include <string.h>

#include "engine.h"

/* A worker's scratch, as many rows as a run has query heads in one group. */
struct attend_scratch {
    float *q;                        /* [rows][row_floats], zero from head_dim on */
    float *out;                      /* [rows][row_floats] */
    struct rsr_attend_state *states; /* [rows] */
    struct rsr_attend_head *heads;   /* [rows]: the three of a row */
};

static uint32_t group_heads(const struct rsr_hyper *hyper) {
    return hyper->n_heads / hyper->n_kv_heads;
}

static uint64_t dense_scratch_bytes(const struct rsr_engine *engine) {
    const uint64_t rows = (uint64_t)RSR_RUN_TOKENS * group_heads(&engine->model->module->hyper);
    const uint64_t row_bytes = engine->kv.format.row_floats * sizeof(float);
    uint64_t bytes;
    if (__builtin_mul_overflow(2 * rows, row_bytes, &bytes) ||
        __builtin_add_overflow(
            bytes, rows * (sizeof(struct rsr_attend_state) + sizeof(struct rsr_attend_head)),
            &bytes))
        return 0;
    return bytes;
}

static struct attend_scratch cut_scratch(const struct rsr_engine *engine, uint32_t worker) {
    const size_t rows = (size_t)RSR_RUN_TOKENS * group_heads(&engine->model->module->hyper);
    const size_t row_floats = engine->kv.format.row_floats;
    struct attend_scratch s;
    s.q = (float *)(void *)engine->workers[worker].scratch;
    s.out = s.q + rows * row_floats;
    s.heads = (struct rsr_attend_head *)(void *)(s.out + rows * row_floats);
    s.states = (struct rsr_attend_state *)(void *)(s.heads + rows);
    return s;
}

struct unit {
    struct rsr_run run;
    uint32_t block;
    uint32_t window;
    uint32_t kv_head;
};

/* What a token sees of a page. */
struct view {
    uint32_t skipped, n_keys; /* 0 keys: nothing */
};

static struct view view_page(uint32_t position, uint32_t window, uint32_t page_begin) {
    const uint32_t first = rsr_first_seen(position, window);
    if (position < page_begin || first >= page_begin + RSR_PAGE_TOKENS)
        return (struct view){0, 0};
    const uint32_t seen = position - page_begin + 1;
    const uint32_t skipped = first > page_begin ? first - page_begin : 0;
    return (struct view){skipped, (seen < RSR_PAGE_TOKENS ? seen : RSR_PAGE_TOKENS) - skipped};
}

/* All query heads of the unit's group, at every token of the run that sees the page: at once for tokens
 * that see the same keys of it. */
static void attend_unit_page(const struct rsr_engine *engine, const struct unit *unit,
                             const struct attend_scratch *s, uint32_t number, bool is_last) {
    const struct rsr_hyper *hyper = &engine->model->module->hyper;
    const struct rsr_kv_pool *kv = &engine->kv;
    const uint32_t *positions = engine->chunk.positions + unit->run.first_token;
    const uint32_t *pages = engine->chunk.entries[unit->run.first_token].sequence->pages;
    const struct rsr_kv_rows rows = kv->layout->rows(kv, pages[number], unit->block, unit->kv_head);
    const uint32_t group = group_heads(hyper), begin = number * RSR_PAGE_TOKENS;
    struct rsr_attend_page page = {.row_floats = kv->format.row_floats};
    if (!is_last)
        page.next_keys = kv->layout->rows(kv, pages[number + 1], unit->block, unit->kv_head).keys;
    for (uint32_t t = 0, end; t < unit->run.n_tokens; t = end) {
        const struct view view = view_page(positions[t], unit->window, begin);
        for (end = t + 1; end < unit->run.n_tokens; end++) {
            const struct view other = view_page(positions[end], unit->window, begin);
            if (other.skipped != view.skipped || other.n_keys != view.n_keys)
                break;
        }
        if (view.n_keys == 0)
            continue;
        const struct rsr_kv_rows seen = rsr_kv_rows_from(&kv->format, rows, view.skipped);
        page.keys = seen.keys;
        page.values = seen.values;
        page.n_keys = view.n_keys;
        kv->format.ops->attend_page(s->heads + (size_t)t * group, (end - t) * group, &page,
                                    hyper->attention_scale);
    }
}

static void start_row(const struct attend_scratch *s, size_t row, uint32_t row_floats) {
    s->states[row] = (struct rsr_attend_state){0.0f, 0.0f};
    s->heads[row] = (struct rsr_attend_head){s->q + row * row_floats, s->out + row * row_floats,
                                             &s->states[row]};
}

static void attend_unit(const struct rsr_engine *engine, const struct unit *unit,
                        const struct attend_scratch *s, const struct rsr_attention_call *call) {
    const struct rsr_hyper *hyper = &engine->model->module->hyper;
    const uint32_t group = group_heads(hyper), head_dim = hyper->head_dim;
    const uint32_t row_floats = engine->kv.format.row_floats;
    const size_t head_offset = (size_t)unit->kv_head * group * head_dim;
    for (uint32_t t = 0; t < unit->run.n_tokens; t++) {
        const float *from = (const float *)(const void *)(call->q + (unit->run.first_token + t) *
                                                                        call->q_row_bytes) +
                            head_offset;
        for (uint32_t h = 0; h < group; h++) {
            float *row = s->q + ((size_t)t * group + h) * row_floats;
            memcpy(row, from + (size_t)h * head_dim, head_dim * sizeof(float));
            memset(row + head_dim, 0, (row_floats - head_dim) * sizeof(float));
            start_row(s, (size_t)t * group + h, row_floats);
        }
    }
    const uint32_t last = engine->chunk.positions[unit->run.first_token + unit->run.n_tokens - 1];
    const uint32_t first =
        rsr_first_seen(engine->chunk.positions[unit->run.first_token], unit->window);
    for (uint32_t page = first / RSR_PAGE_TOKENS; page <= last / RSR_PAGE_TOKENS; page++)
        attend_unit_page(engine, unit, s, page, page == last / RSR_PAGE_TOKENS);
    engine->workers[call->worker].bytes +=
        (uint64_t)(last - first + 1) * 2 * engine->kv.format.row_bytes;
    for (uint32_t t = 0; t < unit->run.n_tokens; t++) {
        float *to =
            (float *)(void *)(call->out + (unit->run.first_token + t) * call->out_row_bytes) +
            head_offset;
        for (uint32_t h = 0; h < group; h++) {
            const size_t row = (size_t)t * group + h;
            engine->model->ops->attend_finish(to + (size_t)h * head_dim, s->out + row * row_floats,
                                              &s->states[row], head_dim);
        }
    }
}

void rsr_attention_dense_unit(const struct rsr_engine *engine,
                              const struct rsr_attention_call *call, struct rsr_run run,
                              uint32_t kv_head) {
    const struct attend_scratch scratch = cut_scratch(engine, call->worker);
    const struct unit unit = {
        .run = run, .block = call->block, .window = call->window, .kv_head = kv_head};
    attend_unit(engine, &unit, &scratch, call);
}

static void dense_run(const struct rsr_engine *engine, const struct rsr_attention_call *call) {
    const uint32_t n_kv_heads = engine->model->module->hyper.n_kv_heads;
    const uint64_t n_units = (uint64_t)engine->chunk.n_runs * n_kv_heads;
    for (uint64_t u = call->worker; u < n_units; u += engine->n_threads)
        rsr_attention_dense_unit(engine, call, engine->chunk.runs[u / n_kv_heads],
                                 (uint32_t)(u % n_kv_heads));
}

static rsr_status dense_begin(struct rsr_engine *engine, rsr_error *err) {
    (void)engine;
    (void)err;
    return RSR_OK;
}

static uint32_t dense_sidecar_bytes(const struct rsr_engine *engine) {
    (void)engine;
    return 0;
}

const struct rsr_attention rsr_attention_dense = {
    .name = "dense",
    .begin = dense_begin,
    .sidecar_bytes = dense_sidecar_bytes,
    .scratch_bytes = dense_scratch_bytes,
    .run = dense_run,
};
