/* Bounds of sketches against exact products. No vector may be dropped at a threshold that its
 * product reaches, whatever the data. And bounds must be tight, because loose bounds would drop
 * nothing.
 *
 * Compiled with RSR_SKETCH_OMIT=n this file and its own copy of sketch.c leave one term out of the
 * bound, and the program succeeds if it then finds vectors missed: the tests can fail. */
#include <fenv.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "check.h"
#include "host/cpu.h"
#include "rsr_cpu_detect.h"
#include "sketch/sketch.h"
#include "sketch/sketch_round.h"
#include "sketch/sketch_scan.h"

#if defined(__SIZEOF_FLOAT128__)
typedef __float128 wide;
#else
typedef long double wide;
#endif

#define N RSR_SKETCH_VECTORS

static double uniform(uint64_t *state) {
    return ((double)(check_random(state) >> 11) + 0.5) * 0x1p-53;
}

static double gaussian(uint64_t *state) {
    return sqrt(-2.0 * log(uniform(state))) * cos(6.283185307179586 * uniform(state));
}

/* ---- Data ---- */

struct data {
    uint32_t dim;
    float *vectors; /* [N][dim] */
    float *q;
};

static void fill_gaussian(const struct data *d, uint64_t *state) {
    for (uint32_t i = 0; i < N * d->dim; i++)
        d->vectors[i] = (float)gaussian(state);
    for (uint32_t i = 0; i < d->dim; i++)
        d->q[i] = (float)gaussian(state);
}

static void fill_off_centre(const struct data *d, uint64_t *state) {
    fill_gaussian(d, state);
    for (uint32_t i = 0; i < N * d->dim; i++)
        d->vectors[i] += (float)(100.0 * sin(i % d->dim));
}

static void fill_clustered(const struct data *d, uint64_t *state) {
    fill_gaussian(d, state);
    for (uint32_t i = d->dim; i < N * d->dim; i++)
        d->vectors[i] = d->vectors[i % d->dim] + 0.01f * d->vectors[i];
}

static void fill_duplicates(const struct data *d, uint64_t *state) {
    fill_gaussian(d, state);
    for (uint32_t i = d->dim; i < N * d->dim; i++)
        d->vectors[i] = d->vectors[i % d->dim];
}

static void fill_scaled(const struct data *d, uint64_t *state, double keys, double query) {
    fill_gaussian(d, state);
    for (uint32_t i = 0; i < N * d->dim; i++)
        d->vectors[i] = (float)(d->vectors[i] * keys);
    for (uint32_t i = 0; i < d->dim; i++)
        d->q[i] = (float)(d->q[i] * query);
}

static void fill_huge(const struct data *d, uint64_t *state) {
    fill_scaled(d, state, 3e37, 3e37);
}

static void fill_denormal(const struct data *d, uint64_t *state) {
    fill_scaled(d, state, 1e-43, 1e-40);
}

static void fill_largest(const struct data *d, uint64_t *state) {
    for (uint32_t i = 0; i < N * d->dim; i++)
        d->vectors[i] = check_random(state) % 8 == 0 ? -3.4028234664e38f : 3.4028234664e38f;
    for (uint32_t i = 0; i < d->dim; i++)
        d->q[i] = check_random(state) % 2 == 0 ? -3.4028234664e38f : 3.4028234664e38f;
}

/* Norms over 70 orders of magnitude, within one block, one vector and one query. */
static void fill_mixed(const struct data *d, uint64_t *state) {
    fill_gaussian(d, state);
    for (uint32_t j = 0; j < N; j++) {
        const double scale = pow(10.0, uniform(state) * 70.0 - 40.0);
        for (uint32_t i = 0; i < d->dim; i++)
            d->vectors[j * d->dim + i] *= (float)(i < d->dim / 2 ? scale : 1e-3);
    }
    for (uint32_t i = 0; i < d->dim; i++)
        d->q[i] *= (float)pow(10.0, uniform(state) * 60.0 - 40.0);
}

static void fill_zero(const struct data *d, uint64_t *state) {
    fill_gaussian(d, state);
    memset(check_random(state) % 2 == 0 ? d->vectors : d->q, 0, d->dim * sizeof(float));
    if (check_random(state) % 2 == 0)
        memset(d->vectors, 0, (size_t)N * d->dim * sizeof(float));
}

static void fill_sparse(const struct data *d, uint64_t *state) {
    fill_gaussian(d, state);
    for (uint32_t i = 0; i < N * d->dim; i++)
        d->vectors[i] = check_random(state) % 16 == 0 ? d->vectors[i] : 0.0f;
}

/* Vectors that 8-bit codes hold exactly, in pairs k, -k, so that the centre is 0. Then the bound of
 * the second plane has only its terms for the query and for roundings. */
