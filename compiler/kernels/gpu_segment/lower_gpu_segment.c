/* lower_gpu_segment.c - constants and codes of `segment` on GPUs. */
#include <assert.h>

#include "base/round.h"
#include "kernels/gpu_segment/gpu_segment.h"

#define LOAD_BYTES 16u

/* ---- packing --------------------------------------------------------------------------------- */

/* The code of the segment that begins at column `first` of a row. */
static uint8_t code_at(const struct rsr_matrix *matrix, uint32_t row, uint64_t first) {
    uint32_t code = 0, place = 1;
    for (uint32_t i = 0; i < RSRC_GPU_SEGMENT_COLS; i++, place *= 3) {
        const bool inside = row < matrix->rows && first + i < matrix->cols;
        const int weight = inside ? matrix->values[(uint64_t)row * matrix->cols + first + i] : 0;
        code += (uint32_t)(weight + 1) * place;
    }
    return (uint8_t)code;
}

void rsrc_pack_gpu_segment(const struct rsr_matrix *matrix, const struct rsr_matvec *matvec,
                           uint8_t *out) {
    for (uint64_t at = 0; at < matvec->weight_bytes; at++) {
        const uint64_t load = at / LOAD_BYTES / RSRC_GPU_SEGMENT_ROWS;
        const uint32_t lane = (uint32_t)(at / LOAD_BYTES % RSRC_GPU_SEGMENT_ROWS);
        const uint32_t loads = matvec->steps * (RSRC_GPU_SEGMENT_CODES / LOAD_BYTES); /* of a row */
        const uint64_t segment = load % loads * LOAD_BYTES + at % LOAD_BYTES;
        const uint32_t row = (uint32_t)(load / loads) * RSRC_GPU_SEGMENT_ROWS + lane;
        out[at] = code_at(matrix, row, segment * RSRC_GPU_SEGMENT_COLS);
    }
}

/* ---- lowering -------------------------------------------------------------------------------- */

static struct rsr_matvec make_matvec(const struct rsrc_lower_input *input) {
    const struct rsr_matrix *matrix = input->matrix;
    struct rsr_matvec m = {
        .product = RSR_GPU_SEGMENT,
        .rows = matrix->rows,
        .cols = matrix->cols,
        .steps = rsrc_divide_up(matrix->cols, RSRC_GPU_SEGMENT_CHUNK_COLS),
        .row_warps = input->plan->tile_rows / RSRC_GPU_SEGMENT_ROWS,
        .col_warps = 1,
        .token_tile = RSRC_GPU_SEGMENT_TOKENS,
        .scale_per_row = matrix->n_scales > 1,
        .epilogue = input->epilogue,
        .functions = {{.tokens = 1, .registers = RSRC_GPU_SEGMENT_REGISTERS},
                      {.tokens = RSRC_GPU_SEGMENT_TOKENS, .registers = RSRC_GPU_SEGMENT_REGISTERS}},
        .n_functions = 2};
    const uint32_t tiles = rsrc_divide_up(m.rows, RSRC_GPU_SEGMENT_ROWS);
    m.blocks = rsrc_divide_up(tiles, m.row_warps);
    m.weight_bytes = (uint64_t)tiles * m.steps * RSRC_GPU_SEGMENT_ROWS * RSRC_GPU_SEGMENT_CODES;
    return m;
}

enum rsrc_status rsrc_lower_gpu_segment(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                        const struct rsrc_lower_input *input,
                                        struct rsr_lowered *out, const char **detail) {
    (void)diag;
    struct rsr_matvec *matvec = RSRC_NEW(arena, struct rsr_matvec);
    *matvec = make_matvec(input);
    if (input->codes != NULL) {
        out->codes = *input->codes;
    } else {
        uint8_t *bytes = RSRC_NEW_ARRAY(arena, matvec->weight_bytes, uint8_t);
        rsrc_pack_gpu_segment(input->matrix, matvec, bytes);
        out->codes = (struct rsr_blob){.bytes = bytes, .size_bytes = matvec->weight_bytes};
    }
    out->kernel.tile_rows = input->plan->tile_rows;
    out->kernel.n_tiles = matvec->blocks;
    out->kernel.matvec = matvec;
    *detail = rsrc_arena_printf(arena, "tokens%u", matvec->token_tile);
    return RSRC_OK;
}
