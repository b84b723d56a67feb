/* table.c - what the planner needs of `table` over the codes of lut: machines, tiles, bytes and
 * time. */
#include "kernels/table/table.h"

#include "base/round.h"

#define F(id) RSR_CPU_MASK(id)
static const struct table_machine {
    struct rsrc_machine head;
    double per_memory; /* instructions of an addition of memory */
} machines[] = {
    {{F(AVX512BW), 512, "adds64"}, 1},
    {{F(AVX2), 256, "adds32"}, 1},
    {{F(SSSE3), 128, "adds16"}, 1},
    {{F(NEON), 128, "adds16-neon"}, 2}, /* a load and an addition */
    {{0, 128, "adds16-sse2"}, 1},       /* nothing is looked up */
};
const struct rsrc_machine_table rsrc_table_dot_machines = {
    &machines[sizeof machines / sizeof *machines - 1], sizeof *machines, 1};
const struct rsrc_machine_table rsrc_table_f32_machines = RSRC_MACHINE_TABLE(machines);
const struct rsrc_machine_table rsrc_table_machines = {machines, sizeof *machines,
                                                       sizeof machines / sizeof *machines - 1};

/* Bytes of tables that stay in a first-level cache of 32 KiB while other data passes through it. On
 * a Zen 4, 26 KB and 31 KB were equally fast, and 36 KB took 1.3 times as long. */
#define TABLE_BYTES 27000u
/* The most columns whose sums fit 16 bits with activations down to -128: 255 * 128 = 32640. */
#define CHUNK_COLS 255u
/* The share of the second-level cache for the offsets of a chunk and its sums for a vector of
 * tokens, which every pass reads. The sums of all columns may leave the cache, because a chunk
 * reads them once. */
#define BLOCK_PART 0.45
/* Each tile makes its own tables, which takes as long as the additions for about 130 rows. So tiles
 * are large, with only a few per core. */
#define MIN_TILE_ROWS 256u
#define MAX_TILE_ROWS 1024u
#define TILES_PER_CORE 2u

struct rsrc_lut_f32_layout rsrc_table_f32_codes(const struct rsr_spec *spec,
                                                const struct rsrc_lut_shape *shape) {
    static const struct rsrc_lut_f32_machine own = {{0, 128, "planes16"}, 16, 1, true, NULL};
    const struct rsrc_machine *lut = rsrc_find_machine(&rsrc_lut_f32_machines, spec);
    return rsrc_make_lut_f32_layout(lut != NULL ? lut : &own.head, spec->cores, shape);
}

bool rsrc_table_dot_codes(const struct rsr_spec *spec, enum rsr_alphabet alphabet, uint32_t rows,
                          uint32_t cols, struct rsrc_dot_layout *layout) {
    static const struct rsrc_dot_machine own = {.vector_bytes = 16};
    const struct rsrc_machine *dot = rsrc_find_machine(&rsrc_dot_machines, spec);
    *layout = rsrc_make_dot_layout(&own, alphabet, rows, cols);
    return dot != NULL && rsrc_dot_machine_of(dot)->vector_bytes == own.vector_bytes;
}

/* Byte numbers that select every second 16-bit lane of two vectors of words. */
uint64_t rsrc_table_f32_index_bytes(const struct rsrc_lut_f32_layout *layout) {
    return layout->planes ? 0 : 2 * layout->vector_rows * sizeof(uint16_t);
}

/* ---- shape ----------------------------------------------------------------------------------- */

uint32_t rsrc_table_offset_shift(const struct rsrc_table_shape *shape) {
    uint32_t shift = 0;
    while (1u << shift < shape->vector_bytes)
        shift++;
    return shift;
}

/* Blocks of equal size. */
static uint32_t block_units(const struct rsr_spec *spec, const struct rsrc_table_shape *shape) {
    const uint64_t row_bytes =
        shape->vector_bytes + rsrc_table_chunk_segments(shape) * sizeof(uint16_t);
    const double units =
        BLOCK_PART * (double)spec->l2_bytes / (double)(shape->unit_rows * row_bytes);
    const uint32_t most = units > 1 ? (uint32_t)units : 1;
    const uint32_t n_units = rsrc_divide_up(shape->n_padded_rows, shape->unit_rows);
    return rsrc_divide_up(n_units, rsrc_divide_up(n_units, most));
}

