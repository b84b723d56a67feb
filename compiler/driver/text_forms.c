/* text_forms.c - compilations that start from a text form of plans, steps or kernels.
 *
 * These texts have no weights. Plans and steps are read, checked and printed; kernels can also
 * become code.
 */
#include <stdlib.h>
#include <string.h>

#include "driver/compilation.h"
#include "lower/lower.h"
#include "rsr/segment.h"

/* ---- what may follow ------------------------------------------------------------------------- */

/* Text forms by the kind of --emit that writes them; --from accepts that name, too. */
static const struct text_form {
    enum rsrc_pass_id pass;
    enum rsrc_way way;
    uint32_t emits; /* kinds that can be made from it */
    const char *nothing_follows;
} FORMS[] = {{PASS_PLAN, RSRC_WAY_PLANS, RSRC_EMIT_PLAN,
              "a plan holds no weights, so nothing can follow it"},
             {PASS_SCHEDULE, RSRC_WAY_STEPS, RSRC_EMIT_STEP,
              "a step holds no weights, so nothing can follow it"},
             {PASS_LOWER, RSRC_WAY_KERNELS,
              RSRC_EMIT_KERNEL | RSRC_EMIT_C | RSRC_EMIT_LLVM | RSRC_EMIT_ASM | RSRC_EMIT_OBJ,
              "kernels hold no weights, so only their code can follow them"}};
#define N_FORMS (sizeof(FORMS) / sizeof(FORMS[0]))

static const struct text_form *form_of(const struct rsrc_run *run) {
    for (uint32_t i = 0; i < N_FORMS; i++)
        if (FORMS[i].pass == run->from)
            return &FORMS[i];
    return NULL;
}

uint32_t rsrc_way_of_text(const struct rsrc_run *run) {
    const struct text_form *form = form_of(run);
    return form != NULL ? (uint32_t)form->way : 0;
}

/* Options of passes that ran before the text was written. */
static enum rsrc_status check_settled(struct rsrc_run *run) {
    const struct rsrc_options *options = run->options;
    const char *settled = options->layers != NULL      ? "--layers"
                          : options->inputs != 0       ? "--input"
                          : options->n_variants != 0   ? "--variant"
                          : options->rsr_k != 0        ? "--rsr-k"
                          : options->no_reduce         ? "--no-reduce"
                          : options->tune              ? "--tune"
                          : options->plan != NULL      ? "--plan"
                          : options->head_sketch != 0  ? "--head-sketch"
                          : options->head_bits != 0    ? "--head-bits"
                          : options->relu2_active != 0 ? "--relu2-active"
                          : options->calibrate         ? "--calibrate"
                          : options->n_profiles != 0   ? "--profile-use"
                          : options->shard != NULL     ? "--shard"
                                                       : NULL;
    if (settled == NULL)
        return RSRC_OK;
    return rsrc_bad_option(run, "leave it out, or start from the checkpoint or rsr",
                           "%s: not with --from=%s, whose text is what it is", settled,
                           options->from);
}

enum rsrc_status rsrc_check_text_start(struct rsrc_run *run) {
    const struct text_form *form = form_of(run);
    if (form == NULL)
        return RSRC_OK;
    if (check_settled(run) != RSRC_OK)
        return RSRC_FAILED;
    bool fits = run->options->report == NULL && run->to >= form->pass;
    for (uint32_t k = 0; k < RSRC_KIND_COUNT; k++)
        fits &= !rsrc_wants(run, rsrc_kinds[k].emit) || run->to < rsrc_kinds[k].pass ||
                (form->emits & (uint32_t)rsrc_kinds[k].emit) != 0;
    if (fits)
        return RSRC_OK;
    return rsrc_bad_option(
        run,
        form->pass == PASS_LOWER
            ? "choose --emit=c, llvm, asm or obj, add --to=lower, or start from rsr"
            : rsrc_arena_printf(&run->arena, "add --to=%s, or start from rsr",
                                rsrc_pass_names[form->pass].name),
        "--from=%s: %s", run->options->from, form->nothing_follows);
}

/* ---- kernels as items ------------------------------------------------------------------------ */

