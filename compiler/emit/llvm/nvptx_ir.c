/* nvptx_ir.c - see nvptx_ir.h. */
#include "emit/llvm/nvptx_ir.h"

#include <assert.h>
#include <string.h>

#include "emit/ptx/cuda_unit.h"

#define ALL_LANES 0xffffffffu
#define MAX_PARAMETERS 16u

/* Tells the back end that the function is a kernel of blocks of n_threads threads. */
static void annotate_kernel(struct nvptx *p, uint32_t n_threads) {
    const struct {
        const char *name;
        uint32_t value;
    } annotations[] = {{"kernel", 1}, {"maxntidx", n_threads}, {"minctasm", RSRC_GPU_MIN_BLOCKS}};
    for (size_t i = 0; i < sizeof annotations / sizeof annotations[0]; i++) {
        LLVMMetadataRef node[] = {
            LLVMValueAsMetadata(p->function),
            LLVMMDStringInContext2(p->context, annotations[i].name, strlen(annotations[i].name)),
            LLVMValueAsMetadata(nvptx_u32(p, annotations[i].value))};
        LLVMAddNamedMetadataOperand(
            p->module, "nvvm.annotations",
            LLVMMetadataAsValue(p->context, LLVMMDNodeInContext2(p->context, node, 3)));
    }
}

void nvptx_begin(struct nvptx *p, const char *symbol,
                 LLVMTypeRef (*types)(struct nvptx *p, uint32_t i), uint32_t n_types,
                 uint32_t n_threads) {
    LLVMContextRef context = LLVMContextCreate();
    *p = (struct nvptx){.context = context,
                        .module = LLVMModuleCreateWithNameInContext(symbol, context),
                        .builder = LLVMCreateBuilderInContext(context),
                        .i1 = LLVMInt1TypeInContext(context),
                        .i8 = LLVMInt8TypeInContext(context),
                        .i32 = LLVMInt32TypeInContext(context),
                        .i64 = LLVMInt64TypeInContext(context),
                        .f32 = LLVMFloatTypeInContext(context),
                        .void_type = LLVMVoidTypeInContext(context),
                        .global = LLVMPointerTypeInContext(context, NVPTX_GLOBAL),
                        .shared = LLVMPointerTypeInContext(context, NVPTX_SHARED)};
    p->i32x4 = LLVMVectorType(p->i32, 4);
    LLVMTypeRef parameters[MAX_PARAMETERS];
    assert(n_types <= MAX_PARAMETERS);
    for (uint32_t i = 0; i < n_types; i++)
        parameters[i] = types(p, i);
    p->function = LLVMAddFunction(p->module, symbol,
                                  LLVMFunctionType(p->void_type, parameters, n_types, false));
    annotate_kernel(p, n_threads);
    LLVMPositionBuilderAtEnd(p->builder,
                             LLVMAppendBasicBlockInContext(context, p->function, "entry"));
}

void nvptx_dispose(struct nvptx *p) {
    LLVMDisposeBuilder(p->builder);
    LLVMDisposeModule(p->module);
    LLVMContextDispose(p->context);
}

/* ---- arithmetic ------------------------------------------------------------------------------ */

LLVMValueRef nvptx_u32(struct nvptx *p, uint32_t value) {
    return LLVMConstInt(p->i32, value, false);
}

LLVMValueRef nvptx_u64(struct nvptx *p, uint64_t value) {
    return LLVMConstInt(p->i64, value, false);
}

LLVMValueRef nvptx_float(struct nvptx *p, double value) {
    return LLVMConstReal(p->f32, value);
}

LLVMValueRef nvptx_affine(struct nvptx *p, LLVMValueRef a, uint64_t scale, uint64_t offset) {
    const LLVMTypeRef type = LLVMTypeOf(a);
    LLVMValueRef product = LLVMBuildMul(p->builder, a, LLVMConstInt(type, scale, false), "");
    return LLVMBuildAdd(p->builder, product, LLVMConstInt(type, offset, false), "");
}

LLVMValueRef nvptx_less(struct nvptx *p, LLVMValueRef a, LLVMValueRef b) {
    return LLVMBuildICmp(p->builder, LLVMIntULT, a, b, "");
}

