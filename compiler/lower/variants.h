/* variants.h - one lowering a variant; lower.c chooses by the plan. Private to lower/. */
#ifndef RSRC_LOWER_VARIANTS_H
#define RSRC_LOWER_VARIANTS_H

#include "lower/lower.h"

/* Fill the kernel's operations, tiles and scratch, the bytes of out->codes (and out->index), and
 * *detail: what the kernel's code depends on besides shape, alphabet, epilogue, tile and target. */
enum rsrc_status rsrc_lower_dot(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                const struct rsrc_lower_input *input, struct rsr_lowered *out,
                                const char **detail);
enum rsrc_status rsrc_lower_dot_panel(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                      const struct rsrc_lower_input *input, struct rsr_lowered *out,
                                      const char **detail);
/* dot of RSR_PACKING_ROWS and of RSR_PACKING_COLS: a list says what is read (lower/listed.h). */
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

/* Reports that int32 does not hold the sums of the layer's columns. */
RSRC_NODISCARD enum rsrc_status rsrc_refuse_wide(struct rsrc_diag *diag,
                                                 const struct rsrc_lower_input *input);

static inline bool rsrc_target_has(const struct rsr_spec *spec, uint64_t features) {
    return (spec->cpu_features & features) == features;
}

/* Removes operations whose results are never read. */
void rsrc_simplify_kernel(struct rsrc_arena *arena, struct rsr_kernel *kernel);

/* The packed codes of `dot`. A group is 4 rows, a quad, or 1 where a list names rows; for every block of
 * block_cols columns it holds vector_bytes bytes of each row. Byte i of those holds columns p * vector_bytes + i at bits
 * p * code_bits, planes p ascending. Columns beyond the matrix have any code (the activations there
 * are 0); rows beyond it are zero bytes, computed and never stored. */
struct rsrc_dot_layout {
    uint32_t vector_bytes;
    uint32_t code_bits;  /* 2: ternary, w + 1; 1: binary, (w + 1) / 2 or w */
    uint32_t n_planes;   /* 8 / code_bits */
    uint32_t block_cols; /* n_planes * vector_bytes, a divisor of RSR_ACT_PAD */
    uint32_t n_blocks;
    uint32_t group_rows, n_groups;
};
void rsrc_pack_dot(const struct rsr_matrix *matrix, const struct rsrc_dot_layout *layout,
                   uint8_t *out);

/* The packed codes w + 1 of columns that a list names. A tile of tile_blocks * 4 * vector_bytes rows has,
 * column by column, tile_blocks blocks of vector_bytes bytes. The four bytes that four columns have at the
 * same place become four neighbours when ZIP_LOW and ZIP_HIGH interleave them: pack_cols.c says of which
 * row. Rows beyond the matrix are zero bits. */
struct rsrc_cols_layout {
    uint32_t vector_bytes;
    uint32_t tile_blocks, n_tiles;
};
/* Fills zeroed codes. */
void rsrc_pack_cols(const struct rsr_matrix *matrix, const struct rsrc_cols_layout *layout,
                    uint8_t *out);

/* The tables of `scatter`. codes: members, the layer's column numbers of all segments in order,
 * 16-bit where all are below 65536, else 32-bit. index: one rsrc_scatter_block a block of k rows and
 * group of columns (all columns are one group where groups have no scales), then the segments, then
 * the scales of groups, float[rows][n_groups]. */
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

