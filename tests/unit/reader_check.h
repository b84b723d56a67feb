/* reader_check.h - a reader under test: its arena, and what it printed. */
#ifndef TESTS_UNIT_READER_CHECK_H
#define TESTS_UNIT_READER_CHECK_H

#include <stdlib.h>

#include "check.h"
#include "reader/checkpoint.h"

struct reader_test {
    struct rsrc_arena arena;
    struct rsrc_diag *diag;
    FILE *stream;
    char *text; /* everything printed, after reader_test_text */
    size_t n_text;
};

static inline void reader_test_begin(struct reader_test *test) {
    memset(test, 0, sizeof(*test));
    rsrc_arena_init(&test->arena);
    test->stream = open_memstream(&test->text, &test->n_text);
    if (test->stream == NULL) {
        abort();
    }
    test->diag = rsrc_diag_create(test->stream, false, RSRC_COLOR_NEVER);
}

static inline const char *reader_test_text(struct reader_test *test) {
    fflush(test->stream);
    return test->text;
}

static inline void reader_test_end(struct reader_test *test) {
    rsrc_diag_destroy(test->diag);
    fclose(test->stream);
    free(test->text);
    rsrc_arena_free(&test->arena);
}

/* A heap copy of exactly n bytes, so that sanitizers see every read past the end. */
static inline uint8_t *exact_copy(const void *bytes, size_t n_bytes) {
    uint8_t *copy = malloc(n_bytes == 0 ? 1 : n_bytes);
    if (copy == NULL) {
        abort();
    }
    memcpy(copy, bytes, n_bytes);
    return copy;
}

/* The one diagnostic printed is an error with this slug. */
static inline void check_one_error(struct reader_test *test, const char *slug, const char *about) {
    char tag[96];
    const char *text = reader_test_text(test);
    snprintf(tag, sizeof(tag), "[%s]\n", slug);
    CHECK_INT(rsrc_diag_error_count(test->diag), 1);
    CHECK(strstr(text, tag) != NULL);
    if (strstr(text, tag) == NULL || rsrc_diag_error_count(test->diag) != 1) {
        fprintf(stderr, "  expected [%s] for %.300s\n  got: %s\n", slug, about, text);
    }
}

#endif
