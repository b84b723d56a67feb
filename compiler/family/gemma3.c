/* gemma3.c - Gemma3ForCausalLM and Gemma3TextModel (BitNet embeddings): four norms a block, which
 * store w - 1, scaled embeddings, blocks that see a window of keys and rotate with a base of their
 * own. */
#include "family/family.h"

static const struct rsrc_family_entry block[] = {
    RSRC_FAMILY_NORM_ENTRY("layers.%u.input_layernorm", INPUT_NORM, HIDDEN, input_norm),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.self_attn.q_proj", Q, Q, HIDDEN, q),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.self_attn.k_proj", K, KV, HIDDEN, k),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.self_attn.v_proj", V, KV, HIDDEN, v),
    RSRC_FAMILY_NORM_ENTRY("layers.%u.self_attn.q_norm", Q_NORM, HEAD, q_norm),
    RSRC_FAMILY_NORM_ENTRY("layers.%u.self_attn.k_norm", K_NORM, HEAD, k_norm),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.self_attn.o_proj", O, HIDDEN, Q, o),
    RSRC_FAMILY_NORM_ENTRY("layers.%u.post_attention_layernorm", ATTN_OUT_NORM, HIDDEN,
                           attn_out_norm),
    RSRC_FAMILY_NORM_ENTRY("layers.%u.pre_feedforward_layernorm", POST_NORM, HIDDEN, post_norm),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.mlp.gate_proj", GATE, FFN, HIDDEN, gate),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.mlp.up_proj", UP, FFN, HIDDEN, up),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.mlp.down_proj", DOWN, HIDDEN, FFN, down),
    RSRC_FAMILY_NORM_ENTRY("layers.%u.post_feedforward_layernorm", FFN_OUT_NORM, HIDDEN,
                           ffn_out_norm),
};

const struct rsrc_family rsrc_family_gemma3 = {
    .name = "gemma3",
    .model_type = "gemma3_text",
    .norm_eps = 1e-6,
    .rope_theta = 1000000.0,
    .activation_key = "hidden_activation",
    .activation = "gelu_pytorch_tanh",
    .head_dim = 256,
    .tied_head = true,
    .has_windows = true,
    .local_rope_theta = 10000.0,
    .window_pattern = 6,
    .attention_scalar = 256.0,
    .norm_offset = 1.0f,
    .scaled_embedding = true,
    .block = block,
    .n_block = sizeof block / sizeof *block,
};
