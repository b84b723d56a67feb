/* c_statement.c - prints operations as C statements; see c_code.h.
 *
 * One operation is one statement over GNU vector types. Instructions that these types cannot
 * express are macros of template/kernel_*.h, chosen by instructions.c. A register is a local
 * variable.
 */
#include <assert.h>
#include <string.h>

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
    struct rsrc_arena *arena;
};

/* ---- expressions ----------------------------------------------------------------------------- */

static const char *reg_name(const struct printer *printer, uint16_t reg) {
    return reg < printer->code->n_regs ? printer->code->regs[reg].name : "";
}

static void put_value(const struct printer *printer, const struct rsr_kop *op);

/* What is nested at the operand; NULL: nothing. */
static const struct rsr_kop *nested_in(const struct printer *printer, const struct rsr_kop *op,
                                       uint32_t operand) {
    const struct rsrc_c_code *code = printer->code;
    const uint32_t at = code->nested[op - code->ops][operand];
    return at == UINT32_MAX ? NULL : &code->ops[at];
}

static bool has_phrase(const struct printer *printer, const struct rsr_kop *op);

/* A call or a cast reads as one thing, and so do factors beside + and -. */
static bool needs_parentheses(const struct printer *printer, const struct rsr_kop *op,
                              const struct rsr_kop *around) {
    const bool has_sign =
        infix_signs[op->kind] != NULL || op->kind == RSR_KOP_SHR || op->kind == RSR_KOP_SHL;
    const bool is_sum =
        op->kind == RSR_KOP_CONST && op->imm != 0 && printer->code->regs[op->dst].lanes > 1;
    const bool is_factor =
        op->kind == RSR_KOP_MUL && (around->kind == RSR_KOP_ADD || around->kind == RSR_KOP_SUB);
    return (has_sign || is_sum) && !is_factor && !has_phrase(printer, op);
}

/* The operand's name, or what is nested there. */
static const char *operand_text(const struct printer *printer, const struct rsr_kop *op,
                                uint32_t operand, bool beside_sign) {
    const struct rsr_kop *nested = nested_in(printer, op, operand);
    const uint16_t operands[3] = {op->a, op->b, op->c};
    if (nested == NULL)
        return reg_name(printer, operands[operand]);
    const bool parentheses = beside_sign && needs_parentheses(printer, nested, op);
    struct rsrc_buffer text = {0};
    const struct printer inner = {.out = &text, .code = printer->code, .arena = printer->arena};
    rsrc_buffer_puts(&text, parentheses ? "(" : "");
    put_value(&inner, nested);
    rsrc_buffer_puts(&text, parentheses ? ")" : "");
    const char *copy = rsrc_arena_strdup(printer->arena, text.data);
    rsrc_buffer_free(&text);
    return copy;
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
    if (op->imm > 0)
        rsrc_buffer_printf(out, " + %lld", (long long)op->imm);
    if (op->imm < 0)
        rsrc_buffer_printf(out, " - %llu", 0 - (unsigned long long)op->imm);
}

