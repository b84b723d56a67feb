/* table_sums.c - the sums of segments, and the rows that add them; see table.h.
 *
 * 16-bit sums: |sum of a segment| <= 4 * 128, and a row adds those of a chunk of at most 255
 * columns, 255 * 128 = 32640 < 2^15, also where an activation is -128 and its weight -1.
 */
#include "kernels/table/table.h"

#include <assert.h>

#define QUAD 4u
#define MAX_SUMS 9u /* sums of a part of a segment: of two ternary columns, or three binary ones */

/* ---- sums of a segment ----------------------------------------------------------------------- */

static uint16_t vector_reg(struct rsrc_table *table, const char *name, uint32_t i) {
    return rsrc_kb_reg(&table->frame.kb, table->shape.lanes.elem, table->shape.lanes.lanes, "%s%u",
                       name, i);
}

uint16_t rsrc_table_emit_zeros(struct rsrc_table *table) {
    struct rsrc_kb *kb = &table->frame.kb;
    const uint16_t zero = vector_reg(table, "zeros", 0);
    return table->shape.lanes.elem == RSR_ELEM_F32 ? rsrc_kb_const_f32(kb, zero, 0.0f)
                                                   : rsrc_kb_const(kb, zero, 0);
}

/* Registers of the sums of some columns, by code; the first column's digit is the lowest.
 * RSR_NO_KREG: the sum is 0. */
struct sums {
    uint32_t n;
    uint16_t of[MAX_SUMS];
};

/* Registers of the current sums: all segments share them. */
struct making {
    uint16_t sum;
    uint16_t x[RSRC_TABLE_MAX_SEGMENT_COLS], opposite[RSRC_TABLE_MAX_SEGMENT_COLS];
    uint16_t parts[2 * MAX_SUMS];
    uint32_t n_parts; /* used */
};

static uint16_t add(struct rsrc_table *table, uint16_t to, uint16_t a, uint16_t b) {
    if (a == RSR_NO_KREG || b == RSR_NO_KREG)
        return a != RSR_NO_KREG ? a : b;
    return rsrc_kb_binary(&table->frame.kb, RSR_KOP_ADD, to, a, b);
}

/* The terms of column i of the segment, by digit: -x, 0 and x for ternary weights, -x and x for
 * signs, 0 and x for bits. */
static struct sums load_digits(struct rsrc_table *table, const struct making *m, uint32_t i,
                               struct rsrc_address at) {
    struct rsrc_kb *kb = &table->frame.kb;
    rsrc_kb_load(kb, m->x[i], at);
    if (table->shape.alphabet == RSR_BINARY_BIT)
        return (struct sums){2, {RSR_NO_KREG, m->x[i]}};
    rsrc_kb_binary(kb, RSR_KOP_SUB, m->opposite[i], table->zeros, m->x[i]);
    return table->shape.alphabet == RSR_TERNARY
               ? (struct sums){3, {m->opposite[i], RSR_NO_KREG, m->x[i]}}
               : (struct sums){2, {m->opposite[i], m->x[i]}};
}

static struct sums add_column(struct rsrc_table *table, struct making *m, const struct sums *low,
                              const struct sums *digits) {
    struct sums out = {.n = low->n * digits->n};
    assert(out.n <= MAX_SUMS);
    for (uint32_t i = 0; i < out.n; i++) {
        assert(m->n_parts < 2 * MAX_SUMS);
        out.of[i] = add(table, m->parts[m->n_parts], low->of[i % low->n], digits->of[i / low->n]);
        m->n_parts += out.of[i] == m->parts[m->n_parts];
    }
    return out;
}

static void store_sums(struct rsrc_table *table, const struct making *m, const struct sums *low,
                       const struct sums *high, struct rsrc_address to) {
    struct rsrc_kb *kb = &table->frame.kb;
    for (uint32_t code = 0; code < low->n * high->n; code++) {
        const uint16_t sum = add(table, m->sum, low->of[code % low->n], high->of[code / low->n]);
        rsrc_kb_store(kb, sum == RSR_NO_KREG ? table->zeros : sum,
                      rsrc_address_offset(to, code * (int64_t)table->shape.vector_bytes));
    }
}

