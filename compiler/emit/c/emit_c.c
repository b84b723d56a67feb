/* emit_c.c - prints kernels as C: one file a layer, one function a kernel.
 *
 * One operation is one statement over GNU vector types; the few instructions that those lack are macros
 * of template/kernel_prelude.h over intrinsics, allowed by target attributes on the function. A
 * register becomes a local variable, declared in the innermost block that holds all its uses.
 */
#include "emit/c/emit_c.h"

#include <assert.h>
#include <string.h>

#include "emit/template.h"

static const char *const variant_names[] = {
#define X(id, name) [RSR_VARIANT_##id] = name,
    RSR_VARIANTS(X)
#undef X
};

static const uint8_t op_arity[RSR_KOP_COUNT] = {
#define X(name, arity, help) [RSR_KOP_##name] = arity,
    RSR_KOPS(X)
#undef X
};

static const struct elem {
    const char *short_name, *c_name;
    uint32_t bytes;
} elems[RSR_ELEM_COUNT] = {
    [RSR_ELEM_I8] = {"i8", "int8_t", 1},    [RSR_ELEM_U8] = {"u8", "uint8_t", 1},
    [RSR_ELEM_I16] = {"i16", "int16_t", 2}, [RSR_ELEM_U16] = {"u16", "uint16_t", 2},
    [RSR_ELEM_I32] = {"i32", "int32_t", 4}, [RSR_ELEM_U32] = {"u32", "uint32_t", 4},
    [RSR_ELEM_I64] = {"i64", "int64_t", 8}, [RSR_ELEM_F32] = {"f32", "float", 4},
    [RSR_ELEM_TILE] = {"tile", "tile", 0}};

/* Vector types that the prelude declares. */
static const struct vector_type {
    enum rsr_elem elem;
    uint32_t min_lanes, max_lanes;
} vector_types[] = {{RSR_ELEM_I8, 16, 64}, {RSR_ELEM_U8, 16, 64}, {RSR_ELEM_I16, 8, 32},
                    {RSR_ELEM_I32, 4, 16}, {RSR_ELEM_U32, 4, 16}, {RSR_ELEM_F32, 4, 16}};

static const char *const buffer_names[RSR_KBUF_COUNT] = {[RSR_KBUF_X] = "x",
                                                         [RSR_KBUF_Y] = "y",
                                                         [RSR_KBUF_CODES] = "codes",
                                                         [RSR_KBUF_INDEX] = "index",
                                                         [RSR_KBUF_SCALE] = "scales",
                                                         [RSR_KBUF_SCRATCH] = "scratch",
                                                         [RSR_KBUF_COLUMNS] = "columns",
                                                         [RSR_KBUF_SUMS] = "sums"};

/* How the prologue gets at a buffer. */
static const char *const buffer_sources[RSR_KBUF_COUNT] = {[RSR_KBUF_X] = "arg_x",
                                                           [RSR_KBUF_Y] = "arg_y",
                                                           [RSR_KBUF_CODES] = "weights->codes",
                                                           [RSR_KBUF_INDEX] = "weights->index",
                                                           [RSR_KBUF_SCALE] = "weights->scale",
                                                           [RSR_KBUF_SCRATCH] = "arg_scratch"};

static const char *const param_sources[] = {[RSR_KPARAM_LDX] = "arg_ldx",
                                            [RSR_KPARAM_LDY] = "arg_ldy",
                                            [RSR_KPARAM_N_TOKENS] = "arg_n_tokens",
                                            [RSR_KPARAM_TILE_BEGIN] = "worker->tile_begin",
                                            [RSR_KPARAM_TILE_END] = "worker->tile_end"};

