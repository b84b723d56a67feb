/* test_tokenizer_json.c - tokenizer.json to section, tokenizer_config.json, every refusal.
 *
 * Cases are patches of a good tokenizer: a path of keys ("model.vocab.Ha") and the JSON to put
 * there, or NULL to remove it.
 */
#include "reader_check.h"

#include <jansson.h>

#include "reader/reader.h"

enum { SPACE_A = 256, A_B, B_A, SPECIAL, PLAIN, N_TOKENS }; /* ids after the 256 single bytes */

static char *print_char(char *out, uint32_t c) {
    if (c < 0x80) {
        *out++ = (char)c;
    } else {
        *out++ = (char)(0xc0 | c >> 6);
        *out++ = (char)(0x80 | (c & 0x3f));
    }
    *out = '\0';
    return out;
}

/* The alphabet of bytes, built as in GPT-2's encoder.py. */
static uint32_t char_of_byte(uint32_t byte) {
    uint32_t next = 256;
    for (uint32_t b = 0; b < 256; b++) {
        bool printable =
            (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || (b >= 0xae && b <= 0xff);
        uint32_t c = printable ? b : next++;
        if (b == byte) {
            return c;
        }
    }
    abort();
}

/* 256 bytes in descending order of id, " a", "ab", "ba", one special and one plain added token. */
static json_t *make_tokenizer(void) {
    json_t *vocab = json_object();
    char text[8];
    for (uint32_t byte = 0; byte < 256; byte++) {
        print_char(text, char_of_byte(byte));
        json_object_set_new(vocab, text, json_integer(255 - byte));
    }
    json_object_set_new(vocab,
                        "\xc4\xa0"
                        "a",
                        json_integer(SPACE_A));
    json_object_set_new(vocab, "ab", json_integer(A_B));
    json_object_set_new(vocab, "ba", json_integer(B_A));
    json_error_t error;
    json_t *root = json_pack_ex(
        &error, 0,
        "{s:s, s:n, s:[{s:i,s:s,s:b,s:b,s:b,s:b,s:b},{s:i,s:s,s:b,s:b}], s:n,"
        " s:{s:s,s:[{s:s,s:{s:s},s:s,s:b},{s:s,s:b,s:b,s:b}]},"
        " s:{s:s,s:[{s:s},{s:s,s:[{s:{s:s,s:i}},{s:{s:s,s:i}}],s:{s:{s:s,s:[i],s:[s]}}}]},"
        " s:{s:s}, s:{s:s,s:n,s:n,s:b,s:b,s:o,s:[s,[s,s],s]}}",
        "version", "1.0", "truncation", "added_tokens", "id", SPECIAL, "content", "<s>", "special",
        1, "lstrip", 0, "rstrip", 1, "single_word", 0, "normalized", 0, "id", PLAIN, "content",
        "\xe6\x97\xa5 x", "special", 0, "lstrip", 1, "normalizer", "pre_tokenizer", "type",
        "Sequence", "pretokenizers", "type", "Split", "pattern", "Regex", "\\p{L}+", "behavior",
        "MergedWithNext", "invert", 1, "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets",
        1, "use_regex", 0, "post_processor", "type", "Sequence", "processors", "type", "ByteLevel",
        "type", "TemplateProcessing", "single", "SpecialToken", "id", "<s>", "type_id", 0,
        "Sequence", "id", "A", "type_id", 0, "special_tokens", "<s>", "id", "<s>", "ids", SPECIAL,
        "tokens", "<s>", "decoder", "type", "ByteLevel", "model", "type", "BPE", "dropout",
        "unk_token", "byte_fallback", 0, "ignore_merges", 1, "vocab", vocab, "merges", "b a", "a",
        "b", "\xc4\xa0 a");
    if (root == NULL) {
        fprintf(stderr, "json_pack: %s\n", error.text);
        abort();
    }
    return root;
}

/* Puts `value` at a dotted path of object keys and list indexes; NULL removes it. */
static void patch(json_t *root, const char *path, const char *value) {
    char key[64];
    json_t *at = root;
    const char *dot;
    while ((dot = strchr(path, '.')) != NULL) {
        snprintf(key, sizeof(key), "%.*s", (int)(dot - path), path);
        at = json_is_array(at) ? json_array_get(at, strtoul(key, NULL, 10))
                               : json_object_get(at, key);
        path = dot + 1;
    }
    json_t *parsed = value == NULL ? NULL : json_loads(value, JSON_DECODE_ANY, NULL);
    int failed;
    if (value == NULL) {
        failed = json_object_del(at, path);
    } else if (json_is_array(at)) {
        failed = json_array_set_new(at, strtoul(path, NULL, 10), parsed);
    } else {
        failed = json_object_set_new(at, path, parsed);
    }
    if (failed != 0) {
        fprintf(stderr, "bad patch: %s\n", path);
        abort();
    }
}

static enum rsrc_status parse(struct reader_test *test, const json_t *root,
                              struct rsr_tokenizer *out) {
    char *text = json_dumps(root, JSON_COMPACT);
    uint8_t *copy = exact_copy(text, strlen(text));
    reader_test_begin(test);
    enum rsrc_status status =
        rsrc_parse_tokenizer(test->diag, &test->arena, "tokenizer.json", copy, strlen(text), out);
    free(copy);
    free(text);
    return status;
}

static const void *at(const struct rsr_tokenizer_header *header, uint64_t offset) {
    CHECK_INT(offset % 8, 0);
    CHECK(offset <= header->size_bytes);
    return (const char *)header + offset;
}

static void check_token(const struct rsr_tokenizer_header *header, uint32_t id, const char *text,
                        size_t n_bytes, uint32_t flags) {
    const uint64_t *begin = at(header, header->text_begin_at);
    const char *texts = at(header, header->text_at);
    const uint8_t *all_flags = at(header, header->flags_at);
    CHECK_INT(begin[id + 1] - begin[id], n_bytes);
    CHECK(memcmp(texts + begin[id], text, n_bytes) == 0);
    CHECK_INT(all_flags[id], flags);
}

static void test_section(void) {
    struct reader_test test;
    struct rsr_tokenizer tokenizer;
    json_t *root = make_tokenizer();
    CHECK(parse(&test, root, &tokenizer) == RSRC_OK);
    CHECK_STR(reader_test_text(&test), "");
    const struct rsr_tokenizer_header *header = tokenizer.section;
    CHECK_INT(header->magic, RSR_TOKENIZER_MAGIC);
    CHECK_INT(header->size_bytes, tokenizer.size_bytes);
    CHECK_INT(header->n_tokens, N_TOKENS);
    CHECK_INT(header->n_normalizers, 0);
    CHECK_INT(header->alphabet, RSR_BPE_BYTES);
    CHECK_INT(header->unk_token, RSR_NO_TOKEN);
    CHECK_INT(header->decoder.kind, RSR_DECODER_BYTE_LEVEL);
    CHECK_INT(header->ignore_merges, 1);
    for (uint32_t byte = 0; byte < 256; byte++) {
        char raw = (char)byte;
        CHECK_INT(header->byte_token[byte], 255 - byte);
        check_token(header, 255 - byte, &raw, 1, 0);
    }
    check_token(header, SPACE_A, " a", 2, 0);
    check_token(header, SPECIAL, "<s>", 3, RSR_TOKEN_ADDED | RSR_TOKEN_SPECIAL | RSR_TOKEN_RSTRIP);
    check_token(header, PLAIN, "\xe6\x97\xa5 x", 5, RSR_TOKEN_ADDED | RSR_TOKEN_LSTRIP);

    const struct rsr_merge expected[] = {
        /* ids fall with the byte: 'b' < 'a' < ' ' */
        {255 - 'b', 255 - 'a', B_A, 0},
        {255 - 'a', 255 - 'b', A_B, 1},
        {255 - ' ', 255 - 'a', SPACE_A, 2},
    };
    CHECK_INT(header->n_merges, 3);
    CHECK(memcmp(at(header, header->merges_at), expected, sizeof(expected)) == 0);

    const struct rsr_pretokenizer *steps = at(header, header->pretokenizers_at);
    CHECK_INT(header->n_pretokenizers, 2);
    CHECK_INT(steps[0].kind, RSR_PRETOKENIZER_SPLIT);
    CHECK_INT(steps[0].behavior, 3);
    CHECK_INT(steps[0].invert, 1);
    CHECK_INT(steps[0].pattern_bytes, 6);
    CHECK(memcmp(at(header, steps[0].pattern_at), "\\p{L}+", 6) == 0);
    CHECK_INT(steps[1].kind, RSR_PRETOKENIZER_BYTE_LEVEL);
    CHECK_INT(steps[1].prefix, RSR_PREFIX_NEVER);
    CHECK_INT(steps[1].use_regex, 0);
    CHECK_INT(header->n_prefix, 1);
    CHECK_INT(header->n_suffix, 0);
    CHECK_INT(*(const uint32_t *)at(header, header->prefix_at), SPECIAL);
    CHECK_STR(tokenizer.bos_text, "");
    CHECK(tokenizer.chat_template == NULL);
    json_decref(root);
    reader_test_end(&test);
}

static const struct rsr_tokenizer_header *parse_patched(struct reader_test *test, const char *path,
                                                        const char *value,
                                                        struct rsr_tokenizer *out) {
    json_t *root = make_tokenizer();
    patch(root, path, value);
    enum rsrc_status status = parse(test, root, out);
    json_decref(root);
    CHECK(status == RSRC_OK);
    CHECK_STR(reader_test_text(test), "");
    return status == RSRC_OK ? out->section : NULL;
}

/* If two merges are equal, the last one counts, as in the tokenizers library. */
static void test_repeated_merge(void) {
    struct reader_test test;
    struct rsr_tokenizer tokenizer;
    const struct rsr_tokenizer_header *header = parse_patched(
        &test, "model.merges", "[\"#version: 0.2\",\"a b\",\"b a\",[\"a\",\"b\"]]", &tokenizer);
    if (header != NULL) {
        const struct rsr_merge *merges = at(header, header->merges_at);
        CHECK_INT(header->n_merges, 2);
        CHECK_INT(merges[0].result, B_A);
        CHECK_INT(merges[0].rank, 1);
        CHECK_INT(merges[1].result, A_B);
        CHECK_INT(merges[1].rank, 2);
    }
    reader_test_end(&test);
}

static const struct rsr_normalizer *normalizer(const struct rsr_tokenizer_header *header,
                                               uint32_t index) {
    const struct rsr_normalizer *all = at(header, header->normalizers_at);
    CHECK(index < header->n_normalizers);
    return &all[index];
}

static void check_literal(const struct rsr_tokenizer_header *header, uint64_t offset,
                          uint32_t n_bytes, const char *expected) {
    CHECK_INT(n_bytes, strlen(expected));
    CHECK(memcmp(at(header, offset), expected, n_bytes) == 0);
}

#define SPLIT "pre_tokenizer.pretokenizers.0"

/* Checks that a pre-tokenizer becomes a Split whose pattern is, or begins with, this one. */
static void check_split(const char *path, const char *value, const char *pattern,
                        uint32_t behavior) {
    struct reader_test test;
    struct rsr_tokenizer tokenizer;
    const struct rsr_tokenizer_header *header = parse_patched(&test, path, value, &tokenizer);
    if (header != NULL) {
        const struct rsr_pretokenizer *step = at(header, header->pretokenizers_at);
        CHECK_INT(header->n_pretokenizers, 2);
        CHECK_INT(step->kind, RSR_PRETOKENIZER_SPLIT);
        CHECK_INT(step->behavior, behavior);
        CHECK_INT(step->invert, 0);
        CHECK(step->pattern_bytes >= strlen(pattern) &&
              memcmp(at(header, step->pattern_at), pattern, strlen(pattern)) == 0);
    }
    reader_test_end(&test);
}

static void test_variants(void) {
    struct reader_test test;
    struct rsr_tokenizer tokenizer;
    const struct rsr_tokenizer_header *header;

    header = parse_patched(&test, "normalizer", "{\"type\":\"NFC\"}", &tokenizer);
    CHECK(header != NULL && normalizer(header, 0)->kind == RSR_NORMALIZER_NFC);
    reader_test_end(&test);

    header =
        parse_patched(&test, "normalizer",
                      "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"}]}", &tokenizer);
    CHECK(header != NULL && normalizer(header, 0)->kind == RSR_NORMALIZER_NFC);
    reader_test_end(&test);

    header = parse_patched(&test, "pre_tokenizer",
                           "{\"type\":\"ByteLevel\",\"add_prefix_space\":true}", &tokenizer);
    if (header != NULL) {
        const struct rsr_pretokenizer *step = at(header, header->pretokenizers_at);
        CHECK_INT(header->n_pretokenizers, 1);
        CHECK_INT(step->prefix, RSR_PREFIX_ALWAYS);
        CHECK_INT(step->use_regex, 1);
    }
    reader_test_end(&test);

    header = parse_patched(&test, SPLIT ".pattern", "{\"String\":\"a.(b) \\u00e9\"}", &tokenizer);
    if (header != NULL) {
        const struct rsr_pretokenizer *step = at(header, header->pretokenizers_at);
        static const char want[] = "a\\.\\(b\\) \xc3\xa9";
        CHECK_INT(step->pattern_bytes, sizeof(want) - 1);
        CHECK(memcmp(at(header, step->pattern_at), want, sizeof(want) - 1) == 0);
    }
    reader_test_end(&test);

    check_split(SPLIT, "{\"type\":\"Digits\",\"individual_digits\":true}", "\\p{N}", 0);
    check_split(SPLIT, "{\"type\":\"Digits\"}", "\\p{N}", 4);
    check_split(SPLIT, "{\"type\":\"Punctuation\"}", "[\\p{P}$", 0);
    check_split(SPLIT, "{\"type\":\"Punctuation\",\"behavior\":\"MergedWithPrevious\"}", "[\\p{P}$",
                2);

    header = parse_patched(&test, "post_processor", "null", &tokenizer);
    CHECK(header != NULL && header->n_prefix == 0 && header->n_suffix == 0);
    reader_test_end(&test);

    header = parse_patched(&test, "post_processor.processors.1.single",
                           "[{\"Sequence\":{\"id\":\"A\"}},{\"SpecialToken\":{\"id\":\"<s>\"}}]",
                           &tokenizer);
    if (header != NULL) {
        CHECK_INT(header->n_prefix, 0);
        CHECK_INT(header->n_suffix, 1);
        CHECK_INT(*(const uint32_t *)at(header, header->suffix_at), SPECIAL);
    }
    reader_test_end(&test);
}

