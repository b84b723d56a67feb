/* sketch_build_lanes.h - makes blocks, a vector a lane: included by one file per instruction set.
 *
 * Each of these files defines LANES (4, 8 or 16), TARGET (the attribute of its functions),
 * BUILD_NAME, and the operations that GNU vectors lack: lanes_max, lanes_min, lanes_sqrt,
 * lanes_less_exact, lanes_push, load4, transpose4 and store_rows. Lanes never mix, so every width
 * gives the same bits. Steps are those of sketch.h.
 */
#include <math.h>
#include <string.h>

#include "host/fetch_line.h"
#include "sketch_build.h"

#define INLINE TARGET static inline __attribute__((always_inline))

/* ---- Lanes ---- */

INLINE lanes_f splat(float x) {
    return x - (lanes_f){0};
}

INLINE lanes_f load(const float *p) {
    lanes_f x;
    memcpy(&x, p, sizeof(x));
    return x;
}

INLINE void store(float *p, lanes_f x) {
    memcpy(p, &x, sizeof(x));
}

INLINE lanes_i choose(lanes_i mask, lanes_i yes, lanes_i no) {
    return (mask & yes) | (~mask & no);
}

INLINE lanes_f magnitude(lanes_f x) {
    return (lanes_f)((lanes_i)x & 0x7fffffff);
}

INLINE float largest_lane(lanes_f x) {
    float lanes[LANES], largest = 0.0f;
    store(lanes, x);
    for (uint32_t i = 0; i < LANES; i++)
        largest = lanes[i] > largest ? lanes[i] : largest;
    return largest;
}

/* Adding it rounds a float of magnitude below 2^21 to an integer, ties to even. The low 4 bits of
 * the sum are those of the integer plus 8. */
#define ROUND_MAGIC 12582920.0f /* 1.5 * 2^23 + 8 */

/* The smallest integer >= x; 0 <= x < 2^21. */
INLINE lanes_i ceiling(lanes_f x) {
    const lanes_f shifted = x + splat(ROUND_MAGIC);
    const lanes_i rounded = (lanes_i)shifted - (lanes_i)splat(ROUND_MAGIC);
    return rounded - (lanes_i)(shifted - splat(ROUND_MAGIC) < x); /* a true comparison is -1 */
}

/* The smallest code of at least x, and its value: from 16 on a code is the top of a float's
 * bits. */
#define CODE_BIAS 2080 /* (127 + 3) * 16 */

INLINE lanes_i encode(lanes_f x) {
    const lanes_i bits = (lanes_i)x + 0x7ffff;
    return choose((lanes_i)(x < splat(16.0f)), ceiling(x), (bits >> 19) - CODE_BIAS);
}

INLINE lanes_f decode(lanes_i code) {
    const lanes_f small = __builtin_convertvector(code, lanes_f);
    return (lanes_f)choose((lanes_i)(code < 16), (lanes_i)small, (code + CODE_BIAS) << 19);
}

/* ---- Centre and extents: a dimension a lane ---- */

/* Least and largest elements of LANES dimensions; returns the means, 0 where k - mu might
 * overflow. */
INLINE lanes_f measure(const float *rows, size_t stride, float *low, float *high) {
    lanes_f sum = splat(0.0f), least = load(rows), largest = least;
    for (uint32_t j = 0; j < RSR_SKETCH_VECTORS; j += 4) {
        const float *row = rows + j * stride;
        const lanes_f a = load(row), b = load(row + stride);
        const lanes_f c = load(row + 2 * stride), d = load(row + 3 * stride);
        sum = sum + ((a + b) + (c + d));
        least = lanes_min(least, lanes_min(lanes_min(a, b), lanes_min(c, d)));
        largest = lanes_max(largest, lanes_max(lanes_max(a, b), lanes_max(c, d)));
    }
    const lanes_f mean = sum * splat(1.0f / RSR_SKETCH_VECTORS);
    const lanes_i fits = (lanes_i)(magnitude(mean) < splat(RSR_SKETCH_LARGEST_CENTRE / 2));
    store(low, least);
    store(high, largest);
    return (lanes_f)((lanes_i)mean & fits);
}

