/* matvec.c - what the planner needs of the kernel of GPUs: machines, launch shape, bytes and time.
 *
 * One model gives the cost of both kinds of codes: a token reads all codes once, unpacking overlaps
 * with reading, and a launch is added. 2-bit codes take two integer instructions for four weights.
 * Base-3 codes take five, but have a fifth fewer bytes: they pay if a multiprocessor has idle
 * cycles. Tokens of a batch share the launch, and a few of them reading and unpacking.
 */
#include "kernels/matvec/matvec.h"

#include "base/round.h"

/* The share of the data sheet's bandwidth that one kernel reaches. */
#define READ_SHARE 0.75
/* The share of the peak rate of integer instructions that code with loads and barriers reaches. */
#define INT_SHARE 0.5

#define MAX_TOKEN_TILE 4u /* tokens that share one reading: accumulators, shared memory */
/* Shared memory of a block for rows: what every GPU gives by default, less the sums and scales. */
#define SHARED_BYTES (47u << 10)
#define BYTES_OF_LOAD 16u

/* Integer instructions that a multiprocessor starts per cycle, counted in lanes. There are no
 * descriptions of older GPUs (RSRC_SPEC_FIELDS). */
static const struct matvec_machine {
    struct rsrc_machine head;
    double int_lanes;
} machines[] = {{{0, 0, "sm_80"}, 64}};
const struct rsrc_machine_table rsrc_matvec_machines = RSRC_MACHINE_TABLE(machines);

static const struct codes {
    const char *name;
    double unpack; /* instructions for four weights; one more multiplies them */
} CODES[RSR_GPU_CODES_COUNT] = {
    [RSR_GPU_BITS2] = {"bits2", 2}, /* shift, mask */
    [RSR_GPU_BASE3] = {"base3", 5}, /* two multiplications, a permutation, two masks */
};

struct cost {
    uint64_t weight_bytes;
    double read_us, unpack_us; /* of one token */
    double shared_us;          /* the longer of both, per token of a full tile */
};

