/* log.c - see log.h. A line is one write, so that lines of several threads do not mix. */
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "log.h"

static char prefix[32] = "rsr-serve: ";

void serve_log_rank(unsigned rank) {
    snprintf(prefix, sizeof(prefix), "rsr-serve: rank %u: ", rank);
}

_Bool serve_log(const char *format, ...) {
    char message[1200], line[4 * sizeof(message) + sizeof(prefix)];
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    size_t n = (size_t)snprintf(line, sizeof(line), "%s", prefix);
    for (int i = 0; i < length && message[i] != '\0'; i++) {
        const unsigned char c = (unsigned char)message[i];
        const _Bool is_inert = c >= 0x20 && c != 0x7f;
        n += (size_t)snprintf(line + n, sizeof(line) - n, is_inert ? "%c" : "\\x%02x", c);
    }
    line[n++] = '\n';
    const ssize_t written = write(STDERR_FILENO, line, n);
    (void)written;
    return 0;
}
