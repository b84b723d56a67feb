/* test_float_kernels.c - float activations in `scatter`, `lut` and `table` (test_fold.c has those
 * of `fold`).
 *
 * Integer-valued rows are exact and go through kernel_harness.h like int8 ones. Rows of many
 * magnitudes must be within n u sum |w x| of sums in float64, and have equal bits for every
 * machine, tile, batch and back end. `lut` and `table` must also follow the order of additions that
 * lower_lut_f32.c documents.
 */
#include "float_harness.h"

#include "kernel/kernel.h"

static struct test_case *make_float_case(struct suite *suite, const struct shape *shape,
                                         uint32_t alphabet, uint32_t number,
                                         enum rsr_kernel_id kernel) {
    struct test_case *c =
        make_case(suite, shape, (enum rsr_alphabet)alphabet,
                  number % 2 == 0 ? RSR_EPILOGUE_RAW : RSR_EPILOGUE_SCALE, number % 4 == 1);
    make_float_rows(suite, c);
    c->plan.kernel = kernel;
    c->plan.token_tile = 1;
    return c;
}

/* ---- exact products -------------------------------------------------------------------------- */

static void test_scatter(struct suite *suite) {
    static const struct {
        struct shape shape;
        uint32_t k;
        enum rsr_fold_kind fold;
    } settings[] = {{{1, 1, 1}, 1, RSR_FOLD_TREE},       {{7, 40, 3}, 3, RSR_FOLD_TREE},
                    {{3, 200, 8}, 5, RSR_FOLD_TREE},     {{37, 1, 8}, 4, RSR_FOLD_DIRECT},
                    {{64, 512, 16}, 8, RSR_FOLD_TREE},   {{50, 300, 20}, 16, RSR_FOLD_DIRECT},
                    {{23, 5460, 8}, 7, RSR_FOLD_DIRECT}, {{3, 66000, 4}, 2, RSR_FOLD_TREE},
                    {{129, 257, 64}, 5, RSR_FOLD_TREE}};
    enum { N = sizeof settings / sizeof *settings };
    struct test_case *cases[3 * N];
    for (uint32_t n = 0; n < 3 * N; n++) {
        cases[n] = make_float_case(suite, &settings[n / 3].shape, n % 3, n, RSR_KERNEL_SCATTER);
        cases[n]->plan.k = settings[n / 3].k;
        cases[n]->plan.fold = settings[n / 3].fold;
    }
    run_cases(suite, cases, 3 * N, find_spec("scalar"), "scatter_f32");
}

/* Planes of 16 rows; planes of 32 rows, with and without instructions of AVX-512; words; and, on
 * avx512, column blocks because of a small L2 cache. */
static const char *const lut_machines[] = {"avx2", "ssse3", "avx512vl", "avx512bw", "avx512"};
#define N_LUT_MACHINES (sizeof lut_machines / sizeof *lut_machines)

/* Rows around vectors and units, columns around segments, steps, blocks and the padding of x. The
 * last shape's streams of codes are staggered. */
static const struct shape lut_shapes[] = {
    {1, 1, 64},   {5, 4, 16},    {15, 2, 64},    {16, 24, 64},  {17, 23, 64},      {33, 32, 64},
    {63, 33, 64}, {64, 511, 32}, {65, 512, 128}, {66, 513, 99}, {130, 1024, 8},    {9, 5460, 64},
    {3, 18, 64},  {4, 19, 64},   {6, 20, 64},    {7, 37, 64},   {1205, 1201, 256},
};
#define N_LUT_SHAPES (sizeof lut_shapes / sizeof *lut_shapes)

/* The kernels that have one order. */
static const enum rsr_kernel_id lut_kernels[] = {RSR_KERNEL_LUT_F32, RSR_KERNEL_TABLE_F32};
#define N_LUT_KERNELS (sizeof lut_kernels / sizeof *lut_kernels)

