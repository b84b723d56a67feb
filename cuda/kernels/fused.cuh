// fused.cuh - several operations of a step in one kernel, and attention that is shared out among
// blocks by pages. Every float has the bits of operations.cuh: the orders are the same, only what
// runs beside what differs.
#pragma once

#include "activations.cuh"
#include "operations.cuh"

namespace rsr {

enum : unsigned {
    ROW_THREADS = 256,                    // of rsr_rows, for one row
    SPLIT_TEAMS = 4,                      // of THREADS threads, for one query head each
    HEAD_FLOATS = MAX_HEAD_DIM / THREADS, // of a thread of a head
};

struct norm_memory { // of a block, shared
    float squares[THREADS], parts[16];
};

// The sum of the squares of a row, by THREADS of a block's threads; all of them get it. Begins with
// a barrier.
static __device__ __forceinline__ float sum_squares(norm_memory &shared, const float *x,
                                                    unsigned cols) {
    __syncthreads();
    if (threadIdx.x < THREADS) {
        float p = 0.0f;
        for (unsigned i = threadIdx.x; i < cols; i += THREADS)
            p = __fmaf_rn(x[i], x[i], p);
        shared.squares[threadIdx.x] = p;
    }
    __syncthreads();
    if (threadIdx.x < 16)
        shared.parts[threadIdx.x] =
            (shared.squares[threadIdx.x] + shared.squares[threadIdx.x + 32]) +
            (shared.squares[threadIdx.x + 16] + shared.squares[threadIdx.x + 48]);
    __syncthreads();
    return sum16(shared.parts);
}

static __device__ __forceinline__ float norm_factor(float sum, unsigned cols, float eps) {
    return __fdiv_rn(1.0f,
                     __fsqrt_rn(__fdiv_rn(sum, static_cast<float>(static_cast<int>(cols))) + eps));
}

// A norm of a row by ROW_THREADS threads. Each writes what it alone reads next, or a barrier
// follows. y may be x.
static __device__ __forceinline__ void norm_row(norm_memory &shared, const float *x,
                                                const float *weight, float eps, float *y,
                                                unsigned cols, unsigned *failed, unsigned op) {
    const float sum = sum_squares(shared, x, cols), r = norm_factor(sum, cols, eps);
    for (unsigned i = threadIdx.x; i < cols; i += ROW_THREADS)
        y[i] = weight[i] * (x[i] * r);
    if (threadIdx.x == 0 && !is_finite(sum))
        fail(failed, blockIdx.x, op);
}

// Elements d .. d + 15 of a stored row; d is a multiple of 16.
static __device__ __forceinline__ void stored16(const char *row, unsigned type, unsigned d,
                                                unsigned row_floats, float (&x)[16]) {
    if (type == STORED_F32) {
        const float4 *from = reinterpret_cast<const float4 *>(row) + d / 4;
#pragma unroll
        for (unsigned i = 0; i < 4; i++) {
            const float4 v = from[i];
            x[4 * i] = v.x;
            x[4 * i + 1] = v.y;
            x[4 * i + 2] = v.z;
            x[4 * i + 3] = v.w;
        }
    } else if (type == STORED_INT8) { // rows are multiples of 4 bytes apart
        const unsigned *from = reinterpret_cast<const unsigned *>(row + d);
        const float scale = *reinterpret_cast<const float *>(row + row_floats);
#pragma unroll
        for (unsigned i = 0; i < 16; i++)
            x[i] = static_cast<float>(static_cast<int>(from[i / 4] << (24 - 8 * (i % 4))) >> 24) *
                   scale;
    } else {
        const uint4 *from = reinterpret_cast<const uint4 *>(row) + d / 8;
#pragma unroll
        for (unsigned i = 0; i < 2; i++) {
            const uint4 v = from[i];
            const unsigned words[] = {v.x, v.y, v.z, v.w};
#pragma unroll
            for (unsigned l = 0; l < 8; l++) {
                const unsigned bits = words[l / 2] >> 16 * (l % 2) & 0xffffu;
                x[8 * i + l] = type == STORED_BF16 ? __uint_as_float(bits << 16) : from_f16(bits);
            }
        }
    }
}

// Keys that a token sees.
struct visible {
    unsigned first, end;

    __device__ __forceinline__ visible(unsigned position, unsigned window)
        : first(window != 0 && window < position + 1 ? position + 1 - window : 0),
          end(position + 1) {}
};

} // namespace rsr

