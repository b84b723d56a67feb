/* lut_layout.h - which form of `lut` a target can run, and how its data lies, which dot_panel reads
 * as well.
 *
 * Planning counts the bytes, lowering packs and reads them.
 */
#ifndef RSRC_KERNEL_LUT_LAYOUT_H
#define RSRC_KERNEL_LUT_LAYOUT_H

#include "kernel/kernel.h"

/* The packed codes of `lut`. Columns are cut into segments of group_cols, rows into vectors of
 * vector_rows; unit_vectors vectors are a unit and share a segment's table (the last unit has what
 * is left). Segments come in steps of step_segments; of every step, a vector has step_planes
 * planes, plane_bytes a row: a byte, or, of WORDS, 16 bits.
 *
 *   codes  vector v of all units is a stream, which begins at v * stream_bytes: plane j of step s
 *          of unit u is ((u * n_steps + s) * step_planes + j) * vector_rows * plane_bytes bytes
 *          further. A unit reads as many streams as it has vectors, which memory serves faster than
 *          one. Where a unit ends, each stream goes on with the next one, so that what was fetched
 *          ahead is needed; and streams are out of step, each in another part of its page: where a
 *          processor's own fetching stops, at the end of a page, the others flow on
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

/* SHUFFLE16 looks a sum up in two parts, as bytes: low + LUT_HIGH_WEIGHT * high, low in -16..15.
 * High is in
 * -12..12 of three ternary columns, whose complements reach -13: eight segments' parts add up in a
 * byte. Of four columns of bits it is in -16..16: four segments do. */
#define LUT_HIGH_BITS 5
#define LUT_HIGH_WEIGHT (1 << LUT_HIGH_BITS)

/* Vector instructions of a segment, counted in the loops that LLVM makes (rsrc --emit=asm), without
 * copies of registers: for each vector of rows (loads and prefetches of codes, look-ups, signs,
 * sums and their widening); for each unit, which loads the table; to make the table, of SHUFFLE16
 * as many as lie in a vector. Of floats those of a step's word of codes and of its tables. */
struct rsrc_lut_work {
    double look_up, load, build;
};
/* Of n_steps segments, or steps of floats, of which some have their tables made at once. */
double rsrc_lut_instructions(const struct rsrc_lut_work *work, uint32_t n_steps, uint32_t at_once,
                             uint32_t n_vectors, uint32_t unit_vectors);

struct rsrc_lut_machine {
    struct rsrc_machine head; /* its name is the form's */
    uint32_t vector_rows;
    uint32_t max_vectors; /* of a unit: as many sums as the registers hold */
    enum rsrc_lut_lookup lookup;
    bool adds_pairs; /* bytes side by side can be weighted and added in one operation */
    const struct rsrc_lut_work *work; /* of ternary codes, of binary ones */
};

struct rsrc_lut_layout {
    const char *form; /* names lookup and vector */
    enum rsr_alphabet alphabet;
    enum rsrc_lut_lookup lookup;
    bool has_sign, adds_pairs;
    uint32_t group_cols;
    uint32_t vector_rows, unit_vectors;
    uint32_t step_segments, step_planes, plane_bytes;
    uint32_t table_step_bytes; /* of tables, a step's */
    uint32_t byte_segments;    /* SHUFFLE16: whose sums of parts fit int8 */
    uint32_t flush_steps;      /* whose sums fit int16 */
    uint32_t n_segments, n_steps, n_vectors;
    uint64_t stream_bytes; /* from one stream of codes to the next */
};

/* The same arguments give the same layout: planning and the kernels of both regimes each make it.
 * `machine` is a row of rsrc_lut_machines. */
struct rsrc_lut_layout rsrc_make_lut_layout(const struct rsrc_machine *machine, uint32_t cores,
                                            enum rsr_alphabet alphabet, uint32_t rows,
                                            uint32_t cols);
/* Columns that the layout holds: the signs of a row are counted in 16 bits (pack_lut.c), sums in
 * 32. */
uint32_t rsrc_lut_max_cols(const struct rsrc_lut_layout *layout);
/* From one of n_streams streams of codes, of `filled` bytes, to the next: where they are long, on
 * to another part of the page, of two streams a half, of four a quarter. Short ones do not get at
 * speed before they end. */
uint64_t rsrc_lut_stream_bytes(uint64_t filled, uint32_t n_streams);
/* Vectors of a unit: those with which the core that has most units is done first. max_vectors: as
 * many as the registers hold. */
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
/* Of a vector's codes, a step's; all steps'. */
uint32_t rsrc_lut_step_bytes(const struct rsrc_lut_layout *layout);
uint64_t rsrc_lut_vector_bytes(const struct rsrc_lut_layout *layout);
uint64_t rsrc_lut_codes_bytes(const struct rsrc_lut_layout *layout);
uint64_t rsrc_lut_constants_bytes(const struct rsrc_lut_layout *layout);
uint64_t rsrc_lut_index_bytes(const struct rsrc_lut_layout *layout);

/* Fills zeroed codes and, where they are
 * wanted, the corrections of codes with signs (else NULL): a row has at most INT16_MAX segments
 * then. */
void rsrc_pack_lut(struct rsrc_arena *arena, const struct rsr_matrix *matrix,
                   const struct rsrc_lut_layout *layout, uint8_t *codes, int16_t *corrections);

#endif
