/* pack_rows.c - packs rows of bfloat16: the 16 most frequent high bytes of a row get codes, the
 * others become exceptions. Nothing is assumed of the weights, so NaN, infinities, zeros of both
 * signs and denormals come out as they went in.
 */
#include "model/pack_rows.h"

#include <string.h>

#include "model/tensor_data.h"
#include "rsr_packed.h"

/* Rows whose pages are released together. */
#define RELEASED_ROWS 512u

static uint32_t rows_of(const struct rsr_tensor *tensor) {
    return (uint32_t)tensor->shape[0];
}

static uint32_t cols_of(const struct rsr_tensor *tensor) {
    return (uint32_t)tensor->shape[1];
}

static const uint8_t *row_at(const struct rsr_tensor *tensor, uint32_t row) {
    return tensor->data + (uint64_t)row * cols_of(tensor) * 2;
}

/* Gives the pages of rows back, and those around them that the system has mapped again with them:
 * up to 64 KiB of what is beside a page that is read. */
static void release_rows(const struct rsr_tensor *tensor, uint32_t first, uint32_t n) {
    const uint64_t around = 65536, row_bytes = (uint64_t)cols_of(tensor) * 2;
    const uint64_t begin = first * row_bytes, end = begin + n * row_bytes;
    const uint64_t from = begin < around ? 0 : begin - around;
    const uint64_t to = tensor->size_bytes - end < around ? tensor->size_bytes : end + around;
    rsrc_release_tensor(tensor, from, to - from);
}

bool rsrc_can_pack(const struct rsr_tensor *tensor, const char **reason) {
    if (tensor->dtype != RSR_DTYPE_BF16)
        *reason = "only bfloat16 is stored in 12 bits";
    else if (tensor->data == NULL)
        *reason = "the file has it in blocks, which become bfloat16 when they are written";
    else if (tensor->n_dims != 2 || tensor->shape[1] > RSR_PACKED_MOST_COLS)
        *reason = "its rows are too long for 12 bits";
    else
        return true;
    return false;
}

/* Finds the most frequent high bytes of a row, in ascending order; of equally frequent ones the
 * lower. has_code [256] receives which they are.
 * Returns the number of exceptions. */
static uint32_t choose_highs(const uint8_t *row, uint32_t cols, uint8_t *highs, bool *has_code) {
    uint32_t counts[2][256] = {{0}}, n_coded = 0;
    for (uint32_t i = 0; i < cols; i++) /* two counters: neighbours often have one high byte */
        counts[i % 2][row[2 * i + 1]]++;
    for (uint32_t h = 0; h < 256; h++)
        counts[0][h] += counts[1][h];
    memset(has_code, 0, 256 * sizeof(*has_code));
    for (uint32_t n = 0; n < RSR_PACKED_HIGHS; n++) {
        uint32_t best = 0;
        for (uint32_t h = 1; h < 256; h++)
            if (has_code[best] || (!has_code[h] && counts[0][h] > counts[0][best]))
                best = h;
        has_code[best] = true;
        n_coded += counts[0][best];
    }
    for (uint32_t h = 0, n = 0; h < 256; h++)
        if (has_code[h])
            highs[n++] = (uint8_t)h;
    return cols - n_coded;
}

static void list_exceptions(const uint8_t *row, uint32_t cols, const bool *has_code,
                            struct rsrc_buffer *exceptions) {
    for (uint32_t i = 0; i < cols; i++) {
        const uint32_t exception = i << 8 | row[2 * i + 1];
        if (!has_code[row[2 * i + 1]])
            rsrc_buffer_append(exceptions, &exception, sizeof(exception));
    }
}

/* What comes before the rows. */
static void make_front(struct rsrc_arena *arena, const struct rsr_tensor *tensor,
                       const uint32_t *ends, const struct rsrc_buffer *exceptions,
                       const uint8_t *highs, struct rsr_packing *plan) {
    const uint32_t rows = rows_of(tensor);
    uint8_t *out = rsrc_arena_array(arena, plan->front_bytes, 1);
    uint8_t *at = out + RSR_PACKED_HEADER_BYTES;
    memset(out, 0, plan->front_bytes);
    memcpy(out, &plan->n_exceptions, sizeof(plan->n_exceptions));
    memcpy(at, ends, rows * sizeof(*ends));
    if (exceptions->size_bytes != 0)
        memcpy(at + rows * sizeof(*ends), exceptions->data, exceptions->size_bytes);
    memcpy(out + rsr_packed_highs_at(rows, plan->n_exceptions), highs,
           (size_t)rows * RSR_PACKED_HIGHS);
    plan->front = out;
}

