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

// The sum of the squares of a row, of which the norms of operations.cuh have THREADS parts. All of
// a block's N threads get it. Begins with a barrier.
template <unsigned N>
static __device__ __forceinline__ float sum_squares(norm_memory &shared, const float *x,
                                                    unsigned cols) {
    __syncthreads();
    for (unsigned lane = threadIdx.x; lane < THREADS; lane += N) {
        float p = 0.0f;
        for (unsigned i = lane; i < cols; i += THREADS)
            p = __fmaf_rn(x[i], x[i], p);
        shared.squares[lane] = p;
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

// Whether the block is the last of `n` to come here; then it may read what the others have written.
// Begins and ends with a barrier.
static __device__ __forceinline__ bool is_last(bool &shared, unsigned *counter, unsigned n) {
    __syncthreads();
    if (n == 1)
        return true;
    if (threadIdx.x == 0) {
        fence_device();
        shared = count_up(counter, n - 1) == n - 1;
        fence_device();
    }
    __syncthreads();
    return shared;
}

// struct rsr_gpu_chain of rsr_abi.h.
struct chain {
    const float *x;
    size_t ldx;
    const float *up;
    size_t ldu;
    float *h;
    size_t ldh;
    const float *norm_weight;
    float *norm_y;
    size_t ld_norm;
    float *sum;
    size_t ld_sum;
    const float *last_weight;
    float *last_y;
    size_t ld_last;
    char *q;
    size_t ldq;
    unsigned *failed, *not_finite;
    float norm_eps, last_eps;
    unsigned norm_op, last_op, q_op, activation, cols, reserved;
};
static_assert(sizeof(chain) == 176, "the struct of rsr_abi.h has 176 bytes");

// A chain on a row, by a block of N threads. Each thread writes what it alone reads next, or a
// barrier follows. What is not finite is told as rsr_norm and rsr_check do.
template <unsigned N> struct row_chain {
    using quantization = rsr::quantization<N>;

    struct memory { // of a block, shared
        norm_memory norms;
        typename quantization::memory quantized;
    };

    // A norm of a row; y may be x.
    static __device__ __forceinline__ void norm(memory &shared, const float *x, const float *weight,
                                                float eps, float *y, unsigned cols,
                                                unsigned *failed, unsigned row, unsigned op) {
        const float sum = sum_squares<N>(shared.norms, x, cols), r = norm_factor(sum, cols, eps);
        for (unsigned i = threadIdx.x; i < cols; i += N)
            y[i] = weight[i] * (x[i] * r);
        if (threadIdx.x == 0 && !is_finite(sum))
            fail(failed, row, op);
    }

    static __device__ __forceinline__ void run(memory &shared, const chain &c, unsigned row) {
        const float *x = c.x + row * c.ldx;
        if (c.up != nullptr) {
            const float *up = c.up + row * c.ldu;
            float *h = c.h + row * c.ldh;
            for (unsigned i = threadIdx.x; i < c.cols; i += N)
                h[i] = activate(x[i], c.activation) * up[i];
            x = h;
        }
        if (c.norm_weight != nullptr) {
            float *y = c.norm_y + row * c.ld_norm;
            norm(shared, x, c.norm_weight, c.norm_eps, y, c.cols, c.failed, row, c.norm_op);
            x = y;
        }
        if (c.sum != nullptr) {
            float *sum = c.sum + row * c.ld_sum;
            for (unsigned i = threadIdx.x; i < c.cols; i += N)
                sum[i] = sum[i] + x[i];
            x = sum;
        }
        if (c.last_weight != nullptr) {
            float *y = c.last_y + row * c.ld_last;
            norm(shared, x, c.last_weight, c.last_eps, y, c.cols, c.failed, row, c.last_op);
            x = y;
        }
        if (c.q == nullptr)
            return;
        __syncthreads();
        if (!quantization::run_row(shared.quantized, x, c.q + row * c.ldq, c.cols, c.not_finite) &&
            threadIdx.x == 0)
            fail(c.failed, row, c.q_op);
    }
};

// struct rsr_gpu_heads of rsr_abi.h.
struct heads {
    float *q;
    size_t ldq;
    const float *k;
    size_t ldk;
    const float *v;
    size_t ldv;
    const float *q_weight, *k_weight; // 0: there is no norm
    const float *table;
    size_t ldt;
    char *pages; // places are those of rsr_attend
    const unsigned *page_table, *positions;
    size_t page_bytes, head_bytes, values_at;
    unsigned *failed;
    float q_eps, k_eps;
    unsigned max_pages, row_bytes, row_floats, type;
    unsigned n_heads, n_kv_heads, head_dim, rotary_dim;
    unsigned op, reserved;
};
static_assert(sizeof(heads) == 184, "the struct of rsr_abi.h has 184 bytes");

// A head of a row, by a block of N threads: queries' heads are normed and rotated in place, keys'
// are stored after that, and values' as they are. They have numbers in this order.
template <unsigned N> struct head_work {
    struct memory { // of a block, shared
        norm_memory norms;
        float head[MAX_HEAD_DIM];
        unsigned largest[N / 32];
    };

    static __device__ __forceinline__ void norm(memory &shared, const heads &a, const float *weight,
                                                float eps, unsigned token) {
        const float sum = sum_squares<N>(shared.norms, shared.head, a.head_dim);
        const float r = norm_factor(sum, a.head_dim, eps);
        for (unsigned d = threadIdx.x; d < a.head_dim; d += N)
            shared.head[d] = weight[d] * (shared.head[d] * r);
        if (threadIdx.x == 0 && !is_finite(sum))
            fail(a.failed, token, a.op);
    }

    static __device__ __forceinline__ void rotate(memory &shared, const heads &a, unsigned token) {
        const unsigned half = a.rotary_dim / 2;
        const float *table = a.table + token * a.ldt;
        __syncthreads();
        for (unsigned d = threadIdx.x; d < half; d += N) {
            const float x1 = shared.head[d], x2 = shared.head[half + d];
            const float cosine = table[d], sine = table[half + d];
            shared.head[d] = x1 * cosine - x2 * sine;
            shared.head[half + d] = x2 * cosine + x1 * sine;
        }
        __syncthreads();
    }

    static __device__ __forceinline__ float scale_of(memory &shared, unsigned head_dim) {
        unsigned most = 0;
        for (unsigned d = threadIdx.x; d < head_dim; d += N)
            most = max(most, __float_as_uint(shared.head[d]) & 0x7fffffffu);
        most = __reduce_max_sync(0xffffffffu, most);
        if (threadIdx.x % 32 == 0)
            shared.largest[threadIdx.x / 32] = most;
        __syncthreads();
        for (unsigned w = 0; w < N / 32; w++)
            most = max(most, shared.largest[w]);
        return int8_scale(most);
    }

    // Stores the head, of keys or of values, which lie values_at further.
    static __device__ __forceinline__ void store_row(memory &shared, const heads &a, unsigned token,
                                                     unsigned kv_head, size_t values_at) {
        const unsigned position = a.positions[token];
        const unsigned page =
            a.page_table[static_cast<size_t>(token) * a.max_pages + position / PAGE_KEYS];
        char *row = a.pages + page * a.page_bytes + kv_head * a.head_bytes + values_at +
                    static_cast<size_t>(position % PAGE_KEYS) * a.row_bytes;
        const float scale = a.type == STORED_INT8 ? scale_of(shared, a.head_dim) : 0.0f;
        for (unsigned d = threadIdx.x; d < a.row_floats; d += N)
            store(row, a.type, d, d < a.head_dim ? shared.head[d] : 0.0f, scale);
        if (a.type == STORED_INT8 && threadIdx.x == 0)
            *reinterpret_cast<float *>(row + a.row_floats) = scale;
    }

    static __device__ __forceinline__ void run(memory &shared, const heads &a, unsigned token,
                                               unsigned number) {
        const bool is_query = number < a.n_heads;
        const unsigned kv_number = is_query ? 0 : number - a.n_heads;
        const bool is_value = kv_number >= a.n_kv_heads;
        const unsigned kv_head = is_value ? kv_number - a.n_kv_heads : kv_number;
        const float *x = is_query   ? a.q + token * a.ldq + number * a.head_dim
                         : is_value ? a.v + token * a.ldv + kv_head * a.head_dim
                                    : a.k + token * a.ldk + kv_head * a.head_dim;
        __syncthreads(); // the head before is stored
        for (unsigned d = threadIdx.x; d < a.head_dim; d += N)
            shared.head[d] = x[d];
        const float *weight = is_query ? a.q_weight : is_value ? nullptr : a.k_weight;
        if (weight != nullptr)
            norm(shared, a, weight, is_query ? a.q_eps : a.k_eps, token);
        if (is_value)
            __syncthreads();
        else
            rotate(shared, a, token);
        if (!is_query)
            return store_row(shared, a, token, kv_head, is_value ? a.values_at : 0);
        for (unsigned d = threadIdx.x; d < a.head_dim; d += N)
            a.q[token * a.ldq + number * a.head_dim + d] = shared.head[d];
    }
};

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

    __device__ __forceinline__ unsigned n_pages() const {
        return (end - 1) / PAGE_KEYS - first / PAGE_KEYS + 1;
    }
};

struct merge_memory { // of a head, shared
    // Of THREADS pages at a time: their maxima, the maximum so far, and the factors of what is
    // before and of the page.
    float m[THREADS], now[THREADS], a[THREADS], b[THREADS];
};

// Merges a head's pages in their order, by THREADS threads. All of a block's threads come here with
// the same n_pages, because they wait for each other; those that do not work write nothing.
static __device__ __forceinline__ void merge_pages(merge_memory &shared, const float *parts,
                                                   const float *stats, unsigned n_pages,
                                                   unsigned head_dim, unsigned lane, bool works,
                                                   float *out) {
    float most = 0.0f, sum = 0.0f, o[HEAD_FLOATS] = {};
    for (unsigned begin = 0; begin < n_pages; begin += THREADS) {
        const unsigned n = min(+THREADS, n_pages - begin);
        if (lane < n)
            shared.m[lane] = stats[2 * (begin + lane)];
        __syncthreads();
        if (lane < n) {
            float before = most, after = most;
            for (unsigned i = 0; i <= lane; i++) {
                before = after;
                after = begin + i == 0 || shared.m[i] > before ? shared.m[i] : before;
            }
            shared.now[lane] = after;
            shared.a[lane] = exponential(before - after);
            shared.b[lane] = exponential(shared.m[lane] - after);
        }
        __syncthreads();
        for (unsigned i = 0; i < n; i++) {
            const bool is_first = begin + i == 0;
            const float s = stats[2 * (begin + i) + 1];
            sum = is_first ? s : sum * shared.a[i] + s * shared.b[i];
#pragma unroll
            for (unsigned l = 0; l < HEAD_FLOATS; l++) {
                const unsigned d = lane + l * THREADS;
                if (d < head_dim) {
                    const float x = parts[static_cast<size_t>(begin + i) * head_dim + d];
                    o[l] = is_first ? x : o[l] * shared.a[i] + x * shared.b[i];
                }
            }
        }
        most = shared.now[n - 1];
        __syncthreads();
    }
#pragma unroll
    for (unsigned l = 0; l < HEAD_FLOATS; l++)
        if (works && lane + l * THREADS < head_dim)
            out[lane + l * THREADS] = __fdiv_rn(o[l], sum);
}

} // namespace rsr

