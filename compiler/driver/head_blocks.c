/* head_blocks.c - the sketch of the head: whether there is one, and its blocks, made in parallel
 * and written in order, a few at a time.
 */
#include "base/round.h"
#include "driver/compilation.h"
#include "driver/turns.h"
#include "model/head_sketch.h"
#include "model/pack_rows.h"

/* ---- the plan -------------------------------------------------------------------------------- */

static enum rsrc_status refuse(const struct rsrc_run *run, const char *reason) {
    return rsrc_refuse(run->diag, "option-value", &(struct rsrc_place){.file = run->options->input},
                       "leave it out", "--head-sketch: there is nothing to make one of: %s",
                       reason);
}

static void remark(struct rsrc_compilation *c) {
    const struct rsr_head_plan *plan = &c->made.head_plan;
    const struct rsrc_place place = {.file = c->run.options->input};
    if (plan->n_planes != 0)
        rsrc_diag_emit(c->run.diag, RSRC_REMARK, "plan", &place, NULL,
                       "head: a sketch of %u plane%s, %.1f MB: %s", plan->n_planes,
                       plan->n_planes == 1 ? "" : "s", (double)plan->size_bytes / 1e6,
                       plan->reason);
    else
        rsrc_diag_emit(c->run.diag, RSRC_REMARK_MISSED, "plan", &place, NULL, "head: no sketch: %s",
                       plan->reason);
}

static uint64_t stored_row_bytes(const struct rsrc_compilation *c, const struct rsr_tensor *rows) {
    return rsrc_packing_of(c, rows)->is_packed ? rsrc_packed_row_bytes(rows)
                                               : rows->size_bytes / c->inputs.graph.hyper.vocab;
}

static struct rsr_stored_rows stored_rows(const struct rsrc_compilation *c) {
    const struct rsr_graph *graph = &c->inputs.graph;
    return (struct rsr_stored_rows){.head = stored_row_bytes(c, graph->head),
                                    .embedding = stored_row_bytes(c, graph->embedding)};
}

/* What profiles know; NULL: nothing. */
static const double *open_rows(const struct rsrc_compilation *c) {
    return c->inputs.open_rows.n_picks != 0 ? c->inputs.open_rows.open : NULL;
}

enum rsrc_status rsrc_plan_head(struct rsrc_compilation *c) {
    const uint32_t asked = c->run.options->head_sketch;
    const bool wanted = asked == RSRC_HEAD_SKETCH_1 || asked == RSRC_HEAD_SKETCH_2;
    struct rsr_head_plan *plan = &c->made.head_plan;
    if (!c->inputs.has_graph)
        return wanted ? refuse(&c->run, "matrices have no head") : RSRC_OK;
    if (!rsrc_can_sketch_head(&c->inputs.graph, &plan->reason)) {
        if (wanted)
            return refuse(&c->run, plan->reason);
    } else if (asked == RSRC_HEAD_SKETCH_OFF) {
        plan->reason = "--head-sketch=off";
    } else if (c->inputs.n_cpus == 0 && !wanted) {
        plan->reason = "that of a GPU is asked for with --head-sketch=1";
    } else if (wanted) {
        *plan = rsrc_plan_head_sketch(&c->inputs.graph, stored_rows(c).head,
                                      asked == RSRC_HEAD_SKETCH_1 ? 1 : 2, open_rows(c));
        plan->reason = "asked for with --head-sketch";
    } else {
        *plan =
            rsrc_choose_head_sketch(&c->run.arena, &c->inputs.graph, stored_rows(c), open_rows(c));
    }
    remark(c);
    return RSRC_OK;
}

/* ---- blocks ---------------------------------------------------------------------------------- */

/* Blocks that a worker makes at a time. */
#define BATCH 8u

struct sketching {
    struct rsrc_compilation *c;
    const float *centre;
    struct rsrc_turns turns; /* of batches */
    pthread_t caller;        /* its time counts as time of its pass */
};

static void make_batches(struct sketching *s) {
    struct rsrc_compilation *c = s->c;
    const struct rsr_head_plan *plan = &c->made.head_plan;
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    float *rows = RSRC_NEW_ARRAY(&arena, rsrc_head_sketch_rows(&c->inputs.graph), float);
    void *blocks = rsrc_arena_array(&arena, BATCH, plan->block_bytes);
    uint32_t batch;
    while (rsrc_take_item(&s->turns, &batch)) {
        const uint32_t first = batch * BATCH, left = plan->n_blocks - first;
        const uint32_t n = left < BATCH ? left : BATCH;
        rsrc_make_head_sketch(&c->inputs.graph, plan, s->centre, first, n, rows, blocks);
        enum rsrc_status status = RSRC_FAILED;
        if (rsrc_await_turn(&s->turns, batch))
            status = rsrc_write_section(&c->weights, blocks, n * plan->block_bytes);
        rsrc_show_progress(&c->run, "parts of the head's sketch", batch + 1, s->turns.n_items);
        rsrc_end_turn(&s->turns, status);
    }
    rsrc_arena_free(&arena);
}

static void *work(void *argument) {
    struct sketching *s = argument;
    const struct rsrc_lap lap = rsrc_lap_begin(&s->c->run.times);
    make_batches(s);
    if (!pthread_equal(pthread_self(), s->caller))
        rsrc_lap_end(&s->c->run.times, PASS_LINK, &lap);
    return NULL;
}

enum rsrc_status rsrc_emit_head_sketch(struct rsrc_compilation *c, struct rsr_module_sketch *out) {
    const struct rsr_head_plan *plan = &c->made.head_plan;
    if (plan->n_planes == 0)
        return RSRC_OK;
    rsrc_begin_part(&c->weights, "head sketch");
    const uint32_t dim = c->inputs.graph.hyper.hidden;
    float *centre = RSRC_NEW_ARRAY(&c->run.arena, dim, float);
    rsrc_find_head_centre(&c->inputs.graph, centre);
    const struct rsr_blob blob = {.symbol = "rsr_w_head_centre",
                                  .bytes = centre,
                                  .size_bytes = (uint64_t)dim * sizeof(*centre),
                                  .align = 64};
    *out = (struct rsr_module_sketch){.blocks = "rsr_w_head_sketch",
                                      .block_bytes = plan->block_bytes,
                                      .token_bytes = plan->token_bytes,
                                      .n_planes = plan->n_planes};
    if (rsrc_emit_own_blob(&c->weights, blob, &out->centre) != RSRC_OK ||
        rsrc_begin_section(&c->weights, out->blocks, 4096, plan->size_bytes) != RSRC_OK)
        return RSRC_FAILED;
    struct sketching s = {.c = c,
                          .centre = centre,
                          .turns = {.n_items = rsrc_divide_up(plan->n_blocks, BATCH)},
                          .caller = pthread_self()};
    return rsrc_run_turns(&s.turns, c->run.n_jobs, work, &s);
}
