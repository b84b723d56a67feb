/* turns.c - items made by several threads at once and handed on in order. */
#include "driver/turns.h"

#include "base/large_stack.h"

bool rsrc_take_item(struct rsrc_turns *turns, uint32_t *item) {
    pthread_mutex_lock(&turns->lock);
    const bool more = turns->next < turns->n_items && (!turns->failed || turns->goes_on);
    *item = turns->next;
    turns->next += more;
    pthread_mutex_unlock(&turns->lock);
    return more;
}

bool rsrc_await_turn(struct rsrc_turns *turns, uint32_t item) {
    pthread_mutex_lock(&turns->lock);
    while (turns->turn != item)
        pthread_cond_wait(&turns->changed, &turns->lock);
    const bool failed = turns->failed;
    pthread_mutex_unlock(&turns->lock);
    return !failed;
}

void rsrc_end_turn(struct rsrc_turns *turns, enum rsrc_status status) {
    pthread_mutex_lock(&turns->lock);
    turns->failed |= status != RSRC_OK;
    turns->turn++;
    pthread_cond_broadcast(&turns->changed);
    pthread_mutex_unlock(&turns->lock);
}

void rsrc_fail_turns(struct rsrc_turns *turns) {
    pthread_mutex_lock(&turns->lock);
    turns->failed = true;
    pthread_mutex_unlock(&turns->lock);
}

#define MAX_WORKERS 256u

enum rsrc_status rsrc_run_turns(struct rsrc_turns *turns, uint32_t n_threads,
                                void *(*work)(void *argument), void *argument) {
    pthread_mutex_init(&turns->lock, NULL);
    pthread_cond_init(&turns->changed, NULL);
    pthread_t threads[MAX_WORKERS];
    uint32_t n_others = 0;
    while (n_others + 1 < n_threads && n_others + 1 < turns->n_items && n_others < MAX_WORKERS &&
           rsrc_thread_create(&threads[n_others], work, argument) == 0)
        n_others++;
    work(argument);
    for (uint32_t i = 0; i < n_others; i++)
        pthread_join(threads[i], NULL);
    pthread_cond_destroy(&turns->changed);
    pthread_mutex_destroy(&turns->lock);
    return turns->failed ? RSRC_FAILED : RSRC_OK;
}
