/* rsr_mkmodel_tokenizer.c - a small synthetic tokenizer in the form of Llama 3's tokenizer.json.
 *
 * Byte-level BPE: 256 byte tokens, merges drawn from a seed (letters by about their English
 * frequency, so that text does get merged), and three special tokens. It differs between presets
 * only in size, whatever tokenizer the real model has; ids above its last token have no text, like
 * the padding rows of real vocabularies.
 */
#include <stdlib.h>
#include <string.h>

#include "rsr_mkmodel.h"

#define MAX_TOKENS 2048u
#define MAX_TOKEN_BYTES 24u

const char *const mkmodel_special_tokens[3] = {"<|begin_of_text|>", "<|end_of_text|>",
                                               "<|eot_id|>"};

/* Llama 3's pre-tokenizer. */
static const char split_pattern[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/* U+0120 stands for a space in the byte-level alphabet. */
#define SPACE "\xc4\xa0"

static const char *const letters[] = {
    "e", "e", "e", "t", "t", "a", "a", "o", "o", "i", "i", "n", "n", "s", "s",   "h",   "h",  "r",
    "r", "d", "l", "c", "u", "m", "w", "f", "g", "y", "p", "b", "v", "k", SPACE, SPACE, SPACE};

#define N_LETTERS (sizeof letters / sizeof *letters)

/* The character of the byte-level alphabet for the byte that is `rank`th in its order: printable
 * bytes stand for themselves, the other 68 follow from U+0100 on. */
static uint32_t alphabet_char(uint32_t rank) {
    if (rank < 94)
        return 0x21 + rank;
    if (rank < 94 + 12)
        return 0xa1 + (rank - 94);
    if (rank < 94 + 12 + 82)
        return 0xae + (rank - 94 - 12);
    return 0x100 + (rank - 94 - 12 - 82);
}

/* All of the alphabet is below U+0800. */
static const char *utf8_of(struct rsrc_arena *arena, uint32_t code_point) {
    if (code_point < 0x80)
        return rsrc_arena_printf(arena, "%c", (char)code_point);
    return rsrc_arena_printf(arena, "%c%c", (char)(0xc0 | code_point >> 6),
                             (char)(0x80 | (code_point & 0x3f)));
}

struct mkmodel_token_ids mkmodel_token_ids(uint32_t vocab) {
    uint32_t n_tokens = vocab < MAX_TOKENS ? vocab : MAX_TOKENS;
    uint32_t first = n_tokens - 3;

    return (struct mkmodel_token_ids){
        .n_merges = first - 256, .bos = first, .eos = first + 1, .eot = first + 2};
}

/* Draws pairs of known tokens until their union is new. */
static void add_merges(struct rsrc_arena *arena, uint64_t seed, uint32_t n_merges, json_t *vocab,
                       json_t *merges) {
    const char **pool = RSRC_NEW_ARRAY(arena, N_LETTERS + n_merges, const char *);
    size_t n_pool = N_LETTERS;
    uint64_t counter = mkmodel_hash_name(seed, "tokenizer");

    memcpy(pool, letters, sizeof letters);
    while (n_merges > 0) {
        uint64_t bits = mkmodel_mix(counter++);
        const char *left = pool[(bits & 0xffffffff) % n_pool];
        const char *right = letters[(bits >> 32) % (N_LETTERS - 3)]; /* a space only begins words */
        const char *token = rsrc_arena_printf(arena, "%s%s", left, right);

        if (strlen(token) > MAX_TOKEN_BYTES || json_object_get(vocab, token))
            continue;
        json_object_set_new(vocab, token, json_integer((json_int_t)json_object_size(vocab)));
        json_array_append_new(merges, json_string(rsrc_arena_printf(arena, "%s %s", left, right)));
        pool[n_pool++] = token;
        n_merges--;
    }
}

static json_t *added_tokens(uint32_t first) {
    json_t *tokens = json_array();

    for (uint32_t i = 0; i < 3; i++)
        json_array_append_new(
            tokens, json_pack("{s:I, s:s, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)(first + i),
                              "content", mkmodel_special_tokens[i], "single_word", 0, "lstrip", 0,
                              "rstrip", 0, "normalized", 0, "special", 1));
    return tokens;
}

/* Puts {BOS} before every text. */
static json_t *post_processor(uint32_t bos) {
    const char *name = mkmodel_special_tokens[0];
    json_t *single = json_pack("[{s:{s:s, s:i}}, {s:{s:s, s:i}}]", "SpecialToken", "id", name,
                               "type_id", 0, "Sequence", "id", "A", "type_id", 0);
    json_t *pair =
        json_pack("[{s:{s:s, s:i}}, {s:{s:s, s:i}}, {s:{s:s, s:i}}, {s:{s:s, s:i}}]",
                  "SpecialToken", "id", name, "type_id", 0, "Sequence", "id", "A", "type_id", 0,
                  "SpecialToken", "id", name, "type_id", 1, "Sequence", "id", "B", "type_id", 1);
    json_t *template =
        json_pack("{s:s, s:o, s:o, s:{s:{s:s, s:[I], s:[s]}}}", "type", "TemplateProcessing",
                  "single", single, "pair", pair, "special_tokens", name, "id", name, "ids",
                  (json_int_t)bos, "tokens", name);

    return json_pack("{s:s, s:[{s:s, s:b, s:b, s:b}, o]}", "type", "Sequence", "processors", "type",
                     "ByteLevel", "add_prefix_space", 1, "trim_offsets", 0, "use_regex", 1,
                     template);
}

json_t *mkmodel_tokenizer_json(struct rsrc_arena *arena, uint32_t vocab, uint64_t seed) {
    struct mkmodel_token_ids ids = mkmodel_token_ids(vocab);
    json_t *map = json_object(), *merges = json_array();

    for (uint32_t i = 0; i < 256; i++)
        json_object_set_new(map, utf8_of(arena, alphabet_char(i)), json_integer((json_int_t)i));
    add_merges(arena, seed, ids.n_merges, map, merges);

    json_t *split = json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex",
                              split_pattern, "behavior", "Isolated", "invert", 0);
    json_t *model =
        json_pack("{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout",
                  "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0,
                  "byte_fallback", 0, "ignore_merges", 1, "vocab", map, "merges", merges);
    return json_pack("{s:s, s:n, s:n, s:o, s:n, s:{s:s, s:[o, {s:s, s:b, s:b, s:b}]}, s:o, "
                     "s:{s:s, s:b, s:b, s:b}, s:o}",
                     "version", "1.0", "truncation", "padding", "added_tokens",
                     added_tokens(ids.bos), "normalizer", "pre_tokenizer", "type", "Sequence",
                     "pretokenizers", split, "type", "ByteLevel", "add_prefix_space", 0,
                     "trim_offsets", 1, "use_regex", 0, "post_processor", post_processor(ids.bos),
                     "decoder", "type", "ByteLevel", "add_prefix_space", 1, "trim_offsets", 1,
                     "use_regex", 1, "model", model);
}
