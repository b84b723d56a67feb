/* layer_gpu.c - a compilation for a GPU: every layer is decoded, planned and packed, then its
 * kernels go to PTX or a cubin.
 *
 * One file has the kernels of all layers. A directory has three files a layer: the kernel, and as
 * raw little-endian bytes what its parameters `codes` and `scale` point to.
 */
#include <string.h>

#include "driver/driver.h"
#include "emit/ptx/emit_ptx.h"
#include "lower/pack_gpu.h"
#include "model/graph.h"
#include "model/ternary.h"
#include "plan/plan_gpu.h"

#define GPU_KINDS ((uint32_t)(RSRC_EMIT_PTX | RSRC_EMIT_CUBIN))

/* ---- what a GPU target can be asked for ------------------------------------------------------ */

bool rsrc_is_gpu(const struct rsrc_compilation *c) {
    return c->specs[0].gpu.sm != 0;
}

static enum rsrc_status refuse(struct rsrc_compilation *c, const char *option, const char *help) {
    rsrc_error(c->diag, "gpu-option", NULL, help, "%s: not with the GPU target %s", option,
               c->specs[0].name);
    return RSRC_FAILED;
}

enum rsrc_status rsrc_check_machine(struct rsrc_compilation *c) {
    const struct rsrc_options *options = c->options;
    const char *const works = "choose --emit=ptx or --emit=cubin";
    if (!rsrc_is_gpu(c)) {
        if ((options->emit & GPU_KINDS) == 0)
            return RSRC_OK;
        rsrc_error(c->diag, "gpu-option", NULL, "add --target=sm_90 or another GPU",
                   "--emit=ptx and cubin are of GPUs, and %s is a CPU", c->specs[0].name);
        return RSRC_FAILED;
    }
    if (c->n_specs > 1)
        return refuse(c, "--target=A,B", "compile for one GPU at a time");
    if (c->to < PASS_DECODE)
        return RSRC_OK;
    if (options->from != NULL)
        return refuse(c, "--from", "give a checkpoint");
    if (options->backend != NULL)
        return refuse(c, "--backend", "--cuda-path=none asks for LLVM's PTX");
    if (options->rsr_k != 0)
        return refuse(c, "--rsr-k", "a GPU's kernels have no segments");
    if (options->head_sketch != RSRC_HEAD_SKETCH_AUTO)
        return refuse(c, "--head-sketch", "a GPU's kernels are of layers alone: leave it out");
    if (options->no_reduce)
        return refuse(c, "--no-reduce", "nothing is reduced for a GPU");
    if (options->report != NULL)
        return refuse(c, "--report", "-Rpass=plan tells what was planned, and why");
    if (c->dumps >> PASS_DECODE != 0)
        return refuse(c, "--dump of a pass after graph", "-Rpass=plan tells what was planned");
    for (uint32_t k = 0; k < RSRC_KIND_COUNT && options->info == RSRC_INFO_NONE; k++)
        if (rsrc_wants(c, rsrc_kinds[k].emit) && (GPU_KINDS & (uint32_t)rsrc_kinds[k].emit) == 0)
            return refuse(c, rsrc_arena_printf(&c->arena, "--emit=%s", rsrc_kinds[k].name), works);
    return RSRC_OK;
}

/* ---- layers ---------------------------------------------------------------------------------- */

enum rsrc_status rsrc_find_gpu_codes(const struct rsrc_compilation *c, struct rsrc_diag *diag,
                                     const struct rsrc_item *item, int *out) {
    *out = -1;
    for (uint32_t i = 0; i < c->options->n_variants; i++) {
        const struct rsrc_variant_choice *choice = &c->options->variants[i];
        int codes = 0;
        while (codes < RSR_GPU_CODES_COUNT &&
               strcmp(rsrc_gpu_codes_name((enum rsr_gpu_codes)codes), choice->variant) != 0)
            codes++;
        if (codes == RSR_GPU_CODES_COUNT) {
            rsrc_error(diag, "option-value", NULL, "variants of a GPU are bits2 and base3",
                       "--variant: %s has no variant '%s'", c->specs[0].name, choice->variant);
            return RSRC_FAILED;
        }
        if (strcmp(choice->role, "*") == 0 ||
            (item->role != RSR_ROLE_COUNT && strcmp(choice->role, rsrc_role_name(item->role)) == 0))
            *out = codes;
    }
    return RSRC_OK;
}

static enum rsrc_status decode(struct rsrc_compilation *c, struct rsrc_arena *arena,
                               const struct rsrc_item *item, struct rsr_matrix *out) {
    return item->layer != NULL ? rsrc_decode_layer(c->diag, arena, item->layer, out)
                               : rsrc_decode_tensor(c->diag, arena, item->tensor, out);
}

