/* lower_lut_f32.c - `lut` for float activations: rows select sums of a few columns instead of
 * multiplying.
 *
 * The 16 sums of a segment are one vector of floats, or two of half the width; a row's code selects
 * its sum (TABLE, TABLE2: only the low bits of an index count) and its sign is XORed into bit 31.
 * Rows are lanes. lut_f32.h has the layout, lower_lut.c the same for int8.
 *
 * The one order of additions, whatever the vectors, tiles, units and batches:
 *   table  ((d0 x0 + d1 x1) + d2 x2) + d3 x3, digits d in -1..1
 *   row    its segments' entries in ascending order, from +0 on
 * Every addition joins sums of disjoint columns, so that the error is at most n u sum |w x|.
 *
 * Activations are finite: the header of a library of matrices asks for it (emit/c/matrices_c.c). A
 * digit of 0 times an infinity or a NaN is a NaN, so one of those spoils also rows whose weight for
 * it is 0, which a fold leaves alone.
 *
 * lut_walk.h has the loops over tokens, column blocks and units of rows.
 */
#include "base/round.h"
#include "lower/lut_f32.h"
#include "lower/lut_walk.h"

#include <assert.h>

#define MAX_VECTORS 4u
#define MAX_GROUP_COLS 4u
#define MAX_HALVES 2u
#define TABLE_BYTES (LUT_F32_CODES * (uint32_t)sizeof(float))
#define TABLE_STEP_BYTES (LUT_F32_STEP_SEGMENTS * TABLE_BYTES)
#define SIGN_BIT INT64_C(0x80000000)

struct lut {
    struct rsrc_lut_walk walk;
    struct rsrc_lut_f32_layout layout;
    uint32_t cols;
    uint32_t n_halves; /* vectors of a table */
};

/* A register of one 32-bit lane a row. */
static uint16_t lanes_reg(struct lut *lut, enum rsr_elem elem, const char *name, uint32_t number,
                          const char *suffix) {
    return rsrc_kb_reg(&lut->walk.frame.kb, elem, lut->layout.vector_rows, "%s%u%s", name, number,
                       suffix);
}

/* ---- tables ---------------------------------------------------------------------------------- */

struct tables {
    uint16_t digits[MAX_GROUP_COLS][MAX_HALVES];
    uint16_t sums[MAX_HALVES], product, spread, x;
    uint16_t base;
    struct rsrc_frame_token token;
};

static void load_digits(struct lut *lut, struct tables *t) {
    struct rsrc_kb *kb = &lut->walk.frame.kb;
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
        rsrc_kb_store(&lut->walk.frame.kb, t->sums[half],
                      rsrc_address_plus(at, segment, TABLE_BYTES));
    }
}

