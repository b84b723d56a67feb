/* hf_config.c - config.json and generation_config.json of a Hugging Face checkpoint.
 *
 * Every field that changes what the model computes is either understood or refused by name; fields
 * about training, caching and storage are ignored. Sources: configuration_bitnet.py and
 * configuration_llama.py of transformers for defaults, its bitnet quantizer for the scale rules.
 */
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "base/json.h"
#include "reader/checkpoint.h"
#include "reader/limits.h"
#include "reader/reader.h"

#define SLUG "config"

#define MAX_MODULES 4096u

/* What transformers assumes where the file is silent. The sizes of a model are never assumed. */
static const struct architecture {
    const char *model_type;
    double norm_eps;
    double rope_theta;
    const char *hidden_act;
    bool has_attn_sub_norm; /* which is as wide as the hidden state */
} ARCHITECTURES[] = {
    {"bitnet", 1e-5, 500000.0, "relu2", true},
    {"llama", 1e-6, 10000.0, "silu", false},
};

static const struct {
    const char *name;
    enum rsr_activation activation;
} ACTIVATIONS[] = {
    {"relu2", RSR_ACTIVATION_RELU2},
    {"silu", RSR_ACTIVATION_SILU},
    {"swish", RSR_ACTIVATION_SILU},
};

/* Fields that are harmless at one value only; absent and null are always harmless. */
enum neutral { NEUTRAL_FALSE, NEUTRAL_ZERO, NEUTRAL_ONE, NEUTRAL_ABSENT };

static const struct {
    const char *key;
    enum neutral neutral;
    const char *what;
} RESTRICTED[] = {
    {"attention_bias", NEUTRAL_FALSE, "biases on the attention projections"},
    {"qkv_bias", NEUTRAL_FALSE, "biases on the attention projections"},
    {"mlp_bias", NEUTRAL_FALSE, "biases on the MLP projections"},
    {"use_bias", NEUTRAL_FALSE, "biases"},
    {"bias", NEUTRAL_FALSE, "biases"},
    {"partial_rotary_factor", NEUTRAL_ONE, "partial rotary embeddings"},
    {"pretraining_tp", NEUTRAL_ONE, "tensor-parallel pretraining slices"},
    {"num_experts", NEUTRAL_ZERO, "mixtures of experts"},
    {"num_local_experts", NEUTRAL_ZERO, "mixtures of experts"},
    {"n_routed_experts", NEUTRAL_ZERO, "mixtures of experts"},
    {"attn_logit_softcapping", NEUTRAL_ABSENT, "soft-capped attention scores"},
    {"final_logit_softcapping", NEUTRAL_ABSENT, "soft-capped logits"},
    {"query_pre_attn_scalar", NEUTRAL_ABSENT, "a scale of the attention scores"},
    {"attention_multiplier", NEUTRAL_ABSENT, "a scale of the attention scores"},
    {"embedding_multiplier", NEUTRAL_ONE, "scaled embeddings"},
    {"residual_multiplier", NEUTRAL_ONE, "scaled residuals"},
    {"logits_scaling", NEUTRAL_ONE, "scaled logits"},
    {"logit_scale", NEUTRAL_ONE, "scaled logits"},
    {"use_qk_norm", NEUTRAL_FALSE, "norms on queries and keys"},
    {"qk_norm", NEUTRAL_FALSE, "norms on queries and keys"},
    {"alibi", NEUTRAL_FALSE, "ALiBi position biases"},
    {"parallel_attn", NEUTRAL_FALSE, "attention parallel to the MLP"},
    {"add_cross_attention", NEUTRAL_FALSE, "cross-attention"},
    {"is_encoder_decoder", NEUTRAL_FALSE, "encoder-decoder models"},
};

/* The document being read. Failures are collected: one run shows every problem. */
struct reader {
    struct rsrc_diag *diag;
    struct rsrc_arena *arena;
    const char *file;
    const json_t *root;
    struct rsr_config *config;
    bool failed;
};

static void refuse(struct reader *reader, const char *slug, const char *help, const char *format,
                   ...) __attribute__((format(printf, 4, 5)));

