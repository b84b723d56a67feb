/* info.c - sums of layers by role, and the cost of a token on a target. */
#include "report/info.h"

#include <assert.h>
#include <string.h>

double rsrc_info_density(uint64_t n_zero, uint64_t n_weights) {
    return n_weights == 0 ? 0 : (double)n_zero / (double)n_weights;
}

uint32_t rsrc_info_rotated_block(const struct rsr_config *config) {
    return config->n_rotations == 0 ? 0 : config->rotations[0].block;
}

const char *rsrc_info_tokenizer_kind(const struct rsr_tokenizer *tokenizer) {
    return tokenizer->section->alphabet == RSR_BPE_BYTES ? "byte-level BPE"
                                                         : "SentencePiece-like BPE";
}

/* ---- groups ---------------------------------------------------------------------------------- */

static bool belongs(const struct rsr_info_group *group, const struct rsr_info_layer *layer) {
    const struct rsr_info_layer *first = group->first;
    return first->rows == layer->rows && first->cols == layer->cols &&
           first->input == layer->input && strcmp(first->label, layer->label) == 0 &&
           strcmp(first->stored, layer->stored) == 0;
}

/* Roles are few, so a linear search finds a group. Bare matrices can be many, and each has its own
 * name, so no search is done. */
static struct rsr_info_group *find_group(const struct rsr_info *info, struct rsr_info_group *groups,
                                         uint32_t n, const struct rsr_info_layer *layer) {
    uint32_t g = info->config != NULL ? 0 : n;
    while (g < n && !belongs(&groups[g], layer))
        g++;
    return &groups[g];
}

static void count_variant(struct rsr_info_variant variants[RSRC_INFO_MAX_VARIANTS],
                          const char *name) {
    uint32_t v = 0;
    while (v < RSRC_INFO_MAX_VARIANTS && variants[v].name != NULL &&
           strcmp(variants[v].name, name) != 0)
        v++;
    assert(v < RSRC_INFO_MAX_VARIANTS); /* a GPU has fewer */
    variants[v].name = name;
    variants[v].n_layers++;
}

static void add_use(struct rsr_info_group_use *sum, const struct rsr_info_use *use) {
    sum->token_bytes += use->token_bytes;
    for (uint32_t r = 0; r < RSR_REGIME_COUNT; r++) {
        sum->us[r] += use->us[r];
        if (use->variant[r] != NULL)
            count_variant(sum->variants[r], use->variant[r]);
    }
}

static void add_layer(const struct rsr_info *info, struct rsr_info_group *group,
                      const struct rsr_info_layer *layer) {
    group->n_layers++;
    if (!layer->is_decoded)
        return;
    const uint64_t n_weights = (uint64_t)layer->rows * layer->cols;
    const double density = rsrc_info_density(layer->n_zero, n_weights);
    if (group->n_decoded == 0 || density < group->min_density)
        group->min_density = density;
    if (group->n_decoded == 0 || density > group->max_density)
        group->max_density = density;
    group->n_decoded++;
    group->n_weights += n_weights;
    group->n_zero += layer->n_zero;
    for (uint32_t t = 0; t < info->n_targets; t++)
        add_use(&group->uses[t], &layer->uses[t]);
}

void rsrc_info_group(struct rsrc_arena *arena, struct rsr_info *info) {
    struct rsr_info_group *groups = RSRC_NEW_ARRAY(arena, info->n_layers, struct rsr_info_group);
    uint32_t n = 0;
    for (uint32_t i = 0; i < info->n_layers; i++) {
        const struct rsr_info_layer *layer = &info->layers[i];
        struct rsr_info_group *group = find_group(info, groups, n, layer);
        if (group->first == NULL) {
            group->first = layer;
            group->uses = RSRC_NEW_ARRAY(arena, info->n_targets, struct rsr_info_group_use);
            n++;
        }
        add_layer(info, group, layer);
    }
    info->groups = groups;
    info->n_groups = n;
}

/* ---- a token --------------------------------------------------------------------------------- */

static double read_us(uint64_t bytes, double gbps) {
    return (double)bytes / (gbps * 1e3);
}

struct rsr_info_cost rsrc_info_cost(const struct rsr_info *info, uint32_t target) {
    const struct rsr_spec *spec = &info->specs[target];
    const bool is_gpu = spec->gpu.sm != 0;
    struct rsr_info_cost cost = {.cores = is_gpu ? 1 : spec->cores,
                                 .read_gbps = is_gpu ? spec->gpu.memory_gbps : spec->read_gbps};
    for (uint32_t g = 0; g < info->n_groups; g++) {
        const struct rsr_info_group_use *use = &info->groups[g].uses[target];
        cost.layer_bytes += use->token_bytes;
        for (uint32_t r = 0; r < RSR_REGIME_COUNT; r++)
            cost.us[r] += use->us[r];
    }
    const struct rsr_info_dense *embedding = &info->embedding;
    cost.full_head_bytes = info->ternary_head ? 0 /* one of the layers */
                           : info->tied_head  ? embedding->stored_bytes
                                              : info->head.stored_bytes;
    const struct rsr_head_plan *sketch = info->sketch;
    const bool has_sketch = sketch != NULL && sketch->n_planes != 0;
    cost.head_bytes = has_sketch ? sketch->floor_bytes : cost.full_head_bytes;
    cost.usual_head_bytes = has_sketch ? sketch->token_bytes : cost.full_head_bytes;
    cost.embedding_bytes = embedding->stored_row_bytes;
    cost.dense_bytes = info->dense_bytes;
    cost.token_bytes = cost.layer_bytes + cost.dense_bytes + cost.head_bytes + cost.embedding_bytes;
    cost.us[RSR_REGIME_DECODE] += read_us(cost.dense_bytes + cost.usual_head_bytes, cost.read_gbps);
    cost.floor_us = read_us(cost.token_bytes, cost.read_gbps);
    cost.floor_all_us = cost.floor_us / cost.cores;
    return cost;
}
