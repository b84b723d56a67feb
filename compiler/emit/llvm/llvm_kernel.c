/* llvm_kernel.c - functions: signatures, attributes, arguments, the table of bodies. */
#include "emit/llvm/llvm_kernel.h"

#include <string.h>

#include "emit/llvm/llvm_code.h"
#include "kernel_ops.h"

#define ON_FUNCTION ((LLVMAttributeIndex)LLVMAttributeFunctionIndex)

/* Parameters of rsr_kernel_fn, in order. */
enum parameter {
    ARG_X,
    ARG_LDX,
    ARG_Y,
    ARG_LDY,
    ARG_N_TOKENS,
    ARG_WEIGHTS,
    ARG_WORKER,
    ARG_SCRATCH,
    ARG_COUNT
};
enum body_parameter { BODY_COLUMNS, BODY_SUMS, BODY_COUNT };

static const char *const parameter_names[ARG_COUNT] = {"x",        "ldx",     "y",      "ldy",
                                                       "n_tokens", "weights", "worker", "scratch"};

struct function_builder {
    LLVMContextRef context;
    LLVMModuleRef module;
    LLVMBuilderRef builder;
    const struct rsrc_llvm_arch *arch;
    const struct rsr_kernel *kernel;
    struct rsrc_arena *arena;
};

/* ---- attributes ------------------------------------------------------------------------------ */

/* An attribute without a value, or with one. `at`: a parameter's number + 1, or the function. */
static void add_attribute(const struct function_builder *f, LLVMValueRef function,
                          LLVMAttributeIndex at, const char *name, uint64_t value) {
    const unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));
    LLVMAddAttributeAtIndex(function, at, LLVMCreateEnumAttribute(f->context, kind, value));
}

static void add_string_attribute(const struct function_builder *f, LLVMValueRef function,
                                 const char *name, const char *value) {
    LLVMAttributeRef attribute = LLVMCreateStringAttribute(f->context, name, (unsigned)strlen(name),
                                                           value, (unsigned)strlen(value));
    LLVMAddAttributeAtIndex(function, ON_FUNCTION, attribute);
}

/* Code is tuned for the target's processor, but uses only the features that a module asks for. */
static void add_function_attributes(const struct function_builder *f, LLVMValueRef function) {
    const struct rsr_spec *spec = f->kernel->spec;
    add_attribute(f, function, ON_FUNCTION, "nounwind", 0);
    add_attribute(f, function, ON_FUNCTION, "uwtable", 2); /* for backtraces */
    add_string_attribute(f, function, "target-cpu", f->arch->base_cpu);
    add_string_attribute(f, function, "tune-cpu", spec->cpu);
    const char *features = rsrc_llvm_feature_string(spec, f->arena);
    if (features[0] != '\0')
        add_string_attribute(f, function, "target-features", features);
}

/* Promises of rsr_abi.h about the arguments: they are distinct memory, and only y and scratch are
 * written. */
static void add_parameter_attributes(const struct function_builder *f, LLVMValueRef function) {
    static const struct {
        enum parameter parameter;
        bool read_only;
        uint32_t bytes; /* bytes that can always be read; 0: unknown */
        uint32_t align;
    } pointers[] = {{ARG_X, true, 0, 64},
                    {ARG_Y, false, 0, 4},
                    {ARG_WEIGHTS, true, sizeof(struct rsr_weights), 8},
                    {ARG_WORKER, true, sizeof(struct rsr_worker), 4},
                    {ARG_SCRATCH, false, 0, 64}};
    for (size_t i = 0; i < sizeof pointers / sizeof *pointers; i++) {
        const LLVMAttributeIndex at = pointers[i].parameter + 1;
        add_attribute(f, function, at, "noalias", 0);
        add_attribute(f, function, at, "nocapture", 0);
        add_attribute(f, function, at, "align", pointers[i].align);
        if (pointers[i].read_only)
            add_attribute(f, function, at, "readonly", 0);
        if (pointers[i].bytes != 0)
            add_attribute(f, function, at, "dereferenceable", pointers[i].bytes);
    }
}

/* ---- arguments ------------------------------------------------------------------------------- */

/* A field of what an argument points to. */
static LLVMValueRef load_field(const struct rsrc_llvm_code *code, enum parameter argument,
                               size_t offset, LLVMTypeRef type, const char *name) {
    LLVMValueRef displacement = rsrc_llvm_index(code, (int64_t)offset);
    LLVMValueRef field =
        LLVMBuildGEP2(code->builder, LLVMInt8TypeInContext(code->context),
                      LLVMGetParam(code->function, argument), &displacement, 1, "");
    return LLVMBuildLoad2(code->builder, type, field, name);
}

