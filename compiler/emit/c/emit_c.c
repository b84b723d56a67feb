/* emit_c.c - the C back end: one function per kernel and one per body.
 *
 * Target attributes on the functions enable CPU features, so a unit compiles with any flags.
 * c_statement.c prints the statements.
 */
#include "emit/c/emit_c.h"

#include <string.h>

#include "emit/c/c_code.h"
#include "emit/c/c_types.h"
#include "emit/c/tables_c.h"
#include "emit/instructions.h"
#include "emit/template.h"
#include "kernel/kernel.h"
#include "kernel/kernel_names.h"
#include "kernel_ops.h"

/* How the prologue gets a buffer's pointer. */
static const char *const buffer_sources[RSR_KBUF_COUNT] = {[RSR_KBUF_X] = "arg_x",
                                                           [RSR_KBUF_Y] = "arg_y",
                                                           [RSR_KBUF_CODES] = "weights->codes",
                                                           [RSR_KBUF_INDEX] = "weights->index",
                                                           [RSR_KBUF_SCALE] = "weights->scale",
                                                           [RSR_KBUF_SCRATCH] = "arg_scratch"};

/* ---- functions ------------------------------------------------------------------------------- */

static bool is_x86(const struct rsr_spec *spec) {
    return (spec->cpu_features & ~RSR_CPU_X86_64) == 0;
}

/* __attribute__((target(...))) with every feature of the target that its baseline lacks: "avx2,fma"
 * on x86-64; "arch=armv8.2-a+dotprod" on AArch64, where arm_neon.h ties them to that version. */
static void put_target_attribute(struct rsrc_buffer *out, const struct rsr_spec *spec) {
    static const struct {
        uint64_t mask;
        const char *attribute;
    } features[] = {
#define RSR_CPU_FEATURE(id, bit, spec_name, attribute) {UINT64_C(1) << bit, attribute},
#include "rsr_cpu_features.def"
#undef RSR_CPU_FEATURE
    };
    bool first = true;
    for (size_t i = 0; i < sizeof features / sizeof *features; i++) {
        if ((spec->cpu_features & features[i].mask) == 0 || features[i].attribute[0] == '\0')
            continue;
        if (first)
            rsrc_buffer_printf(out, "__attribute__((target(\"%s",
                               is_x86(spec) ? "" : "arch=armv8.2-a");
        rsrc_buffer_printf(out, "%s%s",
                           !is_x86(spec) ? "+"
                           : first       ? ""
                                         : ",",
                           features[i].attribute);
        first = false;
    }
    if (!first)
        rsrc_buffer_puts(out, "\")))\n");
}

static void find_used_buffers(const struct rsrc_c_code *code, bool used[RSR_KBUF_COUNT]) {
    for (uint32_t i = 0; i < code->n_ops; i++) {
        if (rsrc_kop_has_address(code->ops[i].kind))
            used[code->ops[i].buffer] = true;
        if (code->ops[i].kind == RSR_KOP_CALL)
            used[RSR_KBUF_SCRATCH] = true;
    }
}

