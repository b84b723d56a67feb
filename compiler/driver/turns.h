/* turns.h - items made by several threads at once and handed on in order. */
#ifndef RSRC_DRIVER_TURNS_H
#define RSRC_DRIVER_TURNS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "diag.h"

struct rsrc_turns {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t n_items;
    uint32_t next; /* next item to be taken */
    uint32_t turn; /* next item to be handed on */
    bool failed;
    bool goes_on; /* items are taken after a failure, too */
};

/* False: no item is left to take. */
bool rsrc_take_item(struct rsrc_turns *turns, uint32_t *item);
/* Waits until all earlier items were handed on. False: an earlier item has failed. The turn lasts
 * until rsrc_end_turn. No lock is held during it, so other threads may take items meanwhile. Every
 * taken item gets its turn. */
bool rsrc_await_turn(struct rsrc_turns *turns, uint32_t item);
void rsrc_end_turn(struct rsrc_turns *turns, enum rsrc_status status);
/* Records a failure outside a turn. */
void rsrc_fail_turns(struct rsrc_turns *turns);

/* Runs `work` on n_threads threads, of which the caller's is one, or on fewer if the system refuses
 * some. */
RSRC_NODISCARD enum rsrc_status rsrc_run_turns(struct rsrc_turns *turns, uint32_t n_threads,
                                               void *(*work)(void *argument), void *argument);

#endif
