/* test_plan.c - the planner: that the matrix decides, that bytes are what lowering stores, that
 * forced variants are honoured, and that the text form survives hostile input. */
#include <math.h>
#include <stdlib.h>

#include "base/arena.h"
#include "check.h"
#include "diag_fixture.h"
#include "kernel/kernel.h"
#include "lower/lower.h"

#include "plan/plan.h"
#include "rsr/segment.h"
#include "spec/spec.h"
#include "text_damage.h"

#define SEED UINT64_C(20250407)

static struct rsr_spec load_spec(struct fixture *f, const char *name) {
    struct rsr_spec spec = {.name = NULL};
    CHECK_INT(rsrc_load_spec(f->diag, &f->arena, name, TEST_SOURCE_DIR "/specs", &spec), RSRC_OK);
    return spec;
}

/* `n_distinct` different columns, repeated; 0: all random. */
static struct rsr_matrix make_matrix(struct fixture *f, uint32_t rows, uint32_t cols,
                                     enum rsr_alphabet alphabet, uint32_t n_distinct) {
    uint64_t state = SEED;
    int8_t *values = rsrc_arena_array(&f->arena, rows, cols);
    static const int8_t letters[][3] = {{-1, 0, 1}, {-1, 1, 1}, {0, 1, 0}};
    for (uint32_t i = 0; i < rows; i++) {
        for (uint32_t j = 0; j < cols; j++) {
            int8_t fresh = letters[alphabet][check_random(&state) % 3];
            bool repeat = n_distinct != 0 && j >= n_distinct;
            values[(size_t)i * cols + j] =
                repeat ? values[(size_t)i * cols + j % n_distinct] : fresh;
        }
    }
    float *scale = RSRC_NEW(&f->arena, float);
    *scale = 1;
    return (struct rsr_matrix){.rows = rows,
                               .cols = cols,
                               .alphabet = alphabet,
                               .values = values,
                               .scale = scale,
                               .n_scales = 1};
}

static struct rsrc_plan_options no_options(void) {
    struct rsrc_plan_options options = {.k = 0};
    for (int role = 0; role <= RSR_ROLE_COUNT; role++)
        options.forced_variant[role] = -1;
    return options;
}

static struct rsr_plan plan_matrix(struct fixture *f, const struct rsr_matrix *matrix,
                                   const struct rsr_spec *spec,
                                   const struct rsrc_plan_options *options,
                                   struct rsr_stats *stats) {
    if (options->k == 0)
        rsrc_choose_k(&f->arena, matrix, stats);
    else
        rsrc_analyse_matrix(&f->arena, matrix, options->k, stats);
    struct rsr_plan plan = {.target = NULL};
    const struct rsrc_plan_input input = {.layer_name = "blk.q",
                                          .role = RSR_ROLE_Q,
                                          .alphabet = matrix->alphabet,
                                          .stats = stats,
                                          .spec = spec,
                                          .options = options};
    CHECK_INT(rsrc_plan_layer(f->diag, &f->arena, &input, &plan), RSRC_OK);
    for (int r = 0; r < RSR_REGIME_COUNT; r++)
        CHECK(plan.regimes[r].reason != NULL && plan.regimes[r].reason[0] != '\0');
    CHECK_STR(plan.target, spec->name);
    return plan;
}

static struct rsr_regime_plan plan_decode(struct fixture *f, const struct rsr_matrix *matrix,
                                          const struct rsr_spec *spec,
                                          const struct rsrc_plan_options *options,
                                          struct rsr_stats *stats) {
    return plan_matrix(f, matrix, spec, options, stats).regimes[RSR_REGIME_DECODE];
}

/* Shape and target are equal, only the contents differ, and the chosen variant follows them. */
static void test_redundancy_decides(void) {
    struct fixture f;
    setup(&f);
    CHECK(rsrc_diag_show_remarks(f.diag, RSRC_REMARK, "plan"));
    CHECK(rsrc_diag_show_remarks(f.diag, RSRC_REMARK_MISSED, "plan"));
    struct rsr_spec generic = load_spec(&f, "generic");
    struct rsrc_plan_options options = no_options();
    struct rsr_stats stats;
    struct rsr_matrix random = make_matrix(&f, 64, 256, RSR_TERNARY, 0);
    struct rsr_matrix redundant = make_matrix(&f, 64, 256, RSR_TERNARY, 3);
    struct rsr_regime_plan plan = plan_decode(&f, &random, &generic, &options, &stats);
    CHECK_INT(plan.kernel, RSR_KERNEL_DOT);
    CHECK(strncmp(plan.reason, "dot: ", 5) == 0 && strstr(plan.reason, "; scatter k=") != NULL);
    plan = plan_decode(&f, &redundant, &generic, &options, &stats);
    CHECK_INT(plan.kernel, RSR_KERNEL_SCATTER);
    CHECK_INT(plan.k, 16);
    CHECK_INT(plan.fold, RSR_FOLD_DIRECT);
    CHECK(strstr(plan.reason, "; dot would take ") != NULL);
    CHECK(strstr(f.text, "decode: chose scatter k=16 (RSR): ") != NULL);
    CHECK(strstr(f.text, "decode: declined dot: ") != NULL);
    CHECK(strstr(plan.reason, " additions = ") != NULL);
    /* A matrix of mostly zero columns gets the other variant, too. */
    int8_t *values = rsrc_arena_array(&f.arena, 64, 256);
    for (uint32_t i = 0; i < 64 * 256; i++)
        values[i] = i % 256 < 2 ? random.values[i] : 0;
    struct rsr_matrix sparse = random;
    sparse.values = values;
    plan = plan_decode(&f, &sparse, &generic, &options, &stats);
    CHECK_INT(plan.kernel, RSR_KERNEL_SCATTER);
    CHECK_INT(stats.n_zero_cols, 254);
    /* With wide look-ups a random matrix of any size is read at 1.6 bits a weight. */
    struct rsr_spec avx512 = load_spec(&f, "avx512");
    struct rsr_matrix large = make_matrix(&f, 640, 2560, RSR_TERNARY, 0);
    plan = plan_decode(&f, &large, &avx512, &options, &stats);
    CHECK_INT(plan.kernel, RSR_KERNEL_LUT);
    CHECK_INT(plan.tile_rows, 320); /* a unit of five vectors */
    CHECK(strstr(plan.reason, "lut: 330 KB at 16.8 GB/s = 19.6 us; dot would take 25.5 us") !=
          NULL);
    teardown(&f);
}

