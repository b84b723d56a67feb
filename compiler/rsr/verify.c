/* verify.c - proves an index: its structure first, then every weight it stands for.
 *
 * Input: an untrusted index. rsrc_check_index() checks its structure, so that later code may read
 * it freely; rsrc_verify_index() rebuilds each block and compares it with the matrix. The text
 * parser uses only rsrc_check_index().
 */
#include <inttypes.h>
#include <string.h>

#include "base/round.h"
#include "rsr/codes.h"
#include "rsr/segment.h"

static const char *check_shape(struct rsrc_arena *arena, const struct rsr_index *index) {
    if (index->alphabet != RSR_TERNARY && index->alphabet != RSR_BINARY_SIGN &&
        index->alphabet != RSR_BINARY_BIT)
        return "the alphabet is unknown";
    if (index->k < 1 || index->k > RSR_MAX_K)
        return rsrc_arena_printf(arena, "k is %" PRIu32 ", not 1..%d", index->k, RSR_MAX_K);
    if (index->rows == 0 || index->cols == 0 || index->cols > RSRC_MAX_COLS)
        return rsrc_arena_printf(arena, "the shape %" PRIu32 " x %" PRIu32 " is not supported",
                                 index->rows, index->cols);
    if (index->n_blocks != rsrc_divide_up(index->rows, index->k))
        return rsrc_arena_printf(
            arena,
            "it has %" PRIu32 " blocks, %" PRIu32 " rows in blocks of %" PRIu32 " need %" PRIu32,
            index->n_blocks, index->rows, index->k, rsrc_divide_up(index->rows, index->k));
    return NULL;
}

/* Checks the members of one segment: in range, ascending, and each column for the first time in
 * this block. */
static const char *check_members(struct rsrc_arena *arena, const struct rsr_index *index,
                                 const struct rsr_index_block *block, uint32_t s, uint8_t *seen) {
    for (uint32_t m = block->begin[s]; m < block->begin[s + 1]; m++) {
        uint32_t col = block->members[m] >> 1;
        if (col >= index->cols)
            return rsrc_arena_printf(arena, "column %" PRIu32 " does not exist", col);
        if ((block->members[m] & 1) != 0 && index->alphabet == RSR_BINARY_BIT)
            return rsrc_arena_printf(arena, "column %" PRIu32 " is negated in a {0, 1} matrix",
                                     col);
        if (m > block->begin[s] && col <= block->members[m - 1] >> 1)
            return rsrc_arena_printf(arena, "column %" PRIu32 " is out of order", col);
        if (seen[col])
            return rsrc_arena_printf(arena, "column %" PRIu32 " is in two segments", col);
        seen[col] = 1;
    }
    return NULL;
}

static const char *check_block(struct rsrc_arena *arena, const struct rsr_index *index,
                               uint32_t number, uint8_t *seen) {
    const struct rsr_index_block *block = &index->blocks[number];
    uint32_t first_row = number * index->k;
    uint32_t height = rsrc_block_height(index->rows, index->k, first_row);
    if (block->first_row != first_row || block->n_rows != height)
        return "its rows do not follow the block before";
    struct rsrc_code_range range = rsrc_code_range(index->alphabet, height);
    if (block->n_segments > index->cols || block->n_segments > range.end - range.first)
        return rsrc_arena_printf(arena, "%" PRIu32 " segments are more than there can be",
                                 block->n_segments);
    if (block->begin[0] != 0)
        return "the first segment does not begin at member 0";
    memset(seen, 0, index->cols);
    for (uint32_t s = 0; s < block->n_segments; s++) {
        uint32_t code = block->codes[s];
        if (code < range.first || code >= range.end)
            return rsrc_arena_printf(
                arena, "code %" PRIu32 " is not canonical for %" PRIu32 " rows", code, height);
        if (s > 0 && code <= block->codes[s - 1])
            return rsrc_arena_printf(arena, "code %" PRIu32 " is out of order", code);
        if (block->begin[s + 1] <= block->begin[s] || block->begin[s + 1] > index->cols)
            return rsrc_arena_printf(arena, "the segment of code %" PRIu32 " has no valid extent",
                                     code);
        const char *wrong = check_members(arena, index, block, s, seen);
        if (wrong != NULL)
            return wrong;
    }
    if (index->alphabet == RSR_BINARY_SIGN && block->begin[block->n_segments] != index->cols)
        return "a column of a {-1, +1} matrix is in no segment";
    return NULL;
}

const char *rsrc_check_index(struct rsrc_arena *arena, const struct rsr_index *index) {
    const char *wrong = check_shape(arena, index);
    if (wrong != NULL)
        return wrong;
    uint8_t *seen = RSRC_NEW_ARRAY(arena, index->cols, uint8_t);
    for (uint32_t b = 0; b < index->n_blocks; b++) {
        wrong = check_block(arena, index, b, seen);
        if (wrong != NULL)
            return rsrc_arena_printf(arena, "block %" PRIu32 ": %s", b, wrong);
    }
    return NULL;
}

/* A sentence about the first weight that differs; NULL if none does. */
static const char *compare_weights(struct rsrc_arena *arena, const struct rsr_index *index,
                                   const struct rsr_matrix *matrix) {
    int8_t *rebuilt = rsrc_arena_array(arena, index->k, index->cols);
    for (uint32_t b = 0; b < index->n_blocks; b++) {
        const struct rsr_index_block *block = &index->blocks[b];
        rsrc_rebuild_block(index, block, rebuilt);
        size_t size_bytes = (size_t)block->n_rows * index->cols;
        const int8_t *wanted = matrix->values + (size_t)block->first_row * index->cols;
        if (memcmp(rebuilt, wanted, size_bytes) == 0)
            continue;
        size_t at = 0;
        while (rebuilt[at] == wanted[at])
            at++;
        return rsrc_arena_printf(
            arena, "row %zu, column %zu is %d in the matrix and %d in the index",
            block->first_row + at / index->cols, at % index->cols, wanted[at], rebuilt[at]);
    }
    return NULL;
}

enum rsrc_status rsrc_verify_index(struct rsrc_diag *diag, const struct rsr_index *index,
                                   const struct rsr_matrix *matrix, const char *layer_name) {
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    const char *wrong = rsrc_check_index(&arena, index);
    if (wrong == NULL && (index->rows != matrix->rows || index->cols != matrix->cols ||
                          index->alphabet != matrix->alphabet))
        wrong = "its shape or alphabet is not the matrix's";
    if (wrong == NULL)
        wrong = compare_weights(&arena, index, matrix);
    if (wrong != NULL) {
        struct rsrc_place place = {.tensor = layer_name};
        rsrc_error(diag, "rsr-verify", &place,
                   "this is a defect of the compiler or of the text "
                   "given to --from=rsr",
                   "the segment index is wrong: %s", wrong);
    }
    rsrc_arena_free(&arena);
    return wrong == NULL ? RSRC_OK : RSRC_FAILED;
}
