/* emit_asm.c - prints the bodies of a kernel as x86-64 assembly; see emit_asm.h.
 *
 * Registers of bodies become machine registers in order: xmm, ymm or zmm, or general ones for
 * scalar int32. Operations need different forms in three encodings:
 *
 *   SSE, general registers  two operands: a result that is not its first operand is copied first
 *   VEX                     three operands; a displacement beyond 127 bytes takes four bytes
 *   EVEX                    as VEX, with displacements in units of the vector: one byte reaches 128
 *                           columns either way. 16- and 32-byte vectors use registers from 16 on,
 *                           which no other encoding has
 *
 * In EVEX code, columns farther away have another base register. BITCAST costs nothing: its result
 * shares the operand's register until one of the two is assigned again.
 */
#include "emit/asm/emit_asm.h"

#include <assert.h>
#include <string.h>

#include "emit/llvm/assemble.h"
#include "kernel/kernel.h"
#include "kernel_ops.h"

/* SSE and VEX have only sixteen vector registers. */
#define MAX_REGS 16u
/* Vectors that a scaled displacement of one byte reaches. */
#define REACH 128
#define MAX_BASES 4u

enum encoding { SSE, VEX, EVEX, GENERAL };

enum operand_class { WORDS, DWORDS, FLOATS, FLOAT, DWORD, CLASS_COUNT };

static const struct mnemonics {
    const char *add, *sub, *load, *copy;
} mnemonics[CLASS_COUNT] = {[WORDS] = {"paddw", "psubw", "movdqu", "movdqa"},
                            [DWORDS] = {"paddd", "psubd", "movdqu", "movdqa"},
                            [FLOATS] = {"addps", "subps", "movups", "movaps"},
                            [FLOAT] = {"addss", "subss", "movss", "movaps"},
                            [DWORD] = {"addl", "subl", "movl", "movl"}};

/* Registers that a function may clobber come first. */
static const char *const general_names[] = {"%eax",  "%ecx",  "%edx", "%r8d", "%r9d",
                                            "%r10d", "%r11d", "%ebx", "%ebp", "%r12d",
                                            "%r13d", "%r14d", "%r15d"};
#define N_SCRATCH_REGS 7u
#define N_GENERAL_REGS (sizeof general_names / sizeof *general_names)
static const char *const saved_names[] = {"%rbx", "%rbp", "%r12", "%r13", "%r14", "%r15"};

/* Registers of the arguments: the first base has columns, another has sums. */
static const char *const base_names[MAX_BASES] = {"%rdi", "%rax", "%rcx", "%rdx"};
static const char sums_name[] = "%rsi";

struct printer {
    struct rsrc_buffer *out;
    const struct rsr_kernel *kernel;
    enum encoding encoding;
    uint32_t n_bases;           /* base registers of columns in the current body */
    uint16_t same_as[MAX_REGS]; /* the register that has this register's bits; else itself */
};

/* ---- registers ------------------------------------------------------------------------------- */

static const struct rsr_kreg *body_reg(const struct printer *p, uint16_t reg) {
    return &p->kernel->body_regs[reg];
}

static enum operand_class class_of(const struct rsr_kreg *reg) {
    if (reg->elem == RSR_ELEM_F32)
        return reg->lanes == 1 ? FLOAT : FLOATS;
    if (reg->elem == RSR_ELEM_I16 || reg->elem == RSR_ELEM_U16)
        return WORDS;
    return reg->lanes == 1 ? DWORD : DWORDS;
}

static bool is_float(enum operand_class class) {
    return class == FLOATS || class == FLOAT;
}

static void put_reg(const struct printer *p, uint16_t reg) {
    if (p->encoding == GENERAL) {
        rsrc_buffer_puts(p->out, general_names[reg]);
        return;
    }
    const uint32_t bytes = rsrc_kreg_bytes(body_reg(p, reg));
    const uint32_t number = p->encoding == EVEX && bytes < 64 ? reg + 16u : reg;
    rsrc_buffer_printf(p->out, "%%%cmm%u", bytes == 64 ? 'z' : bytes == 32 ? 'y' : 'x', number);
}

