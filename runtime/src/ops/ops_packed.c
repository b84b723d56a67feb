/* ops_packed.c - embedding rows and logits of a packed matrix of bfloat16 (rsr_packed.h).
 *
 * Blocks of 64 weights are widened in registers on their way into the sums, so nothing is written
 * that must be read again. A block with an exception, and a last block that is not full, is widened
 * to memory first. The sums have the order of ops_dense.c, so they have the bits that the matrix
 * gives as plain bfloat16.
 *
 * Instructions a weight (plain bfloat16 in brackets) of rows of 2560, counted by single steps:
 *                  all rows        four rows apart    an embedding row
 *     AVX-512      0.37 (0.38)     0.38 (0.30)        1.7 (0.5)
 *     AVX2         0.62 (0.60)     0.70 (0.51)        1.8 (0.7)
 *     SSE2         17.3 (10.7)     17.3 (10.4)        8.2 (1.4)
 */
#include "host/fetch_line.h"
#include "ops_functions.h"
#include "rsr_packed.h"

#define GROUPS (RSR_PACKED_BLOCK / 16u)

/* ---- Blocks ---- */

#if RSR_NATIVE == 16

/* out[j] = weights 16 j .. 16 j + 15 of a block, without its exceptions */
RSR_INLINE void widen_block(struct rsr_f16 *out, const struct rsr_packed_row *row, uint32_t block) {
    const __m256i mask = _mm256_set1_epi8(15);
    const __m256i codes =
        _mm256_loadu_si256((const __m256i *)(const void *)(row->codes + (size_t)32 * block));
    const __m512i index =
        _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_and_si256(codes, mask)),
                           _mm256_and_si256(_mm256_srli_epi16(codes, 4), mask), 1);
    const __m512i highs =
        _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)row->high));
    const __m512i high = _mm512_shuffle_epi8(highs, index), zero = _mm512_setzero_si512();
    const __m512i low = _mm512_loadu_si512(row->low + (size_t)64 * block);
    const __m512i a = _mm512_unpacklo_epi8(low, high), b = _mm512_unpackhi_epi8(low, high);
    out[0].part[0] = (rsr_vf)_mm512_unpacklo_epi16(zero, a);
    out[1].part[0] = (rsr_vf)_mm512_unpackhi_epi16(zero, a);
    out[2].part[0] = (rsr_vf)_mm512_unpacklo_epi16(zero, b);
    out[3].part[0] = (rsr_vf)_mm512_unpackhi_epi16(zero, b);
}

#elif RSR_NATIVE == 8

RSR_INLINE void widen_block(struct rsr_f16 *out, const struct rsr_packed_row *row, uint32_t block) {
    const __m256i mask = _mm256_set1_epi8(15), zero = _mm256_setzero_si256();
    const __m256i codes =
        _mm256_loadu_si256((const __m256i *)(const void *)(row->codes + (size_t)32 * block));
    const __m256i highs =
        _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)row->high));
    RSR_EACH_PART(i) {
        const __m256i index = _mm256_and_si256(i == 0 ? codes : _mm256_srli_epi16(codes, 4), mask);
        const __m256i high = _mm256_shuffle_epi8(highs, index);
        const __m256i low = _mm256_loadu_si256(
            (const __m256i *)(const void *)(row->low + (size_t)64 * block + (size_t)(32 * i)));
        const __m256i a = _mm256_unpacklo_epi8(low, high), b = _mm256_unpackhi_epi8(low, high);
        out[0].part[i] = (rsr_vf)_mm256_unpacklo_epi16(zero, a);
        out[1].part[i] = (rsr_vf)_mm256_unpackhi_epi16(zero, a);
        out[2].part[i] = (rsr_vf)_mm256_unpacklo_epi16(zero, b);
        out[3].part[i] = (rsr_vf)_mm256_unpackhi_epi16(zero, b);
    }
}

#elif defined(__aarch64__)

