/* lut_layout.c - forms of `lut` and sizes; see lut_layout.h. The bounds of the int16 sums are
 * proven here, from the form alone. */
#include "kernel/lut_layout.h"

#include <assert.h>

#include "base/round.h"

/* Loading a segment's table costs a unit as much as the look-ups of half a vector. */
#define TABLE_HALVES 1u
#define PAGE_BYTES 4096u
#define LINE_BYTES 64u
#define STAGGERED_PAGES 32u /* shorter streams get no gaps: gaps stay below 1 % of the codes */
#define GROUP_UNIT 64u      /* columns: the longest vector of bytes */
#define MAX_GROUP_COLS 256u
#define ZERO_WORD 13 /* the ternary code 0, of -13 .. 13, in WORDS */

/* For ternary and for binary codes; SHUFFLE16 looks up equally fast in vectors of any width. */
static const struct rsrc_lut_work table128[] = {{11.6, 4, 26}, {11.6, 4, 26}},
                                  words[] = {{7.9, 1, 14}, {7.9, 1, 22}},
                                  shuffle[] = {{11.8, 2, 36}, {8.1, 2, 42}};

#define F(id) RSR_CPU_MASK(id)
#define VBMI (F(AVX512BW) | F(AVX512VBMI) | F(AVX512VNNI) | F(GFNI))
static const struct rsrc_lut_machine machines[] = {
    {{VBMI, 512, "table128x64"}, 64, 10, RSRC_LUT_TABLE128, true, table128},
    {{F(AVX512BW), 512, "words32x64"}, 64, 2, RSRC_LUT_WORDS, true, words},
    {{F(AVX2), 256, "shuffle16x32"}, 32, 2, RSRC_LUT_SHUFFLE16, true, shuffle},
    {{F(SSSE3), 128, "shuffle16x16"}, 16, 2, RSRC_LUT_SHUFFLE16, true, shuffle},
    {{F(NEON), 128, "shuffle16x16-neon"}, 16, 4, RSRC_LUT_SHUFFLE16, false, shuffle},
};
const struct rsrc_machine_table rsrc_lut_machines = RSRC_MACHINE_TABLE(machines);

/* How segments are coded for a look-up. 122 sums of five ternary digits and 128 of eight signs
 * fit 128 entries up to sign; 14 of three ternary digits up to sign, and all 16 of four bits, fit
 * 16; all 27 of three ternary digits and all 32 of five bits fit 32. Sums of bits serve signs as
 * well: y = 2 * (sum of x where w = +1) - sum of x. */
static const struct lut_code {
    uint32_t segment_cols;
    uint32_t sign_loss; /* how much less a complement is than the opposite; 0: codes have no
                           signs */
    uint32_t step_segments, step_planes, plane_bytes, table_step_bytes;
    uint32_t byte_segments;
} lut_codes[3][2] = {
    /* [lookup][binary] */
    [RSRC_LUT_TABLE128] = {{5, 1, 1, 1, 1, 256, 0}, {8, 1, 1, 1, 1, 256, 0}},
    [RSRC_LUT_SHUFFLE16] = {{3, 1 + LUT_HIGH_WEIGHT, 8, 5, 1, 256, 8}, {4, 0, 8, 4, 1, 256, 4}},
    [RSRC_LUT_WORDS] = {{3, 0, 16, 5, 2, 16 * 64, 0}, {5, 0, 16, 5, 2, 16 * 64, 0}},
};

/* The number of steps whose sums fit int16. A segment's sum reaches -128 for each column. If -1 is
 * among the weights, in the table or by a sign, it also reaches +128. A sign makes it smaller
 * still, because ~t = -t - 1 for every part. Ternary: 51 segments of 5 columns, 72 or 80 of 3;
 * binary: 31 of 8, 64 of 4 or 48 of 5. The sums of a group begin with what its n_signs codes can
 * lack, which leaves less room above: still 51 of 5 columns and 72 of 3 for 256 columns. */
static uint32_t flush_steps(const struct lut_code *code, bool has_minus, uint32_t n_signs) {
    const uint32_t lowest = 128 * code->segment_cols + code->sign_loss;
    const uint32_t highest = (has_minus ? 128 : 127) * code->segment_cols;
    const uint32_t down = 32768 / lowest, up = (32767 - n_signs * code->sign_loss) / highest;
    return (down < up ? down : up) / code->step_segments;
}

struct rsrc_lut_shape rsrc_lut_matrix_shape(const struct rsr_matrix *matrix) {
    return (struct rsrc_lut_shape){.alphabet = matrix->alphabet,
                                   .rows = matrix->rows,
                                   .cols = matrix->cols,
                                   .group_cols = matrix->group_cols,
                                   .scale_bytes = rsrc_group_scale_bytes(matrix)};
}

