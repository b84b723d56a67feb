/* sketch.h - low-bit copies of vectors that bound inner products from above, with proof.
 *
 * A block holds 64 vectors. It keeps their common centre and, for each vector and slice of 32
 * dimensions, 4-bit codes with an 8-bit scale, optionally more bits (a second plane), and the norm
 * of what the codes lost, rounded up. For a query q the block gives numbers ub[j] with q . k[j] <=
 * ub[j], by reading 4 (or more) bits per dimension. So a caller that drops k[j] because ub[j] < T
 * never drops a vector with q . k[j] >= T, for any data.
 *
 * There are two shapes of blocks:
 *   own    for vectors that come and go in blocks (the KV index). Each block has its own centre and
 *          box, and a second plane of 4 bits, which is read while the first plane is in the cache.
 *   flat   for a matrix that must stay small (the head). All blocks have one centre, given by the
 *          caller, and no box. The second plane has one bit; it is stored separately and adds to t
 *          of the first plane.
 *
 * THEOREM. Let k be a vector of finite float32, q a query of finite float32, both of at most
 * RSR_SKETCH_MAX_DIM dimensions; rounding to nearest, no flushing of denormals
 * (rsr_sketch_float_mode). Then, over the reals,
 *
 *     q . k <= frame.offset[p] + frame.unit * t[p]           for each plane p.
 *
 * PROOF. Write u = 2^-24, v = 2^-53, s for slices, n for their number, |.| for Euclidean norms.
 *
 * 1. The parts. mu is the centre (any numbers below 2^102 do), x = k - mu, X = sum c S unit the
 *    sketch (c codes, S integer scales, unit a power of two: X is exact), e = x - X. The quantised
 *    query Q = sum a i 2^E (i int8 codes, a float32, E an integer) is exact too; d = q - Q. Then
 *        q . k = q . mu + sum_s (Q_s . X_s + Q_s . e_s + d_s . x_s)
 *             <= q . mu + sum_s (Q_s . X_s + |Q_s| |e_s| + |d_s| |x_s|)           (Cauchy-Schwarz).
 *
 * 2. |e_s| and |x_s|, in float32 and in units, x' = fl(k - mu) / unit. No difference overflows, for
 *    |mu| < 2^102; it is off by at most u |x|, and x' of it by 2^-150 more, where it is denormal.
 *    (unit is at least 2^-126, and |x'| < 2^19.) A plane's digit times its scale is exact, so what
 *    the planes lose,
 *        l_0 = fl(x' - h S),  l_1 = fl(l_0 - h' S / 16),
 *    has |e_p| <= |l_p| (1 + 2u) + 2u |l_0| + 2u |x'| + 2^-149, in units, element by element.
 *    (Flat, S / 4 stands for S / 16, and h' is 1 or -1, or 0 in all of a slice where signs would
 *    lose more.) Of the sum of 32 squares all roundings together are at most 33 u relatively (and
 *    2^-145, where squares are denormal), its root is rounded once: |l| <= (1 + 19 u) fl|l| +
 *    2^-72. The norm that is stored,
 *        (fl|l_p| + 4u (fl|x'| + fl|l_0|)) (1 + 2^-17) + 2^-60,
 *    rounded up to a code, has 128 u in hand for 19 u and six roundings of its own; below 2^-36 the
 *    code is 1 anyway. It is 0 only where every k - mu of the slice is exactly 0. |x_s| <= unit N_s
 *    with N_s the largest fl|x'| (1 + 2^-17) + 2^-60 of the block, and that of all slices, of at
 *    most 290 u more, in the same way with 2^-14.
 *
 * 3. |d_s| <= 2^E D_s and |Q_s| <= 2^E M_s: q 2^-E and codes times a are exact in double, their
 *    difference rounds once; fewer than 2^14 operations on non-negative doubles, times 1 + 2^-36
 *    ("UP"), and then up to float32; M_s, D_s are 0 or at least 2^-60, a is 0 or at least 2^-60.
 *
 * 4. The scan computes, in float32, t = sum_s (a_s (i_s . c_s) S_s + M_s R_s), R_s the stored
 *    |e_s|. i_s . c_s and S_s are exact integers below 2^20; every product is 0 or at least 2^-64
 *    and below 2^64, so its rounding is relative; sums of float32 never underflow inexactly. A term
 *    meets at most 2 products and 2n sums: the error is at most g sum_s (a_s |i_s . c_s| S_s + M_s
 *    R_s) with g = (2n + 3) u, and a_s |i_s . c_s| S_s <= M_s (N_s + R), for X = x - e; R_s <= R,
 *    the largest of the block. Thus
 *        slack = sum_s (D_s N_s + g M_s (N_s + 2 R)), UP,
 *    covers both the query's quantisation and the scan, in units of frame.unit = 2^E unit.
 *
 *    Flat, the second plane's t is that of the first plus sum_s (a_s / 4 (i_s . h'_s) S_s - M_s
 *    G_s), where the stored gain G_s >= 0 is at most R_s - |e_s|, e of both planes, so R_s - G_s
 *    takes the place of R_s; h' S / 4 is the difference of two errors, so the new terms are at most
 *    2 M_s R_s and M_s R_s. So it is with the sum over some of the slices, the others as the first
 *    plane has them. Whole teams of 16 slices are added at a time, at most n / 16 + 1 times: a term
 *    meets at most 2 products and 2n + n / 16 + 1 sums if it is the first plane's, 3n / 16 + 9 <=
 *    4n + 6 operations if it is the second's. With g = (4n + 6) u and 5 R for 2 R the slack covers
 *    both planes.
 *
 * 5. q . mu. Own: mu = m w of int8 codes m and a float32 w of 16 significant bits; q' = i' 2^(E -
 *    14) of int16 codes i' is q, rounded. q' . mu is computed exactly: sums of i' m over 256
 *    dimensions are below 2^30, over all below 2^35, and w has 16 bits. What is left, (q - q') .
 *    mu, is at most |q - q'| |mu|. Flat: a product of two float32 is exact in double; the sum of m
 *    terms is off by at most m 2^-52 sum |q_i mu_i| <= m 2^-52 |q| |mu|. Both are added UP. The
 *    last sum is stepped to the next double, which is at least the real sum: a sum rounded to
 *    nearest is at most half a step below it.    QED
 *
 * Two more bounds need no codes: with |x_i| <= h_i and |q_i| <= g_i (8 and 7 bits, rounded up;
 * flat: any) and |x| <= radius,
 *     q . k <= frame.bound = q . mu + min(sum_i g_i h_i, |q| radius)        for all vectors of the
 *     block.
 *
 * Nothing here allocates; functions are pure and may run in any thread.
 */
