/* test_listed.c - `dot` over listed rows and listed columns: sparsities from none to all, odd
 * shapes, every alphabet and target, batches and splits of the tiles, against 64-bit sums
 * (kernel_harness.h). */
#include "kernel_harness.h"
#include "kernel/dot_layout.h"

static const struct shape shapes[] = {
    {1, 1, 64},     {5, 249, 64},    {63, 254, 64},  {64, 7, 64},    {65, 1021, 64},
    {130, 40, 128}, {321, 510, 128}, {20, 3000, 64}, {641, 96, 256}, {1040, 70, 512}};
#define N_SHAPES (sizeof shapes / sizeof *shapes)
static const uint32_t active_percent[] = {100, 50, 10, 0};

static void put_u32(uint8_t *row, uint64_t at, uint64_t number, uint32_t value) {
    memcpy(row + at + number * sizeof value, &value, sizeof value);
}

/* The list after the row holds the elements of `active`. Unused elements of the list are not
 * zero. */
static void put_list(uint8_t *row, const struct rsr_list_layout *layout, const uint8_t *active,
                     uint32_t n, bool values) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (i % RSR_LIST_CHUNK == 0)
            put_u32(row, layout->begin_at, i / RSR_LIST_CHUNK, count);
        if (active[i] == 0)
            continue;
        put_u32(row, layout->index_at, count, i);
        if (values)
            row[layout->value_at + count] = row[RSR_ACT_HEADER + i];
        count++;
    }
    put_u32(row, layout->begin_at, (n + RSR_LIST_CHUNK - 1) / RSR_LIST_CHUNK, count);
    memset(row + layout->index_at + 4ull * count, 0, RSR_LIST_SLACK * 4);
    if (values)
        memset(row + layout->value_at + count, 0, RSR_LIST_SLACK);
}

/* The case's rows, each followed by its list. */
static void make_lists(struct suite *suite, struct test_case *c, uint32_t percent) {
    const bool cols = c->plan.kernel == RSR_KERNEL_DOT_COLS;
    const uint32_t n = cols ? c->matrix.cols : c->matrix.rows;
    const struct rsr_list_layout layout = rsr_list_layout(c->matrix.cols, n);
    const uint8_t *old = c->x;
    const size_t old_ldx = c->ldx;
    c->ldx = layout.row_bytes + 64;
    c->x = aligned_rows(suite, c->ldx * MAX_TOKENS);
    memset(c->x, GUARD, c->ldx * MAX_TOKENS);
    uint8_t *active = RSRC_NEW_ARRAY(&suite->arena, n, uint8_t);
    for (uint32_t t = 0; t < MAX_TOKENS; t++) {
        uint8_t *row = c->x + t * c->ldx;
        memcpy(row, old + t * old_ldx, layout.begin_at);
        struct rsr_act_row header;
        memcpy(&header, row, sizeof header);
        for (uint32_t i = 0; i < n; i++) {
            active[i] = (check_random(&suite->seed) >> 33) % 100 < percent;
            if (cols && active[i] == 0) {
                header.sum -= (int8_t)row[RSR_ACT_HEADER + i];
                row[RSR_ACT_HEADER + i] = 0;
            }
        }
        memcpy(row, &header, sizeof header);
        put_list(row, &layout, active, n, cols);
        for (uint32_t r = 0; r < n && !cols; r++)
            if (active[r] == 0)
                c->expected[(size_t)t * n + r] = 0;
    }
    if (cols)
        make_expected(suite, c);
}

static struct test_case *make_listed_case(struct suite *suite, const struct shape *shape,
                                          enum rsr_kernel_id kernel, uint32_t n) {
    const bool row_scales = kernel == RSR_KERNEL_DOT_COLS && n % 4 == 1;
    struct test_case *c = make_case(suite, shape, (enum rsr_alphabet)(n % 3),
                                    n % 2 == 0 ? RSR_EPILOGUE_RAW : RSR_EPILOGUE_SCALE, row_scales);
    c->plan.kernel = kernel;
    make_lists(suite, c, active_percent[n % 4]);
    return c;
}

static void test_target(struct suite *suite, const struct rsr_spec *spec) {
    struct test_case *cases[N_SHAPES * 2];
    uint32_t n = 0;
    for (uint32_t s = 0; s < N_SHAPES; s++)
        for (int cols = 0; cols < 2; cols++) {
            const uint32_t seed = s + (uint32_t)(spec - specs) + (uint32_t)cols * 5;
            cases[n++] = make_listed_case(suite, &shapes[s],
                                          cols ? RSR_KERNEL_DOT_COLS : RSR_KERNEL_DOT_ROWS, seed);
        }
    run_cases(suite, cases, n, spec, rsrc_arena_printf(&suite->arena, "listed_%s", spec->name));
}

static void test_refusals(struct suite *suite) {
    const struct shape shape = {64, 64, 64};
    struct test_case *c = make_listed_case(suite, &shape, RSR_KERNEL_DOT_ROWS, 0);
    expect_lower_refused(suite, c, &specs[0], NULL, "lower-target", "no instructions for dot_rows");
    c->plan.kernel = RSR_KERNEL_DOT_COLS;
    expect_lower_refused(suite, c, &specs[1], NULL, "lower-target", "no instructions for dot_cols");
    c = make_case(suite, &shape, RSR_TERNARY, RSR_EPILOGUE_SCALE, true);
    c->plan.kernel = RSR_KERNEL_DOT_ROWS;
    expect_lower_refused(suite, c, &specs[7], NULL, "lower-listed", "every row has a scale");
}

int main(void) {
    struct suite suite;
    suite_begin(&suite, "test_listed", 20261121);
    test_refusals(&suite);
    uint32_t n_targets = 0;
    for (size_t i = 0; i < N_SPECS; i++)
        if (rsrc_find_machine(&rsrc_listed_machines, &specs[i]) != NULL) {
            test_target(&suite, &specs[i]);
            n_targets++;
        }
    CHECK_INT(n_targets, N_SPECS - 2); /* all but scalar code and plain vectors */
    suite_end(&suite);
    return CHECK_EXIT();
}