LLVMValueRef nvptx_min(struct nvptx *p, LLVMValueRef a, LLVMValueRef b) {
    return LLVMBuildSelect(p->builder, nvptx_less(p, a, b), a, b, "");
}

LLVMValueRef nvptx_max(struct nvptx *p, LLVMValueRef a, LLVMValueRef b) {
    return LLVMBuildSelect(p->builder, nvptx_less(p, a, b), b, a, "");
}

/* ---- memory ---------------------------------------------------------------------------------- */

LLVMValueRef nvptx_at(struct nvptx *p, LLVMValueRef base, LLVMValueRef bytes) {
    LLVMValueRef wide = LLVMBuildZExt(p->builder, bytes, p->i64, "");
    return LLVMBuildInBoundsGEP2(p->builder, p->i8, base, &wide, 1, "");
}

LLVMValueRef nvptx_load(struct nvptx *p, LLVMTypeRef type, LLVMValueRef address, uint32_t align) {
    LLVMValueRef load = LLVMBuildLoad2(p->builder, type, address, "");
    LLVMSetAlignment(load, align);
    return load;
}

LLVMValueRef nvptx_load_constant(struct nvptx *p, LLVMTypeRef type, LLVMValueRef address,
                                 uint32_t align) {
    static const char KIND[] = "invariant.load";
    LLVMValueRef load = nvptx_load(p, type, address, align);
    LLVMMetadataRef nothing = LLVMMDNodeInContext2(p->context, NULL, 0);
    LLVMSetMetadata(load, LLVMGetMDKindIDInContext(p->context, KIND, sizeof KIND - 1),
                    LLVMMetadataAsValue(p->context, nothing));
    return load;
}

void nvptx_store(struct nvptx *p, LLVMValueRef value, LLVMValueRef address, uint32_t align) {
    LLVMSetAlignment(LLVMBuildStore(p->builder, value, address), align);
}

/* Allocated at the function's start, where the optimiser turns it into registers. */
LLVMValueRef nvptx_variable(struct nvptx *p, LLVMTypeRef type, const char *name) {
    LLVMBasicBlockRef here = LLVMGetInsertBlock(p->builder);
    LLVMBasicBlockRef entry = LLVMGetEntryBasicBlock(p->function);
    LLVMValueRef first = LLVMGetFirstInstruction(entry);
    if (first != NULL)
        LLVMPositionBuilderBefore(p->builder, first);
    else
        LLVMPositionBuilderAtEnd(p->builder, entry);
    LLVMValueRef variable = LLVMBuildAlloca(p->builder, type, name);
    LLVMPositionBuilderAtEnd(p->builder, here);
    return variable;
}

LLVMValueRef nvptx_get(struct nvptx *p, LLVMValueRef variable) {
    return LLVMBuildLoad2(p->builder, LLVMGetAllocatedType(variable), variable, "");
}

void nvptx_set(struct nvptx *p, LLVMValueRef variable, LLVMValueRef value) {
    LLVMBuildStore(p->builder, value, variable);
}

/* ---- control --------------------------------------------------------------------------------- */

static LLVMBasicBlockRef new_block(struct nvptx *p, const char *name) {
    return LLVMAppendBasicBlockInContext(p->context, p->function, name);
}

struct nvptx_loop nvptx_begin_loop(struct nvptx *p, const char *name, LLVMValueRef from,
                                   LLVMValueRef to, LLVMValueRef step) {
    struct nvptx_loop loop = {.variable = nvptx_variable(p, p->i32, name),
                              .step = step,
                              .head = new_block(p, name),
                              .end = new_block(p, "end")};
    LLVMBasicBlockRef body = new_block(p, "body");
    nvptx_set(p, loop.variable, from);
    LLVMBuildBr(p->builder, loop.head);
    LLVMPositionBuilderAtEnd(p->builder, loop.head);
    loop.index = nvptx_get(p, loop.variable);
    LLVMBuildCondBr(p->builder, nvptx_less(p, loop.index, to), body, loop.end);
    LLVMPositionBuilderAtEnd(p->builder, body);
    return loop;
}

