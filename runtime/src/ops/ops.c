/* ops.c - finds the float operations of an instruction-set level. See ops/ops.h. */
#include "ops.h"

extern const struct rsr_ops rsr_ops_table_generic;
#if defined(__x86_64__)
extern const struct rsr_ops rsr_ops_table_avx2;
extern const struct rsr_ops rsr_ops_table_avx512;
#endif

static const struct {
    const struct rsr_ops *ops;
    uint64_t features;
} levels[RSR_OPS_LEVEL_COUNT] = {
    [RSR_OPS_GENERIC] = {&rsr_ops_table_generic, 0},
#if defined(__x86_64__)
    [RSR_OPS_AVX2] = {&rsr_ops_table_avx2,
                      RSR_CPU_MASK(AVX2) | RSR_CPU_MASK(FMA) | RSR_CPU_MASK(F16C)},
    [RSR_OPS_AVX512] = {&rsr_ops_table_avx512, RSR_CPU_MASK(AVX512F) | RSR_CPU_MASK(AVX512BW) |
                                                   RSR_CPU_MASK(AVX512VL) | RSR_CPU_MASK(AVX512DQ)},
#endif
};

const struct rsr_ops *rsr_ops_get(enum rsr_ops_level level) {
    return (unsigned)level < RSR_OPS_LEVEL_COUNT ? levels[level].ops : NULL;
}

uint64_t rsr_ops_features(enum rsr_ops_level level) {
    return (unsigned)level < RSR_OPS_LEVEL_COUNT ? levels[level].features : 0;
}

const struct rsr_ops *rsr_ops_best(uint64_t cpu_features) {
    uint32_t level = RSR_OPS_LEVEL_COUNT - 1;
    while (levels[level].ops == NULL || (levels[level].features & ~cpu_features) != 0)
        level--; /* RSR_OPS_GENERIC runs anywhere */
    return levels[level].ops;
}
