/* test_checkpoint.c - files on disk: the three forms of input, shards, and the files beside the
 * weights. */
#include "reader_check.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

static void remove_files(void) {
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '.') {
            unlinkat(dirfd(dir), entry->d_name, 0);
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
}

static const char *path_of(const char *name) {
    static char path[256];
    snprintf(path, sizeof(path), "%s%s%s", folder, name[0] == '\0' ? "" : "/", name);
    return path;
}

static void put(const char *name, const void *bytes, size_t n_bytes) {
    FILE *file = fopen(path_of(name), "wb");
    if (file == NULL || fwrite(bytes, 1, n_bytes, file) != n_bytes || fclose(file) != 0) {
        abort();
    }
}

static void put_text(const char *name, const char *text) {
    put(name, text, strlen(text));
}

/* One uint8 tensor of four bytes that all are `fill`. */
static void put_weights(const char *name, const char *tensor, char fill) {
    char bytes[256] = {0};
    int n = snprintf(bytes + 8, sizeof(bytes) - 12,
                     "{\"%s\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", tensor);
    bytes[0] = (char)n;
    memset(bytes + 8 + n, fill, 4);
    put(name, bytes, (size_t)n + 12);
}

static const char CONFIG[] =
    "{\"model_type\":\"bitnet\",\"hidden_size\":8,\"num_hidden_layers\":1,"
    "\"num_attention_heads\":2,\"intermediate_size\":8,\"vocab_size\":3,\"eos_token_id\":1,"
    "\"max_position_embeddings\":16,\"quantization_config\":{\"quant_method\":\"bitnet\"}}";

static const char MODULES[] = "[{\"type\":\"Transformer\"},{\"type\":\"Pooling\",\"path\":\"p\"}]";

static const char TOKENIZER[] =
    "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"<s>\":1,\"aa\":2},\"merges\":[\"a a\"]},"
    "\"added_tokens\":[{\"id\":1,\"content\":\"<s>\"}],"
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false}}";

#define INDEX "model.safetensors.index.json"

static const struct rsrc_read_choices NO_CHOICES;

/* Reads folder/name and checks for success or for one error. */
static bool read_ok(struct reader_test *test, const char *name, struct rsr_checkpoint *out) {
    reader_test_begin(test);
    enum rsrc_status status =
        rsrc_read_checkpoint(test->diag, &test->arena, path_of(name), &NO_CHOICES, out);
    CHECK(status == RSRC_OK);
    CHECK_STR(reader_test_text(test), "");
    return status == RSRC_OK;
}

static void check_refused(const char *name, const char *slug, const char *names) {
    struct reader_test test;
    struct rsr_checkpoint checkpoint;
    reader_test_begin(&test);
    CHECK(rsrc_read_checkpoint(test.diag, &test.arena, path_of(name), &NO_CHOICES, &checkpoint) ==
          RSRC_FAILED);
    check_one_error(&test, slug, name);
    CHECK(strstr(reader_test_text(&test), names) != NULL);
    reader_test_end(&test);
}

static void test_matrix_file(void) {
    struct reader_test test;
    struct rsr_checkpoint checkpoint;
    remove_files();
    put_weights("w1.safetensors", "w", 7);
    if (read_ok(&test, "w1.safetensors", &checkpoint)) {
        CHECK(!checkpoint.has_config);
        CHECK_STR(checkpoint.name, "w1");
        CHECK_INT(checkpoint.n_tensors, 1);
        CHECK_INT(checkpoint.tensors[0].data[3], 7);
        CHECK_INT(checkpoint.n_files, 1);
        CHECK_STR(checkpoint.files[0], path_of("w1.safetensors"));
        CHECK(checkpoint.tokenizer.section == NULL);
        CHECK(rsrc_find_tensor(&checkpoint, "w") == &checkpoint.tensors[0]);
        CHECK(rsrc_find_tensor(&checkpoint, "v") == NULL);
        CHECK(rsrc_find_tensor(&checkpoint, "x") == NULL);
        rsrc_checkpoint_close(&checkpoint);
        CHECK(checkpoint.mappings == NULL);
    }
    reader_test_end(&test);
    check_refused("", "checkpoint-no-config", "config.json");
    check_refused("nothing.safetensors", "file-unreadable", "nothing");
    put_text("w.gguf", "GGUF");
    check_refused("w.gguf", "gguf-truncated", "w.gguf");
    put_text("w.bin", "GGUF");
    check_refused("w.bin", "checkpoint-kind", "w.bin");
    put_text("empty.safetensors", "");
    check_refused("empty.safetensors", "safetensors-truncated", "empty");
}

