/* gguf_keys.h - known metadata of a GGUF file, besides those of its architecture. */
#ifndef RSRC_READER_GGUF_KEYS_H
#define RSRC_READER_GGUF_KEYS_H

#include <stdbool.h>

/* Whether the key only describes the file, or is handled by the readers of tokenizer.* and
 * split.*. */
bool rsrc_gguf_is_known_key(const char *key);

/* Advice for a user about an unknown key. */
const char *rsrc_gguf_help_for_key(const char *key);

#endif
