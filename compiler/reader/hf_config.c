/* hf_config.c - config.json and generation_config.json of a Hugging Face checkpoint.
 *
 * Every field that changes what the model computes is either understood or refused by name; fields
 * about training, caching and storage are ignored. family/ has the defaults of each architecture,
 * hf_rope.c rotations and windows, hf_quantization.c the scale rules.
 */
#include <math.h>
#include <string.h>

#include "family/family.h"
#include "reader/checkpoint.h"
#include "reader/hf_document.h"
#include "reader/limits.h"

static const struct {
    const char *name;
    enum rsr_activation activation;
} ACTIVATIONS[] = {
    {"relu2", RSR_ACTIVATION_RELU2},
    {"silu", RSR_ACTIVATION_SILU},
    {"swish", RSR_ACTIVATION_SILU},
    {"gelu_pytorch_tanh", RSR_ACTIVATION_GELU_TANH},
};

/* Fields that are harmless only at one value; absent and null are always harmless. */
enum neutral { NEUTRAL_FALSE, NEUTRAL_TRUE, NEUTRAL_ZERO, NEUTRAL_ONE, NEUTRAL_ABSENT };

#define ROTARY "partial_rotary_factor"

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
    {ROTARY, NEUTRAL_ONE, "partial rotary embeddings"},
    {"pretraining_tp", NEUTRAL_ONE, "tensor-parallel pretraining slices"},
    {"num_experts", NEUTRAL_ZERO, "mixtures of experts"},
    {"num_local_experts", NEUTRAL_ZERO, "mixtures of experts"},
    {"n_routed_experts", NEUTRAL_ZERO, "mixtures of experts"},
    {"attn_logit_softcapping", NEUTRAL_ABSENT, "soft-capped attention scores"},
    {"final_logit_softcapping", NEUTRAL_ABSENT, "soft-capped logits"},
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
    {"use_bidirectional_attention", NEUTRAL_FALSE, "attention to later tokens"},
    {"is_causal", NEUTRAL_TRUE, "attention to later tokens"},
    {"per_layer_config", NEUTRAL_ABSENT, "blocks with settings of their own"},
    {"transformers_weights", NEUTRAL_ABSENT, "weights of a file that it names"},
    {"configuration_files", NEUTRAL_ABSENT, "other configurations by the version of transformers"},
};

static bool is_neutral(const json_t *value, enum neutral neutral) {
    switch (neutral) {
    case NEUTRAL_FALSE:
        return json_is_false(value);
    case NEUTRAL_TRUE:
        return json_is_true(value);
    case NEUTRAL_ZERO:
        return json_is_false(value) || (json_is_number(value) && json_number_value(value) == 0.0);
    case NEUTRAL_ONE:
        return json_is_number(value) && json_number_value(value) == 1.0;
    case NEUTRAL_ABSENT:
        return false;
    }
    return false;
}

static void check_restricted(struct rsrc_hf_document *doc, const struct rsrc_family *family) {
    for (size_t i = 0; i < sizeof(RESTRICTED) / sizeof(RESTRICTED[0]); i++) {
        const json_t *value = rsrc_hf_field(doc->root, RESTRICTED[i].key);
        if (family->rotary_factor != 0.0 && strcmp(RESTRICTED[i].key, ROTARY) == 0)
            continue;
        if (value != NULL && !is_neutral(value, RESTRICTED[i].neutral)) {
            rsrc_hf_refuse(doc, "config-unsupported",
                           "this model cannot be compiled by this version",
                           "\"%s\" asks for %s, which are not supported", RESTRICTED[i].key,
                           RESTRICTED[i].what);
        }
    }
}

/* A required count. */
static uint32_t read_required(struct rsrc_hf_document *doc, const char *key, uint32_t max) {
    if (rsrc_hf_field(doc->root, key) == NULL) {
        rsrc_hf_refuse(doc, "config-missing", "the config.json may be incomplete; fetch it again",
                       "\"%s\" is missing", key);
        return 0;
    }
    return rsrc_hf_count(doc, doc->root, key, max, 0);
}

/* Published models that are refused, each with a sentence. */
static const struct {
    const char *model_type;
    const char *why;
} KNOWN_OTHERS[] = {
    {"hgrn_bit", "MatMul-free language models mix tokens by a gated recurrence, not by attention"},
    {"hgrn", "it mixes tokens by a gated recurrence, not by attention"},
    {"rwkv", "it mixes tokens by a recurrence, not by attention"},
    {"mamba", "it mixes tokens by a state space, not by attention"},
    {"qwen3_next", "its blocks are mixtures of experts"},
    {"qwen3_5_moe", "its blocks are mixtures of experts"},
    {"qwen3_5_moe_text", "its blocks are mixtures of experts"},
    {"gemma3", "it holds a vision tower; compile its text model alone (model_type gemma3_text)"},
};

