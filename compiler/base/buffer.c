/* buffer.c - growing byte buffer and the escapers that make untrusted text inert. */
#include "base/buffer.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

static void reserve(struct rsrc_buffer *buffer, size_t n_more) {
    size_t need;
    if (__builtin_add_overflow(buffer->size_bytes, n_more, &need) || need > SIZE_MAX / 4)
        rsrc_out_of_memory(n_more);
    need++;
    if (need <= buffer->capacity)
        return;
    size_t capacity = buffer->capacity < 256 ? 256 : buffer->capacity;
    while (capacity < need)
        capacity *= 2;
    char *data = realloc(buffer->data, capacity);
    if (data == NULL)
        rsrc_out_of_memory(capacity);
    buffer->data = data;
    buffer->capacity = capacity;
}

void rsrc_buffer_free(struct rsrc_buffer *buffer) {
    free(buffer->data);
    *buffer = (struct rsrc_buffer){0};
}

void rsrc_buffer_clear(struct rsrc_buffer *buffer) {
    buffer->size_bytes = 0;
    if (buffer->data != NULL)
        buffer->data[0] = '\0';
}

void rsrc_buffer_append(struct rsrc_buffer *buffer, const void *bytes, size_t n_bytes) {
    reserve(buffer, n_bytes);
    if (n_bytes != 0)
        memcpy(buffer->data + buffer->size_bytes, bytes, n_bytes);
    buffer->size_bytes += n_bytes;
    buffer->data[buffer->size_bytes] = '\0';
}

void rsrc_buffer_puts(struct rsrc_buffer *buffer, const char *text) {
    rsrc_buffer_append(buffer, text, strlen(text));
}

void rsrc_buffer_printf(struct rsrc_buffer *buffer, const char *format, ...) {
    va_list args;
    va_start(args, format);
    char *text = NULL;
    const int n = vasprintf(&text, format, args);
    if (n < 0)
        rsrc_out_of_memory(strlen(format));
    va_end(args);
    rsrc_buffer_append(buffer, text, (size_t)n);
    free(text);
}

static bool is_printable(unsigned char c) {
    return c >= 0x20 && c < 0x7f;
}

/* Octal escapes of three digits cannot swallow the next character; hexadecimal escapes could. `?`
 * is escaped because of trigraphs. */
void rsrc_buffer_put_c_string(struct rsrc_buffer *buffer, const char *text) {
    rsrc_buffer_puts(buffer, "\"");
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
        if (*p == '"' || *p == '\\')
            rsrc_buffer_printf(buffer, "\\%c", *p);
        else if (is_printable(*p) && *p != '?')
            rsrc_buffer_append(buffer, p, 1);
        else
            rsrc_buffer_printf(buffer, "\\%03o", *p);
    }
    rsrc_buffer_puts(buffer, "\"");
}

/* The text must not contain the end or the start of a comment, or a line splice. */
void rsrc_buffer_put_comment(struct rsrc_buffer *buffer, const char *text) {
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
        const bool opens_or_closes = (*p == '*' && p[1] == '/') || (*p == '/' && p[1] == '*');
        if (is_printable(*p) && *p != '\\' && *p != '?' && !opens_or_closes)
            rsrc_buffer_append(buffer, p, 1);
        else
            rsrc_buffer_printf(buffer, "<%02x>", *p);
    }
}

/* Number of bytes of the character at `p` if it is valid UTF-8, not ASCII and not a C1 control;
 * else 0. */
static size_t utf8_length(const unsigned char *p) {
    if (*p < 0xc2 || *p > 0xf4)
        return 0;
    /* The second byte tells overlong forms, surrogates, C1 controls and characters above
     * U+10FFFF. */
    const unsigned char least = *p == 0xc2 || *p == 0xe0 ? 0xa0 : *p == 0xf0 ? 0x90 : 0x80;
    const unsigned char most = *p == 0xed ? 0x9f : *p == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < least || p[1] > most)
        return 0;
    const size_t n = *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4;
    for (size_t i = 2; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

/* Bytes that are not UTF-8 become U+FFFD. */
void rsrc_buffer_put_json(struct rsrc_buffer *buffer, const char *text) {
    rsrc_buffer_puts(buffer, "\"");
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
        const size_t n = utf8_length(p);
        if (n != 0) {
            rsrc_buffer_append(buffer, p, n);
            p += n - 1;
        } else if (*p == '"' || *p == '\\') {
            rsrc_buffer_printf(buffer, "\\%c", *p);
        } else if (is_printable(*p)) {
            rsrc_buffer_append(buffer, p, 1);
        } else if (*p < 0x80) {
            rsrc_buffer_printf(buffer, "\\u%04x", *p);
        } else {
            rsrc_buffer_puts(buffer, "\\ufffd");
        }
    }
    rsrc_buffer_puts(buffer, "\"");
}

void rsrc_buffer_put_terminal(struct rsrc_buffer *buffer, const char *text) {
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
        const size_t n = is_printable(*p) ? 1 : utf8_length(p);
        if (n != 0) {
            rsrc_buffer_append(buffer, p, n);
            p += n - 1;
        } else {
            rsrc_buffer_printf(buffer, "\\x%02x", *p);
        }
    }
}

void rsrc_buffer_put_size(struct rsrc_buffer *buffer, uint64_t bytes) {
    static const char *const UNITS[] = {"KB", "MB", "GB", "TB"};
    if (bytes < 1000) {
        rsrc_buffer_printf(buffer, "%" PRIu64 " bytes", bytes);
        return;
    }
    double value = (double)bytes / 1e3;
    uint32_t unit = 0;
    while (value >= 1e3 && unit + 1 < sizeof(UNITS) / sizeof(UNITS[0])) {
        value /= 1e3;
        unit++;
    }
    rsrc_buffer_printf(buffer, "%.*f %s", value < 10 ? 2 : value < 100 ? 1 : 0, value, UNITS[unit]);
}
