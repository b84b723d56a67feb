/* llvm_setup.h - what must hold before LLVM is called: targets initialised, errors caught, names
 * known.
 *
 * LLVM ends the process where it meets an internal error and prints to stderr what it does not
 * know. rsrc_llvm_initialize() takes over the first; rsrc_llvm_find_arch() keeps unknown names away
 * from it.
 */
#ifndef RSRC_EMIT_LLVM_LLVM_SETUP_H
#define RSRC_EMIT_LLVM_LLVM_SETUP_H

#include <llvm-c/TargetMachine.h>

#include "ir.h"

/* A processor family. Its functions are compiled for `base_cpu` and the features of their target
 * alone, since a module asks the machine for those and nothing else; the target's processor is
 * tuned for. */
struct rsrc_llvm_arch {
    const char *prefix;   /* of triples, up to the dash */
    const char *base_cpu; /* the processor with the baseline's features */
    uint64_t features;    /* RSR_CPU_MASK bits that belong to it */
    const char *const *cpus;
    uint32_t n_cpus;
};

/* Once a process, from any thread: targets, and a handler of fatal errors that removes temporaries
 * and exits 70. */
void rsrc_llvm_initialize(void);
/* Checks triple, processor and features; *why gets a sentence about what LLVM does not know. */
RSRC_NODISCARD enum rsrc_status rsrc_llvm_find_arch(const struct rsr_spec *spec,
                                                    const struct rsrc_llvm_arch **arch,
                                                    const char **why);
/* LLVM's feature string of a target, "+ssse3,+avx2". */
const char *rsrc_llvm_feature_string(const struct rsr_spec *spec, struct rsrc_arena *arena);
/* A machine for position-independent code of spec->triple's baseline. The caller disposes it. */
RSRC_NODISCARD enum rsrc_status
rsrc_llvm_create_machine(const struct rsr_spec *spec, const struct rsrc_llvm_arch *arch,
                         uint32_t opt_level, LLVMTargetMachineRef *machine, const char **why);

#endif
