/* lower_scatter.c - `scatter`: RSR and RSR++ with the segment index as data, in scalar operations.
 *
 * For every block of k rows: sum the inputs of each segment once, then distribute the sums to the
 * rows. RSR (direct) multiplies each sum by the segment's k digits. RSR++ (tree) writes the sums to
 * a table with one slot per code and folds it digit by digit: row i gets the entries whose digit i
 * is +1 minus those whose digit is -1, then entries that differ only in digit i are added together.
 * Source: RSR, arXiv 2411.06360, sections 3 and 4; rsr/segment.h defines the codes.
 *
 * Float activations are computed in the same steps, in one order of additions: within a segment,
 * added members by column, then subtracted ones; segments by ascending code; in a fold, entries in
 * ascending order, +1 before -1. Every addition joins sums of disjoint columns, and a row of n
 * weights has n - 1 of them. So the error is at most n u sum |w x| (u = 2^-24), and tiles and
 * batches do not change any bit. If groups of columns have scales, each group is summed in this way
 * by itself. Its sum times its scale is added to the row, in ascending order, from +0 on. This adds
 * one rounding per group, and each group's sum has one addition less.
 */
#include "base/round.h"
#include "kernel/kernel_frame.h"
#include "kernels/scatter/scatter.h"

#include <assert.h>
#include <stdio.h>

struct scatter {
    struct rsrc_frame frame;
    enum rsr_alphabet alphabet;
    enum rsr_fold_kind fold;
    uint32_t k;
    struct rsrc_scatter_layout layout;
    int64_t segments_at, scales_at; /* of segments, and of groups' scales, in the index */
    uint16_t block, token, group;   /* counters; group: where groups have scales */
    uint16_t n_groups;
    uint16_t first_member, first_segment, n_segments, end_segment;
    struct rsrc_frame_token row;
};

/* Registers for blocks of one height: k, or rows % k for the last block. `suffix` ends their
 * names. */
struct scatter_body {
    uint32_t n_rows;
    const char *suffix;
    uint16_t rows[RSR_MAX_K]; /* results: i32, or f32 of float activations */
};

static bool is_float(const struct scatter *s) {
    return s->frame.input == RSR_INPUT_F32;
}

static uint16_t sum_reg(struct scatter *s, const char *name, const char *suffix) {
    return rsrc_kb_reg(&s->frame.kb, is_float(s) ? RSR_ELEM_F32 : RSR_ELEM_I32, 1, "%s%s", name,
                       suffix);
}

static uint16_t clear_sum(struct scatter *s, uint16_t sum) {
    return is_float(s) ? rsrc_kb_const_f32(&s->frame.kb, sum, 0.0f)
                       : rsrc_kb_const(&s->frame.kb, sum, 0);
}

/* scratch[counter * step + offset], in slots */
static struct rsrc_address slot_address(uint16_t counter, int64_t step, int64_t offset) {
    return rsrc_address_plus(rsrc_address_at(RSR_KBUF_SCRATCH, offset * 4), counter, step * 4);
}

/* ---- sums of segments ------------------------------------------------------------------------ */

/* A u32 field of segment record `segment` as an index. */
static uint16_t load_field(struct scatter *s, uint16_t segment, size_t offset, const char *name,
                           const char *suffix) {
    struct rsrc_kb *kb = &s->frame.kb;
    const uint16_t raw = rsrc_kb_reg(kb, RSR_ELEM_U32, 1, "%s_u32%s", name, suffix);
    struct rsrc_address at = rsrc_address_at(RSR_KBUF_INDEX, s->segments_at + (int64_t)offset);
    at = rsrc_address_plus(at, segment, sizeof(struct rsrc_scatter_segment));
    return rsrc_kb_unary(kb, RSR_KOP_CONVERT, rsrc_kb_index_reg(kb, "%s%s", name, suffix),
                         rsrc_kb_load(kb, raw, at));
}

