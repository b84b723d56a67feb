/* test_lut.c - `lut` in every form and alphabet against 64-bit sums (kernel_harness.h), its
 * packing decoded back to the matrix, any split of its tiles, and what it refuses. */
#include "kernel_harness.h"

#include "kernel/lut_layout.h"

/* One target for each form, and one whose small L2 cache makes column blocks. The number of cores
 * decides the size of units. */
static struct rsr_spec lut_specs[] = {
    {.name = "ssse3", .cores = 1},
    {.name = "avx2"},
    {.name = "avx512bw", .cores = 1},
    {.name = "avx512"},
    {.name = "avx512vbmi"},
    {.name = "neon",
     .triple = "aarch64-linux-gnu",
     .cpu = "generic",
     .vector_bits = 128,
     .cores = 2,
     .l2_bytes = 1 << 20,
     .cpu_features = F(NEON)},
};
#define N_LUT_SPECS (sizeof lut_specs / sizeof *lut_specs)
#define AVX2_SPEC (&lut_specs[1])
#define AVX512BW_SPEC (&lut_specs[2])
#define VBMI_SPEC (&lut_specs[4])

/* The targets of kernel_harness.h. */
static void fill_specs(void) {
    for (size_t i = 0; i < N_LUT_SPECS; i++) {
        const uint32_t cores = lut_specs[i].cores;
        for (size_t s = 0; s < N_SPECS; s++)
            if (strcmp(specs[s].name, lut_specs[i].name) == 0)
                lut_specs[i] = specs[s];
        lut_specs[i].cores = cores;
        CHECK(lut_specs[i].cpu_features != 0);
    }
}

/* Rows around vectors and units, columns around segments, flushes and column blocks. The last
 * shape's streams of codes are long enough to be staggered. */
static const struct shape shapes[] = {
    {1, 1, 64},     {5, 4, 16},     {63, 5, 64},       {64, 7, 64},
    {65, 249, 128}, {640, 24, 64},  {641, 25, 64},     {17, 512, 1},
    {2, 5460, 64},  {3, 14341, 64}, {66, 257, 99},     {33, 1300, 4096},
    {32, 256, 32},  {130, 251, 32}, {1203, 2101, 256}, {1469, 61, 384},
};
#define N_SHAPES (sizeof shapes / sizeof *shapes)

static struct test_case *make_lut_case(struct suite *suite, const struct shape *shape,
                                       uint32_t alphabet, uint32_t number) {
    struct test_case *c =
        make_case(suite, shape, (enum rsr_alphabet)alphabet,
                  number % 2 == 0 ? RSR_EPILOGUE_RAW : RSR_EPILOGUE_SCALE, number % 4 == 1);
    c->plan.kernel = RSR_KERNEL_LUT;
    return c;
}

/* ---- results --------------------------------------------------------------------------------- */

static bool is_native(const struct rsr_spec *spec) {
#if defined(__x86_64__)
    return strcmp(spec->triple, X86_TRIPLE) == 0;
#else
    return strcmp(spec->triple, X86_TRIPLE) != 0;
#endif
}

/* Kernels for another architecture: interpreted, and compiled if there is a compiler. */
static void run_foreign(struct suite *suite, struct test_case **cases, uint32_t n_cases,
                        const struct rsr_spec *spec) {
    const char *compiler = rsrc_arena_printf(&suite->arena, "%s-gcc", spec->triple);
    for (uint32_t i = 0; i < n_cases; i++) {
        lower_case(suite, cases[i], spec, i);
        interpret_case(cases[i]);
    }
    const char *unit = emit_cases(suite, cases, n_cases, spec, &harness_backends[0], spec->name);
    if (!is_compiled(&harness_backends[0]))
        return;
    if (rsrc_find_program(&suite->arena, compiler) == NULL)
        fprintf(stderr, "SKIPPED: compiling with %s: not found\n", compiler);
    else
        CHECK(compile(suite, compiler, unit, "-c", rsrc_arena_printf(&suite->arena, "%s.o", unit),
                      NULL));
}

