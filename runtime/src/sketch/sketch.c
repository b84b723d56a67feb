/* sketch.c - makes blocks and queries, and the part of a bound that all vectors of a block share. The
 * steps named in comments are those of the proof in sketch.h. */
#include <assert.h>
#include <string.h>

#include "sketch_round.h"
#include "sketch_scan.h"

/* Tests compile this file with one term of the bound taken out, and must see vectors missed. */
#ifndef RSR_SKETCH_OMIT
#define RSR_SKETCH_OMIT 0
#endif
enum { OMIT_RESIDUAL = 1, OMIT_QUERY_ERROR, OMIT_SCAN_ERROR, OMIT_BOX };
#define UNLESS_OMITTED(term, value) (RSR_SKETCH_OMIT == (term) ? 0.0 : (value))

#define LARGEST_CODE 119       /* 16 * 7 + 7: both digits in range */
#define SMALLEST_SCALE 0x1p-60 /* step 3 */

static uint32_t align64(uint32_t n) {
    return (n + 63u) & ~63u;
}

struct rsr_sketch_shape rsr_sketch_shape_of(uint32_t dim, uint32_t n_planes) {
    assert(dim >= 1 && dim <= RSR_SKETCH_MAX_DIM);
    assert(n_planes >= 1 && n_planes <= RSR_SKETCH_MAX_PLANES);
    struct rsr_sketch_shape s = {.dim = dim, .n_planes = n_planes};
    s.n_slices = (dim + RSR_SKETCH_SLICE - 1) / RSR_SKETCH_SLICE;
    const uint32_t padded = s.n_slices * RSR_SKETCH_SLICE;
    const uint32_t per_vector = s.n_slices * RSR_SKETCH_VECTORS;
    uint32_t at = (uint32_t)sizeof(struct rsr_sketch_header);
    s.norms_at = at;
    s.centre_at = at += s.n_slices * (uint32_t)sizeof(float);
    s.box_at = at += padded * (uint32_t)sizeof(uint16_t);
    s.scales_at = at += padded;
    s.residual_at[0] = at += per_vector;
    at = align64(at + per_vector);
    for (uint32_t p = 0; p < n_planes; p++) {
        s.plane_at[p] = at;
        at += per_vector * RSR_SKETCH_SLICE / 2;
    }
    s.residual_at[1] = at;
    s.block_bytes = n_planes == 1 ? at : at + per_vector;
    return s;
}

bool rsr_sketch_float_mode(void) {
    /* Halfway between two numbers: all but round to nearest err in one of the three. */
    volatile float one = 1.0f, half_step = 0x1p-24f;
    volatile float up = one + half_step, down = -one - half_step, below = one - half_step / 2.0f;
    /* Denormals made, then used: compared as normal numbers, for flushing hits comparisons, too. */
    volatile float small = 0x1p-70f, denormal = small * small, used = denormal * 0x1p100f;
    volatile double small2 = 0x1p-535, denormal2 = small2 * small2, used2 = denormal2 * 0x1p1000;
    return up == 1.0f && down == -1.0f && below == 1.0f && used == 0x1p-40f && used2 == 0x1p-70;
}

/* ---- Blocks ---- */

/* The smallest code of at least `value`, which is exact: step 2. */
static uint8_t encode_up(double value) {
    assert(value >= 0.0 && value <= (double)rsr_sketch_decode(255));
    const uint32_t n = (uint32_t)ceil(value);
    if (n < 16)
        return (uint8_t)n;
    uint32_t shift = 0;
    while ((n - 1) >> shift >= 31) /* (n - 1) >> shift, plus one, is n / 2^shift rounded up */
        shift++;
    const uint32_t mantissa = ((n - 1) >> shift) + 1;
    return (uint8_t)((shift + 1) << 4 | (mantissa - 16));
}

static float centre_value(uint16_t bits) {
    const uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof(value));
    return value;
}

