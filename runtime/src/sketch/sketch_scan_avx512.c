/* sketch_scan_avx512.c - the kernels with AVX-512 VNNI: integers are exact and every lane does what
 * the portable kernel does, so the bits are the same. Up to 4 queries share the unpacked bytes of a
 * block. */
#include "sketch_scan.h"

#include "host/fetch_line.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#define TARGET __attribute__((target("avx2,avx512f,avx512bw,avx512vnni")))
#define INLINE TARGET static inline __attribute__((always_inline))
#define TOGETHER 4u /* queries */

/* A loop over an array in registers, whose length is a constant. GCC keeps such arrays in memory
 * unless it must unroll the loop. */
#if defined(__clang__)
#define EACH(i, n) for (uint32_t i = 0; i < (n); i++)
#else
#define EACH(i, n) _Pragma("GCC unroll 4") for (uint32_t i = 0; i < (n); i++)
#endif

static int32_t load_word(const int8_t *bytes) {
    int32_t word;
    memcpy(&word, bytes, sizeof(word));
    return word;
}

/* rsr_sketch_decode of 16 codes, as floats: from 16 on a code is the top of a float's bits. */
INLINE __m512 decode16(__m512i codes) {
    const __m512i large =
        _mm512_slli_epi32(_mm512_add_epi32(codes, _mm512_set1_epi32((127 + 3) * 16)), 19);
    const __mmask16 small = _mm512_cmplt_epi32_mask(codes, _mm512_set1_epi32(16));
    return _mm512_mask_cvtepi32_ps(_mm512_castsi512_ps(large), small, codes);
}

INLINE __m512 decode_bytes(const uint8_t *codes) {
    return decode16(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)codes)));
}

/* Decoded codes divided by RSR_SKETCH_HALF, in fewer steps. */
INLINE __m512 decode_halves(const uint8_t *codes) {
    const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)codes);
    return _mm512_cvtph_ps(_mm256_slli_epi16(_mm256_cvtepu8_epi16(bytes), 6));
}

/* ---- The first plane ---- */

/* Groups of 16 vectors that are scanned at once. With 4 queries this gives 8 sums, enough to keep
 * two multipliers busy; two sets of them fit the registers. */
#define GROUPS 2u
#define MOST_GROUPS 4u

/* Adds one slice to t (and to estimates unless they are NULL) of `n_groups` times 16 vectors, for
 * up to TOGETHER queries. */
INLINE void scan_slice(const struct rsr_sketch_shape *shape, const uint8_t *block,
                       const struct rsr_sketch_slice *const *q, uint32_t n, uint32_t group,
                       uint32_t n_groups, uint32_t slice, __m512 t[TOGETHER][MOST_GROUPS],
                       __m512 estimates[TOGETHER][MOST_GROUPS]) {
    const __m512i mask = _mm512_set1_epi8(15);
    const size_t lanes_at = (size_t)slice * RSR_SKETCH_VECTORS + group * RSR_SKETCH_LANES;
    const uint8_t *codes =
        block + shape->plane_at[0] + 4 * rsr_sketch_lane_word(shape, group, slice, 0);
    const size_t group_bytes = (size_t)shape->n_slices * 4 * 4 * RSR_SKETCH_LANES;
    __m512i dots[TOGETHER][MOST_GROUPS];
    EACH(i, n)
    EACH(g, n_groups)
    dots[i][g] = _mm512_set1_epi32(q[i]->centre);
    EACH(w, 4) {
        __m512i low[MOST_GROUPS], high[MOST_GROUPS];
        EACH(g, n_groups) {
            const __m512i bytes = _mm512_loadu_si512(codes + g * group_bytes + (size_t)w * 64);
            low[g] = _mm512_and_si512(bytes, mask);
            high[g] = _mm512_and_si512(_mm512_srli_epi16(bytes, 4), mask);
        }
        EACH(i, n) {
            const __m512i q_low = _mm512_set1_epi32(load_word(q[i]->codes + 4 * w));
            const __m512i q_high = _mm512_set1_epi32(load_word(q[i]->codes + 16 + 4 * w));
            EACH(g, n_groups) {
                dots[i][g] = _mm512_dpbusd_epi32(dots[i][g], low[g], q_low);
                dots[i][g] = _mm512_dpbusd_epi32(dots[i][g], high[g], q_high);
            }
        }
    }
    EACH(g, n_groups) {
        const size_t at = lanes_at + g * RSR_SKETCH_LANES;
        const __m512 scales = decode_halves(block + shape->scales_at + at);
        const __m512 residuals = decode_halves(block + shape->residual_at[0] + at);
        EACH(i, n) {
            const __m512 scale = _mm512_set1_ps(q[i]->scale), norm = _mm512_set1_ps(q[i]->norm);
            const __m512 product = _mm512_mul_ps(_mm512_cvtepi32_ps(dots[i][g]), scales);
            const __m512 term = _mm512_mul_ps(product, scale);
            if (estimates != NULL)
                estimates[i][g] = _mm512_add_ps(estimates[i][g], term);
            t[i][g] = _mm512_add_ps(t[i][g], term);
            t[i][g] = _mm512_add_ps(t[i][g], _mm512_mul_ps(norm, residuals));
        }
    }
}

TARGET void rsr_sketch_scan_avx512vnni(const struct rsr_sketch_shape *shape, const void *block,
                                       const struct rsr_sketch_query *query, uint32_t group,
                                       float *t) {
    __m512 sums[TOGETHER][MOST_GROUPS];
    sums[0][0] = _mm512_setzero_ps();
    for (uint32_t s = 0; s < shape->n_slices; s++) {
        const struct rsr_sketch_slice *slice = query->slices + s;
        scan_slice(shape, block, &slice, 1, group, 1, s, sums, NULL);
    }
    _mm512_storeu_ps(t, sums[0][0]);
}

