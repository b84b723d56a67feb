/* test_reduce_kernels.c - kernels of reduced layers in every variant against 64-bit sums of the
 * full matrix (kernel_harness.h): rows that repeat, are opposite or zero, and columns that are left
 * out, each alone and together, with tiles, with batches larger than a group of tokens, and with
 * both kinds of activations. */
#include "kernel_harness.h"

/* The full shape, the shape that is computed, and the tile in kept rows. */
struct setting {
    uint32_t rows, kept_rows, cols, kept_cols, tile_rows;
};

static const struct setting settings[] = {
    {1, 1, 9, 1, 4},          {50, 1, 40, 40, 4},      {37, 37, 700, 33, 16},
    {130, 61, 600, 600, 16},  {200, 64, 513, 512, 16}, {96, 67, 2000, 1030, 8},
    {700, 140, 310, 257, 64},
};
#define N_SETTINGS (sizeof settings / sizeof *settings)

/* kept_rows of the rows are new, spread evenly; the others follow from earlier ones or are zero. */
static void spread_rows(struct suite *suite, const struct setting *setting,
                        struct rsr_row_source *sources, uint32_t *slots) {
    uint32_t n_kept = 0;
    for (uint32_t i = 0; i < setting->rows; i++) {
        const uint64_t r = check_random(&suite->seed) >> 20;
        const uint64_t wanted = (uint64_t)(i + 1) * setting->kept_rows / setting->rows;
        if (n_kept < wanted || n_kept == 0) {
            sources[i] = (struct rsr_row_source){.row = n_kept++, .sign = 1};
            slots[i] = n_kept - 1;
            continue;
        }
        const int32_t sign = (int32_t)(r % 3) - 1;
        const uint32_t row = sign == 0 ? 0 : (uint32_t)(r / 3 % n_kept);
        sources[i] = (struct rsr_row_source){.row = row, .sign = sign};
        slots[i] = sign == 0 ? n_kept - 1 : row;
    }
    CHECK_INT(n_kept, setting->kept_rows);
}

static uint32_t *spread_cols(struct suite *suite, const struct setting *setting) {
    uint32_t *kept = RSRC_NEW_ARRAY(&suite->arena, setting->kept_cols, uint32_t);
    for (uint32_t j = 0; j < setting->kept_cols; j++)
        kept[j] = (uint32_t)((uint64_t)(j + 1) * setting->cols / setting->kept_cols - 1);
    return kept;
}

/* A random reduced matrix and the layer that follows from it. */
static struct test_case *make_reduced_case(struct suite *suite, const struct setting *setting,
                                           enum rsr_alphabet alphabet, enum rsr_epilogue epilogue,
                                           bool row_scales) {
    const struct shape kept_shape = {setting->kept_rows, setting->kept_cols, setting->tile_rows};
    const struct shape full_shape = {setting->rows, setting->cols, setting->tile_rows};
    struct test_case *small = make_case(suite, &kept_shape, alphabet, epilogue, false);
    struct test_case *c = make_case(suite, &full_shape, alphabet, epilogue, row_scales);
    struct rsr_reduction *reduction = RSRC_NEW(&suite->arena, struct rsr_reduction);
    *reduction = (struct rsr_reduction){
        .counts = {.rows = setting->rows, .cols = setting->cols},
        .rows = setting->kept_rows,
        .cols = setting->kept_cols,
        .kept_cols = setting->kept_cols < setting->cols ? spread_cols(suite, setting) : NULL};
    struct rsr_row_source *sources =
        RSRC_NEW_ARRAY(&suite->arena, setting->rows, struct rsr_row_source);
    uint32_t *slots = RSRC_NEW_ARRAY(&suite->arena, setting->rows, uint32_t);
    spread_rows(suite, setting, sources, slots);
    if (setting->kept_rows < setting->rows)
        reduction->row_sources = sources;
    int8_t *values = (int8_t *)c->matrix.values;
    memset(values, 0, (size_t)setting->rows * setting->cols);
    for (uint32_t i = 0; i < setting->rows; i++)
        for (uint32_t j = 0; j < setting->kept_cols; j++) {
            const uint32_t col = reduction->kept_cols != NULL ? reduction->kept_cols[j] : j;
            values[(size_t)i * setting->cols + col] =
                (int8_t)(small->matrix.values[(size_t)sources[i].row * setting->kept_cols + j] *
                         sources[i].sign);
        }
    make_expected(suite, c);
    c->reduced = small->matrix;
    c->reduced.scale = c->matrix.scale;
    c->reduced.n_scales = c->matrix.n_scales;
    c->reduction = reduction;
    c->slots = slots;
    return c;
}

struct way {
    enum rsr_kernel_id kernel;
    bool floats; /* in every other case */
    uint32_t spec;
};

static void test_way(struct suite *suite, const struct way *way) {
    const struct rsrc_kernel_row *row = rsrc_kernel_row(way->kernel);
    const struct rsr_spec *spec = &specs[way->spec];
    struct test_case *cases[N_SETTINGS * 3];
    uint32_t n = 0;
    for (uint32_t s = 0; s < N_SETTINGS; s++)
        for (uint32_t alphabet = RSR_TERNARY; alphabet <= RSR_BINARY_BIT; alphabet++) {
            if ((s + alphabet + way->spec) % 3 != 0)
                continue; /* to save compiling */
            struct test_case *c =
                make_reduced_case(suite, &settings[s], (enum rsr_alphabet)alphabet,
                                  n % 3 == 0 ? RSR_EPILOGUE_RAW : RSR_EPILOGUE_SCALE, n % 3 == 1);
            c->plan.kernel = way->kernel;
            if ((row->traits & RSRC_HAS_K) != 0)
                c->plan.k = 4;
            if (way->floats && n % 2 == 0)
                make_float_rows(suite, c);
            c->plan.fold = s % 2 == 0 ? RSR_FOLD_TREE : RSR_FOLD_DIRECT;
            cases[n++] = c;
        }
    run_cases(suite, cases, n, spec,
              rsrc_arena_printf(&suite->arena, "reduced_%s_%s", row->name, spec->name));
}