#define F(id) RSR_CPU_MASK(id)
static const struct intrinsic {
    enum rsr_kop_kind kind;
    uint32_t bytes; /* of the result */
    uint64_t features;
    const char *macro;
} intrinsics[] = {
    {RSR_KOP_DOT_U8S8, 64, F(AVX512F) | F(AVX512VNNI), "dot_u8s8_512"},
    {RSR_KOP_DOT_U8S8, 32, F(AVX512VL) | F(AVX512VNNI), "dot_u8s8_256"},
    {RSR_KOP_DOT_U8S8, 32, F(AVXVNNI), "dot_u8s8_256_vex"},
    {RSR_KOP_MADD_U8S8, 64, F(AVX512BW), "madd_u8s8_512"},
    {RSR_KOP_MADD_U8S8, 32, F(AVX2), "madd_u8s8_256"},
    {RSR_KOP_MADD_U8S8, 16, F(SSSE3), "madd_u8s8_128"},
    {RSR_KOP_MADD_I16, 64, F(AVX512BW), "madd_i16_512"},
    {RSR_KOP_MADD_I16, 32, F(AVX2), "madd_i16_256"},
    {RSR_KOP_MADD_I16, 16, F(SSSE3), "madd_i16_128"},
};
#undef F

/* Where a register's variable is declared: by its first assignment, or alone before operation `at`. */
struct declaration {
    uint32_t at;
    bool by_assignment;
    bool constant; /* assigned once */
};

struct printer {
    struct rsrc_buffer *out;
    const struct rsr_kernel *kernel;
    struct declaration *declarations;
};

/* ---- what the back end can express ------------------------------------------------------------ */

static uint32_t reg_bytes(const struct rsr_kreg *reg) {
    return elems[reg->elem].bytes * reg->lanes;
}

static bool has_type(const struct rsr_kreg *reg) {
    if (reg->lanes == 1)
        return true;
    for (size_t i = 0; i < sizeof vector_types / sizeof *vector_types; i++)
        if (vector_types[i].elem == reg->elem)
            return reg->lanes >= vector_types[i].min_lanes &&
                   reg->lanes <= vector_types[i].max_lanes;
    return false;
}

static const struct intrinsic *find_intrinsic(const struct rsr_kernel *kernel,
                                              const struct rsr_kop *op) {
    const uint32_t bytes = reg_bytes(&kernel->regs[op->dst]);
    const uint64_t have = kernel->spec->cpu_features;
    for (size_t i = 0; i < sizeof intrinsics / sizeof *intrinsics; i++)
        if (intrinsics[i].kind == op->kind && intrinsics[i].bytes == bytes &&
            (have & intrinsics[i].features) == intrinsics[i].features)
            return &intrinsics[i];
    return NULL;
}

static bool needs_intrinsic(const struct rsr_kop *op) {
    return op->kind == RSR_KOP_DOT_U8S8 || op->kind == RSR_KOP_MADD_U8S8 ||
           op->kind == RSR_KOP_MADD_I16;
}

/* The prelude has zip_add for units of 1 and 2 lanes, and halves_add of 8 and 16 lanes of i32. */
static bool has_macro(const struct rsr_kernel *kernel, const struct rsr_kop *op) {
    if (op->kind == RSR_KOP_ZIP_ADD)
        return kernel->regs[op->dst].elem == RSR_ELEM_I32 && op->imm <= 2;
    return op->kind != RSR_KOP_HALVES_ADD || kernel->regs[op->dst].elem == RSR_ELEM_I32;
}

/* NULL, or the sentence that says what is missing. */
static const char *find_obstacle(const struct rsr_kernel *kernel, struct rsrc_arena *arena) {
    for (uint32_t i = 0; i < kernel->n_regs; i++)
        if (!has_type(&kernel->regs[i]))
            return rsrc_arena_printf(arena, "register %s has %u lanes of %s, which has no C type",
                                     kernel->regs[i].name, kernel->regs[i].lanes,
                                     elems[kernel->regs[i].elem].short_name);
    for (uint32_t i = 0; i < kernel->n_ops; i++)
        if (!has_macro(kernel, &kernel->ops[i]))
            return rsrc_arena_printf(arena, "operation %u sums neighbours in a way without a macro",
                                     i);
    for (uint32_t i = 0; i < kernel->n_ops; i++)
        if (needs_intrinsic(&kernel->ops[i]) && find_intrinsic(kernel, &kernel->ops[i]) == NULL)
            return rsrc_arena_printf(arena,
                                     "operation %u needs an instruction that target %s lacks", i,
                                     kernel->spec->name);
    return NULL;
}

