/* serve_settings.c - the options of rsr-serve, for command line and YAML file, from one table. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "near_name.h"
#include "settings.h"

enum value_kind { VALUE_FLAG, VALUE_TEXT, VALUE_COUNT, VALUE_BYTES, VALUE_MODEL };

struct option {
    const char *name;
    const char *value; /* NULL: a flag */
    enum value_kind kind;
    size_t offset; /* of the field in struct serve_settings */
    double min, max;
    const char *words; /* allowed texts, each with spaces around it; NULL: any */
    const char *help;
};

#define FIELD(field) offsetof(struct serve_settings, field)

static const struct option options_table[] = {
    {"--model", "NAME=FILE.so", VALUE_MODEL, 0, 0, 0, NULL,
     "serve this model under this name; may be given several times; without NAME=, FILE.so names "
     "it"},
    {"--host", "ADDRESS", VALUE_TEXT, FIELD(host), 0, 0, NULL,
     "listen here (127.0.0.1); other machines are served only with --api-key-file or --no-auth"},
    {"--port", "N", VALUE_COUNT, FIELD(port), 0, 65535, NULL,
     "listen on this port (8080); 0: choose a free port, and print it"},
    {"--unix", "PATH", VALUE_TEXT, FIELD(unix_path), 0, 0, NULL,
     "listen on this Unix socket, not on a port"},
    {"--api-key-file", "FILE", VALUE_TEXT, FIELD(key_file), 0, 0, NULL,
     "require one of the keys in this file, one per line"},
    {"--no-auth", NULL, VALUE_FLAG, FIELD(no_auth), 0, 0, NULL,
     "serve other machines without keys: anybody who reaches the port may use the models"},
    {"--allow-host", "NAMES", VALUE_TEXT, FIELD(hosts), 0, 0, NULL,
     "accept these names, separated by commas, in the Host header, as proxies send them"},
    {"--cors", "ORIGIN", VALUE_TEXT, FIELD(cors), 0, 0, NULL,
     "let pages of this origin, such as https://example.org, send requests (none)"},
    {"--tls-cert", "FILE", VALUE_TEXT, FIELD(tls_cert), 0, 0, NULL,
     "speak TLS with this certificate, PEM"},
    {"--tls-key", "FILE", VALUE_TEXT, FIELD(tls_key), 0, 0, NULL,
     "the private key of --tls-cert, PEM"},
    {"--slots", "N", VALUE_COUNT, FIELD(slots), 1, 1024, NULL,
     "generate at most N texts of a model at once (16)"},
    {"--queue", "N", VALUE_COUNT, FIELD(queue), 1, 1e6, NULL,
     "let at most N requests wait; refuse further ones with 429 (512)"},
    {"--context", "N", VALUE_COUNT, FIELD(context), 2, 1e9, NULL,
     "tokens of a text with its prompt (the model's)"},
    {"--kv-tokens", "N", VALUE_COUNT, FIELD(kv_tokens), 2, 4e9, NULL,
     "commit memory for the keys and values of N tokens of a model (half of the memory that is "
     "free, "
     "at most slots x context)"},
    {"--kv-type", "TYPE", VALUE_TEXT, FIELD(kv_type), 0, 0, " bf16 f16 f32 int8 ",
     "store keys and values as bf16, f16, f32 or int8 (bf16)"},
    {"--kv-dir", "DIR", VALUE_TEXT, FIELD(kv_dir), 0, 0, NULL,
     "keep keys and values in files without names in DIR; --kv-tokens then defaults to half of the "
     "disk"},
    {"--state-type", "TYPE", VALUE_TEXT, FIELD(state_type), 0, 0, " f32 bf16 ",
     "store the states of recurrent models as f32 or bf16 (f32)"},
    {"--attention", "KIND", VALUE_TEXT, FIELD(attention), 0, 0, NULL,
     "dense, or louver[:THRESHOLD][,min=KEYS][,sinks=N][,window=N] as in rsr_louver.h (dense)"},
    {"--no-prefix-cache", NULL, VALUE_FLAG, FIELD(no_prefix_cache), 0, 0, NULL,
     "evaluate every prompt completely; answers are the same"},
    {"--embeddings", "POOLING", VALUE_TEXT, FIELD(pooling), 0, 0, " last first mean ",
     "embed texts with language models too: the last or first token's state, or their mean"},
    {"--max-stall", "MS", VALUE_COUNT, FIELD(max_stall_ms), 1, 60000, NULL,
     "let a long prompt delay the texts of others by at most this (100)"},
    {"--timeout", "SECONDS", VALUE_COUNT, FIELD(timeout_s), 0, 1e6, NULL,
     "end a request that takes longer (600); 0: none"},
    {"--max-body", "BYTES", VALUE_BYTES, FIELD(max_body), 1024, 1024.0 * 1024 * 1024, NULL,
     "refuse longer requests (4M)"},
    {"--drain", "SECONDS", VALUE_COUNT, FIELD(drain_s), 0, 86400, NULL,
     "after SIGTERM, finish accepted requests for up to this time (30)"},
    {"--threads", "N", VALUE_COUNT, FIELD(threads), 1, 4096, NULL,
     "use at most N threads for a model (the cores this process may use)"},
    {"--target", "NAME", VALUE_TEXT, FIELD(target), 0, 0, NULL,
     "use this target of the models (the best that the CPU supports)"},
    {"--device", "NAME", VALUE_TEXT, FIELD(device), 0, 0, NULL,
     "compute on cpu, or on cuda:N, the GPU of this number (cpu)"},
    {"--mpi", NULL, VALUE_FLAG, FIELD(mpi), 0, 0, NULL,
     "evaluate the models with all processes that mpirun starts; the first one serves; %r in a "
     "file's name is the process's number"},
    {"--config", "FILE.yaml", VALUE_TEXT, 0, 0, 0, NULL,
     "take options from this file, with the same names; the command line wins"},
    {"--help", NULL, VALUE_FLAG, 0, 0, 0, NULL, "print this text; so does -h"},
    {"--version", NULL, VALUE_FLAG, 0, 0, 0, NULL, "print the version"},
};
#define N_OPTIONS (sizeof(options_table) / sizeof(options_table[0]))

