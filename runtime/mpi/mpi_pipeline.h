/* mpi_pipeline.h - rsr-mpi --pipeline --sequences N: N texts at a time, so that all ranks are busy.
 *
 * A step of one text keeps one rank busy after another. So every rank has N engines, each with a
 * transport of its own, and a thread for each. While an engine's step is at another rank, this rank
 * computes for its other engines (rsr_engine_options.pipeline). Rank 0 takes prompts from a file's
 * lines, as engines become free, and prints the texts in the order of the lines. */
#ifndef RSR_MPI_PIPELINE_H
#define RSR_MPI_PIPELINE_H

#include <stdbool.h>

#include "rsr_run.h"

/* Every engine has threads and buffers; more are of no use. */
#define MPI_MOST_SEQUENCES 64u

struct mpi_pipeline;

/* All ranks call it: makes n engines, of which the session's is the first. NULL after a message. */
struct mpi_pipeline *mpi_pipeline_create(const struct run_session *session,
                                         const rsr_engine_options *options, uint32_t n);
/* Ends the engines but for the session's; NULL is fine. */
void mpi_pipeline_destroy(struct mpi_pipeline *pipeline);
/* Ranks above 0: follows rank 0 with all engines. The exit status. */
int mpi_pipeline_follow(struct mpi_pipeline *pipeline);
/* Rank 0: continues all lines of the session's prompt file. The exit status. */
int mpi_pipeline_run(struct mpi_pipeline *pipeline, struct run_session *session);
/* Adds what a rank did for all engines; step_ns becomes the time of mpi_pipeline_run(). False: the
 * engines do not say. */
bool mpi_pipeline_count(const struct mpi_pipeline *pipeline, uint32_t rank, rsr_rank_info *info);

#endif
