/* relu2_lists.c - layers that need not be read whole after a squared ReLU. See relu2_lists.h. */
#include "model/relu2_lists.h"

#include <float.h>
#include <math.h>

#include "model/tensor_data.h"

enum rsr_list rsrc_list_for(const struct rsr_graph *graph, const struct rsr_layer *layer) {
    if (graph->hyper.activation != RSR_ACTIVATION_RELU2 || graph->input != RSR_INPUT_I8 ||
        graph->n_rotations != 0)
        return RSR_LIST_NONE;
    return layer->role == RSR_ROLE_UP     ? RSR_LIST_ROWS
           : layer->role == RSR_ROLE_DOWN ? RSR_LIST_COLS
                                          : RSR_LIST_NONE;
}

/* An output of the norm is at most sqrt(cols) times its largest weight, because x_j over the root
 * mean square is at most sqrt(cols). A result is at most cols of these outputs times a weight's
 * scale. The factor 2 covers all roundings. */
static bool is_finite(const struct rsr_norm_layer *norm, const struct rsr_matrix *matrix,
                      struct rsrc_arena *arena) {
    float *weight = RSRC_NEW_ARRAY(arena, norm->cols, float);
    rsrc_load_floats(norm->weight->dtype, norm->weight->data, norm->cols, weight);
    double largest = 0, scale = 0;
    for (uint32_t j = 0; j < norm->cols; j++)
        largest = fmax(largest, fabs((double)weight[j] + norm->offset));
    for (uint32_t i = 0; i < matrix->n_scales; i++)
        scale = fmax(scale, fabs(matrix->scale[i]));
    return 2 * sqrt(norm->cols) * largest * matrix->cols * scale <= FLT_MAX;
}

const char *rsrc_list_obstacle(const struct rsr_graph *graph, const struct rsr_layer *layer,
                               const struct rsr_matrix *matrix, struct rsrc_arena *arena) {
    const struct rsr_block_layers *block = &graph->blocks[layer->block];
    if (layer->role == RSR_ROLE_DOWN)
        return NULL;
    if (block->gate.layer == RSR_NO_LAYER || block->gate.norm != RSR_NO_NORM ||
        block->up.norm != RSR_NO_NORM || block->post_norm == RSR_NO_NORM)
        return "gate and up do not multiply the same activations after a norm";
    if (matrix->n_scales > 1)
        return "every row has a scale";
    if (!is_finite(&graph->norms[block->post_norm], matrix, arena))
        return "a result that is left out might have been infinite";
    return NULL;
}
