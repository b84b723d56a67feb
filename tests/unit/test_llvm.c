/* test_llvm.c - the LLVM back end by itself: every operation without optimisation and on AArch64,
 * control flow and bodies at every level, what it declines, what it prints.
 *
 * Operations and whole kernels on every target run through it in the tests of kernel_harness.h. */
#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernel_harness.h"
#include "kernel_ops.h"
#include "kernel/kernel_builder.h"
#include "kernel/kernel_types.h"

#define OPERAND_BYTES 256 /* bytes of x for each operand */
#define X_BYTES (4 * OPERAND_BYTES)
#define Y_BYTES OPERAND_BYTES

static const struct rsr_spec aarch64 = {.name = "aarch64",
                                        .triple = "aarch64-linux-gnu",
                                        .cpu = "neoverse-n1",
                                        .vector_bits = 128,
                                        .cpu_features = F(NEON) | F(DOTPROD) | F(I8MM)};
static const struct rsr_spec amx = {.name = "amx",
                                    .triple = X86_TRIPLE,
                                    .cpu = "sapphirerapids",
                                    .vector_bits = 512,
                                    .cpu_features = F(SSSE3) | AVX512 | F(AVX512VNNI) |
                                                    F(AMX_TILE) | F(AMX_INT8)};

/* A kernel, with inputs that its operations allow. */
struct op_kernel {
    struct rsr_kernel kernel;
    uint8_t x[X_BYTES] __attribute__((aligned(64)));
    uint32_t y_bytes; /* that it writes */
};

struct op_kernels {
    struct op_kernel **list;
    uint32_t n;
};

/* ---- one operation as a kernel --------------------------------------------------------------- */

static struct op_kernel *new_kernel(struct suite *suite, const struct rsr_spec *spec,
                                    const char *symbol) {
    struct op_kernel *k = RSRC_NEW(&suite->arena, struct op_kernel);
    k->kernel = (struct rsr_kernel){.symbol = symbol,
                                    .key = symbol,
                                    .title = "an operation\n#error \"",
                                    .reason = "the test wants it",
                                    .spec = spec,
                                    .rows = 1,
                                    .cols = 1,
                                    .computed_rows = 1,
                                    .tile_rows = 1,
                                    .n_tiles = 1,
                                    .scratch_bytes = 4096};
    return k;
}

static struct rsr_kreg sized(enum rsr_elem elem, uint32_t bytes) {
    const uint32_t lanes = bytes / rsrc_elem_bytes(elem);
    return (struct rsr_kreg){.elem = elem, .lanes = lanes < 1 ? 1 : lanes};
}

static enum rsr_elem unsigned_of(enum rsr_elem elem) {
    return rsrc_elem_bytes(elem) == 1   ? RSR_ELEM_U8
           : rsrc_elem_bytes(elem) == 2 ? RSR_ELEM_U16
                                        : RSR_ELEM_U32;
}

/* The type of operand i of an operation with result d. */
static struct rsr_kreg operand_type(uint32_t kind, uint32_t variant, struct rsr_kreg d,
                                    uint32_t i) {
    static const enum rsr_elem sources[] = {RSR_ELEM_U8, RSR_ELEM_I8, RSR_ELEM_I16, RSR_ELEM_U16,
                                            RSR_ELEM_I32};
    const uint32_t bytes = rsrc_kreg_bytes(&d);
    switch (kind) {
    case RSR_KOP_DOT_U8S8:
    case RSR_KOP_DOT_S8S8:
        return i == 0 ? d : sized(i == 1 ? RSR_ELEM_U8 : RSR_ELEM_I8, bytes);
    case RSR_KOP_MADD_U8S8:
        return sized(i == 0 ? RSR_ELEM_U8 : RSR_ELEM_I8, bytes);
    case RSR_KOP_MADD_I16:
    case RSR_KOP_PACK_U8:
        return sized(RSR_ELEM_I16, bytes);
    case RSR_KOP_TABLE:
    case RSR_KOP_TABLE2:
        return i == 0 ? sized(unsigned_of(d.elem), bytes) : d;
    case RSR_KOP_SPLAT:
        return (struct rsr_kreg){.elem = d.elem, .lanes = 1};
    case RSR_KOP_EXTRACT:
        return sized(d.elem, 16);
    case RSR_KOP_HALVES_ADD:
        return (struct rsr_kreg){.elem = d.elem, .lanes = 2 * d.lanes};
    case RSR_KOP_CONVERT:
        return (struct rsr_kreg){.elem = sources[variant], .lanes = d.lanes};
    case RSR_KOP_BITCAST:
        return sized(sources[variant], bytes);
    default:
        return d;
    }
}

/* How many low bits of an input may be random without making the operation undefined; the other
 * bits are the sign. */
static uint32_t input_bits(uint32_t kind, enum rsr_elem elem, uint32_t i) {
    const uint32_t bits = rsrc_elem_bytes(elem) * 8;
    switch (kind) {
    case RSR_KOP_ADD:
    case RSR_KOP_SUB:
    case RSR_KOP_ADD_MEM:
    case RSR_KOP_SUB_MEM:
    case RSR_KOP_ZIP_ADD:
    case RSR_KOP_HALVES_ADD:
        return bits - 1;
    case RSR_KOP_MUL:
        return bits / 2;
    case RSR_KOP_SHL:
        return bits - 4;
    case RSR_KOP_MADD_I16:
        return 15;
    case RSR_KOP_DOT_U8S8:
    case RSR_KOP_DOT_S8S8:
        return i == 0 ? 24 : bits;
    default:
        return bits;
    }
}

