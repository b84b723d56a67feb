/* gguf_model.c - turns the metadata of a GGUF file into an rsr_config, and gives its tensors the
 * names of Hugging Face checkpoints.
 *
 * Every key is understood, known to be harmless (gguf_keys.h) or refused by name. The conventions
 * are those of llama.cpp: dimensions and activations from its src/models. Its "llama" rotates pairs
 * of neighbouring elements of a head, not of halves, so its files have the rows of q and k in that
 * order. rsr_tensor.interleaved_heads tells the decoder to reorder them.
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reader/checkpoint.h"
#include "reader/gguf.h"
#include "reader/gguf_activations.h"
#include "reader/gguf_delta.h"
#include "reader/gguf_dense.h"
#include "reader/gguf_evidence.h"
#include "reader/gguf_keys.h"
#include "reader/gguf_names.h"
#include "reader/gguf_rotation.h"
#include "reader/gguf_split.h"
#include "reader/gguf_tokenizer.h"
#include "reader/limits.h"
#include "reader/reader.h"

static const struct architecture {
    const char *name;       /* general.architecture */
    const char *model_type; /* name of the family in family/ */
    enum rsr_activation activation;
    bool may_say_activation;     /* "hidden_activation" */
    bool is_interleaved;         /* rows of q and k */
    bool has_sub_norms;          /* the first as wide as the hidden state */
    bool has_deltas;             /* blocks with a gated delta rule; a part of a head is rotated */
    enum rsrc_activations input; /* of linear layers, if all models have equal activations */
} ARCHITECTURES[] = {
    {"llama", "llama", RSR_ACTIVATION_SILU, false, true, false, false, RSRC_ACTIVATIONS_AUTO},
    {"bitnet", "bitnet", RSR_ACTIVATION_SILU, true, false, true, false, RSRC_ACTIVATIONS_INT8},
    {"bitnet-b1.58", "bitnet", RSR_ACTIVATION_RELU2, false, false, true, false,
     RSRC_ACTIVATIONS_INT8},
    {"qwen3", "qwen3", RSR_ACTIVATION_SILU, false, false, false, false, RSRC_ACTIVATIONS_FLOAT},
    {"qwen35", "qwen3_5_text", RSR_ACTIVATION_SILU, false, false, false, true,
     RSRC_ACTIVATIONS_FLOAT},
};
#define N_ARCHITECTURES (sizeof(ARCHITECTURES) / sizeof(ARCHITECTURES[0]))
#define ARCHITECTURE_HELP                                                                          \
    "\"llama\", \"bitnet\", \"bitnet-b1.58\", \"qwen3\" and \"qwen35\" are supported"

/* Counts of the architecture: the member that each fills, and whether a model may omit it. */
enum count {
    COUNT_HIDDEN,
    COUNT_LAYERS,
    COUNT_HEADS,
    COUNT_FFN,
    COUNT_CONTEXT,
    COUNT_KV_HEADS,
    COUNT_KEY_DIM,
    COUNT_VALUE_DIM,
    COUNT_ROPE_DIM,
    COUNT_VOCAB,
    COUNT_COUNT
};
static const struct {
    const char *key;
    uint32_t max;
    bool is_required;
} COUNTS[COUNT_COUNT] = {
    [COUNT_HIDDEN] = {"embedding_length", RSRC_MAX_HIDDEN, true},
    [COUNT_LAYERS] = {"block_count", RSRC_MAX_LAYERS, true},
    [COUNT_HEADS] = {"attention.head_count", RSRC_MAX_HEADS, true},
    [COUNT_FFN] = {"feed_forward_length", RSRC_MAX_FFN, true},
    [COUNT_CONTEXT] = {"context_length", RSRC_MAX_CONTEXT, true},
    [COUNT_KV_HEADS] = {"attention.head_count_kv", RSRC_MAX_HEADS, false},
    [COUNT_KEY_DIM] = {"attention.key_length", RSRC_MAX_HEAD_DIM, false},
    [COUNT_VALUE_DIM] = {"attention.value_length", RSRC_MAX_HEAD_DIM, false},
    [COUNT_ROPE_DIM] = {"rope.dimension_count", RSRC_MAX_HEAD_DIM, false},
    [COUNT_VOCAB] = {"vocab_size", RSRC_MAX_VOCAB, false},
};

