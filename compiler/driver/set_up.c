/* set_up.c - options to a compilation: which passes run, for which targets, with what
 * tools. */
#include <string.h>

#include "driver/driver.h"
#include "host/cpu.h"
#include "model/graph.h"
#include "spec/spec.h"

/* ---- passes ---------------------------------------------------------------------------------- */

static enum rsrc_status find_pass(struct rsrc_compilation *c, const char *option, const char *name,
                                  enum rsrc_pass_id *out) {
    const char *names[PASS_COUNT];
    for (uint32_t i = 0; i < PASS_COUNT; i++) {
        names[i] = rsrc_passes[i].name;
        if (strcmp(names[i], name) == 0) {
            *out = (enum rsrc_pass_id)i;
            return RSRC_OK;
        }
    }
    const char *close = rsrc_did_you_mean(name, names, PASS_COUNT);
    rsrc_error(c->diag, "option-value", NULL, "rsrc --print-passes lists the passes",
               "%s: there is no pass '%s'%s%s%s", option, name, close ? "; did you mean '" : "",
               close ? close : "", close ? "'?" : "");
    return RSRC_FAILED;
}

static enum rsrc_pass_id last_pass(const struct rsrc_options *options) {
    enum rsrc_pass_id last = PASS_READ;
    if (options->info != RSRC_INFO_NONE)
        return PASS_LOWER;
    for (uint32_t k = 0; k < RSRC_KIND_COUNT; k++)
        if ((options->emit & (uint32_t)rsrc_kinds[k].emit) != 0 && rsrc_kinds[k].pass > last)
            last = rsrc_kinds[k].pass;
    return options->report != NULL ? PASS_REPORT : last;
}

/* What would be written where nothing is: a module is the default, which nobody has asked for, and
 * --to makes a run of passes of it. */
static const char *find_unwritten(const struct rsrc_options *options) {
    return options->output != NULL            ? "-o"
           : options->dependency_file != NULL ? "-MF"
           : options->dependencies            ? "-MD"
                                              : NULL;
}

/* An output that is asked for must not stay away silently. */
static enum rsrc_status check_outputs_complete(struct rsrc_compilation *c) {
    const struct rsrc_options *options = c->options;
    const bool by_default = options->emit == RSRC_EMIT_SO && c->to < PASS_LINK;
    const char *missing = options->report != NULL && c->to < PASS_REPORT ? "--report" : NULL;
    for (uint32_t k = 0; k < RSRC_KIND_COUNT && missing == NULL && !by_default; k++)
        if (rsrc_wants(c, rsrc_kinds[k].emit) && c->to < rsrc_kinds[k].pass)
            missing = rsrc_arena_printf(&c->arena, "--emit=%s", rsrc_kinds[k].name);
    if (missing != NULL) {
        rsrc_error(c->diag, "option-value", NULL, "leave out --to, or --dump a pass before it",
                   "%s: there is none when --to=%s ends the compilation", missing, options->to);
        return RSRC_FAILED;
    }
    const char *unwritten = by_default ? find_unwritten(options) : NULL;
    if (unwritten == NULL)
        return RSRC_OK;
    rsrc_error(c->diag, "option-value", NULL,
               "leave out --to, or choose with --emit what is made until there",
               "%s: nothing is written when --to=%s ends the compilation", unwritten, options->to);
    return RSRC_FAILED;
}

/* By the name of the pass, or of the text form that it makes. */
static enum rsrc_status find_start(struct rsrc_compilation *c, const char *name) {
    if (strcmp(name, "step") == 0 || strcmp(name, "kernel") == 0) {
        c->from = name[0] == 's' ? PASS_SCHEDULE : PASS_LOWER;
        return RSRC_OK;
    }
    return find_pass(c, "--from", name, &c->from);
}