/* Into the compilation's arena. */
static enum rsrc_status plan_item(struct rsrc_compilation *c, const struct rsrc_item *item,
                                  const struct rsr_matrix *matrix, struct rsr_gpu_kernel *out) {
    struct rsr_gpu_plan *plan = RSRC_NEW(&c->arena, struct rsr_gpu_plan);
    struct rsrc_gpu_layer layer = {.name = item->name,
                                   .rows = matrix->rows,
                                   .cols = matrix->cols,
                                   .n_scales = matrix->n_scales,
                                   .epilogue =
                                       item->layer != NULL ? RSR_EPILOGUE_SCALE : RSR_EPILOGUE_RAW,
                                   .input = item->input,
                                   .group_cols = matrix->group_cols};
    if (rsrc_find_gpu_codes(c, c->diag, item, &layer.forced_codes) != RSRC_OK ||
        rsrc_plan_gpu_layer(c->diag, &c->arena, &layer, &c->specs[0], plan) != RSRC_OK)
        return RSRC_FAILED;
    /* Names of targets may have what symbols may not. */
    char *symbol = rsrc_arena_printf(&c->arena, "rsr_%s_%s_%s", item->stem,
                                     rsrc_gpu_codes_name(plan->codes), c->specs[0].name);
    for (char *p = symbol; *p != '\0'; p++)
        if (*p == '.' || *p == '-')
            *p = '_';
    *out = (struct rsr_gpu_kernel){
        .symbol = symbol,
        .title = rsrc_arena_printf(&c->arena, "%s: %s", rsrc_model_name(c), item->name),
        .plan = plan};
    return RSRC_OK;
}

/* What the kernel reads, beside it in the directory. */
static enum rsrc_status write_weights(struct rsrc_compilation *c, struct rsrc_arena *arena,
                                      const struct rsr_matrix *matrix,
                                      const struct rsr_gpu_kernel *kernel) {
    uint8_t *codes = RSRC_NEW_ARRAY(arena, kernel->plan->weight_bytes, uint8_t);
    rsrc_pack_gpu(matrix, kernel->plan, codes);
    const char *dir = c->out_dir.temporary;
    if (rsrc_write_file(c, dir, rsrc_arena_printf(arena, "%s.codes", kernel->symbol), codes,
                        kernel->plan->weight_bytes) != RSRC_OK)
        return RSRC_FAILED;
    if (kernel->plan->epilogue == RSR_EPILOGUE_RAW)
        return RSRC_OK;
    return rsrc_write_file(c, dir, rsrc_arena_printf(arena, "%s.scale", kernel->symbol),
                           matrix->scale, matrix->n_scales * sizeof(float));
}

static enum rsrc_status compile_item(struct rsrc_compilation *c, const struct rsrc_item *item,
                                     struct rsr_gpu_kernel *out) {
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    struct rsr_matrix matrix;
    enum rsrc_status status = decode(c, &arena, item, &matrix);
    if (status == RSRC_OK)
        status = plan_item(c, item, &matrix, out);
    if (status == RSRC_OK && c->out_dir.path != NULL)
        status = write_weights(c, &arena, &matrix, out);
    rsrc_arena_free(&arena);
    return status;
}

/* ---- kernels --------------------------------------------------------------------------------- */

static enum rsrc_status emit_file(struct rsrc_compilation *c, const struct rsrc_kind *kind,
                                  struct rsrc_ptx *ptx, const struct rsr_gpu_kernel *kernels) {
    struct rsrc_buffer out = {0};
    enum rsrc_status status = rsrc_ptx_emit(ptx, kernels, c->n_items, &out);
    if (status == RSRC_OK)
        status = rsrc_sink_write(c, &c->units[kind->unit].sink, &out);
    rsrc_buffer_free(&out);
    return status;
}

static enum rsrc_status emit_directory(struct rsrc_compilation *c, const struct rsrc_kind *kind,
                                       struct rsrc_ptx *ptx, const struct rsr_gpu_kernel *kernels) {
    enum rsrc_status status = RSRC_OK;
    for (uint32_t i = 0; i < c->n_items && status == RSRC_OK; i++) {
        const char *name = rsrc_arena_printf(&c->arena, "%s%s", kernels[i].symbol, kind->suffix);
        struct rsrc_buffer out = {0};
        status = rsrc_ptx_emit(ptx, &kernels[i], 1, &out);
        if (status == RSRC_OK)
            status = rsrc_write_file(c, c->out_dir.temporary, name, out.data, out.size_bytes);
        rsrc_buffer_free(&out);
    }
    return status;
}

static enum rsrc_status emit_kind(struct rsrc_compilation *c, const struct rsrc_kind *kind,
                                  const struct rsr_gpu_kernel *kernels) {
    const struct rsrc_ptx_options options = {.title = rsrc_model_name(c),
                                             .spec = &c->specs[0],
                                             .kind = kind->unit,
                                             .cuda_path = c->options->cuda_path};
    struct rsrc_ptx *ptx = NULL;
    if (rsrc_ptx_open(c->diag, &c->arena, &options, &ptx) != RSRC_OK)
        return RSRC_FAILED;
    const enum rsrc_status status =
        (c->out_dir.path != NULL ? emit_directory : emit_file)(c, kind, ptx, kernels);
    rsrc_ptx_close(ptx);
    return status;
}

enum rsrc_status rsrc_run_gpu(struct rsrc_compilation *c) {
    if (c->to < PASS_LINK)
        return RSRC_OK;
    if (rsrc_open_outputs(c) != RSRC_OK)
        return RSRC_FAILED;
    struct rsr_gpu_kernel *kernels = RSRC_NEW_ARRAY(&c->arena, c->n_items, struct rsr_gpu_kernel);
    for (uint32_t i = 0; i < c->n_items; i++)
        if (compile_item(c, &c->items[i], &kernels[i]) != RSRC_OK)
            return RSRC_FAILED;
    for (uint32_t k = 0; k < RSRC_KIND_COUNT; k++) {
        const struct rsrc_kind *kind = &rsrc_kinds[k];
        if (rsrc_wants(c, kind->emit) && emit_kind(c, kind, kernels) != RSRC_OK)
            return RSRC_FAILED;
    }
    return rsrc_commit_outputs(c);
}
