/* test_kernel_ops.c - every kernel operation at every element and width that a back end takes,
 * compiled for every target the host can run or emulate, against the interpreter, bit for bit.
 *
 * One kernel per operation holds a case per type and immediate: operands are loaded from x, results
 * are stored to y. Inputs are extreme numbers in the first rounds and random numbers in the others,
 * always within the definitions of ir.h. A target must take the operations that `required` lists
 * for it.
 */
#include "kernel_harness.h"
#include "kernel_ops.h"
#include "kernel/kernel_builder.h"

#define SLOT_BYTES 80u /* an operand of at most 64 bytes, at any alignment */
#define N_ROUNDS 6u
#define MAX_CASES 1024u

struct op_case {
    enum rsr_kop_kind kind;
    struct rsr_kreg dst, operands[3];
    int64_t imm;
    float fimm;
};

/* ---- cases: which types an operation may have ------------------------------------------------ */

static struct rsr_kreg reg_of(enum rsr_elem elem, uint32_t lanes) {
    return (struct rsr_kreg){.elem = elem, .lanes = lanes};
}

static enum rsr_elem unsigned_elem(enum rsr_elem elem) {
    const uint32_t bytes = rsrc_elem_bytes(elem);
    return bytes == 1 ? RSR_ELEM_U8 : bytes == 2 ? RSR_ELEM_U16 : RSR_ELEM_U32;
}

/* The types of an operation on `elem` x `lanes`; `from` is what CONVERT and BITCAST start with. */
static struct op_case typed_case(enum rsr_kop_kind kind, enum rsr_elem elem, uint32_t lanes,
                                 enum rsr_elem from) {
    const struct rsr_kreg type = reg_of(elem, lanes);
    struct op_case c = {.kind = kind, .dst = type, .operands = {type, type, type}};
    switch (kind) {
    case RSR_KOP_SPLAT:
        c.operands[0] = reg_of(elem, 1);
        break;
    case RSR_KOP_EXTRACT:
        c.dst = reg_of(elem, 1);
        break;
    case RSR_KOP_CONVERT:
        c.operands[0] = reg_of(from, lanes);
        break;
    case RSR_KOP_BITCAST:
        c.operands[0] = reg_of(from, rsrc_kreg_bytes(&type) / rsrc_elem_bytes(from));
        break;
    case RSR_KOP_HALVES_ADD:
        c.operands[0] = reg_of(elem, 2 * lanes);
        break;
    case RSR_KOP_DOT_U8S8:
    case RSR_KOP_DOT_S8S8:
        c.operands[1] = c.operands[2] = reg_of(RSR_ELEM_I8, 4 * lanes);
        break;
    case RSR_KOP_MADD_U8S8:
        c.operands[0] = c.operands[1] = reg_of(RSR_ELEM_I8, 2 * lanes);
        break;
    case RSR_KOP_MADD_I16:
        c.operands[0] = c.operands[1] = reg_of(RSR_ELEM_I16, 2 * lanes);
        break;
    case RSR_KOP_TABLE:
    case RSR_KOP_TABLE2:
        c.operands[0] = reg_of(unsigned_elem(elem), lanes);
        break;
    case RSR_KOP_PACK_U8:
        c.operands[0] = c.operands[1] = reg_of(RSR_ELEM_I16, lanes / 2);
        break;
    default:
        break;
    }
    return c;
}

/* Immediates that get a case. The verifier drops invalid ones. */
static uint32_t list_immediates(enum rsr_kop_kind kind, enum rsr_elem elem, uint32_t lanes,
                                int64_t out[8]) {
    const int64_t bits = rsrc_elem_bytes(elem) * 8;
    uint32_t n = 0;
    switch (kind) {
    case RSR_KOP_SHR:
    case RSR_KOP_SHL:
        for (int64_t i = 0; i < 4; i++)
            out[n++] = (int64_t[]){0, 1, bits / 2, bits - 1}[i];
        return n;
    case RSR_KOP_EXTRACT:
        out[n++] = 0;
        out[n++] = lanes - 1;
        return n;
    case RSR_KOP_ZIP_ADD:
        out[n++] = 1;
        out[n++] = 2;
        return n;
    case RSR_KOP_SPREAD_BIT:
        for (; n < 8; n++)
            out[n] = n;
        return n;
    case RSR_KOP_CONST:
        out[n++] = 0;
        out[n++] = 1;
        out[n++] = -1;
        out[n++] = rsrc_elem_is_unsigned(elem) ? (INT64_C(1) << bits) - 1
                                               : (int64_t)(UINT64_MAX >> (65 - bits));
        out[n++] = rsrc_elem_is_unsigned(elem) ? 0x5a : -(int64_t)(UINT64_MAX >> (65 - bits)) - 1;
        return n;
    default:
        out[n++] = 0;
        return n;
    }
}

