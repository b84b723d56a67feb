/* chat_template_parse.c - the syntax of the Jinja subset.
 *
 *   statements   {{ x }}   if/elif/else   for x in y [if z] .. [else]   set x = y   set ns.x = y
 *                break   continue   macro name(x, y=z), outside of loops   generation
 *   expressions  strings, numbers, true/false/none, names, [lists], (x), a.b, a[i], a[i:j:k],
 *                calls, a|filter, a is [not] test, not and or, == != < <= > >= in,
 *                + - * / // % ** ~, a if b else c
 * Filters, tests, functions and methods are looked up only when they are reached: published
 * templates name many in branches for tools, which plain chats never enter. Other syntax is refused
 * here.
 */
#include <stdlib.h>
#include <string.h>

#include "chat_ast.h"
#include "host/c_locale.h"
#include "host/stack.h"

#define MAX_EXPRESSION_DEPTH 200u
#define MAX_STATEMENT_DEPTH 64u
#define MAX_SOURCE_BYTES (1u << 20)
#define MAX_TREE_BYTES (256u << 20)
#define STACK_RESERVE ((size_t)4 << 10) /* for calls that do not recurse */

struct parser {
    struct chat_arena *arena;
    const struct chat_token *at;
    uint32_t depth;        /* of recursion here */
    const char *stack_end; /* frames below are too deep */
    uint32_t n_loops;      /* loops around this place that break can leave */
    uint32_t n_scopes;     /* loops, macros and generations around this place */
    bool in_macro;
    rsr_status status;
    rsr_error *err;
};

static struct chat_node *parse_expression(struct parser *p);
static struct chat_node *parse_unary(struct parser *p, bool with_filter);

/* ---- Helpers --------------------------------------------------------------------------------- */

/* Reports only the first problem. Names consist of letters, digits and _, so they are safe to
 * print. */
static struct chat_node *refuse(struct parser *p, const char *what, struct chat_string name) {
    int n = name.size < 40 ? (int)name.size : 40;
    if (p->status == RSR_OK)
        p->status = rsr_fail(p->err, RSR_ERR_TEXT, "the chat template has %s%s%.*s%s in line %u",
                             what, n ? " '" : "", n, n ? name.data : "", n ? "'" : "", p->at->line);
    return NULL;
}

static struct chat_node *unexpected(struct parser *p) {
    if (p->at->kind == CHAT_NAME || p->at->kind == CHAT_OPERATOR)
        return refuse(p, "an unexpected", p->at->text);
    return refuse(p, "an expression that is not understood", CHAT_STRING(""));
}

static struct chat_node *no_memory(struct parser *p) {
    if (p->status == RSR_OK)
        p->status = chat_refuse_memory(p->arena, p->err);
    return NULL;
}

static struct chat_node *new_node(struct parser *p, enum chat_node_kind kind) {
    struct chat_node *node = chat_alloc(p->arena, sizeof(*node));
    if (!node)
        return no_memory(p);
    node->kind = kind;
    node->line = p->at->line;
    return node;
}

static bool go_deeper(struct parser *p, uint32_t max_depth) {
    return ++p->depth <= max_depth && !rsr_is_below(p->stack_end);
}

static bool is_name(const struct parser *p, const char *name) {
    return p->at->kind == CHAT_NAME && chat_equals(p->at->text, name);
}

static bool is_operator(const struct parser *p, const char *op) {
    return p->at->kind == CHAT_OPERATOR && chat_equals(p->at->text, op);
}

static bool accept_name(struct parser *p, const char *name) {
    bool found = is_name(p, name);
    p->at += found;
    return found;
}

static bool accept_operator(struct parser *p, const char *op) {
    bool found = is_operator(p, op);
    p->at += found;
    return found;
}

static bool expect_operator(struct parser *p, const char *op) {
    if (accept_operator(p, op))
        return true;
    unexpected(p);
    return false;
}

static uint32_t depth_of(const struct chat_node *node) {
    return node ? node->depth : 0;
}

