/* token_columns.c - activations of a token tile as columns, with one token per lane; see
 * token_lanes.h.
 *
 * Eight tokens by sixteen columns of int8 are transposed in registers: three perfect shuffles of
 * eight vectors bring the eight tokens of a column together, and a shift widens them with their
 * sign. Floats are transposed four tokens by four columns. The rest of the tokens, and scalar
 * targets, are copied value by value.
 */
#include "kernel/token_lanes.h"

#define OCTET 8u /* tokens of one shuffle: its vectors are 16 bytes */
#define QUAD RSRC_TOKEN_QUAD

struct transpose {
    struct rsrc_frame *frame;
    const struct rsrc_token_lanes *lanes;
    uint16_t columns;   /* byte of the first column */
    uint16_t first_col; /* RSR_NO_KREG: 0 */
    uint16_t n_cols;
};

/* scratch[columns + offset + j * column_bytes] */
static struct rsrc_address column_address(const struct transpose *t, uint16_t j, int64_t imm) {
    struct rsrc_address at = rsrc_address_at(RSR_KBUF_SCRATCH, imm);
    at = rsrc_address_plus(at, t->columns, 1);
    return rsrc_address_plus(at, j, rsrc_column_bytes(t->lanes));
}

/* The token's activation of column first + `j`. */
static struct rsrc_address activation(const struct transpose *t, const struct rsrc_frame_token *row,
                                      uint16_t j) {
    const int64_t bytes = t->frame->input == RSR_INPUT_I8 ? 1 : sizeof(float);
    const struct rsrc_address at = rsrc_address_plus(rsrc_frame_activations(row), j, bytes);
    return t->first_col == RSR_NO_KREG ? at : rsrc_address_plus(at, t->first_col, bytes);
}

static uint32_t element_bytes(const struct rsrc_token_lanes *lanes) {
    return rsrc_column_bytes(lanes) / lanes->lanes;
}

/* ---- value by value -------------------------------------------------------------------------- */

/* Copies one token's activations to its lane: `at` is `columns` plus the lane's offset. */
static void emit_token(struct transpose *t, uint16_t token, uint16_t at) {
    struct rsrc_kb *kb = &t->frame->kb;
    const struct rsrc_token_lanes *lanes = t->lanes;
    const uint16_t column = rsrc_kb_index_reg(kb, "column");
    const uint16_t value = rsrc_kb_reg(kb, lanes->elem, 1, "value");
    struct transpose lane = *t;
    lane.columns = at;
    rsrc_kb_if_less(kb, token, t->frame->n_tokens);
    const struct rsrc_frame_token row = rsrc_frame_token(t->frame, token, "_lane");
    rsrc_kb_loop(kb, column, t->frame->zero, t->n_cols, 1);
    if (lanes->elem == RSR_ELEM_F32) {
        rsrc_kb_load(kb, value, activation(t, &row, column));
    } else {
        const uint16_t byte = rsrc_kb_reg(kb, RSR_ELEM_I8, 1, "value_i8");
        rsrc_kb_load(kb, byte, activation(t, &row, column));
        rsrc_kb_unary(kb, RSR_KOP_CONVERT, value, byte);
    }
    rsrc_kb_store(kb, value, column_address(&lane, column, 0));
    rsrc_kb_end(kb);
    rsrc_kb_else(kb);
    rsrc_kb_comment(kb, "no such token: its lane is computed on zeros and not stored");
    const uint16_t missing = rsrc_kb_index_reg(kb, "missing");
    const uint16_t nothing = rsrc_kb_reg(kb, lanes->elem, 1, "nothing");
    if (lanes->elem == RSR_ELEM_F32)
        rsrc_kb_const_f32(kb, nothing, 0.0f);
    else
        rsrc_kb_const(kb, nothing, 0);
    rsrc_kb_loop(kb, missing, t->frame->zero, t->n_cols, 1);
    rsrc_kb_store(kb, nothing, column_address(&lane, missing, 0));
    rsrc_kb_end(kb);
    rsrc_kb_end(kb);
}

