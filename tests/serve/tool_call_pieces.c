/* tool_call_pieces.c - reads texts with tool calls whole, byte by byte, and in two parts cut at
 * every place. Content and calls must be equal each time. */
#include <stdio.h>
#include <string.h>

#include "tools.h"

struct sample {
    enum serve_call_form form;
    const char *text, *content;
    const char *calls; /* "name{arguments}" one after another */
};

#define HERMES SERVE_CALLS_TAGGED
#define JSON SERVE_CALLS_JSON
#define X(name, rest) "<tool_call>\n<function=" name ">\n" rest "</function>\n</tool_call>"
#define P(name, text) "<parameter=" name ">" text "</parameter>\n"
#define F "{\"name\": \"f\", \"arguments\": {\"a\": 1}}"
#define G "{\"name\":\"g\",\"parameters\":{}}"

static const struct sample samples[] = {
    {SERVE_CALLS_NONE, "<tool_call>" F "</tool_call>", "<tool_call>" F "</tool_call>", ""},
    {HERMES, "", "", ""},
    {HERMES, "A plain answer: 1 < 2 <tool> <tool_call", "A plain answer: 1 < 2 <tool> <tool_call",
     ""},
    {HERMES, "<tool_call>" F "</tool_call>", "", "f{\"a\":1}"},
    {HERMES, "\n<tool_call>\n" F "\n</tool_call>\n", "", "f{\"a\":1}"},
    {HERMES, "I look. \n\n<tool_call>" F "</tool_call>\n<tool_call>" G "</tool_call>", "I look.",
     "f{\"a\":1}g{}"},
    {HERMES, "<tool_call>" F "</tool_call> and more ", " and more", "f{\"a\":1}"},
    {HERMES, "<tool_call>" F, "", "f{\"a\":1}"}, /* ended by a stop token */
    {HERMES, "<tool_call>" F "</tool", "<tool_call>" F "</tool", ""},
    {HERMES, "a <tool_call>{\"name\": \"f\"}</tool_call> b",
     "a <tool_call>{\"name\": \"f\"}</tool_call> b", ""},
    {HERMES, "<tool_call>" F F "</tool_call>", "<tool_call>" F F "</tool_call>", ""},
    {HERMES, "<tool_call>{\"name\": 1, \"arguments\": {}}</tool_call>",
     "<tool_call>{\"name\": 1, \"arguments\": {}}</tool_call>", ""},
    {HERMES, "<tool_call>{\"name\": \"f\", \"arguments\": []}</tool_call>",
     "<tool_call>{\"name\": \"f\", \"arguments\": []}</tool_call>", ""},
    {HERMES, "<tool_call></tool_call><tool_call>" G "</tool_call>", "<tool_call></tool_call>",
     "g{}"},
    {HERMES, "<tool_call><tool_call>" G "</tool_call>", "<tool_call><tool_call>" G "</tool_call>",
     ""},
    {HERMES, F, F, ""},
    /* Functions: "f" declares "a" as an integer, "b" as a boolean, "s" as a string and "o" as an
     * object. */
    {HERMES, X("f", P("a", "\n1\n")), "", "f{\"a\":1}"},
    {HERMES,
     "I look.\n\n" X("f", P("a", "7") "\n" P("s", "\n 7 \n\n") P("b", "True")) "\n" X("g", ""),
     "I look.", "f{\"a\":7,\"s\":\" 7 \\n\",\"b\":true}g{}"},
    {HERMES, X("f", P("o", "{\"x\": [1, \"</function>\"]}") P("b", "maybe") P("s", "null")), "",
     "f{\"o\":{\"x\":[1,\"</function>\"]},\"b\":\"maybe\",\"s\":\"null\"}"},
    {HERMES, X("g", P("a", "1")), "", "g{\"a\":\"1\"}"}, /* nothing is declared */
    {HERMES, X("f", P("a", "") P("s", "\n\n")), "", "f{\"a\":\"\",\"s\":\"\"}"},
    {HERMES, X("f", P("a", "1") P("a", "2")), X("f", P("a", "1") P("a", "2")), ""},
    {HERMES, "<tool_call><function=f></tool_call>", "<tool_call><function=f></tool_call>", ""},
    {HERMES, "<tool_call><function=></function></tool_call>",
     "<tool_call><function=></function></tool_call>", ""},
    {HERMES, "<tool_call><function=f\n></function></tool_call>",
     "<tool_call><function=f\n></function></tool_call>", ""},
    {HERMES, "<tool_call><function=f><parameter=a>1</function></tool_call>",
     "<tool_call><function=f><parameter=a>1</function></tool_call>", ""},
    {HERMES, "<tool_call><function=f></function> and</tool_call>",
     "<tool_call><function=f></function> and</tool_call>", ""},
    {HERMES, "<tool_call><function=f>" P("a", "1") "</function>", "", "f{\"a\":1}"},
    {JSON, F, "", "f{\"a\":1}"},
    {JSON, " " G "; " F "\n" G " ", "", "g{}f{\"a\":1}g{}"},
    {JSON, F " I did it.", F " I did it.", ""},
    {JSON, "It is " F, "It is " F, ""},
    {JSON, "{\"answer\": 42}", "{\"answer\": 42}", ""},
    {JSON, "{\"name\": \"f\", \"arguments\": {}, \"id\": 1}",
     "{\"name\": \"f\", \"arguments\": {}, \"id\": 1}", ""},
    {JSON, "{\"name\": \"f\", \"argu", "{\"name\": \"f\", \"argu", ""},
    {JSON, "  ", "  ", ""},
    {JSON, "", "", ""},
};

