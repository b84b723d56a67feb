/* quote.c - untrusted text inside a message: one line, bounded length. Diagnostics escape control
 * bytes but keep line ends, with which a hostile name could fake a message of its own. */
#include <string.h>

#include "reader/reader.h"

#define MAX_QUOTED_BYTES 80

const char *rsrc_quote(struct rsrc_arena *arena, const char *text) {
    char *out = rsrc_arena_alloc(arena, 4 * MAX_QUOTED_BYTES + sizeof("..."));
    size_t n = 0, i = 0;
    for (; text[i] != '\0' && i < MAX_QUOTED_BYTES; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == 0x7f) {
            static const char hex[] = "0123456789abcdef";
            out[n++] = '\\';
            out[n++] = 'x';
            out[n++] = hex[c >> 4];
            out[n++] = hex[c & 15];
        } else {
            out[n++] = (char)c;
        }
    }
    if (text[i] != '\0') {
        memcpy(out + n, "...", sizeof("..."));
    }
    return out;
}
