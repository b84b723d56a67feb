// head.cuh - the end of a step: dense rows, of which the head is the largest matrix of a model, and
// tokens that are picked from logits where they are.
#pragma once

#include "operations.cuh"

namespace rsr {

enum : unsigned {
    DENSE_ROWS = THREADS / 2, // of a block of rsr_dense
    BEST_ROWS = 1024,         // RSR_GPU_BEST_ROWS of the runtime
};

// Elements i .. i + 7 of a row of a matrix; they lie at a multiple of 16 bytes.
template <unsigned DTYPE>
static __device__ __forceinline__ void elements8(const char *row, size_t i, float (&w)[8]) {
    if (DTYPE == MATRIX_F32) {
        const uint4 *from = reinterpret_cast<const uint4 *>(row) + i / 4;
        const uint4 a = load_words(from), b = load_words(from + 1);
        const unsigned words[] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
#pragma unroll
        for (unsigned l = 0; l < 8; l++)
            w[l] = __uint_as_float(words[l]);
    } else {
        const uint4 v = load_words(reinterpret_cast<const uint4 *>(row) + i / 8);
        const unsigned words[] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (unsigned l = 0; l < 8; l++) {
            const unsigned bits = words[l / 2] >> 16 * (l % 2) & 0xffffu;
            w[l] = DTYPE == MATRIX_BF16 ? __uint_as_float(bits << 16) : from_f16(bits);
        }
    }
}

// What two neighbours in a warp have of a row's 16 sums, in the order of sum16.
static __device__ __forceinline__ float sum_halves(const float (&p)[8]) {
    float h[8], q[4];
#pragma unroll
    for (unsigned l = 0; l < 8; l++)
        h[l] = p[l] + __uint_as_float(static_cast<unsigned>(__shfl_xor_sync(
                          0xffffffffu, static_cast<int>(__float_as_uint(p[l])), 1)));
#pragma unroll
    for (unsigned l = 0; l < 4; l++)
        q[l] = h[l] + h[l + 4];
    return (q[0] + q[2]) + (q[1] + q[3]);
}

// Adds the products of elements at .. at + 7, and of those that lie 16 further, to 8 sums, N times.
template <unsigned DTYPE, unsigned N>
static __device__ __forceinline__ void add_products(const char *row, const float *x, unsigned at,
                                                    float (&p)[8]) {
    float w[N][8];
#pragma unroll
    for (unsigned i = 0; i < N; i++) // all are under way before the first is needed
        elements8<DTYPE>(row, at + 16 * i, w[i]);
#pragma unroll
    for (unsigned i = 0; i < N; i++) {
        const float4 *from = reinterpret_cast<const float4 *>(x + at + 16 * i);
        const float4 a = from[0], b = from[1];
        const float v[] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
#pragma unroll
        for (unsigned l = 0; l < 8; l++)
            p[l] = __fmaf_rn(w[i][l], v[l], p[l]);
    }
}

// For n / 16 times 16 elements.
template <unsigned DTYPE>
static __device__ __forceinline__ void add_row(const char *row, const float *x, unsigned first,
                                               unsigned n, float (&p)[8]) {
    unsigned at = 0;
    for (; at + 64 <= n; at += 64)
        add_products<DTYPE, 4>(row, x, first + at, p);
    for (; at + 16 <= n; at += 16)
        add_products<DTYPE, 1>(row, x, first + at, p);
}

// row . x by two neighbours of a warp: each has 8 of the 16 sums, elements 16 s + 8 half on. wide:
// rows and x lie at multiples of 16 bytes.
static __device__ __forceinline__ float dot_row(const char *row, unsigned dtype, const float *x,
                                                unsigned cols, bool wide) {
    const unsigned first = threadIdx.x % 2 * 8;
    float p[8] = {};
    if (wide && dtype == MATRIX_BF16)
        add_row<MATRIX_BF16>(row, x, first, cols, p);
    else if (wide && dtype == MATRIX_F16)
        add_row<MATRIX_F16>(row, x, first, cols, p);
    else if (wide)
        add_row<MATRIX_F32>(row, x, first, cols, p);
#pragma unroll 1
    for (unsigned at = first + (wide ? cols / 16 * 16 : 0); at < (cols + 15) / 16 * 16; at += 16)
#pragma unroll
        for (unsigned l = 0; l < 8; l++)
            p[l] = at + l < cols ? __fmaf_rn(stored(row, dtype, at + l, cols), x[at + l], p[l])
                                 : __fmaf_rn(0.0f, 0.0f, p[l]); // makes 0 of -0
    return sum_halves(p);
}

static __device__ __forceinline__ bool is_wide(const void *p, size_t row_bytes) {
    return ((reinterpret_cast<size_t>(p) | row_bytes) & 15) == 0;
}

// ---- picks: the double operations of runtime/src/sample/sample_math.c ----

// x is a normal number.
static __device__ __forceinline__ double logarithm(double x) {
    unsigned long long bits = double_bits(x);
    int exponent = static_cast<int>(bits >> 52) - 1022;
    double m = double_of_bits((bits & 0x000fffffffffffffull) | 0x3fe0000000000000ull);
    if (m < 0x1.6a09e667f3bcdp-1) {
        m *= 2;
        exponent--;
    }
    const double s = (m - 1) / (m + 1), s2 = s * s;
    double series = 0;
#pragma unroll
    for (int k = 21; k >= 3; k -= 2)
        series = (series + 1.0 / k) * s2;
    const double e = exponent;
    return e * 0x1.62e42fee00000p-1 + (2 * s + (2 * s * series + e * 0x1.a39ef35793c76p-33));
}

// The noise of a draw, between 0 and 1, is at least 2^-53 away from both.
static __device__ __forceinline__ double gumbel(unsigned long long key, unsigned token) {
    unsigned long long z = (key ^ token) + 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    z ^= z >> 31;
    const double noise = (static_cast<double>(static_cast<long long>(z >> 12)) + 0.5) * 0x1p-52;
    return -logarithm(-logarithm(noise));
}

struct draw { // struct rsr_gpu_draw
    unsigned long long key;
    double temperature;
};

struct candidate { // struct rsr_gpu_candidate
    double value;
    unsigned row;
    float logit;
};

static __device__ __forceinline__ double infinity() {
    return double_of_bits(0x7ff0000000000000ull);
}

static __device__ __forceinline__ bool comes_before(const candidate &a, const candidate &b) {
    return a.value != b.value ? a.value > b.value : a.row < b.row;
}

static __device__ __forceinline__ candidate no_candidate() {
    return {-infinity(), 0xffffffffu, 0.0f};
}

// NaN and infinity come first, because the pick fails.
static __device__ __forceinline__ candidate candidate_of(const draw &d, float logit, unsigned row) {
    const unsigned bits = __float_as_uint(logit);
    if (bits == 0xff800000u)
        return no_candidate();
    if ((bits & 0x7fffffffu) >= 0x7f800000u)
        return {infinity(), row, logit};
    if (d.temperature == 0.0)
        return {logit, row, logit};
    return {static_cast<double>(logit) / d.temperature + gumbel(d.key, row), row, logit};
}

// The first of what the block's threads have, in thread 0.
static __device__ __forceinline__ candidate first_of(candidate *shared, const candidate &mine) {
    shared[threadIdx.x] = mine;
    for (unsigned n = THREADS / 2; n > 0; n /= 2) {
        __syncthreads();
        if (threadIdx.x < n && comes_before(shared[threadIdx.x + n], shared[threadIdx.x]))
            shared[threadIdx.x] = shared[threadIdx.x + n];
    }
    return shared[threadIdx.x];
}

} // namespace rsr

