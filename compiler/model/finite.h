/* finite.h - refuses float tensors that hold NaN or infinity. */
#ifndef RSRC_MODEL_FINITE_H
#define RSRC_MODEL_FINITE_H

#include "ir.h"

/* Checks the first n elements; dtype must be a float type. Names the first that is not finite.
 * Reads at memory speed, so that even an embedding may be checked before anything else is done with
 * it. */
RSRC_NODISCARD enum rsrc_status rsrc_check_finite(struct rsrc_diag *diag,
                                                  const struct rsr_tensor *tensor, uint64_t n);

#endif
