/* No key is missed: compares the KV index with exact decisions about products, over cases made from
 * a seed.
 *
 * A case has data of some kind, a history of the index that holds it (growth, cuts into a page,
 * forks), and queries with every kind of threshold. A key that was left out is a miss if its
 * product, as a real number, reaches the threshold: float64 decides where its error allows that,
 * otherwise products are summed without rounding. Outputs are compared with attention in float64.
 * The test reports how much was scanned, read and attended to for each kind of data, because an
 * index that reads everything misses nothing either. With every rule, the certified error must be
 * infinite where float32 overflows, and finite where nothing comes near overflow.
 *
 *     test_louver_property [CHECKS [FIRST_SEED]]     at least so many (query, key) pairs
 *     test_louver_property --case "..."              one case, as a failure prints it
 *
 * A failing case is reduced to few keys, dimensions and heads before it is printed. Compiled with
 * RSR_SKETCH_OMIT or RSR_LOUVER_OMIT, and with a source that omits a term of its bound, the test
 * must find a miss. */
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#include "check.h"
#include "host/cpu.h"
#include "louver/louver.h"

#if defined(RSR_SKETCH_OMIT) || defined(RSR_LOUVER_OMIT)
#define OMITTED true
#else
#define OMITTED false
#endif

#define MAX_KEYS 4096u
#define MAX_HEADS 8u
#define MAX_DIM 320u
#define N_CALLS 8u /* queries of a case; each has several heads */
#define DEFAULT_CHECKS                                                                             \
    3000000u /* enough for every rule to see numbers that overflow and numbers that do not */

/* Everything that a case depends on. A failure prints it. */
struct test_case {
    uint64_t seed;
    uint32_t kind, life, n_keys, dim, n_planes, n_heads;
    uint32_t first_call, n_calls;
};
#define CASE_FORMAT "seed=%llu kind=%u life=%u keys=%u dim=%u planes=%u heads=%u call=%u+%u"

/* ---- Numbers ---- */

/* Every (seed, row, purpose) has its own stream, so rows do not change when a case shrinks. */
static uint64_t stream(uint64_t seed, uint64_t purpose, uint64_t row) {
    uint64_t state = seed * UINT64_C(0x9e3779b97f4a7c15) + purpose;
    state = check_random(&state) + row;
    return check_random(&state);
}

/* Close to N(0, 1): the sum of four 16-bit numbers. */
static float bell(uint64_t *state) {
    const uint64_t bits = check_random(state);
    const double sum = (double)(bits & 0xffff) + (double)(bits >> 16 & 0xffff) +
                       (double)(bits >> 32 & 0xffff) + (double)(bits >> 48);
    return (float)((sum - 131070.0) * (1.7320508 / 65536.0));
}

/* ---- Data: one row ---- */

enum { KEYS, VALUES, QUERIES, CENTRES, JUNK, LIFE };

typedef void row_fn(float *row, uint32_t dim, uint64_t seed, uint64_t purpose, uint64_t index);

static void row_gaussian(float *row, uint32_t dim, uint64_t seed, uint64_t purpose,
                         uint64_t index) {
    uint64_t state = stream(seed, purpose, index);
    for (uint32_t i = 0; i < dim; i++)
        row[i] = bell(&state);
}

/* 64 centres, in runs of 256. */
static void row_clustered(float *row, uint32_t dim, uint64_t seed, uint64_t purpose,
                          uint64_t index) {
    uint64_t state = stream(seed, purpose, index),
             centre = stream(seed, CENTRES, stream(seed, CENTRES, index / 256) % 64);
    for (uint32_t i = 0; i < dim; i++)
        row[i] = bell(&centre) + 0.35f * bell(&state);
}

static void row_off_centre(float *row, uint32_t dim, uint64_t seed, uint64_t purpose,
                           uint64_t index) {
    uint64_t state = stream(seed, purpose, index), centre = stream(seed, CENTRES, 0);
    for (uint32_t i = 0; i < dim; i++)
        row[i] = 8.0f * bell(&centre) + bell(&state);
}

/* Every row is one of three. */
static void row_duplicate(float *row, uint32_t dim, uint64_t seed, uint64_t purpose,
                          uint64_t index) {
    row_gaussian(row, dim, seed, KEYS, stream(seed, purpose, index) % 3);
}

/* Small integers, so that products tie. */
static void row_tied(float *row, uint32_t dim, uint64_t seed, uint64_t purpose, uint64_t index) {
    uint64_t state = stream(seed, purpose, index);
    for (uint32_t i = 0; i < dim; i++)
        row[i] = (float)((int)(check_random(&state) % 3) - 1);
}

static void row_huge(float *row, uint32_t dim, uint64_t seed, uint64_t purpose, uint64_t index) {
    row_gaussian(row, dim, seed, purpose, index);
    const float scale = stream(seed, purpose + 100, index) % 50 == 0 ? 1e18f : 1.0f;
    for (uint32_t i = 0; i < dim; i++)
        row[i] *= scale;
}

