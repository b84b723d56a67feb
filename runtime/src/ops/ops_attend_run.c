/* ops_attend_run.c - the query heads of several tokens against one KV page. Order: ops.h.
 *
 * Each query takes a lane. Queries are transposed once for all pages of a run, and elements of keys
 * are broadcast. The scores of a key, later its weights, lie side by side. So partial sums, the
 * largest score, exp and the sum of the weights are operations between vectors, and none is
 * horizontal. Rows of other types than float32 are widened once for all heads, as many at a time as
 * stay in the first cache.
 *
 * A page that ends inside the run is scored for all tokens at once, too. The scores of keys that a
 * token does not see become -infinity, and its sums of values end before these keys. So it never
 * matters what such rows hold.
 */
#include <math.h>

#include "host/fetch_line.h"
#include "ops_functions.h"

#define LANES RSR_RUN_LANES
/* Vectors of queries, and products of a key with such a vector, that are summed at once. */
#define MOST_VECTORS 2u
#define TILE 8u
/* Partial sums computed at once: l and, with 32 registers, l + 8. */
#if RSR_NATIVE == 16 || defined(__aarch64__)
#define CHAINS 2u
#else
#define CHAINS 1u
#endif
/* Keys that are widened at once; a multiple of the keys of a tile. */
#define KEY_BLOCK 8u
/* Output elements whose values are widened at once. */
#define SLICE 64u
/* Heads, and vectors of 16 output elements, whose values are summed at once. */
#define VALUE_HEADS 4u
#define VALUE_VECTORS (RSR_NATIVE == 16 ? 4u : 1u)

/* Up to LANES heads, and what they see of the page. */
struct lanes {
    const struct rsr_attend_head *heads;
    const uint32_t *n_keys; /* of each head */
    uint32_t n_heads, row_floats;
    const float *q; /* [row_floats][LANES] */
    float *z;       /* [RSR_PAGE_TOKENS][LANES]: scores, then weights */
    float *wide;    /* rows in float32 */
    float max[LANES], sum[LANES];
    float old_factor[LANES], new_factor[LANES];
    bool merges[LANES];
};

RSR_INLINE rsr_vf load(const float *p) {
    rsr_vf x;
    memcpy(&x, p, sizeof(x));
    return x;
}

RSR_INLINE void store(float *p, rsr_vf x) {
    memcpy(p, &x, sizeof(x));
}

/* to[n_rows][n] = elements [d, d + n) of the rows, in float32. Rows of float32 are copied, too, so
 * that one code serves all types. */
RSR_INLINE void widen(float *to, const void *rows, enum rsr_kv_type type, uint32_t row_floats,
                      uint32_t n_rows, uint32_t d, uint32_t n) {
    const size_t row_bytes = rsr_kv_row_bytes(type, row_floats);
    const char *from = rows;
    for (uint32_t j = 0; j < n_rows; j++, from += row_bytes, to += n) {
        const float scale = rsr_row_scale(from, type, row_floats);
        for (uint32_t i = 0; i < n; i += 16)
            rsr_store16(to + i, rsr_load_row16(from, type, d + i, scale));
    }
}

/* ---- Scores ---- */

/* rsr_sum16() adds quads of partial sums: l, l + 8, l + 4, l + 12, in this order of l. */
static const uint32_t quads[4] = {0, 2, 1, 3};

/* CHAINS partial sums of the scores of n_keys keys with n_vectors vectors of queries; k and q begin
 * at the first element of the first sum. */
RSR_INLINE void sum_chains(rsr_vf (*sums)[TILE], const float *q, const float *k, size_t row_floats,
                           uint32_t n_vectors, uint32_t n_keys) {
    rsr_vf acc[CHAINS][TILE] = {{{0}}};
    for (const float *end = k + row_floats; k < end; k += 16, q += 16 * LANES) {
        for (uint32_t c = 0; c < CHAINS; c++) {
            rsr_vf queries[MOST_VECTORS];
            for (uint32_t v = 0; v < n_vectors; v++)
                queries[v] = load(q + 8 * c * LANES + v * RSR_NATIVE);
            for (uint32_t j = 0; j < n_keys; j++) {
                const rsr_vf key = rsr_splat(k[j * row_floats + 8 * c]);
                for (uint32_t v = 0; v < n_vectors; v++)
                    acc[c][j * n_vectors + v] =
                        rsr_fused(key, queries[v], acc[c][j * n_vectors + v]);
            }
        }
    }
    memcpy(sums, acc, sizeof(acc));
}

