/* pretokenize.h - cuts text into the pieces inside which byte pairs merge.
 *
 * Patterns come from tokenizer.json, written for Oniguruma (Ruby syntax), and run on PCRE2. Only
 * constructs that mean the same in both, or that are rewritten to, are accepted: see pretokenize.c.
 */
#ifndef RSR_PRETOKENIZE_H
#define RSR_PRETOKENIZE_H

#include "runtime.h"

struct rsr_splitter; /* one compiled pattern; immutable, shared by threads */

/* `behavior` and `invert` as in struct rsr_pretokenizer. */
RSR_NODISCARD rsr_status rsr_splitter_create(const char *pattern, size_t pattern_bytes,
                                             uint32_t behavior, bool invert,
                                             struct rsr_splitter **splitter, rsr_error *err);
void rsr_splitter_destroy(struct rsr_splitter *splitter);

/* Called with each piece, in order; none is empty. A status other than RSR_OK ends the split. */
typedef rsr_status rsr_piece_fn(void *user, const char *piece, size_t n_bytes, rsr_error *err);

/* Splits valid UTF-8. RSR_ERR_TEXT if the pattern needs more steps than its limits allow. */
RSR_NODISCARD rsr_status rsr_splitter_run(const struct rsr_splitter *splitter, const char *text,
                                          size_t n_bytes, rsr_piece_fn *piece, void *user,
                                          rsr_error *err);

/* The pattern that a ByteLevel pre-tokenizer with use_regex splits by. */
extern const char rsr_gpt2_pattern[];

#endif
