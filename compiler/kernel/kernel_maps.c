/* kernel_maps.c - gathers columns and expands rows around a variant's code; see kernel_maps.h. */
#include <assert.h>
#include <string.h>

#include "kernel/kernel_frame.h"

/* Tokens of a group: enough to share a reading of the weights, few enough for scratch memory (32
 * tokens of 6912 sums take 0.9 MB). It is a multiple of every token tile of the variants. */
#define GROUP_TOKENS 32u

/* Bytes that one store of zeros clears. */
#define CLEAR_BYTES 16u

static uint32_t element_bytes(const struct rsrc_frame *frame) {
    return frame->input == RSR_INPUT_I8 ? 1 : 4;
}

/* Size of a compact activation row: header, kept columns, and zeros up to the ABI's padding. */
static uint32_t gathered_row_bytes(const struct rsrc_frame *frame) {
    const uint32_t cols = frame->layer->reduction->cols;
    const uint32_t padded = rsrc_divide_up(cols, RSR_ACT_PAD) * RSR_ACT_PAD;
    return (frame->input == RSR_INPUT_I8 ? RSR_ACT_HEADER : 0) + padded * element_bytes(frame);
}

static struct rsrc_address table_address(const struct rsrc_frame *frame, uint64_t at) {
    return rsrc_address_plus(rsrc_address_at(RSR_KBUF_INDEX, (int64_t)at), frame->maps.tables, 1);
}

struct rsrc_address rsrc_mapped_sums(const struct rsrc_frame *frame) {
    const int64_t sums_at = (int64_t)frame->maps.x_bytes * frame->maps.group_tokens;
    return rsrc_address_plus(rsrc_address_at(RSR_KBUF_SCRATCH, sums_at), frame->maps.scratch, 1);
}

/* Loads a u16 or u32 of a table as an index. */
static uint16_t load_number(struct rsrc_frame *frame, enum rsr_elem elem, const char *name,
                            struct rsrc_address at) {
    struct rsrc_kb *kb = &frame->kb;
    const uint16_t raw = rsrc_kb_reg(kb, elem, 1, "%s_raw", name);
    return rsrc_kb_unary(kb, RSR_KOP_CONVERT, rsrc_kb_index_reg(kb, "%s", name),
                         rsrc_kb_load(kb, raw, at));
}

/* ---- gathering ------------------------------------------------------------------------------- */

/* Clears the padding, and the columns between it and the last whole vector. */
static void clear_padding(struct rsrc_frame *frame, uint16_t to, uint32_t first_at) {
    struct rsrc_kb *kb = &frame->kb;
    const uint32_t used = frame->layer->reduction->cols * element_bytes(frame);
    const uint16_t zeros = rsrc_kb_reg(kb, RSR_ELEM_I32, 4, "gather_zeros");
    const uint16_t at = rsrc_kb_index_reg(kb, "gather_clear");
    rsrc_kb_const(kb, zeros, 0);
    const uint16_t end = rsrc_kb_index_const(kb, frame->maps.x_bytes, "gather_clear_end");
    const uint16_t begin =
        rsrc_kb_index_const(kb, first_at + used / CLEAR_BYTES * CLEAR_BYTES, "gather_clear_begin");
    rsrc_kb_loop(kb, at, begin, end, CLEAR_BYTES);
    struct rsrc_address clear = rsrc_address_plus(rsrc_address_at(RSR_KBUF_SCRATCH, 0), to, 1);
    rsrc_kb_store(kb, zeros, rsrc_address_plus(clear, at, 1));
    rsrc_kb_end(kb);
}

