/* lut_unpack.c - unpacks codes of `lut` to columns: bytes u; see lut_unpack.h.
 *
 * A step of codes is read as lut stores it (lut_layout.h), and its segments are unpacked into one
 * vector of rows per column.
 */
#include "kernel/lut_unpack.h"

#include <assert.h>

#include "base/round.h"

static uint16_t bytes_reg(struct rsrc_lut_unpack *codes, const char *name, uint32_t i) {
    return rsrc_kb_reg(&codes->frame->kb, RSR_ELEM_U8, codes->layout.vector_rows, "%s%u", name, i);
}

/* Half the rows of a vector, as WORDS has them. */
static uint16_t words_reg(struct rsrc_lut_unpack *codes, const char *name, uint32_t i) {
    return rsrc_kb_reg(&codes->frame->kb, RSR_ELEM_U16, codes->layout.vector_rows / 2, "%s%u", name,
                       i);
}

static uint32_t table_bytes(const struct rsrc_lut_layout *layout) {
    return layout->lookup == RSRC_LUT_TABLE128 ? 128 : 16;
}

/* With WORDS: all digits of a code, two bits each. */
uint64_t rsrc_lut_digits_bytes(const struct rsrc_lut_layout *layout) {
    if (layout->alphabet != RSR_TERNARY)
        return 0;
    return layout->lookup == RSRC_LUT_WORDS ? 32 * sizeof(uint16_t)
                                            : (uint64_t)table_bytes(layout) * layout->segment_cols;
}

static void pack_word_digits(struct rsrc_arena *arena, const struct rsrc_lut_layout *layout,
                             struct rsr_blob *index) {
    uint16_t *words = rsrc_alloc_blob(arena, index, rsrc_lut_digits_bytes(layout));
    for (uint32_t code = 0; code < 32; code++)
        for (uint32_t i = 0; i < layout->segment_cols; i++)
            words[code] =
                (uint16_t)(words[code] | (rsrc_lut_word_digit(layout, code, i) + 1) << (2 * i));
}

void rsrc_pack_lut_digits(struct rsrc_arena *arena, const struct rsrc_lut_unpack *codes,
                          struct rsr_blob *index) {
    const struct rsrc_lut_layout *layout = &codes->layout;
    const int offset = codes->has_weights ? 0 : 1;
    if (rsrc_lut_digits_bytes(layout) == 0)
        return;
    if (layout->lookup == RSRC_LUT_WORDS) {
        assert(offset == 1);
        pack_word_digits(arena, layout, index);
        return;
    }
    const uint32_t n = table_bytes(layout);
    uint8_t *bytes = rsrc_alloc_blob(arena, index, rsrc_lut_digits_bytes(layout));
    for (uint32_t i = 0; i < layout->segment_cols; i++)
        for (uint32_t m = 0; m < n; m++)
            bytes[i * n + m] = (uint8_t)(rsrc_balanced_digit((int)m, i) + offset);
}

void rsrc_lut_load_digits(struct rsrc_lut_unpack *codes) {
    struct rsrc_kb *kb = &codes->frame->kb;
    const struct rsrc_lut_layout *layout = &codes->layout;
    codes->one = rsrc_kb_const(kb, bytes_reg(codes, "ones", 0), 1);
    if (layout->lookup == RSRC_LUT_SHUFFLE16)
        codes->nibble = rsrc_kb_const(kb, bytes_reg(codes, "nibbles", 0), 15);
    if (layout->lookup == RSRC_LUT_WORDS) {
        codes->low_byte = rsrc_kb_const(kb, words_reg(codes, "low_byte", 0), 255);
        codes->word_digits = words_reg(codes, "word_digits", 0);
    }
    if (layout->alphabet != RSR_TERNARY)
        return;
    if (!codes->has_weights)
        codes->three = rsrc_kb_const(kb, bytes_reg(codes, "threes", 0), 3);
    if (layout->lookup == RSRC_LUT_WORDS) {
        rsrc_kb_load(kb, codes->word_digits, rsrc_address_at(RSR_KBUF_INDEX, 0));
        return;
    }
    for (uint32_t i = 0; i < layout->segment_cols; i++) {
        const int64_t at = (int64_t)i * table_bytes(layout);
        const struct rsrc_address table = rsrc_address_at(RSR_KBUF_INDEX, at);
        codes->digits[i][0] = bytes_reg(codes, "digit_low", i);
        if (layout->lookup == RSRC_LUT_SHUFFLE16) {
            rsrc_kb_load_lanes(kb, codes->digits[i][0], table);
            continue;
        }
        codes->digits[i][1] = bytes_reg(codes, "digit_high", i);
        rsrc_kb_load(kb, codes->digits[i][0], table);
        rsrc_kb_load(kb, codes->digits[i][1], rsrc_address_offset(table, 64));
    }
}

