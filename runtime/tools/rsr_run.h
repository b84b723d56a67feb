/* rsr_run.h - what the files of rsr-run share: options, the open model, output. */
#ifndef RSR_RUN_H
#define RSR_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "rsr.h"

/* Modes, one bit each, so that an option can state the modes to which it applies. */
enum run_mode {
    RUN_NONE = 0,
    RUN_PROMPT = 1,
    RUN_CHAT = 2,
    RUN_INFO = 4,
    RUN_PERPLEXITY = 8,
    RUN_VERIFY = 16 /* --verify and nothing else */
};

/* Largest number of texts of an option that may be given several times. */
#define RUN_MAX_TEXTS 16
struct run_texts {
    const char *data[RUN_MAX_TEXTS];
    uint32_t n;
};

struct run_options {
    const char *model;
    enum run_mode mode;
    const char *prompt;      /* -p */
    const char *prompt_file; /* -f, or "-" */
    const char *text_file;   /* --perplexity */
    const char *system;
    const char *target;
    const char *attention;
    const char *kv_type, *kv_dir, *state_type, *device;
    const char *pooling;  /* --embed */
    const char *qkv_file; /* --dump-qkv */
    const char *schema_file, *grammar_file;
    const char *load_kv, *save_kv;
    struct run_texts stops; /* --stop */
    uint32_t n_tokens, context, threads;
    uint32_t logprobs; /* --logprobs=N: N + 1 */
    uint32_t speculate;
    rsr_logit_bias biases[RUN_MAX_TEXTS];
    uint32_t n_biases;
    rsr_sampling sampling; /* run_no_sampling() if no option was given */
    bool pin, kv_commit, json, verify, help, version;
};

/* Fills `options` from the arguments after the program's name, which end with NULL. False after one
 * sentence on stderr. */
bool run_parse_options(char **arguments, struct run_options *options);
void run_print_help(void);
/* The part of it that begins with the options. */
void run_print_options(void);

/* rsr_run_names.c: names that people know from other programs. */
/* Whether `given` means this option: "--top_k" means "--top-k". */
bool run_same_name(const char *name, const char *given, size_t n_bytes);
/* Our name of another program's option ("--threads"), or NULL. */
const char *run_our_name(const char *given, size_t n_bytes);
/* Whether the option's value is the model ("-m"). */
bool run_names_model(const char *given, size_t n_bytes);
/* False, after a message: the path is a checkpoint that is not compiled. */
bool run_check_model(const char *path);
/* False, after a message about a second name without an option, which may be a model or a
 * prompt. */
bool run_second_name(const char *model, const char *second);

struct run_trace;
struct run_constraint;
struct run_session;

#define RUN_GO_ON (-1)

/* Several ranks run together: rank 0 is the program, and the others follow it. */
struct run_ranks {
    rsr_transport transport;
    bool is_pipeline;
    /* The first call of every rank, which finds what all of them do: checks the options, and gives
     * the rank's file, of the name that was given to all. False after a message. */
    bool (*accept)(struct run_ranks *ranks, struct run_options *options);
    /* Called by every rank before it creates its engine. False after a message. */
    bool (*prepare)(struct run_ranks *ranks, const struct run_session *session);
    /* Called by every rank after it has created its engine with these options. False after a
     * message. */
    bool (*opened)(struct run_ranks *ranks, const struct run_session *session,
                   const rsr_engine_options *options);
    /* The work of the ranks above 0; the exit status. */
    int (*follow)(struct run_ranks *ranks, const struct run_session *session);
    /* Called by rank 0 before its work and after it. `begin` gives the exit status if the work is
     * not to be done, and RUN_GO_ON if it is. */
    int (*begin)(struct run_ranks *ranks, struct run_session *session);
    void (*end)(struct run_ranks *ranks, const struct run_session *session);
    bool (*has_gathered)(void); /* whether the ranks have exchanged anything */
    bool have_met; /* set by run_main. False: this rank has ended and others may wait for it */
};

struct run_session {
    const struct run_options *options;
    struct run_ranks *ranks; /* NULL: this process alone */
    rsr_model *model;
    rsr_model_info info;
    rsr_engine *engine; /* NULL with --info */
    rsr_engine_info engine_info;
    rsr_sequence *sequence;
    rsr_sampling sampling;             /* as tokens are sampled */
    struct run_trace *trace;           /* NULL without --dump-qkv */
    struct run_constraint *constraint; /* NULL without --json-schema and --grammar */
};

/* Options that all generations share. */
rsr_generate_options run_generate_options(struct run_session *session);

/* Each returns the exit status. */
int run_prompt(struct run_session *session);
/* Prints the vector of the text. */
int run_embedding(struct run_session *session);
int run_chat(struct run_session *session);
int run_info(struct run_session *session);
int run_perplexity(struct run_session *session);
/* Opens nothing. */
int run_verify(const struct run_options *options);

/* The whole program; `arguments` are those after its name. Returns the exit status. */
int run_main(char **arguments, struct run_ranks *ranks);
/* What messages begin with. Set it before run_main. */
extern const char *run_program;
/* Set it in ranks above 0: they find the mistakes of rank 0 in the command line, and leave it to
 * rank 0 to say so. Ends when the model is opened. */
extern bool run_is_silent;
/* "rsr-run: <sentence>" on stderr, control characters made visible; returns 1. */
int run_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Writes text to stdout. On a terminal control characters become \xNN, so that a model cannot send
 * it escape sequences. False after a sentence, once, where it cannot be written. */
