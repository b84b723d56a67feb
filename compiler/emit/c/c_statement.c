/* c_statement.c - prints operations as C statements; see c_code.h.
 *
 * One operation is one statement over GNU vector types. Instructions that these types cannot
 * express are macros of template/kernel_*.h, chosen by instructions.c. A register is a local
 * variable.
 */
#include <assert.h>

#include "emit/c/c_code.h"
#include "emit/c/c_types.h"
#include "emit/instructions.h"
#include "kernel_ops.h"

static const char *const buffer_names[RSR_KBUF_COUNT] = {[RSR_KBUF_X] = "x",
                                                         [RSR_KBUF_Y] = "y",
                                                         [RSR_KBUF_CODES] = "codes",
                                                         [RSR_KBUF_INDEX] = "index",
                                                         [RSR_KBUF_SCALE] = "scales",
                                                         [RSR_KBUF_SCRATCH] = "scratch",
                                                         [RSR_KBUF_COLUMNS] = "columns",
                                                         [RSR_KBUF_SUMS] = "sums"};

const char *rsrc_c_buffer_name(enum rsr_kbuf buffer) {
    return buffer_names[buffer];
}

static const char *const param_sources[] = {[RSR_KPARAM_LDX] = "arg_ldx",
                                            [RSR_KPARAM_LDY] = "arg_ldy",
                                            [RSR_KPARAM_N_TOKENS] = "arg_n_tokens",
                                            [RSR_KPARAM_TILE_BEGIN] = "worker->tile_begin",
                                            [RSR_KPARAM_TILE_END] = "worker->tile_end",
                                            [RSR_KPARAM_HAS_TABLES] = "worker->has_tables"};

/* Operations that are an infix operator in C. */
static const char *const infix_signs[RSR_KOP_COUNT] = {
    [RSR_KOP_ADD] = "+", [RSR_KOP_SUB] = "-", [RSR_KOP_MUL] = "*",     [RSR_KOP_AND] = "&",
    [RSR_KOP_OR] = "|",  [RSR_KOP_XOR] = "^", [RSR_KOP_ADD_MEM] = "+", [RSR_KOP_SUB_MEM] = "-",
};

struct printer {
    struct rsrc_buffer *out;
    const struct rsrc_c_code *code;
};

/* ---- expressions ----------------------------------------------------------------------------- */

static const char *reg_name(const struct printer *printer, uint16_t reg) {
    return reg < printer->code->n_regs ? printer->code->regs[reg].name : "";
}

static void put_type(struct rsrc_buffer *out, const struct rsr_kreg *reg) {
    rsrc_c_put_type(out, reg->elem, reg->lanes);
}

/* buffer + term * scale + imm, without what is zero or one */
static void put_address(const struct printer *printer, const struct rsr_kop *op) {
    struct rsrc_buffer *out = printer->out;
    rsrc_buffer_puts(out, buffer_names[op->buffer]);
    for (uint32_t i = 0; i < 3; i++) {
        if (op->term[i] == RSR_NO_KREG)
            continue;
        rsrc_buffer_printf(out, " + %s", reg_name(printer, op->term[i]));
        if (op->term_scale[i] != 1)
            rsrc_buffer_printf(out, " * %lld", (long long)op->term_scale[i]);
    }
    if (op->imm != 0)
        rsrc_buffer_printf(out, " + %lld", (long long)op->imm);
}

/* The register's type at the operation's address. */
static void put_memory(const struct printer *printer, const struct rsr_kop *op,
                       const struct rsr_kreg *reg, const char *qualifier) {
    rsrc_buffer_printf(printer->out, "*(%s", qualifier);
    rsrc_c_put_memory_type(printer->out, reg->elem, reg->lanes);
    rsrc_buffer_puts(printer->out, " *)(");
    put_address(printer, op);
    rsrc_buffer_puts(printer->out, ")");
}