/* Numbers that are harmless only at one value. */
static const struct {
    const char *key;
    double harmless;
    const char *what;
} RESTRICTED[] = {
    {"rope.scaling.factor", 1.0, "scaled rotary embeddings"},
    {"rope.scale_linear", 1.0, "scaled rotary embeddings"},
    {"expert_count", 0.0, "mixtures of experts"},
    {"expert_used_count", 0.0, "mixtures of experts"},
    {"attention.sliding_window", 0.0, "sliding-window attention"},
    {"attention.causal", 1.0, "attention to later tokens"},
    {"use_parallel_residual", 0.0, "attention parallel to the MLP"},
    {"logit_scale", 1.0, "scaled logits"},
    {"embedding_scale", 1.0, "scaled embeddings"},
    {"residual_scale", 1.0, "scaled residuals"},
};

#define KEY_EPS "attention.layer_norm_rms_epsilon"
#define KEY_THETA "rope.freq_base"
#define KEY_SCALING "rope.scaling.type"
#define KEY_ACTIVATION "hidden_activation"

/* The file being understood. Failures are collected: one run shows every problem. */
struct model {
    struct rsrc_diag *diag;
    struct rsrc_arena *arena;
    const char *file;
    struct rsrc_gguf gguf;
    const struct architecture *architecture;
    struct rsr_config config;
    bool failed;
};

static void refuse(struct model *model, const struct rsrc_gguf_value *value, const char *slug,
                   const char *help, const char *format, ...) __attribute__((format(printf, 5, 6)));

/* Reports an error at the value; NULL: at the file. */
static void refuse(struct model *model, const struct rsrc_gguf_value *value, const char *slug,
                   const char *help, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    const struct rsrc_place place = {.file = model->file,
                                     .has_offset = value != NULL,
                                     .offset = value == NULL ? 0 : value->offset};
    rsrc_error(model->diag, slug, &place, help, "%s", text);
    model->failed = true;
}

/* ---- values ---------------------------------------------------------------------------------- */

/* For messages. */
static const char *text_of(const struct model *model, const struct rsrc_gguf_value *value) {
    if (value->type != RSRC_GGUF_STRING)
        return rsrc_gguf_type_name(value->type);
    const size_t n = value->n > 200 ? 200 : (size_t)value->n;
    return rsrc_quote(model->arena, rsrc_arena_strndup(model->arena, (const char *)value->data, n));
}

/* "llama.block_count" */
static const char *full_key(const struct model *model, const char *key) {
    return rsrc_arena_printf(model->arena, "%s.%s", model->architecture->name, key);
}

static const struct rsrc_gguf_value *find(const struct model *model, const char *key) {
    return rsrc_gguf_find(&model->gguf, full_key(model, key));
}

/* False: there is none, or it was refused. */
static bool read_number(struct model *model, const char *key, bool is_required, double *out) {
    const struct rsrc_gguf_value *value = find(model, key);
    if (value == NULL) {
        if (is_required)
            refuse(model, NULL, "gguf-missing", "the file may have been made by another converter",
                   "\"%s\" is missing", full_key(model, key));
        return false;
    }
    if (rsrc_gguf_number(value, out))
        return true;
    refuse(model, value, "gguf-field",
           value->type == RSRC_GGUF_ARRAY ? "blocks of different sizes are not supported" : NULL,
           "\"%s\" is %s where a number is expected", value->key, rsrc_gguf_type_name(value->type));
    return false;
}

/* 0: there is none, or it was refused. */
static uint32_t read_count(struct model *model, enum count count) {
    double number;
    if (!read_number(model, COUNTS[count].key, COUNTS[count].is_required, &number))
        return 0;
    if (number >= 1.0 && number <= (double)COUNTS[count].max && number == floor(number))
        return (uint32_t)number;
    refuse(model, find(model, COUNTS[count].key), "gguf-field", NULL,
           "\"%s\" is %g, not a count from 1 to %u", full_key(model, COUNTS[count].key), number,
           COUNTS[count].max);
    return 0;
}

/* ---- architecture ---------------------------------------------------------------------------- */

