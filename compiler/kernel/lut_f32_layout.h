/* lut_f32_layout.h - the data layout of `lut` for float activations, which `table` also reads.
 * lut_layout.h has the layout for int8.
 *
 * Rows are cut into vectors of vector_rows; unit_vectors vectors are a unit (the last unit may have
 * fewer). Columns are cut into groups that share a scale of their row (with scales of rows or of
 * the matrix, all columns are one group). Groups are cut into steps of step_cols columns, and steps
 * into segments of segment_cols. The last step of a group and the last segment of a step may be
 * short; no segment lies in two groups. A step has a word of 32 bits per row; its bits i *
 * code_bits and up are the code of segment i:
 *
 *              columns of a step    code of a segment
 *   ternary    6 x 3 + 1            words: 13 + c of c = sum of w_i 3^i; of the one column: 1 + w.
 *                                   Planes: |c|, and bit 24 + i is whether c < 0; the one column's
 *                                   |c| is bit 31
 *   binary     8 x 4                bit i where w_i = +1
 *
 * So a ternary weight takes 1.68 bits and a binary weight 1 bit. Missing columns of a short step
 * count as 0, or as not +1.
 *
 * With words, a lane of 32 bits is a row, and a table has float sums. If no vector holds 27 floats,
 * the kernel looks up bytes, four for each sum: a vector of rows has four planes, plane j has byte
 * j of all words, and a table is four planes of 16 bytes. Zipping the bytes gives the sums, in four
 * runs of rows: rsrc_lut_f32_lane() says which byte of a plane belongs to a row.
 *
 *   codes  a unit reads two streams (one, where it is one vector): its first stream_vectors vectors
 *          and the others. Streams are stream_bytes apart (rsrc_lut_stream_bytes says why) and have
 *          unit after unit: of the n vectors, group after group, the scales (scale_bytes each, row
 *          after row), then for each step the words, or vector after vector the planes. Rows beyond
 *          the matrix have scale 0
 *   index  for every column of a segment table_sums floats: its digit in each code. Of words, then:
 *          ternary, of the one column vector_rows floats; vector_rows ones. Of planes, 16 bytes:
 *          where in four floats the bytes of the planes are
 */
#ifndef RSRC_KERNEL_LUT_F32_LAYOUT_H
#define RSRC_KERNEL_LUT_F32_LAYOUT_H

#include "kernel/lut_layout.h"

#define LUT_F32_PLANES 4u

/* Runs of a vector of rows whose sums are made from planes. */
#define RSRC_LUT_F32_RUNS 4u

struct rsrc_lut_f32_layout {
    enum rsr_alphabet alphabet;
    uint32_t step_cols, segment_cols, n_segments; /* n_segments: per step */
    uint32_t code_bits, table_sums;
    bool planes; /* else words */
    uint32_t vector_rows, unit_vectors, stream_vectors, n_vectors;
    uint64_t stream_bytes; /* from the first stream of codes to the second */
    uint32_t cols, group_cols, n_groups;
    uint32_t group_steps, n_steps; /* steps of each group but the last; of all groups together */
    uint32_t scale_bytes;          /* 2: binary16; 4: binary32; 0: groups have no scales */
};

struct rsrc_lut_f32_machine {
    struct rsrc_machine head;
    uint32_t vector_rows;
    uint32_t max_vectors;             /* per unit: as many sums as fit the registers */
    bool planes;                      /* true: four look-ups of bytes for a sum; false: words */
    const struct rsrc_lut_work *work; /* [0] with ternary codes, [1] with binary codes */
};

/* `machine` is a row of rsrc_lut_f32_machines. */
struct rsrc_lut_f32_layout rsrc_make_lut_f32_layout(const struct rsrc_machine *machine,
                                                    uint32_t cores,
                                                    const struct rsrc_lut_shape *shape);
/* With planes: the place of a row of the vector within a plane. */
uint32_t rsrc_lut_f32_lane(const struct rsrc_lut_f32_layout *layout, uint32_t row);
/* Columns of segment i of a step that has n_cols. */
static inline uint32_t rsrc_lut_f32_segment_cols(const struct rsrc_lut_f32_layout *layout,
                                                 uint32_t i, uint32_t n_cols) {
    const uint32_t first = i * layout->segment_cols;
    const uint32_t left = first < n_cols ? n_cols - first : 0;
    return left < layout->segment_cols ? left : layout->segment_cols;
}
/* Bytes of one vector of rows: of a step, of a group that is not the last, and of all groups. */
uint32_t rsrc_lut_f32_step_bytes(const struct rsrc_lut_f32_layout *layout);
uint64_t rsrc_lut_f32_group_bytes(const struct rsrc_lut_f32_layout *layout);
uint64_t rsrc_lut_f32_vector_bytes(const struct rsrc_lut_f32_layout *layout);
uint64_t rsrc_lut_f32_codes_bytes(const struct rsrc_lut_f32_layout *layout);
/* Number of digits, the first floats of the index. After them come the ones, or the places of
 * bytes. */
uint32_t rsrc_lut_f32_n_digits(const struct rsrc_lut_f32_layout *layout);
uint64_t rsrc_lut_f32_index_bytes(const struct rsrc_lut_f32_layout *layout);

/* `codes` is zeroed. */
void rsrc_pack_lut_f32(const struct rsr_matrix *matrix, const struct rsrc_lut_f32_layout *layout,
                       uint8_t *codes);
/* Fills the index, of rsrc_lut_f32_index_bytes() bytes. */
void rsrc_pack_lut_f32_index(const struct rsrc_lut_f32_layout *layout, float *index);

#endif
