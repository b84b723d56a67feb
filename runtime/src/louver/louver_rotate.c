/* louver_rotate.c - sketches of rotated keys.
 *
 * A few channels of a model's keys may spread much more than the others. The scale of a slice of a
 * sketch is then that of such an outlier, and the slice's other channels lose most of their bits. A
 * rotation shares outliers among all channels: R k = H S k / sqrt(n), with signs S and the
 * Walsh-Hadamard matrix H. Products stay: q . k = R q . R k. So the sketch of a page may be that of
 * its rotated keys, which rotated queries read. Only the sketch is rotated; the keys are not.
 *
 * The dimensions of a head are divided into blocks of powers of two, the largest first, which are
 * rotated one by one.
 *
 * ROUNDING. Write u = 2^-24, n <= 2^8 for a block's dimensions, |.| for Euclidean norms. The sketch
 * bounds p . y of the float32 vectors p = R q + b and y = R k + a. What it has to bound is
 *
 *     q . k = R q . R k = p . y - R q . a - b . y  <=  p . y + |q| |a| + |b| |y|.
 *
 * ops.rotate multiplies by a float32 f, which is off from 1 / sqrt(n) by at most 2u (1 + u) of it;
 * this product rounds. Then come log2 n <= 8 stages of sums and differences. A stage is sqrt(2)
 * times an orthogonal matrix; every element of its result rounds by u of itself at most (denormal
 * sums are exact). So |a| <= ((1 + u)^9 (1 + 2u (1 + u)) - 1) |k| < 12 u |k|; where products with f
 * are denormal, their rounding of at most 2^-150, and at most of their own size, adds n 2^-150, and
 * at most |k|. The same holds for b and q. Thus
 *
 *     |q| |a| + |b| |y|  <=  25 u |q| |k| + 4 n 2^-150 (|q| + |k|).
 *
 * Over the blocks, |q| |k| of the blocks sum to at most |q| |k| of the vectors (Cauchy-Schwarz),
 * and n to at most 320 < 2^9. No stage has an element above |k| (1 + 12 u), so nothing overflows
 * below 2^126. A longer query is replaced by p = 0: then q . k <= p . y + |q| |k|.    QED
 */
#include <math.h>
#include <string.h>

#include "louver.h"
#include "sketch/sketch_round.h"

/* A test compiles this file without the roundings of rotations, and must see keys missed. */
#ifndef RSR_LOUVER_OMIT
#define RSR_LOUVER_OMIT 0
#endif

#define LARGEST_NORM 0x1p126
#define ROUNDING (25.0 * 0x1p-24)

/* 320 signs, 8 a byte. */
#define SIGN(byte, i) ((byte) >> (i)&1 ? -1.0f : 1.0f)
#define SIGNS(byte)                                                                                \
    SIGN(byte, 0), SIGN(byte, 1), SIGN(byte, 2), SIGN(byte, 3), SIGN(byte, 4), SIGN(byte, 5),      \
        SIGN(byte, 6), SIGN(byte, 7)
const float louver_rotation_signs[LOUVER_MAX_DIM] = {
    SIGNS(0x9d), SIGNS(0x3a), SIGNS(0xe1), SIGNS(0x46), SIGNS(0x2b), SIGNS(0xc7), SIGNS(0x58),
    SIGNS(0xb4), SIGNS(0x0f), SIGNS(0x93), SIGNS(0x6c), SIGNS(0xd2), SIGNS(0x71), SIGNS(0x1e),
    SIGNS(0xa5), SIGNS(0xf8), SIGNS(0x37), SIGNS(0x8e), SIGNS(0x52), SIGNS(0xcb), SIGNS(0x64),
    SIGNS(0x99), SIGNS(0xe6), SIGNS(0x0d), SIGNS(0xb1), SIGNS(0x4a), SIGNS(0x76), SIGNS(0xdc),
    SIGNS(0x23), SIGNS(0x8b), SIGNS(0xf5), SIGNS(0x39), SIGNS(0x6e), SIGNS(0xc0), SIGNS(0x17),
    SIGNS(0xad), SIGNS(0x5b), SIGNS(0xe4), SIGNS(0x92), SIGNS(0x78),
};

