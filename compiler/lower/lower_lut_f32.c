/* lower_lut_f32.c - `lut` for float activations: rows select sums of a few columns instead of
 * multiplying.
 *
 * The 16 sums of a segment are one vector of floats, or two of half the width; a row's code selects its
 * sum (TABLE, TABLE2: only the low bits of an index count) and its sign is XORed into bit 31. Rows are
 * lanes. lut_f32.h has the layout, lower_lut.c the same for int8.
 *
 * The one order of additions, whatever the vectors, tiles, units and batches:
 *   table  ((d0 x0 + d1 x1) + d2 x2) + d3 x3, digits d in -1..1
 *   row    its segments' entries in ascending order, from +0 on
 * Every addition joins sums of disjoint columns, so that the error is at most n u sum |w x|.
 *
 * Tables of a block of columns stay in the L2 cache for LUT_TOKENS tokens; with several blocks, the sums
 * of rows wait in the scratch memory.
 */
#include "lower/kernel_frame.h"
#include "lower/lut_f32.h"

#include <assert.h>

#define LUT_TOKENS 4u
#define MAX_VECTORS 4u
#define MAX_GROUP_COLS 4u
#define MAX_HALVES 2u
#define TABLE_BYTES (LUT_F32_CODES * (uint32_t)sizeof(float))
#define TABLE_STEP_BYTES (LUT_F32_STEP_SEGMENTS * TABLE_BYTES)
#define PREFETCH_BYTES 4096 /* ahead of the codes, as lut does for int8 */
#define LINE_BYTES 64
#define SIGN_BIT INT64_C(0x80000000)

struct lut {
    struct rsrc_frame frame;
    struct rsrc_lut_f32_layout layout;
    uint32_t cols;
    uint32_t n_halves;    /* vectors of a table */
    uint32_t block_steps; /* of a column block: its tables are in the scratch memory at a time */
    uint32_t n_blocks;
    int64_t token_table_bytes;
    int64_t partials_at, token_partials_bytes;
    /* Registers, i64: tokens of the group and steps of the column block at work; constants. */
    uint16_t first_token, end_token, first_step, end_step;
    uint16_t n_steps, table_stride, step_bytes;
};

/* A register of one 32-bit lane a row. */
static uint16_t lanes_reg(struct lut *lut, enum rsr_elem elem, const char *name, uint32_t number,
                          const char *suffix) {
    return rsrc_kb_reg(&lut->frame.kb, elem, lut->layout.vector_rows, "%s%u%s", name, number,
                       suffix);
}

/* Byte of the scratch memory where the token's tables would begin if all blocks had their place; also
 * the token's number in the group. */
static uint16_t emit_table_base(struct lut *lut, uint16_t token, const char *suffix,
                                uint16_t *slot) {
    struct rsrc_kb *kb = &lut->frame.kb;
    const uint16_t base = rsrc_kb_index_reg(kb, "table_base%s", suffix);
    *slot = rsrc_kb_index_op(kb, RSR_KOP_SUB, token, lut->first_token, "slot%s", suffix);
    rsrc_kb_binary(kb, RSR_KOP_MUL, base, *slot, lut->table_stride);
    if (lut->n_blocks == 1)
        return base;
    const uint16_t skipped =
        rsrc_kb_index_op(kb, RSR_KOP_MUL, lut->first_step, lut->step_bytes, "skipped%s", suffix);
    return rsrc_kb_binary(kb, RSR_KOP_SUB, base, base, skipped);
}

/* ---- tables ---------------------------------------------------------------------------------- */

struct tables {
    uint16_t digits[MAX_GROUP_COLS][MAX_HALVES];
    uint16_t sums[MAX_HALVES], product, spread, x;
    uint16_t base;
    struct rsrc_frame_token token;
};

static void load_digits(struct lut *lut, struct tables *t) {
    struct rsrc_kb *kb = &lut->frame.kb;
    for (uint32_t i = 0; i < lut->layout.group_cols; i++)
        for (uint32_t half = 0; half < lut->n_halves; half++) {
            const int64_t at = (int64_t)i * TABLE_BYTES + half * lut->layout.vector_rows * 4;
            t->digits[i][half] =
                rsrc_kb_load(kb, lanes_reg(lut, RSR_ELEM_F32, "digit", i, half == 0 ? "" : "_high"),
                             rsrc_address_at(RSR_KBUF_INDEX, at));
        }
}

