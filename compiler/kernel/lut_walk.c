/* lut_walk.c - groups of tokens, blocks of columns, units of rows; see lut_walk.h. */
#include "kernel/lut_walk.h"

#include <assert.h>

#include "base/round.h"

#define SUM_BYTES 4 /* of an i32 or a float */
#define L2_TOKENS 6 /* steps whose tables fill the second-level cache */

uint64_t rsrc_lut_plan_scratch(struct rsrc_lut_walk *walk, uint32_t unit_steps, uint64_t n_rows) {
    const uint64_t bytes = walk->frame.layer->spec->l2_bytes / L2_TOKENS;
    const uint64_t fitting = bytes / walk->table_step_bytes / unit_steps * unit_steps;
    const uint64_t most = fitting != 0 ? fitting : unit_steps;
    /* Blocks are equal: codes are fetched ahead only within a block, so a short block would gain
     * little from it. */
    const uint64_t n_blocks = rsrc_divide_up64(walk->n_steps, most);
    const uint64_t steps = rsrc_divide_up64(rsrc_divide_up64(walk->n_steps, n_blocks), unit_steps);
    walk->block_steps =
        steps * unit_steps < walk->n_steps ? (uint32_t)steps * unit_steps : walk->n_steps;
    walk->n_blocks = rsrc_divide_up(walk->n_steps, walk->block_steps);
    walk->token_table_bytes = (int64_t)walk->block_steps * walk->table_step_bytes;
    walk->partials_at = LUT_TOKENS * walk->token_table_bytes;
    walk->token_partials_bytes = walk->n_blocks == 1 ? 0 : (int64_t)n_rows * SUM_BYTES;
    const int64_t end = walk->partials_at + LUT_TOKENS * walk->token_partials_bytes;
    return walk->frame.kb.kernel->scratch_bytes = (uint64_t)end;
}

/* ---- the loops ------------------------------------------------------------------------------- */

/* The worker's whole units are in a loop; the matrix's last unit, if it is short, is separate
 * code. */
static void emit_units(struct rsrc_lut_walk *walk, const struct rsrc_lut_form *form) {
    struct rsrc_frame *frame = &walk->frame;
    struct rsrc_kb *kb = &frame->kb;
    const uint32_t n_full = kb->kernel->rows / frame->unit_rows;
    const uint32_t n_last = kb->kernel->rows % frame->unit_rows;
    const uint16_t full_units = rsrc_kb_index_const(kb, n_full, "full_units");
    if (n_full != 0) {
        const uint16_t end =
            rsrc_kb_index_op(kb, RSR_KOP_MIN, frame->unit_end, full_units, "full_end");
        const uint16_t unit = rsrc_kb_index_reg(kb, "unit");
        rsrc_kb_comment(kb, "units of %u rows, a token at a time over the unit's codes",
                        frame->unit_rows);
        rsrc_kb_loop(kb, unit, frame->unit_begin, end, 1);
        form->emit_unit(walk, unit, frame->unit_rows, "");
        rsrc_kb_end(kb);
    }
    if (n_last != 0) {
        rsrc_kb_comment(kb, "the last unit has %u rows (names end in _last)", n_last);
        rsrc_kb_if_less(kb, full_units, frame->unit_end);
        rsrc_kb_if_less(kb, frame->unit_begin, frame->unit_end);
        form->emit_unit(walk, full_units, n_last, "_last");
        rsrc_kb_end(kb);
        rsrc_kb_end(kb);
    }
}

static void emit_blocks(struct rsrc_lut_walk *walk, const struct rsrc_lut_form *form) {
    struct rsrc_kb *kb = &walk->frame.kb;
    walk->first_step = walk->frame.zero;
    walk->end_step = walk->all_steps;
    if (walk->n_blocks > 1) {
        const uint16_t size = rsrc_kb_index_const(kb, walk->block_steps, "block_steps");
        rsrc_kb_comment(kb, "blocks of columns whose tables fit; sums wait in scratch memory");
        walk->first_step = rsrc_kb_index_reg(kb, "first_step");
        walk->end_step = rsrc_kb_index_reg(kb, "end_step");
        rsrc_kb_loop(kb, walk->first_step, walk->frame.zero, walk->all_steps, walk->block_steps);
        rsrc_kb_binary(kb, RSR_KOP_ADD, walk->end_step, walk->first_step, size);
        rsrc_kb_binary(kb, RSR_KOP_MIN, walk->end_step, walk->end_step, walk->all_steps);
    }
    if (walk->has_tables != RSR_NO_KREG)
        rsrc_kb_if_less(kb, walk->has_tables, walk->frame.one);
    form->emit_tables(walk);
    if (walk->has_tables != RSR_NO_KREG)
        rsrc_kb_end(kb);
    emit_units(walk, form);
    if (walk->n_blocks > 1)
        rsrc_kb_end(kb);
}