/* sum (ADD or SUB)= x[members[first .. end)] */
static void emit_members(struct scatter *s, enum rsr_kop_kind kind, uint16_t sum, uint16_t first,
                         uint16_t end, const char *suffix) {
    struct rsrc_kb *kb = &s->frame.kb;
    const char *what = kind == RSR_KOP_ADD ? "added" : "subtracted";
    const enum rsr_elem elem = s->layout.member_bytes == 2 ? RSR_ELEM_U16 : RSR_ELEM_U32;
    const uint16_t member = rsrc_kb_index_reg(kb, "%s%s", what, suffix);
    const uint16_t column = rsrc_kb_reg(kb, elem, 1, "%s_column%s", what, suffix);
    const uint16_t offset = rsrc_kb_index_reg(kb, "%s_at%s", what, suffix);
    const uint32_t x_bytes = is_float(s) ? sizeof(float) : sizeof(int8_t);
    rsrc_kb_loop(kb, member, first, end, 1);
    rsrc_kb_load(
        kb, column,
        rsrc_address_plus(rsrc_address_at(RSR_KBUF_CODES, 0), member, s->layout.member_bytes));
    rsrc_kb_unary(kb, RSR_KOP_CONVERT, offset, column);
    const struct rsrc_address at =
        rsrc_address_plus(rsrc_frame_activations(&s->row), offset, x_bytes);
    const uint16_t value =
        rsrc_kb_reg(kb, is_float(s) ? RSR_ELEM_F32 : RSR_ELEM_I32, 1, "%s_value%s", what, suffix);
    if (is_float(s)) {
        rsrc_kb_load(kb, value, at);
    } else {
        const uint16_t byte = rsrc_kb_reg(kb, RSR_ELEM_I8, 1, "%s_x%s", what, suffix);
        rsrc_kb_unary(kb, RSR_KOP_CONVERT, value, rsrc_kb_load(kb, byte, at));
    }
    rsrc_kb_binary(kb, kind, sum, sum, value);
    rsrc_kb_end(kb);
}

static uint16_t digit_reg(struct scatter *s, const char *name, const char *suffix) {
    return rsrc_kb_reg(&s->frame.kb, RSR_ELEM_I32, 1, "%s%s", name, suffix);
}

/* rows[i] += digit i * sum; the product is exact */
static void emit_direct(struct scatter *s, const struct scatter_body *body, uint16_t segment,
                        uint16_t sum) {
    struct rsrc_kb *kb = &s->frame.kb;
    struct rsrc_address at = rsrc_address_at(
        RSR_KBUF_INDEX, s->segments_at + (int64_t)offsetof(struct rsrc_scatter_segment, slot));
    at = rsrc_address_plus(at, segment, sizeof(struct rsrc_scatter_segment));
    const uint16_t digits = rsrc_kb_load(kb, digit_reg(s, "digits", body->suffix), at);
    const uint16_t three = rsrc_kb_const(kb, digit_reg(s, "three", body->suffix), 3);
    const uint16_t bias = rsrc_kb_const(kb, digit_reg(s, "bias", body->suffix), 1);
    const uint16_t digit = digit_reg(s, "digit", body->suffix);
    const uint16_t product = sum_reg(s, "product", body->suffix);
    rsrc_kb_comment(kb, "rows += digit * sum, digits -1, 0 and 1 as two bits");
    for (uint32_t i = 0; i < body->n_rows; i++) {
        rsrc_kb_immediate(kb, RSR_KOP_SHR, digit, digits, 2 * i);
        rsrc_kb_binary(kb, RSR_KOP_AND, digit, digit, three);
        rsrc_kb_binary(kb, RSR_KOP_SUB, digit, digit, bias);
        if (is_float(s))
            rsrc_kb_unary(kb, RSR_KOP_CONVERT, product, digit);
        rsrc_kb_binary(kb, RSR_KOP_MUL, product, is_float(s) ? product : digit, sum);
        rsrc_kb_binary(kb, RSR_KOP_ADD, body->rows[i], body->rows[i], product);
    }
}

