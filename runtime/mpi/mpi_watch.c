/* mpi_watch.c - see mpi_watch.h. Messages without content go between rank 0 and every other rank,
 * several in a second, over a communicator of their own. */
#include "mpi_watch.h"

#include <mpi.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "mpi_transport.h"

#define PERIOD_MS 250u

struct peer {
    int rank;
    uint64_t heard_ns;
    MPI_Request sent; /* the last sign of life; a silent rank need not have received it */
    char name[MPI_MAX_PROCESSOR_NAME + 32];
};

static struct {
    const char *program;
    MPI_Comm ranks;
    pthread_t thread;
    bool runs;
    atomic_bool ends;
    uint64_t silent_ns;
    struct peer *peers;
    int n_peers;
} watch;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void send_signs(void) {
    for (int i = 0; i < watch.n_peers; i++) {
        struct peer *peer = &watch.peers[i];
        int done = 1;
        if (peer->sent != MPI_REQUEST_NULL)
            MPI_Test(&peer->sent, &done, MPI_STATUS_IGNORE);
        if (done)
            MPI_Isend(NULL, 0, MPI_BYTE, peer->rank, 0, watch.ranks, &peer->sent);
    }
}

static void receive_signs(void) {
    MPI_Status status;
    int found = 0;
    while (MPI_Iprobe(MPI_ANY_SOURCE, 0, watch.ranks, &found, &status) == MPI_SUCCESS && found) {
        MPI_Recv(NULL, 0, MPI_BYTE, status.MPI_SOURCE, 0, watch.ranks, MPI_STATUS_IGNORE);
        for (int i = 0; i < watch.n_peers; i++)
            if (watch.peers[i].rank == status.MPI_SOURCE)
                watch.peers[i].heard_ns = now_ns();
    }
}

/* late_ns: for so long this thread itself did not run, so silence says nothing. */
static void check_silence(uint64_t late_ns) {
    for (int i = 0; i < watch.n_peers; i++) {
        struct peer *peer = &watch.peers[i];
        const uint64_t now = now_ns();
        peer->heard_ns = now - peer->heard_ns > late_ns ? peer->heard_ns + late_ns : now;
        if (now - peer->heard_ns < watch.silent_ns || atomic_load(&watch.ends))
            continue;
        fprintf(stderr, "%s: rank %d (%s) has not answered for %.1f s: ending all ranks\n",
                watch.program, peer->rank, peer->name, (double)(now - peer->heard_ns) * 1e-9);
        mpi_transport_abort();
    }
}

static void *run(void *user) {
    const struct timespec pause = {.tv_nsec = PERIOD_MS * 1000000l};
    uint64_t last_ns = now_ns();
    (void)user;
    while (!atomic_load(&watch.ends)) {
        send_signs();
        nanosleep(&pause, NULL);
        const uint64_t since = now_ns() - last_ns, usual = 2 * PERIOD_MS * UINT64_C(1000000);
        last_ns += since;
        receive_signs();
        check_silence(since > usual ? since - usual : 0);
    }
    return NULL;
}

/* Gathers how people find the processes: "pid 42 on node3". */
static bool find_peers(void) {
    int rank = 0, size = 0, n = 0;
    char host[MPI_MAX_PROCESSOR_NAME] = "", name[sizeof(watch.peers->name)];
    MPI_Comm_rank(watch.ranks, &rank);
    MPI_Comm_size(watch.ranks, &size);
    MPI_Get_processor_name(host, &n);
    snprintf(name, sizeof(name), "pid %ld on %s", (long)getpid(), host);
    char(*names)[sizeof(name)] = calloc((size_t)size, sizeof(name));
    watch.peers = calloc((size_t)size, sizeof(*watch.peers));
    if (names == NULL || watch.peers == NULL) {
        free(names);
        return false;
    }
    MPI_Allgather(name, sizeof(name), MPI_BYTE, names, sizeof(name), MPI_BYTE, watch.ranks);
    for (int r = 0; r < size; r++) {
        if (r == rank || (rank != 0 && r != 0))
            continue;
        struct peer *peer = &watch.peers[watch.n_peers++];
        *peer = (struct peer){.rank = r, .sent = MPI_REQUEST_NULL, .heard_ns = now_ns()};
        snprintf(peer->name, sizeof(peer->name), "%s", names[r]);
    }
    free(names);
    return true;
}

bool mpi_watch_begin(const char *program, uint32_t silent_ms) {
    sigset_t all, before;
    watch.program = program;
    MPI_Comm_dup(MPI_COMM_WORLD, &watch.ranks);
    watch.silent_ns = silent_ms * UINT64_C(1000000);
    if (!find_peers())
        return false;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    watch.runs = pthread_create(&watch.thread, NULL, run, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return watch.runs;
}

void mpi_watch_end(void) {
    if (!watch.runs)
        return;
    atomic_store(&watch.ends, true);
    pthread_join(watch.thread, NULL);
    MPI_Barrier(watch.ranks); /* nobody sends any more */
    receive_signs();
    for (int i = 0; i < watch.n_peers; i++)
        MPI_Wait(&watch.peers[i].sent, MPI_STATUS_IGNORE);
    receive_signs();
    MPI_Comm_free(&watch.ranks);
    free(watch.peers);
    watch.runs = false;
}
