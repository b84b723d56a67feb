/* sketch_build.c - makes blocks, 4 vectors at a time, which every machine can do (SSE2 and NEON in
 * hardware); and the code that all widths share. Steps are those of sketch.h. */
#include <math.h>
#include <string.h>

#include "sketch_build.h"
#include "sketch_round.h"

#define LANES 4
#define TARGET
#define BUILD_NAME rsr_sketch_build

typedef float lanes_f __attribute__((vector_size(16)));
typedef int32_t lanes_i __attribute__((vector_size(16)));
typedef uint32_t lanes_u __attribute__((vector_size(16)));
#define OWN static inline __attribute__((always_inline))

OWN lanes_f lanes_max(lanes_f a, lanes_f b) {
    const lanes_i larger = (lanes_i)(a > b);
    return (lanes_f)((larger & (lanes_i)a) | (~larger & (lanes_i)b));
}

OWN lanes_f lanes_min(lanes_f a, lanes_f b) {
    const lanes_i smaller = (lanes_i)(a < b);
    return (lanes_f)((smaller & (lanes_i)a) | (~smaller & (lanes_i)b));
}

OWN lanes_f lanes_sqrt(lanes_f x) {
    for (uint32_t i = 0; i < LANES; i++)
        x[i] = sqrtf(x[i]);
    return x;
}

/* x - a b, where a b is exact */
OWN lanes_f lanes_less_exact(lanes_f x, lanes_f a, lanes_f b) {
    return x - a * b;
}

/* words << 4 | low 4 bits of digits */
OWN lanes_i lanes_push(lanes_i words, lanes_i digits) {
    return words << 4 | (digits & 15);
}

/* Four columns of one row. */
OWN lanes_f load4(const float *row, size_t stride) {
    (void)stride; /* more lanes than columns load several rows */
    lanes_f x;
    memcpy(&x, row, sizeof(x));
    return x;
}

/* out[c] = column c of the rows a, b, c, d */
OWN void transpose4(lanes_f *out, lanes_f a, lanes_f b, lanes_f c, lanes_f d) {
    const lanes_f ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
    const lanes_f ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    const lanes_f cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5);
    const lanes_f cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    out[0] = __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5);
    out[1] = __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7);
    out[2] = __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5);
    out[3] = __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7);
}

/* Lane r of words[0 .. 3] to 16 bytes at `at` + r * stride. */
OWN void store_rows(char *at, size_t stride, const lanes_i *words) {
    lanes_f rows[4];
    transpose4(rows, (lanes_f)words[0], (lanes_f)words[1], (lanes_f)words[2], (lanes_f)words[3]);
    for (uint32_t r = 0; r < LANES; r++)
        memcpy(at + r * stride, &rows[r], sizeof(rows[r]));
}

#include "sketch_build_lanes.h"

/* ---- Once for all widths ---- */

void rsr_sketch_begin(struct rsr_sketch_making *making, const struct rsr_sketch_shape *shape,
                      void *block, const float *vectors, size_t stride, const float *centre) {
    making->shape = shape;
    making->block = block;
    making->vectors = vectors;
    making->stride = stride;
    memset(block, 0, rsr_sketch_is_flat(shape) ? shape->block_bytes : shape->plane_at[0]);
    memset(making->centre, 0, shape->n_slices * RSR_SKETCH_SLICE * sizeof(float));
    if (rsr_sketch_is_flat(shape))
        memcpy(making->centre, centre, shape->dim * sizeof(float));
    const uint32_t full = shape->dim / RSR_SKETCH_SLICE * RSR_SKETCH_SLICE;
    if (full == shape->dim)
        return;
    memset(making->tail, 0, sizeof(making->tail));
    for (uint32_t j = 0; j < RSR_SKETCH_VECTORS; j++)
        memcpy(making->tail + (size_t)j * RSR_SKETCH_SLICE, vectors + j * stride + full,
               (shape->dim - full) * sizeof(float));
}

static double centre_norm(const struct rsr_sketch_making *making) {
    double sums[8] = {0.0}, sum = 0.0;
    for (uint32_t d = 0; d < making->shape->n_slices * RSR_SKETCH_SLICE; d += 8)
        for (uint32_t i = 0; i < 8; i++)
            sums[i] += (double)making->centre[d + i] * (double)making->centre[d + i];
    for (uint32_t i = 0; i < 8; i++)
        sum += sums[i];
    return rsr_sum_up(sqrt(sum));
}

/* Codes are at most 127. Means below 2^-100 count as 0, so that decoded centres are normal
 * numbers. */
void rsr_sketch_set_centre_unit(struct rsr_sketch_making *making, float largest) {
    float unit = largest / 127.0f;
    uint32_t bits;
    memcpy(&bits, &unit, sizeof(bits));
    bits = (bits + 0xff) & ~UINT32_C(0xff); /* 16 of 24 significant bits, rounded up */
    memcpy(&unit, &bits, sizeof(unit));
    const bool any = largest >= 0x1p-100f;
    making->centre_unit = any ? unit : 0.0f;
    making->inverse_centre_unit = any ? 1.0f / unit : 0.0f;
    memcpy(making->block + making->shape->centre_at, &making->centre_unit, sizeof(unit));
}

void rsr_sketch_set_units(struct rsr_sketch_making *making, float largest) {
    const struct rsr_sketch_shape *shape = making->shape;
    struct rsr_sketch_header *header = (struct rsr_sketch_header *)(void *)making->block;
    header->centre_norm = centre_norm(making);
    const int exponent = largest > 0.0f ? ilogbf(largest) - RSR_SKETCH_UNIT_BITS : 0;
    header->unit_exponent =
        (int16_t)(exponent < RSR_SKETCH_SMALLEST_UNIT ? RSR_SKETCH_SMALLEST_UNIT : exponent);
    making->inverse_unit = ldexpf(1.0f, -header->unit_exponent);
    if (rsr_sketch_is_flat(shape))
        return;
    /* Slightly more than 1 / 255 of the largest, so that no code exceeds 255 although quotients are
     * rounded up with a margin. */
    header->box_unit = rsr_float_up((double)largest / 255.0 * (1.0 + 0x1p-18));
    const double units = (double)header->box_unit * (double)making->inverse_unit;
    making->inverse_box = units > 0.0 ? (float)((1.0 + 0x1p-20) / units) : 0.0f;
}

void rsr_sketch_set_radius(struct rsr_sketch_making *making, float largest_square) {
    struct rsr_sketch_header *header = (struct rsr_sketch_header *)(void *)making->block;
    const double radius = sqrt((double)largest_square) * (1.0 + 0x1p-14) + 0x1p-60;
    header->radius = ldexp(radius, header->unit_exponent);
}
