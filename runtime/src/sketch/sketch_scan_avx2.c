/* sketch_scan_avx2.c - the kernels with AVX2: integers are exact and every lane does what the
 * portable kernel does, so the bits are the same. Functions carry their target as an attribute: the
 * file compiles with the flags of its library. */
#include "sketch_scan.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

static int32_t load_word(const void *bytes) {
    int32_t word;
    memcpy(&word, bytes, sizeof(word));
    return word;
}

#define TARGET __attribute__((target("avx2")))
#define INLINE TARGET static inline __attribute__((always_inline))

/* A loop whose length is a constant, over an array that is to stay in registers. GCC keeps such
 * arrays in memory unless it must unroll the loop. */
#if defined(__clang__)
#define EACH(i, n) for (uint32_t i = 0; i < (n); i++)
#else
#define EACH(i, n) _Pragma("GCC unroll 4") for (uint32_t i = 0; i < (n); i++)
#endif

/* From 16 on a code is the top of a float's bits. */
TARGET static inline __m256 decode_lanes(__m256i code) {
    const __m256i large =
        _mm256_slli_epi32(_mm256_add_epi32(code, _mm256_set1_epi32((127 + 3) * 16)), 19);
    const __m256i small = _mm256_cmpgt_epi32(_mm256_set1_epi32(16), code);
    return _mm256_blendv_ps(_mm256_castsi256_ps(large), _mm256_cvtepi32_ps(code),
                            _mm256_castsi256_ps(small));
}

/* Decoded codes divided by RSR_SKETCH_HALF, as the scales and norms of struct rsr_sketch_slice want
 * them. */
INLINE __m256 decode_halves(const uint8_t *codes) {
    const __m256i code =
        _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)codes));
    const __m256i large =
        _mm256_slli_epi32(_mm256_add_epi32(code, _mm256_set1_epi32((127 + 3 - 18) * 16)), 19);
    const __m256i small = _mm256_cmpgt_epi32(_mm256_set1_epi32(16), code);
    const __m256 denormal =
        _mm256_mul_ps(_mm256_cvtepi32_ps(code), _mm256_set1_ps(1.0f / RSR_SKETCH_HALF));
    return _mm256_blendv_ps(_mm256_castsi256_ps(large), denormal, _mm256_castsi256_ps(small));
}

TARGET static inline __m256 decode8(const uint8_t *codes) {
    return decode_lanes(
        _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)codes)));
}

/* A pair of products is at most 2 * 15 * 127, and eight of those below 2^15: int16 does not
 * overflow. */
TARGET static __m256i dot_slice256(const uint8_t *codes, const int8_t *q) {
    const __m256i mask = _mm256_set1_epi8(15);
    __m256i pairs = _mm256_setzero_si256();
    for (uint32_t w = 0; w < 4; w++) {
        const __m256i bytes =
            _mm256_loadu_si256((const __m256i *)(const void *)(codes + (size_t)w * 64));
        const __m256i upper = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), mask);
        const __m256i low = _mm256_maddubs_epi16(_mm256_and_si256(bytes, mask),
                                                 _mm256_set1_epi32(load_word(q + 4 * w)));
        const __m256i high =
            _mm256_maddubs_epi16(upper, _mm256_set1_epi32(load_word(q + 16 + 4 * w)));
        pairs = _mm256_add_epi16(pairs, _mm256_add_epi16(low, high));
    }
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