static void emit_segments(struct scatter *s, const struct scatter_body *body) {
    struct rsrc_kb *kb = &s->frame.kb;
    const char *suffix = body->suffix;
    const uint16_t member = rsrc_kb_index_reg(kb, "member%s", suffix);
    const uint16_t segment = rsrc_kb_index_reg(kb, "segment%s", suffix);
    rsrc_kb_comment(
        kb,
        "sum a segment once: its columns have equal codes in these %u rows, up to sign; "
        "added members come first",
        body->n_rows);
    rsrc_kb_unary(kb, RSR_KOP_COPY, member, s->first_member);
    rsrc_kb_loop(kb, segment, s->first_segment, s->end_segment, 1);
    const uint16_t sum = clear_sum(s, sum_reg(s, "sum", suffix));
    const uint16_t n_added =
        load_field(s, segment, offsetof(struct rsrc_scatter_segment, n_added), "n_added", suffix);
    uint16_t end = rsrc_kb_index_reg(kb, "added_end%s", suffix);
    rsrc_kb_binary(kb, RSR_KOP_ADD, end, member, n_added);
    emit_members(s, RSR_KOP_ADD, sum, member, end, suffix);
    if (s->alphabet != RSR_BINARY_BIT) {
        const uint16_t n_subtracted =
            load_field(s, segment, offsetof(struct rsrc_scatter_segment, n_subtracted),
                       "n_subtracted", suffix);
        const uint16_t first = end;
        end = rsrc_kb_index_reg(kb, "subtracted_end%s", suffix);
        rsrc_kb_binary(kb, RSR_KOP_ADD, end, first, n_subtracted);
        emit_members(s, RSR_KOP_SUB, sum, first, end, suffix);
    }
    rsrc_kb_unary(kb, RSR_KOP_COPY, member, end);
    if (s->fold == RSR_FOLD_TREE) {
        const uint16_t slot =
            load_field(s, segment, offsetof(struct rsrc_scatter_segment, slot), "slot", suffix);
        rsrc_kb_store(kb, sum, slot_address(slot, 1, 0));
    } else {
        emit_direct(s, body, segment, sum);
    }
    rsrc_kb_end(kb);
}

/* ---- the fold of RSR++ ----------------------------------------------------------------------- */

static void emit_clear_table(struct scatter *s, const struct scatter_body *body) {
    struct rsrc_kb *kb = &s->frame.kb;
    const uint16_t end = rsrc_kb_index_const(
        kb, rsrc_scatter_table_bytes(s->alphabet, body->n_rows), "table_bytes%s", body->suffix);
    const uint16_t at = rsrc_kb_index_reg(kb, "table_at%s", body->suffix);
    const uint16_t zeros = rsrc_kb_reg(kb, RSR_ELEM_I32, 4, "zeros%s", body->suffix);
    rsrc_kb_comment(kb, "u[c] = sum of the segment with code c; codes that do not occur are 0");
    rsrc_kb_const(kb, zeros, 0); /* of floats too */
    rsrc_kb_loop(kb, at, s->frame.zero, end, 16);
    rsrc_kb_store(kb, zeros, rsrc_address_plus(rsrc_address_at(RSR_KBUF_SCRATCH, 0), at, 1));
    rsrc_kb_end(kb);
}

/* u[counter * step + offset] */
static uint16_t load_slot(struct scatter *s, uint16_t dst, uint16_t counter, int64_t step,
                          int64_t offset) {
    return rsrc_kb_load(&s->frame.kb, dst, slot_address(counter, step, offset));
}

/* One digit of balanced base 3: codes are c = 3q + d, d in -1..1, c > 0. Row += u[3q+1] - u[3q-1]
 * over q >= 1, and u[1] (q = 0); u[q] <- u[3q-1] + u[3q] + u[3q+1], in place since 3q-1 > q. */
