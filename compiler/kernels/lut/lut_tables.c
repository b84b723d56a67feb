/* lut_tables.c - the part of a `lut` kernel that builds the tables of a token, and its constants.
 *
 * A table has the sum of a segment's activations for every code. With SHUFFLE16 and WORDS, column i
 * of the segment is spread over a vector (SHUFFLE16: by a pattern, then widened to int16 by a
 * shift), multiplied by digit i of each lane's code, and added. For the 128 sums of TABLE128, only
 * parts are computed: 16 of the low digits and 16 of the high digits, each by one product of four
 * columns with digits. The product takes x + 128, which is unsigned; each part begins with a value
 * that corrects this. TABLE selects two parts for every sum, and TABLE2 separates the low and the
 * high bytes of two vectors of sums.
 */
#include "kernels/lut/lut_kernel.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/round.h"
#include "kernel_ops.h"

#define MAX_GROUP_COLS 8
#define LOAD_BYTES 16 /* bytes of LOAD_LANES */

/* Segments whose tables one pass builds. */
static uint32_t pass_segments(const struct rsrc_lut_layout *layout) {
    return layout->lookup == RSRC_LUT_SHUFFLE16 ? layout->vector_rows / 16 : 1;
}

static uint32_t pass_cols(const struct rsrc_lut_layout *layout) {
    return pass_segments(layout) * layout->segment_cols;
}

static uint32_t passes_per_step(const struct rsrc_lut_layout *layout) {
    return layout->step_segments / pass_segments(layout);
}

/* Steps of segments that are a step of the walk: with scales, those of a group. */
static uint32_t walk_steps(const struct rsrc_lut_layout *layout) {
    return layout->scale_bytes != 0 ? layout->group_steps : 1;
}

static uint32_t sum_vectors(const struct rsrc_lut_layout *layout) {
    return layout->lookup == RSRC_LUT_SHUFFLE16 ? 2 : 1;
}

/* ---- constants ------------------------------------------------------------------------------- */

/* The two parts of 128 sums: columns 0 and 1 of five ternary columns, or 0 .. 3 of eight signs; and
 * the other columns. */
enum { LOW_PART, HIGH_PART, N_PARTS };
#define LOW_TERNARY_COLS 2
#define LOW_BINARY_COLS 4
#define PART_COLS 4 /* of a product */
#define PART_SUMS 16
#define N_QUARTERS 4
#define X_OFFSET 128 /* makes x unsigned */

static uint32_t part_first_col(const struct rsrc_lut_layout *layout, uint32_t part) {
    if (part == LOW_PART)
        return 0;
    return layout->alphabet == RSR_TERNARY ? LOW_TERNARY_COLS : LOW_BINARY_COLS;
}

static int bit_digit(uint32_t code, uint32_t i) {
    return (code >> i & 1) != 0 ? 1 : -1;
}

/* Digit i of sum number `lane` of a part; a ternary low part has codes -4..4. */
static int part_digit(const struct rsrc_lut_layout *layout, uint32_t part, uint32_t lane,
                      uint32_t i) {
    const uint32_t first = part_first_col(layout, part);
    const uint32_t end =
        part == LOW_PART ? part_first_col(layout, HIGH_PART) : layout->segment_cols;
    if (first + i >= end)
        return 0;
    if (layout->alphabet == RSR_TERNARY) {
        const uint32_t n = part == LOW_PART ? 9 : 14;
        return lane < n ? rsrc_balanced_digit((int)lane - (part == LOW_PART ? 4 : 0), i) : 0;
    }
    return first + i == layout->segment_cols - 1 ? 1 : bit_digit(lane, i);
}

/* The parts whose sum is that of code c. Codes beyond the last are never looked up. */
static void select_parts(const struct rsrc_lut_layout *layout, uint32_t c,
                         uint32_t parts[N_PARTS]) {
    if (layout->alphabet == RSR_TERNARY) {
        const uint32_t quotient = (c + 4) / 9; /* nearest */
        parts[LOW_PART] = c + 4 - 9 * quotient;
        parts[HIGH_PART] = quotient <= 13 ? quotient : 0;
        return;
    }
    parts[LOW_PART] = c % PART_SUMS;
    parts[HIGH_PART] = c / PART_SUMS;
}

/* The entry of its 16 that lane `lane` of sum vector `half` holds: PACK_U8 puts the 8 lanes of
 * the first vector before those of the second. */
static uint32_t nibble_of_lane(uint32_t half, uint32_t lane) {
    return half * 8 + lane % 8;
}

