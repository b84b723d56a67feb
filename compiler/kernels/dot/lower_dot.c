/* lower_dot.c - `dot`: expand packed codes to bytes and multiply with the integer dot product.
 *
 * y = alpha * dot(codes, x) + beta * sum(x), with codes c >= 0: ternary c = w + 1 (1, -1), sign
 * matrices c = (w + 1) / 2 (2, -1), bit matrices c = w (1, 0). Codes are small, so int8 activations
 * need no bias.
 *
 * Four rows share every load of x, and up to four tokens share every unpacking. A code need not be
 * shifted down to bit 0: masked in place it counts 2^s times. So planes of equal shift have an
 * accumulator of their own, and one exact arithmetic shift at the end corrects it. `n_groups`
 * planes stay unshifted. With few registers or many tokens, n_groups is less than n_planes, and
 * codes are shifted down by n_groups planes at a time. (For one token with VNNI this needs a third
 * fewer instructions and has no chain of dependent sums: 1.33 times as fast as shifting every
 * plane, measured at 2560 x 2560. MADD gained nothing.)
 */
#include "base/round.h"
#include "kernel/kernel_frame.h"
#include "kernel/dot_layout.h"
#include "kernel/token_tiles.h"

#include <assert.h>
#include <stdio.h>

#define QUAD RSRC_DOT_QUAD
#define MAX_TOKENS 4
#define MAX_GROUPS 4
#define MAX_ACTIVATION 128 /* the largest |x|; only -128 reaches it */

struct dot {
    struct rsrc_frame frame;
    const struct rsrc_dot_machine *machine;
    struct rsrc_dot_layout layout;
    enum rsr_alphabet alphabet;
    uint16_t quad;                 /* counter */
    uint16_t first_quad, end_quad; /* of the group */
    uint16_t n_blocks;             /* constants */
    uint16_t full_quads;
    uint16_t masks[MAX_GROUPS];
    uint16_t ones; /* i16, for widening */
};

/* Registers of one loop over the blocks: a tile of n_tokens tokens by four rows. */
struct dot_tile {
    uint32_t n_tokens;
    uint32_t n_groups;
    const char *suffix; /* of register names */
    uint16_t block;
    struct rsrc_frame_token tokens[MAX_TOKENS];
    uint16_t codes[QUAD];
    uint16_t acc[QUAD][MAX_TOKENS][MAX_GROUPS]; /* i32 */
    uint16_t narrow[QUAD][MAX_TOKENS];          /* i16, MADD and PLAIN */
};

/* Whether products accumulate in i16 first. */
static bool is_narrow(const struct dot *dot) {
    return dot->machine->product == RSR_KOP_MADD_U8S8 ||
           (dot->machine->product == RSR_KOP_MUL && dot->machine->vector_bytes > 1);
}

/* Lanes of i32 in the sums of the vector code. */
static uint32_t wide_lanes(const struct dot *dot) {
    const uint32_t bytes = dot->machine->vector_bytes;
    return dot->machine->product == RSR_KOP_MUL ? bytes : bytes / 4;
}

/* Blocks that fit an i16 accumulator: 16 for MADD. Sums reach -bound only (x = -128), and -32768
 * fits; upwards x <= 127 leaves room. No MADD_U8S8 saturates: it is part of such a sum. */
static uint32_t narrow_blocks(const struct dot *dot) {
    const uint32_t products = dot->machine->product == RSR_KOP_MADD_U8S8 ? 2 : 1;
    const uint32_t code = dot->layout.code_bits == 2 ? 2 : 1;
    const uint32_t bound = code * MAX_ACTIVATION * products * dot->layout.n_planes;
    assert(bound <= 32768);
    return 32768 / bound;
}

static uint16_t vector_reg(struct dot *dot, enum rsr_elem elem, uint32_t lanes, const char *name,
                           uint32_t i, const char *suffix) {
    return rsrc_kb_reg(&dot->frame.kb, elem, lanes, "%s%u%s", name, i, suffix);
}

/* ---- one block ------------------------------------------------------------------------------- */

