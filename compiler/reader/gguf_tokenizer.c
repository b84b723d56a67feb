/* gguf_tokenizer.c - tokenizer.ggml.* and tokenizer.chat_template as the section of rsr_abi.h.
 *
 *   model "gpt2"   byte-level BPE; "pre" names the pre-tokenizer, by the tokenizer that the
 *   converter recognised model "llama"  SentencePiece's BPE: scores instead of a list of merges,
 *   tokens of single bytes
 *
 * A name stands for the behaviour of the tokenizers library for the model of that name. llama.cpp
 * sometimes differs: Qwen 2 normalises its text, and Llama puts a space before the text after each
 * special token. Absent keys have llama.cpp's defaults.
 */
#include "reader/gguf_tokenizer.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define KEY(name) "tokenizer.ggml." name
#define MAX_TEMPLATE_BYTES (UINT64_C(1) << 20)
#define MARK "\xe2\x96\x81" /* U+2581, SentencePiece's space */

enum rsrc_status rsrc_gguf_refuse_tokenizer(const struct rsrc_gguf_tokenizer *tokenizer,
                                            const struct rsrc_gguf_value *value, const char *help,
                                            const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    const struct rsrc_place place = {.file = tokenizer->draft.file,
                                     .has_offset = value != NULL,
                                     .offset = value == NULL ? 0 : value->offset};
    return rsrc_refuse(tokenizer->draft.diag, "gguf-tokenizer", &place, help, "%s", text);
}

static const char *quoted_text(const struct rsrc_gguf_tokenizer *tokenizer,
                               const struct rsrc_gguf_value *value) {
    if (value->type != RSRC_GGUF_STRING)
        return rsrc_gguf_type_name(value->type);
    struct rsrc_arena *scratch = tokenizer->draft.scratch;
    const size_t n = value->n > 80 ? 80 : (size_t)value->n;
    return rsrc_quote(scratch, rsrc_arena_strndup(scratch, (const char *)value->data, n));
}

/* ---- options --------------------------------------------------------------------------------- */

static enum rsrc_status read_bool(const struct rsrc_gguf_tokenizer *tokenizer, const char *key,
                                  bool absent, bool *out) {
    const struct rsrc_gguf_value *value = rsrc_gguf_find(tokenizer->gguf, key);
    *out = absent;
    if (value == NULL)
        return RSRC_OK;
    if (value->type != RSRC_GGUF_BOOL)
        return rsrc_gguf_refuse_tokenizer(tokenizer, value, NULL, "\"%s\" is %s and no bool", key,
                                          rsrc_gguf_type_name(value->type));
    *out = value->data[0] != 0;
    return RSRC_OK;
}

/* Sets the tokens before and after a text, if the file asks for them. */
static enum rsrc_status read_around(struct rsrc_gguf_tokenizer *tokenizer,
                                    const struct rsr_config *config, bool adds_bos) {
    struct rsrc_tokenizer_draft *draft = &tokenizer->draft;
    const uint32_t eos = config->n_eos_tokens != 0 ? config->eos_tokens[0] : RSR_NO_TOKEN;
    bool adds_eos;
    if (read_bool(tokenizer, KEY("add_bos_token"), adds_bos, &adds_bos) != RSRC_OK ||
        read_bool(tokenizer, KEY("add_eos_token"), false, &adds_eos) != RSRC_OK)
        return RSRC_FAILED;
    if ((adds_bos && config->bos_token >= draft->n_tokens) || (adds_eos && eos >= draft->n_tokens))
        return rsrc_gguf_refuse_tokenizer(
            tokenizer, NULL, "set \"tokenizer.ggml.add_bos_token\" or \"add_eos_token\" to false",
            "a token is to be put around every text, but the file does not say which");
    if (adds_bos)
        draft->prefix[draft->n_prefix++] = config->bos_token;
    if (adds_eos)
        draft->suffix[draft->n_suffix++] = eos;
    return RSRC_OK;
}

/* ---- byte-level BPE -------------------------------------------------------------------------- */

/* Components as in tokenizer.json; its strings double a backslash. */
#define SPLIT(regex)                                                                               \
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" regex                                          \
    "\"},\"behavior\":\"Isolated\",\"invert\":false}"