/* "\tvpaddw " and the like. */
static void put_mnemonic(const struct printer *p, const char *name) {
    rsrc_buffer_puts(p->out, p->encoding == VEX || p->encoding == EVEX ? "\tv" : "\t");
    rsrc_buffer_puts(p->out, name);
    /* Integer moves have an element's width in EVEX. */
    if (p->encoding == EVEX && strncmp(name, "movdq", 5) == 0)
        rsrc_buffer_puts(p->out, "64");
    rsrc_buffer_puts(p->out, " ");
}

static void put_copy(const struct printer *p, uint16_t dst, uint16_t src) {
    put_mnemonic(p, mnemonics[class_of(body_reg(p, dst))].copy);
    put_reg(p, src);
    rsrc_buffer_puts(p->out, ", ");
    put_reg(p, dst);
    rsrc_buffer_puts(p->out, "\n");
}

/* The register that holds the value of `reg`. */
static uint16_t read_reg(const struct printer *p, uint16_t reg) {
    return p->same_as[reg];
}

/* Call it before `reg` is assigned: registers that share its bits get copies first. */
static void detach(struct printer *p, uint16_t reg) {
    for (uint16_t i = 0; i < p->kernel->n_body_regs; i++)
        if (i != reg && p->same_as[i] == reg) {
            put_copy(p, i, reg);
            p->same_as[i] = i;
        }
    p->same_as[reg] = reg;
}

/* ---- operands in memory ---------------------------------------------------------------------- */

/* The base register for a displacement of columns; bases are 256 vectors apart. */
static uint32_t find_base(const struct printer *p, int64_t imm, int64_t vector_bytes) {
    if (p->n_bases <= 1 || imm < REACH * vector_bytes)
        return 0;
    const int64_t base = (imm + REACH * vector_bytes) / (2 * REACH * vector_bytes);
    return base < p->n_bases ? (uint32_t)base : p->n_bases - 1;
}

static void put_memory(const struct printer *p, const struct rsr_kop *op, uint16_t reg) {
    const int64_t bytes = rsrc_kreg_bytes(body_reg(p, reg));
    const char *name = sums_name;
    int64_t offset = op->imm;
    if (op->buffer == RSR_KBUF_COLUMNS) {
        const uint32_t base = find_base(p, op->imm, bytes);
        name = base_names[base];
        offset -= (int64_t)base * 2 * REACH * bytes;
    }
    if (offset != 0)
        rsrc_buffer_printf(p->out, "%lld", (long long)offset);
    rsrc_buffer_printf(p->out, "(%s)", name);
}

/* Sets up the bases after the first that the body's columns need. */
static void put_bases(struct printer *p, const struct rsr_kbody *body) {
    p->n_bases = 1;
    if (p->encoding != EVEX)
        return;
    int64_t bytes = 1, most = 0;
    for (uint32_t i = 0; i < body->n_ops; i++) {
        const struct rsr_kop *op = &body->ops[i];
        if (!rsrc_kop_has_address(op->kind) || op->buffer != RSR_KBUF_COLUMNS)
            continue;
        bytes = rsrc_kreg_bytes(body_reg(p, op->dst));
        most = op->imm > most ? op->imm : most;
    }
    while (p->n_bases < MAX_BASES && most >= (2 * (int64_t)p->n_bases - 1) * REACH * bytes) {
        rsrc_buffer_printf(p->out, "\tleaq %lld(%s), %s\n",
                           (long long)(p->n_bases * 2 * REACH * bytes), base_names[0],
                           base_names[p->n_bases]);
        p->n_bases++;
    }
}

/* ---- operations ------------------------------------------------------------------------------ */

/* The second operand of an addition: a register or memory. */
struct source {
    uint16_t reg;
    const struct rsr_kop *memory; /* NULL: reg */
};

static void put_source(const struct printer *p, const struct source *source, uint16_t dst) {
    if (source->memory != NULL)
        put_memory(p, source->memory, dst);
    else
        put_reg(p, source->reg);
}