/* Emits x_new[j] = x[kept_cols[j]]; returns the i32 sum of int8 activations. */
static uint16_t gather_columns(struct rsrc_frame *frame, uint16_t from, uint16_t to,
                               uint32_t first_at) {
    struct rsrc_kb *kb = &frame->kb;
    const struct rsrc_map_layout *layout = &frame->maps.layout;
    const bool is_integer = frame->input == RSR_INPUT_I8;
    const uint32_t bytes = element_bytes(frame);
    const uint16_t sum = rsrc_kb_const(kb, rsrc_kb_reg(kb, RSR_ELEM_I32, 1, "gather_sum"), 0);
    const uint16_t value =
        rsrc_kb_reg(kb, is_integer ? RSR_ELEM_I8 : RSR_ELEM_F32, 1, "gather_value");
    const uint16_t kept = rsrc_kb_index_reg(kb, "gather_col");
    rsrc_kb_loop(kb, kept, frame->zero,
                 rsrc_kb_index_const(kb, frame->layer->reduction->cols, "gather_n_cols"), 1);
    struct rsrc_address number = table_address(frame, layout->columns_at);
    number = rsrc_address_plus(number, kept, layout->column_bytes);
    const uint16_t column = load_number(
        frame, layout->column_bytes == 2 ? RSR_ELEM_U16 : RSR_ELEM_U32, "gather_source", number);
    struct rsrc_address source = rsrc_address_at(RSR_KBUF_X, first_at);
    source = rsrc_address_plus(source, from, 1);
    rsrc_kb_load(kb, value, rsrc_address_plus(source, column, bytes));
    struct rsrc_address target = rsrc_address_at(RSR_KBUF_SCRATCH, first_at);
    target = rsrc_address_plus(target, to, 1);
    rsrc_kb_store(kb, value, rsrc_address_plus(target, kept, bytes));
    if (is_integer)
        rsrc_kb_binary(kb, RSR_KOP_ADD, sum, sum,
                       rsrc_kb_unary(kb, RSR_KOP_CONVERT,
                                     rsrc_kb_reg(kb, RSR_ELEM_I32, 1, "gather_wide"), value));
    rsrc_kb_end(kb);
    return sum;
}

static void emit_gather(struct rsrc_frame *frame) {
    struct rsrc_kb *kb = &frame->kb;
    const uint32_t first_at = frame->input == RSR_INPUT_I8 ? RSR_ACT_HEADER : 0;
    const uint16_t token = rsrc_kb_index_reg(kb, "gather_token");
    rsrc_kb_comment(kb, "gather %u of %u columns: the others add nothing to any row",
                    frame->layer->reduction->cols, frame->layer->reduction->counts.cols);
    rsrc_kb_loop(kb, token, frame->zero, frame->n_tokens, 1);
    const uint16_t from = rsrc_kb_index_reg(kb, "gather_from"),
                   to = rsrc_kb_index_reg(kb, "gather_to");
    rsrc_kb_binary(kb, RSR_KOP_ADD, from, frame->maps.first_token, token);
    rsrc_kb_binary(kb, RSR_KOP_MUL, from, from, frame->ldx);
    rsrc_kb_binary(kb, RSR_KOP_MUL, to, token, frame->maps.x_step);
    rsrc_kb_binary(kb, RSR_KOP_ADD, to, to, frame->maps.scratch);
    clear_padding(frame, to, first_at);
    const uint16_t sum = gather_columns(frame, from, to, first_at);
    if (frame->input == RSR_INPUT_I8) {
        const int64_t scale_at = offsetof(struct rsr_act_row, scale);
        const int64_t sum_at = offsetof(struct rsr_act_row, sum);
        const uint16_t scale =
            rsrc_kb_load(kb, rsrc_kb_reg(kb, RSR_ELEM_F32, 1, "gather_scale"),
                         rsrc_address_plus(rsrc_address_at(RSR_KBUF_X, scale_at), from, 1));
        rsrc_kb_store(kb, scale,
                      rsrc_address_plus(rsrc_address_at(RSR_KBUF_SCRATCH, scale_at), to, 1));
        rsrc_kb_store(kb, sum, rsrc_address_plus(rsrc_address_at(RSR_KBUF_SCRATCH, sum_at), to, 1));
    }
    rsrc_kb_end(kb);
}

/* ---- expanding ------------------------------------------------------------------------------- */