/* ---- declarations --------------------------------------------------------------------------------- */

static bool opens_block(const struct rsr_kop *op) {
    return op->kind == RSR_KOP_LOOP || op->kind == RSR_KOP_IF || op->kind == RSR_KOP_ELSE;
}

static bool closes_block(const struct rsr_kop *op) {
    return op->kind == RSR_KOP_END || op->kind == RSR_KOP_ELSE;
}

/* The blocks of a kernel. Block 0 is the function's body; `opener` is the operation that begins a block
 * (for the branch behind ELSE, its IF: nothing can be declared between the two). */
struct block_tree {
    uint32_t *block_of; /* by operation: the block that contains it */
    uint32_t *parent;
    uint32_t *depth;
    uint32_t *opener;
};

static void build_block_tree(const struct rsr_kernel *kernel, struct rsrc_arena *arena,
                             struct block_tree *tree) {
    const uint32_t n = kernel->n_ops + 1;
    tree->block_of = RSRC_NEW_ARRAY(arena, n, uint32_t);
    tree->parent = RSRC_NEW_ARRAY(arena, n, uint32_t);
    tree->depth = RSRC_NEW_ARRAY(arena, n, uint32_t);
    tree->opener = RSRC_NEW_ARRAY(arena, n, uint32_t);
    uint32_t current = 0, n_blocks = 1;
    for (uint32_t i = 0; i < kernel->n_ops; i++) {
        const struct rsr_kop *op = &kernel->ops[i];
        const uint32_t branch = tree->opener[current];
        if (closes_block(op))
            current = tree->parent[current];
        tree->block_of[i] = current;
        if (opens_block(op)) {
            tree->parent[n_blocks] = current;
            tree->depth[n_blocks] = tree->depth[current] + 1;
            tree->opener[n_blocks] = op->kind == RSR_KOP_ELSE ? branch : i;
            current = n_blocks++;
        }
    }
}

static uint32_t common_block(const struct block_tree *tree, uint32_t a, uint32_t b) {
    while (a != b) {
        if (tree->depth[a] >= tree->depth[b])
            a = tree->parent[a];
        else
            b = tree->parent[b];
    }
    return a;
}

/* How often operation `op` mentions register `reg`: reads, and assigns. */
static bool reads(const struct rsr_kop *op, uint16_t reg) {
    const uint16_t operands[3] = {op->a, op->b, op->c};
    for (uint32_t i = 0; i < op_arity[op->kind]; i++)
        if (operands[i] == reg)
            return true;
    return op->term[0] == reg || op->term[1] == reg || op->term[2] == reg;
}

static struct declaration place_declaration(const struct rsr_kernel *kernel,
                                            const struct block_tree *tree, uint16_t reg) {
    uint32_t first = UINT32_MAX, block = 0, n_assignments = 0;
    for (uint32_t i = 0; i < kernel->n_ops; i++) {
        const struct rsr_kop *op = &kernel->ops[i];
        const bool assigns = op->dst == reg;
        if (!assigns && !reads(op, reg))
            continue;
        n_assignments += assigns;
        block =
            first == UINT32_MAX ? tree->block_of[i] : common_block(tree, block, tree->block_of[i]);
        if (first == UINT32_MAX)
            first = i;
    }
    if (first == UINT32_MAX || kernel->ops[first].kind == RSR_KOP_LOOP)
        return (struct declaration){.at =
                                        UINT32_MAX}; /* unused, or declared by its for statement */
    if (tree->block_of[first] == block)
        return (struct declaration){first, true, n_assignments == 1};
    uint32_t child = tree->block_of[first];
    while (tree->parent[child] != block)
        child = tree->parent[child];
    return (struct declaration){tree->opener[child], false, false};
}