/* Stores the means as the centre for now; the centre is made from them later. A flat shape's centre
 * is given. Returns the largest mean. */
TARGET static float measure_all(struct rsr_sketch_making *making) {
    lanes_f largest = splat(0.0f);
    for (uint32_t slice = 0; slice < making->shape->n_slices; slice++) {
        size_t stride;
        const float *rows = rsr_sketch_slice_rows(making, slice, &stride);
        for (uint32_t at = 0; at < RSR_SKETCH_SLICE; at += LANES) {
            const size_t d = (size_t)slice * RSR_SKETCH_SLICE + at;
            const lanes_f mean = measure(rows + at, stride, making->low + d, making->high + d);
            if (rsr_sketch_is_flat(making->shape))
                continue;
            store(making->centre + d, mean);
            largest = lanes_max(largest, magnitude(mean));
        }
    }
    return largest_lane(largest);
}

/* Turns means into codes, and takes the decoded codes as the centre. */
TARGET static void store_centre(struct rsr_sketch_making *making) {
    int8_t *codes = (int8_t *)making->block + making->shape->centre_at + sizeof(float);
    for (uint32_t d = 0; d < making->shape->n_slices * RSR_SKETCH_SLICE; d += LANES) {
        const lanes_f code = load(making->centre + d) * splat(making->inverse_centre_unit);
        const lanes_f rounded = code + splat(ROUND_MAGIC) - splat(ROUND_MAGIC);
        const lanes_i digits = __builtin_convertvector(rounded, lanes_i);
        store(making->centre + d, rounded * splat(making->centre_unit));
        for (uint32_t i = 0; i < LANES; i++)
            codes[d + i] = (int8_t)digits[i];
    }
}

/* The largest |fl(k - mu)| of LANES dimensions. */
INLINE lanes_f extents(const struct rsr_sketch_making *making, uint32_t d) {
    const lanes_f mu = load(making->centre + d);
    return lanes_max(magnitude(load(making->low + d) - mu), magnitude(load(making->high + d) - mu));
}

TARGET static float largest_extent(const struct rsr_sketch_making *making) {
    lanes_f largest = splat(0.0f);
    for (uint32_t d = 0; d < making->shape->n_slices * RSR_SKETCH_SLICE; d += LANES)
        largest = lanes_max(largest, extents(making, d));
    return largest_lane(largest);
}

/* The extents in codes. */
TARGET static void store_box(const struct rsr_sketch_making *making) {
    uint8_t *box = (uint8_t *)making->block + making->shape->box_at;
    for (uint32_t d = 0; d < making->shape->n_slices * RSR_SKETCH_SLICE; d += LANES) {
        const lanes_f extent = extents(making, d);
        const lanes_f code = extent * splat(making->inverse_unit) * splat(making->inverse_box);
        /* Covers what the products lost by rounding or underflow. */
        const lanes_f any = (lanes_f)((lanes_i)(extent > splat(0.0f)) & (lanes_i)splat(0x1p-20f));
        const lanes_i codes = ceiling(code + any);
        for (uint32_t i = 0; i < LANES; i++)
            box[d + i] = (uint8_t)codes[i];
    }
}

/* ---- Codes: a vector a lane ---- */

struct row_results {
    lanes_f squares;                          /* of k - mu, in units, over the slices so far */
    lanes_i residuals[RSR_SKETCH_MAX_PLANES]; /* largest codes so far */
};

