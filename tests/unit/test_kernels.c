/* test_kernels.c - every variant, alphabet and kind of machine, lowered, emitted as C, compiled and run
 * against a naive product with 64-bit sums.
 *
 * RAW results are compared bit for bit, scaled ones too (the float order is part of the ABI). Token 0 is
 * all -128 and token 1 all 127, row 0 all +1 and row 1 all -1, so the bounds of narrow accumulators
 * are reached. Every byte of y that a call must not touch is checked.
 */
#include <dlfcn.h>
#include <stdlib.h>

#include "base/spawn.h"
#include "base/mapped_file.h"
#include "check.h"
#include "emit/c/emit_c.h"
#include "lower/lower.h"
#include "rsr/segment.h"

#define MAX_TOKENS 17
#define GUARD 0xA5

#define F(id) RSR_CPU_MASK(id)
#define AVX512 (F(AVX2) | F(AVX512F) | F(AVX512BW) | F(AVX512VL) | F(AVX512DQ))
static const struct rsr_spec specs[] = {
    {.name = "scalar", .vector_bits = 0},
    {.name = "generic", .vector_bits = 128},
    {.name = "ssse3", .vector_bits = 128, .cpu_features = F(SSSE3)},
    {.name = "avx2", .vector_bits = 256, .l2_bytes = 1 << 20, .cpu_features = F(AVX2)},
    {.name = "avxvnni", .vector_bits = 256, .cpu_features = F(AVX2) | F(AVXVNNI)},
    {.name = "avx512bw", .vector_bits = 512, .cpu_features = AVX512},
    {.name = "avx512vl", .vector_bits = 256, .cpu_features = AVX512 | F(AVX512VNNI)},
    {.name = "avx512",
     .vector_bits = 512,
     .l2_bytes = 1 << 14,
     .cpu_features = AVX512 | F(AVX512VNNI)},
};
#define N_SPECS (sizeof specs / sizeof *specs)

static const struct shape {
    uint32_t rows, cols, tile_rows;
} shapes[] = {{1, 1, 4},     {1, 300, 8},    {37, 1, 8},     {5, 5460, 4},
              {64, 512, 16}, {100, 100, 32}, {641, 257, 64}, {8, 9000, 4}};
#define N_SHAPES (sizeof shapes / sizeof *shapes)

struct test_case {
    struct rsr_matrix matrix;
    struct rsr_regime_plan plan;
    enum rsr_epilogue epilogue;
    struct rsr_lowered lowered;
    int64_t *expected; /* [MAX_TOKENS][rows] */
    uint8_t *x;
    size_t ldx;
    char description[128];
};

struct suite {
    struct rsrc_arena arena;
    struct rsrc_diag *diag;
    const char *directory;
    uint64_t seed;
};

