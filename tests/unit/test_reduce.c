/* test_reduce.c - reductions of matrices with planted repeats, opposites, zeros and dead channels:
 * what is found, when a map is used, and a verifier that misses no corrupted map or weight. */
#include <stdlib.h>

#include "base/arena.h"
#include "check.h"
#include "diag.h"
#include "rsr/reduce.h"

#define SEED UINT64_C(20260804)

/* How many of a hundred rows and columns are repeated, opposite, zero or dead. */
struct planted {
    uint32_t repeated, opposite, zero_rows, zero_cols, dead_rows, dead_cols;
};

struct fixture {
    struct rsrc_arena arena;
    uint64_t seed;
    struct rsr_matrix matrix;
    struct rsr_dead dead;
    struct rsr_matrix reduced;
    struct rsr_reduction reduction;
};

static bool chance(struct fixture *f, uint32_t percent) {
    return check_random(&f->seed) % 100 < percent;
}

static uint8_t *random_flags(struct fixture *f, uint32_t n, uint32_t percent) {
    uint8_t *flags = RSRC_NEW_ARRAY(&f->arena, n, uint8_t);
    for (uint32_t i = 0; i < n; i++)
        flags[i] = chance(f, percent);
    return percent != 0 ? flags : NULL;
}

static int8_t random_weight(struct fixture *f, enum rsr_alphabet alphabet) {
    const uint64_t r = check_random(&f->seed) >> 33;
    if (alphabet == RSR_TERNARY)
        return (int8_t)((int)(r % 3) - 1);
    return alphabet == RSR_BINARY_SIGN && (r & 1) == 0 ? -1 : (int8_t)(r & 1);
}

static void plant(struct fixture *f, uint32_t rows, uint32_t cols, enum rsr_alphabet alphabet,
                  const struct planted *planted) {
    int8_t *values = rsrc_arena_array(&f->arena, rows, cols);
    const uint8_t *zero_cols = random_flags(f, cols, planted->zero_cols);
    for (uint32_t i = 0; i < rows; i++) {
        int8_t *row = values + (size_t)i * cols;
        const bool opposite = chance(f, planted->opposite);
        const int8_t *source = i == 0 ? row : values + (size_t)(check_random(&f->seed) % i) * cols;
        const bool copy = i > 0 && (opposite || chance(f, planted->repeated));
        const bool zero = chance(f, planted->zero_rows);
        for (uint32_t j = 0; j < cols; j++) {
            row[j] =
                copy ? (int8_t)(opposite ? -source[j] : source[j]) : random_weight(f, alphabet);
            if (zero || (zero_cols != NULL && zero_cols[j]))
                row[j] = 0;
        }
    }
    f->matrix = (struct rsr_matrix){
        .rows = rows, .cols = cols, .alphabet = alphabet, .values = values, .n_scales = 1};
    f->dead = (struct rsr_dead){.rows = random_flags(f, rows, planted->dead_rows),
                                .cols = random_flags(f, cols, planted->dead_cols)};
}

static enum rsrc_status verify(struct fixture *f, struct rsrc_diag *diag) {
    return rsrc_verify_reduction(diag, &f->matrix, &f->dead, &f->reduced, &f->reduction, "t");
}

/* A weight of the matrix; 0 in dead rows and columns. */
static int weight(const struct fixture *f, uint32_t i, uint32_t j) {
    if ((f->dead.rows != NULL && f->dead.rows[i]) || (f->dead.cols != NULL && f->dead.cols[j]))
        return 0;
    return f->matrix.values[(size_t)i * f->matrix.cols + j];
}

/* In a layer without a row map, dead rows are computed like others. */
static int computed_weight(const struct fixture *f, uint32_t i, uint32_t j) {
    const bool is_dead = f->dead.cols != NULL && f->dead.cols[j];
    return is_dead ? 0 : f->matrix.values[(size_t)i * f->matrix.cols + j];
}

/* Products with the reduced matrix, its columns picked and its rows spread, equal the full ones. */
static void check_products(struct fixture *f) {
    const struct rsr_reduction *r = &f->reduction;
    int8_t *x = rsrc_arena_alloc(&f->arena, f->matrix.cols);
    int64_t *kept = RSRC_NEW_ARRAY(&f->arena, r->rows, int64_t);
    for (uint32_t j = 0; j < f->matrix.cols; j++)
        x[j] = (int8_t)check_random(&f->seed);
    for (uint32_t i = 0; i < r->rows; i++)
        for (uint32_t j = 0; j < r->cols; j++)
            kept[i] += f->reduced.values[(size_t)i * r->cols + j] *
                       x[r->kept_cols != NULL ? r->kept_cols[j] : j];
    for (uint32_t i = 0; i < f->matrix.rows; i++) {
        int64_t wanted = 0;
        for (uint32_t j = 0; j < f->matrix.cols; j++)
            wanted += (r->row_sources != NULL ? weight(f, i, j) : computed_weight(f, i, j)) * x[j];
        const struct rsr_row_source own = {.row = i, .sign = 1};
        const struct rsr_row_source *source = r->row_sources != NULL ? &r->row_sources[i] : &own;
        CHECK_INT(kept[source->row] * source->sign, wanted);
    }
}