/* Adds partial sums l and l + 8. */
RSR_INLINE void sum_parts(rsr_vf *sum, const float *q, const float *k, size_t row_floats,
                          uint32_t n_vectors, uint32_t n_keys) {
    rsr_vf parts[2][TILE];
    for (uint32_t c = 0; c < 2; c += CHAINS)
        sum_chains(parts + c, q + (size_t)8 * c * LANES, k + 8 * c, row_floats, n_vectors, n_keys);
    for (uint32_t t = 0; t < TILE; t++)
        sum[t] = parts[0][t] + parts[1][t];
}

/* Scores of TILE / n_vectors keys, from key j on, with n_vectors vectors of queries, from `lane`
 * on. */
RSR_INLINE void score_tile(const struct lanes *b, const float *k, size_t row_floats, uint32_t j,
                           uint32_t lane, uint32_t n_vectors, float scale) {
    const uint32_t n_keys = TILE / n_vectors;
    rsr_vf quad[4][TILE];
    for (uint32_t i = 0; i < 4; i++) {
        const float *x = b->q + (size_t)quads[i] * LANES + lane;
        rsr_vf sum[2][TILE];
        sum_parts(sum[0], x, k + quads[i], row_floats, n_vectors, n_keys);
        sum_parts(sum[1], x + (size_t)4 * LANES, k + quads[i] + 4, row_floats, n_vectors, n_keys);
        for (uint32_t t = 0; t < TILE; t++)
            quad[i][t] = sum[0][t] + sum[1][t];
    }
    for (uint32_t t = 0; t < TILE; t++)
        store(b->z + (size_t)(j + t / n_vectors) * LANES + lane + t % n_vectors * RSR_NATIVE,
              ((quad[0][t] + quad[1][t]) + (quad[2][t] + quad[3][t])) * scale);
}

RSR_INLINE void score_lanes(const struct lanes *b, uint32_t j, uint32_t lane, uint32_t n_vectors,
                            float scale) {
    const size_t row_floats = b->row_floats;
    for (uint32_t i = 0; i < KEY_BLOCK; i += TILE / n_vectors)
        score_tile(b, b->wide + i * row_floats, row_floats, j + i, lane, n_vectors, scale);
}

/* Scores of KEY_BLOCK keys, from key j on, with all queries. */
static void score_block(const struct lanes *b, uint32_t j, float scale) {
    const uint32_t n_vectors = (b->n_heads + RSR_NATIVE - 1) / RSR_NATIVE;
    uint32_t v = 0;
    for (; v + MOST_VECTORS <= n_vectors; v += MOST_VECTORS)
        score_lanes(b, j, v * RSR_NATIVE, MOST_VECTORS, scale);
    if (v < n_vectors)
        score_lanes(b, j, v * RSR_NATIVE, 1, scale);
}

/* To the second cache, where they stay until their turn: widening alone reads rows in bursts, each
 * of which would wait for memory. */
RSR_INLINE void fetch(const void *rows, size_t from, size_t n_bytes) {
    for (size_t i = 0; rows != NULL && i < n_bytes; i += 64)
        rsr_fetch_line((const char *)rows + from + i, true);
}

RSR_INLINE void scores(const struct lanes *b, const struct rsr_attend_page *page,
                       enum rsr_kv_type type, float scale, bool fetches) {
    const size_t row_bytes = rsr_kv_row_bytes(type, b->row_floats);
    const size_t block_bytes = KEY_BLOCK * row_bytes;
    const char *rows = page->keys;
    for (uint32_t j = 0; j < page->n_keys; j += KEY_BLOCK, rows += block_bytes) {
        if (fetches) {
            fetch(page->values, j * row_bytes, block_bytes);
            fetch(page->next_keys, j * row_bytes, block_bytes);
        }
        widen(b->wide, rows, type, b->row_floats, KEY_BLOCK, 0, b->row_floats);
        score_block(b, j, scale);
    }
}

