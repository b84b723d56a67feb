/* scatter.h - the tables of `scatter`. Private to it. */
#ifndef RSRC_KERNELS_SCATTER_SCATTER_H
#define RSRC_KERNELS_SCATTER_SCATTER_H

#include "kernel/kernel.h"

/* The tables of `scatter`. codes: the members of all segments in order, as column numbers of the
 * layer, in 16 bits if all are below 65536, else in 32 bits. index: one rsrc_scatter_block for each
 * block of k rows and group of columns (without scales of groups, all columns are one group), then
 * the segments, then the scales of groups, float[rows][n_groups]. */
struct rsrc_scatter_block {
    uint64_t first_member; /* element of codes */
    uint64_t first_segment;
    uint64_t n_segments;
};
struct rsrc_scatter_segment {
    uint32_t slot;    /* TREE: slot of the fold table; DIRECT: weight + 1 of row i at bits 2i */
    uint32_t n_added; /* members that are added; they come first */
    uint32_t n_subtracted;
};
struct rsrc_scatter_layout {
    uint32_t member_bytes;
    uint32_t group_cols, n_groups;
    uint64_t n_members, n_segments;
};
/* Number of segments of an index if they are cut at groups of columns. */
uint64_t rsrc_count_scatter_segments(const struct rsr_index *index, uint32_t group_cols);
void rsrc_pack_scatter(struct rsrc_arena *arena, const struct rsrc_lower_input *input,
                       const struct rsrc_scatter_layout *layout, uint8_t *codes, uint8_t *table);
/* Bytes of a member whose number is at most last_col. */
static inline uint32_t rsrc_scatter_member_bytes(uint32_t last_col) {
    return last_col < 65536 ? 2 : 4;
}
/* Both tables end on a line of their own and are never empty. */
static inline uint64_t rsrc_scatter_lines(uint64_t n_bytes) {
    return (n_bytes / 64 + 1) * 64;
}

/* Slots of the fold table of a block: one per canonical code; slot 0 is empty unless signs use
 * it. */
uint64_t rsrc_scatter_table_slots(enum rsr_alphabet alphabet, uint32_t n_rows);
/* Limit of the table's bytes. Ternary k = 12 needs 1.06 MB, the size of the second-level cache of a
 * server core; a fold of a larger table, which would lie in memory, never pays. */
uint64_t rsrc_scatter_table_bytes(enum rsr_alphabet alphabet, uint32_t n_rows);
#define RSRC_SCATTER_MAX_TABLE_BYTES (UINT64_C(2) << 20)

#endif
