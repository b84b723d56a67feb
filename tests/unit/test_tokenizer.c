/* test_tokenizer.c - the runtime's tokenizer against the `tokenizers` library.
 *
 * tests/tokenizer/ holds tokenizers, a corpus and what the library makes of it; make_fixtures.py
 * there writes them. Every tokenizer.json goes through the compiler's reader into the runtime.
 * Other tests: damaged sections, refused patterns, buffer rules, text token by token, and time
 * linear in the text. With arguments FOLDER NAME... the program only compares these tokenizers of
 * another folder of this form; compare_random.py makes such folders.
 */
#include <time.h>
#include <unistd.h>
#include <utf8proc.h>

#include "tokenizer/detokenize.h"
#include "tokenizer_fixture.h"

/* A case of the corpus: a string, or {"hex": ...}. */
static size_t case_bytes(const json_t *value, char *out, size_t capacity) {
    if (json_is_string(value)) {
        size_t n = json_string_length(value);
        memcpy(out, json_string_value(value), n < capacity ? n : 0);
        return n;
    }
    const char *hex = json_string_value(json_object_get(value, "hex"));
    size_t n = strlen(hex) / 2;
    for (size_t i = 0; i < n; i++) {
        char digits[3] = {hex[2 * i], hex[2 * i + 1], 0};
        out[i] = (char)strtoul(digits, NULL, 16);
    }
    return n;
}

static bool same_ids(const json_t *expected, const uint32_t *ids, size_t n) {
    bool same = json_array_size(expected) == n;
    for (size_t i = 0; same && i < n; i++)
        same = json_integer_value(json_array_get(expected, i)) == ids[i];
    return same;
}

static void print_ids(const char *label, const uint32_t *ids, size_t n) {
    fprintf(stderr, "  %s", label);
    for (size_t i = 0; i < n && i < 40; i++)
        fprintf(stderr, " %u", ids[i]);
    fprintf(stderr, "\n");
}

static void check_encode(const struct fixture *f, const char *name, size_t number, const char *text,
                         size_t n_bytes, uint32_t flags, const json_t *expected) {
    static uint32_t ids[16384];
    size_t n = 0;
    rsr_error err = RSR_ERROR_INIT;
    rsr_status status = rsr_api_tokenize(&f->model, text, n_bytes, flags, ids, 16384, &n, &err);
    bool same = status == RSR_OK && same_ids(expected, ids, n);
    CHECK(same);
    if (!same) {
        char *want = json_dumps(expected, JSON_COMPACT);
        fprintf(stderr, "  %s text %zu flags %u %s\n  want %.200s\n", name, number, flags,
                err.message, want);
        print_ids("have", ids, n);
        free(want);
    }
    const uint64_t text_bytes = rsr_encoder_text_bytes(f->model.text->encoder);
    CHECK(text_bytes == 0 || (flags & RSR_TOKENIZE_PARSE_SPECIAL) != 0 ||
          n_bytes <= n * text_bytes);
}

/* Decoding token by token gives the whole text, in pieces of valid UTF-8. */
static void check_stream(const struct fixture *f, const uint32_t *ids, size_t n, bool skip_special,
                         const json_t *expected) {
    struct rsr_text_stream d;
    struct rsr_bytes all = {0};
    rsr_status status = RSR_OK;
    rsr_text_stream_begin(&d, &f->model, skip_special, false);
    for (size_t i = 0; status == RSR_OK && i <= n; i++) {
        size_t begin = all.size;
        status = i < n ? rsr_text_stream_push(&d, ids[i], &all, NULL)
                       : rsr_text_stream_finish(&d, &all, NULL);
        CHECK(all.size == begin || rsr_utf8_is_valid(all.data + begin, all.size - begin));
    }
    CHECK_INT(status, RSR_OK);
    CHECK(rsr_bytes_append(&all, "", 1));
    CHECK(all.size == json_string_length(expected) + 1 &&
          memcmp(all.data, json_string_value(expected), all.size) == 0);
    rsr_text_stream_free(&d);
    rsr_bytes_free(&all);
}

