/* fuzz_target.h - shared by the fuzz targets of the readers: an arena, and diagnostics that are not
 * printed. A target fails if a refusal has no diagnostic, or an acceptance has one. */
#ifndef TESTS_FUZZ_FUZZ_TARGET_H
#define TESTS_FUZZ_FUZZ_TARGET_H

#include <assert.h>
#include <stdlib.h>

#include "reader/checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes);

struct fuzz_target {
    struct rsrc_arena arena;
    struct rsrc_diag *diag;
    FILE *stream;
};

static inline void fuzz_target_begin(struct fuzz_target *target) {
    rsrc_arena_init(&target->arena);
    target->stream = fopen("/dev/null", "w");
    if (target->stream == NULL) {
        abort();
    }
    target->diag = rsrc_diag_create(target->stream, false, RSRC_COLOR_NEVER);
}

static inline void fuzz_target_end(struct fuzz_target *target, bool accepted) {
    if ((rsrc_diag_error_count(target->diag) == 0) != accepted) {
        abort();
    }
    rsrc_diag_destroy(target->diag);
    fclose(target->stream);
    rsrc_arena_free(&target->arena);
}

#endif
