/* lower_lut_f32.c - `lut` for float activations: rows select sums of a few columns instead of
 * multiplying.
 *
 * With words, the sums of a segment are one or two vectors of floats. Rows are lanes, and a row's
 * code selects its sum (TABLE, TABLE2, which use only the low bits of an index). With planes, the
 * bytes of 16 sums are four vectors. A row's code selects a byte of each (SHUFFLE16), and the bytes
 * are zipped to sums. Then a table has magnitudes, and the code's sign is XORed into bit 31.
 * lut_f32_layout.h has the layout; lower_lut.c is the kernel for int8.
 *
 * The one order of additions, whatever the vectors, tiles, units and batches:
 *   table  (d0 x0 + d1 x1) + d2 x2 ..., digits d in -1..1
 *   group  its segments' entries in ascending order, from +0 on
 *   row    without scales of groups: its one group. With them: the product of each group and its
 *          scale, in ascending order, from +0 on
 * Every addition joins sums of disjoint columns, and the rounding of a product is no more than the
 * sums of its group could have, so the error is at most n u sum |w x|.
 *
 * Activations must be finite: the header of a library of matrices says so (emit/c/matrices_c.c). 0
 * times an infinity or a NaN is a NaN. So such an activation spoils even rows whose weight for it
 * is 0; in a fold these rows stay correct.
 *
 * lut_walk.h has the loops over tokens, column blocks and units of rows. Its steps are those of
 * lut_f32_layout.h, or whole groups if groups have scales.
 */
#include "base/round.h"
#include "kernel/group_scales.h"
#include "kernels/lut_f32/lut_f32.h"
#include "kernel/lut_walk.h"

#include <assert.h>

#define MAX_RUNS 8u /* of a unit */
#define PLANES LUT_F32_PLANES
#define PLANE_RUNS RSRC_LUT_F32_RUNS

/* ---- sums of a unit's rows ------------------------------------------------------------------- */

/* A register with one lane for each row of a run. */
static uint16_t lanes_reg(struct rsrc_lut_f32 *lut, enum rsr_elem elem, const char *name,
                          uint32_t number, const char *suffix) {
    return rsrc_kb_reg(&lut->walk.frame.kb, elem,
                       lut->layout.vector_rows / (lut->layout.planes ? PLANE_RUNS : 1), "%s%u%s",
                       name, number, suffix);
}

/* Registers of the code for units of n_vectors vectors. */
struct unit {
    struct rsrc_lut_unit base; /* sums: four runs per vector with planes, one with words */
    struct rsrc_lut_f32 *lut;
    uint32_t n_vectors;
    uint16_t group;                /* counter; RSR_NO_KREG: groups have no scales */
    const uint16_t *steps_sums;    /* the sums that steps add to: the group's or the rows' */
    uint16_t group_sums[MAX_RUNS]; /* only where groups have scales */
    uint16_t code, term;
    struct rsrc_group_scales scales;
    /* With words. */
    uint16_t words[MAX_RUNS]; /* u32 */
    uint16_t tables[2];
    uint16_t ones;
    /* With planes: u32, u8, u16. */
    uint16_t planes[PLANES], nibble, sign, nibble_mask, bit_mask, sign_mask;
    uint16_t table, parts[PLANES], sign_bytes, zipped, pairs[2][2], quads;
};

static void make_group_registers(struct unit *u) {
    struct rsrc_lut_f32 *lut = u->lut;
    struct rsrc_kb *kb = &lut->walk.frame.kb;
    const char *suffix = u->base.suffix;
    u->group = rsrc_kb_index_reg(kb, "group%s", suffix);
    u->steps_sums = u->group_sums;
    for (uint32_t run = 0; run < u->base.n_runs; run++)
        u->group_sums[run] = lanes_reg(lut, RSR_ELEM_F32, "group_sums", run, suffix);
    u->scales = rsrc_make_group_scales(kb, lut->layout.scale_bytes, u->base.lanes, suffix);
}

/* Adds by multiply-add: t * 1 + s rounds like t + s. On a Zen 4, shifts and additions share two of
 * the four vector units, and multiply-adds use the other two (0.8 of the time); where they share
 * units with additions, the time is equal. The ones come from memory, so that a back end cannot
 * turn the operation into an addition. */