/* Tokens first .. end - 1, whose first lane is at byte `at` of the columns. */
static void emit_tokens(struct transpose *t, uint16_t first, uint16_t end, uint16_t at) {
    struct rsrc_kb *kb = &t->frame->kb;
    const uint16_t token = rsrc_kb_index_reg(kb, "lane_token");
    const uint16_t lane_at = rsrc_kb_index_reg(kb, "lane_at");
    const uint16_t step = rsrc_kb_index_const(kb, element_bytes(t->lanes), "lane_bytes");
    rsrc_kb_comment(kb, "value by value: tokens that fill no vector");
    rsrc_kb_unary(kb, RSR_KOP_COPY, lane_at, at);
    rsrc_kb_loop(kb, token, first, end, 1);
    emit_token(t, token, lane_at);
    rsrc_kb_binary(kb, RSR_KOP_ADD, lane_at, lane_at, step);
    rsrc_kb_end(kb);
}

/* ---- eight tokens at once -------------------------------------------------------------------- */

/* One perfect shuffle: vector 2i has the low halves of vectors i and i + 4, and 2i + 1 the high
 * halves. */
static void emit_shuffle(struct rsrc_kb *kb, const uint16_t in[OCTET], uint16_t out[OCTET],
                         uint32_t pass) {
    for (uint32_t i = 0; i < OCTET; i++) {
        out[i] = rsrc_kb_reg(kb, RSR_ELEM_U8, 16, "shuffled%u_%u", pass, i);
        rsrc_kb_binary(kb, i % 2 == 0 ? RSR_KOP_ZIP_LOW : RSR_KOP_ZIP_HIGH, out[i], in[i / 2],
                       in[i / 2 + OCTET / 2]);
    }
}

/* Widens eight bytes of v to the eight 16-bit lanes of a column: zips them above zeros, then shifts
 * down. */
static void emit_column(struct transpose *t, uint16_t v, uint16_t zeros, enum rsr_kop_kind half,
                        uint16_t column, uint32_t number, uint16_t at) {
    struct rsrc_kb *kb = &t->frame->kb;
    struct transpose octet = *t;
    octet.columns = at;
    const uint16_t bytes = rsrc_kb_reg(kb, RSR_ELEM_U8, 16, "high%u", number);
    const uint16_t wide = rsrc_kb_reg(kb, RSR_ELEM_I16, OCTET, "wide%u", number);
    rsrc_kb_binary(kb, half, bytes, zeros, v);
    rsrc_kb_unary(kb, RSR_KOP_BITCAST, wide, bytes);
    rsrc_kb_immediate(kb, RSR_KOP_SHR, wide, wide, 8);
    const int64_t offset = (int64_t)number * (int64_t)rsrc_column_bytes(t->lanes);
    rsrc_kb_store(kb, wide, column_address(&octet, column, offset));
}

/* Transposes n tokens from `first` on. */
static void find_tokens(const struct transpose *t, uint16_t first, uint32_t n,
                        struct rsrc_frame_token *rows) {
    rows[0] = rsrc_frame_token(t->frame, first, "_t0");
    for (uint32_t i = 1; i < n; i++)
        rows[i] = rsrc_frame_next_token(t->frame, &rows[i - 1],
                                        rsrc_arena_printf(t->frame->kb.arena, "_t%u", i));
}

/* It also reads columns beyond the matrix: rows of activations are padded. */
static void emit_float_quad(struct transpose *t, uint16_t first, uint16_t at) {
    struct rsrc_kb *kb = &t->frame->kb;
    struct rsrc_frame_token rows[QUAD];
    struct transpose quad = *t;
    quad.columns = at;
    find_tokens(t, first, QUAD, rows);
    const uint16_t column = rsrc_kb_index_reg(kb, "columns4");
    rsrc_kb_comment(kb, "four tokens by four columns are transposed in registers");
    rsrc_kb_loop(kb, column, t->frame->zero, t->n_cols, QUAD);
    uint16_t tokens[QUAD], columns[QUAD];
    for (uint32_t i = 0; i < QUAD; i++)
        tokens[i] = rsrc_kb_load(kb, rsrc_kb_reg(kb, RSR_ELEM_F32, QUAD, "token%u", i),
                                 activation(t, &rows[i], column));
    rsrc_transpose_quad(kb, tokens, columns, RSR_ELEM_F32, QUAD);
    for (uint32_t i = 0; i < QUAD; i++)
        rsrc_kb_store(kb, columns[i],
                      column_address(&quad, column, i * (int64_t)rsrc_column_bytes(t->lanes)));
    rsrc_kb_end(kb);
}