static void check_decode(const struct fixture *f, const char *name, const json_t *row) {
    uint32_t ids[8192];
    char text[32768];
    size_t n = json_array_size(json_array_get(row, 0)), n_bytes = 0;
    for (size_t i = 0; i < n && i < 8192; i++)
        ids[i] = (uint32_t)json_integer_value(json_array_get(json_array_get(row, 0), i));
    for (size_t skip = 0; skip < 2; skip++) {
        const json_t *expected = json_array_get(row, 1 + skip);
        rsr_status status =
            rsr_api_detokenize(&f->model, ids, n, skip != 0, text, sizeof(text), &n_bytes, NULL);
        bool same = status == RSR_OK && n_bytes == json_string_length(expected) &&
                    memcmp(text, json_string_value(expected), n_bytes) == 0;
        CHECK(same);
        if (!same)
            print_ids(name, ids, n);
        check_stream(f, ids, n, skip != 0, expected);
    }
}

static void test_library(const char *folder, const char *name, const json_t *corpus) {
    struct fixture f;
    json_t *expected = load_json(folder, name, ".expected.json");
    if (expected && open_fixture_of(&f, folder, name)) {
        static char text[65536];
        const json_t *encode = json_object_get(expected, "encode"), *row;
        size_t step = (size_t)json_integer_value(json_object_get(expected, "step")), i;
        CHECK(json_array_size(encode) > 100);
        json_array_foreach(encode, i, row) {
            size_t n = case_bytes(json_array_get(corpus, i * step), text, sizeof(text));
            check_encode(&f, name, i * step, text, n,
                         RSR_TOKENIZE_ADD_SPECIAL | RSR_TOKENIZE_PARSE_SPECIAL,
                         json_array_get(row, 0));
            check_encode(&f, name, i * step, text, n, 0, json_array_get(row, 1));
        }
        CHECK(json_array_size(json_object_get(expected, "decode")) > 100);
        json_array_foreach(json_object_get(expected, "decode"), i, row) {
            check_decode(&f, name, row);
        }
        close_fixture(&f);
    }
    json_decref(expected);
}

/* UTF-8 bytes of a code point. */
static size_t bytes_of(utf8proc_int32_t code) {
    char out[4];
    return rsr_utf8_encode((uint32_t)code, out);
}

static int parts_of(utf8proc_int32_t code, utf8proc_int32_t parts[8]) {
    int boundary = 0;
    const utf8proc_ssize_t n =
        utf8proc_decompose_char(code, parts, 8, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, &boundary);
    CHECK(n >= 1 && n <= 4);
    return n >= 1 && n <= 4 ? (int)n : 0;
}

/* The bound of text_bound.c for canonical composition. */
static void test_most_composed(void) {
    uint8_t *longest = calloc(0x110000, 1); /* bytes of the longest character with this part */
    utf8proc_int32_t parts[8];
    size_t most = 0; /* largest growth, in half bytes per byte */
    for (utf8proc_int32_t code = 1; longest && code < 0x110000; code++)
        for (int i = utf8proc_codepoint_valid(code) ? parts_of(code, parts) : 0; i > 0; i--)
            if (bytes_of(code) > longest[parts[i - 1]])
                longest[parts[i - 1]] = (uint8_t)bytes_of(code);
    for (utf8proc_int32_t code = 1; longest && code < 0x110000; code++) {
        size_t sum = 0;
        for (int i = utf8proc_codepoint_valid(code) ? parts_of(code, parts) : 0; i > 0; i--)
            sum += longest[parts[i - 1]];
        most = 2 * sum > most * bytes_of(code) ? (2 * sum + bytes_of(code) - 1) / bytes_of(code)
                                               : most;
    }
    CHECK_INT(most, 9);
    free(longest);
}

static void test_text_bounds(void) {
    static const struct {
        const char *tokenizer;
        bool bounded;
    } cases[] = {{"llama3", true},    {"gpt2", false},          {"qwen", true},
                 {"llama2", false},   {"gemma", true},          {"o200k", true},
                 {"metaspace", true}, {"split-removed", false}, {"metaspace-never", false}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture f;
        if (!open_fixture(&f, cases[i].tokenizer))
            break;
        const uint64_t bytes = rsr_encoder_text_bytes(f.model.text->encoder);
        CHECK(cases[i].bounded ? bytes >= 4 && bytes < 4096 : bytes == 0);
        if ((bytes != 0) != cases[i].bounded)
            fprintf(stderr, "  %s: %llu\n", cases[i].tokenizer, (unsigned long long)bytes);
        close_fixture(&f);
    }
    test_most_composed();
}

