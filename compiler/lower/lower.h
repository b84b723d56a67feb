/* lower.h - from a planned matrix to a kernel's operation list and its packed weights. */
#ifndef RSRC_LOWER_LOWER_H
#define RSRC_LOWER_LOWER_H

#include "kernel/kernel.h"

RSRC_NODISCARD enum rsrc_status rsrc_lower_layer(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                 const struct rsrc_lower_input *input,
                                                 struct rsr_lowered *out);

#endif
