/* ops_table.c - one level's functions as a table: rsr_ops_table_generic, _avx2, _avx512. */
#include "ops_functions.h"

#define LEVEL_TEXT2(level) #level
#define LEVEL_TEXT(level) LEVEL_TEXT2(level)

extern const struct rsr_ops RSR_OPS(table);

/* Fewer heads leave too many lanes empty. The widest vectors take no less time by lanes, unless
 * widening a row is much work. A Zen 4's 16 and 32 heads of 128 dimensions against pages in its
 * second cache, of the time by attend_page():
 *
 *                 f32         bf16        f16         int8
 *     AVX-512     1.20 1.11   1.04 0.96   1.05 0.99   0.87 0.83
 *     AVX2        0.95 0.88   0.66 0.62   0.91 0.86   0.47 0.44
 */
#define LEAST_LANES(type) (RSR_NATIVE == 16 && (type) != RSR_KV_INT8 ? UINT32_MAX : 16u)

#define KV_OPS(name, type)                                                                         \
    [type] = {RSR_OPS(store_##name),          RSR_OPS(load_##name),       RSR_OPS(dots_##name),    \
              RSR_OPS(largest_square_##name), RSR_OPS(exact_##name),      RSR_OPS(add_##name),     \
              RSR_OPS(attend_page_##name),    RSR_OPS(attend_run_##name), LEAST_LANES(type)},
static const struct rsr_kv_ops kv_ops[RSR_KV_TYPES] = {RSR_EACH_KV_TYPE(KV_OPS)};

const struct rsr_ops RSR_OPS(table) = {
    .name = LEVEL_TEXT(RSR_OPS_LEVEL),
    .embed = RSR_OPS(embed),
    .scale = RSR_OPS(scale),
    .rope_table = RSR_OPS(rope_table),
    .rope = RSR_OPS(rope),
    .add = RSR_OPS(add),
    .rotate = RSR_OPS(rotate),
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
    .gate = RSR_OPS(gate),
    .convolve = RSR_OPS(convolve),
    .unit = RSR_OPS(unit),
    .delta_gates = RSR_OPS(delta_gates),
    .delta = {[RSR_STATE_F32] = RSR_OPS(delta_f32), [RSR_STATE_BF16] = RSR_OPS(delta_bf16)},
};
