/* template.c - looks up fixed emitted text by file name. */
#include "emit/template.h"

#include <assert.h>
#include <string.h>

const char *rsrc_template_text(const char *name) {
    const struct rsrc_template *template = rsrc_templates;
    while (template->name != NULL && strcmp(template->name, name) != 0)
        template ++;
    assert(template->name != NULL);
    return template->text;
}