static void find_architecture(struct model *model) {
    const struct rsrc_gguf_value *type = rsrc_gguf_find(&model->gguf, "general.type");
    const struct rsrc_gguf_value *name = rsrc_gguf_find(&model->gguf, "general.architecture");
    if (type != NULL && !rsrc_gguf_is_text(type, "model"))
        refuse(model, type, "gguf-kind", NULL, "the file holds '%s' and not a model",
               text_of(model, type));
    if (name == NULL) {
        refuse(model, NULL, "gguf-missing", ARCHITECTURE_HELP,
               "\"general.architecture\" is missing");
        return;
    }
    for (size_t i = 0; i < N_ARCHITECTURES; i++)
        if (rsrc_gguf_is_text(name, ARCHITECTURES[i].name))
            model->architecture = &ARCHITECTURES[i];
    if (model->architecture == NULL)
        refuse(model, name, "gguf-architecture", ARCHITECTURE_HELP,
               "architecture '%s' is not supported", text_of(model, name));
}

static bool is_known(const struct model *model, const char *key) {
    static const char *const OTHERS[] = {KEY_EPS, KEY_THETA, KEY_SCALING, KEY_ACTIVATION};
    for (size_t i = 0; i < COUNT_COUNT; i++)
        if (strcmp(key, COUNTS[i].key) == 0)
            return true;
    for (size_t i = 0; i < sizeof(RESTRICTED) / sizeof(RESTRICTED[0]); i++)
        if (strcmp(key, RESTRICTED[i].key) == 0)
            return true;
    for (size_t i = 0; i < sizeof(OTHERS) / sizeof(OTHERS[0]); i++)
        if (strcmp(key, OTHERS[i]) == 0)
            return true;
    return model->architecture->has_deltas && rsrc_gguf_is_delta_key(key);
}

/* Refuses unknown keys: one may change what the model computes. */
static void check_keys(struct model *model) {
    const size_t n = strlen(model->architecture->name);
    for (uint32_t i = 0; i < model->gguf.n_values; i++) {
        const struct rsrc_gguf_value *value = &model->gguf.values[i];
        const bool is_ours =
            strncmp(value->key, model->architecture->name, n) == 0 && value->key[n] == '.';
        if (is_ours ? !is_known(model, value->key + n + 1)
                    : !rsrc_gguf_is_known_key(value->key) && !rsrc_gguf_is_rotation_key(value->key))
            refuse(model, value, "gguf-unsupported", rsrc_gguf_help_for_key(value->key),
                   "the key '%s' is not understood", rsrc_quote(model->arena, value->key));
    }
    for (size_t i = 0; i < sizeof(RESTRICTED) / sizeof(RESTRICTED[0]); i++) {
        const struct rsrc_gguf_value *value = find(model, RESTRICTED[i].key);
        double number;
        if (value != NULL &&
            (!rsrc_gguf_number(value, &number) || number != RESTRICTED[i].harmless))
            refuse(model, value, "gguf-unsupported",
                   "this model cannot be compiled by this version",
                   "\"%s\" asks for %s, which are not supported", value->key, RESTRICTED[i].what);
    }
    const struct rsrc_gguf_value *scaling = find(model, KEY_SCALING);
    if (scaling != NULL && !rsrc_gguf_is_text(scaling, "none") &&
        !rsrc_gguf_is_text(scaling, "linear"))
        refuse(model, scaling, "gguf-unsupported",
               "only unscaled rotary embeddings (\"none\", \"linear\" by 1) are supported",
               "\"%s\" is '%s'", scaling->key, text_of(model, scaling));
}

static void read_activation(struct model *model) {
    const struct rsrc_gguf_value *value = find(model, KEY_ACTIVATION);
    struct rsr_hyper *hyper = &model->config.hyper;
    hyper->activation = model->architecture->activation;
    if (value == NULL)
        return;
    if (!model->architecture->may_say_activation)
        refuse(model, value, "gguf-unsupported", NULL, "the key '%s' is not understood here",
               value->key);
    else if (rsrc_gguf_is_text(value, "relu2"))
        hyper->activation = RSR_ACTIVATION_RELU2;
    else if (rsrc_gguf_is_text(value, "silu"))
        hyper->activation = RSR_ACTIVATION_SILU;
    else
        refuse(model, value, "gguf-unsupported", "\"relu2\" and \"silu\" are supported",
               "\"%s\" is '%s'", value->key, text_of(model, value));
}

/* ---- sizes ----------------------------------------------------------------------------------- */