static int nibble_digit(const struct rsrc_lut_layout *layout, uint32_t code, uint32_t i) {
    return layout->alphabet == RSR_TERNARY ? rsrc_balanced_digit((int)code, i)
                                           : (int)(code >> i & 1);
}

static int lane_digit(const struct rsrc_lut_layout *layout, uint32_t half, uint32_t lane,
                      uint32_t i) {
    return layout->lookup == RSRC_LUT_SHUFFLE16
               ? nibble_digit(layout, nibble_of_lane(half, lane), i)
               : rsrc_lut_word_digit(layout, lane, i);
}

static uint8_t *put_lanes(uint8_t *out, const uint16_t *lanes, uint32_t n) {
    memcpy(out, lanes, n * sizeof *lanes);
    return out + n * sizeof *lanes;
}

/* Constants of a part: the digits of its sums, one byte per column, then the values that sums begin
 * with. */
static uint8_t *put_part(const struct rsrc_lut_layout *layout, uint32_t part, uint8_t *out) {
    int32_t start[PART_SUMS] = {0};
    for (uint32_t lane = 0; lane < PART_SUMS; lane++)
        for (uint32_t i = 0; i < PART_COLS; i++) {
            const int digit = part_digit(layout, part, lane, i);
            *out++ = (uint8_t)digit;
            start[lane] -= X_OFFSET * digit;
        }
    memcpy(out, start, sizeof start);
    return out + sizeof start;
}

/* For each quarter of the 128 sums: the places of the parts of 32 sums, in words. Then the numbers
 * of the low and the high bytes of 64 words. */
static void put_selections(const struct rsrc_lut_layout *layout, uint8_t *out) {
    uint16_t lanes[N_PARTS][32];
    for (uint32_t quarter = 0; quarter < N_QUARTERS; quarter++) {
        for (uint32_t lane = 0; lane < 32; lane++) {
            uint32_t parts[N_PARTS];
            select_parts(layout, quarter * 32 + lane, parts);
            for (uint32_t part = 0; part < N_PARTS; part++)
                lanes[part][lane] = (uint16_t)(2 * parts[part]);
        }
        for (uint32_t part = 0; part < N_PARTS; part++)
            out = put_lanes(out, lanes[part], 32);
    }
    for (uint32_t high = 0; high < 2; high++)
        for (uint32_t word = 0; word < 64; word++)
            *out++ = (uint8_t)(2 * word + high);
}

void rsrc_lut_pack_constants(const struct rsrc_lut_layout *layout, uint8_t *out) {
    if (layout->lookup == RSRC_LUT_TABLE128) {
        for (uint32_t part = 0; part < N_PARTS; part++)
            out = put_part(layout, part, out);
        put_selections(layout, out);
        return;
    }
    const uint32_t n = layout->vector_rows / 2; /* int16 lanes */
    for (uint32_t i = 0; i < layout->segment_cols; i++)
        for (uint32_t byte = 0; byte < layout->vector_rows; byte++)
            *out++ = (uint8_t)(byte / 16 % pass_segments(layout) * layout->segment_cols + i);
    uint16_t lanes[32];
    assert(n <= 32);
    for (uint32_t half = 0; half < sum_vectors(layout); half++)
        for (uint32_t i = 0; i < layout->segment_cols; i++) {
            for (uint32_t lane = 0; lane < n; lane++)
                lanes[lane] = (uint16_t)lane_digit(layout, half, lane, i);
            out = put_lanes(out, lanes, n);
        }
}

/* ---- registers ------------------------------------------------------------------------------- */

struct tables {
    struct rsrc_lut_kernel *lut;
    struct rsrc_kb *kb;
    uint16_t patterns[MAX_GROUP_COLS];  /* u8 */
    uint16_t digits[2][MAX_GROUP_COLS]; /* i16 */
    uint16_t low_mask;                  /* i16 255 */
    uint16_t rounding;                  /* i16, SHUFFLE16: half the weight of a high part */
    /* TABLE128: */
    uint16_t part_digits[N_PARTS], part_starts[N_PARTS]; /* u8, i32 */
    uint16_t selects[N_QUARTERS][N_PARTS];               /* u16 */
    uint16_t byte_numbers[2];                            /* u8 */
    uint16_t x_offset;                                   /* u8 */
};

static uint16_t vector_reg(struct tables *t, enum rsr_elem elem, const char *name) {
    return rsrc_kb_reg(t->kb, elem, t->lut->layout.vector_rows / rsrc_elem_bytes(elem), "%s", name);
}