RSR_INLINE void widen_block(struct rsr_f16 *out, const struct rsr_packed_row *row, uint32_t block) {
    const uint8x16_t highs = vld1q_u8(row->high), zero = vdupq_n_u8(0);
    RSR_EACH_PART(i) {
        const uint8x16_t codes = vld1q_u8(row->codes + (size_t)32 * block + (size_t)(16 * (i % 2)));
        const uint8x16_t index = i < 2 ? vandq_u8(codes, vdupq_n_u8(15)) : vshrq_n_u8(codes, 4);
        const uint8x16_t high = vqtbl1q_u8(highs, index);
        const uint8x16_t low = vld1q_u8(row->low + (size_t)64 * block + (size_t)(16 * i));
        const uint16x8_t none = vreinterpretq_u16_u8(zero);
        const uint16x8_t a = vreinterpretq_u16_u8(vzip1q_u8(low, high));
        const uint16x8_t b = vreinterpretq_u16_u8(vzip2q_u8(low, high));
        out[0].part[i] = (rsr_vf)vzip1q_u16(none, a);
        out[1].part[i] = (rsr_vf)vzip2q_u16(none, a);
        out[2].part[i] = (rsr_vf)vzip1q_u16(none, b);
        out[3].part[i] = (rsr_vf)vzip2q_u16(none, b);
    }
}

#else

/* Without a look-up of 16 bytes at once. */
RSR_INLINE void widen_block(struct rsr_f16 *out, const struct rsr_packed_row *row, uint32_t block) {
    typedef uint8_t bytes __attribute__((vector_size(16)));
    typedef uint16_t words __attribute__((vector_size(16)));
    const uint8_t *codes = row->codes + (size_t)RSR_PACKED_BLOCK / 2 * block;
    const words zero = {0};
    uint8_t highs[RSR_PACKED_BLOCK];
    for (uint32_t i = 0; i < RSR_PACKED_BLOCK / 2; i++) {
        highs[i] = row->high[codes[i] & 15];
        highs[RSR_PACKED_BLOCK / 2 + i] = row->high[codes[i] >> 4];
    }
    RSR_EACH_PART(i) {
        bytes low, high;
        memcpy(&low, row->low + (size_t)RSR_PACKED_BLOCK * block + (size_t)(16 * i), sizeof(low));
        memcpy(&high, highs + 16 * i, sizeof(high));
        const words a = (words)__builtin_shufflevector(low, high, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20,
                                                       5, 21, 6, 22, 7, 23);
        const words b = (words)__builtin_shufflevector(low, high, 8, 24, 9, 25, 10, 26, 11, 27, 12,
                                                       28, 13, 29, 14, 30, 15, 31);
        out[0].part[i] = (rsr_vf)__builtin_shufflevector(zero, a, 0, 8, 1, 9, 2, 10, 3, 11);
        out[1].part[i] = (rsr_vf)__builtin_shufflevector(zero, a, 4, 12, 5, 13, 6, 14, 7, 15);
        out[2].part[i] = (rsr_vf)__builtin_shufflevector(zero, b, 0, 8, 1, 9, 2, 10, 3, 11);
        out[3].part[i] = (rsr_vf)__builtin_shufflevector(zero, b, 4, 12, 5, 13, 6, 14, 7, 15);
    }
}

#endif

/* The block of a row's next exception; UINT32_MAX: none is left. */
RSR_INLINE uint32_t next_patch(const struct rsr_packed_row *row) {
    return row->exception == row->end
               ? UINT32_MAX
               : rsr_packed_exception_col(*row->exception) / RSR_PACKED_BLOCK;
}

/* Widens a block with its exceptions, which are the row's next ones. */
static void widen_patched(float *out, struct rsr_packed_row *row, uint32_t block) {
    struct rsr_f16 groups[GROUPS];
    widen_block(groups, row, block);
    for (uint32_t j = 0; j < GROUPS; j++)
        rsr_store16(out + (size_t)16 * j, groups[j]);
    for (; next_patch(row) == block; row->exception++) {
        uint32_t bits;
        float *at = out + rsr_packed_exception_col(*row->exception) % RSR_PACKED_BLOCK;
        memcpy(&bits, at, sizeof(bits));
        bits = (bits & 0xffffffu) | *row->exception << 24;
        memcpy(at, &bits, sizeof(bits));
    }
}

/* ---- Rows ---- */

void RSR_OPS(embed_packed)(float *dst, const struct rsr_matrix_data *matrix, uint32_t row) {
    struct rsr_packed_row from = rsr_packed_row_of(matrix, row);
    for (uint32_t i = 0; i < matrix->cols; i += RSR_PACKED_BLOCK) {
        float block[RSR_PACKED_BLOCK];
        const uint32_t left = matrix->cols - i;
        widen_patched(block, &from, i / RSR_PACKED_BLOCK);
        memcpy(dst + i, block,
               (left < RSR_PACKED_BLOCK ? left : RSR_PACKED_BLOCK) * sizeof(*block));
    }
}