/* dst = a (op) source */
static void put_arithmetic(struct printer *p, const char *name, uint16_t dst, uint16_t a,
                           const struct source *source) {
    const bool two_operands = p->encoding == SSE || p->encoding == GENERAL;
    if (two_operands && dst != a)
        put_copy(p, dst, a);
    put_mnemonic(p, name);
    put_source(p, source, dst);
    if (!two_operands) {
        rsrc_buffer_puts(p->out, ", ");
        put_reg(p, a);
    }
    rsrc_buffer_puts(p->out, ", ");
    put_reg(p, dst);
    rsrc_buffer_puts(p->out, "\n");
}

static void put_zero(struct printer *p, uint16_t dst) {
    if (p->encoding == EVEX) {
        /* The narrowest form clears the whole register. */
        const uint32_t number = rsrc_kreg_bytes(body_reg(p, dst)) < 64 ? dst + 16u : dst;
        rsrc_buffer_printf(p->out, "\tvpxor%s %%xmm%u, %%xmm%u, %%xmm%u\n", number < 16 ? "" : "d",
                           number, number, number);
        return;
    }
    const char *name = p->encoding == GENERAL                 ? "xorl"
                       : is_float(class_of(body_reg(p, dst))) ? "xorps"
                                                              : "pxor";
    put_arithmetic(p, name, dst, dst, &(struct source){.reg = dst});
}

static void put_shift(struct printer *p, const struct rsr_kop *op, uint16_t dst, uint16_t a) {
    const char *name = op->kind == RSR_KOP_SHL                             ? "pslld"
                       : rsrc_elem_is_unsigned(body_reg(p, op->dst)->elem) ? "psrld"
                                                                           : "psrad";
    if (p->encoding == SSE && dst != a)
        put_copy(p, dst, a);
    put_mnemonic(p, name);
    rsrc_buffer_printf(p->out, "$%lld, ", (long long)op->imm);
    if (p->encoding != SSE) {
        put_reg(p, a);
        rsrc_buffer_puts(p->out, ", ");
    }
    put_reg(p, dst);
    rsrc_buffer_puts(p->out, "\n");
}

static void put_store(const struct printer *p, const struct rsr_kop *op) {
    put_mnemonic(p, mnemonics[class_of(body_reg(p, op->a))].load);
    put_reg(p, read_reg(p, op->a));
    rsrc_buffer_puts(p->out, ", ");
    put_memory(p, op, op->a);
    rsrc_buffer_puts(p->out, "\n");
}

static void put_op(struct printer *p, const struct rsr_kop *op) {
    if (op->kind == RSR_KOP_COMMENT) {
        rsrc_buffer_puts(p->out, "\t# ");
        rsrc_buffer_put_comment(p->out, op->text);
        rsrc_buffer_puts(p->out, "\n");
        return;
    }
    if (op->kind == RSR_KOP_STORE) {
        put_store(p, op);
        return;
    }
    const struct mnemonics *names = &mnemonics[class_of(body_reg(p, op->dst))];
    const uint32_t arity = rsrc_kop_arity(op->kind);
    const uint16_t a = arity >= 1 ? read_reg(p, op->a) : op->dst;
    const uint16_t b = arity >= 2 ? read_reg(p, op->b) : op->dst;
    const struct source source = {.reg = b, .memory = rsrc_kop_has_address(op->kind) ? op : NULL};
    detach(p, op->dst);
    switch ((enum rsr_kop_kind)op->kind) {
    case RSR_KOP_CONST:
        put_zero(p, op->dst);
        return;
    case RSR_KOP_COPY:
        put_copy(p, op->dst, a);
        return;
    case RSR_KOP_BITCAST:
        p->same_as[op->dst] = a;
        return;
    case RSR_KOP_LOAD:
        put_mnemonic(p, names->load);
        put_memory(p, op, op->dst);
        rsrc_buffer_puts(p->out, ", ");
        put_reg(p, op->dst);
        rsrc_buffer_puts(p->out, "\n");
        return;
    case RSR_KOP_ADD:
    case RSR_KOP_ADD_MEM:
        put_arithmetic(p, names->add, op->dst, a, &source);
        return;
    case RSR_KOP_SUB:
    case RSR_KOP_SUB_MEM:
        put_arithmetic(p, names->sub, op->dst, a, &source);
        return;
    case RSR_KOP_SHL:
    case RSR_KOP_SHR:
        put_shift(p, op, op->dst, a);
        return;
    default:
        break;
    }
    assert(false); /* refused by find_obstacle() */
}

