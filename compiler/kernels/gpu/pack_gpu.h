/* pack_gpu.h - weights as the codes that cuda/kernels/matvec.cuh reads.
 *
 * Codes are weight + 1. For every four rows, for every step, lane l of the warp has 16 bytes:
 * row l / 8 of the four, columns by lane 0 .. 7 of that row. A 16-byte load is four 32-bit words
 * (little-endian) of four (bits2) or five (base3) groups of four codes each. With G the groups of a
 * load, 16 or 20, byte j of group g of lane l of step s belongs to column
 *
 *     s * 32 G + g / 4 * 128 + l * 16 + g % 4 * 4 + j
 *
 * so that the eight lanes of a row read 128 consecutive bytes of activations at a time. Group g of
 * a word is bits 2g, 2g + 1 of its bytes (bits2), or the digit of weight 3^(4 - g) of the number v
 * that a byte stores as ceil(v * 256 / 243) (base3). Columns and rows beyond the matrix have code
 * 0: the activations there are 0, the sums are not stored.
 */
#ifndef RSRC_KERNELS_GPU_PACK_GPU_H
#define RSRC_KERNELS_GPU_PACK_GPU_H

#include "ir.h"

/* `out` has plan->weight_bytes bytes. */
void rsrc_pack_gpu(const struct rsr_matrix *matrix, const struct rsr_gpu_plan *plan, uint8_t *out);

#endif
