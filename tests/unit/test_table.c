/* test_table.c - `table`: every form of codes, alphabet and target at odd shapes, more tokens than
 * a group, more columns than a chunk, more rows than a block, against 64-bit sums
 * (kernel_harness.h). */
#define MAX_TOKENS 135
#include "kernel_harness.h"

/* Rows around vectors, units and blocks; columns around segments, passes and chunks. */
static const struct shape shapes[] = {{1, 1, 4},       {5, 249, 64},   {63, 254, 64},
                                      {64, 7, 64},     {65, 1021, 64}, {130, 40, 32},
                                      {321, 510, 320}, {20, 5460, 16}, {640, 96, 128}};
#define N_SHAPES (sizeof shapes / sizeof *shapes)

static struct test_case *make_table_case(struct suite *suite, const struct shape *shape,
                                         enum rsr_alphabet alphabet, uint32_t n,
                                         enum rsr_kernel_id kernel) {
    struct test_case *c = make_case(suite, shape, alphabet,
                                    n % 2 == 0 ? RSR_EPILOGUE_RAW : RSR_EPILOGUE_SCALE, n % 4 == 1);
    c->plan.kernel = kernel;
    c->plan.token_tile = n % 3 == 0 ? 1 : UINT32_MAX; /* a vector of tokens, or a whole group */
    return c;
}

static void test_target(struct suite *suite, const struct rsr_spec *spec,
                        enum rsr_kernel_id kernel) {
    struct test_case *cases[N_SHAPES * 3];
    uint32_t n = 0;
    for (uint32_t s = 0; s < N_SHAPES; s++)
        for (uint32_t alphabet = RSR_TERNARY; alphabet <= RSR_BINARY_BIT; alphabet++)
            if ((s + alphabet + spec - specs) % 2 == 0) { /* half of the cases, to save compiling */
                cases[n] =
                    make_table_case(suite, &shapes[s], (enum rsr_alphabet)alphabet, n, kernel);
                n++;
            }
    run_cases(suite, cases, n, spec,
              rsrc_arena_printf(&suite->arena, "%s_%s", rsrc_kernel_row(kernel)->name, spec->name));
}

/* If decode looks up no codes, there are none to unpack. */
static void test_no_form(struct suite *suite) {
    struct test_case *c = make_table_case(suite, &shapes[0], RSR_TERNARY, 0, RSR_KERNEL_TABLE);
    expect_lower_refused(suite, c, &specs[1], NULL, "lower-target", "target generic");
}

int main(void) {
    struct suite suite;
    suite_begin(&suite, "test_table", 20261123);
    test_no_form(&suite);
    test_target(&suite, &specs[1], RSR_KERNEL_TABLE_DOT);
    test_target(&suite, &specs[2], RSR_KERNEL_TABLE_DOT);
    uint32_t n_targets = 0;
    for (size_t i = 0; i < N_SPECS; i++)
        if ((specs[i].cpu_features & F(SSSE3)) != 0) { /* lut has a form for it */
            test_target(&suite, &specs[i], RSR_KERNEL_TABLE);
            n_targets++;
        }
    CHECK(n_targets >= 6);
    suite_end(&suite);
    return CHECK_EXIT();
}
