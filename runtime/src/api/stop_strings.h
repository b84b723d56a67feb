/* stop_strings.h - texts that end a generation, found in text that comes in pieces. */
#ifndef RSR_STOP_STRINGS_H
#define RSR_STOP_STRINGS_H

#include "tokenizer/text.h"

struct rsr_stop_strings {
    const char *const *strings; /* the caller's, none empty */
    uint32_t n;
    struct rsr_bytes held; /* text that may be the beginning of one of them */
};

/* Puts the held text in front of `text`. Then holds back the longest end of `text` that may begin a
 * stop string; with `last`, holds back nothing. If a string is complete, cuts `text` before it
 * (before the longest of several) and sets *found. */
RSR_NODISCARD rsr_status rsr_stop_strings_pass(struct rsr_stop_strings *stop,
                                               struct rsr_bytes *text, bool last, bool *found,
                                               rsr_error *err);

#endif