static uint16_t load_ones(struct unit *u) {
    struct rsrc_lut_f32 *lut = u->lut;
    const int64_t at = rsrc_lut_f32_n_digits(&lut->layout) * (int64_t)sizeof(float);
    return rsrc_kb_load(&lut->walk.frame.kb,
                        lanes_reg(lut, RSR_ELEM_F32, "ones", 0, u->base.suffix),
                        rsrc_address_at(RSR_KBUF_INDEX, at));
}

static void make_word_registers(struct unit *u) {
    struct rsrc_lut_f32 *lut = u->lut;
    const char *suffix = u->base.suffix;
    for (uint32_t v = 0; v < u->n_vectors; v++)
        u->words[v] = lanes_reg(lut, RSR_ELEM_U32, "words", v, suffix);
    for (uint32_t part = 0; part < rsrc_lut_f32_n_parts(lut, 0); part++)
        u->tables[part] = lanes_reg(lut, RSR_ELEM_F32, "table", part, suffix);
    u->code = lanes_reg(lut, RSR_ELEM_U32, "code", 0, suffix);
    u->ones = load_ones(u);
}

/* A register with one byte for each row of a vector. */
static uint16_t plane_reg(struct unit *u, enum rsr_elem elem, const char *name, uint32_t number) {
    static const uint32_t elem_bytes[RSR_ELEM_COUNT] = {
        [RSR_ELEM_U8] = 1, [RSR_ELEM_U16] = 2, [RSR_ELEM_U32] = 4};
    return rsrc_kb_reg(&u->lut->walk.frame.kb, elem, u->lut->layout.vector_rows / elem_bytes[elem],
                       "%s%u%s", name, number, u->base.suffix);
}

static void make_plane_registers(struct unit *u) {
    struct rsrc_kb *kb = &u->lut->walk.frame.kb;
    assert(u->n_vectors == 1);
    for (uint32_t i = 0; i < PLANES; i++) {
        u->planes[i] = plane_reg(u, RSR_ELEM_U32, "plane", i);
        u->parts[i] = plane_reg(u, RSR_ELEM_U8, "part", i);
        u->pairs[i / 2][i % 2] = plane_reg(u, RSR_ELEM_U16, "pairs", i);
    }
    u->nibble = plane_reg(u, RSR_ELEM_U32, "nibble", 0);
    u->code = plane_reg(u, RSR_ELEM_U8, "code", 0);
    u->table = plane_reg(u, RSR_ELEM_U8, "table", 0);
    u->zipped = plane_reg(u, RSR_ELEM_U8, "zipped_bytes", 0);
    u->quads = plane_reg(u, RSR_ELEM_U16, "quads", 0);
    u->nibble_mask = rsrc_kb_const(kb, plane_reg(u, RSR_ELEM_U32, "nibble_mask", 0), 0x0f0f0f0f);
    if (u->lut->layout.alphabet != RSR_TERNARY)
        return;
    u->sign = plane_reg(u, RSR_ELEM_U32, "sign", 0);
    u->sign_bytes = plane_reg(u, RSR_ELEM_U8, "sign_bytes", 0);
    u->bit_mask = rsrc_kb_const(kb, plane_reg(u, RSR_ELEM_U32, "bit_mask", 0), 0x01010101);
    u->sign_mask =
        rsrc_kb_const(kb, plane_reg(u, RSR_ELEM_U32, "sign_mask", 0), INT64_C(0x80808080));
}

static void make_registers(struct unit *u) {
    struct rsrc_lut_f32 *lut = u->lut;
    const char *suffix = u->base.suffix;
    for (uint32_t run = 0; run < u->base.n_runs; run++)
        u->base.sums[run] = lanes_reg(lut, RSR_ELEM_F32, "sums", run, suffix);
    u->term = lanes_reg(lut, RSR_ELEM_F32, "term", 0, suffix);
    u->steps_sums = u->base.sums;
    if (lut->layout.planes)
        make_plane_registers(u);
    else
        make_word_registers(u);
    rsrc_lut_make_counters(&u->base);
    u->group = RSR_NO_KREG;
    if (rsrc_lut_f32_has_scales(lut))
        make_group_registers(u);
}

static uint32_t n_streams(const struct unit *u) {
    return rsrc_divide_up(u->n_vectors, u->lut->layout.stream_vectors);
}