static void store_table(struct lut *lut, const struct tables *t, uint16_t segment) {
    for (uint32_t half = 0; half < lut->n_halves; half++) {
        struct rsrc_address at =
            rsrc_address_at(RSR_KBUF_SCRATCH, half * lut->layout.vector_rows * 4);
        at = rsrc_address_plus(at, t->base, 1);
        rsrc_kb_store(&lut->frame.kb, t->sums[half], rsrc_address_plus(at, segment, TABLE_BYTES));
    }
}

/* The table of a segment of n_cols columns. */
static void emit_table(struct lut *lut, const struct tables *t, uint16_t segment, uint32_t n_cols) {
    struct rsrc_kb *kb = &lut->frame.kb;
    for (uint32_t i = 0; i < n_cols; i++) {
        struct rsrc_address at = rsrc_frame_activations(&t->token);
        at = rsrc_address_plus(at, segment, lut->layout.group_cols * sizeof(float));
        rsrc_kb_load(kb, t->x, rsrc_address_offset(at, i * (int64_t)sizeof(float)));
        rsrc_kb_unary(kb, RSR_KOP_SPLAT, t->spread, t->x);
        for (uint32_t half = 0; half < lut->n_halves; half++) {
            rsrc_kb_binary(kb, RSR_KOP_MUL, i == 0 ? t->sums[half] : t->product, t->spread,
                           t->digits[i][half]);
            if (i != 0)
                rsrc_kb_binary(kb, RSR_KOP_ADD, t->sums[half], t->sums[half], t->product);
        }
    }
    store_table(lut, t, segment);
}

/* What ends the last step: segments of no columns, and the last one's few. Nothing is read behind x. */
static void emit_last_tables(struct lut *lut, const struct tables *t, uint16_t n_full,
                             uint16_t end_segment) {
    struct rsrc_kb *kb = &lut->frame.kb;
    const uint32_t n_cols = lut->cols % lut->layout.group_cols;
    const uint16_t padding = rsrc_kb_index_reg(kb, "padding");
    if (lut->layout.n_steps * LUT_F32_STEP_SEGMENTS == lut->cols / lut->layout.group_cols)
        return;
    rsrc_kb_loop(kb, padding, n_full, end_segment, 1);
    for (uint32_t half = 0; half < lut->n_halves; half++)
        rsrc_kb_const_f32(kb, t->sums[half], 0.0f);
    store_table(lut, t, padding);
    rsrc_kb_end(kb);
    if (n_cols == 0)
        return;
    rsrc_kb_if_less(kb, n_full, end_segment);
    emit_table(lut, t, n_full, n_cols);
    rsrc_kb_end(kb);
}

static void emit_tables(struct lut *lut) {
    struct rsrc_kb *kb = &lut->frame.kb;
    struct tables t = {.product = lanes_reg(lut, RSR_ELEM_F32, "product", 0, ""),
                       .spread = lanes_reg(lut, RSR_ELEM_F32, "x_spread", 0, ""),
                       .x = rsrc_kb_reg(kb, RSR_ELEM_F32, 1, "x_one")};
    rsrc_kb_comment(kb, "tables: the sums of %u columns for every code", lut->layout.group_cols);
    for (uint32_t half = 0; half < lut->n_halves; half++)
        t.sums[half] = lanes_reg(lut, RSR_ELEM_F32, "entries", half, "");
    load_digits(lut, &t);
    const uint16_t segments = rsrc_kb_index_const(kb, LUT_F32_STEP_SEGMENTS, "step_segments");
    const uint16_t n_full =
        rsrc_kb_index_const(kb, lut->cols / lut->layout.group_cols, "full_segments");
    const uint16_t first =
        rsrc_kb_index_op(kb, RSR_KOP_MUL, lut->first_step, segments, "first_segment");
    const uint16_t end = rsrc_kb_index_op(kb, RSR_KOP_MUL, lut->end_step, segments, "end_segment");
    const uint16_t end_full = rsrc_kb_index_op(kb, RSR_KOP_MIN, end, n_full, "end_full");
    const uint16_t token = rsrc_kb_index_reg(kb, "token_t");
    rsrc_kb_loop(kb, token, lut->first_token, lut->end_token, 1);
    t.token = rsrc_frame_token(&lut->frame, token, "_t");
    uint16_t slot;
    t.base = emit_table_base(lut, token, "_t", &slot);
    const uint16_t segment = rsrc_kb_index_reg(kb, "segment");
    rsrc_kb_loop(kb, segment, first, end_full, 1);
    emit_table(lut, &t, segment, lut->layout.group_cols);
    rsrc_kb_end(kb);
    emit_last_tables(lut, &t, n_full, end);
    rsrc_kb_end(kb);
}

