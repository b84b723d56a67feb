/* token_group.c - loops over groups of tokens, and the places of columns and sums of a vector of
 * tokens; see token_lanes.h.
 */
#include "kernel/token_lanes.h"

void rsrc_begin_token_groups(struct rsrc_token_group *group) {
    struct rsrc_kb *kb = &group->frame->kb;
    const uint16_t size = rsrc_kb_index_const(kb, group->tokens, "group_tokens");
    group->first = rsrc_kb_index_reg(kb, "group");
    rsrc_kb_loop(kb, group->first, group->frame->zero, group->frame->n_tokens, group->tokens);
    group->end = rsrc_kb_index_op(kb, RSR_KOP_ADD, group->first, size, "group_end");
    rsrc_kb_binary(kb, RSR_KOP_MIN, group->end, group->end, group->frame->n_tokens);
}

uint16_t rsrc_begin_token_vectors(const struct rsrc_token_group *group, const char *name) {
    const uint16_t first = rsrc_kb_index_reg(&group->frame->kb, "%s", name);
    rsrc_kb_loop(&group->frame->kb, first, group->first, group->end, group->lanes->lanes);
    return first;
}

uint16_t rsrc_token_slot(const struct rsrc_token_group *group, uint16_t first, int64_t at,
                         uint64_t bytes, const char *name) {
    struct rsrc_kb *kb = &group->frame->kb;
    const uint16_t slot = rsrc_kb_index_reg(kb, "%s", name);
    rsrc_kb_binary(kb, RSR_KOP_SUB, slot, first, group->first);
    rsrc_kb_binary(kb, RSR_KOP_MUL, slot, slot,
                   rsrc_kb_index_const(kb, bytes / group->lanes->lanes, "%s_step", name));
    return at == 0 ? slot
                   : rsrc_kb_binary(kb, RSR_KOP_ADD, slot, slot,
                                    rsrc_kb_index_const(kb, (uint64_t)at, "%s_offset", name));
}

void rsrc_token_group_results(const struct rsrc_token_group *group, int64_t at, uint64_t bytes,
                              struct rsrc_token_range range) {
    struct rsrc_kb *kb = &group->frame->kb;
    rsrc_frame_comment_results(group->frame);
    const uint16_t lanes = rsrc_kb_index_const(kb, group->lanes->lanes, "lanes");
    range.first = rsrc_begin_token_vectors(group, "result_tile");
    range.sums = rsrc_token_slot(group, range.first, at, bytes, "result_sums");
    const uint16_t all = rsrc_kb_index_op(kb, RSR_KOP_ADD, range.first, lanes, "result_lanes");
    range.end = rsrc_kb_index_op(kb, RSR_KOP_MIN, all, group->frame->n_tokens, "result_end");
    rsrc_token_results(group->frame, group->lanes, &range);
    rsrc_kb_end(kb);
}
