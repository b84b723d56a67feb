/* dot_cols.h - how the codes of columns that a list names lie. Private to dot_cols. */
#ifndef RSRC_KERNELS_DOT_COLS_DOT_COLS_H
#define RSRC_KERNELS_DOT_COLS_DOT_COLS_H

#include "ir.h"

/* The packed codes w + 1 of columns that a list names. A tile of tile_blocks * 4 * vector_bytes
 * rows has, column by column, tile_blocks blocks of vector_bytes bytes. The four bytes that four
 * columns have at the same place become four neighbours when ZIP_LOW and ZIP_HIGH interleave them:
 * pack_cols.c says of which row. Rows beyond the matrix are zero bits. */
struct rsrc_cols_layout {
    uint32_t vector_bytes;
    uint32_t tile_blocks, n_tiles;
};
/* Fills zeroed codes. */
void rsrc_pack_cols(const struct rsr_matrix *matrix, const struct rsrc_cols_layout *layout,
                    uint8_t *out);

#endif
