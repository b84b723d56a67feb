/* tokenizer_pack.c - lays a drafted tokenizer out as the section of rsr_abi.h.
 *
 *   header | text offsets | merges | normalizers | pre-tokenizers | prefix | suffix | flags
 *   | literals and patterns | text
 *
 * Every part begins at a multiple of 8. Sizes were bounded by the readers of the draft: each part
 * is a small multiple of the text it came from.
 */
#include <stdio.h>
#include <string.h>

#include "reader/reader.h"

/* Allots aligned places one after another; the first pass measures, the second fills. */
struct layout {
    uint64_t begin_at, merges_at, normalizers_at, splits_at, prefix_at, suffix_at, flags_at;
    uint64_t strings_at, text_at;
    uint64_t size_bytes;
};

static uint64_t take(uint64_t *end, uint64_t size_bytes) {
    uint64_t at = *end;
    *end = (at + size_bytes + 7) & ~UINT64_C(7);
    return at;
}

static uint64_t replacement_bytes(const struct rsrc_token_replacement *replacement) {
    uint64_t total = 0;
    take(&total, strlen(replacement->pattern));
    take(&total, strlen(replacement->content));
    return total;
}

static uint64_t string_bytes(const struct rsrc_tokenizer_draft *draft) {
    uint64_t total = replacement_bytes(&draft->decoder_text);
    for (uint32_t i = 0; i < draft->n_normalizers; i++) {
        total += replacement_bytes(&draft->normalizers[i].text);
    }
    for (uint32_t i = 0; i < draft->n_splits; i++) {
        take(&total, draft->splits[i].step.pattern_bytes);
    }
    return total;
}

static struct layout lay_out(const struct rsrc_tokenizer_draft *draft) {
    uint64_t text_bytes = 0;
    for (uint32_t i = 0; i < draft->n_tokens; i++) {
        text_bytes += draft->tokens[i].n_bytes;
    }
    uint64_t end = 0;
    take(&end, sizeof(struct rsr_tokenizer_header));
    struct layout layout;
    layout.begin_at = take(&end, (draft->n_tokens + UINT64_C(1)) * sizeof(uint64_t));
    layout.merges_at = take(&end, draft->n_merges * (uint64_t)sizeof(struct rsr_merge));
    layout.normalizers_at =
        take(&end, draft->n_normalizers * (uint64_t)sizeof(struct rsr_normalizer));
    layout.splits_at = take(&end, draft->n_splits * (uint64_t)sizeof(struct rsr_pretokenizer));
    layout.prefix_at = take(&end, draft->n_prefix * (uint64_t)sizeof(uint32_t));
    layout.suffix_at = take(&end, draft->n_suffix * (uint64_t)sizeof(uint32_t));
    layout.flags_at = take(&end, draft->n_tokens);
    layout.strings_at = take(&end, string_bytes(draft));
    layout.text_at = take(&end, text_bytes);
    layout.size_bytes = end;
    return layout;
}

static void pack_tokens(uint8_t *section, const struct layout *layout,
                        const struct rsrc_tokenizer_draft *draft) {
    uint64_t *begin = (uint64_t *)(void *)(section + layout->begin_at);
    uint64_t at = 0;
    for (uint32_t i = 0; i < draft->n_tokens; i++) {
        const struct rsrc_token_text *token = &draft->tokens[i];
        begin[i] = at;
        section[layout->flags_at + i] = token->n_bytes == 0 ? RSR_TOKEN_UNUSED : token->flags;
        if (token->n_bytes != 0) {
            memcpy(section + layout->text_at + at, token->bytes, token->n_bytes);
            at += token->n_bytes;
        }
    }
    begin[draft->n_tokens] = at;
}

/* Appends a string and returns its place. */
static uint64_t pack_string(uint8_t *section, uint64_t *end, const char *text, size_t n_bytes) {
    uint64_t at = take(end, n_bytes);
    if (n_bytes != 0) {
        memcpy(section + at, text, n_bytes);
    }
    return at;
}

static struct rsr_replacement pack_replacement(uint8_t *section, uint64_t *end,
                                               const struct rsrc_token_replacement *text) {
    struct rsr_replacement out = {.pattern_bytes = (uint32_t)strlen(text->pattern),
                                  .content_bytes = (uint32_t)strlen(text->content)};
    out.pattern_at = pack_string(section, end, text->pattern, out.pattern_bytes);
    out.content_at = pack_string(section, end, text->content, out.content_bytes);
    return out;
}