TARGET void rsr_sketch_scan_avx2(const struct rsr_sketch_shape *shape, const void *memory,
                                 const struct rsr_sketch_query *query, uint32_t group, float *t) {
    const uint8_t *block = memory;
    __m256 sums[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (uint32_t s = 0; s < shape->n_slices; s++) {
        const size_t lanes_at = (size_t)s * RSR_SKETCH_VECTORS + group * RSR_SKETCH_LANES;
        const uint8_t *codes =
            block + shape->plane_at[0] + 4 * rsr_sketch_lane_word(shape, group, s, 0);
        const __m256 scale = _mm256_set1_ps(query->scale[0][s]);
        const __m256 norm = _mm256_set1_ps(query->norms[s]);
        for (uint32_t half = 0; half < 2; half++) {
            const size_t at = lanes_at + (size_t)8 * half;
            __m256i dots =
                dot_slice256(codes + 32 * half, query->codes + (size_t)s * RSR_SKETCH_SLICE);
            dots = _mm256_sub_epi32(dots, _mm256_set1_epi32(query->sums[s]));
            const __m256 product =
                _mm256_mul_ps(_mm256_cvtepi32_ps(dots), decode8(block + shape->scales_at + at));
            const __m256 residual = decode8(block + shape->residual_at[0] + at);
            const __m256 term = _mm256_mul_ps(product, scale);
            sums[half] = _mm256_add_ps(sums[half], term);
            sums[half] = _mm256_add_ps(sums[half], _mm256_mul_ps(norm, residual));
        }
    }
    for (uint32_t half = 0; half < 2; half++)
        _mm256_storeu_ps(t + 8 * half, sums[half]);
}

void rsr_sketch_sieve_avx2(const struct rsr_sketch_shape *shape, const void *block,
                           const struct rsr_sketch_query *const *queries, uint32_t n,
                           const float *floors, uint64_t *vectors, const void *next) {
    (void)next;
    rsr_sketch_sieve_by(rsr_sketch_scan_avx2, shape, block, queries, n, floors, vectors);
}

/* A scan of consecutive blocks prefetches this many bytes ahead in each group. 2004 blocks of
 * dimension 2560 from memory, one thread on Cascade Lake: 32 ms if it prefetches the whole next
 * block, 25 ms if nothing, 23 ms if 2 KiB. */
#define AHEAD 2048u

#define TOGETHER 4u /* queries that share the unpacked bytes of a block */

/* Adds a word's products to those of a slice. Pairs fit int16, as in dot_slice256(). */
INLINE __m256i add_word(__m256i pairs, __m256i low, __m256i high, const int8_t *q) {
    const __m256i q_low = _mm256_set1_epi32(load_word(q));
    const __m256i q_high = _mm256_set1_epi32(load_word(q + 16));
    return _mm256_add_epi16(pairs, _mm256_add_epi16(_mm256_maddubs_epi16(low, q_low),
                                                    _mm256_maddubs_epi16(high, q_high)));
}

/* Adds a slice's terms of 8 vectors to t and estimates of n queries, which stay in registers. */
INLINE void add_bounds(const struct rsr_sketch_slice *const *q, uint32_t n, const uint8_t *codes,
                       __m256 scales, __m256 residuals, __m256 *t, __m256 *estimates) {
    const __m256i mask = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
    __m256i pairs[TOGETHER];
    EACH(i, n)
    pairs[i] = _mm256_setzero_si256();
    EACH(w, 4) {
        const __m256i bytes =
            _mm256_loadu_si256((const __m256i *)(const void *)(codes + (size_t)w * 64));
        const __m256i low = _mm256_and_si256(bytes, mask);
        const __m256i high = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), mask);
        EACH(i, n)
        pairs[i] = add_word(pairs[i], low, high, q[i]->codes + 4 * w);
    }
    EACH(i, n) {
        const __m256i dots =
            _mm256_add_epi32(_mm256_madd_epi16(pairs[i], ones), _mm256_set1_epi32(q[i]->centre));
        const __m256 product = _mm256_mul_ps(_mm256_cvtepi32_ps(dots), scales);
        const __m256 term = _mm256_mul_ps(product, _mm256_set1_ps(q[i]->scale));
        if (estimates != NULL)
            estimates[i] = _mm256_add_ps(estimates[i], term);
        t[i] = _mm256_add_ps(_mm256_add_ps(t[i], term),
                             _mm256_mul_ps(_mm256_set1_ps(q[i]->norm), residuals));
    }
}