static void fill_lattice(const struct data *d, uint64_t *state) {
    fill_gaussian(d, state);
    for (uint32_t j = 0; j < N; j += 2)
        for (uint32_t i = 0; i < d->dim; i++) {
            const int random = (int)(check_random(state) % 239) - 119;
            const int code = i % RSR_SKETCH_SLICE == 0 ? 119 : random;
            d->vectors[j * d->dim + i] = (float)code;
            d->vectors[(j + 1) * d->dim + i] = (float)-code;
        }
}

/* Vectors like fill_lattice's, and a query that int8 holds exactly: only the roundings of the scan
 * are left. Large sums of one sign make these roundings large. */
static void fill_exact(const struct data *d, uint64_t *state) {
    for (uint32_t j = 0; j < N; j += 2)
        for (uint32_t i = 0; i < d->dim; i++) {
            const int code =
                i % RSR_SKETCH_SLICE == 0 ? 119 : 119 - (int)(check_random(state) % 16);
            d->vectors[j * d->dim + i] = (float)code * 1.0625f;
            d->vectors[(j + 1) * d->dim + i] = (float)-code * 1.0625f;
        }
    for (uint32_t i = 0; i < d->dim; i++)
        d->q[i] = i % RSR_SKETCH_SLICE == 0 ? 127.0f : (float)(127 - check_random(state) % 16);
}

/* All vectors equal one that the codes of a centre hold exactly, and the query's rounding errors
 * may all have its signs: only the error of q . mu is left. */
static void fill_centre(const struct data *d, uint64_t *state) {
    const int exponent = (int)(check_random(state) % 190) - 95;
    const bool along = check_random(state) % 2 == 0;
    for (uint32_t i = 0; i < d->dim; i++) {
        const int random = (int)(check_random(state) % 255) - 127, code = i == 0 ? 127 : random;
        const float x = ldexpf((float)code, exponent);
        const int steps = (int)(check_random(state) % 0x8000);
        const float lost = along ? (code < 0 ? -0.49f : 0.49f) : (float)uniform(state) - 0.5f;
        for (uint32_t j = 0; j < N; j++)
            d->vectors[j * d->dim + i] = x;
        d->q[i] = i == 0 ? 0.75f : ((float)steps + lost) * 0x1p-15f;
    }
}

/* The query points along the rounding error of vector 0's codes, so Cauchy-Schwarz is nearly
 * tight. */
static void fill_adversarial(const struct data *d, uint64_t *state) {
    fill_gaussian(d, state);
    for (uint32_t s = 0; s < d->dim; s += RSR_SKETCH_SLICE) {
        float largest = 0.0f;
        for (uint32_t i = s; i < d->dim && i < s + RSR_SKETCH_SLICE; i++) {
            for (uint32_t j = 1; j < N; j++) /* no centre */
                d->vectors[j * d->dim + i] = j % 2 == 0 ? 0.0f : -d->vectors[i] * (j == 1);
            largest = fmaxf(largest, fabsf(d->vectors[i]));
        }
        for (uint32_t i = s; i < d->dim && i < s + RSR_SKETCH_SLICE; i++) {
            const float scale = largest * 16.0f / 119.0f, x = d->vectors[i];
            d->q[i] = x - scale * rintf(x / scale);
        }
    }
}

static const struct {
    const char *name;
    void (*fill)(const struct data *, uint64_t *);
    uint32_t dims[6];
} cases[] = {
    {"gaussian", fill_gaussian, {64, 80, 96, 100, 128, 256}},
    {"off centre", fill_off_centre, {64, 128, 1, 33}},
    {"clustered", fill_clustered, {128, 31, 256, 1100}},
    {"duplicates", fill_duplicates, {128, 7}},
    {"huge", fill_huge, {128, 256, 5}},
    {"largest", fill_largest, {128, 256, 1}},
    {"denormal", fill_denormal, {128, 64, 3}},
    {"mixed", fill_mixed, {128, 256, 64, 600}},
    {"zero", fill_zero, {128, 32, 2}},
    {"sparse", fill_sparse, {128, 96}},
    {"lattice", fill_lattice, {128, 256, 32}},
    {"exact", fill_exact, {RSR_SKETCH_MAX_DIM, 128}},
    {"centre", fill_centre, {RSR_SKETCH_MAX_DIM, 128, 256, 3}},
    {"adversarial", fill_adversarial, {128, 64, 256, 1600}},
};

/* ---- Bounds ---- */

static wide exact_product(const struct data *d, uint32_t vector) {
    wide sum = 0;
    for (uint32_t i = 0; i < d->dim; i++)
        sum += (wide)d->q[i] * (wide)d->vectors[(size_t)vector * d->dim + i];
    return sum;
}

/* The largest double that is at most the product minus the error of its sum. */
static double threshold_of(const struct data *d, uint32_t vector) {
    wide size = 0;
    for (uint32_t i = 0; i < d->dim; i++)
        size += (wide)fabs((double)d->q[i] * (double)d->vectors[(size_t)vector * d->dim + i]);
    const wide low = exact_product(d, vector) - size * (wide)0x1p-90;
    double t = (double)low;
    while ((wide)t > low)
        t = nextafter(t, -INFINITY);
    return t;
}