static void fill_input(struct suite *suite, uint8_t *bytes, uint32_t kind, struct rsr_kreg reg,
                       uint32_t i) {
    const uint32_t size = rsrc_elem_bytes(reg.elem), bits = input_bits(kind, reg.elem, i);
    for (uint32_t lane = 0; lane < reg.lanes; lane++) {
        int64_t value = (int64_t)check_random(&suite->seed) >> (64 - bits);
        if (kind == RSR_KOP_SHUFFLE16 && i == 0)
            value &= 15;
        if (kind == RSR_KOP_PACK_U8)
            value &= 255;
        const float real = (float)(int16_t)value * 0.37f;
        if (reg.elem == RSR_ELEM_F32)
            memcpy(bytes + lane * size, &real, size);
        else
            memcpy(bytes + lane * size, &value, size);
    }
}

static struct rsrc_address operand_at(uint32_t i) {
    return rsrc_address_at(RSR_KBUF_X, (int64_t)i * OPERAND_BYTES);
}

/* NULL: no such operation for this type. */
static struct op_kernel *make_operation(struct suite *suite, const struct rsr_spec *spec,
                                        uint32_t kind, uint32_t variant, struct rsr_kreg d,
                                        const char *symbol) {
    const uint32_t arity = rsrc_kop_arity(kind);
    struct rsr_kop op = {.kind = (uint16_t)kind, .buffer = RSR_KBUF_X, .imm = variant};
    struct rsr_kreg types[3] = {{0}};
    const struct rsr_kreg *given[3] = {NULL, NULL, NULL};
    if (kind == RSR_KOP_ZIP_ADD)
        op.imm = 1 << variant;
    if (kind == RSR_KOP_SHL)
        op.imm = 3;
    if (kind == RSR_KOP_CONST && d.elem == RSR_ELEM_F32)
        op.fimm = -0.1f;
    for (uint32_t i = 0; i < arity; i++) {
        types[i] = operand_type(kind, variant, d, i);
        given[i] = &types[i];
        if (types[i].lanes > 64 || (types[i].lanes & (types[i].lanes - 1)) != 0)
            return NULL;
    }
    if (!rsrc_kop_types_fit(&op, &d, given[0], given[1], given[2]))
        return NULL;
    struct op_kernel *k = new_kernel(suite, spec, symbol);
    struct rsrc_kb kb;
    rsrc_kb_init(&kb, &suite->arena, &k->kernel);
    uint16_t regs[3] = {RSR_NO_KREG, RSR_NO_KREG, RSR_NO_KREG};
    for (uint32_t i = 0; i < arity; i++) {
        fill_input(suite, k->x + i * OPERAND_BYTES, kind, types[i], i);
        regs[i] = rsrc_kb_reg(&kb, types[i].elem, types[i].lanes, "in%u", i);
        rsrc_kb_load(&kb, regs[i], operand_at(i));
    }
    fill_input(suite, k->x + 3 * OPERAND_BYTES, kind, d, 3); /* for operations that read memory */
    const uint16_t out = rsrc_kb_reg(&kb, d.elem, d.lanes, "out");
    rsrc_kb_const(&kb, out, 0); /* this operation only makes room: it is replaced */
    op.dst = out;
    op.a = regs[0], op.b = regs[1], op.c = regs[2];
    op.term[0] = op.term[1] = op.term[2] = RSR_NO_KREG;
    if (rsrc_kop_has_address(kind))
        op.imm = 3 * OPERAND_BYTES;
    k->kernel.ops[k->kernel.n_ops - 1] = op;
    rsrc_kb_store(&kb, out, rsrc_address_at(RSR_KBUF_Y, 0));
    rsrc_kb_finish(&kb);
    k->y_bytes = rsrc_kreg_bytes(&d);
    CHECK_INT(rsrc_verify_kernel(suite->diag, &k->kernel), RSRC_OK);
    return k;
}

