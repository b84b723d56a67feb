/* layer_gpu.c - a layer for a GPU: planned and packed, then its kernel goes to PTX or a cubin.
 *
 * One file has the kernels of all layers. A directory has three files a layer: the kernel, and as
 * raw little-endian bytes what its parameters `codes` and `scale` point to.
 */
#include <string.h>

#include "driver/layer.h"
#include "emit/ptx/emit_ptx.h"
#include "model/graph.h"
#include "kernels/gpu/gpu.h"

/* ---- a layer --------------------------------------------------------------------------------- */

/* The codes that --variant=ROLE=bits2|base3 asks for; -1: none. */
static enum rsrc_status find_codes(const struct rsrc_layer_state *state, int *out) {
    const struct rsrc_options *options = state->compilation->run.options;
    *out = -1;
    for (uint32_t i = 0; i < options->n_variants; i++) {
        const struct rsrc_variant_choice *choice = &options->variants[i];
        int codes = 0;
        while (codes < RSR_GPU_CODES_COUNT &&
               strcmp(rsrc_gpu_codes_name((enum rsr_gpu_codes)codes), choice->variant) != 0)
            codes++;
        if (codes == RSR_GPU_CODES_COUNT)
            return rsrc_refuse(state->diag, "option-value", NULL,
                               "variants of a GPU are bits2 and base3",
                               "--variant: %s has no variant '%s'",
                               state->compilation->inputs.specs[0].name, choice->variant);
        const enum rsr_role role = state->item->role;
        if (strcmp(choice->role, "*") == 0 ||
            (role != RSR_ROLE_COUNT && strcmp(choice->role, rsrc_role_name(role)) == 0))
            *out = codes;
    }
    return RSRC_OK;
}

enum rsrc_status rsrc_layer_plan_gpu(struct rsrc_layer_state *state) {
    const struct rsrc_item *item = state->item;
    const struct rsr_matrix *matrix = &state->matrix;
    struct rsrc_gpu_layer layer = {.name = item->name,
                                   .rows = matrix->rows,
                                   .cols = matrix->cols,
                                   .n_scales = matrix->n_scales,
                                   .epilogue =
                                       item->layer != NULL ? RSR_EPILOGUE_SCALE : RSR_EPILOGUE_RAW,
                                   .input = item->input,
                                   .group_cols = matrix->group_cols};
    if (find_codes(state, &layer.forced_codes) != RSRC_OK)
        return RSRC_FAILED;
    return rsrc_plan_gpu_layer(state->diag, &state->arena, &layer,
                               &state->compilation->inputs.specs[0], &state->gpu_plan);
}

/* What only a directory has a place for. */
enum rsrc_status rsrc_layer_pack_gpu(struct rsrc_layer_state *state) {
    if (state->compilation->outputs.dir == NULL)
        return RSRC_OK;
    state->gpu_codes = RSRC_NEW_ARRAY(&state->arena, state->gpu_plan.weight_bytes, uint8_t);
    rsrc_pack_gpu(&state->matrix, &state->gpu_plan, state->gpu_codes);
    return RSRC_OK;
}

/* What the kernel reads, beside it in the directory. */
static enum rsrc_status write_weights(struct rsrc_layer_state *state, const char *symbol) {
    struct rsrc_compilation *c = state->compilation;
    const char *dir = c->outputs.temporary_dir;
    if (rsrc_write_file(c->run.diag, dir, rsrc_arena_printf(&state->arena, "%s.codes", symbol),
                        state->gpu_codes, state->gpu_plan.weight_bytes) != RSRC_OK)
        return RSRC_FAILED;
    if (state->gpu_plan.epilogue == RSR_EPILOGUE_RAW)
        return RSRC_OK;
    return rsrc_write_file(c->run.diag, dir, rsrc_arena_printf(&state->arena, "%s.scale", symbol),
                           state->matrix.scale, state->matrix.n_scales * sizeof(float));
}

enum rsrc_status rsrc_layer_write_gpu(struct rsrc_layer_state *state) {
    struct rsrc_compilation *c = state->compilation;
    struct rsrc_arena *arena = &c->run.arena;
    struct rsr_gpu_plan *plan = RSRC_NEW(arena, struct rsr_gpu_plan);
    *plan = state->gpu_plan;
    plan->reason = rsrc_arena_strdup(arena, plan->reason);
    /* Names of targets may have what symbols may not. */
    char *symbol = rsrc_arena_printf(arena, "rsr_%s_%s_%s", state->item->stem,
                                     rsrc_gpu_codes_name(plan->codes), c->inputs.specs[0].name);
    for (char *p = symbol; *p != '\0'; p++)
        if (*p == '.' || *p == '-')
            *p = '_';
    c->made.gpu_kernels[state->item_index] = (struct rsr_gpu_kernel){
        .symbol = symbol,
        .title = rsrc_arena_printf(arena, "%s: %s", rsrc_model_name(&c->inputs), state->item->name),
        .plan = plan};
    return state->gpu_codes != NULL ? write_weights(state, symbol) : RSRC_OK;
}

/* ---- kernels --------------------------------------------------------------------------------- */

/* n of them: a file of the directory, or the file that has all. */
static enum rsrc_status emit_unit(struct rsrc_compilation *c, const struct rsrc_kind *kind,
                                  struct rsrc_ptx *ptx, const struct rsr_gpu_kernel *kernels,
                                  uint32_t n) {
    const char *dir = c->outputs.temporary_dir;
    struct rsrc_buffer out = {0};
    enum rsrc_status status = rsrc_ptx_emit(ptx, kernels, n, &out);
    if (status == RSRC_OK && dir == NULL)
        status = rsrc_sink_write(&c->run, &c->units.kinds[kind->unit].sink, &out);
    else if (status == RSRC_OK)
        status =
            rsrc_write_file(c->run.diag, dir,
                            rsrc_arena_printf(&c->run.arena, "%s%s", kernels->symbol, kind->suffix),
                            out.data, out.size_bytes);
    rsrc_buffer_free(&out);
    return status;
}

static enum rsrc_status emit_kind(struct rsrc_compilation *c, const struct rsrc_kind *kind) {
    const struct rsrc_ptx_options options = {.title = rsrc_model_name(&c->inputs),
                                             .spec = &c->inputs.specs[0],
                                             .kind = kind->unit,
                                             .cuda_path = c->run.options->cuda_path};
    struct rsrc_ptx *ptx = NULL;
    if (rsrc_ptx_open(c->run.diag, &c->run.arena, &options, &ptx) != RSRC_OK)
        return RSRC_FAILED;
    const uint32_t n = c->outputs.dir != NULL ? 1 : c->inputs.n_items;
    enum rsrc_status status = RSRC_OK;
    for (uint32_t i = 0; i < c->inputs.n_items && status == RSRC_OK; i += n)
        status = emit_unit(c, kind, ptx, &c->made.gpu_kernels[i], n);
    rsrc_ptx_close(ptx);
    return status;
}

enum rsrc_status rsrc_emit_gpu(struct rsrc_compilation *c) {
    for (uint32_t k = 0; k < RSRC_KIND_COUNT; k++)
        if (rsrc_wants(&c->run, rsrc_kinds[k].emit) && emit_kind(c, &rsrc_kinds[k]) != RSRC_OK)
            return RSRC_FAILED;
    return RSRC_OK;
}
