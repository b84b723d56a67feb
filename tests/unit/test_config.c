/* test_config.c - config.json and generation_config.json: defaults, conventions, every refusal.
 *
 * Cases are patches: the fields of a small object laid over a good configuration; null removes one.
 */
#include "reader_check.h"

#include <jansson.h>

#include "reader/reader.h"

static const char BITNET[] =
    "{\"model_type\":\"bitnet\",\"hidden_size\":2560,\"num_hidden_layers\":30,"
    "\"num_attention_heads\":20,\"num_key_value_heads\":5,\"intermediate_size\":6912,"
    "\"vocab_size\":128256,\"max_position_embeddings\":4096,\"rms_norm_eps\":1e-05,"
    "\"rope_theta\":500000.0,\"hidden_act\":\"relu2\",\"tie_word_embeddings\":true,"
    "\"bos_token_id\":128000,\"eos_token_id\":128001,\"torch_dtype\":\"bfloat16\","
    "\"quantization_config\":{\"quant_method\":\"bitnet\",\"linear_class\":\"autobitlinear\","
    "\"quantization_mode\":\"offline\",\"modules_to_not_convert\":[\"lm_head\",\"x\"]}}";

static const char LLAMA[] =
    "{\"model_type\":\"llama\",\"hidden_size\":2048,\"num_hidden_layers\":18,"
    "\"num_attention_heads\":8,\"intermediate_size\":8192,\"vocab_size\":131072,"
    "\"max_position_embeddings\":32768,\"quantization_config\":{\"quant_method\":\"bitnet\"}}";

static const char QWEN3_5[] =
    "{\"model_type\":\"qwen3_5_text\",\"hidden_size\":2048,\"num_hidden_layers\":6,"
    "\"num_attention_heads\":8,\"num_key_value_heads\":2,\"intermediate_size\":6144,"
    "\"vocab_size\":248320,\"max_position_embeddings\":32768}";

static char *patched(const char *base, const char *patch) {
    json_t *root = json_loads(base, 0, NULL);
    json_t *changes = json_loads(patch, 0, NULL);
    if (root == NULL || changes == NULL || json_object_update(root, changes) != 0) {
        fprintf(stderr, "bad case: %s\n", patch);
        abort();
    }
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    json_decref(changes);
    return text;
}

static enum rsrc_status parse(struct reader_test *test, const char *base, const char *patch,
                              struct rsr_config *out) {
    char *text = patched(base, patch);
    uint8_t *copy = exact_copy(text, strlen(text));
    reader_test_begin(test);
    enum rsrc_status status =
        rsrc_parse_config(test->diag, &test->arena, "config.json", copy, strlen(text), out);
    free(copy);
    free(text);
    return status;
}

static void test_bitnet(void) {
    struct reader_test test;
    struct rsr_config config;
    CHECK(parse(&test, BITNET, "{}", &config) == RSRC_OK);
    CHECK_STR(reader_test_text(&test), "");
    CHECK_STR(config.file, "config.json");
    CHECK_STR(config.model_type, "bitnet");
    CHECK_INT(config.hyper.hidden, 2560);
    CHECK_INT(config.hyper.n_layers, 30);
    CHECK_INT(config.hyper.n_heads, 20);
    CHECK_INT(config.hyper.n_kv_heads, 5);
    CHECK_INT(config.hyper.head_dim, 128);
    CHECK_INT(config.hyper.ffn, 6912);
    CHECK_INT(config.hyper.vocab, 128256);
    CHECK_INT(config.hyper.context, 4096);
    CHECK_INT(config.hyper.activation, RSR_ACTIVATION_RELU2);
    CHECK_INT(config.hyper.tied_head, 1);
    CHECK(config.hyper.norm_eps == 1e-5f);
    CHECK(config.hyper.rope_theta == 500000.0f);
    CHECK_INT(config.scale_rule, RSR_SCALE_MULTIPLY);
    CHECK_STR(config.scale_reason, "linear_class \"autobitlinear\", quantization_mode \"offline\"");
    CHECK_INT(config.n_not_converted, 2);
    CHECK_STR(config.not_converted[1], "x");
    CHECK_INT(config.bos_token, 128000);
    CHECK_INT(config.n_eos_tokens, 1);
    CHECK_INT(config.eos_tokens[0], 128001);
    reader_test_end(&test);
}

