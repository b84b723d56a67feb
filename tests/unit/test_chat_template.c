/* test_chat_template.c - the chat template renderer against transformers and Jinja.
 *
 * tests/tokenizer/chat.json (written by make_chat_fixtures.py) holds templates, conversations and
 * what transformers renders; null means that it raises, or that the construct is outside our
 * subset, and the runtime has to refuse with a sentence. With an argument it compares another file
 * of the same form.
 */
#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"
#include "tokenizer/text.h"
#include "chat/chat_template.h"

static size_t read_messages(const json_t *conversation, rsr_message *messages) {
    size_t i;
    json_t *row;
    json_array_foreach(conversation, i, row) {
        messages[i].role = json_string_value(json_array_get(row, 0));
        messages[i].content = json_string_value(json_array_get(row, 1));
    }
    return json_array_size(conversation);
}

static void check_rendered(const char *template, const struct rsr_chat_template *chat,
                           const json_t *conversation, bool generation, const json_t *expected) {
    rsr_message messages[16];
    struct rsr_chat_input input = {.messages = messages,
                                   .n_messages = read_messages(conversation, messages),
                                   .add_generation_prompt = generation,
                                   .bos_text = "<|bos|>",
                                   .eos_text = "</s>"};
    struct rsr_chat_text out = {{0}, {0}};
    rsr_error err = RSR_ERROR_INIT;
    rsr_status status = rsr_chat_template_render(chat, &input, &out, &err);
    bool same;
    if (json_is_null(expected))
        same = status == RSR_ERR_TEXT && err.message[0] != 0 && out.text.size == 0;
    else
        same = status == RSR_OK && out.text.size == json_string_length(expected) &&
               (out.text.size == 0 ||
                memcmp(out.text.data, json_string_value(expected), out.text.size) == 0);
    CHECK(same);
    if (!same)
        fprintf(stderr, "  template: %.300s\n  status %d %s\n  have: %.*s\n  want: %s\n", template,
                (int)status, err.message, (int)out.text.size, out.text.data ? out.text.data : "",
                json_is_null(expected) ? "(refused)" : json_string_value(expected));
    rsr_chat_text_free(&out);
}

static void check_template(const json_t *conversations, const json_t *row) {
    const char *source = json_string_value(json_object_get(row, "template"));
    const json_t *rendered = json_object_get(row, "rendered");
    struct rsr_chat_template *chat = NULL;
    rsr_error err = RSR_ERROR_INIT;
    rsr_status status = rsr_chat_template_parse(source, strlen(source), &chat, &err);
    CHECK_STR(err.message, "");
    CHECK_INT(status, RSR_OK);
    if (status != RSR_OK) {
        fprintf(stderr, "  template: %.300s\n", source);
        return;
    }
    bool all = json_is_true(json_object_get(row, "all"));
    for (size_t i = 0; i < json_array_size(rendered); i++) {
        const json_t *conversation = json_array_get(conversations, all ? i / 2 : 1);
        check_rendered(source, chat, conversation, !all || i % 2, json_array_get(rendered, i));
    }
    rsr_chat_template_destroy(chat);
}

static void check_refused(const char *source) {
    struct rsr_chat_template *chat = NULL;
    rsr_error err = RSR_ERROR_INIT;
    CHECK_INT(rsr_chat_template_parse(source, strlen(source), &chat, &err), RSR_ERR_TEXT);
    if (!strstr(err.message, "in line 1"))
        fprintf(stderr, "  template: %.60s: %s\n", source, err.message);
    CHECK(chat == NULL && strstr(err.message, "in line 1") != NULL);
    rsr_chat_template_destroy(chat);
}

static rsr_status render_source(const char *source, const char *content, rsr_error *err,
                                size_t *size) {
    struct rsr_chat_template *chat = NULL;
    rsr_message message = {"user", content};
    struct rsr_chat_input input = {
        .messages = &message, .n_messages = 1, .bos_text = "", .eos_text = ""};
    struct rsr_chat_text out = {{0}, {0}};
    rsr_status status = rsr_chat_template_parse(source, strlen(source), &chat, err);
    if (status == RSR_OK)
        status = rsr_chat_template_render(chat, &input, &out, err);
    *size = out.text.size;
    rsr_chat_text_free(&out);
    rsr_chat_template_destroy(chat);
    return status;
}

