/* rsr_run.c - rsr-run: generates text with a compiled model, through the public API only. rsr-mpi
 * (runtime/mpi/) is the same program with several ranks.
 *
 * Generated text goes to stdout, everything else to stderr. Exit status: 0 success, 1 a mistake or
 * a failure (with a message), 130 after SIGINT.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model_report.h"
#include "rsr_run.h"

/* ---- Output ---------------------------------------------------------------------------------- */

/* Writes text to a stream with its control characters, C1 controls included, as \xNN. */
static void put_inert(FILE *stream, const char *text, size_t n, bool keep_lines) {
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        bool line = keep_lines && (c == '\n' || c == '\t');
        bool c1 = c == 0xc2 && i + 1 < n && (unsigned char)text[i + 1] < 0xa0;
        if ((c < 0x20 && !line) || c == 0x7f || c1)
            fprintf(stream, "\\x%02x", c1 ? (unsigned char)text[++i] : c);
        else
            fputc(c, stream);
    }
}

const char *run_program = "rsr-run";

/* The line about a long prompt is shown on a terminal; the next output replaces it. */
static bool progress_shown;

static void hide_progress(void) {
    if (progress_shown)
        fputs("\r\033[K", stderr);
    progress_shown = false;
}

bool run_is_silent;

int run_fail(const char *format, ...) {
    if (run_is_silent)
        return 1;
    hide_progress();
    char message[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    fprintf(stderr, "%s: ", run_program);
    put_inert(stderr, message, strlen(message), false);
    fputc('\n', stderr);
    return 1;
}

static int cannot_write(void) {
    return run_fail("cannot write to standard output: %s", strerror(errno));
}

bool run_put_text(const char *text, size_t n_bytes) {
    if (ferror(stdout))
        return false;
    hide_progress();
    if (isatty(STDOUT_FILENO))
        put_inert(stdout, text, n_bytes, true);
    else
        fwrite(text, 1, n_bytes, stdout);
    fflush(stdout);
    if (ferror(stdout) && !run_interrupted())
        cannot_write();
    return !ferror(stdout);
}

void run_put_name(const char *name) {
    put_inert(stdout, name, strlen(name), false);
}

int run_put_json(json_t *root, size_t flags) {
    const bool written = json_dumpf(root, stdout, flags) == 0 && putchar('\n') != EOF;
    json_decref(root);
    return written ? 0 : cannot_write();
}

static double tokens_per_second(uint64_t tokens, uint64_t time_ns) {
    return time_ns > 0 ? (double)tokens * 1e9 / (double)time_ns : 0;
}

static const char *stop_name(const struct run_session *session, const rsr_generate_result *result) {
    if (run_constraint_is_closed(session->constraint))
        return "complete";
    switch (result->stop_reason) {
    case RSR_STOP_LENGTH:
        return "length";
    case RSR_STOP_TOKEN:
        return "stop_token";
    case RSR_STOP_CONTEXT:
        return "context";
    case RSR_STOP_STRING:
        return "stop_string";
    case RSR_STOP_CALLBACK:
    case RSR_STOP_CANCELLED:
        return "interrupted";
    }
    return "unknown";
}

/* The first token comes out of the prefill: decoding n tokens evaluates n - 1. */
static double decode_speed(const rsr_generate_result *r) {
    return tokens_per_second(r->tokens > 0 ? r->tokens - 1 : 0, r->decode_ns);
}

/* Prints the number of threads, if fewer than all were faster. */
static void print_threads(const struct run_session *session) {
    rsr_engine_info info = RSR_ENGINE_INFO_INIT;
    if (rsr_engine_get_info(session->engine, &info) == RSR_OK && info.n_step_threads != 0 &&
        info.n_step_threads < info.n_threads)
        fprintf(stderr, "; %" PRIu32 " of %" PRIu32 " threads, which is faster",
                info.n_step_threads, info.n_threads);
}

/* How many times as fast as without drafts. */
static double draft_gain(const rsr_generate_result *r) {
    return r->decode_ns > 0 ? 1 + (double)r->saved_ns / (double)r->decode_ns : 1;
}

static void print_drafts(const struct run_session *session, const rsr_generate_result *r) {
    if (session->options->speculate > 0)
        fprintf(stderr, "; drafted %u tokens, %u right: %.2f times as fast", r->drafted,
                r->accepted, draft_gain(r));
}

void run_print_summary(const struct run_session *session, const rsr_generate_result *r) {
    hide_progress();
    fprintf(stderr, "prompt %u tokens, %.1f tokens/s; generated %u tokens, %.1f tokens/s; stop: %s",
            r->prompt_tokens, tokens_per_second(r->prompt_tokens, r->prefill_ns), r->tokens,
            decode_speed(r), stop_name(session, r));
    print_drafts(session, r);
    print_threads(session);
    fputc('\n', stderr);
    run_constraint_warn(session->constraint);
}

/* ---- Memory and files ------------------------------------------------------------------------ */

void *run_alloc(size_t n, size_t element_bytes) {
    void *memory = calloc(n > 0 ? n : 1, element_bytes);
    if (!memory)
        exit(run_fail("out of memory"));
    return memory;
}

void run_text_append(struct run_text *text, const char *bytes, size_t n) {
    char *data = n < SIZE_MAX - text->size - 1 ? realloc(text->data, text->size + n + 1) : NULL;
    if (!data)
        exit(run_fail("out of memory"));
    memcpy(data + text->size, bytes, n);
    text->data = data;
    text->size += n;
    data[text->size] = '\0';
}

bool run_read_file(const char *path, size_t max_bytes, struct run_text *text) {
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *file = is_stdin ? stdin : fopen(path, "rb");
    if (!file) {
        if (!run_interrupted())
            run_fail("cannot read %s: %s", path, strerror(errno));
        return false;
    }
    char block[4096];
    size_t n;
    run_text_append(text, "", 0);
    while (text->size <= max_bytes && !run_interrupted() &&
           (n = fread(block, 1, sizeof(block), file)) > 0)
        run_text_append(text, block, n);
    const bool failed = ferror(file) || run_interrupted();
    if (failed && !run_interrupted())
        run_fail("cannot read %s: %s", is_stdin ? "standard input" : path, strerror(errno));
    if (!is_stdin)
        fclose(file);
    return !failed;
}

/* ---- Interruption ---------------------------------------------------------------------------- */

static volatile sig_atomic_t interrupted;
rsr_cancel run_cancel = RSR_CANCEL_INIT;

static void on_interrupt(int signal_number) {
    (void)signal_number;
    interrupted = 1;
    rsr_cancel_request(&run_cancel);
}

bool run_interrupted(void) {
    return interrupted != 0;
}

/* The second SIGINT ends the program at once. */
static void catch_interrupt(void) {
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
}

/* Blocks SIGINT in this thread and in threads that it creates. */
static void block_interrupt(bool blocked) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(blocked ? SIG_BLOCK : SIG_UNBLOCK, &signals, NULL);
}