/* The first choice of a kernel, which must be open. */
static struct rsrc_choice first_choice(struct fixture *f, enum rsr_kernel_id kernel,
                                       const struct rsrc_plan_input *input) {
    struct rsrc_choice choices[RSRC_MAX_KERNEL_CHOICES] = {0};
    CHECK(rsrc_list_kernel(&f->arena, kernel, input, choices) >= 1);
    CHECK(choices[0].kernel == kernel && choices[0].machine != NULL);
    return choices[0];
}

/* The prediction follows the cost model, number by number, for a shape computed by hand. */
static void test_cost_numbers(void) {
    struct fixture f;
    setup(&f);
    struct rsr_spec spec = {.vector_bits = 512,
                            .cpu_features = RSR_CPU_MASK(AVX512F) | RSR_CPU_MASK(AVX512VNNI),
                            .cores = 2,
                            .read_gbps = 16,
                            .dot_gmacs = 440,
                            .vector_gips = 5,
                            .add_gops = 1};
    struct rsr_stats stats = {.rows = 2560, .cols = 2560, .k = 4, .n_members = 1000000};
    const struct rsrc_plan_input input = {.alphabet = RSR_TERNARY, .stats = &stats, .spec = &spec};
    const struct rsrc_choice dot = first_choice(&f, RSR_KERNEL_DOT, &input);
    CHECK_INT(dot.weight_bytes, 2560 * 2560 / 4);
    CHECK_INT((int64_t)(dot.cost[RSR_REGIME_DECODE].memory_us * 10),
              1024); /* 1.6384 MB at 16 GB/s */
    CHECK_INT((int64_t)(dot.cost[RSR_REGIME_DECODE].compute_us * 10),
              563); /* 6.5536 M / 64 * 2.75 / 5 */
    CHECK_INT((int64_t)(dot.cost[RSR_REGIME_DECODE].predicted_us * 10),
              1051); /* (102.4^4 + 56.3^4)^(1/4), and the call */
    spec.vector_gips = 20;
    const struct rsrc_choice products = first_choice(&f, RSR_KERNEL_DOT, &input);
    CHECK_INT((int64_t)(products.cost[RSR_REGIME_PREFILL].compute_us * 100),
              1489); /* 6.5536 M / 440 */
    CHECK(dot.cost[RSR_REGIME_PREFILL].predicted_us < dot.cost[RSR_REGIME_DECODE].predicted_us);
    stats.n_fold_adds = 50000;
    stats.n_segments = 10000;
    stats.n_direct_adds = 40000;
    struct rsrc_choice scatter[RSRC_MAX_KERNEL_CHOICES];
    CHECK_INT(rsrc_list_kernel(&f.arena, RSR_KERNEL_SCATTER, &input, scatter), 2);
    CHECK(scatter[0].fold == RSR_FOLD_TREE && scatter[1].fold == RSR_FOLD_DIRECT);
    CHECK_INT((int64_t)scatter[0].cost[RSR_REGIME_DECODE].compute_us,
              1130); /* members + fold + 8 a segment */
    CHECK_INT((int64_t)scatter[1].cost[RSR_REGIME_DECODE].compute_us,
              1160); /* members + 2 a digit + 8 a segment */
    teardown(&f);
}

/* RSR++ is open as long as the table of a block fits: for ternary codes up to k = 12. */
static void test_fold_tables(void) {
    static const struct {
        enum rsr_alphabet alphabet;
        uint32_t k, n_choices;
    } rows[] = {{RSR_TERNARY, 12, 2},
                {RSR_TERNARY, 13, 1},
                {RSR_BINARY_SIGN, 16, 2},
                {RSR_BINARY_BIT, 16, 2}};
    struct fixture f;
    setup(&f);
    const struct rsr_spec spec = load_spec(&f, "generic");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct rsr_stats stats = {.rows = 64, .cols = 64, .k = rows[i].k};
        const struct rsrc_plan_input input = {
            .alphabet = rows[i].alphabet, .stats = &stats, .spec = &spec};
        struct rsrc_choice choices[RSRC_MAX_KERNEL_CHOICES];
        CHECK_INT(rsrc_list_kernel(&f.arena, RSR_KERNEL_SCATTER, &input, choices),
                  rows[i].n_choices);
        CHECK_INT(choices[rows[i].n_choices - 1].fold, RSR_FOLD_DIRECT);
    }
    teardown(&f);
}

/* Compares weight_bytes with the bytes that lowering stores, over odd shapes, targets, alphabets
 * and variants. */
static void check_lowered(struct fixture *f, const struct rsr_matrix *matrix,
                          const struct rsr_spec *spec, const struct rsr_regime_plan *plan) {
    struct rsr_index index;
    struct rsrc_lower_input input = {.symbol_stem = "l0_q",
                                     .title = "test",
                                     .matrix = matrix,
                                     .plan = plan,
                                     .spec = spec,
                                     .epilogue = RSR_EPILOGUE_RAW};
    if (plan->k != 0) {
        rsrc_build_index(&f->arena, matrix, plan->k, &index);
        input.index = &index;
    }
    struct rsr_lowered lowered;
    memset(&lowered, 0, sizeof lowered);
    CHECK_INT(rsrc_lower_layer(f->diag, &f->arena, &input, &lowered), RSRC_OK);
    CHECK_INT(plan->weight_bytes, lowered.codes.size_bytes + lowered.index.size_bytes);
}