struct fixture {
    struct rsr_sketch_shape shape;
    void *block, *memory;
    struct rsr_sketch_query query;
    float *centre; /* used by a flat shape */
};

/* A flat shape has one centre for all blocks, which need not be this block's mean: the test uses
 * half of the mean. */
static float *make_centre(const struct data *d) {
    float *centre = calloc(d->dim, sizeof(*centre));
    for (uint32_t i = 0; i < d->dim; i++) {
        double sum = 0.0;
        for (uint32_t j = 0; j < N; j++)
            sum += (double)d->vectors[(size_t)j * d->dim + i];
        sum /= 2.0 * N;
        centre[i] = fabs(sum) < (double)RSR_SKETCH_LARGEST_CENTRE ? (float)sum : 0.0f;
    }
    return centre;
}

static void make_fixture(struct fixture *f, const struct data *d, bool flat) {
    f->shape = flat ? rsr_sketch_flat_shape(d->dim, 2) : rsr_sketch_shape_of(d->dim, 2);
    f->centre = flat ? make_centre(d) : NULL;
    const size_t query_bytes = rsr_sketch_query_bytes(&f->shape);
    f->block = aligned_alloc(64, f->shape.block_bytes);
    f->memory = aligned_alloc(64, query_bytes);
    memset(f->block, 0x5a, f->shape.block_bytes);
    memset(f->memory, 0x5a, query_bytes);
    rsr_sketch_build(&f->shape, f->block, d->vectors, d->dim, f->centre, NULL);
    if (flat)
        rsr_sketch_prepare_flat(&f->shape, d->q, f->centre, f->memory, &f->query);
    else
        rsr_sketch_prepare(&f->shape, d->q, f->memory, &f->query);
}

static void free_fixture(struct fixture *f) {
    free(f->block);
    free(f->memory);
    free(f->centre);
}

/* t of vector j from both planes. */
static float refined_of(const struct rsr_sketch_kernel *kernel, const struct fixture *f, uint32_t j,
                        float t) {
    if (f->centre != NULL) {
        const struct rsr_sketch_gain *gains[1 + RSR_SKETCH_AHEAD] = {
            rsr_sketch_gains_of(&f->shape, f->block, j)};
        const struct rsr_sketch_teams all = {0, rsr_sketch_teams_of(&f->shape)};
        kernel->sharpen(&f->query, all, gains, 1, &t);
        return t;
    }
    float refined[3] = {0.0f};
    /* The mask asks for vectors before and after j, too, so j is usually not its first. */
    kernel->refine(&f->shape, f->block, &f->query,
                   UINT64_C(1) << j | UINT64_C(1) | UINT64_C(1) << 63, refined);
    return refined[j > 0];
}

/* Counts misses of the bounds that use the second plane of the first team of slices, of the first
 * two teams, and so on. */
static int count_misses_of_parts(const struct fixture *f, const struct rsr_sketch_kernel *kernel,
                                 const struct rsr_sketch_frame *frame, uint32_t vector, float t,
                                 double threshold) {
    int misses = 0;
    for (uint32_t team = 0; team < rsr_sketch_teams_of(&f->shape); team++) {
        const struct rsr_sketch_gain *gains[1 + RSR_SKETCH_AHEAD] = {
            rsr_sketch_gains_of(&f->shape, f->block, vector) + team};
        kernel->sharpen(&f->query, (struct rsr_sketch_teams){team, team + 1}, gains, 1, &t);
        misses += rsr_sketch_upper(frame, 1, t) < threshold;
    }
    return misses;
}

/* Counts misses: vectors whose bound is below their product. */
static int count_misses(const struct data *d, const struct fixture *f,
                        const struct rsr_sketch_kernel *kernel) {
    const struct rsr_sketch_frame frame = rsr_sketch_frame_of(&f->shape, f->block, &f->query);
    float t[N];
    int misses = 0;
    for (uint32_t group = 0; group < N / RSR_SKETCH_LANES; group++)
        kernel->scan(&f->shape, f->block, &f->query, group, t + group * RSR_SKETCH_LANES);
    for (uint32_t j = 0; j < N; j++) {
        const double threshold = threshold_of(d, j);
        const float refined = refined_of(kernel, f, j, t[j]);
        misses += frame.bound < threshold;
        misses += t[j] < rsr_sketch_floor(&frame, 0, threshold);
        misses += refined < rsr_sketch_floor(&frame, 1, threshold);
        misses += rsr_sketch_upper(&frame, 0, t[j]) < threshold;
        misses += rsr_sketch_upper(&frame, 1, refined) < threshold;
        if (f->centre != NULL)
            misses += count_misses_of_parts(f, kernel, &frame, j, t[j], threshold);
    }
    return misses;
}

