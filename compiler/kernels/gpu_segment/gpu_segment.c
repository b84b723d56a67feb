/* gpu_segment.c - what the planner needs of `segment` on GPUs: machines, launch shape, bytes and
 * time.
 *
 * Reading codes overlaps with computing. Every block makes all sums for itself, so large blocks
 * make them for more rows, and small blocks leave fewer multiprocessors without any. Then rows
 * select sums: lanes read shared memory at random, which has 32 banks, one read a cycle each.
 */
#include "kernels/gpu_segment/gpu_segment.h"

#include "base/round.h"
#include "kernel/gpu_cost.h"

static const struct rsrc_machine machines[] = {{0, 0, "sm_80"}};
const struct rsrc_machine_table rsrc_gpu_segment_machines = RSRC_MACHINE_TABLE(machines);

/* For one token and for RSRC_GPU_SEGMENT_TOKENS: a warp's instructions, counted in machine code for
 * sm_90 of what NVRTC made (tests/ptx/segment_sass.test holds them): for a code of 32 rows, for a
 * ninth of a chunk's sums, and for a chunk beside these. And cycles of shared memory in which 32
 * lanes read sums at random: the fullest of 32 banks is asked for 3.5 words; where a sum has two
 * words, the fullest of 16 pairs of banks for 3.1, twice. */
static const struct work {
    uint32_t tokens;
    double code, ninth, chunk, read_cycles;
} WORK[RSR_REGIME_COUNT] = {
    [RSR_REGIME_DECODE] = {1, 3.7, 35, 52, 3.5},
    [RSR_REGIME_PREFILL] = {RSRC_GPU_SEGMENT_TOKENS, 4.4, 46, 95, 6.2},
};

struct cost {
    double instructions; /* of warps, together */
    double compute_us;
    double select_us; /* of shared memory */
};

/* A block's rows: those of 1, 2, 4 or 8 warps. */
struct rsrc_tiling rsrc_fit_gpu_segment(const struct rsrc_planned_layer *layer,
                                        const struct rsr_regime_plan *plan) {
    (void)layer;
    uint32_t warps = RSRC_GPU_SEGMENT_MAX_WARPS;
    while (warps > 1 && warps * RSRC_GPU_SEGMENT_ROWS > plan->tile_rows)
        warps /= 2;
    return (struct rsrc_tiling){warps * RSRC_GPU_SEGMENT_ROWS, RSRC_GPU_SEGMENT_TOKENS};
}

static double longer(double a_us, double b_us) {
    return a_us > b_us ? a_us : b_us;
}

static struct cost cost_of(const struct rsrc_plan_input *input, enum rsr_regime regime,
                           uint32_t warps) {
    const struct work *work = &WORK[regime];
    const struct rsr_gpu *gpu = &input->spec->gpu;
    const uint32_t tiles = rsrc_divide_up(input->stats->rows, RSRC_GPU_SEGMENT_ROWS);
    const uint32_t blocks = rsrc_divide_up(tiles, warps);
    const double chunks = rsrc_divide_up(input->stats->cols, RSRC_GPU_SEGMENT_CHUNK_COLS);
    const double idle = blocks < gpu->sm_count ? (double)gpu->sm_count / blocks : 1;
    const double codes = (double)blocks * warps * chunks * RSRC_GPU_SEGMENT_CODES;
    struct cost cost = {.instructions = codes * work->code +
                                        blocks * chunks * (9 * work->ninth + warps * work->chunk)};
    cost.compute_us = idle * rsrc_gpu_us(gpu, cost.instructions);
    cost.select_us = idle * codes * work->read_cycles / (gpu->sm_count * gpu->clock_ghz * 1e3);
    return cost;
}

static uint32_t best_warps(const struct rsrc_plan_input *input) {
    uint32_t best = 1;
    double best_us = 0;
    for (uint32_t warps = 1; warps <= RSRC_GPU_SEGMENT_MAX_WARPS; warps *= 2) {
        const struct cost cost = cost_of(input, RSR_REGIME_DECODE, warps);
        const double us = longer(cost.compute_us, cost.select_us);
        if (warps == 1 || us < best_us) {
            best = warps;
            best_us = us;
        }
    }
    return best;
}

uint32_t rsrc_list_gpu_segment(struct rsrc_arena *arena, const struct rsrc_plan_input *input,
                               const struct rsrc_machine *machine, struct rsrc_choice *out) {
    (void)machine;
    const struct rsr_stats *stats = input->stats;
    const struct rsr_gpu *gpu = &input->spec->gpu;
    const uint32_t warps = best_warps(input);
    const uint64_t bytes = (uint64_t)rsrc_divide_up(stats->rows, RSRC_GPU_SEGMENT_ROWS) *
                           rsrc_divide_up(stats->cols, RSRC_GPU_SEGMENT_CHUNK_COLS) *
                           RSRC_GPU_SEGMENT_ROWS * RSRC_GPU_SEGMENT_CODES;
    const double read_us = (double)bytes / (RSRC_GPU_READ_SHARE * gpu->memory_gbps * 1e3);
    const double launch_us = rsrc_gpu_launch_us(input);
    *out = (struct rsrc_choice){.tile_rows = warps * RSRC_GPU_SEGMENT_ROWS,
                                .max_cols = UINT32_MAX,
                                .weight_bytes = bytes,
                                .lanes = RSRC_GPU_SEGMENT_TOKENS};
    for (uint32_t regime = 0; regime < RSR_REGIME_COUNT; regime++) {
        const double tokens = WORK[regime].tokens;
        const struct cost cost = cost_of(input, (enum rsr_regime)regime, warps);
        const double compute_us = longer(cost.compute_us, cost.select_us);
        const double a_launch_us =
            regime == RSR_REGIME_DECODE ? launch_us : launch_us / RSRC_PREFILL_TOKENS;
        out->cost[regime] = (struct rsrc_cost){read_us / tokens, compute_us / tokens,
                                               a_launch_us + longer(read_us, compute_us) / tokens};
        out->reasons[regime] = rsrc_arena_printf(
            arena,
            "segment: for every %s %.3g MB of codes in %.3g us; meanwhile %.2g instructions of "
            "warps a "
            "weight in %.3g us and sums selected from shared memory in %.3g us; launches of %.3g "
            "us",
            regime == RSR_REGIME_DECODE ? "token" : "4 tokens", (double)bytes / 1e6, read_us,
            cost.instructions / ((double)stats->rows * stats->cols), cost.compute_us,
            cost.select_us, launch_us);
    }
    return 1;
}