/* Registers of codes have u32 lanes, because no machine shifts bytes. The mask removes bits that
 * cross from one byte into the next. */
static uint16_t code_reg(struct dot *dot, const char *name, uint32_t i, const char *suffix) {
    const uint32_t bytes = dot->machine->vector_bytes;
    return bytes == 1 ? vector_reg(dot, RSR_ELEM_U8, 1, name, i, suffix)
                      : vector_reg(dot, RSR_ELEM_U32, bytes / 4, name, i, suffix);
}

static void load_activations(struct dot *dot, const struct dot_tile *tile, uint32_t plane,
                             const uint16_t x[MAX_TOKENS]) {
    for (uint32_t t = 0; t < tile->n_tokens; t++) {
        struct rsrc_address at = rsrc_frame_activations(&tile->tokens[t]);
        at = rsrc_address_plus(at, tile->block, dot->layout.block_cols);
        at = rsrc_address_offset(at, (int64_t)plane * dot->layout.vector_bytes);
        rsrc_kb_load(&dot->frame.kb, x[t], at);
    }
}

static struct rsrc_address code_address(struct dot *dot, uint16_t block) {
    const int64_t step = (int64_t)QUAD * dot->layout.vector_bytes;
    struct rsrc_address at = rsrc_address_at(RSR_KBUF_CODES, 0);
    at = rsrc_address_plus(at, dot->quad, step * dot->layout.n_blocks);
    return rsrc_address_plus(at, block, step);
}

static void load_codes(struct dot *dot, const struct dot_tile *tile) {
    const struct rsrc_address at = code_address(dot, tile->block);
    /* Codes are prefetched only for one token: a batch reads them again for its next tokens. */
    if (tile->n_tokens == 1 && dot->layout.vector_bytes > 1)
        rsrc_frame_prefetch_codes(&dot->frame, at, QUAD * dot->layout.vector_bytes,
                                  rsrc_fetch_ahead(dot->frame.layer->spec, 1));
    for (uint32_t r = 0; r < QUAD; r++)
        rsrc_kb_load(&dot->frame.kb, tile->codes[r],
                     rsrc_address_offset(at, (int64_t)r * dot->layout.vector_bytes));
}

/* Registers with the operands of one plane. */
struct dot_operands {
    uint16_t code;       /* masked */
    uint16_t code_bytes; /* PLAIN: those as u8 lanes, then widened */
    uint16_t code_wide;
    uint16_t product;
    uint16_t x[MAX_TOKENS];
    uint16_t x_wide[MAX_TOKENS];
};

static void make_operands(struct dot *dot, const struct dot_tile *tile,
                          struct dot_operands *operands) {
    struct rsrc_kb *kb = &dot->frame.kb;
    const uint32_t bytes = dot->machine->vector_bytes;
    const enum rsr_elem narrow = bytes > 1 ? RSR_ELEM_I16 : RSR_ELEM_I32;
    const char *suffix = tile->suffix;
    *operands = (struct dot_operands){0};
    for (uint32_t t = 0; t < tile->n_tokens; t++)
        operands->x[t] = vector_reg(dot, RSR_ELEM_I8, bytes, "x", t, suffix);
    operands->code = bytes == 1 ? rsrc_kb_reg(kb, RSR_ELEM_U8, 1, "code%s", suffix)
                                : rsrc_kb_reg(kb, RSR_ELEM_U32, bytes / 4, "code%s", suffix);
    if (dot->machine->product == RSR_KOP_MADD_U8S8)
        operands->product = rsrc_kb_reg(kb, RSR_ELEM_I16, bytes / 2, "product%s", suffix);
    if (dot->machine->product == RSR_KOP_MUL) {
        operands->code_bytes =
            bytes == 1 ? operands->code : rsrc_kb_reg(kb, RSR_ELEM_U8, bytes, "bytes%s", suffix);
        operands->code_wide = rsrc_kb_reg(kb, narrow, bytes, "code_wide%s", suffix);
        operands->product = rsrc_kb_reg(kb, narrow, bytes, "product%s", suffix);
        for (uint32_t t = 0; t < tile->n_tokens; t++)
            operands->x_wide[t] = vector_reg(dot, narrow, bytes, "x_wide", t, suffix);
    }
}

