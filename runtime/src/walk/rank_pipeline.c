/* rank_pipeline.c - ranks that share out layers. A step's operations go from layer to layer, so
 * each rank runs one range of them, and passes on what later operations read: the hidden state of
 * every token. The tables of angles follow from positions alone; every rank computes its own.
 *
 * All ranks take part in every exchange of a step, and all but one of them wait in it. Meanwhile
 * other engines of the model have their turn (rsr_model.pipeline): so a rank runs the layers of one
 * engine at a time, and a step's workers are never disturbed by those of another. */
#include "crew.h"
#include "ranks.h"

/* ---- Layers ---- */

struct rsr_range rsr_rank_layers(uint32_t n_layers, uint32_t head_layers, uint32_t rank,
                                 uint32_t size) {
    const uint32_t last = size - 1, n = n_layers + head_layers;
    struct rsr_range range = rsr_rank_share(n, rank, size);
    if (rsr_rank_share(n, last, size).begin >= n_layers)
        return rank == last ? (struct rsr_range){n_layers - 1, n_layers}
                            : rsr_rank_share(n_layers - 1, rank, last);
    range.end = range.end < n_layers ? range.end : n_layers;
    return range;
}

uint32_t rsr_rank_head_layers(const rsr_model *model) {
    const struct rsr_step_table *step = &model->target->steps[0];
    const uint32_t n_layers = model->module->hyper.n_layers;
    uint64_t of_layers = 1, of_head = 0;
    for (uint32_t i = 0; i < step->n_ops; i++) {
        const uint64_t bytes = rsr_op_weight_bytes(model->target, &step->ops[i]);
        *(step->ops[i].block == RSR_NO_BLOCK ? &of_head : &of_layers) += bytes;
    }
    const uint64_t n = of_head / (of_layers / n_layers + 1);
    return n < n_layers ? (uint32_t)n : n_layers;
}

/* ---- The plan ---- */

/* Operations that leave nothing of what their destination held before. */
#define OVERWRITING                                                                                \
    (UINT32_C(1) << RSR_OP_EMBED | UINT32_C(1) << RSR_OP_ROPE_TABLE | UINT32_C(1) << RSR_OP_NORM | \
     UINT32_C(1) << RSR_OP_QUANT | UINT32_C(1) << RSR_OP_ACT_MUL | UINT32_C(1) << RSR_OP_LINEAR |  \
     UINT32_C(1) << RSR_OP_DENSE | UINT32_C(1) << RSR_OP_ATTENTION | UINT32_C(1) << RSR_OP_GATE |  \
     UINT32_C(1) << RSR_OP_ROTATE)

/* Whether operation `first` or a later one reads what the buffer holds before it. */
static bool is_read_from(const struct rsr_step_table *step, uint32_t first, uint16_t buffer) {
    for (uint32_t i = first; i < step->n_ops; i++) {
        const struct rsr_step_op *op = &step->ops[i];
        for (uint32_t s = 0; s < 4; s++)
            if (op->src[s] == buffer)
                return true;
        if (op->dst == buffer)
            return (OVERWRITING >> op->kind & 1) == 0;
    }
    return false;
}

/* Lists the operations whose results the rank before passes on to the one that begins here. */
static void plan_passing(const struct rsr_step_table *step, struct rsr_rank_step *plan,
                         uint32_t first, uint32_t *n_gathers) {
    struct rsr_rank_op *planned = &plan->ops[first];
    planned->first_gather = *n_gathers;
    for (uint16_t b = 0; b < step->n_buffers; b++) {
        uint32_t writer = first;
        while (writer > 0 && step->ops[writer - 1].dst != b)
            writer--;
        if (writer > 0 && step->ops[writer - 1].kind != RSR_OP_ROPE_TABLE &&
            is_read_from(step, first, b))
            plan->gathers[(*n_gathers)++] = writer - 1;
    }
    planned->n_gathers = *n_gathers - planned->first_gather;
}

static uint32_t rank_of_layer(const struct rsr_crew *crew, uint32_t layer) {
    const uint32_t n_layers = crew->model->module->hyper.n_layers;
    const uint32_t size = crew->ranks->transport.size;
    uint32_t rank = 0;
    while (rank + 1 < size &&
           layer >= rsr_rank_layers(n_layers, crew->ranks->head_layers, rank, size).end)
        rank++;
    return rank;
}

bool rsr_rank_plan_layers(const struct rsr_crew *crew, const struct rsr_step_table *step,
                          struct rsr_rank_step *plan) {
    const rsr_transport *transport = &crew->ranks->transport;
    uint32_t rank = 0, n_gathers = 0;
    for (uint32_t i = 0; i < step->n_ops; i++) {
        const struct rsr_step_op *op = &step->ops[i];
        const uint32_t owner = op->block == RSR_NO_BLOCK ? rank : rank_of_layer(crew, op->block);
        if (owner != rank && owner != rank + 1)
            return false;
        if (owner != rank) {
            plan->first_ops[owner] = i;
            plan_passing(step, plan, i, &n_gathers);
        }
        rank = owner;
        plan->ops[i].runs = owner == transport->rank || op->kind == RSR_OP_ROPE_TABLE;
        if (owner == transport->rank)
            plan->ops[i].part =
                rsr_rank_part(crew->model->target, &crew->model->module->hyper, step, i, 0, 1);
    }
    return rank + 1 == transport->size;
}

/* ---- A step ---- */

/* Runs this rank's layers when no other engine of the model runs any. */
static void run_layers(struct rsr_crew *crew) {
    struct rsr_turns *turns = crew->engine->model->pipeline;
    rsr_turns_take(turns);
    const uint64_t begin_ns = rsr_now_ns();
    rsr_worker_pool_run(crew->pool, crew->n_workers, rsr_step_run, crew);
    crew->ranks->layers_ns = rsr_now_ns() - begin_ns;
    rsr_turns_give(turns);
}

static bool goes_on(const struct rsr_crew *crew) {
    return atomic_load(&crew->last_op) == UINT32_MAX;
}

void rsr_rank_walk(struct rsr_crew *crew) {
    struct rsr_ranks *ranks = crew->ranks;
    const struct rsr_rank_step *plan =
        &ranks->steps[crew->chunk->step - crew->model->target->steps];
    for (uint32_t r = 0; r < ranks->transport.size && goes_on(crew); r++) {
        if (r > 0)
            rsr_rank_pass_on(crew, plan->first_ops[r]);
        ranks->sender = r;
        if (r == ranks->transport.rank && goes_on(crew))
            run_layers(crew);
    }
    if (goes_on(crew))
        rsr_rank_gather_answers(crew);
}
