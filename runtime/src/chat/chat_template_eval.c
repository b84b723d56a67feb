/* chat_template_eval.c - renders a parsed chat template.
 *
 * What templates see is in chat_conversation.c, functions are in chat_template_call.c. strftime_now
 * is not defined: the library reads no clock for text, and templates fall back on a fixed date.
 */
#include <stdlib.h>
#include <string.h>

#include "chat_eval.h"
#include "host/c_locale.h"
#include "host/stack.h"

#define MAX_BYTES ((size_t)256 << 20) /* of working memory, and again of output */
#define MAX_STEP 100000               /* of a slice */

/* Stack kept free for the innermost calls of a rendering; printing a number needs the most. */
#define STACK_RESERVE ((size_t)16 << 10)

/* Keeps a function's large locals out of the frames of its caller, which recurses. */
#define LARGE_FRAME __attribute__((noinline))

enum flow { FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE };

struct chat_value chat_refuse_types(struct chat_render *r, const struct chat_node *node) {
    return chat_refuse(r, node->line, "applies to values of the wrong type", node->text);
}

/* ---- Variables ------------------------------------------------------------------------------- */

struct chat_variable *chat_find(struct chat_variable *from, const struct chat_variable *to,
                                struct chat_string name) {
    for (; from != to; from = from->next)
        if (chat_same(from->name, name))
            return from;
    return NULL;
}

void chat_define(struct chat_render *r, struct chat_variable **head, struct chat_string name,
                 struct chat_value value) {
    struct chat_variable *variable = chat_alloc(&r->arena, sizeof(*variable));
    if (!variable) {
        chat_no_memory(r);
        return;
    }
    *variable = (struct chat_variable){name, value, *head};
    *head = variable;
}

struct chat_scope chat_enter_scope(struct chat_render *r) {
    struct chat_scope before = {r->variables, r->scope};
    if (!r->scope)
        r->outermost = r->variables;
    r->scope = r->variables;
    return before;
}

void chat_leave_scope(struct chat_render *r, struct chat_scope before) {
    r->variables = before.variables;
    r->scope = before.scope;
}

/* {% set %} changes the variable of this scope, or makes one. */
static void assign(struct chat_render *r, struct chat_string name, struct chat_value value) {
    struct chat_variable *variable = chat_find(r->variables, r->scope, name);
    if (variable)
        variable->value = value;
    else
        chat_define(r, &r->variables, name, value);
}

/* ---- Attributes and items -------------------------------------------------------------------- */

static struct chat_value loop_attribute(struct chat_render *r, uint32_t line,
                                        const struct chat_loop *loop, struct chat_string name) {
    int64_t index = (int64_t)loop->index, n = (int64_t)loop->list.n_items;
    const struct {
        const char *name;
        struct chat_value value;
    } attributes[] = {
        {"index", chat_integer(index + 1)},
        {"index0", chat_integer(index)},
        {"revindex", chat_integer(n - index)},
        {"revindex0", chat_integer(n - index - 1)},
        {"first", chat_bool(index == 0)},
        {"last", chat_bool(index + 1 == n)},
        {"length", chat_integer(n)},
        {"depth", chat_integer(1)}, /* constant, because recursive loops are not supported */
        {"depth0", chat_integer(0)},
        {"previtem",
         index > 0 && index <= n ? loop->list.items[index - 1] : (struct chat_value){0}},
        {"nextitem", index + 1 < n ? loop->list.items[index + 1] : (struct chat_value){0}},
    };
    for (size_t i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++)
        if (chat_equals(name, attributes[i].name))
            return attributes[i].value;
    return chat_refuse(r, line, "uses the unsupported loop attribute", name);
}

