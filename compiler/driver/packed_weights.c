/* packed_weights.c - the embedding and the head in 12 bits a weight: whether they are stored so,
 * and their rows, packed in parallel and written in order, a few at a time.
 */
#include "base/round.h"
#include "driver/compilation.h"
#include "driver/turns.h"
#include "model/pack_rows.h"

const struct rsr_tensor *rsrc_own_head(const struct rsr_graph *graph) {
    const bool is_layer = graph->head_slot.layer != RSR_NO_LAYER;
    return is_layer || graph->head == graph->embedding ? NULL : graph->head;
}

/* ---- the plan -------------------------------------------------------------------------------- */

/* Smaller matrices stay in a cache, where instructions count: a row by itself takes up to 1.4 times
 * as many of them (runtime/src/ops/ops_packed.c), and three quarters of the bytes. */
#define LEAST_BYTES (UINT64_C(8) << 20)

/* What --head-bits=auto lets a packed matrix take of its 16 bits: exceptions, a branch each, are
 * then few. */
#define MOST_SHARE 0.8

static enum rsrc_status refuse(const struct rsrc_run *run, const char *what, const char *reason) {
    return rsrc_refuse(run->diag, "option-value", &(struct rsrc_place){.file = run->options->input},
                       "leave it out", "--head-bits=12: the %s stays as it is: %s", what, reason);
}

static void remark(struct rsrc_compilation *c, const char *what, const struct rsr_tensor *tensor,
                   const struct rsr_packing *plan) {
    const struct rsrc_place place = {.file = c->run.options->input};
    if (plan->is_packed)
        rsrc_diag_emit(c->run.diag, RSRC_REMARK, "plan", &place, NULL,
                       "%s: 12 bits a weight, %.1f MB instead of %.1f MB: %s", what,
                       (double)plan->size_bytes / 1e6, (double)tensor->size_bytes / 1e6,
                       plan->reason);
    else
        rsrc_diag_emit(c->run.diag, RSRC_REMARK_MISSED, "plan", &place, NULL,
                       "%s: stored as it is, %.1f MB: %s", what, (double)tensor->size_bytes / 1e6,
                       plan->reason);
}

static struct rsr_packing choose(struct rsrc_compilation *c, const struct rsr_tensor *tensor) {
    struct rsrc_arena *arena = &c->run.arena;
    struct rsr_packing plan = {0};
    const bool wanted = c->run.options->head_bits == RSRC_HEAD_BITS_12;
    const double share = wanted ? 1.0 : MOST_SHARE;
    if (c->run.options->head_bits == RSRC_HEAD_BITS_16)
        plan.reason = "--head-bits=16";
    else if (!rsrc_can_pack(tensor, &plan.reason))
        return plan;
    else if (rsrc_n_gpus(&c->inputs) != 0)
        plan.reason = rsrc_arena_printf(arena, "the GPU target %s reads bfloat16",
                                        c->inputs.specs[c->inputs.n_cpus].name);
    else if (!wanted && tensor->size_bytes < LEAST_BYTES)
        plan.reason =
            rsrc_arena_printf(arena, "a cache may hold its %.1f MB; it is packed from %.1f MB on",
                              (double)tensor->size_bytes / 1e6, (double)LEAST_BYTES / 1e6);
    else {
        rsrc_plan_packing(arena, tensor, (uint64_t)(share * (double)tensor->size_bytes), &plan);
        plan.reason =
            plan.is_packed
                ? rsrc_arena_printf(arena, "exact, with %u exceptions", plan.n_exceptions)
                : rsrc_arena_printf(arena, "with its exceptions it is above %.0f %% of its bytes",
                                    100 * share);
    }
    return plan;
}

static enum rsrc_status plan_one(struct rsrc_compilation *c, const char *what,
                                 const struct rsr_tensor *tensor, struct rsr_packing *plan) {
    *plan = choose(c, tensor);
    if (c->run.options->head_bits == RSRC_HEAD_BITS_12 && !plan->is_packed)
        return refuse(&c->run, what, plan->reason);
    remark(c, what, tensor, plan);
    return RSRC_OK;
}

