/* cuda_driver.h - the part of the CUDA driver's interface that the tests call, opened at run time:
 * neither a toolkit nor a GPU is needed to build them. */
#ifndef TESTS_CUDA_CUDA_DRIVER_H
#define TESTS_CUDA_CUDA_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t cuda_address; /* of device memory */

/* X-macro: member, name in the library, parameters. All return 0 on success. */
#define CUDA_DRIVER_FUNCTIONS(X)                                                                   \
    X(init, "cuInit", (unsigned flags))                                                            \
    X(error_text, "cuGetErrorString", (int code, const char **text))                               \
    X(get_device, "cuDeviceGet", (int *device, int number))                                        \
    X(device_name, "cuDeviceGetName", (char *name, int size, int device))                          \
    X(attribute, "cuDeviceGetAttribute", (int *value, int attribute, int device))                  \
    X(retain_context, "cuDevicePrimaryCtxRetain", (void **context, int device))                    \
    X(release_context, "cuDevicePrimaryCtxRelease_v2", (int device))                               \
    X(use_context, "cuCtxSetCurrent", (void *context))                                             \
    X(synchronize, "cuCtxSynchronize", (void))                                                     \
    X(load_module, "cuModuleLoadDataEx",                                                           \
      (void **module, const void *image, unsigned n_options, int *options, void **values))         \
    X(find_kernel, "cuModuleGetFunction", (void **kernel, void *module, const char *name))         \
    X(allocate, "cuMemAlloc_v2", (cuda_address * address, size_t size))                            \
    X(release, "cuMemFree_v2", (cuda_address address))                                             \
    X(upload, "cuMemcpyHtoD_v2", (cuda_address to, const void *from, size_t size))                 \
    X(download, "cuMemcpyDtoH_v2", (void *to, cuda_address from, size_t size))                     \
    X(fill, "cuMemsetD8_v2", (cuda_address address, unsigned char byte, size_t size))              \
    X(launch, "cuLaunchKernel",                                                                    \
      (void *kernel, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,          \
       unsigned block_y, unsigned block_z, unsigned shared_bytes, void *stream, void **parameters, \
       void **extra))

/* Functions that only measurements call. */
#define CUDA_TIMING_FUNCTIONS(X)                                                                   \
    X(copy, "cuMemcpyDtoDAsync_v2",                                                                \
      (cuda_address to, cuda_address from, size_t size, void *stream))                             \
    X(create_stream, "cuStreamCreate", (void **stream, unsigned flags))                            \
    X(begin_capture, "cuStreamBeginCapture_v2", (void *stream, int mode))                          \
    X(end_capture, "cuStreamEndCapture", (void *stream, void **graph))                             \
    X(instantiate, "cuGraphInstantiateWithFlags",                                                  \
      (void **executable, void *graph, unsigned long long flags))                                  \
    X(launch_graph, "cuGraphLaunch", (void *executable, void *stream))                             \
    X(destroy_executable, "cuGraphExecDestroy", (void *executable))                                \
    X(destroy_graph, "cuGraphDestroy", (void *graph))                                              \
    X(create_event, "cuEventCreate", (void **event, unsigned flags))                               \
    X(record, "cuEventRecord", (void *event, void *stream))                                        \
    X(wait, "cuEventSynchronize", (void *event))                                                   \
    X(elapsed, "cuEventElapsedTime", (float *milliseconds, void *from, void *to))

enum { CUDA_SM_COUNT = 16, CUDA_L2_BYTES = 38, CUDA_SM_MAJOR = 75, CUDA_SM_MINOR = 76 };

struct cuda_driver {
    void *library;
    int device;
#define X(member, name, parameters) int(*member) parameters;
    CUDA_DRIVER_FUNCTIONS(X)
    CUDA_TIMING_FUNCTIONS(X)
#undef X
};

/* Opens the first GPU. False: there is none, and a message on stderr says why. */
bool cuda_driver_open(struct cuda_driver *d, const char *library);
void cuda_driver_close(struct cuda_driver *d);

/* Ends the program with the driver's words if a call failed. */
#define CUDA_DO(d, function, ...) cuda_require((d), (d)->function(__VA_ARGS__), #function)
void cuda_require(const struct cuda_driver *d, int code, const char *what);
int cuda_attribute(const struct cuda_driver *d, int attribute);
/* Device memory with a copy of the bytes. */
cuda_address cuda_copy_of(const struct cuda_driver *d, const void *bytes, size_t size);
/* Loads PTX text, NUL-terminated, or a cubin. Messages of the driver's assembler are printed. */
void *cuda_load(const struct cuda_driver *d, const char *name, const void *image);

#endif
