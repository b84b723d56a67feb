/* chat_template_call.c - calls in a chat template: functions, methods and macros.
 *
 * Functions: namespace(), raise_exception(), range(). A macro works as in Jinja: it sees what is
 * set outside of all loops and macros at the time of the call, and returns its text.
 */
#include <string.h>

#include "chat_eval.h"

#define MAX_RANGE 100000

/* ---- Functions ------------------------------------------------------------------------------- */

bool chat_evaluate_arguments(struct chat_render *r, const struct chat_node *node,
                             struct chat_arguments *arguments) {
    arguments->n = 0;
    for (const struct chat_node *a = node->args; a; a = a->next) {
        if (arguments->n == CHAT_MAX_ARGUMENTS) {
            chat_refuse(r, node->line, "has a call with too many arguments", CHAT_STRING(""));
            return false;
        }
        arguments->keywords[arguments->n] = a->text;
        arguments->values[arguments->n] = chat_evaluate(r, a->a);
        chat_charge(r, node->line, &arguments->values[arguments->n++]);
    }
    return r->status == RSR_OK;
}

static struct chat_value make_namespace(struct chat_render *r, const struct chat_node *node,
                                        const struct chat_arguments *arguments) {
    struct chat_variable **names = chat_alloc(&r->arena, sizeof(*names));
    if (!names)
        return chat_no_memory(r);
    for (uint32_t i = 0; i < arguments->n; i++) {
        if (arguments->keywords[i].size == 0)
            return chat_refuse(r, node->line, "gives a value without a name to",
                               CHAT_STRING("namespace"));
        chat_define(r, names, arguments->keywords[i], arguments->values[i]);
    }
    return (struct chat_value){.kind = CHAT_VALUE_NAMESPACE, .names = names};
}

static struct chat_value raise_exception(struct chat_render *r, const struct chat_node *node,
                                         const struct chat_arguments *arguments) {
    struct chat_string message = CHAT_STRING("without a reason");
    if (arguments->n > 0)
        message = chat_to_string(r, node->line, &arguments->values[0]);
    if (r->status == RSR_OK) {
        r->status = rsr_fail(r->err, RSR_ERR_TEXT, "the chat template refuses these messages: %.*s",
                             message.size < 400 ? (int)message.size : 400, message.data);
        if (r->raised)
            *r->raised = true;
    }
    return (struct chat_value){0};
}

/* range(end), range(begin, end) or range(begin, end, step) */
static struct chat_value make_range(struct chat_render *r, const struct chat_node *node,
                                    const struct chat_arguments *arguments) {
    int64_t bounds[3] = {0, 0, 1};
    for (uint32_t i = 0; i < arguments->n && i < 3; i++) {
        const struct chat_value *v = &arguments->values[i];
        if (v->kind != CHAT_VALUE_INTEGER || v->integer < -MAX_RANGE || v->integer > MAX_RANGE)
            return chat_refuse_types(r, node);
        bounds[arguments->n == 1 ? 1 : i] = v->integer;
    }
    const int64_t step = bounds[2];
    if (arguments->n < 1 || arguments->n > 3 || step == 0)
        return chat_refuse_types(r, node);
    struct chat_value list = {0};
    const int64_t span = step > 0 ? bounds[1] - bounds[0] : bounds[0] - bounds[1];
    const int64_t stride = step > 0 ? step : -step;
    size_t n = span > 0 ? (size_t)((span + stride - 1) / stride) : 0;
    struct chat_value *items = chat_new_list(r, n, &list);
    for (size_t i = 0; items && i < n; i++)
        items[i] = chat_integer(bounds[0] + (int64_t)i * step);
    return list;
}

/* ---- Macros ---------------------------------------------------------------------------------- */

/* The argument for parameter number i, or NULL. */
static const struct chat_value *macro_argument(const struct chat_arguments *given, uint32_t i,
                                               struct chat_string name) {
    if (i < given->n && given->keywords[i].size == 0)
        return &given->values[i];
    for (uint32_t k = 0; k < given->n; k++)
        if (given->keywords[k].size > 0 && chat_same(given->keywords[k], name))
            return &given->values[k];
    return NULL;
}

