/* template.h - fixed emitted text, embedded at build time from emit/c/template/ and the ABI
 * headers. */
#ifndef RSRC_EMIT_TEMPLATE_H
#define RSRC_EMIT_TEMPLATE_H

#include <stddef.h>

struct rsrc_template {
    const char *name; /* file name; NULL ends the table */
    const char *text; /* NUL-terminated */
    size_t size_bytes;
};

extern const struct rsrc_template rsrc_templates[];

/* The text of a template that is known to exist. */
const char *rsrc_template_text(const char *name);

#endif
