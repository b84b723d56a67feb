/* sketch_build.h - the steps of making a block that do not depend on the width of vectors.
 * sketch_build_lanes.h has the others, compiled once for each instruction set. */
#ifndef RSR_SKETCH_BUILD_H
#define RSR_SKETCH_BUILD_H

#include "sketch_scan.h"

/* The largest |k - mu| has 19 bits before the point, in units. Then scales, which are a 7.4375th of
 * it or less, and residuals, at most 3 scales, are within the 507,904 units of a code. */
#define RSR_SKETCH_UNIT_BITS 18
#define RSR_SKETCH_SMALLEST_UNIT (-126)

/* The largest element is 7 7/16 times the scale. The factor is slightly smaller, so that vectors of
 * 8-bit integers keep their scale although the product is rounded. First digits stay below 7.5. */
#define RSR_SKETCH_SCALE_OF_LARGEST (16.0f / 119.0f * (1.0f - 0x1p-20f))

/* A block that is being made. Arrays are filled up with zeros to whole slices. */
struct rsr_sketch_making {
    const struct rsr_sketch_shape *shape;
    char *block;
    const float *vectors; /* [64], `stride` floats apart */
    size_t stride;
    float centre[RSR_SKETCH_MAX_DIM];                        /* means; then mu */
    float low[RSR_SKETCH_MAX_DIM], high[RSR_SKETCH_MAX_DIM]; /* of the vectors */
    float tail[RSR_SKETCH_VECTORS * 32];    /* the last slice of all vectors, if it is not full */
    float centre_unit, inverse_centre_unit; /* w */
    float inverse_unit;                     /* a power of two */
    float inverse_box; /* a box code is extent * inverse_unit * inverse_box, rounded up */
};

/* The rows of a slice, 32 floats each; returns them with their stride. */
static inline const float *rsr_sketch_slice_rows(const struct rsr_sketch_making *making,
                                                 uint32_t slice, size_t *stride) {
    const bool full = (slice + 1) * RSR_SKETCH_SLICE <= making->shape->dim;
    *stride = full ? making->stride : RSR_SKETCH_SLICE;
    return full ? making->vectors + (size_t)slice * RSR_SKETCH_SLICE : making->tail;
}

void rsr_sketch_begin(struct rsr_sketch_making *making, const struct rsr_sketch_shape *shape,
                      void *block, const float *vectors, size_t stride, const float *centre);
/* Sets w, when the means are known; none is larger than `largest`. */
void rsr_sketch_set_centre_unit(struct rsr_sketch_making *making, float largest);
/* Sets the units, when the centre and the largest |fl(k - mu)| are known. */
void rsr_sketch_set_units(struct rsr_sketch_making *making, float largest);
/* largest_square: the largest sum of squares of a vector's |fl(k - mu)|, in units. */
void rsr_sketch_set_radius(struct rsr_sketch_making *making, float largest_square);

#if defined(__x86_64__)
rsr_sketch_build_fn rsr_sketch_build_avx2, rsr_sketch_build_avx512;
#endif

#endif
