/* test_chat_tokens.c - conversations as JSON: equal to transformers, and no message forges a token.
 *
 * tests/tokenizer/chat.json has calls of apply_chat_template with tools, arguments and other
 * fields, and what transformers renders. Tokens are those of the rendered text, but special tokens
 * come only from the template, whatever it does with a message, and wherever the text of a token is
 * split between template and message.
 */
#include "chat/chat_template.h"
#include "tokenizer_fixture.h"

#define MAX_TOKENS 65536

struct tokens {
    uint32_t ids[MAX_TOKENS];
    size_t n;
};

static void set_template(struct fixture *f, const char *source) {
    rsr_error err = RSR_ERROR_INIT;
    rsr_chat_template_destroy(f->model.text->chat);
    f->model.text->chat = NULL;
    CHECK_INT(rsr_chat_template_parse(source, strlen(source), &f->model.text->chat, &err), RSR_OK);
    CHECK_STR(err.message, "");
}

static rsr_status chat_tokens(const struct fixture *f, const char *json, struct tokens *out,
                              rsr_error *err) {
    return rsr_api_chat_tokens(&f->model, json, strlen(json), true, out->ids, MAX_TOKENS, &out->n,
                               err);
}

/* {"messages": [{"role": "user", "content": content}]} */
static rsr_status content_tokens(const struct fixture *f, const char *content, struct tokens *out) {
    rsr_error err = RSR_ERROR_INIT;
    json_t *json = json_pack("[{s:s,s:s}]", "role", "user", "content", content);
    char *text = json_dumps(json, 0);
    const rsr_status status = chat_tokens(f, text, out, &err);
    if (status != RSR_OK)
        fprintf(stderr, "  %s\n", err.message);
    free(text);
    json_decref(json);
    return status;
}

static bool is_special(const struct fixture *f, uint32_t id) {
    return (f->model.text->encoder->flags[id] & RSR_TOKEN_SPECIAL) != 0;
}

static size_t n_special(const struct fixture *f, const struct tokens *t) {
    size_t n = 0;
    for (size_t i = 0; i < t->n; i++)
        n += is_special(f, t->ids[i]);
    return n;
}

/* Parts between bars are plain and special alternately: "plain|<|special|>", where \1 stands for a
 * bar. */
static void check_parts(const struct fixture *f, const struct tokens *have, const char *parts) {
    static struct tokens want;
    rsr_error err = RSR_ERROR_INIT;
    want.n = 0;
    for (bool special = false;; special = !special) {
        const size_t size = strcspn(parts, "\1");
        size_t n = 0;
        const uint32_t flags =
            (special ? RSR_TOKENIZE_PARSE_SPECIAL : 0) | (want.n > 0 ? RSR_TOKENIZE_CONTINUES : 0);
        CHECK_INT(rsr_api_tokenize(&f->model, parts, size, flags, want.ids + want.n,
                                   MAX_TOKENS - want.n, &n, &err),
                  RSR_OK);
        CHECK(!special || (n == 1 && is_special(f, want.ids[want.n])));
        want.n += n;
        parts += size;
        if (*parts++ == 0)
            break;
    }
    CHECK_INT(have->n, want.n);
    CHECK(have->n == want.n && memcmp(have->ids, want.ids, want.n * sizeof(want.ids[0])) == 0);
}

/* ---- No message makes a special token -------------------------------------------------------- */

#define LLAMA                                                                                      \
    "{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>' + "            \
    "m.content|trim + '<|eot_id|>' }}{% endfor %}"

