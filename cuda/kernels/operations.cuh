// operations.cuh - the operations of a step between the layers, each in its simplest form: norms,
// residuals, activations, rotations, attention over pages. (head.cuh has dense rows.)
//
// Every float operation is that of runtime/src/ops/ops.h in its order, bit for bit: rounded to
// nearest, fused where it is written __fmaf_rn, and nowhere else. Shapes are parameters, so that
// one image serves every model. Rows of floats are ld elements apart. A grid has one dimension; a
// comment says what a block has.
#pragma once

#include "instructions.cuh"

namespace rsr {

// enum rsr_dtype and enum rsr_kv_type of the runtime.
enum : unsigned { MATRIX_F32, MATRIX_BF16, MATRIX_F16 };
enum : unsigned { STORED_F32, STORED_BF16, STORED_F16, STORED_INT8 };
enum : unsigned { RELU2, SILU, GELU_TANH }; // enum rsr_activation

enum : unsigned {
    THREADS = 64,       // of a block of every kernel here
    PAGE_KEYS = 64,     // of a KV page
    MAX_HEAD_DIM = 256, // floats of a head
    FILL_WORDS = 65536  // of a block of rsr_fill
};

// (p[0] + p[8]) + (p[4] + p[12]) and so on.
static __device__ __forceinline__ float sum16(const float *p) {
    float h[8], q[4];
#pragma unroll
    for (unsigned l = 0; l < 8; l++)
        h[l] = p[l] + p[l + 8];
#pragma unroll
    for (unsigned l = 0; l < 4; l++)
        q[l] = h[l] + h[l + 4];
    return (q[0] + q[2]) + (q[1] + q[3]);
}

// 2^n e^r; a NaN stays one.
static __device__ __forceinline__ float exponential(float x) {
    const float magic = 12582912.0f;
    x = 89.0f < x ? 89.0f : x;
    x = -104.0f > x ? -104.0f : x;
    const float shifted = __fmaf_rn(x, 1.44269504088896341f, magic);
    const float n = shifted - magic;
    float r = __fmaf_rn(n, -0.693359375f, x);
    r = __fmaf_rn(n, 2.12194440e-4f, r);
    float p = 1.9875691500e-4f;
    p = __fmaf_rn(p, r, 1.3981999507e-3f);
    p = __fmaf_rn(p, r, 8.3334519073e-3f);
    p = __fmaf_rn(p, r, 4.1665795894e-2f);
    p = __fmaf_rn(p, r, 1.6666665459e-1f);
    p = __fmaf_rn(p, r, 5.0000001201e-1f);
    p = __fmaf_rn(p, r, 1.0f);
    p = __fmaf_rn(p, r, 1.0f);
    const unsigned power = __float_as_uint(shifted) - 0x4b400000u;
    const unsigned half = static_cast<unsigned>(static_cast<int>(power) >> 1);
    return (p * __uint_as_float((half + 127u) << 23)) *
           __uint_as_float((power - half + 127u) << 23);
}

static __device__ __forceinline__ float sigmoid(float x) {
    return __fdiv_rn(1.0f, 1.0f + exponential(-x));
}

static __device__ __forceinline__ float activate(float g, unsigned activation) {
    if (activation == RELU2) {
        const float r = g < 0.0f ? 0.0f : g;
        return r * r;
    }
    if (activation == SILU)
        return g * sigmoid(g);
    return g * sigmoid(1.59576916f * (g + (0.044715f * g) * (g * g)));
}

static __device__ __forceinline__ float from_f16(unsigned bits) {
    const unsigned magnitude = (bits & 0x7fffu) << 13;
    const float value = __uint_as_float(magnitude) * 5.192296858534828e33f; // 2^112
    const unsigned sign = (bits & 0x8000u) << 16;
    return __uint_as_float(
        (magnitude >= 0x0f800000u ? magnitude | 0x7f800000u : __float_as_uint(value)) | sign);
}

// Element i of a stored row. INT8: its scale lies after row_floats elements.
static __device__ __forceinline__ float stored(const char *row, unsigned type, unsigned i,
                                               unsigned row_floats) {
    if (type == STORED_F32)
        return reinterpret_cast<const float *>(row)[i];
    if (type == STORED_INT8)
        return static_cast<float>(reinterpret_cast<const signed char *>(row)[i]) *
               *reinterpret_cast<const float *>(row + row_floats);
    const unsigned bits = reinterpret_cast<const unsigned short *>(row)[i];
    return type == STORED_BF16 ? __uint_as_float(bits << 16) : from_f16(bits);
}

// Rounded to nearest, ties to even; finite numbers beyond the largest become the largest. The bits
// of |x| are rounded with the carry, so that the exponent follows.
static __device__ __forceinline__ unsigned to_bf16(float x) {
    const unsigned bits = __float_as_uint(x), magnitude = bits & 0x7fffffffu;
    unsigned rounded = min((magnitude + 0x7fffu + (magnitude >> 16 & 1u)) >> 16, 0x7f7fu);
    if (magnitude >= 0x7f800000u)
        rounded = magnitude == 0x7f800000u ? 0x7f80u : 0x7fc0u;
    return rounded | (bits >> 16 & 0x8000u);
}

static __device__ __forceinline__ unsigned to_f16(float x) {
    const unsigned bits = __float_as_uint(x), magnitude = bits & 0x7fffffffu;
    unsigned rounded =
        min((magnitude + 0xfffu + (magnitude >> 13 & 1u) - (112u << 23)) >> 13, 0x7bffu);
    if (magnitude < 113u << 23) // denormals are multiples of 2^-24, float32's spacing near 0.5
        rounded = __float_as_uint(__uint_as_float(magnitude) + 0.5f) - 0x3f000000u;
    if (magnitude >= 0x7f800000u)
        rounded = magnitude == 0x7f800000u ? 0x7c00u : 0x7e00u;
    return rounded | (bits >> 16 & 0x8000u);
}

// The first operation that met infinity or NaN in the token's row. All that write at a time write
// the same, and operations come in order.
static __device__ __forceinline__ void fail(unsigned *failed, unsigned token, unsigned op) {
    if (failed[token] > op)
        failed[token] = op;
}

static __device__ __forceinline__ bool is_finite(float x) {
    return (__float_as_uint(x) & 0x7fffffffu) < 0x7f800000u;
}

// The scale of a row whose largest |x| has these bits: about a 127th, of 16 significant bits; NaN
// for a row that is not finite. Below the normal numbers scales are powers of two.
static __device__ __forceinline__ float int8_scale(unsigned magnitude) {
    if (magnitude >= 0x7f800000u)
        return __uint_as_float(0x7fc00000u);
    const float largest = __uint_as_float(magnitude);
    unsigned bits = __float_as_uint(__fdiv_rn(largest, 127.0f)) & 0xffffff00u;
    if (bits < 0x00800000u && largest > 0.0f)
        for (bits = 1; 127.0f * __uint_as_float(bits) < largest;)
            bits *= 2;
    return __uint_as_float(bits);
}

static __device__ __forceinline__ void store(char *row, unsigned type, unsigned i, float x,
                                             float scale) {
    if (type == STORED_F32) {
        reinterpret_cast<float *>(row)[i] = x;
    } else if (type == STORED_INT8) {
        const float nearest = (scale > 0.0f ? __fdiv_rn(x, scale) : 0.0f) + 12582912.0f;
        const int q = static_cast<int>(__float_as_uint(nearest) - 0x4b400000u);
        reinterpret_cast<signed char *>(row)[i] = static_cast<signed char>(max(-127, min(127, q)));
    } else {
        reinterpret_cast<unsigned short *>(row)[i] =
            static_cast<unsigned short>(type == STORED_BF16 ? to_bf16(x) : to_f16(x));
    }
}

// For kernels that have nothing to do before what other launches write.
static __device__ __forceinline__ void follow_launches() {
    allow_next();
    wait_for_launches();
}

} // namespace rsr