/* State of the parser. */
struct parser {
    struct serve_settings *settings;
    bool given[N_OPTIONS]; /* on the command line */
    const char *config;
    bool help, version;
};

static bool print_help(void) {
    printf("usage: rsr-serve [NAME=]FILE.so ... [options]\n\n"
           "Serves models that rsrc compiled over HTTP, as OpenAI's API. Answers to a request with "
           "a seed have\n"
           "the same bytes, no matter which other requests run.\n\n");
    for (size_t i = 0; i < N_OPTIONS; i++) {
        const struct option *o = &options_table[i];
        char left[48];
        snprintf(left, sizeof(left), "%s%s%s", o->name, o->value ? " " : "",
                 o->value ? o->value : "");
        printf("  %-22s %s\n", left, o->help);
    }
    printf("\nThe file of --config is a mapping: \"port: 8000\", \"no-auth: true\", \"model: "
           "{tiny: tiny.so}\".\n"
           "SIGTERM ends the server when accepted requests are answered, a second one at once. "
           "With --mpi, "
           "SIGUSR1 does\nso, too, because mpirun passes it on and ends all on SIGTERM.\n\n"
           "A FILE.so is code: serve only what you trust.\n");
    return fflush(stdout) == 0 && !ferror(stdout);
}

/* ---- Values ---------------------------------------------------------------------------------- */

static bool bad_value(const struct option *o, const char *place, const char *value) {
    if (o->words)
        return serve_log("%s%s %s: expected one of%s", place, o->name, value, o->words);
    return serve_log("%s%s %s: expected an integer from %.0f to %.0f%s", place, o->name, value,
                     o->min, o->max, o->kind == VALUE_BYTES ? ", or one with K, M or G" : "");
}