/* Ids without a token, and an added token that is also in the vocabulary, where it keeps its id. */
static void test_gap(void) {
    struct reader_test test;
    struct rsr_tokenizer tokenizer;
    json_t *root = make_tokenizer();
    patch(root, "post_processor", "null");
    patch(root, "added_tokens", "[{\"id\":257,\"content\":\"ab\",\"special\":true}]");
    patch(root, "model.vocab.ba", "300");
    patch(root, "model.vocab.a", NULL);
    patch(root, "model.merges", "[]");
    CHECK(parse(&test, root, &tokenizer) == RSRC_OK);
    CHECK_STR(reader_test_text(&test), "");
    const struct rsr_tokenizer_header *header = tokenizer.section;
    CHECK_INT(header->n_tokens, 301);
    check_token(header, A_B, "ab", 2,
                RSR_TOKEN_ADDED | RSR_TOKEN_SPECIAL | RSR_TOKEN_IN_VOCABULARY);
    check_token(header, B_A, "", 0, RSR_TOKEN_UNUSED);
    check_token(header, 300, "ba", 2, 0);
    CHECK_INT(header->byte_token['a'], RSR_NO_TOKEN);
    check_token(header, 255 - 'a', "", 0, RSR_TOKEN_UNUSED);
    json_decref(root);
    reader_test_end(&test);
}