// A chain of operations on a row, of which each may be missing (its pointer is 0):
// h = activation(x) up; norm_y = a norm of it; sum += that; last_y = a norm of the sum; q = that,
// quantised. A block has one row of `cols` floats. What is not finite is told as rsr_norm and
// rsr_check do.
extern "C" __global__ void __launch_bounds__(rsr::ROW_THREADS)
    rsr_rows(const float *x, size_t ldx, const float *up, size_t ldu, float *h, size_t ldh,
             unsigned activation, const float *norm_weight, float norm_eps, float *norm_y,
             size_t ld_norm, unsigned norm_op, float *sum, size_t ld_sum, const float *last_weight,
             float last_eps, float *last_y, size_t ld_last, unsigned last_op, char *q, size_t ldq,
             unsigned q_op, unsigned cols, unsigned *failed, unsigned *not_finite) {
    rsr::follow_launches();
    using quantization = rsr::quantization<rsr::ROW_THREADS>;
    __shared__ rsr::norm_memory norms;
    __shared__ quantization::memory quantized;
    const unsigned row = blockIdx.x;
    x += row * ldx;
    if (up != nullptr) {
        up += row * ldu;
        h += row * ldh;
        for (unsigned i = threadIdx.x; i < cols; i += rsr::ROW_THREADS)
            h[i] = rsr::activate(x[i], activation) * up[i];
        x = h;
    }
    if (norm_weight != nullptr) {
        norm_y += row * ld_norm;
        rsr::norm_row(norms, x, norm_weight, norm_eps, norm_y, cols, failed, norm_op);
        x = norm_y;
    }
    if (sum != nullptr) {
        sum += row * ld_sum;
        for (unsigned i = threadIdx.x; i < cols; i += rsr::ROW_THREADS)
            sum[i] = sum[i] + x[i];
        x = sum;
    }
    if (last_weight != nullptr) {
        last_y += row * ld_last;
        rsr::norm_row(norms, x, last_weight, last_eps, last_y, cols, failed, last_op);
        x = last_y;
    }
    if (q == nullptr)
        return;
    __syncthreads();
    if (!quantization::run(quantized, {x, 0, q + row * ldq, 0, cols, not_finite}) &&
        threadIdx.x == 0)
        rsr::fail(failed, row, q_op);
}

// Norms and rotates the heads of a row's queries, in place, and of its keys, which it stores with
// the values in their pages. A block has one head: block token * (n_heads + n_kv_heads) + head,
// those of keys last. q_weight, k_weight: 0 where there is no norm. Places are those of rsr_attend.
RSR_KERNEL rsr_heads(float *q, size_t ldq, const float *k, size_t ldk, const float *v, size_t ldv,
                     const float *q_weight, float q_eps, const float *k_weight, float k_eps,
                     const float *table, size_t ldt, char *pages, const unsigned *page_table,
                     const unsigned *positions, size_t page_bytes, size_t head_bytes,
                     size_t values_at, unsigned max_pages, unsigned row_bytes, unsigned row_floats,
                     unsigned type, unsigned n_heads, unsigned n_kv_heads, unsigned head_dim,
                     unsigned rotary_dim, unsigned *failed, unsigned op) {
    rsr::follow_launches();
    __shared__ rsr::norm_memory norms;
    __shared__ float head[rsr::MAX_HEAD_DIM];
    __shared__ unsigned largest[2][rsr::THREADS];
    const unsigned token = blockIdx.x / (n_heads + n_kv_heads);
    const unsigned number = blockIdx.x % (n_heads + n_kv_heads);
    const bool is_key = number >= n_heads;
    const unsigned kv_head = is_key ? number - n_heads : 0;
    const float *x =
        is_key ? k + token * ldk + kv_head * head_dim : q + token * ldq + number * head_dim;
    const float *weight = is_key ? k_weight : q_weight;
    for (unsigned d = threadIdx.x; d < head_dim; d += rsr::THREADS)
        head[d] = x[d];
    if (weight != nullptr) {
        const float sum = rsr::sum_squares(norms, head, head_dim);
        const float r = rsr::norm_factor(sum, head_dim, is_key ? k_eps : q_eps);
        for (unsigned d = threadIdx.x; d < head_dim; d += rsr::THREADS)
            head[d] = weight[d] * (head[d] * r);
        if (threadIdx.x == 0 && !rsr::is_finite(sum))
            rsr::fail(failed, token, op);
    }
    __syncthreads();
    const unsigned half = rotary_dim / 2;
    table += token * ldt;
    for (unsigned d = threadIdx.x; d < half; d += rsr::THREADS) {
        const float x1 = head[d], x2 = head[half + d], cosine = table[d], sine = table[half + d];
        head[d] = x1 * cosine - x2 * sine;
        head[half + d] = x2 * cosine + x1 * sine;
    }
    __syncthreads();
    if (!is_key) {
        for (unsigned d = threadIdx.x; d < head_dim; d += rsr::THREADS)
            q[token * ldq + number * head_dim + d] = head[d];
        return;
    }
    const unsigned position = positions[token];
    const unsigned page =
        page_table[static_cast<size_t>(token) * max_pages + position / rsr::PAGE_KEYS];
    char *row = pages + page * page_bytes + kv_head * head_bytes +
                static_cast<size_t>(position % rsr::PAGE_KEYS) * row_bytes;
    v += token * ldv + kv_head * head_dim;
    unsigned most[2] = {0, 0};
    for (unsigned d = threadIdx.x; d < head_dim; d += rsr::THREADS) {
        most[0] = max(most[0], __float_as_uint(head[d]) & 0x7fffffffu);
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
        rsr::store(row, type, d, d < head_dim ? head[d] : 0.0f, scales[0]);
        rsr::store(row + values_at, type, d, d < head_dim ? v[d] : 0.0f, scales[1]);
    }
    if (type == rsr::STORED_INT8 && threadIdx.x == 0) {
        *reinterpret_cast<float *>(row + row_floats) = scales[0];
        *reinterpret_cast<float *>(row + values_at + row_floats) = scales[1];
    }
}

