/* lut_f32_tables.c - the tables of `lut` for float activations: the sums of a segment's columns for
 * every code. lower_lut_f32.c says in which order they are added.
 */
#include "kernels/lut_f32/lut_f32.h"

#include "base/round.h"

#define MAX_SEGMENT_COLS 4u
#define MAX_PARTS 4u

/* Steps whose tables are made: all current steps, or those of one group. */
struct span {
    uint16_t group;      /* its number; RSR_NO_KREG: there is only one group */
    uint16_t first, end; /* steps of the group */
    uint32_t n_cols;     /* of the group */
    const char *suffix;
};

struct tables {
    uint16_t digits[MAX_SEGMENT_COLS][MAX_PARTS], single_digits;
    uint16_t sums[MAX_PARTS], product, spread, x;
    uint16_t base;
    struct rsrc_frame_token token;
    /* planes: u8, u32 */
    uint16_t places, bytes, words[LUT_F32_PLANES], zipped[2], plane;
};

/* A register of a table's sums. */
static uint16_t sums_reg(struct rsrc_lut_f32 *lut, const char *name, uint32_t number) {
    return rsrc_kb_reg(&lut->walk.frame.kb, RSR_ELEM_F32, rsrc_lut_f32_part_lanes(lut), "%s%u",
                       name, number);
}

static void make_plane_registers(struct rsrc_lut_f32 *lut, struct tables *t) {
    struct rsrc_kb *kb = &lut->walk.frame.kb;
    const int64_t behind_digits = rsrc_lut_f32_n_digits(&lut->layout) * (int64_t)sizeof(float);
    t->places = rsrc_kb_load(kb, rsrc_kb_reg(kb, RSR_ELEM_U8, LUT_F32_PLANE_BYTES, "places"),
                             rsrc_address_at(RSR_KBUF_INDEX, behind_digits));
    t->bytes = rsrc_kb_reg(kb, RSR_ELEM_U8, LUT_F32_PLANE_BYTES, "entry_bytes");
    t->plane = rsrc_kb_reg(kb, RSR_ELEM_U32, rsrc_lut_f32_part_lanes(lut), "plane_t");
    for (uint32_t i = 0; i < LUT_F32_PLANES; i++)
        t->words[i] =
            rsrc_kb_reg(kb, RSR_ELEM_U32, rsrc_lut_f32_part_lanes(lut), "entry_words%u", i);
    for (uint32_t i = 0; i < 2; i++)
        t->zipped[i] = rsrc_kb_reg(kb, RSR_ELEM_U32, rsrc_lut_f32_part_lanes(lut), "zipped%u", i);
}

static void load_digits(struct rsrc_lut_f32 *lut, struct tables *t) {
    const struct rsrc_lut_f32_layout *layout = &lut->layout;
    struct rsrc_kb *kb = &lut->walk.frame.kb;
    const uint32_t parts = rsrc_lut_f32_n_parts(lut, 0);
    for (uint32_t i = 0; i < layout->segment_cols; i++)
        for (uint32_t part = 0; part < parts; part++)
            t->digits[i][part] = rsrc_kb_load(
                kb, sums_reg(lut, "digits", i * parts + part),
                rsrc_address_at(RSR_KBUF_INDEX, (i * parts + part) * rsrc_lut_f32_part_bytes(lut)));
    if (rsrc_lut_f32_is_single(lut, layout->n_segments - 1))
        t->single_digits =
            rsrc_kb_load(kb, sums_reg(lut, "single_digits", 0),
                         rsrc_address_at(RSR_KBUF_INDEX, layout->segment_cols * parts *
                                                             rsrc_lut_f32_part_bytes(lut)));
}

/* Column `col` of a step. */
static struct rsrc_address column_address(const struct rsrc_lut_f32 *lut, const struct tables *t,
                                          const struct span *span, uint16_t step, uint32_t col) {
    struct rsrc_address at = rsrc_frame_activations(&t->token);
    if (span->group != RSR_NO_KREG)
        at = rsrc_address_plus(at, span->group, lut->layout.group_cols * (int64_t)sizeof(float));
    at = rsrc_address_plus(at, step, lut->layout.step_cols * (int64_t)sizeof(float));
    return rsrc_address_offset(at, col * (int64_t)sizeof(float));
}

/* sums = the sums of a segment's n_cols columns; 0 if it has none */
static void emit_sums(struct rsrc_lut_f32 *lut, const struct tables *t, const struct span *span,
                      uint16_t step, uint32_t segment, uint32_t n_cols) {
    struct rsrc_kb *kb = &lut->walk.frame.kb;
    for (uint32_t part = 0; n_cols == 0 && part < rsrc_lut_f32_n_parts(lut, segment); part++)
        rsrc_kb_const_f32(kb, t->sums[part], 0.0f);
    for (uint32_t i = 0; i < n_cols; i++) {
        const uint32_t col = segment * lut->layout.segment_cols + i;
        rsrc_kb_load(kb, t->x, column_address(lut, t, span, step, col));
        rsrc_kb_unary(kb, RSR_KOP_SPLAT, t->spread, t->x);
        for (uint32_t part = 0; part < rsrc_lut_f32_n_parts(lut, segment); part++) {
            rsrc_kb_binary(kb, RSR_KOP_MUL, i == 0 ? t->sums[part] : t->product, t->spread,
                           rsrc_lut_f32_is_single(lut, segment) ? t->single_digits
                                                                : t->digits[i][part]);
            if (i != 0)
                rsrc_kb_binary(kb, RSR_KOP_ADD, t->sums[part], t->sums[part], t->product);
        }
    }
}