static void test_buffers(void) {
    struct fixture f;
    if (!open_fixture(&f, "llama3"))
        return;
    uint32_t ids[4] = {9, 9, 9, 9};
    size_t n = 77;
    rsr_error err = RSR_ERROR_INIT;
    CHECK_INT(rsr_api_tokenize(&f.model, "1a2", 3, 0, ids, 2, &n, &err), RSR_ERR_FULL);
    CHECK_INT(n, 3);
    CHECK(ids[0] != 9 && ids[1] != 9 && ids[2] == 9);
    CHECK_INT(rsr_api_tokenize(&f.model, "x", 1, 0, NULL, 0, &n, NULL), RSR_ERR_FULL);
    CHECK_INT(rsr_api_tokenize(&f.model, NULL, 0, 0, NULL, 0, &n, NULL), RSR_OK);
    CHECK_INT(n, 0);
    CHECK_INT(rsr_api_tokenize(&f.model, "x", 1, 64, ids, 4, &n, NULL), RSR_ERR_ARGUMENT);

    char text[3] = "??";
    uint32_t vocab = f.module.hyper.vocab;
    rsr_status status = rsr_api_tokenize(&f.model, "abc", 3, 0, ids, 4, &n, NULL);
    CHECK_INT(status, RSR_OK);
    size_t n_bytes = 0;
    CHECK_INT(rsr_api_detokenize(&f.model, ids, n, false, text, 2, &n_bytes, NULL), RSR_ERR_FULL);
    CHECK_INT(n_bytes, 3);
    CHECK_STR(text, "ab");
    ids[0] = vocab - 1; /* a padded row of the embedding: no text */
    CHECK_INT(rsr_api_detokenize(&f.model, ids, 1, false, text, 2, &n_bytes, NULL), RSR_OK);
    CHECK_INT(n_bytes, 0);
    ids[0] = vocab;
    n_bytes = 55;
    CHECK_INT(rsr_api_detokenize(&f.model, ids, 1, false, text, 2, &n_bytes, &err),
              RSR_ERR_ARGUMENT);
    CHECK_INT(n_bytes, 55);
    CHECK(strstr(err.message, "outside the vocabulary") != NULL);

    struct rsr_model bare = f.model;
    bare.text = NULL;
    CHECK_INT(rsr_api_tokenize(&bare, "x", 1, 0, ids, 4, &n, &err), RSR_ERR_TEXT);
    close_fixture(&f);
}

/* The ids of a text without special tokens; the caller frees them. */
static uint32_t *ids_of(const struct fixture *f, const char *text, size_t *n) {
    uint32_t *ids = malloc(64 * sizeof(*ids));
    CHECK(ids != NULL);
    CHECK_INT(rsr_api_tokenize(&f->model, text, strlen(text), 0, ids, 64, n, NULL), RSR_OK);
    return ids;
}

/* The text that more tokens add to a text. */
static void check_more(const struct fixture *f, const uint32_t *first, size_t n_first,
                       const uint32_t *next, size_t n_next, const char *expected) {
    struct rsr_text_stream d;
    struct rsr_bytes text = {0};
    rsr_text_stream_begin(&d, &f->model, true, false);
    CHECK_INT(rsr_text_stream_continue(&d, first, n_first, NULL), RSR_OK);
    for (size_t i = 0; i < n_next; i++)
        CHECK_INT(rsr_text_stream_push(&d, next[i], &text, NULL), RSR_OK);
    CHECK_INT(rsr_text_stream_finish(&d, &text, NULL), RSR_OK);
    CHECK(rsr_bytes_append(&text, "", 1));
    CHECK_STR(text.data, expected);
    rsr_text_stream_free(&d);
    rsr_bytes_free(&text);
}

/* If two added tokens have one content, the first one is used, as in the library. */
static void test_repeated_token(void) {
    json_t *root = load_json(FIXTURES, "gpt2", ".tokenizer.json");
    json_t *added = json_object_get(root, "added_tokens");
    const json_int_t last = json_integer_value(
        json_object_get(json_array_get(added, json_array_size(added) - 1), "id"));
    for (json_int_t i = 1; i <= 2; i++)
        json_array_append_new(added, json_pack("{s:I,s:s}", "id", last + i, "content", "@again@"));
    char *json = json_dumps(root, JSON_COMPACT);
    struct fixture f;
    if (json && parse_fixture(&f, "repeated", json, strlen(json))) {
        size_t n;
        uint32_t *ids = ids_of(&f, "a@again@b", &n);
        CHECK_INT(n, 3);
        CHECK_INT(ids[1], last + 1);
        free(ids);
        close_fixture(&f);
    }
    free(json);
    json_decref(root);
}