/* Computes t of GROUPS groups. Each slice prefetches an equal part of what a scan of `next` will
 * read, except the part that the caller prefetches. */
INLINE void scan_groups(const struct rsr_sketch_shape *shape, const uint8_t *block,
                        const struct rsr_sketch_query *const *queries, uint32_t n, uint32_t group,
                        const uint8_t *next, bool far, __m512 t[TOGETHER][MOST_GROUPS]) {
    const uint32_t plane_lines = shape->n_slices * RSR_SKETCH_VECTORS * RSR_SKETCH_SLICE / 2 / 64;
    const uint32_t n_parts = shape->n_slices * (RSR_SKETCH_VECTORS / RSR_SKETCH_LANES / GROUPS);
    const uint32_t n_lines = shape->plane_at[0] / 64 + plane_lines - RSR_SKETCH_REST_BYTES / 64;
    const uint32_t part_lines = next == NULL ? 0 : (n_lines + n_parts - 1) / n_parts;
    const uint8_t *fetched = next == NULL ? block : next;
    fetched += (size_t)(group / GROUPS) * shape->n_slices * part_lines * 64;
    const struct rsr_sketch_slice *q[TOGETHER];
    EACH(i, n) {
        q[i] = queries[i]->slices;
        EACH(g, GROUPS)
        t[i][g] = _mm512_setzero_ps();
    }
    for (uint32_t s = 0; s < shape->n_slices; s++) {
        scan_slice(shape, block, q, n, group, GROUPS, s, t, NULL);
        EACH(i, n)
        q[i]++;
        for (uint32_t i = 0; i < part_lines; i++, fetched += 64)
            rsr_fetch_line(fetched, far);
    }
}

/* Prefetches the second plane's data that refining a group's vectors will read. */
INLINE void fetch_second(const struct rsr_sketch_shape *shape, const uint8_t *block, uint32_t group,
                         uint32_t vectors, bool far) {
    const uint32_t row = shape->n_slices * (RSR_SKETCH_SLICE / 2);
    for (; vectors != 0; vectors &= vectors - 1) {
        const size_t vector = group * RSR_SKETCH_LANES + (uint32_t)__builtin_ctz(vectors);
        for (uint32_t at = 0; at < row; at += 64)
            rsr_fetch_line(block + shape->plane_at[1] + vector * row + at, far);
        rsr_fetch_line(block + shape->residual_at[1] + vector * shape->n_slices, far);
    }
}

INLINE void sieve_some(const struct rsr_sketch_shape *shape, const void *block,
                       const struct rsr_sketch_query *const *queries, uint32_t n,
                       const float *floors, uint64_t *vectors, const void *next, bool far) {
    EACH(i, n)
    vectors[i] = 0;
    for (uint32_t group = 0; group < RSR_SKETCH_VECTORS / RSR_SKETCH_LANES; group += GROUPS) {
        __m512 t[TOGETHER][MOST_GROUPS];
        scan_groups(shape, block, queries, n, group, next, far, t);
        uint32_t kept_by_any = 0;
        EACH(i, n) {
            uint32_t kept = 0;
            EACH(g, GROUPS)
            kept |= (uint32_t)_mm512_cmp_ps_mask(t[i][g], _mm512_set1_ps(floors[i]), _CMP_NLT_UQ)
                    << (g * RSR_SKETCH_LANES);
            vectors[i] |= (uint64_t)kept << (group * RSR_SKETCH_LANES);
            kept_by_any |= kept;
        }
        if (shape->n_planes > 1)
            fetch_second(shape, block, group, kept_by_any, far);
    }
}

INLINE void sieve(const struct rsr_sketch_shape *shape, const void *block,
                  const struct rsr_sketch_query *const *queries, uint32_t n, const float *floors,
                  uint64_t *vectors, const void *next, bool far) {
    uint32_t i = 0;
    for (; i + TOGETHER <= n; i += TOGETHER)
        sieve_some(shape, block, queries + i, TOGETHER, floors + i, vectors + i,
                   i == 0 ? next : NULL, far);
    next = i == 0 ? next : NULL;
    if (n - i == 3)
        sieve_some(shape, block, queries + i, 3, floors + i, vectors + i, next, far);
    else if (n - i == 2)
        sieve_some(shape, block, queries + i, 2, floors + i, vectors + i, next, far);
    else if (n - i == 1)
        sieve_some(shape, block, queries + i, 1, floors + i, vectors + i, next, far);
}

TARGET void rsr_sketch_sieve_avx512vnni(const struct rsr_sketch_shape *shape, const void *block,
                                        const struct rsr_sketch_query *const *queries, uint32_t n,
                                        const float *floors, uint64_t *vectors, const void *next) {
    sieve(shape, block, queries, n, floors, vectors, next, false);
}

TARGET void rsr_sketch_sieve_avx512vnni_far(const struct rsr_sketch_shape *shape, const void *block,
                                            const struct rsr_sketch_query *const *queries,
                                            uint32_t n, const float *floors, uint64_t *vectors,
                                            const void *next) {
    sieve(shape, block, queries, n, floors, vectors, next, true);
}

