/* kernel_frame.c - prologue, token rows and epilogue of all kernels; see kernel_frame.h. */
#include "kernel/kernel_frame.h"

#include <assert.h>

#include "base/round.h"

#define LINE_BYTES 64

static uint16_t load_param(struct rsrc_kb *kb, enum rsr_kparam param, const char *name) {
    return rsrc_kb_param(kb, rsrc_kb_index_reg(kb, "%s", name), param);
}

static void begin(struct rsrc_frame *frame, struct rsrc_arena *arena,
                  const struct rsrc_lower_input *input, uint32_t unit_rows, bool all_columns,
                  struct rsr_kernel *kernel) {
    const struct rsr_matrix *matrix = input->matrix;
    const uint32_t n_units = rsrc_divide_up(matrix->rows, unit_rows);
    const uint32_t tile_units = input->plan->tile_rows / unit_rows;
    assert(tile_units != 0 && input->plan->tile_rows % unit_rows == 0);
    kernel->rows = matrix->rows;
    kernel->computed_rows = matrix->rows;
    kernel->cols =
        all_columns && input->reduction != NULL ? input->reduction->counts.cols : matrix->cols;
    kernel->tile_rows = input->plan->tile_rows;
    kernel->n_tiles = rsrc_divide_up(n_units, tile_units);
    kernel->epilogue = input->epilogue;

    /* With groups, the variant's sums include the scales already. */
    const bool is_scaled = matrix->group_cols == 0 && input->epilogue == RSR_EPILOGUE_SCALE;
    *frame =
        (struct rsrc_frame){.layer = input,
                            .input = input->input,
                            .epilogue = is_scaled ? RSR_EPILOGUE_SCALE : RSR_EPILOGUE_RAW,
                            .row_scales = matrix->n_scales > 1,
                            .token_scales = matrix->group_cols != 0 && input->input == RSR_INPUT_I8,
                            .unit_rows = unit_rows,
                            .weight_scale = RSR_NO_KREG};
    struct rsrc_kb *kb = &frame->kb;
    rsrc_kb_init(kb, arena, kernel);
    frame->ldx = load_param(kb, RSR_KPARAM_LDX, "ldx");
    frame->ldy = load_param(kb, RSR_KPARAM_LDY, "ldy");
    frame->n_tokens = load_param(kb, RSR_KPARAM_N_TOKENS, "n_tokens");
    frame->zero = rsrc_kb_index_const(kb, 0, "zero");
    frame->one = rsrc_kb_index_const(kb, 1, "one");

    rsrc_kb_comment(kb, "tiles of %u rows; the last may be short. The worker's are its rows here",
                    kernel->tile_rows);
    const uint16_t units = rsrc_kb_index_const(kb, tile_units, "tile_units");
    const uint16_t n_all = rsrc_kb_index_const(kb, n_units, "n_units");
    const uint16_t tile_begin = load_param(kb, RSR_KPARAM_TILE_BEGIN, "tile_begin");
    const uint16_t tile_end = load_param(kb, RSR_KPARAM_TILE_END, "tile_end");
    frame->unit_begin = rsrc_kb_index_op(kb, RSR_KOP_MUL, tile_begin, units, "unit_begin");
    const uint16_t unclipped = rsrc_kb_index_op(kb, RSR_KOP_MUL, tile_end, units, "tiles_end");
    frame->unit_end = rsrc_kb_index_op(kb, RSR_KOP_MIN, unclipped, n_all, "unit_end");
    if (frame->epilogue == RSR_EPILOGUE_SCALE && !frame->row_scales) {
        rsrc_kb_comment(kb,
                        "one weight scale for all rows: the caller's tables say of which tensor");
        frame->weight_scale = rsrc_kb_load(kb, rsrc_kb_reg(kb, RSR_ELEM_F32, 1, "weight_scale"),
                                           rsrc_address_at(RSR_KBUF_SCALE, 0));
    }
    rsrc_begin_maps(frame, !all_columns);
}

void rsrc_frame_begin(struct rsrc_frame *frame, struct rsrc_arena *arena,
                      const struct rsrc_lower_input *input, uint32_t unit_rows,
                      struct rsr_kernel *kernel) {
    begin(frame, arena, input, unit_rows, false, kernel);
}

