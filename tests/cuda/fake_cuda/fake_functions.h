/* fake_functions.h - the functions of libcuda that the fake one has. */
#ifndef TESTS_CUDA_FAKE_FUNCTIONS_H
#define TESTS_CUDA_FAKE_FUNCTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t cuda_address; /* of device memory */

/* What a launch is told besides its size: CUlaunchAttribute. */
struct fake_attribute {
    int id; /* 6: programmatic stream serialization */
    int unused;
    union {
        char bytes[64];
        int allowed;
    } value;
};

/* CUlaunchConfig. */
struct fake_launch {
    unsigned grid[3], block[3], shared_bytes;
    void *stream;
    const struct fake_attribute *attributes;
    unsigned n_attributes;
};

#define FAKE_EXPORT __attribute__((visibility("default")))

FAKE_EXPORT int cuDriverGetVersion(int *version);
FAKE_EXPORT int cuInit(unsigned flags);
FAKE_EXPORT int cuGetErrorString(int code, const char **text);
FAKE_EXPORT int cuDeviceGetCount(int *count);
FAKE_EXPORT int cuDeviceGet(int *device, int number);
FAKE_EXPORT int cuDeviceGetName(char *name, int size, int device);
FAKE_EXPORT int cuDeviceTotalMem_v2(size_t *size, int device);
FAKE_EXPORT int cuDeviceGetAttribute(int *value, int attribute, int device);
FAKE_EXPORT int cuDevicePrimaryCtxRetain(void **context, int device);
FAKE_EXPORT int cuDevicePrimaryCtxRelease_v2(int device);
FAKE_EXPORT int cuCtxSetCurrent(void *context);
FAKE_EXPORT int cuCtxPushCurrent_v2(void *context);
FAKE_EXPORT int cuCtxPopCurrent_v2(void **context);
FAKE_EXPORT int cuCtxSynchronize(void);

FAKE_EXPORT int cuModuleLoadDataEx(void **module, const void *image, unsigned n_options,
                                   int *options, void **values);
FAKE_EXPORT int cuModuleGetFunction(void **kernel, void *module, const char *name);
FAKE_EXPORT int cuModuleUnload(void *module);
FAKE_EXPORT int cuMemGetInfo_v2(size_t *free_bytes, size_t *total_bytes);
FAKE_EXPORT int cuMemAlloc_v2(cuda_address *address, size_t size);
FAKE_EXPORT int cuMemFree_v2(cuda_address address);
FAKE_EXPORT int cuMemHostAlloc(void **memory, size_t size, unsigned flags);
FAKE_EXPORT int cuMemFreeHost(void *memory);
FAKE_EXPORT int cuMemcpyHtoD_v2(cuda_address to, const void *from, size_t size);
FAKE_EXPORT int cuMemcpyDtoH_v2(void *to, cuda_address from, size_t size);
FAKE_EXPORT int cuMemsetD8_v2(cuda_address address, unsigned char byte, size_t size);

FAKE_EXPORT int cuStreamCreate(void **stream, unsigned flags);
FAKE_EXPORT int cuStreamSynchronize(void *stream);
FAKE_EXPORT int cuStreamDestroy_v2(void *stream);
FAKE_EXPORT int cuMemcpyHtoDAsync_v2(cuda_address to, const void *from, size_t size, void *stream);
FAKE_EXPORT int cuMemcpyDtoHAsync_v2(void *to, cuda_address from, size_t size, void *stream);
FAKE_EXPORT int cuMemcpyDtoDAsync_v2(cuda_address to, cuda_address from, size_t size, void *stream);
FAKE_EXPORT int cuMemsetD8Async(cuda_address address, unsigned char byte, size_t size,
                                void *stream);
FAKE_EXPORT int cuLaunchKernel(void *kernel, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                               unsigned block_x, unsigned block_y, unsigned block_z,
                               unsigned shared_bytes, void *stream, void **parameters,
                               void **extra);
FAKE_EXPORT int cuLaunchKernelEx(const struct fake_launch *launch, void *kernel, void **parameters,
                                 void **extra);
FAKE_EXPORT int cuStreamBeginCapture_v2(void *stream, int mode);
FAKE_EXPORT int cuStreamEndCapture(void *stream, void **graph);
FAKE_EXPORT int cuGraphInstantiateWithFlags(void **executable, void *graph,
                                            unsigned long long flags);
FAKE_EXPORT int cuGraphLaunch(void *executable, void *stream);
FAKE_EXPORT int cuGraphExecDestroy(void *executable);
FAKE_EXPORT int cuGraphDestroy(void *graph);
FAKE_EXPORT int cuEventCreate(void **event, unsigned flags);
FAKE_EXPORT int cuEventRecord(void *event, void *stream);
FAKE_EXPORT int cuEventSynchronize(void *event);
FAKE_EXPORT int cuEventElapsedTime(float *milliseconds, void *from, void *to);
FAKE_EXPORT int cuEventDestroy_v2(void *event);

#endif