/* A step is a segment of four columns. Passes are equal, so that one piece of code serves all. */
struct rsrc_table_shape rsrc_make_table_shape(const struct rsr_spec *spec,
                                              const struct rsrc_lut_layout *layout,
                                              const struct rsrc_machine *machine) {
    const struct rsrc_lut_unpack codes = rsrc_lut_begin_unpack(NULL, layout);
    struct rsrc_table_shape shape = {.alphabet = layout->alphabet,
                                     .vector_bytes = machine->vector_bits / 8,
                                     .segment_cols = 4,
                                     .n_sums = layout->alphabet == RSR_TERNARY ? 81 : 16,
                                     .step_segments = 1,
                                     .step_cols = 4,
                                     .vector_rows = layout->vector_rows,
                                     .unit_rows = layout->unit_vectors * layout->vector_rows,
                                     .n_padded_rows = layout->n_vectors * layout->vector_rows,
                                     .has_wide_sums = true,
                                     .run_bytes = {8, layout->vector_rows},
                                     .col_stride = 1};
    shape.lanes =
        (struct rsrc_token_lanes){RSR_ELEM_I16, shape.vector_bytes / (uint32_t)sizeof(int16_t)};
    shape.step_sums = shape.n_sums;
    const uint32_t most = CHUNK_COLS / (codes.macro_quads * shape.step_cols);
    const uint32_t macros = rsrc_divide_up(codes.n_macros, rsrc_divide_up(codes.n_macros, most));
    shape.n_chunks = rsrc_divide_up(codes.n_macros, macros);
    shape.chunk_steps = macros * codes.macro_quads;
    shape.chunk_cols = shape.chunk_steps * shape.step_cols;
    shape.pass_steps = TABLE_BYTES / (shape.step_sums * shape.vector_bytes);
    while (shape.chunk_steps % shape.pass_steps != 0)
        shape.pass_steps--;
    shape.n_passes = shape.chunk_steps / shape.pass_steps;
    shape.block_units = block_units(spec, &shape);
    return shape;
}

/* A pass is 64 columns: 16 bytes of codes, or half of that for binary codes. A vector is four
 * rows. */
struct rsrc_table_shape rsrc_make_table_dot_shape(const struct rsr_spec *spec,
                                                  enum rsr_alphabet alphabet,
                                                  const struct rsrc_dot_layout *layout,
                                                  const struct rsrc_machine *machine) {
    struct rsrc_table_shape shape = {.alphabet = alphabet,
                                     .vector_bytes = machine->vector_bits / 8,
                                     .segment_cols = 4,
                                     .n_sums = alphabet == RSR_TERNARY ? 81 : 16,
                                     .step_segments = 1,
                                     .step_cols = 4,
                                     .vector_rows = layout->group_rows,
                                     .unit_rows = layout->group_rows,
                                     .n_padded_rows = layout->n_groups * layout->group_rows,
                                     .has_wide_sums = true,
                                     .pass_steps = 16,
                                     .col_stride = 16};
    shape.lanes =
        (struct rsrc_token_lanes){RSR_ELEM_I16, shape.vector_bytes / (uint32_t)sizeof(int16_t)};
    shape.step_sums = shape.n_sums;
    const uint32_t n_chunks = rsrc_divide_up(layout->n_blocks, CHUNK_COLS / layout->block_cols);
    const uint32_t blocks = rsrc_divide_up(layout->n_blocks, n_chunks);
    shape.n_chunks = rsrc_divide_up(layout->n_blocks, blocks);
    shape.chunk_cols = blocks * layout->block_cols;
    shape.chunk_steps = shape.chunk_cols / shape.step_cols;
    shape.n_passes = shape.chunk_steps / shape.pass_steps;
    shape.block_units = block_units(spec, &shape);
    return shape;
}

/* With scales, a chunk is a group, and its passes may have steps beyond it. Without scales, a chunk
 * is a pass. */
struct rsrc_table_shape rsrc_make_table_f32_shape(const struct rsr_spec *spec,
                                                  const struct rsrc_lut_f32_layout *layout,
                                                  const struct rsrc_machine *machine) {
    const bool groups = layout->scale_bytes != 0;
    const uint32_t last_cols = layout->step_cols - (layout->n_segments - 1) * layout->segment_cols;
    struct rsrc_table_shape shape = {.alphabet = layout->alphabet,
                                     .vector_bytes = machine->vector_bits / 8,
                                     .segment_cols = layout->segment_cols,
                                     .n_sums = layout->alphabet == RSR_TERNARY ? 27 : 16,
                                     .step_segments = layout->n_segments,
                                     .step_cols = layout->step_cols,
                                     .vector_rows = layout->vector_rows,
                                     .unit_rows = layout->unit_vectors * layout->vector_rows,
                                     .n_padded_rows = layout->n_vectors * layout->vector_rows,
                                     .has_wide_sums = groups,
                                     .has_scales = groups,
                                     .run_bytes = {layout->planes ? layout->vector_rows : 16, 8},
                                     .col_stride = 1};
    shape.lanes =
        (struct rsrc_token_lanes){RSR_ELEM_F32, shape.vector_bytes / (uint32_t)sizeof(float)};
    shape.step_sums = (layout->n_segments - 1) * shape.n_sums +
                      (last_cols == layout->segment_cols ? shape.n_sums : 3);
    const uint32_t most = TABLE_BYTES / (shape.step_sums * shape.vector_bytes);
    const uint32_t steps = groups ? layout->group_steps : layout->n_steps;
    const uint32_t n_passes = rsrc_divide_up(steps, most);
    shape.pass_steps = rsrc_divide_up(steps, n_passes);
    shape.n_passes = groups ? n_passes : 1;
    shape.n_chunks = groups ? layout->n_groups : rsrc_divide_up(steps, shape.pass_steps);
    shape.chunk_steps = shape.n_passes * shape.pass_steps;
    shape.chunk_cols = groups ? layout->group_cols : shape.chunk_steps * shape.step_cols;
    shape.has_short_chunks = groups && shape.chunk_steps > layout->group_steps;
    shape.block_units = block_units(spec, &shape);
    return shape;
}

