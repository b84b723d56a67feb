/* emit_c.h - the C back end, the reference: portable, readable, every operation.
 *
 * A unit is one .c file: a header comment, the typedefs it needs, one function per kernel. It
 * compiles alone with `cc -O2 -Wall -Wextra -Werror -c`; CPU features are in target attributes.
 */
#ifndef RSRC_EMIT_C_H
#define RSRC_EMIT_C_H

#include "ir.h"

extern const struct rsrc_backend rsrc_backend_c;

#endif
