/* llvm_value.c - single operations as LLVM values; see llvm_code.h.
 *
 * Floats carry no fast-math flag and are never contracted, so every result is what ir.h says, to
 * the bit. Signed 64-bit scalars, which are counters and addresses, are marked as not overflowing
 * (nsw), as ir.h promises; other types would gain nothing from the mark.
 */
#include <assert.h>
#include <string.h>

#include "emit/instructions.h"
#include "emit/llvm/llvm_code.h"
#include "kernel_ops.h"

#define MAX_LANES 64
#define LANE16_BYTES 16u

/* ---- types and constants --------------------------------------------------------------------- */

LLVMTypeRef rsrc_llvm_type(const struct rsrc_llvm_code *code, enum rsr_elem elem, uint32_t lanes) {
    LLVMTypeRef type = elem == RSR_ELEM_F32
                           ? LLVMFloatTypeInContext(code->context)
                           : LLVMIntTypeInContext(code->context, rsrc_elem_bytes(elem) * 8);
    return lanes == 1 ? type : LLVMVectorType(type, lanes);
}

LLVMTypeRef rsrc_llvm_reg_type(const struct rsrc_llvm_code *code, uint16_t reg) {
    return rsrc_llvm_type(code, code->regs[reg].elem, code->regs[reg].lanes);
}

LLVMValueRef rsrc_llvm_index(const struct rsrc_llvm_code *code, int64_t value) {
    return LLVMConstInt(LLVMInt64TypeInContext(code->context), (unsigned long long)value, true);
}

static LLVMValueRef splat_constant(LLVMValueRef scalar, uint32_t lanes) {
    LLVMValueRef scalars[MAX_LANES];
    for (uint32_t i = 0; i < lanes; i++)
        scalars[i] = scalar;
    return lanes == 1 ? scalar : LLVMConstVector(scalars, lanes);
}

/* An integer in every lane of a type like the register's. */
static LLVMValueRef integer_constant(const struct rsrc_llvm_code *code, const struct rsr_kreg *like,
                                     int64_t value) {
    LLVMTypeRef type = LLVMIntTypeInContext(code->context, rsrc_elem_bytes(like->elem) * 8);
    return splat_constant(LLVMConstInt(type, (unsigned long long)value, true), like->lanes);
}

static LLVMValueRef lane_number(const struct rsrc_llvm_code *code, uint32_t lane) {
    return LLVMConstInt(LLVMInt32TypeInContext(code->context), lane, false);
}