/* Compiling takes long, so every alphabet of a shape is compiled for two of six targets only. */
static void test_products(struct suite *suite, uint32_t spec) {
    struct test_case *cases[N_SHAPES * 3];
    uint32_t n = 0;
    for (uint32_t s = 0; s < N_SHAPES; s++)
        for (uint32_t alphabet = RSR_TERNARY; alphabet <= RSR_BINARY_BIT; alphabet++)
            if ((s + alphabet + spec) % 3 == 0) {
                cases[n] = make_lut_case(suite, &shapes[s], alphabet, s + spec);
                n++;
            }
    if (is_native(&lut_specs[spec]))
        run_cases(suite, cases, n, &lut_specs[spec],
                  rsrc_arena_printf(&suite->arena, "lut_%s", lut_specs[spec].name));
    else
        run_foreign(suite, cases, n, &lut_specs[spec]);
}

/* Kernels that test_products did not compile. */
static void test_interpreted(struct suite *suite, uint32_t spec) {
    for (uint32_t s = 0; s < N_SHAPES; s++)
        for (uint32_t alphabet = RSR_TERNARY; alphabet <= RSR_BINARY_BIT; alphabet++)
            if ((s + alphabet + spec) % 3 != 0 &&
                (uint64_t)shapes[s].rows * shapes[s].cols <= 10000) {
                struct test_case *c = make_lut_case(suite, &shapes[s], alphabet, s + spec + 1);
                lower_case(suite, c, &lut_specs[spec], s);
                interpret_case(c);
            }
}

/* Any range of the tiles, also an empty one, can be computed alone. */
static void test_tile_splits(struct suite *suite, uint32_t spec) {
    const struct shape shape = {330, 40, 64};
    struct test_case *c = make_lut_case(suite, &shape, RSR_TERNARY, spec);
    struct rsr_spec many_cores = lut_specs[spec];
    many_cores.cores = 16;
    lower_case(suite, c, &many_cores, 0);
    const uint32_t n_tiles = c->lowered.kernel.n_tiles;
    CHECK(n_tiles >= 5);
    for (uint32_t begin = 0; begin <= n_tiles; begin++)
        for (uint32_t end = begin; end <= n_tiles; end++)
            check_call(c, NULL, "interpreter", 1 + (begin + end) % 6, begin, end);
}

/* ---- tables that kernels share --------------------------------------------------------------- */

/* Interprets the kernel of `c` over x of another case with equally many columns. y has a float or
 * int32 for each row and token. */
static void multiply(const struct test_case *c, const struct test_case *of, uint32_t n_tokens,
                     bool has_tables, uint8_t *scratch, uint32_t *y) {
    const struct rsr_weights weights = {.codes = c->lowered.codes.bytes,
                                        .index = c->lowered.index.bytes,
                                        .scale = c->lowered.scale.bytes,
                                        .n_scales = c->matrix.n_scales};
    const struct rsr_worker worker = {
        .tile_end = c->lowered.kernel.n_tiles, .count = 1, .has_tables = has_tables};
    test_interpret_kernel(&c->lowered.kernel, of->x, of->ldx, y, c->matrix.rows, n_tokens, &weights,
                          &worker, scratch);
}

/* A kernel that is told that tables exist uses the tables that another matrix's kernel left. With
 * more tokens than share a reading of the codes, a kernel neither leaves nor uses tables. */
