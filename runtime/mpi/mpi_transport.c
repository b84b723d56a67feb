/* mpi_transport.c - see mpi_transport.h. */
#include "mpi_transport.h"

#include <limits.h>
#include <mpi.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include "mpi_watch.h"

/* A rank that waits for rank 0's next message polls for this long, and then less and less often: an
 * idle server should not keep its CPUs busy. */
#define POLL_NS 2000000u
/* More ranks than CPUs wait so in gathers, too, and begin to sleep sooner: a rank that polls takes
 * the CPU from the one that it waits for. So do ranks of a pipeline, whose CPUs compute for other
 * engines. */
#define SHORT_POLL_NS 20000u
#define LONGEST_SLEEP_NS 500000u

/* A reader that takes no more is not waited for. */
#define LONGEST_UNREAD_NS 500000000u

/* What all transports share. */
static struct {
    const char *program;
    MPI_Comm ranks; /* for measurements */
    int rank, size;
    uint32_t delay_us, n_neighbours;
    bool sleeps; /* the machine has fewer CPUs than ranks, or they are needed otherwise */
    atomic_bool gathered;
} mpi;

/* The ranks of one engine. An engine's messages never meet those of another. */
struct mpi_channel {
    MPI_Comm ranks;
    int *counts, *offsets; /* [size] */
    struct mpi_channel *next;
};

static struct mpi_channel *channels;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* A rank that cannot exchange leaves all others waiting, so it ends them. */
static _Noreturn void lose(const char *what, const char *why) {
    fprintf(stderr, "%s: rank %d: %s: %s: ending all ranks\n", mpi.program, mpi.rank, what, why);
    mpi_transport_abort();
}

static rsr_status check(int code, const char *what) {
    char text[MPI_MAX_ERROR_STRING] = "";
    int n = 0;
    if (code == MPI_SUCCESS)
        return RSR_OK;
    MPI_Error_string(code, text, &n);
    lose(what, text);
}

static void wait_delay(void) {
    if (mpi.delay_us == 0)
        return;
    for (const uint64_t end = now_ns() + mpi.delay_us * UINT64_C(1000); now_ns() < end;)
        ;
}

/* Waits for a message that may come in a moment or in an hour. */
static int wait_for(MPI_Request *request) {
    const uint64_t begin = now_ns();
    int done = 0, code;
    while ((code = MPI_Test(request, &done, MPI_STATUS_IGNORE)) == MPI_SUCCESS && !done) {
        const uint64_t waited = now_ns() - begin;
        const struct timespec pause = {
            .tv_nsec = (long)(waited / 16 < LONGEST_SLEEP_NS ? waited / 16 : LONGEST_SLEEP_NS)};
        if (waited < (mpi.sleeps ? SHORT_POLL_NS : POLL_NS))
            sched_yield();
        else
            nanosleep(&pause, NULL);
    }
    return code;
}

static rsr_status allgatherv(void *user, const void *part, void *all, const size_t *bytes,
                             rsr_error *err) {
    struct mpi_channel *channel = user;
    MPI_Request request;
    size_t n = 0;
    int code;
    (void)err;
    for (int r = 0; r < mpi.size; r++) {
        if (bytes[r] > INT_MAX - n)
            lose("a gather failed", "MPI gathers less than 2 GiB at a time; take a smaller batch");
        channel->offsets[r] = (int)n;
        channel->counts[r] = (int)bytes[r];
        n += bytes[r];
    }
    if (mpi.sleeps) {
        code = MPI_Iallgatherv(part, channel->counts[mpi.rank], MPI_BYTE, all, channel->counts,
                               channel->offsets, MPI_BYTE, channel->ranks, &request);
        if (code == MPI_SUCCESS)
            code = wait_for(&request);
    } else {
        code = MPI_Allgatherv(part, channel->counts[mpi.rank], MPI_BYTE, all, channel->counts,
                              channel->offsets, MPI_BYTE, channel->ranks);
    }
    wait_delay();
    atomic_store(&mpi.gathered, true);
    return check(code, "a gather failed");
}

