/* gpu.h - how a GPU computes a layer: which codes, how warps share the work, at what time. */
#ifndef RSRC_KERNELS_GPU_GPU_H
#define RSRC_KERNELS_GPU_GPU_H

#include "ir.h"

/* Columns beyond which one row of activations does not fit a block's 48 KiB of shared memory. */
#define RSRC_GPU_MAX_COLS 46080u

struct rsrc_gpu_layer {
    const char *name; /* for diagnostics and remarks; untrusted */
    uint32_t rows, cols;
    uint32_t n_scales; /* 0: none; 1; or rows */
    enum rsr_epilogue epilogue;
    int forced_codes; /* enum rsr_gpu_codes, or -1: choose */
    enum rsr_input input;
    uint32_t group_cols; /* columns that share a scale of their row; 0: no groups */
};

/* Emits a remark ("plan") with what was chosen and why. What the kernel
 * cannot do is an error: float activations, scales of groups, a matrix that is too wide. */
RSRC_NODISCARD enum rsrc_status rsrc_plan_gpu_layer(struct rsrc_diag *diag,
                                                    struct rsrc_arena *arena,
                                                    const struct rsrc_gpu_layer *layer,
                                                    const struct rsr_spec *spec,
                                                    struct rsr_gpu_plan *out);
const char *rsrc_gpu_codes_name(enum rsr_gpu_codes codes);

/* Packs weights as the codes that cuda/kernels/matvec.cuh reads; `out` has plan->weight_bytes bytes.
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
void rsrc_pack_gpu(const struct rsr_matrix *matrix, const struct rsr_gpu_plan *plan, uint8_t *out);

#endif
