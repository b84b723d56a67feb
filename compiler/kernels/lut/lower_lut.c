/* lower_lut.c - `lut`: the transposed form of RSR, for decoding.
 *
 * Columns are cut into segments. For each token, every distinct sum of a segment's activations is
 * computed once (lut_tables.c); then every row selects its sum by its code. In forms that look up
 * bytes, rows are byte lanes: one look-up gives the low parts of the sums of 16 to 64 rows, another
 * the high parts. A sign is applied to both parts by one's complement, t XOR -1 = -t - 1. The
 * compiler knows the total of these missing ones for each row, and the row's sum begins with it.
 * Parts are zipped to int16 and added. Parts of tables of 16 entries are small, so a few are first
 * added as bytes. In the form that looks up words, a table is 32 sums. Sums are widened before they
 * could overflow.
 *
 * If groups of columns have scales, the int32 sum of each group is converted to float (exactly, as
 * it is below 2^24) and multiplied by the group's scale of the row, and these products are added in
 * ascending order, from +0 on; the row's result is that sum times the token's scale.
 *
 * lut_walk.h has the loops over tokens, column blocks and units of rows.
 */
#include "kernels/lut/lut_kernel.h"

#include <assert.h>
#include <stdio.h>

#include "base/round.h"
#include "kernel/group_scales.h"

#define MAX_VECTORS 10 /* of a unit */
#define RUNS 4         /* quarters: vectors of int32 sums for a vector of rows */
#define LINE_BYTES 64
#define WORD_CODES 3     /* codes of a word; */
#define WORD_CODE_BITS 5 /* the remaining bit belongs to the step's last code */

/* Registers of the code for units of n_vectors vectors. */
struct unit {
    struct rsrc_lut_unit base; /* sums: four runs a vector */
    const struct rsrc_lut_kernel *lut;
    struct rsrc_kb *kb;
    uint32_t n_vectors;
    uint16_t fetch_at; /* i64: set by emit_fetch_at; RSR_NO_KREG: the bytes ahead in the stream are
                          fetched */
    uint16_t nibble_mask;            /* u32 */
    uint16_t narrow[MAX_VECTORS][2]; /* i16 */
    uint16_t codes[MAX_VECTORS];     /* u8; u32 for nibbles */
    uint16_t signs[MAX_VECTORS];     /* u8, SHUFFLE16: bits of a step's segments */
    uint16_t code, nibble, low, high, sign;
    uint16_t zipped[2], terms[2];                   /* u8, i16 */
    uint16_t pairs, wide;                           /* u32, i32 */
    uint16_t tables[4];                             /* u8 */
    uint16_t lows[MAX_VECTORS], highs[MAX_VECTORS]; /* u8, SHUFFLE16: sums of parts */
    uint16_t part_weights, word;                    /* i16, u16 */
    /* WORDS, the halves of a vector: u16 */
    uint16_t words[MAX_VECTORS][2], rests[MAX_VECTORS][2];
    uint16_t number, rest_bits[WORD_CODE_BITS]; /* u16; of planes 1 and up */
    uint16_t sum_table, term;                   /* i16 */
    /* Of groups with scales. */
    uint16_t group;                          /* counter; RSR_NO_KREG: groups have none */
    uint16_t group_sums[MAX_VECTORS * RUNS]; /* i32, of groups that are flushed more than once */
    struct rsrc_group_scales scales;
    uint16_t real, no_highs; /* f32; u8 */
};

static const struct rsrc_lut_layout *layout_of(const struct unit *u) {
    return &u->lut->layout;
}

static uint16_t vector_reg(struct unit *u, enum rsr_elem elem, const char *name) {
    static const uint32_t elem_bytes[RSR_ELEM_COUNT] = {[RSR_ELEM_U8] = 1,
                                                        [RSR_ELEM_I16] = 2,
                                                        [RSR_ELEM_U16] = 2,
                                                        [RSR_ELEM_I32] = 4,
                                                        [RSR_ELEM_U32] = 4};
    return rsrc_kb_reg(u->kb, elem, layout_of(u)->vector_rows / elem_bytes[elem], "%s%s", name,
                       u->base.suffix);
}

static uint16_t numbered_reg(struct unit *u, enum rsr_elem elem, const char *name, uint32_t i) {
    char numbered[32];
    snprintf(numbered, sizeof numbered, "%s%u", name, i);
    return vector_reg(u, elem, numbered);
}

static bool has_scales(const struct rsrc_lut_layout *layout) {
    return layout->scale_bytes != 0;
}

/* Whether one operation can weight and add neighbouring bytes. */
static bool adds_pairs(const struct unit *u) {
    return layout_of(u)->adds_pairs;
}

