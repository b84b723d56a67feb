/* nfc.c - Unicode normalisation form C, from the tables of utf8proc.
 *
 * utf8proc_map would do, but it orders combining marks by swapping neighbours, which is quadratic
 * in a run of marks, and loses U+11A7 after a Hangul syllable. Here each character is decomposed,
 * runs of marks are ordered by a stable counting sort, and pairs are composed one by one.
 *
 * The `tokenizers` library uses the tables of Unicode 9.0 and leaves newer characters unchanged. So
 * does this file, with every version of utf8proc.
 */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "nfc.h"

#define MAX_DECOMPOSITION 32 /* a canonical decomposition has at most 4 characters */

/* Characters of Unicode 10 to 18 with a combining class, or with a canonical decomposition. */
static const struct range {
    int32_t first, last;
} newer[] = {
    {0x05c8, 0x05c9},   {0x07fd, 0x07fd},   {0x0897, 0x089f},   {0x08ca, 0x08d3},
    {0x09fe, 0x09fe},   {0x0c3c, 0x0c3c},   {0x0d3b, 0x0d3c},   {0x0eba, 0x0eba},
    {0x1715, 0x1715},   {0x1abf, 0x1af0},   {0x1df6, 0x1dfa},   {0xa82c, 0xa82c},
    {0x105c9, 0x105c9}, {0x105e4, 0x105e4}, {0x10d24, 0x10d27}, {0x10d69, 0x10d6d},
    {0x10eab, 0x10eac}, {0x10ecb, 0x10ecf}, {0x10ef0, 0x10efb}, {0x10efd, 0x10eff},
    {0x10f46, 0x10f50}, {0x10f82, 0x10f85}, {0x11070, 0x11070}, {0x1133b, 0x1133b},
    {0x11383, 0x11391}, {0x113c5, 0x113c8}, {0x113ce, 0x113d0}, {0x1145e, 0x1145e},
    {0x11839, 0x1183a}, {0x11938, 0x11938}, {0x1193d, 0x1193e}, {0x11943, 0x11943},
    {0x119e0, 0x119e0}, {0x11a34, 0x11a34}, {0x11a47, 0x11a47}, {0x11a99, 0x11a99},
    {0x11d42, 0x11d45}, {0x11d97, 0x11d97}, {0x11f41, 0x11f42}, {0x16121, 0x16128},
    {0x1612f, 0x1612f}, {0x16d68, 0x16d6a}, {0x16ff0, 0x16ff1}, {0x1d127, 0x1d128},
    {0x1d250, 0x1d25f}, {0x1d280, 0x1d281}, {0x1e08f, 0x1e08f}, {0x1e130, 0x1e136},
    {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef}, {0x1e4ec, 0x1e4ef}, {0x1e5ee, 0x1e5ef},
    {0x1e6e3, 0x1e6e6}, {0x1e6ee, 0x1e6ef}, {0x1e6f5, 0x1e6f5},
};

/* Trailing consonant number 0 of the Hangul arithmetic: none, and no character's part. */
#define HANGUL_NO_CONSONANT 0x11a7

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

static bool is_newer(int32_t code) {
    size_t low = 0, high = sizeof(newer) / sizeof(newer[0]);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (newer[middle].last < code)
            low = middle + 1;
        else
            high = middle;
    }
    return low < sizeof(newer) / sizeof(newer[0]) && newer[low].first <= code;
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
        i += step.length;
        if (is_newer((int32_t)step.code)) {
            codes->data[codes->size++] = (int32_t)step.code;
            continue;
        }
        utf8proc_ssize_t count =
            utf8proc_decompose_char((utf8proc_int32_t)step.code, codes->data + codes->size,
                                    MAX_DECOMPOSITION, UTF8PROC_DECOMPOSE, NULL);
        if (count < 0 || count > MAX_DECOMPOSITION)
            return false;
        codes->size += (size_t)count;
    }
    return true;
}

static uint8_t combining_class(int32_t code) {
    return is_newer(code) ? 0 : (uint8_t)utf8proc_get_property(code)->combining_class;
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

/* The character composed of these two, or 0. */
static int32_t compose_pair(int32_t first, int32_t second) {
    if (second < 0x300 || second == HANGUL_NO_CONSONANT || is_newer(first) || is_newer(second))
        return 0;
    utf8proc_int32_t pair[2] = {first, second};
    utf8proc_ssize_t n = utf8proc_normalize_utf32(pair, 2, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    return n == 1 && !is_newer(pair[0]) ? pair[0] : 0;
}

/* A mark joins the last starter if it stands next to it or after marks of lower classes alone. */
static void compose(struct code_points *codes) {
    size_t n = 0, starter = 0;
    uint8_t last = 0;
    bool has_starter = false;
    for (size_t i = 0; i < codes->size; i++) {
        int32_t code = codes->data[i], joined = 0;
        uint8_t class = combining_class(code);
        if (has_starter && (n == starter + 1 || last < class))
            joined = compose_pair(codes->data[starter], code);
        if (joined != 0) {
            codes->data[starter] = joined;
            continue;
        }
        if (class == 0) {
            has_starter = true;
            starter = n;
        }
        last = class;
        codes->data[n++] = code;
    }
    codes->size = n;
}

bool rsr_nfc_append(struct rsr_bytes *out, const char *text, size_t n) {
    struct code_points codes = {0};
    bool ok = decompose(&codes, text, n) && order_all_marks(&codes);
    if (ok) {
        compose(&codes);
        ok = rsr_bytes_reserve(out, codes.size * 4);
    }
    for (size_t i = 0; ok && i < codes.size; i++)
        out->size += rsr_utf8_encode((uint32_t)codes.data[i], out->data + out->size);
    free(codes.data);
    return ok;
}
