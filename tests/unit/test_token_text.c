/* test_token_text.c - text of tokens that come one at a time, and texts that continue other
 * texts. */
#include "tokenizer_fixture.h"

enum { CAPACITY = 256 };

/* The last texts have characters that small vocabularies lack. */
static const char *const texts[] = {"In the beginning",
                                    "the lord",
                                    " the lord",
                                    "  two",
                                    "1234",
                                    "\n\nx",
                                    "\t",
                                    "h\xc3\xa9llo",
                                    "\xe6\x97\xa5\xe6\x9c\xac",
                                    "\xf0\x9f\x98\x80!"};
enum { N_TEXTS = sizeof(texts) / sizeof(texts[0]), N_ASCII = 7, N_WORDS = 4 };

/* Tokenizers with every kind of decoder. */
static const struct {
    const char *name;
    size_t n_texts;
} tokenizers[] = {
    {"llama3", N_TEXTS},
    {"gpt2", N_ASCII},
    {"qwen", N_TEXTS},
    {"neox", N_ASCII},
    {"cl100k", N_TEXTS},
    {"o200k", N_TEXTS},
    {"deepseek-3", N_TEXTS},
    {"llama2", N_TEXTS},
    {"gemma", N_TEXTS},
    {"metaspace", N_WORDS},
    {"metaspace-never", N_WORDS},
};

struct text {
    char bytes[CAPACITY];
    size_t n;
};

static void append(struct text *text, const char *bytes, size_t n) {
    CHECK(n <= sizeof(text->bytes) - text->n);
    memcpy(text->bytes + text->n, bytes, n);
    text->n += n;
}

static bool is(const struct text *text, const char *expected) {
    return text->n == strlen(expected) && memcmp(text->bytes, expected, text->n) == 0;
}

static size_t tokens_of(const struct fixture *f, const char *text, uint32_t flags, uint32_t *ids) {
    size_t n = 0;
    CHECK_INT(rsr_api_tokenize(&f->model, text, strlen(text), flags, ids, CAPACITY, &n, NULL),
              RSR_OK);
    return n;
}

/* The detokenizer's pieces for a text's tokens, joined. */
static struct text stream(rsr_detokenizer *d, const uint32_t *ids, size_t n) {
    struct text all = {.n = 0};
    const char *piece = NULL;
    size_t n_bytes = 0;
    for (size_t i = 0; i < n; i++) {
        CHECK_INT(rsr_api_detokenizer_push(d, ids[i], &piece, &n_bytes, NULL), RSR_OK);
        CHECK(n_bytes == 0 || rsr_utf8_is_valid(piece, n_bytes));
        append(&all, piece, n_bytes);
    }
    CHECK_INT(rsr_api_detokenizer_finish(d, &piece, &n_bytes, NULL), RSR_OK);
    append(&all, piece, n_bytes);
    return all;
}

/* The bytes of tokens, joined. */
static struct text joined(const struct fixture *f, const uint32_t *ids, size_t n) {
    struct text all = {.n = 0};
    for (size_t i = 0; i < n; i++) {
        char bytes[CAPACITY];
        size_t n_bytes = 0;
        rsr_token_info info = RSR_TOKEN_INFO_INIT;
        CHECK_INT(
            rsr_api_model_get_token(&f->model, ids[i], bytes, sizeof(bytes), &n_bytes, &info, NULL),
            RSR_OK);
        CHECK(!info.is_special && (!info.is_byte || n_bytes == 1));
        append(&all, bytes, n_bytes);
    }
    return all;
}

/* Whatever text comes before, and whatever the tokenizer makes of it: the tokens of a continuation
 * add exactly the continuation. */
static void check_pair(const struct fixture *f, rsr_detokenizer *d, rsr_detokenizer *behind,
                       const char *name, const char *before, const char *more) {
    uint32_t ids[2 * CAPACITY];
    const size_t n = tokens_of(f, before, 0, ids);
    const size_t n_more = tokens_of(f, more, RSR_TOKENIZE_CONTINUES, ids + n);
    struct text both = stream(d, ids, n);
    const struct text whole = stream(d, ids, n + n_more), rest = stream(behind, ids + n, n_more),
                      bytes = joined(f, ids + n, n_more);
    append(&both, more, strlen(more) + 1);
    const bool same = is(&whole, both.bytes) && is(&rest, more) && is(&bytes, more);
    CHECK(same);
    if (!same)
        fprintf(stderr, "%s: '%s' behind '%s': '%.*s', '%.*s', '%.*s'\n", name, more, before,
                (int)whole.n, whole.bytes, (int)rest.n, rest.bytes, (int)bytes.n, bytes.bytes);
}

static void test_continued(const char *name, size_t n_texts) {
    struct fixture f;
    if (!open_fixture(&f, name))
        return;
    rsr_detokenizer *d = NULL, *behind = NULL;
    CHECK_INT(rsr_api_detokenizer_create(&f.model, 0, &d, NULL), RSR_OK);
    CHECK_INT(rsr_api_detokenizer_create(&f.model, RSR_DETOKENIZE_CONTINUES, &behind, NULL),
              RSR_OK);
    for (size_t i = 0; i < n_texts; i++)
        for (size_t j = 0; j < n_texts; j++)
            check_pair(&f, d, behind, name, texts[i], texts[j]);
    uint32_t ids[CAPACITY], others[CAPACITY];
    const size_t n = tokens_of(&f, "x", RSR_TOKENIZE_CONTINUES, ids);
    /* There is no BOS, but the tokens that follow a text are still added. */
    CHECK(tokens_of(&f, "x", RSR_TOKENIZE_CONTINUES | RSR_TOKENIZE_ADD_SPECIAL, others) >= n);
    CHECK(memcmp(ids, others, n * sizeof(ids[0])) == 0);
    rsr_api_detokenizer_destroy(d);
    rsr_api_detokenizer_destroy(behind);
    close_fixture(&f);
}