static struct rsrc_tiling fit(const struct rsr_regime_plan *plan, uint32_t unit_rows,
                              uint32_t lanes) {
    const uint32_t most = RSRC_TABLE_GROUP_TOKENS;
    const uint32_t wanted = plan->token_tile < most ? plan->token_tile : most;
    return (struct rsrc_tiling){unit_rows, wanted < lanes ? lanes : wanted / lanes * lanes};
}

struct rsrc_tiling rsrc_fit_table(const struct rsrc_planned_layer *layer,
                                  const struct rsr_regime_plan *plan) {
    return fit(plan, rsrc_lut_unit_rows(layer->spec, layer->rows), plan->machine->vector_bits / 16);
}

struct rsrc_tiling rsrc_fit_table_dot(const struct rsrc_planned_layer *layer,
                                      const struct rsr_regime_plan *plan) {
    (void)layer;
    return fit(plan, RSRC_DOT_QUAD, plan->machine->vector_bits / 16);
}

struct rsrc_tiling rsrc_fit_table_f32(const struct rsrc_planned_layer *layer,
                                      const struct rsr_regime_plan *plan) {
    const struct rsrc_lut_shape shape = {.alphabet = RSR_TERNARY, .rows = layer->rows, .cols = 1};
    const struct rsrc_lut_f32_layout layout = rsrc_table_f32_codes(layer->spec, &shape);
    return fit(plan, layout.unit_vectors * layout.vector_rows, plan->machine->vector_bits / 32);
}

/* ---- time ------------------------------------------------------------------------------------ */

/* Counted vector instructions for a vector of tokens: per row. */
static double count_additions(const struct rsrc_table_shape *shape, double per_memory) {
    const double results = shape->lanes.lanes;
    const double additions = shape->pass_steps * shape->step_segments * per_memory;
    const double clear = shape->lanes.elem == RSR_ELEM_I16 ? 2 : 1;
    /* Loads and stores between passes, and the addition of a chunk's sums to those of all
     * columns. */
    const double between = shape->has_wide_sums ? 2 * (shape->n_passes - 1) : 2;
    const double end = shape->lanes.elem == RSR_ELEM_I16 ? 5 + 2 * per_memory
                       : shape->has_wide_sums            ? 5
                                                         : 0;
    return shape->n_padded_rows *
           (shape->n_chunks * (shape->n_passes * additions + between + end) + clear + results);
}

/* Instructions to make tables, and the columns for them. */
static double count_sums(const struct rsrc_table_shape *shape) {
    static const double parts[][2] = {
        /* [alphabet][floats]: in addition to a store and an addition for each sum */
        [RSR_TERNARY] = {16, 4},
        [RSR_BINARY_SIGN] = {16, 20},
        [RSR_BINARY_BIT] = {6, 3}};
    const bool floats = shape->lanes.elem == RSR_ELEM_F32;
    const double step =
        2.0 * shape->step_sums + shape->step_segments * parts[shape->alphabet][floats];
    const double columns =
        floats ? (double)shape->lanes.lanes * shape->step_cols
               : (double)shape->lanes.lanes / 8 * 80 / RSRC_TOKEN_COLUMN_STEP * shape->step_cols;
    return (double)shape->n_chunks * shape->chunk_steps * (step + columns);
}

static double count_blocks(const struct rsrc_table_shape *shape) {
    return rsrc_divide_up(shape->n_padded_rows, shape->unit_rows * shape->block_units);
}

/* Instructions to unpack codes and make offsets, once per group of tokens. */
static double count_codes(const struct rsrc_lut_layout *layout) {
    static const double quad[][2] = {/* [lookup][binary] */
                                     [RSRC_LUT_TABLE128] = {30, 22},
                                     [RSRC_LUT_SHUFFLE16] = {19, 21},
                                     [RSRC_LUT_WORDS] = {33, 25}};
    const double quads = (double)layout->n_segments * layout->segment_cols / 4;
    return layout->n_vectors * quads * quad[layout->lookup][layout->alphabet != RSR_TERNARY];
}