static struct rsrc_address entry_field(const struct rsrc_frame *frame, uint16_t entry,
                                       size_t offset) {
    return rsrc_address_plus(table_address(frame, frame->maps.layout.entries_at + offset), entry,
                             sizeof(struct rsrc_map_entry));
}

/* The sum of the entry's row, with the bits that computing it directly would give: exact, and +0 if
 * it is zero. */
static uint16_t load_signed_sum(struct rsrc_frame *frame, uint16_t entry, uint16_t sums_row) {
    struct rsrc_kb *kb = &frame->kb;
    const enum rsr_elem elem = frame->input == RSR_INPUT_I8 ? RSR_ELEM_I32 : RSR_ELEM_F32;
    const uint16_t slot =
        load_number(frame, RSR_ELEM_U32, "map_slot",
                    entry_field(frame, entry, offsetof(struct rsrc_map_entry, slot)));
    const uint16_t sign =
        rsrc_kb_load(kb, rsrc_kb_reg(kb, elem, 1, "map_sign"),
                     entry_field(frame, entry, offsetof(struct rsrc_map_entry, sign)));
    struct rsrc_address at = rsrc_address_plus(rsrc_mapped_sums(frame), sums_row, 4);
    const uint16_t sum = rsrc_kb_reg(kb, elem, 1, "map_sum");
    rsrc_kb_load(kb, sum, rsrc_address_plus(at, slot, 4));
    rsrc_kb_binary(kb, RSR_KOP_MUL, sum, sum, sign);
    if (elem == RSR_ELEM_F32) /* -1 * 0 is -0 */
        rsrc_kb_binary(kb, RSR_KOP_ADD, sum, sum,
                       rsrc_kb_const_f32(kb, rsrc_kb_reg(kb, RSR_ELEM_F32, 1, "plus_zero"), 0));
    return sum;
}

/* The frame's epilogue for one row, whose number is in a register. */
static uint16_t scale_sum(struct rsrc_frame *frame, uint16_t sum, uint16_t row, uint16_t x_scale) {
    struct rsrc_kb *kb = &frame->kb;
    if (frame->epilogue == RSR_EPILOGUE_RAW)
        return sum;
    uint16_t scale = frame->weight_scale;
    if (frame->row_scales)
        scale = rsrc_kb_load(kb, rsrc_kb_reg(kb, RSR_ELEM_F32, 1, "map_w_scale"),
                             rsrc_address_plus(rsrc_address_at(RSR_KBUF_SCALE, 0), row, 4));
    uint16_t real = sum;
    if (frame->input == RSR_INPUT_I8) {
        scale = rsrc_kb_binary(kb, RSR_KOP_MUL, rsrc_kb_reg(kb, RSR_ELEM_F32, 1, "map_scale"),
                               x_scale, scale);
        real =
            rsrc_kb_unary(kb, RSR_KOP_CONVERT, rsrc_kb_reg(kb, RSR_ELEM_F32, 1, "map_real"), sum);
    }
    return rsrc_kb_binary(kb, RSR_KOP_MUL, rsrc_kb_reg(kb, RSR_ELEM_F32, 1, "map_result"), real,
                          scale);
}

