/* gpu_problem.h - inputs of a GPU kernel and its expected results: weights, activations, the scalar
 * reference. Shared by tests on the host and on a GPU. */
#ifndef TESTS_CUDA_GPU_PROBLEM_H
#define TESTS_CUDA_GPU_PROBLEM_H

#include "ir.h"

#define GPU_TOKENS 9u   /* more than two turns of every token tile */
#define GPU_POISON 0x5a /* every byte of y before a run */

enum gpu_values { GPU_RANDOM, GPU_ALL_MIN, GPU_ZERO, GPU_NOT_FINITE, GPU_VALUES_COUNT };

struct gpu_problem {
    struct rsr_matvec plan;
    struct rsr_matrix matrix;
    uint8_t *codes; /* plan.weight_bytes */
    float *scale;   /* [matrix.n_scales] */
    float *x;       /* [GPU_TOKENS][ldx] */
    uint8_t *rows;  /* the same, quantised by the runtime */
    size_t ldx, row_bytes, ldy;
    uint32_t *expected; /* [GPU_TOKENS][rows], as bits */
    uint32_t *y;        /* [GPU_TOKENS][ldy] */
};

/* How many tokens a kernel is run with. */
extern const uint32_t gpu_batches[];
extern const uint32_t n_gpu_batches;

/* False: the runtime's quantisation took an infinite value for a finite one, or a finite one for an
 * infinite one. */
RSRC_NODISCARD bool gpu_problem_make(struct gpu_problem *p, const struct rsr_matvec *plan,
                                     enum gpu_values values, uint64_t *state);
void gpu_problem_free(struct gpu_problem *p);
/* The bytes of all floats that may be read, and of all activation rows. */
size_t gpu_problem_x_bytes(const struct gpu_problem *p);
size_t gpu_problem_row_bytes(const struct gpu_problem *p);
/* The first n_tokens of GPU_TOKENS rows have the runtime's scale, sum and values; the others are
 * poison. */
bool gpu_problem_is_quantized(const struct gpu_problem *p, const uint8_t *rows, uint32_t n_tokens);
/* The bytes of y. */
size_t gpu_problem_y_bytes(const struct gpu_problem *p);
/* All of y's results are right to the bit, and nothing else was written. */
bool gpu_problem_is_right(const struct gpu_problem *p, uint32_t n_tokens);
/* Whether the quantisation of so many rows must report a value that is not finite. */
bool gpu_problem_reports(enum gpu_values values, uint32_t n_tokens);

#endif
