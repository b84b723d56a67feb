/* gguf_activations.h - the type of activations that the linear layers of a GGUF model multiply
 * with. */
#ifndef RSRC_READER_GGUF_ACTIVATIONS_H
#define RSRC_READER_GGUF_ACTIVATIONS_H

#include "reader/checkpoint.h"
#include "reader/gguf.h"

/* Fills input and input_reason of `config`. `of_architecture`: the activations that all models of
 * the architecture have. Refuses a model if neither the file nor the user decides, and a user's
 * choice that contradicts the file. */
RSRC_NODISCARD enum rsrc_status rsrc_gguf_find_input(struct rsrc_diag *diag, const char *file,
                                                     const struct rsrc_gguf *gguf,
                                                     enum rsrc_activations of_architecture,
                                                     enum rsrc_activations wanted,
                                                     struct rsr_config *config);

#endif