static void emit_expansion(struct rsrc_frame *frame) {
    struct rsrc_kb *kb = &frame->kb;
    const uint16_t token = rsrc_kb_index_reg(kb, "map_token");
    rsrc_kb_comment(
        kb,
        "%u rows follow from the sums of %u: equal and opposite ones are computed once, "
        "and zero rows not at all",
        frame->layer->reduction->counts.rows, frame->layer->reduction->rows);
    rsrc_kb_loop(kb, token, frame->zero, frame->n_tokens, 1);
    const struct rsrc_frame_token from = rsrc_frame_token(frame, token, "_map");
    const uint16_t to = rsrc_kb_index_reg(kb, "map_to");
    rsrc_kb_binary(kb, RSR_KOP_ADD, to, frame->maps.first_token, token);
    rsrc_kb_binary(kb, RSR_KOP_MUL, to, to, frame->ldy);
    uint16_t x_scale = RSR_NO_KREG;
    if (frame->input == RSR_INPUT_I8 && frame->epilogue == RSR_EPILOGUE_SCALE) {
        const int64_t at = offsetof(struct rsr_act_row, scale);
        x_scale =
            rsrc_kb_load(kb, rsrc_kb_reg(kb, RSR_ELEM_F32, 1, "map_x_scale"),
                         rsrc_address_plus(rsrc_address_at(from.x_buffer, at), from.x_row, 1));
    }
    const uint16_t entry = rsrc_kb_index_reg(kb, "map_entry");
    rsrc_kb_loop(kb, entry, frame->maps.first_entry, frame->maps.end_entry, 1);
    const uint16_t row =
        load_number(frame, RSR_ELEM_U32, "map_row",
                    entry_field(frame, entry, offsetof(struct rsrc_map_entry, row)));
    const uint16_t sum = load_signed_sum(frame, entry, from.y_row);
    const struct rsrc_address y = rsrc_address_plus(rsrc_address_at(RSR_KBUF_Y, 0), to, 4);
    rsrc_kb_store(kb, scale_sum(frame, sum, row, x_scale), rsrc_address_plus(y, row, 4));
    rsrc_kb_end(kb);
    rsrc_kb_end(kb);
}

/* The entries of the worker's tiles. */
static void load_entry_range(struct rsrc_frame *frame) {
    struct rsrc_kb *kb = &frame->kb;
    struct rsrc_frame_maps *maps = &frame->maps;
    const struct rsrc_address tiles = table_address(frame, maps->layout.tiles_at);
    const uint16_t begin =
        rsrc_kb_param(kb, rsrc_kb_index_reg(kb, "map_tile_begin"), RSR_KPARAM_TILE_BEGIN);
    const uint16_t end =
        rsrc_kb_param(kb, rsrc_kb_index_reg(kb, "map_tile_end"), RSR_KPARAM_TILE_END);
    maps->first_entry =
        load_number(frame, RSR_ELEM_U32, "map_first_entry", rsrc_address_plus(tiles, begin, 4));
    maps->end_entry =
        load_number(frame, RSR_ELEM_U32, "map_end_entry", rsrc_address_plus(tiles, end, 4));
}

/* ---- the frame's side ------------------------------------------------------------------------ */

void rsrc_place_mapped_token(struct rsrc_frame *frame, uint16_t token, struct rsrc_frame_token *row,
                             const char *suffix) {
    struct rsrc_kb *kb = &frame->kb;
    const struct rsrc_frame_maps *maps = &frame->maps;
    const uint16_t number = rsrc_kb_index_reg(kb, "map_number%s", suffix);
    if (!maps->gathers || !maps->expands)
        rsrc_kb_binary(kb, RSR_KOP_ADD, number, maps->first_token, token);
    if (maps->gathers) {
        row->x_buffer = RSR_KBUF_SCRATCH;
        rsrc_kb_binary(kb, RSR_KOP_MUL, row->x_row, token, maps->x_step);
        rsrc_kb_binary(kb, RSR_KOP_ADD, row->x_row, row->x_row, maps->scratch);
    } else {
        rsrc_kb_binary(kb, RSR_KOP_MUL, row->x_row, number, frame->ldx);
    }
    if (maps->expands)
        rsrc_kb_binary(kb, RSR_KOP_MUL, row->y_row, token, maps->sums_step);
    else
        rsrc_kb_binary(kb, RSR_KOP_MUL, row->y_row, number, frame->ldy);
}

static uint16_t late_const(struct rsrc_frame *frame, const char *name, uint32_t *op) {
    const uint16_t reg = rsrc_kb_index_const(&frame->kb, 0, "%s", name);
    *op = frame->kb.kernel->n_ops - 1;
    return reg;
}

