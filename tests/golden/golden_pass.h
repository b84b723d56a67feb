/* golden_pass.h - one evaluation of the recorded tokens, watched through the engine's probe.
 *
 * Teacher-forced (inject): the reference's codes and scales replace ours at the input of every
 * linear, so each stage is judged by itself: our own codes first, then the sums, the float outputs,
 * norms and attention. Free-running: nothing is replaced; codes that differ are remembered by place
 * and explained afterwards.
 */
#ifndef TESTS_GOLDEN_PASS_H
#define TESTS_GOLDEN_PASS_H

#include <stdbool.h>
#include <stdint.h>

#include "golden_file.h"
#include "rsr.h"

/* Quantised inputs of a block, in the order of computation; q, k, v share one, gate and up too. */
enum golden_input { INPUT_QKV, INPUT_O, INPUT_GATE_UP, INPUT_DOWN, INPUT_COUNT };

/* How one token's quantised input differs from the reference's. */
struct golden_difference {
    uint32_t n_codes; /* codes that differ */
    uint32_t n_far;   /* of those, codes that no rounding tie explains */
    float scale;      /* relative difference of the scales */
};

struct golden_pass {
    struct golden *golden;
    const struct rsr_target *target; /* whose kernels run */
    const char *name;                /* "teacher-forced, whole" */
    uint32_t n_blocks;
    bool inject;
    struct golden_difference *differences; /* [n_blocks][INPUT_COUNT][n_tokens] */
    uint64_t n_codes, n_sums;              /* compared */
    uint64_t n_ties, n_downstream;         /* codes that differ */
    float worst_output, worst_norm, worst_attention, worst_logits; /* relative to the largest */
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

/* After a free-running pass: every differing code is a tie or downstream of one. Fills n_ties and
 * n_downstream. */
void golden_pass_explain(struct golden_pass *pass);

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
