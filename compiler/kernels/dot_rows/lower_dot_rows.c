/* lower_dot_rows.c - `dot` over the rows that a list names; results of the others are 0.
 *
 * With squared ReLU, a row of up is multiplied by 0 if its gate is not above 0, so its result is
 * not needed. Rows are stored one after another, each in the blocks of `dot`, and four listed rows
 * share the loads of x. A tile is whole chunks of rows; the list says where in it each chunk
 * begins.
 */
#include "kernel/listed.h"

#include "base/round.h"

struct rows {
    struct rsrc_listed listed;
    struct rsrc_dot_layout layout;
    struct rsrc_frame_token token;
    uint16_t mask;
    uint16_t end_unit; /* of the tile */
    uint16_t entry;
    uint16_t row[RSRC_LISTED_STEP], ahead[RSRC_LISTED_STEP]; /* numbers */
    uint16_t acc[RSRC_LISTED_STEP];
};

static uint16_t vector_reg(struct rows *r, enum rsr_elem elem, const char *name, uint32_t i) {
    const uint32_t bytes = r->listed.machine->vector_bytes;
    const uint32_t lanes = elem == RSR_ELEM_I8 ? bytes : bytes / 4;
    return rsrc_kb_reg(&r->listed.frame.kb, elem, lanes, "%s%u", name, i);
}

/* Rows of the tile <- 0, in vectors that divide chunk and matrix. */
static void clear_results(struct rows *r, uint16_t first_unit) {
    struct rsrc_kb *kb = &r->listed.frame.kb;
    uint32_t lanes = r->listed.machine->vector_bytes / 4;
    while (kb->kernel->rows % lanes != 0)
        lanes /= 2;
    const uint16_t chunk = rsrc_kb_index_const(kb, RSR_LIST_CHUNK, "chunk");
    const uint16_t n_rows = rsrc_kb_index_const(kb, kb->kernel->rows, "n_rows");
    const uint16_t first = rsrc_kb_index_op(kb, RSR_KOP_MUL, first_unit, chunk, "first_row");
    const uint16_t last = rsrc_kb_index_op(kb, RSR_KOP_MUL, r->end_unit, chunk, "last_row");
    const uint16_t end = rsrc_kb_index_op(kb, RSR_KOP_MIN, last, n_rows, "end_row");
    const uint16_t zeros =
        rsrc_kb_const(kb, rsrc_kb_reg(kb, RSR_ELEM_I32, lanes, "zeros"), 0); /* for floats, too */
    const uint16_t at = rsrc_kb_index_reg(kb, "cleared");
    rsrc_kb_comment(kb, "rows that the list leaves out are 0, and are not read");
    rsrc_kb_loop(kb, at, first, end, lanes);
    struct rsrc_address to = rsrc_address_at(RSR_KBUF_Y, 0);
    to = rsrc_address_plus(rsrc_address_plus(to, r->token.y_row, 4), at, 4);
    rsrc_kb_store(kb, zeros, to);
    rsrc_kb_end(kb);
}

/* The next four listed rows; past the end of the tile, its last row is repeated. */
static void load_numbers(struct rows *r, uint16_t last) {
    struct rsrc_kb *kb = &r->listed.frame.kb;
    rsrc_kb_comment(
        kb, "four rows of the list, the last one again where it ends; and rows ahead, which "
            "are fetched");
    for (uint32_t i = 0; i < RSRC_LISTED_STEP; i++) {
        const uint16_t offset = rsrc_kb_index_const(kb, i, "offset%u", i);
        const uint16_t next = rsrc_kb_index_op(kb, RSR_KOP_ADD, r->entry, offset, "next%u", i);
        const uint16_t at = rsrc_kb_index_op(kb, RSR_KOP_MIN, next, last, "at%u", i);
        rsrc_listed_index(&r->listed, &r->token, at, 0, r->row[i]);
        rsrc_listed_index(&r->listed, &r->token, r->entry, RSRC_LISTED_AHEAD + i, r->ahead[i]);
    }
}

static struct rsrc_address code_address(const struct rows *r, uint16_t row, uint16_t block) {
    const int64_t bytes = r->layout.vector_bytes;
    struct rsrc_address at = rsrc_address_at(RSR_KBUF_CODES, 0);
    at = rsrc_address_plus(at, row, bytes * r->layout.n_blocks);
    return rsrc_address_plus(at, block, bytes);
}

