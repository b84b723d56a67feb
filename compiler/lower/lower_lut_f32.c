/* lower_lut_f32.c - `lut` for float activations: rows select sums of a few columns instead of
 * multiplying.
 *
 * The sums of a segment are one vector of floats, or two; a row's code selects its sum (TABLE,
 * TABLE2: only the low bits of an index count). Where a table holds magnitudes, the code's sign is
 * XORed into bit 31. Rows are lanes. lut_f32.h has the layout, lower_lut.c the same for int8.
 *
 * The one order of additions, whatever the vectors, tiles, units and batches:
 *   table  (d0 x0 + d1 x1) + d2 x2 ..., digits d in -1..1
 *   group  its segments' entries in ascending order, from +0 on
 *   row    without scales of groups: its one group. With them: what each group times its scale
 *          gives, in ascending order, from +0 on
 * Every addition joins sums of disjoint columns, and a product rounds no more often than the sums
 * of its group could, so that the error is at most n u sum |w x|.
 *
 * Activations are finite: the header of a library of matrices asks for it (emit/c/matrices_c.c). A
 * digit of 0 times an infinity or a NaN is a NaN, so one of those spoils also rows whose weight for
 * it is 0, which a fold leaves alone.
 *
 * lut_walk.h has the loops over tokens, column blocks and units of rows; its steps are those of
 * lut_f32.h, or, where groups have scales, whole groups.
 */
#include "base/round.h"
#include "lower/lut_f32.h"
#include "lower/lut_walk.h"

#include <assert.h>

#define MAX_VECTORS 8u
#define MAX_SEGMENT_COLS 4u
#define MAX_HALVES 2u
#define FMA_BYTES 64 /* vectors whose sums are multiply-added */
#define SIGN_BIT INT64_C(0x80000000)
/* From a binary16 number's bits, at their place in a binary32 one, to its value. */
#define HALF_SHIFT 13
#define HALF_FACTOR 0x1p112f

struct lut {
    struct rsrc_lut_walk walk;
    struct rsrc_lut_f32_layout layout;
    int64_t vector_bytes; /* of floats */
};

static bool has_group_scales(const struct lut *lut) {
    return lut->layout.scale_bytes != 0;
}

/* A register of one lane a row. */
static uint16_t lanes_reg(struct lut *lut, enum rsr_elem elem, const char *name, uint32_t number,
                          const char *suffix) {
    return rsrc_kb_reg(&lut->walk.frame.kb, elem, lut->layout.vector_rows, "%s%u%s", name, number,
                       suffix);
}

/* The one column of a ternary step has three sums; others need all lanes of one vector or two. */
static bool is_single(const struct lut *lut, uint32_t segment) {
    return rsrc_lut_f32_segment_cols(&lut->layout, segment, lut->layout.step_cols) == 1;
}

/* Vectors of a segment's table. */
static uint32_t n_halves(const struct lut *lut, uint32_t segment) {
    return is_single(lut, segment) ? 1 : lut->layout.table_sums / lut->layout.vector_rows;
}

/* Of a segment's table in those of its step. */
static int64_t table_at(const struct lut *lut, uint32_t segment) {
    return (int64_t)segment * lut->layout.table_sums * (int64_t)sizeof(float);
}

static int64_t step_tables_bytes(const struct lut *lut) {
    const uint32_t last = lut->layout.n_segments - 1;
    return table_at(lut, last) + n_halves(lut, last) * lut->vector_bytes;
}

/* ---- tables ---------------------------------------------------------------------------------- */

/* Steps whose tables are made: all at work, or those of one group. */
struct span {
    uint16_t group;      /* its number; RSR_NO_KREG: there is only one group */
    uint16_t first, end; /* steps of the group */
    uint32_t n_cols;     /* of the group */
    const char *suffix;
};

struct tables {
    uint16_t digits[MAX_SEGMENT_COLS][MAX_HALVES], single_digits;
    uint16_t sums[MAX_HALVES], product, spread, x;
    uint16_t base;
    struct rsrc_frame_token token;
};

