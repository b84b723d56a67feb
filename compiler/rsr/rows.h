/* rows.h - which rows of a matrix are zero or repeat an earlier one up to sign, and which columns
 * are used: what the reduction and the statistics both ask.
 */
#ifndef RSRC_RSR_ROWS_H
#define RSRC_RSR_ROWS_H

#include "ir.h"

struct rsrc_row_facts {
    /* [rows] The first row that this one equals (sign 1) or is opposite to (-1): itself where there
     * is none before it. Sign 0: a zero row. */
    struct rsr_row_source *sources;
    uint32_t *n_nonzero; /* [rows] */
    uint8_t *col_used;   /* [cols] 1: a weight of the column is not zero */
};

/* Results and scratch are in the arena. Rows are compared by hash, then weight by weight. */
void rsrc_find_row_facts(struct rsrc_arena *arena, const struct rsr_matrix *matrix,
                         struct rsrc_row_facts *out);

#endif
