/* rsr_packed.h - where the parts of a packed matrix of bfloat16 are (RSR_DTYPE_BF16_PACKED of
 * rsr_abi.h has the format). The compiler writes by these functions, and the runtime reads by
 * them. They trust the numbers that rsr_check_module has checked.
 */
#ifndef RSR_PACKED_H
#define RSR_PACKED_H

#include <string.h>

#include "rsr_abi.h"

static inline uint32_t rsr_packed_blocks(uint32_t cols) {
    return (cols + RSR_PACKED_BLOCK - 1) / RSR_PACKED_BLOCK;
}

/* Bytes from one row to the next: the low bytes of a row, then its codes. */
static inline uint64_t rsr_packed_row_bytes(uint32_t cols) {
    return (uint64_t)rsr_packed_blocks(cols) * (RSR_PACKED_BLOCK + RSR_PACKED_BLOCK / 2);
}

/* Where the high bytes are, from `data` on. */
static inline uint64_t rsr_packed_highs_at(uint32_t rows, uint32_t n_exceptions) {
    return RSR_PACKED_HEADER_BYTES + 4 * ((uint64_t)rows + n_exceptions);
}

/* Where the rows are. */
static inline uint64_t rsr_packed_rows_at(uint32_t rows, uint32_t n_exceptions) {
    const uint64_t end =
        rsr_packed_highs_at(rows, n_exceptions) + (uint64_t)RSR_PACKED_HIGHS * rows;
    return (end + 63) / 64 * 64;
}

static inline uint64_t rsr_packed_bytes(uint32_t rows, uint32_t cols, uint32_t n_exceptions) {
    return rsr_packed_rows_at(rows, n_exceptions) + rows * rsr_packed_row_bytes(cols);
}

static inline uint32_t rsr_packed_exceptions(const void *data) {
    uint32_t n;
    memcpy(&n, data, sizeof(n));
    return n;
}

/* The place of a weight of a block among its low bytes. */
static inline uint32_t rsr_packed_place(uint32_t weight) {
    return weight / 4 % 4 * 16 + weight / 16 * 4 + weight % 4;
}

struct rsr_packed_row {
    const uint8_t *low, *codes, *high;
    const uint32_t *exception, *end; /* those of the row */
};

static inline struct rsr_packed_row rsr_packed_row_of(const struct rsr_matrix_data *matrix,
                                                      uint32_t row) {
    const uint8_t *data = matrix->data;
    const uint32_t *ends = (const uint32_t *)(const void *)(data + RSR_PACKED_HEADER_BYTES);
    const uint32_t *exceptions = ends + matrix->rows;
    const uint32_t n_exceptions = rsr_packed_exceptions(data);
    const uint8_t *low = data + rsr_packed_rows_at(matrix->rows, n_exceptions) +
                         row * rsr_packed_row_bytes(matrix->cols);
    return (struct rsr_packed_row){
        .low = low,
        .codes = low + (size_t)rsr_packed_blocks(matrix->cols) * RSR_PACKED_BLOCK,
        .high =
            data + rsr_packed_highs_at(matrix->rows, n_exceptions) + (size_t)row * RSR_PACKED_HIGHS,
        .exception = exceptions + (row == 0 ? 0 : ends[row - 1]),
        .end = exceptions + ends[row]};
}

static inline uint32_t rsr_packed_exception_col(uint32_t exception) {
    return exception >> 8;
}

#endif