/* The first name in "architectures"; NULL: there is none. */
static const char *first_architecture(const struct rsrc_hf_document *doc) {
    const json_t *names = rsrc_hf_field(doc->root, "architectures");
    const char *name = json_string_value(json_array_get(names, 0));
    return name == NULL ? NULL : rsrc_arena_strdup(doc->arena, name);
}

static const struct rsrc_family *read_family(struct rsrc_hf_document *doc) {
    const char *supported =
        rsrc_arena_printf(doc->arena, "supported are %s", rsrc_family_list(doc->arena));
    const char *name = rsrc_hf_string(doc, doc->root, "model_type", NULL);
    if (doc->failed)
        return NULL;
    if (name == NULL) {
        rsrc_hf_refuse(doc, "config-missing", supported, "\"model_type\" is missing");
        return NULL;
    }
    const char *architecture = first_architecture(doc);
    const struct rsrc_family *family = rsrc_find_family(name, architecture);
    if (family != NULL) {
        doc->config->model_type = family->model_type;
        doc->config->architecture = architecture;
        return family;
    }
    const char *why = "";
    for (size_t i = 0; i < sizeof(KNOWN_OTHERS) / sizeof(KNOWN_OTHERS[0]); i++)
        if (strcmp(name, KNOWN_OTHERS[i].model_type) == 0)
            why = KNOWN_OTHERS[i].why;
    rsrc_hf_refuse(doc, "config-model-type", supported, "model_type '%s' is not supported%s%s",
                   rsrc_quote(doc->arena, name), *why == '\0' ? "" : ": ", why);
    return NULL;
}

static void read_sizes(struct rsrc_hf_document *doc, const struct rsrc_family *family,
                       struct rsr_hyper *hyper) {
    hyper->hidden = read_required(doc, "hidden_size", RSRC_MAX_HIDDEN);
    hyper->n_layers = read_required(doc, "num_hidden_layers", RSRC_MAX_LAYERS);
    hyper->n_heads = read_required(doc, "num_attention_heads", RSRC_MAX_HEADS);
    hyper->ffn = read_required(doc, "intermediate_size", RSRC_MAX_FFN);
    hyper->vocab = read_required(doc, "vocab_size", RSRC_MAX_VOCAB);
    hyper->context = read_required(doc, "max_position_embeddings", RSRC_MAX_CONTEXT);
    hyper->n_kv_heads =
        rsrc_hf_count(doc, doc->root, "num_key_value_heads", RSRC_MAX_HEADS, hyper->n_heads);
    uint32_t head_dim =
        rsrc_hf_count(doc, doc->root, "head_dim", RSRC_MAX_HEAD_DIM, family->head_dim);
    if (doc->failed) {
        return;
    }
    if (head_dim == 0) {
        if (hyper->hidden % hyper->n_heads != 0) {
            rsrc_hf_refuse(doc, "config-heads", "give \"head_dim\"",
                           "hidden_size %u is not a multiple of num_attention_heads %u",
                           hyper->hidden, hyper->n_heads);
            return;
        }
        head_dim = hyper->hidden / hyper->n_heads;
    }
    hyper->head_dim = head_dim;
    uint32_t attention_dim = head_dim * hyper->n_heads;
    if (family->square_attention && attention_dim != hyper->hidden) {
        rsrc_hf_refuse(doc, "config-heads", "the norm after the attention is hidden_size wide",
                       "%u heads of %u are not hidden_size %u", hyper->n_heads, head_dim,
                       hyper->hidden);
    } else if (attention_dim > RSRC_MAX_HIDDEN) {
        rsrc_hf_refuse(doc, "config-heads", NULL, "%u heads of %u are wider than %u",
                       hyper->n_heads, head_dim, RSRC_MAX_HIDDEN);
    } else if (head_dim % 2 != 0 || head_dim > RSRC_MAX_HEAD_DIM) {
        rsrc_hf_refuse(doc, "config-heads", NULL,
                       "heads of %u dimensions: rotary embeddings need an even number, at most %u",
                       head_dim, RSRC_MAX_HEAD_DIM);
    } else if (hyper->n_heads % hyper->n_kv_heads != 0) {
        rsrc_hf_refuse(doc, "config-heads", NULL,
                       "num_attention_heads %u is not a multiple of num_key_value_heads %u",
                       hyper->n_heads, hyper->n_kv_heads);
    }
}

