/* segment_picture.h - what a report draws of the segments of a matrix: how many columns share one,
 * and where in the matrix they do. */
#ifndef RSRC_RSR_SEGMENT_PICTURE_H
#define RSRC_RSR_SEGMENT_PICTURE_H

#include "ir.h"

/* At the k of a layer's statistics; the map has at most max_side cells in each direction, up to
 * RSR_MAP_SIDE. The map is in the arena, as is scratch. */
void rsrc_picture_segments(struct rsrc_arena *arena, const struct rsr_matrix *matrix, uint32_t k,
                           uint32_t max_side, struct rsr_segment_picture *out);

#endif
