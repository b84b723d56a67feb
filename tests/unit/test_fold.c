/* test_fold.c - `fold`: the segment index as instructions.
 *
 * Kernels of every alphabet, k, lane count and element run through the interpreter and the back
 * ends against products in 64-bit sums (kernel_harness.h). The counts of their instructions are
 * compared with the predictions of the segment statistics. Float results must be within their error
 * bound, and have one order for every lane count.
 */
#define MAX_TOKENS 70

#include <math.h>

#include "emit/asm/emit_asm.h"
#include "kernel_harness.h"
#include "rsr/codes.h"

struct setting {
    struct shape shape;
    enum rsr_alphabet alphabet;
    uint32_t k;
    uint32_t token_tile;
    enum rsr_input input;
    enum rsr_epilogue epilogue;
    bool row_scales;
};

/* One machine for every vector width: `fold` depends on nothing else. */
static const char *const machines[] = {"scalar", "generic", "avx2", "avx512"};
#define N_MACHINES (sizeof machines / sizeof *machines)

static void set_fold(struct test_case *c, uint32_t k, uint32_t token_tile) {
    c->plan.kernel = RSR_KERNEL_FOLD;
    c->plan.k = k;
    c->plan.token_tile = token_tile;
}

static struct test_case *make_fold(struct suite *suite, const struct setting *s) {
    struct test_case *c = make_case(suite, &s->shape, s->alphabet, s->epilogue, s->row_scales);
    set_fold(c, s->k, s->token_tile);
    if (s->input == RSR_INPUT_F32)
        make_float_rows(suite, c);
    return c;
}

/* ---- products -------------------------------------------------------------------------------- */

static const struct setting settings[] = {
    {{1, 1, 4}, RSR_TERNARY, 1, 32, RSR_INPUT_I8, RSR_EPILOGUE_RAW, false},
    {{37, 1, 8}, RSR_BINARY_SIGN, 2, 8, RSR_INPUT_I8, RSR_EPILOGUE_SCALE, true},
    {{5, 600, 4}, RSR_TERNARY, 3, 32, RSR_INPUT_I8, RSR_EPILOGUE_RAW, false},
    {{40, 96, 16}, RSR_TERNARY, 4, 16, RSR_INPUT_I8, RSR_EPILOGUE_SCALE, false},
    {{13, 257, 10}, RSR_BINARY_SIGN, 5, 32, RSR_INPUT_I8, RSR_EPILOGUE_SCALE, false},
    {{11, 300, 8}, RSR_BINARY_BIT, 6, 32, RSR_INPUT_I8, RSR_EPILOGUE_RAW, false},
    {{16, 160, 7}, RSR_TERNARY, 7, 32, RSR_INPUT_I8, RSR_EPILOGUE_RAW, false},
    {{14, 130, 12}, RSR_BINARY_SIGN, 3, 1, RSR_INPUT_I8, RSR_EPILOGUE_RAW, false},
    {{6, 390, 5}, RSR_TERNARY, 4, 32, RSR_INPUT_F32, RSR_EPILOGUE_SCALE, true},
    {{13, 129, 6}, RSR_BINARY_SIGN, 6, 4, RSR_INPUT_F32, RSR_EPILOGUE_RAW, false},
    {{6, 400, 6}, RSR_BINARY_BIT, 2, 1, RSR_INPUT_F32, RSR_EPILOGUE_SCALE, false},
    /* One token for each lane, and more columns than such chunks have. The code is large and equal
     * on every machine, so it is compiled only for the first one. */
    {{2, 4100, 6}, RSR_TERNARY, 2, 1, RSR_INPUT_I8, RSR_EPILOGUE_SCALE, true},
};
#define N_SETTINGS (sizeof settings / sizeof *settings)

/* The bodies of the cases, which have been lowered for `spec`, and the table of their kernels as
 * one object. */
static const char *assemble_bodies(struct suite *suite, struct test_case **cases, uint32_t n_cases,
                                   const struct rsr_spec *spec, const char *name) {
    struct rsrc_buffer text = {0}, object = {0};
    const char *why = "";
    for (uint32_t i = 0; i < n_cases; i++)
        CHECK_INT(rsrc_asm_bodies(&cases[i]->lowered.kernel, &text, &why), RSRC_OK);
    rsrc_buffer_puts(&text,
                     "\t.section .data.rel.ro, \"aw\"\n\t.globl test_kernels\ntest_kernels:\n");
    for (uint32_t i = 0; i < n_cases; i++)
        rsrc_buffer_printf(&text, "\t.quad %s\n", cases[i]->lowered.kernel.symbol);
    CHECK_INT(rsrc_asm_assemble(spec, &text, &suite->arena, &object, &why), RSRC_OK);
    CHECK_STR(why, "");
    const char *path = write_test_file(suite, &object, name, "bodies.o");
    rsrc_buffer_free(&text);
    rsrc_buffer_free(&object);
    return path;
}