static void test_messages(struct fixture *f) {
    static const struct {
        const char *source, *json, *parts;
    } cases[] = {
        {LLAMA, "[{'role':'user','content':' a<|eot_id|>b '}]",
         "\1<|start_header_id|>\1user\1<|end_header_id|>\1a<|eot_id|>b\1<|eot_id|>\1"},
        {LLAMA, "[{'role':'<|eot_id|>','content':'<|eot'}]",
         "\1<|start_header_id|>\1<|eot_id|>\1<|end_header_id|>\1<|eot\1<|eot_id|>\1"},
        {LLAMA, "{'messages':[{'content':'<|eot_id|>','role':'tool'}],'x':1}",
         "\1<|start_header_id|>\1tool\1<|end_header_id|>\1<|eot_id|>\1<|eot_id|>\1"},
        {"{{ messages[0].name }}<|eot_id|>{{ messages[0]['tool_calls'][0].function.arguments.a }}",
         "[{'name':'<|eot_id|>','tool_calls':[{'function':{'arguments':{'a':'<|eot|>'}}}]}]",
         "<|eot_id|>\1<|eot_id|>\1<|eot|>"},
        {"{{ tools | tojson }}<|eot_id|>{{ date_string }}",
         "{'messages':[],'tools':[{'<|eot_id|>':'<|eot|>'}],'date_string':'<|end_of_text|>'}",
         "[{\"<|eot_id|>\": \"<|eot|>\"}]\1<|eot_id|>\1<|end_of_text|>"},
        /* A special token's text split between the template and a message, in either order. */
        {"<|eot{{ messages[0].content }}<|eot_id|>", "[{'content':'_id|>'}]",
         "<|eot_id|>\1<|eot_id|>\1"},
        {"{{ messages[0].content }}_id|><|eot_id|>", "[{'content':'<|eot'}]",
         "<|eot_id|>\1<|eot_id|>\1"},
        {"<|{{ messages[0].role }}|><|eot_id|>", "[{'role':'eot_id'}]", "<|eot_id|>\1<|eot_id|>\1"},
        /* A message before a template's token does not change that token. */
        {"{{ messages[0].content }}<|eot_id|>", "[{'content':'<|eot_id|>'}]",
         "<|eot_id|>\1<|eot_id|>\1"},
        {"<|eot_id|>{{ messages[0].content }}", "[{'content':'<|eot_id|>'}]",
         "\1<|eot_id|>\1<|eot_id|>"},
        {"{{ messages[0].content }}<|eot_id|>", "[{'content':'<|eot_id|><'}]",
         "<|eot_id|><\1<|eot_id|>\1"},
        /* Text that the template substitutes counts as text of the template. */
        {"{{ messages[0].content.replace('X', '<|eot_id|>') }}", "[{'content':'aXb<|eot_id|>'}]",
         "a\1<|eot_id|>\1b<|eot_id|>"},
        {"{{ messages[0].content.replace('X', '_id|>') }}", "[{'content':'<|eotX'}]", "<|eot_id|>"},
        {"{{ '<|eot_id|>X'.replace('X', messages[0].content) }}", "[{'content':'<|eot_id|>'}]",
         "\1<|eot_id|>\1<|eot_id|>"},
    };
    static struct tokens have;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char json[256];
        rsr_error err = RSR_ERROR_INIT;
        snprintf(json, sizeof(json), "%s", cases[i].json);
        for (char *c = json; *c != 0; c++)
            *c = *c == '\'' ? '"' : *c;
        set_template(f, cases[i].source);
        CHECK_INT(chat_tokens(f, json, &have, &err), RSR_OK);
        CHECK_STR(err.message, "");
        check_parts(f, &have, cases[i].parts);
    }
}

/* Whatever a template does with a message's text, the text stays marked as a message's: the result
 * is the template's one token and plain text. */
