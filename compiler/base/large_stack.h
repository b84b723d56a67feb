/* large_stack.h - stacks that do, whatever `ulimit -s` and the caller's thread give. */
#ifndef RSRC_BASE_LARGE_STACK_H
#define RSRC_BASE_LARGE_STACK_H

#include <pthread.h>

/* pthread_create() with a stack of 8 MiB. */
int rsrc_thread_create(pthread_t *thread, void *(*run)(void *argument), void *argument);

/* Calls run(argument) on such a stack: the caller's, where it is one, or that of a thread, for
 * which it waits. Where the system gives no thread it is the caller's in any case. */
void rsrc_run_on_large_stack(void *(*run)(void *argument), void *argument);

#endif