/* ---- Weights ---- */

/* Sets the scores after each head's last key to -infinity. */
static void mask_scores(const struct lanes *b) {
    uint32_t first = RSR_PAGE_TOKENS;
    for (uint32_t h = 0; h < b->n_heads; h++)
        first = b->n_keys[h] < first ? b->n_keys[h] : first;
    for (uint32_t j = first; j < RSR_PAGE_TOKENS; j++)
        for (uint32_t h = 0; h < b->n_heads; h++)
            if (j >= b->n_keys[h])
                b->z[j * LANES + h] = -INFINITY;
}

/* Partial sum l of the 16 of a vector's weights. */
RSR_INLINE rsr_vf sum_weights(const float *z, uint32_t l) {
    rsr_vf sum = {0};
    for (uint32_t j = l; j < RSR_PAGE_TOKENS; j += 16)
        sum = sum + load(z + (size_t)j * LANES);
    return sum;
}

/* Turns the scores of a vector of heads into weights. Stores the largest scores and the sums of
 * weights. */
static void weigh_lanes(struct lanes *b, uint32_t lane) {
    float *z = b->z + lane;
    rsr_vf max[4], quad[4];
    for (uint32_t i = 0; i < 4; i++)
        max[i] = load(z + (size_t)i * LANES);
    for (uint32_t j = 4; j < RSR_PAGE_TOKENS; j += 4)
        for (uint32_t i = 0; i < 4; i++)
            max[i] = rsr_larger(load(z + (size_t)(j + i) * LANES), max[i]);
    max[0] = rsr_larger(rsr_larger(max[0], max[1]), rsr_larger(max[2], max[3]));
    for (uint32_t j = 0; j < RSR_PAGE_TOKENS; j += 4)
        for (uint32_t i = 0; i < 4; i++) {
            float *at = z + (size_t)(j + i) * LANES;
            store(at, rsr_exp(load(at) - max[0]));
        }
    for (uint32_t i = 0; i < 4; i++) {
        const uint32_t l = quads[i];
        quad[i] = (sum_weights(z, l) + sum_weights(z, l + 8)) +
                  (sum_weights(z, l + 4) + sum_weights(z, l + 12));
    }
    store(b->max + lane, max[0]);
    store(b->sum + lane, (quad[0] + quad[1]) + (quad[2] + quad[3]));
}

/* Brings the states to their values after the page. */
static void weigh(struct lanes *b) {
    for (uint32_t h = 0; h < b->n_heads; h += RSR_NATIVE)
        weigh_lanes(b, h);
    for (uint32_t h = 0; h < b->n_heads; h++) {
        const struct rsr_attend_state *state = b->heads[h].state;
        b->merges[h] = state->sum != 0.0f;
        const float max = !b->merges[h] || b->max[h] > state->max ? b->max[h] : state->max;
        b->old_factor[h] = b->merges[h] ? state->max - max : 0.0f;
        b->new_factor[h] = b->max[h] - max;
    }
    for (uint32_t h = 0; h < b->n_heads; h += RSR_NATIVE) {
        store(b->old_factor + h, rsr_exp(load(b->old_factor + h)));
        store(b->new_factor + h, rsr_exp(load(b->new_factor + h)));
    }
    for (uint32_t h = 0; h < b->n_heads; h++) {
        struct rsr_attend_state *state = b->heads[h].state;
        if (b->n_keys[h] == 0)
            continue;
        if (!b->merges[h]) {
            *state = (struct rsr_attend_state){b->max[h], b->sum[h]};
            continue;
        }
        state->max = b->max[h] > state->max ? b->max[h] : state->max;
        state->sum = state->sum * b->old_factor[h] + b->sum[h] * b->new_factor[h];
    }
}

/* ---- Values ---- */