/* ---- kernels --------------------------------------------------------------------------------- */

static void begin_kernel(struct suite *suite, struct rsrc_kb *kb, struct rsr_kernel *kernel,
                         const struct rsr_spec *spec, const char *name) {
    *kernel = (struct rsr_kernel){.symbol = rsrc_arena_printf(&suite->arena, "op_%s", name),
                                  .key = name,
                                  .title = name,
                                  .reason = "every type of one operation",
                                  .spec = spec,
                                  .rows = 1,
                                  .cols = 1,
                                  .computed_rows = 1,
                                  .tile_rows = 1,
                                  .n_tiles = 1};
    rsrc_kb_init(kb, &suite->arena, kernel);
}

/* The offset of an operand of case number `at`. Offsets have different alignments. */
static int64_t slot(uint32_t at, uint32_t operand) {
    return (int64_t)(at * 4 + operand) * SLOT_BYTES + (at + operand) % 16;
}

static void append_case(struct rsrc_kb *kb, const struct op_case *c, uint32_t at) {
    const struct rsr_kernel *kernel = kb->kernel;
    uint16_t regs[3] = {RSR_NO_KREG, RSR_NO_KREG, RSR_NO_KREG};
    const bool from_memory = c->kind == RSR_KOP_ADD_MEM || c->kind == RSR_KOP_SUB_MEM ||
                             c->kind == RSR_KOP_LOAD_LANES || c->kind == RSR_KOP_LOAD;
    for (uint32_t i = 0; i < rsrc_kop_arity(c->kind); i++) {
        regs[i] = rsrc_kb_reg(kb, c->operands[i].elem, c->operands[i].lanes, "v%u_%c", at, 'a' + i);
        rsrc_kb_load(kb, regs[i], rsrc_address_at(RSR_KBUF_X, slot(at, i)));
    }
    const uint16_t dst = rsrc_kb_reg(kb, c->dst.elem, c->dst.lanes, "v%u_d", at);
    rsrc_kb_ternary(kb, c->kind, dst, regs[0], regs[1], regs[2]);
    struct rsr_kop *op = &kernel->ops[kernel->n_ops - 1];
    op->imm = from_memory ? slot(at, 3) : c->imm;
    op->fimm = c->fimm;
    op->buffer = RSR_KBUF_X;
    rsrc_kb_store(kb, dst, rsrc_address_at(RSR_KBUF_Y, slot(at, 0)));
}

/* Whether the verifier accepts the types and the back end takes the operation. */
static bool accepts(struct suite *suite, const struct rsr_spec *spec,
                    const struct harness_backend *with, const struct op_case *c) {
    struct rsr_kernel kernel;
    struct rsrc_kb kb;
    begin_kernel(suite, &kb, &kernel, spec, "probe");
    append_case(&kb, c, 0);
    FILE *sink = fopen("/dev/null", "w");
    struct rsrc_diag *diag = rsrc_diag_create(sink, false, RSRC_COLOR_NEVER);
    bool accepted = rsrc_verify_kernel(diag, &kernel) == RSRC_OK;
    rsrc_diag_destroy(diag);
    fclose(sink);
    struct rsr_unit unit = {.kind = with->kind, .name = "probe"};
    const char *why = NULL;
    if (!accepted || with->backend->begin(&unit, "probe", spec, &why) != RSRC_OK)
        return false;
    accepted = with->backend->emit(&unit, &kernel, &suite->arena, &why) == RSRC_OK;
    CHECK(accepted || (why != NULL && why[0] != '\0'));
    with->backend->abandon(&unit);
    rsrc_buffer_free(&unit.text);
    return accepted;
}

static bool is_value_op(uint32_t kind) {
    return rsrc_kop_has_result(kind) && kind != RSR_KOP_LOOP && kind != RSR_KOP_PARAM &&
           !rsrc_kop_is_tile(kind);
}