static void test_llama_defaults(void) {
    struct reader_test test;
    struct rsr_config config;
    CHECK(parse(&test, LLAMA, "{}", &config) == RSRC_OK);
    CHECK_STR(reader_test_text(&test), "");
    CHECK_STR(config.model_type, "llama");
    CHECK_INT(config.hyper.n_kv_heads, 8);
    CHECK_INT(config.hyper.head_dim, 256);
    CHECK_INT(config.hyper.activation, RSR_ACTIVATION_SILU);
    CHECK_INT(config.hyper.tied_head, 0);
    CHECK(config.hyper.norm_eps == 1e-6f);
    CHECK(config.hyper.rope_theta == 10000.0f);
    CHECK_INT(config.scale_rule, RSR_SCALE_DIVIDE);
    CHECK_STR(config.scale_reason, "linear_class \"bitlinear\" (by default), quantization_mode "
                                   "\"offline\" (by default)");
    CHECK_INT(config.n_not_converted, 1);
    CHECK_STR(config.not_converted[0], "lm_head");
    CHECK_INT(config.bos_token, RSR_NO_TOKEN);
    CHECK_INT(config.n_eos_tokens, 0);
    reader_test_end(&test);
}

#define GEMMA                                                                                      \
    "{\"model_type\":\"gemma3_text\",\"hidden_size\":640,\"num_hidden_layers\":3,"                 \
    "\"num_attention_heads\":4,\"num_key_value_heads\":1,\"intermediate_size\":2048,"              \
    "\"vocab_size\":262144,\"max_position_embeddings\":32768,\"sliding_window\":512,"              \
    "\"layer_types\":[\"sliding_attention\",\"full_attention\",\"sliding_attention\"],"            \
    "\"quantization_config\":{\"quant_method\":\"bitnet\"}}"

/* Spellings that must be accepted, each with one number that shows that it was read. */
static void test_accepts(void) {
    static const struct {
        const char *base, *patch;
        size_t offset; /* a uint32_t's in rsr_config */
        uint32_t value;
    } cases[] = {
#define FIELD(name) offsetof(struct rsr_config, name)
        {BITNET,
         "{\"quantization_config\":{\"quant_method\":\"bitnet\",\"linear_class\":\"autobitlinear\","
         "\"quantization_mode\":\"online\"}}",
         FIELD(scale_rule), RSR_SCALE_ONLINE},
        {BITNET,
         "{\"quantization_config\":{\"quant_method\":\"bitnet\",\"linear_class\":"
         "\"bitlinear\",\"modules_to_not_convert\":null}}",
         FIELD(scale_rule), RSR_SCALE_DIVIDE},
        {BITNET, "{\"hidden_act\":\"silu\"}", FIELD(hyper.activation), RSR_ACTIVATION_SILU},
        {BITNET, "{\"eos_token_id\":[128001,128009,128001]}", FIELD(n_eos_tokens), 2},
        {BITNET, "{\"eos_token_id\":null}", FIELD(n_eos_tokens), 0},
        {BITNET, "{\"num_key_value_heads\":null}", FIELD(hyper.n_kv_heads), 20},
        {BITNET, "{\"head_dim\":128}", FIELD(hyper.head_dim), 128},
        {LLAMA, "{\"head_dim\":64}", FIELD(hyper.head_dim), 64},
        {BITNET, "{\"tie_word_embeddings\":null}", FIELD(hyper.tied_head), 0},
        {BITNET, "{\"attention_bias\":false,\"mlp_bias\":false,\"rope_scaling\":null}",
         FIELD(hyper.tied_head), 1},
        {BITNET, "{\"rope_scaling\":{\"type\":\"default\"}}", FIELD(hyper.tied_head), 1},
        {BITNET, "{\"sliding_window\":4096,\"use_sliding_window\":false}", FIELD(hyper.tied_head),
         1},
        {BITNET, "{\"sliding_window\":null,\"num_experts\":0,\"pretraining_tp\":1}",
         FIELD(hyper.tied_head), 1},
        {BITNET, "{\"layer_types\":[\"full_attention\",\"full_attention\"]}",
         FIELD(hyper.tied_head), 1},
        {BITNET, "{\"quantization_config\":null}", FIELD(scale_rule), RSR_SCALE_VALUES},
        {LLAMA, "{\"quantization_config\":null}", FIELD(input), RSR_INPUT_F32},
        {LLAMA,
         "{\"architectures\":[\"BitnetForCausalLM\"],\"weight_bits\":1,\"input_bits\":8,"
         "\"quantization_config\":null}",
         FIELD(scale_rule), RSR_SCALE_ONLINE},
        {LLAMA, "{\"model_type\":\"qwen3\"}", FIELD(hyper.head_dim), 128},
        {LLAMA, "{\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}}", FIELD(ropes[0].kind),
         RSR_ROPE_LINEAR},
        {LLAMA,
         "{\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,"
         "\"high_freq_factor\":4,\"original_max_position_embeddings\":8192}}",
         FIELD(ropes[0].original_context), 8192},
        {LLAMA,
         "{\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4,"
         "\"original_max_position_embeddings\":4096}}",
         FIELD(ropes[0].kind), RSR_ROPE_YARN},
        {LLAMA,
         "{\"model_type\":\"qwen3\",\"is_causal\":true,\"use_sliding_window\":true,"
         "\"sliding_window\":null}",
         FIELD(window), 0},
        {LLAMA,
         "{\"architectures\":[\"BitnetForCausalLM\"],\"weight_bits\":1,\"input_bits\":8,"
         "\"quantization_config\":null}",
         FIELD(n_not_converted), 1},
        {GEMMA, "{}", FIELD(window), 512},
        {GEMMA, "{}", FIELD(hyper.tied_head), 1},
        {GEMMA, "{}", FIELD(hyper.activation), RSR_ACTIVATION_GELU_TANH},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct reader_test test;
        struct rsr_config config;
        uint32_t value = 12345;
        if (parse(&test, cases[i].base, cases[i].patch, &config) == RSRC_OK) {
            memcpy(&value, (const char *)&config + cases[i].offset, sizeof(value));
        }
        CHECK_STR(reader_test_text(&test), "");
        CHECK_INT(value, cases[i].value);
        reader_test_end(&test);
    }
}

