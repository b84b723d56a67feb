/* test_group_scales_i8.c - int8 activations and a scale for every group of columns of a row, in
 * `lut`, `dot` over its codes, and `scatter`.
 *
 * They have one order of floats (lower_lut.c): every kernel, machine, tile, batch and back end must
 * give the bits of kernel_harness.h. Further tests check the stored bytes, the planner's prediction
 * of them, plans and refusals.
 */
#define MAX_TOKENS 135
#define BATCHES 1, 2, 3, 5, 6, 11, MAX_TOKENS
#include "group_harness.h"

#include "kernel/lut_layout.h"

/* Rows around vectors and units; the four sizes of groups, and rows of one group. */
static const struct setting settings[] = {
    {{1, 128, 64}, 128},   {{5, 64, 64}, 64},     {{67, 256, 64}, 128},
    {{64, 512, 64}, 256},  {{33, 384, 32}, 192},  {{130, 448, 99}, 64},
    {{321, 256, 64}, 256}, {{20, 2560, 16}, 128}, {{65, 256, 64}, 300}};
#define N_SETTINGS (sizeof settings / sizeof *settings)

static const enum rsr_kernel_id kernels[] = {RSR_KERNEL_LUT, RSR_KERNEL_DOT_PANEL};

/* Half of the cases a machine, to save compiling. */
static void test_target(struct suite *suite, const struct rsr_spec *spec) {
    struct test_case *cases[N_SETTINGS];
    for (uint32_t k = 0; k < 2; k++) {
        uint32_t n = 0;
        for (uint32_t s = 0; s < N_SETTINGS; s++)
            if ((s + k + spec - specs) % 2 == 0)
                cases[n++] = make_group_case(suite, &settings[s], RSR_TERNARY,
                                             (s / 2 + k) % 2 == 0 ? HALVES : FLOATS, kernels[k]);
        run_cases(suite, cases, n, spec,
                  rsrc_arena_printf(&suite->arena, "groups_i8_%s_%u", spec->name, k));
    }
}

/* AArch64's operations run in the interpreter here; another test runs its machine code with
 * qemu-user. */
static void test_neon(struct suite *suite) {
    static const struct rsr_spec neon = {.name = "neon-dotprod",
                                         .triple = "aarch64-linux-gnu",
                                         .cpu = "neoverse-n1",
                                         .vector_bits = 128,
                                         .cpu_features = F(NEON) | F(DOTPROD)};
    for (uint32_t n = 0; n < 2 * N_SETTINGS; n++) {
        struct test_case *c = make_group_case(suite, &settings[n / 2], RSR_TERNARY,
                                              n % 4 < 2 ? HALVES : FLOATS, kernels[n % 2]);
        lower_case(suite, c, &neon, n);
        check_call(c, NULL, "interpreter", 7, 0, c->lowered.kernel.n_tiles);
    }
}

/* Scatter takes any group and any weights. */
static void test_scatter(struct suite *suite) {
    static const struct setting any[] = {{{7, 130, 5}, 77}, {{13, 400, 5}, 128}, {{3, 57, 9}, 4}};
    const struct rsr_spec *spec = &specs[0];
    struct test_case *cases[6];
    for (uint32_t n = 0; n < 6; n++) {
        cases[n] = make_group_case(suite, &any[n / 2], RSR_TERNARY, n % 3 == 0 ? HALVES : FLOATS,
                                   RSR_KERNEL_SCATTER);
        cases[n]->plan.k = 3;
        cases[n]->plan.fold = n % 2 == 0 ? RSR_FOLD_TREE : RSR_FOLD_DIRECT;
    }
    run_cases(suite, cases, 6, spec, "groups_i8_scatter");
}

/* ---- what is stored -------------------------------------------------------------------------- */

/* 128 ternary columns of a row take 26 bytes of codes (shuffles: 30, words: 30), a scale, and with
 * signs a byte that counts them. The planner counts equally many. */
static void test_sizes(struct suite *suite) {
    static const struct setting setting = {{640, 512, 64}, 128};
    static const struct {
        const char *target;
        uint32_t group_bytes;
    } sizes[] = {{"avx512vbmi", 26 + 1}, {"avx2", 30 + 1}, {"avx512", 30}};
    for (uint32_t n = 0; n < 6; n++) {
        const struct rsr_spec *spec = find_spec(sizes[n / 2].target);
        for (uint32_t k = 0; k < 2; k++) {
            struct test_case *c = make_group_case(suite, &setting, RSR_TERNARY,
                                                  n % 2 == 0 ? HALVES : FLOATS, kernels[k]);
            const struct rsrc_plan_input input = plan_input(suite, c, spec, NULL);
            struct rsrc_choice choices[RSRC_MAX_KERNEL_CHOICES] = {0};
            lower_case(suite, c, spec, 0);
            CHECK_INT(c->lowered.codes.size_bytes,
                      640 * 4 * (sizes[n / 2].group_bytes + (n % 2 == 0 ? 2 : 4)));
            CHECK_INT(rsrc_list_kernel(&suite->arena, kernels[k], &input, choices), 1);
            CHECK_INT(choices[0].weight_bytes,
                      c->lowered.codes.size_bytes + c->lowered.index.size_bytes);
        }
    }
}

