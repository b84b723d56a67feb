/* lower_dot_panel.c - `dot` over the codes of `lut`, for batches: one stored copy serves both regimes.
 *
 * A vector of rows at a time, codes become a panel in the second-level cache: bytes u >= 0 with four
 * columns of a row side by side, as the integer dot product wants them. Then all tokens of a group pass
 * over the panel, a few at a time, each splatting four of its activations. Ternary u = w + 1, signs
 * u = (w + 1) / 2, bits u = w; y = alpha * sum of u x + beta * sum of x as in lower_dot.c.
 *
 * Unpacking a column costs about six instructions a vector and a product one a token and quarter of a
 * vector, so that 128 tokens hide it. Partial sums wait in scratch memory: rows may be longer than the
 * panel. A target with matrix registers takes 16 tokens at a time, their activations as they lie, and the
 * panel's bytes as signed ones (u <= 2); what is left of the tokens goes the other way.
 */
#include "lower/kernel_frame.h"
#include "lower/variants.h"

#include <assert.h>
#include <stdio.h>

#define QUARTERS 4 /* vectors of int32 sums of a vector of rows */
#define MAX_TOKENS 6
#define GROUP_TOKENS 128
/* Quads of columns whose sums fit int16: two products of at most 2 * 128 each. */
#define NARROW_QUADS 63
/* Matrix registers: 16 rows of 64 bytes, 16 tokens or 16 quads of columns. */
#define TILE_TOKENS 16
#define TILE_QUADS 16
#define MIN_PANEL_BYTES (32u << 10)

enum panel_style { PANEL_DOT, PANEL_MADD };

/* What a target multiplies with, best first. */
static const struct panel_machine {
    uint64_t features; /* all required */
    uint32_t vector_rows;
    enum panel_style style;
    enum rsr_kop_kind dot; /* PANEL_DOT */
    uint32_t n_tokens;     /* whose sums fit the registers */
    bool has_tiles;
    const char *name;
} panel_machines[] = {
#define F(id) RSR_CPU_MASK(id)
    {F(AVX512BW) | F(AVX512VNNI) | F(AMX_TILE) | F(AMX_INT8), 64, PANEL_DOT, RSR_KOP_DOT_U8S8, 6,
     true, "amx64"},
    {F(AVX512BW) | F(AVX512VNNI), 64, PANEL_DOT, RSR_KOP_DOT_U8S8, 6, false, "vnni64"},
    {F(AVX512BW), 64, PANEL_MADD, RSR_KOP_COUNT, 4, false, "madd64"},
    {F(AVX512VL) | F(AVX512VNNI), 32, PANEL_DOT, RSR_KOP_DOT_U8S8, 6, false, "vnni32"},
    {F(AVXVNNI), 32, PANEL_DOT, RSR_KOP_DOT_U8S8, 2, false, "vnni32"},
    {F(AVX2), 32, PANEL_MADD, RSR_KOP_COUNT, 2, false, "madd32"},
    {F(SSSE3), 16, PANEL_MADD, RSR_KOP_COUNT, 2, false, "madd16"},
    /* u < 128 either way */
    {F(DOTPROD), 16, PANEL_DOT, RSR_KOP_DOT_S8S8, 6, false, "sdot16"},
#undef F
};

struct panel {
    struct rsrc_frame frame;
    const struct panel_machine *machine;
    struct rsrc_lut_layout layout;
    uint32_t cols;
    uint32_t macro_steps; /* steps of codes that make whole quads of columns */
    uint32_t macro_quads;
    uint32_t n_macros, block_macros;
    int64_t sums_at, tail_at; /* scratch memory; the panel is at 0 */
    /* Registers, i64. */
    uint16_t row;      /* first row of the vector */
    uint16_t codes_at; /* first byte of its codes, step_stride bytes to the next step */
    uint16_t step_stride, plane_stride;
    uint16_t first_macro, end_macro, n_quads, block_x;
    uint16_t first_token, end_token;
    /* Constants of the unpacking. */
    uint16_t digits[5][2], three, one, nibble;
};

static uint32_t lanes32(const struct panel *panel) {
    return panel->layout.vector_rows / 4;
}

/* ---- unpacking -------------------------------------------------------------------------------------- */

static uint16_t bytes_reg(struct panel *panel, const char *name, uint32_t i) {
    return rsrc_kb_reg(&panel->frame.kb, RSR_ELEM_U8, panel->layout.vector_rows, "%s%u", name, i);
}

/* The digit i of a magnitude, plus one. */
static uint8_t digit_code(uint32_t magnitude, uint32_t i) {
    int32_t value = (int32_t)magnitude, digit = 0;
    for (uint32_t j = 0; j <= i; j++) {
        digit = (value + 1) % 3 - 1;
        value = (value - digit) / 3;
    }
    return (uint8_t)(digit + 1);
}

static uint32_t table_bytes(const struct rsrc_lut_layout *layout) {
    return layout->lookup == RSRC_LUT_TABLE128 ? 128 : 16;
}

/* A table a digit of ternary codes; none for binary ones. */
static void pack_digits(struct rsrc_arena *arena, const struct rsrc_lut_layout *layout,
                        struct rsr_blob *index) {
    if (layout->alphabet != RSR_TERNARY)
        return;
    const uint32_t n = table_bytes(layout);
    uint8_t *bytes = rsrc_arena_alloc(arena, (size_t)n * layout->group_cols);
    for (uint32_t i = 0; i < layout->group_cols; i++)
        for (uint32_t m = 0; m < n; m++)
            bytes[i * n + m] = digit_code(m, i);
    index->bytes = bytes;
    index->size_bytes = (uint64_t)n * layout->group_cols;
}