/* Numbers over the whole range of float32. */
static void row_largest(float *row, uint32_t dim, uint64_t seed, uint64_t purpose, uint64_t index) {
    row_gaussian(row, dim, seed, purpose, index);
    for (uint32_t i = 0; i < dim; i++)
        row[i] *= 0x1p126f;
}

static void row_denormal(float *row, uint32_t dim, uint64_t seed, uint64_t purpose,
                         uint64_t index) {
    row_gaussian(row, dim, seed, purpose, index);
    for (uint32_t i = 0; i < dim; i++)
        row[i] *= 1e-41f;
}

/* Every number has a magnitude of its own. */
static void row_mixed(float *row, uint32_t dim, uint64_t seed, uint64_t purpose, uint64_t index) {
    uint64_t state = stream(seed, purpose, index);
    for (uint32_t i = 0; i < dim; i++) {
        const int exponent = (int)(check_random(&state) % 24) - 12;
        row[i] = ldexpf(bell(&state), exponent);
    }
}

/* Rows on a lattice of 4 bits, moved away from it by nearly half a step, all towards the
 * queries. */
static void row_adversarial(float *row, uint32_t dim, uint64_t seed, uint64_t purpose,
                            uint64_t index) {
    uint64_t state = stream(seed, purpose, index), direction = stream(seed, CENTRES, 0);
    for (uint32_t i = 0; i < dim; i++) {
        const float side = bell(&direction) > 0.0f ? 1.0f : -1.0f;
        const float code = (float)((int)(check_random(&state) % 15) - 7);
        row[i] = purpose == QUERIES ? side * (1.0f + 0.01f * bell(&state)) : code + 0.49f * side;
    }
}

/* Keys that 8-bit codes hold exactly, in pairs k, -k, so that a page's centre is 0. Then the bound
 * of the second plane has only its terms for the query and for roundings. */
static void row_lattice(float *row, uint32_t dim, uint64_t seed, uint64_t purpose, uint64_t index) {
    uint64_t state = stream(seed, purpose, index / 2);
    if (purpose == QUERIES) {
        row_gaussian(row, dim, seed, purpose, index);
        return;
    }
    for (uint32_t i = 0; i < dim; i++) {
        const int random = (int)(check_random(&state) % 239) - 119;
        const int code = i % RSR_SKETCH_SLICE == 0 ? 119 : random;
        row[i] = (float)(index % 2 == 0 ? code : -code);
    }
}

/* Keys like row_lattice's, and queries that int8 holds exactly: only the roundings of the scan are
 * left. Large sums of one sign make these roundings large. */
static void row_exact(float *row, uint32_t dim, uint64_t seed, uint64_t purpose, uint64_t index) {
    uint64_t state = stream(seed, purpose, index / 2);
    const int largest = purpose == QUERIES ? 127 : 119;
    const float unit = purpose == QUERIES ? 1.0f : index % 2 == 0 ? 1.0625f : -1.0625f;
    for (uint32_t i = 0; i < dim; i++) {
        const int less = i % RSR_SKETCH_SLICE == 0 ? 0 : (int)(check_random(&state) % 16);
        row[i] = (float)(largest - less) * unit;
    }
}

/* Some rows have numbers near the largest of float32: products of two of them overflow, a few of
 * them only in partial sums. */
static void row_overflowing(float *row, uint32_t dim, uint64_t seed, uint64_t purpose,
                            uint64_t index) {
    const bool is_huge = stream(seed, purpose + 100, index) % 8 == 0;
    (is_huge ? row_largest : row_gaussian)(row, dim, seed, purpose, index);
}

/* Products of a row with the queries are about 0, but partial sums are not: some of these overflow
 * to -infinity, to infinity, or to both, which gives NaN. */
static void row_cancelling(float *row, uint32_t dim, uint64_t seed, uint64_t purpose,
                           uint64_t index) {
    const float ends = stream(seed, purpose + 100, index) % 8 == 0 ? 0x1.8p63f : 1.0f;
    row_gaussian(row, dim, seed, purpose, index);
    for (uint32_t i = 0; i < dim; i++)
        row[i] =
            purpose == QUERIES ? 0x1p64f : (i % 2 == 0 ? ends : -ends) * (1.0f + 0x1p-20f * row[i]);
}

/* A few channels spread much more than the others, so pages have sketches of rotated keys. */
static void row_outliers(float *row, uint32_t dim, uint64_t seed, uint64_t purpose,
                         uint64_t index) {
    row_gaussian(row, dim, seed, purpose, index);
    for (uint32_t i = 0; purpose == KEYS && i < dim; i++) {
        const uint64_t channel = stream(seed, CENTRES, i) % 64;
        if (channel < 3)
            row[i] = 6.0f * row[i] + (channel == 0 ? -8.0f : 8.0f);
    }
}

/* Rotated, these keys and queries have one element that is not small. It is a sum of pairs M + (M +
 * 1) of 24-bit integers, and each pair rounds down, towards even: so the sum is below the real
 * product. Keys are so close to a centre of 127 w that all other terms of their bounds are smaller
 * than that. */