/* Normalizers, pre-tokenizers and the decoder, with their strings. */
static void pack_steps(uint8_t *section, const struct layout *layout,
                       const struct rsrc_tokenizer_draft *draft, struct rsr_decoder *decoder) {
    uint64_t end = layout->strings_at;
    for (uint32_t i = 0; i < draft->n_normalizers; i++) {
        struct rsr_normalizer step = {.kind = draft->normalizers[i].kind};
        step.text = pack_replacement(section, &end, &draft->normalizers[i].text);
        memcpy(section + layout->normalizers_at + i * sizeof(step), &step, sizeof(step));
    }
    for (uint32_t i = 0; i < draft->n_splits; i++) {
        struct rsr_pretokenizer step = draft->splits[i].step;
        step.pattern_at = pack_string(section, &end, draft->splits[i].pattern, step.pattern_bytes);
        memcpy(section + layout->splits_at + i * sizeof(step), &step, sizeof(step));
    }
    *decoder = draft->decoder;
    decoder->replace = pack_replacement(section, &end, &draft->decoder_text);
}

/* The token of each single byte: SentencePiece's <0xNN>. */
static void find_fallback_tokens(const struct rsrc_tokenizer_draft *draft,
                                 uint32_t byte_token[256]) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        char text[8];
        snprintf(text, sizeof(text), "<0x%02X>", byte);
        const json_t *id = draft->byte_fallback ? json_object_get(draft->vocab, text) : NULL;
        byte_token[byte] = id == NULL ? RSR_NO_TOKEN : (uint32_t)json_integer_value(id);
    }
}

/* The token of each single byte: the one-character entries of the vocabulary. */
static void find_byte_tokens(const struct rsrc_tokenizer_draft *draft, uint32_t byte_token[256]) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        byte_token[byte] = RSR_NO_TOKEN;
    }
    for (uint32_t c = 0; c < 0x144; c++) {
        int byte = rsrc_byte_of_char(c);
        char text[2] = {(char)c, '\0'};
        size_t n_bytes = 1;
        if (c >= 0x80) {
            text[0] = (char)(0xc0 | c >> 6);
            text[1] = (char)(0x80 | (c & 0x3f));
            n_bytes = 2;
        }
        const json_t *id = byte < 0 ? NULL : json_object_getn(draft->vocab, text, n_bytes);
        if (id != NULL) {
            byte_token[byte] = (uint32_t)json_integer_value(id);
        }
    }
}

static void copy_part(uint8_t *section, uint64_t at, const void *bytes, uint64_t size_bytes) {
    if (size_bytes != 0) {
        memcpy(section + at, bytes, (size_t)size_bytes);
    }
}

void rsrc_pack_tokenizer(struct rsrc_arena *arena, const struct rsrc_tokenizer_draft *draft,
                         struct rsr_tokenizer *out) {
    const struct layout layout = lay_out(draft);
    uint8_t *section = rsrc_arena_alloc(arena, (size_t)layout.size_bytes);
    struct rsr_tokenizer_header *header = (struct rsr_tokenizer_header *)(void *)section;
    *header = (struct rsr_tokenizer_header){
        .magic = RSR_TOKENIZER_MAGIC,
        .n_tokens = draft->n_tokens,
        .size_bytes = layout.size_bytes,
        .n_merges = draft->n_merges,
        .n_normalizers = draft->n_normalizers,
        .n_pretokenizers = draft->n_splits,
        .alphabet = draft->alphabet,
        .ignore_merges = draft->ignore_merges,
        .unk_token = draft->unk_token,
        .fuse_unk = draft->fuse_unk,
        .n_prefix = draft->n_prefix,
        .n_suffix = draft->n_suffix,
        .text_begin_at = layout.begin_at,
        .text_at = layout.text_at,
        .flags_at = layout.flags_at,
        .merges_at = layout.merges_at,
        .normalizers_at = layout.normalizers_at,
        .pretokenizers_at = layout.splits_at,
        .prefix_at = layout.prefix_at,
        .suffix_at = layout.suffix_at,
    };
    if (draft->alphabet == RSR_BPE_BYTES) {
        find_byte_tokens(draft, header->byte_token);
    } else {
        find_fallback_tokens(draft, header->byte_token);
    }
    pack_tokens(section, &layout, draft);
    pack_steps(section, &layout, draft, &header->decoder);
    copy_part(section, layout.merges_at, draft->merges,
              draft->n_merges * (uint64_t)sizeof(*draft->merges));
    copy_part(section, layout.prefix_at, draft->prefix,
              draft->n_prefix * (uint64_t)sizeof(*draft->prefix));
    copy_part(section, layout.suffix_at, draft->suffix,
              draft->n_suffix * (uint64_t)sizeof(*draft->suffix));
    *out = (struct rsr_tokenizer){
        .section = header, .size_bytes = layout.size_bytes, .bos_text = "", .eos_text = ""};
}