/* Names of temporaries must differ: they end in the number of the column they lead to. */
struct unpacking {
    struct rsrc_lut_unpack *codes;
    uint16_t to;         /* byte where the macro step's quads begin */
    uint32_t n_columns;  /* columns unpacked so far */
    uint32_t n_names;    /* with WORDS: numbers given to temporaries so far */
    uint16_t columns[4]; /* columns of the current quad */
};

static void add_column(struct unpacking *u, uint16_t column) {
    u->columns[u->n_columns % 4] = column;
    u->n_columns++;
    if (u->n_columns % 4 == 0)
        u->codes->put(u->codes, u->columns, u->n_columns / 4 - 1, u->to);
}

/* Unpacks the columns of one ternary segment. A digit d gives u = d + 1, and its negation 2 - u,
 * which is ~u + 3; or w = d, and -d, which is ~d + 1. */
static void unpack_ternary(struct unpacking *u, uint16_t code, uint16_t sign_mask) {
    struct rsrc_lut_unpack *codes = u->codes;
    struct rsrc_kb *kb = &codes->frame->kb;
    const uint32_t n = u->n_columns;
    const bool signs = codes->has_weights;
    const uint16_t three_if = signs
                                  ? sign_mask
                                  : rsrc_kb_binary(kb, RSR_KOP_AND, bytes_reg(codes, "three_if", n),
                                                   sign_mask, codes->three);
    for (uint32_t i = 0; i < codes->layout.segment_cols; i++) {
        const uint16_t digit = bytes_reg(codes, "digit", n + i);
        if (codes->layout.lookup == RSRC_LUT_TABLE128)
            rsrc_kb_ternary(kb, RSR_KOP_TABLE2, digit, code, codes->digits[i][0],
                            codes->digits[i][1]);
        else
            rsrc_kb_binary(kb, RSR_KOP_SHUFFLE16, digit, code, codes->digits[i][0]);
        const uint16_t flipped = bytes_reg(codes, "flipped", n + i);
        rsrc_kb_binary(kb, RSR_KOP_XOR, flipped, digit, sign_mask);
        add_column(u, rsrc_kb_binary(kb, signs ? RSR_KOP_SUB : RSR_KOP_ADD,
                                     bytes_reg(codes, "u", n + i), flipped, three_if));
    }
}

/* Unpacks bits first .. first + n - 1 of every byte, one column per bit. */
static void unpack_bits(struct unpacking *u, uint16_t bits, uint32_t n) {
    struct rsrc_lut_unpack *codes = u->codes;
    struct rsrc_kb *kb = &codes->frame->kb;
    for (uint32_t i = 0; i < n; i++) {
        const uint16_t spread = rsrc_kb_immediate(
            kb, RSR_KOP_SPREAD_BIT, bytes_reg(codes, "spread", u->n_columns), bits, i);
        add_column(u, rsrc_kb_binary(kb, RSR_KOP_AND, bytes_reg(codes, "u", u->n_columns), spread,
                                     codes->one));
    }
}