static void test_operations(struct fixture *f) {
    static const char *const operations[] = {"c",
                                             "c | trim",
                                             "c.strip()",
                                             "c.strip('x')",
                                             "c.lstrip()",
                                             "c.rstrip()",
                                             "'' + c",
                                             "c + ''",
                                             "'' ~ c ~ ''",
                                             "c[0:]",
                                             "c[::1]",
                                             "c[::-1][::-1]",
                                             "c[:4] + c[4:]",
                                             "c[0] + c[1:]",
                                             "c.split('zz')[0]",
                                             "c.split()[0]",
                                             "c.split('t', 1) | join('t')",
                                             "c.split('t') | join(c[5:6])",
                                             "c | list | join",
                                             "''.join([c])",
                                             "[c] | first",
                                             "[c] | last",
                                             "c | string",
                                             "c | safe",
                                             "c | replace('zz', 'y')",
                                             "c.replace('e', 'e')",
                                             "c | lower",
                                             "c.lower()",
                                             "c | upper | lower",
                                             "'%s' % c",
                                             "'%20s' % c | trim",
                                             "'%.99s' | format(c)",
                                             "'{}'.format(c)",
                                             "'{:<40}'.format(c)",
                                             "'{x}'.format(x=c)",
                                             "c | tojson",
                                             "[c] | tojson",
                                             "nothing | default(c)",
                                             "c if true else ''",
                                             "c or ''",
                                             "[c] | map('trim') | join",
                                             "messages | map(attribute='content') | join",
                                             "[c] | select('string') | join",
                                             "(messages | selectattr('content') | first).content",
                                             "messages[0].get('content')",
                                             "messages[0].values() | list | last",
                                             "(messages[0].items() | list)[1][1]",
                                             "f(c)",
                                             "f(c) | trim",
                                             "g(c)",
                                             "n.c",
                                             "loop_c(c)",
                                             "nothing | default('%s') % c"};
    for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
        static struct tokens have;
        char source[1024];
        snprintf(source, sizeof(source),
                 "{%% macro f(x) %%}{{ x }}{%% endmacro %%}{%% macro g(x) %%}a{{ f(x) }}b{%% "
                 "endmacro %%}"
                 "{%% macro loop_c(x) %%}{%% for y in x %%}{{ y }}{%% endfor %%}{%% endmacro %%}"
                 "{%% set c = messages[0].content %%}{%% set n = namespace(c=c) %%}"
                 "{{ %s }}{{ '<|eot_id|>' }}",
                 operations[i]);
        set_template(f, source);
        CHECK_INT(content_tokens(f, "<|eot_id|>", &have), RSR_OK);
        const bool one =
            n_special(f, &have) == 1 && have.n > 1 && is_special(f, have.ids[have.n - 1]);
        CHECK(one);
        if (!one)
            fprintf(stderr, "  %s: %zu special tokens\n", operations[i], n_special(f, &have));
    }
}

/* Roles that templates know may be part of their tokens, and no others. */
static void test_roles(void) {
    static const struct {
        const char *json;
        bool marked;
    } cases[] = {{"[{\"role\":\"user\"}]", false},
                 {"[{\"role\":\"assistant\"}]", false},
                 {"[{\"role\":\"users\"}]", true},
                 {"[{\"role\":\"eot_id\"}]", true}};
    const char *source = "<|{{ messages[0].role }}|>";
    struct rsr_chat_template *chat = NULL;
    rsr_error err = RSR_ERROR_INIT;
    CHECK_INT(rsr_chat_template_parse(source, strlen(source), &chat, &err), RSR_OK);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rsr_chat_text out = {{0}, {0}};
        const struct rsr_chat_input input = {.conversation = cases[i].json,
                                             .conversation_bytes = strlen(cases[i].json),
                                             .bos_text = "",
                                             .eos_text = ""};
        CHECK_INT(rsr_chat_template_render(chat, &input, &out, &err), RSR_OK);
        CHECK_INT(out.marks.size, cases[i].marked ? out.text.size : 0);
        for (size_t k = 0; k < out.marks.size; k++)
            CHECK_INT(out.marks.data[k], k >= 2 && k + 2 < out.text.size);
        rsr_chat_text_free(&out);
    }
    rsr_chat_template_destroy(chat);
}

/* Texts of special tokens never become special tokens, alone or among other text, with any
 * tokenizer. */
