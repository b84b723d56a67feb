/* ternary.h - one layer's weights as int8 values and its scale, whatever the encoding. */
#ifndef RSRC_MODEL_TERNARY_H
#define RSRC_MODEL_TERNARY_H

#include "ir.h"

/* Values and scale go to the arena (the layer's own). Refuses code 3, values outside the alphabet,
 * and scales that are zero, negative, NaN or infinite, naming tensor and offset. */
RSRC_NODISCARD enum rsrc_status rsrc_decode_layer(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                  const struct rsr_layer *layer,
                                                  struct rsr_matrix *out);

/* zero[i] = 1 for every row of weights that are all zero, else 0. Reads the stored tensor and keeps
 * nothing; rsrc_decode_layer() reports mistakes in it. */
void rsrc_find_zero_rows(const struct rsr_layer *layer, uint8_t *zero);

/* Matrix mode: a bare tensor of integers or floats in a ternary or binary alphabet. */
RSRC_NODISCARD enum rsrc_status rsrc_decode_tensor(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                   const struct rsr_tensor *tensor,
                                                   struct rsr_matrix *out);

/* Norm weights as float32. Refuses NaN and infinity. */
RSRC_NODISCARD enum rsrc_status rsrc_decode_norm(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                 const struct rsr_norm_layer *norm,
                                                 const float **out);
float rsrc_f16_to_f32(uint16_t bits);
float rsrc_bf16_to_f32(uint16_t bits);

#endif
