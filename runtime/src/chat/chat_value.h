/* chat_value.h - values of a chat template while it is rendered, and the functions on them. */
#ifndef RSR_CHAT_VALUE_H
#define RSR_CHAT_VALUE_H

#include "chat_ast.h"

enum chat_value_kind {
    CHAT_VALUE_UNDEFINED,
    CHAT_VALUE_NONE,
    CHAT_VALUE_BOOL, /* integer */
    CHAT_VALUE_INTEGER,
    CHAT_VALUE_FLOAT, /* number; always finite */
    CHAT_VALUE_STRING,
    CHAT_VALUE_LIST,      /* integer: how deep lists nest inside */
    CHAT_VALUE_GENERATOR, /* result of select and map: items that can be iterated once */
    CHAT_VALUE_MAPPING,   /* integer: as of a list */
    CHAT_VALUE_NAMESPACE,
    CHAT_VALUE_LOOP,
    CHAT_VALUE_MACRO
};

struct chat_value {
    enum chat_value_kind kind;
    int64_t integer;
    double number;
    struct chat_string string;
    const struct chat_value
        *items; /* LIST, GENERATOR: n_items; MAPPING: a key and its value each */
    size_t n_items;
    uint64_t weight; /* LIST, MAPPING: number of all values inside, shared ones counted every
                        time */
    bool *spent;     /* GENERATOR: whether it was iterated; shared by its copies */
    struct chat_variable **names; /* NAMESPACE: the head of its list */
    const struct chat_loop *loop;
    const struct chat_node *macro;
};

struct chat_variable {
    struct chat_string name;
    struct chat_value value;
    struct chat_variable *next;
};

struct chat_loop {
    struct chat_value list;
    size_t index;
};

/* Limits, because comparing and printing recurse and visit a shared list every time. */
#define CHAT_MAX_LIST_DEPTH 64
#define CHAT_MAX_LIST_WEIGHT (1u << 20)

#define CHAT_MAX_CALLS 64u
#define CHAT_MAX_STEPS 10000000u
#define CHAT_BYTES_PER_STEP 64u

/* One rendering. The first problem sets the status; everything then returns quickly. */
struct chat_render {
    struct chat_arena arena;
    struct rsr_chat_text *out;
    bool *raised;
    struct chat_variable *variables; /* innermost first */
    struct chat_variable *scope;     /* variables from here on belong to outer scopes */
    struct chat_variable *outermost; /* what macros see; set while an inner scope is entered */
    const char *stack_end;           /* frames below are too deep */
    uint32_t n_calls;                /* depth of nested macro calls */
    uint64_t n_steps;
    rsr_status status;
    rsr_error *err;
};

/* An argument list, evaluated. */
#define CHAT_MAX_ARGUMENTS 8u
struct chat_arguments {
    struct chat_string keywords[CHAT_MAX_ARGUMENTS]; /* empty: positional */
    struct chat_value values[CHAT_MAX_ARGUMENTS];
    uint32_t n;
};

/* Both report "the chat template ... in line N" and return an undefined value. */
struct chat_value chat_refuse(struct chat_render *r, uint32_t line, const char *what,
                              struct chat_string name);
struct chat_value chat_no_memory(struct chat_render *r);

/* Counts n steps; false once there are too many, or after another problem. */
bool chat_count_steps(struct chat_render *r, uint32_t line, uint64_t n);
/* Counts the steps that an operation on the whole value may take. */
void chat_charge(struct chat_render *r, uint32_t line, const struct chat_value *v);

struct chat_value chat_integer(int64_t value);
struct chat_value chat_float(double value);
struct chat_value chat_bool(bool value);
struct chat_value chat_text(struct chat_string text);
/* Makes a list of n zeroed values for the caller to fill. NULL: the status is set. */
struct chat_value *chat_new_list(struct chat_render *r, size_t n, struct chat_value *list);
/* Makes a mapping of n zeroed pairs of key and value for the caller to fill. NULL: the status is
 * set. */
