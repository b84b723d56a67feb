/* test_group_scales.c - float activations and a scale for every group of columns of a row, in
 * `lut`, `table` and `scatter`.
 *
 * Whole activations with scales that are powers of two are exact. Others must be within n u sum |w
 * x|, and have equal bits for every machine, tile, batch and back end; `lut` and `table` must
 * follow the order that lower_lut_f32.c documents. Further tests check the stored bytes, the
 * planner's prediction of them, and refusals.
 */
#include "float_harness.h"

#include "group_harness.h"
#include "rsr/reduce.h"

/* Groups that steps, segments and vectors of all kinds divide or do not divide. The last group is
 * short or full. */
static const struct setting settings[] = {
    {{1, 1, 64}, 1},     {{5, 128, 64}, 128}, {{67, 130, 64}, 128}, {{33, 384, 32}, 128},
    {{16, 300, 16}, 77}, {{65, 256, 8}, 19},  {{3, 57, 64}, 4},     {{130, 513, 64}, 64},
    {{17, 90, 5}, 100},  {{9, 1000, 64}, 500}};
#define N_SETTINGS (sizeof settings / sizeof *settings)

static struct test_case *make_float_case(struct suite *suite, const struct setting *setting,
                                         uint32_t alphabet, enum scales scales,
                                         enum rsr_kernel_id kernel) {
    struct test_case *c = make_group_case(suite, setting, alphabet, scales, kernel);
    make_float_rows(suite, c);
    c->plan.token_tile = 1;
    return c;
}

/* ---- exact products -------------------------------------------------------------------------- */

static float *exact_products(struct suite *suite, const struct test_case *c) {
    const uint32_t rows = c->matrix.rows, cols = c->matrix.cols;
    float *y = RSRC_NEW_ARRAY(&suite->arena, MAX_TOKENS * rows, float);
    for (uint32_t t = 0; t < MAX_TOKENS; t++)
        for (uint32_t r = 0; r < rows; r++) {
            double sum = 0;
            for (uint32_t j = 0; j < cols; j++)
                sum += c->matrix.values[(size_t)r * cols + j] * scale_at(c, r, j) *
                       (double)float_row(c, t)[j];
            y[t * rows + r] = (float)sum;
            CHECK((double)y[t * rows + r] == sum);
        }
    return y;
}

static const char *const lut_machines[] = {"avx2", "ssse3", "avx512bw", "avx512"};
#define N_LUT_MACHINES (sizeof lut_machines / sizeof *lut_machines)

/* Each machine compiles only a third of the cases, to save time. Small L2 caches cut columns into
 * blocks. */
static void test_exact_lut(struct suite *suite, uint32_t machine) {
    struct rsr_spec spec = *find_spec(lut_machines[machine]);
    spec.cores = machine / 2; /* units of several vectors, and of one */
    struct ways ways = {.n = 0};
    for (uint32_t n = machine; n < 3 * N_SETTINGS; n += N_LUT_MACHINES) {
        struct test_case *c =
            make_float_case(suite, &settings[n / 3], (n + n / 3) % 3, POWERS, RSR_KERNEL_LUT_F32);
        const float *expected = exact_products(suite, c);
        add_way(suite, &ways, c, &spec, c->plan.tile_rows, expected);
        c->plan.kernel = RSR_KERNEL_TABLE_F32;
        add_way(suite, &ways, c, &spec, c->plan.tile_rows, expected);
    }
    check_ways(suite, &ways, &spec, rsrc_arena_printf(&suite->arena, "exact_%s", spec.name));
}

static void test_exact_scatter(struct suite *suite) {
    const struct rsr_spec *spec = find_spec("generic");
    struct ways ways = {.n = 0};
    for (uint32_t n = 0; n < 3 * N_SETTINGS; n++) {
        struct test_case *c =
            make_float_case(suite, &settings[n / 3], n % 3, POWERS, RSR_KERNEL_SCATTER);
        c->plan.k = 1 + n % 5;
        c->plan.fold = n % 2 == 0 ? RSR_FOLD_TREE : RSR_FOLD_DIRECT;
        add_way(suite, &ways, c, spec, c->plan.tile_rows, exact_products(suite, c));
    }
    check_ways(suite, &ways, spec, "exact_scatter");
}

/* ---- rounding -------------------------------------------------------------------------------- */

/* The order of lower_lut_f32.c: a group is summed by segment, a row by group. 19 ternary columns
 * are six segments of 3 and one of 1; a binary segment has 4 columns. */