static void store_sums(struct rsrc_lut_f32 *lut, const struct tables *t, struct rsrc_address to,
                       uint32_t n_parts) {
    for (uint32_t part = 0; part < n_parts; part++)
        rsrc_kb_store(&lut->walk.frame.kb, t->sums[part],
                      rsrc_address_offset(to, part * rsrc_lut_f32_part_bytes(lut)));
}

/* Turns four vectors of four sums into planes of bytes: within a vector, bytes of one plane are
 * brought together; then the words of the four vectors are transposed. */
static void store_planes(struct rsrc_lut_f32 *lut, const struct tables *t, struct rsrc_address to) {
    struct rsrc_kb *kb = &lut->walk.frame.kb;
    rsrc_kb_comment(kb,
                    "first bytes of all sums together, then second ones: look-ups select bytes");
    for (uint32_t i = 0; i < LUT_F32_PLANES; i++) {
        rsrc_kb_unary(kb, RSR_KOP_BITCAST, t->bytes, t->sums[i]);
        rsrc_kb_binary(kb, RSR_KOP_SHUFFLE16, t->bytes, t->places, t->bytes);
        rsrc_kb_unary(kb, RSR_KOP_BITCAST, t->words[i], t->bytes);
    }
    for (uint32_t i = 0; i < LUT_F32_PLANES; i++) {
        const enum rsr_kop_kind outer = i < 2 ? RSR_KOP_ZIP_LOW : RSR_KOP_ZIP_HIGH;
        if (i % 2 == 0) {
            rsrc_kb_binary(kb, outer, t->zipped[0], t->words[0], t->words[2]);
            rsrc_kb_binary(kb, outer, t->zipped[1], t->words[1], t->words[3]);
        }
        rsrc_kb_binary(kb, i % 2 == 0 ? RSR_KOP_ZIP_LOW : RSR_KOP_ZIP_HIGH, t->plane, t->zipped[0],
                       t->zipped[1]);
        rsrc_kb_store(kb, t->plane, rsrc_address_offset(to, (int64_t)i * LUT_F32_PLANE_BYTES));
    }
}

/* The tables of a step of n_cols columns. */
static void emit_step_tables(struct rsrc_lut_f32 *lut, const struct tables *t,
                             const struct span *span, uint16_t step, uint32_t n_cols) {
    for (uint32_t i = 0; i < lut->layout.n_segments; i++) {
        emit_sums(lut, t, span, step, i, rsrc_lut_f32_segment_cols(&lut->layout, i, n_cols));
        struct rsrc_address at = rsrc_address_at(RSR_KBUF_SCRATCH, rsrc_lut_f32_table_at(lut, i));
        at = rsrc_address_plus(at, t->base, 1);
        if (span->group != RSR_NO_KREG)
            at = rsrc_address_plus(at, span->group, lut->walk.table_step_bytes);
        at = rsrc_address_plus(at, step, rsrc_lut_f32_step_tables_bytes(lut));
        if (lut->layout.planes)
            store_planes(lut, t, at);
        else
            store_sums(lut, t, at, rsrc_lut_f32_n_parts(lut, i));
    }
}

/* The last step of a group may be short. No load reads beyond x. */
static void emit_span_tables(struct rsrc_lut_f32 *lut, const struct tables *t,
                             const struct span *span) {
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

/* Groups of equal size are in a loop; the matrix's last group, if it is short, is separate code. */
static void emit_group_tables(struct rsrc_lut_f32 *lut, const struct tables *t) {
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

void rsrc_lut_f32_emit_tables(struct rsrc_lut_walk *walk) {
    struct rsrc_lut_f32 *lut = (struct rsrc_lut_f32 *)walk;
    struct rsrc_kb *kb = &walk->frame.kb;
    struct tables t;
    t.product = sums_reg(lut, "product", 0);
    t.spread = sums_reg(lut, "x_spread", 0);
    t.x = rsrc_kb_reg(kb, RSR_ELEM_F32, 1, "x_one");
    rsrc_kb_comment(
        kb, "tables: the sums of a segment's columns for every code, columns in their order; "
            "a row then adds one sum a segment");
    for (uint32_t part = 0; part < rsrc_lut_f32_n_parts(lut, 0); part++)
        t.sums[part] = sums_reg(lut, "entries", part);
    load_digits(lut, &t);
    if (lut->layout.planes)
        make_plane_registers(lut, &t);
    const uint16_t token = rsrc_kb_index_reg(kb, "token_t");
    rsrc_kb_loop(kb, token, walk->first_token, walk->end_token, 1);
    t.token = rsrc_frame_token(&walk->frame, token, "_t");
    uint16_t slot;
    t.base = rsrc_lut_table_base(walk, token, "_t", &slot);
    if (rsrc_lut_f32_has_scales(lut)) {
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