/* accumulator += masked codes * x of token t */
static void multiply(struct dot *dot, const struct dot_tile *tile,
                     const struct dot_operands *operands, uint32_t r, uint32_t t, uint32_t group) {
    struct rsrc_kb *kb = &dot->frame.kb;
    const uint16_t acc = is_narrow(dot) ? tile->narrow[r][t] : tile->acc[r][t][group];
    const enum rsr_kop_kind product = dot->machine->product;
    if (product == RSR_KOP_DOT_U8S8 || product == RSR_KOP_DOT_S8S8) {
        rsrc_kb_ternary(kb, product, acc, acc, operands->code, operands->x[t]);
        return;
    }
    rsrc_kb_binary(kb, product, operands->product,
                   product == RSR_KOP_MUL ? operands->code_wide : operands->code,
                   product == RSR_KOP_MUL ? operands->x_wide[t] : operands->x[t]);
    rsrc_kb_binary(kb, RSR_KOP_ADD, acc, acc, operands->product);
}

static void emit_block(struct dot *dot, const struct dot_tile *tile,
                       const struct dot_operands *operands) {
    struct rsrc_kb *kb = &dot->frame.kb;
    const bool plain = dot->machine->product == RSR_KOP_MUL;
    load_codes(dot, tile);
    for (uint32_t plane = 0; plane < dot->layout.n_planes; plane++) {
        const uint32_t group = plane % tile->n_groups;
        const uint32_t first = plane * dot->layout.vector_bytes;
        rsrc_kb_comment(kb, "multiply columns %u .. %u of the block: a mask takes their codes",
                        first, first + dot->layout.vector_bytes - 1);
        load_activations(dot, tile, plane, operands->x);
        for (uint32_t t = 0; plain && t < tile->n_tokens; t++)
            rsrc_kb_unary(kb, RSR_KOP_CONVERT, operands->x_wide[t], operands->x[t]);
        for (uint32_t r = 0; r < QUAD; r++) {
            if (plane != 0 && group == 0)
                rsrc_kb_immediate(kb, RSR_KOP_SHR, tile->codes[r], tile->codes[r],
                                  tile->n_groups * dot->layout.code_bits);
            rsrc_kb_binary(kb, RSR_KOP_AND, operands->code, tile->codes[r], dot->masks[group]);
            if (plain && operands->code_bytes != operands->code)
                rsrc_kb_unary(kb, RSR_KOP_BITCAST, operands->code_bytes, operands->code);
            if (plain)
                rsrc_kb_unary(kb, RSR_KOP_CONVERT, operands->code_wide, operands->code_bytes);
            for (uint32_t t = 0; t < tile->n_tokens; t++)
                multiply(dot, tile, operands, r, t, group);
        }
    }
}

/* ---- one tile of tokens ---------------------------------------------------------------------- */

static void make_accumulators(struct dot *dot, struct dot_tile *tile) {
    struct rsrc_kb *kb = &dot->frame.kb;
    const uint32_t lanes = wide_lanes(dot);
    const uint32_t narrow_lanes = dot->machine->product == RSR_KOP_MADD_U8S8 ? 2 * lanes : lanes;
    assert(tile->n_groups == 1 || (tile->n_tokens == 1 && !is_narrow(dot)));
    for (uint32_t r = 0; r < QUAD; r++)
        for (uint32_t t = 0; t < tile->n_tokens; t++) {
            if (is_narrow(dot))
                tile->narrow[r][t] = rsrc_kb_reg(kb, RSR_ELEM_I16, narrow_lanes, "narrow%u_%u%s", r,
                                                 t, tile->suffix);
            for (uint32_t g = 0; g < tile->n_groups; g++)
                tile->acc[r][t][g] =
                    tile->n_groups > 1
                        ? rsrc_kb_reg(kb, RSR_ELEM_I32, lanes, "acc%u_p%u%s", r, g, tile->suffix)
                        : rsrc_kb_reg(kb, RSR_ELEM_I32, lanes, "acc%u_%u%s", r, t, tile->suffix);
        }
}