static rsr_status bcast(void *user, void *data, size_t n_bytes, uint32_t root, rsr_error *err) {
    const struct mpi_channel *channel = user;
    int code = MPI_SUCCESS;
    (void)err;
    for (size_t at = 0; at < n_bytes && code == MPI_SUCCESS;) {
        const size_t n = n_bytes - at < INT_MAX ? n_bytes - at : INT_MAX;
        MPI_Request request;
        code = MPI_Ibcast((char *)data + at, (int)n, MPI_BYTE, (int)root, channel->ranks, &request);
        if (code == MPI_SUCCESS)
            code = wait_for(&request);
        at += n;
    }
    wait_delay();
    return check(code, "a broadcast failed");
}

static rsr_status barrier(void *user, rsr_error *err) {
    const struct mpi_channel *channel = user;
    (void)err;
    const int code = MPI_Barrier(channel->ranks);
    wait_delay();
    return check(code, "a barrier failed");
}

static uint32_t count_neighbours(void) {
    MPI_Comm near;
    int n = 1;
    MPI_Comm_split_type(mpi.ranks, MPI_COMM_TYPE_SHARED, mpi.rank, MPI_INFO_NULL, &near);
    MPI_Comm_size(near, &n);
    MPI_Comm_free(&near);
    return (uint32_t)n;
}

bool mpi_transport_begin(const char *program) {
    int level = 0;
    mpi.program = program;
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_MULTIPLE, &level) != MPI_SUCCESS) {
        fprintf(stderr, "%s: MPI does not start\n", program);
        return false;
    }
    MPI_Comm_dup(MPI_COMM_WORLD, &mpi.ranks);
    MPI_Comm_rank(mpi.ranks, &mpi.rank);
    MPI_Comm_size(mpi.ranks, &mpi.size);
    mpi.n_neighbours = count_neighbours();
    mpi.sleeps = mpi.n_neighbours > (uint32_t)get_nprocs();
    if (level < MPI_THREAD_MULTIPLE)
        lose("MPI does not start", "this MPI was built without MPI_THREAD_MULTIPLE");
    if (mpi.size > 1 && !mpi_watch_begin(program, MPI_SILENT_MS))
        lose("MPI does not start", "there is no thread");
    return true;
}

void mpi_transport_open(rsr_transport *transport) {
    struct mpi_channel *channel = calloc(1, sizeof(*channel));
    if (channel != NULL) {
        channel->counts = calloc((size_t)mpi.size, sizeof(*channel->counts));
        channel->offsets = calloc((size_t)mpi.size, sizeof(*channel->offsets));
    }
    if (channel == NULL || channel->counts == NULL || channel->offsets == NULL)
        lose("a transport is not opened", "out of memory");
    MPI_Comm_dup(MPI_COMM_WORLD, &channel->ranks);
    MPI_Comm_set_errhandler(channel->ranks, MPI_ERRORS_RETURN);
    channel->next = channels;
    channels = channel;
    *transport = (rsr_transport)RSR_TRANSPORT_INIT;
    transport->rank = (uint32_t)mpi.rank;
    transport->size = (uint32_t)mpi.size;
    transport->allgatherv = allgatherv;
    transport->bcast = bcast;
    transport->barrier = barrier;
    transport->user = channel;
}

uint32_t mpi_transport_neighbours(void) {
    return mpi.n_neighbours;
}

/* ---- Measuring ---- */

#define MOST_TIMES 100
#define LEAST_TIMES 4
#define LONGEST_NS 20000000u /* about, of a measurement */

/* Repeats an exchange among the first n ranks, which ranks[] knows; the others sleep. The first
 * repetitions tell how many there will be. */
