/* cost_listed.c - what `dot` over listed rows and columns costs; cost.h says in which numbers.
 *
 * A list leaves `active` of the rows of up, or of the columns of down, to be read, at 2 bits a
 * weight where `lut` reads 1.67. Streamed, in lists at random, on a core that reads 12.0 GB/s (2560
 * x 6912):
 *
 *     active            10    20    30    40    60   100 %
 *     rows of 640 B     56   108   142   184   252   360 us
 *     cols, 2 x 320 B   74   131   169   226   287   380 us
 *     lut               330 to 370 us whatever is active
 *
 * So both pay below some 80 %. A run costs some 20 to 30 ns more than its bytes: what is fetched
 * behind its end. Channels that fire together, in runs of 16, take 0.7 to 0.85 of these times: too
 * little for a permutation that would change the order in which the norm behind them adds.
 */
#include "plan/cost.h"

#include "base/round.h"
#include "layout/dot_layout.h"

/* What a run is fetched beyond its end. */
#define RUN_BYTES 256.0
/* Making the list of an element: 6912 in 3 us at 2.5 GHz. */
#define LIST_US 0.0005
/* Instructions a column of a vector besides its product: masks and shifts; columns are interleaved
 * and their sums loaded and stored as well. */
#define UNPACK_ROWS 2.5
#define UNPACK_COLS 4.0
/* Rows of a tile: some of a list's, and codes of them all that fit the second-level cache. */
#define TILE_ROWS 128u

/* A tile a core: the longer the pieces of a column are, the fewer runs. */
static uint32_t cols_tile_rows(const struct rsrc_plan_input *input, uint32_t vector_bytes) {
    const uint32_t block_rows = 4 * vector_bytes;
    const uint32_t n_blocks = rsrc_divide_up(input->stats->rows, block_rows);
    const uint32_t cores = input->spec->cores == 0 ? 1 : input->spec->cores;
    return rsrc_divide_up(n_blocks, cores) * block_rows;
}

bool rsrc_cost_listed(struct rsrc_arena *arena, const struct rsrc_plan_input *input,
                      struct rsrc_choice *out) {
    const struct rsr_stats *stats = input->stats;
    const bool rows = input->list == RSR_LIST_ROWS;
    const struct rsrc_dot_machine *machine = rsrc_find_listed_machine(input->spec);
    if (input->list == RSR_LIST_NONE || input->list_obstacle != NULL || machine == NULL)
        return false;
    const uint32_t vector_bytes = machine->vector_bytes;
    const uint32_t n = rows ? stats->rows : stats->cols;
    struct rsrc_choice choice = {.variant = RSR_VARIANT_DOT,
                                 .packing = rows ? RSR_PACKING_ROWS : RSR_PACKING_COLS,
                                 .fold = RSR_FOLD_TREE,
                                 .tile_rows =
                                     rows ? TILE_ROWS : cols_tile_rows(input, vector_bytes),
                                 .max_cols = RSRC_MAX_SUM_COLS - RSR_ACT_PAD};
    const uint32_t tiles = rows ? 1 : rsrc_divide_up(stats->rows, choice.tile_rows);
    choice.weight_bytes =
        rows ? (uint64_t)stats->rows * rsrc_divide_up(stats->cols, 4 * vector_bytes) * vector_bytes
             : (uint64_t)stats->cols * tiles * (choice.tile_rows / 4);
    const double active = input->active;
    const double runs = (double)n * active * (1 - active) * tiles;
    const double macs = active * stats->rows * stats->cols;
    const double list_us = LIST_US * n;
    const double compute_us =
        rsrc_work_us(macs * (1 + (rows ? UNPACK_ROWS : UNPACK_COLS)), input->spec->dot_gmacs);
    rsrc_set_costs_of_bytes(&choice, active * (double)choice.weight_bytes + runs * RUN_BYTES,
                            compute_us + list_us, compute_us + list_us, input->spec);
    choice.work = rsrc_work_text(arena, macs, "multiply-adds");
    *out = choice;
    return true;
}
