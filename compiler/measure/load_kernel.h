/* load_kernel.h - a lowered kernel as a function of this process. */
#ifndef RSRC_MEASURE_LOAD_KERNEL_H
#define RSRC_MEASURE_LOAD_KERNEL_H

#include "link/linker.h"

struct rsrc_load_input {
    const struct rsrc_backend *backend;
    enum rsr_unit_kind kind; /* OBJ, or C, which the C compiler makes an object of */
    uint32_t opt_level;
    const struct rsrc_toolchain *toolchain;
    const char *dir;  /* private and flat: files are left in it */
    const char *name; /* of those files; another for every kernel in a directory */
};

struct rsrc_loaded_kernel {
    rsr_kernel_fn *run;
    void *library;
};

/* Emits, assembles the bodies, links and loads. Declines (false, no diagnostic, a sentence in *why)
 * what the back end cannot express; everything else that goes wrong is a diagnostic, and *why NULL.
 * Sets kernel->extern_bodies. *emit_ms is what the back end took. */
bool rsrc_load_kernel(struct rsrc_diag *diag, struct rsrc_arena *arena,
                      const struct rsrc_load_input *input, struct rsr_kernel *kernel,
                      struct rsrc_loaded_kernel *out, double *emit_ms, const char **why);
void rsrc_unload_kernel(struct rsrc_loaded_kernel *loaded);

/* What this machine lacks of a target, in words for a diagnostic: "avx512vbmi+gfni", or the
 * target's triple where that is another; NULL: it can run its kernels. */
const char *rsrc_lacks_for(struct rsrc_arena *arena, const struct rsr_spec *spec);

#endif