static uint16_t numbered_reg(struct tables *t, enum rsr_elem elem, const char *name, uint32_t i) {
    char numbered[32];
    snprintf(numbered, sizeof numbered, "%s%u", name, i);
    return vector_reg(t, elem, numbered);
}

static uint16_t load_constant(struct tables *t, uint16_t reg, uint32_t *n_loaded) {
    const int64_t at = (int64_t)(*n_loaded)++ * t->lut->layout.vector_rows;
    return rsrc_kb_load(t->kb, reg, rsrc_address_at(RSR_KBUF_INDEX, at));
}

static void load_part_constants(struct tables *t) {
    uint32_t n = 0;
    for (uint32_t part = 0; part < N_PARTS; part++) {
        t->part_digits[part] =
            load_constant(t, numbered_reg(t, RSR_ELEM_U8, "part_digits", part), &n);
        t->part_starts[part] =
            load_constant(t, numbered_reg(t, RSR_ELEM_I32, "part_start", part), &n);
    }
    for (uint32_t q = 0; q < N_QUARTERS; q++) {
        t->selects[q][LOW_PART] =
            load_constant(t, numbered_reg(t, RSR_ELEM_U16, "select_low", q), &n);
        t->selects[q][HIGH_PART] =
            load_constant(t, numbered_reg(t, RSR_ELEM_U16, "select_high", q), &n);
    }
    for (uint32_t i = 0; i < 2; i++)
        t->byte_numbers[i] = load_constant(t, numbered_reg(t, RSR_ELEM_U8, "byte_numbers", i), &n);
    assert((uint64_t)n * t->lut->layout.vector_rows == rsrc_lut_constants_bytes(&t->lut->layout));
    t->x_offset = rsrc_kb_const(t->kb, vector_reg(t, RSR_ELEM_U8, "x_offset"), X_OFFSET);
}

static void load_constants(struct tables *t) {
    const struct rsrc_lut_layout *layout = &t->lut->layout;
    if (layout->lookup == RSRC_LUT_TABLE128) {
        load_part_constants(t);
        return;
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < layout->segment_cols; i++)
        t->patterns[i] = load_constant(t, numbered_reg(t, RSR_ELEM_U8, "spread", i), &n);
    for (uint32_t half = 0; half < sum_vectors(layout); half++)
        for (uint32_t i = 0; i < layout->segment_cols; i++)
            t->digits[half][i] = load_constant(
                t, numbered_reg(t, RSR_ELEM_I16, half == 0 ? "digit" : "digit_b", i), &n);
    assert((uint64_t)n * layout->vector_rows == rsrc_lut_constants_bytes(layout));
    t->low_mask = rsrc_kb_const(t->kb, vector_reg(t, RSR_ELEM_I16, "byte_mask"), 255);
    t->rounding =
        rsrc_kb_const(t->kb, vector_reg(t, RSR_ELEM_I16, "rounding"), LUT_HIGH_WEIGHT / 2);
}

/* ---- operations ------------------------------------------------------------------------------ */

/* sums[half] = sum over the columns of x * digit */
static void emit_sums(struct tables *t, uint16_t x, const uint16_t sums[2]) {
    const struct rsrc_lut_layout *layout = &t->lut->layout;
    struct rsrc_kb *kb = t->kb;
    const uint16_t spread = vector_reg(t, RSR_ELEM_U8, "x_spread");
    const uint16_t wide = vector_reg(t, RSR_ELEM_I16, "x_wide");
    const uint16_t product = vector_reg(t, RSR_ELEM_I16, "product");
    for (uint32_t i = 0; i < layout->segment_cols; i++) {
        rsrc_kb_binary(kb, RSR_KOP_SHUFFLE16, spread, t->patterns[i], x);
        rsrc_kb_unary(kb, RSR_KOP_BITCAST, wide, spread);
        rsrc_kb_immediate(kb, RSR_KOP_SHR, wide, wide, 8);
        for (uint32_t half = 0; half < sum_vectors(layout); half++) {
            rsrc_kb_binary(kb, RSR_KOP_MUL, i == 0 ? sums[half] : product, wide,
                           t->digits[half][i]);
            if (i != 0)
                rsrc_kb_binary(kb, RSR_KOP_ADD, sums[half], sums[half], product);
        }
    }
}