// y[row] = row . x for dense rows. A block has DENSE_ROWS rows of one token: it is block
// token * blocks_per_token + rows / DENSE_ROWS. The order of floats gives a row 16 sums, which take
// elements 16 apart. A thread has 8 of them, so that it reads 16 bytes of bf16 at a time, and a
// warp's four loads in flight are 128 bytes, a whole line, of each of 16 rows: no byte is read
// twice or in vain.
RSR_KERNEL rsr_dense(const float *x, size_t ldx, const char *matrix, unsigned dtype, unsigned rows,
                     unsigned cols, float *y, size_t ldy) {
    rsr::follow_launches();
    const unsigned blocks_per_token = (rows + rsr::DENSE_ROWS - 1) / rsr::DENSE_ROWS;
    const unsigned token = blockIdx.x / blocks_per_token;
    const unsigned row = blockIdx.x % blocks_per_token * rsr::DENSE_ROWS + threadIdx.x / 2;
    const size_t row_bytes = static_cast<size_t>(cols) * (dtype == rsr::MATRIX_F32 ? 4 : 2);
    const bool wide = rsr::is_wide(matrix, row_bytes) && rsr::is_wide(x, ldx * 4);
    const float sum =
        rsr::dot_row(matrix + min(row, rows - 1) * row_bytes, dtype, x + token * ldx, cols, wide);
    if (threadIdx.x % 2 == 0 && row < rows)
        y[token * ldy + row] = sum;
}

