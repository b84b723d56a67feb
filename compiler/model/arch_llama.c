/* arch_llama.c - LlamaForCausalLM (Llama 3, Falcon3): no norms inside attention and MLP. */
#include "ir.h"
#include "model/arch.h"

static const struct rsrc_arch_entry block[] = {
    RSRC_ARCH_NORM_ENTRY("model.layers.%u.input_layernorm", INPUT_NORM, HIDDEN, input_norm),
    RSRC_ARCH_LINEAR_ENTRY("model.layers.%u.self_attn.q_proj", Q, Q, HIDDEN, q),
    RSRC_ARCH_LINEAR_ENTRY("model.layers.%u.self_attn.k_proj", K, KV, HIDDEN, k),
    RSRC_ARCH_LINEAR_ENTRY("model.layers.%u.self_attn.v_proj", V, KV, HIDDEN, v),
    RSRC_ARCH_LINEAR_ENTRY("model.layers.%u.self_attn.o_proj", O, HIDDEN, Q, o),
    RSRC_ARCH_NORM_ENTRY("model.layers.%u.post_attention_layernorm", POST_NORM, HIDDEN, post_norm),
    RSRC_ARCH_LINEAR_ENTRY("model.layers.%u.mlp.gate_proj", GATE, FFN, HIDDEN, gate),
    RSRC_ARCH_LINEAR_ENTRY("model.layers.%u.mlp.up_proj", UP, FFN, HIDDEN, up),
    RSRC_ARCH_LINEAR_ENTRY("model.layers.%u.mlp.down_proj", DOWN, HIDDEN, FFN, down),
};

/* Rotary tables follow from rope_theta; old exporters stored them as buffers. */
static const char *const ignored[] = {
    "model.layers.%u.self_attn.rotary_emb.inv_freq",
    "model.rotary_emb.inv_freq",
};

const struct rsrc_arch rsrc_arch_llama = {
    .model_type = "llama",
    .block = block,
    .n_block = sizeof block / sizeof *block,
    .embedding = "model.embed_tokens",
    .final_norm = "model.norm",
    .head = "lm_head",
    .ignored = ignored,
    .n_ignored = sizeof ignored / sizeof *ignored,
};