static void check_heads(struct model *model, const uint32_t counts[COUNT_COUNT]) {
    struct rsr_hyper *hyper = &model->config.hyper;
    const uint32_t attention_dim = hyper->head_dim * hyper->n_heads;
    static const char slug[] = "gguf-heads";
    if (hyper->head_dim == 0)
        refuse(model, NULL, slug, NULL, "%u heads do not divide the %u of \"embedding_length\"",
               hyper->n_heads, hyper->hidden);
    else if ((counts[COUNT_VALUE_DIM] != 0 && counts[COUNT_VALUE_DIM] != hyper->head_dim) ||
             (counts[COUNT_ROPE_DIM] != 0 && counts[COUNT_ROPE_DIM] != hyper->head_dim &&
              !model->architecture->has_deltas))
        refuse(model, NULL, slug, "keys, values and rotated parts of one size are supported",
               "heads have %u dimensions, values %u, of which %u are rotated", hyper->head_dim,
               counts[COUNT_VALUE_DIM], counts[COUNT_ROPE_DIM]);
    else if (hyper->head_dim % 2 != 0 || hyper->head_dim > RSRC_MAX_HEAD_DIM ||
             attention_dim > RSRC_MAX_HIDDEN)
        refuse(model, NULL, slug, "an even number of at most 1024, and at most 65536 in all heads",
               "%u heads of %u dimensions", hyper->n_heads, hyper->head_dim);
    else if (hyper->rotary_dim % 2 != 0 || hyper->rotary_dim > hyper->head_dim)
        refuse(model, find(model, COUNTS[COUNT_ROPE_DIM].key), slug, NULL,
               "\"%s\" rotates %u of the %u dimensions of a head, where an even part is needed",
               full_key(model, COUNTS[COUNT_ROPE_DIM].key), hyper->rotary_dim, hyper->head_dim);
    else if (hyper->n_heads % hyper->n_kv_heads != 0)
        refuse(model, NULL, slug, NULL, "%u heads are not a multiple of %u heads of keys",
               hyper->n_heads, hyper->n_kv_heads);
    else if (model->architecture->has_sub_norms && attention_dim != hyper->hidden)
        refuse(model, NULL, slug, "the norm after the attention is as wide as the hidden state",
               "%u heads of %u are not the %u of \"embedding_length\"", hyper->n_heads,
               hyper->head_dim, hyper->hidden);
}

static void read_sizes(struct model *model) {
    struct rsr_hyper *hyper = &model->config.hyper;
    uint32_t counts[COUNT_COUNT];
    for (uint32_t i = 0; i < COUNT_COUNT; i++)
        counts[i] = read_count(model, (enum count)i);
    if (model->failed)
        return;
    hyper->hidden = counts[COUNT_HIDDEN];
    hyper->n_layers = counts[COUNT_LAYERS];
    hyper->n_heads = counts[COUNT_HEADS];
    hyper->ffn = counts[COUNT_FFN];
    hyper->context = counts[COUNT_CONTEXT];
    hyper->n_kv_heads = counts[COUNT_KV_HEADS] == 0 ? hyper->n_heads : counts[COUNT_KV_HEADS];
    hyper->head_dim = counts[COUNT_KEY_DIM];
    if (hyper->head_dim == 0 && hyper->hidden % hyper->n_heads == 0)
        hyper->head_dim = hyper->hidden / hyper->n_heads;
    if (model->architecture->has_deltas)
        hyper->rotary_dim = counts[COUNT_ROPE_DIM];
    check_heads(model, counts);
    hyper->vocab = counts[COUNT_VOCAB]; /* 0: the rows of the embedding */
}

static void read_floats(struct model *model) {
    double eps = 0.0, theta = 10000.0; /* llama.cpp's */
    if (read_number(model, KEY_EPS, true, &eps) &&
        (!(eps > 0.0) || eps > 1.0 || (float)eps == 0.0f))
        refuse(model, find(model, KEY_EPS), "gguf-field", NULL, "\"%s\" is %g, outside (0, 1]",
               full_key(model, KEY_EPS), eps);
    if (read_number(model, KEY_THETA, false, &theta) && (!(theta >= 1.0) || theta > 1e12))
        refuse(model, find(model, KEY_THETA), "gguf-field", NULL, "\"%s\" is %g, outside [1, 1e12]",
               full_key(model, KEY_THETA), theta);
    model->config.hyper.norm_eps = (float)eps;
    model->config.hyper.rope_theta = (float)theta;
    model->config.ropes[0] = (struct rsr_rope_config){.kind = RSR_ROPE_PLAIN, .theta = theta};
}

