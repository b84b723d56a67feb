/* matrices_header.h - prints the C header of a library of matrices. */
#ifndef RSRC_EMIT_C_MATRICES_HEADER_H
#define RSRC_EMIT_C_MATRICES_HEADER_H

#include "emit/module/matrix_tables.h"

/* `tables` describes the library of `input`. */
void rsrc_c_put_matrices_header(struct rsrc_arena *arena, const struct rsr_matrices_input *input,
                                const struct rsrc_tables *tables, struct rsrc_buffer *out);

#endif