static void load_digits(struct lut *lut, struct tables *t) {
    const struct rsrc_lut_f32_layout *layout = &lut->layout;
    struct rsrc_kb *kb = &lut->walk.frame.kb;
    const uint32_t halves = n_halves(lut, 0);
    for (uint32_t i = 0; i < layout->segment_cols; i++)
        for (uint32_t half = 0; half < halves; half++)
            t->digits[i][half] = rsrc_kb_load(
                kb, lanes_reg(lut, RSR_ELEM_F32, "digit", i, half == 0 ? "" : "_high"),
                rsrc_address_at(RSR_KBUF_INDEX, (i * halves + half) * lut->vector_bytes));
    if (is_single(lut, layout->n_segments - 1))
        t->single_digits = rsrc_kb_load(
            kb, lanes_reg(lut, RSR_ELEM_F32, "single_digits", 0, ""),
            rsrc_address_at(RSR_KBUF_INDEX, layout->segment_cols * halves * lut->vector_bytes));
}

/* Column `col` of a step. */
static struct rsrc_address column_address(const struct lut *lut, const struct tables *t,
                                          const struct span *span, uint16_t step, uint32_t col) {
    struct rsrc_address at = rsrc_frame_activations(&t->token);
    if (span->group != RSR_NO_KREG)
        at = rsrc_address_plus(at, span->group, lut->layout.group_cols * (int64_t)sizeof(float));
    at = rsrc_address_plus(at, step, lut->layout.step_cols * (int64_t)sizeof(float));
    return rsrc_address_offset(at, col * (int64_t)sizeof(float));
}

/* sums = those of the n_cols columns that a segment has; none: 0 */
static void emit_sums(struct lut *lut, const struct tables *t, const struct span *span,
                      uint16_t step, uint32_t segment, uint32_t n_cols) {
    struct rsrc_kb *kb = &lut->walk.frame.kb;
    for (uint32_t half = 0; n_cols == 0 && half < n_halves(lut, segment); half++)
        rsrc_kb_const_f32(kb, t->sums[half], 0.0f);
    for (uint32_t i = 0; i < n_cols; i++) {
        const uint32_t col = segment * lut->layout.segment_cols + i;
        rsrc_kb_load(kb, t->x, column_address(lut, t, span, step, col));
        rsrc_kb_unary(kb, RSR_KOP_SPLAT, t->spread, t->x);
        for (uint32_t half = 0; half < n_halves(lut, segment); half++) {
            rsrc_kb_binary(kb, RSR_KOP_MUL, i == 0 ? t->sums[half] : t->product, t->spread,
                           is_single(lut, segment) ? t->single_digits : t->digits[i][half]);
            if (i != 0)
                rsrc_kb_binary(kb, RSR_KOP_ADD, t->sums[half], t->sums[half], t->product);
        }
    }
}

/* The tables of a step of n_cols columns. */
static void emit_step_tables(struct lut *lut, const struct tables *t, const struct span *span,
                             uint16_t step, uint32_t n_cols) {
    for (uint32_t i = 0; i < lut->layout.n_segments; i++) {
        emit_sums(lut, t, span, step, i, rsrc_lut_f32_segment_cols(&lut->layout, i, n_cols));
        for (uint32_t half = 0; half < n_halves(lut, i); half++) {
            struct rsrc_address at =
                rsrc_address_at(RSR_KBUF_SCRATCH, table_at(lut, i) + half * lut->vector_bytes);
            at = rsrc_address_plus(at, t->base, 1);
            if (span->group != RSR_NO_KREG)
                at = rsrc_address_plus(at, span->group, lut->walk.table_step_bytes);
            at = rsrc_address_plus(at, step, step_tables_bytes(lut));
            rsrc_kb_store(&lut->walk.frame.kb, t->sums[half], at);
        }
    }
}

/* The last step of a group may be short. No read goes behind x. */
static void emit_span_tables(struct lut *lut, const struct tables *t, const struct span *span) {
    struct rsrc_kb *kb = &lut->walk.frame.kb;
    const uint32_t n_last = span->n_cols % lut->layout.step_cols;
    const uint16_t n_full =
        rsrc_kb_index_const(kb, span->n_cols / lut->layout.step_cols, "full_steps%s", span->suffix);
    const uint16_t end_full =
        rsrc_kb_index_op(kb, RSR_KOP_MIN, span->end, n_full, "end_full%s", span->suffix);
    const uint16_t step = rsrc_kb_index_reg(kb, "step_t%s", span->suffix);
    rsrc_kb_loop(kb, step, span->first, end_full, 1);
    emit_step_tables(lut, t, span, step, lut->layout.step_cols);
    rsrc_kb_end(kb);
    if (n_last == 0)
        return;
    rsrc_kb_if_less(kb, n_full, span->end);
    emit_step_tables(lut, t, span, n_full, n_last);
    rsrc_kb_end(kb);
}