static void make_byte_registers(struct unit *u) {
    const bool nibbles = layout_of(u)->lookup == RSRC_LUT_SHUFFLE16;
    for (uint32_t v = 0; v < u->n_vectors; v++) {
        u->codes[v] = numbered_reg(u, nibbles ? RSR_ELEM_U32 : RSR_ELEM_U8, "codes", v);
        u->signs[v] = numbered_reg(u, RSR_ELEM_U8, "signs", v);
        u->lows[v] = numbered_reg(u, RSR_ELEM_U8, "low_sum", v);
        u->highs[v] = numbered_reg(u, RSR_ELEM_U8, "high_sum", v);
    }
    u->code = nibbles ? vector_reg(u, RSR_ELEM_U8, "code") : RSR_NO_KREG;
    u->nibble = vector_reg(u, RSR_ELEM_U32, "nibble");
    u->low = vector_reg(u, RSR_ELEM_U8, "low_bytes");
    u->high = vector_reg(u, RSR_ELEM_U8, "high_bytes");
    u->sign = vector_reg(u, RSR_ELEM_U8, "sign");
    for (uint32_t i = 0; i < 2; i++) {
        u->zipped[i] = numbered_reg(u, RSR_ELEM_U8, "zipped", i);
        u->terms[i] = numbered_reg(u, RSR_ELEM_I16, "term", i);
    }
    for (uint32_t i = 0; i < 4; i++)
        u->tables[i] = numbered_reg(u, RSR_ELEM_U8, "table", i);
    if (!nibbles)
        return;
    u->nibble_mask = rsrc_kb_const(u->kb, vector_reg(u, RSR_ELEM_U32, "nibble_mask"), 0x0f0f0f0f);
    u->word = vector_reg(u, RSR_ELEM_U16, "word");
    if (adds_pairs(u))
        u->part_weights = rsrc_kb_const(u->kb, vector_reg(u, RSR_ELEM_I16, "part_weights"),
                                        1 | LUT_HIGH_WEIGHT << 8);
}

static void make_word_registers(struct unit *u) {
    for (uint32_t h = 0; h < 2 * u->n_vectors; h++) {
        u->words[h / 2][h % 2] = numbered_reg(u, RSR_ELEM_U16, "words", h);
        u->rests[h / 2][h % 2] = numbered_reg(u, RSR_ELEM_U16, "rests", h);
    }
    u->number = vector_reg(u, RSR_ELEM_U16, "number");
    u->sum_table = vector_reg(u, RSR_ELEM_I16, "sum_table");
    u->term = vector_reg(u, RSR_ELEM_I16, "term");
    for (uint32_t j = 1; j < layout_of(u)->step_planes; j++)
        u->rest_bits[j] =
            rsrc_kb_const(u->kb, numbered_reg(u, RSR_ELEM_U16, "rest_bit", j), INT64_C(1) << j);
}

static bool flushes_once(const struct rsrc_lut_layout *layout) {
    return layout->group_steps <= layout->flush_steps;
}

static uint16_t run_reg(struct unit *u, enum rsr_elem elem, const char *name, uint32_t run) {
    return rsrc_kb_reg(u->kb, elem, u->base.lanes, "%s%u_%u%s", name, run / RUNS, run % RUNS,
                       u->base.suffix);
}

static void make_group_registers(struct unit *u) {
    const struct rsrc_lut_layout *layout = layout_of(u);
    u->group = rsrc_kb_index_reg(u->kb, "group%s", u->base.suffix);
    for (uint32_t run = 0; !flushes_once(layout) && run < u->base.n_runs; run++)
        u->group_sums[run] = run_reg(u, RSR_ELEM_I32, "group_sum", run);
    u->scales = rsrc_make_group_scales(u->kb, layout->scale_bytes, u->base.lanes, u->base.suffix);
    u->real = rsrc_kb_reg(u->kb, RSR_ELEM_F32, u->base.lanes, "real%s", u->base.suffix);
    if (layout->lookup == RSRC_LUT_TABLE128)
        u->no_highs = rsrc_kb_const(u->kb, vector_reg(u, RSR_ELEM_U8, "no_highs"), 0);
}

static void make_registers(struct unit *u) {
    for (uint32_t run = 0; run < u->base.n_runs; run++)
        u->base.sums[run] = run_reg(u, u->base.elem, "sum", run);
    for (uint32_t v = 0; v < u->n_vectors; v++) {
        u->narrow[v][0] = numbered_reg(u, RSR_ELEM_I16, "narrow_low", v);
        u->narrow[v][1] = numbered_reg(u, RSR_ELEM_I16, "narrow_high", v);
    }
    u->pairs = vector_reg(u, RSR_ELEM_U32, "pairs");
    u->wide = vector_reg(u, RSR_ELEM_I32, "wide");
    if (layout_of(u)->lookup == RSRC_LUT_WORDS)
        make_word_registers(u);
    else
        make_byte_registers(u);
    if (has_scales(layout_of(u)))
        make_group_registers(u);
}

/* ---- codes, and what is fetched ahead of them
 * ------------------------------------------------- */

static int64_t fetch_bytes(const struct unit *u) {
    return rsrc_fetch_ahead(u->base.walk->frame.layer->spec, u->n_vectors);
}

/* Sets fetch_at for the steps of a flush, from `first` on. Step s then prefetches the bytes of step
 * s from fetch_at on. fetch_at is some flushes ahead in the unit; near the end of the column block,
 * it is the beginning of the block in the next unit. */