void rsrc_plan_packing(struct rsrc_arena *arena, const struct rsr_tensor *tensor,
                       uint64_t most_bytes, struct rsr_packing *plan) {
    const uint32_t rows = rows_of(tensor), cols = cols_of(tensor);
    struct rsrc_arena scratch;
    rsrc_arena_init(&scratch);
    uint8_t *highs = rsrc_arena_array(&scratch, rows, RSR_PACKED_HIGHS);
    uint32_t *ends = RSRC_NEW_ARRAY(&scratch, rows, uint32_t);
    struct rsrc_buffer exceptions = {0};
    uint32_t n_exceptions = 0;
    bool fits = rsr_packed_bytes(rows, cols, 0) <= most_bytes;
    for (uint32_t row = 0; fits && row < rows; row++) {
        bool has_code[256];
        const uint32_t n = choose_highs(row_at(tensor, row), cols,
                                        highs + (size_t)row * RSR_PACKED_HIGHS, has_code);
        if (n != 0)
            list_exceptions(row_at(tensor, row), cols, has_code, &exceptions);
        n_exceptions += n;
        ends[row] = n_exceptions;
        fits = rsr_packed_bytes(rows, cols, n_exceptions) <= most_bytes;
        if ((row + 1) % RELEASED_ROWS == 0 || row + 1 == rows) {
            const uint32_t first = row / RELEASED_ROWS * RELEASED_ROWS;
            release_rows(tensor, first, row + 1 - first);
        }
    }
    *plan = (struct rsr_packing){.is_packed = fits,
                                 .n_exceptions = n_exceptions,
                                 .size_bytes = rsr_packed_bytes(rows, cols, n_exceptions),
                                 .front_bytes = rsr_packed_rows_at(rows, n_exceptions)};
    if (fits)
        make_front(arena, tensor, ends, &exceptions, highs, plan);
    rsrc_buffer_free(&exceptions);
    rsrc_arena_free(&scratch);
}

uint64_t rsrc_packed_row_bytes(const struct rsr_tensor *tensor) {
    return rsr_packed_row_bytes(cols_of(tensor));
}

static void pack_row(const uint8_t *row, uint32_t cols, const uint8_t *highs, uint8_t *out) {
    const uint32_t n_blocks = rsr_packed_blocks(cols);
    uint8_t code_of[256] = {0}; /* of an exception: any */
    memset(out, 0, rsr_packed_row_bytes(cols));
    for (uint8_t n = 0; n < RSR_PACKED_HIGHS; n++)
        code_of[highs[n]] = n;
    for (uint32_t i = 0; i < cols; i++) {
        const uint32_t block = i / RSR_PACKED_BLOCK, at = rsr_packed_place(i % RSR_PACKED_BLOCK);
        uint8_t *codes = out + (size_t)n_blocks * RSR_PACKED_BLOCK + (size_t)block * 32;
        out[(size_t)block * RSR_PACKED_BLOCK + at] = row[2 * i];
        codes[at % 32] |= (uint8_t)(code_of[row[2 * i + 1]] << (at < 32 ? 0 : 4));
    }
}

void rsrc_pack_rows(const struct rsr_tensor *tensor, const struct rsr_packing *plan, uint32_t first,
                    uint32_t n, uint8_t *out) {
    const uint32_t cols = cols_of(tensor);
    const uint8_t *highs = plan->front + rsr_packed_highs_at(rows_of(tensor), plan->n_exceptions);
    for (uint32_t row = first; row < first + n; row++)
        pack_row(row_at(tensor, row), cols, highs + (size_t)row * RSR_PACKED_HIGHS,
                 out + (row - first) * rsr_packed_row_bytes(cols));
    release_rows(tensor, first, n);
}
