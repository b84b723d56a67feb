/* lower_dot_panel.c - `dot` over the codes of `lut`: cuts rows into panels, and emits the loops
 * around unpacking, products and results. dot_panel.h has the overview. */
#include "kernels/dot_panel/dot_panel.h"

#include <assert.h>

#include "base/round.h"

#define MIN_PANEL_BYTES (32u << 10)
#define MAX_ORDERED_BYTES (4u << 20)
#define LEAST_GROUP_TOKENS 16u /* tokens that matrix registers take */
#define LINE_BYTES 64u

/* ---- the loops ------------------------------------------------------------------------------- */

/* The column blocks of one vector of rows for one group of tokens. */
static void emit_blocks(struct rsrc_panel *panel) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint16_t n_macros = rsrc_kb_index_const(kb, panel->codes.n_macros, "n_macros");
    const uint16_t size = rsrc_kb_index_const(kb, panel->block_macros, "block_macros");
    const uint16_t macro_quads = rsrc_kb_index_const(kb, panel->codes.macro_quads, "macro_quads");
    const uint16_t four = rsrc_kb_index_const(kb, 4, "quad_cols");
    panel->codes.first_macro = rsrc_kb_index_reg(kb, "first_macro");
    rsrc_kb_loop(kb, panel->codes.first_macro, panel->frame.zero, n_macros, panel->block_macros);
    panel->codes.end_macro =
        rsrc_kb_index_op(kb, RSR_KOP_ADD, panel->codes.first_macro, size, "end_macro");
    rsrc_kb_binary(kb, RSR_KOP_MIN, panel->codes.end_macro, panel->codes.end_macro, n_macros);
    const uint16_t first =
        rsrc_kb_index_op(kb, RSR_KOP_MUL, panel->codes.first_macro, macro_quads, "first_quad");
    panel->n_quads =
        rsrc_kb_index_op(kb, RSR_KOP_MUL, panel->codes.end_macro, macro_quads, "n_quads");
    /* Activations in their own order are zero only up to the row's end, so no quad beyond the
     * columns is multiplied. */
    if (!panel->has_fields)
        rsrc_kb_binary(kb, RSR_KOP_MIN, panel->n_quads, panel->n_quads,
                       rsrc_kb_index_const(kb, rsrc_divide_up(panel->cols, 4), "n_col_quads"));
    rsrc_kb_binary(kb, RSR_KOP_SUB, panel->n_quads, panel->n_quads, first);
    panel->block_x = rsrc_kb_index_op(kb, RSR_KOP_MUL, first, four, "block_x");
    if (panel->has_groups)
        rsrc_kb_binary(kb, RSR_KOP_ADD, panel->block_x, panel->block_x, panel->group_x);
    if (panel->has_fields) {
        rsrc_panel_unpack_fields(panel);
    } else {
        rsrc_kb_comment(kb, "unpack codes: quads of columns, 4 bytes a row, as products take them");
        rsrc_lut_unpack_macros(&panel->codes);
    }
    rsrc_panel_multiply(panel);
    rsrc_kb_end(kb);
}

/* The groups of columns of one vector of rows, one after another. */
static void emit_column_groups(struct rsrc_panel *panel) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const struct rsrc_lut_layout *layout = &panel->layout;
    const uint16_t n_groups = rsrc_kb_index_const(kb, layout->n_groups, "n_groups");
    const uint16_t bytes = rsrc_kb_index_const(kb, rsrc_lut_group_bytes(layout), "group_bytes");
    const uint16_t head_bytes = rsrc_kb_index_const(kb, rsrc_lut_head_bytes(layout), "head_bytes");
    const uint16_t x_bytes = rsrc_kb_index_const(
        kb, panel->has_fields ? rsrc_panel_ordered_group_bytes(panel) : layout->group_cols,
        "group_x_bytes");
    const uint16_t vector_at = panel->codes.codes_at;
    panel->group = rsrc_kb_index_reg(kb, "group");
    rsrc_panel_clear_totals(panel);
    rsrc_kb_loop(kb, panel->group, panel->frame.zero, n_groups, 1);
    panel->head_at = rsrc_kb_index_op(kb, RSR_KOP_MUL, panel->group, bytes, "head_at");
    rsrc_kb_binary(kb, RSR_KOP_ADD, panel->head_at, panel->head_at, vector_at);
    panel->codes.codes_at =
        rsrc_kb_index_op(kb, RSR_KOP_ADD, panel->head_at, head_bytes, "group_codes_at");
    panel->group_x = rsrc_kb_index_op(kb, RSR_KOP_MUL, panel->group, x_bytes, "group_x");
    rsrc_panel_clear_sums(panel);
    emit_blocks(panel);
    rsrc_panel_scale_group(panel);
    rsrc_kb_end(kb);
}

