/* page.h - the page of "/", which the build makes from page/ and the drawings of the compiler's
 * report. */
#ifndef RSR_SERVE_PAGE_H
#define RSR_SERVE_PAGE_H

#include <stddef.h>

struct serve_page_file {
    const char *name;
    const char *text; /* NUL-terminated */
    size_t size_bytes;
};

/* The page, and its Content-Security-Policy. */
enum { SERVE_PAGE_HTML, SERVE_PAGE_POLICY };
extern const struct serve_page_file serve_page_files[];

#endif
