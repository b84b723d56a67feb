/* table.h - `table`: RSR with tokens in lanes, for batches. Private to the files of this kernel.
 *
 * Columns are cut into segments. For a vector of tokens, with one token per lane, the sums of a
 * segment for all its codes are made once, by additions. Then every row adds the sum that its code
 * selects: one addition with a memory operand for each segment and row. Nothing is multiplied.
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
 * lower_table.c has the loops: groups of tokens, blocks of rows, chunks of columns, vectors of
 * tokens, passes of steps. Codes are unpacked once for all tokens of a group.
 *
 * int8 activations: a step is a segment of four columns (segments of `lut` differ). Sums of a chunk
 * are 16 bits wide, and are added to 32-bit sums at its end. Floats have the steps, segments,
 * groups and order of additions of lower_lut_f32.c, and so the same bits as decode: a chunk is a
 * group with scales, or a pass. (A sum adds its columns in order, and the opposite of a sum is the
 * sum of opposites. The sign of a zero sum makes no difference, because it is never added to -0.)
 */
#ifndef RSRC_KERNELS_TABLE_TABLE_H
#define RSRC_KERNELS_TABLE_TABLE_H

#include "kernel/dot_layout.h"
#include "kernel/lut_f32_layout.h"
#include "kernel/lut_unpack.h"
#include "kernel/token_lanes.h"

#define RSRC_TABLE_MAX_SEGMENT_COLS 4u
#define RSRC_TABLE_PIECES 6u /* vectors of the codes of 12 columns: table_codes.c */
/* Tokens that share the unpacking of codes, which takes as long as the additions for six tokens. */
#define RSRC_TABLE_GROUP_TOKENS 128u

/* The parts that a matrix is cut into. */
struct rsrc_table_shape {
    enum rsr_alphabet alphabet;
    struct rsrc_token_lanes lanes; /* of a vector of sums */
    uint32_t vector_bytes;
    uint32_t segment_cols, n_sums;                /* sums of a segment, one per code, except a
                                                     step's last segment */
    uint32_t step_segments, step_cols, step_sums; /* sums of all segments of a step */
    uint32_t pass_steps, n_passes;                /* steps whose tables are made together; steps of
                                                     a chunk */
    uint32_t chunk_steps, chunk_cols, n_chunks;   /* steps of a chunk's passes; columns to the next
                                                   chunk */
    uint32_t vector_rows, unit_rows,
        n_padded_rows;     /* rows of a vector of codes; rows rounded up to whole vectors */
    uint32_t block_units;  /* of rows */
    bool has_wide_sums;    /* sums of all columns, to which those of a chunk are added */
    bool has_scales;       /* scales of rows of a chunk, which is a group of columns */
    bool has_short_chunks; /* passes have steps beyond the chunk */
    /* A vector's offsets have four runs of ascending rows. The distance in bytes from a run to the
     * next but one, and from the first to the second. Within a run, four rows take 8 of each 16
     * bytes. */
    uint32_t run_bytes[2];
    uint32_t col_stride; /* columns from one column of a segment to its next; this many segments are
                       interleaved */
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
    /* Scratch memory; the tables are at 0. The bytes of columns, and of sums of all columns, are
     * per vector of tokens. Sums of a chunk exist for one vector; for floats without groups they
     * are the sums of all columns. */
    int64_t columns_at, scales_at, offsets_at, sums_at, wide_at;
    uint64_t columns_bytes, offsets_bytes, wide_bytes;
    /* Registers, i64. */
    uint16_t first_row, end_row, n_block_rows; /* rows of the block; the last in whole vectors */
    uint16_t vector_offsets; /* first byte among offsets of the current vector of rows */
    uint16_t low_word;       /* constant */
    uint16_t zeros;          /* constant: a vector of sums */
    /* Constants: vectors of elements of 8, 16 and 32 bits. */
    uint16_t low_byte, nibble, bit, middle, middle_one, no_bytes, word_code, even_words;
    uint16_t pieces[RSRC_TABLE_PIECES];
    uint16_t piece; /* first of the current number */
};