static void refuse(struct reader *reader, const char *slug, const char *help, const char *format,
                   ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    struct rsrc_place place = {.file = reader->file};
    rsrc_error(reader->diag, slug, &place, help, "%s", text);
    reader->failed = true;
}

static json_t *field(const json_t *object, const char *key) {
    json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

static uint32_t read_count(struct reader *reader, const char *key, uint32_t max,
                           uint32_t fallback) {
    uint32_t value = fallback;
    if (rsrc_json_u32(reader->diag, reader->file, SLUG, reader->root, key, 1, max, fallback,
                      &value) != RSRC_OK) {
        reader->failed = true;
    }
    return value;
}

/* A count without which there is no model. */
static uint32_t read_required(struct reader *reader, const char *key, uint32_t max) {
    if (field(reader->root, key) == NULL) {
        refuse(reader, "config-missing", "the config.json may be incomplete; fetch it again",
               "\"%s\" is missing", key);
        return 0;
    }
    return read_count(reader, key, max, 0);
}

static double read_number(struct reader *reader, const json_t *object, const char *key,
                          double fallback) {
    double value = fallback;
    if (rsrc_json_double(reader->diag, reader->file, SLUG, object, key, fallback, &value) !=
        RSRC_OK) {
        reader->failed = true;
    }
    return value;
}

static const char *read_string(struct reader *reader, const json_t *object, const char *key,
                               const char *fallback) {
    const char *value = NULL;
    if (rsrc_json_string(reader->diag, reader->file, SLUG, object, key, &value) != RSRC_OK) {
        reader->failed = true;
    }
    return value == NULL ? fallback : value;
}

static bool read_flag(struct reader *reader, const json_t *object, const char *key, bool fallback) {
    bool value = fallback;
    if (rsrc_json_bool(reader->diag, reader->file, SLUG, object, key, fallback, &value) !=
        RSRC_OK) {
        reader->failed = true;
    }
    return value;
}

static bool is_neutral(const json_t *value, enum neutral neutral) {
    switch (neutral) {
    case NEUTRAL_FALSE:
        return json_is_false(value);
    case NEUTRAL_ZERO:
        return json_is_false(value) || (json_is_number(value) && json_number_value(value) == 0.0);
    case NEUTRAL_ONE:
        return json_is_number(value) && json_number_value(value) == 1.0;
    case NEUTRAL_ABSENT:
        return false;
    }
    return false;
}

static void check_restricted(struct reader *reader) {
    for (size_t i = 0; i < sizeof(RESTRICTED) / sizeof(RESTRICTED[0]); i++) {
        const json_t *value = field(reader->root, RESTRICTED[i].key);
        if (value != NULL && !is_neutral(value, RESTRICTED[i].neutral)) {
            refuse(reader, "config-unsupported", "this model cannot be compiled by this version",
                   "\"%s\" asks for %s, which are not supported", RESTRICTED[i].key,
                   RESTRICTED[i].what);
        }
    }
    if (field(reader->root, "sliding_window") != NULL &&
        !json_is_false(field(reader->root, "use_sliding_window"))) {
        refuse(reader, "config-unsupported", "this model cannot be compiled by this version",
               "\"sliding_window\" asks for sliding-window attention, which is not supported");
    }
    const json_t *types = field(reader->root, "layer_types");
    for (size_t i = 0; i < json_array_size(types); i++) {
        const char *type = json_string_value(json_array_get(types, i));
        if (type == NULL || strcmp(type, "full_attention") != 0) {
            refuse(reader, "config-unsupported", "only \"full_attention\" layers are supported",
                   "\"layer_types\" holds '%s'",
                   rsrc_quote(reader->arena, type == NULL ? "?" : type));
            break;
        }
    }
    if (types != NULL && !json_is_array(types)) {
        refuse(reader, "config-field", NULL, "\"layer_types\" is %s where a list is expected",
               rsrc_json_type_name(types));
    }
}

static const struct architecture *read_architecture(struct reader *reader) {
    const char *name = read_string(reader, reader->root, "model_type", NULL);
    if (reader->failed) {
        return NULL;
    }
    if (name == NULL) {
        refuse(reader, "config-missing", "\"bitnet\" and \"llama\" are supported",
               "\"model_type\" is missing");
        return NULL;
    }
    for (size_t i = 0; i < sizeof(ARCHITECTURES) / sizeof(ARCHITECTURES[0]); i++) {
        if (strcmp(name, ARCHITECTURES[i].model_type) == 0) {
            return &ARCHITECTURES[i];
        }
    }
    refuse(reader, "config-model-type", "\"bitnet\" and \"llama\" are supported",
           "model_type '%s' is not supported", rsrc_quote(reader->arena, name));
    return NULL;
}

static void read_sizes(struct reader *reader, const struct architecture *architecture,
                       struct rsr_hyper *hyper) {
    hyper->hidden = read_required(reader, "hidden_size", RSRC_MAX_HIDDEN);
    hyper->n_layers = read_required(reader, "num_hidden_layers", RSRC_MAX_LAYERS);
    hyper->n_heads = read_required(reader, "num_attention_heads", RSRC_MAX_HEADS);
    hyper->ffn = read_required(reader, "intermediate_size", RSRC_MAX_FFN);
    hyper->vocab = read_required(reader, "vocab_size", RSRC_MAX_VOCAB);
    hyper->context = read_required(reader, "max_position_embeddings", RSRC_MAX_CONTEXT);
    hyper->n_kv_heads = read_count(reader, "num_key_value_heads", RSRC_MAX_HEADS, hyper->n_heads);
    uint32_t head_dim = read_count(reader, "head_dim", RSRC_MAX_HEAD_DIM, 0);
    if (reader->failed) {
        return;
    }
    if (head_dim == 0) {
        if (hyper->hidden % hyper->n_heads != 0) {
            refuse(reader, "config-heads", "give \"head_dim\"",
                   "hidden_size %u is not a multiple of num_attention_heads %u", hyper->hidden,
                   hyper->n_heads);
            return;
        }
        head_dim = hyper->hidden / hyper->n_heads;
    }
    hyper->head_dim = head_dim;
    uint32_t attention_dim = head_dim * hyper->n_heads;
    if (architecture->has_attn_sub_norm && attention_dim != hyper->hidden) {
        refuse(reader, "config-heads", "the norm after the attention is hidden_size wide",
               "%u heads of %u are not hidden_size %u", hyper->n_heads, head_dim, hyper->hidden);
    } else if (attention_dim > RSRC_MAX_HIDDEN) {
        refuse(reader, "config-heads", NULL, "%u heads of %u are wider than %u", hyper->n_heads,
               head_dim, RSRC_MAX_HIDDEN);
    } else if (head_dim % 2 != 0 || head_dim > RSRC_MAX_HEAD_DIM) {
        refuse(reader, "config-heads", NULL,
               "heads of %u dimensions: rotary embeddings need an even number, at most %u",
               head_dim, RSRC_MAX_HEAD_DIM);
    } else if (hyper->n_heads % hyper->n_kv_heads != 0) {
        refuse(reader, "config-heads", NULL,
               "num_attention_heads %u is not a multiple of num_key_value_heads %u", hyper->n_heads,
               hyper->n_kv_heads);
    }
}

static void read_activation(struct reader *reader, const struct architecture *architecture,
                            struct rsr_hyper *hyper) {
    const char *name = read_string(reader, reader->root, "hidden_act", architecture->hidden_act);
    for (size_t i = 0; i < sizeof(ACTIVATIONS) / sizeof(ACTIVATIONS[0]); i++) {
        if (strcmp(name, ACTIVATIONS[i].name) == 0) {
            hyper->activation = ACTIVATIONS[i].activation;
            return;
        }
    }
    refuse(reader, "config-activation", "\"relu2\" and \"silu\" are supported",
           "hidden_act '%s' is not supported", rsrc_quote(reader->arena, name));
}

/* rope_scaling (transformers 4) or rope_parameters (5): only the plain kind, in any spelling. The
 * base found there must agree with *theta unless that is 0. */
static void read_rope_object(struct reader *reader, const char *key, double *theta) {
    json_t *rope = field(reader->root, key);
    if (rope == NULL) {
        return;
    }
    if (!json_is_object(rope)) {
        refuse(reader, "config-field", NULL, "\"%s\" is %s where an object is expected", key,
               rsrc_json_type_name(rope));
        return;
    }
    const char *type = read_string(reader, rope, "rope_type", NULL);
    const char *legacy_type = read_string(reader, rope, "type", NULL);
    const char *shown = type != NULL ? type : legacy_type;
    if (shown != NULL && (strcmp(shown, "default") != 0 ||
                          (legacy_type != NULL && strcmp(legacy_type, shown) != 0))) {
        refuse(reader, "config-rope", "only unscaled rotary embeddings (\"default\") are supported",
               "\"%s\" has type '%s'", key, rsrc_quote(reader->arena, shown));
        return;
    }
    if (read_number(reader, rope, "partial_rotary_factor", 1.0) != 1.0) {
        refuse(reader, "config-rope", NULL,
               "\"%s\" asks for partial rotary embeddings, which are not supported", key);
    }
    static const char *const known[] = {"rope_theta", "rope_type", "type", "partial_rotary_factor"};
    const char *name;
    json_t *value;
    json_object_foreach(rope, name, value) {
        bool is_known = json_is_null(value);
        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
            is_known = is_known || strcmp(name, known[i]) == 0;
        }
        if (!is_known) {
            refuse(reader, "config-rope",
                   "only unscaled rotary embeddings (\"default\") are supported",
                   "\"%s\" has the field '%s', which is not understood", key,
                   rsrc_quote(reader->arena, name));
            return;
        }
    }
    double inner = read_number(reader, rope, "rope_theta", 0.0);
    if (inner != 0.0 && *theta != 0.0 && inner != *theta) {
        refuse(reader, "config-rope", "keep one of the two", "rope_theta is %g, but %g in \"%s\"",
               *theta, inner, key);
    } else if (inner != 0.0) {
        *theta = inner;
    }
}

