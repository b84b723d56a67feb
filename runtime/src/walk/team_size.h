/* team_size.h - chooses the number of workers that makes steps fastest.
 *
 * Workers wait for each other some dozen times in a step. If steps are short, or other programs use
 * some of the CPUs, fewer workers may be faster. So another size is tried now and then, alternately
 * with the usual one, each for a few steps, and taken if its steps are faster. No result depends on
 * the size. The caller passes the times: nothing here reads a clock.
 */
#ifndef RSR_TEAM_SIZE_H
#define RSR_TEAM_SIZE_H

#include <stdint.h>

/* Consecutive steps of one size. */
struct rsr_team_window {
    uint64_t ns;
    uint32_t n_tokens, n_steps;
};

struct rsr_team_size {
    uint32_t most;     /* workers */
    uint32_t usual;    /* size between trials */
    uint32_t other;    /* size that is being tried; 0: none */
    uint32_t n_turns;  /* windows of the trial that are over, alternately of the usual and the other
                          size */
    uint32_t n_chosen; /* how many other sizes were tried so far */
    uint64_t rest_ns, left_ns;     /* time between trials, and what is left of it */
    uint64_t usual_ns;             /* time per token when the last trial ended; 0: there was none */
    uint64_t turn_ns;              /* time per token in the last window of the usual size */
    struct rsr_team_window window; /* the current window */
};

/* The first steps take n_cores workers. */
struct rsr_team_size rsr_team_size_of(uint32_t most, uint32_t n_cores);
/* The size for the next step. */
uint32_t rsr_team_size_next(const struct rsr_team_size *size);
/* Reports the time of a step. */
void rsr_team_size_took(struct rsr_team_size *size, uint32_t n_tokens, uint64_t ns);

#endif
