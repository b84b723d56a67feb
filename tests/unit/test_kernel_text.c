/* test_kernel_text.c - printed kernels parse back to equal kernels, and damaged text is refused
 * with a place. */
#include "kernel_harness.h"
#include "kernel/kernel_builder.h"
#include "text_damage.h"

/* ---- kernels that hold every form of line ---------------------------------------------------- */

static const struct rsr_spec amx = {.name = "amx \"quoted\"\n",
                                    .triple = X86_TRIPLE,
                                    .cpu = "sapphirerapids",
                                    .cpu_features = F(AVX2) | F(AMX_TILE) | F(AMX_INT8)};

static void append_vectors(struct rsrc_kb *kb) {
    const uint16_t bytes = rsrc_kb_reg(kb, RSR_ELEM_U8, 32, "bytes");
    const uint16_t bits = rsrc_kb_reg(kb, RSR_ELEM_U32, 1, "bits");
    const uint16_t number = rsrc_kb_reg(kb, RSR_ELEM_F32, 8, "number");
    const uint16_t same = rsrc_kb_reg(kb, RSR_ELEM_F32, 8, "same");
    rsrc_kb_load_lanes(kb, bytes, rsrc_address_at(RSR_KBUF_CODES, -3));
    rsrc_kb_immediate(kb, RSR_KOP_SPREAD_BIT, bytes, bytes, 7);
    rsrc_kb_binary(kb, RSR_KOP_SHUFFLE16, bytes, bytes, bytes);
    rsrc_kb_zip_add(kb, bytes, bytes, bytes, 2);
    rsrc_kb_binary_memory(kb, RSR_KOP_SUB_MEM, bytes, bytes, rsrc_address_at(RSR_KBUF_INDEX, 9));
    rsrc_kb_const(kb, bits, 0x80000000);
    rsrc_kb_const_f32(kb, number, -0.0f);
    rsrc_kb_const_f32(kb, same, 1.17549435e-38f);
    rsrc_kb_binary(kb, RSR_KOP_XOR, number, number, same);
    rsrc_kb_store(kb, number, rsrc_address_at(RSR_KBUF_SCRATCH, 64));
    rsrc_kb_store(kb, bytes, rsrc_address_at(RSR_KBUF_SCRATCH, 128));
    rsrc_kb_store(kb, bits, rsrc_address_at(RSR_KBUF_SCRATCH, 0));
}

static void append_tiles(struct rsrc_kb *kb, uint16_t stride) {
    uint16_t tiles[3];
    for (uint32_t i = 0; i < 3; i++)
        tiles[i] = rsrc_kb_reg(kb, RSR_ELEM_TILE, 1, "tile%u", i);
    rsrc_kb_tile_begin(kb);
    rsrc_kb_tile_load(kb, tiles[0], rsrc_address_at(RSR_KBUF_SCRATCH, 0), stride);
    rsrc_kb_tile_load(kb, tiles[1], rsrc_address_at(RSR_KBUF_X, 64), stride);
    rsrc_kb_tile_load(kb, tiles[2], rsrc_address_at(RSR_KBUF_CODES, 0), stride);
    rsrc_kb_ternary(kb, RSR_KOP_TILE_DOT_S8S8, tiles[0], tiles[0], tiles[1], tiles[2]);
    rsrc_kb_tile_store(kb, tiles[0], rsrc_address_at(RSR_KBUF_SCRATCH, 0), stride);
    rsrc_kb_tile_end(kb);
}

static void append_bodies(struct rsrc_kb *kb) {
    const uint16_t sum = rsrc_kb_body_reg(kb, RSR_ELEM_I16, 16, "sum");
    rsrc_kb_body_begin(kb);
    rsrc_kb_comment(kb, "rows 0 .. 3 */ \"quoted\" \\ # \x1b");
    rsrc_kb_load(kb, sum, rsrc_address_at(RSR_KBUF_COLUMNS, 0));
    rsrc_kb_binary_memory(kb, RSR_KOP_ADD_MEM, sum, sum, rsrc_address_at(RSR_KBUF_COLUMNS, 32));
    rsrc_kb_store(kb, sum, rsrc_address_at(RSR_KBUF_SUMS, 0));
    rsrc_kb_body_end(kb);
    rsrc_kb_body_begin(kb);
    rsrc_kb_body_end(kb);
}

