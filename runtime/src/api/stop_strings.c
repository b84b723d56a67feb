/* stop_strings.c - see stop_strings.h. */
#include <string.h>

#include "stop_strings.h"

/* Finds where the string begins that is complete first; if several are complete at the same place,
 * the longest. The result does not depend on how the text is cut into pieces. SIZE_MAX: none is
 * complete. */
static size_t find_first(const struct rsr_stop_strings *stop, const struct rsr_bytes *text) {
    size_t first = SIZE_MAX, first_end = SIZE_MAX;
    for (uint32_t i = 0; i < stop->n; i++) {
        const size_t n = strlen(stop->strings[i]);
        const char *at = memmem(text->data, text->size, stop->strings[i], n);
        if (at == NULL)
            continue;
        const size_t begin = (size_t)(at - text->data), end = begin + n;
        if (end < first_end || (end == first_end && begin < first)) {
            first = begin;
            first_end = end;
        }
    }
    return first;
}

/* Length of the longest end of the text that is a beginning of `string`, but not all of it. */
static size_t begun_bytes(const struct rsr_bytes *text, const char *string) {
    const size_t most = strlen(string) - 1;
    for (size_t n = text->size < most ? text->size : most; n > 0; n--)
        if (memcmp(text->data + text->size - n, string, n) == 0)
            return n;
    return 0;
}

rsr_status rsr_stop_strings_pass(struct rsr_stop_strings *stop, struct rsr_bytes *text, bool last,
                                 bool *found, rsr_error *err) {
    if (stop->n == 0)
        return RSR_OK;
    if (!rsr_bytes_append(&stop->held, text->data, text->size))
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory to look for stop strings");
    const struct rsr_bytes before = *text;
    *text = stop->held;
    stop->held = before;
    stop->held.size = 0;
    if (text->size == 0)
        return RSR_OK;
    const size_t first = find_first(stop, text);
    *found = first != SIZE_MAX;
    size_t n_held = 0;
    for (uint32_t i = 0; i < stop->n && !*found && !last; i++) {
        const size_t n = begun_bytes(text, stop->strings[i]);
        n_held = n > n_held ? n : n_held;
    }
    if (!rsr_bytes_append(&stop->held, text->data + text->size - n_held, n_held))
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory to look for stop strings");
    text->size = *found ? first : text->size - n_held;
    return RSR_OK;
}
