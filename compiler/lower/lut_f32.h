/* lut_f32.h - what packing and lowering of `lut` for float activations share. Private to them. */
#ifndef RSRC_LOWER_LUT_F32_H
#define RSRC_LOWER_LUT_F32_H

#include "layout/lut_f32_layout.h"
#include "lower/variants.h"

/* `codes` is zeroed. */
void rsrc_pack_lut_f32(const struct rsr_matrix *matrix, const struct rsrc_lut_f32_layout *layout,
                       uint8_t *codes);
/* rsrc_lut_f32_index_bytes() of them. */
void rsrc_pack_lut_f32_index(const struct rsrc_lut_f32_layout *layout, float *index);

#endif