/* A scan of consecutive blocks prefetches this many bytes ahead in each group. From memory, one
 * thread on Cascade Lake, where reading alone reaches 12.1 GB/s: with the whole next block ahead
 * 9.4, 1 KiB 10.9, 2 KiB 11.0, 4 KiB 10.8, nothing 7.6 to 9.7. With prefetches to L2, one thread on
 * Zen 4, a head took 0.87 (2 KiB), 0.79 (4 KiB) and 0.79 (8 KiB) of the time with 2 KiB to L1.
 * Every line is prefetched. On Zen 4, 2004 blocks of dimension 2560 took one to four queries 7.6,
 * 7.5, 7.6 and 9.4 ms; with every second line (its neighbour then comes by itself) 8.6, 11.6, 15
 * and 13.8 ms. Zen 5 does not fetch the neighbours. */
#define AHEAD 2048u
#define FAR_AHEAD 4096u

/* Computes t and estimates of all vectors of the block for up to TOGETHER queries, n_groups at a
 * time. Codes are prefetched in the order of reading, on into the next groups and the next block.
 * The next block's scales are prefetched with the last groups. */
INLINE void bounds(const struct rsr_sketch_shape *shape, const uint8_t *block,
                   const struct rsr_sketch_query *const *queries, uint32_t n, uint32_t n_groups,
                   float *t, float *estimates, size_t stride, const uint8_t *next, bool far) {
    const size_t slice_bytes = RSR_SKETCH_LANES * RSR_SKETCH_SLICE / 2;
    const size_t group_bytes = shape->n_slices * slice_bytes;
    const uint32_t n_ahead = (uint32_t)((far ? FAR_AHEAD : AHEAD) / slice_bytes);
    for (uint32_t group = 0; group < RSR_SKETCH_VECTORS / RSR_SKETCH_LANES; group += n_groups) {
        const bool last = group + n_groups == RSR_SKETCH_VECTORS / RSR_SKETCH_LANES;
        const uint8_t *codes = block + shape->plane_at[0] + group * group_bytes;
        const uint8_t *behind = last ? (next == NULL ? block : next) + shape->plane_at[0]
                                     : codes + n_groups * group_bytes;
        const uint32_t first_bytes = last && next != NULL ? shape->plane_at[0] : 0;
        const struct rsr_sketch_slice *q[TOGETHER];
        __m512 sums[TOGETHER][MOST_GROUPS], estimated[TOGETHER][MOST_GROUPS];
        EACH(i, n) {
            q[i] = queries[i]->slices;
            EACH(g, n_groups)
            sums[i][g] = estimated[i][g] = _mm512_setzero_ps();
        }
        for (uint32_t s = 0; s < shape->n_slices; s++) {
            const uint32_t ahead = s + n_ahead;
            const uint8_t *fetched = ahead < shape->n_slices
                                         ? codes + ahead * slice_bytes
                                         : behind + (ahead - shape->n_slices) * slice_bytes;
            scan_slice(shape, block, q, n, group, n_groups, s, sums, estimated);
            EACH(i, n)
            q[i]++;
            EACH(g, n_groups)
            for (uint32_t w = 0; w < 4; w++)
                rsr_fetch_line(fetched + g * group_bytes + (size_t)w * 64, far);
            for (uint32_t at = s * 64; at < first_bytes; at += shape->n_slices * 64)
                rsr_fetch_line(next + at, far);
        }
        EACH(i, n)
        EACH(g, n_groups) {
            const size_t at = i * stride + (group + g) * RSR_SKETCH_LANES;
            _mm512_storeu_ps(t + at, sums[i][g]);
            if (estimates != NULL)
                _mm512_storeu_ps(estimates + at, estimated[i][g]);
        }
    }
}

/* One query scans a whole block at once: on Zen 4 this takes 0.93 of the time of two halves. */
INLINE void bounds_all(const struct rsr_sketch_shape *shape, const void *block,
                       const struct rsr_sketch_query *const *queries, uint32_t n, float *t,
                       float *estimates, size_t stride, const void *next, bool far) {
    for (uint32_t i = 0, some; i < n; i += some, next = NULL) {
        const size_t at = i * stride;
        float *to = estimates != NULL ? estimates + at : NULL;
        some = n - i >= TOGETHER ? TOGETHER : n - i;
        if (some == TOGETHER)
            bounds(shape, block, queries + i, TOGETHER, GROUPS, t + at, to, stride, next, far);
        else if (some == 3)
            bounds(shape, block, queries + i, 3, GROUPS, t + at, to, stride, next, far);
        else if (some == 2)
            bounds(shape, block, queries + i, 2, GROUPS, t + at, to, stride, next, far);
        else
            bounds(shape, block, queries + i, 1, far ? MOST_GROUPS : GROUPS, t + at, to, stride,
                   next, far);
    }
}

TARGET void rsr_sketch_bounds_avx512vnni(const struct rsr_sketch_shape *shape, const void *block,
                                         const struct rsr_sketch_query *const *queries, uint32_t n,
                                         float *t, float *estimates, size_t stride,
                                         const void *next) {
    bounds_all(shape, block, queries, n, t, estimates, stride, next, false);
}

TARGET void rsr_sketch_bounds_avx512vnni_far(const struct rsr_sketch_shape *shape,
                                             const void *block,
                                             const struct rsr_sketch_query *const *queries,
                                             uint32_t n, float *t, float *estimates, size_t stride,
                                             const void *next) {
    bounds_all(shape, block, queries, n, t, estimates, stride, next, true);
}

/* ---- Both planes, one vector ---- */

/* What the second plane adds to t of up to TOGETHER vectors, as lanes that must be summed, one lane
 * for each slice. Meanwhile later vectors are prefetched. */