/* Defaults are evaluated where all parameters are visible; those without a value are undefined. */
static void bind_parameters(struct chat_render *r, const struct chat_node *node,
                            const struct chat_node *macro, const struct chat_arguments *given) {
    uint32_t i = 0, n_bound = 0;
    for (const struct chat_node *p = macro->args; p; p = p->next, i++) {
        const struct chat_value *argument = macro_argument(given, i, p->text);
        chat_define(r, &r->variables, p->text, argument ? *argument : (struct chat_value){0});
        n_bound += argument != NULL;
    }
    if (n_bound < given->n)
        chat_refuse(r, node->line, "gives an argument without a parameter to the macro",
                    macro->text);
    i = 0;
    for (const struct chat_node *p = macro->args; p && r->status == RSR_OK; p = p->next, i++)
        if (p->a && !macro_argument(given, i, p->text))
            chat_find(r->variables, r->scope, p->text)->value = chat_evaluate(r, p->a);
}

/* The macro prints to the end of the output; its text is then taken from there. */
static struct chat_value call_macro(struct chat_render *r, const struct chat_node *node,
                                    const struct chat_node *macro) {
    struct chat_arguments given;
    if (!chat_evaluate_arguments(r, node, &given))
        return (struct chat_value){0};
    if (r->n_calls == CHAT_MAX_CALLS)
        return chat_refuse(r, node->line, "calls macros too deeply, the last one is", macro->text);
    const size_t begin = r->out->text.size;
    struct chat_scope before = chat_enter_scope(r);
    r->variables = r->scope = r->outermost;
    r->n_calls++;
    bind_parameters(r, node, macro, &given);
    chat_run(r, macro->b);
    r->n_calls--;
    chat_leave_scope(r, before);
    const struct chat_value result = chat_copy(r, r->out, begin);
    r->out->text.size = begin;
    if (r->out->marks.size > begin)
        r->out->marks.size = begin;
    return result;
}

/* ---- Calls ----------------------------------------------------------------------------------- */

static struct chat_value call_name(struct chat_render *r, const struct chat_node *node) {
    static const struct {
        const char *name;
        struct chat_value (*fn)(struct chat_render *, const struct chat_node *,
                                const struct chat_arguments *);
    } functions[] = {
        {"namespace", make_namespace}, {"raise_exception", raise_exception}, {"range", make_range}};
    struct chat_arguments arguments;
    struct chat_string name = node->a->text;
    const struct chat_variable *variable = chat_find(r->variables, NULL, name);
    if (variable && variable->value.kind == CHAT_VALUE_MACRO)
        return call_macro(r, node, variable->value.macro);
    for (size_t i = 0; !variable && i < sizeof(functions) / sizeof(functions[0]); i++)
        if (chat_equals(name, functions[i].name))
            return chat_evaluate_arguments(r, node, &arguments)
                       ? functions[i].fn(r, node, &arguments)
                       : (struct chat_value){0};
    return chat_refuse(r, node->line, "calls the unsupported function", name);
}

/* loop.cycle(a, b, ...): gives the next one in each round */
static struct chat_value cycle(struct chat_render *r, const struct chat_node *node,
                               const struct chat_loop *loop,
                               const struct chat_arguments *arguments) {
    bool named = false;
    for (uint32_t i = 0; i < arguments->n; i++)
        named = named || arguments->keywords[i].size > 0;
    if (arguments->n == 0 || named)
        return chat_refuse(r, node->line, "gives no values, or named ones, to",
                           CHAT_STRING("loop.cycle"));
    return arguments->values[loop->index % arguments->n];
}

struct chat_value chat_call(struct chat_render *r, const struct chat_node *node) {
    struct chat_arguments arguments;
    const struct chat_node *callee = node->a;
    if (callee->kind == CHAT_VARIABLE)
        return call_name(r, node);
    if (callee->kind != CHAT_ATTRIBUTE)
        return chat_refuse(r, node->line, "calls a value that is not a function", CHAT_STRING(""));
    struct chat_value of = chat_evaluate(r, callee->a);
    chat_charge(r, node->line, &of);
    if (!chat_evaluate_arguments(r, node, &arguments))
        return (struct chat_value){0};
    if (of.kind == CHAT_VALUE_LOOP && chat_equals(callee->text, "cycle"))
        return cycle(r, node, of.loop, &arguments);
    if (of.kind == CHAT_VALUE_STRING && chat_equals(callee->text, "format"))
        return chat_format_braces(r, node->line, of.string, &arguments);
    return chat_call_method(r, node->line, callee->text, &of, &arguments);
}
