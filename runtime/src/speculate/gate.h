/* gate.h - decides how many drafts a step should have, if any.
 *
 * The gate counts right guesses by the number of matching tokens before them, also of guesses that
 * no step used as drafts, which costs nothing. It measures steps of each number of tokens. It
 * chooses the number with the most expected tokens per second, and none if one token per step gives
 * more. Estimates may be wrong, so the time that drafts have cost, minus the time that they saved
 * lately, stays below a bound: a share of the text's time. Callers give the times: nothing here
 * reads a clock.
 */
#ifndef RSR_GATE_H
#define RSR_GATE_H

#include "runtime.h"

#define RSR_GATE_MATCHES 4u /* 2 to 3 tokens in front of a guess, 4 to 7, 8 to 15, more */
#define RSR_GATE_TIMES 5u   /* the last ones of a number of tokens */

struct rsr_gate_steps {
    uint64_t ns[RSR_GATE_TIMES];
    uint32_t n;    /* number of measured times */
    uint32_t last; /* the text's step that was measured last */
};

struct rsr_gate {
    float right[RSR_GATE_MATCHES], guesses[RSR_GATE_MATCHES]; /* the older, the less they count */
    struct rsr_gate_steps steps[1 + RSR_MAX_DRAFTS];          /* of 1 token, of 2 ... */
    uint32_t most;                                            /* drafts of a step */
    uint32_t n_steps, n_tokens;                               /* of the text */
    uint32_t n_plain, last_plain; /* steps without drafts in a row until now; when there were enough
                                     of them last */
    bool wants_plain;             /* the next steps have no drafts */
    uint32_t n_unsure;            /* tokens of steps with drafts since the last plain one */
    double saved_ns, lost_ns;     /* in total; compared with the bound */
};

void rsr_gate_begin(struct rsr_gate *gate, uint32_t most);
/* Counts a guess with this many matching tokens before it as right or wrong. */
void rsr_gate_saw(struct rsr_gate *gate, uint32_t match, bool right);
/* Returns how many drafts the next step should have, at most `most`; 0: none. */
uint32_t rsr_gate_choose(const struct rsr_gate *gate, uint32_t match, uint32_t most);
/* Takes the time of a step with n_drafts drafts that gave n_tokens tokens. */
void rsr_gate_took(struct rsr_gate *gate, uint32_t n_drafts, uint32_t n_tokens, uint64_t ns);

#endif