struct chat_value chat_item(struct chat_render *r, uint32_t line, const struct chat_value *of,
                            struct chat_string name) {
    const struct chat_variable *variable;
    const struct chat_value *found;
    switch (of->kind) {
    case CHAT_VALUE_MAPPING:
        chat_count_steps(r, line, of->n_items / CHAT_BYTES_PER_STEP);
        found = chat_look_up(of, name);
        if (!found && chat_is_method_of_mapping(name))
            break;
        return found ? *found : (struct chat_value){0};
    case CHAT_VALUE_NAMESPACE:
        variable = chat_find(*of->names, NULL, name);
        return variable ? variable->value : (struct chat_value){0};
    case CHAT_VALUE_LOOP:
        return loop_attribute(r, line, of->loop, name);
    case CHAT_VALUE_UNDEFINED:
        return chat_refuse(r, line, "takes an undefined value's attribute", name);
    case CHAT_VALUE_MACRO:
        return chat_refuse(r, line, "takes a macro's attribute", name);
    case CHAT_VALUE_NONE:
    case CHAT_VALUE_BOOL:
    case CHAT_VALUE_INTEGER:
    case CHAT_VALUE_FLOAT:
    case CHAT_VALUE_STRING:
    case CHAT_VALUE_LIST:
    case CHAT_VALUE_GENERATOR:
        return (struct chat_value){0};
    }
    return chat_refuse(r, line, "takes for a value the method", name);
}

/* a.name; of a mapping that has a method of this name, the method. */
static struct chat_value attribute(struct chat_render *r, const struct chat_node *node) {
    const struct chat_value of = chat_evaluate(r, node->a);
    if (of.kind == CHAT_VALUE_MAPPING && chat_is_method_of_mapping(node->text))
        return chat_refuse(r, node->line, "takes for a value the method", node->text);
    return chat_item(r, node->line, &of, node->text);
}

/* a[key]; a missing item is undefined. */
LARGE_FRAME static struct chat_value item(struct chat_render *r, const struct chat_node *node,
                                          const struct chat_value *of,
                                          const struct chat_value *key) {
    if (key->kind == CHAT_VALUE_STRING)
        return chat_item(r, node->line, of, key->string);
    bool indexable = of->kind == CHAT_VALUE_LIST || of->kind == CHAT_VALUE_STRING;
    if (key->kind != CHAT_VALUE_INTEGER || !indexable)
        return chat_refuse(r, node->line, "indexes a value that has no such index",
                           CHAT_STRING(""));
    bool is_text = of->kind == CHAT_VALUE_STRING;
    chat_charge(r, node->line, of);
    int64_t n = (int64_t)(is_text ? chat_length(of->string) : of->n_items);
    int64_t index = key->integer < 0 ? key->integer + n : key->integer;
    if (index < 0 || index >= n)
        return (struct chat_value){0};
    if (!is_text)
        return of->items[index];
    size_t at = chat_offset(of->string, (size_t)index);
    const struct chat_string rest = chat_behind(of->string, at);
    return chat_text(chat_part(rest, 0, chat_offset(rest, 1)));
}

/* A bound of a slice, as Python clamps it. */
static bool slice_bound(struct chat_render *r, const struct chat_node *bound, int64_t n,
                        int64_t low, int64_t high, int64_t fallback, int64_t *out) {
    struct chat_value v = {.kind = CHAT_VALUE_NONE};
    if (bound)
        v = chat_evaluate(r, bound);
    if (v.kind != CHAT_VALUE_INTEGER && v.kind != CHAT_VALUE_NONE)
        return false;
    int64_t i = v.integer < 0 ? v.integer + n : v.integer;
    *out = v.kind == CHAT_VALUE_NONE ? fallback : i < low ? low : i > high ? high : i;
    return true;
}

