/* gguf_keys.h - which metadata of a GGUF file, besides those of its architecture, are known. */
#ifndef RSRC_READER_GGUF_KEYS_H
#define RSRC_READER_GGUF_KEYS_H

#include <stdbool.h>

/* Either the key only describes the file or its readers look at it: they read what counts of
 * tokenizer.* and split.*. */
bool rsrc_gguf_is_known_key(const char *key);

/* What a user can do about a key that is not known. */
const char *rsrc_gguf_help_for_key(const char *key);

#endif