static void put_const(struct rsrc_buffer *out, const struct rsr_kreg *reg,
                      const struct rsr_kop *op) {
    if (reg->elem == RSR_ELEM_F32) {
        rsrc_buffer_printf(out, "%af", (double)op->fimm);
        if (reg->lanes > 1) /* -0 + 0 would be 0 */
            rsrc_buffer_printf(out, " - (v%uf32){0}", reg->lanes);
        return;
    }
    if (reg->lanes > 1) {
        rsrc_buffer_puts(out, "(");
        put_type(out, reg);
        rsrc_buffer_puts(out, "){0}");
        if (op->imm == 0)
            return;
        rsrc_buffer_puts(out, " + ");
    }
    if (rsrc_elem_is_unsigned(reg->elem))
        rsrc_buffer_printf(out, "0x%llxu", (unsigned long long)op->imm);
    else if (op->imm == INT64_MIN || (op->imm == INT32_MIN && reg->elem == RSR_ELEM_I32))
        rsrc_buffer_printf(out, "%lld - 1",
                           (long long)(op->imm + 1)); /* -2147483648 is an operation */
    else
        rsrc_buffer_printf(out, "%lld", (long long)op->imm);
}

static void put_splat(struct rsrc_buffer *out, const struct rsr_kreg *dst, const char *a) {
    rsrc_buffer_puts(out, "(");
    put_type(out, dst);
    rsrc_buffer_puts(out, "){");
    for (uint32_t i = 0; i < dst->lanes; i++)
        rsrc_buffer_printf(out, "%s%s", i == 0 ? "" : ", ", a);
    rsrc_buffer_puts(out, "}");
}

static void put_convert(struct rsrc_buffer *out, const struct rsr_kreg *dst, const char *a) {
    if (dst->lanes == 1) {
        rsrc_buffer_printf(out, "(%s)%s", rsrc_c_scalar_name(dst->elem), a);
        return;
    }
    rsrc_buffer_printf(out, "__builtin_convertvector(%s, ", a);
    put_type(out, dst);
    rsrc_buffer_puts(out, ")");
}

/* C computes scalars narrower than int in int, so the result is cast back. */
static bool needs_cut(const struct rsr_kreg *dst) {
    return dst->lanes == 1 && rsrc_elem_bytes(dst->elem) < 4;
}

static void put_infix(struct rsrc_buffer *out, const struct rsr_kreg *dst, const char *a,
                      const char *sign, const char *b) {
    if (needs_cut(dst))
        rsrc_buffer_printf(out, "(%s)(%s %s %s)", rsrc_c_scalar_name(dst->elem), a, sign, b);
    else
        rsrc_buffer_printf(out, "%s %s %s", a, sign, b);
}

/* d = a + memory, a - memory */
static void put_infix_memory(const struct printer *printer, const struct rsr_kop *op) {
    const struct rsr_kreg *dst = &printer->code->regs[op->dst];
    if (needs_cut(dst))
        rsrc_buffer_printf(printer->out, "(%s)(", rsrc_c_scalar_name(dst->elem));
    rsrc_buffer_printf(printer->out, "%s %s ", reg_name(printer, op->a), infix_signs[op->kind]);
    put_memory(printer, op, dst, "const ");
    if (needs_cut(dst))
        rsrc_buffer_puts(printer->out, ")");
}

/* a << of a negative value is undefined. Small scalar shifts become multiplications, which are
 * easiest to read; others are done on unsigned values. */
static void put_shift_left(struct rsrc_buffer *out, const struct rsr_kreg *dst, const char *a,
                           int64_t imm) {
    char number[24];
    if (rsrc_elem_is_unsigned(dst->elem)) {
        snprintf(number, sizeof number, "%lld", (long long)imm);
        put_infix(out, dst, a, "<<", number);
    } else if (dst->lanes > 1) {
        rsrc_buffer_puts(out, "(");
        put_type(out, dst);
        rsrc_buffer_puts(out, ")((");
        rsrc_c_put_type(out, rsrc_c_unsigned_elem(dst->elem), dst->lanes);
        rsrc_buffer_printf(out, ")%s << %lld)", a, (long long)imm);
    } else if (imm < 31) {
        snprintf(number, sizeof number, "%d", 1 << imm);
        put_infix(out, dst, a, "*", number);
    } else {
        const char *type = rsrc_c_scalar_name(dst->elem);
        rsrc_buffer_printf(out, "(%s)((u%s)%s << %lld)", type, type, a, (long long)imm);
    }
}

