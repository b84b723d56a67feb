/* fuzz_pipeline.h - shared by the fuzz targets of the whole compiler: a private folder for inputs
 * and outputs, and a compilation by rsrc_compile() with options that a byte chooses.
 *
 * A target fails if the exit code is not a documented one, if a refusal has no diagnostic, if a
 * success has an error, or if a refusal leaves a file.
 */
#ifndef TESTS_FUZZ_FUZZ_PIPELINE_H
#define TESTS_FUZZ_FUZZ_PIPELINE_H

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rsrc.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes);

struct fuzz_pipeline {
    char folder[256]; /* with in/ and out/; the place is TMPDIR's, and run.sh removes it */
};

static inline void fuzz_must(bool holds) {
    if (!holds)
        abort();
}

static inline char *fuzz_pipeline_path(const struct fuzz_pipeline *pipeline, const char *name) {
    char *path = NULL;
    fuzz_must(asprintf(&path, "%s/%s", pipeline->folder, name) >= 0);
    return path;
}

/* Removes the files of a folder, and empty folders; returns how many there were. */
static inline uint32_t fuzz_pipeline_empty(const struct fuzz_pipeline *pipeline, const char *name) {
    uint32_t n = 0;
    char *folder = fuzz_pipeline_path(pipeline, name);
    DIR *dir = opendir(folder);
    fuzz_must(dir != NULL);
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        fuzz_must(unlinkat(dirfd(dir), entry->d_name, 0) == 0 ||
                  unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR) == 0);
        n++;
    }
    closedir(dir);
    free(folder);
    return n;
}

static inline void fuzz_pipeline_make(const struct fuzz_pipeline *pipeline, const char *name) {
    char *path = fuzz_pipeline_path(pipeline, name);
    fuzz_must(mkdir(path, 0700) == 0);
    free(path);
}

static inline void fuzz_pipeline_begin(struct fuzz_pipeline *pipeline) {
    if (pipeline->folder[0] != '\0')
        return;
    const char *base = getenv("TMPDIR");
    snprintf(pipeline->folder, sizeof(pipeline->folder), "%s/rsrc-fuzz-XXXXXX",
             base != NULL ? base : "/tmp");
    fuzz_must(mkdtemp(pipeline->folder) != NULL);
    fuzz_pipeline_make(pipeline, "in");
    fuzz_pipeline_make(pipeline, "out");
    fuzz_must(freopen("/dev/null", "w", stdout) != NULL); /* --info prints there */
}

/* Writes, or appends to, a file of the input. */
static inline void fuzz_pipeline_put(const struct fuzz_pipeline *pipeline, const char *name,
                                     const void *bytes, size_t size_bytes) {
    char *path = fuzz_pipeline_path(pipeline, name);
    const int fd = open(path, O_CREAT | O_APPEND | O_WRONLY, 0600);
    fuzz_must(fd >= 0 && write(fd, bytes, size_bytes) == (ssize_t)size_bytes);
    close(fd);
    free(path);
}

/* Bits 0 and 1 of `way` choose the output, the other bits options. */
static inline void fuzz_pipeline_choose(uint8_t way, struct rsrc_options *options) {
    static const uint32_t EMITS[] = {RSRC_EMIT_C, RSRC_EMIT_REPORT,
                                     RSRC_EMIT_STEP | RSRC_EMIT_PLAN | RSRC_EMIT_RSR};
    rsrc_options_init(options);
    options->target = "generic";
    options->spec_dir = TEST_SOURCE_DIR "/specs";
    options->n_jobs = 1;
    options->json_diagnostics = true;
    if ((way & 3) == 3)
        options->info = RSRC_INFO_JSON;
    else
        options->emit = EMITS[way & 3];
    if ((way & 3) == 1)
        options->to = "report";
    options->i2s_layout = (way & 4) != 0 ? RSRC_I2S_X86 : RSRC_I2S_AUTO;
    options->activations = (way & 8) != 0 ? RSRC_ACTIVATIONS_INT8 : RSRC_ACTIVATIONS_AUTO;
    options->inputs = (way & 16) != 0 ? RSRC_INPUTS_F32 | RSRC_INPUTS_I8 : 0;
    options->head_sketch = (way & 32) != 0 ? RSRC_HEAD_SKETCH_1 : RSRC_HEAD_SKETCH_AUTO;
    options->head_bits = (way & 8) != 0 ? RSRC_HEAD_BITS_12 : RSRC_HEAD_BITS_AUTO;
    options->verify_each = (way & 64) != 0;
    options->no_reduce = (way & 128) != 0;
}

/* Compiles `input`, a name below the pipeline's folder, and empties out/. */
static inline void fuzz_pipeline_compile(const struct fuzz_pipeline *pipeline, const char *input,
                                         uint8_t way) {
    struct rsrc_options options;
    char *said = NULL, *in = fuzz_pipeline_path(pipeline, input);
    char *output = fuzz_pipeline_path(pipeline, (way & 3) == 1 ? "out/made" : "out/");
    size_t n_said = 0;
    FILE *messages = open_memstream(&said, &n_said);
    fuzz_must(messages != NULL);
    fuzz_pipeline_choose(way, &options);
    options.input = in;
    options.output = options.info == RSRC_INFO_NONE ? output : NULL;
    const int code = rsrc_compile(&options, messages);
    fclose(messages);
    if (getenv("FUZZ_SAY") != NULL) /* to look into one input */
        fprintf(stderr, "exit code %d\n%s", code, said);
    const bool has_error = strstr(said, "\"severity\":\"error\"") != NULL;
    fuzz_must(code == RSRC_EXIT_OK || code == RSRC_EXIT_ERROR);
    fuzz_must(has_error == (code == RSRC_EXIT_ERROR));
    const uint32_t n_made = fuzz_pipeline_empty(pipeline, "out");
    fuzz_must((n_made != 0) == (code == RSRC_EXIT_OK && options.info == RSRC_INFO_NONE));
    free(said);
    free(in);
    free(output);
}

#endif