#define BYTE_LEVEL(use_regex)                                                                      \
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":" use_regex "}"
#define DIGITS(individual) "{\"type\":\"Digits\",\"individual_digits\":" individual "}"
#define PUNCTUATION "{\"type\":\"Punctuation\",\"behavior\":\"Contiguous\"}"
#define WORDS_OF(letters, letter, numbers)                                                         \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?" letter "+|" numbers              \
    "| ?[^\\\\s" letters "\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define WORDS(numbers) WORDS_OF("\\\\p{L}", "\\\\p{L}", numbers)
#define GPT_2 BYTE_LEVEL("true")
#define LLAMA_3 SPLIT(WORDS("\\\\p{N}{1,3}")) "," BYTE_LEVEL("false")
#define QWEN_2 SPLIT(WORDS("\\\\p{N}")) "," BYTE_LEVEL("false")
#define QWEN_3_5                                                                                   \
    SPLIT(WORDS_OF("\\\\p{L}\\\\p{M}", "[\\\\p{L}\\\\p{M}]", "\\\\p{N}")) "," BYTE_LEVEL("false")
#define STARCODER DIGITS("true") "," GPT_2
#define FALCON PUNCTUATION "," GPT_2 "," DIGITS("false") "," SPLIT("[0-9][0-9][0-9]")

/* Pre-tokenizers by the names of llama.cpp's converter. */
static const struct pre {
    const char *name;
    const char *components;
    bool is_nfc, ignores_merges, adds_bos;
} PRES[] = {
    {"gpt-2", GPT_2, false, false, false},
    {"mpt", GPT_2, true, false, false}, /* the tokenizer of GPT-NeoX and of OLMo */
    {"olmo", GPT_2, true, false, false},
    {"llama-bpe", LLAMA_3, false, true, true},
    {"llama3", LLAMA_3, false, true, true},
    {"llama-v3", LLAMA_3, false, true, true},
    {"falcon3", LLAMA_3, false, true, true},
    {"qwen2", QWEN_2, true, false, false},
    {"deepseek-r1-qwen", QWEN_2, true, false, false},
    {"qwen35", QWEN_3_5, true, false, false},
    {"starcoder", STARCODER, false, false, false},
    {"smollm", STARCODER, false, false, false},
    {"falcon", FALCON, false, false, false},
};
#define PRE_HELP                                                                                   \
    "\"gpt-2\", \"llama-bpe\", \"falcon3\", \"qwen2\", \"qwen35\", \"falcon\", \"mpt\", "          \
    "\"olmo\", "                                                                                   \
    "\"starcoder\" and \"smollm\" are; or compile the Hugging Face folder of this model"

static const struct pre *find_pre(const struct rsrc_gguf_value *value) {
    for (size_t i = 0; value != NULL && i < sizeof(PRES) / sizeof(PRES[0]); i++)
        if (rsrc_gguf_is_text(value, PRES[i].name))
            return &PRES[i];
    return NULL;
}

/* Reads components like those of a tokenizer.json. The document is kept until the draft is
 * packed. */
static enum rsrc_status draft_components(struct rsrc_gguf_tokenizer *tokenizer,
                                         const struct pre *pre) {
    const char *text = rsrc_arena_printf(
        tokenizer->draft.scratch,
        "{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[%s]}}", pre->components);
    tokenizer->components = json_loads(text, 0, NULL);
    return rsrc_draft_pretokenizers(&tokenizer->draft, tokenizer->components);
}

static enum rsrc_status read_bytes_model(struct rsrc_gguf_tokenizer *tokenizer,
                                         const struct rsr_config *config) {
    struct rsrc_tokenizer_draft *draft = &tokenizer->draft;
    const struct rsrc_gguf_value *value = rsrc_gguf_find(tokenizer->gguf, KEY("pre"));
    const struct pre *pre = find_pre(value);
    bool prefix_space;
    if (pre == NULL)
        return rsrc_gguf_refuse_tokenizer(
            tokenizer, value, PRE_HELP, "the pre-tokenizer %s%s%s is not supported",
            value == NULL ? "that \"tokenizer.ggml.pre\" should name" : "'",
            value == NULL ? "" : quoted_text(tokenizer, value), value == NULL ? "" : "'");
    if (read_bool(tokenizer, KEY("add_space_prefix"), false, &prefix_space) != RSRC_OK ||
        draft_components(tokenizer, pre) != RSRC_OK)
        return RSRC_FAILED;
    for (uint32_t i = 0; i < draft->n_splits; i++)
        if (draft->splits[i].step.kind == RSR_PRETOKENIZER_BYTE_LEVEL)
            draft->splits[i].step.prefix = prefix_space ? RSR_PREFIX_ALWAYS : RSR_PREFIX_NEVER;
    if (pre->is_nfc)
        draft->normalizers[draft->n_normalizers++] =
            (struct rsrc_token_normalizer){.kind = RSR_NORMALIZER_NFC, .text = {"", ""}};
    draft->ignore_merges = pre->ignores_merges;
    draft->decoder.kind = RSR_DECODER_BYTE_LEVEL;
    return rsrc_gguf_read_vocab(tokenizer, config->hyper.vocab) == RSRC_OK
               ? read_around(tokenizer, config, pre->adds_bos)
               : RSRC_FAILED;
}

