/* sketch_scan.c - scanning and refining in portable C, and the table of all kernels. */
#include <string.h>

#include "host/fetch_line.h"
#include "rsr_cpu_detect.h"
#include "sketch_build.h"

/* The inner product of a word's 8 digits, each plus 8, with the query's codes. */
static int32_t dot_word(const uint8_t *bytes, const int8_t *q) {
    int32_t sum = 0;
    for (uint32_t b = 0; b < 4; b++)
        sum += (bytes[b] & 15) * q[b] + (bytes[b] >> 4) * q[16 + b];
    return sum;
}

static void estimate_portable(const struct rsr_sketch_shape *shape, const void *memory,
                              const struct rsr_sketch_query *query, uint32_t group, float *t,
                              float *estimates) {
    const uint8_t *block = memory;
    memset(t, 0, RSR_SKETCH_LANES * sizeof(*t));
    memset(estimates, 0, RSR_SKETCH_LANES * sizeof(*estimates));
    for (uint32_t s = 0; s < shape->n_slices; s++) {
        const size_t lanes_at = (size_t)s * RSR_SKETCH_VECTORS + group * RSR_SKETCH_LANES;
        const uint8_t *scales = block + shape->scales_at + lanes_at;
        const uint8_t *residuals = block + shape->residual_at[0] + lanes_at;
        const uint8_t *codes =
            block + shape->plane_at[0] + 4 * rsr_sketch_lane_word(shape, group, s, 0);
        const int8_t *q = query->codes + (size_t)s * RSR_SKETCH_SLICE;
        for (uint32_t lane = 0; lane < RSR_SKETCH_LANES; lane++) {
            int32_t dot = -query->sums[s];
            for (uint32_t w = 0; w < 4; w++)
                dot += dot_word(codes + (w * RSR_SKETCH_LANES + lane) * 4, q + 4 * w);
            const float product = (float)dot * (float)rsr_sketch_decode(scales[lane]);
            const float term = product * query->scale[0][s];
            estimates[lane] = estimates[lane] + term;
            t[lane] = t[lane] + term;
            t[lane] = t[lane] + query->norms[s] * (float)rsr_sketch_decode(residuals[lane]);
        }
    }
}

static void scan_portable(const struct rsr_sketch_shape *shape, const void *block,
                          const struct rsr_sketch_query *query, uint32_t group, float *t) {
    float estimates[RSR_SKETCH_LANES];
    estimate_portable(shape, block, query, group, t, estimates);
}

float rsr_sketch_refined(const struct rsr_sketch_shape *shape, const void *memory,
                         const struct rsr_sketch_query *query, uint32_t vector,
                         const int32_t *dots) {
    const uint8_t *block = memory;
    const uint8_t *scales = block + shape->scales_at + vector;
    const uint8_t *residuals = block + shape->residual_at[1] + (size_t)vector * shape->n_slices;
    float t = 0.0f;
    for (uint32_t s = 0; s < shape->n_slices; s++) {
        const float dot = (float)(dots[s] - 17 * query->sums[s]);
        const float product = dot * (float)rsr_sketch_decode(scales[s * RSR_SKETCH_VECTORS]);
        t = t + product * query->scale[1][s];
        t = t + query->norms[s] * (float)rsr_sketch_decode(residuals[s]);
    }
    return t;
}

void rsr_sketch_refine_by(rsr_sketch_refine_one_fn *one, const struct rsr_sketch_shape *shape,
                          const void *block, const struct rsr_sketch_query *query, uint64_t vectors,
                          float *t) {
    for (; vectors != 0; vectors &= vectors - 1)
        *t++ = one(shape, block, query, (uint32_t)__builtin_ctzll(vectors));
}

void rsr_sketch_refine_all_by(rsr_sketch_refine_fn *refine, const struct rsr_sketch_shape *shape,
                              const void *block, const struct rsr_sketch_query *const *queries,
                              uint32_t n, float *t, size_t stride) {
    for (uint32_t i = 0; i < n; i++)
        refine(shape, block, queries[i], UINT64_MAX, t + i * stride);
}

static float refine_one(const struct rsr_sketch_shape *shape, const void *memory,
                        const struct rsr_sketch_query *query, uint32_t vector) {
    const uint8_t *block = memory;
    const uint32_t group = vector / RSR_SKETCH_LANES, lane = vector % RSR_SKETCH_LANES;
    int32_t dots[RSR_SKETCH_MAX_DIM / RSR_SKETCH_SLICE];
    for (uint32_t s = 0; s < shape->n_slices; s++) {
        const int8_t *q = query->codes + (size_t)s * RSR_SKETCH_SLICE;
        dots[s] = 0;
        for (uint32_t w = 0; w < 4; w++) {
            const size_t high = rsr_sketch_lane_word(shape, group, s, w) + lane;
            const size_t low = rsr_sketch_vector_word(shape, vector, s) + w;
            dots[s] += 16 * dot_word(block + shape->plane_at[0] + 4 * high, q + 4 * w) +
                       dot_word(block + shape->plane_at[1] + 4 * low, q + 4 * w);
        }
    }
    return rsr_sketch_refined(shape, block, query, vector, dots);
}

