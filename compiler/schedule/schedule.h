/* schedule.h - the step: what one forward pass does, in order, over which buffers. */
#ifndef RSRC_SCHEDULE_SCHEDULE_H
#define RSRC_SCHEDULE_SCHEDULE_H

#include "ir.h"

/* The kernels of one target: those of decode first, in the order of rsr_graph.layers, then those of
 * prefill that differ from them. */
struct rsrc_step_kernels {
    uint32_t n_kernels;
    const uint32_t *layer;   /* [n_kernels] index of rsr_graph.layers */
    const uint32_t *prefill; /* [graph->n_layers] kernel number */
    const uint8_t *lists;    /* [graph->n_layers] enum rsr_list: what a list selects in the layer;
                                NULL: nothing in any layer */
    uint32_t decode_tokens;  /* larger batches run the kernels of prefill */
};

/* Buffers of one step, at most. */
#define RSRC_MAX_STEP_BUFFERS 48u

/* Makes one step for batches of any size if both regimes use the same kernels, else one step per
 * regime. Norm numbers are indexes of rsr_graph.norms. Buffers share memory if their lifetimes do
 * not overlap. */
void rsrc_build_steps(struct rsrc_arena *arena, const struct rsr_graph *graph,
                      const struct rsrc_step_kernels *kernels, struct rsr_step **steps,
                      uint32_t *n_steps);

/* A problem of a step: `what` says it, about the buffer. */
#define RSRC_NO_STEP_OP UINT32_MAX
struct rsrc_step_problem {
    const char *what; /* NULL: nothing is wrong */
    const char *buffer;
    uint32_t op; /* RSRC_NO_STEP_OP: the problem is the placement of buffers */
};
/* Checks what the runtime relies on: operands defined before use, no live buffers overlap, barriers
 * between operations that are split differently. */
struct rsrc_step_problem rsrc_find_step_problem(const struct rsr_graph *graph,
                                                const struct rsrc_step_kernels *kernels,
                                                const struct rsr_step *step);
/* Checks a step that scheduling made: a problem is reported as a defect of the compiler. */
RSRC_NODISCARD enum rsrc_status rsrc_verify_step(struct rsrc_diag *diag,
                                                 const struct rsr_graph *graph,
                                                 const struct rsrc_step_kernels *kernels,
                                                 const struct rsr_step *step);
/* Text form. A printed text parses back, also several dumps one after another. */
void rsrc_print_step(const struct rsr_graph *graph, const struct rsrc_step_kernels *kernels,
                     const struct rsr_step *step, struct rsrc_buffer *out);

/* A step from its text, without the graph. */
struct rsr_parsed_step {
    struct rsr_step step;
    const char *
        *names; /* [n_ops] layer of RSR_OP_LINEAR, norm of RSR_OP_NORM; else NULL; untrusted */
};
/* The steps are verified, except the numbers of kernels and norms. */
RSRC_NODISCARD enum rsrc_status rsrc_parse_steps(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                 const char *file, const char *text,
                                                 uint64_t size_bytes, struct rsr_parsed_step **out,
                                                 uint32_t *n_out);
void rsrc_print_parsed_step(const struct rsr_parsed_step *parsed, struct rsrc_buffer *out);

#endif
