/* driver.h - one compilation: what the passes share, and the state of the layer being compiled.
 *
 *   driver.c          the table of passes and the order in which they run
 *   driver_layers.c   the passes of one layer; layers in parallel, their results in order
 *   driver_output.c   where results go: text sinks, emitted units, weights
 */
#ifndef RSRC_DRIVER_H
#define RSRC_DRIVER_H

#include <pthread.h>

#include "emit/c/emit_c.h"
#include "emit/c/module_c.h"
#include "ir.h"
#include "link/elf_writer.h"
#include "link/linker.h"
#include "plan/plan.h"
#include "report/report.h"
#include "rsrc.h"
#include "schedule/schedule.h"

enum rsrc_pass_id {
    PASS_READ,
    PASS_GRAPH,
    PASS_DECODE,
    PASS_RSR,
    PASS_PLAN,
    PASS_SCHEDULE,
    PASS_LOWER,
    PASS_EMIT,
    PASS_LINK,
    PASS_REPORT,
    PASS_COUNT
};

/* One matrix to compile: a layer of a model, a tensor of a matrix file, or an index read as text. */
struct rsrc_item {
    const char *name; /* untrusted */
    const char *stem; /* "l0_q": a C identifier */
    uint32_t block;
    enum rsr_role role;
    const struct rsr_layer *layer; /* exactly one of these three is set */
    const struct rsr_tensor *tensor;
    const struct rsr_index *index;
};

/* A text output: a file that appears when complete, or stdout. */
struct rsrc_sink {
    bool open;
    bool is_stdout;
    struct rsrc_output file;
};

/* Emitted C, one unit a block (a file) or all in one. */
struct rsrc_unit_writer {
    bool active;
    bool one_unit;    /* everything in one text, into `sink` */
    bool share_equal; /* emit equal kernels once and record aliases (linking) */
    const char *dir;
    struct rsrc_sink sink;
    struct rsrc_open_unit { /* being filled, one a target */
        bool open;
        uint32_t block;
        struct rsr_unit unit;
    } * units;
    const char **names; /* of written units */
    uint32_t n_names;
    struct rsrc_kernel_key {
        const char *key, *symbol;
    } * keys;
    uint32_t n_keys;
    const char **aliases; /* "alias=symbol" */
    uint32_t n_aliases;
};

/* Where packed weights go: an object file for the linker, or a file with an assembler stub. */
struct rsrc_weights_writer {
    struct rsrc_elf_writer elf;
    bool elf_open;
    struct rsrc_output raw; /* <dir>/model.weights */
    uint64_t raw_bytes;
    bool raw_open;
    struct rsrc_buffer stub; /* <dir>/weights.S */
    struct rsrc_section_key {
        uint8_t hash[16];
        uint64_t size_bytes;
        const char *symbol;
    } * sections;
    uint32_t n_sections, capacity;
};

struct rsrc_compilation {
    const struct rsrc_options *options;
    struct rsrc_diag *diag;
    struct rsrc_arena arena;
    enum rsrc_pass_id from, to;
    uint32_t dumps; /* bits of enum rsrc_pass_id */

    struct rsr_spec *specs; /* targets, best first */
    uint32_t n_specs;
    struct rsrc_plan_options plan_options;

    struct rsr_checkpoint checkpoint;
    bool has_checkpoint;
    struct rsr_graph graph;
    bool has_graph; /* false: matrix file or text form */
    struct rsrc_item *items;
    uint32_t n_items;
    struct rsrc_target_steps {
        struct rsrc_step_kernels kernels;
        struct rsr_step *steps;
        uint32_t n_steps;
    } * steps; /* [n_specs] */

    const char *work_dir; /* temporary directory, when linking */
    const char *c_dir;    /* where a directory of C goes in the end */
    struct rsrc_toolchain toolchain;
    struct rsrc_sink rsr_sink, plan_sink, step_sink, kernel_sink, report_sink;
    struct rsrc_unit_writer link_units, c_units;
    struct rsrc_weights_writer weights;
    struct rsr_linear_unit *linears;  /* [n_specs][n_items][RSR_REGIME_COUNT] */
    struct rsr_report_layer *reports; /* [n_specs][n_items] */
};

