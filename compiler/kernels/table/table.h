/* table.h - `table`: RSR with tokens in lanes, for batches. What its files share; private to them.
 *
 * Columns are cut into segments. The sums of a segment for all its codes are made once for a vector
 * of tokens, a token a lane, by additions; then every row adds the sum that its code names: an
 * addition with a memory operand for a segment and row. Nothing is multiplied.
 *
 *   codes that decode reads ── table_codes.c, .._words.c, .._quads.c ──> offsets of sums, 16 bits,
 *   of a block of
 *                                                rows and a chunk of columns, in the second-level
 *                                                cache
 *   activations ── kernel/token_columns.c ──> columns of the chunk
 *                                        │
 *                    table_sums.c ──> tables of a pass, in the first-level cache ──> sums of rows
 *   results <── kernel/token_results.c <─────────────────────────────────────────────────┘
 *
 * lower_table.c has the loops: groups of tokens, blocks of rows, chunks of columns, passes of
 * steps, and inside vectors of tokens, so that codes are taken apart once for all tokens of a
 * group.
 *
 * int8 activations: a step is a segment of four columns, `lut` has other segments. Sums of a chunk
 * are 16 bits wide and go to 32-bit sums where it ends. Floats have the steps, segments, groups and
 * order of additions of lower_lut_f32.c, and so the bits of decode: a chunk is a group with scales,
 * or a pass. (A sum is made of its columns in their order, and the opposite of a sum is the sum of
 * opposites; which zero a sum is makes no difference, since what it is added to is never -0.)
 */
#ifndef RSRC_KERNELS_TABLE_TABLE_H
#define RSRC_KERNELS_TABLE_TABLE_H

#include "kernel/dot_layout.h"
#include "kernel/lut_f32_layout.h"
#include "kernel/lut_unpack.h"
#include "kernel/token_lanes.h"

#define RSRC_TABLE_MAX_SEGMENT_COLS 4u
#define RSRC_TABLE_PIECES 6u /* of the codes of 12 columns: table_codes.c */
/* Tokens that share the taking apart of codes, which takes as long as additions for six. */
#define RSRC_TABLE_GROUP_TOKENS 128u

/* What a kernel of a matrix is cut into. */
struct rsrc_table_shape {
    enum rsr_alphabet alphabet;
    struct rsrc_token_lanes lanes; /* of a vector of sums */
    uint32_t vector_bytes;
    uint32_t segment_cols, n_sums;                /* of a segment but a step's last: a sum a code */
    uint32_t step_segments, step_cols, step_sums; /* of all segments of a step */
    uint32_t pass_steps, n_passes;                /* whose tables are made at once; of a chunk */
    uint32_t chunk_steps, chunk_cols, n_chunks; /* steps of its passes; columns to the next chunk */
    uint32_t vector_rows, unit_rows,
        n_padded_rows;     /* of the codes; rows in whole vectors of them */
    uint32_t block_units;  /* of rows */
    bool has_wide_sums;    /* to which those of a chunk go */
    bool has_scales;       /* of rows of a chunk, which is a group of columns */
    bool has_short_chunks; /* passes have steps that no chunk has */
    /* Rows in ascending order are four runs of a vector's offsets: bytes from one to the next but
     * one, and from the first to the second. Of each, four rows are 8 bytes in 16. */
    uint32_t run_bytes[2];
    uint32_t
        col_stride; /* columns from one of a segment to the next; as many segments lie between */
};

struct rsrc_table {
    struct rsrc_lut_unpack codes; /* int8: its quads are segments */
    struct rsrc_frame frame;
    struct rsrc_table_shape shape;
    /* The layout of the codes of floats; of those of `dot`, where nothing is looked up. */
    struct rsrc_lut_f32_layout floats;
    struct rsrc_dot_layout quads;
    bool has_quads;
    struct rsrc_token_group group;
    /* Scratch memory; the tables are at 0. Of columns and sums of all columns, a vector of tokens
     * has so many bytes; sums of a chunk are one vector's, and of floats without groups those of
     * all columns. */
    int64_t columns_at, scales_at, offsets_at, sums_at, wide_at;
    uint64_t columns_bytes, offsets_bytes, wide_bytes;
    /* Registers, i64. */
    uint16_t first_row, end_row, n_block_rows; /* of the block; the last in whole vectors */
    uint16_t vector_offsets; /* of the vector of rows at work: its first byte among offsets */
    uint16_t low_word;       /* constant */
    uint16_t zeros;          /* constant: a vector of sums */
    /* Constants, vectors of bytes, of 16 and of 32 bits. */
    uint16_t low_byte, nibble, bit, middle, middle_one, no_bytes, word_code, even_words;
    uint16_t pieces[RSRC_TABLE_PIECES];
    uint16_t piece; /* the first one of the number at work */
};

