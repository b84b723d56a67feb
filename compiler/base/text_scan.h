/* text_scan.h - reads text forms (of indexes, plans, steps, kernels): words, numbers and strings,
 * line by line.
 *
 * The text is untrusted and need not end in a NUL. Blanks separate tokens, `#` starts a comment, an
 * end of line is a token of its own. Every function that fails has reported the place with a caret.
 */
#ifndef RSRC_BASE_TEXT_SCAN_H
#define RSRC_BASE_TEXT_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "diag.h"

struct rsrc_scan {
    struct rsrc_diag *diag; /* borrowed, as all of these */
    struct rsrc_arena *arena;
    const char *file;
    const char *slug; /* slug of every diagnostic: "rsr-text" */
    const char *at, *end;
    const char *line_start;
    uint32_t line; /* 1-based */
};

/* Also skips the comments and empty lines at the beginning. */
void rsrc_scan_init(struct rsrc_scan *scan, struct rsrc_diag *diag, struct rsrc_arena *arena,
                    const char *file, const char *slug, const char *text, uint64_t size_bytes);
bool rsrc_scan_at_end(const struct rsrc_scan *scan);
uint64_t rsrc_scan_bytes_left(const struct rsrc_scan *scan);

/* The next token is not consumed. */
bool rsrc_scan_at_line_end(struct rsrc_scan *scan);
bool rsrc_scan_at_word(struct rsrc_scan *scan, const char *word);

RSRC_NODISCARD enum rsrc_status rsrc_scan_word(struct rsrc_scan *scan, const char *word);
/* Requires the end of the line and goes to the next line that holds anything. */
RSRC_NODISCARD enum rsrc_status rsrc_scan_line_end(struct rsrc_scan *scan);
/* Decimal, without a sign. `what` names the number in diagnostics. */
RSRC_NODISCARD enum rsrc_status rsrc_scan_u64(struct rsrc_scan *scan, const char *what,
                                              uint64_t min, uint64_t max, uint64_t *out);
RSRC_NODISCARD enum rsrc_status rsrc_scan_u32(struct rsrc_scan *scan, const char *what,
                                              uint32_t min, uint32_t max, uint32_t *out);
/* Finite and not negative. */
RSRC_NODISCARD enum rsrc_status rsrc_scan_double(struct rsrc_scan *scan, const char *what,
                                                 double *out);
/* Prints the shortest form of a finite number that reads back exactly. */
void rsrc_put_double(struct rsrc_buffer *buffer, double value);

/* Tokens that need no blank after them: "y[0 + t*4], sum". */
#define RSRC_SCAN_NAME_BYTES 64u
/* Letters, digits and '_', not beginning with a digit, copied to the caller's array. */
RSRC_NODISCARD enum rsrc_status rsrc_scan_identifier(struct rsrc_scan *scan, const char *what,
                                                     char out[RSRC_SCAN_NAME_BYTES]);
bool rsrc_scan_at_symbol(struct rsrc_scan *scan, const char *symbol);
RSRC_NODISCARD enum rsrc_status rsrc_scan_symbol(struct rsrc_scan *scan, const char *symbol);
/* Decimal with an optional '-', or hexadecimal after 0x. */
RSRC_NODISCARD enum rsrc_status rsrc_scan_i64(struct rsrc_scan *scan, const char *what,
                                              int64_t *out);

/* One of `names`; out is its position. */
RSRC_NODISCARD enum rsrc_status rsrc_scan_name(struct rsrc_scan *scan, const char *what,
                                               const char *const *names, uint32_t n_names,
                                               uint32_t *out);
/* "..." as rsrc_buffer_put_c_string prints it, in the arena. */
RSRC_NODISCARD enum rsrc_status rsrc_scan_string(struct rsrc_scan *scan, const char *what,
                                                 const char **out);

/* A text of records. It begins with a header line such as "plan 5". The header may be repeated
 * between records, because dumps may be printed one after another. */
struct rsrc_text_form {
    const char *slug, *word, *version;
    size_t record_bytes;
    enum rsrc_status (*parse)(struct rsrc_scan *scan, void *record); /* into zeros */
};
/* Parses the records into an array of the arena. */
RSRC_NODISCARD enum rsrc_status
rsrc_scan_text(struct rsrc_diag *diag, struct rsrc_arena *arena, const char *file, const char *text,
               uint64_t size_bytes, const struct rsrc_text_form *form, void **out, uint32_t *n_out);

/* Moves to a later place of the text, for a report there. */
void rsrc_scan_advance(struct rsrc_scan *scan, const char *at);

/* Reports at the current place; always RSRC_FAILED. */
RSRC_NODISCARD enum rsrc_status rsrc_scan_error(struct rsrc_scan *scan, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
