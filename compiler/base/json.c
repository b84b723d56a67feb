/* json.c - a front end to jansson with bounds.
 *
 * jansson parses recursively and allocates for every value, so a cheap scan of the text comes
 * first: it bounds nesting (stack) and the number of values (heap). A document that passes the scan
 * takes at most a few dozen bytes of memory per byte of text, and at most a fixed amount in all.
 */
#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The largest tokenizers in use have 260,000 tokens and 580,000 merges written as pairs: about 0.6
 * million containers and 2.3 million values. */
#define MAX_CONTAINERS (UINT64_C(1) << 21)
#define MAX_VALUES (UINT64_C(1) << 23)

/* An empty object takes 250 bytes of heap for 3 bytes of text. Real files have at least 10 bytes of
 * text for every container. The limit does not apply to small files. */
#define FREE_CONTAINERS 4096
#define MIN_TEXT_BYTES_PER_CONTAINER 8

#define SLUG_BYTES 64

/* Where the document lies, for diagnostics. */
struct document {
    struct rsrc_diag *diag;
    const char *file;
    const char *slug;
    bool embedded;
    uint64_t file_offset; /* offset of the text in its file, if embedded */
};

struct scan {
    uint64_t n_containers;
    uint64_t n_values;
    uint32_t line, column; /* line where the scan stopped, 1-based */
    uint64_t position;
    bool too_deep;
};

static void make_slug(char out[SLUG_BYTES], const char *prefix, const char *what) {
    snprintf(out, SLUG_BYTES, "%s-%s", prefix, what);
}

static struct rsrc_place place_at(const struct document *document, uint32_t line, uint32_t column,
                                  uint64_t position) {
    struct rsrc_place place = {.file = document->file};
    if (document->embedded) {
        place.has_offset = true;
        place.offset = document->file_offset + position;
    } else {
        place.line = line;
        place.column = column;
    }
    return place;
}

/* Counts structure outside strings; malformed text is left to the parser. */
static void scan_text(const char *text, uint64_t size_bytes, struct scan *scan) {
    uint64_t depth = 0, line_start = 0;
    bool in_string = false;
    *scan = (struct scan){.line = 1, .n_values = 1};
    for (uint64_t i = 0; i < size_bytes && !scan->too_deep; i++) {
        char c = text[i];
        scan->position = i;
        if (c == '\n') {
            scan->line += scan->line < UINT32_MAX;
            line_start = i + 1;
        } else if (in_string) {
            if (c == '\\') {
                i++;
            } else if (c == '"') {
                in_string = false;
            }
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            scan->n_containers++;
            depth++;
            scan->too_deep = depth > RSRC_JSON_MAX_DEPTH;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        } else if (c == ',') {
            scan->n_values++;
        }
    }
    uint64_t column = scan->position - line_start + 1;
    scan->column = column < UINT32_MAX ? (uint32_t)column : UINT32_MAX;
}

static enum rsrc_status check_bounds(const struct document *document, const char *text,
                                     uint64_t size_bytes) {
    struct scan scan;
    char slug[SLUG_BYTES];
    scan_text(text, size_bytes, &scan);
    if (scan.too_deep) {
        struct rsrc_place place = place_at(document, scan.line, scan.column, scan.position);
        make_slug(slug, document->slug, "depth");
        return rsrc_refuse(document->diag, slug, &place,
                           "no valid file of this kind nests that deep",
                           "JSON nested deeper than %d levels", RSRC_JSON_MAX_DEPTH);
    }
    uint64_t allowed = FREE_CONTAINERS + size_bytes / MIN_TEXT_BYTES_PER_CONTAINER;
    if (allowed > MAX_CONTAINERS) {
        allowed = MAX_CONTAINERS;
    }
    if (scan.n_containers > allowed || scan.n_values > MAX_VALUES) {
        struct rsrc_place place = {.file = document->file};
        make_slug(slug, document->slug, "too-large");
        return rsrc_refuse(
            document->diag, slug, &place, "no valid file of this kind is built like that",
            "JSON with %llu arrays and objects and %llu values is too large to read",
            (unsigned long long)scan.n_containers, (unsigned long long)scan.n_values);
    }
    return RSRC_OK;
}

