/* dot_panel_sums.c - the sums of a panel's rows: their place between column blocks, and their
 * conversion to results.
 *
 * Products leave sums of u x in scratch memory, in the lanes of the codes. Here they are brought in
 * the order of rows, corrected to sums of w x, scaled and stored. dot_panel.h has the overview.
 */
#include "kernels/dot_panel/dot_panel.h"

#include <stdio.h>

/* ---- in scratch memory ----------------------------------------------------------------------- */

uint16_t rsrc_panel_sums_at(struct rsrc_panel *panel, uint16_t token, const char *suffix) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint16_t at = rsrc_kb_index_reg(kb, "sums_at%s", suffix);
    const uint16_t bytes =
        rsrc_kb_index_const(kb, 4 * panel->layout.vector_rows, "sums_bytes%s", suffix);
    rsrc_kb_binary(kb, RSR_KOP_SUB, at, token, panel->first_token);
    return rsrc_kb_binary(kb, RSR_KOP_MUL, at, at, bytes);
}

struct rsrc_address rsrc_panel_sums(const struct rsrc_panel *panel, uint16_t sums_at, uint32_t t,
                                    uint32_t quarter) {
    const uint32_t rows = panel->layout.vector_rows;
    const int64_t at = panel->sums_at + (int64_t)t * 4 * rows + quarter * rows;
    return rsrc_address_plus(rsrc_address_at(RSR_KBUF_SCRATCH, at), sums_at, 1);
}

void rsrc_panel_clear_sums(struct rsrc_panel *panel) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint16_t token = rsrc_kb_index_reg(kb, "clear_token");
    const uint16_t zeros =
        rsrc_kb_const(kb, rsrc_kb_reg(kb, RSR_ELEM_I32, rsrc_panel_lanes(panel), "zeros"), 0);
    rsrc_kb_loop(kb, token, panel->first_token, panel->end_token, 1);
    const uint16_t sums_at = rsrc_panel_sums_at(panel, token, "_c");
    const uint16_t first = panel->has_groups ? rsrc_panel_first_sums(panel, token) : zeros;
    for (uint32_t q = 0; q < RSRC_PANEL_QUARTERS; q++)
        rsrc_kb_store(kb, first, rsrc_panel_sums(panel, sums_at, 0, q));
    rsrc_kb_end(kb);
}

/* ---- results --------------------------------------------------------------------------------- */

/* Sums of four consecutive runs of rows. Quarters q and q + 1 together hold runs q and q + 1, with
 * their rows interleaved in pairs (see the lanes of lut_layout.h). */
void rsrc_panel_sort_rows(struct rsrc_panel *panel, const uint16_t quarters[RSRC_PANEL_QUARTERS],
                          const char *suffix, uint16_t runs[RSRC_PANEL_QUARTERS]) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint32_t lanes = rsrc_panel_lanes(panel);
    static const enum rsr_kop_kind zips[2] = {RSR_KOP_ZIP_LOW, RSR_KOP_ZIP_HIGH};
    for (uint32_t pair = 0; pair < RSRC_PANEL_QUARTERS; pair += 2) {
        uint16_t halves[2];
        for (uint32_t h = 0; h < 2; h++)
            halves[h] = rsrc_kb_binary(
                kb, zips[h], rsrc_kb_reg(kb, RSR_ELEM_I32, lanes, "zip%u_%u%s", pair, h, suffix),
                quarters[pair], quarters[pair + 1]);
        for (uint32_t r = 0; r < 2; r++)
            runs[pair + r] = rsrc_kb_binary(
                kb, zips[r], rsrc_kb_reg(kb, RSR_ELEM_I32, lanes, "run%u%s", pair + r, suffix),
                halves[0], halves[1]);
    }
}

/* With groups, sums are the bits of floats. */
static uint16_t real_sums(struct rsrc_panel *panel, uint16_t sums, uint32_t lanes,
                          const char *suffix) {
    struct rsrc_kb *kb = &panel->frame.kb;
    if (!panel->has_groups)
        return sums;
    return rsrc_kb_unary(kb, RSR_KOP_BITCAST,
                         rsrc_kb_reg(kb, RSR_ELEM_F32, lanes, "real_sum%s", suffix), sums);
}