/* Groups of the same size in a loop; the matrix's last, where it is short, by itself. */
static void emit_group_tables(struct lut *lut, const struct tables *t) {
    const struct rsrc_lut_f32_layout *layout = &lut->layout;
    const struct rsrc_lut_walk *walk = &lut->walk;
    struct rsrc_kb *kb = &lut->walk.frame.kb;
    const uint32_t n_last = layout->cols % layout->group_cols;
    const uint16_t n_whole =
        rsrc_kb_index_const(kb, layout->cols / layout->group_cols, "whole_groups");
    const uint16_t end = rsrc_kb_index_op(kb, RSR_KOP_MIN, walk->end_step, n_whole, "end_whole");
    struct span span = {.group = rsrc_kb_index_reg(kb, "group_t"),
                        .first = walk->frame.zero,
                        .end = rsrc_kb_index_const(kb, layout->group_steps, "group_steps_t"),
                        .n_cols = layout->group_cols,
                        .suffix = ""};
    rsrc_kb_loop(kb, span.group, walk->first_step, end, 1);
    emit_span_tables(lut, t, &span);
    rsrc_kb_end(kb);
    if (n_last == 0)
        return;
    span.group = n_whole;
    span.n_cols = n_last;
    span.end =
        rsrc_kb_index_const(kb, rsrc_divide_up(n_last, layout->step_cols), "group_steps_last");
    span.suffix = "_last";
    rsrc_kb_if_less(kb, n_whole, walk->end_step);
    emit_span_tables(lut, t, &span);
    rsrc_kb_end(kb);
}

static void emit_tables(struct rsrc_lut_walk *walk) {
    struct lut *lut = (struct lut *)walk;
    struct rsrc_kb *kb = &walk->frame.kb;
    struct tables t;
    t.product = lanes_reg(lut, RSR_ELEM_F32, "product", 0, "");
    t.spread = lanes_reg(lut, RSR_ELEM_F32, "x_spread", 0, "");
    t.x = rsrc_kb_reg(kb, RSR_ELEM_F32, 1, "x_one");
    rsrc_kb_comment(kb, "tables: the sums of a segment's columns for every code");
    for (uint32_t half = 0; half < n_halves(lut, 0); half++)
        t.sums[half] = lanes_reg(lut, RSR_ELEM_F32, "entries", half, "");
    load_digits(lut, &t);
    const uint16_t token = rsrc_kb_index_reg(kb, "token_t");
    rsrc_kb_loop(kb, token, walk->first_token, walk->end_token, 1);
    t.token = rsrc_frame_token(&walk->frame, token, "_t");
    uint16_t slot;
    t.base = rsrc_lut_table_base(walk, token, "_t", &slot);
    if (has_group_scales(lut)) {
        emit_group_tables(lut, &t);
    } else {
        const struct span all = {.group = RSR_NO_KREG,
                                 .first = walk->first_step,
                                 .end = walk->end_step,
                                 .n_cols = lut->layout.cols,
                                 .suffix = ""};
        emit_span_tables(lut, &t, &all);
    }
    rsrc_kb_end(kb);
}

/* ---- sums of a unit's rows ------------------------------------------------------------------- */

/* Registers of the code for units of n_vectors vectors. */
struct unit {
    struct rsrc_lut_unit base; /* sums: a run a vector */
    struct lut *lut;
    uint32_t n_vectors;
    uint16_t group;                   /* counter; RSR_NO_KREG: groups have no scales */
    const uint16_t *steps_sums;       /* what steps add to: the group's sums, or the rows' */
    uint16_t group_sums[MAX_VECTORS]; /* only where groups have scales */
    uint16_t words[MAX_VECTORS];      /* u32 */
    uint16_t code, sign, sign_mask, term, sign_term;
    uint16_t tables[MAX_HALVES];
    uint16_t ones;                                /* RSR_NO_KREG: terms are added */
    uint16_t scale, half, half_bits, half_factor; /* of groups */
};