/* Half of the cases on each machine, to save compiling. */
static void test_lut(struct suite *suite, uint32_t machine, uint32_t kernel) {
    struct rsr_spec spec = *find_spec(lut_machines[machine]);
    spec.cores = machine / 2; /* units of several vectors, and of one */
    struct test_case *cases[3 * N_LUT_SHAPES];
    uint32_t n_cases = 0;
    for (uint32_t n = (machine + kernel) % 2; n < 3 * N_LUT_SHAPES; n += 2) {
        cases[n_cases++] =
            make_float_case(suite, &lut_shapes[n / 3], n % 3, n / 2, lut_kernels[kernel]);
        cases[n_cases - 1]->plan.token_tile = n; /* used by `table`: a vector, or several */
    }
    run_cases(suite, cases, n_cases, &spec,
              rsrc_arena_printf(&suite->arena, "lut_f32_%s_%u", spec.name, kernel));
}

/* Bits per weight, exact to the byte: 1.68 and 1. The planner counts equally many bytes. */
static void test_sizes(struct suite *suite) {
    const struct shape shape = {640, 608, 64};
    static const uint64_t codes[] = {640 * 608 / 19 * 4, 640 * 608 / 8, 640 * 608 / 8};
    static const uint64_t index[] = {(3 * 32 + 16 + 16) * 4, (4 * 16 + 16) * 4, (4 * 16 + 16) * 4};
    for (uint32_t alphabet = RSR_TERNARY; alphabet <= RSR_BINARY_BIT; alphabet++) {
        struct test_case *c = make_float_case(suite, &shape, alphabet, 0, RSR_KERNEL_LUT_F32);
        lower_case(suite, c, find_spec("avx512"), 0);
        CHECK_INT(c->lowered.codes.size_bytes, codes[alphabet]);
        CHECK_INT(c->lowered.index.size_bytes, index[alphabet]);
    }
    for (uint32_t n = 0; n < 3 * N_LUT_SHAPES; n++) {
        const struct rsr_spec *spec = find_spec(lut_machines[n % N_LUT_MACHINES]);
        struct test_case *c =
            make_float_case(suite, &lut_shapes[n / 3], n % 3, 0, RSR_KERNEL_LUT_F32);
        struct rsr_stats stats;
        struct rsrc_choice choices[RSRC_MAX_KERNEL_CHOICES] = {0};
        lower_case(suite, c, spec, 0);
        rsrc_analyse_matrix(&suite->arena, &c->matrix, 2, &stats);
        const struct rsrc_plan_input input = {
            .alphabet = c->matrix.alphabet, .input = RSR_INPUT_F32, .stats = &stats, .spec = spec};
        CHECK_INT(rsrc_list_kernel(&suite->arena, RSR_KERNEL_LUT_F32, &input, choices), 1);
        CHECK_INT(choices[0].weight_bytes,
                  c->lowered.codes.size_bytes + c->lowered.index.size_bytes);
    }
}

/* ---- rounding -------------------------------------------------------------------------------- */

/* All tiles have one order of additions, the order of a single tile, in each alphabet and by both
 * folds. */
static void test_scatter_order(struct suite *suite) {
    static const uint32_t tile_rows[] = {100, 5, 15};
    const struct shape shape = {13, 900, 5};
    const struct rsr_spec *spec = find_spec("scalar");
    struct ways ways = {.n = 0};
    for (uint32_t n = 0; n < 6; n++) {
        struct test_case *c = make_float_case(suite, &shape, n / 2, 0, RSR_KERNEL_SCATTER);
        make_random_floats(suite, c);
        c->plan.k = 5;
        c->plan.fold = n % 2 == 0 ? RSR_FOLD_TREE : RSR_FOLD_DIRECT;
        lower_case(suite, c, spec, 0);
        const float *expected = run_floats(suite, c, NULL, MAX_TOKENS);
        check_bound(c, expected);
        for (uint32_t i = 0; i < sizeof tile_rows / sizeof *tile_rows; i++)
            add_way(suite, &ways, c, spec, tile_rows[i], expected);
    }
    check_ways(suite, &ways, spec, "scatter_order");
}

/* The order of lower_lut_f32.c: a segment is summed by column, a row by segment. 19 ternary columns
 * are six segments of 3 and one of 1. */
