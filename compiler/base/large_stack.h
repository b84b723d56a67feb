/* large_stack.h - stacks that are large enough, whatever `ulimit -s` and the caller's thread
 * give. */
#ifndef RSRC_BASE_LARGE_STACK_H
#define RSRC_BASE_LARGE_STACK_H

#include <pthread.h>

/* pthread_create() with a stack of 8 MiB. */
int rsrc_thread_create(pthread_t *thread, void *(*run)(void *argument), void *argument);

/* Calls run(argument) on a stack of 8 MiB: on the caller's if that is large enough, else on that of
 * a new thread, and waits for the thread. If the system gives no thread, run(argument) uses the
 * caller's stack. */
void rsrc_run_on_large_stack(void *(*run)(void *argument), void *argument);

#endif
