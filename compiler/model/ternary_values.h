/* ternary_values.h - float weights that are ternary already: -s, 0 and s, with s found from them
 * alone. */
#ifndef RSRC_MODEL_TERNARY_VALUES_H
#define RSRC_MODEL_TERNARY_VALUES_H

#include "ir.h"

/* Groups of fewer columns that share a scale are not looked for: of one column, any floats would be
 * ternary. */
#define RSRC_MIN_GROUP_COLS 32u

/* The weights of layer->weight, a tensor of floats [rows, cols], as signs and magnitudes: one
 * magnitude a tensor, one a row, or one for every group_cols columns of a row, with the largest
 * group_cols that all rows allow; it divides the columns, or is 256, 128, 64 or 32. What is all
 * zero has the scale 1. Values and scales go to the arena. Refuses anything else, naming tensor,
 * row, column and both magnitudes. */
RSRC_NODISCARD enum rsrc_status rsrc_decode_values(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                   const struct rsr_layer *layer,
                                                   struct rsr_matrix *out);

#endif