struct rsrc_lut_shape rsrc_lut_planned_shape(const struct rsrc_plan_input *input) {
    return (struct rsrc_lut_shape){.alphabet = input->alphabet,
                                   .rows = input->stats->rows,
                                   .cols = input->stats->cols,
                                   .group_cols = input->group_cols,
                                   .scale_bytes = input->group_cols == 0 ? 0 : input->scale_bytes};
}

static uint32_t group_cols(const struct rsrc_lut_shape *shape) {
    return shape->group_cols != 0 && shape->group_cols < shape->cols ? shape->group_cols
                                                                     : shape->cols;
}

/* Signs and bits would need the sums of x of every group. A group's codes with a sign are counted
 * in a byte, which look-ups take as a signed one. */
bool rsrc_lut_takes_groups(const struct rsrc_lut_shape *shape) {
    const uint32_t cols = group_cols(shape);
    return shape->scale_bytes == 0 || (shape->alphabet == RSR_TERNARY && shape->cols % cols == 0 &&
                                       cols % GROUP_UNIT == 0 && cols <= MAX_GROUP_COLS);
}

enum rsrc_status rsrc_lut_check_groups(struct rsrc_diag *diag,
                                       const struct rsrc_lower_input *input) {
    const struct rsrc_lut_shape shape = rsrc_lut_matrix_shape(input->matrix);
    const struct rsrc_place place = {.tensor = input->title};
    if (rsrc_lut_takes_groups(&shape))
        return RSRC_OK;
    return rsrc_refuse(diag, "lower-groups", &place, "choose scatter with --variant",
                       "with int8 activations, look-ups have scales of groups of 64, 128, 192 or "
                       "256 ternary columns that fill a row; here are groups of %u, of %u columns",
                       shape.group_cols, shape.cols);
}

uint32_t rsrc_lut_unit_vectors(uint32_t n_vectors, uint32_t max_vectors, uint32_t cores) {
    const uint32_t shares = cores > 1 ? cores : 1;
    uint32_t best = 1;
    uint64_t least = UINT64_MAX;
    for (uint32_t n = 1; n <= max_vectors; n++) {
        const uint64_t units = rsrc_divide_up(rsrc_divide_up(n_vectors, n), shares);
        const uint64_t halves = units * (2 * n + TABLE_HALVES);
        if (halves <= least) {
            least = halves;
            best = n;
        }
    }
    return best;
}

uint64_t rsrc_lut_stream_bytes(uint64_t filled, uint32_t n_streams) {
    const uint64_t part = PAGE_BYTES / n_streams / LINE_BYTES * LINE_BYTES;
    if (filled < STAGGERED_PAGES * PAGE_BYTES)
        return filled;
    return rsrc_round_up(filled + PAGE_BYTES - part, PAGE_BYTES) - PAGE_BYTES + part;
}

double rsrc_lut_instructions(const struct rsrc_lut_work *work, uint32_t n_steps, uint32_t at_once,
                             uint32_t n_vectors, uint32_t unit_vectors) {
    const double n_units = rsrc_divide_up(n_vectors, unit_vectors);
    return n_steps * (n_vectors * work->look_up + n_units * work->load + work->build / at_once);
}

struct rsrc_lut_layout rsrc_make_lut_layout(const struct rsrc_machine *row, uint32_t cores,
                                            const struct rsrc_lut_shape *shape) {
    const struct rsrc_lut_machine *machine = (const struct rsrc_lut_machine *)row;
    const bool ternary = shape->alphabet == RSR_TERNARY;
    const struct lut_code *code = &lut_codes[machine->lookup][!ternary];
    const uint32_t cols = shape->scale_bytes != 0 ? group_cols(shape) : shape->cols;
    const uint32_t group_segments = rsrc_divide_up(cols, code->segment_cols);
    assert(rsrc_lut_takes_groups(shape));
    struct rsrc_lut_layout layout = {.form = row->name,
                                     .alphabet = shape->alphabet,
                                     .lookup = machine->lookup,
                                     .has_sign = code->sign_loss != 0,
                                     .adds_pairs = machine->adds_pairs,
                                     .segment_cols = code->segment_cols,
                                     .vector_rows = machine->vector_rows,
                                     .step_segments = code->step_segments,
                                     .step_planes = code->step_planes,
                                     .plane_bytes = code->plane_bytes,
                                     .table_step_bytes = code->table_step_bytes,
                                     .byte_segments = code->byte_segments,
                                     .group_cols = cols,
                                     .n_groups = shape->cols / cols,
                                     .scale_bytes = shape->scale_bytes};
    layout.flush_steps = flush_steps(code, ternary || code->sign_loss != 0,
                                     layout.scale_bytes != 0 ? group_segments : 0);
    layout.group_steps = rsrc_divide_up(group_segments, layout.step_segments);
    layout.n_segments = layout.n_groups * group_segments;
    layout.n_steps = layout.n_groups * layout.group_steps;
    layout.n_vectors = rsrc_divide_up(shape->rows, layout.vector_rows);
    layout.unit_vectors = rsrc_lut_unit_vectors(layout.n_vectors, machine->max_vectors, cores);
    layout.stream_bytes = rsrc_lut_stream_bytes(
        rsrc_divide_up(layout.n_vectors, layout.unit_vectors) * rsrc_lut_vector_bytes(&layout),
        layout.unit_vectors);
    return layout;
}