static bool store_count(const struct option *o, const char *place, const char *value, void *field) {
    char *end = NULL;
    errno = 0;
    unsigned long long n = value[0] >= '0' && value[0] <= '9' ? strtoull(value, &end, 10) : 0;
    const char *unit = o->kind == VALUE_BYTES && end && *end ? strchr("KMG", *end) : NULL;
    if (unit)
        n = n <= (1ull << 33) ? n << (10 * (unit - "KMG" + 1)) : (1ull << 63), end++;
    if (!end || *end || errno == ERANGE || (double)n < o->min || (double)n > o->max)
        return bad_value(o, place, value);
    if (o->kind == VALUE_BYTES)
        *(size_t *)field = (size_t)n;
    else
        *(uint32_t *)field = (uint32_t)n;
    return true;
}

static bool is_one_of(const char *words, const char *value) {
    char spaced[34];
    const int n = snprintf(spaced, sizeof(spaced), " %s ", value);
    return (size_t)n < sizeof(spaced) && !strchr(value, ' ') && strstr(words, spaced);
}

/* The name of a model that is given only as a file: the file's name without folders and suffix, and
 * without the number of a rank before it (--mpi). NULL: no memory. */
static char *name_of_file(const char *path) {
    const char *slash = strrchr(path, '/');
    char *name = strdup(slash ? slash + 1 : path);
    static const char *const ends[] = {".so", ".%r"};
    for (size_t i = 0; name != NULL && i < sizeof(ends) / sizeof(ends[0]); i++) {
        const size_t n = strlen(name);
        if (n > 3 && strcmp(name + n - 3, ends[i]) == 0)
            name[n - 3] = '\0';
    }
    return name;
}

/* An equals sign before the first slash ends the name. */
static bool add_model(struct serve_settings *settings, const char *place, const char *value) {
    const size_t n = strcspn(value, "=/");
    char *name = value[n] == '=' ? strndup(value, n) : name_of_file(value);
    const char *path = value[n] == '=' ? value + n + 1 : value;
    if (!name)
        return serve_log("out of memory");
    bool ok = false;
    if (name[0] == '\0' || path[0] == '\0')
        serve_log("%s--model %s: expected NAME=FILE.so", place, value);
    else if (settings->n_models == SERVE_MAX_MODELS)
        serve_log("%s--model %s: at most %d models", place, value, SERVE_MAX_MODELS);
    else
        ok = true;
    for (uint32_t i = 0; ok && i < settings->n_models; i++)
        if (strcmp(settings->models[i].name, name) == 0)
            ok = serve_log("%s--model %s: another model has the name %s", place, value, name);
    if (!ok) {
        free(name);
        return false;
    }
    settings->models[settings->n_models].name = name;
    settings->models[settings->n_models++].path = path;
    return true;
}

static bool store_value(const struct option *o, const char *place, const char *value,
                        struct serve_settings *settings) {
    void *field = (char *)settings + o->offset;
    switch (o->kind) {
    case VALUE_MODEL:
        return add_model(settings, place, value);
    case VALUE_FLAG:
        *(bool *)field = true;
        return true;
    case VALUE_COUNT:
    case VALUE_BYTES:
        return store_count(o, place, value, field);
    case VALUE_TEXT:
        if (value[0] == '\0')
            return serve_log("%s%s: the value is empty", place, o->name);
        if (o->words && !is_one_of(o->words, value))
            return bad_value(o, place, value);
        memcpy(field, &value, sizeof(value));
        return true;
    }
    return false;
}

/* ---- The command line ------------------------------------------------------------------------ */

static const struct option *find_option(const char *name, size_t n) {
    for (size_t i = 0; i < N_OPTIONS; i++)
        if (strlen(options_table[i].name) == n && strncmp(options_table[i].name, name, n) == 0)
            return &options_table[i];
    return NULL;
}

/* Reports an unknown name. In a file, names have no dashes before them. */
static bool unknown_option(const char *place, const char *given, size_t n) {
    const size_t dashes = given[0] == '-' ? 0 : 2;
    struct rsr_near_name near = rsr_near_name_of(given, n);
    for (size_t i = 0; i < N_OPTIONS; i++)
        rsr_near_name_try(&near, options_table[i].name + dashes);
    if (near.closest)
        return serve_log("%sunknown option %.*s; did you mean %s?", place, (int)n, given,
                         near.closest);
    return serve_log("%sunknown option %.*s; rsr-serve --help lists the options", place, (int)n,
                     given);
}

