/* utf8.h - UTF-8 scanning and repair, and the growing byte buffer that text code shares.
 *
 * Repair replaces every maximal ill-formed subpart by one U+FFFD (Unicode 15, section 3.9, table
 * 3-8), which is what Python's bytes.decode('utf-8', errors='replace') and Rust's from_utf8_lossy
 * do.
 */
#ifndef RSR_UTF8_H
#define RSR_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes on the heap. Zero-initialised is empty; append returns false when memory is out, and the
 * buffer is then unchanged. */
struct rsr_bytes {
    char *data;
    size_t size;
    size_t capacity;
};

bool rsr_bytes_reserve(struct rsr_bytes *bytes, size_t n_more);
bool rsr_bytes_append(struct rsr_bytes *bytes, const void *data, size_t n);
void rsr_bytes_free(struct rsr_bytes *bytes);

enum rsr_utf8_kind {
    RSR_UTF8_VALID,     /* one character */
    RSR_UTF8_INVALID,   /* an ill-formed subpart: one U+FFFD */
    RSR_UTF8_INCOMPLETE /* the text ends inside what could be a character: one U+FFFD if it stays
                           so */
};

struct rsr_utf8_step {
    enum rsr_utf8_kind kind;
    uint32_t length; /* bytes, 1..4 */
    uint32_t code;   /* VALID: the code point, else U+FFFD */
};

/* Scans the front of text[0..n); n > 0. */
struct rsr_utf8_step rsr_utf8_scan(const char *text, size_t n);

bool rsr_utf8_is_valid(const char *text, size_t n);

/* Appends text[0..n) repaired. */
bool rsr_utf8_append_repaired(struct rsr_bytes *out, const char *text, size_t n);

/* Bytes at the end of text[0..n) that may still become a character: 0..3. */
size_t rsr_utf8_incomplete_tail(const char *text, size_t n);

/* Writes a code point to out[4] and returns its length. */
size_t rsr_utf8_encode(uint32_t code, char out[4]);

/* Where the character that ends at text + n begins; n > 0, valid UTF-8. */
size_t rsr_utf8_previous(const char *text, size_t n);

/* Unicode White_Space. */
bool rsr_is_space(uint32_t code);

#endif