/* Kernels whose loops are C and whose bodies are assembly. NULL if they are not compiled or the
 * host cannot run them. */
static rsr_kernel_fn *const *load_assembled(struct suite *suite, struct test_case **cases,
                                            uint32_t n_cases, const struct rsr_spec *spec,
                                            const char *name) {
    for (uint32_t i = 0; i < n_cases; i++)
        cases[i]->lowered.kernel.extern_bodies = true;
    const char *bodies = assemble_bodies(suite, cases, n_cases, spec, name);
    const char *unit = emit_cases(suite, cases, n_cases, spec, &harness_backends[0], name);
    for (uint32_t i = 0; i < n_cases; i++)
        cases[i]->lowered.kernel.extern_bodies = false;
    if (!is_compiled(&harness_backends[0]) || !host_supports(spec))
        return NULL;
    const char *library = rsrc_arena_printf(&suite->arena, "%s.asm.so", unit);
    CHECK(compile(suite, "cc", unit, "-shared", library, bodies));
    void *handle =
        dlopen(library, RTLD_NOW); /* the library stays open, because its functions are called */
    rsr_kernel_fn *const *functions = handle ? dlsym(handle, "test_kernels") : NULL;
    CHECK(functions != NULL);
    return functions;
}

static void run_assembled(struct suite *suite, struct test_case **cases, uint32_t n_cases,
                          const struct rsr_spec *spec, const char *name) {
    rsr_kernel_fn *const *functions = load_assembled(suite, cases, n_cases, spec, name);
    for (uint32_t i = 0; functions != NULL && i < n_cases; i++)
        run_case(cases[i], functions[i], "assembly");
}

/* Replaces the weights by the results of `weight`. */
static void set_weights(struct suite *suite, struct test_case *c,
                        int8_t (*weight)(struct suite *suite, uint32_t row, uint32_t col)) {
    int8_t *values = RSRC_NEW_ARRAY(&suite->arena, (size_t)c->matrix.rows * c->matrix.cols, int8_t);
    for (uint32_t r = 0; r < c->matrix.rows; r++)
        for (uint32_t j = 0; j < c->matrix.cols; j++)
            values[(size_t)r * c->matrix.cols + j] = weight(suite, r, j);
    c->matrix.values = values;
    make_expected(suite, c);
}

/* Every other weight of rows 0 and 1 is nonzero, all of one sign: 255 terms in 510 columns. Other
 * rows have fewer. */
static int8_t thin_weight(struct suite *suite, uint32_t row, uint32_t col) {
    if (row < 2)
        return (int8_t)(col % 2 == row ? 1 - 2 * (int)row : 0);
    return (int8_t)(check_random(&suite->seed) >> 40 & 3 ? 0 : random_weight(suite, RSR_TERNARY));
}

/* Three rows out of four, all columns from 300 on and whole blocks are zeros. */
static int8_t zero_rich_weight(struct suite *suite, uint32_t row, uint32_t col) {
    if (row % 4 != 0 || col >= 300 || (row >= 8 && row < 24))
        return 0;
    return random_weight(suite, RSR_TERNARY);
}

/* Few different columns, equal and opposite rows. */
static int8_t redundant_weight(struct suite *suite, uint32_t row, uint32_t col) {
    (void)suite;
    const int8_t code[3] = {1, -1, 0};
    const int8_t w = code[(col % 3 + row / 2) % 3];
    return row % 2 == 0 ? w : (int8_t)-w;
}

static const struct structure {
    uint32_t cols;
    int8_t (*weight)(struct suite *suite, uint32_t row, uint32_t col);
    const char *chunk; /* vectors of int16: as wide as the weights allow */
} structures[] = {
    {1020, thin_weight, "-chunk510-"},
    {1024, thin_weight, "-chunk342-"}, /* chunks of 512 would have 256 terms */
    {1020, zero_rich_weight, "-chunk510-"},
    {1020, redundant_weight, "-chunk340-"},
};
#define N_STRUCTURES (sizeof structures / sizeof *structures)