/* Vectors of the unit in one of its streams. */
static uint32_t in_stream(const struct unit *u, uint32_t stream) {
    const uint32_t most = u->lut->layout.stream_vectors;
    const uint32_t left = u->n_vectors - stream * most;
    return left < most ? left : most;
}

/* Byte `at` of the unit's part of a stream: with groups, of the current one. */
static struct rsrc_address codes_address(const struct unit *u, uint32_t stream, int64_t at) {
    const struct rsrc_lut_f32_layout *layout = &u->lut->layout;
    struct rsrc_address address =
        rsrc_address_at(RSR_KBUF_CODES, (int64_t)(stream * layout->stream_bytes) + at);
    address =
        rsrc_address_plus(address, u->base.number,
                          (int64_t)(layout->stream_vectors * rsrc_lut_f32_vector_bytes(layout)));
    if (u->group != RSR_NO_KREG)
        address = rsrc_address_plus(
            address, u->group, (int64_t)(in_stream(u, stream) * rsrc_lut_f32_group_bytes(layout)));
    return address;
}

/* Fetches what lies ahead of size_bytes bytes of a stream. */
static void fetch(struct unit *u, struct rsrc_address at, uint64_t size_bytes) {
    struct rsrc_frame *frame = &u->base.walk->frame;
    rsrc_frame_prefetch_codes(frame, at, size_bytes,
                              rsrc_fetch_ahead(frame->layer->spec, n_streams(u)));
}

/* Codes of the step, after the group's scales. */
static struct rsrc_address step_address(const struct unit *u, uint32_t stream) {
    const struct rsrc_lut_f32_layout *layout = &u->lut->layout;
    const int64_t n = in_stream(u, stream);
    return rsrc_address_plus(
        codes_address(u, stream, n * layout->vector_rows * layout->scale_bytes), u->base.step,
        n * rsrc_lut_f32_step_bytes(layout));
}

/* Part `part` of the table of segment i. */
static struct rsrc_address table_address(const struct unit *u, uint32_t i, uint32_t part) {
    const struct rsrc_lut_f32 *lut = u->lut;
    struct rsrc_address at = rsrc_address_at(
        RSR_KBUF_SCRATCH, rsrc_lut_f32_table_at(lut, i) + part * rsrc_lut_f32_part_bytes(lut));
    at = rsrc_address_plus(at, u->base.table_base, 1);
    if (u->group != RSR_NO_KREG)
        at = rsrc_address_plus(at, u->group, lut->walk.table_step_bytes);
    return rsrc_address_plus(at, u->base.step, rsrc_lut_f32_step_tables_bytes(lut));
}

/* ---- a step of words ------------------------------------------------------------------------- */

static void load_words(struct unit *u) {
    const struct rsrc_lut_f32_layout *layout = &u->lut->layout;
    const uint32_t step_bytes = rsrc_lut_f32_step_bytes(layout);
    for (uint32_t stream = 0; stream < n_streams(u); stream++) {
        const uint32_t n = in_stream(u, stream);
        const struct rsrc_address at = step_address(u, stream);
        fetch(u, at, n * step_bytes);
        for (uint32_t v = 0; v < n; v++)
            rsrc_kb_load(&u->base.walk->frame.kb, u->words[stream * layout->stream_vectors + v],
                         rsrc_address_offset(at, (int64_t)v * step_bytes));
    }
}

/* sums += the entries that segment i of the step selects */
static void add_words(struct unit *u, uint32_t v, uint32_t i) {
    const struct rsrc_lut_f32_layout *layout = &u->lut->layout;
    struct rsrc_kb *kb = &u->base.walk->frame.kb;
    uint16_t code = u->words[v];
    if (i != 0)
        code = rsrc_kb_immediate(kb, RSR_KOP_SHR, u->code, code, layout->code_bits * i);
    if (rsrc_lut_f32_n_parts(u->lut, i) == 2)
        rsrc_kb_ternary(kb, RSR_KOP_TABLE2, u->term, code, u->tables[0], u->tables[1]);
    else
        rsrc_kb_binary(kb, RSR_KOP_TABLE, u->term, code, u->tables[0]);
    /* The terms of a step's first segment and of its single column use plain additions: this
     * balances the vector units. */
    if (i != 0 && !rsrc_lut_f32_is_single(u->lut, i))
        rsrc_kb_ternary(kb, RSR_KOP_FMA, u->steps_sums[v], u->term, u->ones, u->steps_sums[v]);
    else
        rsrc_kb_binary(kb, RSR_KOP_ADD, u->steps_sums[v], u->steps_sums[v], u->term);
}

