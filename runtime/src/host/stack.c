/* stack.c - the bounds of this thread's stack, as the thread library knows them. */
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "stack.h"

#define UNKNOWN_STACK ((size_t)64 << 10)

/* The lowest address of the calling thread's stack, above its guard; NULL: it runs on another
 * stack. */
static const char *find_begin(void) {
    const char *here = __builtin_frame_address(0), *begin = NULL;
    pthread_attr_t attributes;
    void *low = NULL;
    size_t size = 0, guard = 0;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0)
        return NULL;
    if (pthread_attr_getstack(&attributes, &low, &size) == 0 &&
        pthread_attr_getguardsize(&attributes, &guard) == 0 && here >= (const char *)low + guard &&
        here < (const char *)low + size)
        begin = (const char *)low + guard;
    pthread_attr_destroy(&attributes);
    return begin;
}

const char *rsr_stack_end(size_t reserve) {
    const char *here = __builtin_frame_address(0), *begin = find_begin();
    return (begin != NULL ? begin : here - UNKNOWN_STACK) + reserve;
}

rsr_status rsr_check_stack(struct rsr_known_stack *known, size_t n_bytes, const char *caller,
                           rsr_error *err) {
    struct rsr_known_stack mine = {NULL, syscall(SYS_gettid)};
    if (known != NULL && known->begin != NULL && known->thread == mine.thread)
        mine = *known;
    else
        mine.begin = find_begin();
    if (known != NULL)
        *known = mine;
    if (mine.begin == NULL || !rsr_is_below(mine.begin + n_bytes))
        return RSR_OK;
    return rsr_fail(
        err, RSR_ERR_MEMORY,
        "%s takes up to %zu KiB of the calling thread's stack, which has less left; call "
        "it on a thread with more, or raise ulimit -s",
        caller, n_bytes >> 10);
}
