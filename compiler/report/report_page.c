/* report_page.c - puts JSON into the page that draws it. */
#include "report/report_page.h"

#include <assert.h>
#include <string.h>

/* Escapes characters that could end the script element of the JSON or begin another; they occur
 * only in strings. It also escapes U+2028 and U+2029, which end lines in older scripts. */
static const struct {
    const char *text, *escape;
} UNSAFE[] = {{"<", "\\u003c"},
              {">", "\\u003e"},
              {"&", "\\u0026"},
              {"\xe2\x80\xa8", "\\u2028"},
              {"\xe2\x80\xa9", "\\u2029"}};
#define N_UNSAFE (sizeof(UNSAFE) / sizeof(UNSAFE[0]))

static void put_inert(const char *json, struct rsrc_buffer *out) {
    const char *at = json;
    while (*at != '\0') {
        const size_t n = strcspn(at, "<>&\xe2");
        rsrc_buffer_append(out, at, n);
        at += n;
        size_t i = 0;
        while (i < N_UNSAFE && strncmp(at, UNSAFE[i].text, strlen(UNSAFE[i].text)) != 0)
            i++;
        if (i < N_UNSAFE) {
            rsrc_buffer_puts(out, UNSAFE[i].escape);
            at += strlen(UNSAFE[i].text);
        } else if (*at != '\0') {
            rsrc_buffer_append(out, at++, 1);
        }
    }
}

void rsrc_put_page(const char *json, struct rsrc_buffer *out) {
    static const char PLACE[] = "@data@";
    const char *place = strstr(rsrc_page[0].text, PLACE);
    assert(place != NULL);
    rsrc_buffer_append(out, rsrc_page[0].text, (size_t)(place - rsrc_page[0].text));
    put_inert(json, out);
    rsrc_buffer_puts(out, place + strlen(PLACE));
}