static void test_shared_tables(struct suite *suite, const struct rsr_spec *spec) {
    const struct shape shapes_of[] = {{70, 130, 64}, {33, 130, 64}, {33, 127, 64}, {1, 14341, 64}};
    struct test_case *cases[4];
    uint64_t scratch_bytes = 0;
    for (uint32_t i = 0; i < 4; i++) {
        cases[i] = make_lut_case(suite, &shapes_of[i], RSR_TERNARY, 0);
        lower_case(suite, cases[i], spec, i);
        if (cases[i]->lowered.kernel.scratch_bytes > scratch_bytes)
            scratch_bytes = cases[i]->lowered.kernel.scratch_bytes;
    }
    CHECK_STR(cases[0]->lowered.kernel.tables, cases[1]->lowered.kernel.tables);
    CHECK(strcmp(cases[1]->lowered.kernel.tables, cases[2]->lowered.kernel.tables) != 0);
    if (spec->l2_bytes < (1 << 18)) /* several blocks of columns */
        CHECK(cases[3]->lowered.kernel.tables == NULL);

    uint8_t *scratch = aligned_alloc(64, (scratch_bytes + 63) / 64 * 64);
    uint32_t own[33 * 5], shared[33 * 5], empty[33 * 5];
    for (uint32_t n_tokens = 1; n_tokens <= 5; n_tokens++) {
        const size_t bytes = 33 * n_tokens * sizeof(uint32_t);
        uint32_t of_first[70 * 5];
        memset(scratch, 0, scratch_bytes);
        multiply(cases[1], cases[0], n_tokens, true, scratch, empty);
        multiply(cases[1], cases[0], n_tokens, false, scratch, own);
        multiply(cases[0], cases[1], n_tokens, false, scratch, of_first);
        multiply(cases[0], cases[0], n_tokens, false, scratch, of_first);
        multiply(cases[1], cases[0], n_tokens, true, scratch, shared);
        CHECK_INT(memcmp(shared, own, bytes), 0);
        CHECK((memcmp(empty, own, bytes) == 0) == (n_tokens == 5));
    }
    free(scratch);
}

/* ---- packing --------------------------------------------------------------------------------- */

static struct rsr_lowered pack(struct suite *suite, struct test_case *c,
                               const struct rsr_spec *spec, struct rsrc_lut_layout *layout) {
    lower_case(suite, c, spec, 0);
    const struct rsrc_lut_shape shape = rsrc_lut_matrix_shape(&c->matrix);
    *layout = rsrc_lut_layout_of(spec, &shape);
    return c->lowered;
}

/* Byte of a row's plane, found as lut_layout.h says. */
static uint32_t stored_byte(const struct rsrc_lut_layout *layout, const uint8_t *codes,
                            uint32_t row, uint32_t step, uint32_t plane, uint32_t byte) {
    const uint32_t rows = layout->vector_rows, vector = row / rows;
    uint32_t lane = 0;
    while (rsrc_lut_lane_row(layout, lane) != row % rows)
        lane++;
    /* Words: 8l + 2e + b of half a, where bytes are 16l + 8a + 2e + b. */
    if (layout->plane_bytes == 2)
        lane = (lane % 16 / 8) * rows + 2 * (lane / 16 * 8 + lane % 8) + byte;
    const uint32_t unit = vector / layout->unit_vectors, stream = vector % layout->unit_vectors;
    const size_t number = ((size_t)unit * layout->n_steps + step) * layout->step_planes + plane;
    return codes[stream * layout->stream_bytes + number * rows * layout->plane_bytes + lane];
}

/* Code and sign of a row's segment. */
static uint32_t stored_code(const struct rsrc_lut_layout *layout, const uint8_t *codes,
                            uint32_t row, uint32_t segment, bool *sign) {
    const uint32_t step = segment / layout->step_segments, i = segment % layout->step_segments;
#define BYTE(plane, byte) stored_byte(layout, codes, row, step, plane, byte)
    *sign = false;
    switch (layout->lookup) {
    case RSRC_LUT_TABLE128:
        *sign = BYTE(0, 0) >> 7 != 0;
        return BYTE(0, 0) & 127;
    case RSRC_LUT_SHUFFLE16:
        *sign = layout->has_sign && (BYTE(4, 0) >> i & 1) != 0;
        return BYTE(i / 2, 0) >> (i % 2 * 4) & 15;
    case RSRC_LUT_WORDS:
        if (i < 15)
            return (BYTE(i / 3, 0) | BYTE(i / 3, 1) << 8) >> (i % 3 * 5) & 31;
        return BYTE(0, 1) >> 7 | BYTE(1, 1) >> 7 << 1 | BYTE(2, 1) >> 7 << 2 |
               BYTE(3, 1) >> 7 << 3 | BYTE(4, 1) >> 7 << 4;
    }
#undef BYTE
    return UINT32_MAX;
}