static void emit_words_step(struct unit *u) {
    load_words(u);
    for (uint32_t i = 0; i < u->lut->layout.n_segments; i++) {
        for (uint32_t part = 0; part < rsrc_lut_f32_n_parts(u->lut, i); part++)
            rsrc_kb_load(&u->base.walk->frame.kb, u->tables[part], table_address(u, i, part));
        for (uint32_t v = 0; v < u->n_vectors; v++)
            add_words(u, v, i);
    }
}

/* ---- a step of planes ------------------------------------------------------------------------ */

static void load_plane(struct unit *u, uint32_t i) {
    rsrc_kb_load(&u->base.walk->frame.kb, u->planes[i],
                 rsrc_address_offset(step_address(u, 0), i * u->lut->layout.vector_rows));
}

/* code = that of segment i: a nibble, or, for the single column, the last plane's highest bit. */
static void take_code(struct unit *u, uint32_t i) {
    const struct rsrc_lut_f32_layout *layout = &u->lut->layout;
    struct rsrc_kb *kb = &u->base.walk->frame.kb;
    const bool single = rsrc_lut_f32_segment_cols(layout, i, layout->step_cols) == 1;
    const uint32_t shift = single ? 7 : i % 2 * layout->code_bits;
    uint16_t bits = u->planes[i / 2];
    if (shift != 0)
        bits = rsrc_kb_immediate(kb, RSR_KOP_SHR, u->nibble, bits, shift);
    rsrc_kb_binary(kb, RSR_KOP_AND, u->nibble, bits, single ? u->bit_mask : u->nibble_mask);
    rsrc_kb_unary(kb, RSR_KOP_BITCAST, u->code, u->nibble);
}

/* Puts the signs into the highest byte of the sums that segment i selects. */
static void apply_signs(struct unit *u, uint32_t i) {
    struct rsrc_kb *kb = &u->base.walk->frame.kb;
    rsrc_kb_immediate(kb, RSR_KOP_SHL, u->sign, u->planes[PLANES - 1], 7 - i);
    rsrc_kb_binary(kb, RSR_KOP_AND, u->sign, u->sign, u->sign_mask);
    rsrc_kb_unary(kb, RSR_KOP_BITCAST, u->sign_bytes, u->sign);
    rsrc_kb_binary(kb, RSR_KOP_XOR, u->parts[PLANES - 1], u->parts[PLANES - 1], u->sign_bytes);
}

/* sums += the floats whose bytes are the four parts */
static void add_parts(struct unit *u) {
    static const enum rsr_kop_kind zips[2] = {RSR_KOP_ZIP_LOW, RSR_KOP_ZIP_HIGH};
    struct rsrc_kb *kb = &u->base.walk->frame.kb;
    for (uint32_t i = 0; i < PLANES; i++) {
        const uint32_t low = i / 2 * 2; /* of two parts */
        rsrc_kb_binary(kb, zips[i % 2], u->zipped, u->parts[low], u->parts[low + 1]);
        rsrc_kb_unary(kb, RSR_KOP_BITCAST, u->pairs[i % 2][i / 2], u->zipped);
    }
    for (uint32_t run = 0; run < PLANE_RUNS; run++) {
        const uint16_t *pairs = u->pairs[run / 2];
        rsrc_kb_binary(kb, zips[run % 2], u->quads, pairs[0], pairs[1]);
        rsrc_kb_unary(kb, RSR_KOP_BITCAST, u->term, u->quads);
        rsrc_kb_binary(kb, RSR_KOP_ADD, u->steps_sums[run], u->steps_sums[run], u->term);
    }
}

static void emit_planes_step(struct unit *u) {
    const struct rsrc_lut_f32_layout *layout = &u->lut->layout;
    struct rsrc_kb *kb = &u->base.walk->frame.kb;
    const bool ternary = layout->alphabet == RSR_TERNARY;
    fetch(u, step_address(u, 0), rsrc_lut_f32_step_bytes(layout));
    if (ternary)
        load_plane(u, PLANES - 1);
    for (uint32_t i = 0; i < layout->n_segments; i++) {
        if (i % 2 == 0 && (!ternary || i / 2 < PLANES - 1))
            load_plane(u, i / 2);
        take_code(u, i);
        for (uint32_t part = 0; part < PLANES; part++) {
            rsrc_kb_load_lanes(kb, u->table, table_address(u, i, part));
            rsrc_kb_binary(kb, RSR_KOP_SHUFFLE16, u->parts[part], u->code, u->table);
        }
        if (ternary)
            apply_signs(u, i);
        add_parts(u);
    }
}

