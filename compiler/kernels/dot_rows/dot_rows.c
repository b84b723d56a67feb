/* dot_rows.c - what the planner needs of `dot` over listed rows: tiles, bytes and time. */
#include "base/round.h"
#include "kernel/listed.h"

/* Instructions for a vector of a column besides the product: masks and shifts. */
#define UNPACK 2.5
/* Rows of a tile: enough that a list names several of them, and so few that the codes of all fit
 * the second-level cache. */
#define TILE_ROWS 128u

/* Rows are divided into the chunks of a list. */
struct rsrc_tiling rsrc_fit_dot_rows(const struct rsrc_planned_layer *layer,
                                     const struct rsr_regime_plan *plan) {
    (void)layer, (void)plan;
    return (struct rsrc_tiling){RSR_LIST_CHUNK, 1};
}

uint32_t rsrc_list_dot_rows(struct rsrc_arena *arena, const struct rsrc_plan_input *input,
                            const struct rsrc_machine *machine, struct rsrc_choice *out) {
    const struct rsr_stats *stats = input->stats;
    const uint32_t vector_bytes = rsrc_dot_machine_of(machine)->vector_bytes;
    *out = (struct rsrc_choice){.tile_rows = TILE_ROWS,
                                .weight_bytes = (uint64_t)stats->rows *
                                                rsrc_divide_up(stats->cols, 4 * vector_bytes) *
                                                vector_bytes};
    rsrc_cost_listed(arena, input, stats->rows, 1, UNPACK, out);
    return 1;
}
