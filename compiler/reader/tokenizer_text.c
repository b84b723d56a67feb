/* tokenizer_text.c - what a tokenizer.json does to text before and after the model.
 *
 * Pre-tokenizers Split, Digits, Punctuation, Metaspace and ByteLevel; normalizers NFC, Prepend and
 * Replace; the decoders ByteLevel and Metaspace, and SentencePiece's sequence of Replace,
 * ByteFallback, Fuse and Strip.
 * All others are refused by name. Regular expressions are passed on unchanged: the runtime compiles
 * them, and this file checks with the runtime's code that it can.
 */
#include <string.h>

#include "base/json.h"
#include "base/round.h"
#include "reader/reader.h"
#include "tokenizer/pretokenize.h"

#define SLUG "tokenizer"

/* Characters of valid UTF-8. */
static size_t count_characters(const char *text) {
    size_t n = 0;
    for (; *text != '\0'; text++) {
        n += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return n;
}

/* ---- pre-tokenizers -------------------------------------------------------------------------- */

/* Names in the order of rsr_pretokenizer.behavior. */
static const char *const BEHAVIORS[] = {"Isolated", "Removed", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
enum { ISOLATED = 0, MERGED_WITH_NEXT = 3, CONTIGUOUS = 4 };

/* The field "behavior"; `fallback` if it is absent; a NULL fallback means that it is required. */
static enum rsrc_status read_behavior(struct rsrc_tokenizer_draft *draft, const json_t *component,
                                      const char *fallback, uint32_t *out) {
    const char *behavior;
    if (rsrc_json_string(draft->diag, draft->file, SLUG, component, "behavior", &behavior) !=
        RSRC_OK) {
        return RSRC_FAILED;
    }
    if (behavior == NULL) {
        behavior = fallback;
    }
    for (uint32_t i = 0; behavior != NULL && i < sizeof(BEHAVIORS) / sizeof(BEHAVIORS[0]); i++) {
        if (strcmp(behavior, BEHAVIORS[i]) == 0) {
            *out = i;
            return RSRC_OK;
        }
    }
    return rsrc_refuse_component(draft, "tokenizer-pretokenizer", "Split behavior",
                                 behavior == NULL ? "(none)" : behavior, NULL);
}

/* A literal as a regular expression: every ASCII character that could mean something is escaped. */
static const char *escape_literal(struct rsrc_arena *arena, const char *text) {
    char *out = rsrc_arena_alloc(arena, 2 * strlen(text) + 1), *end = out;
    for (const char *c = text; *c != '\0'; c++) {
        if (strchr("\\^$.[]|()?*+{}#-&~/", *c) != NULL) {
            *end++ = '\\';
        }
        *end++ = *c;
    }
    return out;
}

/* Refuses a pattern that the runtime cannot compile: no module could open the tokenizer. */
static enum rsrc_status try_regex(const struct rsrc_tokenizer_draft *draft, const char *regex) {
    struct rsr_splitter *splitter;
    rsr_error err = RSR_ERROR_INIT;
    if (rsr_splitter_create(regex, strlen(regex), ISOLATED, false, &splitter, &err) != RSR_OK) {
        return rsrc_refuse_tokenizer(draft, "tokenizer-pretokenizer", err.message);
    }
    rsr_splitter_destroy(splitter);
    return RSRC_OK;
}

static enum rsrc_status read_split(struct rsrc_tokenizer_draft *draft, const json_t *component,
                                   struct rsrc_token_split *out) {
    const json_t *pattern = json_object_get(component, "pattern");
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    const char *literal = json_string_value(json_object_get(pattern, "String"));
    if ((regex == NULL) == (literal == NULL)) {
        return rsrc_refuse_tokenizer(draft, "tokenizer-pretokenizer",
                                     "the pattern of a Split is neither a Regex nor a String");
    }
    out->pattern = regex != NULL ? regex : escape_literal(draft->scratch, literal);
    size_t n_bytes = strlen(out->pattern);
    if (n_bytes == 0 || n_bytes > UINT16_MAX) {
        return rsrc_refuse_tokenizer(draft, "tokenizer-pretokenizer",
                                     "the pattern of a Split is empty or longer than 65535 bytes");
    }
    if (try_regex(draft, out->pattern) != RSRC_OK) {
        return RSRC_FAILED;
    }
    out->step.kind = RSR_PRETOKENIZER_SPLIT;
    out->step.pattern_bytes = (uint32_t)n_bytes;
    bool invert;
    if (rsrc_json_bool(draft->diag, draft->file, SLUG, component, "invert", false, &invert) !=
        RSRC_OK) {
        return RSRC_FAILED;
    }
    out->step.invert = invert;
    return read_behavior(draft, component, NULL, &out->step.behavior);
}

static void set_pattern(struct rsrc_token_split *out, const char *pattern, uint32_t behavior) {
    out->pattern = pattern;
    out->step = (struct rsr_pretokenizer){.kind = RSR_PRETOKENIZER_SPLIT,
                                          .behavior = behavior,
                                          .pattern_bytes = (uint32_t)strlen(pattern)};
}

/* Digits are the numbers of Unicode: one piece for each, or one for each run. */
static enum rsrc_status read_digits(struct rsrc_tokenizer_draft *draft, const json_t *component,
                                    struct rsrc_token_split *out) {
    bool individual;
    if (rsrc_json_bool(draft->diag, draft->file, SLUG, component, "individual_digits", false,
                       &individual) != RSRC_OK) {
        return RSRC_FAILED;
    }
    set_pattern(out, "\\p{N}", individual ? ISOLATED : CONTIGUOUS);
    return RSRC_OK;
}

/* Punctuation is that of Unicode, and that of ASCII with its symbols. The library's table is of
 * Unicode 8: punctuation of later versions is not included, and two characters that are symbols
 * today are. */
static const char PUNCTUATION[] =
    "[\\p{P}$+<=>^`|~\\x{166d}\\x{111c9}](?<![\\x{61d}\\x{9fd}\\x{a76}\\x{c77}\\x{c84}"
    "\\x{1b4e}\\x{1b4f}\\x{1b7d}-\\x{1b7f}\\x{2e43}-\\x{2e63}\\x{10d6e}\\x{10ead}\\x{10ed0}"
    "\\x{10f55}-\\x{10f59}\\x{10f86}-\\x{10f89}\\x{113d4}-\\x{113d8}\\x{1144b}-\\x{1144f}"
    "\\x{1145a}-\\x{1145d}\\x{11660}-\\x{1166c}\\x{116b9}\\x{1183b}\\x{11944}-\\x{11946}"
    "\\x{119e2}\\x{11a3f}-\\x{11a46}\\x{11a9a}-\\x{11aa2}\\x{11b00}-\\x{11b09}\\x{11be1}"
    "\\x{11c41}-\\x{11c45}\\x{11c70}\\x{11c71}\\x{11ef7}\\x{11ef8}\\x{11f43}-\\x{11f4f}"
    "\\x{11fff}\\x{12ff1}\\x{12ff2}\\x{16d6d}-\\x{16d6f}\\x{16e97}-\\x{16e9a}\\x{16fe2}"
    "\\x{1e5ff}\\x{1e95e}\\x{1e95f}])";

static enum rsrc_status read_punctuation(struct rsrc_tokenizer_draft *draft,
                                         const json_t *component, struct rsrc_token_split *out) {
    uint32_t behavior = ISOLATED;
    if (read_behavior(draft, component, "Isolated", &behavior) != RSRC_OK) {
        return RSRC_FAILED;
    }
    set_pattern(out, PUNCTUATION, behavior);
    return RSRC_OK;
}

static enum rsrc_status read_byte_level(struct rsrc_tokenizer_draft *draft, const json_t *component,
                                        struct rsrc_token_split *out) {
    bool prefix_space, use_regex;
    if (draft->alphabet == RSR_BPE_BYTES) {
        return rsrc_refuse_tokenizer(draft, "tokenizer-pretokenizer",
                                     "more than one ByteLevel is not supported");
    }
    draft->alphabet = RSR_BPE_BYTES;
    /* The library requires add_prefix_space and takes use_regex for true. */
    if (!json_is_boolean(json_object_get(component, "add_prefix_space"))) {
        return rsrc_refuse_tokenizer(draft, "tokenizer-pretokenizer",
                                     "ByteLevel without \"add_prefix_space\"");
    }
    if (rsrc_json_bool(draft->diag, draft->file, SLUG, component, "add_prefix_space", false,
                       &prefix_space) != RSRC_OK ||
        rsrc_json_bool(draft->diag, draft->file, SLUG, component, "use_regex", true, &use_regex) !=
            RSRC_OK) {
        return RSRC_FAILED;
    }
    out->step.kind = RSR_PRETOKENIZER_BYTE_LEVEL;
    out->step.prefix = prefix_space ? RSR_PREFIX_ALWAYS : RSR_PREFIX_NEVER;
    out->step.use_regex = use_regex;
    return RSRC_OK;
}

/* The names of Metaspace's prepend_scheme, in the order of enum rsr_prefix. */
static const char *const PREPEND_SCHEMES[] = {"never", "always", "first"};

/* The fields that Metaspace has as pre-tokenizer and as decoder. */
static enum rsrc_status read_metaspace(const struct rsrc_tokenizer_draft *draft, const char *slug,
                                       const json_t *component, const char **mark,
                                       uint32_t *prefix) {
    const char *scheme;
    bool add_prefix_space;
    if (rsrc_json_string(draft->diag, draft->file, SLUG, component, "replacement", mark) !=
            RSRC_OK ||
        rsrc_json_string(draft->diag, draft->file, SLUG, component, "prepend_scheme", &scheme) !=
            RSRC_OK ||
        rsrc_json_bool(draft->diag, draft->file, SLUG, component, "add_prefix_space", true,
                       &add_prefix_space) != RSRC_OK) {
        return RSRC_FAILED;
    }
    if (*mark == NULL || count_characters(*mark) != 1) {
        return rsrc_refuse_tokenizer(draft, slug,
                                     "the \"replacement\" of Metaspace is not one character");
    }
    if (scheme == NULL) {
        scheme = "always";
    }
    for (uint32_t i = 0; i < sizeof(PREPEND_SCHEMES) / sizeof(PREPEND_SCHEMES[0]); i++) {
        if (strcmp(scheme, PREPEND_SCHEMES[i]) == 0) {
            if (!add_prefix_space && i != RSR_PREFIX_NEVER) {
                return rsrc_refuse_tokenizer(draft, slug,
                                             "Metaspace has \"add_prefix_space\" false, but its "
                                             "\"prepend_scheme\" is not \"never\"");
            }
            *prefix = i;
            return RSRC_OK;
        }
    }
    return rsrc_refuse_component(draft, slug, "prepend_scheme", scheme,
                                 "always, first and never are supported");
}

/* Metaspace marks the spaces. Its split before each mark becomes a Split like any other. */
static enum rsrc_status read_metaspace_split(struct rsrc_tokenizer_draft *draft,
                                             const json_t *component,
                                             struct rsrc_token_split *out) {
    bool split;
    if (draft->n_splits != 1) {
        return rsrc_refuse_tokenizer(draft, "tokenizer-pretokenizer",
                                     "Metaspace after another pre-tokenizer is not supported");
    }
    if (rsrc_json_bool(draft->diag, draft->file, SLUG, component, "split", true, &split) !=
            RSRC_OK ||
        read_metaspace(draft, "tokenizer-pretokenizer", component, &out->pattern,
                       &out->step.prefix) != RSRC_OK) {
        return RSRC_FAILED;
    }
    out->step.kind = RSR_PRETOKENIZER_METASPACE;
    out->step.pattern_bytes = (uint32_t)strlen(out->pattern);
    if (split) {
        set_pattern(&draft->splits[draft->n_splits++], escape_literal(draft->scratch, out->pattern),
                    MERGED_WITH_NEXT);
    }
    return RSRC_OK;
}

static const struct {
    const char *type;
    enum rsrc_status (*read)(struct rsrc_tokenizer_draft *, const json_t *,
                             struct rsrc_token_split *);
} PRETOKENIZERS[] = {
    {"Split", read_split},
    {"Digits", read_digits},
    {"Punctuation", read_punctuation},
    {"Metaspace", read_metaspace_split},
    {"ByteLevel", read_byte_level},
};

static enum rsrc_status read_pretokenizer(struct rsrc_tokenizer_draft *draft,
                                          const json_t *component) {
    const char *type = rsrc_component_type(component);
    if (draft->n_splits == RSRC_MAX_SPLITS) {
        return rsrc_refuse_tokenizer(draft, "tokenizer-pretokenizer",
                                     "more than 16 pre-tokenizers");
    }
    struct rsrc_token_split *out = &draft->splits[draft->n_splits++];
    for (size_t i = 0; i < sizeof(PRETOKENIZERS) / sizeof(PRETOKENIZERS[0]); i++) {
        if (strcmp(type, PRETOKENIZERS[i].type) == 0) {
            return PRETOKENIZERS[i].read(draft, component, out);
        }
    }
    return rsrc_refuse_component(draft, "tokenizer-pretokenizer", "pre-tokenizer", type,
                                 "Split, Digits, Punctuation, ByteLevel and Metaspace, alone or in "
                                 "a Sequence, are supported");
}

enum rsrc_status rsrc_draft_pretokenizers(struct rsrc_tokenizer_draft *draft, const json_t *root) {
    const json_t *component = json_object_get(root, "pre_tokenizer");
    draft->alphabet = RSR_BPE_CHARACTERS; /* until ByteLevel */
    if (component == NULL || json_is_null(component)) {
        return RSRC_OK;
    }
    if (strcmp(rsrc_component_type(component), "Sequence") != 0) {
        return read_pretokenizer(draft, component);
    }
    const json_t *list = json_object_get(component, "pretokenizers");
    if (!json_is_array(list)) {
        return rsrc_refuse_tokenizer(draft, "tokenizer-pretokenizer",
                                     "a Sequence without its list");
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (read_pretokenizer(draft, json_array_get(list, i)) != RSRC_OK) {
            return RSRC_FAILED;
        }
    }
    return RSRC_OK;
}

/* ---- normalizers ----------------------------------------------------------------------------- */

/* A string field that is no longer than a literal may be. */
static enum rsrc_status read_literal(const struct rsrc_tokenizer_draft *draft, const char *slug,
                                     const json_t *component, const char *key, const char **out) {
    const char *text;
    if (rsrc_json_string(draft->diag, draft->file, SLUG, component, key, &text) != RSRC_OK) {
        return RSRC_FAILED;
    }
    if (text == NULL || strlen(text) > RSRC_MAX_LITERAL) {
        struct rsrc_place place = {.file = draft->file};
        return rsrc_refuse(draft->diag, slug, &place, NULL, "\"%s\" of %s is %s", key,
                           rsrc_quote(draft->scratch, rsrc_component_type(component)),
                           text == NULL ? "missing" : "longer than 16 bytes");
    }
    *out = text;
    return RSRC_OK;
}

/* Replace, as normalizer and as decoder. */
static enum rsrc_status read_replace(const struct rsrc_tokenizer_draft *draft, const char *slug,
                                     const json_t *component, struct rsrc_token_replacement *out) {
    const json_t *pattern = json_object_get(component, "pattern");
    const char *literal = json_string_value(json_object_get(pattern, "String"));
    if (json_object_get(pattern, "Regex") != NULL) {
        return rsrc_refuse_component(draft, slug, "the pattern of a Replace", "Regex",
                                     "a String of 1 to 16 bytes is supported");
    }
    if (literal == NULL || literal[0] == '\0' || strlen(literal) > RSRC_MAX_LITERAL ||
        json_object_size(pattern) != 1) {
        return rsrc_refuse_tokenizer(draft, slug,
                                     "the pattern of a Replace is not a String of 1 to 16 bytes");
    }
    out->pattern = literal;
    return read_literal(draft, slug, component, "content", &out->content);
}

static enum rsrc_status read_normalizer(struct rsrc_tokenizer_draft *draft,
                                        const json_t *component) {
    static const char slug[] = "tokenizer-normalizer";
    const char *type = rsrc_component_type(component);
    if (draft->n_normalizers == RSRC_MAX_NORMALIZERS) {
        return rsrc_refuse_tokenizer(draft, slug, "more than 8 normalizers");
    }
    struct rsrc_token_normalizer *out = &draft->normalizers[draft->n_normalizers++];
    out->text = (struct rsrc_token_replacement){"", ""};
    if (strcmp(type, "NFC") == 0) {
        out->kind = RSR_NORMALIZER_NFC;
        return RSRC_OK;
    }
    if (strcmp(type, "Prepend") == 0) {
        out->kind = RSR_NORMALIZER_PREPEND;
        return read_literal(draft, slug, component, "prepend", &out->text.content);
    }
    if (strcmp(type, "Replace") == 0) {
        out->kind = RSR_NORMALIZER_REPLACE;
        return read_replace(draft, slug, component, &out->text);
    }
    return rsrc_refuse_component(draft, slug, "normalizer", type,
                                 "NFC, Prepend and Replace, alone or in a Sequence, are supported");
}

/* Refuses some sequences of normalizers. If normalizers add characters, only the library's offsets
 * can tell which piece begins the text. And a few normalizers in sequence must not make a short
 * text very long. */
static enum rsrc_status check_normalizers(const struct rsrc_tokenizer_draft *draft) {
    uint64_t growth = 1;
    for (uint32_t i = 0; i < draft->n_splits && draft->n_normalizers > 0; i++) {
        if (draft->splits[i].step.prefix == RSR_PREFIX_FIRST) {
            return rsrc_refuse_tokenizer(draft, "tokenizer-normalizer",
                                         "a normalizer beside Metaspace with \"prepend_scheme\" "
                                         "\"first\" is not supported");
        }
    }
    for (uint32_t i = 0; i < draft->n_normalizers; i++) {
        const struct rsrc_token_replacement *text = &draft->normalizers[i].text;
        size_t n_pattern = strlen(text->pattern), n_content = strlen(text->content);
        if (n_pattern != 0 && n_content > n_pattern) {
            growth *= rsrc_divide_up64(n_content, n_pattern); /* at most 16 to the power of 8 */
        }
    }
    if (growth > RSRC_MAX_TEXT_GROWTH) {
        return rsrc_refuse_tokenizer(draft, "tokenizer-normalizer",
                                     "the normalizers can make a text more than 16 times as long");
    }
    return RSRC_OK;
}

enum rsrc_status rsrc_draft_normalizers(struct rsrc_tokenizer_draft *draft, const json_t *root) {
    const json_t *normalizer = json_object_get(root, "normalizer");
    if (normalizer == NULL || json_is_null(normalizer)) {
        return RSRC_OK;
    }
    if (strcmp(rsrc_component_type(normalizer), "Sequence") != 0) {
        return read_normalizer(draft, normalizer) == RSRC_OK ? check_normalizers(draft)
                                                             : RSRC_FAILED;
    }
    const json_t *list = json_object_get(normalizer, "normalizers");
    if (!json_is_array(list)) {
        return rsrc_refuse_tokenizer(draft, "tokenizer-normalizer", "a Sequence without its list");
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (read_normalizer(draft, json_array_get(list, i)) != RSRC_OK) {
            return RSRC_FAILED;
        }
    }
    return check_normalizers(draft);
}

/* ---- decoder --------------------------------------------------------------------------------- */

#define DECODER "tokenizer-decoder"

/* The steps of SentencePiece's decoder, in this order, each at most once. */
enum text_decoder { REPLACE, BYTE_FALLBACK, FUSE, STRIP, N_TEXT_DECODERS };
static const char *const TEXT_DECODERS[N_TEXT_DECODERS] = {"Replace", "ByteFallback", "Fuse",
                                                           "Strip"};

/* Characters are removed only from the front of the fused text. */
static enum rsrc_status read_strip(struct rsrc_tokenizer_draft *draft, const json_t *component,
                                   bool fused) {
    const char *content;
    uint32_t stop;
    if (read_literal(draft, DECODER, component, "content", &content) != RSRC_OK ||
        rsrc_json_u32(draft->diag, draft->file, SLUG, component, "start", 0, UINT16_MAX, 0,
                      &draft->decoder.strip_count) != RSRC_OK ||
        rsrc_json_u32(draft->diag, draft->file, SLUG, component, "stop", 0, UINT16_MAX, 0, &stop) !=
            RSRC_OK) {
        return RSRC_FAILED;
    }
    if (!fused || stop != 0) {
        return rsrc_refuse_tokenizer(
            draft, DECODER, "a Strip that is not after Fuse, or strips the end, is not supported");
    }
    if (content[0] == '\0' || content[1] != '\0' || (unsigned char)content[0] >= 0x80) {
        return rsrc_refuse_tokenizer(draft, DECODER,
                                     "the \"content\" of a Strip is not one ASCII character");
    }
    draft->decoder.strip_code = (uint32_t)content[0];
    return RSRC_OK;
}

static enum rsrc_status read_text_decoder(struct rsrc_tokenizer_draft *draft,
                                          const json_t *component, uint32_t *next) {
    const char *type = rsrc_component_type(component);
    uint32_t kind = 0;
    while (kind < N_TEXT_DECODERS && strcmp(type, TEXT_DECODERS[kind]) != 0) {
        kind++;
    }
    if (kind < *next || kind == N_TEXT_DECODERS) {
        return rsrc_refuse_component(
            draft, DECODER, kind < *next ? "this place of decoder" : "decoder", type,
            "ByteLevel, Metaspace, and a Sequence of Replace, ByteFallback, Fuse and Strip in "
            "this order are supported");
    }
    bool fused = *next == FUSE + 1;
    *next = kind + 1;
    switch ((enum text_decoder)kind) {
    case REPLACE:
        return read_replace(draft, DECODER, component, &draft->decoder_text);
    case BYTE_FALLBACK:
        draft->decoder.byte_fallback = 1;
        return RSRC_OK;
    case STRIP:
        return read_strip(draft, component, fused);
    case FUSE:
    case N_TEXT_DECODERS:
        break;
    }
    return RSRC_OK;
}

static enum rsrc_status read_metaspace_decoder(struct rsrc_tokenizer_draft *draft,
                                               const json_t *component) {
    uint32_t prefix;
    if (read_metaspace(draft, DECODER, component, &draft->decoder_text.pattern, &prefix) !=
        RSRC_OK) {
        return RSRC_FAILED;
    }
    draft->decoder_text.content = " ";
    draft->decoder.drops_first = prefix != RSR_PREFIX_NEVER;
    return RSRC_OK;
}

static enum rsrc_status read_text_decoders(struct rsrc_tokenizer_draft *draft,
                                           const json_t *component) {
    uint32_t next = 0;
    draft->decoder.kind = RSR_DECODER_TEXT;
    if (strcmp(rsrc_component_type(component), "Metaspace") == 0) {
        return read_metaspace_decoder(draft, component);
    }
    if (strcmp(rsrc_component_type(component), "Sequence") != 0) {
        return read_text_decoder(draft, component, &next);
    }
    const json_t *list = json_object_get(component, "decoders");
    if (!json_is_array(list)) {
        return rsrc_refuse_tokenizer(draft, DECODER, "a Sequence without its list");
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (read_text_decoder(draft, json_array_get(list, i), &next) != RSRC_OK) {
            return RSRC_FAILED;
        }
    }
    return RSRC_OK;
}

enum rsrc_status rsrc_draft_decoder(struct rsrc_tokenizer_draft *draft, const json_t *root) {
    const json_t *decoder = json_object_get(root, "decoder");
    const char *type = rsrc_component_type(decoder);
    draft->decoder_text = (struct rsrc_token_replacement){"", ""};
    bool absent = decoder == NULL || json_is_null(decoder);
    if (draft->alphabet == RSR_BPE_BYTES) {
        draft->decoder.kind = RSR_DECODER_BYTE_LEVEL;
        return absent || strcmp(type, "ByteLevel") == 0
                   ? RSRC_OK
                   : rsrc_refuse_component(draft, DECODER, "decoder", type,
                                           "ByteLevel decodes what ByteLevel encodes");
    }
    if (absent) {
        return rsrc_refuse_tokenizer(draft, DECODER, "no decoder: tokens cannot be made into text");
    }
    return read_text_decoders(draft, decoder);
}