/* Splits every sum into two parts, low + LUT_HIGH_WEIGHT * high, in the low bytes of int16. */
static void split_sums(struct tables *t, uint16_t sums, uint32_t number, uint16_t *low,
                       uint16_t *high) {
    struct rsrc_kb *kb = t->kb;
    *low = numbered_reg(t, RSR_ELEM_I16, "low", number);
    *high = numbered_reg(t, RSR_ELEM_I16, "high", number);
    const uint16_t scaled = numbered_reg(t, RSR_ELEM_I16, "scaled", number);
    rsrc_kb_binary(kb, RSR_KOP_ADD, *high, sums, t->rounding);
    rsrc_kb_immediate(kb, RSR_KOP_SHR, *high, *high, LUT_HIGH_BITS);
    rsrc_kb_immediate(kb, RSR_KOP_SHL, scaled, *high, LUT_HIGH_BITS);
    rsrc_kb_binary(kb, RSR_KOP_SUB, *low, sums, scaled);
    rsrc_kb_binary(kb, RSR_KOP_AND, *low, *low, t->low_mask);
    rsrc_kb_binary(kb, RSR_KOP_AND, *high, *high, t->low_mask);
}

/* Stores the low and the high parts of two vectors of sums; the sums of a segment fill a lane of 16
 * bytes. */
static void emit_parts(struct tables *t, const uint16_t sums[2], struct rsrc_address at) {
    struct rsrc_kb *kb = t->kb;
    uint16_t low[2], high[2];
    rsrc_kb_comment(kb, "sum = low part + %u * high part, each a byte: look-ups select bytes",
                    LUT_HIGH_WEIGHT);
    for (uint32_t i = 0; i < 2; i++)
        split_sums(t, sums[i], i, &low[i], &high[i]);
    const uint16_t lows = vector_reg(t, RSR_ELEM_U8, "lows"),
                   highs = vector_reg(t, RSR_ELEM_U8, "highs");
    rsrc_kb_store(kb, rsrc_kb_binary(kb, RSR_KOP_PACK_U8, lows, low[0], low[1]), at);
    rsrc_kb_store(kb, rsrc_kb_binary(kb, RSR_KOP_PACK_U8, highs, high[0], high[1]),
                  rsrc_address_offset(at, t->lut->layout.vector_rows));
}

/* Computes the sums of one part, in the even words. */
static uint16_t emit_part(struct tables *t, struct rsrc_address x_at, uint32_t part) {
    struct rsrc_kb *kb = t->kb;
    const uint16_t four = rsrc_kb_reg(kb, RSR_ELEM_U32, 1, "x_four%u", part);
    const uint16_t spread = numbered_reg(t, RSR_ELEM_U32, "x_spread", part);
    const uint16_t sums = numbered_reg(t, RSR_ELEM_I32, "part_sums", part);
    const uint16_t words = numbered_reg(t, RSR_ELEM_I16, "part_words", part);
    rsrc_kb_load(kb, four, rsrc_address_offset(x_at, part_first_col(&t->lut->layout, part)));
    rsrc_kb_unary(kb, RSR_KOP_SPLAT, spread, four);
    rsrc_kb_ternary(kb, RSR_KOP_DOT_U8S8, sums, t->part_starts[part], spread, t->part_digits[part]);
    return rsrc_kb_unary(kb, RSR_KOP_BITCAST, words, sums);
}

/* A quarter of the sums, as bytes: for each sum one selected part plus the other. */
static uint16_t emit_quarter(struct tables *t, const uint16_t words[N_PARTS], uint32_t q) {
    const uint16_t low = numbered_reg(t, RSR_ELEM_I16, "part_low", q),
                   high = numbered_reg(t, RSR_ELEM_I16, "part_high", q),
                   sums = numbered_reg(t, RSR_ELEM_I16, "quarter", q);
    rsrc_kb_binary(t->kb, RSR_KOP_TABLE, low, t->selects[q][LOW_PART], words[LOW_PART]);
    rsrc_kb_binary(t->kb, RSR_KOP_TABLE, high, t->selects[q][HIGH_PART], words[HIGH_PART]);
    rsrc_kb_binary(t->kb, RSR_KOP_ADD, sums, low, high);
    return rsrc_kb_unary(t->kb, RSR_KOP_BITCAST, numbered_reg(t, RSR_ELEM_U8, "quarter_bytes", q),
                         sums);
}

