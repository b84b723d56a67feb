/* load_kernel.h - a lowered kernel as a function of this process. */
#ifndef RSRC_MEASURE_LOAD_KERNEL_H
#define RSRC_MEASURE_LOAD_KERNEL_H

#include "link/linker.h"

struct rsrc_load_input {
    const struct rsrc_backend *backend;
    enum rsr_unit_kind kind; /* OBJ, or C, which the C compiler turns into an object */
    uint32_t opt_level;
    const struct rsrc_toolchain *toolchain;
    const char *dir;  /* private and flat: files are left in it */
    const char *name; /* stem of those files; unique among the kernels of a directory */
};

struct rsrc_loaded_kernel {
    rsr_kernel_fn *run;
    void *library;
};

/* Emits, assembles the bodies, links and loads. It declines kernels that the back end cannot
 * express: false, no diagnostic, a sentence in *why. Any other failure is a diagnostic, with *why
 * NULL. Sets kernel->extern_bodies. *emit_ms is the time of the back end. */
bool rsrc_load_kernel(struct rsrc_diag *diag, struct rsrc_arena *arena,
                      const struct rsrc_load_input *input, struct rsr_kernel *kernel,
                      struct rsrc_loaded_kernel *out, double *emit_ms, const char **why);
void rsrc_unload_kernel(struct rsrc_loaded_kernel *loaded);

/* Names, for a diagnostic, what this machine lacks to run a target's kernels: "avx512vbmi+gfni", or
 * the triple of another architecture; NULL: it lacks nothing. */
const char *rsrc_lacks_for(struct rsrc_arena *arena, const struct rsr_spec *spec);

#endif