/* Makes the sums of a segment of n columns, the first of which is at `from`. Integers are added in
 * pairs, floats column by column. */
static void make_segment(struct rsrc_table *table, struct making *m, uint32_t n,
                         struct rsrc_address from, struct rsrc_address to) {
    const uint32_t n_low = table->shape.lanes.elem == RSR_ELEM_F32 ? n - 1 : n / 2;
    struct sums parts[2] = {{.n = 1, .of = {RSR_NO_KREG}}, {.n = 1, .of = {RSR_NO_KREG}}};
    m->n_parts = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct sums *part = &parts[i >= n_low];
        const struct sums digits =
            load_digits(table, m, i,
                        rsrc_address_offset(from, (int64_t)i * table->shape.col_stride *
                                                      table->shape.vector_bytes));
        *part = add_column(table, m, part, &digits);
    }
    store_sums(table, m, &parts[0], &parts[1], to);
}

static struct making make_registers(struct rsrc_table *table) {
    struct making m = {.sum = vector_reg(table, "segment_sum", 0)};
    for (uint32_t i = 0; i < RSRC_TABLE_MAX_SEGMENT_COLS; i++) {
        m.x[i] = vector_reg(table, "x", i);
        m.opposite[i] = vector_reg(table, "opposite", i);
    }
    for (uint32_t i = 0; i < 2 * MAX_SUMS; i++)
        m.parts[i] = vector_reg(table, "part_sum", i);
    return m;
}

/* Columns of segment i of a step. */
static uint32_t segment_cols(const struct rsrc_table_shape *shape, uint32_t i) {
    const uint32_t left = shape->step_cols - i * shape->segment_cols;
    return left < shape->segment_cols ? left : shape->segment_cols;
}

