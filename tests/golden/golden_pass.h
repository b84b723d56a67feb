/* golden_pass.h - one evaluation of the recorded tokens, watched through the engine's probe.
 *
 * Teacher-forced (inject): the reference's input, codes with their scale or floats, replaces ours
 * at every linear, so each stage is judged by itself: our own input first, then the sums, the float
 * outputs, norms and attention. Free-running: nothing is replaced; codes that differ are remembered
 * by place and explained afterwards.
 */
#ifndef TESTS_GOLDEN_PASS_H
#define TESTS_GOLDEN_PASS_H

#include <stdbool.h>
#include <stdint.h>

#include "golden_file.h"
#include "rsr.h"

/* Linears of a block, in the order of computation and of the record's `tie_at`. */
enum golden_linear {
    LINEAR_Q,
    LINEAR_K,
    LINEAR_V,
    LINEAR_O,
    LINEAR_GATE,
    LINEAR_UP,
    LINEAR_DOWN,
    LINEAR_QKV, /* of blocks with a gated delta rule, in the place of q, k and v */
    LINEAR_Z,
    LINEAR_BETA,
    LINEAR_DECAY,
    LINEAR_COUNT
};

/* How one token's quantised input differs from the reference's. */
struct golden_difference {
    uint32_t n_codes; /* codes that differ */
    uint32_t n_far;   /* differing codes that no rounding tie explains */
    float scale;      /* relative difference of the scales */
};

struct golden_pass {
    struct golden *golden;
    const struct rsr_target *target; /* whose kernels run */
    const char *name;                /* "teacher-forced, whole" */
    uint32_t n_blocks;
    bool inject;
    struct golden_difference *differences; /* [n_blocks][LINEAR_COUNT][n_tokens] */
    uint64_t n_inputs;                     /* rows of recorded inputs that the probe showed */
    uint64_t n_codes, n_sums, n_floats;    /* compared */
    uint64_t n_ties, n_downstream;         /* codes that differ */
    /* Relative to the largest: */
    float worst_input, worst_output, worst_norm, worst_attention, worst_result;
    uint32_t n_failures;
};

void golden_pass_init(struct golden_pass *pass, struct golden *golden, const char *name,
                      const struct rsr_target *target, uint32_t n_blocks, bool inject);

/* The engine's probe; `user` is the pass. */
void golden_pass_probe(void *user, const rsr_probe_point *point);

/* Logits of every position, [n_tokens][vocab]. Teacher-forced: close to the recorded ones.
 * Free-running: the same best token wherever the reference is clear about it, and the perplexity.
 * Returns the number of clear positions, all of which were compared. */
uint32_t golden_pass_logits(struct golden_pass *pass, const float *logits, uint32_t vocab);
/* Checks an embedding model's hidden states, [n_tokens][hidden]. Teacher-forced, they must be close
 * to the recorded ones; free-running, only their codes are judged. */
void golden_pass_hidden(struct golden_pass *pass, const float *hidden, uint32_t cols);

/* After a free-running pass: checks that every differing code is at a tie or follows from one. Sets
 * n_ties and n_downstream. */
void golden_pass_explain(struct golden_pass *pass);

/* Whether floats are within the contract's bound of the recorded ones, relative to the layer's
 * largest. *worst becomes this relative error if it is larger than *worst. */
bool golden_floats_close(const struct golden_tensor *tensor, uint32_t row, const float *ours,
                         float *worst);

/* Counts a failure and prints the first few. */
void golden_pass_fail(struct golden_pass *pass, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Mean negative log likelihood (nats) of tokens[1..] under logits [n_tokens][vocab]. */
double golden_mean_nll(const float *logits, uint32_t vocab, const int32_t *tokens,
                       uint32_t n_tokens);
/* |perplexity / reference - 1| of two mean negative log likelihoods. */
double golden_perplexity_error(double nll, double reference_nll);
#define GOLDEN_PERPLEXITY_TOLERANCE 1e-3

#endif