static void clear_accumulators(struct dot *dot, const struct dot_tile *tile) {
    for (uint32_t r = 0; r < QUAD; r++)
        for (uint32_t t = 0; t < tile->n_tokens; t++)
            for (uint32_t g = 0; g < tile->n_groups; g++)
                rsrc_kb_const(&dot->frame.kb, tile->acc[r][t][g], 0);
}

static void clear_narrow(struct dot *dot, const struct dot_tile *tile) {
    for (uint32_t r = 0; r < QUAD; r++)
        for (uint32_t t = 0; t < tile->n_tokens; t++)
            rsrc_kb_const(&dot->frame.kb, tile->narrow[r][t], 0);
}

/* acc += narrow */
static void widen(struct dot *dot, const struct dot_tile *tile) {
    struct rsrc_kb *kb = &dot->frame.kb;
    const uint16_t wide = rsrc_kb_reg(kb, RSR_ELEM_I32, wide_lanes(dot), "wide%s", tile->suffix);
    for (uint32_t r = 0; r < QUAD; r++)
        for (uint32_t t = 0; t < tile->n_tokens; t++) {
            if (dot->machine->product == RSR_KOP_MADD_U8S8)
                rsrc_kb_binary(kb, RSR_KOP_MADD_I16, wide, tile->narrow[r][t], dot->ones);
            else
                rsrc_kb_unary(kb, RSR_KOP_CONVERT, wide, tile->narrow[r][t]);
            rsrc_kb_binary(kb, RSR_KOP_ADD, tile->acc[r][t][0], tile->acc[r][t][0], wide);
        }
}

/* acc of group 0 += the other groups brought to its scale. Lanes of group g are multiples of
 * 2^(g * code_bits), so the arithmetic shift is exact. */
static void combine(struct dot *dot, const struct dot_tile *tile) {
    struct rsrc_kb *kb = &dot->frame.kb;
    if (tile->n_groups > 1)
        rsrc_kb_comment(kb,
                        "codes stayed where they lie in a byte and count 2^s-fold, each in sums of "
                        "its own (names end in _p): exact shifts, once a row, bring these down");
    for (uint32_t r = 0; r < QUAD; r++)
        for (uint32_t t = 0; t < tile->n_tokens; t++)
            for (uint32_t g = 1; g < tile->n_groups; g++) {
                const uint16_t part = tile->acc[r][t][g];
                rsrc_kb_immediate(kb, RSR_KOP_SHR, part, part, g * dot->layout.code_bits);
                rsrc_kb_binary(kb, RSR_KOP_ADD, tile->acc[r][t][0], tile->acc[r][t][0], part);
            }
}

static void emit_block_loop(struct dot *dot, const struct dot_tile *tile) {
    struct rsrc_kb *kb = &dot->frame.kb;
    struct dot_operands operands;
    make_operands(dot, tile, &operands);
    if (!is_narrow(dot)) {
        rsrc_kb_loop(kb, tile->block, dot->frame.zero, dot->n_blocks, 1);
        emit_block(dot, tile, &operands);
        rsrc_kb_end(kb);
        combine(dot, tile);
        return;
    }
    const uint32_t chunk = narrow_blocks(dot);
    rsrc_kb_comment(kb, "int16 sums hold %u blocks, and are widened then", chunk);
    const uint16_t first = rsrc_kb_index_reg(kb, "chunk%s", tile->suffix);
    const uint16_t size = rsrc_kb_index_reg(kb, "chunk_size%s", tile->suffix);
    const uint16_t end = rsrc_kb_index_reg(kb, "chunk_end%s", tile->suffix);
    rsrc_kb_loop(kb, first, dot->frame.zero, dot->n_blocks, chunk);
    rsrc_kb_const(kb, size, chunk);
    rsrc_kb_binary(kb, RSR_KOP_ADD, end, first, size);
    rsrc_kb_binary(kb, RSR_KOP_MIN, end, end, dot->n_blocks);
    clear_narrow(dot, tile);
    rsrc_kb_loop(kb, tile->block, first, end, 1);
    emit_block(dot, tile, &operands);
    rsrc_kb_end(kb);
    widen(dot, tile);
    rsrc_kb_end(kb);
}