/* Stores 128 low bytes, then 128 high bytes. */
static void emit_table128(struct tables *t, struct rsrc_address x_at, struct rsrc_address at) {
    const int64_t vector_bytes = t->lut->layout.vector_rows;
    uint16_t words[N_PARTS];
    rsrc_kb_comment(t->kb,
                    "a sum is one of the first columns' and one of the others': a product gives "
                    "16 of either, and a shuffle brings every pair together");
    for (uint32_t part = 0; part < N_PARTS; part++)
        words[part] = emit_part(t, x_at, part);
    for (uint32_t half = 0; half < 2; half++) {
        const uint16_t a = emit_quarter(t, words, 2 * half);
        const uint16_t b = emit_quarter(t, words, 2 * half + 1);
        rsrc_kb_comment(t->kb, "low and high bytes apart: look-ups select bytes");
        for (uint32_t high = 0; high < 2; high++) {
            const uint16_t bytes = numbered_reg(t, RSR_ELEM_U8, high == 0 ? "lows" : "highs", half);
            rsrc_kb_ternary(t->kb, RSR_KOP_TABLE2, bytes, t->byte_numbers[high], a, b);
            rsrc_kb_store(t->kb, bytes, rsrc_address_offset(at, (2 * high + half) * vector_bytes));
        }
    }
}

/* Makes the tables of pass_segments segments. */
static void emit_pass(struct tables *t, uint16_t pass, uint16_t base) {
    const struct rsrc_lut_layout *layout = &t->lut->layout;
    struct rsrc_address from = rsrc_address_at(RSR_KBUF_SCRATCH, t->lut->x_at);
    from = rsrc_address_plus(from, pass, pass_cols(layout));
    struct rsrc_address at = rsrc_address_at(RSR_KBUF_SCRATCH, 0);
    at = rsrc_address_plus(at, base, 1);
    at = rsrc_address_plus(at, pass, layout->table_step_bytes / passes_per_step(layout));
    if (layout->lookup == RSRC_LUT_TABLE128) {
        emit_table128(t, from, at);
        return;
    }
    const uint16_t x = vector_reg(t, RSR_ELEM_U8, "x_lanes");
    rsrc_kb_load_lanes(t->kb, x, from);
    uint16_t sums[2];
    for (uint32_t i = 0; i < 2; i++)
        sums[i] = numbered_reg(t, RSR_ELEM_I16, "sums", i);
    rsrc_kb_comment(t->kb, "sums of x * digit, a code a lane");
    emit_sums(t, x, sums);
    if (layout->lookup == RSRC_LUT_WORDS)
        rsrc_kb_store(t->kb, sums[0], at);
    else
        emit_parts(t, sums, at);
}

static void copy_x_vector(struct tables *t, uint16_t bytes, struct rsrc_address from,
                          struct rsrc_address to) {
    rsrc_kb_load(t->kb, bytes, from);
    if (t->lut->layout.lookup == RSRC_LUT_TABLE128)
        rsrc_kb_binary(t->kb, RSR_KOP_XOR, bytes, bytes, t->x_offset);
    rsrc_kb_store(t->kb, bytes, to);
}

/* Copies x up to the end of its padding. Vector loads read beyond the end of the row, where the
 * caller may have no memory; bytes that they read there are multiplied by digits 0, as are those
 * between the groups of a copy with scales, where each group has whole steps. TABLE128: x + 128. */
static void emit_x_copy(struct tables *t, const struct rsrc_frame_token *token) {
    struct rsrc_kb *kb = t->kb;
    const struct rsrc_lut_kernel *lut = t->lut;
    const struct rsrc_lut_layout *layout = &lut->layout;
    const uint16_t end = rsrc_kb_index_reg(kb, "x_end");
    const uint16_t at = rsrc_kb_index_reg(kb, "x_at");
    const uint16_t bytes = vector_reg(t, RSR_ELEM_U8, "x_bytes");
    const struct rsrc_address x = rsrc_frame_activations(token);
    const struct rsrc_address copy = rsrc_address_at(RSR_KBUF_SCRATCH, lut->x_at);
    rsrc_kb_comment(kb, "a copy of x, behind which vector loads may reach%s",
                    layout->lookup == RSRC_LUT_TABLE128 ? "; + 128: products take it unsigned"
                                                        : "");
    if (layout->scale_bytes == 0) {
        rsrc_kb_const(kb, end, (int64_t)rsrc_round_up(lut->cols, RSR_ACT_PAD));
        rsrc_kb_loop(kb, at, lut->walk.frame.zero, end, layout->vector_rows);
        copy_x_vector(t, bytes, rsrc_address_plus(x, at, 1), rsrc_address_plus(copy, at, 1));
        rsrc_kb_end(kb);
        return;
    }
    const uint32_t stored_cols = layout->group_steps * layout->step_segments * layout->segment_cols;
    rsrc_kb_const(kb, end, layout->n_groups);
    rsrc_kb_loop(kb, at, lut->walk.frame.zero, end, 1);
    for (uint32_t i = 0; i < layout->group_cols; i += layout->vector_rows)
        copy_x_vector(t, bytes,
                      rsrc_address_plus(rsrc_address_offset(x, i), at, layout->group_cols),
                      rsrc_address_plus(rsrc_address_offset(copy, i), at, stored_cols));
    rsrc_kb_end(kb);
}

