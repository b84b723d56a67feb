/* table_quads.c - turns codes of `dot` into offsets of sums, for targets that look nothing up; see
 * table.h.
 *
 * Byte i of 16 of a row has the codes of columns i, 16 + i, 32 + i ...: a segment is four of these
 * columns, and a pass is 16 segments (kernel/dot_layout.h describes the bytes). Offsets of four
 * rows are transposed, so that the offsets of a segment lie side by side.
 */
#include "kernels/table/table.h"

#define QUAD RSRC_DOT_QUAD

struct quads {
    struct rsrc_table *table;
    /* Masks for every byte: a nibble; digits 1 and 3 shifted to 0 and 2; eight times a pair of
     * digits. */
    uint16_t code_mask, odd_digits, eight_pairs;
};

static uint16_t reg(struct quads *q, enum rsr_elem elem, const char *name, uint32_t i) {
    const uint32_t lanes = elem == RSR_ELEM_U8 ? 16 : elem == RSR_ELEM_U32 ? 4 : 8;
    return rsrc_kb_reg(&q->table->frame.kb, elem, lanes, "%s%u", name, i);
}

/* Bits `shift` and up of every byte, under the mask. */
static uint16_t take_bits(struct quads *q, uint16_t bytes, uint32_t shift, uint16_t mask,
                          uint32_t n) {
    struct rsrc_kb *kb = &q->table->frame.kb;
    const uint16_t out = reg(q, RSR_ELEM_U8, "field", n);
    if (shift != 0) {
        const uint16_t wide =
            rsrc_kb_unary(kb, RSR_KOP_BITCAST, reg(q, RSR_ELEM_U16, "field_words", n), bytes);
        rsrc_kb_immediate(kb, RSR_KOP_SHR, wide, wide, shift);
        bytes = rsrc_kb_unary(kb, RSR_KOP_BITCAST, out, wide);
    }
    return rsrc_kb_binary(kb, RSR_KOP_AND, out, bytes, mask);
}

/* Numbers of the sums of 16 segments of row r; binary codes have two sets of segments, and `set`
 * selects one. Digits two bits apart have the value b0 + 4 b1; subtracting b1 gives b0 + 3 b1.
 * Pairs of these have the value p0 + 16 p1; subtracting 7 p1 gives p0 + 9 p1. */
static uint16_t make_number(struct quads *q, uint16_t bytes, uint32_t r, uint32_t set) {
    struct rsrc_kb *kb = &q->table->frame.kb;
    const uint32_t n = (set * QUAD + r) * 4;
    if (q->table->shape.alphabet != RSR_TERNARY)
        return take_bits(q, bytes, 4 * set, q->code_mask, n);
    const uint16_t number = reg(q, RSR_ELEM_U8, "number", n);
    const uint16_t odd = take_bits(q, bytes, 2, q->odd_digits, n);
    rsrc_kb_binary(kb, RSR_KOP_SUB, number, bytes, odd);
    const uint16_t eight = take_bits(q, number, 1, q->eight_pairs, n + 1);
    const uint16_t once = take_bits(q, number, 4, q->code_mask, n + 2);
    rsrc_kb_binary(kb, RSR_KOP_SUB, number, number, eight);
    return rsrc_kb_binary(kb, RSR_KOP_ADD, number, number, once);
}

/* Eight segments of four rows: pairs of rows are zipped, then pairs of pairs. */
static void store_half(struct quads *q, const uint16_t words[QUAD], uint32_t half, uint32_t set,
                       uint16_t to) {
    static const enum rsr_kop_kind zips[2] = {RSR_KOP_ZIP_LOW, RSR_KOP_ZIP_HIGH};
    struct rsrc_table *table = q->table;
    struct rsrc_kb *kb = &table->frame.kb;
    for (uint32_t part = 0; part < 2; part++) {
        uint16_t pairs[2];
        for (uint32_t i = 0; i < 2; i++) {
            const uint32_t n = ((set * 2 + half) * 2 + part) * 2 + i;
            const uint16_t zipped =
                rsrc_kb_binary(kb, zips[part], reg(q, RSR_ELEM_U16, "row_pair", n), words[2 * i],
                               words[2 * i + 1]);
            pairs[i] = rsrc_kb_unary(kb, RSR_KOP_BITCAST, reg(q, RSR_ELEM_U32, "row_pair_words", n),
                                     zipped);
        }
        for (uint32_t i = 0; i < 2; i++) {
            const uint32_t n = ((set * 2 + half) * 2 + part) * 2 + i;
            const uint16_t fours = rsrc_kb_binary(
                kb, zips[i], reg(q, RSR_ELEM_U32, "four_rows_of", n), pairs[0], pairs[1]);
            struct rsrc_address at =
                rsrc_address_at(RSR_KBUF_SCRATCH, table->offsets_at + n * (int64_t)16);
            at = rsrc_address_plus(at, table->vector_offsets, 1);
            rsrc_kb_store(kb, fours, rsrc_address_plus(at, to, 1));
        }
    }
}

