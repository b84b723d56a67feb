/* chat_ast.h - what the files of the chat template share: memory, tokens, syntax tree.
 *
 * chat_memory.c has memory and strings, chat_template_lex.c makes tokens of the source,
 * chat_template_parse.c a tree of the tokens, chat_conversation.c defines what templates see, which
 * chat_json_read.c reads, chat_template_eval.c walks the tree, chat_template_call.c calls functions
 * and macros, chat_template_builtins.c has the filters, tests and methods, chat_number.c computes
 * and chat_format.c formats.
 */
#ifndef RSR_CHAT_AST_H
#define RSR_CHAT_AST_H

#include "chat_template.h"

/* Memory that is freed all at once. Allocation past the limit fails. */
struct chat_arena {
    struct chat_block *blocks;
    size_t used, limit;
    bool over_limit; /* an allocation was refused because of the limit */
};

void *chat_alloc(struct chat_arena *arena, size_t n_bytes); /* zeroed; NULL: none left */
void chat_arena_free(struct chat_arena *arena);
/* Whether `used` and n_bytes more are within the limit. */
bool chat_is_within(struct chat_arena *arena, size_t used, size_t n_bytes);
/* Why there is no memory: RSR_ERR_TEXT for the limit, else RSR_ERR_MEMORY. */
rsr_status chat_refuse_memory(const struct chat_arena *arena, rsr_error *err);

/* UTF-8, with a mark for each byte that comes from a message. Every operation keeps the marks byte
 * by byte: a character from upper() or an escape from tojson has the mark of its origin. What the
 * template computes (a length, a number's digits) has no mark. */
struct chat_string {
    const char *data;
    size_t size;
    const uint8_t *marks; /* [size], 1: from a message; NULL: all are 0 */
};

#define CHAT_STRING(literal) ((struct chat_string){(literal), sizeof(literal) - 1, NULL})

/* The n bytes from `at` on. */
static inline struct chat_string chat_part(struct chat_string s, size_t at, size_t n) {
    return (struct chat_string){s.data + at, n, s.marks ? s.marks + at : NULL};
}

/* The string without its first n bytes. */
static inline struct chat_string chat_behind(struct chat_string s, size_t n) {
    return chat_part(s, n, s.size - n);
}

bool chat_equals(struct chat_string a, const char *b);
bool chat_same(struct chat_string a, struct chat_string b);

/* White space of Python's str.isspace. */
bool chat_is_space(uint32_t code);
/* Where white space ends, and where it begins, in UTF-8. */
const char *chat_skip_spaces(const char *at, const char *end);
const char *chat_strip_end(const char *begin, const char *end);

enum chat_token_kind {
    CHAT_DATA,         /* text between tags */
    CHAT_OUTPUT_BEGIN, /* {{ */
    CHAT_OUTPUT_END,
    CHAT_BLOCK_BEGIN, /* {% */
    CHAT_BLOCK_END,
    CHAT_NAME,
    CHAT_STRING_LITERAL, /* text is unescaped */
    CHAT_INTEGER,
    CHAT_FLOAT,
    CHAT_OPERATOR,
    CHAT_END
};

struct chat_token {
    enum chat_token_kind kind;
    uint32_t line;
    struct chat_string text;
    int64_t integer;
    double number; /* CHAT_FLOAT */
};

/* Appends the tokens of the source to an array in the arena; the last one is CHAT_END. */
RSR_NODISCARD rsr_status chat_lex(struct chat_arena *arena, struct chat_string source,
                                  struct chat_token **tokens, rsr_error *err);

enum chat_node_kind {
    /* expressions */
    CHAT_LITERAL_STRING,
    CHAT_LITERAL_INTEGER,
    CHAT_LITERAL_FLOAT, /* number */
    CHAT_LITERAL_BOOL,  /* integer */
    CHAT_LITERAL_NONE,
    CHAT_VARIABLE,  /* text */
    CHAT_LIST,      /* args */
    CHAT_ATTRIBUTE, /* a . text */
    CHAT_INDEX,     /* a[b] */
    CHAT_SLICE,     /* a[b:c:d], each may be NULL */
    CHAT_CALL,      /* a(args) */
    CHAT_ARGUMENT,  /* a; text: keyword or empty */
    CHAT_FILTER,    /* a | text(args) */
    CHAT_TEST,      /* a is text(args) */
    CHAT_NOT,       /* a */
    CHAT_NEGATE,    /* a */
    CHAT_AND,       /* a, b */
    CHAT_OR,
    CHAT_BINARY,    /* a text b: + - * / // % ** ~ */
    CHAT_COMPARE,   /* a text b: == != < <= > >= in, "not in" */
    CHAT_CONDITION, /* b if a else c, c may be NULL */
    /* statements */
    CHAT_TEXT,   /* text */
    CHAT_OUTPUT, /* a */
    CHAT_IF,     /* a; body b; else c */
    CHAT_FOR,    /* text in a; body b; else c; d: only items for which d holds */
    CHAT_SET,    /* text = a, or text.attribute = a */
    CHAT_BREAK,
    CHAT_CONTINUE,
    CHAT_MACRO,     /* text: name; args: parameters, a: their defaults or NULL; body b */
    CHAT_GENERATION /* body b, in a scope of its own */
};

struct chat_node {
    enum chat_node_kind kind;
    uint32_t line;
    uint32_t depth;                     /* of the expression below */
    struct chat_string text, attribute; /* attribute: CHAT_SET; CHAT_FOR: the second target */
    int64_t integer;
    double number;
    struct chat_node *a, *b, *c, *d;
    struct chat_node *args; /* linked by next */
    struct chat_node *next; /* the following statement or argument */
};

struct rsr_chat_template {
    struct chat_arena arena;
    struct chat_node *body;
};

#endif
