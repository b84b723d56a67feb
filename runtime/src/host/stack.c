/* stack.c - the bounds of this thread's stack, as the thread library knows them. */
#include <pthread.h>

#include "stack.h"

#define UNKNOWN_STACK ((size_t)64 << 10)

const char *rsr_stack_end(size_t reserve) {
    const char *here = __builtin_frame_address(0);
    pthread_attr_t attributes;
    void *low = NULL;
    size_t size = 0, guard = 0;
    if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
        if (pthread_attr_getstack(&attributes, &low, &size) != 0 ||
            pthread_attr_getguardsize(&attributes, &guard) != 0)
            size = 0;
        pthread_attr_destroy(&attributes);
    }
    const char *begin = low;
    if (size == 0 || here < begin || here >= begin + size)
        return here - UNKNOWN_STACK + reserve;
    return begin + guard + reserve;
}