#define RSR_KERNEL extern "C" __global__ void __launch_bounds__(rsr::THREADS)

// y = row tokens[block] of the matrix, times scale. A block has one token.
RSR_KERNEL rsr_embed(const unsigned *tokens, const char *matrix, unsigned dtype, unsigned cols,
                     float scale, float *y, size_t ldy) {
    rsr::follow_launches();
    const char *row = matrix + static_cast<size_t>(tokens[blockIdx.x]) * cols *
                                   (dtype == rsr::MATRIX_F32 ? 4 : 2);
    y += blockIdx.x * ldy;
    for (unsigned i = threadIdx.x; i < cols; i += rsr::THREADS)
        y[i] = rsr::stored(row, dtype, i, cols) * scale;
}

// y = weight (x r), for rows or for the heads of rows: a block has one of n_heads times cols floats
// in a row. A token fails where the sum of squares is not finite. y may be x.
RSR_KERNEL rsr_norm(const float *x, size_t ldx, const float *weight, float eps, float *y,
                    size_t ldy, unsigned n_heads, unsigned cols, unsigned *failed, unsigned op) {
    rsr::follow_launches();
    __shared__ float squares[rsr::THREADS], parts[16];
    const unsigned token = blockIdx.x / n_heads, head = blockIdx.x % n_heads;
    x += token * ldx + head * cols;
    y += token * ldy + head * cols;
    float p = 0.0f;
    for (unsigned i = threadIdx.x; i < cols; i += rsr::THREADS)
        p = __fmaf_rn(x[i], x[i], p);
    squares[threadIdx.x] = p;
    __syncthreads();
    if (threadIdx.x < 16)
        parts[threadIdx.x] = (squares[threadIdx.x] + squares[threadIdx.x + 32]) +
                             (squares[threadIdx.x + 16] + squares[threadIdx.x + 48]);
    __syncthreads();
    const float sum = rsr::sum16(parts);
    const float r = __fdiv_rn(
        1.0f, __fsqrt_rn(__fdiv_rn(sum, static_cast<float>(static_cast<int>(cols))) + eps));
    for (unsigned i = threadIdx.x; i < cols; i += rsr::THREADS)
        y[i] = weight[i] * (x[i] * r);
    if (threadIdx.x == 0 && !rsr::is_finite(sum))
        rsr::fail(failed, token, op);
}