#define TEMPLATE "post_processor.processors.1"

/* A patch, the slug of its one diagnostic, and what the message names. */
struct refusal {
    const char *path, *value, *slug, *names;
};

static const struct refusal REFUSED[] = {
    {"model", NULL, "tokenizer-model", "(no type)"},
    {"model.type", "\"Unigram\"", "tokenizer-model", "XLM-RoBERTa"},
    {"model.type", "\"WordPiece\"", "tokenizer-model", "model of BERT"},
    {"model.type", "\"WordLevel\"", "tokenizer-model", "'WordLevel'"},
    {"model.dropout", "0.1", "tokenizer-model", "dropout"},
    {"model.unk_token", "\"<unk>\"", "tokenizer-model", "unk_token"},
    {"model.continuing_subword_prefix", "\"##\"", "tokenizer-model", "continuing_subword_prefix"},
    {"model.end_of_word_suffix", "\"</w>\"", "tokenizer-model", "end_of_word_suffix"},
    {"model.byte_fallback", "true", "tokenizer-model", "byte_fallback"},
    {"model.ignore_merges", "\"yes\"", "tokenizer-field", "ignore_merges"},
    {"model.vocab", NULL, "tokenizer-field", "vocab"},
    {"model.vocab", "[]", "tokenizer-field", "vocab"},
    {"model.merges", NULL, "tokenizer-field", "merges"},
    {"added_tokens", "{}", "tokenizer-field", "added_tokens"},
    {"model.vocab.ab", "-1", "tokenizer-id", "ab"},
    {"model.vocab.ab", "4194304", "tokenizer-id", "ab"},
    {"model.vocab.ab", "\"7\"", "tokenizer-id", "ab"},
    {"model.vocab.ab", "4194303", "tokenizer-id", "4194303"},
    {"model.vocab.ab", "258", "tokenizer-id", "another token"},
    {"model.vocab.ab", "259", "tokenizer-id", "another token"},
    {"model.vocab.\xe6\x97\xa5", "261", "tokenizer-added-token", "numbered"},
    {"added_tokens.0", "3", "tokenizer-added-token", "content"},
    {"added_tokens.0.content", "\"\"", "tokenizer-added-token", "content"},
    {"added_tokens.0.content", "\"ab\"", "tokenizer-added-token", "another id"},
    {"added_tokens.0.id", "null", "tokenizer-id", "<s>"},
    {"added_tokens.0.id", "260", "tokenizer-added-token", "numbered"},
    {"added_tokens.0.id", "0", "tokenizer-added-token", "numbered"},
    {"added_tokens.1.id", "259", "tokenizer-added-token", "another added token"},
    {"added_tokens.0.special", "1", "tokenizer-field", "special"},
    {"model.merges", "[\"ab\"]", "tokenizer-merge", "entry 0"},
    {"model.merges", "[\"a b\",\"a b a\"]", "tokenizer-merge", "entry 1"},
    {"model.merges", "[[\"a\"]]", "tokenizer-merge", "pair"},
    {"model.merges", "[[\"a\",3]]", "tokenizer-merge", "pair"},
    {"model.merges", "[7]", "tokenizer-merge", "pair"},
    {"model.merges", "[\"a a\"]", "tokenizer-merge", "'aa'"},
    {"model.merges", "[\"x ab\"]", "tokenizer-merge", "'xab'"},
    {"model.merges", "[\" ab\"]", "tokenizer-merge", "'ab'"},
    {"normalizer", "{\"type\":\"NFKC\"}", "tokenizer-normalizer", "NFKC"},
    {"normalizer", "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Lowercase\"}]}",
     "tokenizer-normalizer", "Lowercase"},
    {"normalizer", "{\"type\":\"Sequence\"}", "tokenizer-normalizer", "Sequence"},
    {"normalizer", "{\"type\":\"Sequence\",\"normalizers\":[1,2]}", "tokenizer-normalizer",
     "(no type)"},
    {"normalizer", "3", "tokenizer-normalizer", "(no type)"},
    {"decoder", "{\"type\":\"WordPiece\"}", "tokenizer-decoder", "WordPiece"},
    {"pre_tokenizer", "null", "tokenizer-decoder", "ByteLevel"},
    {"pre_tokenizer", "{\"type\":\"Sequence\"}", "tokenizer-pretokenizer", "Sequence"},
    {"pre_tokenizer", "{\"type\":\"Whitespace\"}", "tokenizer-pretokenizer", "Whitespace"},
    {"pre_tokenizer", "{\"type\":\"ByteLevel\"}", "tokenizer-pretokenizer", "add_prefix_space"},
    {"pre_tokenizer.pretokenizers.1.use_regex", "3", "tokenizer-field", "use_regex"},
    {SPLIT, "{\"type\":\"CharDelimiterSplit\",\"delimiter\":\"-\"}", "tokenizer-pretokenizer",
     "CharDelimiterSplit"},
    {SPLIT, "{\"type\":\"Digits\",\"individual_digits\":7}", "tokenizer-field",
     "individual_digits"},
    {SPLIT, "{\"type\":\"Punctuation\",\"behavior\":\"Gone\"}", "tokenizer-pretokenizer", "Gone"},
    {SPLIT, "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}", "tokenizer-pretokenizer",
     "more than one ByteLevel"},
    {SPLIT ".pattern", "\"a\"", "tokenizer-pretokenizer", "neither"},
    {SPLIT ".pattern", "{\"Regex\":\"a\",\"String\":\"a\"}", "tokenizer-pretokenizer", "neither"},
    {SPLIT ".pattern", "{\"Regex\":\"\"}", "tokenizer-pretokenizer", "empty"},
    /* Patterns that the runtime would refuse when it opens the module. */
    {SPLIT ".pattern", "{\"Regex\":\"a\\\\b\"}", "tokenizer-pretokenizer",
     "a construct that is not supported, at byte 2: ...a\\b"},
    {SPLIT ".pattern", "{\"Regex\":\"(a\"}", "tokenizer-pretokenizer",
     "not valid: missing closing parenthesis"},
    {SPLIT ".behavior", "\"Sideways\"", "tokenizer-pretokenizer", "Sideways"},
    {SPLIT ".behavior", NULL, "tokenizer-pretokenizer", "(none)"},
    {SPLIT ".behavior", "3", "tokenizer-field", "behavior"},
    {SPLIT ".invert", "3", "tokenizer-field", "invert"},
    {"pre_tokenizer.pretokenizers", "[1,1]", "tokenizer-pretokenizer", "(no type)"},
    {"post_processor", "{\"type\":\"BertProcessing\"}", "tokenizer-post-processor",
     "BertProcessing"},
    {"post_processor.processors.0",
     "{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"A\"}}]}",
     "tokenizer-post-processor", "more than one"},
    {TEMPLATE ".single", "[]", "tokenizer-template", "exactly once"},
    {TEMPLATE ".single", "[{\"Sequence\":{\"id\":\"B\"}}]", "tokenizer-template", "understood"},
    {TEMPLATE ".single", "[{\"SpecialToken\":{\"id\":\"</s>\"}}]", "tokenizer-template", "no ids"},
    {TEMPLATE ".single", "[{\"SpecialToken\":{}}]", "tokenizer-template", "no ids"},
    {TEMPLATE ".special_tokens.<s>.ids", "[261]", "tokenizer-template", "<s>"},
    {TEMPLATE ".special_tokens.<s>.ids", "[-1]", "tokenizer-template", "<s>"},
    {TEMPLATE ".special_tokens.<s>.ids", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]",
     "tokenizer-template", "16"},
};

