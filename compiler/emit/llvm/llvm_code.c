/* llvm_code.c - control flow, stores and matrix registers; see llvm_code.h. */
#include "emit/llvm/llvm_code.h"

#include <assert.h>
#include <string.h>

#include "emit/instructions.h"
#include "kernel_ops.h"

/* An open LOOP or IF. */
struct scope {
    struct scope *outer;
    const struct rsr_kop *op;
    LLVMBasicBlockRef head;      /* LOOP: the test. IF: the block that branches */
    LLVMBasicBlockRef otherwise; /* IF: the block for not a < b */
    LLVMBasicBlockRef exit;
    LLVMBasicBlockRef then_end; /* after ELSE: the block where the first branch ended */
    LLVMValueRef *before;       /* registers at the head, which code after the loop sees */
    LLVMValueRef *then_values;  /* after ELSE: registers at then_end */
};

static LLVMBasicBlockRef append_block(const struct rsrc_llvm_code *code, const char *stem,
                                      const char *suffix) {
    return LLVMAppendBasicBlockInContext(code->context, code->function,
                                         rsrc_arena_printf(code->arena, "%s.%s", stem, suffix));
}

static LLVMValueRef *copy_values(const struct rsrc_llvm_code *code) {
    LLVMValueRef *copy = RSRC_NEW_ARRAY(code->arena, code->n_regs + 1u, LLVMValueRef);
    memcpy(copy, code->values, code->n_regs * sizeof *copy);
    return copy;
}

/* Makes a phi at the head for every register that has a value and that the loop assigns. */
static void build_loop_phis(struct rsrc_llvm_code *code, uint32_t loop,
                            LLVMBasicBlockRef preheader) {
    uint8_t *done = RSRC_NEW_ARRAY(code->arena, code->n_regs + 1u, uint8_t);
    uint32_t depth = 1;
    for (uint32_t i = loop + 1; i < code->n_ops && depth > 0; i++) {
        const struct rsr_kop *op = &code->ops[i];
        if (op->kind == RSR_KOP_LOOP || op->kind == RSR_KOP_IF)
            depth++;
        if (op->kind == RSR_KOP_END)
            depth--;
        if (!rsrc_kop_has_result(op->kind) || done[op->dst] || code->values[op->dst] == NULL)
            continue;
        done[op->dst] = 1;
        LLVMValueRef phi = LLVMBuildPhi(code->builder, rsrc_llvm_reg_type(code, op->dst),
                                        code->regs[op->dst].name);
        LLVMAddIncoming(phi, &code->values[op->dst], &preheader, 1);
        code->values[op->dst] = phi;
    }
}

static struct scope *open_loop(struct rsrc_llvm_code *code, struct scope *outer, uint32_t at) {
    const struct rsr_kop *op = &code->ops[at];
    const char *name = code->regs[op->dst].name;
    struct scope *scope = RSRC_NEW(code->arena, struct scope);
    LLVMBasicBlockRef preheader = LLVMGetInsertBlock(code->builder);
    scope->outer = outer;
    scope->op = op;
    scope->head = append_block(code, name, "head");
    LLVMBasicBlockRef body = append_block(code, name, "body");
    scope->exit = append_block(code, name, "end");
    LLVMBuildBr(code->builder, scope->head);
    LLVMPositionBuilderAtEnd(code->builder, scope->head);
    LLVMValueRef counter = LLVMBuildPhi(code->builder, rsrc_llvm_reg_type(code, op->dst), name);
    LLVMAddIncoming(counter, &code->values[op->a], &preheader, 1);
    build_loop_phis(code, at, preheader);
    scope->before = copy_values(code);
    code->values[op->dst] = counter;
    LLVMValueRef more =
        LLVMBuildICmp(code->builder, LLVMIntSLT, counter, code->values[op->b], "more");
    LLVMBuildCondBr(code->builder, more, body, scope->exit);
    LLVMPositionBuilderAtEnd(code->builder, body);
    return scope;
}

static void close_loop(struct rsrc_llvm_code *code, struct scope *scope) {
    LLVMValueRef counter = code->values[scope->op->dst];
    LLVMValueRef next =
        LLVMBuildNSWAdd(code->builder, counter, rsrc_llvm_index(code, scope->op->imm), "next");
    LLVMBasicBlockRef latch = LLVMGetInsertBlock(code->builder);
    LLVMAddIncoming(counter, &next, &latch, 1);
    for (uint32_t i = 0; i < code->n_regs; i++)
        if (scope->before[i] != NULL && LLVMIsAPHINode(scope->before[i]) != NULL &&
            LLVMGetInstructionParent(scope->before[i]) == scope->head)
            LLVMAddIncoming(scope->before[i], &code->values[i], &latch, 1);
    LLVMBuildBr(code->builder, scope->head);
    LLVMPositionBuilderAtEnd(code->builder, scope->exit);
    memcpy(code->values, scope->before, code->n_regs * sizeof *code->values);
}