static bool host_supports(const struct rsr_spec *spec) {
#if defined(__x86_64__)
    if (spec->cpu_features & F(AVXVNNI) && !__builtin_cpu_supports("avxvnni"))
        return false;
    if (spec->cpu_features & F(AVX512VNNI) && !__builtin_cpu_supports("avx512vnni"))
        return false;
    if (spec->cpu_features & F(AVX512BW) &&
        !(__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")))
        return false;
    if (spec->cpu_features & F(AVX2) && !__builtin_cpu_supports("avx2"))
        return false;
    return !(spec->cpu_features & F(SSSE3)) || __builtin_cpu_supports("ssse3");
#else
    return spec->cpu_features == 0;
#endif
}

/* ---- inputs and the reference ------------------------------------------------------------------- */

static int8_t random_weight(struct suite *suite, enum rsr_alphabet alphabet) {
    const uint64_t r = check_random(&suite->seed) >> 33;
    switch (alphabet) {
    case RSR_TERNARY:
        return (int8_t)((int)(r % 3) - 1);
    case RSR_BINARY_SIGN:
        return (r & 1) != 0 ? 1 : -1;
    case RSR_BINARY_BIT:
        break;
    }
    return (int8_t)(r & 1);
}

static void make_matrix(struct suite *suite, struct test_case *c, const struct shape *shape,
                        enum rsr_alphabet alphabet, bool row_scales) {
    const uint32_t rows = shape->rows, cols = shape->cols;
    int8_t *values = RSRC_NEW_ARRAY(&suite->arena, (size_t)rows * cols, int8_t);
    const int8_t low = alphabet == RSR_BINARY_BIT ? 0 : -1;
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t j = 0; j < cols; j++)
            values[(size_t)r * cols + j] = r == 0   ? 1
                                           : r == 1 ? low
                                                    : random_weight(suite, alphabet);
    const uint32_t n_scales = row_scales ? rows : 1;
    float *scale = RSRC_NEW_ARRAY(&suite->arena, n_scales, float);
    for (uint32_t i = 0; i < n_scales; i++)
        scale[i] = 0.37f + (float)(check_random(&suite->seed) % 1000) / 777.0f;
    c->matrix = (struct rsr_matrix){rows, cols, alphabet, values, scale, n_scales};
}

static void make_activations(struct suite *suite, struct test_case *c) {
    const uint32_t cols = c->matrix.cols;
    const size_t padded = ((size_t)cols + RSR_ACT_PAD - 1) / RSR_ACT_PAD * RSR_ACT_PAD;
    c->ldx = RSR_ACT_HEADER + padded + 64;
    c->x = rsrc_arena_alloc(&suite->arena, c->ldx * MAX_TOKENS);
    for (uint32_t t = 0; t < MAX_TOKENS; t++) {
        struct rsr_act_row row = {.scale = 0.01f + 0.003f * (float)t};
        int8_t *q = (int8_t *)c->x + t * c->ldx + RSR_ACT_HEADER;
        for (uint32_t j = 0; j < cols; j++) {
            q[j] = t == 0 ? -128 : t == 1 ? 127 : (int8_t)(check_random(&suite->seed) >> 40);
            row.sum += q[j];
        }
        memcpy(c->x + t * c->ldx, &row, sizeof row);
    }
}

static void make_expected(struct suite *suite, struct test_case *c) {
    const uint32_t rows = c->matrix.rows, cols = c->matrix.cols;
    c->expected = RSRC_NEW_ARRAY(&suite->arena, (size_t)MAX_TOKENS * rows, int64_t);
    for (uint32_t t = 0; t < MAX_TOKENS; t++) {
        const int8_t *q = (const int8_t *)c->x + t * c->ldx + RSR_ACT_HEADER;
        for (uint32_t r = 0; r < rows; r++) {
            int64_t sum = 0;
            for (uint32_t j = 0; j < cols; j++)
                sum += (int64_t)c->matrix.values[(size_t)r * cols + j] * q[j];
            c->expected[(size_t)t * rows + r] = sum;
        }
    }
}

/* The four bytes that y must hold. */
static uint32_t expected_bits(const struct test_case *c, uint32_t token, uint32_t row) {
    const int64_t sum = c->expected[(size_t)token * c->matrix.rows + row];
    const int32_t raw = (int32_t)sum;
    CHECK(raw == sum);
    uint32_t bits;
    memcpy(&bits, &raw, sizeof bits);
    if (c->epilogue == RSR_EPILOGUE_SCALE) {
        struct rsr_act_row header;
        memcpy(&header, c->x + token * c->ldx, sizeof header);
        const float m = header.scale * c->matrix.scale[c->matrix.n_scales > 1 ? row : 0];
        const float y = (float)raw * m;
        memcpy(&bits, &y, sizeof bits);
    }
    return bits;
}

/* ---- one case ------------------------------------------------------------------------------------- */

static struct test_case *make_case(struct suite *suite, const struct shape *shape,
                                   enum rsr_alphabet alphabet, enum rsr_epilogue epilogue,
                                   bool row_scales) {
    struct test_case *c = RSRC_NEW(&suite->arena, struct test_case);
    c->epilogue = epilogue;
    make_matrix(suite, c, shape, alphabet, row_scales);
    make_activations(suite, c);
    make_expected(suite, c);
    c->plan = (struct rsr_regime_plan){.variant = RSR_VARIANT_DOT,
                                       .tile_rows = shape->tile_rows,
                                       .token_tile = 4,
                                       .reason = "chosen by the test */ #error"};
    return c;
}

static void lower_case(struct suite *suite, struct test_case *c, const struct rsr_spec *spec,
                       uint32_t number) {
    struct rsr_index index;
    struct rsrc_lower_input input = {.symbol_stem = rsrc_arena_printf(&suite->arena, "t%u", number),
                                     .title = "a title */ \n#error \"\\",
                                     .matrix = &c->matrix,
                                     .plan = &c->plan,
                                     .spec = spec,
                                     .epilogue = c->epilogue};
    if (c->plan.variant == RSR_VARIANT_SCATTER) {
        rsrc_build_index(&suite->arena, &c->matrix, c->plan.k, &index);
        input.index = &index;
    }
    CHECK_INT(rsrc_lower_layer(suite->diag, &suite->arena, &input, &c->lowered), RSRC_OK);
    snprintf(c->description, sizeof c->description, "%s", c->lowered.kernel.key);
}

/* Calls the kernel on tiles [begin, end) and checks every byte of y. */
static void check_call(struct test_case *c, rsr_kernel_fn *fn, uint32_t n_tokens, uint32_t begin,
                       uint32_t end) {
    const uint32_t rows = c->matrix.rows;
    const size_t ldy = rows + 3u;
    const size_t n_y = ldy * MAX_TOKENS + 16;
    uint32_t *y = malloc(n_y * sizeof *y);
    void *scratch = aligned_alloc(64, (c->lowered.kernel.scratch_bytes / 64 + 1) * 64);
    memset(y, GUARD, n_y * sizeof *y);
    memset(scratch, GUARD, c->lowered.kernel.scratch_bytes);
    const struct rsr_weights weights = {.codes = c->lowered.codes.bytes,
                                        .index = c->lowered.index.bytes,
                                        .scale = c->lowered.scale.bytes,
                                        .n_scales = c->matrix.n_scales};
    const struct rsr_worker worker = {.tile_begin = begin, .tile_end = end, .count = 1};
    fn(c->x, c->ldx, y + 8, ldy, n_tokens, &weights, &worker, scratch);

    uint32_t guard;
    memset(&guard, GUARD, sizeof guard);
    uint32_t n_wrong = 0;
    for (size_t i = 0; i < n_y; i++) {
        const size_t at = i - 8, token = at / ldy, row = at % ldy;
        const bool written = i >= 8 && token < n_tokens && row < rows &&
                             row / c->lowered.kernel.tile_rows >= begin &&
                             row / c->lowered.kernel.tile_rows < end;
        const uint32_t want = written ? expected_bits(c, (uint32_t)token, (uint32_t)row) : guard;
        if (y[i] != want && n_wrong++ == 0)
            fprintf(stderr, "%s, %u tokens, tiles %u..%u: token %zu row %zu is %08x, not %08x\n",
                    c->description, n_tokens, begin, end, token, row, y[i], want);
    }
    CHECK_INT(n_wrong, 0);
    free(y);
    free(scratch);
}

static void run_case(struct test_case *c, rsr_kernel_fn *fn) {
    static const uint32_t batches[] = {1, 2, 3, 4, 5, 8, MAX_TOKENS};
    const uint32_t n_tiles = c->lowered.kernel.n_tiles;
    for (size_t i = 0; i < sizeof batches / sizeof *batches; i++)
        check_call(c, fn, batches[i], 0, n_tiles);
    check_call(c, fn, 1, n_tiles / 2, n_tiles);
    check_call(c, fn, 5, n_tiles / 3, n_tiles / 3 + 1);
    check_call(c, fn, 2, n_tiles, n_tiles);
}

/* ---- one unit ------------------------------------------------------------------------------------- */

static bool compile(struct suite *suite, const char *compiler, const char *source, const char *mode,
                    const char *output) {
    const char *const argv[] = {compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC",
                                mode,     "-o",  output,  source,    NULL};
    const struct rsrc_command command = {.argv = argv};
    return rsrc_spawn_all(suite->diag, &suite->arena, &command, 1, 1, false) == RSRC_OK;
}

static const char *write_unit(struct suite *suite, const struct rsr_unit *unit, const char *name) {
    const char *path = rsrc_arena_printf(&suite->arena, "%s/%s.c", suite->directory, name);
    FILE *file = fopen(path, "w");
    CHECK(file != NULL &&
          fwrite(unit->text.data, 1, unit->text.size_bytes, file) == unit->text.size_bytes);
    CHECK(file != NULL && fclose(file) == 0);
    return path;
}

/* Emits the cases and a table of their functions. */
static const char *emit_cases(struct suite *suite, struct test_case **cases, uint32_t n_cases,
                              const struct rsr_spec *spec, const char *name) {
    struct rsr_unit unit = {.name = name};
    const char *why = "";
    CHECK_INT(rsrc_backend_c.begin(&unit,
                                   "kernels under test */ ?"
                                   "?/",
                                   spec, &why),
              RSRC_OK);
    for (uint32_t i = 0; i < n_cases; i++) {
        CHECK_INT(rsrc_backend_c.emit(&unit, &cases[i]->lowered.kernel, &suite->arena, &why),
                  RSRC_OK);
        CHECK_STR(why, "");
    }
    rsrc_buffer_puts(&unit.text,
                     "\ntypedef void kernel(const void *, size_t, void *, size_t, uint32_t,"
                     "\n    const struct rsr_weights *, const struct rsr_worker *, void *);"
                     "\nextern kernel *const test_kernels[];"
                     "\nkernel *const test_kernels[] = {\n");
    for (uint32_t i = 0; i < n_cases; i++)
        rsrc_buffer_printf(&unit.text, "    %s,\n", cases[i]->lowered.kernel.symbol);
    rsrc_buffer_puts(&unit.text, "};\n");
    const char *path = write_unit(suite, &unit, name);
    rsrc_buffer_free(&unit.text);
    return path;
}

static void run_cases(struct suite *suite, struct test_case **cases, uint32_t n_cases,
                      const struct rsr_spec *spec, const char *name) {
    for (uint32_t i = 0; i < n_cases; i++)
        lower_case(suite, cases[i], spec, i);
    const char *source = emit_cases(suite, cases, n_cases, spec, name);
    const char *library = rsrc_arena_printf(&suite->arena, "%s/%s.so", suite->directory, name);
    if (!host_supports(spec)) {
        fprintf(stderr, "SKIPPED: running the kernels of '%s': this CPU lacks its features\n",
                name);
        CHECK(compile(suite, "cc", source, "-c", library));
        return;
    }
    const bool compiled = compile(suite, "cc", source, "-shared", library);
    CHECK(compiled);
    void *handle = compiled ? dlopen(library, RTLD_NOW) : NULL;
    rsr_kernel_fn *const *functions = handle ? dlsym(handle, "test_kernels") : NULL;
    CHECK(functions != NULL);
    for (uint32_t i = 0; functions != NULL && i < n_cases; i++)
        run_case(cases[i], functions[i]);
    if (handle != NULL)
        dlclose(handle);
}

static void test_dot(struct suite *suite, const struct rsr_spec *spec) {
    struct test_case *cases[N_SHAPES * 3];
    uint32_t n = 0;
    for (uint32_t s = 0; s < N_SHAPES; s++)
        for (uint32_t alphabet = RSR_TERNARY; alphabet <= RSR_BINARY_BIT; alphabet++)
            if ((s + alphabet + spec - specs) % 2 == 0) { /* half of them, to save compiling */
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
            cases[n]->plan.variant = RSR_VARIANT_SCATTER;
            cases[n]->plan.k = settings[s].k;
            cases[n]->plan.fold = settings[s].fold;
        }
    run_cases(suite, cases, n, &specs[0], "scatter");
}

/* Every compiler at hand takes a kernel for every target, without a warning. */
static void test_compilers(struct suite *suite) {
    static const char *const compilers[] = {"gcc", "gcc-12", "clang", "clang-14", "clang-19"};
    const struct shape shape = {10, 700, 4};
    struct test_case *cases[2 * N_SPECS];
    for (uint32_t i = 0; i < 2 * N_SPECS; i++) {
        cases[i] = make_case(suite, &shape, RSR_TERNARY, RSR_EPILOGUE_SCALE, i % 3 == 1);
        cases[i]->plan.variant = i < N_SPECS ? RSR_VARIANT_DOT : RSR_VARIANT_SCATTER;
        cases[i]->plan.k = 4;
        cases[i]->plan.fold = i % 2 == 0 ? RSR_FOLD_DIRECT : RSR_FOLD_TREE;
        lower_case(suite, cases[i], &specs[i % N_SPECS], i);
    }
    const char *source = emit_cases(suite, cases, 2 * N_SPECS, &specs[0], "compilers");
    uint32_t n_found = 0;
    for (size_t i = 0; i < sizeof compilers / sizeof *compilers; i++) {
        if (rsrc_find_program(&suite->arena, compilers[i]) == NULL) {
            fprintf(stderr, "SKIPPED: compiling with %s: not found\n", compilers[i]);
            continue;
        }
        n_found++;
        CHECK(compile(suite, compilers[i], source, "-c",
                      rsrc_arena_printf(&suite->arena, "%s.o", source)));
    }
    CHECK(n_found > 0);
}

/* ---- keys, text, determinism ------------------------------------------------------------------------ */

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
    const struct rsr_spec *spec = &specs[N_SPECS - 1];
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
    CHECK_STR(a->lowered.codes.symbol, "rsr_w_t1_codes");
    CHECK_INT(a->lowered.codes.size_bytes, 64 * 512 / 4);
}

