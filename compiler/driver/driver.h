/* driver.h - one compilation: what the passes share, and the state of the layer being compiled.
 *
 * The way of the data:
 *   compile.c           the table of passes and the order in which they run
 *   set_up.c            options to a compilation: passes, targets, variants, tools
 *   read_input.c        the input to items: layers or matrices
 *   turns.c             several threads that hand on what they made in order
 *   layer_pool.c        layers in parallel, their results in order
 *   tuner.c             --tune: variants run and timed
 *   layer_passes.c      a layer by itself: decoded, reduced, analysed, planned, lowered
 *   layer_emit.c        what a layer has become, to the outputs
 *   unit_writers.c      kernels to the units of back ends
 *   code_cache.c        machine code that an earlier compilation has made
 *   weights_writer.c    packed weights to an object or a file
 *   module_steps.c      the steps of a forward pass
 *   head_blocks.c       the sketch of the head: whether there is one, and its blocks
 *   module_link.c       the tables of a module, compiling and linking it
 *   matrix_library.c    the functions and the header of a library of matrices
 *   write_report.c      what was done and why
 * Other ways:
 *   text_forms.c        compilations that start from a plan, a step or kernels as text
 *   layer_gpu.c         compilations for a GPU
 *   survey.c            --info: no compilation, but a look at all that it would be made of
 * Files:
 *   outputs.c           where results go: names, text sinks, directories; all or nothing
 *   output_paths.c      what is read and written: no two outputs of one name, none over an input
 *   dependency_file.c   the dependency file of -MD
 */
#ifndef RSRC_DRIVER_H
#define RSRC_DRIVER_H

#include <pthread.h>

#include "base/mapped_file.h"
#include "cache/cache.h"
#include "emit/c/module_c.h"
#include "ir.h"
#include "link/elf_writer.h"
#include "link/linker.h"
#include "model/dead_channels.h"
#include "plan/plan.h"
#include "report/report.h"
#include "report/time_report.h"
#include "rsrc.h"
#include "schedule/schedule.h"

enum rsrc_pass_id {
    PASS_READ,
    PASS_GRAPH,
    PASS_DECODE,
    PASS_REDUCE,
    PASS_RSR,
    PASS_PLAN,
    PASS_SCHEDULE,
    PASS_LOWER,
    PASS_EMIT,
    PASS_LINK,
    PASS_REPORT,
    PASS_COUNT
};

/* One matrix to compile: a layer of a model, a tensor of a matrix file, or an index read as
 * text. */
struct rsrc_item {
    const char *name; /* untrusted */
    const char *stem; /* "l0_q": a C identifier */
    uint32_t block;
    enum rsr_role role;
    const struct rsr_layer *layer; /* exactly one of these three is set */
    const struct rsr_tensor *tensor;
    const struct rsr_index *index;
    enum rsr_input input;
    uint64_t fold_budget; /* bytes of code that fold may take unasked */
};

/* What --emit can ask for: a row of kinds.def. */
struct rsrc_kind {
    enum rsrc_emit emit;
    const char *name, *suffix;
    bool is_text;
    enum rsrc_pass_id pass;
    enum rsr_unit_kind unit; /* RSR_UNIT_KIND_COUNT: no unit of a back end */
};

enum {
#define RSRC_KIND(id, name, suffix, is_text, pass, unit) RSRC_KIND_##id,
#include "driver/kinds.def"
#undef RSRC_KIND
    RSRC_KIND_COUNT
};

extern const struct rsrc_kind rsrc_kinds[RSRC_KIND_COUNT];

/* Each once. */
struct rsrc_paths {
    struct rsrc_arena *arena;
    const char **paths;
    uint32_t n, capacity;
};

/* A kind each, a directory, its intermediate files, a header, a report and a dependency file. */
#define RSRC_MAX_OUTPUTS (RSRC_KIND_COUNT + 5)
struct rsrc_output_name {
    const char *option; /* that asks for it */
    const char *path;
};

