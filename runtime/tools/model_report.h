/* model_report.h - the report of a model in rsr-run and rsr-serve: the memory of a sequence, and
 * the kernels. compiler/README.md lists the keys of the JSON.
 */
#ifndef RSR_MODEL_REPORT_H
#define RSR_MODEL_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rsr.h"

/* A kernel, and whether decode runs it for every token. */
struct rsr_report_kernel {
    rsr_kernel_info info;
    bool decodes;
};

/* Kernels of one role, shape and variant: usually one in each block. */
struct rsr_report_group {
    rsr_kernel_info first;
    uint32_t n;
    uint64_t weight_bytes;
    uint64_t token_bytes; /* of those that decode runs */
    uint64_t usual_bytes; /* the part of token_bytes that a token usually reads */
};

struct rsr_report {
    const rsr_model *model;
    const rsr_model_info *info;
    struct rsr_report_kernel *kernels;
    size_t n_kernels;
    struct rsr_report_group *groups;
    size_t n_groups;
    uint64_t *usual_bytes; /* [info->n_layers]: what a token usually reads of a block's kernels */
    uint64_t other_usual_bytes; /* the part of usual_token_bytes that no kernel reads */
    uint64_t other_token_bytes; /* the head, a row of the embedding, layers that are not ternary */
    const char *kv_type;        /* of an engine without options; NULL: the model cannot be run */
    uint64_t kv_bytes_token;    /* of such an engine; 0: the model cannot be run */
    uint64_t arena_bytes;       /* of an engine with one thread */
    uint64_t state_bytes;       /* of a sequence's recurrent state; 0: the model has none */
};

/* Borrows `model` and `info`. False: no memory, or a kernel that does not describe itself; destroy
 * it then, too. */
bool rsr_report_create(rsr_model *model, const rsr_model_info *info, struct rsr_report *report);
void rsr_report_destroy(struct rsr_report *report);

struct json_t;
/* New; NULL: the model's name is not UTF-8, which JSON cannot hold, or no memory. */
struct json_t *rsr_report_json(const struct rsr_report *report);

/* Copies a sampling; options that the runtime of an older module does not know are off. */
rsr_sampling rsr_report_whole_sampling(const rsr_sampling *given);
/* A sampling without its seed as a JSON object, new; NULL: null. */
struct json_t *rsr_report_sampling_json(const rsr_sampling *sampling);

#endif