INLINE void bounds(const struct rsr_sketch_shape *shape, const uint8_t *block,
                   const struct rsr_sketch_query *const *queries, uint32_t n, float *t,
                   float *estimates, size_t stride) {
    for (uint32_t vector = 0; vector < RSR_SKETCH_VECTORS; vector += 8) {
        const uint32_t group = vector / RSR_SKETCH_LANES, lane = vector % RSR_SKETCH_LANES;
        const uint8_t *scales = block + shape->scales_at + vector;
        const uint8_t *residuals = block + shape->residual_at[0] + vector;
        const uint8_t *codes =
            block + shape->plane_at[0] + 4 * (rsr_sketch_lane_word(shape, group, 0, 0) + lane);
        const struct rsr_sketch_slice *q[TOGETHER];
        __m256 sums[TOGETHER], estimated[TOGETHER];
        EACH(i, n) {
            q[i] = queries[i]->slices;
            sums[i] = estimated[i] = _mm256_setzero_ps();
        }
        for (uint32_t s = 0; s < shape->n_slices; s++) {
            EACH(w, 4) {
                if (lane == 0)
                    __builtin_prefetch(codes + AHEAD + (size_t)w * 64, 0, 3);
            }
            add_bounds(q, n, codes, decode_halves(scales), decode_halves(residuals), sums,
                       estimates != NULL ? estimated : NULL);
            scales += RSR_SKETCH_VECTORS;
            residuals += RSR_SKETCH_VECTORS;
            codes += (size_t)4 * 4 * RSR_SKETCH_LANES;
            EACH(i, n)
            q[i]++;
        }
        EACH(i, n) {
            _mm256_storeu_ps(t + i * stride + vector, sums[i]);
            if (estimates != NULL)
                _mm256_storeu_ps(estimates + i * stride + vector, estimated[i]);
        }
    }
}

INLINE void bounds_some(const struct rsr_sketch_shape *shape, const uint8_t *block,
                        const struct rsr_sketch_query *const *queries, uint32_t n, float *t,
                        float *estimates, size_t stride) {
    if (n == TOGETHER)
        bounds(shape, block, queries, TOGETHER, t, estimates, stride);
    else if (n == 3)
        bounds(shape, block, queries, 3, t, estimates, stride);
    else if (n == 2)
        bounds(shape, block, queries, 2, t, estimates, stride);
    else
        bounds(shape, block, queries, 1, t, estimates, stride);
}

TARGET void rsr_sketch_bounds_avx2(const struct rsr_sketch_shape *shape, const void *block,
                                   const struct rsr_sketch_query *const *queries, uint32_t n,
                                   float *t, float *estimates, size_t stride, const void *next) {
    (void)next;
    for (uint32_t i = 0, some; i < n; i += some) {
        const size_t at = i * stride;
        some = n - i >= TOGETHER ? TOGETHER : n - i;
        if (estimates == NULL) /* a constant, so that no register has them */
            bounds_some(shape, block, queries + i, some, t + at, NULL, stride);
        else
            bounds_some(shape, block, queries + i, some, t + at, estimates + at, stride);
    }
}

/* 32 bits to bytes, all ones or zero: every byte looks at its own bit of its own byte. */
TARGET static __m256i spread_bits(int32_t bits) {
    const __m256i bytes = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2,
                                           2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i own = _mm256_set1_epi64x((int64_t)0x8040201008040201);
    const __m256i copies = _mm256_shuffle_epi8(_mm256_set1_epi32(bits), bytes);
    return _mm256_cmpeq_epi8(_mm256_and_si256(copies, own), own);
}