/* A text output: a file that appears when complete, or stdout. */
struct rsrc_sink {
    bool open;
    bool is_stdout;
    struct rsrc_output file;
};

/* Back ends that may make one kind of unit, the preferred one first. */
#define RSRC_MAX_MAKERS 4u

/* Emitted kernels of one kind: a unit a block (a file), or all in one. */
struct rsrc_unit_writer {
    bool active;
    enum rsr_unit_kind kind; /* of the files in the end: OBJ may go through C and the C compiler */
    bool one_unit;           /* everything in one text, into `sink` */
    bool share_equal;        /* emit equal kernels once and record aliases (linking) */
    const char *dir;
    struct rsrc_sink sink;
    struct rsrc_maker {
        const struct rsrc_backend *backend;
        enum rsr_unit_kind kind; /* what it is asked for */
    } makers[RSRC_MAX_MAKERS];
    uint32_t n_makers;
    struct rsrc_open_unit { /* being filled, [n_specs][RSRC_MAX_MAKERS] */
        bool open;
        const struct rsrc_item *item; /* the first */
        uint32_t n_kernels;
        struct rsr_unit unit;
        struct rsrc_hash key;      /* of what it holds, where there is a cache */
        struct rsrc_buffer bodies; /* assembly that follows the unit's own */
    } * units;
    struct rsrc_unit_file {
        const char *name;
        enum rsr_unit_kind kind;
    } * files; /* written, or waiting to be finished */
    uint32_t n_files;
    struct rsrc_kernel_key {
        const char *key, *symbol;
    } * keys;
    uint32_t n_keys;
    const char **aliases; /* "alias=symbol" */
    uint32_t n_aliases;
};

/* Units that have all their kernels and are not yet finished: code generation is the longest part,
 * so whoever closes a unit leaves it here and finishes it when it is no longer its turn to emit. */
struct rsrc_pending_unit {
    struct rsrc_unit_writer *writer;
    const struct rsrc_maker *maker;
    struct rsr_unit unit;
    struct rsrc_cache_key key;
    struct rsrc_buffer bodies;
    struct rsrc_pending_unit *next;
};

/* Where packed weights go: an object file for the linker, or a file with an assembler stub. */
struct rsrc_weights_writer {
    struct rsrc_elf_writer elf;
    bool elf_open;
    struct rsrc_output raw; /* <out_dir>/model.weights */
    uint64_t raw_bytes;
    bool raw_open;
    struct rsrc_buffer stub; /* <out_dir>/weights.S */
    struct rsrc_section_key {
        uint8_t hash[16];
        uint64_t size_bytes;
        const char *symbol;
    } * sections;
    uint32_t n_sections, capacity;
};

/* Rows of -ftime-report after those of the passes: programs that were run. */
enum { TIME_CC = PASS_COUNT, TIME_LD, TIME_COUNT };

struct rsrc_compilation {
    const struct rsrc_options *options;
    struct rsrc_diag *diag;
    struct rsrc_arena arena;
    enum rsrc_pass_id from, to;
    uint32_t dumps; /* bits of enum rsrc_pass_id */

    struct rsr_spec *specs; /* targets */
    uint32_t n_specs;
    struct rsrc_plan_options plan_options;

    struct rsr_checkpoint checkpoint;
    bool has_checkpoint;
    struct rsr_graph graph;
    bool has_graph; /* false: matrix file or text form */
    struct rsr_head_plan head_plan;
    struct rsrc_item *items;
    uint32_t n_items;
    struct rsrc_dead_channels *dead_channels; /* of the graph; NULL: none is looked for */
    struct rsrc_target_steps {
        struct rsrc_step_kernels kernels;
        struct rsr_step *steps;
        uint32_t n_steps;
    } * steps; /* [n_specs] */