/* Every case of one operation that the back end takes for the target. */
static uint32_t list_cases(struct suite *suite, const struct rsr_spec *spec,
                           const struct harness_backend *with, enum rsr_kop_kind kind,
                           struct op_case *out) {
    const bool converts = kind == RSR_KOP_CONVERT || kind == RSR_KOP_BITCAST;
    uint32_t n = 0;
    for (uint32_t elem = 0; elem < RSR_ELEM_TILE; elem++)
        for (uint32_t lanes = 1; lanes <= 64; lanes *= 2)
            for (uint32_t from = 0; from < (converts ? RSR_ELEM_TILE : 1u); from++) {
                int64_t imms[8];
                struct op_case c = typed_case(kind, elem, lanes, from);
                const uint32_t n_imms = list_immediates(kind, elem, lanes, imms);
                for (uint32_t i = 0; i < n_imms && rsrc_kreg_bytes(&c.dst) <= 64; i++) {
                    c.imm = imms[i];
                    c.fimm = (float[]){0, 1.5f, -0.0f, 1e-40f, -3e38f, 0, 0, 0}[i];
                    if (accepts(suite, spec, with, &c)) {
                        CHECK(n < MAX_CASES);
                        out[n++] = c;
                    }
                }
            }
    return n;
}

/* ---- inputs ---------------------------------------------------------------------------------- */

struct range {
    int64_t low, high;
};

/* Integers that the operation's definition allows for one of its operands. */
static struct range range_of(const struct op_case *c, uint32_t operand, enum rsr_elem elem) {
    const int64_t bits = rsrc_elem_bytes(elem) * 8;
    const bool is_unsigned = rsrc_elem_is_unsigned(elem) || elem == RSR_ELEM_F32;
    const int64_t half = (int64_t)1 << (bits - 2);
    const struct range all = {is_unsigned ? 0 : -half - half,
                              is_unsigned ? (int64_t)(UINT64_MAX >> (64 - bits)) : half - 1 + half};
    switch (c->kind) {
    case RSR_KOP_SHUFFLE16:
        return operand == 0 ? (struct range){0, 15} : all;
    case RSR_KOP_PACK_U8:
        return (struct range){0, 255};
    case RSR_KOP_DOT_U8S8:
    case RSR_KOP_DOT_S8S8:
        return operand == 0 ? (struct range){-half, half} : all;
    case RSR_KOP_MADD_I16:
        return (struct range){-INT16_MAX, INT16_MAX};
    case RSR_KOP_ADD:
    case RSR_KOP_SUB:
    case RSR_KOP_ADD_MEM:
    case RSR_KOP_SUB_MEM:
    case RSR_KOP_ZIP_ADD:
    case RSR_KOP_HALVES_ADD:
        return is_unsigned ? all : (struct range){-half, half - 1};
    case RSR_KOP_MUL:
        return is_unsigned ? all
                           : (struct range){-((int64_t)1 << (bits / 2 - 1)),
                                            ((int64_t)1 << (bits / 2 - 1)) - 1};
    case RSR_KOP_SHL:
        return is_unsigned ? all : (struct range){all.low >> c->imm, all.high >> c->imm};
    default:
        return all;
    }
}

static bool is_float_arithmetic(enum rsr_kop_kind kind) {
    return kind == RSR_KOP_ADD || kind == RSR_KOP_SUB || kind == RSR_KOP_MUL ||
           kind == RSR_KOP_MIN || kind == RSR_KOP_ADD_MEM || kind == RSR_KOP_SUB_MEM ||
           kind == RSR_KOP_FMA;
}

/* No NaN, because the definitions do not say which NaN an operation returns. */
static float random_float(struct suite *suite, uint32_t round) {
    static const float special[] = {0,     -0.0f,    1e-40f,      -1e-45f,
                                    3e38f, -3.4e38f, 16777216.0f, 1.5e-20f};
    const uint64_t r = check_random(&suite->seed);
    if (round < 2 || r % 4 == 0)
        return special[(r >> 8) % (sizeof special / sizeof *special)];
    return (float)(int32_t)(r >> 16) / 3e5f;
}

