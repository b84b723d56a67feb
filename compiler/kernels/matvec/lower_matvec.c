/* lower_matvec.c - turns a plan for a GPU into the constants of its kernel, and int8 weights into
 * codes, whose layout is in matvec.h. */
#include "kernels/matvec/matvec.h"

#include <assert.h>
#include <string.h>

#include "base/round.h"

#define LANES 32u
#define LANE_BYTES 16u
#define WORD_BYTES 4u
#define MAX_GROUPS 5u

/* ---- packing --------------------------------------------------------------------------------- */

/* One byte of codes from its digits, first group first. */
static uint8_t pack_byte(const uint8_t digit[MAX_GROUPS], enum rsr_gpu_codes codes) {
    if (codes == RSR_GPU_BITS2)
        return (uint8_t)(digit[0] | digit[1] << 2 | digit[2] << 4 | digit[3] << 6);
    const uint32_t v = digit[0] * 81u + digit[1] * 27u + digit[2] * 9u + digit[3] * 3u + digit[4];
    return (uint8_t)((v * 256 + 242) / 243);
}

/* The column, within its step, of byte j of a group in word w of the lanes with l % 4 = t. */
static uint32_t column_of(uint32_t t, uint32_t w, uint32_t group, uint32_t j) {
    const uint32_t in_pair = group < 4 ? group / 2 * 64 + t * 16 + group % 2 * 8 : 128 + t * 8;
    return in_pair + w / 2 * 4 + j;
}

/* Packs the words of one row in one step; `row` is its number of the 16, `code` has the step's
 * codes. */
static void pack_row(const uint8_t *code, uint32_t row, enum rsr_gpu_codes codes, uint8_t *step) {
    for (uint32_t i = 0; i < 4 * LANE_BYTES / 2; i++) { /* bytes of the row's four lanes */
        const uint32_t t = i / 8, w = i / 4 % 2 * 2 + row / 8, j = i % 4;
        uint8_t digit[MAX_GROUPS] = {0};
        for (uint32_t g = 0; g < rsrc_matvec_groups(codes); g++)
            digit[g] = code[column_of(t, w, g, j)];
        step[(row % 8 * 4 + t) * LANE_BYTES + w * WORD_BYTES + j] = pack_byte(digit, codes);
    }
}

void rsrc_pack_matvec(const struct rsr_matrix *matrix, const struct rsr_matvec *matvec,
                      uint8_t *out) {
    const uint32_t step_cols = rsrc_matvec_step_cols(matvec->codes);
    assert((uint64_t)matvec->steps * step_cols >= matrix->cols);
    memset(out, 0, matvec->weight_bytes);
    for (uint32_t row = 0; row < matrix->rows; row++) {
        const int8_t *weights = matrix->values + (size_t)row * matrix->cols;
        const size_t first = (size_t)(row / RSR_GPU_ROWS_PER_WARP) * matvec->steps;
        for (uint32_t step = 0; step < matvec->steps; step++) {
            uint8_t code[32 * MAX_GROUPS] = {0};
            const uint32_t begin = step * step_cols, left = matrix->cols - begin;
            for (uint32_t i = 0; i < (left < step_cols ? left : step_cols); i++)
                code[i] = (uint8_t)(weights[begin + i] + 1);
            pack_row(code, row % RSR_GPU_ROWS_PER_WARP, matvec->codes,
                     out + (first + step) * RSR_GPU_STEP_BYTES);
        }
    }
}

/* ---- constants ------------------------------------------------------------------------------- */

/* Steps of a warp that leave it work enough beside its beginning and end. Warps beyond that share
 * no steps. */
#define MIN_WARP_STEPS 5u
/* Base-3 kernels for four tokens take 100 registers: three such blocks need small ones. */
#define MAX_BASE3_WARPS 4u

/* By ptxas for sm_80 to sm_120, of what NVRTC 13 and clang 19 made: the most loads without spills
 * (tests/ptx/ptxas.test). */
static uint32_t most_ahead(const struct rsr_matvec *matvec, bool several) {
    if (matvec->codes == RSR_GPU_BITS2)
        return several ? 3 : 5;
    return several ? 2 : 4;
}