    uint32_t n_jobs;
    const char *work_dir; /* what is compiled and linked; kept by --save-temps */
    const char *link_dir; /* temporary, where the linker works */
    struct rsrc_out_dir {
        const char *path; /* where a directory of units goes in the end; NULL: none */
        const char *temporary;
    } out_dir;
    struct rsrc_toolchain toolchain;
    struct rsrc_cache cache;
    struct rsrc_times times;
    struct rsrc_spawn_usage cc_usage, ld_usage;
    struct rsrc_paths kept; /* by all outputs; output_paths.c */
    struct rsrc_output_name outputs[RSRC_MAX_OUTPUTS];
    uint32_t n_outputs;
    struct rsrc_sink dependency_sink;
    struct rsrc_sink asked_report_sink; /* --report */
    struct rsrc_sink header_sink;       /* of a library of matrices */
    const char *const *exports;         /* what a linked library shows */
    uint32_t n_exports;
    struct rsrc_sink rsr_sink, plan_sink, step_sink, kernel_sink, report_sink;
    struct rsrc_unit_writer link_units;                 /* of the module */
    struct rsrc_unit_writer units[RSR_UNIT_KIND_COUNT]; /* asked for by themselves */
    pthread_mutex_t pending_lock;
    struct rsrc_pending_unit *pending;
    struct rsrc_weights_writer weights;
    struct rsr_linear_unit *linears;  /* [n_specs][n_items][RSR_REGIME_COUNT] */
    struct rsr_report_layer *reports; /* [n_specs][n_items] */
    struct rsrc_survey *survey;       /* of --info; NULL: a compilation */
    struct rsrc_tuner *tuner;         /* of --tune; NULL: nothing is measured */
};

/* The bodies of one kernel, assembled; both empty where the target's assembler does not serve. */
struct rsrc_bodies {
    struct rsrc_buffer text, object;
};

/* One layer on its way through the passes. Everything is in the layer's own arena. */
struct rsrc_layer_state {
    struct rsrc_compilation *compilation;
    struct rsrc_diag *diag; /* held back until it is the layer's turn */
    const struct rsrc_item *item;
    uint32_t item_index;
    struct rsrc_arena arena;
    struct rsr_matrix matrix; /* the layer's own */
    struct rsr_dead dead;
    struct rsr_matrix reduced;      /* what is analysed, planned and lowered */
    struct rsr_reduction reduction; /* how the layer follows from it */
    struct rsr_stats stats;         /* of the reduced matrix, at the k of scatter */
    struct rsr_stats fold_stats;    /* and of fold, where has_fold_stats */
    bool has_fold_stats;
    struct rsr_index index; /* of the reduced matrix; k 0: none yet */
    struct rsr_index fold_index;
    struct rsr_plan *plans;      /* [n_specs] */
    struct rsr_lowered *lowered; /* [n_specs][RSR_REGIME_COUNT]; equal kernels only for decode */
    struct rsrc_bodies *bodies;  /* the same, of kernels that have some */
    struct rsrc_buffer dump;     /* what --dump prints, in pass order */
};

struct rsrc_pass {
    const char *name;
    const char *help;
    /* A pass works on the model, or on each layer: what can be done in any order, then what must be
     * done in the order of the layers. */
    enum rsrc_status (*run_model)(struct rsrc_compilation *);
    enum rsrc_status (*run_layer)(struct rsrc_layer_state *);
    enum rsrc_status (*run_in_order)(struct rsrc_layer_state *);
    enum rsrc_status (*verify_layer)(struct rsrc_layer_state *);
    void (*dump_model)(struct rsrc_compilation *, struct rsrc_buffer *);
    void (*dump_layer)(struct rsrc_layer_state *, struct rsrc_buffer *);
};

extern const struct rsrc_pass rsrc_passes[PASS_COUNT];

/* The progress line, on a terminal: "[3/210] layers". */
void rsrc_show_progress(const struct rsrc_compilation *c, const char *what, uint32_t done,
                        uint32_t total);

/* set_up.c */
RSRC_NODISCARD enum rsrc_status rsrc_set_up(struct rsrc_compilation *c);