/* Tables can be shared if there is one block of columns and one group of tokens: then the tables
 * are still in memory when the kernel ends. A reduced layer has other columns, so it cannot share
 * them. */
static void begin_sharing(struct rsrc_lut_walk *walk, uint16_t group, const char *tables) {
    struct rsrc_kb *kb = &walk->frame.kb;
    walk->has_tables = RSR_NO_KREG;
    if (walk->n_blocks > 1 || walk->frame.maps.active)
        return;
    kb->kernel->tables = tables;
    rsrc_kb_comment(kb,
                    "kernels that multiply the same x share its tables: the worker says whether "
                    "the one before has left them, which a single group of tokens can");
    walk->has_tables = rsrc_kb_index_reg(kb, "has_tables");
    rsrc_kb_param(kb, walk->has_tables, RSR_KPARAM_HAS_TABLES);
    rsrc_kb_if_less(kb, group, walk->frame.n_tokens);
    rsrc_kb_const(kb, walk->has_tables, 0);
    rsrc_kb_end(kb);
}

void rsrc_lut_emit_walk(struct rsrc_lut_walk *walk, const struct rsrc_lut_form *form,
                        const char *comment, const char *tables) {
    struct rsrc_kb *kb = &walk->frame.kb;
    const uint16_t group = rsrc_kb_index_const(kb, LUT_TOKENS, "group_tokens");
    walk->first_token = rsrc_kb_index_reg(kb, "first_token");
    walk->end_token = rsrc_kb_index_reg(kb, "end_token");
    walk->table_stride = rsrc_kb_index_const(kb, (uint64_t)walk->token_table_bytes, "table_stride");
    walk->step_bytes = rsrc_kb_index_const(kb, walk->table_step_bytes, "table_step_bytes");
    walk->all_steps = rsrc_kb_index_const(kb, walk->n_steps, "n_steps");
    rsrc_kb_comment(kb, "%s", comment);
    begin_sharing(walk, group, tables);
    rsrc_kb_comment(kb, "groups of %u tokens: as many tables as the second-level cache holds",
                    LUT_TOKENS);
    rsrc_kb_loop(kb, walk->first_token, walk->frame.zero, walk->frame.n_tokens, LUT_TOKENS);
    rsrc_kb_binary(kb, RSR_KOP_ADD, walk->end_token, walk->first_token, group);
    rsrc_kb_binary(kb, RSR_KOP_MIN, walk->end_token, walk->end_token, walk->frame.n_tokens);
    emit_blocks(walk, form);
    rsrc_kb_end(kb);
}

uint16_t rsrc_lut_table_base(struct rsrc_lut_walk *walk, uint16_t token, const char *suffix,
                             uint16_t *slot) {
    struct rsrc_kb *kb = &walk->frame.kb;
    const uint16_t base = rsrc_kb_index_reg(kb, "table_base%s", suffix);
    *slot = rsrc_kb_index_op(kb, RSR_KOP_SUB, token, walk->first_token, "slot%s", suffix);
    rsrc_kb_binary(kb, RSR_KOP_MUL, base, *slot, walk->table_stride);
    if (walk->n_blocks == 1)
        return base;
    const uint16_t skipped =
        rsrc_kb_index_op(kb, RSR_KOP_MUL, walk->first_step, walk->step_bytes, "skipped%s", suffix);
    return rsrc_kb_binary(kb, RSR_KOP_SUB, base, base, skipped);
}

/* ---- a unit of rows -------------------------------------------------------------------------- */

