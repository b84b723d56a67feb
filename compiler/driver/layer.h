/* layer.h - one layer on its way through the passes.
 *
 * All results are in the layer's own arena until it is the layer's turn to be written.
 */
#ifndef RSRC_DRIVER_LAYER_H
#define RSRC_DRIVER_LAYER_H

#include "driver/compilation.h"

struct rsrc_layer_state {
    struct rsrc_compilation *compilation;
    struct rsrc_diag *diag; /* held back until it is the layer's turn */
    const struct rsrc_item *item;
    uint32_t item_index;
    bool failed;
    struct rsrc_arena arena;
    struct rsr_matrix matrix; /* the layer's own */
    struct rsr_dead dead;
    struct rsr_matrix reduced;      /* what a CPU's kernels compute, and what is analysed */
    struct rsr_reduction reduction; /* how the layer follows from the reduced matrix */
    struct rsr_reduction whole;     /* nothing is dropped: how a GPU's kernels compute the layer */
    struct rsr_stats stats;         /* of the reduced matrix, at the k of scatter */
    struct rsr_stats whole_stats;   /* of the layer's own matrix, at that k */
    struct rsr_stats fold_stats;    /* at the k of fold, if has_fold_stats */
    struct rsr_stats whole_fold_stats; /* of the layer's own matrix, for GPUs */
    bool has_fold_stats;
    struct rsr_segment_picture picture; /* of the reduced matrix, if a report draws it */
    struct rsr_index index;             /* of the reduced matrix; k 0: none yet */
    struct rsr_index fold_index;
    struct rsr_index whole_index; /* of the layer's own matrix, for the fold of GPUs */
    struct rsr_plan *plans;       /* [n_specs] */
    struct rsr_lowered *lowered;  /* [n_specs][RSR_REGIME_COUNT]; equal kernels only for decode */
    struct rsrc_bodies *bodies;   /* for kernels with bodies, like above */
    struct rsrc_buffer dump;      /* what --dump prints, in pass order */
};

/* layer_analysis.c */
enum rsrc_status rsrc_layer_decode(struct rsrc_layer_state *state);
enum rsrc_status rsrc_layer_reduce(struct rsrc_layer_state *state);
enum rsrc_status rsrc_layer_verify_reduce(struct rsrc_layer_state *state);
enum rsrc_status rsrc_layer_rsr(struct rsrc_layer_state *state);
enum rsrc_status rsrc_layer_verify_rsr(struct rsrc_layer_state *state);
void rsrc_layer_dump_decode(struct rsrc_layer_state *state, struct rsrc_buffer *out);
void rsrc_layer_dump_reduce(struct rsrc_layer_state *state, struct rsrc_buffer *out);
void rsrc_layer_dump_rsr(struct rsrc_layer_state *state, struct rsrc_buffer *out);
/* The segment index with blocks of k rows, where k is that of the statistics or of fold's. */
const struct rsr_index *rsrc_index_at(struct rsrc_layer_state *state, uint32_t k);
/* That of the matrix that the kernels of a target compute. */
const struct rsr_index *rsrc_index_for(struct rsrc_layer_state *state, uint32_t target, uint32_t k);

/* What the kernels of a target compute: the reduced matrix, or, because a GPU's kernels apply no
 * maps, the layer's own. */
const struct rsr_matrix *rsrc_matrix_for(const struct rsrc_layer_state *state, uint32_t target);
const struct rsr_reduction *rsrc_reduction_for(const struct rsrc_layer_state *state,
                                               uint32_t target);
const struct rsr_stats *rsrc_stats_for(const struct rsrc_layer_state *state, uint32_t target);
/* rsrc_reduction_text() of that. */
const char *rsrc_reduction_words(struct rsrc_layer_state *state, uint32_t target);

/* layer_lower.c */
/* Makes the layer's kernels for a target: one per regime, or one for both. */
uint32_t rsrc_n_kernels(const struct rsrc_layer_state *state, uint32_t target);
struct rsr_lowered *rsrc_lowered_of(const struct rsrc_layer_state *state, uint32_t target,
                                    uint32_t regime);
typedef enum rsrc_status rsrc_kernel_visitor(struct rsrc_layer_state *state, uint32_t target,
                                             uint32_t regime);
/* Calls a function for every kernel of every target, in order, until a call fails. */
RSRC_NODISCARD enum rsrc_status rsrc_visit_kernels(struct rsrc_layer_state *state,
                                                   rsrc_kernel_visitor *visit);
/* Bytes that one call of the kernel reads: packed data, or the instructions that hold the index. */
uint64_t rsrc_weight_bytes_of(const struct rsrc_layer_state *state, uint32_t target,
                              uint32_t regime);
/* Lowers the layer by the plan for the target, into the given diag, arena and result. */
RSRC_NODISCARD enum rsrc_status rsrc_lower_planned(struct rsrc_layer_state *state, uint32_t target,
                                                   const struct rsr_regime_plan *plan,
                                                   struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                   struct rsr_lowered *out);
enum rsrc_status rsrc_layer_lower(struct rsrc_layer_state *state);
enum rsrc_status rsrc_layer_verify_lower(struct rsrc_layer_state *state);
void rsrc_layer_dump_kernel(struct rsrc_layer_state *state, struct rsrc_buffer *out);

/* tuner.c */
/* The timer that the planner asks, on behalf of a layer. */
struct rsrc_layer_timer {
    struct rsrc_layer_state *state;
    uint32_t target;
    struct rsrc_plan_timer plan;
};
/* Without --tune it makes no tuner, and all other functions do nothing. */
RSRC_NODISCARD enum rsrc_status rsrc_open_tuner(const struct rsrc_input_set *in);
void rsrc_close_tuner(struct rsrc_run *run);
/* These enclose all work of passes, so that no work runs while a kernel is measured. They do not
 * nest. */
void rsrc_begin_work(const struct rsrc_run *run);
void rsrc_end_work(const struct rsrc_run *run);
/* The timer for a plan of the layer; call it between rsrc_begin_work() and rsrc_end_work(). */
void rsrc_init_timer(struct rsrc_layer_timer *timer, struct rsrc_layer_state *state,
                     uint32_t target);

/* layer_plan.c */
enum rsrc_status rsrc_layer_plan(struct rsrc_layer_state *state);
/* In order: keeps what outlives the layer. */
enum rsrc_status rsrc_layer_record(struct rsrc_layer_state *state);
void rsrc_layer_dump_plan(struct rsrc_layer_state *state, struct rsrc_buffer *out);

/* layer_gpu.c */
/* In order: keeps the kernel, fills in what the tables say of it, and writes what it reads. */
RSRC_NODISCARD enum rsrc_status rsrc_keep_gpu_kernel(struct rsrc_layer_state *state,
                                                     uint32_t target, uint32_t regime,
                                                     struct rsr_linear_unit *linear);

/* layer_emit.c */
/* Assembles the bodies of kernels, where units call them. */
enum rsrc_status rsrc_layer_assemble(struct rsrc_layer_state *state);
/* In order: adds the layer's kernels and weights to the outputs. */
enum rsrc_status rsrc_layer_emit(struct rsrc_layer_state *state);

/* survey.c */
/* Records what the passes found out about a layer, also if one of them refused it. */
enum rsrc_status rsrc_layer_survey(struct rsrc_layer_state *state);

#endif
