/* token_results.c - turns sums with one token per lane into results, token by token; see
 * token_lanes.h.
 *
 * Four rows by four tokens are transposed in registers, by two rounds of zips. A vector then has
 * four rows of a token, as the epilogue and y need them. The rest of the rows and tokens, and
 * scalar forms, are stored value by value, which took 0.83 ns a value, as long as 250 of its
 * products.
 */
#include "kernel/token_lanes.h"

#define QUAD RSRC_TOKEN_QUAD

struct results {
    struct rsrc_frame *frame;
    const struct rsrc_token_lanes *lanes;
    const struct rsrc_token_range *range;
    enum rsr_elem elem; /* of sums */
    uint32_t n_halves;  /* 2 if the sums of odd lanes lie after those of even lanes */
};

/* Byte offset of a lane's sum within the sums of a row. */
static uint16_t emit_lane(const struct results *r, uint16_t lane, const char *name) {
    struct rsrc_kb *kb = &r->frame->kb;
    const uint16_t at = rsrc_kb_index_reg(kb, "%s_sum", name);
    if (r->n_halves == 1)
        return rsrc_kb_immediate(kb, RSR_KOP_SHL, at, lane, 2);
    const uint16_t odd = rsrc_kb_index_op(kb, RSR_KOP_AND, lane, r->frame->one, "%s_odd", name);
    rsrc_kb_comment(kb, "the sums of odd lanes lie behind those of even ones");
    rsrc_kb_immediate(kb, RSR_KOP_SHR, at, lane, 1);
    rsrc_kb_immediate(kb, RSR_KOP_SHL, at, at, 2);
    const uint16_t odd_sums =
        rsrc_kb_index_const(kb, rsrc_lane_sums_bytes(r->lanes) / 2, "%s_odd_sums", name);
    rsrc_kb_binary(kb, RSR_KOP_MUL, odd, odd, odd_sums);
    return rsrc_kb_binary(kb, RSR_KOP_ADD, at, at, odd);
}

static void store(const struct results *r, uint16_t sums, uint32_t lanes,
                  const struct rsrc_frame_token *token, uint16_t row) {
    const uint16_t result = rsrc_frame_result(r->frame, sums, lanes, token, row, 0);
    rsrc_frame_store(r->frame, result, token, row, 0);
}

/* ---- value by value -------------------------------------------------------------------------- */

/* Stores rows first_row .. range->end_row - 1 of tokens first .. end - 1; register names begin with
 * `name`. */
static void emit_values(const struct results *r, uint16_t first_row, uint16_t first, uint16_t end,
                        const char *name) {
    struct rsrc_kb *kb = &r->frame->kb;
    const uint16_t token = rsrc_kb_index_reg(kb, "%s_token", name);
    const uint16_t row = rsrc_kb_index_reg(kb, "%s_row", name);
    const uint16_t value = rsrc_kb_reg(kb, r->elem, 1, "%s_value", name);
    const uint16_t row_sums =
        rsrc_kb_index_const(kb, rsrc_lane_sums_bytes(r->lanes), "%s_row_sums", name);
    const uint16_t skipped =
        rsrc_kb_index_op(kb, RSR_KOP_SUB, first_row, r->range->first_row, "%s_skipped", name);
    rsrc_kb_binary(kb, RSR_KOP_MUL, skipped, skipped, row_sums);
    rsrc_kb_binary(kb, RSR_KOP_ADD, skipped, skipped, r->range->sums);
    rsrc_kb_loop(kb, token, first, end, 1);
    const uint16_t lane =
        rsrc_kb_index_op(kb, RSR_KOP_SUB, token, r->range->first, "%s_lane", name);
    const struct rsrc_frame_token row_of =
        rsrc_frame_token(r->frame, token, rsrc_arena_printf(kb->arena, "_%s", name));
    const uint16_t at = emit_lane(r, lane, name);
    rsrc_kb_binary(kb, RSR_KOP_ADD, at, at, skipped);
    rsrc_kb_loop(kb, row, first_row, r->range->end_row, 1);
    rsrc_kb_load(kb, value, rsrc_address_plus(rsrc_address_at(RSR_KBUF_SCRATCH, 0), at, 1));
    store(r, value, 1, &row_of, row);
    rsrc_kb_binary(kb, RSR_KOP_ADD, at, at, row_sums);
    rsrc_kb_end(kb);
    rsrc_kb_end(kb);
}

/* ---- four by four ---------------------------------------------------------------------------- */

void rsrc_transpose_quad(struct rsrc_kb *kb, const uint16_t in[QUAD], uint16_t out[QUAD],
                         enum rsr_elem elem, uint32_t number) {
    static const enum rsr_kop_kind ZIPS[2] = {RSR_KOP_ZIP_LOW, RSR_KOP_ZIP_HIGH};
    uint16_t pairs[QUAD]; /* 0 and 1: rows 0 and 2 zipped, low and high; 2 and 3: rows 1 and 3 */
    for (uint32_t i = 0; i < QUAD; i++)
        pairs[i] =
            rsrc_kb_binary(kb, ZIPS[i % 2], rsrc_kb_reg(kb, elem, QUAD, "pairs%u_%u", number, i),
                           in[i / 2], in[i / 2 + 2]);
    for (uint32_t i = 0; i < QUAD; i++)
        out[i] = rsrc_kb_binary(kb, ZIPS[i % 2],
                                rsrc_kb_reg(kb, elem, QUAD, "transposed%u_%u", number, i),
                                pairs[i / 2], pairs[i / 2 + 2]);
}

