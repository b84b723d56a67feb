/* kernel.h - a kernel as the planner and lowering see it: a row of kernels.def, three functions and
 * a table of machines. Also functions that check, simplify, print and parse its operation list.
 */
#ifndef RSRC_KERNEL_KERNEL_H
#define RSRC_KERNEL_KERNEL_H

#include "ir.h"

/* ---- machines -------------------------------------------------------------------------------- */

static inline bool rsrc_target_has(const struct rsr_spec *spec, uint64_t features) {
    return (spec->cpu_features & features) == features;
}

/* A kernel's rows, best first. Each begins with a struct rsrc_machine. The rest is the kernel's
 * own: tokens computed together, counted instructions. */
struct rsrc_machine_table {
    const void *rows;
    size_t row_bytes;
    uint32_t n;
};
#define RSRC_MACHINE_TABLE(rows)                                                                   \
    { (rows), sizeof *(rows), sizeof(rows) / sizeof *(rows) }

const struct rsrc_machine *rsrc_machine_at(const struct rsrc_machine_table *table, uint32_t i);
/* The first machine whose features the target has; NULL: none. */
const struct rsrc_machine *rsrc_find_machine(const struct rsrc_machine_table *table,
                                             const struct rsr_spec *spec);

/* ---- planning -------------------------------------------------------------------------------- */

/* Tokens of the batch for which prefill is predicted and measured. */
#define RSRC_PREFILL_TOKENS 128u
/* For a random ternary matrix in chunks of about 320 columns, blocks of 4 rows need the fewest
 * instructions: 324 for 1000 weights were counted; blocks of 3 and of 5 rows need more. */
#define RSRC_FOLD_K 4u

struct rsrc_plan_input {
    const char *layer_name; /* untrusted */
    enum rsr_role role;     /* RSR_ROLE_COUNT: a bare matrix */
    enum rsr_alphabet alphabet;
    enum rsr_input input;
    uint32_t group_cols;                /* columns that share a scale of their row; 0: no groups */
    uint32_t scale_bytes;               /* bytes in which lut stores the scale of a group */
    const struct rsr_stats *stats;      /* at the k that scatter would use */
    const struct rsr_stats *fold_stats; /* at the k that fold would use; NULL: fold is not open */
    uint64_t fold_budget;               /* bytes of code that the layer may take if fold is not
                                           forced */
    enum rsr_list list;                 /* what a list can select in the layer */
    const char *list_obstacle;          /* why it cannot; NULL: it can */
    double active;                      /* share of elements that the list names, 0 .. 1 */
    double runs;                        /* groups of named elements side by side, mean of a token;
                                           0: as many as chance makes */
    const struct rsr_spec *spec;
    const struct rsrc_plan_options *options; /* context of the timer; both belong to the planner */
    const struct rsrc_plan_timer *timer;     /* NULL: nothing is measured */
};

/* Microseconds per token: alone in decode, in a batch in prefill. */
struct rsrc_cost {
    double memory_us; /* reading weight_bytes once per call */
    double compute_us;
    double predicted_us; /* both, overlapped, with the call */
};

/* One way to compute a layer. */
struct rsrc_choice {
    enum rsr_kernel_id kernel;
    const struct rsrc_machine *machine;
    uint32_t k;              /* RSRC_HAS_K; else 0 */
    enum rsr_fold_kind fold; /* RSRC_HAS_FOLD */
    uint32_t tile_rows;      /* 0: the planner chooses, by a tile's overhead */
    uint64_t weight_bytes;   /* codes and index as lowering stores them; code is estimated */
    uint64_t token_bytes;    /* what one token fetches of them; 0: all */
    const char *part;        /* that part, in words; NULL: all */
    uint64_t max_bytes;      /* of code that lowering accepts; 0: any number */
    uint32_t max_cols;       /* widest matrix that lowering accepts, by what its sums can hold */
    uint32_t lanes;          /* tokens computed together in the time of one; 0: one */
    struct rsrc_cost cost[RSR_REGIME_COUNT];
    double measured_us[RSR_REGIME_COUNT];  /* 0: not measured */
    const char *work;                      /* "6.55 M multiply-adds", "0.42 M additions"; or: */
    const char *reasons[RSR_REGIME_COUNT]; /* on a GPU: the whole reason */
};
#define RSRC_MAX_KERNEL_CHOICES 2u