static float *sum_groups(struct suite *suite, const struct test_case *c) {
    const struct rsr_matrix *m = &c->matrix;
    float *y = RSRC_NEW_ARRAY(&suite->arena, MAX_TOKENS * m->rows, float);
    for (uint32_t i = 0; i < MAX_TOKENS * m->rows; i++) {
        const float *x = float_row(c, i / m->rows);
        const int8_t *w = m->values + (size_t)(i % m->rows) * m->cols;
        for (uint32_t first = 0; first < m->cols; first += m->group_cols) {
            const uint32_t left = m->cols - first;
            const uint32_t end = first + (left < m->group_cols ? left : m->group_cols);
            float group = 0;
            for (uint32_t j = first, n; j < end; j += n) {
                float sum = 0;
                n = m->alphabet != RSR_TERNARY ? 4 : (j - first) % 19 == 18 ? 1 : 3;
                for (uint32_t col = j; col < j + n && col < end; col++)
                    sum += w[col] * x[col];
                group += sum;
            }
            y[i] += group * (float)scale_at(c, i % m->rows, first);
        }
    }
    return y;
}

static void test_lut_order(struct suite *suite) {
    static const uint32_t tile_rows[N_LUT_MACHINES] = {8, 1, 64, 1000};
    static const struct setting setting = {{67, 601, 64}, 128};
    struct test_case *cases[RSR_BINARY_BIT + 1];
    const float *expected[RSR_BINARY_BIT + 1];
    for (uint32_t alphabet = RSR_TERNARY; alphabet <= RSR_BINARY_BIT; alphabet++) {
        cases[alphabet] =
            make_float_case(suite, &setting, alphabet, alphabet == RSR_TERNARY ? HALVES : FLOATS,
                            RSR_KERNEL_LUT_F32);
        make_random_floats(suite, cases[alphabet]);
        expected[alphabet] = sum_groups(suite, cases[alphabet]);
        check_bound(cases[alphabet], expected[alphabet]);
    }
    for (uint32_t i = 0; i < N_LUT_MACHINES; i++) {
        const struct rsr_spec *spec = find_spec(lut_machines[i]);
        struct ways ways = {.n = 0};
        for (uint32_t n = 0; n < 6; n++) {
            cases[n % 3]->plan.kernel = n < 3 ? RSR_KERNEL_LUT_F32 : RSR_KERNEL_TABLE_F32;
            add_way(suite, &ways, cases[n % 3], spec, tile_rows[i], expected[n % 3]);
        }
        check_ways(suite, &ways, spec, rsrc_arena_printf(&suite->arena, "order_%s", spec->name));
    }
}

static void test_scatter_order(struct suite *suite) {
    static const struct setting setting = {{13, 400, 5}, 128};
    const struct rsr_spec *spec = find_spec("scalar");
    struct ways ways = {.n = 0};
    for (uint32_t n = 0; n < 6; n++) {
        struct test_case *c = make_float_case(suite, &setting, n / 2, FLOATS, RSR_KERNEL_SCATTER);
        make_random_floats(suite, c);
        c->plan.k = 3;
        c->plan.fold = n % 2 == 0 ? RSR_FOLD_TREE : RSR_FOLD_DIRECT;
        lower_case(suite, c, spec, 0);
        const float *expected = run_floats(suite, c, NULL, MAX_TOKENS);
        check_bound(c, expected);
        add_way(suite, &ways, c, spec, 100, expected);
        add_way(suite, &ways, c, spec, 6, expected);
    }
    check_ways(suite, &ways, spec, "order_scatter");
}

/* ---- what is stored -------------------------------------------------------------------------- */

/* Every binary16 number that is not negative comes out of a kernel as it is. */
static void test_half_scales(struct suite *suite) {
    enum { N_HALVES = 0x7c00 };
    static const struct setting setting = {{N_HALVES, 1, 4096}, 1};
    struct test_case *c = make_float_case(suite, &setting, RSR_TERNARY, POWERS, RSR_KERNEL_LUT_F32);
    int8_t *values = RSRC_NEW_ARRAY(&suite->arena, N_HALVES, int8_t);
    float *scale = RSRC_NEW_ARRAY(&suite->arena, N_HALVES, float);
    memset(values, 1, N_HALVES);
    for (uint32_t i = 0; i < N_HALVES; i++) {
        const uint32_t exponent = i >> 10, mantissa = i & 1023;
        scale[i] = ldexpf((float)(exponent == 0 ? mantissa : 1024 + mantissa),
                          (int)(exponent == 0 ? 1 : exponent) - 25);
    }
    c->matrix.values = values;
    c->matrix.scale = scale;
    CHECK_INT(rsrc_group_scale_bytes(&c->matrix), 2);
    for (uint32_t t = 0; t < MAX_TOKENS; t++)
        memcpy(c->x + t * c->ldx, &(float){1}, sizeof(float));
    float *expected = RSRC_NEW_ARRAY(&suite->arena, MAX_TOKENS * N_HALVES, float);
    for (uint32_t t = 0; t < MAX_TOKENS; t++)
        memcpy(expected + t * N_HALVES, scale, N_HALVES * sizeof *scale);
    struct ways ways = {.n = 0};
    add_way(suite, &ways, c, find_spec("avx512bw"), 4096, expected);
    check_ways(suite, &ways, find_spec("avx512bw"), "halves");

    static const float others[] = {0x1p-25f, 0x1.002p0f, 65536, -1, 0x1.8p-24f, INFINITY};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        scale[7] = others[i];
        CHECK_INT(rsrc_group_scale_bytes(&c->matrix), 4);
    }
    c->matrix.group_cols = 0;
    CHECK_INT(rsrc_group_scale_bytes(&c->matrix), 0);
}

