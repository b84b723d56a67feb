/* stop_strings.h - texts that end a generation, found in text that comes in pieces. */
#ifndef RSR_STOP_STRINGS_H
#define RSR_STOP_STRINGS_H

#include "tokenizer/text.h"

struct rsr_stop_strings {
    const char *const *strings; /* the caller's, none empty */
    uint32_t n;
    struct rsr_bytes held; /* text that may be the begin of one of them */
};

/* Puts what is held before `text` and takes away what is to be held now: the longest end that a
 * string begins with; with `last`, nothing. Where a string is complete, `text` ends before it (the
 * longest of several), and *found is set. */
RSR_NODISCARD rsr_status rsr_stop_strings_pass(struct rsr_stop_strings *stop,
                                               struct rsr_bytes *text, bool last, bool *found,
                                               rsr_error *err);

#endif
