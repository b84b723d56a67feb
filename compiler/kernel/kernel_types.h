/* kernel_types.h - which types fit a kernel operation. */
#ifndef RSRC_KERNEL_KERNEL_TYPES_H
#define RSRC_KERNEL_KERNEL_TYPES_H

#include "ir.h"

/* A 64-bit scalar: counters, bounds, address terms, strides. */
bool rsrc_kreg_is_index(const struct rsr_kreg *reg);
/* Checks the types and the immediate of one operation. d is NULL if there is no result; a, b and c
 * are NULL beyond the operation's arity. */
bool rsrc_kop_types_fit(const struct rsr_kop *op, const struct rsr_kreg *d,
                        const struct rsr_kreg *a, const struct rsr_kreg *b,
                        const struct rsr_kreg *c);

#endif