static void place_declarations(struct printer *printer, struct rsrc_arena *arena) {
    const struct rsr_kernel *kernel = printer->kernel;
    struct block_tree tree;
    build_block_tree(kernel, arena, &tree);
    printer->declarations = RSRC_NEW_ARRAY(arena, kernel->n_regs + 1u, struct declaration);
    for (uint32_t i = 0; i < kernel->n_regs; i++)
        printer->declarations[i] = place_declaration(kernel, &tree, (uint16_t)i);
}

/* ---- expressions ---------------------------------------------------------------------------------- */

static void put_type(struct rsrc_buffer *out, const struct rsr_kreg *reg) {
    if (reg->lanes == 1)
        rsrc_buffer_puts(out, elems[reg->elem].c_name);
    else
        rsrc_buffer_printf(out, "v%u%s", reg->lanes, elems[reg->elem].short_name);
}

static void put_memory_type(struct rsrc_buffer *out, const struct rsr_kreg *reg) {
    if (reg->lanes == 1)
        rsrc_buffer_printf(out, "%s_mem", elems[reg->elem].short_name);
    else
        rsrc_buffer_printf(out, "v%u%s_mem", reg->lanes, elems[reg->elem].short_name);
}

/* buffer + term * scale + imm, without what is zero or one */
static void put_address(const struct printer *printer, const struct rsr_kop *op) {
    struct rsrc_buffer *out = printer->out;
    rsrc_buffer_puts(out, buffer_names[op->buffer]);
    for (uint32_t i = 0; i < 3; i++) {
        if (op->term[i] == RSR_NO_KREG)
            continue;
        rsrc_buffer_printf(out, " + %s", printer->kernel->regs[op->term[i]].name);
        if (op->term_scale[i] != 1)
            rsrc_buffer_printf(out, " * %lld", (long long)op->term_scale[i]);
    }
    if (op->imm != 0)
        rsrc_buffer_printf(out, " + %lld", (long long)op->imm);
}

static void put_const(struct rsrc_buffer *out, const struct rsr_kreg *reg,
                      const struct rsr_kop *op) {
    if (reg->lanes > 1) {
        rsrc_buffer_puts(out, "(");
        put_type(out, reg);
        rsrc_buffer_puts(out, "){0}");
        if (op->imm == 0 && reg->elem != RSR_ELEM_F32)
            return;
        rsrc_buffer_puts(out, " + ");
    }
    if (reg->elem == RSR_ELEM_F32)
        rsrc_buffer_printf(out, "%af", (double)op->fimm);
    else if (reg->elem == RSR_ELEM_U32 || reg->elem == RSR_ELEM_U16 || reg->elem == RSR_ELEM_U8)
        rsrc_buffer_printf(out, "0x%llxu", (unsigned long long)op->imm);
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
    if (dst->lanes == 1)
        rsrc_buffer_printf(out, "(%s)%s", elems[dst->elem].c_name, a);
    else
        rsrc_buffer_printf(out, "__builtin_convertvector(%s, v%u%s)", a, dst->lanes,
                           elems[dst->elem].short_name);
}

/* Scalars narrower than int are computed in int: cut the result back. */
static void put_infix(struct rsrc_buffer *out, const struct rsr_kreg *dst, const char *a,
                      const char *sign, const char *b) {
    if (dst->lanes == 1 && elems[dst->elem].bytes < 4)
        rsrc_buffer_printf(out, "(%s)(%s %s %s)", elems[dst->elem].c_name, a, sign, b);
    else
        rsrc_buffer_printf(out, "%s %s %s", a, sign, b);
}

static void put_shift(struct rsrc_buffer *out, const struct rsr_kreg *dst, const char *a,
                      const char *sign, int64_t imm) {
    char count[24];
    snprintf(count, sizeof count, "%lld", (long long)imm);
    put_infix(out, dst, a, sign, count);
}