/* ---- SentencePiece
 * ---------------------------------------------------------------------------- */

#define MARK "\xe2\x96\x81"

/* Llama 2's tokenizer as transformers writes it, with only two byte tokens. */
static json_t *make_sentencepiece(void) {
    static const char text[] =
        "{\"added_tokens\":[{\"id\":0,\"content\":\"<unk>\",\"special\":true}],"
        "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":["
        "{\"type\":\"Prepend\",\"prepend\":\"" MARK "\"},"
        "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"" MARK "\"}]},"
        "\"pre_tokenizer\":null,"
        "\"decoder\":{\"type\":\"Sequence\",\"decoders\":["
        "{\"type\":\"Replace\",\"pattern\":{\"String\":\"" MARK "\"},\"content\":\" \"},"
        "{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},"
        "{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]},"
        "\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"fuse_unk\":true,"
        "\"byte_fallback\":true,\"vocab\":{\"<unk>\":0,\"<0x0A>\":1,\"<0xFF>\":2,\"" MARK
        "\":3,\"\xc3\xa9\":4,\"" MARK "\xc3\xa9\":5},\"merges\":[[\"" MARK "\",\"\xc3\xa9\"]]}}";
    json_t *root = json_loads(text, 0, NULL);
    if (root == NULL) {
        abort();
    }
    return root;
}

static void test_sentencepiece(void) {
    struct reader_test test;
    struct rsr_tokenizer tokenizer;
    json_t *root = make_sentencepiece();
    CHECK(parse(&test, root, &tokenizer) == RSRC_OK);
    CHECK_STR(reader_test_text(&test), "");
    const struct rsr_tokenizer_header *header = tokenizer.section;
    CHECK_INT(header->n_tokens, 6);
    CHECK_INT(header->alphabet, RSR_BPE_CHARACTERS);
    CHECK_INT(header->unk_token, 0);
    CHECK_INT(header->fuse_unk, 1);
    CHECK_INT(header->n_pretokenizers, 0);
    CHECK_INT(header->n_merges, 1);
    check_token(header, 0, "<unk>", 5,
                RSR_TOKEN_ADDED | RSR_TOKEN_SPECIAL | RSR_TOKEN_IN_VOCABULARY);
    check_token(header, 5, MARK "\xc3\xa9", 5, 0);
    for (uint32_t byte = 0; byte < 256; byte++) {
        CHECK_INT(header->byte_token[byte], byte == 10 ? 1 : byte == 255 ? 2 : RSR_NO_TOKEN);
    }
    const struct rsr_replacement *prepend = &normalizer(header, 0)->text;
    const struct rsr_replacement *replace = &normalizer(header, 1)->text;
    CHECK_INT(header->n_normalizers, 2);
    CHECK_INT(normalizer(header, 0)->kind, RSR_NORMALIZER_PREPEND);
    check_literal(header, prepend->content_at, prepend->content_bytes, MARK);
    CHECK_INT(normalizer(header, 1)->kind, RSR_NORMALIZER_REPLACE);
    check_literal(header, replace->pattern_at, replace->pattern_bytes, " ");
    check_literal(header, replace->content_at, replace->content_bytes, MARK);
    const struct rsr_decoder *decoder = &header->decoder;
    CHECK_INT(decoder->kind, RSR_DECODER_TEXT);
    CHECK_INT(decoder->byte_fallback, 1);
    CHECK_INT(decoder->drops_first, 0);
    CHECK_INT(decoder->strip_code, ' ');
    CHECK_INT(decoder->strip_count, 1);
    check_literal(header, decoder->replace.pattern_at, decoder->replace.pattern_bytes, MARK);
    check_literal(header, decoder->replace.content_at, decoder->replace.content_bytes, " ");
    json_decref(root);
    reader_test_end(&test);
}

static const struct rsr_tokenizer_header *
parse_metaspace(struct reader_test *test, const char *value, struct rsr_tokenizer *out) {
    json_t *root = make_sentencepiece();
    patch(root, "normalizer", "null");
    patch(root, "pre_tokenizer", value);
    patch(root, "decoder", value);
    patch(root, "model.byte_fallback", "false");
    patch(root, "model.unk_token", "null");
    CHECK(parse(test, root, out) == RSRC_OK);
    CHECK_STR(reader_test_text(test), "");
    json_decref(root);
    return out->section;
}

static void test_metaspace(void) {
    static const struct {
        const char *fields;
        uint32_t prefix, n_steps, drops_first;
    } cases[] = {
        {"", RSR_PREFIX_ALWAYS, 2, 1},
        {",\"add_prefix_space\":true", RSR_PREFIX_ALWAYS, 2, 1},
        {",\"prepend_scheme\":\"first\",\"split\":false", RSR_PREFIX_FIRST, 1, 1},
        {",\"prepend_scheme\":\"never\",\"add_prefix_space\":false", RSR_PREFIX_NEVER, 2, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct reader_test test;
        struct rsr_tokenizer tokenizer;
        char value[128];
        snprintf(value, sizeof(value), "{\"type\":\"Metaspace\",\"replacement\":\"%s\"%s}", MARK,
                 cases[i].fields);
        const struct rsr_tokenizer_header *header = parse_metaspace(&test, value, &tokenizer);
        const struct rsr_pretokenizer *steps = at(header, header->pretokenizers_at);
        CHECK_INT(header->n_pretokenizers, cases[i].n_steps);
        CHECK_INT(steps[0].kind, RSR_PRETOKENIZER_METASPACE);
        CHECK_INT(steps[0].prefix, cases[i].prefix);
        check_literal(header, steps[0].pattern_at, steps[0].pattern_bytes, MARK);
        if (cases[i].n_steps == 2) {
            CHECK_INT(steps[1].kind, RSR_PRETOKENIZER_SPLIT);
            CHECK_INT(steps[1].behavior, 3);
            check_literal(header, steps[1].pattern_at, steps[1].pattern_bytes, MARK);
        }
        CHECK_INT(header->decoder.drops_first, cases[i].drops_first);
        CHECK_INT(header->unk_token, RSR_NO_TOKEN);
        CHECK_INT(header->byte_token[10], RSR_NO_TOKEN);
        reader_test_end(&test);
    }
}

#define METASPACE "{\"type\":\"Metaspace\",\"replacement\":\"" MARK "\""
#define DECODERS(list) "{\"type\":\"Sequence\",\"decoders\":[" list "]}"

static const struct refusal SENTENCEPIECE_REFUSED[] = {
    {"model.unk_token", "\"<none>\"", "tokenizer-model", "unk_token"},
    {"model.unk_token", "3", "tokenizer-field", "unk_token"},
    {"model.fuse_unk", "3", "tokenizer-field", "fuse_unk"},
    {"model.byte_fallback", "3", "tokenizer-field", "byte_fallback"},
    {"model.end_of_word_suffix", "\"</w>\"", "tokenizer-model", "end_of_word_suffix"},
    {"normalizer", "{\"type\":\"Prepend\"}", "tokenizer-normalizer", "prepend"},
    {"normalizer", "{\"type\":\"Precompiled\"}", "tokenizer-normalizer", "Precompiled"},
    {"normalizer.normalizers.1.pattern", "{\"Regex\":\" \"}", "tokenizer-normalizer", "Regex"},
    {"normalizer.normalizers.1.pattern", "{\"String\":\"\"}", "tokenizer-normalizer", "String"},
    {"normalizer.normalizers.1.content", "null", "tokenizer-normalizer", "content"},
    {"normalizer.normalizers", "[1]", "tokenizer-normalizer", "(no type)"},
    {"normalizer.normalizers.0.prepend", "\"12345678901234567\"", "tokenizer-normalizer", "16"},
    {"normalizer.normalizers",
     "[{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"aaaaa\"},"
     "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"aaaa\"}]",
     "tokenizer-normalizer", "16 times"},
    {"pre_tokenizer", "{\"type\":\"Metaspace\"}", "tokenizer-pretokenizer", "replacement"},
    {"pre_tokenizer", "{\"type\":\"Metaspace\",\"replacement\":\"__\"}", "tokenizer-pretokenizer",
     "replacement"},
    {"pre_tokenizer", METASPACE ",\"prepend_scheme\":\"last\"}", "tokenizer-pretokenizer", "last"},
    {"pre_tokenizer", METASPACE ",\"add_prefix_space\":false}", "tokenizer-pretokenizer",
     "add_prefix_space"},
    {"pre_tokenizer", METASPACE ",\"split\":3}", "tokenizer-field", "split"},
    {"pre_tokenizer", METASPACE ",\"prepend_scheme\":\"first\"}", "tokenizer-normalizer", "first"},
    {"pre_tokenizer", "{\"type\":\"Sequence\",\"pretokenizers\":[" METASPACE "}," METASPACE "}]}",
     "tokenizer-pretokenizer", "after another"},
    {"decoder", "null", "tokenizer-decoder", "no decoder"},
    {"decoder", "{\"type\":\"Sequence\"}", "tokenizer-decoder", "Sequence"},
    {"decoder", "{\"type\":\"ByteLevel\"}", "tokenizer-decoder", "ByteLevel"},
    {"decoder", DECODERS("{\"type\":\"CTC\"}"), "tokenizer-decoder", "CTC"},
    {"decoder", DECODERS("{\"type\":\"Fuse\"},{\"type\":\"ByteFallback\"}"), "tokenizer-decoder",
     "this place"},
    {"decoder", DECODERS("{\"type\":\"Fuse\"},{\"type\":\"Fuse\"}"), "tokenizer-decoder",
     "this place"},
    {"decoder", DECODERS(METASPACE "}"), "tokenizer-decoder", "Metaspace"},
    {"decoder", DECODERS("{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}"),
     "tokenizer-decoder", "Strip"},
    {"decoder.decoders.3.stop", "1", "tokenizer-decoder", "Strip"},
    {"decoder.decoders.3.start", "-1", "tokenizer-field", "start"},
    {"decoder.decoders.3.content", "\"ab\"", "tokenizer-decoder", "Strip"},
    {"decoder.decoders.0.pattern", "{\"Regex\":\"a\"}", "tokenizer-decoder", "Replace"},
};

static void check_refused(json_t *root, const struct refusal *refusal) {
    struct reader_test test;
    struct rsr_tokenizer tokenizer = {.size_bytes = 77};
    patch(root, refusal->path, refusal->value);
    CHECK(parse(&test, root, &tokenizer) == RSRC_FAILED);
    check_one_error(&test, refusal->slug, refusal->path);
    if (strstr(reader_test_text(&test), refusal->names) == NULL) {
        fprintf(stderr, "%s: %s", refusal->path, reader_test_text(&test));
    }
    CHECK(strstr(reader_test_text(&test), refusal->names) != NULL);
    CHECK_INT(tokenizer.size_bytes, 77);
    json_decref(root);
    reader_test_end(&test);
}

static void test_refuses(void) {
    for (size_t i = 0; i < sizeof(REFUSED) / sizeof(REFUSED[0]); i++) {
        check_refused(make_tokenizer(), &REFUSED[i]);
    }
    for (size_t i = 0; i < sizeof(SENTENCEPIECE_REFUSED) / sizeof(SENTENCEPIECE_REFUSED[0]); i++) {
        check_refused(make_sentencepiece(), &SENTENCEPIECE_REFUSED[i]);
    }
}

/* A character outside the alphabet is fine in an added token and nowhere else. */
static void test_alphabet(void) {
    struct reader_test test;
    struct rsr_tokenizer tokenizer;
    static const char *const outside[] = {"\xe6\x97\xa5", "\xc5\x84", "a b", "\xc2\xad",
                                          "\xc3\xa9 "};
    for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
        json_t *root = make_tokenizer();
        json_object_set_new(json_object_get(json_object_get(root, "model"), "vocab"), outside[i],
                            json_integer(259));
        patch(root, "added_tokens", "[]");
        patch(root, "post_processor", "null");
        CHECK(parse(&test, root, &tokenizer) == RSRC_FAILED);
        check_one_error(&test, "tokenizer-alphabet", outside[i]);
        reader_test_end(&test);

        json_t *added = json_pack("[{s:i,s:s}]", "id", 259, "content", outside[i]);
        json_object_set_new(root, "added_tokens", added);
        CHECK(parse(&test, root, &tokenizer) == RSRC_OK);
        check_token(tokenizer.section, 259, outside[i], strlen(outside[i]), RSR_TOKEN_ADDED);
        json_decref(root);
        reader_test_end(&test);
    }
}

static void test_long_added_token(void) {
    for (size_t n_bytes = 256; n_bytes <= 257; n_bytes++) {
        struct reader_test test;
        struct rsr_tokenizer tokenizer;
        char content[258] = {0};
        json_t *root = make_tokenizer();
        memset(content, 'x', n_bytes);
        json_t *token = json_array_get(json_object_get(root, "added_tokens"), 1);
        json_object_set_new(token, "content", json_string(content));
        CHECK(parse(&test, root, &tokenizer) == (n_bytes == 256 ? RSRC_OK : RSRC_FAILED));
        if (n_bytes == 257) {
            check_one_error(&test, "tokenizer-added-token", "257 bytes");
        }
        json_decref(root);
        reader_test_end(&test);
    }
}

static void test_too_many_splits(void) {
    struct reader_test test;
    struct rsr_tokenizer tokenizer;
    json_t *root = make_tokenizer();
    json_t *list = json_object_get(json_object_get(root, "pre_tokenizer"), "pretokenizers");
    for (int i = 0; i < 15; i++) {
        json_array_insert(list, 0, json_array_get(list, 0));
    }
    CHECK(parse(&test, root, &tokenizer) == RSRC_FAILED);
    check_one_error(&test, "tokenizer-pretokenizer", "17 pre-tokenizers");
    json_decref(root);
    reader_test_end(&test);
}

/* ---- tokenizer_config.json ------------------------------------------------------------------- */

static void test_tokenizer_config(void) {
    static const struct {
        const char *text, *slug, *chat, *bos, *eos; /* slug NULL: accepted */
    } cases[] = {
        {"{}", NULL, NULL, "old", ""},
        {"{\"bos_token\":\"<s>\",\"eos_token\":{\"content\":\"</s>\"},\"chat_template\":\"x\"}",
         NULL, "x", "<s>", "</s>"},
        {"{\"bos_token\":null,\"chat_template\":null}", NULL, NULL, "old", ""},
        {"{\"chat_template\":\"\"}", NULL, NULL, "old", ""},
        {"{\"model_max_length\":1000000000000000019884624838656,\"bos_token\":"
         "\"99999999999999999999\"}",
         NULL, NULL, "99999999999999999999", ""},
        {"{\"a\\\"9\":-9223372036854775809,\"b\":[18446744073709551616,9223372036854775807,1e2]}",
         NULL, NULL, "old", ""},
        {"{\"a\":99999999999999999999,\"b\":1e999}", "tokenizer-config-syntax", NULL, "old", ""},
        {"{\"a\":99999999999999999999,\"b\":}", "tokenizer-config-syntax", NULL, "old", ""},
        {"{\"chat_template\":[{\"name\":\"tool\",\"template\":\"t\"},"
         "{\"name\":\"default\",\"template\":\"d\"}]}",
         NULL, "d", "old", ""},
        {"[{\"bos_token\":\"<s>\"}]", "tokenizer-config-field", NULL, "old", ""},
        {"{\"bos_token\":3}", "tokenizer-config-field", NULL, "old", ""},
        {"{\"bos_token\":{}}", "tokenizer-config-field", NULL, "old", ""},
        {"{\"chat_template\":3}", "tokenizer-config-field", NULL, "old", ""},
        {"{\"chat_template\":[{\"name\":\"default\",\"template\":3}]}", "tokenizer-config-field",
         NULL, "old", ""},
        {"{\"bos_token\":\"<s>\",\"chat_template\":3}", "tokenizer-config-field", NULL, "old", ""},
        {"{", "tokenizer-config-syntax", NULL, "old", ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct reader_test test;
        struct rsr_tokenizer tokenizer = {.bos_text = "old", .eos_text = ""};
        reader_test_begin(&test);
        bool lists_added = false;
        enum rsrc_status status = rsrc_parse_tokenizer_config(
            test.diag, &test.arena, "tokenizer_config.json", (const uint8_t *)cases[i].text,
            strlen(cases[i].text), &tokenizer, &lists_added);
        if (cases[i].slug == NULL) {
            CHECK(status == RSRC_OK);
            CHECK_STR(reader_test_text(&test), "");
        } else {
            CHECK(status == RSRC_FAILED);
            check_one_error(&test, cases[i].slug, cases[i].text);
        }
        if (cases[i].chat == NULL) {
            CHECK(tokenizer.chat_template == NULL);
        } else {
            CHECK_STR(tokenizer.chat_template, cases[i].chat);
        }
        CHECK_STR(tokenizer.bos_text, cases[i].bos);
        CHECK_STR(tokenizer.eos_text, cases[i].eos);
        reader_test_end(&test);
    }
}

/* add_prefix_space of tokenizer_config.json beside the pre-tokenizer of tokenizer.json: "L" is a
 * list of a Split and ByteLevel, "B" only ByteLevel, "M" Metaspace; "+" adds a space in front. */
static void test_prefix_space(void) {
    static const struct {
        const char *kind, *config;
        bool is_refused;
    } cases[] = {
        {"L", "{\"add_prefix_space\":false}", false},
        {"L", "{\"add_prefix_space\":true}", true},
        {"L+", "{\"add_prefix_space\":false}", true},
        {"L+", "{\"add_prefix_space\":null,\"tokenizer_class\":\"Qwen2Tokenizer\"}", true},
        {"L+", "{\"tokenizer_class\":\"PreTrainedTokenizerFast\"}", false},
        {"L", "{\"add_prefix_space\":true,\"tokenizer_class\":\"TokenizersBackend\"}", false},
        {"B", "{\"add_prefix_space\":true,\"tokenizer_class\":\"PreTrainedTokenizerFast\"}", true},
        {"B+", "{\"tokenizer_class\":\"PreTrainedTokenizerFast\"}", true},
        {"B+", "{\"tokenizer_class\":\"LlamaTokenizerFast\"}", false},
        {"B+", "{}", false},
        {"B+", "{\"add_prefix_space\":true,\"tokenizer_class\":\"GPT2Tokenizer\"}", false},
        {"M+", "{\"add_prefix_space\":true}", false},
        {"M+", "{\"tokenizer_class\":\"GemmaTokenizer\"}", false},
        {"M+", "{\"add_prefix_space\":false}", true},
        {"M", "{\"add_prefix_space\":true}", true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct reader_test test;
        struct rsr_tokenizer tokenizer;
        bool lists_added;
        const bool adds = cases[i].kind[1] == '+';
        char step[160];
        json_t *root = make_tokenizer();
        snprintf(step, sizeof(step), "{\"type\":\"ByteLevel\",\"add_prefix_space\":%s}",
                 adds ? "true" : "false");
        if (cases[i].kind[0] == 'M') {
            snprintf(step, sizeof(step),
                     "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"%s\"}",
                     adds ? "always" : "never");
            patch(root, "decoder", step);
        }
        patch(root, cases[i].kind[0] == 'L' ? "pre_tokenizer.pretokenizers.1" : "pre_tokenizer",
              step);
        CHECK(parse(&test, root, &tokenizer) == RSRC_OK);
        const enum rsrc_status status = rsrc_parse_tokenizer_config(
            test.diag, &test.arena, "t", (const uint8_t *)cases[i].config, strlen(cases[i].config),
            &tokenizer, &lists_added);
        CHECK_INT(status != RSRC_OK, cases[i].is_refused);
        if (cases[i].is_refused)
            check_one_error(&test, "tokenizer-config-contradiction", "add_prefix_space");
        else
            CHECK_STR(reader_test_text(&test), "");
        reader_test_end(&test);
        json_decref(root);
    }
}

/* Other files beside tokenizer.json must describe its added tokens in the same way: here <s> has
 * rstrip and the plain one has lstrip. */
static void test_added_tokens(void) {
    static const char S[] = "\"content\":\"<s>\",\"rstrip\":true,\"normalized\":false";
    static const struct {
        enum rsrc_beside kind;
        const char *text, *slug; /* slug NULL: accepted */
        const char *words;
    } cases[] = {
        {RSRC_BESIDE_SETTINGS, "{\"bos_token\":\"<s>\",\"pad_token\":\"\",\"unk_token\":null}",
         NULL, NULL},
        {RSRC_BESIDE_SETTINGS, "{\"added_tokens_decoder\":{\"259\":{%s}}}", NULL, NULL},
        {RSRC_BESIDE_SETTINGS,
         "{\"added_tokens_decoder\":{\"259\":{\"content\":\"<s>\",\"rstrip\":true,"
         "\"special\":true}}}",
         NULL, NULL},
        {RSRC_BESIDE_SETTINGS,
         "{\"add_bos_token\":true,\"bos_token\":\"<s>\",\"add_eos_token\":false}", NULL, NULL},
        {RSRC_BESIDE_SETTINGS, "{\"add_bos_token\":true,\"bos_token\":null}", NULL, NULL},
        {RSRC_BESIDE_SETTINGS,
         "{\"add_bos_token\":false,\"bos_token\":\"<s>\","
         "\"tokenizer_class\":\"PreTrainedTokenizerFast\"}",
         NULL, NULL},
        {RSRC_BESIDE_MAP, "{\"bos_token\":{%s},\"additional_special_tokens\":[\"<s>\"]}", NULL,
         NULL},
        {RSRC_BESIDE_LIST, "{\"<s>\":259}", NULL, NULL},
        {RSRC_BESIDE_SETTINGS, "{\"pad_token\":\"ab\"}", "tokenizer-added-token", "pad_token"},
        {RSRC_BESIDE_SETTINGS, "{\"image_token\":{\"content\":\"x\"}}", "tokenizer-added-token",
         "image_token"},
        {RSRC_BESIDE_SETTINGS, "{\"extra_special_tokens\":{\"image\":\"x\"}}",
         "tokenizer-added-token", "extra_special_tokens"},
        {RSRC_BESIDE_SETTINGS, "{\"additional_special_tokens\":[\"<s>\",\"x\"]}",
         "tokenizer-added-token", "additional_special_tokens"},
        {RSRC_BESIDE_SETTINGS, "{\"additional_special_tokens\":[3]}", "tokenizer-config-field",
         "additional_special_tokens"},
        {RSRC_BESIDE_SETTINGS, "{\"added_tokens_decoder\":[]}", "tokenizer-config-field",
         "added_tokens_decoder"},
        {RSRC_BESIDE_SETTINGS, "{\"added_tokens_decoder\":{\"259\":\"<s>\"}}",
         "tokenizer-config-field", "added_tokens_decoder"},
        {RSRC_BESIDE_SETTINGS, "{\"added_tokens_decoder\":{\"259\":{}}}", "tokenizer-config-field",
         "added_tokens_decoder"},
        {RSRC_BESIDE_SETTINGS, "{\"added_tokens_decoder\":{\"260\":{\"content\":\"x\"}}}",
         "tokenizer-added-token", "'x'"},
        {RSRC_BESIDE_SETTINGS, "{\"added_tokens_decoder\":{\"259\":{%s,\"lstrip\":true}}}",
         "tokenizer-added-token", "lstrip"},
        {RSRC_BESIDE_SETTINGS, "{\"added_tokens_decoder\":{\"259\":{%s,\"single_word\":true}}}",
         "tokenizer-added-token", "single_word"},
        {RSRC_BESIDE_SETTINGS,
         "{\"added_tokens_decoder\":{\"259\":{\"content\":\"<s>\",\"rstrip\":true}}}",
         "tokenizer-added-token", "normalized"},
        {RSRC_BESIDE_SETTINGS,
         "{\"added_tokens_decoder\":{\"259\":{\"content\":\"<s>\",\"special\":true}}}",
         "tokenizer-added-token", "rstrip"},
        {RSRC_BESIDE_SETTINGS, "{\"fast_tokenizer_files\":[\"tokenizer.json\"]}", NULL, NULL},
        {RSRC_BESIDE_SETTINGS,
         "{\"fast_tokenizer_files\":[\"tokenizer.4.0.json\",\"tokenizer.json\"]}",
         "tokenizer-config-unsupported", "fast_tokenizer_files"},
        {RSRC_BESIDE_SETTINGS, "{\"split_special_tokens\":true}", "tokenizer-config-unsupported",
         "split_special_tokens"},
        {RSRC_BESIDE_SETTINGS, "{\"add_bos_token\":false,\"bos_token\":\"<s>\"}",
         "tokenizer-config-contradiction", "add_bos_token"},
        {RSRC_BESIDE_SETTINGS,
         "{\"add_eos_token\":true,\"eos_token\":\"<s>\",\"tokenizer_class\":\"LlamaTokenizer\"}",
         "tokenizer-config-contradiction", "add_eos_token"},
        {RSRC_BESIDE_SETTINGS,
         "{\"add_bos_token\":true,\"tokenizer_class\":\"GPTNeoXTokenizerFast\"}",
         "tokenizer-config-contradiction", "GPTNeoXTokenizer"},
        {RSRC_BESIDE_MAP, "{\"sep_token\":\"x\"}", "tokenizer-added-token", "sep_token"},
        {RSRC_BESIDE_LIST, "{\"<s>\":259,\"x\":261}", "tokenizer-added-token", "'x'"},
    };
    json_t *root = make_tokenizer();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct reader_test test;
        struct rsr_tokenizer tokenizer;
        char text[256];
        bool lists_added = false;
        const char *mark = strstr(cases[i].text, "%s");
        const size_t n_front =
            mark == NULL ? strlen(cases[i].text) : (size_t)(mark - cases[i].text);
        snprintf(text, sizeof(text), "%.*s%s%s", (int)n_front, cases[i].text, mark == NULL ? "" : S,
                 mark == NULL ? "" : mark + 2);
        CHECK(parse(&test, root, &tokenizer) == RSRC_OK);
        const uint8_t *bytes = (const uint8_t *)text;
        enum rsrc_status status = RSRC_FAILED;
        switch (cases[i].kind) {
        case RSRC_BESIDE_SETTINGS:
            status = rsrc_parse_tokenizer_config(test.diag, &test.arena, "t", bytes, strlen(text),
                                                 &tokenizer, &lists_added);
            CHECK(status != RSRC_OK || lists_added == (strstr(text, "added_tokens") != NULL));
            break;
        case RSRC_BESIDE_MAP:
            status = rsrc_parse_special_tokens(test.diag, &test.arena, "t", bytes, strlen(text),
                                               &tokenizer);
            CHECK_STR(tokenizer.bos_text, cases[i].slug == NULL ? "<s>" : "");
            break;
        case RSRC_BESIDE_LIST:
            status = rsrc_parse_added_tokens(test.diag, &test.arena, "t", bytes, strlen(text),
                                             &tokenizer);
            break;
        }
        CHECK((status == RSRC_OK) == (cases[i].slug == NULL));
        if (cases[i].slug == NULL)
            CHECK_STR(reader_test_text(&test), "");
        else
            check_one_error(&test, cases[i].slug, cases[i].words);
        reader_test_end(&test);
    }
    json_decref(root);
}

static void test_chat_template(void) {
    struct reader_test test;
    struct rsr_tokenizer tokenizer = {.chat_template = "old"};
    static const char *const named = "{\"chat_template\":[{\"name\":\"tool\",\"template\":\"t\"}]}";
    reader_test_begin(&test);
    bool lists_added = true;
    CHECK(rsrc_parse_tokenizer_config(test.diag, &test.arena, "t", (const uint8_t *)named,
                                      strlen(named), &tokenizer, &lists_added) == RSRC_OK);
    CHECK(!lists_added);
    CHECK_INT(rsrc_diag_error_count(test.diag), 0);
    CHECK(strstr(reader_test_text(&test), "[tokenizer-chat-template]") != NULL);
    CHECK_STR(tokenizer.chat_template, "old");
    reader_test_end(&test);

    reader_test_begin(&test);
    CHECK(rsrc_parse_chat_template(test.diag, &test.arena, "t.jinja", (const uint8_t *)"new!", 3,
                                   &tokenizer) == RSRC_OK);
    CHECK_STR(tokenizer.chat_template, "new");
    CHECK(rsrc_parse_chat_template(test.diag, &test.arena, "t.jinja", (const uint8_t *)"n\0w", 3,
                                   &tokenizer) == RSRC_FAILED);
    check_one_error(&test, "tokenizer-chat-template", "NUL");
    reader_test_end(&test);
}

int main(void) {
    test_section();
    test_repeated_merge();
    test_variants();
    test_gap();
    test_sentencepiece();
    test_metaspace();
    test_refuses();
    test_alphabet();
    test_long_added_token();
    test_too_many_splits();
    test_tokenizer_config();
    test_prefix_space();
    test_added_tokens();
    test_chat_template();
    return CHECK_EXIT();
}