/* An expression of other ones, some of which may be NULL. It tracks the depth of the tree, because
 * evaluation recurses as deep. */
static struct chat_node *join(struct parser *p, enum chat_node_kind kind, struct chat_node *a,
                              struct chat_node *b, struct chat_node *c) {
    struct chat_node *node = p->status == RSR_OK ? new_node(p, kind) : NULL;
    if (!node)
        return NULL;
    uint32_t depth = depth_of(a) > depth_of(b) ? depth_of(a) : depth_of(b);
    node->a = a;
    node->b = b;
    node->c = c;
    node->depth = 1 + (depth > depth_of(c) ? depth : depth_of(c));
    if (node->depth > MAX_EXPRESSION_DEPTH)
        return refuse(p, "an expression nested too deeply", CHAT_STRING(""));
    return node;
}

static bool deepen(struct chat_node *node, const struct chat_node *child) {
    if (depth_of(child) + 1 > node->depth)
        node->depth = depth_of(child) + 1;
    return node->depth <= MAX_EXPRESSION_DEPTH;
}

/* ---- Primaries ------------------------------------------------------------------------------- */

/* Arguments or list elements up to the closing bracket, which is passed. */
static bool parse_arguments(struct parser *p, struct chat_node *owner, const char *close) {
    struct chat_node **tail = &owner->args;
    while (!accept_operator(p, close)) {
        struct chat_node *argument = new_node(p, CHAT_ARGUMENT);
        if (!argument)
            return false;
        if (p->at->kind == CHAT_NAME && p->at[1].kind == CHAT_OPERATOR &&
            chat_equals(p->at[1].text, "=")) {
            argument->text = p->at->text;
            p->at += 2;
        }
        argument->a = parse_expression(p);
        if (!argument->a)
            return false;
        if (!deepen(owner, argument->a)) {
            refuse(p, "an expression nested too deeply", CHAT_STRING(""));
            return false;
        }
        *tail = argument;
        tail = &argument->next;
        if (!is_operator(p, close) && !expect_operator(p, ","))
            return false;
    }
    return true;
}

/* Variables that Jinja defines for a macro that mentions them. */
static bool is_special_in_macros(struct chat_string name) {
    return chat_equals(name, "varargs") || chat_equals(name, "kwargs") ||
           chat_equals(name, "caller");
}

static struct chat_node *parse_name(struct parser *p) {
    static const struct {
        const char *name;
        enum chat_node_kind kind;
        int64_t value;
    } constants[] = {{"true", CHAT_LITERAL_BOOL, 1},  {"True", CHAT_LITERAL_BOOL, 1},
                     {"false", CHAT_LITERAL_BOOL, 0}, {"False", CHAT_LITERAL_BOOL, 0},
                     {"none", CHAT_LITERAL_NONE, 0},  {"None", CHAT_LITERAL_NONE, 0}};
    struct chat_node *node = join(p, CHAT_VARIABLE, NULL, NULL, NULL);
    if (!node)
        return NULL;
    node->text = p->at->text;
    if (p->in_macro && is_special_in_macros(node->text))
        return refuse(p, "a macro with a parameter that is not supported,", node->text);
    for (size_t i = 0; i < sizeof(constants) / sizeof(constants[0]); i++) {
        if (chat_equals(node->text, constants[i].name)) {
            node->kind = constants[i].kind;
            node->integer = constants[i].value;
        }
    }
    p->at++;
    return node;
}

/* Adjacent string literals are one. */
static struct chat_node *parse_string(struct parser *p) {
    struct chat_node *node = join(p, CHAT_LITERAL_STRING, NULL, NULL, NULL);
    if (!node)
        return NULL;
    node->text = p->at++->text;
    while (p->at->kind == CHAT_STRING_LITERAL) {
        struct chat_string more = p->at++->text;
        char *both = chat_alloc(p->arena, node->text.size + more.size + 1);
        if (!both)
            return no_memory(p);
        memcpy(both, node->text.data, node->text.size);
        memcpy(both + node->text.size, more.data, more.size);
        node->text = (struct chat_string){both, node->text.size + more.size, NULL};
    }
    return node;
}

