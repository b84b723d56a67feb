/* nvptx_on_host.c - takes the IR of a GPU kernel, before optimisation, and compiles it for this
 * host.
 *
 * The IR is edited as text: address spaces are removed, and intrinsics and the dp4a instruction
 * become calls of the emulation's functions.
 */
#include "nvptx_on_host.h"

#include <llvm-c/ExecutionEngine.h>
#include <llvm-c/IRReader.h>
#include <llvm-c/Target.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emit/llvm/nvptx_matvec.h"

static const struct {
    const char *from, *to;
} EDITS[] = {{" addrspace(1)", ""},
             {" addrspace(3)", ""},
             {"@llvm.nvvm.", "@emulated."},
             {"asm \"dp4a.s32.s32 $0, $1, $2, $3;\", \"=r,r,r,r\"", "@emulated.dp4a"},
             {"_shared = internal global", "_shared = global"}};

static void replace_all(struct rsrc_buffer *text, const char *from, const char *to) {
    struct rsrc_buffer edited = {0};
    const char *at = text->data;
    for (const char *next; (next = strstr(at, from)) != NULL; at = next + strlen(from)) {
        rsrc_buffer_append(&edited, at, (size_t)(next - at));
        rsrc_buffer_puts(&edited, to);
    }
    rsrc_buffer_puts(&edited, at);
    rsrc_buffer_free(text);
    *text = edited;
}

static void print_for_host(const struct rsr_kernel *kernel, struct rsrc_buffer *text) {
    struct nvptx p;
    rsrc_build_nvptx_matvec(&p, kernel);
    char *ir = LLVMPrintModuleToString(p.module);
    rsrc_buffer_puts(text, ir);
    LLVMDisposeMessage(ir);
    nvptx_dispose(&p);
    for (size_t i = 0; i < sizeof EDITS / sizeof EDITS[0]; i++)
        replace_all(text, EDITS[i].from, EDITS[i].to);
    rsrc_buffer_puts(text, "\ndeclare i32 @emulated.dp4a(i32, i32, i32)\n");
}

static bool fail(char *message) {
    fprintf(stderr, "%s\n", message != NULL ? message : "LLVM failed");
    LLVMDisposeMessage(message);
    return false;
}

static void map_intrinsics(LLVMExecutionEngineRef engine, LLVMModuleRef module) {
    for (unsigned i = 0; i < n_emulated_intrinsics; i++) {
        char name[64];
        snprintf(name, sizeof name, "emulated.%s", emulated_intrinsics[i].name);
        LLVMValueRef function = LLVMGetNamedFunction(module, name);
        if (function != NULL)
            LLVMAddGlobalMapping(engine, function, (void *)emulated_intrinsics[i].function);
    }
}

bool compile_for_host(const struct rsr_kernel *kernel, struct host_code *out) {
    LLVMLinkInMCJIT();
    LLVMInitializeNativeTarget();
    LLVMInitializeNativeAsmPrinter();
    struct rsrc_buffer text = {0};
    print_for_host(kernel, &text);
    LLVMContextRef context = LLVMContextCreate();
    LLVMMemoryBufferRef memory =
        LLVMCreateMemoryBufferWithMemoryRangeCopy(text.data, text.size_bytes, "kernel");
    rsrc_buffer_free(&text);
    LLVMModuleRef module;
    LLVMExecutionEngineRef engine;
    char *message = NULL;
    if (LLVMParseIRInContext(context, memory, &module, &message))
        return fail(message);
    struct LLVMMCJITCompilerOptions options;
    LLVMInitializeMCJITCompilerOptions(&options, sizeof options);
    if (LLVMCreateMCJITCompilerForModule(&engine, module, &options, sizeof options, &message))
        return fail(message);
    map_intrinsics(engine, module);
    char shared[128];
    snprintf(shared, sizeof shared, "%s_shared", kernel->symbol);
    LLVMTypeRef type = LLVMGlobalGetValueType(LLVMGetNamedGlobal(module, shared));
    *out = (struct host_code){
        .shared_bytes = LLVMGetArrayLength2(type), .engine = engine, .context = context};
    const uint64_t code = LLVMGetFunctionAddress(engine, kernel->symbol);
    const uint64_t data = LLVMGetGlobalValueAddress(engine, shared);
    memcpy(&out->kernel, &code, sizeof out->kernel);
    memcpy(&out->shared, &data, sizeof out->shared);
    return true;
}

void free_host_code(struct host_code *code) {
    LLVMDisposeExecutionEngine(code->engine);
    LLVMContextDispose(code->context);
}
