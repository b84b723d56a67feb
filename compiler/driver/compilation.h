/* compilation.h - one compilation: its parts, and the passes over all of it. */
#ifndef RSRC_DRIVER_COMPILATION_H
#define RSRC_DRIVER_COMPILATION_H

#include "driver/gpu_products.h"
#include "driver/units.h"
#include "driver/weights.h"
#include "emit/module/model_tables.h"
#include "model/dead_channels.h"
#include "report/report.h"
#include "schedule/schedule.h"

/* Results of passes for later passes. */
struct rsrc_made {
    struct rsr_head_plan head_plan;
    struct rsr_packing packed_embedding, packed_head; /* of a tied head: the embedding's */
    const char *measured, *attention; /* JSON of --measured and --attention-stats; NULL: none */
    struct rsrc_dead_channels *dead_channels; /* dead channels of the graph; NULL: not searched */
    struct rsr_linear_unit *linears;          /* [n_specs][n_items][RSR_REGIME_COUNT] */
    struct rsr_report_layer *reports;         /* [n_specs][n_items] */
    struct rsr_kernel *gpu_kernels; /* [n_specs][n_items][RSR_REGIME_COUNT]; symbol NULL: none */
    struct rsrc_gpu_images {
        struct rsr_module_image list[2]; /* PTX, cubin */
        uint32_t n;
    } * images, *operation_images;          /* [n_specs] */
    struct rsrc_gpu_products *gpu_products; /* [n_specs] */
    struct rsrc_survey *survey;             /* of --info */
    struct rsrc_target_steps {
        struct rsrc_step_kernels kernels;
        struct rsr_step *steps;
        uint32_t n_steps;
    } * steps;                  /* [n_specs] */
    const char *const *exports; /* symbols that a linked library exports */
    uint32_t n_exports;
};

struct rsrc_compilation {
    struct rsrc_run run;
    struct rsrc_input_set inputs;
    struct rsrc_outputs outputs;
    struct rsrc_units units;
    struct rsrc_weights weights;
    struct rsrc_made made;
};

/* gpu_units.c */
/* Compiles the kernels of GPUs for the outputs. */
enum rsrc_status rsrc_emit_gpus(struct rsrc_compilation *c);

/* expand_embedding.c */
RSRC_NODISCARD enum rsrc_status rsrc_emit_expanded_embedding(struct rsrc_compilation *c,
                                                             const char *symbol);
/* head_blocks.c */
/* After rsrc_plan_packed(): chooses a sketch of the head, or refuses what --head-sketch asks
 * for. */
RSRC_NODISCARD enum rsrc_status rsrc_plan_head(struct rsrc_compilation *c);
/* Writes the sketch's centre, and its blocks as they are made; does nothing if there is no
 * sketch. */
RSRC_NODISCARD enum rsrc_status rsrc_emit_head_sketch(struct rsrc_compilation *c,
                                                      struct rsr_module_sketch *out);

/* packed_weights.c */
/* The head as a matrix of floats; NULL if the head is the embedding or one of the layers, or there
 * is none. */
const struct rsr_tensor *rsrc_own_head(const struct rsr_graph *graph);
/* After the graph: chooses how the embedding and the head are stored, or refuses what --head-bits
 * asks for. */
RSRC_NODISCARD enum rsrc_status rsrc_plan_packed(struct rsrc_compilation *c);
/* Of the embedding or the head. */
const struct rsr_packing *rsrc_packing_of(const struct rsrc_compilation *c,
                                          const struct rsr_tensor *tensor);
/* Bytes that it takes in the module. */
uint64_t rsrc_stored_bytes(const struct rsrc_compilation *c, const struct rsr_tensor *tensor);
/* Writes it packed. */
RSRC_NODISCARD enum rsrc_status
rsrc_emit_packed(struct rsrc_compilation *c, const struct rsr_tensor *tensor, const char *symbol);

/* shard.c */
/* Reads --shard, and refuses what it cannot be combined with; the second one, once there is a
 * graph. */
RSRC_NODISCARD enum rsrc_status rsrc_set_shard(struct rsrc_input_set *in);
RSRC_NODISCARD enum rsrc_status rsrc_check_shard(const struct rsrc_input_set *in);
/* When all weights are written: has the writer leave out what the rank does not read. */
void rsrc_shard_weights(struct rsrc_compilation *c, const struct rsr_module_input *input);

/* text_forms.c */
/* The way of a compilation that starts from a text of plans, steps or kernels; 0: it starts from
 * weights. */
uint32_t rsrc_way_of_text(const struct rsrc_run *run);
/* Checks that the requested outputs can be made from that text. */
RSRC_NODISCARD enum rsrc_status rsrc_check_text_start(struct rsrc_run *run);
RSRC_NODISCARD enum rsrc_status rsrc_model_parse(struct rsrc_compilation *c);
void rsrc_dump_parsed(struct rsrc_compilation *c, struct rsrc_buffer *out);
enum rsrc_status rsrc_emit_parsed(struct rsrc_compilation *c);

/* plan_file.c */
/* With --plan, before layers are chosen: gives items their plans. */
RSRC_NODISCARD enum rsrc_status rsrc_read_plans(struct rsrc_input_set *in);
/* After layers are chosen: checks that every item has a plan. */
RSRC_NODISCARD enum rsrc_status rsrc_check_planned(const struct rsrc_input_set *in);

