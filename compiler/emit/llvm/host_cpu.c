/* host_cpu.c - asks LLVM for its name of this processor; specs use these names. */
#include "emit/llvm/host_cpu.h"

#include <llvm-c/Core.h>
#include <llvm-c/TargetMachine.h>

const char *rsrc_host_cpu_name(struct rsrc_arena *arena) {
    char *name = LLVMGetHostCPUName();
    const char *copy = rsrc_arena_strdup(arena, name != NULL && name[0] != '\0' ? name : "generic");
    LLVMDisposeMessage(name);
    return copy;
}
