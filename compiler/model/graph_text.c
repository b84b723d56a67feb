/* graph_text.c - the text form of a graph (--dump=graph): one line per layer, in order of use. */
#include <inttypes.h>

#include "model/graph.h"
#include "model/tensor_data.h"

static const char *const role_names[RSR_ROLE_COUNT] = {
#define ROLE_NAME(id, name) [RSR_ROLE_##id] = name,
    RSR_ROLES(ROLE_NAME)
#undef ROLE_NAME
};

static const char *const encoding_names[] = {
    [RSR_ENCODING_PACKED2] = "packed2",
    [RSR_ENCODING_BYTES] = "bytes",
    [RSR_ENCODING_LATENT] = "latent",
    [RSR_ENCODING_BLOCKS] = "blocks",
};

static const char *const rule_names[] = {
    [RSR_SCALE_MULTIPLY] = "multiply", [RSR_SCALE_DIVIDE] = "divide", [RSR_SCALE_ONLINE] = "online",
    [RSR_SCALE_BLOCKS] = "blocks",     [RSR_SCALE_VALUES] = "values",
};

static const char *const activation_names[] = {
    [RSR_ACTIVATION_RELU2] = "relu2",
    [RSR_ACTIVATION_SILU] = "silu",
    [RSR_ACTIVATION_GELU_TANH] = "gelu_tanh",
};

const char *rsrc_role_name(enum rsr_role role) {
    return role_names[role];
}

const char *rsrc_scale_rule_name(enum rsr_scale_rule rule) {
    return rule_names[rule];
}

const char *rsrc_activation_name(enum rsr_activation activation) {
    return activation_names[activation];
}

static void print_norm(const struct rsr_graph *graph, uint32_t i, struct rsrc_buffer *out) {
    if (i == RSR_NO_NORM)
        return;
    const struct rsr_norm_layer *norm = &graph->norms[i];
    rsrc_buffer_printf(out, "  norm %s [%u] %s %s\n", rsrc_role_name(norm->role), norm->cols,
                       rsrc_dtype_name(norm->weight->dtype), norm->name);
}

/* Ends a line about a matrix. */
static void print_rotation(const struct rsr_tensor *tensor, struct rsrc_buffer *out) {
    if (tensor->rotation != NULL)
        rsrc_buffer_printf(out, " rotated %u", tensor->rotation->block);
    rsrc_buffer_puts(out, "\n");
}

static void print_linear(const struct rsr_graph *graph, const struct rsr_linear_slot *slot,
                         struct rsrc_buffer *out) {
    if (slot->layer == RSR_NO_LAYER) {
        const struct rsr_dense_layer *dense = &graph->dense[slot->dense];
        rsrc_buffer_printf(out, "  dense %s [%u, %u] %s %s", rsrc_role_name(dense->role),
                           dense->rows, dense->cols, rsrc_dtype_name(dense->weight->dtype),
                           dense->name);
        print_rotation(dense->weight, out);
        return;
    }
    print_norm(graph, slot->norm, out);
    const struct rsr_layer *layer = &graph->layers[slot->layer];
    rsrc_buffer_printf(out, "  linear %s [%u, %u] %s %s %s", rsrc_role_name(layer->role),
                       layer->rows, layer->cols, encoding_names[layer->encoding],
                       rule_names[layer->scale_rule], layer->name);
    print_rotation(layer->weight, out);
}

static void print_attention(const struct rsr_graph *graph, const struct rsr_block_layers *slots,
                            struct rsrc_buffer *out) {
    print_linear(graph, &slots->q, out);
    print_linear(graph, &slots->k, out);
    print_linear(graph, &slots->v, out);
}

static void print_delta(const struct rsr_graph *graph, const struct rsr_block_layers *slots,
                        struct rsrc_buffer *out) {
    const struct rsr_hyper *hyper = &graph->hyper;
    print_linear(graph, &slots->qkv, out);
    print_linear(graph, &slots->z, out);
    print_linear(graph, &slots->beta, out);
    print_linear(graph, &slots->decay, out);
    rsrc_buffer_printf(out, "  delta key_heads=%u value_heads=%u key_dim=%u value_dim=%u %s\n",
                       hyper->delta_key_heads, hyper->delta_value_heads, hyper->delta_key_dim,
                       hyper->delta_value_dim, graph->deltas[slots->delta].name);
}

static void print_dense(const char *what, const struct rsr_tensor *tensor,
                        struct rsrc_buffer *out) {
    rsrc_buffer_printf(out, "%s [%" PRIu64 ", %" PRIu64 "] %s %s", what, tensor->shape[0],
                       tensor->shape[1], rsrc_dtype_name(tensor->dtype), tensor->name);
    print_rotation(tensor, out);
}

void rsrc_print_graph(const struct rsr_graph *graph, struct rsrc_buffer *out) {
    const struct rsr_hyper *hyper = &graph->hyper;

    rsrc_buffer_printf(out, "graph %s\n", graph->architecture);
    rsrc_buffer_printf(out,
                       "hyper hidden=%u layers=%u heads=%u kv_heads=%u head_dim=%u ffn=%u vocab=%u "
                       "context=%u activation=%s norm_eps=%g rope_theta=%g\n",
                       hyper->hidden, hyper->n_layers, hyper->n_heads, hyper->n_kv_heads,
                       hyper->head_dim, hyper->ffn, hyper->vocab, hyper->context,
                       activation_names[hyper->activation], (double)hyper->norm_eps,
                       (double)hyper->rope_theta);
    print_dense("embed", graph->embedding, out);
    for (uint32_t block = 0; block < hyper->n_layers; block++) {
        const struct rsr_block_layers *slots = &graph->blocks[block];

        rsrc_buffer_printf(out, "block %u", block);
        if (slots->window != 0)
            rsrc_buffer_printf(out, " window %u rope %u", slots->window, slots->rope);
        rsrc_buffer_puts(out, "\n");
        print_norm(graph, slots->input_norm, out);
        if (slots->delta != RSR_NO_LAYER)
            print_delta(graph, slots, out);
        else
            print_attention(graph, slots, out);
        print_norm(graph, slots->q_norm, out);
        print_norm(graph, slots->k_norm, out);
        print_norm(graph, slots->attn_sub_norm, out);
        print_linear(graph, &slots->o, out);
        print_norm(graph, slots->attn_out_norm, out);
        print_norm(graph, slots->post_norm, out);
        print_linear(graph, &slots->gate, out);
        print_linear(graph, &slots->up, out);
        print_norm(graph, slots->ffn_sub_norm, out);
        print_linear(graph, &slots->down, out);
        print_norm(graph, slots->ffn_out_norm, out);
    }
    rsrc_buffer_puts(out, "final\n");
    print_norm(graph, graph->final_norm, out);
    if (graph->head_slot.layer != RSR_NO_LAYER)
        print_linear(graph, &graph->head_slot, out);
    else if (graph->head == NULL)
        rsrc_buffer_puts(out, "head none\n");
    else if (graph->head == graph->embedding)
        rsrc_buffer_puts(out, "head tied\n");
    else
        print_dense("head", graph->head, out);
}