/* The packed codes of `lut`. Columns are cut into segments of group_cols, rows into vectors of
 * vector_rows; unit_vectors vectors are a unit and share a segment's table (the last unit has what
 * is left). Segments come in steps of step_segments; of every step, a vector has step_planes planes,
 * plane_bytes a row: a byte, or, of WORDS, 16 bits.
 *
 *   codes  plane j of step s of vector v at
 *          ((v * n_steps + s) * step_planes + j) * vector_rows * plane_bytes: every vector of a unit
 *          is a stream of its own, which memory reads faster than one stream
 *   plane  TABLE128: the segment's code, its sign at bit 7. SHUFFLE16: the codes of segments 2j
 *          (bits 0..3) and 2j + 1 (bits 4..7) of the step; with signs, plane 4: segment i's at bit
 *          i. WORDS: segments 3j .. 3j + 2, 5 bits a code from bit 0 on; bit 15 is bit j of the
 *          step's last code
 *   code   ternary: |c| of c = sum of w_i 3^i, a sign where c < 0; without signs, 13 + c. Binary
 *          with signs: bit i where w_i = w_last (the segment's last column), a sign where w_last
 *          is not +1. Binary without: bit i where w_i = +1. Columns beyond the matrix count as not
 *          +1 (ternary: as 0), segments too; rows beyond it are zero bytes
 *   lanes  byte 16l + 8a + 2e + b of a vector (a < 2, e < 4, b < 2) is its row
 *          (2a + b) * vector_rows / 4 + 4l + e: the even and the odd int16 lanes of ZIP_LOW, then
 *          of ZIP_HIGH, widened, are four runs of rows. Of WORDS that is word 8l + 2e + b of the
 *          plane's first or second half (a), so that PACK_U8 gives the same bytes
 *   index  the constants that tables are built with; then with signs, for every vector, vector_rows
 *          int16, of the lanes with a = 0, then of those with a = 1: how many codes of the row have
 *          a sign */
enum rsrc_lut_lookup { RSRC_LUT_TABLE128, RSRC_LUT_SHUFFLE16, RSRC_LUT_WORDS };

/* SHUFFLE16 looks a sum up in two parts, as bytes: low + LUT_HIGH_WEIGHT * high, low in -16..15. High is in
 * -12..12 of three ternary columns, whose complements reach -13: eight segments' parts add up in a byte.
 * Of four columns of bits it is in -16..16: four segments do. */
#define LUT_HIGH_BITS 5
#define LUT_HIGH_WEIGHT (1 << LUT_HIGH_BITS)

struct rsrc_lut_layout {
    const char *form; /* names lookup and vector */
    enum rsr_alphabet alphabet;
    enum rsrc_lut_lookup lookup;
    bool has_sign;
    uint32_t group_cols;
    uint32_t vector_rows, unit_vectors;
    uint32_t step_segments, step_planes, plane_bytes;
    uint32_t table_step_bytes; /* of tables, a step's */
    uint32_t byte_segments;    /* SHUFFLE16: whose sums of parts fit int8 */
    uint32_t flush_steps;      /* whose sums fit int16 */
    uint32_t n_segments, n_steps, n_vectors;
};

/* False: the target has the instructions of no form. Follows from shape, alphabet and target alone:
 * kernels of both regimes find the same layout. */
bool rsrc_make_lut_layout(const struct rsr_spec *spec, const struct rsr_matrix *matrix,
                          struct rsrc_lut_layout *out);
/* Vectors of a unit: as many as the registers hold, but enough units to share them out among the
 * cores. */
uint32_t rsrc_lut_unit_vectors(uint32_t n_vectors, uint32_t max_vectors, uint32_t cores);
/* Digit i, of -1, 0 and 1, of a ternary code sum of w_i 3^i. */
int rsrc_balanced_digit(int code, uint32_t i);
/* What a code adds of column i: -1, 0 or 1; of binary ones 0 or 1. For codes of WORDS. */
int rsrc_lut_word_digit(const struct rsrc_lut_layout *layout, uint32_t code, uint32_t i);
/* The code whose sum is 0. */
uint8_t rsrc_lut_zero_code(const struct rsrc_lut_layout *layout);
/* The row, within its vector, of a byte lane. */
uint32_t rsrc_lut_lane_row(const struct rsrc_lut_layout *layout, uint32_t lane);
/* Where in its vector's corrections a byte lane is. */
uint32_t rsrc_lut_lane_correction(const struct rsrc_lut_layout *layout, uint32_t lane);
uint64_t rsrc_lut_codes_bytes(const struct rsrc_lut_layout *layout);
uint64_t rsrc_lut_constants_bytes(const struct rsrc_lut_layout *layout);
uint64_t rsrc_lut_index_bytes(const struct rsrc_lut_layout *layout);
/* Fills zeroed codes and, where they are wanted, the corrections of codes with signs (else NULL): a
 * row has at most INT16_MAX segments then. */
void rsrc_pack_lut(struct rsrc_arena *arena, const struct rsr_matrix *matrix,
                   const struct rsrc_lut_layout *layout, uint8_t *codes, int16_t *corrections);

#endif