static struct chat_node *parse_primary(struct parser *p) {
    struct chat_node *node;
    if (p->at->kind == CHAT_NAME)
        return parse_name(p);
    if (p->at->kind == CHAT_STRING_LITERAL)
        return parse_string(p);
    if (p->at->kind == CHAT_INTEGER) {
        node = join(p, CHAT_LITERAL_INTEGER, NULL, NULL, NULL);
        if (node)
            node->integer = p->at++->integer;
        return node;
    }
    if (p->at->kind == CHAT_FLOAT) {
        node = join(p, CHAT_LITERAL_FLOAT, NULL, NULL, NULL);
        if (node)
            node->number = p->at++->number;
        return node;
    }
    if (accept_operator(p, "(")) {
        node = parse_expression(p);
        if (node && is_operator(p, ","))
            return refuse(p, "a tuple, which is not supported,", CHAT_STRING(""));
        return node && expect_operator(p, ")") ? node : NULL;
    }
    if (accept_operator(p, "[")) {
        node = join(p, CHAT_LIST, NULL, NULL, NULL);
        return node && parse_arguments(p, node, "]") ? node : NULL;
    }
    if (is_operator(p, "{"))
        return refuse(p, "a dictionary, which is not supported,", CHAT_STRING(""));
    return unexpected(p);
}

/* ---- Postfix --------------------------------------------------------------------------------- */

/* After '[': an index or a slice. */
static struct chat_node *parse_subscript(struct parser *p, struct chat_node *base) {
    struct chat_node *parts[3] = {NULL, NULL, NULL};
    uint32_t n = 0, n_colons = 0;
    while (!accept_operator(p, "]")) {
        if (accept_operator(p, ":")) {
            if (++n_colons > 2)
                return unexpected(p);
            n = n_colons;
        } else if (!parts[n]) {
            parts[n] = parse_expression(p);
            if (!parts[n])
                return NULL;
        } else {
            return unexpected(p);
        }
    }
    if (n_colons == 0)
        return parts[0] ? join(p, CHAT_INDEX, base, parts[0], NULL) : unexpected(p);
    struct chat_node *slice = join(p, CHAT_SLICE, base, parts[0], parts[1]);
    if (slice && parts[2]) {
        slice->d = parts[2];
        if (!deepen(slice, parts[2]))
            return refuse(p, "an expression nested too deeply", CHAT_STRING(""));
    }
    return slice;
}

static struct chat_node *parse_postfix(struct parser *p, struct chat_node *node) {
    while (node) {
        if (accept_operator(p, ".")) {
            if (p->at->kind != CHAT_NAME)
                return unexpected(p);
            node = join(p, CHAT_ATTRIBUTE, node, NULL, NULL);
            if (node)
                node->text = p->at++->text;
        } else if (accept_operator(p, "[")) {
            node = parse_subscript(p, node);
        } else if (accept_operator(p, "(")) {
            node = join(p, CHAT_CALL, node, NULL, NULL);
            if (node && !parse_arguments(p, node, ")"))
                return NULL;
        } else {
            break;
        }
    }
    return node;
}

/* A test may take one argument without parentheses: x is equalto 3. */
static bool starts_bare_argument(const struct parser *p) {
    if (p->at->kind == CHAT_NAME)
        return !is_name(p, "else") && !is_name(p, "or") && !is_name(p, "and") &&
               !is_name(p, "if") && !is_name(p, "is") && !is_name(p, "in") && !is_name(p, "not");
    return p->at->kind == CHAT_STRING_LITERAL || p->at->kind == CHAT_INTEGER ||
           p->at->kind == CHAT_FLOAT || is_operator(p, "[");
}

