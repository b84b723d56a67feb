/* graph.c - binds the tensors of a checkpoint to the roles of an architecture's table.
 *
 * Input: a validated checkpoint. Output: rsr_graph, every linear layer with its encoding and scale
 * rule. The walk is generic; family/ describes families. Every tensor must have a role, the shape
 * that the hyper-parameters give it, and a type that the scale rule allows. Missing tensors and
 * leftover ones are refused by name. At most MAX_REPORTED errors of a kind are reported.
 */
#include "model/graph.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/mapped_file.h"
#include "family/family.h"
#include "model/finite.h"
#include "model/gguf_blocks.h"
#include "model/leftover.h"
#include "model/looks_ternary.h"
#include "model/rope.h"
#include "model/tensor_data.h"

#define MAX_REPORTED 8u

/* int32 accumulators hold 128 * cols, so no dimension may reach 2^24. */
#define MAX_DIM ((1u << 24) - 1)

/* Rotary tables are computed from rope_theta; old exporters stored them as buffers, which are
 * ignored. */
static const char *const IGNORED[] = {
    "layers.%u.self_attn.rotary_emb.inv_freq",
    "rotary_emb.inv_freq",
};

#define EMBEDDING "embed_tokens"
#define HEAD "lm_head"
/* Prefix of all modules except the head, if the checkpoint holds a whole language model. */
#define BODY "model."
#define LANGUAGE_MODEL BODY "language_model."

struct builder {
    struct rsrc_diag *diag;
    struct rsrc_arena *arena;
    const struct rsr_checkpoint *checkpoint;
    const struct rsrc_family *family;
    const char *prefix; /* BODY or "" */
    struct rsr_graph *graph;
    uint32_t dims[RSRC_DIM_COUNT];
    uint32_t n_errors;
    bool is_ambiguous; /* a remark about a pattern of modules_to_not_convert was made */
    struct rsrc_missing missing;
};

/* ---- architecture and dimensions ------------------------------------------------------------- */

static const struct rsrc_family *find_family(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                             const struct rsr_checkpoint *checkpoint) {
    const struct rsr_config *config = &checkpoint->config;
    const struct rsrc_family *family = rsrc_find_family(config->model_type, config->architecture);
    struct rsrc_place place = {.file = config->file};

    if (!family)
        rsrc_error(diag, "graph-architecture", &place,
                   rsrc_arena_printf(arena, "supported are %s", rsrc_family_list(arena)),
                   "model_type \"%s\" is not supported", config->model_type);
    return family;
}

static enum rsrc_status resolve_dims(struct builder *b) {
    const struct rsr_hyper *hyper = &b->graph->hyper;
    const uint64_t values = (uint64_t)hyper->delta_value_heads * hyper->delta_value_dim;
    const struct {
        const char *name;
        uint64_t value;
    } sizes[RSRC_DIM_COUNT] = {
        [RSRC_DIM_HIDDEN] = {"hidden_size", hyper->hidden},
        [RSRC_DIM_Q] = {"num_attention_heads * head_dim",
                        (uint64_t)hyper->n_heads * hyper->head_dim},
        [RSRC_DIM_KV] = {"num_key_value_heads * head_dim",
                         (uint64_t)hyper->n_kv_heads * hyper->head_dim},
        [RSRC_DIM_FFN] = {"intermediate_size", hyper->ffn},
        [RSRC_DIM_HEAD] = {"head_dim", hyper->head_dim},
        [RSRC_DIM_GATED_Q] = {"num_attention_heads * head_dim * 2",
                              2 * (uint64_t)hyper->n_heads * hyper->head_dim},
        [RSRC_DIM_DELTA_QKV] = {"linear_num_key_heads * linear_key_head_dim * 2 + "
                                "linear_num_value_heads * linear_value_head_dim",
                                2 * (uint64_t)hyper->delta_key_heads * hyper->delta_key_dim +
                                    values},
        [RSRC_DIM_DELTA_VALUES] = {"linear_num_value_heads * linear_value_head_dim", values},
        [RSRC_DIM_DELTA_HEADS] = {"linear_num_value_heads", hyper->delta_value_heads},
    };
    const uint32_t n = hyper->delta_layers != 0 ? RSRC_DIM_COUNT : RSRC_DIM_DELTA_QKV;
    struct rsrc_place place = {.file = b->checkpoint->config.file};