/* 128 ternary columns take 7 words and a scale, 128 binary ones 4 words and a scale; the planner
 * counts equally many. */
static void test_sizes(struct suite *suite) {
    static const struct setting setting = {{640, 512, 64}, 128};
    for (uint32_t n = 0; n < 4; n++) {
        const enum scales scales = n % 2 == 0 ? HALVES : FLOATS;
        struct test_case *c = make_float_case(suite, &setting, n / 2, scales, RSR_KERNEL_LUT_F32);
        lower_case(suite, c, find_spec("avx512"), 0);
        CHECK_INT(c->lowered.codes.size_bytes,
                  640 * 4 * ((n / 2 == 0 ? 7 : 4) * 4 + (scales == HALVES ? 2 : 4)));
        CHECK_INT(c->lowered.scale.size_bytes, 16);
        CHECK_INT(memcmp(c->lowered.scale.bytes, &(float){1}, sizeof(float)), 0);
    }
    for (uint32_t n = 0; n < 3 * N_SETTINGS; n++) {
        const struct rsr_spec *spec = find_spec(lut_machines[n % N_LUT_MACHINES]);
        struct test_case *c = make_float_case(suite, &settings[n / 3], n % 3,
                                              n % 2 == 0 ? HALVES : FLOATS, RSR_KERNEL_LUT_F32);
        struct rsrc_plan_input input = plan_input(suite, c, spec, NULL);
        struct rsrc_choice choices[RSRC_MAX_KERNEL_CHOICES] = {0};
        lower_case(suite, c, spec, 0);
        CHECK_INT(rsrc_list_kernel(&suite->arena, RSR_KERNEL_LUT_F32, &input, choices), 1);
        CHECK_INT(choices[0].weight_bytes,
                  c->lowered.codes.size_bytes + c->lowered.index.size_bytes);
        c->plan.kernel = RSR_KERNEL_SCATTER;
        c->plan.k = c->matrix.rows < 4 ? c->matrix.rows : 4;
        input = plan_input(suite, c, spec, NULL);
        lower_case(suite, c, spec, 0);
        CHECK_INT(rsrc_list_kernel(&suite->arena, RSR_KERNEL_SCATTER, &input, choices), 2);
        CHECK_INT(choices[0].weight_bytes,
                  c->lowered.codes.size_bytes + c->lowered.index.size_bytes);
    }
}

/* ---- the plan -------------------------------------------------------------------------------- */

/* The status, and the messages. */
static enum rsrc_status plan_case(struct suite *suite, const struct test_case *c, int forced,
                                  const char *target, struct rsr_plan *plan, char *said,
                                  size_t said_size) {
    struct rsrc_plan_options options = {.k = 0};
    for (int role = 0; role <= RSR_ROLE_COUNT; role++)
        options.forced_variant[role] = forced;
    char *message = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&message, &size);
    struct rsrc_diag *diag = rsrc_diag_create(stream, false, RSRC_COLOR_NEVER);
    const struct rsrc_plan_input input = plan_input(suite, c, find_spec(target), &options);
    const enum rsrc_status status = rsrc_plan_layer(diag, &suite->arena, &input, plan);
    rsrc_diag_destroy(diag);
    fclose(stream);
    snprintf(said, said_size, "%s", message);
    free(message);
    return status;
}

/* Kernels that share data add in one order. */
static bool has_one_order(const struct rsr_plan *plan) {
    const struct rsr_regime_plan *a = &plan->regimes[0], *b = &plan->regimes[1];
    return rsrc_kernel_row(a->kernel)->data == rsrc_kernel_row(b->kernel)->data && a->k == b->k &&
           a->fold == b->fold;
}