/* Bytes of the offsets of a segment for a vector of rows. */
static inline uint32_t rsrc_table_offsets_bytes(const struct rsrc_table_shape *shape) {
    return shape->vector_rows * (uint32_t)sizeof(uint16_t);
}

/* Segments of the steps of a chunk's passes. */
static inline uint32_t rsrc_table_chunk_segments(const struct rsrc_table_shape *shape) {
    return shape->chunk_steps * shape->step_segments;
}

/* The shift of an offset: a sum takes vector_bytes. */
uint32_t rsrc_table_offset_shift(const struct rsrc_table_shape *shape);
struct rsrc_table_shape rsrc_make_table_shape(const struct rsr_spec *spec,
                                              const struct rsrc_lut_layout *layout,
                                              const struct rsrc_machine *machine);
struct rsrc_table_shape rsrc_make_table_f32_shape(const struct rsr_spec *spec,
                                                  const struct rsrc_lut_f32_layout *layout,
                                                  const struct rsrc_machine *machine);
/* On targets that look nothing up, codes are stored for `table` alone, in planes. */
struct rsrc_lut_f32_layout rsrc_table_f32_codes(const struct rsr_spec *spec,
                                                const struct rsrc_lut_shape *shape);

/* Bytes that their kernel reads besides codes. */
uint64_t rsrc_table_f32_index_bytes(const struct rsrc_lut_f32_layout *layout);

/* The layout of the codes that `dot` stores for the target, if that has vectors of 16 bytes. */
bool rsrc_table_dot_codes(const struct rsr_spec *spec, enum rsr_alphabet alphabet, uint32_t rows,
                          uint32_t cols, struct rsrc_dot_layout *layout);
struct rsrc_table_shape rsrc_make_table_dot_shape(const struct rsr_spec *spec,
                                                  enum rsr_alphabet alphabet,
                                                  const struct rsrc_dot_layout *layout,
                                                  const struct rsrc_machine *machine);

/* ---- table_codes.c: of int8 ------------------------------------------------------------------ */

/* Whether codes become numbers by look-ups of pieces, instead of column by column. */
static inline bool rsrc_table_has_pieces(const struct rsrc_lut_layout *layout) {
    return layout->lookup == RSRC_LUT_SHUFFLE16 && layout->alphabet == RSR_TERNARY;
}
/* Data that the kernel reads besides codes: the pieces or the digits of every magnitude. */
uint64_t rsrc_table_index_bytes(const struct rsrc_lut_layout *layout);
void rsrc_table_pack_pieces(struct rsrc_arena *arena, struct rsr_blob *index);
void rsrc_table_load_pieces(struct rsrc_table *table);
/* Stores, for each row, the offset of the sum that four columns select: `put` of struct
 * rsrc_lut_unpack. */
void rsrc_table_put_segment(struct rsrc_lut_unpack *codes, const uint16_t columns[4], uint32_t q,
                            uint16_t to);
/* Stores offsets from pieces: `put_code` of struct rsrc_lut_unpack. */
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
/* Makes the offsets of the chunk's steps, and the scales of its rows. */
void rsrc_table_emit_word_offsets(struct rsrc_table *table, uint16_t chunk, uint16_t first_unit,
                                  uint16_t end_unit);

/* ---- table_sums.c ---------------------------------------------------------------------------- */

uint16_t rsrc_table_emit_zeros(struct rsrc_table *table);
/* Makes the tables of pass `pass` from the columns at byte `columns` of the scratch memory. */
void rsrc_table_make_sums(struct rsrc_table *table, uint16_t pass, uint16_t columns);
/* Adds the pass's sums to the sums of the block's rows, at byte `sums`. If there are separate sums
 * of all columns, at byte `wide`, then `sums` are those of the chunk, and the chunk's last pass
 * adds them to `wide`. */
void rsrc_table_add_rows(struct rsrc_table *table, uint16_t pass, uint16_t sums, uint16_t wide);

#endif