static void test_rope_parameters(void) {
    static const struct {
        const char *patch;
        float theta;
    } cases[] = {
        {"{\"rope_theta\":1000042}", 1000042.0f},
        {"{\"rope_theta\":null}", 500000.0f}, /* the architecture's */
        {"{\"rope_theta\":null,\"rope_parameters\":{\"rope_theta\":7e5,\"rope_type\":\"default\"}}",
         7e5f},
        {"{\"rope_parameters\":{\"rope_theta\":5e5,\"rope_type\":\"default\","
         "\"partial_rotary_factor\":1.0}}",
         5e5f},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct reader_test test;
        struct rsr_config config;
        CHECK(parse(&test, BITNET, cases[i].patch, &config) == RSRC_OK);
        CHECK_STR(reader_test_text(&test), "");
        CHECK(config.hyper.rope_theta == cases[i].theta);
        reader_test_end(&test);
    }
}

/* RoPE's bases for blocks that see all keys and for blocks with a window, in the spellings of
 * transformers 4 and 5. */
static void test_local_rotation(void) {
    static const struct {
        const char *patch;
        double theta, local;
        enum rsr_rope_kind kind;
    } cases[] = {
        {"{}", 1e6, 1e4, RSR_ROPE_PLAIN},
        {"{\"rope_theta\":5e5,\"rope_local_base_freq\":2e4}", 5e5, 2e4, RSR_ROPE_PLAIN},
        {"{\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":8}}", 1e6, 1e4, RSR_ROPE_LINEAR},
        {"{\"rope_parameters\":{\"sliding_attention\":{\"rope_type\":\"default\",\"rope_theta\":"
         "3e4},"
         "\"full_attention\":{\"rope_type\":\"linear\",\"factor\":8,\"rope_theta\":7e5}}}",
         7e5, 3e4, RSR_ROPE_LINEAR},
        {"{\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"default\"}}}", 1e6, 1e4,
         RSR_ROPE_PLAIN},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct reader_test test;
        struct rsr_config config;
        CHECK(parse(&test, GEMMA, cases[i].patch, &config) == RSRC_OK);
        CHECK_STR(reader_test_text(&test), "");
        CHECK(config.ropes[0].theta == cases[i].theta);
        CHECK(config.ropes[1].theta == cases[i].local);
        CHECK_INT(config.ropes[0].kind, cases[i].kind);
        CHECK_INT(config.ropes[1].kind, RSR_ROPE_PLAIN);
        reader_test_end(&test);
    }
}

#define QUANTIZATION(fields) "{\"quantization_config\":{" fields "}}"
#define METHOD "\"quant_method\":\"bitnet\","
#define LLAMA3(low, high)                                                                          \
    "{\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":" low            \
    ",\"high_freq_factor\":" high ",\"original_max_position_embeddings\":8192}}"