/* A cast of vectors keeps the bits; one of scalars to or from float would convert the value. */
static void put_bitcast(struct rsrc_buffer *out, const struct rsr_kreg *dst,
                        const struct rsr_kreg *a) {
    const bool to_float = dst->elem == RSR_ELEM_F32, from_float = a->elem == RSR_ELEM_F32;
    rsrc_buffer_puts(out, "(");
    put_type(out, dst);
    rsrc_buffer_puts(out, ")");
    if (dst->lanes > 1 || a->lanes > 1 || to_float == from_float)
        rsrc_buffer_puts(out, a->name);
    else
        rsrc_buffer_printf(out, "%s(%s)", to_float ? "float_of_bits" : "bits_of_float", a->name);
}

/* The bits of floats. */
static void put_float_xor(struct rsrc_buffer *out, const struct rsr_kreg *dst, const char *a,
                          const char *b) {
    if (dst->lanes == 1) {
        rsrc_buffer_printf(out, "float_of_bits(bits_of_float(%s) ^ bits_of_float(%s))", a, b);
        return;
    }
    rsrc_buffer_printf(out, "(v%uf32)((v%uu32)%s ^ (v%uu32)%s)", dst->lanes, dst->lanes, a,
                       dst->lanes, b);
}

/* Without an instruction: all bits are set where the comparison holds. */
static void put_spread_bit(struct rsrc_buffer *out, const struct rsr_kreg *dst, const char *a,
                           int64_t imm) {
    if (dst->lanes == 1)
        rsrc_buffer_printf(out, "(uint8_t)-(%s >> %lld & 1)", a, (long long)imm);
    else
        rsrc_buffer_printf(out, "(v%uu8)((%s & 0x%xu) != 0)", dst->lanes, a, 1u << imm);
}

/* Look-ups and loads may have any type, so the macro's result is cast. */
static bool needs_cast(const struct rsr_kop *op) {
    return op->kind == RSR_KOP_TABLE || op->kind == RSR_KOP_TABLE2 ||
           op->kind == RSR_KOP_LOAD_LANES;
}

static const struct rsrc_instruction *find_instruction(const struct printer *printer,
                                                       const struct rsr_kop *op) {
    const struct rsrc_c_code *code = printer->code;
    return rsrc_find_instruction(RSRC_IN_C, code->kernel->spec, code->regs, op);
}

/* macro(operands), macro(address) or macro(operand, immediate) */
static void put_macro(const struct printer *printer, const struct rsr_kop *op, const char *macro) {
    struct rsrc_buffer *out = printer->out;
    const uint16_t operands[3] = {op->a, op->b, op->c};
    if (needs_cast(op)) {
        rsrc_buffer_puts(out, "(");
        put_type(out, &printer->code->regs[op->dst]);
        rsrc_buffer_puts(out, ")");
    }
    rsrc_buffer_printf(out, "%s(", macro);
    for (uint32_t i = 0; i < rsrc_kop_arity(op->kind); i++)
        rsrc_buffer_printf(out, "%s%s", i == 0 ? "" : ", ", reg_name(printer, operands[i]));
    if (op->kind == RSR_KOP_LOAD_LANES)
        put_address(printer, op);
    if (op->kind == RSR_KOP_SPREAD_BIT)
        rsrc_buffer_printf(out, ", %lld", (long long)op->imm);
    rsrc_buffer_puts(out, ")");
}

