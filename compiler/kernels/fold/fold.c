/* fold.c - what the planner needs of `fold`: machines, tiles, instructions, their bytes and their
 * time.
 *
 * The statistics are those of blocks of stats->k rows over all columns. The code walks the columns
 * in chunks (lower_fold.c), and folds and widens once per chunk. The estimate assumes that every
 * code occurs in each chunk. This holds for random matrices and is too high for redundant ones.
 */
#include "kernel/fold_body.h"

#include <math.h>

#include "base/round.h"

/* The rate of folded code, as a part of fold_gips, by the bytes of a layer's code. Measured on a
 * virtual Cascade Lake, ternary, 128 tokens: 240-290 GMAC/s with 0.15 to 7 MB; 140 with 13.7 MB,
 * which exceeds the caches and the TLBs; 92 with 37 MB. */
static const struct folded_rate {
    double max_bytes, rate;
} FOLDED_RATES[] = {{8e6, 1}, {24e6, 0.51}, {INFINITY, 0.34}};
/* An extra cost of each batch: between two batches the code leaves the caches, and nothing hides
 * the time to load it again. Whole models took 0.20 to 0.22 us per token longer, for every 147 KB
 * of code, than their layers measured alone. */
#define COLD_CODE_GBPS 5.2
/* The mean number of terms in a chunk of 16-bit sums, if RSRC_FOLD_NARROW_TERMS limits the
 * chunk. */
#define AVERAGE_TERMS 235.0
/* A tile has whole blocks of k rows, at most this many rows. A body is called once for a tile and a
 * chunk of columns: 32 rows of it fill the first-level instruction cache. */
#define TILE_ROWS 32u

/* Bytes of an instruction with and without a memory operand, and instructions that a memory operand
 * costs. */
static const struct fold_machine {
    struct rsrc_machine head;
    double memory_bytes, register_bytes, per_memory;
} machines[] = {
    {{RSR_CPU_MASK(NEON), 128, "neon"}, 4, 4, 2}, /* a load and an addition */
    {{RSR_CPU_MASK(AVX512BW), 128, "avx512"}, 7, 6, 1},
    {{0, 128, "vectors"}, 8, 4, 1},
    {{0, 0, "scalar"}, 6.5, 2.5, 1},
};
const struct rsrc_machine_table rsrc_fold_machines = RSRC_MACHINE_TABLE(machines);

static bool is_scalar(const struct rsrc_machine *machine) {
    return machine->vector_bits == 0;
}

/* The plan's tokens, at most a vector, at least the narrowest vector of the element. One, if the
 * plan is for one token or the target has no vectors. */
struct rsrc_tiling rsrc_fit_fold(const struct rsrc_planned_layer *layer,
                                 const struct rsr_regime_plan *plan) {
    const uint32_t elem_bits = layer->input == RSR_INPUT_I8 ? 16 : 32;
    if (is_scalar(plan->machine) || plan->token_tile <= 1)
        return (struct rsrc_tiling){plan->k, 1};
    uint32_t lanes = plan->machine->vector_bits / elem_bits;
    while (lanes < plan->token_tile && lanes * 2 * elem_bits <= layer->spec->vector_bits)
        lanes *= 2;
    return (struct rsrc_tiling){plan->k, lanes};
}

static double folded_rate(uint64_t code_bytes) {
    const struct folded_rate *row = FOLDED_RATES;
    while ((double)code_bytes > row->max_bytes)
        row++;
    return row->rate;
}

static double at_least(double value, double floor) {
    return value > floor ? value : floor;
}

static double n_chunks(const struct rsr_stats *stats, enum rsr_input input, bool scalar) {
    if (input == RSR_INPUT_F32)
        return (double)stats->cols / RSRC_FOLD_FLOAT_COLS + 0.5;
    if (scalar)
        return (double)stats->cols / RSRC_FOLD_SCALAR_COLS + 0.5;
    const double nonzero = (double)stats->n_nonzero / stats->rows;
    return at_least(nonzero / AVERAGE_TERMS, (double)stats->cols / RSRC_FOLD_NARROW_COLS) + 0.5;
}

/* `fold` is no choice if there are no statistics or blocks are too high. It uses whole vectors of
 * tokens, in decode as well: one token in a scalar needs as many instructions. */
uint32_t rsrc_list_fold(struct rsrc_arena *arena, const struct rsrc_plan_input *input,
                        const struct rsrc_machine *machine, struct rsrc_choice *out) {
    const struct rsr_stats *stats = input->fold_stats;
    const struct rsr_spec *spec = input->spec;
    if (stats == NULL || stats->k > RSRC_FOLD_MAX_K)
        return 0;
    const struct fold_machine *row = (const struct fold_machine *)machine;
    const bool scalar = is_scalar(machine);
    const uint32_t lane_bits = input->input == RSR_INPUT_F32 ? 32 : 16;
    const uint32_t lanes = scalar ? 1 : spec->vector_bits / lane_bits;
    const bool narrow = !scalar && input->input == RSR_INPUT_I8;
    const double chunks = at_least((double)(uint64_t)n_chunks(stats, input->input, scalar), 1);
    const double n_blocks = (double)((stats->rows - 1) / stats->k + 1);
    const double adds = (double)stats->n_fold_adds -
                        (double)rsrc_fold_saved_adds(input->alphabet, stats->k) * n_blocks;
    const double memory = (double)stats->n_members;
    const double registers = chunks * (at_least(adds, 0) + (narrow ? 7.0 : 2.0) * stats->rows);
    const double instructions = memory * row->per_memory + registers;
    *out = (struct rsrc_choice){.k = stats->k,
                                .tile_rows = TILE_ROWS / stats->k * stats->k,
                                .max_cols = UINT32_MAX,
                                .lanes = lanes,
                                .weight_bytes =
                                    (uint64_t)(memory * row->memory_bytes * row->per_memory +
                                               registers * row->register_bytes),
                                .work = rsrc_work_text(arena, instructions, "instructions")};
    const double pass_us =
        rsrc_work_us(instructions, folded_rate(out->weight_bytes) * spec->fold_gips);
    const double fetch_us = (double)out->weight_bytes / (COLD_CODE_GBPS * 1e3);
    rsrc_set_costs(out, pass_us, pass_us / lanes + fetch_us / RSRC_PREFILL_TOKENS, spec);
    return 1;
}