static int compare_symbols(const void *left, const void *right) {
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

static enum rsrc_status check_symbols(const struct rsrc_input_set *in) {
    const struct rsrc_place place = {.file = in->run->options->input};
    const uint32_t n = in->n_parsed;
    const char **symbols = RSRC_NEW_ARRAY(&in->run->arena, n, const char *);
    for (uint32_t i = 0; i < n; i++)
        symbols[i] = in->kernels[i].kernel.symbol;
    qsort(symbols, n, sizeof(*symbols), compare_symbols);
    for (uint32_t i = 1; i < n; i++) {
        if (strcmp(symbols[i - 1], symbols[i]) == 0)
            return rsrc_refuse(in->run->diag, "kernel-twice", &place, "leave one of them out",
                               "there are two kernels called %s", symbols[i]);
    }
    return RSRC_OK;
}

/* Each kernel becomes an item, named by its symbol. */
static enum rsrc_status list_kernels(struct rsrc_input_set *in) {
    if (check_symbols(in) != RSRC_OK)
        return RSRC_FAILED;
    in->items = RSRC_NEW_ARRAY(&in->run->arena, in->n_parsed, struct rsrc_item);
    for (uint32_t i = 0; i < in->n_parsed; i++) {
        const char *symbol = in->kernels[i].kernel.symbol;
        in->items[i] = (struct rsrc_item){
            .name = symbol, .stem = symbol, .block = RSR_NO_BLOCK, .role = RSR_ROLE_COUNT};
    }
    in->n_items = in->n_parsed;
    return RSRC_OK;
}

/* ---- reading and printing -------------------------------------------------------------------- */

static enum rsrc_status parse(struct rsrc_input_set *in, const struct rsrc_mapping *text) {
    struct rsrc_diag *diag = in->run->diag;
    struct rsrc_arena *arena = &in->run->arena;
    const char *path = text->path, *data = (const char *)text->data;
    const uint64_t size_bytes = text->size_bytes;
    uint32_t *n = &in->n_parsed;
    if (in->run->from == PASS_RSR)
        return rsrc_parse_indexes(diag, arena, path, data, size_bytes, &in->indexes, n);
    if (in->run->from == PASS_PLAN)
        return rsrc_parse_plans(diag, arena, path, data, size_bytes, &in->plans, n);
    if (in->run->from == PASS_SCHEDULE)
        return rsrc_parse_steps(diag, arena, path, data, size_bytes, &in->steps, n);
    return rsrc_parse_kernels(diag, arena, path, data, size_bytes, &in->kernels, n);
}

enum rsrc_status rsrc_model_parse(struct rsrc_compilation *c) {
    struct rsrc_mapping text;
    if (rsrc_map_file(c->run.diag, &c->run.arena, c->run.options->input, &text) != RSRC_OK)
        return RSRC_FAILED;
    enum rsrc_status status = parse(&c->inputs, &text);
    rsrc_unmap_file(&text);
    if (status == RSRC_OK && c->run.way == RSRC_WAY_KERNELS && c->run.to >= PASS_EMIT)
        status = list_kernels(&c->inputs);
    return status;
}

/* Printing needs only a target's name. */
static void print_kernel(const struct rsr_parsed_kernel *parsed, struct rsrc_buffer *out) {
    const struct rsr_spec named = {.name = parsed->target};
    struct rsr_kernel kernel = parsed->kernel;
    kernel.spec = &named;
    rsrc_print_kernel(&kernel, out);
}

void rsrc_dump_parsed(struct rsrc_compilation *c, struct rsrc_buffer *out) {
    const struct rsrc_input_set *in = &c->inputs;
    for (uint32_t i = 0; i < in->n_parsed; i++) {
        if (c->run.way == RSRC_WAY_PLANS)
            rsrc_print_plan(&in->plans[i], out);
        else if (c->run.way == RSRC_WAY_STEPS)
            rsrc_print_parsed_step(&in->steps[i], out);
        else
            print_kernel(&in->kernels[i], out);
    }
}

/* ---- kernels --------------------------------------------------------------------------------- */

static enum rsrc_status find_target(const struct rsrc_input_set *in,
                                    const struct rsr_parsed_kernel *parsed, uint32_t *out) {
    for (uint32_t t = 0; t < in->n_specs; t++) {
        if (strcmp(in->specs[t].name, parsed->target) == 0) {
            *out = t;
            return RSRC_OK;
        }
    }
    return rsrc_refuse(in->run->diag, "kernel-target",
                       &(struct rsrc_place){.file = in->run->options->input},
                       "name its target with --target",
                       "%s is for '%s', which is not a target of this compilation",
                       parsed->kernel.symbol, parsed->target);
}

enum rsrc_status rsrc_emit_parsed(struct rsrc_compilation *c) {
    static const struct rsrc_bodies none;
    const struct rsrc_input_set *in = &c->inputs;
    for (uint32_t i = 0; i < in->n_parsed; i++) {
        uint32_t target = 0;
        const char *symbol = NULL;
        if (find_target(in, &in->kernels[i], &target) != RSRC_OK)
            return RSRC_FAILED;
        in->kernels[i].kernel.spec = &in->specs[target];
        if (rsrc_emit_kernel(&c->units, &in->items[i], &in->kernels[i].kernel, &none, &symbol) !=
            RSRC_OK)
            return RSRC_FAILED;
    }
    return RSRC_OK;
}