void rsrc_frame_begin_all_columns(struct rsrc_frame *frame, struct rsrc_arena *arena,
                                  const struct rsrc_lower_input *input, uint32_t unit_rows,
                                  struct rsr_kernel *kernel) {
    begin(frame, arena, input, unit_rows, true, kernel);
}

void rsrc_frame_end(struct rsrc_frame *frame, struct rsr_lowered *out) {
    const struct rsr_reduction *reduction = frame->layer->reduction;
    rsrc_end_maps(frame, out);
    rsrc_kb_finish(&frame->kb);
    if (reduction != NULL) {
        out->kernel.rows = reduction->counts.rows;
        out->kernel.cols = reduction->counts.cols;
    }
}

uint32_t rsrc_layer_column(const struct rsrc_lower_input *input, uint32_t col) {
    const bool dropped = input->reduction != NULL && input->reduction->kept_cols != NULL;
    return dropped ? input->reduction->kept_cols[col] : col;
}

struct rsrc_frame_token rsrc_frame_token(struct rsrc_frame *frame, uint16_t token,
                                         const char *suffix) {
    struct rsrc_kb *kb = &frame->kb;
    struct rsrc_frame_token row = {.x_buffer = RSR_KBUF_X,
                                   .x_first = frame->input == RSR_INPUT_I8 ? RSR_ACT_HEADER : 0};
    row.x_row = rsrc_kb_index_reg(kb, "x_row%s", suffix);
    row.y_row = rsrc_kb_index_reg(kb, "y_row%s", suffix);
    if (frame->maps.active) {
        rsrc_place_mapped_token(frame, token, &row, suffix);
        return row;
    }
    rsrc_kb_binary(kb, RSR_KOP_MUL, row.x_row, token, frame->ldx);
    rsrc_kb_binary(kb, RSR_KOP_MUL, row.y_row, token, frame->ldy);
    return row;
}

struct rsrc_frame_token rsrc_frame_next_token(struct rsrc_frame *frame,
                                              const struct rsrc_frame_token *previous,
                                              const char *suffix) {
    struct rsrc_kb *kb = &frame->kb;
    const struct rsrc_frame_maps *maps = &frame->maps;
    struct rsrc_frame_token row = *previous;
    row.x_row = rsrc_kb_index_reg(kb, "x_row%s", suffix);
    row.y_row = rsrc_kb_index_reg(kb, "y_row%s", suffix);
    rsrc_kb_binary(kb, RSR_KOP_ADD, row.x_row, previous->x_row, rsrc_frame_x_stride(frame));
    rsrc_kb_binary(kb, RSR_KOP_ADD, row.y_row, previous->y_row,
                   maps->expands ? maps->sums_step : frame->ldy);
    return row;
}

static struct rsrc_address header_field(const struct rsrc_frame_token *token, size_t offset) {
    return rsrc_address_plus(rsrc_address_at(token->x_buffer, (int64_t)offset), token->x_row, 1);
}

uint16_t rsrc_frame_x_stride(const struct rsrc_frame *frame) {
    return frame->maps.gathers ? frame->maps.x_step : frame->ldx;
}

struct rsrc_address rsrc_frame_activations(const struct rsrc_frame_token *token) {
    return header_field(token, token->x_first);
}

void rsrc_frame_streams(struct rsrc_frame *frame, uint32_t n_streams, uint64_t stream_bytes,
                        uint64_t unit_bytes) {
    struct rsr_kernel *kernel = frame->kb.kernel;
    kernel->n_streams = n_streams;
    kernel->stream_bytes = n_streams > 1 ? stream_bytes : 0;
    kernel->tile_bytes = kernel->tile_rows / frame->unit_rows * unit_bytes;
}

int64_t rsrc_fetch_ahead(const struct rsr_spec *spec, uint32_t n_streams) {
    const double bytes = RSRC_FETCH_NS * spec->read_gbps / n_streams;
    return bytes >= RSRC_FETCH_MAX ? RSRC_FETCH_MAX : (int64_t)(bytes / LINE_BYTES) * LINE_BYTES;
}

void rsrc_frame_prefetch_codes(struct rsrc_frame *frame, struct rsrc_address at,
                               uint64_t size_bytes, int64_t ahead) {
    for (uint64_t line = 0; line < size_bytes; line += LINE_BYTES)
        rsrc_kb_prefetch(&frame->kb, rsrc_address_offset(at, ahead + (int64_t)line));
}