static int test_case(size_t c, uint32_t dim, uint64_t seed, bool flat) {
    uint64_t state = seed;
    struct data d = {.dim = dim};
    d.vectors = malloc((size_t)N * dim * sizeof(float));
    d.q = malloc(dim * sizeof(float));
    cases[c].fill(&d, &state);
    struct fixture f;
    make_fixture(&f, &d, flat);
    const int misses = count_misses(&d, &f, rsr_sketch_kernel_for(rsr_cpu_features()));
    free_fixture(&f);
    free(d.vectors);
    free(d.q);
    return misses;
}

static int test_misses(uint32_t rounds, bool flat) {
    int total = 0;
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        int misses = 0, blocks = 0;
        for (size_t i = 0; i < 6 && cases[c].dims[i] != 0; i++) {
            const uint32_t dim = cases[c].dims[i], n = 1 + rounds * 64 / (dim + 64);
            for (uint32_t seed = 1; seed <= n; seed++, blocks++) {
                const int missed = test_case(c, dim, seed, flat);
                if (missed != 0 && misses == 0)
                    printf("%s: first misses at dim %u, seed %u\n", cases[c].name, dim, seed);
                misses += missed;
            }
        }
        printf("%s %-12s %5d blocks, %d misses\n", flat ? "flat" : "own ", cases[c].name, blocks,
               misses);
        total += misses;
    }
    return total;
}

#if !defined(RSR_SKETCH_OMIT)

/* The distance of bounds from products, in standard deviations of the products of Gaussian vectors:
 * about 1.1 with 4 bits, half as much with 5 bits, a tenth with 8 bits. Estimates of 4 bits are
 * about 0.07 away. */
static void test_tightness(bool flat) {
    uint64_t state = 5;
    double excess[2] = {0.0, 0.0}, distance = 0.0;
    struct data d = {.dim = 128};
    d.vectors = malloc((size_t)N * d.dim * sizeof(float));
    d.q = malloc(d.dim * sizeof(float));
    for (int round = 0; round < 20; round++) {
        struct fixture f;
        fill_gaussian(&d, &state);
        make_fixture(&f, &d, flat);
        const struct rsr_sketch_kernel *kernel = rsr_sketch_kernel_for(0);
        const struct rsr_sketch_frame frame = rsr_sketch_frame_of(&f.shape, f.block, &f.query);
        const struct rsr_sketch_query *query = &f.query;
        float bounds[N], estimates[N];
        kernel->bounds(&f.shape, f.block, &query, 1, bounds, estimates, N, NULL);
        for (uint32_t j = 0; j < N; j++) {
            float t[RSR_SKETCH_LANES];
            kernel->scan(&f.shape, f.block, &f.query, j / RSR_SKETCH_LANES, t);
            const float refined = refined_of(kernel, &f, j, t[j % RSR_SKETCH_LANES]);
            const double product = (double)exact_product(&d, j), deviation = f.query.norm;
            excess[0] += rsr_sketch_upper(&frame, 0, t[j % RSR_SKETCH_LANES]) / deviation;
            excess[1] += rsr_sketch_upper(&frame, 1, refined) / deviation;
            excess[0] -= product / deviation;
            excess[1] -= product / deviation;
            if (flat)
                distance +=
                    fabs(f.query.centre + frame.unit * (double)estimates[j] - product) / deviation;
        }
        free_fixture(&f);
    }
    printf("bounds exceed products by %.3f and %.3f deviations\n", excess[0] / 20 / N,
           excess[1] / 20 / N);
    CHECK(distance / 20 / N < 0.1);
    CHECK(excess[0] / 20 / N < 1.3);
    CHECK(excess[1] / 20 / N < (flat ? 0.8 : 0.16));
    free(d.vectors);
    free(d.q);
}

/* All kernels build equal bytes, for vectors at any alignment. */
static void test_builds_agree(bool flat) {
    uint64_t state = 3;
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        for (size_t i = 0; i < 6 && cases[c].dims[i] != 0; i++) {
            struct data d = {.dim = cases[c].dims[i]};
            const uint32_t n_planes = 1 + (uint32_t)i % 2, stride = d.dim + 3;
            const struct rsr_sketch_shape shape = flat ? rsr_sketch_flat_shape(d.dim, n_planes)
                                                       : rsr_sketch_shape_of(d.dim, n_planes);
            float *vectors = malloc((size_t)N * stride * sizeof(float));
            char *blocks = aligned_alloc(64, 2 * (size_t)shape.block_bytes);
            d.vectors = malloc((size_t)N * d.dim * sizeof(float));
            d.q = malloc(d.dim * sizeof(float));
            cases[c].fill(&d, &state);
            for (uint32_t j = 0; j < N; j++)
                memcpy(vectors + j * stride, d.vectors + j * d.dim, d.dim * sizeof(float));
            float *centre = make_centre(&d);
            rsr_sketch_build(&shape, blocks, vectors, stride, centre, NULL);
            for (uint32_t k = 0; rsr_sketch_kernel_at(k) != NULL; k++) {
                const struct rsr_sketch_kernel *kernel = rsr_sketch_kernel_at(k);
                if ((kernel->features & ~rsr_cpu_features()) != 0)
                    continue;
                memset(blocks + shape.block_bytes, 0x5a, shape.block_bytes);
                kernel->build(&shape, blocks + shape.block_bytes, vectors, stride, centre, NULL);
                CHECK(memcmp(blocks, blocks + shape.block_bytes, shape.block_bytes) == 0);
            }
            free(centre);
            free(vectors);
            free(blocks);
            free(d.vectors);
            free(d.q);
        }
    }
}