// A token fails where an element of its row is not finite. A block has one row.
RSR_KERNEL rsr_check(const float *x, size_t ldx, unsigned cols, unsigned *failed, unsigned op) {
    rsr::follow_launches();
    bool finite = true;
    x += blockIdx.x * ldx;
    for (unsigned i = threadIdx.x; i < cols; i += rsr::THREADS)
        finite = finite && rsr::is_finite(x[i]);
    if (!finite)
        rsr::fail(failed, blockIdx.x, op);
}

// y += x. A block has one row.
RSR_KERNEL rsr_add(const float *x, size_t ldx, float *y, size_t ldy, unsigned cols) {
    rsr::follow_launches();
    x += blockIdx.x * ldx;
    y += blockIdx.x * ldy;
    for (unsigned i = threadIdx.x; i < cols; i += rsr::THREADS)
        y[i] = y[i] + x[i];
}

// y = activation(gate) up. A block has one row.
RSR_KERNEL rsr_act_mul(const float *gate, size_t ldg, const float *up, size_t ldu, float *y,
                       size_t ldy, unsigned cols, unsigned activation) {
    rsr::follow_launches();
    gate += blockIdx.x * ldg;
    up += blockIdx.x * ldu;
    y += blockIdx.x * ldy;
    for (unsigned i = threadIdx.x; i < cols; i += rsr::THREADS)
        y[i] = rsr::activate(gate[i], activation) * up[i];
}