void nvptx_end_loop(struct nvptx *p, const struct nvptx_loop *loop) {
    nvptx_set(p, loop->variable, LLVMBuildAdd(p->builder, loop->index, loop->step, ""));
    LLVMBuildBr(p->builder, loop->head);
    LLVMPositionBuilderAtEnd(p->builder, loop->end);
}

LLVMBasicBlockRef nvptx_begin_if(struct nvptx *p, const char *name, LLVMValueRef condition) {
    LLVMBasicBlockRef then = new_block(p, name), end = new_block(p, "end");
    LLVMBuildCondBr(p->builder, condition, then, end);
    LLVMPositionBuilderAtEnd(p->builder, then);
    return end;
}

void nvptx_end_if(struct nvptx *p, LLVMBasicBlockRef end) {
    LLVMBuildBr(p->builder, end);
    LLVMPositionBuilderAtEnd(p->builder, end);
}

/* ---- instructions of the GPU ----------------------------------------------------------------- */

LLVMValueRef nvptx_call(struct nvptx *p, const char *intrinsic, LLVMTypeRef result,
                        const LLVMValueRef *arguments, uint32_t n_arguments) {
    LLVMTypeRef types[MAX_PARAMETERS];
    LLVMValueRef values[MAX_PARAMETERS];
    assert(n_arguments <= MAX_PARAMETERS);
    for (uint32_t i = 0; i < n_arguments; i++) {
        values[i] = arguments[i];
        types[i] = LLVMTypeOf(arguments[i]);
    }
    LLVMTypeRef type = LLVMFunctionType(result, types, n_arguments, false);
    LLVMValueRef function = LLVMGetNamedFunction(p->module, intrinsic);
    if (function == NULL)
        function = LLVMAddFunction(p->module, intrinsic, type);
    return LLVMBuildCall2(p->builder, type, function, values, n_arguments, "");
}

LLVMValueRef nvptx_thread(struct nvptx *p) {
    return nvptx_call(p, "llvm.nvvm.read.ptx.sreg.tid.x", p->i32, NULL, 0);
}

LLVMValueRef nvptx_block(struct nvptx *p) {
    return nvptx_call(p, "llvm.nvvm.read.ptx.sreg.ctaid.x", p->i32, NULL, 0);
}

void nvptx_barrier(struct nvptx *p) {
    (void)nvptx_call(p, "llvm.nvvm.barrier0", p->void_type, NULL, 0);
}

static LLVMValueRef reduce(struct nvptx *p, const char *intrinsic, LLVMValueRef value) {
    const LLVMValueRef arguments[] = {value, nvptx_u32(p, ALL_LANES)};
    return nvptx_call(p, intrinsic, p->i32, arguments, 2);
}

LLVMValueRef nvptx_warp_max(struct nvptx *p, LLVMValueRef value) {
    return reduce(p, "llvm.nvvm.redux.sync.umax", value);
}

LLVMValueRef nvptx_warp_add(struct nvptx *p, LLVMValueRef value) {
    return reduce(p, "llvm.nvvm.redux.sync.add", value);
}

LLVMValueRef nvptx_lane_xor(struct nvptx *p, LLVMValueRef value, uint32_t distance) {
    const LLVMValueRef arguments[] = {nvptx_u32(p, ALL_LANES), value, nvptx_u32(p, distance),
                                      nvptx_u32(p, 31)};
    return nvptx_call(p, "llvm.nvvm.shfl.sync.bfly.i32", p->i32, arguments, 4);
}

LLVMValueRef nvptx_dp4a(struct nvptx *p, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c) {
    static const char TEXT[] = "dp4a.s32.s32 $0, $1, $2, $3;", OPERANDS[] = "=r,r,r,r";
    LLVMTypeRef types[] = {p->i32, p->i32, p->i32};
    LLVMTypeRef type = LLVMFunctionType(p->i32, types, 3, false);
    LLVMValueRef assembly =
        LLVMGetInlineAsm(type, TEXT, sizeof TEXT - 1, OPERANDS, sizeof OPERANDS - 1, false, false,
                         LLVMInlineAsmDialectATT, false);
    LLVMValueRef arguments[] = {a, b, c};
    return LLVMBuildCall2(p->builder, type, assembly, arguments, 3, "");
}
