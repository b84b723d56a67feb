/* test_packed.c - matrices of bfloat16 in 12 bits a weight: every level of the operations gives the
 * bits of the plain matrix, whatever the rows hold. */
#include <math.h>

#include "check.h"
#include "host/cpu.h"
#include "model/pack_rows.h"
#include "ops/ops.h"
#include "rsr_packed.h"

/* The number of rows is no multiple of four. */
#define ROWS 131u

static double uniform(uint64_t *seed) {
    return ((double)(check_random(seed) >> 11) + 0.5) * 0x1p-53;
}

static double gaussian(uint64_t *seed) {
    return sqrt(-2.0 * log(uniform(seed))) * cos(6.283185307179586 * uniform(seed));
}

static uint16_t bits_of(double value) {
    const float x = (float)value;
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return (uint16_t)(bits >> 16);
}

/* ---- A matrix, plain and packed ---- */

struct both {
    uint16_t *bits; /* [rows][cols] */
    uint8_t *bytes; /* packed */
    struct rsr_matrix_data plain, packed;
    uint64_t size_bytes;
    uint32_t n_exceptions;
};

typedef uint16_t fill_fn(uint64_t *seed, size_t i);

static void make(struct both *b, struct rsrc_arena *arena, uint32_t rows, uint32_t cols,
                 fill_fn *fill) {
    const uint64_t n = (uint64_t)rows * cols;
    uint64_t seed = cols;
    b->bits = calloc(n, sizeof(*b->bits));
    for (size_t i = 0; i < n; i++)
        b->bits[i] = fill(&seed, i);
    const struct rsr_tensor tensor = {.dtype = RSR_DTYPE_BF16,
                                      .n_dims = 2,
                                      .shape = {rows, cols},
                                      .size_bytes = 2 * n,
                                      .data = (const uint8_t *)b->bits};
    struct rsr_packing plan;
    const char *reason = NULL;
    CHECK(rsrc_can_pack(&tensor, &reason));
    rsrc_plan_packing(arena, &tensor, UINT64_MAX, &plan);
    CHECK(plan.is_packed);
    const uint64_t front = plan.front_bytes;
    CHECK(front % 64 == 0 && plan.size_bytes == front + rows * rsrc_packed_row_bytes(&tensor));
    b->bytes = aligned_alloc(64, (plan.size_bytes + 63) / 64 * 64);
    memset(b->bytes, 0xa5, plan.size_bytes);
    memcpy(b->bytes, plan.front, front);
    rsrc_pack_rows(&tensor, &plan, 0, 1, b->bytes + front);
    rsrc_pack_rows(&tensor, &plan, 1, rows - 1, b->bytes + front + rsrc_packed_row_bytes(&tensor));
    b->plain = (struct rsr_matrix_data){b->bits, RSR_DTYPE_BF16, rows, cols, 0};
    b->packed = (struct rsr_matrix_data){b->bytes, RSR_DTYPE_BF16_PACKED, rows, cols, 0};
    b->size_bytes = plan.size_bytes;
    b->n_exceptions = plan.n_exceptions;
}

static void end(struct both *b) {
    free(b->bits);
    free(b->bytes);
}

/* ---- Checks ---- */

static uint32_t count_wrong_rows(const struct rsr_ops *ops, const struct both *b) {
    const uint32_t cols = b->plain.cols;
    float *row = calloc(cols + 1, sizeof(*row));
    uint32_t n_wrong = 0;
    for (uint32_t r = 0; r < b->plain.rows; r++) {
        bool right = true;
        row[cols] = 7.0f; /* nothing is written after a row */
        ops->embed(row, &b->packed, r);
        for (uint32_t i = 0; i < cols; i++) {
            uint32_t bits;
            memcpy(&bits, &row[i], sizeof(bits));
            right = right && bits == (uint32_t)b->bits[(size_t)r * cols + i] << 16;
        }
        n_wrong += !right || row[cols] != 7.0f;
    }
    free(row);
    return n_wrong;
}

/* Sums of NaN may differ in the payload, so logits are compared where none is. */
static void check_logits(const struct rsr_ops *ops, const struct both *b) {
    static const uint32_t some[] = {129, 3, 64, 3, 17};
    enum { SOME = sizeof(some) / sizeof(some[0]) };
    const uint32_t cols = b->plain.cols;
    float *x = calloc(cols, sizeof(*x)), want[ROWS], got[ROWS] = {0.0f};
    uint64_t seed = 7;
    for (uint32_t i = 0; i < cols; i++)
        x[i] = i % 5 == 0 ? -1e-38f : (float)gaussian(&seed);
    ops->head(want, &b->plain, 0, ROWS, x);
    ops->head(got, &b->packed, 0, 5, x);
    ops->head(got, &b->packed, 5, ROWS, x);
    CHECK(memcmp(got, want, sizeof(want)) == 0);
    for (uint32_t n = 1; n <= SOME; n++) {
        ops->head_some(want, &b->plain, some, n, x);
        ops->head_some(got, &b->packed, some, n, x);
        CHECK(memcmp(got, want, n * sizeof(*want)) == 0);
    }
    free(x);
}

static void check_all(struct rsrc_arena *arena, uint32_t cols, bool finite, fill_fn *fill,
                      double most_bits) {
    struct both b;
    make(&b, arena, ROWS, cols, fill);
    for (uint32_t level = 0; level < RSR_OPS_LEVEL_COUNT; level++) {
        const struct rsr_ops *ops = rsr_ops_get(level);
        if (ops == NULL || (rsr_ops_features(level) & ~rsr_cpu_features()) != 0)
            continue;
        CHECK_INT(count_wrong_rows(ops, &b), 0);
        if (finite)
            check_logits(ops, &b);
    }
    const double bits = (double)b.size_bytes * 8 / ROWS / cols;
    if (!(bits <= most_bits))
        fprintf(stderr, "%.3f bits a weight, %u exceptions\n", bits, b.n_exceptions);
    CHECK(bits <= most_bits);
    end(&b);
}

