/* nvrtc.h - NVIDIA's run-time compiler, opened when it is needed: no build depends on it. */
#ifndef RSRC_EMIT_PTX_NVRTC_H
#define RSRC_EMIT_PTX_NVRTC_H

#include "ir.h"

struct rsrc_nvrtc; /* opaque */

/* Opens libnvrtc of a CUDA installation, or of $CUDA_PATH, $CUDA_HOME and the usual places where
 * cuda_path is NULL. NULL: there is none; *places names all that were tried, on one line. */
struct rsrc_nvrtc *rsrc_nvrtc_open(struct rsrc_arena *arena, const char *cuda_path,
                                   const char **places);
void rsrc_nvrtc_close(struct rsrc_nvrtc *nvrtc);

/* "NVRTC 13.0". */
const char *rsrc_nvrtc_name(struct rsrc_arena *arena, const struct rsrc_nvrtc *nvrtc);

struct rsrc_nvrtc_job {
    const char *source; /* CUDA C++; includes the headers of cuda_unit.h */
    uint32_t sm;
    enum rsr_unit_kind kind; /* RSR_UNIT_PTX or RSR_UNIT_CUBIN */
};
/* Appends what NVRTC made. A compute capability that it does not know is a user's mistake; a source
 * that does not compile is quoted with NVRTC's messages ("nvrtc-failed"). */
RSRC_NODISCARD enum rsrc_status rsrc_nvrtc_compile(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                   const struct rsrc_nvrtc *nvrtc,
                                                   const struct rsrc_nvrtc_job *job,
                                                   struct rsrc_buffer *out);

#endif
