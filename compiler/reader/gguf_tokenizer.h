/* gguf_tokenizer.h - the tokenizer and chat template in a GGUF file's metadata. */
#ifndef RSRC_READER_GGUF_TOKENIZER_H
#define RSRC_READER_GGUF_TOKENIZER_H

#include "reader/gguf.h"
#include "reader/reader.h"

/* Leaves `out` without a section if the file has no tokenizer. The ids of `config` must be below
 * the rows of its embedding; special tokens that end a turn are added to its eos_tokens. Refuses by
 * name every kind of tokenizer that is not understood. */
RSRC_NODISCARD enum rsrc_status rsrc_gguf_read_tokenizer(struct rsrc_diag *diag,
                                                         struct rsrc_arena *arena, const char *file,
                                                         const struct rsrc_gguf *gguf,
                                                         struct rsr_config *config,
                                                         struct rsr_tokenizer *out);

/* A tokenizer being read: the draft of its section, and where it comes from. */
struct rsrc_gguf_tokenizer {
    struct rsrc_tokenizer_draft draft;
    json_t *components; /* document that the draft borrows from; NULL: none */
    const struct rsrc_gguf *gguf;
};

/* gguf_vocab.c: tokens with their types, and merges, either listed or derived from the scores of
 * merged tokens. draft.alphabet is set; the vocabulary has at most max_tokens. */
RSRC_NODISCARD enum rsrc_status rsrc_gguf_read_vocab(struct rsrc_gguf_tokenizer *tokenizer,
                                                     uint32_t max_tokens);

/* An error at a value, or NULL: at the file. */
enum rsrc_status rsrc_gguf_refuse_tokenizer(const struct rsrc_gguf_tokenizer *tokenizer,
                                            const struct rsrc_gguf_value *value, const char *help,
                                            const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