/* The limit of columns, so that sums fit 32 bits in every form of `dot` and `lut`. Codes are 0..2,
 * activations reach -128, and sums of signs and bits are doubled: a column adds at most 512.
 * Columns that pad the last block count, too. */
#define RSRC_MAX_SUM_COLS (INT32_MAX / 512 - RSR_ACT_PAD)

/* Lists the ways in which the kernel can compute the layer on the machine, at most
 * RSRC_MAX_KERNEL_CHOICES, and returns their number. The caller fills in kernel and machine. */
typedef uint32_t rsrc_list_fn(struct rsrc_arena *arena, const struct rsrc_plan_input *input,
                              const struct rsrc_machine *machine, struct rsrc_choice *out);

/* Microseconds of a call that reads and computes at the same time. */
double rsrc_call_us(double memory_us, double compute_us);
/* Microseconds of operations at a rate of 1e9/s. */
double rsrc_work_us(double operations, double giga_per_s);
/* Sets the costs of both regimes from weight_bytes and the computing time of a token in
 * microseconds. A batch shares the reading and the call. */
void rsrc_set_costs(struct rsrc_choice *choice, double decode_us, double prefill_us,
                    const struct rsr_spec *spec);
/* Sets them for a kernel whose call reads only `bytes` of weight_bytes. */
void rsrc_set_costs_of_bytes(struct rsrc_choice *choice, double bytes, double decode_us,
                             double prefill_us, const struct rsr_spec *spec);
/* "6.55 M multiply-adds" */
const char *rsrc_work_text(struct rsrc_arena *arena, double operations, const char *what);

/* The tiles that a kernel can have: units of rows, and tokens. */
struct rsrc_tiling {
    uint32_t unit_rows;
    uint32_t token_tile; /* tokens, nearest to the plan's */
};
/* The layer that a plan is for. */
struct rsrc_planned_layer {
    const struct rsr_spec *spec;
    enum rsr_input input;
    uint32_t rows, cols; /* rows and columns that are computed */
    uint32_t group_cols; /* columns that share a scale of their row; 0: no groups */
};
/* Tiles for a plan of the layer; the plan's machine is set. */
typedef struct rsrc_tiling rsrc_fit_fn(const struct rsrc_planned_layer *layer,
                                       const struct rsr_regime_plan *plan);

/* Changes machine, tile_rows and token_tile to values that the plan's kernel can have for the
 * layer: the best machine whose features the target has; whole units of rows, at least one and no
 * more than cover the matrix; as many tokens as fit the registers. Planning makes only such plans,
 * and lowering refuses any other. False: the kernel cannot compute the layer, because it has no
 * machine or no k; then the plan is unchanged. */
bool rsrc_fit_plan(const struct rsrc_planned_layer *layer, struct rsr_regime_plan *plan);
/* Refuses, at the place, a plan that the planner would not make. A plan from a text may have a
 * kernel that does not take the layer's activations or scales, or values that rsrc_fit_plan() would
 * change. */
RSRC_NODISCARD enum rsrc_status rsrc_check_plan(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                const struct rsrc_place *place,
                                                const struct rsrc_planned_layer *layer,
                                                const struct rsr_regime_plan *plan);

/* ---- lowering -------------------------------------------------------------------------------- */

struct rsrc_lower_input {
    const char
        *symbol_stem;   /* "l0_q": symbols become rsr_<stem>_<variant>_<isa>, rsr_w_<stem>_codes */
    const char *title;  /* for the header comment; untrusted */
    const char *regime; /* "decode" if another kernel serves prefill; NULL: it serves both */
    const struct rsr_matrix *matrix;       /* reduced, if `reduction` is given */
    const struct rsr_reduction *reduction; /* NULL: the matrix is the layer's own */
    const struct rsr_index *index;         /* scatter and fold; else NULL */
    const struct rsr_regime_plan *plan;
    enum rsr_input input;
    const struct rsr_blob
        *codes; /* data that another kernel with shared data has packed; or NULL */
    const struct rsr_spec *spec;
    enum rsr_epilogue epilogue; /* with scales of column groups: SCALE */
};

/* Fills the kernel's operations, tiles and scratch, the bytes of out->codes (and out->index), and
 * *detail: everything that the kernel's code depends on, except shape, alphabet, epilogue, tile and
 * target. The plan has passed rsrc_fit_plan(). */
typedef enum rsrc_status rsrc_lower_fn(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                       const struct rsrc_lower_input *input,
                                       struct rsr_lowered *out, const char **detail);