/* The right-hand side of an operation that has a result. */
static void put_value(const struct printer *printer, const struct rsr_kop *op) {
    struct rsrc_buffer *out = printer->out;
    const struct rsr_kreg *regs = printer->code->regs, *dst = &regs[op->dst];
    const char *a = reg_name(printer, op->a), *b = reg_name(printer, op->b);
    const struct rsrc_instruction *instruction = find_instruction(printer, op);
    if (instruction != NULL) {
        put_macro(printer, op, instruction->macro);
        return;
    }
    switch ((enum rsr_kop_kind)op->kind) {
    case RSR_KOP_CONST:
        put_const(out, dst, op);
        return;
    case RSR_KOP_PARAM:
        rsrc_buffer_printf(out, "(int64_t)%s", param_sources[op->imm]);
        return;
    case RSR_KOP_COPY:
        rsrc_buffer_puts(out, a);
        return;
    case RSR_KOP_XOR:
        if (dst->elem == RSR_ELEM_F32) {
            put_float_xor(out, dst, a, b);
            return;
        }
        /* fall through */
    case RSR_KOP_ADD:
    case RSR_KOP_SUB:
    case RSR_KOP_MUL:
    case RSR_KOP_AND:
    case RSR_KOP_OR:
        put_infix(out, dst, a, infix_signs[op->kind], b);
        return;
    case RSR_KOP_ADD_MEM:
    case RSR_KOP_SUB_MEM:
        put_infix_memory(printer, op);
        return;
    case RSR_KOP_SHR:
        rsrc_buffer_printf(out, "%s >> %lld", a, (long long)op->imm);
        return;
    case RSR_KOP_SHL:
        put_shift_left(out, dst, a, op->imm);
        return;
    case RSR_KOP_MIN:
        rsrc_buffer_printf(out, "%s < %s ? %s : %s", a, b, a, b);
        return;
    case RSR_KOP_SPLAT:
        put_splat(out, dst, a);
        return;
    case RSR_KOP_EXTRACT:
        rsrc_buffer_printf(out, "%s[%lld]", a, (long long)op->imm);
        return;
    case RSR_KOP_CONVERT:
        put_convert(out, dst, a);
        return;
    case RSR_KOP_BITCAST:
        put_bitcast(out, dst, &regs[op->a]);
        return;
    case RSR_KOP_LOAD:
        put_memory(printer, op, dst, "const ");
        return;
    case RSR_KOP_ZIP_ADD:
        rsrc_buffer_printf(out, "zip_add%lld_%u(%s, %s)", (long long)op->imm, dst->lanes, a, b);
        return;
    case RSR_KOP_HALVES_ADD:
        rsrc_buffer_printf(out, "halves_add_%u(%s)", regs[op->a].lanes, a);
        return;
    case RSR_KOP_ZIP_LOW:
    case RSR_KOP_ZIP_HIGH:
        rsrc_buffer_printf(out, "zip_%s_%ux%u(%s, %s)",
                           op->kind == RSR_KOP_ZIP_LOW ? "low" : "high",
                           8 * rsrc_elem_bytes(dst->elem), dst->lanes, a, b);
        return;
    case RSR_KOP_SPREAD_BIT:
        put_spread_bit(out, dst, a, op->imm);
        return;
    default:
        break;
    }
    assert(false); /* an operation without a result, or one that is refused */
}

/* ---- statements ------------------------------------------------------------------------------ */

static void put_assignment(const struct printer *printer, const struct rsr_kop *op, uint32_t at) {
    const struct rsr_kreg *dst = &printer->code->regs[op->dst];
    const struct rsrc_c_declaration *declaration = &printer->code->declarations[op->dst];
    if (declaration->at == at && declaration->by_assignment) {
        if (declaration->constant)
            rsrc_buffer_puts(printer->out, "const ");
        put_type(printer->out, dst);
        rsrc_buffer_puts(printer->out, " ");
    }
    rsrc_buffer_printf(printer->out, "%s = ", dst->name);
    put_value(printer, op);
    rsrc_buffer_puts(printer->out, ";\n");
}

/* Tiles are numbers, not variables. The n-th TILE register is tile n. */
static uint32_t tile_number(const struct printer *printer, uint16_t reg) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < reg; i++)
        n += printer->code->regs[i].elem == RSR_ELEM_TILE;
    return n;
}

