/* ops_attend.c - query heads against one KV page, and merging pages. Order: ops.h.
 *
 * Four heads share each row, which is widened once, in registers. More heads read the page again,
 * from the first or second cache. The weights of a key lie side by side, one for each head, so that
 * the largest score, exp and the sum of the weights are operations between vectors. Rows are read
 * in the order of memory (keys, values, the next page's keys) and are prefetched some rows before
 * their turn. One code serves rows of all types: `type` is a constant wherever it is passed on.
 */
#include <math.h>

#include "host/fetch_line.h"
#include "ops_functions.h"

/* Heads that share rows. */
#define HEADS 4u
/* The CPU has no fused multiply-add. Its replacement is long, so that the code must stay short. */
#if defined(__x86_64__) && RSR_NATIVE == 4
#define IS_SLOW true
#else
#define IS_SLOW false
#endif
/* Keys that are scored at once: their sums, one part of 16 lanes for each head, fill registers. */
#define KEYS (IS_SLOW ? 1u : RSR_NATIVE == 8 ? 2u : 4u)
/* Keys whose scores lie side by side in a vector. */
#define VECTOR_KEYS (RSR_NATIVE / HEADS)
/* Rows of values that are added before the next rows are read. */
#define ROWS 16u
/* Vectors of 16 output elements whose sums are in registers. */
#define VALUE_VECTORS (RSR_NATIVE == 16 ? 4u : 1u)
/* Output elements of a head whose sums stay in the first cache. */
#define WIDTH 128u

/* Up to HEADS heads, and what they see of the page. */
struct chunk {
    const struct rsr_attend_page *page;
    /* scores, then weights; a NaN of either stays in the sums */
    _Alignas(64) float z[RSR_PAGE_TOKENS][HEADS];
    const struct rsr_attend_head *heads;
    struct rsr_page_merge merges[HEADS];
};

/* The row to prefetch while row j of `rows` is read: a later row of `rows`, or one of `then` after
 * the last. Rows of 128 elements are prefetched 4 KiB ahead to the first cache, 8 KiB to the
 * second, where 16 KiB are no better. */
RSR_INLINE const char *ahead_of(const struct chunk *c, enum rsr_kv_type type, bool far,
                                const void *rows, const void *then, uint32_t j) {
    const size_t row_bytes = rsr_kv_row_bytes(type, c->page->row_floats);
    const uint32_t n_keys = c->page->n_keys;
    const uint32_t to = j + (far ? 64 : 32) / rsr_kv_element_bytes(type);
    return to < n_keys ? (const char *)rows + to * row_bytes
                       : (const char *)then + (to - n_keys) * row_bytes;
}

RSR_INLINE rsr_vf load(const float *p) {
    rsr_vf x;
    memcpy(&x, p, sizeof(x));
    return x;
}

