/* inputs.h - what a compilation reads: targets, a checkpoint and its graph, or a text form; and the
 * items that it compiles. */
#ifndef RSRC_DRIVER_INPUTS_H
#define RSRC_DRIVER_INPUTS_H

#include "driver/run.h"
#include "profile/profile.h"

/* One matrix to compile: a layer of a model, a tensor of a matrix file, or an index read as
 * text; or one kernel read as text. */
struct rsrc_item {
    const char *name; /* untrusted */
    const char *stem; /* "l0_q": a C identifier */
    uint32_t block;
    enum rsr_role role;
    const struct rsr_layer *layer; /* at most one of these three is set */
    const struct rsr_tensor *tensor;
    const struct rsr_index *index;
    enum rsr_input input;
    struct rsrc_activity activity;       /* from profiles; n_tokens 0: not known */
    uint64_t fold_budget;                /* bytes of code that fold may take if it is not forced */
    const struct rsr_named_plan **plans; /* [n_specs], from --plan; NULL: the planner makes them */
};

struct rsrc_input_set {
    struct rsrc_run *run;
    struct rsr_spec *specs; /* targets: CPUs, then GPUs */
    uint32_t n_specs, n_cpus;
    const char *triple; /* of the module: the CPUs', or, if there is none, this machine's */
    struct rsr_checkpoint checkpoint;
    bool has_checkpoint;
    bool has_graph; /* false: matrix file or text form */
    struct rsr_graph graph;
    struct rsrc_item *items;
    uint32_t n_items;
    union { /* of a text form, by the pass that it starts from */
        struct rsr_named_index *indexes;
        struct rsr_named_plan *plans;
        struct rsr_parsed_step *steps;
        struct rsr_parsed_kernel *kernels;
    };
    uint32_t n_parsed;
    double *spreads;   /* [blocks with attention][n_kv_heads] of its logits, from profiles; NULL:
                          not known */
    uint64_t n_spread; /* tokens that they are of */
    struct rsrc_open_rows open_rows; /* of the head, from profiles */
    uint32_t shard, n_shards;        /* of --shard; n_shards 0: the module is whole */
};

/* profile_file.c */
/* What a list can select in the item; NONE: nothing, or it is no layer of a model. */
enum rsr_list rsrc_item_list(const struct rsrc_input_set *in, const struct rsrc_item *item);
/* Elements that such a list can name, where there is one. */
static inline uint32_t rsrc_item_channels(const struct rsrc_item *item) {
    return item->role == RSR_ROLE_UP ? item->layer->rows : item->layer->cols;
}

/* The spread of a KV head's logits is at this place. */
static inline size_t rsrc_spread_at(const struct rsrc_input_set *in, uint32_t block,
                                    uint32_t head) {
    return (size_t)in->graph.blocks[block].number * in->graph.hyper.n_kv_heads + head;
}

static inline uint32_t rsrc_n_spreads(const struct rsrc_input_set *in) {
    const struct rsr_hyper *hyper = &in->graph.hyper;
    return (hyper->n_layers - hyper->delta_layers) * hyper->n_kv_heads;
}

static inline bool rsrc_has_attention(const struct rsrc_input_set *in, uint32_t block) {
    return block < in->graph.hyper.n_layers && in->graph.blocks[block].delta == RSR_NO_LAYER;
}

/* Targets are CPUs or GPUs. */
static inline bool rsrc_is_gpu(const struct rsrc_input_set *in, uint32_t target) {
    return target >= in->n_cpus;
}

static inline uint32_t rsrc_n_gpus(const struct rsrc_input_set *in) {
    return in->n_specs - in->n_cpus;
}

/* Whether the items are all layers of a model: a module needs them. */
static inline bool rsrc_is_whole(const struct rsrc_input_set *in) {
    return in->has_graph && in->n_items == in->graph.n_layers;
}

#endif