static void emit_fetch_at(struct unit *u, uint16_t first) {
    const struct rsrc_lut_walk *walk = u->base.walk;
    const struct rsrc_lut_layout *layout = layout_of(u);
    struct rsrc_kb *kb = u->kb;
    const int64_t step_bytes = rsrc_lut_step_bytes(layout);
    const int64_t flush_bytes = layout->flush_steps * step_bytes;
    const int64_t flushes = (fetch_bytes(u) + flush_bytes / 2) / flush_bytes;
    const int64_t ahead = (flushes != 0 ? flushes : 1) * layout->flush_steps;
    u->fetch_at = rsrc_kb_index_reg(kb, "fetch_at");
    const uint16_t unit_bytes =
        rsrc_kb_index_const(kb, rsrc_lut_vector_bytes(layout), "fetch_unit_bytes");
    const uint16_t ahead_bytes =
        rsrc_kb_index_const(kb, (uint64_t)(ahead * step_bytes), "fetch_ahead_bytes");
    const uint16_t beyond = rsrc_kb_index_const(kb, (uint64_t)ahead + 1, "fetch_beyond");
    const uint16_t step_size = rsrc_kb_index_const(kb, (uint64_t)step_bytes, "fetch_step_bytes");
    rsrc_kb_binary(kb, RSR_KOP_MUL, u->fetch_at, u->base.number, unit_bytes);
    rsrc_kb_binary(kb, RSR_KOP_ADD, u->fetch_at, u->fetch_at, ahead_bytes);
    rsrc_kb_binary(kb, RSR_KOP_ADD, beyond, beyond, first);
    rsrc_kb_if_less(kb, walk->end_step, beyond);
    const uint16_t skipped =
        rsrc_kb_index_op(kb, RSR_KOP_SUB, walk->end_step, walk->first_step, "fetch_skipped");
    rsrc_kb_binary(kb, RSR_KOP_MUL, skipped, skipped, step_size);
    rsrc_kb_binary(kb, RSR_KOP_SUB, skipped, unit_bytes, skipped);
    rsrc_kb_binary(kb, RSR_KOP_ADD, u->fetch_at, u->fetch_at, skipped);
    rsrc_kb_end(kb);
}

/* Byte `at` of the unit's part of a stream: with scales, of the current group's. */
static struct rsrc_address codes_address(const struct unit *u, uint32_t stream, int64_t at) {
    const struct rsrc_lut_layout *layout = layout_of(u);
    struct rsrc_address address =
        rsrc_address_at(RSR_KBUF_CODES, (int64_t)(stream * layout->stream_bytes) + at);
    address = rsrc_address_plus(address, u->base.number, (int64_t)rsrc_lut_vector_bytes(layout));
    if (has_scales(layout))
        address = rsrc_address_plus(address, u->group, (int64_t)rsrc_lut_group_bytes(layout));
    return address;
}

/* Loads codes of a plane from its byte `at` on. For every line it also prefetches a line further
 * ahead, so that memory reads are spread evenly. */
static void load_codes(struct unit *u, uint16_t reg, uint32_t plane, uint32_t vector, uint32_t at) {
    const struct rsrc_lut_layout *layout = layout_of(u);
    const int64_t plane_bytes = (int64_t)layout->vector_rows * layout->plane_bytes;
    const int64_t step_bytes = rsrc_lut_step_bytes(layout);
    const int64_t stream = (int64_t)(vector * layout->stream_bytes);
    const int64_t in_step = plane * plane_bytes + at;
    struct rsrc_address at_unit =
        codes_address(u, vector, (int64_t)rsrc_lut_head_bytes(layout) + in_step);
    rsrc_kb_load(u->kb, reg, rsrc_address_plus(at_unit, u->base.step, step_bytes));
    if (in_step % LINE_BYTES != 0)
        return;
    at_unit =
        u->fetch_at == RSR_NO_KREG
            ? rsrc_address_offset(at_unit, fetch_bytes(u))
            : rsrc_address_plus(rsrc_address_at(RSR_KBUF_CODES, stream + in_step), u->fetch_at, 1);
    rsrc_kb_prefetch(u->kb, rsrc_address_plus(at_unit, u->base.step, step_bytes));
}

/* ---- one step of segments -------------------------------------------------------------------- */

static struct rsrc_address table_address(const struct unit *u, int64_t offset) {
    struct rsrc_address at = rsrc_address_at(RSR_KBUF_SCRATCH, offset);
    at = rsrc_address_plus(at, u->base.table_base, 1);
    if (has_scales(layout_of(u)))
        at = rsrc_address_plus(at, u->group, u->base.walk->table_step_bytes);
    return rsrc_address_plus(at, u->base.step, layout_of(u)->table_step_bytes);
}

/* Turns the looked-up parts into their complements (the opposite less 1) where bit 7 of `signs` is
 * set. */
static void apply_signs(struct unit *u, uint16_t signs, uint16_t low, uint16_t high) {
    struct rsrc_kb *kb = u->kb;
    if (!layout_of(u)->has_sign)
        return;
    rsrc_kb_immediate(kb, RSR_KOP_SPREAD_BIT, u->sign, signs, 7);
    rsrc_kb_binary(kb, RSR_KOP_XOR, low, low, u->sign);
    rsrc_kb_binary(kb, RSR_KOP_XOR, high, high, u->sign);
}

/* narrow += low and high bytes, zipped to words; with SHUFFLE16, zipped to pairs of weighted
 * parts */