static void build_all_forms(struct rsrc_arena *arena, struct rsr_kernel *kernel) {
    *kernel = (struct rsr_kernel){.symbol = "rsr_All_forms",
                                  .key = "key",
                                  .title = "a title */ \n#error \"\\ \xc3\xa9",
                                  .reason = "one sentence ?"
                                            "?/",
                                  .spec = &amx,
                                  .variant = RSR_VARIANT_FOLD,
                                  .input = RSR_INPUT_F32,
                                  .epilogue = RSR_EPILOGUE_RAW,
                                  .rows = 30,
                                  .cols = 7,
                                  .computed_rows = 20,
                                  .tile_rows = 8,
                                  .n_tiles = 3,
                                  .scratch_bytes = 4096};
    struct rsrc_kb kb;
    rsrc_kb_init(&kb, arena, kernel);
    uint16_t i64[6];
    for (uint32_t i = 0; i < 6; i++)
        i64[i] = rsrc_kb_reg(&kb, RSR_ELEM_I64, 1, "i%u", i);
    rsrc_kb_param(&kb, i64[0], RSR_KPARAM_TILE_BEGIN);
    rsrc_kb_param(&kb, i64[1], RSR_KPARAM_TILE_END);
    rsrc_kb_const(&kb, i64[2], INT64_MIN);
    rsrc_kb_loop(&kb, i64[3], i64[0], i64[1], 2);
    rsrc_kb_if_less(&kb, i64[2], i64[3]);
    struct rsrc_address address = rsrc_address_at(RSR_KBUF_X, -64);
    address = rsrc_address_plus(rsrc_address_plus(address, i64[3], -8), i64[0], 512);
    rsrc_kb_prefetch(&kb, rsrc_address_plus(address, i64[1], INT64_MAX));
    rsrc_kb_else(&kb);
    rsrc_kb_call(&kb, i64[0], i64[1], i64[2]);
    rsrc_kb_end(&kb);
    rsrc_kb_end(&kb);
    append_vectors(&kb);
    append_tiles(&kb, i64[0]);
    append_bodies(&kb);
    rsrc_kb_finish(&kb);
}

/* ---- round trips ----------------------------------------------------------------------------- */

static void check_regs(const struct rsr_kreg *a, const struct rsr_kreg *b, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        CHECK_STR(a[i].name, b[i].name);
        CHECK(a[i].elem == b[i].elem && a[i].lanes == b[i].lanes);
    }
}

static bool same_op(const struct rsr_kop *a, const struct rsr_kop *b) {
    struct rsr_kop left = *a, right = *b;
    const bool is_float = memcmp(&left.fimm, &right.fimm, sizeof left.fimm) == 0;
    left.fimm = right.fimm = 0;
    left.text = right.text = NULL;
    const bool text = a->kind != RSR_KOP_COMMENT || strcmp(a->text, b->text) == 0;
    return is_float && text && memcmp(&left, &right, sizeof left) == 0;
}

static void check_ops(const struct rsr_kop *a, const struct rsr_kop *b, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        CHECK(same_op(&a[i], &b[i]));
}

static void check_same(const struct rsr_kernel *a, const struct rsr_kernel *b) {
    CHECK_STR(b->symbol, a->symbol);
    CHECK_STR(b->key, a->key);
    CHECK_STR(b->title, a->title);
    CHECK_STR(b->reason, a->reason);
    CHECK(a->variant == b->variant && a->input == b->input && a->epilogue == b->epilogue);
    CHECK(a->rows == b->rows && a->cols == b->cols && a->computed_rows == b->computed_rows);
    CHECK(a->tile_rows == b->tile_rows && a->n_tiles == b->n_tiles);
    CHECK(a->scratch_bytes == b->scratch_bytes && a->extern_bodies == b->extern_bodies);
    CHECK_INT(b->n_regs, a->n_regs);
    CHECK_INT(b->n_ops, a->n_ops);
    CHECK_INT(b->n_body_regs, a->n_body_regs);
    CHECK_INT(b->n_bodies, a->n_bodies);
    if (check_failures != 0)
        return;
    check_regs(a->regs, b->regs, a->n_regs);
    check_regs(a->body_regs, b->body_regs, a->n_body_regs);
    check_ops(a->ops, b->ops, a->n_ops);
    for (uint32_t i = 0; i < a->n_bodies; i++) {
        CHECK_INT(b->bodies[i].n_ops, a->bodies[i].n_ops);
        check_ops(a->bodies[i].ops, b->bodies[i].ops, a->bodies[i].n_ops);
    }
}

static void check_round_trip(struct rsrc_arena *arena, struct rsrc_diag *diag,
                             const struct rsr_kernel *kernel) {
    struct rsrc_buffer first = {0}, second = {0};
    struct rsr_parsed_kernel *parsed;
    uint32_t n;
    rsrc_print_kernel(kernel, &first);
    rsrc_print_kernel(kernel, &first); /* several follow each other */
    CHECK_INT(rsrc_parse_kernels(diag, arena, "k", first.data, first.size_bytes, &parsed, &n),
              RSRC_OK);
    CHECK_INT(n, 2);
    for (uint32_t i = 0; check_failures == 0 && i < n; i++) {
        CHECK_STR(parsed[i].target, kernel->spec->name);
        check_same(kernel, &parsed[i].kernel);
        parsed[i].kernel.spec = kernel->spec;
        rsrc_print_kernel(&parsed[i].kernel, &second);
    }
    if (check_failures == 0)
        CHECK_STR(second.data, first.data);
    rsrc_buffer_free(&first);
    rsrc_buffer_free(&second);
}

