/* error.c - errors as one sentence, and structs whose size tells their version. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "runtime.h"

/* Names from files may be in the message: control characters become '?', and a character that the
 * end of the buffer cut is dropped whole. */
static void clean_message(char *text, bool truncated) {
    size_t length = strlen(text);
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            text[i] = '?';
    if (!truncated)
        return;
    size_t tail = 0; /* bytes 10xxxxxx at the end */
    while (tail < 3 && tail < length && ((unsigned char)text[length - 1 - tail] & 0xc0) == 0x80)
        tail++;
    if (tail < length && (unsigned char)text[length - 1 - tail] >= 0xc0)
        text[length - 1 - tail] = '\0';
}

rsr_status rsr_fail(rsr_error *err, rsr_status status, const char *format, ...) {
    const size_t head = offsetof(rsr_error, message);
    if (err == NULL || err->size_bytes <= head)
        return status;
    size_t capacity = err->size_bytes - head;
    if (capacity > sizeof(err->message))
        capacity = sizeof(err->message);
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(err->message, capacity, format, arguments);
    va_end(arguments);
    if (length < 0)
        err->message[0] = '\0';
    clean_message(err->message, length >= 0 && (size_t)length >= capacity);
    err->status = status;
    return status;
}

void rsr_read_options(void *known, size_t known_bytes, const void *given) {
    if (given == NULL)
        return;
    uint32_t given_bytes;
    memcpy(&given_bytes, given, sizeof(given_bytes));
    size_t n = given_bytes < known_bytes ? given_bytes : known_bytes;
    if (n > sizeof(uint32_t))
        memcpy((char *)known + sizeof(uint32_t), (const char *)given + sizeof(uint32_t),
               n - sizeof(uint32_t));
}

void rsr_write_info(void *caller, const void *known, size_t known_bytes) {
    uint32_t caller_bytes;
    memcpy(&caller_bytes, caller, sizeof(caller_bytes));
    size_t n = caller_bytes < known_bytes ? caller_bytes : known_bytes;
    if (n > sizeof(uint32_t))
        memcpy((char *)caller + sizeof(uint32_t), (const char *)known + sizeof(uint32_t),
               n - sizeof(uint32_t));
}

rsr_status rsr_check_owner(int owner_pid, rsr_error *err) {
    if (owner_pid == (int)getpid())
        return RSR_OK;
    return rsr_fail(err, RSR_ERR_FORK,
                    "the object was made by process %d, before fork(); open the model again here",
                    owner_pid);
}