static void refine_portable(const struct rsr_sketch_shape *shape, const void *block,
                            const struct rsr_sketch_query *query, uint64_t vectors, float *t) {
    rsr_sketch_refine_by(refine_one, shape, block, query, vectors, t);
}

static void refine_all_portable(const struct rsr_sketch_shape *shape, const void *block,
                                const struct rsr_sketch_query *const *queries, uint32_t n, float *t,
                                size_t stride) {
    rsr_sketch_refine_all_by(refine_portable, shape, block, queries, n, t, stride);
}

/* Returns what the teams add to t of one vector. */
static float sharpen_one(rsr_sketch_team_fn *team_dots, const struct rsr_sketch_query *query,
                         struct rsr_sketch_teams teams, const struct rsr_sketch_gain *gains) {
    float part[RSR_SKETCH_TEAM] = {0.0f};
    for (uint32_t team = teams.first; team < teams.end; team++, gains++) {
        const uint32_t first = team * RSR_SKETCH_TEAM;
        int32_t dots[RSR_SKETCH_TEAM];
        team_dots(gains->signs, query->teams + (size_t)first * RSR_SKETCH_SLICE, dots);
        for (uint32_t i = 0; i < RSR_SKETCH_TEAM; i++) {
            const float dot = (float)(2 * dots[i] - query->sums[first + i] / 8);
            const float product = dot * (float)rsr_sketch_decode(gains->scales[i]);
            part[i] = part[i] + product * query->scale[1][first + i];
            part[i] = part[i] - query->norms[first + i] * (float)rsr_sketch_decode(gains->gains[i]);
        }
    }
    for (uint32_t half = RSR_SKETCH_TEAM / 2; half > 0; half /= 2)
        for (uint32_t i = 0; i < half; i++)
            part[i] = part[i] + part[i + half];
    return part[0];
}

void rsr_sketch_sharpen_by(rsr_sketch_team_fn *team_dots, const struct rsr_sketch_query *query,
                           struct rsr_sketch_teams teams,
                           const struct rsr_sketch_gain *const *gains, uint32_t n, float *t) {
    const size_t bytes = (teams.end - teams.first) * sizeof(struct rsr_sketch_gain);
    for (uint32_t i = 0; i < n; i++) {
        const char *ahead = (const char *)gains[i + RSR_SKETCH_AHEAD];
        for (size_t at = 0; ahead != NULL && at < bytes + 63; at += 64)
            rsr_fetch_line(ahead + (at < bytes ? at : bytes - 1), true);
        t[i] = t[i] + sharpen_one(team_dots, query, teams, gains[i]);
    }
}

static void team_dots_portable(const uint64_t *signs, const int8_t *q, int32_t *dots) {
    memset(dots, 0, RSR_SKETCH_TEAM * sizeof(*dots));
    for (uint32_t w = 0; w < 8; w++)
        for (uint32_t i = 0; i < RSR_SKETCH_TEAM * 4; i++)
            dots[i / 4] += (signs[w] >> i & 1) != 0 ? q[w * RSR_SKETCH_TEAM * 4 + i] : 0;
}

static void sharpen_portable(const struct rsr_sketch_query *query, struct rsr_sketch_teams teams,
                             const struct rsr_sketch_gain *const *gains, uint32_t n, float *t) {
    rsr_sketch_sharpen_by(team_dots_portable, query, teams, gains, n, t);
}

void rsr_sketch_bounds_by(rsr_sketch_estimate_fn *scan, const struct rsr_sketch_shape *shape,
                          const void *block, const struct rsr_sketch_query *const *queries,
                          uint32_t n, float *t, float *estimates, size_t stride, const void *next) {
    const uint32_t lines = rsr_sketch_first_bytes(shape) / 64;
    const uint32_t n_groups = RSR_SKETCH_VECTORS / RSR_SKETCH_LANES;
    for (uint32_t group = 0; group < n_groups; group++) {
        for (uint32_t i = 0; i < n; i++) {
            const size_t at = i * stride + group * RSR_SKETCH_LANES;
            float unused[RSR_SKETCH_LANES];
            scan(shape, block, queries[i], group, t + at,
                 estimates != NULL ? estimates + at : unused);
        }
        for (uint32_t i = group * lines / n_groups;
             next != NULL && i < (group + 1) * lines / n_groups; i++)
            __builtin_prefetch((const char *)next + (size_t)i * 64, 0, 2);
    }
}

static void bounds_portable(const struct rsr_sketch_shape *shape, const void *block,
                            const struct rsr_sketch_query *const *queries, uint32_t n, float *t,
                            float *estimates, size_t stride, const void *next) {
    rsr_sketch_bounds_by(estimate_portable, shape, block, queries, n, t, estimates, stride, next);
}