/* ---- tensors --------------------------------------------------------------------------------- */

static int compare_names(const void *left, const void *right) {
    return strcmp(((const struct rsr_tensor *)left)->name,
                  ((const struct rsr_tensor *)right)->name);
}

static void name_tensors(struct model *model) {
    struct rsrc_gguf *gguf = &model->gguf;
    const struct rsr_hyper *hyper = &model->config.hyper;
    const bool is_interleaved = model->architecture->is_interleaved;
    for (uint32_t i = 0; i < gguf->n_tensors; i++)
        rsrc_gguf_rename(model->arena, &gguf->tensors[i], is_interleaved ? hyper->n_heads : 0,
                         is_interleaved ? hyper->n_kv_heads : 0);
    qsort(gguf->tensors, gguf->n_tensors, sizeof(*gguf->tensors), compare_names);
    for (uint32_t i = 1; i < gguf->n_tensors; i++)
        if (compare_names(&gguf->tensors[i - 1], &gguf->tensors[i]) == 0)
            refuse(model, NULL, "gguf-duplicate", NULL, "there are two tensors '%s'",
                   rsrc_quote(model->arena,
                              rsrc_gguf_stored_name(model->arena, gguf->tensors[i].name)));
}

static struct rsr_tensor *find_tensor(const struct model *model, const char *name) {
    const struct rsr_tensor wanted = {.name = name};
    return bsearch(&wanted, model->gguf.tensors, model->gguf.n_tensors, sizeof(wanted),
                   compare_names);
}

/* A ternary embedding that is also the head becomes two tensors: floats as the embedding, and a
 * ternary layer as the head. */
static void add_head(struct model *model, const struct rsr_tensor *embedding) {
    struct rsrc_gguf *gguf = &model->gguf;
    struct rsr_tensor *tensors =
        RSRC_NEW_ARRAY(model->arena, gguf->n_tensors + 1u, struct rsr_tensor);
    memcpy(tensors, gguf->tensors, gguf->n_tensors * sizeof(*tensors));
    tensors[gguf->n_tensors] = *embedding;
    tensors[gguf->n_tensors++].name = "lm_head.weight";
    gguf->tensors = tensors;
    qsort(tensors, gguf->n_tensors, sizeof(*tensors), compare_names);
}

/* The rows of the embedding are the vocabulary; if the model has no head, the embedding is the
 * head. */
static void read_ends(struct model *model) {
    struct rsr_hyper *hyper = &model->config.hyper;
    struct rsr_tensor *embedding = find_tensor(model, "model.embed_tokens.weight");
    struct rsr_tensor *head = find_tensor(model, "lm_head.weight");
    if (embedding != NULL && head == NULL && rsrc_gguf_is_ternary_dense(embedding)) {
        add_head(model, embedding);
        embedding = find_tensor(model, "model.embed_tokens.weight");
        head = find_tensor(model, "lm_head.weight");
    }
    hyper->tied_head = head == NULL;
    if (embedding == NULL || embedding->shape[0] > RSRC_MAX_VOCAB) {
        refuse(model, NULL, "gguf-missing", NULL,
               embedding == NULL ? "there is no tensor token_embd.weight"
                                 : "token_embd.weight has more than 4194304 rows");
        return;
    }
    if (hyper->vocab != 0 && hyper->vocab != embedding->shape[0])
        refuse(model, find(model, COUNTS[COUNT_VOCAB].key), "gguf-field", NULL,
               "\"%s\" is %u, but token_embd.weight has %llu rows",
               full_key(model, COUNTS[COUNT_VOCAB].key), hyper->vocab,
               (unsigned long long)embedding->shape[0]);
    hyper->vocab = (uint32_t)embedding->shape[0];
    if (rsrc_gguf_expand(model->diag, model->arena, embedding) != RSRC_OK ||
        (head != NULL && rsrc_gguf_expand(model->diag, model->arena, head) != RSRC_OK))
        model->failed = true;
}

/* ---- tokens ---------------------------------------------------------------------------------- */