static struct op_kernels make_operations(struct suite *suite, const struct rsr_spec *spec) {
    static const struct {
        enum rsr_kop_kind kind;
        uint32_t n_variants;
    } kinds[] = {{RSR_KOP_CONST, 1},    {RSR_KOP_COPY, 1},       {RSR_KOP_ADD, 1},
                 {RSR_KOP_SUB, 1},      {RSR_KOP_MUL, 1},        {RSR_KOP_MIN, 1},
                 {RSR_KOP_AND, 1},      {RSR_KOP_OR, 1},         {RSR_KOP_XOR, 1},
                 {RSR_KOP_SHR, 4},      {RSR_KOP_SHL, 1},        {RSR_KOP_SPLAT, 1},
                 {RSR_KOP_EXTRACT, 2},  {RSR_KOP_CONVERT, 5},    {RSR_KOP_BITCAST, 5},
                 {RSR_KOP_LOAD, 1},     {RSR_KOP_ZIP_ADD, 3},    {RSR_KOP_HALVES_ADD, 1},
                 {RSR_KOP_DOT_U8S8, 1}, {RSR_KOP_DOT_S8S8, 1},   {RSR_KOP_MADD_U8S8, 1},
                 {RSR_KOP_MADD_I16, 1}, {RSR_KOP_LOAD_LANES, 1}, {RSR_KOP_SHUFFLE16, 1},
                 {RSR_KOP_TABLE, 1},    {RSR_KOP_TABLE2, 1},     {RSR_KOP_SPREAD_BIT, 8},
                 {RSR_KOP_ZIP_LOW, 1},  {RSR_KOP_ZIP_HIGH, 1},   {RSR_KOP_PACK_U8, 1},
                 {RSR_KOP_MIRROR, 1},   {RSR_KOP_ADD_MEM, 1},    {RSR_KOP_SUB_MEM, 1}};
    static const uint32_t widths[] = {1, 16, 32, 64};
    struct op_kernels made = {RSRC_NEW_ARRAY(&suite->arena, 2000, struct op_kernel *), 0};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        for (uint32_t v = 0; v < kinds[i].n_variants; v++)
            for (uint32_t elem = 0; elem < RSR_ELEM_TILE; elem++)
                for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
                    const char *symbol = rsrc_arena_printf(&suite->arena, "op%u_%u_e%u_w%u",
                                                           kinds[i].kind, v, elem, widths[w]);
                    struct op_kernel *k =
                        make_operation(suite, spec, kinds[i].kind, v,
                                       sized((enum rsr_elem)elem, widths[w]), symbol);
                    if (k != NULL)
                        made.list[made.n++] = k;
                }
    return made;
}

/* ---- running --------------------------------------------------------------------------------- */

/* Emits the kernels that are not declined and drops the others from the list. Returns the finished
 * unit. */
static struct rsr_unit emit_unit(struct suite *suite, struct op_kernels *kernels,
                                 const struct rsr_spec *spec, enum rsr_unit_kind kind,
                                 uint32_t opt_level) {
    struct rsr_unit unit = {.kind = kind, .name = "operations", .opt_level = opt_level};
    const char *why = "";
    CHECK_INT(rsrc_backend_llvm.begin(&unit, "operations", spec, &why), RSRC_OK);
    uint32_t n = 0;
    for (uint32_t i = 0; i < kernels->n; i++) {
        struct op_kernel *k = kernels->list[i];
        if (rsrc_backend_llvm.emit(&unit, &k->kernel, &suite->arena, &why) == RSRC_OK)
            kernels->list[n++] = k;
        else
            CHECK(strstr(why, "needs an instruction that target") != NULL);
    }
    kernels->n = n;
    why = "";
    CHECK_INT(rsrc_backend_llvm.finish(&unit, &suite->arena, &why), RSRC_OK);
    CHECK_STR(why, "");
    CHECK(unit.state == NULL);
    return unit;
}

static void run_kernel(const struct op_kernel *k, rsr_kernel_fn *fn, uint32_t n_tokens,
                       uint8_t *y) {
    const struct rsr_weights weights = {.codes = k->x, .index = k->x, .scale = (const float *)k->x};
    const struct rsr_worker worker = {.tile_begin = 1, .tile_end = 3, .count = 1};
    uint8_t scratch[4096] __attribute__((aligned(64)));
    memset(scratch, 7, sizeof scratch);
    memset(y, GUARD, Y_BYTES);
    if (fn != NULL)
        fn(k->x, OPERAND_BYTES, y, 16, n_tokens, &weights, &worker, scratch);
    else
        test_interpret_kernel(&k->kernel, k->x, OPERAND_BYTES, y, 16, n_tokens, &weights, &worker,
                              scratch);
}

static void check_kernels(struct suite *suite, struct op_kernels *kernels,
                          const struct rsr_spec *spec, uint32_t opt_level, uint32_t max_tokens) {
    struct rsr_unit unit = emit_unit(suite, kernels, spec, RSR_UNIT_OBJ, opt_level);
    static uint32_t number;
    const char *name =
        rsrc_arena_printf(&suite->arena, "%s_o%u_%u", spec->name, opt_level, number++);
    const char *object = write_test_file(suite, &unit.text, name, "o");
    rsrc_buffer_free(&unit.text);
    struct test_case **cases = RSRC_NEW_ARRAY(&suite->arena, kernels->n, struct test_case *);
    for (uint32_t i = 0; i < kernels->n; i++) {
        cases[i] = RSRC_NEW(&suite->arena, struct test_case);
        cases[i]->lowered.kernel = kernels->list[i]->kernel;
    }
    if (!host_supports(spec) && !host_emulates(spec)) {
        fprintf(stderr, "SKIPPED: running '%s': this CPU lacks its features\n", name);
        return;
    }
    const char *library = rsrc_arena_printf(&suite->arena, "%s.so", object);
    CHECK(compile(suite, "cc", write_table(suite, cases, kernels->n, name), "-shared", library,
                  object));
    void *handle = dlopen(library, RTLD_NOW);
    rsr_kernel_fn *const *functions = handle != NULL ? dlsym(handle, "test_kernels") : NULL;
    CHECK(functions != NULL);
    for (uint32_t i = 0; functions != NULL && i < kernels->n; i++)
        for (uint32_t n_tokens = 1; n_tokens <= max_tokens; n_tokens++) {
            uint8_t got[Y_BYTES] __attribute__((aligned(64)));
            uint8_t want[Y_BYTES] __attribute__((aligned(64)));
            run_kernel(kernels->list[i], functions[i], n_tokens, got);
            run_kernel(kernels->list[i], NULL, n_tokens, want);
            if (memcmp(got, want, Y_BYTES) != 0)
                fprintf(stderr, "%s at level %u: %s differs\n", spec->name, opt_level,
                        kernels->list[i]->kernel.symbol);
            CHECK(memcmp(got, want, Y_BYTES) == 0);
        }
    if (handle != NULL)
        dlclose(handle);
}

