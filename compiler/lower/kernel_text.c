/* kernel_text.c - a kernel as text, one operation a line, for --dump and for tests.
 *
 *   kernel rsr_l0_q_dot_avx512: dot, 2560 x 2560, scaled, 40 tiles of 64 rows, 0 bytes of scratch
 *     quad: loop unit_begin .. unit_end step 1
 *       v16u32 w0 = load codes[0 + quad*2560 + block*256]
 */
#include "lower/lower.h"

static const char *const op_names[RSR_KOP_COUNT] = {
#define X(name, arity, help) [RSR_KOP_##name] = #name,
    RSR_KOPS(X)
#undef X
};

static const uint8_t op_arity[RSR_KOP_COUNT] = {
#define X(name, arity, help) [RSR_KOP_##name] = arity,
    RSR_KOPS(X)
#undef X
};

static const char *const variant_names[] = {
#define X(id, name) [RSR_VARIANT_##id] = name,
    RSR_VARIANTS(X)
#undef X
};

static const char *const elem_names[RSR_ELEM_COUNT] = {
    [RSR_ELEM_I8] = "i8",   [RSR_ELEM_U8] = "u8",   [RSR_ELEM_I16] = "i16",
    [RSR_ELEM_U16] = "u16", [RSR_ELEM_I32] = "i32", [RSR_ELEM_U32] = "u32",
    [RSR_ELEM_I64] = "i64", [RSR_ELEM_F32] = "f32", [RSR_ELEM_TILE] = "tile"};

static const char *const buffer_names[RSR_KBUF_COUNT] = {[RSR_KBUF_X] = "x",
                                                         [RSR_KBUF_Y] = "y",
                                                         [RSR_KBUF_CODES] = "codes",
                                                         [RSR_KBUF_INDEX] = "index",
                                                         [RSR_KBUF_SCALE] = "scale",
                                                         [RSR_KBUF_SCRATCH] = "scratch",
                                                         [RSR_KBUF_COLUMNS] = "columns",
                                                         [RSR_KBUF_SUMS] = "sums"};

static const char *const param_names[] = {[RSR_KPARAM_LDX] = "ldx",
                                          [RSR_KPARAM_LDY] = "ldy",
                                          [RSR_KPARAM_N_TOKENS] = "n_tokens",
                                          [RSR_KPARAM_TILE_BEGIN] = "tile_begin",
                                          [RSR_KPARAM_TILE_END] = "tile_end"};

static void put_lower(struct rsrc_buffer *out, const char *name) {
    for (; *name != '\0'; name++) {
        const char c = *name >= 'A' && *name <= 'Z' ? (char)(*name - 'A' + 'a') : *name;
        rsrc_buffer_append(out, &c, 1);
    }
}

static const char *reg_name(const struct rsr_kernel *kernel, uint16_t reg) {
    return reg < kernel->n_regs ? kernel->regs[reg].name : "?";
}

static void put_address(struct rsrc_buffer *out, const struct rsr_kernel *kernel,
                        const struct rsr_kop *op) {
    rsrc_buffer_printf(out, " %s[%lld",
                       op->buffer < RSR_KBUF_COUNT ? buffer_names[op->buffer] : "?",
                       (long long)op->imm);
    for (uint32_t i = 0; i < 3; i++)
        if (op->term[i] != RSR_NO_KREG)
            rsrc_buffer_printf(out, " + %s*%lld", reg_name(kernel, op->term[i]),
                               (long long)op->term_scale[i]);
    rsrc_buffer_puts(out, "]");
}

static void put_result(struct rsrc_buffer *out, const struct rsr_kernel *kernel, uint16_t dst) {
    const struct rsr_kreg *reg = &kernel->regs[dst];
    if (reg->lanes > 1)
        rsrc_buffer_printf(out, "v%u%s %s = ", reg->lanes, elem_names[reg->elem], reg->name);
    else
        rsrc_buffer_printf(out, "%s %s = ", elem_names[reg->elem], reg->name);
}

