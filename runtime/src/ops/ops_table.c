/* ops_table.c - one level's functions as a table: rsr_ops_table_generic, _avx2, _avx512. */
#include "ops_functions.h"

#define LEVEL_TEXT2(level) #level
#define LEVEL_TEXT(level) LEVEL_TEXT2(level)

extern const struct rsr_ops RSR_OPS(table);

#define KV_OPS(name, type)                                                                         \
    [type] = {RSR_OPS(store_##name),          RSR_OPS(load_##name),      RSR_OPS(dots_##name),     \
              RSR_OPS(largest_square_##name), RSR_OPS(exact_##name),     RSR_OPS(add_##name),      \
              RSR_OPS(attend_page_##name),    RSR_OPS(attend_run_##name)},
static const struct rsr_kv_ops kv_ops[RSR_KV_TYPES] = {RSR_EACH_KV_TYPE(KV_OPS)};

const struct rsr_ops RSR_OPS(table) = {
    .name = LEVEL_TEXT(RSR_OPS_LEVEL),
    .embed = RSR_OPS(embed),
    .scale = RSR_OPS(scale),
    .rope_table = RSR_OPS(rope_table),
    .rope = RSR_OPS(rope),
    .add = RSR_OPS(add),
    .norm = RSR_OPS(norm),
    .quantize = RSR_OPS(quantize),
    .act_mul = RSR_OPS(act_mul),
    .head = RSR_OPS(head),
    .head_some = RSR_OPS(head_some),
    .kv = kv_ops,
    .largest_score = RSR_OPS(largest_score),
    .attend_merge = RSR_OPS(attend_merge),
    .attend_finish = RSR_OPS(attend_finish),
    .exp = RSR_OPS(exp),
};
