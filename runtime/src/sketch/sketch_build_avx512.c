/* sketch_build_avx512.c - makes blocks of 16 vectors at a time. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <stdint.h>

#define LANES 16
#define TARGET __attribute__((target("avx512f")))
#define BUILD_NAME rsr_sketch_build_avx512

typedef float lanes_f __attribute__((vector_size(64)));
typedef int32_t lanes_i __attribute__((vector_size(64)));
typedef uint32_t lanes_u __attribute__((vector_size(64)));
#define OWN TARGET static inline __attribute__((always_inline))

OWN lanes_f lanes_max(lanes_f a, lanes_f b) {
    return _mm512_max_ps(a, b);
}

OWN lanes_f lanes_min(lanes_f a, lanes_f b) {
    return _mm512_min_ps(a, b);
}

OWN lanes_f lanes_sqrt(lanes_f x) {
    return _mm512_sqrt_ps(x);
}

/* x - a b, where a b is exact */
OWN lanes_f lanes_less_exact(lanes_f x, lanes_f a, lanes_f b) {
    return _mm512_fnmadd_ps(a, b, x);
}

/* words << 4 | low 4 bits of digits */
OWN lanes_i lanes_push(lanes_i words, lanes_i digits) {
    const __m512i shifted = _mm512_slli_epi32((__m512i)words, 4);
    return (lanes_i)_mm512_ternarylogic_epi32(shifted, (__m512i)digits, _mm512_set1_epi32(15),
                                              0xf8); /* a | b & c */
}

/* Four columns of 16 rows, in the 128-bit parts of the result: rows r, r + 4, r + 8, r + 12. */
OWN __m512 load4(const float *rows, size_t stride) {
    __m512 x = _mm512_castps128_ps512(_mm_loadu_ps(rows));
    x = _mm512_insertf32x4(x, _mm_loadu_ps(rows + 4 * stride), 1);
    x = _mm512_insertf32x4(x, _mm_loadu_ps(rows + 8 * stride), 2);
    return _mm512_insertf32x4(x, _mm_loadu_ps(rows + 12 * stride), 3);
}

/* Lane r + 4 i of out[c] = column c of row r + 4 i, for 4 columns. */
OWN void transpose4(lanes_f *out, __m512 a, __m512 b, __m512 c, __m512 d) {
    const __m512d ab_low = _mm512_castps_pd(_mm512_unpacklo_ps(a, b));
    const __m512d ab_high = _mm512_castps_pd(_mm512_unpackhi_ps(a, b));
    const __m512d cd_low = _mm512_castps_pd(_mm512_unpacklo_ps(c, d));
    const __m512d cd_high = _mm512_castps_pd(_mm512_unpackhi_ps(c, d));
    out[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab_low, cd_low));
    out[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab_low, cd_low));
    out[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab_high, cd_high));
    out[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab_high, cd_high));
}

/* Lane r of words[0 .. 3] to 16 bytes at `at` + r * stride. */
OWN void store_rows(char *at, size_t stride, const lanes_i *words) {
    lanes_f rows[4];
    transpose4(rows, (__m512)words[0], (__m512)words[1], (__m512)words[2], (__m512)words[3]);
    for (uint32_t r = 0; r < 4; r++) {
        char *row = at + r * stride;
        _mm_storeu_ps((float *)(void *)row, _mm512_castps512_ps128(rows[r]));
        _mm_storeu_ps((float *)(void *)(row + 4 * stride), _mm512_extractf32x4_ps(rows[r], 1));
        _mm_storeu_ps((float *)(void *)(row + 8 * stride), _mm512_extractf32x4_ps(rows[r], 2));
        _mm_storeu_ps((float *)(void *)(row + 12 * stride), _mm512_extractf32x4_ps(rows[r], 3));
    }
}

#include "sketch_build_lanes.h"
#endif