static struct chat_node *parse_test(struct parser *p, struct chat_node *value) {
    bool negated = accept_name(p, "not");
    if (p->at->kind != CHAT_NAME)
        return unexpected(p);
    struct chat_node *test = join(p, CHAT_TEST, value, NULL, NULL);
    if (!test)
        return NULL;
    test->text = p->at++->text;
    if (accept_operator(p, "(")) {
        if (!parse_arguments(p, test, ")"))
            return NULL;
    } else if (starts_bare_argument(p)) {
        struct chat_node *argument = new_node(p, CHAT_ARGUMENT);
        struct chat_node *bare = argument ? parse_postfix(p, parse_primary(p)) : NULL;
        if (!bare)
            return NULL;
        argument->a = bare;
        test->args = argument;
        if (!deepen(test, bare))
            return refuse(p, "an expression nested too deeply", CHAT_STRING(""));
    }
    return negated ? join(p, CHAT_NOT, test, NULL, NULL) : test;
}

static struct chat_node *parse_filters(struct parser *p, struct chat_node *node) {
    while (node) {
        if (accept_operator(p, "|")) {
            if (p->at->kind != CHAT_NAME)
                return unexpected(p);
            node = join(p, CHAT_FILTER, node, NULL, NULL);
            if (!node)
                return NULL;
            node->text = p->at++->text;
            if (accept_operator(p, "(") && !parse_arguments(p, node, ")"))
                return NULL;
        } else if (accept_name(p, "is")) {
            node = parse_test(p, node);
        } else {
            break;
        }
    }
    return node;
}

/* ---- Operators ------------------------------------------------------------------------------- */

static struct chat_node *parse_unary_inside(struct parser *p, bool with_filter) {
    struct chat_node *node;
    if (accept_operator(p, "-"))
        node = join(p, CHAT_NEGATE, parse_unary(p, false), NULL, NULL);
    else
        node = parse_primary(p);
    node = parse_postfix(p, node);
    return with_filter ? parse_filters(p, node) : node;
}

static struct chat_node *parse_unary(struct parser *p, bool with_filter) {
    if (!go_deeper(p, MAX_EXPRESSION_DEPTH))
        return refuse(p, "an expression nested too deeply", CHAT_STRING(""));
    struct chat_node *node = parse_unary_inside(p, with_filter);
    p->depth--;
    return node;
}

/* Left-associative binary operators, loosest first. */
static const char *const levels[][5] = {{"+", "-"}, {"~"}, {"*", "/", "//", "%"}, {"**"}};
#define N_LEVELS (sizeof(levels) / sizeof(levels[0]))

static struct chat_node *parse_binary(struct parser *p, size_t level) {
    if (level == N_LEVELS)
        return parse_unary(p, true);
    struct chat_node *node = parse_binary(p, level + 1);
    while (node) {
        size_t i = 0;
        while (levels[level][i] && !is_operator(p, levels[level][i]))
            i++;
        if (!levels[level][i])
            break;
        struct chat_string op = p->at++->text;
        struct chat_node *right = parse_binary(p, level + 1);
        node = right ? join(p, CHAT_BINARY, node, right, NULL) : NULL;
        if (node)
            node->text = op;
    }
    return node;
}

/* Takes the comparison operator that is next; empty: there is none. */
static struct chat_string accept_comparison(struct parser *p) {
    static const char *const comparisons[] = {"==", "!=", "<", "<=", ">", ">="};
    for (size_t i = 0; i < sizeof(comparisons) / sizeof(comparisons[0]); i++)
        if (is_operator(p, comparisons[i]))
            return p->at++->text;
    if (is_name(p, "in"))
        return p->at++->text;
    if (is_name(p, "not") && p->at[1].kind == CHAT_NAME && chat_equals(p->at[1].text, "in")) {
        p->at += 2;
        return CHAT_STRING("not in");
    }
    return CHAT_STRING("");
}

/* a < b < c means a < b and b < c. */
static struct chat_node *parse_comparison(struct parser *p) {
    struct chat_node *left = parse_binary(p, 0), *all = NULL;
    while (left) {
        struct chat_string op = accept_comparison(p);
        if (op.size == 0)
            return all ? all : left;
        struct chat_node *right = parse_binary(p, 0);
        struct chat_node *one = right ? join(p, CHAT_COMPARE, left, right, NULL) : NULL;
        if (!one)
            return NULL;
        one->text = op;
        all = all ? join(p, CHAT_AND, all, one, NULL) : one;
        left = all ? right : NULL;
    }
    return NULL;
}