static void check_bytes(struct fixture *f, const struct rsr_matrix *matrix,
                        const struct rsr_spec *spec, int variant, uint32_t k) {
    struct rsrc_plan_options options = no_options();
    options.k = k;
    options.forced_variant[RSR_ROLE_Q] = variant;
    struct rsr_stats stats;
    const struct rsr_regime_plan plan = plan_decode(f, matrix, spec, &options, &stats);
    CHECK_INT(rsrc_kernel_row(plan.kernel)->variant, variant);
    CHECK(strstr(plan.reason, " as asked: ") != NULL);
    CHECK_INT(plan.tile_rows % (variant == RSR_VARIANT_SCATTER ? k : 4), 0);
    CHECK_INT(plan.acc_bound, (uint64_t)stats.max_row_nonzero * 128);
    check_lowered(f, matrix, spec, &plan);
}

/* The kernels of decode and of prefill that share codes. */
static void check_lut(struct fixture *f, const struct rsr_matrix *matrix,
                      const struct rsr_spec *spec) {
    struct rsr_stats stats;
    rsrc_analyse_matrix(&f->arena, matrix, 4, &stats);
    const struct rsrc_plan_input input = {
        .alphabet = matrix->alphabet, .stats = &stats, .spec = spec};
    const struct rsrc_choice lut = first_choice(f, RSR_KERNEL_LUT, &input);
    struct rsr_regime_plan decode = {
        .kernel = RSR_KERNEL_LUT, .tile_rows = 64, .weight_bytes = lut.weight_bytes, .reason = "r"};
    const struct rsrc_planned_layer layer = {spec, RSR_INPUT_I8, matrix->rows, matrix->cols, 0};
    (void)rsrc_fit_plan(&layer, &decode);
    check_lowered(f, matrix, spec, &decode);
    static const enum rsr_kernel_id kernels[] = {RSR_KERNEL_DOT_PANEL, RSR_KERNEL_TABLE};
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++) {
        struct rsr_regime_plan prefill = {.kernel = kernels[i],
                                          .tile_rows = 64,
                                          .weight_bytes =
                                              first_choice(f, kernels[i], &input).weight_bytes,
                                          .reason = "r"};
        (void)rsrc_fit_plan(&layer, &prefill);
        check_lowered(f, matrix, spec, &prefill);
    }
}

static void test_bytes(void) {
    static const uint32_t shapes[][2] = {{1, 1}, {3, 100}, {64, 256}, {65, 1000}, {130, 2049}};
    static const char *const targets[] = {"scalar", "generic", "avx2", "avx512vnni", "avx512"};
    struct fixture f;
    setup(&f);
    for (size_t t = 0; t < sizeof targets / sizeof targets[0]; t++) {
        struct rsr_spec spec = load_spec(&f, t == 0 ? "generic" : targets[t]);
        if (t == 0)
            spec.vector_bits = 0;
        for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
            for (int alphabet = RSR_TERNARY; alphabet <= RSR_BINARY_BIT; alphabet++) {
                struct rsr_matrix matrix =
                    make_matrix(&f, shapes[s][0], shapes[s][1], (enum rsr_alphabet)alphabet, 0);
                check_bytes(&f, &matrix, &spec, RSR_VARIANT_DOT, 4);
                check_bytes(&f, &matrix, &spec, RSR_VARIANT_SCATTER, 3);
                check_bytes(&f, &matrix, &spec, RSR_VARIANT_SCATTER, 14);
                if (t >= 2)
                    check_lut(&f, &matrix, &spec);
            }
        }
    }
    teardown(&f);
}

/* A module stores each weight once: prefill multiplies the codes that decode looks up, or both
 * regimes have one kernel. A kernel that the target cannot run is refused. */
static void test_shared_data(void) {
    struct fixture f;
    setup(&f);
    struct rsr_spec avx512 = load_spec(&f, "avx512");
    struct rsrc_plan_options options = no_options();
    struct rsr_stats stats;
    struct rsr_matrix matrix = make_matrix(&f, 640, 2560, RSR_TERNARY, 0);
    struct rsr_plan plan = plan_matrix(&f, &matrix, &avx512, &options, &stats);
    CHECK_INT(plan.regimes[RSR_REGIME_DECODE].kernel, RSR_KERNEL_LUT);
    CHECK_INT(plan.regimes[RSR_REGIME_PREFILL].kernel, RSR_KERNEL_DOT_PANEL);
    CHECK(!rsrc_same_kernel(&plan));
    options.forced_variant[RSR_ROLE_Q] = RSR_VARIANT_DOT;
    plan = plan_matrix(&f, &matrix, &avx512, &options, &stats);
    CHECK_INT(plan.regimes[RSR_REGIME_DECODE].kernel, RSR_KERNEL_DOT);
    CHECK(rsrc_same_kernel(&plan));
    options.forced_variant[RSR_ROLE_Q] = RSR_VARIANT_TABLE;
    plan = plan_matrix(&f, &matrix, &avx512, &options, &stats);
    CHECK_INT(plan.regimes[RSR_REGIME_DECODE].kernel, RSR_KERNEL_LUT);
    CHECK_INT(plan.regimes[RSR_REGIME_PREFILL].kernel, RSR_KERNEL_TABLE);
    struct rsr_spec generic = load_spec(&f, "generic");
    options.forced_variant[RSR_ROLE_Q] = RSR_VARIANT_LUT;
    const struct rsrc_plan_input input = {.layer_name = "blk.q",
                                          .role = RSR_ROLE_Q,
                                          .alphabet = RSR_TERNARY,
                                          .stats = &stats,
                                          .spec = &generic,
                                          .options = &options};
    CHECK_INT(rsrc_plan_layer(f.diag, &f.arena, &input, &plan), RSRC_FAILED);
    CHECK(strstr(f.text, "target generic has no instructions for variant 'lut' [plan-variant]") !=
          NULL);
    teardown(&f);
}

/* `lut` counts the signs of a row in 16 bits. With one column more than that it is chosen only if
 * the user forces it. */
