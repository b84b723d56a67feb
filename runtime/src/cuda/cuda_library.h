/* cuda_library.h - libcuda.so.1, NVIDIA's driver, opened at run time: nothing of CUDA is needed to
 * build or link a module. The declarations are our own; the driver's interface is stable. */
#ifndef RSR_CUDA_LIBRARY_H
#define RSR_CUDA_LIBRARY_H

#include "runtime.h"

#define RSR_CUDA_LIBRARY "libcuda.so.1"

typedef uint64_t rsr_cuda_address; /* of device memory; 0: none */

/* X-macro: member, name in the library, the first version of CUDA that has it (as
 * cuDriverGetVersion counts: 11040 is 11.4), parameters. All return 0 on success. */
#define RSR_CUDA_FUNCTIONS(X)                                                                      \
    X(driver_version, "cuDriverGetVersion", 2020, (int *version))                                  \
    X(init, "cuInit", 2000, (unsigned flags))                                                      \
    X(error_text, "cuGetErrorString", 6000, (int code, const char **text))                         \
    X(count_devices, "cuDeviceGetCount", 2000, (int *n_devices))                                   \
    X(get_device, "cuDeviceGet", 2000, (int *device, int number))                                  \
    X(device_name, "cuDeviceGetName", 2000, (char *name, int size_bytes, int device))              \
    X(device_bytes, "cuDeviceTotalMem_v2", 3020, (size_t * size_bytes, int device))                \
    X(attribute, "cuDeviceGetAttribute", 2000, (int *value, int attribute, int device))            \
    X(retain_context, "cuDevicePrimaryCtxRetain", 7000, (void **context, int device))              \
    X(release_context, "cuDevicePrimaryCtxRelease_v2", 11000, (int device))                        \
    X(push_context, "cuCtxPushCurrent_v2", 4000, (void *context))                                  \
    X(pop_context, "cuCtxPopCurrent_v2", 4000, (void **context))                                   \
    X(create_stream, "cuStreamCreate", 2000, (void **stream, unsigned flags))                      \
    X(destroy_stream, "cuStreamDestroy_v2", 4000, (void *stream))                                  \
    X(wait_for_stream, "cuStreamSynchronize", 2000, (void *stream))                                \
    X(load_module, "cuModuleLoadDataEx", 2010,                                                     \
      (void **module, const void *image, unsigned n_options, int *options, void **values))         \
    X(unload_module, "cuModuleUnload", 2000, (void *module))                                       \
    X(find_kernel, "cuModuleGetFunction", 2000, (void **kernel, void *module, const char *name))   \
    X(launch, "cuLaunchKernel", 4000,                                                              \
      (void *kernel, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,          \
       unsigned block_y, unsigned block_z, unsigned shared_bytes, void *stream, void **parameters, \
       void **extra))                                                                              \
    X(free_bytes, "cuMemGetInfo_v2", 3020, (size_t * free_bytes, size_t * total_bytes))            \
    X(allocate, "cuMemAlloc_v2", 3020, (rsr_cuda_address * address, size_t size_bytes))            \
    X(release, "cuMemFree_v2", 3020, (rsr_cuda_address address))                                   \
    X(pin, "cuMemHostAlloc", 2020, (void **memory, size_t size_bytes, unsigned flags))             \
    X(unpin, "cuMemFreeHost", 2000, (void *memory))                                                \
    X(upload, "cuMemcpyHtoDAsync_v2", 3020,                                                        \
      (rsr_cuda_address to, const void *from, size_t size_bytes, void *stream))                    \
    X(download, "cuMemcpyDtoHAsync_v2", 3020,                                                      \
      (void *to, rsr_cuda_address from, size_t size_bytes, void *stream))                          \
    X(copy, "cuMemcpyDtoDAsync_v2", 3020,                                                          \
      (rsr_cuda_address to, rsr_cuda_address from, size_t size_bytes, void *stream))               \
    X(fill, "cuMemsetD8Async", 3020,                                                               \
      (rsr_cuda_address to, unsigned char byte, size_t size_bytes, void *stream))                  \
    X(begin_capture, "cuStreamBeginCapture_v2", 10010, (void *stream, int mode))                   \
    X(end_capture, "cuStreamEndCapture", 10000, (void *stream, void **graph))                      \
    X(instantiate, "cuGraphInstantiateWithFlags", 11040,                                           \
      (void **executable, void *graph, unsigned long long flags))                                  \
    X(destroy_graph, "cuGraphDestroy", 10000, (void *graph))                                       \
    X(launch_graph, "cuGraphLaunch", 10000, (void *executable, void *stream))                      \
    X(destroy_executable, "cuGraphExecDestroy", 10000, (void *executable))

/* CUlaunchAttribute: what a launch is told besides its size. */
struct rsr_cuda_attribute {
    int id, unused;
    union {
        int allowed; /* RSR_CUDA_DEPENDENT */
        uint64_t words[8];
    } value;
};
/* The launch may begin before the one before it in the stream has ended. Its kernel waits. */
#define RSR_CUDA_DEPENDENT 6

/* CUlaunchConfig. */
struct rsr_cuda_config {
    unsigned grid[3], block[3], shared_bytes;
    void *stream;
    const struct rsr_cuda_attribute *attributes;
    unsigned n_attributes;
};

/* The same of functions that are not needed: NULL if the driver is older. */
#define RSR_CUDA_LATER_FUNCTIONS(X)                                                                \
    X(launch_config, "cuLaunchKernelEx", 12030, /* in graphs, too; without them 11.8 has it */     \
      (const struct rsr_cuda_config *config, void *kernel, void **parameters, void **extra))

struct rsr_cuda_library {
    void *handle; /* NULL: not open */
#define X(member, name, version, parameters) int(*member) parameters;
    RSR_CUDA_FUNCTIONS(X)
    RSR_CUDA_LATER_FUNCTIONS(X)
#undef X
};

/* Results of calls that get sentences of their own. */
enum rsr_cuda_code {
    RSR_CUDA_OUT_OF_MEMORY = 2,
    RSR_CUDA_NOT_INITIALIZED = 3,
    RSR_CUDA_STUB_LIBRARY = 34,
    RSR_CUDA_NO_DEVICE = 100,
    RSR_CUDA_NO_BINARY_FOR_GPU = 209,
    RSR_CUDA_INVALID_PTX = 218,
    RSR_CUDA_UNSUPPORTED_PTX = 222,
    RSR_CUDA_DRIVER_MISMATCH = 803
};

/* Opens the driver `name` and begins to use it. RSR_ERR_DEVICE: it is not there, is too old, or
 * finds no device. */
RSR_NODISCARD rsr_status rsr_cuda_library_open(struct rsr_cuda_library *library, const char *name,
                                               rsr_error *err);
/* The driver stays in the process. Zeros are fine. */
void rsr_cuda_library_close(struct rsr_cuda_library *library);

/* The driver's words for the result of a call. */
const char *rsr_cuda_text(const struct rsr_cuda_library *library, int code);

#endif