/* Sums the lanes of each of four accumulators; the result has one lane per row. */
static uint16_t reduce_quad(struct dot *dot, const struct dot_tile *tile, uint32_t t) {
    struct rsrc_kb *kb = &dot->frame.kb;
    uint32_t lanes = wide_lanes(dot);
    const uint16_t low = vector_reg(dot, RSR_ELEM_I32, lanes, "rows01_", t, tile->suffix);
    const uint16_t high = vector_reg(dot, RSR_ELEM_I32, lanes, "rows23_", t, tile->suffix);
    rsrc_kb_zip_add(kb, low, tile->acc[0][t][0], tile->acc[1][t][0], 1);
    rsrc_kb_zip_add(kb, high, tile->acc[2][t][0], tile->acc[3][t][0], 1);
    uint16_t sums = vector_reg(dot, RSR_ELEM_I32, lanes, "quads", t, tile->suffix);
    rsrc_kb_zip_add(kb, sums, low, high, 2);
    for (; lanes > QUAD; lanes /= 2) {
        const uint16_t half =
            rsrc_kb_reg(kb, RSR_ELEM_I32, lanes / 2, "quads%u_by%u%s", t, lanes / 2, tile->suffix);
        sums = rsrc_kb_unary(kb, RSR_KOP_HALVES_ADD, half, sums);
    }
    return sums;
}

/* Stores a quad of results from one register; the last, short quad lane by lane. */
static void store_quad(struct dot *dot, const struct dot_tile *tile, uint32_t t, uint16_t result) {
    struct rsrc_frame *frame = &dot->frame;
    struct rsrc_kb *kb = &frame->kb;
    const struct rsrc_frame_token *token = &tile->tokens[t];
    const uint32_t n_last = kb->kernel->rows % QUAD;
    if (n_last == 0) {
        rsrc_frame_store(frame, result, token, dot->quad, 0);
        return;
    }
    const enum rsr_elem elem = kb->kernel->regs[result].elem;
    rsrc_kb_if_less(kb, dot->quad, dot->full_quads);
    rsrc_frame_store(frame, result, token, dot->quad, 0);
    rsrc_kb_else(kb);
    for (uint32_t r = 0; r < n_last; r++) {
        const uint16_t one = rsrc_kb_reg(kb, elem, 1, "y%u_%u%s", t, r, tile->suffix);
        rsrc_kb_immediate(kb, RSR_KOP_EXTRACT, one, result, r);
        rsrc_frame_store(frame, one, token, dot->quad, r);
    }
    rsrc_kb_end(kb);
}

/* The scalar form: one register per row. */
static void store_rows(struct dot *dot, const struct dot_tile *tile, uint32_t t, uint16_t x_sum) {
    struct rsrc_frame *frame = &dot->frame;
    const uint32_t n_last = frame->kb.kernel->rows % QUAD;
    for (uint32_t r = 0; r < QUAD; r++) {
        const bool may_lack = n_last != 0 && r >= n_last;
        if (may_lack)
            rsrc_kb_if_less(&frame->kb, dot->quad, dot->full_quads);
        rsrc_frame_correct(frame, dot->alphabet, tile->acc[r][t][0], 1, x_sum, "");
        const uint16_t result =
            rsrc_frame_result(frame, tile->acc[r][t][0], 1, &tile->tokens[t], dot->quad, r);
        rsrc_frame_store(frame, result, &tile->tokens[t], dot->quad, r);
        if (may_lack)
            rsrc_kb_end(&frame->kb);
    }
}

