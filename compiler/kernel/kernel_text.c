/* kernel_text.c - a kernel as text, one operation a line: what --dump=lower prints and
 * --from=kernel reads (kernel_parse.c).
 *
 *   kernels 1
 *   kernel rsr_l0_q_dot_avx512: dot, 2560 x 2560, scaled, 40 tiles of 64 rows, 2560 computed,
 *     0 bytes of scratch                                      (on the same line)
 *     key "..."
 *     title "model.layers.0.self_attn.q_proj"
 *     reason "dot: ..."
 *     target "avx512" input i8 bodies 0
 *     regs i64 unit_begin unit_end quad
 *     regs v16u32 w0
 *     code
 *       quad: loop unit_begin .. unit_end step 1
 *         v16u32 w0 = load codes[0 + quad*2560]
 *       end
 *   end kernel
 *
 * Bodies follow the code, as "body 0" and its operations, over the registers of "body_regs". An
 * operation's result has its type before it; end-of-line comments of operations are not kept.
 */
#include <inttypes.h>

#include "kernel_ops.h"
#include "kernel/kernel_names.h"
#include "kernel/kernel.h"

#define REGS_PER_LINE 8u

/* The operations being printed, and the registers that they use. */
struct printer {
    struct rsrc_buffer *out;
    const struct rsr_kreg *regs;
    uint32_t n_regs;
};

static const char *reg_name(const struct printer *p, uint16_t reg) {
    return reg < p->n_regs ? p->regs[reg].name : "?";
}

static void put_type(struct rsrc_buffer *out, const struct rsr_kreg *reg) {
    if (reg->lanes > 1)
        rsrc_buffer_printf(out, "v%" PRIu32, reg->lanes);
    rsrc_buffer_puts(out, rsrc_elem_names[reg->elem]);
}

static void put_address(const struct printer *p, const struct rsr_kop *op) {
    rsrc_buffer_printf(p->out, " %s[%" PRId64,
                       op->buffer < RSR_KBUF_COUNT ? rsrc_kbuf_names[op->buffer] : "?", op->imm);
    for (uint32_t i = 0; i < 3; i++)
        if (op->term[i] != RSR_NO_KREG)
            rsrc_buffer_printf(p->out, " + %s*%" PRId64, reg_name(p, op->term[i]),
                               op->term_scale[i]);
    rsrc_buffer_puts(p->out, "]");
}

static void put_constant(const struct printer *p, const struct rsr_kop *op) {
    const enum rsr_elem elem = op->dst < p->n_regs ? p->regs[op->dst].elem : RSR_ELEM_I64;
    if (elem == RSR_ELEM_F32)
        rsrc_buffer_printf(p->out, " %.9g", (double)op->fimm);
    else if (elem == RSR_ELEM_U32)
        rsrc_buffer_printf(p->out, " 0x%08" PRIx64, (uint64_t)op->imm);
    else
        rsrc_buffer_printf(p->out, " %" PRId64, op->imm);
}

/* Prints the name of the operation and what follows it. */
static void put_operation(const struct printer *p, const struct rsr_kop *op) {
    const uint16_t operands[3] = {op->a, op->b, op->c};
    rsrc_buffer_puts(p->out, rsrc_kop_names[op->kind]);
    if (rsrc_kop_has_address(op->kind))
        put_address(p, op);
    for (uint32_t i = 0; i < rsrc_kop_arity(op->kind); i++)
        rsrc_buffer_printf(p->out, "%s%s", i == 0 && !rsrc_kop_has_address(op->kind) ? " " : ", ",
                           reg_name(p, operands[i]));
    if (op->kind == RSR_KOP_CONST)
        put_constant(p, op);
    if (op->kind == RSR_KOP_PARAM)
        rsrc_buffer_printf(p->out, " %s",
                           op->imm >= 0 && op->imm < RSR_KPARAM_COUNT ? rsrc_kparam_names[op->imm]
                                                                      : "?");
    if (rsrc_kop_prints_immediate(op->kind))
        rsrc_buffer_printf(p->out, ", %" PRId64, op->imm);
}