static void emit_steps(struct unit *u, uint16_t first, uint16_t end) {
    struct rsrc_kb *kb = &u->base.walk->frame.kb;
    rsrc_kb_comment(kb, "%s",
                    u->lut->layout.planes
                        ? "look up: a code selects each byte of its sum; zipped, they are floats"
                        : "look up: the low bits of a row's word select a sum; terms are added in "
                          "the order of the columns, whatever the vectors");
    rsrc_kb_loop(kb, u->base.step, first, end, 1);
    if (u->lut->layout.planes)
        emit_planes_step(u);
    else
        emit_words_step(u);
    rsrc_kb_end(kb);
}

/* ---- scales of groups ------------------------------------------------------------------------ */

/* The group's scales for a run. */
static uint16_t load_scales(struct unit *u, uint32_t run) {
    const struct rsrc_lut_f32_layout *layout = &u->lut->layout;
    const uint32_t row = run * u->base.lanes,
                   stream_rows = layout->stream_vectors * layout->vector_rows;
    const struct rsrc_address at =
        codes_address(u, row / stream_rows, (int64_t)(row % stream_rows) * layout->scale_bytes);
    return rsrc_load_group_scales(&u->base.walk->frame.kb, &u->scales, at);
}

/* For each current group: makes its sums, and adds them times the scales to the rows' sums. */
static void emit_groups(struct unit *u) {
    const struct rsrc_lut_f32_layout *layout = &u->lut->layout;
    const struct rsrc_lut_walk *walk = u->base.walk;
    struct rsrc_kb *kb = &u->base.walk->frame.kb;
    const char *suffix = u->base.suffix;
    const uint16_t group_steps = rsrc_kb_index_const(kb, layout->group_steps, "steps%s", suffix);
    const uint16_t n_steps = rsrc_kb_index_const(kb, layout->n_steps, "all_steps%s", suffix);
    rsrc_kb_loop(kb, u->group, walk->first_step, walk->end_step, 1);
    for (uint32_t stream = 0; stream < n_streams(u); stream++)
        fetch(u, codes_address(u, stream, 0),
              (uint64_t)in_stream(u, stream) * layout->vector_rows * layout->scale_bytes);
    for (uint32_t run = 0; run < u->base.n_runs; run++)
        rsrc_kb_const_f32(kb, u->group_sums[run], 0.0f);
    const uint16_t before =
        rsrc_kb_index_op(kb, RSR_KOP_MUL, u->group, group_steps, "steps_before%s", suffix);
    const uint16_t left =
        rsrc_kb_index_op(kb, RSR_KOP_SUB, n_steps, before, "steps_left%s", suffix);
    emit_steps(u, walk->frame.zero,
               rsrc_kb_index_op(kb, RSR_KOP_MIN, left, group_steps, "group_end%s", suffix));
    rsrc_kb_comment(kb,
                    "scale: a group's sums are added to the rows' times the group's scales, which "
                    "lie before its codes");
    for (uint32_t run = 0; run < u->base.n_runs; run++) {
        const uint16_t group = u->group_sums[run], sums = u->base.sums[run];
        rsrc_kb_binary(kb, RSR_KOP_MUL, group, group, load_scales(u, run));
        rsrc_kb_binary(kb, RSR_KOP_ADD, sums, sums, group);
    }
    rsrc_kb_end(kb);
}

/* ---- the kernel ------------------------------------------------------------------------------ */

static void store_results(struct rsrc_lut_unit *unit) {
    rsrc_frame_comment_results(&unit->walk->frame);
    for (uint32_t run = 0; run < unit->n_runs; run++)
        rsrc_lut_store_run(unit, run);
}

