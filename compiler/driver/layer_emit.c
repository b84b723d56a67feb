/* layer_emit.c - writes the kernels and weights of a layer to the outputs.
 *
 * Assembling its bodies can be done in any order; everything else is in the order of the layers.
 */
#include <string.h>

#include "driver/layer.h"
#include "emit/asm/emit_asm.h"

/* ---- bodies ---------------------------------------------------------------------------------- */

static struct rsrc_bodies *bodies_of(const struct rsrc_layer_state *state, uint32_t target,
                                     uint32_t regime) {
    return &state->bodies[(size_t)target * RSR_REGIME_COUNT + regime];
}

static enum rsrc_status assemble_text(struct rsrc_layer_state *state, const struct rsr_spec *spec,
                                      struct rsrc_bodies *bodies, const char **why) {
    struct rsrc_compilation *c = state->compilation;
    if (c->run.cache.dir == NULL)
        return rsrc_asm_assemble(spec, &bodies->text, &state->arena, &bodies->object, why);
    const struct rsrc_cache_key key = rsrc_key_of_assembly(&c->run, spec, &bodies->text);
    if (rsrc_cache_get(&c->run.cache, state->diag, &key, &bodies->object))
        return RSRC_OK;
    if (rsrc_asm_assemble(spec, &bodies->text, &state->arena, &bodies->object, why) != RSRC_OK)
        return RSRC_FAILED;
    rsrc_cache_put(&c->run.cache, state->diag, &key, bodies->object.data,
                   bodies->object.size_bytes);
    return RSRC_OK;
}

/* Back ends print the bodies that the assembler declines together with the kernel. */
static enum rsrc_status assemble(struct rsrc_layer_state *state, uint32_t target, uint32_t regime) {
    if (rsrc_is_gpu(&state->compilation->inputs, target))
        return RSRC_OK;
    const struct rsr_kernel *kernel = &rsrc_lowered_of(state, target, regime)->kernel;
    struct rsrc_bodies *bodies = bodies_of(state, target, regime);
    const struct rsrc_place place = {.tensor = state->item->name};
    const char *why = NULL;
    if (kernel->n_bodies == 0 || (rsrc_asm_bodies(kernel, &bodies->text, &why) == RSRC_OK &&
                                  assemble_text(state, kernel->spec, bodies, &why) == RSRC_OK))
        return RSRC_OK;
    rsrc_diag_emit(state->diag, RSRC_REMARK_MISSED, "emit", &place, NULL,
                   "the assembler declined the bodies of %s, the back ends are asked: %s",
                   kernel->symbol, why);
    rsrc_buffer_free(&bodies->text);
    rsrc_buffer_free(&bodies->object);
    return RSRC_OK;
}

enum rsrc_status rsrc_layer_assemble(struct rsrc_layer_state *state) {
    const bool wanted = rsrc_wants_bodies(&state->compilation->units);
    return wanted ? rsrc_visit_kernels(state, assemble) : RSRC_OK;
}

/* ---- kernels and weights --------------------------------------------------------------------- */

/* A kept row can give several rows of results. The ABI gets the mean number of results of a tile,
 * rounded up. */
static uint32_t results_of_tile(const struct rsr_kernel *kernel) {
    return kernel->matvec != NULL || kernel->computed_rows == kernel->rows
               ? kernel->tile_rows
               : (kernel->rows - 1) / kernel->n_tiles + 1;
}

/* Where the layer's scales are from, and their value. */
static const char *scale_source(const struct rsrc_layer_state *state) {
    static const char *const words[] = {[RSR_SCALE_MULTIPLY] = "",
                                        [RSR_SCALE_DIVIDE] = "1 / ",
                                        [RSR_SCALE_ONLINE] = "max(mean |w|, 1e-5) of ",
                                        [RSR_SCALE_BLOCKS] = "the blocks of ",
                                        [RSR_SCALE_VALUES] = "the magnitude in "};
    const struct rsr_layer *layer = state->item->layer;
    const struct rsr_matrix *matrix = &state->matrix;
    if (layer == NULL || matrix->n_scales == 0)
        return NULL;
    const struct rsr_tensor *from = layer->scale != NULL ? layer->scale : layer->weight;
    const char *rest = matrix->group_cols != 0
                           ? " and more, a group of columns each, among the codes"
                       : matrix->n_scales > 1 ? " and more, a row each"
                                              : "";
    return rsrc_arena_printf(&state->compilation->run.arena, "%a%s, %s%s", (double)matrix->scale[0],
                             rest, words[layer->scale_rule], from->name);
}

