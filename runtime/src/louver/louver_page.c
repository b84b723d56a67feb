/* louver_page.c - one page: sealing it, and the scores of its keys in the float order of
 * attention. */
#include <math.h>
#include <string.h>

#include "louver.h"
#include "sketch/sketch_round.h"

_Static_assert(sizeof(struct louver_sidecar) <= LOUVER_SKETCH_AT, "the sketch follows");

struct louver_setup louver_setup_of(enum rsr_kv_type type, uint32_t head_dim, uint32_t n_planes,
                                    float scale, const struct rsr_ops *ops, uint64_t cpu_features) {
    const struct rsr_kv_format kv = rsr_kv_format_of(type, head_dim, true, ops);
    return (struct louver_setup){
        .head_dim = head_dim,
        .row_floats = kv.row_floats,
        .kv = kv,
        .scale = scale > 0.0f ? scale : 1.0f / sqrtf((float)head_dim),
        .shape = rsr_sketch_shape_of(head_dim, n_planes),
        .kernel = rsr_sketch_kernel_for(cpu_features),
        .ops = ops,
    };
}

uint32_t louver_sidecar_bytes(const struct louver_setup *setup) {
    return LOUVER_SKETCH_AT + setup->shape.block_bytes;
}

/* In 8 partial sums, which compilers put into vector lanes. */
double louver_row_norm(const float *row, uint32_t n) {
    double sums[8] = {0.0}, sum = 0.0;
    uint32_t d = 0;
    for (; d + 8 <= n; d += 8)
        for (uint32_t i = 0; i < 8; i++)
            sums[i] += (double)row[d + i] * (double)row[d + i];
    for (; d < n; d++)
        sum += (double)row[d] * (double)row[d];
    for (uint32_t i = 0; i < 8; i++)
        sum += sums[i];
    return rsr_sum_up(sqrt(sum));
}

const float *louver_row(const struct louver_setup *setup, const void *rows, uint32_t j,
                        float *buffer) {
    const void *row = (const char *)rows + (size_t)j * setup->kv.row_bytes;
    if (setup->kv.type == RSR_KV_F32)
        return row;
    setup->kv.ops->load(buffer, row, setup->row_floats);
    return buffer;
}

/* ---- Sealing ---- */

/* The larger of two; a NaN stays. */
static double larger(double x, double largest) {
    return x <= largest || isnan(largest) ? largest : x;
}

/* Keys of a page, [64][row_floats]: themselves, or what they widen to in `buffer`. */
static const float *page_keys(const struct louver_setup *setup, const struct rsr_kv_rows *rows,
                              float *buffer) {
    const float *first = louver_row(setup, rows->keys, 0, buffer);
    for (uint32_t j = 1; first == buffer && j < RSR_PAGE_TOKENS; j++)
        (void)louver_row(setup, rows->keys, j, buffer + (size_t)j * setup->row_floats);
    return first;
}

static struct louver_norms norms_of(const struct louver_setup *setup, const float *keys,
                                    const struct rsr_kv_rows *rows) {
    struct louver_norms norms = {0};
    float buffer[LOUVER_MAX_DIM];
    for (uint32_t j = 0; j < RSR_PAGE_TOKENS; j++) {
        const float *key = keys + (size_t)j * setup->row_floats;
        norms.key = larger(louver_row_norm(key, setup->head_dim), norms.key);
        norms.value =
            larger(louver_row_norm(louver_row(setup, rows->values, j, buffer), setup->head_dim),
                   norms.value);
    }
    louver_add_losses(&norms, rows, RSR_PAGE_TOKENS);
    return norms;
}

void louver_add_losses(struct louver_norms *norms, const struct rsr_kv_rows *rows, uint32_t n) {
    for (uint32_t j = 0; rows->losses != NULL && j < n; j++) {
        norms->loss.key = (float)larger((double)rows->losses[j].key, (double)norms->loss.key);
        norms->loss.value = (float)larger((double)rows->losses[j].value, (double)norms->loss.value);
    }
}

void louver_seal(const struct louver_setup *setup, struct louver_sidecar *sidecar,
                 const struct rsr_kv_rows *rows) {
    float buffer[RSR_PAGE_TOKENS * LOUVER_MAX_DIM];
    const float *keys = page_keys(setup, rows, buffer);
    sidecar->norms = norms_of(setup, keys, rows);
    /* Norms of finite float32 rows are finite doubles. */
    sidecar->usable = isfinite(sidecar->norms.key) && isfinite(sidecar->norms.value);
    if (sidecar->usable)
        setup->kernel->build(&setup->shape, (char *)sidecar + LOUVER_SKETCH_AT, keys,
                             setup->row_floats, NULL);
}

/* ---- Scores ---- */

/* The squares are float32 dots of rows with themselves: off by less than 2^-10 relatively, and by
 * what underflows, less than 2^-140. One that overflows is infinite. */
double louver_key_norm(const struct louver_setup *setup, const struct louver_page *page) {
    float squares[RSR_PAGE_TOKENS], buffer[LOUVER_MAX_DIM];
    double largest = 0.0;
    for (uint32_t j = 0; j < page->n_keys; j++) {
        const float *key = louver_row(setup, page->rows.keys, j, buffer);
        setup->kv.ops->dots(squares, page->rows.keys, setup->row_floats, j, j + 1, key);
        if (!((double)squares[j] <= largest))
            largest = (double)squares[j];
    }
    return sqrt(largest * (1.0 + 0x1p-9) + 0x1p-139);
}

void louver_scores(const struct louver_setup *setup, const struct louver_page *page, const float *q,
                   uint64_t mask, float *z) {
    float dots[RSR_PAGE_TOKENS];
    while (mask != 0) { /* runs of keys */
        const uint32_t begin = (uint32_t)__builtin_ctzll(mask);
        const uint64_t after = ~(mask >> begin);
        const uint32_t end = after != 0 ? begin + (uint32_t)__builtin_ctzll(after) : 64;
        setup->kv.ops->dots(dots, page->rows.keys, setup->row_floats, begin, end, q);
        for (uint32_t j = begin; j < end; j++)
            z[j] = dots[j] * setup->scale;
        mask &= end < 64 ? UINT64_MAX << end : 0;
    }
}

/* A product, row_floats / 16 additions, 4 of the tree and the scale: each within 2^-24 relatively,
 * of sums that are at most |q| |k|; products that underflow add less than 2^-140. */
double louver_score_error(const struct louver_setup *setup, double q_norm, double key_norm) {
    const double roundings = (setup->row_floats / 16 + 8) * 0x1p-24;
    return (double)setup->scale * (roundings * q_norm * key_norm + 0x1p-140) * (1.0 + 0x1p-9) +
           0x1p-140;
}