/* Multiplies every vector of rows by the group's tokens. */
static void emit_vectors(struct rsrc_panel *panel) {
    panel->row =
        rsrc_lut_begin_vectors(&panel->codes, panel->frame.unit_begin, panel->frame.unit_end);
    if (panel->has_groups) {
        emit_column_groups(panel);
    } else {
        if (!panel->starts_at_zero)
            rsrc_panel_clear_sums(panel);
        emit_blocks(panel);
    }
    rsrc_panel_store_results(panel);
    rsrc_lut_end_vectors(&panel->codes);
}

static void emit_groups(struct rsrc_panel *panel) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint16_t size = rsrc_kb_index_const(kb, panel->group_tokens, "group_tokens");
    if (!panel->has_fields)
        rsrc_lut_load_strides(&panel->codes);
    panel->first_token = rsrc_kb_index_reg(kb, "first_token");
    rsrc_kb_loop(kb, panel->first_token, panel->frame.zero, panel->frame.n_tokens,
                 panel->group_tokens);
    panel->end_token = rsrc_kb_index_op(kb, RSR_KOP_ADD, panel->first_token, size, "end_token");
    rsrc_kb_binary(kb, RSR_KOP_MIN, panel->end_token, panel->end_token, panel->frame.n_tokens);
    if (panel->is_packed)
        panel->first_tile = rsrc_tile_size(&panel->tiles, panel->first_token, panel->end_token,
                                           panel->machine->first_tokens, "_first");
    if (panel->has_fields)
        rsrc_panel_order_activations(panel);
    if (panel->has_groups)
        rsrc_panel_sum_x(panel);
    emit_vectors(panel);
    rsrc_kb_end(kb);
}

/* ---- sizes ----------------------------------------------------------------------------------- */

/* With fields, the macro step is the steps that are unpacked together. */
static void choose_macros(struct rsrc_panel *panel) {
    const struct rsrc_lut_layout *layout = &panel->layout;
    panel->codes = rsrc_lut_begin_unpack(&panel->frame, layout);
    panel->codes.put = rsrc_panel_put_quad;
    panel->codes.has_weights = rsrc_panel_has_weights(panel);
    panel->codes.quad_bytes = 4 * layout->vector_rows;
    if (panel->has_fields) {
        panel->codes.macro_steps = 4;
        panel->codes.macro_quads = layout->segment_cols;
        panel->codes.n_macros = rsrc_divide_up(layout->group_steps, 4);
        panel->fields.whole_macros = layout->group_steps / 4;
    }
    panel->macro_bytes = panel->is_packed ? rsrc_panel_packed_bytes(layout)
                                          : panel->codes.macro_quads * panel->codes.quad_bytes;
}

/* A panel takes a quarter of the second-level cache; activations and sums need the rest. If there
 * are several panels, each has whole tiles of quads. */
static void choose_blocks(struct rsrc_panel *panel, const struct rsr_spec *spec) {
    const uint32_t vector_bytes = 4 * panel->layout.vector_rows; /* of sums */
    const uint64_t budget =
        spec->l2_bytes / 4 > MIN_PANEL_BYTES ? spec->l2_bytes / 4 : MIN_PANEL_BYTES;
    const uint64_t macros =
        budget / ((uint64_t)panel->macro_bytes * RSRC_PANEL_TILE_QUADS) * RSRC_PANEL_TILE_QUADS;
    const uint64_t fitting = macros != 0 ? macros : RSRC_PANEL_TILE_QUADS;
    panel->block_macros =
        fitting < panel->codes.n_macros ? (uint32_t)fitting : panel->codes.n_macros;
    panel->starts_at_zero = !panel->has_groups && panel->block_macros == panel->codes.n_macros &&
                            panel->machine->product != RSR_KOP_MADD_U8S8 &&
                            panel->machine->matrix_tokens == 0;
    const uint64_t n_quads = (uint64_t)panel->block_macros * panel->codes.macro_quads;
    panel->sums_at =
        panel->is_packed
            ? (int64_t)panel->block_macros * panel->macro_bytes
            : (int64_t)(rsrc_round_up(n_quads, RSRC_PANEL_TILE_QUADS) * panel->codes.quad_bytes);
    const int64_t sums_bytes = RSRC_PANEL_GROUP_TOKENS * (int64_t)vector_bytes;
    panel->totals_at = panel->sums_at + sums_bytes;
    panel->tail_at = panel->totals_at + (panel->has_groups ? sums_bytes : 0);
}