static void emit_octet(struct transpose *t, uint16_t first, uint16_t at) {
    struct rsrc_kb *kb = &t->frame->kb;
    struct rsrc_frame_token rows[OCTET];
    find_tokens(t, first, OCTET, rows);
    const uint16_t zeros = rsrc_kb_const(kb, rsrc_kb_reg(kb, RSR_ELEM_U8, 16, "zero_bytes"), 0);
    const uint16_t column = rsrc_kb_index_reg(kb, "columns16");
    rsrc_kb_comment(
        kb, "eight tokens by sixteen columns: three perfect shuffles bring a column's bytes "
            "together, a shift widens them with their sign");
    rsrc_kb_loop(kb, column, t->frame->zero, t->n_cols, RSRC_TOKEN_COLUMN_STEP);
    uint16_t vectors[2][OCTET];
    for (uint32_t i = 0; i < OCTET; i++)
        vectors[0][i] = rsrc_kb_load(kb, rsrc_kb_reg(kb, RSR_ELEM_U8, 16, "token%u", i),
                                     activation(t, &rows[i], column));
    for (uint32_t pass = 0; pass < 3; pass++)
        emit_shuffle(kb, vectors[pass % 2], vectors[1 - pass % 2], pass);
    for (uint32_t i = 0; i < OCTET; i++) {
        emit_column(t, vectors[1][i], zeros, RSR_KOP_ZIP_LOW, column, 2 * i, at);
        emit_column(t, vectors[1][i], zeros, RSR_KOP_ZIP_HIGH, column, 2 * i + 1, at);
    }
    rsrc_kb_end(kb);
}

/* Takes the tile's tokens by eights, or by fours; the rest up to the last token are taken one by
 * one. */
static void emit_together(struct transpose *t, uint16_t first, uint16_t end) {
    struct rsrc_kb *kb = &t->frame->kb;
    const bool floats = t->lanes->elem == RSR_ELEM_F32;
    const uint32_t n = floats ? QUAD : OCTET;
    const uint16_t octet = rsrc_kb_index_reg(kb, "octet");
    const uint16_t at = rsrc_kb_index_reg(kb, "octet_at");
    const uint16_t bytes =
        rsrc_kb_index_const(kb, (uint64_t)n * element_bytes(t->lanes), "octet_bytes");
    const uint16_t last = rsrc_kb_index_const(kb, n - 1, "octet_last");
    const uint16_t size = rsrc_kb_index_const(kb, n, "octet_size");
    rsrc_kb_unary(kb, RSR_KOP_COPY, at, t->columns);
    rsrc_kb_loop(kb, octet, first, end, n);
    const uint16_t last_token = rsrc_kb_index_op(kb, RSR_KOP_ADD, octet, last, "octet_last_token");
    rsrc_kb_if_less(kb, last_token, t->frame->n_tokens);
    if (floats)
        emit_float_quad(t, octet, at);
    else
        emit_octet(t, octet, at);
    rsrc_kb_else(kb);
    const uint16_t octet_end = rsrc_kb_index_op(kb, RSR_KOP_ADD, octet, size, "octet_end");
    emit_tokens(t, octet, octet_end, at);
    rsrc_kb_end(kb);
    rsrc_kb_binary(kb, RSR_KOP_ADD, at, at, bytes);
    rsrc_kb_end(kb);
}

void rsrc_token_columns(struct rsrc_frame *frame, const struct rsrc_token_lanes *lanes,
                        uint16_t first, uint16_t columns, uint16_t first_col, uint16_t n_cols) {
    struct rsrc_kb *kb = &frame->kb;
    struct transpose t = {.frame = frame,
                          .lanes = lanes,
                          .columns = columns,
                          .first_col = first_col,
                          .n_cols = n_cols};
    const uint16_t n_lanes = rsrc_kb_index_const(kb, lanes->lanes, "columns_lanes");
    const uint16_t end = rsrc_kb_index_op(kb, RSR_KOP_ADD, first, n_lanes, "columns_end");
    if (lanes->elem != RSR_ELEM_I32 && lanes->lanes >= QUAD)
        emit_together(&t, first, end);
    else
        emit_tokens(&t, first, end, columns);
}