static void emit_constants(struct panel *panel) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const struct rsrc_lut_layout *layout = &panel->layout;
    panel->one = rsrc_kb_const(kb, bytes_reg(panel, "ones", 0), 1);
    if (layout->lookup == RSRC_LUT_SHUFFLE16)
        panel->nibble = rsrc_kb_const(kb, bytes_reg(panel, "nibbles", 0), 15);
    if (layout->alphabet != RSR_TERNARY)
        return;
    panel->three = rsrc_kb_const(kb, bytes_reg(panel, "threes", 0), 3);
    for (uint32_t i = 0; i < layout->group_cols; i++) {
        const int64_t at = (int64_t)i * table_bytes(layout);
        const struct rsrc_address table = rsrc_address_at(RSR_KBUF_INDEX, at);
        panel->digits[i][0] = bytes_reg(panel, "digit_low", i);
        if (layout->lookup == RSRC_LUT_SHUFFLE16) {
            rsrc_kb_load_lanes(kb, panel->digits[i][0], table);
            continue;
        }
        panel->digits[i][1] = bytes_reg(panel, "digit_high", i);
        rsrc_kb_load(kb, panel->digits[i][0], table);
        rsrc_kb_load(kb, panel->digits[i][1], rsrc_address_offset(table, 64));
    }
}

/* Names of temporaries must differ: they end in the number of the column they lead to. */
struct unpacking {
    struct panel *panel;
    uint16_t quad_at;    /* byte of the panel where the macro step begins */
    uint32_t n_columns;  /* unpacked so far */
    uint16_t columns[4]; /* of the quad that is growing */
};

/* Four columns of all rows to four vectors with a row's columns side by side. */
static void store_quad(struct unpacking *u) {
    struct panel *panel = u->panel;
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint32_t rows = panel->layout.vector_rows, q = u->n_columns / 4 - 1;
    static const enum rsr_kop_kind zips[2] = {RSR_KOP_ZIP_LOW, RSR_KOP_ZIP_HIGH};
    for (uint32_t half = 0; half < 2; half++) {
        uint16_t pairs[2];
        for (uint32_t i = 0; i < 2; i++) {
            const uint16_t zipped = rsrc_kb_binary(
                kb, zips[half], rsrc_kb_reg(kb, RSR_ELEM_U8, rows, "pair%u_%u_%u", q, half, i),
                u->columns[2 * i], u->columns[2 * i + 1]);
            pairs[i] = rsrc_kb_unary(
                kb, RSR_KOP_BITCAST,
                rsrc_kb_reg(kb, RSR_ELEM_I16, rows / 2, "wide%u_%u_%u", q, half, i), zipped);
        }
        for (uint32_t i = 0; i < 2; i++) {
            const uint16_t quarter = rsrc_kb_binary(
                kb, zips[i],
                rsrc_kb_reg(kb, RSR_ELEM_I16, rows / 2, "quarter%u_%u", q, 2 * half + i), pairs[0],
                pairs[1]);
            const int64_t at = (int64_t)q * 4 * rows + (2 * half + i) * rows;
            rsrc_kb_store(kb, quarter,
                          rsrc_address_plus(rsrc_address_at(RSR_KBUF_SCRATCH, at), u->quad_at, 1));
        }
    }
}

static void add_column(struct unpacking *u, uint16_t column) {
    u->columns[u->n_columns % 4] = column;
    u->n_columns++;
    if (u->n_columns % 4 == 0)
        store_quad(u);
}

/* The columns of one ternary segment: u(w) = d + 1 of its digit, and of its negation 2 - u, which is
 * ~u + 3. */
static void unpack_ternary(struct unpacking *u, uint16_t code, uint16_t sign_mask) {
    struct panel *panel = u->panel;
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint32_t n = u->n_columns;
    const uint16_t three_if =
        rsrc_kb_binary(kb, RSR_KOP_AND, bytes_reg(panel, "three_if", n), sign_mask, panel->three);
    for (uint32_t i = 0; i < panel->layout.group_cols; i++) {
        const uint16_t digit = bytes_reg(panel, "digit", n + i);
        if (panel->layout.lookup == RSRC_LUT_TABLE128)
            rsrc_kb_ternary(kb, RSR_KOP_TABLE2, digit, code, panel->digits[i][0],
                            panel->digits[i][1]);
        else
            rsrc_kb_binary(kb, RSR_KOP_SHUFFLE16, digit, code, panel->digits[i][0]);
        const uint16_t flipped = bytes_reg(panel, "flipped", n + i);
        rsrc_kb_binary(kb, RSR_KOP_XOR, flipped, digit, sign_mask);
        add_column(
            u, rsrc_kb_binary(kb, RSR_KOP_ADD, bytes_reg(panel, "u", n + i), flipped, three_if));
    }
}

/* The columns that bits first .. first + n - 1 of every byte stand for. */
static void unpack_bits(struct unpacking *u, uint16_t bits, uint32_t n) {
    struct panel *panel = u->panel;
    struct rsrc_kb *kb = &panel->frame.kb;
    for (uint32_t i = 0; i < n; i++) {
        const uint16_t spread = rsrc_kb_immediate(
            kb, RSR_KOP_SPREAD_BIT, bytes_reg(panel, "spread", u->n_columns), bits, i);
        add_column(u, rsrc_kb_binary(kb, RSR_KOP_AND, bytes_reg(panel, "u", u->n_columns), spread,
                                     panel->one));
    }
}

static struct rsrc_address plane_address(uint16_t step_at, uint16_t plane_at) {
    struct rsrc_address at = rsrc_address_plus(rsrc_address_at(RSR_KBUF_CODES, 0), step_at, 1);
    return plane_at == RSR_NO_KREG ? at : rsrc_address_plus(at, plane_at, 1);
}

/* A segment of 128 codes a step: `code` is its byte. */
static void unpack_table128(struct unpacking *u, uint16_t code) {
    struct panel *panel = u->panel;
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint32_t n = u->n_columns;
    const uint16_t sign =
        rsrc_kb_immediate(kb, RSR_KOP_SPREAD_BIT, bytes_reg(panel, "sign", n), code, 7);
    if (panel->layout.alphabet == RSR_TERNARY) {
        unpack_ternary(u, code, sign);
        return;
    }
    /* Bits 0..6 say where w = w_last, the sign that w_last is not +1: both make 1 of +1. */
    const uint16_t bits = rsrc_kb_binary(kb, RSR_KOP_XOR, bytes_reg(panel, "bits", n), code, sign);
    unpack_bits(u, bits, 7);
    const uint16_t minus =
        rsrc_kb_binary(kb, RSR_KOP_AND, bytes_reg(panel, "minus", n), sign, panel->one);
    add_column(u, rsrc_kb_binary(kb, RSR_KOP_XOR, bytes_reg(panel, "u", n + 7), minus, panel->one));
}

