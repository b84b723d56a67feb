/* table_words.c - turns codes of `lut` for float activations into offsets of sums; see table.h.
 *
 * kernel/lut_f32_layout.h describes the words and planes of codes. The sum of a ternary code c has
 * number 13 + c; in a step's single column, 1 + w. A binary code is the number itself.
 */
#include "kernel/group_scales.h"
#include "kernels/table/table.h"

#include <assert.h>

#include "base/round.h"

#define MIDDLE 13    /* number of the sum of three zeros */
#define MIDDLE_ONE 1 /* number of one column's zero */
#define SINGLE_BIT 7 /* bit of the last plane: whether the single column is not 0 */

struct words {
    struct rsrc_table *table;
    const struct rsrc_lut_f32_layout *layout;
    uint16_t n;           /* vectors of the unit's part of the stream */
    uint16_t part_at;     /* byte of the codes where that part begins, with the group's scales */
    uint16_t vector;      /* of the part */
    uint16_t to;          /* byte where the step's offsets begin */
    uint16_t wide, moved; /* of planes */
};

static uint16_t bytes_reg(struct words *w, const char *name) {
    return rsrc_kb_reg(&w->table->frame.kb, RSR_ELEM_U8, w->layout->vector_rows, "%s", name);
}

static uint16_t byte_const(struct rsrc_table *table, const char *name, int64_t value) {
    struct rsrc_kb *kb = &table->frame.kb;
    return rsrc_kb_const(kb, rsrc_kb_reg(kb, RSR_ELEM_U8, table->shape.vector_rows, "%s", name),
                         value);
}

void rsrc_table_load_word_constants(struct rsrc_table *table) {
    struct rsrc_kb *kb = &table->frame.kb;
    const uint32_t rows = table->shape.vector_rows;
    if (!table->floats.planes) {
        table->word_code = rsrc_kb_const(kb, rsrc_kb_reg(kb, RSR_ELEM_U32, rows, "word_code"),
                                         (1 << table->floats.code_bits) - 1);
        table->even_words = rsrc_kb_load(kb, rsrc_kb_reg(kb, RSR_ELEM_U16, 2 * rows, "even_words"),
                                         rsrc_address_at(RSR_KBUF_INDEX, 0));
        return;
    }
    table->nibble = byte_const(table, "nibbles", 15);
    table->no_bytes = byte_const(table, "no_bytes", 0);
    if (table->floats.alphabet != RSR_TERNARY)
        return;
    table->bit = byte_const(table, "bits", 1);
    table->middle = byte_const(table, "middles", MIDDLE);
    table->middle_one = byte_const(table, "middles_of_one", MIDDLE_ONE);
}

/* ---- offsets --------------------------------------------------------------------------------- */

static struct rsrc_address offsets_address(const struct words *w, uint32_t segment) {
    const struct rsrc_table *table = w->table;
    const int64_t at =
        table->offsets_at + segment * (int64_t)rsrc_table_offsets_bytes(&table->shape);
    struct rsrc_address to = rsrc_address_at(RSR_KBUF_SCRATCH, at);
    to = rsrc_address_plus(to, table->vector_offsets, 1);
    return rsrc_address_plus(to, w->to, 1);
}

/* The lower half of each word is an offset; these halves are packed together. The rest of the
 * stored vector is overwritten by the next segment, or lies after all offsets. */
static void emit_words(struct words *w, struct rsrc_address step) {
    struct rsrc_table *table = w->table;
    struct rsrc_kb *kb = &table->frame.kb;
    const uint32_t rows = w->layout->vector_rows;
    const uint16_t word = rsrc_kb_load(kb, rsrc_kb_reg(kb, RSR_ELEM_U32, rows, "word"), step);
    const uint16_t code = rsrc_kb_reg(kb, RSR_ELEM_U32, rows, "code_word");
    const uint16_t halves = rsrc_kb_reg(kb, RSR_ELEM_U16, 2 * rows, "code_halves");
    for (uint32_t i = 0; i < w->layout->n_segments; i++) {
        if (i != 0)
            rsrc_kb_immediate(kb, RSR_KOP_SHR, word, word, w->layout->code_bits);
        rsrc_kb_binary(kb, RSR_KOP_AND, code, word, table->word_code);
        rsrc_kb_immediate(kb, RSR_KOP_SHL, code, code, rsrc_table_offset_shift(&table->shape));
        rsrc_kb_unary(kb, RSR_KOP_BITCAST, halves, code);
        rsrc_kb_binary(kb, RSR_KOP_TABLE, halves, table->even_words, halves);
        rsrc_kb_store(kb, halves, offsets_address(w, i));
    }
}

