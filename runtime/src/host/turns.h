/* turns.h - a lock that is taken in the order of asking, by threads that hold it for long. */
#ifndef RSR_TURNS_H
#define RSR_TURNS_H

#include <pthread.h>
#include <stdbool.h>

struct rsr_turn; /* of a thread that waits; on its stack */

struct rsr_turns {
    pthread_mutex_t lock; /* guards the others; never held for long */
    bool taken;
    struct rsr_turn *first, *last; /* who waits, in the order of asking */
};

void rsr_turns_create(struct rsr_turns *turns);
void rsr_turns_destroy(struct rsr_turns *turns); /* nobody has a turn or waits for one */

void rsr_turns_take(struct rsr_turns *turns);
void rsr_turns_give(struct rsr_turns *turns);
/* Gives the turn to who waits, if anybody does, and takes another one after all of them. */
void rsr_turns_pass(struct rsr_turns *turns);

#endif
