/* lower_dot_cols.c - `dot` over the columns that a list names; the others are not read.
 *
 * After squared ReLU, a column of down whose activation is 0 adds nothing. Columns are stored one
 * after another, for one tile of rows after another (struct cols_layout). Four listed columns are
 * interleaved byte by byte, so that the integer dot product finds four codes of a row together.
 * Sums of the tile stay in the scratch memory. Any four columns can be combined, so placing
 * channels that are often active together side by side would only give longer runs of memory.
 */
#include "kernel/listed.h"

#include <assert.h>

#include "base/round.h"

/* The packed codes w + 1 of columns that a list names. A tile of tile_blocks * 4 * vector_bytes
 * rows has, column by column, tile_blocks blocks of vector_bytes bytes. The four bytes that four
 * columns have at the same place become four neighbours when ZIP_LOW and ZIP_HIGH interleave them:
 * pack_block says of which row. Rows beyond the matrix are zero bits. */
struct cols_layout {
    uint32_t vector_bytes;
    uint32_t tile_blocks, n_tiles;
};

struct cols {
    struct rsrc_listed listed;
    struct cols_layout layout;
    struct rsrc_frame_token token;
    uint32_t lanes; /* rows of a unit */
    uint16_t mask;
    uint16_t first_unit, end_unit; /* of the tile */
    uint16_t tile_at;              /* its codes */
    uint16_t entry;
    uint16_t col[RSRC_LISTED_STEP], ahead[RSRC_LISTED_STEP]; /* numbers */
};

static uint16_t vector_reg(struct cols *c, enum rsr_elem elem, const char *name, uint32_t i) {
    const uint32_t bytes = c->listed.machine->vector_bytes;
    const uint32_t lanes = elem == RSR_ELEM_U8    ? bytes
                           : elem == RSR_ELEM_U16 ? bytes / 2
                                                  : c->lanes;
    return rsrc_kb_reg(&c->listed.frame.kb, elem, lanes, "%s%u", name, i);
}

/* The place of the sums of the unit's rows; units are numbered from the tile's first one. */
static struct rsrc_address sums_address(const struct cols *c, uint16_t unit) {
    return rsrc_address_plus(rsrc_address_at(RSR_KBUF_SCRATCH, 0), unit,
                             c->listed.machine->vector_bytes);
}

static void clear_sums(struct cols *c) {
    struct rsrc_kb *kb = &c->listed.frame.kb;
    const uint16_t n_units =
        rsrc_kb_index_const(kb, (uint64_t)c->layout.tile_blocks * 16, "n_sums");
    const uint16_t unit = rsrc_kb_index_reg(kb, "cleared");
    const uint16_t zeros = rsrc_kb_const(kb, vector_reg(c, RSR_ELEM_I32, "zeros", 0), 0);
    rsrc_kb_comment(kb, "sums of the tile's rows");
    rsrc_kb_loop(kb, unit, c->listed.frame.zero, n_units, 1);
    rsrc_kb_store(kb, zeros, sums_address(c, unit));
    rsrc_kb_end(kb);
}

static struct rsrc_address code_address(const struct cols *c, uint16_t col, uint16_t block) {
    const int64_t bytes = c->layout.vector_bytes;
    struct rsrc_address at = rsrc_address_at(RSR_KBUF_CODES, 0);
    at = rsrc_address_plus(at, c->tile_at, 1);
    at = rsrc_address_plus(at, col, bytes * c->layout.tile_blocks);
    return rsrc_address_plus(at, block, bytes);
}

