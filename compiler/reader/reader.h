/* reader.h - shared by the files of this stage; other stages include checkpoint.h. */
#ifndef RSRC_READER_READER_H
#define RSRC_READER_READER_H

#include <jansson.h>

#include "ir.h"

/* Untrusted text for a message: control bytes as \xNN, cut after 80 bytes. Never NULL. */
const char *rsrc_quote(struct rsrc_arena *arena, const char *text);

/* The eos ids of generation_config.json replace those of config.json, as in transformers: the
 * latter may be defaults of a configuration class. bos is used only if config.json has none. */
RSRC_NODISCARD enum rsrc_status
rsrc_parse_generation_config(struct rsrc_diag *diag, struct rsrc_arena *arena, const char *name,
                             const uint8_t *bytes, uint64_t size_bytes, struct rsr_config *config);

/* modules.json of sentence-transformers: the folder of its pooling, and whether the result is
 * normalised. */
RSRC_NODISCARD enum rsrc_status rsrc_parse_modules(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                   const char *name, const uint8_t *bytes,
                                                   uint64_t size_bytes, const char **pooling_folder,
                                                   bool *normalized);
/* config.json of that folder: hyper.pooling. */
RSRC_NODISCARD enum rsrc_status rsrc_parse_pooling(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                   const char *name, const uint8_t *bytes,
                                                   uint64_t size_bytes, struct rsr_config *config);
/* Quantisation does not change the head. */
void rsrc_keep_head(struct rsr_config *config);
/* Refuses other settings of an embedding model that would change its vectors. Texts of more than
 * *max_tokens would be cut; it is unchanged if the files give no limit. */
RSRC_NODISCARD enum rsrc_status
rsrc_check_sentence_settings(struct rsrc_diag *diag, struct rsrc_arena *arena, const char *name,
                             const uint8_t *bytes, uint64_t size_bytes, uint32_t *max_tokens);
/* BitNet's float masters without quantization_config, recognised by projections with norms of their
 * own. */
void rsrc_recognise_masters(struct rsr_checkpoint *checkpoint);

/* chat_template, bos_token and eos_token of tokenizer_config.json; its tokens must agree with the
 * tokenizer's section, if there is one. *lists_added: the two older files, read by the next
 * functions, are ignored. */
RSRC_NODISCARD enum rsrc_status
rsrc_parse_tokenizer_config(struct rsrc_diag *diag, struct rsrc_arena *arena, const char *name,
                            const uint8_t *bytes, uint64_t size_bytes,
                            struct rsr_tokenizer *tokenizer, bool *lists_added);
/* bos_token and eos_token of special_tokens_map.json. */
RSRC_NODISCARD enum rsrc_status rsrc_parse_special_tokens(struct rsrc_diag *diag,
                                                          struct rsrc_arena *arena,
                                                          const char *name, const uint8_t *bytes,
                                                          uint64_t size_bytes,
                                                          struct rsr_tokenizer *tokenizer);
/* Checks only that the tokens of added_tokens.json are in the tokenizer's section. */
RSRC_NODISCARD enum rsrc_status rsrc_parse_added_tokens(struct rsrc_diag *diag,
                                                        struct rsrc_arena *arena, const char *name,
                                                        const uint8_t *bytes, uint64_t size_bytes,
                                                        struct rsr_tokenizer *tokenizer);
/* tokenizer_added.c: checks that the tokens in an object of one of these files are those of the
 * section. */
enum rsrc_beside { RSRC_BESIDE_SETTINGS, RSRC_BESIDE_MAP, RSRC_BESIDE_LIST };
RSRC_NODISCARD enum rsrc_status rsrc_check_added_tokens(struct rsrc_diag *diag,
                                                        struct rsrc_arena *arena, const char *file,
                                                        enum rsrc_beside kind, json_t *root,
                                                        const struct rsr_tokenizer *tokenizer);

/* The text of chat_template.jinja, which has precedence over tokenizer_config.json. */
RSRC_NODISCARD enum rsrc_status rsrc_parse_chat_template(struct rsrc_diag *diag,
                                                         struct rsrc_arena *arena, const char *name,
                                                         const uint8_t *bytes, uint64_t size_bytes,
                                                         struct rsr_tokenizer *tokenizer);

/* Warns of a template that renders no conversation, and keeps the warning's text in
 * chat_problem. */
void rsrc_probe_chat_template(struct rsrc_diag *diag, struct rsrc_arena *arena, const char *file,
                              struct rsr_tokenizer *tokenizer);

/* A draft between tokenizer.json and the section. Texts borrow from `scratch` or the document;
 * rsrc_pack_tokenizer copies what the section needs. */