/* More tokens than a group has: the harness's batches, repeated one after another. */
static void test_groups(struct suite *suite) {
    enum { BATCH = 75 };
    const struct setting setting = {90, 41, 600, 100, 8};
    struct test_case *c = make_reduced_case(suite, &setting, RSR_TERNARY, RSR_EPILOGUE_SCALE, true);
    lower_case(suite, c, &specs[0], 0);
#ifdef HAVE_INTERPRETER
    const struct rsr_kernel *kernel = &c->lowered.kernel;
    uint8_t *x = aligned_rows(suite, c->ldx * BATCH);
    for (uint32_t t = 0; t < BATCH; t++)
        memcpy(x + t * c->ldx, c->x + t % MAX_TOKENS * c->ldx, c->ldx);
    uint32_t *y = RSRC_NEW_ARRAY(&suite->arena, (size_t)BATCH * setting.rows, uint32_t);
    void *scratch = aligned_rows(suite, kernel->scratch_bytes);
    const struct rsr_weights weights = {.codes = c->lowered.codes.bytes,
                                        .index = c->lowered.index.bytes,
                                        .scale = c->lowered.scale.bytes,
                                        .n_scales = c->matrix.n_scales};
    const struct rsr_worker worker = {.tile_end = kernel->n_tiles, .count = 1};
    test_interpret_kernel(kernel, x, c->ldx, y, setting.rows, BATCH, &weights, &worker, scratch);
    for (uint32_t t = 0; t < BATCH; t++)
        for (uint32_t i = 0; i < setting.rows; i++)
            CHECK_INT(y[(size_t)t * setting.rows + i], expected_bits(c, t % MAX_TOKENS, i));
#endif
}

/* Columns whose numbers have more than 16 bits. */
static void test_wide(struct suite *suite) {
    const struct setting setting = {2, 2, 65700, 90, 4};
    struct test_case *c = make_reduced_case(suite, &setting, RSR_TERNARY, RSR_EPILOGUE_RAW, false);
    run_cases(suite, &c, 1, &specs[0], "reduced_wide");
}

/* The key tells kernels with maps from those without, and the shapes are the layer's. */
static void test_keys(struct suite *suite) {
    const struct setting setting = {90, 41, 600, 100, 8};
    struct test_case *c = make_reduced_case(suite, &setting, RSR_TERNARY, RSR_EPILOGUE_RAW, false);
    lower_case(suite, c, &specs[0], 0);
    CHECK_INT(c->lowered.kernel.rows, 90);
    CHECK_INT(c->lowered.kernel.cols, 600);
    CHECK_INT(c->lowered.kernel.computed_rows, 41);
    CHECK_INT(c->lowered.kernel.n_tiles, 6);
    const char *key = c->lowered.kernel.key;
    c->reduction = NULL;
    c->matrix = c->reduced;
    lower_case(suite, c, &specs[0], 0);
    CHECK(strcmp(key, c->lowered.kernel.key) != 0);
    CHECK_INT(c->lowered.kernel.rows, 41);
    CHECK_INT(c->lowered.index.size_bytes, 0);
}

static uint64_t count_body_ops(const struct rsr_kernel *kernel) {
    uint64_t n = 0;
    for (uint32_t b = 0; b < kernel->n_bodies; b++)
        n += kernel->bodies[b].n_ops;
    return n;
}

/* Where the index becomes instructions, rows and columns that are left out have none. (A column of
 * zeros never has one, so the third of the rows makes the difference.) */
static void test_instructions(struct suite *suite) {
    const struct setting setting = {192, 64, 600, 300, 16};
    struct test_case *c = make_reduced_case(suite, &setting, RSR_TERNARY, RSR_EPILOGUE_RAW, false);
    c->plan.kernel = RSR_KERNEL_FOLD;
    c->plan.k = 4;
    lower_case(suite, c, &specs[3], 0);
    const uint64_t n_reduced = count_body_ops(&c->lowered.kernel);
    c->reduction = NULL;
    lower_case(suite, c, &specs[3], 0);
    CHECK(n_reduced > 0 && n_reduced < count_body_ops(&c->lowered.kernel) / 2);
}

int main(void) {
    /* Every variant, with scalars, vectors of each width, and emulated instructions. */
    static const struct way ways[] = {{.kernel = RSR_KERNEL_SCATTER, .spec = 0},
                                      {.kernel = RSR_KERNEL_DOT, .spec = 0},
                                      {.kernel = RSR_KERNEL_DOT, .spec = 3},
                                      {.kernel = RSR_KERNEL_DOT, .spec = 7},
                                      {RSR_KERNEL_DOT_PANEL, false, 3},
                                      {RSR_KERNEL_DOT_PANEL, false, 7},
                                      {RSR_KERNEL_TABLE, false, 3},
                                      {.kernel = RSR_KERNEL_FOLD, .floats = true, .spec = 3},
                                      {.kernel = RSR_KERNEL_FOLD, .floats = true, .spec = 7},
                                      {.kernel = RSR_KERNEL_LUT, .spec = 3},
                                      {.kernel = RSR_KERNEL_LUT, .spec = 8}};
    struct suite suite;
    suite_begin(&suite, "test_reduce_kernels", 20260911);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        test_way(&suite, &ways[i]);
    test_groups(&suite);
    test_wide(&suite);
    test_keys(&suite);
    test_instructions(&suite);
    suite_end(&suite);
    return CHECK_EXIT();
}