TARGET static void team_dots_avx2(const uint64_t *signs, const int8_t *q, int32_t *dots) {
    const __m256i ones = _mm256_set1_epi8(1);
    __m256i pairs[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    for (uint32_t w = 0; w < 8; w++) {
        for (uint32_t half = 0; half < 2; half++) {
            const __m256i codes = _mm256_loadu_si256(
                (const __m256i *)(const void *)(q + (size_t)(2 * w + half) * 32));
            const __m256i mask = spread_bits((int32_t)(signs[w] >> 32 * half));
            pairs[half] = _mm256_add_epi16(
                pairs[half], _mm256_maddubs_epi16(ones, _mm256_and_si256(codes, mask)));
        }
    }
    for (uint32_t half = 0; half < 2; half++)
        _mm256_storeu_si256((__m256i *)(void *)(dots + 8 * half),
                            _mm256_madd_epi16(pairs[half], _mm256_set1_epi16(1)));
}

void rsr_sketch_sharpen_avx2(const struct rsr_sketch_query *query, struct rsr_sketch_teams teams,
                             const struct rsr_sketch_gain *const *gains, uint32_t n, float *t) {
    rsr_sketch_sharpen_by(team_dots_avx2, query, teams, gains, n, t);
}

/* The products of 32 digits, each plus 8, with the query's codes, in 8 lanes. */
TARGET static __m256i dot_digits(__m128i bytes, __m256i q) {
    const __m256i both =
        _mm256_inserti128_si256(_mm256_castsi128_si256(bytes), _mm_srli_epi16(bytes, 4), 1);
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_and_si256(both, _mm256_set1_epi8(15)), q);
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

TARGET static int32_t sum_lanes(__m256i x) {
    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1)));
}

TARGET static float refine_one(const struct rsr_sketch_shape *shape, const void *memory,
                               const struct rsr_sketch_query *query, uint32_t vector) {
    const uint8_t *block = memory;
    const uint32_t group = vector / RSR_SKETCH_LANES, lane = vector % RSR_SKETCH_LANES;
    int32_t dots[RSR_SKETCH_MAX_DIM / RSR_SKETCH_SLICE];
    for (uint32_t s = 0; s < shape->n_slices; s++) {
        const uint8_t *first =
            block + shape->plane_at[0] + 4 * (rsr_sketch_lane_word(shape, group, s, 0) + lane);
        const uint8_t *second =
            block + shape->plane_at[1] + 4 * rsr_sketch_vector_word(shape, vector, s);
        const __m256i q = _mm256_loadu_si256(
            (const __m256i *)(const void *)(query->codes + (size_t)s * RSR_SKETCH_SLICE));
        const __m128i high = _mm_setr_epi32(load_word(first), load_word(first + 64),
                                            load_word(first + 128), load_word(first + 192));
        const __m128i low = _mm_loadu_si128((const __m128i *)(const void *)second);
        dots[s] = sum_lanes(
            _mm256_add_epi32(_mm256_slli_epi32(dot_digits(high, q), 4), dot_digits(low, q)));
    }
    return rsr_sketch_refined(shape, block, query, vector, dots);
}

void rsr_sketch_refine_avx2(const struct rsr_sketch_shape *shape, const void *block,
                            const struct rsr_sketch_query *query, uint64_t vectors, float *t) {
    rsr_sketch_refine_by(refine_one, shape, block, query, vectors, t);
}

/* ---- Both planes, all vectors ---- */

/* The second plane's words of a slice, of 8 vectors from `vector` on: word w of vector j is in lane
 * j of words[w]. A half of rows[k] is a vector's slice, vectors k and 4 + k; unpacking transposes
 * each half. */
INLINE void load_lanes(const struct rsr_sketch_shape *shape, const uint8_t *block, uint32_t vector,
                       uint32_t slice, __m256i *words) {
    const uint8_t *row =
        block + shape->plane_at[1] + 4 * rsr_sketch_vector_word(shape, vector, slice);
    const size_t next = (size_t)shape->n_slices * (RSR_SKETCH_SLICE / 2);
    __m256i rows[4];
    EACH(k, 4)
    rows[k] = _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)(row + k * next))),
        _mm_loadu_si128((const __m128i *)(const void *)(row + (k + 4) * next)), 1);
    const __m256i a = _mm256_unpacklo_epi32(rows[0], rows[1]);
    const __m256i b = _mm256_unpacklo_epi32(rows[2], rows[3]);
    const __m256i c = _mm256_unpackhi_epi32(rows[0], rows[1]);
    const __m256i d = _mm256_unpackhi_epi32(rows[2], rows[3]);
    words[0] = _mm256_unpacklo_epi64(a, b);
    words[1] = _mm256_unpackhi_epi64(a, b);
    words[2] = _mm256_unpacklo_epi64(c, d);
    words[3] = _mm256_unpackhi_epi64(c, d);
}

