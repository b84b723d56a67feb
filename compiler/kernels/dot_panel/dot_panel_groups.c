/* dot_panel_groups.c - groups of columns that share a scale of their row.
 *
 * A panel then has the columns of one group. Products of u = w + 1 add the sum of the group's x too
 * much, so int32 sums begin with its opposite, and end as sums of w x. These are converted to float
 * (exactly: they are below 2^24), multiplied by the group's scales and added to totals: the order
 * of additions of lower_lut.c. Totals keep the lanes of the sums; scales, which are stored in the
 * order of rows, are brought into these lanes once for all tokens. dot_panel.h has the overview.
 */
#include "kernels/dot_panel/dot_panel.h"

#include "kernel/group_scales.h"

#define SUM_LANES 4u /* of the last vector in which the sums of x are added */

/* ---- sums of x ------------------------------------------------------------------------------- */

uint64_t rsrc_panel_x_sums_bytes(const struct rsrc_panel *panel) {
    return rsrc_panel_has_weights(panel)
               ? 0
               : (uint64_t)panel->group_tokens * panel->layout.n_groups * sizeof(int32_t);
}

/* The place of the opposite of the sum of x of a token and a group. */
static struct rsrc_address x_sum_at(struct rsrc_panel *panel, uint16_t token, uint16_t group,
                                    const char *suffix) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint16_t slot =
        rsrc_kb_index_op(kb, RSR_KOP_SUB, token, panel->first_token, "x_slot%s", suffix);
    struct rsrc_address at = rsrc_address_at(RSR_KBUF_SCRATCH, panel->x_sums_at);
    at = rsrc_address_plus(at, slot, panel->layout.n_groups * (int64_t)sizeof(int32_t));
    return rsrc_address_plus(at, group, sizeof(int32_t));
}

struct x_sums {
    uint16_t x, ones;             /* u8 */
    uint16_t sums;                /* i32 */
    uint16_t pairs, ones16, wide; /* i16, i16, i32, with MADD_U8S8 */
};

static struct x_sums make_x_registers(struct rsrc_panel *panel) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint32_t rows = panel->layout.vector_rows;
    struct x_sums r = {.x = rsrc_kb_reg(kb, RSR_ELEM_U8, rows, "x_bytes"),
                       .ones = rsrc_kb_reg(kb, RSR_ELEM_U8, rows, "x_ones"),
                       .sums = rsrc_kb_reg(kb, RSR_ELEM_I32, rows / 4, "x_sums")};
    rsrc_kb_const(kb, r.ones, 1);
    if (panel->machine->product != RSR_KOP_MADD_U8S8)
        return r;
    r.pairs = rsrc_kb_reg(kb, RSR_ELEM_I16, rows / 2, "x_pairs");
    r.wide = rsrc_kb_reg(kb, RSR_ELEM_I32, rows / 4, "x_wide");
    r.ones16 = rsrc_kb_const(kb, rsrc_kb_reg(kb, RSR_ELEM_I16, rows / 2, "x_ones16"), 1);
    return r;
}

/* sums += the sums of four neighbouring bytes of x each */
static void add_x(struct rsrc_panel *panel, const struct x_sums *r) {
    struct rsrc_kb *kb = &panel->frame.kb;
    if (panel->machine->product != RSR_KOP_MADD_U8S8) {
        rsrc_kb_ternary(kb, panel->machine->product, r->sums, r->sums, r->ones, r->x);
        return;
    }
    rsrc_kb_binary(kb, RSR_KOP_MADD_U8S8, r->pairs, r->ones, r->x);
    rsrc_kb_binary(kb, RSR_KOP_MADD_I16, r->wide, r->pairs, r->ones16);
    rsrc_kb_binary(kb, RSR_KOP_ADD, r->sums, r->sums, r->wide);
}

