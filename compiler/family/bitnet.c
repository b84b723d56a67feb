/* bitnet.c - BitNetForCausalLM (microsoft/bitnet-b1.58-2B-4T): Llama's block with a norm before
 * o_proj over the concatenated heads and one before down_proj over the FFN. */
#include "family/family.h"

static const struct rsrc_family_entry block[] = {
    RSRC_FAMILY_NORM_ENTRY("layers.%u.input_layernorm", INPUT_NORM, HIDDEN, input_norm),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.self_attn.q_proj", Q, Q, HIDDEN, q),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.self_attn.k_proj", K, KV, HIDDEN, k),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.self_attn.v_proj", V, KV, HIDDEN, v),
    RSRC_FAMILY_NORM_ENTRY("layers.%u.self_attn.attn_sub_norm", ATTN_SUB_NORM, Q, attn_sub_norm),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.self_attn.o_proj", O, HIDDEN, Q, o),
    RSRC_FAMILY_NORM_ENTRY("layers.%u.post_attention_layernorm", POST_NORM, HIDDEN, post_norm),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.mlp.gate_proj", GATE, FFN, HIDDEN, gate),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.mlp.up_proj", UP, FFN, HIDDEN, up),
    RSRC_FAMILY_NORM_ENTRY("layers.%u.mlp.ffn_sub_norm", FFN_SUB_NORM, FFN, ffn_sub_norm),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.mlp.down_proj", DOWN, HIDDEN, FFN, down),
};

const struct rsrc_family rsrc_family_bitnet = {
    .name = "bitnet",
    .model_type = "bitnet",
    .norm_eps = 1e-5,
    .rope_theta = 500000.0,
    .activation_key = "hidden_act",
    .activation = "relu2",
    .square_attention = true,
    .block = block,
    .n_block = sizeof block / sizeof *block,
};
