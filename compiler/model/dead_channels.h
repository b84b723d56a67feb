/* dead_channels.h - rows of a layer that nothing reads, and columns whose activation is always 0.
 *
 * Three rules, and no others:
 *
 *   1. A row i of gate or up that is all zero makes channel i dead: rows gate_i and up_i, and
 *      column i of down. h_i = act(gate_i) * up_i is a product with a zero (relu2 and silu are 0 at
 *      0).
 *   2. A zero weight i of the norm before o or down (sub-norms) makes only their column i dead. The
 *      norm's input still counts in its mean square, so it is computed.
 *   3. A zero weight j of the norm before q, k, v or before gate, up makes their column j dead.
 *
 * Results are equal bit for bit. Layers have no bias, so a zero row gives 0 * scale = +0. With both
 * rows of a dead channel left out, h_i is +0 instead of +0 or -0; its square adds +0 to the mean
 * either way, and the norm's divisor stays the original width. With a zero weight, the norm turns
 * any finite number into +-0. The quantiser rounds +-0 to the integer 0; its scale is the largest
 * magnitude of the row, which a zero does not change. 0 times the column adds nothing to an exact
 * sum. Sums of float activations have an order of additions that depends on the matrix, so dropping
 * columns may change the order of the others.
 */
#ifndef RSRC_MODEL_DEAD_CHANNELS_H
#define RSRC_MODEL_DEAD_CHANNELS_H

#include "ir.h"

/* The dead channels of each block; any thread may call its functions. */
struct rsrc_dead_channels;

/* Makes it in the arena, which later calls do not use. The graph must outlive it. */
struct rsrc_dead_channels *rsrc_dead_channels_create(struct rsrc_arena *arena,
                                                     const struct rsr_graph *graph);
/* NULL is allowed. */
void rsrc_dead_channels_destroy(struct rsrc_dead_channels *channels);

/* Finds the flags of a layer, in `arena`. A block's gate and up are read at the first call for one
 * of its layers. */
void rsrc_find_dead(struct rsrc_dead_channels *channels, struct rsrc_arena *arena,
                    const struct rsr_layer *layer, struct rsr_dead *out);

#endif