static struct test_case *make_structure(struct suite *suite, const struct structure *structure) {
    const struct setting setting = {{5, structure->cols, 4}, RSR_TERNARY, 4, 32, RSR_INPUT_I8,
                                    RSR_EPILOGUE_RAW,        false};
    struct test_case *c = make_fold(suite, &setting);
    set_weights(suite, c, structure->weight);
    return c;
}

/* Every setting, and the structures for every second machine, are one unit, because compilers take
 * longer to read their headers than to compile these kernels. */
static void test_products(struct suite *suite, size_t machine) {
    const struct rsr_spec *spec = find_spec(machines[machine]);
    struct test_case *cases[N_SETTINGS + N_STRUCTURES];
    uint32_t n = 0;
    for (uint32_t i = 0; i < N_SETTINGS - (machine > 0); i++)
        cases[n++] = make_fold(suite, &settings[i]);
    const uint32_t first = n;
    for (uint32_t i = 0; i < N_STRUCTURES && machine % 2 == 1; i++)
        cases[n++] = make_structure(suite, &structures[i]);
    const char *name = rsrc_arena_printf(&suite->arena, "fold_%s", spec->name);
    run_cases(suite, cases, n, spec, name);
    for (uint32_t i = first; i < n; i++)
        CHECK(strstr(cases[i]->lowered.kernel.key, structures[i - first].chunk) != NULL);
    run_assembled(suite, cases, n, spec, name);
}

/* ---- floats ---------------------------------------------------------------------------------- */

#define FLOAT_TOKENS 19u

/* Activations of many magnitudes, whose sums round. */
static void make_random_floats(struct suite *suite, struct test_case *c) {
    for (uint32_t t = 0; t < FLOAT_TOKENS; t++)
        for (uint32_t j = 0; j < c->matrix.cols; j++) {
            const uint64_t r = check_random(&suite->seed);
            const float value =
                ldexpf((float)(int32_t)(r >> 32) * 0x1p-31f, (int)(r >> 8 & 15) - 8);
            memcpy(c->x + t * c->ldx + j * sizeof value, &value, sizeof value);
        }
}

/* Computes y[token * rows + row] with the kernel or (fn NULL) the interpreter. */
static float *run_float(struct suite *suite, struct test_case *c, rsr_kernel_fn *fn) {
    const struct rsr_kernel *kernel = &c->lowered.kernel;
    const uint32_t rows = c->matrix.rows;
    float *y = RSRC_NEW_ARRAY(&suite->arena, FLOAT_TOKENS * rows, float);
    void *scratch = aligned_rows(suite, kernel->scratch_bytes);
    const struct rsr_weights weights = {.scale = c->lowered.scale.bytes, .n_scales = 1};
    const struct rsr_worker worker = {.tile_end = kernel->n_tiles, .count = 1};
    if (fn != NULL)
        fn(c->x, c->ldx, y, rows, FLOAT_TOKENS, &weights, &worker, scratch);
    else
        test_interpret_kernel(kernel, c->x, c->ldx, y, rows, FLOAT_TOKENS, &weights, &worker,
                              scratch);
    return y;
}

/* |error| <= n u sum |w x| */
static void check_float_bound(const struct test_case *c, const float *y) {
    const uint32_t rows = c->matrix.rows, cols = c->matrix.cols;
    uint32_t n_outside = 0, n_inexact = 0;
    for (uint32_t t = 0; t < FLOAT_TOKENS; t++)
        for (uint32_t r = 0; r < rows; r++) {
            const float *x = (const float *)(const void *)(c->x + t * c->ldx);
            double exact = 0, magnitude = 0;
            for (uint32_t j = 0; j < cols; j++) {
                const double term = (double)c->matrix.values[(size_t)r * cols + j] * (double)x[j];
                exact += term;
                magnitude += fabs(term);
            }
            const double error = fabs((double)y[t * rows + r] - exact);
            n_outside += error > cols * 0x1p-24 * magnitude;
            n_inexact += error > 0;
        }
    CHECK_INT(n_outside, 0);
    CHECK(n_inexact > rows); /* otherwise the test would show nothing */
}

/* All lane counts, tiles and kinds of bodies have one order of additions: ternary on every machine,
 * the other alphabets on the first and the last. */
