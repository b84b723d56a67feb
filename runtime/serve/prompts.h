/* prompts.h - turns texts, token ids and conversations of requests into the tokens of a job. */
#ifndef RSR_SERVE_PROMPTS_H
#define RSR_SERVE_PROMPTS_H

#include <jansson.h>

#include "job.h"

/* The origin and the limits of a prompt. */
struct serve_prompt_rules {
    const struct serve_model *model;
    const char *param;   /* the field, for errors: "prompt", "input", "messages" */
    uint32_t flags;      /* of rsr_tokenize */
    uint32_t max_tokens; /* of a prompt */
    bool may_be_empty;
};

/* Makes a prompt of one text. */
bool serve_prompt_of_text(const struct serve_prompt_rules *rules, const char *text, size_t n_bytes,
                          struct serve_prompt *prompt, struct serve_error *error);

/* Fills the job's prompts from a text, texts, ids, or lists of ids. */
bool serve_read_prompts(const struct serve_prompt_rules *rules, const json_t *value,
                        struct serve_job *job, struct serve_error *error);

/* Makes a prompt of a list of at least one id. */
bool serve_prompt_of_ids(const struct serve_prompt_rules *rules, const char *place,
                         const json_t *ids, struct serve_prompt *prompt, struct serve_error *error);

/* Makes a prompt of a conversation in the form of rsr_chat_tokens(). */
bool serve_prompt_of_conversation(const struct serve_prompt_rules *rules,
                                  const json_t *conversation, bool add_generation_prompt,
                                  struct serve_prompt *prompt, struct serve_error *error);
/* Makes such a conversation the job's only prompt. */
bool serve_read_conversation(const struct serve_prompt_rules *rules, const json_t *conversation,
                             struct serve_job *job, struct serve_error *error);

/* Appends the bytes of a token. */
bool serve_token_bytes(const struct serve_model *model, uint32_t token, struct rsr_bytes *bytes);

/* Refuses to generate with a model that only gives embeddings. */
bool serve_check_generates(const struct serve_model *model, struct serve_error *error);
/* Refuses a chat to a model that has no template, or none that renders. */
bool serve_check_chat(const struct serve_model *model, struct serve_error *error);
/* Refuses a text to or from a model without a tokenizer. */
bool serve_check_tokenizer(const struct serve_model *model, struct serve_error *error);

#endif