/* Steps of a macro beyond the last have code 0, whatever lies there. */
static void unpack_macro_table128(struct unpacking *u, uint16_t step, uint16_t step_at,
                                  uint16_t n_steps) {
    struct panel *panel = u->panel;
    struct rsrc_kb *kb = &panel->frame.kb;
    for (uint32_t i = 0; i < panel->macro_steps; i++) {
        const uint16_t code = bytes_reg(panel, "code", i);
        if (i == 0) {
            rsrc_kb_load(kb, code, plane_address(step_at, RSR_NO_KREG));
        } else {
            rsrc_kb_binary(kb, RSR_KOP_ADD, step, step, panel->frame.one);
            rsrc_kb_binary(kb, RSR_KOP_ADD, step_at, step_at, panel->step_stride);
            rsrc_kb_const(kb, code, 0);
            rsrc_kb_if_less(kb, step, n_steps);
            rsrc_kb_load(kb, code, plane_address(step_at, RSR_NO_KREG));
            rsrc_kb_end(kb);
        }
        unpack_table128(u, code);
    }
}

/* Two segments of 16 codes a byte, and the signs of eight in the last plane. */
static void unpack_step_shuffle16(struct unpacking *u, uint16_t step_at) {
    struct panel *panel = u->panel;
    struct rsrc_kb *kb = &panel->frame.kb;
    const struct rsrc_lut_layout *layout = &panel->layout;
    const uint32_t n_pairs = layout->step_segments / 2;
    uint16_t plane_at = RSR_NO_KREG, signs = RSR_NO_KREG;
    if (layout->has_sign) {
        const uint16_t to_signs = rsrc_kb_index_const(kb, n_pairs, "n_code_planes");
        rsrc_kb_binary(kb, RSR_KOP_MUL, to_signs, to_signs, panel->plane_stride);
        signs = rsrc_kb_load(kb, bytes_reg(panel, "signs", 0), plane_address(step_at, to_signs));
    }
    for (uint32_t j = 0; j < n_pairs; j++) {
        const uint16_t code =
            rsrc_kb_load(kb, bytes_reg(panel, "code", j), plane_address(step_at, plane_at));
        if (plane_at == RSR_NO_KREG)
            plane_at = rsrc_kb_unary(kb, RSR_KOP_COPY, rsrc_kb_index_reg(kb, "plane_at"),
                                     panel->plane_stride);
        else
            rsrc_kb_binary(kb, RSR_KOP_ADD, plane_at, plane_at, panel->plane_stride);
        if (layout->alphabet != RSR_TERNARY) {
            unpack_bits(u, code, 8);
            continue;
        }
        /* No shift of bytes: the high nibbles move as parts of 16-bit lanes. */
        const uint32_t half = layout->vector_rows / 2;
        const uint16_t wide = rsrc_kb_unary(
            kb, RSR_KOP_BITCAST, rsrc_kb_reg(kb, RSR_ELEM_U16, half, "code_wide%u", j), code);
        rsrc_kb_immediate(kb, RSR_KOP_SHR, wide, wide, 4);
        const uint16_t high = rsrc_kb_unary(kb, RSR_KOP_BITCAST, bytes_reg(panel, "high", j), wide);
        const uint16_t nibbles[2] = {
            rsrc_kb_binary(kb, RSR_KOP_AND, bytes_reg(panel, "low_code", j), code, panel->nibble),
            rsrc_kb_binary(kb, RSR_KOP_AND, bytes_reg(panel, "high_code", j), high, panel->nibble)};
        for (uint32_t i = 0; i < 2; i++) {
            const uint32_t segment = 2 * j + i;
            const uint16_t sign = rsrc_kb_immediate(
                kb, RSR_KOP_SPREAD_BIT, bytes_reg(panel, "sign", segment), signs, segment);
            unpack_ternary(u, nibbles[i], sign);
        }
    }
}

/* The panel of the column block at work. */
static void emit_unpack(struct panel *panel) {
    struct rsrc_kb *kb = &panel->frame.kb;
    rsrc_kb_comment(kb, "unpack codes: quads of columns, 4 bytes a row");
    const uint16_t macro = rsrc_kb_index_reg(kb, "macro");
    const uint16_t n_steps = rsrc_kb_index_const(kb, panel->layout.n_steps, "n_steps");
    const uint16_t macro_steps = rsrc_kb_index_const(kb, panel->macro_steps, "macro_steps");
    rsrc_kb_loop(kb, macro, panel->first_macro, panel->end_macro, 1);
    const uint16_t step = rsrc_kb_index_op(kb, RSR_KOP_MUL, macro, macro_steps, "step");
    const uint16_t step_at = rsrc_kb_index_op(kb, RSR_KOP_MUL, step, panel->step_stride, "step_at");
    rsrc_kb_binary(kb, RSR_KOP_ADD, step_at, step_at, panel->codes_at);
    const uint16_t quad_at = rsrc_kb_index_const(
        kb, (uint64_t)panel->macro_quads * 4 * panel->layout.vector_rows, "macro_bytes");
    const uint16_t in_block =
        rsrc_kb_index_op(kb, RSR_KOP_SUB, macro, panel->first_macro, "macro_in_block");
    rsrc_kb_binary(kb, RSR_KOP_MUL, quad_at, quad_at, in_block);
    struct unpacking u = {.panel = panel, .quad_at = quad_at};
    if (panel->layout.lookup == RSRC_LUT_TABLE128)
        unpack_macro_table128(&u, step, step_at, n_steps);
    else
        unpack_step_shuffle16(&u, step_at);
    assert(u.n_columns == panel->macro_quads * 4);
    rsrc_kb_end(kb);
}

