/* tables_c.h - prints the tables and functions of a module as one C file. */
#ifndef RSRC_EMIT_C_TABLES_C_H
#define RSRC_EMIT_C_TABLES_C_H

#include "emit/module/tables.h"

void rsrc_c_put_tables(const struct rsrc_tables *tables, struct rsrc_buffer *out);
/* "int mats_w_i8(const int8_t *x, int32_t *y)" */
void rsrc_c_put_prototype(const struct rsrc_call *call, struct rsrc_buffer *out);

#endif