/* The blob is freed before a rank's tiles are found. */
static const uint32_t *keep_row_map(const struct rsrc_layer_state *state,
                                    const struct rsr_kernel *kernel, const struct rsr_blob *index) {
    struct rsrc_compilation *c = state->compilation;
    if (c->inputs.n_shards == 0 || !kernel->has_row_map)
        return NULL;
    const uint64_t n_bytes = index->size_bytes - kernel->row_map_at;
    void *copy = rsrc_arena_alloc(&c->run.arena, n_bytes);
    return memcpy(copy, (const char *)index->bytes + kernel->row_map_at, n_bytes);
}

static enum rsrc_status emit_code(struct rsrc_layer_state *state, uint32_t target, uint32_t regime,
                                  struct rsr_linear_unit *linear) {
    struct rsrc_compilation *c = state->compilation;
    if (rsrc_is_gpu(&c->inputs, target))
        return rsrc_keep_gpu_kernel(state, target, regime, linear);
    return rsrc_emit_kernel(&c->units, state->item, &rsrc_lowered_of(state, target, regime)->kernel,
                            bodies_of(state, target, regime), &linear->function);
}

static enum rsrc_status record_linear(struct rsrc_layer_state *state, uint32_t target,
                                      uint32_t regime) {
    struct rsrc_compilation *c = state->compilation;
    const struct rsr_lowered *lowered = rsrc_lowered_of(state, target, regime);
    const struct rsr_kernel *kernel = &lowered->kernel;
    const struct rsr_regime_plan *plan = &state->plans[target].regimes[regime];
    struct rsr_linear_unit linear = {
        .name = rsrc_arena_strdup(&c->run.arena, kernel->symbol),
        .title = state->item->name,
        .scale_source = scale_source(state),
        .tokens = rsrc_n_kernels(state, target) == 1 ? "decode and prefill"
                                                     : rsrc_regime_name((enum rsr_regime)regime),
        /* scales of groups are among the codes */
        .n_scales = state->matrix.group_cols != 0 ? 1 : state->matrix.n_scales,
        .variant = rsrc_variant_of(plan),
        .input = kernel->input,
        .epilogue = kernel->epilogue,
        .role = state->item->role,
        .block = state->item->block,
        .rows = kernel->rows,
        .cols = kernel->cols,
        .n_tiles = kernel->n_tiles,
        .tile_rows = results_of_tile(kernel),
        .list = rsrc_kernel_row(plan->kernel)->names,
        .scratch_bytes = kernel->scratch_bytes,
        .tables = kernel->tables == NULL ? NULL : rsrc_arena_strdup(&c->run.arena, kernel->tables),
        .weight_bytes = rsrc_weight_bytes_of(state, target, regime),
        .token_bytes = rsrc_kernel_row(plan->kernel)->names != RSR_LIST_NONE
                           ? plan->token_bytes
                           : rsrc_weight_bytes_of(state, target, regime),
        .n_streams = kernel->n_streams,
        .stream_bytes = kernel->stream_bytes,
        .tile_bytes = kernel->tile_bytes,
        .has_row_map = kernel->has_row_map,
        .row_map_at = kernel->row_map_at,
        .row_map = keep_row_map(state, kernel, &lowered->index),
        .tiles_have_own_codes = kernel->tiles_have_own_codes,
        .reason = rsrc_arena_strdup(&c->run.arena, plan->reason)};
    if (emit_code(state, target, regime, &linear) != RSRC_OK ||
        rsrc_emit_codes(&c->weights, &lowered->codes, &linear.codes) != RSRC_OK ||
        rsrc_emit_blob(&c->weights, &lowered->index, &linear.index) != RSRC_OK ||
        rsrc_emit_blob(&c->weights, &lowered->scale, &linear.scale) != RSRC_OK)
        return RSRC_FAILED;
    const size_t item = (size_t)target * c->inputs.n_items + state->item_index;
    c->made.linears[item * RSR_REGIME_COUNT + regime] = linear;
    return RSRC_OK;
}

enum rsrc_status rsrc_layer_emit(struct rsrc_layer_state *state) {
    return rsrc_visit_kernels(state, record_linear);
}
