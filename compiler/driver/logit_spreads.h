/* logit_spreads.h - measures the spreads of attention's logits while a text is evaluated. */
#ifndef RSRC_DRIVER_LOGIT_SPREADS_H
#define RSRC_DRIVER_LOGIT_SPREADS_H

#include "driver/inputs.h"
#include "rsr.h"

struct rsrc_logit_spreads {
    const struct rsrc_input_set *in;
    uint32_t most_positions;
    float *keys;         /* [most_positions][KV heads * head_dim]: of the block that is evaluated */
    double *sums;        /* [rsrc_n_spreads()] of standard deviations */
    uint64_t *n_queries; /* [rsrc_n_spreads()] that sums are of */
};

/* Positions of tokens are below most_positions, and one sequence is evaluated at a time, from its
 * beginning on. The memory is in the arena. */
void rsrc_begin_spreads(struct rsrc_logit_spreads *spreads, const struct rsrc_input_set *in,
                        struct rsrc_arena *arena, uint32_t most_positions);
/* For every point that a probe sees. */
void rsrc_probe_spreads(struct rsrc_logit_spreads *spreads, const rsr_probe_point *point);
/* The rows of a profile, a block each. Returns their number: 0 if the text was too short to measure
 * every head. */
uint32_t rsrc_list_spreads(const struct rsrc_logit_spreads *spreads, struct rsrc_arena *arena,
                           struct rsrc_profile_spreads **rows);

#endif
