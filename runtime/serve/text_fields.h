/* text_fields.h - the fields that completions and chats share: sampling, stops, streaming,
 * lengths. */
#ifndef RSR_SERVE_TEXT_FIELDS_H
#define RSR_SERVE_TEXT_FIELDS_H

#include "fields.h"
#include "job.h"

#define SERVE_NOT_GIVEN UINT32_MAX

/* The first member of the struct that a route fills. */
struct serve_text_fields {
    bool stream, include_usage;
    json_t *stream_options, *stop, *logit_bias; /* NULL: not given */
    uint32_t n, max_tokens;                     /* max_tokens: SERVE_NOT_GIVEN */
    int64_t seed, top_k;
    float temperature, top_p, min_p, presence_penalty, frequency_penalty;
    float repetition_penalty; /* NAN: not given */
};

extern const struct serve_fields serve_text_fields;

/* Sets the defaults: the sampling of the checkpoint, or else OpenAI's, and a random seed. */
void serve_begin_text_fields(const struct serve_model *model, struct serve_text_fields *fields);

/* Copies all fields except max_tokens into the job, whose model is set already. */
bool serve_apply_text_fields(struct serve_text_fields *fields, struct serve_job *job,
                             struct serve_error *error);

/* Sets the job's max_tokens: the number that was asked for, which must fit beside the prompts; or
 * else as many as fit, at most `otherwise`. `param` names the field. */
bool serve_apply_max_tokens(uint32_t asked, uint32_t otherwise, const char *param,
                            struct serve_job *job, struct serve_error *error);

#endif