/* ---- integers that no machine type holds ----------------------------------------------------- */

static bool is_number_char(char c) {
    return (c >= '0' && c <= '9') || (c != '\0' && strchr("+-.eE", c) != NULL);
}

/* Whether the n characters are decimal digits of a number that no int64_t holds. */
static bool is_big(const char *digits, uint64_t n) {
    static const char largest[] = "9223372036854775807";
    const uint64_t n_largest = sizeof(largest) - 1;
    for (uint64_t i = 0; i < n; i++) {
        if (digits[i] < '0' || digits[i] > '9') {
            return false;
        }
    }
    return n > n_largest || (n == n_largest && memcmp(digits, largest, n) > 0);
}

/* The end of the string or number that begins at `at`, or the next character. */
static uint64_t skip_token(const char *text, uint64_t size_bytes, uint64_t at) {
    uint64_t end = at + 1;
    if (text[at] == '"') {
        while (end < size_bytes && text[end] != '"') {
            end += text[end] == '\\' ? 2 : 1;
        }
        return end < size_bytes ? end + 1 : size_bytes;
    }
    while (is_number_char(text[at]) && end < size_bytes && is_number_char(text[end])) {
        end++;
    }
    return end;
}

/* Turns integers that are too big into reals, in place: the last two digits become "e2". Python has
 * no largest integer, and transformers writes int(1e30) for "no maximum". */
static void shorten_integers(char *text, uint64_t size_bytes) {
    for (uint64_t at = 0, end; at < size_bytes; at = end) {
        end = skip_token(text, size_bytes, at);
        const uint64_t digits = text[at] == '-' ? at + 1 : at;
        if (is_big(text + digits, end - digits)) {
            memcpy(text + end - 2, "e2", 2);
        }
    }
}

/* NULL: the text is malformed, or has a number that is too big even for a double. */
static json_t *load_with_big_integers(const char *text, uint64_t size_bytes, json_error_t *error) {
    char *copy = malloc((size_t)size_bytes);
    if (copy == NULL) {
        return NULL;
    }
    memcpy(copy, text, (size_t)size_bytes);
    shorten_integers(copy, size_bytes);
    json_t *root = json_loadb(copy, (size_t)size_bytes, JSON_REJECT_DUPLICATES, error);
    free(copy);
    return root;
}

/* ---- documents ------------------------------------------------------------------------------- */

static enum rsrc_status refuse_text(const struct document *document, const struct rsrc_place *place,
                                    const json_error_t *error) {
    const enum json_error_code code = json_error_code(error);
    const bool duplicate = code == json_error_duplicate_key;
    char slug[SLUG_BYTES];
    make_slug(slug, document->slug, duplicate ? "duplicate" : "syntax");
    if (code == json_error_null_character || code == json_error_null_byte_in_key) {
        rsrc_error(document->diag, slug, place, "take it out; the file is valid but for that",
                   "a NUL character, \\u0000, is not supported here");
    } else {
        rsrc_error(document->diag, slug, place,
                   duplicate ? "keep one of the two: readers disagree on which one counts"
                             : "the file may be damaged or cut short; fetch it again",
                   "not valid JSON: %s", error->text);
    }
    return RSRC_FAILED;
}

static enum rsrc_status parse_document(const struct document *document, const void *bytes,
                                       uint64_t size_bytes, json_t **out) {
    char slug[SLUG_BYTES];
    if (size_bytes == 0) {
        struct rsrc_place place = place_at(document, 1, 1, 0);
        make_slug(slug, document->slug, "syntax");
        return rsrc_refuse(document->diag, slug, &place, NULL, "empty where JSON is expected");
    }
    if (check_bounds(document, bytes, size_bytes) != RSRC_OK) {
        return RSRC_FAILED;
    }
    json_error_t error;
    json_t *root = json_loadb(bytes, (size_t)size_bytes, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL && json_error_code(&error) == json_error_numeric_overflow &&
        !document->embedded) {
        root = load_with_big_integers(bytes, size_bytes, &error);
    }
    if (root == NULL) {
        uint32_t line = error.line > 0 ? (uint32_t)error.line : 0;
        uint32_t column = error.column > 0 ? (uint32_t)error.column : 0;
        uint64_t position = error.position > 0 ? (uint64_t)error.position : 0;
        struct rsrc_place place = place_at(document, line, column, position);
        return refuse_text(document, &place, &error);
    }
    *out = root;
    return RSRC_OK;
}