LARGE_FRAME static struct chat_value slice(struct chat_render *r, const struct chat_node *node) {
    struct chat_value of = chat_evaluate(r, node->a), step = chat_integer(1), list = {0};
    bool is_text = of.kind == CHAT_VALUE_STRING;
    chat_charge(r, node->line, &of);
    if (node->d)
        step = chat_evaluate(r, node->d);
    bool step_ok = step.kind == CHAT_VALUE_INTEGER && step.integer != 0 &&
                   step.integer > -MAX_STEP && step.integer < MAX_STEP;
    if ((!is_text && of.kind != CHAT_VALUE_LIST) || !step_ok)
        return chat_refuse(r, node->line, "slices a value that cannot be sliced so",
                           CHAT_STRING(""));
    struct chat_value all = chat_as_list(r, node->line, &of);
    int64_t n = (int64_t)all.n_items, down = step.integer < 0, begin, end;
    if (!slice_bound(r, node->b, n, down ? -1 : 0, down ? n - 1 : n, down ? n - 1 : 0, &begin) ||
        !slice_bound(r, node->c, n, down ? -1 : 0, down ? n - 1 : n, down ? -1 : n, &end))
        return chat_refuse(r, node->line, "slices by a value that is not an integer",
                           CHAT_STRING(""));
    struct chat_value *items = chat_new_list(r, all.n_items, &list);
    struct rsr_chat_text text = {{0}, {0}};
    size_t n_items = 0;
    for (int64_t i = begin; items && (down ? i > end : i < end); i += step.integer)
        items[n_items++] = all.items[i];
    list.n_items = n_items;
    if (!is_text || !items)
        return chat_close_list(r, node->line, list);
    bool ok = true;
    for (size_t i = 0; ok && i < n_items; i++)
        ok = chat_put(&text, items[i].string);
    return chat_finish(r, &text, ok);
}

/* ---- Operators ------------------------------------------------------------------------------- */

static struct chat_value add_lists(struct chat_render *r, const struct chat_node *node,
                                   const struct chat_value *a, const struct chat_value *b) {
    struct chat_value list = {0};
    struct chat_value *items = chat_new_list(r, a->n_items + b->n_items, &list);
    for (size_t i = 0; items && i < list.n_items; i++)
        items[i] = i < a->n_items ? a->items[i] : b->items[i - a->n_items];
    return chat_close_list(r, node->line, list);
}

LARGE_FRAME static struct chat_value format_one(struct chat_render *r, uint32_t line,
                                                struct chat_string format,
                                                const struct chat_value *value) {
    return chat_format_percent(r, line, format,
                               &(struct chat_arguments){.values = {*value}, .n = 1});
}

LARGE_FRAME static struct chat_value binary(struct chat_render *r, const struct chat_node *node) {
    struct chat_value a = chat_evaluate(r, node->a), b = chat_evaluate(r, node->b);
    chat_charge(r, node->line, &a);
    chat_charge(r, node->line, &b);
    char op = node->text.data[0];
    if (op == '~') {
        struct chat_string left = chat_to_string(r, node->line, &a);
        return chat_concatenate(r, left, chat_to_string(r, node->line, &b));
    }
    if (op == '+' && a.kind == CHAT_VALUE_STRING && b.kind == CHAT_VALUE_STRING)
        return chat_concatenate(r, a.string, b.string);
    if (op == '+' && a.kind == CHAT_VALUE_LIST && b.kind == CHAT_VALUE_LIST)
        return add_lists(r, node, &a, &b);
    if (op == '%' && a.kind == CHAT_VALUE_STRING)
        return format_one(r, node->line, a.string, &b);
    struct chat_value result;
    if (!chat_is_number(&a) || !chat_is_number(&b) || !chat_calculate(node->text, &a, &b, &result))
        return chat_refuse_types(r, node);
    return result;
}

