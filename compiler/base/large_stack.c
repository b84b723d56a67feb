/* large_stack.c - see large_stack.h. LLVM's instruction selection, the parsers of Jansson and
 * libyaml and the compiler of PCRE2 recurse over untrusted input. Their depth has limits that fit
 * in 8 MiB, the usual stack of a program. LLVM needs more than 64 KiB in any case.
 */
#include "base/large_stack.h"

#include <stdbool.h>
#include <stdint.h>

#define STACK_BYTES ((size_t)8 << 20)
#define USED_BYTES ((size_t)512 << 10) /* of the 8 MiB, this much may be in use already */

int rsrc_thread_create(pthread_t *thread, void *(*run)(void *argument), void *argument) {
    pthread_attr_t attributes;
    int error = pthread_attr_init(&attributes);
    if (error != 0)
        return error;
    error = pthread_attr_setstacksize(&attributes, STACK_BYTES);
    if (error == 0)
        error = pthread_create(thread, &attributes, run, argument);
    pthread_attr_destroy(&attributes);
    return error;
}

/* Whether the calling thread has nearly that much stack left. */
static bool is_large(void) {
    pthread_attr_t attributes;
    void *lowest = NULL;
    size_t n_bytes = 0;
    const char here = 0;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0)
        return false;
    const bool known = pthread_attr_getstack(&attributes, &lowest, &n_bytes) == 0;
    pthread_attr_destroy(&attributes);
    return known && (uintptr_t)&here - (uintptr_t)lowest >= STACK_BYTES - USED_BYTES;
}

void rsrc_run_on_large_stack(void *(*run)(void *argument), void *argument) {
    pthread_t thread;
    if (!is_large() && rsrc_thread_create(&thread, run, argument) == 0)
        pthread_join(thread, NULL);
    else
        (void)run(argument);
}
