/* rsr_run_options.c - the command line of rsr-run, from one table. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "near_name.h"
#include "rsr_run.h"

enum value_kind {
    VALUE_NONE,
    VALUE_TEXT,
    VALUE_TEXTS,
    VALUE_COUNT,
    VALUE_MORE, /* [=N]: stores N + 1; without =N, 1 */
    VALUE_NUMBER,
    VALUE_SEED,
    VALUE_BIAS
};

#define ENGINE_MODES (RUN_PROMPT | RUN_CHAT | RUN_PERPLEXITY)
#define TEXT_MODES (RUN_PROMPT | RUN_CHAT)
#define MODEL_MODES (RUN_PROMPT | RUN_CHAT | RUN_INFO | RUN_PERPLEXITY)
#define ALL_MODES (MODEL_MODES | RUN_VERIFY)

struct option {
    const char *name;
    const char *value; /* NULL: a flag */
    enum value_kind kind;
    size_t offset;         /* of the field in struct run_options */
    unsigned modes;        /* modes to which it applies */
    enum run_mode selects; /* the mode that it asks for */
    double min, max;
    const char *help;
};

#define FIELD(field) offsetof(struct run_options, field)
#define SAMPLING(field) offsetof(struct run_options, sampling.field)

static const struct option options_table[] = {
    {"-p", "TEXT", VALUE_TEXT, FIELD(prompt), RUN_PROMPT, RUN_PROMPT, 0, 0,
     "continue this text; an embedding model embeds it"},
    {"-f", "FILE", VALUE_TEXT, FIELD(prompt_file), RUN_PROMPT, RUN_PROMPT, 0, 0,
     "continue the text of a file; a lone - reads standard input"},
    {"--embed", "POOLING", VALUE_TEXT, FIELD(pooling), RUN_PROMPT, RUN_NONE, 0, 0,
     "with -p or -f: print the text's embedding, of its last or first token, or their mean"},
    {"--chat", NULL, VALUE_NONE, 0, RUN_CHAT, RUN_CHAT, 0, 0,
     "talk: one message per line, with the model's chat template"},
    {"--system", "TEXT", VALUE_TEXT, FIELD(system), RUN_CHAT, RUN_NONE, 0, 0,
     "with --chat: the system message"},
    {"--perplexity", "FILE", VALUE_TEXT, FIELD(text_file), RUN_PERPLEXITY, RUN_PERPLEXITY, 0, 0,
     "score a text in windows of the context"},
    {"--info", NULL, VALUE_NONE, 0, RUN_INFO, RUN_INFO, 0, 0, "describe the model and its kernels"},
    {"--verify", NULL, VALUE_NONE, FIELD(verify), ALL_MODES, RUN_NONE, 0, 0,
     "first compare the whole file with its hashes; as the only option, list its sections"},
    {"-n", "N", VALUE_COUNT, FIELD(n_tokens), TEXT_MODES, RUN_NONE, 1, 1e9,
     "generate at most N tokens (128)"},
    {"--stop", "TEXT", VALUE_TEXTS, FIELD(stops), TEXT_MODES, RUN_NONE, 0, 0,
     "stop before this text is generated; may be given several times"},
    {"--json-schema", "FILE", VALUE_TEXT, FIELD(schema_file), TEXT_MODES, RUN_NONE, 0, 0,
     "generate JSON that follows this schema, of the subset in rsr_constraint.h"},
    {"--grammar", "FILE", VALUE_TEXT, FIELD(grammar_file), TEXT_MODES, RUN_NONE, 0, 0,
     "generate what this grammar describes, in a subset of GBNF"},
    {"-c", "N", VALUE_COUNT, FIELD(context), ENGINE_MODES, RUN_NONE, 2, 1e9,
     "context in tokens (the model's)"},
    {"-t", "N", VALUE_COUNT, FIELD(threads), ENGINE_MODES, RUN_NONE, 1, 4096,
     "use at most N threads (the cores this process may use)"},
    {"--pin", NULL, VALUE_NONE, FIELD(pin), ENGINE_MODES, RUN_NONE, 0, 0,
     "bind each thread to a CPU"},
    {"--attention", "KIND", VALUE_TEXT, FIELD(attention), ENGINE_MODES, RUN_NONE, 0, 0,
     "dense, or louver[:THRESHOLD][,min=KEYS][,sinks=N][,window=N] as in rsr_louver.h (dense)"},
    {"--kv-type", "TYPE", VALUE_TEXT, FIELD(kv_type), ENGINE_MODES, RUN_NONE, 0, 0,
     "store keys and values as bf16, f16, f32 or int8 (bf16)"},
    {"--state-type", "TYPE", VALUE_TEXT, FIELD(state_type), ENGINE_MODES, RUN_NONE, 0, 0,
     "store a recurrent model's states as f32 or bf16 (f32)"},
    {"--device", "NAME", VALUE_TEXT, FIELD(device), ENGINE_MODES, RUN_NONE, 0, 0,
     "compute on cpu, or on cuda:N, the GPU of this number (cpu)"},
    {"--kv-commit", NULL, VALUE_NONE, FIELD(kv_commit), ENGINE_MODES, RUN_NONE, 0, 0,
     "take the memory of all keys and values at the start, or say that there is too little"},
    {"--kv-dir", "DIR", VALUE_TEXT, FIELD(kv_dir), ENGINE_MODES, RUN_NONE, 0, 0,
     "keep keys and values in a file without a name in DIR, for texts that memory does not hold"},
    {"--target", "NAME", VALUE_TEXT, FIELD(target), MODEL_MODES, RUN_NONE, 0, 0,
     "use this target of the model (the best that the CPU supports)"},
    {"--temp", "T", VALUE_NUMBER, SAMPLING(temperature), TEXT_MODES, RUN_NONE, 0, 1e6,
     "temperature; 0 takes the likeliest token (*)"},
    {"--top-k", "K", VALUE_COUNT, SAMPLING(top_k), TEXT_MODES, RUN_NONE, 0, 1e9,
     "sample from the K likeliest tokens; 0: from all (*)"},
    {"--top-p", "P", VALUE_NUMBER, SAMPLING(top_p), TEXT_MODES, RUN_NONE, 1e-9, 1,
     "sample from the likeliest tokens that hold P of the probability (*)"},
    {"--min-p", "P", VALUE_NUMBER, SAMPLING(min_p), TEXT_MODES, RUN_NONE, 0, 1,
     "sample from tokens at least P times as likely as the likeliest (*)"},
    {"--repeat-penalty", "X", VALUE_NUMBER, SAMPLING(repeat_penalty), TEXT_MODES, RUN_NONE, 1e-6,
     1e6, "divide the logits of the last 64 tokens, the prompt's too, by X (*)"},
    {"--presence-penalty", "X", VALUE_NUMBER, SAMPLING(presence_penalty), TEXT_MODES, RUN_NONE,
     -1e6, 1e6, "take X from the logit of a token that was generated before (0)"},
    {"--frequency-penalty", "X", VALUE_NUMBER, SAMPLING(frequency_penalty), TEXT_MODES, RUN_NONE,
     -1e6, 1e6, "take X from the logit of a token for each time that it was generated before (0)"},
    {"--logit-bias", "ID+X", VALUE_BIAS, 0, TEXT_MODES, RUN_NONE, 0, 1e6,
     "add X to a token's logit: 15+2.5, 15-1, or 15-inf to rule out token 15; may be given up to "
     "16 times"},
    {"--seed", "N", VALUE_SEED, SAMPLING(seed), TEXT_MODES, RUN_NONE, 0, 0,
     "seed of the sampling noise; -1: a new one every time (0)"},
    {"--speculate", "N", VALUE_COUNT, FIELD(speculate), TEXT_MODES, RUN_NONE, 0, RSR_MAX_DRAFTS,
     "guess up to N tokens per step from the text so far, where that is faster; the answer does "
     "not change (0)"},
    {"--save-kv", "FILE", VALUE_TEXT, FIELD(save_kv), TEXT_MODES, RUN_NONE, 0, 0,
     "write the keys and values of all tokens at the end, for --load-kv"},
    {"--load-kv", "FILE", VALUE_TEXT, FIELD(load_kv), TEXT_MODES, RUN_NONE, 0, 0,
     "take the beginning of the prompt from this file of --save-kv; the answer does not change"},
    {"--dump-qkv", "FILE", VALUE_TEXT, FIELD(qkv_file), RUN_PROMPT, RUN_NONE, 0, 0,
     "write the queries, keys and values of all tokens, for benchmarks of attention"},
    {"--logprobs", "N", VALUE_MORE, FIELD(logprobs), RUN_PROMPT, RUN_NONE, 0, RSR_MAX_TOP_LOGPROBS,
     "print all tokens, the prompt's too, with log-probabilities, and the N likeliest at each (0)"},
    {"--json", NULL, VALUE_NONE, FIELD(json), RUN_PROMPT | RUN_INFO | RUN_PERPLEXITY | RUN_VERIFY,
     RUN_NONE, 0, 0, "print one JSON object"},
    {"--help", NULL, VALUE_NONE, FIELD(help), ALL_MODES, RUN_NONE, 0, 0,
     "print this text; so does -h"},
    {"--version", NULL, VALUE_NONE, FIELD(version), ALL_MODES, RUN_NONE, 0, 0, "print the version"},
};
#define N_OPTIONS (sizeof(options_table) / sizeof(options_table[0]))

