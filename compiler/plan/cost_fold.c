/* cost_fold.c - what `fold` costs on a target: instructions, their bytes and their time.
 *
 * The statistics are those of blocks of stats->k rows over all columns. The code walks the columns
 * in chunks (kernels/fold/lower_fold.c), and folds and widens once a chunk: every code is taken to occur
 * in each, which holds for random matrices and is too much for redundant ones.
 */
#include "plan/cost.h"

#include <math.h>

/* Instructions a second of folded code, in parts of fold_gips, by the bytes of a layer's code.
 * Measured on a virtual Cascade Lake, ternary, 128 tokens: 240-290 GMAC/s with 0.15 to 7 MB, 140 with
 * 13.7 MB, which neither the caches nor the tables of page addresses hold any more, 92 with 37 MB. */
static const struct folded_rate {
    double max_bytes, rate;
} FOLDED_RATES[] = {{8e6, 1}, {24e6, 0.51}, {INFINITY, 0.34}};
/* What a batch pays besides, once: between two batches code leaves the caches, and nothing hides
 * its return. Whole models ran 0.20 to 0.22 us a token longer for every 147 KB than their layers
 * alone. */
#define COLD_CODE_GBPS 5.2
/* Terms that a chunk of 16-bit sums has on average where 255 bound it, and the caps of lowering. */
#define NARROW_TERMS 235.0
#define MAX_NARROW_COLS 512.0
#define FLOAT_COLS 384.0
#define MAX_SCALAR_COLS 4096.0
#define MAX_K 7u

/* Bytes of an instruction with and without a memory operand, and instructions a memory operand
 * takes. */
static const struct fold_machine {
    uint64_t features;
    bool scalar;
    double memory_bytes, register_bytes, per_memory;
} FOLD_MACHINES[] = {
    {RSR_CPU_MASK(NEON), false, 4, 4, 2}, /* a load and an addition */
    {RSR_CPU_MASK(AVX512BW), false, 7, 6, 1},
    {0, false, 8, 4, 1},
    {0, true, 6.5, 2.5, 1},
};

static const struct fold_machine *find_machine(const struct rsr_spec *spec, bool scalar) {
    const struct fold_machine *machine = FOLD_MACHINES;
    while ((spec->cpu_features & machine->features) != machine->features ||
           machine->scalar != scalar)
        machine++;
    return machine;
}

static double folded_rate(uint64_t code_bytes) {
    const struct folded_rate *row = FOLDED_RATES;
    while ((double)code_bytes > row->max_bytes)
        row++;
    return row->rate;
}

static double power(double base, uint32_t exponent) {
    double result = 1;
    while (exponent-- > 0)
        result *= base;
    return result;
}

/* Additions of a block's tree that registers which are still empty save. */
static double saved_adds(enum rsr_alphabet alphabet, uint32_t k) {
    switch (alphabet) {
    case RSR_TERNARY:
        return (power(3, k - 1) - 1) / 2;
    case RSR_BINARY_SIGN:
        return k == 1 ? 0 : power(2, k) / 4 - (k - 1);
    case RSR_BINARY_BIT:
        break;
    }
    return 2 * k + power(2, k - 1) - 1;
}

static double at_least(double value, double floor) {
    return value > floor ? value : floor;
}

static double n_chunks(const struct rsr_stats *stats, enum rsr_input input, bool scalar) {
    if (input == RSR_INPUT_F32)
        return stats->cols / FLOAT_COLS + 0.5;
    if (scalar)
        return stats->cols / MAX_SCALAR_COLS + 0.5;
    const double nonzero = (double)stats->n_nonzero / stats->rows;
    return at_least(nonzero / NARROW_TERMS, stats->cols / MAX_NARROW_COLS) + 0.5;
}

/* Whole vectors of tokens, in decode as well: one token in a scalar takes as many instructions. */
bool rsrc_cost_fold(struct rsrc_arena *arena, const struct rsrc_plan_input *input,
                    struct rsrc_choice *out) {
    const struct rsr_stats *stats = input->fold_stats;
    const struct rsr_spec *spec = input->spec;
    if (stats == NULL || stats->k > MAX_K || input->group_cols != 0)
        return false;
    const bool scalar = spec->vector_bits == 0;
    const struct fold_machine *machine = find_machine(spec, scalar);
    const uint32_t lane_bits = input->input == RSR_INPUT_F32 ? 32 : 16;
    const uint32_t lanes = scalar ? 1 : spec->vector_bits / lane_bits;
    const bool narrow = !scalar && input->input == RSR_INPUT_I8;
    const double chunks = at_least((double)(uint64_t)n_chunks(stats, input->input, scalar), 1);
    const double n_blocks = (double)((stats->rows - 1) / stats->k + 1);
    const double adds =
        (double)stats->n_fold_adds - saved_adds(input->alphabet, stats->k) * n_blocks;
    const double memory = (double)stats->n_members;
    const double registers = chunks * (at_least(adds, 0) + (narrow ? 7.0 : 2.0) * stats->rows);
    struct rsrc_choice choice = {.variant = RSR_VARIANT_FOLD, .k = stats->k, .fold = RSR_FOLD_TREE};
    choice.max_cols = UINT32_MAX;
    choice.weight_bytes = (uint64_t)(memory * machine->memory_bytes * machine->per_memory +
                                     registers * machine->register_bytes);
    const double instructions = memory * machine->per_memory + registers;
    const double pass_us =
        rsrc_work_us(instructions, folded_rate(choice.weight_bytes) * spec->fold_gips);
    const double fetch_us = (double)choice.weight_bytes / (COLD_CODE_GBPS * 1e3);
    rsrc_set_costs(&choice, pass_us, pass_us / lanes + fetch_us / RSRC_PREFILL_TOKENS, spec);
    choice.work = rsrc_work_text(arena, instructions, "instructions");
    *out = choice;
    return true;
}