/* Facts counted the slow way. */
static void check_counts(struct fixture *f) {
    struct rsr_reduction_counts counts = {.rows = f->matrix.rows, .cols = f->matrix.cols};
    for (uint32_t i = 0; i < f->matrix.rows; i++) {
        bool zero = true, repeated = false;
        for (uint32_t j = 0; j < f->matrix.cols; j++)
            zero &= weight(f, i, j) == 0;
        for (uint32_t e = 0; e < i && !repeated && !zero; e++) {
            bool equal = true, opposite = true;
            for (uint32_t j = 0; j < f->matrix.cols && (equal || opposite); j++) {
                equal &= weight(f, i, j) == weight(f, e, j);
                opposite &= weight(f, i, j) == -weight(f, e, j);
            }
            repeated = equal || opposite;
        }
        const bool dead = f->dead.rows != NULL && f->dead.rows[i];
        counts.n_dead_rows += dead;
        counts.n_zero_rows += zero && !dead;
        counts.n_repeated_rows += repeated;
    }
    for (uint32_t j = 0; j < f->matrix.cols; j++) {
        bool zero = true;
        for (uint32_t i = 0; i < f->matrix.rows; i++)
            zero &= weight(f, i, j) == 0;
        const bool dead = f->dead.cols != NULL && f->dead.cols[j];
        counts.n_dead_cols += dead;
        counts.n_zero_cols += zero && !dead;
    }
    CHECK(memcmp(&counts, &f->reduction.counts, sizeof counts) == 0);
}

static void reduce(struct fixture *f) {
    rsrc_reduce_matrix(&f->arena, &f->matrix, &f->dead, &f->reduced, &f->reduction);
    CHECK_INT(verify(f, NULL), RSRC_OK);
    check_products(f);
    check_counts(f);
}

static void test_planted(struct fixture *f) {
    static const struct planted kinds[] = {
        {0, 0, 0, 0, 0, 0},   {40, 0, 0, 0, 0, 0},  {0, 50, 0, 0, 0, 0},
        {0, 0, 60, 0, 0, 0},  {0, 0, 0, 85, 0, 0},  {20, 20, 10, 30, 0, 0},
        {0, 0, 0, 0, 70, 0},  {0, 0, 0, 0, 0, 90},  {10, 10, 10, 40, 20, 50},
        {0, 0, 100, 0, 0, 0}, {0, 0, 0, 100, 0, 0}, {0, 0, 0, 0, 100, 100},
        {100, 0, 0, 0, 0, 0}, {0, 100, 0, 0, 0, 0}};
    static const struct {
        uint32_t rows, cols;
    } shapes[] = {{1, 1}, {1, 1500}, {70, 1}, {37, 2101}, {160, 33}, {2600, 40}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
            plant(f, shapes[s].rows, shapes[s].cols, k % 3 == 1 ? RSR_BINARY_BIT : RSR_TERNARY,
                  &kinds[k]);
            reduce(f);
        }
    plant(f, 37, 2101, RSR_BINARY_SIGN, &kinds[2]); /* no zeros: only whole rows can go */
    reduce(f);
    CHECK(f->reduction.row_sources != NULL && f->reduction.rows < 37);
}

