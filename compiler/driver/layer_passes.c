/* layer_passes.c - the passes that one layer goes through by itself, from its weights to its
 * kernels.
 *
 * All that they make is in the layer's own arena. layer_pool.c runs them, layer_emit.c takes the
 * results.
 */
#include "driver/driver.h"
#include "layout/dot_layout.h"
#include "lower/lower.h"
#include "model/dead_channels.h"
#include "model/graph.h"
#include "model/relu2_lists.h"
#include "model/ternary.h"
#include "rsr/reduce.h"
#include "rsr/segment.h"

/* ---- analysis -------------------------------------------------------------------------------- */

enum rsrc_status rsrc_layer_decode(struct rsrc_layer_state *state) {
    const struct rsrc_item *item = state->item;
    struct rsrc_diag *diag = state->diag;
    if (item->layer != NULL)
        return rsrc_decode_layer(diag, &state->arena, item->layer, &state->matrix);
    if (item->tensor != NULL)
        return rsrc_decode_tensor(diag, &state->arena, item->tensor, &state->matrix);
    rsrc_rebuild_matrix(&state->arena, item->index, &state->matrix);
    return RSRC_OK;
}

/* The segment index with blocks of k rows: that of the statistics, or of fold's. */
static const struct rsr_index *index_at(struct rsrc_layer_state *state, uint32_t k) {
    struct rsr_index *index = k == state->stats.k ? &state->index : &state->fold_index;
    if (index->k != k)
        rsrc_build_index(&state->arena, &state->reduced, k, index);
    return index;
}

static void remark_reduction(struct rsrc_layer_state *state) {
    const struct rsr_reduction *reduction = &state->reduction;
    const char *text = rsrc_reduction_text(&state->arena, reduction);
    if (text == NULL)
        return;
    const struct rsrc_place place = {.tensor = state->item->name};
    const bool used = reduction->row_sources != NULL || reduction->kept_cols != NULL;
    rsrc_diag_emit(state->diag, used ? RSRC_REMARK : RSRC_REMARK_MISSED, "reduce", &place, NULL,
                   "%s", text);
}

enum rsrc_status rsrc_layer_reduce(struct rsrc_layer_state *state) {
    struct rsrc_compilation *c = state->compilation;
    /* Scales of column groups belong to columns and rows where they are. */
    if (c->options->no_reduce || state->matrix.group_cols != 0) {
        rsrc_keep_matrix(&state->matrix, &state->reduced, &state->reduction);
        return RSRC_OK;
    }
    if (state->item->layer != NULL && c->dead_channels != NULL)
        rsrc_find_dead(c->dead_channels, &state->arena, state->item->layer, &state->dead);
    rsrc_reduce_matrix(&state->arena, &state->matrix, &state->dead, &state->reduced,
                       &state->reduction);
    remark_reduction(state);
    return RSRC_OK;
}

enum rsrc_status rsrc_layer_verify_reduce(struct rsrc_layer_state *state) {
    return rsrc_verify_reduction(state->diag, &state->matrix, &state->dead, &state->reduced,
                                 &state->reduction, state->item->name);
}

/* Was nothing dropped or masked? */
static bool is_unreduced(const struct rsrc_layer_state *state) {
    return state->reduced.values == state->matrix.values;
}

/* Blocks of 4 rows need the fewest instructions for a random ternary matrix in chunks of some 320
 * columns: 324 for 1000 weights were counted, more at 3 and at 5. */
#define FOLD_K 4u
/* Statistics for fold, where it may be taken: the user's k, else 4 or fewer rows. */
static void analyse_for_fold(struct rsrc_layer_state *state) {
    const struct rsrc_compilation *c = state->compilation;
    const struct rsr_matrix *matrix = &state->reduced;
    const uint32_t most = matrix->rows < FOLD_K ? matrix->rows : FOLD_K;
    const uint32_t k = c->options->rsr_k != 0 ? c->options->rsr_k : most;
    if (c->plan_options.forced_variant[state->item->role] != RSR_VARIANT_FOLD &&
        state->item->fold_budget == 0)
        return;
    state->has_fold_stats = true;
    if (k == state->stats.k)
        state->fold_stats = state->stats;
    else
        rsrc_analyse_matrix(&state->arena, matrix, k, &state->fold_stats);
}

enum rsrc_status rsrc_layer_rsr(struct rsrc_layer_state *state) {
    struct rsrc_compilation *c = state->compilation;
    const struct rsrc_item *item = state->item;
    if (item->index != NULL) {
        if (is_unreduced(state))
            state->index = *item->index;
        rsrc_analyse_matrix(&state->arena, &state->reduced, item->index->k, &state->stats);
    } else if (c->options->rsr_k != 0) {
        rsrc_analyse_matrix(&state->arena, &state->reduced, c->options->rsr_k, &state->stats);
    } else {
        (void)rsrc_choose_k(&state->arena, &state->reduced, &state->stats);
    }
    analyse_for_fold(state);
    return RSRC_OK;
}