static void rotate(const struct louver_setup *setup, float *dst, const float *src) {
    uint32_t block = 1;
    while (block <= setup->head_dim / 2)
        block *= 2;
    for (uint32_t at = 0; at < setup->head_dim; at += block) {
        while (block > setup->head_dim - at)
            block /= 2;
        const struct rsr_rotation part = {louver_rotation_signs + at, block, block};
        setup->ops->rotate(dst + at, src + at, &part, false);
    }
}

void louver_rotate_keys(const struct louver_setup *setup, float *rotated, const float *keys) {
    for (uint32_t j = 0; j < RSR_PAGE_TOKENS; j++)
        rotate(setup, rotated + (size_t)j * setup->row_floats,
               keys + (size_t)j * setup->row_floats);
}

double louver_rotate_query(const struct louver_setup *setup, float *rotated, const float *q,
                           double norm) {
    if (!(norm < LARGEST_NORM))
        return norm;
    rotate(setup, rotated, q);
    return ROUNDING * norm;
}

double louver_rotation_slack(double error, double q_norm, double key_norm) {
    if (RSR_LOUVER_OMIT == 8)
        return 0.0;
    return rsr_sum_up(error * key_norm + 0x1p-139 * (q_norm + key_norm));
}

/* ---- Where it pays ---- */

/* The mean of the largest of 32 magnitudes from N(0, 1): what a rotated slice has, in units of its
 * elements' root mean square. */
#define LARGEST_OF_SLICE 2.348f

/* Every second key is looked at; all of them would take half as long as the rest of sealing. */
#define STEP 2u
#define PART 16u /* rows are whole parts, and a slice has two; compilers vectorise their loops */

static void find_mean(const struct louver_setup *setup, const float *keys, float *mean) {
    for (uint32_t first = 0; first < setup->row_floats; first += PART) {
        float sums[PART] = {0.0f};
        for (uint32_t j = 0; j < RSR_PAGE_TOKENS; j += STEP)
            for (uint32_t i = 0; i < PART; i++)
                sums[i] += keys[(size_t)j * setup->row_floats + first + i];
        for (uint32_t i = 0; i < PART; i++)
            mean[first + i] = sums[i] * ((float)STEP / RSR_PAGE_TOKENS);
    }
}

struct extent {
    float largest; /* sum over slices of the largest |k - mean| */
    float norm;    /* |k - mean| */
};

static struct extent extent_of(const struct louver_setup *setup, const float *key,
                               const float *mean) {
    float squares[PART] = {0.0f}, largest[PART], square = 0.0f;
    struct extent extent = {.largest = 0.0f};
    for (uint32_t first = 0; first < setup->row_floats; first += RSR_SKETCH_SLICE) {
        float slice = 0.0f;
        memset(largest, 0, sizeof(largest));
        for (uint32_t d = first; d < first + RSR_SKETCH_SLICE && d < setup->row_floats; d += PART)
            for (uint32_t i = 0; i < PART; i++) {
                const float x = key[d + i] - mean[d + i];
                largest[i] = fabsf(x) > largest[i] ? fabsf(x) : largest[i];
                squares[i] += x * x;
            }
        for (uint32_t i = 0; i < PART; i++)
            slice = largest[i] > slice ? largest[i] : slice;
        extent.largest += slice;
    }
    for (uint32_t i = 0; i < PART; i++)
        square += squares[i];
    extent.norm = sqrtf(square);
    return extent;
}

/* What a slice loses is in proportion to its largest element. So the gain is the sum of these, as
 * it is and as it would be with elements from a normal distribution, which rotation comes close to.
 * Measured on pages of drawn keys: the gain times the loss of rotated keys is the loss of keys,
 * within 5 %; keys from N(0, 1), with RoPE or without, have gains of 0.97 to 1.03. A slice that is
 * not full counts as a full one. Infinite sums
 * promise nothing. */
bool louver_rotation_pays(const struct louver_setup *setup, const float *keys, double longest) {
    float mean[LOUVER_MAX_DIM], largest = 0.0f, norms = 0.0f;
    if (!(longest < LARGEST_NORM))
        return false;
    find_mean(setup, keys, mean);
    for (uint32_t j = 0; j < RSR_PAGE_TOKENS; j += STEP) {
        const struct extent extent = extent_of(setup, keys + (size_t)j * setup->row_floats, mean);
        largest += extent.largest;
        norms += extent.norm;
    }
    const float normal =
        LARGEST_OF_SLICE * (float)setup->shape.n_slices * norms / sqrtf((float)setup->head_dim);
    return largest > setup->least_gain * normal;
}
