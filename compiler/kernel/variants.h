/* variants.h - one lowering a variant; lower.c chooses by the plan. Private to lower/. */
#ifndef RSRC_KERNEL_VARIANTS_H
#define RSRC_KERNEL_VARIANTS_H

#include "layout/dot_layout.h"
#include "layout/lut_layout.h"
#include "kernel/kernel.h"

/* Fill the kernel's operations, tiles and scratch, the bytes of out->codes (and out->index), and
 * *detail: what the kernel's code depends on besides shape, alphabet, epilogue, tile and target. */
enum rsrc_status rsrc_lower_dot(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                const struct rsrc_lower_input *input, struct rsr_lowered *out,
                                const char **detail);
enum rsrc_status rsrc_lower_dot_panel(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                      const struct rsrc_lower_input *input, struct rsr_lowered *out,
                                      const char **detail);
/* dot of RSR_PACKING_ROWS and of RSR_PACKING_COLS: a list says what is read (kernel/listed.h). */
enum rsrc_status rsrc_lower_listed_rows(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                        const struct rsrc_lower_input *input,
                                        struct rsr_lowered *out, const char **detail);
enum rsrc_status rsrc_lower_listed_cols(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                        const struct rsrc_lower_input *input,
                                        struct rsr_lowered *out, const char **detail);
enum rsrc_status rsrc_lower_scatter(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                    const struct rsrc_lower_input *input, struct rsr_lowered *out,
                                    const char **detail);

enum rsrc_status rsrc_lower_fold(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                 const struct rsrc_lower_input *input, struct rsr_lowered *out,
                                 const char **detail);
enum rsrc_status rsrc_lower_lut(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                const struct rsrc_lower_input *input, struct rsr_lowered *out,
                                const char **detail);
/* The same of float activations; rsrc_lower_lut() goes there. */
enum rsrc_status rsrc_lower_lut_f32(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                    const struct rsrc_lower_input *input, struct rsr_lowered *out,
                                    const char **detail);

/* The codes of `dot`, as layout/dot_layout.h has them. */
void rsrc_pack_dot(const struct rsr_matrix *matrix, const struct rsrc_dot_layout *layout,
                   uint8_t *out);

/* The packed codes w + 1 of columns that a list names. A tile of tile_blocks * 4 * vector_bytes
 * rows has, column by column, tile_blocks blocks of vector_bytes bytes. The four bytes that four
 * columns have at the same place become four neighbours when ZIP_LOW and ZIP_HIGH interleave them:
 * pack_cols.c says of which row. Rows beyond the matrix are zero bits. */
struct rsrc_cols_layout {
    uint32_t vector_bytes;
    uint32_t tile_blocks, n_tiles;
};
/* Fills zeroed codes. */
void rsrc_pack_cols(const struct rsr_matrix *matrix, const struct rsrc_cols_layout *layout,
                    uint8_t *out);

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

/* The codes of `lut`, as layout/lut_layout.h draws them. Fills zeroed codes and, where they are
 * wanted, the corrections of codes with signs (else NULL): a row has at most INT16_MAX segments
 * then. */
void rsrc_pack_lut(struct rsrc_arena *arena, const struct rsr_matrix *matrix,
                   const struct rsrc_lut_layout *layout, uint8_t *codes, int16_t *corrections);

#endif