/* Lanes of a, then of b, by number. */
static LLVMValueRef shuffle(const struct rsrc_llvm_code *code, LLVMValueRef a, LLVMValueRef b,
                            const uint32_t *lanes, uint32_t n_lanes) {
    LLVMValueRef mask[2 * MAX_LANES];
    for (uint32_t i = 0; i < n_lanes; i++)
        mask[i] = lane_number(code, lanes[i]);
    return LLVMBuildShuffleVector(code->builder, a, b, LLVMConstVector(mask, n_lanes), "");
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Built term by term, so that accesses which differ only in the displacement share the rest. */
LLVMValueRef rsrc_llvm_address(const struct rsrc_llvm_code *code, const struct rsr_kop *op) {
    LLVMTypeRef byte = LLVMInt8TypeInContext(code->context);
    LLVMValueRef address = code->buffers[op->buffer];
    for (uint32_t i = 0; i < 3; i++) {
        if (op->term[i] == RSR_NO_KREG)
            continue;
        LLVMValueRef term = code->values[op->term[i]];
        if (op->term_scale[i] != 1)
            term =
                LLVMBuildNSWMul(code->builder, term, rsrc_llvm_index(code, op->term_scale[i]), "");
        address = LLVMBuildGEP2(code->builder, byte, address, &term, 1, "");
    }
    LLVMValueRef displacement = rsrc_llvm_index(code, op->imm);
    return op->imm == 0 ? address
                        : LLVMBuildGEP2(code->builder, byte, address, &displacement, 1, "");
}

void rsrc_llvm_mark_constant(const struct rsrc_llvm_code *code, LLVMValueRef load) {
    static const char name[] = "invariant.load";
    LLVMMetadataRef empty = LLVMMDNodeInContext2(code->context, NULL, 0);
    LLVMSetMetadata(load, LLVMGetMDKindIDInContext(code->context, name, sizeof name - 1),
                    LLVMMetadataAsValue(code->context, empty));
}

static LLVMValueRef build_load(const struct rsrc_llvm_code *code, const struct rsr_kop *op,
                               LLVMTypeRef type) {
    LLVMValueRef load = LLVMBuildLoad2(code->builder, type, rsrc_llvm_address(code, op), "");
    LLVMSetAlignment(load, 1);
    if (op->buffer == RSR_KBUF_CODES || op->buffer == RSR_KBUF_INDEX ||
        op->buffer == RSR_KBUF_SCALE)
        rsrc_llvm_mark_constant(code, load);
    return load;
}

static LLVMValueRef build_load_lanes(const struct rsrc_llvm_code *code, const struct rsr_kop *op) {
    const struct rsr_kreg *dst = &code->regs[op->dst];
    const uint32_t period = LANE16_BYTES / rsrc_elem_bytes(dst->elem);
    LLVMValueRef lane = build_load(code, op, rsrc_llvm_type(code, dst->elem, period));
    uint32_t lanes[MAX_LANES];
    for (uint32_t i = 0; i < dst->lanes; i++)
        lanes[i] = i % period;
    return dst->lanes == period ? lane : shuffle(code, lane, lane, lanes, dst->lanes);
}

/* ---- intrinsics ------------------------------------------------------------------------------ */

static LLVMValueRef cast_bits(const struct rsrc_llvm_code *code, LLVMValueRef value,
                              LLVMTypeRef type) {
    return LLVMTypeOf(value) == type ? value : LLVMBuildBitCast(code->builder, value, type, "");
}

static LLVMValueRef call_overloaded(const struct rsrc_llvm_code *code, const char *name,
                                    LLVMTypeRef *overloads, uint32_t n_overloads,
                                    LLVMValueRef *arguments, uint32_t n_arguments) {
    const unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    assert(id != 0);
    LLVMTypeRef type = LLVMIntrinsicGetType(code->context, id, overloads, n_overloads);
    LLVMValueRef function = LLVMGetIntrinsicDeclaration(code->module, id, overloads, n_overloads);
    assert(LLVMCountParamTypes(type) == n_arguments);
    LLVMTypeRef parameters[4];
    LLVMGetParamTypes(type, parameters);
    for (uint32_t i = 0; i < n_arguments; i++)
        arguments[i] = cast_bits(code, arguments[i], parameters[i]);
    return LLVMBuildCall2(code->builder, type, function, arguments, n_arguments, "");
}

LLVMValueRef rsrc_llvm_call(const struct rsrc_llvm_code *code, const char *name,
                            LLVMValueRef *arguments, uint32_t n_arguments) {
    return call_overloaded(code, name, NULL, 0, arguments, n_arguments);
}

/* The numbers for TABLE and TABLE2, with ignored bits cleared. */
static LLVMValueRef masked_numbers(const struct rsrc_llvm_code *code, const struct rsr_kop *op) {
    const struct rsr_kreg *a = &code->regs[op->a];
    const uint32_t n_entries = op->kind == RSR_KOP_TABLE2 ? 2 * a->lanes : a->lanes;
    return LLVMBuildAnd(code->builder, code->values[op->a],
                        integer_constant(code, a, n_entries - 1), "");
}

/* Sets the types that the intrinsic's name leaves open; returns how many. */
static uint32_t list_overloads(const struct rsrc_llvm_code *code, const struct rsr_kop *op,
                               enum rsrc_llvm_overload overload, LLVMTypeRef types[2]) {
    switch (overload) {
    case RSRC_OVERLOAD_NONE:
        break;
    case RSRC_OVERLOAD_RESULT:
        types[0] = rsrc_llvm_reg_type(code, op->dst);
        return 1;
    case RSRC_OVERLOAD_BYTES:
        types[0] = rsrc_llvm_type(code, RSR_ELEM_U8, 16);
        return 1;
    case RSRC_OVERLOAD_SUM_BYTES:
        types[0] = rsrc_llvm_type(code, RSR_ELEM_I32, 4);
        types[1] = rsrc_llvm_type(code, RSR_ELEM_U8, 16);
        return 2;
    }
    return 0;
}

static LLVMValueRef build_intrinsic(const struct rsrc_llvm_code *code, const struct rsr_kop *op,
                                    const struct rsrc_instruction *instruction) {
    LLVMValueRef arguments[3];
    uint32_t n = 0;
    for (const char *operand = instruction->operands; *operand != '\0'; operand++)
        arguments[n++] = *operand == 'A'   ? masked_numbers(code, op)
                         : *operand == 'a' ? code->values[op->a]
                         : *operand == 'b' ? code->values[op->b]
                                           : code->values[op->c];
    if (op->kind == RSR_KOP_SPREAD_BIT) { /* every row of the 8 x 8 bit matrix picks the same bit */
        arguments[n++] = integer_constant(code, &code->regs[op->dst], INT64_C(1) << op->imm);
        arguments[n++] = LLVMConstInt(LLVMInt8TypeInContext(code->context), 0, false);
    }
    LLVMTypeRef overloads[2];
    const uint32_t n_overloads = list_overloads(code, op, instruction->overload, overloads);
    LLVMValueRef result =
        call_overloaded(code, instruction->intrinsic, overloads, n_overloads, arguments, n);
    return cast_bits(code, result, rsrc_llvm_reg_type(code, op->dst));
}

/* ---- plain IR -------------------------------------------------------------------------------- */

static LLVMValueRef build_arithmetic(const struct rsrc_llvm_code *code, const struct rsr_kreg *reg,
                                     uint32_t kind, LLVMValueRef a, LLVMValueRef b) {
    static const struct {
        LLVMOpcode integer, real;
    } opcodes[RSR_KOP_COUNT] = {
        [RSR_KOP_ADD] = {LLVMAdd, LLVMFAdd}, [RSR_KOP_ADD_MEM] = {LLVMAdd, LLVMFAdd},
        [RSR_KOP_SUB] = {LLVMSub, LLVMFSub}, [RSR_KOP_SUB_MEM] = {LLVMSub, LLVMFSub},
        [RSR_KOP_MUL] = {LLVMMul, LLVMFMul}, [RSR_KOP_AND] = {LLVMAnd, 0},
        [RSR_KOP_OR] = {LLVMOr, 0},          [RSR_KOP_XOR] = {LLVMXor, 0}};
    const bool is_real = reg->elem == RSR_ELEM_F32;
    LLVMValueRef result = LLVMBuildBinOp(
        code->builder, is_real ? opcodes[kind].real : opcodes[kind].integer, a, b, "");
    const bool is_sum = opcodes[kind].real != 0;
    if (is_sum && reg->elem == RSR_ELEM_I64 && LLVMIsAInstruction(result) != NULL)
        LLVMSetNSW(result, true);
    return result;
}

/* For floats, operates on the bits. */
static LLVMValueRef build_xor(const struct rsrc_llvm_code *code, const struct rsr_kop *op) {
    const struct rsr_kreg *dst = &code->regs[op->dst];
    LLVMTypeRef bits =
        rsrc_llvm_type(code, dst->elem == RSR_ELEM_F32 ? RSR_ELEM_U32 : dst->elem, dst->lanes);
    LLVMValueRef result = LLVMBuildXor(code->builder, cast_bits(code, code->values[op->a], bits),
                                       cast_bits(code, code->values[op->b], bits), "");
    return cast_bits(code, result, rsrc_llvm_reg_type(code, op->dst));
}

static LLVMValueRef build_min(const struct rsrc_llvm_code *code, const struct rsr_kop *op) {
    const enum rsr_elem elem = code->regs[op->dst].elem;
    LLVMValueRef a = code->values[op->a], b = code->values[op->b];
    LLVMValueRef less =
        elem == RSR_ELEM_F32
            ? LLVMBuildFCmp(code->builder, LLVMRealOLT, a, b, "")
            : LLVMBuildICmp(code->builder, rsrc_elem_is_unsigned(elem) ? LLVMIntULT : LLVMIntSLT, a,
                            b, "");
    return LLVMBuildSelect(code->builder, less, a, b, "");
}

static LLVMValueRef build_shift(const struct rsrc_llvm_code *code, const struct rsr_kop *op) {
    const struct rsr_kreg *dst = &code->regs[op->dst];
    const LLVMOpcode opcode = op->kind == RSR_KOP_SHL            ? LLVMShl
                              : rsrc_elem_is_unsigned(dst->elem) ? LLVMLShr
                                                                 : LLVMAShr;
    return LLVMBuildBinOp(code->builder, opcode, code->values[op->a],
                          integer_constant(code, dst, op->imm), "");
}

static LLVMValueRef build_splat(const struct rsrc_llvm_code *code, const struct rsr_kop *op) {
    static const uint32_t zeros[MAX_LANES];
    LLVMValueRef none = LLVMGetPoison(rsrc_llvm_reg_type(code, op->dst));
    LLVMValueRef first =
        LLVMBuildInsertElement(code->builder, none, code->values[op->a], lane_number(code, 0), "");
    return shuffle(code, first, none, zeros, code->regs[op->dst].lanes);
}

static LLVMValueRef build_convert(const struct rsrc_llvm_code *code, const struct rsr_kop *op) {
    LLVMTypeRef type = rsrc_llvm_reg_type(code, op->dst);
    LLVMValueRef a = code->values[op->a];
    if (code->regs[op->dst].elem == RSR_ELEM_F32)
        return LLVMBuildSIToFP(code->builder, a, type, "");
    return rsrc_elem_is_unsigned(code->regs[op->a].elem)
               ? LLVMBuildZExt(code->builder, a, type, "")
               : LLVMBuildSExt(code->builder, a, type, "");
}

/* Sums of neighbours: in every 2u lanes, u of a, then u of b. */
static LLVMValueRef build_zip_add(const struct rsrc_llvm_code *code, const struct rsr_kop *op) {
    const struct rsr_kreg *dst = &code->regs[op->dst];
    const uint32_t n = dst->lanes, u = (uint32_t)op->imm;
    uint32_t low[MAX_LANES], high[MAX_LANES];
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t in_group = i % (2 * u), group = i - in_group;
        low[i] = in_group < u ? group + in_group : n + group + in_group - u;
        high[i] = low[i] + u;
    }
    LLVMValueRef a = code->values[op->a], b = code->values[op->b];
    return build_arithmetic(code, dst, RSR_KOP_ADD, shuffle(code, a, b, low, n),
                            shuffle(code, a, b, high, n));
}

