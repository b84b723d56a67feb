/* fold_tree.c - y = M x on the index: RSR's direct product and RSR++'s fold, for canonical codes.
 *
 * Both first sum the inputs of every segment, u[c] = sum of +-x[j] over the members j of code c.
 * RSR (arXiv 2411.06360, section 4.1) then multiplies by the matrix of all columns; here only by the
 * columns that occur: row i gets +-u[c] for each segment whose digit i is not zero.
 * RSR++ (section 4.2) peels the last digit off, again and again, over the dense table of codes. The
 * paper folds pairs u[2i], u[2i+1] of plain binary codes; with T the weight of the digit peeled:
 *
 *   {0, 1}, T = 2^(d-1). Codes T .. 2T-1 have the digit. Their sum is the row's result; what remains
 *     of code T + r is r: u[r] += u[T + r].
 *   ternary, T = 3^(d-1), h = (T - 1) / 2. Codes T-h .. T+h, all positive codes beyond h, have the
 *     digit +1; their sum is the result. What remains of T + r is r, and of T - r is -r, whose
 *     canonical form is r negated: u[r] += u[T + r] - u[T - r]; of code T itself nothing remains.
 *   {-1, +1}, T = 2^(d-1). Every canonical code T .. 2T-1 has the top digit +1. What remains is
 *     r = code - T with d - 1 digits, canonical if r >= T/2, else the negation of T - 1 - r:
 *     u'[r] = u[T + r] - u[2T - 1 - r] for r = T/2 .. T-1.
 *
 * Integers wrap nowhere: |u| and |y| are at most 128 * cols, and cols < 2^24.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "rsr/codes.h"
#include "rsr/segment.h"

uint64_t rsrc_count_fold_adds(enum rsr_alphabet alphabet, uint32_t height) {
    uint64_t adds = 0, weight = 1; /* T, from the first digit up */
    for (uint32_t digit = 0; digit < height; digit++) {
        switch (alphabet) {
        case RSR_TERNARY:
            adds += weight + (weight - 1);
            weight *= 3;
            break;
        case RSR_BINARY_SIGN:
            adds += weight + weight / 2;
            weight *= 2;
            break;
        case RSR_BINARY_BIT:
            adds += weight + (weight - 1);
            weight *= 2;
            break;
        }
    }
    return adds;
}

static int32_t segment_sum(const struct rsr_index_block *block, uint32_t segment, const int8_t *x) {
    int32_t sum = 0;
    for (uint32_t m = block->begin[segment]; m < block->begin[segment + 1]; m++) {
        uint32_t member = block->members[m];
        sum += member & 1 ? -x[member >> 1] : x[member >> 1];
    }
    return sum;
}

static void multiply_direct(const struct rsr_index *index, const struct rsr_index_block *block,
                            const int8_t *x, int32_t *y) {
    memset(y, 0, block->n_rows * sizeof *y);
    for (uint32_t s = 0; s < block->n_segments; s++) {
        int8_t digits[RSR_MAX_K];
        rsrc_code_digits(index->alphabet, block->n_rows, block->codes[s], digits);
        int32_t sum = segment_sum(block, s, x);
        for (uint32_t i = 0; i < block->n_rows; i++)
            y[i] += digits[i] * sum;
    }
}

static int32_t sum_range(const int32_t *u, uint32_t first, uint32_t end) {
    int32_t sum = 0;
    for (uint32_t c = first; c < end; c++)
        sum += u[c];
    return sum;
}

static void fold_ternary(int32_t *u, uint32_t height, int32_t *y) {
    uint32_t weight = rsrc_code_range(RSR_TERNARY, height).end * 2 / 3; /* 3^(height-1) */
    for (uint32_t d = height; d >= 1; d--, weight /= 3) {
        uint32_t half = (weight - 1) / 2;
        y[d - 1] = sum_range(u, weight - half, weight + half + 1);
        for (uint32_t r = 1; r <= half; r++)
            u[r] += u[weight + r] - u[weight - r];
    }
}

static void fold_signs(int32_t *u, uint32_t height, int32_t *y) {
    for (uint32_t d = height; d >= 1; d--) {
        uint32_t weight = 1u << (d - 1);
        y[d - 1] = sum_range(u, weight, 2 * weight);
        if (d > 1)
            for (uint32_t r = weight / 2; r < weight; r++)
                u[r] = u[weight + r] - u[2 * weight - 1 - r];
    }
}

static void fold_bits(int32_t *u, uint32_t height, int32_t *y) {
    for (uint32_t d = height; d >= 1; d--) {
        uint32_t weight = 1u << (d - 1);
        y[d - 1] = sum_range(u, weight, 2 * weight);
        for (uint32_t r = 1; r < weight; r++)
            u[r] += u[weight + r];
    }
}

static void multiply_tree(const struct rsr_index *index, const struct rsr_index_block *block,
                          const int8_t *x, int32_t *u, int32_t *y) {
    struct rsrc_code_range range = rsrc_code_range(index->alphabet, block->n_rows);
    memset(u, 0, range.end * sizeof *u);
    for (uint32_t s = 0; s < block->n_segments; s++)
        u[block->codes[s]] = segment_sum(block, s, x);
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

void rsrc_index_multiply(const struct rsr_index *index, enum rsr_fold_kind fold, const int8_t *x,
                         int32_t *y) {
    assert(index->cols <= RSRC_MAX_COLS);
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