/* Byte 4i + k of quads[j] <- byte i of column k, of the j-th quarter of every lane 16. */
static void interleave(struct cols *c, uint16_t block, uint16_t quads[4]) {
    struct rsrc_kb *kb = &c->listed.frame.kb;
    uint16_t w[RSRC_LISTED_STEP], pairs[4];
    for (uint32_t k = 0; k < RSRC_LISTED_STEP; k++) {
        w[k] =
            rsrc_kb_load(kb, vector_reg(c, RSR_ELEM_U8, "w", k), code_address(c, c->col[k], block));
        rsrc_kb_prefetch(kb, code_address(c, c->ahead[k], block));
    }
    for (uint32_t i = 0; i < 4; i++) { /* low and high of columns 0 and 1, then of 2 and 3 */
        const enum rsr_kop_kind zip = i % 2 == 0 ? RSR_KOP_ZIP_LOW : RSR_KOP_ZIP_HIGH;
        const uint16_t bytes = rsrc_kb_binary(kb, zip, vector_reg(c, RSR_ELEM_U8, "bytes", i),
                                              w[i / 2 * 2], w[i / 2 * 2 + 1]);
        pairs[i] =
            rsrc_kb_unary(kb, RSR_KOP_BITCAST, vector_reg(c, RSR_ELEM_U16, "pairs", i), bytes);
    }
    for (uint32_t j = 0; j < 4; j++) {
        const enum rsr_kop_kind zip = j % 2 == 0 ? RSR_KOP_ZIP_LOW : RSR_KOP_ZIP_HIGH;
        const uint16_t both = rsrc_kb_binary(kb, zip, vector_reg(c, RSR_ELEM_U16, "both", j),
                                             pairs[j / 2], pairs[j / 2 + 2]);
        quads[j] = rsrc_kb_unary(kb, RSR_KOP_BITCAST, vector_reg(c, RSR_ELEM_U32, "quad", j), both);
    }
}

/* Adds four columns times their activations to the sums of a block's 16 units. */
static void emit_block(struct cols *c, uint16_t block, uint16_t x) {
    struct rsrc_kb *kb = &c->listed.frame.kb;
    const int64_t bytes = c->layout.vector_bytes;
    uint16_t quads[4];
    rsrc_kb_comment(kb, "zip: four codes of a row side by side, as products take them");
    interleave(c, block, quads);
    rsrc_kb_comment(kb, "multiply, and add to the sums of the block's rows");
    for (uint32_t i = 0; i < 16; i++) {
        const uint16_t quad = quads[i / 4];
        const uint16_t code = vector_reg(c, RSR_ELEM_U32, "code", i);
        const uint16_t acc = vector_reg(c, RSR_ELEM_I32, "acc", i);
        struct rsrc_address at = rsrc_address_at(RSR_KBUF_SCRATCH, (int64_t)i * bytes);
        at = rsrc_address_plus(at, block, 16 * bytes);
        if (i % 4 != 0)
            rsrc_kb_immediate(kb, RSR_KOP_SHR, quad, quad, 2);
        rsrc_kb_binary(kb, RSR_KOP_AND, code, quad, c->mask);
        rsrc_kb_load(kb, acc, at);
        rsrc_listed_multiply(&c->listed, acc, code, x, rsrc_arena_printf(kb->arena, "%u", i));
        rsrc_kb_store(kb, acc, at);
    }
}

static void emit_sums(struct cols *c, const struct rsr_matrix *matrix) {
    struct rsrc_kb *kb = &c->listed.frame.kb;
    const uint32_t n_chunks = rsrc_divide_up(matrix->cols, RSR_LIST_CHUNK);
    const uint16_t all = rsrc_kb_index_const(kb, n_chunks, "n_chunks");
    const uint16_t end = rsrc_listed_begin(&c->listed, &c->token, all, "n_listed");
    rsrc_kb_comment(kb,
                    "four columns of the list; the others' activations are 0, and their codes are "
                    "not read. Columns ahead are fetched");
    rsrc_kb_loop(kb, c->entry, c->listed.frame.zero, end, RSRC_LISTED_STEP);
    for (uint32_t k = 0; k < RSRC_LISTED_STEP; k++) {
        rsrc_listed_index(&c->listed, &c->token, c->entry, k, c->col[k]);
        rsrc_listed_index(&c->listed, &c->token, c->entry, RSRC_LISTED_AHEAD + k, c->ahead[k]);
    }
    struct rsrc_address from = rsrc_address_at(c->token.x_buffer, (int64_t)c->listed.list.value_at);
    from = rsrc_address_plus(rsrc_address_plus(from, c->token.x_row, 1), c->entry, 1);
    const uint16_t four = rsrc_kb_load(kb, rsrc_kb_reg(kb, RSR_ELEM_I32, 1, "x_quad"), from);
    const uint16_t x =
        rsrc_kb_unary(kb, RSR_KOP_SPLAT, vector_reg(c, RSR_ELEM_I32, "x_quads", 0), four);
    const uint16_t block = rsrc_kb_index_reg(kb, "block");
    rsrc_kb_loop(kb, block, c->listed.frame.zero,
                 rsrc_kb_index_const(kb, c->layout.tile_blocks, "tile_blocks"), 1);
    emit_block(c, block, x);
    rsrc_kb_end(kb);
    rsrc_kb_end(kb);
}

