/* stack.h - how deep this thread may recurse. */
#ifndef RSR_STACK_H
#define RSR_STACK_H

#include <stdbool.h>
#include <stddef.h>

#include "runtime.h"

/* The lowest address that frames of the calling thread may reach; `reserve` bytes stay free below
 * it. On a stack that the thread library does not know (a coroutine's) it is 64 KiB below the
 * caller. */
const char *rsr_stack_end(size_t reserve);

/* Caches the bounds of a stack: finding those of the first thread takes as long as reading /proc.
 * The thread is identified by the kernel's number, because a new thread may get the pthread_t of
 * one that ended. Zeros are an empty cache. */
struct rsr_known_stack {
    const char *begin;
    long thread;
};

/* Checks that the calling thread has n_bytes of stack left, if this is known. RSR_ERR_MEMORY: it
 * has less; the message names the caller. `known` may be NULL, and belongs to one thread at a
 * time. */
RSR_NODISCARD rsr_status rsr_check_stack(struct rsr_known_stack *known, size_t n_bytes,
                                         const char *caller, rsr_error *err);

/* Whether the caller's frame is below this address. */
static inline bool rsr_is_below(const char *stack_end) {
    return (const char *)__builtin_frame_address(0) < stack_end;
}

#endif
