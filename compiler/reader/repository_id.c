/* repository_id.c - see repository_id.h. */
#include "reader/repository_id.h"

#include <string.h>
#include <sys/stat.h>

#define ID_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."

/* Not a repository but one of its files. */
static bool names_file(const char *input) {
    static const char *const ENDS[] = {".safetensors", ".gguf", ".npy", ".json"};
    const char *end = strrchr(input, '.');
    for (size_t i = 0; end != NULL && i < sizeof(ENDS) / sizeof(ENDS[0]); i++)
        if (strcmp(end, ENDS[i]) == 0)
            return true;
    return false;
}

/* Whether it is "owner/name" and not the beginning of a path: there must be no folder named
 * owner. */
static bool is_repository_id(struct rsrc_arena *arena, const char *input) {
    const size_t n_owner = strspn(input, ID_CHARACTERS);
    if (n_owner == 0 || input[0] == '.' || input[n_owner] != '/' || names_file(input))
        return false;
    const char *name = input + n_owner + 1;
    struct stat status;
    return name[0] != '\0' && name[0] != '.' && name[strspn(name, ID_CHARACTERS)] == '\0' &&
           stat(rsrc_arena_strndup(arena, input, n_owner), &status) != 0;
}

bool rsrc_refuse_repository_id(struct rsrc_diag *diag, struct rsrc_arena *arena,
                               const char *input) {
    if (!is_repository_id(arena, input))
        return false;
    const char *folder = strchr(input, '/') + 1;
    const char *help = rsrc_arena_printf(
        arena,
        "a model on Hugging Face is downloaded first: hf download %s --local-dir %s (with older "
        "tools huggingface-cli download), then: rsrc %s",
        input, folder, folder);
    rsrc_error(diag, "option-input", NULL, help, "there is no file or folder '%s'", input);
    return true;
}
