/* outputs.h - the files of results: names, text sinks, directories; all are written or none.
 *
 * Everything is written under a temporary name and gets its own when the whole compilation has
 * succeeded (open_outputs.c).
 */
#ifndef RSRC_DRIVER_OUTPUTS_H
#define RSRC_DRIVER_OUTPUTS_H

#include "base/mapped_file.h"
#include "driver/inputs.h"

/* Each once. */
struct rsrc_paths {
    struct rsrc_arena *arena;
    const char **paths;
    uint32_t n, capacity;
};

/* At most: one per kind, a directory, its intermediate files, a header, a report, a profile and a
 * dependency file. */
#define RSRC_MAX_OUTPUTS (RSRC_KIND_COUNT + 6)
struct rsrc_output_name {
    const char *option; /* the option that asks for it */
    const char *path;
};

/* A text output: a file that appears when complete, or stdout. */
struct rsrc_sink {
    bool open;
    bool is_stdout;
    struct rsrc_output file;
};

struct rsrc_outputs {
    struct rsrc_run *run;
    const struct rsrc_input_set *inputs;
    const char *work_dir; /* files that are compiled and linked; --save-temps keeps them */
    const char *link_dir; /* temporary, where the linker works */
    const char *dir;      /* final path of a directory of units; NULL: none */
    const char *temporary_dir;
    struct rsrc_paths kept; /* names in use by all outputs; output_paths.c */
    struct rsrc_output_name names[RSRC_MAX_OUTPUTS];
    uint32_t n_names;
    struct rsrc_sink dependencies;
    struct rsrc_sink asked_report;      /* --report */
    struct rsrc_sink header;            /* of a library of matrices */
    struct rsrc_sink profile;           /* --calibrate */
    struct rsrc_sink texts[PASS_COUNT]; /* outputs of --emit that a pass prints */
};

/* output_paths.c */
void rsrc_add_path(struct rsrc_paths *list, const char *path);
/* Reserves the inputs: the checkpoint's files, the targets' descriptions, the plan. */
void rsrc_list_inputs(const struct rsrc_input_set *in, struct rsrc_paths *list);
/* Refuses a path that is another output or an input; `option` asks for the path. */
RSRC_NODISCARD enum rsrc_status rsrc_check_output(struct rsrc_outputs *outputs, const char *option,
                                                  const char *path);
/* Refuses in the same cases, else reserves the path for an output. */
RSRC_NODISCARD enum rsrc_status rsrc_claim_output(struct rsrc_outputs *outputs, const char *option,
                                                  const char *path);

/* outputs.c */
/* For messages: `option` asks for the output, and `naming` is the option that names its path. */
RSRC_NODISCARD enum rsrc_status rsrc_sink_open(struct rsrc_outputs *outputs, const char *option,
                                               const char *naming, const char *path,
                                               struct rsrc_sink *sink);
RSRC_NODISCARD enum rsrc_status rsrc_sink_write(const struct rsrc_run *run, struct rsrc_sink *sink,
                                                const struct rsrc_buffer *text);
RSRC_NODISCARD enum rsrc_status rsrc_sink_commit(struct rsrc_diag *diag, struct rsrc_sink *sink);
void rsrc_sink_abandon(struct rsrc_sink *sink);
/* Names of the files that the directory of units will get, in no order. */
RSRC_NODISCARD enum rsrc_status rsrc_list_files(struct rsrc_outputs *outputs,
                                                struct rsrc_paths *names);
/* Refuses a path that names a directory where a file is needed; `help` says what to do. */
RSRC_NODISCARD enum rsrc_status rsrc_check_directory(struct rsrc_diag *diag, const char *path,
                                                     const char *help);
/* Reports that no file can be renamed to `path`, with the reason in errno; always RSRC_FAILED. */
RSRC_NODISCARD enum rsrc_status rsrc_cannot_finish(struct rsrc_diag *diag, const char *path);
/* The input's name without its folder and without a known ending. */
const char *rsrc_input_stem(struct rsrc_run *run);
/* The name of modules and units in texts; never a path. */
const char *rsrc_model_name(const struct rsrc_input_set *in);
/* Whether --emit asks for exactly one kind. */
bool rsrc_wants_one_kind(const struct rsrc_run *run);
/* The path of -o, changed if it begins like an option, so that the linker does not take it for
 * one. */
const char *rsrc_named_output(struct rsrc_run *run);
/* The final path of a kind, or its path in the directory of outputs. */
const char *rsrc_output_path(const struct rsrc_outputs *outputs, const struct rsrc_kind *kind);
/* `path` with another suffix; the old one is replaced only if `path` ends in it. */
const char *rsrc_with_suffix(struct rsrc_arena *arena, const char *path, const char *suffix,
                             const char *other);
/* OUT, or its folder, with the ending replaced by this one, or with it appended. */
const char *rsrc_beside_outputs(const struct rsrc_outputs *outputs, const char *ending);
/* The final name. */
const char *rsrc_final_path(const struct rsrc_outputs *outputs, const char *path);

#endif
