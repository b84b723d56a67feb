/* table_sums.c - the sums of segments, and the rows that add them; see table.h.
 *
 * 16-bit sums: |sum of a segment| <= 4 * 128, and a row adds those of a chunk of at most 255 columns,
 * 255 * 128 = 32640 < 2^15, also where an activation is -128 and its weight -1.
 */
#include "kernels/table/table.h"

#include <assert.h>

#define QUAD 4u
#define MAX_SUMS 9u /* of a part of a segment: of two ternary columns, or three binary ones */

/* ---- sums of a segment ----------------------------------------------------------------------- */

static uint16_t vector_reg(struct rsrc_table *table, const char *name, uint32_t i) {
    return rsrc_kb_reg(&table->frame.kb, table->shape.lanes.elem, table->shape.lanes.lanes, "%s%u",
                       name, i);
}

static uint16_t zero_vector(struct rsrc_table *table, const char *name) {
    struct rsrc_kb *kb = &table->frame.kb;
    const uint16_t zero = vector_reg(table, name, 0);
    return table->shape.lanes.elem == RSR_ELEM_F32 ? rsrc_kb_const_f32(kb, zero, 0.0f)
                                                   : rsrc_kb_const(kb, zero, 0);
}

/* Registers of the sums that digits of some columns make, the first column's digit lowest.
 * RSR_NO_KREG: 0. */
struct sums {
    uint32_t n;
    uint16_t of[MAX_SUMS];
};

/* Registers of the sums at work: every segment uses the same ones. */
struct making {
    uint16_t zero, sum;
    uint16_t x[RSRC_TABLE_MAX_SEGMENT_COLS], opposite[RSRC_TABLE_MAX_SEGMENT_COLS];
    uint16_t parts[2 * MAX_SUMS];
    uint32_t n_parts; /* used */
};

static uint16_t add(struct rsrc_table *table, uint16_t to, uint16_t a, uint16_t b) {
    if (a == RSR_NO_KREG || b == RSR_NO_KREG)
        return a != RSR_NO_KREG ? a : b;
    return rsrc_kb_binary(&table->frame.kb, RSR_KOP_ADD, to, a, b);
}

/* What the digits of column i of the segment add: -x, 0 and x of ternary weights, -x and x of signs,
 * 0 and x of bits. */
static struct sums load_digits(struct rsrc_table *table, const struct making *m, uint32_t i,
                               struct rsrc_address at) {
    struct rsrc_kb *kb = &table->frame.kb;
    rsrc_kb_load(kb, m->x[i], at);
    if (table->shape.alphabet == RSR_BINARY_BIT)
        return (struct sums){2, {RSR_NO_KREG, m->x[i]}};
    rsrc_kb_binary(kb, RSR_KOP_SUB, m->opposite[i], m->zero, m->x[i]);
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
        rsrc_kb_store(kb, sum == RSR_NO_KREG ? m->zero : sum,
                      rsrc_address_offset(to, code * (int64_t)table->shape.vector_bytes));
    }
}

/* The sums of a segment of n columns, the first of which lies at `from`. Integers are added in pairs;
 * floats column by column. */
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
    struct making m = {.zero = zero_vector(table, "no_sum"),
                       .sum = vector_reg(table, "segment_sum", 0)};
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

static struct rsrc_address row_address(const struct rsrc_table *table, uint16_t sums_at,
                                       uint32_t i) {
    const int64_t row = i * (int64_t)table->shape.vector_bytes;
    return rsrc_address_plus(rsrc_address_at(RSR_KBUF_SCRATCH, row), sums_at, 1);
}

/* Four rows: their offsets in the pass's segments lie from byte `at` on. */
static void emit_quad(struct rsrc_table *table, uint16_t at, uint16_t sums_at) {
    struct rsrc_kb *kb = &table->frame.kb;
    const struct rsrc_table_shape *shape = &table->shape;
    const uint16_t four = rsrc_kb_index_reg(kb, "four_offsets");
    uint16_t sums[QUAD], offsets[QUAD];
    for (uint32_t i = 0; i < QUAD; i++) {
        sums[i] = rsrc_kb_load(kb, vector_reg(table, "sums", i), row_address(table, sums_at, i));
        offsets[i] = i + 1 < QUAD ? rsrc_kb_index_reg(kb, "offset%u", i) : four;
    }
    for (uint32_t s = 0; s < shape->pass_steps * shape->step_segments; s++) {
        const int64_t in_pass = table->offsets_at + s * (int64_t)rsrc_table_offsets_bytes(shape);
        rsrc_kb_load(kb, four,
                     rsrc_address_plus(rsrc_address_at(RSR_KBUF_SCRATCH, in_pass), at, 1));
        for (uint32_t i = 0; i < QUAD; i++) {
            if (i + 1 < QUAD)
                rsrc_kb_binary(kb, RSR_KOP_AND, offsets[i], four, table->low_word);
            rsrc_kb_binary_memory(
                kb, RSR_KOP_ADD_MEM, sums[i], sums[i],
                rsrc_address_plus(rsrc_address_at(RSR_KBUF_SCRATCH, table_at(shape, s)), offsets[i],
                                  1));
            if (i + 1 < QUAD)
                rsrc_kb_immediate(kb, RSR_KOP_SHR, four, four, 16);
        }
    }
    for (uint32_t i = 0; i < QUAD; i++)
        rsrc_kb_store(kb, sums[i], row_address(table, sums_at, i));
}

