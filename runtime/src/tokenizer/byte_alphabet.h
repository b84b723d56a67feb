/* byte_alphabet.h - the alphabet in which byte-level tokenizers write bytes as printable
 * characters.
 *
 * Printable Latin-1 stands for itself, the other 68 bytes for U+0100 and up, in order.
 */
#ifndef RSR_BYTE_ALPHABET_H
#define RSR_BYTE_ALPHABET_H

#include "host/utf8.h"

/* The byte of a character of the alphabet, or -1. */
int rsr_alphabet_byte(uint32_t code);

/* Appends bytes as text of the alphabet. False when memory is out. */
bool rsr_alphabet_append(struct rsr_bytes *out, const char *bytes, size_t n);

/* Replaces text of the alphabet by its bytes; returns how many there are. */
size_t rsr_alphabet_read(char *text, size_t n);

#endif
