/* utf8.c - UTF-8 scanning and repair: see utf8.h. */
#include "utf8.h"

#include <stdlib.h>
#include <string.h>

#define REPLACEMENT "\xef\xbf\xbd"

bool rsr_bytes_reserve(struct rsr_bytes *bytes, size_t n_more) {
    if (n_more <= bytes->capacity - bytes->size)
        return true;
    if (n_more > SIZE_MAX / 2 || bytes->size > SIZE_MAX / 2 - n_more)
        return false;
    size_t capacity = bytes->size + n_more;
    capacity += capacity / 2 + 64;
    char *data = realloc(bytes->data, capacity);
    if (!data)
        return false;
    bytes->data = data;
    bytes->capacity = capacity;
    return true;
}

bool rsr_bytes_append(struct rsr_bytes *bytes, const void *data, size_t n) {
    if (n == 0)
        return true;
    if (!rsr_bytes_reserve(bytes, n))
        return false;
    memcpy(bytes->data + bytes->size, data, n);
    bytes->size += n;
    return true;
}

void rsr_bytes_free(struct rsr_bytes *bytes) {
    free(bytes->data);
    *bytes = (struct rsr_bytes){0};
}

/* The well-formed sequences by lead byte: how many bytes follow and what the first of them may be.
 * The narrowed ranges exclude overlong forms, surrogates and what lies above U+10FFFF. */
struct lead {
    uint8_t first, last;
    uint8_t n_following;
    uint8_t second_min, second_max;
};

static const struct lead leads[] = {
    {0xc2, 0xdf, 1, 0x80, 0xbf}, {0xe0, 0xe0, 2, 0xa0, 0xbf}, {0xe1, 0xec, 2, 0x80, 0xbf},
    {0xed, 0xed, 2, 0x80, 0x9f}, {0xee, 0xef, 2, 0x80, 0xbf}, {0xf0, 0xf0, 3, 0x90, 0xbf},
    {0xf1, 0xf3, 3, 0x80, 0xbf}, {0xf4, 0xf4, 3, 0x80, 0x8f},
};

struct rsr_utf8_step rsr_utf8_scan(const char *text, size_t n) {
    const uint8_t *p = (const uint8_t *)text;
    if (p[0] < 0x80)
        return (struct rsr_utf8_step){RSR_UTF8_VALID, 1, p[0]};
    const struct lead *lead = leads;
    const struct lead *end = leads + sizeof(leads) / sizeof(leads[0]);
    while (lead < end && !(p[0] >= lead->first && p[0] <= lead->last))
        lead++;
    if (lead == end)
        return (struct rsr_utf8_step){RSR_UTF8_INVALID, 1, 0xfffd};

    uint32_t code = p[0] & (0x3fu >> lead->n_following);
    for (uint32_t i = 1; i <= lead->n_following; i++) {
        if (i == n)
            return (struct rsr_utf8_step){RSR_UTF8_INCOMPLETE, i, 0xfffd};
        uint8_t min = i == 1 ? lead->second_min : 0x80;
        uint8_t max = i == 1 ? lead->second_max : 0xbf;
        if (p[i] < min || p[i] > max)
            return (struct rsr_utf8_step){RSR_UTF8_INVALID, i, 0xfffd};
        code = code << 6 | (p[i] & 0x3fu);
    }
    return (struct rsr_utf8_step){RSR_UTF8_VALID, lead->n_following + 1u, code};
}

/* Length of the valid text at the front. */
static size_t valid_prefix(const char *text, size_t n) {
    size_t i = 0;
    while (i < n) {
        struct rsr_utf8_step step = rsr_utf8_scan(text + i, n - i);
        if (step.kind != RSR_UTF8_VALID)
            break;
        i += step.length;
    }
    return i;
}

bool rsr_utf8_is_valid(const char *text, size_t n) {
    return valid_prefix(text, n) == n;
}

bool rsr_utf8_append_repaired(struct rsr_bytes *out, const char *text, size_t n) {
    for (size_t i = 0; i < n;) {
        size_t valid = valid_prefix(text + i, n - i);
        if (!rsr_bytes_append(out, text + i, valid))
            return false;
        i += valid;
        if (i == n)
            break;
        if (!rsr_bytes_append(out, REPLACEMENT, 3))
            return false;
        i += rsr_utf8_scan(text + i, n - i).length;
    }
    return true;
}

size_t rsr_utf8_incomplete_tail(const char *text, size_t n) {
    for (size_t tail = n < 3 ? n : 3; tail > 0; tail--) {
        struct rsr_utf8_step step = rsr_utf8_scan(text + n - tail, tail);
        if (step.kind == RSR_UTF8_INCOMPLETE && step.length == tail)
            return tail;
    }
    return 0;
}

size_t rsr_utf8_encode(uint32_t code, char out[4]) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t n_following = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const uint8_t mark[4] = {0, 0xc0, 0xe0, 0xf0};
    out[0] = (char)(mark[n_following] | code >> (6 * n_following));
    for (size_t i = 1; i <= n_following; i++)
        out[i] = (char)(0x80 | (code >> (6 * (n_following - i)) & 0x3f));
    return n_following + 1;
}

size_t rsr_utf8_previous(const char *text, size_t n) {
    do
        n--;
    while (n > 0 && ((uint8_t)text[n] & 0xc0) == 0x80);
    return n;
}

bool rsr_is_space(uint32_t code) {
    if (code < 0x80)
        return code == ' ' || (code >= 0x09 && code <= 0x0d);
    return code == 0x85 || code == 0xa0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200a) ||
           code == 0x2028 || code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}
