/* dead_channels.c - finds dead rows and columns by the rules of dead_channels.h.
 *
 * Input: the graph, with tensors as stored. Output: flags of one layer. The three layers of a
 * block's feed-forward part share the flags from zero rows of gate and up. The first of them
 * computes the flags under the block's lock; no other lock is taken under it.
 */
#include "model/dead_channels.h"

#include <pthread.h>

#include "model/tensor_data.h"
#include "model/ternary.h"

struct block {
    pthread_mutex_t lock;
    bool known;
    uint32_t n_dead;
    uint8_t *dead; /* [ffn] rule 1 */
};

struct rsrc_dead_channels {
    const struct rsr_graph *graph;
    struct block *blocks; /* [hyper.n_layers] */
    uint32_t n_blocks;
};

struct rsrc_dead_channels *rsrc_dead_channels_create(struct rsrc_arena *arena,
                                                     const struct rsr_graph *graph) {
    struct rsrc_dead_channels *channels = RSRC_NEW(arena, struct rsrc_dead_channels);
    *channels = (struct rsrc_dead_channels){
        .graph = graph,
        .blocks = RSRC_NEW_ARRAY(arena, graph->hyper.n_layers, struct block),
        .n_blocks = graph->hyper.n_layers};
    for (uint32_t b = 0; b < channels->n_blocks; b++) {
        pthread_mutex_init(&channels->blocks[b].lock, NULL);
        channels->blocks[b].dead = RSRC_NEW_ARRAY(arena, graph->hyper.ffn, uint8_t);
    }
    return channels;
}

void rsrc_dead_channels_destroy(struct rsrc_dead_channels *channels) {
    for (uint32_t b = 0; channels != NULL && b < channels->n_blocks; b++)
        pthread_mutex_destroy(&channels->blocks[b].lock);
}

/* ---- rule 1 ---------------------------------------------------------------------------------- */

/* If act(0) = 0, a zero row of gate makes h zero, like a zero row of up. */
static bool is_zero_at_zero(enum rsr_activation activation) {
    switch (activation) {
    case RSR_ACTIVATION_RELU2:
    case RSR_ACTIVATION_SILU:
    case RSR_ACTIVATION_GELU_TANH:
        return true;
    case RSR_ACTIVATION_COUNT:
        break;
    }
    return false;
}

static void mark_zero_rows(const struct rsr_graph *graph, const struct rsr_linear_slot *slot,
                           uint8_t *zero, struct block *block) {
    if (slot->layer == RSR_NO_LAYER)
        return; /* a float layer: its flags are never used */
    const struct rsr_layer *layer = &graph->layers[slot->layer];
    rsrc_find_zero_rows(layer, zero);
    rsrc_release_tensor(layer->weight, 0, layer->weight->size_bytes);
    for (uint32_t i = 0; i < graph->hyper.ffn; i++) {
        block->n_dead += zero[i] != 0 && block->dead[i] == 0;
        block->dead[i] |= zero[i];
    }
}

/* The dead channels of a block; NULL: none. */
static const uint8_t *find_dead_channels(struct rsrc_dead_channels *channels,
                                         struct rsrc_arena *arena, uint32_t number) {
    const struct rsr_graph *graph = channels->graph;
    const struct rsr_block_layers *layers = &graph->blocks[number];
    struct block *block = &channels->blocks[number];
    pthread_mutex_lock(&block->lock);
    if (!block->known) {
        uint8_t *zero = RSRC_NEW_ARRAY(arena, graph->hyper.ffn, uint8_t);
        mark_zero_rows(graph, &layers->up, zero, block);
        if (is_zero_at_zero((enum rsr_activation)graph->hyper.activation))
            mark_zero_rows(graph, &layers->gate, zero, block);
        block->known = true;
    }
    pthread_mutex_unlock(&block->lock);
    return block->n_dead != 0 ? block->dead : NULL;
}

/* ---- rules 2 and 3 --------------------------------------------------------------------------- */

/* Adds the zero weights of a norm to flags; makes the flags if there is such a weight. norm
 * UINT32_MAX: no norm. */