/* Weight `i` of a segment. */
static int stored_weight(const struct rsrc_lut_layout *layout, uint32_t code, bool sign,
                         uint32_t i) {
    if (layout->alphabet == RSR_TERNARY) {
        int weight = 0, rest = layout->has_sign ? (int)code : (int)code - 13;
        for (uint32_t j = 0; j <= i; j++) {
            weight = (rest % 3 + 4) % 3 - 1;
            rest = (rest - weight) / 3;
        }
        return sign ? -weight : weight;
    }
    const bool is_last = layout->has_sign && i == layout->segment_cols - 1;
    const bool plus = (is_last || (code >> i & 1) != 0) != sign;
    return plus ? 1 : layout->alphabet == RSR_BINARY_SIGN ? -1 : 0;
}

static void test_packing(struct suite *suite, const struct rsr_spec *spec, uint32_t alphabet) {
    static const struct shape packed[] = {
        {1, 1, 64}, {641, 29, 128}, {70, 257, 4096}, {1203, 2101, 256}};
    for (size_t s = 0; s < sizeof packed / sizeof *packed; s++) {
        struct test_case *c = make_lut_case(suite, &packed[s], alphabet, 0);
        struct rsrc_lut_layout layout;
        const struct rsr_lowered lowered = pack(suite, c, spec, &layout);
        const uint64_t constants = rsrc_lut_constants_bytes(&layout);
        CHECK_INT(lowered.codes.size_bytes, rsrc_lut_codes_bytes(&layout));
        CHECK_INT(lowered.index.size_bytes, rsrc_lut_index_bytes(&layout));
        uint32_t n_wrong = 0;
        for (uint32_t row = 0; row < c->matrix.rows; row++) {
            int16_t n_signs = 0;
            for (uint32_t segment = 0; segment < layout.n_segments; segment++) {
                bool sign;
                const uint32_t code =
                    stored_code(&layout, lowered.codes.bytes, row, segment, &sign);
                n_signs = (int16_t)(n_signs + sign);
                for (uint32_t i = 0; i < layout.segment_cols; i++) {
                    const uint32_t col = segment * layout.segment_cols + i;
                    if (col < c->matrix.cols)
                        n_wrong += stored_weight(&layout, code, sign, i) !=
                                   c->matrix.values[(size_t)row * c->matrix.cols + col];
                }
            }
            uint32_t lane = 0;
            while (rsrc_lut_lane_row(&layout, lane) != row % layout.vector_rows)
                lane++;
            int16_t correction = 0;
            if (layout.has_sign)
                memcpy(&correction,
                       (const uint8_t *)lowered.index.bytes + constants +
                           ((size_t)(row / layout.vector_rows) * layout.vector_rows +
                            rsrc_lut_lane_correction(&layout, lane)) *
                               sizeof correction,
                       sizeof correction);
            n_wrong += correction != n_signs;
        }
        CHECK_INT(n_wrong, 0);
    }
}

/* Bits per weight, exact to the byte: 1.6 and 1 with tables of 128, 1.67 and 1 with tables of 16 or
 * 32. */
static void test_sizes(struct suite *suite) {
    static const struct {
        const struct rsr_spec *spec;
        uint32_t alphabet;
        uint64_t codes, index;
    } sizes[] = {
        {VBMI_SPEC, RSR_TERNARY, 768 * 48, 14 * 64 + 768 * 2},
        {VBMI_SPEC, RSR_BINARY_SIGN, 768 * 30, 14 * 64 + 768 * 2},
        {AVX512BW_SPEC, RSR_TERNARY, 768 * 50, 6 * 64},
        {AVX512BW_SPEC, RSR_BINARY_BIT, 768 * 30, 10 * 64},
        {AVX2_SPEC, RSR_TERNARY, 768 * 50, 9 * 32 + 768 * 2},
    };
    const struct shape shape = {768, 240, 256};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct test_case *c = make_lut_case(suite, &shape, sizes[i].alphabet, 0);
        struct rsrc_lut_layout layout;
        const struct rsr_lowered lowered = pack(suite, c, sizes[i].spec, &layout);
        CHECK_INT(lowered.codes.size_bytes, sizes[i].codes);
        CHECK_INT(lowered.index.size_bytes, sizes[i].index);
    }
}

