/* c_types.h - how the C back end spells types: those of template/kernel_prelude.h. */
#ifndef RSRC_EMIT_C_TYPES_H
#define RSRC_EMIT_C_TYPES_H

#include "ir.h"

/* "u8": part of the names of vector types and of macros. */
const char *rsrc_c_elem_name(enum rsr_elem elem);
/* "uint8_t" */
const char *rsrc_c_scalar_name(enum rsr_elem elem);
/* The unsigned element of the same width. */
enum rsr_elem rsrc_c_unsigned_elem(enum rsr_elem elem);
/* The prelude declares the register's type, or it is a scalar or a tile. */
bool rsrc_c_has_type(const struct rsr_kreg *reg);

/* "v16i32", "int64_t" */
void rsrc_c_put_type(struct rsrc_buffer *out, enum rsr_elem elem, uint32_t lanes);
/* "v16i32", "i64": what load and store of the prelude call it. */
void rsrc_c_put_memory_name(struct rsrc_buffer *out, enum rsr_elem elem, uint32_t lanes);

#endif