// Rotates the first rotary_dim floats of every head of a row, in place. A block has one row, and
// the row of the table that the host made for its position: cosines, then sines.
RSR_KERNEL rsr_rope(float *x, size_t ldx, const float *table, size_t ldt, unsigned n_heads,
                    unsigned head_dim, unsigned rotary_dim) {
    rsr::follow_launches();
    const unsigned half = rotary_dim / 2;
    x += blockIdx.x * ldx;
    table += blockIdx.x * ldt;
    for (unsigned i = threadIdx.x; i < n_heads * half; i += rsr::THREADS) {
        float *head = x + i / half * head_dim;
        const unsigned d = i % half;
        const float x1 = head[d], x2 = head[half + d], cosine = table[d], sine = table[half + d];
        head[d] = x1 * cosine - x2 * sine;
        head[half + d] = x2 * cosine + x1 * sine;
    }
}

// Stores keys and values of tokens in their pages. Block token * n_heads + head has one KV head.
// Places are those of rsr_attend; keys' floats from head_dim to row_floats become 0.
RSR_KERNEL rsr_append(const float *k, size_t ldk, const float *v, size_t ldv, char *pages,
                      const unsigned *table, const unsigned *positions, size_t page_bytes,
                      size_t head_bytes, size_t values_at, unsigned max_pages, unsigned row_bytes,
                      unsigned row_floats, unsigned type, unsigned n_heads, unsigned head_dim) {
    rsr::follow_launches();
    __shared__ unsigned largest[2][rsr::THREADS];
    const unsigned token = blockIdx.x / n_heads, head = blockIdx.x % n_heads;
    const unsigned position = positions[token];
    const unsigned page = table[static_cast<size_t>(token) * max_pages + position / rsr::PAGE_KEYS];
    char *row = pages + page * page_bytes + head * head_bytes +
                static_cast<size_t>(position % rsr::PAGE_KEYS) * row_bytes;
    k += token * ldk + head * head_dim;
    v += token * ldv + head * head_dim;
    unsigned most[2] = {0, 0};
    for (unsigned d = threadIdx.x; d < head_dim; d += rsr::THREADS) {
        most[0] = max(most[0], __float_as_uint(k[d]) & 0x7fffffffu);
        most[1] = max(most[1], __float_as_uint(v[d]) & 0x7fffffffu);
    }
    largest[0][threadIdx.x] = most[0];
    largest[1][threadIdx.x] = most[1];
    __syncthreads();
    for (unsigned i = 0; i < rsr::THREADS; i++) {
        most[0] = max(most[0], largest[0][i]);
        most[1] = max(most[1], largest[1][i]);
    }
    const float scales[] = {rsr::int8_scale(most[0]), rsr::int8_scale(most[1])};
    for (unsigned d = threadIdx.x; d < row_floats; d += rsr::THREADS) {
        rsr::store(row, type, d, d < head_dim ? k[d] : 0.0f, scales[0]);
        rsr::store(row + values_at, type, d, d < head_dim ? v[d] : 0.0f, scales[1]);
    }
    if (type == rsr::STORED_INT8 && threadIdx.x == 0) {
        *reinterpret_cast<float *>(row + row_floats) = scales[0];
        *reinterpret_cast<float *>(row + values_at + row_floats) = scales[1];
    }
}

