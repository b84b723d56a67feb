/* report_page.h - a page that draws JSON: one file of HTML with its styles, scripts and numbers,
 * which loads nothing. The sources are in report/page/; page.cmake puts them together. */
#ifndef RSRC_REPORT_REPORT_PAGE_H
#define RSRC_REPORT_REPORT_PAGE_H

#include "base/buffer.h"
#include "base/embedded.h"

/* The page without its JSON; one row. */
extern const struct rsrc_template rsrc_page[];

/* The page for the JSON of rsrc_report_json(), or of a comparison: {"compare":[...]}. */
void rsrc_put_page(const char *json, struct rsrc_buffer *out);

#endif
