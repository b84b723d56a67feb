/* llvm_select.h - which LLVM intrinsic does an operation on a target. */
#ifndef RSRC_EMIT_LLVM_LLVM_SELECT_H
#define RSRC_EMIT_LLVM_LLVM_SELECT_H

#include "ir.h"

/* Types that a name leaves open. */
enum rsrc_llvm_overload {
    RSRC_OVERLOAD_NONE,
    RSRC_OVERLOAD_RESULT,    /* the result, of the operation's type */
    RSRC_OVERLOAD_BYTES,     /* the result, <16 x i8> */
    RSRC_OVERLOAD_SUM_BYTES, /* the result, <4 x i32>, and the operands, <16 x i8> */
};

struct rsrc_llvm_intrinsic {
    enum rsr_kop_kind kind;
    uint32_t elems;    /* bits of the result's element */
    uint32_t bytes;    /* of the result */
    uint64_t features; /* all required */
    const char *name;
    const char
        *operands; /* a, b, c in the intrinsic's order; A: a without the bits that the operation
                             ignores */
    enum rsrc_llvm_overload overload;
};

/* NULL: there is none, or plain IR says it. */
const struct rsrc_llvm_intrinsic *rsrc_llvm_find_intrinsic(const struct rsr_spec *spec,
                                                           const struct rsr_kop *op,
                                                           const struct rsr_kreg *dst);
/* NULL, or the sentence that says what of the operations cannot be expressed for the target. */
const char *rsrc_llvm_find_obstacle(const struct rsr_spec *spec, const struct rsr_kreg *regs,
                                    const struct rsr_kop *ops, uint32_t n_ops,
                                    struct rsrc_arena *arena);

#endif