static void test_text(struct suite *suite) {
    const struct shape shape = {64, 512, 16};
    struct test_case *c = make_case(suite, &shape, RSR_TERNARY, RSR_EPILOGUE_RAW, false);
    lower_case(suite, c, &specs[N_SPECS - 1], 1);
    struct rsrc_buffer text = {0};
    rsrc_print_kernel(&c->lowered.kernel, &text);
    CHECK(strstr(text.data, "kernel rsr_t1_dot_avx512: dot, 64 x 512, raw, 4 tiles of 16 rows") !=
          NULL);
    CHECK(strstr(text.data, "quad: loop first_quad .. end_quad step 1\n") != NULL);
    CHECK(strstr(text.data, "dot_u8s8 acc0_p0, code, x0\n") != NULL);
    rsrc_buffer_free(&text);
}

/* ---- the verifier catches what it promises ----------------------------------------------------------- */

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
    lower_case(suite, c, &specs[N_SPECS - 1], 1);
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
    CORRUPT(SHR, op->imm = 32, "types do not fit");
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

/* ---- refusals -------------------------------------------------------------------------------------- */

static void expect_refused(struct suite *suite, struct test_case *c, const struct rsr_index *index,
                           const char *slug) {
    char *message = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&message, &size);
    struct rsrc_diag *diag = rsrc_diag_create(stream, false, RSRC_COLOR_NEVER);
    const struct rsrc_lower_input input = {.symbol_stem = "t",
                                           .title = "t",
                                           .matrix = &c->matrix,
                                           .index = index,
                                           .plan = &c->plan,
                                           .spec = &specs[0],
                                           .epilogue = c->epilogue};
    CHECK_INT(rsrc_lower_layer(diag, &suite->arena, &input, &c->lowered), RSRC_FAILED);
    rsrc_diag_destroy(diag);
    fclose(stream);
    CHECK(strstr(message, slug) != NULL);
    free(message);
}