/* Shifts the plane's bits from `shift` on to the bottom of every byte; other bits remain above
 * them. */
static uint16_t shifted(struct words *w, uint16_t plane, uint32_t shift) {
    struct rsrc_kb *kb = &w->table->frame.kb;
    if (shift == 0)
        return plane;
    rsrc_kb_unary(kb, RSR_KOP_BITCAST, w->wide, plane);
    rsrc_kb_immediate(kb, RSR_KOP_SHR, w->wide, w->wide, shift);
    return rsrc_kb_unary(kb, RSR_KOP_BITCAST, w->moved, w->wide);
}

/* number = the number of a ternary code, from its magnitude and segment i's sign. */
static void add_sign(struct words *w, uint32_t i, uint16_t signs, uint16_t number) {
    struct rsrc_table *table = w->table;
    struct rsrc_kb *kb = &table->frame.kb;
    const bool single = rsrc_lut_f32_segment_cols(w->layout, i, w->layout->step_cols) == 1;
    const uint16_t mask = rsrc_kb_reg(kb, RSR_ELEM_U8, w->layout->vector_rows, "sign_mask%u", i);
    rsrc_kb_binary(kb, RSR_KOP_AND, mask, shifted(w, signs, i), table->bit);
    rsrc_kb_binary(kb, RSR_KOP_SUB, mask, table->no_bytes, mask);
    rsrc_kb_binary(kb, RSR_KOP_XOR, number, number, mask);
    rsrc_kb_binary(kb, RSR_KOP_SUB, number, number, mask);
    rsrc_kb_binary(kb, RSR_KOP_ADD, number, number, single ? table->middle_one : table->middle);
}

/* Zips bytes with zeros to the 16-bit offsets of rows, in the order of rows. */
static void store_number(struct words *w, uint32_t i, uint16_t number) {
    static const enum rsr_kop_kind zips[2] = {RSR_KOP_ZIP_LOW, RSR_KOP_ZIP_HIGH};
    struct rsrc_table *table = w->table;
    struct rsrc_kb *kb = &table->frame.kb;
    const uint32_t rows = w->layout->vector_rows;
    for (uint32_t half = 0; half < 2; half++) {
        const uint32_t n = 2 * i + half;
        const uint16_t zipped =
            rsrc_kb_binary(kb, zips[half], rsrc_kb_reg(kb, RSR_ELEM_U8, rows, "number_bytes%u", n),
                           number, table->no_bytes);
        const uint16_t offsets =
            rsrc_kb_unary(kb, RSR_KOP_BITCAST,
                          rsrc_kb_reg(kb, RSR_ELEM_U16, rows / 2, "half_offsets%u", n), zipped);
        rsrc_kb_immediate(kb, RSR_KOP_SHL, offsets, offsets,
                          rsrc_table_offset_shift(&table->shape));
        rsrc_kb_store(kb, offsets,
                      rsrc_address_offset(offsets_address(w, i), half * (int64_t)rows));
    }
}

static void emit_planes(struct words *w, struct rsrc_address step) {
    struct rsrc_table *table = w->table;
    struct rsrc_kb *kb = &table->frame.kb;
    const struct rsrc_lut_f32_layout *layout = w->layout;
    const uint32_t rows = layout->vector_rows;
    const bool ternary = layout->alphabet == RSR_TERNARY;
    uint16_t planes[LUT_F32_PLANES];
    for (uint32_t i = 0; i < LUT_F32_PLANES; i++)
        planes[i] = rsrc_kb_load(kb, rsrc_kb_reg(kb, RSR_ELEM_U8, rows, "plane%u", i),
                                 rsrc_address_offset(step, i * (int64_t)rows));
    const uint16_t number = bytes_reg(w, "number");
    w->wide = rsrc_kb_reg(kb, RSR_ELEM_U16, rows / 2, "plane_words");
    w->moved = bytes_reg(w, "moved_plane");
    for (uint32_t i = 0; i < layout->n_segments; i++) {
        const bool single = rsrc_lut_f32_segment_cols(layout, i, layout->step_cols) == 1;
        const uint32_t shift = single ? SINGLE_BIT : i % 2 * layout->code_bits;
        rsrc_kb_binary(kb, RSR_KOP_AND, number, shifted(w, planes[i / 2], shift),
                       single ? table->bit : table->nibble);
        if (ternary)
            add_sign(w, i, planes[LUT_F32_PLANES - 1], number);
        store_number(w, i, number);
    }
}

