/* lower_gpu_fold.c - `fold` of GPUs: bodies of a warp's rows and a chunk of columns, over scalars.
 *
 * A lane is a token, so the operations are those of one token: sums are int32, which hold every
 * row. What is too large for a kernel is refused with its size.
 */
#include <assert.h>

#include "base/round.h"
#include "kernels/gpu_fold/gpu_fold.h"

static struct rsr_matvec make_matvec(const struct rsrc_lower_input *input) {
    const struct rsr_matrix *matrix = input->matrix;
    const uint32_t warp_rows = rsrc_gpu_fold_rows(input->plan->k);
    struct rsr_matvec m = {
        .product = RSR_GPU_FOLD,
        .rows = matrix->rows,
        .cols = matrix->cols,
        .chunk_cols = rsrc_gpu_fold_cols(matrix->cols),
        .warp_rows = warp_rows,
        .row_warps = input->plan->tile_rows / warp_rows,
        .col_warps = 1,
        .token_tile = RSRC_GPU_FOLD_TOKENS,
        .scale_per_row = matrix->n_scales > 1,
        .epilogue = input->epilogue,
        .functions = {{.tokens = RSRC_GPU_FOLD_TOKENS, .registers = RSRC_GPU_FOLD_REGISTERS}},
        .n_functions = 1};
    m.steps = rsrc_divide_up(m.cols, m.chunk_cols);
    m.blocks = rsrc_divide_up(m.rows, warp_rows * m.row_warps);
    return m;
}

static uint64_t count_code(const struct rsr_kernel *kernel) {
    uint64_t n = 0;
    for (uint32_t b = 0; b < kernel->n_bodies; b++)
        for (uint32_t i = 0; i < kernel->bodies[b].n_ops; i++)
            n += kernel->bodies[b].ops[i].kind != RSR_KOP_COMMENT;
    return (uint64_t)((double)n * RSRC_GPU_FOLD_OP_BYTES);
}

static enum rsrc_status refuse_size(struct rsrc_diag *diag, const struct rsrc_lower_input *input,
                                    uint64_t bytes) {
    const struct rsrc_place place = {.tensor = input->title};
    return rsrc_refuse(diag, "gpu-code-size", &place,
                       "leave the layer out of --variant, or choose another variant for it",
                       "fold: %.1f MB of code for %u x %u weights; a kernel of a GPU may have "
                       "%.1f MB",
                       (double)bytes / 1e6, input->matrix->rows, input->matrix->cols,
                       (double)RSRC_GPU_FOLD_MAX_BYTES / 1e6);
}

enum rsrc_status rsrc_lower_gpu_fold(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                     const struct rsrc_lower_input *input, struct rsr_lowered *out,
                                     const char **detail) {
    assert(input->index != NULL && input->index->k == input->plan->k);
    if (rsrc_check_fold(diag, input) != RSRC_OK)
        return RSRC_FAILED;
    if (input->plan->weight_bytes > 2 * RSRC_GPU_FOLD_MAX_BYTES) /* not by its estimate alone */
        return refuse_size(diag, input, input->plan->weight_bytes);
    struct rsr_matvec *matvec = RSRC_NEW(arena, struct rsr_matvec);
    *matvec = make_matvec(input);
    const struct rsrc_fold_form form = {.alphabet = input->matrix->alphabet,
                                        .tokens = {.elem = RSR_ELEM_I32, .lanes = 1},
                                        .k = input->plan->k,
                                        .tile_blocks = matvec->warp_rows / input->plan->k,
                                        .chunk_cols = matvec->chunk_cols,
                                        .n_chunks = matvec->steps};
    struct rsrc_kb kb;
    rsrc_kb_init(&kb, arena, &out->kernel);
    rsrc_fold_bodies(&kb, input->index, &form);
    rsrc_kb_finish(&kb);
    const uint64_t code_bytes = count_code(&out->kernel);
    if (code_bytes > RSRC_GPU_FOLD_MAX_BYTES)
        return refuse_size(diag, input, code_bytes);
    out->kernel.rows = out->kernel.computed_rows = matvec->rows;
    out->kernel.cols = matvec->cols;
    out->kernel.epilogue = input->epilogue;
    out->kernel.tile_rows = input->plan->tile_rows;
    out->kernel.n_tiles = matvec->blocks;
    out->kernel.matvec = matvec;
    *detail = rsrc_arena_printf(arena, "k%u-chunk%u-%s", form.k, form.chunk_cols,
                                rsrc_hash_fold_index(arena, input->index));
    return RSRC_OK;
}
