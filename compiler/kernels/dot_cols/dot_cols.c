/* dot_cols.c - what the planner needs of `dot` over listed columns: tiles, bytes and time. */
#include "base/round.h"
#include "kernel/listed.h"

/* Instructions for a vector of a column besides the product: masks, shifts, interleaving of
 * columns, loads and stores of sums. */
#define UNPACK 4.0

/* Columns are stored in blocks; a byte has four rows. */
static uint32_t block_rows(const struct rsrc_machine *machine) {
    return 4 * rsrc_dot_machine_of(machine)->vector_bytes;
}

struct rsrc_tiling rsrc_fit_dot_cols(const struct rsrc_planned_layer *layer,
                                     const struct rsr_regime_plan *plan) {
    (void)layer;
    return (struct rsrc_tiling){block_rows(plan->machine), 1};
}

/* One tile per core: longer pieces of a column mean fewer runs of memory. */
uint32_t rsrc_list_dot_cols(struct rsrc_arena *arena, const struct rsrc_plan_input *input,
                            const struct rsrc_machine *machine, struct rsrc_choice *out) {
    const struct rsr_stats *stats = input->stats;
    const uint32_t n_blocks = rsrc_divide_up(stats->rows, block_rows(machine));
    const uint32_t cores = input->spec->cores == 0 ? 1 : input->spec->cores;
    *out = (struct rsrc_choice){.tile_rows = rsrc_divide_up(n_blocks, cores) * block_rows(machine)};
    const uint32_t tiles = rsrc_divide_up(stats->rows, out->tile_rows);
    out->weight_bytes = (uint64_t)stats->cols * tiles * (out->tile_rows / 4);
    rsrc_cost_listed(arena, input, stats->cols, tiles, UNPACK, out);
    return 1;
}