void run_print_help(void) {
    puts("usage: rsr-run MODEL.so (-p TEXT | -f FILE | - | --chat | --info | --perplexity FILE | "
         "--verify) "
         "[options]\n\n"
         "Runs a model that rsrc compiled. The continuation, without the prompt, goes to standard "
         "output,\nall else to standard error.\n");
    run_print_options();
}

void run_print_options(void) {
    for (size_t i = 0; i < N_OPTIONS; i++) {
        const struct option *o = &options_table[i];
        char left[48];
        const bool optional = o->kind == VALUE_MORE;
        snprintf(left, sizeof(left), "%s%s%s%s", o->name,
                 optional   ? "[="
                 : o->value ? " "
                            : "",
                 o->value ? o->value : "", optional ? "]" : "");
        printf("  %-22s %s\n", left, o->help);
    }
    const rsr_sampling *s = &run_default_sampling;
    printf(
        "\n(*) As the checkpoint's generation_config.json says. Where it says nothing: --temp %g "
        "--top-k %" PRIu32 "\n--top-p %g --min-p %g --repeat-penalty %g. With --temp 0 alone: "
        "without a penalty.\n\nA model.so is code: run only what you trust.\n",
        (double)s->temperature, s->top_k, (double)s->top_p, (double)s->min_p,
        (double)s->repeat_penalty);
}