enum rsrc_status rsrc_layer_verify_rsr(struct rsrc_layer_state *state) {
    return rsrc_verify_index(state->diag, index_at(state, state->stats.k), &state->reduced,
                             state->item->name);
}

/* ---- plan ------------------------------------------------------------------------------------ */

/* What was dropped is part of why a plan costs what it costs. */
static void add_reduction_to_reasons(struct rsrc_layer_state *state, struct rsr_plan *plan) {
    const char *text = rsrc_reduction_text(&state->arena, &state->reduction);
    for (uint32_t r = 0; r < RSR_REGIME_COUNT && text != NULL; r++)
        plan->regimes[r].reason =
            rsrc_arena_printf(&state->arena, "%s; %s", plan->regimes[r].reason, text);
}

/* Why no list can name what the layer reads; NULL: it can. */
static const char *list_obstacle(struct rsrc_layer_state *state, enum rsr_list list,
                                 uint32_t target) {
    const struct rsrc_compilation *c = state->compilation;
    const struct rsr_reduction *reduction = &state->reduction;
    if (list == RSR_LIST_NONE)
        return NULL;
    if (c->options->relu2_active == 0)
        return "the share of active channels is not known (--relu2-active)";
    if (rsrc_find_listed_machine(&c->specs[target]) == NULL)
        return "the target has no integer dot product";
    if (state->reduced.alphabet != RSR_TERNARY)
        return "its codes are of 2 bits, the weights of 1";
    if (reduction->row_sources != NULL || reduction->kept_cols != NULL)
        return "the layer is reduced";
    return rsrc_list_obstacle(&c->graph, state->item->layer, &state->reduced, &state->arena);
}

enum rsrc_status rsrc_layer_plan(struct rsrc_layer_state *state) {
    struct rsrc_compilation *c = state->compilation;
    const enum rsr_list list =
        state->item->layer != NULL ? rsrc_list_for(&c->graph, state->item->layer) : RSR_LIST_NONE;
    for (uint32_t t = 0; t < c->n_specs; t++) {
        struct rsrc_layer_timer timer;
        rsrc_init_timer(&timer, state, t);
        const struct rsrc_plan_input input = {
            .layer_name = state->item->name,
            .role = state->item->role,
            .alphabet = state->reduced.alphabet,
            .input = state->item->input,
            .group_cols = state->reduced.group_cols,
            .scale_bytes = rsrc_group_scale_bytes(&state->reduced),
            .stats = &state->stats,
            .fold_stats = state->has_fold_stats ? &state->fold_stats : NULL,
            .fold_budget = state->item->fold_budget,
            .list = list,
            .list_obstacle = list_obstacle(state, list, t),
            .active = c->options->relu2_active / 100.0,
            .spec = &c->specs[t],
            .options = &c->plan_options,
            .timer = c->tuner != NULL ? &timer.plan : NULL};
        if (rsrc_plan_layer(state->diag, &state->arena, &input, &state->plans[t]) != RSRC_OK)
            return RSRC_FAILED;
        add_reduction_to_reasons(state, &state->plans[t]);
    }
    return RSRC_OK;
}

/* ---- lowering -------------------------------------------------------------------------------- */

/* Kernels of the layer for a target: one a regime, or one for both. */
uint32_t rsrc_n_kernels(const struct rsrc_layer_state *state, uint32_t target) {
    return rsrc_same_kernel(&state->plans[target]) ? 1 : RSR_REGIME_COUNT;
}

struct rsr_lowered *rsrc_lowered_of(const struct rsrc_layer_state *state, uint32_t target,
                                    uint32_t regime) {
    return &state->lowered[(size_t)target * RSR_REGIME_COUNT + regime];
}

uint64_t rsrc_weight_bytes_of(const struct rsrc_layer_state *state, uint32_t target,
                              uint32_t regime) {
    const struct rsr_lowered *lowered = rsrc_lowered_of(state, target, regime);
    return lowered->kernel.n_bodies != 0 ? state->plans[target].regimes[regime].weight_bytes
                                         : lowered->codes.size_bytes + lowered->index.size_bytes;
}

static struct rsrc_lower_input lower_input(struct rsrc_layer_state *state, uint32_t target,
                                           const struct rsr_regime_plan *plan,
                                           struct rsrc_arena *arena) {
    const struct rsrc_compilation *c = state->compilation;
    const char *model = c->has_checkpoint ? c->checkpoint.name : "matrices";
    return (struct rsrc_lower_input){
        .symbol_stem = state->item->stem,
        .title = rsrc_arena_printf(arena, "%s: %s", model, state->item->name),
        .matrix = &state->reduced,
        .reduction = &state->reduction,
        .index = plan->k != 0 ? index_at(state, plan->k) : NULL,
        .plan = plan,
        .input = state->item->input,
        .spec = &c->specs[target],
        .epilogue = state->item->layer != NULL ? RSR_EPILOGUE_SCALE : RSR_EPILOGUE_RAW};
}