INLINE void sharpen_parts(const struct rsr_sketch_query *query, struct rsr_sketch_teams teams,
                          const struct rsr_sketch_gain *const *gains, uint32_t n, __m512 *parts) {
    const __m512i ones = _mm512_set1_epi8(1);
    const struct rsr_sketch_gain *of[TOGETHER], *ahead[TOGETHER];
    EACH(i, n) {
        of[i] = gains[i];
        ahead[i] = gains[i + RSR_SKETCH_AHEAD] == NULL ? gains[i] : gains[i + RSR_SKETCH_AHEAD];
        parts[i] = _mm512_setzero_ps();
    }
    for (uint32_t team = teams.first; team < teams.end; team++) {
        const uint32_t first = team * RSR_SKETCH_TEAM;
        const int8_t *q = query->teams + (size_t)first * RSR_SKETCH_SLICE;
        __m512i dots[TOGETHER];
        EACH(i, n) {
            dots[i] = _mm512_setzero_si512();
            _mm_prefetch((const char *)ahead[i], _MM_HINT_T1);
            _mm_prefetch((const char *)ahead[i] + sizeof(*ahead[i]) - 1, _MM_HINT_T1);
        }
        EACH(w, 8) {
            const __m512i codes = _mm512_loadu_si512(q + (size_t)w * 4 * RSR_SKETCH_TEAM);
            EACH(i, n)
            dots[i] =
                _mm512_dpbusd_epi32(dots[i], ones, _mm512_maskz_mov_epi8(of[i]->signs[w], codes));
        }
        const __m512i all = _mm512_srai_epi32(_mm512_loadu_si512(query->sums + first), 3);
        const __m512 scale = _mm512_loadu_ps(query->scale[1] + first);
        const __m512 norm = _mm512_loadu_ps(query->norms + first);
        EACH(i, n) {
            const __m512i sum = _mm512_sub_epi32(_mm512_slli_epi32(dots[i], 1), all);
            const __m512 product =
                _mm512_mul_ps(_mm512_cvtepi32_ps(sum), decode_bytes(of[i]->scales));
            parts[i] = _mm512_add_ps(parts[i], _mm512_mul_ps(product, scale));
            parts[i] = _mm512_sub_ps(parts[i], _mm512_mul_ps(norm, decode_bytes(of[i]->gains)));
            of[i]++;
            ahead[i]++;
        }
    }
}

/* The sums of four vectors: adds the upper half to the lower half, and so on. */
INLINE __m128 halve_4_times(const __m512 *parts) {
    __m128 fours[TOGETHER];
    EACH(i, TOGETHER) {
        const __m256 low = _mm512_castps512_ps256(parts[i]);
        const __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(parts[i]), 1));
        const __m256 eight = _mm256_add_ps(low, high);
        fours[i] = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    }
    const __m128 a =
        _mm_add_ps(_mm_movelh_ps(fours[0], fours[1]), _mm_movehl_ps(fours[1], fours[0]));
    const __m128 b =
        _mm_add_ps(_mm_movelh_ps(fours[2], fours[3]), _mm_movehl_ps(fours[3], fours[2]));
    return _mm_add_ps(_mm_shuffle_ps(a, b, 0x88), _mm_shuffle_ps(a, b, 0xdd));
}

/* The operations of rsr_sketch_sharpen_by(). */
TARGET void rsr_sketch_sharpen_avx512vnni(const struct rsr_sketch_query *query,
                                          struct rsr_sketch_teams teams,
                                          const struct rsr_sketch_gain *const *gains, uint32_t n,
                                          float *t) {
    __m512 parts[TOGETHER];
    uint32_t i = 0;
    for (; i + TOGETHER <= n; i += TOGETHER) {
        sharpen_parts(query, teams, gains + i, TOGETHER, parts);
        _mm_storeu_ps(t + i, _mm_add_ps(_mm_loadu_ps(t + i), halve_4_times(parts)));
    }
    for (uint32_t j = 1; j < TOGETHER; j++)
        parts[j] = _mm512_setzero_ps();
    for (; i < n; i++) {
        sharpen_parts(query, teams, gains + i, 1, parts);
        t[i] = t[i] + _mm_cvtss_f32(halve_4_times(parts));
    }
}

/* Adds the 4 lanes of each quarter: every lane gets the sum. */
INLINE __m512i sum_quarters(__m512i x) {
    x = _mm512_add_epi32(x, _mm512_shuffle_epi32(x, _MM_PERM_BADC));
    return _mm512_add_epi32(x, _mm512_shuffle_epi32(x, _MM_PERM_CDAB));
}

/* A vector's words of a slice, from the first plane. */
INLINE __m128i load_words(const uint8_t *first) {
    const size_t next = RSR_SKETCH_LANES * sizeof(int32_t);
    return _mm_setr_epi32(load_word((const int8_t *)first), load_word((const int8_t *)first + next),
                          load_word((const int8_t *)first + 2 * next),
                          load_word((const int8_t *)first + 3 * next));
}

/* Loads the words of 4 slices, one in each quarter. With gathers, which are microcode on Zen 4,
 * refining took 20 ns instead of 15. */
INLINE __m512i load_slices(const uint8_t *first, __mmask16 valid) {
    const size_t next = 4 * RSR_SKETCH_LANES * sizeof(int32_t);
    __m512i words = _mm512_zextsi128_si512(load_words(first));
    if (valid > 0xf)
        words = _mm512_inserti32x4(words, load_words(first + next), 1);
    if (valid > 0xff)
        words = _mm512_inserti32x4(words, load_words(first + 2 * next), 2);
    if (valid > 0xfff)
        words = _mm512_inserti32x4(words, load_words(first + 3 * next), 3);
    return words;
}

/* The products of up to 4 slices of 8-bit codes; `valid` has 4 bits for each slice. In a slice, the
 * query's codes for low bits come before those for high bits; here all low ones are brought
 * together, and all high ones. */
