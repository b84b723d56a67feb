/* linker.h - compiles emitted C and links a module: emitted code, weights, runtime. */
#ifndef RSRC_LINK_LINKER_H
#define RSRC_LINK_LINKER_H

#include "base/spawn.h"
#include "ir.h"
#include "link/elf_writer.h"

struct rsrc_toolchain {
    const char *triple;
    const char *cc; /* absolute path; compiles emitted C. NULL: there is none, and no C is emitted
                       unless LLVM declines a kernel */
    const char *cc_target; /* --target=TRIPLE where clang compiles for another machine; else NULL */
    const char *ld;        /* ld.lld, or NULL: link through cc -shared */
    const char *runtime;   /* librsr_module.a for the triple */
    const char *runtime_dir;
    const char *runtime_args; /* "@file": what else it needs, as linkers and compilers take it */
    struct rsrc_spawn_options compiling, linking; /* set by the caller that runs commands */
};

/* What is asked for, from the command line; NULL: nothing. */
struct rsrc_toolchain_request {
    const char *cc, *ld; /* --cc, --ld */
    const char *triple;
    bool needs_cc; /* C will be emitted */
};

/* Finds the programs: the given option, then the environment (RSRC_CC, RSRC_LD), then an ld.lld
 * that was installed with rsrc, then PATH. The diagnostic lists every place that was looked at. */
RSRC_NODISCARD enum rsrc_status rsrc_find_toolchain(struct rsrc_diag *diag,
                                                    struct rsrc_arena *arena,
                                                    const struct rsrc_toolchain_request *request,
                                                    struct rsrc_toolchain *out);

/* Compiles <dir>/<name>.c to <dir>/<name>.o for every unit, opt_level 0..3, in parallel. Refuses if
 * there are units and no C compiler. */
RSRC_NODISCARD enum rsrc_status rsrc_compile_units(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                   const struct rsrc_toolchain *toolchain,
                                                   const char *dir, const char *const *names,
                                                   uint32_t n_names, uint32_t opt_level);

struct rsrc_link_input {
    const char *dir;            /* private directory for the linker's own inputs; absolute */
    const char *const *objects; /* absolute paths, without that of the weights */
    uint32_t n_objects;
    const struct rsrc_elf_writer *weights; /* closed */
    const char *const *aliases;            /* "alias=symbol" */
    uint32_t n_aliases;
    const char *const *exports; /* the symbols that the shared library shows */
    uint32_t n_exports;
    const char *output_dir; /* where the linker runs and makes ... */
    const char *output;     /* ... the shared library or relocatable object of this name */
    bool relocatable;       /* --emit=obj: combine, without the runtime */
};
RSRC_NODISCARD enum rsrc_status rsrc_link(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                          const struct rsrc_toolchain *toolchain,
                                          const struct rsrc_link_input *input);

#endif