static struct chat_node *parse_not(struct parser *p) {
    uint32_t n = 0;
    while (accept_name(p, "not"))
        n++;
    struct chat_node *node = parse_comparison(p);
    for (; node && n > 0; n--)
        node = join(p, CHAT_NOT, node, NULL, NULL);
    return node;
}

static struct chat_node *parse_and(struct parser *p) {
    struct chat_node *node = parse_not(p);
    while (node && accept_name(p, "and")) {
        struct chat_node *right = parse_not(p);
        node = right ? join(p, CHAT_AND, node, right, NULL) : NULL;
    }
    return node;
}

static struct chat_node *parse_or(struct parser *p) {
    struct chat_node *node = parse_and(p);
    while (node && accept_name(p, "or")) {
        struct chat_node *right = parse_and(p);
        node = right ? join(p, CHAT_OR, node, right, NULL) : NULL;
    }
    return node;
}

static struct chat_node *parse_expression(struct parser *p) {
    if (!go_deeper(p, MAX_EXPRESSION_DEPTH))
        return refuse(p, "an expression nested too deeply", CHAT_STRING(""));
    struct chat_node *node = parse_or(p);
    while (node && accept_name(p, "if")) {
        struct chat_node *condition = parse_or(p), *otherwise = NULL;
        if (!condition)
            return NULL;
        bool has_else = accept_name(p, "else");
        if (has_else && !(otherwise = parse_expression(p)))
            return NULL;
        node = join(p, CHAT_CONDITION, condition, node, otherwise);
        if (has_else)
            break;
    }
    p->depth--;
    return node;
}

/* ---- Statements ------------------------------------------------------------------------------ */

static bool parse_body(struct parser *p, struct chat_node **first, const char *const *ends);

/* Expects the end of a tag whose {% has been read. */
static bool expect_block_end(struct parser *p) {
    if (p->at->kind == CHAT_BLOCK_END) {
        p->at++;
        return true;
    }
    unexpected(p);
    return false;
}

/* Whether {% and this name are next. */
static bool at_block(const struct parser *p, const char *name) {
    return p->at->kind == CHAT_BLOCK_BEGIN && p->at[1].kind == CHAT_NAME &&
           chat_equals(p->at[1].text, name);
}

static bool end_block(struct parser *p, const char *name) {
    if (!at_block(p, name)) {
        refuse(p, "a block without its", (struct chat_string){name, strlen(name), NULL});
        return false;
    }
    p->at += 2;
    return expect_block_end(p);
}

/* Parses what follows "if" or "elif". */
static struct chat_node *parse_if(struct parser *p) {
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    static const char *const else_ends[] = {"endif", NULL};
    struct chat_node *first = NULL, **tail = &first;
    for (;;) {
        struct chat_node *node = new_node(p, CHAT_IF);
        if (!node || !(node->a = parse_expression(p)) || !expect_block_end(p) ||
            !parse_body(p, &node->b, ends))
            return NULL;
        *tail = node;
        tail = &node->c;
        if (!at_block(p, "elif"))
            break;
        p->at += 2;
    }
    if (at_block(p, "else")) {
        p->at += 2;
        if (!expect_block_end(p) || !parse_body(p, tail, else_ends))
            return NULL;
    }
    return end_block(p, "endif") ? first : NULL;
}