/* Stores the results of `lanes` rows from row `first` of unit `unit`, which is number `number` in
 * the tile. */
static void emit_result(struct cols *c, uint16_t unit, uint16_t number, uint32_t first,
                        uint32_t lanes, uint16_t x_sum) {
    struct rsrc_frame *frame = &c->listed.frame;
    struct rsrc_kb *kb = &frame->kb;
    const uint16_t sums = rsrc_kb_reg(kb, RSR_ELEM_I32, lanes, "sums%u_%u", first, lanes);
    rsrc_kb_load(kb, sums, rsrc_address_offset(sums_address(c, number), (int64_t)first * 4));
    if (lanes > 1)
        x_sum = rsrc_kb_unary(kb, RSR_KOP_SPLAT, vector_reg(c, RSR_ELEM_I32, "x_sums", 0), x_sum);
    rsrc_kb_binary(kb, RSR_KOP_SUB, sums, sums, x_sum);
    const uint16_t result = rsrc_frame_result(frame, sums, lanes, &c->token, unit, first);
    rsrc_frame_store(frame, result, &c->token, unit, first);
}

static void emit_results(struct cols *c) {
    struct rsrc_frame *frame = &c->listed.frame;
    struct rsrc_kb *kb = &frame->kb;
    const uint32_t n_last = kb->kernel->rows % c->lanes;
    rsrc_kb_comment(kb, "codes are w + 1: what that adds is the sum of x, once a token");
    const uint16_t x_sum = rsrc_frame_load_sum(frame, &c->token, "");
    rsrc_frame_comment_results(frame);
    const uint16_t full = rsrc_kb_index_const(kb, kb->kernel->rows / c->lanes, "full_units");
    const uint16_t end = rsrc_kb_index_op(kb, RSR_KOP_MIN, c->end_unit, full, "end_full");
    const uint16_t unit = rsrc_kb_index_reg(kb, "unit");
    rsrc_kb_loop(kb, unit, c->first_unit, end, 1);
    const uint16_t number = rsrc_kb_index_op(kb, RSR_KOP_SUB, unit, c->first_unit, "unit_of_tile");
    emit_result(c, unit, number, 0, c->lanes, x_sum);
    rsrc_kb_end(kb);
    if (n_last == 0)
        return;
    rsrc_kb_if_less(kb, full, c->end_unit);
    const uint16_t last = rsrc_kb_index_op(kb, RSR_KOP_SUB, full, c->first_unit, "last_of_tile");
    for (uint32_t r = 0; r < n_last; r++)
        emit_result(c, full, last, r, 1, x_sum);
    rsrc_kb_end(kb);
}

static void emit_kernel(struct cols *c, const struct rsr_matrix *matrix) {
    struct rsrc_frame *frame = &c->listed.frame;
    struct rsrc_kb *kb = &frame->kb;
    const uint32_t tile_units = kb->kernel->tile_rows / c->lanes;
    rsrc_listed_constants(&c->listed);
    c->mask = rsrc_kb_const(kb, vector_reg(c, RSR_ELEM_U32, "mask", 0), 0x03030303);
    c->entry = rsrc_kb_index_reg(kb, "entry");
    for (uint32_t k = 0; k < RSRC_LISTED_STEP; k++) {
        c->col[k] = rsrc_kb_index_reg(kb, "col%u", k);
        c->ahead[k] = rsrc_kb_index_reg(kb, "ahead%u", k);
    }
    c->first_unit = rsrc_kb_index_reg(kb, "first_unit");
    const uint16_t token = rsrc_kb_index_reg(kb, "token");
    rsrc_kb_comment(kb, "tiles, whose sums stay in the cache; a column has %u bytes in each",
                    c->layout.tile_blocks * c->layout.vector_bytes);
    rsrc_kb_loop(kb, c->first_unit, frame->unit_begin, frame->unit_end, tile_units);
    const uint16_t size = rsrc_kb_index_const(kb, tile_units, "units_of_tile");
    const uint16_t unclipped = rsrc_kb_index_op(kb, RSR_KOP_ADD, c->first_unit, size, "tile_last");
    c->end_unit = rsrc_kb_index_op(kb, RSR_KOP_MIN, unclipped, frame->unit_end, "end_unit");
    const uint64_t tile_bytes =
        (uint64_t)matrix->cols * c->layout.tile_blocks * c->layout.vector_bytes;
    const uint16_t unit_bytes = rsrc_kb_index_const(kb, tile_bytes / tile_units, "unit_bytes");
    c->tile_at = rsrc_kb_index_op(kb, RSR_KOP_MUL, c->first_unit, unit_bytes, "tile_at");
    rsrc_kb_loop(kb, token, frame->zero, frame->n_tokens, 1);
    c->token = rsrc_frame_token(frame, token, "");
    clear_sums(c);
    emit_sums(c, matrix);
    emit_results(c);
    rsrc_kb_end(kb);
    rsrc_kb_end(kb);
}