static void test_specials(const char *tokenizer) {
    static struct fixture f;
    static struct tokens have;
    size_t n = 0;
    if (!open_fixture(&f, tokenizer))
        return;
    f.module.bos_token = RSR_NO_TOKEN;
    set_template(&f, "{{ messages[0].content }}");
    const struct rsr_encoder *encoder = f.model.text->encoder;
    const struct rsr_added_tokens *const sets[] = {&encoder->raw, &encoder->normalized};
    for (size_t i = 0; i < 2; i++) {
        for (uint32_t k = 0; k < sets[i]->n_tokens; k++) {
            const struct rsr_added_token *token = &sets[i]->tokens[k];
            static const char *const forms[] = {"%.*s", "a%.*sb", " %.*s "};
            char content[256];
            for (size_t form = 0; form < 3 && (token->flags & RSR_TOKEN_SPECIAL) != 0; form++) {
                snprintf(content, sizeof(content), forms[form], (int)token->n_bytes,
                         token->content);
                CHECK_INT(content_tokens(&f, content, &have), RSR_OK);
                CHECK_INT(n_special(&f, &have), 0);
                n++;
            }
        }
    }
    CHECK(n > 0);
    close_fixture(&f);
}

/* ---- Beginnings ------------------------------------------------------------------------------ */

static void test_bos(void) {
    static const struct {
        const char *source, *content;
        bool model_has_bos;
        size_t n_bos;
    } cases[] = {
        {"{{ messages[0].content }}", "hi", true, 1},
        {"<s>{{ messages[0].content }}", "hi", true, 1},
        {"{{ messages[0].content }}", "<s>hi", true, 1},
        {"<s>{{ messages[0].content }}", "<s>hi", true, 1},
        {"<s><s>{{ messages[0].content }}", "hi", true, 2},
        {"{{ messages[0].content }}", "", true, 1},
        {"{{ messages[0].content }}", "hi", false, 0},
        {"{{ messages[0].content }}", "<s>hi", false, 0},
    };
    static struct fixture f;
    static struct tokens have;
    if (!open_fixture(&f, "llama2"))
        return;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        f.module.bos_token = cases[i].model_has_bos ? 1 : RSR_NO_TOKEN;
        set_template(&f, cases[i].source);
        CHECK_INT(content_tokens(&f, cases[i].content, &have), RSR_OK);
        CHECK_INT(n_special(&f, &have), cases[i].n_bos);
        CHECK(cases[i].n_bos == 0 || have.ids[0] == 1);
    }
    close_fixture(&f);
}

/* ---- Equal to transformers ------------------------------------------------------------------- */

/* The text, and the tokens of the text where no message has text that looks special. */
static void check_call(struct fixture *f, const char *template, const char *json, bool generation,
                       const json_t *expected) {
    static char text[1 << 16];
    static struct tokens have, want;
    size_t n = 0;
    rsr_error err = RSR_ERROR_INIT;
    const rsr_status status = rsr_api_chat_format_json(&f->model, json, strlen(json), generation,
                                                       text, sizeof(text), &n, &err);
    const bool same = json_is_null(expected)
                          ? status == RSR_ERR_TEXT && err.message[0] != 0
                          : status == RSR_OK && n == json_string_length(expected) &&
                                memcmp(text, json_string_value(expected), n) == 0;
    CHECK(same);
    if (!same)
        fprintf(stderr,
                "  template: %.100s\n  of %.300s\n  status %d %s\n  have: %.*s\n  want: %s\n",
                template, json, (int)status, err.message, (int)n, text,
                json_is_null(expected) ? "(refused)" : json_string_value(expected));
    if (status != RSR_OK || strstr(json, "<|"))
        return;
    CHECK_INT(rsr_api_chat_tokens(&f->model, json, strlen(json), generation, have.ids, MAX_TOKENS,
                                  &have.n, &err),
              RSR_OK);
    CHECK_INT(rsr_api_tokenize(&f->model, text, n, RSR_TOKENIZE_PARSE_SPECIAL, want.ids, MAX_TOKENS,
                               &want.n, &err),
              RSR_OK);
    CHECK(have.n == want.n && memcmp(have.ids, want.ids, want.n * sizeof(want.ids[0])) == 0);
}

