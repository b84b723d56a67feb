/* lut_layout.h - which form of `lut` a target can run, and its data layout, which dot_panel also
 * reads.
 *
 * Planning counts the bytes, lowering packs and reads them.
 */
#ifndef RSRC_KERNEL_LUT_LAYOUT_H
#define RSRC_KERNEL_LUT_LAYOUT_H

#include "kernel/kernel.h"

/* The packed codes of `lut`. Columns are cut into groups that share a scale of their row (with
 * scales of rows or of the matrix, all columns are one group), groups into segments of
 * segment_cols, and rows into vectors of vector_rows; unit_vectors vectors are a unit and share a
 * segment's table (the last unit may have fewer). Segments come in steps of step_segments; no
 * segment and no step lies in two groups. For every step, a vector has step_planes planes with
 * plane_bytes per row: one byte, or two with WORDS.
 *
 *   codes  vector v of all units is a stream, which begins at v * stream_bytes and has unit after
 *          unit, and in a unit group after group: the group's head, then step after step, plane
 *          after plane. A unit reads as many streams as it has vectors, because memory serves
 *          several streams faster than one. After a unit, each stream goes on with the next unit,
 *          so that bytes fetched ahead are used. Each stream is in another part of its page:
 *          hardware prefetching stops at the end of a page, and then only one stream waits
 *   head   if groups have scales: those of the vector's rows (scale_bytes each), in their order;
 *          then, with signs, for every lane one byte that counts its codes that have a sign
 *   plane  TABLE128: the segment's code, its sign at bit 7. SHUFFLE16: the codes of segments 2j
 *          (bits 0..3) and 2j + 1 (bits 4..7) of the step; with signs, plane 4 has the sign of
 *          segment i at bit i. WORDS: segments 3j .. 3j + 2, 5 bits a code from bit 0 on; bit 15 is
 *          bit j of the step's last code
 *   code   ternary: |c| of c = sum of w_i 3^i, a sign where c < 0; without signs, 13 + c. Binary
 *          with signs: bit i where w_i = w_last (the segment's last column), a sign where w_last
 *          is not +1. Binary without: bit i where w_i = +1. Columns and segments beyond the matrix
 *          count as not +1 (ternary: as 0); rows beyond it are zero bytes
 *   lanes  byte 16l + 8a + 2e + b of a vector (a < 2, e < 4, b < 2) is its row
 *          (2a + b) * vector_rows / 4 + 4l + e: the even and the odd int16 lanes of ZIP_LOW, then
 *          of ZIP_HIGH, widened, are four runs of rows. With WORDS it is word 8l + 2e + b of the
 *          plane's first or second half (a), so that PACK_U8 gives the bytes in this order
 *   index  the constants that build tables; then, with signs and without scales of groups,
 *          corrections: for every vector, vector_rows int16 that count the codes of a row that have
 *          a sign, first for lanes with a = 0, then for those with a = 1 */
enum rsrc_lut_lookup { RSRC_LUT_TABLE128, RSRC_LUT_SHUFFLE16, RSRC_LUT_WORDS };

/* SHUFFLE16 looks up a sum in two parts, as bytes: low + LUT_HIGH_WEIGHT * high, with low in
 * -16..15. For three ternary columns, high is in -12..12, and complements reach -13: the parts of
 * eight segments add up in a byte. For four columns of bits, high is in -16..16: the parts of four
 * segments do. */
#define LUT_HIGH_BITS 5
#define LUT_HIGH_WEIGHT (1 << LUT_HIGH_BITS)

/* Vector instructions per segment, counted in the loops that LLVM makes (rsrc --emit=asm), without
 * copies of registers. look_up: for each vector of rows (loads and prefetches of codes, look-ups,
 * signs, sums and their widening). load: for each unit, which loads the table. build: to make the
 * table, or, with SHUFFLE16, the tables that fit a vector. For floats, they are counted per step:
 * its word of codes and its tables. */
struct rsrc_lut_work {
    double look_up, load, build;
};
/* Instructions of n_steps segments (floats: steps); `at_once` of them have their tables made
 * together. */
double rsrc_lut_instructions(const struct rsrc_lut_work *work, uint32_t n_steps, uint32_t at_once,
                             uint32_t n_vectors, uint32_t unit_vectors);

struct rsrc_lut_machine {
    struct rsrc_machine head; /* its name is that of the form */
    uint32_t vector_rows;
    uint32_t max_vectors; /* of a unit: as many sums as the registers hold */
    enum rsrc_lut_lookup lookup;
    bool adds_pairs;                  /* one operation can weight and add neighbouring bytes */
    const struct rsrc_lut_work *work; /* of ternary codes, of binary ones */
};

/* The matrix that a layout is made for, also by lut_f32_layout.h. */
struct rsrc_lut_shape {
    enum rsr_alphabet alphabet;
    uint32_t rows, cols;
    uint32_t group_cols;  /* columns that share a scale of their row; 0: all */
    uint32_t scale_bytes; /* of a group's scale; 0: groups have none */
};

