/* gguf_names.c - the names of llama.cpp's gguf-py/gguf/tensor_mapping.py and those of
 * transformers. */
#include "reader/gguf_names.h"

#include <stdio.h>
#include <string.h>

#include "reader/limits.h"

static const struct {
    const char *gguf, *name;
} ENDS[] = {
    {"token_embd.weight", "model.embed_tokens.weight"},
    {"output_norm.weight", "model.norm.weight"},
    {"output.weight", "lm_head.weight"},
};
#define N_ENDS (sizeof(ENDS) / sizeof(ENDS[0]))

enum heads { HEADS_NONE, HEADS_Q, HEADS_KV };

/* "blk.N.GGUF.weight" is "model.layers.N.NAME.weight", "blk.N.GGUF.scale" its scale. */
static const struct {
    const char *gguf, *name;
    enum heads heads;
} MODULES[] = {
    {"attn_norm", "input_layernorm", HEADS_NONE},
    {"attn_q", "self_attn.q_proj", HEADS_Q},
    {"attn_q_norm", "self_attn.q_norm", HEADS_NONE},
    {"attn_k_norm", "self_attn.k_norm", HEADS_NONE},
    {"attn_k", "self_attn.k_proj", HEADS_KV},
    {"attn_v", "self_attn.v_proj", HEADS_NONE},
    {"attn_sub_norm", "self_attn.attn_sub_norm", HEADS_NONE},
    {"attn_output", "self_attn.o_proj", HEADS_NONE},
    {"ffn_norm", "post_attention_layernorm", HEADS_NONE},
    {"post_attention_norm", "post_attention_layernorm", HEADS_NONE},
    {"ffn_gate", "mlp.gate_proj", HEADS_NONE},
    {"ffn_up", "mlp.up_proj", HEADS_NONE},
    {"ffn_sub_norm", "mlp.ffn_sub_norm", HEADS_NONE},
    {"ffn_down", "mlp.down_proj", HEADS_NONE},
    /* of a gated delta rule */
    {"attn_qkv", "linear_attn.in_proj_qkv", HEADS_NONE},
    {"attn_gate", "linear_attn.in_proj_z", HEADS_NONE},
    {"ssm_beta", "linear_attn.in_proj_b", HEADS_NONE},
    {"ssm_alpha", "linear_attn.in_proj_a", HEADS_NONE},
    {"ssm_conv1d", "linear_attn.conv1d", HEADS_NONE},
    {"ssm_norm", "linear_attn.norm", HEADS_NONE},
    {"ssm_out", "linear_attn.out_proj", HEADS_NONE},
};
#define N_MODULES (sizeof(MODULES) / sizeof(MODULES[0]))

/* "blk.N.GGUF" is "model.layers.N.NAME". */
static const struct {
    const char *gguf, *name;
} VECTORS[] = {
    {"ssm_a", "linear_attn.A_log"},
    {"ssm_dt.bias", "linear_attn.dt_bias"},
};
#define N_VECTORS (sizeof(VECTORS) / sizeof(VECTORS[0]))

#define BLOCK "blk."
#define LAYER "model.layers."

/* The rest of the name after the prefix and "N."; NULL: the name begins otherwise. */
static const char *skip_block(const char *name, const char *prefix, uint32_t *block) {
    if (strncmp(name, prefix, strlen(prefix)) != 0)
        return NULL;
    const char *at = name + strlen(prefix);
    const char *begin = at;
    uint32_t number = 0;
    while (*at >= '0' && *at <= '9' && number < RSRC_MAX_LAYERS)
        number = 10 * number + (uint32_t)(*at++ - '0');
    const bool is_plain = at > begin && (*begin != '0' || at == begin + 1);
    *block = number;
    return is_plain && *at == '.' ? at + 1 : NULL;
}

/* The rest after a module's name; NULL: it is another module. */
static const char *skip_module(const char *rest, const char *module) {
    const size_t n = strlen(module);
    return strncmp(rest, module, n) == 0 ? rest + n : NULL;
}

void rsrc_gguf_rename(struct rsrc_arena *arena, struct rsr_tensor *tensor, uint32_t n_q_heads,
                      uint32_t n_kv_heads) {
    uint32_t block;
    tensor->stored_name = tensor->name;
    for (size_t i = 0; i < N_ENDS; i++) {
        if (strcmp(tensor->stored_name, ENDS[i].gguf) == 0) {
            tensor->name = ENDS[i].name;
            return;
        }
    }
    const char *rest = skip_block(tensor->stored_name, BLOCK, &block);
    for (size_t i = 0; rest != NULL && i < N_VECTORS; i++)
        if (strcmp(rest, VECTORS[i].gguf) == 0)
            tensor->name = rsrc_arena_printf(arena, LAYER "%u.%s", block, VECTORS[i].name);
    for (size_t i = 0; rest != NULL && i < N_MODULES; i++) {
        const char *end = skip_module(rest, MODULES[i].gguf);
        const bool is_weight = end != NULL && strcmp(end, ".weight") == 0;
        if (end == NULL || (!is_weight && strcmp(end, ".scale") != 0))
            continue;
        tensor->name = rsrc_arena_printf(arena, LAYER "%u.%s.%s", block, MODULES[i].name,
                                         is_weight ? "weight" : "weight_scale");
        if (is_weight)
            tensor->interleaved_heads = MODULES[i].heads == HEADS_Q    ? n_q_heads
                                        : MODULES[i].heads == HEADS_KV ? n_kv_heads
                                                                       : 0;
        return;
    }
}

const char *rsrc_gguf_stored_name(struct rsrc_arena *arena, const char *name) {
    uint32_t block;
    for (size_t i = 0; i < N_ENDS; i++)
        if (strcmp(name, ENDS[i].name) == 0)
            return ENDS[i].gguf;
    const char *rest = skip_block(name, LAYER, &block);
    for (size_t i = 0; rest != NULL && i < N_VECTORS; i++)
        if (strcmp(rest, VECTORS[i].name) == 0)
            return rsrc_arena_printf(arena, BLOCK "%u.%s", block, VECTORS[i].gguf);
    for (size_t i = 0; rest != NULL && i < N_MODULES; i++) {
        const char *end = skip_module(rest, MODULES[i].name);
        if (end != NULL && strcmp(end, ".weight") == 0)
            return rsrc_arena_printf(arena, BLOCK "%u.%s.weight", block, MODULES[i].gguf);
        if (end != NULL && strcmp(end, ".weight_scale") == 0)
            return rsrc_arena_printf(arena, BLOCK "%u.%s.scale", block, MODULES[i].gguf);
    }
    return name;
}

const char *rsrc_gguf_qwen35_stored_name(struct rsrc_arena *arena, const char *name) {
    uint32_t block;
    const char *rest = skip_block(name, LAYER, &block);
    if (rest != NULL && strcmp(rest, "post_attention_layernorm.weight") == 0)
        return rsrc_arena_printf(arena, BLOCK "%u.post_attention_norm.weight", block);
    return rsrc_gguf_stored_name(arena, name);
}