static void read_activation(struct rsrc_hf_document *doc, const struct rsrc_family *family,
                            struct rsr_hyper *hyper) {
    const char *name = rsrc_hf_string(doc, doc->root, family->activation_key, family->activation);
    for (size_t i = 0; i < sizeof(ACTIVATIONS) / sizeof(ACTIVATIONS[0]); i++) {
        if (strcmp(name, ACTIVATIONS[i].name) == 0) {
            hyper->activation = ACTIVATIONS[i].activation;
            return;
        }
    }
    rsrc_hf_refuse(
        doc, "config-activation", "\"relu2\", \"silu\" and \"gelu_pytorch_tanh\" are supported",
        "%s '%s' is not supported", family->activation_key, rsrc_quote(doc->arena, name));
}

/* Reads factors of the hyper-parameters; a factor of 0 in rsr_hyper stands for the default of most
 * families. */
static void read_scales(struct rsrc_hf_document *doc, const struct rsrc_family *family,
                        struct rsr_hyper *hyper) {
    const double eps = rsrc_hf_number(doc, doc->root, "rms_norm_eps", family->norm_eps);
    if (!(eps > 0.0) || eps > 1.0 || (float)eps == 0.0f)
        rsrc_hf_refuse(doc, "config-field", NULL, "\"rms_norm_eps\" is %g, outside (0, 1]", eps);
    hyper->norm_eps = (float)eps;
    if (family->scaled_embedding)
        hyper->embedding_scale = (float)sqrt((double)hyper->hidden);

    static const char key[] = "query_pre_attn_scalar";
    const double scalar = rsrc_hf_number(doc, doc->root, key, family->attention_scalar);
    if (family->attention_scalar == 0.0 && rsrc_hf_field(doc->root, key) != NULL)
        rsrc_hf_refuse(doc, "config-unsupported", "this model cannot be compiled by this version",
                       "\"%s\" asks for a scale of the attention scores, which model_type \"%s\" "
                       "does not have",
                       key, family->model_type);
    else if (family->attention_scalar != 0.0 && (!(scalar >= 1e-6) || scalar > 1e6))
        rsrc_hf_refuse(doc, "config-field", NULL, "\"%s\" is %g, outside [1e-6, 1e6]", key, scalar);
    else if (family->attention_scalar != 0.0)
        hyper->attention_scale = (float)(1.0 / sqrt(scalar));
}

/* ---- special tokens -------------------------------------------------------------------------- */

static bool read_token_id(struct rsrc_hf_document *doc, const char *key, const json_t *value,
                          uint32_t *id) {
    if (!json_is_integer(value)) {
        rsrc_hf_refuse(doc, "config-field", NULL, "\"%s\" holds %s where a token id is expected",
                       key, rsrc_json_type_name(value));
        return false;
    }
    json_int_t number = json_integer_value(value);
    if (number < 0 || number >= (json_int_t)doc->config->hyper.vocab) {
        rsrc_hf_refuse(doc, "config-token", NULL, "\"%s\" is %lld; the vocabulary has %u tokens",
                       key, (long long)number, doc->config->hyper.vocab);
        return false;
    }
    *id = (uint32_t)number;
    return true;
}

static void add_eos(struct rsrc_hf_document *doc, const json_t *value) {
    struct rsr_config *config = doc->config;
    uint32_t id;
    if (!read_token_id(doc, "eos_token_id", value, &id)) {
        return;
    }
    for (uint32_t i = 0; i < config->n_eos_tokens; i++) {
        if (config->eos_tokens[i] == id) {
            return;
        }
    }
    const uint32_t max = sizeof(config->eos_tokens) / sizeof(config->eos_tokens[0]);
    if (config->n_eos_tokens == max) {
        rsrc_hf_refuse(doc, "config-token", NULL, "more than %u different \"eos_token_id\"", max);
        return;
    }
    config->eos_tokens[config->n_eos_tokens++] = id;
}

/* bos_token_id and eos_token_id; the latter may be a list. */
static void read_special_tokens(struct rsrc_hf_document *doc) {
    const json_t *bos = rsrc_hf_field(doc->root, "bos_token_id");
    if (bos != NULL && doc->config->bos_token == RSR_NO_TOKEN) {
        read_token_id(doc, "bos_token_id", bos, &doc->config->bos_token);
    }
    const json_t *eos = rsrc_hf_field(doc->root, "eos_token_id");
    if (json_is_array(eos)) {
        for (size_t i = 0; i < json_array_size(eos) && !doc->failed; i++) {
            add_eos(doc, json_array_get(eos, i));
        }
    } else if (eos != NULL) {
        add_eos(doc, eos);
    }
}