static void store_runs(struct rsrc_panel *panel, const struct rsrc_frame_token *token,
                       const uint16_t runs[RSRC_PANEL_QUARTERS], uint16_t x_sum) {
    const uint32_t lanes = rsrc_panel_lanes(panel);
    for (uint32_t r = 0; r < RSRC_PANEL_QUARTERS; r++) {
        char suffix[16];
        snprintf(suffix, sizeof suffix, "_run%u", r);
        rsrc_frame_correct(&panel->frame, panel->layout.alphabet, runs[r], lanes, x_sum, suffix);
        const uint16_t result =
            rsrc_frame_result(&panel->frame, real_sums(panel, runs[r], lanes, suffix), lanes, token,
                              panel->row, r * lanes);
        rsrc_frame_store(&panel->frame, result, token, panel->row, r * lanes);
    }
}

/* Stores the last, short vector through memory, one row at a time. */
static void store_tail(struct rsrc_panel *panel, const struct rsrc_frame_token *token,
                       const uint16_t runs[RSRC_PANEL_QUARTERS], uint16_t x_sum) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint32_t lanes = rsrc_panel_lanes(panel),
                   n_tail = kb->kernel->rows % panel->layout.vector_rows;
    for (uint32_t r = 0; r < RSRC_PANEL_QUARTERS; r++)
        rsrc_kb_store(kb, runs[r],
                      rsrc_address_at(RSR_KBUF_SCRATCH, panel->tail_at + r * lanes * 4));
    rsrc_kb_comment(kb, "the last vector has %u rows: through memory, a row at a time", n_tail);
    const uint16_t end = rsrc_kb_index_const(kb, n_tail, "n_tail_rows");
    const uint16_t i = rsrc_kb_index_reg(kb, "tail_row");
    rsrc_kb_loop(kb, i, panel->frame.zero, end, 1);
    const uint16_t sum =
        rsrc_kb_load(kb, rsrc_kb_reg(kb, RSR_ELEM_I32, 1, "tail_sum"),
                     rsrc_address_plus(rsrc_address_at(RSR_KBUF_SCRATCH, panel->tail_at), i, 4));
    rsrc_frame_correct(&panel->frame, panel->layout.alphabet, sum, 1, x_sum, "");
    const uint16_t row = rsrc_kb_index_op(kb, RSR_KOP_ADD, panel->row, i, "tail_at");
    rsrc_frame_store(
        &panel->frame,
        rsrc_frame_result(&panel->frame, real_sums(panel, sum, 1, ""), 1, token, row, 0), token,
        row, 0);
    rsrc_kb_end(kb);
}

void rsrc_panel_store_results(struct rsrc_panel *panel) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint32_t rows = panel->layout.vector_rows, lanes = rsrc_panel_lanes(panel);
    rsrc_kb_comment(kb,
                    "sums to results: zips have left rows in pairs apart, and bring them in order");
    const uint16_t token = rsrc_kb_index_reg(kb, "result_token");
    rsrc_kb_loop(kb, token, panel->first_token, panel->end_token, 1);
    const struct rsrc_frame_token row_of = rsrc_frame_token(&panel->frame, token, "_r");
    const uint16_t sums_at = rsrc_panel_sums_at(panel, token, "_r");
    uint16_t quarters[RSRC_PANEL_QUARTERS], runs[RSRC_PANEL_QUARTERS];
    for (uint32_t q = 0; q < RSRC_PANEL_QUARTERS; q++)
        quarters[q] = rsrc_kb_load(
            kb, rsrc_kb_reg(kb, RSR_ELEM_I32, lanes, "total%u", q),
            rsrc_address_offset(rsrc_panel_sums(panel, sums_at, 0, q),
                                panel->has_groups ? panel->totals_at - panel->sums_at : 0));
    rsrc_panel_sort_rows(panel, quarters, "", runs);
    rsrc_frame_comment_results(&panel->frame);
    const bool right = panel->layout.alphabet == RSR_BINARY_BIT || rsrc_panel_has_weights(panel) ||
                       panel->has_groups;
    const uint16_t x_sum = right ? RSR_NO_KREG : rsrc_frame_load_sum(&panel->frame, &row_of, "_r");
    if (kb->kernel->rows % rows == 0) {
        store_runs(panel, &row_of, runs, x_sum);
    } else {
        const uint16_t full_rows =
            rsrc_kb_index_const(kb, kb->kernel->rows / rows * rows, "full_rows");
        rsrc_kb_if_less(kb, panel->row, full_rows);
        store_runs(panel, &row_of, runs, x_sum);
        rsrc_kb_else(kb);
        store_tail(panel, &row_of, runs, x_sum);
        rsrc_kb_end(kb);
    }
    rsrc_kb_end(kb);
}