static void emit_ternary_level(struct scatter *s, const struct scatter_body *body, uint32_t level) {
    struct rsrc_kb *kb = &s->frame.kb;
    const uint64_t end = rsrc_scatter_table_slots(RSR_TERNARY, body->n_rows - level - 1);
    char suffix[24];
    snprintf(suffix, sizeof suffix, "%u%s", level, body->suffix);
    const uint16_t row = body->rows[level];
    load_slot(s, row, s->frame.zero, 1, 1);
    if (end <= 1)
        return;
    const uint16_t q = rsrc_kb_index_reg(kb, "q%s", suffix);
    const uint16_t low = sum_reg(s, "low", suffix), middle = sum_reg(s, "middle", suffix);
    const uint16_t high = sum_reg(s, "high", suffix);
    rsrc_kb_loop(kb, q, s->frame.one, rsrc_kb_index_const(kb, end, "q_end%s", suffix), 1);
    load_slot(s, low, q, 3, -1);
    load_slot(s, middle, q, 3, 0);
    load_slot(s, high, q, 3, 1);
    rsrc_kb_binary(kb, RSR_KOP_ADD, row, row, high);
    rsrc_kb_binary(kb, RSR_KOP_SUB, row, row, low);
    rsrc_kb_binary(kb, RSR_KOP_ADD, middle, middle, low);
    rsrc_kb_binary(kb, RSR_KOP_ADD, middle, middle, high);
    rsrc_kb_store(kb, middle, slot_address(q, 1, 0));
    rsrc_kb_end(kb);
}

/* One bit of n_digits left: row = sum of the odd entries, less the even ones if `subtract_even`;
 * u[q] <- u[2q] + u[2q+1]. */
static void emit_binary_level(struct scatter *s, const struct scatter_body *body, uint32_t level,
                              uint32_t n_digits, bool subtract_even) {
    struct rsrc_kb *kb = &s->frame.kb;
    char suffix[24];
    snprintf(suffix, sizeof suffix, "%u%s", level, body->suffix);
    const uint16_t row = body->rows[level];
    const uint16_t q = rsrc_kb_index_reg(kb, "q%s", suffix);
    const uint16_t low = sum_reg(s, "low", suffix), high = sum_reg(s, "high", suffix);
    clear_sum(s, row);
    rsrc_kb_loop(kb, q, s->frame.zero,
                 rsrc_kb_index_const(kb, UINT64_C(1) << (n_digits - 1), "q_end%s", suffix), 1);
    load_slot(s, low, q, 2, 0);
    load_slot(s, high, q, 2, 1);
    rsrc_kb_binary(kb, RSR_KOP_ADD, row, row, high);
    if (subtract_even)
        rsrc_kb_binary(kb, RSR_KOP_SUB, row, row, low);
    rsrc_kb_binary(kb, RSR_KOP_ADD, low, low, high);
    rsrc_kb_store(kb, low, slot_address(q, 1, 0));
    rsrc_kb_end(kb);
}

/* Signs: the top row is +1 in every code, so its result is the total U; row i is twice the entries
 * with bit i, less U. Floats do not use this: the row would have the error of U and twice the error
 * of its entries. */
static void emit_sign_rows(struct scatter *s, const struct scatter_body *body) {
    struct rsrc_kb *kb = &s->frame.kb;
    const uint32_t top = body->n_rows - 1;
    for (uint32_t i = 0; i < top; i++)
        emit_binary_level(s, body, i, top - i, is_float(s));
    load_slot(s, body->rows[top], s->frame.zero, 1, 0);
    for (uint32_t i = 0; i < top && !is_float(s); i++) {
        rsrc_kb_immediate(kb, RSR_KOP_SHL, body->rows[i], body->rows[i], 1);
        rsrc_kb_binary(kb, RSR_KOP_SUB, body->rows[i], body->rows[i], body->rows[top]);
    }
}

