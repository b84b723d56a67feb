/* ops.h - every float operation of the runtime, in ONE order.
 *
 * The files of this folder are compiled once for each instruction-set level (RSR_OPS_LEVEL);
 * rsr_ops_get() returns the table of a level. All levels, compilers and hosts give the same bits,
 * because every operation below is a fixed sequence of IEEE float32 operations. Nothing is
 * reassociated, rounding is to nearest even, and a multiply-add is fused (rounded once) exactly
 * where it is written as fma(a, b, c) = a b + c. Order version 2; version 1 fused nothing and
 * summed squares in 16 parts.
 *
 *   dot(a, b, n)   16 partial sums: part[l] = fma(a[l+16], b[l+16], fma(a[l], b[l], +0)) and so on,
 *                  where a tail of fewer than 16 elements is filled up with zeros; then
 *                  sum16(part).
 *   sum16(p)       h[l] = p[l] + p[l+8] (l < 8); q[l] = h[l] + h[l+4] (l < 4);
 *                  (q[0] + q[2]) + (q[1] + q[3]).
 *   exp            ops_vector.h, its polynomial fused: at most 2 ulp, exp(-inf) = 0, exp(0) = 1,
 *                  NaN stays NaN.
 *   norm           squares: 64 partial sums p like those of dot, by i mod 64; then sum16 of
 *                  (p[l] + p[l+32]) + (p[l+16] + p[l+48]) (l < 16). v = squares / n; r = 1 / sqrt(v
 *                  + eps); y[i] = weight[i] * (x[i] * r).
 *   quantize       s = (1 / max(max |x|, 1e-5)) * 127, which is how torch evaluates 127 / x;
 *                  q[i] = clamp(rint(x[i] * s), -128, 127), ties to even; scale = 1 / s; sum = the
 *                  exact sum of q.
 *   act_mul        relu2: r = max(g, 0); (r * r) * u.  silu: (g * (1 / (1 + exp(-g)))) * u.
 *                  gelu_tanh: t = (sqrt(8 / pi) * (g + (0.044715 * g) * (g * g)));
 *                  (g * (1 / (1 + exp(-t)))) * u, which is 0.5 g (1 + tanh(t / 2)) u. Not fused.
 *   scale          x[i] * factor.
 *   rope_table     angle = inv_freq[i] * (float)position in float32; cos and sin of that float32,
 *                  in double, rounded once; then times scale.
 *   rope           y1 = x1 cos - x2 sin, y2 = x2 cos + x1 sin; x1, x2 the halves of the head. Not
 *                  fused.
 *   rotate         x[i] = (x[i] * signs[i]) * f (without signs: x[i] * f), f = 1 / sqrt(block);
 *                  then, for d = 1, 2, 4 ... < block, every pair x[i], x[i + d] of the block with i
 *                  & d = 0 becomes x[i] + x[i + d], x[i] - x[i + d]. The inverse begins without
 *                  signs and ends with x[i] * signs[i]. Not fused. This is the order of PrismML's
 *                  fork of llama.cpp.
 *   attention      key j of a page of 64 keys: z[j] = dot(q, k[j]) * attention_scale;
 *                  m = max z; p[j] = exp(z[j] - m); s = sum16 of the 16 partial sums of p by j mod
 *                  16, ascending; o[d] = fma(p[1], v[1][d], fma(p[0], v[0][d], +0)) and so on,
 *                  ascending. Pages merge in ascending order, (M, S, O) being what came before; not
 *                  fused:
 *                      M' = max(M, m); a = exp(M - M'); b = exp(m - M');
 *                      S' = S a + s b;  O'[d] = O[d] a + o[d] b
 *                  (the first page is taken as it is). The result is O[d] / S. Where a token sees a
 *                  window of keys only, its first page begins with the first of them (j = 0).
 *   gate           x * (1 / (1 + exp(-g))).
 *   convolve       fma(tap[3], x[t], fma(tap[2], x[t-1], fma(tap[1], x[t-2], fma(tap[0], x[t-3],
 *                  +0)))), then silu: c * (1 / (1 + exp(-c))). Rows before the first token are 0.
 *   unit           squares as in norm; r = 1 / sqrt(squares + 1e-6); y[i] = (x[i] * r) * scale.
 *   delta_gates    decay = exp(-(rate * softplus(a + shift))), beta = 1 / (1 + exp(-b)).
 *                  softplus(x) = x where x > 20; else, e = exp(x): e where e < 2^-26, otherwise
 *                  ln(1 + e) in double (ops_delta.c), rounded once.
 *   delta          token by token, for every column j: m = fma(k[1], S[1][j], fma(k[0], S[0][j],
 *                  +0)) and so on, ascending; d = (v[j] - decay * m) * beta; S'[i][j] =
 *                  fma(k[i], d, S[i][j] * decay); o[j] = fma(q[1], S'[1][j], fma(q[0], S'[0][j],
 *                  +0)) and so on. Only what is written as fma is fused. The next token's S is S',
 *                  which a bfloat16 state rounds to nearest, ties to even, after o has read it.
 *   head           logit of row r = dot(row r, hidden); rows widened to float32 exactly.
 *
 * A result never depends on the other tokens of a batch, on the worker or on the level.
 */