/* The space that begins every text is stripped only there, not in its middle. */
static void check_continued(const char *name, const char *before, const char *more,
                            const char *expected) {
    struct fixture f;
    if (!open_fixture(&f, name))
        return;
    size_t n_before, n_more;
    uint32_t *first = ids_of(&f, before, &n_before), *next = ids_of(&f, more, &n_more);
    check_more(&f, first, n_before, next, n_more, expected);
    free(first);
    free(next);
    close_fixture(&f);
}

static void test_continued(void) {
    check_continued("llama2", "", "the lord", "the lord");
    check_continued("llama2", "In the beginning", "the lord", " the lord");
    check_continued("llama2", " ", "the lord", " the lord");
    check_continued("llama2", "line\n", "the lord", " the lord");
    check_continued("metaspace-always", "", "the lord", "the lord");
    check_continued("metaspace-always", "the", "the lord", " the lord");
    check_continued("llama3", "In", " the lord", " the lord");
}

/* A decoder that strips two spaces may strip one from each of the first two tokens, and nothing
 * from later ones. <0x+5> is the byte 5, because the library's parser of numbers reads it so. */
static void test_decoders(void) {
    json_t *root = load_json(FIXTURES, "llama2", ".tokenizer.json");
    json_t *decoders = json_object_get(json_object_get(root, "decoder"), "decoders");
    json_t *strip = json_array_get(decoders, json_array_size(decoders) - 1);
    json_t *added = json_object_get(root, "added_tokens");
    const json_int_t last = json_integer_value(
        json_object_get(json_array_get(added, json_array_size(added) - 1), "id"));
    CHECK_STR(json_string_value(json_object_get(strip, "type")), "Strip");
    json_object_set_new(strip, "start", json_integer(2));
    json_array_append_new(added, json_pack("{s:I,s:s}", "id", last + 1, "content", "<0x+5>"));
    char *json = json_dumps(root, JSON_COMPACT);
    struct fixture f;
    if (json && parse_fixture(&f, "decoders", json, strlen(json))) {
        const struct rsr_encoder *encoder = f.model.text->encoder;
        const uint32_t space = rsr_encoder_find_piece(encoder, "\xe2\x96\x81", 3),
                       word = rsr_encoder_find_piece(encoder, "\xe2\x96\x81the", 6);
        const uint32_t ids[] = {space, word, word, (uint32_t)last + 1};
        CHECK(space != RSR_NO_TOKEN && word != RSR_NO_TOKEN);
        check_more(&f, ids, 0, ids, 4, "the the\x05");
        check_more(&f, ids, 1, ids + 1, 3, "the the\x05");
        check_more(&f, ids, 2, ids + 2, 2, " the\x05");
        check_more(&f, ids, 3, ids + 3, 1, "\x05");
        close_fixture(&f);
    }
    free(json);
    json_decref(root);
}

/* Byte tokens become text when their run has ended, because one invalid byte makes the whole run
 * invalid UTF-8. */
static void test_held_bytes(void) {
    struct fixture f;
    if (!open_fixture(&f, "llama2"))
        return;
    const uint32_t first = 3; /* <0x00> */
    const uint32_t ids[] = {first + 0xf0, first + 0x9f, first + 0x98, first + 0x80, first + 0xff};
    struct rsr_text_stream d;
    struct rsr_bytes text = {0};
    rsr_text_stream_begin(&d, &f.model, true, false);
    for (size_t i = 0; i < 4; i++)
        CHECK_INT(rsr_text_stream_push(&d, ids[i], &text, NULL), RSR_OK);
    CHECK_INT(text.size, 0);
    size_t n;
    uint32_t *next = ids_of(&f, "the", &n);
    CHECK_INT(rsr_text_stream_push(&d, next[0], &text, NULL), RSR_OK);
    CHECK(text.size > 4 && memcmp(text.data, "\xf0\x9f\x98\x80", 4) == 0);
    text.size = 0;
    for (size_t i = 0; i < 5; i++)
        CHECK_INT(rsr_text_stream_push(&d, ids[i], &text, NULL), RSR_OK);
    CHECK_INT(text.size, 0);
    CHECK_INT(rsr_text_stream_finish(&d, &text, NULL), RSR_OK);
    CHECK_INT(text.size, 5 * 3);
    CHECK(memcmp(text.data, "\xef\xbf\xbd\xef\xbf\xbd", 6) == 0);
    rsr_text_stream_free(&d);
    rsr_bytes_free(&text);
    free(next);
    close_fixture(&f);
}

