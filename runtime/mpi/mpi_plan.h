/* mpi_plan.h - predicts how fast 1 to N ranks generate, before they do.
 *
 * A token takes the time that its slowest rank computes, and the times of its exchanges: four
 * gathers a layer, one of the logits or two of the rows that may be picked, and a message of rank
 * 0. Exchanges of these sizes are measured between 2, 3 ... N ranks before the engines are created;
 * what ranks compute is measured with N ranks. From it follow F, the time of what every rank
 * computes itself (norms, quantisation), and S, the time of what they share out: N ranks compute S
 * + N F together. n ranks are predicted to compute S / n + F each, and N ranks what the slowest one
 * took. */
#ifndef RSR_MPI_PLAN_H
#define RSR_MPI_PLAN_H

#include <stdbool.h>

#include "rsr_run.h"

struct mpi_plan;

/* All ranks call it. NULL: out of memory, after a message. */
struct mpi_plan *mpi_plan_exchanges(const rsr_transport *transport, const rsr_model_info *info);
void mpi_plan_destroy(struct mpi_plan *plan); /* NULL is fine */
/* Rank 0 calls it with an engine that is idle. False after a message. */
bool mpi_plan_steps(struct mpi_plan *plan, rsr_engine *engine);
/* The number of ranks that is predicted to be the fastest. */
uint32_t mpi_plan_best(const struct mpi_plan *plan);
/* Predicted tokens per second. */
double mpi_plan_speed(const struct mpi_plan *plan, uint32_t n_ranks);
/* Prints the predictions on stdout, with what N ranks were measured to reach. */
void mpi_plan_print(const struct mpi_plan *plan);

#endif
