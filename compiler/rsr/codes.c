/* codes.c - canonical codes of the columns of a block, as one vectorisable pass over the rows.
 *
 * Input: the rows of a block. Output: one key per column. The sum S = sum of w_i r^i is built by
 * Horner's rule from the last row to the first. It is computed in int8 for as many rows as fit (16
 * to 64 columns per instruction), and then widened: five ternary digits reach +-121, seven binary
 * digits +-127. Source: RSR, arXiv 2411.06360, section 3 (codes); the sign-canonical form is ours.
 */
#include "rsr/codes.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/round.h"

/* Columns of one pass: the partial codes (5 bytes a column) stay in L1. */
#define CHUNK 1024u

#define TERNARY_GROUP 5u /* (3^5 - 1) / 2 = 121 */
#define BINARY_GROUP 7u  /* 2^7 - 1 = 127 */

struct rsrc_code_range rsrc_code_range(enum rsr_alphabet alphabet, uint32_t height) {
    assert(height >= 1 && height <= RSR_MAX_K);
    switch (alphabet) {
    case RSR_TERNARY:
        return (struct rsrc_code_range){1, (uint32_t)rsrc_power(3, height) / 2 + 1};
    case RSR_BINARY_SIGN:
        return (struct rsrc_code_range){1u << (height - 1), 1u << height};
    case RSR_BINARY_BIT:
        return (struct rsrc_code_range){1, 1u << height};
    }
    abort();
}

void rsrc_code_digits(enum rsr_alphabet alphabet, uint32_t height, uint32_t code,
                      int8_t digits[RSR_MAX_K]) {
    for (uint32_t i = 0; i < height; i++) {
        switch (alphabet) {
        case RSR_TERNARY: /* a remainder of 2 is the digit -1 with a carry */
            digits[i] = (int8_t)(code % 3 == 2 ? -1 : (int)(code % 3));
            code = (code + 1) / 3;
            break;
        case RSR_BINARY_SIGN:
            digits[i] = (int8_t)(code & 1 ? 1 : -1);
            code >>= 1;
            break;
        case RSR_BINARY_BIT:
            digits[i] = (int8_t)(code & 1);
            code >>= 1;
            break;
        }
    }
}

/* partial[j] = radix * partial[j] + row[j]. The radix is a constant at both call sites, so the
 * product becomes additions of bytes. */
static inline void horner_step(int8_t *restrict partial, const int8_t *restrict row, size_t n,
                               int radix) {
    for (size_t j = 0; j < n; j++)
        partial[j] = (int8_t)(radix * partial[j] + row[j]);
}

/* sums[j] = S of column first_col + j. */
static inline void chunk_sums(const struct rsr_matrix *matrix, uint32_t first_row, uint32_t height,
                              uint32_t first_col, uint32_t n, int radix, uint32_t group,
                              int32_t *restrict sums) {
    int8_t partial[CHUNK];
    memset(sums, 0, n * sizeof *sums);
    for (uint32_t done = 0; done < height;) {
        uint32_t digits = height - done < group ? height - done : group;
        memset(partial, 0, n);
        for (uint32_t i = 0; i < digits; i++) {
            size_t row = first_row + height - 1 - done - i;
            horner_step(partial, matrix->values + row * matrix->cols + first_col, n, radix);
        }
        int32_t weight = (int32_t)rsrc_power((uint32_t)radix, digits);
        for (uint32_t j = 0; j < n; j++)
            sums[j] = sums[j] * weight + partial[j];
        done += digits;
    }
}

/* Keys from sums; `offset` and `shift` turn |S| into the code: 0 and 0, or 2^h - 1 and 1. */
static void chunk_keys(const int32_t *restrict sums, uint32_t n, uint32_t offset, uint32_t shift,
                       uint32_t *restrict keys) {
    for (uint32_t j = 0; j < n; j++) {
        uint32_t negated = (uint32_t)sums[j] >> 31;
        uint32_t magnitude = ((uint32_t)sums[j] ^ (0u - negated)) + negated;
        keys[j] = (magnitude + offset) >> shift << 1 | negated;
    }
}

void rsrc_block_keys(const struct rsr_matrix *matrix, uint32_t first_row, uint32_t height,
                     uint32_t *keys) {
    assert(height >= 1 && height <= RSR_MAX_K && height <= matrix->rows - first_row);
    int32_t sums[CHUNK];
    bool sign = matrix->alphabet == RSR_BINARY_SIGN;
    uint32_t offset = sign ? (1u << height) - 1 : 0;
    for (uint32_t col = 0; col < matrix->cols;) {
        uint32_t n = matrix->cols - col < CHUNK ? matrix->cols - col : CHUNK;
        if (matrix->alphabet == RSR_TERNARY)
            chunk_sums(matrix, first_row, height, col, n, 3, TERNARY_GROUP, sums);
        else
            chunk_sums(matrix, first_row, height, col, n, 2, BINARY_GROUP, sums);
        chunk_keys(sums, n, offset, sign, keys + col);
        col += n;
    }
}

uint64_t rsrc_count_fold_adds(enum rsr_alphabet alphabet, uint32_t height) {
    uint64_t adds = 0;
    switch (alphabet) {
    case RSR_TERNARY: /* four for each q = 1 .. (3^(d-1) - 1) / 2, where d digits are left */
        for (uint64_t d = 1, weight = 1; d <= height; d++, weight *= 3)
            adds += 4 * ((weight - 1) / 2);
        return adds;
    case RSR_BINARY_SIGN: /* two for each pair, and U is subtracted from every row below the top */
        return 2 * ((UINT64_C(1) << (height - 1)) - 1) + (height - 1);
    case RSR_BINARY_BIT:
        return 2 * ((UINT64_C(1) << height) - 1);
    }
    abort();
}