static void emit_results(struct dot *dot, const struct dot_tile *tile) {
    if (dot->alphabet != RSR_BINARY_BIT)
        rsrc_kb_comment(&dot->frame.kb,
                        "codes are %s: what that adds is the sum of x, once a token",
                        dot->alphabet == RSR_TERNARY ? "w + 1" : "(w + 1) / 2");
    if (wide_lanes(dot) > 1)
        rsrc_kb_comment(&dot->frame.kb, "add the lanes of four rows up together: one lane a row");
    rsrc_frame_comment_results(&dot->frame);
    for (uint32_t t = 0; t < tile->n_tokens; t++) {
        char suffix[24];
        snprintf(suffix, sizeof suffix, "%u%s", t, tile->suffix);
        const uint16_t x_sum = dot->alphabet == RSR_BINARY_BIT
                                   ? RSR_NO_KREG
                                   : rsrc_frame_load_sum(&dot->frame, &tile->tokens[t], suffix);
        if (wide_lanes(dot) == 1) {
            store_rows(dot, tile, t, x_sum);
            continue;
        }
        const uint16_t total = reduce_quad(dot, tile, t);
        rsrc_frame_correct(&dot->frame, dot->alphabet, total, QUAD, x_sum, suffix);
        store_quad(dot, tile, t,
                   rsrc_frame_result(&dot->frame, total, QUAD, &tile->tokens[t], dot->quad, 0));
    }
}

/* Emits the quads of the group for n_tokens tokens from register `token` on. */
static void emit_tile(void *kernel, uint32_t n_tokens, uint16_t token) {
    struct dot *dot = kernel;
    struct rsrc_kb *kb = &dot->frame.kb;
    const char *suffix = n_tokens == 1 ? "" : rsrc_arena_printf(kb->arena, "_t%u", n_tokens);
    struct dot_tile tile = {.n_tokens = n_tokens,
                            .n_groups = n_tokens == 1 ? dot->machine->n_groups : 1,
                            .suffix = suffix};
    for (uint32_t t = 0; t < n_tokens; t++) {
        char name[24];
        snprintf(name, sizeof name, "%u%s", t, suffix);
        tile.tokens[t] = t == 0 ? rsrc_frame_token(&dot->frame, token, name)
                                : rsrc_frame_next_token(&dot->frame, &tile.tokens[t - 1], name);
    }
    tile.block = rsrc_kb_index_reg(kb, "block%s", suffix);
    for (uint32_t r = 0; r < QUAD; r++)
        tile.codes[r] = code_reg(dot, "w", r, suffix);
    make_accumulators(dot, &tile);
    rsrc_kb_loop(kb, dot->quad, dot->first_quad, dot->end_quad, 1);
    clear_accumulators(dot, &tile);
    emit_block_loop(dot, &tile);
    emit_results(dot, &tile);
    rsrc_kb_end(kb);
}

/* ---- the kernel ------------------------------------------------------------------------------ */

static void emit_constants(struct dot *dot, uint32_t n_groups) {
    struct rsrc_kb *kb = &dot->frame.kb;
    const struct rsrc_dot_layout *layout = &dot->layout;
    dot->n_blocks = rsrc_kb_index_const(kb, layout->n_blocks, "n_blocks");
    if (kb->kernel->rows % QUAD != 0)
        dot->full_quads = rsrc_kb_index_const(kb, kb->kernel->rows / QUAD, "full_quads");
    const uint32_t code_mask = (1u << layout->code_bits) - 1;
    for (uint32_t g = 0; g < n_groups; g++) {
        const uint32_t byte = code_mask << (g * layout->code_bits);
        dot->masks[g] = rsrc_kb_const(kb, code_reg(dot, "mask", g, ""),
                                      layout->vector_bytes == 1 ? byte : byte * 0x01010101u);
    }
    if (dot->machine->product == RSR_KOP_MADD_U8S8)
        dot->ones =
            rsrc_kb_const(kb, rsrc_kb_reg(kb, RSR_ELEM_I16, layout->vector_bytes / 2, "ones"), 1);
}