/* The table of a segment of n_cols columns. */
static void emit_table(struct lut *lut, const struct tables *t, uint16_t segment, uint32_t n_cols) {
    struct rsrc_kb *kb = &lut->walk.frame.kb;
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

/* What ends the last step: segments of no columns, and the last one's few. No read goes behind
 * x. */
static void emit_last_tables(struct lut *lut, const struct tables *t, uint16_t n_full,
                             uint16_t end_segment) {
    struct rsrc_kb *kb = &lut->walk.frame.kb;
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

static void emit_tables(struct rsrc_lut_walk *walk) {
    struct lut *lut = (struct lut *)walk;
    struct rsrc_kb *kb = &walk->frame.kb;
    struct tables t;
    t.product = lanes_reg(lut, RSR_ELEM_F32, "product", 0, "");
    t.spread = lanes_reg(lut, RSR_ELEM_F32, "x_spread", 0, "");
    t.x = rsrc_kb_reg(kb, RSR_ELEM_F32, 1, "x_one");
    rsrc_kb_comment(kb, "tables: the sums of %u columns for every code", lut->layout.group_cols);
    for (uint32_t half = 0; half < lut->n_halves; half++)
        t.sums[half] = lanes_reg(lut, RSR_ELEM_F32, "entries", half, "");
    load_digits(lut, &t);
    const uint16_t segments = rsrc_kb_index_const(kb, LUT_F32_STEP_SEGMENTS, "step_segments");
    const uint16_t n_full =
        rsrc_kb_index_const(kb, lut->cols / lut->layout.group_cols, "full_segments");
    const uint16_t first =
        rsrc_kb_index_op(kb, RSR_KOP_MUL, walk->first_step, segments, "first_segment");
    const uint16_t end = rsrc_kb_index_op(kb, RSR_KOP_MUL, walk->end_step, segments, "end_segment");
    const uint16_t end_full = rsrc_kb_index_op(kb, RSR_KOP_MIN, end, n_full, "end_full");
    const uint16_t token = rsrc_kb_index_reg(kb, "token_t");
    rsrc_kb_loop(kb, token, walk->first_token, walk->end_token, 1);
    t.token = rsrc_frame_token(&walk->frame, token, "_t");
    uint16_t slot;
    t.base = rsrc_lut_table_base(walk, token, "_t", &slot);
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
    struct rsrc_lut_unit base; /* sums: a run a vector */
    struct lut *lut;
    uint32_t n_vectors;
    uint16_t words[MAX_VECTORS], signs[MAX_VECTORS]; /* u32 */
    uint16_t sign_bytes, code, sign, sign_mask, term, sign_term;
    uint16_t tables[MAX_HALVES];
};

static void make_registers(struct unit *u) {
    struct lut *lut = u->lut;
    for (uint32_t v = 0; v < u->n_vectors; v++) {
        u->base.sums[v] = lanes_reg(lut, RSR_ELEM_F32, "sums", v, u->base.suffix);
        u->words[v] = lanes_reg(lut, RSR_ELEM_U32, "words", v, u->base.suffix);
        u->signs[v] = lanes_reg(lut, RSR_ELEM_U32, "signs", v, u->base.suffix);
    }
    for (uint32_t half = 0; half < lut->n_halves; half++)
        u->tables[half] = lanes_reg(lut, RSR_ELEM_F32, "table", half, u->base.suffix);
    u->sign_bytes = lanes_reg(lut, RSR_ELEM_U8, "sign_bytes", 0, u->base.suffix);
    u->code = lanes_reg(lut, RSR_ELEM_U32, "code", 0, u->base.suffix);
    u->sign = lanes_reg(lut, RSR_ELEM_U32, "sign", 0, u->base.suffix);
    u->sign_term = lanes_reg(lut, RSR_ELEM_F32, "sign_term", 0, u->base.suffix);
    u->term = lanes_reg(lut, RSR_ELEM_F32, "term", 0, u->base.suffix);
    u->sign_mask =
        rsrc_kb_const(&lut->walk.frame.kb,
                      lanes_reg(lut, RSR_ELEM_U32, "sign_mask", 0, u->base.suffix), SIGN_BIT);
}

/* Byte `at` of the unit's step. */
static struct rsrc_address step_address(const struct unit *u, int64_t at) {
    const struct rsrc_lut_f32_layout *layout = &u->lut->layout;
    const int64_t step_bytes = rsrc_lut_f32_step_bytes(layout);
    struct rsrc_address address = rsrc_address_at(RSR_KBUF_CODES, at);
    address = rsrc_address_plus(address, u->base.number,
                                (int64_t)layout->unit_vectors * layout->n_steps * step_bytes);
    return rsrc_address_plus(address, u->base.step, u->n_vectors * step_bytes);
}

static void load_codes(struct unit *u) {
    const struct rsrc_lut_f32_layout *layout = &u->lut->layout;
    struct rsrc_kb *kb = &u->base.walk->frame.kb;
    const int64_t rows = layout->vector_rows, words_bytes = u->n_vectors * rows * 4;
    const uint64_t step_bytes = (uint64_t)u->n_vectors * rsrc_lut_f32_step_bytes(layout);
    rsrc_frame_prefetch_codes(&u->base.walk->frame, step_address(u, 0), step_bytes);
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
    struct rsrc_kb *kb = &u->base.walk->frame.kb;
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
    rsrc_kb_binary(kb, RSR_KOP_ADD, u->base.sums[v], u->base.sums[v], u->term);
}

static void emit_steps(struct unit *u) {
    struct lut *lut = u->lut;
    struct rsrc_kb *kb = &lut->walk.frame.kb;
    rsrc_kb_loop(kb, u->base.step, lut->walk.first_step, lut->walk.end_step, 1);
    load_codes(u);
    for (uint32_t i = 0; i < LUT_F32_STEP_SEGMENTS; i++) {
        for (uint32_t half = 0; half < lut->n_halves; half++) {
            struct rsrc_address at = rsrc_address_at(
                RSR_KBUF_SCRATCH, i * TABLE_BYTES + half * lut->layout.vector_rows * 4);
            at = rsrc_address_plus(at, u->base.table_base, 1);
            rsrc_kb_load(kb, u->tables[half],
                         rsrc_address_plus(at, u->base.step, TABLE_STEP_BYTES));
        }
        for (uint32_t v = 0; v < u->n_vectors; v++)
            add_segment(u, v, i);
    }
    rsrc_kb_end(kb);
}

static void store_results(struct rsrc_lut_unit *unit) {
    for (uint32_t run = 0; run < unit->n_runs; run++)
        rsrc_lut_store_run(unit, run);
}

/* ---- the kernel ------------------------------------------------------------------------------ */

static void emit_unit(struct rsrc_lut_walk *walk, uint16_t number, uint32_t n_rows,
                      const char *suffix) {
    struct lut *lut = (struct lut *)walk;
    struct unit u = {.base = {.walk = walk,
                              .n_rows = n_rows,
                              .suffix = suffix,
                              .elem = RSR_ELEM_F32,
                              .lanes = lut->layout.vector_rows,
                              .number = number},
                     .lut = lut};
    u.n_vectors = rsrc_divide_up(n_rows, lut->layout.vector_rows);
    u.base.n_runs = u.n_vectors;
    assert(u.n_vectors <= MAX_VECTORS);
    make_registers(&u);
    rsrc_lut_make_counters(&u.base);
    rsrc_lut_begin_token(&u.base);
    rsrc_lut_begin_sums(&u.base, NULL);
    emit_steps(&u);
    rsrc_lut_end_sums(&u.base, store_results);
    rsrc_kb_end(&walk->frame.kb);
}

static void emit_kernel(struct lut *lut) {
    static const struct rsrc_lut_form form = {emit_tables, emit_unit};
    const struct rsrc_lut_f32_layout *layout = &lut->layout;
    const char *comment = rsrc_arena_printf(
        lut->walk.frame.kb.arena,
        "vectors of %u rows, %u a unit; %u columns a segment, %u segments a step",
        layout->vector_rows, layout->unit_vectors, layout->group_cols, LUT_F32_STEP_SEGMENTS);
    rsrc_lut_emit_walk(&lut->walk, &form, comment);
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
    rsrc_frame_begin(&lut.walk.frame, arena, input, layout->unit_vectors * layout->vector_rows,
                     &out->kernel);
    lut.walk.n_steps = layout->n_steps;
    lut.walk.table_step_bytes = TABLE_STEP_BYTES;
    rsrc_lut_plan_scratch(&lut.walk, 1, (uint64_t)layout->n_vectors * layout->vector_rows);
    emit_kernel(&lut);
    rsrc_frame_end(&lut.walk.frame, out);
    *detail = rsrc_arena_printf(arena, "table16x%u-u%u-b%u", layout->vector_rows,
                                layout->unit_vectors, lut.walk.block_steps);
    return RSRC_OK;
}
