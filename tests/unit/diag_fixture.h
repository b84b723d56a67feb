/* diag_fixture.h - an arena and diagnostics kept as text, for tests that look at messages. */
#ifndef TESTS_UNIT_DIAG_FIXTURE_H
#define TESTS_UNIT_DIAG_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "diag.h"

struct fixture {
    struct rsrc_arena arena;
    struct rsrc_diag *diag;
    FILE *stream;
    char *text;
    size_t size_bytes;
};

/* `text` is complete whenever the stream has been flushed; every diagnostic flushes it. */
static void setup(struct fixture *f) {
    rsrc_arena_init(&f->arena);
    f->text = NULL;
    f->stream = open_memstream(&f->text, &f->size_bytes);
    f->diag = rsrc_diag_create(f->stream, false, RSRC_COLOR_NEVER);
}

static void teardown(struct fixture *f) {
    rsrc_diag_destroy(f->diag);
    fclose(f->stream);
    free(f->text);
    rsrc_arena_free(&f->arena);
}

#endif