/* A signal that arrives before the wait stays pending until then, because no other thread takes
 * it. */
bool run_wait_for_line(void) {
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    sigset_t none;
    sigemptyset(&none);
    block_interrupt(true);
    if (!run_interrupted())
        ppoll(&input, 1, NULL, &none);
    block_interrupt(false);
    return !run_interrupted();
}

void run_forget_interruption(void) {
    interrupted = 0;
    run_cancel = (rsr_cancel)RSR_CANCEL_INIT;
    catch_interrupt();
}

/* Reaching a file-size limit becomes an error of the write instead of ending the process. */
static void catch_signals(void) {
    catch_interrupt();
    signal(SIGXFSZ, SIG_IGN);
}

/* ---- Generation ------------------------------------------------------------------------------ */

static bool show_progress(void *user, size_t n_done, size_t n_entries) {
    (void)user;
    progress_shown = true;
    fprintf(stderr, "\rprompt: %zu of %zu tokens", n_done, n_entries);
    return true;
}

rsr_generate_options run_generate_options(struct run_session *session) {
    const struct run_options *o = session->options;
    rsr_generate_options options = RSR_GENERATE_OPTIONS_INIT;
    options.max_tokens = o->n_tokens;
    options.sampling = &session->sampling;
    options.stop_strings = o->stops.data;
    options.n_stop_strings = o->stops.n;
    options.cancel = &run_cancel;
    options.speculate = o->speculate;
    if (isatty(STDERR_FILENO))
        options.progress = show_progress;
    return options;
}