enum rsrc_status rsrc_lower_planned(struct rsrc_layer_state *state, uint32_t target,
                                    const struct rsr_regime_plan *plan, struct rsrc_diag *diag,
                                    struct rsrc_arena *arena, struct rsr_lowered *out) {
    const struct rsrc_lower_input input = lower_input(state, target, plan, arena);
    return rsrc_lower_layer(diag, arena, &input, out);
}

static enum rsrc_status lower_regime(struct rsrc_layer_state *state, uint32_t target,
                                     enum rsr_regime regime) {
    const struct rsr_regime_plan *plan = &state->plans[target].regimes[regime];
    const struct rsr_regime_plan *decode = &state->plans[target].regimes[RSR_REGIME_DECODE];
    struct rsrc_lower_input input = lower_input(state, target, plan, &state->arena);
    if (regime == RSR_REGIME_PREFILL && plan->packing == RSR_PACKING_LUT &&
        decode->variant == RSR_VARIANT_LUT)
        input.codes = &rsrc_lowered_of(state, target, RSR_REGIME_DECODE)->codes;
    return rsrc_lower_layer(state->diag, &state->arena, &input,
                            rsrc_lowered_of(state, target, regime));
}

enum rsrc_status rsrc_layer_lower(struct rsrc_layer_state *state) {
    struct rsrc_compilation *c = state->compilation;
    for (uint32_t t = 0; t < c->n_specs; t++)
        for (uint32_t r = 0; r < rsrc_n_kernels(state, t); r++)
            if (lower_regime(state, t, (enum rsr_regime)r) != RSRC_OK)
                return RSRC_FAILED;
    return RSRC_OK;
}

enum rsrc_status rsrc_layer_verify_lower(struct rsrc_layer_state *state) {
    struct rsrc_compilation *c = state->compilation;
    for (uint32_t t = 0; t < c->n_specs; t++)
        for (uint32_t r = 0; r < rsrc_n_kernels(state, t); r++)
            if (rsrc_verify_kernel(state->diag, &rsrc_lowered_of(state, t, r)->kernel) != RSRC_OK)
                return RSRC_FAILED;
    return RSRC_OK;
}

/* ---- text forms ------------------------------------------------------------------------------ */

void rsrc_layer_dump_decode(struct rsrc_layer_state *state, struct rsrc_buffer *out) {
    static const char *const ALPHABETS[] = {
        [RSR_TERNARY] = "ternary", [RSR_BINARY_SIGN] = "sign", [RSR_BINARY_BIT] = "bit"};
    const struct rsr_matrix *matrix = &state->matrix;
    uint64_t n_minus = 0, n_plus = 0;
    for (uint64_t i = 0; i < (uint64_t)matrix->rows * matrix->cols; i++) {
        n_minus += matrix->values[i] < 0;
        n_plus += matrix->values[i] > 0;
    }
    rsrc_buffer_puts(out, "matrix ");
    rsrc_buffer_put_c_string(out, state->item->name);
    rsrc_buffer_printf(out, " %s %ux%u minus %llu plus %llu scales %u first %.9g\n",
                       ALPHABETS[matrix->alphabet], matrix->rows, matrix->cols,
                       (unsigned long long)n_minus, (unsigned long long)n_plus, matrix->n_scales,
                       matrix->n_scales != 0 ? (double)matrix->scale[0] : 1.0);
}

void rsrc_layer_dump_reduce(struct rsrc_layer_state *state, struct rsrc_buffer *out) {
    rsrc_print_reduction(&state->reduction, state->item->name, out);
}

/* The index of the layer's own matrix: what reads it back finds the same reduction. */
void rsrc_layer_dump_rsr(struct rsrc_layer_state *state, struct rsrc_buffer *out) {
    struct rsr_index own;
    if (!is_unreduced(state))
        rsrc_build_index(&state->arena, &state->matrix, state->stats.k, &own);
    rsrc_print_index(is_unreduced(state) ? index_at(state, state->stats.k) : &own,
                     state->item->name, out);
}

void rsrc_layer_dump_plan(struct rsrc_layer_state *state, struct rsrc_buffer *out) {
    for (uint32_t t = 0; t < state->compilation->n_specs; t++)
        rsrc_print_plan(&state->plans[t], state->item->name, out);
}

void rsrc_layer_dump_kernel(struct rsrc_layer_state *state, struct rsrc_buffer *out) {
    for (uint32_t t = 0; t < state->compilation->n_specs; t++)
        for (uint32_t r = 0; r < rsrc_n_kernels(state, t); r++)
            rsrc_print_kernel(&rsrc_lowered_of(state, t, r)->kernel, out);
}
