/* table_codes.c - turns codes of `lut` for int8 activations into offsets of sums; see table.h. */
#include "kernels/table/table.h"

/* Four segments of three columns have the columns of three segments of four. A piece is `n` digits,
 * from digit `first`, of segment `segment` of three columns. It is a part of the number of a
 * segment of four columns, with weights from `weight` on. Each number has two pieces. */
static const struct piece {
    uint32_t segment, first, n;
    int weight;
} PIECES[RSRC_TABLE_PIECES] = {{0, 0, 3, 1}, {1, 0, 1, 27}, {1, 1, 2, 1},
                               {2, 0, 2, 9}, {2, 2, 1, 1},  {3, 0, 3, 3}};
#define PIECE_CODES 16u
#define MIDDLE 40 /* the number of four zeros */

uint64_t rsrc_table_index_bytes(const struct rsrc_lut_layout *layout) {
    return rsrc_table_has_pieces(layout) ? RSRC_TABLE_PIECES * PIECE_CODES
                                         : rsrc_lut_digits_bytes(layout);
}

void rsrc_table_pack_pieces(struct rsrc_arena *arena, struct rsr_blob *index) {
    uint8_t *bytes = rsrc_alloc_blob(arena, index, RSRC_TABLE_PIECES * PIECE_CODES);
    for (uint32_t p = 0; p < RSRC_TABLE_PIECES; p++)
        for (uint32_t code = 0; code < PIECE_CODES; code++) {
            int number = 0, weight = PIECES[p].weight;
            for (uint32_t i = 0; i < PIECES[p].n; i++, weight *= 3)
                number += weight * rsrc_balanced_digit((int)code, PIECES[p].first + i);
            bytes[p * PIECE_CODES + code] = (uint8_t)number;
        }
}

static uint16_t rows_reg(struct rsrc_table *table, const char *name, uint32_t i) {
    return rsrc_kb_reg(&table->frame.kb, RSR_ELEM_U8, table->shape.vector_rows, "%s%u", name, i);
}

void rsrc_table_load_pieces(struct rsrc_table *table) {
    struct rsrc_kb *kb = &table->frame.kb;
    table->codes.nibble = rsrc_kb_const(kb, rows_reg(table, "nibbles", 0), 15);
    table->middle = rsrc_kb_const(kb, rows_reg(table, "middles", 0), MIDDLE);
    for (uint32_t p = 0; p < RSRC_TABLE_PIECES; p++) {
        table->pieces[p] = rows_reg(table, "pieces", p);
        rsrc_kb_load_lanes(kb, table->pieces[p],
                           rsrc_address_at(RSR_KBUF_INDEX, p * (int64_t)PIECE_CODES));
    }
}

static uint16_t emit_number(struct rsrc_kb *kb, uint32_t base, uint32_t lanes,
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

/* Even bytes come first, then odd bytes: with the lanes of lut_layout.h, four 16-bit lanes are then
 * four consecutive rows. */
static void store_offsets(struct rsrc_table *table, uint16_t code, uint32_t q, uint16_t to) {
    struct rsrc_kb *kb = &table->frame.kb;
    const uint32_t rows = table->shape.vector_rows;
    const int64_t at = table->offsets_at + (int64_t)q * table->codes.quad_bytes;
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

void rsrc_table_put_segment(struct rsrc_lut_unpack *codes, const uint16_t columns[4], uint32_t q,
                            uint16_t to) {
    const uint32_t base = codes->layout.alphabet == RSR_TERNARY ? 3 : 2;
    store_offsets((struct rsrc_table *)codes,
                  emit_number(&codes->frame->kb, base, codes->layout.vector_rows, columns, q), q,
                  to);
}

/* The opposite of a magnitude has the opposites of its pieces. */
void rsrc_table_put_code(struct rsrc_lut_unpack *codes, uint16_t magnitude, uint16_t sign,
                         uint32_t segment, uint16_t to) {
    struct rsrc_table *table = (struct rsrc_table *)codes;
    struct rsrc_kb *kb = &codes->frame->kb;
    for (uint32_t p = 0; p < RSRC_TABLE_PIECES; p++) {
        if (PIECES[p].segment != segment % 4)
            continue;
        const uint32_t n = segment / 4 * RSRC_TABLE_PIECES + p;
        const uint16_t piece = rows_reg(table, "piece", n);
        const bool whole = PIECES[p].n == codes->layout.segment_cols && PIECES[p].weight == 1;
        if (!whole)
            rsrc_kb_binary(kb, RSR_KOP_SHUFFLE16, piece, magnitude, table->pieces[p]);
        rsrc_kb_binary(kb, RSR_KOP_XOR, piece, whole ? magnitude : piece, sign);
        rsrc_kb_binary(kb, RSR_KOP_SUB, piece, piece, sign);
        if (p % 2 == 0) {
            table->piece = rsrc_kb_binary(kb, RSR_KOP_ADD, piece, piece, table->middle);
            continue;
        }
        rsrc_kb_binary(kb, RSR_KOP_ADD, piece, piece, table->piece);
        store_offsets(table, piece, n / 2, to);
    }
}

/* Macro steps of a chunk beyond the matrix keep codes of an earlier chunk. Any codes are correct
 * there, because their columns are zeros. */
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
