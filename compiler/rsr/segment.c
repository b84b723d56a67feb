/* segment.c - builds the segment index: columns of a block with equal codes, grouped.
 *
 * Input: a matrix and k. Output: for every block of k rows its segments in ascending order of code,
 * each with its columns in ascending order. The columns are sorted by code with a stable radix sort
 * whose digits have at most 11 bits: one pass, a plain counting sort, up to k = 7 for ternary
 * weights and k = 11 for binary ones, and never more than three passes.
 * Source: RSR, arXiv 2411.06360, section 3 ("full segmentation").
 */
#include "rsr/segment.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/round.h"
#include "rsr/codes.h"

/* 2^11 counters of 4 bytes fill a quarter of a 32 KB L1. */
#define MAX_DIGIT_BITS 11u

/* A column on its way through the sort. */
struct entry {
    uint32_t code;
    uint32_t member; /* column << 1 | negated */
};

/* Buffers that all blocks of a matrix share. */
struct scratch {
    uint32_t *keys;                /* [cols] */
    struct entry *entries, *other; /* [cols] */
};

/* One stable pass: from -> to, ordered by bits shift .. shift + n_bits - 1 of the code. */
static void sort_pass(const struct entry *from, struct entry *to, uint32_t n, uint32_t shift,
                      uint32_t n_bits) {
    uint32_t place[1u << MAX_DIGIT_BITS] = {0};
    uint32_t mask = (1u << n_bits) - 1;
    for (uint32_t i = 0; i < n; i++)
        place[from[i].code >> shift & mask]++;
    uint32_t sum = 0;
    for (uint32_t d = 0; d <= mask; d++) {
        uint32_t count = place[d];
        place[d] = sum;
        sum += count;
    }
    for (uint32_t i = 0; i < n; i++)
        to[place[from[i].code >> shift & mask]++] = from[i];
}

/* The columns that are in a segment, by code, then by column. */
static uint32_t sort_columns(struct scratch *scratch, uint32_t cols, uint32_t end_code) {
    uint32_t n = 0;
    for (uint32_t j = 0; j < cols; j++) {
        uint32_t key = scratch->keys[j];
        scratch->entries[n] = (struct entry){key >> 1, j << 1 | (key & 1)};
        n += key != 0;
    }
    uint32_t bits = 1;
    while ((end_code - 1) >> bits != 0)
        bits++;
    uint32_t n_passes = (bits + MAX_DIGIT_BITS - 1) / MAX_DIGIT_BITS;
    uint32_t digit_bits = (bits + n_passes - 1) / n_passes;
    for (uint32_t pass = 0; pass < n_passes; pass++) {
        sort_pass(scratch->entries, scratch->other, n, pass * digit_bits, digit_bits);
        struct entry *sorted = scratch->other;
        scratch->other = scratch->entries;
        scratch->entries = sorted;
    }
    return n;
}

/* Cuts the sorted columns into segments. */
static void fill_block(struct rsrc_arena *arena, const struct entry *entries, uint32_t n,
                       struct rsr_index_block *block) {
    uint32_t n_segments = 0;
    for (uint32_t i = 0; i < n; i++)
        n_segments += i == 0 || entries[i].code != entries[i - 1].code;
    uint32_t *codes = RSRC_NEW_ARRAY(arena, n_segments, uint32_t);
    uint32_t *begin = RSRC_NEW_ARRAY(arena, (size_t)n_segments + 1, uint32_t);
    uint32_t *members = RSRC_NEW_ARRAY(arena, n, uint32_t);
    uint32_t s = 0;
    for (uint32_t i = 0; i < n; i++) {
        members[i] = entries[i].member;
        if (i == 0 || entries[i].code != entries[i - 1].code) {
            codes[s] = entries[i].code;
            begin[s++] = i;
        }
    }
    begin[s] = n;
    block->n_segments = n_segments;
    block->codes = codes;
    block->begin = begin;
    block->members = members;
}

void rsrc_build_index(struct rsrc_arena *arena, const struct rsr_matrix *matrix, uint32_t k,
                      struct rsr_index *out) {
    assert(k >= 1 && k <= RSR_MAX_K && matrix->cols <= RSRC_MAX_COLS);
    uint32_t n_blocks = rsrc_divide_up(matrix->rows, k);
    struct rsr_index_block *blocks = RSRC_NEW_ARRAY(arena, n_blocks, struct rsr_index_block);
    struct rsrc_arena local;
    rsrc_arena_init(&local);
    struct scratch scratch = {
        .keys = RSRC_NEW_ARRAY(&local, matrix->cols, uint32_t),
        .entries = RSRC_NEW_ARRAY(&local, matrix->cols, struct entry),
        .other = RSRC_NEW_ARRAY(&local, matrix->cols, struct entry),
    };
    for (uint32_t b = 0; b < n_blocks; b++) {
        struct rsr_index_block *block = &blocks[b];
        block->first_row = b * k;
        block->n_rows = rsrc_block_height(matrix->rows, k, block->first_row);
        rsrc_block_keys(matrix, block->first_row, block->n_rows, scratch.keys);
        uint32_t end_code = rsrc_code_range(matrix->alphabet, block->n_rows).end;
        uint32_t n = sort_columns(&scratch, matrix->cols, end_code);
        fill_block(arena, scratch.entries, n, block);
    }
    rsrc_arena_free(&local);
    *out = (struct rsr_index){.rows = matrix->rows,
                              .cols = matrix->cols,
                              .k = k,
                              .alphabet = matrix->alphabet,
                              .blocks = blocks,
                              .n_blocks = n_blocks};
}

void rsrc_rebuild_block(const struct rsr_index *index, const struct rsr_index_block *block,
                        int8_t *out) {
    memset(out, 0, (size_t)block->n_rows * index->cols);
    for (uint32_t s = 0; s < block->n_segments; s++) {
        int8_t digits[RSR_MAX_K];
        rsrc_code_digits(index->alphabet, block->n_rows, block->codes[s], digits);
        for (uint32_t m = block->begin[s]; m < block->begin[s + 1]; m++) {
            uint32_t col = block->members[m] >> 1;
            int sign = block->members[m] & 1 ? -1 : 1;
            for (uint32_t i = 0; i < block->n_rows; i++)
                out[(size_t)i * index->cols + col] = (int8_t)(sign * digits[i]);
        }
    }
}

void rsrc_rebuild_matrix(struct rsrc_arena *arena, const struct rsr_index *index,
                         struct rsr_matrix *out) {
    int8_t *values = rsrc_arena_array(arena, index->rows, index->cols);
    for (uint32_t b = 0; b < index->n_blocks; b++) {
        const struct rsr_index_block *block = &index->blocks[b];
        rsrc_rebuild_block(index, block, values + (size_t)block->first_row * index->cols);
    }
    *out = (struct rsr_matrix){
        .rows = index->rows, .cols = index->cols, .alphabet = index->alphabet, .values = values};
}