/* Each long stream of codes begins in another part of a page. This adds at most 1 % to the size. */
static void test_streams(void) {
    for (size_t i = 0; i < N_LUT_SPECS; i++) {
        const struct rsrc_lut_shape shape = {.alphabet = RSR_TERNARY, .rows = 2560, .cols = 2560};
        const struct rsrc_lut_layout layout = rsrc_lut_layout_of(&lut_specs[i], &shape);
        const uint64_t read = layout.n_vectors * rsrc_lut_vector_bytes(&layout);
        CHECK(layout.stream_bytes % 64 == 0);
        CHECK(layout.unit_vectors == 1 ||
              layout.stream_bytes % 4096 == 4096 / layout.unit_vectors / 64 * 64);
        CHECK(rsrc_lut_codes_bytes(&layout) >= read);
        CHECK(rsrc_lut_codes_bytes(&layout) <= read + read / 100);
    }
}

/* One core has all of 10 vectors, two cores have 5 each, four have at most 3: these are units. The
 * plan's tile is rounded up to whole units. */
static void test_units(struct suite *suite) {
    static const struct {
        uint32_t cores, tile_rows, unit_vectors, kernel_tile_rows, n_tiles;
    } units[] = {{0, 1, 10, 640, 1},  {2, 1, 5, 320, 2},   {10, 64, 1, 64, 10},
                 {4, 129, 3, 192, 4}, {64, 65, 1, 128, 5}, {1, UINT32_MAX, 10, 640, 1},
                 {4, 200, 3, 384, 2}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        const struct shape shape = {640, 10, units[i].tile_rows};
        struct test_case *c = make_lut_case(suite, &shape, RSR_TERNARY, 0);
        struct rsr_spec spec = *VBMI_SPEC;
        struct rsrc_lut_layout layout;
        spec.cores = units[i].cores;
        const struct rsr_lowered lowered = pack(suite, c, &spec, &layout);
        CHECK_INT(layout.unit_vectors, units[i].unit_vectors);
        CHECK_INT(lowered.kernel.tile_rows, units[i].kernel_tile_rows);
        CHECK_INT(lowered.kernel.n_tiles, units[i].n_tiles);
    }
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void test_refusals(struct suite *suite) {
    const struct shape shape = {1, 10, 64};
    struct test_case *c = make_lut_case(suite, &shape, RSR_TERNARY, 0);
    expect_lower_refused(suite, c, &specs[1], NULL, "lower-target",
                         "target generic has no instructions for lut");

    /* The largest number of segments whose signs an int16 can count, and the next one, which is
     * refused. */
    const struct shape wide = {1, 3 * INT16_MAX, 64};
    c = make_lut_case(suite, &wide, RSR_TERNARY, 0);
    lower_case(suite, c, AVX2_SPEC, 0);
    c->matrix.cols++; /* refused before a value is read */
    expect_lower_refused(suite, c, AVX2_SPEC, NULL, "lower-too-wide", "98302 columns");
    c->matrix.alphabet = RSR_BINARY_SIGN;
    c->matrix.cols = 6000000;
    expect_lower_refused(suite, c, AVX2_SPEC, NULL, "lower-too-wide", "6000000 columns");
}

int main(void) {
    struct suite suite;
    suite_begin(&suite, "test_lut", 20260722);
    fill_specs();
    for (uint32_t i = 0; i < N_LUT_SPECS; i++) {
        for (uint32_t alphabet = RSR_TERNARY; alphabet <= RSR_BINARY_BIT; alphabet++)
            test_packing(&suite, &lut_specs[i], alphabet);
        test_products(&suite, i);
        test_interpreted(&suite, i);
        test_tile_splits(&suite, i);
        test_shared_tables(&suite, &lut_specs[i]);
    }
    test_sizes(&suite);
    test_streams();
    test_units(&suite);
    test_refusals(&suite);
    suite_end(&suite);
    return CHECK_EXIT();
}