/* ---- Did you mean ---------------------------------------------------------------------------- */

static bool unknown_option(const char *given, size_t n) {
    struct rsr_near_name near = rsr_near_name_of(given, n);
    for (size_t i = 0; i < N_OPTIONS; i++)
        rsr_near_name_try(&near, options_table[i].name);
    if (near.closest)
        run_fail("unknown option %.*s; did you mean %s?", (int)n, given, near.closest);
    else
        run_fail("unknown option %.*s; --help lists the options", (int)n, given);
    return false;
}

/* ---- Values ---------------------------------------------------------------------------------- */

static bool bad_value(const struct option *o, const char *text) {
    if (o->kind == VALUE_BIAS)
        run_fail(
            "%s %s: expected a token's number followed by a number up to %g, like 15+2.5, or -inf",
            o->name, text, o->max);
    else if (o->kind == VALUE_SEED)
        run_fail("%s %s: expected an integer from 0 to 2^64 - 1, or -1", o->name, text);
    else if (o->kind == VALUE_COUNT || o->kind == VALUE_MORE)
        run_fail("%s %s: expected an integer from %.0f to %.0f", o->name, text, o->min, o->max);
    else
        run_fail("%s %s: expected a number from %g to %g", o->name, text, o->min, o->max);
    return false;
}

