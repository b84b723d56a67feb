/* options.c - parses the command line by the table in options.def. */
#include "options.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"

/* ---- the table ------------------------------------------------------------------------------- */

/* Growing lists of repeated options live in the arena; there are never more than arguments. */
struct parser {
    struct rsrc_diag *diag;
    struct rsrc_arena *arena;
    struct rsrc_command_line *line;
    struct rsrc_variant_choice *variants;
    const char **dumps, **profiles;
};

struct word {
    const char *name;
    uint32_t value;
};

struct option;
typedef enum rsrc_status setter(struct parser *p, const struct option *option, const char *value);

struct option {
    const char *spelling;
    const char *argument;
    const char *help;
    setter *set;
    size_t member; /* its offset in struct rsrc_options */
    const struct word *words;
    uint32_t n_words;
    uint32_t min, max;
    enum rsrc_action action;
};

static const struct word KINDS[] = {
#define RSRC_KIND(id, name, suffix, is_text, pass, unit) {name, RSRC_EMIT_##id},
#include "driver/kinds.def"
#undef RSRC_KIND
};
static const struct word INPUTS[] = {{"i8", RSRC_INPUTS_I8}, {"f32", RSRC_INPUTS_F32}};
static const struct word ACTIVATIONS[] = {{"auto", RSRC_ACTIVATIONS_AUTO},
                                          {"int8", RSRC_ACTIVATIONS_INT8},
                                          {"float", RSRC_ACTIVATIONS_FLOAT}};
static const struct word I2S_LAYOUTS[] = {
    {"auto", RSRC_I2S_AUTO}, {"x86", RSRC_I2S_X86}, {"arm", RSRC_I2S_ARM}};
static const struct word HEAD_BITS[] = {
    {"auto", RSRC_HEAD_BITS_AUTO}, {"16", RSRC_HEAD_BITS_16}, {"12", RSRC_HEAD_BITS_12}};
static const struct word HEAD_SKETCHES[] = {{"auto", RSRC_HEAD_SKETCH_AUTO},
                                            {"off", RSRC_HEAD_SKETCH_OFF},
                                            {"1", RSRC_HEAD_SKETCH_1},
                                            {"2", RSRC_HEAD_SKETCH_2}};
static const struct word COLORS[] = {
    {"auto", RSRC_COLOR_AUTO}, {"always", RSRC_COLOR_ALWAYS}, {"never", RSRC_COLOR_NEVER}};
static const struct word FORMATS[] = {{"text", false}, {"json", true}};
static const struct word INFOS[] = {{"text", RSRC_INFO_TEXT}, {"json", RSRC_INFO_JSON}};
static const struct word AUTO[] = {{"auto", 0}};

enum option_id {
#define RSRC_OPTION(id, spelling, argument, help, value) OPT_##id,
#include "options.def"
#undef RSRC_OPTION
    OPT_COUNT
};

static enum option_id find_option(const char *arg, const char **value);
static bool needs_next(const struct option *option, const char *value);
static setter set_flag, set_text, set_pattern, set_number, set_size, set_word, set_words;
static setter set_action, set_report, set_save_temps, set_diagnostics_format, print_target;
static setter add_variant, add_dump, add_profile, set_info, set_calibrate;

#define MEMBER(name) .member = offsetof(struct rsrc_options, name)
#define TABLE(table) .words = (table), .n_words = sizeof(table) / sizeof((table)[0])
#define FLAG(name) .set = set_flag, MEMBER(name)
#define TEXT(name) .set = set_text, MEMBER(name)
#define PATTERN(name) .set = set_pattern, MEMBER(name)
#define NUMBER(name, least, most) .set = set_number, MEMBER(name), .min = (least), .max = (most)
#define NUMBER_OR(name, table, least, most) NUMBER(name, least, most), TABLE(table)
#define SIZE(name) .set = set_size, MEMBER(name)
#define WORD(name, table) .set = set_word, MEMBER(name), TABLE(table)
#define WORDS(name, table) .set = set_words, MEMBER(name), TABLE(table)
#define ACTION(id) .set = set_action, .action = RSRC_ACTION_##id
#define OWN(function) .set = function
#define OWN_WORD(function, table) OWN(function), TABLE(table)

