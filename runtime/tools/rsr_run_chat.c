/* rsr_run_chat.c - rsr-run --chat: a conversation, one message per line.
 *
 * Each turn renders the whole conversation with the chat template. Tokens that the sequence already
 * holds are kept; only the rest is evaluated. If the context has no room for an answer, the oldest
 * turns are forgotten.
 *
 * On a terminal the conversation continues after a mistake, and after SIGINT, which ends the
 * answer. With a pipe it ends at the first failure.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/utf8.h"
#include "rsr_run.h"

struct tokens {
    uint32_t *data;
    size_t size;
};

struct chat {
    struct run_session *session;
    bool at_terminal;
    rsr_message *messages;
    size_t n_messages;
    struct run_text reply;
};

/* Takes ownership of content. */
static void add_message(struct chat *c, const char *role, char *content) {
    rsr_message *grown = run_alloc(c->n_messages + 1, sizeof(*grown));
    if (c->n_messages > 0)
        memcpy(grown, c->messages, c->n_messages * sizeof(*grown));
    free(c->messages);
    c->messages = grown;
    c->messages[c->n_messages++] = (rsr_message){role, content};
}

static char *copy_text(const char *text, size_t n) {
    struct run_text copy = {0};
    run_text_append(&copy, text, n);
    return copy.data;
}

static bool on_token(void *user, const rsr_generated *generated) {
    struct chat *c = user;
    const bool goes_on = run_constraint_take(c->session, generated->token);
    run_text_append(&c->reply, generated->text, generated->text_bytes);
    return run_put_text(generated->text, generated->text_bytes) && goes_on;
}

/* ---- Messages -------------------------------------------------------------------------------- */

/* The system message is never forgotten. */
static size_t n_kept_messages(const struct chat *c) {
    return c->session->options->system ? 1 : 0;
}

static void forget_messages(struct chat *c, size_t begin, size_t end) {
    if (begin == end) /* also where there are no messages yet */
        return;
    for (size_t i = begin; i < end; i++)
        free((char *)(uintptr_t)c->messages[i].content);
    memmove(c->messages + begin, c->messages + end, (c->n_messages - end) * sizeof(*c->messages));
    c->n_messages -= end - begin;
}

/* ---- Answers --------------------------------------------------------------------------------- */

/* NULL: no memory. Bytes that are not UTF-8 are repaired. */
static json_t *message_json(const rsr_message *message) {
    struct rsr_bytes content = {0};
    json_t *json = NULL;
    if (rsr_utf8_append_repaired(&content, message->content, strlen(message->content)))
        json = json_pack("{s:s, s:s%}", "role", message->role, "content",
                         content.size > 0 ? content.data : "", content.size);
    rsr_bytes_free(&content);
    return json;
}

/* The caller frees it. */
static char *conversation(const rsr_message *messages, size_t n_messages) {
    json_t *root = json_array();
    bool ok = true;
    for (size_t i = 0; i < n_messages; i++)
        ok = json_array_append_new(root, message_json(&messages[i])) == 0 && ok;
    char *json = ok ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    if (json == NULL)
        exit(run_fail("out of memory"));
    return json;
}

/* A conversation as tokens; false after a sentence. */
static bool render(const struct chat *c, const rsr_message *messages, size_t n_messages,
                   struct tokens *out) {
    const rsr_model *model = c->session->model;
    rsr_error err = RSR_ERROR_INIT;
    char *json = conversation(messages, n_messages);
    size_t capacity = c->session->engine_info.context;
    rsr_status status = RSR_ERR_FULL;
    for (; status == RSR_ERR_FULL; capacity = out->size) {
        free(out->data);
        out->data = run_alloc(capacity, sizeof(*out->data));
        status =
            rsr_chat_tokens(model, json, strlen(json), true, out->data, capacity, &out->size, &err);
    }
    free(json);
    if (status != RSR_OK)
        run_fail("%s", err.message);
    return status == RSR_OK;
}

