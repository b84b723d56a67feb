/* set_up.c - turns options into a compilation: which passes run, for which targets, with which
 * tools. */
#include <string.h>

#include "driver/layer.h"
#include "host/cpu.h"
#include "model/graph.h"
#include "spec/spec.h"

/* ---- passes ---------------------------------------------------------------------------------- */

static enum rsrc_status find_pass(struct rsrc_run *run, const char *option, const char *name,
                                  enum rsrc_pass_id *out) {
    const char *names[PASS_COUNT];
    for (uint32_t i = 0; i < PASS_COUNT; i++) {
        names[i] = rsrc_pass_names[i].name;
        if (strcmp(names[i], name) == 0) {
            *out = (enum rsrc_pass_id)i;
            return RSRC_OK;
        }
    }
    const char *close = rsrc_did_you_mean(name, names, PASS_COUNT);
    return rsrc_bad_option(run, "rsrc --print-passes lists the passes",
                           "%s: there is no pass '%s'%s%s%s", option, name,
                           close ? "; did you mean '" : "", close ? close : "", close ? "'?" : "");
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

/* An option that names an output, or NULL. A module is only the default of --emit: with --to,
 * passes run and none is written. */
static const char *find_unwritten(const struct rsrc_options *options) {
    return options->output != NULL            ? "-o"
           : options->dependency_file != NULL ? "-MF"
           : options->dependencies            ? "-MD"
                                              : NULL;
}

/* A requested output must not be missing without a message. */
static enum rsrc_status check_outputs_complete(struct rsrc_run *run) {
    const struct rsrc_options *options = run->options;
    const bool by_default = options->emit == RSRC_EMIT_SO && run->to < PASS_LINK;
    const char *missing = options->report != NULL && run->to < PASS_REPORT ? "--report" : NULL;
    for (uint32_t k = 0; k < RSRC_KIND_COUNT && missing == NULL && !by_default; k++)
        if (rsrc_wants(run, rsrc_kinds[k].emit) && run->to < rsrc_kinds[k].pass)
            missing = rsrc_arena_printf(&run->arena, "--emit=%s", rsrc_kinds[k].name);
    if (missing != NULL)
        return rsrc_bad_option(run, "leave out --to, or --dump a pass before it",
                               "%s: there is none when --to=%s ends the compilation", missing,
                               options->to);
    const char *unwritten = by_default ? find_unwritten(options) : NULL;
    if (unwritten == NULL)
        return RSRC_OK;
    return rsrc_bad_option(run, "leave out --to, or choose with --emit what is made until there",
                           "%s: nothing is written when --to=%s ends the compilation", unwritten,
                           options->to);
}

/* Options that may not be given together with another. */
struct given {
    bool is_given;
    const char *option, *help;
};

static const struct given *find_given(const struct given *others, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (others[i].is_given)
            return &others[i];
    return NULL;
}

/* --info or --verify is all that is asked for. */
static enum rsrc_status check_alone(const struct rsrc_run *run) {
    const struct rsrc_options *options = run->options;
    const bool info = options->info != RSRC_INFO_NONE;
    if (!info && options->verify == NULL)
        return RSRC_OK;
    const struct given others[] = {{info && options->verify != NULL, "--verify", NULL},
                                   {info && options->output != NULL, "-o", NULL},
                                   {options->emit != RSRC_EMIT_SO, "--emit", NULL},
                                   {options->report != NULL, "--report", NULL},
                                   {options->dependencies, "-MD", NULL},
                                   {options->dependency_file != NULL, "-MF", NULL},
                                   {options->save_temps, "--save-temps", NULL},
                                   {options->dry_run, "-###", NULL},
                                   {options->n_dumps != 0, "--dump", NULL},
                                   {info && options->from != NULL, "--from", NULL},
                                   {options->to != NULL, "--to", NULL},
                                   {options->layers != NULL, "--layers", NULL},
                                   {info && options->shard != NULL, "--shard", NULL},
                                   {info && options->tune, "--tune", NULL},
                                   {options->calibrate, "--calibrate", NULL}};
    const struct given *other = find_given(others, sizeof(others) / sizeof(others[0]));
    if (other == NULL)
        return RSRC_OK;
    return rsrc_bad_option(run, "leave out one of them", "%s: %s", other->option,
                           info ? "--info describes the whole input and makes nothing of it"
                                : "--verify makes a module and writes nothing");
}

/* A plan already decides what these options ask for. */
static enum rsrc_status check_plan(const struct rsrc_run *run) {
    const struct rsrc_options *options = run->options;
    const struct given others[] = {{options->n_variants != 0, "--variant", NULL},
                                   {options->rsr_k != 0, "--rsr-k", NULL},
                                   {options->relu2_active != 0, "--relu2-active", NULL},
                                   {options->calibrate, "--calibrate", NULL},
                                   {options->n_profiles != 0, "--profile-use", NULL},
                                   {options->tune, "--tune", NULL}};
    const struct given *other = find_given(others, sizeof(others) / sizeof(others[0]));
    if (options->plan == NULL || other == NULL)
        return RSRC_OK;
    return rsrc_bad_option(run, "leave it out, or edit the plan",
                           "%s: not with --plan, which is taken as it is", other->option);
}

/* Profiles say what --relu2-active says, and only a calibration writes one. */
static enum rsrc_status check_profiles(const struct rsrc_run *run) {
    const struct rsrc_options *options = run->options;
    if (options->profile_output != NULL && !options->calibrate)
        return rsrc_bad_option(run, "add --calibrate=TEXT",
                               "--profile-out: only --calibrate writes a profile");
    if (options->calibrate && options->dry_run)
        return rsrc_bad_option(run, "leave out one of them",
                               "--calibrate: -### runs nothing, and this runs the model");
    if (options->relu2_active == 0 || (!options->calibrate && options->n_profiles == 0))
        return RSRC_OK;
    return rsrc_bad_option(run, "leave it out", "--relu2-active: not with %s, which measured it",
                           options->calibrate ? "--calibrate" : "--profile-use");
}

/* Measurements are for reports that draw them. */
static enum rsrc_status check_measured(const struct rsrc_run *run) {
    const struct rsrc_options *options = run->options;
    const struct given drawn[] = {{options->measured != NULL, "--measured", NULL},
                                  {options->attention_stats != NULL, "--attention-stats", NULL}};
    const struct given *given = find_given(drawn, sizeof(drawn) / sizeof(drawn[0]));
    if (given == NULL || rsrc_report_form(options) >= RSRC_REPORT_JSON)
        return RSRC_OK;
    return rsrc_bad_option(run, "ask for --report=html:FILE or --report=json",
                           "%s: no requested report shows it", given->option);
}

/* Finds a pass by its name, or by the text form that it makes. */
static enum rsrc_status find_start(struct rsrc_run *run, const char *name) {
    if (strcmp(name, "step") == 0 || strcmp(name, "kernel") == 0) {
        run->from = name[0] == 's' ? PASS_SCHEDULE : PASS_LOWER;
        return RSRC_OK;
    }
    return find_pass(run, "--from", name, &run->from);
}

static enum rsrc_status set_pass_range(struct rsrc_run *run) {
    const struct rsrc_options *options = run->options;
    run->from = PASS_READ;
    run->to = last_pass(options);
    if (options->from != NULL && find_start(run, options->from) != RSRC_OK)
        return RSRC_FAILED;
    if (options->to != NULL && find_pass(run, "--to", options->to, &run->to) != RSRC_OK)
        return RSRC_FAILED;
    if (check_outputs_complete(run) != RSRC_OK)
        return RSRC_FAILED;
    if (run->from != PASS_READ && run->from != PASS_RSR && rsrc_way_of_text(run) == 0)
        return rsrc_bad_option(run, "start from read, rsr, plan, step or kernel",
                               "--from: pass '%s' has no text form that can be read",
                               options->from);
    return rsrc_check_text_start(run);
}

static enum rsrc_status set_dumps(struct rsrc_run *run) {
    const struct rsrc_options *options = run->options;
    for (uint32_t i = 0; i < options->n_dumps; i++) {
        enum rsrc_pass_id id;
        if (find_pass(run, "--dump", options->dumps[i], &id) != RSRC_OK)
            return RSRC_FAILED;
        if (!rsrc_has_dump(id))
            return rsrc_bad_option(run, "use --emit to get what it makes",
                                   "--dump: pass '%s' has no text form", options->dumps[i]);
        if (id > run->to)
            return rsrc_bad_option(run, NULL, "--dump: pass '%s' does not run", options->dumps[i]);
        run->dumps |= 1u << id;
    }
    return RSRC_OK;
}

/* ---- targets and variants -------------------------------------------------------------------- */

/* Symbols end in the target's name; a character that C does not allow becomes '_'. */
static bool same_in_symbols(const char *a, const char *b) {
    const char *const other = "_.-";
    while (*a != '\0' && (*a == *b || (strchr(other, *a) && *b != '\0' && strchr(other, *b)))) {
        a++;
        b++;
    }
    return *a == *b;
}

/* Checks that a target can be in one module with the targets before it. */
static enum rsrc_status check_spec(struct rsrc_input_set *in, const struct rsr_spec *spec) {
    for (uint32_t i = 0; i < in->n_specs; i++) {
        const struct rsr_spec *other = &in->specs[i];
        const bool are_cpus = other->gpu.sm == 0 && spec->gpu.sm == 0;
        if (are_cpus && strcmp(other->triple, spec->triple) != 0)
            return rsrc_bad_option(
                in->run, "compile a module for each",
                "--target: '%s' is for %s and '%s' for %s, and a module is for one of them",
                other->name, other->triple, spec->name, spec->triple);
        if (strcmp(other->name, spec->name) == 0)
            return rsrc_bad_option(in->run, "name each target once",
                                   "--target: '%s' is given twice", spec->name);
        if (same_in_symbols(other->name, spec->name))
            return rsrc_bad_option(in->run, "change the name in one description",
                                   "--target: '%s' and '%s' cannot be in one module", other->name,
                                   spec->name);
    }
    return RSRC_OK;
}

/* Moves CPUs before GPUs; both keep their order. */
static void sort_specs(struct rsrc_input_set *in) {
    struct rsr_spec *sorted = RSRC_NEW_ARRAY(&in->run->arena, in->n_specs, struct rsr_spec);
    for (uint32_t t = 0; t < in->n_specs; t++)
        if (in->specs[t].gpu.sm == 0)
            sorted[in->n_cpus++] = in->specs[t];
    for (uint32_t t = 0, n = in->n_cpus; t < in->n_specs; t++)
        if (in->specs[t].gpu.sm != 0)
            sorted[n++] = in->specs[t];
    in->specs = sorted;
    in->triple = in->n_cpus != 0 ? sorted[0].triple : rsrc_host_triple();
}

static enum rsrc_status load_specs(struct rsrc_input_set *in) {
    const char *targets = in->run->options->target;
    uint32_t n = 1;
    for (const char *p = targets; *p != '\0'; p++)
        n += *p == ',';
    in->specs = RSRC_NEW_ARRAY(&in->run->arena, n, struct rsr_spec);
    for (const char *at = targets; in->n_specs < n;) {
        const size_t length = strcspn(at, ",");
        if (length == 0)
            return rsrc_bad_option(in->run, "rsrc --print-targets lists the targets",
                                   "--target: a part of '%s' is empty", targets);
        struct rsr_spec *spec = &in->specs[in->n_specs];
        if (rsrc_load_spec(in->run->diag, &in->run->arena,
                           rsrc_arena_strndup(&in->run->arena, at, length),
                           in->run->options->spec_dir, spec) != RSRC_OK ||
            check_spec(in, spec) != RSRC_OK)
            return RSRC_FAILED;
        in->n_specs++;
        at += length + (at[length] == ',');
    }
    sort_specs(in);
    return RSRC_OK;
}

static bool names_role(const struct rsrc_variant_choice *choice, uint32_t role) {
    return strcmp(choice->role, "*") == 0 ||
           strcmp(choice->role, rsrc_role_name((enum rsr_role)role)) == 0;
}

static enum rsrc_status check_roles(struct rsrc_run *run) {
    for (uint32_t i = 0; i < run->options->n_variants; i++) {
        const struct rsrc_variant_choice *choice = &run->options->variants[i];
        uint32_t role = RSR_ROLE_Q;
        while (role <= RSR_ROLE_DOWN && !names_role(choice, role))
            role++;
        if (role > RSR_ROLE_DOWN)
            return rsrc_bad_option(run, "roles are q k v o gate up down, or *",
                                   "--variant: there is no role '%s'", choice->role);
    }
    return RSRC_OK;
}

/* -1: the kind of machine has no variant of this name. */
static int find_variant(bool is_gpu, const char *name) {
    for (uint32_t i = 0; i < RSR_KERNEL_COUNT; i++) {
        const struct rsrc_kernel_row *row = rsrc_kernel_row((enum rsr_kernel_id)i);
        if (((row->traits & RSRC_IS_GPU) != 0) == is_gpu &&
            strcmp(rsrc_variant_name(row->variant), name) == 0)
            return (int)row->variant;
    }
    return -1;
}

static void force_variant(const struct rsrc_variant_choice *choice, int variant,
                          struct rsrc_plan_options *plan) {
    for (uint32_t r = RSR_ROLE_Q; r <= RSR_ROLE_DOWN; r++)
        if (names_role(choice, r))
            plan->forced_variant[r] = variant;
    if (strcmp(choice->role, "*") == 0) /* bare matrices too */
        plan->forced_variant[RSR_ROLE_COUNT] = variant;
}

#define CPU_VARIANTS "dot, lut, table, fold and scatter"
#define GPU_VARIANTS "dot, mma, fold and segment"

/* The variant is forced on the targets whose kind of machine has it. */
static enum rsrc_status set_variant(struct rsrc_input_set *in,
                                    const struct rsrc_variant_choice *choice) {
    const int cpu = in->n_cpus != 0 ? find_variant(false, choice->variant) : -1;
    const int gpu = rsrc_n_gpus(in) != 0 ? find_variant(true, choice->variant) : -1;
    if (cpu == -1 && gpu == -1)
        return rsrc_bad_option(
            in->run,
            rsrc_n_gpus(in) == 0 ? "variants are " CPU_VARIANTS
            : in->n_cpus == 0    ? "variants of a GPU are " GPU_VARIANTS
                              : "variants are " CPU_VARIANTS "; those of a GPU are " GPU_VARIANTS,
            "--variant: %s has no variant '%s'", in->specs[0].name, choice->variant);
    if (cpu != -1)
        force_variant(choice, cpu, &in->run->plan_options);
    if (gpu != -1)
        force_variant(choice, gpu, &in->run->gpu_plan_options);
    return RSRC_OK;
}

static enum rsrc_status set_variants(struct rsrc_input_set *in) {
    struct rsrc_plan_options *plan = &in->run->plan_options;
    plan->k = in->run->options->rsr_k;
    for (uint32_t r = 0; r <= RSR_ROLE_COUNT; r++)
        plan->forced_variant[r] = -1;
    in->run->gpu_plan_options = *plan;
    for (uint32_t i = 0; i < in->run->options->n_variants; i++)
        if (set_variant(in, &in->run->options->variants[i]) != RSRC_OK)
            return RSRC_FAILED;
    return RSRC_OK;
}

/* Kinds of output that only a CPU, and only a GPU has. */
#define CPU_KINDS                                                                                  \
    ((uint32_t)(RSRC_EMIT_OBJ | RSRC_EMIT_ASM | RSRC_EMIT_LLVM | RSRC_EMIT_C | RSRC_EMIT_KERNEL))
#define GPU_KINDS ((uint32_t)(RSRC_EMIT_PTX | RSRC_EMIT_CUBIN))

static enum rsrc_status refuse_on_gpu(struct rsrc_input_set *in, const char *option,
                                      const char *help) {
    return rsrc_refuse(in->run->diag, "gpu-option", NULL, help, "%s: not with the GPU target %s",
                       option, in->specs[in->n_cpus].name);
}

/* What needs a CPU among the targets. */
static enum rsrc_status check_without_cpu(struct rsrc_input_set *in) {
    const struct rsrc_options *options = in->run->options;
    const struct given others[] = {
        {options->calibrate, "--calibrate", "no plan of a GPU depends on it: leave it out"},
        {options->n_profiles != 0, "--profile-use", "no plan of a GPU reads it: leave it out"},
        {options->backend != NULL, "--backend", "--cuda-path=none asks for clang's PTX"},
        {options->head_sketch == RSRC_HEAD_SKETCH_2, "--head-sketch=2",
         "a GPU reads the first plane alone: --head-sketch=1"}};
    const struct given *other = find_given(others, sizeof(others) / sizeof(others[0]));
    if (other != NULL)
        return refuse_on_gpu(in, other->option, other->help);
    for (uint32_t k = 0; k < RSRC_KIND_COUNT && options->info == RSRC_INFO_NONE; k++)
        if (rsrc_wants(in->run, rsrc_kinds[k].emit) && rsrc_kinds[k].pass <= in->run->to &&
            (CPU_KINDS & (uint32_t)rsrc_kinds[k].emit) != 0)
            return refuse_on_gpu(
                in, rsrc_arena_printf(&in->run->arena, "--emit=%s", rsrc_kinds[k].name),
                "choose --emit=so, ptx, cubin, rsr, plan, step or report");
    return RSRC_OK;
}

static enum rsrc_status refuse_hollow(struct rsrc_input_set *in, const char *cpu) {
    return rsrc_refuse(in->run->diag, "gpu-option", NULL, "choose GPUs alone: --target=sm_90",
                       "--hollow: a device fills the weights, and %s is a CPU", cpu);
}

static enum rsrc_status check_machines(struct rsrc_input_set *in) {
    const struct rsrc_options *options = in->run->options;
    if (rsrc_n_gpus(in) == 0) {
        if (options->hollow)
            return refuse_hollow(in, in->specs[0].name);
        if ((options->emit & GPU_KINDS) == 0)
            return RSRC_OK;
        return rsrc_refuse(in->run->diag, "gpu-option", NULL, "add --target=sm_90 or another GPU",
                           "--emit=ptx and cubin are of GPUs, and %s is a CPU", in->specs[0].name);
    }
    if (options->hollow && in->n_cpus != 0)
        return refuse_hollow(in, in->specs[0].name);
    if (in->run->to < PASS_DECODE)
        return RSRC_OK;
    if (options->from != NULL)
        return refuse_on_gpu(in, "--from", "give a checkpoint");
    return in->n_cpus == 0 ? check_without_cpu(in) : RSRC_OK;
}

static enum rsrc_way find_way(const struct rsrc_input_set *in) {
    const uint32_t of_text = rsrc_way_of_text(in->run);
    if (of_text != 0)
        return (enum rsrc_way)of_text;
    return in->run->options->info != RSRC_INFO_NONE ? RSRC_WAY_INFO : RSRC_WAY_COMPILE;
}

/* ---- tools ----------------------------------------------------------------------------------- */

static void show_compiled(void *context, uint32_t done, uint32_t total) {
    rsrc_show_progress(context, "units compiled", done, total);
}

#define MAX_JOBS 256u /* -j is also limited */

static uint32_t count_cpus(void) {
    const uint32_t n_cpus = rsr_cpu_available(0);
    return n_cpus < MAX_JOBS ? n_cpus : MAX_JOBS;
}

static enum rsrc_status set_jobs(struct rsrc_input_set *in) {
    struct rsrc_run *run = in->run;
    const struct rsrc_options *options = run->options;
    run->n_jobs = options->n_jobs != 0 ? options->n_jobs : count_cpus();
    if (run->to >= PASS_LINK && (options->emit & (RSRC_EMIT_SO | RSRC_EMIT_OBJ)) != 0 &&
        rsrc_find_toolchain(
            run->diag, &run->arena,
            &(struct rsrc_toolchain_request){.cc = options->cc,
                                             .ld = options->ld,
                                             .triple = in->triple,
                                             .needs_cc = rsrc_makes_c_for_objects(run)},
            &run->toolchain) != RSRC_OK)
        return RSRC_FAILED;
    const struct rsrc_spawn_options spawn = {.n_jobs = run->n_jobs,
                                             .print = options->verbose,
                                             .dry_run = options->dry_run,
                                             .context = run};
    run->toolchain.compiling = spawn;
    run->toolchain.compiling.usage = &run->cc_usage;
    run->toolchain.compiling.progress = show_compiled;
    run->toolchain.linking = spawn;
    run->toolchain.linking.usage = &run->ld_usage;
    return RSRC_OK;
}

enum rsrc_status rsrc_set_up(struct rsrc_compilation *c) {
    struct rsrc_run *run = &c->run;
    struct rsrc_input_set *in = &c->inputs;
    if (check_alone(run) != RSRC_OK || check_plan(run) != RSRC_OK ||
        check_profiles(run) != RSRC_OK || check_measured(run) != RSRC_OK ||
        rsrc_check_compared(run) != RSRC_OK || set_pass_range(run) != RSRC_OK ||
        set_dumps(run) != RSRC_OK || rsrc_check_backend(run) != RSRC_OK ||
        load_specs(in) != RSRC_OK || check_machines(in) != RSRC_OK || rsrc_set_shard(in) != RSRC_OK)
        return RSRC_FAILED;
    run->way = find_way(in);
    if (check_roles(run) != RSRC_OK || set_variants(in) != RSRC_OK)
        return RSRC_FAILED;
    return rsrc_open_tuner(in) == RSRC_OK ? set_jobs(in) : RSRC_FAILED;
}
