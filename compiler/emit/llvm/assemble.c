/* assemble.c - LLVM's assembler: a module that has only inline assembly, emitted as an object. */
#include "emit/llvm/assemble.h"

#include <llvm-c/Core.h>
#include <string.h>
#include <sys/mman.h>

#include "emit/llvm/llvm_setup.h"

/* Collects the diagnostics of one assembly. */
struct complaint {
    struct rsrc_arena *arena;
    const char *first; /* NULL: none */
};

static void note_diagnostic(LLVMDiagnosticInfoRef info, void *context) {
    struct complaint *complaint = context;
    if (LLVMGetDiagInfoSeverity(info) != LLVMDSError || complaint->first != NULL)
        return;
    char *text = LLVMGetDiagInfoDescription(info);
    complaint->first = rsrc_arena_printf(complaint->arena, "the assembler says: %s", text);
    LLVMDisposeMessage(text);
}

/* LLVM copies the text without looking whether there was memory for the copy, and crashes if not:
 * so there must be room for its copies, and for what is made of them. */
#define ROOM_BYTES ((size_t)16 << 20)

static void check_room(size_t text_bytes) {
    const size_t n = 3 * text_bytes + ROOM_BYTES;
    void *room = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED)
        rsrc_out_of_memory(n);
    munmap(room, n);
}

static enum rsrc_status emit_object(LLVMTargetMachineRef machine, LLVMModuleRef module,
                                    struct complaint *complaint, struct rsrc_buffer *object,
                                    const char **why) {
    LLVMMemoryBufferRef memory = NULL;
    char *message = NULL;
    const LLVMBool failed =
        LLVMTargetMachineEmitToMemoryBuffer(machine, module, LLVMObjectFile, &message, &memory);
    if (failed != 0 && complaint->first == NULL)
        complaint->first = rsrc_arena_printf(complaint->arena, "the assembler failed: %s",
                                             message != NULL ? message : "");
    LLVMDisposeMessage(message);
    if (complaint->first == NULL)
        rsrc_buffer_append(object, LLVMGetBufferStart(memory), LLVMGetBufferSize(memory));
    if (failed == 0)
        LLVMDisposeMemoryBuffer(memory);
    if (complaint->first == NULL)
        return RSRC_OK;
    *why = complaint->first;
    return RSRC_FAILED;
}

enum rsrc_status rsrc_llvm_assemble(const struct rsr_spec *spec, const struct rsrc_buffer *text,
                                    struct rsrc_arena *arena, struct rsrc_buffer *object,
                                    const char **why) {
    const struct rsrc_llvm_arch *arch = NULL;
    LLVMTargetMachineRef machine = NULL;
    check_room(text->size_bytes);
    rsrc_llvm_initialize();
    if (rsrc_llvm_find_arch(spec, &arch, why) != RSRC_OK ||
        rsrc_llvm_create_machine(spec, arch, 0, &machine, why) != RSRC_OK)
        return RSRC_FAILED;
    struct complaint complaint = {.arena = arena};
    LLVMContextRef context = LLVMContextCreate();
    LLVMContextSetDiagnosticHandler(context, note_diagnostic, &complaint);
    LLVMModuleRef module = LLVMModuleCreateWithNameInContext("bodies", context);
    char *triple = LLVMGetTargetMachineTriple(machine);
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(machine);
    LLVMSetTarget(module, triple);
    LLVMSetModuleDataLayout(module, layout);
    LLVMSetModuleInlineAsm2(module, text->data, text->size_bytes);
    const enum rsrc_status status = emit_object(machine, module, &complaint, object, why);
    LLVMDisposeTargetData(layout);
    LLVMDisposeMessage(triple);
    LLVMDisposeModule(module);
    LLVMContextDispose(context);
    LLVMDisposeTargetMachine(machine);
    return status;
}