static uint32_t smaller(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

static double longer(double a_us, double b_us) {
    return a_us > b_us ? a_us : b_us;
}

/* ---- tiles ----------------------------------------------------------------------------------- */

static uint32_t most_tokens(uint32_t cols, enum rsr_gpu_codes codes) {
    const uint32_t step_cols = rsrc_matvec_step_cols(codes);
    const uint64_t row_bytes = (uint64_t)rsrc_divide_up(cols, step_cols) * step_cols;
    const uint32_t fit = (uint32_t)(SHARED_BYTES / row_bytes);
    return fit == 0 ? 1 : smaller(MAX_TOKEN_TILE, fit);
}

/* A block's rows: those of 1, 2, 4 or 8 warps. */
static struct rsrc_tiling fit(const struct rsrc_planned_layer *layer,
                              const struct rsr_regime_plan *plan) {
    const uint32_t most = most_tokens(layer->cols, rsrc_matvec_codes(plan->kernel));
    uint32_t row_warps = RSRC_MATVEC_MAX_WARPS;
    while (row_warps > 1 && row_warps * RSR_GPU_ROWS_PER_WARP > plan->tile_rows)
        row_warps /= 2;
    const uint32_t tokens = smaller(plan->token_tile, most);
    return (struct rsrc_tiling){row_warps * RSR_GPU_ROWS_PER_WARP, tokens == 0 ? 1 : tokens};
}

struct rsrc_tiling rsrc_fit_matvec_bits2(const struct rsrc_planned_layer *layer,
                                         const struct rsr_regime_plan *plan) {
    return fit(layer, plan);
}

struct rsrc_tiling rsrc_fit_matvec_base3(const struct rsrc_planned_layer *layer,
                                         const struct rsr_regime_plan *plan) {
    return fit(layer, plan);
}

/* Chooses the most rows per block that still give every multiprocessor a block; the other warps
 * share the rows' steps. */
static uint32_t block_rows(uint32_t rows, const struct rsr_gpu *gpu) {
    const uint32_t row_groups = rsrc_divide_up(rows, RSR_GPU_ROWS_PER_WARP);
    uint32_t row_warps = RSRC_MATVEC_MAX_WARPS;
    while (row_warps > 1 && rsrc_divide_up(row_groups, row_warps) < gpu->sm_count)
        row_warps /= 2;
    return row_warps * RSR_GPU_ROWS_PER_WARP;
}

/* ---- time ------------------------------------------------------------------------------------ */

static struct cost cost_of(const struct rsrc_plan_input *input, const struct rsrc_machine *machine,
                           enum rsr_gpu_codes codes) {
    const struct rsr_gpu *gpu = &input->spec->gpu;
    const uint32_t rows = input->stats->rows, cols = input->stats->cols;
    const uint32_t step_cols = rsrc_matvec_step_cols(codes), tokens = most_tokens(cols, codes);
    const uint64_t steps = (uint64_t)rsrc_divide_up(rows, RSR_GPU_ROWS_PER_WARP) *
                           RSR_GPU_ROWS_PER_WARP * rsrc_divide_up(cols, step_cols);
    const double quads = (double)(steps * step_cols) / 4;
    const double int_lanes = ((const struct matvec_machine *)machine)->int_lanes;
    const double rate = INT_SHARE * int_lanes * gpu->sm_count * gpu->clock_ghz * 1e3;
    struct cost cost = {.weight_bytes = steps * RSR_GPU_LANES_PER_ROW * BYTES_OF_LOAD};
    cost.read_us = (double)cost.weight_bytes / (READ_SHARE * gpu->memory_gbps * 1e3);
    cost.unpack_us = quads * (CODES[codes].unpack + 1) / rate;
    cost.shared_us =
        longer(cost.read_us / tokens, quads * (CODES[codes].unpack / tokens + 1) / rate);
    return cost;
}

static void explain(struct rsrc_arena *arena, const struct rsr_spec *spec, enum rsr_gpu_codes codes,
                    const struct cost costs[RSR_GPU_CODES_COUNT], uint32_t tokens,
                    struct rsrc_choice *out) {
    const enum rsr_gpu_codes other = codes == RSR_GPU_BITS2 ? RSR_GPU_BASE3 : RSR_GPU_BITS2;
    const struct cost *cost = &costs[codes];
    const double megabytes = (double)cost->weight_bytes / 1e6;
    out->reasons[RSR_REGIME_DECODE] = rsrc_arena_printf(
        arena,
        "%s: %.3g MB in %.3g us at %.2g of %g GB/s, unpacked in %.3g us meanwhile, and a launch of "
        "%g us; %s: %.3g MB in %.3g us, unpacked in %.3g us",
        CODES[codes].name, megabytes, cost->read_us, READ_SHARE, spec->gpu.memory_gbps,
        cost->unpack_us, spec->gpu.launch_us, CODES[other].name,
        (double)costs[other].weight_bytes / 1e6, costs[other].read_us, costs[other].unpack_us);
    out->reasons[RSR_REGIME_PREFILL] =
        rsrc_arena_printf(arena, "%s: %u tokens share the reading of %.3g MB, %.3g us a token",
                          CODES[codes].name, tokens, megabytes, cost->shared_us);
}

static uint32_t list(struct rsrc_arena *arena, const struct rsrc_plan_input *input,
                     const struct rsrc_machine *machine, enum rsr_gpu_codes codes,
                     struct rsrc_choice *out) {
    const struct rsr_gpu *gpu = &input->spec->gpu;
    const struct cost costs[RSR_GPU_CODES_COUNT] = {cost_of(input, machine, RSR_GPU_BITS2),
                                                    cost_of(input, machine, RSR_GPU_BASE3)};
    const struct cost *cost = &costs[codes];
    *out = (struct rsrc_choice){.tile_rows = block_rows(input->stats->rows, gpu),
                                .max_cols = UINT32_MAX, /* lowering says why */
                                .weight_bytes = cost->weight_bytes};
    out->cost[RSR_REGIME_DECODE].predicted_us =
        gpu->launch_us + longer(cost->read_us, cost->unpack_us);
    out->cost[RSR_REGIME_PREFILL].predicted_us =
        gpu->launch_us / RSRC_PREFILL_TOKENS + cost->shared_us;
    explain(arena, input->spec, codes, costs, most_tokens(input->stats->cols, codes), out);
    return 1;
}

uint32_t rsrc_list_matvec_bits2(struct rsrc_arena *arena, const struct rsrc_plan_input *input,
                                const struct rsrc_machine *machine, struct rsrc_choice *out) {
    return list(arena, input, machine, RSR_GPU_BITS2, out);
}

uint32_t rsrc_list_matvec_base3(struct rsrc_arena *arena, const struct rsrc_plan_input *input,
                                const struct rsrc_machine *machine, struct rsrc_choice *out) {
    return list(arena, input, machine, RSR_GPU_BASE3, out);
}