static struct rsrc_address plane_address(uint16_t step_at, uint16_t plane_at) {
    struct rsrc_address at = rsrc_address_plus(rsrc_address_at(RSR_KBUF_CODES, 0), step_at, 1);
    return plane_at == RSR_NO_KREG ? at : rsrc_address_plus(at, plane_at, 1);
}

/* TABLE128: a step is one segment, and `code` is its byte. */
static void unpack_table128(struct unpacking *u, uint16_t code) {
    struct rsrc_lut_unpack *codes = u->codes;
    struct rsrc_kb *kb = &codes->frame->kb;
    const uint32_t n = u->n_columns;
    const uint16_t sign =
        rsrc_kb_immediate(kb, RSR_KOP_SPREAD_BIT, bytes_reg(codes, "sign", n), code, 7);
    if (codes->layout.alphabet == RSR_TERNARY) {
        unpack_ternary(u, code, sign);
        return;
    }
    /* Bits 0..6 say where w = w_last, and the sign says that w_last is not +1. Together they give 1
     * for +1. */
    const uint16_t bits = rsrc_kb_binary(kb, RSR_KOP_XOR, bytes_reg(codes, "bits", n), code, sign);
    unpack_bits(u, bits, 7);
    const uint16_t minus =
        rsrc_kb_binary(kb, RSR_KOP_AND, bytes_reg(codes, "minus", n), sign, codes->one);
    add_column(u, rsrc_kb_binary(kb, RSR_KOP_XOR, bytes_reg(codes, "u", n + 7), minus, codes->one));
}

/* Steps of a macro step beyond the last one get code 0, whatever the memory there has. */
static void unpack_macro_table128(struct unpacking *u, uint16_t step, uint16_t step_at,
                                  uint16_t n_steps) {
    struct rsrc_lut_unpack *codes = u->codes;
    struct rsrc_kb *kb = &codes->frame->kb;
    for (uint32_t i = 0; i < codes->macro_steps; i++) {
        const uint16_t code = bytes_reg(codes, "code", i);
        if (i == 0) {
            rsrc_kb_load(kb, code, plane_address(step_at, RSR_NO_KREG));
        } else {
            rsrc_kb_binary(kb, RSR_KOP_ADD, step, step, codes->frame->one);
            rsrc_kb_binary(kb, RSR_KOP_ADD, step_at, step_at, codes->step_stride);
            rsrc_kb_const(kb, code, 0);
            rsrc_kb_if_less(kb, step, n_steps);
            rsrc_kb_load(kb, code, plane_address(step_at, RSR_NO_KREG));
            rsrc_kb_end(kb);
        }
        unpack_table128(u, code);
    }
}

/* Byte j of a step of ternary codes has segments 2j and 2j + 1. There is no shift of bytes, so the
 * high nibbles are shifted in 16-bit lanes. */
static void unpack_nibbles(struct unpacking *u, uint16_t code, uint16_t signs, uint32_t j) {
    struct rsrc_lut_unpack *codes = u->codes;
    struct rsrc_kb *kb = &codes->frame->kb;
    const uint32_t half = codes->layout.vector_rows / 2;
    const uint16_t wide = rsrc_kb_unary(
        kb, RSR_KOP_BITCAST, rsrc_kb_reg(kb, RSR_ELEM_U16, half, "code_wide%u", j), code);
    rsrc_kb_immediate(kb, RSR_KOP_SHR, wide, wide, 4);
    const uint16_t high =
        rsrc_kb_unary(kb, RSR_KOP_BITCAST, bytes_reg(codes, "high_nibbles", j), wide);
    uint16_t nibbles[2];
    nibbles[0] =
        rsrc_kb_binary(kb, RSR_KOP_AND, bytes_reg(codes, "low_code", j), code, codes->nibble);
    nibbles[1] =
        rsrc_kb_binary(kb, RSR_KOP_AND, bytes_reg(codes, "high_code", j), high, codes->nibble);
    for (uint32_t i = 0; i < 2; i++) {
        const uint32_t segment = 2 * j + i;
        const uint16_t sign = rsrc_kb_immediate(kb, RSR_KOP_SPREAD_BIT,
                                                bytes_reg(codes, "sign", segment), signs, segment);
        if (codes->put_code == NULL) {
            unpack_ternary(u, nibbles[i], sign);
            continue;
        }
        codes->put_code(codes, nibbles[i], sign, segment, u->to);
        u->n_columns += codes->layout.segment_cols;
    }
}

