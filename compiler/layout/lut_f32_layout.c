/* lut_f32_layout.c - which targets look floats up, and sizes; see lut_f32_layout.h. */
#include "layout/lut_f32_layout.h"

#include "base/round.h"
#include "layout/lut_layout.h"

/* Two vectors of floats are a table of ternary sums: 27 of them on AVX-512; where they have only 16
 * lanes, the 14 that differ by more than their sign. */
static const struct rsrc_lut_machine machines[] = {
    {.features = RSR_CPU_MASK(AVX512F), .vector_bits = 512, .vector_rows = 16, .max_vectors = 8},
    {.features = RSR_CPU_MASK(AVX2), .vector_bits = 256, .vector_rows = 8, .max_vectors = 2},
};

static const struct alphabet_codes {
    uint32_t step_cols, segment_cols, n_segments, code_bits;
} alphabet_codes[] = {[RSR_TERNARY] = {19, 3, 7, 5},
                      [RSR_BINARY_SIGN] = {32, 4, 8, 4},
                      [RSR_BINARY_BIT] = {32, 4, 8, 4}};

/* Vectors of the first stream, or of the second. */
static uint32_t count_vectors(const struct rsrc_lut_f32_layout *layout, bool second) {
    const uint32_t n_units = layout->n_vectors / layout->unit_vectors;
    const uint32_t left = layout->n_vectors % layout->unit_vectors;
    const uint32_t left_first = left < layout->stream_vectors ? left : layout->stream_vectors;
    return second ? n_units * (layout->unit_vectors - layout->stream_vectors) + left - left_first
                  : n_units * layout->stream_vectors + left_first;
}

bool rsrc_make_lut_f32_layout(const struct rsr_spec *spec, const struct rsrc_lut_f32_shape *shape,
                              struct rsrc_lut_f32_layout *out) {
    const struct rsrc_lut_machine *machine =
        rsrc_pick_lut_machine(spec, machines, sizeof machines / sizeof *machines);
    if (machine == NULL)
        return false;
    const struct alphabet_codes *codes = &alphabet_codes[shape->alphabet];
    struct rsrc_lut_f32_layout layout = {.alphabet = shape->alphabet,
                                         .step_cols = codes->step_cols,
                                         .segment_cols = codes->segment_cols,
                                         .n_segments = codes->n_segments,
                                         .code_bits = codes->code_bits,
                                         .vector_rows = machine->vector_rows,
                                         .cols = shape->cols};
    const bool ternary = shape->alphabet == RSR_TERNARY;
    layout.table_sums = ternary ? 2 * layout.vector_rows : 16;
    layout.has_sign = ternary && layout.table_sums == 16;
    layout.group_cols =
        shape->group_cols != 0 && shape->group_cols < shape->cols ? shape->group_cols : shape->cols;
    layout.n_groups = rsrc_divide_up(shape->cols, layout.group_cols);
    layout.group_steps = rsrc_divide_up(layout.group_cols, layout.step_cols);
    layout.n_steps =
        (layout.n_groups - 1) * layout.group_steps +
        rsrc_divide_up(shape->cols - (layout.n_groups - 1) * layout.group_cols, layout.step_cols);
    layout.scale_bytes = shape->scale_bytes;
    layout.n_vectors = rsrc_divide_up(shape->rows, layout.vector_rows);
    /* Both streams have as many vectors of a unit. */
    layout.stream_vectors = rsrc_lut_unit_vectors(rsrc_divide_up(layout.n_vectors, 2),
                                                  machine->max_vectors / 2, spec->cores);
    layout.unit_vectors = layout.n_vectors == 1 ? 1 : 2 * layout.stream_vectors;
    layout.stream_bytes = rsrc_lut_stream_bytes(
        count_vectors(&layout, false) * rsrc_lut_f32_vector_bytes(&layout), 2);
    *out = layout;
    return true;
}

uint32_t rsrc_lut_f32_segment_cols(const struct rsrc_lut_f32_layout *layout, uint32_t i,
                                   uint32_t n_cols) {
    const uint32_t first = i * layout->segment_cols;
    const uint32_t left = first < n_cols ? n_cols - first : 0;
    return left < layout->segment_cols ? left : layout->segment_cols;
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
    return layout->segment_cols * layout->table_sums +
           (layout->alphabet == RSR_TERNARY ? layout->vector_rows : 0);
}

uint64_t rsrc_lut_f32_index_bytes(const struct rsrc_lut_f32_layout *layout) {
    return (rsrc_lut_f32_n_digits(layout) + layout->vector_rows) * sizeof(float);
}