INLINE __m128i dot_slices(const uint8_t *first, const uint8_t *second, const int8_t *q,
                          __mmask16 valid) {
    const __m512i pick_low =
        _mm512_set_epi32(27, 26, 25, 24, 19, 18, 17, 16, 11, 10, 9, 8, 3, 2, 1, 0);
    const __m512i pick_high = _mm512_add_epi32(pick_low, _mm512_set1_epi32(4));
    const __m512i mask = _mm512_set1_epi8(15), zero = _mm512_setzero_si512();
    const __m512i a = _mm512_maskz_loadu_epi32(valid > 0xf ? 0xffff : 0xff, q);
    const __m512i b = _mm512_maskz_loadu_epi32(valid > 0xfff  ? 0xffff
                                               : valid > 0xff ? 0xff
                                                              : 0,
                                               q + 2 * RSR_SKETCH_SLICE);
    const __m512i q_low = _mm512_permutex2var_epi32(a, pick_low, b);
    const __m512i q_high = _mm512_permutex2var_epi32(a, pick_high, b);
    const __m512i digits = load_slices(first, valid);
    const __m512i digits2 = _mm512_maskz_loadu_epi32(valid, second);
    __m512i sum = _mm512_dpbusd_epi32(zero, _mm512_and_si512(digits, mask), q_low);
    sum = _mm512_dpbusd_epi32(sum, _mm512_and_si512(_mm512_srli_epi16(digits, 4), mask), q_high);
    sum = _mm512_slli_epi32(sum, 4);
    sum = _mm512_dpbusd_epi32(sum, _mm512_and_si512(digits2, mask), q_low);
    sum = _mm512_dpbusd_epi32(sum, _mm512_and_si512(_mm512_srli_epi16(digits2, 4), mask), q_high);
    /* Lane 5 i is of quarter i. */
    return _mm512_castsi512_si128(_mm512_maskz_compress_epi32(0x8421, sum_quarters(sum)));
}

INLINE __m128 decode4(__m128i codes) {
    const __m128i large = _mm_slli_epi32(_mm_add_epi32(codes, _mm_set1_epi32((127 + 3) * 16)), 19);
    const __m128i small = _mm_cmplt_epi32(codes, _mm_set1_epi32(16));
    return _mm_blendv_ps(_mm_castsi128_ps(large), _mm_cvtepi32_ps(codes), _mm_castsi128_ps(small));
}

INLINE float lane_of(__m128 x, uint32_t lane) {
    float lanes[4];
    _mm_storeu_ps(lanes, x);
    return lanes[lane];
}

/* What 4 slices add to rsr_sketch_refined(), in its order. */
INLINE float add_slices(const struct rsr_sketch_shape *shape, const uint8_t *block,
                        const struct rsr_sketch_query *query, uint32_t vector, uint32_t slice,
                        __m128i dots, float t) {
    const uint8_t *scales = block + shape->scales_at + (size_t)slice * RSR_SKETCH_VECTORS + vector;
    const __m128i scale_codes =
        _mm_setr_epi32(scales[0], scales[RSR_SKETCH_VECTORS], scales[2 * RSR_SKETCH_VECTORS],
                       scales[3 * RSR_SKETCH_VECTORS]);
    int32_t residuals;
    memcpy(&residuals, block + shape->residual_at[1] + (size_t)vector * shape->n_slices + slice,
           sizeof(residuals));
    const __m128i sums = _mm_loadu_si128((const __m128i *)(const void *)(query->sums + slice));
    const __m128i centred = _mm_sub_epi32(dots, _mm_mullo_epi32(sums, _mm_set1_epi32(17)));
    const __m128 product = _mm_mul_ps(_mm_cvtepi32_ps(centred), decode4(scale_codes));
    const __m128 terms = _mm_mul_ps(product, _mm_loadu_ps(query->scale[1] + slice));
    const __m128 norms = _mm_mul_ps(_mm_loadu_ps(query->norms + slice),
                                    decode4(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(residuals))));
    EACH(i, 4) {
        t = t + lane_of(terms, i);
        t = t + lane_of(norms, i);
    }
    return t;
}

/* dot_slices() of slices s to s + 3 of a vector. */
INLINE __m128i dot_vector(const struct rsr_sketch_shape *shape, const uint8_t *block,
                          const struct rsr_sketch_query *query, uint32_t vector, uint32_t s,
                          __mmask16 valid) {
    const uint32_t group = vector / RSR_SKETCH_LANES, lane = vector % RSR_SKETCH_LANES;
    return dot_slices(block + shape->plane_at[0] +
                          4 * (rsr_sketch_lane_word(shape, group, s, 0) + lane),
                      block + shape->plane_at[1] + 4 * rsr_sketch_vector_word(shape, vector, s),
                      query->codes + (size_t)s * RSR_SKETCH_SLICE, valid);
}

/* For shapes whose number of slices is not a multiple of 4. */
TARGET static float refine_any(const struct rsr_sketch_shape *shape, const void *block,
                               const struct rsr_sketch_query *query, uint32_t vector) {
    int32_t dots[RSR_SKETCH_MAX_DIM / RSR_SKETCH_SLICE + 4];
    for (uint32_t s = 0; s < shape->n_slices; s += 4) {
        const uint32_t left = shape->n_slices - s;
        const __mmask16 valid = (__mmask16)(left >= 4 ? 0xffffu : (1u << 4 * left) - 1);
        _mm_storeu_si128((__m128i *)(void *)(dots + s),
                         dot_vector(shape, block, query, vector, s, valid));
    }
    return rsr_sketch_refined(shape, block, query, vector, dots);
}

