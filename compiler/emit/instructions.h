/* instructions.h - the instruction for an operation on a target, and its names in C and LLVM. */
#ifndef RSRC_EMIT_INSTRUCTIONS_H
#define RSRC_EMIT_INSTRUCTIONS_H

#include "ir.h"

enum rsrc_language { RSRC_IN_C, RSRC_IN_LLVM };

/* Types that an intrinsic's name leaves open. */
enum rsrc_llvm_overload {
    RSRC_OVERLOAD_NONE,
    RSRC_OVERLOAD_RESULT,    /* the result, of the operation's type */
    RSRC_OVERLOAD_BYTES,     /* the result, <16 x i8> */
    RSRC_OVERLOAD_SUM_BYTES, /* the result, <4 x i32>, and the operands, <16 x i8> */
};

struct rsrc_instruction {
    enum rsr_kop_kind kind;
    uint32_t elems;        /* bits of the result's element */
    uint32_t bytes;        /* of the result */
    uint64_t features;     /* all required */
    const char *macro;     /* of template/kernel_*.h; NULL: LLVM alone has it */
    const char *intrinsic; /* LLVM's intrinsic; NULL: plain IR can express it */
    const char *operands;  /* a, b, c in the intrinsic's order; A: a with ignored bits cleared */
    enum rsrc_llvm_overload overload;
};

/* The instruction that the back end uses for the operation; NULL: there is none, or the back end
 * needs none. */
const struct rsrc_instruction *rsrc_find_instruction(enum rsrc_language language,
                                                     const struct rsr_spec *spec,
                                                     const struct rsr_kreg *regs,
                                                     const struct rsr_kop *op);
/* A sentence that names an operation that the back end cannot express for the target; NULL: there
 * is none. */
const char *rsrc_find_missing_instruction(enum rsrc_language language, const struct rsr_spec *spec,
                                          const struct rsr_kreg *regs, const struct rsr_kop *ops,
                                          uint32_t n_ops, struct rsrc_arena *arena);

#endif