/* Flips bytes of a section: the section is refused or works, and nothing outside it is read
 * (sanitizers watch). */
static void test_damaged_sections(const char *name) {
    struct fixture f;
    if (!open_fixture(&f, name))
        return;
    size_t size = (size_t)f.tokenizer.size_bytes;
    char *copy = aligned_alloc(64, (size + 63) / 64 * 64);
    uint64_t seed = 1, n_refused = 0;
    for (int round = 0; copy && round < 3000; round++) {
        memcpy(copy, f.tokenizer.section, size);
        /* Most of the damage goes to the header, where the offsets are. */
        size_t range = round % 4 ? sizeof(struct rsr_tokenizer_header) - 1024 : size;
        size_t at = check_random(&seed) % range;
        copy[at] = (char)(copy[at] ^ (1 << check_random(&seed) % 8));
        struct rsr_tokenizer_header header;
        memcpy(&header, copy, sizeof(header));
        if (header.size_bytes > size)
            continue; /* the size comes from the linker and is not checked */
        struct rsr_encoder *encoder;
        rsr_error err = RSR_ERROR_INIT;
        if (rsr_encoder_create((const struct rsr_tokenizer_header *)(void *)copy, &encoder, &err) !=
            RSR_OK) {
            CHECK(err.message[0] != 0);
            n_refused++;
            continue;
        }
        struct rsr_text text = {.encoder = encoder};
        struct rsr_model model = f.model;
        model.text = &text;
        uint32_t ids[256];
        size_t n;
        rsr_status status =
            rsr_api_tokenize(&model, "word <left> 12\xff\n caf\xc3\xa9", 20, 3, ids, 256, &n, NULL);
        CHECK(status == RSR_OK || status == RSR_ERR_TEXT);
        char back[512];
        if (status == RSR_OK)
            status = rsr_api_detokenize(&model, ids, n, false, back, sizeof(back), &n, NULL);
        CHECK(status == RSR_OK || status == RSR_ERR_TEXT || status == RSR_ERR_FULL);
        rsr_encoder_destroy(encoder);
    }
    CHECK(n_refused > 500);
    free(copy);
    close_fixture(&f);
}

static void test_patterns(void) {
    static const char *const refused[] = {
        "(?i)a",       "^*a",        "a$+",
        "\\w+",        "\\b",        "[[:alpha:]]",
        "[a&&b]",      "[a[b]]",     "(?<n>a)",
        "\\1",         "{2}+",       "(*UTF8)a",
        "a|{2}+",      "({2}+)",     "a({2}+)b",
        "(?:ab){1}+",  "(ab){1,1}*", "a{3,1}",
        "\\h",         "[\\S]",      "\\p{NoSuchScript}",
        "\\pL",        "(",          "[",
        "\\",          "a)",         "",
        "\\x{110000}",
    };
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct rsr_splitter *splitter = NULL;
        rsr_error err = RSR_ERROR_INIT;
        CHECK_INT(rsr_splitter_create(refused[i], strlen(refused[i]), 0, false, &splitter, &err),
                  RSR_ERR_TEXT);
        CHECK(splitter == NULL && strstr(err.message, "split pattern") != NULL);
        rsr_splitter_destroy(splitter);
    }
    static const char *const accepted[] = {
        "\\u00e9|\\x{e9}",
        "a{2,}|b{,3}|c{1,2}?|{",
        "[^\\s\\d\\p{Han}-]",
        "(?>a|b)++",
        "\\p{^L}\\P{Lu}",
        "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{M}]+(?i:'s|'t)?",
    };
    for (size_t i = 0; i < sizeof(accepted) / sizeof(accepted[0]); i++) {
        struct rsr_splitter *splitter = NULL;
        rsr_error err = RSR_ERROR_INIT;
        CHECK_INT(rsr_splitter_create(accepted[i], strlen(accepted[i]), 0, false, &splitter, &err),
                  RSR_OK);
        CHECK_STR(err.message, "");
        rsr_splitter_destroy(splitter);
    }
}