/* SHUFFLE16: a byte has two segments, and the last plane has the signs of eight. */
static void unpack_step_shuffle16(struct unpacking *u, uint16_t step_at) {
    struct rsrc_lut_unpack *codes = u->codes;
    struct rsrc_kb *kb = &codes->frame->kb;
    const struct rsrc_lut_layout *layout = &codes->layout;
    const uint32_t n_pairs = layout->step_segments / 2;
    uint16_t plane_at = RSR_NO_KREG, signs = RSR_NO_KREG;
    if (layout->has_sign) {
        const uint16_t to_signs = rsrc_kb_index_const(kb, n_pairs, "n_code_planes");
        rsrc_kb_binary(kb, RSR_KOP_MUL, to_signs, to_signs, codes->plane_stride);
        signs = rsrc_kb_load(kb, bytes_reg(codes, "signs", 0), plane_address(step_at, to_signs));
    }
    for (uint32_t j = 0; j < n_pairs; j++) {
        const uint16_t code =
            rsrc_kb_load(kb, bytes_reg(codes, "code", j), plane_address(step_at, plane_at));
        if (plane_at == RSR_NO_KREG)
            plane_at = rsrc_kb_unary(kb, RSR_KOP_COPY, rsrc_kb_index_reg(kb, "plane_at"),
                                     codes->plane_stride);
        else
            rsrc_kb_binary(kb, RSR_KOP_ADD, plane_at, plane_at, codes->plane_stride);
        if (layout->alphabet != RSR_TERNARY) {
            unpack_bits(u, code, 8);
            continue;
        }
        unpack_nibbles(u, code, signs, j);
    }
}

/* ---- WORDS ----------------------------------------------------------------------------------- */

/* Bytes of both halves' words below 256; names end in `n`. */
static uint16_t join_halves(struct rsrc_lut_unpack *codes, const uint16_t halves[2],
                            const char *name, uint32_t n) {
    struct rsrc_kb *kb = &codes->frame->kb;
    uint16_t parts[2];
    for (uint32_t h = 0; h < 2; h++)
        parts[h] = rsrc_kb_unary(kb, RSR_KOP_BITCAST,
                                 rsrc_kb_reg(kb, RSR_ELEM_I16, codes->layout.vector_rows / 2,
                                             "%s_half%u", name, 2 * n + h),
                                 halves[h]);
    return rsrc_kb_binary(kb, RSR_KOP_PACK_U8, bytes_reg(codes, name, n), parts[0], parts[1]);
}

/* Unpacks the segment whose code is each word mod 32: a look-up gives its digits w + 1, two bits
 * each. */
static void unpack_word_code(struct unpacking *u, const uint16_t halves[2]) {
    struct rsrc_lut_unpack *codes = u->codes;
    struct rsrc_kb *kb = &codes->frame->kb;
    const uint32_t n = u->n_names++, n_columns = u->n_columns;
    uint16_t digits[2];
    for (uint32_t h = 0; h < 2; h++)
        digits[h] = rsrc_kb_binary(kb, RSR_KOP_TABLE, words_reg(codes, "digits", 2 * n + h),
                                   halves[h], codes->word_digits);
    uint16_t bytes = join_halves(codes, digits, "digit_bytes", n);
    for (uint32_t i = 0; i < codes->layout.segment_cols; i++) {
        if (i != 0) {
            const uint16_t wide = rsrc_kb_unary(
                kb, RSR_KOP_BITCAST, words_reg(codes, "digit_words", n_columns + i), bytes);
            rsrc_kb_immediate(kb, RSR_KOP_SHR, wide, wide, 2);
            bytes = rsrc_kb_unary(kb, RSR_KOP_BITCAST,
                                  bytes_reg(codes, "digit_rest", n_columns + i), wide);
        }
        add_column(u, rsrc_kb_binary(kb, RSR_KOP_AND, bytes_reg(codes, "u", n_columns + i), bytes,
                                     codes->three));
    }
}