static int compare_strings(struct chat_string a, struct chat_string b) {
    int order = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

static bool is_inside(struct chat_render *r, const struct chat_node *node,
                      const struct chat_value *part, const struct chat_value *whole) {
    size_t at;
    if (whole->kind == CHAT_VALUE_STRING && part->kind == CHAT_VALUE_STRING)
        return chat_contains(whole->string, part->string, &at);
    if (whole->kind == CHAT_VALUE_MAPPING && part->kind == CHAT_VALUE_STRING)
        return chat_look_up(whole, part->string) != NULL;
    if (whole->kind == CHAT_VALUE_LIST) {
        for (size_t i = 0; i < whole->n_items; i++)
            if (chat_values_equal(r, node->line, &whole->items[i], part))
                return true;
        return false;
    }
    if (whole->kind != CHAT_VALUE_UNDEFINED)
        chat_refuse_types(r, node);
    return false;
}

LARGE_FRAME static struct chat_value compare(struct chat_render *r, const struct chat_node *node) {
    struct chat_value a = chat_evaluate(r, node->a), b = chat_evaluate(r, node->b);
    chat_charge(r, node->line, &a);
    chat_charge(r, node->line, &b);
    struct chat_string op = node->text;
    if (chat_equals(op, "=="))
        return chat_bool(chat_values_equal(r, node->line, &a, &b));
    if (chat_equals(op, "!="))
        return chat_bool(!chat_values_equal(r, node->line, &a, &b));
    if (chat_equals(op, "in"))
        return chat_bool(is_inside(r, node, &a, &b));
    if (chat_equals(op, "not in"))
        return chat_bool(!is_inside(r, node, &a, &b));
    int order;
    if (chat_is_number(&a) && chat_is_number(&b))
        order = chat_order_numbers(&a, &b);
    else if (a.kind == CHAT_VALUE_STRING && b.kind == CHAT_VALUE_STRING)
        order = compare_strings(a.string, b.string);
    else
        return chat_refuse_types(r, node);
    bool or_equal = op.size == 2;
    return chat_bool((or_equal && order == 0) || (op.data[0] == '<' ? order < 0 : order > 0));
}

/* ---- Expressions ----------------------------------------------------------------------------- */

LARGE_FRAME static struct chat_value make_list(struct chat_render *r,
                                               const struct chat_node *node) {
    size_t n = 0;
    for (const struct chat_node *a = node->args; a; a = a->next)
        n++;
    struct chat_value list = {0};
    struct chat_value *items = chat_new_list(r, n, &list);
    const struct chat_node *a = node->args;
    for (size_t i = 0; items && i < n; i++, a = a->next)
        items[i] = chat_evaluate(r, a->a);
    return chat_close_list(r, node->line, list);
}

static struct chat_value variable(struct chat_render *r, const struct chat_node *node) {
    const struct chat_variable *found = chat_find(r->variables, NULL, node->text);
    return found ? found->value : (struct chat_value){0};
}

static struct chat_value negate(struct chat_render *r, const struct chat_node *node) {
    struct chat_value v = chat_evaluate(r, node->a), zero = chat_integer(0), result;
    if (v.kind == CHAT_VALUE_FLOAT)
        return chat_float(-v.number);
    if (!chat_is_number(&v) || !chat_calculate(CHAT_STRING("-"), &zero, &v, &result))
        return chat_refuse_types(r, node);
    return result;
}

LARGE_FRAME static struct chat_value filter_or_test(struct chat_render *r,
                                                    const struct chat_node *node) {
    struct chat_arguments arguments;
    struct chat_value v = chat_evaluate(r, node->a);
    chat_charge(r, node->line, &v);
    if (!chat_evaluate_arguments(r, node, &arguments))
        return (struct chat_value){0};
    return node->kind == CHAT_FILTER ? chat_apply_filter(r, node, &v, &arguments)
                                     : chat_apply_test(r, node, &v, &arguments);
}

static struct chat_value evaluate_kind(struct chat_render *r, const struct chat_node *node) {
    struct chat_value v, key;
    switch (node->kind) {
    case CHAT_LITERAL_STRING:
        return chat_text(node->text);
    case CHAT_LITERAL_INTEGER:
        return chat_integer(node->integer);
    case CHAT_LITERAL_FLOAT:
        return chat_float(node->number);
    case CHAT_LITERAL_BOOL:
        return chat_bool(node->integer != 0);
    case CHAT_LITERAL_NONE:
        return (struct chat_value){.kind = CHAT_VALUE_NONE};
    case CHAT_VARIABLE:
        return variable(r, node);
    case CHAT_LIST:
        return make_list(r, node);
    case CHAT_ATTRIBUTE:
        return attribute(r, node);
    case CHAT_INDEX:
        v = chat_evaluate(r, node->a);
        key = chat_evaluate(r, node->b);
        return item(r, node, &v, &key);
    case CHAT_SLICE:
        return slice(r, node);
    case CHAT_CALL:
        return chat_call(r, node);
    case CHAT_FILTER:
    case CHAT_TEST:
        return filter_or_test(r, node);
    case CHAT_NOT:
        v = chat_evaluate(r, node->a);
        return chat_bool(!chat_is_true(&v));
    case CHAT_NEGATE:
        return negate(r, node);
    case CHAT_AND:
    case CHAT_OR:
        v = chat_evaluate(r, node->a);
        return chat_is_true(&v) == (node->kind == CHAT_OR) ? v : chat_evaluate(r, node->b);
    case CHAT_BINARY:
        return binary(r, node);
    case CHAT_COMPARE:
        return compare(r, node);
    case CHAT_CONDITION:
        v = chat_evaluate(r, node->a);
        if (chat_is_true(&v))
            return chat_evaluate(r, node->b);
        return node->c ? chat_evaluate(r, node->c) : (struct chat_value){0};
    case CHAT_ARGUMENT:
    case CHAT_TEXT:
    case CHAT_OUTPUT:
    case CHAT_IF:
    case CHAT_FOR:
    case CHAT_SET:
    case CHAT_BREAK:
    case CHAT_CONTINUE:
    case CHAT_MACRO:
    case CHAT_GENERATION:
        break;
    }
    return (struct chat_value){0};
}

struct chat_value chat_evaluate(struct chat_render *r, const struct chat_node *node) {
    return chat_count_steps(r, node->line, 1) ? evaluate_kind(r, node) : (struct chat_value){0};
}

/* ---- Statements ------------------------------------------------------------------------------ */

static enum flow run(struct chat_render *r, const struct chat_node *node);

static void print(struct chat_render *r, uint32_t line, struct chat_string text) {
    if (r->status != RSR_OK)
        return;
    if (r->out->text.size > MAX_BYTES - (text.size < MAX_BYTES ? text.size : MAX_BYTES))
        chat_refuse(r, line, "makes too long a text", CHAT_STRING(""));
    else if (!chat_put(r->out, text))
        chat_no_memory(r);
}

/* Assigns an item to a loop's one or two targets. */
static void set_targets(struct chat_render *r, const struct chat_node *node,
                        const struct chat_value *item, struct chat_variable targets[2]) {
    const bool is_pair = item->kind == CHAT_VALUE_LIST && item->n_items == 2;
    if (node->attribute.size > 0 && !is_pair)
        chat_refuse(r, node->line, "unpacks a value that is not a pair", CHAT_STRING(""));
    else if (node->attribute.size > 0)
        targets[1].value = item->items[1];
    targets[0].value = is_pair && node->attribute.size > 0 ? item->items[0] : *item;
}

/* Puts the targets in front of the visible variables. */
static void make_targets(const struct chat_node *node, struct chat_variable *visible,
                         struct chat_variable targets[2]) {
    targets[1] = (struct chat_variable){.name = node->attribute, .next = visible};
    targets[0] = (struct chat_variable){.name = node->text,
                                        .next = node->attribute.size > 0 ? &targets[1] : visible};
}

/* The items of a loop, without those that its condition rules out. */
static struct chat_value loop_items(struct chat_render *r, const struct chat_node *node) {
    struct chat_value of = chat_evaluate(r, node->a), kept = {0};
    struct chat_value all = chat_as_list(r, node->line, &of);
    struct chat_value *items = node->d ? chat_new_list(r, all.n_items, &kept) : NULL;
    if (!items)
        return all;
    struct chat_scope before = chat_enter_scope(r);
    struct chat_variable targets[2];
    size_t n = 0;
    make_targets(node, before.variables, targets);
    for (size_t i = 0; i < all.n_items && r->status == RSR_OK; i++) {
        set_targets(r, node, &all.items[i], targets);
        r->variables = targets;
        struct chat_value condition = chat_evaluate(r, node->d);
        if (chat_is_true(&condition))
            items[n++] = all.items[i];
    }
    chat_leave_scope(r, before);
    kept.n_items = n;
    return kept;
}

/* Each round has a scope of its own: what is set inside is gone after it. The else runs if no round
 * came to its end. */
LARGE_FRAME static enum flow run_for(struct chat_render *r, const struct chat_node *node) {
    struct chat_value list = loop_items(r, node);
    struct chat_scope before = chat_enter_scope(r);
    bool has_ended = false;
    struct chat_loop *loop = chat_alloc(&r->arena, sizeof(*loop)); /* a namespace may keep it */
    if (!loop) {
        chat_no_memory(r);
        return FLOW_NEXT;
    }
    loop->list = list;
    struct chat_value loop_value = {.kind = CHAT_VALUE_LOOP, .loop = loop};
    struct chat_variable targets[2], special = {CHAT_STRING("loop"), loop_value, targets};
    make_targets(node, before.variables, targets);
    for (; loop->index < list.n_items && chat_count_steps(r, node->line, 1); loop->index++) {
        set_targets(r, node, &list.items[loop->index], targets);
        special.value = loop_value;
        r->variables = &special;
        enum flow flow = run(r, node->b);
        has_ended = has_ended || flow == FLOW_NEXT;
        if (flow == FLOW_BREAK)
            break;
    }
    chat_leave_scope(r, before);
    return !has_ended && node->c ? run(r, node->c) : FLOW_NEXT;
}

LARGE_FRAME static void run_set(struct chat_render *r, const struct chat_node *node) {
    struct chat_value value = chat_evaluate(r, node->a);
    if (r->status != RSR_OK)
        return;
    if (node->attribute.size == 0) {
        assign(r, node->text, value);
        return;
    }
    const struct chat_variable *owner = chat_find(r->variables, NULL, node->text);
    if (!owner || owner->value.kind != CHAT_VALUE_NAMESPACE) {
        chat_refuse(r, node->line, "sets an attribute of a value that is not a namespace",
                    node->text);
        return;
    }
    struct chat_variable *member = chat_find(*owner->value.names, NULL, node->attribute);
    if (member)
        member->value = value;
    else
        chat_define(r, owner->value.names, node->attribute, value);
}

static enum flow run_if(struct chat_render *r, const struct chat_node *node) {
    /* An elif is an IF in the place of the else. Statements of a body are linked by next, which is
     * NULL in an elif. */
    struct chat_value condition = chat_evaluate(r, node->a);
    if (r->status != RSR_OK)
        return FLOW_NEXT;
    return run(r, chat_is_true(&condition) ? node->b : node->c);
}

static enum flow run(struct chat_render *r, const struct chat_node *node) {
    enum flow flow = FLOW_NEXT;
    for (; node && flow == FLOW_NEXT && chat_count_steps(r, node->line, 1); node = node->next) {
        if (node->kind == CHAT_TEXT) {
            print(r, node->line, node->text);
        } else if (node->kind == CHAT_OUTPUT) {
            struct chat_value v = chat_evaluate(r, node->a);
            print(r, node->line, chat_to_string(r, node->line, &v));
        } else if (node->kind == CHAT_IF) {
            flow = run_if(r, node);
        } else if (node->kind == CHAT_FOR) {
            flow = run_for(r, node);
        } else if (node->kind == CHAT_SET) {
            run_set(r, node);
        } else if (node->kind == CHAT_MACRO) {
            assign(r, node->text, (struct chat_value){.kind = CHAT_VALUE_MACRO, .macro = node});
        } else if (node->kind == CHAT_GENERATION) {
            struct chat_scope before = chat_enter_scope(r);
            chat_run(r, node->b);
            chat_leave_scope(r, before);
        } else {
            flow = node->kind == CHAT_BREAK ? FLOW_BREAK : FLOW_CONTINUE;
        }
    }
    return flow;
}

void chat_run(struct chat_render *r, const struct chat_node *body) {
    (void)run(r, body);
}

/* ---- Entry ----------------------------------------------------------------------------------- */

rsr_status rsr_chat_template_render(const struct rsr_chat_template *chat,
                                    const struct rsr_chat_input *input, struct rsr_chat_text *out,
                                    rsr_error *err) {
    struct chat_render r = {
        .arena = {.limit = MAX_BYTES}, .out = out, .raised = input->raised, .err = err};
    r.stack_end = rsr_stack_end(STACK_RESERVE);
    const locale_t locale = rsr_enter_c_locale();
    chat_define_inputs(&r, input);
    if (r.status == RSR_OK)
        chat_run(&r, chat->body);
    if (r.status == RSR_OK && out->marks.size > 0 && !chat_pad_marks(out))
        chat_no_memory(&r);
    rsr_leave_c_locale(locale);
    if (r.status != RSR_OK)
        rsr_chat_text_free(out);
    chat_arena_free(&r.arena);
    return r.status;
}
