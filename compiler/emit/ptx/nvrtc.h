/* nvrtc.h - NVIDIA's run-time compiler, opened when it is needed: no build depends on it. */
#ifndef RSRC_EMIT_PTX_NVRTC_H
#define RSRC_EMIT_PTX_NVRTC_H

#include "ir.h"

struct rsrc_nvrtc; /* opaque */

/* Opens libnvrtc of the CUDA installation cuda_path, or, if that is NULL, of $CUDA_PATH, $CUDA_HOME
 * and the usual places. NULL: there is none, and *places lists all places that were tried, on one
 * line. */
struct rsrc_nvrtc *rsrc_nvrtc_open(struct rsrc_arena *arena, const char *cuda_path,
                                   const char **places);
void rsrc_nvrtc_close(struct rsrc_nvrtc *nvrtc);

/* "NVRTC 13.0". */
const char *rsrc_nvrtc_name(struct rsrc_arena *arena, const struct rsrc_nvrtc *nvrtc);
/* The library's path. */
const char *rsrc_nvrtc_file(struct rsrc_arena *arena, const struct rsrc_nvrtc *nvrtc);

struct rsrc_nvrtc_job {
    const char *source; /* CUDA C++; includes the headers of cuda_unit.h */
    uint32_t sm;
    enum rsr_unit_kind kind; /* RSR_UNIT_PTX or RSR_UNIT_CUBIN */
};
/* Appends what NVRTC made. A compute capability that NVRTC does not know is a user's mistake. If
 * the source does not compile, the diagnostic quotes NVRTC's messages ("nvrtc-failed"). */
RSRC_NODISCARD enum rsrc_status rsrc_nvrtc_compile(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                   const struct rsrc_nvrtc *nvrtc,
                                                   const struct rsrc_nvrtc_job *job,
                                                   struct rsrc_buffer *out);

#endif