static LLVMValueRef build_halves_add(const struct rsrc_llvm_code *code, const struct rsr_kop *op) {
    const struct rsr_kreg *dst = &code->regs[op->dst];
    uint32_t low[MAX_LANES], high[MAX_LANES];
    for (uint32_t i = 0; i < dst->lanes; i++) {
        low[i] = i;
        high[i] = dst->lanes + i;
    }
    LLVMValueRef a = code->values[op->a];
    return build_arithmetic(code, dst, RSR_KOP_ADD, shuffle(code, a, a, low, dst->lanes),
                            shuffle(code, a, a, high, dst->lanes));
}

/* Products in 32 bits, then sums of even and odd lanes. */
static LLVMValueRef build_madd_i16(const struct rsrc_llvm_code *code, const struct rsr_kop *op) {
    const struct rsr_kreg *dst = &code->regs[op->dst];
    LLVMTypeRef wide = rsrc_llvm_type(code, RSR_ELEM_I32, 2 * dst->lanes);
    LLVMValueRef products =
        LLVMBuildMul(code->builder, LLVMBuildSExt(code->builder, code->values[op->a], wide, ""),
                     LLVMBuildSExt(code->builder, code->values[op->b], wide, ""), "");
    uint32_t even[MAX_LANES], odd[MAX_LANES];
    for (uint32_t i = 0; i < dst->lanes; i++) {
        even[i] = 2 * i;
        odd[i] = 2 * i + 1;
    }
    return build_arithmetic(code, dst, RSR_KOP_ADD,
                            shuffle(code, products, products, even, dst->lanes),
                            shuffle(code, products, products, odd, dst->lanes));
}