// A chain on rows: a block has one row.
extern "C" __global__ void __launch_bounds__(rsr::ROW_THREADS) rsr_rows(rsr::chain c) {
    rsr::follow_launches();
    __shared__ rsr::row_chain<rsr::ROW_THREADS>::memory shared;
    rsr::row_chain<rsr::ROW_THREADS>::run(shared, c, blockIdx.x);
}

// A block has one head, block token * (n_heads + n_kv_heads) + head: those of keys last, with which
// the values go.
RSR_KERNEL rsr_heads(rsr::heads a) {
    rsr::follow_launches();
    using work = rsr::head_work<rsr::THREADS>;
    __shared__ work::memory shared;
    const unsigned token = blockIdx.x / (a.n_heads + a.n_kv_heads);
    const unsigned number = blockIdx.x % (a.n_heads + a.n_kv_heads);
    work::run(shared, a, token, number);
    if (number >= a.n_heads)
        work::run(shared, a, token, number + a.n_kv_heads);
}

// Attends to single pages: a block has every n_splits-th page of one token and KV head, for all of
// its query heads (block (token * n_kv_heads + kv_head) * n_splits + split). The heads of a group
// read a page's keys together, four at a time. For the p-th page of a token's head the block writes
// its maximum and its sum to stats[2 * at], and head_dim weighted values to parts[at * head_dim],
// at = (token * n_heads + head) * max_pages + p. Places are those of rsr_attend.
// With counters (0 before and after, one for each token and KV head, and one more), the last block
// of these merges the pages of its heads into `out`, and the last of all does the chain, if that
// has columns, for all of n_tokens.
extern "C" __global__ void __launch_bounds__(rsr::SPLIT_TEAMS *rsr::THREADS)
    rsr_split(const float *q, size_t ldq, const char *pages, const unsigned *table,
              const unsigned *positions, size_t page_bytes, size_t head_bytes, size_t values_at,
              unsigned max_pages, unsigned row_bytes, unsigned row_floats, unsigned type,
              float *parts, float *stats, unsigned n_heads, unsigned group, unsigned head_dim,
              unsigned window, float scale, unsigned n_splits, float *out, size_t ldo,
              unsigned *counters, unsigned n_tokens, rsr::chain chain) {
    rsr::follow_launches();
    using row_chain = rsr::row_chain<rsr::SPLIT_TEAMS * rsr::THREADS>;
    __shared__ union {
        rsr::merge_memory merged[rsr::SPLIT_TEAMS];
        row_chain::memory chained;
    } tail;
    __shared__ bool last;
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
    if (counters == nullptr ||
        !rsr::is_last(last, counters + token * n_kv_heads + kv_head, n_splits))
        return;
    for (unsigned member = team; member - team < group; member += rsr::SPLIT_TEAMS) {
        const bool works = member < group;
        const unsigned head = kv_head * group + (works ? member : 0);
        const size_t at = (static_cast<size_t>(token) * n_heads + head) * max_pages;
        rsr::merge_pages(tail.merged[team], parts + at * head_dim, stats + 2 * at, keys.n_pages(),
                         head_dim, lane, works, out + token * ldo + head * head_dim);
    }
    if (chain.cols == 0 ||
        !rsr::is_last(last, counters + n_tokens * n_kv_heads, n_tokens * n_kv_heads))
        return;
    for (unsigned row = 0; row < n_tokens; row++)
        row_chain::run(tail.chained, chain, row);
}

// Merges what rsr_split wrote, in the order of the pages. A block has one head of one token: block
// token * n_heads + head.
RSR_KERNEL rsr_merge(const float *parts, const float *stats, const unsigned *positions,
                     unsigned max_pages, unsigned n_heads, unsigned head_dim, unsigned window,
                     float *out, size_t ldo) {
    rsr::follow_launches();
    __shared__ rsr::merge_memory shared;
    const unsigned token = blockIdx.x / n_heads, head = blockIdx.x % n_heads;
    const rsr::visible keys(positions[token], window);
    const size_t at = static_cast<size_t>(blockIdx.x) * max_pages;
    rsr::merge_pages(shared, parts + at * head_dim, stats + 2 * at, keys.n_pages(), head_dim,
                     threadIdx.x, true, out + token * ldo + head * head_dim);
}