static void fill_operand(struct suite *suite, const struct op_case *c, uint32_t operand,
                         const struct rsr_kreg *type, uint32_t round, uint8_t *bytes) {
    const uint32_t elem_bytes = rsrc_elem_bytes(type->elem);
    const struct range range = range_of(c, operand, type->elem);
    for (uint32_t i = 0; i < type->lanes; i++) {
        const uint64_t r = check_random(&suite->seed);
        const uint64_t span = (uint64_t)range.high - (uint64_t)range.low;
        uint64_t value = (uint64_t)range.low + (span == UINT64_MAX ? r : r % (span + 1));
        if (round == 0 || (round > 1 && r >> 62 == 0))
            value = (uint64_t)range.low;
        else if (round == 1 || r >> 62 == 1)
            value = (uint64_t)range.high;
        if (type->elem == RSR_ELEM_F32 && is_float_arithmetic(c->kind)) {
            const float number = random_float(suite, round);
            memcpy(&value, &number, sizeof number);
        }
        memcpy(bytes + i * elem_bytes, &value, elem_bytes);
    }
}

/* ---- comparison ------------------------------------------------------------------------------ */

struct op_kernel {
    struct rsr_kernel kernel;
    struct op_case *cases; /* NULL: the inputs are any bytes */
    uint32_t n_cases;
    size_t size_bytes; /* bytes of x, of y and of the scratch memory */
};

static void fill_inputs(struct suite *suite, const struct op_kernel *k, uint32_t round,
                        uint8_t *x) {
    for (size_t i = 0; i < k->size_bytes; i++)
        x[i] = (uint8_t)(check_random(&suite->seed) >> 40);
    for (uint32_t at = 0; at < k->n_cases; at++) {
        const struct op_case *c = &k->cases[at];
        for (uint32_t i = 0; i < rsrc_kop_arity(c->kind); i++)
            fill_operand(suite, c, i, &c->operands[i], round, x + slot(at, i));
        fill_operand(suite, c, 3, &c->dst, round, x + slot(at, 3));
    }
}

static void compare(struct suite *suite, const struct op_kernel *k, rsr_kernel_fn *fn,
                    const char *name) {
    uint8_t *x = aligned_alloc(64, k->size_bytes), *scratch = aligned_alloc(64, k->size_bytes);
    uint8_t *want = calloc(1, k->size_bytes), *got = calloc(1, k->size_bytes);
    const struct rsr_worker worker = {.tile_end = 1, .count = 1, .has_tables = 1};
    for (uint32_t round = 0; round < N_ROUNDS; round++) {
        fill_inputs(suite, k, round, x);
        const struct rsr_weights weights = {.codes = x, .index = x, .scale = (const float *)x};
        memcpy(scratch, x, k->size_bytes);
        test_interpret_kernel(&k->kernel, x, 7, want, 9, round, &weights, &worker, scratch);
        memcpy(scratch, x, k->size_bytes);
        fn(x, 7, got, 9, round, &weights, &worker, scratch);
        size_t at = 0;
        while (at < k->size_bytes && want[at] == got[at])
            at++;
        if (at < k->size_bytes) {
            const struct op_case *c =
                at / SLOT_BYTES / 4 < k->n_cases ? &k->cases[at / SLOT_BYTES / 4] : NULL;
            fprintf(stderr,
                    "%s: %s, round %u: byte %zu (elem %d x %u, imm %lld) is %02x, not %02x\n", name,
                    k->kernel.symbol, round, at, c ? (int)c->dst.elem : -1, c ? c->dst.lanes : 0,
                    c ? (long long)c->imm : 0, got[at], want[at]);
        }
        CHECK(at == k->size_bytes);
    }
    free(x);
    free(scratch);
    free(want);
    free(got);
}

/* ---- control flow, bodies and tiles ---------------------------------------------------------- */

