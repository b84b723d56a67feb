/* open_rows.h - how many rows of a head its sketch leaves open for given tokens. */
#ifndef RSRC_MODEL_OPEN_ROWS_H
#define RSRC_MODEL_OPEN_ROWS_H

#include "model/head_sketch.h"

/* Means over n >= 1 tokens, of all rows: rows[p] is what planes 0 .. p together do not exclude.
 * states: [n][hidden], what the head multiplies; best: [n], the largest logits. The result depends
 * on no machine: sketches and bounds have the same bits everywhere. */
void rsrc_count_open_rows(const struct rsr_graph *graph, const float *states, const float *best,
                          uint32_t n, double rows[RSR_HEAD_PLANES]);

#endif