#ifndef RSR_SKETCH_H
#define RSR_SKETCH_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RSR_SKETCH_VECTORS 64u /* of a block */
#define RSR_SKETCH_SLICE 32u   /* dimensions that share a scale and a residual norm */
#define RSR_SKETCH_LANES 16u   /* vectors that one call of a scan bounds */
#define RSR_SKETCH_MAX_PLANES 2u
#define RSR_SKETCH_MAX_DIM 8192u
#define RSR_SKETCH_LARGEST_CENTRE 0x1p102f /* see the proof: no difference overflows */

/* The layout of a block. A slice's codes are 4 words of 4 bytes; byte b of word w has dimension 8w
 * + b in its low bits and 8w + 4 + b in its high bits, each plus 8. The first plane is read whole,
 * by lanes: [16 vectors a group][slice][word][lane]. The second is read for single vectors:
 * [vector][slice][word], or, flat, [vector][16 slices] of struct rsr_sketch_gain. */
struct rsr_sketch_shape {
    uint32_t dim;
    uint32_t n_slices; /* dim is filled up with zeros to n_slices * 32 */
    uint32_t n_planes;
    uint32_t norms_at;                        /* float [n_slices]: N_s */
    uint32_t centre_at;                       /* float w, int8 [n_slices * 32]: m; 0: flat */
    uint32_t box_at;                          /* uint8 [n_slices * 32]: h_i in units of box_unit */
    uint32_t scales_at;                       /* uint8 [n_slices][64]: S_s, coded */
    uint32_t plane_at[RSR_SKETCH_MAX_PLANES]; /* codes, 16 bytes a vector and slice */
    /* uint8: R_s, coded; of the first plane [n_slices][64], of the second [64][n_slices]; flat: no
     * second */
    uint32_t residual_at[RSR_SKETCH_MAX_PLANES];
    uint32_t block_bytes; /* a multiple of 64 */
};

