/* gpu_cost.h - what all kernels of GPUs take: of bandwidth, of time, and for launches. */
#ifndef RSRC_KERNEL_GPU_COST_H
#define RSRC_KERNEL_GPU_COST_H

#include "kernel/kernel.h"

/* The share of the data sheet's bandwidth that a kernel reaches. */
#define RSRC_GPU_READ_SHARE 0.75
/* Microseconds of so many instructions of warps on the whole GPU. */
double rsrc_gpu_us(const struct rsr_gpu *gpu, double warp_instructions);
/* Microseconds of a layer's launch, with its share of the one that quantises its activations. */
double rsrc_gpu_launch_us(const struct rsrc_plan_input *input);

#endif