static void emit_fold(struct scatter *s, const struct scatter_body *body) {
    rsrc_kb_comment(&s->frame.kb, "fold: one row a level, the table shrinks to a part each time");
    switch (s->alphabet) {
    case RSR_TERNARY:
        for (uint32_t i = 0; i < body->n_rows; i++)
            emit_ternary_level(s, body, i);
        return;
    case RSR_BINARY_SIGN:
        emit_sign_rows(s, body);
        return;
    case RSR_BINARY_BIT:
        for (uint32_t i = 0; i < body->n_rows; i++)
            emit_binary_level(s, body, i, body->n_rows - i, false);
        return;
    }
}

/* ---- the kernel ------------------------------------------------------------------------------ */

static bool has_group_scales(const struct scatter *s) {
    return s->frame.layer->matrix->group_cols != 0;
}

static void load_block_field(struct scatter *s, uint16_t dst, size_t offset) {
    struct rsrc_address at = rsrc_address_at(RSR_KBUF_INDEX, (int64_t)offset);
    at = rsrc_address_plus(at, s->block,
                           s->layout.n_groups * (int64_t)sizeof(struct rsrc_scatter_block));
    if (has_group_scales(s))
        at = rsrc_address_plus(at, s->group, sizeof(struct rsrc_scatter_block));
    rsrc_kb_load(&s->frame.kb, dst, at);
}

/* Finds the segments of the block, or of its current group if groups have scales. */
static void load_block(struct scatter *s) {
    load_block_field(s, s->first_member, offsetof(struct rsrc_scatter_block, first_member));
    load_block_field(s, s->first_segment, offsetof(struct rsrc_scatter_block, first_segment));
    load_block_field(s, s->n_segments, offsetof(struct rsrc_scatter_block, n_segments));
    rsrc_kb_binary(&s->frame.kb, RSR_KOP_ADD, s->end_segment, s->first_segment, s->n_segments);
}

/* rows = the sums of the segments */
static void emit_rows(struct scatter *s, const struct scatter_body *body) {
    if (s->fold == RSR_FOLD_TREE) {
        emit_clear_table(s, body);
        emit_segments(s, body);
        emit_fold(s, body);
        return;
    }
    for (uint32_t i = 0; i < body->n_rows; i++)
        clear_sum(s, body->rows[i]);
    emit_segments(s, body);
}

/* totals = the sum of each group times its scale */
static void emit_groups(struct scatter *s, const struct scatter_body *body,
                        uint16_t totals[RSR_MAX_K]) {
    struct rsrc_kb *kb = &s->frame.kb;
    const int64_t row_bytes = s->layout.n_groups * (int64_t)sizeof(float);
    for (uint32_t i = 0; i < body->n_rows; i++)
        totals[i] = rsrc_kb_const_f32(
            kb, rsrc_kb_reg(kb, RSR_ELEM_F32, 1, "total%u%s", i, body->suffix), 0.0f);
    const uint16_t real =
        is_float(s) ? RSR_NO_KREG : rsrc_kb_reg(kb, RSR_ELEM_F32, 1, "real%s", body->suffix);
    const uint16_t scale = rsrc_kb_reg(kb, RSR_ELEM_F32, 1, "group_scale%s", body->suffix);
    rsrc_kb_loop(kb, s->group, s->frame.zero, s->n_groups, 1);
    load_block(s);
    emit_rows(s, body);
    rsrc_kb_comment(kb, "totals += sum * the group's scale of the row, which the index has");
    for (uint32_t i = 0; i < body->n_rows; i++) {
        struct rsrc_address at = rsrc_address_at(RSR_KBUF_INDEX, s->scales_at + i * row_bytes);
        at = rsrc_address_plus(at, s->block, s->k * row_bytes);
        rsrc_kb_load(kb, scale, rsrc_address_plus(at, s->group, sizeof(float)));
        const uint16_t sum =
            is_float(s) ? body->rows[i] : rsrc_kb_unary(kb, RSR_KOP_CONVERT, real, body->rows[i]);
        rsrc_kb_binary(kb, RSR_KOP_MUL, sum, sum, scale);
        rsrc_kb_binary(kb, RSR_KOP_ADD, totals[i], totals[i], sum);
    }
    rsrc_kb_end(kb);
}