/* One layer on its way through the passes. Everything is in the layer's own arena. */
struct rsrc_layer_state {
    struct rsrc_compilation *compilation;
    struct rsrc_diag *diag; /* held back until it is the layer's turn */
    const struct rsrc_item *item;
    uint32_t item_index;
    struct rsrc_arena arena;
    struct rsr_matrix matrix;
    struct rsr_stats stats;
    struct rsr_index index;
    bool has_index;
    struct rsr_plan *plans;      /* [n_specs] */
    struct rsr_lowered *lowered; /* [n_specs][RSR_REGIME_COUNT]; equal kernels only for decode */
    struct rsrc_buffer dump;     /* what --dump prints, in pass order */
};

struct rsrc_pass {
    const char *name;
    const char *help;
    /* A pass works on the model, on each layer, or on each layer in order: one of these is set. */
    enum rsrc_status (*run_model)(struct rsrc_compilation *);
    enum rsrc_status (*run_layer)(struct rsrc_layer_state *);
    enum rsrc_status (*run_in_order)(struct rsrc_layer_state *);
    enum rsrc_status (*verify_layer)(struct rsrc_layer_state *);
    void (*dump_model)(struct rsrc_compilation *, struct rsrc_buffer *);
    void (*dump_layer)(struct rsrc_layer_state *, struct rsrc_buffer *);
};

extern const struct rsrc_pass rsrc_passes[PASS_COUNT];

/* driver_layers.c */
enum rsrc_status rsrc_layer_decode(struct rsrc_layer_state *state);
enum rsrc_status rsrc_layer_rsr(struct rsrc_layer_state *state);
enum rsrc_status rsrc_layer_verify_rsr(struct rsrc_layer_state *state);
enum rsrc_status rsrc_layer_plan(struct rsrc_layer_state *state);
enum rsrc_status rsrc_layer_lower(struct rsrc_layer_state *state);
enum rsrc_status rsrc_layer_verify_lower(struct rsrc_layer_state *state);
/* In order: adds the layer's kernels and weights to the outputs. */
enum rsrc_status rsrc_layer_emit(struct rsrc_layer_state *state);
void rsrc_layer_dump_decode(struct rsrc_layer_state *state, struct rsrc_buffer *out);
void rsrc_layer_dump_rsr(struct rsrc_layer_state *state, struct rsrc_buffer *out);
void rsrc_layer_dump_plan(struct rsrc_layer_state *state, struct rsrc_buffer *out);
void rsrc_layer_dump_kernel(struct rsrc_layer_state *state, struct rsrc_buffer *out);
RSRC_NODISCARD enum rsrc_status rsrc_run_layers(struct rsrc_compilation *c);

/* driver_output.c */
RSRC_NODISCARD enum rsrc_status rsrc_open_outputs(struct rsrc_compilation *c);
RSRC_NODISCARD enum rsrc_status rsrc_sink_write(struct rsrc_compilation *c, struct rsrc_sink *sink,
                                                const struct rsrc_buffer *text);
/* Dumps and reports. Whoever has written calls finish at the end: a full disk may show only then. */
RSRC_NODISCARD enum rsrc_status rsrc_stdout_write(struct rsrc_compilation *c,
                                                  const struct rsrc_buffer *text);
RSRC_NODISCARD enum rsrc_status rsrc_stdout_finish(struct rsrc_compilation *c);
RSRC_NODISCARD enum rsrc_status rsrc_emit_kernel(struct rsrc_compilation *c,
                                                 struct rsrc_unit_writer *writer,
                                                 const struct rsrc_item *item, uint32_t target,
                                                 const struct rsr_kernel *kernel,
                                                 const char **symbol);
/* Stores a blob once, by its hash; *symbol is the section that has its bytes, NULL if it is empty. */
RSRC_NODISCARD enum rsrc_status rsrc_emit_blob(struct rsrc_compilation *c,
                                               const struct rsr_blob *blob, const char **symbol);
/* Writes norms, embedding, head, tokenizer and model.c; closes the units and the weights. */
RSRC_NODISCARD enum rsrc_status rsrc_finish_emission(struct rsrc_compilation *c);
RSRC_NODISCARD enum rsrc_status rsrc_link_outputs(struct rsrc_compilation *c);
RSRC_NODISCARD enum rsrc_status rsrc_commit_outputs(struct rsrc_compilation *c);
/* After a failure, and as the last step of every compilation. */
void rsrc_abandon_outputs(struct rsrc_compilation *c);

#endif