// The first candidate of BEST_ROWS rows of a token's logits. Block token * blocks_per_token + i has
// the i-th rows.
RSR_KERNEL rsr_best(const float *logits, size_t ld, unsigned rows, const rsr::draw *draws,
                    rsr::candidate *found) {
    rsr::follow_launches();
    __shared__ rsr::candidate shared[rsr::THREADS];
    const unsigned blocks_per_token = (rows + rsr::BEST_ROWS - 1) / rsr::BEST_ROWS;
    const unsigned token = blockIdx.x / blocks_per_token;
    const unsigned first = blockIdx.x % blocks_per_token * rsr::BEST_ROWS;
    const rsr::draw d = draws[token];
    logits += token * ld;
    rsr::candidate best = rsr::no_candidate();
    for (unsigned row = first + threadIdx.x; row < min(rows, first + rsr::BEST_ROWS);
         row += rsr::THREADS) {
        const rsr::candidate next = rsr::candidate_of(d, logits[row], row);
        if (rsr::comes_before(next, best))
            best = next;
    }
    best = rsr::first_of(shared, best);
    if (threadIdx.x == 0)
        found[blockIdx.x] = best;
}

// The first of each token's n candidates. A block has one token.
RSR_KERNEL rsr_first(const rsr::candidate *found, unsigned n, rsr::candidate *first) {
    rsr::follow_launches();
    __shared__ rsr::candidate shared[rsr::THREADS];
    rsr::candidate best = rsr::no_candidate();
    for (unsigned i = threadIdx.x; i < n; i += rsr::THREADS) {
        const rsr::candidate next = found[static_cast<size_t>(blockIdx.x) * n + i];
        if (rsr::comes_before(next, best))
            best = next;
    }
    best = rsr::first_of(shared, best);
    if (threadIdx.x == 0)
        first[blockIdx.x] = best;
}

// ---- the certified head: runtime/src/sketch/sketch.h and runtime/src/walk/head_sketch.c ----