static const struct {
    const char *base, *patch, *slug, *names; /* names: what the message must mention */
} REFUSED[] = {
    {BITNET, "{\"model_type\":null}", "config-missing", "model_type"},
    {BITNET, "{\"model_type\":7}", "config-field", "model_type"},
    {BITNET, "{\"rope_theta\":\"x\"}", "config-field", "rope_theta"},
    {BITNET, QUANTIZATION("\"quant_method\":{}"), "config-field", "quant_method"},
    {BITNET, "{\"model_type\":\"qwen2\"}", "config-model-type", "qwen2"},
    {BITNET, "{\"model_type\":\"hgrn_bit\"}", "config-model-type", "recurrence"},
    {BITNET, "{\"hidden_size\":null}", "config-missing", "hidden_size"},
    {BITNET, "{\"num_hidden_layers\":null}", "config-missing", "num_hidden_layers"},
    {BITNET, "{\"num_attention_heads\":null}", "config-missing", "num_attention_heads"},
    {BITNET, "{\"intermediate_size\":null}", "config-missing", "intermediate_size"},
    {BITNET, "{\"vocab_size\":null}", "config-missing", "vocab_size"},
    {BITNET, "{\"max_position_embeddings\":null}", "config-missing", "max_position_embeddings"},
    {BITNET, "{\"hidden_size\":0}", "config-field", "hidden_size"},
    {BITNET, "{\"hidden_size\":65537}", "config-field", "hidden_size"},
    {BITNET, "{\"hidden_size\":-2560}", "config-field", "hidden_size"},
    {BITNET, "{\"hidden_size\":4294969856}", "config-field", "hidden_size"},
    {BITNET, "{\"hidden_size\":2560.0}", "config-field", "hidden_size"},
    {BITNET, "{\"hidden_size\":\"2560\"}", "config-field", "hidden_size"},
    {BITNET, "{\"num_hidden_layers\":1025}", "config-field", "num_hidden_layers"},
    {BITNET, "{\"num_attention_heads\":1025}", "config-field", "num_attention_heads"},
    {BITNET, "{\"intermediate_size\":262145}", "config-field", "intermediate_size"},
    {BITNET, "{\"vocab_size\":4194305}", "config-field", "vocab_size"},
    {BITNET, "{\"max_position_embeddings\":16777217}", "config-field", "max_position_embeddings"},
    {BITNET, "{\"num_attention_heads\":21}", "config-heads", "2560"},
    {BITNET, "{\"head_dim\":64}", "config-heads", "64"},
    {LLAMA, "{\"head_dim\":1025}", "config-field", "head_dim"},
    {LLAMA, "{\"head_dim\":63}", "config-heads", "63"},
    {LLAMA, "{\"num_attention_heads\":1024,\"head_dim\":1024}", "config-heads", "1024"},
    {LLAMA, "{\"num_attention_heads\":1}", "config-heads", "2048"},
    {BITNET, "{\"num_key_value_heads\":3}", "config-heads", "num_key_value_heads 3"},
    {BITNET, "{\"hidden_act\":\"gelu\"}", "config-activation", "gelu"},
    {BITNET, "{\"hidden_act\":[]}", "config-field", "hidden_act"},
    {BITNET, "{\"rms_norm_eps\":0}", "config-field", "rms_norm_eps"},
    {BITNET, "{\"rms_norm_eps\":1e-60}", "config-field", "rms_norm_eps"},
    {BITNET, "{\"rms_norm_eps\":2}", "config-field", "rms_norm_eps"},
    {BITNET, "{\"rms_norm_eps\":\"1e-5\"}", "config-field", "rms_norm_eps"},
    {BITNET, "{\"rope_theta\":0}", "config-field", "rope_theta"},
    {BITNET, "{\"rope_theta\":-1}", "config-field", "rope_theta"},
    {BITNET, "{\"rope_theta\":1e13}", "config-field", "rope_theta"},
    {BITNET, "{\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2}}", "config-rope", "dynamic"},
    {BITNET, "{\"rope_scaling\":{\"type\":\"linear\"}}", "config-rope", "factor"},
    {BITNET, "{\"rope_scaling\":{\"type\":\"linear\",\"factor\":-2}}", "config-rope", "factor"},
    {BITNET, "{\"rope_scaling\":{\"type\":\"linear\",\"factor\":2,\"beta_fast\":1}}", "config-rope",
     "beta_fast"},
    {BITNET, LLAMA3("4", "1"), "config-rope", "low_freq_factor"},
    {BITNET, "{\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4}}", "config-rope",
     "original_max_position_embeddings"},
    {LLAMA, "{\"query_pre_attn_scalar\":64}", "config-unsupported", "query_pre_attn_scalar"},
    {GEMMA, "{\"query_pre_attn_scalar\":-64}", "config-field", "query_pre_attn_scalar"},
    {GEMMA, "{\"use_bidirectional_attention\":true}", "config-unsupported", "later tokens"},
    {LLAMA, "{\"is_causal\":false}", "config-unsupported", "later tokens"},
    {LLAMA, "{\"per_layer_config\":{\"1\":{\"rms_norm_eps\":0.1}}}", "config-unsupported",
     "per_layer_config"},
    {LLAMA, "{\"configuration_files\":[\"config.4.0.0.json\"]}", "config-unsupported",
     "configuration_files"},
    {LLAMA, "{\"transformers_weights\":\"other.safetensors\"}", "config-unsupported",
     "transformers_weights"},
    {LLAMA, "{\"model_type\":\"qwen3\",\"use_sliding_window\":true}", "config-unsupported",
     "sliding_window"},
    {GEMMA, "{\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":8}}", "config-rope",
     "which layers"},
    {LLAMA, "{\"rope_parameters\":{\"rope_theta\":1e6},\"rope_scaling\":{\"type\":\"default\"}}",
     "config-rope", "both"},
    {LLAMA, "{\"rope_scaling\":{\"type\":\"linear\",\"factor\":0.5}}", "config-rope", "below 1"},
    {LLAMA,
     "{\"original_max_position_embeddings\":64,\"rope_scaling\":{\"rope_type\":\"yarn\","
     "\"factor\":4,\"original_max_position_embeddings\":32}}",
     "config-rope", "original_max_position_embeddings"},
    {GEMMA, "{\"layer_types\":[\"full_attention\",\"full_attention\"]}", "config-field",
     "2 entries"},
    {GEMMA, "{\"layer_types\":[\"sliding_attention\",\"full_attention\",\"chunked_attention\"]}",
     "config-unsupported", "chunked_attention"},
    {GEMMA, "{\"sliding_window\":null}", "config-missing", "sliding_window"},
    {GEMMA, "{\"rope_local_base_freq\":0.5}", "config-field", "rope_local_base_freq"},
    {LLAMA,
     "{\"architectures\":[\"BitnetForCausalLM\"],\"weight_bits\":2,\"input_bits\":8,"
     "\"quantization_config\":null}",
     "config-quantization", "weight_bits 2"},
    {BITNET, "{\"rope_scaling\":{\"rope_type\":\"default\",\"type\":\"yarn\"}}", "config-rope",
     "rope_scaling"},
    {BITNET, "{\"rope_scaling\":{\"factor\":2}}", "config-rope", "factor"},
    {BITNET, "{\"rope_scaling\":\"linear\"}", "config-field", "rope_scaling"},
    {BITNET, "{\"rope_parameters\":{\"rope_theta\":1e4,\"rope_type\":\"default\"}}", "config-rope",
     "10000"},
    {BITNET, "{\"rope_parameters\":{\"full_attention\":{\"rope_theta\":1e4}}}", "config-rope",
     "full_attention"},
    {BITNET, "{\"rope_parameters\":{\"partial_rotary_factor\":0.5}}", "config-rope", "partial"},
    {BITNET, "{\"tie_word_embeddings\":1}", "config-field", "tie_word_embeddings"},
    {BITNET, "{\"sliding_window\":4096}", "config-unsupported", "sliding_window"},
    {BITNET, "{\"sliding_window\":4096,\"use_sliding_window\":true}", "config-unsupported",
     "sliding_window"},
    {BITNET, "{\"layer_types\":[\"full_attention\",\"sliding_attention\"]}", "config-unsupported",
     "sliding_attention"},
    {BITNET, "{\"layer_types\":\"full_attention\"}", "config-field", "layer_types"},
    {BITNET, "{\"quantization_config\":[]}", "config-field", "quantization_config"},
    {BITNET, QUANTIZATION("\"quant_method\":\"gptq\""), "config-quantization", "gptq"},
    {BITNET, QUANTIZATION("\"linear_class\":\"bitlinear\""), "config-quantization", "(none)"},
    {BITNET, QUANTIZATION(METHOD "\"linear_class\":\"turbolinear\""), "config-linear-class",
     "turbolinear"},
    {BITNET, QUANTIZATION(METHOD "\"quantization_mode\":\"online\""), "config-linear-class",
     "online"},
    {BITNET,
     QUANTIZATION(METHOD "\"linear_class\":\"autobitlinear\",\"quantization_mode\":\"later\""),
     "config-linear-class", "later"},
    {BITNET, QUANTIZATION(METHOD "\"linear_class\":5"), "config-field", "linear_class"},
    {BITNET, QUANTIZATION(METHOD "\"use_rms_norm\":true,\"rms_norm_eps\":-1"), "config-field",
     "rms_norm_eps"},
    {BITNET, QUANTIZATION(METHOD "\"modules_to_not_convert\":[\"layers.[0-3]\"]"),
     "config-unsupported", "[0-3]"},
    {BITNET, QUANTIZATION(METHOD "\"use_rms_norm\":\"no\""), "config-field", "use_rms_norm"},
    {BITNET, QUANTIZATION(METHOD "\"modules_to_not_convert\":\"lm_head\""), "config-field",
     "modules_to_not_convert"},
    {BITNET, QUANTIZATION(METHOD "\"modules_to_not_convert\":[1]"), "config-field",
     "modules_to_not_convert"},
    {QWEN3_5, "{\"layer_types\":[\"linear_attention\"]}", "config-field", "6 names"},
    {QWEN3_5,
     "{\"num_hidden_layers\":2,\"layer_types\":[\"linear_attention\",\"sliding_attention\"]}",
     "config-unsupported", "sliding_attention"},
    {QWEN3_5, "{\"num_hidden_layers\":1,\"layer_types\":[7]}", "config-unsupported", "'?'"},
    {QWEN3_5, "{\"full_attention_interval\":0}", "config-field", "full_attention_interval"},
    {QWEN3_5, "{\"linear_num_value_heads\":24}", "config-heads", "linear_num_value_heads 24"},
    {QWEN3_5, "{\"linear_num_key_heads\":0}", "config-field", "linear_num_key_heads"},
    {QWEN3_5, "{\"linear_key_head_dim\":1025}", "config-field", "linear_key_head_dim"},
    {QWEN3_5, "{\"linear_conv_kernel_dim\":5}", "config-unsupported", "convolution of 5 tokens"},
    {QWEN3_5, "{\"hidden_act\":\"relu2\"}", "config-activation", "convolution"},
    {QWEN3_5, "{\"sliding_window\":64}", "config-unsupported", "sliding_window"},
    {QWEN3_5, "{\"attn_output_gate\":false}", "config-unsupported", "without gates"},
    {QWEN3_5, "{\"partial_rotary_factor\":0.012}", "config-rope", "rotates 3 of"},
    {QWEN3_5, "{\"partial_rotary_factor\":1.5}", "config-rope", "outside (0, 1]"},
    {QWEN3_5,
     "{\"partial_rotary_factor\":0.5,\"rope_parameters\":{\"partial_rotary_factor\":0.25}}",
     "config-rope", "0.25 in"},
    {QWEN3_5, "{\"rope_parameters\":{\"rope_theta\":1e6,\"mrope_selection\":[1]}}", "config-rope",
     "mrope_selection"},
    {LLAMA, "{\"rope_parameters\":{\"rope_theta\":1e6,\"mrope_section\":[1]}}", "config-rope",
     "mrope_section"},
    {QWEN3_5, "{\"num_experts\":8}", "config-unsupported", "num_experts"},
    {QWEN3_5, "{\"model_type\":\"qwen3_next\"}", "config-model-type", "mixtures of experts"},
    {QWEN3_5, "{\"model_type\":\"qwen3_5\"}", "config-missing", "text_config"},
    {QWEN3_5, "{\"model_type\":\"qwen3_5\",\"text_config\":{\"tie_word_embeddings\":true}}",
     "config-field", "tie_word_embeddings"},
    {BITNET, "{\"bos_token_id\":128256}", "config-token", "bos_token_id"},
    {BITNET, "{\"eos_token_id\":128256}", "config-token", "eos_token_id"},
    {BITNET, "{\"eos_token_id\":[128001,-1]}", "config-token", "-1"},
    {BITNET, "{\"eos_token_id\":[\"a\"]}", "config-field", "eos_token_id"},
    {BITNET, "{\"eos_token_id\":{}}", "config-field", "eos_token_id"},
    {BITNET, "{\"eos_token_id\":[1,2,3,4,5,6,7,8,9]}", "config-token", "8"},
};