/* Level 2 on every target is test_kernel_ops.c's. */
static void test_operations(struct suite *suite) {
    static const struct rsr_spec *const targets[] = {&specs[0], &specs[3], &specs[7]};
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        struct op_kernels kernels = make_operations(suite, targets[i]);
        const uint32_t n_made = kernels.n;
        check_kernels(suite, &kernels, targets[i], 0, 1);
        /* At most DOT_U8S8, DOT_S8S8 and MADD_U8S8 are declined, in four widths each. */
        CHECK(kernels.n > 400 && n_made - kernels.n <= 12);
    }
}

/* ---- control flow ---------------------------------------------------------------------------- */

/* Loops in loops, a loop that never runs, branches that set one register or both, crossing
 * values. */
static struct op_kernel *make_control_flow(struct suite *suite, const struct rsr_spec *spec) {
    struct op_kernel *k = new_kernel(suite, spec, "control_flow");
    struct rsrc_kb kb;
    rsrc_kb_init(&kb, &suite->arena, &k->kernel);
    static const char *const names[] = {"zero", "two",   "tokens", "begin", "end", "i",
                                        "j",    "never", "sum",    "swap",  "old", "least"};
    enum { ZERO, TWO, TOKENS, BEGIN, END, I, J, NEVER, SUM, SWAP, OLD, LEAST, N_REGS };
    uint16_t r[N_REGS];
    for (uint32_t i = 0; i < N_REGS; i++)
        r[i] = rsrc_kb_reg(&kb, RSR_ELEM_I64, 1, "%s", names[i]);
    rsrc_kb_const(&kb, r[ZERO], 0);
    rsrc_kb_const(&kb, r[TWO], 2);
    rsrc_kb_const(&kb, r[SUM], 5);
    rsrc_kb_const(&kb, r[SWAP], 11);
    rsrc_kb_param(&kb, r[TOKENS], RSR_KPARAM_N_TOKENS);
    rsrc_kb_param(&kb, r[BEGIN], RSR_KPARAM_TILE_BEGIN);
    rsrc_kb_param(&kb, r[END], RSR_KPARAM_TILE_END);
    rsrc_kb_loop(&kb, r[NEVER], r[TWO], r[ZERO], 1);
    rsrc_kb_unary(&kb, RSR_KOP_COPY, r[SUM], r[TWO]);
    rsrc_kb_end(&kb);
    rsrc_kb_loop(&kb, r[I], r[ZERO], r[TOKENS], 2);
    rsrc_kb_prefetch(&kb, rsrc_address_plus(operand_at(1), r[I], 1 << 20));
    rsrc_kb_loop(&kb, r[J], r[BEGIN], r[END], 1);
    rsrc_kb_unary(&kb, RSR_KOP_COPY, r[OLD], r[SUM]);
    rsrc_kb_unary(&kb, RSR_KOP_COPY, r[SUM], r[SWAP]);
    rsrc_kb_unary(&kb, RSR_KOP_COPY, r[SWAP], r[OLD]);
    rsrc_kb_if_less(&kb, r[I], r[TWO]);
    rsrc_kb_binary(&kb, RSR_KOP_ADD, r[SUM], r[SUM], r[J]);
    rsrc_kb_else(&kb);
    rsrc_kb_if_less(&kb, r[SWAP], r[SUM]);
    rsrc_kb_binary(&kb, RSR_KOP_MUL, r[SWAP], r[SWAP], r[J]);
    rsrc_kb_end(&kb);
    rsrc_kb_binary(&kb, RSR_KOP_SUB, r[SUM], r[SUM], r[I]);
    rsrc_kb_end(&kb);
    rsrc_kb_end(&kb);
    rsrc_kb_end(&kb);
    rsrc_kb_binary(&kb, RSR_KOP_MIN, r[LEAST], r[SUM], r[SWAP]);
    rsrc_kb_store(&kb, r[SUM], rsrc_address_at(RSR_KBUF_Y, 0));
    rsrc_kb_store(&kb, r[SWAP],
                  rsrc_address_plus(rsrc_address_at(RSR_KBUF_Y, -1), r[TOKENS], 9)); /* unaligned */
    rsrc_kb_store(&kb, r[LEAST], rsrc_address_at(RSR_KBUF_Y, 128));
    rsrc_kb_finish(&kb);
    CHECK_INT(rsrc_verify_kernel(suite->diag, &k->kernel), RSRC_OK);
    return k;
}