static uint64_t add_to_checksum(uint64_t sum, const void *bytes, size_t n) {
    const uint8_t *p = bytes;
    for (size_t i = 0; i < n; i++)
        sum = (sum ^ p[i]) * UINT64_C(0x100000001b3);
    return sum;
}

/* Blocks and bounds are equal on every machine; the data is made without any math library. */
static void test_checksum(bool flat, uint64_t expected) {
    uint64_t state = 9, sum = UINT64_C(0xcbf29ce484222325);
    const struct rsr_sketch_kernel *kernel = rsr_sketch_kernel_for(rsr_cpu_features());
    const uint32_t dims[] = {96, 113, 130, 600}; /* the last of two teams of slices */
    for (size_t c = 0; c < sizeof(dims) / sizeof(dims[0]); c++) {
        const uint32_t dim = dims[c];
        struct data d = {.dim = dim};
        struct fixture f;
        d.vectors = malloc((size_t)N * dim * sizeof(float));
        d.q = malloc(dim * sizeof(float));
        for (uint32_t i = 0; i < N * dim; i++)
            d.vectors[i] = (float)((int32_t)(check_random(&state) >> 40) - (1 << 23)) * 0x1p-23f;
        for (uint32_t i = 0; i < dim; i++)
            d.q[i] = (float)((int32_t)(check_random(&state) >> 40) - (1 << 23)) * 0x1p-20f;
        make_fixture(&f, &d, flat);
        sum = add_to_checksum(sum, f.block, f.shape.block_bytes);
        const struct rsr_sketch_frame frame = rsr_sketch_frame_of(&f.shape, f.block, &f.query);
        sum = add_to_checksum(sum, &frame, sizeof(frame));
        for (uint32_t j = 0; j < N; j++) {
            float t[RSR_SKETCH_LANES];
            kernel->scan(&f.shape, f.block, &f.query, j / RSR_SKETCH_LANES, t);
            sum = add_to_checksum(sum, t, sizeof(t));
            t[0] = refined_of(kernel, &f, j, t[j % RSR_SKETCH_LANES]);
            sum = add_to_checksum(sum, t, sizeof(t[0]));
        }
        free_fixture(&f);
        free(d.vectors);
        free(d.q);
    }
    if (sum != expected)
        printf("checksum %016llx\n", (unsigned long long)sum);
    CHECK(sum == expected);
}

/* Compares a kernel's bounds of several queries with its scans of one, and its estimates with those
 * of the portable kernel. */
static void check_bounds(const struct rsr_sketch_kernel *kernel, const struct fixture *f,
                         const struct rsr_sketch_query *const *queries, uint32_t n) {
    enum { STRIDE = N + 3 };
    const struct rsr_sketch_kernel *portable = rsr_sketch_kernel_for(0);
    float t[8 * STRIDE], estimates[8 * STRIDE], alone[8 * STRIDE];
    kernel->bounds(&f->shape, f->block, queries, n, t, estimates, STRIDE, n % 2 ? f->block : NULL);
    kernel->bounds(&f->shape, f->block, queries, n, alone, NULL, STRIDE, NULL);
    for (uint32_t i = 0; i < n; i++) {
        CHECK(memcmp(alone + i * STRIDE, t + i * STRIDE, N * sizeof(float)) == 0);
        float bounds[N], sums[N];
        for (uint32_t group = 0; group < N / RSR_SKETCH_LANES; group++) {
            float one[RSR_SKETCH_LANES];
            portable->scan(&f->shape, f->block, queries[i], group, one);
            CHECK(memcmp(one, t + i * STRIDE + group * RSR_SKETCH_LANES, sizeof(one)) == 0);
        }
        portable->bounds(&f->shape, f->block, &queries[i], 1, bounds, sums, N, NULL);
        CHECK(memcmp(sums, estimates + i * STRIDE, sizeof(sums)) == 0);
        for (uint32_t j = 0; j < N; j++)
            CHECK(sums[j] <= bounds[j]);
    }
}