/* Computes one part of the 16 partial sums of KEYS keys, which begin at k. */
RSR_INLINE void score_part(struct rsr_f16 (*sums)[KEYS], const struct chunk *c,
                           enum rsr_kv_type type, bool far, uint32_t row_floats, uint32_t n_heads,
                           const char *k, const char *ahead, int part) {
    const uint32_t step_bytes = KEYS * 16 * rsr_kv_element_bytes(type);
    const size_t row_bytes = rsr_kv_row_bytes(type, row_floats);
    const float *q[HEADS];
    float scales[KEYS];
    rsr_vf acc[HEADS][KEYS];
    for (uint32_t h = 0; h < HEADS; h++) {
        q[h] = c->heads[h < n_heads ? h : 0].q + part * RSR_NATIVE;
        for (uint32_t i = 0; i < KEYS; i++)
            acc[h][i] = (rsr_vf){0};
    }
    for (uint32_t i = 0; i < KEYS; i++)
        scales[i] = rsr_row_scale(k + i * row_bytes, type, row_floats);
    for (uint32_t d = 0; d < row_floats; d += 16) {
        rsr_vf key[KEYS];
        for (uint32_t i = 0; i < KEYS; i++)
            key[i] = rsr_load_row16(k + i * row_bytes, type, d, scales[i]).part[part];
        for (uint32_t i = 0; part == 0 && i < step_bytes; i += 64)
            rsr_fetch_line(ahead + (size_t)d / 16 * step_bytes + i, far);
        for (uint32_t h = 0; h < n_heads; h++) {
            rsr_vf x = load(q[h] + d);
            RSR_KEEP(x);
            for (uint32_t i = 0; i < KEYS; i++)
                acc[h][i] = rsr_fused(key[i], x, acc[h][i]);
        }
    }
    if (type == RSR_KV_INT8) /* the scales fill a part of one more line */
        rsr_fetch_line(ahead + KEYS * row_bytes - 1, far);
    for (uint32_t h = 0; h < HEADS; h++)
        for (uint32_t i = 0; i < KEYS; i++) {
            sums[h][i].part[part] = acc[h][i];
            if (RSR_PARTS > 1) /* the next part needs the registers */
                RSR_TO_MEMORY(sums[h][i].part[part]);
        }
}

/* Computes the scores of KEYS keys, from key j on. */
RSR_INLINE void score_keys(struct chunk *c, enum rsr_kv_type type, bool far, uint32_t row_floats,
                           uint32_t n_heads, uint32_t j, float scale) {
    const char *k = (const char *)c->page->keys + (size_t)j * rsr_kv_row_bytes(type, row_floats);
    const char *ahead = ahead_of(c, type, far, c->page->keys, c->page->values, j);
    struct rsr_f16 sums[HEADS][KEYS];
    score_part(sums, c, type, far, row_floats, n_heads, k, ahead, 0);
#if RSR_NATIVE < 16
    score_part(sums, c, type, far, row_floats, n_heads, k, ahead, 1);
#endif
#if RSR_NATIVE < 8
    score_part(sums, c, type, far, row_floats, n_heads, k, ahead, 2);
    score_part(sums, c, type, far, row_floats, n_heads, k, ahead, 3);
#endif
    for (uint32_t i = 0; i < KEYS; i += VECTOR_KEYS) {
        const struct rsr_f16 *const by_head[HEADS] = {sums[0] + i, sums[1] + i, sums[2] + i,
                                                      sums[3] + i};
        const rsr_vf z = rsr_sum16_by_key(by_head) * scale;
        memcpy(c->z[j + i], &z, sizeof(z));
    }
}

/* Computes the scores of a page; they are -infinity after its last key. Rows up to the next
 * multiple of KEYS are read (they are inside the page) and dropped. */
RSR_INLINE void page_scores(struct chunk *c, enum rsr_kv_type type, bool far, uint32_t row_floats,
                            uint32_t n_heads, float scale) {
    const uint32_t n_keys = c->page->n_keys;
    for (uint32_t j = 0; j < n_keys; j += KEYS)
        score_keys(c, type, far, row_floats, n_heads, j, scale);
    for (uint32_t j = n_keys; j < RSR_PAGE_TOKENS; j++)
        for (uint32_t h = 0; h < HEADS; h++)
            c->z[j][h] = -INFINITY;
}

/* The largest of the scores. It may miss a NaN, because a NaN stays in the sum. */
float RSR_OPS(largest_score)(const float *z) {
    struct rsr_f16 largest = rsr_load16(z);
    for (uint32_t j = 16; j < RSR_PAGE_TOKENS; j += 16) {
        struct rsr_f16 x = rsr_load16(z + j);
        RSR_EACH_PART(i)
        largest.part[i] = rsr_larger(x.part[i], largest.part[i]);
    }
    return rsr_max16(largest);
}

/* Turns scores into weights and brings the states to their values after the page. It prefetches
 * values, too, so that memory is not idle: the rows after those that the scores prefetched. */
