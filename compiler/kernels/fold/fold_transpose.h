/* fold_transpose.h - brings the activations of a token tile into the columns that bodies read. */
#ifndef RSRC_KERNELS_FOLD_FOLD_TRANSPOSE_H
#define RSRC_KERNELS_FOLD_FOLD_TRANSPOSE_H

#include "kernels/fold/fold_body.h"
#include "kernel/kernel_frame.h"

/* Columns are made sixteen at a time. */
#define RSRC_FOLD_COLUMN_STEP 16u

/* Emits scratch[columns + j * column_bytes][lane] = activation j of token `first` + lane, for the
 * form's lanes; tokens from n_tokens on are zeros. `columns` is a register with the byte where
 * column 0 lies in the scratch memory, which has room for whole steps of columns. */
void rsrc_fold_transpose(struct rsrc_frame *frame, const struct rsrc_fold_form *form,
                         uint16_t first, uint16_t columns);

#endif