/* A shift of words (x86 has none of bytes) moves the bit to the sign, and a comparison with 0
 * spreads it. Bits that come from the neighbouring byte do not matter. */
static LLVMValueRef spread_sign(const struct rsrc_llvm_code *code, const struct rsr_kop *op) {
    const struct rsr_kreg *dst = &code->regs[op->dst];
    const struct rsr_kreg words = {.elem = RSR_ELEM_U16, .lanes = dst->lanes / 2};
    LLVMTypeRef word_type = rsrc_llvm_type(code, words.elem, words.lanes);
    LLVMTypeRef type = rsrc_llvm_reg_type(code, op->dst);
    LLVMValueRef moved =
        LLVMBuildShl(code->builder, cast_bits(code, code->values[op->a], word_type),
                     integer_constant(code, &words, 7 - op->imm), "");
    LLVMValueRef is_set = LLVMBuildICmp(code->builder, LLVMIntSLT, cast_bits(code, moved, type),
                                        integer_constant(code, dst, 0), "");
    return LLVMBuildSExt(code->builder, is_set, type, "");
}

/* All bits where the comparison holds. */
static LLVMValueRef build_spread_bit(const struct rsrc_llvm_code *code, const struct rsr_kop *op) {
    const struct rsr_kreg *dst = &code->regs[op->dst];
    const uint64_t has_bit_tests = RSR_CPU_MASK(NEON) | RSR_CPU_MASK(AVX512BW);
    if ((code->kernel->spec->cpu_features & has_bit_tests) == 0 && dst->lanes > 1)
        return spread_sign(code, op);
    LLVMValueRef bit = LLVMBuildAnd(code->builder, code->values[op->a],
                                    integer_constant(code, dst, INT64_C(1) << op->imm), "");
    LLVMValueRef is_set =
        LLVMBuildICmp(code->builder, LLVMIntNE, bit, integer_constant(code, dst, 0), "");
    return LLVMBuildSExt(code->builder, is_set, rsrc_llvm_reg_type(code, op->dst), "");
}