/* read_input.c */
enum rsrc_status rsrc_model_read(struct rsrc_compilation *c);
void rsrc_dump_read(struct rsrc_compilation *c, struct rsrc_buffer *out);
enum rsrc_status rsrc_model_graph(struct rsrc_compilation *c);
void rsrc_dump_graph(struct rsrc_compilation *c, struct rsrc_buffer *out);
/* Whether what is asked for can be made of the items; those that --layers names; their fold
 * budgets. */
RSRC_NODISCARD enum rsrc_status rsrc_choose_items(struct rsrc_compilation *c);

/* head_blocks.c */
/* After the graph: chooses a sketch of the head, or refuses what --head-sketch asks for. */
RSRC_NODISCARD enum rsrc_status rsrc_plan_head(struct rsrc_compilation *c);
/* Its centre and, as they are made, its blocks; nothing where there is none. */
RSRC_NODISCARD enum rsrc_status rsrc_emit_head_sketch(struct rsrc_compilation *c,
                                                      struct rsr_module_sketch *out);

/* layer_pool.c */
RSRC_NODISCARD enum rsrc_status rsrc_run_layers(struct rsrc_compilation *c);

/* layer_passes.c */
/* Kernels of the layer for a target: one a regime, or one for both. */
uint32_t rsrc_n_kernels(const struct rsrc_layer_state *state, uint32_t target);
struct rsr_lowered *rsrc_lowered_of(const struct rsrc_layer_state *state, uint32_t target,
                                    uint32_t regime);
/* The layer as the plan has it, for the target; diagnostics and results as given. */
RSRC_NODISCARD enum rsrc_status rsrc_lower_planned(struct rsrc_layer_state *state, uint32_t target,
                                                   const struct rsr_regime_plan *plan,
                                                   struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                   struct rsr_lowered *out);
enum rsrc_status rsrc_layer_decode(struct rsrc_layer_state *state);
enum rsrc_status rsrc_layer_reduce(struct rsrc_layer_state *state);
enum rsrc_status rsrc_layer_verify_reduce(struct rsrc_layer_state *state);
enum rsrc_status rsrc_layer_rsr(struct rsrc_layer_state *state);
enum rsrc_status rsrc_layer_verify_rsr(struct rsrc_layer_state *state);
enum rsrc_status rsrc_layer_plan(struct rsrc_layer_state *state);
enum rsrc_status rsrc_layer_lower(struct rsrc_layer_state *state);
enum rsrc_status rsrc_layer_verify_lower(struct rsrc_layer_state *state);
void rsrc_layer_dump_decode(struct rsrc_layer_state *state, struct rsrc_buffer *out);
void rsrc_layer_dump_reduce(struct rsrc_layer_state *state, struct rsrc_buffer *out);
void rsrc_layer_dump_rsr(struct rsrc_layer_state *state, struct rsrc_buffer *out);
void rsrc_layer_dump_plan(struct rsrc_layer_state *state, struct rsrc_buffer *out);
void rsrc_layer_dump_kernel(struct rsrc_layer_state *state, struct rsrc_buffer *out);

/* tuner.c */
/* What the planner asks for times, on behalf of a layer. */
struct rsrc_layer_timer {
    struct rsrc_layer_state *state;
    uint32_t target;
    struct rsrc_plan_timer plan;
};
/* Nothing, and every other function does nothing, unless --tune asks for it. */
RSRC_NODISCARD enum rsrc_status rsrc_open_tuner(struct rsrc_compilation *c);
void rsrc_close_tuner(struct rsrc_compilation *c);
/* Around whatever takes time, so that nothing does while a kernel is measured. Not nested. */
void rsrc_begin_work(struct rsrc_compilation *c);
void rsrc_end_work(struct rsrc_compilation *c);
/* For a plan of the layer: asked between rsrc_begin_work() and rsrc_end_work(). */
void rsrc_init_timer(struct rsrc_layer_timer *timer, struct rsrc_layer_state *state,
                     uint32_t target);