static void test_model(void) {
    struct reader_test test;
    struct rsr_checkpoint checkpoint;
    static const char *const inputs[] = {"", "only.safetensors"};
    remove_files();
    put_weights("only.safetensors", "w", 7);
    put_text("config.json", CONFIG);
    put_text("generation_config.json", "{\"eos_token_id\":[2]}");
    put_text("tokenizer.json", TOKENIZER);
    put_text("tokenizer_config.json", "{\"bos_token\":\"<s>\",\"chat_template\":\"old\"}");
    for (size_t i = 0; i < 2; i++) {
        if (read_ok(&test, inputs[i], &checkpoint)) {
            CHECK(checkpoint.has_config);
            CHECK_STR(checkpoint.name, strrchr(folder, '/') + 1);
            CHECK_STR(checkpoint.config.model_type, "bitnet");
            CHECK_INT(checkpoint.config.n_eos_tokens, 1);
            CHECK_INT(checkpoint.config.eos_tokens[0], 2);
            CHECK_INT(checkpoint.tokenizer.section->n_tokens, 3);
            CHECK_STR(checkpoint.tokenizer.bos_text, "<s>");
            CHECK_STR(checkpoint.tokenizer.eos_text, "");
            CHECK_STR(checkpoint.tokenizer.chat_template, "old");
            CHECK_INT(checkpoint.n_files, 5);
            rsrc_checkpoint_close(&checkpoint);
        }
        reader_test_end(&test);
    }
    put_text("chat_template.jinja", "new");
    put_text("special_tokens_map.json", "{\"eos_token\":{\"content\":\"<s>\"}}");
    put_text("added_tokens.json", "{\"<s>\":1}");
    if (read_ok(&test, "", &checkpoint)) {
        CHECK_STR(checkpoint.tokenizer.chat_template, "new");
        CHECK_STR(checkpoint.tokenizer.eos_text, "<s>");
        CHECK_INT(checkpoint.n_files, 8);
        rsrc_checkpoint_close(&checkpoint);
    }
    reader_test_end(&test);

    /* A file that lists all added tokens replaces the older files. */
    put_text("tokenizer_config.json", "{\"added_tokens_decoder\":{}}");
    if (read_ok(&test, "", &checkpoint)) {
        CHECK_STR(checkpoint.tokenizer.eos_text, "");
        CHECK_INT(checkpoint.n_files, 6);
        rsrc_checkpoint_close(&checkpoint);
    }
    reader_test_end(&test);
    put_text("tokenizer_config.json", "{}");
    put_text("added_tokens.json", "{\"b\":2}");
    check_refused("", "tokenizer-added-token", "'b'");
    unlink(path_of("added_tokens.json"));
    put_text("special_tokens_map.json", "{\"pad_token\":\"b\"}");
    check_refused("", "tokenizer-added-token", "pad_token");
    unlink(path_of("special_tokens_map.json"));

    put_weights("second.safetensors", "w", 7);
    check_refused("", "checkpoint-no-weights", "several");
    put_weights("model.safetensors", "w", 7);
    if (read_ok(&test, "", &checkpoint)) { /* the canonical name wins */
        rsrc_checkpoint_close(&checkpoint);
    }
    reader_test_end(&test);
}

