/* pack_cols.c - int8 weights to 2-bit codes, a column at a time; the layout is in variants.h. */
#include "kernels/dot_cols/dot_cols.h"

/* A block of a column has its row at byte 16 l + 4 j + e and bits 2s where row is
 * (4 j + s) * vector_bytes / 4 + 4 l + e. */
static void pack_block(const struct rsr_matrix *matrix, uint32_t vector_bytes, uint32_t first_row,
                       uint8_t *column_blocks, size_t column_bytes) {
    const uint32_t lanes = vector_bytes / 4;
    const uint32_t left = matrix->rows - first_row;
    const uint32_t n_rows = left < 4 * vector_bytes ? left : 4 * vector_bytes;
    for (uint32_t r = 0; r < n_rows; r++) {
        const int8_t *w = matrix->values + (size_t)(first_row + r) * matrix->cols;
        const uint32_t unit = r / lanes, lane = r % lanes;
        const uint32_t byte = lane / 4 * 16 + unit / 4 * 4 + lane % 4, shift = unit % 4 * 2;
        uint8_t *out = column_blocks + byte;
        for (uint32_t col = 0; col < matrix->cols; col++)
            out[col * column_bytes] |= (uint8_t)((w[col] + 1) << shift);
    }
}

void rsrc_pack_cols(const struct rsr_matrix *matrix, const struct rsrc_cols_layout *layout,
                    uint8_t *out) {
    const uint32_t block_rows = 4 * layout->vector_bytes;
    const size_t column_bytes = (size_t)layout->tile_blocks * layout->vector_bytes;
    for (uint32_t t = 0; t < layout->n_tiles; t++)
        for (uint32_t b = 0; b < layout->tile_blocks; b++) {
            const uint64_t first_row = ((uint64_t)t * layout->tile_blocks + b) * block_rows;
            if (first_row < matrix->rows)
                pack_block(matrix, layout->vector_bytes, (uint32_t)first_row,
                           out + t * matrix->cols * column_bytes + (size_t)b * layout->vector_bytes,
                           column_bytes);
        }
}
