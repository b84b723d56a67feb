/* stack.h - how deep this thread may recurse. */
#ifndef RSR_STACK_H
#define RSR_STACK_H

#include <stdbool.h>
#include <stddef.h>

#include "runtime.h"

/* The lowest address that frames of the calling thread may reach, with `reserve` bytes below it. Of
 * a stack that the thread library does not know, a coroutine's, it is 64 KiB below the caller. */
const char *rsr_stack_end(size_t reserve);

/* A stack that was found before: of the first thread that takes as long as reading /proc. The
 * thread's number is the kernel's: a pthread_t comes back with the next stack that ends at the same
 * address. Zeros are fine. */
struct rsr_known_stack {
    const char *begin;
    long thread;
};

/* Whether the calling thread has so many bytes of stack left, as far as that is known;
 * RSR_ERR_MEMORY names who asks. `known` may be NULL, and is of one thread at a time. */
RSR_NODISCARD rsr_status rsr_check_stack(struct rsr_known_stack *known, size_t n_bytes,
                                         const char *caller, rsr_error *err);

/* Whether the caller's frame lies below. */
static inline bool rsr_is_below(const char *stack_end) {
    return (const char *)__builtin_frame_address(0) < stack_end;
}

#endif
