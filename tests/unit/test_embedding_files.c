/* test_embedding_files.c - modules.json and the configuration of its Pooling: what is accepted, and
 * what is refused. */
#include "reader/reader.h"
#include "reader_check.h"

#define TRANSFORMER "{\"path\":\"\",\"type\":\"sentence_transformers.models.Transformer\"}"
#define POOLING(path) "{\"path\":\"" path "\",\"type\":\"sentence_transformers.models.Pooling\"}"
#define NORMALIZE "{\"path\":\"2_Normalize\",\"type\":\"sentence_transformers.models.Normalize\"}"

static enum rsrc_status parse_modules(struct reader_test *test, const char *text,
                                      const char **folder, bool *normalized) {
    reader_test_begin(test);
    return rsrc_parse_modules(test->diag, &test->arena, "modules.json", (const uint8_t *)text,
                              strlen(text), folder, normalized);
}

static void test_modules(void) {
    static const struct {
        const char *text, *folder;
        bool normalized;
    } cases[] = {
        {"[" TRANSFORMER "," POOLING("1_Pooling") "]", "1_Pooling", false},
        {"[" TRANSFORMER "," POOLING("1_Pooling") "," NORMALIZE "]", "1_Pooling", true},
        {"[{\"type\":\"Transformer\"}," POOLING("p") "]", "p", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct reader_test test;
        const char *folder = NULL;
        bool normalized = !cases[i].normalized;
        CHECK_INT(parse_modules(&test, cases[i].text, &folder, &normalized), RSRC_OK);
        CHECK_STR(folder, cases[i].folder);
        CHECK_INT(normalized, cases[i].normalized);
        reader_test_end(&test);
    }
}

static void test_refused_modules(void) {
    static const struct {
        const char *text, *slug;
    } cases[] = {
        {"", "config-syntax"},
        {"{}", "modules"},
        {"[]", "modules"},
        {"[1,2]", "modules"},
        {"[" TRANSFORMER "]", "modules"},
        {"[" POOLING("1_Pooling") "," TRANSFORMER "]", "modules"},
        {"[" TRANSFORMER "," NORMALIZE "]", "modules"},
        {"[" TRANSFORMER "," POOLING("1_Pooling") "," POOLING("1_Pooling") "]", "modules"},
        {"[" TRANSFORMER "," POOLING("1_Pooling") "," NORMALIZE "," NORMALIZE "]", "modules"},
        {"[" TRANSFORMER "," POOLING("../1_Pooling") "]", "modules"},
        {"[" TRANSFORMER "," POOLING("/etc") "]", "modules"},
        {"[" TRANSFORMER "," POOLING("..") "]", "modules"},
        {"[" TRANSFORMER "," POOLING("") "]", "modules"},
        {"[{\"type\":\"a.Transformer\",\"path\":\"0_T\"}," POOLING("p") "]", "modules"},
        {"[" TRANSFORMER ",{\"type\":\"Pooling\",\"path\":7}]", "modules"},
        {"[" TRANSFORMER ",{\"type\":\"x.Dense\",\"path\":\"a\"}]", "modules"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct reader_test test;
        const char *folder = NULL;
        bool normalized = false;
        CHECK_INT(parse_modules(&test, cases[i].text, &folder, &normalized), RSRC_FAILED);
        check_one_error(&test, cases[i].slug, cases[i].text);
        CHECK(folder == NULL && !normalized);
        reader_test_end(&test);
    }
}

static void test_pooling(void) {
    static const struct {
        const char *text, *slug; /* slug NULL: taken */
        enum rsr_pooling pooling;
    } cases[] = {
        {"{\"pooling_mode_lasttoken\":true}", NULL, RSR_POOLING_LAST},
        {"{\"pooling_mode_cls_token\":true,\"pooling_mode_mean_tokens\":false}", NULL,
         RSR_POOLING_FIRST},
        {"{\"word_embedding_dimension\":84,\"pooling_mode_mean_tokens\":true,"
         "\"include_prompt\":true}",
         NULL, RSR_POOLING_MEAN},
        {"{}", "modules-pooling", RSR_POOLING_NONE},
        {"[]", "config-field", RSR_POOLING_NONE},
        {"{\"pooling_mode_max_tokens\":true}", "modules-pooling", RSR_POOLING_NONE},
        {"{\"pooling_mode_lasttoken\":1}", "modules-pooling", RSR_POOLING_NONE},
        {"{\"pooling_mode_lasttoken\":true,\"pooling_mode_cls_token\":true}", "modules-pooling",
         RSR_POOLING_NONE},
        {"{\"pooling_mode_lasttoken\":true,\"pooling_mode_max_tokens\":true}", "modules-pooling",
         RSR_POOLING_NONE},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct reader_test test;
        struct rsr_config config = {0};
        reader_test_begin(&test);
        CHECK_INT(rsrc_parse_pooling(test.diag, &test.arena, "config.json",
                                     (const uint8_t *)cases[i].text, strlen(cases[i].text),
                                     &config),
                  cases[i].slug == NULL ? RSRC_OK : RSRC_FAILED);
        CHECK_INT(config.hyper.pooling, cases[i].pooling);
        if (cases[i].slug != NULL)
            check_one_error(&test, cases[i].slug, cases[i].text);
        reader_test_end(&test);
    }
}

static void test_settings(void) {
    static const struct {
        const char *text, *slug; /* slug NULL: taken */
        uint32_t max_tokens;
    } cases[] = {
        {"{\"max_seq_length\":512,\"do_lower_case\":false}", NULL, 512},
        {"{\"max_seq_length\":8192}", NULL, 8192},
        {"{\"max_seq_length\":null}", NULL, 7},
        {"{\"prompts\":{\"query\":\"q: \"},\"default_prompt_name\":null}", NULL, 7},
        {"{\"do_lower_case\":true,\"max_seq_length\":512}", "modules-settings", 7},
        {"{\"default_prompt_name\":\"query\"}", "modules-settings", 7},
        {"{\"max_seq_length\":0}", "config-field", 7},
        {"[]", "config-field", 7},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct reader_test test;
        uint32_t max_tokens = 7;
        reader_test_begin(&test);
        CHECK_INT(rsrc_check_sentence_settings(test.diag, &test.arena, "s.json",
                                               (const uint8_t *)cases[i].text,
                                               strlen(cases[i].text), &max_tokens),
                  cases[i].slug == NULL ? RSRC_OK : RSRC_FAILED);
        CHECK_INT(max_tokens, cases[i].max_tokens);
        if (cases[i].slug != NULL)
            check_one_error(&test, cases[i].slug, cases[i].text);
        reader_test_end(&test);
    }
}

int main(void) {
    test_settings();
    test_modules();
    test_refused_modules();
    test_pooling();
    return CHECK_EXIT();
}