static void emit_unit(struct rsrc_lut_walk *walk, uint16_t number, uint32_t n_rows,
                      const char *suffix) {
    struct rsrc_lut_f32 *lut = (struct rsrc_lut_f32 *)walk;
    const uint32_t vector_runs = lut->layout.planes ? PLANE_RUNS : 1;
    struct unit u = {.base = {.walk = walk,
                              .n_rows = n_rows,
                              .suffix = suffix,
                              .elem = RSR_ELEM_F32,
                              .lanes = lut->layout.vector_rows / vector_runs,
                              .number = number},
                     .lut = lut};
    u.n_vectors = rsrc_divide_up(n_rows, lut->layout.vector_rows);
    u.base.n_runs = u.n_vectors * vector_runs;
    assert(u.base.n_runs <= MAX_RUNS);
    make_registers(&u);
    rsrc_lut_begin_token(&u.base);
    rsrc_lut_begin_sums(&u.base, NULL);
    if (rsrc_lut_f32_has_scales(lut))
        emit_groups(&u);
    else
        emit_steps(&u, walk->first_step, walk->end_step);
    rsrc_lut_end_sums(&u.base, store_results);
    rsrc_kb_end(&walk->frame.kb);
}

static void emit_kernel(struct rsrc_lut_f32 *lut) {
    static const struct rsrc_lut_form form = {rsrc_lut_f32_emit_tables, emit_unit};
    const struct rsrc_lut_f32_layout *layout = &lut->layout;
    struct rsrc_arena *arena = lut->walk.frame.kb.arena;
    const char *groups = !rsrc_lut_f32_has_scales(lut)
                             ? ""
                             : rsrc_arena_printf(arena, "; a scale of %u bits every %u columns",
                                                 8 * layout->scale_bytes, layout->group_cols);
    rsrc_lut_emit_walk(&lut->walk, &form,
                       rsrc_arena_printf(arena,
                                         "vectors of %u rows, %u a unit; %u columns a step, in %u "
                                         "segments%s",
                                         layout->vector_rows, layout->unit_vectors,
                                         layout->step_cols, layout->n_segments, groups),
                       rsrc_arena_printf(arena, "floats: %u rows, %u columns in %u, groups of %u",
                                         layout->vector_rows, lut->walk.frame.kb.kernel->cols,
                                         layout->step_cols, layout->group_cols));
}

static void plan_scratch(struct rsrc_lut_f32 *lut) {
    const struct rsrc_lut_f32_layout *layout = &lut->layout;
    const bool groups = rsrc_lut_f32_has_scales(lut);
    lut->walk.n_steps = groups ? layout->n_groups : layout->n_steps;
    lut->walk.table_step_bytes =
        (uint32_t)rsrc_lut_f32_step_tables_bytes(lut) * (groups ? layout->group_steps : 1);
    rsrc_lut_plan_scratch(&lut->walk, 1, (uint64_t)layout->n_vectors * layout->vector_rows);
}

enum rsrc_status rsrc_lower_lut_f32(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                    const struct rsrc_lower_input *input, struct rsr_lowered *out,
                                    const char **detail) {
    (void)diag;
    const struct rsrc_lut_shape shape = rsrc_lut_matrix_shape(input->matrix);
    struct rsrc_lut_f32 lut = {
        .layout = rsrc_make_lut_f32_layout(input->plan->machine, input->spec->cores, &shape)};
    const struct rsrc_lut_f32_layout *layout = &lut.layout;
    rsrc_pack_lut_f32(input->matrix, layout,
                      rsrc_alloc_blob(arena, &out->codes, rsrc_lut_f32_codes_bytes(layout)));
    rsrc_pack_lut_f32_index(layout,
                            rsrc_alloc_blob(arena, &out->index, rsrc_lut_f32_index_bytes(layout)));
    rsrc_frame_begin(&lut.walk.frame, arena, input, layout->unit_vectors * layout->vector_rows,
                     &out->kernel);
    rsrc_frame_streams(&lut.walk.frame, layout->unit_vectors > 1 ? 2 : 1, layout->stream_bytes,
                       layout->stream_vectors * rsrc_lut_f32_vector_bytes(layout));
    plan_scratch(&lut);
    emit_kernel(&lut);
    rsrc_frame_end(&lut.walk.frame, out);
    *detail =
        rsrc_arena_printf(arena, "table%ux%u-u%u-b%u-s%u", layout->table_sums, layout->vector_rows,
                          layout->unit_vectors, lut.walk.block_steps, 8 * layout->scale_bytes);
    return RSRC_OK;
}
