/* codes.h - the code of a column within one block of rows. Shared by the files of rsr/.
 *
 * A column of a block of h rows has the value S = sum of w_i r^i, with r = 3 for ternary weights
 * and 2 for binary ones. A column and its negation have the same |S|; this is the idea of
 * sign-canonical segments. The canonical code is |S| for ternary and {0, 1} weights. For {-1, +1}
 * weights S is odd and the code (|S| + 2^h - 1) / 2 is the number whose bits are (w_i + 1) / 2; it
 * has the top bit set, because the top digit decides the sign of S.
 */
#ifndef RSRC_RSR_CODES_H
#define RSRC_RSR_CODES_H

#include "ir.h"

/* An int32 accumulator holds 128 * cols for every matrix that is analysed. */
#define RSRC_MAX_COLS ((1u << 24) - 1)

/* Canonical codes of a block of `height` rows: first <= code < end. */
struct rsrc_code_range {
    uint32_t first, end;
};
struct rsrc_code_range rsrc_code_range(enum rsr_alphabet alphabet, uint32_t height);

/* digits[i] = weight of row i in a column with this canonical code, not negated. */
void rsrc_code_digits(enum rsr_alphabet alphabet, uint32_t height, uint32_t code,
                      int8_t digits[RSR_MAX_K]);

/* keys[j] = canonical code << 1 | negated for every column j of rows first_row .. first_row +
 * height - 1; 0 for a column of zeros, which is in no segment. */
void rsrc_block_keys(const struct rsr_matrix *matrix, uint32_t first_row, uint32_t height,
                     uint32_t *keys);

/* The height of the block of k rows that starts at first_row. */
static inline uint32_t rsrc_block_height(uint32_t rows, uint32_t k, uint32_t first_row) {
    return rows - first_row < k ? rows - first_row : k;
}

/* Checks the structure of an index (shape, order, ranges, a column in two segments). Returns a
 * sentence in the arena that says what is wrong, or NULL. Never reads out of bounds, whatever the
 * index holds. */
const char *rsrc_check_index(struct rsrc_arena *arena, const struct rsr_index *index);

/* Additions of the RSR++ fold of one block (tests/unit/index_multiply.h does exactly these). */
uint64_t rsrc_count_fold_adds(enum rsr_alphabet alphabet, uint32_t height);

/* Rebuilds the weights of one block from its segments: out[height][cols]. The structure has been
 * checked. */
void rsrc_rebuild_block(const struct rsr_index *index, const struct rsr_index_block *block,
                        int8_t *out);

#endif
