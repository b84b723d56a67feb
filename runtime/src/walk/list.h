/* list.h - lists after activation rows: the elements that count for a token. rsr_abi.h has their
 * layout. */
#ifndef RSR_LIST_H
#define RSR_LIST_H

#include "rsr_abi.h"

/* Lists the elements of x that are above 0 or NaN, after a row of cols activations. */
void rsr_list_positive(void *row, uint32_t cols, const float *x, uint32_t n);
/* Lists the row's own elements that are not 0, with their values. */
void rsr_list_nonzero(void *row, uint32_t cols);
/* Number of listed elements, of n, after a row of cols activations. */
uint32_t rsr_list_count(const void *row, uint32_t cols, uint32_t n);

#endif
