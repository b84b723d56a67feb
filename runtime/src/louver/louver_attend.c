/* louver_attend.c - attention over the keys in the masks.
 *
 * The float order is that of ops.h, in which a key that is left out has z = -infinity: it weighs nothing,
 * changes no lane, and a page without any key is passed over. Over all keys the bits are thus those of
 * dense attention. (Adding 0 v to a sum changes nothing: a sum that began at +0 is never -0.)
 */
#include <math.h>
#include <string.h>

#include "louver.h"

static float sum16(const float *part) {
    float h[8], q[4];
    for (uint32_t i = 0; i < 8; i++)
        h[i] = part[i] + part[i + 8];
    for (uint32_t i = 0; i < 4; i++)
        q[i] = h[i] + h[i + 4];
    return (q[0] + q[2]) + (q[1] + q[3]);
}

/* z becomes p = exp(z - max), 0 outside the mask; returns (max, sum of p). */
static struct rsr_attend_state masked_softmax(const struct rsr_ops *ops, float *z, uint64_t mask) {
    float p[RSR_PAGE_TOKENS], lanes[16] = {0.0f};
    struct rsr_attend_state state = {.max = -INFINITY};
    uint32_t n = 0;
    for (uint64_t left = mask; left != 0; left &= left - 1) {
        const float score = z[__builtin_ctzll(left)];
        state.max = score > state.max ? score : state.max; /* a NaN stays in the sum */
    }
    for (uint64_t left = mask; left != 0; left &= left - 1)
        p[n++] = z[__builtin_ctzll(left)] - state.max;
    ops->exp(p, p, n);
    n = 0;
    for (uint64_t left = mask; left != 0; left &= left - 1) {
        const uint32_t j = (uint32_t)__builtin_ctzll(left);
        lanes[j % 16] = lanes[j % 16] + p[n];
        z[j] = p[n++];
    }
    state.sum = sum16(lanes);
    return state;
}

/* out += p row */
static void add_scaled(float *restrict out, float p, const float *restrict row,
                       uint32_t row_floats) {
    for (uint32_t d = 0; d < row_floats; d += 16)
        for (uint32_t i = 0; i < 16; i++)
            out[d + i] = out[d + i] + p * row[d + i];
}

static void masked_values(const struct louver_setup *setup, float *out, const float *p,
                          const void *values, uint64_t mask) {
    float buffer[LOUVER_MAX_DIM];
    memset(out, 0, setup->row_floats * sizeof(float));
    for (uint64_t left = mask; left != 0; left &= left - 1) {
        const uint32_t j = (uint32_t)__builtin_ctzll(left);
        add_scaled(out, p[j], louver_row(setup, values, j, buffer), setup->row_floats);
    }
}

static void attend_masked(const struct louver_pass *pass, struct louver_head_state *head,
                          const struct louver_page *page, uint64_t mask) {
    const struct louver_setup *setup = pass->setup;
    const bool first = head->n_attended == 0;
    float z[RSR_PAGE_TOKENS], *out = first ? head->out : pass->page_out;
    louver_scores(setup, page, head->q, mask, z);
    struct rsr_attend_state state = masked_softmax(setup->ops, z, mask);
    masked_values(setup, out, z, page->rows.values, mask);
    if (first) {
        head->state = state;
        return;
    }
    const struct rsr_attend_head so_far = {head->q, head->out, &head->state},
                                 more = {head->q, out, &state};
    setup->ops->attend_merge(&so_far, &more, 1, setup->row_floats);
}

/* Keys of a page of which some head wants all, for they may be fetched early; NULL: of none. */
static const void *whole_keys(const struct louver_pass *pass, uint32_t p) {
    for (uint32_t h = 0; p < pass->n_pages && h < pass->n_heads; h++)
        if (pass->heads[h].masks[p] == louver_all_keys(pass->pages[p].n_keys))
            return pass->pages[p].rows.keys;
    return NULL;
}

/* Keys without a gap take one vectorised walk: a whole page that of all its heads together. */
static void attend_one_page(struct louver_pass *pass, uint32_t p) {
    const struct louver_setup *setup = pass->setup;
    const struct louver_page *view = &pass->pages[p];
    struct rsr_attend_page page = {.keys = view->rows.keys,
                                   .values = view->rows.values,
                                   .next_keys = whole_keys(pass, p + 1),
                                   .row_floats = setup->row_floats};
    struct rsr_attend_head whole[LOUVER_MAX_HEADS];
    uint32_t n_whole = 0;
    for (uint32_t h = 0; h < pass->n_heads; h++) {
        struct louver_head_state *head = &pass->heads[h];
        const uint64_t mask = head->masks[p];
        const struct rsr_attend_head one = {head->q, head->out, &head->state};
        page.n_keys = louver_count_keys(mask);
        if (page.n_keys == view->n_keys)
            whole[n_whole++] = one;
        else if (mask != 0 && mask == louver_all_keys(page.n_keys))
            setup->kv.ops->attend_page(&one, 1, &page, setup->scale);
        else if (mask != 0)
            attend_masked(pass, head, view, mask);
        head->n_attended += page.n_keys;
    }
    page.n_keys = view->n_keys;
    setup->kv.ops->attend_page(whole, n_whole, &page, setup->scale);
}

void louver_attend(struct louver_pass *pass) {
    for (uint32_t p = 0; p < pass->n_pages; p++)
        attend_one_page(pass, p);
    for (uint32_t h = 0; h < pass->n_heads; h++)
        if (pass->heads[h].n_attended == 0) /* nothing: 0 / 1 */
            pass->heads[h].state = (struct rsr_attend_state){0.0f, 1.0f};
}