static void read_floats(struct reader *reader, const struct architecture *architecture,
                        struct rsr_hyper *hyper) {
    double eps = read_number(reader, reader->root, "rms_norm_eps", architecture->norm_eps);
    if (!(eps > 0.0) || eps > 1.0 || (float)eps == 0.0f) {
        refuse(reader, "config-field", NULL, "\"rms_norm_eps\" is %g, outside (0, 1]", eps);
    }
    double theta = read_number(reader, reader->root, "rope_theta", 0.0);
    read_rope_object(reader, "rope_parameters", &theta);
    read_rope_object(reader, "rope_scaling", &theta);
    if (theta == 0.0 && field(reader->root, "rope_theta") == NULL) {
        theta = architecture->rope_theta;
    }
    const bool is_number = field(reader->root, "rope_theta") == NULL ||
                           json_is_number(field(reader->root, "rope_theta"));
    if (is_number && (!(theta >= 1.0) || theta > 1e12)) { /* what is no number was refused */
        refuse(reader, "config-field", NULL, "\"rope_theta\" is %g, outside [1, 1e12]", theta);
    }
    hyper->norm_eps = (float)eps;
    hyper->rope_theta = (float)theta;
}

/* ---- quantization_config ---------------------------------------------------------------------- */

static void read_not_converted(struct reader *reader, const json_t *quantization) {
    const json_t *modules = field(quantization, "modules_to_not_convert");
    if (modules != NULL && !json_is_array(modules)) {
        refuse(reader, "config-field", NULL,
               "\"modules_to_not_convert\" is %s where a list is expected",
               rsrc_json_type_name(modules));
        return;
    }
    size_t n = json_array_size(modules);
    if (n > MAX_MODULES) {
        refuse(reader, "config-field", NULL, "\"modules_to_not_convert\" has more than %u entries",
               MAX_MODULES);
        return;
    }
    const char **names = RSRC_NEW_ARRAY(reader->arena, n + 1, const char *);
    for (size_t i = 0; i < n; i++) {
        const char *name = json_string_value(json_array_get(modules, i));
        if (name == NULL) {
            refuse(reader, "config-field", NULL,
                   "\"modules_to_not_convert\" holds %s where a string is expected",
                   rsrc_json_type_name(json_array_get(modules, i)));
            return;
        }
        names[i] = rsrc_arena_strdup(reader->arena, name);
    }
    if (modules == NULL) {
        names[n++] = "lm_head"; /* what transformers assumes */
    }
    reader->config->not_converted = names;
    reader->config->n_not_converted = (uint32_t)n;
}