/* The shape of a matrix, and of a planned layer. */
struct rsrc_lut_shape rsrc_lut_matrix_shape(const struct rsr_matrix *matrix);
struct rsrc_lut_shape rsrc_lut_planned_shape(const struct rsrc_plan_input *input);

struct rsrc_lut_layout {
    const char *form; /* names lookup and vector */
    enum rsr_alphabet alphabet;
    enum rsrc_lut_lookup lookup;
    bool has_sign, adds_pairs;
    uint32_t segment_cols;
    uint32_t vector_rows, unit_vectors;
    uint32_t step_segments, step_planes, plane_bytes;
    uint32_t table_step_bytes; /* bytes of a step's tables */
    uint32_t byte_segments;    /* SHUFFLE16: segments whose sums of parts fit int8 */
    uint32_t flush_steps;      /* steps whose sums fit int16 */
    uint32_t group_cols, n_groups, group_steps;
    uint32_t scale_bytes; /* 2: binary16; 4: binary32; 0: groups have no scales */
    uint32_t n_segments, n_steps, n_vectors;
    uint64_t stream_bytes; /* from one stream of codes to the next */
};

/* Whether the layout can have the shape's groups: there are none with scales, or the codes are
 * ternary and groups are whole, in 64, 128, 192 or 256 columns. */
bool rsrc_lut_takes_groups(const struct rsrc_lut_shape *shape);
/* Refuses a layer whose groups it cannot have. */
RSRC_NODISCARD enum rsrc_status rsrc_lut_check_groups(struct rsrc_diag *diag,
                                                      const struct rsrc_lower_input *input);
/* Equal arguments give equal layouts: planning and the kernels of both regimes each compute it.
 * `machine` is a row of rsrc_lut_machines; the layout takes the shape's groups. */
struct rsrc_lut_layout rsrc_make_lut_layout(const struct rsrc_machine *machine, uint32_t cores,
                                            const struct rsrc_lut_shape *shape);
/* The layout of the codes that lut stores for the target, which has a machine for them. */
struct rsrc_lut_layout rsrc_lut_layout_of(const struct rsr_spec *spec,
                                          const struct rsrc_lut_shape *shape);
/* Rows of a unit, which depend on neither alphabet nor columns. */
uint32_t rsrc_lut_unit_rows(const struct rsr_spec *spec, uint32_t rows);
/* The largest number of columns: signs of a row are counted in 16 bits (pack_lut.c), and sums have
 * 32. */
uint32_t rsrc_lut_max_cols(const struct rsrc_lut_layout *layout);
/* Distance between n_streams streams of codes, of `filled` bytes each. Long streams begin in
 * different parts of a page: two streams half a page apart, four a quarter. Short streams have no
 * gaps, because they end before prefetching reaches its speed. */
uint64_t rsrc_lut_stream_bytes(uint64_t filled, uint32_t n_streams);
/* Vectors of a unit, chosen so that the core with the most work ends earliest. max_vectors: as many
 * as fit the registers. */
uint32_t rsrc_lut_unit_vectors(uint32_t n_vectors, uint32_t max_vectors, uint32_t cores);
/* Digit w_i (-1, 0 or 1) of a ternary code, the sum of w_i 3^i. */
int rsrc_balanced_digit(int code, uint32_t i);
/* The factor of column i in a code of WORDS: -1, 0 or 1; in binary codes 0 or 1. */
int rsrc_lut_word_digit(const struct rsrc_lut_layout *layout, uint32_t code, uint32_t i);
/* The code whose sum is 0. */
uint8_t rsrc_lut_zero_code(const struct rsrc_lut_layout *layout);
/* The row, within its vector, of a byte lane. */
uint32_t rsrc_lut_lane_row(const struct rsrc_lut_layout *layout, uint32_t lane);
/* The place of a byte lane within its vector's corrections. */
uint32_t rsrc_lut_lane_correction(const struct rsrc_lut_layout *layout, uint32_t lane);
/* Bytes of a vector's codes: of one step, of a group's head, of a group, and of all groups. */
uint32_t rsrc_lut_step_bytes(const struct rsrc_lut_layout *layout);
uint32_t rsrc_lut_head_bytes(const struct rsrc_lut_layout *layout);
uint64_t rsrc_lut_group_bytes(const struct rsrc_lut_layout *layout);
uint64_t rsrc_lut_vector_bytes(const struct rsrc_lut_layout *layout);
uint64_t rsrc_lut_codes_bytes(const struct rsrc_lut_layout *layout);
uint64_t rsrc_lut_constants_bytes(const struct rsrc_lut_layout *layout);
uint64_t rsrc_lut_index_bytes(const struct rsrc_lut_layout *layout);

/* Whether corrections are in the index. */
static inline bool rsrc_lut_has_corrections(const struct rsrc_lut_layout *layout) {
    return layout->has_sign && layout->scale_bytes == 0;
}

/* Fills zeroed codes and, unless NULL, the corrections of codes with signs; then a row has at most
 * INT16_MAX segments. With scales of groups the corrections are among the codes. */
void rsrc_pack_lut(struct rsrc_arena *arena, const struct rsr_matrix *matrix,
                   const struct rsrc_lut_layout *layout, uint8_t *codes, int16_t *corrections);

#endif