static LLVMValueRef build_zip(const struct rsrc_llvm_code *code, const struct rsr_kop *op) {
    const struct rsr_kreg *dst = &code->regs[op->dst];
    const uint32_t period = LANE16_BYTES / rsrc_elem_bytes(dst->elem);
    const uint32_t first = op->kind == RSR_KOP_ZIP_HIGH ? period / 2 : 0;
    uint32_t lanes[MAX_LANES];
    for (uint32_t i = 0; i < dst->lanes; i++)
        lanes[i] = i / period * period + first + i % period / 2 + (i & 1) * dst->lanes;
    return shuffle(code, code->values[op->a], code->values[op->b], lanes, dst->lanes);
}

/* The low bytes; the others are zero. */
static LLVMValueRef build_pack(const struct rsrc_llvm_code *code, const struct rsr_kop *op) {
    const uint32_t n = code->regs[op->dst].lanes;
    LLVMTypeRef bytes = rsrc_llvm_reg_type(code, op->dst);
    uint32_t lanes[MAX_LANES];
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t in_lane = i % LANE16_BYTES;
        lanes[i] = i - in_lane + in_lane * 2 % LANE16_BYTES + (in_lane < 8 ? 0 : n);
    }
    return shuffle(code, cast_bits(code, code->values[op->a], bytes),
                   cast_bits(code, code->values[op->b], bytes), lanes, n);
}

/* Looks up lane by lane: table[number]; with SHUFFLE16, the number is within the lane of 16
 * bytes. */
static LLVMValueRef look_up_each(const struct rsrc_llvm_code *code, const struct rsr_kop *op,
                                 LLVMValueRef table, LLVMValueRef numbers) {
    LLVMValueRef result = LLVMGetPoison(rsrc_llvm_reg_type(code, op->dst));
    LLVMTypeRef i64 = LLVMInt64TypeInContext(code->context);
    for (uint32_t i = 0; i < code->regs[op->dst].lanes; i++) {
        const uint32_t first = op->kind == RSR_KOP_SHUFFLE16 ? i / LANE16_BYTES * LANE16_BYTES : 0;
        LLVMValueRef number =
            LLVMBuildExtractElement(code->builder, numbers, lane_number(code, i), "");
        number = LLVMBuildAdd(code->builder, LLVMBuildZExt(code->builder, number, i64, ""),
                              rsrc_llvm_index(code, first), "");
        LLVMValueRef entry = LLVMBuildExtractElement(code->builder, table, number, "");
        result = LLVMBuildInsertElement(code->builder, result, entry, lane_number(code, i), "");
    }
    return result;
}

/* Looks up in both tables, if TABLE has an instruction, and selects by the bit above TABLE's
 * numbers. */
static LLVMValueRef build_table2(const struct rsrc_llvm_code *code, const struct rsr_kop *op) {
    const struct rsr_kreg *a = &code->regs[op->a], *dst = &code->regs[op->dst];
    struct rsr_kop half = *op;
    half.kind = RSR_KOP_TABLE;
    LLVMValueRef low = rsrc_llvm_build_value(code, &half);
    half.b = op->c;
    LLVMValueRef high = rsrc_llvm_build_value(code, &half);
    LLVMValueRef bit =
        LLVMBuildAnd(code->builder, code->values[op->a], integer_constant(code, a, dst->lanes), "");
    LLVMValueRef in_high =
        LLVMBuildICmp(code->builder, LLVMIntNE, bit, integer_constant(code, a, 0), "");
    return LLVMBuildSelect(code->builder, in_high, high, low, "");
}

