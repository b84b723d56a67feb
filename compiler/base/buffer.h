/* buffer.h - a growing byte buffer on the heap: text being emitted, small blobs.
 *
 * Growth never fails (see arena.h). The buffer owns its bytes; data is always NUL-terminated after
 * size_bytes.
 */
#ifndef RSRC_BASE_BUFFER_H
#define RSRC_BASE_BUFFER_H

#include <stddef.h>
#include <stdint.h>

struct rsrc_buffer {
    char *data;
    size_t size_bytes;
    size_t capacity;
};

void rsrc_buffer_free(struct rsrc_buffer *buffer);
void rsrc_buffer_clear(struct rsrc_buffer *buffer);
void rsrc_buffer_append(struct rsrc_buffer *buffer, const void *bytes, size_t n_bytes);
void rsrc_buffer_puts(struct rsrc_buffer *buffer, const char *text);
void rsrc_buffer_printf(struct rsrc_buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* "16.4 KB", in powers of 1000. */
void rsrc_buffer_put_size(struct rsrc_buffer *buffer, uint64_t bytes);

/* These append untrusted text and make it inert. Each keeps ASCII letters, digits and plain
 * punctuation; those for JSON and terminals keep valid UTF-8 too. All else is escaped as the
 * language has it. */
void rsrc_buffer_put_c_string(struct rsrc_buffer *buffer, const char *text); /* "..." with quotes */
void rsrc_buffer_put_comment(struct rsrc_buffer *buffer, const char *text);  /* for C comments */
void rsrc_buffer_put_json(struct rsrc_buffer *buffer, const char *text);     /* "..." with quotes */
void rsrc_buffer_put_terminal(struct rsrc_buffer *buffer, const char *text); /* ESC etc. as \x1b */

#endif
