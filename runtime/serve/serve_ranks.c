/* serve_ranks.c - see serve_ranks.h. */
#include "serve_ranks.h"

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "mpi_functions.h"
#include "rank_file.h"

struct serve_ranks {
    const struct mpi_functions *mpi;
    rsr_transport transport; /* of what the ranks tell each other besides the engines */
    uint32_t n_neighbours;
};

/* ---- Begin and end --------------------------------------------------------------------------- */

/* Where the library is, from the folder of this program: as built, and as installed. */
static const char *const places[] = {"../lib/rsrc/librsr_mpi.so", RSR_MPI_INSTALLED};

static const struct mpi_functions *load(void) {
    char path[PATH_MAX + 64];
    void *library = NULL;
    const ssize_t n = readlink("/proc/self/exe", path, PATH_MAX);
    char *end = n > 0 ? memrchr(path, '/', (size_t)n) : NULL;
    for (size_t i = 0; end != NULL && library == NULL && i < sizeof(places) / sizeof(*places);
         i++) {
        snprintf(end + 1, sizeof(path) - (size_t)(end + 1 - path), "%s", places[i]);
        if (access(path, F_OK) == 0 && (library = dlopen(path, RTLD_NOW | RTLD_GLOBAL)) == NULL) {
            serve_log("--mpi: %s", dlerror());
            return NULL;
        }
    }
    if (library == NULL) {
        serve_log("--mpi: this rsr-serve has no library librsr_mpi.so, which is built where CMake "
                  "finds MPI (Debian: libopenmpi-dev); Debian's package is rsrc-mpi");
        return NULL;
    }
    const struct mpi_functions *found = dlsym(library, RSR_MPI_TABLE);
    if (found == NULL)
        serve_log("--mpi: %s is of another version: install both together", path);
    return found;
}

struct serve_ranks *serve_ranks_begin(void) {
    struct serve_ranks *ranks = calloc(1, sizeof(*ranks));
    if (ranks == NULL) {
        serve_log("out of memory");
        return NULL;
    }
    ranks->mpi = load();
    if (ranks->mpi == NULL || !ranks->mpi->begin("rsr-serve")) {
        free(ranks);
        return NULL;
    }
    ranks->mpi->open(&ranks->transport);
    ranks->n_neighbours = ranks->mpi->neighbours();
    if (serve_ranks_follows(ranks))
        serve_log_rank(ranks->transport.rank);
    else
        serve_log("%u ranks, %u of them on this machine", ranks->transport.size,
                  ranks->n_neighbours);
    return ranks;
}

void serve_ranks_end(struct serve_ranks *ranks) {
    if (ranks != NULL)
        ranks->mpi->end();
    free(ranks);
}

void serve_ranks_abort(const struct serve_ranks *ranks) {
    if (ranks != NULL)
        ranks->mpi->abort();
}

/* ---- What ranks are -------------------------------------------------------------------------- */

bool serve_ranks_follows(const struct serve_ranks *ranks) {
    return ranks != NULL && ranks->transport.rank > 0;
}

uint32_t serve_ranks_neighbours(const struct serve_ranks *ranks) {
    return ranks != NULL ? ranks->n_neighbours : 1;
}

char *serve_ranks_file(const struct serve_ranks *ranks, const char *name) {
    char file[PATH_MAX];
    if (ranks == NULL)
        snprintf(file, sizeof(file), "%s", name);
    if (strlen(name) >= sizeof(file) ||
        (ranks != NULL && !rank_file_of(name, ranks->transport.rank, file, sizeof(file)))) {
        serve_log("the name of a model is longer than %zu bytes", sizeof(file) - 1);
        return NULL;
    }
    char *owned = strdup(file);
    if (owned == NULL)
        serve_log("out of memory");
    return owned;
}

void serve_ranks_open(struct serve_ranks *ranks, rsr_transport *transport) {
    ranks->mpi->open(transport);
}

uint32_t serve_ranks_least(const struct serve_ranks *ranks, uint32_t n) {
    if (ranks == NULL)
        return n;
    const rsr_transport *t = &ranks->transport;
    uint32_t *all = calloc(t->size, sizeof(*all));
    size_t *bytes = calloc(t->size, sizeof(*bytes));
    if (all == NULL || bytes == NULL) {
        serve_log("out of memory");
        serve_ranks_abort(ranks);
        exit(1);
    }
    for (uint32_t r = 0; r < t->size; r++)
        bytes[r] = sizeof(n);
    (void)!t->allgatherv(t->user, &n, all, bytes, NULL); /* it ends all ranks where it fails */
    for (uint32_t r = 0; r < t->size; r++)
        n = all[r] < n ? all[r] : n;
    free(all);
    free(bytes);
    return n;
}

/* ---- Engines --------------------------------------------------------------------------------- */

static bool follow(const struct serve_model *model) {
    rsr_error err = RSR_ERROR_INIT;
    return rsr_engine_follow(model->engine, &err) == RSR_OK ||
           serve_log("%s: %s", model->name, err.message);
}

/* Rank 0 says that its engine ends to those that follow. */
bool serve_ranks_end_engine(const struct serve_ranks *ranks, struct serve_model *model) {
    const bool ended = !serve_ranks_follows(ranks) || follow(model);
    rsr_engine_destroy(model->engine);
    model->engine = NULL;
    return ended;
}

struct follower {
    pthread_t thread;
    const struct serve_ranks *ranks;
    const struct serve_model *model;
};

static void *run(void *user) {
    const struct follower *f = user;
    if (!follow(f->model))
        serve_ranks_abort(f->ranks);
    return NULL;
}

void serve_ranks_follow(struct serve_server *server) {
    struct follower followers[SERVE_MAX_MODELS];
    for (uint32_t i = 0; i < server->n_models; i++) {
        followers[i] = (struct follower){.ranks = server->ranks, .model = &server->models[i]};
        if (pthread_create(&followers[i].thread, NULL, run, &followers[i]) != 0) {
            serve_log("cannot start a thread");
            serve_ranks_abort(server->ranks);
        }
    }
    for (uint32_t i = 0; i < server->n_models; i++)
        pthread_join(followers[i].thread, NULL);
}