// A block attends with one head of one token (block token * n_heads + head) to all keys up to its
// position, page by page. `window`: only to so many last keys; 0: to all. The page table has
// max_pages numbers for each token. Key j of a page's KV head h lies at pages + number * page_bytes
// + h * head_bytes + j * row_bytes, its value values_at bytes further.
RSR_KERNEL rsr_attend(const float *q, size_t ldq, const char *pages, const unsigned *table,
                      const unsigned *positions, size_t page_bytes, size_t head_bytes,
                      size_t values_at, unsigned max_pages, unsigned row_bytes, unsigned row_floats,
                      unsigned type, float *out, size_t ldo, unsigned n_heads, unsigned group,
                      unsigned head_dim, unsigned window, float scale) {
    rsr::follow_launches();
    __shared__ float p[rsr::PAGE_KEYS], z[rsr::PAGE_KEYS], merged[rsr::MAX_HEAD_DIM];
    const unsigned token = blockIdx.x / n_heads, head = blockIdx.x % n_heads;
    const unsigned n_keys = positions[token] + 1;
    const unsigned first = window != 0 && window < n_keys ? n_keys - window : 0;
    table += static_cast<size_t>(token) * max_pages;
    q += token * ldq + head * head_dim;
    out += token * ldo + head * head_dim;
    float most = 0.0f, sum = 0.0f;
    for (unsigned at = first; at < n_keys;) {
        const unsigned page = at / rsr::PAGE_KEYS, slot = at % rsr::PAGE_KEYS;
        const unsigned n = min(rsr::PAGE_KEYS - slot, n_keys - at);
        const char *keys = pages + table[page] * page_bytes + head / group * head_bytes +
                           static_cast<size_t>(slot) * row_bytes;
        if (threadIdx.x < n) {
            const char *key = keys + threadIdx.x * row_bytes;
            float parts[16] = {};
#pragma unroll 1
            for (unsigned d = 0; d < row_floats; d += 16)
#pragma unroll
                for (unsigned l = 0; l < 16; l++)
                    parts[l] = __fmaf_rn(d + l < head_dim ? q[d + l] : 0.0f,
                                         rsr::stored(key, type, d + l, row_floats), parts[l]);
            z[threadIdx.x] = rsr::sum16(parts) * scale;
        }
        __syncthreads();
        float m = z[0];
        for (unsigned j = 1; j < n; j++)
            m = z[j] > m ? z[j] : m;
        if (threadIdx.x < n)
            p[threadIdx.x] = rsr::exponential(z[threadIdx.x] - m);
        else
            p[threadIdx.x] = 0.0f;
        __syncthreads();
        float parts[16];
#pragma unroll
        for (unsigned l = 0; l < 16; l++)
            parts[l] = ((p[l] + p[l + 16]) + p[l + 32]) + p[l + 48];
        const float s = rsr::sum16(parts);
        const bool is_first = at == first;
        const float now = is_first || m > most ? m : most;
        const float a = is_first ? 0.0f : rsr::exponential(most - now);
        const float b = rsr::exponential(m - now);
        for (unsigned d = threadIdx.x; d < head_dim; d += rsr::THREADS) {
            float o = 0.0f;
            for (unsigned j = 0; j < n; j++)
                o = __fmaf_rn(p[j],
                              rsr::stored(keys + values_at + static_cast<size_t>(j) * row_bytes,
                                          type, d, row_floats),
                              o);
            merged[d] = is_first ? o : merged[d] * a + o * b;
        }
        sum = is_first ? s : sum * a + s * b;
        most = now;
        at += n;
        __syncthreads();
    }
    for (unsigned d = threadIdx.x; d < head_dim; d += rsr::THREADS)
        out[d] = __fdiv_rn(merged[d], sum);
}

// Words of a hollow module's weights: a mix of their number and the seed.
RSR_KERNEL
rsr_fill(unsigned *words, size_t n_words, unsigned long long seed, unsigned pairs, unsigned keep,
         unsigned set) {
    rsr::follow_launches();
    const size_t first = static_cast<size_t>(blockIdx.x) * rsr::FILL_WORDS;
    for (size_t i = first + threadIdx.x; i < first + rsr::FILL_WORDS && i < n_words;
         i += rsr::THREADS) {
        unsigned long long x = seed + i * 0x9e3779b97f4a7c15ull;
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
        unsigned w = static_cast<unsigned>(x >> 32);
        w &= ~(w & w >> 1 & pairs);
        words[i] = (w & keep) | set;
    }
}
