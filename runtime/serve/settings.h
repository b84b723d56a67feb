/* settings.h - options of rsr-serve, from the command line and from a YAML file with the same
 * names. */
#ifndef RSR_SERVE_SETTINGS_H
#define RSR_SERVE_SETTINGS_H

#include "serve.h"

struct serve_settings {
    struct {
        const char *name, *path;
    } models[SERVE_MAX_MODELS];
    uint32_t n_models;
    const char *host;      /* NULL: 127.0.0.1 */
    uint32_t port;         /* 8080; 0: any free port, which is then printed */
    const char *unix_path; /* NULL: host and port */
    uint32_t slots;        /* for each model: texts that are generated at the same time */
    uint32_t queue;        /* largest number of waiting jobs, for all models */
    uint32_t kv_tokens;    /* 0: as many as memory allows, at most slots x context */
    uint32_t context;      /* 0: the model's own */
    uint32_t threads;      /* 0: as the engine decides */
    uint32_t max_stall_ms; /* 100 */
    uint32_t timeout_s;    /* of a request: 600; 0: none */
    uint32_t drain_s;      /* 30 */
    size_t max_body;       /* bytes: 4 MiB */
    const char *kv_type, *kv_dir, *state_type, *attention, *device; /* NULL: the defaults of
                                                                        rsr.h */
    const char *target;                                             /* the same */
    const char *pooling;  /* --embeddings, for language models; NULL: none */
    const char *key_file; /* one key for each line */
    const char *cors;     /* the allowed origin; NULL: none */
    const char *hosts; /* further names allowed in a Host header, separated by commas; NULL: none */
    const char *tls_cert, *tls_key;
    bool no_auth, no_prefix_cache;
    bool mpi; /* this process is one of several ranks */
};

enum serve_parsed { SERVE_START, SERVE_EXIT_OK, SERVE_EXIT_USAGE };

/* Fills `settings` from the arguments after the program's name, which end with NULL; strings live
 * as long as the program. SERVE_EXIT_OK: --help or --version was answered; SERVE_EXIT_USAGE: after
 * one sentence on stderr. */
enum serve_parsed serve_parse_settings(char **arguments, struct serve_settings *settings);

/* settings_yaml.c: gives each name and value of a file to `set`, with a place ("serve.yaml:3");
 * flags have the values "true" and "false". A model is NAME=FILE.so. False after a sentence. */
struct serve_setter {
    bool (*set)(void *user, const char *place, const char *name, const char *value);
    void *user;
};
bool serve_read_yaml(const char *path, const struct serve_setter *setter);

#endif