uint64_t rsrc_lut_x_bytes(const struct rsrc_lut_kernel *lut) {
    const uint64_t row_bytes = rsrc_round_up(lut->cols, RSR_ACT_PAD);
    const uint64_t n_passes = (uint64_t)lut->layout.n_steps * passes_per_step(&lut->layout);
    const uint64_t loaded = (n_passes - 1) * pass_cols(&lut->layout) + LOAD_BYTES;
    const uint64_t bytes = loaded > row_bytes ? loaded : row_bytes;
    return rsrc_round_up(bytes, 64);
}

/* Memory would be idle while a pass makes tables. So the pass prefetches codes of the worker's
 * first unit into the second-level cache, which holds a unit's codes. It does not do so where
 * prefetching goes to the first-level cache, which is too small for them. */
static void fetch_first_unit(struct tables *t, uint16_t pass) {
    struct rsrc_frame *frame = &t->lut->walk.frame;
    const struct rsrc_lut_layout *layout = &t->lut->layout;
    if (frame->layer->spec->prefetch_level < 2)
        return;
    const uint32_t pass_bytes = rsrc_lut_step_bytes(layout) / passes_per_step(layout);
    for (uint32_t stream = 0; stream < layout->unit_vectors; stream++) {
        struct rsrc_address at =
            rsrc_address_at(RSR_KBUF_CODES, (int64_t)(stream * layout->stream_bytes));
        at = rsrc_address_plus(at, frame->unit_begin, (int64_t)rsrc_lut_vector_bytes(layout));
        rsrc_frame_prefetch_codes(frame, rsrc_address_plus(at, pass, pass_bytes), pass_bytes, 0);
    }
}

void rsrc_lut_emit_tables(struct rsrc_lut_walk *walk) {
    struct rsrc_lut_kernel *lut = (struct rsrc_lut_kernel *)walk;
    struct rsrc_kb *kb = &walk->frame.kb;
    struct tables tables = {.lut = lut, .kb = kb};
    const uint16_t token = rsrc_kb_index_reg(kb, "token_t");
    const uint16_t pass = rsrc_kb_index_reg(kb, "pass");
    const uint16_t n_passes = rsrc_kb_index_reg(kb, "passes_per_step");
    const uint16_t first_pass = rsrc_kb_index_reg(kb, "first_pass");
    const uint16_t end_pass = rsrc_kb_index_reg(kb, "end_pass");
    rsrc_kb_comment(kb,
                    "tables: the sums of %u columns for every code, %u segments a pass; a row then "
                    "looks up one sum where it would add %u products",
                    lut->layout.segment_cols, pass_segments(&lut->layout),
                    lut->layout.segment_cols);
    rsrc_kb_const(kb, n_passes, walk_steps(&lut->layout) * passes_per_step(&lut->layout));
    rsrc_kb_binary(kb, RSR_KOP_MUL, first_pass, walk->first_step, n_passes);
    rsrc_kb_binary(kb, RSR_KOP_MUL, end_pass, walk->end_step, n_passes);
    rsrc_kb_comment(kb,
                    "constants of the layout, no weights: digits of all codes, places of bytes");
    load_constants(&tables);
    rsrc_kb_loop(kb, token, walk->first_token, walk->end_token, 1);
    const struct rsrc_frame_token row = rsrc_frame_token(&walk->frame, token, "_t");
    uint16_t slot;
    const uint16_t base = rsrc_lut_table_base(walk, token, "_t", &slot);
    emit_x_copy(&tables, &row);
    rsrc_kb_loop(kb, pass, first_pass, end_pass, 1);
    fetch_first_unit(&tables, pass);
    emit_pass(&tables, pass, base);
    rsrc_kb_end(kb);
    rsrc_kb_end(kb);
}
