/* test_kernels.c - `dot` and `scatter` in every alphabet and on every kind of machine against
 * 64-bit sums (kernel_harness.h), and rules for kernels of any variant: keys, text, verifier,
 * refusals. */
#include "kernel_harness.h"

static const struct shape shapes[] = {{1, 1, 4},     {1, 300, 8},    {37, 1, 8},     {5, 5460, 4},
                                      {64, 512, 16}, {100, 100, 32}, {641, 257, 64}, {8, 9000, 4}};
#define N_SHAPES (sizeof shapes / sizeof *shapes)
#define BEST_DOT_SPEC (&specs[7])

static void test_dot(struct suite *suite, const struct rsr_spec *spec) {
    struct test_case *cases[N_SHAPES * 3];
    uint32_t n = 0;
    for (uint32_t s = 0; s < N_SHAPES; s++)
        for (uint32_t alphabet = RSR_TERNARY; alphabet <= RSR_BINARY_BIT; alphabet++)
            if ((s + alphabet + spec - specs) % 2 == 0) { /* half of the cases, to save compiling */
                cases[n] =
                    make_case(suite, &shapes[s], (enum rsr_alphabet)alphabet,
                              n % 2 == 0 ? RSR_EPILOGUE_RAW : RSR_EPILOGUE_SCALE, n % 4 == 1);
                n++;
            }
    run_cases(suite, cases, n, spec, rsrc_arena_printf(&suite->arena, "dot_%s", spec->name));
}

static void test_scatter(struct suite *suite) {
    static const struct {
        struct shape shape;
        uint32_t k;
        enum rsr_fold_kind fold;
    } settings[] = {{{1, 1, 1}, 1, RSR_FOLD_TREE},        {{7, 40, 3}, 3, RSR_FOLD_TREE},
                    {{3, 200, 8}, 5, RSR_FOLD_TREE},      {{37, 1, 8}, 4, RSR_FOLD_DIRECT},
                    {{641, 257, 64}, 5, RSR_FOLD_TREE},   {{64, 512, 16}, 8, RSR_FOLD_TREE},
                    {{50, 300, 20}, 16, RSR_FOLD_DIRECT}, {{3, 66000, 4}, 2, RSR_FOLD_TREE},
                    {{23, 5460, 8}, 7, RSR_FOLD_DIRECT}};
    struct test_case *cases[3 * sizeof settings / sizeof *settings];
    uint32_t n = 0;
    for (uint32_t s = 0; s < sizeof settings / sizeof *settings; s++)
        for (uint32_t alphabet = RSR_TERNARY; alphabet <= RSR_BINARY_BIT; alphabet++, n++) {
            cases[n] = make_case(suite, &settings[s].shape, (enum rsr_alphabet)alphabet,
                                 n % 2 == 0 ? RSR_EPILOGUE_RAW : RSR_EPILOGUE_SCALE, n % 4 == 1);
            cases[n]->plan.kernel = RSR_KERNEL_SCATTER;
            cases[n]->plan.k = settings[s].k;
            cases[n]->plan.fold = settings[s].fold;
        }
    run_cases(suite, cases, n, &specs[0], "scatter");
}

/* Every installed compiler accepts the kernels of every target without a warning. */
static void test_compilers(struct suite *suite) {
    static const char *const compilers[] = {"gcc", "gcc-12", "clang", "clang-14", "clang-19"};
    const struct shape shape = {10, 700, 4};
    const char *sources[N_SPECS];
    for (uint32_t s = 0; s < N_SPECS; s++) {
        struct test_case *cases[2];
        for (uint32_t i = 0; i < 2; i++) {
            cases[i] = make_case(suite, &shape, RSR_TERNARY, RSR_EPILOGUE_SCALE, s % 3 == 1);
            cases[i]->plan.kernel = i == 0 ? RSR_KERNEL_DOT : RSR_KERNEL_SCATTER;
            cases[i]->plan.k = 4;
            cases[i]->plan.fold = s % 2 == 0 ? RSR_FOLD_DIRECT : RSR_FOLD_TREE;
            lower_case(suite, cases[i], &specs[s], i);
        }
        sources[s] = emit_cases(suite, cases, 2, &specs[s], &harness_backends[0],
                                rsrc_arena_printf(&suite->arena, "compilers_%u", s));
    }
    if (!is_compiled(&harness_backends[0]))
        return;
    uint32_t n_found = 0;
    for (size_t i = 0; i < sizeof compilers / sizeof *compilers; i++) {
        if (rsrc_find_program(&suite->arena, compilers[i]) == NULL) {
            fprintf(stderr, "SKIPPED: compiling with %s: not found\n", compilers[i]);
            continue;
        }
        n_found++;
        for (uint32_t s = 0; s < N_SPECS; s++)
            CHECK(compile(suite, compilers[i], sources[s], "-c",
                          rsrc_arena_printf(&suite->arena, "%s.o", sources[s]), NULL));
    }
    CHECK(n_found > 0);
}