/* Computes 16 n_vectors output elements, from d on, of n_heads heads that see equally many keys. */
RSR_INLINE void add_values(const struct lanes *b, const float *v, size_t stride, uint32_t first,
                           uint32_t n_heads, uint32_t d, uint32_t n_vectors) {
    const uint32_t n_keys = b->n_keys[first];
    const float *p = b->z + first;
    struct rsr_f16 acc[VALUE_HEADS][VALUE_VECTORS];
    for (uint32_t h = 0; h < n_heads; h++)
        for (uint32_t i = 0; i < n_vectors; i++)
            acc[h][i] = rsr_zero16();
    for (uint32_t j = 0; j < n_keys; j++, v += stride, p += LANES) {
        struct rsr_f16 value[VALUE_VECTORS];
        for (uint32_t i = 0; i < n_vectors; i++)
            value[i] = rsr_load16(v + (size_t)16 * i);
        for (uint32_t h = 0; h < n_heads; h++)
            for (uint32_t i = 0; i < n_vectors; i++)
                acc[h][i] = rsr_add_scaled(acc[h][i], p[h], value[i]);
    }
    for (uint32_t h = 0; h < n_heads; h++)
        for (uint32_t i = 0; i < n_vectors; i++) {
            float *out = b->heads[first + h].out + d + (size_t)16 * i;
            if (b->merges[first + h]) {
                const struct rsr_f16 old = rsr_load16(out);
                RSR_EACH_PART(k)
                acc[h][i].part[k] = old.part[k] * b->old_factor[first + h] +
                                    acc[h][i].part[k] * b->new_factor[first + h];
            }
            rsr_store16(out, acc[h][i]);
        }
}

/* Counts the heads from `first` on that see as many keys as `first`, up to VALUE_HEADS. */
static uint32_t count_alike(const struct lanes *b, uint32_t first) {
    uint32_t n = 1;
    while (n < VALUE_HEADS && first + n < b->n_heads && b->n_keys[first + n] == b->n_keys[first])
        n++;
    return n;
}

RSR_INLINE void add_vectors(const struct lanes *b, const float *v, size_t stride, uint32_t d,
                            uint32_t n_vectors) {
    for (uint32_t h = 0, n; h < b->n_heads; h += n) {
        n = count_alike(b, h);
        if (b->n_keys[h] == 0)
            continue;
        if (n == VALUE_HEADS)
            add_values(b, v, stride, h, VALUE_HEADS, d, n_vectors);
        else
            add_values(b, v, stride, h, n = 1, d, n_vectors);
    }
}

/* Computes the n output elements from d on, whose values are widened. */
static void add_slice(const struct lanes *b, uint32_t d, uint32_t n) {
    uint32_t i = 0;
    for (; i + 16 * VALUE_VECTORS <= n; i += 16 * VALUE_VECTORS)
        add_vectors(b, b->wide + i, n, d + i, VALUE_VECTORS);
    for (; i < n; i += 16)
        add_vectors(b, b->wide + i, n, d + i, 1);
}

RSR_INLINE void values(const struct lanes *b, const struct rsr_attend_page *page,
                       enum rsr_kv_type type) {
    for (uint32_t d = 0; d < b->row_floats; d += SLICE) {
        const uint32_t n = b->row_floats - d < SLICE ? b->row_floats - d : SLICE;
        widen(b->wide, page->values, type, b->row_floats, page->n_keys, d, n);
        add_slice(b, d, n);
    }
}

/* ---- */

RSR_INLINE void attend_run(const struct rsr_attend_run *run, const struct rsr_attend_page *page,
                           enum rsr_kv_type type, float scale) {
    struct lanes b = {.row_floats = page->row_floats,
                      .z = run->scratch,
                      .wide = run->scratch + RSR_PAGE_TOKENS * LANES};
    for (uint32_t h = 0; h < run->n_heads; h += LANES) {
        b.heads = run->heads + h;
        b.n_keys = run->n_keys + h;
        b.n_heads = run->n_heads - h < LANES ? run->n_heads - h : LANES;
        b.q = run->q + (size_t)h * page->row_floats;
        scores(&b, page, type, scale, h == 0);
        mask_scores(&b);
        weigh(&b);
        values(&b, page, type);
    }
}

#define DEFINE_ATTEND_RUN(name, type)                                                              \
    void RSR_OPS(attend_run_##name)(const struct rsr_attend_run *run,                              \
                                    const struct rsr_attend_page *page, float scale) {             \
        attend_run(run, page, type, scale);                                                        \
    }
RSR_EACH_KV_TYPE(DEFINE_ATTEND_RUN)