/* Allocates zeros, which become the blob's bytes, for the kernel to fill. */
void *rsrc_alloc_blob(struct rsrc_arena *arena, struct rsr_blob *blob, uint64_t size_bytes);

/* Reports that the layer has too many columns for sums in int32. */
RSRC_NODISCARD enum rsrc_status rsrc_refuse_wide(struct rsrc_diag *diag,
                                                 const struct rsrc_lower_input *input);

/* Bytes in which `lut` stores a group's scale: 2 if all scales of the matrix are binary16 numbers,
 * else 4; 0: groups have no scales. */
uint32_t rsrc_group_scale_bytes(const struct rsr_matrix *matrix);

/* ---- rows ------------------------------------------------------------------------------------ */

enum rsrc_kernel_trait {
    RSRC_HAS_GROUPS = 1,
    RSRC_HAS_K = 2,
    RSRC_HAS_FOLD = 4,
    RSRC_IS_CODE = 8,
    RSRC_IS_GPU = 16,
};

/* A row of kernels.def, which describes the members. */
struct rsrc_kernel_row {
    const char *name;
    enum rsr_variant variant;
    const char *words;
    uint32_t inputs; /* bits (1 << enum rsr_input) */
    const struct rsrc_machine_table *machines;
    enum rsr_kernel_id data;
    enum rsr_list names;
    uint32_t traits; /* enum rsrc_kernel_trait */
    rsrc_list_fn *list;
    rsrc_fit_fn *fit;
    rsrc_lower_fn *lower;
};
const struct rsrc_kernel_row *rsrc_kernel_row(enum rsr_kernel_id kernel);
const char *rsrc_variant_name(enum rsr_variant variant);
const char *rsrc_verdict_words(enum rsr_verdict verdict);
const char *rsrc_alphabet_name(enum rsr_alphabet alphabet);
/* The users' name of a plan's kernel. */
const char *rsrc_variant_of(const struct rsr_regime_plan *plan);
/* Lists the choices of one kernel; 0: the target or the layer has none. */
uint32_t rsrc_list_kernel(struct rsrc_arena *arena, enum rsr_kernel_id kernel,
                          const struct rsrc_plan_input *input,
                          struct rsrc_choice out[RSRC_MAX_KERNEL_CHOICES]);

#define RSRC_KERNEL(id, name, variant, words, input, machines, data, list, traits)                 \
    extern const struct rsrc_machine_table rsrc_##machines##_machines;                             \
    rsrc_list_fn rsrc_list_##name;                                                                 \
    rsrc_fit_fn rsrc_fit_##name;                                                                   \
    rsrc_lower_fn rsrc_lower_##name;
#include "kernels.def"

/* ---- operation lists ------------------------------------------------------------------------- */

/* A problem of a kernel, and its place. */
#define RSRC_NO_BODY UINT32_MAX
#define RSRC_NO_OP UINT32_MAX
struct rsrc_kernel_problem {
    const char *what; /* NULL: nothing */
    uint32_t body;    /* RSRC_NO_BODY: in the code */
    uint32_t op;      /* equal to the number of operations: at the end; RSRC_NO_OP: in registers or
                         fields */
};
/* Checks that registers are defined before use, types fit their operations, loops are closed, and
 * addresses have 64-bit terms. */
struct rsrc_kernel_problem rsrc_find_kernel_problem(const struct rsr_kernel *kernel);
/* Checks a kernel that lowering made: a problem is reported as a defect of the compiler. */
RSRC_NODISCARD enum rsrc_status rsrc_verify_kernel(struct rsrc_diag *diag,
                                                   const struct rsr_kernel *kernel);
/* Text form. A printed text parses back, also several dumps one after another. */
void rsrc_print_kernel(const struct rsr_kernel *kernel, struct rsrc_buffer *out);
struct rsr_parsed_kernel {
    const char *target; /* name of the rsr_spec that it is for; untrusted */
    struct rsr_kernel kernel;
};
/* The kernels are verified; their `spec` is NULL, for the caller to find. */
RSRC_NODISCARD enum rsrc_status rsrc_parse_kernels(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                   const char *file, const char *text,
                                                   uint64_t size_bytes,
                                                   struct rsr_parsed_kernel **out, uint32_t *n_out);

/* Removes operations whose results are never read. */
void rsrc_simplify_kernel(struct rsrc_arena *arena, struct rsr_kernel *kernel);

#endif
