/* kernel_rows.c - the rows of kernels.def, and the functions of the planner and lowering that work
 * on any row. */
#include <assert.h>

#include "base/round.h"
#include "kernel/kernel.h"
#include "kernel/kernel_names.h"

#define INPUTS_I8 (1u << RSR_INPUT_I8)
#define INPUTS_F32 (1u << RSR_INPUT_F32)
#define INPUTS_ANY (INPUTS_I8 | INPUTS_F32)

static const struct rsrc_kernel_row rows[RSR_KERNEL_COUNT] = {
#define RSRC_KERNEL(id, name, variant, words, input, machines, data, list, traits)                 \
    [RSR_KERNEL_##id] = {#name,                                                                    \
                         RSR_VARIANT_##variant,                                                    \
                         words,                                                                    \
                         INPUTS_##input,                                                           \
                         &rsrc_##machines##_machines,                                              \
                         RSR_KERNEL_##data,                                                        \
                         RSR_LIST_##list,                                                          \
                         traits,                                                                   \
                         rsrc_list_##name,                                                         \
                         rsrc_fit_##name,                                                          \
                         rsrc_lower_##name},
#include "kernels.def"
};

const struct rsrc_kernel_row *rsrc_kernel_row(enum rsr_kernel_id kernel) {
    return &rows[kernel];
}

const char *rsrc_verdict_words(enum rsr_verdict verdict) {
    static const char *const words[RSR_VERDICT_COUNT] = {
#define X(id, words) words,
        RSR_VERDICTS(X)
#undef X
    };
    return words[verdict];
}

const char *rsrc_variant_name(enum rsr_variant variant) {
    return rsrc_kvariant_names[variant];
}

const char *rsrc_alphabet_name(enum rsr_alphabet alphabet) {
    static const char *const NAMES[] = {
        [RSR_TERNARY] = "ternary", [RSR_BINARY_SIGN] = "sign", [RSR_BINARY_BIT] = "bit"};
    return NAMES[alphabet];
}

const char *rsrc_variant_of(const struct rsr_regime_plan *plan) {
    return rsrc_variant_name(rows[plan->kernel].variant);
}

const struct rsrc_machine *rsrc_machine_at(const struct rsrc_machine_table *table, uint32_t i) {
    return (const struct rsrc_machine *)(const void *)((const char *)table->rows +
                                                       i * table->row_bytes);
}

const struct rsrc_machine *rsrc_find_machine(const struct rsrc_machine_table *table,
                                             const struct rsr_spec *spec) {
    for (uint32_t i = 0; i < table->n; i++) {
        const struct rsrc_machine *machine = rsrc_machine_at(table, i);
        if (rsrc_target_has(spec, machine->features) && spec->vector_bits >= machine->vector_bits)
            return machine;
    }
    return NULL;
}

/* The best machine whose features the target has; NULL: none. */
static const struct rsrc_machine *machine_of(const struct rsrc_kernel_row *row,
                                             const struct rsr_spec *spec) {
    const bool is_of_gpus = (row->traits & RSRC_IS_GPU) != 0;
    return is_of_gpus == (spec->gpu.sm != 0) ? rsrc_find_machine(row->machines, spec) : NULL;
}

uint32_t rsrc_list_kernel(struct rsrc_arena *arena, enum rsr_kernel_id kernel,
                          const struct rsrc_plan_input *input,
                          struct rsrc_choice out[RSRC_MAX_KERNEL_CHOICES]) {
    const struct rsrc_kernel_row *row = &rows[kernel];
    const struct rsrc_machine *machine = machine_of(row, input->spec);
    const bool listed =
        row->names == RSR_LIST_NONE || (row->names == input->list && input->list_obstacle == NULL);
    if (machine == NULL || !listed || (row->inputs & 1u << input->input) == 0 ||
        (input->group_cols != 0 && (row->traits & RSRC_HAS_GROUPS) == 0))
        return 0;
    const uint32_t n = row->list(arena, input, machine, out);
    assert(n <= RSRC_MAX_KERNEL_CHOICES);
    for (uint32_t i = 0; i < n; i++) {
        out[i].kernel = kernel;
        out[i].machine = machine;
    }
    return n;
}

bool rsrc_fit_plan(const struct rsrc_planned_layer *layer, struct rsr_regime_plan *plan) {
    const struct rsrc_kernel_row *row = &rows[plan->kernel];
    const struct rsrc_machine *machine = machine_of(row, layer->spec);
    if (machine == NULL || ((row->traits & RSRC_HAS_K) != 0 && plan->k == 0))
        return false;
    plan->machine = machine;
    const struct rsrc_tiling tiling = row->fit(layer, plan);
    /* On a GPU, tile and unit are both one block. */
    const uint32_t n_units =
        (row->traits & RSRC_IS_GPU) != 0 ? 1 : rsrc_divide_up(layer->rows, tiling.unit_rows);
    const uint32_t wanted = rsrc_divide_up(plan->tile_rows, tiling.unit_rows);
    plan->tile_rows = (wanted == 0 ? 1 : wanted < n_units ? wanted : n_units) * tiling.unit_rows;
    plan->token_tile = tiling.token_tile;
    return true;
}

/* Whether the kernel takes the layer's activations and scales. */
static enum rsrc_status check_input(struct rsrc_diag *diag, const struct rsrc_place *place,
                                    const struct rsrc_planned_layer *layer,
                                    const struct rsrc_kernel_row *row) {
    const bool floats = layer->input == RSR_INPUT_F32;
    if (layer->group_cols != 0 && (row->traits & RSRC_HAS_GROUPS) == 0)
        return rsrc_refuse(diag, "lower-groups", place, "choose lut or scatter with --variant",
                           "%s has no scales of column groups", row->name);
    if ((row->inputs & 1u << layer->input) != 0)
        return RSRC_OK;
    return rsrc_refuse(diag, "lower-input", place, "choose another variant with --variant",
                       floats ? "%s multiplies int8 activations, not floats"
                              : "%s multiplies floats, not int8 activations",
                       row->name);
}

enum rsrc_status rsrc_check_plan(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                 const struct rsrc_place *place,
                                 const struct rsrc_planned_layer *layer,
                                 const struct rsr_regime_plan *plan) {
    const char *name = rows[plan->kernel].name, *target = layer->spec->name;
    struct rsr_regime_plan fitted = *plan;
    if (check_input(diag, place, layer, &rows[plan->kernel]) != RSRC_OK)
        return RSRC_FAILED;
    if (!rsrc_fit_plan(layer, &fitted))
        return rsrc_refuse(diag, "lower-target", place, "choose another variant with --variant",
                           "target %s has no instructions for %s", target, name);
    if (fitted.machine != plan->machine)
        return rsrc_refuse(diag, "lower-machine", place, "plan it again for this target",
                           "target %s runs %s on machine %s, not on %s", target, name,
                           fitted.machine->name,
                           plan->machine != NULL ? plan->machine->name : "none");
    if (fitted.tile_rows == plan->tile_rows && fitted.token_tile == plan->token_tile)
        return RSRC_OK;
    return rsrc_refuse(diag, "lower-tile", place,
                       rsrc_arena_printf(arena,
                                         "the nearest that there is: tile_rows %u token_tile %u",
                                         fitted.tile_rows, fitted.token_tile),
                       "%s of %u rows has no tiles of %u rows and %u tokens on target %s", name,
                       layer->rows, plan->tile_rows, plan->token_tile, target);
}