/* The second plane's residuals of a slice, of 8 vectors. */
INLINE __m256 load_residuals(const struct rsr_sketch_shape *shape, const uint8_t *block,
                             uint32_t vector, uint32_t slice) {
    const uint8_t *first = block + shape->residual_at[1] + (size_t)vector * shape->n_slices;
    if (shape->n_slices == 4) {
        const __m256i all = _mm256_loadu_si256((const __m256i *)(const void *)first);
        const __m256i codes = _mm256_srlv_epi32(all, _mm256_set1_epi32(8 * (int32_t)slice));
        return decode_lanes(_mm256_and_si256(codes, _mm256_set1_epi32(255)));
    }
    uint8_t codes[8];
    for (uint32_t j = 0; j < 8; j++)
        codes[j] = first[(size_t)j * shape->n_slices + slice];
    return decode8(codes);
}

/* The products of a slice's 8-bit codes of 8 vectors with the codes of n queries, plus 8 times 17
 * for each code. */
INLINE void dot_planes(const struct rsr_sketch_shape *shape, const uint8_t *block,
                       const struct rsr_sketch_slice *const *q, uint32_t n, uint32_t vector,
                       uint32_t slice, __m256i *dots) {
    const __m256i mask = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
    const uint32_t group = vector / RSR_SKETCH_LANES, lane = vector % RSR_SKETCH_LANES;
    const uint8_t *first =
        block + shape->plane_at[0] + 4 * (rsr_sketch_lane_word(shape, group, slice, 0) + lane);
    __m256i second[4], pairs[TOGETHER], pairs2[TOGETHER];
    load_lanes(shape, block, vector, slice, second);
    EACH(i, n)
    pairs[i] = pairs2[i] = _mm256_setzero_si256();
    EACH(w, 4) {
        const __m256i bytes =
            _mm256_loadu_si256((const __m256i *)(const void *)(first + (size_t)w * 64));
        const __m256i low = _mm256_and_si256(bytes, mask);
        const __m256i high = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), mask);
        const __m256i low2 = _mm256_and_si256(second[w], mask);
        const __m256i high2 = _mm256_and_si256(_mm256_srli_epi16(second[w], 4), mask);
        EACH(i, n) {
            pairs[i] = add_word(pairs[i], low, high, q[i]->codes + 4 * w);
            pairs2[i] = add_word(pairs2[i], low2, high2, q[i]->codes + 4 * w);
        }
    }
    EACH(i, n)
    dots[i] = _mm256_add_epi32(_mm256_slli_epi32(_mm256_madd_epi16(pairs[i], ones), 4),
                               _mm256_madd_epi16(pairs2[i], ones));
}

