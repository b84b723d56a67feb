/* cost.h - predicted time and exact size of one layer in each variant. Private to plan/. */
#ifndef RSRC_PLAN_COST_H
#define RSRC_PLAN_COST_H

#include "plan/plan.h"

/* Microseconds a token: one alone in decode, one of a batch in prefill. */
struct rsrc_cost {
    double memory_us; /* reading weight_bytes once a call */
    double compute_us;
    double predicted_us; /* both, overlapped, and the call */
};

/* One way to compute a layer. */
struct rsrc_choice {
    enum rsr_variant variant;
    enum rsr_packing packing; /* dot */
    uint32_t k;               /* scatter, fold; else 0 */
    enum rsr_fold_kind fold;  /* scatter */
    uint32_t tile_rows;       /* dot over listed rows or columns; else 0 */
    uint64_t weight_bytes;    /* codes and index as lowering stores them */
    uint32_t max_cols;        /* of a matrix that lowering accepts: what its sums can hold */
    struct rsrc_cost cost[RSR_REGIME_COUNT];
    double measured_us[RSR_REGIME_COUNT]; /* 0: not measured */
    const char *work;                     /* "6.55 M multiply-adds", "0.42 M additions" */
};

/* Codes are 0..2 and activations reach -128; signs and bits double a sum: 512 a column in 32 bits,
 * in every form of `dot` and `lut`. */
#define RSRC_MAX_SUM_COLS (INT32_MAX / 512)

/* False: the target has no instructions for it. Prefill of `dot` over the codes of lut reads no
 * data of its own but a few tables. */
bool rsrc_cost_lut(struct rsrc_arena *arena, const struct rsr_stats *stats,
                   enum rsr_alphabet alphabet, const struct rsr_spec *spec,
                   struct rsrc_choice *out);
/* The same of float activations. */
bool rsrc_cost_lut_f32(struct rsrc_arena *arena, const struct rsrc_plan_input *input,
                       struct rsrc_choice *out);
bool rsrc_cost_dot_lut(struct rsrc_arena *arena, const struct rsr_stats *stats,
                       enum rsr_alphabet alphabet, const struct rsr_spec *spec,
                       struct rsrc_choice *out);
/* False: not open, because there are no statistics, blocks too high, or scales of groups. The
 * weights are instructions, their bytes an estimate. */
bool rsrc_cost_fold(struct rsrc_arena *arena, const struct rsrc_plan_input *input,
                    struct rsrc_choice *out);
/* False: no list says what the layer reads, or there is an obstacle. */
bool rsrc_cost_listed(struct rsrc_arena *arena, const struct rsrc_plan_input *input,
                      struct rsrc_choice *out);
struct rsrc_choice rsrc_cost_dot(struct rsrc_arena *arena, const struct rsr_stats *stats,
                                 enum rsr_alphabet alphabet, const struct rsr_spec *spec);
struct rsrc_choice rsrc_cost_scatter(struct rsrc_arena *arena, const struct rsrc_plan_input *input,
                                     enum rsr_fold_kind fold);

/* operations at 1e9/s, in microseconds. */
double rsrc_work_us(double operations, double giga_per_s);
/* Fills both regimes from weight_bytes and the microseconds that computing a token takes: a batch
 * shares the reading and the call. */
void rsrc_set_costs(struct rsrc_choice *choice, double decode_us, double prefill_us,
                    const struct rsr_spec *spec);
/* The same where a call does not read weight_bytes but some of them. */
void rsrc_set_costs_of_bytes(struct rsrc_choice *choice, double bytes, double decode_us,
                             double prefill_us, const struct rsr_spec *spec);
/* "6.55 M multiply-adds" */
const char *rsrc_work_text(struct rsrc_arena *arena, double operations, const char *what);

/* The fold table of RSR++ fits what lowering accepts. */
bool rsrc_fold_fits(enum rsr_alphabet alphabet, uint32_t k);

#endif