/* In a block of a column, byte 16 l + 4 j + e has at bits 2s the row (4 j + s) * vector_bytes / 4 +
 * 4 l + e. */
static void pack_block(const struct rsr_matrix *matrix, uint32_t vector_bytes, uint32_t first_row,
                       uint8_t *column_blocks, size_t column_bytes) {
    const uint32_t lanes = vector_bytes / 4;
    const uint32_t left = matrix->rows - first_row;
    const uint32_t n_rows = left < 4 * vector_bytes ? left : 4 * vector_bytes;
    for (uint32_t r = 0; r < n_rows; r++) {
        const int8_t *w = matrix->values + (size_t)(first_row + r) * matrix->cols;
        const uint32_t unit = r / lanes, lane = r % lanes;
        const uint32_t byte = lane / 4 * 16 + unit / 4 * 4 + lane % 4, shift = unit % 4 * 2;
        uint8_t *out = column_blocks + byte;
        for (uint32_t col = 0; col < matrix->cols; col++)
            out[col * column_bytes] |= (uint8_t)((w[col] + 1) << shift);
    }
}

/* Fills zeroed codes. */
static void pack_cols(const struct rsr_matrix *matrix, const struct cols_layout *layout,
                      uint8_t *out) {
    const uint32_t block_rows = 4 * layout->vector_bytes;
    const size_t column_bytes = (size_t)layout->tile_blocks * layout->vector_bytes;
    for (uint32_t t = 0; t < layout->n_tiles; t++)
        for (uint32_t b = 0; b < layout->tile_blocks; b++) {
            const uint64_t first_row = ((uint64_t)t * layout->tile_blocks + b) * block_rows;
            if (first_row < matrix->rows)
                pack_block(matrix, layout->vector_bytes, (uint32_t)first_row,
                           out + t * matrix->cols * column_bytes + (size_t)b * layout->vector_bytes,
                           column_bytes);
        }
}

enum rsrc_status rsrc_lower_dot_cols(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                     const struct rsrc_lower_input *input, struct rsr_lowered *out,
                                     const char **detail) {
    const struct rsr_matrix *matrix = input->matrix;
    struct cols c = {.listed.machine = rsrc_dot_machine_of(input->plan->machine),
                     .listed.list = rsr_list_layout(matrix->cols, matrix->cols)};
    if (rsrc_listed_check(diag, input, true) != RSRC_OK)
        return RSRC_FAILED;
    const uint32_t bytes = c.listed.machine->vector_bytes;
    c.lanes = bytes / 4;
    rsrc_frame_begin(&c.listed.frame, arena, input, c.lanes, &out->kernel);
    c.layout = (struct cols_layout){.vector_bytes = bytes,
                                    .tile_blocks = out->kernel.tile_rows / (4 * bytes),
                                    .n_tiles = out->kernel.n_tiles};
    rsrc_frame_streams(&c.listed.frame, 1, 0, (uint64_t)matrix->cols * c.lanes / 4);
    emit_kernel(&c, matrix);
    rsrc_frame_end(&c.listed.frame, out);
    out->kernel.scratch_bytes = (uint64_t)c.layout.tile_blocks * 16 * bytes;
    const size_t n_bytes = (size_t)c.layout.n_tiles * matrix->cols * c.layout.tile_blocks * bytes;
    pack_cols(matrix, &c.layout, rsrc_alloc_blob(arena, &out->codes, n_bytes));
    *detail = rsrc_arena_printf(arena, "columns-%s", c.listed.machine->head.name);
    return RSRC_OK;
}
