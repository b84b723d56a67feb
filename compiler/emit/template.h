/* template.h - fixed emitted text, embedded at build time from emit/c/template/ and the ABI
 * headers. */
#ifndef RSRC_EMIT_TEMPLATE_H
#define RSRC_EMIT_TEMPLATE_H

#include "base/embedded.h"

extern const struct rsrc_template rsrc_templates[];

/* The text of a template that is known to exist. */
const char *rsrc_template_text(const char *name);

#endif
