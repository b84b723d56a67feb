/* louver_attend.c - attention over the keys in the masks.
 *
 * The order of additions is ops.h's, where a key that is left out has z = -infinity. Such a key has
 * weight 0 and changes no lane, and a page without keys is skipped. So with all keys the bits are
 * those of dense attention. (Adding 0 v to a sum changes nothing, because a sum that began at +0 is
 * never -0.)
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

/* Replaces z by p = exp(z - max), 0 outside the mask. Returns (max, sum of p). */
static struct rsr_attend_state masked_softmax(const struct rsr_ops *ops, float *z, uint64_t mask) {
    float p[RSR_PAGE_TOKENS] = {0.0f}, lanes[16] = {0.0f};
    struct rsr_attend_state state = {.max = -INFINITY};
    uint32_t n = 0;
    for (uint64_t left = mask; left != 0; left &= left - 1) {
        const float score = z[__builtin_ctzll(left)];
        state.max = score > state.max ? score : state.max; /* a NaN stays in the sum */
    }
    for (uint64_t left = mask; left != 0; left &= left - 1)
        p[n++] = z[__builtin_ctzll(left)] - state.max;
    ops->exp(p, p, (n + 15u) & ~15u);
    n = 0;
    for (uint64_t left = mask; left != 0; left &= left - 1) {
        const uint32_t j = (uint32_t)__builtin_ctzll(left);
        lanes[j % 16] = lanes[j % 16] + p[n];
        z[j] = p[n++];
    }
    state.sum = sum16(lanes);
    return state;
}

static void attend_masked(const struct louver_pass *pass, struct louver_head_state *head,
                          const struct louver_page *page, uint64_t mask) {
    const struct louver_setup *setup = pass->setup;
    const bool first = head->state.sum == 0.0f;
    float z[RSR_PAGE_TOKENS], *out = first ? head->out : pass->page_out;
    louver_scores(setup, page, head->q, mask, z);
    struct rsr_attend_state state = masked_softmax(setup->ops, z, mask);
    setup->kv.ops->add(out, page->rows.values, setup->row_floats, z, mask);
    if (first) {
        head->state = state;
        return;
    }
    const struct rsr_attend_head so_far = {head->q, head->out, &head->state},
                                 more = {head->q, out, &state};
    setup->ops->attend_merge(&so_far, &more, 1, setup->row_floats);
}

/* The keys of a page if some head wants all of them, because then they may be prefetched; otherwise
 * NULL. */
static const void *whole_keys(const struct louver_pass *pass, uint32_t p) {
    for (uint32_t h = 0; p < pass->n_pages && h < pass->n_heads; h++)
        if (pass->heads[h].masks[p] == louver_all_keys(pass->pages[p].n_keys))
            return pass->pages[p].rows.keys;
    return NULL;
}

static uint64_t any_keys(const struct louver_pass *pass, uint32_t p) {
    uint64_t any = 0;
    for (uint32_t h = 0; h < pass->n_heads; h++)
        any |= pass->heads[h].masks[p];
    return any;
}

/* The next page of which some head wants keys, whose rows are prefetched while the heads of the
 * page before it are computed: a part of them before each head, because together they are more than
 * the memory system takes at once. */
struct approach {
    uint32_t page;
    uint64_t left; /* keys that are not prefetched yet */
    uint32_t each; /* keys before each head */
};

/* The member's first page from p on of which some head wants keys. A page that a head wants whole
 * is read in order, which needs no prefetch. */
static struct approach approach_page(const struct louver_pass *pass, uint32_t p) {
    uint64_t left = 0;
    while (p < pass->end && (left = any_keys(pass, p)) == 0)
        p++;
    if (p < pass->end && whole_keys(pass, p) != NULL)
        left = 0;
    return (struct approach){p, left,
                             (louver_count_keys(left) + pass->n_heads - 1) / pass->n_heads};
}

/* Wants the rows of all keys in the masks, so that a disk reads many at a time. */
static void want_masks(const struct louver_pass *pass) {
    for (uint32_t p = pass->begin; pass->setup->disk != NULL && p < pass->end; p++) {
        const uint64_t keys = any_keys(pass, p);
        louver_want_mask(pass->setup, pass->pages[p].rows.keys, keys);
        louver_want_mask(pass->setup, pass->pages[p].rows.values, keys);
    }
}

static void fetch_part(const struct louver_pass *pass, struct approach *next) {
    for (uint32_t i = 0; i < next->each && next->left != 0; i++, next->left &= next->left - 1) {
        const uint32_t key = (uint32_t)__builtin_ctzll(next->left);
        louver_fetch_row(pass->setup, pass->pages[next->page].rows.keys, key);
        louver_fetch_row(pass->setup, pass->pages[next->page].rows.values, key);
    }
}