/* The mean, cut to bfloat16 towards zero so that it stays finite. */
static void build_centre(const struct rsr_sketch_shape *shape, uint16_t *centre,
                         const float *vectors, size_t stride) {
    for (uint32_t d = 0; d < shape->dim; d++) {
        double sum = 0.0;
        for (uint32_t j = 0; j < RSR_SKETCH_VECTORS; j++)
            sum += (double)vectors[j * stride + d];
        /* A mean of floats rounds to at most the largest float. */
        const float mean = (float)(sum / RSR_SKETCH_VECTORS);
        uint32_t bits;
        memcpy(&bits, &mean, sizeof(bits));
        centre[d] = (uint16_t)(bits >> 16);
    }
    memset(centre + shape->dim, 0,
           (shape->n_slices * RSR_SKETCH_SLICE - shape->dim) * sizeof(*centre));
}

/* x of one slice, zero beyond the last dimension. */
static void centred_slice(const struct rsr_sketch_shape *shape, const uint16_t *centre,
                          const float *vector, uint32_t slice, double *x) {
    for (uint32_t i = 0; i < RSR_SKETCH_SLICE; i++) {
        const uint32_t d = slice * RSR_SKETCH_SLICE + i;
        x[i] = d < shape->dim ? (double)vector[d] - (double)centre_value(centre[d]) : 0.0;
    }
}

static double norm_of(const double *x, uint32_t n) {
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    return sqrt(sum);
}

/* The bounds that need no codes, and the unit. */
static void build_bounds(const struct rsr_sketch_shape *shape, char *block, const float *vectors,
                         size_t stride) {
    struct rsr_sketch_header *header = (struct rsr_sketch_header *)(void *)block;
    const uint16_t *centre = (const uint16_t *)(const void *)(block + shape->centre_at);
    uint8_t *box = (uint8_t *)(block + shape->box_at);
    double radius = 0.0, largest = 0.0, centre_sum = 0.0;
    for (uint32_t j = 0; j < RSR_SKETCH_VECTORS; j++) {
        double sum = 0.0;
        for (uint32_t d = 0; d < shape->dim; d++) {
            const double x = (double)vectors[j * stride + d] - (double)centre_value(centre[d]);
            sum += x * x;
            largest = fmax(largest, fabs(x));
        }
        radius = fmax(radius, sqrt(sum));
    }
    for (uint32_t d = 0; d < shape->dim; d++)
        centre_sum += (double)centre_value(centre[d]) * (double)centre_value(centre[d]);
    header->centre_norm = rsr_sum_up(sqrt(centre_sum));
    header->radius = UNLESS_OMITTED(OMIT_BOX, rsr_sum_up(radius));
    /* A hair above largest / 255, so that no quotient below exceeds 255. */
    header->box_unit = rsr_float_up(largest / 255.0 * (1.0 + 0x1p-20));
    /* Scales need largest / 7.4375 < 2^(e + 19 - 1.9), their residuals at most 3 times that: within the
     * 507,904 units of a code. */
    header->unit_exponent = (int16_t)(largest > 0.0 ? ilogb(largest) - 18 : 0);
    for (uint32_t d = 0; d < shape->n_slices * RSR_SKETCH_SLICE; d++) {
        double extent = 0.0;
        for (uint32_t j = 0; d < shape->dim && j < RSR_SKETCH_VECTORS; j++)
            extent = fmax(extent,
                          fabs((double)vectors[j * stride + d] - (double)centre_value(centre[d])));
        extent = UNLESS_OMITTED(OMIT_BOX, rsr_sum_up(extent));
        box[d] = extent > 0.0 ? (uint8_t)ceil(rsr_sum_up(extent / (double)header->box_unit)) : 0;
    }
}

/* What one vector keeps of a slice. */
struct sliced {
    int codes[RSR_SKETCH_SLICE]; /* 16 times the first plane's digit plus the second's */
    uint8_t scale, residual[RSR_SKETCH_MAX_PLANES];
    double norm; /* largest |X_s| / unit of the planes */
};