/* Loops in loops, both branches, every parameter, and addresses of several terms. */
static void build_control(struct rsrc_kb *kb) {
    uint16_t params[RSR_KPARAM_COUNT], i64[8];
    for (uint32_t p = 0; p < RSR_KPARAM_COUNT; p++) {
        params[p] = rsrc_kb_reg(kb, RSR_ELEM_I64, 1, "param%u", p);
        rsrc_kb_param(kb, params[p], (enum rsr_kparam)p);
        rsrc_kb_store(kb, params[p], rsrc_address_at(RSR_KBUF_Y, 8 * p));
    }
    for (uint32_t i = 0; i < 8; i++)
        i64[i] = rsrc_kb_reg(kb, RSR_ELEM_I64, 1, "i%u", i);
    rsrc_kb_const(kb, i64[0], 0);
    rsrc_kb_const(kb, i64[1], 10);
    rsrc_kb_const(kb, i64[2], 1000);
    rsrc_kb_loop(kb, i64[3], i64[0], i64[1], 3);
    rsrc_kb_loop(kb, i64[4], i64[3], params[RSR_KPARAM_N_TOKENS], 1);
    rsrc_kb_if_less(kb, i64[3], i64[4]);
    rsrc_kb_binary(kb, RSR_KOP_ADD, i64[2], i64[2], i64[4]);
    rsrc_kb_else(kb);
    rsrc_kb_binary(kb, RSR_KOP_SUB, i64[2], i64[2], i64[1]);
    rsrc_kb_end(kb);
    struct rsrc_address address = rsrc_address_at(RSR_KBUF_Y, 64);
    address = rsrc_address_plus(rsrc_address_plus(address, i64[3], 64), i64[4], 8);
    rsrc_kb_store(kb, i64[2], address);
    rsrc_kb_prefetch(kb, rsrc_address_offset(address, -100000));
    rsrc_kb_end(kb);
    rsrc_kb_end(kb);
}

/* Calls every body, not in the order of their numbers, and the last one twice. */
static void build_bodies(struct rsrc_kb *kb) {
    const uint16_t sum = rsrc_kb_body_reg(kb, RSR_ELEM_I16, 8, "sum");
    const uint16_t wide = rsrc_kb_body_reg(kb, RSR_ELEM_U16, 8, "wide");
    for (int64_t b = 0; b < 5; b++) {
        rsrc_kb_body_begin(kb);
        rsrc_kb_comment(kb, "body %d", (int)b);
        rsrc_kb_load(kb, wide, rsrc_address_at(RSR_KBUF_COLUMNS, 16 * b));
        rsrc_kb_binary_memory(kb, RSR_KOP_ADD_MEM, wide, wide,
                              rsrc_address_at(RSR_KBUF_COLUMNS, 16 * b + 33));
        rsrc_kb_binary_memory(kb, RSR_KOP_SUB_MEM, wide, wide,
                              rsrc_address_at(RSR_KBUF_SUMS, 16 * b));
        rsrc_kb_unary(kb, RSR_KOP_BITCAST, sum, wide);
        rsrc_kb_immediate(kb, RSR_KOP_SHR, sum, sum, b);
        rsrc_kb_store(kb, sum, rsrc_address_at(RSR_KBUF_SUMS, 16 * b));
        CHECK_INT(rsrc_kb_body_end(kb), b);
    }
    const uint16_t number = rsrc_kb_reg(kb, RSR_ELEM_I64, 1, "number");
    const uint16_t columns = rsrc_kb_reg(kb, RSR_ELEM_I64, 1, "columns_at");
    const uint16_t sums = rsrc_kb_reg(kb, RSR_ELEM_I64, 1, "sums_at");
    const uint16_t value = rsrc_kb_reg(kb, RSR_ELEM_U8, 16, "value");
    rsrc_kb_const(kb, columns, 3);
    rsrc_kb_const(kb, sums, 256);
    for (uint32_t i = 0; i < 6; i++) {
        rsrc_kb_const(kb, number, (int64_t[]){3, 0, 4, 1, 2, 4}[i]);
        rsrc_kb_call(kb, number, columns, sums);
    }
    for (uint32_t i = 0; i < 5; i++) {
        rsrc_kb_load(kb, value, rsrc_address_at(RSR_KBUF_SCRATCH, 256 + 16 * i));
        rsrc_kb_store(kb, value, rsrc_address_at(RSR_KBUF_Y, 16 * i));
    }
}

/* Uses all eight tiles, products that are added to small numbers (sums do not overflow), and
 * strides of 0, of one row and of more. */
