/* tools.h - functions that a chat may call: how the model learns of them, and how its text calls
 * them. */
#ifndef RSR_SERVE_TOOLS_H
#define RSR_SERVE_TOOLS_H

#include <jansson.h>

#include "serve.h"

/* The form of calls in generated text. */
enum serve_call_form {
    SERVE_CALLS_NONE,   /* all text is content */
    SERVE_CALLS_TAGGED, /* <tool_call>...</tool_call>, among content: in it an object as Hermes
                           writes, or a function as Qwen3.5 does */
    SERVE_CALLS_JSON    /* a text that consists only of objects, all of them calls; otherwise it is
                           content */
};

/* The meaning of a request's "tools" and "tool_choice". */
struct serve_tool_use {
    json_t *told; /* tools for the template; borrowed, NULL: none */
    enum serve_call_form calls;
    json_t *schema; /* schema that the text must follow; new; NULL: none */
};

/* Refuses values that are no list of functions, and tools for a model whose template has none. */
bool serve_check_tools(const struct serve_model *model, const json_t *tools,
                       struct serve_error *error);

/* `tools` and `choice` may be NULL. */
bool serve_read_tools(const struct serve_model *model, json_t *tools, const json_t *choice,
                      bool parallel, struct serve_tool_use *use, struct serve_error *error);

/* tool_calls.c */

enum serve_piece_kind {
    SERVE_PIECE_NONE,    /* no piece until more text comes */
    SERVE_PIECE_CONTENT, /* text[begin .. end) */
    SERVE_PIECE_CALL
};

struct serve_piece {
    enum serve_piece_kind kind;
    size_t begin, end; /* of content */
    json_t *call;      /* {"name": ..., "arguments": {...}}; new */
};

/* function_calls.c: reads <function=...>...</function> as a call, whose arguments have the types
 * that `tools` declare (NULL: none); new. NULL: the text is no call. *n_read receives the bytes
 * that were read. */
json_t *serve_read_function(const json_t *tools, const char *text, size_t n_bytes, size_t *n_read);

/* Takes the next piece at text + *at and moves *at past it. A call is one piece, once it is
 * complete; text that begins like a call and turns out to be none is content. White space before
 * calls and at the end is dropped. `ends`: no more text will come. The content and the calls do not
 * depend on how the text arrives. `tools`: as in serve_tool_use. */
struct serve_piece serve_next_piece(enum serve_call_form form, const json_t *tools,
                                    const char *text, size_t n_bytes, bool ends, size_t *at);

#endif
