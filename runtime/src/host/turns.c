/* turns.c - see turns.h. A turn is handed directly to the next thread: unlike with a mutex, a
 * newcomer cannot take it from a thread that waits. */
#include "turns.h"

#include <stddef.h>

struct rsr_turn {
    pthread_cond_t comes;
    bool is_mine;
    struct rsr_turn *next;
};

void rsr_turns_create(struct rsr_turns *turns) {
    *turns = (struct rsr_turns){.taken = false};
    pthread_mutex_init(&turns->lock, NULL);
}

void rsr_turns_destroy(struct rsr_turns *turns) {
    pthread_mutex_destroy(&turns->lock);
}

/* ---- With the lock ---- */

static void take(struct rsr_turns *turns) {
    if (!turns->taken) {
        turns->taken = true;
        return;
    }
    struct rsr_turn turn = {.is_mine = false};
    pthread_cond_init(&turn.comes, NULL);
    if (turns->first == NULL)
        turns->first = &turn;
    else
        turns->last->next = &turn;
    turns->last = &turn;
    while (!turn.is_mine)
        pthread_cond_wait(&turn.comes, &turns->lock);
    pthread_cond_destroy(&turn.comes);
}

static void give(struct rsr_turns *turns) {
    struct rsr_turn *next = turns->first;
    turns->taken = next != NULL;
    if (next == NULL)
        return;
    turns->first = next->next;
    next->is_mine = true; /* once its thread gets the lock, it returns and ends `next` */
    pthread_cond_signal(&next->comes);
}

/* ---- Without ---- */

void rsr_turns_take(struct rsr_turns *turns) {
    pthread_mutex_lock(&turns->lock);
    take(turns);
    pthread_mutex_unlock(&turns->lock);
}

void rsr_turns_give(struct rsr_turns *turns) {
    pthread_mutex_lock(&turns->lock);
    give(turns);
    pthread_mutex_unlock(&turns->lock);
}

void rsr_turns_pass(struct rsr_turns *turns) {
    pthread_mutex_lock(&turns->lock);
    if (turns->first != NULL) {
        give(turns);
        take(turns);
    }
    pthread_mutex_unlock(&turns->lock);
}
