/* layer_analysis.c - analysis of a layer: its weights as integers, the reduced matrix, and the
 * segments of that matrix. */
#include <math.h>

#include "driver/layer.h"
#include "model/dead_channels.h"
#include "model/tensor_data.h"
#include "model/ternary.h"
#include "rsr/reduce.h"
#include "rsr/segment.h"
#include "rsr/segment_picture.h"

/* ---- passes ---------------------------------------------------------------------------------- */

static enum rsrc_status decode(struct rsrc_layer_state *state) {
    const struct rsrc_item *item = state->item;
    struct rsrc_diag *diag = state->diag;
    if (item->layer != NULL)
        return rsrc_decode_layer(diag, &state->arena, item->layer, &state->matrix);
    if (item->tensor != NULL)
        return rsrc_decode_tensor(diag, &state->arena, item->tensor, &state->matrix);
    rsrc_rebuild_matrix(&state->arena, item->index, &state->matrix);
    return RSRC_OK;
}

enum rsrc_status rsrc_layer_decode(struct rsrc_layer_state *state) {
    const struct rsrc_item *item = state->item;
    if (decode(state) != RSRC_OK)
        return RSRC_FAILED;
    const struct rsr_tensor *read = item->layer != NULL ? item->layer->weight : item->tensor;
    if (read != NULL)
        rsrc_release_tensor(read, 0, read->size_bytes);
    rsrc_keep_matrix(&state->matrix, &state->reduced, &state->reduction);
    state->whole = state->reduction;
    return RSRC_OK;
}

static bool is_gpu(const struct rsrc_layer_state *state, uint32_t target) {
    return rsrc_is_gpu(&state->compilation->inputs, target);
}

const struct rsr_matrix *rsrc_matrix_for(const struct rsrc_layer_state *state, uint32_t target) {
    return is_gpu(state, target) ? &state->matrix : &state->reduced;
}

const struct rsr_reduction *rsrc_reduction_for(const struct rsrc_layer_state *state,
                                               uint32_t target) {
    return is_gpu(state, target) ? &state->whole : &state->reduction;
}

const struct rsr_stats *rsrc_stats_for(const struct rsrc_layer_state *state, uint32_t target) {
    return is_gpu(state, target) ? &state->whole_stats : &state->stats;
}

const char *rsrc_reduction_words(struct rsrc_layer_state *state, uint32_t target) {
    const char *why_all =
        is_gpu(state, target) ? "a GPU's kernel applies no map" : RSRC_TOO_FEW_TO_MAP;
    return rsrc_reduction_text(&state->arena, rsrc_reduction_for(state, target), why_all);
}

const struct rsr_index *rsrc_index_at(struct rsrc_layer_state *state, uint32_t k) {
    struct rsr_index *index = k == state->stats.k ? &state->index : &state->fold_index;
    if (index->k != k)
        rsrc_build_index(&state->arena, &state->reduced, k, index);
    return index;
}

/* Whether nothing was dropped or masked. */
static bool is_unreduced(const struct rsrc_layer_state *state) {
    return state->reduced.values == state->matrix.values;
}

const struct rsr_index *rsrc_index_for(struct rsrc_layer_state *state, uint32_t target,
                                       uint32_t k) {
    if (!is_gpu(state, target) || is_unreduced(state))
        return rsrc_index_at(state, k);
    if (state->whole_index.k != k)
        rsrc_build_index(&state->arena, &state->matrix, k, &state->whole_index);
    return &state->whole_index;
}

/* Says it once for the CPUs and once for the GPUs among the targets. */
static void remark_reduction(struct rsrc_layer_state *state) {
    const struct rsrc_place place = {.tensor = state->item->name};
    for (uint32_t t = 0; t < state->compilation->inputs.n_specs; t++) {
        if (t != 0 && is_gpu(state, t) == is_gpu(state, t - 1))
            continue;
        const struct rsr_reduction *reduction = rsrc_reduction_for(state, t);
        const char *text = rsrc_reduction_words(state, t);
        const bool used = reduction->row_sources != NULL || reduction->kept_cols != NULL;
        if (text != NULL)
            rsrc_diag_emit(state->diag, used ? RSRC_REMARK : RSRC_REMARK_MISSED, "reduce", &place,
                           NULL, "%s", text);
    }
}

enum rsrc_status rsrc_layer_reduce(struct rsrc_layer_state *state) {
    struct rsrc_compilation *c = state->compilation;
    /* Scales of column groups depend on the places of rows and columns, so these stay. */
    if (c->run.options->no_reduce || state->matrix.group_cols != 0)
        return RSRC_OK;
    if (state->item->layer != NULL && c->made.dead_channels != NULL)
        rsrc_find_dead(c->made.dead_channels, &state->arena, state->item->layer, &state->dead);
    rsrc_reduce_matrix(&state->arena, &state->matrix, &state->dead, &state->reduced,
                       &state->reduction);
    state->whole.counts = state->reduction.counts;
    if (c->inputs.n_cpus == 0) { /* nothing applies maps: the analysis is of the layer itself */
        state->reduced = state->matrix;
        state->reduction = state->whole;
        state->dead = (struct rsr_dead){0};
    }
    remark_reduction(state);
    return RSRC_OK;
}

enum rsrc_status rsrc_layer_verify_reduce(struct rsrc_layer_state *state) {
    return rsrc_verify_reduction(state->diag, &state->matrix, &state->dead, &state->reduced,
                                 &state->reduction, state->item->name);
}