static uint8_t *add_zero_weights(struct rsrc_arena *arena, const struct rsr_graph *graph,
                                 uint32_t norm, uint8_t *flags) {
    if (norm == UINT32_MAX)
        return flags;
    const struct rsr_norm_layer *layer = &graph->norms[norm];
    float *weight = RSRC_NEW_ARRAY(arena, layer->cols, float);
    rsrc_load_floats(layer->weight->dtype, layer->weight->data, layer->cols, weight);
    for (uint32_t j = 0; j < layer->cols; j++) {
        if (weight[j] + layer->offset != 0.0f)
            continue;
        if (flags == NULL)
            flags = RSRC_NEW_ARRAY(arena, layer->cols, uint8_t);
        flags[j] = 1;
    }
    return flags;
}

/* The norm whose result the layer multiplies; UINT32_MAX: none. */
static uint32_t norm_before(const struct rsr_block_layers *layers, enum rsr_role role) {
    switch (role) {
    case RSR_ROLE_Q:
    case RSR_ROLE_K:
    case RSR_ROLE_V:
    case RSR_ROLE_QKV:
    case RSR_ROLE_Z:
    case RSR_ROLE_BETA:
    case RSR_ROLE_DECAY:
        return layers->input_norm;
    case RSR_ROLE_O:
        return layers->attn_sub_norm;
    case RSR_ROLE_GATE:
    case RSR_ROLE_UP:
        return layers->post_norm;
    case RSR_ROLE_DOWN:
        return layers->ffn_sub_norm;
    case RSR_ROLE_EMBED:
    case RSR_ROLE_HEAD:
    case RSR_ROLE_INPUT_NORM:
    case RSR_ROLE_ATTN_SUB_NORM:
    case RSR_ROLE_POST_NORM:
    case RSR_ROLE_FFN_SUB_NORM:
    case RSR_ROLE_FINAL_NORM:
    case RSR_ROLE_Q_NORM:
    case RSR_ROLE_K_NORM:
    case RSR_ROLE_ATTN_OUT_NORM:
    case RSR_ROLE_FFN_OUT_NORM:
    case RSR_ROLE_PROJ_NORM:
    case RSR_ROLE_COUNT:
        break; /* no linear layer of a block */
    }
    return UINT32_MAX;
}

/* Then every channel reaches every element that down multiplies. */
static bool is_down_rotated(const struct rsr_graph *graph, uint32_t block) {
    const struct rsr_linear_slot *down = &graph->blocks[block].down;
    const struct rsr_tensor *weight = down->layer != RSR_NO_LAYER
                                          ? graph->layers[down->layer].weight
                                          : graph->dense[down->dense].weight;
    return weight->rotation != NULL;
}

void rsrc_find_dead(struct rsrc_dead_channels *channels, struct rsrc_arena *arena,
                    const struct rsr_layer *layer, struct rsr_dead *out) {
    const struct rsr_graph *graph = channels->graph;
    *out = (struct rsr_dead){0};
    if (layer->block == RSR_NO_BLOCK)
        return;
    const uint8_t *dead = NULL;
    uint8_t *cols = NULL;
    const bool is_of_ffn =
        layer->role == RSR_ROLE_GATE || layer->role == RSR_ROLE_UP || layer->role == RSR_ROLE_DOWN;
    if (is_of_ffn && !is_down_rotated(graph, layer->block))
        dead = find_dead_channels(channels, arena, layer->block);
    if (layer->role != RSR_ROLE_DOWN) {
        out->rows = dead;
    } else if (dead != NULL) {
        cols = RSRC_NEW_ARRAY(arena, layer->cols, uint8_t);
        for (uint32_t i = 0; i < layer->cols; i++)
            cols[i] = dead[i];
    }
    if (layer->weight->rotation != NULL)
        return; /* every result of a norm is in every element of its rotation's block */
    out->cols = add_zero_weights(arena, graph,
                                 norm_before(&graph->blocks[layer->block], layer->role), cols);
}