/* ---- sums of a unit's rows ------------------------------------------------------------------- */

/* Registers of the code for units of n_vectors vectors. */
struct unit {
    struct lut *lut;
    uint32_t n_vectors, n_rows; /* n_rows: stored */
    const char *suffix;         /* of register names */
    uint16_t number, step, slot, table_base;
    struct rsrc_frame_token token;
    uint16_t sums[MAX_VECTORS];                      /* f32 */
    uint16_t words[MAX_VECTORS], signs[MAX_VECTORS]; /* u32 */
    uint16_t sign_bytes, code, sign, sign_mask, term, sign_term;
    uint16_t tables[MAX_HALVES];
};

static void make_registers(struct unit *u) {
    struct lut *lut = u->lut;
    for (uint32_t v = 0; v < u->n_vectors; v++) {
        u->sums[v] = lanes_reg(lut, RSR_ELEM_F32, "sums", v, u->suffix);
        u->words[v] = lanes_reg(lut, RSR_ELEM_U32, "words", v, u->suffix);
        u->signs[v] = lanes_reg(lut, RSR_ELEM_U32, "signs", v, u->suffix);
    }
    for (uint32_t half = 0; half < lut->n_halves; half++)
        u->tables[half] = lanes_reg(lut, RSR_ELEM_F32, "table", half, u->suffix);
    u->sign_bytes = lanes_reg(lut, RSR_ELEM_U8, "sign_bytes", 0, u->suffix);
    u->code = lanes_reg(lut, RSR_ELEM_U32, "code", 0, u->suffix);
    u->sign = lanes_reg(lut, RSR_ELEM_U32, "sign", 0, u->suffix);
    u->sign_term = lanes_reg(lut, RSR_ELEM_F32, "sign_term", 0, u->suffix);
    u->term = lanes_reg(lut, RSR_ELEM_F32, "term", 0, u->suffix);
    u->sign_mask = rsrc_kb_const(&lut->frame.kb,
                                 lanes_reg(lut, RSR_ELEM_U32, "sign_mask", 0, u->suffix), SIGN_BIT);
}

/* Byte `at` of the unit's step. */
static struct rsrc_address step_address(const struct unit *u, int64_t at) {
    const struct rsrc_lut_f32_layout *layout = &u->lut->layout;
    const int64_t step_bytes = rsrc_lut_f32_step_bytes(layout);
    struct rsrc_address address = rsrc_address_at(RSR_KBUF_CODES, at);
    address = rsrc_address_plus(address, u->number,
                                (int64_t)layout->unit_vectors * layout->n_steps * step_bytes);
    return rsrc_address_plus(address, u->step, u->n_vectors * step_bytes);
}

static void load_codes(struct unit *u) {
    const struct rsrc_lut_f32_layout *layout = &u->lut->layout;
    struct rsrc_kb *kb = &u->lut->frame.kb;
    const int64_t rows = layout->vector_rows, words_bytes = u->n_vectors * rows * 4;
    const int64_t step_bytes = u->n_vectors * (int64_t)rsrc_lut_f32_step_bytes(layout);
    for (int64_t line = 0; line < step_bytes; line += LINE_BYTES)
        rsrc_kb_prefetch(kb, step_address(u, PREFETCH_BYTES + line));
    for (uint32_t v = 0; v < u->n_vectors; v++) {
        rsrc_kb_load(kb, u->words[v], step_address(u, v * rows * 4));
        if (!layout->has_sign)
            continue;
        rsrc_kb_load(kb, u->sign_bytes, step_address(u, words_bytes + v * rows));
        rsrc_kb_unary(kb, RSR_KOP_CONVERT, u->signs[v], u->sign_bytes);
    }
}

