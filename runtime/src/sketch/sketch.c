/* sketch.c - prepares queries, and computes the part of a bound that all vectors of a block share.
 * The steps named in comments are those of the proof in sketch.h. */
#include <assert.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "sketch_round.h"
#include "sketch_scan.h"

/* Tests compile this file with one term of the bound taken out, and must see vectors missed. */
#ifndef RSR_SKETCH_OMIT
#define RSR_SKETCH_OMIT 0
#endif
enum { OMIT_RESIDUAL = 1, OMIT_QUERY_ERROR, OMIT_SCAN_ERROR, OMIT_BOX, OMIT_CENTRE_ERROR };
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
    s.box_at = at += (uint32_t)sizeof(float) + padded;
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

struct rsr_sketch_shape rsr_sketch_flat_shape(uint32_t dim, uint32_t n_planes) {
    struct rsr_sketch_shape s = rsr_sketch_shape_of(dim, n_planes);
    const uint32_t per_vector = s.n_slices * RSR_SKETCH_VECTORS;
    s.centre_at = s.box_at = s.residual_at[1] = 0;
    s.scales_at = s.norms_at + s.n_slices * (uint32_t)sizeof(float);
    s.residual_at[0] = s.scales_at + per_vector;
    s.plane_at[0] = align64(s.residual_at[0] + per_vector);
    s.block_bytes = s.plane_at[0] + per_vector * RSR_SKETCH_SLICE / 2;
    if (n_planes > 1) {
        s.plane_at[1] = s.block_bytes;
        s.block_bytes +=
            RSR_SKETCH_VECTORS * rsr_sketch_teams_of(&s) * (uint32_t)sizeof(struct rsr_sketch_gain);
    }
    return s;
}

#if defined(__x86_64__)
bool rsr_sketch_float_mode(void) {
    /* These bits of the control register: rounding mode, flushing of denormal results and
     * operands. */
    return (_mm_getcsr() & 0xe040u) == 0;
}
#else
bool rsr_sketch_float_mode(void) {
    /* Three sums halfway between two floats: every mode but round to nearest fails one of them. */
    volatile float one = 1.0f, half_step = 0x1p-24f;
    volatile float up = one + half_step, down = -one - half_step, below = one - half_step / 2.0f;
    /* Denormals are made and used, but compared as normal numbers, because flushing affects
     * comparisons, too. */
    volatile float small = 0x1p-70f, denormal = small * small, used = denormal * 0x1p100f;
    volatile double small2 = 0x1p-535, denormal2 = small2 * small2, used2 = denormal2 * 0x1p1000;
    return up == 1.0f && down == -1.0f && below == 1.0f && used == 0x1p-40f && used2 == 0x1p-70;
}
#endif

/* ---- Queries ---- */

/* Byte offsets in the memory of a query. */
struct query_layout {
    size_t slack, codes, teams, floats, slices, box, bytes; /* fine codes are first */
};

#define FLOATS_PER_SLICE 4 /* 3 arrays of float, one of int32 */

static struct query_layout query_layout_of(const struct rsr_sketch_shape *shape) {
    const uint32_t n = shape->n_slices, padded = rsr_sketch_teams_of(shape) * RSR_SKETCH_TEAM;
    struct query_layout layout;
    layout.slack = rsr_sketch_is_flat(shape) ? 0 : (size_t)n * RSR_SKETCH_SLICE * sizeof(int16_t);
    layout.codes = layout.slack + align64(n * (uint32_t)sizeof(double));
    layout.teams = layout.codes + align64(n * RSR_SKETCH_SLICE);
    layout.floats =
        layout.teams + (rsr_sketch_is_flat(shape) ? (size_t)padded * RSR_SKETCH_SLICE : 0);
    layout.slices = layout.floats + padded * FLOATS_PER_SLICE * sizeof(float);
    layout.box = layout.slices + align64(n * (uint32_t)sizeof(struct rsr_sketch_slice));
    layout.bytes = layout.box + align64(n * RSR_SKETCH_SLICE);
    return layout;
}

size_t rsr_sketch_query_bytes(const struct rsr_sketch_shape *shape) {
    return query_layout_of(shape).bytes;
}

/* Either 0 or at least 2^-60: step 3. */
static float scaled_norm(double squares) {
    const double norm = rsr_sum_up(sqrt(squares));
    return squares == 0.0 ? 0.0f : rsr_float_up(norm > SMALLEST_SCALE ? norm : SMALLEST_SCALE);
}

/* The nearest integer, ties to even; for magnitudes below 2^51. */
static double nearest(double x) {
    return x + 0x1.8p52 - 0x1.8p52;
}