static float *sum_segments(struct suite *suite, const struct test_case *c) {
    const uint32_t rows = c->matrix.rows, cols = c->matrix.cols;
    const bool ternary = c->matrix.alphabet == RSR_TERNARY;
    float *y = RSRC_NEW_ARRAY(&suite->arena, MAX_TOKENS * rows, float);
    for (uint32_t t = 0; t < MAX_TOKENS; t++)
        for (uint32_t r = 0; r < rows; r++)
            for (uint32_t first = 0, n; first < cols; first += n) {
                float sum = 0;
                n = !ternary ? 4 : first % 19 == 18 ? 1 : 3;
                for (uint32_t j = first; j < first + n && j < cols; j++)
                    sum += c->matrix.values[(size_t)r * cols + j] * float_row(c, t)[j];
                y[t * rows + r] += sum;
            }
    return y;
}

static void test_lut_order(struct suite *suite) {
    static const uint32_t tile_rows[N_LUT_MACHINES] = {8, 1, 64, 16, 1000};
    const struct shape shape = {75, 601, 64};
    struct test_case *cases[RSR_BINARY_BIT + 1];
    const float *expected[RSR_BINARY_BIT + 1];
    for (uint32_t alphabet = RSR_TERNARY; alphabet <= RSR_BINARY_BIT; alphabet++) {
        cases[alphabet] = make_float_case(suite, &shape, alphabet, 0, RSR_KERNEL_LUT_F32);
        make_random_floats(suite, cases[alphabet]);
        expected[alphabet] = sum_segments(suite, cases[alphabet]);
        check_bound(cases[alphabet], expected[alphabet]);
    }
    for (uint32_t i = 0; i < N_LUT_MACHINES; i++) {
        const struct rsr_spec *spec = find_spec(lut_machines[i]);
        struct ways ways = {.n = 0};
        for (uint32_t n = 0; n < 3 * N_LUT_KERNELS; n++) {
            cases[n % 3]->plan.kernel = lut_kernels[n / 3];
            add_way(suite, &ways, cases[n % 3], spec, tile_rows[i], expected[n % 3]);
        }
        check_ways(suite, &ways, spec, rsrc_arena_printf(&suite->arena, "lut_%s", spec->name));
    }
    /* If `table` looks nothing up, it has one order of additions in both regimes. */
    const struct rsr_spec *generic = find_spec("generic");
    struct ways ways = {.n = 0};
    for (uint32_t n = 0; n < 3; n++) {
        CHECK_INT(cases[n]->plan.kernel, RSR_KERNEL_TABLE_F32);
        add_way(suite, &ways, cases[n], generic, 16, expected[n]);
    }
    check_ways(suite, &ways, generic, "table_generic");
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void test_refusals(struct suite *suite) {
    const struct shape shape = {10, 10, 4};
    struct test_case *c = make_float_case(suite, &shape, RSR_TERNARY, 0, RSR_KERNEL_LUT_F32);
    expect_lower_refused(suite, c, find_spec("generic"), NULL, "lower-target",
                         "target generic has no instructions for lut_f32");
    c->plan.kernel = RSR_KERNEL_DOT;
    expect_lower_refused(suite, c, find_spec("avx512"), NULL, "lower-input", "not floats");
    c->plan.kernel = RSR_KERNEL_DOT_PANEL;
    expect_lower_refused(suite, c, find_spec("avx512"), NULL, "lower-input", "not floats");
    c->plan.kernel = RSR_KERNEL_LUT_F32;
    c->input = RSR_INPUT_I8;
    expect_lower_refused(suite, c, find_spec("avx512"), NULL, "lower-input", "not int8");
}

int main(void) {
    struct suite suite;
    suite_begin(&suite, "test_float_kernels", 20261205);
    test_scatter(&suite);
    for (uint32_t i = 0; i < N_LUT_MACHINES; i++)
        for (uint32_t kernel = 0; kernel < N_LUT_KERNELS; kernel++)
            test_lut(&suite, i, kernel);
    test_sizes(&suite);
    test_scatter_order(&suite);
    test_lut_order(&suite);
    test_refusals(&suite);
    suite_end(&suite);
    return CHECK_EXIT();
}