static enum rsrc_status set_pass_range(struct rsrc_compilation *c) {
    const struct rsrc_options *options = c->options;
    c->from = PASS_READ;
    c->to = last_pass(options);
    if (options->from != NULL && find_start(c, options->from) != RSRC_OK)
        return RSRC_FAILED;
    if (options->to != NULL && find_pass(c, "--to", options->to, &c->to) != RSRC_OK)
        return RSRC_FAILED;
    if (check_outputs_complete(c) != RSRC_OK)
        return RSRC_FAILED;
    if (c->from != PASS_READ && c->from != PASS_RSR && !rsrc_starts_from_text(c)) {
        rsrc_error(c->diag, "option-value", NULL, "start from read, rsr, plan, step or kernel",
                   "--from: pass '%s' has no text form that can be read", options->from);
        return RSRC_FAILED;
    }
    return rsrc_check_text_start(c);
}

static enum rsrc_status set_dumps(struct rsrc_compilation *c) {
    const struct rsrc_options *options = c->options;
    for (uint32_t i = 0; i < options->n_dumps; i++) {
        enum rsrc_pass_id id;
        if (find_pass(c, "--dump", options->dumps[i], &id) != RSRC_OK)
            return RSRC_FAILED;
        if (rsrc_passes[id].dump_model == NULL && rsrc_passes[id].dump_layer == NULL) {
            rsrc_error(c->diag, "option-value", NULL, "use --emit to get what it makes",
                       "--dump: pass '%s' has no text form", options->dumps[i]);
            return RSRC_FAILED;
        }
        if (id > c->to) {
            rsrc_error(c->diag, "option-value", NULL, NULL, "--dump: pass '%s' does not run",
                       options->dumps[i]);
            return RSRC_FAILED;
        }
        c->dumps |= 1u << id;
    }
    return RSRC_OK;
}

/* ---- targets and variants -------------------------------------------------------------------- */

/* Symbols end in the target's name, with '_' for what C has no letters for. */
static bool same_in_symbols(const char *a, const char *b) {
    const char *const other = "_.-";
    while (*a != '\0' && (*a == *b || (strchr(other, *a) && *b != '\0' && strchr(other, *b)))) {
        a++;
        b++;
    }
    return *a == *b;
}

/* Whether it can be in one module with those before it. */
static enum rsrc_status check_spec(struct rsrc_compilation *c, const struct rsr_spec *spec) {
    for (uint32_t i = 0; i < c->n_specs; i++) {
        const struct rsr_spec *other = &c->specs[i];
        if (strcmp(other->triple, spec->triple) != 0) {
            rsrc_error(c->diag, "option-value", NULL, "compile a module for each",
                       "--target: '%s' is for %s and '%s' for %s, and a module is for one of them",
                       other->name, other->triple, spec->name, spec->triple);
            return RSRC_FAILED;
        }
        if (strcmp(other->name, spec->name) == 0) {
            rsrc_error(c->diag, "option-value", NULL, "name each target once",
                       "--target: '%s' is given twice", spec->name);
            return RSRC_FAILED;
        }
        if (same_in_symbols(other->name, spec->name)) {
            rsrc_error(c->diag, "option-value", NULL, "change the name in one description",
                       "--target: '%s' and '%s' cannot be in one module", other->name, spec->name);
            return RSRC_FAILED;
        }
    }
    return RSRC_OK;
}

static enum rsrc_status load_specs(struct rsrc_compilation *c) {
    const char *targets = c->options->target;
    uint32_t n = 1;
    for (const char *p = targets; *p != '\0'; p++)
        n += *p == ',';
    c->specs = RSRC_NEW_ARRAY(&c->arena, n, struct rsr_spec);
    for (const char *at = targets; c->n_specs < n;) {
        const size_t length = strcspn(at, ",");
        if (length == 0) {
            rsrc_error(c->diag, "option-value", NULL, "rsrc --print-targets lists the targets",
                       "--target: a part of '%s' is empty", targets);
            return RSRC_FAILED;
        }
        struct rsr_spec *spec = &c->specs[c->n_specs];
        if (rsrc_load_spec(c->diag, &c->arena, rsrc_arena_strndup(&c->arena, at, length),
                           c->options->spec_dir, spec) != RSRC_OK ||
            check_spec(c, spec) != RSRC_OK)
            return RSRC_FAILED;
        c->n_specs++;
        at += length + (at[length] == ',');
    }
    return RSRC_OK;
}

static bool names_role(const struct rsrc_variant_choice *choice, uint32_t role) {
    return strcmp(choice->role, "*") == 0 ||
           strcmp(choice->role, rsrc_role_name((enum rsr_role)role)) == 0;
}