static void load_buffers(struct rsrc_llvm_code *code) {
    static const struct {
        enum rsr_kbuf buffer;
        size_t offset;
        const char *name;
    } fields[] = {{RSR_KBUF_CODES, offsetof(struct rsr_weights, codes), "codes"},
                  {RSR_KBUF_INDEX, offsetof(struct rsr_weights, index), "index"},
                  {RSR_KBUF_SCALE, offsetof(struct rsr_weights, scale), "scales"}};
    code->buffers[RSR_KBUF_X] = LLVMGetParam(code->function, ARG_X);
    code->buffers[RSR_KBUF_Y] = LLVMGetParam(code->function, ARG_Y);
    code->buffers[RSR_KBUF_SCRATCH] = LLVMGetParam(code->function, ARG_SCRATCH);
    bool used[RSR_KBUF_COUNT] = {false};
    for (uint32_t i = 0; i < code->n_ops; i++)
        if (rsrc_kop_has_address(code->ops[i].kind))
            used[code->ops[i].buffer] = true;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (used[fields[i].buffer])
            code->buffers[fields[i].buffer] =
                load_field(code, ARG_WEIGHTS, fields[i].offset,
                           LLVMPointerTypeInContext(code->context, 0), fields[i].name);
}

/* 32-bit numbers become 64-bit scalars, as operations use them. */
static void load_params(struct rsrc_llvm_code *code) {
    LLVMTypeRef i64 = LLVMInt64TypeInContext(code->context);
    LLVMTypeRef i32 = LLVMInt32TypeInContext(code->context);
    bool used[RSR_KPARAM_COUNT] = {false};
    for (uint32_t i = 0; i < code->n_ops; i++)
        if (code->ops[i].kind == RSR_KOP_PARAM)
            used[code->ops[i].imm] = true;
    code->params[RSR_KPARAM_LDX] = LLVMGetParam(code->function, ARG_LDX);
    code->params[RSR_KPARAM_LDY] = LLVMGetParam(code->function, ARG_LDY);
    if (used[RSR_KPARAM_N_TOKENS])
        code->params[RSR_KPARAM_N_TOKENS] =
            LLVMBuildZExt(code->builder, LLVMGetParam(code->function, ARG_N_TOKENS), i64, "tokens");
    static const struct {
        enum rsr_kparam param;
        size_t offset;
    } fields[] = {{RSR_KPARAM_TILE_BEGIN, offsetof(struct rsr_worker, tile_begin)},
                  {RSR_KPARAM_TILE_END, offsetof(struct rsr_worker, tile_end)},
                  {RSR_KPARAM_HAS_TABLES, offsetof(struct rsr_worker, has_tables)}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (used[fields[i].param])
            code->params[fields[i].param] = LLVMBuildZExt(
                code->builder, load_field(code, ARG_WORKER, fields[i].offset, i32, ""), i64, "");
}

/* ---- functions ------------------------------------------------------------------------------- */

/* Opens the function's entry block. */
static struct rsrc_llvm_code begin_code(const struct function_builder *f, LLVMValueRef function,
                                        const struct rsr_kreg *regs, uint32_t n_regs,
                                        const struct rsr_kop *ops, uint32_t n_ops) {
    LLVMPositionBuilderAtEnd(f->builder,
                             LLVMAppendBasicBlockInContext(f->context, function, "entry"));
    return (struct rsrc_llvm_code){.context = f->context,
                                   .module = f->module,
                                   .builder = f->builder,
                                   .function = function,
                                   .arena = f->arena,
                                   .kernel = f->kernel,
                                   .regs = regs,
                                   .n_regs = n_regs,
                                   .ops = ops,
                                   .n_ops = n_ops,
                                   .values = RSRC_NEW_ARRAY(f->arena, n_regs + 1u, LLVMValueRef)};
}

/* Defines the bodies, or declares them with extern_bodies. */
static LLVMValueRef add_body(const struct function_builder *f, uint32_t number) {
    const struct rsr_kernel *kernel = f->kernel;
    LLVMTypeRef pointer = LLVMPointerTypeInContext(f->context, 0);
    LLVMTypeRef parameters[BODY_COUNT] = {pointer, pointer};
    LLVMTypeRef type =
        LLVMFunctionType(LLVMVoidTypeInContext(f->context), parameters, BODY_COUNT, false);
    LLVMValueRef function = LLVMAddFunction(
        f->module, rsrc_arena_printf(f->arena, "%s_body_%u", kernel->symbol, number), type);
    if (kernel->extern_bodies) {
        LLVMSetVisibility(function, LLVMHiddenVisibility);
        return function;
    }
    LLVMSetLinkage(function, LLVMInternalLinkage);
    add_function_attributes(f, function);
    add_attribute(f, function, ON_FUNCTION, "noinline", 0);
    const struct rsr_kbody *body = &kernel->bodies[number];
    struct rsrc_llvm_code code =
        begin_code(f, function, kernel->body_regs, kernel->n_body_regs, body->ops, body->n_ops);
    code.buffers[RSR_KBUF_COLUMNS] = LLVMGetParam(function, BODY_COLUMNS);
    code.buffers[RSR_KBUF_SUMS] = LLVMGetParam(function, BODY_SUMS);
    LLVMSetValueName2(code.buffers[RSR_KBUF_COLUMNS], "columns", strlen("columns"));
    LLVMSetValueName2(code.buffers[RSR_KBUF_SUMS], "sums", strlen("sums"));
    rsrc_llvm_build_code(&code);
    LLVMBuildRetVoid(f->builder);
    return function;
}

/* The constant table that CALL reads; NULL: the kernel has no bodies. */
static LLVMValueRef add_bodies(const struct function_builder *f) {
    const struct rsr_kernel *kernel = f->kernel;
    if (kernel->n_bodies == 0)
        return NULL;
    LLVMValueRef *functions = RSRC_NEW_ARRAY(f->arena, kernel->n_bodies, LLVMValueRef);
    for (uint32_t i = 0; i < kernel->n_bodies; i++)
        functions[i] = add_body(f, i);
    LLVMTypeRef pointer = LLVMPointerTypeInContext(f->context, 0);
    LLVMValueRef value = LLVMConstArray2(pointer, functions, kernel->n_bodies);
    LLVMValueRef table = LLVMAddGlobal(f->module, LLVMTypeOf(value),
                                       rsrc_arena_printf(f->arena, "%s_bodies", kernel->symbol));
    LLVMSetInitializer(table, value);
    LLVMSetGlobalConstant(table, true);
    LLVMSetLinkage(table, LLVMInternalLinkage);
    return table;
}

static LLVMValueRef declare_kernel(const struct function_builder *f) {
    LLVMTypeRef pointer = LLVMPointerTypeInContext(f->context, 0);
    LLVMTypeRef i64 = LLVMInt64TypeInContext(f->context);
    LLVMTypeRef parameters[ARG_COUNT] = {
        [ARG_X] = pointer,       [ARG_LDX] = i64,
        [ARG_Y] = pointer,       [ARG_LDY] = i64,
        [ARG_WEIGHTS] = pointer, [ARG_N_TOKENS] = LLVMInt32TypeInContext(f->context),
        [ARG_WORKER] = pointer,  [ARG_SCRATCH] = pointer};
    LLVMTypeRef type =
        LLVMFunctionType(LLVMVoidTypeInContext(f->context), parameters, ARG_COUNT, false);
    LLVMValueRef function = LLVMAddFunction(f->module, f->kernel->symbol, type);
    LLVMSetVisibility(function, LLVMHiddenVisibility);
    add_function_attributes(f, function);
    add_parameter_attributes(f, function);
    for (unsigned i = 0; i < ARG_COUNT; i++)
        LLVMSetValueName2(LLVMGetParam(function, i), parameter_names[i],
                          strlen(parameter_names[i]));
    return function;
}

void rsrc_llvm_add_kernel(LLVMModuleRef module, LLVMBuilderRef builder,
                          const struct rsrc_llvm_arch *arch, const struct rsr_kernel *kernel,
                          struct rsrc_arena *arena) {
    const struct function_builder f = {.context = LLVMGetModuleContext(module),
                                       .module = module,
                                       .builder = builder,
                                       .arch = arch,
                                       .kernel = kernel,
                                       .arena = arena};
    LLVMValueRef bodies = add_bodies(&f);
    LLVMValueRef function = declare_kernel(&f);
    struct rsrc_llvm_code code =
        begin_code(&f, function, kernel->regs, kernel->n_regs, kernel->ops, kernel->n_ops);
    code.bodies = bodies;
    load_buffers(&code);
    load_params(&code);
    rsrc_llvm_build_code(&code);
    LLVMBuildRetVoid(builder);
}
