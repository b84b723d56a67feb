/* lut_f32.h - `lut` for float activations: its layout, private to packing and lowering.
 *
 * Columns are cut into segments of group_cols, rows into vectors of vector_rows, one row a 32-bit
 * lane; unit_vectors vectors are a unit (the last unit has what is left). Segments come in steps of
 * 8: of every step, a vector has a word of eight codes a row and, where codes have signs, a byte of
 * them.
 *
 *   codes  unit u at u * unit_vectors * n_steps * vector bytes of a step; in a unit of n vectors,
 *          step after step, each the n vectors of words, then the n vectors of sign bytes
 *   word   the code of segment i of the step at bits 4i; byte: its sign at bit i
 *   code   ternary: |c| of c = sum of w_i 3^i, a sign where c < 0. Binary: bit i where w_i = +1.
 *          Columns beyond the matrix count as 0; segments and rows beyond it have code 0
 *   index  for every column of a segment 16 floats: its digit in each code
 */
#ifndef RSRC_LOWER_LUT_F32_H
#define RSRC_LOWER_LUT_F32_H

#include "lower/variants.h"

#define LUT_F32_STEP_SEGMENTS 8u
#define LUT_F32_CODES 16u /* of a segment: a table is that many floats */

struct rsrc_lut_f32_layout {
    enum rsr_alphabet alphabet;
    bool has_sign;
    uint32_t group_cols;
    uint32_t vector_rows, unit_vectors;
    uint32_t n_segments, n_steps, n_vectors;
};

/* False: the target looks no floats up. */
bool rsrc_make_lut_f32_layout(const struct rsr_spec *spec, const struct rsr_matrix *matrix,
                              struct rsrc_lut_f32_layout *out);
/* Of one step, of one vector of rows. */
uint32_t rsrc_lut_f32_step_bytes(const struct rsrc_lut_f32_layout *layout);
uint64_t rsrc_lut_f32_codes_bytes(const struct rsrc_lut_f32_layout *layout);
/* `codes` is zeroed. */
void rsrc_pack_lut_f32(struct rsrc_arena *arena, const struct rsr_matrix *matrix,
                       const struct rsrc_lut_f32_layout *layout, uint8_t *codes);
/* digits[group_cols][LUT_F32_CODES] */
void rsrc_pack_lut_f32_digits(const struct rsrc_lut_f32_layout *layout, float *digits);

#endif
