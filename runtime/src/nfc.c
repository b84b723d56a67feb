/* nfc.c - Unicode normalisation form C, from the tables of utf8proc.
 *
 * utf8proc_map would do, but it orders combining marks by swapping neighbours, which is quadratic in
 * a run of marks. Here each character is decomposed, runs of marks are ordered by a stable counting
 * sort, and utf8proc composes the result.
 */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "nfc.h"

#define MAX_DECOMPOSITION 32 /* a canonical decomposition has at most 4 characters */

struct code_points {
    int32_t *data;
    size_t size, capacity;
};

static bool reserve(struct code_points *codes, size_t n_more) {
    if (codes->capacity - codes->size >= n_more)
        return true;
    size_t capacity = codes->capacity * 2 + n_more + 256;
    if (capacity > SIZE_MAX / 8)
        return false;
    int32_t *data = realloc(codes->data, capacity * sizeof(*data));
    if (!data)
        return false;
    codes->data = data;
    codes->capacity = capacity;
    return true;
}

/* Below U+0300 there are neither combining marks nor characters that composition touches. */
bool rsr_nfc_may_change(const char *text, size_t n) {
    for (size_t i = 0; i < n; i++)
        if ((uint8_t)text[i] >= 0xcc)
            return true;
    return false;
}

static bool decompose(struct code_points *codes, const char *text, size_t n) {
    for (size_t i = 0; i < n;) {
        struct rsr_utf8_step step = rsr_utf8_scan(text + i, n - i);
        if (!reserve(codes, MAX_DECOMPOSITION))
            return false;
        utf8proc_ssize_t count =
            utf8proc_decompose_char((utf8proc_int32_t)step.code, codes->data + codes->size,
                                    MAX_DECOMPOSITION, UTF8PROC_DECOMPOSE, NULL);
        if (count < 0 || count > MAX_DECOMPOSITION)
            return false;
        codes->size += (size_t)count;
        i += step.length;
    }
    return true;
}

static uint8_t combining_class(int32_t code) {
    return (uint8_t)utf8proc_get_property(code)->combining_class;
}

/* Stable sort of a run of marks by combining class; `copy` holds n. */
static void order_marks(int32_t *marks, size_t n, int32_t *copy) {
    size_t begin[257] = {0};
    for (size_t i = 0; i < n; i++)
        begin[combining_class(marks[i]) + 1]++;
    for (size_t c = 0; c < 256; c++)
        begin[c + 1] += begin[c];
    memcpy(copy, marks, n * sizeof(*marks));
    for (size_t i = 0; i < n; i++)
        marks[begin[combining_class(copy[i])]++] = copy[i];
}

static bool order_all_marks(struct code_points *codes) {
    int32_t *copy = NULL;
    for (size_t i = 0; i < codes->size;) {
        size_t begin = i;
        bool ordered = true;
        for (uint8_t last = 0, c; i < codes->size && (c = combining_class(codes->data[i])) != 0;
             i++) {
            ordered = ordered && c >= last;
            last = c;
        }
        if (!ordered) {
            if (!copy && !(copy = malloc(codes->size * sizeof(*copy))))
                return false;
            order_marks(codes->data + begin, i - begin, copy);
        }
        i += i == begin;
    }
    free(copy);
    return true;
}

bool rsr_nfc_append(struct rsr_bytes *out, const char *text, size_t n) {
    struct code_points codes = {0};
    bool ok = decompose(&codes, text, n) && order_all_marks(&codes);
    if (ok && codes.size > 0) {
        utf8proc_ssize_t count = utf8proc_normalize_utf32(codes.data, (utf8proc_ssize_t)codes.size,
                                                          UTF8PROC_COMPOSE | UTF8PROC_STABLE);
        ok = count >= 0 && rsr_bytes_reserve(out, (size_t)count * 4);
        for (utf8proc_ssize_t i = 0; ok && i < count; i++)
            out->size += rsr_utf8_encode((uint32_t)codes.data[i], out->data + out->size);
    }
    free(codes.data);
    return ok;
}