/* Renders without the oldest messages; the system message stays. */
static bool render_rest(const struct chat *c, size_t n_skipped, struct tokens *out) {
    const size_t first = n_kept_messages(c), n_rest = c->n_messages - first - n_skipped;
    rsr_message *messages = run_alloc(first + n_rest, sizeof(*messages));
    memcpy(messages, c->messages, first * sizeof(*messages));
    memcpy(messages + first, c->messages + first + n_skipped, n_rest * sizeof(*messages));
    free(out->data);
    *out = (struct tokens){0};
    const bool ok = render(c, messages, first + n_rest, out);
    free(messages);
    return ok;
}

/* Renders what fits, with room for an answer of up to half of the context. If there is no room, the
 * oldest turns (a message and its answer) are forgotten. If the last message alone is too long,
 * nothing is forgotten, because it will be refused. */
static bool render_what_fits(struct chat *c, struct tokens *out) {
    const uint32_t context = c->session->engine_info.context, n = c->session->options->n_tokens;
    const uint32_t room = context - (n < context / 2 ? n : context / 2);
    const size_t first = n_kept_messages(c);
    size_t n_skipped = 0;
    bool ok = render_rest(c, 0, out);
    while (ok && out->size > room && first + n_skipped + 2 < c->n_messages)
        ok = render_rest(c, n_skipped += 2, out);
    if (ok && n_skipped > 0 && out->size <= context) {
        forget_messages(c, first, first + n_skipped);
        fprintf(stderr, "%s: the context of %u tokens is full; %zu of the oldest turns forgotten\n",
                run_program, context, n_skipped / 2);
    }
    return ok;
}

static bool answer(struct chat *c) {
    struct tokens all = {0};
    if (!render_what_fits(c, &all) || !run_keep_common(c->session, all.data, all.size)) {
        free(all.data);
        return false;
    }
    if (!run_constraint_begin(c->session->constraint)) {
        free(all.data);
        return false;
    }
    rsr_generate_options options = run_generate_options(c->session);
    const uint32_t n_kept = rsr_sequence_length(c->session->sequence);
    options.prompt_tokens = all.data + n_kept;
    options.n_prompt_tokens = all.size - n_kept;
    rsr_generate_result result = RSR_GENERATE_RESULT_INIT;
    rsr_error err = RSR_ERROR_INIT;
    c->reply.size = 0;
    rsr_status status = rsr_generate(c->session->engine, c->session->sequence, NULL, 0, &options,
                                     on_token, c, &result, &err);
    const bool written = run_put_text("\n", 1);
    if (status != RSR_OK) {
        run_fail("%s%s", err.message,
                 status == RSR_ERR_FULL ? "; a larger -c gives the conversation more room" : "");
    } else if (written) {
        run_print_summary(c->session, &result);
        if (result.tokens > 0) /* otherwise the prompt was interrupted and is not in the sequence */
            add_message(c, "assistant",
                        copy_text(c->reply.size ? c->reply.data : "", c->reply.size));
    }
    free(all.data);
    return status == RSR_OK && written && result.tokens > 0;
}

/* ---- Lines ----------------------------------------------------------------------------------- */

enum line_kind { LINE_END, LINE_EMPTY, LINE_MESSAGE, LINE_COMMAND, LINE_REFUSED };

static enum line_kind kind_of(const char *line, size_t n) {
    if (strlen(line) != n) {
        run_fail("the line is not sent: it has a NUL character after '%s'", line);
        return LINE_REFUSED;
    }
    if (n == 0)
        return LINE_EMPTY;
    return line[0] == '/' && strpbrk(line + 1, "/ \t") == NULL ? LINE_COMMAND : LINE_MESSAGE;
}

/* Reads up to a newline, the end of input, or max_bytes and some more. Returns whether it was a
 * newline. */
static bool read_to_newline(size_t max_bytes, struct run_text *line) {
    char block[1024];
    int byte = 0;
    while (byte != EOF && byte != '\n' && line->size <= max_bytes) {
        size_t n = 0;
        while (n < sizeof(block) && (byte = getc(stdin)) != EOF && byte != '\n')
            block[n++] = (char)byte;
        run_text_append(line, block, n);
    }
    return byte == '\n';
}

/* Reads a line without its newline, which the caller frees. LINE_END: the end of input, or SIGINT,
 * and there is no line. */