/* Special tokens are omitted if the caller wants that, and always reported. */
static void test_special(void) {
    struct fixture f;
    if (!open_fixture(&f, "llama3"))
        return;
    uint32_t ids[CAPACITY];
    const size_t n = tokens_of(&f, "a", RSR_TOKENIZE_ADD_SPECIAL, ids);
    const uint32_t stop = ids[1];
    f.module.stop_tokens = &stop;
    f.module.n_stop_tokens = 1;
    rsr_detokenizer *d = NULL;
    CHECK_INT(rsr_api_detokenizer_create(&f.model, RSR_DETOKENIZE_SKIP_SPECIAL, &d, NULL), RSR_OK);
    const struct text text = stream(d, ids, n);
    CHECK(n == 2 && is(&text, "a"));
    rsr_token_info info = RSR_TOKEN_INFO_INIT;
    char bytes[4] = "????";
    size_t n_bytes = 0;
    rsr_error err = RSR_ERROR_INIT;
    CHECK_INT(rsr_api_model_get_token(&f.model, ids[0], bytes, 2, &n_bytes, &info, &err),
              RSR_ERR_FULL);
    CHECK(n_bytes == strlen("<|begin_of_text|>") && memcmp(bytes, "<|??", 4) == 0);
    CHECK(info.is_special && !info.is_stop && !info.is_byte);
    CHECK_INT(rsr_api_model_get_token(&f.model, ids[1], bytes, 4, &n_bytes, &info, &err), RSR_OK);
    CHECK(n_bytes == 1 && bytes[0] == 'a' && info.is_stop && !info.is_special);
    rsr_api_detokenizer_destroy(d);
    close_fixture(&f);
}

static void test_bytes(void) {
    struct fixture f;
    if (!open_fixture(&f, "llama2"))
        return;
    const uint32_t first = 3; /* <0x00> */
    const char *text = NULL;
    char bytes[4];
    size_t n_bytes = 9;
    rsr_token_info info = RSR_TOKEN_INFO_INIT;
    rsr_detokenizer *d = NULL;
    CHECK_INT(rsr_api_model_get_token(&f.model, first + 0xe6, bytes, 4, &n_bytes, &info, NULL),
              RSR_OK);
    CHECK(n_bytes == 1 && bytes[0] == '\xe6' && info.is_byte);
    CHECK_INT(rsr_api_detokenizer_create(&f.model, 0, &d, NULL), RSR_OK);
    CHECK_INT(rsr_api_detokenizer_push(d, first + 0xe6, &text, &n_bytes, NULL), RSR_OK);
    CHECK_INT(n_bytes, 0);
    CHECK_INT(rsr_api_detokenizer_finish(d, &text, &n_bytes, NULL), RSR_OK);
    CHECK(n_bytes == 3 && memcmp(text, "\xef\xbf\xbd", 3) == 0);
    rsr_api_detokenizer_destroy(d);
    close_fixture(&f);
}

static void test_refusals(void) {
    struct fixture f;
    if (!open_fixture(&f, "gpt2"))
        return;
    rsr_detokenizer *d = NULL;
    const char *text = NULL;
    size_t n = 5;
    rsr_error err = RSR_ERROR_INIT;
    CHECK_INT(rsr_api_detokenizer_create(&f.model, 4, &d, &err), RSR_ERR_ARGUMENT);
    CHECK(d == NULL && strstr(err.message, "unknown") != NULL);
    CHECK_INT(rsr_api_detokenizer_create(&f.model, 0, &d, &err), RSR_OK);
    CHECK_INT(rsr_api_detokenizer_push(d, f.module.hyper.vocab, &text, &n, &err), RSR_ERR_ARGUMENT);
    CHECK(text == NULL && n == 5 && strstr(err.message, "outside the vocabulary") != NULL);
    CHECK_INT(rsr_api_detokenizer_push(d, f.module.hyper.vocab - 1, &text, &n, &err), RSR_OK);
    CHECK_INT(n, 0); /* a row of the embedding without a text */
    CHECK_INT(rsr_api_model_get_token(&f.model, f.module.hyper.vocab, NULL, 0, &n, NULL, &err),
              RSR_ERR_ARGUMENT);
    struct rsr_model bare = f.model;
    bare.text = NULL;
    rsr_detokenizer *none = NULL;
    CHECK_INT(rsr_api_detokenizer_create(&bare, 0, &none, &err), RSR_ERR_TEXT);
    CHECK_INT(rsr_api_model_get_token(&bare, 0, NULL, 0, &n, NULL, &err), RSR_ERR_TEXT);
    rsr_api_detokenizer_destroy(d);
    close_fixture(&f);
}

int main(void) {
    for (size_t i = 0; i < sizeof(tokenizers) / sizeof(tokenizers[0]); i++)
        test_continued(tokenizers[i].name, tokenizers[i].n_texts);
    test_special();
    test_bytes();
    test_refusals();
    return CHECK_EXIT();
}
