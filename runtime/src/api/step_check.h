/* step_check.h - what the loader's checks of modules share, and the check of steps. */
#ifndef RSR_STEP_CHECK_H
#define RSR_STEP_CHECK_H

#include "rsr.h"
#include "rsr_abi.h"

#define BROKEN(...) rsr_fail(err, RSR_ERR_ABI, "the module is broken: " __VA_ARGS__)

/* Far above any model; products of two such sizes fit 64 bits. */
#define LIMIT_SIZE (1u << 28)

static inline uint64_t rsr_act_row_bytes(uint32_t cols) {
    return RSR_ACT_HEADER + ((uint64_t)cols + RSR_ACT_PAD - 1) / RSR_ACT_PAD * RSR_ACT_PAD;
}

/* What a step needs to know of a kernel. */
struct rsr_walked_kernel {
    uint32_t rows, cols;
    uint64_t row_bytes; /* of its input */
};

/* The tables that a walk over steps reads: those of a target or of a GPU. The kernels have been
 * checked. */
struct rsr_walked {
    const char *name;
    const struct rsr_tensors *tensors;
    const struct rsr_step_table *steps;
    uint32_t n_steps;
    uint32_t n_kernels;
    const void *kernels; /* for `kernel`, which describes number i of them */
    struct rsr_walked_kernel (*kernel)(const void *kernels, uint32_t i);
};

/* Steps must cover every batch size exactly once: 1..a, a+1..b, ... UINT32_MAX. */
RSR_NODISCARD rsr_status rsr_check_steps(const struct rsr_module *module,
                                         const struct rsr_walked *walked, rsr_error *err);

#endif