static void test_qwen3_5(void) {
    struct reader_test test;
    struct rsr_config config;
    CHECK(parse(&test, QWEN3_5, "{}", &config) == RSRC_OK);
    CHECK_STR(reader_test_text(&test), "");
    CHECK_INT(config.hyper.head_dim, 256);
    CHECK_INT(config.hyper.rotary_dim, 64);
    CHECK_INT(config.hyper.delta_layers, 5);
    CHECK_INT(config.has_delta[2], 1);
    CHECK_INT(config.has_delta[3], 0);
    CHECK_INT(config.hyper.delta_key_heads, 16);
    CHECK_INT(config.hyper.delta_value_heads, 32);
    CHECK_INT(config.hyper.delta_key_dim, 128);
    CHECK_INT(config.hyper.delta_value_dim, 128);
    reader_test_end(&test);

    /* The settings of the text model come before those of the whole one. */
    CHECK(parse(&test, QWEN3_5,
                "{\"model_type\":\"qwen3_5\",\"text_config\":{\"model_type\":\"qwen3_5_text\","
                "\"full_attention_interval\":2,\"vocab_size\":151936,"
                "\"rope_parameters\":{\"rope_theta\":1e7,\"partial_rotary_factor\":0.5,"
                "\"mrope_section\":[11,11,10],\"mrope_interleaved\":true}}}",
                &config) == RSRC_OK);
    CHECK_STR(reader_test_text(&test), "");
    CHECK_STR(config.model_type, "qwen3_5");
    CHECK_INT(config.hyper.vocab, 151936);
    CHECK_INT(config.hyper.hidden, 2048);
    CHECK_INT(config.hyper.rotary_dim, 128);
    CHECK_INT(config.hyper.delta_layers, 3);
    CHECK(config.hyper.rope_theta == 1e7f);
    reader_test_end(&test);
}