enum rsrc_status rsrc_plan_packed(struct rsrc_compilation *c) {
    const struct rsr_graph *graph = &c->inputs.graph;
    if (!c->inputs.has_graph)
        return c->run.options->head_bits == RSRC_HEAD_BITS_12
                   ? rsrc_refuse(c->run.diag, "option-value",
                                 &(struct rsrc_place){.file = c->run.options->input},
                                 "leave it out", "--head-bits=12: matrices have no head")
                   : RSRC_OK;
    if (plan_one(c, "embedding", graph->embedding, &c->made.packed_embedding) != RSRC_OK)
        return RSRC_FAILED;
    const struct rsr_tensor *head = rsrc_own_head(graph);
    return head == NULL ? RSRC_OK : plan_one(c, "head", head, &c->made.packed_head);
}

const struct rsr_packing *rsrc_packing_of(const struct rsrc_compilation *c,
                                          const struct rsr_tensor *tensor) {
    return tensor == c->inputs.graph.embedding ? &c->made.packed_embedding : &c->made.packed_head;
}

uint64_t rsrc_stored_bytes(const struct rsrc_compilation *c, const struct rsr_tensor *tensor) {
    const struct rsr_packing *plan = rsrc_packing_of(c, tensor);
    return plan->is_packed ? plan->size_bytes : tensor->size_bytes;
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* Rows that a worker packs at a time. */
#define BATCH 512u

struct packing {
    struct rsrc_compilation *c;
    const struct rsr_tensor *tensor;
    const struct rsr_packing *plan;
    uint32_t rows;
    struct rsrc_turns turns; /* of batches */
    pthread_t caller;        /* its time counts as time of its pass */
};

static void pack_batches(struct packing *p) {
    struct rsrc_compilation *c = p->c;
    const uint64_t row_bytes = rsrc_packed_row_bytes(p->tensor);
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    uint8_t *rows = rsrc_arena_array(&arena, BATCH, row_bytes);
    uint32_t batch;
    while (rsrc_take_item(&p->turns, &batch)) {
        const uint32_t first = batch * BATCH, left = p->rows - first;
        const uint32_t n = left < BATCH ? left : BATCH;
        rsrc_pack_rows(p->tensor, p->plan, first, n, rows);
        enum rsrc_status status = RSRC_FAILED;
        if (rsrc_await_turn(&p->turns, batch))
            status = rsrc_write_section(&c->weights, rows, n * row_bytes);
        rsrc_show_progress(&c->run, "parts of the packed weights", batch + 1, p->turns.n_items);
        rsrc_end_turn(&p->turns, status);
    }
    rsrc_arena_free(&arena);
}

static void *work(void *argument) {
    struct packing *p = argument;
    const struct rsrc_lap lap = rsrc_lap_begin(&p->c->run.times);
    pack_batches(p);
    if (!pthread_equal(pthread_self(), p->caller))
        rsrc_lap_end(&p->c->run.times, PASS_LINK, &lap);
    return NULL;
}

enum rsrc_status rsrc_emit_packed(struct rsrc_compilation *c, const struct rsr_tensor *tensor,
                                  const char *symbol) {
    struct packing p = {.c = c,
                        .tensor = tensor,
                        .plan = rsrc_packing_of(c, tensor),
                        .rows = (uint32_t)tensor->shape[0],
                        .caller = pthread_self()};
    p.turns.n_items = rsrc_divide_up(p.rows, BATCH);
    enum rsrc_status status = rsrc_begin_section(&c->weights, symbol, 4096, p.plan->size_bytes);
    if (status == RSRC_OK)
        status = rsrc_write_section(&c->weights, p.plan->front, p.plan->front_bytes);
    return status == RSRC_OK ? rsrc_run_turns(&p.turns, c->run.n_jobs, work, &p) : status;
}