static void make_group_registers(struct unit *u) {
    struct lut *lut = u->lut;
    struct rsrc_kb *kb = &lut->walk.frame.kb;
    const char *suffix = u->base.suffix;
    u->group = rsrc_kb_index_reg(kb, "group%s", suffix);
    u->steps_sums = u->group_sums;
    for (uint32_t v = 0; v < u->n_vectors; v++)
        u->group_sums[v] = lanes_reg(lut, RSR_ELEM_F32, "group_sums", v, suffix);
    u->scale = lanes_reg(lut, RSR_ELEM_F32, "scale", 0, suffix);
    if (lut->layout.scale_bytes == sizeof(float))
        return;
    u->half = lanes_reg(lut, RSR_ELEM_U16, "half", 0, suffix);
    u->half_bits = lanes_reg(lut, RSR_ELEM_U32, "half_bits", 0, suffix);
    u->half_factor =
        rsrc_kb_const_f32(kb, lanes_reg(lut, RSR_ELEM_F32, "half_factor", 0, suffix), HALF_FACTOR);
}

/* Sums by multiply-adders: t * 1 + s rounds as t + s does. Shifts and additions share two of a
 * Zen 4's four vector units, and multiply-adders are the other two (0.8 of the time); where they
 * share theirs with additions, nothing changes, and nothing is gained with AVX2. The ones come from
 * memory, lest a back end makes additions of it. */
static uint16_t load_ones(struct unit *u) {
    struct lut *lut = u->lut;
    if (lut->vector_bytes != FMA_BYTES)
        return RSR_NO_KREG;
    const int64_t at = rsrc_lut_f32_n_digits(&lut->layout) * (int64_t)sizeof(float);
    return rsrc_kb_load(&lut->walk.frame.kb,
                        lanes_reg(lut, RSR_ELEM_F32, "ones", 0, u->base.suffix),
                        rsrc_address_at(RSR_KBUF_INDEX, at));
}

static void make_registers(struct unit *u) {
    struct lut *lut = u->lut;
    const char *suffix = u->base.suffix;
    for (uint32_t v = 0; v < u->n_vectors; v++) {
        u->base.sums[v] = lanes_reg(lut, RSR_ELEM_F32, "sums", v, suffix);
        u->words[v] = lanes_reg(lut, RSR_ELEM_U32, "words", v, suffix);
    }
    for (uint32_t half = 0; half < n_halves(lut, 0); half++)
        u->tables[half] = lanes_reg(lut, RSR_ELEM_F32, "table", half, suffix);
    u->code = lanes_reg(lut, RSR_ELEM_U32, "code", 0, suffix);
    u->term = lanes_reg(lut, RSR_ELEM_F32, "term", 0, suffix);
    u->steps_sums = u->base.sums;
    u->ones = load_ones(u);
    rsrc_lut_make_counters(&u->base);
    u->group = RSR_NO_KREG;
    if (has_group_scales(lut))
        make_group_registers(u);
    if (!lut->layout.has_sign)
        return;
    u->sign = lanes_reg(lut, RSR_ELEM_U32, "sign", 0, suffix);
    u->sign_term = lanes_reg(lut, RSR_ELEM_F32, "sign_term", 0, suffix);
    u->sign_mask = rsrc_kb_const(&lut->walk.frame.kb,
                                 lanes_reg(lut, RSR_ELEM_U32, "sign_mask", 0, suffix), SIGN_BIT);
}

static uint32_t n_streams(const struct unit *u) {
    return rsrc_divide_up(u->n_vectors, u->lut->layout.stream_vectors);
}

/* Vectors of the unit in one of its streams. */
static uint32_t in_stream(const struct unit *u, uint32_t stream) {
    const uint32_t most = u->lut->layout.stream_vectors;
    const uint32_t left = u->n_vectors - stream * most;
    return left < most ? left : most;
}