struct chat_value *chat_new_mapping(struct chat_render *r, size_t n, struct chat_value *mapping);
/* Completes a list or mapping that has been filled: measures it, and refuses one that is too deep
 * or has too many values. */
struct chat_value chat_close_list(struct chat_render *r, uint32_t line, struct chat_value list);

bool chat_is_true(const struct chat_value *value);
bool chat_values_equal(struct chat_render *r, uint32_t line, const struct chat_value *a,
                       const struct chat_value *b);
/* The value as it is printed; lists and the like are refused. */
struct chat_string chat_to_string(struct chat_render *r, uint32_t line, const struct chat_value *v);
struct chat_value chat_concatenate(struct chat_render *r, struct chat_string a,
                                   struct chat_string b);
/* Adds to a text that grows; false without memory. */
bool chat_put(struct rsr_chat_text *text, struct chat_string part);
/* Adds marks 0 until there are as many as bytes; false: no memory. */
bool chat_pad_marks(struct rsr_chat_text *text);
/* Copies the text after the first `begin` bytes to a new value. */
struct chat_value chat_copy(struct chat_render *r, struct rsr_chat_text *text, size_t begin);
/* Makes a value of the whole text and frees the text; `ok` false: there was no memory. */
struct chat_value chat_finish(struct chat_render *r, struct rsr_chat_text *text, bool ok);
size_t chat_length(struct chat_string text); /* in characters */
/* Byte offset of a character. */
size_t chat_offset(struct chat_string text, size_t index);
/* The value of a key, or NULL. */
const struct chat_value *chat_look_up(const struct chat_value *mapping, struct chat_string key);
/* Whether Python's dict has a method of this name. Jinja finds the method before an attribute, and
 * for a missing key. */
bool chat_is_method_of_mapping(struct chat_string name);
/* The value of a[key] for a string as key; a missing one is undefined. */
struct chat_value chat_item(struct chat_render *r, uint32_t line, const struct chat_value *of,
                            struct chat_string key);
/* The characters of a string, the keys of a mapping, or the items of a list or generator. */
struct chat_value chat_as_list(struct chat_render *r, uint32_t line, const struct chat_value *v);
bool chat_contains(struct chat_string text, struct chat_string part, size_t *at);

/* ---- chat_number.c: integers, floats and booleans, which are 0 and 1 ------------------------- */

bool chat_is_number(const struct chat_value *v);
double chat_as_double(const struct chat_value *number);
/* Rounds a number towards 0; false: the result is no int64. */
bool chat_as_integer(const struct chat_value *number, int64_t *out);
int chat_order_numbers(const struct chat_value *a, const struct chat_value *b);
/* a op b as Python computes it. False: Python raises, or the result is no int64 or not finite. */
bool chat_calculate(struct chat_string op, const struct chat_value *a, const struct chat_value *b,
                    struct chat_value *result);
/* Python's repr: the shortest digits that read back as this number. */
#define CHAT_FLOAT_BYTES 32
void chat_print_float(double number, char out[CHAT_FLOAT_BYTES]);

/* ---- chat_format.c --------------------------------------------------------------------------- */

/* format % arguments */
struct chat_value chat_format_percent(struct chat_render *r, uint32_t line,
                                      struct chat_string format,
                                      const struct chat_arguments *arguments);
/* format.format(arguments) */
struct chat_value chat_format_braces(struct chat_render *r, uint32_t line,
                                     struct chat_string format,
                                     const struct chat_arguments *arguments);

/* Looks up by name; an unknown name is refused. */
struct chat_value chat_apply_filter(struct chat_render *r, const struct chat_node *node,
                                    const struct chat_value *value,
                                    const struct chat_arguments *arguments);
struct chat_value chat_apply_test(struct chat_render *r, const struct chat_node *node,
                                  const struct chat_value *value,
                                  const struct chat_arguments *arguments);
/* Calls a method of a string. */
struct chat_value chat_call_method(struct chat_render *r, uint32_t line, struct chat_string name,
                                   const struct chat_value *value,
                                   const struct chat_arguments *arguments);

#endif