/* sums += the entries that segment i of the step selects */
static void add_segment(struct unit *u, uint32_t v, uint32_t i) {
    struct rsrc_kb *kb = &u->lut->frame.kb;
    uint16_t code = u->words[v];
    if (i != 0)
        code = rsrc_kb_immediate(kb, RSR_KOP_SHR, u->code, code, 4 * i);
    if (u->lut->n_halves == 2)
        rsrc_kb_ternary(kb, RSR_KOP_TABLE2, u->term, code, u->tables[0], u->tables[1]);
    else
        rsrc_kb_binary(kb, RSR_KOP_TABLE, u->term, code, u->tables[0]);
    if (u->lut->layout.has_sign) {
        rsrc_kb_immediate(kb, RSR_KOP_SHL, u->sign, u->signs[v], 31 - i);
        rsrc_kb_binary(kb, RSR_KOP_AND, u->sign, u->sign, u->sign_mask);
        rsrc_kb_unary(kb, RSR_KOP_BITCAST, u->sign_term, u->sign);
        rsrc_kb_binary(kb, RSR_KOP_XOR, u->term, u->term, u->sign_term);
    }
    rsrc_kb_binary(kb, RSR_KOP_ADD, u->sums[v], u->sums[v], u->term);
}

static void emit_steps(struct unit *u) {
    struct lut *lut = u->lut;
    struct rsrc_kb *kb = &lut->frame.kb;
    rsrc_kb_loop(kb, u->step, lut->first_step, lut->end_step, 1);
    load_codes(u);
    for (uint32_t i = 0; i < LUT_F32_STEP_SEGMENTS; i++) {
        for (uint32_t half = 0; half < lut->n_halves; half++) {
            struct rsrc_address at = rsrc_address_at(
                RSR_KBUF_SCRATCH, i * TABLE_BYTES + half * lut->layout.vector_rows * 4);
            at = rsrc_address_plus(at, u->table_base, 1);
            rsrc_kb_load(kb, u->tables[half], rsrc_address_plus(at, u->step, TABLE_STEP_BYTES));
        }
        for (uint32_t v = 0; v < u->n_vectors; v++)
            add_segment(u, v, i);
    }
    rsrc_kb_end(kb);
}

/* Where sums of a vector of rows wait between column blocks. */
static struct rsrc_address partial_address(const struct unit *u, uint32_t v) {
    const struct lut *lut = u->lut;
    const int64_t vector_bytes = (int64_t)lut->layout.vector_rows * (int64_t)sizeof(float);
    struct rsrc_address at = rsrc_address_at(RSR_KBUF_SCRATCH, lut->partials_at + v * vector_bytes);
    at = rsrc_address_plus(at, u->slot, lut->token_partials_bytes);
    return rsrc_address_plus(at, u->number, lut->layout.unit_vectors * vector_bytes);
}

static void clear_sums(struct unit *u) {
    for (uint32_t v = 0; v < u->n_vectors; v++)
        rsrc_kb_const_f32(&u->lut->frame.kb, u->sums[v], 0.0f);
}

static void begin_sums(struct unit *u) {
    struct rsrc_kb *kb = &u->lut->frame.kb;
    clear_sums(u);
    if (u->lut->n_blocks == 1)
        return;
    rsrc_kb_if_less(kb, u->lut->frame.zero, u->lut->first_step);
    for (uint32_t v = 0; v < u->n_vectors; v++)
        rsrc_kb_load(kb, u->sums[v], partial_address(u, v));
    rsrc_kb_end(kb);
}

/* ---- results --------------------------------------------------------------------------------- */

static void store_rows(struct unit *u, uint16_t sums, uint32_t lanes, uint32_t row) {
    struct rsrc_frame *frame = &u->lut->frame;
    rsrc_frame_store(frame, rsrc_frame_result(frame, sums, lanes, &u->token, u->number, row),
                     &u->token, u->number, row);
}

/* A vector of rows; what the matrix lacks of the last is not stored. */
static void store_vector(struct unit *u, uint32_t v) {
    const uint32_t lanes = u->lut->layout.vector_rows, row = v * lanes;
    const uint32_t n_left = row < u->n_rows ? u->n_rows - row : 0;
    if (n_left >= lanes) {
        store_rows(u, u->sums[v], lanes, row);
        return;
    }
    for (uint32_t i = 0; i < n_left; i++) {
        struct rsrc_kb *kb = &u->lut->frame.kb;
        const uint16_t one = rsrc_kb_reg(kb, RSR_ELEM_F32, 1, "row%u%s", row + i, u->suffix);
        rsrc_kb_immediate(kb, RSR_KOP_EXTRACT, one, u->sums[v], i);
        store_rows(u, one, 1, row + i);
    }
}