#ifndef RSR_OPS_H
#define RSR_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rsr_abi.h"

/* A build of the files of this folder. GENERIC needs only the architecture's baseline. */
enum rsr_ops_level { RSR_OPS_GENERIC, RSR_OPS_AVX2, RSR_OPS_AVX512, RSR_OPS_LEVEL_COUNT };

/* Keys of one KV page; part of the float order above. */
#define RSR_PAGE_TOKENS 64u

/* How a row of a key or value is stored. The stored row IS the key: every type widens to float32
 * without rounding, and the operations above refer to the widened numbers.
 *
 *   F32    as it is.
 *   BF16   rounded to nearest, ties to even. A finite number beyond the largest becomes the
 *          largest; -0,
 *   F16    denormals, infinities and NaN stay what they are.
 *   INT8   x[i] = q[i] * scale, with one scale a row: q of -127 .. 127, scale of 16 significant
 *          bits at most, so that the product is exact, about max |x| / 127. A row that holds a NaN
 *          or infinity is all NaN.
 */
enum rsr_kv_type { RSR_KV_F32, RSR_KV_BF16, RSR_KV_F16, RSR_KV_INT8 };
#define RSR_KV_TYPES 4u

/* Bytes of one element. */
static inline uint32_t rsr_kv_element_bytes(enum rsr_kv_type type) {
    return type == RSR_KV_F32 ? 4 : type == RSR_KV_INT8 ? 1 : 2;
}

/* A row is row_floats elements; with INT8 their scale, a float32, follows. */
static inline uint32_t rsr_kv_row_bytes(enum rsr_kv_type type, uint32_t row_floats) {
    return row_floats * rsr_kv_element_bytes(type) + (type == RSR_KV_INT8 ? 4 : 0);
}

/* Intermediate state of attention over some pages, for one query head. */
struct rsr_attend_state {
    float max;
    float sum; /* 0: no page yet; else at least 1, or NaN */
};

/* One query head, at one token. */
struct rsr_attend_head {
    const float *q; /* [row_floats] */
    float *out;     /* [row_floats]: attention so far, not yet divided by the sum */
    struct rsr_attend_state *state;
};

/* Rows of one page and KV head. row_floats is a multiple of 16; elements from head_dim on are zero,
 * here as in the query. Up to three rows after the last key are read. */
struct rsr_attend_page {
    const void *keys, *values; /* n_keys stored rows */
    const void *next_keys;     /* used next, so they may be prefetched; NULL: unknown */
    uint32_t row_floats, n_keys;
    bool far; /* prefetch only to the L2 cache: rsr_detect_far_fetches() */
};

