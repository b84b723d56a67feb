/* rsr_run_constraint.c - --json-schema and --grammar: generated text follows a file. */
#include <stdlib.h>
#include <string.h>

#include "rsr_constraint.h"
#include "rsr_run.h"

#define MAX_FILE_BYTES ((size_t)1 << 20) /* of rsr_constraint.h */

struct run_constraint {
    rsr_vocabulary *vocabulary;
    rsr_constraint *constraint;
    rsr_constrained *text; /* NULL: none was begun */
    uint32_t *allowed;
    size_t n_words;
    bool is_closed; /* nothing may follow, and the model has no stop token to say so */
};

static bool fail(const char *path, const rsr_error *err) {
    run_fail("%s%s%s", path ? path : "", path ? ": " : "", err->message);
    return false;
}

static bool compile(struct run_constraint *c, const rsr_model *model, rsr_constraint_kind kind,
                    const char *path) {
    struct run_text source = {0};
    rsr_error err = RSR_ERROR_INIT;
    if (!run_read_file(path, MAX_FILE_BYTES, &source))
        return false;
    const bool ok = rsr_vocabulary_create(model, &c->vocabulary, &err) == RSR_OK &&
                    rsr_constraint_create(c->vocabulary, kind, source.data, source.size,
                                          &c->constraint, &err) == RSR_OK;
    free(source.data);
    return ok || fail(path, &err);
}

bool run_constraint_open(struct run_session *s) {
    const struct run_options *o = s->options;
    if (!o->schema_file && !o->grammar_file)
        return true;
    if (o->schema_file && o->grammar_file) {
        run_fail("--json-schema and --grammar exclude each other");
        return false;
    }
    struct run_constraint *c = run_alloc(1, sizeof(*c));
    s->constraint = c;
    c->n_words = (s->info.vocab + 31) / 32;
    c->allowed = run_alloc(c->n_words, sizeof(*c->allowed));
    s->sampling.allowed = c->allowed;
    s->sampling.allowed_words = (uint32_t)c->n_words;
    return compile(c, s->model,
                   o->schema_file ? RSR_CONSTRAINT_JSON_SCHEMA : RSR_CONSTRAINT_GRAMMAR,
                   o->schema_file ? o->schema_file : o->grammar_file);
}

void run_constraint_close(struct run_constraint *c) {
    if (!c)
        return;
    rsr_constrained_destroy(c->text);
    rsr_constraint_destroy(c->constraint);
    rsr_vocabulary_destroy(c->vocabulary);
    free(c->allowed);
    free(c);
}

bool run_constraint_begin(struct run_constraint *c) {
    rsr_error err = RSR_ERROR_INIT;
    if (!c)
        return true;
    rsr_constrained_destroy(c->text);
    c->text = NULL;
    c->is_closed = false;
    return (rsr_constrained_create(c->constraint, &c->text, &err) == RSR_OK &&
            rsr_constrained_allow(c->text, c->allowed, c->n_words, &err) == RSR_OK) ||
           fail(NULL, &err);
}

/* After a stop token the text has ended, so nothing is allowed. */
bool run_constraint_take(struct run_session *s, uint32_t token) {
    struct run_constraint *c = s->constraint;
    rsr_error err = RSR_ERROR_INIT;
    if (!c)
        return true;
    for (uint32_t i = 0; i < s->info.n_stop_tokens; i++)
        if (s->info.stop_tokens[i] == token)
            return true;
    if (rsr_constrained_advance(c->text, token, &err) != RSR_OK)
        return fail(NULL, &err);
    const rsr_status status = rsr_constrained_allow(c->text, c->allowed, c->n_words, &err);
    c->is_closed = status == RSR_ERR_TEXT && rsr_constrained_is_complete(c->text);
    return status == RSR_OK || (!c->is_closed && fail(NULL, &err));
}

bool run_constraint_is_closed(const struct run_constraint *c) {
    return c && c->is_closed;
}

void run_constraint_warn(const struct run_constraint *c) {
    if (c && !rsr_constrained_is_complete(c->text))
        fprintf(stderr,
                "%s: warning: the text ended before it was complete; -n and -c give "
                "it more tokens\n",
                run_program);
}