static void test_refuses_beside(void) {
    remove_files();
    put_text("config.json", CONFIG);
    check_refused("", "checkpoint-no-weights", "no *.safetensors");
    put_weights("model.safetensors", "w", 7);
    put_text("tokenizer.json",
             "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":3},\"merges\":[]},"
             "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false}}");
    check_refused("", "tokenizer-vocab", "3");
    put_text("tokenizer.json", TOKENIZER);
    put_text("tokenizer_config.json", "[");
    check_refused("", "tokenizer-config-syntax", "tokenizer_config.json");
    put_text("tokenizer_config.json", "{}");
    put_text("generation_config.json", "{\"eos_token_id\":3}");
    check_refused("", "config-token", "generation_config.json");
    put_text("config.json", "{");
    check_refused("", "config-syntax", "config.json");
    unlink(path_of("config.json"));
    if (mkdir(path_of("config.json"), 0700) != 0) {
        abort();
    }
    check_refused("", "file-unreadable", "config.json");
    rmdir(path_of("config.json"));
}

/* A link whose target was removed from a cache is not an absent file: it is refused, and the
 * message names the target. */
static void test_dangling_links(void) {
    static const struct {
        const char *file, *slug;
    } cases[] = {
        {"config.json", "file-unreadable"},
        {"generation_config.json", "file-unreadable"},
        {"tokenizer.json", "file-unreadable"},
        {"tokenizer_config.json", "file-unreadable"},
        {"special_tokens_map.json", "file-unreadable"},
        {"added_tokens.json", "file-unreadable"},
        {"chat_template.jinja", "file-unreadable"},
        {"modules.json", "file-unreadable"},
        {"sentence_bert_config.json", "file-unreadable"},
        {"config_sentence_transformers.json", "file-unreadable"},
        {"model.safetensors", "file-unreadable"},
        {INDEX, "file-unreadable"},
        {"adapter_config.json", "checkpoint-adapter"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const bool is_setting = strstr(cases[i].file, "sentence_") != NULL;
        remove_files();
        put_text("config.json", CONFIG);
        put_text("tokenizer.json", TOKENIZER);
        put_weights("model.safetensors", "w", 7);
        if (is_setting) {
            put_text("modules.json", MODULES);
        }
        unlink(path_of(cases[i].file));
        if (symlink("../../blobs/0123abcd", path_of(cases[i].file)) != 0) {
            abort();
        }
        const bool names_file = strcmp(cases[i].slug, "checkpoint-adapter") == 0;
        check_refused("", cases[i].slug, names_file ? cases[i].file : "'../../blobs/0123abcd'");
    }
    remove_files();
    put_weights("w.safetensors", "w", 7);
    if (symlink("config.json", path_of("config.json")) != 0) {
        abort();
    }
    check_refused("w.safetensors", "file-unreadable", "'config.json' that it links to");
}

/* The context of an embedding model is the length at which sentence-transformers cuts texts. */
static void test_text_limit(void) {
    static const struct {
        const char *settings, *tokenizer_config;
        uint32_t context;
    } cases[] = {
        {"{}", "{}", 16},
        {"{\"max_seq_length\":9}", "{\"model_max_length\":5}", 9},
        {"{\"max_seq_length\":null}", "{\"model_max_length\":5}", 5},
        {"{}", "{\"model_max_length\":1000000000000000019884624838656}", 16},
        {"{\"max_seq_length\":512}", "{}", 16},
    };
    remove_files();
    if (mkdir(path_of("p"), 0700) != 0)
        abort();
    put_text("config.json", CONFIG);
    put_weights("model.safetensors", "w", 7);
    put_text("tokenizer.json", TOKENIZER);
    put_text("p/config.json", "{\"pooling_mode_mean_tokens\":true}");
    for (size_t i = 0; i < 2 * (sizeof(cases) / sizeof(cases[0])); i++) {
        struct reader_test test;
        struct rsr_checkpoint checkpoint;
        const bool embeds = i % 2 == 0;
        put_text("sentence_bert_config.json", cases[i / 2].settings);
        put_text("tokenizer_config.json", cases[i / 2].tokenizer_config);
        if (embeds)
            put_text("modules.json", MODULES);
        else
            unlink(path_of("modules.json"));
        if (read_ok(&test, "", &checkpoint)) {
            CHECK_INT(checkpoint.config.hyper.context, embeds ? cases[i / 2].context : 16);
            rsrc_checkpoint_close(&checkpoint);
        }
        reader_test_end(&test);
    }
    unlink(path_of("p/config.json"));
    rmdir(path_of("p"));
}

/* A SentencePiece model is refused by name, not silently ignored. */
static void test_sentencepiece(void) {
    struct reader_test test;
    struct rsr_checkpoint checkpoint;
    remove_files();
    put_text("config.json", CONFIG);
    put_weights("model.safetensors", "w", 7);
    put_text("tokenizer.model", "x");
    reader_test_begin(&test);
    CHECK(rsrc_read_checkpoint(test.diag, &test.arena, path_of(""), &NO_CHOICES, &checkpoint) ==
          RSRC_OK);
    CHECK(strstr(reader_test_text(&test), "[tokenizer-missing]") != NULL);
    CHECK(checkpoint.tokenizer.section == NULL);
    rsrc_checkpoint_close(&checkpoint);
    reader_test_end(&test);
}

#define SHARD_1 "model-00001-of-00002.safetensors"
#define SHARD_2 "model-00002-of-00002.safetensors"
#define MAP(entries) "{\"metadata\":{},\"weight_map\":{" entries "}}"

static void put_shards(void) {
    remove_files();
    put_text("config.json", CONFIG);
    put_weights(SHARD_1, "z", 1);
    put_weights(SHARD_2, "a", 2);
    put_text(INDEX, MAP("\"z\":\"" SHARD_1 "\",\"a\":\"" SHARD_2 "\""));
}

static void test_shards(void) {
    struct reader_test test;
    struct rsr_checkpoint checkpoint;
    static const char *const inputs[] = {"", INDEX};
    put_shards();
    for (size_t i = 0; i < 2; i++) {
        if (read_ok(&test, inputs[i], &checkpoint)) {
            CHECK_INT(checkpoint.n_tensors, 2);
            CHECK_STR(checkpoint.tensors[0].name, "a");
            CHECK_INT(checkpoint.tensors[0].data[0], 2);
            CHECK_STR(checkpoint.tensors[1].name, "z");
            CHECK_STR(checkpoint.tensors[1].file, path_of(SHARD_1));
            CHECK_INT(checkpoint.n_files, 4);
            rsrc_checkpoint_close(&checkpoint);
        }
        reader_test_end(&test);
    }
    check_refused(SHARD_1, "checkpoint-shard", INDEX);

    /* transformers would read model.safetensors */
    put_weights("model.safetensors", "y", 3);
    check_refused("", "checkpoint-two-models", "model.safetensors");
    for (size_t i = 0; i < 2;
         i++) { /* the user names one file, or the index names only that file */
        if (read_ok(&test, i == 0 ? "model.safetensors" : "", &checkpoint)) {
            CHECK_STR(checkpoint.tensors[0].name, "y");
            rsrc_checkpoint_close(&checkpoint);
        }
        reader_test_end(&test);
        put_text(INDEX, MAP("\"y\":\"model.safetensors\""));
    }
    put_text("adapter_config.json", "{}");
    check_refused("", "checkpoint-adapter", "adapter_config.json");
    check_refused("model.safetensors", "checkpoint-adapter", "adapter_config.json");
}

static void test_refuses_index(void) {
    static const struct {
        const char *index, *slug, *names;
    } cases[] = {
        {"", "checkpoint-index-syntax", INDEX},
        {"[]", "checkpoint-index", "weight_map"},
        {"{}", "checkpoint-index", "weight_map"},
        {MAP(""), "checkpoint-index", "weight_map"},
        {MAP("\"a\":1"), "checkpoint-shard-name", "an integer"},
        {MAP("\"a\":\"../x.safetensors\""), "checkpoint-shard-name", "../x"},
        {MAP("\"a\":\"/etc/x.safetensors\""), "checkpoint-shard-name", "/etc"},
        {MAP("\"a\":\"x..safetensors\""), "checkpoint-shard-name", "x.."},
        {MAP("\"a\":\".safetensors\""), "checkpoint-shard-name", "'.safetensors'"},
        {MAP("\"a\":\"config.json\""), "checkpoint-shard-name", "config.json"},
        {MAP("\"a\":\"\""), "checkpoint-shard-name", "''"},
        {MAP("\"a\":\"gone.safetensors\""), "file-unreadable", "gone"},
        {MAP("\"a\":\"" SHARD_2 "\",\"z\":\"" SHARD_1 "\",\"b\":\"" SHARD_1 "\""),
         "checkpoint-index", "does not hold it"},
        {MAP("\"a\":\"" SHARD_2 "\",\"z\":\"" SHARD_2 "\""), "checkpoint-index",
         "does not hold it"},
        {MAP("\"a\":\"" SHARD_1 "\",\"z\":\"" SHARD_1 "\""), "checkpoint-index",
         "does not hold it"},
        {MAP("\"y\":\"" SHARD_1 "\""), "checkpoint-index", "does not list it"},
        {MAP("\"a\":\"" SHARD_1 "\",\"z\":\"" SHARD_2 "\""), "checkpoint-index", "another shard"},
    };
    put_shards();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        put_text(INDEX, cases[i].index);
        check_refused("", cases[i].slug, cases[i].names);
    }
    put_shards();
    unlink(path_of("config.json"));
    check_refused(INDEX, "checkpoint-no-config", "config.json");
}