void rsrc_lut_make_counters(struct rsrc_lut_unit *unit) {
    unit->token_number = rsrc_kb_index_reg(&unit->walk->frame.kb, "token%s", unit->suffix);
    unit->step = rsrc_kb_index_reg(&unit->walk->frame.kb, "step%s", unit->suffix);
}

void rsrc_lut_begin_token(struct rsrc_lut_unit *unit) {
    struct rsrc_lut_walk *walk = unit->walk;
    rsrc_kb_loop(&walk->frame.kb, unit->token_number, walk->first_token, walk->end_token, 1);
    unit->token = rsrc_frame_token(&walk->frame, unit->token_number, unit->suffix);
    unit->table_base = rsrc_lut_table_base(walk, unit->token_number, unit->suffix, &unit->slot);
}

/* The place of the sums of run `i` between column blocks. */
static struct rsrc_address partial_address(const struct rsrc_lut_unit *unit, uint32_t i) {
    const struct rsrc_lut_walk *walk = unit->walk;
    struct rsrc_address at =
        rsrc_address_at(RSR_KBUF_SCRATCH, walk->partials_at + (int64_t)i * unit->lanes * SUM_BYTES);
    at = rsrc_address_plus(at, unit->slot, walk->token_partials_bytes);
    return rsrc_address_plus(at, unit->number, (int64_t)walk->frame.unit_rows * SUM_BYTES);
}

void rsrc_lut_begin_sums(struct rsrc_lut_unit *unit, rsrc_lut_unit_fn *start) {
    const struct rsrc_lut_walk *walk = unit->walk;
    struct rsrc_kb *kb = &unit->walk->frame.kb;
    assert(unit->n_runs <= LUT_MAX_RUNS);
    for (uint32_t i = 0; i < unit->n_runs; i++)
        if (unit->elem == RSR_ELEM_F32)
            rsrc_kb_const_f32(kb, unit->sums[i], 0.0f);
        else
            rsrc_kb_const(kb, unit->sums[i], 0);
    if (walk->n_blocks > 1) {
        rsrc_kb_if_less(kb, walk->frame.zero, walk->first_step);
        for (uint32_t i = 0; i < unit->n_runs; i++)
            rsrc_kb_load(kb, unit->sums[i], partial_address(unit, i));
        if (start != NULL)
            rsrc_kb_else(kb);
    }
    if (start != NULL)
        start(unit);
    if (walk->n_blocks > 1)
        rsrc_kb_end(kb);
}

void rsrc_lut_end_sums(struct rsrc_lut_unit *unit, rsrc_lut_unit_fn *finish) {
    const struct rsrc_lut_walk *walk = unit->walk;
    struct rsrc_kb *kb = &unit->walk->frame.kb;
    if (walk->n_blocks > 1) {
        rsrc_kb_if_less(kb, walk->end_step, walk->all_steps);
        for (uint32_t i = 0; i < unit->n_runs; i++)
            rsrc_kb_store(kb, unit->sums[i], partial_address(unit, i));
        rsrc_kb_else(kb);
    }
    finish(unit);
    if (walk->n_blocks > 1)
        rsrc_kb_end(kb);
}

static void store_rows(struct rsrc_lut_unit *unit, uint16_t sums, uint32_t lanes, uint32_t row) {
    struct rsrc_frame *frame = &unit->walk->frame;
    const uint16_t result = rsrc_frame_result(frame, sums, lanes, &unit->token, unit->number, row);
    rsrc_frame_store(frame, result, &unit->token, unit->number, row);
}

void rsrc_lut_store_run(struct rsrc_lut_unit *unit, uint32_t i) {
    struct rsrc_kb *kb = &unit->walk->frame.kb;
    const uint32_t row = i * unit->lanes;
    const uint32_t n_left = row < unit->n_rows ? unit->n_rows - row : 0;
    if (n_left >= unit->lanes) {
        store_rows(unit, unit->sums[i], unit->lanes, row);
        return;
    }
    for (uint32_t lane = 0; lane < n_left; lane++) {
        const uint16_t one = rsrc_kb_reg(kb, unit->elem, 1, "row%u%s", row + lane, unit->suffix);
        rsrc_kb_immediate(kb, RSR_KOP_EXTRACT, one, unit->sums[i], lane);
        store_rows(unit, one, 1, row + lane);
    }
}
