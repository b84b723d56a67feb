/* tokenizer_fixture.h - a model that consists only of a tokenizer of tests/tokenizer/. */
#ifndef TESTS_UNIT_TOKENIZER_FIXTURE_H
#define TESTS_UNIT_TOKENIZER_FIXTURE_H

#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"
#include "reader/checkpoint.h"
#include "tokenizer/text.h"
#include "tokenizer/tokenizer.h"

#define FIXTURES TEST_SOURCE_DIR "/tests/tokenizer"

struct fixture {
    struct rsrc_arena arena;
    struct rsrc_diag *diag;
    struct rsr_tokenizer tokenizer;
    struct rsr_module module;
    struct rsr_model model;
};

static inline json_t *load_json(const char *folder, const char *name, const char *suffix) {
    char path[512];
    snprintf(path, sizeof(path), "%s/%s%s", folder, name, suffix);
    json_error_t error;
    json_t *root = json_load_file(path, JSON_ALLOW_NUL, &error);
    if (!root)
        fprintf(stderr, "%s:%d: %s\n", path, error.line, error.text);
    CHECK(root != NULL);
    return root;
}

static inline char *read_file(const char *path, size_t *n) {
    FILE *file = fopen(path, "rb");
    if (!file)
        return NULL;
    char *bytes = malloc(1 << 25);
    *n = bytes ? fread(bytes, 1, 1 << 25, file) : 0;
    fclose(file);
    return bytes;
}

/* Makes the model of a tokenizer.json of n bytes. `json` may be NULL if the file is absent. */
static inline bool parse_fixture(struct fixture *f, const char *name, const char *json, size_t n) {
    memset(f, 0, sizeof(*f));
    rsrc_arena_init(&f->arena);
    f->diag = rsrc_diag_create(stderr, false, RSRC_COLOR_NEVER);
    bool ok = json && rsrc_parse_tokenizer(f->diag, &f->arena, name, (const uint8_t *)json, n,
                                           &f->tokenizer) == RSRC_OK;
    rsr_error err = RSR_ERROR_INIT;
    f->module.tokenizer = f->tokenizer.section;
    f->module.hyper.vocab = ok ? f->tokenizer.section->n_tokens + 3 : 0;
    f->model.module = &f->module;
    f->model.owner_pid = (int)getpid();
    ok = ok && rsr_text_create(&f->module, &f->model.text, &err) == RSR_OK;
    if (!ok)
        fprintf(stderr, "%s: %s\n", name, err.message);
    CHECK(ok);
    return ok;
}

static inline bool open_fixture_of(struct fixture *f, const char *folder, const char *name) {
    char path[512];
    size_t n = 0;
    snprintf(path, sizeof(path), "%s/%s.tokenizer.json", folder, name);
    char *bytes = read_file(path, &n);
    bool ok = parse_fixture(f, name, bytes, n);
    free(bytes);
    return ok;
}

static inline bool open_fixture(struct fixture *f, const char *name) {
    return open_fixture_of(f, FIXTURES, name);
}

static inline void close_fixture(struct fixture *f) {
    rsr_text_destroy(f->model.text);
    rsrc_diag_destroy(f->diag);
    rsrc_arena_free(&f->arena);
}

#endif