/* ---- What rows hold ---- */

static uint16_t fill_gaussian(uint64_t *seed, size_t i) {
    (void)i;
    return bits_of(0.02 * gaussian(seed));
}

static uint16_t fill_laplace(uint64_t *seed, size_t i) {
    (void)i;
    const double x = -log(uniform(seed));
    return bits_of(check_random(seed) % 2 == 0 ? x : -x);
}

/* Student's t of 3 degrees of freedom. */
static uint16_t fill_heavy(uint64_t *seed, size_t i) {
    (void)i;
    const double a = gaussian(seed), b = gaussian(seed), c = gaussian(seed);
    return bits_of(gaussian(seed) / sqrt((a * a + b * b + c * c) / 3.0));
}

/* Rows of zeros of both signs, sparse rows, and denormals. */
static uint16_t fill_small(uint64_t *seed, size_t i) {
    const uint64_t x = check_random(seed);
    if (i / 512 % 3 == 0)
        return (uint16_t)(x % 2 == 0 ? 0 : 0x8000);
    return x % 4 == 0 ? bits_of(gaussian(seed)) : (uint16_t)(x >> 32 & 0x807f);
}

/* Every number of 16 bits: 131 rows of 512 have 67,072. */
static uint16_t fill_each(uint64_t *seed, size_t i) {
    (void)seed;
    return (uint16_t)i;
}

/* The same, in an order in which rows have all high bytes. */
static uint16_t fill_each_mixed(uint64_t *seed, size_t i) {
    (void)seed;
    return (uint16_t)(i * 40503u);
}

static uint16_t fill_random(uint64_t *seed, size_t i) {
    (void)i;
    return (uint16_t)check_random(seed);
}

/* Numbers of any size among Gaussian ones. */
static uint16_t fill_gaussian_but_some(uint64_t *seed, size_t i) {
    return i % 17 == 0 ? (uint16_t)(i / 17) : bits_of(gaussian(seed));
}

/* Finite ones of these. */
static uint16_t fill_patched(uint64_t *seed, size_t i) {
    const uint16_t bits = fill_gaussian_but_some(seed, i);
    return (bits & 0x7fff) < 0x5000 ? bits : (uint16_t)(bits & 0x8fff);
}

/* ---- Plans ---- */

static void test_plans(struct rsrc_arena *arena) {
    uint16_t bits[2][64] = {{0}};
    const struct rsr_tensor tensor = {.dtype = RSR_DTYPE_BF16,
                                      .n_dims = 2,
                                      .shape = {2, 64},
                                      .size_bytes = sizeof(bits),
                                      .data = (const uint8_t *)bits};
    struct rsr_packing plan;
    for (uint32_t i = 0; i < 64; i++)
        bits[1][i] = (uint16_t)(i << 8); /* 64 high bytes: 48 exceptions */
    rsrc_plan_packing(arena, &tensor, UINT64_MAX, &plan);
    CHECK_INT(plan.n_exceptions, 48);
    CHECK_INT(plan.size_bytes, 320 + 2 * 96); /* 64 + 4 * (2 + 48) + 2 * 16 fill 320 */
    uint32_t ends[3];                         /* and the first exception */
    memcpy(ends, plan.front + RSR_PACKED_HEADER_BYTES, sizeof(ends));
    CHECK(ends[0] == 0 && ends[1] == 48);
    const uint8_t *highs = plan.front + rsr_packed_highs_at(2, plan.n_exceptions);
    CHECK(highs[16] == 0 && highs[31] == 15);
    CHECK_INT(ends[2], 16 << 8 | 16);
    rsrc_plan_packing(arena, &tensor, plan.size_bytes, &plan);
    CHECK(plan.is_packed);
    rsrc_plan_packing(arena, &tensor, plan.size_bytes - 1, &plan);
    CHECK(!plan.is_packed);
    const char *reason = NULL;
    struct rsr_tensor other = tensor;
    other.dtype = RSR_DTYPE_F16;
    CHECK(!rsrc_can_pack(&other, &reason) && strstr(reason, "only bfloat16") != NULL);
    other = tensor;
    other.data = NULL;
    CHECK(!rsrc_can_pack(&other, &reason) && strstr(reason, "in blocks") != NULL);
    other = tensor;
    other.shape[1] = RSR_PACKED_MOST_COLS + 1;
    CHECK(!rsrc_can_pack(&other, &reason) && strstr(reason, "too long") != NULL);
}

int main(void) {
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    check_all(&arena, 2560, true, fill_gaussian, 12.09);
    check_all(&arena, 2560, true, fill_laplace, 12.1);
    check_all(&arena, 2560, true, fill_heavy, 12.1);
    check_all(&arena, 2560, true, fill_patched, 14.5);
    for (uint32_t cols = 1; cols < 200; cols++)
        check_all(&arena, cols, true, cols % 2 == 0 ? fill_gaussian : fill_patched, 1400.0);
    check_all(&arena, 8192, true, fill_gaussian, 12.05);
    check_all(&arena, 512, true, fill_small, 13.0);
    check_all(&arena, 512, false, fill_each, 12.4);
    check_all(&arena, 512, false, fill_each_mixed, 44.0);
    check_all(&arena, 512, false, fill_random, 44.0);
    check_all(&arena, 8192, false, fill_gaussian_but_some, 16.1);
    test_plans(&arena);
    rsrc_arena_free(&arena);
    return CHECK_EXIT();
}