bool run_put_text(const char *text, size_t n_bytes);
/* Writes a name from a file: control characters always become \xNN. */
void run_put_name(const char *name);

struct json_t;
/* Prints JSON and a newline on stdout; takes `root`. Returns the exit status; on failure after a
 * message. */
int run_put_json(struct json_t *root, size_t flags);

/* Whether SIGINT has arrived; it ends the calls that have run_cancel. */
bool run_interrupted(void);
extern rsr_cancel run_cancel;
/* At a terminal: returns when there is a line to be read, or its end. False: SIGINT has arrived. */
bool run_wait_for_line(void);
/* Resets the state to that before the first SIGINT, which has stopped what it should. */
void run_forget_interruption(void);
#define RUN_EXIT_INTERRUPTED 130

/* A growing string. */
struct run_text {
    char *data; /* NUL-terminated once something was appended */
    size_t size;
};
void run_text_append(struct run_text *text, const char *bytes, size_t n);

/* Reads a whole file ("-": stdin), or its first max_bytes and some more. False after a message or
 * an interruption. */
bool run_read_file(const char *path, size_t max_bytes, struct run_text *text);
/* Longer texts cannot be tokenised. */
#define RUN_MAX_TEXT_BYTES ((size_t)INT32_MAX)
/* Limit in bytes: a longer text has more tokens than the context, or cannot be tokenised. */
size_t run_max_bytes(const struct run_session *session);
/* Reports that a text is longer than this limit; returns 1. */
int run_fail_too_long(const struct run_session *session, const char *what);

/* Allocates memory, or ends the program. */
void *run_alloc(size_t n, size_t element_bytes);

/* Prints a line on stderr: how keys and values are stored, and statistics of the KV index if
 * attention uses it. */
void run_print_attention(const struct run_session *session);
/* These facts as a JSON object, new. */
struct json_t *run_attention_json(const struct run_session *session);

/* Checks before the work whether --dump-qkv can write its file; false after a message. */
bool run_trace_check(const struct run_options *o);
/* --dump-qkv: an engine with these options collects queries; the file is written from its sequence
 * in the end (rsr_run_attention.c has the format). False after a sentence. */
struct run_trace *run_trace_create(const struct run_session *session, rsr_engine_options *options);
bool run_trace_write(const struct run_session *session);
void run_trace_destroy(struct run_trace *trace);

/* --logprobs: gets every token and prints it, or keeps it for JSON. NULL: not wanted. */
struct run_logprobs;
struct run_logprobs *run_logprobs_create(const struct run_session *session);
void run_logprobs_destroy(struct run_logprobs *logprobs); /* may be NULL */
/* False where it cannot be written. */
bool run_logprobs_add(struct run_logprobs *logprobs, const rsr_generated *generated,
                      bool of_prompt);
/* Adds the log-probabilities of a run with --json to `root`, as "logprobs"; NULL adds nothing. */
void run_logprobs_put_json(const struct run_logprobs *logprobs, struct json_t *root);

/* rsr_run_constraint.c: generated text follows the session's constraint, if it has one. These
 * functions return false after a message. The first reads the file and sets session->sampling. */
bool run_constraint_open(struct run_session *session);
void run_constraint_close(struct run_constraint *constraint);
/* Called before a generation, and for each of its tokens; also false if the text is closed. */
bool run_constraint_begin(struct run_constraint *constraint);
bool run_constraint_take(struct run_session *session, uint32_t token);
/* Whether the text is complete and nothing may follow; a model without stop tokens cannot end it
 * itself. */
bool run_constraint_is_closed(const struct run_constraint *constraint);
/* A line on stderr, if the text is not complete. */
void run_constraint_warn(const struct run_constraint *constraint);

/* rsr_run_kv.c: checks before the work whether --load-kv and --save-kv are possible; false after a
 * message. */
bool run_kv_check(const struct run_session *session);
/* Sets session->sequence to an empty sequence, or to the one that --load-kv names. */
rsr_status run_begin_sequence(struct run_session *session, rsr_error *err);
/* Truncates the sequence to its longest common prefix with the tokens, but always leaves out the
 * last token, which is evaluated for its logits. False after a message. */
bool run_keep_common(const struct run_session *session, const uint32_t *tokens, size_t n_tokens);
/* --save-kv; the exit status. */
int run_save_kv(const struct run_session *session);
/* Whether it is the file of that name; path may be NULL. */
struct stat;
bool run_is_file(const struct stat *info, const char *path);

/* rsr_run_sampling.c: the defaults if neither options nor the checkpoint say anything. */
extern const rsr_sampling run_default_sampling;
/* A sampling in which no option is given. */
rsr_sampling run_no_sampling(void);
/* Fills session->sampling: from the options, else from the checkpoint, else from our defaults. */
void run_choose_sampling(struct run_session *session);
/* Prints "temperature 0.8, top-k 40"; options that are off are omitted. */
void run_put_sampling(FILE *stream, const rsr_sampling *sampling);
/* Prints a line on stderr: how tokens are sampled, and whether options, checkpoint or defaults
 * decided it. */
void run_print_sampling(const struct run_session *session);

/* Prints the line on stderr after a generation. */
void run_print_summary(const struct run_session *session, const rsr_generate_result *result);

#endif
