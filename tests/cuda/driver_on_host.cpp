// driver_on_host.cpp - a stand-in for libcuda that runs the emulated kernels, to test run_on_gpu
// without a GPU. Any image is accepted as a module; kernel_N is always emulated_kernels[N].
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "cuda_driver.h"
#include "emulated_kernels.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

enum result { SUCCESS = 0, INVALID_VALUE = 1, INVALID_IMAGE = 200, NOT_FOUND = 500, FAILED = 719 };

void *pointer(cuda_address address) {
    return reinterpret_cast<void *>(address);
}

template <class T> T parameter(void **parameters, unsigned i) {
    T value;
    std::memcpy(&value, parameters[i], sizeof value);
    return value;
}

template <class T> T *array(void **parameters, unsigned i) {
    return static_cast<T *>(pointer(parameter<cuda_address>(parameters, i)));
}

bool is_image(const char *image) {
    return std::memcmp(image, "\177ELF", 4) == 0 ||
           std::strstr(image, ".visible .entry") != nullptr;
}

} // namespace

EXPORT int cuInit(unsigned) {
    return SUCCESS;
}
EXPORT int cuGetErrorString(int code, const char **text) {
    *text = code == FAILED ? "the emulation found a mistake" : "refused by the stand-in";
    return SUCCESS;
}
EXPORT int cuDeviceGet(int *device, int) {
    *device = 0;
    return SUCCESS;
}
EXPORT int cuDeviceGetName(char *name, int size, int) {
    std::snprintf(name, static_cast<size_t>(size), "no GPU but the host");
    return SUCCESS;
}
EXPORT int cuDeviceGetAttribute(int *value, int, int) {
    *value = 1;
    return SUCCESS;
}
EXPORT int cuDevicePrimaryCtxRetain(void **context, int) {
    *context = context;
    return SUCCESS;
}
EXPORT int cuDevicePrimaryCtxRelease_v2(int) {
    return SUCCESS;
}
EXPORT int cuCtxSetCurrent(void *) {
    return SUCCESS;
}
EXPORT int cuCtxSynchronize() {
    return SUCCESS;
}
EXPORT int cuModuleLoadDataEx(void **module, const void *image, unsigned, int *, void **) {
    *module = module;
    return is_image(static_cast<const char *>(image)) ? SUCCESS : INVALID_IMAGE;
}
EXPORT int cuModuleGetFunction(void **kernel, void *, const char *name) {
    unsigned number = 0;
    if (std::sscanf(name, "kernel_%u", &number) != 1 || number >= n_emulated_kernels)
        return NOT_FOUND;
    *kernel = const_cast<emulated_kernel *>(&emulated_kernels[number]);
    return SUCCESS;
}
EXPORT int cuMemAlloc_v2(cuda_address *address, size_t size) {
    void *memory = nullptr; // of exactly this size, for a sanitizer to watch
    const int code = posix_memalign(&memory, 512, size);
    *address = reinterpret_cast<cuda_address>(memory);
    return code == 0 ? SUCCESS : INVALID_VALUE;
}
EXPORT int cuMemFree_v2(cuda_address address) {
    std::free(pointer(address));
    return SUCCESS;
}
EXPORT int cuMemcpyHtoD_v2(cuda_address to, const void *from, size_t size) {
    std::memcpy(pointer(to), from, size);
    return SUCCESS;
}
EXPORT int cuMemcpyDtoH_v2(void *to, cuda_address from, size_t size) {
    std::memcpy(to, pointer(from), size);
    return SUCCESS;
}
EXPORT int cuMemsetD8_v2(cuda_address address, unsigned char byte, size_t size) {
    std::memset(pointer(address), byte, size);
    return SUCCESS;
}
EXPORT int cuLaunchKernel(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                          unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared,
                          void *, void **parameters, void **) {
    const auto *kernel = static_cast<const emulated_kernel *>(function);
    if (grid_x != kernel->blocks || block_x != kernel->row_warps * kernel->col_warps * 32 ||
        grid_y != 1 || grid_z != 1 || block_y != 1 || block_z != 1 || shared != 0)
        return INVALID_VALUE;
    emulated_call call = {};
    call.x = array<const void>(parameters, 0);
    call.ldx = parameter<size_t>(parameters, 1);
    call.codes = array<const void>(parameters, 2);
    call.scale = array<const float>(parameters, 3);
    call.y = array<void>(parameters, 4);
    call.ldy = parameter<size_t>(parameters, 5);
    call.n_tokens = parameter<unsigned>(parameters, 6);
    call.not_finite = array<unsigned>(parameters, 7);
    call.seed = 1;
    const char *error =
        run_emulated_kernel(static_cast<unsigned>(kernel - emulated_kernels), &call);
    if (error != nullptr)
        std::fprintf(stderr, "%s\n", error);
    return error == nullptr ? SUCCESS : FAILED;
}