static void put_tile_statement(const struct printer *printer, const struct rsr_kop *op) {
    struct rsrc_buffer *out = printer->out;
    rsrc_buffer_printf(out, "%s(", find_instruction(printer, op)->macro);
    switch ((enum rsr_kop_kind)op->kind) {
    case RSR_KOP_TILE_LOAD:
        rsrc_buffer_printf(out, "%u, ", tile_number(printer, op->dst));
        put_address(printer, op);
        rsrc_buffer_printf(out, ", %s", reg_name(printer, op->a));
        break;
    case RSR_KOP_TILE_STORE:
        rsrc_buffer_printf(out, "%u, ", tile_number(printer, op->a));
        put_address(printer, op);
        rsrc_buffer_printf(out, ", %s", reg_name(printer, op->b));
        break;
    case RSR_KOP_TILE_DOT_S8S8:
        rsrc_buffer_printf(out, "%u, %u, %u", tile_number(printer, op->dst),
                           tile_number(printer, op->b), tile_number(printer, op->c));
        break;
    default:
        break; /* no operand: TILE_BEGIN, TILE_END */
    }
    rsrc_buffer_puts(out, ");\n");
}

static void put_statement(const struct printer *printer, const struct rsr_kop *op, uint32_t at) {
    struct rsrc_buffer *out = printer->out;
    const char *a = reg_name(printer, op->a), *b = reg_name(printer, op->b);
    switch ((enum rsr_kop_kind)op->kind) {
    case RSR_KOP_COMMENT:
        rsrc_buffer_puts(out, "/* ");
        rsrc_buffer_put_comment(out, op->text);
        rsrc_buffer_puts(out, " */\n");
        return;
    case RSR_KOP_LOOP: {
        const char *i = reg_name(printer, op->dst);
        rsrc_buffer_printf(out, "for (int64_t %s = %s; %s < %s; %s += %lld) {\n", i, a, i, b, i,
                           (long long)op->imm);
        return;
    }
    case RSR_KOP_IF:
        rsrc_buffer_printf(out, "if (%s < %s) {\n", a, b);
        return;
    case RSR_KOP_ELSE:
        rsrc_buffer_puts(out, "} else {\n");
        return;
    case RSR_KOP_END:
        rsrc_buffer_puts(out, "}\n");
        return;
    case RSR_KOP_STORE:
        put_memory(printer, op, &printer->code->regs[op->a], "");
        rsrc_buffer_printf(out, " = %s;\n", a);
        return;
    case RSR_KOP_PREFETCH:
        rsrc_buffer_puts(out, "__builtin_prefetch(");
        put_address(printer, op);
        rsrc_buffer_printf(out, ", 0, %u);\n", rsrc_prefetch_locality(printer->code->kernel->spec));
        return;
    case RSR_KOP_CALL:
        rsrc_buffer_printf(out, "%s_bodies[%s](scratch + %s, scratch + %s);\n",
                           printer->code->kernel->symbol, a, b, reg_name(printer, op->c));
        return;
    default:
        if (rsrc_kop_is_tile(op->kind))
            put_tile_statement(printer, op);
        else
            put_assignment(printer, op, at);
    }
}

void rsrc_c_put_code(const struct rsrc_c_code *code, struct rsrc_buffer *out) {
    const struct printer printer = {.out = out, .code = code};
    int indent = 4;
    for (uint32_t i = 0; i < code->n_ops; i++) {
        const struct rsr_kop *op = &code->ops[i];
        for (uint32_t r = code->declared_before[i]; r != UINT32_MAX;
             r = code->declarations[r].next_here) {
            rsrc_buffer_printf(out, "%*s", indent, "");
            put_type(out, &code->regs[r]);
            rsrc_buffer_printf(out, " %s;\n", code->regs[r].name);
        }
        if (rsrc_c_closes_block(op))
            indent -= 4;
        rsrc_buffer_printf(out, "%*s", indent, "");
        put_statement(&printer, op, i);
        if (rsrc_c_opens_block(op))
            indent += 4;
    }
}
