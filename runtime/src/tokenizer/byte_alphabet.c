/* byte_alphabet.c - bytes as printable characters and back: see byte_alphabet.h. */
#include "byte_alphabet.h"

#define N_LOWER 0x21u /* bytes 0x00 .. 0x20 */
#define N_UPPER 0x22u /* bytes 0x7f .. 0xa0, after them 0xad */

static bool is_itself(uint32_t code) {
    return (code >= 0x21 && code <= 0x7e) || (code >= 0xa1 && code <= 0xff && code != 0xad);
}

int rsr_alphabet_byte(uint32_t code) {
    if (is_itself(code))
        return (int)code;
    if (code < 0x100 || code > 0x100 + N_LOWER + N_UPPER)
        return -1;
    uint32_t n = code - 0x100;
    return (int)(n < N_LOWER ? n : n < N_LOWER + N_UPPER ? n - N_LOWER + 0x7f : 0xad);
}

static uint32_t character_of(uint8_t byte) {
    if (is_itself(byte))
        return byte;
    return 0x100 + (byte < N_LOWER ? byte
                    : byte == 0xad ? N_LOWER + N_UPPER
                                   : byte - 0x7f + N_LOWER);
}

bool rsr_alphabet_append(struct rsr_bytes *out, const char *bytes, size_t n) {
    if (n > SIZE_MAX / 2 || !rsr_bytes_reserve(out, 2 * n + 2))
        return false;
    for (size_t i = 0; i < n; i++)
        out->size += rsr_utf8_encode(character_of((uint8_t)bytes[i]), out->data + out->size);
    return true;
}

size_t rsr_alphabet_read(char *text, size_t n) {
    size_t n_bytes = 0;
    for (size_t i = 0; i < n;) {
        struct rsr_utf8_step step = rsr_utf8_scan(text + i, n - i);
        text[n_bytes++] = (char)rsr_alphabet_byte(step.code);
        i += step.length;
    }
    return n_bytes;
}
