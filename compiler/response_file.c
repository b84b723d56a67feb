/* response_file.c - splits response files into words and puts them in the place of @file. */
#include "response_file.h"

#include <string.h>

#include "base/buffer.h"
#include "base/mapped_file.h"

/* Limits of nesting and of total size: more than any build writes, and so small that a file which
 * names itself twice is refused at once. */
#define MAX_DEPTH 16u
#define MAX_FILES 1024u
#define MAX_ARGUMENTS (1u << 16)
#define MAX_BYTES (UINT64_C(16) << 20)

struct expansion {
    struct rsrc_diag *diag;
    struct rsrc_arena *arena;
    struct rsrc_arguments *out;
    uint32_t n_files;
    uint64_t n_bytes;
    bool only_files; /* after "--" */
};

static enum rsrc_status fail(struct rsrc_diag *diag, const char *file, uint32_t line,
                             const char *why) {
    const struct rsrc_place place = {.file = file, .line = line};
    rsrc_error(diag, "response-file", &place, NULL, "%s", why);
    return RSRC_FAILED;
}

void rsrc_add_argument(struct rsrc_arena *arena, const char *arg, struct rsrc_arguments *out) {
    out->args = rsrc_arena_grown(arena, out->args, out->n, &out->capacity, sizeof(*out->args));
    out->args[out->n++] = arg;
}

static enum rsrc_status add_checked(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                    const char *file, const char *arg, struct rsrc_arguments *out) {
    if (out->n == MAX_ARGUMENTS)
        return fail(diag, file, 0, "there are more than 65536 arguments");
    rsrc_add_argument(arena, arg, out);
    return RSRC_OK;
}

/* ---- words ----------------------------------------------------------------------------------- */

static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Reads one word; *at is not at a space. */
static enum rsrc_status read_word(struct rsrc_diag *diag, const char *file, uint32_t *line,
                                  const char **at, const char *end, struct rsrc_buffer *word) {
    char quote = '\0';
    const uint32_t first_line = *line;
    const char *c = *at;
    for (; c < end && (quote != '\0' || !is_space(*c)); c++) {
        *line += *c == '\n';
        if (*c == '\0')
            return fail(diag, file, *line, "holds a NUL byte: this is not a text file");
        if (*c == '\\' && c + 1 < end && c[1] != '\0') {
            c++;
            *line += *c == '\n';
        } else if (quote != '\0' ? *c == quote : *c == '\'' || *c == '"') {
            quote = quote != '\0' ? '\0' : *c;
            continue;
        }
        rsrc_buffer_append(word, c, 1);
    }
    *at = c;
    return quote == '\0' ? RSRC_OK : fail(diag, file, first_line, "a quote is not closed");
}

enum rsrc_status rsrc_split_words(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                  const char *file, const char *text, uint64_t size_bytes,
                                  struct rsrc_arguments *out) {
    if (size_bytes == 0)
        return RSRC_OK;
    const char *at = text, *const end = text + size_bytes;
    uint32_t line = 1;
    struct rsrc_buffer word = {0};
    enum rsrc_status status = RSRC_OK;
    while (status == RSRC_OK) {
        for (; at < end && is_space(*at); at++)
            line += *at == '\n';
        if (at == end)
            break;
        rsrc_buffer_clear(&word);
        status = read_word(diag, file, &line, &at, end, &word);
        if (status == RSRC_OK)
            status = add_checked(
                diag, arena, file,
                rsrc_arena_strndup(arena, word.data != NULL ? word.data : "", word.size_bytes),
                out);
    }
    rsrc_buffer_free(&word);
    return status;
}

/* ---- files ----------------------------------------------------------------------------------- */

static enum rsrc_status expand(struct expansion *e, const char *file, const char *arg,
                               uint32_t depth);

static enum rsrc_status expand_file(struct expansion *e, const char *path, uint32_t depth) {
    if (depth > MAX_DEPTH)
        return fail(e->diag, path, 0, "response files name one another more than 16 deep");
    if (++e->n_files > MAX_FILES)
        return fail(e->diag, path, 0, "more than 1024 response files are named");
    struct rsrc_mapping mapping;
    if (rsrc_map_file(e->diag, e->arena, path, &mapping) != RSRC_OK)
        return RSRC_FAILED;
    e->out->files[e->out->n_files++] = mapping.path;
    struct rsrc_arguments words = {0};
    e->n_bytes += mapping.size_bytes;
    enum rsrc_status status =
        e->n_bytes > MAX_BYTES
            ? fail(e->diag, path, 0, "response files hold more than 16 MiB together")
            : rsrc_split_words(e->diag, e->arena, path, (const char *)mapping.data,
                               mapping.size_bytes, &words);
    rsrc_unmap_file(&mapping);
    for (uint32_t i = 0; i < words.n && status == RSRC_OK; i++)
        status = expand(e, path, words.args[i], depth);
    return status;
}

static enum rsrc_status expand(struct expansion *e, const char *file, const char *arg,
                               uint32_t depth) {
    e->only_files |= strcmp(arg, "--") == 0;
    if (arg[0] == '@' && arg[1] != '\0' && !e->only_files)
        return expand_file(e, arg + 1, depth + 1);
    return add_checked(e->diag, e->arena, file, arg, e->out);
}

enum rsrc_status rsrc_expand_arguments(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                       struct rsrc_arguments *arguments) {
    struct rsrc_arguments found = {.files = RSRC_NEW_ARRAY(arena, MAX_FILES, const char *)};
    struct expansion e = {.diag = diag, .arena = arena, .out = &found};
    for (uint32_t i = 0; i < arguments->n; i++)
        if (expand(&e, NULL, arguments->args[i], 0) != RSRC_OK)
            return RSRC_FAILED;
    *arguments = found;
    return RSRC_OK;
}
