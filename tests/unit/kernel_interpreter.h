/* kernel_interpreter.h - runs a kernel operation by operation, on any machine. */
#ifndef TESTS_UNIT_KERNEL_INTERPRETER_H
#define TESTS_UNIT_KERNEL_INTERPRETER_H

#include "ir.h"

/* As rsr_kernel_fn. The kernel must have passed rsrc_verify_kernel. What the definitions of ir.h
 * forbid (a look-up out of range, a signed overflow, a body that is not there) aborts the program
 * with the operation's number. Returns how many operations on vectors it did: about the number of
 * instructions that a back end makes. Prefetches count, copies and constants do not, and an
 * operation wider than the target's vectors counts once for each vector. */
uint64_t test_interpret_kernel(const struct rsr_kernel *kernel, const void *x, size_t ldx, void *y,
                               size_t ldy, uint32_t n_tokens, const struct rsr_weights *weights,
                               const struct rsr_worker *worker, void *scratch);

#endif