/* ---- text models of larger models ------------------------------------------------------------ */

/* The settings of the text model: its own object, and what only the whole model's has. The caller
 * frees them; NULL: refused. */
static json_t *merge_text_config(struct rsrc_hf_document *doc, const char *key) {
    static const char tied[] = "tie_word_embeddings";
    const json_t *text = rsrc_hf_field(doc->root, key);
    if (!json_is_object(text)) {
        rsrc_hf_refuse(doc, "config-missing", "the config.json may be incomplete; fetch it again",
                       "\"%s\" is no object with the settings of the text model", key);
        return NULL;
    }
    if (rsrc_hf_flag(doc, text, tied, false) != rsrc_hf_flag(doc, doc->root, tied, false))
        rsrc_hf_refuse(doc, "config-field", "keep one of the two",
                       "\"%s\" is another one in \"%s\"", tied, key);
    json_t *merged = json_copy((json_t *)(uintptr_t)text);
    if (merged == NULL || json_object_update_missing(merged, (json_t *)(uintptr_t)doc->root) != 0) {
        rsrc_hf_refuse(doc, "config-field", NULL, "no memory for the settings");
        json_decref(merged);
        return NULL;
    }
    return merged;
}

/* ---- entry points ---------------------------------------------------------------------------- */

enum rsrc_status rsrc_parse_config(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                   const char *name, const uint8_t *bytes, uint64_t size_bytes,
                                   struct rsr_config *out) {
    struct rsr_config config = {.file = rsrc_arena_strdup(arena, name), .bos_token = RSR_NO_TOKEN};
    json_t *root = rsrc_hf_parse(diag, config.file, bytes, size_bytes);
    if (root == NULL) {
        return RSRC_FAILED;
    }
    struct rsrc_hf_document doc = {
        .diag = diag, .arena = arena, .file = config.file, .root = root, .config = &config};
    const struct rsrc_family *family = read_family(&doc);
    if (family != NULL && family->text_config != NULL) {
        json_t *merged = merge_text_config(&doc, family->text_config);
        json_decref(root);
        doc.root = root = merged;
    }
    if (family != NULL && root != NULL) {
        read_sizes(&doc, family, &config.hyper);
        read_activation(&doc, family, &config.hyper);
        read_scales(&doc, family, &config.hyper);
        config.hyper.tied_head = rsrc_hf_flag(&doc, root, "tie_word_embeddings", family->tied_head);
        check_restricted(&doc, family);
        rsrc_hf_read_rope(&doc, family);
        rsrc_hf_read_quantization(&doc, family);
    }
    if (!doc.failed) {
        read_special_tokens(&doc);
    }
    json_decref(root);
    if (doc.failed) {
        return RSRC_FAILED;
    }
    *out = config;
    return RSRC_OK;
}

/* Settings of generate() that belong to the model: tokens that it never gives, or always gives. */
static void check_forced_tokens(struct rsrc_hf_document *doc) {
    static const char *const KEYS[] = {"suppress_tokens", "begin_suppress_tokens",
                                       "bad_words_ids",   "forced_bos_token_id",
                                       "sequence_bias",   "forced_eos_token_id"};
    for (size_t i = 0; i < sizeof(KEYS) / sizeof(KEYS[0]); i++) {
        const json_t *value = rsrc_hf_field(doc->root, KEYS[i]);
        const bool is_empty = (json_is_array(value) && json_array_size(value) == 0) ||
                              (json_is_object(value) && json_object_size(value) == 0);
        if (value != NULL && !is_empty)
            rsrc_hf_refuse(doc, "config-unsupported",
                           "remove it, if texts may be generated without",
                           "\"%s\" asks for tokens to be forced or left out, which is not "
                           "supported",
                           KEYS[i]);
    }
}

enum rsrc_status rsrc_parse_generation_config(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                              const char *name, const uint8_t *bytes,
                                              uint64_t size_bytes, struct rsr_config *config) {
    json_t *root = rsrc_hf_parse(diag, name, bytes, size_bytes);
    if (root == NULL) {
        return RSRC_FAILED;
    }
    struct rsr_config merged = *config;
    struct rsrc_hf_document doc = {
        .diag = diag, .arena = arena, .file = name, .root = root, .config = &merged};
    if (rsrc_hf_field(root, "eos_token_id") != NULL)
        merged.n_eos_tokens = 0;
    read_special_tokens(&doc);
    check_forced_tokens(&doc);
    rsrc_hf_read_sampling(&doc);
    json_decref(root);
    if (doc.failed) {
        return RSRC_FAILED;
    }
    *config = merged;
    return RSRC_OK;
}
