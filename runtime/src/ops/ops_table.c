/* ops_table.c - one level's functions as a table: rsr_ops_table_generic, _avx2, _avx512. */
#include "ops_functions.h"

#define LEVEL_TEXT2(level) #level
#define LEVEL_TEXT(level) LEVEL_TEXT2(level)

extern const struct rsr_ops RSR_OPS(table);

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
    .attend_page = RSR_OPS(attend_page),
    .attend_finish = RSR_OPS(attend_finish),
    .exp = RSR_OPS(exp),
};