static void emit_set(struct quads *q, const uint16_t rows[QUAD], uint32_t set, uint16_t to) {
    static const enum rsr_kop_kind zips[2] = {RSR_KOP_ZIP_LOW, RSR_KOP_ZIP_HIGH};
    struct rsrc_kb *kb = &q->table->frame.kb;
    uint16_t words[2][QUAD];
    for (uint32_t r = 0; r < QUAD; r++) {
        const uint16_t number = make_number(q, rows[r], r, set);
        for (uint32_t half = 0; half < 2; half++) {
            const uint32_t n = (set * QUAD + r) * 2 + half;
            const uint16_t zipped = rsrc_kb_binary(
                kb, zips[half], reg(q, RSR_ELEM_U8, "number_bytes", n), number, q->table->no_bytes);
            words[half][r] =
                rsrc_kb_unary(kb, RSR_KOP_BITCAST, reg(q, RSR_ELEM_U16, "number_words", n), zipped);
            rsrc_kb_immediate(kb, RSR_KOP_SHL, words[half][r], words[half][r],
                              rsrc_table_offset_shift(&q->table->shape));
        }
    }
    for (uint32_t half = 0; half < 2; half++)
        store_half(q, words[half], half, set, to);
}

void rsrc_table_emit_quad_offsets(struct rsrc_table *table, uint16_t chunk, uint16_t first_unit,
                                  uint16_t end_unit) {
    struct rsrc_kb *kb = &table->frame.kb;
    const struct rsrc_dot_layout *layout = &table->quads;
    const uint32_t n_sets = layout->block_cols / 64;
    const uint32_t chunk_blocks = table->shape.chunk_steps / (16 * n_sets);
    struct quads q = {.table = table};
    q.code_mask = rsrc_kb_const(kb, reg(&q, RSR_ELEM_U8, "code_mask", 0), 15);
    q.odd_digits = rsrc_kb_const(kb, reg(&q, RSR_ELEM_U8, "odd_digits", 0), 0x33);
    q.eight_pairs = rsrc_kb_const(kb, reg(&q, RSR_ELEM_U8, "eight_pairs", 0), 0x78);
    table->no_bytes = rsrc_kb_const(kb, reg(&q, RSR_ELEM_U8, "no_bytes", 0), 0);
    const uint16_t most = rsrc_kb_index_const(kb, chunk_blocks, "chunk_blocks");
    const uint16_t all = rsrc_kb_index_const(kb, layout->n_blocks, "n_blocks");
    const uint16_t first = rsrc_kb_index_op(kb, RSR_KOP_MUL, chunk, most, "first_block");
    const uint16_t end = rsrc_kb_index_op(kb, RSR_KOP_ADD, first, most, "end_block");
    rsrc_kb_binary(kb, RSR_KOP_MIN, end, end, all);
    const uint16_t quad_bytes =
        rsrc_kb_index_const(kb, (uint64_t)layout->n_blocks * QUAD * 16, "quad_codes");
    const uint16_t offsets_bytes = rsrc_kb_index_const(
        kb, rsrc_table_chunk_segments(&table->shape) * QUAD * sizeof(uint16_t), "quad_offsets");
    const uint16_t block_bytes =
        rsrc_kb_index_const(kb, (uint64_t)n_sets * 16 * QUAD * sizeof(uint16_t), "block_offsets");
    table->vector_offsets = rsrc_kb_const(kb, rsrc_kb_index_reg(kb, "vector_offsets"), 0);
    const uint16_t unit = rsrc_kb_index_reg(kb, "unit"),
                   block = rsrc_kb_index_reg(kb, "code_block");
    const uint16_t to = rsrc_kb_index_reg(kb, "block_to");
    rsrc_kb_loop(kb, unit, first_unit, end_unit, 1);
    const uint16_t codes_at = rsrc_kb_index_op(kb, RSR_KOP_MUL, unit, quad_bytes, "codes_at");
    rsrc_kb_const(kb, to, 0);
    rsrc_kb_loop(kb, block, first, end, 1);
    uint16_t rows[QUAD];
    rsrc_kb_comment(kb,
                    "a byte is four codes of a row, which make the number of their sum; zips bring "
                    "the numbers of four rows together");
    for (uint32_t r = 0; r < QUAD; r++) {
        struct rsrc_address at = rsrc_address_at(RSR_KBUF_CODES, r * (int64_t)16);
        at = rsrc_address_plus(rsrc_address_plus(at, codes_at, 1), block, QUAD * 16);
        rows[r] = rsrc_kb_load(kb, reg(&q, RSR_ELEM_U8, "row_codes", r), at);
    }
    for (uint32_t set = 0; set < n_sets; set++)
        emit_set(&q, rows, set, to);
    rsrc_kb_binary(kb, RSR_KOP_ADD, to, to, block_bytes);
    rsrc_kb_end(kb);
    rsrc_kb_binary(kb, RSR_KOP_ADD, table->vector_offsets, table->vector_offsets, offsets_bytes);
    rsrc_kb_end(kb);
}
