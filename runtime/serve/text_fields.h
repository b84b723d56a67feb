/* text_fields.h - what completions and chats ask for alike: sampling, stops, streaming, lengths. */
#ifndef RSR_SERVE_TEXT_FIELDS_H
#define RSR_SERVE_TEXT_FIELDS_H

#include "fields.h"
#include "job.h"

#define SERVE_NOT_GIVEN UINT32_MAX

/* The first member of what a route reads. */
struct serve_text_fields {
    bool stream, include_usage;
    json_t *stream_options, *stop, *logit_bias; /* NULL: not given */
    uint32_t n, max_tokens;                     /* max_tokens: SERVE_NOT_GIVEN */
    int64_t seed, top_k;
    float temperature, top_p, min_p, presence_penalty, frequency_penalty;
    float repetition_penalty; /* NAN: not given */
};

extern const struct serve_fields serve_text_fields;

/* What stands where a request says nothing: the checkpoint's sampling or OpenAI's, and a seed that
 * nobody chose. */
void serve_begin_text_fields(const struct serve_model *model, struct serve_text_fields *fields);

/* Puts them into the job, which has its model: all but max_tokens. */
bool serve_apply_text_fields(struct serve_text_fields *fields, struct serve_job *job,
                             struct serve_error *error);

/* Gives the job its max_tokens: what was asked for with prompts, or else as many as fit, of at most
 * `otherwise`. `param` names the field. */
bool serve_apply_max_tokens(uint32_t asked, uint32_t otherwise, const char *param,
                            struct serve_job *job, struct serve_error *error);

#endif