/* Queries of a run are transposed, this many together. */
#define RSR_RUN_LANES 32u

/* Query heads of several tokens. Queries are zero in lanes from n_heads on. */
struct rsr_attend_run {
    const struct rsr_attend_head *heads; /* [n_heads]; their q is not read */
    uint32_t n_heads;
    const float *q;         /* [n_heads / RSR_RUN_LANES, rounded up][row_floats][RSR_RUN_LANES] */
    const uint32_t *n_keys; /* [n_heads]: how many of the page's first keys each sees */
    float *scratch;         /* [rsr_run_scratch_floats()]; fastest where 64 divides the address */
};

/* Scores; elements of values and keys in float32. */
static inline size_t rsr_run_scratch_floats(uint32_t row_floats) {
    return (size_t)RSR_PAGE_TOKENS * (RSR_RUN_LANES + 64) + (size_t)8 * row_floats;
}

/* Products of float32 in float64, where each is exact: 16 partial sums, ascending, then sum16. */
struct rsr_exact_dot {
    double sum, size; /* of a[d] b[d], and of |a[d] b[d]| */
};

/* Operations on stored rows of one type. */
struct rsr_kv_ops {
    /* Stores x as the first n elements of the row, and the row's scale. */
    void (*store)(void *row, uint32_t row_floats, const float *x, uint32_t n);
    /* x[row_floats] = the row */
    void (*load)(float *x, const void *row, uint32_t row_floats);
    /* y[j] = dot(row j, x, row_floats) for the rows j whose bits are in the mask */
    void (*dots)(float *y, const void *rows, uint32_t row_floats, uint64_t mask, const float *x);
    /* The largest dot(row j, row j, row_floats) of the first n rows; infinite if one of them is
     * infinite or NaN */
    float (*largest_square)(const void *rows, uint32_t row_floats, uint32_t n);
    /* row . x, row_floats of both */
    struct rsr_exact_dot (*exact)(const void *row, uint32_t row_floats, const float *x);
    /* out[d] = fma(p[j], v[j][d], fma(p[i], v[i][d], +0)) ... over the rows i < j < ... whose bits
     * are in the mask */
    void (*add)(float *out, const void *rows, uint32_t row_floats, const float *p, uint64_t mask);
    /* All heads attend to all keys of the page; the result is merged into their states and outputs.
     * A head's result does not depend on the other heads. */
    void (*attend_page)(const struct rsr_attend_head *heads, uint32_t n_heads,
                        const struct rsr_attend_page *page, float scale);
    /* attend_page() of heads of which each sees keys of its own number; other keys may hold
     * anything. A head that sees none keeps what it has. */
    void (*attend_run)(const struct rsr_attend_run *run, const struct rsr_attend_page *page,
                       float scale);
    uint32_t least_lanes; /* heads from which attend_run() takes less time; UINT32_MAX: never */
};

/* Columns of a state, and rows of values, are filled up with zeros to a multiple of this. */
#define RSR_DELTA_PAD 16u
#define RSR_UNIT_EPS 1e-6f

/* How a recurrent state stores its numbers. */
enum rsr_state_type { RSR_STATE_F32, RSR_STATE_BF16 };
#define RSR_STATE_TYPES 2u

static inline uint32_t rsr_state_element_bytes(enum rsr_state_type type) {
    return type == RSR_STATE_F32 ? 4 : 2;
}

/* Consecutive tokens of one value head of a gated delta rule. */
struct rsr_delta_tokens {
    uint32_t n;
    uint32_t key_dim;
    uint32_t value_cols;       /* a multiple of RSR_DELTA_PAD */
    const float *q, *k;        /* [n][key_dim] */
    const float *v;            /* [n][value_cols] */
    float *out;                /* [n][value_cols] */
    const float *decay, *beta; /* [n] */
};