static void test_too_wide(void) {
    struct fixture f;
    setup(&f);
    struct rsr_spec neon = load_spec(&f, "neon");
    struct rsrc_plan_options options = no_options();
    for (uint32_t more = 0; more < 2; more++) {
        struct rsr_stats stats;
        struct rsr_matrix matrix = make_matrix(&f, 64, 3 * INT16_MAX + more, RSR_TERNARY, 0);
        const struct rsr_regime_plan plan = plan_decode(&f, &matrix, &neon, &options, &stats);
        CHECK_INT(plan.kernel == RSR_KERNEL_LUT, more == 0);
        struct rsr_index index;
        rsrc_build_index(&f.arena, &matrix, stats.k, &index);
        const struct rsrc_lower_input input = {.symbol_stem = "wide",
                                               .title = "wide",
                                               .matrix = &matrix,
                                               .index = &index,
                                               .plan = &plan,
                                               .spec = &neon};
        struct rsr_lowered lowered;
        CHECK_INT(rsrc_lower_layer(f.diag, &f.arena, &input, &lowered), RSRC_OK);
    }
    teardown(&f);
}

/* Bytes of the bodies' instructions, as fold.c counts them. */
static double body_bytes(const struct rsr_kernel *kernel, double memory_bytes,
                         double register_bytes) {
    double bytes = 0;
    for (uint32_t b = 0; b < kernel->n_bodies; b++)
        for (uint32_t i = 0; i < kernel->bodies[b].n_ops; i++) {
            const uint16_t kind = kernel->bodies[b].ops[i].kind;
            const bool memory = kind == RSR_KOP_LOAD || kind == RSR_KOP_ADD_MEM ||
                                kind == RSR_KOP_SUB_MEM || kind == RSR_KOP_STORE;
            if (kind != RSR_KOP_COMMENT)
                bytes += memory ? memory_bytes : register_bytes;
        }
    return bytes;
}

/* Compares the estimated size of folded code with the bodies that lowering makes, and checks the
 * budget. */
static void test_fold(void) {
    struct fixture f;
    setup(&f);
    CHECK(rsrc_diag_show_remarks(f.diag, RSRC_REMARK_MISSED, "plan"));
    struct rsr_spec spec = load_spec(&f, "avx512vnni");
    spec.dot_gmacs /= 3; /* a machine that multiplies slowly: folding pays */
    spec.panel_gmacs /= 3;
    struct rsr_matrix matrix = make_matrix(&f, 256, 1280, RSR_TERNARY, 0);
    struct rsrc_plan_options options = no_options();
    struct rsr_stats stats;
    rsrc_analyse_matrix(&f.arena, &matrix, 4, &stats);
    struct rsrc_plan_input input = {.layer_name = "blk.q",
                                    .role = RSR_ROLE_Q,
                                    .alphabet = RSR_TERNARY,
                                    .stats = &stats,
                                    .fold_stats = &stats,
                                    .fold_budget = 1 << 20,
                                    .spec = &spec,
                                    .options = &options};
    struct rsr_plan plan;
    CHECK_INT(rsrc_plan_layer(f.diag, &f.arena, &input, &plan), RSRC_OK);
    const struct rsr_regime_plan *prefill = &plan.regimes[RSR_REGIME_PREFILL];
    CHECK(plan.regimes[RSR_REGIME_DECODE].kernel != RSR_KERNEL_FOLD);
    CHECK_INT(prefill->kernel, RSR_KERNEL_FOLD);
    CHECK_INT(prefill->k, 4);
    CHECK_INT(prefill->token_tile, 32);
    CHECK_INT(prefill->tile_rows, 32);
    struct rsr_index index;
    rsrc_build_index(&f.arena, &matrix, 4, &index);
    const struct rsrc_lower_input lower = {.symbol_stem = "l0_q",
                                           .title = "test",
                                           .matrix = &matrix,
                                           .index = &index,
                                           .plan = prefill,
                                           .spec = &spec,
                                           .epilogue = RSR_EPILOGUE_RAW};
    struct rsr_lowered lowered;
    memset(&lowered, 0, sizeof lowered);
    CHECK_INT(rsrc_lower_layer(f.diag, &f.arena, &lower, &lowered), RSRC_OK);
    const double bytes = body_bytes(&lowered.kernel, 7, 6);
    CHECK(bytes > 0 && (double)prefill->weight_bytes > 0.9 * bytes &&
          (double)prefill->weight_bytes < 1.1 * bytes);
    /* If the budget is one byte too small, the planner says how many bytes it would need. */
    CHECK(strstr(f.text, "over the layer's budget") == NULL);
    input.fold_budget = prefill->weight_bytes - 1;
    CHECK_INT(rsrc_plan_layer(f.diag, &f.arena, &input, &plan), RSRC_OK);
    CHECK(plan.regimes[RSR_REGIME_PREFILL].kernel != RSR_KERNEL_FOLD);
    CHECK(strstr(f.text, "prefill: declined fold k=4: ") != NULL &&
          strstr(f.text, "over the layer's budget") != NULL);
    options.forced_variant[RSR_ROLE_Q] = RSR_VARIANT_FOLD;
    CHECK_INT(rsrc_plan_layer(f.diag, &f.arena, &input, &plan), RSRC_OK);
    for (int r = 0; r < RSR_REGIME_COUNT; r++)
        CHECK_INT(plan.regimes[r].kernel, RSR_KERNEL_FOLD);
    teardown(&f);
}

/* AVX-VNNI multiplies bytes, so `dot` wins this batch. On AVX2, whose products take more
 * instructions, `fold` wins it. */
