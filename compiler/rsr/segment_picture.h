/* segment_picture.h - what a report draws of the segments of a matrix: the number of columns that
 * share a segment, and where in the matrix they are. */
#ifndef RSRC_RSR_SEGMENT_PICTURE_H
#define RSRC_RSR_SEGMENT_PICTURE_H

#include "ir.h"

/* Counts at the k of a layer's statistics. The map has at most max_side cells in each direction, up
 * to RSR_MAP_SIDE. Map and scratch are in the arena. */
void rsrc_picture_segments(struct rsrc_arena *arena, const struct rsr_matrix *matrix, uint32_t k,
                           uint32_t max_side, struct rsr_segment_picture *out);

#endif