static struct chat_node *parse_for(struct parser *p) {
    static const char *const ends[] = {"else", "endfor", NULL};
    static const char *const else_ends[] = {"endfor", NULL};
    struct chat_node *node = new_node(p, CHAT_FOR);
    if (!node || p->at->kind != CHAT_NAME)
        return unexpected(p);
    node->text = p->at++->text;
    if (accept_operator(p, ",")) { /* refused if it is reached */
        if (p->at->kind != CHAT_NAME)
            return unexpected(p);
        node->attribute = p->at++->text;
    }
    if (!accept_name(p, "in"))
        return unexpected(p);
    if (!(node->a = parse_or(p)) || (accept_name(p, "if") && !(node->d = parse_expression(p))))
        return NULL;
    if (is_name(p, "recursive"))
        return refuse(p, "a recursive loop, which is not supported,", CHAT_STRING(""));
    p->n_loops++;
    p->n_scopes++;
    bool ok = expect_block_end(p) && parse_body(p, &node->b, ends);
    p->n_loops--;
    p->n_scopes--;
    if (ok && at_block(p, "else")) {
        p->at += 2;
        ok = expect_block_end(p) && parse_body(p, &node->c, else_ends);
    }
    return ok && end_block(p, "endfor") ? node : NULL;
}

static struct chat_node *parse_set(struct parser *p) {
    struct chat_node *node = new_node(p, CHAT_SET);
    if (!node || p->at->kind != CHAT_NAME)
        return unexpected(p);
    node->text = p->at++->text;
    if (accept_operator(p, ".")) {
        if (p->at->kind != CHAT_NAME)
            return unexpected(p);
        node->attribute = p->at++->text;
    }
    if (p->at->kind == CHAT_BLOCK_END)
        return refuse(p, "a block assignment, which is not supported,", CHAT_STRING(""));
    if (!expect_operator(p, "=") || !(node->a = parse_expression(p)))
        return NULL;
    return expect_block_end(p) ? node : NULL;
}

/* Parses (x, y=z) of a macro. */
static bool parse_parameters(struct parser *p, struct chat_node *macro) {
    struct chat_node **tail = &macro->args;
    bool had_default = false;
    if (!expect_operator(p, "("))
        return false;
    while (!accept_operator(p, ")")) {
        if (macro->args && !expect_operator(p, ","))
            return false;
        struct chat_node *parameter = p->at->kind == CHAT_NAME ? parse_name(p) : unexpected(p);
        if (!parameter)
            return false;
        bool repeated = parameter->kind != CHAT_VARIABLE; /* true is no name */
        for (const struct chat_node *other = macro->args; other; other = other->next)
            repeated = repeated || chat_same(other->text, parameter->text);
        if (repeated || (had_default && !is_operator(p, "="))) {
            refuse(p, "an impossible parameter of a macro,", parameter->text);
            return false;
        }
        parameter->kind = CHAT_ARGUMENT;
        if (accept_operator(p, "=") && !(parameter->a = parse_expression(p)))
            return false;
        had_default = parameter->a != NULL;
        *tail = parameter;
        tail = &parameter->next;
    }
    return true;
}

/* Parses a block that Jinja treats like a function's body: variables that are set inside stay
 * inside. */
static bool parse_scope(struct parser *p, struct chat_node *node, const char *end) {
    const char *const ends[] = {end, NULL};
    uint32_t n_loops = p->n_loops;
    p->n_loops = 0;
    p->n_scopes++;
    bool ok = expect_block_end(p) && parse_body(p, &node->b, ends);
    p->n_loops = n_loops;
    p->n_scopes--;
    return ok && end_block(p, end);
}

/* Macros see only variables that are set outside of all loops, macros and generations, so they must
 * be defined there. */
static struct chat_node *parse_macro(struct parser *p) {
    if (p->n_scopes > 0)
        return refuse(p, "a macro inside a loop, macro or generation, which is not supported,",
                      CHAT_STRING(""));
    struct chat_node *node = new_node(p, CHAT_MACRO);
    if (!node || p->at->kind != CHAT_NAME)
        return unexpected(p);
    node->text = p->at++->text;
    p->in_macro = true;
    bool ok = parse_parameters(p, node) && parse_scope(p, node, "endmacro");
    p->in_macro = false;
    return ok ? node : NULL;
}