/* layer_emit.c */
/* Assembles the bodies of kernels, where units call them. */
enum rsrc_status rsrc_layer_assemble(struct rsrc_layer_state *state);
/* In order: adds the layer's kernels and weights to the outputs. */
enum rsrc_status rsrc_layer_emit(struct rsrc_layer_state *state);
/* In order: all that there is of the layer, by the passes that run in order too. */
RSRC_NODISCARD enum rsrc_status rsrc_layer_write(struct rsrc_layer_state *state);

/* What one call of the kernel reads: as packed, or the instructions that hold the index. */
uint64_t rsrc_weight_bytes_of(const struct rsrc_layer_state *state, uint32_t target,
                              uint32_t regime);

/* survey.c */
/* Whether --info is all that is asked for. */
RSRC_NODISCARD enum rsrc_status rsrc_check_info(struct rsrc_compilation *c);
/* Looks at every layer, unless reading the input has failed, and prints. Fails if anything is
 * refused. */
RSRC_NODISCARD enum rsrc_status rsrc_run_info(struct rsrc_compilation *c, enum rsrc_status read);
/* Any thread: what is to be told of a layer that has run through the passes, as far as it came. */
void rsrc_survey_layer(struct rsrc_layer_state *state, enum rsrc_status status);

/* module_steps.c */
enum rsrc_status rsrc_model_schedule(struct rsrc_compilation *c);
void rsrc_dump_schedule(struct rsrc_compilation *c, struct rsrc_buffer *out);

/* write_report.c */
/* A matrix of floats: NULL where the head is the embedding or one of the layers, or there is
 * none. */
const struct rsr_tensor *rsrc_own_head(const struct rsr_graph *graph);
enum rsrc_status rsrc_model_report(struct rsrc_compilation *c);

/* outputs.c */
RSRC_NODISCARD enum rsrc_status rsrc_open_outputs(struct rsrc_compilation *c);
/* In messages, `option` asks for it and `naming` names its place. */
RSRC_NODISCARD enum rsrc_status rsrc_sink_open(struct rsrc_compilation *c, const char *option,
                                               const char *naming, const char *path,
                                               struct rsrc_sink *sink);
RSRC_NODISCARD enum rsrc_status rsrc_sink_write(struct rsrc_compilation *c, struct rsrc_sink *sink,
                                                const struct rsrc_buffer *text);
/* Dumps and reports. Whoever has written calls rsrc_stdout_finish() at the end: a full disk may show
 * only then. */
RSRC_NODISCARD enum rsrc_status rsrc_stdout_write(struct rsrc_compilation *c,
                                                  const struct rsrc_buffer *text);
/* A whole file at once: <dir>/<name>. */
RSRC_NODISCARD enum rsrc_status rsrc_write_file(struct rsrc_compilation *c, const char *dir,
                                                const char *name, const void *bytes,
                                                size_t size_bytes);
/* Refuses a file where a directory is named, with `help` for what to do. */
RSRC_NODISCARD enum rsrc_status rsrc_check_directory(struct rsrc_compilation *c, const char *path,
                                                     const char *help);
/* Reports that `path` cannot get its name, for the reason in errno; always RSRC_FAILED. */
RSRC_NODISCARD enum rsrc_status rsrc_cannot_finish(struct rsrc_compilation *c, const char *path);
/* What modules and units are called in text: never a path. */
const char *rsrc_model_name(struct rsrc_compilation *c);
/* Where a kind goes: its final name, or its place in the directory that will get it. */
const char *rsrc_output_path(struct rsrc_compilation *c, enum rsrc_emit kind);
/* The name that it has in the end. */
const char *rsrc_final_path(struct rsrc_compilation *c, const char *path);
bool rsrc_wants(const struct rsrc_compilation *c, enum rsrc_emit kind);
RSRC_NODISCARD enum rsrc_status rsrc_commit_outputs(struct rsrc_compilation *c);
/* After a failure, and as the last step of every compilation. */
void rsrc_abandon_outputs(struct rsrc_compilation *c);