    for (uint32_t i = 0; i < n; i++) {
        if (sizes[i].value == 0 || sizes[i].value > MAX_DIM)
            return rsrc_refuse(b->diag, "graph-dimension", &place,
                               "a layer has 1 to 16777215 rows and columns", "%s is %" PRIu64,
                               sizes[i].name, sizes[i].value);
        b->dims[i] = (uint32_t)sizes[i].value;
    }
    if (hyper->n_layers > b->checkpoint->n_tensors)
        return rsrc_refuse(b->diag, "graph-layers", &place,
                           "the configuration is that of another checkpoint",
                           "there are %u layers, but the checkpoint has only %u tensors",
                           hyper->n_layers, b->checkpoint->n_tensors);
    return RSRC_OK;
}

/* Defaults: all of a head is rotated, scores are scaled by the root of the head size, and
 * embeddings are not scaled. */
static void set_defaults(struct rsr_hyper *hyper) {
    if (hyper->rotary_dim == 0)
        hyper->rotary_dim = hyper->head_dim;
    if (hyper->attention_scale == 0.0f)
        hyper->attention_scale = (float)(1.0 / sqrt((double)hyper->head_dim));
    if (hyper->embedding_scale == 0.0f)
        hyper->embedding_scale = 1.0f;
}

/* ---- tensors by name ------------------------------------------------------------------------- */

/* "layers.%u.mlp" with the prefix and its block number. */
static const char *expand(const struct builder *b, const char *path, uint32_t block) {
    const char *mark = strstr(path, "%u");

    if (!mark)
        return rsrc_arena_printf(b->arena, "%s%s", b->prefix, path);
    return rsrc_arena_printf(b->arena, "%s%.*s%u%s", b->prefix, (int)(mark - path), path, block,
                             mark + 2);
}

