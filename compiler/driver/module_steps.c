/* module_steps.c - the steps of a forward pass: one table per target, which refers to kernels by
 * number. */
#include "driver/compilation.h"
#include "model/graph.h"
#include "plan/plan.h"

uint32_t rsrc_count_decode_tokens(struct rsrc_compilation *c, uint32_t target) {
    const uint32_t n = c->inputs.n_items;
    const struct rsr_plan **plans = RSRC_NEW_ARRAY(&c->run.arena, n, const struct rsr_plan *);
    for (uint32_t i = 0; i < n; i++)
        plans[i] = &c->made.reports[(size_t)target * n + i].plan;
    return rsrc_decode_tokens(plans, n);
}

/* A layer that --layers omits has no plan. It keeps one kernel number, and nothing is linked. */
static void number_kernels(struct rsrc_compilation *c, uint32_t target,
                           struct rsrc_step_kernels *out) {
    const uint32_t n_layers = c->inputs.graph.n_layers;
    uint32_t *layer = RSRC_NEW_ARRAY(&c->run.arena, RSR_REGIME_COUNT * (size_t)n_layers, uint32_t);
    uint32_t *prefill = RSRC_NEW_ARRAY(&c->run.arena, n_layers, uint32_t);
    uint8_t *lists = RSRC_NEW_ARRAY(&c->run.arena, n_layers, uint8_t);
    uint32_t n = n_layers;
    for (uint32_t l = 0; l < n_layers; l++) {
        layer[l] = l;
        prefill[l] = l;
        const struct rsr_report_layer *report =
            &c->made.reports[(size_t)target * c->inputs.n_items + l];
        if (c->inputs.n_items == n_layers)
            lists[l] =
                (uint8_t)rsrc_kernel_row(report->plan.regimes[RSR_REGIME_DECODE].kernel)->names;
        if (c->inputs.n_items == n_layers && !rsrc_same_kernel(&report->plan)) {
            layer[n] = l;
            prefill[l] = n++;
        }
    }
    *out = (struct rsrc_step_kernels){.n_kernels = n,
                                      .layer = layer,
                                      .prefill = prefill,
                                      .lists = lists,
                                      .decode_tokens = rsrc_count_decode_tokens(c, target)};
}

enum rsrc_status rsrc_model_schedule(struct rsrc_compilation *c) {
    if (!c->inputs.has_graph)
        return RSRC_OK;
    c->made.steps = RSRC_NEW_ARRAY(&c->run.arena, c->inputs.n_specs, struct rsrc_target_steps);
    for (uint32_t t = 0; t < c->inputs.n_specs; t++) {
        struct rsrc_target_steps *target = &c->made.steps[t];
        number_kernels(c, t, &target->kernels);
        rsrc_build_steps(&c->run.arena, &c->inputs.graph, &target->kernels, &target->steps,
                         &target->n_steps);
        for (uint32_t s = 0; s < target->n_steps && c->run.options->verify_each; s++)
            if (rsrc_verify_step(c->run.diag, &c->inputs.graph, &target->kernels,
                                 &target->steps[s]) != RSRC_OK)
                return RSRC_FAILED;
    }
    return RSRC_OK;
}

void rsrc_dump_schedule(struct rsrc_compilation *c, struct rsrc_buffer *out) {
    for (uint32_t t = 0; t < c->inputs.n_specs && c->made.steps != NULL; t++)
        for (uint32_t s = 0; s < c->made.steps[t].n_steps; s++)
            rsrc_print_step(&c->inputs.graph, &c->made.steps[t].kernels, &c->made.steps[t].steps[s],
                            out);
}