static void emit_blocks(struct rows *r) {
    struct rsrc_kb *kb = &r->listed.frame.kb;
    const uint16_t block = rsrc_kb_index_reg(kb, "block");
    uint16_t x[4], codes[RSRC_LISTED_STEP];
    for (uint32_t i = 0; i < RSRC_LISTED_STEP; i++) {
        codes[i] = vector_reg(r, RSR_ELEM_U32, "w", i);
        rsrc_kb_const(kb, r->acc[i], 0);
    }
    rsrc_kb_comment(kb,
                    "multiply: four codes a byte, a mask takes one of each; rows share loads of x");
    rsrc_kb_loop(kb, block, r->listed.frame.zero,
                 rsrc_kb_index_const(kb, r->layout.n_blocks, "n_blocks"), 1);
    for (uint32_t plane = 0; plane < 4; plane++) {
        struct rsrc_address at = rsrc_frame_activations(&r->token);
        at = rsrc_address_plus(at, block, r->layout.block_cols);
        x[plane] = rsrc_kb_load(kb, vector_reg(r, RSR_ELEM_I8, "x", plane),
                                rsrc_address_offset(at, (int64_t)plane * r->layout.vector_bytes));
    }
    for (uint32_t i = 0; i < RSRC_LISTED_STEP; i++) {
        rsrc_kb_load(kb, codes[i], code_address(r, r->row[i], block));
        rsrc_kb_prefetch(kb, code_address(r, r->ahead[i], block));
    }
    for (uint32_t plane = 0; plane < 4; plane++)
        for (uint32_t i = 0; i < RSRC_LISTED_STEP; i++) {
            const uint32_t id = plane * 4 + i;
            const uint16_t code = vector_reg(r, RSR_ELEM_U32, "code", id);
            if (plane != 0)
                rsrc_kb_immediate(kb, RSR_KOP_SHR, codes[i], codes[i], 2);
            rsrc_kb_binary(kb, RSR_KOP_AND, code, codes[i], r->mask);
            rsrc_listed_multiply(&r->listed, r->acc[i], code, x[plane],
                                 rsrc_arena_printf(kb->arena, "%u", id));
        }
    rsrc_kb_end(kb);
}

/* The four sums, one lane per row. */
static uint16_t add_lanes(struct rows *r) {
    struct rsrc_kb *kb = &r->listed.frame.kb;
    uint32_t lanes = r->listed.machine->vector_bytes / 4;
    const uint16_t low = vector_reg(r, RSR_ELEM_I32, "rows", 1);
    const uint16_t high = vector_reg(r, RSR_ELEM_I32, "rows", 23);
    rsrc_kb_zip_add(kb, low, r->acc[0], r->acc[1], 1);
    rsrc_kb_zip_add(kb, high, r->acc[2], r->acc[3], 1);
    uint16_t sums = rsrc_kb_zip_add(kb, vector_reg(r, RSR_ELEM_I32, "sums", lanes), low, high, 2);
    while (lanes > RSRC_LISTED_STEP) {
        lanes /= 2;
        sums = rsrc_kb_unary(kb, RSR_KOP_HALVES_ADD,
                             rsrc_kb_reg(kb, RSR_ELEM_I32, lanes, "sums%u", lanes), sums);
    }
    return sums;
}

static void store_results(struct rows *r, uint16_t x_sums) {
    struct rsrc_frame *frame = &r->listed.frame;
    struct rsrc_kb *kb = &frame->kb;
    rsrc_kb_comment(kb, "add lanes up, one lane a row; codes are w + 1: take the sum of x away");
    const uint16_t sums = add_lanes(r);
    rsrc_frame_comment_results(frame);
    rsrc_kb_binary(kb, RSR_KOP_SUB, sums, sums, x_sums);
    const uint16_t result =
        rsrc_frame_result(frame, sums, RSRC_LISTED_STEP, &r->token, frame->zero, 0);
    for (uint32_t i = 0; i < RSRC_LISTED_STEP; i++) {
        const uint16_t one = rsrc_kb_reg(kb, kb->kernel->regs[result].elem, 1, "y%u", i);
        struct rsrc_address to = rsrc_address_at(RSR_KBUF_Y, 0);
        to = rsrc_address_plus(rsrc_address_plus(to, r->token.y_row, 4), r->row[i], 4);
        rsrc_kb_store(kb, rsrc_kb_immediate(kb, RSR_KOP_EXTRACT, one, result, i), to);
    }
}

