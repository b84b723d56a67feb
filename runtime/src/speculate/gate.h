/* gate.h - whether a step with drafts pays: how many tokens are worth it, if any.
 *
 * What is right of guesses is counted by how many tokens matched in front of them, whether a step
 * had them as drafts or not: that costs nothing. What steps of any number of tokens take is
 * measured. The gate takes the number with the most tokens expected a second, and no number where
 * one token a step gives more. Estimates may be wrong, so what drafts have cost, less what they
 * have saved lately, stays below a bound: a part of the time of the text. Times are told: nothing
 * here reads a clock.
 */
#ifndef RSR_GATE_H
#define RSR_GATE_H

#include "runtime.h"

#define RSR_GATE_MATCHES 4u /* 2 to 3 tokens in front of a guess, 4 to 7, 8 to 15, more */
#define RSR_GATE_TIMES 5u   /* the last ones of a number of tokens */

struct rsr_gate_steps {
    uint64_t ns[RSR_GATE_TIMES];
    uint32_t n;    /* that were measured */
    uint32_t last; /* in which step of the text */
};

struct rsr_gate {
    float right[RSR_GATE_MATCHES], guesses[RSR_GATE_MATCHES]; /* the older, the less they count */
    struct rsr_gate_steps steps[1 + RSR_MAX_DRAFTS];          /* of 1 token, of 2 ... */
    uint32_t most;                                            /* drafts of a step */
    uint32_t n_steps, n_tokens;                               /* of the text */
    uint32_t n_plain, last_plain; /* steps without drafts in a row until now; when there were enough
                                     of them last */
    bool wants_plain;             /* whatever is guessed */
    uint32_t n_unsure;            /* tokens of steps with drafts since the last plain one */
    double saved_ns, lost_ns;     /* in all; against the bound */
};

void rsr_gate_begin(struct rsr_gate *gate, uint32_t most);
/* A guess with so many matching tokens before it was right, or not. */
void rsr_gate_saw(struct rsr_gate *gate, uint32_t match, bool right);
/* How many drafts the next step is to have, of at most `most`; 0: none. */
uint32_t rsr_gate_choose(const struct rsr_gate *gate, uint32_t match, uint32_t most);
/* A step with so many drafts gave so many tokens. */
void rsr_gate_took(struct rsr_gate *gate, uint32_t n_drafts, uint32_t n_tokens, uint64_t ns);

#endif
