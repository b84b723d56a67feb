/* listed.c - the common part of dot_rows and dot_cols. See listed.h. */
#include "kernel/listed.h"

enum rsrc_status rsrc_listed_check(struct rsrc_diag *diag, const struct rsrc_lower_input *input,
                                   bool row_scales) {
    const struct rsrc_place place = {.tensor = input->title};
    const struct rsr_reduction *reduction = input->reduction;
    const bool mapped =
        reduction != NULL && (reduction->row_sources != NULL || reduction->kept_cols != NULL);
    if (mapped || (!row_scales && input->matrix->n_scales > 1))
        return rsrc_refuse(diag, "lower-listed", &place, "plan it as another kernel",
                           "%s cannot be lowered: %s", rsrc_kernel_row(input->plan->kernel)->words,
                           mapped ? "the layer is reduced" : "every row has a scale");
    return input->matrix->cols > RSRC_MAX_SUM_COLS ? rsrc_refuse_wide(diag, input) : RSRC_OK;
}

void rsrc_listed_constants(struct rsrc_listed *listed) {
    struct rsrc_kb *kb = &listed->frame.kb;
    if (listed->machine->product == RSR_KOP_MADD_U8S8)
        listed->ones = rsrc_kb_const(
            kb, rsrc_kb_reg(kb, RSR_ELEM_I16, listed->machine->vector_bytes / 2, "ones"), 1);
}

static void load_u32(struct rsrc_listed *listed, const struct rsrc_frame_token *token,
                     uint64_t table, uint16_t at, int64_t offset, uint16_t dst) {
    struct rsrc_kb *kb = &listed->frame.kb;
    const uint16_t raw = rsrc_kb_reg(kb, RSR_ELEM_U32, 1, "%s_u32", kb->kernel->regs[dst].name);
    struct rsrc_address from = rsrc_address_at(token->x_buffer, (int64_t)table + 4 * offset);
    from = rsrc_address_plus(rsrc_address_plus(from, token->x_row, 1), at, 4);
    rsrc_kb_unary(kb, RSR_KOP_CONVERT, dst, rsrc_kb_load(kb, raw, from));
}

uint16_t rsrc_listed_begin(struct rsrc_listed *listed, const struct rsrc_frame_token *token,
                           uint16_t at, const char *name) {
    const uint16_t dst = rsrc_kb_index_reg(&listed->frame.kb, "%s", name);
    load_u32(listed, token, listed->list.begin_at, at, 0, dst);
    return dst;
}

void rsrc_listed_index(struct rsrc_listed *listed, const struct rsrc_frame_token *token,
                       uint16_t at, int64_t offset, uint16_t dst) {
    load_u32(listed, token, listed->list.index_at, at, offset, dst);
}

void rsrc_listed_multiply(struct rsrc_listed *listed, uint16_t acc, uint16_t code, uint16_t x,
                          const char *suffix) {
    struct rsrc_kb *kb = &listed->frame.kb;
    const uint32_t bytes = listed->machine->vector_bytes;
    if (listed->machine->product != RSR_KOP_MADD_U8S8) {
        rsrc_kb_ternary(kb, listed->machine->product, acc, acc, code, x);
        return;
    }
    const uint16_t product = rsrc_kb_reg(kb, RSR_ELEM_I16, bytes / 2, "product%s", suffix);
    const uint16_t wide = rsrc_kb_reg(kb, RSR_ELEM_I32, bytes / 4, "wide%s", suffix);
    rsrc_kb_binary(kb, RSR_KOP_MADD_U8S8, product, code, x);
    rsrc_kb_binary(kb, RSR_KOP_MADD_I16, wide, product, listed->ones);
    rsrc_kb_binary(kb, RSR_KOP_ADD, acc, acc, wide);
}

/* ---- time ------------------------------------------------------------------------------------ *
 *
 * With a list, only the active rows of up, or columns of down, are read, at 2 bits a weight; `lut`
 * reads all, at 1.67 bits. Measured with weights from memory and random lists, on a core that reads
 * 12.0 GB/s (2560 x 6912):
 *
 *     active            10    20    30    40    60   100 %
 *     rows of 640 B     56   108   142   184   252   360 us
 *     cols, 2 x 320 B   74   131   169   226   287   380 us
 *     lut               330 to 370 us whatever is active
 *
 * So both pay below about 80 %. A run of listed elements costs 20 to 30 ns more than its bytes,
 * because memory is fetched beyond its end. If active channels come in runs of 16, the times are
 * 0.7 to 0.85 of these. A permutation that makes such runs is not worth it: it would change the
 * order in which the following norm adds.
 */

/* Bytes that are fetched beyond the end of a run. */
#define RUN_BYTES 256.0
/* Time to make one element of the list: 6912 take 3 us at 2.5 GHz. */
#define LIST_US 0.0005

void rsrc_cost_listed(struct rsrc_arena *arena, const struct rsrc_plan_input *input, uint32_t n,
                      uint32_t tiles, double unpack, struct rsrc_choice *out) {
    const double active = input->active;
    const double measured = input->runs;
    const double runs = (measured > 0 ? measured : (double)n * active * (1 - active)) * tiles;
    const double bytes = active * (double)out->weight_bytes + runs * RUN_BYTES;
    const double macs = active * input->stats->rows * input->stats->cols;
    const double list_us = LIST_US * n;
    const double compute_us = rsrc_work_us(macs * (1 + unpack), input->spec->dot_gmacs);
    out->max_cols = RSRC_MAX_SUM_COLS;
    out->work = rsrc_work_text(arena, macs, "multiply-adds");
    out->token_bytes = (uint64_t)bytes;
    out->part = measured > 0 ? rsrc_arena_printf(arena,
                                                 "the listed part (%.1f %% in %.0f runs, as "
                                                 "measured)",
                                                 100 * active, measured)
                             : "the listed part";
    rsrc_set_costs_of_bytes(out, bytes, compute_us + list_us, compute_us + list_us, input->spec);
}
