/* lower_table.c - `table` over the codes of `lut`: the loops around unpacking codes, making sums
 * and adding them. table.h has the overview.
 *
 * Source: RSR, arXiv 2411.06360, with segments of columns and an index that is data.
 */
#include "kernels/table/table.h"

#include <assert.h>

#include "base/round.h"

#define LINE_BYTES 64u

/* ---- scratch memory -------------------------------------------------------------------------- */

/* Scratch memory has sums and columns of all tokens of a group, and room for what is stored beyond
 * the last offsets. */
static void place_scratch(struct rsrc_table *table) {
    const struct rsrc_table_shape *shape = &table->shape;
    const uint64_t rows = (uint64_t)shape->block_units * shape->unit_rows;
    const uint64_t n_slots = table->group.tokens / shape->lanes.lanes;
    const uint32_t n_cols = shape->chunk_steps * shape->step_cols;
    table->columns_bytes = rsrc_round_up(n_cols, RSRC_TOKEN_COLUMN_STEP) * shape->vector_bytes;
    table->offsets_bytes =
        rsrc_round_up(rows * rsrc_table_chunk_segments(shape) * sizeof(uint16_t) +
                          rsrc_table_offsets_bytes(shape),
                      LINE_BYTES);
    table->wide_bytes = rows * rsrc_lane_sums_bytes(&shape->lanes);
    const uint64_t tables_bytes =
        (uint64_t)shape->pass_steps * shape->step_sums * shape->vector_bytes;
    const uint64_t scales_bytes = shape->has_scales ? rows * sizeof(float) : 0;
    table->columns_at = (int64_t)rsrc_round_up(tables_bytes, LINE_BYTES);
    table->scales_at = table->columns_at + (int64_t)(n_slots * table->columns_bytes);
    table->offsets_at = table->scales_at + (int64_t)rsrc_round_up(scales_bytes, LINE_BYTES);
    table->sums_at = table->offsets_at + (int64_t)table->offsets_bytes;
    table->wide_at =
        table->sums_at + (shape->has_wide_sums ? (int64_t)(rows * shape->vector_bytes) : 0);
    table->frame.kb.kernel->scratch_bytes = (uint64_t)table->wide_at + n_slots * table->wide_bytes;
}

/* ---- chunks ---------------------------------------------------------------------------------- */

/* The sums of all columns of the block's rows, of all tokens of the group. */
static void emit_clear(struct rsrc_table *table) {
    struct rsrc_kb *kb = &table->frame.kb;
    const uint16_t row_bytes =
        rsrc_kb_index_const(kb, rsrc_lane_sums_bytes(&table->shape.lanes), "clear_row_bytes");
    const uint16_t end =
        rsrc_kb_index_op(kb, RSR_KOP_MUL, table->n_block_rows, row_bytes, "clear_end");
    const uint16_t first = rsrc_begin_token_vectors(&table->group, "clear_token");
    const uint16_t wide =
        rsrc_token_slot(&table->group, first, table->wide_at, table->wide_bytes, "clear_sums");
    rsrc_kb_comment(kb, "sums of the block's rows");
    const uint16_t at = rsrc_kb_index_reg(kb, "clear_at");
    rsrc_kb_loop(kb, at, table->frame.zero, end, table->shape.vector_bytes);
    const struct rsrc_address sums =
        rsrc_address_plus(rsrc_address_at(RSR_KBUF_SCRATCH, 0), wide, 1);
    rsrc_kb_store(kb, table->zeros, rsrc_address_plus(sums, at, 1));
    rsrc_kb_end(kb);
    rsrc_kb_end(kb);
}

/* Transposes the chunk's activations into columns; columns beyond the matrix are zeros. */
static void emit_columns(struct rsrc_table *table, uint16_t first_col) {
    struct rsrc_kb *kb = &table->frame.kb;
    const struct rsrc_table_shape *shape = &table->shape;
    rsrc_kb_comment(kb, "activations as columns, %u tokens side by side: a sum is one operand",
                    shape->lanes.lanes);
    const uint16_t all = rsrc_kb_index_const(kb, kb->kernel->cols, "all_cols");
    const uint16_t chunk_cols = rsrc_kb_index_const(kb, shape->chunk_cols, "chunk_cols");
    const uint16_t end_cols =
        rsrc_kb_index_const(kb, shape->chunk_steps * shape->step_cols, "end_cols");
    const uint16_t n_cols = rsrc_kb_index_op(kb, RSR_KOP_SUB, all, first_col, "n_cols");
    rsrc_kb_binary(kb, RSR_KOP_MIN, n_cols, n_cols, chunk_cols);
    const uint16_t first = rsrc_begin_token_vectors(&table->group, "columns_token");
    const uint16_t at = rsrc_token_slot(&table->group, first, table->columns_at,
                                        table->columns_bytes, "columns_at");
    rsrc_token_columns(&table->frame, &table->shape.lanes, first, at, first_col, n_cols);
    const uint16_t col = rsrc_kb_index_reg(kb, "missing_col");
    rsrc_kb_loop(kb, col, n_cols, end_cols, 1);
    rsrc_kb_store(kb, table->zeros,
                  rsrc_address_plus(rsrc_address_plus(rsrc_address_at(RSR_KBUF_SCRATCH, 0), at, 1),
                                    col, (int64_t)shape->vector_bytes));
    rsrc_kb_end(kb);
    rsrc_kb_end(kb);
}

