/* turns.h - a fair lock, for threads that hold it for long: they get it in the order of asking. */
#ifndef RSR_TURNS_H
#define RSR_TURNS_H

#include <pthread.h>
#include <stdbool.h>

struct rsr_turn; /* one for each waiting thread, on its stack */

struct rsr_turns {
    pthread_mutex_t lock; /* guards the others; never held for long */
    bool taken;
    struct rsr_turn *first, *last; /* waiting callers, in the order of their calls */
};

void rsr_turns_create(struct rsr_turns *turns);
void rsr_turns_destroy(struct rsr_turns *turns); /* nobody has a turn or waits for one */

void rsr_turns_take(struct rsr_turns *turns);
void rsr_turns_give(struct rsr_turns *turns);
/* Gives the turn to the threads that wait, if any, and takes another turn after all of them. */
void rsr_turns_pass(struct rsr_turns *turns);

#endif
