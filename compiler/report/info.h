/* info.h - what a checkpoint is, and what module it would give, at what speed: rsrc --info, for
 * people (text) and programs (JSON). compiler/README.md lists the keys.
 *
 * There are three kinds of numbers: counts of the checkpoint; sizes of the module (its weights are
 * exact, its code is estimated); and times, which are a floor (reading alone) and the prediction of
 * the plans' cost model.
 */
#ifndef RSRC_REPORT_INFO_H
#define RSRC_REPORT_INFO_H

#include "ir.h"

/* How a layer is computed on a target. */
struct rsr_info_use {
    const char *variant[RSR_REGIME_COUNT]; /* NULL: not planned */
    uint64_t token_bytes;                  /* bytes that decode reads for every token; an upper
                                              bound with listed rows or columns */
    double us[RSR_REGIME_COUNT]; /* predicted on one core; prefill: for a token of a batch */
};

struct rsr_info_layer {
    const char *label;    /* its role, or the name of a bare matrix; untrusted */
    const char *stored;   /* "packed2", or the tensor's type */
    const char *alphabet; /* "ternary" */
    enum rsr_input input;
    uint32_t rows, cols;
    bool is_decoded;           /* false: the layer was refused, and the following members are
                                  empty */
    uint64_t n_zero;           /* weights */
    struct rsr_info_use *uses; /* [n_targets] */
};

/* A matrix of floats: the embedding, the head. */
struct rsr_info_dense {
    const char *dtype; /* NULL: there is none */
    uint64_t rows, cols, size_bytes;
    uint64_t stored_bytes, stored_row_bytes; /* in the module */
    const struct rsr_packing *packing;
};

/* Sizes of the module for all targets. */
struct rsr_info_module {
    uint64_t layer_bytes;  /* codes, indexes and scales as lowering packs them, equal ones once */
    uint64_t other_bytes;  /* embedding, head, norms, tokenizer */
    uint64_t sketch_bytes; /* of the head */
    uint64_t code_bytes;   /* kernels, tables and runtime: estimated */
    uint64_t total_bytes;  /* size of the file, with padding to pages: estimated; 0: no module */
};

/* Number of a group's layers that one variant computes. */
#define RSRC_INFO_MAX_VARIANTS ((uint32_t)RSR_VARIANT_COUNT)
struct rsr_info_variant {
    const char *name;
    uint32_t n_layers;
};

/* A group on a target. */
struct rsr_info_group_use {
    struct rsr_info_variant variants[RSR_REGIME_COUNT][RSRC_INFO_MAX_VARIANTS]; /* name NULL: end */
    uint64_t token_bytes;
    double us[RSR_REGIME_COUNT];
};

/* Layers of one role, shape and type. */
struct rsr_info_group {
    const struct rsr_info_layer *first;
    uint32_t n_layers, n_decoded;
    uint64_t n_weights, n_zero; /* of the decoded layers */
    double min_density, max_density;
    struct rsr_info_group_use *uses; /* [n_targets] */
};

struct rsr_info {
    const char *name;      /* untrusted */
    const char *container; /* "safetensors", "gguf", "npy"; NULL: it could not be read */
    uint32_t n_files;
    uint64_t file_bytes;
    const struct rsr_config *config; /* NULL: a file of matrices, or it could not be read */
    const char *scale_rule;          /* in words */
    const char *activation;
    const char *pooling;                   /* NULL: a language model */
    const struct rsr_tokenizer *tokenizer; /* NULL: none */
    const char *architecture;              /* NULL: no graph could be built */
    bool tied_head;
    bool ternary_head;                  /* it is the last layer */
    const struct rsr_head_plan *sketch; /* of the head; NULL: there is no graph */
    struct rsr_info_dense embedding, head;
    uint32_t n_dense; /* linear layers that are not ternary */
    uint64_t dense_bytes;
    const struct rsr_info_layer *layers;
    uint32_t n_layers;
    const struct rsr_info_group *groups;
    uint32_t n_groups;
    const struct rsr_spec *specs; /* targets */
    uint32_t n_targets;
    struct rsr_info_module module;
    uint32_t n_errors; /* number of diagnostics; not 0: it would not compile */
};

/* Fills groups and n_groups from the layers. */
void rsrc_info_group(struct rsrc_arena *arena, struct rsr_info *info);

/* One token on a target. */
struct rsr_info_cost {
    uint64_t layer_bytes, dense_bytes,
        head_bytes;              /* bytes of the head that it reads; with a sketch, the least */
    uint64_t full_head_bytes;    /* for full logits */
    uint64_t usual_head_bytes;   /* with the rows that a sketch cannot exclude */
    uint64_t embedding_bytes;    /* one row */
    uint64_t token_bytes;        /* their sum */
    double us[RSR_REGIME_COUNT]; /* predicted on one core; decode includes dense layers */
    double floor_us;             /* time to read token_bytes on one core */
    double floor_all_us;         /* on all cores of the description, each at that rate */
    uint32_t cores;              /* 1: a GPU, which is taken as a whole */
    double read_gbps;            /* of one core */
};
struct rsr_info_cost rsrc_info_cost(const struct rsr_info *info, uint32_t target);

/* The share of weights that are zero; 0 if there are none. */
double rsrc_info_density(uint64_t n_zero, uint64_t n_weights);
/* "byte-level BPE" */
const char *rsrc_info_tokenizer_kind(const struct rsr_tokenizer *tokenizer);
/* Columns of the blocks in which weights are stored rotated, the same for all; 0: they are not. */
uint32_t rsrc_info_rotated_block(const struct rsr_config *config);

void rsrc_info_text(const struct rsr_info *info, struct rsrc_buffer *out);
/* Prints members about the checkpoint alone into an open object. */
void rsrc_info_put_checkpoint(const struct rsr_info *info, struct rsrc_buffer *out);
void rsrc_info_json(const struct rsr_info *info, struct rsrc_buffer *out);

#endif