/* Returns the size of the scratch memory. With the widest rows, a group's copied activations would
 * not fit any cache. */
static uint64_t choose_group(struct rsrc_panel *panel) {
    uint64_t end = (uint64_t)panel->tail_at + 4 * panel->layout.vector_rows;
    panel->group_tokens = RSRC_PANEL_GROUP_TOKENS;
    if (panel->has_fields) {
        const uint32_t row_bytes = rsrc_panel_ordered_bytes(panel);
        while (panel->group_tokens > LEAST_GROUP_TOKENS &&
               (uint64_t)panel->group_tokens * row_bytes > MAX_ORDERED_BYTES)
            panel->group_tokens /= 2;
        panel->fields.ordered_at = (uint32_t)end;
        end += (uint64_t)panel->group_tokens * row_bytes;
    }
    if (!panel->has_groups)
        return end;
    panel->x_sums_at = (int64_t)end;
    return end + rsrc_round_up(rsrc_panel_x_sums_bytes(panel), LINE_BYTES);
}

enum rsrc_status rsrc_lower_dot_panel(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                      const struct rsrc_lower_input *input, struct rsr_lowered *out,
                                      const char **detail) {
    const struct rsr_matrix *matrix = input->matrix;
    if (matrix->cols > RSRC_MAX_SUM_COLS)
        return rsrc_refuse_wide(diag, input);
    if (rsrc_lut_check_groups(diag, input) != RSRC_OK)
        return RSRC_FAILED;
    const struct rsrc_lut_shape shape = rsrc_lut_matrix_shape(matrix);
    struct rsrc_panel panel = {.machine = (const struct rsrc_panel_machine *)input->plan->machine,
                               .layout = rsrc_lut_layout_of(input->spec, &shape),
                               .first_tile = RSR_NO_KREG};
    panel.has_groups = panel.layout.scale_bytes != 0;
    panel.cols = panel.layout.group_cols;
    panel.has_fields = rsrc_panel_has_fields(&panel.layout);
    panel.is_packed = panel.has_fields && panel.machine->first_tokens != 0;
    assert(panel.machine->head.vector_bits == 8 * panel.layout.vector_rows);
    assert(panel.machine->n_tokens <= RSRC_MAX_TILE_TOKENS);
    choose_macros(&panel);
    choose_blocks(&panel, input->spec);
    const uint64_t scratch_bytes = choose_group(&panel);
    rsrc_take_lut_codes(arena, input, &panel.layout, &out->codes);
    if (panel.has_fields)
        rsrc_panel_pack_fields(arena, &panel, &out->index);
    else
        rsrc_pack_lut_digits(arena, &panel.codes, &out->index);

    rsrc_frame_begin(&panel.frame, arena, input,
                     panel.layout.unit_vectors * panel.layout.vector_rows, &out->kernel);
    rsrc_frame_streams(&panel.frame, panel.layout.unit_vectors, panel.layout.stream_bytes,
                       rsrc_lut_vector_bytes(&panel.layout));
    panel.frame.unit_rows = 1; /* results are addressed by rows from here on */
    out->kernel.scratch_bytes = scratch_bytes;
    rsrc_kb_comment(&panel.frame.kb,
                    "vectors of %u rows, %u quads of columns a panel: codes are "
                    "unpacked once for all tokens of a group",
                    panel.layout.vector_rows, panel.block_macros * panel.codes.macro_quads);
    panel.tiles = rsrc_begin_tiles(&panel.frame, &panel, NULL);
    if (panel.has_fields)
        rsrc_panel_load_fields(&panel);
    else
        rsrc_lut_load_digits(&panel.codes);
    emit_groups(&panel);
    rsrc_frame_end(&panel.frame, out);
    *detail = rsrc_arena_printf(arena, "panel-%s-%s-u%u-b%u-s%u", panel.machine->head.name,
                                panel.layout.form, panel.layout.unit_vectors, panel.block_macros,
                                8 * panel.layout.scale_bytes);
    return RSRC_OK;
}
