/* nfc.h - Unicode normalisation form C in linear time. */
#ifndef RSR_NFC_H
#define RSR_NFC_H

#include "host/utf8.h"

/* Whether text[0..n) may differ from its normal form; a cheap test that may say so needlessly. */
bool rsr_nfc_may_change(const char *text, size_t n);

/* Appends the normal form of valid UTF-8. False when memory is out. */
bool rsr_nfc_append(struct rsr_bytes *out, const char *text, size_t n);

#endif