static int high_digit(int code) {
    return (code + 8) >> 4; /* floor: arithmetic shift */
}

static void quantise_slice(const double *x, double unit, struct sliced *out) {
    double largest = 0.0;
    for (uint32_t i = 0; i < RSR_SKETCH_SLICE; i++)
        largest = fmax(largest, fabs(x[i]));
    out->scale = encode_up(largest * 16.0 / LARGEST_CODE / unit);
    const double scale = (double)rsr_sketch_decode(out->scale) * unit;
    for (uint32_t i = 0; i < RSR_SKETCH_SLICE; i++) {
        const double code = scale > 0.0 ? rint(x[i] * 16.0 / scale) : 0.0;
        out->codes[i] = (int)fmin(fmax(code, -LARGEST_CODE), LARGEST_CODE);
    }
    const double x_norm = norm_of(x, RSR_SKETCH_SLICE);
    out->norm = 0.0;
    for (uint32_t p = 0; p < RSR_SKETCH_MAX_PLANES; p++) {
        double lost[RSR_SKETCH_SLICE], kept[RSR_SKETCH_SLICE];
        for (uint32_t i = 0; i < RSR_SKETCH_SLICE; i++) {
            kept[i] = (p == 0 ? 16 * high_digit(out->codes[i]) : out->codes[i]) * (scale / 16.0);
            lost[i] = x[i] - kept[i];
        }
        out->norm = fmax(out->norm, rsr_sum_up(norm_of(kept, RSR_SKETCH_SLICE)) / unit);
        const double residual = norm_of(lost, RSR_SKETCH_SLICE) + 0x1p-50 * x_norm;
        out->residual[p] = encode_up(UNLESS_OMITTED(OMIT_RESIDUAL, rsr_sum_up(residual) / unit));
    }
}

/* Places the digits of one plane. */
static void store_codes(const struct rsr_sketch_shape *shape, char *block, uint32_t plane,
                        uint32_t vector, uint32_t slice, const struct sliced *s) {
    const uint32_t group = vector / RSR_SKETCH_LANES, lane = vector % RSR_SKETCH_LANES;
    uint8_t *codes = (uint8_t *)(block + shape->plane_at[plane]);
    for (uint32_t w = 0; w < 4; w++) {
        const size_t word = plane == 0 ? rsr_sketch_lane_word(shape, group, slice, w) + lane
                                       : rsr_sketch_vector_word(shape, vector, slice) + w;
        for (uint32_t b = 0; b < 4; b++) {
            int digits[2];
            for (uint32_t half = 0; half < 2; half++) {
                const int code = s->codes[8 * w + 4 * half + b], high = high_digit(code);
                digits[half] = (plane == 0 ? high : code - 16 * high) + 8;
            }
            codes[4 * word + b] = (uint8_t)(digits[0] | digits[1] << 4);
        }
    }
}

/* Stores what a slice of a vector became. */
static void store_slice(const struct rsr_sketch_shape *shape, char *block, uint32_t vector,
                        uint32_t slice, const struct sliced *s) {
    struct rsr_sketch_header *header = (struct rsr_sketch_header *)(void *)block;
    const size_t by_slice = (size_t)slice * RSR_SKETCH_VECTORS + vector;
    const size_t at[RSR_SKETCH_MAX_PLANES] = {by_slice, (size_t)vector * shape->n_slices + slice};
    ((uint8_t *)(block + shape->scales_at))[by_slice] = s->scale;
    for (uint32_t p = 0; p < shape->n_planes; p++) {
        ((uint8_t *)(block + shape->residual_at[p]))[at[p]] = s->residual[p];
        if (s->residual[p] > header->largest_residual[p])
            header->largest_residual[p] = s->residual[p];
        store_codes(shape, block, p, vector, slice, s);
    }
}

