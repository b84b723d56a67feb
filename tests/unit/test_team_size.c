/* test_team_size.c - how many workers steps use, with simulated times. */
#include "check.h"
#include "walk/team_size.h"

/* A step's time with this many workers, in ms. */
typedef uint64_t step_ms(uint32_t n_workers);

static uint64_t best_with_three(uint32_t n) {
    return n > 3 ? 10 + n : 20 - 3 * n;
}
static uint64_t best_with_all(uint32_t n) {
    return 200 / n;
}
static uint64_t best_alone(uint32_t n) {
    return n == 1 ? 1 : 3 + n;
}
static uint64_t all_the_same(uint32_t n) {
    return 3 + 0 * n;
}

/* Returns how many of n steps were of another size than the usual one. */
static uint32_t run(struct rsr_team_size *size, step_ms *time, uint32_t n, uint32_t n_tokens) {
    uint32_t n_other = 0;
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t taken = rsr_team_size_next(size);
        CHECK(taken >= 1 && taken <= size->most);
        n_other += taken != size->usual;
        rsr_team_size_took(size, n_tokens, n_tokens * time(taken) * 1000000);
    }
    return n_other;
}

static void test_choice(void) {
    static const struct {
        step_ms *time;
        uint32_t most, best;
    } cases[] = {{best_with_three, 8, 3}, {best_with_three, 3, 3}, {best_with_three, 64, 3},
                 {best_with_three, 2, 2}, {best_with_all, 16, 16}, {best_alone, 2, 1},
                 {best_alone, 7, 1},      {all_the_same, 5, 5},    {best_alone, 1, 1}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct rsr_team_size size = rsr_team_size_of(cases[i].most, 5);
        CHECK_INT(rsr_team_size_next(&size), cases[i].most < 5 ? cases[i].most : 5);
        run(&size, cases[i].time, 20000, 1 + (uint32_t)i % 3);
        CHECK_INT(size.usual, cases[i].best);
        /* In the long run other sizes get few steps, and the best size stays. */
        CHECK(run(&size, cases[i].time, 20000, 1) <= 20000 / 50);
        CHECK_INT(size.usual, cases[i].best);
    }
}

/* Another program takes a CPU, and gives it back. */
static void test_change(void) {
    struct rsr_team_size size = rsr_team_size_of(4, 4);
    run(&size, best_with_all, 20000, 1);
    CHECK_INT(size.usual, 4);
    run(&size, best_alone, 20000, 1);
    CHECK_INT(size.usual, 1);
    run(&size, best_with_all, 20000, 1);
    CHECK_INT(size.usual, 4);
    /* A slowdown is noticed soon, however long ago the last choice was made. */
    run(&size, best_with_all, 100000, 1);
    uint32_t n = 0;
    for (; size.other == 0 && n < 100; n++)
        rsr_team_size_took(&size, 1, 100 * 1000000);
    CHECK(n <= 3);
}

/* One slow step, such as when a worker loses its CPU once, changes nothing. */
static void test_disturbance(void) {
    struct rsr_team_size size = rsr_team_size_of(2, 4);
    for (uint32_t i = 0; i < 20000; i++) {
        const uint32_t taken = rsr_team_size_next(&size);
        rsr_team_size_took(&size, 1, (i % 400 == 0 ? 30 : taken == 2 ? 3 : 4) * 1000000);
        CHECK_INT(size.usual, 2);
    }
}

int main(void) {
    test_choice();
    test_change();
    test_disturbance();
    return CHECK_EXIT();
}
