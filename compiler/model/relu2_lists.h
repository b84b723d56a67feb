/* relu2_lists.h - layers that need not be read whole after a squared ReLU.
 *
 * h_i = relu2(gate_i) * up_i. If gate_i <= 0, row i of up is not needed. If the int8 code of h_i is
 * 0, column i of down is not needed. Results keep their bits: h_i becomes +0 instead of +0 or -0,
 * and dead_channels.h shows why this changes nothing. up_i must be finite, because 0 times an
 * infinity is NaN; this is proven from the matrix and the norm before it.
 */
#ifndef RSRC_MODEL_RELU2_LISTS_H
#define RSRC_MODEL_RELU2_LISTS_H

#include "ir.h"

/* What a list can select in the layer: rows of up, columns of down; nothing in others. */
enum rsr_list rsrc_list_for(const struct rsr_graph *graph, const struct rsr_layer *layer);
/* Says why a list must not select them; NULL: it may. The matrix is the layer's. */
const char *rsrc_list_obstacle(const struct rsr_graph *graph, const struct rsr_layer *layer,
                               const struct rsr_matrix *matrix, struct rsrc_arena *arena);

#endif