/* ---- products --------------------------------------------------------------------------------------- */

/* A tile of tokens that pass over the panel together. */
struct panel_tile {
    uint32_t n_tokens;
    const char *suffix;
    struct rsrc_frame_token tokens[MAX_TOKENS];
    uint16_t sums_at; /* of the first token */
    uint16_t acc[MAX_TOKENS][QUARTERS];
};

static struct rsrc_address sums_address(const struct panel *panel, const struct panel_tile *tile,
                                        uint32_t t, uint32_t quarter) {
    const uint32_t rows = panel->layout.vector_rows;
    const int64_t at = panel->sums_at + (int64_t)t * 4 * rows + quarter * rows;
    return rsrc_address_plus(rsrc_address_at(RSR_KBUF_SCRATCH, at), tile->sums_at, 1);
}

static uint16_t emit_splat(struct panel *panel, const struct panel_tile *tile, uint32_t t,
                           uint16_t quad) {
    struct rsrc_kb *kb = &panel->frame.kb;
    struct rsrc_address at = rsrc_frame_activations(&tile->tokens[t]);
    at = rsrc_address_plus(at, panel->block_x, 1);
    const uint16_t four =
        rsrc_kb_load(kb, rsrc_kb_reg(kb, RSR_ELEM_I32, 1, "x%u%s", t, tile->suffix),
                     rsrc_address_plus(at, quad, 4));
    return rsrc_kb_unary(kb, RSR_KOP_SPLAT,
                         rsrc_kb_reg(kb, RSR_ELEM_I32, lanes32(panel), "xs%u%s", t, tile->suffix),
                         four);
}

static void emit_products(struct panel *panel, const struct panel_tile *tile, uint16_t quad) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint32_t rows = panel->layout.vector_rows;
    uint16_t weights[QUARTERS];
    for (uint32_t q = 0; q < QUARTERS; q++)
        weights[q] =
            rsrc_kb_load(kb, rsrc_kb_reg(kb, RSR_ELEM_U8, rows, "weights%u%s", q, tile->suffix),
                         rsrc_address_plus(rsrc_address_at(RSR_KBUF_SCRATCH, (int64_t)q * rows),
                                           quad, 4 * (int64_t)rows));
    for (uint32_t t = 0; t < tile->n_tokens; t++) {
        const uint16_t x = emit_splat(panel, tile, t, quad);
        for (uint32_t q = 0; q < QUARTERS; q++) {
            const uint16_t acc = tile->acc[t][q];
            if (panel->machine->style == PANEL_DOT) {
                rsrc_kb_ternary(kb, panel->machine->dot, acc, acc, weights[q], x);
                continue;
            }
            const uint16_t pairs = rsrc_kb_binary(
                kb, RSR_KOP_MADD_U8S8,
                rsrc_kb_reg(kb, RSR_ELEM_I16, rows / 2, "pairs%u_%u%s", t, q, tile->suffix),
                weights[q], x);
            rsrc_kb_binary(kb, RSR_KOP_ADD, acc, acc, pairs);
        }
    }
}

static void emit_dot_tile(struct panel *panel, struct panel_tile *tile) {
    struct rsrc_kb *kb = &panel->frame.kb;
    for (uint32_t t = 0; t < tile->n_tokens; t++)
        for (uint32_t q = 0; q < QUARTERS; q++)
            rsrc_kb_load(kb, tile->acc[t][q], sums_address(panel, tile, t, q));
    const uint16_t quad = rsrc_kb_index_reg(kb, "quad%s", tile->suffix);
    rsrc_kb_loop(kb, quad, panel->frame.zero, panel->n_quads, 1);
    emit_products(panel, tile, quad);
    rsrc_kb_end(kb);
    for (uint32_t t = 0; t < tile->n_tokens; t++)
        for (uint32_t q = 0; q < QUARTERS; q++)
            rsrc_kb_store(kb, tile->acc[t][q], sums_address(panel, tile, t, q));
}

/* int16 sums of as many quads as fit, added to the sums in memory. */
static void emit_madd_tile(struct panel *panel, struct panel_tile *tile) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const char *s = tile->suffix;
    const uint16_t first = rsrc_kb_index_reg(kb, "chunk%s", s);
    const uint16_t end = rsrc_kb_index_reg(kb, "chunk_end%s", s);
    const uint16_t size = rsrc_kb_index_reg(kb, "chunk_quads%s", s);
    const uint16_t quad = rsrc_kb_index_reg(kb, "quad%s", s);
    const uint16_t ones =
        rsrc_kb_reg(kb, RSR_ELEM_I16, panel->layout.vector_rows / 2, "one16%s", s);
    rsrc_kb_const(kb, size, NARROW_QUADS);
    rsrc_kb_const(kb, ones, 1);
    rsrc_kb_loop(kb, first, panel->frame.zero, panel->n_quads, NARROW_QUADS);
    rsrc_kb_binary(kb, RSR_KOP_ADD, end, first, size);
    rsrc_kb_binary(kb, RSR_KOP_MIN, end, end, panel->n_quads);
    for (uint32_t t = 0; t < tile->n_tokens; t++)
        for (uint32_t q = 0; q < QUARTERS; q++)
            rsrc_kb_const(kb, tile->acc[t][q], 0);
    rsrc_kb_loop(kb, quad, first, end, 1);
    emit_products(panel, tile, quad);
    rsrc_kb_end(kb);
    for (uint32_t t = 0; t < tile->n_tokens; t++)
        for (uint32_t q = 0; q < QUARTERS; q++) {
            const struct rsrc_address at = sums_address(panel, tile, t, q);
            const uint16_t sums = rsrc_kb_load(
                kb, rsrc_kb_reg(kb, RSR_ELEM_I32, lanes32(panel), "sums%u_%u%s", t, q, s), at);
            const uint16_t wide =
                rsrc_kb_binary(kb, RSR_KOP_MADD_I16,
                               rsrc_kb_reg(kb, RSR_ELEM_I32, lanes32(panel), "sum%u_%u%s", t, q, s),
                               tile->acc[t][q], ones);
            rsrc_kb_binary(kb, RSR_KOP_ADD, sums, sums, wide);
            rsrc_kb_store(kb, sums, at);
        }
    rsrc_kb_end(kb);
}