namespace rsr {

// A query: this, a double for each slice, one more if their number is odd, and the slices.
struct query { // struct rsr_gpu_query
    double centre, centre_error, norm, residual_slack;
    int exponent;
    unsigned unused[3];
};

struct query_slice { // struct rsr_gpu_slice
    uint4 low, high;
    float scale, norm;
    int centre;
    unsigned unused;
};

struct sketch_header { // struct rsr_sketch_header
    short unit_exponent;
    unsigned char largest_residual[2];
    float box_unit;
    double centre_norm, radius;
};

static __device__ __forceinline__ double magnitude(double x) {
    return x < 0 ? -x : x;
}
static __device__ __forceinline__ double sum_up(double x) {
    return x * (1.0 + 0x1p-36);
}
static __device__ __forceinline__ double step_up(double x) {
    const double step = magnitude(x) * 0x1p-52;
    return x + (step > 0x1p-1022 ? step : 0x1p-1022);
}

static __device__ __forceinline__ float decode_norm(unsigned code) {
    const unsigned value = code < 16 ? code : (16u + (code & 15u)) << ((code >> 4) - 1);
    return static_cast<float>(static_cast<int>(value));
}

struct row_codes { // of a row: every 16th word and every 64th byte
    const unsigned *words;
    const unsigned char *scales, *residuals;
};

// Adds a slice's terms of the theorem to t.
static __device__ __forceinline__ void add_slice(const row_codes &c, const query_slice &q,
                                                 unsigned s, float &t) {
    const unsigned low[] = {q.low.x, q.low.y, q.low.z, q.low.w};
    const unsigned high[] = {q.high.x, q.high.y, q.high.z, q.high.w};
    int dot = q.centre;
#pragma unroll
    for (unsigned w = 0; w < 4; w++) {
        const unsigned word = c.words[s * 64 + w * 16];
        dot = dp4a_us(word & 0x0f0f0f0fu, low[w], dot);
        dot = dp4a_us(word >> 4 & 0x0f0f0f0fu, high[w], dot);
    }
    const float product = static_cast<float>(dot) * decode_norm(c.scales[s * 64]);
    t = t + product * q.scale;
    t = t + q.norm * decode_norm(c.residuals[s * 64]);
}

struct frame { // logits are at most offset + unit t
    double offset, unit;
    bool holds; // no sum can overflow
};

static __device__ __forceinline__ frame frame_of(const sketch_header &header, const query &q,
                                                 double slack, unsigned cols) {
    const double unit = double_of_bits(
        static_cast<unsigned long long>(header.unit_exponent + q.exponent + 1023) << 52);
    const double residual = decode_norm(header.largest_residual[0]);
    const double all = unit * (slack + residual * q.residual_slack);
    const double offset =
        step_up(q.centre + sum_up(sum_up(q.centre_error * header.centre_norm) + all));
    const double size = sum_up(q.norm * (header.radius + header.centre_norm));
    const double roundings = static_cast<int>((cols + 15) / 16 + 6);
    const double error = sum_up(roundings * 0x1p-24 * size) + static_cast<int>(cols) * 0x1p-149;
    return {step_up(offset + error), unit, size < 0x1p126};
}

// At least offset + unit t, as a finite float.
static __device__ __forceinline__ float bound_of(const frame &f, float t) {
    double bound = f.offset + f.unit * static_cast<double>(t);
    bound += magnitude(bound) * 0x1p-50;
    const float rounded = static_cast<float>(bound + magnitude(bound) * 0x1p-22 + 0x1p-140);
    const float lowest = __uint_as_float(0xff7fffffu);
    return rounded < lowest ? lowest : rounded;
}

} // namespace rsr

// Bounds of the logits of a block's 64 rows, and the row with the largest one. A thread has a row.
RSR_KERNEL rsr_bound(const char *blocks, size_t block_bytes, unsigned norms_at, unsigned scales_at,
                     unsigned residuals_at, unsigned codes_at, unsigned n_slices, unsigned rows,
                     unsigned cols, const rsr::query *query, float *bounds, rsr::candidate *found) {
    rsr::follow_launches();
    __shared__ rsr::candidate shared[rsr::THREADS];
    __shared__ double slacks[rsr::THREADS];
    __shared__ rsr::frame frame;
    const char *block = blocks + blockIdx.x * block_bytes;
    const double *slack = reinterpret_cast<const double *>(query + 1);
    const rsr::query_slice *slices =
        reinterpret_cast<const rsr::query_slice *>(slack + (n_slices + 1) / 2 * 2);
    const float *norms = reinterpret_cast<const float *>(block + norms_at);
    double part = 0;
    for (unsigned s = threadIdx.x; s < n_slices; s += rsr::THREADS)
        part += static_cast<double>(norms[s]) * slack[s];
    slacks[threadIdx.x] = part;
    for (unsigned n = rsr::THREADS / 2; n > 0; n /= 2) {
        __syncthreads();
        if (threadIdx.x < n)
            slacks[threadIdx.x] += slacks[threadIdx.x + n];
    }
    if (threadIdx.x == 0)
        frame = rsr::frame_of(*reinterpret_cast<const rsr::sketch_header *>(block), *query,
                              slacks[0], cols);
    const rsr::row_codes codes = {
        reinterpret_cast<const unsigned *>(block + codes_at) + threadIdx.x / 16 * (n_slices * 64) +
            threadIdx.x % 16,
        reinterpret_cast<const unsigned char *>(block + scales_at) + threadIdx.x,
        reinterpret_cast<const unsigned char *>(block + residuals_at) + threadIdx.x};
    float t = 0.0f;
    unsigned s = 0;
    for (; s + 4 <= n_slices; s += 4)
#pragma unroll
        for (unsigned i = 0; i < 4; i++)
            rsr::add_slice(codes, slices[s + i], s + i, t);
    for (; s < n_slices; s++)
        rsr::add_slice(codes, slices[s], s, t);
    __syncthreads();
    const unsigned row = blockIdx.x * rsr::THREADS + threadIdx.x;
    rsr::candidate best = rsr::no_candidate();
    if (row < rows) {
        const float bound = frame.holds ? rsr::bound_of(frame, t) : __uint_as_float(0x7f800000u);
        bounds[row] = bound;
        best = {bound, row, bound};
    }
    best = rsr::first_of(shared, best);
    if (threadIdx.x == 0)
        found[blockIdx.x] = best;
}

