/* head_sketch.h - a low-bit copy of a dense head, which lets the runtime exclude most rows without
 * reading them. runtime/src/sketch/sketch.h has the format and the proof.
 */
#ifndef RSRC_MODEL_HEAD_SKETCH_H
#define RSRC_MODEL_HEAD_SKETCH_H

#include "ir.h"

/* Whether there is a dense head that can have a sketch; if not, *reason says why. */
bool rsrc_can_sketch_head(const struct rsr_graph *graph, const char **reason);

/* Whether a head of this size may get a sketch unasked. */
bool rsrc_is_large_head(uint64_t head_bytes);

/* Bytes of a row as the module stores it. */
struct rsr_stored_rows {
    uint64_t head, embedding; /* equal if they are one matrix */
};

/* Chooses the number of planes by the bytes that a token reads, within the limit of a module's
 * growth. open: [RSR_HEAD_PLANES] rows that one plane, two, ... leave open for a token, as
 * measured; NULL: not known. */
struct rsr_head_plan rsrc_choose_head_sketch(struct rsrc_arena *arena,
                                             const struct rsr_graph *graph,
                                             struct rsr_stored_rows stored, const double *open);
/* The plan for n_planes, 1 or 2. row_bytes: of a row of the head, as stored. */
struct rsr_head_plan rsrc_plan_head_sketch(const struct rsr_graph *graph, uint64_t row_bytes,
                                           uint32_t n_planes, const double *open);

/* The centre that is subtracted from every row: [hidden], the mean of a sample of rows. */
void rsrc_find_head_centre(const struct rsr_graph *graph, float *centre);

/* Makes blocks first .. first + n - 1 in `blocks`, 64-byte aligned. `rows` has
 * rsrc_head_sketch_rows() floats. */
size_t rsrc_head_sketch_rows(const struct rsr_graph *graph);
void rsrc_make_head_sketch(const struct rsr_graph *graph, const struct rsr_head_plan *plan,
                           const float *centre, uint32_t first, uint32_t n, float *rows,
                           void *blocks);

#endif
