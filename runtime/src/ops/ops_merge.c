/* ops_merge.c - merges the results of one more page into those of query heads. Order: ops.h. */
#include "ops_functions.h"

void RSR_OPS(merge_states)(const struct rsr_attend_head *heads, uint32_t n_heads,
                           const struct rsr_attend_state *pages, struct rsr_page_merge *merges) {
    float factors[2 * RSR_MERGED_HEADS] = {0.0f};
    for (uint32_t h = 0; h < n_heads; h++) {
        const struct rsr_attend_state *state = heads[h].state;
        merges[h].is_first = state->sum == 0.0f;
        const float max =
            merges[h].is_first || pages[h].max > state->max ? pages[h].max : state->max;
        factors[h] = merges[h].is_first ? 0.0f : state->max - max;
        factors[RSR_MERGED_HEADS + h] = pages[h].max - max;
    }
    RSR_OPS(exp)(factors, factors, 2 * RSR_MERGED_HEADS);
    for (uint32_t h = 0; h < n_heads; h++) {
        struct rsr_attend_state *state = heads[h].state;
        const float a = factors[h], b = factors[RSR_MERGED_HEADS + h];
        merges[h].old_factor = a;
        merges[h].new_factor = b;
        if (merges[h].is_first) {
            *state = pages[h];
            continue;
        }
        state->max = pages[h].max > state->max ? pages[h].max : state->max;
        state->sum = state->sum * a + pages[h].sum * b;
    }
}

void RSR_OPS(merge_outputs)(float *out, const float *page, const struct rsr_page_merge *merge,
                            uint32_t n) {
    for (uint32_t d = 0; d < n; d += 16) {
        struct rsr_f16 sum = rsr_load16(page + d);
        if (!merge->is_first) {
            const struct rsr_f16 old = rsr_load16(out + d);
            RSR_EACH_PART(i)
            sum.part[i] = old.part[i] * merge->old_factor + sum.part[i] * merge->new_factor;
        }
        rsr_store16(out + d, sum);
    }
}

void RSR_OPS(attend_merge)(const struct rsr_attend_head *heads, const struct rsr_attend_head *pages,
                           uint32_t n_heads, uint32_t row_floats) {
    for (uint32_t n; n_heads > 0; heads += n, pages += n, n_heads -= n) {
        struct rsr_attend_state states[RSR_MERGED_HEADS];
        struct rsr_page_merge merges[RSR_MERGED_HEADS];
        n = n_heads < RSR_MERGED_HEADS ? n_heads : RSR_MERGED_HEADS;
        for (uint32_t h = 0; h < n; h++)
            states[h] = *pages[h].state;
        RSR_OPS(merge_states)(heads, n, states, merges);
        for (uint32_t h = 0; h < n; h++)
            RSR_OPS(merge_outputs)(heads[h].out, pages[h].out, &merges[h], row_floats);
    }
}
