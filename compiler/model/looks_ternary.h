/* looks_ternary.h - whether a float matrix is a ternary one times scales. */
#ifndef RSRC_MODEL_LOOKS_TERNARY_H
#define RSRC_MODEL_LOOKS_TERNARY_H

#include "ir.h"

/* Whether, in every row, each aligned run of 32 columns has only one magnitude besides zero. This
 * holds for a ternary matrix with scales of the tensor, of rows, or of groups of at least 32
 * columns, and practically never for another; decoding decides finally. tensor: two dimensions. The
 * first columns show that a matrix is not ternary, so only a ternary one is read to its end. */
bool rsrc_looks_ternary(const struct rsr_tensor *tensor);

#endif
