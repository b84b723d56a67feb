/* time_kernel.h - what one call of a loaded kernel takes on one core, its weights read from
 * DRAM. */
#ifndef RSRC_MEASURE_TIME_KERNEL_H
#define RSRC_MEASURE_TIME_KERNEL_H

#include "ir.h"

struct rsrc_time_input {
    rsr_kernel_fn *run;
    const struct rsr_lowered *lowered;
    uint32_t n_scales; /* of lowered->scale */
    uint32_t n_tokens;
    uint8_t *stream; /* of rsrc_map_pages(): overwritten with copies of the weights */
    uint64_t stream_bytes;
};

/* Microseconds a call, over as many copies of the weights as the stream has room for, one after
 * the other; of a kernel whose index is instructions, with the stream read before each call, so
 * that its code comes from memory too. The least of some samples of many calls: whatever else the
 * machine does can only make one longer. Takes some 0.1 s, of slow kernels three calls. False: the
 * stream does not hold two copies. */
bool rsrc_time_kernel(const struct rsrc_time_input *input, double *us);

#endif
