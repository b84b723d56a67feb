/* test_known_stack.c - the known size of a thread's stack is not used for a later thread whose
 * stack ends at the same address. */
#include <pthread.h>

#include "check.h"
#include "host/stack.h"

static _Alignas(4096) char memory[1 << 20];
static struct rsr_known_stack known;
static rsr_status found;

static void *look(void *n_bytes) {
    found = rsr_check_stack(&known, *(const size_t *)n_bytes, "a test", NULL);
    return NULL;
}

/* Runs on a thread with a stack of this many bytes. */
static rsr_status check_on(size_t stack_bytes, size_t n_bytes) {
    pthread_attr_t attributes;
    pthread_t thread;
    CHECK_INT(pthread_attr_init(&attributes), 0);
    CHECK_INT(
        pthread_attr_setstack(&attributes, memory + sizeof(memory) - stack_bytes, stack_bytes), 0);
    CHECK_INT(pthread_create(&thread, &attributes, look, &n_bytes), 0);
    CHECK_INT(pthread_join(thread, NULL), 0);
    pthread_attr_destroy(&attributes);
    return found;
}

int main(void) {
    CHECK_INT(check_on(128 << 10, 224 << 10), RSR_ERR_MEMORY);
    CHECK_INT(check_on(sizeof(memory), 224 << 10), RSR_OK);
    CHECK_INT(check_on(128 << 10, 224 << 10), RSR_ERR_MEMORY);
    return CHECK_EXIT();
}