/* A word has three codes; bit j of the step's last code goes into `rests`. */
static void unpack_ternary_words(struct unpacking *u, uint32_t j, const uint16_t words[2],
                                 const uint16_t rests[2]) {
    struct rsrc_lut_unpack *codes = u->codes;
    struct rsrc_kb *kb = &codes->frame->kb;
    for (uint32_t i = 0; i < 3; i++) {
        uint16_t halves[2];
        for (uint32_t h = 0; h < 2; h++)
            halves[h] = i == 0 ? words[h]
                               : rsrc_kb_immediate(kb, RSR_KOP_SHR,
                                                   words_reg(codes, "code", 2 * u->n_names + h),
                                                   words[h], 5 * i);
        unpack_word_code(u, halves);
    }
    for (uint32_t h = 0; h < 2; h++) {
        rsrc_kb_immediate(kb, RSR_KOP_SHR, words[h], words[h], 15);
        if (j != 0)
            rsrc_kb_immediate(kb, RSR_KOP_SHL, words[h], words[h], j);
        rsrc_kb_binary(kb, RSR_KOP_OR, rests[h], rests[h], words[h]);
    }
}

/* A word has sixteen bits; the last bit belongs to the step's last segment. */
static uint16_t unpack_word_bits(struct unpacking *u, const uint16_t words[2]) {
    struct rsrc_lut_unpack *codes = u->codes;
    struct rsrc_kb *kb = &codes->frame->kb;
    const uint32_t n = u->n_names++;
    uint16_t low[2], high[2];
    for (uint32_t h = 0; h < 2; h++) {
        low[h] = rsrc_kb_binary(kb, RSR_KOP_AND, words_reg(codes, "low_bits", 2 * n + h), words[h],
                                codes->low_byte);
        high[h] = rsrc_kb_immediate(kb, RSR_KOP_SHR, words_reg(codes, "high_bits", 2 * n + h),
                                    words[h], 8);
    }
    unpack_bits(u, join_halves(codes, low, "bits", 2 * n), 8);
    const uint16_t upper = join_halves(codes, high, "bits", 2 * n + 1);
    unpack_bits(u, upper, 7);
    const uint16_t spread =
        rsrc_kb_immediate(kb, RSR_KOP_SPREAD_BIT, bytes_reg(codes, "rest_spread", n), upper, 7);
    return rsrc_kb_binary(kb, RSR_KOP_AND, bytes_reg(codes, "rest", n), spread, codes->one);
}

static void load_words(struct rsrc_lut_unpack *codes, uint16_t plane_at, const uint16_t words[2]) {
    const struct rsrc_address at = plane_address(plane_at, RSR_NO_KREG);
    for (uint32_t h = 0; h < 2; h++)
        rsrc_kb_load(&codes->frame->kb, words[h],
                     rsrc_address_offset(at, h * (int64_t)codes->layout.vector_rows));
}