static double count_words(const struct rsrc_lut_f32_layout *layout) {
    static const double step[][2] = {/* [planes][binary] */ {1 + 7 * 5, 1 + 8 * 5},
                                     {4 + 7 * 14 - 1, 4 + 8 * 7.5}};
    return (double)layout->n_vectors * layout->n_steps *
           step[layout->planes][layout->alphabet != RSR_TERNARY];
}

/* Fills in what both inputs have in common; weight_bytes are set. */
static void set_choice(struct rsrc_arena *arena, const struct rsrc_plan_input *input,
                       const struct rsrc_table_shape *shape, const struct rsrc_machine *machine,
                       double codes, struct rsrc_choice *out) {
    const struct rsr_spec *spec = input->spec;
    const double per_memory = ((const struct table_machine *)machine)->per_memory;
    const double vector =
        count_additions(shape, per_memory) + count_blocks(shape) * count_sums(shape);
    const double additions =
        (double)input->stats->rows * shape->n_chunks * rsrc_table_chunk_segments(shape);
    const uint32_t shares = TILES_PER_CORE * (spec->cores > 1 ? spec->cores : 1);
    const uint32_t tile_rows = input->stats->rows / shares;
    out->tile_rows = tile_rows < MIN_TILE_ROWS   ? MIN_TILE_ROWS
                     : tile_rows > MAX_TILE_ROWS ? MAX_TILE_ROWS
                                                 : tile_rows;
    out->lanes = shape->lanes.lanes;
    out->work = rsrc_work_text(arena, additions, "additions of segment sums");
    rsrc_set_costs(out, rsrc_work_us(vector + codes, spec->fold_gips),
                   rsrc_work_us(vector / shape->lanes.lanes + codes / RSRC_TABLE_GROUP_TOKENS,
                                spec->fold_gips),
                   spec);
}

uint32_t rsrc_list_table(struct rsrc_arena *arena, const struct rsrc_plan_input *input,
                         const struct rsrc_machine *machine, struct rsrc_choice *out) {
    const struct rsrc_lut_shape codes = rsrc_lut_planned_shape(input);
    const struct rsrc_lut_layout layout = rsrc_lut_layout_of(input->spec, &codes);
    const struct rsrc_table_shape shape = rsrc_make_table_shape(input->spec, &layout, machine);
    *out = (struct rsrc_choice){.max_cols = RSRC_MAX_SUM_COLS,
                                .weight_bytes = rsrc_lut_codes_bytes(&layout) +
                                                rsrc_table_index_bytes(&layout)};
    set_choice(arena, input, &shape, machine, count_codes(&layout), out);
    return 1;
}

uint32_t rsrc_list_table_f32(struct rsrc_arena *arena, const struct rsrc_plan_input *input,
                             const struct rsrc_machine *machine, struct rsrc_choice *out) {
    const struct rsrc_lut_shape codes = rsrc_lut_planned_shape(input);
    const struct rsrc_lut_f32_layout layout = rsrc_table_f32_codes(input->spec, &codes);
    const struct rsrc_table_shape shape = rsrc_make_table_f32_shape(input->spec, &layout, machine);
    *out = (struct rsrc_choice){.max_cols = UINT32_MAX,
                                .weight_bytes = rsrc_lut_f32_codes_bytes(&layout) +
                                                rsrc_table_f32_index_bytes(&layout)};
    set_choice(arena, input, &shape, machine, count_words(&layout), out);
    return 1;
}

/* A choice only if the target looks nothing up; else `table` reads the codes of lut, which are
 * smaller. */
uint32_t rsrc_list_table_dot(struct rsrc_arena *arena, const struct rsrc_plan_input *input,
                             const struct rsrc_machine *machine, struct rsrc_choice *out) {
    struct rsrc_dot_layout layout;
    const struct rsr_stats *stats = input->stats;
    if (rsrc_find_machine(&rsrc_lut_machines, input->spec) != NULL ||
        !rsrc_table_dot_codes(input->spec, input->alphabet, stats->rows, stats->cols, &layout))
        return 0;
    const struct rsrc_table_shape shape =
        rsrc_make_table_dot_shape(input->spec, input->alphabet, &layout, machine);
    const double block = input->alphabet == RSR_TERNARY ? 4 * 20 + 48 : 4 * 3 + 2 * 48;
    *out = (struct rsrc_choice){.max_cols = RSRC_MAX_SUM_COLS,
                                .weight_bytes = rsrc_dot_codes_bytes(&layout)};
    set_choice(arena, input, &shape, machine, block * layout.n_groups * layout.n_blocks, out);
    return 1;
}