/* Computes the heads that want all keys of a page in one walk for all of them. */
static void attend_whole(struct louver_pass *pass, uint32_t p) {
    const struct louver_setup *setup = pass->setup;
    const struct louver_page *view = &pass->pages[p];
    const struct rsr_attend_page page = {.keys = view->rows.keys,
                                         .values = view->rows.values,
                                         .next_keys = whole_keys(pass, p + 1),
                                         .row_floats = setup->row_floats,
                                         .n_keys = view->n_keys,
                                         .far = setup->kv.far};
    struct rsr_attend_head whole[LOUVER_MAX_HEADS];
    uint32_t n = 0;
    for (uint32_t h = 0; h < pass->n_heads; h++) {
        struct louver_head_state *head = &pass->heads[h];
        if (head->masks[p] != louver_all_keys(view->n_keys))
            continue;
        whole[n++] = (struct rsr_attend_head){head->q, head->out, &head->state};
        head->n_attended += view->n_keys;
    }
    setup->kv.ops->attend_page(whole, n, &page, setup->scale);
}

static void attend_one_page(struct louver_pass *pass, uint32_t p, struct approach *next) {
    const struct louver_page *view = &pass->pages[p];
    attend_whole(pass, p);
    for (uint32_t h = 0; h < pass->n_heads; h++) {
        struct louver_head_state *head = &pass->heads[h];
        const uint64_t mask = head->masks[p];
        fetch_part(pass, next);
        if (mask == 0 || mask == louver_all_keys(view->n_keys))
            continue;
        attend_masked(pass, head, view, mask);
        head->n_attended += louver_count_keys(mask);
    }
}

/* Nothing was computed before the first page, so its keys are not prefetched. */
static void attend_pages(struct louver_pass *pass) {
    struct approach next = approach_page(pass, pass->begin);
    while (next.page < pass->end) {
        const uint32_t p = next.page;
        next = approach_page(pass, p + 1);
        attend_one_page(pass, p, &next);
    }
}

/* Keeps the results of each page separately, so that the first member can merge them. */
static void keep_pages(struct louver_pass *pass) {
    struct approach next = approach_page(pass, pass->begin);
    for (uint32_t p = pass->begin; p < pass->end; p++) {
        const size_t row = (size_t)(p - pass->begin) * pass->n_heads;
        for (uint32_t h = 0; h < pass->n_heads; h++) {
            pass->heads[h].out = pass->kept_out + (row + h) * pass->setup->row_floats;
            pass->heads[h].state = (struct rsr_attend_state){0.0f, 0.0f};
        }
        if (p == next.page) {
            next = approach_page(pass, p + 1);
            attend_one_page(pass, p, &next);
        }
        for (uint32_t h = 0; h < pass->n_heads; h++)
            pass->kept_states[row + h] = pass->heads[h].state;
    }
}

/* Merges a head's results that another member kept into those of the first member. */
static void merge_kept(const struct louver_setup *setup, struct louver_head_state *head, uint32_t h,
                       const struct louver_pass *kept) {
    for (uint32_t p = kept->begin; p < kept->end; p++) {
        const size_t row = (size_t)(p - kept->begin) * kept->n_heads + h;
        float *out = kept->kept_out + row * setup->row_floats;
        const struct rsr_attend_head so_far = {head->q, head->out, &head->state},
                                     more = {head->q, out, &kept->kept_states[row]};
        if (more.state->sum == 0.0f) { /* none of its keys */
            continue;
        } else if (head->state.sum == 0.0f) {
            memcpy(head->out, out, setup->row_floats * sizeof(float));
            head->state = *more.state;
        } else {
            setup->ops->attend_merge(&so_far, &more, 1, setup->row_floats);
        }
    }
    head->n_attended += kept->heads[h].n_attended;
}

void louver_attend(struct louver_pass *pass) {
    louver_meet(pass); /* now all masks and all usable sidecars are known */
    want_masks(pass);
    if (pass == pass->first) {
        louver_note_losses(pass);
        attend_pages(pass);
    } else {
        keep_pages(pass);
    }
    louver_meet(pass);
    for (uint32_t h = 0; h < pass->n_heads; h++) {
        struct louver_head_state *head = &pass->first->heads[h];
        if (!louver_has_head(pass, h))
            continue;
        for (uint32_t i = 1; i < pass->team.n; i++)
            merge_kept(pass->setup, head, h, louver_member(pass, i));
        if (head->n_attended == 0) /* nothing: 0 / 1 */
            head->state = (struct rsr_attend_state){0.0f, 1.0f};
    }
}