static json_t *with_roles(const json_t *conversation) {
    json_t *messages = json_array(), *row;
    size_t i;
    json_array_foreach(conversation, i, row) {
        json_array_append_new(messages, json_pack("{s:O,s:O}", "role", json_array_get(row, 0),
                                                  "content", json_array_get(row, 1)));
    }
    return messages;
}

static void check_published(struct fixture *f, const json_t *root, const json_t *row) {
    const char *source = json_string_value(json_object_get(row, "template"));
    const json_t *rendered = json_object_get(row, "rendered"), *call;
    size_t i;
    set_template(f, source);
    for (i = 0; i < json_array_size(rendered); i++) {
        json_t *messages =
            with_roles(json_array_get(json_object_get(root, "conversations"), i / 2));
        char *json = json_dumps(messages, 0);
        check_call(f, source, json, i % 2, json_array_get(rendered, i));
        free(json);
        json_decref(messages);
    }
    json_array_foreach(json_object_get(root, "calls"), i, call) {
        char *json = json_dumps(call, 0);
        check_call(f, source, json, true, json_array_get(json_object_get(row, "called"), i));
        free(json);
    }
}

static void test_published(const char *tokenizer) {
    static struct fixture f;
    json_t *root = load_json(FIXTURES, "chat", ".json"), *row;
    size_t i, n = 0;
    if (!open_fixture(&f, tokenizer))
        return;
    f.module.bos_token = RSR_NO_TOKEN;
    f.module.bos_text = "<|bos|>";
    f.module.eos_text = "</s>";
    json_array_foreach(json_object_get(root, "templates"), i, row) {
        if (json_is_true(json_object_get(row, "all"))) {
            check_published(&f, root, row);
            n++;
        }
    }
    CHECK(n >= 20);
    close_fixture(&f);
    json_decref(root);
}

/* ---- Hostile conversations ------------------------------------------------------------------- */

static void check_refused(const struct fixture *f, const char *json, size_t n, const char *words) {
    static struct tokens have;
    rsr_error err = RSR_ERROR_INIT;
    have.n = 99;
    CHECK_INT(rsr_api_chat_tokens(&f->model, json, n, true, have.ids, MAX_TOKENS, &have.n, &err),
              RSR_ERR_ARGUMENT);
    CHECK(strstr(err.message, words) != NULL && have.n == 99);
    if (!strstr(err.message, words))
        fprintf(stderr, "  %.60s: %s, not: %s\n", json, err.message, words);
}

