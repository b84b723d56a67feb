/* lut_f32_layout.c - codes of `lut` for float activations, and sizes; see lut_f32_layout.h. */
#include "kernel/lut_f32_layout.h"

#include "base/round.h"

static const struct alphabet_codes {
    uint32_t step_cols, segment_cols, n_segments;
    uint32_t code_bits[2]; /* table_sums of words, and of planes */
} alphabet_codes[] = {[RSR_TERNARY] = {19, 3, 7, {5, 4}},
                      [RSR_BINARY_SIGN] = {32, 4, 8, {4, 4}},
                      [RSR_BINARY_BIT] = {32, 4, 8, {4, 4}}};

/* Number of vectors in the first stream, or in the second. */
static uint32_t count_vectors(const struct rsrc_lut_f32_layout *layout, bool second) {
    const uint32_t n_units = layout->n_vectors / layout->unit_vectors;
    const uint32_t left = layout->n_vectors % layout->unit_vectors;
    const uint32_t left_first = left < layout->stream_vectors ? left : layout->stream_vectors;
    return second ? n_units * (layout->unit_vectors - layout->stream_vectors) + left - left_first
                  : n_units * layout->stream_vectors + left_first;
}

struct rsrc_lut_f32_layout rsrc_make_lut_f32_layout(const struct rsrc_machine *row, uint32_t cores,
                                                    const struct rsrc_lut_shape *shape) {
    const struct rsrc_lut_f32_machine *machine = (const struct rsrc_lut_f32_machine *)row;
    const struct alphabet_codes *codes = &alphabet_codes[shape->alphabet];
    const bool planes = machine->planes;
    struct rsrc_lut_f32_layout layout = {.alphabet = shape->alphabet,
                                         .step_cols = codes->step_cols,
                                         .segment_cols = codes->segment_cols,
                                         .n_segments = codes->n_segments,
                                         .code_bits = codes->code_bits[planes],
                                         .planes = planes,
                                         .vector_rows = machine->vector_rows,
                                         .cols = shape->cols};
    layout.table_sums = shape->alphabet == RSR_TERNARY && !planes ? 32 : 16;
    layout.group_cols =
        shape->group_cols != 0 && shape->group_cols < shape->cols ? shape->group_cols : shape->cols;
    layout.n_groups = rsrc_divide_up(shape->cols, layout.group_cols);
    layout.group_steps = rsrc_divide_up(layout.group_cols, layout.step_cols);
    layout.n_steps =
        (layout.n_groups - 1) * layout.group_steps +
        rsrc_divide_up(shape->cols - (layout.n_groups - 1) * layout.group_cols, layout.step_cols);
    layout.scale_bytes = shape->scale_bytes;
    layout.n_vectors = rsrc_divide_up(shape->rows, layout.vector_rows);
    /* Both streams have equal numbers of vectors per unit. */
    const uint32_t n_streams = layout.n_vectors > 1 && machine->max_vectors > 1 ? 2 : 1;
    layout.stream_vectors = rsrc_lut_unit_vectors(rsrc_divide_up(layout.n_vectors, n_streams),
                                                  machine->max_vectors / n_streams, cores);
    layout.unit_vectors = n_streams * layout.stream_vectors;
    layout.stream_bytes = rsrc_lut_stream_bytes(
        count_vectors(&layout, false) * rsrc_lut_f32_vector_bytes(&layout), 2);
    return layout;
}

/* Zips work within lanes of 16 bytes: of each lane, the first four rows belong to run 0, the next
 * four to run 1, and so on. */
uint32_t rsrc_lut_f32_lane(const struct rsrc_lut_f32_layout *layout, uint32_t row) {
    const uint32_t run_rows = layout->vector_rows / RSRC_LUT_F32_RUNS;
    const uint32_t run = row / run_rows, in_run = row % run_rows;
    return in_run / 4 * 16 + run * 4 + in_run % 4;
}

uint32_t rsrc_lut_f32_step_bytes(const struct rsrc_lut_f32_layout *layout) {
    return layout->vector_rows * (uint32_t)sizeof(uint32_t);
}

uint64_t rsrc_lut_f32_group_bytes(const struct rsrc_lut_f32_layout *layout) {
    return (uint64_t)layout->group_steps * rsrc_lut_f32_step_bytes(layout) +
           (uint64_t)layout->vector_rows * layout->scale_bytes;
}

uint64_t rsrc_lut_f32_vector_bytes(const struct rsrc_lut_f32_layout *layout) {
    return (uint64_t)layout->n_steps * rsrc_lut_f32_step_bytes(layout) +
           (uint64_t)layout->n_groups * layout->vector_rows * layout->scale_bytes;
}

uint64_t rsrc_lut_f32_codes_bytes(const struct rsrc_lut_f32_layout *layout) {
    const uint32_t in_second = count_vectors(layout, true);
    if (in_second == 0)
        return layout->n_vectors * rsrc_lut_f32_vector_bytes(layout);
    return layout->stream_bytes + in_second * rsrc_lut_f32_vector_bytes(layout);
}

uint32_t rsrc_lut_f32_n_digits(const struct rsrc_lut_f32_layout *layout) {
    const bool single = layout->alphabet == RSR_TERNARY && !layout->planes;
    return layout->segment_cols * layout->table_sums + (single ? layout->vector_rows : 0);
}

uint64_t rsrc_lut_f32_index_bytes(const struct rsrc_lut_f32_layout *layout) {
    const uint32_t behind = layout->planes ? 4 : layout->vector_rows;
    return (rsrc_lut_f32_n_digits(layout) + behind) * sizeof(float);
}