/* x = k - mu in units of LANES vectors and one slice; returns the largest |k - mu|. */
INLINE lanes_f centred_slice(const struct rsr_sketch_making *making, uint32_t vector,
                             uint32_t slice, lanes_f *x) {
    size_t stride;
    const float *rows = rsr_sketch_slice_rows(making, slice, &stride) + vector * stride;
    const float *centre = making->centre + (size_t)slice * RSR_SKETCH_SLICE;
    lanes_f largest = splat(0.0f);
    for (uint32_t d = 0; d < RSR_SKETCH_SLICE; d += 4) {
        lanes_f columns[4];
        transpose4(columns, load4(rows + d, stride), load4(rows + stride + d, stride),
                   load4(rows + 2 * stride + d, stride), load4(rows + 3 * stride + d, stride));
        for (uint32_t i = 0; i < 4; i++) {
            const lanes_f difference = columns[i] - splat(centre[d + i]);
            largest = lanes_max(largest, magnitude(difference));
            x[d + i] = difference * splat(making->inverse_unit);
        }
    }
    return largest;
}

struct sliced {
    lanes_i words[RSR_SKETCH_MAX_PLANES][4];
    lanes_f squares, lost[RSR_SKETCH_MAX_PLANES]; /* sums of squares */
};

INLINE lanes_f inverse_of(lanes_f scale) {
    const lanes_i some = (lanes_i)(scale > splat(0.0f));
    return (lanes_f)((lanes_i)(splat(1.0f) / scale) & some);
}

/* Digits of both planes. A first digit is at most 7.4375 before it is rounded, so it needs no
 * limit; the second one may be 8, half a unit of the first. A digit has 4 bits and a scale 5,
 * before zeros: their product is exact. */
INLINE void quantise(const lanes_f *x, lanes_f scale, struct sliced *out) {
    const lanes_f inverse = inverse_of(scale);
    const lanes_f scale2 = scale * splat(1.0f / 16), inverse2 = inverse * splat(16.0f);
    const lanes_f magic = splat(ROUND_MAGIC), magic7 = splat(ROUND_MAGIC + 7);
    lanes_f squares = splat(0.0f), lost_squares = squares, lost2_squares = squares;
    for (uint32_t w = 0; w < 4; w++) {
        lanes_i word = {0}, word2 = {0};
        for (uint32_t digit = 8; digit-- > 0;) { /* those of high bits first */
            const lanes_f value = x[8 * w + digit % 2 * 4 + digit / 2];
            const lanes_f first = value * inverse + magic;
            const lanes_f lost = lanes_less_exact(value, first - magic, scale);
            const lanes_f second = lanes_min(lost * inverse2 + magic, magic7);
            const lanes_f lost2 = lanes_less_exact(lost, second - magic, scale2);
            word = lanes_push(word, (lanes_i)first);
            word2 = lanes_push(word2, (lanes_i)second);
            squares = squares + value * value;
            lost_squares = lost_squares + lost * lost;
            lost2_squares = lost2_squares + lost2 * lost2;
        }
        out->words[0][w] = word;
        out->words[1][w] = word2;
    }
    out->squares = squares;
    out->lost[0] = lost_squares;
    out->lost[1] = lost2_squares;
}

/* A flat shape's second plane: bit d of the signs belongs to dimension d. Returns the sum of
 * squares of what both planes lose. */
INLINE lanes_f take_signs(const lanes_f *x, lanes_f scale, lanes_i *signs) {
    const lanes_f inverse = inverse_of(scale), magic = splat(ROUND_MAGIC);
    const lanes_i quarter = (lanes_i)(scale * splat(0.25f));
    lanes_f squares = splat(0.0f);
    *signs = (lanes_i){0};
    for (uint32_t d = 0; d < RSR_SKETCH_SLICE; d++) {
        const lanes_f lost = x[d] - ((x[d] * inverse + magic) - magic) * scale;
        const lanes_i negative = (lanes_i)(lost < splat(0.0f));
        const lanes_f lost2 = lost - (lanes_f)(quarter | (negative & INT32_MIN));
        *signs = *signs | (lanes_i)((~(lanes_u)negative & 1) << d);
        squares = squares + lost2 * lost2;
    }
    return squares;
}

