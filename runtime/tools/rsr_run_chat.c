/* rsr_run_chat.c - rsr-run --chat: a conversation, one message a line.
 *
 * Each turn renders the whole conversation with the chat template. Tokens that the sequence holds
 * already are kept, and only the rest is evaluated.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rsr_run.h"

struct tokens {
    uint32_t *data;
    size_t size;
};

struct chat {
    struct run_session *session;
    rsr_message *messages;
    size_t n_messages;
    struct tokens held;     /* what the sequence has evaluated */
    struct tokens produced; /* of the turn that runs */
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

static void append_token(struct tokens *tokens, uint32_t token) {
    uint32_t *data = realloc(tokens->data, (tokens->size + 1) * sizeof(*data));
    if (!data)
        exit(run_fail("out of memory"));
    tokens->data = data;
    tokens->data[tokens->size++] = token;
}

static bool on_token(void *user, const rsr_generated *generated) {
    struct chat *c = user;
    append_token(&c->produced, generated->token);
    run_text_append(&c->reply, generated->text, generated->text_bytes);
    return run_put_text(generated->text, generated->text_bytes) && !run_interrupted();
}

/* The conversation as tokens; false after a sentence. */
static bool render(struct chat *c, struct tokens *out) {
    const rsr_model *model = c->session->model;
    rsr_error err = RSR_ERROR_INIT;
    size_t n = 0;
    struct run_text text = {0};
    rsr_status status = rsr_chat_format(model, c->messages, c->n_messages, true, NULL, 0, &n, &err);
    if (status == RSR_ERR_FULL) {
        text.data = run_alloc(n, 1);
        status = rsr_chat_format(model, c->messages, c->n_messages, true, text.data, n, &text.size,
                                 &err);
    }
    n = 0;
    /* Most templates write the beginning-of-text token themselves; the rest have it added. */
    uint32_t bos = c->session->info.bos_token, first = UINT32_MAX;
    uint32_t flags = RSR_TOKENIZE_PARSE_SPECIAL;
    if (status == RSR_OK)
        status = rsr_tokenize(model, text.data, text.size, flags, &first, 1, &n, &err);
    if (bos != UINT32_MAX && first != bos)
        flags |= RSR_TOKENIZE_ADD_SPECIAL;
    if (status == RSR_OK || status == RSR_ERR_FULL)
        status = rsr_tokenize(model, text.data, text.size, flags, NULL, 0, &n, &err);
    if (status == RSR_ERR_FULL) {
        out->data = run_alloc(n, sizeof(*out->data));
        status = rsr_tokenize(model, text.data, text.size, flags, out->data, n, &out->size, &err);
    }
    free(text.data);
    if (status != RSR_OK)
        run_fail("%s", err.message);
    return status == RSR_OK;
}

/* Leaves in the sequence what it has in common with `all`, but never all of it: the last token is
 * evaluated again for its logits. */
static bool keep_common(struct chat *c, const struct tokens *all) {
    size_t n = 0;
    while (n < c->held.size && n + 1 < all->size && c->held.data[n] == all->data[n])
        n++;
    rsr_error err = RSR_ERROR_INIT;
    c->held.size = n;
    if (rsr_sequence_truncate(c->session->sequence, (uint32_t)n, &err) == RSR_OK)
        return true;
    run_fail("%s", err.message);
    return false;
}

static bool answer(struct chat *c) {
    const struct run_options *o = c->session->options;
    struct tokens all = {0};
    if (!render(c, &all) || !keep_common(c, &all)) {
        free(all.data);
        return false;
    }
    rsr_generate_options options = RSR_GENERATE_OPTIONS_INIT;
    options.max_tokens = o->n_tokens;
    options.sampling = &c->session->sampling;
    options.prompt_tokens = all.data + c->held.size;
    options.n_prompt_tokens = all.size - c->held.size;
    rsr_generate_result result = RSR_GENERATE_RESULT_INIT;
    rsr_error err = RSR_ERROR_INIT;
    c->reply.size = c->produced.size = 0;
    rsr_status status = rsr_generate(c->session->engine, c->session->sequence, NULL, 0, &options,
                                     on_token, c, &result, &err);
    const bool written = run_put_text("\n", 1);
    if (status != RSR_OK) {
        run_fail("%s%s", err.message,
                 status == RSR_ERR_FULL ? "; a larger -c gives the conversation more room" : "");
    } else if (written) {
        run_print_summary(&result);
        for (size_t i = c->held.size; i < all.size; i++)
            append_token(&c->held, all.data[i]);
        for (size_t i = 0; i + 1 < c->produced.size; i++) /* the last one was not evaluated */
            append_token(&c->held, c->produced.data[i]);
        add_message(c, "assistant", copy_text(c->reply.size ? c->reply.data : "", c->reply.size));
    }
    free(all.data);
    return status == RSR_OK && written;
}

/* One line without its newline, or NULL at the end of input or after SIGINT. */
static char *read_line(void) {
    char *line = NULL;
    size_t capacity = 0;
    if (isatty(STDIN_FILENO)) {
        fputs("> ", stderr);
        fflush(stderr);
    }
    ssize_t n = getline(&line, &capacity, stdin);
    if (n < 0 || run_interrupted()) {
        free(line);
        return NULL;
    }
    if (n > 0 && line[n - 1] == '\n')
        line[n - 1] = '\0';
    return line;
}

int run_chat(struct run_session *session) {
    struct chat c = {.session = session};
    bool ok = true;
    if (!session->info.has_chat_template)
        return run_fail("%s has no chat template; give it text with -p", session->options->model);
    if (session->options->system)
        add_message(&c, "system",
                    copy_text(session->options->system, strlen(session->options->system)));
    for (char *line; ok && !run_interrupted() && (line = read_line());) {
        if (line[0] == '\0') {
            free(line);
            continue;
        }
        add_message(&c, "user", line);
        ok = answer(&c);
    }
    if (ok && ferror(stdin) && !run_interrupted())
        ok = run_fail("cannot read standard input: %s", strerror(errno)) == 0;
    for (size_t i = 0; i < c.n_messages; i++)
        free((char *)(uintptr_t)c.messages[i].content);
    free(c.messages);
    free(c.held.data);
    free(c.produced.data);
    free(c.reply.data);
    return ok ? 0 : 1;
}