// The logit of the row that is first among n candidates; -infinity if it is not finite. One block.
RSR_KERNEL rsr_certify(const rsr::candidate *found, unsigned n, const float *x, const char *matrix,
                       unsigned dtype, unsigned cols, float *least) {
    rsr::follow_launches();
    __shared__ rsr::candidate shared[rsr::THREADS];
    rsr::candidate best = rsr::no_candidate();
    for (unsigned i = threadIdx.x; i < n; i += rsr::THREADS)
        if (rsr::comes_before(found[i], best))
            best = found[i];
    rsr::first_of(shared, best);
    __syncthreads();
    const size_t row_bytes = static_cast<size_t>(cols) * (dtype == rsr::MATRIX_F32 ? 4 : 2);
    const bool wide = rsr::is_wide(matrix, row_bytes) && rsr::is_wide(x, 0);
    const float sum = rsr::dot_row(matrix + shared[0].row * row_bytes, dtype, x, cols, wide);
    if (threadIdx.x == 0)
        *least = rsr::is_finite(sum) ? sum : __uint_as_float(0xff800000u);
}

// The first candidate of a block's 64 rows: those whose bounds reach `least` are computed. Pairs of
// threads whose rows are below it read what another pair of their warp reads, or nothing.
RSR_KERNEL rsr_survive(const float *bounds, const float *least, const float *x, const char *matrix,
                       unsigned dtype, unsigned rows, unsigned cols, rsr::candidate *found) {
    rsr::follow_launches();
    __shared__ rsr::candidate shared[rsr::THREADS];
    const size_t row_bytes = static_cast<size_t>(cols) * (dtype == rsr::MATRIX_F32 ? 4 : 2);
    const bool wide = rsr::is_wide(matrix, row_bytes) && rsr::is_wide(x, 0);
    const float lowest = *least;
    rsr::candidate best = rsr::no_candidate();
    for (unsigned i = 0; i < 2; i++) {
        const unsigned row = blockIdx.x * rsr::THREADS + i * rsr::DENSE_ROWS + threadIdx.x / 2;
        const bool reaches = row < rows && bounds[row] >= lowest;
        const unsigned some = __reduce_max_sync(0xffffffffu, reaches ? row + 1 : 0u);
        if (some == 0)
            continue;
        const float sum =
            rsr::dot_row(matrix + (reaches ? row : some - 1) * row_bytes, dtype, x, cols, wide);
        const rsr::candidate next = rsr::candidate_of({0, 0.0}, sum, row);
        if (reaches && rsr::comes_before(next, best))
            best = next;
    }
    best = rsr::first_of(shared, best);
    if (threadIdx.x == 0)
        found[blockIdx.x] = best;
}
