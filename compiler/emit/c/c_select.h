/* c_select.h - which macro of template/kernel_prelude.h does an operation on a target. */
#ifndef RSRC_EMIT_C_SELECT_H
#define RSRC_EMIT_C_SELECT_H

#include "emit/c/c_code.h"

/* The macro; NULL: the target has no instruction for it, or GNU C says it without. */
const char *rsrc_c_find_macro(const struct rsrc_c_code *code, const struct rsr_kop *op);
/* NULL, or the sentence that says what of the code the C back end cannot express. */
const char *rsrc_c_find_obstacle(const struct rsrc_c_code *code, struct rsrc_arena *arena);

#endif