static double time_exchange(MPI_Comm ranks, int size, size_t bytes, bool gathers) {
    const size_t each = bytes / (size_t)size + 16; /* every part has a header */
    char *part = calloc(1, each), *all = calloc((size_t)size, each);
    double ns = 0;
    for (int pass = 0, times = LEAST_TIMES; pass < 2 && part != NULL && all != NULL; pass++) {
        MPI_Barrier(ranks);
        const uint64_t begin = now_ns();
        for (int i = 0; i < times; i++) {
            MPI_Request request;
            if (gathers && mpi.sleeps) {
                MPI_Iallgather(part, (int)each, MPI_BYTE, all, (int)each, MPI_BYTE, ranks,
                               &request);
                wait_for(&request);
            } else if (gathers) {
                MPI_Allgather(part, (int)each, MPI_BYTE, all, (int)each, MPI_BYTE, ranks);
            } else {
                MPI_Ibcast(part, (int)each, MPI_BYTE, 0, ranks, &request);
                wait_for(&request);
            }
            wait_delay();
        }
        ns = (double)(now_ns() - begin) / times;
        const double fit = LONGEST_NS / (ns + 1);
        times = fit > MOST_TIMES ? MOST_TIMES : fit < LEAST_TIMES ? LEAST_TIMES : (int)fit;
        MPI_Bcast(&times, 1, MPI_INT, 0, ranks);
    }
    free(part);
    free(all);
    return ns;
}

static double time_among(uint32_t n_ranks, size_t bytes, bool gathers) {
    MPI_Comm some = MPI_COMM_NULL;
    MPI_Request request;
    double ns = 0;
    MPI_Comm_split(mpi.ranks, mpi.rank < (int)n_ranks ? 0 : MPI_UNDEFINED, mpi.rank, &some);
    if (some != MPI_COMM_NULL) {
        ns = time_exchange(some, (int)n_ranks, bytes, gathers);
        MPI_Comm_free(&some);
    }
    MPI_Ibarrier(mpi.ranks, &request); /* waits without keeping a CPU busy */
    wait_for(&request);
    return ns;
}

double mpi_transport_time_gather(uint32_t n_ranks, size_t bytes) {
    return time_among(n_ranks, bytes, true);
}

double mpi_transport_time_bcast(uint32_t n_ranks, size_t bytes) {
    return time_among(n_ranks, bytes, false);
}

/* ---- Life ---- */

void mpi_transport_sleep(void) {
    mpi.sleeps = true;
}

void mpi_transport_delay(uint32_t us) {
    mpi.delay_us = us;
}

bool mpi_transport_has_gathered(void) {
    return atomic_load(&mpi.gathered);
}

void mpi_transport_end(void) {
    mpi_watch_end();
    for (struct mpi_channel *channel = channels, *next; channel != NULL; channel = next) {
        next = channel->next;
        MPI_Comm_free(&channel->ranks);
        free(channel->counts);
        free(channel->offsets);
        free(channel);
    }
    channels = NULL;
    MPI_Comm_free(&mpi.ranks);
    MPI_Finalize();
}

/* Waits until mpirun has read what this process has said: Open MPI 4.1 on busy cores loses what is
 * still in the pipe when it ends the processes. */
static void await_reader(void) {
    const struct timespec pause = {.tv_nsec = 1000000};
    struct stat info;
    int unread = 0;
    if (fstat(STDERR_FILENO, &info) != 0 || !S_ISFIFO(info.st_mode))
        return;
    for (const uint64_t end = now_ns() + LONGEST_UNREAD_NS; now_ns() < end;) {
        if (ioctl(STDERR_FILENO, FIONREAD, &unread) != 0 || unread == 0)
            return;
        nanosleep(&pause, NULL);
    }
}

void mpi_transport_abort(void) {
    fflush(stdout);
    fflush(stderr);
    await_reader();
    MPI_Abort(MPI_COMM_WORLD, 1);
    _Exit(1);
}