static const struct option OPTIONS[OPT_COUNT] = {
#define RSRC_OPTION(id, spelling, argument, help, value)                                           \
    [OPT_##id] = {spelling, argument, help, value},
#include "options.def"
#undef RSRC_OPTION
};

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

const char *rsrc_version(void) {
    return RSRC_VERSION;
}

/* ---- printing -------------------------------------------------------------------------------- */

/* The options that change a module's bytes. If such an option is missing here, --verify compares
 * with another module. */
static const enum option_id DECISIVE[] = {
    OPT_BACKEND,     OPT_INPUT,     OPT_ACTIVATIONS, OPT_I2S_LAYOUT, OPT_VARIANT, OPT_RSR_K,
    OPT_HEAD_SKETCH, OPT_HEAD_BITS, OPT_NO_REDUCE,   OPT_HOLLOW,     OPT_SHARD,   OPT_RELU2_ACTIVE,
    OPT_FOLD_BUDGET, OPT_TUNE,      OPT_OPT_LEVEL,   OPT_FROM};

static bool is_recorded(const char *word) {
    const char *value = NULL;
    const enum option_id id = find_option(word, &value);
    bool found = id == OPT_TARGET || id == OPT_OUTPUT;
    for (uint32_t i = 0; i < sizeof(DECISIVE) / sizeof(DECISIVE[0]); i++)
        found |= id == DECISIVE[i];
    return found && !needs_next(&OPTIONS[id], value);
}

enum rsrc_status rsrc_add_recorded_options(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                           const char *file, const char *recorded,
                                           struct rsrc_arguments *arguments) {
    struct rsrc_arguments all = {.files = arguments->files, .n_files = arguments->n_files};
    if (rsrc_split_words(diag, arena, file, recorded, strlen(recorded), &all) != RSRC_OK)
        return RSRC_FAILED;
    for (uint32_t i = 0; i < all.n; i++)
        if (!is_recorded(all.args[i]))
            return rsrc_refuse(diag, "verify-options", &(struct rsrc_place){.file = file},
                               "compile the model again",
                               "its note has '%s' among the options that it was compiled with",
                               all.args[i]);
    for (uint32_t i = 0; i < arguments->n; i++)
        rsrc_add_argument(arena, arguments->args[i], &all);
    *arguments = all;
    return RSRC_OK;
}

/* " --variant=q=lut", quoted so that it stays one word. */
static void put_option(struct rsrc_buffer *out, const struct option *option, const char *value) {
    rsrc_buffer_printf(out, " %s%s", option->spelling, value[0] != '\0' ? "=" : "");
    for (const char *c = value; *c != '\0'; c++)
        rsrc_buffer_printf(out, "%s%c", strchr(" \t\r\n\v\f'\"\\", *c) != NULL ? "\\" : "", *c);
}

/* "i8,f32" */
static void put_word_options(struct rsrc_buffer *out, const struct option *option, uint32_t value) {
    struct rsrc_buffer words = {0};
    for (uint32_t i = 0; i < option->n_words; i++)
        if (option->set == set_words ? (value & option->words[i].value) != 0
                                     : value == option->words[i].value)
            rsrc_buffer_printf(&words, "%s%s", words.size_bytes != 0 ? "," : "",
                               option->words[i].name);
    if (words.size_bytes == 0)
        rsrc_buffer_printf(&words, "%u", value);
    put_option(out, option, words.data);
    rsrc_buffer_free(&words);
}

static void put_value(struct rsrc_buffer *out, const struct option *option, const void *member) {
    uint32_t number;
    char text[24];
    if (option->set == set_flag) {
        put_option(out, option, "");
    } else if (option->set == set_size) {
        uint64_t bytes;
        memcpy(&bytes, member, sizeof(bytes));
        snprintf(text, sizeof(text), "%llu", (unsigned long long)bytes);
        put_option(out, option, text);
    } else if (option->set == set_text) {
        const char *value;
        memcpy(&value, member, sizeof(value));
        put_option(out, option, value);
    } else {
        memcpy(&number, member, sizeof(number));
        put_word_options(out, option, number);
    }
}

static size_t member_bytes(const struct option *option) {
    return option->set == set_flag   ? sizeof(bool)
           : option->set == set_size ? sizeof(uint64_t)
           : option->set == set_text ? sizeof(const char *)
                                     : sizeof(uint32_t);
}

void rsrc_print_options(const struct rsrc_options *options, struct rsrc_buffer *out) {
    struct rsrc_options defaults;
    rsrc_options_init(&defaults);
    for (uint32_t i = 0; i < sizeof(DECISIVE) / sizeof(DECISIVE[0]); i++) {
        const struct option *option = &OPTIONS[DECISIVE[i]];
        const char *member = (const char *)options + option->member;
        if (DECISIVE[i] != OPT_VARIANT &&
            memcmp(member, (const char *)&defaults + option->member, member_bytes(option)) != 0)
            put_value(out, option, member);
        for (uint32_t v = 0; DECISIVE[i] == OPT_VARIANT && v < options->n_variants; v++) {
            const struct rsrc_variant_choice *choice = &options->variants[v];
            struct rsrc_buffer value = {0};
            rsrc_buffer_printf(&value, "%s=%s", choice->role, choice->variant);
            put_option(out, option, value.data);
            rsrc_buffer_free(&value);
        }
    }
}

/* ---- help ------------------------------------------------------------------------------------ */

/* "--target=NAME", "-j N", "-v". */
static void put_usage(struct rsrc_buffer *out, const struct option *option) {
    const bool is_long = option->spelling[1] == '-' || strlen(option->spelling) > 2;
    rsrc_buffer_puts(out, option->spelling);
    if (option->argument == NULL)
        return;
    if (!takes_optional(option))
        rsrc_buffer_puts(out, is_long ? "=" : " ");
    rsrc_buffer_puts(out, option->argument);
}

/* One option: its usage, then its help, whose further lines stand under the first. */
static void print_option(FILE *stream, const struct option *option) {
    struct rsrc_buffer usage = {0};
    put_usage(&usage, option);
    fprintf(stream, "  %-30s ", usage.data);
    rsrc_buffer_free(&usage);
    for (const char *c = option->help; *c != '\0'; c++) {
        fputc(*c, stream);
        if (*c == '\n')
            fprintf(stream, "  %-30s ", "");
    }
    fputc('\n', stream);
}

void rsrc_print_help(FILE *stream) {
    fputs("usage: rsrc [options] [@file] <model.safetensors | index.json | HF folder | "
          "model.gguf | matrix.npy>\n\n"
          "Compiles a ternary or binary checkpoint into one library: model.so.\n"
          "    rsrc model/ --target avx512 -o model.so\n"
          "    rsr-run model.so -p \"In the beginning\"\n\noptions:\n",
          stream);
    for (uint32_t i = 0; i < OPT_COUNT; i++)
        print_option(stream, &OPTIONS[i]);
    fputs("\nExit status: 0 success, 1 an error that was explained, 70 a defect of rsrc.\n",
          stream);
}

/* ---- what is wrong with a value -------------------------------------------------------------- */

/* The option's line of --help. */
static const char *help_of(struct parser *p, const struct option *option) {
    struct rsrc_buffer text = {0};
    put_usage(&text, option);
    rsrc_buffer_printf(&text, ": %s", option->help);
    char *help = rsrc_arena_strdup(p->arena, text.data);
    rsrc_buffer_free(&text);
    for (char *c = help; *c != '\0'; c++)
        if (*c == '\n')
            *c = ' ';
    return help;
}

/* "auto, always or never" */
static void put_words(struct rsrc_buffer *out, const struct option *option) {
    for (uint32_t i = 0; i < option->n_words; i++)
        rsrc_buffer_printf(out, "%s%s",
                           i == 0                    ? ""
                           : i + 1 < option->n_words ? ", "
                                                     : " or ",
                           option->words[i].name);
}

/* The accepted values, in words. */
static const char *allowed(struct parser *p, const struct option *option) {
    struct rsrc_buffer text = {0};
    put_words(&text, option);
    if (option->set == set_number)
        rsrc_buffer_printf(&text, "%sa number from %u to %u", option->n_words != 0 ? " or " : "",
                           option->min, option->max);
    else if (option->set == set_size)
        rsrc_buffer_puts(&text, "a number of bytes, optionally followed by K, M or G");
    else if (option->set == set_words)
        rsrc_buffer_puts(&text, ", or several with commas");
    else if (takes_optional(option) && option->n_words == 0)
        rsrc_buffer_printf(&text, "%.*s", (int)strlen(option->argument) - 3, option->argument + 2);
    else if (option->n_words == 0)
        rsrc_buffer_puts(&text, option->argument);
    const char *copy = rsrc_arena_strdup(p->arena, text.data);
    rsrc_buffer_free(&text);
    return copy;
}

static const char *closest_word(struct parser *p, const struct option *option, const char *value) {
    const char **names = RSRC_NEW_ARRAY(p->arena, option->n_words, const char *);
    for (uint32_t i = 0; i < option->n_words; i++)
        names[i] = option->words[i].name;
    return rsrc_did_you_mean(value, names, option->n_words);
}

static enum rsrc_status bad_value(struct parser *p, const struct option *option,
                                  const char *value) {
    const char *close = closest_word(p, option, value);
    return rsrc_refuse(p->diag, "option-value", NULL, help_of(p, option),
                       "%s takes %s, not '%s'%s%s%s", option->spelling, allowed(p, option), value,
                       close ? "; did you mean '" : "", close ? close : "", close ? "'?" : "");
}

/* ---- values of each kind --------------------------------------------------------------------- */

static void *member_of(const struct parser *p, const struct option *option) {
    return (char *)&p->line->options + option->member;
}

static enum rsrc_status set_flag(struct parser *p, const struct option *option, const char *value) {
    (void)value;
    *(bool *)member_of(p, option) = true;
    return RSRC_OK;
}

static enum rsrc_status set_pattern(struct parser *p, const struct option *option,
                                    const char *value) {
    *(const char **)member_of(p, option) = value;
    return RSRC_OK;
}

static enum rsrc_status set_text(struct parser *p, const struct option *option, const char *value) {
    return value[0] != '\0' ? set_pattern(p, option, value) : bad_value(p, option, value);
}

/* The word with this name and length, or NULL. */
static const struct word *find_word(const struct option *option, const char *name, size_t length) {
    for (uint32_t i = 0; i < option->n_words; i++) {
        const char *word = option->words[i].name;
        if (strlen(word) == length && memcmp(word, name, length) == 0)
            return &option->words[i];
    }
    return NULL;
}

/* Members that hold a word's value are uint32_t or int. */
static enum rsrc_status set_word(struct parser *p, const struct option *option, const char *value) {
    const struct word *word = find_word(option, value, strlen(value));
    if (word == NULL)
        return bad_value(p, option, value);
    memcpy(member_of(p, option), &word->value, sizeof(word->value));
    return RSRC_OK;
}

static enum rsrc_status set_words(struct parser *p, const struct option *option,
                                  const char *value) {
    uint32_t bits = 0;
    for (const char *at = value;; at++) {
        const size_t n = strcspn(at, ",");
        const struct word *word = find_word(option, at, n);
        if (n == 0 && value[0] != '\0')
            return rsrc_refuse(p->diag, "option-value", NULL, help_of(p, option),
                               "%s: a part of '%s' is empty", option->spelling, value);
        if (word == NULL)
            return bad_value(p, option, rsrc_arena_strndup(p->arena, at, n));
        bits |= word->value;
        at += n;
        if (*at == '\0')
            break;
    }
    *(uint32_t *)member_of(p, option) = bits;
    return RSRC_OK;
}

static enum rsrc_status set_number(struct parser *p, const struct option *option,
                                   const char *value) {
    const struct word *word = find_word(option, value, strlen(value));
    char *end = NULL;
    errno = 0;
    const unsigned long n = word != NULL ? word->value : strtoul(value, &end, 10);
    if (word == NULL && (value[0] < '0' || value[0] > '9' || *end != '\0' || errno != 0 ||
                         n < option->min || n > option->max))
        return bad_value(p, option, value);
    *(uint32_t *)member_of(p, option) = (uint32_t)n;
    return RSRC_OK;
}

/* "4M": bytes, with K, M or G for powers of 1024. */
static enum rsrc_status set_size(struct parser *p, const struct option *option, const char *value) {
    static const char SUFFIXES[] = "KMG";
    char *end = NULL;
    errno = 0;
    const unsigned long long number = strtoull(value, &end, 10);
    const char *suffix = *end != '\0' ? strchr(SUFFIXES, *end) : NULL;
    const unsigned shift = suffix != NULL ? 10 * ((unsigned)(suffix - SUFFIXES) + 1) : 0;
    if (errno != 0 || *value < '0' || *value > '9' || end[suffix != NULL] != '\0' ||
        number > UINT64_MAX >> (shift + 1))
        return bad_value(p, option, value);
    *(uint64_t *)member_of(p, option) = (uint64_t)number << shift;
    return RSRC_OK;
}

static enum rsrc_status set_action(struct parser *p, const struct option *option,
                                   const char *value) {
    (void)value;
    p->line->action = option->action;
    return RSRC_OK;
}

/* ---- values of single options ---------------------------------------------------------------- */

static enum rsrc_status add_variant(struct parser *p, const struct option *option,
                                    const char *value) {
    const char *equals = strchr(value, '=');
    if (equals == NULL || equals == value || equals[1] == '\0')
        return bad_value(p, option, value);
    p->variants[p->line->options.n_variants++] = (struct rsrc_variant_choice){
        .role = rsrc_arena_strndup(p->arena, value, (size_t)(equals - value)),
        .variant = equals + 1};
    return RSRC_OK;
}

static enum rsrc_status add_dump(struct parser *p, const struct option *option, const char *value) {
    (void)option;
    p->dumps[p->line->options.n_dumps++] = value;
    return RSRC_OK;
}

static enum rsrc_status add_profile(struct parser *p, const struct option *option,
                                    const char *value) {
    if (value[0] == '\0')
        return bad_value(p, option, value);
    p->profiles[p->line->options.n_profiles++] = value;
    return RSRC_OK;
}

static enum rsrc_status set_calibrate(struct parser *p, const struct option *option,
                                      const char *value) {
    if (value != NULL && value[0] == '\0')
        return bad_value(p, option, value);
    p->line->options.calibrate = true;
    p->line->options.calibrate_text = value;
    return RSRC_OK;
}

static enum rsrc_status set_report(struct parser *p, const struct option *option,
                                   const char *value) {
    static const char *const FORMS[] = {"text", "json", "html"};
    bool known = false;
    for (size_t i = 0; i < sizeof(FORMS) / sizeof(FORMS[0]); i++)
        known |= strncmp(value, FORMS[i], 4) == 0;
    if (!known || (value[4] != '\0' && (value[4] != ':' || value[5] == '\0')))
        return bad_value(p, option, value);
    p->line->options.report = value;
    return RSRC_OK;
}

static enum rsrc_status set_info(struct parser *p, const struct option *option, const char *value) {
    const struct word *word = &option->words[0];
    if (value != NULL)
        word = find_word(option, value, strlen(value));
    if (word == NULL)
        return bad_value(p, option, value);
    p->line->options.info = word->value;
    return RSRC_OK;
}

static enum rsrc_status set_save_temps(struct parser *p, const struct option *option,
                                       const char *value) {
    if (value != NULL && value[0] == '\0')
        return bad_value(p, option, value);
    p->line->options.save_temps = true;
    p->line->options.temps_dir = value;
    return RSRC_OK;
}

static enum rsrc_status set_diagnostics_format(struct parser *p, const struct option *option,
                                               const char *value) {
    const struct word *word = find_word(option, value, strlen(value));
    if (word == NULL)
        return bad_value(p, option, value);
    p->line->options.json_diagnostics = word->value;
    return RSRC_OK;
}

static enum rsrc_status print_target(struct parser *p, const struct option *option,
                                     const char *value) {
    (void)option;
    p->line->action = RSRC_ACTION_PRINT_TARGET;
    p->line->print_target = value;
    return RSRC_OK;
}

/* ---- arguments ------------------------------------------------------------------------------- */

/* Matches `arg` against one option: "--opt", "--opt=value", "-oVALUE". *value is NULL if none is in
 * the argument itself. */
static bool matches(const struct option *option, const char *arg, const char **value) {
    const size_t n = strlen(option->spelling);
    *value = NULL;
    if (strncmp(arg, option->spelling, n) != 0)
        return false;
    if (arg[n] == '\0')
        return true;
    const bool is_letter = n == 2 && option->spelling[1] != '-' && option->argument != NULL;
    if (arg[n] != '=' && !is_letter)
        return false;
    *value = arg + n + (arg[n] == '=');
    return true;
}

static enum rsrc_status unknown_option(struct rsrc_diag *diag, const char *arg) {
    const char *names[OPT_COUNT];
    for (uint32_t i = 0; i < OPT_COUNT; i++)
        names[i] = OPTIONS[i].spelling;
    const char *close = rsrc_did_you_mean(arg, names, OPT_COUNT);
    return rsrc_refuse(diag, "option-unknown", NULL, "rsrc --help lists the options",
                       "unknown option '%s'%s%s%s", arg, close ? "; did you mean '" : "",
                       close ? close : "", close ? "'?" : "");
}

static enum option_id find_option(const char *arg, const char **value) {
    enum option_id id = 0;
    *value = NULL;
    if (strcmp(arg, "-h") == 0)
        return OPT_HELP;
    while (id < OPT_COUNT && !matches(&OPTIONS[id], arg, value))
        id++;
    return id;
}

static bool needs_next(const struct option *option, const char *value) {
    return option->argument != NULL && value == NULL && !takes_optional(option);
}

struct rsrc_diag_choice rsrc_choose_diagnostics(const struct rsrc_arguments *arguments) {
    struct rsrc_diag_choice choice = {.json = false, .color = RSRC_COLOR_AUTO};
    for (uint32_t i = 0; i < arguments->n && strcmp(arguments->args[i], "--") != 0; i++) {
        const char *value = NULL;
        const enum option_id id = find_option(arguments->args[i], &value);
        if (id == OPT_COUNT)
            continue;
        if (needs_next(&OPTIONS[id], value))
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
    if (options->input != NULL)
        return rsrc_refuse(p->diag, "option-input", NULL, "compile one checkpoint at a time",
                           "two inputs: '%s' and '%s'", options->input, arg);
    if (arg[0] == '\0')
        return rsrc_refuse(p->diag, "option-input", NULL, "rsrc --help shows how to call it",
                           "the name of the checkpoint is empty");
    options->input = arg;
    return RSRC_OK;
}

/* Requires a value if the option takes one, and none if it is a flag. */
static enum rsrc_status check_presence(struct parser *p, const struct option *option,
                                       const char *value) {
    if (needs_next(option, value))
        return rsrc_refuse(p->diag, "option-value", NULL, help_of(p, option), "%s needs %s",
                           option->spelling, option->argument);
    if (option->argument == NULL && value != NULL)
        return rsrc_refuse(p->diag, "option-value", NULL, help_of(p, option),
                           "%s takes no value, and got '%s'", option->spelling, value);
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
            return unknown_option(p->diag, arg);
        const struct option *option = &OPTIONS[id];
        if (needs_next(option, value) && i + 1 < arguments->n)
            value = arguments->args[++i];
        if (check_presence(p, option, value) != RSRC_OK || option->set(p, option, value) != RSRC_OK)
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
                            .dumps = RSRC_NEW_ARRAY(arena, arguments->n, const char *),
                            .profiles = RSRC_NEW_ARRAY(arena, arguments->n, const char *)};
    if (parse_all(&parser, arguments) != RSRC_OK)
        return RSRC_FAILED;
    out->options.keep_files = arguments->files;
    out->options.n_keep_files = arguments->n_files;
    out->options.variants = parser.variants;
    out->options.dumps = parser.dumps;
    out->options.profiles = parser.profiles;
    if (out->action == RSRC_ACTION_COMPILE && out->options.input == NULL)
        return rsrc_refuse(diag, "option-input", NULL, "rsrc --help shows how to call it",
                           "no checkpoint given");
    return RSRC_OK;
}