static void test_plan(struct suite *suite) {
    static const struct setting setting = {{64, 512, 64}, 128};
    struct test_case *c = make_float_case(suite, &setting, RSR_TERNARY, HALVES, RSR_KERNEL_LUT_F32);
    struct rsr_plan plan;
    char said[500];
    /* Both regimes read one copy of the data: floats have one order of additions. */
    for (int forced = -1; forced < RSR_VARIANT_MMA; forced++) {
        const bool refused = forced == RSR_VARIANT_DOT || forced == RSR_VARIANT_FOLD;
        CHECK_INT(plan_case(suite, c, forced, "avx512", &plan, said, sizeof said),
                  refused ? RSRC_FAILED : RSRC_OK);
        CHECK((strstr(said, "[plan-variant]") != NULL) == refused);
        CHECK(
            forced != RSR_VARIANT_FOLD ||
            strstr(said, "tensor 'blk.q': variant 'fold' has no scales of groups of 128 columns"));
        if (!refused) {
            CHECK(has_one_order(&plan));
            CHECK(strstr(plan.regimes[0].reason, " with a scale every 128 columns") != NULL);
        }
    }
    CHECK_INT(plan_case(suite, c, -1, "scalar", &plan, said, sizeof said), RSRC_OK);
    CHECK_INT(plan.regimes[RSR_REGIME_DECODE].kernel, RSR_KERNEL_SCATTER);
}

/* Float layers with one scale, in every variant and with the epilogue of models. */
static void test_one_order(struct suite *suite) {
    static const struct setting setting = {{64, 512, 64}, 512};
    struct test_case *c = make_float_case(suite, &setting, RSR_TERNARY, HALVES, RSR_KERNEL_LUT_F32);
    c->matrix.group_cols = 0;
    struct rsr_plan plan;
    char said[500];
    for (int forced = -1; forced < RSR_VARIANT_MMA; forced++)
        for (size_t i = 0; forced != RSR_VARIANT_DOT && i < N_LUT_MACHINES; i++) {
            CHECK_INT(plan_case(suite, c, forced, lut_machines[i], &plan, said, sizeof said),
                      RSRC_OK);
            CHECK(has_one_order(&plan));
        }
}

/* ---- the stages around ----------------------------------------------------------------------- */

/* Rows with equal weights may have different scales, so no row is left out. Dead columns become
 * 0. */
static void test_reduction(struct suite *suite) {
    static const struct setting setting = {{40, 2560, 64}, 128};
    struct test_case *c = make_float_case(suite, &setting, RSR_TERNARY, HALVES, RSR_KERNEL_LUT_F32);
    uint8_t *dead_cols = RSRC_NEW_ARRAY(&suite->arena, 2560, uint8_t);
    memset(dead_cols, 1, 2000);
    int8_t *values = RSRC_NEW_ARRAY(&suite->arena, 40 * 2560, int8_t);
    for (uint32_t r = 0; r < 40; r++)
        memcpy(values + r * 2560, c->matrix.values + 5 * 2560, 2560);
    c->matrix.values = values;
    const struct rsr_dead dead = {.cols = dead_cols};
    struct rsr_matrix reduced;
    struct rsr_reduction reduction;
    rsrc_reduce_matrix(&suite->arena, &c->matrix, &dead, &reduced, &reduction);
    CHECK(reduction.row_sources == NULL && reduction.kept_cols == NULL);
    CHECK(reduced.rows == 40 && reduced.cols == 2560 && reduced.group_cols == 128);
    CHECK_INT(rsrc_verify_reduction(suite->diag, &c->matrix, &dead, &reduced, &reduction, "t"),
              RSRC_OK);
}

static void test_refusals(struct suite *suite) {
    static const struct setting setting = {{10, 10, 64}, 5};
    struct test_case *c = make_float_case(suite, &setting, RSR_TERNARY, HALVES, RSR_KERNEL_FOLD);
    const struct rsr_spec *spec = find_spec("avx512");
    expect_lower_refused(suite, c, spec, NULL, "lower-groups",
                         "fold has no scales of column groups");
    c->plan.kernel = RSR_KERNEL_DOT;
    expect_lower_refused(suite, c, spec, NULL, "lower-groups",
                         "dot has no scales of column groups");
}

int main(void) {
    struct suite suite;
    suite_begin(&suite, "test_group_scales", 20261121);
    for (uint32_t i = 0; i < N_LUT_MACHINES; i++)
        test_exact_lut(&suite, i);
    test_exact_scatter(&suite);
    test_lut_order(&suite);
    test_scatter_order(&suite);
    test_half_scales(&suite);
    test_sizes(&suite);
    test_plan(&suite);
    test_one_order(&suite);
    test_reduction(&suite);
    test_refusals(&suite);
    suite_end(&suite);
    return CHECK_EXIT();
}
