/* thread_ranks.h - ranks that are threads of one process, with a transport through shared memory.
 * Every rank has its own engine; the ranks above 0 follow in threads of their own. */
#ifndef TESTS_UNIT_THREAD_RANKS_H
#define TESTS_UNIT_THREAD_RANKS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "rsr.h"

#define MOST_THREAD_RANKS 8u

struct thread_ranks;

struct thread_rank {
    struct thread_ranks *all;
    uint32_t number;
    rsr_transport transport;
    pthread_t thread;
    rsr_engine *engine;
    rsr_status created, followed;
    rsr_error err;
};

struct thread_ranks {
    uint32_t n;
    struct thread_rank ranks[MOST_THREAD_RANKS];
    pthread_mutex_t mutex;
    pthread_cond_t turned;
    uint32_t n_arrived, turn;
    bool broken;
    const void *parts[MOST_THREAD_RANKS];
    uint32_t n_gathers, n_bcasts, n_barriers; /* calls of rank 0 */
    uint32_t fails_at;                        /* the gather of this number fails; 0: none does */
    uint32_t delay_us;                        /* what an exchange takes longer */
    /* Creates the engine of a rank; follows rank 0, and ends an engine, as rsr.h says. */
    rsr_status (*create)(void *user, uint32_t rank, const rsr_transport *transport,
                         rsr_engine **engine, rsr_error *err);
    void *user;
    rsr_status (*follow)(rsr_engine *engine, rsr_error *err);
    void (*destroy)(rsr_engine *engine);
};

/* False: a rank has failed. */
static inline bool thread_ranks_meet(struct thread_ranks *all) {
    pthread_mutex_lock(&all->mutex);
    const uint32_t turn = all->turn;
    if (++all->n_arrived == all->n) {
        all->n_arrived = 0;
        all->turn++;
        pthread_cond_broadcast(&all->turned);
    }
    while (all->turn == turn && !all->broken)
        pthread_cond_wait(&all->turned, &all->mutex);
    const bool met = !all->broken;
    pthread_mutex_unlock(&all->mutex);
    return met;
}

static inline rsr_status thread_ranks_break(struct thread_ranks *all, rsr_error *err) {
    pthread_mutex_lock(&all->mutex);
    all->broken = true;
    pthread_cond_broadcast(&all->turned);
    pthread_mutex_unlock(&all->mutex);
    if (err != NULL)
        strcpy(err->message, "rank 1 cannot be reached");
    return RSR_ERR_RANK;
}

static inline void thread_ranks_wait(const struct thread_ranks *all) {
    struct timespec begin, now;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    do
        clock_gettime(CLOCK_MONOTONIC, &now);
    while ((now.tv_sec - begin.tv_sec) * 1000000 + (now.tv_nsec - begin.tv_nsec) / 1000 <
           (long)all->delay_us);
}

static inline rsr_status thread_ranks_allgatherv(void *user, const void *part, void *result,
                                                 const size_t *bytes, rsr_error *err) {
    const struct thread_rank *rank = user;
    struct thread_ranks *all = rank->all;
    char *to = result;
    if (rank->number == 0 && ++all->n_gathers == all->fails_at)
        return thread_ranks_break(all, err);
    all->parts[rank->number] = part;
    bool met = thread_ranks_meet(all);
    for (uint32_t r = 0; met && r < all->n; to += bytes[r++])
        memcpy(to, all->parts[r], bytes[r]);
    met = met && thread_ranks_meet(all);
    thread_ranks_wait(all);
    return met ? RSR_OK : thread_ranks_break(all, err);
}

static inline rsr_status thread_ranks_bcast(void *user, void *data, size_t n_bytes, uint32_t root,
                                            rsr_error *err) {
    const struct thread_rank *rank = user;
    struct thread_ranks *all = rank->all;
    all->n_bcasts += rank->number == 0;
    if (rank->number == root)
        all->parts[root] = data;
    bool met = thread_ranks_meet(all);
    if (met && rank->number != root)
        memcpy(data, all->parts[root], n_bytes);
    met = met && thread_ranks_meet(all);
    thread_ranks_wait(all);
    return met ? RSR_OK : thread_ranks_break(all, err);
}

static inline rsr_status thread_ranks_barrier(void *user, rsr_error *err) {
    const struct thread_rank *rank = user;
    rank->all->n_barriers += rank->number == 0;
    return thread_ranks_meet(rank->all) ? RSR_OK : thread_ranks_break(rank->all, err);
}

static inline void thread_rank_create(struct thread_rank *rank) {
    struct thread_ranks *all = rank->all;
    rank->engine = NULL;
    rank->err = (rsr_error)RSR_ERROR_INIT;
    rank->created =
        all->create(all->user, rank->number, &rank->transport, &rank->engine, &rank->err);
}

static inline void *thread_rank_run(void *argument) {
    struct thread_rank *rank = argument;
    thread_rank_create(rank);
    if (rank->created != RSR_OK)
        return NULL;
    rank->followed = rank->all->follow(rank->engine, &rank->err);
    rank->all->destroy(rank->engine);
    return NULL;
}

/* Creates the engines of n ranks. ranks[0].engine is there if ranks[0].created is RSR_OK. */
static inline void thread_ranks_begin(struct thread_ranks *all, uint32_t n) {
    all->n = n;
    pthread_mutex_init(&all->mutex, NULL);
    pthread_cond_init(&all->turned, NULL);
    for (uint32_t r = 0; r < n; r++) {
        struct thread_rank *rank = &all->ranks[r];
        rank->all = all;
        rank->number = r;
        rank->transport = (rsr_transport)RSR_TRANSPORT_INIT;
        rank->transport.rank = r;
        rank->transport.size = n;
        rank->transport.allgatherv = thread_ranks_allgatherv;
        rank->transport.bcast = thread_ranks_bcast;
        rank->transport.barrier = thread_ranks_barrier;
        rank->transport.user = rank;
        if (r > 0)
            pthread_create(&rank->thread, NULL, thread_rank_run, rank);
    }
    thread_rank_create(&all->ranks[0]);
}

/* Ends the engine of rank 0, and waits for the others. */
static inline void thread_ranks_end(struct thread_ranks *all) {
    all->destroy(all->ranks[0].engine);
    for (uint32_t r = 1; r < all->n; r++)
        pthread_join(all->ranks[r].thread, NULL);
    pthread_mutex_destroy(&all->mutex);
    pthread_cond_destroy(&all->turned);
}

#endif