static void row_rounded(float *row, uint32_t dim, uint64_t seed, uint64_t purpose, uint64_t index) {
    uint64_t state = stream(seed, purpose, index);
    uint32_t block = 1;
    while (block <= dim / 2)
        block *= 2;
    for (uint32_t i = 0; i < dim; i++) {
        const int less = 8 + (i == 0 ? 4 * (int)(check_random(&state) % 4) : 0) - (int)(i % 2);
        const float size = purpose == QUERIES ? 1.0f : (float)((127 << 17) - less) * 0x1p-24f;
        row[i] = i < block ? louver_rotation_signs[i] * size : 0.0f;
    }
}

/* Results for one kind of data. */
struct tally {
    uint64_t cases, checks, misses, ties, attended, left_out;
    double keys, scanned, plane2, exact, pages, skipped; /* counted in queries, not in heads */
    double error_share;                                  /* largest error / certified */
    uint64_t compared, certified;
};

static const struct {
    const char *name;
    row_fn *row, *value;
} kinds[] = {
    {"gaussian", row_gaussian, row_gaussian},
    {"clustered", row_clustered, row_gaussian},
    {"off centre", row_off_centre, row_gaussian},
    {"duplicates", row_duplicate, row_gaussian},
    {"ties", row_tied, row_gaussian},
    {"huge norms", row_huge, row_gaussian},
    {"largest", row_largest, row_gaussian},
    {"denormals", row_denormal, row_gaussian},
    {"mixed", row_mixed, row_gaussian},
    {"adversarial", row_adversarial, row_gaussian},
    {"lattice", row_lattice, row_gaussian},
    {"exact", row_exact, row_gaussian},
    {"overflow", row_overflowing, row_huge},
    {"cancelling", row_cancelling, row_gaussian},
    {"huge values", row_gaussian, row_overflowing},
    {"huge ties", row_tied, row_largest},
    {"outliers", row_outliers, row_gaussian},
    {"rounded", row_rounded, row_gaussian},
};
#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))
static struct tally tallies[N_KINDS];

/* ---- The index of a case ---- */

static float keys[MAX_KEYS * MAX_DIM], values[MAX_KEYS * MAX_DIM];
static double wide_keys[MAX_KEYS * MAX_DIM], key_norms[MAX_KEYS], largest_key, largest_value;

static void append(rsr_louver *index, const struct test_case *c, uint32_t begin, uint32_t end) {
    const size_t at = (size_t)begin * c->dim;
    CHECK_INT(rsr_louver_append(index, keys + at, values + at, end - begin, NULL), RSR_OK);
}

/* Rows that belong to no case. */
static void append_junk(rsr_louver *index, const struct test_case *c, uint32_t n) {
    float row[MAX_DIM];
    for (uint32_t i = 0; i < n; i++) {
        row_gaussian(row, c->dim, c->seed, JUNK, i);
        CHECK_INT(rsr_louver_append(index, row, row, 1, NULL), RSR_OK);
    }
}

static void grow_at_once(rsr_louver **index, const struct test_case *c, uint64_t *state) {
    (void)state;
    append(*index, c, 0, c->n_keys);
}

static void grow_by_some(rsr_louver **index, const struct test_case *c, uint64_t *state) {
    for (uint32_t at = 0; at < c->n_keys;) {
        const uint32_t n = 1 + (uint32_t)(check_random(state) % 150);
        const uint32_t end = n < c->n_keys - at ? at + n : c->n_keys;
        append(*index, c, at, end);
        at = end;
    }
}

static void grow_by_one(rsr_louver **index, const struct test_case *c, uint64_t *state) {
    (void)state;
    for (uint32_t at = 0; at < c->n_keys; at++)
        append(*index, c, at, at + 1);
}

/* Appends other rows and cuts them off again, repeatedly, mostly within pages. */
static void grow_and_cut(rsr_louver **index, const struct test_case *c, uint64_t *state) {
    uint32_t length = 0;
    for (uint32_t i = 0; i < 4; i++) {
        append(*index, c, length, c->n_keys);
        append_junk(*index, c, (uint32_t)(check_random(state) % 200));
        length = (uint32_t)(check_random(state) % (c->n_keys + 1));
        CHECK_INT(rsr_louver_truncate(*index, length, NULL), RSR_OK);
    }
    append(*index, c, length, c->n_keys);
}

/* Continues with a fork or with its origin, while the other one is cut, grows, and ends. */
static void grow_and_fork(rsr_louver **index, const struct test_case *c, uint64_t *state) {
    const uint32_t first = (uint32_t)(check_random(state) % (c->n_keys + 1));
    const uint32_t cut = (uint32_t)(check_random(state) % (first + 1));
    rsr_louver *other = NULL;
    append(*index, c, 0, first);
    CHECK_INT(rsr_louver_fork(*index, &other, NULL), RSR_OK);
    if (check_random(state) % 2 == 0) {
        rsr_louver *fork = other;
        other = *index;
        *index = fork;
    }
    append_junk(other, c, 70);
    append(*index, c, first, c->n_keys);
    CHECK_INT(rsr_louver_truncate(other, cut, NULL), RSR_OK);
    append_junk(other, c, 130);
    rsr_louver_destroy(other);
}