INLINE void store_codes(uint8_t *at, size_t stride, lanes_i codes) {
    for (uint32_t i = 0; i < LANES; i++)
        at[i * stride] = (uint8_t)codes[i];
}

INLINE void store_plane(const struct rsr_sketch_making *making, uint32_t plane, uint32_t vector,
                        uint32_t slice, const lanes_i *words) {
    const struct rsr_sketch_shape *shape = making->shape;
    char *codes = making->block + shape->plane_at[plane];
    if (plane == 1) {
        store_rows(codes + 4 * rsr_sketch_vector_word(shape, vector, slice),
                   (size_t)16 * shape->n_slices, words);
        return;
    }
    for (uint32_t w = 0; w < 4; w++) {
        const size_t word = rsr_sketch_lane_word(shape, vector / RSR_SKETCH_LANES, slice, w);
        memcpy(codes + 4 * (word + vector % RSR_SKETCH_LANES), &words[w], sizeof(words[w]));
    }
}

/* A stored norm: step 2. `lost`: of a plane, a sum of squares. */
INLINE lanes_f residual_of(lanes_f lost, lanes_f fuzz) {
    return (lanes_sqrt(lost) + fuzz) * splat(1.0f + 0x1p-17f) + splat(0x1p-60f);
}

/* The largest code of at most x. */
INLINE lanes_i encode_down(lanes_f x) {
    const lanes_i code = encode(x);
    return code + (lanes_i)(decode(code) > x); /* a true comparison is -1 */
}

/* Makes a slice of a flat shape's second plane; the first plane's residuals and scales are
 * given. */
INLINE void build_gains(const struct rsr_sketch_making *making, uint32_t vector, uint32_t slice,
                        const lanes_f *x, lanes_f fuzz, lanes_i residual, lanes_i scale) {
    const struct rsr_sketch_shape *shape = making->shape;
    lanes_i signs;
    const lanes_f lost = residual_of(take_signs(x, decode(scale), &signs), fuzz);
    const lanes_f gain = (decode(residual) - lost) * splat(1.0f - 0x1p-17f);
    const lanes_i codes = encode_down(lanes_max(gain, splat(0.0f)));
    for (uint32_t i = 0; i < LANES; i++) {
        struct rsr_sketch_gain *to =
            (struct rsr_sketch_gain *)(void *)(making->block +
                                               rsr_sketch_gains_at(shape, vector + i)) +
            slice / RSR_SKETCH_TEAM;
        const uint32_t place = slice % RSR_SKETCH_TEAM, bits = (uint32_t)signs[i];
        for (uint32_t w = 0; w < 8; w++)
            to->signs[w] |= (uint64_t)(bits >> 4 * w & 15) << 4 * place;
        to->scales[place] = (uint8_t)(codes[i] > 0 ? scale[i] : 0); /* 0: signs would lose more */
        to->gains[place] = (uint8_t)codes[i];
    }
}