static void test_avx_vnni(void) {
    static const uint64_t features[] = {0, RSR_CPU_MASK(AVXVNNI)};
    struct fixture f;
    setup(&f);
    for (size_t i = 0; i < 2; i++) {
        struct rsr_spec spec = load_spec(&f, "avx2");
        spec.cpu_features |= features[i];
        spec.fold_gips = 2;
        spec.dot_gmacs *= 2;
        spec.read_gbps *= 2;
        struct rsr_matrix matrix = make_matrix(&f, 640, 2560, RSR_TERNARY, 0);
        struct rsrc_plan_options options = no_options();
        struct rsr_stats stats;
        rsrc_analyse_matrix(&f.arena, &matrix, 4, &stats);
        const struct rsrc_plan_input input = {.layer_name = "blk.q",
                                              .role = RSR_ROLE_Q,
                                              .alphabet = RSR_TERNARY,
                                              .stats = &stats,
                                              .fold_stats = &stats,
                                              .fold_budget = 1 << 23,
                                              .spec = &spec,
                                              .options = &options};
        struct rsr_plan plan;
        CHECK_INT(rsrc_plan_layer(f.diag, &f.arena, &input, &plan), RSRC_OK);
        CHECK_INT(plan.regimes[RSR_REGIME_PREFILL].kernel,
                  i == 0 ? RSR_KERNEL_FOLD : RSR_KERNEL_DOT);
    }
    teardown(&f);
}

/* With the 8-bit dot product of AArch64, four tokens of a batch share the unpacking. */
static void test_dotprod(void) {
    struct fixture f;
    setup(&f);
    const struct rsr_spec spec = load_spec(&f, "neon-dotprod");
    struct rsr_matrix matrix = make_matrix(&f, 640, 2560, RSR_TERNARY, 0);
    struct rsrc_plan_options options = no_options();
    options.forced_variant[RSR_ROLE_Q] = RSR_VARIANT_DOT;
    struct rsr_stats stats;
    const struct rsr_plan plan = plan_matrix(&f, &matrix, &spec, &options, &stats);
    CHECK_INT(plan.regimes[RSR_REGIME_PREFILL].token_tile, 4);
    teardown(&f);
}

static void test_tiles(void) {
    struct fixture f;
    setup(&f);
    struct rsr_spec spec = load_spec(&f, "avx2");
    struct rsrc_plan_options options = no_options();
    options.k = 5;
    options.forced_variant[RSR_ROLE_Q] = RSR_VARIANT_DOT;
    static const uint32_t rows_and_tiles[][2] = {{5, 8}, {640, 16}, {2560, 32}, {6912, 64}};
    for (size_t i = 0; i < 4; i++) {
        struct rsr_stats stats;
        struct rsr_matrix matrix = make_matrix(&f, rows_and_tiles[i][0], 8, RSR_TERNARY, 0);
        CHECK_INT(plan_decode(&f, &matrix, &spec, &options, &stats).tile_rows,
                  rows_and_tiles[i][1]);
    }
    options.forced_variant[RSR_ROLE_Q] = RSR_VARIANT_SCATTER;
    struct rsr_stats stats;
    struct rsr_matrix matrix = make_matrix(&f, 640, 8, RSR_TERNARY, 0);
    CHECK_INT(plan_decode(&f, &matrix, &spec, &options, &stats).tile_rows, 15);
    teardown(&f);
}

/* An index of one k cannot serve a plan of another. */
static void test_other_k(void) {
    struct fixture f;
    setup(&f);
    struct rsr_spec spec = load_spec(&f, "generic");
    struct rsrc_plan_options options = no_options();
    options.k = 5;
    struct rsr_stats stats;
    struct rsr_matrix matrix = make_matrix(&f, 8, 8, RSR_TERNARY, 0);
    rsrc_analyse_matrix(&f.arena, &matrix, 4, &stats);
    struct rsr_plan plan;
    const struct rsrc_plan_input input = {.layer_name = "blk.q",
                                          .role = RSR_ROLE_Q,
                                          .alphabet = RSR_TERNARY,
                                          .stats = &stats,
                                          .spec = &spec,
                                          .options = &options};
    CHECK_INT(rsrc_plan_layer(f.diag, &f.arena, &input, &plan), RSRC_FAILED);
    CHECK(strstr(f.text, "the segment index has k=4, k=5 is asked for [plan-k]") != NULL);
    teardown(&f);
}

/* ---- text ------------------------------------------------------------------------------------ */

static void test_text(void) {
    struct fixture f;
    setup(&f);
    struct rsr_named_plan named = {
        .layer_name = "a\\b",
        .rows = 17,
        .cols = UINT32_MAX,
        .plan = {.target = "avx2",
                 .input = RSR_INPUT_F32,
                 .regimes = {{.kernel = RSR_KERNEL_SCATTER,
                              .machine = rsrc_machine_at(&rsrc_scatter_machines, 0),
                              .k = 5,
                              .fold = RSR_FOLD_TREE,
                              .tile_rows = 15,
                              .token_tile = 1,
                              .predicted_us = 1.0 / 3.0,
                              .weight_bytes = UINT64_C(1) << 40,
                              .acc_bound = 12800,
                              .reason = "because \"x\"\n\x1b"},
                             {.kernel = RSR_KERNEL_LUT_F32,
                              .machine = rsrc_machine_at(&rsrc_lut_f32_machines, 0),
                              .tile_rows = 64,
                              .token_tile = 4,
                              .predicted_us = 1e-9,
                              .reason = "r"}}}};
    struct rsr_plan *plan = &named.plan;
    struct rsrc_buffer text = {0}, again = {0};
    rsrc_print_plan(&named, &text);
    CHECK(strstr(text.data, "acc_bound") == NULL); /* floats do not overflow */
    plan->target = "my-target";
    plan->input = RSR_INPUT_I8;
    plan->regimes[RSR_REGIME_PREFILL].kernel = RSR_KERNEL_DOT_PANEL;
    plan->regimes[RSR_REGIME_PREFILL].machine = rsrc_machine_at(&rsrc_dot_panel_machines, 1);
    named.layer_name = "second";
    rsrc_print_plan(&named, &text);
    struct rsr_named_plan *parsed = NULL;
    uint32_t n_parsed = 0;
    CHECK_INT(rsrc_parse_plans(f.diag, &f.arena, "t.plan", text.data, text.size_bytes, &parsed,
                               &n_parsed),
              RSRC_OK);
    CHECK_INT(n_parsed, 2);
    for (uint32_t i = 0; i < n_parsed; i++)
        rsrc_print_plan(&parsed[i], &again);
    CHECK_STR(again.data, text.data);
    /* A prefix of the text is a plan only if it ends after a header or after a layer. */
    for (size_t n = 0; n < text.size_bytes; n++) {
        size_t end = n > 0 && text.data[n - 1] == '\n' ? n - 1 : n;
        bool whole = end >= 6 && memcmp(text.data + end - 6, "plan 5", 6) == 0;
        whole |= end > 10 && memcmp(text.data + end - 10, "reason \"r\"", 10) == 0;
        enum rsrc_status status =
            rsrc_parse_plans(f.diag, &f.arena, "t", text.data, n, &parsed, &n_parsed);
        CHECK(status == RSRC_FAILED || whole);
    }
    rsrc_buffer_free(&text);
    rsrc_buffer_free(&again);
    teardown(&f);
}

