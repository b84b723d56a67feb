/* pack_dot.c - packs int8 weights into the 2-bit or 1-bit codes of `dot`; kernel/dot_layout.h has
 * the layout.
 *
 * Models have billions of weights, so the inner loops are written for the C compiler's vectoriser:
 * every output byte depends on the same byte of four or eight runs of input.
 */
#include "kernel/dot_layout.h"

#include <assert.h>
#include <string.h>

/* Packs runs of `n` weights, one run per plane, into `n` bytes. */
static inline void pack_ternary(const int8_t *restrict w, uint8_t *restrict out, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        out[i] = (uint8_t)((w[i] + 1) | (w[n + i] + 1) << 2 | (w[2 * n + i] + 1) << 4 |
                           (w[3 * n + i] + 1) << 6);
}

/* Both binary alphabets: the code is 1 for +1 and 0 for -1 or 0. */
static inline void pack_binary(const int8_t *restrict w, uint8_t *restrict out, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        const int low =
            (w[i] > 0) | (w[n + i] > 0) << 1 | (w[2 * n + i] > 0) << 2 | (w[3 * n + i] > 0) << 3;
        const int high = (w[4 * n + i] > 0) << 4 | (w[5 * n + i] > 0) << 5 |
                         (w[6 * n + i] > 0) << 6 | (w[7 * n + i] > 0) << 7;
        out[i] = (uint8_t)(low | high);
    }
}

/* One block of one row. The run lengths are written out, so that the loops have constant trip
 * counts. */
static void pack_block(const int8_t *w, uint8_t *out, const struct rsrc_dot_layout *layout) {
    const bool ternary = layout->code_bits == 2;
    switch (layout->vector_bytes) {
    case 64:
        ternary ? pack_ternary(w, out, 64) : pack_binary(w, out, 64);
        return;
    case 32:
        ternary ? pack_ternary(w, out, 32) : pack_binary(w, out, 32);
        return;
    case 16:
        ternary ? pack_ternary(w, out, 16) : pack_binary(w, out, 16);
        return;
    default:
        assert(layout->vector_bytes == 1);
        ternary ? pack_ternary(w, out, 1) : pack_binary(w, out, 1);
    }
}

static void pack_row(const int8_t *values, uint32_t cols, const struct rsrc_dot_layout *layout,
                     uint8_t *out) {
    const size_t step = (size_t)layout->group_rows * layout->vector_bytes; /* the rows alternate */
    const uint32_t n_full = cols / layout->block_cols;
    for (uint32_t b = 0; b < n_full; b++)
        pack_block(values + (size_t)b * layout->block_cols, out + b * step, layout);
    if (n_full < layout->n_blocks) {
        int8_t last[RSR_ACT_PAD] = {0};
        memcpy(last, values + (size_t)n_full * layout->block_cols, cols % layout->block_cols);
        pack_block(last, out + n_full * step, layout);
    }
}

void rsrc_pack_dot(const struct rsr_matrix *matrix, const struct rsrc_dot_layout *layout,
                   uint8_t *out) {
    const size_t row_bytes = (size_t)layout->n_blocks * layout->vector_bytes;
    const uint32_t group_rows = layout->group_rows;
    for (uint32_t row = 0; row < matrix->rows; row++) {
        uint8_t *group = out + (size_t)(row / group_rows) * group_rows * row_bytes;
        pack_row(matrix->values + (size_t)row * matrix->cols, matrix->cols, layout,
                 group + (size_t)(row % group_rows) * layout->vector_bytes);
    }
    assert((matrix->rows - 1) / group_rows + 1 == layout->n_groups);
}