/* Byte offset of a token's sums from sums_at. */
static uint16_t emit_sums_at(struct panel *panel, uint16_t token, const char *suffix) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint16_t at = rsrc_kb_index_reg(kb, "sums_at%s", suffix);
    const uint16_t bytes =
        rsrc_kb_index_const(kb, 4 * panel->layout.vector_rows, "sums_bytes%s", suffix);
    rsrc_kb_binary(kb, RSR_KOP_SUB, at, token, panel->first_token);
    return rsrc_kb_binary(kb, RSR_KOP_MUL, at, at, bytes);
}

static void emit_tile(struct panel *panel, uint32_t n_tokens, uint16_t token, const char *suffix) {
    struct rsrc_kb *kb = &panel->frame.kb;
    struct panel_tile tile = {.n_tokens = n_tokens, .suffix = suffix};
    const uint32_t rows = panel->layout.vector_rows;
    const bool wide = panel->machine->style == PANEL_DOT;
    for (uint32_t t = 0; t < n_tokens; t++) {
        char name[24];
        snprintf(name, sizeof name, "%u%s", t, suffix);
        tile.tokens[t] = t == 0 ? rsrc_frame_token(&panel->frame, token, name)
                                : rsrc_frame_next_token(&panel->frame, &tile.tokens[t - 1], name);
        for (uint32_t q = 0; q < QUARTERS; q++)
            tile.acc[t][q] = rsrc_kb_reg(kb, wide ? RSR_ELEM_I32 : RSR_ELEM_I16,
                                         wide ? rows / 4 : rows / 2, "acc%u_%u%s", t, q, suffix);
    }
    tile.sums_at = emit_sums_at(panel, token, suffix);
    if (wide)
        emit_dot_tile(panel, &tile);
    else
        emit_madd_tile(panel, &tile);
}

/* TILE_TOKENS tokens in matrix registers: the rows of the product are tokens, its columns rows of the
 * matrix. Quads beyond the last meet activations that are 0. */
static void emit_matrix_tile(struct panel *panel, uint16_t token) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const int64_t rows = panel->layout.vector_rows;
    struct panel_tile tile = {.n_tokens = 1, .suffix = "_m"};
    tile.tokens[0] = rsrc_frame_token(&panel->frame, token, "_m");
    tile.sums_at = emit_sums_at(panel, token, "_m");
    const uint16_t stride = rsrc_kb_index_const(kb, 4 * panel->layout.vector_rows, "quad_bytes");
    uint16_t sums[QUARTERS];
    for (uint32_t q = 0; q < QUARTERS; q++) {
        sums[q] = rsrc_kb_reg(kb, RSR_ELEM_TILE, 1, "sums%u_m", q);
        rsrc_kb_tile_load(kb, sums[q], sums_address(panel, &tile, 0, q), stride);
    }
    const uint16_t quad = rsrc_kb_index_reg(kb, "quad_m");
    rsrc_kb_loop(kb, quad, panel->frame.zero, panel->n_quads, TILE_QUADS);
    struct rsrc_address x = rsrc_frame_activations(&tile.tokens[0]);
    x = rsrc_address_plus(rsrc_address_plus(x, panel->block_x, 1), quad, 4);
    const uint16_t x_tile = rsrc_kb_tile_load(kb, rsrc_kb_reg(kb, RSR_ELEM_TILE, 1, "x_m"), x,
                                              rsrc_frame_x_stride(&panel->frame));
    for (uint32_t q = 0; q < QUARTERS; q++) {
        const struct rsrc_address at =
            rsrc_address_plus(rsrc_address_at(RSR_KBUF_SCRATCH, q * rows), quad, 4 * rows);
        /* Two registers in turn: a load need not wait for the product before. */
        const uint16_t weights =
            q < 2 ? rsrc_kb_reg(kb, RSR_ELEM_TILE, 1, "weights%u_m", q) : tile.acc[0][q - 2];
        tile.acc[0][q] = weights;
        rsrc_kb_tile_load(kb, weights, at, stride);
        rsrc_kb_ternary(kb, RSR_KOP_TILE_DOT_S8S8, sums[q], sums[q], x_tile, weights);
    }
    rsrc_kb_end(kb);
    for (uint32_t q = 0; q < QUARTERS; q++)
        rsrc_kb_tile_store(kb, sums[q], sums_address(panel, &tile, 0, q), stride);
}

/* As many whole tiles of n_tokens tokens as there are from register `next` on, which moves behind them. */
static void emit_tiles(struct panel *panel, uint32_t n_tokens, bool in_matrices, uint16_t next,
                       const char *suffix) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint16_t token = rsrc_kb_index_reg(kb, "token%s", suffix);
    const uint16_t size = rsrc_kb_index_reg(kb, "tokens_at_once%s", suffix);
    const uint16_t end = rsrc_kb_index_reg(kb, "whole_end%s", suffix);
    rsrc_kb_const(kb, end, n_tokens - 1);
    rsrc_kb_binary(kb, RSR_KOP_SUB, end, panel->end_token, end);
    rsrc_kb_const(kb, size, n_tokens);
    if (in_matrices)
        rsrc_kb_tile_begin(kb);
    rsrc_kb_loop(kb, token, next, end, n_tokens);
    if (in_matrices)
        emit_matrix_tile(panel, token);
    else
        emit_tile(panel, n_tokens, token, suffix);
    rsrc_kb_binary(kb, RSR_KOP_ADD, next, token, size);
    rsrc_kb_end(kb);
    if (in_matrices)
        rsrc_kb_tile_end(kb);
}