/* Compares t from both planes for several vectors at once with t for one vector after another. */
static void check_sharpen(const struct rsr_sketch_kernel *kernel, const struct fixture *f,
                          uint64_t *state) {
    enum { MANY = 11 };
    const struct rsr_sketch_kernel *portable = rsr_sketch_kernel_for(0);
    for (uint32_t n = 0; n <= MANY; n++) {
        const struct rsr_sketch_gain *gains[MANY + RSR_SKETCH_AHEAD];
        uint32_t vectors[MANY + RSR_SKETCH_AHEAD];
        float t[MANY + 1] = {0.0f};
        for (uint32_t i = 0; i < n + RSR_SKETCH_AHEAD; i++) {
            vectors[i] = (uint32_t)(check_random(state) % N);
            gains[i] = i >= n + n / 2 ? NULL : rsr_sketch_gains_of(&f->shape, f->block, vectors[i]);
        }
        for (uint32_t i = 0; i < n; i++)
            t[i] = (float)gaussian(state);
        float expected[MANY + 1];
        memcpy(expected, t, sizeof(t));
        for (uint32_t i = 0; i < n; i++)
            expected[i] = refined_of(portable, f, vectors[i], t[i]);
        const struct rsr_sketch_teams all = {0, rsr_sketch_teams_of(&f->shape)};
        kernel->sharpen(&f->query, all, gains, n, t);
        CHECK(memcmp(expected, t, sizeof(t)) == 0);
        const struct rsr_sketch_teams last = {all.end - 1, all.end};
        for (uint32_t i = 0; i < n; i++)
            gains[i] += last.first;
        portable->sharpen(&f->query, last, gains, n, expected);
        kernel->sharpen(&f->query, last, gains, n, t);
        CHECK(memcmp(expected, t, sizeof(t)) == 0);
    }
}

/* Compares a kernel's frames and sieve for 7 queries with the functions for one query. */
static void check_together(const struct rsr_sketch_kernel *kernel, const struct data *d,
                           const struct fixture *f, uint64_t *state) {
    enum { MANY = 7 };
    const size_t bytes = rsr_sketch_query_bytes(&f->shape);
    const struct rsr_sketch_kernel *portable = rsr_sketch_kernel_for(0);
    struct rsr_sketch_query queries[MANY];
    const struct rsr_sketch_query *pointers[MANY];
    struct rsr_sketch_frame frames[MANY];
    float floors[MANY], *q = malloc((size_t)MANY * d->dim * sizeof(float));
    char *memory = aligned_alloc(64, MANY * bytes);
    for (uint32_t i = 0; i < MANY; i++) {
        for (uint32_t k = 0; k < d->dim; k++)
            q[i * d->dim + k] = (float)gaussian(state);
        if (f->centre != NULL)
            rsr_sketch_prepare_flat(&f->shape, q + (size_t)i * d->dim, f->centre,
                                    memory + i * bytes, &queries[i]);
        else
            rsr_sketch_prepare(&f->shape, q + (size_t)i * d->dim, memory + i * bytes, &queries[i]);
        pointers[i] = &queries[i];
    }
    for (uint32_t n = 1; n <= MANY; n++) {
        uint64_t vectors[MANY];
        check_bounds(kernel, f, pointers, n);
        kernel->frames(&f->shape, f->block, pointers, n, frames);
        for (uint32_t i = 0; i < n; i++) {
            const struct rsr_sketch_frame one =
                rsr_sketch_frame_of(&f->shape, f->block, &queries[i]);
            CHECK(memcmp(&one, &frames[i], sizeof(one)) == 0);
        }
        if (f->centre != NULL)
            continue;
        for (uint32_t i = 0; i < n; i++) {
            float t[RSR_SKETCH_LANES];
            portable->scan(&f->shape, f->block, &queries[i], i % 4, t);
            floors[i] = i == 3 ? NAN : i == 5 ? -INFINITY : t[i]; /* a tie stays */
        }
        kernel->sieve(&f->shape, f->block, pointers, n, floors, vectors, n % 2 ? f->block : NULL);
        for (uint32_t i = 0; i < n; i++) {
            for (uint32_t j = 0; j < N; j++) {
                float t[RSR_SKETCH_LANES];
                portable->scan(&f->shape, f->block, &queries[i], j / RSR_SKETCH_LANES, t);
                CHECK_INT(vectors[i] >> j & 1, !(t[j % RSR_SKETCH_LANES] < floors[i]));
            }
        }
    }
    free(q);
    free(memory);
}

/* Vendors and signatures as CPUID tells them. */
static void test_fetches_of_families(void) {
    static const struct {
        const char *vendor;
        uint32_t signature;
        bool far;
    } cpus[] = {
        {"AuthenticAMD", 0x00830f10, true},  /* Zen 2: family 23 */
        {"AuthenticAMD", 0x00a10f11, true},  /* Zen 4: family 25 */
        {"AuthenticAMD", 0x00b00f21, false}, /* Zen 5: family 26 */
        {"GenuineIntel", 0x00050657, false}, /* Cascade Lake */
        {"GenuineIntel", 0x00a10f11, false},
    };
    for (size_t i = 0; i < sizeof(cpus) / sizeof(cpus[0]); i++)
        CHECK_INT(rsr_fetches_far(cpus[i].vendor, cpus[i].signature), cpus[i].far);
}