/* Rows of a block that --plan sets for the kernel; 0: none. */
static uint32_t given_k(const struct rsrc_layer_state *state, enum rsr_kernel_id kernel) {
    const struct rsr_named_plan **plans = state->item->plans;
    for (uint32_t t = 0; plans != NULL && t < state->compilation->inputs.n_specs; t++)
        for (uint32_t r = 0; r < RSR_REGIME_COUNT; r++)
            if (plans[t]->plan.regimes[r].kernel == kernel)
                return plans[t]->plan.regimes[r].k;
    return 0;
}

/* Statistics for fold, if it may be chosen. k is the plan's, the user's, or else at most 4. */
static void analyse_for_fold(struct rsrc_layer_state *state) {
    const struct rsrc_compilation *c = state->compilation;
    const struct rsr_matrix *matrix = &state->reduced;
    const uint32_t most = matrix->rows < RSRC_FOLD_K ? matrix->rows : RSRC_FOLD_K;
    const uint32_t of_cpus = given_k(state, RSR_KERNEL_FOLD);
    const uint32_t given = of_cpus != 0 ? of_cpus : given_k(state, RSR_KERNEL_GPU_FOLD);
    const uint32_t asked = c->run.options->rsr_k;
    const uint32_t k = given != 0 ? given : asked != 0 ? asked : most;
    const enum rsr_role role = state->item->role;
    if (c->run.plan_options.forced_variant[role] != RSR_VARIANT_FOLD &&
        c->run.gpu_plan_options.forced_variant[role] != RSR_VARIANT_FOLD && given == 0 &&
        state->item->fold_budget == 0)
        return;
    state->has_fold_stats = true;
    if (k == state->stats.k)
        state->fold_stats = state->stats;
    else
        rsrc_analyse_matrix(&state->arena, matrix, k, &state->fold_stats);
    state->whole_fold_stats = state->fold_stats;
    if (!is_unreduced(state) && rsrc_n_gpus(&c->inputs) != 0)
        rsrc_analyse_matrix(&state->arena, &state->matrix, k, &state->whole_fold_stats);
}

/* Limit of digits in all maps of a report, so that the report of an 8B model stays below 3 MB; and
 * the smallest side of a map, for models of very many layers. */
#define MAP_BUDGET 1400000.0
#define LEAST_MAP_SIDE 16u

static void picture_segments(struct rsrc_layer_state *state) {
    const struct rsrc_compilation *c = state->compilation;
    if (rsrc_report_form(c->run.options) < RSRC_REPORT_JSON)
        return;
    const uint32_t side = (uint32_t)sqrt(MAP_BUDGET / c->inputs.n_items);
    rsrc_picture_segments(&state->arena, &state->reduced, state->stats.k,
                          side < LEAST_MAP_SIDE ? LEAST_MAP_SIDE
                          : side > RSR_MAP_SIDE ? RSR_MAP_SIDE
                                                : side,
                          &state->picture);
}

enum rsrc_status rsrc_layer_rsr(struct rsrc_layer_state *state) {
    const struct rsrc_item *item = state->item;
    const uint32_t given = given_k(state, RSR_KERNEL_SCATTER);
    const uint32_t k = given != 0 ? given : state->compilation->run.options->rsr_k;
    if (item->index != NULL) {
        if (is_unreduced(state))
            state->index = *item->index;
        rsrc_analyse_matrix(&state->arena, &state->reduced, item->index->k, &state->stats);
    } else if (k != 0) {
        rsrc_analyse_matrix(&state->arena, &state->reduced, k, &state->stats);
    } else {
        (void)rsrc_choose_k(&state->arena, &state->reduced, &state->stats);
    }
    state->whole_stats = state->stats;
    if (!is_unreduced(state) && rsrc_n_gpus(&state->compilation->inputs) != 0)
        rsrc_analyse_matrix(&state->arena, &state->matrix, state->stats.k, &state->whole_stats);
    analyse_for_fold(state);
    picture_segments(state);
    return RSRC_OK;
}

enum rsrc_status rsrc_layer_verify_rsr(struct rsrc_layer_state *state) {
    return rsrc_verify_index(state->diag, rsrc_index_at(state, state->stats.k), &state->reduced,
                             state->item->name);
}

/* ---- text forms ------------------------------------------------------------------------------ */

void rsrc_layer_dump_decode(struct rsrc_layer_state *state, struct rsrc_buffer *out) {
    const struct rsr_matrix *matrix = &state->matrix;
    uint64_t n_minus = 0, n_plus = 0;
    for (uint64_t i = 0; i < (uint64_t)matrix->rows * matrix->cols; i++) {
        n_minus += matrix->values[i] < 0;
        n_plus += matrix->values[i] > 0;
    }
    rsrc_buffer_puts(out, "matrix ");
    rsrc_buffer_put_c_string(out, state->item->name);
    rsrc_buffer_printf(out, " %s %ux%u minus %llu plus %llu scales %u first %.9g\n",
                       rsrc_alphabet_name(matrix->alphabet), matrix->rows, matrix->cols,
                       (unsigned long long)n_minus, (unsigned long long)n_plus, matrix->n_scales,
                       matrix->n_scales != 0 ? (double)matrix->scale[0] : 1.0);
}

void rsrc_layer_dump_reduce(struct rsrc_layer_state *state, struct rsrc_buffer *out) {
    rsrc_print_reduction(&state->reduction, state->item->name, out);
}

/* Prints the index of the layer's own matrix, not the reduced one: a compilation that reads it back
 * finds the same reduction. */
void rsrc_layer_dump_rsr(struct rsrc_layer_state *state, struct rsrc_buffer *out) {
    struct rsr_index own;
    if (!is_unreduced(state))
        rsrc_build_index(&state->arena, &state->matrix, state->stats.k, &own);
    rsrc_print_index(is_unreduced(state) ? rsrc_index_at(state, state->stats.k) : &own,
                     state->item->name, out);
}
