/* scatter.c - what the planner needs of `scatter`: tiles, bytes and time. One token at a time, in
 * scalars, which every processor has. */
#include "kernels/scatter/scatter.h"

#include "base/round.h"

static const struct rsrc_machine machines[] = {{0, 0, "scalar"}};
const struct rsrc_machine_table rsrc_scatter_machines = RSRC_MACHINE_TABLE(machines);

/* A tile has whole blocks of k rows, at most this many rows. */
#define TILE_ROWS 16u

struct rsrc_tiling rsrc_fit_scatter(const struct rsrc_planned_layer *layer,
                                    const struct rsr_regime_plan *plan) {
    (void)layer;
    return (struct rsrc_tiling){plan->k, 1};
}

uint64_t rsrc_scatter_table_slots(enum rsr_alphabet alphabet, uint32_t n_rows) {
    switch (alphabet) {
    case RSR_TERNARY:
        return rsrc_power(3, n_rows) / 2 + 1;
    case RSR_BINARY_SIGN:
        return UINT64_C(1) << (n_rows - 1);
    case RSR_BINARY_BIT:
        break;
    }
    return UINT64_C(1) << n_rows;
}

uint64_t rsrc_scatter_table_bytes(enum rsr_alphabet alphabet, uint32_t n_rows) {
    return rsrc_round_up(rsrc_scatter_table_slots(alphabet, n_rows) * 4, 16);
}

/* Groups of columns that share a scale of their row; without such scales all columns are one. */
static uint32_t count_groups(const struct rsrc_plan_input *input) {
    const uint32_t cols = input->stats->cols;
    const bool grouped = input->group_cols != 0 && input->group_cols < cols;
    return grouped ? rsrc_divide_up(cols, input->group_cols) : 1;
}

static uint64_t packed_bytes(const struct rsrc_plan_input *input) {
    const struct rsr_stats *stats = input->stats;
    const uint64_t n_groups = count_groups(input);
    const uint64_t n_scales = input->group_cols == 0 ? 0 : stats->rows * n_groups;
    const uint64_t n_blocks = rsrc_divide_up64(stats->rows, stats->k) * n_groups;
    return rsrc_scatter_lines(stats->n_members * rsrc_scatter_member_bytes(stats->cols - 1)) +
           rsrc_scatter_lines(n_blocks * sizeof(struct rsrc_scatter_block) +
                              stats->n_segments * sizeof(struct rsrc_scatter_segment) +
                              n_scales * sizeof(float));
}

static struct rsrc_choice make_choice(struct rsrc_arena *arena, const struct rsrc_plan_input *input,
                                      enum rsr_fold_kind fold) {
    const struct rsr_stats *stats = input->stats;
    const uint64_t distribute =
        fold == RSR_FOLD_TREE ? stats->n_fold_adds : RSR_DIRECT_DIGIT_ADDS * stats->n_direct_adds;
    const double adds = (double)stats->n_members + (double)distribute +
                        RSR_SEGMENT_START_ADDS * (double)stats->n_segments;
    const double compute_us = rsrc_work_us(adds, input->spec->add_gops);
    struct rsrc_choice choice = {.k = stats->k,
                                 .fold = fold,
                                 .tile_rows = TILE_ROWS / stats->k * stats->k,
                                 .max_cols = UINT32_MAX,
                                 .weight_bytes = packed_bytes(input),
                                 .work = rsrc_work_text(arena, adds, "additions")};
    rsrc_set_costs(&choice, compute_us, compute_us, input->spec);
    return choice;
}

uint32_t rsrc_list_scatter(struct rsrc_arena *arena, const struct rsrc_plan_input *input,
                           const struct rsrc_machine *machine, struct rsrc_choice *out) {
    (void)machine;
    uint32_t n = 0;
    if (rsrc_scatter_table_bytes(input->alphabet, input->stats->k) <= RSRC_SCATTER_MAX_TABLE_BYTES)
        out[n++] = make_choice(arena, input, RSR_FOLD_TREE);
    out[n++] = make_choice(arena, input, RSR_FOLD_DIRECT);
    return n;
}