struct rsrc_token_text {
    const char *bytes; /* raw bytes; NULL: the id is not used */
    uint32_t n_bytes;
    uint8_t flags; /* enum rsr_token_flag */
};

struct rsrc_token_split {
    struct rsr_pretokenizer step; /* pattern_at is set when packing */
    const char *pattern;          /* NULL: none */
};

/* Every `pattern` becomes `content`; both UTF-8, at most RSRC_MAX_LITERAL bytes. */
struct rsrc_token_replacement {
    const char *pattern; /* "": none */
    const char *content;
};

struct rsrc_token_normalizer {
    enum rsr_normalizer_kind kind;
    struct rsrc_token_replacement text;
};

#define RSRC_MAX_NORMALIZERS 8
#define RSRC_MAX_SPLITS 16
#define RSRC_MAX_TEMPLATE_TOKENS 16
#define RSRC_MAX_LITERAL 16
#define RSRC_MAX_TEXT_GROWTH 16

struct rsrc_tokenizer_draft {
    struct rsrc_diag *diag;
    struct rsrc_arena *scratch;
    const char *file;
    const char *nul;     /* stand-in for a NUL in the document; "": none */
    const json_t *vocab; /* token -> id, checked */
    struct rsrc_token_text *tokens;
    uint32_t n_tokens;
    struct rsr_merge *merges; /* sorted by (left, right), no pair twice */
    uint32_t n_merges;
    enum rsr_bpe_alphabet alphabet;
    uint32_t unk_token; /* RSR_NO_TOKEN: none */
    bool fuse_unk;
    bool byte_fallback; /* of the model: missing characters become tokens <0xNN> */
    struct rsrc_token_normalizer normalizers[RSRC_MAX_NORMALIZERS];
    uint32_t n_normalizers;
    struct rsrc_token_split splits[RSRC_MAX_SPLITS];
    uint32_t n_splits;
    struct rsr_decoder decoder; /* replace is set when packing */
    struct rsrc_token_replacement decoder_text;
    uint32_t prefix[RSRC_MAX_TEMPLATE_TOKENS];
    uint32_t n_prefix;
    uint32_t suffix[RSRC_MAX_TEMPLATE_TOKENS];
    uint32_t n_suffix;
    bool ignore_merges;
};

/* Diagnostics of these files: "<what> '<found>' is not supported", and a sentence. */
enum rsrc_status rsrc_refuse_component(const struct rsrc_tokenizer_draft *draft, const char *slug,
                                       const char *what, const char *found, const char *help);
enum rsrc_status rsrc_refuse_tokenizer(const struct rsrc_tokenizer_draft *draft, const char *slug,
                                       const char *problem);
/* The "type" of a component of tokenizer.json; never NULL. */
const char *rsrc_component_type(const json_t *component);

/* tokenizer_nul.c: reads the document, which the caller owns, with draft->nul as a stand-in for
 * NUL; and gives the text of a token with NULs restored, in the document or the scratch arena. */
RSRC_NODISCARD enum rsrc_status rsrc_draft_parse(struct rsrc_tokenizer_draft *draft,
                                                 const uint8_t *bytes, uint64_t size_bytes,
                                                 json_t **out);
const char *rsrc_draft_with_nuls(const struct rsrc_tokenizer_draft *draft, const char *text,
                                 uint32_t *n_bytes);

/* tokenizer_text.c: processing of text before and after the model. Read pre-tokenizers first,
 * because they decide the alphabet. */
RSRC_NODISCARD enum rsrc_status rsrc_draft_pretokenizers(struct rsrc_tokenizer_draft *draft,
                                                         const json_t *root);
RSRC_NODISCARD enum rsrc_status rsrc_draft_normalizers(struct rsrc_tokenizer_draft *draft,
                                                       const json_t *root);
RSRC_NODISCARD enum rsrc_status rsrc_draft_decoder(struct rsrc_tokenizer_draft *draft,
                                                   const json_t *root);

/* tokenizer_vocab.c: vocabulary, added tokens and merges of the document. */
RSRC_NODISCARD enum rsrc_status rsrc_draft_vocabulary(struct rsrc_tokenizer_draft *draft,
                                                      const json_t *root, const json_t *model);
/* tokenizer_pack.c: the draft as one section in the arena. */
void rsrc_pack_tokenizer(struct rsrc_arena *arena, const struct rsrc_tokenizer_draft *draft,
                         struct rsr_tokenizer *out);
/* The byte that a character of the byte-level alphabet stands for, or -1. */
int rsrc_byte_of_char(uint32_t code_point);
/* Maps valid UTF-8 in that alphabet to bytes; false if a character is not in it. `out` needs room
 * for as many bytes as the text has. */
bool rsrc_unmap_bytes(const char *text, size_t n_bytes, char *out, uint32_t *n_out);

#endif
