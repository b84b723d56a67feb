/* ternary_values.h - float weights that are ternary already: -s, 0 and s, where s is found from the
 * weights alone. */
#ifndef RSRC_MODEL_TERNARY_VALUES_H
#define RSRC_MODEL_TERNARY_VALUES_H

#include "ir.h"

/* The smallest group of columns with a common scale that is tried: with one column, any floats
 * would be ternary. */
#define RSRC_MIN_GROUP_COLS 32u

/* The weights of layer->weight, a tensor of floats [rows, cols], as signs and magnitudes: one
 * magnitude for the tensor, one for each row, or one for every group_cols columns of a row, with
 * the largest group_cols that all rows allow. group_cols divides the columns, or is 256, 128, 64 or
 * 32. A group of zeros has scale 1. Values and scales go to the arena. Refuses other weights,
 * naming tensor, row, column and both magnitudes. */
RSRC_NODISCARD enum rsrc_status rsrc_decode_values(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                   const struct rsr_layer *layer,
                                                   struct rsr_matrix *out);

#endif
