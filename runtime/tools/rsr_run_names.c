/* rsr_run_names.c - habits from other programs: other names of options, a checkpoint in place of a
 * model.so, a prompt without -p.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "rsr_run.h"

/* ---- Options --------------------------------------------------------------------------------- */

/* Names of llama.cpp, transformers and vLLM for options of rsr-run. */
static const struct {
    const char *given, *ours;
} NAMES[] = {
    {"-h", "--help"},
    {"--prompt", "-p"},
    {"--file", "-f"},
    {"--n-predict", "-n"},
    {"--predict", "-n"},
    {"--max-tokens", "-n"},
    {"--max-new-tokens", "-n"},
    {"--ctx-size", "-c"},
    {"--context", "-c"},
    {"--threads", "-t"},
    {"--temperature", "--temp"},
    {"--repetition-penalty", "--repeat-penalty"},
    {"-s", "--seed"},
    {"-i", "--chat"},
    {"-cnv", "--chat"},
    {"--interactive", "--chat"},
    {"--conversation", "--chat"},
    {"-sys", "--system"},
    {"--system-prompt", "--system"},
    {"--ppl", "--perplexity"},
};
#define N_NAMES (sizeof(NAMES) / sizeof(NAMES[0]))

bool run_same_name(const char *name, const char *given, size_t n_bytes) {
    for (size_t i = 0; i < n_bytes; i++)
        if (name[i] != (given[i] == '_' ? '-' : given[i]))
            return false;
    return name[n_bytes] == '\0';
}

const char *run_our_name(const char *given, size_t n_bytes) {
    for (size_t i = 0; i < N_NAMES; i++)
        if (run_same_name(NAMES[i].given, given, n_bytes))
            return NAMES[i].ours;
    return NULL;
}

bool run_names_model(const char *given, size_t n_bytes) {
    return run_same_name("-m", given, n_bytes) || run_same_name("--model", given, n_bytes);
}

/* ---- Names ----------------------------------------------------------------------------------- */

static bool ends_with(const char *text, const char *end) {
    const size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* A folder with a configuration. */
static bool is_model_folder(const char *path) {
    char config[4096];
    struct stat status;
    const int n = snprintf(config, sizeof(config), "%s/config.json", path);
    return n > 0 && (size_t)n < sizeof(config) && stat(config, &status) == 0;
}

/* Whether the name is that of a file that rsrc reads. */
static bool is_checkpoint(const char *path) {
    static const char *const ENDS[] = {".safetensors", ".gguf", ".npy", ".json"};
    if (is_model_folder(path))
        return true;
    for (size_t i = 0; i < sizeof(ENDS) / sizeof(ENDS[0]); i++)
        if (ends_with(path, ENDS[i]))
            return true;
    return false;
}

bool run_check_model(const char *path) {
    if (!is_checkpoint(path))
        return true;
    run_fail("%s is a checkpoint; compile it first: rsrc %s -o model.so", path, path);
    return false;
}

bool run_second_name(const char *model, const char *second) {
    struct stat status;
    if (ends_with(second, ".so") || stat(second, &status) == 0)
        run_fail("more than one model given: %s and %s", model, second);
    else
        run_fail("what is '%s'? If it is the prompt: rsr-run %s -p '%s'", second, model, second);
    return false;
}