static void put_op(const struct printer *p, const struct rsr_kop *op) {
    switch ((enum rsr_kop_kind)op->kind) {
    case RSR_KOP_COMMENT:
        rsrc_buffer_puts(p->out, "; ");
        rsrc_buffer_put_c_string(p->out, op->text);
        return;
    case RSR_KOP_LOOP:
        rsrc_buffer_printf(p->out, "%s: loop %s .. %s step %" PRId64, reg_name(p, op->dst),
                           reg_name(p, op->a), reg_name(p, op->b), op->imm);
        return;
    case RSR_KOP_IF:
        rsrc_buffer_printf(p->out, "if %s < %s", reg_name(p, op->a), reg_name(p, op->b));
        return;
    default:
        break;
    }
    if (rsrc_kop_has_result(op->kind)) {
        if (op->dst < p->n_regs)
            put_type(p->out, &p->regs[op->dst]);
        rsrc_buffer_printf(p->out, " %s = ", reg_name(p, op->dst));
    }
    put_operation(p, op);
}

static void put_ops(const struct printer *p, const struct rsr_kop *ops, uint32_t n_ops) {
    int depth = 2;
    for (uint32_t i = 0; i < n_ops; i++) {
        const struct rsr_kop *op = &ops[i];
        const bool closes = op->kind == RSR_KOP_END || op->kind == RSR_KOP_ELSE;
        const bool opens =
            op->kind == RSR_KOP_LOOP || op->kind == RSR_KOP_IF || op->kind == RSR_KOP_ELSE;
        depth -= closes && depth > 2;
        rsrc_buffer_printf(p->out, "%*s", 2 * depth, "");
        put_op(p, op);
        rsrc_buffer_puts(p->out, "\n");
        depth += opens;
    }
}

/* Prints lines of registers, each of one type, in the order of their numbers. */
static void put_regs(struct rsrc_buffer *out, const char *word, const struct rsr_kreg *regs,
                     uint32_t n_regs) {
    for (uint32_t i = 0, on_line = 0; i < n_regs; i++, on_line++) {
        const bool same = on_line != 0 && on_line < REGS_PER_LINE &&
                          regs[i - 1].elem == regs[i].elem && regs[i - 1].lanes == regs[i].lanes;
        if (!same) {
            rsrc_buffer_printf(out, "%s  %s ", i == 0 ? "" : "\n", word);
            put_type(out, &regs[i]);
            on_line = 0;
        }
        rsrc_buffer_printf(out, " %s", regs[i].name);
    }
    rsrc_buffer_puts(out, n_regs != 0 ? "\n" : "");
}

static void put_string(struct rsrc_buffer *out, const char *word, const char *text) {
    rsrc_buffer_printf(out, "  %s ", word);
    rsrc_buffer_put_c_string(out, text != NULL ? text : "");
    rsrc_buffer_puts(out, "\n");
}

void rsrc_print_kernel(const struct rsr_kernel *kernel, struct rsrc_buffer *out) {
    rsrc_buffer_printf(out,
                       "kernels 1\nkernel %s: %s, %" PRIu32 " x %" PRIu32 ", %s, %" PRIu32
                       " tiles of %" PRIu32 " rows, %" PRIu32 " computed, %" PRIu64
                       " bytes of scratch\n",
                       kernel->symbol, rsrc_kvariant_names[kernel->variant], kernel->rows,
                       kernel->cols, rsrc_kepilogue_names[kernel->epilogue], kernel->n_tiles,
                       kernel->tile_rows, kernel->computed_rows, kernel->scratch_bytes);
    put_string(out, "key", kernel->key);
    put_string(out, "title", kernel->title);
    put_string(out, "reason", kernel->reason);
    rsrc_buffer_puts(out, "  target ");
    rsrc_buffer_put_c_string(out, kernel->spec->name);
    rsrc_buffer_printf(out, " input %s bodies %" PRIu32 "%s\n", rsrc_kinput_names[kernel->input],
                       kernel->n_bodies, kernel->extern_bodies ? " extern" : "");
    put_regs(out, "regs", kernel->regs, kernel->n_regs);
    put_regs(out, "body_regs", kernel->body_regs, kernel->n_body_regs);
    rsrc_buffer_puts(out, "  code\n");
    struct printer p = {.out = out, .regs = kernel->regs, .n_regs = kernel->n_regs};
    put_ops(&p, kernel->ops, kernel->n_ops);
    p = (struct printer){.out = out, .regs = kernel->body_regs, .n_regs = kernel->n_body_regs};
    for (uint32_t b = 0; b < kernel->n_bodies; b++) {
        rsrc_buffer_printf(out, "  body %" PRIu32 "\n", b);
        put_ops(&p, kernel->bodies[b].ops, kernel->bodies[b].n_ops);
    }
    rsrc_buffer_puts(out, "end kernel\n");
}