/* Stores four rows of one half of the lanes of a group; its first sum is at byte `at`. */
static void emit_quad(const struct results *r, const struct rsrc_frame_token *tokens, uint32_t half,
                      uint16_t row, uint16_t at) {
    struct rsrc_kb *kb = &r->frame->kb;
    const int64_t row_bytes = (int64_t)rsrc_lane_sums_bytes(r->lanes);
    uint16_t rows[QUAD], columns[QUAD];
    for (uint32_t i = 0; i < QUAD; i++) {
        const int64_t offset = (int64_t)i * row_bytes + (int64_t)half * (row_bytes / 2);
        rows[i] = rsrc_kb_load(kb, rsrc_kb_reg(kb, r->elem, QUAD, "row_sums%u_%u", half, i),
                               rsrc_address_plus(rsrc_address_at(RSR_KBUF_SCRATCH, offset), at, 1));
    }
    rsrc_transpose_quad(kb, rows, columns, r->elem, half);
    for (uint32_t i = 0; i < QUAD; i++)
        store(r, columns[i], QUAD, &tokens[r->n_halves * i + half], row);
}

/* Stores whole groups of tokens first .. end - 1, and rows range->first_row .. end_row - 1 by
 * fours. */
static void emit_quads(const struct results *r, uint16_t end, uint16_t end_row) {
    struct rsrc_kb *kb = &r->frame->kb;
    const uint32_t n_tokens = QUAD * r->n_halves;
    const uint16_t group = rsrc_kb_index_reg(kb, "four_token");
    const uint16_t row = rsrc_kb_index_reg(kb, "four_row");
    const uint16_t step =
        rsrc_kb_index_const(kb, QUAD * rsrc_lane_sums_bytes(r->lanes), "four_step");
    rsrc_kb_comment(
        kb, "four rows by four tokens are transposed: a vector is four rows of a token then");
    rsrc_kb_loop(kb, group, r->range->first, end, n_tokens);
    struct rsrc_frame_token tokens[2 * QUAD];
    tokens[0] = rsrc_frame_token(r->frame, group, "_four0");
    for (uint32_t i = 1; i < n_tokens; i++)
        tokens[i] = rsrc_frame_next_token(r->frame, &tokens[i - 1],
                                          rsrc_arena_printf(kb->arena, "_four%u", i));
    const uint16_t lane = rsrc_kb_index_op(kb, RSR_KOP_SUB, group, r->range->first, "four_lane");
    /* The lane is even if the halves are stored separately. */
    const uint16_t at = rsrc_kb_index_reg(kb, "four_sum");
    rsrc_kb_immediate(kb, RSR_KOP_SHL, at, lane, r->n_halves == 2 ? 1 : 2);
    rsrc_kb_binary(kb, RSR_KOP_ADD, at, at, r->range->sums);
    rsrc_kb_loop(kb, row, r->range->first_row, end_row, QUAD);
    for (uint32_t half = 0; half < r->n_halves; half++)
        emit_quad(r, tokens, half, row, at);
    rsrc_kb_binary(kb, RSR_KOP_ADD, at, at, step);
    rsrc_kb_end(kb);
    rsrc_kb_end(kb);
}

/* first + the largest multiple of `unit`, a power of two, that end - first holds. */
static uint16_t whole_units(struct rsrc_kb *kb, uint16_t first, uint16_t end, uint32_t unit,
                            const char *name) {
    const uint16_t whole = rsrc_kb_index_op(kb, RSR_KOP_SUB, end, first, "%s", name);
    const uint32_t shift = unit == 8 ? 3 : 2;
    rsrc_kb_immediate(kb, RSR_KOP_SHR, whole, whole, shift);
    rsrc_kb_immediate(kb, RSR_KOP_SHL, whole, whole, shift);
    return rsrc_kb_binary(kb, RSR_KOP_ADD, whole, whole, first);
}

void rsrc_token_results(struct rsrc_frame *frame, const struct rsrc_token_lanes *lanes,
                        const struct rsrc_token_range *range) {
    struct rsrc_kb *kb = &frame->kb;
    const struct results r = {.frame = frame,
                              .lanes = lanes,
                              .range = range,
                              .elem = lanes->elem == RSR_ELEM_F32 ? RSR_ELEM_F32 : RSR_ELEM_I32,
                              .n_halves = lanes->elem == RSR_ELEM_I16 ? 2 : 1};
    if (lanes->lanes < QUAD * r.n_halves) {
        emit_values(&r, range->first_row, range->first, range->end, "value");
        return;
    }
    const uint16_t end =
        whole_units(kb, range->first, range->end, QUAD * r.n_halves, "whole_tokens");
    const uint16_t end_row =
        range->whole_quads ? range->end_row
                           : whole_units(kb, range->first_row, range->end_row, QUAD, "whole_rows");
    emit_quads(&r, end, end_row);
    if (!range->whole_quads)
        emit_values(&r, end_row, range->first, end, "last_rows");
    emit_values(&r, range->first_row, end, range->end, "last_tokens");
}