#define LAYER "plan 5\nlayer \"a\" target \"t\" input i8 rows 4 cols 4\n decode "
#define SHAPE "machine scalar tile_rows 4 token_tile 1"
#define TAIL "\n us 1 weight_bytes 1 acc_bound 1\n reason \"r\"\n"

static const struct {
    const char *text, *message;
} BAD_TEXTS[] = {
    {"plan 4\n", "expected '5'"},
    {"plan 5\nlayer \"a\"\n variant", "expected 'target'"},
    {"plan 5\nlayer \"a\" target \"t\" input f16\n", "unknown input"},
    {"plan 5\nlayer \"a\" target \"t\" input i8\n", "expected 'rows'"},
    {"plan 5\nlayer \"a\" target \"t\" input i8 rows 0 cols 4\n", "rows is 0"},
    {"plan 5\nlayer \"a\" target \"t\" input i8 rows 4 cols 4294967296\n", "cols is 4294967296"},
    {LAYER "kernel dott " SHAPE TAIL, "did you mean 'dot'?"},
    {LAYER "kernel dot machine vnni46", "did you mean 'vnni64'?"},
    {LAYER "kernel dot machine avx512 " SHAPE TAIL, "unknown machine"},
    {LAYER "kernel lut_f32 " SHAPE TAIL, "lut_f32 has no i8 activations"},
    {LAYER "kernel dot k 4 " SHAPE TAIL, "expected 'machine'"},
    {LAYER "kernel dot fold tree " SHAPE TAIL, "expected 'machine'"},
    {LAYER "kernel fold " SHAPE TAIL, "expected 'k'"},
    {LAYER "kernel fold k 4 fold tree " SHAPE TAIL, "expected 'machine'"},
    {LAYER "kernel fold k 0 " SHAPE TAIL, "k is 0, not 1..16"},
    {LAYER "kernel scatter k 17 fold tree " SHAPE TAIL, "k is 17"},
    {LAYER "kernel scatter k 4 " SHAPE TAIL, "expected 'fold'"},
    {LAYER "kernel dot machine scalar tile_rows 6 token_tile 1" TAIL, "not a multiple of 4"},
    {LAYER "kernel scatter k 5 fold tree machine scalar tile_rows 4 token_tile 1" TAIL,
     "not a multiple of 5"},
    {LAYER "kernel scatter k 4 fold log " SHAPE TAIL, "unknown fold"},
    {LAYER "kernel dot machine scalar tile_rows 0 token_tile 1" TAIL, "tile_rows is 0"},
    {LAYER "kernel dot machine scalar tile_rows 4 token_tile 129" TAIL, "token_tile is 129"},
    {LAYER "kernel dot " SHAPE "\n us inf", "us is not a number"},
    {LAYER "kernel dot " SHAPE "\n us 1 weight_bytes 1 acc_bound 4294967296",
     "acc_bound is 4294967296"},
    {LAYER "kernel dot " SHAPE "\n us 1 weight_bytes 1\n reason", "expected 'acc_bound'"},
    {LAYER "kernel dot " SHAPE "\n us 1 measured fast", "measured is not a number"},
    {"plan 5\nlayer \"a\" target \"t\" input f32 rows 4 cols 4\n decode kernel scatter k 4 fold "
     "tree " SHAPE TAIL,
     "acc_bound"},
    {LAYER "kernel dot " SHAPE "\n us 1 weight_bytes 1 acc_bound 1\n reason \"\"\n",
     "the reason is empty"},
    {LAYER "kernel dot " SHAPE TAIL " decode kernel", "expected 'prefill'"},
};

static void test_bad_text(void) {
    for (size_t i = 0; i < sizeof BAD_TEXTS / sizeof BAD_TEXTS[0]; i++) {
        struct fixture f;
        setup(&f);
        struct rsr_named_plan *parsed = NULL;
        uint32_t n_parsed = 0;
        const char *text = BAD_TEXTS[i].text;
        CHECK_INT(rsrc_parse_plans(f.diag, &f.arena, "t", text, strlen(text), &parsed, &n_parsed),
                  RSRC_FAILED);
        CHECK_INT(rsrc_diag_error_count(f.diag), 1);
        CHECK(strstr(f.text, BAD_TEXTS[i].message) != NULL);
        if (strstr(f.text, BAD_TEXTS[i].message) == NULL)
            fprintf(stderr, "text %zu: %s\n", i, f.text);
        teardown(&f);
    }
}

static enum rsrc_status parse_text(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                   const char *text, size_t size_bytes) {
    struct rsr_named_plan *parsed = NULL;
    uint32_t n_parsed = 0;
    return rsrc_parse_plans(diag, arena, "t", text, size_bytes, &parsed, &n_parsed);
}

static void test_damaged_text(void) {
    check_any_damage(parse_text,
                     LAYER "kernel scatter k 4 fold tree " SHAPE TAIL
                           " prefill kernel dot " SHAPE TAIL
                           "plan 5\nlayer \"b\" target \"t\" input f32 rows 9 cols 8\n",
                     SEED);
}

/* Times by variant, as if measured, and how often each time was asked for. */
struct times {
    double us[RSR_VARIANT_COUNT];
    uint32_t n_asked[RSR_VARIANT_COUNT];
    bool fails;
};

