/* llvm_setup.h - needed before LLVM is called: initialises targets, catches errors, checks names.
 *
 * LLVM ends the process on an internal error, and prints unknown names to stderr.
 * rsrc_llvm_initialize() handles internal errors; rsrc_llvm_find_arch() refuses unknown names
 * before LLVM sees them.
 */
#ifndef RSRC_EMIT_LLVM_LLVM_SETUP_H
#define RSRC_EMIT_LLVM_LLVM_SETUP_H

#include <llvm-c/TargetMachine.h>

#include "ir.h"

/* A processor family. Functions are compiled for `base_cpu` and the features of their target only,
 * because a module requires only these of a machine. They are tuned for the target's processor. */
struct rsrc_llvm_arch {
    const char *prefix;   /* start of triples, up to the dash */
    const char *base_cpu; /* the processor with the baseline's features */
    uint64_t features;    /* RSR_CPU_MASK bits that belong to it */
    const char *const *cpus;
    uint32_t n_cpus;
};

/* Initialises targets, once per process, from any thread; sets a handler of fatal errors that
 * removes temporaries and exits 70. */
void rsrc_llvm_initialize(void);
/* Checks triple, processor and features; *why gets a sentence about what LLVM does not know. */
RSRC_NODISCARD enum rsrc_status rsrc_llvm_find_arch(const struct rsr_spec *spec,
                                                    const struct rsrc_llvm_arch **arch,
                                                    const char **why);
/* LLVM's feature string of a target, "+ssse3,+avx2". */
const char *rsrc_llvm_feature_string(const struct rsr_spec *spec, struct rsrc_arena *arena);
/* A machine for position-independent code of spec->triple's baseline. The caller disposes of it. */
RSRC_NODISCARD enum rsrc_status
rsrc_llvm_create_machine(const struct rsr_spec *spec, const struct rsrc_llvm_arch *arch,
                         uint32_t opt_level, LLVMTargetMachineRef *machine, const char **why);

#endif
