/* plan_gpu.h - how a GPU computes a layer: which codes, how warps share the work, at what time. */
#ifndef RSRC_PLAN_PLAN_GPU_H
#define RSRC_PLAN_PLAN_GPU_H

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

#endif