void rsr_sketch_frames_each(const struct rsr_sketch_shape *shape, const void *block,
                            const struct rsr_sketch_query *const *queries, uint32_t n,
                            struct rsr_sketch_frame *frames) {
    for (uint32_t i = 0; i < n; i++)
        frames[i] = rsr_sketch_frame_of(shape, block, queries[i]);
}

void rsr_sketch_sieve_by(rsr_sketch_scan_fn *scan, const struct rsr_sketch_shape *shape,
                         const void *block, const struct rsr_sketch_query *const *queries,
                         uint32_t n, const float *floors, uint64_t *vectors) {
    for (uint32_t i = 0; i < n; i++) {
        vectors[i] = 0;
        for (uint32_t group = 0; group < RSR_SKETCH_VECTORS / RSR_SKETCH_LANES; group++) {
            float t[RSR_SKETCH_LANES];
            scan(shape, block, queries[i], group, t);
            for (uint32_t lane = 0; lane < RSR_SKETCH_LANES; lane++)
                vectors[i] |= (uint64_t) !(t[lane] < floors[i])
                              << (group * RSR_SKETCH_LANES + lane);
        }
    }
}

static void sieve_portable(const struct rsr_sketch_shape *shape, const void *block,
                           const struct rsr_sketch_query *const *queries, uint32_t n,
                           const float *floors, uint64_t *vectors, const void *next) {
    (void)next;
    rsr_sketch_sieve_by(scan_portable, shape, block, queries, n, floors, vectors);
}

#define NEEDS_AVX512                                                                               \
    (RSR_CPU_MASK(AVX512F) | RSR_CPU_MASK(AVX512BW) | RSR_CPU_MASK(AVX512VNNI) | RSR_CPU_MASK(AVX2))

static const struct rsr_sketch_kernel kernels[] = {
#if defined(__x86_64__)
    {"avx512vnni", NEEDS_AVX512, true, rsr_sketch_build_avx512, rsr_sketch_frames_avx512,
     rsr_sketch_sieve_avx512vnni_far, rsr_sketch_scan_avx512vnni, rsr_sketch_refine_avx512vnni,
     rsr_sketch_refine_all_avx512vnni, rsr_sketch_bounds_avx512vnni_far,
     rsr_sketch_sharpen_avx512vnni},
    {"avx512vnni", NEEDS_AVX512, false, rsr_sketch_build_avx512, rsr_sketch_frames_avx512,
     rsr_sketch_sieve_avx512vnni, rsr_sketch_scan_avx512vnni, rsr_sketch_refine_avx512vnni,
     rsr_sketch_refine_all_avx512vnni, rsr_sketch_bounds_avx512vnni, rsr_sketch_sharpen_avx512vnni},
    {"avx2", RSR_CPU_MASK(AVX2), false, rsr_sketch_build_avx2, rsr_sketch_frames_avx2,
     rsr_sketch_sieve_avx2, rsr_sketch_scan_avx2, rsr_sketch_refine_avx2,
     rsr_sketch_refine_all_avx2, rsr_sketch_bounds_avx2, rsr_sketch_sharpen_avx2},
#elif defined(__aarch64__)
    {"neon-dotprod", RSR_CPU_MASK(NEON) | RSR_CPU_MASK(DOTPROD), false, rsr_sketch_build,
     rsr_sketch_frames_each, rsr_sketch_sieve_dotprod, rsr_sketch_scan_dotprod,
     rsr_sketch_refine_neon, rsr_sketch_refine_all_neon, rsr_sketch_bounds_dotprod,
     rsr_sketch_sharpen_neon},
    {"neon", RSR_CPU_MASK(NEON), false, rsr_sketch_build, rsr_sketch_frames_each,
     rsr_sketch_sieve_neon, rsr_sketch_scan_neon, rsr_sketch_refine_neon,
     rsr_sketch_refine_all_neon, rsr_sketch_bounds_neon, rsr_sketch_sharpen_neon},
#endif
    {"portable", 0, false, rsr_sketch_build, rsr_sketch_frames_each, sieve_portable, scan_portable,
     refine_portable, refine_all_portable, bounds_portable, sharpen_portable},
};

#define N_KERNELS (sizeof(kernels) / sizeof(kernels[0]))

const struct rsr_sketch_kernel *rsr_sketch_kernel_at(uint32_t index) {
    return index < N_KERNELS ? &kernels[index] : NULL;
}

const struct rsr_sketch_kernel *rsr_sketch_kernel_for(uint64_t cpu_features) {
    const bool far = rsr_detect_far_fetches();
    uint32_t i = 0;
    while ((kernels[i].features & ~cpu_features) != 0 || (kernels[i].far && !far))
        i++; /* ends at the last kernel, which needs no feature */
    return &kernels[i];
}
