/* group_scales.h - scales of groups of columns, among the codes of `lut`: how they are stored and
 * how kernels load them. rsrc_group_scale_bytes (kernel.h) says in how many bytes. */
#ifndef RSRC_KERNEL_GROUP_SCALES_H
#define RSRC_KERNEL_GROUP_SCALES_H

#include "kernel/kernel_builder.h"

/* Stores a scale in scale_bytes bytes; it can be. */
void rsrc_put_group_scale(float scale, uint32_t scale_bytes, uint8_t *to);

/* Registers with one lane for each row of a run. */
struct rsrc_group_scales {
    uint32_t scale_bytes;
    uint16_t scale;                        /* f32: the loaded scales */
    uint16_t half, half_bits, half_factor; /* with binary16 */
};

/* Defines the registers, whose names end with `suffix`, and their constant. */
struct rsrc_group_scales rsrc_make_group_scales(struct rsrc_kb *kb, uint32_t scale_bytes,
                                                uint32_t lanes, const char *suffix);
/* Loads the scales of a run of rows; returns the register. */
uint16_t rsrc_load_group_scales(struct rsrc_kb *kb, const struct rsrc_group_scales *scales,
                                struct rsrc_address at);

#endif
