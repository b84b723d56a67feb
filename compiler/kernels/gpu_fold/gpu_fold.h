/* gpu_fold.h - the segment index as instructions of a GPU: the bodies of `fold`
 * (kernel/fold_body.h), of scalars, because a lane is a token. cuda/kernels/fold.cuh is around
 * them.
 */
#ifndef RSRC_KERNELS_GPU_FOLD_GPU_FOLD_H
#define RSRC_KERNELS_GPU_FOLD_GPU_FOLD_H

#include "kernel/fold_body.h"

#define RSRC_GPU_FOLD_TOKENS 32u
/* A thread has the sums of its warp's rows and the columns of a chunk in registers: 32 + 96 of the
 * 255 that it can have, and those of segments. */
#define RSRC_GPU_FOLD_ROWS 32u
#define RSRC_GPU_FOLD_COLS 96u
#define RSRC_GPU_FOLD_MAX_WARPS 8u
/* A thread's registers, at most: of two warps in each quarter of a multiprocessor. With three,
 * ptxas has 168 and spills what clang made (tests/ptx/fold_sass.test). */
#define RSRC_GPU_FOLD_REGISTERS 255u
/* Bytes of machine code for an operation of a body: instructions of 16 bytes, of which a third add
 * two operands at once, where nobody else needs the sum of these. Counted in 512 x 512 ternary
 * weights for sm_90: 48,700 instructions for 84,100 operations. */
#define RSRC_GPU_FOLD_OP_BYTES (16 * 0.58)
/* The most code of a kernel: 0.7 million weights. NVRTC takes two and a half minutes for every
 * million weights, clang 45 s, ptxas 20 s. */
#define RSRC_GPU_FOLD_MAX_BYTES (UINT64_C(2) << 20)

/* Rows of a warp: whole blocks. */
static inline uint32_t rsrc_gpu_fold_rows(uint32_t k) {
    return RSRC_GPU_FOLD_ROWS / k * k;
}

/* Columns of a chunk: as few chunks as possible, in whole loads of 16. */
uint32_t rsrc_gpu_fold_cols(uint32_t cols);

#endif