/* The header of a block. */
struct rsr_sketch_header {
    int16_t unit_exponent;                           /* unit = 2^this */
    uint8_t largest_residual[RSR_SKETCH_MAX_PLANES]; /* R, coded */
    float box_unit;
    double centre_norm, radius; /* rounded up */
};

/* Flat shape: all data of the second plane for 16 slices of a vector, in one place. */
#define RSR_SKETCH_TEAM 16u /* slices */
struct rsr_sketch_gain {
    /* Bit 4 l + b of word w: 0 if dimension 4w + b of slice l lost a negative number, else 1. */
    uint64_t signs[8];
    uint8_t scales[RSR_SKETCH_TEAM]; /* S_s, coded */
    uint8_t gains[RSR_SKETCH_TEAM];  /* G_s, coded, rounded down */
};

/* A code of a scale or a norm (rsr_sketch_decode) after the sign bit of a float16 is its value
 * divided by this. */
#define RSR_SKETCH_HALF 0x1p18f

/* The data of a query's slice that a scan needs, next to each other. */
struct rsr_sketch_slice {
    int8_t codes[RSR_SKETCH_SLICE]; /* i: what meets low bits, then high bits */
    float scale, norm;              /* a, by the first plane, and M, times RSR_SKETCH_HALF */
    int32_t centre;                 /* -8 times the sum of the codes */
};

/* A prepared query. It points into the memory that rsr_sketch_prepare got, and to q. */
struct rsr_sketch_query {
    const float *q;
    double norm;         /* |q|, rounded up */
    int exponent;        /* E */
    const int16_t *fine; /* own: i', [n_slices * 32] */
    double fine_unit;    /* 2^(E - 14) */
    double centre;       /* flat: q . mu */
    double centre_error; /* times |mu|: largest error of q . mu */
    double box_unit;
    const int8_t *box; /* g_i in units of box_unit, [n_slices * 32] */
    /* The arrays are filled up with zeros to whole teams of slices. */
    const float
        *scale[RSR_SKETCH_MAX_PLANES]; /* a, [n_slices]; by plane 2 a 16th of it, flat a 4th */
    const float *norms;                /* M, [n_slices] */
    const int32_t *sums;               /* 8 times the sum of a slice's codes */
    const int8_t *codes; /* i, [n_slices][2][4][4]: what meets low bits, then high bits */
    const int8_t *teams; /* flat: i, [team][8][16 slices][4] */
    const struct rsr_sketch_slice *slices;
    /* A slack is sum_s N_s slack[s] + R residual_slack. */
    const double *slack;   /* D_s + g M_s, [n_slices] */
    double residual_slack; /* 2 g sum_s M_s; flat 5 g sum_s M_s */
};

struct rsr_sketch_frame {
    double bound;                         /* of every vector of the block */
    double offset[RSR_SKETCH_MAX_PLANES]; /* see the theorem */
    double unit;
};

/* Memory that will be read after a block is made; it is prefetched meanwhile. It need not exist. */
struct rsr_sketch_next {
    const void *at;
    size_t bytes;
};

/* Makes the block (64-byte aligned) of 64 finite vectors, `stride` floats apart. centre: of a flat
 * shape, [dim] floats of magnitudes below RSR_SKETCH_LARGEST_CENTRE; else NULL. next NULL:
 * unknown. */