static void hash_of(const char *name, uint8_t out[16]) {
    struct reader_test test;
    struct rsr_checkpoint checkpoint;
    if (read_ok(&test, name, &checkpoint)) {
        memcpy(out, checkpoint.hash, 16);
        rsrc_checkpoint_close(&checkpoint);
    }
    reader_test_end(&test);
}

/* The hash follows tensor names, bytes and the configuration, and nothing else. */
static void test_hash(void) {
    uint8_t first[16] = {0}, second[16] = {1};
    remove_files();
    put_weights("a.safetensors", "w", 7);
    put_weights("b.safetensors", "w", 7);
    hash_of("a.safetensors", first);
    hash_of("b.safetensors", second);
    CHECK(memcmp(first, second, 16) == 0);
    put_weights("b.safetensors", "w", 8);
    hash_of("b.safetensors", second);
    CHECK(memcmp(first, second, 16) != 0);
    put_weights("b.safetensors", "v", 7);
    hash_of("b.safetensors", second);
    CHECK(memcmp(first, second, 16) != 0);
    put_text("config.json", CONFIG);
    hash_of("a.safetensors", second);
    CHECK(memcmp(first, second, 16) != 0);
    put_text("tokenizer.json", TOKENIZER);
    hash_of("a.safetensors", first);
    CHECK(memcmp(first, second, 16) == 0);
}

