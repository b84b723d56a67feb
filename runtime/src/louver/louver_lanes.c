/* louver_lanes.c - what the rule mass computes for the 64 keys of a page, in the lanes of AVX2 and
 * in portable C. Both give the same bits: a number's value does not depend on its lane. */
#include <math.h>

#include "louver_mass.h"
#include "rsr_cpu_detect.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define TARGET __attribute__((target("avx2")))
#endif

/* Compilers vectorise these loops for the function that they become part of. */
#define BODY static inline __attribute__((always_inline))

BODY void find_bins(uint32_t *bin, const float *x) {
    for (uint32_t i = 0; i < RSR_PAGE_TOKENS; i++) {
        float at = (x[i] - LOUVER_LOWEST_X) * LOUVER_BINS_PER_UNIT;
        at = at < (float)(LOUVER_BINS - 1) ? at : (float)(LOUVER_BINS - 1);
        at = at > 0.0f ? at : 0.0f;
        bin[i] = (uint32_t)(int32_t)at;
    }
}

BODY void count_body(struct louver_bins *bins, const float *x, uint64_t mask) {
    uint32_t bin[RSR_PAGE_TOKENS];
    find_bins(bin, x);
    for (uint32_t i = 0; mask == UINT64_MAX && i < RSR_PAGE_TOKENS; i++)
        bins->counts[bin[i]]++;
    for (uint64_t left = mask == UINT64_MAX ? 0 : mask; left != 0; left &= left - 1)
        bins->counts[bin[__builtin_ctzll(left)]]++;
}

/* The comparisons become bytes, and 8 bytes at a time become bits. */
static uint64_t below_portable(const float *x, float limit) {
    uint8_t below[RSR_PAGE_TOKENS];
    uint64_t mask = 0;
    for (uint32_t i = 0; i < RSR_PAGE_TOKENS; i++)
        below[i] = x[i] < limit;
    for (uint32_t i = 0; i < RSR_PAGE_TOKENS; i += 8) {
        uint64_t bytes = 0;
        for (uint32_t j = 0; j < 8; j++)
            bytes |= (uint64_t)below[i + j] << (8 * j);
        mask |= (bytes * UINT64_C(0x0102040810204080) >> 56) << i;
    }
    return mask;
}

static void bounds_portable(const struct louver_line *line, float *x, const float *t) {
    for (uint32_t i = 0; i < RSR_PAGE_TOKENS; i++) {
        const float product = line->slope * t[i], sum = line->base + product;
        x[i] = sum + ((fabsf(product) + fabsf(sum)) * 0x1p-22f + 0x1p-140f);
    }
    for (uint32_t i = 0; !line->exact && i < RSR_PAGE_TOKENS; i++)
        x[i] = INFINITY;
}

static void count_portable(struct louver_bins *bins, const float *x, uint64_t mask) {
    count_body(bins, x, mask);
}

#if defined(__x86_64__)
TARGET static uint64_t below_avx2(const float *x, float limit) {
    const __m256 limits = _mm256_set1_ps(limit);
    uint64_t mask = 0;
    for (uint32_t i = 0; i < RSR_PAGE_TOKENS; i += 8) {
        const __m256 is_below = _mm256_cmp_ps(_mm256_loadu_ps(x + i), limits, _CMP_LT_OQ);
        mask |= (uint64_t)(uint32_t)_mm256_movemask_ps(is_below) << i;
    }
    return mask;
}

TARGET static void bounds_avx2(const struct louver_line *line, float *x, const float *t) {
    const __m256 base = _mm256_set1_ps(line->base), slope = _mm256_set1_ps(line->slope);
    const __m256 sign = _mm256_set1_ps(-0.0f), step = _mm256_set1_ps(0x1p-22f);
    const __m256 least = _mm256_set1_ps(0x1p-140f);
    for (uint32_t i = 0; i < RSR_PAGE_TOKENS; i += 8) {
        const __m256 product = _mm256_mul_ps(slope, _mm256_loadu_ps(t + i));
        const __m256 sum = _mm256_add_ps(base, product);
        const __m256 sizes =
            _mm256_add_ps(_mm256_andnot_ps(sign, product), _mm256_andnot_ps(sign, sum));
        const __m256 more = _mm256_add_ps(_mm256_mul_ps(sizes, step), least);
        _mm256_storeu_ps(x + i, line->exact ? _mm256_add_ps(sum, more) : _mm256_set1_ps(INFINITY));
    }
}

TARGET static void count_avx2(struct louver_bins *bins, const float *x, uint64_t mask) {
    count_body(bins, x, mask);
}
#endif

static const struct louver_lanes all_lanes[] = {
#if defined(__x86_64__)
    {RSR_CPU_MASK(AVX2), bounds_avx2, count_avx2, below_avx2},
#endif
    {0, bounds_portable, count_portable, below_portable},
};

const struct louver_lanes *louver_lanes_for(uint64_t cpu_features) {
    const struct louver_lanes *lanes = all_lanes;
    while ((lanes->features & ~cpu_features) != 0)
        lanes++; /* ends at the last, which needs no feature */
    return lanes;
}