/* Takes the quads in groups whose codes stay in the L2 cache while all tokens use them. */
static void emit_groups(struct dot *dot, uint32_t group_quads, uint32_t token_tile) {
    struct rsrc_kb *kb = &dot->frame.kb;
    const struct rsrc_token_tiles tiles = rsrc_begin_tiles(&dot->frame, dot, emit_tile);
    dot->quad = rsrc_kb_index_reg(kb, "quad");
    dot->first_quad = rsrc_kb_index_reg(kb, "first_quad");
    dot->end_quad = rsrc_kb_index_reg(kb, "end_quad");
    const uint16_t size = rsrc_kb_index_const(kb, group_quads, "group_quads");
    rsrc_kb_comment(kb,
                    "%u quads at a time: their codes stay in the second-level cache while all "
                    "tokens pass over them",
                    group_quads);
    rsrc_kb_loop(kb, dot->first_quad, dot->frame.unit_begin, dot->frame.unit_end, group_quads);
    rsrc_kb_binary(kb, RSR_KOP_ADD, dot->end_quad, dot->first_quad, size);
    rsrc_kb_binary(kb, RSR_KOP_MIN, dot->end_quad, dot->end_quad, dot->frame.unit_end);
    rsrc_loop_tiles(
        &tiles,
        rsrc_kb_unary(kb, RSR_KOP_COPY, rsrc_kb_index_reg(kb, "next_token"), dot->frame.zero),
        dot->frame.n_tokens, 1, token_tile);
    rsrc_kb_end(kb);
}

static uint64_t quad_bytes(const struct rsrc_dot_layout *layout) {
    return (uint64_t)layout->n_blocks * QUAD * layout->vector_bytes;
}

/* A quarter of L2 for codes; activations and results need the rest. */
static uint32_t choose_group_quads(const struct rsrc_dot_layout *layout,
                                   const struct rsr_spec *spec) {
    const uint64_t quads = spec->l2_bytes / 4 / quad_bytes(layout);
    return quads == 0 ? 1 : quads < layout->n_groups ? (uint32_t)quads : layout->n_groups;
}

enum rsrc_status rsrc_lower_dot(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                const struct rsrc_lower_input *input, struct rsr_lowered *out,
                                const char **detail) {
    const struct rsr_matrix *matrix = input->matrix;
    struct dot dot = {.machine = rsrc_dot_machine_of(input->plan->machine),
                      .alphabet = matrix->alphabet};
    dot.layout = rsrc_make_dot_layout(dot.machine, matrix->alphabet, matrix->rows, matrix->cols);
    const uint32_t n_groups = dot.machine->n_groups;
    const uint32_t token_tile = input->plan->token_tile;
    assert(n_groups <= MAX_GROUPS && token_tile <= MAX_TOKENS);
    /* A lane adds four products of every plane of its group. Codes in it count up to 2^s times, so
     * a column adds at most 512. */
    assert(dot.machine->product == RSR_KOP_MUL ||
           dot.layout.code_bits << ((n_groups - 1) * dot.layout.code_bits) <=
               n_groups * dot.layout.vector_bytes);
    const uint32_t group_quads = choose_group_quads(&dot.layout, input->spec);
    if (matrix->cols > RSRC_MAX_SUM_COLS)
        return rsrc_refuse_wide(diag, input);
    rsrc_pack_dot(matrix, &dot.layout,
                  rsrc_alloc_blob(arena, &out->codes, rsrc_dot_codes_bytes(&dot.layout)));
    rsrc_frame_begin(&dot.frame, arena, input, QUAD, &out->kernel);
    rsrc_frame_streams(&dot.frame, 1, 0, quad_bytes(&dot.layout));
    struct rsrc_kb *kb = &dot.frame.kb;
    emit_constants(&dot, n_groups);
    rsrc_kb_comment(kb, "quads of 4 rows; a block of %u columns is %u bytes of each row",
                    dot.layout.block_cols, dot.layout.vector_bytes);
    emit_groups(&dot, group_quads, token_tile);
    rsrc_frame_end(&dot.frame, out);
    *detail =
        rsrc_arena_printf(arena, "%s-t%u-q%u", dot.machine->head.name, token_tile, group_quads);
    return RSRC_OK;
}
