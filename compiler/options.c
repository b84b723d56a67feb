/* options.c - parses the command line by the table in options.def. */
#include "options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum option_id {
#define RSRC_OPTION(id, spelling, argument, help) OPT_##id,
#include "options.def"
#undef RSRC_OPTION
    OPT_COUNT
};

static const struct option {
    const char *spelling;
    const char *argument;
    const char *help;
} OPTIONS[OPT_COUNT] = {
#define RSRC_OPTION(id, spelling, argument, help) [OPT_##id] = {spelling, argument, help},
#include "options.def"
#undef RSRC_OPTION
};

static const struct {
    const char *name;
    uint32_t bit;
} EMIT_KINDS[] = {
#define RSRC_KIND(id, name, suffix, is_text, pass, unit) {name, RSRC_EMIT_##id},
#include "kinds.def"
#undef RSRC_KIND
};
#define N_EMIT_KINDS (sizeof(EMIT_KINDS) / sizeof(EMIT_KINDS[0]))

/* "[=DIR]": alone it is a flag. */
static bool takes_optional(const struct option *option) {
    return option->argument != NULL && option->argument[0] == '[';
}

void rsrc_options_init(struct rsrc_options *options) {
    *options = (struct rsrc_options){.target = "native",
                                     .emit = RSRC_EMIT_SO,
                                     .opt_level = 2,
                                     .fold_budget = 4 << 20,
                                     .color = RSRC_COLOR_AUTO};
#ifndef NDEBUG
    options->verify_each = true;
#endif
}

/* One option: its spelling, then its help, whose further lines stand under the first. */
static void print_option(FILE *stream, const struct option *option) {
    char left[64];
    const bool is_long = option->spelling[1] == '-' || strlen(option->spelling) > 2;
    const bool optional = takes_optional(option);
    snprintf(left, sizeof(left), "%s%s%s", option->spelling,
             option->argument == NULL || optional ? "" : (is_long ? "=" : " "),
             option->argument == NULL ? "" : option->argument);
    fprintf(stream, "  %-30s ", left);
    for (const char *c = option->help; *c != '\0'; c++) {
        fputc(*c, stream);
        if (*c == '\n')
            fprintf(stream, "  %-30s ", "");
    }
    fputc('\n', stream);
}

void rsrc_print_help(FILE *stream) {
    fputs("usage: rsrc [options] [@file] <model.safetensors | index.json | HF folder | matrix.npy>\n\n"
          "Compiles a ternary or binary checkpoint into one library: model.so.\n"
          "    rsrc model/ --target avx512 -o model.so\n"
          "    rsr-run model.so -p \"In the beginning\"\n\noptions:\n",
          stream);
    for (uint32_t i = 0; i < OPT_COUNT; i++)
        print_option(stream, &OPTIONS[i]);
    fputs("\nExit status: 0 success, 1 an error that was explained, 70 a defect of rsrc.\n",
          stream);
}

static enum rsrc_status bad_value(struct rsrc_diag *diag, enum option_id id, const char *value) {
    rsrc_error(diag, "option-value", NULL, NULL, "%s takes %s, not '%s'", OPTIONS[id].spelling,
               OPTIONS[id].argument, value);
    return RSRC_FAILED;
}

/* "4M": bytes, with K, M or G for powers of 1024. */
static enum rsrc_status parse_size(struct rsrc_diag *diag, enum option_id id, const char *text,
                                   uint64_t *out) {
    static const char SUFFIXES[] = "KMG";
    char *end = NULL;
    errno = 0;
    const unsigned long long number = strtoull(text, &end, 10);
    const char *suffix = *end != '\0' ? strchr(SUFFIXES, *end) : NULL;
    const unsigned shift = suffix != NULL ? 10 * ((unsigned)(suffix - SUFFIXES) + 1) : 0;
    if (errno != 0 || *text < '0' || *text > '9' || end[suffix != NULL] != '\0' ||
        number > UINT64_MAX >> (shift + 1))
        return bad_value(diag, id, text);
    *out = (uint64_t)number << shift;
    return RSRC_OK;
}

