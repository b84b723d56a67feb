/* generation.h - a choice of a job while it has a slot: its sequence, and how its tokens become
 * text. The scheduler's thread alone knows it. */
#ifndef RSR_SERVE_GENERATION_H
#define RSR_SERVE_GENERATION_H

#include "api/stop_strings.h"
#include "job.h"

struct serve_generation {
    struct serve_job *job;       /* a reference; NULL: the slot is free */
    struct serve_choice *choice; /* of the job */
    const struct serve_prompt *prompt;
    rsr_sequence *sequence;
    rsr_detokenizer *detokenizer;
    struct rsr_stop_strings stop;
    struct rsr_bytes piece; /* text of a token */
    rsr_sampling sampling;
    rsr_constrained *constrained; /* NULL: everything is allowed */
    uint32_t *allowed;            /* of sampling, with `constrained` */
    rsr_logprob *logprobs;        /* [1 + n_top_logprobs] of the next token; NULL: not asked */
    uint32_t next;                /* the last token generated: to be evaluated */
    uint32_t n_evaluated;         /* tokens of the sequence */
    int64_t begun_ns, token_ns;   /* when it began, and when its last token came */
};

/* What a step evaluates. Arrays have room for `capacity` entries; the batch points into them. */
struct serve_batch {
    rsr_batch batch;
    rsr_batch_entry *entries;
    rsr_status *statuses;
    rsr_pick *picks;
    uint32_t *picked;
    rsr_logprobs *logprobs;
    struct serve_generation **owners; /* of entries */
    size_t capacity;
};

bool serve_batch_create(struct serve_batch *batch, size_t capacity);
void serve_batch_free(struct serve_batch *batch);
void serve_batch_clear(struct serve_batch *batch);

/* Begins choice `index` of the job, which gets one more reference. `sequence` has the beginning of
 * its prompt, but not all of it, and belongs to the generation from now on, also if this fails.
 * False after the error. */
bool serve_generation_begin(struct serve_generation *g, struct serve_job *job, size_t index,
                            rsr_sequence *sequence, struct serve_error *error);

/* Whether all of the prompt is evaluated, so that a step has one token of it. */
bool serve_generation_decodes(const struct serve_generation *g);

/* Adds the next token, or up to n_tokens of the prompt, to the batch; returns how many. */
size_t serve_generation_add(struct serve_generation *g, struct serve_batch *batch, size_t n_tokens);

/* What has become of its part of an evaluated batch: n_entries from `entry` on, of which the last
 * one has a pick if `picked` is not NULL. False: it has ended, or the error is set. */
bool serve_generation_take(struct serve_generation *g, size_t n_entries, const uint32_t *picked,
                           struct serve_error *error);

/* Ends it, its choice by `finish` if that goes on still; the prefix cache keeps what it has
 * evaluated. */
void serve_generation_end(struct serve_generation *g, enum serve_finish finish);

#endif