static void test_lowered(struct suite *suite) {
    const struct shape shape = {37, 300, 8};
    for (size_t s = 0; s < N_SPECS; s++)
        for (int variant = 0; variant < 2; variant++) {
            struct test_case *c =
                make_case(suite, &shape, RSR_TERNARY,
                          variant != 0 ? RSR_EPILOGUE_RAW : RSR_EPILOGUE_SCALE, variant != 0);
            if (variant != 0) {
                c->plan.kernel = RSR_KERNEL_SCATTER;
                c->plan.k = 4;
            }
            lower_case(suite, c, &specs[s], (uint32_t)s);
            check_round_trip(&suite->arena, suite->diag, &c->lowered.kernel);
        }
}

/* ---- damage ---------------------------------------------------------------------------------- */

static enum rsrc_status parse(struct rsrc_diag *diag, struct rsrc_arena *arena, const char *text,
                              size_t size_bytes) {
    struct rsr_parsed_kernel *parsed;
    uint32_t n;
    return rsrc_parse_kernels(diag, arena, "k.txt", text, size_bytes, &parsed, &n);
}

/* After `from` is replaced by `to`, the diagnostic is at `place`. */
static void expect_refused(const char *text, const char *from, const char *to, const char *place,
                           const char *message) {
    expect_damage_refused(parse, text, from, to, place, message);
}

static void test_refusals(const char *text) {
    expect_refused(text, "kernels 1", "kernels 2", "k.txt:1:9", "expected '1'");
    expect_refused(text, "fold", "folb", "k.txt:2:", "did you mean 'fold'?");
    expect_refused(text, "30 x 7", "0 x 7", "k.txt:2:", "rows is 0");
    expect_refused(text, "bodies 2", "bodies 99999", "k.txt:6:", "99999 bodies do not follow");
    expect_refused(text, "v32u8 bytes", "v33u8 bytes", "k.txt:", "'bytes' has another type");
    expect_refused(text, "v32u8 bytes", "v32u9 bytes", "k.txt:8:", "'v32u9' is no type");
    expect_refused(text, " i5", " i4", "k.txt:7:", "register 'i4' is there twice");
    expect_refused(text, "= param tile_end", "= param tile_endd",
                   "k.txt:", "did you mean 'tile_end'");
    expect_refused(text, "i64 i2 = const", "i64 i9 = const",
                   "k.txt:", "no register is called 'i9'");
    expect_refused(text, "i64 i2 = const", "i32 i2 = const", "k.txt:", "'i2' has another type");
    expect_refused(text, "-9223372036854775808", "-9223372036854775809", "k.txt:", "too large");
    expect_refused(text, "= spread_bit", "= spread_bits", "k.txt:", "did you mean 'spread_bit'");
    expect_refused(text, "= spread_bit", "= store", "k.txt:", "'store' has no result");
    expect_refused(text, "+ i0*512", "+ i0*512 + i0*1 + i1*1", "k.txt:", "at most three terms");
    expect_refused(text, "codes[-3]", "code[-3]", "k.txt:", "did you mean 'codes'");
    expect_refused(text, "= const -0", "= const inf", "k.txt:", "no finite number");
    expect_refused(text, " i5", " int", "k.txt:2:1:", "register name is a word of C");
    expect_refused(text, " i5", " v16i32", "k.txt:2:1:", "register name is a word of C");
    expect_refused(text, " i5", " codes", "k.txt:2:1:", "register name is a word of C");
    expect_refused(text, " i5", " I5", "k.txt:2:1:", "register name is no identifier");
    expect_refused(text, "20 computed", "31 computed", "k.txt:2:1:", "tiles do not cover the rows");
    expect_refused(text, "step 2", "step 0", "k.txt:17:5:", "step is not positive");
    expect_refused(text, "    tile_end\n", "", "  body 0\n", "TILE_BEGIN without TILE_END");
    expect_refused(text, "store sums[0], sum", "store y[0], sum", "store y[0], sum\n",
                   "a body has columns and sums alone");
    expect_refused(text, "end kernel", "", "k.txt:", "'end kernel' is missing");
}

int main(void) {
    struct suite suite;
    suite_begin(&suite, "test_kernel_text", 20261122);
    struct rsr_kernel kernel;
    build_all_forms(&suite.arena, &kernel);
    check_round_trip(&suite.arena, suite.diag, &kernel);
    test_lowered(&suite);
    struct rsrc_buffer text = {0};
    rsrc_print_kernel(&kernel, &text);
    test_refusals(text.data);
    check_any_damage(parse, text.data, 7);
    rsrc_buffer_free(&text);
    suite_end(&suite);
    return CHECK_EXIT();
}
