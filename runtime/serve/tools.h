/* tools.h - functions that a chat may call: how they are told to the model, and how its text calls
 * them. */
#ifndef RSR_SERVE_TOOLS_H
#define RSR_SERVE_TOOLS_H

#include <jansson.h>

#include "serve.h"

/* How calls stand in what is generated. */
enum serve_call_form {
    SERVE_CALLS_NONE,   /* all text is content */
    SERVE_CALLS_HERMES, /* <tool_call>{...}</tool_call>, among content */
    SERVE_CALLS_JSON    /* a text of objects alone that all are calls, else content */
};

/* What a request's "tools" and "tool_choice" come to. */
struct serve_tool_use {
    json_t *told; /* to the template; borrowed, NULL: none */
    enum serve_call_form calls;
    json_t *schema; /* that what is generated must follow; new, NULL: none */
};

/* Refuses what is no list of functions, and tools of a model that does not read them. */
bool serve_check_tools(const struct serve_model *model, const json_t *tools,
                       struct serve_error *error);

/* `tools` and `choice` may be NULL. */
bool serve_read_tools(const struct serve_model *model, json_t *tools, const json_t *choice,
                      bool parallel, struct serve_tool_use *use, struct serve_error *error);

/* tool_calls.c */

enum serve_piece_kind {
    SERVE_PIECE_NONE,    /* nothing more before more text comes */
    SERVE_PIECE_CONTENT, /* text[begin .. end) */
    SERVE_PIECE_CALL
};

struct serve_piece {
    enum serve_piece_kind kind;
    size_t begin, end; /* of content */
    json_t *call;      /* {"name": ..., "arguments": {...}}; new */
};

/* What stands at text + *at, which moves after it. A call is one piece, once all of it is there;
 * what begins as one and turns out to be none is content. White space in front of calls and at the
 * end is nothing. `ends`: no more text will come. However the text comes, the pieces are the same
 * texts. */
struct serve_piece serve_next_piece(enum serve_call_form form, const char *text, size_t n_bytes,
                                    bool ends, size_t *at);

#endif
