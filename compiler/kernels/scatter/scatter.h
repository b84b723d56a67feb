/* scatter.h - the tables of `scatter`. Private to it. */
#ifndef RSRC_KERNELS_SCATTER_SCATTER_H
#define RSRC_KERNELS_SCATTER_SCATTER_H

#include "kernel/kernel.h"

/* The tables of `scatter`. codes: members, the layer's column numbers of all segments in order,
 * 16-bit where all are below 65536, else 32-bit. index: one rsrc_scatter_block a block of k rows
 * and group of columns (all columns are one group where groups have no scales), then the segments,
 * then the scales of groups, float[rows][n_groups]. */
struct rsrc_scatter_block {
    uint64_t first_member; /* element of codes */
    uint64_t first_segment;
    uint64_t n_segments;
};
struct rsrc_scatter_segment {
    uint32_t slot;    /* TREE: of the fold table; DIRECT: weight + 1 of row i at bits 2i */
    uint32_t n_added; /* members that are added; they come first */
    uint32_t n_subtracted;
};
struct rsrc_scatter_layout {
    uint32_t member_bytes;
    uint32_t group_cols, n_groups;
    uint64_t n_members, n_segments;
};
/* Those of an index whose segments are cut where groups of columns begin. */
uint64_t rsrc_count_scatter_segments(const struct rsr_index *index, uint32_t group_cols);
void rsrc_pack_scatter(struct rsrc_arena *arena, const struct rsrc_lower_input *input,
                       const struct rsrc_scatter_layout *layout, uint8_t *codes, uint8_t *table);
/* Of one member whose number is at most last_col. */
static inline uint32_t rsrc_scatter_member_bytes(uint32_t last_col) {
    return last_col < 65536 ? 2 : 4;
}
/* Both tables end on a line of their own and are never empty. */
static inline uint64_t rsrc_scatter_lines(uint64_t n_bytes) {
    return (n_bytes / 64 + 1) * 64;
}

/* Slots of the fold table of a block: one a canonical code, slot 0 empty unless signs use it. */
uint64_t rsrc_scatter_table_slots(enum rsr_alphabet alphabet, uint32_t n_rows);
/* Its bytes. Ternary k = 12 needs 1.06 MB; to fold a larger one, which lives in
 * memory, never pays: the second-level cache of a server core. */
uint64_t rsrc_scatter_table_bytes(enum rsr_alphabet alphabet, uint32_t n_rows);
#define RSRC_SCATTER_MAX_TABLE_BYTES (UINT64_C(2) << 20)

#endif