static void add_zipped(struct unit *u, uint32_t v, uint16_t low, uint16_t high) {
    struct rsrc_kb *kb = u->kb;
    for (uint32_t i = 0; i < 2; i++) {
        rsrc_kb_binary(kb, i == 0 ? RSR_KOP_ZIP_LOW : RSR_KOP_ZIP_HIGH, u->zipped[i], low, high);
        if (layout_of(u)->lookup == RSRC_LUT_SHUFFLE16)
            rsrc_kb_binary(kb, RSR_KOP_MADD_U8S8, u->terms[i], u->part_weights, u->zipped[i]);
        else
            rsrc_kb_unary(kb, RSR_KOP_BITCAST, u->terms[i], u->zipped[i]);
        rsrc_kb_binary(kb, RSR_KOP_ADD, u->narrow[v][i], u->narrow[v][i], u->terms[i]);
    }
}

static void emit_table128_step(struct unit *u) {
    struct rsrc_kb *kb = u->kb;
    for (uint32_t i = 0; i < 4; i++)
        rsrc_kb_load(kb, u->tables[i], table_address(u, (int64_t)i * layout_of(u)->vector_rows));
    for (uint32_t v = 0; v < u->n_vectors; v++) {
        load_codes(u, u->codes[v], 0, v, 0);
        rsrc_kb_ternary(kb, RSR_KOP_TABLE2, u->low, u->codes[v], u->tables[0], u->tables[1]);
        rsrc_kb_ternary(kb, RSR_KOP_TABLE2, u->high, u->codes[v], u->tables[2], u->tables[3]);
        apply_signs(u, u->codes[v], u->low, u->high);
        add_zipped(u, v, u->low, u->high);
    }
}

/* Adds them on machines without an operation for weighted pairs: until zip_narrow(), narrow[0] has
 * the even lanes and narrow[1] the odd lanes. */
static void add_lanes(struct unit *u, uint32_t v) {
    struct rsrc_kb *kb = u->kb;
    const uint16_t sums[2] = {u->lows[v], u->highs[v]};
    static const uint32_t weight_bits[2] = {0, LUT_HIGH_BITS};
    for (uint32_t i = 0; i < 2; i++) {
        rsrc_kb_unary(kb, RSR_KOP_BITCAST, u->word, sums[i]);
        rsrc_kb_unary(kb, RSR_KOP_BITCAST, u->terms[1], u->word);
        rsrc_kb_immediate(kb, RSR_KOP_SHL, u->word, u->word, 8);
        rsrc_kb_unary(kb, RSR_KOP_BITCAST, u->terms[0], u->word);
        rsrc_kb_immediate(kb, RSR_KOP_SHR, u->terms[0], u->terms[0], 8 - weight_bits[i]);
        rsrc_kb_immediate(kb, RSR_KOP_SHR, u->terms[1], u->terms[1], 8);
        rsrc_kb_immediate(kb, RSR_KOP_SHL, u->terms[1], u->terms[1], weight_bits[i]);
        for (uint32_t odd = 0; odd < 2; odd++)
            rsrc_kb_binary(kb, RSR_KOP_ADD, u->narrow[v][odd], u->narrow[v][odd], u->terms[odd]);
    }
}

static void zip_narrow(struct unit *u, uint32_t v) {
    for (uint32_t i = 0; i < 2; i++)
        rsrc_kb_binary(u->kb, i == 0 ? RSR_KOP_ZIP_LOW : RSR_KOP_ZIP_HIGH, u->terms[i],
                       u->narrow[v][0], u->narrow[v][1]);
    for (uint32_t i = 0; i < 2; i++)
        rsrc_kb_unary(u->kb, RSR_KOP_COPY, u->narrow[v][i], u->terms[i]);
}

/* Looks up the nibbles of one segment; odd segments are in the high nibbles. Its parts begin the
 * sums of bytes, or are added to them. Its sign is at bit 7. */
static void emit_nibble_segment(struct unit *u, uint32_t segment, bool begins) {
    struct rsrc_kb *kb = u->kb;
    const uint32_t rows = layout_of(u)->vector_rows, group = rows / 16;
    const int64_t at = (int64_t)(segment / group) * 2 * rows + segment % group * 16;
    rsrc_kb_load_lanes(kb, u->tables[0], table_address(u, at));
    rsrc_kb_load_lanes(kb, u->tables[1], table_address(u, at + rows));
    for (uint32_t v = 0; v < u->n_vectors; v++) {
        const uint16_t low = begins ? u->lows[v] : u->low, high = begins ? u->highs[v] : u->high;
        uint16_t bits = u->codes[v];
        if (segment % 2 != 0)
            bits = rsrc_kb_immediate(kb, RSR_KOP_SHR, u->nibble, bits, 4);
        rsrc_kb_binary(kb, RSR_KOP_AND, u->nibble, bits, u->nibble_mask);
        rsrc_kb_unary(kb, RSR_KOP_BITCAST, u->code, u->nibble);
        rsrc_kb_binary(kb, RSR_KOP_SHUFFLE16, low, u->code, u->tables[0]);
        rsrc_kb_binary(kb, RSR_KOP_SHUFFLE16, high, u->code, u->tables[1]);
        apply_signs(u, u->signs[v], low, high);
        if (begins)
            continue;
        rsrc_kb_binary(kb, RSR_KOP_ADD, u->lows[v], u->lows[v], low);
        rsrc_kb_binary(kb, RSR_KOP_ADD, u->highs[v], u->highs[v], high);
    }
}

