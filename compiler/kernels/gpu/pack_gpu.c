/* pack_gpu.c - int8 weights to GPU codes; the layout is in gpu.h. */
#include "kernels/gpu/gpu.h"

#include <assert.h>
#include <string.h>

#define WORDS 4u /* of a 16-byte load */
#define WORD_BYTES 4u
#define MAX_GROUPS 20u
#define MAX_STEP_COLS (MAX_GROUPS * 4 * RSR_GPU_LANES_PER_ROW)

/* Groups of four codes in a load. */
static uint32_t load_groups(enum rsr_gpu_codes codes) {
    return codes == RSR_GPU_BITS2 ? 16 : 20;
}

/* One byte of codes from digits `stride` apart, first digit first. */
static uint8_t pack_bits2(const uint8_t *digit) {
    return (uint8_t)(digit[0] | digit[4] << 2 | digit[8] << 4 | digit[12] << 6);
}

static uint8_t pack_base3(const uint8_t *digit) {
    const uint32_t v = digit[0] * 81u + digit[4] * 27u + digit[8] * 9u + digit[12] * 3u + digit[16];
    return (uint8_t)((v * 256 + 242) / 243);
}

/* The 16 bytes of one lane from its codes in the order of groups. */
static void pack_load(const uint8_t *digits, enum rsr_gpu_codes codes, uint8_t *out) {
    const uint32_t word_groups = load_groups(codes) / WORDS;
    for (uint32_t word = 0; word < WORDS; word++)
        for (uint32_t byte = 0; byte < WORD_BYTES; byte++) {
            const uint8_t *first = digits + word * word_groups * WORD_BYTES + byte;
            out[word * WORD_BYTES + byte] =
                codes == RSR_GPU_BITS2 ? pack_bits2(first) : pack_base3(first);
        }
}

/* One step of one row: `n` weights, less than a whole step at the end of a row. */
static void pack_step(const int8_t *weights, uint32_t n, enum rsr_gpu_codes codes, uint8_t *out) {
    const uint32_t groups = load_groups(codes);
    uint8_t code[MAX_STEP_COLS] = {0};
    for (uint32_t i = 0; i < n; i++)
        code[i] = (uint8_t)(weights[i] + 1);
    for (uint32_t lane = 0; lane < RSR_GPU_LANES_PER_ROW; lane++) {
        uint8_t digits[MAX_GROUPS * WORD_BYTES];
        for (uint32_t quad = 0; quad < groups / 4; quad++) /* 16 consecutive columns */
            memcpy(digits + quad * 16, code + quad * 128 + lane * 16, 16);
        pack_load(digits, codes, out + (size_t)lane * WORDS * WORD_BYTES);
    }
}

void rsrc_pack_gpu(const struct rsr_matrix *matrix, const struct rsr_gpu_plan *plan, uint8_t *out) {
    const uint32_t step_cols = load_groups(plan->codes) * 4 * RSR_GPU_LANES_PER_ROW;
    const size_t row_step_bytes = (size_t)RSR_GPU_LANES_PER_ROW * WORDS * WORD_BYTES;
    const size_t step_bytes = row_step_bytes * RSR_GPU_ROWS_PER_WARP;
    assert((uint64_t)plan->steps * step_cols >= matrix->cols);
    memset(out, 0, plan->weight_bytes);
    for (uint32_t row = 0; row < matrix->rows; row++) {
        const int8_t *weights = matrix->values + (size_t)row * matrix->cols;
        uint8_t *first = out + (size_t)(row / RSR_GPU_ROWS_PER_WARP) * plan->steps * step_bytes +
                         row % RSR_GPU_ROWS_PER_WARP * row_step_bytes;
        for (uint32_t step = 0; step < plan->steps; step++) {
            const uint32_t begin = step * step_cols;
            const uint32_t left = matrix->cols - begin;
            pack_step(weights + begin, left < step_cols ? left : step_cols, plan->codes,
                      first + step * step_bytes);
        }
    }
}