void rsrc_table_make_sums(struct rsrc_table *table, uint16_t pass, uint16_t columns) {
    struct rsrc_kb *kb = &table->frame.kb;
    const struct rsrc_table_shape *shape = &table->shape;
    const uint64_t step_bytes = (uint64_t)shape->step_sums * shape->vector_bytes;
    const uint64_t columns_bytes = (uint64_t)shape->step_cols * shape->vector_bytes;
    const uint64_t step_apart = shape->col_stride == 1 ? columns_bytes : shape->vector_bytes;
    const uint16_t pass_bytes =
        rsrc_kb_index_const(kb, shape->pass_steps * columns_bytes, "pass_columns");
    const uint16_t from = rsrc_kb_index_op(kb, RSR_KOP_MUL, pass, pass_bytes, "step_columns");
    rsrc_kb_binary(kb, RSR_KOP_ADD, from, from, columns);
    const uint16_t next = rsrc_kb_index_const(kb, step_apart, "step_columns_bytes");
    const uint16_t end = rsrc_kb_index_const(kb, shape->pass_steps * step_bytes, "tables_end");
    const uint16_t to = rsrc_kb_index_reg(kb, "step_tables");
    struct making m = make_registers(table);
    rsrc_kb_comment(kb,
                    "tables: the sums of up to %u columns for every code, a token a lane, by "
                    "additions alone",
                    shape->segment_cols);
    rsrc_kb_loop(kb, to, table->frame.zero, end, (int64_t)step_bytes);
    for (uint32_t i = 0; i < shape->step_segments; i++) {
        const int64_t cols = (int64_t)i * shape->segment_cols, sums = (int64_t)i * shape->n_sums;
        make_segment(table, &m, segment_cols(shape, i),
                     rsrc_address_plus(
                         rsrc_address_at(RSR_KBUF_SCRATCH, cols * shape->vector_bytes), from, 1),
                     rsrc_address_plus(
                         rsrc_address_at(RSR_KBUF_SCRATCH, sums * shape->vector_bytes), to, 1));
    }
    rsrc_kb_binary(kb, RSR_KOP_ADD, from, from, next);
    rsrc_kb_end(kb);
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* Where the sums of segment s of a pass begin. */
static int64_t table_at(const struct rsrc_table_shape *shape, uint32_t s) {
    const uint32_t step = s / shape->step_segments, in_step = s % shape->step_segments;
    return (int64_t)(step * shape->step_sums + in_step * shape->n_sums) * shape->vector_bytes;
}

/* A pass over the rows: first values and destination of its sums. Names of registers end in
 * `name`. */
struct adding {
    struct rsrc_table *table;
    const char *name;
    bool first, last; /* position in its chunk, if the chunk has sums of its own */
    uint16_t pass;
    uint16_t sums_at, wide_at, scale_at; /* of four rows */
};

static uint16_t index_reg(const struct adding *a, const char *name) {
    return rsrc_kb_index_reg(&a->table->frame.kb, "%s_%s", name, a->name);
}

static uint16_t index_const(const struct adding *a, uint64_t value, const char *name) {
    return rsrc_kb_index_const(&a->table->frame.kb, value, "%s_%s", name, a->name);
}

static uint16_t index_op(const struct adding *a, enum rsr_kop_kind kind, uint16_t b, uint16_t c,
                         const char *name) {
    return rsrc_kb_index_op(&a->table->frame.kb, kind, b, c, "%s_%s", name, a->name);
}

static uint16_t lanes_reg(const struct adding *a, enum rsr_elem elem, uint32_t lanes,
                          const char *name, uint32_t i) {
    return rsrc_kb_reg(&a->table->frame.kb, elem, lanes, "%s%u_%s", name, i, a->name);
}

static struct rsrc_address at_byte(uint16_t at, int64_t bytes) {
    return rsrc_address_plus(rsrc_address_at(RSR_KBUF_SCRATCH, bytes), at, 1);
}

static struct rsrc_address row_address(const struct adding *a, uint32_t i) {
    return at_byte(a->sums_at, i * (int64_t)a->table->shape.vector_bytes);
}

/* Adds row i's 16-bit sums to its 32-bit sums. Even lanes are the low halves of 32 bits, odd lanes
 * the high halves: shifts widen both. */
static void widen_row(const struct adding *a, uint32_t i, uint16_t sums) {
    struct rsrc_kb *kb = &a->table->frame.kb;
    const struct rsrc_token_lanes *lanes = &a->table->shape.lanes;
    const int64_t row = i * (int64_t)rsrc_lane_sums_bytes(lanes);
    for (uint32_t odd = 0; odd < 2; odd++) {
        const uint16_t bits = lanes_reg(a, RSR_ELEM_U32, lanes->lanes / 2, "bits", 2 * i + odd);
        const uint16_t wide = lanes_reg(a, RSR_ELEM_I32, lanes->lanes / 2, "wide", 2 * i + odd);
        const struct rsrc_address at =
            at_byte(a->wide_at, row + odd * (int64_t)a->table->shape.vector_bytes);
        rsrc_kb_unary(kb, RSR_KOP_BITCAST, bits, sums);
        if (odd == 0)
            rsrc_kb_immediate(kb, RSR_KOP_SHL, bits, bits, 16);
        rsrc_kb_unary(kb, RSR_KOP_BITCAST, wide, bits);
        rsrc_kb_immediate(kb, RSR_KOP_SHR, wide, wide, 16);
        rsrc_kb_binary_memory(kb, RSR_KOP_ADD_MEM, wide, wide, at);
        rsrc_kb_store(kb, wide, at);
    }
}

/* Adds row i's sums for a group of columns, times the row's scale. */
static void scale_row(const struct adding *a, uint32_t i, uint16_t sums) {
    struct rsrc_kb *kb = &a->table->frame.kb;
    const uint32_t lanes = a->table->shape.lanes.lanes;
    const struct rsrc_address to = at_byte(a->wide_at, i * (int64_t)a->table->shape.vector_bytes);
    const uint16_t scale =
        rsrc_kb_load(kb, lanes_reg(a, RSR_ELEM_F32, 1, "scale", i),
                     at_byte(a->scale_at, a->table->scales_at + i * (int64_t)sizeof(float)));
    const uint16_t scales =
        rsrc_kb_unary(kb, RSR_KOP_SPLAT, lanes_reg(a, RSR_ELEM_F32, lanes, "scales", i), scale);
    const uint16_t all = rsrc_kb_load(kb, lanes_reg(a, RSR_ELEM_F32, lanes, "all", i), to);
    rsrc_kb_binary(kb, RSR_KOP_MUL, sums, sums, scales);
    rsrc_kb_binary(kb, RSR_KOP_ADD, all, all, sums);
    rsrc_kb_store(kb, all, to);
}

static void leave_row(const struct adding *a, uint32_t i, uint16_t sums) {
    if (!a->last)
        rsrc_kb_store(&a->table->frame.kb, sums, row_address(a, i));
    else if (a->table->shape.has_scales)
        scale_row(a, i, sums);
    else
        widen_row(a, i, sums);
}

/* Adds sums to four rows; their offsets in the pass's segments begin at byte `at`. */
static void emit_quad(const struct adding *a, uint16_t at) {
    struct rsrc_kb *kb = &a->table->frame.kb;
    const struct rsrc_table_shape *shape = &a->table->shape;
    const uint16_t four = index_reg(a, "four_offsets");
    uint16_t sums[QUAD], offsets[QUAD];
    for (uint32_t i = 0; i < QUAD; i++) {
        sums[i] = lanes_reg(a, shape->lanes.elem, shape->lanes.lanes, "sums", i);
        if (a->first)
            rsrc_kb_unary(kb, RSR_KOP_COPY, sums[i], a->table->zeros);
        else
            rsrc_kb_load(kb, sums[i], row_address(a, i));
        offsets[i] = i + 1 < QUAD ? lanes_reg(a, RSR_ELEM_I64, 1, "offset", i) : four;
    }
    for (uint32_t s = 0; s < shape->pass_steps * shape->step_segments; s++) {
        rsrc_kb_load(
            kb, four,
            at_byte(at, a->table->offsets_at + s * (int64_t)rsrc_table_offsets_bytes(shape)));
        for (uint32_t i = 0; i < QUAD; i++) {
            if (i + 1 < QUAD)
                rsrc_kb_binary(kb, RSR_KOP_AND, offsets[i], four, a->table->low_word);
            rsrc_kb_binary_memory(kb, RSR_KOP_ADD_MEM, sums[i], sums[i],
                                  at_byte(offsets[i], table_at(shape, s)));
            if (i + 1 < QUAD)
                rsrc_kb_immediate(kb, RSR_KOP_SHR, four, four, 16);
        }
    }
    for (uint32_t i = 0; i < QUAD; i++)
        leave_row(a, i, sums[i]);
}

/* Four rows more. */
static void step_rows(const struct adding *a) {
    const struct rsrc_table_shape *shape = &a->table->shape;
    const struct {
        uint16_t at;
        uint64_t bytes;
        const char *name;
    } steps[] = {{a->sums_at, shape->vector_bytes, "sums_step"},
                 {a->wide_at, rsrc_lane_sums_bytes(&shape->lanes), "wide_step"},
                 {a->scale_at, sizeof(float), "scale_step"}};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (steps[i].at != RSR_NO_KREG)
            rsrc_kb_binary(&a->table->frame.kb, RSR_KOP_ADD, steps[i].at, steps[i].at,
                           index_const(a, QUAD * steps[i].bytes, steps[i].name));
}

/* The four runs of a vector of rows. */
static void emit_runs(const struct adding *a, uint16_t vector_at) {
    struct rsrc_kb *kb = &a->table->frame.kb;
    const struct rsrc_table_shape *shape = &a->table->shape;
    const uint16_t zero = a->table->frame.zero;
    const uint16_t runs_end = index_const(a, 2 * (uint64_t)shape->run_bytes[0], "runs_end");
    const uint16_t pair_end = index_const(a, 2 * (uint64_t)shape->run_bytes[1], "pair_end");
    const uint16_t pair = index_reg(a, "run_pair"), run = index_reg(a, "run");
    const uint16_t part = index_reg(a, "sixteen");
    const uint16_t part_end = index_const(a, shape->vector_rows, "sixteens");
    rsrc_kb_loop(kb, pair, zero, runs_end, shape->run_bytes[0]);
    rsrc_kb_loop(kb, run, zero, pair_end, shape->run_bytes[1]);
    const uint16_t run_at = index_op(a, RSR_KOP_ADD, pair, run, "run_at");
    rsrc_kb_binary(kb, RSR_KOP_ADD, run_at, run_at, vector_at);
    rsrc_kb_loop(kb, part, zero, part_end, 16);
    emit_quad(a, index_op(a, RSR_KOP_ADD, run_at, part, "quad_at"));
    step_rows(a);
    for (uint32_t loops = 0; loops < 3; loops++)
        rsrc_kb_end(kb);
}

static void add_rows(struct adding a, uint16_t sums, uint16_t wide) {
    struct rsrc_kb *kb = &a.table->frame.kb;
    const struct rsrc_table_shape *shape = &a.table->shape;
    const uint64_t segment_bytes = rsrc_table_offsets_bytes(shape);
    const uint64_t row_bytes = rsrc_table_chunk_segments(shape) * sizeof(uint16_t);
    a.sums_at = a.wide_at = a.scale_at = RSR_NO_KREG;
    if (!a.first || !a.last)
        a.sums_at = rsrc_kb_unary(kb, RSR_KOP_COPY, index_reg(&a, "row_sums"), sums);
    if (a.last)
        a.wide_at = rsrc_kb_unary(kb, RSR_KOP_COPY, index_reg(&a, "row_wide"), wide);
    if (a.last && shape->has_scales)
        a.scale_at = rsrc_kb_const(kb, index_reg(&a, "row_scale"), 0);
    const uint16_t pass_bytes =
        index_const(&a, shape->pass_steps * shape->step_segments * segment_bytes, "pass_offsets");
    const uint16_t pass_at = index_op(&a, RSR_KOP_MUL, a.pass, pass_bytes, "pass_at");
    const uint16_t row_step = index_const(&a, row_bytes, "row_offsets");
    const uint16_t end = index_op(&a, RSR_KOP_MUL, a.table->n_block_rows, row_step, "rows_end");
    const uint16_t vector = index_reg(&a, "row_vector");
    rsrc_kb_comment(kb, "rows: a segment's code names its sum, one addition from memory%s",
                    !a.last             ? ""
                    : shape->has_scales ? "; then a product with the row's group scale"
                                        : "; int16 sums are widened then");
    rsrc_kb_loop(kb, vector, a.table->frame.zero, end, (int64_t)(row_bytes * shape->vector_rows));
    const uint16_t vector_at = index_op(&a, RSR_KOP_ADD, vector, pass_at, "vector_at");
    if (shape->vector_rows == QUAD) {
        emit_quad(&a, vector_at);
        step_rows(&a);
    } else {
        emit_runs(&a, vector_at);
    }
    rsrc_kb_end(kb);
}

/* The first pass of a chunk begins with zeros, and the last one adds the chunk's sums to the sums
 * of all columns. So each has its own loop over rows. */
void rsrc_table_add_rows(struct rsrc_table *table, uint16_t pass, uint16_t sums, uint16_t wide) {
    struct rsrc_kb *kb = &table->frame.kb;
    const uint32_t n_passes = table->shape.n_passes;
    if (!table->shape.has_wide_sums || n_passes == 1) {
        const bool alone = table->shape.has_wide_sums;
        add_rows(
            (struct adding){
                .table = table, .name = "all", .first = alone, .last = alone, .pass = pass},
            sums, wide);
        return;
    }
    rsrc_kb_if_less(kb, pass, table->frame.one);
    add_rows((struct adding){.table = table, .name = "first", .first = true, .pass = pass}, sums,
             wide);
    rsrc_kb_else(kb);
    if (n_passes > 2) {
        rsrc_kb_if_less(kb, pass, rsrc_kb_index_const(kb, n_passes - 1, "last_pass"));
        add_rows((struct adding){.table = table, .name = "next", .pass = pass}, sums, wide);
        rsrc_kb_else(kb);
    }
    add_rows((struct adding){.table = table, .name = "last", .last = true, .pass = pass}, sums,
             wide);
    for (uint32_t i = 0; i < (n_passes > 2 ? 2u : 1u); i++)
        rsrc_kb_end(kb);
}
