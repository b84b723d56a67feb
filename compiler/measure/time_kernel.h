/* time_kernel.h - time of one call of a loaded kernel on one core, with its weights read from
 * DRAM. */
#ifndef RSRC_MEASURE_TIME_KERNEL_H
#define RSRC_MEASURE_TIME_KERNEL_H

#include "ir.h"

struct rsrc_time_input {
    rsr_kernel_fn *run;
    const struct rsr_lowered *lowered;
    uint32_t n_scales; /* of lowered->scale */
    uint32_t n_tokens;
    uint8_t *stream; /* from rsrc_map_pages(): overwritten with copies of the weights */
    uint64_t stream_bytes;
};

/* Microseconds per call. Calls use one copy of the weights after another, as many as the stream has
 * room for. For a kernel whose index is instructions, the stream is read before each call, so that
 * its code comes from memory too. The result is the least of several samples of many calls: other
 * work of the machine can only make a sample longer. It takes about 0.1 s, or three calls if the
 * kernel is slow. False: the stream does not hold two copies. */
bool rsrc_time_kernel(const struct rsrc_time_input *input, double *us);

#endif