static void check_refused(const char *base, const char *patch, const char *slug,
                          const char *names) {
    struct reader_test test;
    struct rsr_config config = {.n_eos_tokens = 77};
    CHECK(parse(&test, base, patch, &config) == RSRC_FAILED);
    check_one_error(&test, slug, patch);
    CHECK(strstr(reader_test_text(&test), names) != NULL);
    CHECK_INT(config.n_eos_tokens, 77);
    reader_test_end(&test);
}

/* One value that is not neutral for each field of the reader's table. */
static const char *const NOT_NEUTRAL[][2] = {
    {"attention_bias", "true"},
    {"qkv_bias", "true"},
    {"mlp_bias", "true"},
    {"use_bias", "true"},
    {"bias", "1"},
    {"partial_rotary_factor", "0.25"},
    {"pretraining_tp", "2"},
    {"num_experts", "8"},
    {"num_local_experts", "8"},
    {"n_routed_experts", "64"},
    {"attn_logit_softcapping", "50.0"},
    {"final_logit_softcapping", "30.0"},
    {"query_pre_attn_scalar", "256"},
    {"attention_multiplier", "0.0078125"},
    {"embedding_multiplier", "12.0"},
    {"residual_multiplier", "0.22"},
    {"logits_scaling", "8.0"},
    {"logit_scale", "0.0625"},
    {"use_qk_norm", "true"},
    {"qk_norm", "true"},
    {"alibi", "true"},
    {"parallel_attn", "true"},
    {"add_cross_attention", "true"},
    {"is_encoder_decoder", "true"},
};

