/* diag.h - diagnostics: what is wrong, where, and what to do about it.
 *
 * Every message has a severity, a stable slug ("safetensors-truncated"), a place and a text, and
 * may have a fix ("help: ..."). They are collected in order, printed at once to stderr, and
 * counted. Text from files may be passed as it is: control bytes are escaped when printing.
 * Thread-safe.
 */
#ifndef RSRC_DIAG_H
#define RSRC_DIAG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Remarks say what a pass chose (-Rpass) and what it declined (-Rpass-missed). */
enum rsrc_severity { RSRC_ERROR, RSRC_WARNING, RSRC_REMARK, RSRC_REMARK_MISSED, RSRC_NOTE };

/* Where: all fields optional. */
struct rsrc_place {
    const char *file;
    uint32_t line;   /* 1-based; 0: unknown */
    uint32_t column; /* 1-based; 0: unknown */
    bool has_offset;
    uint64_t offset;         /* byte offset, printed file:0x1a40 */
    const char *tensor;      /* or layer; printed 'in tensor ...' */
    const char *source_line; /* text of that line, for the caret; may be NULL */
};

enum rsrc_color { RSRC_COLOR_AUTO, RSRC_COLOR_ALWAYS, RSRC_COLOR_NEVER };

struct rsrc_diag; /* opaque */

/* `stream` gets text or one JSON object a line. */
struct rsrc_diag *rsrc_diag_create(FILE *stream, bool json, enum rsrc_color color);
void rsrc_diag_destroy(struct rsrc_diag *diag);
/* Shows remarks of one class, RSRC_REMARK or RSRC_REMARK_MISSED, whose slug (the pass's name)
 * matches the POSIX extended regular expression; without a pattern they are dropped. A pattern that
 * does not compile is a diagnostic. */
bool rsrc_diag_show_remarks(struct rsrc_diag *diag, enum rsrc_severity severity,
                            const char *pattern);
void rsrc_diag_emit(struct rsrc_diag *diag, enum rsrc_severity severity, const char *slug,
                    const struct rsrc_place *place, const char *help, const char *format, ...)
    __attribute__((format(printf, 6, 7)));
uint32_t rsrc_diag_error_count(const struct rsrc_diag *diag);

/* For work done out of order: a diag that keeps its messages until it is closed. Closing appends
 * them to `parent` or drops them, and frees the diag. It shows the remarks that `parent` shows. */
struct rsrc_diag *rsrc_diag_hold(struct rsrc_diag *parent);
void rsrc_diag_close_held(struct rsrc_diag *held, bool keep);

/* place and help may be NULL. */
#define rsrc_error(diag, slug, place, help, ...)                                                   \
    rsrc_diag_emit((diag), RSRC_ERROR, (slug), (place), (help), __VA_ARGS__)
/* Reports an error and gives the status to return: return rsrc_refuse(...); */
#define rsrc_refuse(...) (rsrc_error(__VA_ARGS__), RSRC_FAILED)
#define rsrc_warning(diag, slug, place, help, ...)                                                 \
    rsrc_diag_emit((diag), RSRC_WARNING, (slug), (place), (help), __VA_ARGS__)
#define rsrc_note(diag, slug, place, help, ...)                                                    \
    rsrc_diag_emit((diag), RSRC_NOTE, (slug), (place), (help), __VA_ARGS__)

/* Status of a function that may fail. After a failure, a user's mistake has already been reported
 * through diag. */
enum rsrc_status { RSRC_OK = 0, RSRC_FAILED };
#define RSRC_NODISCARD __attribute__((warn_unused_result))

/* For "did you mean": the entry of `names` that is closest to the part of `word` before '=', or
 * NULL if none is close. */
const char *rsrc_did_you_mean(const char *word, const char *const *names, uint32_t n_names);

#endif
