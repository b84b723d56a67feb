/* team_size.c - see team_size.h. */
#include <stdbool.h>

#include "team_size.h"

/* A window has at least two steps and spans several slices of the scheduler, which are 3 to 4 ms
 * long: a worker that loses its CPU delays a step by a slice. */
#define WINDOW_NS UINT64_C(20000000)

/* Windows of a trial, alternately with the usual and the other size. The other size is taken if it
 * wins every pair; a lost pair ends the trial. A short disturbance rarely slows three windows of
 * one size and none of the other. */
#define TRIAL_WINDOWS 6u

/* Time between trials, at first and at most. With the longest time, a trial whose steps take twice
 * as long costs 1 %. */
#define LEAST_REST_NS (2 * WINDOW_NS)
#define MOST_REST_NS (100 * WINDOW_NS)

/* Steps that are this much slower than after the last trial mean that the load of the machine has
 * changed. */
#define SLOWER_PERCENT 150u
/* The other size wins if its steps take at most this percentage of the usual time. For more workers
 * the limit is higher, because a disturbance delays a step the more, the more workers wait for each
 * other. */
#define MORE_PERCENT 97u
#define FEWER_PERCENT 93u

struct rsr_team_size rsr_team_size_of(uint32_t most, uint32_t n_cores) {
    return (struct rsr_team_size){.most = most,
                                  .usual = most < n_cores ? most : n_cores,
                                  .rest_ns = LEAST_REST_NS,
                                  .left_ns = LEAST_REST_NS};
}

static bool is_other_turn(const struct rsr_team_size *size) {
    return size->other != 0 && size->n_turns % 2 == 1;
}

uint32_t rsr_team_size_next(const struct rsr_team_size *size) {
    return is_other_turn(size) ? size->other : size->usual;
}

/* Tries half as many workers, one more, twice as many and one less, in turn, if there are such
 * sizes. */
static uint32_t choose_other(struct rsr_team_size *size) {
    const uint32_t usual = size->usual;
    const uint32_t others[] = {(usual + 1) / 2, usual + 1, 2 * usual, usual - 1};
    for (;;) {
        const uint32_t other = others[size->n_chosen++ % (sizeof(others) / sizeof(others[0]))];
        if (other != usual && other >= 1 && other <= size->most)
            return other;
    }
}

static uint64_t mean_ns(const struct rsr_team_window *window) {
    return window->ns / window->n_tokens;
}

static void rest(struct rsr_team_size *size, uint64_t ns, uint64_t usual_ns) {
    size->rest_ns = size->left_ns = ns < MOST_REST_NS ? ns : MOST_REST_NS;
    size->usual_ns = usual_ns;
    size->other = 0;
}

/* If the machine has changed, the time until the next trial is as short as at first. */
static void begin_trial(struct rsr_team_size *size, bool has_changed) {
    if (has_changed)
        size->rest_ns = LEAST_REST_NS / 2;
    size->other = choose_other(size);
    size->n_turns = 0;
}

static void end_turn(struct rsr_team_size *size) {
    const uint64_t ns = mean_ns(&size->window);
    const uint32_t most_percent = size->other > size->usual ? MORE_PERCENT : FEWER_PERCENT;
    if (size->n_turns++ % 2 == 0) {
        size->turn_ns = ns;
    } else if (ns * 100 > size->turn_ns * most_percent) {
        rest(size, 2 * size->rest_ns, size->turn_ns);
    } else if (size->n_turns == TRIAL_WINDOWS) {
        size->usual = size->other;
        rest(size, LEAST_REST_NS, ns);
    }
}

static void end_rest_window(struct rsr_team_size *size) {
    const bool has_changed =
        size->usual_ns != 0 && mean_ns(&size->window) * 100 > size->usual_ns * SLOWER_PERCENT;
    size->left_ns -= size->window.ns < size->left_ns ? size->window.ns : size->left_ns;
    if (size->left_ns == 0 || has_changed)
        begin_trial(size, has_changed);
}

void rsr_team_size_took(struct rsr_team_size *size, uint32_t n_tokens, uint64_t ns) {
    struct rsr_team_window *window = &size->window;
    if (size->most < 2)
        return;
    window->ns += ns;
    window->n_tokens += n_tokens;
    if (window->n_steps++ == 0 || window->ns < WINDOW_NS)
        return;
    if (size->other != 0)
        end_turn(size);
    else
        end_rest_window(size);
    *window = (struct rsr_team_window){0};
}
