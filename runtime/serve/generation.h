/* generation.h - a choice of a job while it has a slot: its sequence, and how its tokens become
 * text. Only the scheduler's thread uses it. */
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
    uint32_t *allowed;            /* the mask for `sampling`, with `constrained` */
    rsr_logprob *logprobs;        /* [1 + n_top_logprobs] of the next token; NULL: not asked for */
    uint32_t next;                /* the last generated token, not evaluated yet */
    uint32_t n_evaluated;         /* number of the sequence's evaluated tokens */
    int64_t begun_ns, token_ns;   /* when it began, and when its last token came */
};

/* The batch of a step. Arrays have room for `capacity` entries; the batch points into them. */
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

/* Begins choice `index` of the job, which gets one more reference. `sequence` holds some of the
 * prompt's first tokens, but not all tokens. The generation owns the sequence from now on, even if
 * this fails. Returns false after setting the error. */
bool serve_generation_begin(struct serve_generation *g, struct serve_job *job, size_t index,
                            rsr_sequence *sequence, struct serve_error *error);

/* Whether all of the prompt is evaluated, so that each step has one token of this generation. */
bool serve_generation_decodes(const struct serve_generation *g);

/* Adds the next token, or up to n_tokens of the prompt, to the batch. Returns how many were
 * added. */
size_t serve_generation_add(struct serve_generation *g, struct serve_batch *batch, size_t n_tokens);

/* Takes the results of its n_entries of an evaluated batch. If `picked` is not NULL, it is the
 * token picked after the last entry. False: the generation has ended, or the error is set. */
bool serve_generation_take(struct serve_generation *g, size_t n_entries, const uint32_t *picked,
                           struct serve_error *error);

/* Ends the generation, and its choice with `finish` if the choice has not ended yet. The prefix
 * cache keeps the evaluated tokens. */
void serve_generation_end(struct serve_generation *g, enum serve_finish finish);

#endif