/* output_paths.c */
void rsrc_add_path(struct rsrc_paths *list, const char *path);
/* What the outputs are made of: the checkpoint's files, the targets' descriptions. */
void rsrc_list_inputs(struct rsrc_compilation *c, struct rsrc_paths *list);
/* Refuses the name of another output or of what is read; `option` asks for it. */
RSRC_NODISCARD enum rsrc_status rsrc_check_output(struct rsrc_compilation *c, const char *option,
                                                  const char *path);
/* The same, and from now on it is an output's. */
RSRC_NODISCARD enum rsrc_status rsrc_claim_output(struct rsrc_compilation *c, const char *option,
                                                  const char *path);

/* dependency_file.c */
RSRC_NODISCARD enum rsrc_status rsrc_open_dependencies(struct rsrc_compilation *c);
RSRC_NODISCARD enum rsrc_status rsrc_write_dependencies(struct rsrc_compilation *c);

/* text_forms.c */
/* Is the input the text of a plan, a step or kernels? */
bool rsrc_starts_from_text(const struct rsrc_compilation *c);
/* Whether what is asked for can be made from it. */
RSRC_NODISCARD enum rsrc_status rsrc_check_text_start(struct rsrc_compilation *c);
/* From reading the text to committed outputs. */
RSRC_NODISCARD enum rsrc_status rsrc_run_text(struct rsrc_compilation *c);

/* unit_writers.c */
/* Whether --backend names one. */
RSRC_NODISCARD enum rsrc_status rsrc_check_backend(struct rsrc_compilation *c);
/* Back ends that make a kind, the preferred one first; how many. */
uint32_t rsrc_list_makers(const struct rsrc_compilation *c, enum rsr_unit_kind kind,
                          struct rsrc_maker makers[RSRC_MAX_MAKERS]);
RSRC_NODISCARD enum rsrc_status rsrc_open_units(struct rsrc_compilation *c,
                                                struct rsrc_unit_writer *writer,
                                                enum rsr_unit_kind kind);
/* Is there a unit that calls bodies rather than having them in its own text? */
bool rsrc_wants_bodies(const struct rsrc_compilation *c);
/* Gives the kernel to everyone who collects them; *symbol is what the module calls. */
RSRC_NODISCARD enum rsrc_status rsrc_emit_kernel(struct rsrc_compilation *c,
                                                 const struct rsrc_item *item, uint32_t target,
                                                 const struct rsr_kernel *kernel,
                                                 const struct rsrc_bodies *bodies,
                                                 const char **symbol);
/* Any thread, while no lock is held. */
RSRC_NODISCARD enum rsrc_status rsrc_finish_pending_units(struct rsrc_compilation *c);
RSRC_NODISCARD enum rsrc_status rsrc_close_units(struct rsrc_compilation *c);
/* Units of the writer that are C and must become objects. */
RSRC_NODISCARD enum rsrc_status rsrc_compile_c_units(struct rsrc_compilation *c,
                                                     struct rsrc_unit_writer *writer);
void rsrc_abandon_units(struct rsrc_compilation *c);

/* code_cache.c */
struct rsrc_cache_key rsrc_key_of_assembly(const struct rsrc_compilation *c,
                                           const struct rsr_spec *spec,
                                           const struct rsrc_buffer *text);
/* Of a time that was measured: `numbers` say what was run. */
struct rsrc_cache_key rsrc_key_of_time(const struct rsrc_compilation *c,
                                       const struct rsr_spec *spec, const char *cpu,
                                       const uint64_t *numbers, uint32_t n_numbers);
/* The key of a unit grows with its kernels; nothing is done where there is no cache. */
void rsrc_begin_unit_key(const struct rsrc_compilation *c, const struct rsrc_maker *maker,
                         const struct rsr_unit *unit, const struct rsr_spec *spec,
                         const char *title, struct rsrc_hash *hash);
