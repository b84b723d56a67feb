/* fold_results.h - brings the sums of a tile of rows, a token a lane, to the rows of each token. */
#ifndef RSRC_KERNELS_FOLD_FOLD_RESULTS_H
#define RSRC_KERNELS_FOLD_FOLD_RESULTS_H

#include "kernels/fold/fold_body.h"
#include "kernel/kernel_frame.h"

/* What is stored; all registers are i64. */
struct rsrc_fold_range {
    uint16_t first_row, end_row; /* of the tile */
    uint16_t first, end;         /* tokens; the sums of `first` lie in lane 0 */
    uint16_t sums;               /* byte of the scratch memory where those of first_row begin */
    bool whole_quads;            /* every tile has a multiple of four rows */
};

/* Emits y[token][row] = the result of sums[row - first_row][token - first], for all of the
 * range. */
void rsrc_fold_results(struct rsrc_frame *frame, const struct rsrc_fold_form *form,
                       const struct rsrc_fold_range *range);

#endif
