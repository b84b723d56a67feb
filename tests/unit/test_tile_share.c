/* test_tile_share.c - every tile of every call is taken exactly once, whichever worker is late, and
 * others take tiles of late workers. */
#include <pthread.h>
#include <stdlib.h>

#include "check.h"
#include "walk/tile_share.h"

#define N_WORKERS 4u
#define MAX_TILES 37u

static void test_one_share(void) {
    struct rsr_tile_share share = {0};
    uint32_t begin = 0, end = 0;
    CHECK(!rsr_share_take(&share, 1, 1, true, &begin, &end)); /* nobody has begun it */
    rsr_share_begin(&share, 1, 10, 20);
    rsr_share_begin(&share, 1, 30, 40); /* a second begin changes nothing */
    CHECK(rsr_share_take(&share, 1, 3, true, &begin, &end));
    CHECK_INT(begin, 10);
    CHECK_INT(end, 15); /* half */
    CHECK(rsr_share_take(&share, 1, 4, false, &begin, &end));
    CHECK_INT(begin, 16);
    CHECK_INT(end, 20); /* at least 4 */
    CHECK(rsr_share_take(&share, 1, 4, false, &begin, &end));
    CHECK_INT(begin, 15); /* what is left */
    CHECK_INT(end, 16);
    CHECK(!rsr_share_take(&share, 1, 1, true, &begin, &end));
    rsr_share_begin(&share, 3, 0, RSR_SHARE_MAX_TILES);
    rsr_share_begin(&share, 2, 5, 6); /* a worker that is still at an earlier call */
    CHECK(!rsr_share_take(&share, 2, 1, true, &begin, &end));
    CHECK(rsr_share_take(&share, 3, 1, false, &begin, &end));
    CHECK_INT(end, RSR_SHARE_MAX_TILES);
    rsr_share_begin(&share, 4, 7, 7);
    CHECK(!rsr_share_take(&share, 4, 1, true, &begin, &end));
}

/* Call numbers wrap around. */
static void test_wrap(void) {
    struct rsr_tile_share share = {0};
    const uint32_t last = (1u << RSR_SHARE_CALL_BITS) - 1;
    uint32_t begin = 0, end = 0;
    CHECK(rsr_share_calls_between(last, last + 1) == 1);
    CHECK(rsr_share_calls_between(last + 1, last) == -1);
    for (uint32_t call = last - 2; call != last + 3; call++) {
        atomic_store(&share.state, rsr_share_pack((call - 1) & last, 4, 4));
        rsr_share_begin(&share, call, 1, 2);
        CHECK(rsr_share_take(&share, call, 9, false, &begin, &end));
        CHECK_INT(begin, 1);
        CHECK_INT(end, 2);
        CHECK(!rsr_share_take(&share, call, 9, true, &begin, &end));
    }
}

/* ---- workers --------------------------------------------------------------------------------- */

#define N_CALLS 20000u

struct crowd {
    struct rsr_tile_share shares[N_WORKERS];
    _Atomic uint8_t *taken; /* [N_CALLS][MAX_TILES] */
    _Atomic uint32_t n_helped;
    _Atomic uint32_t n_started;
};

struct member {
    struct crowd *crowd;
    uint32_t number;
};

static uint32_t tiles_of(uint32_t call) {
    return call % (MAX_TILES + 1);
}

static void take_call(struct crowd *crowd, uint32_t number, uint32_t call) {
    const uint32_t n_tiles = tiles_of(call), piece = 1 + call % 3;
    for (uint32_t i = 0; i < N_WORKERS; i++) {
        const uint32_t owner = (number + i) % N_WORKERS;
        struct rsr_tile_share *share = &crowd->shares[owner];
        rsr_share_begin(share, call, n_tiles * owner / N_WORKERS,
                        n_tiles * (owner + 1) / N_WORKERS);
        uint32_t begin, end;
        while (rsr_share_take(share, call, piece, i == 0, &begin, &end)) {
            for (uint32_t t = begin; t < end; t++)
                atomic_fetch_add(&crowd->taken[(size_t)call * MAX_TILES + t], 1);
            if (i != 0)
                atomic_fetch_add(&crowd->n_helped, 1);
        }
    }
}

static void *work(void *argument) {
    const struct member *member = argument;
    uint64_t seed = member->number;
    atomic_fetch_add(&member->crowd->n_started, 1);
    while (atomic_load(&member->crowd->n_started) < N_WORKERS)
        ;
    for (uint32_t call = 1; call < N_CALLS; call++) {
        for (volatile uint32_t wait = (uint32_t)(check_random(&seed) % 400); wait > 0; wait--)
            ;
        take_call(member->crowd, member->number, call);
    }
    return NULL;
}

static void test_workers(void) {
    static struct crowd crowd;
    crowd.taken = calloc((size_t)N_CALLS * MAX_TILES, 1);
    pthread_t threads[N_WORKERS];
    struct member members[N_WORKERS];
    for (uint32_t i = 0; i < N_WORKERS; i++) {
        members[i] = (struct member){&crowd, i};
        CHECK_INT(pthread_create(&threads[i], NULL, work, &members[i]), 0);
    }
    for (uint32_t i = 0; i < N_WORKERS; i++)
        pthread_join(threads[i], NULL);
    uint32_t n_wrong = 0;
    for (uint32_t call = 1; call < N_CALLS; call++)
        for (uint32_t t = 0; t < MAX_TILES; t++)
            n_wrong += crowd.taken[(size_t)call * MAX_TILES + t] != (t < tiles_of(call));
    CHECK_INT(n_wrong, 0);
    CHECK(crowd.n_helped > 0);
    free((void *)crowd.taken);
}

int main(void) {
    test_one_share();
    test_wrap();
    test_workers();
    return CHECK_EXIT();
}