/* The rows of the table in which the conventions of transformers' bitnet quantizer are decided. */
static const struct {
    const char *linear_class;
    const char *mode;
    enum rsr_scale_rule rule;
} SCALE_RULES[] = {
    {"bitlinear", "offline", RSR_SCALE_DIVIDE},
    {"autobitlinear", "offline", RSR_SCALE_MULTIPLY},
    {"autobitlinear", "online", RSR_SCALE_ONLINE},
};

static void read_scale_rule(struct reader *reader, const json_t *quantization) {
    const char *given_class = read_string(reader, quantization, "linear_class", NULL);
    const char *given_mode = read_string(reader, quantization, "quantization_mode", NULL);
    if (reader->failed) {
        return;
    }
    reader->config->input = RSR_INPUT_I8;
    reader->config->input_reason = "quant_method \"bitnet\" quantises activations to int8";
    const char *linear_class = given_class == NULL ? "bitlinear" : given_class;
    const char *mode = given_mode == NULL ? "offline" : given_mode;
    for (size_t i = 0; i < sizeof(SCALE_RULES) / sizeof(SCALE_RULES[0]); i++) {
        if (strcmp(linear_class, SCALE_RULES[i].linear_class) == 0 &&
            strcmp(mode, SCALE_RULES[i].mode) == 0) {
            reader->config->scale_rule = SCALE_RULES[i].rule;
            reader->config->scale_reason = rsrc_arena_printf(
                reader->arena, "linear_class \"%s\"%s, quantization_mode \"%s\"%s",
                SCALE_RULES[i].linear_class, given_class == NULL ? " (by default)" : "",
                SCALE_RULES[i].mode, given_mode == NULL ? " (by default)" : "");
            return;
        }
    }
    refuse(reader, "config-linear-class",
           "supported: bitlinear (offline), autobitlinear (offline or online)",
           "linear_class '%s' with quantization_mode '%s' is not supported",
           rsrc_quote(reader->arena, linear_class), rsrc_quote(reader->arena, mode));
}

