/* lut_kernel.h - shared by the two halves of a `lut` kernel: lut_tables.c builds tables,
 * lower_lut.c looks sums up in them; lut_walk.h has the loops around both. Private to them.
 *
 * Tables live in the scratch memory, layout.table_step_bytes for every step of segments:
 *   TABLE128   a step is a segment: 128 low bytes of its sums, 128 high bytes
 *   SHUFFLE16  a step is 8 segments. A group has as many segments as a vector has lanes of 16
 *              bytes: a vector of low parts, with one lane per segment, then a vector of high
 *              parts. Parts are signed bytes, sum = low + LUT_HIGH_WEIGHT * high, -16 <= low < 16
 *   WORDS      a vector of 32 int16 sums for each segment
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

/* Bytes of the copy of x in scratch memory: the columns of every step, and the bytes beyond them
 * that vector loads read. */
uint64_t rsrc_lut_x_bytes(const struct rsrc_lut_kernel *lut);
/* Emits the tables of the current tokens and steps; the argument begins a struct
 * rsrc_lut_kernel. */
void rsrc_lut_emit_tables(struct rsrc_lut_walk *walk);
/* The part of the index that rsrc_lut_emit_tables reads, of rsrc_lut_constants_bytes bytes. */
void rsrc_lut_pack_constants(const struct rsrc_lut_layout *layout, uint8_t *out);

#endif