static enum line_kind read_line(const struct chat *c, char **out) {
    struct run_text line = {0};
    const size_t max_bytes = run_max_bytes(c->session);
    if (c->at_terminal) {
        fputs("> ", stderr);
        fflush(stderr);
        if (!run_wait_for_line()) {
            fputc('\n', stderr);
            return LINE_END;
        }
    }
    const bool ended = read_to_newline(max_bytes, &line);
    if ((line.size == 0 && !ended) || run_interrupted()) {
        if (c->at_terminal)
            fputc('\n', stderr);
        free(line.data);
        return LINE_END;
    }
    *out = line.data;
    if (line.size <= max_bytes)
        return kind_of(line.data, line.size);
    run_fail_too_long(c->session, "the line");
    for (int rest = ended ? '\n' : 0; c->at_terminal && rest != EOF && rest != '\n';)
        rest = getc(stdin);
    return LINE_REFUSED;
}

/* ---- Commands -------------------------------------------------------------------------------- */

/* Each command returns whether the conversation goes on. */
static bool reset(struct chat *c) {
    forget_messages(c, n_kept_messages(c), c->n_messages);
    fprintf(stderr, "%s: the conversation begins anew\n", run_program);
    return true;
}

static bool leave(struct chat *c) {
    (void)c;
    return false;
}

static bool help(struct chat *c);

static const struct {
    const char *name, *help;
    bool (*run)(struct chat *c);
} COMMANDS[] = {
    {"/help", "this list", help},
    {"/reset", "forget the conversation except the system message", reset},
    {"/exit", "leave; so does the end of input (Ctrl-D)", leave},
};
#define N_COMMANDS (sizeof(COMMANDS) / sizeof(COMMANDS[0]))

static bool help(struct chat *c) {
    (void)c;
    fputs("A line is a message. Ctrl-C ends an answer; twice, the program.\n", stderr);
    for (size_t i = 0; i < N_COMMANDS; i++)
        fprintf(stderr, "  %-8s %s\n", COMMANDS[i].name, COMMANDS[i].help);
    return true;
}

/* *ok: the command exists. */
static bool run_command(struct chat *c, const char *line, bool *ok) {
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (strcmp(COMMANDS[i].name, line) == 0)
            return COMMANDS[i].run(c);
    *ok = run_fail("there is no command %s; /help lists them", line) == 0;
    return true;
}

/* ---- The conversation ------------------------------------------------------------------------ */

/* Answers a line and takes it. A message without an answer is forgotten. */
static bool take_message(struct chat *c, char *line) {
    add_message(c, "user", line);
    const bool ok = answer(c);
    if (!ok)
        forget_messages(c, c->n_messages - 1, c->n_messages);
    if (c->at_terminal && run_interrupted())
        run_forget_interruption();
    return ok;
}

/* False after a message about what went wrong. */
static bool converse(struct chat *c) {
    bool ok = true, goes_on = true;
    while (goes_on && (ok || c->at_terminal) && !ferror(stdout) && !run_interrupted()) {
        char *line = NULL;
        const enum line_kind kind = read_line(c, &line);
        ok = kind != LINE_REFUSED;
        if (kind == LINE_END)
            break;
        if (kind == LINE_COMMAND)
            goes_on = run_command(c, line, &ok);
        if (kind == LINE_MESSAGE)
            ok = take_message(c, line);
        else
            free(line);
    }
    if (ok && ferror(stdin) && !run_interrupted())
        ok = run_fail("cannot read standard input: %s", strerror(errno)) == 0;
    return ok;
}

int run_chat(struct run_session *session) {
    struct chat c = {.session = session, .at_terminal = isatty(STDIN_FILENO) != 0};
    const char *system = session->options->system;
    if (!session->info.has_chat_template)
        return run_fail("%s is no chat model: it has no chat template; give it text with -p",
                        session->options->model);
    if (system)
        add_message(&c, "system", copy_text(system, strlen(system)));
    if (c.at_terminal) {
        run_print_sampling(session);
        fputs("A line is a message; /help lists commands.\n", stderr);
    }
    const bool ok = converse(&c);
    forget_messages(&c, 0, c.n_messages);
    free(c.messages);
    free(c.reply.data);
    return ok ? 0 : 1;
}