/* load(v16i32, address */
static void put_memory(const struct printer *printer, const struct rsr_kop *op, const char *macro,
                       const struct rsr_kreg *reg) {
    rsrc_buffer_printf(printer->out, "%s(", macro);
    rsrc_c_put_memory_name(printer->out, reg->elem, reg->lanes);
    rsrc_buffer_puts(printer->out, ", ");
    put_address(printer, op);
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

/* splat(v16i32, a); of floats another sum keeps -0. */
static void put_splat(struct rsrc_buffer *out, const struct rsr_kreg *dst, const char *a) {
    rsrc_buffer_puts(out, dst->elem == RSR_ELEM_F32 ? "splat_float(" : "splat(");
    put_type(out, dst);
    rsrc_buffer_printf(out, ", %s)", a);
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
    put_memory(printer, op, "load", dst);
    rsrc_buffer_puts(printer->out, ")");
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
                        const struct rsr_kreg *from, const char *a) {
    const bool to_float = dst->elem == RSR_ELEM_F32, from_float = from->elem == RSR_ELEM_F32;
    rsrc_buffer_puts(out, "(");
    put_type(out, dst);
    rsrc_buffer_puts(out, ")");
    if (dst->lanes > 1 || from->lanes > 1 || to_float == from_float)
        rsrc_buffer_puts(out, a);
    else
        rsrc_buffer_printf(out, "%s(%s)", to_float ? "float_of_bits" : "bits_of_float", a);
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
    if (needs_cast(op)) {
        rsrc_buffer_puts(out, "(");
        put_type(out, &printer->code->regs[op->dst]);
        rsrc_buffer_puts(out, ")");
    }
    rsrc_buffer_printf(out, "%s(", macro);
    for (uint32_t i = 0; i < rsrc_kop_arity(op->kind); i++)
        rsrc_buffer_printf(out, "%s%s", i == 0 ? "" : ", ", operand_text(printer, op, i, false));
    if (op->kind == RSR_KOP_LOAD_LANES)
        put_address(printer, op);
    if (op->kind == RSR_KOP_SPREAD_BIT)
        rsrc_buffer_printf(out, ", %lld", (long long)op->imm);
    rsrc_buffer_puts(out, ")");
}

/* ---- phrases --------------------------------------------------------------------------------- */

/* Operations, each nested in the one before it, that the preludes have a name for. */
static const struct phrase {
    const char *macro;
    uint32_t n_ops;
    enum rsr_kop_kind ops[3];
    enum rsr_elem elem;
    int64_t shift; /* amount of each shift; 0: any amount, which is printed */
} phrases[] = {
    {"even_halves", 3, {RSR_KOP_SHR, RSR_KOP_BITCAST, RSR_KOP_SHL}, RSR_ELEM_I32, 16},
    {"odd_halves", 2, {RSR_KOP_SHR, RSR_KOP_BITCAST}, RSR_ELEM_I32, 16},
    {"field", 2, {RSR_KOP_AND, RSR_KOP_SHR}, RSR_ELEM_U32, 0},
    {"scaled", 2, {RSR_KOP_MUL, RSR_KOP_CONVERT}, RSR_ELEM_F32, 0},
};
#define N_PHRASES (sizeof phrases / sizeof *phrases)

/* The innermost operation of the phrase that begins with `op`; NULL: it does not fit. */
static const struct rsr_kop *match_phrase(const struct printer *printer,
                                          const struct phrase *phrase, const struct rsr_kop *op) {
    const struct rsr_kreg *dst = &printer->code->regs[op->dst];
    if (dst->elem != phrase->elem || rsrc_kreg_bytes(dst) < 16)
        return NULL;
    for (uint32_t i = 0; op != NULL; op = nested_in(printer, op, 0)) {
        const bool shifts = op->kind == RSR_KOP_SHR || op->kind == RSR_KOP_SHL;
        if (op->kind != phrase->ops[i] ||
            (shifts && phrase->shift != 0 && phrase->shift != op->imm))
            return NULL;
        if (++i == phrase->n_ops)
            return op;
    }
    return NULL;
}

/* The phrase that begins with `op` and its innermost operation; NULL: there is none. */
static const struct phrase *find_phrase(const struct printer *printer, const struct rsr_kop *op,
                                        const struct rsr_kop **last) {
    const struct rsr_kop *factor = op->kind == RSR_KOP_MUL ? nested_in(printer, op, 1) : NULL;
    if (op->kind == RSR_KOP_MUL && (factor == NULL || factor->kind != RSR_KOP_SPLAT))
        return NULL;
    for (size_t i = 0; i < N_PHRASES; i++)
        if ((*last = match_phrase(printer, &phrases[i], op)) != NULL)
            return &phrases[i];
    return NULL;
}

static bool has_phrase(const struct printer *printer, const struct rsr_kop *op) {
    const struct rsr_kop *last;
    return find_phrase(printer, op, &last) != NULL;
}

/* even_halves(v16, a), field(v16, a, shift, mask), scaled(v16, sums, scale) */
static void put_phrase(const struct printer *printer, const struct rsr_kop *op,
                       const struct phrase *phrase, const struct rsr_kop *last) {
    const struct rsr_kop *inner = nested_in(printer, last, 0);
    if (inner != NULL && inner->kind == RSR_KOP_BITCAST)
        last = inner; /* the macro takes any type */
    rsrc_buffer_printf(printer->out, "%s(v%u, %s", phrase->macro,
                       printer->code->regs[op->dst].lanes, operand_text(printer, last, 0, false));
    if (op->kind == RSR_KOP_AND)
        rsrc_buffer_printf(printer->out, ", %lld, %s", (long long)nested_in(printer, op, 0)->imm,
                           operand_text(printer, op, 1, false));
    if (op->kind == RSR_KOP_MUL)
        rsrc_buffer_printf(printer->out, ", %s",
                           operand_text(printer, nested_in(printer, op, 1), 0, false));
    rsrc_buffer_puts(printer->out, ")");
}

/* The right-hand side of an operation that has a result. */
static void put_value(const struct printer *printer, const struct rsr_kop *op) {
    struct rsrc_buffer *out = printer->out;
    const struct rsr_kreg *regs = printer->code->regs, *dst = &regs[op->dst];
    const struct rsrc_instruction *instruction = find_instruction(printer, op);
    const struct rsr_kop *last;
    const struct phrase *phrase = find_phrase(printer, op, &last);
    if (phrase != NULL) {
        put_phrase(printer, op, phrase, last);
        return;
    }
    if (instruction != NULL) {
        put_macro(printer, op, instruction->macro);
        return;
    }
    const bool has_sign = infix_signs[op->kind] != NULL || op->kind == RSR_KOP_SHR ||
                          op->kind == RSR_KOP_SHL || op->kind == RSR_KOP_BITCAST ||
                          op->kind == RSR_KOP_SPREAD_BIT ||
                          (op->kind == RSR_KOP_CONVERT && dst->lanes == 1);
    const uint32_t arity = rsrc_kop_arity(op->kind);
    const char *a = arity > 0 ? operand_text(printer, op, 0, has_sign) : "";
    const char *b = arity > 1 ? operand_text(printer, op, 1, has_sign) : "";
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
        rsrc_buffer_printf(out, "smaller(%s, %s)", a, b);
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
        put_bitcast(out, dst, &regs[op->a], a);
        return;
    case RSR_KOP_LOAD:
        put_memory(printer, op, "load", dst);
        rsrc_buffer_puts(out, ")");
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
        put_memory(printer, op, "store", &printer->code->regs[op->a]);
        rsrc_buffer_printf(out, ", %s);\n", operand_text(printer, op, 0, false));
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

/* The space at which the text breaks: of comments the last within `room`; of code that after the
 * last comma, else before the last operator; 0: nowhere. */
static size_t find_break(const char *text, size_t room) {
    const bool is_code = strchr(";{", text[strlen(text) - 2]) != NULL;
    size_t last = 0;
    for (size_t at = room; at > room / 4; at--) {
        if (text[at] != ' ')
            continue;
        if ((!is_code && strcmp(text + at, " */\n") != 0) || text[at - 1] == ',')
            return at;
        if (last == 0 && strchr("+-&|^<=", text[at + 1]) != NULL)
            last = at;
    }
    return last;
}

void rsrc_c_put_lines(const char *text, const char *first, const char *next,
                      struct rsrc_buffer *out) {
    const char *prefix = first;
    for (;;) {
        const size_t used = strlen(prefix), size = strlen(text);
        const size_t room = used < RSRC_C_COLUMNS ? RSRC_C_COLUMNS - used : 1;
        const size_t at = size <= room + 1 ? 0 : find_break(text, room); /* with its \n */
        rsrc_buffer_puts(out, prefix);
        if (at == 0)
            break;
        rsrc_buffer_append(out, text, at);
        rsrc_buffer_puts(out, "\n");
        text += at + 1;
        prefix = next;
    }
    rsrc_buffer_puts(out, text);
}

static void put_indented(const char *text, int indent, const char *next, struct rsrc_buffer *out) {
    char prefixes[2][128];
    snprintf(prefixes[0], sizeof prefixes[0], "%*s", indent, "");
    snprintf(prefixes[1], sizeof prefixes[1], "%*s%s", indent, "", next);
    rsrc_c_put_lines(text, prefixes[0], prefixes[1], out);
}

void rsrc_c_put_code(const struct rsrc_c_code *code, struct rsrc_arena *arena,
                     struct rsrc_buffer *out) {
    struct rsrc_buffer line = {0};
    const struct printer printer = {.out = &line, .code = code, .arena = arena};
    int indent = 4;
    for (uint32_t i = 0; i < code->n_ops; i++) {
        const struct rsr_kop *op = &code->ops[i];
        if (code->is_left_out[i])
            continue;
        for (uint32_t r = code->declared_before[i]; r != UINT32_MAX;
             r = code->declarations[r].next_here) {
            rsrc_buffer_printf(out, "%*s", indent, "");
            put_type(out, &code->regs[r]);
            rsrc_buffer_printf(out, " %s;\n", code->regs[r].name);
        }
        if (rsrc_c_closes_block(op))
            indent -= 4;
        rsrc_buffer_clear(&line);
        put_statement(&printer, op, i);
        put_indented(line.data, indent, op->kind == RSR_KOP_COMMENT ? " * " : "    ", out);
        if (rsrc_c_opens_block(op))
            indent += 4;
    }
    rsrc_buffer_free(&line);
}