static void test_float_order(struct suite *suite) {
    enum { N_ALPHABETS = RSR_BINARY_BIT + 1 };
    static const uint32_t tile_rows[] = {1, 6, 100, 9};
    static const uint32_t k[N_ALPHABETS] = {4, 5, 3};
    const struct shape shape = {13, 900, 4};
    struct test_case *cases[N_ALPHABETS];
    float *first[N_ALPHABETS];
    const size_t size_bytes = FLOAT_TOKENS * shape.rows * sizeof **first;
    for (uint32_t a = 0; a < N_ALPHABETS; a++) {
        cases[a] = make_case(suite, &shape, (enum rsr_alphabet)a, RSR_EPILOGUE_RAW, false);
        make_float_rows(suite, cases[a]);
        make_random_floats(suite, cases[a]);
        set_fold(cases[a], k[a], 32);
    }
    for (uint32_t i = 0; i < N_MACHINES; i++) {
        const struct rsr_spec *spec = find_spec(machines[i]);
        const uint32_t n = i % (N_MACHINES - 1) == 0 ? N_ALPHABETS : 1;
        for (uint32_t a = 0; a < n; a++) {
            cases[a]->plan.tile_rows = tile_rows[i];
            lower_case(suite, cases[a], spec, a);
            float *y = run_float(suite, cases[a], NULL);
            if (i == 0)
                check_float_bound(cases[a], first[a] = y);
            CHECK(memcmp(y, first[a], size_bytes) == 0);
        }
        const char *name = rsrc_arena_printf(&suite->arena, "order_%s", spec->name);
        rsr_kernel_fn *const *functions = load_assembled(suite, cases, n, spec, name);
        for (uint32_t a = 0; functions != NULL && a < n; a++)
            CHECK(memcmp(run_float(suite, cases[a], functions[a]), first[a], size_bytes) == 0);
    }
}

/* ---- counts ---------------------------------------------------------------------------------- */

static void count_ops(const struct rsr_kernel *kernel, uint64_t counts[RSR_KOP_COUNT]) {
    memset(counts, 0, RSR_KOP_COUNT * sizeof *counts);
    for (uint32_t b = 0; b < kernel->n_bodies; b++)
        for (uint32_t i = 0; i < kernel->bodies[b].n_ops; i++)
            counts[kernel->bodies[b].ops[i].kind]++;
}

/* Every code occurs at least twice, so it is added at least once: the kernel has every addition of
 * a dense fold, and no others. */
static int8_t dense_weight(uint32_t row, uint32_t col, enum rsr_alphabet alphabet, uint32_t k) {
    int8_t digits[RSR_MAX_K];
    const struct rsrc_code_range range = rsrc_code_range(alphabet, k);
    rsrc_code_digits(alphabet, k, range.first + col % (range.end - range.first), digits);
    return digits[row % k];
}

/* Additions of a dense block's fold, derived from the statistics' count. A node with a digit reuses
 * the register of its first child, which saves an addition. The empty code of bits has no sum. 2 B
 * - U takes two operations, which the statistics count as one. */
static uint64_t predict_adds(enum rsr_alphabet alphabet, uint32_t k) {
    const uint64_t adds = rsrc_count_fold_adds(alphabet, k);
    uint64_t power = 1;
    switch (alphabet) {
    case RSR_TERNARY:
        for (uint32_t d = 1; d < k; d++)
            power *= 3;
        return adds - (power - 1) / 2;
    case RSR_BINARY_SIGN:
        return k == 1 ? adds : adds + (k - 1) - (UINT64_C(1) << (k - 2));
    case RSR_BINARY_BIT:
        break;
    }
    return adds - 2 * k - ((UINT64_C(1) << (k - 1)) - 1);
}

/* A dense matrix in one chunk has as many instructions as the statistics say: one for each member,
 * those of the fold, and seven to widen a row and add it to the sums. */
