/* ops_merge.c - merges the results of one more page into those of query heads. Order: ops.h. */
#include "ops_functions.h"

#define BLOCK_HEADS 8u /* the factors of these heads fill one vector */

/* O'[d] = O[d] a + o[d] b */
static void merge_outputs(float *out, const float *page, float a, float b, uint32_t row_floats) {
    for (uint32_t d = 0; d < row_floats; d += 16) {
        struct rsr_f16 sum = rsr_load16(out + d);
        const struct rsr_f16 more = rsr_load16(page + d);
        RSR_EACH_PART(i) sum.part[i] = sum.part[i] * a + more.part[i] * b;
        rsr_store16(out + d, sum);
    }
}

static void merge_block(const struct rsr_attend_head *heads, const struct rsr_attend_head *pages,
                        uint32_t n_heads, uint32_t row_floats) {
    float factors[2 * BLOCK_HEADS] = {0.0f};
    for (uint32_t h = 0; h < n_heads; h++) {
        const struct rsr_attend_state *state = heads[h].state, *page = pages[h].state;
        const float max = page->max > state->max ? page->max : state->max;
        factors[h] = state->max - max;
        factors[BLOCK_HEADS + h] = page->max - max;
    }
    RSR_OPS(exp)(factors, factors, 2 * BLOCK_HEADS);
    for (uint32_t h = 0; h < n_heads; h++) {
        struct rsr_attend_state *state = heads[h].state;
        const struct rsr_attend_state *page = pages[h].state;
        const float a = factors[h], b = factors[BLOCK_HEADS + h];
        state->max = page->max > state->max ? page->max : state->max;
        state->sum = state->sum * a + page->sum * b;
        merge_outputs(heads[h].out, pages[h].out, a, b, row_floats);
    }
}

void RSR_OPS(attend_merge)(const struct rsr_attend_head *heads, const struct rsr_attend_head *pages,
                           uint32_t n_heads, uint32_t row_floats) {
    for (uint32_t h = 0; h < n_heads; h += BLOCK_HEADS)
        merge_block(heads + h, pages + h, n_heads - h < BLOCK_HEADS ? n_heads - h : BLOCK_HEADS,
                    row_floats);
}
