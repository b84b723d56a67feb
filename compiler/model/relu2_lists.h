/* relu2_lists.h - which layers need not be read whole behind a squared ReLU.
 *
 * h_i = relu2(gate_i) * up_i. Where gate_i <= 0 row i of up is not needed, and where the int8 code
 * of h_i is 0 neither is column i of down. All that follows has the same bits: dead_channels.h has
 * the argument, for h_i is +0 there instead of +0 or -0. It takes a finite up_i, because 0 times an
 * infinity is NaN; that is proven of the matrix and the norm before it.
 */
#ifndef RSRC_MODEL_RELU2_LISTS_H
#define RSRC_MODEL_RELU2_LISTS_H

#include "ir.h"

/* What a list could name for the layer: of up the rows, of down the columns; else nothing. */
enum rsr_list rsrc_list_for(const struct rsr_graph *graph, const struct rsr_layer *layer);
/* Why it must not, or NULL. The matrix is the layer's. */
const char *rsrc_list_obstacle(const struct rsr_graph *graph, const struct rsr_layer *layer,
                               const struct rsr_matrix *matrix, struct rsrc_arena *arena);

#endif
