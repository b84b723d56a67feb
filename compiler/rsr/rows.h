/* rows.h - the rows of a matrix that are zero or repeat an earlier one up to sign, and the columns
 * that are used; for the reduction and the statistics.
 */
#ifndef RSRC_RSR_ROWS_H
#define RSRC_RSR_ROWS_H

#include "ir.h"

struct rsrc_row_facts {
    /* [rows] The first row that this row equals (sign 1) or is opposite to (-1): itself if there is
     * no earlier one. Sign 0: a zero row. */
    struct rsr_row_source *sources;
    uint32_t *n_nonzero; /* [rows] */
    uint8_t *col_used;   /* [cols] 1: a weight of the column is not zero */
};

/* Results and scratch are in the arena. Rows are compared by hash, then weight by weight. */
void rsrc_find_row_facts(struct rsrc_arena *arena, const struct rsr_matrix *matrix,
                         struct rsrc_row_facts *out);

#endif