/* It goes from the last segment to the first: doubling the bytes of signs brings the next sign to
 * bit 7, and a comparison with 0 spreads it. */
static void emit_nibble_step(struct unit *u) {
    const struct rsrc_lut_layout *layout = layout_of(u);
    for (uint32_t v = 0; layout->has_sign && v < u->n_vectors; v++)
        load_codes(u, u->signs[v], layout->step_planes - 1, v, 0);
    for (uint32_t s = layout->step_segments; s-- > 0;) {
        for (uint32_t v = 0; s % 2 != 0 && v < u->n_vectors; v++)
            load_codes(u, u->codes[v], s / 2, v, 0);
        emit_nibble_segment(u, s, (s + 1) % layout->byte_segments == 0);
        for (uint32_t v = 0; layout->has_sign && s != 0 && v < u->n_vectors; v++)
            rsrc_kb_binary(u->kb, RSR_KOP_ADD, u->signs[v], u->signs[v], u->signs[v]);
        for (uint32_t v = 0; s % layout->byte_segments == 0 && v < u->n_vectors; v++)
            if (adds_pairs(u))
                add_zipped(u, v, u->lows[v], u->highs[v]);
            else
                add_lanes(u, v);
    }
}

/* narrow += the sums of one segment, whose code is the number mod 32 */
static void add_words(struct unit *u, uint32_t v, uint32_t half, uint16_t number) {
    struct rsrc_kb *kb = u->kb;
    rsrc_kb_binary(kb, RSR_KOP_TABLE, u->term, number, u->sum_table);
    rsrc_kb_binary(kb, RSR_KOP_ADD, u->narrow[v][half], u->narrow[v][half], u->term);
}

static void load_sum_table(struct unit *u, uint32_t segment) {
    rsrc_kb_load(u->kb, u->sum_table,
                 table_address(u, (int64_t)segment * layout_of(u)->vector_rows));
}

static uint16_t shifted(struct unit *u, uint16_t words, uint32_t bit) {
    return bit == 0 ? words : rsrc_kb_immediate(u->kb, RSR_KOP_SHR, u->number, words, bit);
}

/* Bit j of the step's last code is the highest of plane j. */
static void take_rest(struct unit *u, uint32_t j, uint16_t words, uint16_t rests) {
    struct rsrc_kb *kb = u->kb;
    if (j == 0) {
        rsrc_kb_immediate(kb, RSR_KOP_SHR, rests, words, 15);
        return;
    }
    rsrc_kb_immediate(kb, RSR_KOP_SHR, u->number, words, 15 - j);
    rsrc_kb_binary(kb, RSR_KOP_AND, u->number, u->number, u->rest_bits[j]);
    rsrc_kb_binary(kb, RSR_KOP_OR, rests, rests, u->number);
}

static void emit_word_step(struct unit *u) {
    const struct rsrc_lut_layout *layout = layout_of(u);
    const uint32_t n_halves = 2 * u->n_vectors;
    for (uint32_t j = 0; j < layout->step_planes; j++) {
        for (uint32_t i = 0; i < WORD_CODES; i++) {
            load_sum_table(u, WORD_CODES * j + i);
            for (uint32_t h = 0; h < n_halves; h++) {
                const uint16_t words = u->words[h / 2][h % 2];
                if (i == 0)
                    load_codes(u, words, j, h / 2, h % 2 * layout->vector_rows);
                add_words(u, h / 2, h % 2, shifted(u, words, WORD_CODE_BITS * i));
            }
        }
        for (uint32_t h = 0; h < n_halves; h++)
            take_rest(u, j, u->words[h / 2][h % 2], u->rests[h / 2][h % 2]);
    }
    load_sum_table(u, layout->step_segments - 1);
    for (uint32_t h = 0; h < n_halves; h++)
        add_words(u, h / 2, h % 2, u->rests[h / 2][h % 2]);
}

static const char *const step_comments[] = {
    [RSRC_LUT_TABLE128] =
        "look up: a row's code selects the low and the high byte of its sum, from 128 of each; its "
        "sign bit complements both; zipped to int16 they are added",
    [RSRC_LUT_SHUFFLE16] =
        "look up: a nibble selects the low and the high part of its sum, from 16 of each; a few "
        "parts are added as bytes, then together, the high ones weighted, as int16",
    [RSRC_LUT_WORDS] = "look up: five bits of a word select one of 32 sums of int16; the bits left "
                       "over are the step's last code"};

static void emit_step(struct unit *u) {
    static void (*const emit[])(struct unit *) = {[RSRC_LUT_TABLE128] = emit_table128_step,
                                                  [RSRC_LUT_SHUFFLE16] = emit_nibble_step,
                                                  [RSRC_LUT_WORDS] = emit_word_step};
    emit[layout_of(u)->lookup](u);
}

/* ---- sums of a unit's rows ------------------------------------------------------------------- */

/* wide = the even or the odd lanes of a vector of int16 sums. */
static void widen_run(struct unit *u, uint32_t run) {
    struct rsrc_kb *kb = u->kb;
    rsrc_kb_unary(kb, RSR_KOP_BITCAST, u->pairs, u->narrow[run / RUNS][run % RUNS / 2]);
    if (run % 2 == 0)
        rsrc_kb_immediate(kb, RSR_KOP_SHL, u->pairs, u->pairs, 16);
    rsrc_kb_unary(kb, RSR_KOP_BITCAST, u->wide, u->pairs);
    rsrc_kb_immediate(kb, RSR_KOP_SHR, u->wide, u->wide, 16);
}