static void end_sums(struct unit *u) {
    struct rsrc_kb *kb = &u->lut->frame.kb;
    if (u->lut->n_blocks > 1) {
        rsrc_kb_if_less(kb, u->lut->end_step, u->lut->n_steps);
        for (uint32_t v = 0; v < u->n_vectors; v++)
            rsrc_kb_store(kb, u->sums[v], partial_address(u, v));
        rsrc_kb_else(kb);
    }
    for (uint32_t v = 0; v < u->n_vectors; v++)
        store_vector(u, v);
    if (u->lut->n_blocks > 1)
        rsrc_kb_end(kb);
}

/* ---- the kernel ------------------------------------------------------------------------------ */

/* Unit `number`, of n_rows rows, for the tokens of the group. */
static void emit_unit(struct lut *lut, uint16_t number, uint32_t n_rows, const char *suffix) {
    struct rsrc_kb *kb = &lut->frame.kb;
    struct unit u = {.lut = lut, .n_rows = n_rows, .suffix = suffix, .number = number};
    u.n_vectors = (n_rows - 1) / lut->layout.vector_rows + 1;
    assert(u.n_vectors <= MAX_VECTORS);
    make_registers(&u);
    const uint16_t token = rsrc_kb_index_reg(kb, "token%s", suffix);
    u.step = rsrc_kb_index_reg(kb, "step%s", suffix);
    rsrc_kb_loop(kb, token, lut->first_token, lut->end_token, 1);
    u.token = rsrc_frame_token(&lut->frame, token, suffix);
    u.table_base = emit_table_base(lut, token, suffix, &u.slot);
    begin_sums(&u);
    emit_steps(&u);
    end_sums(&u);
    rsrc_kb_end(kb);
}

/* The worker's whole units in a loop; the matrix's last unit, where it is short, by itself. */
static void emit_units(struct lut *lut, uint32_t rows) {
    struct rsrc_frame *frame = &lut->frame;
    struct rsrc_kb *kb = &frame->kb;
    const uint32_t n_full = rows / frame->unit_rows, n_last = rows % frame->unit_rows;
    const uint16_t full_units = rsrc_kb_index_const(kb, n_full, "full_units");
    if (n_full != 0) {
        const uint16_t unit = rsrc_kb_index_reg(kb, "unit");
        const uint16_t end =
            rsrc_kb_index_op(kb, RSR_KOP_MIN, frame->unit_end, full_units, "full_end");
        rsrc_kb_loop(kb, unit, frame->unit_begin, end, 1);
        emit_unit(lut, unit, frame->unit_rows, "");
        rsrc_kb_end(kb);
    }
    if (n_last != 0) {
        rsrc_kb_comment(kb, "the last unit has %u rows (names end in _last)", n_last);
        rsrc_kb_if_less(kb, full_units, frame->unit_end);
        rsrc_kb_if_less(kb, frame->unit_begin, frame->unit_end);
        emit_unit(lut, full_units, n_last, "_last");
        rsrc_kb_end(kb);
        rsrc_kb_end(kb);
    }
}

/* Sets the steps at work; true: in a loop over column blocks, which is left open. */
static bool begin_blocks(struct lut *lut) {
    struct rsrc_kb *kb = &lut->frame.kb;
    lut->first_step = lut->frame.zero;
    lut->end_step = lut->n_steps;
    if (lut->n_blocks == 1)
        return false;
    const uint16_t size = rsrc_kb_index_const(kb, lut->block_steps, "block_steps");
    lut->first_step = rsrc_kb_index_reg(kb, "first_step");
    lut->end_step = rsrc_kb_index_reg(kb, "end_step");
    rsrc_kb_loop(kb, lut->first_step, lut->frame.zero, lut->n_steps, lut->block_steps);
    rsrc_kb_binary(kb, RSR_KOP_ADD, lut->end_step, lut->first_step, size);
    rsrc_kb_binary(kb, RSR_KOP_MIN, lut->end_step, lut->end_step, lut->n_steps);
    return true;
}