/* ---- plans and refusals ---------------------------------------------------------------------- */

static enum rsrc_status plan_case(struct suite *suite, const struct test_case *c, int forced,
                                  const char *target, struct rsr_plan *plan) {
    struct rsrc_plan_options options = {.k = 0};
    for (int role = 0; role <= RSR_ROLE_COUNT; role++)
        options.forced_variant[role] = forced;
    FILE *nowhere = fopen("/dev/null", "w");
    struct rsrc_diag *diag = rsrc_diag_create(nowhere, false, RSRC_COLOR_NEVER);
    struct rsr_spec spec = *find_spec(target);
    spec.add_gops = 1; /* roughly a Zen 4's */
    spec.vector_gips = 7;
    spec.panel_gmacs = 110;
    spec.read_gbps = 25;
    const struct rsrc_plan_input input = plan_input(suite, c, &spec, &options);
    const enum rsrc_status status = rsrc_plan_layer(diag, &suite->arena, &input, plan);
    rsrc_diag_destroy(diag);
    fclose(nowhere);
    return status;
}

static void test_plan(struct suite *suite) {
    static const struct setting setting = {{64, 512, 64}, 128}, odd = {{64, 500, 64}, 125};
    struct test_case *c = make_group_case(suite, &setting, RSR_TERNARY, HALVES, RSR_KERNEL_LUT);
    struct rsr_plan plan;
    for (int forced = -1; forced < RSR_VARIANT_MMA; forced++) {
        const bool refused = forced == RSR_VARIANT_FOLD || forced == RSR_VARIANT_TABLE;
        CHECK_INT(plan_case(suite, c, forced, "avx512vbmi", &plan),
                  refused ? RSRC_FAILED : RSRC_OK);
    }
    CHECK_INT(plan_case(suite, c, -1, "avx512vbmi", &plan), RSRC_OK);
    CHECK_INT(plan.regimes[RSR_REGIME_DECODE].kernel, RSR_KERNEL_LUT);
    CHECK_INT(plan.regimes[RSR_REGIME_PREFILL].kernel, RSR_KERNEL_DOT_PANEL);
    CHECK(strstr(plan.regimes[0].reason, " with a scale every 128 columns") != NULL);
    /* Groups of a size that look-ups do not have, signs, and targets without look-ups. */
    c = make_group_case(suite, &odd, RSR_TERNARY, HALVES, RSR_KERNEL_LUT);
    CHECK_INT(plan_case(suite, c, -1, "avx512vbmi", &plan), RSRC_OK);
    CHECK_INT(plan.regimes[RSR_REGIME_DECODE].kernel, RSR_KERNEL_SCATTER);
    c = make_group_case(suite, &setting, RSR_TERNARY, HALVES, RSR_KERNEL_LUT);
    CHECK_INT(plan_case(suite, c, -1, "scalar", &plan), RSRC_OK);
    CHECK_INT(plan.regimes[RSR_REGIME_DECODE].kernel, RSR_KERNEL_SCATTER);
    c->matrix.alphabet = RSR_BINARY_SIGN;
    CHECK_INT(plan_case(suite, c, RSR_VARIANT_LUT, "avx2", &plan), RSRC_FAILED);
}

static void test_refusals(struct suite *suite) {
    static const struct setting odd = {{10, 100, 64}, 50}, large = {{10, 1024, 64}, 512},
                                short_last = {{10, 200, 64}, 128};
    static const struct setting *const refused[] = {&odd, &large, &short_last};
    const struct rsr_spec *spec = find_spec("avx512vbmi");
    for (uint32_t n = 0; n < 6; n++) {
        struct test_case *c =
            make_group_case(suite, refused[n / 2], RSR_TERNARY, HALVES, kernels[n % 2]);
        expect_lower_refused(suite, c, spec, NULL, "lower-groups",
                             "look-ups have scales of groups of 64, 128, 192 or 256 ternary");
    }
    struct test_case *c = make_group_case(suite, &settings[0], RSR_TERNARY, HALVES, RSR_KERNEL_LUT);
    c->matrix.alphabet = RSR_BINARY_SIGN;
    expect_lower_refused(suite, c, spec, NULL, "lower-groups", "choose scatter");
    c = make_group_case(suite, &settings[0], RSR_TERNARY, HALVES, RSR_KERNEL_DOT);
    expect_lower_refused(suite, c, spec, NULL, "lower-groups",
                         "dot has no scales of column groups");
}

int main(void) {
    struct suite suite;
    suite_begin(&suite, "test_group_scales_i8", 20261124);
    for (size_t i = 0; i < N_SPECS; i++)
        if ((specs[i].cpu_features & F(SSSE3)) != 0) /* lut has a form for it */
            test_target(&suite, &specs[i]);
    test_neon(&suite);
    test_scatter(&suite);
    test_sizes(&suite);
    test_plan(&suite);
    test_refusals(&suite);
    suite_end(&suite);
    return CHECK_EXIT();
}