typedef void life_fn(rsr_louver **index, const struct test_case *c, uint64_t *state);
static life_fn *const lives[] = {grow_at_once, grow_by_some, grow_by_one, grow_and_cut,
                                 grow_and_fork};
#define N_LIVES (sizeof(lives) / sizeof(lives[0]))

/* The kernels that this CPU can run take turns. */
static const struct rsr_sketch_kernel *kernel_of(uint64_t seed) {
    const uint64_t features = rsr_cpu_features();
    const struct rsr_sketch_kernel *usable[8];
    uint32_t n = 0;
    for (uint32_t i = 0; n < 8 && rsr_sketch_kernel_at(i) != NULL; i++)
        if ((rsr_sketch_kernel_at(i)->features & ~features) == 0)
            usable[n++] = rsr_sketch_kernel_at(i);
    return usable[seed % n];
}

static rsr_louver *make_index(const struct test_case *c) {
    rsr_louver_options options = RSR_LOUVER_OPTIONS_INIT;
    rsr_louver *index = NULL;
    uint64_t state = stream(c->seed, LIFE, 0);
    largest_key = largest_value = 0.0;
    for (uint32_t i = 0; i < c->n_keys; i++) {
        float *key = keys + (size_t)i * c->dim;
        double squares = 0.0;
        kinds[c->kind].row(key, c->dim, c->seed, KEYS, i);
        kinds[c->kind].value(values + (size_t)i * c->dim, c->dim, c->seed, VALUES, i);
        for (uint32_t d = 0; d < c->dim; d++) {
            largest_value = fmax(largest_value, fabs((double)values[(size_t)i * c->dim + d]));
            wide_keys[(size_t)i * c->dim + d] = (double)key[d];
            squares += (double)key[d] * (double)key[d];
        }
        key_norms[i] = sqrt(squares);
        largest_key = fmax(largest_key, key_norms[i]);
    }
    options.head_dim = c->dim;
    options.n_planes = c->n_planes;
    CHECK_INT(rsr_louver_create(&options, &index, NULL), RSR_OK);
    index->setup.kernel = kernel_of(c->seed);
    /* In these cases the keys of every page are rotated. */
    if (c->seed / N_KINDS % 3 == 0 || kinds[c->kind].row == row_rounded)
        index->setup.least_gain = 0.0f;
    lives[c->life](&index, c, &state);
    return index;
}

/* ---- Products ---- */

/* One head's query, and its products with all keys in float64. */
struct head_query {
    const float *q;
    double norm;
    double product[MAX_KEYS];
};

static double error_of(const struct test_case *c, const struct head_query *q, uint32_t key) {
    return (c->dim + 2) * 0x1p-52 * q->norm * key_norms[key];
}

static void find_products(const struct test_case *c, struct head_query *q, const float *row) {
    double wide[MAX_DIM], squares = 0.0;
    for (uint32_t d = 0; d < c->dim; d++) {
        wide[d] = (double)row[d];
        squares += wide[d] * wide[d];
    }
    q->q = row;
    q->norm = sqrt(squares);
    for (uint32_t i = 0; i < c->n_keys; i++) {
        const double *key = wide_keys + (size_t)i * c->dim;
        double sums[4] = {0.0};
        uint32_t d = 0;
        for (; d + 4 <= c->dim; d += 4)
            for (uint32_t j = 0; j < 4; j++)
                sums[j] += wide[d + j] * key[d + j];
        for (; d < c->dim; d++)
            sums[0] += wide[d] * key[d];
        q->product[i] = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    }
}

/* A sum without rounding: parts that do not overlap, the largest last. */
struct exact_sum {
    uint32_t n;
    double parts[2 * MAX_DIM + 1];
};

static void exact_add(struct exact_sum *sum, double x) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < sum->n; i++) {
        const double y = sum->parts[i], high = x + y, y_part = high - x;
        const double low = (x - (high - y_part)) + (y - y_part);
        if (low != 0.0)
            sum->parts[kept++] = low;
        x = high;
    }
    if (x != 0.0)
        sum->parts[kept++] = x;
    sum->n = kept;
}

/* The sign of q . k - q . other - t; other may be NULL. Products of float32 are exact in double. */
static int exact_sign(const struct test_case *c, const float *q, const float *key,
                      const float *other, double t) {
    struct exact_sum sum = {0};
    exact_add(&sum, -t);
    for (uint32_t d = 0; d < c->dim; d++) {
        exact_add(&sum, (double)q[d] * (double)key[d]);
        if (other != NULL)
            exact_add(&sum, -(double)q[d] * (double)other[d]);
    }
    return sum.n == 0 ? 0 : sum.parts[sum.n - 1] > 0.0 ? 1 : -1;
}

static const float *key_at(const struct test_case *c, uint32_t key) {
    return keys + (size_t)key * c->dim;
}

