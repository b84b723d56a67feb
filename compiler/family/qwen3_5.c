/* qwen3_5.c - Qwen3.5's text model (Ternary-Bonsai 2): three blocks with a gated delta rule, then
 * one with attention. Heads of attention are normalised, a quarter of each is rotated, and each has
 * a gate. Norms store w - 1, but for those of GGUF. */
#include "family/family.h"

static const struct rsrc_family_entry block[] = {
    RSRC_FAMILY_NORM_ENTRY("layers.%u.input_layernorm", INPUT_NORM, HIDDEN, input_norm),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.self_attn.q_proj", Q, GATED_Q, HIDDEN, q),
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

static const struct rsrc_family_entry delta_block[] = {
    RSRC_FAMILY_NORM_ENTRY("layers.%u.input_layernorm", INPUT_NORM, HIDDEN, input_norm),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.linear_attn.in_proj_qkv", QKV, DELTA_QKV, HIDDEN, qkv),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.linear_attn.in_proj_z", Z, DELTA_VALUES, HIDDEN, z),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.linear_attn.in_proj_b", BETA, DELTA_HEADS, HIDDEN, beta),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.linear_attn.in_proj_a", DECAY, DELTA_HEADS, HIDDEN, decay),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.linear_attn.out_proj", O, HIDDEN, DELTA_VALUES, o),
    RSRC_FAMILY_NORM_ENTRY("layers.%u.post_attention_layernorm", POST_NORM, HIDDEN, post_norm),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.mlp.gate_proj", GATE, FFN, HIDDEN, gate),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.mlp.up_proj", UP, FFN, HIDDEN, up),
    RSRC_FAMILY_LINEAR_ENTRY("layers.%u.mlp.down_proj", DOWN, HIDDEN, FFN, down),
};

/* Tensors of a whole Qwen3.5 that a text model has no use for. */
static const struct rsrc_family_left_out left_out[] = {
    {"model.visual.", "a vision tower"},
    {"mtp.", "heads that predict several tokens"},
};

#define QWEN3_5                                                                                    \
    .name = "qwen3_5", .norm_eps = 1e-6, .rope_theta = 10000.0, .activation_key = "hidden_act",    \
    .activation = "silu", .head_dim = 256, .rotary_factor = 0.25, .gated_attention = true,         \
    .block = block, .n_block = sizeof block / sizeof *block,                                       \
    .delta_path = "layers.%u.linear_attn", .delta_block = delta_block,                             \
    .n_delta_block = sizeof delta_block / sizeof *delta_block, .left_out = left_out,               \
    .n_left_out = sizeof left_out / sizeof *left_out

/* A model of text alone. */
const struct rsrc_family rsrc_family_qwen3_5_text = {
    .model_type = "qwen3_5_text", .norm_offset = 1.0f, QWEN3_5};
/* The whole model, whose text model is used. */
const struct rsrc_family rsrc_family_qwen3_5 = {
    .model_type = "qwen3_5", .norm_offset = 1.0f, .text_config = "text_config", QWEN3_5};
/* As GGUF stores the text model: norms are w, decays are -exp(A_log). */
const struct rsrc_family rsrc_family_qwen35 = {
    .model_type = "qwen3_5_text", .architecture = "qwen35", .decay_is_rate = true, QWEN3_5};