/* ---- scales ---------------------------------------------------------------------------------- */

static uint32_t scale_lanes(const struct rsrc_lut_f32_layout *layout) {
    return layout->planes ? layout->vector_rows / RSRC_LUT_F32_RUNS : layout->vector_rows;
}

/* The scales of the group's rows as floats, in their order. */
static void emit_scales(struct words *w, struct rsrc_address from, uint16_t row) {
    struct rsrc_table *table = w->table;
    struct rsrc_kb *kb = &table->frame.kb;
    const struct rsrc_lut_f32_layout *layout = w->layout;
    const uint32_t lanes = scale_lanes(layout);
    const struct rsrc_group_scales scales =
        rsrc_make_group_scales(kb, layout->scale_bytes, lanes, "");
    for (uint32_t first = 0; first < layout->vector_rows; first += lanes) {
        const struct rsrc_address at =
            rsrc_address_offset(from, (int64_t)first * layout->scale_bytes);
        const uint16_t scale = rsrc_load_group_scales(kb, &scales, at);
        const struct rsrc_address to = rsrc_address_at(
            RSR_KBUF_SCRATCH, table->scales_at + (int64_t)first * (int64_t)sizeof(float));
        rsrc_kb_store(kb, scale, rsrc_address_plus(to, row, sizeof(float)));
    }
}

/* ---- vectors of rows ------------------------------------------------------------------------- */

/* register = a * factor, named. */
static uint16_t times(struct rsrc_kb *kb, uint16_t a, uint64_t factor, const char *name) {
    const uint16_t by = rsrc_kb_index_const(kb, factor, "%s_factor", name);
    return rsrc_kb_index_op(kb, RSR_KOP_MUL, a, by, "%s", name);
}

/* Unpacks the steps of the chunk that lie within the matrix, for one vector. */
static void emit_vector(struct words *w, uint16_t chunk, uint16_t row) {
    struct rsrc_table *table = w->table;
    struct rsrc_kb *kb = &table->frame.kb;
    const struct rsrc_lut_f32_layout *layout = w->layout;
    const uint32_t rows = layout->vector_rows;
    const uint32_t chunk_steps =
        table->shape.has_scales ? layout->group_steps : table->shape.chunk_steps;
    const uint16_t all = rsrc_kb_index_const(kb, layout->n_steps, "all_steps");
    const uint16_t most = rsrc_kb_index_const(kb, chunk_steps, "most_steps");
    const uint16_t before = times(kb, chunk, chunk_steps, "steps_before");
    const uint16_t n_steps = rsrc_kb_index_op(kb, RSR_KOP_SUB, all, before, "steps_left");
    rsrc_kb_binary(kb, RSR_KOP_MIN, n_steps, n_steps, most);
    const uint16_t in_block =
        rsrc_kb_index_op(kb, RSR_KOP_SUB, row, table->first_row, "row_in_block");
    table->vector_offsets =
        times(kb, in_block, rsrc_table_chunk_segments(&table->shape) * sizeof(uint16_t),
              "vector_offsets");

    const struct rsrc_address codes = rsrc_address_at(RSR_KBUF_CODES, 0);
    if (table->shape.has_scales)
        emit_scales(w,
                    rsrc_address_plus(rsrc_address_plus(codes, w->part_at, 1), w->vector,
                                      (int64_t)rows * layout->scale_bytes),
                    in_block);
    const uint32_t step_bytes = rsrc_lut_f32_step_bytes(layout);
    const uint16_t at = times(kb, w->n, (uint64_t)rows * layout->scale_bytes, "step_codes");
    rsrc_kb_binary(kb, RSR_KOP_ADD, at, at, w->part_at);
    rsrc_kb_binary(kb, RSR_KOP_ADD, at, at, times(kb, w->vector, step_bytes, "vector_codes"));
    const uint16_t stride = times(kb, w->n, step_bytes, "step_stride");
    if (!table->shape.has_scales)
        rsrc_kb_binary(kb, RSR_KOP_ADD, at, at,
                       rsrc_kb_index_op(kb, RSR_KOP_MUL, before, stride, "codes_before"));
    const uint16_t step = rsrc_kb_index_reg(kb, "step");
    rsrc_kb_comment(kb, "%s",
                    layout->planes
                        ? "nibbles are magnitudes, and bits of the last plane signs; zipped "
                          "above zeros, numbers of sums become 16-bit offsets"
                        : "a word has all codes of a step: each is masked, shifted to the "
                          "offset of its sum, and brought together with other rows'");
    rsrc_kb_loop(kb, step, table->frame.zero, n_steps, 1);
    w->to = times(kb, step, (uint64_t)layout->n_segments * rsrc_table_offsets_bytes(&table->shape),
                  "step_to");
    if (layout->planes)
        emit_planes(w, rsrc_address_plus(codes, at, 1));
    else
        emit_words(w, rsrc_address_plus(codes, at, 1));
    rsrc_kb_binary(kb, RSR_KOP_ADD, at, at, stride);
    rsrc_kb_end(kb);
}