static void test_refuses(void) {
    for (size_t i = 0; i < sizeof(REFUSED) / sizeof(REFUSED[0]); i++) {
        check_refused(REFUSED[i].base, REFUSED[i].patch, REFUSED[i].slug, REFUSED[i].names);
    }
    for (size_t i = 0; i < sizeof(NOT_NEUTRAL) / sizeof(NOT_NEUTRAL[0]); i++) {
        char patch[128], quoted[128];
        snprintf(patch, sizeof(patch), "{\"%s\":%s}", NOT_NEUTRAL[i][0], NOT_NEUTRAL[i][1]);
        snprintf(quoted, sizeof(quoted), "\"%s\"", NOT_NEUTRAL[i][0]);
        check_refused(BITNET, patch, "config-unsupported", quoted);
    }
}

/* One run shows every problem of a file. */
static void test_reports_all(void) {
    struct reader_test test;
    struct rsr_config config;
    CHECK(parse(&test, BITNET, "{\"hidden_size\":null,\"hidden_act\":\"gelu\",\"mlp_bias\":true}",
                &config) == RSRC_FAILED);
    CHECK_INT(rsrc_diag_error_count(test.diag), 3);
    reader_test_end(&test);
}

static void test_refuses_text(void) {
    static const struct {
        const char *text, *slug, *place;
    } cases[] = {
        {"", "config-syntax", "config.json:1:1: "},
        {"[]", "config-field", "config.json:1:1: "},
        {"{\n\"a\": 1,\n\"b\" 2}", "config-syntax", "config.json:3:5: "},
        {"{\"a\":1,\"a\":2}", "config-duplicate", "config.json:1:"},
        {"{\"rope_theta\": NaN}", "config-syntax", "config.json:1:"},
        {"{\"a\":\"\\u0000\"}", "config-syntax", "config.json:1:"},
        {"{} x", "config-syntax", "config.json:1:"},
        {"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\n", "config-depth",
         "config.json:1:65: "},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct reader_test test;
        struct rsr_config config;
        uint8_t *copy = exact_copy(cases[i].text, strlen(cases[i].text));
        reader_test_begin(&test);
        CHECK(rsrc_parse_config(test.diag, &test.arena, "config.json", copy, strlen(cases[i].text),
                                &config) == RSRC_FAILED);
        check_one_error(&test, cases[i].slug, cases[i].text);
        if (strstr(reader_test_text(&test), cases[i].place) == NULL) {
            fprintf(stderr, "%s", reader_test_text(&test));
        }
        CHECK(strstr(reader_test_text(&test), cases[i].place) != NULL);
        free(copy);
        reader_test_end(&test);
    }
}

/* Sampling settings. A file that says something gets transformers' defaults for the rest, a file
 * that says nothing gives none, and a setting that cannot be followed gives a warning. */