INLINE void refine_fours(const struct rsr_sketch_shape *shape, const void *block,
                         const struct rsr_sketch_query *query, uint64_t vectors, float *t) {
    for (; vectors != 0; vectors &= vectors - 1) {
        const uint32_t vector = (uint32_t)__builtin_ctzll(vectors);
        float sum = 0.0f;
        for (uint32_t s = 0; s < shape->n_slices; s += 4)
            sum = add_slices(shape, block, query, vector, s,
                             dot_vector(shape, block, query, vector, s, 0xffff), sum);
        *t++ = sum;
    }
}

TARGET void rsr_sketch_refine_avx512vnni(const struct rsr_sketch_shape *shape, const void *block,
                                         const struct rsr_sketch_query *query, uint64_t vectors,
                                         float *t) {
    struct rsr_sketch_shape usual = *shape;
    usual.n_slices = 4; /* a constant, so that the compiler keeps everything in registers */
    if (shape->n_slices == 4)
        refine_fours(&usual, block, query, vectors, t);
    else if (shape->n_slices % 4 == 0)
        refine_fours(shape, block, query, vectors, t);
    else
        rsr_sketch_refine_by(refine_any, shape, block, query, vectors, t);
}

/* ---- Both planes, all vectors ---- */

/* The second plane's words of a slice, of 16 vectors: word w of vector j is in lane j of words[w].
 * A quarter of rows[k] is a vector's slice, vectors k, 4 + k, 8 + k and 12 + k; unpacking
 * transposes each quarter. */
INLINE void load_lanes(const struct rsr_sketch_shape *shape, const uint8_t *block, uint32_t group,
                       uint32_t slice, __m512i *words) {
    const uint8_t *first = block + shape->plane_at[1] +
                           4 * rsr_sketch_vector_word(shape, group * RSR_SKETCH_LANES, slice);
    const size_t next = (size_t)shape->n_slices * (RSR_SKETCH_SLICE / 2);
    __m512i rows[4], pairs[4];
    EACH(k, 4) {
        const uint8_t *row = first + k * next;
        rows[k] = _mm512_zextsi128_si512(_mm_loadu_si128((const __m128i *)(const void *)row));
        rows[k] = _mm512_inserti32x4(
            rows[k], _mm_loadu_si128((const __m128i *)(const void *)(row + 4 * next)), 1);
        rows[k] = _mm512_inserti32x4(
            rows[k], _mm_loadu_si128((const __m128i *)(const void *)(row + 8 * next)), 2);
        rows[k] = _mm512_inserti32x4(
            rows[k], _mm_loadu_si128((const __m128i *)(const void *)(row + 12 * next)), 3);
    }
    pairs[0] = _mm512_unpacklo_epi32(rows[0], rows[1]);
    pairs[1] = _mm512_unpacklo_epi32(rows[2], rows[3]);
    pairs[2] = _mm512_unpackhi_epi32(rows[0], rows[1]);
    pairs[3] = _mm512_unpackhi_epi32(rows[2], rows[3]);
    words[0] = _mm512_unpacklo_epi64(pairs[0], pairs[1]);
    words[1] = _mm512_unpackhi_epi64(pairs[0], pairs[1]);
    words[2] = _mm512_unpacklo_epi64(pairs[2], pairs[3]);
    words[3] = _mm512_unpackhi_epi64(pairs[2], pairs[3]);
}

/* The second plane's residuals of a slice, of 16 vectors. */
INLINE __m512 load_residuals(const struct rsr_sketch_shape *shape, const uint8_t *block,
                             uint32_t group, uint32_t slice) {
    const uint8_t *first =
        block + shape->residual_at[1] + (size_t)group * RSR_SKETCH_LANES * shape->n_slices + slice;
    if (shape->n_slices == 4) {
        const __m512i all = _mm512_loadu_si512(first - slice);
        return decode16(_mm512_and_si512(_mm512_srlv_epi32(all, _mm512_set1_epi32(8 * (int)slice)),
                                         _mm512_set1_epi32(255)));
    }
    uint8_t codes[RSR_SKETCH_LANES];
    for (uint32_t j = 0; j < RSR_SKETCH_LANES; j++)
        codes[j] = first[(size_t)j * shape->n_slices];
    return decode_bytes(codes);
}