/* Makes one slice of LANES vectors. Returns N_s of these vectors. */
TARGET static lanes_f build_slice(const struct rsr_sketch_making *making, uint32_t vector,
                                  uint32_t slice, struct row_results *results) {
    const struct rsr_sketch_shape *shape = making->shape;
    const size_t by_slice = (size_t)slice * RSR_SKETCH_VECTORS + vector;
    lanes_f x[RSR_SKETCH_SLICE];
    struct sliced sliced;
    const lanes_f largest = centred_slice(making, vector, slice, x);
    const lanes_i scale =
        encode(largest * splat(making->inverse_unit) * splat(RSR_SKETCH_SCALE_OF_LARGEST));
    quantise(x, decode(scale), &sliced);
    store_codes((uint8_t *)making->block + shape->scales_at + by_slice, 1, scale);
    results->squares = results->squares + sliced.squares;
    const lanes_f norm = lanes_sqrt(sliced.squares);
    const lanes_f fuzz = (norm + lanes_sqrt(sliced.lost[0])) * splat(0x1p-22f);
    const lanes_i any = (lanes_i)(largest > splat(0.0f));
    const bool flat = rsr_sketch_is_flat(shape);
    for (uint32_t p = 0; p < (flat ? 1 : shape->n_planes); p++) {
        const lanes_i code = encode(residual_of(sliced.lost[p], fuzz)) & any;
        const size_t at[] = {by_slice, (size_t)vector * shape->n_slices + slice};
        const size_t strides[] = {1, shape->n_slices};
        store_codes((uint8_t *)making->block + shape->residual_at[p] + at[p], strides[p], code);
        const lanes_i larger = (lanes_i)(code > results->residuals[p]);
        results->residuals[p] = choose(larger, code, results->residuals[p]);
        store_plane(making, p, vector, slice, sliced.words[p]);
        if (flat && shape->n_planes > 1)
            build_gains(making, vector, slice, x, fuzz, code, scale);
    }
    return norm * splat(1.0f + 0x1p-17f) + splat(0x1p-60f);
}

/* Prefetches share i of n to the L2 cache. */
INLINE void fetch_share(const struct rsr_sketch_next *next, uint32_t i, uint32_t n) {
    const size_t n_lines = (next->bytes + 63) / 64;
    for (size_t line = n_lines * i / n; line < n_lines * (i + 1) / n; line++)
        rsr_fetch_line((const char *)next->at + 64 * line, true);
}

TARGET static void build_codes(const struct rsr_sketch_making *making, lanes_f *squares,
                               const struct rsr_sketch_next *next) {
    const struct rsr_sketch_shape *shape = making->shape;
    const uint32_t n_steps = RSR_SKETCH_VECTORS / LANES * shape->n_slices;
    uint32_t n_done = 0;
    struct rsr_sketch_header *header = (struct rsr_sketch_header *)(void *)making->block;
    float *norms = (float *)(void *)(making->block + shape->norms_at);
    for (uint32_t vector = 0; vector < RSR_SKETCH_VECTORS; vector += LANES) {
        struct row_results results = {.squares = splat(0.0f)};
        for (uint32_t slice = 0; slice < shape->n_slices; slice++, n_done++) {
            if (next != NULL)
                fetch_share(next, n_done, n_steps);
            const float norm = largest_lane(build_slice(making, vector, slice, &results));
            norms[slice] = norm > norms[slice] ? norm : norms[slice];
        }
        *squares = lanes_max(*squares, results.squares);
        for (uint32_t p = 0; p < shape->n_planes; p++)
            for (uint32_t i = 0; i < LANES; i++)
                if (results.residuals[p][i] > header->largest_residual[p])
                    header->largest_residual[p] = (uint8_t)results.residuals[p][i];
    }
    if (rsr_sketch_is_flat(shape))
        header->largest_residual[1] = header->largest_residual[0];
}

TARGET void BUILD_NAME(const struct rsr_sketch_shape *shape, void *block, const float *vectors,
                       size_t stride, const float *centre, const struct rsr_sketch_next *next) {
    struct rsr_sketch_making making;
    lanes_f squares = splat(0.0f);
    rsr_sketch_begin(&making, shape, block, vectors, stride, centre);
    const float largest_mean = measure_all(&making);
    if (!rsr_sketch_is_flat(shape)) {
        rsr_sketch_set_centre_unit(&making, largest_mean);
        store_centre(&making);
    }
    rsr_sketch_set_units(&making, largest_extent(&making));
    if (!rsr_sketch_is_flat(shape))
        store_box(&making);
    build_codes(&making, &squares, next);
    rsr_sketch_set_radius(&making, largest_lane(squares));
}
