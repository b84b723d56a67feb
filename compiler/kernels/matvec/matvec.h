/* matvec.h - the kernel of GPUs: the order of its codes, and its constants for a plan. */
#ifndef RSRC_KERNELS_MATVEC_MATVEC_H
#define RSRC_KERNELS_MATVEC_MATVEC_H

#include "kernel/kernel.h"

/* The most columns: a row of activations must fit a block's 48 KiB of shared memory. */
#define RSRC_MATVEC_MAX_COLS 46080u
#define RSRC_MATVEC_MAX_WARPS 8u /* of a block */

static inline enum rsr_gpu_codes rsrc_matvec_codes(enum rsr_kernel_id kernel) {
    return kernel == RSR_KERNEL_BASE3 ? RSR_GPU_BASE3 : RSR_GPU_BITS2;
}

/* Columns that a warp's load covers. */
static inline uint32_t rsrc_matvec_step_cols(enum rsr_gpu_codes codes) {
    return (codes == RSR_GPU_BITS2 ? 64 : 80) * RSR_GPU_LANES_PER_ROW;
}

/* The constants of a plan that has passed rsrc_fit_plan(): warps without rows share the steps of
 * the others. */
struct rsr_matvec rsrc_make_matvec(const struct rsrc_lower_input *input);

/* Packs weights as the codes that cuda/kernels/matvec.cuh reads; `out` has matvec->weight_bytes
 * bytes.
 *
 * Codes are weight + 1. For every four rows, for every step, lane l of the warp has 16 bytes:
 * row l / 8 of the four, columns by lane 0 .. 7 of that row. A 16-byte load is four 32-bit words
 * (little-endian) of four (bits2) or five (base3) groups of four codes each. With G the groups of a
 * load, 16 or 20, byte j of group g of lane l of step s belongs to column
 *
 *     s * 32 G + g / 4 * 128 + l * 16 + g % 4 * 4 + j
 *
 * so that the eight lanes of a row read 128 consecutive bytes of activations at a time. Group g of
 * a word is bits 2g, 2g + 1 of its bytes (bits2). In base3, a byte stores a number v as ceil(v *
 * 256 / 243), and group g is the digit of v with weight 3^(4 - g). Columns and rows beyond the
 * matrix have code 0: the activations there are 0, the sums are not stored.
 */
void rsrc_pack_matvec(const struct rsr_matrix *matrix, const struct rsr_matvec *matvec,
                      uint8_t *out);

#endif