static void test_counts(struct suite *suite, enum rsr_alphabet alphabet, uint32_t k) {
    const struct rsr_spec *spec = find_spec("avx512");
    const struct rsrc_code_range range = rsrc_code_range(alphabet, k);
    const uint32_t n_codes = range.end - range.first;
    const struct shape shape = {3 * k, 2 * n_codes, k};
    struct test_case *c = make_case(suite, &shape, alphabet, RSR_EPILOGUE_RAW, false);
    int8_t *values = RSRC_NEW_ARRAY(&suite->arena, (size_t)shape.rows * shape.cols, int8_t);
    for (uint32_t r = 0; r < shape.rows; r++)
        for (uint32_t j = 0; j < shape.cols; j++)
            values[(size_t)r * shape.cols + j] = dense_weight(r, j, alphabet, k);
    c->matrix.values = values;
    set_fold(c, k, 32);
    lower_case(suite, c, spec, k);
    CHECK_INT(c->lowered.kernel.n_bodies, 3);

    struct rsr_stats stats;
    rsrc_analyse_matrix(&suite->arena, &c->matrix, k, &stats);
    uint64_t counts[RSR_KOP_COUNT];
    count_ops(&c->lowered.kernel, counts);
    const uint64_t rows = shape.rows;
    const uint64_t widen_adds = 2 * rows;
    const uint64_t members = counts[RSR_KOP_LOAD] + counts[RSR_KOP_ADD_MEM] - widen_adds;
    CHECK_INT(members, stats.n_members);
    CHECK_INT(counts[RSR_KOP_SUB_MEM], 0);
    CHECK_INT(counts[RSR_KOP_CONST], 0);
    CHECK_INT(counts[RSR_KOP_STORE], 2 * rows);
    CHECK_INT(counts[RSR_KOP_SHL] + counts[RSR_KOP_SHR], 3 * rows);
    CHECK_INT(counts[RSR_KOP_ADD] + counts[RSR_KOP_SUB] + counts[RSR_KOP_COPY],
              3 * predict_adds(alphabet, k));
}

static void test_zeros_emit_nothing(struct suite *suite) {
    static const struct setting setting = {{24, 600, 8}, RSR_TERNARY,      4,    32,
                                           RSR_INPUT_I8, RSR_EPILOGUE_RAW, false};
    struct test_case *c = make_fold(suite, &setting);
    set_weights(suite, c, zero_rich_weight);
    lower_case(suite, c, find_spec("avx512"), 1);
    uint64_t counts[RSR_KOP_COUNT];
    count_ops(&c->lowered.kernel, counts);
    CHECK_INT(counts[RSR_KOP_STORE], 2 * 2); /* rows 0 and 4, in the first chunk only */
    uint32_t n_empty = 0;
    for (uint32_t b = 0; b < c->lowered.kernel.n_bodies; b++)
        n_empty += c->lowered.kernel.bodies[b].n_ops == 0;
    CHECK_INT(n_empty, c->lowered.kernel.n_bodies - 1);
}

/* ---- keys and refusals ----------------------------------------------------------------------- */

static void test_keys(struct suite *suite) {
    static const struct setting setting = {{20, 100, 8}, RSR_TERNARY,      4,    32,
                                           RSR_INPUT_I8, RSR_EPILOGUE_RAW, false};
    const struct rsr_spec *spec = find_spec("avx512");
    struct test_case *a = make_fold(suite, &setting), *b = make_fold(suite, &setting);
    lower_case(suite, a, spec, 1);
    lower_case(suite, b, spec, 1);
    CHECK(strcmp(a->lowered.kernel.key, b->lowered.kernel.key) != 0);
    b->matrix = a->matrix;
    lower_case(suite, b, spec, 2);
    CHECK_STR(a->lowered.kernel.key, b->lowered.kernel.key);
    CHECK_INT(a->lowered.codes.size_bytes + a->lowered.index.size_bytes, 0);
}

static void test_refusal(struct suite *suite) {
    static const struct setting setting = {{20, 30, 8},  RSR_TERNARY,      8,    32,
                                           RSR_INPUT_I8, RSR_EPILOGUE_RAW, false};
    struct test_case *c = make_fold(suite, &setting);
    struct rsr_index index;
    rsrc_build_index(&suite->arena, &c->matrix, 8, &index);
    expect_lower_refused(suite, c, &specs[0], &index, "lower-k-too-large", "fold: k = 8");
}

int main(void) {
    struct suite suite;
    suite_begin(&suite, "test_fold", 20261121);
    for (size_t i = 0; i < N_MACHINES; i++)
        test_products(&suite, i);
    test_float_order(&suite);
    for (uint32_t alphabet = RSR_TERNARY; alphabet <= RSR_BINARY_BIT; alphabet++)
        for (uint32_t k = 1; k <= (alphabet == RSR_TERNARY ? 5u : 7u); k++)
            test_counts(&suite, (enum rsr_alphabet)alphabet, k);
    test_zeros_emit_nothing(&suite);
    test_keys(&suite);
    test_refusal(&suite);
    suite_end(&suite);
    return CHECK_EXIT();
}
