/* read_input.c - turns the input into items: a checkpoint and the graph of its layers, a file of
 * matrices, or a text of segment indexes. Layers that --layers omits are dropped here.
 */
#include <regex.h>
#include <string.h>

#include "driver/compilation.h"
#include "model/gguf_blocks.h"
#include "model/graph.h"
#include "reader/checkpoint.h"
#include "rsr/segment.h"

/* ---- read ------------------------------------------------------------------------------------ */

/* ---- items ----------------------------------------------------------------------------------- */

/* Tensor names may have any characters, so symbols of kernels have numbers instead. */
static void add_item(struct rsrc_input_set *in, struct rsrc_item item) {
    item.stem = rsrc_arena_printf(&in->run->arena, "m%u", in->n_items);
    item.block = RSR_NO_BLOCK;
    item.role = RSR_ROLE_COUNT;
    in->items[in->n_items++] = item;
}

/* Makes items of n tensors or (NULL) of n indexes: one for each requested type of vectors. */
static void add_matrices(struct rsrc_input_set *in, const struct rsr_tensor *tensors,
                         const struct rsr_named_index *indexes, uint32_t n) {
    const uint32_t inputs =
        in->run->options->inputs != 0 ? in->run->options->inputs : RSRC_INPUTS_I8;
    in->items = RSRC_NEW_ARRAY(&in->run->arena, 2 * (size_t)n, struct rsrc_item);
    for (uint32_t i = 0; i < n; i++) {
        struct rsrc_item item = {.name = tensors != NULL ? tensors[i].name : indexes[i].layer_name,
                                 .tensor = tensors != NULL ? &tensors[i] : NULL,
                                 .index = tensors != NULL ? NULL : &indexes[i].index};
        if ((inputs & RSRC_INPUTS_I8) != 0)
            add_item(in, item);
        item.input = RSR_INPUT_F32;
        if ((inputs & RSRC_INPUTS_F32) != 0)
            add_item(in, item);
    }
}

enum rsrc_status rsrc_model_read(struct rsrc_compilation *c) {
    struct rsrc_input_set *in = &c->inputs;
    if (in->run->from == PASS_RSR) {
        if (rsrc_model_parse(c) != RSRC_OK)
            return RSRC_FAILED;
        add_matrices(in, NULL, in->indexes, in->n_parsed);
        return RSRC_OK;
    }
    const struct rsrc_read_choices choices = {
        .i2s_layout = (enum rsrc_i2s_layout)in->run->options->i2s_layout,
        .activations = (enum rsrc_activations)in->run->options->activations,
        .goes_on = in->run->options->info != RSRC_INFO_NONE};
    if (rsrc_read_checkpoint(in->run->diag, &in->run->arena, in->run->options->input, &choices,
                             &in->checkpoint) != RSRC_OK)
        return RSRC_FAILED;
    in->has_checkpoint = true;
    if (in->checkpoint.has_config)
        return RSRC_OK;
    add_matrices(in, in->checkpoint.tensors, NULL, in->checkpoint.n_tensors);
    return RSRC_OK;
}

void rsrc_dump_read(struct rsrc_compilation *c, struct rsrc_buffer *out) {
    static const char *const DTYPES[RSR_DTYPE_COUNT] = {
        [RSR_DTYPE_F32] = "F32", [RSR_DTYPE_BF16] = "BF16", [RSR_DTYPE_F16] = "F16",
        [RSR_DTYPE_I8] = "I8",   [RSR_DTYPE_U8] = "U8",     [RSR_DTYPE_I32] = "I32",
        [RSR_DTYPE_I64] = "I64"};
    struct rsrc_input_set *in = &c->inputs;
    for (uint32_t i = 0; i < in->checkpoint.n_tensors; i++) {
        const struct rsr_tensor *tensor = &in->checkpoint.tensors[i];
        rsrc_buffer_puts(out, "tensor ");
        rsrc_buffer_put_c_string(out, tensor->name);
        rsrc_buffer_printf(out, " %s [",
                           tensor->blocks == RSR_BLOCKS_NONE ? DTYPES[tensor->dtype]
                                                             : rsrc_blocks_name(tensor->blocks));
        for (uint32_t d = 0; d < tensor->n_dims; d++)
            rsrc_buffer_printf(out, "%s%llu", d == 0 ? "" : ", ",
                               (unsigned long long)tensor->shape[d]);
        rsrc_buffer_printf(out, "] at 0x%llx\n", (unsigned long long)tensor->offset);
    }
}