/* For --seed -1: a seed that differs in every run. The line about sampling prints it. */
static uint64_t other_seed(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return ((uint64_t)now.tv_sec << 20 ^ (uint64_t)now.tv_nsec ^ (uint64_t)getpid() << 32) >> 1;
}

static bool store_text(const struct option *o, const char *text, struct run_texts *texts) {
    if (text[0] == '\0' || texts->n == RUN_MAX_TEXTS) {
        run_fail(text[0] == '\0' ? "%s: the text is empty" : "%s: at most %d of them", o->name,
                 RUN_MAX_TEXTS);
        return false;
    }
    texts->data[texts->n++] = text;
    return true;
}

/* "15+2.5", "15-1", "15-inf". */
static bool store_bias(const struct option *o, const char *text, struct run_options *options) {
    char *sign = NULL, *end = NULL;
    const unsigned long long token =
        text[0] >= '0' && text[0] <= '9' ? strtoull(text, &sign, 10) : ULLONG_MAX;
    if (token >= UINT32_MAX || (*sign != '+' && *sign != '-'))
        return bad_value(o, text);
    const double bias = strtod(sign, &end);
    if (end == sign || *end || !(fabs(bias) <= o->max || bias == -INFINITY))
        return bad_value(o, text);
    if (options->n_biases == RUN_MAX_TEXTS) {
        run_fail("%s: at most %d of them", o->name, RUN_MAX_TEXTS);
        return false;
    }
    options->biases[options->n_biases++] = (rsr_logit_bias){(uint32_t)token, (float)bias};
    return true;
}

static bool store_value(const struct option *o, const char *text, struct run_options *options) {
    char *field = (char *)options + o->offset, *end = NULL;
    bool is_digit = text && text[0] >= '0' && text[0] <= '9';
    errno = 0;
    if (o->kind == VALUE_TEXT) {
        memcpy(field, &text, sizeof(text));
    } else if (o->kind == VALUE_TEXTS) {
        return store_text(o, text, (struct run_texts *)(void *)field);
    } else if (o->kind == VALUE_NUMBER) {
        double value = strtod(text, &end);
        float number = (float)value;
        if (end == text || *end || !(value >= o->min && value <= o->max))
            return bad_value(o, text);
        memcpy(field, &number, sizeof(number));
    } else if (o->kind == VALUE_BIAS) {
        return store_bias(o, text, options);
    } else if (o->kind == VALUE_MORE && !text) {
        *(uint32_t *)(void *)field = 1;
    } else if (o->kind == VALUE_SEED && strcmp(text, "-1") == 0) {
        const uint64_t seed = other_seed();
        memcpy(field, &seed, sizeof(seed));
    } else if (o->kind != VALUE_NONE) {
        unsigned long long value = is_digit ? strtoull(text, &end, 10) : 0;
        if (!is_digit || *end || errno == ERANGE)
            return bad_value(o, text);
        if (o->kind == VALUE_SEED) {
            uint64_t seed = value;
            memcpy(field, &seed, sizeof(seed));
            return true;
        }
        if ((double)value < o->min || (double)value > o->max)
            return bad_value(o, text);
        uint32_t count = (uint32_t)value + (o->kind == VALUE_MORE ? 1 : 0);
        memcpy(field, &count, sizeof(count));
    } else if (o->selects == RUN_NONE) {
        *(bool *)field = true;
    }
    return true;
}

/* ---- Parsing --------------------------------------------------------------------------------- */

static bool select_mode(struct run_options *options, enum run_mode mode, const char *name,
                        const char **selected_by) {
    if (options->mode != RUN_NONE) {
        run_fail("%s and %s exclude each other", *selected_by, name);
        return false;
    }
    options->mode = mode;
    *selected_by = name;
    return true;
}