/* Three bodies over columns in scratch memory, called by number. */
static struct op_kernel *make_bodies(struct suite *suite, const struct rsr_spec *spec) {
    struct op_kernel *k = new_kernel(suite, spec, "bodies");
    for (uint32_t i = 0; i < X_BYTES; i++)
        k->x[i] = i % 2 == 0 ? (uint8_t)check_random(&suite->seed)
                             : 0; /* I16 that are too small to overflow */
    struct rsrc_kb kb;
    rsrc_kb_init(&kb, &suite->arena, &k->kernel);
    const uint16_t row = rsrc_kb_body_reg(&kb, RSR_ELEM_I16, 8, "row");
    for (uint32_t body = 0; body < 3; body++) {
        rsrc_kb_body_begin(&kb);
        rsrc_kb_load(&kb, row, rsrc_address_at(RSR_KBUF_SUMS, 0));
        for (uint32_t column = body; column < 6; column++)
            rsrc_kb_binary_memory(&kb, column % 2 == 0 ? RSR_KOP_ADD_MEM : RSR_KOP_SUB_MEM, row,
                                  row,
                                  rsrc_address_at(RSR_KBUF_COLUMNS, (int64_t)column * 16 - 16));
        rsrc_kb_store(&kb, row, rsrc_address_at(RSR_KBUF_SUMS, 0));
        CHECK_INT(rsrc_kb_body_end(&kb), body);
    }
    const uint16_t column = rsrc_kb_reg(&kb, RSR_ELEM_I16, 8, "column");
    const uint16_t begin = rsrc_kb_reg(&kb, RSR_ELEM_I64, 1, "begin");
    const uint16_t end = rsrc_kb_reg(&kb, RSR_ELEM_I64, 1, "end");
    const uint16_t body = rsrc_kb_reg(&kb, RSR_ELEM_I64, 1, "body");
    const uint16_t columns = rsrc_kb_reg(&kb, RSR_ELEM_I64, 1, "columns_at");
    const uint16_t sums = rsrc_kb_reg(&kb, RSR_ELEM_I64, 1, "sums_at");
    rsrc_kb_const(&kb, begin, 0);
    rsrc_kb_const(&kb, end, 3);
    rsrc_kb_const(&kb, columns, 16);
    rsrc_kb_const(&kb, sums, 512);
    for (uint32_t i = 0; i < 8; i++) {
        rsrc_kb_load(&kb, column, rsrc_address_at(RSR_KBUF_X, i * 16));
        rsrc_kb_store(&kb, column, rsrc_address_at(RSR_KBUF_SCRATCH, i * 16));
    }
    rsrc_kb_store(&kb, column, rsrc_address_at(RSR_KBUF_SCRATCH, 512));
    rsrc_kb_loop(&kb, body, begin, end, 1);
    rsrc_kb_call(&kb, body, columns, sums);
    rsrc_kb_end(&kb);
    rsrc_kb_load(&kb, column, rsrc_address_at(RSR_KBUF_SCRATCH, 512));
    rsrc_kb_store(&kb, column, rsrc_address_at(RSR_KBUF_Y, 0));
    rsrc_kb_finish(&kb);
    CHECK_INT(rsrc_verify_kernel(suite->diag, &k->kernel), RSRC_OK);
    return k;
}

static void test_control_flow(struct suite *suite) {
    for (uint32_t level = 0; level <= 3; level++) {
        struct op_kernel *list[] = {make_control_flow(suite, &specs[1]),
                                    make_bodies(suite, &specs[1])};
        struct op_kernels kernels = {list, 2};
        check_kernels(suite, &kernels, &specs[1], level, 9);
        CHECK_INT(kernels.n, 2);
    }
}

/* ---- matrix registers ------------------------------------------------------------------------ */

static void test_tiles(struct suite *suite) {
    struct op_kernel *k = new_kernel(suite, &amx, "tiles");
    for (uint32_t i = 0; i < X_BYTES; i++)
        k->x[i] = (uint8_t)check_random(&suite->seed);
    struct rsrc_kb kb;
    rsrc_kb_init(&kb, &suite->arena, &k->kernel);
    const uint16_t stride = rsrc_kb_reg(&kb, RSR_ELEM_I64, 1, "stride");
    const uint16_t same = rsrc_kb_reg(&kb, RSR_ELEM_I64, 1, "same_row");
    const uint16_t sums = rsrc_kb_reg(&kb, RSR_ELEM_TILE, 1, "totals");
    const uint16_t left = rsrc_kb_reg(&kb, RSR_ELEM_TILE, 1, "left");
    const uint16_t right = rsrc_kb_reg(&kb, RSR_ELEM_TILE, 1, "right");
    const uint16_t row = rsrc_kb_reg(&kb, RSR_ELEM_I32, 16, "row");
    rsrc_kb_const(&kb, stride, 64);
    rsrc_kb_const(&kb, same, 0);
    rsrc_kb_const(&kb, row, 3);
    rsrc_kb_store(&kb, row, rsrc_address_at(RSR_KBUF_SCRATCH, 0));
    rsrc_kb_tile_begin(&kb);
    rsrc_kb_tile_load(&kb, sums, rsrc_address_at(RSR_KBUF_SCRATCH, 0), same);
    rsrc_kb_tile_load(&kb, left, operand_at(0), stride);
    rsrc_kb_tile_load(&kb, right, operand_at(0), stride);
    for (uint32_t i = 0; i < 2; i++)
        rsrc_kb_ternary(&kb, RSR_KOP_TILE_DOT_S8S8, sums, sums, left, right);
    rsrc_kb_tile_store(&kb, sums, rsrc_address_at(RSR_KBUF_SCRATCH, 1024), stride);
    rsrc_kb_tile_end(&kb);
    for (uint32_t i = 0; i < 4; i++) {
        rsrc_kb_load(&kb, row, rsrc_address_at(RSR_KBUF_SCRATCH, 1024 + i * 320));
        rsrc_kb_store(&kb, row, rsrc_address_at(RSR_KBUF_Y, i * 64));
    }
    rsrc_kb_finish(&kb);
    CHECK_INT(rsrc_verify_kernel(suite->diag, &k->kernel), RSRC_OK);
    for (uint32_t level = 0; level <= 2; level++) {
        struct op_kernels kernels = {&k, 1};
        check_kernels(suite, &kernels, &amx, level, 1);
        CHECK_INT(kernels.n, 1);
    }
}

