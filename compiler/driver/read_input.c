/* read_input.c - the input to items: a checkpoint and the graph of its layers, a file of matrices,
 * or the text of segment indexes. What --layers leaves out goes here.
 */
#include <regex.h>
#include <string.h>

#include "base/mapped_file.h"
#include "driver/driver.h"
#include "model/gguf_blocks.h"
#include "model/graph.h"
#include "reader/checkpoint.h"
#include "rsr/segment.h"

/* ---- read ------------------------------------------------------------------------------------ */

static enum rsrc_status read_text_form(struct rsrc_compilation *c) {
    struct rsrc_mapping *mapping = RSRC_NEW(&c->arena, struct rsrc_mapping);
    if (rsrc_map_file(c->diag, &c->arena, c->options->input, mapping) != RSRC_OK)
        return RSRC_FAILED;
    struct rsr_named_index *named = NULL;
    uint32_t n = 0;
    const enum rsrc_status status =
        rsrc_parse_indexes(c->diag, &c->arena, mapping->path, (const char *)mapping->data,
                           mapping->size_bytes, &named, &n);
    rsrc_unmap_file(mapping);
    if (status != RSRC_OK)
        return status;
    rsrc_add_matrices(c, NULL, named, n);
    return RSRC_OK;
}

enum rsrc_status rsrc_model_read(struct rsrc_compilation *c) {
    if (c->from == PASS_RSR)
        return read_text_form(c);
    const struct rsrc_read_choices choices = {
        .i2s_layout = (enum rsrc_i2s_layout)c->options->i2s_layout,
        .activations = (enum rsrc_activations)c->options->activations,
        .goes_on = c->options->info != RSRC_INFO_NONE};
    if (rsrc_read_checkpoint(c->diag, &c->arena, c->options->input, &choices, &c->checkpoint) !=
        RSRC_OK)
        return RSRC_FAILED;
    c->has_checkpoint = true;
    if (c->checkpoint.has_config)
        return RSRC_OK;
    rsrc_add_matrices(c, c->checkpoint.tensors, NULL, c->checkpoint.n_tensors);
    return RSRC_OK;
}

void rsrc_dump_read(struct rsrc_compilation *c, struct rsrc_buffer *out) {
    static const char *const DTYPES[RSR_DTYPE_COUNT] = {
        [RSR_DTYPE_F32] = "F32", [RSR_DTYPE_BF16] = "BF16", [RSR_DTYPE_F16] = "F16",
        [RSR_DTYPE_I8] = "I8",   [RSR_DTYPE_U8] = "U8",     [RSR_DTYPE_I32] = "I32",
        [RSR_DTYPE_I64] = "I64"};
    for (uint32_t i = 0; i < c->checkpoint.n_tensors; i++) {
        const struct rsr_tensor *tensor = &c->checkpoint.tensors[i];
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

static void add_items_of_graph(struct rsrc_compilation *c) {
    c->items = RSRC_NEW_ARRAY(&c->arena, c->graph.n_layers, struct rsrc_item);
    for (uint32_t i = 0; i < c->graph.n_layers; i++) {
        const struct rsr_layer *layer = &c->graph.layers[i];
        const char *role = rsrc_role_name(layer->role);
        c->items[i] = (struct rsrc_item){
            .name = layer->name,
            .stem = layer->block == RSR_NO_BLOCK
                        ? role
                        : rsrc_arena_printf(&c->arena, "l%u_%s", layer->block, role),
            .block = layer->block,
            .role = layer->role,
            .input = c->graph.input,
            .layer = layer};
    }
    c->n_items = c->graph.n_layers;
}

enum rsrc_status rsrc_model_graph(struct rsrc_compilation *c) {
    if (!c->has_checkpoint || !c->checkpoint.has_config)
        return rsrc_plan_head(c);
    if (rsrc_build_graph(c->diag, &c->arena, &c->checkpoint, &c->graph) != RSRC_OK)
        return RSRC_FAILED;
    c->has_graph = true;
    add_items_of_graph(c);
    return rsrc_plan_head(c);
}

void rsrc_dump_graph(struct rsrc_compilation *c, struct rsrc_buffer *out) {
    if (c->has_graph)
        rsrc_print_graph(&c->graph, out);
}

/* ---- items ----------------------------------------------------------------------------------- */

/* A module is all of its input; chosen layers can be analysed and printed. */
static enum rsrc_status check_items(struct rsrc_compilation *c) {
    const struct rsrc_place place = {.file = c->options->input};
    if (rsrc_check_matrices(c) != RSRC_OK)
        return RSRC_FAILED;
    if ((c->options->emit & RSRC_EMIT_STEP) != 0 && !c->has_graph) {
        rsrc_error(c->diag, "not-a-model", &place, "choose another --emit kind",
                   "matrices without a config.json have no forward pass");
        return RSRC_FAILED;
    }
    if (c->options->layers == NULL)
        return RSRC_OK;
    if (c->to >= PASS_LINK && (c->options->emit & (RSRC_EMIT_SO | RSRC_EMIT_OBJ)) != 0) {
        rsrc_error(c->diag, "option-value", NULL, "choose another --emit kind",
                   "--layers leaves out layers, so no module can be made of the rest");
        return RSRC_FAILED;
    }
    return RSRC_OK;
}

static enum rsrc_status select_layers(struct rsrc_compilation *c) {
    if (c->options->layers == NULL)
        return RSRC_OK;
    regex_t pattern;
    if (regcomp(&pattern, c->options->layers, REG_EXTENDED | REG_NOSUB) != 0) {
        rsrc_error(c->diag, "option-value", NULL, "give a POSIX extended regular expression",
                   "--layers: bad pattern '%s'", c->options->layers);
        return RSRC_FAILED;
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->n_items; i++)
        if (regexec(&pattern, c->items[i].name, 0, NULL, 0) == 0)
            c->items[n++] = c->items[i];
    regfree(&pattern);
    if (n == 0)
        rsrc_error(c->diag, "option-value", NULL, "--dump=graph lists the layers",
                   "--layers: no layer matches '%s'", c->options->layers);
    c->n_items = n;
    return n == 0 ? RSRC_FAILED : RSRC_OK;
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

/* Folded code of a random ternary matrix takes 2.2 bytes a weight. */
#define FOLD_BYTES_PER_WEIGHT 2.5

/* In the order of the layers, to those whose code should fit into what is left: by shape alone, so
 * that no layer waits for what another one is planned to take. */
static void share_fold_budget(struct rsrc_compilation *c) {
    uint64_t left = c->options->fold_budget;
    for (uint32_t i = 0; i < c->n_items; i++) {
        const double bytes = count_weights(&c->items[i]) * FOLD_BYTES_PER_WEIGHT;
        if (bytes > (double)left)
            continue;
        c->items[i].fold_budget = (uint64_t)bytes;
        left -= c->items[i].fold_budget;
    }
}

enum rsrc_status rsrc_choose_items(struct rsrc_compilation *c) {
    if (check_items(c) != RSRC_OK || select_layers(c) != RSRC_OK)
        return RSRC_FAILED;
    share_fold_budget(c);
    return RSRC_OK;
}