static enum rsrc_status parse_number(struct rsrc_diag *diag, enum option_id id, const char *value,
                                     uint32_t min, uint32_t max, uint32_t *out) {
    char *end;
    errno = 0;
    const unsigned long n = strtoul(value, &end, 10);
    if (value[0] < '0' || value[0] > '9' || *end != '\0' || errno != 0 || n < min || n > max)
        return bad_value(diag, id, value);
    *out = (uint32_t)n;
    return RSRC_OK;
}

/* The index of `value` in a list of words, or a diagnostic. */
static enum rsrc_status parse_word(struct rsrc_diag *diag, enum option_id id, const char *value,
                                   const char *const *words, uint32_t n_words, uint32_t *out) {
    for (uint32_t i = 0; i < n_words; i++) {
        if (strcmp(words[i], value) == 0) {
            *out = i;
            return RSRC_OK;
        }
    }
    return bad_value(diag, id, value);
}

static enum rsrc_status parse_emit(struct rsrc_diag *diag, const char *value, uint32_t *out) {
    const char *names[N_EMIT_KINDS];
    for (uint32_t i = 0; i < N_EMIT_KINDS; i++)
        names[i] = EMIT_KINDS[i].name;
    uint32_t bits = 0;
    for (const char *at = value; *at != '\0';) {
        const size_t n = strcspn(at, ",");
        uint32_t kind = 0;
        while (kind < N_EMIT_KINDS && (strlen(names[kind]) != n || memcmp(names[kind], at, n) != 0))
            kind++;
        if (kind == N_EMIT_KINDS) {
            char word[32];
            snprintf(word, sizeof(word), "%.*s", (int)n, at);
            const char *close = rsrc_did_you_mean(word, names, N_EMIT_KINDS);
            rsrc_error(
                diag, "option-value", NULL,
                "kinds are so, obj, asm, llvm, c, ptx, cubin, rsr, plan, step, kernel, report",
                "--emit does not know '%s'%s%s%s", word, close ? "; did you mean '" : "",
                close ? close : "", close ? "'?" : "");
            return RSRC_FAILED;
        }
        bits |= EMIT_KINDS[kind].bit;
        at += n + (at[n] == ',');
    }
    if (bits == 0)
        return bad_value(diag, OPT_EMIT, value);
    *out = bits;
    return RSRC_OK;
}

static enum rsrc_status parse_inputs(struct rsrc_diag *diag, const char *value, uint32_t *out) {
    static const char *const VALUES[] = {"i8", "f32", "i8,f32", "f32,i8"};
    static const uint32_t BITS[] = {RSRC_INPUTS_I8, RSRC_INPUTS_F32,
                                    RSRC_INPUTS_I8 | RSRC_INPUTS_F32,
                                    RSRC_INPUTS_I8 | RSRC_INPUTS_F32};
    uint32_t word = 0;
    if (parse_word(diag, OPT_INPUT, value, VALUES, sizeof(VALUES) / sizeof(VALUES[0]), &word) !=
        RSRC_OK)
        return RSRC_FAILED;
    *out = BITS[word];
    return RSRC_OK;
}

/* Growing lists of repeated options live in the arena; there are never more than arguments. */
struct parser {
    struct rsrc_diag *diag;
    struct rsrc_arena *arena;
    struct rsrc_command_line *line;
    struct rsrc_variant_choice *variants;
    const char **dumps;
};

static enum rsrc_status add_variant(struct parser *p, const char *value) {
    const char *equals = strchr(value, '=');
    if (equals == NULL || equals == value || equals[1] == '\0')
        return bad_value(p->diag, OPT_VARIANT, value);
    p->variants[p->line->options.n_variants++] = (struct rsrc_variant_choice){
        .role = rsrc_arena_strndup(p->arena, value, (size_t)(equals - value)),
        .variant = equals + 1};
    return RSRC_OK;
}