static void build_tiles(struct rsrc_kb *kb) {
    uint16_t tiles[RSRC_MAX_TILES];
    const uint16_t stride = rsrc_kb_reg(kb, RSR_ELEM_I64, 1, "stride");
    const uint16_t wide = rsrc_kb_reg(kb, RSR_ELEM_I64, 1, "wide_stride");
    const uint16_t same = rsrc_kb_reg(kb, RSR_ELEM_I64, 1, "same_row");
    const uint16_t start = rsrc_kb_reg(kb, RSR_ELEM_I32, 16, "start");
    for (uint32_t i = 0; i < RSRC_MAX_TILES; i++)
        tiles[i] = rsrc_kb_reg(kb, RSR_ELEM_TILE, 1, "tile%u", i);
    rsrc_kb_const(kb, stride, 64);
    rsrc_kb_const(kb, wide, 80);
    rsrc_kb_const(kb, same, 0);
    rsrc_kb_const(kb, start, 3);
    rsrc_kb_store(kb, start, rsrc_address_at(RSR_KBUF_SCRATCH, 0));
    rsrc_kb_tile_begin(kb);
    for (uint32_t i = 0; i < 4; i++)
        rsrc_kb_tile_load(kb, tiles[i], rsrc_address_at(RSR_KBUF_SCRATCH, 0), same);
    for (uint32_t i = 4; i < RSRC_MAX_TILES; i++)
        rsrc_kb_tile_load(kb, tiles[i], rsrc_address_at(RSR_KBUF_X, 1024 * (i - 4)),
                          i % 2 == 0 ? stride : wide);
    for (uint32_t i = 0; i < 8; i++)
        rsrc_kb_ternary(kb, RSR_KOP_TILE_DOT_S8S8, tiles[i % 4], tiles[i % 4], tiles[4 + i % 2],
                        tiles[6 + i / 4]);
    for (uint32_t i = 0; i < RSRC_MAX_TILES; i++)
        rsrc_kb_tile_store(kb, tiles[i], rsrc_address_at(RSR_KBUF_Y, 1300 * i),
                           i % 3 == 0 ? wide : stride);
    rsrc_kb_tile_end(kb);
}

static void add_structured(struct suite *suite, struct op_kernel *kernels, uint32_t *n,
                           const struct rsr_spec *spec, const char *name,
                           void (*build)(struct rsrc_kb *kb)) {
    struct op_kernel *k = &kernels[(*n)++];
    struct rsrc_kb kb;
    *k = (struct op_kernel){.size_bytes = 16384};
    begin_kernel(suite, &kb, &k->kernel, spec, name);
    build(&kb);
    rsrc_kb_finish(&kb);
}

/* ---- what targets must have ------------------------------------------------------------------ */

/* Instructions that lowering relies on. Without them it would silently choose a slower way. */
static const struct {
    const char *spec;
    enum rsr_kop_kind kind;
    enum rsr_elem elem;
    uint32_t lanes;
} required[] = {
    {"generic", RSR_KOP_ZIP_LOW, RSR_ELEM_U8, 16},
    {"generic", RSR_KOP_ZIP_HIGH, RSR_ELEM_U16, 8},
    {"generic", RSR_KOP_ZIP_LOW, RSR_ELEM_U32, 4},
    {"generic", RSR_KOP_PACK_U8, RSR_ELEM_U8, 16},
    {"generic", RSR_KOP_SPREAD_BIT, RSR_ELEM_U8, 16},
    {"ssse3", RSR_KOP_SHUFFLE16, RSR_ELEM_U8, 16},
    {"avx2", RSR_KOP_SHUFFLE16, RSR_ELEM_U8, 32},
    {"avx2", RSR_KOP_LOAD_LANES, RSR_ELEM_U8, 32},
    {"avx2", RSR_KOP_ZIP_HIGH, RSR_ELEM_U8, 32},
    {"avx2", RSR_KOP_ZIP_LOW, RSR_ELEM_U16, 16},
    {"avx2", RSR_KOP_MADD_U8S8, RSR_ELEM_I16, 16},
    {"avx512bw", RSR_KOP_SHUFFLE16, RSR_ELEM_U8, 64},
    {"avx512bw", RSR_KOP_TABLE, RSR_ELEM_F32, 16},
    {"avx512bw", RSR_KOP_TABLE2, RSR_ELEM_F32, 16},
    {"avx512bw", RSR_KOP_FMA, RSR_ELEM_F32, 16},
    {"avx512", RSR_KOP_DOT_U8S8, RSR_ELEM_I32, 16},
    {"avx512vbmi", RSR_KOP_TABLE2, RSR_ELEM_U8, 64},
    {"avx512vbmi", RSR_KOP_MIRROR, RSR_ELEM_U8, 64},
    {"avx512vbmi", RSR_KOP_ZIP_HIGH, RSR_ELEM_U8, 64},
    {"avx512vbmi", RSR_KOP_SPREAD_BIT, RSR_ELEM_U8, 64},
    {"avxvnniint8", RSR_KOP_DOT_U8S8, RSR_ELEM_I32, 8},
    {"avxvnniint8", RSR_KOP_DOT_S8S8, RSR_ELEM_I32, 8},
};

