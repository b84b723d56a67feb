/* emulated_kernels.h - the kernels of cuda/kernels/, compiled for the host at the shapes of a
 * test. */
#ifndef TESTS_CUDA_EMULATED_KERNELS_H
#define TESTS_CUDA_EMULATED_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* codes, product, rows, cols, row_warps, col_warps, ahead, token_tile, scale_per_row, epilogue.
 * Shapes that fill no unit, that fill all units, several warps on a row, fewer loads than in
 * flight, loops over steps and none, warps without a last step, steps beyond the activation rows,
 * rows beyond the matrix. */
#define EMULATED_KERNELS(X)                                                                        \
    X(BITS2, DOT, 1, 1, 1, 1, 1, 1, false, SCALE)                                                  \
    X(BASE3, DOT, 1, 1, 1, 1, 1, 1, false, RAW)                                                    \
    X(BITS2, MMA, 3, 67, 2, 1, 1, 8, true, SCALE)                                                  \
    X(BASE3, DOT, 5, 33, 8, 1, 1, 4, true, SCALE)                                                  \
    X(BITS2, DOT, 16, 512, 1, 1, 4, 2, false, RAW)                                                 \
    X(BASE3, MMA, 16, 512, 1, 1, 4, 8, false, SCALE)                                               \
    X(BITS2, DOT, 37, 513, 4, 2, 3, 3, false, SCALE)                                               \
    X(BASE3, DOT, 37, 800, 2, 2, 3, 3, false, RAW)                                                 \
    X(BITS2, MMA, 70, 1535, 1, 3, 4, 8, true, SCALE)                                               \
    X(BASE3, MMA, 18, 2562, 2, 2, 4, 8, true, SCALE)                                               \
    X(BITS2, DOT, 9, 5461, 1, 4, 4, 2, false, SCALE)                                               \
    X(BASE3, DOT, 9, 5461, 1, 2, 2, 1, false, RAW)                                                 \
    X(BITS2, DOT, 33, 2560, 1, 4, 5, 4, false, SCALE)                                              \
    X(BASE3, MMA, 33, 2560, 4, 1, 4, 8, false, SCALE)                                              \
    X(BITS2, MMA, 11, 7003, 1, 1, 5, 8, false, RAW)                                                \
    X(BASE3, DOT, 6, 46080, 1, 4, 4, 1, false, SCALE)

struct emulated_kernel {
    uint32_t codes, product, rows, cols, row_warps, col_warps, ahead, token_tile, scale_per_row,
        epilogue;
    uint32_t steps, blocks; /* as the kernel computes them */
};

/* The arguments of the kernel, and options of the emulation. */
struct emulated_call {
    const char *x;
    size_t ldx;
    const void *codes;
    const float *scale;
    void *y;
    size_t ldy;
    unsigned n_tokens;
    uint64_t seed;
    unsigned skip_barrier; /* break the kernel: see cuda_emulation.h */
    unsigned lane_error;
};

extern const struct emulated_kernel emulated_kernels[];
extern const unsigned n_emulated_kernels;

/* Returns NULL, or what went wrong; the text lives until the next call. */
const char *run_emulated_kernel(unsigned number, const struct emulated_call *call);

/* Rows to quantise, and options of the emulation. */
struct emulated_quantization {
    const float *x;
    size_t ldx;
    char *y;
    size_t ldy;
    unsigned cols, n_tokens;
    unsigned *not_finite;
    uint64_t seed;
    unsigned skip_barrier;
};
const char *run_emulated_quantization(const struct emulated_quantization *call);

/* A kernel whose lanes of one warp disagree, and one that some threads leave early. */
const char *run_divergent_kernel(void);
const char *run_deadlocked_kernel(void);

#ifdef __cplusplus
}
#endif
#endif
