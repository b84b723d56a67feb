/* cost.c - what a layer costs on a target: bytes exactly, microseconds by a model.
 *
 * Input: statistics of the matrix and the target's numbers, all of one core. A decoded token reads
 * all weights once, so its time is the larger of reading and computing; the two overlap. In prefill
 * the tokens of a batch share the reading, and `dot` shares the unpacking among a few of them. The
 * sizes follow the layouts of lower/ to the byte; a test compares them with what lowering stores.
 */
#include "plan/cost.h"

#include <inttypes.h>
#include <math.h>

#include "base/round.h"
#include "layout/dot_layout.h"

/* Calling a kernel and meeting at the barrier after it; two cores of a 2.5 GHz server. */
#define CALL_US 0.5

/* Lowering's limit on the fold table: the second-level cache of a server core. */
#define MAX_FOLD_BYTES (UINT64_C(2) << 20)

/* Sizes of lowering's records: a block of k rows, a segment, and the line its tables are filled
 * to. */
#define BLOCK_BYTES 24u
#define SEGMENT_BYTES 12u
#define LINE_BYTES 64u

/* bytes at GB/s, in microseconds. */
static double read_us(double bytes, double gbps) {
    return bytes / (gbps * 1e3);
}

double rsrc_work_us(double operations, double giga_per_s) {
    return operations / (giga_per_s * 1e3);
}

const char *rsrc_work_text(struct rsrc_arena *arena, double operations, const char *what) {
    return operations < 1e5 ? rsrc_arena_printf(arena, "%.0f %s", operations, what)
                            : rsrc_arena_printf(arena, "%.3g M %s", operations / 1e6, what);
}

/* Reading and computing behind each other's back take the longer of the two, and more the nearer
 * they are, because each waits for the other now and then: the fourth root of the sum of fourth
 * powers. On a Zen 4 lut took, where the shorter is this part of the longer, so many times the
 * longer: 0.72 1.04, 0.75 1.09, 0.81 1.17, 0.89 1.14; by this 1.06, 1.07, 1.09, 1.13. */
static double overlapped_us(double a_us, double b_us) {
    return sqrt(hypot(a_us * a_us, b_us * b_us));
}

static struct rsrc_cost make_cost(double memory_us, double compute_us, double call_us) {
    return (struct rsrc_cost){.memory_us = memory_us,
                              .compute_us = compute_us,
                              .predicted_us = call_us + overlapped_us(memory_us, compute_us)};
}

void rsrc_set_costs_of_bytes(struct rsrc_choice *choice, double bytes, double decode_us,
                             double prefill_us, const struct rsr_spec *spec) {
    const double memory_us = read_us(bytes, spec->read_gbps);
    choice->cost[RSR_REGIME_DECODE] = make_cost(memory_us, decode_us, CALL_US);
    choice->cost[RSR_REGIME_PREFILL] =
        make_cost(memory_us / RSRC_PREFILL_TOKENS, prefill_us, CALL_US / RSRC_PREFILL_TOKENS);
}

void rsrc_set_costs(struct rsrc_choice *choice, double decode_us, double prefill_us,
                    const struct rsr_spec *spec) {
    rsrc_set_costs_of_bytes(choice, (double)choice->weight_bytes, decode_us, prefill_us, spec);
}

/* Products at their peak, or what a vector of them takes with the instructions around it. */
static double dot_us(double macs, double instructions, const struct rsrc_dot_machine *machine,
                     const struct rsr_spec *spec) {
    const double multiply_us = rsrc_work_us(macs * (1 + machine->unpack), spec->dot_gmacs);
    return instructions == 0
               ? multiply_us
               : fmax(multiply_us,
                      rsrc_work_us(macs / machine->vector_bytes * instructions, spec->vector_gips));
}

struct rsrc_choice rsrc_cost_dot(struct rsrc_arena *arena, const struct rsr_stats *stats,
                                 enum rsr_alphabet alphabet, const struct rsr_spec *spec) {
    const struct rsrc_dot_machine *machine = rsrc_find_dot_machine(spec);
    const struct rsrc_dot_layout layout =
        rsrc_make_dot_layout(machine, alphabet, stats->rows, stats->cols);
    const double macs = (double)stats->rows * stats->cols;
    struct rsrc_choice choice = {
        .variant = RSR_VARIANT_DOT, .fold = RSR_FOLD_TREE, .max_cols = RSRC_MAX_SUM_COLS};
    choice.weight_bytes = rsrc_dot_codes_bytes(&layout);
    rsrc_set_costs(&choice, dot_us(macs, machine->alone, machine, spec),
                   dot_us(macs, machine->shared, machine, spec), spec);
    choice.work = rsrc_work_text(arena, macs, "multiply-adds");
    return choice;
}

/* Groups of columns that share a scale of their row; without such scales all columns are one. */
static uint32_t count_groups(const struct rsrc_plan_input *input) {
    const uint32_t cols = input->stats->cols;
    const bool grouped = input->group_cols != 0 && input->group_cols < cols;
    return grouped ? rsrc_divide_up(cols, input->group_cols) : 1;
}

/* Both tables end on a line of their own and are never empty. */
static uint64_t scatter_bytes(const struct rsrc_plan_input *input) {
    const struct rsr_stats *stats = input->stats;
    const uint64_t n_groups = count_groups(input);
    const uint64_t n_scales = input->group_cols == 0 ? 0 : stats->rows * n_groups;
    uint64_t member_bytes = stats->cols <= 65536 ? 2 : 4;
    uint64_t n_blocks = rsrc_divide_up64(stats->rows, stats->k) * n_groups;
    uint64_t members = stats->n_members * member_bytes;
    uint64_t table =
        n_blocks * BLOCK_BYTES + stats->n_segments * SEGMENT_BYTES + n_scales * sizeof(float);
    return (members / LINE_BYTES + 1 + table / LINE_BYTES + 1) * LINE_BYTES;
}

struct rsrc_choice rsrc_cost_scatter(struct rsrc_arena *arena, const struct rsrc_plan_input *input,
                                     enum rsr_fold_kind fold) {
    const struct rsr_stats *stats = input->stats;
    uint64_t distribute =
        fold == RSR_FOLD_TREE ? stats->n_fold_adds : RSR_DIRECT_DIGIT_ADDS * stats->n_direct_adds;
    double adds = (double)stats->n_members + (double)distribute +
                  RSR_SEGMENT_START_ADDS * (double)stats->n_segments;
    struct rsrc_choice choice = {.variant = RSR_VARIANT_SCATTER, .k = stats->k, .fold = fold};
    choice.max_cols = UINT32_MAX;
    choice.weight_bytes = scatter_bytes(input);
    const double compute_us = rsrc_work_us(adds, input->spec->add_gops);
    rsrc_set_costs(&choice, compute_us, compute_us, input->spec); /* one token at a time */
    choice.work = rsrc_work_text(arena, adds, "additions");
    return choice;
}

bool rsrc_fold_fits(enum rsr_alphabet alphabet, uint32_t k) {
    uint64_t slots = 1;
    for (uint32_t i = 0; i < k; i++)
        slots *= alphabet == RSR_TERNARY ? 3 : 2;
    if (alphabet != RSR_BINARY_BIT)
        slots = (slots + 1) / 2;
    return slots * sizeof(int32_t) <= MAX_FOLD_BYTES;
}