void rsrc_add_to_unit_key(const struct rsrc_compilation *c, const struct rsr_kernel *kernel,
                          struct rsrc_hash *hash);
/* rsrc_compile_units() for those whose objects the cache does not have. */
RSRC_NODISCARD enum rsrc_status rsrc_compile_cached(struct rsrc_compilation *c, const char *dir,
                                                    const char *const *names, uint32_t n_names);

/* weights_writer.c */
RSRC_NODISCARD enum rsrc_status rsrc_open_raw_weights(struct rsrc_compilation *c);
RSRC_NODISCARD enum rsrc_status rsrc_open_weights_object(struct rsrc_compilation *c);
/* Stores a blob once, by its hash; *symbol is the section that has its bytes, NULL if it is
 * empty. */
RSRC_NODISCARD enum rsrc_status rsrc_emit_blob(struct rsrc_compilation *c,
                                               const struct rsr_blob *blob, const char **symbol);
/* The same for a blob that no layer was lowered to and nobody has hashed. */
RSRC_NODISCARD enum rsrc_status rsrc_emit_own_blob(struct rsrc_compilation *c, struct rsr_blob blob,
                                                   const char **symbol);
/* A section of its own that is written piece by piece. */
RSRC_NODISCARD enum rsrc_status rsrc_begin_section(struct rsrc_compilation *c, const char *symbol,
                                                   uint32_t align, uint64_t size_bytes);
RSRC_NODISCARD enum rsrc_status rsrc_write_section(struct rsrc_compilation *c, const void *bytes,
                                                   uint64_t size_bytes);
RSRC_NODISCARD enum rsrc_status rsrc_close_weights(struct rsrc_compilation *c);
void rsrc_abandon_weights(struct rsrc_compilation *c);

/* module_link.c */
RSRC_NODISCARD enum rsrc_status rsrc_open_link(struct rsrc_compilation *c, const char *path);
/* Writes norms, embedding, head, tokenizer and model.c, closes the units and the weights, and
 * links. */
enum rsrc_status rsrc_model_link(struct rsrc_compilation *c);
RSRC_NODISCARD enum rsrc_status rsrc_link_outputs(struct rsrc_compilation *c);
RSRC_NODISCARD enum rsrc_status rsrc_commit_linked(struct rsrc_compilation *c);

/* <name>.c with what it includes, to the linker and to the directory of units. */
RSRC_NODISCARD enum rsrc_status rsrc_write_c(struct rsrc_compilation *c, const char *name,
                                             const struct rsrc_buffer *text);

/* matrix_library.c */
/* Items of n tensors or (NULL) of n indexes: one for each type of vectors that is asked for. */
struct rsr_named_index;
void rsrc_add_matrices(struct rsrc_compilation *c, const struct rsr_tensor *tensors,
                       const struct rsr_named_index *indexes, uint32_t n);
RSRC_NODISCARD enum rsrc_status rsrc_check_matrices(struct rsrc_compilation *c);
/* mats.h for mats.so; NULL: no library of matrices is made. */
const char *rsrc_header_path(struct rsrc_compilation *c);
RSRC_NODISCARD enum rsrc_status rsrc_write_matrices(struct rsrc_compilation *c);

/* layer_gpu.c */
bool rsrc_is_gpu(const struct rsrc_compilation *c);
/* Whether the target can be asked for what the options ask. */
RSRC_NODISCARD enum rsrc_status rsrc_check_machine(struct rsrc_compilation *c);
/* The layers of a GPU target, from decoding to committed outputs. */
RSRC_NODISCARD enum rsrc_status rsrc_run_gpu(struct rsrc_compilation *c);
/* The codes that --variant=ROLE=bits2|base3 asks for; -1: none. */
RSRC_NODISCARD enum rsrc_status rsrc_find_gpu_codes(const struct rsrc_compilation *c,
                                                    struct rsrc_diag *diag,
                                                    const struct rsrc_item *item, int *out);

#endif
