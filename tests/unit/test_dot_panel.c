/* test_dot_panel.c - `dot` over the codes of `lut`: every form, alphabet and target at odd shapes,
 * more tokens than a group, more columns than a panel, against 64-bit sums (kernel_harness.h). */
#define MAX_TOKENS 135
#define BATCHES 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, MAX_TOKENS /* tiles of every size */
#include "kernel_harness.h"

static const struct shape shapes[] = {{1, 1, 4},       {5, 249, 64},   {63, 254, 64},
                                      {64, 7, 64},     {65, 1021, 64}, {130, 40, 32},
                                      {321, 510, 320}, {20, 5460, 16}, {640, 96, 128}};
#define N_SHAPES (sizeof shapes / sizeof *shapes)

static struct test_case *make_panel_case(struct suite *suite, const struct shape *shape,
                                         enum rsr_alphabet alphabet, uint32_t n) {
    struct test_case *c = make_case(suite, shape, alphabet,
                                    n % 2 == 0 ? RSR_EPILOGUE_RAW : RSR_EPILOGUE_SCALE, n % 4 == 1);
    c->plan.kernel = RSR_KERNEL_DOT_PANEL;
    return c;
}

/* AArch64's operations run in the interpreter here; another test runs its machine code with
 * qemu-user. */
static void test_neon(struct suite *suite) {
    static const struct rsr_spec neon = {.name = "neon-dotprod",
                                         .triple = "aarch64-linux-gnu",
                                         .cpu = "neoverse-n1",
                                         .vector_bits = 128,
                                         .cpu_features = F(NEON) | F(DOTPROD)};
    for (uint32_t s = 0; s < N_SHAPES; s++)
        for (uint32_t alphabet = RSR_TERNARY; alphabet <= RSR_BINARY_BIT; alphabet++) {
            struct test_case *c =
                make_panel_case(suite, &shapes[s], (enum rsr_alphabet)alphabet, s);
            lower_case(suite, c, &neon, s);
            check_call(c, NULL, "interpreter", 7, 0, c->lowered.kernel.n_tiles);
        }
}

static void test_target(struct suite *suite, const struct rsr_spec *spec) {
    struct test_case *cases[N_SHAPES * 3];
    uint32_t n = 0;
    for (uint32_t s = 0; s < N_SHAPES; s++)
        for (uint32_t alphabet = RSR_TERNARY; alphabet <= RSR_BINARY_BIT; alphabet++)
            if ((s + alphabet + spec - specs) % 2 == 0) { /* half of the cases, to save compiling */
                cases[n] = make_panel_case(suite, &shapes[s], (enum rsr_alphabet)alphabet, n);
                n++;
            }
    run_cases(suite, cases, n, spec, rsrc_arena_printf(&suite->arena, "panel_%s", spec->name));
}

/* A row with more signs than a correction of `lut` could count. `dot` needs no correction. */
static void test_many_signs(struct suite *suite, const struct rsr_spec *spec) {
    const struct shape wide = {2, 3 * INT16_MAX + 100, 4};
    struct test_case *c = make_panel_case(suite, &wide, RSR_TERNARY, 0);
    run_cases(suite, &c, 1, spec, "panel_many_signs");
}

/* If `lut` has no form for the target, `dot` has no codes of `lut` to multiply. */
static void test_no_form(struct suite *suite) {
    struct test_case *c = make_panel_case(suite, &shapes[0], RSR_TERNARY, 0);
    expect_lower_refused(suite, c, &specs[1], NULL, "lower-target", "target generic");
}

int main(void) {
    struct suite suite;
    suite_begin(&suite, "test_dot_panel", 20260722);
    test_no_form(&suite);
    test_neon(&suite);
    uint32_t n_targets = 0;
    for (size_t i = 0; i < N_SPECS; i++)
        if ((specs[i].cpu_features & F(SSSE3)) != 0) { /* lut has a form for it */
            if (n_targets == 0)
                test_many_signs(&suite, &specs[i]);
            test_target(&suite, &specs[i]);
            n_targets++;
        }
    CHECK(n_targets >= 6);
    suite_end(&suite);
    return CHECK_EXIT();
}