/* Adds a block of n <= 64 weights to the sums of four rows. */
static void add_patched(struct rsr_f16 *acc, struct rsr_packed_row *rows, uint32_t block,
                        const float *x, uint32_t n) {
    for (uint32_t r = 0; r < 4; r++) {
        float weights[RSR_PACKED_BLOCK];
        widen_patched(weights, &rows[r], block);
        uint32_t i = 0;
        for (; i + 16 <= n; i += 16)
            acc[r] = rsr_add_product(acc[r], rsr_load16(weights + i), rsr_load16(x + i));
        if (i < n)
            acc[r] = rsr_add_product(acc[r], rsr_load_tail(weights + i, n - i),
                                     rsr_load_tail(x + i, n - i));
    }
}

/* Adds blocks `block` .. end - 1, which are full and without exceptions. next: the four rows that
 * will be read then, one after another; NULL: unknown. */
RSR_INLINE void add_blocks(struct rsr_f16 *acc, const struct rsr_packed_row *rows, uint32_t block,
                           uint32_t end, const float *x, const uint8_t *next) {
    const uint32_t lines = 4 * (RSR_PACKED_BLOCK + RSR_PACKED_BLOCK / 2) / 64;
    for (; block < end; block++) {
        const float *at = x + (size_t)RSR_PACKED_BLOCK * block;
        if (next != NULL)
            for (uint32_t i = 0; i < lines; i++)
                rsr_fetch_line(next + ((size_t)lines * block + i) * 64, true);
        for (uint32_t r = 0; r < 4; r++) {
            struct rsr_f16 weights[GROUPS];
            widen_block(weights, &rows[r], block);
            for (uint32_t j = 0; j < GROUPS; j++)
                acc[r] = rsr_add_product(acc[r], weights[j], rsr_load16(at + (size_t)16 * j));
        }
    }
}

/* The logits of four rows. */
RSR_INLINE rsr_v4f dot4(const struct rsr_packed_row *of, const float *x, uint32_t cols,
                        const uint8_t *next) {
    struct rsr_f16 acc[4] = {rsr_zero16(), rsr_zero16(), rsr_zero16(), rsr_zero16()};
    struct rsr_packed_row rows[4] = {of[0], of[1], of[2], of[3]};
    const uint32_t n_blocks = rsr_packed_blocks(cols), n_full = cols / RSR_PACKED_BLOCK;
    for (uint32_t block = 0; block < n_blocks; block++) {
        uint32_t stop = n_full;
        for (uint32_t r = 0; r < 4; r++)
            stop = next_patch(&rows[r]) < stop ? next_patch(&rows[r]) : stop;
        add_blocks(acc, rows, block, stop, x, next);
        block = stop;
        if (block < n_blocks)
            add_patched(acc, rows, block, x + (size_t)RSR_PACKED_BLOCK * block,
                        block < n_full ? RSR_PACKED_BLOCK : cols % RSR_PACKED_BLOCK);
    }
    return rsr_sum16_of4(acc);
}

void RSR_OPS(head_packed)(float *y, const struct rsr_matrix_data *matrix, uint32_t row_begin,
                          uint32_t row_end, const float *x) {
    for (uint32_t row = row_begin; row < row_end; row += 4) {
        const uint32_t n = row_end - row < 4 ? row_end - row : 4;
        struct rsr_packed_row rows[4];
        for (uint32_t r = 0; r < 4; r++) /* missing rows repeat the first */
            rows[r] = rsr_packed_row_of(matrix, row + (r < n ? r : 0));
        const uint8_t *next = rows[0].low + 4 * rsr_packed_row_bytes(matrix->cols);
        const rsr_v4f result = dot4(rows, x, matrix->cols, next);
        memcpy(y + row, &result, n * sizeof(float));
    }
}

void RSR_OPS(head_some_packed)(float *y, const struct rsr_matrix_data *matrix, const uint32_t *list,
                               uint32_t n_rows, const float *x) {
    for (uint32_t first = 0; first < n_rows; first += 4) {
        const uint32_t n = n_rows - first < 4 ? n_rows - first : 4;
        struct rsr_packed_row rows[4];
        for (uint32_t r = 0; r < 4; r++)
            rows[r] = rsr_packed_row_of(matrix, list[first + (r < n ? r : 0)]);
        const rsr_v4f result = dot4(rows, x, matrix->cols, NULL);
        memcpy(y + first, &result, n * sizeof(float));
    }
}