/* ---- what can be printed --------------------------------------------------------------------- */

/* Chooses the encoding for the widest register; false where the target lacks it. */
static bool choose_encoding(const struct rsr_kernel *kernel, enum encoding *encoding) {
    uint32_t bytes = 0;
    bool general = kernel->n_body_regs > 0;
    for (uint32_t i = 0; i < kernel->n_body_regs; i++) {
        const struct rsr_kreg *reg = &kernel->body_regs[i];
        bytes = rsrc_kreg_bytes(reg) > bytes ? rsrc_kreg_bytes(reg) : bytes;
        general = general && class_of(reg) == DWORD;
    }
    const bool wide = rsrc_target_has(kernel->spec, RSR_CPU_MASK(AVX512F) | RSR_CPU_MASK(AVX512BW));
    *encoding = general       ? GENERAL
                : bytes == 64 ? EVEX
                : bytes > 4 && wide && rsrc_target_has(kernel->spec, RSR_CPU_MASK(AVX512VL)) ? EVEX
                : rsrc_target_has(kernel->spec, RSR_CPU_MASK(AVX2))                          ? VEX
                                                                                             : SSE;
    return !(*encoding == EVEX && !wide) && !(*encoding == SSE && bytes > 16);
}

static bool is_printable_reg(enum encoding encoding, const struct rsr_kreg *reg) {
    const uint32_t bytes = rsrc_kreg_bytes(reg);
    switch (reg->elem) {
    case RSR_ELEM_I16:
    case RSR_ELEM_U16:
        return bytes >= 16;
    case RSR_ELEM_I32:
    case RSR_ELEM_U32:
        return encoding == GENERAL ? reg->lanes == 1 : bytes >= 16;
    case RSR_ELEM_F32:
        return reg->lanes == 1 || bytes >= 16;
    default:
        return false;
    }
}

static bool is_printable(const struct rsr_kernel *kernel, enum encoding encoding,
                         const struct rsr_kop *op) {
    const struct rsr_kreg *regs = kernel->body_regs;
    switch ((enum rsr_kop_kind)op->kind) {
    case RSR_KOP_CONST:
        return op->imm == 0 && op->fimm == 0.0f;
    case RSR_KOP_SHL:
    case RSR_KOP_SHR:
        return class_of(&regs[op->dst]) == DWORDS;
    case RSR_KOP_ADD:
    case RSR_KOP_SUB: /* with two operands, the result would overwrite the second operand */
        return (encoding == VEX || encoding == EVEX) || op->dst != op->b || op->dst == op->a;
    case RSR_KOP_COMMENT:
    case RSR_KOP_COPY:
    case RSR_KOP_BITCAST:
        return true;
    case RSR_KOP_LOAD:
    case RSR_KOP_STORE:
        return op->imm == (int32_t)op->imm;
    case RSR_KOP_ADD_MEM:
    case RSR_KOP_SUB_MEM:
        return op->imm == (int32_t)op->imm &&
               (encoding != SSE || op->imm % (int64_t)rsrc_kreg_bytes(&regs[op->dst]) == 0);
    default:
        return false;
    }
}

/* A sentence that says what is missing; NULL: nothing. */
static const char *find_obstacle(const struct rsr_kernel *kernel, enum encoding *encoding) {
    if (kernel->spec->triple == NULL || strncmp(kernel->spec->triple, "x86_64-", 7) != 0)
        return "bodies are assembled for x86-64 alone";
    if (!choose_encoding(kernel, encoding))
        return "a body has vectors that the target lacks";
    if (kernel->n_body_regs > (*encoding == GENERAL ? N_GENERAL_REGS : MAX_REGS))
        return "a body has more registers than the machine";
    for (uint32_t i = 0; i < kernel->n_body_regs; i++)
        if (!is_printable_reg(*encoding, &kernel->body_regs[i]))
            return "a body has a register of another type than those of fold";
    for (uint32_t b = 0; b < kernel->n_bodies; b++)
        for (uint32_t i = 0; i < kernel->bodies[b].n_ops; i++)
            if (!is_printable(kernel, *encoding, &kernel->bodies[b].ops[i]))
                return "a body has an operation that fold does not need";
    return NULL;
}