/* rsr_sketch_refined() of all vectors for n queries, which share the digits. */
INLINE void refine_some(const struct rsr_sketch_shape *shape, const uint8_t *block,
                        const struct rsr_sketch_query *const *queries, uint32_t n, float *t,
                        size_t stride) {
    for (uint32_t vector = 0; vector < RSR_SKETCH_VECTORS; vector += 8) {
        const struct rsr_sketch_slice *q[TOGETHER];
        __m256 sums[TOGETHER];
        EACH(i, n) {
            q[i] = queries[i]->slices;
            sums[i] = _mm256_setzero_ps();
        }
        for (uint32_t s = 0; s < shape->n_slices; s++) {
            __m256i dots[TOGETHER];
            dot_planes(shape, block, q, n, vector, s, dots);
            const __m256 residuals = load_residuals(shape, block, vector, s);
            const __m256 scales =
                decode8(block + shape->scales_at + (size_t)s * RSR_SKETCH_VECTORS + vector);
            EACH(i, n) {
                const __m256i centred =
                    _mm256_add_epi32(dots[i], _mm256_set1_epi32(17 * q[i]->centre));
                const __m256 product = _mm256_mul_ps(_mm256_cvtepi32_ps(centred), scales);
                sums[i] = _mm256_add_ps(
                    sums[i], _mm256_mul_ps(product, _mm256_set1_ps(queries[i]->scale[1][s])));
                sums[i] = _mm256_add_ps(
                    sums[i], _mm256_mul_ps(_mm256_set1_ps(queries[i]->norms[s]), residuals));
                q[i]++;
            }
        }
        EACH(i, n)
        _mm256_storeu_ps(t + i * stride + vector, sums[i]);
    }
}

TARGET void rsr_sketch_refine_all_avx2(const struct rsr_sketch_shape *shape, const void *block,
                                       const struct rsr_sketch_query *const *queries, uint32_t n,
                                       float *t, size_t stride) {
    for (uint32_t i = 0, some; i < n; i += some) {
        some = n - i >= TOGETHER ? TOGETHER : n - i >= 2 ? 2 : 1;
        if (some == TOGETHER)
            refine_some(shape, block, queries + i, TOGETHER, t + i * stride, stride);
        else if (some == 2)
            refine_some(shape, block, queries + i, 2, t + i * stride, stride);
        else
            refine_some(shape, block, queries + i, 1, t + i * stride, stride);
    }
}

/* ---- Frames ---- */

/* A sum of products of 16-bit numbers, of which pairs and the total fit int32. */
INLINE __m256i add_products(__m256i sum, __m256i a, __m256i b) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
}

INLINE __m128i load_bytes(const void *bytes) {
    return _mm_loadu_si128((const __m128i *)bytes);
}

/* rsr_sketch_frame_of() of n queries: both sums are exact integers. */
TARGET void rsr_sketch_frames_avx2(const struct rsr_sketch_shape *shape, const void *block,
                                   const struct rsr_sketch_query *const *queries, uint32_t n,
                                   struct rsr_sketch_frame *frames) {
    if (rsr_sketch_is_flat(shape)) { /* no centre or box of its own */
        rsr_sketch_frames_each(shape, block, queries, n, frames);
        return;
    }
    const uint32_t n_dims = shape->n_slices * RSR_SKETCH_SLICE;
    const struct rsr_sketch_centre centre = rsr_sketch_centre_of(shape, block);
    const uint8_t *box = (const uint8_t *)block + shape->box_at;
    for (uint32_t i = 0; i < n; i++) {
        const struct rsr_sketch_query *query = queries[i];
        __m256i boxes = _mm256_setzero_si256();
        double sum = 0.0;
        for (uint32_t begin = 0, end; begin < n_dims; begin = end) {
            end = n_dims - begin < RSR_SKETCH_EXACT_DIM ? n_dims : begin + RSR_SKETCH_EXACT_DIM;
            __m256i part = _mm256_setzero_si256();
            for (uint32_t d = begin; d < end; d += 16) {
                const __m256i fine =
                    _mm256_loadu_si256((const __m256i *)(const void *)(query->fine + d));
                part = add_products(part, _mm256_cvtepi8_epi16(load_bytes(centre.codes + d)), fine);
                boxes = add_products(boxes, _mm256_cvtepu8_epi16(load_bytes(box + d)),
                                     _mm256_cvtepi8_epi16(load_bytes(query->box + d)));
            }
            sum += (double)sum_lanes(part);
        }
        const struct rsr_sketch_dots dots = {
            sum * ((double)centre.unit * query->fine_unit),
            sum_lanes(boxes),
        };
        frames[i] = rsr_sketch_frame_from(shape, block, query, dots);
    }
}

#endif