/* Whether the real number q . k is at least t. */
static bool reaches(const struct test_case *c, const struct head_query *q, uint32_t key, double t) {
    const double error = error_of(c, q, key);
    if (q->product[key] + error < t || q->product[key] - error > t)
        return q->product[key] > t;
    return isinf(t) ? t < 0.0 : exact_sign(c, q->q, key_at(c, key), NULL, t) >= 0;
}

/* Whether fewer than k keys have a larger product. */
static bool is_among_best(const struct test_case *c, const struct head_query *q, uint32_t key,
                          uint32_t k) {
    uint32_t n_larger = 0;
    for (uint32_t i = 0; i < c->n_keys && n_larger < k; i++) {
        const double gap = q->product[i] - q->product[key];
        const double error = error_of(c, q, i) + error_of(c, q, key);
        if (fabs(gap) > error * (1.0 + 0x1p-40))
            n_larger += gap > 0.0;
        else
            n_larger += exact_sign(c, q->q, key_at(c, i), key_at(c, key), 0.0) > 0;
    }
    return n_larger < k;
}

static int descending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* The k-th largest product, minus a multiple of its error. */
static double kth_product(const struct test_case *c, const struct head_query *q, uint32_t k,
                          double errors) {
    static double sorted[MAX_KEYS];
    for (uint32_t i = 0; i < c->n_keys; i++)
        sorted[i] = q->product[i] - errors * error_of(c, q, i);
    qsort(sorted, c->n_keys, sizeof(*sorted), descending);
    return sorted[k < c->n_keys ? k - 1 : c->n_keys - 1];
}

/* ---- One head's answer ---- */

/* Whether the product may equal t, within the errors of float64 and of the index. */
static bool may_reach(const struct test_case *c, const struct head_query *q, uint32_t key,
                      double t) {
    return nextafter(q->product[key] + 4.0 * error_of(c, q, key), INFINITY) >= t;
}

/* Counts keys that reach t and were left out. Checks that all keys attended to, except ties, reach
 * t. */
static uint64_t check_reaching(const struct test_case *c, const struct head_query *q, double t,
                               bool only_those, const bool *attended, struct tally *tally) {
    uint64_t misses = 0, extra = 0;
    for (uint32_t i = 0; i < c->n_keys; i++) {
        if (!attended[i]) {
            misses += reaches(c, q, i, t);
        } else if (only_those) {
            tally->ties += !reaches(c, q, i, t);
            extra += !may_reach(c, q, i, t);
        }
    }
    CHECK_INT(extra, 0);
    return misses;
}

/* Counts keys of the k best that were left out: at least k keys have products of at least
 * `least`. */
static uint64_t check_best(const struct test_case *c, const struct head_query *q, uint32_t k,
                           const bool *attended, struct tally *tally) {
    const double least = c->n_keys > 0 ? kth_product(c, q, k, 4.0) : 0.0;
    uint64_t misses = 0, extra = 0, n_attended = 0;
    for (uint32_t i = 0; i < c->n_keys; i++) {
        const bool near = may_reach(c, q, i, least);
        misses += near && !attended[i] && is_among_best(c, q, i, k);
        extra += !near && attended[i];
        n_attended += attended[i];
    }
    CHECK_INT(extra, 0);
    tally->ties += n_attended > k ? n_attended - k : 0;
    return misses;
}

/* The distance of `out` from attention over all keys, and the share of the softmax that was left
 * out. */
static double distance(const struct test_case *c, const struct head_query *q, const float *out,
                       const bool *attended, double *part) {
    const double scale = (double)(1.0f / sqrtf((float)c->dim));
    double sums[MAX_DIM] = {0.0}, largest = -INFINITY, whole = 0.0, left_out = 0.0, squares = 0.0;
    for (uint32_t i = 0; i < c->n_keys; i++)
        largest = fmax(largest, q->product[i]);
    for (uint32_t i = 0; i < c->n_keys; i++) {
        const double x = scale * (q->product[i] - largest), p = x < -50.0 ? 0.0 : exp(x);
        whole += p;
        left_out += attended[i] ? 0.0 : p;
        for (uint32_t d = 0; p > 0.0 && d < c->dim; d++)
            sums[d] += p * (double)values[(size_t)i * c->dim + d];
    }
    for (uint32_t d = 0; d < c->dim; d++) {
        const double gap = (double)out[d] - sums[d] / whole;
        squares += gap * gap;
    }
    *part = left_out / whole;
    return sqrt(squares);
}

/* float32 scores of magnitude z are off by about z 2^-20, outputs by as much of the values, where
 * these are below 3.5. Above 1 there is nothing to compare. */
static double rounding_of(const struct test_case *c, const struct head_query *q) {
    const double z = q->norm * largest_key / sqrt((double)c->dim);
    return 8.0 * sqrt((double)c->dim) * (1e-6 + z * 0x1p-20);
}

static bool all_finite(const float *x, uint32_t n) {
    uint32_t i = 0;
    while (i < n && isfinite(x[i]))
        i++;
    return i == n;
}