/* Passes may have steps beyond the chunk. Their columns are zeros, so any of their sums is
 * correct. */
static void emit_clear_offsets(struct rsrc_table *table) {
    struct rsrc_kb *kb = &table->frame.kb;
    const uint16_t zeros = rsrc_kb_const(kb, rsrc_kb_reg(kb, RSR_ELEM_I32, 4, "no_offsets"), 0);
    const uint16_t end = rsrc_kb_index_const(kb, table->offsets_bytes, "offsets_end");
    const uint16_t at = rsrc_kb_index_reg(kb, "offsets_at");
    rsrc_kb_loop(kb, at, table->frame.zero, end, 4 * sizeof(int32_t));
    rsrc_kb_store(kb, zeros,
                  rsrc_address_plus(rsrc_address_at(RSR_KBUF_SCRATCH, table->offsets_at), at, 1));
    rsrc_kb_end(kb);
}

/* A vector of tokens goes through all passes of the chunk before the next vector. So the
 * second-level cache holds the chunk's sums of only one vector, and the offsets. */
static void emit_passes(struct rsrc_table *table) {
    struct rsrc_kb *kb = &table->frame.kb;
    const struct rsrc_table_shape *shape = &table->shape;
    const uint16_t n_passes = rsrc_kb_index_const(kb, shape->n_passes, "n_passes");
    const uint16_t pass = rsrc_kb_index_reg(kb, "pass");
    const uint16_t first = rsrc_begin_token_vectors(&table->group, "pass_token");
    const uint16_t columns = rsrc_token_slot(&table->group, first, table->columns_at,
                                             table->columns_bytes, "pass_columns_at");
    const uint16_t all =
        rsrc_token_slot(&table->group, first, table->wide_at, table->wide_bytes, "pass_sums");
    const uint16_t sums = shape->has_wide_sums
                              ? rsrc_kb_index_const(kb, (uint64_t)table->sums_at, "chunk_sums")
                              : all;
    rsrc_kb_comment(kb, "passes of %u segments, whose tables the first-level cache holds",
                    shape->pass_steps * shape->step_segments);
    rsrc_kb_loop(kb, pass, table->frame.zero, n_passes, 1);
    rsrc_table_make_sums(table, pass, columns);
    rsrc_table_add_rows(table, pass, sums, all);
    rsrc_kb_end(kb);
    rsrc_kb_end(kb);
}

/* ---- blocks of rows, groups of tokens -------------------------------------------------------- */

/* Rows of units `block` .. `end`: their number within the matrix, and rounded up to whole
 * vectors. */
static void set_rows(struct rsrc_table *table, uint16_t block, uint16_t end) {
    struct rsrc_kb *kb = &table->frame.kb;
    const uint16_t unit_rows = rsrc_kb_index_const(kb, table->shape.unit_rows, "unit_rows");
    const uint16_t rows = rsrc_kb_index_const(kb, kb->kernel->rows, "n_rows");
    const uint16_t padded = rsrc_kb_index_const(kb, table->shape.n_padded_rows, "n_padded_rows");
    table->first_row = rsrc_kb_index_op(kb, RSR_KOP_MUL, block, unit_rows, "first_row");
    const uint16_t full = rsrc_kb_index_op(kb, RSR_KOP_MUL, end, unit_rows, "full_rows");
    table->end_row = rsrc_kb_index_op(kb, RSR_KOP_MIN, full, rows, "end_row");
    table->n_block_rows = rsrc_kb_index_op(kb, RSR_KOP_MIN, full, padded, "n_block_rows");
    rsrc_kb_binary(kb, RSR_KOP_SUB, table->n_block_rows, table->n_block_rows, table->first_row);
}