/* ---- Prompt ---------------------------------------------------------------------------------- */

struct prompt_output {
    struct run_session *session;
    bool json, begun;
    struct run_text text;
    struct run_logprobs *logprobs;
};

static bool on_prompt_token(void *user, const rsr_generated *generated) {
    struct prompt_output *output = user;
    return run_logprobs_add(output->logprobs, generated, true);
}

static bool on_token(void *user, const rsr_generated *generated) {
    struct prompt_output *output = user;
    output->begun = true;
    const bool goes_on = run_constraint_take(output->session, generated->token);
    if (output->logprobs && !run_logprobs_add(output->logprobs, generated, false))
        return false;
    if (output->json)
        run_text_append(&output->text, generated->text, generated->text_bytes);
    else if (!output->logprobs)
        return run_put_text(generated->text, generated->text_bytes) && goes_on;
    return goes_on;
}

static int print_json(const struct run_session *session, const rsr_generate_result *r,
                      const struct prompt_output *output) {
    json_t *root = json_object();
    const struct run_text *text = &output->text;
    json_object_set_new(root, "text", json_stringn(text->size ? text->data : "", text->size));
    json_object_set_new(root, "tokens", json_integer(r->tokens));
    json_object_set_new(root, "prompt_tokens", json_integer(r->prompt_tokens));
    json_object_set_new(root, "prefill_tps",
                        json_real(tokens_per_second(r->prompt_tokens, r->prefill_ns)));
    json_object_set_new(root, "decode_tps", json_real(decode_speed(r)));
    json_object_set_new(root, "stop_reason", json_string(stop_name(session, r)));
    if (session->options->speculate > 0)
        json_object_set_new(root, "speculation",
                            json_pack("{s:I, s:I, s:f}", "drafted", (json_int_t)r->drafted,
                                      "accepted", (json_int_t)r->accepted, "speedup",
                                      draft_gain(r)));
    json_t *sampling = rsr_report_sampling_json(&session->sampling);
    if (session->sampling.seed <= INT64_MAX) /* jansson has no larger integers */
        json_object_set_new(sampling, "seed", json_integer((json_int_t)session->sampling.seed));
    json_object_set_new(root, "sampling", sampling);
    json_object_set_new(root, "attention", run_attention_json(session));
    run_logprobs_put_json(output->logprobs, root);
    return run_put_json(root, JSON_REAL_PRECISION(6));
}

size_t run_max_bytes(const struct run_session *session) {
    size_t bytes;
    if (session->info.text_bytes == 0 ||
        __builtin_mul_overflow(session->info.text_bytes, session->engine_info.context, &bytes) ||
        bytes > RUN_MAX_TEXT_BYTES)
        return RUN_MAX_TEXT_BYTES;
    return bytes;
}

int run_fail_too_long(const struct run_session *session, const char *what) {
    if (run_max_bytes(session) == RUN_MAX_TEXT_BYTES)
        return run_fail("%s is longer than the %zu bytes that can be tokenised", what,
                        RUN_MAX_TEXT_BYTES);
    return run_fail("%s is longer than the context of %u tokens", what,
                    session->engine_info.context);
}

static bool read_prompt(const struct run_session *session, struct run_text *prompt) {
    const struct run_options *o = session->options;
    const size_t max_bytes = run_max_bytes(session);
    bool ok = true;
    if (o->prompt)
        run_text_append(prompt, o->prompt, strlen(o->prompt));
    else
        ok = run_read_file(o->prompt_file, max_bytes, prompt);
    if (ok && prompt->size > max_bytes)
        ok = run_fail_too_long(session, "the prompt") == 0;
    if (!ok)
        free(prompt->data);
    return ok;
}

/* With --load-kv: keeps the part of the sequence that the prompt begins with; the rest of the
 * prompt is evaluated later. The caller owns *tokens. False after a message. */
