/* lut_f32.h - shared by the lowering of `lut` for float activations: lut_f32_tables.c builds
 * tables, lower_lut_f32.c looks sums up in them; lut_walk.h has the loops around both. Private to
 * them.
 *
 * Tables are in the scratch memory: for every step, those of its segments one after another. With
 * words, a table is one or two vectors of sums. With planes, it is 4 times 16 bytes: plane j has
 * byte j of the sums of codes 0 .. 15.
 */
#ifndef RSRC_KERNELS_LUT_F32_LUT_F32_H
#define RSRC_KERNELS_LUT_F32_LUT_F32_H

#include "kernel/lut_f32_layout.h"
#include "kernel/lut_walk.h"

#define LUT_F32_PLANE_BYTES 16

struct rsrc_lut_f32 {
    struct rsrc_lut_walk walk;
    struct rsrc_lut_f32_layout layout;
};

static inline bool rsrc_lut_f32_has_scales(const struct rsrc_lut_f32 *lut) {
    return lut->layout.scale_bytes != 0;
}

/* With words, the single column of a ternary step has three sums; other segments need all lanes of
 * one or two vectors. */
static inline bool rsrc_lut_f32_is_single(const struct rsrc_lut_f32 *lut, uint32_t segment) {
    return !lut->layout.planes &&
           rsrc_lut_f32_segment_cols(&lut->layout, segment, lut->layout.step_cols) == 1;
}

/* Lanes of the vectors of sums that tables consist of. */
static inline uint32_t rsrc_lut_f32_part_lanes(const struct rsrc_lut_f32 *lut) {
    return lut->layout.planes ? LUT_F32_PLANE_BYTES / (uint32_t)sizeof(float)
                              : lut->layout.vector_rows;
}

/* Vectors of a segment's table. */
static inline uint32_t rsrc_lut_f32_n_parts(const struct rsrc_lut_f32 *lut, uint32_t segment) {
    return rsrc_lut_f32_is_single(lut, segment)
               ? 1
               : lut->layout.table_sums / rsrc_lut_f32_part_lanes(lut);
}

/* Bytes of such a vector. */
static inline int64_t rsrc_lut_f32_part_bytes(const struct rsrc_lut_f32 *lut) {
    return rsrc_lut_f32_part_lanes(lut) * (int64_t)sizeof(float);
}

/* Offset of a segment's table among the tables of its step. */
static inline int64_t rsrc_lut_f32_table_at(const struct rsrc_lut_f32 *lut, uint32_t segment) {
    return (int64_t)segment * lut->layout.table_sums * (int64_t)sizeof(float);
}

static inline int64_t rsrc_lut_f32_step_tables_bytes(const struct rsrc_lut_f32 *lut) {
    const uint32_t last = lut->layout.n_segments - 1;
    return rsrc_lut_f32_table_at(lut, last) +
           rsrc_lut_f32_n_parts(lut, last) * rsrc_lut_f32_part_bytes(lut);
}

/* Emits the tables of the current tokens and steps; the argument begins a struct rsrc_lut_f32. */
void rsrc_lut_f32_emit_tables(struct rsrc_lut_walk *walk);

#endif