/* ---- graph ----------------------------------------------------------------------------------- */

static void add_items_of_graph(struct rsrc_input_set *in) {
    in->items = RSRC_NEW_ARRAY(&in->run->arena, in->graph.n_layers, struct rsrc_item);
    for (uint32_t i = 0; i < in->graph.n_layers; i++) {
        const struct rsr_layer *layer = &in->graph.layers[i];
        const char *role = rsrc_role_name(layer->role);
        in->items[i] = (struct rsrc_item){
            .name = layer->name,
            .stem = layer->block == RSR_NO_BLOCK
                        ? role
                        : rsrc_arena_printf(&in->run->arena, "l%u_%s", layer->block, role),
            .block = layer->block,
            .role = layer->role,
            .input = in->graph.input,
            .layer = layer};
    }
    in->n_items = in->graph.n_layers;
}

/* How the embedding and the head are stored, the head's sketch, and whether ranks can share it. */
static enum rsrc_status plan_storage(struct rsrc_compilation *c) {
    return rsrc_check_shard(&c->inputs) == RSRC_OK && rsrc_read_profiles(&c->inputs) == RSRC_OK &&
                   rsrc_plan_packed(c) == RSRC_OK
               ? rsrc_plan_head(c)
               : RSRC_FAILED;
}

enum rsrc_status rsrc_model_graph(struct rsrc_compilation *c) {
    struct rsrc_input_set *in = &c->inputs;
    if (!in->has_checkpoint || !in->checkpoint.has_config)
        return plan_storage(c);
    if (rsrc_build_graph(in->run->diag, &in->run->arena, &in->checkpoint, &in->graph) != RSRC_OK)
        return RSRC_FAILED;
    in->has_graph = true;
    add_items_of_graph(in);
    return plan_storage(c);
}

void rsrc_dump_graph(struct rsrc_compilation *c, struct rsrc_buffer *out) {
    if (c->inputs.has_graph)
        rsrc_print_graph(&c->inputs.graph, out);
}

/* ---- items ----------------------------------------------------------------------------------- */

static enum rsrc_status check_matrices(struct rsrc_input_set *in) {
    const struct rsrc_place place = {.file = in->run->options->input};
    if (in->has_graph && in->run->options->inputs != 0)
        return rsrc_refuse(
            in->run->diag, "option-value", &place, "leave out --input",
            "--input: a model's layers multiply what its graph says, int8 activations");
    if (rsrc_n_gpus(in) != 0 && (in->run->options->inputs & RSRC_INPUTS_F32) != 0)
        return rsrc_bad_option(in->run, "leave out --input",
                               "--input: matrices for a GPU multiply int8 vectors alone");
    if (rsrc_n_gpus(in) != 0 && !in->has_graph && in->run->to >= PASS_LINK &&
        (in->run->options->emit & (RSRC_EMIT_SO | RSRC_EMIT_OBJ)) != 0)
        return rsrc_refuse(in->run->diag, "gpu-option", &place,
                           "choose --emit=ptx, cubin, rsr, plan or report",
                           "--emit=so and obj: a library of matrices is for CPUs, and %s is a GPU",
                           in->specs[in->n_cpus].name);
    /* The graph may not exist yet. */
    const bool is_model = in->has_checkpoint && in->checkpoint.has_config;
    if (!is_model && in->n_items == 0)
        return rsrc_refuse(in->run->diag, "no-matrices", &place, NULL,
                           "has no matrices to compile");
    const bool may_list =
        is_model && (!in->has_graph || in->graph.hyper.activation == RSR_ACTIVATION_RELU2);
    if (in->run->options->relu2_active != 0 && !may_list)
        return rsrc_refuse(in->run->diag, "option-value", &place, "leave out --relu2-active",
                           "--relu2-active: no squared ReLU leaves channels of %s",
                           is_model ? "this model" : "matrices");
    for (uint32_t i = 0; !is_model && i < in->run->options->n_variants; i++) {
        const char *role = in->run->options->variants[i].role;
        if (strcmp(role, "*") == 0)
            continue;
        return rsrc_refuse(in->run->diag, "option-value", &place,
                           "give the variant of all: --variant='*=V'",
                           "--variant: matrices have no roles, and '%s' is one", role);
    }
    return RSRC_OK;
}

