/* matvec.c - what the planner needs of the kernels of GPUs that multiply codes: machines, launch
 * shape, bytes and time.
 *
 * Reading the codes overlaps with computing, and launches are added: the layer's own, and its share
 * of the one that quantises its activations. Codes of base-3 digits have a fifth fewer bytes than
 * codes of 2 bits and take three times the instructions: they pay if a multiprocessor has idle
 * cycles. Tokens of a batch share the launch, and as many as have one reading of the codes share
 * its unpacking.
 */
#include "kernels/matvec/matvec.h"

#include "base/round.h"
#include "kernel/gpu_cost.h"

static const struct rsrc_machine machines[] = {{0, 0, "sm_80"}};
const struct rsrc_machine_table rsrc_matvec_machines = RSRC_MACHINE_TABLE(machines);

/* Instructions of a warp in a step of 512 bytes, counted in machine code of the loops for sm_90
 * (tests/ptx/sass.test holds them). */
static const struct codes {
    const char *name;
    double alone;           /* dot: one token */
    double unpack, a_token; /* dot: several tokens, once and for each */
    double mma;             /* eight tokens */
} CODES[RSR_GPU_CODES_COUNT] = {
    [RSR_GPU_BITS2] = {"2-bit codes", 38, 31, 19, 26},
    [RSR_GPU_BASE3] = {"base-3 codes", 134, 124, 23, 119},
};

static const char *const PRODUCTS[] = {[RSR_GPU_DOT] = "dot", [RSR_GPU_MMA] = "mma"};

struct rsrc_matvec_kind rsrc_matvec_kind(enum rsr_kernel_id kernel) {
    const bool base3 = kernel == RSR_KERNEL_DOT_BASE3 || kernel == RSR_KERNEL_MMA_BASE3;
    const bool mma = kernel == RSR_KERNEL_MMA_BITS2 || kernel == RSR_KERNEL_MMA_BASE3;
    return (struct rsrc_matvec_kind){base3 ? RSR_GPU_BASE3 : RSR_GPU_BITS2,
                                     mma ? RSR_GPU_MMA : RSR_GPU_DOT};
}

/* ---- tiles ----------------------------------------------------------------------------------- */