/* Whether attention computes finite scores for all keys attended to. */
static bool has_finite_scores(const rsr_louver *index, const struct test_case *c, const float *q,
                              const bool *attended) {
    _Alignas(64) float row[MAX_DIM] = {0.0f}, z[RSR_PAGE_TOKENS];
    memcpy(row, q, c->dim * sizeof(*q));
    for (uint32_t i = 0; i < c->n_keys; i++) {
        const uint32_t j = i % RSR_PAGE_TOKENS;
        const struct louver_page page = {.rows = index->blocks[i / RSR_PAGE_TOKENS]->rows};
        if (!attended[i])
            continue;
        louver_scores(&index->setup, &page, row, UINT64_C(1) << j, z);
        if (!isfinite(z[j]))
            return false;
    }
    return true;
}

/* Rules with infinite certificates, and rules with finite ones: a bit for each rsr_louver_kind. */
static uint32_t rules_without, rules_with;

/* Whether there is a certificate, which is known in advance except for numbers that float32 can
 * just hold. */
static bool check_certificate(const rsr_louver *index, const struct test_case *c,
                              const struct head_query *q, const float *out,
                              const rsr_louver_head *head, const bool *attended,
                              rsr_louver_kind rule) {
    const bool is_safe = q->norm * largest_key < 0x1p126 && c->n_keys * largest_value < 0x1p126;
    const bool is_lost = !all_finite(out, c->dim) || !has_finite_scores(index, c, q->q, attended);
    CHECK(head->certified_error >= 0.0 && !(is_safe && is_lost));
    CHECK(!is_lost || isinf(head->certified_error));
    CHECK(!is_safe || isfinite(head->certified_error));
    *(isinf(head->certified_error) ? &rules_without : &rules_with) |=
        is_lost || is_safe ? 1u << rule : 0;
    return isfinite(head->certified_error);
}

/* Values may be large; errors then grow in proportion. */
static void check_output(const struct test_case *c, const struct head_query *q, const float *out,
                         const rsr_louver_head *head, const bool *attended, struct tally *tally) {
    double part;
    const double rounding = rounding_of(c, q);
    if (c->n_keys == 0 || !(rounding < 1.0))
        return;
    const double error = distance(c, q, out, attended, &part);
    tally->compared++;
    CHECK(part <= head->mass + 1e-12);
    CHECK(error <= head->certified_error + rounding * fmax(1.0, largest_value / 3.5));
    if (head->certified_error > 0.0) {
        tally->certified++;
        tally->error_share =
            fmax(tally->error_share,
                 (error - rounding * fmax(1.0, largest_value / 3.5)) / head->certified_error);
    }
}

/* ---- Queries ---- */

/* Makes the thresholds of a call: a T for each head, if the kind has one. */
static rsr_louver_threshold threshold_of(const struct test_case *c, uint64_t *state,
                                         const struct head_query *queries, double *t) {
    static const char *const texts[] = {
        "topk:1",       "topk:3",        "topk:20",         "topk:64",           "topk:5000",
        "mass:0.5",     "mass:1e-3",     "mass:1e-9",       "mass:1e-3,sinks=4", "budget:0.01",
        "sample_max:1", "sample_topk:8", "sample_mean_max", "sample_gap:0.1,3",  "mass:0",
        "budget:1",     "error:0.5",     "error:0.05"};
    const uint32_t n_texts = sizeof(texts) / sizeof(texts[0]);
    rsr_louver_threshold threshold = {.kind = RSR_LOUVER_VALUE};
    const uint64_t choice = check_random(state) % 16;
    const uint32_t at = (uint32_t)check_random(state);
    if (choice < 8) {
        CHECK_INT(rsr_louver_threshold_parse(texts[at % n_texts], &threshold, NULL), RSR_OK);
        return threshold;
    }
    for (uint32_t h = 0; h < c->n_heads; h++) {
        /* Thresholds are near a product, equal to it, or reached by few keys. */
        double near = c->n_keys == 0 ? 0.0 : queries[h].product[at % c->n_keys];
        if (choice >= 12 && c->n_keys > 0)
            near = kth_product(c, &queries[h], 1 + at % 64, 0.0);
        t[h] = choice == 8    ? (at % 2 == 0 ? INFINITY : -INFINITY)
               : choice == 9  ? nextafter(near, INFINITY)
               : choice == 10 ? nextafter(near, -INFINITY)
                              : near;
    }
    return threshold;
}

static void add_stats(struct tally *tally, const rsr_louver_stats *stats) {
    tally->keys += stats->n_keys;
    tally->scanned += stats->scanned;
    tally->plane2 += stats->plane2;
    tally->exact += stats->exact;
    tally->pages += stats->pages;
    tally->skipped += stats->pages_skipped;
}

