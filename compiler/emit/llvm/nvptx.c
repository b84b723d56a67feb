/* nvptx.c - turns a built kernel into PTX text, by LLVM's passes and its NVPTX back end. */
#include "emit/llvm/nvptx.h"

#include <llvm-c/Analysis.h>
#include <llvm-c/Core.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <string.h>

#include "emit/llvm/nvptx_matvec.h"

#define TRIPLE "nvptx64-nvidia-cuda"

/* The processors for which LLVM 19 makes PTX. For an unknown processor it only prints a note. */
static const char *const PROCESSORS[] = {"sm_80", "sm_86", "sm_87", "sm_89", "sm_90", "sm_90a"};

bool rsrc_nvptx_knows(const char *cpu) {
    for (size_t i = 0; i < sizeof PROCESSORS / sizeof PROCESSORS[0]; i++)
        if (strcmp(PROCESSORS[i], cpu) == 0)
            return true;
    return false;
}

const char *rsrc_nvptx_name(struct rsrc_arena *arena) {
    unsigned major = 0, minor = 0, patch = 0;
    LLVMGetVersion(&major, &minor, &patch);
    return rsrc_arena_printf(arena, "LLVM %u.%u", major, minor);
}

static enum rsrc_status fail(struct rsrc_diag *diag, const char *what, char *message) {
    rsrc_error(diag, "nvptx-failed", NULL, NULL, "LLVM could not %s: %s", what,
               message != NULL ? message : "no message");
    LLVMDisposeMessage(message);
    return RSRC_FAILED;
}

static enum rsrc_status create_machine(struct rsrc_diag *diag, const char *cpu,
                                       LLVMTargetMachineRef *out) {
    LLVMInitializeNVPTXTargetInfo();
    LLVMInitializeNVPTXTarget();
    LLVMInitializeNVPTXTargetMC();
    LLVMInitializeNVPTXAsmPrinter();
    LLVMTargetRef target;
    char *message = NULL;
    if (LLVMGetTargetFromTriple(TRIPLE, &target, &message))
        return fail(diag, "make PTX", message);
    *out = LLVMCreateTargetMachine(target, TRIPLE, cpu, "", LLVMCodeGenLevelDefault,
                                   LLVMRelocDefault, LLVMCodeModelDefault);
    return RSRC_OK;
}

static enum rsrc_status optimise(struct rsrc_diag *diag, struct nvptx *p,
                                 LLVMTargetMachineRef machine) {
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(machine);
    LLVMSetModuleDataLayout(p->module, layout);
    LLVMDisposeTargetData(layout);
    LLVMSetTarget(p->module, TRIPLE);
    char *message = NULL;
    if (LLVMVerifyModule(p->module, LLVMReturnStatusAction, &message))
        return fail(diag, "verify a kernel", message);
    LLVMDisposeMessage(message);
    LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
    /* The plan says how loops are unrolled. */
    LLVMPassBuilderOptionsSetLoopUnrolling(options, false);
    LLVMErrorRef error = LLVMRunPasses(p->module, "default<O2>", machine, options);
    LLVMDisposePassBuilderOptions(options);
    if (error == NULL)
        return RSRC_OK;
    char *text = LLVMGetErrorMessage(error);
    rsrc_error(diag, "nvptx-failed", NULL, NULL, "LLVM could not optimise: %s", text);
    LLVMDisposeErrorMessage(text);
    return RSRC_FAILED;
}

static enum rsrc_status print(struct rsrc_diag *diag, struct nvptx *p, LLVMTargetMachineRef machine,
                              struct rsrc_buffer *out) {
    LLVMMemoryBufferRef text = NULL;
    char *message = NULL;
    if (LLVMTargetMachineEmitToMemoryBuffer(machine, p->module, LLVMAssemblyFile, &message, &text))
        return fail(diag, "print PTX", message);
    rsrc_buffer_append(out, LLVMGetBufferStart(text), LLVMGetBufferSize(text));
    LLVMDisposeMemoryBuffer(text);
    return RSRC_OK;
}

enum rsrc_status rsrc_nvptx_compile(struct rsrc_diag *diag, const struct rsr_kernel *kernel,
                                    const struct rsr_spec *spec, struct rsrc_buffer *out) {
    LLVMTargetMachineRef machine;
    if (create_machine(diag, spec->cpu, &machine) != RSRC_OK)
        return RSRC_FAILED;
    struct nvptx p;
    rsrc_build_nvptx_matvec(&p, kernel);
    enum rsrc_status status = optimise(diag, &p, machine);
    if (status == RSRC_OK)
        status = print(diag, &p, machine, out);
    nvptx_dispose(&p);
    LLVMDisposeTargetMachine(machine);
    return status;
}