static enum rsrc_status apply(struct parser *p, enum option_id id, const char *value) {
    static const char *const COLORS[] = {"auto", "always", "never"};
    static const char *const FORMATS[] = {"text", "json"};
    struct rsrc_options *options = &p->line->options;
    uint32_t word = 0;
    enum rsrc_status status = RSRC_OK;
    switch (id) {
    case OPT_TARGET:
        options->target = value;
        break;
    case OPT_OUTPUT:
        options->output = value;
        break;
    case OPT_EMIT:
        return parse_emit(p->diag, value, &options->emit);
    case OPT_INPUT:
        return parse_inputs(p->diag, value, &options->inputs);
    case OPT_LAYERS:
        options->layers = value;
        break;
    case OPT_VARIANT:
        return add_variant(p, value);
    case OPT_RSR_K:
        if (strcmp(value, "auto") == 0) {
            options->rsr_k = 0;
            return RSRC_OK;
        }
        return parse_number(p->diag, id, value, 1, 16, &options->rsr_k);
    case OPT_FOLD_BUDGET:
        return parse_size(p->diag, id, value, &options->fold_budget);
    case OPT_OPT_LEVEL:
        return parse_number(p->diag, id, value, 0, 3, &options->opt_level);
    case OPT_JOBS:
        return parse_number(p->diag, id, value, 1, 256, &options->n_jobs);
    case OPT_REPORT:
        if (strncmp(value, "text", 4) != 0 && strncmp(value, "json", 4) != 0)
            return bad_value(p->diag, id, value);
        if (value[4] != '\0' && (value[4] != ':' || value[5] == '\0'))
            return bad_value(p->diag, id, value);
        options->report = value;
        break;
    case OPT_RPASS:
        options->remarks = value;
        break;
    case OPT_RPASS_MISSED:
        options->missed_remarks = value;
        break;
    case OPT_FROM:
        options->from = value;
        break;
    case OPT_TO:
        options->to = value;
        break;
    case OPT_DUMP:
        p->dumps[options->n_dumps++] = value;
        break;
    case OPT_NO_REDUCE:
        options->no_reduce = true;
        break;
    case OPT_VERIFY_EACH:
        options->verify_each = true;
        break;
    case OPT_PRINT_TARGETS:
        p->line->action = RSRC_ACTION_PRINT_TARGETS;
        break;
    case OPT_PRINT_TARGET:
        p->line->action = RSRC_ACTION_PRINT_TARGET;
        p->line->print_target = value;
        break;
    case OPT_PRINT_PASSES:
        p->line->action = RSRC_ACTION_PRINT_PASSES;
        break;
    case OPT_CACHE_DIR:
        options->cache_dir = value;
        break;
    case OPT_TIME_REPORT:
        options->time_report = true;
        break;
    case OPT_SAVE_TEMPS:
        options->save_temps = true;
        options->temps_dir = value;
        break;
    case OPT_DRY_RUN:
        options->dry_run = true;
        break;
    case OPT_DEPENDENCIES:
        options->dependencies = true;
        break;
    case OPT_DEPENDENCY_FILE:
        options->dependency_file = value;
        break;
    case OPT_BACKEND:
        options->backend = value;
        break;
    case OPT_SPEC_DIR:
        options->spec_dir = value;
        break;
    case OPT_CC:
        options->cc = value;
        break;
    case OPT_LD:
        options->ld = value;
        break;
    case OPT_CUDA_PATH:
        options->cuda_path = value;
        break;
    case OPT_COLOR:
        status = parse_word(p->diag, id, value, COLORS, 3, &word);
        options->color = (int)word;
        return status;
    case OPT_DIAG_FORMAT:
        status = parse_word(p->diag, id, value, FORMATS, 2, &word);
        options->json_diagnostics = word == 1;
        return status;
    case OPT_VERBOSE:
        options->verbose = true;
        break;
    case OPT_VERSION:
        p->line->action = RSRC_ACTION_VERSION;
        break;
    case OPT_HELP:
        p->line->action = RSRC_ACTION_HELP;
        break;
    case OPT_COUNT:
        break;
    }
    return status;
}

/* Matches `arg` against one option: "--opt", "--opt=value", "-oVALUE". *value is NULL if none is in
 * the argument itself. */
static bool matches(const struct option *option, const char *arg, const char **value) {
    const size_t n = strlen(option->spelling);
    *value = NULL;
    if (strncmp(arg, option->spelling, n) != 0)
        return false;
    if (arg[n] == '\0')
        return true;
    const bool is_letter = n == 2 && option->spelling[1] != '-';
    if (option->argument == NULL || (arg[n] != '=' && !is_letter))
        return false;
    *value = arg + n + (arg[n] == '=');
    return true;
}

