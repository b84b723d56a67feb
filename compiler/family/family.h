/* family.h - an architecture as data: what its config.json means and which tensors a model has.
 *
 * Readers take from a family the defaults of what a configuration omits; the graph takes names and
 * shapes. To add a family whose block needs no new operation, write one table in a file of this
 * folder and list it in family.c; tests/golden/README.md says how to make its fixture.
 *
 * Paths are module paths, %u is the block number. If the checkpoint holds a whole language model,
 * "model." stands before all paths except the head's. A checkpoint of the body alone has no such
 * prefix. ".weight" is appended for every entry, ".weight_scale" for the scale of a packed linear
 * layer, ".rms_norm.weight" for the norm of a linear layer's own input.
 */
#ifndef RSRC_FAMILY_FAMILY_H
#define RSRC_FAMILY_FAMILY_H

#include "ir.h"

enum rsrc_family_kind { RSRC_FAMILY_LINEAR, RSRC_FAMILY_NORM };

/* A size in terms of the hyper-parameters. */
enum rsrc_family_dim {
    RSRC_DIM_HIDDEN,
    RSRC_DIM_Q,  /* n_heads * head_dim */
    RSRC_DIM_KV, /* n_kv_heads * head_dim */
    RSRC_DIM_FFN,
    RSRC_DIM_HEAD,         /* head_dim */
    RSRC_DIM_GATED_Q,      /* queries, and for each head its gate */
    RSRC_DIM_DELTA_QKV,    /* of a gated delta rule: queries and keys of its key heads, values */
    RSRC_DIM_DELTA_VALUES, /* delta_value_heads * delta_value_dim */
    RSRC_DIM_DELTA_HEADS,  /* delta_value_heads */
    RSRC_DIM_COUNT
};

/* One entry of a block. Linear layers are [rows, cols] = [out, in]; norms are [cols]. */
struct rsrc_family_entry {
    const char *path;
    enum rsrc_family_kind kind;
    enum rsr_role role;
    enum rsrc_family_dim rows, cols;
    size_t slot; /* offset in struct rsr_block_layers of a rsr_linear_slot or a norm's index */
};

/* Tensors that a model can do without, by the beginning of their names. */
struct rsrc_family_left_out {
    const char *prefix;
    const char *what; /* "a vision tower" */
};

struct rsrc_family {
    const char *name;         /* for people: "bitnet", "bitnet-1bitllm" */
    const char *model_type;   /* of config.json */
    const char *architecture; /* a name that "architectures" must hold; NULL: any */

    /* Defaults of the family's configuration class, where config.json gives no value. The sizes of
     * a model have no defaults. */
    double norm_eps;
    double rope_theta;
    const char *activation_key; /* "hidden_act" */
    const char *activation;
    uint32_t head_dim; /* 0: hidden_size / num_attention_heads */
    bool tied_head;

    bool square_attention;   /* n_heads * head_dim is hidden_size: a norm is that wide */
    bool has_bits;           /* weight_bits and input_bits stand for a quantization_config */
    bool has_windows;        /* blocks of layer type "sliding_attention" */
    double local_rope_theta; /* rope theta of those blocks */
    uint32_t window_pattern; /* if layer_types is missing: every n-th block has no window */
    double
        attention_scalar;  /* query_pre_attn_scalar: 1 / its root scales scores; 0: no such field */
    float norm_offset;     /* added to every norm's weights */
    bool scaled_embedding; /* embeddings are multiplied by the root of hidden_size */

    const char *text_config; /* config.json has the text model's settings in this object; NULL: at
                                its top */
    double rotary_factor;    /* default of partial_rotary_factor; 0: all of a head is rotated */
    bool gated_attention;    /* q_proj gives each head's gate, too */

    const struct rsrc_family_entry *block; /* every one required; in order of use */
    uint32_t n_block;
    const char *delta_path; /* of the module with the weights of a gated delta rule; NULL: no block
                               has one */
    bool decay_is_rate;     /* A_log holds -exp(A_log) */
    const struct rsrc_family_entry *delta_block; /* of blocks with a gated delta rule */
    uint32_t n_delta_block;
    const struct rsrc_family_left_out *left_out;
    uint32_t n_left_out;
};

#define RSRC_FAMILY_LINEAR_ENTRY(path_, role_, rows_, cols_, slot_)                                \
    {                                                                                              \
        path_, RSRC_FAMILY_LINEAR, RSR_ROLE_##role_, RSRC_DIM_##rows_, RSRC_DIM_##cols_,           \
            offsetof(struct rsr_block_layers, slot_)                                               \
    }
#define RSRC_FAMILY_NORM_ENTRY(path_, role_, cols_, slot_)                                         \
    {                                                                                              \
        path_, RSRC_FAMILY_NORM, RSR_ROLE_##role_, RSRC_DIM_##cols_, RSRC_DIM_##cols_,             \
            offsetof(struct rsr_block_layers, slot_)                                               \
    }

/* The family of a configuration: the first in the list with this model_type whose architecture, if
 * it has one, equals `architecture` (may be NULL). NULL: there is none. */
const struct rsrc_family *rsrc_find_family(const char *model_type, const char *architecture);

/* All known model types, for messages: "bitnet", "llama" and so on, each once. */
const char *rsrc_family_list(struct rsrc_arena *arena);

#endif