static void emit_kernel(struct lut *lut, uint32_t rows) {
    struct rsrc_kb *kb = &lut->frame.kb;
    const uint16_t group = rsrc_kb_index_const(kb, LUT_TOKENS, "group_tokens");
    lut->table_stride = rsrc_kb_index_const(kb, (uint64_t)lut->token_table_bytes, "table_stride");
    lut->step_bytes = rsrc_kb_index_const(kb, TABLE_STEP_BYTES, "table_step_bytes");
    lut->n_steps = rsrc_kb_index_const(kb, lut->layout.n_steps, "n_steps");
    lut->first_token = rsrc_kb_index_reg(kb, "first_token");
    lut->end_token = rsrc_kb_index_reg(kb, "end_token");
    rsrc_kb_comment(kb, "vectors of %u rows, %u a unit; %u columns a segment, %u segments a step",
                    lut->layout.vector_rows, lut->layout.unit_vectors, lut->layout.group_cols,
                    LUT_F32_STEP_SEGMENTS);
    rsrc_kb_loop(kb, lut->first_token, lut->frame.zero, lut->frame.n_tokens, LUT_TOKENS);
    rsrc_kb_binary(kb, RSR_KOP_ADD, lut->end_token, lut->first_token, group);
    rsrc_kb_binary(kb, RSR_KOP_MIN, lut->end_token, lut->end_token, lut->frame.n_tokens);
    const bool blocked = begin_blocks(lut);
    emit_tables(lut);
    emit_units(lut, rows);
    if (blocked)
        rsrc_kb_end(kb);
    rsrc_kb_end(kb);
}

/* Blocks of columns whose tables take an eighth of L2 a token: half of it for LUT_TOKENS tokens. */
static void plan_scratch(struct lut *lut, uint64_t l2_bytes) {
    const struct rsrc_lut_f32_layout *layout = &lut->layout;
    const uint64_t fitting = l2_bytes / 8 / TABLE_STEP_BYTES;
    lut->block_steps = fitting == 0                ? 1
                       : fitting < layout->n_steps ? (uint32_t)fitting
                                                   : layout->n_steps;
    lut->n_blocks = (layout->n_steps - 1) / lut->block_steps + 1;
    lut->token_table_bytes = (int64_t)lut->block_steps * TABLE_STEP_BYTES;
    lut->partials_at = LUT_TOKENS * lut->token_table_bytes;
    if (lut->n_blocks > 1)
        lut->token_partials_bytes =
            (int64_t)layout->n_vectors * layout->vector_rows * (int64_t)sizeof(float);
    lut->frame.kb.kernel->scratch_bytes =
        (uint64_t)(lut->partials_at + LUT_TOKENS * lut->token_partials_bytes);
}

static void pack(const struct rsrc_lut_f32_layout *layout, struct rsrc_arena *arena,
                 const struct rsr_matrix *matrix, struct rsr_lowered *out) {
    out->codes.size_bytes = rsrc_lut_f32_codes_bytes(layout);
    out->index.size_bytes = (uint64_t)layout->group_cols * TABLE_BYTES;
    uint8_t *codes = rsrc_arena_alloc(arena, out->codes.size_bytes);
    float *digits = RSRC_NEW_ARRAY(arena, (size_t)layout->group_cols * LUT_F32_CODES, float);
    rsrc_pack_lut_f32(arena, matrix, layout, codes);
    rsrc_pack_lut_f32_digits(layout, digits);
    out->codes.bytes = codes;
    out->index.bytes = digits;
}

enum rsrc_status rsrc_lower_lut_f32(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                    const struct rsrc_lower_input *input, struct rsr_lowered *out,
                                    const char **detail) {
    const struct rsr_matrix *matrix = input->matrix;
    struct lut lut = {.cols = matrix->cols};
    if (!rsrc_make_lut_f32_layout(input->spec, matrix, &lut.layout)) {
        const struct rsrc_place place = {.tensor = input->title};
        rsrc_error(diag, "lower-lut", &place,
                   "choose another variant with --variant, or a target with one of them",
                   "lut looks floats up with AVX2 or AVX-512; target '%s' has neither",
                   input->spec->name);
        return RSRC_FAILED;
    }
    const struct rsrc_lut_f32_layout *layout = &lut.layout;
    lut.n_halves = LUT_F32_CODES / layout->vector_rows;
    pack(layout, arena, matrix, out);
    rsrc_frame_begin(&lut.frame, arena, input, layout->unit_vectors * layout->vector_rows,
                     &out->kernel);
    plan_scratch(&lut, input->spec->l2_bytes);
    emit_kernel(&lut, matrix->rows);
    rsrc_frame_end(&lut.frame, out);
    *detail = rsrc_arena_printf(arena, "table16x%u-u%u-b%u", layout->vector_rows,
                                layout->unit_vectors, lut.block_steps);
    return RSRC_OK;
}