static uint32_t read_token(struct model *model, const char *key) {
    const struct rsrc_gguf_value *value = rsrc_gguf_find(&model->gguf, key);
    double id;
    if (value == NULL)
        return RSR_NO_TOKEN;
    if (rsrc_gguf_number(value, &id) && id >= 0.0 && id < (double)model->config.hyper.vocab &&
        id == floor(id))
        return (uint32_t)id;
    refuse(model, value, "gguf-token", NULL, "\"%s\" is not an id of the vocabulary's %u tokens",
           key, model->config.hyper.vocab);
    return RSR_NO_TOKEN;
}

static void read_tokens(struct model *model) {
    static const char *const ENDS_OF_TEXT[] = {"tokenizer.ggml.eos_token_id",
                                               "tokenizer.ggml.eot_token_id",
                                               "tokenizer.ggml.eom_token_id"};
    struct rsr_config *config = &model->config;
    config->bos_token = read_token(model, "tokenizer.ggml.bos_token_id");
    for (size_t i = 0; i < sizeof(ENDS_OF_TEXT) / sizeof(ENDS_OF_TEXT[0]); i++) {
        const uint32_t id = read_token(model, ENDS_OF_TEXT[i]);
        bool is_new = id != RSR_NO_TOKEN;
        for (uint32_t k = 0; k < config->n_eos_tokens; k++)
            is_new = is_new && config->eos_tokens[k] != id;
        if (is_new)
            config->eos_tokens[config->n_eos_tokens++] = id;
    }
}

/* ---- entry point ----------------------------------------------------------------------------- */

enum rsrc_status rsrc_parse_gguf_parts(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                       const struct rsrc_gguf_part *parts, uint32_t n_parts,
                                       const struct rsrc_read_choices *choices,
                                       struct rsr_checkpoint *out) {
    struct model model = {.diag = diag, .arena = arena, .file = parts[0].file};
    if (rsrc_read_gguf_parts(diag, arena, parts, n_parts, &model.gguf) != RSRC_OK)
        return RSRC_FAILED;
    find_architecture(&model);
    if (model.failed)
        return RSRC_FAILED;
    model.config = (struct rsr_config){.file = model.file,
                                       .model_type = model.architecture->model_type,
                                       .architecture = model.architecture->name,
                                       .scale_rule = RSR_SCALE_BLOCKS,
                                       .scale_reason = "a GGUF file keeps the scale in the blocks"};
    check_keys(&model);
    read_activation(&model);
    read_floats(&model);
    read_sizes(&model);
    if (model.failed ||
        rsrc_gguf_find_i2s_layout(diag, &model.gguf, choices->i2s_layout) != RSRC_OK ||
        rsrc_gguf_find_input(diag, model.file, &model.gguf, model.architecture->input,
                             choices->activations, &model.config) != RSRC_OK)
        return RSRC_FAILED;
    if (model.architecture->has_deltas &&
        rsrc_gguf_read_deltas(diag, arena, model.file, &model.gguf, &model.config) != RSRC_OK)
        return RSRC_FAILED;
    name_tensors(&model);
    if (model.failed ||
        rsrc_gguf_read_rotation(diag, arena, model.file, &model.gguf, &model.config) != RSRC_OK ||
        rsrc_gguf_order_heads(diag, arena, model.file, &model.gguf, &model.config) != RSRC_OK)
        return RSRC_FAILED;
    read_ends(&model);
    read_tokens(&model);
    struct rsr_tokenizer tokenizer;
    if (model.failed || rsrc_gguf_read_tokenizer(diag, arena, model.file, &model.gguf,
                                                 &model.config, &tokenizer) != RSRC_OK)
        return RSRC_FAILED;
    out->tensors = model.gguf.tensors;
    out->n_tensors = model.gguf.n_tensors;
    out->stored_name =
        model.architecture->has_deltas ? rsrc_gguf_qwen35_stored_name : rsrc_gguf_stored_name;
    out->config = model.config;
    out->tokenizer = tokenizer;
    out->has_config = true;
    return RSRC_OK;
}

enum rsrc_status rsrc_parse_gguf(struct rsrc_diag *diag, struct rsrc_arena *arena, const char *name,
                                 const uint8_t *bytes, uint64_t size_bytes,
                                 const struct rsrc_read_choices *choices,
                                 struct rsr_checkpoint *out) {
    const struct rsrc_gguf_part whole = {rsrc_arena_strdup(arena, name), bytes, size_bytes};
    return rsrc_parse_gguf_parts(diag, arena, &whole, 1, choices, out);
}
