/* gpu_cost.c - what all kernels of GPUs take. */
#include "kernel/gpu_cost.h"

/* The share of the peak rate of integer instructions that code with loads and barriers reaches. */
#define INT_SHARE 0.5
#define LANES 32.0

/* Integer instructions that a multiprocessor starts per cycle, counted in lanes: of every GPU that
 * there are descriptions of (RSRC_SPEC_FIELDS). */
#define INT_LANES 64.0

/* Layers that read one quantised vector share its launch; a bare matrix reads int8 rows that
 * others made. */
static double quantize_share(enum rsr_role role) {
    switch (role) {
    case RSR_ROLE_Q:
    case RSR_ROLE_K:
    case RSR_ROLE_V:
        return 1.0 / 3;
    case RSR_ROLE_GATE:
    case RSR_ROLE_UP:
        return 1.0 / 2;
    default:
        return role == RSR_ROLE_COUNT ? 0 : 1;
    }
}

double rsrc_gpu_launch_us(const struct rsrc_plan_input *input) {
    return input->spec->gpu.launch_us * (1 + quantize_share(input->role));
}

double rsrc_gpu_us(const struct rsr_gpu *gpu, double warp_instructions) {
    return warp_instructions * LANES /
           (INT_SHARE * INT_LANES * gpu->sm_count * gpu->clock_ghz * 1e3);
}
