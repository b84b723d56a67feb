/* plan_gpu.c - codes and launch shape of one layer on a GPU.
 *
 * Both kinds of codes are costed by the same model: a token reads all codes once, unpacking
 * overlaps with reading, and a launch is paid on top. 2-bit codes take two integer instructions for
 * four weights, base-3 codes five, for a fifth less to read: they pay where a multiprocessor has
 * cycles to spare.
 */
#include "kernels/gpu/gpu.h"

#include "base/round.h"
#include "kernel/kernel.h"

/* Share of the data sheet's bandwidth that one kernel reads with. */
#define READ_SHARE 0.75
/* Integer instructions that a multiprocessor starts in a cycle, over lanes (sm_80 to sm_100), and
 * the share of them that code with loads and barriers in between keeps. */
#define INT_LANES 64.0
#define INT_SHARE 0.5

#define MAX_WARPS 8u      /* of a block */
#define MAX_AHEAD 6u      /* loads in flight: 96 bytes and 24 registers a lane */
#define MAX_TOKEN_TILE 4u /* tokens that share one reading: accumulators, shared memory */
/* Of a block: what every GPU gives without being asked, less the sums and scales beside the
 * rows. */
#define SHARED_BYTES (47u << 10)

#define BYTES_OF_LOAD 16u

static const struct codes {
    const char *name;
    uint32_t weights; /* of one load */
    double unpack;    /* instructions for four weights */
} CODES[RSR_GPU_CODES_COUNT] = {
    [RSR_GPU_BITS2] = {"bits2", 64, 2}, /* shift, mask */
    [RSR_GPU_BASE3] = {"base3", 80, 5}, /* two multiplications, a permutation, two masks */
};

struct cost {
    uint64_t weight_bytes;
    double read_us, unpack_us, total_us;
};

const char *rsrc_gpu_codes_name(enum rsr_gpu_codes codes) {
    return CODES[codes].name;
}

static uint32_t smaller(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

static uint32_t step_cols(enum rsr_gpu_codes codes) {
    return CODES[codes].weights * RSR_GPU_LANES_PER_ROW;
}

static uint32_t row_groups(const struct rsrc_gpu_layer *layer) {
    return rsrc_divide_up(layer->rows, RSR_GPU_ROWS_PER_WARP);
}

static struct cost cost_of(const struct rsrc_gpu_layer *layer, const struct rsr_gpu *gpu,
                           enum rsr_gpu_codes codes) {
    const uint64_t loads = (uint64_t)row_groups(layer) * RSR_GPU_ROWS_PER_WARP *
                           RSR_GPU_LANES_PER_ROW * rsrc_divide_up(layer->cols, step_cols(codes));
    const double instructions =
        (double)(loads * CODES[codes].weights) / 4 * (CODES[codes].unpack + 1);
    struct cost cost = {.weight_bytes = loads * BYTES_OF_LOAD};
    cost.read_us = (double)cost.weight_bytes / (READ_SHARE * gpu->memory_gbps * 1e3);
    cost.unpack_us = instructions / (INT_SHARE * INT_LANES * gpu->sm_count * gpu->clock_ghz * 1e3);
    cost.total_us =
        gpu->launch_us + (cost.read_us > cost.unpack_us ? cost.read_us : cost.unpack_us);
    return cost;
}

/* As many rows a block as leave no multiprocessor without one; the other warps share the rows'
 * steps. */
static void share_work(const struct rsrc_gpu_layer *layer, const struct rsr_gpu *gpu,
                       struct rsr_gpu_plan *plan) {
    plan->row_warps = MAX_WARPS;
    while (plan->row_warps > 1 &&
           rsrc_divide_up(row_groups(layer), plan->row_warps) < gpu->sm_count)
        plan->row_warps /= 2;
    plan->blocks = rsrc_divide_up(row_groups(layer), plan->row_warps);
    plan->col_warps = smaller(MAX_WARPS / plan->row_warps, plan->steps);
    const uint32_t warp_steps = rsrc_divide_up(plan->steps, plan->col_warps);
    plan->ahead = rsrc_divide_up(warp_steps, rsrc_divide_up(warp_steps, MAX_AHEAD));
    const uint32_t row_bytes = plan->steps * step_cols(plan->codes);
    plan->token_tile = smaller(MAX_TOKEN_TILE, SHARED_BYTES / row_bytes);
}

static const char *explain(struct rsrc_arena *arena, const struct rsr_spec *spec,
                           enum rsr_gpu_codes codes, const struct cost costs[RSR_GPU_CODES_COUNT],
                           bool forced) {
    const enum rsr_gpu_codes other = codes == RSR_GPU_BITS2 ? RSR_GPU_BASE3 : RSR_GPU_BITS2;
    const struct cost *cost = &costs[codes];
    return rsrc_arena_printf(arena,
                             "%s%s: %.3g MB in %.3g us at %.2g of %g GB/s, unpacked in %.3g us "
                             "meanwhile, and a launch of "
                             "%g us; %s: %.3g MB in %.3g us, unpacked in %.3g us",
                             forced ? "asked for " : "", CODES[codes].name,
                             (double)cost->weight_bytes / 1e6, cost->read_us, READ_SHARE,
                             spec->gpu.memory_gbps, cost->unpack_us, spec->gpu.launch_us,
                             CODES[other].name, (double)costs[other].weight_bytes / 1e6,
                             costs[other].read_us, costs[other].unpack_us);
}

enum rsrc_status rsrc_plan_gpu_layer(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                     const struct rsrc_gpu_layer *layer,
                                     const struct rsr_spec *spec, struct rsr_gpu_plan *out) {
    const struct rsrc_place place = {.tensor = layer->name};
    if (layer->cols > RSRC_GPU_MAX_COLS)
        return rsrc_refuse(diag, "gpu-cols", &place, "leave the layer out with --layers",
                           "a matrix of %u columns has no GPU kernel: at most %u fit", layer->cols,
                           RSRC_GPU_MAX_COLS);
    if (layer->input == RSR_INPUT_F32)
        return rsrc_refuse(diag, "gpu-input", &place, "compile for a CPU",
                           "a GPU's kernels multiply int8 activations, not floats");
    if (layer->group_cols != 0)
        return rsrc_refuse_groups(diag, layer->name, layer->group_cols);
    struct cost costs[RSR_GPU_CODES_COUNT];
    for (uint32_t i = 0; i < RSR_GPU_CODES_COUNT; i++)
        costs[i] = cost_of(layer, &spec->gpu, (enum rsr_gpu_codes)i);
    const bool forced = layer->forced_codes >= 0;
    struct rsr_gpu_plan plan = {.rows = layer->rows,
                                .cols = layer->cols,
                                .scale_per_row = layer->n_scales > 1,
                                .epilogue = layer->epilogue};
    plan.codes = forced ? (enum rsr_gpu_codes)layer->forced_codes
                 : costs[RSR_GPU_BASE3].total_us < costs[RSR_GPU_BITS2].total_us ? RSR_GPU_BASE3
                                                                                 : RSR_GPU_BITS2;
    plan.steps = rsrc_divide_up(layer->cols, step_cols(plan.codes));
    share_work(layer, &spec->gpu, &plan);
    plan.weight_bytes = costs[plan.codes].weight_bytes;
    plan.predicted_us = costs[plan.codes].total_us;
    plan.reason = explain(arena, spec, plan.codes, costs, forced);
    rsrc_diag_emit(diag, RSRC_REMARK, "plan", &place, NULL, "%s %s", spec->name, plan.reason);
    *out = plan;
    return RSRC_OK;
}
