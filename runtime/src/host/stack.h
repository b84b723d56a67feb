/* stack.h - how deep this thread may recurse. */
#ifndef RSR_STACK_H
#define RSR_STACK_H

#include <stdbool.h>
#include <stddef.h>

/* The lowest address that frames of the calling thread may reach, with `reserve` bytes below it. Of
 * a stack that the thread library does not know, a coroutine's, it is 64 KiB below the caller. */
const char *rsr_stack_end(size_t reserve);

/* Whether the caller's frame lies below. */
static inline bool rsr_is_below(const char *stack_end) {
    return (const char *)__builtin_frame_address(0) < stack_end;
}

#endif
