/* clang.h - clang as a child process: PTX where there is no CUDA toolkit. */
#ifndef RSRC_EMIT_PTX_CLANG_H
#define RSRC_EMIT_PTX_CLANG_H

#include "base/spawn.h"
#include "emit/ptx/cuda_unit.h"

struct rsrc_clang {
    const char *path;    /* NULL: PATH has none */
    const char *version; /* "19.1.7" */
    const char *dir;     /* private, where it works */
    uint32_t sm;         /* of the GPU that texts are for */
    const struct rsrc_spawn_options *spawn;
};

/* The names that PATH is searched for, in words. */
extern const char rsrc_clang_names[];

/* Finds clang as --cc is found: cuda_cc (NULL: not given), RSRC_CUDA_CC, PATH. Refuses another
 * compiler and an old clang ("cuda-cc"). `spawn` is borrowed. */
RSRC_NODISCARD enum rsrc_status rsrc_clang_find(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                const char *cuda_cc, uint32_t sm,
                                                const struct rsrc_spawn_options *spawn,
                                                struct rsrc_clang *out);

/* Compiles texts, several at a time. The diagnostic of a text that does not compile quotes clang
 * ("spawn-failed"). A dry run makes no PTX. */
RSRC_NODISCARD enum rsrc_status rsrc_clang_compile(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                   const struct rsrc_clang *clang,
                                                   struct rsrc_cuda_text *const *texts,
                                                   uint32_t n_texts);

#endif
