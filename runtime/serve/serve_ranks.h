/* serve_ranks.h - --mpi: the processes that mpirun starts evaluate the models together. Rank 0
 * serves; the others follow its engines.
 *
 * A process that fails, or is told to end at once, ends all of them. Where `ranks` may be NULL,
 * that is a server without --mpi. */
#ifndef RSR_SERVE_RANKS_H
#define RSR_SERVE_RANKS_H

#include "serve.h"

/* Loads librsr_mpi.so and starts MPI. NULL after a message. Signals that threads should not take
 * must be blocked. */
struct serve_ranks *serve_ranks_begin(void);
/* Ends MPI, which all ranks do, and frees `ranks`, which may be NULL. */
void serve_ranks_end(struct serve_ranks *ranks);
/* Ends all ranks' processes at once, because this one has failed. Returns if ranks is NULL. */
void serve_ranks_abort(const struct serve_ranks *ranks);

/* Whether this process is one that only follows; ranks may be NULL. */
bool serve_ranks_follows(const struct serve_ranks *ranks);
/* The ranks on this machine, at least 1; ranks may be NULL. */
uint32_t serve_ranks_neighbours(const struct serve_ranks *ranks);

/* The rank's file, of the name that was given to all: with ranks, every %r is its number. Owned by
 * the caller; NULL after a message. */
char *serve_ranks_file(const struct serve_ranks *ranks, const char *name);

/* All ranks call these while they open the models, in the same order. */
/* The transport of the next engine. */
void serve_ranks_open(struct serve_ranks *ranks, rsr_transport *transport);
/* The least of the numbers that the ranks give; n if ranks is NULL. */
uint32_t serve_ranks_least(const struct serve_ranks *ranks, uint32_t n);
/* Destroys an engine that has evaluated nothing; model->engine becomes NULL. False after a message.
 * ranks may be NULL. */
bool serve_ranks_end_engine(const struct serve_ranks *ranks, struct serve_model *model);

/* Follows rank 0's engines until it ends them; ends all ranks if that fails. */
void serve_ranks_follow(struct serve_server *server);

#endif
