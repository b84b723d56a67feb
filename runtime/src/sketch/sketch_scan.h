/* sketch_scan.h - the places of codes in a block, and the kernels in the table of sketch_scan.c. */
#ifndef RSR_SKETCH_SCAN_H
#define RSR_SKETCH_SCAN_H

#include "rsr_abi.h"
#include "sketch.h"

/* In the first plane: where the 16 lanes of a word begin, in words. */
static inline size_t rsr_sketch_lane_word(const struct rsr_sketch_shape *shape, uint32_t group,
                                          uint32_t slice, uint32_t word) {
    return (((size_t)group * shape->n_slices + slice) * 4 + word) * RSR_SKETCH_LANES;
}

/* In the second plane: where a vector's slice begins, in words. */
static inline size_t rsr_sketch_vector_word(const struct rsr_sketch_shape *shape, uint32_t vector,
                                            uint32_t slice) {
    return ((size_t)vector * shape->n_slices + slice) * 4;
}

static inline uint32_t rsr_sketch_teams_of(const struct rsr_sketch_shape *shape) {
    return (shape->n_slices + RSR_SKETCH_TEAM - 1) / RSR_SKETCH_TEAM;
}

/* A flat block's second plane: where a vector begins, in bytes. */
static inline size_t rsr_sketch_gains_at(const struct rsr_sketch_shape *shape, uint32_t vector) {
    const size_t teams = rsr_sketch_teams_of(shape);
    return shape->plane_at[1] + vector * teams * sizeof(struct rsr_sketch_gain);
}

static inline const struct rsr_sketch_gain *
rsr_sketch_gains_of(const struct rsr_sketch_shape *shape, const void *block, uint32_t vector) {
    return (const struct rsr_sketch_gain *)(const void *)((const char *)block +
                                                          rsr_sketch_gains_at(shape, vector));
}

/* q . mu, and sum g_i h_i in units of both. */
struct rsr_sketch_dots {
    double centre;
    int32_t box;
};

/* mu of a block of its own: codes times unit. */
struct rsr_sketch_centre {
    float unit;
    const int8_t *codes;
};

static inline struct rsr_sketch_centre rsr_sketch_centre_of(const struct rsr_sketch_shape *shape,
                                                            const void *block) {
    const char *at = (const char *)block + shape->centre_at;
    const float *unit = (const float *)(const void *)at;
    return (struct rsr_sketch_centre){*unit, (const int8_t *)at + sizeof(*unit)};
}

/* Dimensions whose products of fine codes and centre codes add up in 32 bits. */
#define RSR_SKETCH_EXACT_DIM 256u

/* The frame with these dots. */
struct rsr_sketch_frame rsr_sketch_frame_from(const struct rsr_sketch_shape *shape,
                                              const void *block,
                                              const struct rsr_sketch_query *query,
                                              struct rsr_sketch_dots dots);

/* `frames` and `sieve`, one query and 16 vectors at a time. */
rsr_sketch_frames_fn rsr_sketch_frames_each;
void rsr_sketch_sieve_by(rsr_sketch_scan_fn *scan, const struct rsr_sketch_shape *shape,
                         const void *block, const struct rsr_sketch_query *const *queries,
                         uint32_t n, const float *floors, uint64_t *vectors);

/* `refine`, one vector at a time. */
typedef float rsr_sketch_refine_one_fn(const struct rsr_sketch_shape *shape, const void *block,
                                       const struct rsr_sketch_query *query, uint32_t vector);
void rsr_sketch_refine_by(rsr_sketch_refine_one_fn *one, const struct rsr_sketch_shape *shape,
                          const void *block, const struct rsr_sketch_query *query, uint64_t vectors,
                          float *t);

/* `refine_all`, one query at a time. */
void rsr_sketch_refine_all_by(rsr_sketch_refine_fn *refine, const struct rsr_sketch_shape *shape,
                              const void *block, const struct rsr_sketch_query *const *queries,
                              uint32_t n, float *t, size_t stride);

/* t of one vector by both planes from the integers dots[slice], the products of its 8-bit codes,
 * plus 8 times 17 for each code: the float operations of every refine kernel. */
float rsr_sketch_refined(const struct rsr_sketch_shape *shape, const void *block,
                         const struct rsr_sketch_query *query, uint32_t vector,
                         const int32_t *dots);

/* For each of 16 slices: the sum of the query's codes where the sign is 1. */
typedef void rsr_sketch_team_fn(const uint64_t *signs, const int8_t *q, int32_t *dots);
/* `sharpen`, one vector at a time: the float operations of every sharpen kernel. */
void rsr_sketch_sharpen_by(rsr_sketch_team_fn *team_dots, const struct rsr_sketch_query *query,
                           struct rsr_sketch_teams teams,
                           const struct rsr_sketch_gain *const *gains, uint32_t n, float *t);

/* A scan that gives estimates, too: see rsr_sketch_bounds_fn. */
typedef void rsr_sketch_estimate_fn(const struct rsr_sketch_shape *shape, const void *block,
                                    const struct rsr_sketch_query *query, uint32_t group, float *t,
                                    float *estimates);
/* `bounds`, one query and 16 vectors at a time. */
void rsr_sketch_bounds_by(rsr_sketch_estimate_fn *scan, const struct rsr_sketch_shape *shape,
                          const void *block, const struct rsr_sketch_query *const *queries,
                          uint32_t n, float *t, float *estimates, size_t stride, const void *next);

#if defined(__x86_64__)
rsr_sketch_bounds_fn rsr_sketch_bounds_avx512vnni, rsr_sketch_bounds_avx512vnni_far,
    rsr_sketch_bounds_avx2;
rsr_sketch_sharpen_fn rsr_sketch_sharpen_avx512vnni, rsr_sketch_sharpen_avx2;
rsr_sketch_frames_fn rsr_sketch_frames_avx512, rsr_sketch_frames_avx2;
rsr_sketch_sieve_fn rsr_sketch_sieve_avx512vnni, rsr_sketch_sieve_avx512vnni_far,
    rsr_sketch_sieve_avx2;
rsr_sketch_scan_fn rsr_sketch_scan_avx512vnni, rsr_sketch_scan_avx2;
rsr_sketch_refine_fn rsr_sketch_refine_avx512vnni, rsr_sketch_refine_avx2;
rsr_sketch_refine_all_fn rsr_sketch_refine_all_avx512vnni, rsr_sketch_refine_all_avx2;
#elif defined(__aarch64__)
rsr_sketch_bounds_fn rsr_sketch_bounds_neon, rsr_sketch_bounds_dotprod;
rsr_sketch_sharpen_fn rsr_sketch_sharpen_neon;
rsr_sketch_sieve_fn rsr_sketch_sieve_neon, rsr_sketch_sieve_dotprod;
rsr_sketch_scan_fn rsr_sketch_scan_neon, rsr_sketch_scan_dotprod;
rsr_sketch_refine_fn rsr_sketch_refine_neon;
rsr_sketch_refine_all_fn rsr_sketch_refine_all_neon;
#endif

#endif
