/* hf_document.c - see hf_document.h. */
#include "reader/hf_document.h"

#include <stdarg.h>
#include <stdio.h>

void rsrc_hf_refuse(struct rsrc_hf_document *doc, const char *slug, const char *help,
                    const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    struct rsrc_place place = {.file = doc->file};
    rsrc_error(doc->diag, slug, &place, help, "%s", text);
    doc->failed = true;
}

json_t *rsrc_hf_field(const json_t *object, const char *key) {
    json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

uint32_t rsrc_hf_count(struct rsrc_hf_document *doc, const json_t *object, const char *key,
                       uint32_t max, uint32_t fallback) {
    uint32_t value = fallback;
    if (rsrc_json_u32(doc->diag, doc->file, RSRC_CONFIG_SLUG, object, key, 1, max, fallback,
                      &value) != RSRC_OK)
        doc->failed = true;
    return value;
}

double rsrc_hf_number(struct rsrc_hf_document *doc, const json_t *object, const char *key,
                      double fallback) {
    double value = fallback;
    if (rsrc_json_double(doc->diag, doc->file, RSRC_CONFIG_SLUG, object, key, fallback, &value) !=
        RSRC_OK)
        doc->failed = true;
    return value;
}

const char *rsrc_hf_string(struct rsrc_hf_document *doc, const json_t *object, const char *key,
                           const char *fallback) {
    const char *value = NULL;
    if (rsrc_json_string(doc->diag, doc->file, RSRC_CONFIG_SLUG, object, key, &value) != RSRC_OK)
        doc->failed = true;
    return value == NULL ? fallback : value;
}

bool rsrc_hf_flag(struct rsrc_hf_document *doc, const json_t *object, const char *key,
                  bool fallback) {
    bool value = fallback;
    if (rsrc_json_bool(doc->diag, doc->file, RSRC_CONFIG_SLUG, object, key, fallback, &value) !=
        RSRC_OK)
        doc->failed = true;
    return value;
}

json_t *rsrc_hf_parse(struct rsrc_diag *diag, const char *file, const uint8_t *bytes,
                      uint64_t size_bytes) {
    json_t *root;
    if (rsrc_json_parse(diag, file, bytes, size_bytes, RSRC_CONFIG_SLUG, &root) != RSRC_OK)
        return NULL;
    if (json_is_object(root))
        return root;
    struct rsrc_place place = {.file = file, .line = 1, .column = 1};
    rsrc_error(diag, "config-field", &place, NULL, "the file holds %s where an object is expected",
               rsrc_json_type_name(root));
    json_decref(root);
    return NULL;
}