/* The sum of all lanes. */
static uint16_t add_lanes(struct rsrc_kb *kb, uint16_t sums, uint32_t lanes) {
    for (; lanes > SUM_LANES; lanes /= 2)
        sums =
            rsrc_kb_unary(kb, RSR_KOP_HALVES_ADD,
                          rsrc_kb_reg(kb, RSR_ELEM_I32, lanes / 2, "x_sums_by%u", lanes / 2), sums);
    const uint16_t total = rsrc_kb_reg(kb, RSR_ELEM_I32, 1, "x_total");
    const uint16_t one = rsrc_kb_reg(kb, RSR_ELEM_I32, 1, "x_lane");
    rsrc_kb_immediate(kb, RSR_KOP_EXTRACT, total, sums, 0);
    for (uint32_t i = 1; i < SUM_LANES; i++) {
        rsrc_kb_immediate(kb, RSR_KOP_EXTRACT, one, sums, i);
        rsrc_kb_binary(kb, RSR_KOP_ADD, total, total, one);
    }
    return total;
}

void rsrc_panel_sum_x(struct rsrc_panel *panel) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const struct rsrc_lut_layout *layout = &panel->layout;
    if (rsrc_panel_has_weights(panel))
        return;
    rsrc_kb_comment(kb, "sums of x, a group each: codes are w + 1");
    const uint16_t token = rsrc_kb_index_reg(kb, "x_token"),
                   group = rsrc_kb_index_reg(kb, "x_group");
    const uint16_t n_groups = rsrc_kb_index_const(kb, layout->n_groups, "x_n_groups");
    const struct x_sums r = make_x_registers(panel);
    const uint16_t sum = rsrc_kb_reg(kb, RSR_ELEM_I32, 1, "x_sum");
    rsrc_kb_loop(kb, token, panel->first_token, panel->end_token, 1);
    const struct rsrc_frame_token row = rsrc_frame_token(&panel->frame, token, "_g");
    rsrc_kb_loop(kb, group, panel->frame.zero, n_groups, 1);
    const struct rsrc_address from =
        rsrc_address_plus(rsrc_frame_activations(&row), group, layout->group_cols);
    rsrc_kb_const(kb, r.sums, 0);
    for (uint32_t i = 0; i < layout->group_cols; i += layout->vector_rows) {
        rsrc_kb_load(kb, r.x, rsrc_address_offset(from, i));
        add_x(panel, &r);
    }
    const uint16_t total = add_lanes(kb, r.sums, rsrc_panel_lanes(panel));
    rsrc_kb_const(kb, sum, 0);
    rsrc_kb_binary(kb, RSR_KOP_SUB, sum, sum, total);
    rsrc_kb_store(kb, sum, x_sum_at(panel, token, group, "_g"));
    rsrc_kb_end(kb);
    rsrc_kb_end(kb);
}

/* ---- a group --------------------------------------------------------------------------------- */

uint16_t rsrc_panel_first_sums(struct rsrc_panel *panel, uint16_t token) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint16_t sums = rsrc_kb_reg(kb, RSR_ELEM_I32, rsrc_panel_lanes(panel), "first_sums");
    if (rsrc_panel_has_weights(panel))
        return rsrc_kb_const(kb, sums, 0);
    const uint16_t sum = rsrc_kb_load(kb, rsrc_kb_reg(kb, RSR_ELEM_I32, 1, "first_sum"),
                                      x_sum_at(panel, token, panel->group, "_c"));
    return rsrc_kb_unary(kb, RSR_KOP_SPLAT, sums, sum);
}

/* The place of a quarter of a token's totals. */
static struct rsrc_address totals_at(const struct rsrc_panel *panel, uint16_t sums_at,
                                     uint32_t quarter) {
    return rsrc_address_offset(rsrc_panel_sums(panel, sums_at, 0, quarter),
                               panel->totals_at - panel->sums_at);
}

