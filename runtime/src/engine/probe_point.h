/* probe_point.h - which operations a probe sees, and as what, whatever runs them. */
#ifndef RSR_ENGINE_PROBE_POINT_H
#define RSR_ENGINE_PROBE_POINT_H

#include "runtime.h"

struct rsr_engine;

/* The ternary or binary matrix of a LINEAR or HEAD operation, of a CPU or a GPU. */
struct rsr_probe_kernel {
    uint32_t rows, cols;
    uint32_t role; /* enum rsr_role */
    bool reads_int8;
};

/* Makes the point before or after `op`; `kernel` NULL: the operation has none. Returns the buffer
 * whose rows the probe sees, or RSR_NO_BUFFER: probes do not see this point. The caller sets data,
 * row_bytes, n_tokens and positions. */
uint16_t rsr_probe_point_make(const struct rsr_step_op *op, bool before,
                              const struct rsr_probe_kernel *kernel,
                              const struct rsr_tensors *tensors, const struct rsr_hyper *hyper,
                              rsr_probe_point *point);

/* Calls the engine's probe. Afterwards the thread has the floating-point environment that sums and
 * bounds need, whatever the probe did to it. */
void rsr_probe_call(const struct rsr_engine *engine, const rsr_probe_point *point);

#endif
