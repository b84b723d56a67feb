/* reduce_text.c - the text form of reductions: what --dump=reduce prints.
 *
 *   reduction "blk.q" computes 2 of 5 rows 3 of 4 cols
 *   found dead 0 rows 0 cols zero 1 rows 1 cols repeated 2 rows
 *   rows +0 0 -0 +1 +0
 *   cols 0 2 3
 *
 * A row is the row of the reduced matrix that it follows from, with its sign, or 0 for a zero row;
 * columns are those that are read. "all" stands for a map that does not pay.
 */
#include <inttypes.h>

#include "rsr/reduce.h"

static void print_row(const struct rsr_row_source *source, struct rsrc_buffer *out) {
    if (source->sign == 0)
        rsrc_buffer_puts(out, " 0");
    else
        rsrc_buffer_printf(out, " %c%" PRIu32, source->sign < 0 ? '-' : '+', source->row);
}

void rsrc_print_reduction(const struct rsr_reduction *reduction, const char *layer_name,
                          struct rsrc_buffer *out) {
    const struct rsr_reduction_counts *counts = &reduction->counts;
    rsrc_buffer_puts(out, "reduction ");
    rsrc_buffer_put_c_string(out, layer_name);
    rsrc_buffer_printf(out,
                       " computes %" PRIu32 " of %" PRIu32 " rows %" PRIu32 " of %" PRIu32
                       " cols\nfound dead %" PRIu32 " rows %" PRIu32 " cols zero %" PRIu32
                       " rows %" PRIu32 " cols repeated %" PRIu32 " rows\nrows",
                       reduction->rows, counts->rows, reduction->cols, counts->cols,
                       counts->n_dead_rows, counts->n_dead_cols, counts->n_zero_rows,
                       counts->n_zero_cols, counts->n_repeated_rows);
    if (reduction->row_sources == NULL)
        rsrc_buffer_puts(out, " all");
    for (uint32_t i = 0; reduction->row_sources != NULL && i < counts->rows; i++)
        print_row(&reduction->row_sources[i], out);
    rsrc_buffer_puts(out, "\ncols");
    if (reduction->kept_cols == NULL)
        rsrc_buffer_puts(out, " all");
    for (uint32_t j = 0; reduction->kept_cols != NULL && j < reduction->cols; j++)
        rsrc_buffer_printf(out, " %" PRIu32, reduction->kept_cols[j]);
    rsrc_buffer_puts(out, "\n");
}
