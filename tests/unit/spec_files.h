/* spec_files.h - lists every target description of specs/ that is a CPU's, for tests of all of
 * them. It reads the directory, so a new file is tested without a change here. */
#ifndef TESTS_UNIT_SPEC_FILES_H
#define TESTS_UNIT_SPEC_FILES_H

#include <glob.h>

#include "check.h"
#include "diag_fixture.h"
#include "spec/spec.h"

#define MAX_SPEC_FILES 64u

/* Returns how many there are. */
static inline uint32_t load_cpu_specs(struct fixture *f, struct rsr_spec specs[MAX_SPEC_FILES]) {
    glob_t files;
    uint32_t n = 0;
    CHECK_INT(glob(TEST_SOURCE_DIR "/specs/*.yaml", 0, NULL, &files), 0);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        struct rsr_spec spec = {.name = NULL};
        CHECK_INT(
            rsrc_load_spec(f->diag, &f->arena, files.gl_pathv[i], TEST_SOURCE_DIR "/specs", &spec),
            RSRC_OK);
        CHECK(n < MAX_SPEC_FILES);
        if (spec.gpu.sm == 0 && n < MAX_SPEC_FILES)
            specs[n++] = spec;
    }
    CHECK(n >= 8); /* there were 8 when this was written */
    globfree(&files);
    return n;
}

#endif