static struct rsr_tensor *find_tensor(const struct builder *b, const char *name) {
    uint32_t low = 0, high = b->checkpoint->n_tensors;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = strcmp(b->checkpoint->tensors[middle].name, name);
        if (order == 0)
            return &b->checkpoint->tensors[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* The tensor, now consumed, or NULL. */
static const struct rsr_tensor *take_optional(const struct builder *b, const char *name) {
    struct rsr_tensor *tensor = find_tensor(b, name);

    if (tensor)
        tensor->consumed = true;
    return tensor;
}

static const struct rsr_tensor *take(struct builder *b, const char *name, const char *expected) {
    const struct rsr_tensor *tensor = take_optional(b, name);

    if (!tensor && b->checkpoint->stored_name)
        name = b->checkpoint->stored_name(b->arena, name);
    if (!tensor)
        rsrc_missing_add(&b->missing, name, expected);
    return tensor;
}

/* ---- checks ---------------------------------------------------------------------------------- */

static bool has_shape(const struct rsr_tensor *tensor, uint64_t rows, uint64_t cols) {
    return tensor->n_dims == 2 && tensor->shape[0] == rows && tensor->shape[1] == cols;
}

static const char *shape_text(struct rsrc_arena *arena, const struct rsr_tensor *tensor) {
    const char *text = "[";

    for (uint32_t i = 0; i < tensor->n_dims; i++)
        text = rsrc_arena_printf(arena, "%s%s%" PRIu64, text, i ? ", " : "", tensor->shape[i]);
    return rsrc_arena_printf(arena, "%s]", text);
}

static bool refuse(struct builder *b, const char *slug, const struct rsr_tensor *tensor,
                   const char *expected, const char *help) {
    struct rsrc_place place = rsrc_tensor_place(tensor, 0);

    rsrc_error(b->diag, slug, &place, help, "%s %s where %s is expected",
               rsrc_tensor_type_name(tensor), shape_text(b->arena, tensor), expected);
    b->n_errors++;
    return false;
}

/* A float tensor of one dimension of n elements; `scalar` also allows none. */
static bool check_vector(struct builder *b, const struct rsr_tensor *tensor, uint32_t n,
                         bool scalar) {
    const char *expected = rsrc_arena_printf(b->arena, "f32, bf16 or f16 [%u]", n);

    if (!rsrc_dtype_is_float(tensor->dtype))
        return refuse(b, "graph-dtype", tensor, expected, NULL);
    if ((tensor->n_dims == 1 && tensor->shape[0] == n) || (scalar && tensor->n_dims == 0))
        return true;
    return refuse(b, "graph-shape", tensor, expected, NULL);
}

/* Type and shape decide the encoding; the configuration's scale rule says which types make
 * sense. */
static bool find_encoding(struct builder *b, const struct rsr_tensor *tensor,
                          struct rsr_layer *layer) {
    uint32_t packed_rows = layer->rows / 4 + (layer->rows % 4 != 0);
    bool is_byte = tensor->dtype == RSR_DTYPE_U8 || tensor->dtype == RSR_DTYPE_I8;

    if (layer->scale_rule == RSR_SCALE_ONLINE || layer->scale_rule == RSR_SCALE_VALUES) {
        const bool online = layer->scale_rule == RSR_SCALE_ONLINE;
        const char *expected =
            rsrc_arena_printf(b->arena, "float %s f32, bf16 or f16 [%u, %u]",
                              online ? "masters" : "weights", layer->rows, layer->cols);
        layer->encoding = online ? RSR_ENCODING_LATENT : RSR_ENCODING_VALUES;
        if (!rsrc_dtype_is_float(tensor->dtype))
            return refuse(b, "graph-dtype", tensor, expected, b->checkpoint->config.scale_reason);
        return has_shape(tensor, layer->rows, layer->cols) ||
               refuse(b, "graph-shape", tensor, expected, NULL);
    }
    if (layer->scale_rule == RSR_SCALE_BLOCKS) {
        const char *expected = rsrc_arena_printf(b->arena, "a ternary type of GGUF [%u, %u]",
                                                 layer->rows, layer->cols);
        layer->encoding = RSR_ENCODING_BLOCKS;
        if (!rsrc_blocks_are_ternary(tensor->blocks))
            return refuse(b, "graph-dtype", tensor, expected,
                          "quantise the linear layers of every block to TQ1_0, TQ2_0, PTQ1_0, "
                          "PQ2_0, STQ1_0, Q2_0, Q1_0, I2_S, IQ1_BN or IQ2_BN");
        return has_shape(tensor, layer->rows, layer->cols) ||
               refuse(b, "graph-shape", tensor, expected, NULL);
    }
    const char *expected =
        rsrc_arena_printf(b->arena, "packed u8 [%u, %u] or bytes u8 or i8 [%u, %u]", packed_rows,
                          layer->cols, layer->rows, layer->cols);
    if (!is_byte)
        return refuse(b, "graph-dtype", tensor, expected, b->checkpoint->config.scale_reason);
    if (tensor->dtype == RSR_DTYPE_U8 && has_shape(tensor, packed_rows, layer->cols)) {
        layer->encoding = RSR_ENCODING_PACKED2;
        return true;
    }
    layer->encoding = RSR_ENCODING_BYTES;
    return has_shape(tensor, layer->rows, layer->cols) ||
           refuse(b, "graph-shape", tensor, expected,
                  "packed weights have a quarter of the rows that config.json gives the layer");
}

/* Whether a pattern of modules_to_not_convert names this module, by the rule of transformers: it
 * matches from the start up to the boundary of a module's name, or at the end. Regular expressions,
 * which transformers also allows, are refused when the configuration is read. */
static bool matches_module(const char *pattern, const char *module) {
    const size_t n = strlen(pattern), n_module = strlen(module);

    if (n > n_module || n == 0)
        return n == 0;
    if (strcmp(module + n_module - n, pattern) == 0)
        return true;
    return strncmp(module, pattern, n) == 0 && (module[n] == '.' || pattern[n - 1] == '.');
}

/* Decides whether a layer is ternary or kept in floating point. */
static bool is_converted(const struct builder *b, const char *module) {
    const struct rsr_config *config = &b->checkpoint->config;

    for (uint32_t i = 0; i < config->n_not_converted; i++)
        if (matches_module(config->not_converted[i], module))
            return false;
    return true;
}

/* transformers 4 keeps a module whose name holds a pattern anywhere. Where layers are quantised
 * from float masters, no tensor shows which rule the model was trained with. */
static void refuse_ambiguous(struct builder *b, const char *module) {
    const struct rsr_config *config = &b->checkpoint->config;
    struct rsrc_place place = {.file = config->file};

    if (config->scale_rule != RSR_SCALE_ONLINE || b->is_ambiguous || !is_converted(b, module))
        return;
    for (uint32_t i = 0; i < config->n_not_converted; i++) {
        if (!strstr(module, config->not_converted[i]))
            continue;
        rsrc_error(b->diag, "graph-module-pattern", &place,
                   "name modules in full, as model.layers.1.self_attn.q_proj, or by their ends, as "
                   "q_proj",
                   "'%.80s' of modules_to_not_convert is a part of the name %s: versions of "
                   "transformers differ whether that layer is quantised",
                   config->not_converted[i], module);
        b->is_ambiguous = true;
        b->n_errors++;
        return;
    }
}

/* Binds a float matrix of the model. */
static bool check_dense(struct builder *b, const struct rsr_tensor *tensor, uint32_t rows,
                        uint32_t cols, const char *help) {
    const char *expected = rsrc_arena_printf(b->arena, "f32, bf16 or f16 [%u, %u]", rows, cols);

    if (!rsrc_dtype_is_float(tensor->dtype))
        return refuse(b, "graph-dtype", tensor, expected, help);
    if (!has_shape(tensor, rows, cols))
        return refuse(b, "graph-shape", tensor, expected, help);
    if (tensor->data == NULL || /* blocks, which are checked when they are expanded */
        rsrc_check_finite(b->diag, tensor, (uint64_t)rows * cols) == RSRC_OK)
        return true;
    b->n_errors++;
    return false;
}

/* Norms are small, so their values are checked now; then every kind of output refuses a NaN. */
static uint32_t bind_norm(struct builder *b, enum rsr_role role, const char *name, uint32_t block,
                          uint32_t cols, float eps, float offset) {
    const uint32_t number = b->graph->n_norms++;
    struct rsr_norm_layer *norm = &b->graph->norms[number];

    *norm = (struct rsr_norm_layer){
        .block = block, .role = role, .name = name, .cols = cols, .eps = eps, .offset = offset};
    norm->weight = take(b, rsrc_arena_printf(b->arena, "%s.weight", name),
                        "the weights of a normalisation, one a channel");
    if (norm->weight && check_vector(b, norm->weight, cols, false))
        b->n_errors += rsrc_check_finite(b->diag, norm->weight, cols) != RSRC_OK;
    return number;
}

static uint32_t bind_ternary(struct builder *b, enum rsr_role role, const char *name,
                             uint32_t block, uint32_t rows, uint32_t cols) {
    const uint32_t number = b->graph->n_layers++;
    struct rsr_layer *layer = &b->graph->layers[number];

    *layer = (struct rsr_layer){.block = block,
                                .role = role,
                                .name = name,
                                .scale_rule = b->checkpoint->config.scale_rule,
                                .rows = rows,
                                .cols = cols};
    layer->weight = take(b, rsrc_arena_printf(b->arena, "%s.weight", name),
                         "the weights of a ternary linear layer");
    if (layer->weight)
        find_encoding(b, layer->weight, layer);
    if (layer->scale_rule == RSR_SCALE_ONLINE || layer->scale_rule == RSR_SCALE_VALUES)
        return number;
    const char *scale_name = rsrc_arena_printf(b->arena, "%s.weight_scale", name);
    layer->scale = layer->scale_rule == RSR_SCALE_BLOCKS
                       ? take_optional(b, scale_name)
                       : take(b, scale_name, "the scale of packed weights, a float of shape [1]");
    if (layer->scale)
        check_vector(b, layer->scale, 1, true);
    return number;
}

static uint32_t bind_dense(struct builder *b, enum rsr_role role, const char *name, uint32_t block,
                           uint32_t rows, uint32_t cols) {
    const uint32_t number = b->graph->n_dense++;
    struct rsr_dense_layer *layer = &b->graph->dense[number];

    *layer = (struct rsr_dense_layer){
        .block = block, .role = role, .name = name, .rows = rows, .cols = cols};
    layer->weight = take(b, rsrc_arena_printf(b->arena, "%s.weight", name),
                         "the weights of a linear layer that stays in floating point");
    if (layer->weight)
        check_dense(b, layer->weight, rows, cols,
                    "modules_to_not_convert keeps this layer as it is");
    return number;
}

/* Binds a linear layer, and the norm of its own input if the model has such norms. */
static struct rsr_linear_slot bind_ternary_slot(struct builder *b, enum rsr_role role,
                                                const char *name, uint32_t block, uint32_t rows,
                                                uint32_t cols) {
    const struct rsr_config *config = &b->checkpoint->config;
    struct rsr_linear_slot slot = {.layer = bind_ternary(b, role, name, block, rows, cols),
                                   .dense = RSR_NO_LAYER,
                                   .norm = RSR_NO_NORM};

    if (config->projection_norm) {
        slot.norm = bind_norm(b, RSR_ROLE_PROJ_NORM,
                              rsrc_arena_printf(b->arena, "%s.%s", name, config->projection_norm),
                              block, cols, config->projection_norm_eps, 0.0f);
        b->graph->norms[slot.norm].owner = role;
    }
    return slot;
}

/* The gates of a delta rule are a few rows: checkpoints that were not trained with int8 may keep
 * them in floating point. They multiply floats then, whatever the other layers do. */
static bool is_small_float(const struct builder *b, const struct rsrc_family_entry *entry,
                           const char *name) {
    const enum rsr_scale_rule rule = b->checkpoint->config.scale_rule;
    const struct rsr_tensor *tensor =
        find_tensor(b, rsrc_arena_printf(b->arena, "%s.weight", name));

    return entry->rows == RSRC_DIM_DELTA_HEADS &&
           (rule == RSR_SCALE_VALUES || rule == RSR_SCALE_BLOCKS) && tensor != NULL &&
           rsrc_dtype_is_float(tensor->dtype);
}

static struct rsr_linear_slot bind_linear(struct builder *b, const struct rsrc_family_entry *entry,
                                          uint32_t block) {
    const char *name = expand(b, entry->path, block);
    /* Patterns refer to modules of the loaded model: an embedding model has only the body. */
    const bool body = b->graph->hyper.pooling != RSR_POOLING_NONE;
    const char *loaded =
        b->family->text_config != NULL
            ? name
            : rsrc_arena_printf(b->arena, "%s%s", body ? "" : BODY, name + strlen(b->prefix));
    const uint32_t rows = b->dims[entry->rows], cols = b->dims[entry->cols];

    refuse_ambiguous(b, loaded);
    if (!is_converted(b, loaded) || is_small_float(b, entry, name))
        return (struct rsr_linear_slot){.layer = RSR_NO_LAYER,
                                        .dense =
                                            bind_dense(b, entry->role, name, block, rows, cols),
                                        .norm = RSR_NO_NORM};
    return bind_ternary_slot(b, entry->role, name, block, rows, cols);
}

/* A float vector of a delta rule. */
static const struct rsr_tensor *bind_delta_vector(struct builder *b, const char *name, uint32_t n,
                                                  const char *expected) {
    const struct rsr_tensor *tensor = take(b, name, expected);

    if (tensor && check_vector(b, tensor, n, false))
        b->n_errors += rsrc_check_finite(b->diag, tensor, n) != RSRC_OK;
    return tensor;
}

/* The decay of every value head: A_log, or -exp(A_log), which is not above 0. */
static const struct rsr_tensor *bind_decay(struct builder *b, const char *name) {
    const uint32_t n = b->dims[RSRC_DIM_DELTA_HEADS], n_before = b->n_errors;
    const struct rsr_tensor *tensor =
        bind_delta_vector(b, name, n, "the decay of every value head");

    for (uint32_t i = 0; tensor && b->n_errors == n_before && b->family->decay_is_rate && i < n;
         i++) {
        float rate;
        rsrc_load_floats(tensor->dtype, tensor->data + i * rsrc_dtype_bytes(tensor->dtype), 1,
                         &rate);
        if (rate > 0.0f) {
            refuse(b, "graph-decay", tensor, "-exp(A_log), which is not above 0,", NULL);
            break;
        }
    }
    return tensor;
}

static const struct rsr_tensor *bind_taps(struct builder *b, const char *name) {
    const uint32_t channels = b->dims[RSRC_DIM_DELTA_QKV];
    const char *expected =
        rsrc_arena_printf(b->arena, "f32, bf16 or f16 [%u, 1, %u]", channels, RSR_DELTA_TAPS);
    const struct rsr_tensor *tensor =
        take(b, name, "the causal convolution of queries, keys and values");

    if (!tensor)
        return NULL;
    if (!rsrc_dtype_is_float(tensor->dtype))
        refuse(b, "graph-dtype", tensor, expected, NULL);
    else if (tensor->n_dims != 3 || tensor->shape[0] != channels || tensor->shape[1] != 1 ||
             tensor->shape[2] != RSR_DELTA_TAPS)
        refuse(b, "graph-shape", tensor, expected, NULL);
    else
        b->n_errors +=
            rsrc_check_finite(b->diag, tensor, (uint64_t)channels * RSR_DELTA_TAPS) != RSRC_OK;
    return tensor;
}

static uint32_t bind_delta(struct builder *b, uint32_t block) {
    const uint32_t number = b->graph->n_deltas++, heads = b->dims[RSRC_DIM_DELTA_HEADS];
    const char *name = expand(b, b->family->delta_path, block);

    b->graph->deltas[number] = (struct rsr_delta_layer){
        .name = name,
        .taps = bind_taps(b, rsrc_arena_printf(b->arena, "%s.conv1d.weight", name)),
        .decay = bind_decay(b, rsrc_arena_printf(b->arena, "%s.A_log", name)),
        .decay_is_rate = b->family->decay_is_rate,
        .shift = bind_delta_vector(b, rsrc_arena_printf(b->arena, "%s.dt_bias", name), heads,
                                   "what is added to every value head's time step"),
        .norm = bind_delta_vector(b, rsrc_arena_printf(b->arena, "%s.norm.weight", name),
                                  b->graph->hyper.delta_value_dim, "the norm of every value head"),
    };
    return number;
}

static void bind_block(struct builder *b, uint32_t block) {
    const struct rsr_config *config = &b->checkpoint->config;
    struct rsr_block_layers *slots = &b->graph->blocks[block];
    const bool has_window = config->has_window != NULL && config->has_window[block] != 0;
    const bool has_delta = config->has_delta != NULL && config->has_delta[block] != 0;
    const struct rsrc_family_entry *entries = has_delta ? b->family->delta_block : b->family->block;
    const uint32_t n_entries = has_delta ? b->family->n_delta_block : b->family->n_block;

    memset(slots, 0xff, sizeof *slots); /* RSR_NO_LAYER, RSR_NO_NORM: absent */
    slots->rope = has_window ? 1 : 0;
    slots->window = has_window ? config->window : 0;
    slots->number = has_delta ? b->graph->n_deltas : block - b->graph->n_deltas;
    if (has_delta)
        slots->delta = bind_delta(b, block);
    for (uint32_t i = 0; i < n_entries; i++) {
        const struct rsrc_family_entry *entry = &entries[i];
        void *slot = (char *)slots + entry->slot;

        switch (entry->kind) {
        case RSRC_FAMILY_LINEAR:
            *(struct rsr_linear_slot *)slot = bind_linear(b, entry, block);
            break;
        case RSRC_FAMILY_NORM:
            *(uint32_t *)slot =
                bind_norm(b, entry->role, expand(b, entry->path, block), block,
                          b->dims[entry->cols], b->graph->hyper.norm_eps, b->family->norm_offset);
            break;
        }
    }
}

static bool are_equal(const struct rsr_tensor *a, const struct rsr_tensor *b) {
    struct rsrc_pieces in_a = {a->data, a->size_bytes, a->is_mapped, 0};
    struct rsrc_pieces in_b = {b->data, b->size_bytes, b->is_mapped, 0};
    bool equal = a->dtype == b->dtype && a->size_bytes == b->size_bytes;
    while (equal && rsrc_next_piece(&in_a) && rsrc_next_piece(&in_b))
        equal = memcmp(in_a.bytes, in_b.bytes, in_a.n_bytes) == 0;
    return equal;
}

/* A tied model may still store its head; it must then be the embedding. */
static void bind_tied_head(struct builder *b, const char *name) {
    const struct rsr_tensor *embedding = b->graph->embedding;
    const struct rsr_tensor *head = take_optional(b, name);

    b->graph->head = embedding;
    if (!head || !embedding || are_equal(head, embedding))
        return;
    struct rsrc_place place = rsrc_tensor_place(head, 0);
    rsrc_error(b->diag, "graph-tied-head", &place,
               "set tie_word_embeddings to false if the model has a head of its own",
               "config.json ties the head to the embedding, but it differs from %s",
               embedding->name);
    b->n_errors++;
}

/* Packed weights need a rule for their scale; without quantization_config there is none. */
static bool check_packed_rule(struct builder *b) {
    const struct rsr_config *config = &b->checkpoint->config;
    struct rsrc_place place = {.file = config->file};

    for (uint32_t i = 0; config->scale_rule == RSR_SCALE_VALUES && i < b->family->n_block; i++) {
        const char *name =
            rsrc_arena_printf(b->arena, "%s.weight", expand(b, b->family->block[i].path, 0));
        const struct rsr_tensor *tensor = find_tensor(b, name);
        if (!tensor || rsrc_dtype_is_float(tensor->dtype))
            continue;
        rsrc_error(
            b->diag, "config-quantization", &place,
            "fetch the config.json of this very checkpoint; for packed ternary weights it has "
            "quant_method \"bitnet\"",
            "%s is packed, and no \"quantization_config\" says how it is scaled", name);
        return false;
    }
    return true;
}

#define VOCABULARY_HELP                                                                            \
    "the configuration has another vocabulary or hidden size than this checkpoint"

/* Whether a matrix of the vocabulary is stored as a ternary one. */
static bool is_ternary_head(const struct builder *b, const struct rsr_tensor *tensor) {
    switch (b->checkpoint->config.scale_rule) {
    case RSR_SCALE_MULTIPLY:
    case RSR_SCALE_DIVIDE:
    case RSR_SCALE_ONLINE:
        return is_converted(b, HEAD);
    case RSR_SCALE_BLOCKS:
        return rsrc_blocks_are_ternary(tensor->blocks);
    case RSR_SCALE_VALUES:
        return rsrc_looks_ternary(tensor);
    }
    return false;
}

static void bind_ternary_head(struct builder *b, const char *name) {
    const struct rsr_hyper *hyper = &b->graph->hyper;

    b->graph->head_slot =
        bind_ternary_slot(b, RSR_ROLE_HEAD, name, RSR_NO_BLOCK, hyper->vocab, hyper->hidden);
}

/* transformers would quantise a tied head that modules_to_not_convert does not name. */
static void refuse_quantised_tie(struct builder *b) {
    const struct rsr_config *config = &b->checkpoint->config;
    struct rsrc_place place = {.file = config->file};
    const bool quantises = config->scale_rule == RSR_SCALE_MULTIPLY ||
                           config->scale_rule == RSR_SCALE_DIVIDE ||
                           config->scale_rule == RSR_SCALE_ONLINE;

    if (!quantises || !is_converted(b, HEAD))
        return;
    rsrc_error(b->diag, "graph-tied-head", &place, "add lm_head to modules_to_not_convert",
               "the head is quantised, because modules_to_not_convert lacks lm_head, and tied to "
               "the embedding, which is not");
    b->n_errors++;
}

static void bind_head(struct builder *b) {
    struct rsr_graph *graph = b->graph;
    const struct rsr_hyper *hyper = &graph->hyper;

    if (hyper->pooling != RSR_POOLING_NONE)
        return;
    refuse_ambiguous(b, HEAD);
    if (hyper->tied_head) {
        bind_tied_head(b, HEAD ".weight");
        refuse_quantised_tie(b);
        if (graph->embedding && b->checkpoint->config.scale_rule == RSR_SCALE_VALUES &&
            rsrc_looks_ternary(graph->embedding))
            bind_ternary_head(b, rsrc_arena_printf(b->arena, "%s" EMBEDDING, b->prefix));
        return;
    }
    graph->head = take(b, HEAD ".weight", "the head, because tie_word_embeddings is false");
    if (!graph->head)
        return;
    if (is_ternary_head(b, graph->head))
        bind_ternary_head(b, HEAD);
    else
        check_dense(b, graph->head, hyper->vocab, hyper->hidden, VOCABULARY_HELP);
}

/* Steps look up rows of floats, so an embedding in blocks is expanded: now if it may be the head as
 * well, else when it is written, as it may take gigabytes. */
static const struct rsr_tensor *take_embedding(struct builder *b) {
    const struct rsr_tensor *tensor =
        take(b, rsrc_arena_printf(b->arena, "%s" EMBEDDING ".weight", b->prefix),
             "the embedding, one row a token");
    const struct rsr_hyper *hyper = &b->graph->hyper;

    if (!tensor || !rsrc_can_expand_blocks(tensor->blocks) ||
        !has_shape(tensor, hyper->vocab, hyper->hidden))
        return tensor;
    struct rsr_tensor *floats = RSRC_NEW_ARRAY(b->arena, 1, struct rsr_tensor);
    if (!hyper->tied_head) {
        *floats = rsrc_expanded(tensor);
        b->graph->embedding_blocks = tensor;
        return floats;
    }
    b->n_errors += rsrc_expand_blocks(b->diag, b->arena, tensor, floats) != RSRC_OK;
    return b->n_errors == 0 ? floats : NULL;
}

static void bind_ends(struct builder *b) {
    struct rsr_graph *graph = b->graph;
    const struct rsr_hyper *hyper = &graph->hyper;

    graph->embedding = take_embedding(b);
    if (graph->embedding)
        check_dense(b, graph->embedding, hyper->vocab, hyper->hidden,
                    rsrc_dtype_is_float(graph->embedding->dtype)
                        ? VOCABULARY_HELP
                        : "an embedding of bytes is not supported");
    graph->final_norm =
        bind_norm(b, RSR_ROLE_FINAL_NORM, rsrc_arena_printf(b->arena, "%snorm", b->prefix),
                  RSR_NO_BLOCK, hyper->hidden, hyper->norm_eps, b->family->norm_offset);
    bind_head(b);
}

static void mark_ignored(const struct builder *b) {
    for (size_t i = 0; i < sizeof IGNORED / sizeof *IGNORED; i++)
        for (uint32_t block = 0; block < b->graph->hyper.n_layers; block++)
            take_optional(b, expand(b, IGNORED[i], block));
}

/* Parts of a checkpoint that a text model has no use for; a note names what is left out. */
static void leave_out(const struct builder *b) {
    for (uint32_t i = 0; i < b->family->n_left_out; i++) {
        const struct rsrc_family_left_out *part = &b->family->left_out[i];
        const size_t n_prefix = strlen(part->prefix);
        uint32_t n = 0;
        for (uint32_t t = 0; t < b->checkpoint->n_tensors; t++) {
            struct rsr_tensor *tensor = &b->checkpoint->tensors[t];
            if (strncmp(tensor->name, part->prefix, n_prefix) != 0)
                continue;
            tensor->consumed = true;
            n++;
        }
        const struct rsrc_place place = {.file = b->checkpoint->path};
        if (n > 0)
            rsrc_note(b->diag, "graph-left-out", &place, NULL,
                      "left out: %s (%u tensors, %s*); the module computes the text model",
                      part->what, n, part->prefix);
    }
}

static void build_ropes(struct builder *b) {
    const struct rsr_config *config = &b->checkpoint->config;
    struct rsr_graph *graph = b->graph;

    graph->n_ropes = config->has_window ? 2 : 1;
    graph->ropes = RSRC_NEW_ARRAY(b->arena, graph->n_ropes, struct rsr_rope);
    for (uint32_t i = 0; i < graph->n_ropes; i++)
        rsrc_build_rope(b->arena, &config->ropes[i], graph->hyper.rotary_dim, &graph->ropes[i]);
}

/* The largest numbers possible: every linear layer with its own norm, and the head. */
static void allocate(struct builder *b) {
    struct rsr_graph *graph = b->graph;
    const uint32_t n_block = b->family->n_block > b->family->n_delta_block
                                 ? b->family->n_block
                                 : b->family->n_delta_block;
    size_t n_entries = (size_t)graph->hyper.n_layers * n_block + 2;

    graph->blocks = RSRC_NEW_ARRAY(b->arena, graph->hyper.n_layers, struct rsr_block_layers);
    graph->layers = RSRC_NEW_ARRAY(b->arena, n_entries, struct rsr_layer);
    graph->dense = RSRC_NEW_ARRAY(b->arena, n_entries, struct rsr_dense_layer);
    graph->norms = RSRC_NEW_ARRAY(b->arena, n_entries, struct rsr_norm_layer);
    graph->deltas = RSRC_NEW_ARRAY(b->arena, graph->hyper.delta_layers, struct rsr_delta_layer);
}

/* A whole model holds its text model in "model.language_model"; one of text alone has "model." or,
 * without a head, nothing before its modules. */
static const char *find_prefix(const struct builder *b) {
    if (b->family->text_config != NULL)
        return LANGUAGE_MODEL;
    return take_optional(b, BODY EMBEDDING ".weight") || !take_optional(b, EMBEDDING ".weight")
               ? BODY
               : "";
}

enum rsrc_status rsrc_build_graph(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                  const struct rsr_checkpoint *checkpoint, struct rsr_graph *out) {
    struct rsr_graph graph = {
        .checkpoint = checkpoint,
        .hyper = checkpoint->config.hyper,
        .input = checkpoint->config.input,
        .rotations = checkpoint->config.rotations,
        .n_rotations = checkpoint->config.n_rotations,
        .head_slot = {.layer = RSR_NO_LAYER, .dense = RSR_NO_LAYER, .norm = RSR_NO_NORM},
    };
    struct builder b = {.diag = diag, .arena = arena, .checkpoint = checkpoint, .graph = &graph};

    if (!checkpoint->has_config)
        return rsrc_refuse(diag, "graph-no-config", &(struct rsrc_place){.file = checkpoint->path},
                           "put the model's config.json beside the weights",
                           "a model needs a config.json; this file only has matrices");
    b.family = find_family(diag, arena, checkpoint);
    if (!b.family || resolve_dims(&b) != RSRC_OK)
        return RSRC_FAILED;
    b.prefix = find_prefix(&b);
    graph.architecture = b.family->name;
    if (!check_packed_rule(&b))
        return RSRC_FAILED;
    set_defaults(&graph.hyper);
    graph.gated_attention = b.family->gated_attention;
    build_ropes(&b);
    allocate(&b);
    for (uint32_t block = 0; block < graph.hyper.n_layers && b.n_errors < MAX_REPORTED; block++)
        bind_block(&b, block);
    if (b.n_errors >= MAX_REPORTED)
        return RSRC_FAILED; /* the configuration belongs to another model; further errors would
                               repeat that */
    bind_ends(&b);
    mark_ignored(&b);
    leave_out(&b);
    if (rsrc_report_leftovers(diag, checkpoint, &b.missing) != RSRC_OK || b.n_errors > 0)
        return RSRC_FAILED;
    *out = graph;
    return RSRC_OK;
}