void rsrc_table_emit_word_offsets(struct rsrc_table *table, uint16_t chunk, uint16_t first_unit,
                                  uint16_t end_unit) {
    struct rsrc_kb *kb = &table->frame.kb;
    const struct rsrc_lut_f32_layout *layout = &table->floats;
    struct words w = {.table = table, .layout = layout};
    const uint16_t n_streams =
        rsrc_kb_index_const(kb, layout->unit_vectors / layout->stream_vectors, "n_streams");
    const uint16_t n_vectors = rsrc_kb_index_const(kb, layout->n_vectors, "n_vectors");
    const uint16_t most = rsrc_kb_index_const(kb, layout->stream_vectors, "stream_vectors");
    const uint16_t unit = rsrc_kb_index_reg(kb, "unit"), stream = rsrc_kb_index_reg(kb, "stream");
    rsrc_kb_loop(kb, unit, first_unit, end_unit, 1);
    rsrc_kb_loop(kb, stream, table->frame.zero, n_streams, 1);
    const uint16_t first = times(kb, unit, layout->unit_vectors, "first_vector");
    rsrc_kb_binary(kb, RSR_KOP_ADD, first, first,
                   times(kb, stream, layout->stream_vectors, "stream_first"));
    w.n = rsrc_kb_index_op(kb, RSR_KOP_SUB, n_vectors, first, "part_vectors");
    rsrc_kb_binary(kb, RSR_KOP_MIN, w.n, w.n, most);
    w.part_at = times(kb, stream, layout->stream_bytes, "part_at");
    rsrc_kb_binary(
        kb, RSR_KOP_ADD, w.part_at, w.part_at,
        times(kb, unit, layout->stream_vectors * rsrc_lut_f32_vector_bytes(layout), "unit_at"));
    if (table->shape.has_scales) {
        const uint16_t group_at = times(kb, chunk, rsrc_lut_f32_group_bytes(layout), "group_at");
        rsrc_kb_binary(kb, RSR_KOP_MUL, group_at, group_at, w.n);
        rsrc_kb_binary(kb, RSR_KOP_ADD, w.part_at, w.part_at, group_at);
    }
    w.vector = rsrc_kb_index_reg(kb, "vector");
    rsrc_kb_loop(kb, w.vector, table->frame.zero, w.n, 1);
    const uint16_t in_order = rsrc_kb_index_op(kb, RSR_KOP_ADD, first, w.vector, "vector_number");
    emit_vector(&w, chunk, times(kb, in_order, layout->vector_rows, "row"));
    for (uint32_t loops = 0; loops < 3; loops++)
        rsrc_kb_end(kb);
}
