/* emit_ptx.h - GPU kernels as PTX text or as a cubin.
 *
 * The kernels are cuda/kernels/matvec.cuh with a plan's constants, compiled by NVRTC where a CUDA
 * toolkit is found, else by clang as a child process. PTX states the lowest version that has its
 * target and its instructions.
 */
#ifndef RSRC_EMIT_PTX_EMIT_PTX_H
#define RSRC_EMIT_PTX_EMIT_PTX_H

#include "base/spawn.h"
#include "ir.h"

struct rsrc_ptx; /* opaque: the compiler, and the kernels that it has made */

/* PTX that earlier compilations made. A text depends on the file `compiler`, on the CUDA C++
 * `source` and on the target, which the store knows. */
struct rsrc_ptx_store {
    void *context;
    /* Appends a text; false: there is none. */
    bool (*get)(void *context, const char *compiler, const char *source, struct rsrc_buffer *out);
    void (*put)(void *context, const char *compiler, const char *source,
                const struct rsrc_buffer *text);
};

struct rsrc_ptx_options {
    const char *title; /* of the model, for the first comment; untrusted text */
    const struct rsr_spec *spec;
    enum rsr_unit_kind kind; /* RSR_UNIT_PTX or RSR_UNIT_CUBIN */
    /* Where CUDA is. NULL: $CUDA_PATH, $CUDA_HOME and the usual places, else clang; a directory:
     * only there; "none": clang. */
    const char *cuda_path;
    const char *cuda_cc;                    /* clang, instead of NVRTC; NULL: search */
    const struct rsrc_spawn_options *spawn; /* for clang */
    const struct rsrc_ptx_store *store;     /* NULL: none */
};

/* Finds a compiler (a remark, "ptx", says which) and compiles kernels of equal plans once. All
 * memory is the arena's; `options` and `kernels` are borrowed. */
RSRC_NODISCARD enum rsrc_status rsrc_ptx_open(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                              const struct rsrc_ptx_options *options,
                                              const struct rsr_kernel *kernels, uint32_t n_kernels,
                                              struct rsrc_ptx **out);
/* Appends one unit with some of these kernels to `out`. A dry run of clang appends nothing. */
RSRC_NODISCARD enum rsrc_status rsrc_ptx_emit(struct rsrc_ptx *ptx,
                                              const struct rsr_kernel *kernels, uint32_t n_kernels,
                                              struct rsrc_buffer *out);
/* Whether NVRTC compiles, which makes cubins, too. */
bool rsrc_ptx_is_nvrtc(const struct rsrc_ptx *ptx);
/* Whether two kernels differ in their names alone. */
bool rsrc_same_gpu_code(const struct rsr_kernel *a, const struct rsr_kernel *b);
void rsrc_ptx_close(struct rsrc_ptx *ptx);

#endif
