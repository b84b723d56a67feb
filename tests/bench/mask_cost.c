/* mask_cost.c - the time to compute the set of allowed tokens, compared with a decode step of a
 * model.
 *
 *     mask_cost TOKENS [MODEL.so [NAME]]
 *
 * TOKENS has one token a line in hexadecimal digits (write_tokens.py). For each constraint, texts
 * are generated at random from allowed tokens. It prints the median, the 99th percentile and the
 * largest time of rsr_constrained_allow, and of rsr_constrained_advance. With a model, steps run
 * between the masks, so that both are measured under equal load, and caches hold what steps leave
 * in them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "constrain/constrained.h"

#define N_MASKS 100

static const struct {
    const char *name, *text;
} constraints[] = {
    {"object of strings",
     "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\",\"maxLength\":40},"
     "\"text\":{\"type\":\"string\"},\"n\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":"
     "99999},\"kind\":{\"enum\":[\"request\",\"response\",\"other\"]},\"tags\":{\"type\":"
     "\"array\",\"items\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":12}}},"
     "\"required\":[\"name\",\"n\"]}"},
    {"string of 5 to 20", "{\"type\":\"string\",\"minLength\":5,\"maxLength\":20}"},
    {"string", "{\"type\":\"string\"}"},
    {"array of numbers",
     "{\"type\":\"array\",\"items\":{\"type\":\"number\",\"minimum\":-1000,\"maximum\":1e6}}"},
    {"anyOf of strings",
     "{\"type\":\"array\",\"items\":{\"anyOf\":[{\"type\":\"string\",\"maxLength\":6},"
     "{\"type\":\"string\",\"minLength\":3},{\"enum\":[\"a\",\"the\",\"that\"]}]}}"},
    {"GBNF, words", "root ::= (word [ ,])* word \".\"\nword ::= [a-zA-Z]{1,20}"},
    {"GBNF, JSON",
     "root ::= value\nvalue ::= object | array | string | number | \"true\" | \"false\" | "
     "\"null\"\n"
     "object ::= \"{\" ws (string \":\" ws value (\",\" ws string \":\" ws value)*)? \"}\" ws\n"
     "array ::= \"[\" ws (value (\",\" ws value)*)? \"]\" ws\n"
     "string ::= \"\\\"\" ([^\"\\\\\\x00-\\x1f] | \"\\\\\" [\"\\\\/bfnrt])* \"\\\"\" ws\n"
     "number ::= \"-\"? [0-9]+ (\".\" [0-9]+)? ws\nws ::= [ \\t\\n]*"},
    {"GBNF, end of any text", "root ::= .* \"END\""},
    {"GBNF, ambiguous", "root ::= [a-z ]* [a-y ]* [a-x ]* \"!\""},
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void fail(const char *what) {
    fprintf(stderr, "mask_cost: %s\n", what);
    exit(1);
}

/* ---- Tokens ---------------------------------------------------------------------------------- */

static rsr_vocabulary *read_tokens(const char *path) {
    static char line[4096];
    struct rsr_token_bytes *tokens = calloc(1 << 20, sizeof(*tokens));
    uint32_t n = 0;
    FILE *file = fopen(path, "r");
    if (!file || !tokens)
        fail("cannot read the tokens");
    while (fgets(line, sizeof(line), file) && n < 1 << 20) {
        const size_t size = strcspn(line, "\n") / 2;
        char *bytes = malloc(size + 1);
        for (size_t i = 0; i < size; i++) {
            unsigned byte;
            if (sscanf(line + 2 * i, "%2x", &byte) != 1)
                fail("a line is no hexadecimal number");
            bytes[i] = (char)byte;
        }
        tokens[n] = (struct rsr_token_bytes){bytes, size, n};
        n++;
    }
    fclose(file);
    rsr_vocabulary *v = NULL;
    const uint32_t stop = n - 1;
    const double begin = now();
    if (rsr_vocabulary_make(tokens, n, &stop, 1, &v, NULL) != RSR_OK)
        fail("no vocabulary");
    printf("%u tokens, %u nodes, made in %.0f ms\n", n, v->trie.n_nodes, (now() - begin) / 1e3);
    for (uint32_t i = 0; i < n; i++)
        free((char *)(uintptr_t)tokens[i].bytes);
    free(tokens);
    return v;
}

/* ---- Steps ----------------------------------------------------------------------------------- */

struct stepper {
    rsr_model *model;
    rsr_engine *engine;
    rsr_sequence *sequence;
};

static void open_model(const char *path, struct stepper *s) {
    rsr_error err = RSR_ERROR_INIT;
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    options.context = 512;
    if (rsr_open(path, NULL, &s->model, &err) != RSR_OK ||
        rsr_engine_create(s->model, &options, &s->engine, &err) != RSR_OK ||
        rsr_sequence_create(s->engine, &s->sequence, &err) != RSR_OK)
        fail(err.message);
}

