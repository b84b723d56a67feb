/* sketch.c - makes queries, and the part of a bound that all vectors of a block share. The
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

/* ---- Queries ---- */

size_t rsr_sketch_query_bytes(const struct rsr_sketch_shape *shape) {
    return align64(shape->n_slices * RSR_SKETCH_SLICE) +
           (size_t)align64(shape->n_slices * 5 * (uint32_t)sizeof(float));
}

/* Not below 2^-60 unless 0: step 3. */
static float scaled_norm(double squares) {
    const double norm = rsr_sum_up(sqrt(squares));
    return squares == 0.0 ? 0.0f : rsr_float_up(norm > SMALLEST_SCALE ? norm : SMALLEST_SCALE);
}

/* The next integer, ties to even, of magnitudes below 2^51. */
static double nearest(double x) {
    return x + 0x1.8p52 - 0x1.8p52;
}

static double largest_of(const double *x) {
    double largest = 0.0;
    for (uint32_t i = 0; i < RSR_SKETCH_SLICE; i++)
        largest = fabs(x[i]) > largest ? fabs(x[i]) : largest;
    return largest;
}

/* In 4 partial sums, which need not wait for each other. */
static double squares_of(const double *x) {
    double sums[4] = {0.0};
    for (uint32_t i = 0; i < RSR_SKETCH_SLICE; i++)
        sums[i % 4] += x[i] * x[i];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

/* Codes of a slice with scale a, places as in the query; what they lose. Returns their sum. */
static int32_t quantise_query(const double *x, double a, int8_t *codes, double *lost) {
    const double inverse = a > 0.0 ? 1.0 / a : 0.0;
    int32_t sum = 0;
    for (uint32_t i = 0; i < RSR_SKETCH_SLICE; i++) {
        double code = nearest(x[i] * inverse);
        code = code > 127.0 ? 127.0 : code < -127.0 ? -127.0 : code;
        codes[(i & 4) * 4 + i / 8 * 4 + (i & 3)] = (int8_t)code;
        sum += (int32_t)code;
        lost[i] = x[i] - a * code;
    }
    return sum;
}

static int32_t sum_of_squares(const int8_t *codes) {
    int32_t sum = 0;
    for (uint32_t i = 0; i < RSR_SKETCH_SLICE; i++)
        sum += codes[i] * codes[i];
    return sum;
}

void rsr_sketch_prepare(const struct rsr_sketch_shape *shape, const float *q, void *memory,
                        struct rsr_sketch_query *query) {
    const uint32_t n = shape->n_slices;
    int8_t *codes = memory;
    float *floats = (float *)(void *)((char *)memory + align64(n * RSR_SKETCH_SLICE));
    float *scale = floats, *scale2 = floats + n, *norms = floats + 2 * n, *errors = floats + 3 * n;
    int32_t *sums = (int32_t *)(void *)(floats + 4 * n);
    float largest = 0.0f;
    for (uint32_t d = 0; d < shape->dim; d++)
        largest = fabsf(q[d]) > largest ? fabsf(q[d]) : largest;
    const int exponent = largest > 0.0f ? ilogbf(largest) + 1 : 0;
    const double unit = ldexp(1.0, -exponent);
    double sum = 0.0;
    for (uint32_t s = 0; s < n; s++) {
        double x[RSR_SKETCH_SLICE], lost[RSR_SKETCH_SLICE];
        for (uint32_t i = 0; i < RSR_SKETCH_SLICE; i++) {
            const uint32_t d = s * RSR_SKETCH_SLICE + i;
            x[i] = d < shape->dim ? (double)q[d] * unit : 0.0;
        }
        const double a = largest_of(x) / 127.0;
        scale[s] = a < SMALLEST_SCALE ? 0.0f : (float)a;
        scale2[s] = scale[s] / 16.0f;
        sums[s] = 8 * quantise_query(x, (double)scale[s], codes + s * RSR_SKETCH_SLICE, lost);
        const double size = (double)sum_of_squares(codes + s * RSR_SKETCH_SLICE);
        norms[s] = (float)UNLESS_OMITTED(OMIT_RESIDUAL,
                                         scaled_norm((double)scale[s] * (double)scale[s] * size));
        errors[s] = scaled_norm(squares_of(lost));
        sum += squares_of(x);
    }
    *query = (struct rsr_sketch_query){.q = q,
                                       .norm = ldexp(rsr_sum_up(sqrt(sum)), exponent),
                                       .exponent = exponent,
                                       .scale = {scale, scale2},
                                       .norms = norms,
                                       .errors = errors,
                                       .sums = sums,
                                       .codes = codes};
}

/* ---- Bounds of a block ---- */

static float centre_value(uint16_t bits) {
    const uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof(value));
    return value;
}

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
        sum += UNLESS_OMITTED(OMIT_QUERY_ERROR, error * n) + g * m * (n + 2.0 * residual);
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
    const double least = UNLESS_OMITTED(OMIT_BOX, fmin(box, ball));
    struct rsr_sketch_frame frame = {
        .bound = rsr_round_up(dots.centre + rsr_sum_up(centre_error + least)),
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