RSR_INLINE void weigh_page(struct chunk *c, enum rsr_kv_type type, bool far, uint32_t n_heads) {
    enum { N = RSR_PAGE_TOKENS / VECTOR_KEYS, N_PARTS = 16 / VECTOR_KEYS };
    const char *ahead = ahead_of(c, type, far, c->page->values, c->page->values, 0);
    float *z = c->z[0];
    rsr_vf max[4], sum[N_PARTS] = {{0}};
    for (uint32_t i = 0; i < 4; i++)
        max[i] = load(z + (size_t)i * RSR_NATIVE);
    for (uint32_t i = 4; i < N; i++)
        max[i % 4] = rsr_larger(load(z + (size_t)i * RSR_NATIVE), max[i % 4]);
    const rsr_vf largest =
        rsr_max_by_head(rsr_larger(rsr_larger(max[0], max[1]), rsr_larger(max[2], max[3])));
    for (uint32_t i = 0; i < N; i++) {
        for (uint32_t at = 0; at < 4096 / N; at += 64)
            rsr_fetch_line(ahead + (size_t)i * (4096 / N) + at, far);
        const rsr_vf p = rsr_exp(load(z + (size_t)i * RSR_NATIVE) - largest);
        memcpy(z + (size_t)i * RSR_NATIVE, &p, sizeof(p));
        sum[i % N_PARTS] = sum[i % N_PARTS] + p;
    }
    for (uint32_t n = N_PARTS / 2; n > 0; n /= 2)
        for (uint32_t i = 0; i < n; i++)
            sum[i] = sum[i] + sum[i + n];
    const rsr_v4f sums = rsr_sum_by_head(sum[0]);
    struct rsr_attend_state states[HEADS];
    for (uint32_t h = 0; h < HEADS; h++)
        states[h] = (struct rsr_attend_state){largest[h], sums[h]};
    RSR_OPS(merge_states)(c->heads, n_heads, states, c->merges);
}

/* Adds n_rows rows of values, from row j on, to the sums of 16 n_vectors output elements, from d
 * on. All calls for these rows together prefetch as many rows, in the order of memory: the CPU's
 * own prefetcher then looks further ahead. */
RSR_INLINE void add_rows(const struct chunk *c, float (*sums)[WIDTH], enum rsr_kv_type type,
                         bool far, uint32_t n_heads, uint32_t j, uint32_t n_rows, uint32_t d,
                         uint32_t n_vectors) {
    const uint32_t row_floats = c->page->row_floats, element_bytes = rsr_kv_element_bytes(type);
    const size_t row_bytes = rsr_kv_row_bytes(type, row_floats);
    const char *v = (const char *)c->page->values + j * row_bytes;
    const void *then = c->page->next_keys != NULL ? c->page->next_keys : c->page->values;
    const char *ahead = ahead_of(c, type, far, c->page->values, then, j);
    const uint32_t slice_bytes = 16 * n_vectors * element_bytes;
    const uint32_t fetched_bytes = d * element_bytes % 64 != 0 ? 0 : (slice_bytes + 63) / 64 * 64;
    if (type == RSR_KV_INT8 && d == 0) /* the scales fill a part of one more line */
        rsr_fetch_line(ahead + n_rows * row_bytes - 1, far);
    ahead += (size_t)d * element_bytes * n_rows;
    struct rsr_f16 acc[HEADS][VALUE_VECTORS];
    for (uint32_t h = 0; h < n_heads; h++)
        for (uint32_t i = 0; i < n_vectors; i++)
            acc[h][i] = j == 0 ? rsr_zero16() : rsr_load16(sums[h] + d % WIDTH + (size_t)16 * i);
    for (const float *z = c->z[j], *z_end = z + (size_t)n_rows * HEADS; z < z_end; z += HEADS) {
        const float scale = rsr_row_scale(v, type, row_floats);
        for (uint32_t i = 0; i < fetched_bytes; i += 64)
            rsr_fetch_line(ahead + i, far);
        for (uint32_t i = 0; i < n_vectors; i++) {
            const struct rsr_f16 value = rsr_load_row16(v, type, d + 16 * i, scale);
            for (uint32_t h = 0; h < n_heads; h++)
                acc[h][i] = rsr_add_scaled(acc[h][i], z[h], value);
        }
        ahead += fetched_bytes;
        v += row_bytes;
    }
    for (uint32_t h = 0; h < n_heads; h++)
        for (uint32_t i = 0; i < n_vectors; i++)
            rsr_store16(sums[h] + d % WIDTH + (size_t)16 * i, acc[h][i]);
}

