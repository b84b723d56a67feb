/* arch.h - an architecture as data: which tensors a model of this family has, and their shapes.
 *
 * To add a family whose step is the Llama one, write one table and list it in graph.c. Patterns are
 * module paths; %u is the block number. ".weight" is appended for every entry, ".weight_scale" for the
 * scale of a packed linear layer.
 */
#ifndef RSRC_MODEL_ARCH_H
#define RSRC_MODEL_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rsr_abi.h"

enum rsrc_arch_kind { RSRC_ARCH_LINEAR, RSRC_ARCH_NORM };

/* A size in terms of the hyper-parameters. */
enum rsrc_arch_dim {
    RSRC_DIM_HIDDEN,
    RSRC_DIM_Q,  /* n_heads * head_dim */
    RSRC_DIM_KV, /* n_kv_heads * head_dim */
    RSRC_DIM_FFN,
    RSRC_DIM_COUNT
};

/* One entry of a block. Linear layers are [rows, cols] = [out, in]; norms are [cols]. */
struct rsrc_arch_entry {
    const char *pattern;
    enum rsrc_arch_kind kind;
    enum rsr_role role;
    enum rsrc_arch_dim rows, cols;
    size_t slot; /* offset in struct rsr_block_layers of the index this entry fills */
};

struct rsrc_arch {
    const char *model_type;              /* of config.json */
    const struct rsrc_arch_entry *block; /* every one required; in order of use */
    uint32_t n_block;
    const char *embedding;
    const char *final_norm;
    const char *head;
    const char *const *ignored; /* full tensor names that may be present and are not read */
    uint32_t n_ignored;
};

extern const struct rsrc_arch rsrc_arch_bitnet;
extern const struct rsrc_arch rsrc_arch_llama;

#define RSRC_ARCH_LINEAR_ENTRY(pattern_, role_, rows_, cols_, slot_)                               \
    {                                                                                              \
        pattern_, RSRC_ARCH_LINEAR, RSR_ROLE_##role_, RSRC_DIM_##rows_, RSRC_DIM_##cols_,          \
            offsetof(struct rsr_block_layers, slot_)                                               \
    }
#define RSRC_ARCH_NORM_ENTRY(pattern_, role_, cols_, slot_)                                        \
    {                                                                                              \
        pattern_, RSRC_ARCH_NORM, RSR_ROLE_##role_, RSRC_DIM_##cols_, RSRC_DIM_##cols_,            \
            offsetof(struct rsr_block_layers, slot_)                                               \
    }

#endif