static LLVMValueRef build_mirror(const struct rsrc_llvm_code *code, const struct rsr_kop *op) {
    const struct rsr_kreg *dst = &code->regs[op->dst];
    LLVMValueRef negative = LLVMBuildICmp(code->builder, LLVMIntSLT, code->values[op->a],
                                          integer_constant(code, dst, 0), "");
    LLVMValueRef rest = LLVMBuildSub(code->builder, code->values[op->c], code->values[op->b], "");
    return LLVMBuildSelect(code->builder, negative, rest, code->values[op->b], "");
}

static LLVMValueRef build_constant(const struct rsrc_llvm_code *code, const struct rsr_kop *op) {
    const struct rsr_kreg *dst = &code->regs[op->dst];
    if (dst->elem != RSR_ELEM_F32)
        return integer_constant(code, dst, op->imm);
    LLVMTypeRef type = LLVMFloatTypeInContext(code->context);
    return splat_constant(LLVMConstReal(type, (double)op->fimm), dst->lanes);
}

LLVMValueRef rsrc_llvm_build_value(const struct rsrc_llvm_code *code, const struct rsr_kop *op) {
    const struct rsr_kreg *dst = &code->regs[op->dst];
    LLVMTypeRef type = rsrc_llvm_reg_type(code, op->dst);
    LLVMValueRef a = op->a < code->n_regs ? code->values[op->a] : NULL;
    LLVMValueRef b = op->b < code->n_regs ? code->values[op->b] : NULL;
    const struct rsrc_instruction *instruction =
        rsrc_find_instruction(RSRC_IN_LLVM, code->kernel->spec, code->regs, op);
    if (instruction != NULL)
        return build_intrinsic(code, op, instruction);
    switch ((enum rsr_kop_kind)op->kind) {
    case RSR_KOP_CONST:
        return build_constant(code, op);
    case RSR_KOP_PARAM:
        return code->params[op->imm];
    case RSR_KOP_COPY:
        return a;
    case RSR_KOP_ADD:
    case RSR_KOP_SUB:
    case RSR_KOP_MUL:
    case RSR_KOP_AND:
    case RSR_KOP_OR:
        return build_arithmetic(code, dst, op->kind, a, b);
    case RSR_KOP_XOR:
        return build_xor(code, op);
    case RSR_KOP_ADD_MEM:
    case RSR_KOP_SUB_MEM:
        return build_arithmetic(code, dst, op->kind, a, build_load(code, op, type));
    case RSR_KOP_MIN:
        return build_min(code, op);
    case RSR_KOP_SHR:
    case RSR_KOP_SHL:
        return build_shift(code, op);
    case RSR_KOP_SPLAT:
        return build_splat(code, op);
    case RSR_KOP_EXTRACT:
        return LLVMBuildExtractElement(code->builder, a, lane_number(code, (uint32_t)op->imm), "");
    case RSR_KOP_CONVERT:
        return build_convert(code, op);
    case RSR_KOP_BITCAST:
        return cast_bits(code, a, type);
    case RSR_KOP_LOAD:
        return build_load(code, op, type);
    case RSR_KOP_LOAD_LANES:
        return build_load_lanes(code, op);
    case RSR_KOP_ZIP_ADD:
        return build_zip_add(code, op);
    case RSR_KOP_HALVES_ADD:
        return build_halves_add(code, op);
    case RSR_KOP_MADD_I16:
        return build_madd_i16(code, op);
    case RSR_KOP_SPREAD_BIT:
        return build_spread_bit(code, op);
    case RSR_KOP_ZIP_LOW:
    case RSR_KOP_ZIP_HIGH:
        return build_zip(code, op);
    case RSR_KOP_PACK_U8:
        return build_pack(code, op);
    case RSR_KOP_MIRROR:
        return build_mirror(code, op);
    case RSR_KOP_SHUFFLE16:
        return look_up_each(code, op, b, a);
    case RSR_KOP_TABLE:
        return look_up_each(code, op, b, masked_numbers(code, op));
    case RSR_KOP_TABLE2:
        return build_table2(code, op);
    default:
        break;
    }
    assert(false); /* no result, or refused */
    return NULL;
}
