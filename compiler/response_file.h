/* response_file.h - @file arguments: a file's words in place of its name.
 *
 * Words are separated by white space. Quotes, single or double, keep white space; a backslash keeps
 * the next character, in quotes too. These are the rules of gcc and clang. A file may name further
 * files; after "--" an argument that begins with @ is a file's name like any other.
 */
#ifndef RSRC_RESPONSE_FILE_H
#define RSRC_RESPONSE_FILE_H

#include "base/arena.h"
#include "diag.h"

struct rsrc_arguments {
    const char **args;
    uint32_t n, capacity;
    const char **files; /* files of the words */
    uint32_t n_files;
};

void rsrc_add_argument(struct rsrc_arena *arena, const char *arg, struct rsrc_arguments *out);

/* Replaces each @file by its words. A mistake is reported with slug "response-file", an unreadable
 * file with "file-unreadable". */
RSRC_NODISCARD enum rsrc_status rsrc_expand_arguments(struct rsrc_diag *diag,
                                                      struct rsrc_arena *arena,
                                                      struct rsrc_arguments *arguments);

/* Splits one text into words, without expanding nested files; the text need not end in a NUL. For
 * tests. */
RSRC_NODISCARD enum rsrc_status rsrc_split_words(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                 const char *file, const char *text,
                                                 uint64_t size_bytes, struct rsrc_arguments *out);

#endif