static void put_bitcast(struct rsrc_buffer *out, const struct rsr_kreg *dst,
                        const struct rsr_kreg *a) {
    rsrc_buffer_puts(out, "(");
    put_type(out, dst);
    rsrc_buffer_printf(out, ")%s", a->name);
}

static void put_intrinsic(const struct printer *printer, const struct rsr_kop *op) {
    const uint16_t operands[3] = {op->a, op->b, op->c};
    rsrc_buffer_printf(printer->out, "%s(", find_intrinsic(printer->kernel, op)->macro);
    for (uint32_t i = 0; i < op_arity[op->kind]; i++)
        rsrc_buffer_printf(printer->out, "%s%s", i == 0 ? "" : ", ",
                           printer->kernel->regs[operands[i]].name);
    rsrc_buffer_puts(printer->out, ")");
}

/* The right-hand side of an operation that has a result. */
static void put_value(const struct printer *printer, const struct rsr_kop *op) {
    struct rsrc_buffer *out = printer->out;
    const struct rsr_kernel *kernel = printer->kernel;
    const struct rsr_kreg *regs = kernel->regs;
    const struct rsr_kreg *dst = &regs[op->dst];
    const char *a = op->a < kernel->n_regs ? regs[op->a].name : "";
    const char *b = op->b < kernel->n_regs ? regs[op->b].name : "";
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
    case RSR_KOP_ADD:
        put_infix(out, dst, a, "+", b);
        return;
    case RSR_KOP_SUB:
        put_infix(out, dst, a, "-", b);
        return;
    case RSR_KOP_MUL:
        put_infix(out, dst, a, "*", b);
        return;
    case RSR_KOP_AND:
        put_infix(out, dst, a, "&", b);
        return;
    case RSR_KOP_SHR:
        put_shift(out, dst, a, ">>", op->imm);
        return;
    case RSR_KOP_SHL:
        put_shift(out, dst, a, "*", INT64_C(1) << op->imm); /* a << of a negative is undefined */
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
        rsrc_buffer_puts(out, "*(const ");
        put_memory_type(out, dst);
        rsrc_buffer_puts(out, " *)(");
        put_address(printer, op);
        rsrc_buffer_puts(out, ")");
        return;
    case RSR_KOP_ZIP_ADD:
        rsrc_buffer_printf(out, "zip_add%lld_%u(%s, %s)", (long long)op->imm, dst->lanes, a, b);
        return;
    case RSR_KOP_HALVES_ADD:
        rsrc_buffer_printf(out, "halves_add_%u(%s)", regs[op->a].lanes, a);
        return;
    case RSR_KOP_DOT_U8S8:
    case RSR_KOP_MADD_U8S8:
    case RSR_KOP_MADD_I16:
        put_intrinsic(printer, op);
        return;
    default:
        break;
    }
    assert(false); /* an operation without a result */
}

/* ---- statements ------------------------------------------------------------------------------------ */