/* A map is used exactly where it pays. */
static void test_break_even(struct fixture *f) {
    const struct planted many = {.repeated = 50}, few = {.repeated = 3};
    plant(f, 200, 2560, RSR_TERNARY, &many);
    reduce(f);
    CHECK(f->reduction.row_sources != NULL);
    CHECK_INT(f->reduction.rows, 200 - f->reduction.counts.n_repeated_rows);
    CHECK_STR(rsrc_reduction_text(&f->arena, &f->reduction, RSRC_TOO_FEW_TO_MAP),
              rsrc_arena_printf(&f->arena, "computes %u of 200 rows (%u repeated)",
                                f->reduction.rows, 200 - f->reduction.rows));

    plant(f, 200, 2560, RSR_TERNARY, &few);
    reduce(f);
    CHECK(f->reduction.counts.n_repeated_rows > 0);
    CHECK(f->reduction.row_sources == NULL);
    CHECK(f->reduced.values == f->matrix.values);
    CHECK(strstr(rsrc_reduction_text(&f->arena, &f->reduction, RSRC_TOO_FEW_TO_MAP),
                 "too few to pay") != NULL);

    plant(f, 200, 100, RSR_TERNARY, &many); /* narrow rows are as cheap as a map */
    reduce(f);
    CHECK(f->reduction.row_sources == NULL);

    const struct planted wide = {.zero_cols = 80}, none = {0};
    plant(f, 1000, 300, RSR_TERNARY, &wide);
    reduce(f);
    CHECK(f->reduction.kept_cols != NULL);
    plant(f, 100, 300, RSR_TERNARY, &wide); /* too few rows to share the gathering */
    reduce(f);
    CHECK(f->reduction.kept_cols == NULL);

    plant(f, 50, 300, RSR_TERNARY, &none);
    reduce(f);
    CHECK(rsrc_reduction_text(&f->arena, &f->reduction, RSRC_TOO_FEW_TO_MAP) == NULL);
    rsrc_keep_matrix(&f->matrix, &f->reduced, &f->reduction);
    CHECK_INT(verify(f, NULL), RSRC_OK);
    CHECK(rsrc_reduction_text(&f->arena, &f->reduction, RSRC_TOO_FEW_TO_MAP) == NULL);
}

/* ---- the verifier ---------------------------------------------------------------------------- */

static void expect_wrong(struct fixture *f, const char *problem) {
    char *message = NULL;
    size_t size_bytes = 0;
    FILE *stream = open_memstream(&message, &size_bytes);
    struct rsrc_diag *diag = rsrc_diag_create(stream, false, RSRC_COLOR_NEVER);
    CHECK_INT(verify(f, diag), RSRC_FAILED);
    rsrc_diag_destroy(diag);
    fclose(stream);
    if (strstr(message, problem) == NULL)
        fprintf(stderr, "got: %s\nnot: %s\n", message, problem);
    CHECK(strstr(message, problem) != NULL);
    CHECK(strstr(message, "reduce-verify") != NULL);
    free(message);
}

static void test_verifier(struct fixture *f) {
    const struct planted kinds = {.repeated = 60, .zero_rows = 10, .zero_cols = 80};
    plant(f, 3000, 1100, RSR_TERNARY, &kinds);
    reduce(f);
    CHECK(f->reduction.row_sources != NULL && f->reduction.kept_cols != NULL);
    struct rsr_row_source *sources = (struct rsr_row_source *)f->reduction.row_sources;
    uint32_t *kept_cols = (uint32_t *)f->reduction.kept_cols;
    int8_t *values = (int8_t *)f->reduced.values;

#define CORRUPT(place, value, problem)                                                             \
    do {                                                                                           \
        const __typeof__(place) saved = (place);                                                   \
        (place) = (value);                                                                         \
        expect_wrong(f, problem);                                                                  \
        (place) = saved;                                                                           \
    } while (0)
    const uint32_t last = f->reduction.rows * f->reduction.cols - 1;
    uint32_t used_row = 0;
    while (sources[used_row].sign == 0)
        used_row++;
    CORRUPT(values[last], (int8_t)(values[last] == 0 ? 1 : 0), "in the matrix and");
    CORRUPT(sources[used_row].sign, -sources[used_row].sign, "in the matrix and");
    CORRUPT(sources[used_row].sign, 0, "in the matrix and");
    CORRUPT(sources[used_row].sign, 2, "comes from nowhere");
    CORRUPT(sources[used_row].row, f->reduction.rows, "comes from nowhere");
    CORRUPT(sources[used_row].row, f->reduction.rows - 1, "in the matrix and");
    CORRUPT(kept_cols[1], kept_cols[0], "do not ascend");
    CORRUPT(kept_cols[f->reduction.cols - 1], 1100, "do not ascend");
    CORRUPT(f->reduction.rows, f->reduction.rows - 1, "another shape");
    CORRUPT(f->reduction.counts.rows, 1, "another shape");
    CORRUPT(f->reduction.kept_cols, NULL, "the columns are not");
    CORRUPT(f->reduction.row_sources, NULL, "the rows are not");
#undef CORRUPT
    uint8_t *alive_then_dead = RSRC_NEW_ARRAY(&f->arena, 3000, uint8_t);
    alive_then_dead[used_row] = 1;
    f->dead.rows = alive_then_dead;
    expect_wrong(f, "is 0 in the matrix");
    f->dead.rows = NULL;
    CHECK_INT(verify(f, NULL), RSRC_OK);
}

int main(void) {
    struct fixture f = {.seed = SEED};
    rsrc_arena_init(&f.arena);
    printf("seed %llu\n", (unsigned long long)SEED);
    test_planted(&f);
    test_break_even(&f);
    test_verifier(&f);
    rsrc_arena_free(&f.arena);
    return CHECK_EXIT();
}