/* Emits one block of n_rows rows for one token. */
static void emit_body(struct scatter *s, uint32_t n_rows, const char *suffix) {
    struct rsrc_kb *kb = &s->frame.kb;
    struct scatter_body body = {.n_rows = n_rows, .suffix = suffix};
    uint16_t totals[RSR_MAX_K];
    for (uint32_t i = 0; i < n_rows; i++)
        body.rows[i] =
            rsrc_kb_reg(kb, is_float(s) ? RSR_ELEM_F32 : RSR_ELEM_I32, 1, "row%u%s", i, suffix);
    const bool groups = has_group_scales(s);
    if (groups)
        emit_groups(s, &body, totals);
    else
        emit_rows(s, &body);
    rsrc_frame_comment_results(&s->frame);
    for (uint32_t i = 0; i < n_rows; i++)
        rsrc_frame_store(&s->frame,
                         rsrc_frame_result(&s->frame, groups ? totals[i] : body.rows[i], 1, &s->row,
                                           s->block, i),
                         &s->row, s->block, i);
}

/* Emits counters and the data of a block. */
static void make_registers(struct scatter *s) {
    struct rsrc_kb *kb = &s->frame.kb;
    s->block = rsrc_kb_index_reg(kb, "block");
    s->token = rsrc_kb_index_reg(kb, "token");
    s->first_member = rsrc_kb_index_reg(kb, "first_member");
    s->first_segment = rsrc_kb_index_reg(kb, "first_segment");
    s->n_segments = rsrc_kb_index_reg(kb, "n_segments");
    s->end_segment = rsrc_kb_index_reg(kb, "end_segment");
    if (!has_group_scales(s))
        return;
    s->group = rsrc_kb_index_reg(kb, "group");
    s->n_groups = rsrc_kb_index_const(kb, s->layout.n_groups, "n_groups");
}

static void emit_kernel(struct scatter *s, uint32_t rows) {
    struct rsrc_kb *kb = &s->frame.kb;
    const uint32_t n_last = rows % s->k;
    uint16_t full_blocks = RSR_NO_KREG;
    if (n_last != 0 && rows > s->k)
        full_blocks = rsrc_kb_index_const(kb, rows / s->k, "full_blocks");
    make_registers(s);
    rsrc_kb_comment(kb, "blocks of %u rows, whose segments are data: columns by code", s->k);
    rsrc_kb_loop(kb, s->block, s->frame.unit_begin, s->frame.unit_end, 1);
    if (!has_group_scales(s))
        load_block(s);
    rsrc_kb_loop(kb, s->token, s->frame.zero, s->frame.n_tokens, 1);
    s->row = rsrc_frame_token(&s->frame, s->token, "");
    if (n_last == 0) {
        emit_body(s, s->k, "");
    } else if (rows < s->k) {
        emit_body(s, n_last, "");
    } else {
        rsrc_kb_if_less(kb, s->block, full_blocks);
        emit_body(s, s->k, "");
        rsrc_kb_else(kb);
        rsrc_kb_comment(kb, "the last block has %u rows", n_last);
        emit_body(s, n_last, "_last");
        rsrc_kb_end(kb);
    }
    rsrc_kb_end(kb);
    rsrc_kb_end(kb);
}