void rsrc_panel_clear_totals(struct rsrc_panel *panel) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint16_t token = rsrc_kb_index_reg(kb, "total_token");
    const uint16_t zeros = rsrc_kb_const_f32(
        kb, rsrc_kb_reg(kb, RSR_ELEM_F32, rsrc_panel_lanes(panel), "no_totals"), 0.0f);
    rsrc_kb_loop(kb, token, panel->first_token, panel->end_token, 1);
    const uint16_t sums_at = rsrc_panel_sums_at(panel, token, "_z");
    for (uint32_t q = 0; q < RSRC_PANEL_QUARTERS; q++)
        rsrc_kb_store(kb, zeros, totals_at(panel, sums_at, q));
    rsrc_kb_end(kb);
}

/* Loads the group's scales in the lanes of sums. rsrc_panel_sort_rows moves the lanes of two
 * vectors, eight lanes at a time, as an unshuffle does: lane 2i + j goes to 4j + i. Three of them
 * are the identity, so two are the inverse. */
static void load_scales(struct rsrc_panel *panel, uint16_t scales[RSRC_PANEL_QUARTERS]) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const struct rsrc_lut_layout *layout = &panel->layout;
    const uint32_t lanes = rsrc_panel_lanes(panel);
    const struct rsrc_group_scales runs =
        rsrc_make_group_scales(kb, layout->scale_bytes, lanes, "");
    uint16_t sorted[3][RSRC_PANEL_QUARTERS];
    for (uint32_t r = 0; r < RSRC_PANEL_QUARTERS; r++) {
        const struct rsrc_address at =
            rsrc_address_at(RSR_KBUF_CODES, (int64_t)r * lanes * layout->scale_bytes);
        rsrc_load_group_scales(kb, &runs, rsrc_address_plus(at, panel->head_at, 1));
        sorted[0][r] =
            rsrc_kb_unary(kb, RSR_KOP_BITCAST,
                          rsrc_kb_reg(kb, RSR_ELEM_I32, lanes, "scale_bits%u", r), runs.scale);
    }
    rsrc_panel_sort_rows(panel, sorted[0], "_s1", sorted[1]);
    rsrc_panel_sort_rows(panel, sorted[1], "_s2", sorted[2]);
    for (uint32_t q = 0; q < RSRC_PANEL_QUARTERS; q++)
        scales[q] = rsrc_kb_unary(
            kb, RSR_KOP_BITCAST, rsrc_kb_reg(kb, RSR_ELEM_F32, lanes, "scales%u", q), sorted[2][q]);
}

void rsrc_panel_scale_group(struct rsrc_panel *panel) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint32_t lanes = rsrc_panel_lanes(panel);
    uint16_t scales[RSRC_PANEL_QUARTERS];
    rsrc_kb_comment(kb, "scale: the group's sums are added to totals times the group's scales, "
                        "which lie before its codes");
    load_scales(panel, scales);
    const uint16_t token = rsrc_kb_index_reg(kb, "scaled_token");
    rsrc_kb_loop(kb, token, panel->first_token, panel->end_token, 1);
    const uint16_t sums_at = rsrc_panel_sums_at(panel, token, "_g");
    for (uint32_t q = 0; q < RSRC_PANEL_QUARTERS; q++) {
        const uint16_t sums =
            rsrc_kb_load(kb, rsrc_kb_reg(kb, RSR_ELEM_I32, lanes, "group_sums%u", q),
                         rsrc_panel_sums(panel, sums_at, 0, q));
        const uint16_t real = rsrc_kb_unary(
            kb, RSR_KOP_CONVERT, rsrc_kb_reg(kb, RSR_ELEM_F32, lanes, "group_real%u", q), sums);
        rsrc_kb_binary(kb, RSR_KOP_MUL, real, real, scales[q]);
        const uint16_t totals = rsrc_kb_load(
            kb, rsrc_kb_reg(kb, RSR_ELEM_F32, lanes, "totals%u", q), totals_at(panel, sums_at, q));
        rsrc_kb_binary(kb, RSR_KOP_ADD, totals, totals, real);
        rsrc_kb_store(kb, totals, totals_at(panel, sums_at, q));
    }
    rsrc_kb_end(kb);
}