/* Hostile templates soon end with an error message. */
static void test_limits(void) {
    static const struct {
        const char *source, *words;
    } cases[] = {
        {"{% set xs = range(5000) %}{% for a in xs %}{% for b in xs %}{% endfor %}{% endfor %}",
         "too many steps"},
        {"{% set n = namespace(s='0123456789') %}{% for a in range(60) %}{% set n.s = n.s + n.s "
         "%}{% endfor %}",
         "more memory"},
        {"{% set n = namespace(s='0123456789') %}{% for a in range(20) %}{% set n.s = n.s + n.s "
         "%}{% endfor %}"
         "{% for a in range(100) %}{{ n.s }}{% endfor %}",
         "too long a text"},
        {"{% set n = namespace(x=[], y=[]) %}{% for a in range(5000) %}{% set n.x = [n.x] %}{% set "
         "n.y = [n.y] %}"
         "{% endfor %}{{ n.x == n.y }}",
         "nests lists too deeply"},
        /* Each round doubles the values of one list, so a comparison would never end. */
        {"{% set n = namespace(x=[1], y=[1]) %}{% for a in range(60) %}{% set n.x = [n.x, n.x] %}"
         "{% set n.y = [n.y, n.y] %}{% endfor %}{{ n.x == n.y }}",
         "nests lists too deeply"},
        {"{% set n = namespace(s='0123456789') %}{% for a in range(20) %}{% set n.s = n.s + n.s "
         "%}{% endfor %}{% for a in range(100000) %}{% if 'x' in n.s %}{% endif %}{% endfor %}",
         "too many steps"},
        {"{% set n = namespace(s='0123456789') %}{% for a in range(20) %}{% set n.s = n.s + n.s "
         "%}{% endfor %}{% for a in range(100000) %}{% set b = n.s | length %}{% endfor %}",
         "too many steps"},
        {"{% set n = namespace(s='ab', l=[]) %}{% for a in range(21) %}{% set n.s = n.s + n.s %}"
         "{% endfor %}{% set n.l = [n.s + 'b'] %}{% for a in range(17) %}{% set n.l = n.l + n.l %}"
         "{% endfor %}{{ (n.s + 'c') in n.l }}",
         "too many steps"},
        {"{% set s = range(300) | join %}{{ s.strip(s) }}", "too long an argument to 'strip'"},
        {"{% set m = ['a'] | map('upper') %}{{ m | list | length }}{{ m | join }}",
         "loops twice over"},
        {"\n\n{{ x.y }}", "attribute 'y' in line 3"},
        {"{{ 'a' | nosuchfilter }}", "the unsupported filter 'nosuchfilter' in line 1"},
        {"{{ 1 is nosuchtest }}", "the unsupported test 'nosuchtest'"},
        {"{{ strftime_now('%d') }}", "the unsupported function 'strftime_now'"},
        {"{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}", "calls macros too deeply"},
        {"{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) "
         "}}",
         "too many steps"},
        {"{% macro f(s) %}{{ s }}{{ s }}{% endmacro %}{% set n = namespace(s='0123456789') %}"
         "{% for a in range(60) %}{% set n.s = f(n.s) %}{% endfor %}",
         "more memory"},
        {"{{ '%2000d' % 1 }}", "formats too wide a text, in line 1"},
        {"{{ '{:.101f}'.format(1.5) }}", "formats too wide a text, in line 1"},
        {"{{ '%r' % 1 }}", "format that is not supported, in line 1"},
        {"\n{{ 2 ** 64 }}", "'**' in line 2"},
        {"{{ loop.cycle(1) }}", "method 'cycle'"},
        {"{% for a, b in messages %}{% endfor %}", "unpacks a value that is not a pair"},
        {"{{ raise_exception('line\none\x1b[31m') }}", "refuses these messages: line?one?[31m"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        rsr_error err = RSR_ERROR_INIT;
        size_t size;
        CHECK_INT(render_source(cases[i].source, "x", &err, &size), RSR_ERR_TEXT);
        CHECK(strstr(err.message, cases[i].words) != NULL);
        if (!strstr(err.message, cases[i].words))
            fprintf(stderr, "  %s: %s\n", cases[i].words, err.message);
    }
    rsr_error err = RSR_ERROR_INIT;
    size_t size = 0;
    CHECK_INT(render_source("{{ messages[0].content }}", "a\xff\xf0\x9f", &err, &size), RSR_OK);
    CHECK_INT(size, 7); /* two replaced */
    CHECK_INT(render_source(
                  "{% set n = namespace() %}{% for a in [1, 2] %}{% set n.l = loop %}{% endfor %}"
                  "{{ n.l.index0 }}{{ n.l.previtem }}{{ n.l.nextitem }}",
                  "", &err, &size),
              RSR_OK); /* `loop` is used after its loop; sanitizers watch */
    CHECK_INT(size, 2);
    CHECK_INT(render_source("\xff", "", &err, &size), RSR_ERR_TEXT);
}

/* Nested deeply: in brackets, where parsing recurses, and in filters, where rendering does. */
static void *render_deeply(void *statuses) {
    static const struct {
        size_t depth;
        const char *opening, *middle, *closing;
    } cases[] = {{60, "(", "'a'", ")"}, {150, "", "'a'", "|upper"}};
    for (size_t k = 0; k < 2; k++) {
        struct rsr_bytes source = {0};
        CHECK(rsr_bytes_append(&source, "{{ ", 3));
        for (size_t i = 0; i < cases[k].depth; i++)
            CHECK(rsr_bytes_append(&source, cases[k].opening, strlen(cases[k].opening)));
        CHECK(rsr_bytes_append(&source, cases[k].middle, strlen(cases[k].middle)));
        for (size_t i = 0; i < cases[k].depth; i++)
            CHECK(rsr_bytes_append(&source, cases[k].closing, strlen(cases[k].closing)));
        CHECK(rsr_bytes_append(&source, " }}", 4));
        rsr_error err = RSR_ERROR_INIT;
        size_t size = 0;
        ((rsr_status *)statuses)[k] = render_source(source.data, "x", &err, &size);
        rsr_bytes_free(&source);
    }
    return NULL;
}

/* A thread with a small stack gets an error or the text, whatever the stack's size. */
static void test_small_stacks(void) {
    size_t n_refused[2] = {0, 0}, n_rendered[2] = {0, 0};
    for (size_t size = (size_t)32 << 10; size <= (size_t)4 << 20; size *= 2) {
        rsr_status statuses[2];
        pthread_attr_t attributes;
        pthread_t thread;
        CHECK(pthread_attr_init(&attributes) == 0);
        CHECK(pthread_attr_setstacksize(&attributes, size) == 0);
        CHECK(pthread_create(&thread, &attributes, render_deeply, statuses) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
        for (size_t k = 0; k < 2; k++) {
            CHECK(statuses[k] == RSR_OK || statuses[k] == RSR_ERR_TEXT);
            n_refused[k] += statuses[k] != RSR_OK;
            n_rendered[k] += statuses[k] == RSR_OK;
        }
        pthread_attr_destroy(&attributes);
    }
    CHECK(n_refused[0] > 0 && n_refused[1] > 0 && n_rendered[0] > 0 && n_rendered[1] > 0);
}

/* Like rsr-run --chat: an exception about system messages, or about their absence, is no
 * problem. */
static void test_probe(void) {
    static const struct {
        const char *source, *problem; /* NULL: there is none */
    } cases[] = {
        {"{{ messages | length }}", NULL},
        {"{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}",
         NULL},
        {"{% if messages[0].role != 'system' %}{{ raise_exception('who?') }}{% endif %}", NULL},
        {"{% if messages[-1].role != 'user' or not add_generation_prompt %}{{ nosuch() }}{% endif "
         "%}",
         NULL},
        {"{% if tools %}{{ nosuch() }}{% endif %}", NULL},
        {"{{ raise_exception('never') }}", "refuses these messages: never"},
        {"a\n{{ nosuch() }}", "function 'nosuch' in line 2"},
        {"{% if messages[0].role == 'system' %}{{ nosuch() }}{% endif %}", "'nosuch' in line 1"},
        {"{% if messages[0].role != 'system' %}{{ nosuch() }}{% endif %}", "'nosuch' in line 1"},
        {"{% for m in messages %}{% if m.role == 'assistant' %}{{ m | nosuch }}{% endif %}{% "
         "endfor %}",
         "filter 'nosuch' in line 1"},
        {"{% if messages[0].role == 'system' %}{{ raise_exception('a') }}{% else %}{{ nosuch() }}"
         "{% endif %}",
         "'nosuch' in line 1"},
        {"{% if messages[0].role != 'system' %}{{ raise_exception('a') }}{% else %}{{ nosuch() }}"
         "{% endif %}",
         "'nosuch' in line 1"},
        {"{{ bos_token.upper() }}{{ eos_token }}", NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rsr_chat_template *chat = NULL;
        rsr_error err = RSR_ERROR_INIT;
        CHECK_INT(rsr_chat_template_parse(cases[i].source, strlen(cases[i].source), &chat, &err),
                  RSR_OK);
        const rsr_status status = rsr_chat_template_probe(chat, "<s>", "", &err);
        CHECK_INT(status, cases[i].problem ? RSR_ERR_TEXT : RSR_OK);
        CHECK(!cases[i].problem || strstr(err.message, cases[i].problem) != NULL);
        rsr_chat_template_destroy(chat);
    }
}

/* Through the model: buffer rules, and a template that is not understood. */
static void test_model(void) {
    struct rsr_text text = {.chat_status = RSR_OK};
    struct rsr_module module = {.bos_text = "<s>", .eos_text = ""};
    struct rsr_model model = {.module = &module, .text = &text, .owner_pid = (int)getpid()};
    rsr_message messages[] = {{"user", "hi"}, {"assistant", NULL}};
    char out[8] = "#######";
    size_t n = 99;
    rsr_error err = RSR_ERROR_INIT;
    CHECK_INT(rsr_api_chat_format(&model, messages, 1, true, out, 8, &n, &err), RSR_ERR_TEXT);
    CHECK(strstr(err.message, "no chat template") != NULL && n == 99);
    const char *source = "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}";
    CHECK_INT(rsr_chat_template_parse(source, strlen(source), &text.chat, &err), RSR_OK);
    CHECK_INT(rsr_api_chat_format(&model, messages, 1, true, out, 8, &n, &err), RSR_OK);
    CHECK(n == 5 && memcmp(out, "<s>hi##", 7) == 0);
    CHECK_INT(rsr_api_chat_format(&model, messages, 1, true, out, 4, &n, &err), RSR_ERR_FULL);
    CHECK_INT(n, 5);
    CHECK_INT(rsr_api_chat_format(&model, messages, 2, true, out, 8, &n, &err), RSR_ERR_ARGUMENT);
    rsr_chat_template_destroy(text.chat);
    text.chat = NULL;
    text.chat_error = (rsr_error)RSR_ERROR_INIT;
    text.chat_status = rsr_chat_template_parse("{% include x %}", 15, &text.chat, &text.chat_error);
    CHECK_INT(rsr_api_chat_format(&model, messages, 1, true, out, 8, &n, &err), RSR_ERR_TEXT);
    CHECK(strstr(err.message, "'include' in line 1") != NULL);
    model.owner_pid++;
    CHECK_INT(rsr_api_chat_format(&model, messages, 1, true, out, 8, &n, &err), RSR_ERR_FORK);
}

static void test_file(const char *path) {
    json_error_t error;
    json_t *root = json_load_file(path, JSON_ALLOW_NUL, &error);
    CHECK(root != NULL);
    const json_t *templates = json_object_get(root, "templates"), *row;
    CHECK(json_array_size(templates) > 0);
    size_t i;
    json_array_foreach(templates, i, row) {
        check_template(json_object_get(root, "conversations"), row);
    }
    json_array_foreach(json_object_get(root, "refused"), i, row) {
        check_refused(json_string_value(row));
    }
    json_decref(root);
}

int main(int argc, char **argv) {
    if (argc > 1) {
        test_file(argv[1]);
        return CHECK_EXIT();
    }
    test_file(TEST_SOURCE_DIR "/tests/tokenizer/chat.json");
    test_limits();
    test_small_stacks();
    test_probe();
    test_model();
    return CHECK_EXIT();
}
