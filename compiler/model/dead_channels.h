/* dead_channels.h - which rows of a layer nobody reads and which columns always meet an activation
 * of 0.
 *
 * Three rules, and no others:
 *
 *   1. A row i of gate or up that is all zero makes channel i dead: rows gate_i and up_i, and
 *      column i of down. h_i = act(gate_i) * up_i is a product with a zero (relu2 and silu are 0 at
 *      0).
 *   2. A zero weight i of the norm before o or down (sub-norms): their column i alone. What enters
 *      the norm still counts in its mean square, so what makes it is computed.
 *   3. A zero weight j of the norm before q, k, v or before gate, up: their column j.
 *
 * Results are the same bit for bit. Layers have no bias, so a zero row gives 0 * scale = +0. With
 * both rows of a dead channel left out, h_i is +0 instead of +0 or -0; its square adds +0 to the
 * mean either way, and the norm's divisor stays the original width. The norm makes +-0 of it, as it
 * does of any finite number under a zero weight. The quantiser rounds +-0 to the integer 0, and its
 * scale is the largest magnitude of the row, which a zero does not move. 0 times the column adds
 * nothing to an exact sum. Float activations have sums in an order of their own for every matrix,
 * so there the columns that are left may be added in another order than with the dropped ones.
 */
#ifndef RSRC_MODEL_DEAD_CHANNELS_H
#define RSRC_MODEL_DEAD_CHANNELS_H

#include "ir.h"

/* What is known of each block; any thread may ask. */
struct rsrc_dead_channels;

/* In the arena, which is not used again. The graph must outlive it. */
struct rsrc_dead_channels *rsrc_dead_channels_create(struct rsrc_arena *arena,
                                                     const struct rsr_graph *graph);
/* NULL is allowed. */
void rsrc_dead_channels_destroy(struct rsrc_dead_channels *channels);

/* Flags in `arena`. A block's gate and up are read when the first of its layers asks for them. */
void rsrc_find_dead(struct rsrc_dead_channels *channels, struct rsrc_arena *arena,
                    const struct rsr_layer *layer, struct rsr_dead *out);

#endif