void rsr_sketch_build(const struct rsr_sketch_shape *shape, void *memory, const float *vectors,
                      size_t stride) {
    char *block = memory;
    struct rsr_sketch_header *header = memory;
    uint16_t *centre = (uint16_t *)(void *)(block + shape->centre_at);
    float *norms = (float *)(void *)(block + shape->norms_at);
    memset(block, 0, shape->plane_at[0]);
    build_centre(shape, centre, vectors, stride);
    build_bounds(shape, block, vectors, stride);
    const double unit = ldexp(1.0, header->unit_exponent);
    for (uint32_t slice = 0; slice < shape->n_slices; slice++) {
        double largest = 0.0;
        for (uint32_t j = 0; j < RSR_SKETCH_VECTORS; j++) {
            double x[RSR_SKETCH_SLICE];
            struct sliced s;
            centred_slice(shape, centre, vectors + j * stride, slice, x);
            quantise_slice(x, unit, &s);
            largest = fmax(largest, s.norm);
            store_slice(shape, block, j, slice, &s);
        }
        norms[slice] = rsr_float_up(largest);
    }
}

/* ---- Queries ---- */

size_t rsr_sketch_query_bytes(const struct rsr_sketch_shape *shape) {
    return align64(shape->n_slices * RSR_SKETCH_SLICE) +
           (size_t)align64(shape->n_slices * 5 * (uint32_t)sizeof(float));
}

/* Not below 2^-60 unless 0: step 3. */
static float scaled_norm(double norm) {
    return norm == 0.0 ? 0.0f : rsr_float_up(fmax(rsr_sum_up(norm), SMALLEST_SCALE));
}

void rsr_sketch_prepare(const struct rsr_sketch_shape *shape, const float *q, void *memory,
                        struct rsr_sketch_query *query) {
    const uint32_t n = shape->n_slices;
    int8_t *codes = memory;
    float *floats = (float *)(void *)((char *)memory + align64(n * RSR_SKETCH_SLICE));
    float *scale = floats, *scale2 = floats + n, *norms = floats + 2 * n, *errors = floats + 3 * n;
    int32_t *sums = (int32_t *)(void *)(floats + 4 * n);
    double largest = 0.0, sum = 0.0;
    for (uint32_t d = 0; d < shape->dim; d++) {
        largest = fmax(largest, fabs((double)q[d]));
        sum += (double)q[d] * (double)q[d];
    }
    const int exponent = largest > 0.0 ? ilogb(largest) + 1 : 0;
    for (uint32_t s = 0; s < n; s++) {
        double x[RSR_SKETCH_SLICE], lost[RSR_SKETCH_SLICE], slice_largest = 0.0;
        for (uint32_t i = 0; i < RSR_SKETCH_SLICE; i++) {
            const uint32_t d = s * RSR_SKETCH_SLICE + i;
            x[i] = d < shape->dim ? ldexp((double)q[d], -exponent) : 0.0;
            slice_largest = fmax(slice_largest, fabs(x[i]));
        }
        scale[s] = slice_largest / 127.0 < SMALLEST_SCALE ? 0.0f : (float)(slice_largest / 127.0);
        scale2[s] = scale[s] / 16.0f;
        sums[s] = 0;
        for (uint32_t i = 0; i < RSR_SKETCH_SLICE; i++) {
            const double a = (double)scale[s], code = a > 0.0 ? rint(x[i] / a) : 0.0;
            const int clamped = (int)fmin(fmax(code, -127.0), 127.0);
            codes[s * RSR_SKETCH_SLICE + (i & 4) * 4 + i / 8 * 4 + (i & 3)] = (int8_t)clamped;
            sums[s] += 8 * clamped;
            lost[i] = x[i] - a * clamped;
        }
        norms[s] = scaled_norm(norm_of(x, RSR_SKETCH_SLICE));
        errors[s] = scaled_norm(norm_of(lost, RSR_SKETCH_SLICE));
    }
    *query = (struct rsr_sketch_query){.q = q,
                                       .norm = rsr_sum_up(sqrt(sum)),
                                       .exponent = exponent,
                                       .scale = {scale, scale2},
                                       .norms = norms,
                                       .errors = errors,
                                       .sums = sums,
                                       .codes = codes};
}