/* Here and below, 4 partial results are independent, so they need not wait for each other. */
static double largest_of(const double *x) {
    double largest[4] = {0.0};
    for (uint32_t i = 0; i < RSR_SKETCH_SLICE; i += 4)
        for (uint32_t l = 0; l < 4; l++)
            largest[l] = fabs(x[i + l]) > largest[l] ? fabs(x[i + l]) : largest[l];
    for (uint32_t l = 1; l < 4; l++)
        largest[0] = largest[l] > largest[0] ? largest[l] : largest[0];
    return largest[0];
}

static double squares_of(const double *x) {
    double sums[4] = {0.0};
    for (uint32_t i = 0; i < RSR_SKETCH_SLICE; i += 4)
        for (uint32_t l = 0; l < 4; l++)
            sums[l] += x[i + l] * x[i + l];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

/* Computes the codes of a slice with scale a, in the query's order, and what they lose. Returns the
 * sum of the codes. Each loop does one thing, so that compilers vectorise it. */
static int32_t quantise_query(const double *x, double a, int8_t *codes, double *lost) {
    const double inverse = a > 0.0 ? 1.0 / a : 0.0;
    int32_t code[RSR_SKETCH_SLICE], sum = 0;
    int8_t bytes[RSR_SKETCH_SLICE];
    for (uint32_t i = 0; i < RSR_SKETCH_SLICE; i++) {
        double c = nearest(x[i] * inverse);
        c = c > 127.0 ? 127.0 : c;
        c = c < -127.0 ? -127.0 : c;
        lost[i] = x[i] - a * c;
        code[i] = (int32_t)c;
    }
    for (uint32_t i = 0; i < RSR_SKETCH_SLICE; i++) {
        sum += code[i];
        bytes[i] = (int8_t)code[i];
    }
    for (uint32_t w = 0; w < RSR_SKETCH_SLICE / 4; w++)
        memcpy(codes + w % 2 * 16 + w / 2 * 4, bytes + 4 * w, 4);
    return sum;
}

/* Computes codes of elements up to 1 with scale 2^-14, in their own order. Returns the sum of
 * squares of what the codes lose. */
static double quantise_fine(const double *x, int16_t *codes) {
    double lost[RSR_SKETCH_SLICE];
    int32_t code[RSR_SKETCH_SLICE];
    for (uint32_t i = 0; i < RSR_SKETCH_SLICE; i++) {
        const double c = nearest(x[i] * 0x1p14);
        lost[i] = x[i] - c * 0x1p-14;
        code[i] = (int32_t)c;
    }
    for (uint32_t i = 0; i < RSR_SKETCH_SLICE; i++)
        codes[i] = (int16_t)code[i];
    return squares_of(lost);
}

static int32_t sum_of_squares(const int8_t *codes) {
    int32_t sum = 0;
    for (uint32_t i = 0; i < RSR_SKETCH_SLICE; i++)
        sum += codes[i] * codes[i];
    return sum;
}

static void fill_slices(const struct rsr_sketch_query *query, uint32_t n,
                        struct rsr_sketch_slice *slices) {
    for (uint32_t s = 0; s < n; s++) {
        memcpy(slices[s].codes, query->codes + s * RSR_SKETCH_SLICE, RSR_SKETCH_SLICE);
        slices[s].scale = query->scale[0][s] * RSR_SKETCH_HALF;
        slices[s].norm = query->norms[s] * RSR_SKETCH_HALF;
        slices[s].centre = -query->sums[s];
    }
}

/* Codes |x[i]| / unit, rounded up; a small margin covers the rounding of the quotient. */
static void round_magnitudes_up(const double *x, double unit, int8_t *codes) {
    const double inverse = unit > 0.0 ? (1.0 + 0x1p-40) / unit : 0.0;
    int32_t code[RSR_SKETCH_SLICE];
    for (uint32_t i = 0; i < RSR_SKETCH_SLICE; i++) {
        const double quotient = fabs(x[i]) * inverse, near = nearest(quotient);
        code[i] = (int32_t)(near + (near < quotient ? 1.0 : 0.0));
    }
    for (uint32_t i = 0; i < RSR_SKETCH_SLICE; i++)
        codes[i] = (int8_t)code[i];
}

static float largest_magnitude(const float *x, uint32_t n) {
    float largest[4] = {0.0f};
    for (uint32_t i = 0; i < n; i += 4)
        for (uint32_t l = 0; l < 4 && l < n - i; l++)
            largest[l] = fabsf(x[i + l]) > largest[l] ? fabsf(x[i + l]) : largest[l];
    for (uint32_t l = 1; l < 4; l++)
        largest[0] = largest[l] > largest[0] ? largest[l] : largest[0];
    return largest[0];
}

/* The codes of 16 slices side by side: 4 dimensions of each, then the next 4. */
static void team_up(const int8_t *codes, uint32_t n_slices, int8_t *teams) {
    for (uint32_t s = 0; s < n_slices; s++) {
        int8_t *team = teams + (size_t)(s / RSR_SKETCH_TEAM) * 8 * RSR_SKETCH_TEAM * 4;
        for (uint32_t w = 0; w < 8; w++)
            memcpy(team + (w * RSR_SKETCH_TEAM + s % RSR_SKETCH_TEAM) * 4,
                   codes + s * RSR_SKETCH_SLICE + w % 2 * 16 + w / 2 * 4, 4);
    }
}

void rsr_sketch_prepare(const struct rsr_sketch_shape *shape, const float *q, void *memory,
                        struct rsr_sketch_query *query) {
    const struct query_layout layout = query_layout_of(shape);
    const uint32_t n = shape->n_slices, padded = rsr_sketch_teams_of(shape) * RSR_SKETCH_TEAM;
    const bool flat = rsr_sketch_is_flat(shape);
    char *bytes = memory;
    int16_t *fine = flat ? NULL : memory;
    double *slack = (double *)(void *)(bytes + layout.slack);
    int8_t *codes = (int8_t *)(bytes + layout.codes);
    float *scale = (float *)(void *)(bytes + layout.floats), *scale2 = scale + padded;
    float *norms = scale + 2 * padded;
    int32_t *sums = (int32_t *)(void *)(scale + 3 * padded);
    struct rsr_sketch_slice *slices = (struct rsr_sketch_slice *)(void *)(bytes + layout.slices);
    const float largest = largest_magnitude(q, shape->dim);
    const int exponent = largest > 0.0f ? ilogbf(largest) + 1 : 0;
    const double unit = ldexp(1.0, -exponent);
    /* 126.5, so that no code exceeds 127. */
    const double box_unit = (double)largest * unit / 126.5;
    int8_t *box = (int8_t *)(bytes + layout.box);
    const double operations = flat ? 4.0 * n + 6.0 : 2.0 * n + 3.0; /* step 4 */
    const double g = UNLESS_OMITTED(OMIT_SCAN_ERROR, operations * 0x1p-24);
    double squares = 0.0, norm_sum = 0.0, fine_squares = 0.0;
    memset(bytes + layout.teams, 0, layout.bytes - layout.teams);
    for (uint32_t s = 0; s < n; s++) {
        const uint32_t first = s * RSR_SKETCH_SLICE;
        double x[RSR_SKETCH_SLICE], lost[RSR_SKETCH_SLICE];
        float tail[RSR_SKETCH_SLICE] = {0.0f};
        const float *elements = q + first;
        if (shape->dim - first < RSR_SKETCH_SLICE)
            elements = memcpy(tail, q + first, (shape->dim - first) * sizeof(float));
        for (uint32_t i = 0; i < RSR_SKETCH_SLICE; i++)
            x[i] = (double)elements[i] * unit;
        if (!flat)
            fine_squares += quantise_fine(x, fine + first);
        round_magnitudes_up(x, box_unit, box + s * RSR_SKETCH_SLICE);
        const double a = largest_of(x) / 127.0;
        scale[s] = a < SMALLEST_SCALE ? 0.0f : (float)a;
        scale2[s] = scale[s] / (flat ? 4.0f : 16.0f);
        sums[s] = 8 * quantise_query(x, (double)scale[s], codes + s * RSR_SKETCH_SLICE, lost);
        const double size = (double)sum_of_squares(codes + s * RSR_SKETCH_SLICE);
        norms[s] = (float)UNLESS_OMITTED(OMIT_RESIDUAL,
                                         scaled_norm((double)scale[s] * (double)scale[s] * size));
        slack[s] =
            UNLESS_OMITTED(OMIT_QUERY_ERROR, scaled_norm(squares_of(lost))) + g * (double)norms[s];
        norm_sum += (double)norms[s];
        squares += squares_of(x);
    }
    int8_t *teams = flat ? (int8_t *)(bytes + layout.teams) : NULL;
    if (flat)
        team_up(codes, n, teams);
    *query = (struct rsr_sketch_query){.q = q,
                                       .norm = ldexp(rsr_sum_up(sqrt(squares)), exponent),
                                       .exponent = exponent,
                                       .fine = fine,
                                       .fine_unit = ldexp(1.0, exponent - 14),
                                       .box_unit = ldexp(box_unit, exponent),
                                       .box = box,
                                       .scale = {scale, scale2},
                                       .norms = norms,
                                       .sums = sums,
                                       .codes = codes,
                                       .teams = teams,
                                       .slices = slices,
                                       .slack = slack,
                                       .residual_slack = (flat ? 5.0 : 2.0) * g * norm_sum};
    const double error =
        flat ? shape->dim * 0x1p-52 * query->norm : ldexp(rsr_sum_up(sqrt(fine_squares)), exponent);
    query->centre_error = UNLESS_OMITTED(OMIT_CENTRE_ERROR, error); /* step 5 */
    fill_slices(query, n, slices);
}

void rsr_sketch_prepare_flat(const struct rsr_sketch_shape *shape, const float *q,
                             const float *centre, void *memory, struct rsr_sketch_query *query) {
    double sums[8] = {0.0};
    rsr_sketch_prepare(shape, q, memory, query);
    for (uint32_t d = 0; d < shape->dim; d++)
        sums[d % 8] += (double)q[d] * (double)centre[d];
    query->centre =
        ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

/* ---- Bounds of a block ---- */

/* 2^exponent, a normal number. */
static double power_of_two(int exponent) {
    const uint64_t bits = (uint64_t)(exponent + 1023) << 52;
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

struct rsr_sketch_frame rsr_sketch_frame_from(const struct rsr_sketch_shape *shape,
                                              const void *block,
                                              const struct rsr_sketch_query *query,
                                              struct rsr_sketch_dots dots) {
    const struct rsr_sketch_header *header = rsr_sketch_header_of(block);
    const float *norms = (const float *)(const void *)((const char *)block + shape->norms_at);
    const double centre_error = rsr_sum_up(query->centre_error * header->centre_norm);
    const double box_unit = (double)header->box_unit * query->box_unit;
    const double box = rsr_sketch_is_flat(shape) ? INFINITY : rsr_sum_up(dots.box * box_unit);
    const double ball = rsr_sum_up(query->norm * header->radius);
    const double least = UNLESS_OMITTED(OMIT_BOX, box < ball ? box : ball);
    struct rsr_sketch_frame frame = {
        .bound = rsr_step_up(dots.centre + rsr_sum_up(centre_error + least)),
        .unit = power_of_two(header->unit_exponent + query->exponent),
    };
    double slack = 0.0; /* step 4 */
    for (uint32_t s = 0; s < shape->n_slices; s++)
        slack += (double)norms[s] * query->slack[s];
    for (uint32_t p = 0; p < shape->n_planes; p++) {
        const double residual = (double)rsr_sketch_decode(header->largest_residual[p]);
        const double all = frame.unit * (slack + residual * query->residual_slack);
        frame.offset[p] = rsr_step_up(dots.centre + rsr_sum_up(centre_error + all));
    }
    return frame;
}

/* q' . mu: step 5. */
static double dot_centre(const struct rsr_sketch_shape *shape, const void *block,
                         const struct rsr_sketch_query *query) {
    const uint32_t n = shape->n_slices * RSR_SKETCH_SLICE;
    const struct rsr_sketch_centre centre = rsr_sketch_centre_of(shape, block);
    double sum = 0.0;
    for (uint32_t begin = 0; begin < n; begin += RSR_SKETCH_EXACT_DIM) {
        const uint32_t end = n - begin < RSR_SKETCH_EXACT_DIM ? n : begin + RSR_SKETCH_EXACT_DIM;
        int32_t part = 0;
        for (uint32_t d = begin; d < end; d++)
            part += query->fine[d] * centre.codes[d];
        sum += (double)part;
    }
    return sum * ((double)centre.unit * query->fine_unit);
}

struct rsr_sketch_frame rsr_sketch_frame_of(const struct rsr_sketch_shape *shape, const void *block,
                                            const struct rsr_sketch_query *query) {
    if (rsr_sketch_is_flat(shape))
        return rsr_sketch_frame_from(shape, block, query,
                                     (struct rsr_sketch_dots){.centre = query->centre});
    const uint8_t *box = (const uint8_t *)block + shape->box_at;
    int32_t sum = 0;
    for (uint32_t d = 0; d < shape->n_slices * RSR_SKETCH_SLICE; d++)
        sum += query->box[d] * box[d];
    const struct rsr_sketch_dots dots = {dot_centre(shape, block, query), sum};
    return rsr_sketch_frame_from(shape, block, query, dots);
}

double rsr_sketch_upper(const struct rsr_sketch_frame *frame, uint32_t plane, float t) {
    return rsr_round_up(frame->offset[plane] + frame->unit * (double)t);
}