static enum rsrc_status unknown_option(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                       const char *arg) {
    const char *names[OPT_COUNT];
    for (uint32_t i = 0; i < OPT_COUNT; i++)
        names[i] = OPTIONS[i].spelling;
    const char *close =
        rsrc_did_you_mean(rsrc_arena_strndup(arena, arg, strcspn(arg, "=")), names, OPT_COUNT);
    rsrc_error(diag, "option-unknown", NULL, "rsrc --help lists the options",
               "unknown option '%s'%s%s%s", arg, close ? "; did you mean '" : "",
               close ? close : "", close ? "'?" : "");
    return RSRC_FAILED;
}

static enum option_id find_option(const char *arg, const char **value) {
    enum option_id id = 0;
    while (id < OPT_COUNT && !matches(&OPTIONS[id], arg, value))
        id++;
    return id;
}

static bool needs_next(enum option_id id, const char *value) {
    return OPTIONS[id].argument != NULL && value == NULL && !takes_optional(&OPTIONS[id]);
}

struct rsrc_diag_choice rsrc_choose_diagnostics(const struct rsrc_arguments *arguments) {
    struct rsrc_diag_choice choice = {.json = false, .color = RSRC_COLOR_AUTO};
    for (uint32_t i = 0; i < arguments->n && strcmp(arguments->args[i], "--") != 0; i++) {
        const char *value = NULL;
        const enum option_id id = find_option(arguments->args[i], &value);
        if (id == OPT_COUNT)
            continue;
        if (needs_next(id, value))
            value = ++i < arguments->n ? arguments->args[i] : "";
        if (id == OPT_DIAG_FORMAT)
            choice.json = strcmp(value, "json") == 0;
        if (id == OPT_COLOR)
            choice.color = strcmp(value, "always") == 0  ? RSRC_COLOR_ALWAYS
                           : strcmp(value, "never") == 0 ? RSRC_COLOR_NEVER
                                                         : RSRC_COLOR_AUTO;
    }
    return choice;
}

static enum rsrc_status add_input(struct parser *p, const char *arg) {
    struct rsrc_options *options = &p->line->options;
    if (options->input != NULL) {
        rsrc_error(p->diag, "option-input", NULL, "compile one checkpoint at a time",
                   "two inputs: '%s' and '%s'", options->input, arg);
        return RSRC_FAILED;
    }
    options->input = arg;
    return RSRC_OK;
}

static enum rsrc_status parse_all(struct parser *p, const struct rsrc_arguments *arguments) {
    bool only_files = false;
    for (uint32_t i = 0; i < arguments->n; i++) {
        const char *arg = arguments->args[i], *value = NULL;
        if (!only_files && strcmp(arg, "--") == 0) {
            only_files = true;
            continue;
        }
        if (only_files || arg[0] != '-' || arg[1] == '\0') {
            if (add_input(p, arg) != RSRC_OK)
                return RSRC_FAILED;
            continue;
        }
        const enum option_id id = find_option(arg, &value);
        if (id == OPT_COUNT)
            return unknown_option(p->diag, p->arena, arg);
        if (needs_next(id, value)) {
            if (i + 1 >= arguments->n) {
                rsrc_error(p->diag, "option-value", NULL, NULL, "%s needs %s", arg,
                           OPTIONS[id].argument);
                return RSRC_FAILED;
            }
            value = arguments->args[++i];
        }
        if (apply(p, id, value) != RSRC_OK)
            return RSRC_FAILED;
    }
    return RSRC_OK;
}

enum rsrc_status rsrc_parse_options(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                    const struct rsrc_arguments *arguments,
                                    struct rsrc_command_line *out) {
    rsrc_options_init(&out->options);
    out->action = RSRC_ACTION_COMPILE;
    out->print_target = NULL;
    struct parser parser = {.diag = diag,
                            .arena = arena,
                            .line = out,
                            .variants =
                                RSRC_NEW_ARRAY(arena, arguments->n, struct rsrc_variant_choice),
                            .dumps = RSRC_NEW_ARRAY(arena, arguments->n, const char *)};
    if (parse_all(&parser, arguments) != RSRC_OK)
        return RSRC_FAILED;
    out->options.variants = parser.variants;
    out->options.dumps = parser.dumps;
    if (out->action == RSRC_ACTION_COMPILE && out->options.input == NULL) {
        rsrc_error(diag, "option-input", NULL, "rsrc --help shows how to call it",
                   "no checkpoint given");
        return RSRC_FAILED;
    }
    return RSRC_OK;
}
