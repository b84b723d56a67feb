/* cuda_program.h - what the programs of a step share: cuda_program.c, which has a kernel for each
 * operation, and cuda_fused.c, which has kernels for several. */
#ifndef RSR_CUDA_PROGRAM_H
#define RSR_CUDA_PROGRAM_H

#include "cuda_engine.h"

/* A chunk that runs. */
struct rsr_cuda_program {
    struct rsr_cuda_engine *e;
    const struct rsr_chunk *chunk;
    const struct rsr_hyper *hyper;
    const struct rsr_tensors *tensors;
    uint32_t n; /* tokens */
    uint32_t op_index;
    bool timed;      /* every operation is, alone */
    bool one_by_one; /* no kernel does several operations, and no graph is run: for profiles and
                        probes */
    rsr_error *err;
};

static inline struct rsr_cuda_rows rsr_cuda_rows_of(const struct rsr_cuda_program *p,
                                                    uint16_t number) {
    return rsr_cuda_buffer(p->e, number);
}

static inline uint64_t rsr_cuda_floats_of(const struct rsr_cuda_rows *rows) {
    return rows->row_bytes / sizeof(float);
}

/* Where keys and values are, as kernels are told. */
struct rsr_cuda_pages {
    rsr_cuda_address at, table, positions;
    uint64_t page_bytes, head_bytes, values_at;
    uint32_t max_pages, row_bytes, row_floats, type;
};
struct rsr_cuda_pages rsr_cuda_pages_of(const struct rsr_cuda_program *p,
                                        const struct rsr_step_op *op);

/* cuda_fused.c
 * Launches the operation op_index of the step and those after it, below `end`, that one kernel does
 * with it. *n_ops: how many they are; 0: there is no such kernel. */
RSR_NODISCARD rsr_status rsr_cuda_run_fused(const struct rsr_cuda_program *p, uint32_t end,
                                            uint32_t *n_ops);

#endif