/* Arguments that this kernel does not read are named void; the others get typed views. */
static void put_prologue(const struct rsrc_c_code *code, struct rsrc_buffer *out) {
    bool buffer_used[RSR_KBUF_COUNT] = {false};
    bool param_used[RSR_KPARAM_COUNT] = {false};
    find_used_buffers(code, buffer_used);
    for (uint32_t i = 0; i < code->n_ops; i++)
        if (code->ops[i].kind == RSR_KOP_PARAM)
            param_used[code->ops[i].imm] = true;
    bool weights_used = false;
    for (uint32_t b = 0; b < RSR_KBUF_COLUMNS; b++)
        if (buffer_used[b]) {
            const bool writable = b == RSR_KBUF_Y || b == RSR_KBUF_SCRATCH;
            rsrc_buffer_printf(out, "    %sunsigned char *const %s = (%sunsigned char *)%s;\n",
                               writable ? "" : "const ", rsrc_c_buffer_name((enum rsr_kbuf)b),
                               writable ? "" : "const ", buffer_sources[b]);
            weights_used |= b == RSR_KBUF_CODES || b == RSR_KBUF_INDEX || b == RSR_KBUF_SCALE;
        }
    const struct {
        bool used;
        const char *name;
    } arguments[] = {{buffer_used[RSR_KBUF_X], "arg_x"},
                     {buffer_used[RSR_KBUF_Y], "arg_y"},
                     {param_used[RSR_KPARAM_LDX], "arg_ldx"},
                     {param_used[RSR_KPARAM_LDY], "arg_ldy"},
                     {param_used[RSR_KPARAM_N_TOKENS], "arg_n_tokens"},
                     {weights_used, "weights"},
                     {param_used[RSR_KPARAM_TILE_BEGIN] || param_used[RSR_KPARAM_TILE_END] ||
                          param_used[RSR_KPARAM_HAS_TABLES],
                      "worker"},
                     {buffer_used[RSR_KBUF_SCRATCH], "arg_scratch"}};
    for (size_t i = 0; i < sizeof arguments / sizeof *arguments; i++)
        if (!arguments[i].used)
            rsrc_buffer_printf(out, "    (void)%s;\n", arguments[i].name);
}

static void put_function_comment(struct rsrc_buffer *out, const struct rsr_kernel *kernel) {
    struct rsrc_buffer reason = {0};
    rsrc_buffer_puts(out, "\n/* ");
    rsrc_buffer_put_comment(out, kernel->title != NULL ? kernel->title : kernel->symbol);
    rsrc_buffer_printf(out, "\n * %s, %u x %u, %u tiles of %u rows, %s results\n",
                       rsrc_kvariant_names[kernel->variant], kernel->rows, kernel->cols,
                       kernel->n_tiles, kernel->tile_rows,
                       kernel->epilogue == RSR_EPILOGUE_RAW ? "int32" : "scaled float");
    rsrc_buffer_put_comment(&reason, kernel->reason);
    rsrc_buffer_puts(&reason, " */\n");
    rsrc_c_put_lines(reason.data, " * ", " * ", out);
    rsrc_buffer_free(&reason);
}

static void put_body(const struct rsr_kernel *kernel, uint32_t number, struct rsrc_arena *arena,
                     struct rsrc_buffer *out) {
    struct rsrc_c_code code = {.kernel = kernel,
                               .regs = kernel->body_regs,
                               .n_regs = kernel->n_body_regs,
                               .ops = kernel->bodies[number].ops,
                               .n_ops = kernel->bodies[number].n_ops};
    bool used[RSR_KBUF_COUNT] = {false};
    find_used_buffers(&code, used);
    rsrc_c_nest(&code, arena);
    rsrc_c_place_declarations(&code, arena);
    rsrc_buffer_puts(out, "__attribute__((noinline))\n");
    put_target_attribute(out, kernel->spec);
    rsrc_buffer_printf(out,
                       "static void %s_body_%u(const unsigned char *columns,"
                       " unsigned char *sums) {\n",
                       kernel->symbol, number);
    if (!used[RSR_KBUF_COLUMNS])
        rsrc_buffer_puts(out, "    (void)columns;\n");
    if (!used[RSR_KBUF_SUMS])
        rsrc_buffer_puts(out, "    (void)sums;\n");
    rsrc_c_put_code(&code, arena, out);
    rsrc_buffer_puts(out, "}\n\n");
}