/* ---- keys, text, determinism ----------------------------------------------------------------- */

static const char *emit_text(struct suite *suite, const struct test_case *c) {
    struct rsr_unit unit = {0};
    const char *why = "";
    CHECK_INT(rsrc_backend_c.emit(&unit, &c->lowered.kernel, &suite->arena, &why), RSRC_OK);
    const char *text = rsrc_arena_strdup(&suite->arena, unit.text.data);
    rsrc_buffer_free(&unit.text);
    return text;
}

static void test_keys(struct suite *suite) {
    const struct shape shape = {64, 512, 16};
    const struct rsr_spec *spec = BEST_DOT_SPEC;
    struct test_case *a = make_case(suite, &shape, RSR_TERNARY, RSR_EPILOGUE_SCALE, false);
    struct test_case *b = make_case(suite, &shape, RSR_TERNARY, RSR_EPILOGUE_SCALE, false);
    struct test_case *c = make_case(suite, &shape, RSR_TERNARY, RSR_EPILOGUE_SCALE, true);
    lower_case(suite, a, spec, 1);
    lower_case(suite, b, spec, 1);
    lower_case(suite, c, spec, 1);
    CHECK_STR(a->lowered.kernel.key, b->lowered.kernel.key);
    CHECK_STR(emit_text(suite, a), emit_text(suite, b));
    CHECK(strcmp(a->lowered.kernel.key, c->lowered.kernel.key) != 0);
    CHECK(strcmp(emit_text(suite, a), emit_text(suite, c)) != 0);
    CHECK(memcmp(a->lowered.codes.hash, b->lowered.codes.hash, 16) != 0);
    CHECK_STR(a->lowered.kernel.symbol, "rsr_t1_dot_avx512");
    CHECK_STR(a->lowered.codes.symbol, "rsr_w_t1_dot_codes");
    CHECK_INT(a->lowered.codes.size_bytes, 64 * 512 / 4);
}

static void test_text(struct suite *suite) {
    const struct shape shape = {64, 512, 16};
    struct test_case *c = make_case(suite, &shape, RSR_TERNARY, RSR_EPILOGUE_RAW, false);
    lower_case(suite, c, BEST_DOT_SPEC, 1);
    struct rsrc_buffer text = {0};
    rsrc_print_kernel(&c->lowered.kernel, &text);
    CHECK(strstr(text.data, "kernel rsr_t1_dot_avx512: dot, 64 x 512, raw, 4 tiles of 16 rows") !=
          NULL);
    CHECK(strstr(text.data, "quad: loop first_quad .. end_quad step 1\n") != NULL);
    CHECK(strstr(text.data, "dot_u8s8 acc0_p0, code, x0\n") != NULL);
    rsrc_buffer_free(&text);
}

/* ---- the verifier catches what it promises --------------------------------------------------- */

static void expect_invalid(const struct rsr_kernel *kernel, const char *problem) {
    char *message = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&message, &size);
    struct rsrc_diag *diag = rsrc_diag_create(stream, false, RSRC_COLOR_NEVER);
    CHECK_INT(rsrc_verify_kernel(diag, kernel), RSRC_FAILED);
    rsrc_diag_destroy(diag);
    fclose(stream);
    if (strstr(message, problem) == NULL)
        fprintf(stderr, "got: %s\nnot: %s\n", message, problem);
    CHECK(strstr(message, problem) != NULL);
    CHECK(strstr(message, "kernel-invalid") != NULL);
    free(message);
}

/* The first operation of a kind. */
static struct rsr_kop *find_op(const struct rsr_kernel *kernel, enum rsr_kop_kind kind) {
    for (uint32_t i = 0; i < kernel->n_ops; i++)
        if (kernel->ops[i].kind == kind)
            return &kernel->ops[i];
    return NULL;
}

