/* embedded.h - a file that the build has embedded into the program: embed.cmake writes tables of
 * such files. */
#ifndef RSRC_BASE_EMBEDDED_H
#define RSRC_BASE_EMBEDDED_H

#include <stddef.h>

struct rsrc_template {
    const char *name; /* file name; NULL ends the table */
    const char *text; /* NUL-terminated */
    size_t size_bytes;
};

#endif
