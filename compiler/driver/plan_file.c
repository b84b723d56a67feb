/* plan_file.c - --plan=FILE: finds the item and target of each plan of the text.
 *
 * A plan is for one layer, one type of activations and one target; all three must exist. Every
 * compiled layer needs a plan for every target. rsrc_apply_plan checks later, when the layer is
 * planned, that the kernels fit.
 */
#include <string.h>

#include "driver/compilation.h"

static struct rsrc_place place_of(const struct rsrc_input_set *in,
                                  const struct rsr_named_plan *plan) {
    return (struct rsrc_place){
        .file = in->run->options->plan, .line = plan->line, .tensor = plan->layer_name};
}

static enum rsrc_status refuse_layer(const struct rsrc_input_set *in,
                                     const struct rsr_named_plan *plan) {
    const struct rsrc_place place = place_of(in, plan);
    const char **names = RSRC_NEW_ARRAY(&in->run->arena, in->n_items, const char *);
    for (uint32_t i = 0; i < in->n_items; i++)
        names[i] = in->items[i].name;
    const char *close = rsrc_did_you_mean(plan->layer_name, names, in->n_items);
    return rsrc_refuse(in->run->diag, "plan-layer", &place,
                       close == NULL
                           ? "--dump=graph lists the layers"
                           : rsrc_arena_printf(&in->run->arena, "did you mean '%s'?", close),
                       "%s has no layer of this name", rsrc_model_name(in));
}

/* The search starts at the last match, because plans are usually in the order of the layers. */
static enum rsrc_status find_item(const struct rsrc_input_set *in,
                                  const struct rsr_named_plan *plan, uint32_t *at) {
    const struct rsrc_place place = place_of(in, plan);
    bool named = false;
    for (uint32_t i = 0; i < in->n_items; i++) {
        const uint32_t item = (uint32_t)(((uint64_t)*at + i) % in->n_items);
        if (strcmp(in->items[item].name, plan->layer_name) != 0)
            continue;
        named = true;
        if (in->items[item].input != plan->plan.input)
            continue;
        *at = item;
        return RSRC_OK;
    }
    if (!named)
        return refuse_layer(in, plan);
    return rsrc_refuse(in->run->diag, "plan-input", &place, "plan it again for this input",
                       "the plan is for %s activations, and the layer takes others",
                       plan->plan.input == RSR_INPUT_I8 ? "int8" : "float");
}

static enum rsrc_status find_target(const struct rsrc_input_set *in,
                                    const struct rsr_named_plan *plan, uint32_t *out) {
    const struct rsrc_place place = place_of(in, plan);
    for (uint32_t t = 0; t < in->n_specs; t++)
        if (strcmp(in->specs[t].name, plan->plan.target) == 0) {
            *out = t;
            return RSRC_OK;
        }
    return rsrc_refuse(in->run->diag, "plan-target", &place, "name its target with --target",
                       "the plan is for '%s', which is not a target of this compilation",
                       plan->plan.target);
}

static enum rsrc_status give(const struct rsrc_input_set *in, struct rsrc_item *item,
                             uint32_t target, const struct rsr_named_plan *plan) {
    if (item->plans == NULL)
        item->plans = RSRC_NEW_ARRAY(&in->run->arena, in->n_specs, const struct rsr_named_plan *);
    if (item->plans[target] != NULL) {
        const struct rsrc_place place = place_of(in, plan);
        return rsrc_refuse(in->run->diag, "plan-twice", &place, "leave one of them out",
                           "the layer has a plan for '%s' in line %u already", plan->plan.target,
                           item->plans[target]->line);
    }
    item->plans[target] = plan;
    return RSRC_OK;
}

static enum rsrc_status parse(struct rsrc_run *run, struct rsr_named_plan **plans, uint32_t *n) {
    struct rsrc_mapping text;
    if (rsrc_map_file(run->diag, &run->arena, run->options->plan, &text) != RSRC_OK)
        return RSRC_FAILED;
    const enum rsrc_status status =
        rsrc_parse_plans(run->diag, &run->arena, run->options->plan, (const char *)text.data,
                         text.size_bytes, plans, n);
    rsrc_unmap_file(&text);
    return status;
}

enum rsrc_status rsrc_read_plans(struct rsrc_input_set *in) {
    struct rsr_named_plan *plans = NULL;
    uint32_t n_plans = 0, item = 0, target = 0;
    if (in->run->options->plan == NULL)
        return RSRC_OK;
    if (parse(in->run, &plans, &n_plans) != RSRC_OK)
        return RSRC_FAILED;
    for (uint32_t i = 0; i < n_plans; i++)
        if (find_item(in, &plans[i], &item) != RSRC_OK ||
            find_target(in, &plans[i], &target) != RSRC_OK ||
            give(in, &in->items[item], target, &plans[i]) != RSRC_OK)
            return RSRC_FAILED;
    return RSRC_OK;
}

enum rsrc_status rsrc_check_planned(const struct rsrc_input_set *in) {
    for (uint32_t i = 0; in->run->options->plan != NULL && i < in->n_items; i++) {
        const struct rsrc_item *item = &in->items[i];
        const struct rsrc_place place = {.file = in->run->options->plan, .tensor = item->name};
        uint32_t t = 0;
        while (t < in->n_specs && item->plans != NULL && item->plans[t] != NULL)
            t++;
        if (t < in->n_specs)
            return rsrc_refuse(in->run->diag, "plan-missing", &place,
                               "a plan names every layer that is compiled, for every target",
                               "no plan for this layer and '%s'", in->specs[t].name);
    }
    return RSRC_OK;
}