/* rsr_sketch_refined() of 16 vectors for up to TOGETHER queries, which share the unpacked bytes. */
INLINE void refine_group(const struct rsr_sketch_shape *shape, const uint8_t *block,
                         const struct rsr_sketch_query *const *queries, uint32_t n, uint32_t group,
                         float *t, size_t stride) {
    const __m512i mask = _mm512_set1_epi8(15);
    __m512 sums[TOGETHER];
    EACH(i, n)
    sums[i] = _mm512_setzero_ps();
    for (uint32_t s = 0; s < shape->n_slices; s++) {
        const uint8_t *first =
            block + shape->plane_at[0] + 4 * rsr_sketch_lane_word(shape, group, s, 0);
        __m512i second[4], high_dots[TOGETHER], dots[TOGETHER];
        load_lanes(shape, block, group, s, second);
        EACH(i, n)
        high_dots[i] = dots[i] = _mm512_setzero_si512();
        EACH(w, 4) {
            const __m512i bytes = _mm512_loadu_si512(first + (size_t)w * 64);
            const __m512i low = _mm512_and_si512(bytes, mask);
            const __m512i high = _mm512_and_si512(_mm512_srli_epi16(bytes, 4), mask);
            const __m512i low2 = _mm512_and_si512(second[w], mask);
            const __m512i high2 = _mm512_and_si512(_mm512_srli_epi16(second[w], 4), mask);
            EACH(i, n) {
                const int8_t *q = queries[i]->codes + (size_t)s * RSR_SKETCH_SLICE + 4 * w;
                const __m512i q_low = _mm512_set1_epi32(load_word(q));
                const __m512i q_high = _mm512_set1_epi32(load_word(q + 16));
                high_dots[i] = _mm512_dpbusd_epi32(high_dots[i], low, q_low);
                high_dots[i] = _mm512_dpbusd_epi32(high_dots[i], high, q_high);
                dots[i] = _mm512_dpbusd_epi32(dots[i], low2, q_low);
                dots[i] = _mm512_dpbusd_epi32(dots[i], high2, q_high);
            }
        }
        const __m512 scales =
            decode_bytes(block + shape->scales_at + (size_t)s * RSR_SKETCH_VECTORS +
                         (size_t)group * RSR_SKETCH_LANES);
        const __m512 residuals = load_residuals(shape, block, group, s);
        EACH(i, n) {
            const __m512i both = _mm512_add_epi32(_mm512_slli_epi32(high_dots[i], 4), dots[i]);
            const __m512i centred =
                _mm512_sub_epi32(both, _mm512_set1_epi32(17 * queries[i]->sums[s]));
            const __m512 product = _mm512_mul_ps(_mm512_cvtepi32_ps(centred), scales);
            sums[i] = _mm512_add_ps(
                sums[i], _mm512_mul_ps(product, _mm512_set1_ps(queries[i]->scale[1][s])));
            sums[i] = _mm512_add_ps(sums[i],
                                    _mm512_mul_ps(_mm512_set1_ps(queries[i]->norms[s]), residuals));
        }
    }
    EACH(i, n)
    _mm512_storeu_ps(t + i * stride + group * RSR_SKETCH_LANES, sums[i]);
}

TARGET void rsr_sketch_refine_all_avx512vnni(const struct rsr_sketch_shape *shape,
                                             const void *block,
                                             const struct rsr_sketch_query *const *queries,
                                             uint32_t n, float *t, size_t stride) {
    struct rsr_sketch_shape usual = *shape;
    usual.n_slices = 4; /* a constant, as above */
    for (uint32_t i = 0, some; i < n; i += some) {
        some = n - i >= TOGETHER ? TOGETHER : n - i >= 2 ? 2 : 1;
        for (uint32_t group = 0; group < RSR_SKETCH_VECTORS / RSR_SKETCH_LANES; group++) {
            if (some == TOGETHER && shape->n_slices == 4)
                refine_group(&usual, block, queries + i, TOGETHER, group, t + i * stride, stride);
            else if (some == TOGETHER)
                refine_group(shape, block, queries + i, TOGETHER, group, t + i * stride, stride);
            else if (some == 2)
                refine_group(shape, block, queries + i, 2, group, t + i * stride, stride);
            else
                refine_group(shape, block, queries + i, 1, group, t + i * stride, stride);
        }
    }
}

/* ---- Frames: a query in each lane ---- */

INLINE __m128i add_lanes_of4(const __m512i *x) {
    __m128i fours[TOGETHER];
    EACH(i, TOGETHER) {
        const __m256i eights =
            _mm256_add_epi32(_mm512_castsi512_si256(x[i]), _mm512_extracti64x4_epi64(x[i], 1));
        fours[i] =
            _mm_add_epi32(_mm256_castsi256_si128(eights), _mm256_extracti128_si256(eights, 1));
    }
    return _mm_hadd_epi32(_mm_hadd_epi32(fours[0], fours[1]), _mm_hadd_epi32(fours[2], fours[3]));
}

#define OF_QUERIES(field)                                                                          \
    _mm256_setr_pd(queries[0]->field, queries[1]->field, queries[2]->field, queries[3]->field)

INLINE __m256d dot_centres(const struct rsr_sketch_shape *shape, const uint8_t *block,
                           const struct rsr_sketch_query *const *queries) {
    const uint32_t n = shape->n_slices * RSR_SKETCH_SLICE;
    const struct rsr_sketch_centre centre = rsr_sketch_centre_of(shape, block);
    __m256d all = _mm256_setzero_pd();
    for (uint32_t begin = 0; begin < n; begin += RSR_SKETCH_EXACT_DIM) {
        const uint32_t end = n - begin < RSR_SKETCH_EXACT_DIM ? n : begin + RSR_SKETCH_EXACT_DIM;
        __m512i sums[TOGETHER];
        EACH(i, TOGETHER)
        sums[i] = _mm512_setzero_si512();
        for (uint32_t d = begin; d < end; d += 32) {
            const __m512i mu = _mm512_cvtepi8_epi16(
                _mm256_loadu_si256((const __m256i *)(const void *)(centre.codes + d)));
            EACH(i, TOGETHER)
            sums[i] = _mm512_dpwssd_epi32(sums[i], mu, _mm512_loadu_si512(queries[i]->fine + d));
        }
        all = _mm256_add_pd(all, _mm256_cvtepi32_pd(add_lanes_of4(sums)));
    }
    const __m256d unit = _mm256_set1_pd((double)centre.unit);
    return _mm256_mul_pd(all, _mm256_mul_pd(unit, OF_QUERIES(fine_unit)));
}

INLINE __m256d dot_boxes(const struct rsr_sketch_shape *shape, const uint8_t *block,
                         const struct rsr_sketch_query *const *queries) {
    const uint32_t n = shape->n_slices * RSR_SKETCH_SLICE;
    __m512i sums[TOGETHER];
    EACH(i, TOGETHER)
    sums[i] = _mm512_setzero_si512();
    for (uint32_t d = 0; d < n; d += 64) {
        const __mmask64 valid = n - d >= 64 ? ~UINT64_C(0) : ~UINT64_C(0) >> 32;
        const __m512i box = _mm512_maskz_loadu_epi8(valid, block + shape->box_at + d);
        EACH(i, TOGETHER)
        sums[i] =
            _mm512_dpbusd_epi32(sums[i], box, _mm512_maskz_loadu_epi8(valid, queries[i]->box + d));
    }
    return _mm256_cvtepi32_pd(add_lanes_of4(sums));
}