struct rsr_ops {
    const char *name;
    /* dst[cols] = row `row` of the matrix */
    void (*embed)(float *dst, const struct rsr_matrix_data *matrix, uint32_t row);
    /* x[n] *= factor */
    void (*scale)(float *x, float factor, uint32_t n);
    /* dst[0 .. head_dim/2) = cos, dst[head_dim/2 .. head_dim) = sin */
    void (*rope_table)(float *dst, const struct rsr_rope *rope, uint32_t head_dim,
                       uint32_t position);
    /* dst may be src */
    void (*rope)(float *dst, const float *src, const float *table, uint32_t head_dim);
    void (*add)(float *dst, const float *src, uint32_t n);
    /* dst[cols] = the rotation of src, or its inverse; dst may be src */
    void (*rotate)(float *dst, const float *src, const struct rsr_rotation *rotation, bool inverse);
    /* norm and quantize return false if x has a NaN or infinity (norm: also if a square is
     * infinite). dst is then meaningless, but safe to compute with. norm: dst may be src. */
    bool (*norm)(float *dst, const float *src, const float *weight, float eps, uint32_t n);
    /* dst is followed by n int8 values, which are zero-padded to a multiple of RSR_ACT_PAD */
    bool (*quantize)(struct rsr_act_row *dst, const float *src, uint32_t n);
    void (*act_mul)(float *dst, const float *gate, const float *up, uint32_t n,
                    enum rsr_activation activation);
    /* y[row_begin .. row_end) = rows . x */
    void (*head)(float *y, const struct rsr_matrix_data *matrix, uint32_t row_begin,
                 uint32_t row_end, const float *x);
    /* y[i] = row rows[i] . x for i < n, four rows at once */
    void (*head_some)(float *y, const struct rsr_matrix_data *matrix, const uint32_t *rows,
                      uint32_t n, const float *x);
    const struct rsr_kv_ops *kv; /* [RSR_KV_TYPES] */
    /* The largest of a page's 64 numbers; a NaN may be ignored. */
    float (*largest_score)(const float *z);
    /* Merges the states and outputs of one page into those of heads that have seen some pages. The
     * page is the next one after these. */
    void (*attend_merge)(const struct rsr_attend_head *heads, const struct rsr_attend_head *pages,
                         uint32_t n_heads, uint32_t row_floats);
    /* dst[n] = out[n] / state.sum */
    void (*attend_finish)(float *dst, const float *out, const struct rsr_attend_state *state,
                          uint32_t n);
    /* y[i] = exp(x[i]); fastest where n is a multiple of 16 */
    void (*exp)(float *y, const float *x, uint32_t n);
    /* dst[n] = x[n] times the sigmoid of gate[n]; dst may be x */
    void (*gate)(float *dst, const float *x, const float *gate, uint32_t n);
    /* The causal convolution and its activation: rows[RSR_DELTA_TAPS] are the tokens' rows, oldest
     * first; the taps of one row are tap_floats apart. */
    void (*convolve)(float *dst, const float *const *rows, const float *taps, size_t tap_floats,
                     uint32_t n);
    /* dst[n] = x over its Euclidean length, times scale; dst may be src */
    void (*unit)(float *dst, const float *src, float scale, uint32_t n);
    void (*delta_gates)(float *decay, float *beta, float a, float b, float rate, float shift);
    /* Reads the state [key_dim][value_cols] at `from`, of the type, and leaves the one after the
     * tokens at `to`, which may be `from`. A number that is not finite, in either state, makes an
     * output of its token or of the next one not finite. */
    void (*delta[RSR_STATE_TYPES])(void *to, const void *from,
                                   const struct rsr_delta_tokens *tokens);
};

/* The table of a level; NULL if this build of the runtime has none. */
const struct rsr_ops *rsr_ops_get(enum rsr_ops_level level);
/* CPU features that the level's code needs. */
uint64_t rsr_ops_features(enum rsr_ops_level level);
/* The table of the highest level that this build has and these features allow. */
const struct rsr_ops *rsr_ops_best(uint64_t cpu_features);

#endif