/* If two kernels differ only in the cache level that they prefetch to, the one for this CPU is
 * chosen. */
static void test_far_fetches(void) {
    const struct rsr_sketch_kernel *chosen = rsr_sketch_kernel_for(rsr_cpu_features());
    bool has_far = false;
    for (uint32_t k = 0; rsr_sketch_kernel_at(k) != NULL; k++)
        has_far = has_far || (rsr_sketch_kernel_at(k)->far &&
                              strcmp(rsr_sketch_kernel_at(k)->name, chosen->name) == 0);
    CHECK(chosen->far == (has_far && rsr_detect_far_fetches()));
    CHECK(!rsr_sketch_kernel_for(0)->far);
}

/* All vectors at once give the bits of vectors one by one, and nothing is written past them. */
static void check_refine_all(const struct rsr_sketch_kernel *kernel, const struct data *d,
                             const struct fixture *f, uint64_t *state) {
    enum { MOST = 7, STRIDE = N + 3 };
    const size_t bytes = (rsr_sketch_query_bytes(&f->shape) + 63u) & ~(size_t)63u;
    char *memory = aligned_alloc(64, MOST * bytes);
    float *q = malloc(MOST * d->dim * sizeof(float)), t[MOST * STRIDE], expected[N];
    struct rsr_sketch_query queries[MOST];
    const struct rsr_sketch_query *pointers[MOST];
    for (uint32_t i = 0; i < MOST; i++) {
        for (uint32_t k = 0; k < d->dim; k++)
            q[i * d->dim + k] = (float)((double)check_random(state) * 0x1p-63 - 1.0);
        rsr_sketch_prepare(&f->shape, q + (size_t)i * d->dim, memory + i * bytes, &queries[i]);
        pointers[i] = &queries[i];
    }
    for (uint32_t n = 0; n <= MOST; n++) {
        for (uint32_t i = 0; i < MOST * STRIDE; i++)
            t[i] = -1.0f;
        kernel->refine_all(&f->shape, f->block, pointers, n, t, STRIDE);
        for (uint32_t i = 0; i < n; i++) {
            kernel->refine(&f->shape, f->block, &queries[i], UINT64_MAX, expected);
            CHECK(memcmp(t + (size_t)i * STRIDE, expected, sizeof(expected)) == 0);
            CHECK(t[i * STRIDE + N] == -1.0f);
        }
        CHECK(n == MOST || t[n * STRIDE] == -1.0f);
    }
    free(memory);
    free(q);
}

static void test_kernels_agree(bool flat) {
    const struct rsr_sketch_kernel *portable = rsr_sketch_kernel_for(0);
    const uint32_t dims[] = {1, 32, 100, 128, 256, 1000};
    uint64_t state = 77;
    CHECK_STR(portable->name, "portable");
    for (uint32_t k = 0; rsr_sketch_kernel_at(k) != NULL; k++) {
        const struct rsr_sketch_kernel *kernel = rsr_sketch_kernel_at(k);
        if ((kernel->features & ~rsr_cpu_features()) != 0)
            continue;
        printf("kernel %s\n", kernel->name);
        for (size_t i = 0; i < sizeof(dims) / sizeof(dims[0]); i++) {
            struct data d = {.dim = dims[i]};
            struct fixture f;
            d.vectors = malloc((size_t)N * d.dim * sizeof(float));
            d.q = malloc(d.dim * sizeof(float));
            (i % 2 == 0 ? fill_mixed : fill_gaussian)(&d, &state);
            make_fixture(&f, &d, flat);
            for (uint32_t j = 0; j < N; j++) {
                float a[RSR_SKETCH_LANES], b[RSR_SKETCH_LANES];
                kernel->scan(&f.shape, f.block, &f.query, j / RSR_SKETCH_LANES, a);
                portable->scan(&f.shape, f.block, &f.query, j / RSR_SKETCH_LANES, b);
                CHECK(memcmp(a, b, sizeof(a)) == 0);
                a[0] = refined_of(kernel, &f, j, a[j % RSR_SKETCH_LANES]);
                b[0] = refined_of(portable, &f, j, b[j % RSR_SKETCH_LANES]);
                CHECK(memcmp(a, b, sizeof(a[0])) == 0);
            }
            check_together(kernel, &d, &f, &state);
            if (flat)
                check_sharpen(kernel, &f, &state);
            else
                check_refine_all(kernel, &d, &f, &state);
            free_fixture(&f);
            free(d.vectors);
            free(d.q);
        }
    }
}