/* ---- Bounds of a block ---- */

struct centre_dots {
    double centre, box; /* q . mu and sum |q_i| h_i */
};

/* In 8 partial sums, which compilers put into vector lanes. */
static struct centre_dots dot_centre(const struct rsr_sketch_shape *shape, const char *block,
                                     const float *q) {
    const uint16_t *centre = (const uint16_t *)(const void *)(block + shape->centre_at);
    const uint8_t *box = (const uint8_t *)(block + shape->box_at);
    double c[8] = {0.0}, b[8] = {0.0};
    uint32_t d = 0;
    for (; d + 8 <= shape->dim; d += 8) {
        for (uint32_t i = 0; i < 8; i++) {
            c[i] += (double)q[d + i] * (double)centre_value(centre[d + i]);
            b[i] += fabs((double)q[d + i]) * (double)box[d + i];
        }
    }
    for (; d < shape->dim; d++) {
        c[0] += (double)q[d] * (double)centre_value(centre[d]);
        b[0] += fabs((double)q[d]) * (double)box[d];
    }
    struct centre_dots sums = {0.0, 0.0};
    for (uint32_t i = 0; i < 8; i++) {
        sums.centre += c[i];
        sums.box += b[i];
    }
    return sums;
}

/* Step 4: the quantisation of the query and the roundings of a scan, in frame units. */
static double plane_slack(const struct rsr_sketch_shape *shape, const char *block,
                          const struct rsr_sketch_query *query, uint32_t plane) {
    const float *norms = (const float *)(const void *)(block + shape->norms_at);
    const double g = UNLESS_OMITTED(OMIT_SCAN_ERROR, (2.0 * shape->n_slices + 3.0) * 0x1p-24);
    const double residual =
        (double)rsr_sketch_decode(rsr_sketch_header_of(block)->largest_residual[plane]);
    double sum = 0.0;
    for (uint32_t s = 0; s < shape->n_slices; s++) {
        const double n = (double)norms[s], m = (double)query->norms[s];
        const double error = (double)query->errors[s];
        sum += UNLESS_OMITTED(OMIT_QUERY_ERROR, error * n) + g * ((m + error) * n + m * residual);
    }
    return rsr_sum_up(sum);
}

struct rsr_sketch_frame rsr_sketch_frame_of(const struct rsr_sketch_shape *shape, const void *block,
                                            const struct rsr_sketch_query *query) {
    const struct rsr_sketch_header *header = rsr_sketch_header_of(block);
    const struct centre_dots dots = dot_centre(shape, block, query->q);
    const double centre_error =
        rsr_sum_up(shape->dim * 0x1p-52 * query->norm * header->centre_norm);
    const double box = rsr_sum_up(dots.box * (double)header->box_unit);
    const double ball = rsr_sum_up(query->norm * header->radius);
    struct rsr_sketch_frame frame = {
        .bound = rsr_round_up(dots.centre + rsr_sum_up(centre_error + fmin(box, ball))),
        .unit = ldexp(1.0, header->unit_exponent + query->exponent),
    };
    for (uint32_t p = 0; p < shape->n_planes; p++) {
        const double slack = frame.unit * plane_slack(shape, block, query, p);
        frame.offset[p] = rsr_round_up(dots.centre + rsr_sum_up(centre_error + slack));
    }
    return frame;
}

float rsr_sketch_floor(const struct rsr_sketch_frame *frame, uint32_t plane, double threshold) {
    /* Both steps round down; dividing by a power of two is exact unless it underflows. */
    const double gap = rsr_round_down(threshold - frame->offset[plane]);
    return rsr_float_down(rsr_round_down(gap / frame->unit));
}

double rsr_sketch_upper(const struct rsr_sketch_frame *frame, uint32_t plane, float t) {
    return rsr_round_up(frame->offset[plane] + frame->unit * (double)t);
}