/* Prints the bodies, each as a function, and the table that CALL uses. */
static void put_bodies(const struct rsr_kernel *kernel, struct rsrc_arena *arena,
                       struct rsrc_buffer *out) {
    for (uint32_t b = 0; b < kernel->n_bodies; b++)
        if (!kernel->extern_bodies)
            put_body(kernel, b, arena, out);
        else
            rsrc_buffer_printf(out,
                               "__attribute__((visibility(\"hidden\"))) void %s_body_%u("
                               "const unsigned char *, unsigned char *);\n",
                               kernel->symbol, b);
    rsrc_buffer_printf(out,
                       "static void (*const %s_bodies[])(const unsigned char *columns,"
                       " unsigned char *sums) = {\n",
                       kernel->symbol);
    for (uint32_t b = 0; b < kernel->n_bodies; b++)
        rsrc_buffer_printf(out, "    %s_body_%u,\n", kernel->symbol, b);
    rsrc_buffer_puts(out, "};\n\n");
}

/* Bodies that nothing calls would be unused functions. */
static bool has_calls(const struct rsr_kernel *kernel) {
    for (uint32_t i = 0; i < kernel->n_ops; i++)
        if (kernel->ops[i].kind == RSR_KOP_CALL)
            return true;
    return false;
}

/* The prelude has zip_add for units of 1 and 2 in 4 to 16 lanes. */
static bool adds_neighbours_oddly(const struct rsrc_c_code *code, const struct rsr_kop *op) {
    if (op->kind != RSR_KOP_ZIP_ADD)
        return false;
    const uint32_t lanes = code->regs[op->dst].lanes;
    return op->imm > 2 || lanes < 4 || lanes > 16;
}

/* A sentence that says what C cannot express; NULL: nothing. */
static const char *find_obstacle_of(const struct rsrc_c_code *code, struct rsrc_arena *arena) {
    for (uint32_t i = 0; i < code->n_regs; i++)
        if (!rsrc_c_has_type(&code->regs[i]))
            return rsrc_arena_printf(arena, "register %s has %u lanes of %s, which has no C type",
                                     code->regs[i].name, code->regs[i].lanes,
                                     rsrc_c_elem_name(code->regs[i].elem));
    for (uint32_t i = 0; i < code->n_ops; i++)
        if (adds_neighbours_oddly(code, &code->ops[i]))
            return rsrc_arena_printf(arena, "operation %u sums neighbours in a way without a macro",
                                     i);
    return rsrc_find_missing_instruction(RSRC_IN_C, code->kernel->spec, code->regs, code->ops,
                                         code->n_ops, arena);
}

static const char *find_obstacle(const struct rsrc_c_code *main, struct rsrc_arena *arena) {
    const struct rsr_kernel *kernel = main->kernel;
    const char *obstacle = find_obstacle_of(main, arena);
    const uint32_t n_bodies = kernel->extern_bodies ? 0 : kernel->n_bodies;
    for (uint32_t b = 0; b < n_bodies && obstacle == NULL; b++) {
        const struct rsrc_c_code code = {.kernel = kernel,
                                         .regs = kernel->body_regs,
                                         .n_regs = kernel->n_body_regs,
                                         .ops = kernel->bodies[b].ops,
                                         .n_ops = kernel->bodies[b].n_ops};
        obstacle = find_obstacle_of(&code, arena);
        if (obstacle != NULL)
            obstacle = rsrc_arena_printf(arena, "body %u: %s", b, obstacle);
    }
    return obstacle;
}

static enum rsrc_status emit_kernel(struct rsr_unit *unit, const struct rsr_kernel *kernel,
                                    struct rsrc_arena *arena, const char **why) {
    struct rsrc_c_code code = {.kernel = kernel,
                               .regs = kernel->regs,
                               .n_regs = kernel->n_regs,
                               .ops = kernel->ops,
                               .n_ops = kernel->n_ops};
    const char *obstacle = find_obstacle(&code, arena);
    if (obstacle != NULL) {
        *why = obstacle;
        return RSRC_FAILED;
    }
    struct rsrc_buffer *out = &unit->text;
    rsrc_c_nest(&code, arena);
    rsrc_c_place_declarations(&code, arena);
    put_function_comment(out, kernel);
    static const char parameters[] = "(\n    const void *arg_x, size_t arg_ldx, void *arg_y, "
                                     "size_t arg_ldy, uint32_t arg_n_tokens,\n"
                                     "    const struct rsr_weights *weights, const struct "
                                     "rsr_worker *worker, void *arg_scratch)";
    rsrc_buffer_printf(out, "__attribute__((visibility(\"hidden\")))\nvoid %s%s;\n\n",
                       kernel->symbol, parameters);
    if (has_calls(kernel))
        put_bodies(kernel, arena, out);
    put_target_attribute(out, kernel->spec);
    rsrc_buffer_printf(out, "void %s%s {\n", kernel->symbol, parameters);
    put_prologue(&code, out);
    rsrc_c_put_code(&code, arena, out);
    rsrc_buffer_puts(out, "}\n");
    return RSRC_OK;
}