static bool continue_loaded(const struct run_session *session, const struct run_text *prompt,
                            rsr_generate_options *options, uint32_t **tokens) {
    const size_t capacity = session->engine_info.context;
    size_t n = 0;
    rsr_error err = RSR_ERROR_INIT;
    if (!session->options->load_kv)
        return true;
    *tokens = run_alloc(capacity, sizeof(**tokens));
    if (rsr_tokenize(session->model, prompt->data, prompt->size, options->tokenize_flags, *tokens,
                     capacity, &n, &err) != RSR_OK) {
        run_fail("%s",
                 n > capacity ? "the prompt has more tokens than the context (-c)" : err.message);
        return false;
    }
    if (!run_keep_common(session, *tokens, n))
        return false;
    const uint32_t n_kept = rsr_sequence_length(session->sequence);
    fprintf(stderr, "%s: %" PRIu32 " of the prompt's %zu tokens are those of %s\n", run_program,
            n_kept, n, session->options->load_kv);
    options->prompt_tokens = *tokens + n_kept;
    options->n_prompt_tokens = n - n_kept;
    return true;
}

int run_prompt(struct run_session *session) {
    const struct run_options *o = session->options;
    struct run_text prompt = {0};
    if (!read_prompt(session, &prompt))
        return 1;
    rsr_generate_options options = run_generate_options(session);
    uint32_t *tokens = NULL;
    if (!continue_loaded(session, &prompt, &options, &tokens)) {
        free(prompt.data);
        free(tokens);
        return 1;
    }
    rsr_generate_result result = RSR_GENERATE_RESULT_INIT;
    rsr_error err = RSR_ERROR_INIT;
    struct prompt_output output = {
        .session = session, .json = o->json, .logprobs = run_logprobs_create(session)};
    if (output.logprobs) {
        options.logprobs = true;
        options.n_top_logprobs = o->logprobs - 1;
        options.prompt_token = on_prompt_token;
    }
    if (!run_constraint_begin(session->constraint)) {
        free(prompt.data);
        free(tokens);
        run_logprobs_destroy(output.logprobs);
        return 1;
    }
    rsr_status status = rsr_generate(session->engine, session->sequence, prompt.data, prompt.size,
                                     &options, on_token, &output, &result, &err);
    int code = 0;
    const bool has_line = !o->json && !output.logprobs && (status == RSR_OK || output.begun);
    const bool written = !has_line || run_put_text("\n", 1);
    if (status != RSR_OK)
        code = run_fail("%s", err.message);
    else if (!written)
        code = 1;
    else if (o->json)
        code = print_json(session, &result, &output);
    else
        run_print_summary(session, &result);
    if (code == 0 && !o->json) {
        run_print_sampling(session);
        run_print_attention(session);
    }
    if (status == RSR_OK && session->trace && !run_trace_write(session))
        code = 1;
    free(prompt.data);
    free(tokens);
    free(output.text.data);
    run_logprobs_destroy(output.logprobs);
    return code;
}

/* ---- Embedding ------------------------------------------------------------------------------- */

/* Prints one float per line, or one JSON object. */
static int print_embedding(const struct run_session *s, const float *embedding, size_t n_tokens) {
    const uint32_t n = s->info.hidden;
    if (!s->options->json) {
        for (uint32_t i = 0; i < n; i++)
            printf("%.9g\n", (double)embedding[i]);
        return 0;
    }
    json_t *root = json_object(), *values = json_array();
    for (uint32_t i = 0; i < n; i++)
        json_array_append_new(values, json_real((double)embedding[i]));
    json_object_set_new(root, "embedding", values);
    json_object_set_new(root, "prompt_tokens", json_integer((json_int_t)n_tokens));
    return run_put_json(root, JSON_REAL_PRECISION(9));
}