/* All tokens of the group over the panel, in tiles, the rest one by one. */
static void emit_tokens(struct panel *panel) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint16_t next =
        rsrc_kb_unary(kb, RSR_KOP_COPY, rsrc_kb_index_reg(kb, "next_token"), panel->first_token);
    if (panel->machine->has_tiles) {
        rsrc_kb_comment(kb, "%u tokens in matrix registers (names end in _m)", TILE_TOKENS);
        emit_tiles(panel, TILE_TOKENS, true, next, "_m");
    }
    rsrc_kb_comment(kb, "%u tokens share every load of the panel (names end in _b)",
                    panel->machine->n_tokens);
    emit_tiles(panel, panel->machine->n_tokens, false, next, "_b");
    rsrc_kb_comment(kb, "the rest one by one");
    emit_tiles(panel, 1, false, next, "");
}

/* ---- results ---------------------------------------------------------------------------------------- */

static void correct(struct panel *panel, uint16_t sums, uint32_t lanes, uint16_t x_sum,
                    const char *name) {
    struct rsrc_kb *kb = &panel->frame.kb;
    if (panel->layout.alphabet == RSR_BINARY_SIGN)
        rsrc_kb_immediate(kb, RSR_KOP_SHL, sums, sums, 1);
    if (panel->layout.alphabet == RSR_BINARY_BIT)
        return;
    if (lanes > 1)
        x_sum = rsrc_kb_unary(kb, RSR_KOP_SPLAT,
                              rsrc_kb_reg(kb, RSR_ELEM_I32, lanes, "x_sums_%s", name), x_sum);
    rsrc_kb_binary(kb, RSR_KOP_SUB, sums, sums, x_sum);
}

/* Sums of four consecutive runs of rows: quarters q, q + 1 hold runs q and q + 1 with rows in pairs apart
 * (see the lanes of variants.h), which two rounds of zips sort. */
static void sort_rows(struct panel *panel, const uint16_t quarters[QUARTERS],
                      uint16_t runs[QUARTERS]) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint32_t lanes = lanes32(panel);
    for (uint32_t q = 0; q < QUARTERS; q += 2) {
        uint16_t low = rsrc_kb_reg(kb, RSR_ELEM_I32, lanes, "zip_low%u", q);
        uint16_t high = rsrc_kb_reg(kb, RSR_ELEM_I32, lanes, "zip_high%u", q);
        rsrc_kb_binary(kb, RSR_KOP_ZIP_LOW, low, quarters[q], quarters[q + 1]);
        rsrc_kb_binary(kb, RSR_KOP_ZIP_HIGH, high, quarters[q], quarters[q + 1]);
        runs[q] = rsrc_kb_binary(kb, RSR_KOP_ZIP_LOW,
                                 rsrc_kb_reg(kb, RSR_ELEM_I32, lanes, "run%u", q), low, high);
        runs[q + 1] = rsrc_kb_binary(
            kb, RSR_KOP_ZIP_HIGH, rsrc_kb_reg(kb, RSR_ELEM_I32, lanes, "run%u", q + 1), low, high);
    }
}

static void store_runs(struct panel *panel, const struct rsrc_frame_token *token,
                       const uint16_t runs[QUARTERS], uint16_t x_sum) {
    const uint32_t lanes = lanes32(panel);
    for (uint32_t r = 0; r < QUARTERS; r++) {
        char name[16];
        snprintf(name, sizeof name, "run%u", r);
        correct(panel, runs[r], lanes, x_sum, name);
        const uint16_t result =
            rsrc_frame_result(&panel->frame, runs[r], lanes, token, panel->row, r * lanes);
        rsrc_frame_store(&panel->frame, result, token, panel->row, r * lanes);
    }
}

/* The last, short vector: through memory, a row at a time. */
static void store_tail(struct panel *panel, const struct rsrc_frame_token *token,
                       const uint16_t runs[QUARTERS], uint16_t x_sum) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint32_t lanes = lanes32(panel), n_tail = kb->kernel->rows % panel->layout.vector_rows;
    for (uint32_t r = 0; r < QUARTERS; r++)
        rsrc_kb_store(kb, runs[r],
                      rsrc_address_at(RSR_KBUF_SCRATCH, panel->tail_at + r * lanes * 4));
    const uint16_t end = rsrc_kb_index_const(kb, n_tail, "n_tail_rows");
    const uint16_t i = rsrc_kb_index_reg(kb, "tail_row");
    rsrc_kb_loop(kb, i, panel->frame.zero, end, 1);
    const uint16_t sum =
        rsrc_kb_load(kb, rsrc_kb_reg(kb, RSR_ELEM_I32, 1, "tail_sum"),
                     rsrc_address_plus(rsrc_address_at(RSR_KBUF_SCRATCH, panel->tail_at), i, 4));
    correct(panel, sum, 1, x_sum, "tail");
    const uint16_t row = rsrc_kb_index_op(kb, RSR_KOP_ADD, panel->row, i, "tail_at");
    rsrc_frame_store(&panel->frame, rsrc_frame_result(&panel->frame, sum, 1, token, row, 0), token,
                     row, 0);
    rsrc_kb_end(kb);
}

static void emit_results(struct panel *panel) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint32_t rows = panel->layout.vector_rows, lanes = lanes32(panel);
    rsrc_kb_comment(kb, "sums to results, rows in order");
    const uint16_t token = rsrc_kb_index_reg(kb, "result_token");
    rsrc_kb_loop(kb, token, panel->first_token, panel->end_token, 1);
    struct panel_tile tile = {.n_tokens = 1, .suffix = "_r"};
    tile.tokens[0] = rsrc_frame_token(&panel->frame, token, "_r");
    tile.sums_at = emit_sums_at(panel, token, "_r");
    uint16_t quarters[QUARTERS], runs[QUARTERS];
    for (uint32_t q = 0; q < QUARTERS; q++)
        quarters[q] = rsrc_kb_load(kb, rsrc_kb_reg(kb, RSR_ELEM_I32, lanes, "total%u", q),
                                   sums_address(panel, &tile, 0, q));
    sort_rows(panel, quarters, runs);
    const uint16_t x_sum = panel->layout.alphabet == RSR_BINARY_BIT
                               ? RSR_NO_KREG
                               : rsrc_frame_load_sum(&panel->frame, &tile.tokens[0], "_r");
    if (kb->kernel->rows % rows == 0) {
        store_runs(panel, &tile.tokens[0], runs, x_sum);
    } else {
        const uint16_t full_rows =
            rsrc_kb_index_const(kb, kb->kernel->rows / rows * rows, "full_rows");
        rsrc_kb_if_less(kb, panel->row, full_rows);
        store_runs(panel, &tile.tokens[0], runs, x_sum);
        rsrc_kb_else(kb);
        store_tail(panel, &tile.tokens[0], runs, x_sum);
        rsrc_kb_end(kb);
    }
    rsrc_kb_end(kb);
}

