/* gguf_split.c - the parts of a model that llama-gguf-split or a converter has cut into files.
 *
 * Every part is a whole GGUF file with tensors of its own and says in split.no (from 0) and
 * split.count which one it is; split.tensors.count is the total of all parts. The first has the
 * metadata of the model, and may have no tensor.
 */
#include "reader/gguf_split.h"

#include <stdio.h>
#include <string.h>

#include "reader/gguf_keys.h"
#include "reader/reader.h"

#define MAX_TENSORS (UINT32_C(1) << 18)
#define SUFFIX ".gguf"
#define DIGITS 5u
#define MIDDLE "-of-"
#define TAIL_BYTES (1 + DIGITS + sizeof(MIDDLE) - 1 + DIGITS + sizeof(SUFFIX) - 1)

static bool read_digits(const char *text, uint32_t *out) {
    *out = 0;
    for (uint32_t i = 0; i < DIGITS; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        *out = 10 * *out + (uint32_t)(text[i] - '0');
    }
    return true;
}

bool rsrc_gguf_part_of_name(const char *path, uint32_t *number, uint32_t *n_parts, size_t *n_stem) {
    const size_t n = strlen(path);
    if (n <= TAIL_BYTES)
        return false;
    const char *tail = path + n - TAIL_BYTES;
    const char *middle = tail + 1 + DIGITS, *total = middle + strlen(MIDDLE);
    *n_stem = n - TAIL_BYTES;
    return tail[0] == '-' && read_digits(tail + 1, number) &&
           strncmp(middle, MIDDLE, strlen(MIDDLE)) == 0 && read_digits(total, n_parts) &&
           strcmp(total + DIGITS, SUFFIX) == 0 && *number >= 1 && *number <= *n_parts;
}

static enum rsrc_status refuse(struct rsrc_diag *diag, const char *file,
                               const struct rsrc_gguf_value *value, const char *help,
                               const char *problem) {
    const struct rsrc_place place = {
        .file = file, .has_offset = value != NULL, .offset = value == NULL ? 0 : value->offset};
    return rsrc_refuse(diag, "gguf-split", &place, help, "%s", problem);
}

/* Checks that a number is `wanted`, or absent if there is one part. */
static bool says(const struct rsrc_gguf *gguf, const char *key, double wanted, bool may_miss,
                 const struct rsrc_gguf_value **value) {
    double number;
    *value = rsrc_gguf_find(gguf, key);
    return *value == NULL ? may_miss : rsrc_gguf_number(*value, &number) && number == wanted;
}

static enum rsrc_status check_part(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                   const char *file, const struct rsrc_gguf *gguf, uint32_t index,
                                   uint32_t n_parts) {
    const struct rsrc_gguf_value *value;
    if (!says(gguf, "split.count", n_parts, n_parts == 1, &value))
        return refuse(
            diag, file, value,
            n_parts == 1 ? "keep the names of the parts, NAME-00001-of-0000N.gguf, and give the "
                           "first one"
                         : "the parts may be of different models",
            n_parts == 1
                ? "this is one part of a model in several files"
                : rsrc_arena_printf(arena, "\"split.count\" is not the %u of its name", n_parts));
    if (!says(gguf, "split.no", index, n_parts == 1, &value))
        return refuse(
            diag, file, value, "a file may have been renamed",
            rsrc_arena_printf(arena, "\"split.no\" is not the %u that its name says", index));
    return RSRC_OK;
}

/* Refuses metadata of the model in later parts, because they would be ignored. */
static enum rsrc_status check_part_keys(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                        const char *file, const struct rsrc_gguf *first,
                                        const struct rsrc_gguf *part) {
    for (uint32_t i = 0; i < part->n_values; i++) {
        const struct rsrc_gguf_value *value = &part->values[i];
        if (!rsrc_gguf_is_known_key(value->key) && rsrc_gguf_find(first, value->key) == NULL)
            return refuse(diag, file, value, rsrc_gguf_help_for_key(value->key),
                          rsrc_arena_printf(arena,
                                            "the key '%s' is not understood, and the first file "
                                            "lacks it",
                                            rsrc_quote(arena, value->key)));
    }
    return RSRC_OK;
}

enum rsrc_status rsrc_read_gguf_parts(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                      const struct rsrc_gguf_part *parts, uint32_t n_parts,
                                      struct rsrc_gguf *out) {
    struct rsrc_gguf *read = RSRC_NEW_ARRAY(arena, n_parts, struct rsrc_gguf);
    uint64_t n_tensors = 0;
    for (uint32_t i = 0; i < n_parts; i++) {
        if (rsrc_read_gguf(diag, arena, parts[i].file, parts[i].bytes, parts[i].size_bytes,
                           &read[i]) != RSRC_OK ||
            check_part(diag, arena, parts[i].file, &read[i], i, n_parts) != RSRC_OK ||
            (i != 0 && check_part_keys(diag, arena, parts[i].file, &read[0], &read[i]) != RSRC_OK))
            return RSRC_FAILED;
        n_tensors += read[i].n_tensors;
    }
    const struct rsrc_gguf_value *value;
    if (!says(&read[0], "split.tensors.count", (double)n_tensors, n_parts == 1, &value))
        return refuse(diag, parts[0].file, value, "the parts may be of different models",
                      rsrc_arena_printf(arena,
                                        "\"split.tensors.count\" is not the %llu of all parts",
                                        (unsigned long long)n_tensors));
    if (n_tensors == 0 || n_tensors > MAX_TENSORS)
        return refuse(diag, parts[0].file, NULL, NULL,
                      "all parts together have no tensors, or more than 262144");
    *out = read[0];
    if (n_parts == 1)
        return RSRC_OK;
    out->n_tensors = 0;
    out->tensors = RSRC_NEW_ARRAY(arena, n_tensors, struct rsr_tensor);
    for (uint32_t i = 0; i < n_parts; i++) {
        if (read[i].n_tensors != 0)
            memcpy(out->tensors + out->n_tensors, read[i].tensors,
                   read[i].n_tensors * sizeof(*out->tensors));
        out->n_tensors += read[i].n_tensors;
    }
    return RSRC_OK;
}