static struct chat_node *parse_generation(struct parser *p) {
    struct chat_node *node = new_node(p, CHAT_GENERATION);
    return node && parse_scope(p, node, "endgeneration") ? node : NULL;
}

static struct chat_node *parse_jump(struct parser *p, enum chat_node_kind kind) {
    if (p->n_loops == 0)
        return unexpected(p);
    struct chat_node *node = new_node(p, kind);
    return node && expect_block_end(p) ? node : NULL;
}

static struct chat_node *parse_statement(struct parser *p) {
    struct chat_node *node = NULL;
    if (p->at->kind == CHAT_DATA) {
        node = new_node(p, CHAT_TEXT);
        if (node)
            node->text = p->at++->text;
        return node;
    }
    if (p->at->kind == CHAT_OUTPUT_BEGIN) {
        p->at++;
        node = new_node(p, CHAT_OUTPUT);
        if (!node || !(node->a = parse_expression(p)))
            return NULL;
        if (p->at->kind != CHAT_OUTPUT_END)
            return unexpected(p);
        p->at++;
        return node;
    }
    p->at++; /* {% */
    if (accept_name(p, "if"))
        return parse_if(p);
    if (accept_name(p, "for"))
        return parse_for(p);
    if (accept_name(p, "set"))
        return parse_set(p);
    if (accept_name(p, "macro"))
        return parse_macro(p);
    if (accept_name(p, "generation"))
        return parse_generation(p);
    if (accept_name(p, "break"))
        return parse_jump(p, CHAT_BREAK);
    if (accept_name(p, "continue"))
        return parse_jump(p, CHAT_CONTINUE);
    if (p->at->kind == CHAT_NAME)
        return refuse(p, "a statement that is not supported,", p->at->text);
    return unexpected(p);
}

/* Parses statements up to a block of one of `ends`, which it does not take, or up to the end of the
 * source. */
static bool parse_body(struct parser *p, struct chat_node **first, const char *const *ends) {
    if (!go_deeper(p, MAX_STATEMENT_DEPTH)) {
        refuse(p, "statements nested too deeply", CHAT_STRING(""));
        return false;
    }
    while (p->at->kind != CHAT_END) {
        for (const char *const *end = ends; *end; end++) {
            if (at_block(p, *end)) {
                p->depth--;
                return true;
            }
        }
        *first = parse_statement(p);
        if (!*first)
            return false;
        first = &(*first)->next;
    }
    p->depth--;
    return true;
}

rsr_status rsr_chat_template_parse(const char *source, size_t n_bytes,
                                   struct rsr_chat_template **chat, rsr_error *err) {
    if (n_bytes > MAX_SOURCE_BYTES)
        return rsr_fail(err, RSR_ERR_TEXT,
                        "the chat template has %zu bytes; at most %u are supported", n_bytes,
                        MAX_SOURCE_BYTES);
    if (!rsr_utf8_is_valid(source, n_bytes))
        return rsr_fail(err, RSR_ERR_TEXT, "the chat template is not UTF-8");
    struct rsr_chat_template *created = calloc(1, sizeof(*created));
    if (!created)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for the chat template");
    static const char *const no_ends[] = {NULL};
    created->arena.limit = MAX_TREE_BYTES;
    struct chat_token *tokens = NULL;
    const locale_t locale = rsr_enter_c_locale();
    rsr_status status =
        chat_lex(&created->arena, (struct chat_string){source, n_bytes, NULL}, &tokens, err);
    rsr_leave_c_locale(locale);
    if (status == RSR_OK) {
        struct parser p = {.arena = &created->arena,
                           .at = tokens,
                           .stack_end = rsr_stack_end(STACK_RESERVE),
                           .err = err};
        parse_body(&p, &created->body, no_ends);
        status = p.status;
    }
    if (status != RSR_OK) {
        rsr_chat_template_destroy(created);
        return status;
    }
    *chat = created;
    return RSR_OK;
}

void rsr_chat_template_destroy(struct rsr_chat_template *chat) {
    if (!chat)
        return;
    chat_arena_free(&chat->arena);
    free(chat);
}
