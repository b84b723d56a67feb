/* tokenizer.h - byte-level and SentencePiece-style BPE, equal to Hugging Face tokenizers, over a
 * section made by the compiler.
 *
 * struct rsr_tokenizer_header (rsr_abi.h) describes the section. rsr_encoder_create checks every
 * offset and id in it, so later code need not. An encoder is immutable and shared by threads.
 */
#ifndef RSR_TOKENIZER_H
#define RSR_TOKENIZER_H

#include "added_tokens.h"
#include "host/utf8.h"
#include "piece_table.h"
#include "pretokenize.h"

struct rsr_encoder {
    const struct rsr_tokenizer_header *header;
    const uint64_t *text_begin;
    const char *text;
    const uint8_t *flags;
    const struct rsr_merge *merges;
    const struct rsr_normalizer *normalizers;
    const struct rsr_pretokenizer *pretokenizers;
    const uint32_t *prefix, *suffix;
    uint32_t *merge_begin;          /* [n_tokens + 1]: first merge of each left token */
    struct rsr_piece_table *pieces; /* NULL if nothing looks up tokens by text: bytes without
                                       ignore_merges */
    uint8_t *joints; /* CHARACTERS: one bit for each pair of characters that a merge may join */
    struct rsr_splitter **splitters;    /* [n_pretokenizers]; NULL where nothing is split */
    struct rsr_added_tokens raw;        /* matched in the text as given */
    struct rsr_added_tokens normalized; /* matched in normalised text */
    char *normalized_text;              /* contents of `normalized` */
};

/* `section` is aligned to 8 bytes and outlives the encoder. */
RSR_NODISCARD rsr_status rsr_encoder_create(const struct rsr_tokenizer_header *section,
                                            struct rsr_encoder **encoder, rsr_error *err);
void rsr_encoder_destroy(struct rsr_encoder *encoder);

/* text_bound.c: the largest number of bytes of text that one token stands for, where special tokens
 * are not parsed; 0: no bound. */
uint64_t rsr_encoder_text_bytes(const struct rsr_encoder *encoder);

/* The token of the vocabulary with this text, if the tokenizer looks for such; else
 * RSR_NO_TOKEN. */
uint32_t rsr_encoder_find_piece(const struct rsr_encoder *encoder, const char *piece,
                                size_t n_bytes);

/* Whether a merge may join a symbol that ends with token `left` and one that begins with token
 * `right`. False is certain. */
bool rsr_encoder_may_join(const struct rsr_encoder *encoder, uint32_t left, uint32_t right);

#endif