/* Bytes of the offsets of a segment for a vector of rows. */
static inline uint32_t rsrc_table_offsets_bytes(const struct rsrc_table_shape *shape) {
    return shape->vector_rows * (uint32_t)sizeof(uint16_t);
}

/* Segments of the steps of a chunk, with those that only passes have. */
static inline uint32_t rsrc_table_chunk_segments(const struct rsrc_table_shape *shape) {
    return shape->chunk_steps * shape->step_segments;
}

/* How far an offset is shifted: a sum has vector_bytes. */
uint32_t rsrc_table_offset_shift(const struct rsrc_table_shape *shape);
struct rsrc_table_shape rsrc_make_table_shape(const struct rsr_spec *spec,
                                              const struct rsrc_lut_layout *layout,
                                              const struct rsrc_machine *machine);
struct rsrc_table_shape rsrc_make_table_f32_shape(const struct rsr_spec *spec,
                                                  const struct rsrc_lut_f32_layout *layout,
                                                  const struct rsrc_machine *machine);
/* The layout of the codes that lut stores for the target. */
struct rsrc_lut_layout rsrc_table_codes(const struct rsr_spec *spec, enum rsr_alphabet alphabet,
                                        uint32_t rows, uint32_t cols);
/* Where nothing looks them up they are stored for `table` alone, in planes. */
struct rsrc_lut_f32_layout rsrc_table_f32_codes(const struct rsr_spec *spec,
                                                const struct rsrc_lut_f32_shape *shape);

/* Of what their kernel reads besides codes. */
uint64_t rsrc_table_f32_index_bytes(const struct rsrc_lut_f32_layout *layout);

/* The layout of the codes that `dot` stores for the target, if that has vectors of 16 bytes. */
bool rsrc_table_dot_codes(const struct rsr_spec *spec, enum rsr_alphabet alphabet, uint32_t rows,
                          uint32_t cols, struct rsrc_dot_layout *layout);
struct rsrc_table_shape rsrc_make_table_dot_shape(const struct rsr_spec *spec,
                                                  enum rsr_alphabet alphabet,
                                                  const struct rsrc_dot_layout *layout,
                                                  const struct rsrc_machine *machine);

/* ---- table_codes.c: of int8 ------------------------------------------------------------------ */

/* Whether codes become numbers by pieces, each of which is looked up, rather than column by
 * column. */
static inline bool rsrc_table_has_pieces(const struct rsrc_lut_layout *layout) {
    return layout->lookup == RSRC_LUT_SHUFFLE16 && layout->alphabet == RSR_TERNARY;
}
/* What the kernel reads besides codes: pieces of every magnitude, or its digits. */
uint64_t rsrc_table_index_bytes(const struct rsrc_lut_layout *layout);
void rsrc_table_pack_pieces(struct rsrc_arena *arena, struct rsr_blob *index);
void rsrc_table_load_pieces(struct rsrc_table *table);
/* The offset that four columns of each row name, as one of their segment's sums: struct
 * rsrc_lut_unpack. */
void rsrc_table_put_segment(struct rsrc_lut_unpack *codes, const uint16_t columns[4], uint32_t q,
                            uint16_t to);
/* The same of pieces: `put_code` of struct rsrc_lut_unpack. */
void rsrc_table_put_code(struct rsrc_lut_unpack *codes, uint16_t magnitude, uint16_t sign,
                         uint32_t segment, uint16_t to);
void rsrc_table_emit_offsets(struct rsrc_table *table, uint16_t chunk, uint16_t first_unit,
                             uint16_t end_unit);

/* ---- table_quads.c: of int8, from the codes of `dot`
 * ------------------------------------------- */

void rsrc_table_emit_quad_offsets(struct rsrc_table *table, uint16_t chunk, uint16_t first_unit,
                                  uint16_t end_unit);

/* ---- table_words.c: of floats ---------------------------------------------------------------- */

void rsrc_table_load_word_constants(struct rsrc_table *table);
/* Offsets of the chunk's steps, and the scales of its rows. */
void rsrc_table_emit_word_offsets(struct rsrc_table *table, uint16_t chunk, uint16_t first_unit,
                                  uint16_t end_unit);

/* ---- table_sums.c ---------------------------------------------------------------------------- */

uint16_t rsrc_table_emit_zeros(struct rsrc_table *table);
/* The tables of pass `pass` from the columns at byte `columns` of the scratch memory. */
void rsrc_table_make_sums(struct rsrc_table *table, uint16_t pass, uint16_t columns);
/* Adds the pass's sums to those of the block's rows, which begin at byte `sums`: of its chunk, if
 * there are sums of all columns besides, which begin at byte `wide` and get the chunk's with its
 * last pass. */
void rsrc_table_add_rows(struct rsrc_table *table, uint16_t pass, uint16_t sums, uint16_t wide);

#endif