static void emit_token(struct rows *r, uint16_t token, uint16_t first_unit) {
    struct rsrc_frame *frame = &r->listed.frame;
    struct rsrc_kb *kb = &frame->kb;
    r->token = rsrc_frame_token(frame, token, "");
    clear_results(r, first_unit);
    const uint16_t first = rsrc_listed_begin(&r->listed, &r->token, first_unit, "first");
    const uint16_t end = rsrc_listed_begin(&r->listed, &r->token, r->end_unit, "end");
    const uint16_t last = rsrc_kb_index_op(kb, RSR_KOP_SUB, end, frame->one, "last");
    const uint16_t x_sums =
        rsrc_kb_unary(kb, RSR_KOP_SPLAT, rsrc_kb_reg(kb, RSR_ELEM_I32, RSRC_LISTED_STEP, "x_sums"),
                      rsrc_frame_load_sum(frame, &r->token, ""));
    rsrc_kb_loop(kb, r->entry, first, end, RSRC_LISTED_STEP);
    load_numbers(r, last);
    emit_blocks(r);
    store_results(r, x_sums);
    rsrc_kb_end(kb);
}

static void emit_kernel(struct rows *r) {
    struct rsrc_frame *frame = &r->listed.frame;
    struct rsrc_kb *kb = &frame->kb;
    rsrc_listed_constants(&r->listed);
    r->mask = rsrc_kb_const(kb, vector_reg(r, RSR_ELEM_U32, "mask", 0), 0x03030303);
    r->entry = rsrc_kb_index_reg(kb, "entry");
    for (uint32_t i = 0; i < RSRC_LISTED_STEP; i++) {
        r->row[i] = rsrc_kb_index_reg(kb, "row%u", i);
        r->ahead[i] = rsrc_kb_index_reg(kb, "ahead%u", i);
        r->acc[i] = vector_reg(r, RSR_ELEM_I32, "acc", i);
    }
    const uint32_t tile_units = kb->kernel->tile_rows / RSR_LIST_CHUNK;
    const uint16_t first_unit = rsrc_kb_index_reg(kb, "first_unit");
    const uint16_t token = rsrc_kb_index_reg(kb, "token");
    rsrc_kb_comment(kb, "a tile's rows stay in the cache while all tokens pass over them");
    rsrc_kb_loop(kb, first_unit, frame->unit_begin, frame->unit_end, tile_units);
    const uint16_t size = rsrc_kb_index_const(kb, tile_units, "units_of_tile");
    const uint16_t unclipped = rsrc_kb_index_op(kb, RSR_KOP_ADD, first_unit, size, "tile_last");
    r->end_unit = rsrc_kb_index_op(kb, RSR_KOP_MIN, unclipped, frame->unit_end, "end_unit");
    rsrc_kb_loop(kb, token, frame->zero, frame->n_tokens, 1);
    emit_token(r, token, first_unit);
    rsrc_kb_end(kb);
    rsrc_kb_end(kb);
}

enum rsrc_status rsrc_lower_dot_rows(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                     const struct rsrc_lower_input *input, struct rsr_lowered *out,
                                     const char **detail) {
    const struct rsr_matrix *matrix = input->matrix;
    struct rows r = {.listed.machine = rsrc_dot_machine_of(input->plan->machine),
                     .listed.list = rsr_list_layout(matrix->cols, matrix->rows)};
    if (rsrc_listed_check(diag, input, false) != RSRC_OK)
        return RSRC_FAILED;
    const uint32_t bytes = r.listed.machine->vector_bytes;
    r.layout = (struct rsrc_dot_layout){.vector_bytes = bytes,
                                        .code_bits = 2,
                                        .n_planes = 4,
                                        .block_cols = 4 * bytes,
                                        .n_blocks = rsrc_divide_up(matrix->cols, 4 * bytes),
                                        .group_rows = 1,
                                        .n_groups = matrix->rows};
    rsrc_pack_dot(matrix, &r.layout,
                  rsrc_alloc_blob(arena, &out->codes, rsrc_dot_codes_bytes(&r.layout)));
    rsrc_frame_begin(&r.listed.frame, arena, input, RSR_LIST_CHUNK, &out->kernel);
    rsrc_frame_streams(&r.listed.frame, 1, 0, (uint64_t)RSR_LIST_CHUNK * r.layout.n_blocks * bytes);
    emit_kernel(&r);
    rsrc_frame_end(&r.listed.frame, out);
    *detail = rsrc_arena_printf(arena, "rows-%s", r.listed.machine->head.name);
    return RSRC_OK;
}
