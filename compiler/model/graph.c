/* graph.c - binds the tensors of a checkpoint to the roles of an architecture's table.
 *
 * Input: a validated checkpoint. Output: rsr_graph, every linear layer with its encoding and scale rule.
 * The walk is generic; what a family looks like is in arch_*.c. Every tensor must have a role, the shape
 * that the hyper-parameters give it, and a type the scale rule allows; what is missing or left over is
 * refused by name. Errors are collected, at most MAX_REPORTED of a kind.
 */
#include "model/graph.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "model/arch.h"
#include "model/finite.h"
#include "model/gguf_blocks.h"
#include "model/leftover.h"
#include "model/tensor_data.h"

#define MAX_REPORTED 8u

/* int32 accumulators hold 128 * cols, so no dimension may reach 2^24. */
#define MAX_DIM ((1u << 24) - 1)

static const struct rsrc_arch *const architectures[] = {&rsrc_arch_bitnet, &rsrc_arch_llama};

struct builder {
    struct rsrc_diag *diag;
    struct rsrc_arena *arena;
    const struct rsr_checkpoint *checkpoint;
    const struct rsrc_arch *arch;
    struct rsr_graph *graph;
    uint32_t dims[RSRC_DIM_COUNT];
    uint32_t n_errors;
    struct rsrc_missing missing;
};

/* ---- architecture and dimensions ----------------------------------------------------------------- */

static const struct rsrc_arch *find_architecture(struct rsrc_diag *diag,
                                                 const struct rsr_checkpoint *checkpoint) {
    struct rsrc_place place = {.file = checkpoint->config.file};

    for (size_t i = 0; i < sizeof architectures / sizeof *architectures; i++)
        if (strcmp(architectures[i]->model_type, checkpoint->config.model_type) == 0)
            return architectures[i];
    rsrc_error(diag, "graph-architecture", &place, "supported are \"bitnet\" and \"llama\"",
               "model_type \"%s\" is not supported", checkpoint->config.model_type);
    return NULL;
}

static enum rsrc_status resolve_dims(struct builder *b) {
    const struct rsr_hyper *hyper = &b->graph->hyper;
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
    };
    struct rsrc_place place = {.file = b->checkpoint->config.file};

    for (uint32_t i = 0; i < RSRC_DIM_COUNT; i++) {
        if (sizes[i].value == 0 || sizes[i].value > MAX_DIM) {
            rsrc_error(b->diag, "graph-dimension", &place,
                       "a layer has 1 to 16777215 rows and columns", "%s is %" PRIu64,
                       sizes[i].name, sizes[i].value);
            return RSRC_FAILED;
        }
        b->dims[i] = (uint32_t)sizes[i].value;
    }
    if (hyper->n_layers > b->checkpoint->n_tensors) {
        rsrc_error(b->diag, "graph-layers", &place, "the configuration is that of another checkpoint",
                   "there are %u layers, but the checkpoint has only %u tensors",
                   hyper->n_layers, b->checkpoint->n_tensors);
        return RSRC_FAILED;
    }
    return RSRC_OK;
}

/* What a configuration that says nothing means: the root of the head size, and embeddings as they are. */
static void set_scales(struct rsr_hyper *hyper) {
    if (hyper->attention_scale == 0.0f)
        hyper->attention_scale = (float)(1.0 / sqrt((double)hyper->head_dim));
    if (hyper->embedding_scale == 0.0f)
        hyper->embedding_scale = 1.0f;
}

/* ---- tensors by name ----------------------------------------------------------------------------- */

/* "model.layers.%u.mlp" with its block number and a suffix. */
static const char *expand(struct rsrc_arena *arena, const char *pattern, uint32_t block,
                          const char *suffix) {
    const char *mark = strstr(pattern, "%u");

    if (!mark)
        return rsrc_arena_printf(arena, "%s%s", pattern, suffix);
    return rsrc_arena_printf(arena, "%.*s%u%s%s", (int)(mark - pattern), pattern, block, mark + 2,
                             suffix);
}