static void test_refusals(struct suite *suite) {
    const struct shape shape = {20, 10, 4};
    struct test_case *c = make_case(suite, &shape, RSR_TERNARY, RSR_EPILOGUE_RAW, false);
    struct rsr_index index;
    c->plan.variant = RSR_VARIANT_SCATTER;
    c->plan.fold = RSR_FOLD_TREE;
    c->plan.k = 16;
    rsrc_build_index(&suite->arena, &c->matrix, 16, &index);
    expect_refused(suite, c, &index, "lower-k-too-large");
    c->plan.variant = RSR_VARIANT_DOT;
    c->matrix.cols = 6000000; /* refused before a value is read */
    expect_refused(suite, c, NULL, "lower-too-wide");

    /* A kernel for one machine is declined for another. */
    struct test_case *d = make_case(suite, &shape, RSR_TERNARY, RSR_EPILOGUE_RAW, false);
    lower_case(suite, d, &specs[N_SPECS - 1], 1);
    d->lowered.kernel.spec = &specs[0];
    struct rsr_unit unit = {0};
    const char *why = "";
    CHECK_INT(rsrc_backend_c.emit(&unit, &d->lowered.kernel, &suite->arena, &why), RSRC_FAILED);
    CHECK(strstr(why, "needs an instruction that target scalar lacks") != NULL);
    rsrc_buffer_free(&unit.text);
}

int main(void) {
    struct suite suite = {.seed = 20260721};
    rsrc_arena_init(&suite.arena);
    suite.diag = rsrc_diag_create(stderr, false, RSRC_COLOR_NEVER);
    const char *temporary = getenv("TMPDIR");
    const char *beside =
        rsrc_arena_printf(&suite.arena, "%s/test_kernels", temporary != NULL ? temporary : "/tmp");
    CHECK_INT(rsrc_temporary_dir(suite.diag, &suite.arena, beside, &suite.directory), RSRC_OK);
    printf("seed %llu\n", (unsigned long long)suite.seed);
    for (size_t i = 0; i < N_SPECS; i++)
        test_dot(&suite, &specs[i]);
    test_scatter(&suite);
    test_compilers(&suite);
    test_keys(&suite);
    test_text(&suite);
    test_verifier(&suite);
    test_refusals(&suite);
    rsrc_remove_temporaries();
    rsrc_diag_destroy(suite.diag);
    rsrc_arena_free(&suite.arena);
    return CHECK_EXIT();
}