enum rsrc_status rsrc_json_parse(struct rsrc_diag *diag, const char *file, const void *bytes,
                                 uint64_t size_bytes, const char *slug, json_t **out) {
    struct document document = {.diag = diag, .file = file, .slug = slug};
    return parse_document(&document, bytes, size_bytes, out);
}

enum rsrc_status rsrc_json_parse_embedded(struct rsrc_diag *diag, const char *file,
                                          uint64_t file_offset, const void *bytes,
                                          uint64_t size_bytes, const char *slug, json_t **out) {
    struct document document = {
        .diag = diag, .file = file, .slug = slug, .embedded = true, .file_offset = file_offset};
    return parse_document(&document, bytes, size_bytes, out);
}

const char *rsrc_json_type_name(const json_t *value) {
    if (value == NULL) {
        return "missing";
    }
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "a list";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a fraction";
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    case JSON_NULL:
        return "null";
    }
    return "unknown";
}

/* The field, or NULL where it counts as absent. */
static const json_t *present_field(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

static enum rsrc_status refuse_type(struct rsrc_diag *diag, const char *file, const char *slug,
                                    const char *key, const json_t *value, const char *expected) {
    char full_slug[SLUG_BYTES];
    struct rsrc_place place = {.file = file};
    make_slug(full_slug, slug, "field");
    return rsrc_refuse(diag, full_slug, &place, NULL, "\"%s\" is %s where %s is expected", key,
                       rsrc_json_type_name(value), expected);
}

enum rsrc_status rsrc_json_u32(struct rsrc_diag *diag, const char *file, const char *slug,
                               const json_t *object, const char *key, uint32_t min, uint32_t max,
                               uint32_t fallback, uint32_t *out) {
    const json_t *value = present_field(object, key);
    if (value == NULL) {
        *out = fallback;
        return RSRC_OK;
    }
    if (!json_is_integer(value)) {
        return refuse_type(diag, file, slug, key, value, "an integer");
    }
    json_int_t number = json_integer_value(value);
    if (number < (json_int_t)min || number > (json_int_t)max) {
        char full_slug[SLUG_BYTES];
        struct rsrc_place place = {.file = file};
        make_slug(full_slug, slug, "field");
        return rsrc_refuse(diag, full_slug, &place, NULL, "\"%s\" is %lld, outside %u..%u", key,
                           (long long)number, min, max);
    }
    *out = (uint32_t)number;
    return RSRC_OK;
}

enum rsrc_status rsrc_json_double(struct rsrc_diag *diag, const char *file, const char *slug,
                                  const json_t *object, const char *key, double fallback,
                                  double *out) {
    const json_t *value = present_field(object, key);
    if (value == NULL) {
        *out = fallback;
        return RSRC_OK;
    }
    if (!json_is_number(value)) {
        return refuse_type(diag, file, slug, key, value, "a number");
    }
    *out = json_number_value(value);
    return RSRC_OK;
}

enum rsrc_status rsrc_json_bool(struct rsrc_diag *diag, const char *file, const char *slug,
                                const json_t *object, const char *key, bool fallback, bool *out) {
    const json_t *value = present_field(object, key);
    if (value == NULL) {
        *out = fallback;
        return RSRC_OK;
    }
    if (!json_is_boolean(value)) {
        return refuse_type(diag, file, slug, key, value, "true or false");
    }
    *out = json_is_true(value);
    return RSRC_OK;
}

enum rsrc_status rsrc_json_string(struct rsrc_diag *diag, const char *file, const char *slug,
                                  const json_t *object, const char *key, const char **out) {
    const json_t *value = present_field(object, key);
    if (value == NULL) {
        *out = NULL;
        return RSRC_OK;
    }
    if (!json_is_string(value)) {
        return refuse_type(diag, file, slug, key, value, "a string");
    }
    *out = json_string_value(value);
    return RSRC_OK;
}