/* Options that are about the command line itself. */
static bool take_own(struct parser *p, const struct option *o, const char *value) {
    if (strcmp(o->name, "--help") == 0)
        return p->help = true;
    if (strcmp(o->name, "--version") == 0)
        return p->version = true;
    if (strcmp(o->name, "--config") == 0)
        p->config = value;
    return p->config == value && value;
}

static bool take_option(struct parser *p, const char *argument, char ***rest) {
    const size_t n = strcspn(argument, "=");
    const struct option *o = find_option(argument, n);
    const char *value = argument[n] == '=' ? argument + n + 1 : NULL;
    if (!o && strcmp(argument, "-h") == 0)
        return p->help = true;
    if (!o)
        return unknown_option("", argument, n);
    if (value && !o->value)
        return serve_log("%s takes no value", o->name);
    if (o->value && !value && !(value = **rest))
        return serve_log("%s needs a value: %s", o->name, o->value);
    if (o->value && argument[n] != '=')
        ++*rest;
    p->given[o - options_table] = true;
    return take_own(p, o, value) || store_value(o, "", value, p->settings);
}

/* ---- The file -------------------------------------------------------------------------------- */

/* Options of the command line win over the file's. */
static bool set_from_file(void *user, const char *place, const char *name, const char *value) {
    struct parser *p = user;
    char spelled[32], at[512];
    snprintf(at, sizeof(at), "%s: ", place);
    const bool fits = (size_t)snprintf(spelled, sizeof(spelled), "--%s", name) < sizeof(spelled);
    const struct option *o = fits ? find_option(spelled, strlen(spelled)) : NULL;
    if (!o || strcmp(name, "config") == 0 || strcmp(name, "help") == 0 ||
        strcmp(name, "version") == 0)
        return unknown_option(at, name, strlen(name));
    if (o->kind == VALUE_FLAG && strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
        return serve_log("%s%s: expected true or false", at, name);
    if ((o->kind == VALUE_FLAG && value[0] == 'f') ||
        (p->given[o - options_table] && o->kind != VALUE_MODEL))
        return true;
    return store_value(o, at, value, p->settings);
}

/* ---- All of it ------------------------------------------------------------------------------- */

static bool check_complete(const struct serve_settings *s) {
    if (s->n_models == 0)
        return serve_log("no model given; usage: rsr-serve NAME=FILE.so");
    if (!s->tls_cert != !s->tls_key)
        return serve_log("--tls-cert and --tls-key need each other");
    if (s->unix_path && s->host)
        return serve_log("--unix and --host exclude each other");
    if (s->key_file && s->no_auth)
        return serve_log("--api-key-file and --no-auth exclude each other");
    return true;
}

enum serve_parsed serve_parse_settings(char **arguments, struct serve_settings *settings) {
    struct parser p = {.settings = settings};
    *settings = (struct serve_settings){.port = 8080,
                                        .slots = 16,
                                        .queue = 512,
                                        .max_stall_ms = 100,
                                        .timeout_s = 600,
                                        .drain_s = 30,
                                        .max_body = 4 << 20};
    while (*arguments && !p.help && !p.version) {
        const char *argument = *arguments++;
        if (argument[0] == '-' ? !take_option(&p, argument, &arguments)
                               : !add_model(settings, "", argument))
            return SERVE_EXIT_USAGE;
    }
    if (p.help || p.version) {
        const bool told = p.help
                              ? print_help()
                              : printf("rsr-serve %s\n", rsr_version()) > 0 && fflush(stdout) == 0;
        if (!told)
            serve_log("cannot write to standard output: %s", strerror(errno));
        return told ? SERVE_EXIT_OK : SERVE_EXIT_USAGE;
    }
    const struct serve_setter setter = {set_from_file, &p};
    if ((p.config && !serve_read_yaml(p.config, &setter)) || !check_complete(settings))
        return SERVE_EXIT_USAGE;
    return SERVE_START;
}