static void test_rounding(void) {
    const double some[] = {0.0,    -0.0,   1.0,     -1.0,     0x1p-1074, -0x1p-1074,
                           1e300,  -1e300, 0.1,     -0.1,     1e-46,     -1e-46,
                           3.5e38, 1e-320, DBL_MAX, -DBL_MAX, 16777217.0};
    for (size_t i = 0; i < sizeof(some) / sizeof(some[0]); i++) {
        const double x = some[i];
        CHECK(rsr_round_up(x) == nextafter(x, INFINITY));
        CHECK(rsr_round_down(x) == nextafter(x, -INFINITY));
        CHECK((double)rsr_float_up(x) >= x && (double)rsr_float_down(x) <= x);
        CHECK((double)nextafterf(rsr_float_up(x), -INFINITY) < x || x < -3.5e38);
        CHECK((double)nextafterf(rsr_float_down(x), INFINITY) > x || x > 3.4028234e38);
    }
    CHECK(rsr_round_up(INFINITY) == INFINITY && rsr_round_down(-INFINITY) == -INFINITY);
    CHECK(isnan(rsr_round_up(NAN)) && isnan(rsr_float_up(NAN)));
    for (int code = 1; code < 256; code++)
        CHECK(rsr_sketch_decode((uint8_t)code) > rsr_sketch_decode((uint8_t)(code - 1)));
    CHECK_INT(rsr_sketch_decode(255), 507904);
}

static void test_floors(void) {
    const struct rsr_sketch_frame frame = {.bound = 1.0, .offset = {0.5, -2.0}, .unit = 0x1p-20};
    CHECK(rsr_sketch_floor(&frame, 0, -INFINITY) == -INFINITY);
    CHECK(rsr_sketch_floor(&frame, 0, INFINITY) > 1e38f);
    CHECK(isnan(rsr_sketch_floor(&frame, 0, NAN)));
    const float floor = rsr_sketch_floor(&frame, 1, -1.0);
    CHECK(floor <= 0x1p20f && floor > 0x1p20f * 0.999999f);
}

static void test_float_mode(void) {
    const int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    CHECK(rsr_sketch_float_mode());
    for (size_t i = 0; i < 3; i++) {
        fesetround(modes[i]);
        const bool accepted = rsr_sketch_float_mode();
        fesetround(FE_TONEAREST);
        CHECK(!accepted);
    }
#if defined(__x86_64__)
    const unsigned before = _mm_getcsr(), bits[] = {0x8000, 0x40}; /* flush; denormals are zero */
    for (size_t i = 0; i < 2; i++) {
        _mm_setcsr(before | bits[i]);
        const bool accepted = rsr_sketch_float_mode();
        _mm_setcsr(before);
        CHECK(!accepted);
    }
#endif
}

static void test_sizes(void) {
    const struct rsr_sketch_shape one = rsr_sketch_shape_of(128, 1);
    const struct rsr_sketch_shape two = rsr_sketch_shape_of(128, 2);
    printf("%.1f and %.1f bytes a vector of 128\n", one.block_bytes / 64.0, two.block_bytes / 64.0);
    CHECK(one.block_bytes <= 77 * 64 && one.block_bytes % 64 == 0);
    CHECK(two.block_bytes <= 145 * 64 && two.block_bytes % 64 == 0);
    const struct rsr_sketch_shape flat = rsr_sketch_flat_shape(2560, 1);
    const struct rsr_sketch_shape flat2 = rsr_sketch_flat_shape(2560, 2);
    printf("flat: %.1f and %.1f bytes a vector of 2560\n", flat.block_bytes / 64.0,
           flat2.block_bytes / 64.0);
    CHECK(flat.block_bytes <= 1446 * 64 && flat.block_bytes % 64 == 0);
    CHECK(flat2.block_bytes <= 1926 * 64 && flat2.block_bytes % 64 == 0);
}

#endif

/* RSR_TEST_LONG=n: n times as many blocks. */
static uint32_t long_factor(void) {
    const char *text = getenv("RSR_TEST_LONG");
    const int factor = text == NULL ? 1 : atoi(text);
    return factor > 0 ? (uint32_t)factor : 1;
}

int main(void) {
    for (int flat = 0; flat < 2; flat++) {
        const int misses = test_misses(20 * long_factor(), flat);
#if defined(RSR_SKETCH_OMIT)
        /* The roundings of a scan matter only where codes are exact, which codes of 4 and 5 bits
         * never are. The roundings of a flat centre are too small, because they are made in
         * float64. */
        CHECK(misses > 0 || (flat && (RSR_SKETCH_OMIT == 3 || RSR_SKETCH_OMIT == 5)));
#else
        CHECK_INT(misses, 0);
        test_tightness(flat);
        test_builds_agree(flat);
        test_kernels_agree(flat);
#endif
    }
#if !defined(RSR_SKETCH_OMIT)
    test_checksum(false, UINT64_C(0xfb868e3df2e8fe44));
    test_checksum(true, UINT64_C(0x5bd3c2cf91af0e54));
    test_fetches_of_families();
    test_far_fetches();
    test_rounding();
    test_floors();
    test_float_mode();
    test_sizes();
#endif
    return CHECK_EXIT();
}
