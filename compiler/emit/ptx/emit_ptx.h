/* emit_ptx.h - GPU kernels as PTX text or as a cubin.
 *
 * The kernels are cuda/kernels/matvec.cuh with a plan's constants, compiled by NVRTC where a CUDA
 * toolkit is found; else LLVM's NVPTX builds the same computation (emit/llvm/nvptx_matvec.c) as
 * text.
 */
#ifndef RSRC_EMIT_PTX_EMIT_PTX_H
#define RSRC_EMIT_PTX_EMIT_PTX_H

#include "ir.h"

struct rsrc_ptx; /* opaque: the compiler, and the kernels that it has made */

struct rsrc_ptx_options {
    const char *title; /* of the model, for the first comment; untrusted text */
    const struct rsr_spec *spec;
    enum rsr_unit_kind kind; /* RSR_UNIT_PTX or RSR_UNIT_CUBIN */
    /* Where CUDA is. NULL: $CUDA_PATH, $CUDA_HOME and the usual places, else LLVM; a directory:
     * only there; "none": LLVM. */
    const char *cuda_path;
};

/* Finds a compiler; a remark ("ptx") says which. All memory is the arena's; `options` is
 * borrowed. */
RSRC_NODISCARD enum rsrc_status rsrc_ptx_open(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                              const struct rsrc_ptx_options *options,
                                              struct rsrc_ptx **out);
/* Appends one unit with these kernels to `out`. Kernels of equal plans are compiled once. */
RSRC_NODISCARD enum rsrc_status rsrc_ptx_emit(struct rsrc_ptx *ptx,
                                              const struct rsr_kernel *kernels, uint32_t n_kernels,
                                              struct rsrc_buffer *out);
void rsrc_ptx_close(struct rsrc_ptx *ptx);

#endif