struct rsrc_lut_layout rsrc_lut_layout_of(const struct rsr_spec *spec,
                                          const struct rsrc_lut_shape *shape) {
    return rsrc_make_lut_layout(rsrc_find_machine(&rsrc_lut_machines, spec), spec->cores, shape);
}

uint32_t rsrc_lut_unit_rows(const struct rsr_spec *spec, uint32_t rows) {
    const struct rsrc_lut_shape shape = {.alphabet = RSR_TERNARY, .rows = rows, .cols = 1};
    const struct rsrc_lut_layout layout = rsrc_lut_layout_of(spec, &shape);
    return layout.unit_vectors * layout.vector_rows;
}

uint32_t rsrc_lut_max_cols(const struct rsrc_lut_layout *layout) {
    if (layout->scale_bytes != 0) /* sums are of a group */
        return UINT32_MAX;
    return layout->has_sign ? (uint32_t)INT16_MAX * layout->segment_cols : RSRC_MAX_SUM_COLS;
}

int rsrc_balanced_digit(int code, uint32_t i) {
    for (;; i--) {
        const int digit = (code % 3 + 4) % 3 - 1;
        if (i == 0)
            return digit;
        code = (code - digit) / 3;
    }
}

int rsrc_lut_word_digit(const struct rsrc_lut_layout *layout, uint32_t code, uint32_t i) {
    if (layout->alphabet != RSR_TERNARY)
        return (int)(code >> i & 1);
    return code < 27 ? rsrc_balanced_digit((int)code - ZERO_WORD, i) : 0;
}

uint8_t rsrc_lut_zero_code(const struct rsrc_lut_layout *layout) {
    return layout->lookup == RSRC_LUT_WORDS && layout->alphabet == RSR_TERNARY ? ZERO_WORD : 0;
}

uint32_t rsrc_lut_lane_row(const struct rsrc_lut_layout *layout, uint32_t lane) {
    const uint32_t run = (lane % 16 / 8) * 2 + lane % 2;
    return run * (layout->vector_rows / 4) + lane / 16 * 4 + lane % 8 / 2;
}

uint32_t rsrc_lut_lane_correction(const struct rsrc_lut_layout *layout, uint32_t lane) {
    return lane % 16 / 8 * (layout->vector_rows / 2) + lane / 16 * 8 + lane % 8;
}

uint32_t rsrc_lut_step_bytes(const struct rsrc_lut_layout *layout) {
    return layout->step_planes * layout->vector_rows * layout->plane_bytes;
}

uint32_t rsrc_lut_head_bytes(const struct rsrc_lut_layout *layout) {
    return layout->scale_bytes == 0
               ? 0
               : layout->vector_rows * (layout->scale_bytes + layout->has_sign);
}

uint64_t rsrc_lut_group_bytes(const struct rsrc_lut_layout *layout) {
    return rsrc_lut_head_bytes(layout) +
           (uint64_t)layout->group_steps * rsrc_lut_step_bytes(layout);
}

uint64_t rsrc_lut_vector_bytes(const struct rsrc_lut_layout *layout) {
    return layout->n_groups * rsrc_lut_group_bytes(layout);
}

uint64_t rsrc_lut_codes_bytes(const struct rsrc_lut_layout *layout) {
    const uint32_t in_last_stream = layout->n_vectors / layout->unit_vectors;
    return (layout->unit_vectors - 1) * layout->stream_bytes +
           in_last_stream * rsrc_lut_vector_bytes(layout);
}

/* Constants that build tables. TABLE128: digits and starts of two parts, two selections from them
 * for each quarter, and the numbers of the low and high bytes. Others: per column a shuffle
 * pattern, and its digits in every lane of sums: two vectors for the 16 sums of SHUFFLE16, one
 * vector for the 32 sums of WORDS. */
uint64_t rsrc_lut_constants_bytes(const struct rsrc_lut_layout *layout) {
    static const struct {
        uint32_t always, of_column;
    } vectors[] = {[RSRC_LUT_TABLE128] = {2 * 2 + 4 * 2 + 2, 0},
                   [RSRC_LUT_SHUFFLE16] = {0, 1 + 2},
                   [RSRC_LUT_WORDS] = {0, 1 + 1}};
    const uint64_t n =
        vectors[layout->lookup].always + vectors[layout->lookup].of_column * layout->segment_cols;
    return n * layout->vector_rows;
}

uint64_t rsrc_lut_index_bytes(const struct rsrc_lut_layout *layout) {
    const uint64_t corrections =
        rsrc_lut_has_corrections(layout)
            ? (uint64_t)layout->n_vectors * layout->vector_rows * sizeof(int16_t)
            : 0;
    return rsrc_lut_constants_bytes(layout) + corrections;
}