static void put_immediate(struct rsrc_buffer *out, const struct rsr_kernel *kernel,
                          const struct rsr_kop *op) {
    switch ((enum rsr_kop_kind)op->kind) {
    case RSR_KOP_CONST:
        if (op->dst < kernel->n_regs && kernel->regs[op->dst].elem == RSR_ELEM_F32)
            rsrc_buffer_printf(out, " %.9g", (double)op->fimm);
        else if (op->dst < kernel->n_regs && kernel->regs[op->dst].elem == RSR_ELEM_U32)
            rsrc_buffer_printf(out, " 0x%08llx", (unsigned long long)op->imm);
        else
            rsrc_buffer_printf(out, " %lld", (long long)op->imm);
        return;
    case RSR_KOP_PARAM:
        rsrc_buffer_printf(out, " %s",
                           op->imm >= 0 && op->imm <= RSR_KPARAM_TILE_END ? param_names[op->imm]
                                                                          : "?");
        return;
    case RSR_KOP_SHR:
    case RSR_KOP_SHL:
    case RSR_KOP_EXTRACT:
    case RSR_KOP_ZIP_ADD:
        rsrc_buffer_printf(out, ", %lld", (long long)op->imm);
        return;
    default:
        return;
    }
}

static void put_op(struct rsrc_buffer *out, const struct rsr_kernel *kernel,
                   const struct rsr_kop *op) {
    const uint16_t operands[3] = {op->a, op->b, op->c};
    switch ((enum rsr_kop_kind)op->kind) {
    case RSR_KOP_COMMENT:
        rsrc_buffer_puts(out, "; ");
        rsrc_buffer_put_terminal(out, op->text);
        return;
    case RSR_KOP_LOOP:
        rsrc_buffer_printf(out, "%s: loop %s .. %s step %lld", reg_name(kernel, op->dst),
                           reg_name(kernel, op->a), reg_name(kernel, op->b), (long long)op->imm);
        return;
    case RSR_KOP_IF:
        rsrc_buffer_printf(out, "if %s < %s", reg_name(kernel, op->a), reg_name(kernel, op->b));
        return;
    default:
        break;
    }
    if (op->dst < kernel->n_regs)
        put_result(out, kernel, op->dst);
    put_lower(out, op_names[op->kind]);
    if (op->kind == RSR_KOP_LOAD || op->kind == RSR_KOP_STORE || op->kind == RSR_KOP_PREFETCH)
        put_address(out, kernel, op);
    for (uint32_t i = 0; i < op_arity[op->kind]; i++)
        rsrc_buffer_printf(out, "%s%s", i == 0 && op->kind != RSR_KOP_STORE ? " " : ", ",
                           reg_name(kernel, operands[i]));
    put_immediate(out, kernel, op);
}

void rsrc_print_kernel(const struct rsr_kernel *kernel, struct rsrc_buffer *out) {
    rsrc_buffer_printf(out,
                       "kernel %s: %s, %u x %u, %s, %u tiles of %u rows, %llu bytes of scratch\n",
                       kernel->symbol, variant_names[kernel->variant], kernel->rows, kernel->cols,
                       kernel->epilogue == RSR_EPILOGUE_RAW ? "raw" : "scaled", kernel->n_tiles,
                       kernel->tile_rows, (unsigned long long)kernel->scratch_bytes);
    int depth = 1;
    for (uint32_t i = 0; i < kernel->n_ops; i++) {
        const struct rsr_kop *op = &kernel->ops[i];
        const bool closes = op->kind == RSR_KOP_END || op->kind == RSR_KOP_ELSE;
        const bool opens =
            op->kind == RSR_KOP_LOOP || op->kind == RSR_KOP_IF || op->kind == RSR_KOP_ELSE;
        depth -= closes && depth > 1;
        rsrc_buffer_printf(out, "%*s", 2 * depth, "");
        put_op(out, kernel, op);
        rsrc_buffer_puts(out, "\n");
        depth += opens;
    }
}