typedef void rsr_sketch_build_fn(const struct rsr_sketch_shape *shape, void *block,
                                 const float *vectors, size_t stride, const float *centre,
                                 const struct rsr_sketch_next *next);
/* The theorem's t by the first plane, of vectors 16 group .. 16 group + 15. */
typedef void rsr_sketch_scan_fn(const struct rsr_sketch_shape *shape, const void *block,
                                const struct rsr_sketch_query *query, uint32_t group, float *t);
/* The theorem's t by both planes for the vectors whose bits are set: t[0] of the first such vector,
 * t[1] of the next. */
typedef void rsr_sketch_refine_fn(const struct rsr_sketch_shape *shape, const void *block,
                                  const struct rsr_sketch_query *query, uint64_t vectors, float *t);

/* For n queries at once: t[i * stride + j] = the theorem's t of vector j by both planes, with the
 * bits of `refine`. Takes less time than `refine` from about an eighth of the vectors on. */
typedef void rsr_sketch_refine_all_fn(const struct rsr_sketch_shape *shape, const void *block,
                                      const struct rsr_sketch_query *const *queries, uint32_t n,
                                      float *t, size_t stride);

/* rsr_sketch_frame_of() for n queries. */
typedef void rsr_sketch_frames_fn(const struct rsr_sketch_shape *shape, const void *block,
                                  const struct rsr_sketch_query *const *queries, uint32_t n,
                                  struct rsr_sketch_frame *frames);
#define RSR_SKETCH_REST_BYTES 960u /* 768 and 1152 gain less */

/* For n queries at once: sets bit j of vectors[i] unless t of vector j by the first plane is below
 * floors[i]. `next`, if not NULL, is a block that will soon be sieved: it is prefetched, except the
 * last RSR_SKETCH_REST_BYTES that a sieve reads. The caller prefetches those between two sieves,
 * when memory would otherwise be idle. */
typedef void rsr_sketch_sieve_fn(const struct rsr_sketch_shape *shape, const void *block,
                                 const struct rsr_sketch_query *const *queries, uint32_t n,
                                 const float *floors, uint64_t *vectors, const void *next);

/* For n queries at once: t[i * stride + j] = the theorem's t of vector j by the first plane, and
 * estimates[..] = the sum of its terms without residuals, unless `estimates` is NULL. q . mu +
 * frame.unit * estimate is close to q . k, but is no bound. `next` as above. */
typedef void rsr_sketch_bounds_fn(const struct rsr_sketch_shape *shape, const void *block,
                                  const struct rsr_sketch_query *const *queries, uint32_t n,
                                  float *t, float *estimates, size_t stride, const void *next);

/* Flat shape: adds the second plane's terms of some teams of slices to t[i] of n vectors from any
 * blocks. t[i] is the theorem's t by the first plane, perhaps with earlier teams added. gains[i] is
 * the vector's first team to add. gains has n + RSR_SKETCH_AHEAD entries: the last ones belong to
 * vectors that come next, and are prefetched; NULL: none. */
#define RSR_SKETCH_AHEAD 16u
struct rsr_sketch_teams {
    uint32_t first, end;
};
typedef void rsr_sketch_sharpen_fn(const struct rsr_sketch_query *query,
                                   struct rsr_sketch_teams teams,
                                   const struct rsr_sketch_gain *const *gains, uint32_t n,
                                   float *t);

/* All kernels give the same bits. `frames`, `refine` and `refine_all` are for own shapes, `sharpen`
 * is for flat ones. */
struct rsr_sketch_kernel {
    const char *name;
    uint64_t features; /* CPU features that it needs: RSR_CPU_MASK bits */
    bool far; /* sieve and bounds prefetch to the L2 cache only, as rsr_detect_far_fetches()
                 wants */
    rsr_sketch_build_fn *build;
    rsr_sketch_frames_fn *frames;
    rsr_sketch_sieve_fn *sieve;
    rsr_sketch_scan_fn *scan;
    rsr_sketch_refine_fn *refine;
    rsr_sketch_refine_all_fn *refine_all;
    rsr_sketch_bounds_fn *bounds;
    rsr_sketch_sharpen_fn *sharpen;
};