static void check_required(const struct rsr_spec *spec, const struct harness_backend *with,
                           const struct op_kernel *kernels, uint32_t n_kernels) {
    for (size_t r = 0; r < sizeof required / sizeof *required; r++) {
        if (strcmp(required[r].spec, spec->name) != 0)
            continue;
        bool found = false;
        for (uint32_t k = 0; k < n_kernels; k++)
            for (uint32_t i = 0; i < kernels[k].n_cases; i++) {
                const struct op_case *c = &kernels[k].cases[i];
                found |= c->kind == required[r].kind && c->dst.elem == required[r].elem &&
                         c->dst.lanes == required[r].lanes;
            }
        /* GCC 12 has no intrinsic for it. */
        const bool left_to_llvm = required[r].kind == RSR_KOP_DOT_S8S8 && with->kind == RSR_UNIT_C;
        CHECK(found != left_to_llvm);
    }
}

/* ---- one target ------------------------------------------------------------------------------ */

static uint32_t build_kernels(struct suite *suite, const struct rsr_spec *spec,
                              const struct harness_backend *with, struct op_kernel *kernels) {
    static const char *const names[RSR_KOP_COUNT] = {
#define X(name, arity, help) [RSR_KOP_##name] = #name,
        RSR_KOPS(X)
#undef X
    };
    uint32_t n = 0;
    for (uint32_t kind = 0; kind < RSR_KOP_COUNT; kind++) {
        struct op_kernel *k = &kernels[n];
        struct op_case *cases = RSRC_NEW_ARRAY(&suite->arena, MAX_CASES, struct op_case);
        const uint32_t n_cases =
            is_value_op(kind) ? list_cases(suite, spec, with, (enum rsr_kop_kind)kind, cases) : 0;
        if (n_cases == 0)
            continue;
        *k = (struct op_kernel){.cases = cases, .n_cases = n_cases};
        k->size_bytes = (size_t)((slot(n_cases, 0) + 255) / 64 * 64);
        struct rsrc_kb kb;
        begin_kernel(suite, &kb, &k->kernel, spec, names[kind]);
        for (uint32_t i = 0; i < n_cases; i++)
            append_case(&kb, &cases[i], i);
        rsrc_kb_finish(&kb);
        n++;
    }
    check_required(spec, with, kernels, n);
    add_structured(suite, kernels, &n, spec, "control", build_control);
    add_structured(suite, kernels, &n, spec, "bodies", build_bodies);
    if ((spec->cpu_features & F(AMX_INT8)) != 0)
        add_structured(suite, kernels, &n, spec, "tiles", build_tiles);
    return n;
}

static const char *emit_kernels(struct suite *suite, const struct op_kernel *kernels,
                                uint32_t n_kernels, const struct rsr_spec *spec,
                                const struct harness_backend *with, const char *name) {
    struct rsr_unit unit = {.kind = with->kind, .name = name, .opt_level = 2};
    const char *why = "";
    CHECK_INT(with->backend->begin(&unit, name, spec, &why), RSRC_OK);
    for (uint32_t i = 0; i < n_kernels; i++) {
        CHECK_INT(rsrc_verify_kernel(suite->diag, &kernels[i].kernel), RSRC_OK);
        CHECK_INT(with->backend->emit(&unit, &kernels[i].kernel, &suite->arena, &why), RSRC_OK);
        CHECK_STR(why, "");
    }
    CHECK_INT(with->backend->finish(&unit, &suite->arena, &why), RSRC_OK);
    const char *path = write_test_file(suite, &unit.text, name, with->suffix);
    rsrc_buffer_free(&unit.text);
    return path;
}