/* The four runs of a vector of rows. */
static void emit_runs(struct rsrc_table *table, uint16_t vector_at, uint16_t sums_at,
                      uint16_t sums_step) {
    struct rsrc_kb *kb = &table->frame.kb;
    const struct rsrc_table_shape *shape = &table->shape;
    const uint16_t runs_end =
        rsrc_kb_index_const(kb, 2 * (uint64_t)shape->run_bytes[0], "runs_end");
    const uint16_t pair_end =
        rsrc_kb_index_const(kb, 2 * (uint64_t)shape->run_bytes[1], "pair_end");
    const uint16_t pair = rsrc_kb_index_reg(kb, "run_pair"), run = rsrc_kb_index_reg(kb, "run");
    const uint16_t part = rsrc_kb_index_reg(kb, "sixteen");
    const uint16_t part_end = rsrc_kb_index_const(kb, shape->vector_rows, "sixteens");
    rsrc_kb_loop(kb, pair, table->frame.zero, runs_end, shape->run_bytes[0]);
    rsrc_kb_loop(kb, run, table->frame.zero, pair_end, shape->run_bytes[1]);
    const uint16_t run_at = rsrc_kb_index_op(kb, RSR_KOP_ADD, pair, run, "run_at");
    rsrc_kb_binary(kb, RSR_KOP_ADD, run_at, run_at, vector_at);
    rsrc_kb_loop(kb, part, table->frame.zero, part_end, 16);
    emit_quad(table, rsrc_kb_index_op(kb, RSR_KOP_ADD, run_at, part, "quad_at"), sums_at);
    rsrc_kb_binary(kb, RSR_KOP_ADD, sums_at, sums_at, sums_step);
    for (uint32_t loops = 0; loops < 3; loops++)
        rsrc_kb_end(kb);
}

void rsrc_table_add_rows(struct rsrc_table *table, uint16_t pass, uint16_t sums) {
    struct rsrc_kb *kb = &table->frame.kb;
    const struct rsrc_table_shape *shape = &table->shape;
    const uint64_t segment_bytes = rsrc_table_offsets_bytes(shape);
    const uint64_t row_bytes = rsrc_table_chunk_segments(shape) * sizeof(uint16_t);
    const uint16_t sums_at =
        rsrc_kb_unary(kb, RSR_KOP_COPY, rsrc_kb_index_reg(kb, "row_sums"), sums);
    const uint16_t sums_step =
        rsrc_kb_index_const(kb, (uint64_t)QUAD * shape->vector_bytes, "four_rows");
    const uint16_t pass_bytes = rsrc_kb_index_const(
        kb, shape->pass_steps * shape->step_segments * segment_bytes, "pass_offsets");
    const uint16_t pass_at = rsrc_kb_index_op(kb, RSR_KOP_MUL, pass, pass_bytes, "pass_at");
    const uint16_t row_step = rsrc_kb_index_const(kb, row_bytes, "row_offsets");
    const uint16_t end =
        rsrc_kb_index_op(kb, RSR_KOP_MUL, table->n_block_rows, row_step, "rows_end");
    const uint16_t vector = rsrc_kb_index_reg(kb, "row_vector");
    rsrc_kb_loop(kb, vector, table->frame.zero, end, (int64_t)(row_bytes * shape->vector_rows));
    const uint16_t vector_at = rsrc_kb_index_op(kb, RSR_KOP_ADD, vector, pass_at, "vector_at");
    if (shape->vector_rows == QUAD) {
        emit_quad(table, vector_at, sums_at);
        rsrc_kb_binary(kb, RSR_KOP_ADD, sums_at, sums_at, sums_step);
    } else {
        emit_runs(table, vector_at, sums_at, sums_step);
    }
    rsrc_kb_end(kb);
}
