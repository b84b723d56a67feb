/* gpu_fold.c - what the planner needs of `fold` on GPUs: machines, launch shape, bytes and time.
 *
 * Code is read as weights are, once for every 32 tokens, and takes a dozen times the bytes of 2-bit
 * codes. So one token waits for its instructions, and batches have tensor cores. Additions are
 * estimated as for CPUs (kernels/fold/fold.c), with every code in each chunk.
 */
#include "kernels/gpu_fold/gpu_fold.h"

#include "base/round.h"
#include "kernel/gpu_cost.h"

static const struct rsrc_machine machines[] = {{0, 0, "sm_80"}};
const struct rsrc_machine_table rsrc_gpu_fold_machines = RSRC_MACHINE_TABLE(machines);

uint32_t rsrc_gpu_fold_cols(uint32_t cols) {
    const uint32_t n_chunks = rsrc_divide_up(cols, RSRC_GPU_FOLD_COLS);
    return (uint32_t)rsrc_round_up(rsrc_divide_up(cols, n_chunks), 16);
}

/* A block's rows: those of 1, 2, 4 or 8 warps. */
struct rsrc_tiling rsrc_fit_gpu_fold(const struct rsrc_planned_layer *layer,
                                     const struct rsr_regime_plan *plan) {
    (void)layer;
    const uint32_t warp_rows = plan->k <= RSRC_FOLD_MAX_K ? rsrc_gpu_fold_rows(plan->k) : plan->k;
    uint32_t warps = RSRC_GPU_FOLD_MAX_WARPS;
    while (warps > 1 && warps * warp_rows > plan->tile_rows)
        warps /= 2;
    return (struct rsrc_tiling){warps * warp_rows, RSRC_GPU_FOLD_TOKENS};
}

/* The most rows per block that still give every multiprocessor a block. */
static uint32_t block_rows(uint32_t rows, uint32_t k, uint32_t sm_count) {
    uint32_t warps = RSRC_GPU_FOLD_MAX_WARPS;
    while (warps > 1 && rsrc_divide_up(rows, warps * rsrc_gpu_fold_rows(k)) < sm_count)
        warps /= 2;
    return warps * rsrc_gpu_fold_rows(k);
}

/* Operations of all bodies: an addition for every member, those of the folds, and for every row and
 * chunk the addition to its sum. */
static double count_operations(const struct rsr_stats *stats, enum rsr_alphabet alphabet,
                               uint32_t n_chunks) {
    const double n_blocks = rsrc_divide_up(stats->rows, stats->k);
    const double adds =
        (double)stats->n_fold_adds - (double)rsrc_fold_saved_adds(alphabet, stats->k) * n_blocks;
    return (double)stats->n_members + n_chunks * ((adds > 0 ? adds : 0) + stats->rows);
}

uint32_t rsrc_list_gpu_fold(struct rsrc_arena *arena, const struct rsrc_plan_input *input,
                            const struct rsrc_machine *machine, struct rsrc_choice *out) {
    (void)machine;
    const struct rsr_stats *stats = input->fold_stats;
    const struct rsr_gpu *gpu = &input->spec->gpu;
    if (stats == NULL || stats->k > RSRC_FOLD_MAX_K)
        return 0;
    const uint32_t n_chunks = rsrc_divide_up(stats->cols, rsrc_gpu_fold_cols(stats->cols));
    const uint32_t n_tiles = rsrc_divide_up(stats->rows, rsrc_gpu_fold_rows(stats->k));
    const double operations = count_operations(stats, input->alphabet, n_chunks);
    const double loads = (double)stats->cols * n_tiles;
    const double bytes = operations * RSRC_GPU_FOLD_OP_BYTES;
    const double instructions = bytes / 16 + loads;
    const double weights = (double)stats->rows * stats->cols;
    *out = (struct rsrc_choice){.k = stats->k,
                                .tile_rows = block_rows(stats->rows, stats->k, gpu->sm_count),
                                .max_cols = UINT32_MAX,
                                .lanes = RSRC_GPU_FOLD_TOKENS,
                                .weight_bytes = (uint64_t)bytes,
                                .max_bytes = RSRC_GPU_FOLD_MAX_BYTES};
    const double read_us =
        (double)out->weight_bytes / (RSRC_GPU_READ_SHARE * gpu->memory_gbps * 1e3);
    const double compute_us = rsrc_gpu_us(gpu, instructions);
    const double launch_us = rsrc_gpu_launch_us(input);
    const double pass_us = read_us > compute_us ? read_us : compute_us;
    out->cost[RSR_REGIME_DECODE] = (struct rsrc_cost){read_us, compute_us, launch_us + pass_us};
    out->cost[RSR_REGIME_PREFILL] =
        (struct rsrc_cost){read_us / out->lanes, compute_us / out->lanes,
                           launch_us / RSRC_PREFILL_TOKENS + pass_us / out->lanes};
    const char *parts = rsrc_arena_printf(
        arena,
        "%.3g MB of code in %.3g us, %.2g instructions a weight in %.3g us meanwhile, for 1 to %u "
        "tokens",
        (double)out->weight_bytes / 1e6, read_us, instructions / weights, compute_us, out->lanes);
    out->reasons[RSR_REGIME_DECODE] = rsrc_arena_printf(
        arena, "fold k=%u: %s, and launches of %.3g us", stats->k, parts, launch_us);
    out->reasons[RSR_REGIME_PREFILL] = rsrc_arena_printf(arena, "fold k=%u: %s", stats->k, parts);
    return 1;
}