// Attends to single pages: a block has every n_splits-th page of one token and KV head, for all of
// its query heads (block (token * n_kv_heads + kv_head) * n_splits + split). The heads of a group
// read a page's keys together, four at a time. For the p-th page of a token's head the block writes
// its maximum and its sum to stats[2 * at], and head_dim weighted values to parts[at * head_dim],
// at = (token * n_heads + head) * max_pages + p. Places are those of rsr_attend.
extern "C" __global__ void __launch_bounds__(rsr::SPLIT_TEAMS *rsr::THREADS)
    rsr_split(const float *q, size_t ldq, const char *pages, const unsigned *table,
              const unsigned *positions, size_t page_bytes, size_t head_bytes, size_t values_at,
              unsigned max_pages, unsigned row_bytes, unsigned row_floats, unsigned type,
              float *parts, float *stats, unsigned n_heads, unsigned group, unsigned head_dim,
              unsigned window, float scale, unsigned n_splits) {
    rsr::follow_launches();
    __shared__ float query[rsr::SPLIT_TEAMS][rsr::MAX_HEAD_DIM];
    __shared__ float z[rsr::SPLIT_TEAMS][rsr::PAGE_KEYS], p[rsr::SPLIT_TEAMS][rsr::PAGE_KEYS];
    const unsigned split = blockIdx.x % n_splits, n_kv_heads = n_heads / group;
    const unsigned kv_head = blockIdx.x / n_splits % n_kv_heads;
    const unsigned token = blockIdx.x / n_splits / n_kv_heads;
    const unsigned team = threadIdx.x / rsr::THREADS, lane = threadIdx.x % rsr::THREADS;
    const rsr::visible keys(positions[token], window);
    const unsigned end_page = (keys.end - 1) / rsr::PAGE_KEYS + 1;
    table += static_cast<size_t>(token) * max_pages;
    for (unsigned member = team; member - team < group; member += rsr::SPLIT_TEAMS) {
        const bool works = member < group;
        const unsigned head = kv_head * group + (works ? member : 0);
        __syncthreads();
        for (unsigned d = lane; d < row_floats; d += rsr::THREADS)
            query[team][d] = d < head_dim ? q[token * ldq + head * head_dim + d] : 0.0f;
        __syncthreads();
        for (unsigned page = keys.first / rsr::PAGE_KEYS + split; page < end_page;
             page += n_splits) {
            const unsigned begin = max(keys.first, page * rsr::PAGE_KEYS);
            const unsigned n = min(keys.end, (page + 1) * rsr::PAGE_KEYS) - begin;
            const char *rows = pages + table[page] * page_bytes + kv_head * head_bytes +
                               static_cast<size_t>(begin % rsr::PAGE_KEYS) * row_bytes;
            if (works && lane < n) {
                float sums[16] = {};
#pragma unroll 1
                for (unsigned d = 0; d < row_floats; d += 16) {
                    float key[16];
                    rsr::stored16(rows + lane * row_bytes, type, d, row_floats, key);
#pragma unroll
                    for (unsigned l = 0; l < 16; l++)
                        sums[l] = __fmaf_rn(query[team][d + l], key[l], sums[l]);
                }
                z[team][lane] = rsr::sum16(sums) * scale;
            }
            __syncthreads();
            float m = 0.0f;
            if (works) {
                m = z[team][0];
                for (unsigned j = 1; j < n; j++)
                    m = z[team][j] > m ? z[team][j] : m;
                p[team][lane] = lane < n ? rsr::exponential(z[team][lane] - m) : 0.0f;
            }
            __syncthreads();
            if (!works)
                continue;
            const size_t at = (static_cast<size_t>(token) * n_heads + head) * max_pages + page -
                              keys.first / rsr::PAGE_KEYS;
            float o[rsr::HEAD_FLOATS] = {};
            for (unsigned j = 0; j < n; j++) {
                const float weight = p[team][j];
                const char *value = rows + values_at + static_cast<size_t>(j) * row_bytes;
#pragma unroll
                for (unsigned i = 0; i < rsr::HEAD_FLOATS; i++)
                    if (lane + i * rsr::THREADS < head_dim)
                        o[i] = __fmaf_rn(
                            weight, rsr::stored(value, type, lane + i * rsr::THREADS, row_floats),
                            o[i]);
            }
#pragma unroll
            for (unsigned i = 0; i < rsr::HEAD_FLOATS; i++)
                if (lane + i * rsr::THREADS < head_dim)
                    parts[at * head_dim + lane + i * rsr::THREADS] = o[i];
            if (lane == 0) {
                float sums[16];
#pragma unroll
                for (unsigned l = 0; l < 16; l++)
                    sums[l] = ((p[team][l] + p[team][l + 16]) + p[team][l + 32]) + p[team][l + 48];
                stats[2 * at] = m;
                stats[2 * at + 1] = rsr::sum16(sums);
            }
        }
    }
}