static void test_hostile(struct fixture *f) {
    static const struct {
        const char *json, *words;
    } cases[] = {
        {"", "what is no value at byte 0"},
        {"[", "what is no value at byte 1"},
        {"[] x", "more than one value at byte 3"},
        {"[],", "more than one value at byte 2"},
        {"[1]", "lacks \"messages\""},
        {"\"a\"", "lacks \"messages\""},
        {"{}", "lacks \"messages\""},
        {"{\"messages\":{}}", "lacks \"messages\""},
        {"{\"messages\":[[]]}", "lacks \"messages\""},
        {"{\"messages\":[],\"bos_token\":\"x\"}", "may not give bos_token"},
        {"{\"messages\":[],\"add_generation_prompt\":true}", "may not give add_generation_prompt"},
        {"[{\"a\":1,\"a\":2}]", "the same key twice at byte 11"},
        {"[{\"a\":1,\"\\u0061\":2}]", "the same key twice"},
        {"{\"messages\":[],\"messages\":[]}", "the same key twice"},
        {"[{\"a\" 1}]", "a key without a value at byte 6"},
        {"[{\"a\":1]", "an object without its end at byte 7"},
        {"[{a:1}]", "an object without a key at byte 2"},
        {"[{\"a\":1,}]", "an object without a key at byte 8"},
        {"[{} {}]", "an array without its end at byte 4"},
        {"[{},]", "what is no value at byte 4"},
        {"[{\"a\":\"b", "a string without its end at byte 8"},
        {"[{\"a\":\"\\", "an unknown escape"},
        {"[{\"a\":\"\\x\"}]", "an unknown escape"},
        {"[{\"a\":\"\\u00g0\"}]", "a \\u without four digits"},
        {"[{\"a\":\"\\ud800\"}]", "half a surrogate pair"},
        {"[{\"a\":\"\\ud800\\u0041\"}]", "half a surrogate pair"},
        {"[{\"a\":\"\\udc00\\ud800\"}]", "half a surrogate pair"},
        {"[{\"a\":\"\n\"}]", "a control character in a string at byte 7"},
        {"[{\"a\":9223372036854775808}]", "a number beyond 64 bits"},
        {"[{\"a\":1e999}]", "a number beyond 64 bits"},
        {"[{\"a\":01}]", "an object without its end at byte 7"},
        {"[{\"a\":1.}]", "what is no value"},
        {"[{\"a\":-}]", "what is no value"},
        {"[{\"a\":+1}]", "what is no value"},
        {"[{\"a\":1e}]", "what is no value"},
        {"[{\"a\":NaN}]", "what is no value"},
        {"[{\"a\":tru}]", "what is no value"},
    };
    set_template(f, "{{ messages[0].content }}");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check_refused(f, cases[i].json, strlen(cases[i].json), cases[i].words);
    check_refused(f, "[\0]", 3, "what is no value at byte 1");
    check_refused(f, "[]\0", 3, "more than one value");
    check_refused(f, "[{\"a\":\"\0\"}]", 11, "a control character");

    struct rsr_bytes big = {0};
    for (size_t i = 0; i < 100000; i++)
        CHECK(rsr_bytes_append(&big, "[", 1));
    check_refused(f, big.data, big.size, "too many brackets in each other");
    big.size = 0;
    CHECK(rsr_bytes_append(&big, "[", 1));
    for (size_t i = 0; i < 600000; i++)
        CHECK(rsr_bytes_append(&big, "1,", 2));
    check_refused(f, big.data, big.size, "too many values");
    big.size = 0;
    CHECK(rsr_bytes_append(&big, "[{", 2));
    for (unsigned i = 0; i < 600; i++) {
        char key[16];
        CHECK(rsr_bytes_append(&big, key, (size_t)snprintf(key, sizeof(key), "\"%u\":1,", i)));
    }
    check_refused(f, big.data, big.size, "too many keys");
    big.size = 0;
    CHECK(rsr_bytes_append(&big, "[{\"a\":1", 7));
    for (size_t i = 0; i < 600; i++)
        CHECK(rsr_bytes_append(&big, "0", 1));
    check_refused(f, big.data, big.size, "too long a number");
    CHECK(rsr_bytes_reserve(&big, (size_t)65 << 20));
    memset(big.data, ' ', (size_t)65 << 20);
    check_refused(f, big.data, (size_t)65 << 20, "more than 64 MiB");
    rsr_bytes_free(&big);
}

/* Allowed JSON: escapes, NUL as an escape, text that is not UTF-8, the largest and smallest
 * numbers. */
