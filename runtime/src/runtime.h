/* runtime.h - what the runtime's files share about models and errors. */
#ifndef RSR_RUNTIME_H
#define RSR_RUNTIME_H

#include "rsr.h"
#include "rsr_abi.h"
#include "rsr_api.h"

struct rsr_text;    /* tokenizer and chat template, ready to use: text.h */
struct rsr_ops;     /* float operations of one level: ops/ops.h */

struct rsr_model {
    const struct rsr_api *api;      /* first, always: librsr dispatches through it */
    const struct rsr_module *module;
    const struct rsr_target *target;
    const struct rsr_ops *ops;
    struct rsr_text *text;          /* NULL: the module has no tokenizer */
    int owner_pid;                  /* calls from another process are refused */
    const char *pages;              /* sentence for rsr_model_info */
    const char **target_names;
    void *copy;                     /* RSR_PAGES_COPY: owned mapping, else NULL */
    uint64_t copy_bytes;
    uint64_t weight_bytes, token_bytes;
};

/* Fills *err (if not NULL) and returns status, so that failing is one line:
 *     return rsr_fail(err, RSR_ERR_ARGUMENT, "token %u is outside the vocabulary", t); */
rsr_status rsr_fail(rsr_error *err, rsr_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Options a caller of another version passed: copies min(given, known) bytes over the defaults. */
void rsr_read_options(void *known, size_t known_bytes, const void *given);

/* text.c: built once at open; NULL tokenizer section gives NULL text. */
rsr_status rsr_text_create(const struct rsr_module *module, struct rsr_text **text, rsr_error *err);
void rsr_text_destroy(struct rsr_text *text);

#endif
