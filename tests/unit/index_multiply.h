/* index_multiply.h - y = M x on the index, exact, as references: RSR's direct product and RSR++'s
 * fold, for canonical codes.
 *
 * Both first sum the inputs of every segment, u[c] = sum of +-x[j] over the members j of code c.
 * RSR (arXiv 2411.06360, section 4.1) then multiplies by the matrix of all columns. The code here
 * multiplies only by the columns that occur: row i gets digit i times u[c] for each segment. RSR++
 * (section 4.2) peels the first digit off, again and again, over the dense table of codes. As in
 * the paper, row i is read from the entries whose first digit is not zero, and entries that differ
 * in that digit alone are then added together, which leaves a table of one digit less:
 *
 *   {0, 1}. row = sum of u[2q + 1]; u[q] <- u[2q] + u[2q + 1].
 *   ternary. Codes are c = 3q + d with d in -1..1, and c > 0 makes q >= 0, with q = 0 for c = 1
 *   alone:
 *     row = u[1] + sum over q >= 1 of u[3q + 1] - u[3q - 1];
 *     u[q] <- u[3q - 1] + u[3q] + u[3q + 1], in place because 3q - 1 > q. Canonical codes stay
 *     canonical: q > 0, so the sign of a code is never the business of its first digit.
 *   {-1, +1}. Canonical codes have the top bit set; the table is indexed by the bits below it. With
 *   U
 *     the sum of all entries, the top row is U, and a row below is (entries with its bit) -
 *     (entries without) = 2 (entries with its bit) - U; the bits are peeled as for {0, 1}.
 *
 * kernels/scatter/lower_scatter.c emits the same fold, addition by addition.
 * Integers: the largest intermediate is 3 * 128 * cols, hence the assertion on cols.
 */
#ifndef TESTS_UNIT_INDEX_MULTIPLY_H
#define TESTS_UNIT_INDEX_MULTIPLY_H

#include <assert.h>
#include <string.h>

#include "rsr/codes.h"
#include "rsr/segment.h"

static inline int32_t segment_sum(const struct rsr_index_block *block, uint32_t segment,
                                  const int8_t *x) {
    int32_t sum = 0;
    for (uint32_t m = block->begin[segment]; m < block->begin[segment + 1]; m++) {
        uint32_t member = block->members[m];
        sum += member & 1 ? -x[member >> 1] : x[member >> 1];
    }
    return sum;
}

static inline void multiply_direct(const struct rsr_index *index,
                                   const struct rsr_index_block *block, const int8_t *x,
                                   int32_t *y) {
    memset(y, 0, block->n_rows * sizeof *y);
    for (uint32_t s = 0; s < block->n_segments; s++) {
        int8_t digits[RSR_MAX_K];
        rsrc_code_digits(index->alphabet, block->n_rows, block->codes[s], digits);
        int32_t sum = segment_sum(block, s, x);
        for (uint32_t i = 0; i < block->n_rows; i++)
            y[i] += digits[i] * sum;
    }
}

static inline void fold_ternary(int32_t *u, uint32_t height, int32_t *y) {
    for (uint32_t i = 0; i < height; i++) {
        uint32_t end = rsrc_code_range(RSR_TERNARY, height - i).end / 3 + 1; /* of q */
        int32_t row = u[1];
        for (uint32_t q = 1; q < end; q++) {
            int32_t low = u[3 * q - 1], high = u[3 * q + 1];
            row += high - low;
            u[q] = low + u[3 * q] + high;
        }
        y[i] = row;
    }
}

/* Folds 2^n_bits entries in n_bits levels; u[0] holds the sum of all entries at the end. */
static inline void fold_bits(int32_t *u, uint32_t n_bits, int32_t *y) {
    for (uint32_t i = 0; i < n_bits; i++) {
        int32_t row = 0;
        for (uint32_t q = 0; q < 1u << (n_bits - i - 1); q++) {
            row += u[2 * q + 1];
            u[q] = u[2 * q] + u[2 * q + 1];
        }
        y[i] = row;
    }
}

static inline void fold_signs(int32_t *u, uint32_t height, int32_t *y) {
    fold_bits(u, height - 1, y);
    y[height - 1] = u[0];
    for (uint32_t i = 0; i + 1 < height; i++)
        y[i] = 2 * y[i] - u[0];
}

static inline void multiply_tree(const struct rsr_index *index, const struct rsr_index_block *block,
                                 const int8_t *x, int32_t *u, int32_t *y) {
    struct rsrc_code_range range = rsrc_code_range(index->alphabet, block->n_rows);
    uint32_t base = index->alphabet == RSR_BINARY_SIGN ? range.first : 0;
    memset(u, 0, (range.end - base) * sizeof *u);
    for (uint32_t s = 0; s < block->n_segments; s++)
        u[block->codes[s] - base] = segment_sum(block, s, x);
    switch (index->alphabet) {
    case RSR_TERNARY:
        fold_ternary(u, block->n_rows, y);
        break;
    case RSR_BINARY_SIGN:
        fold_signs(u, block->n_rows, y);
        break;
    case RSR_BINARY_BIT:
        fold_bits(u, block->n_rows, y);
        break;
    }
}

static inline void index_multiply(const struct rsr_index *index, enum rsr_fold_kind fold,
                                  const int8_t *x, int32_t *y) {
    assert(index->cols <= INT32_MAX / (3 * 128));
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    int32_t *u = NULL;
    if (fold == RSR_FOLD_TREE && index->n_blocks > 0) {
        /* The first block is the tallest. */
        uint32_t end = rsrc_code_range(index->alphabet, index->blocks[0].n_rows).end;
        u = RSRC_NEW_ARRAY(&arena, end, int32_t);
    }
    for (uint32_t b = 0; b < index->n_blocks; b++) {
        const struct rsr_index_block *block = &index->blocks[b];
        if (fold == RSR_FOLD_TREE)
            multiply_tree(index, block, x, u, y + block->first_row);
        else
            multiply_direct(index, block, x, y + block->first_row);
    }
    rsrc_arena_free(&arena);
}

#endif