static void test_sampling(void) {
    static const struct {
        const char *text;
        bool has_sampling;
        struct rsr_sampling_advice sampling;
        const char *warning; /* words in the warning; NULL: there is none */
    } cases[] = {
        {"{}", false, {0, 0, 0, 0, 0}, NULL},
        {"{\"eos_token_id\":5,\"temperature\":null}", false, {0, 0, 0, 0, 0}, NULL},
        {"{\"do_sample\":true}", true, {1, 50, 1, 0, 1}, NULL},
        {"{\"do_sample\":false}", true, {0, 0, 1, 0, 1}, NULL},
        {"{\"do_sample\":false,\"temperature\":0.5,\"repetition_penalty\":1.5}",
         true,
         {0, 0, 1, 0, 1.5f},
         NULL},
        {"{\"do_sample\":true,\"temperature\":0.5,\"top_k\":20,\"top_p\":0.75,\"min_p\":0.25,"
         "\"repetition_penalty\":1.25}",
         true,
         {0.5f, 20, 0.75f, 0.25f, 1.25f},
         NULL},
        {"{\"temperature\":0.5}", true, {0.5f, 50, 1, 0, 1}, NULL},
        {"{\"top_k\":0,\"top_p\":1}", true, {1, 0, 1, 0, 1}, NULL},
        {"{\"do_sample\":1}", false, {0, 0, 0, 0, 0}, "\"do_sample\" is not true or false"},
        {"{\"temperature\":-1}",
         false,
         {0, 0, 0, 0, 0},
         "\"temperature\" is not a number from 0 to 1e+06"},
        {"{\"temperature\":\"hot\"}", false, {0, 0, 0, 0, 0}, "\"temperature\" is not a number"},
        {"{\"top_k\":2.5}", false, {0, 0, 0, 0, 0}, "\"top_k\" is not an integer from 0 to 1e+09"},
        {"{\"top_k\":-1}", false, {0, 0, 0, 0, 0}, "\"top_k\" is not an integer"},
        {"{\"top_p\":0}", false, {0, 0, 0, 0, 0}, "\"top_p\" is not a number from 1e-09 to 1"},
        {"{\"min_p\":1.5}", false, {0, 0, 0, 0, 0}, "\"min_p\" is not a number from 0 to 1"},
        {"{\"repetition_penalty\":0}",
         false,
         {0, 0, 0, 0, 0},
         "\"repetition_penalty\" is not a number"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct reader_test test;
        struct rsr_config config;
        CHECK(parse(&test, BITNET, "{}", &config) == RSRC_OK);
        CHECK(rsrc_parse_generation_config(test.diag, &test.arena, "generation_config.json",
                                           (const uint8_t *)cases[i].text, strlen(cases[i].text),
                                           &config) == RSRC_OK);
        const struct rsr_sampling_advice *got = &config.sampling, *want = &cases[i].sampling;
        CHECK_INT(config.has_sampling, cases[i].has_sampling);
        CHECK(got->temperature == want->temperature && got->top_k == want->top_k);
        CHECK(got->top_p == want->top_p && got->min_p == want->min_p);
        CHECK(got->repeat_penalty == want->repeat_penalty);
        const char *said = reader_test_text(&test);
        if (cases[i].warning == NULL)
            CHECK_STR(said, "");
        else
            CHECK(strstr(said, cases[i].warning) != NULL &&
                  strstr(said, "[config-sampling]") != NULL);
        reader_test_end(&test);
    }
}

static void test_generation_config(void) {
    static const struct {
        const char *text;
        const char *slug; /* NULL: accepted */
        uint32_t n_eos, last_eos;
    } cases[] = {
        {"{\"eos_token_id\":[128001,128009],\"bos_token_id\":5}", NULL, 2, 128009},
        {"{\"eos_token_id\":128001}", NULL, 1, 128001},
        {"{\"eos_token_id\":128009}", NULL, 1, 128009},
        {"{\"eos_token_id\":null}", NULL, 1, 128001},
        {"{\"temperature\":0.6}", NULL, 1, 128001},
        {"{\"suppress_tokens\":[],\"bad_words_ids\":null,\"sequence_bias\":{}}", NULL, 1, 128001},
        {"{\"suppress_tokens\":[5]}", "config-unsupported", 1, 128001},
        {"{\"begin_suppress_tokens\":[5]}", "config-unsupported", 1, 128001},
        {"{\"bad_words_ids\":[[5]]}", "config-unsupported", 1, 128001},
        {"{\"sequence_bias\":[[[5],-1.0]]}", "config-unsupported", 1, 128001},
        {"{\"forced_bos_token_id\":0}", "config-unsupported", 1, 128001},
        {"{\"forced_eos_token_id\":5}", "config-unsupported", 1, 128001},
        {"{\"eos_token_id\":200000}", "config-token", 1, 128001},
        {"{\"eos_token_id\":", "config-syntax", 1, 128001},
        {"3", "config-syntax", 1, 128001},
        {"[3]", "config-field", 1, 128001},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct reader_test test;
        struct rsr_config config;
        CHECK(parse(&test, BITNET, "{}", &config) == RSRC_OK);
        enum rsrc_status status = rsrc_parse_generation_config(
            test.diag, &test.arena, "generation_config.json", (const uint8_t *)cases[i].text,
            strlen(cases[i].text), &config);
        if (cases[i].slug == NULL) {
            CHECK(status == RSRC_OK);
            CHECK_STR(reader_test_text(&test), "");
        } else {
            CHECK(status == RSRC_FAILED);
            check_one_error(&test, cases[i].slug, cases[i].text);
        }
        CHECK_INT(config.n_eos_tokens, cases[i].n_eos);
        CHECK_INT(config.eos_tokens[config.n_eos_tokens - 1], cases[i].last_eos);
        CHECK_INT(config.bos_token, 128000);
        reader_test_end(&test);
    }
}

int main(void) {
    test_bitnet();
    test_llama_defaults();
    test_accepts();
    test_rope_parameters();
    test_local_rotation();
    test_qwen3_5();
    test_refuses();
    test_reports_all();
    test_refuses_text();
    test_generation_config();
    test_sampling();
    return CHECK_EXIT();
}
