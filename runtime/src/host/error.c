/* error.c - errors as one sentence, and structs whose size identifies their version. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "c_locale.h"
#include "runtime.h"
#include "utf8.h"

/* Names from files may be in the message: control characters and what is not UTF-8 become '?', and
 * a character that the end of the buffer cut is dropped whole. */
static void clean_message(char *text, bool truncated) {
    const size_t length = strlen(text);
    for (size_t at = 0; at < length;) {
        const struct rsr_utf8_step step = rsr_utf8_scan(text + at, length - at);
        if (truncated && step.kind == RSR_UTF8_INCOMPLETE) {
            text[at] = '\0';
            return;
        }
        if (step.kind != RSR_UTF8_VALID || step.code < 0x20 ||
            (step.code >= 0x7f && step.code < 0xa0))
            memset(text + at, '?', step.length);
        at += step.length;
    }
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
    const locale_t before = rsr_enter_c_locale();
    int length = vsnprintf(err->message, capacity, format, arguments);
    rsr_leave_c_locale(before);
    va_end(arguments);
    if (length < 0)
        err->message[0] = '\0';
    clean_message(err->message, length >= 0 && (size_t)length >= capacity);
    err->status = status;
    return status;
}

/* Far above any struct of rsr.h: a larger size means that the struct was not initialised. */
#define LIMIT_STRUCT_BYTES 4096u

/* The size that a caller's struct begins with. */
static rsr_status struct_bytes(const void *given, size_t *n_bytes, rsr_error *err) {
    uint32_t size_bytes;
    memcpy(&size_bytes, given, sizeof(size_bytes));
    *n_bytes = size_bytes;
    if (size_bytes >= 2 * sizeof(size_bytes) && size_bytes <= LIMIT_STRUCT_BYTES)
        return RSR_OK;
    return rsr_fail(err, RSR_ERR_ARGUMENT,
                    "a struct has the size %u; initialise it with its RSR_..._INIT", size_bytes);
}

rsr_status rsr_check_info(const void *caller, rsr_error *err) {
    size_t n_bytes;
    return struct_bytes(caller, &n_bytes, err);
}

/* Copies the members that both sides know, except size_bytes. */
static void copy_common(void *to, const void *from, size_t n_bytes) {
    memcpy((char *)to + sizeof(uint32_t), (const char *)from + sizeof(uint32_t),
           n_bytes - sizeof(uint32_t));
}

rsr_status rsr_read_options(void *known, size_t known_bytes, const void *given, rsr_error *err) {
    size_t given_bytes;
    if (given == NULL)
        return RSR_OK;
    rsr_status status = struct_bytes(given, &given_bytes, err);
    if (status != RSR_OK)
        return status;
    for (size_t i = known_bytes; i < given_bytes; i++)
        if (((const char *)given)[i] != 0)
            return rsr_fail(err, RSR_ERR_ARGUMENT,
                            "byte %zu of the options is set, which this model's runtime does not "
                            "know; compile the model again",
                            i);
    copy_common(known, given, given_bytes < known_bytes ? given_bytes : known_bytes);
    return RSR_OK;
}

rsr_status rsr_write_info(void *caller, const void *known, size_t known_bytes, rsr_error *err) {
    size_t caller_bytes;
    rsr_status status = struct_bytes(caller, &caller_bytes, err);
    if (status == RSR_OK)
        copy_common(caller, known, caller_bytes < known_bytes ? caller_bytes : known_bytes);
    return status;
}

rsr_status rsr_check_owner(int owner_pid, rsr_error *err) {
    if (owner_pid == (int)getpid())
        return RSR_OK;
    return rsr_fail(err, RSR_ERR_FORK,
                    "the object was made by process %d, before fork(); open the model again here",
                    owner_pid);
}
