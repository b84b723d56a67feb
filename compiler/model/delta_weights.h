/* delta_weights.h - the weights of a gated delta rule, in the layout of struct rsr_delta. */
#ifndef RSRC_MODEL_DELTA_WEIGHTS_H
#define RSRC_MODEL_DELTA_WEIGHTS_H

#include "ir.h"

/* How many floats a rule has. */
uint64_t rsrc_delta_floats(const struct rsr_hyper *hyper);

/* Floats of graph->deltas[number]: taps [RSR_DELTA_TAPS][channels], rates and shifts [value heads],
 * norm [delta_value_dim]. */
const float *rsrc_decode_delta(struct rsrc_arena *arena, const struct rsr_graph *graph,
                               uint32_t number, uint64_t *size_bytes);

#endif