static struct scope *open_if(struct rsrc_llvm_code *code, struct scope *outer,
                             const struct rsr_kop *op) {
    struct scope *scope = RSRC_NEW(code->arena, struct scope);
    scope->outer = outer;
    scope->op = op;
    scope->head = LLVMGetInsertBlock(code->builder);
    LLVMBasicBlockRef then = append_block(code, "if", "then");
    scope->otherwise = append_block(code, "if", "else");
    scope->exit = append_block(code, "if", "end");
    scope->before = copy_values(code);
    LLVMValueRef less =
        LLVMBuildICmp(code->builder, LLVMIntSLT, code->values[op->a], code->values[op->b], "less");
    LLVMBuildCondBr(code->builder, less, then, scope->otherwise);
    LLVMPositionBuilderAtEnd(code->builder, then);
    return scope;
}

static void begin_else(struct rsrc_llvm_code *code, struct scope *scope) {
    scope->then_end = LLVMGetInsertBlock(code->builder);
    scope->then_values = copy_values(code);
    LLVMBuildBr(code->builder, scope->exit);
    LLVMPositionBuilderAtEnd(code->builder, scope->otherwise);
    memcpy(code->values, scope->before, code->n_regs * sizeof *code->values);
}

/* A register that only one branch sets has no value after both. */
static void close_if(struct rsrc_llvm_code *code, struct scope *scope) {
    if (scope->then_values == NULL)
        begin_else(code, scope); /* without operations */
    LLVMBasicBlockRef ends[2] = {scope->then_end, LLVMGetInsertBlock(code->builder)};
    LLVMBuildBr(code->builder, scope->exit);
    LLVMPositionBuilderAtEnd(code->builder, scope->exit);
    for (uint32_t i = 0; i < code->n_regs; i++) {
        LLVMValueRef sides[2] = {scope->then_values[i], code->values[i]};
        if (sides[0] == NULL || sides[1] == NULL) {
            code->values[i] = NULL;
        } else if (sides[0] != sides[1]) {
            code->values[i] = LLVMBuildPhi(code->builder, rsrc_llvm_reg_type(code, (uint16_t)i),
                                           code->regs[i].name);
            LLVMAddIncoming(code->values[i], sides, ends, 2);
        }
    }
}

/* ---- operations without a result ------------------------------------------------------------- */

static void build_store(struct rsrc_llvm_code *code, const struct rsr_kop *op) {
    LLVMValueRef store =
        LLVMBuildStore(code->builder, code->values[op->a], rsrc_llvm_address(code, op));
    LLVMSetAlignment(store, 1);
}

/* Prefetches data for reading, like __builtin_prefetch(address, 0, locality). */
static void build_prefetch(struct rsrc_llvm_code *code, const struct rsr_kop *op) {
    LLVMTypeRef i32 = LLVMInt32TypeInContext(code->context);
    LLVMTypeRef pointer = LLVMPointerTypeInContext(code->context, 0);
    static const char name[] = "llvm.prefetch";
    const unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    LLVMValueRef arguments[] = {
        rsrc_llvm_address(code, op), LLVMConstInt(i32, 0, false),
        LLVMConstInt(i32, rsrc_prefetch_locality(code->kernel->spec), false),
        LLVMConstInt(i32, 1, false)};
    LLVMBuildCall2(code->builder, LLVMIntrinsicGetType(code->context, id, &pointer, 1),
                   LLVMGetIntrinsicDeclaration(code->module, id, &pointer, 1), arguments, 4, "");
}

static void build_call(struct rsrc_llvm_code *code, const struct rsr_kop *op) {
    LLVMTypeRef byte = LLVMInt8TypeInContext(code->context);
    LLVMTypeRef pointer = LLVMPointerTypeInContext(code->context, 0);
    LLVMValueRef slot =
        LLVMBuildGEP2(code->builder, pointer, code->bodies, &code->values[op->a], 1, "");
    LLVMValueRef body = LLVMBuildLoad2(code->builder, pointer, slot, "body");
    rsrc_llvm_mark_constant(code, body);
    LLVMValueRef scratch = code->buffers[RSR_KBUF_SCRATCH];
    LLVMValueRef arguments[] = {
        LLVMBuildGEP2(code->builder, byte, scratch, &code->values[op->b], 1, "columns"),
        LLVMBuildGEP2(code->builder, byte, scratch, &code->values[op->c], 1, "sums")};
    LLVMTypeRef parameters[] = {pointer, pointer};
    LLVMBuildCall2(code->builder,
                   LLVMFunctionType(LLVMVoidTypeInContext(code->context), parameters, 2, false),
                   body, arguments, 2, "");
}