static int embed_text(const struct run_session *s, const struct run_text *text) {
    const size_t capacity = s->engine_info.context;
    uint32_t *tokens = calloc(capacity, sizeof(*tokens));
    rsr_embed_options options = RSR_EMBED_OPTIONS_INIT;
    options.pooling = s->options->pooling;
    options.cancel = &run_cancel;
    float *embedding = calloc(s->info.hidden, sizeof(*embedding));
    size_t n = 0;
    rsr_error err = RSR_ERROR_INIT;
    int code = 0;
    if (tokens == NULL || embedding == NULL)
        code = run_fail("out of memory");
    else if (rsr_tokenize(s->model, text->data, text->size, RSR_TOKENIZE_ADD_SPECIAL, tokens,
                          capacity, &n, &err) != RSR_OK ||
             rsr_embed(s->engine, (const uint32_t *const *)&tokens, &n, 1, &options, embedding,
                       s->info.hidden, &err) != RSR_OK)
        code = run_fail("%s", n > capacity ? "the text has more tokens than the context (-c)"
                                           : err.message);
    else
        code = print_embedding(s, embedding, n);
    free(embedding);
    free(tokens);
    return code;
}

int run_embedding(struct run_session *session) {
    struct run_text text = {0};
    if (session->options->logprobs > 0)
        return run_fail("--logprobs has no meaning with an embedding");
    if (!read_prompt(session, &text))
        return 1;
    const int code = embed_text(session, &text);
    free(text.data);
    return code;
}

/* ---- Main ------------------------------------------------------------------------------------ */

static bool open_model(struct run_session *s) {
    const struct run_options *o = s->options;
    rsr_open_options open_options = RSR_OPEN_OPTIONS_INIT;
    open_options.target = o->target;
    open_options.flags = o->verify ? RSR_OPEN_VERIFY : 0;
    rsr_error err = RSR_ERROR_INIT;
    if (s->ranks != NULL)
        s->ranks->have_met = false;
    s->info = (rsr_model_info)RSR_MODEL_INFO_INIT;
    if (rsr_open(o->model, &open_options, &s->model, &err) != RSR_OK) {
        run_fail("%s", err.message);
        return false;
    }
    if (rsr_model_get_info(s->model, &s->info) != RSR_OK) {
        run_fail("%s does not describe itself", o->model);
        return false;
    }
    if (s->info.is_hollow)
        fprintf(stderr, "%s: warning: %s is hollow: its weights are random, for measuring alone\n",
                run_program, o->model);
    run_choose_sampling(s);
    return true;
}

/* Warns of more threads than cores, because they wait for each other at every barrier: 200 threads
 * on 2 CPUs were at least 80 times slower than 2. A small engine tells how many cores this process
 * may use. */
static void check_threads(const struct run_session *s) {
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    options.context = options.max_batch = 2;
    rsr_engine_info info = RSR_ENGINE_INFO_INIT;
    rsr_engine *engine = NULL;
    if (s->options->threads <= 1 || rsr_engine_create(s->model, &options, &engine, NULL) != RSR_OK)
        return;
    if (rsr_engine_get_info(engine, &info) == RSR_OK && s->options->threads > info.n_threads)
        fprintf(stderr,
                "%s: warning: %" PRIu32 " threads have %" PRIu32
                " core%s and wait for each other; -t %" PRIu32 " is faster\n",
                run_program, s->options->threads, info.n_threads, info.n_threads == 1 ? "" : "s",
                info.n_threads);
    rsr_engine_destroy(engine);
}

static bool is_follower(const struct run_session *s) {
    return s->ranks != NULL && s->ranks->transport.rank != 0;
}