/* Other formats than GGUF have no I2_S, and this model's configuration says int8. */
static void test_choices(void) {
    static const struct {
        const char *name;
        struct rsrc_read_choices choices;
        const char *slug; /* NULL: it is read */
    } cases[] = {{"w1.safetensors", {.activations = RSRC_ACTIVATIONS_INT8}, NULL},
                 {"w1.safetensors", {.activations = RSRC_ACTIVATIONS_FLOAT}, "activations"},
                 {"w1.safetensors", {.i2s_layout = RSRC_I2S_ARM}, "option-value"},
                 {"", {.i2s_layout = RSRC_I2S_ARM}, "option-value"}};
    put_weights("w1.safetensors", "w", 7);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct reader_test test;
        struct rsr_checkpoint checkpoint;
        reader_test_begin(&test);
        const enum rsrc_status status = rsrc_read_checkpoint(
            test.diag, &test.arena, path_of(cases[i].name), &cases[i].choices, &checkpoint);
        CHECK((status == RSRC_OK) == (cases[i].slug == NULL));
        if (status == RSRC_OK)
            rsrc_checkpoint_close(&checkpoint);
        else
            check_one_error(&test, cases[i].slug, "");
        reader_test_end(&test);
    }
}

int main(void) {
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof(folder), "%s/rsrc-reader-XXXXXX", base == NULL ? "/tmp" : base);
    if (mkdtemp(folder) == NULL) {
        perror(folder);
        return 1;
    }
    test_matrix_file();
    test_model();
    test_refuses_beside();
    test_dangling_links();
    test_text_limit();
    test_sentencepiece();
    test_shards();
    test_refuses_index();
    test_hash();
    test_choices();
    remove_files();
    rmdir(folder);
    return CHECK_EXIT();
}
