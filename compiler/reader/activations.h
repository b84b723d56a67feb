/* activations.h - the user's choice of the activations that linear layers multiply. */
#ifndef RSRC_READER_ACTIVATIONS_H
#define RSRC_READER_ACTIVATIONS_H

#include "reader/checkpoint.h"

/* Applies the choice to a model whose config has its own input and input_reason. int8 may
 * approximate floats: every kernel then quantises what a float model would have multiplied. Floats
 * never stand for int8, because the model was trained with the quantisation. */
RSRC_NODISCARD enum rsrc_status rsrc_choose_activations(struct rsrc_diag *diag,
                                                        const struct rsrc_place *place,
                                                        enum rsrc_activations wanted,
                                                        struct rsr_config *config);

#endif