static struct rsr_gpu_function function_for(const struct rsr_matvec *matvec, uint32_t tokens) {
    const bool dot = matvec->product == RSR_GPU_DOT, several = dot && tokens > 1;
    const uint32_t steps = rsrc_divide_up(matvec->steps, matvec->col_warps);
    const uint32_t most = most_ahead(matvec, several);
    return (struct rsr_gpu_function){.tokens = tokens,
                                     .ahead = steps < most ? steps : most,
                                     .registers = dot && !several                             ? 64
                                                  : several && matvec->codes == RSR_GPU_BASE3 ? 160
                                                                                              : 80};
}

void rsrc_set_matvec_functions(struct rsr_matvec *matvec) {
    matvec->n_functions = 0;
    if (matvec->product == RSR_GPU_DOT && matvec->token_tile != 1)
        matvec->functions[matvec->n_functions++] = function_for(matvec, 1);
    matvec->functions[matvec->n_functions++] = function_for(matvec, matvec->token_tile);
}

struct rsr_matvec rsrc_make_matvec(const struct rsrc_lower_input *input) {
    const struct rsrc_matvec_kind kind = rsrc_matvec_kind(input->plan->kernel);
    const struct rsr_matrix *matrix = input->matrix;
    const uint32_t row_groups = rsrc_divide_up(matrix->rows, RSR_GPU_ROWS_PER_WARP);
    struct rsr_matvec m = {.codes = kind.codes,
                           .product = kind.product,
                           .rows = matrix->rows,
                           .cols = matrix->cols,
                           .steps = rsrc_divide_up(matrix->cols, rsrc_matvec_step_cols(kind.codes)),
                           .row_warps = input->plan->tile_rows / RSR_GPU_ROWS_PER_WARP,
                           .token_tile = input->plan->token_tile,
                           .scale_per_row = matrix->n_scales > 1,
                           .epilogue = input->epilogue};
    const uint32_t most = kind.codes == RSR_GPU_BITS2 ? RSRC_MATVEC_MAX_WARPS : MAX_BASE3_WARPS;
    const uint32_t spare = most > m.row_warps ? most / m.row_warps : 1;
    const uint32_t wanted = rsrc_divide_up(m.steps, MIN_WARP_STEPS);
    m.col_warps = spare < wanted ? spare : wanted;
    m.blocks = rsrc_divide_up(row_groups, m.row_warps);
    m.weight_bytes = (uint64_t)row_groups * m.steps * RSR_GPU_STEP_BYTES;
    rsrc_set_matvec_functions(&m);
    return m;
}

/* ---- lowering -------------------------------------------------------------------------------- */

static enum rsrc_status lower(struct rsrc_diag *diag, struct rsrc_arena *arena,
                              const struct rsrc_lower_input *input, struct rsr_lowered *out,
                              const char **detail) {
    const struct rsrc_place place = {.tensor = input->title};
    if (input->matrix->cols > RSRC_MATVEC_MAX_COLS)
        return rsrc_refuse(diag, "gpu-cols", &place, "leave the layer out with --layers",
                           "a matrix of %u columns has no GPU kernel: sums of at most %u fit",
                           input->matrix->cols, RSRC_MATVEC_MAX_COLS);
    struct rsr_matvec *matvec = RSRC_NEW(arena, struct rsr_matvec);
    *matvec = rsrc_make_matvec(input);
    if (input->codes != NULL) {
        out->codes = *input->codes;
    } else {
        uint8_t *bytes = RSRC_NEW_ARRAY(arena, matvec->weight_bytes, uint8_t);
        rsrc_pack_matvec(input->matrix, matvec, bytes);
        out->codes = (struct rsr_blob){.bytes = bytes, .size_bytes = matvec->weight_bytes};
    }
    out->kernel.tile_rows = input->plan->tile_rows;
    out->kernel.n_tiles = matvec->blocks;
    out->kernel.matvec = matvec;
    *detail = rsrc_arena_printf(arena, "tokens%u", matvec->token_tile);
    return RSRC_OK;
}

#define LOWER(name)                                                                                \
    enum rsrc_status rsrc_lower_##name(struct rsrc_diag *diag, struct rsrc_arena *arena,           \
                                       const struct rsrc_lower_input *input,                       \
                                       struct rsr_lowered *out, const char **detail) {             \
        return lower(diag, arena, input, out, detail);                                             \
    }
LOWER(dot_bits2)
LOWER(dot_base3)
LOWER(mma_bits2)
LOWER(mma_base3)
