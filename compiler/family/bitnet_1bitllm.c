/* bitnet_1bitllm.c - BitnetForCausalLM of 1bitLLM/bitnet_b1_58-*: model type "llama", BitNet's
 * norms under names of their own, float masters; weight_bits and input_bits in place of a
 * quantization_config. */
#include "family/family.h"

static const struct rsrc_family_entry block[] = {
    RSRC_FAMILY_NORM_ENTRY("layers.%u.input_layernorm", INPUT_NORM, HIDDEN, input_norm),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.self_attn.q_proj", Q, Q, HIDDEN, q),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.self_attn.k_proj", K, KV, HIDDEN, k),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.self_attn.v_proj", V, KV, HIDDEN, v),
    RSRC_FAMILY_NORM_ENTRY("layers.%u.self_attn.inner_attn_ln", ATTN_SUB_NORM, Q, attn_sub_norm),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.self_attn.o_proj", O, HIDDEN, Q, o),
    RSRC_FAMILY_NORM_ENTRY("layers.%u.post_attention_layernorm", POST_NORM, HIDDEN, post_norm),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.mlp.gate_proj", GATE, FFN, HIDDEN, gate),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.mlp.up_proj", UP, FFN, HIDDEN, up),
    RSRC_FAMILY_NORM_ENTRY("layers.%u.mlp.ffn_layernorm", FFN_SUB_NORM, FFN, ffn_sub_norm),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.mlp.down_proj", DOWN, HIDDEN, FFN, down),
};

const struct rsrc_family rsrc_family_bitnet_1bitllm = {
    .name = "bitnet-1bitllm",
    .model_type = "llama",
    .architecture = "BitnetForCausalLM",
    .norm_eps = 1e-6,
    .rope_theta = 10000.0,
    .activation_key = "hidden_act",
    .activation = "silu",
    .square_attention = true,
    .has_bits = true,
    .block = block,
    .n_block = sizeof block / sizeof *block,
};
