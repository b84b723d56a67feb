/* describe_input.c - what --info and reports say about a checkpoint. */
#include "base/suffix.h"
#include "driver/compilation.h"
#include "model/graph.h"
#include "model/pack_rows.h"
#include "model/tensor_data.h"

static const char *name_container(const struct rsr_checkpoint *checkpoint) {
    uint32_t n_shards = 0;
    for (uint32_t i = 0; i < checkpoint->n_files; i++) {
        if (rsrc_ends_with(checkpoint->files[i], ".gguf"))
            return "gguf";
        if (rsrc_ends_with(checkpoint->files[i], ".npy"))
            return "npy";
        n_shards += rsrc_ends_with(checkpoint->files[i], ".safetensors");
    }
    return n_shards > 1 ? "sharded safetensors" : "safetensors";
}

/* NULL: a language model. */
static const char *name_pooling(uint32_t pooling) {
    static const char *const NAMES[RSR_POOLING_COUNT] = {
        [RSR_POOLING_LAST] = "last", [RSR_POOLING_FIRST] = "first", [RSR_POOLING_MEAN] = "mean"};
    return NAMES[pooling];
}

static struct rsr_info_dense describe_dense(const struct rsrc_compilation *c,
                                            const struct rsr_tensor *tensor) {
    if (tensor == NULL)
        return (struct rsr_info_dense){0};
    const struct rsr_packing *plan = rsrc_packing_of(c, tensor);
    return (struct rsr_info_dense){.dtype = rsrc_tensor_type_name(tensor),
                                   .rows = tensor->shape[0],
                                   .cols = tensor->shape[1],
                                   .size_bytes = tensor->size_bytes,
                                   .stored_bytes = rsrc_stored_bytes(c, tensor),
                                   .stored_row_bytes = plan->is_packed
                                                           ? rsrc_packed_row_bytes(tensor)
                                                           : tensor->size_bytes / tensor->shape[0],
                                   .packing = plan};
}

static void describe_checkpoint(const struct rsr_checkpoint *checkpoint, struct rsr_info *info) {
    info->name = checkpoint->name;
    info->container = name_container(checkpoint);
    info->n_files = checkpoint->n_files;
    for (const struct rsrc_mapping *m = checkpoint->mappings; m != NULL; m = m->next)
        info->file_bytes += m->size_bytes;
    if (!checkpoint->has_config)
        return;
    info->config = &checkpoint->config;
    info->scale_rule = rsrc_scale_rule_name(checkpoint->config.scale_rule);
    info->activation =
        rsrc_activation_name((enum rsr_activation)checkpoint->config.hyper.activation);
    info->pooling = name_pooling(checkpoint->config.hyper.pooling);
    info->tokenizer = checkpoint->tokenizer.section != NULL ? &checkpoint->tokenizer : NULL;
}

static void describe_graph(const struct rsrc_compilation *c, struct rsr_info *info) {
    const struct rsr_graph *graph = &c->inputs.graph;
    info->architecture = graph->architecture;
    info->tied_head = graph->head == graph->embedding;
    info->embedding = describe_dense(c, graph->embedding);
    info->sketch = &c->made.head_plan;
    info->ternary_head = graph->head_slot.layer != RSR_NO_LAYER;
    info->head = describe_dense(c, rsrc_own_head(graph));
    info->n_dense = graph->n_dense;
    for (uint32_t i = 0; i < graph->n_dense; i++)
        info->dense_bytes += graph->dense[i].weight->size_bytes;
}

struct rsr_info rsrc_describe_input(const struct rsrc_compilation *c) {
    struct rsr_info info = {.name = c->run.options->input};
    if (c->inputs.has_checkpoint)
        describe_checkpoint(&c->inputs.checkpoint, &info);
    if (c->inputs.has_graph)
        describe_graph(c, &info);
    return info;
}