/* Kernels of this build, best first; the last needs no feature. NULL past the end. */
const struct rsr_sketch_kernel *rsr_sketch_kernel_at(uint32_t index);
/* The first kernel that runs with these features and prefetches to the right cache for this CPU. */
const struct rsr_sketch_kernel *rsr_sketch_kernel_for(uint64_t cpu_features);

/* dim 1 .. RSR_SKETCH_MAX_DIM, n_planes 1 .. 2. */
struct rsr_sketch_shape rsr_sketch_shape_of(uint32_t dim, uint32_t n_planes);
struct rsr_sketch_shape rsr_sketch_flat_shape(uint32_t dim, uint32_t n_planes);

/* Whether the calling thread rounds to nearest and keeps denormals, as the theorem needs. */
bool rsr_sketch_float_mode(void);

/* The `build` of every kernel gives the result of this function. */
rsr_sketch_build_fn rsr_sketch_build;

/* `memory` has rsr_sketch_query_bytes(), 64-byte aligned. q is finite and outlives the query. */
size_t rsr_sketch_query_bytes(const struct rsr_sketch_shape *shape);
void rsr_sketch_prepare(const struct rsr_sketch_shape *shape, const float *q, void *memory,
                        struct rsr_sketch_query *query);
/* Prepares a query for blocks of a flat shape around `centre`. */
void rsr_sketch_prepare_flat(const struct rsr_sketch_shape *shape, const float *q,
                             const float *centre, void *memory, struct rsr_sketch_query *query);

struct rsr_sketch_frame rsr_sketch_frame_of(const struct rsr_sketch_shape *shape, const void *block,
                                            const struct rsr_sketch_query *query);

/* A float such that t < floor proves offset + unit t < threshold. It is NaN only if threshold is.
 * The difference has a relative rounding error of 2^-53; division by a power of two is exact unless
 * the result is denormal; conversion to float32 has an error of 2^-24. The step down is larger than
 * all three errors. */
static inline float rsr_sketch_floor(const struct rsr_sketch_frame *frame, uint32_t plane,
                                     double threshold) {
    const double largest = 0x1.fffffep127;
    double t = (threshold - frame->offset[plane]) / frame->unit;
    t = t > largest ? largest : t;
    t = t < -largest ? -largest : t;
    const float nearest = (float)t, step = fabsf(nearest) * 0x1p-22f;
    return nearest - (step > 0x1p-126f ? step : 0x1p-126f);
}

/* offset + unit t, rounded up. */
double rsr_sketch_upper(const struct rsr_sketch_frame *frame, uint32_t plane, float t);

/* Blocks of n vectors; the last may be short. */
static inline uint32_t rsr_sketch_blocks_of(uint32_t n) {
    return n / RSR_SKETCH_VECTORS + (n % RSR_SKETCH_VECTORS != 0);
}

/* What the files of this folder share. */
static inline const struct rsr_sketch_header *rsr_sketch_header_of(const void *block) {
    return (const struct rsr_sketch_header *)block;
}

static inline bool rsr_sketch_is_flat(const struct rsr_sketch_shape *shape) {
    return shape->centre_at == 0;
}

/* Bytes of a block, from its beginning on, that a scan reads. */
static inline uint32_t rsr_sketch_first_bytes(const struct rsr_sketch_shape *shape) {
    return shape->n_planes > 1 ? shape->plane_at[1] : shape->block_bytes;
}

/* 8-bit codes of scales and residual norms: 4 bits of exponent, 4 of mantissa, denormals below
 * 16. */
static inline uint32_t rsr_sketch_decode(uint8_t code) {
    return code < 16 ? code : (16u + (code & 15u)) << ((code >> 4) - 1);
}

#endif