/* Prints a hidden declaration of the kernel's type. */
static void put_alias(struct rsr_unit *unit, const char *symbol, const char *of,
                      const char *title) {
    rsrc_buffer_puts(&unit->text, "\n/* ");
    rsrc_buffer_put_comment(&unit->text, title);
    rsrc_buffer_printf(&unit->text,
                       " */\nextern __typeof__(%s) %s\n"
                       "    __attribute__((alias(\"%s\"), visibility(\"hidden\")));\n",
                       of, symbol, of);
}

/* ---- units ----------------------------------------------------------------------------------- */

/* Appends the preludes that kernels of a target may need: vectors, and the target's
 * instructions. */
static void put_prelude(struct rsrc_buffer *out, const struct rsr_spec *spec) {
    static const struct {
        const char *name;
        bool of_arm, of_x86;
        uint64_t features;
    } parts[] = {{"kernel_prelude.h", true, true, 0},
                 {"kernel_neon.h", true, false, 0},
                 {"kernel_x86_128.h", false, true, 0},
                 {"kernel_x86_256.h", false, true, RSR_CPU_MASK(AVX2)},
                 {"kernel_x86_512.h", false, true, RSR_CPU_MASK(AVX512F)},
                 {"kernel_amx.h", false, true, RSR_CPU_MASK(AMX_TILE)}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if ((is_x86(spec) ? parts[i].of_x86 : parts[i].of_arm) &&
            rsrc_target_has(spec, parts[i].features))
            rsrc_buffer_puts(out, rsrc_template_text(parts[i].name));
}

static enum rsrc_status begin_unit(struct rsr_unit *unit, const char *title,
                                   const struct rsr_spec *spec, const char **why) {
    (void)why;
    struct rsrc_buffer *out = &unit->text;
    rsrc_buffer_puts(out, "/* ");
    rsrc_buffer_put_comment(out, title);
    rsrc_buffer_puts(out, "\n * Target ");
    rsrc_buffer_put_comment(out, spec->name);
    rsrc_buffer_puts(out, ". Generated by rsrc; do not edit. */\n");
    put_prelude(out, spec);
    return RSRC_OK;
}

/* emit() has completed the text already. */
static enum rsrc_status finish_unit(struct rsr_unit *unit, struct rsrc_arena *arena,
                                    const char **why) {
    (void)unit, (void)arena, (void)why;
    return RSRC_OK;
}

static void abandon_unit(struct rsr_unit *unit) {
    (void)unit;
}

static enum rsrc_status write_tables(struct rsr_unit *unit, const struct rsrc_tables *tables,
                                     const struct rsr_spec *spec, struct rsrc_arena *arena,
                                     const char **why) {
    (void)spec, (void)arena, (void)why;
    rsrc_c_put_tables(tables, &unit->text);
    return RSRC_OK;
}

const struct rsrc_backend rsrc_backend_c = {.name = "c",
                                            .kinds = 1u << RSR_UNIT_C,
                                            .begin = begin_unit,
                                            .emit = emit_kernel,
                                            .alias = put_alias,
                                            .finish = finish_unit,
                                            .abandon = abandon_unit,
                                            .write_tables = write_tables};
