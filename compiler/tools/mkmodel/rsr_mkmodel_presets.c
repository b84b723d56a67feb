/* rsr_mkmodel_presets.c - published families and their true shapes.
 *
 * Shapes are those of the models' config.json files; a family's convention has the names of tensors
 * and their storage. The tokenizer is always synthetic (see rsr_mkmodel_tokenizer.c).
 */
#include <string.h>

#include "rsr_mkmodel.h"

static const struct mkmodel_convention conventions[] = {
    {.name = "bitnet-packed",
     .help = "BitNet, packed weights, scale multiplies (autobitlinear, offline)",
     .model_type = "bitnet",
     .architecture = "BitNetForCausalLM",
     .activation = "relu2",
     .storage = MKMODEL_PACKED_MULTIPLY,
     .float_dtype = "BF16",
     .attn_sub_norm = "self_attn.attn_sub_norm",
     .ffn_sub_norm = "mlp.ffn_sub_norm",
     .quantization = "{\"quant_method\": \"bitnet\", \"linear_class\": \"autobitlinear\","
                     " \"quantization_mode\": \"offline\"}"},
    {.name = "bitnet-online",
     .help = "BitNet, bf16 masters quantised when loaded (autobitlinear, online)",
     .model_type = "bitnet",
     .architecture = "BitNetForCausalLM",
     .activation = "relu2",
     .storage = MKMODEL_MASTERS,
     .float_dtype = "BF16",
     .attn_sub_norm = "self_attn.attn_sub_norm",
     .ffn_sub_norm = "mlp.ffn_sub_norm",
     .quantization = "{\"quant_method\": \"bitnet\", \"linear_class\": \"autobitlinear\","
                     " \"quantization_mode\": \"online\"}"},
    {.name = "llama-packed",
     .help = "Llama without sub-norms, packed weights, scale divides (bitlinear)",
     .model_type = "llama",
     .architecture = "LlamaForCausalLM",
     .activation = "silu",
     .storage = MKMODEL_PACKED_DIVIDE,
     .float_dtype = "BF16",
     .quantization = "{\"quant_method\": \"bitnet\", \"modules_to_not_convert\": null}"},
    {.name = "1bitllm-latent",
     .help = "1bitLLM's own BitNet, f16 masters, no quantization_config",
     .model_type = "llama",
     .architecture = "BitnetForCausalLM",
     .activation = "silu",
     .storage = MKMODEL_MASTERS,
     .float_dtype = "F16",
     .attn_sub_norm = "self_attn.inner_attn_ln",
     .ffn_sub_norm = "mlp.ffn_layernorm",
     .extra = "{\"weight_bits\": 1, \"input_bits\": 8}"},
    {.name = "trilm-f16",
     .help = "TriLM: Llama tensors in f16 that are already ternary times a scale",
     .model_type = "llama",
     .architecture = "LlamaForCausalLM",
     .activation = "silu",
     .storage = MKMODEL_SCALED,
     .float_dtype = "F16"},
    {.name = "qwen3.5-f16",
     .help = "Qwen3.5's text model in f16, ternary times a scale, embedding and head too",
     .model_type = "qwen3_5_text",
     .architecture = "Qwen3_5ForCausalLM",
     .activation = "silu",
     .storage = MKMODEL_SCALED,
     .float_dtype = "F16",
     .extra = "{\"partial_rotary_factor\": 0.25, \"linear_conv_kernel_dim\": 4}",
     .has_deltas = true},
};

static const struct mkmodel_preset presets[] = {
    {"tiny", "two small blocks, for tests", "bitnet-packed", 2, 64, 176, 4, 2, 16, 512, 256, true,
     10000.0, 1e-5, 0, 0, 0},
    {"bitnet-2b-4t", "microsoft/bitnet-b1.58-2B-4T", "bitnet-packed", 30, 2560, 6912, 20, 5, 128,
     128256, 4096, true, 500000.0, 1e-5, 0, 0, 0},
    {"bitnet-xl", "1bitLLM/bitnet_b1_58-xl", "1bitllm-latent", 24, 2048, 5460, 32, 32, 64, 32002,
     2048, true, 10000.0, 1e-5, 0, 0, 0},
    {"llama3-8b", "HF1BitLLM/Llama3-8B-1.58-100B-tokens", "llama-packed", 32, 4096, 14336, 32, 8,
     128, 128256, 8192, false, 500000.0, 1e-5, 0, 0, 0},
    {"falcon3-3b", "tiiuae/Falcon3-3B-Instruct-1.58bit", "llama-packed", 22, 3072, 9216, 12, 4, 256,
     131072, 32768, false, 1000042.0, 1e-6, 0, 0, 0},
    {"falcon3-10b", "tiiuae/Falcon3-10B-Instruct-1.58bit", "llama-packed", 40, 3072, 23040, 12, 4,
     256, 131072, 32768, false, 1000042.0, 1e-6, 0, 0, 0},
    /* From the Spectra paper's table of the 1.1B model, not from a config.json. */
    {"trilm-1b", "SpectraSuite/TriLM_1.1B", "trilm-f16", 24, 1792, 5120, 28, 28, 64, 50688, 2048,
     false, 10000.0, 1e-5, 0, 0, 0},
    /* prism-ml's models have the shapes of Qwen3.5. */
    {"bonsai2-2b", "Ternary Bonsai 2 of 2B parameters", "qwen3.5-f16", 24, 2048, 6144, 8, 2, 256,
     248320, 262144, true, 1e7, 1e-6, 16, 16, 128},
    {"bonsai2-4b", "Ternary Bonsai 2 of 4B parameters", "qwen3.5-f16", 32, 2560, 9216, 16, 4, 256,
     248320, 262144, true, 1e7, 1e-6, 16, 32, 128},
    {"bonsai2-9b", "Ternary Bonsai 2 of 9B parameters", "qwen3.5-f16", 32, 4096, 12288, 16, 4, 256,
     248320, 262144, false, 1e7, 1e-6, 16, 32, 128},
    {"bonsai2-27b", "Ternary Bonsai 2 of 27B parameters", "qwen3.5-f16", 64, 5120, 17408, 24, 4,
     256, 248320, 262144, false, 1e7, 1e-6, 16, 48, 128},
};

const struct mkmodel_convention *mkmodel_convention(uint32_t i) {
    return i < sizeof conventions / sizeof *conventions ? &conventions[i] : NULL;
}

const struct mkmodel_preset *mkmodel_preset(uint32_t i) {
    return i < sizeof presets / sizeof *presets ? &presets[i] : NULL;
}

const struct mkmodel_convention *mkmodel_find_convention(const char *name) {
    for (uint32_t i = 0; mkmodel_convention(i); i++)
        if (strcmp(conventions[i].name, name) == 0)
            return &conventions[i];
    return NULL;
}

const struct mkmodel_preset *mkmodel_find_preset(const char *name) {
    for (uint32_t i = 0; mkmodel_preset(i); i++)
        if (strcmp(presets[i].name, name) == 0)
            return &presets[i];
    return NULL;
}
