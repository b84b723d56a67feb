/* host_cpu.h - LLVM's name for this machine's processor. */
#ifndef RSRC_EMIT_LLVM_HOST_CPU_H
#define RSRC_EMIT_LLVM_HOST_CPU_H

#include "base/arena.h"

/* "cascadelake", "znver4", ...; "generic" if LLVM does not know the processor. */
const char *rsrc_host_cpu_name(struct rsrc_arena *arena);

#endif