static void emit_blocks(struct rsrc_table *table) {
    struct rsrc_kb *kb = &table->frame.kb;
    const struct rsrc_table_shape *shape = &table->shape;
    const uint16_t size = rsrc_kb_index_const(kb, shape->block_units, "block_units");
    const uint16_t n_chunks = rsrc_kb_index_const(kb, shape->n_chunks, "n_chunks");
    const uint16_t chunk_cols = rsrc_kb_index_const(kb, shape->chunk_cols, "columns_of_chunk");
    const uint16_t block = rsrc_kb_index_reg(kb, "block");
    rsrc_kb_loop(kb, block, table->frame.unit_begin, table->frame.unit_end, shape->block_units);
    const uint16_t end = rsrc_kb_index_op(kb, RSR_KOP_ADD, block, size, "block_end");
    rsrc_kb_binary(kb, RSR_KOP_MIN, end, end, table->frame.unit_end);
    set_rows(table, block, end);
    emit_clear(table);
    if (shape->has_short_chunks)
        emit_clear_offsets(table);
    const uint16_t chunk = rsrc_kb_index_reg(kb, "chunk");
    rsrc_kb_loop(kb, chunk, table->frame.zero, n_chunks, 1);
    emit_columns(table, rsrc_kb_index_op(kb, RSR_KOP_MUL, chunk, chunk_cols, "first_col"));
    rsrc_kb_comment(kb, "codes to offsets of sums, once for all tokens of the group");
    if (table->has_quads)
        rsrc_table_emit_quad_offsets(table, chunk, block, end);
    else if (shape->lanes.elem == RSR_ELEM_F32)
        rsrc_table_emit_word_offsets(table, chunk, block, end);
    else
        rsrc_table_emit_offsets(table, chunk, block, end);
    emit_passes(table);
    rsrc_kb_end(kb);
    rsrc_token_group_results(&table->group, table->wide_at, table->wide_bytes,
                             (struct rsrc_token_range){.first_row = table->first_row,
                                                       .end_row = table->end_row,
                                                       .whole_quads = kb->kernel->rows % 4 == 0});
    rsrc_kb_end(kb);
}

static void emit_kernel(struct rsrc_table *table) {
    struct rsrc_kb *kb = &table->frame.kb;
    const struct rsrc_table_shape *shape = &table->shape;
    rsrc_kb_comment(kb, "chunks of %u columns, %u segments of up to %u; blocks of %u rows",
                    shape->chunk_cols, rsrc_table_chunk_segments(shape), shape->segment_cols,
                    shape->block_units * shape->unit_rows);
    rsrc_begin_token_groups(&table->group);
    emit_blocks(table);
    rsrc_kb_end(kb);
}

/* Emits the kernel; the shape and the plan's tokens are set, and the frame is begun. */
static void lower(struct rsrc_table *table, const char *form, struct rsrc_arena *arena,
                  struct rsr_lowered *out, const char **detail) {
    const struct rsrc_table_shape *shape = &table->shape;
    assert(table->group.tokens % shape->lanes.lanes == 0);
    table->frame.unit_rows = 1; /* results are addressed by rows from here on */
    table->group.frame = &table->frame;
    table->group.lanes = &table->shape.lanes;
    place_scratch(table);
    table->zeros = rsrc_table_emit_zeros(table);
    table->low_word = rsrc_kb_index_const(&table->frame.kb, UINT16_MAX, "low_word");
    emit_kernel(table);
    rsrc_frame_end(&table->frame, out);
    *detail = rsrc_arena_printf(arena, "%s-u%u-chunk%u-pass%u-block%u-group%u", form,
                                shape->unit_rows, shape->chunk_cols, shape->pass_steps,
                                shape->block_units, table->group.tokens);
}