static void read_quantization(struct reader *reader) {
    const json_t *quantization = field(reader->root, "quantization_config");
    if (quantization == NULL) {
        refuse(reader, "config-quantization",
               "compile a ternary checkpoint: one with quant_method \"bitnet\"",
               "no \"quantization_config\": nothing says that the weights of this model are "
               "ternary");
        return;
    }
    if (!json_is_object(quantization)) {
        refuse(reader, "config-field", NULL,
               "\"quantization_config\" is %s where an object is expected",
               rsrc_json_type_name(quantization));
        return;
    }
    const bool failed_before = reader->failed;
    const char *method = read_string(reader, quantization, "quant_method", "(none)");
    if (reader->failed && !failed_before) {
        return; /* of the wrong type, as was said */
    }
    if (strcmp(method, "bitnet") != 0) {
        refuse(reader, "config-quantization", "\"bitnet\" is supported",
               "quant_method '%s' is not supported", rsrc_quote(reader->arena, method));
        return;
    }
    read_scale_rule(reader, quantization);
    read_not_converted(reader, quantization);
    if (read_flag(reader, quantization, "use_rms_norm", false)) {
        refuse(reader, "config-unsupported", "this model cannot be compiled by this version",
               "\"use_rms_norm\" asks for a norm before every linear layer, which is not "
               "supported");
    }
}

/* ---- special tokens --------------------------------------------------------------------------- */

static bool read_token_id(struct reader *reader, const char *key, const json_t *value,
                          uint32_t *id) {
    if (!json_is_integer(value)) {
        refuse(reader, "config-field", NULL, "\"%s\" holds %s where a token id is expected", key,
               rsrc_json_type_name(value));
        return false;
    }
    json_int_t number = json_integer_value(value);
    if (number < 0 || number >= (json_int_t)reader->config->hyper.vocab) {
        refuse(reader, "config-token", NULL, "\"%s\" is %lld; the vocabulary has %u tokens", key,
               (long long)number, reader->config->hyper.vocab);
        return false;
    }
    *id = (uint32_t)number;
    return true;
}