/* The misses of one call. */
static uint64_t call_index(rsr_louver *index, const struct test_case *c, uint32_t call,
                           struct tally *tally) {
    static float q[MAX_HEADS * MAX_DIM], out[MAX_HEADS * MAX_DIM];
    static uint32_t indices[MAX_HEADS * MAX_KEYS];
    static struct head_query queries[MAX_HEADS];
    static bool attended[MAX_KEYS];
    rsr_louver_head heads[MAX_HEADS];
    rsr_louver_stats stats = RSR_LOUVER_STATS_INIT;
    rsr_louver_query query = RSR_LOUVER_QUERY_INIT;
    double t[MAX_HEADS] = {0.0};
    uint64_t state = stream(c->seed, QUERIES, call), misses = 0;
    row_fn *row = check_random(&state) % 4 == 0 ? row_gaussian : kinds[c->kind].row;
    for (uint32_t h = 0; h < c->n_heads; h++) {
        row(q + (size_t)h * c->dim, c->dim, c->seed, QUERIES, (uint64_t)call * 100 + h);
        find_products(c, &queries[h], q + (size_t)h * c->dim);
    }
    query.threshold = threshold_of(c, &state, queries, t);
    query.n_heads = c->n_heads;
    query.q = q;
    query.values = t;
    query.out = out;
    query.indices = indices;
    query.capacity = MAX_KEYS;
    query.heads = heads;
    CHECK_INT(rsr_louver_attend(index, &query, &stats, NULL), RSR_OK);
    CHECK_INT(stats.n_keys, c->n_keys);
    for (uint32_t h = 0; h < c->n_heads; h++) {
        const rsr_louver_kind kind = query.threshold.kind;
        const double from = kind == RSR_LOUVER_VALUE ? t[h] : heads[h].threshold;
        memset(attended, 0, sizeof(attended));
        for (uint32_t i = 0; i < heads[h].n_attended; i++)
            attended[indices[(size_t)h * MAX_KEYS + i]] = true;
        misses += check_reaching(c, &queries[h], from, kind == RSR_LOUVER_VALUE, attended, tally);
        if (kind == RSR_LOUVER_TOPK)
            misses += check_best(c, &queries[h], query.threshold.k, attended, tally);
        CHECK(heads[h].mass >= 0.0 && heads[h].mass <= 1.0);
        if (check_certificate(index, c, &queries[h], out + (size_t)h * c->dim, &heads[h], attended,
                              kind))
            check_output(c, &queries[h], out + (size_t)h * c->dim, &heads[h], attended, tally);
        tally->checks += c->n_keys;
        tally->attended += heads[h].n_attended;
        tally->left_out += c->n_keys - heads[h].n_attended;
    }
    add_stats(tally, &stats);
    return misses;
}

/* ---- Cases ---- */

/* Whether the case passes. *call receives the first call that fails. */
static bool holds(const struct test_case *c, struct tally *tally, uint32_t *call) {
    const int failures = check_failures;
    rsr_louver *index = make_index(c);
    bool ok = true;
    for (uint32_t i = 0; i < c->n_calls && ok; i++) {
        *call = c->first_call + i;
        const uint64_t misses = call_index(index, c, *call, tally);
        tally->misses += misses;
        ok = misses == 0 && (OMITTED || check_failures == failures);
    }
    rsr_louver_destroy(index);
    tally->cases++;
    return ok;
}

static struct test_case case_of(uint64_t seed) {
    static const uint32_t dims[] = {64, 80, 96, 100, 128, 256, 320, 1, 257, 33};
    uint64_t state = stream(seed, LIFE, 1);
    const uint32_t most = 1u << (1 + check_random(&state) % 12); /* 2 .. 4096 */
    struct test_case c = {.seed = seed, .kind = (uint32_t)(seed % N_KINDS), .n_calls = N_CALLS};
    c.life = (uint32_t)(check_random(&state) % N_LIVES);
    c.n_keys = most / 2 + (uint32_t)(check_random(&state) % (most / 2 + 1));
    if (check_random(&state) % 8 == 0) /* at or near a page's end */
        c.n_keys = (c.n_keys & ~63u) + (uint32_t)(check_random(&state) % 3);
    c.n_keys = c.n_keys > MAX_KEYS ? MAX_KEYS : c.n_keys;
    c.dim = dims[check_random(&state) % (sizeof(dims) / sizeof(dims[0]))];
    c.n_planes = 1 + (uint32_t)(check_random(&state) % 2);
    c.n_heads = 1 + (uint32_t)(check_random(&state) % MAX_HEADS);
    return c;
}

/* Replaces the case by `smaller` if that fails, too. */
static bool try_smaller(struct test_case *c, struct test_case smaller) {
    struct tally unused = {0};
    uint32_t call;
    const bool fails = !holds(&smaller, &unused, &call);
    if (fails)
        *c = smaller;
    return fails;
}

/* Reduces a number to half, then to three quarters, then by one, as long as the case still
 * fails. */
static void shrink(struct test_case *c, size_t offset, uint32_t least) {
    for (uint32_t part = 2; part <= 2 * MAX_KEYS;) {
        struct test_case smaller = *c;
        uint32_t *n = (uint32_t *)(void *)((char *)&smaller + offset);
        const uint32_t less = *n / part > 0 ? *n / part : 1;
        if (*n < least + less) {
            part *= 2;
            continue;
        }
        *n -= less;
        if (!try_smaller(c, smaller))
            part *= 2;
    }
}