/* Computes the output elements [begin, end), WIDTH at most. */
RSR_INLINE void add_values(const struct chunk *c, enum rsr_kv_type type, bool far, uint32_t n_heads,
                           uint32_t begin, uint32_t end) {
    _Alignas(64) float sums[HEADS][WIDTH];
    for (uint32_t j = 0; j < c->page->n_keys; j += ROWS) {
        const uint32_t left = c->page->n_keys - j, n = left < ROWS ? left : ROWS;
        uint32_t d = begin;
        for (; d + 16 * VALUE_VECTORS <= end; d += 16 * VALUE_VECTORS)
            add_rows(c, sums, type, far, n_heads, j, n, d, VALUE_VECTORS);
        for (; d < end; d += 16)
            add_rows(c, sums, type, far, n_heads, j, n, d, 1);
    }
    for (uint32_t h = 0; h < n_heads; h++)
        RSR_OPS(merge_outputs)(c->heads[h].out + begin, sums[h], &c->merges[h], end - begin);
}

/* n_heads is 1 or HEADS. */
RSR_INLINE void attend_heads(const struct rsr_attend_head *heads, uint32_t n_heads,
                             const struct rsr_attend_page *page, enum rsr_kv_type type, bool far,
                             float scale) {
    const uint32_t row_floats = page->row_floats;
    struct chunk c;
    c.page = page;
    c.heads = heads;
    if (RSR_NATIVE == 16 && row_floats == WIDTH) /* the constant takes 3 % off all attention */
        page_scores(&c, type, far, WIDTH, n_heads, scale);
    else
        page_scores(&c, type, far, row_floats, n_heads, scale);
    weigh_page(&c, type, far, n_heads);
    for (uint32_t d = 0; d < row_floats; d += WIDTH)
        add_values(&c, type, far, n_heads, d, row_floats - d < WIDTH ? row_floats : d + WIDTH);
}

RSR_INLINE void attend_page(const struct rsr_attend_head *heads, uint32_t n_heads,
                            const struct rsr_attend_page *page, enum rsr_kv_type type, bool far,
                            float scale) {
    uint32_t h = 0;
    for (; !IS_SLOW && h + HEADS <= n_heads; h += HEADS)
        attend_heads(heads + h, HEADS, page, type, far, scale);
    for (; h < n_heads; h++)
        attend_heads(heads + h, 1, page, type, far, scale);
}

#define DEFINE_ATTEND_PAGE(name, type)                                                             \
    void RSR_OPS(attend_page_##name)(const struct rsr_attend_head *heads, uint32_t n_heads,        \
                                     const struct rsr_attend_page *page, float scale) {            \
        if (page->far && !IS_SLOW)                                                                 \
            attend_page(heads, n_heads, page, type, true, scale);                                  \
        else                                                                                       \
            attend_page(heads, n_heads, page, type, false, scale);                                 \
    }
RSR_EACH_KV_TYPE(DEFINE_ATTEND_PAGE)

void RSR_OPS(attend_finish)(float *dst, const float *out, const struct rsr_attend_state *state,
                            uint32_t n) {
    for (uint32_t d = 0; d < n; d++)
        dst[d] = out[d] / state->sum;
}
