/* json.h - reads untrusted JSON with jansson: bounded depth, places in diagnostics, typed access.
 *
 * A document remembers its file, so that every diagnostic names the file. Numbers are range-checked
 * where they are read. Duplicate keys, depth above 64 and documents that would take far more memory
 * than their text are refused before anything is allocated for them.
 */
#ifndef RSRC_BASE_JSON_H
#define RSRC_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "diag.h"

#define RSRC_JSON_MAX_DEPTH 64

/* Parses exactly size_bytes bytes; the top level is an object or an array. Integers that no int64_t
 * holds are read as reals. `slug` prefixes the
 * diagnostics: "<slug>-syntax", "<slug>-depth", "<slug>-too-large", "<slug>-duplicate". The caller
 * owns the reference (json_decref). */
RSRC_NODISCARD enum rsrc_status rsrc_json_parse(struct rsrc_diag *diag, const char *file,
                                                const void *bytes, uint64_t size_bytes,
                                                const char *slug, json_t **out);

/* Parses JSON that begins at byte file_offset of a binary file, otherwise like rsrc_json_parse():
 * places are offsets, and integers that are too big are refused. */
RSRC_NODISCARD enum rsrc_status rsrc_json_parse_embedded(struct rsrc_diag *diag, const char *file,
                                                         uint64_t file_offset, const void *bytes,
                                                         uint64_t size_bytes, const char *slug,
                                                         json_t **out);

/* Field readers: a missing or null field gives the fallback; a field of the wrong type or out of
 * range is a diagnostic naming file and key, with slug "<slug>-field". */
RSRC_NODISCARD enum rsrc_status rsrc_json_u32(struct rsrc_diag *diag, const char *file,
                                              const char *slug, const json_t *object,
                                              const char *key, uint32_t min, uint32_t max,
                                              uint32_t fallback, uint32_t *out);
RSRC_NODISCARD enum rsrc_status rsrc_json_double(struct rsrc_diag *diag, const char *file,
                                                 const char *slug, const json_t *object,
                                                 const char *key, double fallback, double *out);
RSRC_NODISCARD enum rsrc_status rsrc_json_bool(struct rsrc_diag *diag, const char *file,
                                               const char *slug, const json_t *object,
                                               const char *key, bool fallback, bool *out);
/* NULL where missing or null. Borrows from the document. */
RSRC_NODISCARD enum rsrc_status rsrc_json_string(struct rsrc_diag *diag, const char *file,
                                                 const char *slug, const json_t *object,
                                                 const char *key, const char **out);

/* "an object", "a string", "null": for messages; value may be NULL ("missing"). */
const char *rsrc_json_type_name(const json_t *value);

#endif