/* sums += the int16 sums of all rows. */
static void widen(struct unit *u, const uint16_t *sums) {
    for (uint32_t run = 0; run < u->base.n_runs; run++) {
        widen_run(u, run);
        rsrc_kb_binary(u->kb, RSR_KOP_ADD, sums[run], sums[run], u->wide);
    }
}

/* Makes int16 sums a row a lane, in the order of the zips. */
static void order_narrow(struct unit *u) {
    for (uint32_t v = 0; v < u->n_vectors; v++)
        if (layout_of(u)->lookup == RSRC_LUT_SHUFFLE16 && !adds_pairs(u))
            zip_narrow(u, v);
}

/* The correction for complements: 1 for each code with a sign, and the weight as well for weighted
 * parts. */
static void add_corrections(struct rsrc_lut_unit *base) {
    struct unit *u = (struct unit *)base;
    const struct rsrc_lut_layout *layout = layout_of(u);
    const int64_t rows = layout->vector_rows;
    rsrc_kb_comment(u->kb,
                    "begin with what complements lack: -t is ~t + 1, and how many codes of a "
                    "row are negated is known from its weights");
    for (uint32_t v = 0; v < u->n_vectors; v++)
        for (uint32_t i = 0; i < 2; i++) {
            const int64_t first = (int64_t)rsrc_lut_constants_bytes(layout) + v * rows * 2;
            struct rsrc_address at = rsrc_address_at(RSR_KBUF_INDEX, first + i * rows);
            at = rsrc_address_plus(at, u->base.number, layout->unit_vectors * rows * 2);
            rsrc_kb_load(u->kb, u->narrow[v][i], at);
        }
    widen(u, base->sums);
    for (uint32_t i = 0; layout->lookup == RSRC_LUT_SHUFFLE16 && i < base->n_runs; i++) {
        rsrc_kb_immediate(u->kb, RSR_KOP_SHL, u->wide, base->sums[i], LUT_HIGH_BITS);
        rsrc_kb_binary(u->kb, RSR_KOP_ADD, base->sums[i], base->sums[i], u->wide);
    }
}

static void clear_narrow(struct unit *u) {
    for (uint32_t v = 0; v < u->n_vectors; v++)
        for (uint32_t i = 0; i < 2; i++)
            rsrc_kb_const(u->kb, u->narrow[v][i], 0);
}

#define WIDEN_COMMENT "widen: the even, then the odd lanes of int16, by shifts that keep the sign"

/* Adds steps first .. end - 1 to the sums, flush by flush. */
static void emit_steps(struct unit *u, uint16_t first_step, uint16_t end_step,
                       const uint16_t *sums) {
    struct rsrc_kb *kb = u->kb;
    const struct rsrc_lut_walk *walk = u->base.walk;
    const struct rsrc_lut_layout *layout = layout_of(u);
    const bool blocks = walk->n_blocks > 1 && !has_scales(layout);
    const uint16_t first = rsrc_kb_index_reg(kb, "flush%s", u->base.suffix),
                   end = rsrc_kb_index_reg(kb, "flush_end%s", u->base.suffix);
    const uint16_t size = rsrc_kb_index_reg(kb, "flush_steps%s", u->base.suffix);
    rsrc_kb_comment(kb, "int16 sums hold %u segments of %u columns, and are widened then",
                    layout->flush_steps * layout->step_segments, layout->segment_cols);
    rsrc_kb_const(kb, size, layout->flush_steps);
    rsrc_kb_loop(kb, first, first_step, end_step, layout->flush_steps);
    rsrc_kb_binary(kb, RSR_KOP_ADD, end, first, size);
    rsrc_kb_binary(kb, RSR_KOP_MIN, end, end, end_step);
    if (blocks && u->base.n_rows == walk->frame.unit_rows)
        emit_fetch_at(u, first);
    clear_narrow(u);
    rsrc_kb_comment(kb, "%s", step_comments[layout->lookup]);
    rsrc_kb_loop(kb, u->base.step, first, end, 1);
    emit_step(u);
    rsrc_kb_end(kb);
    rsrc_kb_comment(kb, WIDEN_COMMENT);
    order_narrow(u);
    widen(u, sums);
    rsrc_kb_end(kb);
}

/* ---- scales of groups ------------------------------------------------------------------------ */

/* Begins the int16 sums of a group with what complements lack: its codes with a sign are counted
 * behind its scales. */
static void begin_group(struct unit *u) {
    const struct rsrc_lut_layout *layout = layout_of(u);
    clear_narrow(u);
    for (uint32_t v = 0; layout->has_sign && v < u->n_vectors; v++) {
        rsrc_kb_load(u->kb, u->lows[v],
                     codes_address(u, v, (int64_t)layout->vector_rows * layout->scale_bytes));
        rsrc_kb_unary(u->kb, RSR_KOP_COPY, u->highs[v],
                      layout->lookup == RSRC_LUT_TABLE128 ? u->no_highs : u->lows[v]);
        if (layout->lookup == RSRC_LUT_TABLE128 || adds_pairs(u))
            add_zipped(u, v, u->lows[v], u->highs[v]);
        else
            add_lanes(u, v);
    }
}