// Merges what rsr_split wrote, in the order of the pages. A block has one head of one token: block
// token * n_heads + head.
RSR_KERNEL rsr_merge(const float *parts, const float *stats, const unsigned *positions,
                     unsigned max_pages, unsigned n_heads, unsigned head_dim, unsigned window,
                     float *out, size_t ldo) {
    rsr::follow_launches();
    // Of THREADS pages at a time: their maxima, the maximum so far, and the factors of what is
    // before and of the page.
    __shared__ float m[rsr::THREADS], now[rsr::THREADS], a[rsr::THREADS], b[rsr::THREADS];
    const unsigned token = blockIdx.x / n_heads, head = blockIdx.x % n_heads;
    const rsr::visible keys(positions[token], window);
    const unsigned n_pages = (keys.end - 1) / rsr::PAGE_KEYS - keys.first / rsr::PAGE_KEYS + 1;
    parts += static_cast<size_t>(blockIdx.x) * max_pages * head_dim;
    stats += 2 * (static_cast<size_t>(blockIdx.x) * max_pages);
    float most = 0.0f, sum = 0.0f, o[rsr::HEAD_FLOATS] = {};
    for (unsigned begin = 0; begin < n_pages; begin += rsr::THREADS) {
        const unsigned n = min(+rsr::THREADS, n_pages - begin);
        if (threadIdx.x < n)
            m[threadIdx.x] = stats[2 * (begin + threadIdx.x)];
        __syncthreads();
        if (threadIdx.x < n) {
            float before = most, after = most;
            for (unsigned i = 0; i <= threadIdx.x; i++) {
                before = after;
                after = begin + i == 0 || m[i] > before ? m[i] : before;
            }
            now[threadIdx.x] = after;
            a[threadIdx.x] = rsr::exponential(before - after);
            b[threadIdx.x] = rsr::exponential(m[threadIdx.x] - after);
        }
        __syncthreads();
        for (unsigned i = 0; i < n; i++) {
            const bool is_first = begin + i == 0;
            const float s = stats[2 * (begin + i) + 1];
            sum = is_first ? s : sum * a[i] + s * b[i];
#pragma unroll
            for (unsigned l = 0; l < rsr::HEAD_FLOATS; l++) {
                const unsigned d = threadIdx.x + l * rsr::THREADS;
                if (d < head_dim) {
                    const float x = parts[static_cast<size_t>(begin + i) * head_dim + d];
                    o[l] = is_first ? x : o[l] * a[i] + x * b[i];
                }
            }
        }
        most = now[n - 1];
        __syncthreads();
    }
#pragma unroll
    for (unsigned l = 0; l < rsr::HEAD_FLOATS; l++)
        if (threadIdx.x + l * rsr::THREADS < head_dim)
            out[token * ldo + head * head_dim + threadIdx.x + l * rsr::THREADS] =
                __fdiv_rn(o[l], sum);
}
