/* lut_kernel.h - what the two halves of a `lut` kernel share: lut_tables.c builds tables,
 * lower_lut.c looks sums up in them; lut_walk.h has the loops around both. Private to them.
 *
 * Tables live in the scratch memory, layout.table_step_bytes for every step of segments:
 *   TABLE128   a step is a segment: 128 low bytes of its sums, 128 high bytes
 *   SHUFFLE16  a step is 8 segments, in groups of as many as a vector has lanes of 16 bytes: for
 *              every group, a vector of low parts, a lane a segment, and one of high parts: bytes
 *              with signs, sum = low + LUT_HIGH_WEIGHT * high, -16 <= low < 16
 *   WORDS      a vector of 32 int16 sums a segment
 */
#ifndef RSRC_KERNELS_LUT_LUT_KERNEL_H
#define RSRC_KERNELS_LUT_LUT_KERNEL_H

#include "kernel/lut_walk.h"
#include "kernel/lut_layout.h"

struct rsrc_lut_kernel {
    struct rsrc_lut_walk walk;
    struct rsrc_lut_layout layout;
    uint32_t cols;
    int64_t x_at; /* a copy of x, in the scratch memory */
};

/* Bytes of the scratch memory's copy of x: the columns of every step and what vector loads reach
 * beyond. */
uint64_t rsrc_lut_x_bytes(const struct rsrc_lut_kernel *lut);
/* Tables of the tokens and steps at work, of a struct rsrc_lut_kernel. */
void rsrc_lut_emit_tables(struct rsrc_lut_walk *walk);
/* What rsrc_lut_emit_tables reads of the index: rsrc_lut_constants_bytes. */
void rsrc_lut_pack_constants(const struct rsrc_lut_layout *layout, uint8_t *out);

#endif
