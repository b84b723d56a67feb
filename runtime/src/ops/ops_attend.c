/* ops_attend.c - one query head against one KV page, and merging pages. Order: ops.h. */
#include <math.h>

#include "ops_functions.h"

/* Vectors of 16 output elements summed at once; as many as the registers hold. */
#define VALUE_VECTORS (RSR_NATIVE / 2)

RSR_INLINE rsr_v4f score4(const float *q, const float *k, uint32_t row_floats) {
    struct rsr_f16 acc[4] = {rsr_zero16(), rsr_zero16(), rsr_zero16(), rsr_zero16()};
    for (uint32_t d = 0; d < row_floats; d += 16) {
        struct rsr_f16 x = rsr_load16(q + d);
        for (uint32_t j = 0; j < 4; j++)
            acc[j] = rsr_add_product(acc[j], rsr_load16(k + (size_t)j * row_floats + d), x);
    }
    return rsr_sum16_of4(acc);
}

/* z[j] of the page's first n_keys keys; -infinity from there on. Rows up to the next multiple of four
 * are read (they are inside the page) and dropped. */
static void page_scores(float *z, const float *q, const float *k, uint32_t row_floats,
                        uint32_t n_keys, float scale) {
    for (uint32_t j = 0; j < n_keys; j += 4) {
        rsr_v4f s = score4(q, k + (size_t)j * row_floats, row_floats) * scale;
        memcpy(z + j, &s, sizeof(s));
    }
    for (uint32_t j = n_keys; j < RSR_PAGE_TOKENS; j++)
        z[j] = -INFINITY;
}

/* The largest of the scores. A NaN may be passed over here: it stays in the sum. */
static float largest_score(const float *z) {
    struct rsr_f16 largest = rsr_load16(z);
    for (uint32_t j = 16; j < RSR_PAGE_TOKENS; j += 16) {
        struct rsr_f16 x = rsr_load16(z + j);
        RSR_EACH_PART(i)
        largest.part[i] = rsr_select(x.part[i] > largest.part[i], x.part[i], largest.part[i]);
    }
    float lanes[16];
    rsr_store16(lanes, largest);
    float result = lanes[0];
    for (uint32_t i = 1; i < 16; i++)
        result = lanes[i] > result ? lanes[i] : result;
    return result;
}

/* z becomes p = exp(z - max); returns (max, sum of p). */
static struct rsr_attend_state page_softmax(float *z) {
    struct rsr_attend_state state = {.max = largest_score(z)};
    struct rsr_f16 sum = rsr_zero16();
    for (uint32_t j = 0; j < RSR_PAGE_TOKENS; j += 16) {
        struct rsr_f16 p = rsr_load16(z + j);
        RSR_EACH_PART(i) {
            p.part[i] = rsr_exp(p.part[i] - state.max);
            sum.part[i] = sum.part[i] + p.part[i];
        }
        rsr_store16(z + j, p);
    }
    state.sum = rsr_sum16(sum);
    return state;
}

RSR_INLINE void weigh_values(float *out, const float *p, const float *v, uint32_t row_floats,
                             uint32_t n_keys, uint32_t n_vectors) {
    struct rsr_f16 acc[VALUE_VECTORS];
    for (uint32_t i = 0; i < n_vectors; i++)
        acc[i] = rsr_zero16();
    for (uint32_t j = 0; j < n_keys; j++)
        for (uint32_t i = 0; i < n_vectors; i++)
            acc[i] = rsr_add_scaled(acc[i], p[j], rsr_load16(v + (size_t)j * row_floats + 16 * i));
    for (uint32_t i = 0; i < n_vectors; i++)
        rsr_store16(out + 16 * i, acc[i]);
}

static void page_values(float *out, const float *p, const float *v, uint32_t row_floats,
                        uint32_t n_keys) {
    uint32_t d = 0;
    for (; d + 16 * VALUE_VECTORS <= row_floats; d += 16 * VALUE_VECTORS)
        weigh_values(out + d, p, v + d, row_floats, n_keys, VALUE_VECTORS);
    for (; d < row_floats; d += 16)
        weigh_values(out + d, p, v + d, row_floats, n_keys, 1);
}

static void merge_page(struct rsr_attend_state *state, float *out, struct rsr_attend_state page,
                       const float *page_out, uint32_t row_floats) {
    float max = page.max > state->max ? page.max : state->max;
    float shifts[2] = {state->max - max, page.max - max}, factors[2];
    RSR_OPS(exp)(factors, shifts, 2);
    const float a = factors[0], b = factors[1];
    state->max = max;
    state->sum = state->sum * a + page.sum * b;
    for (uint32_t d = 0; d < row_floats; d++)
        out[d] = out[d] * a + page_out[d] * b;
}

void RSR_OPS(attend_page)(struct rsr_attend_state *state, float *out, float *page_out,
                          const float *q, const float *k, const float *v, uint32_t row_floats,
                          uint32_t n_keys, float scale, bool first_page) {
    float z[RSR_PAGE_TOKENS];
    page_scores(z, q, k, row_floats, n_keys, scale);
    struct rsr_attend_state page = page_softmax(z);
    if (first_page) {
        page_values(out, z, v, row_floats, n_keys);
        *state = page;
        return;
    }
    page_values(page_out, z, v, row_floats, n_keys);
    merge_page(state, out, page, page_out, row_floats);
}

void RSR_OPS(attend_finish)(float *dst, const float *out, const struct rsr_attend_state *state,
                            uint32_t n) {
    for (uint32_t d = 0; d < n; d++)
        dst[d] = out[d] / state->sum;
}
