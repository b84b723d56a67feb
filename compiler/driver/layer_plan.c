/* layer_plan.c - plans both regimes of a layer for every target. */
#include <string.h>

#include "driver/layer.h"
#include "kernel/dot_layout.h"
#include "lower/lower.h"
#include "model/graph.h"
#include "model/relu2_lists.h"

/* Dropped rows and columns are a part of the reason. */
static void add_reduction_to_reasons(struct rsrc_layer_state *state, uint32_t target,
                                     struct rsr_plan *plan) {
    const char *text = rsrc_reduction_words(state, target);
    for (uint32_t r = 0; r < RSR_REGIME_COUNT && text != NULL; r++)
        plan->regimes[r].reason =
            rsrc_arena_printf(&state->arena, "%s; %s", plan->regimes[r].reason, text);
}

static bool knows_active(const struct rsrc_layer_state *state) {
    return state->item->activity.n_tokens != 0 ||
           state->compilation->run.options->relu2_active != 0;
}

/* The share of channels that a list names; 0 where nothing is known. */
static double active_share(const struct rsrc_layer_state *state) {
    const struct rsrc_activity *activity = &state->item->activity;
    return activity->n_tokens != 0 ? activity->active / rsrc_item_channels(state->item)
                                   : state->compilation->run.options->relu2_active / 100.0;
}

/* Says why no list can select what the layer reads; NULL: a list can. */
static const char *list_obstacle(struct rsrc_layer_state *state, enum rsr_list list,
                                 uint32_t target) {
    const struct rsrc_compilation *c = state->compilation;
    const struct rsr_reduction *reduction = &state->reduction;
    if (list == RSR_LIST_NONE)
        return NULL;
    if (!knows_active(state) && state->item->plans == NULL)
        return "the share of active channels is not known (--calibrate measures it)";
    if (rsrc_find_machine(&rsrc_listed_machines, &c->inputs.specs[target]) == NULL)
        return "the target has no integer dot product";
    if (state->reduced.alphabet != RSR_TERNARY)
        return "its codes are of 2 bits, the weights of 1";
    if (reduction->row_sources != NULL || reduction->kept_cols != NULL)
        return "the layer is reduced";
    return rsrc_list_obstacle(&c->inputs.graph, state->item->layer, &state->reduced, &state->arena);
}

static enum rsrc_status apply_given(struct rsrc_layer_state *state,
                                    const struct rsrc_plan_input *input,
                                    const struct rsr_named_plan *given, struct rsr_plan *out) {
    const char *file = state->compilation->run.options->plan;
    const struct rsr_matrix *matrix = &state->matrix;
    const struct rsrc_place place = {
        .file = file, .line = given->line, .tensor = input->layer_name};
    if (given->rows != matrix->rows || given->cols != matrix->cols)
        return rsrc_refuse(state->diag, "plan-shape", &place, "plan it again for this checkpoint",
                           "the plan is for %u x %u weights, the layer has %u x %u", given->rows,
                           given->cols, matrix->rows, matrix->cols);
    return rsrc_apply_plan(state->diag, &state->arena, input, file, given, out);
}

static enum rsrc_status make_plan(struct rsrc_layer_state *state, uint32_t target,
                                  const struct rsrc_plan_input *input, struct rsr_plan *out) {
    if (rsrc_plan_layer(state->diag, &state->arena, input, out) != RSRC_OK)
        return RSRC_FAILED;
    add_reduction_to_reasons(state, target, out);
    return RSRC_OK;
}

enum rsrc_status rsrc_layer_plan(struct rsrc_layer_state *state) {
    struct rsrc_compilation *c = state->compilation;
    for (uint32_t t = 0; t < c->inputs.n_specs; t++) {
        const bool is_gpu = rsrc_is_gpu(&c->inputs, t);
        const enum rsr_list list = state->item->layer != NULL && !is_gpu
                                       ? rsrc_list_for(&c->inputs.graph, state->item->layer)
                                       : RSR_LIST_NONE;
        struct rsrc_layer_timer timer;
        rsrc_init_timer(&timer, state, t);
        const struct rsrc_plan_input input = {
            .layer_name = state->item->name,
            .role = state->item->role,
            .alphabet = state->reduced.alphabet,
            .input = state->item->input,
            .group_cols = state->reduced.group_cols,
            .scale_bytes = rsrc_group_scale_bytes(&state->reduced),
            .stats = rsrc_stats_for(state, t),
            .fold_stats = !state->has_fold_stats ? NULL
                          : is_gpu               ? &state->whole_fold_stats
                                                 : &state->fold_stats,
            .fold_budget = state->item->fold_budget,
            .list = list,
            .list_obstacle = list_obstacle(state, list, t),
            .active = active_share(state),
            .runs = state->item->activity.runs,
            .spec = &c->inputs.specs[t],
            .options = is_gpu ? &c->run.gpu_plan_options : &c->run.plan_options,
            .timer = c->run.tuner != NULL ? &timer.plan : NULL};
        const struct rsr_named_plan **given = state->item->plans;
        if ((given != NULL ? apply_given(state, &input, given[t], &state->plans[t])
                           : make_plan(state, t, &input, &state->plans[t])) != RSRC_OK)
            return RSRC_FAILED;
    }
    return RSRC_OK;
}

void rsrc_layer_dump_plan(struct rsrc_layer_state *state, struct rsrc_buffer *out) {
    for (uint32_t t = 0; t < state->compilation->inputs.n_specs; t++) {
        const struct rsr_named_plan plan = {.layer_name = state->item->name,
                                            .rows = state->matrix.rows,
                                            .cols = state->matrix.cols,
                                            .plan = state->plans[t]};
        rsrc_print_plan(&plan, out);
    }
}

static void keep_regime(struct rsrc_arena *arena, struct rsr_regime_plan *plan) {
    plan->reason = rsrc_arena_strdup(arena, plan->reason);
    struct rsr_alternative *kept =
        RSRC_NEW_ARRAY(arena, plan->n_alternatives, struct rsr_alternative);
    for (uint32_t i = 0; i < plan->n_alternatives; i++) {
        kept[i] = plan->alternatives[i];
        kept[i].name = rsrc_arena_strdup(arena, kept[i].name);
    }
    plan->alternatives = kept;
}

static struct rsr_segment_picture keep_picture(struct rsrc_arena *arena,
                                               struct rsr_segment_picture picture) {
    if (picture.map == NULL)
        return picture;
    const size_t n = (size_t)picture.map_rows * picture.map_cols;
    picture.map = memcpy(rsrc_arena_alloc(arena, n), picture.map, n);
    return picture;
}

enum rsrc_status rsrc_layer_record(struct rsrc_layer_state *state) {
    struct rsrc_compilation *c = state->compilation;
    const struct rsrc_item *item = state->item;
    const struct rsr_segment_picture picture = keep_picture(&c->run.arena, state->picture);
    for (uint32_t t = 0; t < c->inputs.n_specs; t++) {
        struct rsr_plan plan = state->plans[t];
        for (uint32_t r = 0; r < RSR_REGIME_COUNT; r++)
            keep_regime(&c->run.arena, &plan.regimes[r]);
        c->made.reports[(size_t)t * c->inputs.n_items + state->item_index] =
            (struct rsr_report_layer){.name = item->name,
                                      .role =
                                          item->layer != NULL ? rsrc_role_name(item->role) : NULL,
                                      .block = item->block,
                                      .found = state->reduction.counts,
                                      .stats = *rsrc_stats_for(state, t),
                                      .picture = picture,
                                      .alphabet = state->reduced.alphabet,
                                      .plan = plan};
    }
    return RSRC_OK;
}
