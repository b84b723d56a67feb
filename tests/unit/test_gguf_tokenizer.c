/* test_gguf_tokenizer.c - the tokenizer in a GGUF file: what it becomes, and every reason to refuse
 * it. With arguments FILE.gguf TOKENIZER.json, both must give equal ids and texts for every text of
 * tests/tokenizer/corpus.json; reader/gguf_tokenizer.test uses this.
 */
#include <jansson.h>
#include <unistd.h>

#include "gguf_file.h"
#include "reader/gguf_tokenizer.h"
#include "reader_check.h"
#include "tokenizer/text.h"
#include "tokenizer/tokenizer.h"

static const struct rsrc_read_choices INT8 = {.activations = RSRC_ACTIVATIONS_INT8};

/* ---- files ----------------------------------------------------------------------------------- */

static void put_model(struct gguf_file *file) {
    static const struct {
        const char *key;
        uint32_t value;
    } sizes[] = {{"llama.embedding_length", 4},
                 {"llama.block_count", 1},
                 {"llama.attention.head_count", 2},
                 {"llama.feed_forward_length", 8},
                 {"llama.context_length", 64}};
    gguf_text(file, "general.architecture", "llama");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        gguf_u32(file, sizes[i].key, sizes[i].value);
    gguf_f32(file, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    gguf_tensor(file, "token_embd.weight", 0, 10, 4, 160);
}

static void put_strings(struct gguf_file *file, const char *key, const char *const *texts) {
    uint64_t n = 0;
    while (texts[n] != NULL)
        n++;
    gguf_key(file, key, RSRC_GGUF_ARRAY);
    gguf_put(&file->values, RSRC_GGUF_STRING, 4);
    gguf_put(&file->values, n, 8);
    for (uint64_t i = 0; i < n; i++)
        gguf_put_string(&file->values, texts[i]);
}

static void put_numbers(struct gguf_file *file, const char *key, enum rsrc_gguf_type type,
                        const uint32_t *bits, uint32_t n) {
    gguf_key(file, key, RSRC_GGUF_ARRAY);
    gguf_put(&file->values, type, 4);
    gguf_put(&file->values, n, 8);
    for (uint32_t i = 0; i < n; i++)
        gguf_put(&file->values, bits[i], 4);
}

/* The change of a case; NULL and 0: no change. */
struct change {
    const char *model, *pre;
    const char *tokens[8];
    const char *merges[4];
    const char *left_out; /* a key */
    uint32_t types[5];
    uint32_t scores[5]; /* bits of float32 */
    uint32_t n_types, n_scores;
    enum rsrc_gguf_type number_type; /* U8 (0): the right ones */
    uint32_t bos;                    /* plus one */
    const char *flag;                /* a bool that is true */
    const char *slug;                /* NULL: accepted */
};

static bool keeps(const struct change *change, const char *key) {
    return change->left_out == NULL || strcmp(change->left_out, key) != 0;
}

static struct rsrc_buffer make_file(const struct change *change) {
    static const char *const BYTES_TOKENS[] = {"a", "b", "ab", "\xc4\xa0", "<s>", NULL};
    static const char *const BYTES_MERGES[] = {"a b", NULL};
    static const char *const PIECES[] = {"<unk>", "<0x41>", "a", "b", "ab", NULL};
    static const uint32_t BYTES_TYPES[] = {1, 1, 1, 1, 3}, PIECE_TYPES[] = {2, 6, 1, 1, 1};
    static const uint32_t SCORES[] = {0, 0, 0xc0000000, 0xc0000000, 0xbf800000};
    const bool is_pieces = change->model != NULL && strcmp(change->model, "llama") == 0;
    const enum rsrc_gguf_type type = change->number_type;
    struct gguf_file file = {0};
    put_model(&file);
    gguf_text(&file, "tokenizer.ggml.model", change->model != NULL ? change->model : "gpt2");
    if (!is_pieces && keeps(change, "pre"))
        gguf_text(&file, "tokenizer.ggml.pre", change->pre != NULL ? change->pre : "gpt-2");
    if (keeps(change, "tokens"))
        put_strings(&file, "tokenizer.ggml.tokens",
                    change->tokens[0] != NULL ? change->tokens
                    : is_pieces               ? PIECES
                                              : BYTES_TOKENS);
    if (keeps(change, "token_type"))
        put_numbers(&file, "tokenizer.ggml.token_type", type != 0 ? type : RSRC_GGUF_I32,
                    change->types[0] != 0 ? change->types
                    : is_pieces           ? PIECE_TYPES
                                          : BYTES_TYPES,
                    change->n_types != 0 ? change->n_types : 5);
    if (is_pieces && keeps(change, "scores"))
        put_numbers(&file, "tokenizer.ggml.scores", type != 0 ? type : RSRC_GGUF_F32,
                    change->scores[0] != 0 ? change->scores : SCORES,
                    change->n_scores != 0 ? change->n_scores : 5);
    if (!is_pieces && keeps(change, "merges"))
        put_strings(&file, "tokenizer.ggml.merges",
                    change->merges[0] != NULL ? change->merges : BYTES_MERGES);
    if (is_pieces && change->bos == 0 && keeps(change, "bos"))
        gguf_u32(&file, "tokenizer.ggml.bos_token_id", 0);
    if (change->bos != 0)
        gguf_u32(&file, "tokenizer.ggml.bos_token_id", change->bos - 1);
    if (change->flag != NULL) {
        gguf_key(&file, change->flag, RSRC_GGUF_BOOL);
        gguf_put(&file.values, 1, 1);
    }
    return gguf_finish(&file);
}

static const struct change CHANGES[] = {
    {0},
    {.model = "llama"},
    {.pre = "llama-bpe", .bos = 5},
    {.pre = "falcon3", .bos = 5},
    {.pre = "qwen2"},
    {.pre = "qwen35"},
    {.pre = "falcon"},
    {.pre = "olmo"},
    {.pre = "starcoder", .flag = "tokenizer.ggml.add_space_prefix"},
    {.left_out = "token_type", .tokens = {"a", "b", "ab", "c", "d"}},
    {.types = {1, 1, 1, 1, 5}},
    {.model = "llama", .scores = {1, 1, 2, 2, 2}},
    {.model = "none", .tokens = {"a", "a"}},
    {.model = "bert", .slug = "gguf-tokenizer"},
    {.pre = "default", .slug = "gguf-tokenizer"},
    {.pre = "viking", .slug = "gguf-tokenizer"},
    {.left_out = "pre", .slug = "gguf-tokenizer"},
    {.left_out = "tokens", .slug = "gguf-tokenizer"},
    {.left_out = "merges", .slug = "gguf-tokenizer"},
    {.model = "llama", .left_out = "scores", .slug = "gguf-tokenizer"},
    {.model = "llama", .left_out = "bos", .slug = "gguf-tokenizer"},
    {.pre = "llama-bpe", .slug = "gguf-tokenizer"}, /* wants a BOS */
    {.pre = "gpt-2", .bos = 8, .flag = "tokenizer.ggml.add_bos_token", .slug = "gguf-tokenizer"},
    {.flag = "tokenizer.ggml.add_eos_token", .slug = "gguf-tokenizer"},
    {.model = "llama", .flag = "tokenizer.ggml.remove_extra_whitespaces", .slug = "gguf-tokenizer"},
    {.types = {1, 1, 1, 1, 7}, .slug = "gguf-tokenizer"},
    {.types = {1, 1, 1, 1, UINT32_MAX}, .slug = "gguf-tokenizer"},
    {.types = {1, 1, 1, 1, 1},
     .slug = "gguf-tokenizer",
     .tokens = {"a", "b", "ab", "c", "\xe6\x97\xa5"}},
    {.n_types = 4, .slug = "gguf-tokenizer"},
    {.number_type = RSRC_GGUF_U32, .slug = "gguf-tokenizer"},
    {.model = "llama", .n_scores = 4, .slug = "gguf-tokenizer"},
    {.model = "llama", .scores = {1, 1, 2, 2, 0x7fc00000}, .slug = "gguf-tokenizer"},
    {.tokens = {"a", "b", "ab", "a", "<s>"}, .slug = "gguf-tokenizer"},
    {.tokens = {"a", "b", "ab", "c", "\xff"}, .slug = "gguf-tokenizer"},
    {.merges = {"ab"}, .slug = "gguf-tokenizer"},
    {.merges = {"a c"}, .slug = "gguf-tokenizer"},
    {.merges = {"b a"}, .slug = "gguf-tokenizer"},
    {.merges = {" ab"}, .slug = "gguf-tokenizer"},
    {.merges = {"ab "}, .slug = "gguf-tokenizer"},
    {.merges = {"a  b"}, .slug = "gguf-tokenizer"},
    {.flag = "tokenizer.chat_template", .slug = "gguf-tokenizer"},
};

static void test_changes(void) {
    for (size_t i = 0; i < sizeof CHANGES / sizeof *CHANGES; i++) {
        struct reader_test test;
        struct rsr_checkpoint checkpoint = {0};
        struct rsrc_buffer bytes = make_file(&CHANGES[i]);
        char about[16];
        snprintf(about, sizeof about, "change %zu", i);
        reader_test_begin(&test);
        const enum rsrc_status status =
            rsrc_parse_gguf(test.diag, &test.arena, "m.gguf", (const uint8_t *)bytes.data,
                            bytes.size_bytes, &INT8, &checkpoint);
        CHECK_INT(status == RSRC_OK, CHANGES[i].slug == NULL);
        if (CHANGES[i].slug != NULL)
            check_one_error(&test, CHANGES[i].slug, about);
        else
            CHECK_STR(reader_test_text(&test), "");
        const bool is_none = CHANGES[i].model != NULL && strcmp(CHANGES[i].model, "none") == 0;
        if (status == RSRC_OK)
            CHECK_INT(checkpoint.tokenizer.section == NULL, is_none);
        rsrc_buffer_free(&bytes);
        reader_test_end(&test);
    }
}

/* A special token that ends a turn stops the model, too, because BitNet's converter writes no
 * eot_token_id. */
static void test_ends_of_turns(void) {
    static const struct {
        const char *key; /* of token 1 */
        const char *token;
        uint32_t type, n_ends, last;
    } cases[] = {
        {"tokenizer.ggml.eos_token_id", "<|eot_id|>", 3, 2, 4},
        {"tokenizer.ggml.eos_token_id", "<|im_end|>", 3, 2, 4},
        {"tokenizer.ggml.eos_token_id", "<end_of_turn>", 3, 2, 4},
        {"tokenizer.ggml.eos_token_id", "<|eot_id|>", 4, 1, 1},
        {"tokenizer.ggml.eos_token_id", "<|eot_id|", 3, 1, 1},
        {"tokenizer.ggml.bos_token_id", "<|endoftext|>", 3, 1, 4},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct reader_test test;
        struct rsr_checkpoint checkpoint = {0};
        struct gguf_file file = {0};
        const uint32_t types[] = {1, 1, 1, 1, cases[i].type};
        reader_test_begin(&test);
        put_model(&file);
        gguf_text(&file, "tokenizer.ggml.model", "gpt2");
        gguf_text(&file, "tokenizer.ggml.pre", "gpt-2");
        put_strings(&file, "tokenizer.ggml.tokens",
                    (const char *const[]){"a", "b", "c", "d", cases[i].token, NULL});
        put_numbers(&file, "tokenizer.ggml.token_type", RSRC_GGUF_I32, types, 5);
        put_strings(&file, "tokenizer.ggml.merges", (const char *const[]){NULL});
        gguf_u32(&file, cases[i].key, 1);
        struct rsrc_buffer bytes = gguf_finish(&file);
        CHECK_INT(rsrc_parse_gguf(test.diag, &test.arena, "m.gguf", (const uint8_t *)bytes.data,
                                  bytes.size_bytes, &INT8, &checkpoint),
                  RSRC_OK);
        CHECK_INT(checkpoint.config.n_eos_tokens, cases[i].n_ends);
        CHECK_INT(checkpoint.config.eos_tokens[cases[i].n_ends - 1], cases[i].last);
        CHECK_STR(checkpoint.tokenizer.eos_text, i < 5 ? "b" : "");
        rsrc_buffer_free(&bytes);
        reader_test_end(&test);
    }
}

/* Tokens, vocabulary and a template that are too large. */
static void test_limits(void) {
    for (uint32_t kind = 0; kind < 3; kind++) {
        struct reader_test test;
        struct rsr_checkpoint checkpoint = {0};
        struct gguf_file file = {0};
        char *text = malloc((1 << 20) + 2);
        reader_test_begin(&test);
        memset(text, 'x', (1 << 20) + 1);
        text[kind == 0 ? 1025 : kind == 1 ? 65536 : (1 << 20) + 1] = '\0';
        put_model(&file);
        if (kind == 2) {
            gguf_text(&file, "tokenizer.ggml.model", "gpt2");
            gguf_text(&file, "tokenizer.ggml.pre", "gpt-2");
            put_strings(&file, "tokenizer.ggml.tokens", (const char *const[]){"a", NULL});
            put_strings(&file, "tokenizer.ggml.merges", (const char *const[]){NULL});
            gguf_text(&file, "tokenizer.chat_template", text);
        } else {
            gguf_text(&file, "tokenizer.ggml.model", "llama");
            put_strings(&file, "tokenizer.ggml.tokens", (const char *const[]){text, NULL});
            put_numbers(&file, "tokenizer.ggml.scores", RSRC_GGUF_F32, (const uint32_t[]){0}, 1);
        }
        struct rsrc_buffer bytes = gguf_finish(&file);
        CHECK_INT(rsrc_parse_gguf(test.diag, &test.arena, "m.gguf", (const uint8_t *)bytes.data,
                                  bytes.size_bytes, &INT8, &checkpoint),
                  RSRC_FAILED);
        check_one_error(&test, "gguf-tokenizer", "a limit");
        rsrc_buffer_free(&bytes);
        reader_test_end(&test);
        free(text);
    }
}

/* A template that cannot run is a warning. */
static void test_template(void) {
    static const char *const templates[] = {"{{ messages | length }}", "\n{{ nosuch() }}"};
    for (size_t i = 0; i < 2; i++) {
        struct reader_test test;
        struct rsr_checkpoint checkpoint = {0};
        struct gguf_file file = {0};
        reader_test_begin(&test);
        put_model(&file);
        gguf_text(&file, "tokenizer.ggml.model", "gpt2");
        gguf_text(&file, "tokenizer.ggml.pre", "gpt-2");
        put_strings(&file, "tokenizer.ggml.tokens",
                    (const char *const[]){"a", "b", "c", "d", "e", NULL});
        put_strings(&file, "tokenizer.ggml.merges", (const char *const[]){NULL});
        gguf_text(&file, "tokenizer.chat_template", templates[i]);
        struct rsrc_buffer bytes = gguf_finish(&file);
        CHECK_INT(rsrc_parse_gguf(test.diag, &test.arena, "m.gguf", (const uint8_t *)bytes.data,
                                  bytes.size_bytes, &INT8, &checkpoint),
                  RSRC_OK);
        const char *told = reader_test_text(&test), *problem = checkpoint.tokenizer.chat_problem;
        const char *const sentence =
            "the chat template calls the unsupported function 'nosuch' in line 2";
        CHECK((problem != NULL) == (i == 1) &&
              (strstr(told, "[chat-template]") != NULL) == (i == 1));
        CHECK(i == 0 || (strcmp(problem, sentence) == 0 && strstr(told, sentence) != NULL));
        rsrc_buffer_free(&bytes);
        reader_test_end(&test);
    }
}

/* ---- SentencePiece's merges ------------------------------------------------------------------ */

/* Scores and positions decide about merges of the pieces a b c bc ab ca bcab. If token numbers
 * decided between equal scores, BC would come before AB. */
static void test_scores(void) {
    enum { A = 1, B, C, BC, AB, CA, BCAB };
    static const struct {
        float bc, ab, bcab;
        const char *text;
        uint32_t ids[4], n;
    } cases[] = {
        {-2, -1, -9, "abc", {AB, C}, 2},
        {-1, -2, -9, "abc", {A, BC}, 2},
        {-1, -1, -9, "abc", {AB, C}, 2},
        {-1, -1, -9, "abcab", {AB, CA, B}, 3},  /* CA has the score -1, too */
        {-0.5f, -1, -9, "abcab", {A, BCAB}, 2}, /* BC and AB, then both become BCAB */
        {-0.5f, -1, -0.1f, "bcabcab", {BC, A, BCAB}, 3},
        {-3, -2, -9, "bcab", {B, CA, B}, 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct reader_test test;
        struct rsr_checkpoint checkpoint = {0};
        struct gguf_file file = {0};
        const float scores[] = {0, -20, -20, -20, cases[i].bc, cases[i].ab, -1, cases[i].bcab};
        uint32_t bits[8], ids[8];
        memcpy(bits, scores, sizeof bits);
        reader_test_begin(&test);
        put_model(&file);
        gguf_text(&file, "tokenizer.ggml.model", "llama");
        put_strings(&file, "tokenizer.ggml.tokens",
                    (const char *const[]){"<unk>", "a", "b", "c", "bc", "ab", "ca", "bcab", NULL});
        put_numbers(&file, "tokenizer.ggml.scores", RSRC_GGUF_F32, bits, 8);
        put_numbers(&file, "tokenizer.ggml.token_type", RSRC_GGUF_I32,
                    (const uint32_t[]){2, 1, 1, 1, 1, 1, 1, 1}, 8);
        gguf_key(&file, "tokenizer.ggml.add_bos_token", RSRC_GGUF_BOOL);
        gguf_put(&file.values, 0, 1);
        gguf_key(&file, "tokenizer.ggml.add_space_prefix", RSRC_GGUF_BOOL);
        gguf_put(&file.values, 0, 1);
        struct rsrc_buffer bytes = gguf_finish(&file);
        CHECK_INT(rsrc_parse_gguf(test.diag, &test.arena, "m.gguf", (const uint8_t *)bytes.data,
                                  bytes.size_bytes, &INT8, &checkpoint),
                  RSRC_OK);
        struct rsr_module module = {.tokenizer = checkpoint.tokenizer.section,
                                    .hyper = {.vocab = 10}};
        struct rsr_model model = {.module = &module, .owner_pid = (int)getpid()};
        size_t n = 0;
        CHECK_INT(rsr_text_create(&module, &model.text, NULL), RSR_OK);
        CHECK_INT(
            rsr_api_tokenize(&model, cases[i].text, strlen(cases[i].text), 0, ids, 8, &n, NULL),
            RSR_OK);
        CHECK_INT(n, cases[i].n);
        CHECK(memcmp(ids, cases[i].ids, cases[i].n * sizeof *ids) == 0);
        rsr_text_destroy(model.text);
        rsrc_buffer_free(&bytes);
        reader_test_end(&test);
    }
}

/* ---- two tokenizers on one corpus ------------------------------------------------------------ */

struct opened {
    struct reader_test test;
    struct rsr_checkpoint checkpoint;
    struct rsr_module module;
    struct rsr_model model;
};

static char *read_file(const char *path, size_t *n) {
    FILE *file = fopen(path, "rb");
    char *bytes = malloc(1 << 24);
    *n = file == NULL ? 0 : fread(bytes, 1, 1 << 24, file);
    if (file != NULL)
        fclose(file);
    CHECK(*n != 0);
    return bytes;
}

static void open_tokenizer(struct opened *opened, const char *path) {
    size_t n;
    char *bytes = read_file(path, &n);
    memset(opened, 0, sizeof *opened);
    reader_test_begin(&opened->test);
    struct rsrc_diag *diag = opened->test.diag;
    struct rsrc_arena *arena = &opened->test.arena;
    const uint8_t *data = (const uint8_t *)bytes;
    if (strstr(path, ".gguf") != NULL)
        CHECK_INT(rsrc_parse_gguf(diag, arena, path, data, n, &INT8, &opened->checkpoint), RSRC_OK);
    else
        CHECK_INT(rsrc_parse_tokenizer(diag, arena, path, data, n, &opened->checkpoint.tokenizer),
                  RSRC_OK);
    CHECK_STR(reader_test_text(&opened->test), "");
    CHECK(opened->checkpoint.tokenizer.section != NULL);
    if (opened->checkpoint.tokenizer.section == NULL)
        exit(1);
    opened->module.tokenizer = opened->checkpoint.tokenizer.section;
    opened->module.hyper.vocab = opened->module.tokenizer->n_tokens;
    opened->model.module = &opened->module;
    opened->model.owner_pid = (int)getpid();
    CHECK_INT(rsr_text_create(&opened->module, &opened->model.text, NULL), RSR_OK);
    free(bytes);
}

static void close_tokenizer(struct opened *opened) {
    rsr_text_destroy(opened->model.text);
    reader_test_end(&opened->test);
}

#define MAX_IDS 16384
#define MAX_TEXT 65536

static void compare_text(const struct opened *a, const struct opened *b, const char *text, size_t n,
                         uint32_t flags) {
    static uint32_t ids[2][MAX_IDS];
    static char out[2][MAX_TEXT];
    size_t n_ids[2], n_out[2];
    const struct rsr_model *models[2] = {&a->model, &b->model};
    for (uint32_t i = 0; i < 2; i++)
        CHECK_INT(rsr_api_tokenize(models[i], text, n, flags, ids[i], MAX_IDS, &n_ids[i], NULL),
                  RSR_OK);
    CHECK_INT(n_ids[0], n_ids[1]);
    CHECK(memcmp(ids[0], ids[1], n_ids[1] * sizeof *ids[0]) == 0);
    for (uint32_t skip = 0; skip < 2; skip++) {
        for (uint32_t i = 0; i < 2; i++)
            CHECK_INT(rsr_api_detokenize(models[i], ids[1], n_ids[1], skip != 0, out[i], MAX_TEXT,
                                         &n_out[i], NULL),
                      RSR_OK);
        CHECK(n_out[0] == n_out[1] && memcmp(out[0], out[1], n_out[1]) == 0);
    }
}

static void compare(const char *gguf, const char *json) {
    struct opened a, b;
    size_t n, n_cases = 0, i;
    static char text[MAX_TEXT];
    open_tokenizer(&a, gguf);
    open_tokenizer(&b, json);
    CHECK_INT(a.module.tokenizer->n_tokens, b.module.tokenizer->n_tokens);
    char *bytes = read_file(TEST_SOURCE_DIR "/tests/tokenizer/corpus.json", &n);
    json_t *corpus = json_loadb(bytes, n, JSON_ALLOW_NUL, NULL), *value;
    json_array_foreach(corpus, i, value) {
        const size_t n_bytes = json_string_length(value);
        if (!json_is_string(value) || n_bytes > sizeof text)
            continue;
        memcpy(text, json_string_value(value), n_bytes);
        for (uint32_t flags = 0; flags < 4; flags++)
            compare_text(&a, &b, text, n_bytes, flags);
        n_cases++;
    }
    CHECK(n_cases > 100);
    json_decref(corpus);
    free(bytes);
    close_tokenizer(&a);
    close_tokenizer(&b);
}

int main(int argc, char **argv) {
    if (argc == 3) {
        compare(argv[1], argv[2]);
        return CHECK_EXIT();
    }
    test_changes();
    test_ends_of_turns();
    test_limits();
    test_template();
    test_scores();
    return CHECK_EXIT();
}