/* Byte `at` of the unit's part of a stream: with groups, of the current one. */
static struct rsrc_address codes_address(const struct unit *u, uint32_t stream, int64_t at) {
    const struct rsrc_lut_f32_layout *layout = &u->lut->layout;
    struct rsrc_address address =
        rsrc_address_at(RSR_KBUF_CODES, (int64_t)(stream * layout->stream_bytes) + at);
    address =
        rsrc_address_plus(address, u->base.number,
                          (int64_t)(layout->stream_vectors * rsrc_lut_f32_vector_bytes(layout)));
    if (u->group != RSR_NO_KREG)
        address = rsrc_address_plus(
            address, u->group, (int64_t)(in_stream(u, stream) * rsrc_lut_f32_group_bytes(layout)));
    return address;
}

/* Fetches what lies ahead of size_bytes bytes of a stream. */
static void fetch(struct unit *u, struct rsrc_address at, uint64_t size_bytes) {
    struct rsrc_frame *frame = &u->base.walk->frame;
    rsrc_frame_prefetch_codes(frame, at, size_bytes,
                              rsrc_fetch_ahead(frame->layer->spec, n_streams(u)));
}

static void load_words(struct unit *u) {
    const struct rsrc_lut_f32_layout *layout = &u->lut->layout;
    const uint32_t step_bytes = rsrc_lut_f32_step_bytes(layout);
    for (uint32_t stream = 0; stream < n_streams(u); stream++) {
        const uint32_t n = in_stream(u, stream);
        struct rsrc_address at =
            codes_address(u, stream, (int64_t)n * layout->vector_rows * layout->scale_bytes);
        at = rsrc_address_plus(at, u->base.step, (int64_t)n * step_bytes);
        fetch(u, at, n * step_bytes);
        for (uint32_t v = 0; v < n; v++)
            rsrc_kb_load(&u->base.walk->frame.kb, u->words[stream * layout->stream_vectors + v],
                         rsrc_address_offset(at, (int64_t)v * step_bytes));
    }
}

/* sums += the entries that segment i of the step selects */
static void add_segment(struct unit *u, uint32_t v, uint32_t i) {
    const struct rsrc_lut_f32_layout *layout = &u->lut->layout;
    struct rsrc_kb *kb = &u->base.walk->frame.kb;
    uint16_t code = u->words[v];
    if (i != 0)
        code = rsrc_kb_immediate(kb, RSR_KOP_SHR, u->code, code, layout->code_bits * i);
    if (n_halves(u->lut, i) == 2)
        rsrc_kb_ternary(kb, RSR_KOP_TABLE2, u->term, code, u->tables[0], u->tables[1]);
    else
        rsrc_kb_binary(kb, RSR_KOP_TABLE, u->term, code, u->tables[0]);
    if (layout->has_sign && !is_single(u->lut, i)) {
        rsrc_kb_immediate(kb, RSR_KOP_SHL, u->sign, u->words[v], 32 - layout->code_bits * (i + 1));
        rsrc_kb_binary(kb, RSR_KOP_AND, u->sign, u->sign, u->sign_mask);
        rsrc_kb_unary(kb, RSR_KOP_BITCAST, u->sign_term, u->sign);
        rsrc_kb_binary(kb, RSR_KOP_XOR, u->term, u->term, u->sign_term);
    }
    /* A step's first term and that of its single column are added: so all units have as much to do. */
    if (u->ones != RSR_NO_KREG && i != 0 && !is_single(u->lut, i))
        rsrc_kb_ternary(kb, RSR_KOP_FMA, u->steps_sums[v], u->term, u->ones, u->steps_sums[v]);
    else
        rsrc_kb_binary(kb, RSR_KOP_ADD, u->steps_sums[v], u->steps_sums[v], u->term);
}

static void emit_steps(struct unit *u, uint16_t first, uint16_t end) {
    struct lut *lut = u->lut;
    struct rsrc_kb *kb = &lut->walk.frame.kb;
    rsrc_kb_loop(kb, u->base.step, first, end, 1);
    load_words(u);
    for (uint32_t i = 0; i < lut->layout.n_segments; i++) {
        for (uint32_t half = 0; half < n_halves(lut, i); half++) {
            struct rsrc_address at =
                rsrc_address_at(RSR_KBUF_SCRATCH, table_at(lut, i) + half * lut->vector_bytes);
            at = rsrc_address_plus(at, u->base.table_base, 1);
            if (u->group != RSR_NO_KREG)
                at = rsrc_address_plus(at, u->group, lut->walk.table_step_bytes);
            rsrc_kb_load(kb, u->tables[half],
                         rsrc_address_plus(at, u->base.step, step_tables_bytes(lut)));
        }
        for (uint32_t v = 0; v < u->n_vectors; v++)
            add_segment(u, v, i);
    }
    rsrc_kb_end(kb);
}

