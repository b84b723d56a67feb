/* rsr_run_logprobs.c - rsr-run --logprobs: log-probabilities of each token of the prompt and of the
 * generated text.
 *
 * As text, one line for each token: position, id, log-probability, rank, and the token as a JSON
 * string; below it, indented, such lines for the likeliest tokens. As JSON, two arrays of objects.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

#include "rsr_run.h"

struct run_logprobs {
    rsr_detokenizer *detokenizer;
    json_t *prompt, *generated; /* with --json */
    size_t n_tokens;
};

struct run_logprobs *run_logprobs_create(const struct run_session *session) {
    if (session->options->logprobs == 0)
        return NULL;
    struct run_logprobs *l = run_alloc(1, sizeof(*l));
    rsr_error err = RSR_ERROR_INIT;
    if (rsr_detokenizer_create(session->model, RSR_DETOKENIZE_CONTINUES, &l->detokenizer, &err) !=
        RSR_OK)
        exit(run_fail("%s", err.message)); /* no memory */
    if (session->options->json) {
        l->prompt = json_array();
        l->generated = json_array();
    }
    return l;
}

void run_logprobs_destroy(struct run_logprobs *l) {
    if (!l)
        return;
    rsr_detokenizer_destroy(l->detokenizer);
    json_decref(l->prompt);
    json_decref(l->generated);
    free(l);
}

/* The text of a single token, with parts of characters replaced; new. */
static json_t *text_of(struct run_logprobs *l, uint32_t token) {
    struct run_text text = {0};
    const char *piece;
    size_t n;
    rsr_error err = RSR_ERROR_INIT;
    rsr_status status = rsr_detokenizer_push(l->detokenizer, token, &piece, &n, &err);
    if (status == RSR_OK) {
        run_text_append(&text, piece, n);
        status = rsr_detokenizer_finish(l->detokenizer, &piece, &n, &err);
    }
    if (status != RSR_OK)
        exit(run_fail("%s", err.message));
    run_text_append(&text, piece, n);
    json_t *json = json_stringn(text.data, text.size);
    free(text.data);
    return json;
}

/* p NULL: it has no log-probability. */
static json_t *token_json(struct run_logprobs *l, uint32_t token, const rsr_logprob *p) {
    json_t *json = json_object();
    json_object_set_new(json, "token", json_integer(token));
    json_object_set_new(json, "text", text_of(l, token));
    json_object_set_new(json, "logprob", p ? json_real(p->logprob) : json_null());
    json_object_set_new(json, "rank", p ? json_integer(p->rank) : json_null());
    return json;
}

static void print_token(struct run_logprobs *l, uint32_t token, const rsr_logprob *p) {
    json_t *text = text_of(l, token);
    char *quoted = json_dumps(text, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
    if (p)
        printf("%6" PRIu32 " %10.5f %6" PRIu32 "  %s\n", token, p->logprob, p->rank, quoted);
    else
        printf("%6" PRIu32 " %10s %6s  %s\n", token, "-", "-", quoted);
    free(quoted);
    json_decref(text);
}

bool run_logprobs_add(struct run_logprobs *l, const rsr_generated *g, bool of_prompt) {
    if (l->prompt) {
        json_t *json = token_json(l, g->token, g->logprobs), *top = json_array();
        for (size_t i = 1; i < g->n_logprobs; i++)
            json_array_append_new(top, token_json(l, g->logprobs[i].token, &g->logprobs[i]));
        json_object_set_new(json, "top", top);
        json_array_append_new(of_prompt ? l->prompt : l->generated, json);
        return true;
    }
    printf("%-9s %5zu ", of_prompt ? "prompt" : "generated", l->n_tokens++);
    print_token(l, g->token, g->logprobs);
    for (size_t i = 1; i < g->n_logprobs; i++) {
        printf("%16s", "");
        print_token(l, g->logprobs[i].token, &g->logprobs[i]);
    }
    return run_put_text("", 0); /* flushes, and checks the output */
}

void run_logprobs_put_json(const struct run_logprobs *l, json_t *root) {
    if (l)
        json_object_set_new(
            root, "logprobs",
            json_pack("{s:O, s:O}", "prompt", l->prompt, "generated", l->generated));
}