/* ---- AArch64 --------------------------------------------------------------------------------- */

/* Runs each kernel on the inputs of a file and compares its results with those in the file. */
static const char aarch64_main[] =
    "#include <stdio.h>\n"
    "#include <string.h>\n"
    "typedef void kernel(const void *, size_t, void *, size_t, unsigned, const void *, const void "
    "*,\n"
    "                    void *);\n"
    "extern kernel *const test_kernels[];\n"
    "static _Alignas(64) unsigned char x[1024], want[256], y[256], scratch[4096];\n"
    "int main(int argc, char **argv) {\n"
    "    FILE *file = argc > 1 ? fopen(argv[1], \"rb\") : NULL;\n"
    "    const void *const weights[4] = {x, x, x};\n"
    "    const unsigned worker[4] = {1, 3, 0, 1};\n"
    "    int n = 0, wrong = 0;\n"
    "    for (; fread(x, sizeof x, 1, file) && fread(want, sizeof want, 1, file); n++) {\n"
    "        memset(y, 0xA5, sizeof y);\n"
    "        memset(scratch, 7, sizeof scratch);\n"
    "        test_kernels[n](x, 256, y, 16, 3, weights, worker, scratch);\n"
    "        if (memcmp(y, want, sizeof y) != 0)\n"
    "            fprintf(stderr, \"kernel %d differs\\n\", n), wrong++;\n"
    "    }\n"
    "    return n == 0 || wrong != 0;\n"
    "}\n";
_Static_assert(X_BYTES == 1024 && Y_BYTES == 256, "as in the program above");

static bool run(struct suite *suite, const char *const *argv) {
    const struct rsrc_command command = {.argv = argv};
    const struct rsrc_spawn_options one = {.n_jobs = 1};
    return rsrc_spawn_all(suite->diag, &suite->arena, &command, 1, &one) == RSRC_OK;
}

static void test_aarch64(struct suite *suite) {
    struct op_kernels kernels = make_operations(suite, &aarch64);
    kernels.list[kernels.n++] = make_control_flow(suite, &aarch64);
    kernels.list[kernels.n++] = make_bodies(suite, &aarch64);
    const uint32_t n_made = kernels.n;
    struct rsr_unit unit = emit_unit(suite, &kernels, &aarch64, RSR_UNIT_OBJ, 2);
    CHECK(kernels.n > 400 && n_made - kernels.n <= 16);
    CHECK(memcmp(unit.text.data, "\177ELF", 4) == 0 && unit.text.data[18] == (char)183);
    const char *object = write_test_file(suite, &unit.text, "aarch64", "o");
    rsrc_buffer_free(&unit.text);
    if (rsrc_find_program(&suite->arena, "qemu-aarch64") == NULL ||
        rsrc_find_program(&suite->arena, "aarch64-linux-gnu-gcc") == NULL) {
        fprintf(stderr, "SKIPPED: running AArch64 code: needs qemu-aarch64 and "
                        "aarch64-linux-gnu-gcc\n");
        return;
    }
    struct rsrc_buffer data = {0}, text = {0};
    struct test_case **cases = RSRC_NEW_ARRAY(&suite->arena, kernels.n, struct test_case *);
    for (uint32_t i = 0; i < kernels.n; i++) {
        cases[i] = RSRC_NEW(&suite->arena, struct test_case);
        cases[i]->lowered.kernel = kernels.list[i]->kernel;
        uint8_t want[Y_BYTES] __attribute__((aligned(64)));
        run_kernel(kernels.list[i], NULL, 3, want);
        rsrc_buffer_append(&data, kernels.list[i]->x, X_BYTES);
        rsrc_buffer_append(&data, want, Y_BYTES);
    }
    rsrc_buffer_puts(&text, aarch64_main);
    const char *inputs = write_test_file(suite, &data, "aarch64", "data");
    const char *program = rsrc_arena_printf(&suite->arena, "%s/aarch64", suite->directory);
    const char *const build[] = {"aarch64-linux-gnu-gcc",
                                 "-static",
                                 "-o",
                                 program,
                                 write_test_file(suite, &text, "aarch64_main", "c"),
                                 write_table(suite, cases, kernels.n, "aarch64"),
                                 object,
                                 NULL};
    const char *const execute[] = {"qemu-aarch64", "-cpu", "max", program, inputs, NULL};
    CHECK(run(suite, build));
    CHECK(run(suite, execute));
    rsrc_buffer_free(&data);
    rsrc_buffer_free(&text);
}

/* ---- what is declined ------------------------------------------------------------------------ */

/* Begins a unit for an unknown target. LLVM must not see the target, so nothing is printed. */
static void expect_declined(const struct rsr_spec *spec, const char *sentence) {
    struct rsr_unit unit = {.kind = RSR_UNIT_OBJ, .name = "strange", .opt_level = 2};
    const char *why = "";
    CHECK_INT(rsrc_backend_llvm.begin(&unit, "strange", spec, &why), RSRC_FAILED);
    CHECK(unit.state == NULL && unit.text.data == NULL);
    if (strstr(why, sentence) == NULL)
        CHECK_STR(why, sentence);
    rsrc_backend_llvm.abandon(&unit);
}