/* ---- scales of groups ------------------------------------------------------------------------ */

/* scale = those of the group, of vector v */
static void load_scales(struct unit *u, uint32_t v) {
    const struct rsrc_lut_f32_layout *layout = &u->lut->layout;
    struct rsrc_kb *kb = &u->base.walk->frame.kb;
    const struct rsrc_address at = codes_address(u, v / layout->stream_vectors,
                                                 (int64_t)(v % layout->stream_vectors) *
                                                     layout->vector_rows * layout->scale_bytes);
    if (layout->scale_bytes == sizeof(float)) {
        rsrc_kb_load(kb, u->scale, at);
        return;
    }
    rsrc_kb_load(kb, u->half, at);
    rsrc_kb_unary(kb, RSR_KOP_CONVERT, u->half_bits, u->half);
    rsrc_kb_immediate(kb, RSR_KOP_SHL, u->half_bits, u->half_bits, HALF_SHIFT);
    rsrc_kb_unary(kb, RSR_KOP_BITCAST, u->scale, u->half_bits);
    rsrc_kb_binary(kb, RSR_KOP_MUL, u->scale, u->scale, u->half_factor);
}

/* The groups at work: their sums, and those times their scales to the rows'. */
static void emit_groups(struct unit *u) {
    const struct rsrc_lut_f32_layout *layout = &u->lut->layout;
    const struct rsrc_lut_walk *walk = u->base.walk;
    struct rsrc_kb *kb = &u->base.walk->frame.kb;
    const char *suffix = u->base.suffix;
    const uint16_t group_steps = rsrc_kb_index_const(kb, layout->group_steps, "steps%s", suffix);
    const uint16_t n_steps = rsrc_kb_index_const(kb, layout->n_steps, "all_steps%s", suffix);
    rsrc_kb_loop(kb, u->group, walk->first_step, walk->end_step, 1);
    for (uint32_t stream = 0; stream < n_streams(u); stream++)
        fetch(u, codes_address(u, stream, 0),
              (uint64_t)in_stream(u, stream) * layout->vector_rows * layout->scale_bytes);
    for (uint32_t v = 0; v < u->n_vectors; v++)
        rsrc_kb_const_f32(kb, u->group_sums[v], 0.0f);
    const uint16_t before =
        rsrc_kb_index_op(kb, RSR_KOP_MUL, u->group, group_steps, "steps_before%s", suffix);
    const uint16_t left =
        rsrc_kb_index_op(kb, RSR_KOP_SUB, n_steps, before, "steps_left%s", suffix);
    emit_steps(u, walk->frame.zero,
               rsrc_kb_index_op(kb, RSR_KOP_MIN, left, group_steps, "group_end%s", suffix));
    for (uint32_t v = 0; v < u->n_vectors; v++) {
        load_scales(u, v);
        rsrc_kb_binary(kb, RSR_KOP_MUL, u->group_sums[v], u->group_sums[v], u->scale);
        rsrc_kb_binary(kb, RSR_KOP_ADD, u->base.sums[v], u->base.sums[v], u->group_sums[v]);
    }
    rsrc_kb_end(kb);
}

/* ---- the kernel ------------------------------------------------------------------------------ */

static void store_results(struct rsrc_lut_unit *unit) {
    for (uint32_t run = 0; run < unit->n_runs; run++)
        rsrc_lut_store_run(unit, run);
}

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
    rsrc_lut_begin_token(&u.base);
    rsrc_lut_begin_sums(&u.base, NULL);
    if (has_group_scales(lut))
        emit_groups(&u);
    else
        emit_steps(&u, walk->first_step, walk->end_step);
    rsrc_lut_end_sums(&u.base, store_results);
    rsrc_kb_end(&walk->frame.kb);
}

