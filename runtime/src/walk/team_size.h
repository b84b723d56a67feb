/* team_size.h - how many workers take part in a step: as many as make steps fastest.
 *
 * Workers wait for each other some dozen times a step. Where a step is short, or other programs
 * have some of the CPUs, fewer workers may be faster. So another size is tried now and then, in
 * turn with the usual one, each for a few steps, and taken where steps take less time. No result
 * depends on it. Times are told: nothing here reads a clock.
 */
#ifndef RSR_TEAM_SIZE_H
#define RSR_TEAM_SIZE_H

#include <stdint.h>

/* Steps of one size that follow each other. */
struct rsr_team_window {
    uint64_t ns;
    uint32_t n_tokens, n_steps;
};

struct rsr_team_size {
    uint32_t most;     /* workers */
    uint32_t usual;    /* what steps take between trials */
    uint32_t other;    /* is tried now; 0: none is */
    uint32_t n_turns;  /* windows of the trial that are over, of the usual size and of the other in
                          turn */
    uint32_t n_chosen; /* others, so far */
    uint64_t rest_ns, left_ns;     /* between trials, and of that until the next one */
    uint64_t usual_ns;             /* a token when the last trial ended; 0: there was none */
    uint64_t turn_ns;              /* a token in the last window of the usual size */
    struct rsr_team_window window; /* that is going on */
};

/* The first steps take n_cores. */
struct rsr_team_size rsr_team_size_of(uint32_t most, uint32_t n_cores);
/* Of the next step. */
uint32_t rsr_team_size_next(const struct rsr_team_size *size);
/* What it took. */
void rsr_team_size_took(struct rsr_team_size *size, uint32_t n_tokens, uint64_t ns);

#endif