static uint32_t smaller(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

/* A block's rows: those of 1, 2, 4 or 8 warps. */
static struct rsrc_tiling fit(const struct rsr_regime_plan *plan) {
    uint32_t row_warps = RSRC_MATVEC_MAX_WARPS;
    while (row_warps > 1 && row_warps * RSR_GPU_ROWS_PER_WARP > plan->tile_rows)
        row_warps /= 2;
    const bool mma = rsrc_matvec_kind(plan->kernel).product == RSR_GPU_MMA;
    const uint32_t tokens = smaller(plan->token_tile, RSRC_MATVEC_DOT_TOKENS);
    return (struct rsrc_tiling){row_warps * RSR_GPU_ROWS_PER_WARP, mma ? RSRC_MATVEC_MMA_TOKENS
                                                                   : tokens == 0 ? 1
                                                                                 : tokens};
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

struct cost {
    uint64_t weight_bytes;
    double read_us;             /* of the codes */
    double alone_us, shared_us; /* computing one token, and each of a full tile */
    double launch_us;           /* with the share of quantising */
};

static double longer(double a_us, double b_us) {
    return a_us > b_us ? a_us : b_us;
}

static struct cost cost_of(const struct rsrc_plan_input *input, struct rsrc_matvec_kind kind) {
    const struct rsr_gpu *gpu = &input->spec->gpu;
    const struct codes *codes = &CODES[kind.codes];
    const uint64_t steps = (uint64_t)rsrc_divide_up(input->stats->rows, RSR_GPU_ROWS_PER_WARP) *
                           rsrc_divide_up(input->stats->cols, rsrc_matvec_step_cols(kind.codes));
    const double us = rsrc_gpu_us(gpu, (double)steps); /* of an instruction of every step */
    struct cost cost = {.weight_bytes = steps * RSR_GPU_STEP_BYTES};
    cost.read_us = (double)cost.weight_bytes / (RSRC_GPU_READ_SHARE * gpu->memory_gbps * 1e3);
    cost.launch_us = rsrc_gpu_launch_us(input);
    if (kind.product == RSR_GPU_MMA) {
        cost.alone_us = us * codes->mma;
        cost.shared_us = cost.alone_us / RSRC_MATVEC_MMA_TOKENS;
    } else {
        cost.alone_us = us * codes->alone;
        cost.shared_us = us * (codes->unpack / RSRC_MATVEC_DOT_TOKENS + codes->a_token);
    }
    return cost;
}

static uint32_t tile_of(struct rsrc_matvec_kind kind) {
    return kind.product == RSR_GPU_MMA ? RSRC_MATVEC_MMA_TOKENS : RSRC_MATVEC_DOT_TOKENS;
}

/* Every tile of tokens reads the codes. */
static double batch_us(const struct cost *cost, struct rsrc_matvec_kind kind) {
    return longer(cost->read_us / tile_of(kind), cost->shared_us);
}

/* "2-bit codes: 1.64 MB in 0.652 us, computed in 0.3 us meanwhile" */
static const char *alone_text(struct rsrc_arena *arena, enum rsr_gpu_codes codes,
                              const struct cost *cost) {
    return rsrc_arena_printf(arena, "%s, %.3g MB in %.3g us, computed in %.3g us meanwhile",
                             CODES[codes].name, (double)cost->weight_bytes / 1e6, cost->read_us,
                             cost->alone_us);
}

static void explain(struct rsrc_arena *arena, const struct rsrc_plan_input *input,
                    struct rsrc_matvec_kind kind, const struct cost *cost,
                    struct rsrc_choice *out) {
    struct rsrc_matvec_kind other = kind;
    other.codes = kind.codes == RSR_GPU_BITS2 ? RSR_GPU_BASE3 : RSR_GPU_BITS2;
    const struct cost others = cost_of(input, other);
    out->reasons[RSR_REGIME_DECODE] = rsrc_arena_printf(
        arena, "%s of %s, at %.2g of %g GB/s, and launches of %.3g us; with %s",
        PRODUCTS[kind.product], alone_text(arena, kind.codes, cost), RSRC_GPU_READ_SHARE,
        input->spec->gpu.memory_gbps, cost->launch_us, alone_text(arena, other.codes, &others));
    other = kind;
    other.product = kind.product == RSR_GPU_MMA ? RSR_GPU_DOT : RSR_GPU_MMA;
    const struct cost product = cost_of(input, other);
    out->reasons[RSR_REGIME_PREFILL] = rsrc_arena_printf(
        arena,
        "%s of %s: %u tokens share the reading of %.3g MB, %.3g us a token, and %.3g us of "
        "computing; %s: %u tokens, %.3g us and %.3g us",
        PRODUCTS[kind.product], CODES[kind.codes].name, tile_of(kind),
        (double)cost->weight_bytes / 1e6, cost->read_us / tile_of(kind), cost->shared_us,
        PRODUCTS[other.product], tile_of(other), product.read_us / tile_of(other),
        product.shared_us);
}

static uint32_t list(struct rsrc_arena *arena, const struct rsrc_plan_input *input,
                     enum rsr_kernel_id kernel, struct rsrc_choice *out) {
    const struct rsrc_matvec_kind kind = rsrc_matvec_kind(kernel);
    const struct cost cost = cost_of(input, kind);
    *out = (struct rsrc_choice){.tile_rows = block_rows(input->stats->rows, &input->spec->gpu),
                                .max_cols = UINT32_MAX, /* lowering says why */
                                .weight_bytes = cost.weight_bytes,
                                .lanes = kind.product == RSR_GPU_MMA ? RSRC_MATVEC_MMA_TOKENS : 1};
    out->cost[RSR_REGIME_DECODE] =
        (struct rsrc_cost){.memory_us = cost.read_us,
                           .compute_us = cost.alone_us,
                           .predicted_us = cost.launch_us + longer(cost.read_us, cost.alone_us)};
    out->cost[RSR_REGIME_PREFILL] = (struct rsrc_cost){
        .memory_us = cost.read_us / tile_of(kind),
        .compute_us = cost.shared_us,
        .predicted_us = cost.launch_us / RSRC_PREFILL_TOKENS + batch_us(&cost, kind)};
    explain(arena, input, kind, &cost, out);
    return 1;
}

#define KERNEL(name, id)                                                                           \
    uint32_t rsrc_list_##name(struct rsrc_arena *arena, const struct rsrc_plan_input *input,       \
                              const struct rsrc_machine *machine, struct rsrc_choice *out) {       \
        (void)machine;                                                                             \
        return list(arena, input, RSR_KERNEL_##id, out);                                           \
    }                                                                                              \
    struct rsrc_tiling rsrc_fit_##name(const struct rsrc_planned_layer *layer,                     \
                                       const struct rsr_regime_plan *plan) {                       \
        (void)layer;                                                                               \
        return fit(plan);                                                                          \
    }
KERNEL(dot_bits2, DOT_BITS2)
KERNEL(dot_base3, DOT_BASE3)
KERNEL(mma_bits2, MMA_BITS2)
KERNEL(mma_base3, MMA_BASE3)