/* ---- matrix registers ------------------------------------------------------------------------ */

/* The n-th TILE register is tile n. */
static LLVMValueRef tile_number(const struct rsrc_llvm_code *code, uint16_t reg) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < reg; i++)
        n += code->regs[i].elem == RSR_ELEM_TILE;
    return LLVMConstInt(LLVMInt8TypeInContext(code->context), n, false);
}

/* The memory operand of ldtilecfg: palette 1; eight tiles of 16 rows of 64 bytes. */
static LLVMValueRef tile_configuration(const struct rsrc_llvm_code *code) {
    static const char name[] = "rsrc_all_tiles";
    LLVMValueRef global = LLVMGetNamedGlobal(code->module, name);
    if (global != NULL)
        return global;
    char bytes[64] = {1};
    for (uint32_t i = 0; i < RSRC_MAX_TILES; i++) {
        bytes[16 + 2 * i] = 64; /* u16 bytes a row */
        bytes[48 + i] = 16;     /* u8 rows */
    }
    LLVMValueRef value = LLVMConstStringInContext(code->context, bytes, sizeof bytes, true);
    global = LLVMAddGlobal(code->module, LLVMTypeOf(value), name);
    LLVMSetInitializer(global, value);
    LLVMSetGlobalConstant(global, true);
    LLVMSetLinkage(global, LLVMPrivateLinkage);
    LLVMSetAlignment(global, 64);
    return global;
}

static void build_tile_operation(struct rsrc_llvm_code *code, const struct rsr_kop *op) {
    LLVMValueRef arguments[3] = {NULL};
    uint32_t n = 0;
    switch ((enum rsr_kop_kind)op->kind) {
    case RSR_KOP_TILE_BEGIN:
        arguments[n++] = tile_configuration(code);
        break;
    case RSR_KOP_TILE_LOAD:
        arguments[n++] = tile_number(code, op->dst);
        arguments[n++] = rsrc_llvm_address(code, op);
        arguments[n++] = code->values[op->a];
        break;
    case RSR_KOP_TILE_STORE:
        arguments[n++] = tile_number(code, op->a);
        arguments[n++] = rsrc_llvm_address(code, op);
        arguments[n++] = code->values[op->b];
        break;
    case RSR_KOP_TILE_DOT_S8S8:
        arguments[n++] = tile_number(code, op->dst);
        arguments[n++] = tile_number(code, op->b);
        arguments[n++] = tile_number(code, op->c);
        break;
    default:
        break; /* TILE_END has no operand */
    }
    const struct rsrc_instruction *instruction =
        rsrc_find_instruction(RSRC_IN_LLVM, code->kernel->spec, code->regs, op);
    rsrc_llvm_call(code, instruction->intrinsic, arguments, n);
}

/* ---- the list -------------------------------------------------------------------------------- */

static void build_assignment(struct rsrc_llvm_code *code, const struct rsr_kop *op) {
    LLVMValueRef value = rsrc_llvm_build_value(code, op);
    size_t length = 0;
    const char *name = code->regs[op->dst].name;
    if (LLVMIsAInstruction(value) != NULL && LLVMGetValueName2(value, &length)[0] == '\0')
        LLVMSetValueName2(value, name, strlen(name));
    code->values[op->dst] = value;
}

void rsrc_llvm_build_code(struct rsrc_llvm_code *code) {
    struct scope *scope = NULL;
    for (uint32_t i = 0; i < code->n_ops; i++) {
        const struct rsr_kop *op = &code->ops[i];
        switch ((enum rsr_kop_kind)op->kind) {
        case RSR_KOP_COMMENT:
            break; /* IR has none */
        case RSR_KOP_LOOP:
            scope = open_loop(code, scope, i);
            break;
        case RSR_KOP_IF:
            scope = open_if(code, scope, op);
            break;
        case RSR_KOP_ELSE:
            begin_else(code, scope);
            break;
        case RSR_KOP_END:
            if (scope->op->kind == RSR_KOP_LOOP)
                close_loop(code, scope);
            else
                close_if(code, scope);
            scope = scope->outer;
            break;
        case RSR_KOP_STORE:
            build_store(code, op);
            break;
        case RSR_KOP_PREFETCH:
            build_prefetch(code, op);
            break;
        case RSR_KOP_CALL:
            build_call(code, op);
            break;
        default:
            if (rsrc_kop_is_tile(op->kind))
                build_tile_operation(code, op);
            else
                build_assignment(code, op);
        }
    }
    assert(scope == NULL);
}