static void test_verifier(struct suite *suite) {
    const struct shape shape = {10, 700, 4};
    struct test_case *c = make_case(suite, &shape, RSR_TERNARY, RSR_EPILOGUE_SCALE, true);
    lower_case(suite, c, BEST_DOT_SPEC, 1);
    struct rsr_kernel *kernel = &c->lowered.kernel;
    CHECK_INT(rsrc_verify_kernel(suite->diag, kernel), RSRC_OK);

#define CORRUPT(op_kind, change, problem)                                                          \
    do {                                                                                           \
        struct rsr_kop *op = find_op(kernel, RSR_KOP_##op_kind);                                   \
        CHECK(op != NULL);                                                                         \
        const struct rsr_kop saved = *op;                                                          \
        change;                                                                                    \
        expect_invalid(kernel, problem);                                                           \
        *op = saved;                                                                               \
    } while (0)
    CORRUPT(DOT_U8S8, op->b = op->dst + 1u == op->b ? op->c : RSR_NO_KREG, "operand missing");
    CORRUPT(DOT_U8S8, op->a = op->c, "types do not fit");
    CORRUPT(AND, op->dst = RSR_NO_KREG, "result register missing");
    CORRUPT(STORE, op->buffer = RSR_KBUF_CODES, "store to a buffer that is only read");
    CORRUPT(LOAD, op->buffer = RSR_KBUF_COUNT, "no such buffer");
    CORRUPT(LOAD, op->term[1] = op->dst, "read before it is set");
    CORRUPT(LOOP, op->imm = 0, "step is not positive");
    CORRUPT(LOOP, op->dst = op->a, "loop counter is used outside its loop");
    CORRUPT(END, op->kind = RSR_KOP_COMMENT; op->text = "", "LOOP or IF without END");
    CORRUPT(ADD, op->kind = RSR_KOP_ELSE, "ELSE");
    CORRUPT(PARAM, op->imm = 99, "types do not fit");
    CORRUPT(SHR, op->imm = 64, "types do not fit");
    CORRUPT(MUL, op->kind = RSR_KOP_COUNT, "no such operation");
    CORRUPT(CONST, op->kind = RSR_KOP_COMMENT; op->text = "", "read before it is set");
#undef CORRUPT
    const char *name = kernel->regs[1].name;
    kernel->regs[1].name = kernel->regs[0].name;
    expect_invalid(kernel, "register name used twice");
    kernel->regs[1].name = "int x";
    expect_invalid(kernel, "no identifier");
    kernel->regs[1].name = name;
    kernel->n_tiles++;
    expect_invalid(kernel, "tiles do not cover the rows");
    kernel->n_tiles--;
    CHECK_INT(rsrc_verify_kernel(suite->diag, kernel), RSRC_OK);
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void test_refusals(struct suite *suite) {
    const struct shape shape = {20, 10, 4};
    struct test_case *c = make_case(suite, &shape, RSR_TERNARY, RSR_EPILOGUE_RAW, false);
    struct rsr_index index;
    c->plan.kernel = RSR_KERNEL_SCATTER;
    c->plan.fold = RSR_FOLD_TREE;
    c->plan.k = 16;
    rsrc_build_index(&suite->arena, &c->matrix, 16, &index);
    expect_lower_refused(suite, c, &specs[0], &index, "lower-k-too-large", "k = 16 needs");
    c->plan.kernel = RSR_KERNEL_DOT;
    c->matrix.cols = 6000000; /* refused before a value is read */
    expect_lower_refused(suite, c, &specs[0], NULL, "lower-too-wide", "6000000 columns");

    /* The widest matrix that planning accepts, and the first that it refuses. */
    const struct shape wide = {1, RSRC_MAX_SUM_COLS, 64};
    c = make_case(suite, &wide, RSR_TERNARY, RSR_EPILOGUE_RAW, false);
    lower_case(suite, c, &specs[0], 0);
    lower_case(suite, c, BEST_DOT_SPEC, 0);
    c->matrix.cols++;
    expect_lower_refused(suite, c, &specs[0], NULL, "lower-too-wide", "4193792 columns");

    /* A kernel for one machine is declined for another. */
    struct test_case *d = make_case(suite, &shape, RSR_TERNARY, RSR_EPILOGUE_RAW, false);
    lower_case(suite, d, BEST_DOT_SPEC, 1);
    d->lowered.kernel.spec = &specs[0];
    struct rsr_unit unit = {0};
    const char *why = "";
    CHECK_INT(rsrc_backend_c.emit(&unit, &d->lowered.kernel, &suite->arena, &why), RSRC_FAILED);
    CHECK(strstr(why, "needs an instruction that target scalar lacks") != NULL);
    rsrc_buffer_free(&unit.text);
}

int main(void) {
    struct suite suite;
    suite_begin(&suite, "test_kernels", 20260721);
    for (size_t i = 0; i < N_SPECS; i++)
        test_dot(&suite, &specs[i]);
    test_scatter(&suite);
    test_compilers(&suite);
    test_keys(&suite);
    test_text(&suite);
    test_verifier(&suite);
    test_refusals(&suite);
    suite_end(&suite);
    return CHECK_EXIT();
}