static bool open_engine(struct run_session *s) {
    const struct run_options *o = s->options;
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    options.n_threads = o->threads;
    options.context = o->context;
    options.pin_threads = o->pin;
    options.attention = o->attention;
    options.kv_type = o->kv_type;
    options.state_type = o->state_type;
    options.device = o->device;
    options.kv_commit = o->kv_commit;
    options.kv_dir = o->kv_dir;
    options.transport = s->ranks != NULL ? &s->ranks->transport : NULL;
    options.pipeline = s->ranks != NULL && s->ranks->is_pipeline;
    if (!run_kv_check(s) || (o->qkv_file && !run_trace_check(o)))
        return false;
    if (o->qkv_file)
        s->trace = run_trace_create(s, &options);
    s->engine_info = (rsr_engine_info)RSR_ENGINE_INFO_INIT;
    rsr_error err = RSR_ERROR_INIT;
    if (!s->info.has_tokenizer) {
        run_fail("%s has no tokenizer; only --info works with it", o->model);
        return false;
    }
    if (s->ranks != NULL && !s->ranks->prepare(s->ranks, s))
        return false;
    block_interrupt(true); /* the engine's threads inherit it: only this thread takes SIGINT */
    check_threads(s);
    const rsr_status created = rsr_engine_create(s->model, &options, &s->engine, &err);
    block_interrupt(false);
    if (s->ranks != NULL)
        s->ranks->have_met = s->ranks->transport.size == 1 || s->ranks->has_gathered();
    if (created != RSR_OK && is_follower(s) && s->ranks->have_met) /* rank 0 says why */
        return false;
    if (created != RSR_OK || run_begin_sequence(s, &err) != RSR_OK) {
        run_fail("%s", err.message);
        return false;
    }
    if (rsr_engine_get_info(s->engine, &s->engine_info) != RSR_OK) {
        run_fail("the engine does not describe itself");
        return false;
    }
    return s->ranks == NULL || s->ranks->opened(s->ranks, s, &options);
}

/* What is done with an open engine. */
static int work(struct run_session *s) {
    if (is_follower(s))
        return s->ranks->follow(s->ranks, s);
    const int begun = s->ranks != NULL ? s->ranks->begin(s->ranks, s) : RUN_GO_ON;
    if (begun != RUN_GO_ON)
        return begun;
    const int code = s->info.pooling || s->options->pooling ? run_embedding(s)
                     : s->options->mode == RUN_CHAT         ? run_chat(s)
                     : s->options->mode == RUN_PERPLEXITY   ? run_perplexity(s)
                                                            : run_prompt(s);
    if (s->ranks != NULL)
        s->ranks->end(s->ranks, s);
    return code;
}

static int run(struct run_session *s) {
    int code = 1;
    if (s->options->mode == RUN_VERIFY)
        return run_verify(s->options);
    if (open_model(s)) {
        if (s->options->mode == RUN_INFO)
            code = run_info(s);
        else if (s->info.pooling && s->options->mode != RUN_PROMPT)
            code = run_fail("%s is an embedding model: give it a text with -p or -f",
                            s->options->model);
        else if ((s->info.pooling || s->options->pooling) &&
                 (s->options->schema_file || s->options->grammar_file))
            code = run_fail("--json-schema and --grammar have no meaning for embeddings");
        else if (open_engine(s) && run_constraint_open(s))
            code = work(s);
        if (code == 0 && s->options->save_kv)
            code = run_save_kv(s);
    }
    rsr_sequence_destroy(s->sequence);
    rsr_engine_destroy(s->engine);
    run_trace_destroy(s->trace);
    run_constraint_close(s->constraint);
    rsr_close(s->model);
    return code;
}

int run_main(char **arguments, struct run_ranks *ranks) {
    struct run_options options;
    if (ranks != NULL)
        ranks->have_met = true; /* until they open the model, all do the same */
    if (!run_parse_options(arguments, &options))
        return 1;
    int code = 0;
    if (options.help || options.version) {
        if (run_is_silent)
            return 0;
        if (options.help && ranks != NULL) /* the program has told its own */
            run_print_options();
        else if (options.help)
            run_print_help();
        else
            printf("%s %s\n", run_program, rsr_version());
    } else if (ranks != NULL && (options.mode == RUN_INFO || options.mode == RUN_VERIFY)) {
        code = run_fail("--info and --verify need no ranks: use rsr-run");
    } else if (ranks != NULL && !ranks->accept(ranks, &options)) {
        code = 1;
    } else {
        catch_signals();
        run_is_silent = false;
        struct run_session session = {.options = &options, .ranks = ranks};
        code = run(&session);
        if (run_interrupted())
            code = RUN_EXIT_INTERRUPTED;
    }
    if ((fflush(stdout) != 0 || ferror(stdout)) && code == 0)
        code = cannot_write();
    return code;
}
