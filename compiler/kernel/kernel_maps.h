/* kernel_maps.h - the maps of a reduced layer inside its kernel: columns gathered before the
 * variant's code, rows expanded after it. Private to the frame.
 *
 * The tokens of a call go through the kernel in groups, so that the scratch memory stays bounded:
 *
 *   for every group of tokens
 *       gather: activation rows of the kept columns       (kept_cols)
 *       the variant's code: sums of the kept rows         (its units and tiles are of kept rows)
 *       expand: every row from the sum it follows from    (row_sources)
 *
 * A tile writes all rows that follow from its own kept rows, so no worker waits for another. The
 * tables (struct rsrc_map_layout) lie in the index, after the variant's part.
 */
#ifndef RSRC_KERNEL_KERNEL_MAPS_H
#define RSRC_KERNEL_KERNEL_MAPS_H

#include "base/round.h"
#include "kernel/kernel_builder.h"
#include "kernel/kernel.h"

/* One row of results. Sorted by the tile of `slot`, then by row. To the runtime it is a struct
 * rsr_row_entry of the kernel's row_map, which begins at tiles_at. */
struct rsrc_map_entry {
    uint32_t row;
    uint32_t slot; /* kept row; for a zero row: any of its tile */
    union {
        int32_t integer; /* int8 activations */
        float real;      /* float activations */
    } sign;              /* 1, -1, 0 */
};

/* Bytes from the start of the tables. */
struct rsrc_map_layout {
    uint32_t column_bytes; /* bytes of a kept column's number, 2 or 4; 0: columns are not
                              gathered */
    uint64_t columns_at;   /* [kept columns] */
    uint64_t tiles_at;     /* uint32[n_tiles + 1]: first entry of every tile */
    uint64_t entries_at;   /* struct rsrc_map_entry[rows] */
    uint64_t size_bytes;
};

/* The frame's state of the maps while the kernel is built. */
struct rsrc_frame_maps {
    bool active; /* tokens go in groups */
    bool gathers, expands;
    struct rsrc_map_layout layout;
    uint32_t x_bytes, sums_rows; /* per token: its gathered row in bytes; its sums in elements */
    uint32_t group_tokens;
    /* Tables and scratch memory of the maps begin after the variant's, whose size is known last:
     * these constants are set then. */
    uint32_t tables_op, scratch_op;
    uint16_t tables, scratch;   /* their registers */
    uint16_t first_token;       /* of the group */
    uint16_t x_step, sums_step; /* constants: x_bytes, sums_rows */
    uint16_t first_entry, end_entry;
};

struct rsrc_frame;
struct rsrc_frame_token;

/* Opens the loop over groups and gathers; from here on frame->n_tokens is that of the group. Does
 * nothing for a layer without maps. */
void rsrc_begin_maps(struct rsrc_frame *frame, bool may_gather);
/* Expands, closes the loop, adds tables and scratch memory. */
void rsrc_end_maps(struct rsrc_frame *frame, struct rsr_lowered *out);
/* Sets buffer and offsets of token number `token` of the group. */
void rsrc_place_mapped_token(struct rsrc_frame *frame, uint16_t token, struct rsrc_frame_token *row,
                             const char *suffix);
/* Sum 0 of token 0 of the group. */
struct rsrc_address rsrc_mapped_sums(const struct rsrc_frame *frame);

/* Tables, and the maps' part of the scratch memory, begin on cache lines. */
static inline uint64_t rsrc_whole_lines(uint64_t size_bytes) {
    return rsrc_round_up(size_bytes, 64);
}

struct rsrc_map_layout rsrc_make_map_layout(const struct rsr_reduction *reduction, bool gathers,
                                            uint32_t n_tiles);
/* `tables` is zeroed; tile_rows are kept rows. */
void rsrc_pack_maps(struct rsrc_arena *arena, const struct rsr_reduction *reduction,
                    enum rsr_input input, const struct rsrc_map_layout *layout, uint32_t tile_rows,
                    uint32_t n_tiles, uint8_t *tables);

#endif
