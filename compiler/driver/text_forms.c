/* text_forms.c - compilations that start from the text form of a plan, a step or kernels.
 *
 * Neither holds weights. Plans and steps are read, checked and printed; kernels can also become
 * code.
 */
#include <stdlib.h>
#include <string.h>

#include "driver/driver.h"
#include "lower/lower.h"

/* ---- what may follow ------------------------------------------------------------------------- */

/* Text forms by the kind of --emit that writes them, which is also a name for --from. */
static const struct text_form {
    enum rsrc_pass_id pass;
    uint32_t emits; /* what can be made of it */
    const char *nothing_follows;
} FORMS[] = {{PASS_PLAN, RSRC_EMIT_PLAN, "a plan holds no weights, so nothing can follow it"},
             {PASS_SCHEDULE, RSRC_EMIT_STEP, "a step holds no weights, so nothing can follow it"},
             {PASS_LOWER,
              RSRC_EMIT_KERNEL | RSRC_EMIT_C | RSRC_EMIT_LLVM | RSRC_EMIT_ASM | RSRC_EMIT_OBJ,
              "kernels hold no weights, so only their code can follow them"}};
#define N_FORMS (sizeof(FORMS) / sizeof(FORMS[0]))

static const struct text_form *form_of(const struct rsrc_compilation *c) {
    for (uint32_t i = 0; i < N_FORMS; i++)
        if (FORMS[i].pass == c->from)
            return &FORMS[i];
    return NULL;
}

bool rsrc_starts_from_text(const struct rsrc_compilation *c) {
    return form_of(c) != NULL;
}

/* Options about what has happened before the text was written. */
static enum rsrc_status check_settled(struct rsrc_compilation *c) {
    const struct rsrc_options *options = c->options;
    const char *settled = options->layers != NULL      ? "--layers"
                          : options->inputs != 0       ? "--input"
                          : options->n_variants != 0   ? "--variant"
                          : options->rsr_k != 0        ? "--rsr-k"
                          : options->no_reduce         ? "--no-reduce"
                          : options->tune              ? "--tune"
                          : options->head_sketch != 0  ? "--head-sketch"
                          : options->relu2_active != 0 ? "--relu2-active"
                                                       : NULL;
    if (settled == NULL)
        return RSRC_OK;
    rsrc_error(c->diag, "option-value", NULL, "leave it out, or start from the checkpoint or rsr",
               "%s: not with --from=%s, whose text is what it is", settled, options->from);
    return RSRC_FAILED;
}

enum rsrc_status rsrc_check_text_start(struct rsrc_compilation *c) {
    const struct text_form *form = form_of(c);
    if (form == NULL)
        return RSRC_OK;
    if (check_settled(c) != RSRC_OK)
        return RSRC_FAILED;
    bool fits = c->options->report == NULL && c->to >= form->pass;
    for (uint32_t k = 0; k < RSRC_KIND_COUNT; k++)
        fits &= !rsrc_wants(c, rsrc_kinds[k].emit) || c->to < rsrc_kinds[k].pass ||
                (form->emits & (uint32_t)rsrc_kinds[k].emit) != 0;
    if (fits)
        return RSRC_OK;
    const char *name = rsrc_passes[form->pass].name;
    rsrc_error(c->diag, "option-value", NULL,
               form->pass == PASS_LOWER
                   ? "choose --emit=c, llvm, asm or obj, add --to=lower, or start from rsr"
                   : rsrc_arena_printf(&c->arena, "add --to=%s, or start from rsr", name),
               "--from=%s: %s", c->options->from, form->nothing_follows);
    return RSRC_FAILED;
}

/* ---- reading --------------------------------------------------------------------------------- */

static enum rsrc_status read_plans(struct rsrc_compilation *c, const struct rsrc_mapping *input,
                                   struct rsrc_buffer *text) {
    struct rsr_named_plan *plans = NULL;
    uint32_t n = 0;
    if (rsrc_parse_plans(c->diag, &c->arena, input->path, (const char *)input->data,
                         input->size_bytes, &plans, &n) != RSRC_OK)
        return RSRC_FAILED;
    for (uint32_t i = 0; i < n; i++)
        rsrc_print_plan(&plans[i].plan, plans[i].layer_name, text);
    return rsrc_sink_write(c, &c->plan_sink, text);
}

static enum rsrc_status read_steps(struct rsrc_compilation *c, const struct rsrc_mapping *input,
                                   struct rsrc_buffer *text) {
    struct rsr_parsed_step *steps = NULL;
    uint32_t n = 0;
    if (rsrc_parse_steps(c->diag, &c->arena, input->path, (const char *)input->data,
                         input->size_bytes, &steps, &n) != RSRC_OK)
        return RSRC_FAILED;
    for (uint32_t i = 0; i < n; i++)
        rsrc_print_parsed_step(&steps[i], text);
    return rsrc_sink_write(c, &c->step_sink, text);
}

/* ---- kernels --------------------------------------------------------------------------------- */