static void emit_kernel(struct lut *lut) {
    static const struct rsrc_lut_form form = {emit_tables, emit_unit};
    const struct rsrc_lut_f32_layout *layout = &lut->layout;
    struct rsrc_arena *arena = lut->walk.frame.kb.arena;
    const char *groups = !has_group_scales(lut)
                             ? ""
                             : rsrc_arena_printf(arena, "; a scale of %u bits every %u columns",
                                                 8 * layout->scale_bytes, layout->group_cols);
    rsrc_lut_emit_walk(&lut->walk, &form,
                       rsrc_arena_printf(arena,
                                         "vectors of %u rows, %u a unit; %u columns a step, in %u "
                                         "segments%s",
                                         layout->vector_rows, layout->unit_vectors,
                                         layout->step_cols, layout->n_segments, groups),
                       rsrc_arena_printf(arena, "floats: %u rows, %u columns in %u, groups of %u",
                                         layout->vector_rows, lut->walk.frame.kb.kernel->cols,
                                         layout->step_cols, layout->group_cols));
}

static void pack(const struct rsrc_lut_f32_layout *layout, struct rsrc_arena *arena,
                 const struct rsr_matrix *matrix, struct rsr_lowered *out) {
    out->codes.size_bytes = rsrc_lut_f32_codes_bytes(layout);
    out->index.size_bytes = rsrc_lut_f32_index_bytes(layout);
    uint8_t *codes = rsrc_arena_alloc(arena, out->codes.size_bytes);
    float *index = rsrc_arena_alloc(arena, out->index.size_bytes);
    rsrc_pack_lut_f32(matrix, layout, codes);
    rsrc_pack_lut_f32_index(layout, index);
    out->codes.bytes = codes;
    out->index.bytes = index;
}

static void plan_scratch(struct lut *lut) {
    const struct rsrc_lut_f32_layout *layout = &lut->layout;
    const bool groups = has_group_scales(lut);
    lut->walk.n_steps = groups ? layout->n_groups : layout->n_steps;
    lut->walk.table_step_bytes =
        (uint32_t)step_tables_bytes(lut) * (groups ? layout->group_steps : 1);
    rsrc_lut_plan_scratch(&lut->walk, 1, (uint64_t)layout->n_vectors * layout->vector_rows);
}

enum rsrc_status rsrc_lower_lut_f32(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                    const struct rsrc_lower_input *input, struct rsr_lowered *out,
                                    const char **detail) {
    struct lut lut = {.vector_bytes = 0};
    const struct rsrc_lut_f32_shape shape = {.alphabet = input->matrix->alphabet,
                                             .rows = input->matrix->rows,
                                             .cols = input->matrix->cols,
                                             .group_cols = input->matrix->group_cols,
                                             .scale_bytes = rsrc_group_scale_bytes(input->matrix)};
    if (!rsrc_make_lut_f32_layout(input->spec, &shape, &lut.layout)) {
        const struct rsrc_place place = {.tensor = input->title};
        rsrc_error(diag, "lower-lut", &place,
                   "choose another variant with --variant, or a target with one of them",
                   "lut looks floats up with AVX2 or AVX-512; target '%s' has neither",
                   input->spec->name);
        return RSRC_FAILED;
    }
    const struct rsrc_lut_f32_layout *layout = &lut.layout;
    lut.vector_bytes = layout->vector_rows * (int64_t)sizeof(float);
    pack(layout, arena, input->matrix, out);
    rsrc_frame_begin(&lut.walk.frame, arena, input, layout->unit_vectors * layout->vector_rows,
                     &out->kernel);
    rsrc_frame_streams(&lut.walk.frame, layout->unit_vectors > 1 ? 2 : 1, layout->stream_bytes,
                       layout->stream_vectors * rsrc_lut_f32_vector_bytes(layout));
    plan_scratch(&lut);
    emit_kernel(&lut);
    rsrc_frame_end(&lut.walk.frame, out);
    *detail =
        rsrc_arena_printf(arena, "table%ux%u-u%u-b%u-s%u", layout->table_sums, layout->vector_rows,
                          layout->unit_vectors, lut.walk.block_steps, 8 * layout->scale_bytes);
    return RSRC_OK;
}