/* ---- the kernel ------------------------------------------------------------------------------------- */

static void emit_clear(struct panel *panel) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint16_t token = rsrc_kb_index_reg(kb, "clear_token");
    const uint16_t zeros =
        rsrc_kb_const(kb, rsrc_kb_reg(kb, RSR_ELEM_I32, lanes32(panel), "zeros"), 0);
    rsrc_kb_loop(kb, token, panel->first_token, panel->end_token, 1);
    const struct panel_tile tile = {.sums_at = emit_sums_at(panel, token, "_c")};
    for (uint32_t q = 0; q < QUARTERS; q++)
        rsrc_kb_store(kb, zeros, sums_address(panel, &tile, 0, q));
    rsrc_kb_end(kb);
}

/* The column blocks of one vector of rows for one group of tokens. */
static void emit_blocks(struct panel *panel) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint16_t n_macros = rsrc_kb_index_const(kb, panel->n_macros, "n_macros");
    const uint16_t size = rsrc_kb_index_const(kb, panel->block_macros, "block_macros");
    const uint16_t macro_quads = rsrc_kb_index_const(kb, panel->macro_quads, "macro_quads");
    const uint16_t all_quads = rsrc_kb_index_const(kb, (panel->cols - 1) / 4 + 1, "n_col_quads");
    const uint16_t four = rsrc_kb_index_const(kb, 4, "quad_cols");
    panel->first_macro = rsrc_kb_index_reg(kb, "first_macro");
    rsrc_kb_loop(kb, panel->first_macro, panel->frame.zero, n_macros, panel->block_macros);
    panel->end_macro = rsrc_kb_index_op(kb, RSR_KOP_ADD, panel->first_macro, size, "end_macro");
    rsrc_kb_binary(kb, RSR_KOP_MIN, panel->end_macro, panel->end_macro, n_macros);
    /* Activations are zero only up to the row's end: no quad beyond the columns is multiplied. */
    const uint16_t first =
        rsrc_kb_index_op(kb, RSR_KOP_MUL, panel->first_macro, macro_quads, "first_quad");
    panel->n_quads = rsrc_kb_index_op(kb, RSR_KOP_MUL, panel->end_macro, macro_quads, "n_quads");
    rsrc_kb_binary(kb, RSR_KOP_MIN, panel->n_quads, panel->n_quads, all_quads);
    rsrc_kb_binary(kb, RSR_KOP_SUB, panel->n_quads, panel->n_quads, first);
    panel->block_x = rsrc_kb_index_op(kb, RSR_KOP_MUL, first, four, "block_x");
    emit_unpack(panel);
    emit_tokens(panel);
    rsrc_kb_end(kb);
}

static void emit_groups(struct panel *panel) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint16_t size = rsrc_kb_index_const(kb, GROUP_TOKENS, "group_tokens");
    panel->first_token = rsrc_kb_index_reg(kb, "first_token");
    rsrc_kb_loop(kb, panel->first_token, panel->frame.zero, panel->frame.n_tokens, GROUP_TOKENS);
    panel->end_token = rsrc_kb_index_op(kb, RSR_KOP_ADD, panel->first_token, size, "end_token");
    rsrc_kb_binary(kb, RSR_KOP_MIN, panel->end_token, panel->end_token, panel->frame.n_tokens);
    emit_clear(panel);
    emit_blocks(panel);
    emit_results(panel);
    rsrc_kb_end(kb);
}

/* Vectors of the worker's units, each through all tokens. */
static void emit_vectors(struct panel *panel) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const struct rsrc_lut_layout *layout = &panel->layout;
    const uint32_t vector_rows = layout->vector_rows;
    const uint16_t n_vectors = rsrc_kb_index_const(kb, layout->n_vectors, "n_vectors");
    const uint16_t unit_vectors = rsrc_kb_index_const(kb, layout->unit_vectors, "unit_vectors");
    const uint16_t unit_bytes = rsrc_kb_index_const(
        kb, (uint64_t)layout->unit_vectors * vector_rows * layout->n_steps * layout->step_planes,
        "unit_bytes");
    const uint16_t row_bytes = rsrc_kb_index_const(kb, vector_rows, "vector_rows");
    const uint16_t planes = rsrc_kb_index_const(kb, layout->step_planes, "step_planes");
    const uint16_t unit = rsrc_kb_index_reg(kb, "unit");
    rsrc_kb_loop(kb, unit, panel->frame.unit_begin, panel->frame.unit_end, 1);
    const uint16_t first = rsrc_kb_index_op(kb, RSR_KOP_MUL, unit, unit_vectors, "first_vector");
    const uint16_t end = rsrc_kb_index_op(kb, RSR_KOP_ADD, first, unit_vectors, "end_vector");
    rsrc_kb_binary(kb, RSR_KOP_MIN, end, end, n_vectors);
    const uint16_t here = rsrc_kb_index_op(kb, RSR_KOP_SUB, end, first, "vectors_here");
    panel->plane_stride = rsrc_kb_index_op(kb, RSR_KOP_MUL, here, row_bytes, "plane_stride");
    panel->step_stride =
        rsrc_kb_index_op(kb, RSR_KOP_MUL, panel->plane_stride, planes, "step_stride");
    const uint16_t unit_at = rsrc_kb_index_op(kb, RSR_KOP_MUL, unit, unit_bytes, "unit_at");
    const uint16_t vector = rsrc_kb_index_reg(kb, "vector");
    rsrc_kb_loop(kb, vector, first, end, 1);
    panel->row = rsrc_kb_index_op(kb, RSR_KOP_MUL, vector, row_bytes, "row");
    panel->codes_at = rsrc_kb_index_op(kb, RSR_KOP_SUB, vector, first, "codes_at");
    rsrc_kb_binary(kb, RSR_KOP_MUL, panel->codes_at, panel->codes_at, row_bytes);
    rsrc_kb_binary(kb, RSR_KOP_ADD, panel->codes_at, panel->codes_at, unit_at);
    emit_groups(panel);
    rsrc_kb_end(kb);
    rsrc_kb_end(kb);
}