static enum rsrc_status find_target(struct rsrc_compilation *c, const struct rsrc_place *place,
                                    const struct rsr_parsed_kernel *parsed, uint32_t *out) {
    for (uint32_t t = 0; t < c->n_specs; t++) {
        if (strcmp(c->specs[t].name, parsed->target) == 0) {
            *out = t;
            return RSRC_OK;
        }
    }
    rsrc_error(c->diag, "kernel-target", place, "name its target with --target",
               "%s is for '%s', which is no target of this compilation", parsed->kernel.symbol,
               parsed->target);
    return RSRC_FAILED;
}

static enum rsrc_status emit_parsed(struct rsrc_compilation *c, const struct rsrc_place *place,
                                    struct rsr_parsed_kernel *kernels, uint32_t n) {
    static const struct rsrc_bodies none;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t target = 0;
        const char *symbol = NULL;
        if (find_target(c, place, &kernels[i], &target) != RSRC_OK)
            return RSRC_FAILED;
        kernels[i].kernel.spec = &c->specs[target];
        if (rsrc_emit_kernel(c, &c->items[i], target, &kernels[i].kernel, &none, &symbol) !=
            RSRC_OK)
            return RSRC_FAILED;
    }
    return rsrc_close_units(c) == RSRC_OK ? rsrc_close_weights(c) : RSRC_FAILED;
}

static int compare_symbols(const void *left, const void *right) {
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

static enum rsrc_status check_symbols(struct rsrc_compilation *c, const struct rsrc_place *place,
                                      const struct rsr_parsed_kernel *kernels, uint32_t n) {
    const char **symbols = RSRC_NEW_ARRAY(&c->arena, n, const char *);
    for (uint32_t i = 0; i < n; i++)
        symbols[i] = kernels[i].kernel.symbol;
    qsort(symbols, n, sizeof(*symbols), compare_symbols);
    for (uint32_t i = 1; i < n; i++) {
        if (strcmp(symbols[i - 1], symbols[i]) == 0) {
            rsrc_error(c->diag, "kernel-twice", place, "leave one of them out",
                       "there are two kernels called %s", symbols[i]);
            return RSRC_FAILED;
        }
    }
    return RSRC_OK;
}

/* Each is an item of its own, named by its symbol. */
static enum rsrc_status list_kernels(struct rsrc_compilation *c, const struct rsrc_place *place,
                                     const struct rsr_parsed_kernel *kernels, uint32_t n) {
    if (check_symbols(c, place, kernels, n) != RSRC_OK)
        return RSRC_FAILED;
    c->items = RSRC_NEW_ARRAY(&c->arena, n, struct rsrc_item);
    for (uint32_t i = 0; i < n; i++) {
        const char *symbol = kernels[i].kernel.symbol;
        c->items[i] = (struct rsrc_item){
            .name = symbol, .stem = symbol, .block = RSR_NO_BLOCK, .role = RSR_ROLE_COUNT};
    }
    c->n_items = n;
    return RSRC_OK;
}

static enum rsrc_status read_kernels(struct rsrc_compilation *c, const struct rsrc_mapping *input,
                                     struct rsrc_buffer *text) {
    const struct rsrc_place place = {.file = input->path};
    struct rsr_parsed_kernel *kernels = NULL;
    uint32_t n = 0;
    if (rsrc_parse_kernels(c->diag, &c->arena, input->path, (const char *)input->data,
                           input->size_bytes, &kernels, &n) != RSRC_OK)
        return RSRC_FAILED;
    for (uint32_t i = 0; i < n; i++) {
        /* Printing needs a target's name alone. */
        const struct rsr_spec named = {.name = kernels[i].target};
        kernels[i].kernel.spec = &named;
        rsrc_print_kernel(&kernels[i].kernel, text);
        kernels[i].kernel.spec = NULL;
    }
    if (c->to < PASS_EMIT) {
        return rsrc_open_outputs(c) == RSRC_OK ? rsrc_sink_write(c, &c->kernel_sink, text)
                                               : RSRC_FAILED;
    }
    if (list_kernels(c, &place, kernels, n) != RSRC_OK || rsrc_open_outputs(c) != RSRC_OK ||
        rsrc_sink_write(c, &c->kernel_sink, text) != RSRC_OK ||
        emit_parsed(c, &place, kernels, n) != RSRC_OK)
        return RSRC_FAILED;
    return rsrc_link_outputs(c);
}

enum rsrc_status rsrc_run_text(struct rsrc_compilation *c) {
    struct rsrc_mapping input;
    if (rsrc_map_file(c->diag, &c->arena, c->options->input, &input) != RSRC_OK)
        return RSRC_FAILED;
    struct rsrc_buffer text = {0};
    enum rsrc_status status = RSRC_OK;
    if (c->from != PASS_LOWER) /* a unit is opened for its kernels, which are not known yet */
        status = rsrc_open_outputs(c);
    if (status == RSRC_OK)
        status = c->from == PASS_PLAN       ? read_plans(c, &input, &text)
                 : c->from == PASS_SCHEDULE ? read_steps(c, &input, &text)
                                            : read_kernels(c, &input, &text);
    rsrc_unmap_file(&input);
    if (status == RSRC_OK && (c->dumps & (1u << c->from)) != 0)
        status = rsrc_stdout_write(c, &text);
    rsrc_buffer_free(&text);
    return status == RSRC_OK ? rsrc_commit_outputs(c) : RSRC_FAILED;
}
