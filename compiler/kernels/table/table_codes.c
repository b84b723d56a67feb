/* table_codes.c - codes of `lut` for int8 activations to offsets of sums; see table.h. */
#include "kernels/table/table.h"

uint16_t rsrc_table_emit_number(struct rsrc_kb *kb, uint32_t base, uint32_t lanes,
                                const uint16_t columns[4], uint32_t number) {
    const uint16_t code = rsrc_kb_reg(kb, RSR_ELEM_U8, lanes, "segment_code%u", number);
    const uint16_t once = rsrc_kb_reg(kb, RSR_ELEM_U8, lanes, "code_once%u", number);
    rsrc_kb_unary(kb, RSR_KOP_COPY, code, columns[3]);
    for (uint32_t i = 3; i-- > 0;) {
        rsrc_kb_unary(kb, RSR_KOP_COPY, once, code);
        for (uint32_t n = 1; n < base; n++)
            rsrc_kb_binary(kb, RSR_KOP_ADD, code, code, once);
        rsrc_kb_binary(kb, RSR_KOP_ADD, code, code, columns[i]);
    }
    return code;
}

/* Even bytes first, then odd ones: by the lanes of lut_layout.h, four 16-bit lanes are four consecutive
 * rows then. */
void rsrc_table_put_segment(struct rsrc_lut_unpack *codes, const uint16_t columns[4], uint32_t q,
                            uint16_t to) {
    struct rsrc_table *table = (struct rsrc_table *)codes;
    struct rsrc_kb *kb = &codes->frame->kb;
    const uint32_t rows = codes->layout.vector_rows;
    const int64_t at = table->offsets_at + (int64_t)q * codes->quad_bytes;
    const uint16_t code =
        rsrc_table_emit_number(kb, codes->layout.alphabet == RSR_TERNARY ? 3 : 2, rows, columns, q);
    const uint32_t shift = rsrc_table_offset_shift(&table->shape);
    const uint16_t pairs = rsrc_kb_reg(kb, RSR_ELEM_U16, rows / 2, "code_pairs%u", q);
    const uint16_t half = rsrc_kb_reg(kb, RSR_ELEM_U16, rows / 2, "half_offsets%u", q);
    rsrc_kb_unary(kb, RSR_KOP_BITCAST, pairs, code);
    for (uint32_t odd = 0; odd < 2; odd++) {
        if (odd == 0)
            rsrc_kb_binary(kb, RSR_KOP_AND, half, pairs, table->low_byte);
        else
            rsrc_kb_immediate(kb, RSR_KOP_SHR, half, pairs, 8);
        rsrc_kb_immediate(kb, RSR_KOP_SHL, half, half, shift);
        struct rsrc_address to_half = rsrc_address_at(RSR_KBUF_SCRATCH, at + odd * (int64_t)rows);
        to_half = rsrc_address_plus(to_half, table->vector_offsets, 1);
        rsrc_kb_store(kb, half, rsrc_address_plus(to_half, to, 1));
    }
}

/* Macro steps that a chunk has and the matrix has not keep the codes of an earlier chunk, whatever
 * they are: their columns are zeros. */
void rsrc_table_emit_offsets(struct rsrc_table *table, uint16_t chunk, uint16_t first_unit,
                             uint16_t end_unit) {
    struct rsrc_kb *kb = &table->frame.kb;
    struct rsrc_lut_unpack *codes = &table->codes;
    const uint16_t size =
        rsrc_kb_index_const(kb, table->shape.chunk_steps / codes->macro_quads, "chunk_macros");
    const uint16_t n_macros = rsrc_kb_index_const(kb, codes->n_macros, "n_macros");
    codes->first_macro = rsrc_kb_index_op(kb, RSR_KOP_MUL, chunk, size, "first_macro");
    codes->end_macro = rsrc_kb_index_op(kb, RSR_KOP_ADD, codes->first_macro, size, "end_macro");
    rsrc_kb_binary(kb, RSR_KOP_MIN, codes->end_macro, codes->end_macro, n_macros);
    const uint16_t row_bytes = rsrc_kb_index_const(
        kb, rsrc_table_chunk_segments(&table->shape) * sizeof(uint16_t), "row_offset_bytes");
    table->vector_offsets = rsrc_kb_index_reg(kb, "vector_offsets");
    const uint16_t row = rsrc_lut_begin_vectors(codes, first_unit, end_unit);
    rsrc_kb_binary(kb, RSR_KOP_SUB, table->vector_offsets, row, table->first_row);
    rsrc_kb_binary(kb, RSR_KOP_MUL, table->vector_offsets, table->vector_offsets, row_bytes);
    rsrc_lut_unpack_macros(codes);
    rsrc_lut_end_vectors(codes);
}