static enum rsrc_status check_bounds(struct rsrc_diag *diag, const struct rsrc_lower_input *input) {
    const struct rsr_regime_plan *plan = input->plan;
    const struct rsr_matrix *matrix = input->matrix;
    const struct rsrc_place place = {.tensor = input->title};
    /* The largest intermediate is 2 * (entries with bit i) - U, with signs and |x| <= 128. */
    if (input->input == RSR_INPUT_I8 && (uint64_t)matrix->cols * 3 * 128 > INT32_MAX)
        return rsrc_refuse_wide(diag, input);
    if (plan->fold == RSR_FOLD_TREE &&
        rsrc_scatter_table_bytes(matrix->alphabet, plan->k) > RSRC_SCATTER_MAX_TABLE_BYTES)
        return rsrc_refuse(diag, "lower-k-too-large", &place,
                           "choose a smaller k, or leave it to rsrc",
                           "k = %u needs a fold table of %llu bytes; the limit is %llu", plan->k,
                           (unsigned long long)rsrc_scatter_table_bytes(matrix->alphabet, plan->k),
                           (unsigned long long)RSRC_SCATTER_MAX_TABLE_BYTES);
    return RSRC_OK;
}

/* codes and index of the lowered layer. */
static void pack_tables(struct scatter *s, struct rsrc_arena *arena,
                        const struct rsrc_lower_input *input, struct rsr_lowered *out) {
    const struct rsr_index *index = input->index;
    const struct rsr_matrix *matrix = input->matrix;
    const bool groups = matrix->group_cols != 0;
    s->layout.group_cols =
        groups && matrix->group_cols < matrix->cols ? matrix->group_cols : matrix->cols;
    s->layout.n_groups = rsrc_divide_up(matrix->cols, s->layout.group_cols);
    s->layout.n_segments = rsrc_count_scatter_segments(index, s->layout.group_cols);
    for (uint32_t b = 0; b < index->n_blocks; b++)
        s->layout.n_members += index->blocks[b].begin[index->blocks[b].n_segments];
    s->segments_at = (int64_t)((uint64_t)index->n_blocks * s->layout.n_groups *
                               sizeof(struct rsrc_scatter_block));
    s->scales_at =
        s->segments_at + (int64_t)(s->layout.n_segments * sizeof(struct rsrc_scatter_segment));
    const size_t table = (size_t)s->scales_at + (groups ? matrix->n_scales * sizeof(float) : 0);
    const uint64_t n_bytes = rsrc_scatter_lines(s->layout.n_members * s->layout.member_bytes);
    rsrc_pack_scatter(arena, input, &s->layout, rsrc_alloc_blob(arena, &out->codes, n_bytes),
                      rsrc_alloc_blob(arena, &out->index, rsrc_scatter_lines(table)));
}

enum rsrc_status rsrc_lower_scatter(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                    const struct rsrc_lower_input *input, struct rsr_lowered *out,
                                    const char **detail) {
    const struct rsr_regime_plan *plan = input->plan;
    const struct rsr_matrix *matrix = input->matrix;
    assert(input->index != NULL && input->index->k == plan->k);
    assert(plan->k >= 1 && plan->k <= RSR_MAX_K);
    if (check_bounds(diag, input) != RSRC_OK)
        return RSRC_FAILED;
    struct scatter s = {.alphabet = matrix->alphabet, .fold = plan->fold, .k = plan->k};
    s.layout.member_bytes = rsrc_scatter_member_bytes(rsrc_layer_column(input, matrix->cols - 1));
    pack_tables(&s, arena, input, out);
    rsrc_frame_begin_all_columns(&s.frame, arena, input, plan->k, &out->kernel);
    emit_kernel(&s, matrix->rows);
    if (s.fold == RSR_FOLD_TREE)
        out->kernel.scratch_bytes = rsrc_scatter_table_bytes(matrix->alphabet, plan->k);
    rsrc_frame_end(&s.frame, out);
    *detail =
        rsrc_arena_printf(arena, "k%u-%s", plan->k, s.fold == RSR_FOLD_TREE ? "tree" : "direct");
    return RSRC_OK;
}