static void unpack_step_words(struct unpacking *u, uint16_t step_at) {
    struct rsrc_lut_unpack *codes = u->codes;
    struct rsrc_kb *kb = &codes->frame->kb;
    const bool ternary = codes->layout.alphabet == RSR_TERNARY;
    const uint32_t n = u->n_names++;
    uint16_t words[2], rests[2], bits[5];
    for (uint32_t h = 0; h < 2; h++) {
        words[h] = words_reg(codes, "words", 2 * n + h);
        rests[h] = rsrc_kb_const(kb, words_reg(codes, "rests", 2 * n + h), 0);
    }
    const uint16_t plane_at =
        rsrc_kb_unary(kb, RSR_KOP_COPY, rsrc_kb_index_reg(kb, "plane_at%u", n), step_at);
    for (uint32_t j = 0; j < codes->layout.step_planes; j++) {
        if (j != 0)
            rsrc_kb_binary(kb, RSR_KOP_ADD, plane_at, plane_at, codes->plane_stride);
        load_words(codes, plane_at, words);
        if (ternary)
            unpack_ternary_words(u, j, words, rests);
        else
            bits[j] = unpack_word_bits(u, words);
    }
    if (ternary)
        unpack_word_code(u, rests);
    for (uint32_t j = 0; !ternary && j < codes->layout.step_planes; j++)
        add_column(u, bits[j]);
}

#define PIECES_COMMENT                                                                             \
    "take apart: look-ups give the pieces of a nibble's columns; a sign makes opposites of them"

void rsrc_lut_unpack_macros(struct rsrc_lut_unpack *codes) {
    static const char *const comments[] = {
        [RSRC_LUT_TABLE128] =
            "unpack: a byte is a code of one segment; a look-up a column gives its "
            "digit, a spread bit the sign",
        [RSRC_LUT_SHUFFLE16] = "unpack: two nibbles a byte are codes of two segments; 16-byte "
                               "look-ups give digits, bits of the last plane signs",
        [RSRC_LUT_WORDS] = "unpack: three codes of five bits a word; a look-up gives all digits of "
                           "one, two bits each"};
    struct rsrc_kb *kb = &codes->frame->kb;
    const uint16_t macro = rsrc_kb_index_reg(kb, "macro");
    const uint16_t n_steps = rsrc_kb_index_const(kb, codes->layout.group_steps, "n_steps");
    const uint16_t macro_steps = rsrc_kb_index_const(kb, codes->macro_steps, "macro_steps");
    rsrc_kb_loop(kb, macro, codes->first_macro, codes->end_macro, 1);
    const uint16_t step = rsrc_kb_index_op(kb, RSR_KOP_MUL, macro, macro_steps, "step");
    const uint16_t step_at = rsrc_kb_index_op(kb, RSR_KOP_MUL, step, codes->step_stride, "step_at");
    rsrc_kb_binary(kb, RSR_KOP_ADD, step_at, step_at, codes->codes_at);
    const uint16_t to =
        rsrc_kb_index_const(kb, (uint64_t)codes->macro_quads * codes->quad_bytes, "macro_bytes");
    const uint16_t in_block =
        rsrc_kb_index_op(kb, RSR_KOP_SUB, macro, codes->first_macro, "macro_in_block");
    rsrc_kb_binary(kb, RSR_KOP_MUL, to, to, in_block);
    struct unpacking u = {.codes = codes, .to = to};
    rsrc_kb_comment(kb, "%s",
                    codes->put_code != NULL ? PIECES_COMMENT : comments[codes->layout.lookup]);
    switch (codes->layout.lookup) {
    case RSRC_LUT_TABLE128:
        unpack_macro_table128(&u, step, step_at, n_steps);
        break;
    case RSRC_LUT_SHUFFLE16:
        unpack_step_shuffle16(&u, step_at);
        break;
    case RSRC_LUT_WORDS:
        unpack_step_words(&u, step_at);
        break;
    }
    assert(u.n_columns == codes->macro_quads * 4);
    rsrc_kb_end(kb);
}

struct rsrc_lut_unpack rsrc_lut_begin_unpack(struct rsrc_frame *frame,
                                             const struct rsrc_lut_layout *layout) {
    const uint32_t step_cols = layout->step_segments * layout->segment_cols;
    struct rsrc_lut_unpack codes = {.frame = frame, .layout = *layout};
    codes.macro_steps = step_cols % 4 == 0 ? 1 : step_cols % 2 == 0 ? 2 : 4;
    codes.macro_quads = step_cols * codes.macro_steps / 4;
    codes.n_macros = rsrc_divide_up(layout->group_steps, codes.macro_steps);
    return codes;
}

