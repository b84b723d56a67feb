/* lower_matvec.c - turns a plan for a GPU into the constants of its kernel, and int8 weights into
 * codes, whose layout is in matvec.h. */
#include "kernels/matvec/matvec.h"

#include <assert.h>
#include <string.h>

#include "base/round.h"

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

/* Packs one step of one row: `n` weights, fewer at the end of a row. */
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

void rsrc_pack_matvec(const struct rsr_matrix *matrix, const struct rsr_matvec *matvec,
                      uint8_t *out) {
    const uint32_t step_cols = rsrc_matvec_step_cols(matvec->codes);
    const size_t row_step_bytes = (size_t)RSR_GPU_LANES_PER_ROW * WORDS * WORD_BYTES;
    const size_t step_bytes = row_step_bytes * RSR_GPU_ROWS_PER_WARP;
    assert((uint64_t)matvec->steps * step_cols >= matrix->cols);
    memset(out, 0, matvec->weight_bytes);
    for (uint32_t row = 0; row < matrix->rows; row++) {
        const int8_t *weights = matrix->values + (size_t)row * matrix->cols;
        uint8_t *first = out + (size_t)(row / RSR_GPU_ROWS_PER_WARP) * matvec->steps * step_bytes +
                         row % RSR_GPU_ROWS_PER_WARP * row_step_bytes;
        for (uint32_t step = 0; step < matvec->steps; step++) {
            const uint32_t begin = step * step_cols;
            const uint32_t left = matrix->cols - begin;
            pack_step(weights + begin, left < step_cols ? left : step_cols, matvec->codes,
                      first + step * step_bytes);
        }
    }
}

/* ---- constants ------------------------------------------------------------------------------- */

#define MAX_AHEAD 6u /* loads in flight: 96 bytes and 24 registers per lane */

struct rsr_matvec rsrc_make_matvec(const struct rsrc_lower_input *input) {
    const enum rsr_gpu_codes codes = rsrc_matvec_codes(input->plan->kernel);
    const struct rsr_matrix *matrix = input->matrix;
    const uint32_t row_groups = rsrc_divide_up(matrix->rows, RSR_GPU_ROWS_PER_WARP);
    struct rsr_matvec m = {.codes = codes,
                           .rows = matrix->rows,
                           .cols = matrix->cols,
                           .steps = rsrc_divide_up(matrix->cols, rsrc_matvec_step_cols(codes)),
                           .row_warps = input->plan->tile_rows / RSR_GPU_ROWS_PER_WARP,
                           .token_tile = input->plan->token_tile,
                           .scale_per_row = matrix->n_scales > 1,
                           .epilogue = input->epilogue};
    const uint32_t spare = RSRC_MATVEC_MAX_WARPS / m.row_warps;
    m.col_warps = spare < m.steps ? spare : m.steps;
    const uint32_t warp_steps = rsrc_divide_up(m.steps, m.col_warps);
    m.ahead = rsrc_divide_up(warp_steps, rsrc_divide_up(warp_steps, MAX_AHEAD));
    m.blocks = rsrc_divide_up(row_groups, m.row_warps);
    m.weight_bytes = (uint64_t)row_groups * m.steps * 32 * WORDS * WORD_BYTES;
    return m;
}

static enum rsrc_status lower(struct rsrc_diag *diag, struct rsrc_arena *arena,
                              const struct rsrc_lower_input *input, struct rsr_lowered *out,
                              const char **detail) {
    const struct rsrc_place place = {.tensor = input->title};
    if (input->matrix->cols > RSRC_MATVEC_MAX_COLS)
        return rsrc_refuse(diag, "gpu-cols", &place, "leave the layer out with --layers",
                           "a matrix of %u columns has no GPU kernel: at most %u fit",
                           input->matrix->cols, RSRC_MATVEC_MAX_COLS);
    struct rsr_matvec *matvec = RSRC_NEW(arena, struct rsr_matvec);
    *matvec = rsrc_make_matvec(input);
    uint8_t *bytes = RSRC_NEW_ARRAY(arena, matvec->weight_bytes, uint8_t);
    rsrc_pack_matvec(input->matrix, matvec, bytes);
    out->codes = (struct rsr_blob){.bytes = bytes, .size_bytes = matvec->weight_bytes};
    out->kernel.tile_rows = input->plan->tile_rows;
    out->kernel.n_tiles = matvec->blocks;
    out->kernel.matvec = matvec;
    *detail = rsrc_arena_printf(arena, "tokens%u", matvec->token_tile);
    return RSRC_OK;
}

enum rsrc_status rsrc_lower_matvec_bits2(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                         const struct rsrc_lower_input *input,
                                         struct rsr_lowered *out, const char **detail) {
    return lower(diag, arena, input, out, detail);
}

enum rsrc_status rsrc_lower_matvec_base3(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                         const struct rsrc_lower_input *input,
                                         struct rsr_lowered *out, const char **detail) {
    return lower(diag, arena, input, out, detail);
}