static const char declared[] =
    "[{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": {\"properties\": "
    "{\"a\": {\"type\": \"integer\"}, \"b\": {\"type\": [\"boolean\", \"null\"]}, \"s\": "
    "{\"type\": [\"null\", \"string\"]}, \"o\": {\"anyOf\": []}}}}}]";
static json_t *tools;

struct read {
    char content[512], calls[512];
};

static void read_pieces(const struct sample *sample, size_t n_bytes, bool ends, size_t *at,
                        struct read *read) {
    for (;;) {
        const struct serve_piece piece =
            serve_next_piece(sample->form, tools, sample->text, n_bytes, ends, at);
        if (piece.kind == SERVE_PIECE_NONE)
            return;
        if (piece.kind == SERVE_PIECE_CONTENT) {
            strncat(read->content, sample->text + piece.begin, piece.end - piece.begin);
            continue;
        }
        char arguments[128] = "";
        json_dumpb(json_object_get(piece.call, "arguments"), arguments, sizeof(arguments) - 1,
                   JSON_COMPACT);
        strcat(read->calls, json_string_value(json_object_get(piece.call, "name")));
        strcat(read->calls, arguments);
        json_decref(piece.call);
    }
}

static int check(const struct sample *sample, const struct read *read, const char *how, size_t n) {
    if (strcmp(read->content, sample->content) == 0 && strcmp(read->calls, sample->calls) == 0)
        return 0;
    printf("%s %zu: %s\n  content '%s', calls '%s'\n", how, n, sample->text, read->content,
           read->calls);
    return 1;
}

int main(void) {
    int failed = 0, n_checks = 0;
    tools = json_loads(declared, 0, NULL);
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        const struct sample *sample = &samples[i];
        const size_t size = strlen(sample->text);
        struct read bytes = {"", ""};
        size_t at = 0;
        for (size_t n = 0; n <= size; n++) {
            struct read parts = {"", ""};
            size_t split = 0;
            read_pieces(sample, n, false, &split, &parts);
            read_pieces(sample, size, true, &split, &parts);
            failed += check(sample, &parts, "in two parts, the first of", n);
            read_pieces(sample, n, false, &at, &bytes);
            n_checks++;
        }
        read_pieces(sample, size, true, &at, &bytes);
        failed += check(sample, &bytes, "byte by byte", size);
        n_checks++;
    }
    json_decref(tools);
    printf("%d checks, %d failed\n", n_checks, failed);
    return failed != 0;
}