static enum rsrc_status check_roles(struct rsrc_compilation *c) {
    for (uint32_t i = 0; i < c->options->n_variants; i++) {
        const struct rsrc_variant_choice *choice = &c->options->variants[i];
        uint32_t role = RSR_ROLE_Q;
        while (role <= RSR_ROLE_DOWN && !names_role(choice, role))
            role++;
        if (role > RSR_ROLE_DOWN) {
            rsrc_error(c->diag, "option-value", NULL, "roles are q k v o gate up down, or *",
                       "--variant: there is no role '%s'", choice->role);
            return RSRC_FAILED;
        }
    }
    return RSRC_OK;
}

/* Of a CPU; those of a GPU are others (layer_gpu.c). */
static enum rsrc_status set_variants(struct rsrc_compilation *c) {
    struct rsrc_plan_options *plan = &c->plan_options;
    plan->k = c->options->rsr_k;
    for (uint32_t r = 0; r <= RSR_ROLE_COUNT; r++)
        plan->forced_variant[r] = -1;
    for (uint32_t i = 0; i < c->options->n_variants; i++) {
        const struct rsrc_variant_choice *choice = &c->options->variants[i];
        int variant = 0;
        while (variant < RSR_VARIANT_COUNT &&
               strcmp(rsrc_variant_name((enum rsr_variant)variant), choice->variant) != 0)
            variant++;
        if (variant == RSR_VARIANT_COUNT) {
            rsrc_error(c->diag, "option-value", NULL, "variants are dot, lut, fold and scatter",
                       "--variant: there is no variant '%s'", choice->variant);
            return RSRC_FAILED;
        }
        for (uint32_t r = RSR_ROLE_Q; r <= RSR_ROLE_DOWN; r++)
            if (names_role(choice, r))
                plan->forced_variant[r] = variant;
        if (strcmp(choice->role, "*") == 0) /* bare matrices too */
            plan->forced_variant[RSR_ROLE_COUNT] = variant;
    }
    return RSRC_OK;
}

/* ---- tools ----------------------------------------------------------------------------------- */

static void show_compiled(void *context, uint32_t done, uint32_t total) {
    rsrc_show_progress(context, "units compiled", done, total);
}

#define MAX_JOBS 256u /* of -j, too */

static uint32_t count_cpus(void) {
    const uint32_t n_cpus = rsr_cpu_available(0);
    return n_cpus < MAX_JOBS ? n_cpus : MAX_JOBS;
}

static enum rsrc_status set_jobs(struct rsrc_compilation *c) {
    const uint32_t n_jobs = c->options->n_jobs != 0 ? c->options->n_jobs : count_cpus();
    if (c->to >= PASS_LINK && (c->options->emit & (RSRC_EMIT_SO | RSRC_EMIT_OBJ)) != 0 &&
        rsrc_find_toolchain(c->diag, &c->arena, c->options->cc, c->options->ld, c->specs[0].triple,
                            &c->toolchain) != RSRC_OK)
        return RSRC_FAILED;
    c->n_jobs = n_jobs;
    const struct rsrc_spawn_options spawn = {.n_jobs = n_jobs,
                                             .print = c->options->verbose,
                                             .dry_run = c->options->dry_run,
                                             .context = c};
    c->toolchain.compiling = spawn;
    c->toolchain.compiling.usage = &c->cc_usage;
    c->toolchain.compiling.progress = show_compiled;
    c->toolchain.linking = spawn;
    c->toolchain.linking.usage = &c->ld_usage;
    return RSRC_OK;
}

enum rsrc_status rsrc_set_up(struct rsrc_compilation *c) {
    if (set_pass_range(c) != RSRC_OK || set_dumps(c) != RSRC_OK ||
        rsrc_check_backend(c) != RSRC_OK || load_specs(c) != RSRC_OK ||
        rsrc_check_machine(c) != RSRC_OK)
        return RSRC_FAILED;
    if (check_roles(c) != RSRC_OK || (!rsrc_is_gpu(c) && set_variants(c) != RSRC_OK))
        return RSRC_FAILED;
    return rsrc_open_tuner(c) == RSRC_OK ? set_jobs(c) : RSRC_FAILED;
}