/* A module needs all layers; chosen layers can only be analysed and printed. */
static enum rsrc_status check_items(struct rsrc_input_set *in) {
    const struct rsrc_place place = {.file = in->run->options->input};
    if (check_matrices(in) != RSRC_OK)
        return RSRC_FAILED;
    if ((in->run->options->emit & RSRC_EMIT_STEP) != 0 && !in->has_graph)
        return rsrc_refuse(in->run->diag, "not-a-model", &place, "choose another --emit kind",
                           "matrices without a config.json have no forward pass");
    if (in->run->options->layers != NULL && in->run->to >= PASS_LINK &&
        (in->run->options->emit & (RSRC_EMIT_SO | RSRC_EMIT_OBJ)) != 0)
        return rsrc_bad_option(in->run, "choose another --emit kind",
                               "--layers leaves out layers, so no module can be made of the rest");
    return RSRC_OK;
}

static enum rsrc_status select_layers(struct rsrc_input_set *in) {
    if (in->run->options->layers == NULL)
        return RSRC_OK;
    regex_t pattern;
    if (regcomp(&pattern, in->run->options->layers, REG_EXTENDED | REG_NOSUB) != 0)
        return rsrc_bad_option(in->run, "give a POSIX extended regular expression",
                               "--layers: bad pattern '%s'", in->run->options->layers);
    uint32_t n = 0;
    for (uint32_t i = 0; i < in->n_items; i++)
        if (regexec(&pattern, in->items[i].name, 0, NULL, 0) == 0)
            in->items[n++] = in->items[i];
    regfree(&pattern);
    if (n == 0)
        return rsrc_bad_option(in->run, "--dump=graph lists the layers",
                               "--layers: no layer matches '%s'", in->run->options->layers);
    in->n_items = n;
    return RSRC_OK;
}

static double count_weights(const struct rsrc_item *item) {
    if (item->layer != NULL)
        return (double)item->layer->rows * item->layer->cols;
    if (item->index != NULL)
        return (double)item->index->rows * item->index->cols;
    double n = 1;
    for (uint32_t d = 0; d < item->tensor->n_dims; d++)
        n *= (double)item->tensor->shape[d];
    return n;
}

/* Folded code of a random ternary matrix takes 2.2 bytes a weight, and for a GPU 3.8. */
#define FOLD_BYTES_PER_WEIGHT 2.5
#define GPU_FOLD_BYTES_PER_WEIGHT 4.2

/* Shares the budget in the order of the layers, among those whose code should fit into the rest of
 * it. The size is estimated from the shape alone, so that no layer waits for the plan of
 * another. */
static void share_fold_budget(struct rsrc_input_set *in) {
    uint64_t left = in->run->options->fold_budget;
    const double a_weight = in->n_cpus != 0 ? FOLD_BYTES_PER_WEIGHT : GPU_FOLD_BYTES_PER_WEIGHT;
    for (uint32_t i = 0; i < in->n_items; i++) {
        const double bytes = count_weights(&in->items[i]) * a_weight;
        if (bytes > (double)left)
            continue;
        in->items[i].fold_budget = (uint64_t)bytes;
        left -= in->items[i].fold_budget;
    }
}

enum rsrc_status rsrc_check_inputs_unchanged(struct rsrc_compilation *c) {
    const struct rsrc_mapping *mapping =
        c->inputs.has_checkpoint ? c->inputs.checkpoint.mappings : NULL;
    for (; mapping != NULL; mapping = mapping->next)
        if (rsrc_check_unchanged(c->run.diag, mapping) != RSRC_OK)
            return RSRC_FAILED;
    return RSRC_OK;
}

enum rsrc_status rsrc_choose_items(struct rsrc_compilation *c) {
    struct rsrc_input_set *in = &c->inputs;
    if (check_items(in) != RSRC_OK || rsrc_read_plans(in) != RSRC_OK ||
        select_layers(in) != RSRC_OK || rsrc_check_planned(in) != RSRC_OK)
        return RSRC_FAILED;
    share_fold_budget(in);
    return RSRC_OK;
}
