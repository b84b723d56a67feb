/* layer.h - one layer on its way through the passes.
 *
 * Everything is in the layer's own arena until it is the layer's turn to be written.
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
    struct rsr_matrix reduced;      /* what is analysed, planned and lowered */
    struct rsr_reduction reduction; /* how the layer follows from it */
    struct rsr_stats stats;         /* of the reduced matrix, at the k of scatter */
    struct rsr_stats fold_stats;    /* and of fold, where has_fold_stats */
    bool has_fold_stats;
    struct rsr_segment_picture picture; /* of the reduced matrix, where a report draws it */
    struct rsr_index index;             /* of the reduced matrix; k 0: none yet */
    struct rsr_index fold_index;
    struct rsr_plan *plans;      /* [n_specs] */
    struct rsr_lowered *lowered; /* [n_specs][RSR_REGIME_COUNT]; equal kernels only for decode */
    struct rsrc_bodies *bodies;  /* the same, of kernels that have some */
    struct rsrc_buffer dump;     /* what --dump prints, in pass order */
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
/* The segment index with blocks of k rows: that of the statistics, or of fold's. */
const struct rsr_index *rsrc_index_at(struct rsrc_layer_state *state, uint32_t k);

/* layer_lower.c */
/* Kernels of the layer for a target: one a regime, or one for both. */
uint32_t rsrc_n_kernels(const struct rsrc_layer_state *state, uint32_t target);
struct rsr_lowered *rsrc_lowered_of(const struct rsrc_layer_state *state, uint32_t target,
                                    uint32_t regime);
typedef enum rsrc_status rsrc_kernel_visitor(struct rsrc_layer_state *state, uint32_t target,
                                             uint32_t regime);
/* Every kernel of every target, in order, until one fails. */
RSRC_NODISCARD enum rsrc_status rsrc_visit_kernels(struct rsrc_layer_state *state,
                                                   rsrc_kernel_visitor *visit);
/* What one call of the kernel reads: as packed, or the instructions that hold the index. */
uint64_t rsrc_weight_bytes_of(const struct rsrc_layer_state *state, uint32_t target,
                              uint32_t regime);
/* The layer as the plan has it, for the target; diagnostics and results as given. */
RSRC_NODISCARD enum rsrc_status rsrc_lower_planned(struct rsrc_layer_state *state, uint32_t target,
                                                   const struct rsr_regime_plan *plan,
                                                   struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                   struct rsr_lowered *out);
enum rsrc_status rsrc_layer_lower(struct rsrc_layer_state *state);
enum rsrc_status rsrc_layer_verify_lower(struct rsrc_layer_state *state);
void rsrc_layer_dump_kernel(struct rsrc_layer_state *state, struct rsrc_buffer *out);

/* tuner.c */
/* What the planner asks for times, on behalf of a layer. */
struct rsrc_layer_timer {
    struct rsrc_layer_state *state;
    uint32_t target;
    struct rsrc_plan_timer plan;
};
/* Nothing, and every other function does nothing, unless --tune asks for it. */
RSRC_NODISCARD enum rsrc_status rsrc_open_tuner(const struct rsrc_input_set *in);
void rsrc_close_tuner(struct rsrc_run *run);
/* Around whatever takes time, so that nothing does while a kernel is measured. Not nested. */
void rsrc_begin_work(const struct rsrc_run *run);
void rsrc_end_work(const struct rsrc_run *run);
/* For a plan of the layer: asked between rsrc_begin_work() and rsrc_end_work(). */
void rsrc_init_timer(struct rsrc_layer_timer *timer, struct rsrc_layer_state *state,
                     uint32_t target);

/* layer_plan.c */
enum rsrc_status rsrc_layer_plan(struct rsrc_layer_state *state);
/* In order: keeps what outlives the layer. */
enum rsrc_status rsrc_layer_record(struct rsrc_layer_state *state);
void rsrc_layer_dump_plan(struct rsrc_layer_state *state, struct rsrc_buffer *out);

/* layer_emit.c */
/* Assembles the bodies of kernels, where units call them. */
enum rsrc_status rsrc_layer_assemble(struct rsrc_layer_state *state);
/* In order: adds the layer's kernels and weights to the outputs. */
enum rsrc_status rsrc_layer_emit(struct rsrc_layer_state *state);

/* layer_gpu.c */
/* In order: keeps the kernel, and writes what it reads. */
enum rsrc_status rsrc_layer_write_gpu(struct rsrc_layer_state *state);

/* survey.c */
/* What is to be told of a layer that has run through the passes, as far as it came. */
enum rsrc_status rsrc_layer_survey(struct rsrc_layer_state *state);

#endif