static enum rsrc_status tell_time(void *context, enum rsr_regime regime,
                                  const struct rsr_regime_plan *plan, double *us) {
    struct times *times = context;
    const enum rsr_variant variant = rsrc_kernel_row(plan->kernel)->variant;
    CHECK(plan->predicted_us > 0 && plan->tile_rows != 0 && plan->reason != NULL);
    times->n_asked[variant] += regime == RSR_REGIME_DECODE;
    *us = times->us[variant];
    return times->fails ? RSRC_FAILED : RSRC_OK;
}

static enum rsrc_status plan_timed(struct fixture *f, const struct rsr_stats *stats,
                                   struct times *times, struct rsr_plan *out) {
    struct rsr_spec spec = load_spec(f, "avx512");
    const struct rsrc_plan_options options = no_options();
    const struct rsrc_plan_timer timer = {.context = times, .measure = tell_time};
    const struct rsrc_plan_input input = {.layer_name = "blk.q",
                                          .role = RSR_ROLE_Q,
                                          .alphabet = RSR_TERNARY,
                                          .stats = stats,
                                          .spec = &spec,
                                          .options = &options,
                                          .timer = &timer};
    return rsrc_plan_layer(f->diag, &f->arena, &input, out);
}

/* Measured times have precedence over predictions; kernels that were not run do not take part. */
static void test_times(void) {
    struct fixture f;
    setup(&f);
    const struct rsr_matrix matrix = make_matrix(&f, 640, 2560, RSR_TERNARY, 0);
    struct rsr_stats stats;
    rsrc_choose_k(&f.arena, &matrix, &stats);
    struct times times = {.us = {[RSR_VARIANT_LUT] = 50, [RSR_VARIANT_DOT] = 40}};
    struct rsr_plan plan;
    CHECK_INT(plan_timed(&f, &stats, &times, &plan), RSRC_OK);
    const struct rsr_regime_plan *decode = &plan.regimes[RSR_REGIME_DECODE];
    CHECK_INT(decode->kernel, RSR_KERNEL_DOT);
    CHECK(decode->measured_us == 40 && decode->predicted_us > 24 && decode->predicted_us < 26);
    CHECK(strstr(decode->reason, "dot: measured 40 us, predicted 25.5 us (410 KB at 16.8 GB/s") !=
          NULL);
    CHECK(strstr(decode->reason, "; lut measured 50 us") != NULL);
    CHECK_INT(times.n_asked[RSR_VARIANT_LUT], 1);
    CHECK_INT(times.n_asked[RSR_VARIANT_DOT], 1);
    CHECK_INT(times.n_asked[RSR_VARIANT_SCATTER], 0); /* 60 times the others, by prediction */
    /* A kernel that cannot be run is not chosen, however fast its prediction ... */
    times = (struct times){.us = {[RSR_VARIANT_DOT] = 400}};
    CHECK_INT(plan_timed(&f, &stats, &times, &plan), RSRC_OK);
    CHECK_INT(decode->kernel, RSR_KERNEL_DOT);
    CHECK(strstr(decode->reason, "; lut would take 21.8 us") != NULL);
    /* ... unless nothing can. */
    times = (struct times){.us = {0}};
    CHECK_INT(plan_timed(&f, &stats, &times, &plan), RSRC_OK);
    CHECK_INT(decode->kernel, RSR_KERNEL_LUT);
    CHECK(decode->measured_us == 0 && strstr(decode->reason, "measured") == NULL);
    times.fails = true;
    CHECK_INT(plan_timed(&f, &stats, &times, &plan), RSRC_FAILED);
    teardown(&f);
}

/* ---- lists ----------------------------------------------------------------------------------- */

/* Every measurement gives *context microseconds; kernels with a list are not measured. */
static enum rsrc_status tell_alike(void *context, enum rsr_regime regime,
                                   const struct rsr_regime_plan *plan, double *us) {
    (void)regime;
    CHECK_INT(rsrc_kernel_row(plan->kernel)->names, RSR_LIST_NONE);
    *us = *(const double *)context;
    return RSRC_OK;
}

/* A list reads few active channels, and no list is used for many, with measured or predicted times.
 * A remark says why. */