/* Microseconds of one decode step; 0 without a model. */
static double step(struct stepper *s) {
    if (!s->engine)
        return 0;
    uint32_t position = rsr_sequence_length(s->sequence);
    if (position == 256) {
        if (rsr_sequence_truncate(s->sequence, 128, NULL) != RSR_OK)
            fail("cannot truncate");
        position = 128;
    }
    const rsr_batch_entry entry = {s->sequence, position, 300 + position, false};
    const rsr_pick pick = {0, NULL};
    uint32_t token;
    rsr_batch batch = RSR_BATCH_INIT;
    batch.entries = &entry;
    batch.n_entries = 1;
    batch.picks = &pick;
    batch.n_picks = 1;
    batch.picked = &token;
    const double begin = now();
    if (rsr_eval(s->engine, &batch, NULL) != RSR_OK)
        fail("a step failed");
    return now() - begin;
}

/* ---- Masks ----------------------------------------------------------------------------------- */

static uint32_t pick(const uint32_t *allowed, uint32_t n, uint32_t *random) {
    uint32_t token;
    do {
        *random = *random * 1664525u + 1013904223u;
        token = (uint32_t)((uint64_t)*random * n >> 32);
        for (uint32_t k = 0; k < 4096 && (allowed[token / 32] >> token % 32 & 1) == 0; k++)
            token = (token + 1) % n;
    } while ((allowed[token / 32] >> token % 32 & 1) == 0);
    return token;
}

static void measure(const rsr_vocabulary *v, size_t which, struct stepper *stepper) {
    static double masks[N_MASKS], advances[N_MASKS], steps[N_MASKS];
    uint32_t *allowed = calloc(v->n_words, sizeof(*allowed)), random = 1;
    const char *text = constraints[which].text;
    rsr_error err = RSR_ERROR_INIT;
    rsr_constraint *c = NULL;
    rsr_constrained *state = NULL;
    double begin = now();
    if (rsr_constraint_create(v,
                              text[0] == '{' ? RSR_CONSTRAINT_JSON_SCHEMA : RSR_CONSTRAINT_GRAMMAR,
                              text, strlen(text), &c, &err) != RSR_OK)
        fail(err.message);
    const double create = now() - begin;
    for (size_t i = 0; i < N_MASKS; i++) {
        if (!state && rsr_constrained_create(c, &state, &err) != RSR_OK)
            fail(err.message);
        steps[i] = step(stepper);
        begin = now();
        if (rsr_constrained_allow(state, allowed, v->n_words, &err) != RSR_OK)
            fail(err.message);
        masks[i] = now() - begin;
        const uint32_t token = pick(allowed, v->n_tokens, &random);
        begin = now();
        if (rsr_constrained_advance(state, token, &err) != RSR_OK)
            fail(err.message);
        advances[i] = now() - begin;
        if (token == v->stop_tokens[0]) {
            rsr_constrained_destroy(state);
            state = NULL;
        }
    }
    qsort(masks, N_MASKS, sizeof(*masks), compare);
    qsort(advances, N_MASKS, sizeof(*advances), compare);
    qsort(steps, N_MASKS, sizeof(*steps), compare);
    const double median_step = steps[N_MASKS / 2];
    printf("%-22s create %6.0f us, mask %6.1f %6.1f %6.1f, advance %5.1f %6.1f us",
           constraints[which].name, create, masks[N_MASKS / 2], masks[N_MASKS * 99 / 100],
           masks[N_MASKS - 1], advances[N_MASKS / 2], advances[N_MASKS - 1]);
    if (median_step > 0)
        printf(", step %.2f ms: mask and advance %.2f %% of it, at most %.2f %%", median_step / 1e3,
               100 * (masks[N_MASKS / 2] + advances[N_MASKS / 2]) / median_step,
               100 * (masks[N_MASKS - 1] + advances[N_MASKS - 1]) / median_step);
    printf("\n");
    fflush(stdout);
    rsr_constrained_destroy(state);
    rsr_constraint_destroy(c);
    free(allowed);
}

int main(int argc, char **argv) {
    struct stepper stepper = {0};
    if (argc < 2)
        fail("usage: mask_cost TOKENS [MODEL.so [NAME]]");
    rsr_vocabulary *v = read_tokens(argv[1]);
    if (argc > 2)
        open_model(argv[2], &stepper);
    for (size_t i = 0; i < sizeof(constraints) / sizeof(*constraints); i++)
        if (argc < 4 || strcmp(argv[3], constraints[i].name) == 0)
            measure(v, i, &stepper);
    rsr_sequence_destroy(stepper.sequence);
    rsr_engine_destroy(stepper.engine);
    rsr_close(stepper.model);
    rsr_vocabulary_destroy(v);
    return 0;
}