/* ---- SentencePiece --------------------------------------------------------------------------- */

/* Refuses models whose SentencePiece changes the text in other ways than marking spaces. */
static enum rsrc_status check_normalization(const struct rsrc_gguf_tokenizer *tokenizer) {
    const struct rsrc_gguf_value *map =
        rsrc_gguf_find(tokenizer->gguf, KEY("precompiled_charsmap"));
    bool removes_spaces;
    if (read_bool(tokenizer, KEY("remove_extra_whitespaces"), false, &removes_spaces) != RSRC_OK)
        return RSRC_FAILED;
    if (removes_spaces || (map != NULL && map->n != 0))
        return rsrc_gguf_refuse_tokenizer(
            tokenizer, map, "the identity is", "the text's normalisation by %s is not supported",
            removes_spaces ? "\"remove_extra_whitespaces\"" : "\"precompiled_charsmap\"");
    return RSRC_OK;
}

static enum rsrc_status read_sentences_model(struct rsrc_gguf_tokenizer *tokenizer,
                                             const struct rsr_config *config) {
    struct rsrc_tokenizer_draft *draft = &tokenizer->draft;
    bool prefix_space;
    if (check_normalization(tokenizer) != RSRC_OK ||
        read_bool(tokenizer, KEY("add_space_prefix"), true, &prefix_space) != RSRC_OK)
        return RSRC_FAILED;
    draft->alphabet = RSR_BPE_CHARACTERS;
    draft->fuse_unk = true;
    if (prefix_space)
        draft->normalizers[draft->n_normalizers++] =
            (struct rsrc_token_normalizer){.kind = RSR_NORMALIZER_PREPEND, .text = {"", MARK}};
    draft->normalizers[draft->n_normalizers++] =
        (struct rsrc_token_normalizer){.kind = RSR_NORMALIZER_REPLACE, .text = {" ", MARK}};
    draft->decoder = (struct rsr_decoder){.kind = RSR_DECODER_TEXT,
                                          .byte_fallback = 1,
                                          .strip_code = ' ',
                                          .strip_count = prefix_space ? 1 : 0};
    draft->decoder_text = (struct rsrc_token_replacement){MARK, " "};
    return rsrc_gguf_read_vocab(tokenizer, config->hyper.vocab) == RSRC_OK
               ? read_around(tokenizer, config, true)
               : RSRC_FAILED;
}

/* ---- chat template --------------------------------------------------------------------------- */

static enum rsrc_status read_template(const struct rsrc_gguf_tokenizer *tokenizer,
                                      struct rsrc_arena *arena, struct rsr_tokenizer *out) {
    const struct rsrc_gguf_value *value =
        rsrc_gguf_find(tokenizer->gguf, "tokenizer.chat_template");
    if (value == NULL || (value->type == RSRC_GGUF_STRING && value->n == 0))
        return RSRC_OK;
    if (value->type != RSRC_GGUF_STRING || value->n > MAX_TEMPLATE_BYTES ||
        memchr(value->data, '\0', (size_t)value->n) != NULL)
        return rsrc_gguf_refuse_tokenizer(tokenizer, value, NULL,
                                          "\"tokenizer.chat_template\" is no string, longer than "
                                          "1048576 bytes, or holds a NUL byte");
    out->chat_template = rsrc_arena_strndup(arena, (const char *)value->data, (size_t)value->n);
    return RSRC_OK;
}

static const char *token_text(const struct rsrc_tokenizer_draft *draft, struct rsrc_arena *arena,
                              uint32_t id) {
    if (id >= draft->n_tokens || draft->tokens[id].n_bytes == 0 ||
        memchr(draft->tokens[id].bytes, '\0', draft->tokens[id].n_bytes) != NULL)
        return "";
    return rsrc_arena_strndup(arena, draft->tokens[id].bytes, draft->tokens[id].n_bytes);
}