static void put_assignment(const struct printer *printer, const struct rsr_kop *op, uint32_t at) {
    const struct rsr_kreg *dst = &printer->kernel->regs[op->dst];
    const struct declaration *declaration = &printer->declarations[op->dst];
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

static void put_statement(const struct printer *printer, const struct rsr_kop *op, uint32_t at) {
    struct rsrc_buffer *out = printer->out;
    const struct rsr_kreg *regs = printer->kernel->regs;
    switch ((enum rsr_kop_kind)op->kind) {
    case RSR_KOP_COMMENT:
        rsrc_buffer_puts(out, "/* ");
        rsrc_buffer_put_comment(out, op->text);
        rsrc_buffer_puts(out, " */\n");
        return;
    case RSR_KOP_LOOP: {
        const char *i = regs[op->dst].name;
        rsrc_buffer_printf(out, "for (int64_t %s = %s; %s < %s; %s += %lld) {\n", i,
                           regs[op->a].name, i, regs[op->b].name, i, (long long)op->imm);
        return;
    }
    case RSR_KOP_IF:
        rsrc_buffer_printf(out, "if (%s < %s) {\n", regs[op->a].name, regs[op->b].name);
        return;
    case RSR_KOP_ELSE:
        rsrc_buffer_puts(out, "} else {\n");
        return;
    case RSR_KOP_END:
        rsrc_buffer_puts(out, "}\n");
        return;
    case RSR_KOP_STORE:
        rsrc_buffer_puts(out, "*(");
        put_memory_type(out, &regs[op->a]);
        rsrc_buffer_puts(out, " *)(");
        put_address(printer, op);
        rsrc_buffer_printf(out, ") = %s;\n", regs[op->a].name);
        return;
    case RSR_KOP_PREFETCH:
        rsrc_buffer_puts(out, "__builtin_prefetch(");
        put_address(printer, op);
        rsrc_buffer_puts(out, ");\n");
        return;
    default:
        put_assignment(printer, op, at);
    }
}

static void put_body(const struct printer *printer) {
    const struct rsr_kernel *kernel = printer->kernel;
    int indent = 4;
    for (uint32_t i = 0; i < kernel->n_ops; i++) {
        const struct rsr_kop *op = &kernel->ops[i];
        for (uint32_t r = 0; opens_block(op) && r < kernel->n_regs; r++)
            if (printer->declarations[r].at == i && !printer->declarations[r].by_assignment) {
                rsrc_buffer_printf(printer->out, "%*s", indent, "");
                put_type(printer->out, &kernel->regs[r]);
                rsrc_buffer_printf(printer->out, " %s;\n", kernel->regs[r].name);
            }
        if (closes_block(op))
            indent -= 4;
        rsrc_buffer_printf(printer->out, "%*s", indent, "");
        put_statement(printer, op, i);
        if (opens_block(op))
            indent += 4;
    }
}

/* ---- functions and units -------------------------------------------------------------------------- */

/* __attribute__((target(...))) with every x86 feature of the target; the C baseline needs none. */
static void put_target_attribute(struct rsrc_buffer *out, const struct rsr_spec *spec) {
    static const struct {
        uint64_t mask;
        const char *attribute;
    } features[] = {
#define RSR_CPU_FEATURE(id, bit, spec_name, attribute) {UINT64_C(1) << bit, attribute},
#include "rsr_cpu_features.def"
#undef RSR_CPU_FEATURE
    };
    const uint64_t x86 = (UINT64_C(1) << 48) - 1;
    bool first = true;
    for (size_t i = 0; i < sizeof features / sizeof *features; i++) {
        if ((spec->cpu_features & x86 & features[i].mask) == 0 || features[i].attribute[0] == '\0')
            continue;
        rsrc_buffer_printf(out, "%s%s", first ? "__attribute__((target(\"" : ",",
                           features[i].attribute);
        first = false;
    }
    if (!first)
        rsrc_buffer_puts(out, "\")))\n");
}

/* Arguments that this kernel does not read are named void; the others get typed views. */
static void put_prologue(const struct printer *printer) {
    const struct rsr_kernel *kernel = printer->kernel;
    struct rsrc_buffer *out = printer->out;
    bool buffer_used[RSR_KBUF_COUNT] = {false};
    bool param_used[RSR_KPARAM_TILE_END + 1] = {false};
    for (uint32_t i = 0; i < kernel->n_ops; i++) {
        const struct rsr_kop *op = &kernel->ops[i];
        if (op->kind == RSR_KOP_LOAD || op->kind == RSR_KOP_STORE || op->kind == RSR_KOP_PREFETCH)
            buffer_used[op->buffer] = true;
        if (op->kind == RSR_KOP_PARAM)
            param_used[op->imm] = true;
    }
    for (uint32_t b = 0; b < RSR_KBUF_COUNT; b++)
        if (buffer_used[b]) {
            const bool writable = b == RSR_KBUF_Y || b == RSR_KBUF_SCRATCH;
            rsrc_buffer_printf(out, "    %sunsigned char *const %s = (%sunsigned char *)%s;\n",
                               writable ? "" : "const ", buffer_names[b], writable ? "" : "const ",
                               buffer_sources[b]);
        }
    if (!buffer_used[RSR_KBUF_SCRATCH])
        rsrc_buffer_puts(out, "    (void)arg_scratch;\n");
    for (uint32_t p = 0; p <= RSR_KPARAM_N_TOKENS; p++)
        if (!param_used[p])
            rsrc_buffer_printf(out, "    (void)%s;\n", param_sources[p]);
}

static void put_function_comment(struct rsrc_buffer *out, const struct rsr_kernel *kernel) {
    rsrc_buffer_puts(out, "\n/* ");
    rsrc_buffer_put_comment(out, kernel->title != NULL ? kernel->title : kernel->symbol);
    rsrc_buffer_printf(out, "\n * %s, %u x %u, %u tiles of %u rows, %s results\n * ",
                       variant_names[kernel->variant], kernel->rows, kernel->cols, kernel->n_tiles,
                       kernel->tile_rows,
                       kernel->epilogue == RSR_EPILOGUE_RAW ? "int32" : "scaled float");
    rsrc_buffer_put_comment(out, kernel->reason);
    rsrc_buffer_puts(out, " */\n");
}

static enum rsrc_status emit_kernel(struct rsr_unit *unit, const struct rsr_kernel *kernel,
                                    struct rsrc_arena *arena, const char **why) {
    const char *obstacle = find_obstacle(kernel, arena);
    if (obstacle != NULL) {
        *why = obstacle;
        return RSRC_FAILED;
    }
    struct rsrc_buffer *out = &unit->text;
    struct printer printer = {.out = out, .kernel = kernel};
    place_declarations(&printer, arena);
    put_function_comment(out, kernel);
    static const char parameters[] =
        "(const void *arg_x, size_t arg_ldx, void *arg_y, size_t arg_ldy,\n"
        "    uint32_t arg_n_tokens, const struct rsr_weights *weights,\n"
        "    const struct rsr_worker *worker, void *arg_scratch)";
    rsrc_buffer_printf(out, "__attribute__((visibility(\"hidden\")))\nvoid %s%s;\n\n",
                       kernel->symbol, parameters);
    put_target_attribute(out, kernel->spec);
    rsrc_buffer_printf(out, "void %s%s {\n", kernel->symbol, parameters);
    put_prologue(&printer);
    put_body(&printer);
    rsrc_buffer_puts(out, "}\n");
    return RSRC_OK;
}

static enum rsrc_status begin_unit(struct rsr_unit *unit, const char *title,
                                   const struct rsr_spec *spec, const char **why) {
    (void)why;
    const struct rsrc_template *prelude = rsrc_templates;
    while (prelude->name != NULL && strcmp(prelude->name, "kernel_prelude.h") != 0)
        prelude++;
    assert(prelude->name != NULL);
    struct rsrc_buffer *out = &unit->text;
    rsrc_buffer_puts(out, "/* ");
    rsrc_buffer_put_comment(out, title);
    rsrc_buffer_puts(out, "\n * Target ");
    rsrc_buffer_put_comment(out, spec->name);
    rsrc_buffer_puts(out, ". Generated by rsrc; do not edit. */\n");
    rsrc_buffer_append(out, prelude->text, prelude->size_bytes);
    return RSRC_OK;
}

/* The text grows as kernels come: nothing is left to do. */
static enum rsrc_status finish_unit(struct rsr_unit *unit, struct rsrc_arena *arena,
                                    const char **why) {
    (void)unit, (void)arena, (void)why;
    return RSRC_OK;
}

static void abandon_unit(struct rsr_unit *unit) {
    (void)unit;
}

const struct rsrc_backend rsrc_backend_c = {.name = "c",
                                            .kinds = 1u << RSR_UNIT_C,
                                            .begin = begin_unit,
                                            .emit = emit_kernel,
                                            .finish = finish_unit,
                                            .abandon = abandon_unit};
