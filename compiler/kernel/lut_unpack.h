/* lut_unpack.h - unpacks codes of `lut` to columns, for kernels of batches that read the data of
 * decode: `dot` makes panels of the columns, `table` makes codes of its own segments.
 *
 * A macro step is the smallest number of steps of codes that has whole quads of columns. For each
 * quad, `put` gets four vectors of bytes u, one byte per row, in the lanes of lut_layout.h.
 * Ternary: u = w + 1, or w itself; signs: u = (w + 1) / 2; bits: u = w. Columns beyond the matrix
 * have any u.
 */
#ifndef RSRC_KERNEL_LUT_UNPACK_H
#define RSRC_KERNEL_LUT_UNPACK_H

#include "kernel/kernel_frame.h"
#include "kernel/lut_layout.h"

struct rsrc_lut_unpack {
    struct rsrc_frame *frame;
    struct rsrc_lut_layout layout;
    uint32_t macro_steps; /* steps of codes that make whole quads of columns */
    uint32_t macro_quads, n_macros;
    uint32_t quad_bytes; /* bytes that `put` stores */
    bool has_weights;    /* ternary u = w */
    /* Stores quad q of a macro step. The quads of the macro step begin at byte `to` of the
     * result. */
    void (*put)(struct rsrc_lut_unpack *codes, const uint16_t columns[4], uint32_t q, uint16_t to);
    /* If it is not NULL, and the codes are ternary SHUFFLE16, it is called instead of `put`, with
     * the magnitude |c| of segment `segment` of the macro step and the mask of its sign. Then no
     * digits are needed. */
    void (*put_code)(struct rsrc_lut_unpack *codes, uint16_t magnitude, uint16_t sign,
                     uint32_t segment, uint16_t to);
    /* Registers, i64. */
    uint16_t codes_at; /* first byte of the vector's codes; the next step is step_stride bytes
                          further */
    uint16_t step_stride, plane_stride;
    uint16_t first_macro, end_macro;
    /* Constants. */
    uint16_t digits[5][2], three, one, nibble;
    uint16_t word_digits, low_byte; /* WORDS */
};

struct rsrc_lut_unpack rsrc_lut_begin_unpack(struct rsrc_frame *frame,
                                             const struct rsrc_lut_layout *layout);

/* One table per digit of ternary codes; none for binary codes. */
uint64_t rsrc_lut_digits_bytes(const struct rsrc_lut_layout *layout);
void rsrc_pack_lut_digits(struct rsrc_arena *arena, const struct rsrc_lut_unpack *codes,
                          struct rsr_blob *index);
void rsrc_lut_load_digits(struct rsrc_lut_unpack *codes);
/* Unpacks macro steps first_macro .. end_macro - 1 of the vector at codes_at; with scales, of the
 * group whose steps begin there. */
void rsrc_lut_unpack_macros(struct rsrc_lut_unpack *codes);

void rsrc_lut_load_strides(struct rsrc_lut_unpack *codes);
/* Opens loops over the vectors of units first_unit .. end_unit - 1; sets codes_at and returns the
 * vector's first row. */
uint16_t rsrc_lut_begin_vectors(struct rsrc_lut_unpack *codes, uint16_t first_unit,
                                uint16_t end_unit);
void rsrc_lut_end_vectors(struct rsrc_lut_unpack *codes);

/* Gives the codes that lut has packed, or packs them again. It omits the corrections of lut, which
 * batches do not need, so rows may have more signs than corrections can count. */
void rsrc_take_lut_codes(struct rsrc_arena *arena, const struct rsrc_lower_input *input,
                         const struct rsrc_lut_layout *layout, struct rsr_blob *codes);

#endif
