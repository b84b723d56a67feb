/* lut_f32_layout.h - how the data of `lut` for float activations lies, which `table` reads as well;
 * as lut_layout.h says of int8.
 *
 * Rows are cut into vectors of vector_rows; unit_vectors vectors are a unit (the last unit has what
 * is left). Columns are cut into groups, those that share a scale of their row (all columns are one
 * group where scales are of rows or of the matrix); groups into steps of step_cols columns, steps
 * into segments of segment_cols. What is last of a group or a step may be short: no segment lies in
 * two groups. A step has a word of 32 bits a row, whose bits i * code_bits and up are the code of
 * segment i:
 *
 *              columns of a step    code of a segment
 *   ternary    6 x 3 + 1            words: 13 + c of c = sum of w_i 3^i; of the one column: 1 + w.
 *                                   Planes: |c|, and bit 24 + i is whether c < 0; the one column's
 *                                   |c| is bit 31
 *   binary     8 x 4                bit i where w_i = +1
 *
 * that is 1.68 bits and 1 bit a weight. Columns that a step lacks count as 0, or as not +1.
 *
 * Of words, a lane of 32 bits is a row, and a table is sums as they are. Where no vector holds 27
 * of them, bytes are looked up, four for a sum: a vector of rows has four planes, byte j of all
 * words in plane j, and a table is four planes of 16 bytes. Zipped, bytes of sums are sums again,
 * in four runs of rows: rsrc_lut_f32_lane() says which byte of a plane is a row's.
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

/* Of a vector of rows whose sums are made of planes. */
#define RSRC_LUT_F32_RUNS 4u

/* What a layout is made for. */
struct rsrc_lut_f32_shape {
    enum rsr_alphabet alphabet;
    uint32_t rows, cols;
    uint32_t group_cols;  /* that share a scale of their row; 0: all */
    uint32_t scale_bytes; /* of a group's; 0: groups have none */
};

/* Of a matrix, and of one that is planned. */
struct rsrc_lut_f32_shape rsrc_lut_f32_matrix_shape(const struct rsr_matrix *matrix);
struct rsrc_lut_f32_shape rsrc_lut_f32_planned_shape(const struct rsrc_plan_input *input);

struct rsrc_lut_f32_layout {
    enum rsr_alphabet alphabet;
    uint32_t step_cols, segment_cols, n_segments; /* n_segments: of a step */
    uint32_t code_bits, table_sums;
    bool planes; /* else words */
    uint32_t vector_rows, unit_vectors, stream_vectors, n_vectors;
    uint64_t stream_bytes; /* from the first stream of codes to the second */
    uint32_t cols, group_cols, n_groups;
    uint32_t group_steps, n_steps; /* of all groups but the last; of all groups */
    uint32_t scale_bytes;          /* 2: binary16; 4: binary32; 0: groups have no scales */
};

struct rsrc_lut_f32_machine {
    struct rsrc_machine head;
    uint32_t vector_rows;
    uint32_t max_vectors;             /* of a unit: as many sums as the registers hold */
    bool planes;                      /* bytes are looked up, four for a sum; else words */
    const struct rsrc_lut_work *work; /* of ternary codes, of binary ones */
};

/* `machine` is a row of rsrc_lut_f32_machines. */
struct rsrc_lut_f32_layout rsrc_make_lut_f32_layout(const struct rsrc_machine *machine,
                                                    uint32_t cores,
                                                    const struct rsrc_lut_f32_shape *shape);
/* Of planes: the place in a plane of a row of the vector. */
uint32_t rsrc_lut_f32_lane(const struct rsrc_lut_f32_layout *layout, uint32_t row);
/* Columns of segment i of a step that has n_cols. */
uint32_t rsrc_lut_f32_segment_cols(const struct rsrc_lut_f32_layout *layout, uint32_t i,
                                   uint32_t n_cols);
/* Of one step, of one group that is not the last, and of all, of one vector of rows. */
uint32_t rsrc_lut_f32_step_bytes(const struct rsrc_lut_f32_layout *layout);
uint64_t rsrc_lut_f32_group_bytes(const struct rsrc_lut_f32_layout *layout);
uint64_t rsrc_lut_f32_vector_bytes(const struct rsrc_lut_f32_layout *layout);
uint64_t rsrc_lut_f32_codes_bytes(const struct rsrc_lut_f32_layout *layout);
/* Floats of the index that are digits; behind them are the ones, or the places of bytes. */
uint32_t rsrc_lut_f32_n_digits(const struct rsrc_lut_f32_layout *layout);
uint64_t rsrc_lut_f32_index_bytes(const struct rsrc_lut_f32_layout *layout);

/* `codes` is zeroed. */
void rsrc_pack_lut_f32(const struct rsr_matrix *matrix, const struct rsrc_lut_f32_layout *layout,
                       uint8_t *codes);
/* rsrc_lut_f32_index_bytes() of them. */
void rsrc_pack_lut_f32_index(const struct rsrc_lut_f32_layout *layout, float *index);

#endif