static void print_case(const struct test_case *c, const char *what) {
    printf("%s: %s: " CASE_FORMAT "\n", kinds[c->kind].name, what, (unsigned long long)c->seed,
           c->kind, c->life, c->n_keys, c->dim, c->n_planes, c->n_heads, c->first_call, c->n_calls);
    fflush(stdout);
}

static void shrink_and_print(struct test_case c, uint32_t call) {
    struct test_case alone = c;
    print_case(&c, "fails");
    alone.first_call = call;
    alone.n_calls = 1;
    try_smaller(&c, alone);
    alone = c;
    alone.life = 0;
    try_smaller(&c, alone);
    shrink(&c, offsetof(struct test_case, n_keys), 1);
    shrink(&c, offsetof(struct test_case, dim), 1);
    shrink(&c, offsetof(struct test_case, n_heads), 1);
    shrink(&c, offsetof(struct test_case, n_keys), 1);
    print_case(&c, "the smallest that fails (--case \"...\" runs it)");
}

static void report(const char *name, const struct tally *t) {
    printf("%-11s %6llu cases, %10llu checks, %llu misses, %llu ties; of keys %.3f scanned, %.3f "
           "plane 2, "
           "%.3f exact, %.3f attended a head; of pages %.3f skipped; error/certified %.2g\n",
           name, (unsigned long long)t->cases, (unsigned long long)t->checks,
           (unsigned long long)t->misses, (unsigned long long)t->ties, t->scanned / t->keys,
           t->plane2 / t->keys, t->exact / t->keys,
           (double)t->attended / (double)(t->attended + t->left_out),
           t->pages > 0.0 ? t->skipped / t->pages : 0.0, t->error_share);
}

static void add_tally(struct tally *sum, const struct tally *t) {
    sum->cases += t->cases, sum->checks += t->checks, sum->misses += t->misses;
    sum->ties += t->ties, sum->attended += t->attended, sum->left_out += t->left_out;
    sum->keys += t->keys, sum->scanned += t->scanned, sum->plane2 += t->plane2;
    sum->exact += t->exact, sum->pages += t->pages, sum->skipped += t->skipped;
    sum->compared += t->compared, sum->certified += t->certified;
    sum->error_share = fmax(sum->error_share, t->error_share);
}

static void run_cases(uint64_t n_checks, uint64_t first_seed) {
    struct tally sum = {0};
    for (uint64_t seed = first_seed, done = 0; done < n_checks; seed++) {
        const struct test_case c = case_of(seed);
        struct tally *tally = &tallies[c.kind];
        const uint64_t before = tally->checks;
        uint32_t call = 0;
        if (!holds(&c, tally, &call)) {
            if (!OMITTED)
                shrink_and_print(c, call);
            break;
        }
        done += tally->checks - before;
    }
    for (size_t i = 0; i < N_KINDS; i++) {
        if (tallies[i].cases > 0)
            report(kinds[i].name, &tallies[i]);
        add_tally(&sum, &tallies[i]);
    }
    report("all", &sum);
    printf("%llu outputs compared, %llu of them with keys left out\n",
           (unsigned long long)sum.compared, (unsigned long long)sum.certified);
    if (OMITTED) { /* other failures do not matter here */
        check_failures = 0;
        CHECK(sum.misses > 0);
        return;
    }
    CHECK_INT(sum.misses, 0);
    CHECK(sum.certified > 0 && sum.exact < sum.keys);
    for (uint32_t rule = 0; n_checks >= DEFAULT_CHECKS && rule <= RSR_LOUVER_SAMPLE_GAP; rule++)
        CHECK((rules_with & rules_without) >> rule & 1);
}

static int run_one(const char *text) {
    struct test_case c;
    unsigned long long seed;
    struct tally tally = {0};
    uint32_t call;
    if (sscanf(text, CASE_FORMAT, &seed, &c.kind, &c.life, &c.n_keys, &c.dim, &c.n_planes,
               &c.n_heads, &c.first_call, &c.n_calls) != 9 ||
        c.kind >= N_KINDS || c.life >= N_LIVES || c.n_keys > MAX_KEYS || c.dim < 1 ||
        c.dim > MAX_DIM || c.n_heads < 1 || c.n_heads > MAX_HEADS) {
        fprintf(stderr, "this is no case: %s\n", text);
        return 1;
    }
    c.seed = seed;
    const bool ok = holds(&c, &tally, &call);
    report(kinds[c.kind].name, &tally);
    return ok ? 0 : 1;
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "--case") == 0)
        return run_one(argv[2]);
    const double checks = argc > 1 ? strtod(argv[1], NULL) : (double)DEFAULT_CHECKS;
    const uint64_t first_seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    run_cases(checks >= 1.0 && checks < 1e18 ? (uint64_t)checks : 1, first_seed);
    return CHECK_EXIT();
}