/* ---- ends of turns --------------------------------------------------------------------------- */

/* Texts of tokens that end a turn. A file has one id of each kind, and converters write only the id
 * of the end of text. llama.cpp finds further end tokens by their texts; these are the ones of the
 * tokenizers above. */
static const char *const ENDS[] = {"<|eot_id|>",    "<|eom_id|>",    "<|im_end|>",
                                   "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>"};

static bool is_end(const struct rsrc_token_text *token) {
    for (size_t i = 0; i < sizeof(ENDS) / sizeof(ENDS[0]); i++)
        if (token->n_bytes == strlen(ENDS[i]) && memcmp(token->bytes, ENDS[i], token->n_bytes) == 0)
            return (token->flags & RSR_TOKEN_SPECIAL) != 0;
    return false;
}

static enum rsrc_status add_ends(const struct rsrc_gguf_tokenizer *tokenizer,
                                 struct rsr_config *config) {
    const uint32_t max = sizeof(config->eos_tokens) / sizeof(config->eos_tokens[0]);
    for (uint32_t id = 0; id < tokenizer->draft.n_tokens; id++) {
        bool is_new = is_end(&tokenizer->draft.tokens[id]);
        for (uint32_t i = 0; i < config->n_eos_tokens; i++)
            is_new = is_new && config->eos_tokens[i] != id;
        if (is_new && config->n_eos_tokens == max)
            return rsrc_gguf_refuse_tokenizer(tokenizer, NULL, NULL,
                                              "more than %u tokens end what the model says", max);
        if (is_new)
            config->eos_tokens[config->n_eos_tokens++] = id;
    }
    return RSRC_OK;
}

/* ---- entry point ----------------------------------------------------------------------------- */

static enum rsrc_status read_tokenizer(struct rsrc_gguf_tokenizer *tokenizer,
                                       const struct rsr_config *config) {
    const struct rsrc_gguf_value *model = rsrc_gguf_find(tokenizer->gguf, KEY("model"));
    if (rsrc_gguf_is_text(model, "gpt2"))
        return read_bytes_model(tokenizer, config);
    if (rsrc_gguf_is_text(model, "llama"))
        return read_sentences_model(tokenizer, config);
    return rsrc_gguf_refuse_tokenizer(
        tokenizer, model, "\"gpt2\" and \"llama\" are; or compile the Hugging Face folder",
        "the tokenizer model '%s' is not supported", quoted_text(tokenizer, model));
}

enum rsrc_status rsrc_gguf_read_tokenizer(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                          const char *file, const struct rsrc_gguf *gguf,
                                          struct rsr_config *config, struct rsr_tokenizer *out) {
    const struct rsrc_gguf_value *model = rsrc_gguf_find(gguf, KEY("model"));
    *out = (struct rsr_tokenizer){.bos_text = "", .eos_text = ""};
    if (model == NULL || rsrc_gguf_is_text(model, "none") || rsrc_gguf_is_text(model, "no_vocab"))
        return RSRC_OK;
    struct rsrc_arena scratch;
    rsrc_arena_init(&scratch);
    json_t *vocab = json_object();
    struct rsrc_gguf_tokenizer tokenizer = {.draft = {.diag = diag,
                                                      .scratch = &scratch,
                                                      .file = file,
                                                      .vocab = vocab,
                                                      .decoder_text = {"", ""},
                                                      .unk_token = RSR_NO_TOKEN},
                                            .gguf = gguf};
    struct rsr_tokenizer result;
    enum rsrc_status status = read_tokenizer(&tokenizer, config);
    if (status == RSRC_OK) {
        rsrc_pack_tokenizer(arena, &tokenizer.draft, &result);
        result.bos_text = token_text(&tokenizer.draft, arena, config->bos_token);
        if (config->n_eos_tokens != 0)
            result.eos_text = token_text(&tokenizer.draft, arena, config->eos_tokens[0]);
        status = read_template(&tokenizer, arena, &result) == RSRC_OK ? add_ends(&tokenizer, config)
                                                                      : RSRC_FAILED;
    }
    if (status == RSRC_OK) {
        rsrc_probe_chat_template(diag, arena, file, &result);
        *out = result;
    }
    json_decref(tokenizer.components);
    json_decref(vocab);
    rsrc_arena_free(&scratch);
    return status;
}
