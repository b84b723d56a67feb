// activations.cuh - brings rows of activations as int8 into shared memory, with all threads of a
// block.
//
// The rule is the runtime's (runtime/src/ops/ops_norm.c), bit for bit: s = (1 / max(largest |x|,
// 1e-5)) * 127, q = round half to even of x s, scale = 1 / s. A row with an infinity or a NaN
// becomes zeros of scale 0 and is reported. No expression here multiplies and then adds, so nothing
// can be fused.
#pragma once

namespace rsr {

// struct rsr_act_row of rsr_abi.h: this header, then int8 values up to a multiple of 512.
struct act_row {
    float scale;
    int sum;
    int reserved[14];
};
static_assert(sizeof(act_row) == 64, "the header of rsr_abi.h has 64 bytes");

enum : unsigned { INFINITY_BITS = 0x7f800000u };

// TOKENS rows of COLS values, PADDED with zeros to whole steps of the kernel, with a scale for each
// row, and a partial sum of the row for every warp that quantised it.
template <unsigned COLS, unsigned PADDED, unsigned TOKENS, unsigned WARPS> struct act_rows {
    uint4 q[TOKENS][PADDED / 16];
    float scale[TOKENS];
    int sum[TOKENS][WARPS];
    unsigned largest[TOKENS][WARPS];

    // Columns 4i .. 4i + 3 of a row that is 16-byte aligned; zeros beyond the last.
    static __device__ __forceinline__ float4 load(const float *x, unsigned i) {
        float4 v = make_float4(0, 0, 0, 0);
        if (4 * i + 3 < COLS)
            return reinterpret_cast<const float4 *>(x)[i];
        if (4 * i < COLS)
            v.x = x[4 * i];
        if (4 * i + 1 < COLS)
            v.y = x[4 * i + 1];
        if (4 * i + 2 < COLS)
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

    __device__ __forceinline__ void find_largest(const float *x, unsigned t) {
        unsigned most = 0;
        for (unsigned i = threadIdx.x; i < (COLS + 3) / 4; i += WARPS * 32) {
            const float4 v = load(x, i);
            most = max(most, max(max(magnitude(v.x), magnitude(v.y)),
                                 max(magnitude(v.z), magnitude(v.w))));
        }
        most = __reduce_max_sync(0xffffffffu, most);
        if (threadIdx.x % 32 == 0)
            largest[t][threadIdx.x / 32] = most;
    }

    __device__ __forceinline__ void quantize_row(const float *x, unsigned t, unsigned *not_finite) {
        unsigned most = 0;
#pragma unroll
        for (unsigned w = 0; w < WARPS; w++)
            most = max(most, largest[t][w]);
        const bool finite = most < INFINITY_BITS;
        const float s = __fdiv_rn(1.0f, max(__uint_as_float(most), 1e-5f)) * 127.0f;
        int total = 0;
        for (unsigned i = threadIdx.x; i < PADDED / 4; i += WARPS * 32) {
            const float4 v = finite ? load(x, i) : make_float4(0, 0, 0, 0);
            const int a = quantize(v.x, s), b = quantize(v.y, s);
            const int c = quantize(v.z, s), d = quantize(v.w, s);
            reinterpret_cast<unsigned *>(q[t])[i] = pack(a, b, c, d);
            total += a + b + c + d;
        }
        total = __reduce_add_sync(0xffffffffu, total);
        if (threadIdx.x % 32 == 0)
            sum[t][threadIdx.x / 32] = total;
        if (threadIdx.x == 0) {
            scale[t] = finite ? __fdiv_rn(1.0f, s) : 0.0f;
            if (!finite)
                *not_finite = 1; // every block writes the same
        }
    }

    // Rows of floats, ldx elements apart. Ends with a barrier.
    __device__ __forceinline__ void quantize_rows(const float *x, size_t ldx, unsigned n_tokens,
                                                  unsigned *not_finite) {
        for (unsigned t = 0; t < n_tokens; t++)
            find_largest(x + t * ldx, t);
        __syncthreads();
        for (unsigned t = 0; t < n_tokens; t++)
            quantize_row(x + t * ldx, t, not_finite);
        __syncthreads();
    }

    // Reads activation rows, ldx bytes apart; scale and sum stay in their rows. Ends with a
    // barrier.
    __device__ __forceinline__ void copy_rows(const char *x, size_t ldx, unsigned n_tokens) {
        for (unsigned t = 0; t < n_tokens; t++) {
            const uint4 *from = reinterpret_cast<const uint4 *>(x + t * ldx + sizeof(act_row));
            for (unsigned i = threadIdx.x; i < PADDED / 16; i += WARPS * 32)
                q[t][i] = i < (COLS + 15) / 16 ? from[i] : make_uint4(0, 0, 0, 0);
        }
        __syncthreads();
    }

    __device__ __forceinline__ int sum_of(unsigned t) const {
        int total = 0;
#pragma unroll
        for (unsigned w = 0; w < WARPS; w++)
            total += sum[t][w];
        return total;
    }
};

} // namespace rsr
