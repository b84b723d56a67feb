/* json_members.h - writes JSON member by member: what --info=json and --report=json share. */
#ifndef RSRC_REPORT_JSON_MEMBERS_H
#define RSRC_REPORT_JSON_MEMBERS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"

/* Prints a name, with a comma before all but the first member of an object. */
void rsrc_put_key(struct rsrc_buffer *out, const char *key);
/* Prints "{", with a comma and a new line before all but the first element of an array. */
void rsrc_put_object(struct rsrc_buffer *out);
void rsrc_put_text(struct rsrc_buffer *out, const char *key, const char *value); /* NULL: null */
void rsrc_put_count(struct rsrc_buffer *out, const char *key, uint64_t value);
void rsrc_put_real(struct rsrc_buffer *out, const char *key, double value);
void rsrc_put_bool(struct rsrc_buffer *out, const char *key, bool value);

#endif
