/* louver_page.c - one page: sealing it, and the scores of its keys in the float order of
 * attention. */
#include <math.h>
#include <string.h>

#include "louver_mass.h"
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
        .has_centres = true,
        .least_gain = LOUVER_LEAST_GAIN,
        .shape = rsr_sketch_shape_of(head_dim, n_planes),
        .kernel = rsr_sketch_kernel_for(cpu_features),
        .lanes = louver_lanes_for(cpu_features),
        .ops = ops,
    };
}

uint32_t louver_sidecar_bytes(const struct louver_setup *setup) {
    return LOUVER_SKETCH_AT + setup->shape.block_bytes + louver_centre_bytes(setup);
}

const float *louver_row(const struct louver_setup *setup, const void *rows, uint32_t j,
                        float *buffer) {
    const void *row = (const char *)rows + (size_t)j * setup->kv.row_bytes;
    if (setup->kv.type == RSR_KV_F32)
        return row;
    setup->kv.ops->load(buffer, row, setup->row_floats);
    return buffer;
}

/* ---- Norms ---- */

/* 8 partial sums, which compilers put into vector lanes. */
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

/* A row's sum of squares in float32 (LOUVER_MAX_DIM elements) has at most 24 roundings, a relative
 * error below 2^-19, and loses less than 2^-141 by underflow. If it overflows, the row is computed
 * in double. */
double louver_rows_norm(const struct louver_setup *setup, const void *rows, uint32_t n) {
    const double square = (double)setup->kv.ops->largest_square(rows, setup->row_floats, n);
    if (isfinite(square))
        return sqrt(square * (1.0 + 0x1p-18) + 0x1p-140);
    double norm = 0.0;
    for (uint32_t j = 0; j < n; j++) {
        float buffer[LOUVER_MAX_DIM];
        norm = louver_larger(louver_row_norm(louver_row(setup, rows, j, buffer), setup->head_dim),
                             norm);
    }
    return norm;
}

void louver_raise_loss(struct rsr_kv_loss *most, const struct rsr_kv_loss *loss) {
    most->key = (float)louver_larger((double)loss->key, (double)most->key);
    most->value = (float)louver_larger((double)loss->value, (double)most->value);
}

void louver_add_losses(struct louver_norms *norms, const struct rsr_kv_rows *rows, uint32_t n) {
    for (uint32_t j = 0; rows->losses != NULL && j < n; j++)
        louver_raise_loss(&norms->loss, &rows->losses[j]);
}

/* ---- Sealing ---- */

/* Keys or values of a page, [64][row_floats]: the stored rows, or widened copies in `buffer`. */
static const float *page_rows(const struct louver_setup *setup, const void *rows, float *buffer) {
    const float *first = louver_row(setup, rows, 0, buffer);
    for (uint32_t j = 1; first == buffer && j < RSR_PAGE_TOKENS; j++)
        (void)louver_row(setup, rows, j, buffer + (size_t)j * setup->row_floats);
    return first;
}

void louver_seal(const struct louver_setup *setup, struct louver_sidecar *sidecar,
                 const struct rsr_kv_rows *rows) {
    float buffer[RSR_PAGE_TOKENS * LOUVER_MAX_DIM];
    struct louver_norms norms = {.key = louver_rows_norm(setup, rows->keys, RSR_PAGE_TOKENS)};
    /* The values, and after them the next KV head's keys, which are usually sealed next. */
    const struct rsr_sketch_next next = {rows->values, rsr_kv_rows_bytes(&setup->kv)};
    sidecar->rotated = false;
    if (isfinite(norms.key)) { /* so are those of all finite float32 rows */
        const float *keys = page_rows(setup, rows->keys, buffer);
        sidecar->rotated = louver_rotation_pays(setup, keys, norms.key);
        if (sidecar->rotated) {
            louver_rotate_keys(setup, buffer, keys);
            keys = buffer;
        }
        setup->kernel->build(&setup->shape, (char *)sidecar + LOUVER_SKETCH_AT, keys,
                             setup->row_floats, NULL, &next);
    }
    norms.value = louver_rows_norm(setup, rows->values, RSR_PAGE_TOKENS);
    if (setup->has_centres && isfinite(norms.value))
        louver_seal_values(setup, sidecar, page_rows(setup, rows->values, buffer), &norms);
    louver_add_losses(&norms, rows, RSR_PAGE_TOKENS);
    sidecar->norms = norms;
    sidecar->usable = isfinite(norms.key) && isfinite(norms.value);
}

/* ---- Scores ---- */

void louver_scores(const struct louver_setup *setup, const struct louver_page *page, const float *q,
                   uint64_t mask, float *z) {
    float dots[RSR_PAGE_TOKENS];
    setup->kv.ops->dots(dots, page->rows.keys, setup->row_floats, mask, q);
    for (; mask != 0; mask &= mask - 1) {
        const uint32_t j = (uint32_t)__builtin_ctzll(mask);
        z[j] = dots[j] * setup->scale;
    }
}

/* A score has row_floats / 16 fused sums, 4 sums of the tree and the scale. Each has a relative
 * error of 2^-24, of sums that are at most |q| |k|; underflows add less than 2^-140. */
double louver_score_error(const struct louver_setup *setup, double q_norm, double key_norm) {
    const double roundings = (setup->row_floats / 16 + 8) * 0x1p-24;
    return (double)setup->scale * (roundings * q_norm * key_norm + 0x1p-140) * (1.0 + 0x1p-9) +
           0x1p-140;
}