/* ---- functions ------------------------------------------------------------------------------- */

static uint32_t count_saved(const struct printer *p) {
    return p->encoding == GENERAL && p->kernel->n_body_regs > N_SCRATCH_REGS
               ? p->kernel->n_body_regs - N_SCRATCH_REGS
               : 0;
}

/* The upper halves of registers below 16 must be zero before code without VEX runs. */
static bool dirties_upper_halves(const struct printer *p) {
    const uint32_t bytes = rsrc_kreg_bytes(&p->kernel->body_regs[0]);
    return (p->encoding == VEX && bytes > 16) || (p->encoding == EVEX && bytes == 64);
}

static void put_body(struct printer *p, uint32_t number) {
    struct rsrc_buffer *out = p->out;
    const struct rsr_kbody *body = &p->kernel->bodies[number];
    const char *symbol = p->kernel->symbol;
    const uint32_t n_saved = body->n_ops != 0 ? count_saved(p) : 0;
    for (uint16_t i = 0; i < MAX_REGS; i++)
        p->same_as[i] = i;
    rsrc_buffer_printf(out,
                       "\t.p2align 4\n\t.globl %s_body_%u\n\t.hidden %s_body_%u\n"
                       "\t.type %s_body_%u, @function\n%s_body_%u:\n\t.cfi_startproc\n",
                       symbol, number, symbol, number, symbol, number, symbol, number);
    for (uint32_t i = 0; i < n_saved; i++)
        rsrc_buffer_printf(out, "\tpushq %s\n\t.cfi_adjust_cfa_offset 8\n\t.cfi_rel_offset %s, 0\n",
                           saved_names[i], saved_names[i]);
    put_bases(p, body);
    for (uint32_t i = 0; i < body->n_ops; i++)
        put_op(p, &body->ops[i]);
    for (uint32_t i = n_saved; i-- > 0;)
        rsrc_buffer_printf(out, "\tpopq %s\n\t.cfi_adjust_cfa_offset -8\n\t.cfi_restore %s\n",
                           saved_names[i], saved_names[i]);
    if (body->n_ops != 0 && dirties_upper_halves(p))
        rsrc_buffer_puts(out, "\tvzeroupper\n");
    rsrc_buffer_printf(out, "\tretq\n\t.cfi_endproc\n\t.size %s_body_%u, . - %s_body_%u\n", symbol,
                       number, symbol, number);
}

enum rsrc_status rsrc_asm_bodies(const struct rsr_kernel *kernel, struct rsrc_buffer *text,
                                 const char **why) {
    struct printer printer = {.out = text, .kernel = kernel};
    const char *obstacle = find_obstacle(kernel, &printer.encoding);
    if (obstacle != NULL) {
        *why = obstacle;
        return RSRC_FAILED;
    }
    rsrc_buffer_puts(text, "# ");
    rsrc_buffer_put_comment(text, kernel->title != NULL ? kernel->title : kernel->symbol);
    rsrc_buffer_printf(text, "\n# bodies of %s, %u x %u\n\t.text\n", kernel->symbol, kernel->rows,
                       kernel->cols);
    for (uint32_t b = 0; b < kernel->n_bodies; b++)
        put_body(&printer, b);
    rsrc_buffer_puts(text, "\t.section .note.GNU-stack,\"\",@progbits\n");
    return RSRC_OK;
}

enum rsrc_status rsrc_asm_assemble(const struct rsr_spec *spec, const struct rsrc_buffer *text,
                                   struct rsrc_arena *arena, struct rsrc_buffer *object,
                                   const char **why) {
    return rsrc_llvm_assemble(spec, text, arena, object, why);
}