uint16_t rsrc_frame_load_sum(struct rsrc_frame *frame, const struct rsrc_frame_token *token,
                             const char *suffix) {
    return rsrc_kb_load(&frame->kb, rsrc_kb_reg(&frame->kb, RSR_ELEM_I32, 1, "x_sum%s", suffix),
                        header_field(token, offsetof(struct rsr_act_row, sum)));
}

void rsrc_frame_correct(struct rsrc_frame *frame, enum rsr_alphabet alphabet, uint16_t sums,
                        uint32_t lanes, uint16_t x_sum, const char *suffix) {
    struct rsrc_kb *kb = &frame->kb;
    if (x_sum == RSR_NO_KREG)
        return;
    if (alphabet == RSR_BINARY_SIGN)
        rsrc_kb_immediate(kb, RSR_KOP_SHL, sums, sums, 1);
    if (lanes > 1)
        x_sum = rsrc_kb_unary(kb, RSR_KOP_SPLAT,
                              rsrc_kb_reg(kb, RSR_ELEM_I32, lanes, "x_sums%s", suffix), x_sum);
    rsrc_kb_binary(kb, RSR_KOP_SUB, sums, sums, x_sum);
}

/* The weight scales of `lanes` rows: one per row, or the matrix's scale in every lane. */
static uint16_t load_weight_scale(struct rsrc_frame *frame, uint32_t lanes, uint16_t unit,
                                  uint32_t row, uint32_t id) {
    struct rsrc_kb *kb = &frame->kb;
    if (frame->row_scales) {
        struct rsrc_address at = rsrc_address_at(RSR_KBUF_SCALE, (int64_t)row * 4);
        at = rsrc_address_plus(at, unit, (int64_t)frame->unit_rows * 4);
        return rsrc_kb_load(kb, rsrc_kb_reg(kb, RSR_ELEM_F32, lanes, "w_scale%u", id), at);
    }
    if (lanes == 1)
        return frame->weight_scale;
    return rsrc_kb_unary(kb, RSR_KOP_SPLAT, rsrc_kb_reg(kb, RSR_ELEM_F32, lanes, "w_scales%u", id),
                         frame->weight_scale);
}

/* The product of the token's scale and the weight scales. */
static uint16_t load_scale(struct rsrc_frame *frame, uint32_t lanes,
                           const struct rsrc_frame_token *token, uint16_t unit, uint32_t row,
                           uint32_t id) {
    struct rsrc_kb *kb = &frame->kb;
    uint16_t x_scale = rsrc_kb_load(kb, rsrc_kb_reg(kb, RSR_ELEM_F32, 1, "x_scale%u", id),
                                    header_field(token, offsetof(struct rsr_act_row, scale)));
    if (frame->row_scales) {
        const uint16_t w = load_weight_scale(frame, lanes, unit, row, id);
        if (lanes > 1)
            x_scale = rsrc_kb_unary(
                kb, RSR_KOP_SPLAT, rsrc_kb_reg(kb, RSR_ELEM_F32, lanes, "x_scales%u", id), x_scale);
        return rsrc_kb_binary(kb, RSR_KOP_MUL, rsrc_kb_reg(kb, RSR_ELEM_F32, lanes, "scale%u", id),
                              x_scale, w);
    }
    const uint16_t scale =
        rsrc_kb_binary(kb, RSR_KOP_MUL, rsrc_kb_reg(kb, RSR_ELEM_F32, 1, "scale%u", id), x_scale,
                       frame->weight_scale);
    if (lanes == 1)
        return scale;
    return rsrc_kb_unary(kb, RSR_KOP_SPLAT, rsrc_kb_reg(kb, RSR_ELEM_F32, lanes, "scales%u", id),
                         scale);
}