static void test_values(struct fixture *f) {
    static const struct {
        const char *source, *json, *text;
    } cases[] = {
        {"{{ messages[0].a }}", "[{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00\"}]",
         "\"\\/\b\f\n\r\t\xc3\xa9\xf0\x9f\x98\x80"},
        {"{{ messages[0].a | length }}", "[{\"a\":\"\\u0000x\"}]", "2"},
        {"{{ messages[0].a }}", "[{\"a\":\"\xff\xe2\x82\"}]", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"{{ messages[0].a }}", " [ { \"a\" : -9223372036854775808 } ] ", "-9223372036854775808"},
        {"{{ messages[0].a }}", "[{\"a\":1.5e3}]", "1500.0"},
        {"{{ messages[0].a }}", "[{\"a\":-0}]", "0"},
        {"{{ messages[0].a }}", "[{\"a\":1E400}]", NULL},
        {"{{ messages[0].a | tojson }}", "[{\"a\":{\"b\":[null,true,false,{}]}}]",
         "{\"b\": [null, true, false, {}]}"},
        {"{{ messages | length }}{{ tools is none }}", "[]", "0True"},
        {"{{ messages | length }}{{ tools is none }}", "{\"tools\":[],\"messages\":[]}", "0False"},
        {"{{ x }}{{ add_generation_prompt }}", "{\"x\":\"y\",\"messages\":[]}", "yTrue"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[64] = "";
        size_t n = 0;
        rsr_error err = RSR_ERROR_INIT;
        set_template(f, cases[i].source);
        const rsr_status status =
            rsr_api_chat_format_json(&f->model, cases[i].json, strlen(cases[i].json), true, text,
                                     sizeof(text) - 1, &n, &err);
        CHECK_INT(status, cases[i].text ? RSR_OK : RSR_ERR_ARGUMENT);
        CHECK_STR(text, cases[i].text ? cases[i].text : "");
    }
}

/* Buffer rules, and a model without a template. */
static void test_buffers(struct fixture *f) {
    static struct tokens all, some;
    rsr_error err = RSR_ERROR_INIT;
    set_template(f, LLAMA);
    CHECK_INT(content_tokens(f, "hello", &all), RSR_OK);
    const char *json = "[{\"role\":\"user\",\"content\":\"hello\"}]";
    CHECK_INT(rsr_api_chat_tokens(&f->model, json, strlen(json), true, NULL, 0, &some.n, &err),
              RSR_ERR_FULL);
    CHECK_INT(some.n, all.n);
    CHECK_INT(rsr_api_chat_tokens(&f->model, json, strlen(json), true, some.ids, 2, &some.n, &err),
              RSR_ERR_FULL);
    CHECK(some.n == all.n && some.ids[0] == all.ids[0] && some.ids[1] == all.ids[1] &&
          some.ids[2] == 0);
    CHECK_INT(rsr_api_chat_tokens(&f->model, NULL, 0, true, some.ids, 2, &some.n, &err),
              RSR_ERR_ARGUMENT);
    CHECK_INT(rsr_api_chat_tokens(&f->model, json, 1, true, some.ids, 2, NULL, &err),
              RSR_ERR_ARGUMENT);
    rsr_chat_template_destroy(f->model.text->chat);
    f->model.text->chat = NULL;
    CHECK_INT(chat_tokens(f, json, &some, &err), RSR_ERR_TEXT);
    CHECK(strstr(err.message, "no chat template") != NULL);
    f->model.owner_pid++;
    CHECK_INT(chat_tokens(f, json, &some, &err), RSR_ERR_FORK);
    f->model.owner_pid--;
}

int main(void) {
    static const char *const tokenizers[] = {"llama3", "qwen",       "gemma", "llama2",
                                             "falcon", "deepseek-3", "cl100k"};
    static struct fixture f;
    if (!open_fixture(&f, "llama3"))
        return CHECK_EXIT();
    f.module.bos_token = RSR_NO_TOKEN;
    test_messages(&f);
    test_operations(&f);
    test_hostile(&f);
    test_values(&f);
    test_buffers(&f);
    close_fixture(&f);
    test_roles();
    test_bos();
    for (size_t i = 0; i < sizeof(tokenizers) / sizeof(tokenizers[0]); i++) {
        test_specials(tokenizers[i]);
        test_published(tokenizers[i]);
    }
    return CHECK_EXIT();
}
