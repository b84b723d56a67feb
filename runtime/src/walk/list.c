/* list.c - lists after activation rows. See list.h.
 *
 * Every element is stored, and the end moves past it only if it counts. So no branch depends on
 * data. A list of 6912 elements takes some 3 us; reading a matrix with as many columns takes 300.
 */
#include "list.h"

#include <string.h>

static uint32_t *u32_at(void *row, uint64_t at) {
    return (uint32_t *)(void *)((char *)row + at); /* at is a multiple of 4, rows are aligned */
}

uint32_t rsr_list_count(const void *row, uint32_t cols, uint32_t n) {
    const uint64_t n_chunks = ((uint64_t)n + RSR_LIST_CHUNK - 1) / RSR_LIST_CHUNK;
    uint32_t count;
    memcpy(&count, (const char *)row + rsr_list_layout(cols, n).begin_at + 4 * n_chunks,
           sizeof count);
    return count;
}

void rsr_list_positive(void *row, uint32_t cols, const float *x, uint32_t n) {
    const struct rsr_list_layout layout = rsr_list_layout(cols, n);
    uint32_t *begin = u32_at(row, layout.begin_at), *index = u32_at(row, layout.index_at);
    uint32_t end = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (i % RSR_LIST_CHUNK == 0)
            *begin++ = end;
        index[end] = i;
        end += !(x[i] <= 0.0f);
    }
    *begin = end;
    memset(index + end, 0, RSR_LIST_SLACK * sizeof *index);
}

void rsr_list_nonzero(void *row, uint32_t cols) {
    const struct rsr_list_layout layout = rsr_list_layout(cols, cols);
    uint32_t *begin = u32_at(row, layout.begin_at), *index = u32_at(row, layout.index_at);
    const int8_t *q = (const int8_t *)row + RSR_ACT_HEADER;
    int8_t *value = (int8_t *)row + layout.value_at;
    uint32_t end = 0;
    for (uint32_t i = 0; i < cols; i++) {
        if (i % RSR_LIST_CHUNK == 0)
            *begin++ = end;
        index[end] = i;
        value[end] = q[i];
        end += q[i] != 0;
    }
    *begin = end;
    memset(index + end, 0, RSR_LIST_SLACK * sizeof *index);
    memset(value + end, 0, RSR_LIST_SLACK);
}
