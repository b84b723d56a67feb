// clang_device.cuh - what the kernels use of CUDA, for clang without a toolkit: it is included
// before matvec.cuh. Every function is the GPU's instruction that NVRTC makes of it; float
// operations round to the nearest.
#pragma once

#define __device__ __attribute__((device))
#define __global__ __attribute__((global))
#define __shared__ __attribute__((shared))
#define __forceinline__ __inline__ __attribute__((always_inline))
#define __launch_bounds__(...) __attribute__((launch_bounds(__VA_ARGS__)))
#define RSR_DEVICE static __device__ __forceinline__

using size_t = decltype(sizeof(0));
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
RSR_DEVICE uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) {
    return {x, y, z, w};
}
RSR_DEVICE float4 make_float4(float x, float y, float z, float w) {
    return {x, y, z, w};
}

struct rsr_index {
    unsigned x, y;
};
RSR_DEVICE rsr_index rsr_thread_index() {
    return {static_cast<unsigned>(__nvvm_read_ptx_sreg_tid_x()),
            static_cast<unsigned>(__nvvm_read_ptx_sreg_tid_y())};
}
RSR_DEVICE rsr_index rsr_block_index() {
    return {static_cast<unsigned>(__nvvm_read_ptx_sreg_ctaid_x()),
            static_cast<unsigned>(__nvvm_read_ptx_sreg_ctaid_y())};
}
#define threadIdx rsr_thread_index()
#define blockIdx rsr_block_index()

RSR_DEVICE unsigned __reduce_max_sync(unsigned mask, unsigned v) {
    return static_cast<unsigned>(
        __nvvm_redux_sync_umax(static_cast<int>(v), static_cast<int>(mask)));
}
RSR_DEVICE int __reduce_add_sync(unsigned mask, int v) {
    return __nvvm_redux_sync_add(v, static_cast<int>(mask));
}
RSR_DEVICE int __shfl_xor_sync(unsigned mask, int v, int distance) {
    return __nvvm_shfl_sync_bfly_i32(mask, v, distance, 31);
}
RSR_DEVICE unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
    return __nvvm_prmt(a, b, selector);
}
RSR_DEVICE unsigned __float_as_uint(float x) {
    return __builtin_bit_cast(unsigned, x);
}
RSR_DEVICE float __uint_as_float(unsigned x) {
    return __builtin_bit_cast(float, x);
}
RSR_DEVICE float __fdiv_rn(float a, float b) {
    return __nvvm_div_rn_f(a, b);
}
RSR_DEVICE float __fmaf_rn(float a, float b, float c) {
    return __nvvm_fma_rn_f(a, b, c);
}
RSR_DEVICE float __fsqrt_rn(float x) {
    return __nvvm_sqrt_rn_f(x);
}
RSR_DEVICE int __float2int_rn(float x) {
    return __nvvm_f2i_rn(x);
}
typedef unsigned rsr_words __attribute__((ext_vector_type(4)));
RSR_DEVICE uint4 __ldg(const uint4 *p) {
    const rsr_words v = __nvvm_ldg_ui4(reinterpret_cast<const rsr_words *>(p));
    return {v.x, v.y, v.z, v.w};
}
RSR_DEVICE unsigned min(unsigned a, unsigned b) {
    return a < b ? a : b;
}
RSR_DEVICE int min(int a, int b) {
    return a < b ? a : b;
}
RSR_DEVICE unsigned max(unsigned a, unsigned b) {
    return a > b ? a : b;
}
RSR_DEVICE int max(int a, int b) {
    return a > b ? a : b;
}
RSR_DEVICE float max(float a, float b) {
    return __nvvm_fmax_f(a, b);
}
#undef RSR_DEVICE