/* Appends a bar and the piece to the text of `user`. */
static rsr_status list_piece(void *user, const char *piece, size_t n_bytes, rsr_error *err) {
    char *text = user;
    (void)err;
    snprintf(text + strlen(text), 64 - strlen(text), "|%.*s", (int)n_bytes, piece);
    return RSR_OK;
}

/* The results of the library's split() for adjacent matches, by behavior, and for an inverted
 * pattern, where matches are gaps and gaps are matches. */
static void test_splits(void) {
    enum { ISOLATED, REMOVED, PREVIOUS, NEXT, CONTIGUOUS };
    static const struct {
        const char *pattern;
        uint32_t behavior;
        bool invert;
        const char *text, *pieces;
    } cases[] = {
        {"-", ISOLATED, false, "the-final--countdown", "|the|-|final|-|-|countdown"},
        {"-", REMOVED, false, "the-final--countdown", "|the|final|countdown"},
        {"-", PREVIOUS, false, "the-final--countdown", "|the-|final-|-|countdown"},
        {"-", NEXT, false, "the-final--countdown", "|the|-final|-|-countdown"},
        {"-", CONTIGUOUS, false, "the-final--countdown", "|the|-|final|--|countdown"},
        {"-", ISOLATED, true, "the-final--countdown", "|the|-|final|-|-|countdown"},
        {"-", REMOVED, true, "the-final--countdown", "|-|-|-"},
        {"-", PREVIOUS, true, "the-final--countdown", "|the|-final|-|-countdown"},
        {"-", NEXT, true, "the-final--countdown", "|the-|final-|-|countdown"},
        {"-", CONTIGUOUS, true, "the-final--countdown", "|the|-|final|--|countdown"},
        {"-", PREVIOUS, false, "--a", "|-|-|a"},
        {"-", NEXT, false, "a--", "|a|-|-"},
        {"\\p{L}+", ISOLATED, false, "ab,.1c", "|ab|,.1|c"},
        {"\\P{L}+", ISOLATED, false, "ab,.1c", "|ab|,.1|c"},
        {"\\p{^L}+", REMOVED, false, "ab,.1c", "|ab|c"},
        {"\\P{^L}+", REMOVED, false, "ab,.1c", "|,.1"},
        {"a{,2}b", REMOVED, false, "xaaab", "|xa"},
        {"a{2}", REMOVED, false, "xaaab", "|x|ab"},
        {"a{2", REMOVED, false, "xa{2b", "|x|b"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char pieces[64] = "";
        struct rsr_splitter *splitter = NULL;
        CHECK_INT(rsr_splitter_create(cases[i].pattern, strlen(cases[i].pattern), cases[i].behavior,
                                      cases[i].invert, &splitter, NULL),
                  RSR_OK);
        CHECK_INT(rsr_splitter_run(splitter, cases[i].text, strlen(cases[i].text), list_piece,
                                   pieces, NULL),
                  RSR_OK);
        CHECK_STR(pieces, cases[i].pieces);
        rsr_splitter_destroy(splitter);
    }
}

static rsr_status ignore_piece(void *user, const char *piece, size_t n_bytes, rsr_error *err) {
    (void)user, (void)piece, (void)n_bytes, (void)err;
    return RSR_OK;
}

/* A pattern with exponential backtracking gives up with an error. */
static void test_match_limit(void) {
    struct rsr_splitter *splitter = NULL;
    const char *pattern = "(?:a+)+b";
    char text[65];
    memset(text, 'a', 64);
    rsr_error err = RSR_ERROR_INIT;
    rsr_status status = rsr_splitter_create(pattern, strlen(pattern), 0, false, &splitter, &err);
    CHECK_INT(status, RSR_OK);
    if (status != RSR_OK)
        return;
    text[63] =
        'b'; /* PCRE2 searches for the b first, which does not help if the b follows the run */
    text[62] = 'c';
    CHECK_INT(rsr_splitter_run(splitter, text, 64, ignore_piece, NULL, &err), RSR_ERR_TEXT);
    CHECK(strstr(err.message, "gave up") != NULL);
    rsr_splitter_destroy(splitter);
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* One megabyte of the worst: nothing is quadratic. The bound is generous for sanitizers and slow
 * hosts; a quadratic step at this size takes minutes. */
static void test_time(void) {
    static const struct {
        const char *tokenizer, *unit;
    } runs[] = {
        {"llama3", "x"},
        {"llama3", "the lord said unto him, 12 "},
        {"llama3", " "},
        {"llama3", "<|eot_id|>"},
        {"llama3", "<|eot_id"},
        {"qwen", "\xcc\x95\xcc\x80"},
        {"gpt2", "  <both>"},
        {"gpt2", "\n"},
        {"llama3", "aab"},
        {"cl100k", "1"},
        {"cl100k", " "},
        {"deepseek-llm", " "},
        {"gpt2", "\xff"},
        {"llama2", "x"},
        {"llama2", "the lord said unto him, 12 "},
        {"llama2", " "},
        {"llama2", "\xf0\x9f\x98\x80"},
        {"llama2", "aab"},
        {"metaspace", "\xe2\x98\x83"},
        {"llama2", "the"},
        {"metaspace-always", "the lord "},
        {"punctuation", "the lord said, 12345 \xc2\xb2"},
    };
    const size_t n_bytes = 1 << 20;
    char *text = malloc(n_bytes);
    uint32_t *ids = malloc(3 * n_bytes * sizeof(*ids));
    for (size_t i = 0; text && ids && i < sizeof(runs) / sizeof(runs[0]); i++) {
        struct fixture f;
        if (!open_fixture(&f, runs[i].tokenizer))
            break;
        for (size_t at = 0; at < n_bytes; at++)
            text[at] = runs[i].unit[at % strlen(runs[i].unit)];
        double begin = seconds();
        size_t n = 0;
        rsr_error err = RSR_ERROR_INIT;
        CHECK_INT(rsr_api_tokenize(&f.model, text, n_bytes, 3, ids, 3 * n_bytes, &n, &err), RSR_OK);
        double taken = seconds() - begin;
        printf("%-8s %-12.12s 1 MiB in %.3f s, %zu tokens\n", runs[i].tokenizer,
               runs[i].unit[0] > ' ' ? runs[i].unit : "blank", taken, n);
        CHECK(taken < 20);
        close_fixture(&f);
    }
    free(text);
    free(ids);
}

static void test_libraries(const char *folder, const char *const *names, size_t n) {
    json_t *corpus = load_json(folder, "corpus", ".json");
    for (size_t i = 0; corpus && i < n; i++)
        test_library(folder, names[i], corpus);
    json_decref(corpus);
}

/* Blanks that each of half a million added tokens would strip, forwards to the end and backwards to
 * the beginning. */
static void test_stripped_blanks(void) {
    const size_t n_bytes = 1 << 20;
    json_t *root = load_json(FIXTURES, "gpt2", ".tokenizer.json");
    json_t *added = json_object_get(root, "added_tokens");
    json_int_t id = json_integer_value(
        json_object_get(json_array_get(added, json_array_size(added) - 1), "id"));
    json_array_append_new(added, json_pack("{s:I,s:s,s:b,s:b}", "id", id + 1, "content", "\t\t",
                                           "lstrip", 1, "rstrip", 1));
    char *json = json_dumps(root, JSON_COMPACT), *text = malloc(n_bytes);
    uint32_t *ids = malloc(n_bytes * sizeof(*ids));
    struct fixture f;
    CHECK(json && text && ids);
    if (json && text && ids && parse_fixture(&f, "blanks", json, strlen(json))) {
        size_t n = 0;
        memset(text, '\t', n_bytes);
        double begin = seconds();
        CHECK_INT(rsr_api_tokenize(&f.model, text, n_bytes, 0, ids, n_bytes, &n, NULL), RSR_OK);
        CHECK_INT(n, n_bytes / 2);
        CHECK(seconds() - begin < 20);
        close_fixture(&f);
    }
    free(ids);
    free(text);
    free(json);
    json_decref(root);
}

/* ---- A vocabulary made to collide ------------------------------------------------------------ */

#define N_COLLIDING 30000u /* its table has 2^16 slots at most */

static uint32_t hash_low16(uint32_t hash, uint32_t byte) {
    return ((hash ^ byte) * 16777619u) & 0xffff; /* FNV-1a: low bits depend only on low bits */
}

/* Finds the next word whose hash ends with 16 zero bits: a prefix, and two letters that make the
 * bits zero, if there are such letters. */
static void next_colliding(uint32_t *prefix, char word[8]) {
    for (;; ++*prefix) {
        uint32_t hash = 2166136261u & 0xffff, n = 0;
        for (uint32_t rest = *prefix + 26 * 26 * 26; rest > 0; rest /= 26) {
            word[n] = (char)('a' + rest % 26);
            hash = hash_low16(hash, (uint8_t)word[n++]);
        }
        for (uint32_t pair = 0; pair < 26 * 26; pair++) {
            word[n] = (char)('a' + pair / 26);
            word[n + 1] = (char)('a' + pair % 26);
            if (hash_low16(hash_low16(hash, (uint8_t)word[n]), (uint8_t)word[n + 1]) == 0) {
                word[n + 2] = 0;
                ++*prefix;
                return;
            }
        }
    }
}

/* Many pieces whose hashes share one bucket of the table: each is found without a walk through the
 * bucket. */
static void test_colliding_vocabulary(void) {
    json_t *vocab = json_object();
    struct rsr_bytes text = {0};
    char word[16];
    uint32_t prefix = 0;
    for (uint32_t i = 0; i < N_COLLIDING; i++) {
        next_colliding(&prefix, word);
        json_object_set_new(vocab, word, json_integer(i));
        CHECK(rsr_bytes_append(&text, word, strlen(word)) && rsr_bytes_append(&text, " ", 1));
    }
    json_t *root =
        json_pack("{s:{s:s,s:{s:s},s:s}, s:{s:s}, s:{s:s,s:b,s:o,s:[]}}", "pre_tokenizer", "type",
                  "Split", "pattern", "String", " ", "behavior", "Removed", "decoder", "type",
                  "Fuse", "model", "type", "BPE", "ignore_merges", 1, "vocab", vocab, "merges");
    char *json = root ? json_dumps(root, JSON_COMPACT) : NULL;
    uint32_t *ids = malloc(N_COLLIDING * sizeof(*ids));
    struct fixture f;
    CHECK(json != NULL && ids != NULL);
    double begin = seconds();
    if (json && ids && parse_fixture(&f, "colliding", json, strlen(json))) {
        size_t n = 0;
        for (int round = 0; round < 16; round++)
            CHECK_INT(
                rsr_api_tokenize(&f.model, text.data, text.size, 0, ids, N_COLLIDING, &n, NULL),
                RSR_OK);
        CHECK_INT(n, N_COLLIDING);
        for (uint32_t i = 0; i < n; i++)
            CHECK(ids[i] == i);
        double taken = seconds() - begin;
        printf("%u colliding pieces: %.3f s\n", N_COLLIDING, taken);
        CHECK(taken < 5);
    }
    if (json && ids)
        close_fixture(&f);
    free(ids);
    free(json);
    json_decref(root);
    rsr_bytes_free(&text);
}

int main(int argc, char **argv) {
    static const char *const names[] = {"llama3",
                                        "gpt2",
                                        "qwen",
                                        "qwen3_5",
                                        "falcon",
                                        "punctuation",
                                        "neox",
                                        "cl100k",
                                        "o200k",
                                        "deepseek-llm",
                                        "deepseek-coder",
                                        "deepseek-3",
                                        "split-lines",
                                        "llama2",
                                        "metaspace",
                                        "gemma",
                                        "metaspace-always",
                                        "metaspace-never",
                                        "nul",
                                        "split-removed",
                                        "split-previous",
                                        "split-next",
                                        "split-contiguous"};
    if (argc > 1) {
        test_libraries(argv[1], (const char *const *)argv + 2, (size_t)argc - 2);
        return CHECK_EXIT();
    }
    test_libraries(FIXTURES, names, sizeof(names) / sizeof(names[0]));
    test_buffers();
    test_text_bounds();
    test_continued();
    test_decoders();
    test_repeated_token();
    test_held_bytes();
    test_damaged_sections("gpt2");
    test_damaged_sections("llama2");
    test_damaged_sections("metaspace");
    test_damaged_sections("punctuation");
    test_stripped_blanks();
    test_colliding_vocabulary();
    test_patterns();
    test_splits();
    test_match_limit();
    test_time();
    return CHECK_EXIT();
}