/* profile_file.c */
/* After the graph, before storage is planned and layers are chosen: tells items and the head what
 * --profile-use and --calibrate know about them. */
RSRC_NODISCARD enum rsrc_status rsrc_read_profiles(struct rsrc_input_set *in);

/* read_input.c */
enum rsrc_status rsrc_model_read(struct rsrc_compilation *c);
void rsrc_dump_read(struct rsrc_compilation *c, struct rsrc_buffer *out);
enum rsrc_status rsrc_model_graph(struct rsrc_compilation *c);
void rsrc_dump_graph(struct rsrc_compilation *c, struct rsrc_buffer *out);
/* Refuses a checkpoint if one of its files has changed since it was mapped. */
RSRC_NODISCARD enum rsrc_status rsrc_check_inputs_unchanged(struct rsrc_compilation *c);
/* Checks that the requested outputs can be made from the items; drops those that --layers omits;
 * shares the fold budget among them. */
enum rsrc_status rsrc_choose_items(struct rsrc_compilation *c);

/* module_note.c */
/* Fills in how the module was made, for its note; in a library of matrices, names begin with
 * `stem`.
 */
struct rsr_module_note rsrc_describe_module(struct rsrc_compilation *c, const char *stem);

/* module_steps.c */
/* rsrc_decode_tokens() of all plans for the target. */
uint32_t rsrc_count_decode_tokens(struct rsrc_compilation *c, uint32_t target);
enum rsrc_status rsrc_model_schedule(struct rsrc_compilation *c);
void rsrc_dump_schedule(struct rsrc_compilation *c, struct rsrc_buffer *out);

/* matrix_library.c */
/* mats.h for mats.so; NULL: no library of matrices is made. */
const char *rsrc_header_path(struct rsrc_compilation *c);
RSRC_NODISCARD enum rsrc_status rsrc_write_matrices(struct rsrc_compilation *c);

/* module_link.c */
RSRC_NODISCARD enum rsrc_status rsrc_open_link(struct rsrc_compilation *c, const char *path);
/* Writes norms, embedding, head, tokenizer and tables, closes the units and the weights, and
 * links. */
enum rsrc_status rsrc_model_link(struct rsrc_compilation *c);
RSRC_NODISCARD enum rsrc_status rsrc_commit_linked(struct rsrc_compilation *c);
/* The temporary path of the linker's output for a kind. */
const char *rsrc_linked_path(struct rsrc_compilation *c, const struct rsrc_kind *kind);

/* compare_module.c */
/* Checks that --verify is possible: that the other options allow it, and that the module is
 * unchanged since rsrc wrote it. */
RSRC_NODISCARD enum rsrc_status rsrc_check_compared(struct rsrc_run *run);
/* Compares the newly linked module with the given one. */
RSRC_NODISCARD enum rsrc_status rsrc_compare_module(struct rsrc_compilation *c);

/* describe_input.c */
/* Describes the checkpoint alone. */
struct rsr_info rsrc_describe_input(const struct rsrc_compilation *c);

/* write_report.c */
/* Reads --measured and --attention-stats. This comes first, so that a mistake in them costs no
 * work. */
enum rsrc_status rsrc_read_measurements(struct rsrc_compilation *c);
enum rsrc_status rsrc_model_report(struct rsrc_compilation *c);

/* survey.c */
enum rsrc_status rsrc_begin_survey(struct rsrc_compilation *c);
/* Prints what was found out. Fails if anything was refused. */
enum rsrc_status rsrc_describe(struct rsrc_compilation *c);

/* dependency_file.c */
RSRC_NODISCARD enum rsrc_status rsrc_open_dependencies(struct rsrc_compilation *c);
RSRC_NODISCARD enum rsrc_status rsrc_write_dependencies(struct rsrc_compilation *c);

/* calibrate.c */
/* Refuses a model that --calibrate can measure nothing of. Like rsrc_calibrate(), for a run with a
 * calibration. */
RSRC_NODISCARD enum rsrc_status rsrc_check_calibration(struct rsrc_compilation *c);
/* In the place of writing outputs: runs the linked module on the text and prints the profile. */
RSRC_NODISCARD enum rsrc_status rsrc_calibrate(struct rsrc_compilation *c);
/* Where --calibrate writes its profile; NULL: nowhere. */
const char *rsrc_profile_path(const struct rsrc_compilation *c);

/* open_outputs.c */
enum rsrc_status rsrc_open_outputs(struct rsrc_compilation *c);
enum rsrc_status rsrc_commit_outputs(struct rsrc_compilation *c);
/* After a failure, and as the last step of every compilation. */
void rsrc_abandon_outputs(struct rsrc_compilation *c);

/* done_line.c */
/* Prints in one line what the compilation made; nothing if it wrote no file. */
void rsrc_print_done(struct rsrc_compilation *c, uint64_t time_ns, FILE *stream);

/* road.c */
/* Whether --dump can print anything for the pass. */
bool rsrc_has_dump(enum rsrc_pass_id id);
/* Runs every pass of the compilation, in order. */
RSRC_NODISCARD enum rsrc_status rsrc_run_passes(struct rsrc_compilation *c);

/* set_up.c */
RSRC_NODISCARD enum rsrc_status rsrc_set_up(struct rsrc_compilation *c);

#endif