/* sums += the group's sum of a run, in register `sum`, times its scales */
static void scale_run(struct unit *u, uint32_t run, uint16_t sum) {
    struct rsrc_kb *kb = u->kb;
    const int64_t row = run % RUNS * u->base.lanes;
    const uint16_t scale = rsrc_load_group_scales(
        kb, &u->scales, codes_address(u, run / RUNS, row * layout_of(u)->scale_bytes));
    rsrc_kb_unary(kb, RSR_KOP_CONVERT, u->real, sum);
    rsrc_kb_binary(kb, RSR_KOP_MUL, u->real, u->real, scale);
    rsrc_kb_binary(kb, RSR_KOP_ADD, u->base.sums[run], u->base.sums[run], u->real);
}

#define SCALE_COMMENT                                                                              \
    "scale: a group's sums are added to the rows' times the group's scales, which lie before its " \
    "codes"

/* A group whose sums fit int16 until its end. */
static void emit_short_group(struct unit *u, uint16_t n_steps) {
    struct rsrc_kb *kb = u->kb;
    begin_group(u);
    rsrc_kb_comment(kb, "%s", step_comments[layout_of(u)->lookup]);
    rsrc_kb_loop(kb, u->base.step, u->base.walk->frame.zero, n_steps, 1);
    emit_step(u);
    rsrc_kb_end(kb);
    rsrc_kb_comment(kb, WIDEN_COMMENT);
    order_narrow(u);
    rsrc_kb_comment(kb, SCALE_COMMENT);
    for (uint32_t run = 0; run < u->base.n_runs; run++) {
        widen_run(u, run);
        scale_run(u, run, u->wide);
    }
}

static void emit_long_group(struct unit *u, uint16_t n_steps) {
    begin_group(u);
    order_narrow(u);
    for (uint32_t run = 0; run < u->base.n_runs; run++)
        rsrc_kb_const(u->kb, u->group_sums[run], 0);
    widen(u, u->group_sums);
    emit_steps(u, u->base.walk->frame.zero, n_steps, u->group_sums);
    rsrc_kb_comment(u->kb, SCALE_COMMENT);
    for (uint32_t run = 0; run < u->base.n_runs; run++)
        scale_run(u, run, u->group_sums[run]);
}

static void emit_groups(struct unit *u) {
    const struct rsrc_lut_layout *layout = layout_of(u);
    struct rsrc_lut_walk *walk = u->base.walk;
    const uint16_t n_steps =
        rsrc_kb_index_const(u->kb, layout->group_steps, "group_steps%s", u->base.suffix);
    rsrc_kb_loop(u->kb, u->group, walk->first_step, walk->end_step, 1);
    for (uint32_t v = 0; v < u->n_vectors; v++)
        rsrc_frame_prefetch_codes(&walk->frame, codes_address(u, v, 0), rsrc_lut_head_bytes(layout),
                                  fetch_bytes(u));
    if (flushes_once(layout))
        emit_short_group(u, n_steps);
    else
        emit_long_group(u, n_steps);
    rsrc_kb_end(u->kb);
}

/* ---- results --------------------------------------------------------------------------------- */

/* If bits are computed as signs s = 2w - 1, the result is (s.x + sum x) / 2. If signs are computed
 * as bits, it is 2 w.x - sum x. */
static void correct(struct unit *u, uint16_t sums, uint16_t x_sums) {
    struct rsrc_kb *kb = u->kb;
    const struct rsrc_lut_layout *layout = layout_of(u);
    if (layout->alphabet == RSR_BINARY_BIT && layout->has_sign) {
        rsrc_kb_binary(kb, RSR_KOP_ADD, sums, sums, x_sums);
        rsrc_kb_immediate(kb, RSR_KOP_SHR, sums, sums, 1);
    }
    if (layout->alphabet == RSR_BINARY_SIGN && !layout->has_sign) {
        rsrc_kb_immediate(kb, RSR_KOP_SHL, sums, sums, 1);
        rsrc_kb_binary(kb, RSR_KOP_SUB, sums, sums, x_sums);
    }
}

static void emit_scaled_results(struct rsrc_lut_unit *base) {
    rsrc_frame_comment_results(&base->walk->frame);
    for (uint32_t run = 0; run < base->n_runs; run++)
        rsrc_lut_store_run(base, run);
}

static void emit_results(struct rsrc_lut_unit *base) {
    struct unit *u = (struct unit *)base;
    const uint16_t x_sum = rsrc_frame_load_sum(&base->walk->frame, &base->token, base->suffix);
    const uint16_t x_sums = vector_reg(u, RSR_ELEM_I32, "x_sums");
    rsrc_kb_unary(u->kb, RSR_KOP_SPLAT, x_sums, x_sum);
    rsrc_frame_comment_results(&base->walk->frame);
    for (uint32_t run = 0; run < base->n_runs; run++) {
        correct(u, base->sums[run], x_sums);
        rsrc_lut_store_run(base, run);
    }
}

/* ---- the kernel ------------------------------------------------------------------------------ */