/* ---- vectors of units ------------------------------------------------------------------------ */

void rsrc_lut_load_strides(struct rsrc_lut_unpack *codes) {
    struct rsrc_kb *kb = &codes->frame->kb;
    const uint64_t plane_bytes = (uint64_t)codes->layout.vector_rows * codes->layout.plane_bytes;
    codes->plane_stride = rsrc_kb_index_const(kb, plane_bytes, "plane_stride");
    codes->step_stride =
        rsrc_kb_index_const(kb, rsrc_lut_step_bytes(&codes->layout), "step_stride");
}

uint16_t rsrc_lut_begin_vectors(struct rsrc_lut_unpack *codes, uint16_t first_unit,
                                uint16_t end_unit) {
    struct rsrc_kb *kb = &codes->frame->kb;
    const struct rsrc_lut_layout *layout = &codes->layout;
    const uint16_t unit = rsrc_kb_index_reg(kb, "unit");
    rsrc_kb_loop(kb, unit, first_unit, end_unit, 1);
    const uint16_t n_vectors = rsrc_kb_index_const(kb, layout->n_vectors, "n_vectors");
    const uint16_t unit_vectors = rsrc_kb_index_const(kb, layout->unit_vectors, "unit_vectors");
    const uint16_t vector_rows = rsrc_kb_index_const(kb, layout->vector_rows, "vector_rows");
    const uint16_t vector_bytes =
        rsrc_kb_index_const(kb, rsrc_lut_vector_bytes(layout), "vector_bytes");
    const uint16_t stream_bytes = rsrc_kb_index_const(kb, layout->stream_bytes, "stream_bytes");
    const uint16_t first = rsrc_kb_index_op(kb, RSR_KOP_MUL, unit, unit_vectors, "first_vector");
    const uint16_t n = rsrc_kb_index_op(kb, RSR_KOP_SUB, n_vectors, first, "unit_size");
    const uint16_t unit_at = rsrc_kb_index_op(kb, RSR_KOP_MUL, unit, vector_bytes, "unit_at");
    const uint16_t stream = rsrc_kb_index_reg(kb, "stream");
    rsrc_kb_comment(kb, "vectors of %u rows: a stream of codes each", layout->vector_rows);
    rsrc_kb_binary(kb, RSR_KOP_MIN, n, n, unit_vectors);
    rsrc_kb_loop(kb, stream, codes->frame->zero, n, 1);
    const uint16_t row = rsrc_kb_index_op(kb, RSR_KOP_ADD, first, stream, "row");
    rsrc_kb_binary(kb, RSR_KOP_MUL, row, row, vector_rows);
    codes->codes_at = rsrc_kb_index_op(kb, RSR_KOP_MUL, stream, stream_bytes, "codes_at");
    rsrc_kb_binary(kb, RSR_KOP_ADD, codes->codes_at, codes->codes_at, unit_at);
    return row;
}

void rsrc_lut_end_vectors(struct rsrc_lut_unpack *codes) {
    rsrc_kb_end(&codes->frame->kb);
    rsrc_kb_end(&codes->frame->kb);
}

void rsrc_take_lut_codes(struct rsrc_arena *arena, const struct rsrc_lower_input *input,
                         const struct rsrc_lut_layout *layout, struct rsr_blob *codes) {
    if (input->codes != NULL) {
        assert(input->codes->size_bytes == rsrc_lut_codes_bytes(layout));
        *codes = *input->codes;
        return;
    }
    rsrc_pack_lut(arena, input->matrix, layout,
                  rsrc_alloc_blob(arena, codes, rsrc_lut_codes_bytes(layout)), NULL);
}
