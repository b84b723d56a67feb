/* lut_f32.h - what packing and lowering of `lut` for float activations share: lut_f32_tables.c builds
 * tables, lower_lut_f32.c looks sums up in them; lut_walk.h has the loops around both. Private to
 * them.
 *
 * Tables live in the scratch memory, of every step those of its segments one behind the other. Of words
 * a table is one vector of sums, or two. Of planes it is 4 times 16 bytes, byte j of the sums of codes
 * 0 .. 15 in plane j.
 */
#ifndef RSRC_KERNELS_LUT_F32_LUT_F32_H
#define RSRC_KERNELS_LUT_F32_LUT_F32_H

#include "kernel/lut_layout.h"
#include "kernel/lut_walk.h"

/* How the data lies, as lut_layout.h says of int8.
 *
 * Rows are cut into vectors of vector_rows; unit_vectors vectors are a unit (the last unit has what is
 * left). Columns are cut into groups, those that share a scale of their row (all columns are one group
 * where scales are of rows or of the matrix); groups into steps of step_cols columns, steps into segments
 * of segment_cols. What is last of a group or a step may be short: no segment lies in two groups. A step
 * has a word of 32 bits a row, whose bits i * code_bits and up are the code of segment i:
 *
 *              columns of a step    code of a segment
 *   ternary    6 x 3 + 1            words: 13 + c of c = sum of w_i 3^i; of the one column: 1 + w.
 *                                   Planes: |c|, and bit 24 + i is whether c < 0; the one column's |c|
 *                                   is bit 31
 *   binary     8 x 4                bit i where w_i = +1
 *
 * that is 1.68 bits and 1 bit a weight. Columns that a step lacks count as 0, or as not +1.
 *
 * Of words, a lane of 32 bits is a row, and a table is sums as they are. Where no vector holds 27 of
 * them, bytes are looked up, four for a sum: a vector of rows has four planes, byte j of all words in
 * plane j, and a table is four planes of 16 bytes. Zipped, bytes of sums are sums again, in four runs
 * of rows: rsrc_lut_f32_lane() says which byte of a plane is a row's.
 *
 *   codes  a unit reads two streams (one, where it is one vector): its first stream_vectors vectors
 *          and the others. Streams are stream_bytes apart (rsrc_lut_stream_bytes says why) and have unit
 *          after unit: of the n vectors, group after group, the scales (scale_bytes each, row after row),
 *          then for each step the words, or vector after vector the planes. Rows beyond the matrix
 *          have scale 0
 *   index  for every column of a segment table_sums floats: its digit in each code. Of words, then:
 *          ternary, of the one column vector_rows floats; vector_rows ones. Of planes, 16 bytes: where
 *          in four floats the bytes of the planes are
 */
/* Of a vector of rows whose sums are made of planes. */
#define RSRC_LUT_F32_RUNS 4u

/* What a layout is made for. */
struct rsrc_lut_f32_shape {
    enum rsr_alphabet alphabet;
    uint32_t rows, cols;
    uint32_t group_cols;  /* that share a scale of their row; 0: all */
    uint32_t scale_bytes; /* of a group's; 0: groups have none */
};

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

/* ---- private to packing and lowering --------------------------------------------------------- */

#define LUT_F32_PLANES 4u
#define LUT_F32_PLANE_BYTES 16

struct rsrc_lut_f32 {
    struct rsrc_lut_walk walk;
    struct rsrc_lut_f32_layout layout;
};

static inline bool rsrc_lut_f32_has_scales(const struct rsrc_lut_f32 *lut) {
    return lut->layout.scale_bytes != 0;
}

/* Of words, the one column of a ternary step has three sums; others need all lanes of one vector or
 * two. */
static inline bool rsrc_lut_f32_is_single(const struct rsrc_lut_f32 *lut, uint32_t segment) {
    return !lut->layout.planes &&
           rsrc_lut_f32_segment_cols(&lut->layout, segment, lut->layout.step_cols) == 1;
}

/* Of the vectors of sums that tables are made of. */
static inline uint32_t rsrc_lut_f32_part_lanes(const struct rsrc_lut_f32 *lut) {
    return lut->layout.planes ? LUT_F32_PLANE_BYTES / (uint32_t)sizeof(float)
                              : lut->layout.vector_rows;
}

/* Vectors of a segment's table. */
static inline uint32_t rsrc_lut_f32_n_parts(const struct rsrc_lut_f32 *lut, uint32_t segment) {
    return rsrc_lut_f32_is_single(lut, segment)
               ? 1
               : lut->layout.table_sums / rsrc_lut_f32_part_lanes(lut);
}

/* Bytes of such a vector. */
static inline int64_t rsrc_lut_f32_part_bytes(const struct rsrc_lut_f32 *lut) {
    return rsrc_lut_f32_part_lanes(lut) * (int64_t)sizeof(float);
}

/* Of a segment's table in those of its step. */
static inline int64_t rsrc_lut_f32_table_at(const struct rsrc_lut_f32 *lut, uint32_t segment) {
    return (int64_t)segment * lut->layout.table_sums * (int64_t)sizeof(float);
}

static inline int64_t rsrc_lut_f32_step_tables_bytes(const struct rsrc_lut_f32 *lut) {
    const uint32_t last = lut->layout.n_segments - 1;
    return rsrc_lut_f32_table_at(lut, last) +
           rsrc_lut_f32_n_parts(lut, last) * rsrc_lut_f32_part_bytes(lut);
}

/* Tables of the tokens and steps at work, of a struct rsrc_lut_f32. */
void rsrc_lut_f32_emit_tables(struct rsrc_lut_walk *walk);

/* `codes` is zeroed. */
void rsrc_pack_lut_f32(const struct rsr_matrix *matrix, const struct rsrc_lut_f32_layout *layout,
                       uint8_t *codes);
/* rsrc_lut_f32_index_bytes() of them. */
void rsrc_pack_lut_f32_index(const struct rsrc_lut_f32_layout *layout, float *index);

#endif