static void test_strange_targets(struct suite *suite) {
    const char *path = rsrc_arena_printf(&suite->arena, "%s/stderr", suite->directory);
    const int saved = dup(STDERR_FILENO);
    const int file = open(path, O_CREAT | O_RDWR | O_TRUNC, 0600);
    CHECK(saved >= 0 && file >= 0 && dup2(file, STDERR_FILENO) >= 0);
    const struct rsr_spec good = specs[3];
    static const char *const cpus[] = {NULL,  "", "pentium12", "neoverse-n1", "haswell,+sse4a",
                                       "help"};
    for (size_t i = 0; i < sizeof cpus / sizeof *cpus; i++) {
        struct rsr_spec bad = good;
        bad.cpu = cpus[i];
        expect_declined(&bad, "no processor of the name");
    }
    static const char *const triples[] = {
        NULL, "", "x86_64", "riscv64-linux-gnu", "x86_64-pc-windows", "x86_64x-linux-gnu"};
    for (size_t i = 0; i < sizeof triples / sizeof *triples; i++) {
        struct rsr_spec bad = good;
        bad.triple = triples[i];
        expect_declined(&bad, "x86_64 and aarch64 Linux alone");
    }
    static const uint64_t features[] = {F(DOTPROD), UINT64_C(1) << 40, UINT64_C(1) << 63};
    for (size_t i = 0; i < sizeof features / sizeof *features; i++) {
        struct rsr_spec bad = good;
        bad.cpu_features |= features[i];
        expect_declined(&bad, "not one of its architecture");
    }
    dup2(saved, STDERR_FILENO);
    close(saved);
    CHECK_INT(lseek(file, 0, SEEK_END), 0);
    close(file);
}

/* A declined kernel leaves the unit unchanged: the text equals the text of a unit without this
 * kernel. */
static void test_declined_kernels(struct suite *suite) {
    const struct rsr_spec *spec = &specs[7];
    struct op_kernel *good = make_control_flow(suite, spec);
    struct op_kernel *dot =
        make_operation(suite, spec, RSR_KOP_DOT_U8S8, 0, sized(RSR_ELEM_I32, 64), "dot");
    struct op_kernels one = {&good, 1};
    struct rsr_unit plain = emit_unit(suite, &one, spec, RSR_UNIT_LLVM, 2);
    struct rsr_unit unit = {.kind = RSR_UNIT_LLVM, .name = "operations", .opt_level = 2};
    const char *why = "";
    CHECK_INT(rsrc_backend_llvm.begin(&unit, "operations", spec, &why), RSRC_OK);
    static const struct rsr_spec *const others[] = {&specs[0], &aarch64};
    static const char *const sentences[] = {
        "operation 3 needs an instruction that target scalar lacks",
        "its target is for aarch64-linux-gnu"};
    for (uint32_t i = 0; i < 2; i++) {
        dot->kernel.spec = others[i];
        CHECK_INT(rsrc_backend_llvm.emit(&unit, &dot->kernel, &suite->arena, &why), RSRC_FAILED);
        CHECK(strstr(why, sentences[i]) != NULL);
    }
    CHECK_INT(rsrc_backend_llvm.emit(&unit, &good->kernel, &suite->arena, &why), RSRC_OK);
    CHECK_INT(rsrc_backend_llvm.emit(&unit, &good->kernel, &suite->arena, &why), RSRC_FAILED);
    CHECK(strstr(why, "has a kernel 'control_flow' already") != NULL);
    CHECK_INT(rsrc_backend_llvm.finish(&unit, &suite->arena, &why), RSRC_OK);
    CHECK_STR(unit.text.data, plain.text.data);
    rsrc_backend_llvm.abandon(&unit);
    rsrc_buffer_free(&unit.text);
    rsrc_buffer_free(&plain.text);
    CHECK_INT(rsrc_backend_llvm.begin(&unit, "operations", spec, &why), RSRC_OK);
    rsrc_backend_llvm.abandon(&unit); /* never finished */
    CHECK(unit.state == NULL);
    rsrc_buffer_free(&unit.text);
}

/* A kernel that lowering would never make: the unit cannot be finished, and says so. */
static void test_broken_kernel(struct suite *suite) {
    struct op_kernel *k =
        make_operation(suite, &specs[0], RSR_KOP_ADD, 0, sized(RSR_ELEM_I32, 1), "broken");
    k->kernel.regs[1].elem = RSR_ELEM_I64;
    struct rsr_unit unit = {.kind = RSR_UNIT_OBJ, .name = "broken", .opt_level = 2};
    const char *why = "";
    CHECK_INT(rsrc_backend_llvm.begin(&unit, "broken", &specs[0], &why), RSRC_OK);
    CHECK_INT(rsrc_backend_llvm.emit(&unit, &k->kernel, &suite->arena, &why), RSRC_OK);
    CHECK_INT(rsrc_backend_llvm.finish(&unit, &suite->arena, &why), RSRC_FAILED);
    CHECK(strstr(why, "this is a defect of rsrc: ") != NULL);
    CHECK(unit.state == NULL);
    rsrc_buffer_free(&unit.text);
}

