/* rows.c - rows that are zero or repeat an earlier one up to sign, and columns that are used.
 *
 * Input: a matrix. Output: rsrc_row_facts. One pass over the weights, 32 at a time, hashes every
 * row times the sign of its first non-zero weight; then rows with equal hashes are compared.
 */
#include "rsr/rows.h"

#include <stdlib.h>
#include <string.h>

/* A row's identity up to sign. */
struct row_hash {
    uint64_t hash;
    uint32_t row;
    int8_t sign; /* of its first non-zero weight */
};

/* 32 weights as 2-bit fields: the low bit says non-zero, the high bit negative. Eight weights are a
 * word's bytes 00, 01 or ff, whose bits 0 and 1 say this already. */
#define PACKED_WEIGHTS 32u
#define LOW_BITS UINT64_C(0x5555555555555555)

static uint64_t pack_weights(const int8_t weights[PACKED_WEIGHTS]) {
    uint64_t packed = 0;
    for (uint32_t i = 0; i < PACKED_WEIGHTS / 8; i++) {
        uint64_t word;
        memcpy(&word, weights + 8 * i, sizeof word);
        packed |= (word & UINT64_C(0x0303030303030303)) << 2 * i;
    }
    return packed;
}

static uint64_t mix(uint64_t hash, uint64_t word) {
    hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

static int8_t first_sign(const int8_t *row, uint32_t cols) {
    for (uint32_t j = 0; j < cols; j++)
        if (row[j] != 0)
            return row[j];
    return 1;
}

/* Counts the non-zero weights of a row, hashes sign * row, and marks the used columns. */
static uint32_t scan_row(const int8_t *row, uint32_t cols, int8_t sign, uint64_t *used_cols,
                         uint64_t *out_hash) {
    uint64_t hash = cols;
    uint32_t n_nonzero = 0;
    for (uint32_t j = 0; j < cols; j += PACKED_WEIGHTS) {
        int8_t last[PACKED_WEIGHTS] = {0};
        const int8_t *weights = row + j;
        if (cols - j < PACKED_WEIGHTS) {
            memcpy(last, weights, cols - j);
            weights = last;
        }
        uint64_t packed = pack_weights(weights), nonzero = packed & LOW_BITS;
        used_cols[j / PACKED_WEIGHTS] |= nonzero;
        n_nonzero += (uint32_t)__builtin_popcountll(nonzero);
        hash = mix(hash, sign < 0 ? packed ^ nonzero << 1 : packed);
    }
    *out_hash = hash;
    return n_nonzero;
}

static int compare_row_hashes(const void *a, const void *b) {
    const struct row_hash *x = a, *y = b;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

static bool rows_match(const struct rsr_matrix *matrix, const struct row_hash *a,
                       const struct row_hash *b) {
    const int8_t *x = matrix->values + (size_t)a->row * matrix->cols;
    const int8_t *y = matrix->values + (size_t)b->row * matrix->cols;
    if (a->sign == b->sign)
        return memcmp(x, y, matrix->cols) == 0;
    for (uint32_t j = 0; j < matrix->cols; j++)
        if (x[j] != -y[j])
            return false;
    return true;
}

/* Finds rows that repeat the first row with their hash. A different row with an equal hash (one
 * pair in 2^64) is just not merged. */
static void match_rows(const struct rsr_matrix *matrix, struct row_hash *hashes, uint32_t n,
                       struct rsr_row_source *sources) {
    qsort(hashes, n, sizeof *hashes, compare_row_hashes);
    uint32_t first = 0;
    for (uint32_t i = 1; i < n; i++) {
        if (hashes[i].hash != hashes[first].hash)
            first = i;
        else if (rows_match(matrix, &hashes[first], &hashes[i]))
            sources[hashes[i].row] = (struct rsr_row_source){
                .row = hashes[first].row, .sign = hashes[first].sign * hashes[i].sign};
    }
}

/* Bit of column j of a group of PACKED_WEIGHTS: where pack_weights() puts it. */
static uint32_t packed_bit(uint32_t j) {
    return j % 8 * 8 + j / 8 * 2;
}

void rsrc_find_row_facts(struct rsrc_arena *arena, const struct rsr_matrix *matrix,
                         struct rsrc_row_facts *out) {
    const uint32_t rows = matrix->rows, cols = matrix->cols;
    struct rsrc_row_facts facts = {.sources = RSRC_NEW_ARRAY(arena, rows, struct rsr_row_source),
                                   .n_nonzero = RSRC_NEW_ARRAY(arena, rows, uint32_t),
                                   .col_used = RSRC_NEW_ARRAY(arena, cols, uint8_t)};
    uint64_t *used = RSRC_NEW_ARRAY(arena, (cols - 1) / PACKED_WEIGHTS + 1, uint64_t);
    struct row_hash *hashes = RSRC_NEW_ARRAY(arena, rows, struct row_hash);
    uint32_t n_hashes = 0;
    for (uint32_t i = 0; i < rows; i++) {
        const int8_t *row = matrix->values + (size_t)i * cols;
        const int8_t sign = first_sign(row, cols);
        uint64_t hash;
        facts.n_nonzero[i] = scan_row(row, cols, sign, used, &hash);
        if (facts.n_nonzero[i] == 0)
            continue; /* sources are zeroed: row 0, sign 0 */
        facts.sources[i] = (struct rsr_row_source){.row = i, .sign = 1};
        hashes[n_hashes++] = (struct row_hash){hash, i, sign};
    }
    match_rows(matrix, hashes, n_hashes, facts.sources);
    for (uint32_t j = 0; j < cols; j++)
        facts.col_used[j] = used[j / PACKED_WEIGHTS] >> packed_bit(j % PACKED_WEIGHTS) & 1;
    *out = facts;
}