/* Names of results in comments. */
enum result_kind {
    IN_SUMS,
    OF_TOKEN,
    OF_MAP,
    RAW,
    OF_MATRIX,
    OF_ROWS,
    FLOAT_OF_MATRIX,
    FLOAT_OF_ROWS
};
static const char *const result_comments[] = {
    [IN_SUMS] = "results: the sums, which have the scales of their groups of columns",
    [OF_TOKEN] = "results: sum * the token's scale; the sums have those of groups of columns",
    [OF_MAP] = "sums of the rows that are computed wait for the rows that follow from them",
    [RAW] = "results: the int32 sums as they are",
    [OF_MATRIX] =
        "results: sum * (the token's scale * the weight scale); sums of int8 are exact, so "
        "one multiplication a row is all that rounds",
    [OF_ROWS] = "results: sum * (the token's scale * the row's weight scale, which the caller's "
                "tables name); sums of int8 are exact, so that alone rounds",
    [FLOAT_OF_MATRIX] = "results: sum * the weight scale, once a row and not once a column",
    [FLOAT_OF_ROWS] = "results: sum * the row's weight scale, once a row and not once a column"};

void rsrc_frame_comment_results(struct rsrc_frame *frame) {
    const bool floats = frame->input == RSR_INPUT_F32;
    const bool in_sums = frame->layer->matrix->group_cols != 0;
    const enum result_kind kind = frame->maps.expands                   ? OF_MAP
                                  : frame->token_scales                 ? OF_TOKEN
                                  : in_sums                             ? IN_SUMS
                                  : frame->epilogue == RSR_EPILOGUE_RAW ? RAW
                                  : floats && frame->row_scales         ? FLOAT_OF_ROWS
                                  : floats                              ? FLOAT_OF_MATRIX
                                  : frame->row_scales                   ? OF_ROWS
                                                                        : OF_MATRIX;
    rsrc_kb_comment(&frame->kb, "%s", result_comments[kind]);
}

/* The sums of groups times the token's scale. */
static uint16_t scale_token(struct rsrc_frame *frame, uint16_t value, uint32_t lanes,
                            const struct rsrc_frame_token *token) {
    struct rsrc_kb *kb = &frame->kb;
    const uint32_t id = frame->n_results++;
    uint16_t scale = rsrc_kb_load(kb, rsrc_kb_reg(kb, RSR_ELEM_F32, 1, "x_scale%u", id),
                                  header_field(token, offsetof(struct rsr_act_row, scale)));
    if (lanes > 1)
        scale = rsrc_kb_unary(kb, RSR_KOP_SPLAT,
                              rsrc_kb_reg(kb, RSR_ELEM_F32, lanes, "x_scales%u", id), scale);
    return rsrc_kb_binary(kb, RSR_KOP_MUL, rsrc_kb_reg(kb, RSR_ELEM_F32, lanes, "result%u", id),
                          value, scale);
}

/* The order of the ABI. int8: m = x.scale * w, then y = (float)acc * m; float: y = acc * w. */
uint16_t rsrc_frame_result(struct rsrc_frame *frame, uint16_t value, uint32_t lanes,
                           const struct rsrc_frame_token *token, uint16_t unit, uint32_t row) {
    if (frame->token_scales)
        return scale_token(frame, value, lanes, token);
    if (frame->epilogue == RSR_EPILOGUE_RAW || frame->maps.expands)
        return value;
    struct rsrc_kb *kb = &frame->kb;
    const uint32_t id = frame->n_results++;
    uint16_t scale;
    uint16_t real = value;
    if (frame->input == RSR_INPUT_F32) {
        scale = load_weight_scale(frame, lanes, unit, row, id);
    } else {
        scale = load_scale(frame, lanes, token, unit, row, id);
        real = rsrc_kb_unary(kb, RSR_KOP_CONVERT,
                             rsrc_kb_reg(kb, RSR_ELEM_F32, lanes, "real%u", id), value);
    }
    return rsrc_kb_binary(kb, RSR_KOP_MUL, rsrc_kb_reg(kb, RSR_ELEM_F32, lanes, "result%u", id),
                          real, scale);
}

void rsrc_frame_store(struct rsrc_frame *frame, uint16_t result,
                      const struct rsrc_frame_token *token, uint16_t unit, uint32_t row) {
    const struct rsrc_address first =
        frame->maps.expands ? rsrc_mapped_sums(frame) : rsrc_address_at(RSR_KBUF_Y, 0);
    struct rsrc_address at = rsrc_address_offset(first, (int64_t)row * 4);
    at = rsrc_address_plus(at, token->y_row, 4);
    at = rsrc_address_plus(at, unit, (int64_t)frame->unit_rows * 4);
    rsrc_kb_store(&frame->kb, result, at);
}