/* A child process in which LLVM gives up says so, removes temporary files (the suite's directory,
 * which it inherited), and exits with status 70. */
static void test_fatal_error(struct suite *suite) {
    void (*give_up)(const char *, bool) = NULL;
    void *symbol = dlsym(RTLD_DEFAULT, "_ZN4llvm18report_fatal_errorEPKcb");
    int ends[2];
    CHECK(symbol != NULL && pipe(ends) == 0);
    if (symbol == NULL)
        return;
    memcpy(&give_up, &symbol, sizeof give_up);
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        give_up("the test wants it", false);
        _exit(2);
    }
    close(ends[1]);
    char message[256] = "";
    CHECK(child > 0 && read(ends[0], message, sizeof message - 1) > 0);
    CHECK_STR(message, "rsrc: internal error: LLVM gave up: the test wants it\n");
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
    CHECK_INT(WEXITSTATUS(status), 70);
    CHECK(access(suite->directory, F_OK) != 0);
    close(ends[0]);
}

/* ---- text ------------------------------------------------------------------------------------ */

static void test_text(struct suite *suite) {
    struct op_kernel *k = make_control_flow(suite, &specs[3]);
    struct op_kernels kernels = {&k, 1};
    struct rsr_unit unit = emit_unit(suite, &kernels, &specs[3], RSR_UNIT_LLVM, 1);
    static const char *const expected[] = {
        "; operations\n; Target avx2. Generated by rsrc; do not edit.\n",
        "; control_flow: an operation",
        ";   scatter, 1 x 1, 1 tiles of 1 rows, scaled float results\n;   the test wants it\n",
        "source_filename = \"operations\"\n",
        "define hidden void @control_flow(ptr ",
        " noalias ",
        "%sum",
        "j.body:",
        "\"target-cpu\"=\"x86-64\"",
        "\"target-features\"=\"+ssse3,+avx2\"",
        "\"tune-cpu\"=\"haswell\""};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        if (strstr(unit.text.data, expected[i]) == NULL)
            CHECK_STR(unit.text.data, expected[i]);
    CHECK(strstr(unit.text.data, "\n#error") == NULL && strchr(unit.text.data, '/') == NULL);
    rsrc_buffer_free(&unit.text);
    unit = emit_unit(suite, &kernels, &specs[3], RSR_UNIT_ASM, 1);
    CHECK(strstr(unit.text.data, "# operations\n# Target avx2.") == unit.text.data);
    CHECK(strstr(unit.text.data, "\n#error") == NULL);
    CHECK(strstr(unit.text.data, "\t.hidden\tcontrol_flow") != NULL);
    rsrc_buffer_free(&unit.text);
}

/* Several threads build units at once, and all units have equal bytes. */
struct build {
    struct suite suite;
    struct rsr_unit unit;
};

static void *build_unit(void *argument) {
    struct build *build = argument;
    struct op_kernels kernels = make_operations(&build->suite, &specs[7]);
    struct rsr_unit *unit = &build->unit;
    const char *why = "";
    *unit = (struct rsr_unit){.kind = RSR_UNIT_OBJ, .name = "threads", .opt_level = 2};
    if (rsrc_backend_llvm.begin(unit, "threads", &specs[7], &why) != RSRC_OK)
        return NULL;
    for (uint32_t i = 0; i < kernels.n; i++)
        (void)!rsrc_backend_llvm.emit(unit, &kernels.list[i]->kernel, &build->suite.arena, &why);
    (void)!rsrc_backend_llvm.finish(unit, &build->suite.arena, &why);
    return NULL;
}

static void test_threads(void) {
    enum { N_THREADS = 4 };
    struct build builds[N_THREADS];
    pthread_t threads[N_THREADS];
    for (uint32_t i = 0; i < N_THREADS; i++) {
        builds[i] = (struct build){.suite = {.seed = 1}};
        rsrc_arena_init(&builds[i].suite.arena);
        builds[i].suite.diag = rsrc_diag_create(stderr, false, RSRC_COLOR_NEVER);
        CHECK_INT(pthread_create(&threads[i], NULL, build_unit, &builds[i]), 0);
    }
    for (uint32_t i = 0; i < N_THREADS; i++) {
        pthread_join(threads[i], NULL);
        const struct rsrc_buffer *first = &builds[0].unit.text, *text = &builds[i].unit.text;
        CHECK(text->size_bytes > 1000 && text->size_bytes == first->size_bytes);
        CHECK(memcmp(text->data, first->data, first->size_bytes) == 0);
    }
    for (uint32_t i = 0; i < N_THREADS; i++) {
        rsrc_buffer_free(&builds[i].unit.text);
        rsrc_diag_destroy(builds[i].suite.diag);
        rsrc_arena_free(&builds[i].suite.arena);
    }
}

int main(void) {
    struct suite suite;
    suite_begin(&suite, "test_llvm", 20261121);
    test_strange_targets(&suite); /* first: nothing is initialised yet */
    test_operations(&suite);
    test_control_flow(&suite);
    test_tiles(&suite);
    test_aarch64(&suite);
    test_declined_kernels(&suite);
    test_broken_kernel(&suite);
    test_text(&suite);
    test_threads();
    test_fatal_error(&suite); /* last: it removes the directory */
    suite_end(&suite);
    return CHECK_EXIT();
}