/* Compiles the unit, with a table of its kernels, to a library. */
static const char *make_library(struct suite *suite, const struct op_kernel *kernels,
                                uint32_t n_kernels, const struct harness_backend *with,
                                const char *unit) {
    struct test_case *table[RSR_KOP_COUNT + 4];
    for (uint32_t i = 0; i < n_kernels; i++) {
        table[i] = RSRC_NEW(&suite->arena, struct test_case);
        table[i]->lowered.kernel = kernels[i].kernel;
    }
    const char *object = unit;
    if (with->kind == RSR_UNIT_C) {
        object = rsrc_arena_printf(&suite->arena, "%s.o", unit);
        CHECK(compile(suite, "cc", unit, "-c", object, NULL));
    }
    const char *library = rsrc_arena_printf(&suite->arena, "%s.so", unit);
    const char *base = strrchr(unit, '/') + 1;
    const char *source = write_table(suite, table, n_kernels, base);
    return compile(suite, "cc", source, "-shared", library, object) ? library : NULL;
}

static void test_target(struct suite *suite, const struct rsr_spec *spec,
                        const struct harness_backend *with) {
    if (!host_supports(spec) && !host_emulates(spec)) {
        fprintf(stderr, "SKIPPED: operations of '%s': this CPU lacks its features\n", spec->name);
        return;
    }
    static struct op_kernel kernels[RSR_KOP_COUNT + 4];
    const uint32_t n_kernels = build_kernels(suite, spec, with, kernels);
    const char *name = rsrc_arena_printf(&suite->arena, "%s_%s", spec->name, with->backend->name);
    const char *unit = emit_kernels(suite, kernels, n_kernels, spec, with, name);
    if (!is_compiled(with))
        return;
    const char *library = make_library(suite, kernels, n_kernels, with, unit);
    void *handle = library != NULL ? dlopen(library, RTLD_NOW) : NULL;
    rsr_kernel_fn *const *functions = handle != NULL ? dlsym(handle, "test_kernels") : NULL;
    CHECK(functions != NULL);
    for (uint32_t i = 0; functions != NULL && i < n_kernels; i++)
        compare(suite, &kernels[i], functions[i], name);
    if (handle != NULL)
        dlclose(handle);
}

/* Kernels that cannot run here must at least compile. */
static void test_cross_compile(struct suite *suite) {
    static const struct rsr_spec neon = {.name = "neon_all",
                                         .triple = "aarch64-linux-gnu",
                                         .cpu = "generic",
                                         .vector_bits = 128,
                                         .cpu_features = F(NEON) | F(DOTPROD) | F(I8MM)};
    static struct op_kernel kernels[RSR_KOP_COUNT + 4];
    const struct harness_backend *c = &harness_backends[0];
    const char *compiler = "aarch64-linux-gnu-gcc";
    const uint32_t n_kernels = build_kernels(suite, &neon, c, kernels);
    const char *unit = emit_kernels(suite, kernels, n_kernels, &neon, c, neon.name);
    if (!is_compiled(c))
        return;
    if (rsrc_find_program(&suite->arena, compiler) == NULL) {
        fprintf(stderr, "SKIPPED: compiling for AArch64: no %s\n", compiler);
        return;
    }
    const char *object = rsrc_arena_printf(&suite->arena, "%s.o", unit);
    CHECK(compile(suite, compiler, unit, "-c", object, NULL));
}

int main(void) {
    static const struct rsr_spec amx = {.name = "amx",
                                        .triple = X86_TRIPLE,
                                        .cpu = "sapphirerapids",
                                        .vector_bits = 512,
                                        .cpu_features = F(SSSE3) | AVX512 | F(AVX512VNNI) |
                                                        F(AMX_TILE) | F(AMX_INT8)};
    struct suite suite;
    suite_begin(&suite, "test_kernel_ops", 20261121);
    for (size_t b = 0; b < N_BACKENDS; b++) {
        for (size_t s = 0; s < N_SPECS; s++)
            if (strcmp(specs[s].triple, X86_TRIPLE) == 0)
                test_target(&suite, &specs[s], &harness_backends[b]);
        test_target(&suite, &amx, &harness_backends[b]);
    }
    test_cross_compile(&suite);
    suite_end(&suite);
    return CHECK_EXIT();
}