void rsrc_begin_maps(struct rsrc_frame *frame, bool may_gather) {
    const struct rsr_reduction *reduction = frame->layer->reduction;
    struct rsrc_frame_maps *maps = &frame->maps;
    struct rsrc_kb *kb = &frame->kb;
    if (reduction == NULL)
        return;
    maps->gathers = may_gather && reduction->kept_cols != NULL;
    maps->expands = reduction->row_sources != NULL;
    maps->active = maps->gathers || maps->expands;
    if (!maps->active)
        return;
    maps->layout = rsrc_make_map_layout(reduction, maps->gathers, kb->kernel->n_tiles);
    maps->x_bytes = maps->gathers ? gathered_row_bytes(frame) : 0;
    maps->sums_rows = maps->expands ? rsrc_divide_up(reduction->rows, 16) * 16 : 0;
    const uint32_t token_tile = frame->layer->plan->token_tile;
    maps->group_tokens = token_tile > GROUP_TOKENS ? token_tile : GROUP_TOKENS;
    maps->tables = late_const(frame, "map_tables", &maps->tables_op);
    maps->scratch = late_const(frame, "map_scratch", &maps->scratch_op);
    maps->x_step = rsrc_kb_index_const(kb, maps->x_bytes, "gather_bytes");
    maps->sums_step = rsrc_kb_index_const(kb, maps->sums_rows, "map_sums_rows");
    if (maps->expands)
        load_entry_range(frame);

    const uint16_t n_all = frame->n_tokens;
    const uint16_t size = rsrc_kb_index_const(kb, maps->group_tokens, "map_group_tokens");
    maps->first_token = rsrc_kb_index_reg(kb, "map_first_token");
    rsrc_kb_loop(kb, maps->first_token, frame->zero, n_all, maps->group_tokens);
    const uint16_t left =
        rsrc_kb_index_op(kb, RSR_KOP_SUB, n_all, maps->first_token, "map_tokens_left");
    frame->n_tokens = rsrc_kb_index_op(kb, RSR_KOP_MIN, left, size, "map_n_tokens");
    if (maps->gathers)
        emit_gather(frame);
}

/* The variant's index, then the tables. */
static void append_tables(struct rsrc_frame *frame, uint64_t tables_at, struct rsr_blob *index) {
    const struct rsrc_frame_maps *maps = &frame->maps;
    struct rsrc_arena *arena = frame->kb.arena;
    const struct rsr_kernel *kernel = frame->kb.kernel;
    uint8_t *bytes = rsrc_arena_alloc(arena, tables_at + maps->layout.size_bytes);
    if (index->size_bytes != 0)
        memcpy(bytes, index->bytes, index->size_bytes);
    rsrc_pack_maps(arena, frame->layer->reduction, frame->input, &maps->layout, kernel->tile_rows,
                   kernel->n_tiles, bytes + tables_at);
    index->bytes = bytes;
    index->size_bytes = tables_at + maps->layout.size_bytes;
}

void rsrc_end_maps(struct rsrc_frame *frame, struct rsr_lowered *out) {
    const struct rsrc_frame_maps *maps = &frame->maps;
    struct rsr_kernel *kernel = frame->kb.kernel;
    if (!maps->active)
        return;
    if (maps->expands)
        emit_expansion(frame);
    rsrc_kb_end(&frame->kb);
    const uint64_t tables_at = rsrc_whole_lines(out->index.size_bytes);
    const uint64_t scratch_at = rsrc_whole_lines(kernel->scratch_bytes);
    kernel->ops[maps->tables_op].imm = (int64_t)tables_at;
    kernel->ops[maps->scratch_op].imm = (int64_t)scratch_at;
    append_tables(frame, tables_at, &out->index);
    kernel->has_row_map = maps->expands;
    kernel->row_map_at = tables_at + maps->layout.tiles_at;
    kernel->scratch_bytes =
        scratch_at + maps->group_tokens * (maps->x_bytes + UINT64_C(4) * maps->sums_rows);
}
