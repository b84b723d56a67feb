/* sketch_build_avx2.c - makes blocks of 8 vectors at a time. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <stdint.h>

#define LANES 8
#define TARGET __attribute__((target("avx2")))
#define BUILD_NAME rsr_sketch_build_avx2

typedef float lanes_f __attribute__((vector_size(32)));
typedef int32_t lanes_i __attribute__((vector_size(32)));
typedef uint32_t lanes_u __attribute__((vector_size(32)));
#define OWN TARGET static inline __attribute__((always_inline))

OWN lanes_f lanes_max(lanes_f a, lanes_f b) {
    return _mm256_max_ps(a, b);
}

OWN lanes_f lanes_min(lanes_f a, lanes_f b) {
    return _mm256_min_ps(a, b);
}

OWN lanes_f lanes_sqrt(lanes_f x) {
    return _mm256_sqrt_ps(x);
}

/* x - a b, where a b is exact */
OWN lanes_f lanes_less_exact(lanes_f x, lanes_f a, lanes_f b) {
    return x - a * b;
}

/* words << 4 | low 4 bits of digits */
OWN lanes_i lanes_push(lanes_i words, lanes_i digits) {
    return words << 4 | (digits & 15);
}

/* Four columns of 8 rows, in the 128-bit parts of the result: rows r and r + 4. */
OWN __m256 load4(const float *rows, size_t stride) {
    const __m256 x = _mm256_castps128_ps256(_mm_loadu_ps(rows));
    return _mm256_insertf128_ps(x, _mm_loadu_ps(rows + 4 * stride), 1);
}

/* Lane r + 4 i of out[c] = column c of row r + 4 i, for 4 columns. */
OWN void transpose4(lanes_f *out, __m256 a, __m256 b, __m256 c, __m256 d) {
    const __m256d ab_low = _mm256_castps_pd(_mm256_unpacklo_ps(a, b));
    const __m256d ab_high = _mm256_castps_pd(_mm256_unpackhi_ps(a, b));
    const __m256d cd_low = _mm256_castps_pd(_mm256_unpacklo_ps(c, d));
    const __m256d cd_high = _mm256_castps_pd(_mm256_unpackhi_ps(c, d));
    out[0] = _mm256_castpd_ps(_mm256_unpacklo_pd(ab_low, cd_low));
    out[1] = _mm256_castpd_ps(_mm256_unpackhi_pd(ab_low, cd_low));
    out[2] = _mm256_castpd_ps(_mm256_unpacklo_pd(ab_high, cd_high));
    out[3] = _mm256_castpd_ps(_mm256_unpackhi_pd(ab_high, cd_high));
}

/* Lane r of words[0 .. 3] to 16 bytes at `at` + r * stride. */
OWN void store_rows(char *at, size_t stride, const lanes_i *words) {
    lanes_f rows[4];
    transpose4(rows, (__m256)words[0], (__m256)words[1], (__m256)words[2], (__m256)words[3]);
    for (uint32_t r = 0; r < 4; r++) {
        char *row = at + r * stride;
        _mm_storeu_ps((float *)(void *)row, _mm256_castps256_ps128(rows[r]));
        _mm_storeu_ps((float *)(void *)(row + 4 * stride), _mm256_extractf128_ps(rows[r], 1));
    }
}

#include "sketch_build_lanes.h"
#endif