static const struct option *find_option(const char *name, size_t n) {
    for (size_t i = 0; i < N_OPTIONS; i++)
        if (run_same_name(options_table[i].name, name, n))
            return &options_table[i];
    const char *ours = run_our_name(name, n);
    return ours ? find_option(ours, strlen(ours)) : NULL;
}

/* An option that would be ignored is an error. */
static bool check_applicability(const struct run_options *options, const bool *given,
                                const char *selected_by) {
    for (size_t i = 0; i < N_OPTIONS; i++) {
        if (given[i] && !(options_table[i].modes & options->mode)) {
            run_fail("%s has no meaning with %s", options_table[i].name, selected_by);
            return false;
        }
    }
    return true;
}

static bool check_complete(const struct run_options *options, const bool *given,
                           const char *selected_by) {
    if (options->help || options->version)
        return true;
    if (!options->model) {
        run_fail("no model given; usage: rsr-run MODEL.so -p TEXT");
        return false;
    }
    if (options->model[0] == '\0') {
        run_fail("the name of the model is empty");
        return false;
    }
    if (!run_check_model(options->model))
        return false;
    if (options->mode == RUN_NONE) {
        run_fail("nothing to do; give -p TEXT, -f FILE, -, --chat, --info, --perplexity FILE or "
                 "--verify");
        return false;
    }
    return check_applicability(options, given, selected_by);
}

/* State of the parser. */
struct parser {
    struct run_options *options;
    char **arguments; /* the remaining ones, NULL at the end */
    const char *selected_by;
    bool given[N_OPTIONS];
};

static bool add_model(struct run_options *options, const char *name) {
    if (options->model)
        return run_second_name(options->model, name);
    options->model = name;
    return true;
}

/* The value after = in the option, or the next argument; NULL after a message. */
static const char *value_of(struct parser *p, const char *option, size_t n, const char *what) {
    if (option[n] == '=')
        return option + n + 1;
    if (*p->arguments)
        return *p->arguments++;
    run_fail("%.*s needs a value: %s", (int)n, option, what);
    return NULL;
}

static bool take_option(struct parser *p, const char *argument) {
    const size_t n = strcspn(argument, "=");
    const char *value = NULL;
    if (run_names_model(argument, n)) {
        value = value_of(p, argument, n, "MODEL.so");
        return value && add_model(p->options, value);
    }
    const struct option *o = find_option(argument, n);
    if (!o)
        return unknown_option(argument, n);
    if (argument[n] == '=' && !o->value) {
        run_fail("%s takes no value", o->name);
        return false;
    }
    if (o->kind == VALUE_MORE)
        value = argument[n] == '=' ? argument + n + 1 : NULL;
    else if (o->value && !(value = value_of(p, argument, n, o->value)))
        return false;
    if (o->selects != RUN_NONE && !select_mode(p->options, o->selects, o->name, &p->selected_by))
        return false;
    p->given[o - options_table] = true;
    return store_value(o, value, p->options);
}

static bool take_stdin(struct parser *p) {
    p->options->prompt_file = "-";
    return select_mode(p->options, RUN_PROMPT, "-", &p->selected_by);
}

bool run_parse_options(char **arguments, struct run_options *options) {
    struct parser p = {.options = options, .arguments = arguments};
    bool only_names = false, ok = true;
    *options = (struct run_options){.n_tokens = 128, .sampling = run_no_sampling()};
    while (ok && *p.arguments) {
        const char *argument = *p.arguments++;
        if (only_names || argument[0] != '-')
            ok = add_model(options, argument);
        else if (strcmp(argument, "--") == 0)
            only_names = true;
        else if (strcmp(argument, "-") == 0)
            ok = take_stdin(&p);
        else
            ok = take_option(&p, argument);
    }
    if (options->mode == RUN_NONE && options->verify) {
        options->mode = RUN_VERIFY;
        p.selected_by = "--verify";
    }
    return ok && check_complete(options, p.given, p.selected_by);
}
