/* json_members.c - members of JSON objects, with the commas between them. */
#include "report/json_members.h"

#include <inttypes.h>

void rsrc_put_key(struct rsrc_buffer *out, const char *key) {
    const char last = out->data[out->size_bytes - 1];
    rsrc_buffer_printf(out, "%s\"%s\":", last == '{' ? "" : ",", key);
}

void rsrc_put_object(struct rsrc_buffer *out) {
    const char last = out->data[out->size_bytes - 1];
    rsrc_buffer_puts(out, last == '}' ? ",\n{" : "{");
}

void rsrc_put_text(struct rsrc_buffer *out, const char *key, const char *value) {
    rsrc_put_key(out, key);
    if (value == NULL)
        rsrc_buffer_puts(out, "null");
    else
        rsrc_buffer_put_json(out, value);
}

void rsrc_put_count(struct rsrc_buffer *out, const char *key, uint64_t value) {
    rsrc_put_key(out, key);
    rsrc_buffer_printf(out, "%" PRIu64, value);
}

void rsrc_put_real(struct rsrc_buffer *out, const char *key, double value) {
    rsrc_put_key(out, key);
    rsrc_buffer_printf(out, "%.9g", value);
}

void rsrc_put_bool(struct rsrc_buffer *out, const char *key, bool value) {
    rsrc_put_key(out, key);
    rsrc_buffer_puts(out, value ? "true" : "false");
}
