// activations.cuh - rows of activations as int8, made once from floats and read by every layer that
// multiplies them.
//
// The rule is the runtime's (runtime/src/ops/ops_norm.c), bit for bit: s = (1 / max(largest |x|,
// 1e-5)) * 127, q = round half to even of x s, scale = 1 / s. A row with an infinity or a NaN
// becomes zeros of scale 0 and is reported. No expression here multiplies and then adds, so nothing
// can be fused.
#pragma once

#include "instructions.cuh"

namespace rsr {

// struct rsr_act_row of rsr_abi.h: this header, then int8 values up to a multiple of ACT_PAD.
struct act_row {
    float scale;
    int sum;
    int reserved[14];
};
static_assert(sizeof(act_row) == 64, "the header of rsr_abi.h has 64 bytes");

enum : unsigned { ACT_PAD = 512, INFINITY_BITS = 0x7f800000u };

// Quantises rows of `cols` floats, 16-byte aligned and ldx elements apart (a multiple of 4), to
// activation rows that are ldy bytes apart. Launch with a block of THREADS threads for each row.
// *not_finite is set to 1 if some row has an infinity or a NaN.
template <unsigned THREADS> struct quantization {
    enum : unsigned { WARPS = THREADS / 32 };

    struct arguments {
        const float *x;
        size_t ldx;
        char *y;
        size_t ldy;
        unsigned cols;
        unsigned *not_finite;
    };

    struct memory { // of a block, shared
        unsigned largest[WARPS];
        int sum[WARPS];
    };

    // Columns 4i .. 4i + 3; zeros beyond the last.
    static __device__ __forceinline__ float4 load(const float *x, unsigned cols, unsigned i) {
        float4 v = make_float4(0, 0, 0, 0);
        if (4 * i + 3 < cols)
            return reinterpret_cast<const float4 *>(x)[i];
        if (4 * i < cols)
            v.x = x[4 * i];
        if (4 * i + 1 < cols)
            v.y = x[4 * i + 1];
        if (4 * i + 2 < cols)
            v.z = x[4 * i + 2];
        return v;
    }

    // |x| as bits: these have the order of the floats, with infinity and NaN above all numbers.
    static __device__ __forceinline__ unsigned magnitude(float x) {
        return __float_as_uint(x) & 0x7fffffffu;
    }

    static __device__ __forceinline__ int quantize(float x, float s) {
        const int q = __float2int_rn(x * s);
        return max(-128, min(127, q));
    }

    static __device__ __forceinline__ unsigned pack(int a, int b, int c, int d) {
        return (a & 0xff) | (b & 0xff) << 8 | (c & 0xff) << 16 | static_cast<unsigned>(d) << 24;
    }

    // Ends with a barrier, after which shared.largest has the largest |x| of every warp.
    static __device__ __forceinline__ void find_largest(memory &shared, const float *x,
                                                        unsigned cols) {
        unsigned most = 0;
        for (unsigned i = threadIdx.x; 4 * i < cols; i += THREADS) {
            const float4 v = load(x, cols, i);
            most = max(most, max(max(magnitude(v.x), magnitude(v.y)),
                                 max(magnitude(v.z), magnitude(v.w))));
        }
        most = __reduce_max_sync(0xffffffffu, most);
        if (threadIdx.x % 32 == 0)
            shared.largest[threadIdx.x / 32] = most;
        __syncthreads();
    }

    static __device__ __forceinline__ int quantize_values(const float *x, unsigned cols, float s,
                                                          bool finite, unsigned *q) {
        int total = 0;
        for (unsigned i = threadIdx.x; i < (cols + ACT_PAD - 1) / ACT_PAD * (ACT_PAD / 4);
             i += THREADS) {
            const float4 v = finite ? load(x, cols, i) : make_float4(0, 0, 0, 0);
            const int a = quantize(v.x, s), b = quantize(v.y, s);
            const int c = quantize(v.z, s), d = quantize(v.w, s);
            q[i] = pack(a, b, c, d);
            total += a + b + c + d;
        }
        return total;
    }

    static __device__ __forceinline__ void run(memory &shared, const arguments &a) {
        run_row(shared, a.x + blockIdx.x * a.ldx, a.y + blockIdx.x * a.ldy, a.cols, a.not_finite);
    }

    // Whether the row is finite.
    static __device__ __forceinline__ bool run_row(memory &shared, const float *x, char *y,
                                                   unsigned cols, unsigned *not_finite) {
        find_largest(shared, x, cols);
        unsigned most = 0;
        for (unsigned w = 0; w < WARPS; w++)
            most = max(most, shared.largest[w]);
        const bool finite = most < INFINITY_BITS;
        const float s = __fdiv_rn(1.0f, max(__uint_as_float(most), 1e-5f)) * 127.0f;
        int total =
            quantize_values(x, cols, s, finite, reinterpret_cast<unsigned *>(y + sizeof(act_row)));
        total = __reduce_add_sync(0xffffffffu, total);
        if (threadIdx.x % 32 == 0)
            shared.sum[threadIdx.x / 32] = total;
        __syncthreads();
        if (threadIdx.x != 0)
            return finite;
        total = 0;
        for (unsigned w = 0; w < WARPS; w++)
            total += shared.sum[w];
        act_row *row = reinterpret_cast<act_row *>(y);
        row->scale = finite ? __fdiv_rn(1.0f, s) : 0.0f;
        row->sum = total;
        if (!finite)
            *not_finite = 1; // every such row writes the same
        return finite;
    }
};

} // namespace rsr