static void add_eos(struct reader *reader, const json_t *value) {
    struct rsr_config *config = reader->config;
    uint32_t id;
    if (!read_token_id(reader, "eos_token_id", value, &id)) {
        return;
    }
    for (uint32_t i = 0; i < config->n_eos_tokens; i++) {
        if (config->eos_tokens[i] == id) {
            return;
        }
    }
    const uint32_t max = sizeof(config->eos_tokens) / sizeof(config->eos_tokens[0]);
    if (config->n_eos_tokens == max) {
        refuse(reader, "config-token", NULL, "more than %u different \"eos_token_id\"", max);
        return;
    }
    config->eos_tokens[config->n_eos_tokens++] = id;
}

/* bos_token_id and eos_token_id; the latter may be a list. */
static void read_special_tokens(struct reader *reader) {
    const json_t *bos = field(reader->root, "bos_token_id");
    if (bos != NULL && reader->config->bos_token == RSR_NO_TOKEN) {
        read_token_id(reader, "bos_token_id", bos, &reader->config->bos_token);
    }
    const json_t *eos = field(reader->root, "eos_token_id");
    if (json_is_array(eos)) {
        for (size_t i = 0; i < json_array_size(eos) && !reader->failed; i++) {
            add_eos(reader, json_array_get(eos, i));
        }
    } else if (eos != NULL) {
        add_eos(reader, eos);
    }
}

/* ---- entry points ----------------------------------------------------------------------------- */

static json_t *parse_object(struct rsrc_diag *diag, const char *file, const uint8_t *bytes,
                            uint64_t size_bytes) {
    json_t *root;
    if (rsrc_json_parse(diag, file, bytes, size_bytes, SLUG, &root) != RSRC_OK) {
        return NULL;
    }
    if (!json_is_object(root)) {
        struct rsrc_place place = {.file = file, .line = 1, .column = 1};
        rsrc_error(diag, "config-field", &place, NULL,
                   "the file holds %s where an object is expected", rsrc_json_type_name(root));
        json_decref(root);
        return NULL;
    }
    return root;
}

enum rsrc_status rsrc_parse_config(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                   const char *name, const uint8_t *bytes, uint64_t size_bytes,
                                   struct rsr_config *out) {
    struct rsr_config config = {.file = rsrc_arena_strdup(arena, name), .bos_token = RSR_NO_TOKEN};
    json_t *root = parse_object(diag, config.file, bytes, size_bytes);
    if (root == NULL) {
        return RSRC_FAILED;
    }
    struct reader reader = {
        .diag = diag, .arena = arena, .file = config.file, .root = root, .config = &config};
    const struct architecture *architecture = read_architecture(&reader);
    if (architecture != NULL) {
        config.model_type = architecture->model_type;
        read_sizes(&reader, architecture, &config.hyper);
        read_activation(&reader, architecture, &config.hyper);
        read_floats(&reader, architecture, &config.hyper);
        config.hyper.tied_head = read_flag(&reader, root, "tie_word_embeddings", false);
        check_restricted(&reader);
        read_quantization(&reader);
    }
    if (!reader.failed) {
        read_special_tokens(&reader);
    }
    json_decref(root);
    if (reader.failed) {
        return RSRC_FAILED;
    }
    *out = config;
    return RSRC_OK;
}

enum rsrc_status rsrc_parse_generation_config(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                              const char *name, const uint8_t *bytes,
                                              uint64_t size_bytes, struct rsr_config *config) {
    json_t *root = parse_object(diag, name, bytes, size_bytes);
    if (root == NULL) {
        return RSRC_FAILED;
    }
    struct rsr_config merged = *config;
    struct reader reader = {
        .diag = diag, .arena = arena, .file = name, .root = root, .config = &merged};
    read_special_tokens(&reader);
    json_decref(root);
    if (reader.failed) {
        return RSRC_FAILED;
    }
    *config = merged;
    return RSRC_OK;
}
