/* nvptx_on_host.h - LLVM's GPU kernels as machine code of this host, for the emulation to run. */
#ifndef TESTS_CUDA_NVPTX_ON_HOST_H
#define TESTS_CUDA_NVPTX_ON_HOST_H

#include "emulated_kernels.h"
#include "ir.h"

struct host_code {
    host_kernel *kernel;
    void *shared; /* of a block */
    size_t shared_bytes;
    void *engine, *context; /* LLVM's */
};

/* Builds a kernel with the code that makes its PTX. False, with a message on stderr: LLVM
 * refused. */
bool compile_for_host(const struct rsr_kernel *kernel, struct host_code *out);
void free_host_code(struct host_code *code);

#endif