static const struct panel_machine *choose_machine(const struct rsr_spec *spec,
                                                  const struct rsrc_lut_layout *layout) {
    for (size_t i = 0; i < sizeof panel_machines / sizeof *panel_machines; i++)
        if ((spec->cpu_features & panel_machines[i].features) == panel_machines[i].features &&
            layout->vector_rows == panel_machines[i].vector_rows)
            return &panel_machines[i];
    return NULL;
}

/* A panel in a quarter of the second-level cache; activations and sums need the rest. Where there are
 * several, each is whole tiles of quads. */
static void choose_blocks(struct panel *panel, const struct rsr_spec *spec) {
    const struct rsrc_lut_layout *layout = &panel->layout;
    const uint32_t step_cols = layout->step_segments * layout->group_cols;
    panel->macro_steps = step_cols % 4 == 0 ? 1 : 4;
    panel->macro_quads = step_cols * panel->macro_steps / 4;
    panel->n_macros = (layout->n_steps - 1) / panel->macro_steps + 1;
    const uint64_t quad_bytes = 4 * (uint64_t)layout->vector_rows;
    const uint64_t budget =
        spec->l2_bytes / 4 > MIN_PANEL_BYTES ? spec->l2_bytes / 4 : MIN_PANEL_BYTES;
    const uint64_t macros = budget / (panel->macro_quads * quad_bytes * TILE_QUADS) * TILE_QUADS;
    const uint64_t whole = macros != 0 ? macros : TILE_QUADS;
    panel->block_macros = whole < panel->n_macros ? (uint32_t)whole : panel->n_macros;
    const uint64_t n_quads = (uint64_t)panel->block_macros * panel->macro_quads;
    panel->sums_at = (int64_t)((n_quads + TILE_QUADS - 1) / TILE_QUADS * TILE_QUADS * quad_bytes);
    panel->tail_at = panel->sums_at + GROUP_TOKENS * 4 * (int64_t)layout->vector_rows;
}

/* |sum of u x| <= 2 * 128 * cols, doubled by signs. */
static bool sums_fit(const struct rsr_matrix *matrix) {
    return (uint64_t)matrix->cols * 512 <= INT32_MAX;
}

static enum rsrc_status refuse(struct rsrc_diag *diag, const struct rsrc_lower_input *input) {
    const struct rsrc_place place = {.tensor = input->title};
    if (!sums_fit(input->matrix))
        rsrc_error(diag, "lower-too-wide", &place,
                   "a row this long needs 64-bit sums, which rsrc does not have",
                   "int32 sums of %u columns could overflow", input->matrix->cols);
    else
        rsrc_error(diag, "lower-dot-panel", &place, "choose another variant with --variant",
                   "target %s has no instructions to multiply the codes of lut", input->spec->name);
    return RSRC_FAILED;
}

/* The codes that lut has packed, or the same again. */
static void take_codes(struct rsrc_arena *arena, const struct rsrc_lower_input *input,
                       const struct rsrc_lut_layout *layout, struct rsr_blob *codes) {
    if (input->codes != NULL) {
        assert(input->codes->size_bytes == rsrc_lut_codes_bytes(layout));
        *codes = *input->codes;
        return;
    }
    uint8_t *bytes = rsrc_arena_alloc(arena, rsrc_lut_codes_bytes(layout));
    int16_t *corrections =
        layout->has_sign
            ? RSRC_NEW_ARRAY(arena, (size_t)layout->n_vectors * layout->vector_rows, int16_t)
            : NULL;
    rsrc_pack_lut(arena, input->matrix, layout, bytes, corrections);
    codes->bytes = bytes;
    codes->size_bytes = rsrc_lut_codes_bytes(layout);
}

enum rsrc_status rsrc_lower_dot_panel(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                      const struct rsrc_lower_input *input, struct rsr_lowered *out,
                                      const char **detail) {
    const struct rsr_matrix *matrix = input->matrix;
    struct panel panel = {.cols = matrix->cols};
    if (!sums_fit(matrix) || !rsrc_make_lut_layout(input->spec, matrix, &panel.layout))
        return refuse(diag, input);
    panel.machine = choose_machine(input->spec, &panel.layout);
    if (panel.machine == NULL)
        return refuse(diag, input);
    assert(panel.machine->n_tokens <= MAX_TOKENS);
    choose_blocks(&panel, input->spec);
    take_codes(arena, input, &panel.layout, &out->codes);
    pack_digits(arena, &panel.layout, &out->index);

    rsrc_frame_begin(&panel.frame, arena, input,
                     panel.layout.unit_vectors * panel.layout.vector_rows, &out->kernel);
    panel.frame.unit_rows = 1; /* results are addressed by rows from here on */
    out->kernel.scratch_bytes = (uint64_t)panel.tail_at + 4 * panel.layout.vector_rows;
    rsrc_kb_comment(&panel.frame.kb, "vectors of %u rows, %u quads of columns a panel",
                    panel.layout.vector_rows, panel.block_macros * panel.macro_quads);
    emit_constants(&panel);
    emit_vectors(&panel);
    rsrc_frame_end(&panel.frame, out);
    *detail = rsrc_arena_printf(arena, "panel-%s-%s-u%u-b%u", panel.machine->name,
                                panel.layout.form, panel.layout.unit_vectors, panel.block_macros);
    return RSRC_OK;
}
