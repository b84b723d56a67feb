/* outputs.h - where results go: names, text sinks, directories; all or nothing.
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

struct rsrc_outputs {
    struct rsrc_run *run;
    const struct rsrc_input_set *inputs;
    const char *work_dir; /* what is compiled and linked; kept by --save-temps */
    const char *link_dir; /* temporary, where the linker works */
    const char *dir;      /* where a directory of units goes in the end; NULL: none */
    const char *temporary_dir;
    struct rsrc_paths kept; /* by all outputs; output_paths.c */
    struct rsrc_output_name names[RSRC_MAX_OUTPUTS];
    uint32_t n_names;
    struct rsrc_sink dependencies;
    struct rsrc_sink asked_report;      /* --report */
    struct rsrc_sink header;            /* of a library of matrices */
    struct rsrc_sink texts[PASS_COUNT]; /* --emit of what a pass prints */
};

/* output_paths.c */
void rsrc_add_path(struct rsrc_paths *list, const char *path);
/* What the outputs are made of: the checkpoint's files, the targets' descriptions, the plan. */
void rsrc_list_inputs(const struct rsrc_input_set *in, struct rsrc_paths *list);
/* Refuses the name of another output or of what is read; `option` asks for it. */
RSRC_NODISCARD enum rsrc_status rsrc_check_output(struct rsrc_outputs *outputs, const char *option,
                                                  const char *path);
/* The same, and from now on it is an output's. */
RSRC_NODISCARD enum rsrc_status rsrc_claim_output(struct rsrc_outputs *outputs, const char *option,
                                                  const char *path);

/* outputs.c */
/* In messages, `option` asks for it and `naming` names its place. */
RSRC_NODISCARD enum rsrc_status rsrc_sink_open(struct rsrc_outputs *outputs, const char *option,
                                               const char *naming, const char *path,
                                               struct rsrc_sink *sink);
RSRC_NODISCARD enum rsrc_status rsrc_sink_write(const struct rsrc_run *run, struct rsrc_sink *sink,
                                                const struct rsrc_buffer *text);
RSRC_NODISCARD enum rsrc_status rsrc_sink_commit(struct rsrc_diag *diag, struct rsrc_sink *sink);
void rsrc_sink_abandon(struct rsrc_sink *sink);
/* Names of the files that the directory of units is going to get, in no order. */
RSRC_NODISCARD enum rsrc_status rsrc_list_files(struct rsrc_outputs *outputs,
                                                struct rsrc_paths *names);
/* A whole file at once: <dir>/<name>. Any thread. */
RSRC_NODISCARD enum rsrc_status rsrc_write_file(struct rsrc_diag *diag, const char *dir,
                                                const char *name, const void *bytes,
                                                size_t size_bytes);
/* Refuses a file where a directory is named, with `help` for what to do. */
RSRC_NODISCARD enum rsrc_status rsrc_check_directory(struct rsrc_diag *diag, const char *path,
                                                     const char *help);
/* Reports that `path` cannot get its name, for the reason in errno; always RSRC_FAILED. */
RSRC_NODISCARD enum rsrc_status rsrc_cannot_finish(struct rsrc_diag *diag, const char *path);
/* The input's name without folders and a known ending. */
const char *rsrc_input_stem(struct rsrc_run *run);
/* What modules and units are called in text: never a path. */
const char *rsrc_model_name(const struct rsrc_input_set *in);
/* Is there one kind that --emit asks for? */
bool rsrc_wants_one_kind(const struct rsrc_run *run);
/* What -o names; a name like an option must not become one of the linker's. */
const char *rsrc_named_output(struct rsrc_run *run);
/* Where a kind goes: its final name, or its place in the directory that will get it. */
const char *rsrc_output_path(const struct rsrc_outputs *outputs, const struct rsrc_kind *kind);
/* `path` with its suffix, if that is it, replaced by another. */
const char *rsrc_with_suffix(struct rsrc_arena *arena, const char *path, const char *suffix,
                             const char *other);
/* The name that it has in the end. */
const char *rsrc_final_path(const struct rsrc_outputs *outputs, const char *path);

#endif