/* 2^(exponent of the block + E) */
INLINE __m256d units_of(const struct rsr_sketch_header *header,
                        const struct rsr_sketch_query *const *queries) {
    const __m128i exponents = _mm_setr_epi32(queries[0]->exponent, queries[1]->exponent,
                                             queries[2]->exponent, queries[3]->exponent);
    const __m128i biased = _mm_add_epi32(exponents, _mm_set1_epi32(header->unit_exponent + 1023));
    return _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_cvtepi32_epi64(biased), 52));
}

INLINE __m256d sum_up(__m256d x) {
    return _mm256_mul_pd(x, _mm256_set1_pd(1.0 + 0x1p-36));
}

INLINE __m256d step_up(__m256d x) {
    const __m256d size = _mm256_andnot_pd(_mm256_set1_pd(-0.0), x);
    const __m256d step = _mm256_mul_pd(size, _mm256_set1_pd(0x1p-52));
    return _mm256_add_pd(x, _mm256_max_pd(step, _mm256_set1_pd(0x1p-1022)));
}

INLINE void store_frames(__m256d bounds, __m256d offsets, __m256d offsets2, __m256d units,
                         struct rsr_sketch_frame *frames) {
    const __m256d a = _mm256_unpacklo_pd(bounds, offsets), b = _mm256_unpackhi_pd(bounds, offsets);
    const __m256d c = _mm256_unpacklo_pd(offsets2, units), d = _mm256_unpackhi_pd(offsets2, units);
    _Static_assert(sizeof(struct rsr_sketch_frame) == 32, "bound, two offsets, unit");
    _mm256_storeu_pd(&frames[0].bound, _mm256_permute2f128_pd(a, c, 0x20));
    _mm256_storeu_pd(&frames[1].bound, _mm256_permute2f128_pd(b, d, 0x20));
    _mm256_storeu_pd(&frames[2].bound, _mm256_permute2f128_pd(a, c, 0x31));
    _mm256_storeu_pd(&frames[3].bound, _mm256_permute2f128_pd(b, d, 0x31));
}

/* The smaller bound of x . q: by the ball, or for an own shape by the box. */
INLINE __m256d ball_or_box(const struct rsr_sketch_shape *shape, const uint8_t *block,
                           const struct rsr_sketch_query *const *queries) {
    const struct rsr_sketch_header *header = rsr_sketch_header_of(block);
    const __m256d ball = sum_up(_mm256_mul_pd(OF_QUERIES(norm), _mm256_set1_pd(header->radius)));
    if (rsr_sketch_is_flat(shape))
        return ball;
    const __m256d box_unit =
        _mm256_mul_pd(_mm256_set1_pd((double)header->box_unit), OF_QUERIES(box_unit));
    return _mm256_min_pd(sum_up(_mm256_mul_pd(dot_boxes(shape, block, queries), box_unit)), ball);
}

/* rsr_sketch_frame_from(), operation by operation. */
INLINE void frames_of4(const struct rsr_sketch_shape *shape, const uint8_t *block,
                       const struct rsr_sketch_query *const *queries,
                       struct rsr_sketch_frame *frames) {
    const struct rsr_sketch_header *header = rsr_sketch_header_of(block);
    const float *norms = (const float *)(const void *)(block + shape->norms_at);
    const __m256d units = units_of(header, queries);
    const __m256d centres =
        rsr_sketch_is_flat(shape) ? OF_QUERIES(centre) : dot_centres(shape, block, queries);
    const __m256d centre_error =
        sum_up(_mm256_mul_pd(OF_QUERIES(centre_error), _mm256_set1_pd(header->centre_norm)));
    const __m256d least = ball_or_box(shape, block, queries);
    const __m256d residual_slack = OF_QUERIES(residual_slack);
    __m256d slack = _mm256_setzero_pd(), offsets[RSR_SKETCH_MAX_PLANES] = {slack, slack};
    for (uint32_t s = 0; s < shape->n_slices; s++)
        slack = _mm256_add_pd(
            slack, _mm256_mul_pd(_mm256_set1_pd((double)norms[s]), OF_QUERIES(slack[s])));
    for (uint32_t p = 0; p < shape->n_planes; p++) {
        const double residual = (double)rsr_sketch_decode(header->largest_residual[p]);
        const __m256d rest = _mm256_mul_pd(_mm256_set1_pd(residual), residual_slack);
        const __m256d all = _mm256_mul_pd(units, _mm256_add_pd(slack, rest));
        offsets[p] = step_up(_mm256_add_pd(centres, sum_up(_mm256_add_pd(centre_error, all))));
    }
    const __m256d bounds =
        step_up(_mm256_add_pd(centres, sum_up(_mm256_add_pd(centre_error, least))));
    store_frames(bounds, offsets[0], offsets[1], units, frames);
}

TARGET void rsr_sketch_frames_avx512(const struct rsr_sketch_shape *shape, const void *block,
                                     const struct rsr_sketch_query *const *queries, uint32_t n,
                                     struct rsr_sketch_frame *frames) {
    uint32_t i = 0;
    for (; i + TOGETHER <= n; i += TOGETHER)
        frames_of4(shape, block, queries + i, frames + i);
    rsr_sketch_frames_each(shape, block, queries + i, n - i, frames + i);
}

#endif
