/* driver_head.c - the sketch of the head: whether there is one, and its blocks, made in parallel and written in
 * order, a few at a time.
 */
#include <stdlib.h>

#include "driver.h"
#include "model/head_sketch.h"

/* ---- the plan -------------------------------------------------------------------------------------------- */

static enum rsrc_status refuse(struct rsrc_compilation *c, const char *reason) {
    const struct rsrc_place place = {.file = c->options->input};
    rsrc_error(c->diag, "option-value", &place, "leave it out",
               "--head-sketch: there is nothing to make one of: %s", reason);
    return RSRC_FAILED;
}

static void remark(struct rsrc_compilation *c) {
    const struct rsr_head_plan *plan = &c->head_plan;
    const struct rsrc_place place = {.file = c->options->input};
    if (plan->n_planes != 0)
        rsrc_diag_emit(c->diag, RSRC_REMARK, "plan", &place, NULL,
                       "head: a sketch of %u plane%s, %.1f MB: %s", plan->n_planes,
                       plan->n_planes == 1 ? "" : "s", (double)plan->size_bytes / 1e6,
                       plan->reason);
    else
        rsrc_diag_emit(c->diag, RSRC_REMARK_MISSED, "plan", &place, NULL, "head: no sketch: %s",
                       plan->reason);
}

enum rsrc_status rsrc_plan_head(struct rsrc_compilation *c) {
    const uint32_t asked = c->options->head_sketch;
    const bool wanted = asked == RSRC_HEAD_SKETCH_1 || asked == RSRC_HEAD_SKETCH_2;
    struct rsr_head_plan *plan = &c->head_plan;
    if (!c->has_graph)
        return wanted ? refuse(c, "matrices have no head") : RSRC_OK;
    if (!rsrc_can_sketch_head(&c->graph, &plan->reason)) {
        if (wanted)
            return refuse(c, plan->reason);
    } else if (rsrc_is_gpu(c)) {
        plan->reason = "a GPU's kernels are of layers";
    } else if (asked == RSRC_HEAD_SKETCH_OFF) {
        plan->reason = "--head-sketch=off";
    } else if (wanted) {
        *plan = rsrc_plan_head_sketch(&c->graph, asked == RSRC_HEAD_SKETCH_1 ? 1 : 2);
        plan->reason = "asked for with --head-sketch";
    } else {
        *plan = rsrc_choose_head_sketch(&c->arena, &c->graph);
    }
    remark(c);
    return RSRC_OK;
}

/* ---- blocks ---------------------------------------------------------------------------------------------- */

/* That a worker makes at a time. */
#define BATCH 8u

struct sketching {
    struct rsrc_compilation *c;
    const float *centre;
    uint32_t n_batches;
    pthread_mutex_t lock;
    pthread_cond_t turn_changed;
    uint32_t next; /* batch to be made */
    uint32_t turn; /* to be written */
    bool failed;
};

/* Waits for the batch's turn; false: an earlier one has failed. */
static bool wait_for_turn(struct sketching *s, uint32_t batch) {
    pthread_mutex_lock(&s->lock);
    while (s->turn != batch && !s->failed)
        pthread_cond_wait(&s->turn_changed, &s->lock);
    const bool goes_on = !s->failed;
    pthread_mutex_unlock(&s->lock);
    return goes_on;
}

static void end_turn(struct sketching *s, enum rsrc_status status) {
    pthread_mutex_lock(&s->lock);
    s->turn++;
    s->failed |= status != RSRC_OK;
    rsrc_show_progress(s->c, "parts of the head's sketch", s->turn, s->n_batches);
    pthread_cond_broadcast(&s->turn_changed);
    pthread_mutex_unlock(&s->lock);
}

/* False: there is none left. */
static bool take_batch(struct sketching *s, uint32_t *batch) {
    pthread_mutex_lock(&s->lock);
    const bool more = s->next < s->n_batches && !s->failed;
    *batch = s->next;
    s->next += more;
    pthread_mutex_unlock(&s->lock);
    return more;
}

static void make_batches(struct sketching *s) {
    struct rsrc_compilation *c = s->c;
    const struct rsr_head_plan *plan = &c->head_plan;
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    float *rows = RSRC_NEW_ARRAY(&arena, rsrc_head_sketch_rows(&c->graph), float);
    void *blocks = rsrc_arena_array(&arena, BATCH, plan->block_bytes);
    uint32_t batch;
    while (take_batch(s, &batch)) {
        const uint32_t first = batch * BATCH, left = plan->n_blocks - first;
        const uint32_t n = left < BATCH ? left : BATCH;
        rsrc_make_head_sketch(&c->graph, plan, s->centre, first, n, rows, blocks);
        if (!wait_for_turn(s, batch))
            break;
        end_turn(s, rsrc_write_section(c, blocks, n * plan->block_bytes));
    }
    rsrc_arena_free(&arena);
}

static void *work(void *argument) {
    struct sketching *s = argument;
    const struct rsrc_lap lap = rsrc_lap_begin(&s->c->times);
    make_batches(s);
    rsrc_lap_end(&s->c->times, PASS_LINK, &lap);
    return NULL;
}

#define MAX_WORKERS 256

static enum rsrc_status write_blocks(struct rsrc_compilation *c, const float *centre) {
    struct sketching s = {
        .c = c, .centre = centre, .n_batches = (c->head_plan.n_blocks + BATCH - 1) / BATCH};
    pthread_mutex_init(&s.lock, NULL);
    pthread_cond_init(&s.turn_changed, NULL);
    pthread_t threads[MAX_WORKERS];
    uint32_t n_threads = 0;
    while (n_threads + 1 < c->n_jobs && n_threads + 1 < s.n_batches && n_threads < MAX_WORKERS &&
           pthread_create(&threads[n_threads], NULL, work, &s) == 0)
        n_threads++;
    make_batches(&s);
    for (uint32_t i = 0; i < n_threads; i++)
        pthread_join(threads[i], NULL);
    pthread_cond_destroy(&s.turn_changed);
    pthread_mutex_destroy(&s.lock);
    return s.failed ? RSRC_FAILED : RSRC_OK;
}

enum rsrc_status rsrc_emit_head_sketch(struct rsrc_compilation *c, struct rsr_module_sketch *out) {
    const struct rsr_head_plan *plan = &c->head_plan;
    if (plan->n_planes == 0)
        return RSRC_OK;
    const uint32_t dim = c->graph.hyper.hidden;
    float *centre = RSRC_NEW_ARRAY(&c->arena, dim, float);
    rsrc_find_head_centre(&c->graph, centre);
    const struct rsr_blob blob = {.symbol = "rsr_w_head_centre",
                                  .bytes = centre,
                                  .size_bytes = (uint64_t)dim * sizeof(*centre),
                                  .align = 64};
    *out = (struct rsr_module_sketch){.blocks = "rsr_w_head_sketch",
                                      .block_bytes = plan->block_bytes,
                                      .n_planes = plan->n_planes};
    if (rsrc_emit_own_blob(c, blob, &out->centre) != RSRC_OK ||
        rsrc_begin_section(c, out->blocks, 4096, plan->size_bytes) != RSRC_OK)
        return RSRC_FAILED;
    return write_blocks(c, centre);
}