enum rsrc_status rsrc_lower_table(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                  const struct rsrc_lower_input *input, struct rsr_lowered *out,
                                  const char **detail) {
    const struct rsr_matrix *matrix = input->matrix;
    if (matrix->cols > RSRC_MAX_SUM_COLS)
        return rsrc_refuse_wide(diag, input);
    const struct rsrc_lut_shape codes = rsrc_lut_matrix_shape(matrix);
    const struct rsrc_lut_layout layout = rsrc_lut_layout_of(input->spec, &codes);
    struct rsrc_table table = {
        .shape = rsrc_make_table_shape(input->spec, &layout, input->plan->machine),
        .group.tokens = input->plan->token_tile};
    struct rsrc_kb *kb = &table.frame.kb;
    table.codes = rsrc_lut_begin_unpack(&table.frame, &layout);
    table.codes.put = rsrc_table_put_segment;
    const bool pieces = rsrc_table_has_pieces(&layout);
    if (pieces)
        table.codes.put_code = rsrc_table_put_code;
    table.codes.quad_bytes = rsrc_table_offsets_bytes(&table.shape);
    rsrc_take_lut_codes(arena, input, &layout, &out->codes);
    if (pieces)
        rsrc_table_pack_pieces(arena, &out->index);
    else
        rsrc_pack_lut_digits(arena, &table.codes, &out->index);
    rsrc_frame_begin(&table.frame, arena, input, table.shape.unit_rows, &out->kernel);
    rsrc_frame_streams(&table.frame, layout.unit_vectors, layout.stream_bytes,
                       rsrc_lut_vector_bytes(&layout));
    table.low_byte = rsrc_kb_const(
        kb, rsrc_kb_reg(kb, RSR_ELEM_U16, layout.vector_rows / 2, "low_bytes"), UINT8_MAX);
    if (pieces)
        rsrc_table_load_pieces(&table);
    else
        rsrc_lut_load_digits(&table.codes);
    rsrc_lut_load_strides(&table.codes);
    lower(&table, layout.form, arena, out, detail);
    return RSRC_OK;
}

enum rsrc_status rsrc_lower_table_dot(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                      const struct rsrc_lower_input *input, struct rsr_lowered *out,
                                      const char **detail) {
    const struct rsr_matrix *matrix = input->matrix;
    if (matrix->cols > RSRC_MAX_SUM_COLS)
        return rsrc_refuse_wide(diag, input);
    struct rsrc_table table = {.has_quads = true, .group.tokens = input->plan->token_tile};
    const bool shared = rsrc_table_dot_codes(input->spec, matrix->alphabet, matrix->rows,
                                             matrix->cols, &table.quads);
    table.shape = rsrc_make_table_dot_shape(input->spec, matrix->alphabet, &table.quads,
                                            input->plan->machine);
    if (shared && input->codes != NULL) {
        out->codes = *input->codes;
    } else {
        rsrc_pack_dot(matrix, &table.quads,
                      rsrc_alloc_blob(arena, &out->codes, rsrc_dot_codes_bytes(&table.quads)));
    }
    assert(out->codes.size_bytes == rsrc_dot_codes_bytes(&table.quads));
    rsrc_frame_begin(&table.frame, arena, input, table.shape.unit_rows, &out->kernel);
    lower(&table, "quads16", arena, out, detail);
    return RSRC_OK;
}

/* Gives the codes that lut_f32 has packed, or packs them again. */
static void take_words(struct rsrc_arena *arena, const struct rsrc_lower_input *input,
                       const struct rsrc_lut_f32_layout *layout, struct rsr_lowered *out) {
    if (input->codes != NULL) {
        assert(input->codes->size_bytes == rsrc_lut_f32_codes_bytes(layout));
        out->codes = *input->codes;
    } else {
        rsrc_pack_lut_f32(input->matrix, layout,
                          rsrc_alloc_blob(arena, &out->codes, rsrc_lut_f32_codes_bytes(layout)));
    }
    if (layout->planes)
        return;
    uint16_t *even = rsrc_alloc_blob(arena, &out->index, rsrc_table_f32_index_bytes(layout));
    for (uint32_t i = 0; i < out->index.size_bytes / sizeof *even; i++)
        even[i] = (uint16_t)(2 * i % (2 * layout->vector_rows));
}

enum rsrc_status rsrc_lower_table_f32(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                      const struct rsrc_lower_input *input, struct rsr_lowered *out,
                                      const char **detail) {
    (void)diag;
    const struct rsrc_lut_shape shape = rsrc_lut_matrix_shape(input->matrix);
    struct rsrc_table table = {.floats = rsrc_table_f32_codes(input->spec, &shape),
                               .group.tokens = input->plan->token_tile};
    const struct rsrc_lut_f32_layout *layout = &table.floats;
    table.shape = rsrc_make_table_f32_shape(input->spec, layout, input->plan->machine);
    take_words(arena, input, layout, out);
    rsrc_frame_begin(&table.frame, arena, input, table.shape.unit_rows, &out->kernel);
    rsrc_frame_streams(&table.frame, layout->unit_vectors > 1 ? 2 : 1, layout->stream_bytes,
                       layout->stream_vectors * rsrc_lut_f32_vector_bytes(layout));
    rsrc_table_load_word_constants(&table);
    lower(&table,
          rsrc_arena_printf(arena, "%s%u-s%u", layout->planes ? "planes" : "words",
                            layout->vector_rows, 8 * layout->scale_bytes),
          arena, out, detail);
    return RSRC_OK;
}
