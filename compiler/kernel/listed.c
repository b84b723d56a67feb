/* listed.c - what the kernels of listed rows and columns share. See listed.h. */
#include "kernel/listed.h"

/* Codes are at most 2, activations at least -128, and the sum of x is taken off: 3 * 128 a
 * column. */
#define MAX_COLS (INT32_MAX / 384 - RSR_ACT_PAD)

enum rsrc_status rsrc_listed_prepare(struct rsrc_diag *diag, const struct rsrc_lower_input *input,
                                     const struct rsrc_dot_machine **out) {
    const struct rsrc_place place = {.tensor = input->title};
    const struct rsr_reduction *reduction = input->reduction;
    const bool mapped =
        reduction != NULL && (reduction->row_sources != NULL || reduction->kept_cols != NULL);
    const bool rows = input->plan->packing == RSR_PACKING_ROWS;
    const struct rsrc_dot_machine *machine = rsrc_find_listed_machine(input->spec);
    const char *what = machine == NULL ? "the target has no integer dot product"
                       : mapped        ? "the layer is reduced"
                       : rows && input->matrix->n_scales > 1 ? "every row has a scale"
                                                             : NULL;
    if (what != NULL) {
        rsrc_error(diag, "lower-listed", &place, "plan it with another packing",
                   "listed %s cannot be lowered: %s", rows ? "rows" : "columns", what);
        return RSRC_FAILED;
    }
    if (input->matrix->cols > MAX_COLS)
        return rsrc_refuse_wide(diag, input);
    *out = machine;
    return RSRC_OK;
}

void rsrc_listed_constants(struct rsrc_listed *listed) {
    struct rsrc_kb *kb = &listed->frame.kb;
    if (listed->machine->style == RSRC_DOT_MADD)
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
    switch (listed->machine->style) {
    case RSRC_DOT_VNNI:
        rsrc_kb_ternary(kb, RSR_KOP_DOT_U8S8, acc, acc, code, x);
        return;
    case RSRC_DOT_SDOT:
        rsrc_kb_ternary(kb, RSR_KOP_DOT_S8S8, acc, acc, code, x);
        return;
    case RSRC_DOT_MADD:
    case RSRC_DOT_PLAIN: /* no machine of lists */
        break;
    }
    const uint16_t product = rsrc_kb_reg(kb, RSR_ELEM_I16, bytes / 2, "product%s", suffix);
    const uint16_t wide = rsrc_kb_reg(kb, RSR_ELEM_I32, bytes / 4, "wide%s", suffix);
    rsrc_kb_binary(kb, RSR_KOP_MADD_U8S8, product, code, x);
    rsrc_kb_binary(kb, RSR_KOP_MADD_I16, wide, product, listed->ones);
    rsrc_kb_binary(kb, RSR_KOP_ADD, acc, acc, wide);
}