/* The tensor, now consumed, or NULL. */
static const struct rsr_tensor *take_optional(const struct builder *b, const char *name) {
    uint32_t low = 0, high = b->checkpoint->n_tensors;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = strcmp(b->checkpoint->tensors[middle].name, name);
        if (order == 0) {
            b->checkpoint->tensors[middle].consumed = true;
            return &b->checkpoint->tensors[middle];
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static const struct rsr_tensor *take(struct builder *b, const char *name, const char *expected) {
    const struct rsr_tensor *tensor = take_optional(b, name);

    if (!tensor && b->checkpoint->stored_name)
        name = b->checkpoint->stored_name(b->arena, name);
    if (!tensor)
        rsrc_missing_add(&b->missing, name, expected);
    return tensor;
}

/* ---- checks -------------------------------------------------------------------------------------- */

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

static bool check_dense(struct builder *b, const struct rsr_tensor *tensor) {
    const struct rsr_hyper *hyper = &b->graph->hyper;
    const char *expected =
        rsrc_arena_printf(b->arena, "f32, bf16 or f16 [%u, %u]", hyper->vocab, hyper->hidden);

    if (!rsrc_dtype_is_float(tensor->dtype))
        return refuse(b, "graph-dtype", tensor, expected, "a quantised embedding is not supported");
    if (!has_shape(tensor, hyper->vocab, hyper->hidden))
        return refuse(b, "graph-shape", tensor, expected,
                      "the configuration has another vocabulary or hidden size than this checkpoint");
    if (rsrc_check_finite(b->diag, tensor, (uint64_t)hyper->vocab * hyper->hidden) == RSRC_OK)
        return true;
    b->n_errors++;
    return false;
}

/* Type and shape decide the encoding; the configuration's scale rule says which types make sense. */
static bool find_encoding(struct builder *b, const struct rsr_tensor *tensor,
                          struct rsr_layer *layer) {
    uint32_t packed_rows = layer->rows / 4 + (layer->rows % 4 != 0);
    bool is_byte = tensor->dtype == RSR_DTYPE_U8 || tensor->dtype == RSR_DTYPE_I8;

    if (layer->scale_rule == RSR_SCALE_ONLINE) {
        const char *expected = rsrc_arena_printf(
            b->arena, "float masters f32, bf16 or f16 [%u, %u]", layer->rows, layer->cols);
        layer->encoding = RSR_ENCODING_LATENT;
        if (!rsrc_dtype_is_float(tensor->dtype))
            return refuse(b, "graph-dtype", tensor, expected, b->checkpoint->config.scale_reason);
        return has_shape(tensor, layer->rows, layer->cols) ||
               refuse(b, "graph-shape", tensor, expected, NULL);
    }
    if (layer->scale_rule == RSR_SCALE_BLOCKS) {
        const char *expected =
            rsrc_arena_printf(b->arena, "a ternary type of GGUF [%u, %u]", layer->rows, layer->cols);
        layer->encoding = RSR_ENCODING_BLOCKS;
        if (!rsrc_blocks_are_ternary(tensor->blocks))
            return refuse(b, "graph-dtype", tensor, expected,
                          "quantise the linear layers of every block to TQ1_0, TQ2_0, Q2_0, Q1_0, "
                          "I2_S, IQ1_BN or IQ2_BN");
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

/* A module that the configuration keeps in float is not ternary. */
static bool check_converted(struct builder *b, const char *module) {
    const struct rsr_config *config = &b->checkpoint->config;
    struct rsrc_place place = {.file = config->file};

    for (uint32_t i = 0; i < config->n_not_converted; i++) {
        if (!strstr(module, config->not_converted[i]))
            continue;
        rsrc_error(b->diag, "graph-not-converted", &place,
                   "every linear layer of a block must be ternary; only lm_head may stay in float",
                   "modules_to_not_convert has \"%s\", which keeps %s in float",
                   config->not_converted[i], module);
        b->n_errors++;
        return false;
    }
    return true;
}

/* ---- binding ------------------------------------------------------------------------------------- */

static void bind_linear(struct builder *b, const struct rsrc_arch_entry *entry, uint32_t block) {
    struct rsr_layer *layer = &b->graph->layers[b->graph->n_layers++];

    *layer = (struct rsr_layer){.block = block,
                                .role = entry->role,
                                .name = expand(b->arena, entry->pattern, block, ""),
                                .scale_rule = b->checkpoint->config.scale_rule,
                                .rows = b->dims[entry->rows],
                                .cols = b->dims[entry->cols]};
    layer->weight = take(b, rsrc_arena_printf(b->arena, "%s.weight", layer->name),
                         "the weights of a ternary linear layer");
    if (check_converted(b, layer->name) && layer->weight)
        find_encoding(b, layer->weight, layer);
    if (layer->scale_rule == RSR_SCALE_ONLINE)
        return;
    const char *scale_name = rsrc_arena_printf(b->arena, "%s.weight_scale", layer->name);
    layer->scale = layer->scale_rule == RSR_SCALE_BLOCKS
                       ? take_optional(b, scale_name)
                       : take(b, scale_name, "the scale of packed weights, a float of shape [1]");
    if (layer->scale)
        check_vector(b, layer->scale, 1, true);
}

static void bind_norm(struct builder *b, enum rsr_role role, const char *pattern, uint32_t block,
                      uint32_t cols) {
    struct rsr_norm_layer *norm = &b->graph->norms[b->graph->n_norms++];

    *norm = (struct rsr_norm_layer){
        .block = block, .role = role, .name = expand(b->arena, pattern, block, ""), .cols = cols};
    norm->weight = take(b, rsrc_arena_printf(b->arena, "%s.weight", norm->name),
                        "the weights of a normalisation, one a channel");
    if (!norm->weight || !check_vector(b, norm->weight, cols, false))
        return;
    /* Norms are few: look at their values now, so that every kind of output refuses a NaN. */
    b->n_errors += rsrc_check_finite(b->diag, norm->weight, cols) != RSRC_OK;
}

static void bind_block(struct builder *b, uint32_t block) {
    struct rsr_block_layers *slots = &b->graph->blocks[block];

    memset(slots, 0xff, sizeof *slots); /* UINT32_MAX: absent */
    for (uint32_t i = 0; i < b->arch->n_block; i++) {
        const struct rsrc_arch_entry *entry = &b->arch->block[i];
        uint32_t *slot = (uint32_t *)(void *)((char *)slots + entry->slot);

        switch (entry->kind) {
        case RSRC_ARCH_LINEAR:
            *slot = b->graph->n_layers;
            bind_linear(b, entry, block);
            break;
        case RSRC_ARCH_NORM:
            *slot = b->graph->n_norms;
            bind_norm(b, entry->role, entry->pattern, block, b->dims[entry->cols]);
            break;
        }
    }
}

/* A tied model may still store its head; it must then be the embedding. */
static void bind_tied_head(struct builder *b, const char *name) {
    const struct rsr_tensor *embedding = b->graph->embedding;
    const struct rsr_tensor *head = take_optional(b, name);

    b->graph->head = embedding;
    if (!head || !embedding)
        return;
    if (head->dtype == embedding->dtype && head->size_bytes == embedding->size_bytes &&
        memcmp(head->data, embedding->data, head->size_bytes) == 0)
        return;
    struct rsrc_place place = rsrc_tensor_place(head, 0);
    rsrc_error(b->diag, "graph-tied-head", &place,
               "set tie_word_embeddings to false if the model has a head of its own",
               "config.json ties the head to the embedding, but it differs from %s",
               embedding->name);
    b->n_errors++;
}

static void bind_ends(struct builder *b) {
    const char *head_name = rsrc_arena_printf(b->arena, "%s.weight", b->arch->head);
    struct rsr_graph *graph = b->graph;

    graph->embedding = take(b, rsrc_arena_printf(b->arena, "%s.weight", b->arch->embedding),
                            "the embedding, one row a token");
    if (graph->embedding)
        check_dense(b, graph->embedding);
    graph->final_norm = graph->n_norms;
    bind_norm(b, RSR_ROLE_FINAL_NORM, b->arch->final_norm, RSR_NO_BLOCK, b->dims[RSRC_DIM_HIDDEN]);
    if (graph->hyper.tied_head) {
        bind_tied_head(b, head_name);
        return;
    }
    graph->head = take(b, head_name, "the head, because tie_word_embeddings is false");
    if (graph->head)
        check_dense(b, graph->head);
}

static void mark_ignored(const struct builder *b) {
    for (uint32_t i = 0; i < b->arch->n_ignored; i++)
        for (uint32_t block = 0; block < b->graph->hyper.n_layers; block++)
            take_optional(b, expand(b->arena, b->arch->ignored[i], block, ""));
}

static void allocate(struct builder *b) {
    struct rsr_graph *graph = b->graph;
    size_t n_linear = 0, n_blocks = graph->hyper.n_layers;

    for (uint32_t i = 0; i < b->arch->n_block; i++)
        n_linear += b->arch->block[i].kind == RSRC_ARCH_LINEAR;
    graph->blocks = RSRC_NEW_ARRAY(b->arena, n_blocks, struct rsr_block_layers);
    graph->layers = RSRC_NEW_ARRAY(b->arena, n_blocks * n_linear, struct rsr_layer);
    graph->norms = RSRC_NEW_ARRAY(b->arena, n_blocks * (b->arch->n_block - n_linear) + 1,
                                  struct rsr_norm_layer);
}

enum rsrc_status rsrc_build_graph(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                  const struct rsr_checkpoint *checkpoint, struct rsr_graph *out) {
    struct rsr_graph graph = {.checkpoint = checkpoint, .hyper = checkpoint->config.hyper};
    struct builder b = {.diag = diag, .arena = arena, .checkpoint = checkpoint, .graph = &graph};

    if (!checkpoint->has_config) {
        struct rsrc_place place = {.file = checkpoint->path};
        rsrc_error(diag, "graph-no-config", &place,
                   "put the model's config.json beside the weights",
                   "a model needs a config.json; this file only has matrices");
        return RSRC_FAILED;
    }
    b.arch = find_architecture(diag, checkpoint);
    if (!b.arch || resolve_dims(&b) != RSRC_OK)
        return RSRC_FAILED;
    graph.architecture = b.arch->model_type;
    set_scales(&graph.hyper);
    allocate(&b);
    for (uint32_t block = 0; block < graph.hyper.n_layers && b.n_errors < MAX_REPORTED; block++)
        bind_block(&b, block);
    if (b.n_errors >= MAX_REPORTED)
        return RSRC_FAILED; /* the configuration is another model's: the rest says the same */
    bind_ends(&b);
    mark_ignored(&b);
    if (rsrc_report_leftovers(diag, checkpoint, &b.missing) != RSRC_OK || b.n_errors > 0)
        return RSRC_FAILED;
    *out = graph;
    return RSRC_OK;
}