static void emit_unit(struct rsrc_lut_walk *walk, uint16_t number, uint32_t n_rows,
                      const char *suffix) {
    const struct rsrc_lut_kernel *lut = (const struct rsrc_lut_kernel *)walk;
    struct rsrc_kb *kb = &walk->frame.kb;
    struct unit u = {.base = {.walk = walk,
                              .n_rows = n_rows,
                              .suffix = suffix,
                              .elem = has_scales(&lut->layout) ? RSR_ELEM_F32 : RSR_ELEM_I32,
                              .lanes = lut->layout.vector_rows / RUNS,
                              .number = number},
                     .lut = lut,
                     .kb = kb,
                     .fetch_at = RSR_NO_KREG,
                     .group = RSR_NO_KREG};
    u.n_vectors = rsrc_divide_up(n_rows, lut->layout.vector_rows);
    u.base.n_runs = u.n_vectors * RUNS;
    assert(u.n_vectors <= MAX_VECTORS);
    make_registers(&u);
    rsrc_lut_make_counters(&u.base);
    rsrc_lut_begin_token(&u.base);
    if (has_scales(&lut->layout)) {
        rsrc_lut_begin_sums(&u.base, NULL);
        emit_groups(&u);
        rsrc_lut_end_sums(&u.base, emit_scaled_results);
    } else {
        rsrc_lut_begin_sums(&u.base, lut->layout.has_sign ? add_corrections : NULL);
        emit_steps(&u, walk->first_step, walk->end_step, u.base.sums);
        rsrc_lut_end_sums(&u.base, emit_results);
    }
    rsrc_kb_end(kb);
}

static void emit_kernel(struct rsrc_lut_kernel *lut) {
    static const struct rsrc_lut_form form = {rsrc_lut_emit_tables, emit_unit};
    const struct rsrc_lut_layout *layout = &lut->layout;
    struct rsrc_arena *arena = lut->walk.frame.kb.arena;
    const char *groups = !has_scales(layout)
                             ? ""
                             : rsrc_arena_printf(arena, "; a scale of %u bits every %u columns",
                                                 8 * layout->scale_bytes, layout->group_cols);
    const char *comment = rsrc_arena_printf(
        arena, "%s: vectors of %u rows, %u a unit; %u columns a segment, %u segments a step%s",
        layout->form, layout->vector_rows, layout->unit_vectors, layout->segment_cols,
        layout->step_segments, groups);
    const char *tables =
        rsrc_arena_printf(arena, "%s of %u columns in groups of %u, %u a segment", layout->form,
                          lut->cols, layout->group_cols, layout->segment_cols);
    rsrc_lut_emit_walk(&lut->walk, &form, comment, tables);
}

static void pack(const struct rsrc_lut_layout *layout, struct rsrc_arena *arena,
                 const struct rsr_matrix *matrix, struct rsr_lowered *out) {
    const uint64_t n_constants = rsrc_lut_constants_bytes(layout);
    uint8_t *codes = rsrc_alloc_blob(arena, &out->codes, rsrc_lut_codes_bytes(layout));
    uint8_t *index = rsrc_alloc_blob(arena, &out->index, rsrc_lut_index_bytes(layout));
    int16_t *corrections =
        rsrc_lut_has_corrections(layout) ? (int16_t *)(void *)(index + n_constants) : NULL;
    rsrc_lut_pack_constants(layout, index);
    rsrc_pack_lut(arena, matrix, layout, codes, corrections);
}

enum rsrc_status rsrc_lower_lut(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                const struct rsrc_lower_input *input, struct rsr_lowered *out,
                                const char **detail) {
    const struct rsr_matrix *matrix = input->matrix;
    const struct rsrc_lut_shape shape = rsrc_lut_matrix_shape(matrix);
    if (rsrc_lut_check_groups(diag, input) != RSRC_OK)
        return RSRC_FAILED;
    struct rsrc_lut_kernel lut = {
        .cols = matrix->cols,
        .layout = rsrc_make_lut_layout(input->plan->machine, input->spec->cores, &shape)};
    if (matrix->cols > rsrc_lut_max_cols(&lut.layout))
        return rsrc_refuse_wide(diag, input);
    const struct rsrc_lut_layout *layout = &lut.layout;
    pack(layout, arena, matrix, out);
    rsrc_frame_begin(&lut.walk.frame, arena, input, layout->unit_vectors * layout->vector_rows,
                     &out->kernel);
    rsrc_frame_streams(&lut.walk.frame, layout->unit_vectors, layout->stream_bytes,
                       rsrc_lut_vector_bytes(layout));
    const bool groups = has_scales(layout); /* a step of the walk is then a group */
    lut.walk.n_steps = groups ? layout->n_groups : layout->n_steps;
    lut.walk.table_step_bytes = layout->table_step_bytes * (groups ? layout->group_steps : 1);
    lut.x_at = (int64_t)rsrc_lut_plan_scratch(&lut.walk, groups ? 1 : layout->flush_steps,
                                              (uint64_t)layout->n_vectors * layout->vector_rows);
    out->kernel.scratch_bytes += rsrc_lut_x_bytes(&lut);
    emit_kernel(&lut);
    rsrc_frame_end(&lut.walk.frame, out);
    *detail = rsrc_arena_printf(arena, "%s-u%u-b%u-s%u", layout->form, layout->unit_vectors,
                                lut.walk.block_steps, 8 * layout->scale_bytes);
    return RSRC_OK;
}
