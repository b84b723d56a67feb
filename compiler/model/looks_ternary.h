/* looks_ternary.h - is a float matrix a ternary one times scales? */
#ifndef RSRC_MODEL_LOOKS_TERNARY_H
#define RSRC_MODEL_LOOKS_TERNARY_H

#include "ir.h"

/* Has every run of 32 columns from a multiple of 32 on, in every row, one magnitude besides zero?
 * That is so of a ternary matrix with scales of whole tensors, rows and groups of 32 columns or
 * more, and, by chance, of no other; decoding has the last word. tensor: two dimensions. A float
 * matrix is told by its first columns, so that only a ternary one is read to its end. */
bool rsrc_looks_ternary(const struct rsr_tensor *tensor);

#endif