static void test_lists(void) {
    static const struct {
        enum rsr_list list;
        double active;
        const char *obstacle;
        double measured_us; /* 0: nothing is measured */
        bool listed;
        const char *text; /* a remark; NULL: there is no remark about lists */
    } cases[] = {
        {RSR_LIST_NONE, 0.02, NULL, 0, false, NULL},
        {RSR_LIST_ROWS, 0.02, NULL, 0, true, NULL},
        {RSR_LIST_COLS, 0.02, NULL, 0, true, NULL},
        {RSR_LIST_ROWS, 1, NULL, 0, false,
         "listed rows: with 100 % of them active it would take 25.4 us"},
        {RSR_LIST_COLS, 1, NULL, 0, false, "over listed columns: with 100 % of them active it"},
        {RSR_LIST_COLS, 0.02, "moons", 0, false, "decode: declined dot over listed columns: moons"},
        {RSR_LIST_ROWS, 0.4, NULL, 1e6, true, NULL},
        {RSR_LIST_ROWS, 0.4, NULL, 1e-3, false, "over listed rows: with 40 % of them active it"},
        {RSR_LIST_COLS, 0.4, NULL, 1e6, true, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fixture f;
        setup(&f);
        CHECK(rsrc_diag_show_remarks(f.diag, RSRC_REMARK_MISSED, "plan"));
        const struct rsr_spec spec = load_spec(&f, "avx512");
        const struct rsr_matrix matrix = make_matrix(&f, 640, 2560, RSR_TERNARY, 0);
        const struct rsrc_plan_options options = no_options();
        double us = cases[i].measured_us;
        const struct rsrc_plan_timer timer = {.context = &us, .measure = tell_alike};
        struct rsr_stats stats;
        rsrc_analyse_matrix(&f.arena, &matrix, 4, &stats);
        const struct rsrc_plan_input input = {.layer_name = "blk.up",
                                              .role = RSR_ROLE_UP,
                                              .alphabet = RSR_TERNARY,
                                              .stats = &stats,
                                              .list = cases[i].list,
                                              .list_obstacle = cases[i].obstacle,
                                              .active = cases[i].active,
                                              .spec = &spec,
                                              .options = &options,
                                              .timer = us > 0 ? &timer : NULL};
        struct rsr_plan plan = {.target = NULL};
        CHECK_INT(rsrc_plan_layer(f.diag, &f.arena, &input, &plan), RSRC_OK);
        CHECK_INT(rsrc_kernel_row(plan.regimes[RSR_REGIME_DECODE].kernel)->names,
                  cases[i].listed ? cases[i].list : RSR_LIST_NONE);
        const char *text = f.text == NULL ? "" : f.text;
        CHECK((strstr(text, "declined dot over listed") != NULL) == (cases[i].text != NULL));
        CHECK(cases[i].text == NULL || strstr(text, cases[i].text) != NULL);
        teardown(&f);
    }
}

/* The terms of the cost of `fold`, counted by hand: the additions that the tree saves in every
 * block, and the times when code becomes cold again. */
static void test_fold_numbers(void) {
    struct fixture f;
    setup(&f);
    const struct rsr_spec spec = {.vector_bits = 256,
                                  .cpu_features = RSR_CPU_MASK(AVX2),
                                  .cores = 2,
                                  .read_gbps = 16,
                                  .fold_gips = 2};
    const struct rsr_stats stats = {.rows = 640,
                                    .cols = 2560,
                                    .k = 4,
                                    .n_fold_adds = 8000,
                                    .n_members = 400000,
                                    .n_nonzero = 640 * 1175};
    const struct rsrc_plan_input input = {
        .alphabet = RSR_TERNARY, .stats = &stats, .fold_stats = &stats, .spec = &spec};
    const struct rsrc_choice fold = first_choice(&f, RSR_KERNEL_FOLD, &input);
    /* 5 chunks of 235 terms; each adds 8000 - 13 * 160 times and widens 640 rows with 7
     * instructions. */
    const double registers = 5 * (8000 - 13 * 160 + 7 * 640), memory = 400000;
    CHECK_INT(fold.weight_bytes, (int64_t)(8 * memory + 4 * registers));
    const double pass_us = (memory + registers) / 2e3;
    CHECK(fabs(fold.cost[RSR_REGIME_DECODE].compute_us - pass_us) < 1e-9 * pass_us);
    const double fetch_us = (8 * memory + 4 * registers) / 5.2e3; /* once a batch of 128 */
    const double token_us = pass_us / 16 + fetch_us / 128;
    CHECK(fabs(fold.cost[RSR_REGIME_PREFILL].compute_us - token_us) < 1e-9 * token_us);
    teardown(&f);
}

/* A group's scale takes 6 instructions in binary16 and 3 in binary32, for each vector of rows. */
static void test_group_scale_cost(void) {
    struct fixture f;
    setup(&f);
    const struct rsr_spec spec = load_spec(&f, "avx512");
    const struct rsr_stats stats = {.rows = 640, .cols = 2560, .k = 4};
    struct rsrc_plan_input input = {.alphabet = RSR_TERNARY,
                                    .input = RSR_INPUT_F32,
                                    .group_cols = 128,
                                    .stats = &stats,
                                    .spec = &spec};
    double us[2];
    for (uint32_t i = 0; i < 2; i++) {
        input.scale_bytes = i == 0 ? 2 : 4;
        const struct rsrc_choice choice = first_choice(&f, RSR_KERNEL_LUT_F32, &input);
        us[i] = choice.cost[RSR_REGIME_DECODE].compute_us;
    }
    /* 20 groups, 40 vectors of 16 rows */
    CHECK(fabs((us[0] - us[1]) * spec.vector_gips * 1e3 - 20 * 40 * 3) < 1e-6);
    teardown(&f);
}

/* The times of up and down with 2560 x 6912 weights in kernel/listed.c, measured on a core that
 * reads 12.0 GB/s. With 10 % active channels, reads beyond the ends of runs take a quarter of one
 * time and two fifths of the other. */
static void test_listed_times(void) {
    static const double active[] = {0.1, 0.2, 0.3, 0.4, 0.6, 1.0};
    static const struct {
        enum rsr_list list;
        uint32_t rows, cols;
        double us[6];
    } cases[] = {{RSR_LIST_ROWS, 6912, 2560, {56, 108, 142, 184, 252, 360}},
                 {RSR_LIST_COLS, 2560, 6912, {74, 131, 169, 226, 287, 380}}};
    struct fixture f;
    setup(&f);
    struct rsr_spec spec = load_spec(&f, "avx512vnni");
    spec.read_gbps = 12.0;
    spec.cores = 2; /* columns in two pieces */
    for (size_t i = 0; i < 12; i++) {
        const struct rsr_stats stats = {.rows = cases[i / 6].rows, .cols = cases[i / 6].cols};
        const struct rsrc_plan_input input = {
            .stats = &stats, .list = cases[i / 6].list, .active = active[i % 6], .spec = &spec};
        const struct rsrc_choice choice = first_choice(
            &f, input.list == RSR_LIST_ROWS ? RSR_KERNEL_DOT_ROWS : RSR_KERNEL_DOT_COLS, &input);
        const double us = choice.cost[RSR_REGIME_DECODE].predicted_us,
                     measured = cases[i / 6].us[i % 6];
        CHECK(us > 0.85 * measured && us < 1.15 * measured);
    }
    teardown(&f);
}

int main(void) {
    test_redundancy_decides();
    test_times();
    test_cost_numbers();
    test_fold_tables();
    test_bytes();
    test_shared_data();
    test_too_wide();
    test_fold();
    test_avx_vnni();
    test_dotprod();
    test_tiles();
    test_other_k();
    test_text();
    test_bad_text();
    test_damaged_text();
    test_lists();
    test_fold_numbers();
    test_group_scale_cost();
    test_listed_times();
    return CHECK_EXIT();
}
