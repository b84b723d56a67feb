/* qwen3.c - Qwen3ForCausalLM and Qwen3Model (Ternary-Bonsai, BitNet embeddings): queries and keys
 * are normalised head by head, heads have a size of their own. */
#include "family/family.h"

static const struct rsrc_family_entry block[] = {
    RSRC_FAMILY_NORM_ENTRY("layers.%u.input_layernorm", INPUT_NORM, HIDDEN, input_norm),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.self_attn.q_proj", Q, Q, HIDDEN, q),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.self_attn.k_proj", K, KV, HIDDEN, k),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.self_attn.v_proj", V, KV, HIDDEN, v),
    RSRC_FAMILY_NORM_ENTRY("layers.%u.self_attn.q_norm", Q_NORM, HEAD, q_norm),
    RSRC_FAMILY_NORM_ENTRY("layers.%u.self_attn.k_norm", K_NORM, HEAD, k_norm),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.self_attn.o_proj", O, HIDDEN, Q, o),
    RSRC_FAMILY_NORM_ENTRY("layers.%u.post_attention_layernorm", POST_NORM, HIDDEN, post_norm),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.mlp.gate_proj", GATE, FFN, HIDDEN, gate),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.mlp.up_proj", UP, FFN, HIDDEN, up),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.mlp.down_proj", DOWN, HIDDEN, FFN, down),
};

const struct rsrc_family rsrc_family_qwen3 = {
    .name = "qwen3",
    .model_type = "qwen3",
    .norm_eps = 1e-6,
    .rope_theta = 10000.0,
    .activation_key = "hidden_act",
    .activation = "silu",
    .head_dim = 128,
    .block = block,
    .n_block = sizeof block / sizeof *block,
};
